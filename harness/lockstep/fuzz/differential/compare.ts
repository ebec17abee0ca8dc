import { RPC_CMD } from "../../../optee-abi/index.ts";
import type { TraceMessage } from "../../../run/index.ts";
import type { ProgramRecord } from "./recorder.ts";

/** The first place where two runs of a program differ. */
export interface Difference {
  /** Index of the record. */
  readonly at: number;
  readonly left: ProgramRecord | undefined;
  readonly right: ProgramRecord | undefined;
}

/** From here on a wait is so long that how much of it has passed cannot matter. */
const LONG_MS = 10_000n;

/** The first difference; undefined when there is none. */
export function firstDifference(
  left: readonly ProgramRecord[],
  right: readonly ProgramRecord[],
): Difference | undefined {
  const count = Math.max(left.length, right.length);
  for (let at = 0; at < count; at += 1) {
    if (text(left[at]) !== text(right[at])) return { at, left: left[at], right: right[at] };
  }
  return undefined;
}

function text(record: ProgramRecord | undefined): string {
  if (record === undefined) return "";
  if (record.type === "end") return record.how;
  if (record.type === "smc" && record.message !== undefined) {
    return JSON.stringify({ ...record, message: comparable(record.message) });
  }
  return JSON.stringify(record);
}

/** Without what depends on the time that has passed: how much of a long wait is left. */
function comparable(message: TraceMessage): TraceMessage {
  if (message.role !== "rpc" || message.cmd !== RPC_CMD.SUSPEND) return message;
  const [wait, ...others] = message.params;
  if (wait === undefined || BigInt(wait.a) < LONG_MS) return message;
  return { ...message, params: [{ ...wait, a: "0x0" }, ...others] };
}
