import type { CanonicalField, FieldValue } from "./model.ts";
import { constant, field } from "./values.ts";

/** Leaves of a result that are told apart; of a larger one the rest is compared as one text. */
const MAX_FIELDS = 4096;
const MAX_DEPTH = 16;

/** How a trace writes what JSON has no form for. */
interface Tagged {
  readonly $bigint?: unknown;
  readonly $bytes?: unknown;
}

/** The leaves of what a scenario returned, each as a field named by its path. */
export function resultFields(value: unknown): CanonicalField[] {
  const fields: CanonicalField[] = [];
  collect(value, "value", 0, fields);
  return fields;
}

function collect(value: unknown, path: string, depth: number, fields: CanonicalField[]): void {
  if (value === undefined) return;
  if (fields.length >= MAX_FIELDS || depth >= MAX_DEPTH) {
    const text = JSON.stringify(value);
    fields.push(field(path, "result", text, constant(text)));
    return;
  }
  if (Array.isArray(value)) {
    const length = String(value.length);
    fields.push(field(`${path}.length`, "result", length, constant(length)));
    for (const [index, one] of value.entries()) {
      collect(one, `${path}[${index}]`, depth + 1, fields);
    }
    return;
  }
  const leaf = leafOf(value);
  if (leaf !== undefined) {
    fields.push(field(path, "result", leaf.raw, leaf.value));
    return;
  }
  for (const [key, one] of Object.entries(value as object)) {
    collect(one, `${path}.${key}`, depth + 1, fields);
  }
}

function leafOf(value: unknown): { raw: string; value: FieldValue } | undefined {
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) {
    return numberLeaf(BigInt(value));
  }
  if (typeof value !== "object" || value === null) {
    const text = JSON.stringify(value);
    return { raw: text, value: constant(text) };
  }
  const { $bigint: big, $bytes: bytes } = value as Tagged;
  if (typeof big === "string" && /^0x[0-9a-f]{1,32}$/.test(big)) return numberLeaf(BigInt(big));
  if (typeof big === "string") return { raw: big, value: constant(big) };
  if (typeof bytes === "string") return { raw: bytes, value: constant(bytes) };
  return undefined;
}

function numberLeaf(value: bigint): { raw: string; value: FieldValue } {
  const text = value < 0x100n ? String(value) : `0x${value.toString(16)}`;
  return { raw: text, value: { kind: "number", text, value } };
}
