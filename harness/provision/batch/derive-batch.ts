import type { KeyObject } from "node:crypto";
import { UsageError } from "../../base/index.ts";
import {
  BulkDeriver,
  CID,
  cidCrc,
  findHukSource,
  type Huk,
  type HukSource,
  keyDigits,
  rpmbTestKey,
} from "../../rpmb/index.ts";
import type { Sealer } from "../key-file/index.ts";
import { type BatchFormat, type BatchRow, makeReader } from "./format.ts";

/** What a row without a value or a reference of its own is derived from. */
export type BatchHuk = Huk | "test-key";

export interface BatchOptions {
  readonly format: BatchFormat;
  /** CFG_CORE_HUK_SUBKEY_COMPAT of rows that have no field `compat`. */
  readonly compat: boolean;
  /** What the values in the field `huk` are: one of the sources that take a value. */
  readonly source: HukSource;
  readonly huk?: BatchHuk;
  /** Hardware unique keys by the names that the field `huk_ref` uses. */
  readonly references: ReadonlyMap<string, BatchHuk>;
  /** Encrypts each key into the field `encrypted_key`, in base64. */
  readonly sealer?: Sealer;
  /** Ends with the first row that fails, or whose CID has a wrong CRC. */
  readonly strict?: boolean;
  /** Why hardware unique keys may not stand in the input; undefined where they may. */
  readonly noValues?: UsageError;
  /** Is told of every row that fails, or that is derived although something is odd. */
  readonly report: (line: number, what: string, failed: boolean) => void;
}

export interface BatchCounts {
  rows: number;
  failed: number;
  /** Rows that were derived although their CID has a wrong CRC. */
  oddCids: number;
}

/** The fields of a row: the CID, and its hardware unique key by value or by name. */
const SECRET = "huk";
const YES: ReadonlySet<string> = new Set(["y", "yes", "true", "1"]);
const NO: ReadonlySet<string> = new Set(["n", "no", "false", "0"]);

/**
 * Derives a key for every row and gives the rows again, with the field `key_id` and without the
 * field `huk`, piece by piece: nothing is read before what was read is asked for again. `counts` is
 * right after each piece. Throws UsageError for input that cannot be worked with, and with `strict`
 * for the first bad row; its text holds nothing of the input.
 */
export async function* deriveBatch(
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: BatchOptions,
  counts: BatchCounts,
): AsyncGenerator<Buffer> {
  const added = ["key_id", ...(options.sealer === undefined ? [] : ["encrypted_key"])];
  const reader = makeReader(options.format, SECRET, added);
  const work = new Work(options, counts);
  let begun = false;
  const finish = async (rows: readonly BatchRow[]): Promise<Buffer> => {
    let text = "";
    if (!begun && reader.head !== "") {
      text = reader.head;
      begun = true;
    }
    text += options.sealer === undefined ? work.ids(rows) : await work.sealed(rows, options.sealer);
    return Buffer.from(text, reader.encoding);
  };
  try {
    for await (const piece of source) yield await finish(reader.push(piece));
    yield await finish(reader.end());
  } finally {
    work.clear();
  }
}

class Work {
  readonly #options: BatchOptions;
  readonly #counts: BatchCounts;
  readonly #compat = new BulkDeriver(true);
  readonly #nonCompat = new BulkDeriver(false);
  readonly #cid = Buffer.alloc(CID.size);
  readonly #testKey = Buffer.from(keyDigits(rpmbTestKey()), "hex");

  constructor(options: BatchOptions, counts: BatchCounts) {
    this.#options = options;
    this.#counts = counts;
  }

  ids(rows: readonly BatchRow[]): string {
    let text = "";
    for (const row of rows) {
      const deriver = this.#derive(row);
      if (deriver !== undefined) text += row.write([deriver.id()]);
    }
    return text;
  }

  async sealed(rows: readonly BatchRow[], sealer: Sealer): Promise<string> {
    let text = "";
    for (const row of rows) {
      const deriver = this.#derive(row);
      if (deriver === undefined) continue;
      const file = await sealer.seal(deriver.key);
      text += row.write([deriver.id(), Buffer.from(file).toString("base64")]);
    }
    return text;
  }

  clear(): void {
    this.#compat.clear();
    this.#nonCompat.clear();
  }

  /** Derives the row's key; undefined where the row is bad, which is reported. */
  #derive(row: BatchRow): BulkDeriver | undefined {
    this.#counts.rows += 1;
    const result = row.fault ?? this.#tryDerive(row);
    if (typeof result !== "string") return result;
    this.#counts.failed += 1;
    if (this.#options.strict === true) {
      throw new UsageError(`line ${row.line}: ${result}`, {
        next: "Without --strict bad rows are reported and left out, and a wrong CRC is a warning.",
      });
    }
    this.#options.report(row.line, result, true);
    return undefined;
  }

  #tryDerive(row: BatchRow): BulkDeriver | string {
    const cid = row.field("cid");
    if (cid === undefined) return "it has no CID";
    if (!intoBytes(cid, this.#cid)) return "the CID is not 32 hexadecimal digits";
    const odd = cidCrc(this.#cid) === "wrong";
    if (odd && this.#options.strict === true) return "the CID's CRC7 is wrong";
    const compat = this.#compatOf(row);
    if (compat === undefined) return "compat is neither y nor n";
    const deriver = compat ? this.#compat : this.#nonCompat;
    const huk = this.#hukOf(row);
    if (typeof huk === "string") return huk;
    if (huk.huk === "test-key") deriver.key.set(this.#testKey);
    else deriver.derive(huk.huk, this.#cid);
    if (huk.huk instanceof Uint8Array) huk.huk.fill(0);
    if (odd) {
      this.#counts.oddCids += 1;
      this.#options.report(row.line, "derived, but the CID's CRC7 is wrong", false);
    }
    return deriver;
  }

  #compatOf(row: BatchRow): boolean | undefined {
    const text = row.field("compat")?.toLowerCase();
    if (text === undefined) return this.#options.compat;
    return YES.has(text) ? true : NO.has(text) ? false : undefined;
  }

  #hukOf(row: BatchRow): string | { readonly huk: KeyObject | Uint8Array | "test-key" } {
    const [value, name] = [row.field(SECRET), row.field("huk_ref")];
    const { noValues, references } = this.#options;
    if (value === undefined) {
      const found = name === undefined ? this.#options.huk : references.get(name);
      if (found !== undefined) return { huk: found === "test-key" ? found : found.key };
      return name === undefined
        ? "it names no hardware unique key"
        : "its huk_ref is neither the name of a --huk-file nor of a source without value";
    }
    if (name !== undefined) return "it has both a huk and a huk_ref";
    if (noValues !== undefined) throw noValues;
    const named = row.field("source");
    const source = named === undefined ? this.#options.source : findHukSource(named);
    if (source === undefined || source.takes.length === 0) return "its source takes no value";
    const digits = value.replace(/^0x/i, "");
    const bytes = Buffer.alloc(digits.length >>> 1);
    if (!source.takes.includes(bytes.length) || !intoBytes(digits, bytes)) {
      return `the HUK is not ${source.takes.map((size) => size * 2).join(" or ")} hexadecimal digits`;
    }
    if (source.name === "given") return { huk: bytes };
    const used = Uint8Array.from(bytes.subarray(0, 16));
    bytes.fill(0);
    return { huk: used };
  }
}

/** Whether `text` is as many hexadecimal digits as fill `bytes`, which they do then. */
function intoBytes(text: string, bytes: Buffer): boolean {
  return text.length === bytes.length * 2 && bytes.write(text, "hex") === bytes.length;
}
