import { uuidText } from "../../base/index.ts";
import {
  isRpcReturn,
  MSG_CMD,
  OPTEE_SMC,
  returnName,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  SMC_RETURN,
} from "../../optee-abi/index.ts";
import type { Trace, TraceMessage, TraceParam, TraceRecord } from "../../run/index.ts";
import { messageFields, messageName, operationOf } from "./message-fields.ts";
import type { CanonicalRecord, RecordTopic } from "./model.ts";
import { inFlows } from "./flows.ts";
import { resultFields } from "./result-fields.ts";
import { rpmbTopic } from "./rpmb-fields.ts";
import {
  ENTER,
  LEAVE_ANSWER,
  LEAVE_EARLY,
  LEAVE_OK,
  LEAVE_RPC,
  type RegisterSpec,
  RESUME,
} from "./registers.ts";
import { functionNameOf, isYielding, registerFields, withClient } from "./register-fields.ts";
import { constant, field, low32, wordText } from "./values.ts";

type Smc = Extract<TraceRecord, { type: "smc" }>;

/** What a thread waits for, and the call that it belongs to. */
interface Suspended {
  readonly request: string;
  readonly kind: keyof typeof RESUME;
  readonly call: Call;
  readonly rpc: number | undefined;
  readonly operation: number | undefined;
  readonly address: number | undefined;
}

/** A yielding call from its first SMC to its end. */
interface Call {
  readonly fid: number;
  readonly name: string;
  readonly cmd: number | undefined;
}

/** An SMC that has been entered. */
interface Entered {
  readonly registers: readonly string[];
  readonly call: Call;
}

const RPC_KINDS: Readonly<Record<number, keyof typeof LEAVE_RPC>> = {
  [RPC_FUNC.ALLOC]: "ALLOC",
  [RPC_FUNC.FREE]: "FREE",
  [RPC_FUNC.CMD]: "CMD",
};

/** Refusals that come before the call has a thread. */
const EARLY: ReadonlySet<number> = new Set([
  SMC_RETURN.ETHREAD_LIMIT,
  SMC_RETURN.ERESUME,
  SMC_RETURN.ENOTAVAIL,
]);

/**
 * The canonical form of a trace: a call's records together with those of its RPCs, calls in the order
 * of their beginnings, foreign interrupts with their resumption left out, every field typed.
 * Console lines have no canonical form.
 */
export function canonicalTrace(trace: Trace): readonly CanonicalRecord[] {
  const canon = new Canonicalizer(trace.header.conduit);
  const records: CanonicalRecord[] = [];
  for (const { record, index, scope, sent } of inFlows(trace.records)) {
    const one = canon.record(record, index + 1, scope, sent);
    if (one !== undefined) records.push(one);
  }
  return records;
}

class Canonicalizer {
  readonly #conduit: string;
  readonly #suspended = new Map<string, Suspended>();
  readonly #entered = new Map<string, Entered>();
  readonly #taSizes = new Set<string>();
  /** UUIDs of the TAs behind sessions, by guest and id. */
  readonly #tas = new Map<string, string>();

  constructor(conduit: string) {
    this.#conduit = conduit;
  }

  record(
    record: TraceRecord,
    index: number,
    scope: string,
    resumed?: readonly string[],
  ): CanonicalRecord | undefined {
    switch (record.type) {
      case "smc":
        return record.phase === "enter"
          ? this.#enter(record, index, scope)
          : this.#leave(record, index, scope, resumed);
      case "guest": {
        const { guest, what } = record;
        return {
          index,
          type: "guest",
          call: "guest",
          guest,
          skeleton: `guest ${guest} ${what === "destroyed" ? what : "created"}`,
          outline: `guest ${guest}`,
          fields: () => [field("guest", "guest", what, constant(what))],
          topic: {},
        };
      }
      case "end":
        return endRecord(record, index);
      case "console":
        return undefined;
      default:
        return record satisfies never;
    }
  }

  #enter(record: Smc, index: number, scope: string): CanonicalRecord {
    const { registers } = record;
    const fid = low32(registers[0]);
    const { message, where } = record;
    const thread = `${where} ${scope} ${low32(registers[3])}`;
    const waiting = fid === OPTEE_SMC.RETURN_FROM_RPC ? this.#suspended.get(thread) : undefined;
    if (waiting !== undefined) this.#suspended.delete(thread);
    const name = functionNameOf(fid);
    const isResume = fid === OPTEE_SMC.RETURN_FROM_RPC;
    const about = isResume
      ? (waiting?.request ?? "")
      : message?.role === "call"
        ? messageName(message)
        : "";
    const call: Call =
      waiting?.call ?? ({ fid, name: `${name} ${about}`.trim(), cmd: message?.cmd } satisfies Call);
    this.#entered.set(`${where} ${scope}`, { registers, call });
    if (message?.role === "rpc" && message.cmd === RPC_CMD.LOAD_TA) this.#noteTa(message);
    const spec = isResume ? RESUME[waiting?.kind ?? "other"] : (ENTER[fid] ?? []);
    const topic: RecordTopic = {
      fid: call.fid,
      ...defined({
        cmd: call.cmd,
        rpc: waiting?.rpc,
        operation: waiting?.operation,
        address: waiting?.address,
      }),
      ...(message === undefined ? {} : { ret: message.ret }),
    };
    return this.#smc(record, index, scope, {
      call: `${name} ${about}`.trim(),
      outline: name,
      spec: withClient(spec, where),
      topic: isResume ? { ...topic, fid } : topic,
    });
  }

  #leave(
    record: Smc,
    index: number,
    scope: string,
    resumed: readonly string[] | undefined,
  ): CanonicalRecord {
    const { where, message } = record;
    const { registers } = record;
    const entered = this.#entered.get(`${where} ${scope}`);
    this.#entered.delete(`${where} ${scope}`);
    const call = entered?.call ?? { fid: 0, name: "unknown", cmd: undefined };
    const a0 = low32(registers[0]);
    const yields = isYielding(call.fid);
    const sent = resumed ?? entered?.registers;
    const common = { fid: call.fid, a0, ...defined({ cmd: call.cmd }) };
    const ret = message === undefined ? {} : { ret: message.ret };
    if (yields && isRpcReturn(a0)) {
      const kind = RPC_KINDS[rpcFunction(a0)];
      const rpc = message?.role === "rpc" ? message.cmd : undefined;
      const operation = message?.role === "rpc" ? operationOf(message) : undefined;
      const address = message === undefined ? undefined : rpmbTopic(message)?.address;
      const request =
        message?.role === "rpc" ? messageName(message) : returnName(a0).replace(/^RPC_/, "");
      const thread = `${where} ${scope} ${low32(registers[3])}`;
      this.#suspended.set(thread, {
        request,
        kind: kind === "ALLOC" || kind === "CMD" ? kind : "other",
        call,
        rpc,
        operation,
        address,
      });
      return this.#smc(record, index, scope, {
        call: `RPC ${request}`,
        outline: "leave",
        spec: withClient(LEAVE_RPC[kind ?? "other"], where),
        topic: { ...common, ...ret, ...defined({ rpc, operation, address }) },
        ...(sent === undefined ? {} : { sent }),
      });
    }
    const spec =
      LEAVE_ANSWER[call.fid] ??
      (yields
        ? EARLY.has(a0)
          ? LEAVE_EARLY
          : []
        : a0 === SMC_RETURN.OK
          ? (LEAVE_OK[call.fid] ?? [])
          : []);
    return this.#smc(record, index, scope, {
      call: call.name,
      outline: "leave",
      skeleton: "done",
      spec: withClient(a0 === SMC_RETURN.UNKNOWN_FUNCTION ? [] : spec, where),
      topic: { ...common, ...ret },
      ...(sent === undefined ? {} : { sent }),
      code: LEAVE_ANSWER[call.fid] === undefined,
    });
  }

  #smc(
    record: Smc,
    index: number,
    scope: string,
    parts: {
      readonly call: string;
      readonly outline: string;
      readonly skeleton?: string;
      readonly spec: readonly RegisterSpec[];
      readonly topic: RecordTopic;
      /** Registers at entry, of a leave. */
      readonly sent?: readonly string[];
      /** a0 is a return code. */
      readonly code?: boolean;
    },
  ): CanonicalRecord {
    const { where, phase, guest, message } = record;
    const space = where === "conduit" && this.#conduit === "vm" ? `ipa ${scope}` : "pa";
    const taSizes = this.#taSizes;
    const ta = message === undefined ? undefined : this.#taOf(message, scope, phase);
    const place = `${where} ${phase} ${scope}`;
    return {
      index,
      type: "smc",
      call: parts.call,
      where,
      phase,
      ...(guest === undefined ? {} : { guest }),
      skeleton: `${place} ${parts.skeleton ?? parts.call}`,
      outline: `${place} ${parts.outline}`,
      fields: () => {
        const fields = registerFields(record, parts, scope, space);
        if (message === undefined) return fields;
        return [
          ...fields,
          ...messageFields(message, {
            scope,
            space,
            phase,
            taSizes,
            ...(ta === undefined ? {} : { ta }),
          }),
        ];
      },
      topic: parts.topic,
    };
  }

  /** The TA behind a message's session. */
  #taOf(message: TraceMessage, scope: string, phase: Smc["phase"]): string | undefined {
    const { role, cmd, session, ret, params } = message;
    if (role === "rpc") return undefined;
    const key = `${scope} ${session}`;
    if (cmd === MSG_CMD.OPEN_SESSION && phase === "leave" && ret === 0) {
      const [uuid] = params;
      if (uuid !== undefined) this.#tas.set(key, uuidOf(uuid));
    }
    return cmd === MSG_CMD.INVOKE_COMMAND ? this.#tas.get(key) : undefined;
  }

  /** A later request for memory of that size is for this image. */
  #noteTa(message: TraceMessage): void {
    const size = wordText(message.params[1]?.b);
    if (size !== "0x0") this.#taSizes.add(size);
  }
}

/** The UUID in two words of a parameter: 16 octets. */
function uuidOf({ a, b }: TraceParam): string {
  const octets = new Uint8Array(16);
  const view = new DataView(octets.buffer);
  for (const [index, word] of [a, b].entries()) {
    if (/^0x[0-9a-f]{1,16}$/.test(word)) view.setBigUint64(8 * index, BigInt(word), true);
  }
  return uuidText(octets);
}

function defined<T extends Record<string, number | undefined>>(
  values: T,
): { [K in keyof T]?: number } {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: number };
}

function endRecord(record: Extract<TraceRecord, { type: "end" }>, index: number): CanonicalRecord {
  const { how, reason, value } = record;
  return {
    index,
    type: "end",
    call: "end",
    skeleton: "end",
    outline: "end",
    fields: () => [
      field("end", "end", reason === undefined ? how : `${how}: ${reason}`, constant(how)),
      ...resultFields(value),
    ],
    topic: {},
  };
}
