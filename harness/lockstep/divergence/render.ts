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
 * mediator), call, and the fields that say something. Left out are zeros, registers that came back as
 * they were sent, and what every message of its kind has. Parameters are `p0:TYPE` and their words.
 */
export function recordLine(record: CanonicalRecord, show: (symbol: SymbolValue) => string): string {
  const { guest, where, phase, type } = record;
  const arrow = phase === undefined ? "" : phase === "enter" ? ">" : "<";
  const fields = record.fields();
  const params = fields.filter(({ name }) => name.endsWith(".attr")).length;
  const shown = fields.filter((one) => type !== "smc" || says(one, record, params));
  const head = [
    guest === undefined ? "" : `g${guest}`,
    where === "port" ? arrow + arrow : arrow,
    record.call,
  ].filter((part) => part !== "");
  const line = [...head, ...shown.map((one) => fieldText(one, show))].join(" ");
  return line.length > MAX_LINE ? `${line.slice(0, MAX_LINE)}…` : line;
}

function fieldText({ name, value }: CanonicalField, show: (symbol: SymbolValue) => string): string {
  const text = valueText(value, show);
  const [, index = "", word = ""] = /^params\[(\d+)\]\.(.+)$/.exec(name) ?? [];
  if (index === "") return `${name}=${text}`;
  return word === "attr" ? `p${index}:${text}` : `${word}=${text}`;
}

function says(
  { name, value, asSent }: CanonicalField,
  { phase, call }: CanonicalRecord,
  params: number,
): boolean {
  if (name.endsWith(".attr")) return true;
  if ((asSent === true && value.kind === "constant") || name === "cmd") return false;
  if (value.kind === "loose") return value.of !== "garbage";
  if (value.kind !== "constant") return true;
  const { text } = value;
  if (name === "a0") return phase === "leave" && text !== "RPC_CMD";
  if (name === "num_params") return text !== `0x${params.toString(16)}`;
  if (name === "ret") {
    const isRpc = call.startsWith("RPC ") || call.startsWith("RETURN_FROM_RPC");
    if (phase === "enter" && !isRpc) return text !== "TEEC_SUCCESS";
    if (phase === "leave" && isRpc) return text !== "TEEC_ERROR_GENERIC";
    return true;
  }
  return !/^(?:0x0|0)$/.test(text);
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
