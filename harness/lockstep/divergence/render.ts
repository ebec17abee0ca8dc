import type { Trace } from "../../run/index.ts";
import { canonicalTrace } from "./canonical.ts";
import type { CanonicalField, CanonicalRecord, FieldValue } from "./model.ts";
import { SymbolNames, type SymbolValue } from "./symbols.ts";

/** Longest line of a record; a result may be of any size. */
const MAX_LINE = 600;

/** A field's value in words; `show` names its symbol. */
export function valueText(value: FieldValue, show: (symbol: SymbolValue) => string): string {
  switch (value.kind) {
    case "constant":
    case "number":
      return value.text;
    case "symbol":
      return show(value);
    case "loose":
      return value.of;
    default:
      return value satisfies never;
  }
}

/**
 * A record on one line: guest, direction (`>` into the secure world, `<` out of it, doubled behind the
 * mediator), call, and the fields that say something: zeros and registers that came back as they were
 * sent are left out.
 */
export function recordLine(record: CanonicalRecord, show: (symbol: SymbolValue) => string): string {
  const { guest, where, phase, type } = record;
  const arrow = phase === undefined ? "" : phase === "enter" ? ">" : "<";
  const head = [
    guest === undefined ? "" : `g${guest}`,
    where === "port" ? arrow + arrow : arrow,
    record.call,
  ].filter((part) => part !== "");
  const shown = record.fields().filter((one) => type !== "smc" || says(one, phase));
  const fields = shown.map((one) => `${one.name}=${valueText(one.value, show)}`);
  const line = [...head, ...fields].join(" ");
  return line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line;
}

function says(
  { name, value, asSent }: CanonicalField,
  phase: "enter" | "leave" | undefined,
): boolean {
  if (name === "a0") return phase === "leave";
  if (asSent === true || name === "cmd") return false;
  if (value.kind === "loose") return value.of !== "garbage";
  return value.kind !== "constant" || !/^(?:0x0|0|NONE)$/.test(value.text);
}

/** The canonical form of a trace as text: a line of what it is, then one for each record with its number. */
export function renderTrace(trace: Trace): string {
  const { target, caseId, run, reference, conduit, rules } = trace.header;
  const on = rules === undefined ? conduit : `${conduit}, ${rules}`;
  const names = new SymbolNames();
  const lines = canonicalTrace(trace).map(
    (record) =>
      `${String(record.index).padStart(6)}  ${recordLine(record, (symbol) => names.show(symbol))}`,
  );
  return [`${caseId} run ${run} on ${target} [${on}]: ${reference}`, ...lines, ""].join("\n");
}
