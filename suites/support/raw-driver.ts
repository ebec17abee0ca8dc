import { uuidOctets } from "../../harness/base/index.ts";
import { type Conduit, type Ipa, Registers } from "../../harness/machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  type Message,
  MSG_CMD,
  type MsgParam,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  decodeMessage,
  encodeMessage,
  encodePageList,
  isRpcReturn,
  listPagesFor,
  rpcCommandName,
} from "../../harness/optee-abi/index.ts";

const PAGE = 4096;
/** A message to be written. */
export type Draft = Parameters<typeof encodeMessage>[0];

/** What an RPC asks for, as the guest sees it. */
export interface Asked {
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly thread: number;
}

/** What a call came back with: done, or an RPC. */
export interface Back {
  readonly a0: number;
  readonly rpc: Asked | undefined;
}

/** A guest program that speaks in registers and pages and obeys no driver's rules. */
export class RawDriver {
  readonly conduit: Conduit;
  /** Names of the RPCs that were seen, in order; foreign interrupts are taken silently. */
  readonly asked: string[] = [];
  /** The vCPU that issues the next SMC. */
  vcpu = 0;
  #next: number;
  #cookie = 0x1000;
  #pages = new Map<string, Ipa>();

  /** By thread. */
  readonly #waiting = new Map<number, Asked>();
  readonly #allocate: (() => Ipa) | undefined;

  /** Pages come from the start of the conduit's RAM, or from `allocate` where a kernel lives there. */
  constructor(conduit: Conduit, allocate?: () => Ipa) {
    this.conduit = conduit;
    this.#allocate = allocate;
    this.#next = conduit.ram.base + 16 * PAGE;
  }

  /** A fresh zeroed page. */
  page(): Ipa {
    if (this.#allocate !== undefined) return this.#allocate();
    const at = this.#next as Ipa;
    this.#next += PAGE;
    return at;
  }

  /** A cookie that was not given before; those that a program chooses itself are smaller. */
  nextCookie(): number {
    this.#cookie += 1;
    return this.#cookie;
  }

  put(message: Draft, at: Ipa = this.page()): Ipa {
    this.conduit.memory.write(at, encodeMessage(message));
    return at;
  }

  get(at: Ipa): Message {
    return decodeMessage(this.conduit.memory.read(at, PAGE));
  }

  /** The list of these pages; buf_ptr. */
  list(pages: readonly number[]): bigint {
    const at = Array.from({ length: Math.max(1, listPagesFor(pages.length)) }, () => this.page());
    const into = at.map(() => new Uint8Array(PAGE));
    encodePageList(pages, at, into);
    for (const [index, bytes] of into.entries()) {
      this.conduit.memory.write(at[index] as Ipa, bytes);
    }
    return BigInt(at[0] ?? 0);
  }

  pages(count: number): Ipa[] {
    return Array.from({ length: count }, () => this.page());
  }

  smc(words: readonly number[]): Registers {
    const registers = new Registers(words);
    this.conduit.smc(registers, this.vcpu);
    return registers;
  }

  /** CALL_WITH_ARG of the message at `at`, foreign interrupts taken. */
  call(at: Ipa): Back {
    const words = [OPTEE_SMC.CALL_WITH_ARG, Math.floor(at / 2 ** 32), at >>> 0];
    return this.#settle(this.smc(words));
  }

  /** Completes or goes on with an RPC: a1, a2 default to what was asked with. */
  resume(rpc: Asked, a1 = rpc.a1, a2 = rpc.a2, a4 = 0, a5 = 0): Back {
    const registers = this.smc([OPTEE_SMC.RETURN_FROM_RPC, a1, a2, rpc.thread, a4, a5]);
    this.#waiting.delete(rpc.thread);
    return this.#settle(registers);
  }

  /** Sends a message from a fresh page; where it is and how it went. */
  send(message: Draft): Back & { readonly at: Ipa } {
    const at = this.put(message);
    return { at, ...this.call(at) };
  }

  /** The last RPC of every call that waits in one, oldest thread first. */
  pending(): Asked[] {
    return [...this.#waiting.values()];
  }

  /** Gives a page as RPC argument under `cookie`. */
  giveArgument(rpc: Asked, cookie: number): Back {
    const at = this.page();
    this.#pages.set(`0 ${cookie}`, at);
    return this.resume(rpc, Math.floor(at / 2 ** 32), at >>> 0, 0, cookie);
  }

  /** The page that carries a CMD. */
  argument(rpc: Asked): Ipa {
    const at = this.#pages.get(`${rpc.a1} ${rpc.a2}`);
    if (at === undefined) throw new Error(`no RPC argument ${rpc.a1} ${rpc.a2}`);
    return at;
  }

  /** The request of a CMD. */
  request(rpc: Asked): Message {
    return this.get(this.argument(rpc));
  }

  /** Answers a CMD with these parameters. */
  answer(rpc: Asked, reply: Draft): Back {
    this.put(reply, this.argument(rpc));
    return this.resume(rpc);
  }

  /**
   * Opens a session to a TA that has to be loaded and serves RPCs as a driver would until the secure
   * world asks for memory (SHM_ALLOC); that request.
   */
  untilShmAlloc(uuid: string): Asked {
    let back: Back = this.send(openSession(uuid));
    for (;;) {
      const { rpc } = back;
      if (rpc === undefined) throw new Error(`the session came back with ${back.a0}`);
      if (rpc.a0 === SMC_RETURN.RPC_ALLOC) {
        back = this.giveArgument(rpc, 0xa1);
        continue;
      }
      const request = this.request(rpc);
      if (request.cmd === RPC_CMD.SHM_ALLOC) return rpc;
      // LOAD_TA without a buffer: say how large the TA is.
      const params = request.params.map((param, index) =>
        index === 1 ? { ...param, b: 0x2000n } : param,
      );
      back = this.answer(rpc, { ...request, ret: 0, params });
    }
  }

  #settle(first: Registers): Back {
    let registers = first;
    while (registers.get(0) === SMC_RETURN.RPC_FOREIGN_INTR) {
      const words = [OPTEE_SMC.RETURN_FROM_RPC, 0, 0, registers.get(3)];
      registers = this.smc(words);
    }
    const [a0 = 0, a1 = 0, a2 = 0, thread = 0] = [0, 1, 2, 3].map((index) => registers.get(index));
    if (!isRpcReturn(a0)) return { a0, rpc: undefined };
    const rpc = { a0, a1, a2, thread };
    this.#waiting.set(thread, rpc);
    this.asked.push(this.#nameOf(rpc));
    return { a0, rpc };
  }

  #nameOf(rpc: Asked): string {
    if (rpc.a0 === SMC_RETURN.RPC_ALLOC) return "ALLOC";
    if (rpc.a0 === SMC_RETURN.RPC_FREE) return "FREE";
    const at = this.#pages.get(`${rpc.a1} ${rpc.a2}`);
    const mapped = at !== undefined && this.conduit.memory.page(at) !== undefined;
    return mapped ? rpcCommandName(this.get(at).cmd) : "CMD";
  }
}

/** OPEN_SESSION with public login. */
export function openSession(uuid: string): Draft {
  const octets = new DataView(uuidOctets(uuid).buffer);
  const attr = BigInt(ATTR_META_VALUE_INPUT);
  return {
    cmd: MSG_CMD.OPEN_SESSION,
    params: [
      { attr, a: octets.getBigUint64(0, true), b: octets.getBigUint64(8, true), c: 0n },
      { attr, a: 0n, b: 0n, c: 0n },
    ],
  };
}

/** A temporary reference to a page list. */
export const tmem = (
  pointer: bigint,
  size: number | bigint,
  cookie: bigint,
  attr = ATTR_TMEM_OUTPUT_NONCONTIG,
): MsgParam => ({ attr: BigInt(attr), a: pointer, b: BigInt(size), c: cookie });

export const registered = (cookie: bigint, size: number, attr = 7): MsgParam => ({
  attr: BigInt(attr),
  a: 0n,
  b: BigInt(size),
  c: cookie,
});
