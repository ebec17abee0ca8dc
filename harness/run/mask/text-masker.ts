import { type KnownSecrets, WINDOW_BYTES } from "./known-secrets.ts";
import { LineScanner, type Span } from "./line-scanner.ts";

/** The same masking as `StreamMasker`, for text that arrives line by line or as a whole. */
export class TextMasker {
  readonly #known: KnownSecrets;
  readonly #scanner: LineScanner;

  constructor(known: KnownSecrets) {
    this.#known = known;
    this.#scanner = new LineScanner(known);
  }

  /** One line of a stream; dumps that span lines are followed from call to call. */
  line(text: string): string {
    return overwrite(this.#literals(text), this.#scanner.scan(text));
  }

  #literals(text: string): string {
    let out = text;
    for (const value of this.#known.texts) {
      if (out.includes(value)) out = out.replaceAll(value, "*".repeat(value.length));
    }
    return out;
  }
}

/** A text of its own (a reason, a message), possibly of several lines. */
export function maskText(known: KnownSecrets, text: string): string {
  const masker = new TextMasker(known);
  return text
    .split("\n")
    .map((line) => masker.line(line))
    .join("\n");
}

/**
 * Fields that hold our own vocabulary or names from board files. They are never masked: a password
 * `root` must not turn the board `root-a53` or a status into something else.
 */
const STRUCTURAL: ReadonlySet<string> = new Set([
  "type",
  "status",
  "target",
  "suite",
  "id",
  "stream",
  "stage",
  "offsets",
  "board",
  "boardType",
  "platform",
  "hab",
  "huk",
  "rpmb",
  "clauses",
]);

/** Every free text in a JSON value masked. */
export function maskValue<T>(known: KnownSecrets, value: T): T {
  if (typeof value === "string") return maskText(known, value) as T;
  if (Array.isArray(value)) return value.map((item: unknown) => maskValue(known, item)) as T;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [
      key,
      STRUCTURAL.has(key) ? (item as unknown) : maskValue(known, item as unknown),
    ]),
  ) as T;
}

/** Bytes in hexadecimal, with every run of them that is part of a known key overwritten. */
export function maskBytes(known: KnownSecrets, hex: string): string {
  const spans: Stretch[] = [];
  for (let from = 0; from + WINDOW_BYTES * 2 <= hex.length; from += 2) {
    const to = from + WINDOW_BYTES * 2;
    if (known.windows.has(hex.slice(from, to))) spans.push({ from, to });
  }
  return overwrite(hex, spans);
}

type Stretch = Pick<Span, "from" | "to">;

function overwrite(text: string, spans: readonly Stretch[]): string {
  let out = text;
  for (const { from, to } of spans) {
    out = out.slice(0, from) + "*".repeat(to - from) + out.slice(to);
  }
  return out;
}
