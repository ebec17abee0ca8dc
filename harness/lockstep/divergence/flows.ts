import { OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../../optee-abi/index.ts";
import type { TraceRecord } from "../../run/index.ts";
import { low32 } from "./values.ts";

/** A record with its place in the trace, and whose names its cookies, sessions and threads are. */
export interface FlowRecord {
  readonly record: TraceRecord;
  /** From 0. */
  readonly index: number;
  readonly scope: string;
  /** Registers of the SMC that it answers, where that was left out: it resumed from an interrupt. */
  readonly sent?: readonly string[];
}

type Smc = Extract<TraceRecord, { type: "smc" }>;

interface Flow {
  readonly records: FlowRecord[];
}

/**
 * The records of a trace flow by flow: a call from its first SMC over all its RPCs to its end, with
 * what the mediator sent on for it; flows in the order of their beginnings. A return with FOREIGN_INTR
 * and what resumed it are left out: when an interrupt comes is timing, and so is which of two calls
 * that are under way goes on first.
 */
export function inFlows(records: readonly TraceRecord[]): readonly FlowRecord[] {
  const flows: Flow[] = [];
  const open = new Map<string, Flow>();
  const suspended = new Map<string, Flow>();
  let conduit: { readonly flow: Flow; readonly scope: string } | undefined;
  const begin = (): Flow => {
    const flow: Flow = { records: [] };
    flows.push(flow);
    return flow;
  };
  for (const [index, record] of records.entries()) {
    if (record.type !== "smc") {
      if (record.type !== "console") begin().records.push({ record, index, scope: "" });
      continue;
    }
    const { where, phase } = record;
    const nested = where === "port" ? conduit : undefined;
    const scope = nested?.scope ?? scopeOf(record);
    const thread = `${where} ${scope} ${threadOf(record)}`;
    const exchange = `${where} ${scope}`;
    let flow: Flow;
    if (phase === "enter") {
      const resumed = isResume(record) ? suspended.get(thread) : undefined;
      if (resumed !== undefined) suspended.delete(thread);
      flow = nested?.flow ?? resumed ?? begin();
      open.set(exchange, flow);
      if (where === "conduit") conduit = { flow, scope };
    } else {
      flow = nested?.flow ?? open.get(exchange) ?? begin();
      open.delete(exchange);
      if (isRpc(record)) suspended.set(thread, flow);
      if (where === "conduit") conduit = undefined;
    }
    flow.records.push({ record, index, scope });
  }
  return flows.flatMap(({ records: all }) => withoutPauses(all));
}

const a0Of = (record: Smc): number => low32(record.registers[0]);
const threadOf = (record: Smc): number => low32(record.registers[3]);

/** The guest; behind a mediator, outside any of its calls, the client id. */
function scopeOf(record: Smc): string {
  if (record.guest !== undefined) return `guest ${record.guest}`;
  return `client ${low32(record.registers[7])}`;
}

const isResume = (record: Smc): boolean => a0Of(record) === OPTEE_SMC.RETURN_FROM_RPC;

function isRpc(record: Smc): boolean {
  const a0 = a0Of(record);
  return a0 >= 0xffff_0000 && a0 !== SMC_RETURN.UNKNOWN_FUNCTION;
}

const isInterrupt = ({ record }: FlowRecord): boolean =>
  record.type === "smc" && record.phase === "leave" && a0Of(record) === SMC_RETURN.RPC_FOREIGN_INTR;

const isWait = ({ record }: FlowRecord): boolean =>
  record.type === "smc" && record.message?.role === "rpc" && record.message.cmd === RPC_CMD.SUSPEND;

/**
 * What is left when interrupts with their resumption are left out, and of a wait that was not over when
 * it was resumed all but the first request. An interrupt that nothing resumes stays: there the call ends.
 */
function withoutPauses(records: readonly FlowRecord[]): readonly FlowRecord[] {
  if (!records.some((one) => isInterrupt(one) || isWait(one))) return records;
  const kept: FlowRecord[] = [];
  // By place: a pause that has not been resumed, the registers of one that was, a wait that was kept.
  const pending = new Map<string, FlowRecord>();
  const sent = new Map<string, readonly string[]>();
  const waited = new Set<string>();
  for (const one of records) {
    const { record } = one;
    if (record.type !== "smc") {
      kept.push(one);
      continue;
    }
    const { where, phase, registers } = record;
    const wait = isWait(one);
    if (phase === "leave" && (isInterrupt(one) || (wait && waited.has(where)))) {
      pending.set(where, one);
      continue;
    }
    const pause = pending.get(where);
    pending.delete(where);
    if (pause !== undefined && phase === "enter" && isResume(record)) {
      sent.set(where, registers);
      continue;
    }
    if (pause !== undefined) kept.push(pause);
    if (wait) waited.add(where);
    else waited.delete(where);
    const resumed = phase === "leave" ? sent.get(where) : undefined;
    sent.delete(where);
    kept.push(resumed === undefined ? one : { ...one, sent: resumed });
  }
  return [...kept, ...pending.values()];
}
