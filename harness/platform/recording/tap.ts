import type { Registers } from "../../machine/index.ts";
import {
  isOutputType,
  isRpcReturn,
  MSG_CMD,
  messageSize,
  OPTEE_SMC,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  SMC_RETURN,
} from "../../optee-abi/index.ts";
import type { TraceData, TraceMessage } from "../../run/index.ts";
import { digestOf } from "./digest.ts";
import { framesBehind } from "./rpmb-frames.ts";
import { type MemoryParam, type SeenMessage, seeMessage } from "./messages.ts";
import type { Recorder } from "./recorder.ts";
import { flatObject, listedObject, type SharedObject, SharedObjects } from "./shared-objects.ts";
import { flat, listed, type PageOf, shifted, type Span } from "./spans.ts";
import { bigPair } from "./words.ts";

/** A yielding call from its first SMC to its completion. */
interface Call {
  readonly message: Span;
  readonly entry: SeenMessage | undefined;
  /** Where an RPC argument that was supplied with the call lies. */
  readonly behind: Span | undefined;
  /** What REGISTER_SHM asks to share, as it was when the call began: its list may be gone at its end. */
  readonly shares: SharedObject | undefined;
}

/** What a thread of the secure world waits for. */
interface Asked {
  readonly func: number;
  /** The argument of a CMD, where it is known. */
  readonly argument?: Span;
  readonly request?: SeenMessage;
}

/** What is known of a thread of the secure world, by its number. */
interface Thread {
  call: Call | undefined;
  asked: Asked | undefined;
  /** The RPC argument that it was given, which it may keep from call to call (SMC-5.2). */
  argument: { readonly cookie: bigint; readonly at: Span } | undefined;
}

/** Between an SMC and its return. */
export interface Underway {
  readonly yielding: boolean;
  /** The thread that is resumed, if any. */
  readonly thread: number | undefined;
  readonly call: Call | undefined;
}

/** A secure world has few; one that makes numbers up must not fill our memory. */
const MAX_THREADS = 1024;
/** Commands whose memory parameters carry data; of the others they tell what memory there is. */
const CALLS_WITH_DATA: readonly number[] = [MSG_CMD.OPEN_SESSION, MSG_CMD.INVOKE_COMMAND];
const RPCS_WITHOUT_DATA: readonly number[] = [RPC_CMD.SHM_ALLOC, RPC_CMD.SHM_FREE];

const isInputType = (type: number): boolean => (type & 1) !== 0;

/** Follows the calls of one normal world, so that each SMC can be recorded with its message. */
export class Tap {
  readonly #recorder: Recorder;
  readonly #pageOf: PageOf;
  readonly #threads = new Map<number, Thread>();
  readonly #objects = new SharedObjects();

  constructor(recorder: Recorder, pageOf: PageOf) {
    this.#recorder = recorder;
    this.#pageOf = pageOf;
  }

  /** Before an SMC: its message, and what `leave` has to be told. */
  enter(registers: Registers): { readonly message?: TraceMessage; readonly underway: Underway } {
    const id = registers.get(0);
    if (id === OPTEE_SMC.RETURN_FROM_RPC) return this.#resume(registers);
    const call = this.#begin(id, registers);
    if (call === undefined) {
      return { underway: { yielding: false, thread: undefined, call } };
    }
    const message = call.entry?.record("call", () => undefined);
    return {
      ...(message === undefined ? {} : { message }),
      underway: { yielding: true, thread: undefined, call },
    };
  }

  /** After it. */
  leave({ yielding, thread, call }: Underway, registers: Registers): TraceMessage | undefined {
    if (!yielding) return undefined;
    const code = registers.get(0);
    if (isRpcReturn(code)) return this.#asked(rpcFunction(code), call, registers);
    // The thread was not waiting: whatever it is in, it is in still.
    if (thread !== undefined && code === SMC_RETURN.ERESUME) return undefined;
    const known = thread === undefined ? undefined : this.#threads.get(thread);
    if (known !== undefined) {
      known.call = undefined;
      known.asked = undefined;
    }
    return call === undefined ? undefined : this.#completed(call, code);
  }

  #begin(id: number, registers: Registers): Call | undefined {
    let message: Span;
    if (id === OPTEE_SMC.CALL_WITH_ARG || id === OPTEE_SMC.CALL_WITH_RPC_ARG) {
      message = flat(registers.pair(1));
    } else if (id === OPTEE_SMC.CALL_WITH_REGD_ARG) {
      const object = this.#objects.find(bigPair(registers, 1));
      message = object === undefined ? () => undefined : shifted(object.span, registers.get(3));
    } else return undefined;
    const entry = seeMessage(this.#pageOf, message);
    const behind =
      id === OPTEE_SMC.CALL_WITH_ARG || entry === undefined
        ? undefined
        : shifted(message, messageSize(entry.numParams));
    return { message, entry, behind, shares: this.#shares(entry) };
  }

  #shares(entry: SeenMessage | undefined): SharedObject | undefined {
    const [param] = entry?.memory ?? [];
    if (entry?.cmd !== MSG_CMD.REGISTER_SHM || param?.noncontig !== true) return undefined;
    return listedObject(this.#pageOf, param.pointer, param.size);
  }

  #completed({ message, entry, shares }: Call, code: number): TraceMessage | undefined {
    const seen = seeMessage(this.#pageOf, message);
    if (entry !== undefined && seen?.ret === 0 && code === SMC_RETURN.OK) {
      if (shares !== undefined) this.#objects.add(entry.firstCookie, shares);
      if (entry.cmd === MSG_CMD.UNREGISTER_SHM) this.#objects.remove(entry.firstCookie);
    }
    const told = entry !== undefined && CALLS_WITH_DATA.includes(entry.cmd) && code === 0;
    return seen?.record("call", ({ index, size }) => {
      const param = told ? entry.memory[index] : undefined;
      if (param === undefined || !isOutputType(param.type)) return undefined;
      return this.#data(param, size, entry);
    });
  }

  #asked(func: number, call: Call | undefined, registers: Registers): TraceMessage | undefined {
    const thread = this.#thread(registers.get(3));
    thread.call = call;
    thread.asked = { func };
    const cookie = bigPair(registers, 1);
    if (func === RPC_FUNC.FREE && thread.argument?.cookie === cookie) thread.argument = undefined;
    if (func !== RPC_FUNC.CMD) return undefined;
    const given = thread.argument?.cookie === cookie ? thread.argument.at : undefined;
    const argument = cookie === 0n ? (call?.behind ?? given) : given;
    const request = argument === undefined ? undefined : seeMessage(this.#pageOf, argument);
    if (argument === undefined || request === undefined) return undefined;
    thread.asked = { func, argument, request };
    const told = !RPCS_WITHOUT_DATA.includes(request.cmd);
    return request.record("rpc", (param) =>
      told && isInputType(param.type)
        ? this.#data(param, param.size, call?.entry, request.cmd)
        : undefined,
    );
  }

  #resume(registers: Registers): { message?: TraceMessage; underway: Underway } {
    const number = registers.get(3);
    const thread = this.#threads.get(number);
    const underway = { yielding: true, thread: number, call: thread?.call };
    const asked = thread?.asked;
    if (thread === undefined || asked === undefined) return { underway };
    if (asked.func === RPC_FUNC.ALLOC) {
      const at = registers.pair(1);
      const cookie = bigPair(registers, 4);
      thread.argument = at === 0 ? undefined : { cookie, at: flat(at) };
    }
    const { argument, request } = asked;
    if (argument === undefined || request === undefined) return { underway };
    const answer = seeMessage(this.#pageOf, argument);
    if (answer === undefined) return { underway };
    this.#learn(request, answer);
    const told = !RPCS_WITHOUT_DATA.includes(request.cmd);
    const message = answer.record("rpc", ({ index, size }) => {
      const param = told ? request.memory[index] : undefined;
      if (param === undefined || !isOutputType(param.type)) return undefined;
      return this.#data(param, size, thread.call?.entry, request.cmd);
    });
    return { message, underway };
  }

  /** Memory that the normal world gives to the secure one for its requests, and takes back. */
  #learn(request: SeenMessage, answer: SeenMessage): void {
    if (request.cmd === RPC_CMD.SHM_FREE) this.#objects.remove(request.firstSize);
    const [param] = answer.memory;
    if (request.cmd !== RPC_CMD.SHM_ALLOC || answer.ret !== 0 || param === undefined) return;
    const attr = answer.firstAttr;
    if (attr === BigInt(ATTR_TMEM_OUTPUT_NONCONTIG)) {
      const object = listedObject(this.#pageOf, param.pointer, param.size);
      if (object !== undefined) this.#objects.add(param.cookie, object);
    } else if (attr === BigInt(ATTR_TYPE.TMEM_OUTPUT)) {
      this.#objects.add(param.cookie, flatObject(param.pointer, param.size));
    }
  }

  /**
   * The first `size` bytes behind a parameter, which is as it was when the other side got it. Said to be
   * more than there was room for, nothing was written.
   */
  #data(
    param: MemoryParam,
    size: number,
    call: SeenMessage | undefined,
    rpc?: number,
  ): TraceData | undefined {
    if (size === 0 || size > param.size || this.#recorder.dataBytes === 0) return undefined;
    const span = this.#span(param, call);
    if (span === undefined) return undefined;
    const framesFrom = rpc === undefined ? undefined : framesBehind(rpc, param.index);
    return digestOf(this.#pageOf, span, size, this.#recorder.dataBytes, framesFrom);
  }

  #span(param: MemoryParam, call: SeenMessage | undefined): Span | undefined {
    if (!param.registered) {
      if (param.pointer === 0) return undefined;
      return param.noncontig ? listed(this.#pageOf, param.pointer) : flat(param.pointer);
    }
    // Temporary memory of the call is in the same table as registered memory, and newer (MSG-2.3.2).
    const temporary = call?.memory.findLast(
      (one) => one !== undefined && one.noncontig && one.cookie === param.cookie,
    );
    if (temporary !== undefined && CALLS_WITH_DATA.includes(call?.cmd ?? -1)) {
      const end = param.pointer + param.size;
      if (!(end <= temporary.size)) return undefined;
      return shifted(listed(this.#pageOf, temporary.pointer), param.pointer);
    }
    const object = this.#objects.find(param.cookie);
    if (object === undefined || !(param.pointer + param.size <= object.size)) return undefined;
    return shifted(object.span, param.pointer);
  }

  #thread(number: number): Thread {
    let thread = this.#threads.get(number);
    if (thread === undefined) {
      if (this.#threads.size >= MAX_THREADS) this.#threads.clear();
      thread = { call: undefined, asked: undefined, argument: undefined };
      this.#threads.set(number, thread);
    }
    return thread;
  }
}
