import { UsageError } from "../../base/index.ts";
import { CsvReader, csvLine } from "./csv.ts";
import { JsonLinesReader } from "./json-lines.ts";

export const BATCH_FORMATS = ["csv", "jsonl"] as const;
export type BatchFormat = (typeof BATCH_FORMATS)[number];

/** A row: its line, what is wrong with it, its fields by name, and how it is written with more. */
export interface BatchRow {
  readonly line: number;
  readonly fault?: string;
  /** Undefined where there is none, or it is empty. */
  field(name: string): string | undefined;
  /** The row's own fields but `secret`, and those that were announced to `makeReader`. */
  write(added: readonly string[]): string;
}

export interface BatchReader {
  /** Rows that end in this piece. Throws UsageError for a file that cannot be worked with at all. */
  push(piece: Uint8Array): BatchRow[];
  end(): BatchRow[];
  /** What stands before the first row of the output. */
  readonly head: string;
  /** How the output is encoded. */
  readonly encoding: "latin1" | "utf8";
}

/**
 * A reader for `format`. Its rows are written without the field `secret` and with the fields `added`,
 * which the input may not have.
 */
export function makeReader(
  format: BatchFormat,
  secret: string,
  added: readonly string[],
): BatchReader {
  return format === "csv" ? new CsvRows(secret, added) : new JsonRows(secret, added);
}

/** What keys are derived from. */
const INPUTS: readonly string[] = ["cid", "huk", "huk_ref", "source", "compat"];

/**
 * The field that `name` is but for its case or spaces around it: as it stands it would be passed on,
 * secret or not, and the key derived without it.
 */
function misnamed(name: string): string | undefined {
  const plain = name.trim().toLowerCase();
  return plain !== name && INPUTS.includes(plain) ? plain : undefined;
}

const taken = (name: string): UsageError =>
  new UsageError(`the input has a field "${name}" already, which the output is to get`, {
    next: "Rename or remove it.",
  });

class CsvRows implements BatchReader {
  readonly encoding = "latin1";
  readonly #reader = new CsvReader();
  readonly #secret: string;
  readonly #added: readonly string[];
  #columns: ReadonlyMap<string, number> | undefined;
  /** Places of the columns that are passed on. */
  #kept: readonly number[] = [];
  head = "";

  constructor(secret: string, added: readonly string[]) {
    this.#secret = secret;
    this.#added = added;
  }

  push(piece: Uint8Array): BatchRow[] {
    return this.#rows(this.#reader.push(piece));
  }

  end(): BatchRow[] {
    return this.#rows(this.#reader.end());
  }

  #rows(records: ReturnType<CsvReader["push"]>): BatchRow[] {
    const rows: BatchRow[] = [];
    for (const { line, cells, fault } of records) {
      const columns = this.#columns;
      if (columns === undefined) {
        if (fault !== undefined) throw new UsageError(`line ${line}, the names: ${fault}`);
        this.#begin(cells);
        continue;
      }
      const count = `it has ${cells.length} values, and there are ${columns.size} names`;
      const wrong = fault ?? (cells.length === columns.size ? undefined : count);
      const field = (name: string): string | undefined => {
        const at = columns.get(name);
        const value = at === undefined ? undefined : cells[at]?.trim();
        return value === "" ? undefined : value;
      };
      const write = (added: readonly string[]): string =>
        csvLine([...this.#kept.map((at) => cells[at] ?? ""), ...added]);
      rows.push({ line, field, write, ...(wrong !== undefined && { fault: wrong }) });
    }
    return rows;
  }

  #begin(cells: readonly string[]): void {
    const columns = new Map<string, number>();
    for (const [at, cell] of cells.entries()) {
      const name = cell.trim();
      if (columns.has(name)) throw new UsageError(`two columns are named "${shown(name)}"`);
      if (this.#added.includes(name)) throw taken(name);
      const meant = misnamed(name);
      if (meant !== undefined) {
        throw new UsageError(`the column "${name}" is written otherwise than its field`, {
          expected: meant,
          next: "Rename it: as it stands it would be passed on, and not used.",
        });
      }
      columns.set(name, at);
    }
    if (!columns.has("cid")) {
      throw new UsageError("the first line names no column cid", {
        expected: "e.g. serial,cid,huk or serial,cid,huk_ref",
      });
    }
    this.#columns = columns;
    this.#kept = cells.map((_, at) => at).filter((at) => at !== columns.get(this.#secret));
    this.head = csvLine([...this.#kept.map((at) => cells[at] ?? ""), ...this.#added]);
  }
}

/** A name that is short and plain enough to be no value that slipped into the first line. */
const shown = (name: string): string => (/^[A-Za-z][\w -]{0,20}$/.test(name) ? name : "…");

class JsonRows implements BatchReader {
  readonly encoding = "utf8";
  readonly head = "";
  readonly #reader = new JsonLinesReader();
  readonly #secret: string;
  readonly #added: readonly string[];

  constructor(secret: string, added: readonly string[]) {
    this.#secret = secret;
    this.#added = added;
  }

  push(piece: Uint8Array): BatchRow[] {
    return this.#reader.push(piece).map((line) => this.#row(line));
  }

  end(): BatchRow[] {
    return this.#reader.end().map((line) => this.#row(line));
  }

  #row({ line, row, fault }: ReturnType<JsonLinesReader["push"]>[number]): BatchRow {
    for (const name of this.#added) if (Object.hasOwn(row, name)) throw taken(name);
    const field = (name: string): string | undefined => {
      const value = Object.hasOwn(row, name) ? row[name] : undefined;
      if (value === undefined || value === null) return undefined;
      const text = typeof value === "string" ? value.trim() : JSON.stringify(value);
      return text === "" ? undefined : text;
    };
    const write = (added: readonly string[]): string => {
      const more = added.map((value, at) => [this.#added[at] ?? "", value] as const);
      const kept = Object.entries(row).filter(([name]) => name !== this.#secret);
      return `${JSON.stringify(Object.fromEntries([...kept, ...more]))}\n`;
    };
    const odd = Object.keys(row).find((name) => misnamed(name) !== undefined);
    const wrong =
      fault ??
      (odd && `the field ${misnamed(odd) ?? ""} is written in another case, or with spaces`);
    return { line, field, write, ...(wrong !== undefined && { fault: wrong }) };
  }
}
