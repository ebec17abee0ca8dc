import { MAX_RECORD } from "./record.ts";

/** A line of a JSON-lines file, or why it holds no row. */
export interface JsonLine {
  readonly line: number;
  readonly fault?: string;
  readonly row: Readonly<Record<string, unknown>>;
}

const NOTHING: Readonly<Record<string, unknown>> = {};

/** Reads JSON lines in pieces of any size; empty lines are left out. */
export class JsonLinesReader {
  readonly #decoder = new TextDecoder("utf-8");
  #text = "";
  #line = 1;
  #skipping = false;

  push(piece: Uint8Array): JsonLine[] {
    return this.#read(this.#decoder.decode(piece, { stream: true }));
  }

  /** What is left at the end of the file. */
  end(): JsonLine[] {
    return this.#read(`${this.#decoder.decode()}\n`);
  }

  #read(more: string): JsonLine[] {
    const lines = (this.#text + more).split("\n");
    this.#text = lines.pop() ?? "";
    const out: JsonLine[] = [];
    for (const text of lines) {
      if (!this.#skipping) this.#take(text, out);
      this.#skipping = false;
      this.#line += 1;
    }
    if (this.#text.length > MAX_RECORD) {
      if (!this.#skipping) this.#take(this.#text, out);
      this.#skipping = true;
      this.#text = "";
    }
    return out;
  }

  #take(text: string, out: JsonLine[]): void {
    const line = this.#line;
    const fault = (what: string): number => out.push({ line, row: NOTHING, fault: what });
    if (text.length > MAX_RECORD) {
      fault(`the line is longer than ${MAX_RECORD} characters`);
      return;
    }
    if (text.trim() === "") return;
    try {
      const value: unknown = JSON.parse(text);
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        fault("the line is not a JSON object");
      } else out.push({ line, row: value as Record<string, unknown> });
    } catch {
      // The parser's text quotes the line.
      fault("the line is not JSON");
    }
  }
}
