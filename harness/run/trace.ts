/**
 * A trace: what one run of a scenario exchanged with the secure world, as `traces/` of a bundle has it,
 * one record a line. Raw values; two platforms are compared by their canonical form.
 */

/** 64 bits as `0x` and lower-case hexadecimal digits without leading zeros. */
export type HexWord = `0x${string}`;

/** What a trace is a trace of; the first line of its file. */
export interface TraceHeader {
  readonly type: "trace";
  readonly format: 1;
  /** The board. */
  readonly target: string;
  /** The case that ran it, and which of its runs this is, from 0. */
  readonly caseId: string;
  readonly run: number;
  /** `<subject>/<file>#<export>`. */
  readonly reference: string;
  readonly conduit: string;
  /** The mediator's rules, on conduit `vm`. */
  readonly rules?: string;
  readonly seed: number;
  /** Clause ids that the scenario names. */
  readonly clauses: readonly string[];
}

/** Memory behind a parameter, as it was at that moment. */
export interface TraceData {
  /** Bytes that `digest` covers: the parameter's size, at most 64 KiB of it. */
  readonly size: number;
  /** The first 16 hexadecimal digits of their SHA-256. */
  readonly digest: string;
  /** The first 32 of them in hexadecimal. */
  readonly head: string;
  /** Where they are RPMB frames, those. */
  readonly frames?: readonly TraceFrame[];
}

/** An RPMB data frame. A key that is programmed is left out, data are there by their digest only. */
export interface TraceFrame {
  readonly type: number;
  readonly result: number;
  /** Of the first 256-byte block. */
  readonly address: number;
  readonly count: number;
  readonly counter: number;
  /** In hexadecimal; empty for zeros. */
  readonly nonce: string;
  readonly mac: string;
  /** What the data are, where the type of frame has any: `zero`, `partition …`, `entry …`, `data …`. */
  readonly block?: string;
}

export interface TraceParam {
  readonly attr: HexWord;
  /** The three 64-bit words behind the attributes (optee-msg.md, section 1). */
  readonly a: HexWord;
  readonly b: HexWord;
  readonly c: HexWord;
  /** Of memory that can be read at that moment: what an OUTPUT or INOUT holds at the end of the call, what an RPC's buffer holds at either end. */
  readonly data?: TraceData;
}

/** A `struct optee_msg_arg` as it stood in memory. */
export interface TraceMessage {
  /** The message of a call, or the argument of an RPC. */
  readonly role: "call" | "rpc";
  /** Its address, in the addresses of where it was seen. */
  readonly at: HexWord;
  readonly cmd: number;
  readonly func: number;
  readonly session: number;
  readonly cancelId: number;
  readonly ret: number;
  readonly retOrigin: number;
  /** As the message has it, which may be more than the parameters below. */
  readonly numParams: number;
  readonly params: readonly TraceParam[];
}

export type TraceRecord =
  | {
      readonly type: "smc";
      /** At the guest's conduit, or at the platform's port behind the mediator (conduit `vm` only). */
      readonly where: "conduit" | "port";
      readonly phase: "enter" | "leave";
      /** The guest whose driver issued it; at the port absent, where a7 says who calls. */
      readonly guest?: number;
      /** x0..x7. */
      readonly registers: readonly HexWord[];
      /**
       * On enter the message of CALL_WITH_ARG (and its kin) and the answer to an RPC's CMD; on leave
       * the request of a CMD and, when a call is done, its message with results.
       */
      readonly message?: TraceMessage;
    }
  /** A guest was created, refused or destroyed by the scenario. */
  | {
      readonly type: "guest";
      readonly guest: number;
      readonly what: "created" | "refused" | "destroyed";
    }
  /** A line of the secure world's console, where it came. Not compared. */
  | { readonly type: "console"; readonly text: string }
  /** How the scenario ended; `value` is what it returned, as JSON that keeps bigints and bytes apart. */
  | {
      readonly type: "end";
      readonly how: "done" | "skip" | "crash" | "error";
      readonly value?: unknown;
      readonly reason?: string;
      /** How many records before this one were left out because the trace was full. */
      readonly dropped?: number;
    };

export interface Trace {
  readonly header: TraceHeader;
  readonly records: readonly TraceRecord[];
}
