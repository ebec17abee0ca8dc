import { type Pa, PAGE_SIZE, type PhysicalMemory, type Registers } from "../../machine/index.ts";
import {
  API_UID,
  ATTR_TYPE,
  encodeMessage,
  MessageView,
  MSG_CMD,
  OPTEE_SMC,
  OS_UUID,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../../optee-abi/index.ts";
import type { MachineSpec } from "./program.ts";
import type { FuzzWorld } from "./worlds.ts";

interface RpcArgument {
  readonly shadow: number;
  readonly high: number;
  readonly low: number;
}

interface Thread {
  readonly argument: number;
  pending: "none" | "alloc" | "shm-alloc" | "other";
  rpc: RpcArgument | undefined;
  readonly allocated: [high: number, low: number][];
}

/** Codes that OP-TEE does not end a call with where a script makes it do so. */
const ODD_ENDS = [
  SMC_RETURN.ETHREAD_LIMIT,
  SMC_RETURN.EBADCMD,
  SMC_RETURN.EBADADDR,
  SMC_RETURN.ENOMEM,
  SMC_RETURN.ENOTAVAIL,
  SMC_RETURN.ERESUME,
  SMC_RETURN.EBUSY,
  SMC_RETURN.UNKNOWN_FUNCTION,
  0x1234,
] as const;

/**
 * A secure world that does what a program says, also what no OP-TEE would: odd return codes, RPCs of
 * unknown kinds, with unknown cookies or wrong thread ids, requests that are malformed, messages that
 * come back changed. It names no machine address that it was not given: what it could tell guests
 * by itself is not the mediator's to prevent.
 */
export class ScriptedWorld implements FuzzWorld {
  readonly model = undefined;
  readonly #spec: MachineSpec;
  readonly #memory: PhysicalMemory;
  readonly #threads = new Map<number, (Thread | undefined)[]>();
  #script: readonly number[] = [];
  #next = 0;

  constructor(spec: MachineSpec, memory: PhysicalMemory) {
    this.#spec = spec;
    this.#memory = memory;
  }

  begin({ script }: { readonly script: readonly number[] }): void {
    this.#script = script;
    this.#next = 0;
  }

  smc(registers: Registers): void {
    const fid = registers.get(0);
    if (fid === OPTEE_SMC.CALL_WITH_ARG) this.#call(registers);
    else if (fid === OPTEE_SMC.RETURN_FROM_RPC) this.#resume(registers);
    else this.#fast(fid, registers);
  }

  #fast(fid: number, registers: Registers): void {
    switch (fid) {
      case OPTEE_SMC.CALLS_UID:
        return put(registers, API_UID);
      case OPTEE_SMC.GET_OS_UUID:
        return put(registers, OS_UUID);
      case OPTEE_SMC.CALLS_REVISION:
        return put(registers, [2, 0]);
      case OPTEE_SMC.GET_OS_REVISION:
        return put(registers, [4, 5, 0x1234_5678]);
      case OPTEE_SMC.EXCHANGE_CAPABILITIES:
        return put(registers, [SMC_RETURN.OK, 0xdd, 77, 4]);
      case OPTEE_SMC.GET_THREAD_COUNT:
        return put(registers, [SMC_RETURN.OK, this.#spec.threads]);
      case OPTEE_SMC.DISABLE_SHM_CACHE:
        return this.#disableCache(registers);
      case OPTEE_SMC.VM_DESTROYED:
        this.#threads.delete(registers.get(1));
        return registers.set(0, SMC_RETURN.OK);
      case OPTEE_SMC.ENABLE_SHM_CACHE:
      case OPTEE_SMC.VM_CREATED:
        return registers.set(0, SMC_RETURN.OK);
      default:
        return registers.set(0, SMC_RETURN.UNKNOWN_FUNCTION);
    }
  }

  #disableCache(registers: Registers): void {
    for (const thread of this.#threads.get(registers.get(7)) ?? []) {
      const argument = thread?.rpc;
      if (thread === undefined || argument === undefined) continue;
      thread.rpc = undefined;
      return put(registers, [SMC_RETURN.OK, argument.high, argument.low]);
    }
    registers.set(0, SMC_RETURN.ENOTAVAIL);
  }

  #dice(): number {
    const value = this.#script[this.#next] ?? 0;
    this.#next += 1;
    return value;
  }

  #call(registers: Registers): void {
    const client = registers.get(7);
    const threads = this.#threads.get(client) ?? [];
    this.#threads.set(client, threads);
    let id = threads.indexOf(undefined);
    if (id < 0) id = threads.length;
    if (id >= this.#spec.threads) return registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
    const argument = registers.pair(1);
    const thread: Thread = { argument, pending: "none", rpc: undefined, allocated: [] };
    threads[id] = thread;
    this.#proceed(threads, id, thread, registers);
  }

  #resume(registers: Registers): void {
    const threads = this.#threads.get(registers.get(7)) ?? [];
    const id = registers.get(3);
    const thread = threads[id];
    if (thread === undefined || thread.pending === "none") {
      return registers.set(0, SMC_RETURN.ERESUME);
    }
    const { pending } = thread;
    thread.pending = "none";
    if (pending === "alloc") {
      const [shadow, high, low] = [registers.pair(1), registers.get(4), registers.get(5)];
      if (shadow !== 0) thread.rpc = { shadow, high, low };
      else if (high !== 0 || low !== 0) {
        return rpc(registers, thread, SMC_RETURN.RPC_FREE, high, low, id);
      }
    }
    if (pending === "shm-alloc") this.#takeAllocation(thread);
    this.#proceed(threads, id, thread, registers);
  }

  /** Remembers the cookie of an answer that OP-TEE would take. */
  #takeAllocation(thread: Thread): void {
    const reply = thread.rpc === undefined ? undefined : this.#message(thread.rpc.shadow);
    if (reply === undefined || reply.ret !== 0 || reply.numParams !== 1) return;
    if (reply.isNoncontig(0)) {
      thread.allocated.push([reply.high(0, WORD.shm_ref), reply.low(0, WORD.shm_ref)]);
    }
  }

  /** What the thread does next, by the script; it completes where the script has ended. */
  #proceed(
    threads: (Thread | undefined)[],
    id: number,
    thread: Thread,
    registers: Registers,
  ): void {
    const dice = this.#dice();
    const argument = thread.rpc;
    if (dice >= 4 && dice < 10) {
      return rpc(registers, thread, SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, id);
    }
    if (dice >= 10 && dice < 42) {
      if (argument === undefined) {
        rpc(registers, thread, SMC_RETURN.RPC_ALLOC, 160, 0, id);
        thread.pending = "alloc";
        return;
      }
      return this.#ask(thread, argument, dice - 10, registers, id);
    }
    switch (dice) {
      case 42:
      case 43:
        return rpc(registers, thread, SMC_RETURN.RPC_CMD, 0xbad, dice, id);
      case 44:
        return rpc(registers, thread, SMC_RETURN.RPC_FREE, 0xbad, dice, id);
      case 45:
        return rpc(registers, thread, 0xffff_0001, 7, 7, id);
      case 46:
        return rpc(registers, thread, 0xffff_1234, 0, 0, id);
      case 47:
      case 48:
        // A thread id of nobody's; the thread is then gone.
        threads[id] = undefined;
        return rpc(registers, thread, SMC_RETURN.RPC_CMD - 1, 0, 0, dice === 47 ? 77 : 0xffff_ffff);
      default:
    }
    if (dice >= 49 && dice < 53 && argument !== undefined) {
      thread.rpc = undefined;
      return rpc(registers, thread, SMC_RETURN.RPC_FREE, argument.high, argument.low, id);
    }
    threads[id] = undefined;
    this.#complete(thread, dice, registers);
  }

  #ask(thread: Thread, at: RpcArgument, dice: number, registers: Registers, id: number): void {
    let request: Parameters<typeof encodeMessage>[0] = {
      cmd: RPC_CMD.GET_TIME,
      params: [{ attr: BigInt(ATTR_TYPE.VALUE_OUTPUT) }],
    };
    let pending: Thread["pending"] = "other";
    const [freeHigh, freeLow] = thread.allocated.at(-1) ?? [0, 5];
    if (dice < 16) {
      pending = "shm-alloc";
      const pages = 1 + (dice % 4);
      request = { cmd: RPC_CMD.SHM_ALLOC, params: [value(0n, BigInt(pages * PAGE_SIZE), 8n)] };
    } else if (dice < 20) {
      thread.allocated.pop();
      const cookie = (BigInt(freeHigh) << 32n) | BigInt(freeLow);
      request = { cmd: RPC_CMD.SHM_FREE, params: [value(0n, cookie)] };
    } else if (dice < 22) {
      // An address of its own making: the mediator must not show it.
      const attr = BigInt(ATTR_TYPE.TMEM_INPUT);
      request = { cmd: RPC_CMD.FS, params: [{ attr, a: BigInt(at.shadow), b: 64n }] };
    } else if (dice < 24) {
      request = { cmd: dice, params: [] };
    }
    const bytes = encodeMessage({ ...request, ret: TEEC.TEEC_ERROR_GENERIC });
    if (dice === 24) new DataView(bytes.buffer).setUint32(28, 128, true);
    this.#memory.write(at.shadow as Pa, bytes);
    rpc(registers, thread, SMC_RETURN.RPC_CMD, at.high, at.low, id);
    thread.pending = pending;
  }

  #complete(thread: Thread, dice: number, registers: Registers): void {
    const message = this.#message(thread.argument);
    put(registers, [SMC_RETURN.OK, 0, 0, 0]);
    if (message === undefined) return;
    message.ret = dice % 4 === 1 ? TEEC.TEEC_ERROR_GENERIC : TEEC.TEEC_SUCCESS;
    message.retOrigin = 3;
    if (dice === 53) message.numParams = 0xffff_ffff;
    if (dice === 54) message.cmd = MSG_CMD.REGISTER_SHM;
    const odd = ODD_ENDS[dice - 55];
    if (odd !== undefined) registers.set(0, odd);
    this.#memory.dirty(thread.argument as Pa, 32);
  }

  #message(at: number): MessageView | undefined {
    const bytes = this.#memory.page(at as Pa);
    return bytes === undefined ? undefined : new MessageView(bytes);
  }
}

const value = (a: bigint, b: bigint, c = 0n) => ({ attr: 1n, a, b, c });

function put(registers: Registers, words: readonly number[]): void {
  for (const [index, word] of words.entries()) registers.set(index, word);
}

function rpc(
  registers: Registers,
  thread: Thread,
  a0: number,
  a1: number,
  a2: number,
  id: number,
): void {
  thread.pending = "other";
  put(registers, [a0, a1, a2, id]);
}
