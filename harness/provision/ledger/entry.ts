/** One line of the ledger, by what it tells. Nothing in it is secret: keys stand by their id only. */
export type LedgerFact =
  | {
      /** Written and on the disk before the part is touched. */
      readonly kind: "intent";
      /** The attempt; the entry that ends it has the same. */
      readonly id: string;
      readonly board: string;
      readonly lifeCycle: string;
      /** Where the part is, e.g. `/dev/mmcblk2rpmb`. */
      readonly part: string;
      readonly emulated: boolean;
      readonly cid: string;
      /** Empty where Lockstep does not know the key: OP-TEE derives it from what it alone can read. */
      readonly keyId: string;
      readonly route: string;
      /** SHA-256 of the plan. */
      readonly plan: string;
      readonly by: string;
      readonly host: string;
      readonly lockstep: string;
    }
  | {
      /** The part has the key, as a read under a nonce has shown. */
      readonly kind: "done";
      readonly id: string;
      readonly cid: string;
      readonly keyId: string;
      readonly verdict: string;
      /** -1 where the part gave none. */
      readonly writeCounter: number;
      readonly note: string;
    }
  | {
      readonly kind: "failed";
      readonly id: string;
      readonly cid: string;
      readonly part: PartEnd;
      readonly reason: string;
    }
  | {
      /** An attempt whose end was never written, closed by what the part showed later. */
      readonly kind: "settled";
      readonly id: string;
      readonly cid: string;
      readonly part: PartEnd;
      readonly keyId: string;
      readonly reason: string;
    }
  | {
      /** What stands in the line before is the beginning of an entry that was torn by a power cut. */
      readonly kind: "recovered";
      readonly bytes: number;
      readonly sha256: string;
    };

/** What an attempt left behind. */
export type PartEnd = "blank" | "programmed" | "unknown";

export type LedgerEntry = LedgerFact & {
  readonly v: 1;
  /** 1 for the first entry. */
  readonly seq: number;
  /** Wall time, ISO 8601 in UTC. */
  readonly time: string;
  /** SHA-256 of the bytes of the entry before, without its line end; 64 zeros for the first. */
  readonly prev: string;
};

type Intent = Extract<LedgerEntry, { kind: "intent" }>;
export type LedgerIntent = Intent;

const HEX = (digits: number): RegExp => new RegExp(`^[0-9a-f]{${digits}}$`);
const TEXT = /^[\s\S]{0,2000}$/;
const WORD = /^[\s\S]{1,300}$/;
const PART_END = /^(?:blank|programmed|unknown)$/;
const KEY_ID = /^(?:[0-9a-f]{16})?$/;
const ID = /^[0-9a-f]{16}$/;

const CHAIN = {
  v: "number",
  seq: "number",
  time: /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
  prev: HEX(64),
} as const;

type Shape = Readonly<Record<string, RegExp | "number" | "boolean">>;

const SHAPES: Readonly<Record<LedgerFact["kind"], Shape>> = {
  intent: {
    id: ID,
    board: WORD,
    lifeCycle: WORD,
    part: WORD,
    emulated: "boolean",
    cid: HEX(32),
    keyId: KEY_ID,
    route: WORD,
    plan: HEX(64),
    by: TEXT,
    host: TEXT,
    lockstep: TEXT,
  },
  done: { id: ID, cid: HEX(32), keyId: KEY_ID, verdict: WORD, writeCounter: "number", note: TEXT },
  failed: { id: ID, cid: HEX(32), part: PART_END, reason: TEXT },
  settled: { id: ID, cid: HEX(32), part: PART_END, keyId: KEY_ID, reason: TEXT },
  recovered: { bytes: "number", sha256: HEX(64) },
};

/** An entry from the bytes of a line, or undefined where it is none: every field is checked. */
export function parseEntry(line: Uint8Array): LedgerEntry | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(line).toString("utf8"));
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const entry = value as Record<string, unknown>;
  const kind = entry["kind"];
  if (typeof kind !== "string" || !Object.hasOwn(SHAPES, kind)) return undefined;
  const shape: Shape = { ...CHAIN, ...SHAPES[kind as LedgerFact["kind"]] };
  const fits = Object.entries(shape).every(([key, wanted]) => {
    const seen = entry[key];
    if (wanted === "number") return Number.isSafeInteger(seen);
    if (wanted === "boolean") return typeof seen === "boolean";
    return typeof seen === "string" && wanted.test(seen);
  });
  const known = Object.keys(entry).every((key) => key === "kind" || Object.hasOwn(shape, key));
  return fits && known && entry["v"] === 1 ? (value as LedgerEntry) : undefined;
}
