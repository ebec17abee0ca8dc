import { type Ipa, type Pa, Registers } from "../../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  MSG_CMD,
  type Message,
  OPTEE_SMC,
  SMC_RETURN,
  decodeMessage,
  encodeMessage,
  encodePageList,
  listPagesFor,
  messageSize,
} from "../../optee-abi/index.ts";
import type { MediatorOptions, TraceEvent, Vm } from "../contract.ts";
import { createMediator } from "../mediator.ts";
import { GUESTS, HEAP, ScriptedPort, type Step, rpc } from "./scripted-port.ts";

export const RAM = 0x4000_0000;
const RAM_SIZE = 0x100_0000;

export interface KitOptions extends Partial<MediatorOptions> {
  /** What GET_THREAD_COUNT answers; 2 when not given. */
  readonly threads?: number;
  /** Neither trace nor log. */
  readonly quiet?: boolean;
  /** The machine, where another memory map is needed. */
  readonly port?: ScriptedPort;
}

/** A scripted secure world, a mediator and one VM that acts as a hostile or honest driver. */
export class GuestKit {
  readonly port: ScriptedPort;
  readonly trace: TraceEvent[] = [];
  readonly log: string[] = [];
  readonly mediator;
  readonly vm: Vm;
  readonly #next = new Map<Vm, number>();

  constructor(options: KitOptions = {}) {
    const { threads, quiet = false, port = new ScriptedPort(), ...rest } = options;
    this.port = port;
    if (threads !== undefined) {
      this.port.fast.set(OPTEE_SMC.GET_THREAD_COUNT, (registers) => {
        registers.set(0, SMC_RETURN.OK);
        registers.set(1, threads);
      });
    }
    this.mediator = createMediator(this.port, {
      heap: HEAP,
      guests: [GUESTS],
      ...(quiet
        ? {}
        : {
            trace: (event: TraceEvent) => this.trace.push(event),
            log: (line: string) => this.log.push(line),
          }),
      now: () => 0,
      ...rest,
    });
    this.vm = this.addVm();
    this.port.seen.length = 0;
  }

  /** What a mediator reports while it probes a secure world that `prepare` has changed. */
  static probe(
    prepare: (port: ScriptedPort) => void,
    options: Partial<MediatorOptions> = {},
  ): TraceEvent[] {
    const port = new ScriptedPort();
    prepare(port);
    const trace: TraceEvent[] = [];
    createMediator(port, {
      heap: HEAP,
      guests: [GUESTS],
      trace: (event) => trace.push(event),
      ...options,
    });
    return trace;
  }

  addVm(): Vm {
    const made = this.mediator.createVm({ ram: { base: RAM, size: RAM_SIZE } });
    if (!made.ok) throw new RangeError(made.reason);
    return made.value;
  }

  /** Address of a fresh page of the VM's RAM; pages are handed out from RAM + 64 KiB upwards. */
  page(vm = this.vm): number {
    const index = this.#next.get(vm) ?? 16;
    this.#next.set(vm, index + 1);
    return RAM + index * 4096;
  }

  /** Writes a message into a page, a fresh one when not given, and says where it is. */
  put(message: Parameters<typeof encodeMessage>[0], at = this.page(), vm = this.vm): number {
    vm.conduit.memory.write(at as Ipa, encodeMessage(message));
    return at;
  }

  get(at: number, vm = this.vm): Message {
    return decodeMessage(vm.conduit.memory.read(at as Ipa, 4096));
  }

  /** x0..x7 after an SMC with these words. */
  smc(words: readonly number[], vm = this.vm, vcpu = 0): Registers {
    const registers = new Registers(words);
    vm.conduit.smc(registers, vcpu);
    return registers;
  }

  /** CALL_WITH_ARG with the message page at `at`. */
  call(at: number, vm = this.vm): Registers {
    return this.smc([OPTEE_SMC.CALL_WITH_ARG, 0, at, 0x33, 0x44, 0x55, 0x66, 0x77], vm);
  }

  /** RETURN_FROM_RPC of `thread` with the reply words. */
  resume(thread = 0, a1 = 0, a2 = 0, a4 = 0, a5 = 0, vm = this.vm): Registers {
    return this.smc([OPTEE_SMC.RETURN_FROM_RPC, a1, a2, thread, a4, a5, 0, 0], vm);
  }

  /**
   * Makes a page list of `count` fresh data pages in fresh list pages; buf_ptr with `offset` in it,
   * and the addresses of the data pages.
   */
  list(count: number, offset = 0, vm = this.vm): { pointer: bigint; pages: number[] } {
    const pages = Array.from({ length: count }, () => this.page(vm));
    return { pointer: this.listOf(pages, vm) + BigInt(offset), pages };
  }

  listOf(pages: readonly number[], vm = this.vm): bigint {
    const count = Math.max(1, listPagesFor(pages.length));
    const at = Array.from({ length: count }, () => this.page(vm));
    const into = at.map(() => new Uint8Array(4096));
    encodePageList(pages, at, into);
    for (const [index, bytes] of into.entries()) {
      vm.conduit.memory.write(at[index] as Ipa, bytes);
    }
    return BigInt(at[0] ?? 0);
  }

  /** A REGISTER_SHM message of a fresh buffer. */
  register(cookie: bigint, count = 1, vm = this.vm): { at: number; pages: number[] } {
    const { pointer, pages } = this.list(count, 0, vm);
    const at = this.put(
      { cmd: MSG_CMD.REGISTER_SHM, ret: 0xdead, params: [tmem(pointer, count * 4096, cookie)] },
      this.page(vm),
      vm,
    );
    return { at, pages };
  }

  /** Machine address of a guest address, as the hypervisor knows it. */
  machine(at: number, vm = this.vm): number {
    return vm.space.stage2.translate(at as Ipa) ?? -1;
  }

  pins(at: number, vm = this.vm): number {
    return this.mediator.frames.pins(this.machine(at, vm) / 4096);
  }

  /** Starts a call that stops at the given RPC. */
  suspend(step: Step, message: Parameters<typeof encodeMessage>[0] = { cmd: 1 }): Registers {
    this.port.steps.push(step);
    return this.call(this.put(message));
  }

  /**
   * Starts a call and gives the secure world an RPC argument page with `cookie` (low word): the guest
   * page, the shadow, the cookie on the wire. The call then waits in a foreign interrupt.
   */
  withRpcArgument(cookie: number, thread = 0): RpcPage {
    this.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160, 0, thread));
    this.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread));
    const page = this.page();
    this.resume(thread, 0, page, 0, cookie);
    const reply = this.port.last;
    const shadow = (reply[1] ?? 0) * 2 ** 32 + (reply[2] ?? 0);
    return { page, shadow, wireHigh: reply[4] ?? 0, wireLow: reply[5] ?? 0, thread };
  }

  /** The secure world puts a request into the shadow and asks; what the guest then sees in x0..x3. */
  ask(argument: RpcPage, message: Parameters<typeof encodeMessage>[0]): Registers {
    this.port.steps.push((registers, port) => {
      port.sparse.poke(argument.shadow as Pa, encodeMessage({ ret: 0xffff_0000, ...message }));
      rpc(
        SMC_RETURN.RPC_CMD,
        argument.wireHigh,
        argument.wireLow,
        argument.thread,
      )(registers, port);
    });
    return this.resume(argument.thread);
  }

  clauses(): string[] {
    return this.trace.map((event) => event.clause);
  }
}

export interface RpcPage {
  readonly page: number;
  readonly shadow: number;
  readonly wireHigh: number;
  readonly wireLow: number;
  readonly thread: number;
}

/** A NONCONTIG temporary reference, TMEM_OUTPUT unless said otherwise. */
export const tmem = (
  pointer: bigint,
  size: number | bigint,
  cookie: bigint,
  attr = ATTR_TMEM_OUTPUT_NONCONTIG,
): { attr: bigint; a: bigint; b: bigint; c: bigint } => ({
  attr: BigInt(attr),
  a: pointer,
  b: BigInt(size),
  c: cookie,
});

export const value = (attr: number, a = 0n, b = 0n, c = 0n) => ({ attr: BigInt(attr), a, b, c });

/** Bytes of a message with `n` parameters. */
export const sizeOf = messageSize;
