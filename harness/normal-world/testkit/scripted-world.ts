import {
  type Conduit,
  type GuestMemory,
  type InterruptLine,
  type Ipa,
  PAGE_SIZE,
  Registers,
  UNKNOWN_FUNCTION,
} from "../../machine/index.ts";
import {
  API_REVISION,
  API_UID,
  ATTR_TYPE,
  MSG_CMD,
  messageSize,
  MessageView,
  OPTEE_SMC,
  PAGE_LIST,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../../optee-abi/index.ts";

/** What a script of the secure world yields: the registers of an RPC return; it gets those of the resume. */
export type Script<T = number> = Generator<readonly number[], T, Registers>;

/** One parameter of an RPC that a script makes; 64-bit words. */
export interface RpcWords {
  readonly attr: number;
  readonly a?: number | bigint;
  readonly b?: number | bigint;
  readonly c?: number | bigint;
}

export interface RpcReply {
  readonly ret: number;
  readonly params: readonly { attr: bigint; a: bigint; b: bigint; c: bigint }[];
}

const RAM_BASE = 0x4000_0000;
/** Parameters that the scripted secure world's RPC arguments have room for. */
const RPC_PARAMS = 4;

class Ram implements GuestMemory {
  readonly bytes: Uint8Array;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  read(at: Ipa, length: number): Uint8Array {
    return this.#part(at, length).slice();
  }

  write(at: Ipa, bytes: Uint8Array): void {
    this.#part(at, bytes.length).set(bytes);
  }

  page(at: Ipa): Uint8Array | undefined {
    const page = at - (at % PAGE_SIZE) - RAM_BASE;
    return page < 0 || page >= this.bytes.length
      ? undefined
      : this.bytes.subarray(page, page + PAGE_SIZE);
  }

  dirty(): void {
    // Nothing is kept elsewhere.
  }

  #part(at: number, length: number): Uint8Array {
    const offset = at - RAM_BASE;
    if (offset < 0 || offset + length > this.bytes.length) {
      throw new RangeError(`no RAM at 0x${at.toString(16)}`);
    }
    return this.bytes.subarray(offset, offset + length);
  }
}

export interface ScriptedOptions {
  /** SEC_CAP bits; DYNAMIC_SHM, MEMREF_NULL and RPC_ARG when left out. */
  readonly capabilities?: number;
  /** What GET_THREAD_COUNT says; undefined for a secure world that does not know the call. */
  readonly threads?: number;
  /** Calls that run at once before ETHREAD_LIMIT. */
  readonly threadLimit?: number;
  readonly notifications?: InterruptLine;
  readonly ramSize?: number;
}

/** Reserved shared memory of the scripted secure world: the last 64 KiB of RAM. */
const RESERVED_SIZE = 64 * 1024;

/**
 * The far end of a driver's conduit, answered by a test: fast calls from a table, yielding calls by a
 * script that may make RPCs. Everything that the driver sends is kept.
 */
export class ScriptedWorld implements Conduit {
  readonly kind = "direct";
  readonly memory: Ram;
  readonly ram: { readonly base: Ipa; readonly size: number };
  readonly notifications?: InterruptLine;
  readonly capabilities: number;
  /** Answers to fast calls, a0 first; what is missing is UNKNOWN_FUNCTION. */
  readonly fast = new Map<number, (registers: Registers) => readonly number[]>();
  /** Every SMC as it came, in order. */
  readonly sent: Registers[] = [];
  /** Answers messages; undefined leaves one to the defaults. */
  onMessage: ((call: ScriptedCall) => Script | number | undefined) | undefined;
  /** Pages of registered objects, by cookie. */
  readonly registered = new Map<bigint, readonly number[]>();
  readonly reserved: { readonly base: number; readonly size: number };
  readonly #threadLimit: number;
  readonly #threads = new Map<number, Script>();

  constructor(options: ScriptedOptions = {}) {
    const { DYNAMIC_SHM, MEMREF_NULL, RPC_ARG } = SEC_CAP;
    this.capabilities = options.capabilities ?? DYNAMIC_SHM | MEMREF_NULL | RPC_ARG;
    const size = options.ramSize ?? 8 * 1024 * 1024;
    this.memory = new Ram(size);
    this.reserved = { base: RAM_BASE + size - RESERVED_SIZE, size: RESERVED_SIZE };
    this.ram = { base: RAM_BASE as Ipa, size: size - RESERVED_SIZE };
    if (options.notifications !== undefined) this.notifications = options.notifications;
    this.#threadLimit = options.threadLimit ?? options.threads ?? 8;
    const { threads } = options;
    this.fast.set(OPTEE_SMC.CALLS_UID, () => API_UID);
    this.fast.set(OPTEE_SMC.CALLS_REVISION, () => [API_REVISION.major, API_REVISION.minor]);
    if (threads !== undefined) this.fast.set(OPTEE_SMC.GET_THREAD_COUNT, () => [0, threads]);
    this.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, () => [0, this.capabilities, 71, RPC_PARAMS]);
    this.fast.set(OPTEE_SMC.GET_SHM_CONFIG, () => [0, this.reserved.base, this.reserved.size, 1]);
    this.fast.set(OPTEE_SMC.GET_OS_REVISION, () => [4, 5]);
    this.fast.set(OPTEE_SMC.ENABLE_ASYNC_NOTIF, () => [0]);
    this.fast.set(OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, () => [0, 0, 0]);
    this.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, () => [SMC_RETURN.ENOTAVAIL]);
    this.fast.set(OPTEE_SMC.ENABLE_SHM_CACHE, () => [0]);
  }

  /** Function ids that were sent, resumes left out. */
  get functions(): number[] {
    return this.sent
      .map((registers) => registers.get(0))
      .filter((fid) => fid !== OPTEE_SMC.RETURN_FROM_RPC);
  }

  /** Calls that have not returned. */
  get suspended(): number {
    return this.#threads.size;
  }

  smc(registers: Registers): void {
    this.sent.push(registers.clone());
    const fid = registers.get(0);
    if (fid >= 0x8000_0000) {
      const answer = this.fast.get(fid)?.(registers) ?? [UNKNOWN_FUNCTION];
      for (const [index, word] of answer.entries()) registers.set(index, word);
    } else if (fid === OPTEE_SMC.RETURN_FROM_RPC) {
      const thread = registers.get(3);
      const script = this.#threads.get(thread);
      this.#threads.delete(thread);
      if (script === undefined) registers.set(0, SMC_RETURN.ERESUME);
      else this.#run(thread, script, registers);
    } else if (this.#threads.size >= this.#threadLimit) {
      registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
    } else {
      const call = new ScriptedCall(this, registers.clone());
      const script = this.onMessage?.(call) ?? this.#default(call);
      let thread = 0;
      while (this.#threads.has(thread)) thread += 1;
      if (typeof script === "number") registers.set(0, script);
      else this.#run(thread, script, registers);
    }
  }

  #run(thread: number, script: Script, registers: Registers): void {
    const step = script.next(registers.clone());
    if (step.done === true) {
      registers.set(0, step.value);
      return;
    }
    this.#threads.set(thread, script);
    for (const [index, word] of step.value.entries()) registers.set(index, word);
    registers.set(3, thread);
  }

  /** Succeeds; objects are registered and forgotten, and no TA enumerates devices. */
  #default(call: ScriptedCall): number {
    const { message } = call;
    message.ret = TEEC.TEEC_SUCCESS;
    switch (message.cmd) {
      case MSG_CMD.REGISTER_SHM:
        this.registered.set(
          message.big(0, WORD.shm_ref),
          pagesOf(this, message.number(0, WORD.buf_ptr), message.number(0, WORD.size)),
        );
        break;
      case MSG_CMD.UNREGISTER_SHM:
        this.registered.delete(message.big(0, WORD.shm_ref));
        break;
      case MSG_CMD.OPEN_SESSION:
        if (message.low(1, WORD.c) === 0x8000_0000) message.ret = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
        message.session = 1;
        message.retOrigin = 3;
        break;
      default:
    }
    return SMC_RETURN.OK;
  }
}

/** The data pages of a NONCONTIG list. */
export function pagesOf(world: ScriptedWorld, bufPtr: number, size: number): number[] {
  const offset = bufPtr % PAGE_SIZE;
  const count = Math.ceil((size + offset) / PAGE_SIZE);
  const pages: number[] = [];
  let list = bufPtr - offset;
  while (pages.length < count) {
    const bytes = world.memory.read(list as Ipa, PAGE_SIZE);
    const view = new DataView(bytes.buffer);
    for (let index = 0; index < PAGE_LIST.entries && pages.length < count; index += 1) {
      pages.push(Number(view.getBigUint64(index * 8, true)));
    }
    list = Number(view.getBigUint64(PAGE_LIST.link * 8, true));
  }
  return pages;
}

/** A yielding call as the secure world has it. */
export class ScriptedCall {
  readonly world: ScriptedWorld;
  /** Registers at entry. */
  readonly entry: Registers;
  /** Where the message is. */
  readonly address: number;
  /** Argument of RPCs, once there is one. */
  #rpcArg: number | undefined;
  #cookie: readonly [number, number] = [0, 0];

  constructor(world: ScriptedWorld, entry: Registers) {
    this.world = world;
    this.entry = entry;
    if (entry.get(0) === OPTEE_SMC.CALL_WITH_REGD_ARG) {
      const cookie = (BigInt(entry.get(1)) << 32n) | BigInt(entry.get(2));
      const offset = entry.get(3);
      const page = world.registered.get(cookie)?.[Math.floor(offset / PAGE_SIZE)];
      if (page === undefined) throw new Error("CALL_WITH_REGD_ARG with an unknown cookie");
      this.address = page + (offset % PAGE_SIZE);
    } else {
      this.address = entry.pair(1);
    }
  }

  get message(): MessageView {
    return this.#view(this.address);
  }

  /** Address of the RPC argument; asks for one by RPC ALLOC where the call brought none. */
  *rpcArg(): Script {
    if (this.#rpcArg !== undefined) return this.#rpcArg;
    if (this.entry.get(0) !== OPTEE_SMC.CALL_WITH_ARG) {
      this.#rpcArg = this.address + messageSize(this.message.numParams);
      return this.#rpcArg;
    }
    const reply = yield [SMC_RETURN.RPC_ALLOC, messageSize(RPC_PARAMS), 0];
    this.#rpcArg = reply.pair(1);
    this.#cookie = [reply.get(4), reply.get(5)];
    return this.#rpcArg;
  }

  /** One RPC CMD, as OP-TEE makes it (MSG-3.1). */
  *rpc(cmd: number, ...params: readonly RpcWords[]): Script<RpcReply> {
    const at = yield* this.rpcArg();
    const size = messageSize(params.length);
    this.world.memory.write(at as Ipa, new Uint8Array(size));
    const view = this.#view(at);
    view.cmd = cmd;
    view.ret = TEEC.TEEC_ERROR_GENERIC;
    view.numParams = params.length;
    for (const [index, { attr, a = 0, b = 0, c = 0 }] of params.entries()) {
      view.setBig(index, WORD.attr, BigInt(attr));
      for (const [word, of] of [a, b, c].entries()) {
        view.setBig(index, (word + 1) as 1 | 2 | 3, BigInt(of));
      }
    }
    yield [SMC_RETURN.RPC_CMD, ...this.#cookie];
    const back = this.#view(at);
    return {
      ret: back.ret,
      params: params.map((_, index) => ({
        attr: back.big(index, WORD.attr),
        a: back.big(index, WORD.a),
        b: back.big(index, WORD.b),
        c: back.big(index, WORD.c),
      })),
    };
  }

  /** SHM_ALLOC of a type; the reply, and the pages of the memory when there is some. */
  *allocate(
    type: number,
    size: number,
  ): Script<{ reply: RpcReply; cookie: bigint; pages: readonly number[] }> {
    const reply = yield* this.rpc(6, { attr: ATTR_TYPE.VALUE_INPUT, a: type, b: size, c: 8 });
    const { a = 0n, b = 0n, c = 0n, attr = 0n } = reply.params[0] ?? {};
    if (reply.ret !== TEEC.TEEC_SUCCESS) return { reply, cookie: 0n, pages: [] };
    const pages =
      attr === 0x20an
        ? pagesOf(this.world, Number(a), Number(b))
        : Array.from({ length: Number(b) / PAGE_SIZE }, (_, n) => Number(a) + n * PAGE_SIZE);
    return { reply, cookie: c, pages };
  }

  #view(at: number): MessageView {
    const page = this.world.memory.page(at as Ipa);
    if (page === undefined) throw new Error(`no message at 0x${at.toString(16)}`);
    return new MessageView(page, at % PAGE_SIZE);
  }
}
