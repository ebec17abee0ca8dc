import { functionName, isRpcReturn, returnName, smcName } from "../../optee-abi/index.ts";
import type { TraceRecord } from "../../run/index.ts";
import type { CanonicalField, FieldValue, RecordTopic } from "./model.ts";
import type { RegisterSpec, RegisterType } from "./registers.ts";
import { address, constant, field, joined, loose, low32, symbol, wordText } from "./values.ts";

type Smc = Extract<TraceRecord, { type: "smc" }>;

/** Bit 31 of a function identifier: fast. */
export const isYielding = (fid: number): boolean => fid >>> 31 === 0;

export const functionNameOf = (fid: number): string => smcName(fid) ?? functionName(fid);

/** Behind the mediator a7 says who calls. */
export function withClient(
  spec: readonly RegisterSpec[],
  where: Smc["where"],
): readonly RegisterSpec[] {
  return where === "port" ? [...spec, [7, "client"]] : spec;
}

/** The registers of an SMC, each pair as one. */
export function registerFields(
  { registers: raw, phase }: Smc,
  parts: {
    readonly spec: readonly RegisterSpec[];
    readonly sent?: readonly string[];
    readonly code?: boolean;
    readonly topic: RecordTopic;
  },
  scope: string,
  space: string,
): CanonicalField[] {
  const { spec, sent, code = true } = parts;
  const fields: CanonicalField[] = [];
  const typed = new Map<number, RegisterSpec>();
  for (const one of spec) {
    for (const register of typeof one[0] === "number" ? [one[0]] : one[0]) typed.set(register, one);
  }
  const isRpc = phase === "leave" && isYielding(parts.topic.fid ?? 0) && isRpcReturn(low32(raw[0]));
  for (let register = 0; register < Math.min(8, raw.length); register += 1) {
    const [which = register, type] = typed.get(register) ?? [];
    const numbers = typeof which === "number" ? [which] : which;
    if (numbers[0] !== register) continue;
    const value =
      numbers.length === 2 ? joined(raw[register], raw[numbers[1] ?? 0]) : wordText(raw[register]);
    const names = phase === "enter";
    const read =
      register === 0 && type === undefined
        ? codeValue(value, phase, code, isRpc)
        : registerValue(type ?? "constant", value, { scope, space, names });
    const one = field(
      numbers.map((number) => `a${number}`).join(":"),
      "register",
      numbers.map((number) => raw[number] ?? "").join(" "),
      read,
    );
    const kept =
      phase === "leave" &&
      register > 0 &&
      sent !== undefined &&
      numbers.every((number) => sent[number] === raw[number]);
    fields.push(kept ? { ...one, asSent: true } : one);
  }
  return fields;
}

function codeValue(
  value: string,
  phase: "enter" | "leave",
  code: boolean,
  isRpc: boolean,
): FieldValue {
  const low = low32(value);
  // Upper bits of a0 are no part of an identifier or code, but both sides must have the same.
  const beside = value.length > 10 ? ` (${value})` : "";
  if (phase === "enter") return constant(functionNameOf(low) + beside);
  const isCode = isRpc || !isRpcReturn(low);
  return constant(code && isCode ? returnName(low) + beside : value);
}

function registerValue(
  type: RegisterType,
  value: string,
  { scope, space, names }: { scope: string; space: string; names: boolean },
): FieldValue {
  switch (type) {
    case "constant":
      return constant(value);
    case "address":
      return address(space, value, names);
    case "cookie":
      return symbol("cookie", scope, value);
    case "new cookie":
      return symbol("cookie", scope, value, true);
    case "thread":
    case "new thread":
      // Threads are numbered from 0, so that 0 is one.
      return {
        kind: "symbol",
        of: "thread",
        key: `${scope}:${value.slice(2)}`,
        beside: "",
        names: false,
      };
    case "client":
      return symbol("client", "", value);
    case "version":
      return symbol("version", "", value);
    case "garbage":
      return loose("garbage");
    default:
      return type satisfies never;
  }
}
