import { Random } from "../../base/index.ts";
import { type Frames, type OwnerId, type Pa, Registers } from "../../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  MSG_CMD,
  type MessageView,
  OPTEE_SMC,
  PAGE_LIST,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  WORD,
  encodeMessage,
  pagesFor,
} from "../../optee-abi/index.ts";
import { value } from "./guest-kit.ts";
import { GUESTS, HEAP, ScriptedPort, type Step } from "./scripted-port.ts";

const THREADS = 2;

interface RpcArg {
  readonly shadow: number;
  readonly high: number;
  readonly low: number;
}

interface Thread {
  readonly argument: number;
  pending: "none" | "interrupt" | "alloc" | "command" | "shm-alloc" | "free";
  rpc: RpcArg | undefined;
  readonly allocated: bigint[];
}

/**
 * A secure world that keeps to OP-TEE's protocol but decides by chance what comes next, and that
 * checks everything it is given: lists and pages must lie in the mediator's memory or be pinned for
 * the very VM that calls. `violations` says what was wrong.
 */
export class RandomTee {
  readonly port = new ScriptedPort();
  readonly violations: string[] = [];
  /** Owner of the VM behind a client id. */
  readonly owners = new Map<number, OwnerId>();
  frames: Frames | undefined;
  readonly #random: Random;
  readonly #threads = new Map<number, (Thread | undefined)[]>();
  readonly #registered = new Map<number, Set<bigint>>();

  constructor(seed: number) {
    this.#random = new Random(seed);
    const enter: Step = (registers) => this.#enter(registers);
    this.port.fast.set(OPTEE_SMC.CALL_WITH_ARG, enter);
    this.port.fast.set(OPTEE_SMC.RETURN_FROM_RPC, enter);
    this.port.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => {
      this.#threads.delete(registers.get(1));
      this.#registered.delete(registers.get(1));
      registers.set(0, SMC_RETURN.OK);
    });
  }

  #enter(registers: Registers): void {
    this.port.seen.length = 0;
    const client = registers.get(7);
    const threads = this.#threads.get(client) ?? [];
    this.#threads.set(client, threads);
    if (registers.get(0) === OPTEE_SMC.CALL_WITH_ARG) {
      const id = [0, 1].find((index) => threads[index] === undefined) ?? THREADS;
      if (id >= THREADS) return registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
      const argument = registers.pair(1);
      if (!inside(argument, HEAP)) this.#wrong(`argument at 0x${argument.toString(16)}`);
      const thread: Thread = { argument, pending: "none", rpc: undefined, allocated: [] };
      threads[id] = thread;
      const message = this.port.message(argument);
      for (let index = 0; index < Math.min(message.numParams, 127); index += 1) {
        this.#checkReference(client, message, index);
      }
      return this.#proceed(client, threads, id, thread, registers);
    }
    const id = registers.get(3);
    const thread = threads[id];
    if (thread === undefined || thread.pending === "none") {
      return registers.set(0, SMC_RETURN.ERESUME);
    }
    const pending = thread.pending;
    thread.pending = "none";
    if (pending === "alloc") {
      const at = registers.pair(1);
      const [high, low] = [registers.get(4), registers.get(5)];
      if (at === 0) {
        if (high !== 0 || low !== 0) {
          thread.pending = "free";
          return rpcReturn(registers, SMC_RETURN.RPC_FREE, high, low, id);
        }
      } else if (inside(at, HEAP)) thread.rpc = { shadow: at, high, low };
      else this.#wrong(`RPC argument at 0x${at.toString(16)}`);
    }
    if (pending === "shm-alloc") this.#takeAllocation(client, thread);
    this.#proceed(client, threads, id, thread, registers);
  }

  /** What the thread does next. */
  #proceed(
    client: number,
    threads: (Thread | undefined)[],
    id: number,
    thread: Thread,
    registers: Registers,
  ): void {
    const dice = this.#random.below(100);
    const rpc = thread.rpc;
    if (dice < 20) {
      thread.pending = "interrupt";
      return rpcReturn(registers, SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, id);
    }
    if (dice < 60 && rpc === undefined) {
      thread.pending = "alloc";
      return rpcReturn(registers, SMC_RETURN.RPC_ALLOC, 160, 0, id);
    }
    if (dice < 62) {
      thread.pending = "command";
      return rpcReturn(registers, SMC_RETURN.RPC_CMD, 0xbad, dice, id);
    }
    if (dice < 75 && rpc !== undefined) return this.#ask(thread, rpc, registers, id);
    if (dice < 80 && rpc !== undefined) {
      thread.rpc = undefined;
      thread.pending = "free";
      return rpcReturn(registers, SMC_RETURN.RPC_FREE, rpc.high, rpc.low, id);
    }
    threads[id] = undefined;
    this.#complete(client, thread, registers);
  }

  #ask(thread: Thread, rpc: RpcArg, registers: Registers, id: number): void {
    const cookie = thread.allocated.at(-1);
    const dice = this.#random.below(3);
    thread.pending = "command";
    let request = { cmd: 3, params: [value(ATTR_TYPE.VALUE_OUTPUT)] };
    if (dice === 0 && cookie !== undefined) {
      thread.allocated.pop();
      request = { cmd: RPC_CMD.SHM_FREE, params: [value(ATTR_TYPE.VALUE_INPUT, 0n, cookie)] };
    } else if (dice > 0) {
      thread.pending = "shm-alloc";
      request = { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, BigInt(dice) * 4096n, 8n)] };
    }
    const bytes = encodeMessage({ ...request, ret: TEEC.TEEC_ERROR_GENERIC });
    this.port.sparse.poke(rpc.shadow as Pa, bytes);
    rpcReturn(registers, SMC_RETURN.RPC_CMD, rpc.high, rpc.low, id);
  }

  /** As OP-TEE judges the answer to SHM_ALLOC. */
  #takeAllocation(client: number, thread: Thread): void {
    if (thread.rpc === undefined) return;
    const reply = this.port.message(thread.rpc.shadow);
    if (reply.ret !== 0 || reply.numParams !== 1) return;
    if (reply.attrIs(0, ATTR_TYPE.TMEM_OUTPUT)) {
      this.#wrong(`a contiguous allocation at 0x${reply.big(0, WORD.buf_ptr).toString(16)}`);
    } else if (reply.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG)) {
      this.#checkReference(client, reply, 0);
      thread.allocated.push(reply.big(0, WORD.shm_ref));
    }
  }

  #complete(client: number, thread: Thread, registers: Registers): void {
    const message = this.port.message(thread.argument);
    const registered = this.#registered.get(client) ?? new Set<bigint>();
    this.#registered.set(client, registered);
    registers.set(0, SMC_RETURN.OK);
    let good = this.#random.below(4) > 0;
    const cookie = message.big(0, WORD.shm_ref);
    if (message.cmd === MSG_CMD.REGISTER_SHM) {
      good &&= message.numParams === 1 && message.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG);
      if (good) registered.add(cookie);
    }
    if (message.cmd === MSG_CMD.UNREGISTER_SHM) {
      good = message.numParams === 1 && registered.delete(cookie);
    }
    message.ret = good ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_GENERIC;
    message.retOrigin = 3;
    if (this.#random.below(20) === 0 && !good) registers.set(0, SMC_RETURN.EBADCMD);
  }

  /** Follows a page list as OP-TEE would and checks what it names. */
  #checkReference(client: number, message: MessageView, index: number): void {
    if (!message.isNoncontig(index)) {
      if ([9, 10, 11].includes(message.type(index)) && message.number(index, WORD.buf_ptr) !== 0) {
        this.#wrong("a contiguous reference");
      }
      return;
    }
    const pointer = message.number(index, WORD.buf_ptr);
    if (pointer === 0) return;
    const owner = this.owners.get(client) ?? -1;
    const pinned = new Set<number>();
    for (const record of this.frames?.records(owner) ?? []) {
      for (const frame of record.frames()) pinned.add(frame);
    }
    const count = pagesFor(message.number(index, WORD.size), pointer % 4096);
    let list = pointer - (pointer % 4096);
    for (let done = 0; done < count;) {
      if (!inside(list, HEAP)) return this.#wrong(`a list at 0x${list.toString(16)}`);
      const words = this.port.words(list, 512);
      const take = Math.min(PAGE_LIST.entries, count - done);
      for (const entry of words.slice(0, take)) {
        const page = Number(entry);
        if (!inside(page, GUESTS) || !pinned.has(page / 4096)) {
          return this.#wrong(`page 0x${page.toString(16)} of client ${client}`);
        }
      }
      done += take;
      list = Number(words[PAGE_LIST.link]);
    }
  }

  #wrong(what: string): void {
    this.violations.push(`the secure world was given ${what}`);
  }
}

export const inside = (at: number, window: { base: number; size: number }): boolean =>
  at >= window.base && at < window.base + window.size;

function rpcReturn(registers: Registers, a0: number, a1: number, a2: number, thread: number): void {
  for (const [index, word] of [a0, a1, a2, thread].entries()) registers.set(index, word);
}
