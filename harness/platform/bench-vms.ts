import { InternalError, uuidOctets } from "../base/index.ts";
import { type Ipa, PAGE_SIZE, Registers, SparseMemory } from "../machine/index.ts";
import { createMediator, type Mediator, type Vm } from "../mediator/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  encodeMessage,
  MessageView,
  MSG_CMD,
  OPTEE_SMC,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import {
  DEBIAN_4_5_VIRTUALIZED,
  INVOKE_TESTS_UUID,
  PSEUDO_TAS,
  SecureWorld,
} from "../secure-world/index.ts";

const MIB = 1024 * 1024;
const HEAP = { base: 0x20_0000_0000, size: 128 * MIB };
const RAM = { base: 0x4000_0000, size: 16 * MIB };
const GUESTS = 0x40_0000_0000;
const COMMAND = 0x1_0000;
/** Where the bench keeps things in each VM's RAM, by page. */
const PLACE = { message: RAM.base, list: RAM.base + PAGE_SIZE, data: RAM.base + 2 * PAGE_SIZE };
const COOKIE = 0x100;
/** Pages of a VM's RAM that this touches, which are not counted as the VM's overhead. */
const TOUCHED = 2;

/** A mediator with `vms` VMs of 16 MiB in front of the OP-TEE model, built for as many partitions. */
export class VmFarm {
  readonly mediator: Mediator;
  readonly guests: readonly RawGuest[];

  constructor(vms: number) {
    // A quarter more than is needed: scattered frames are then found at once.
    const guests = { base: GUESTS, size: RAM.size * Math.ceil(vms * 1.25) };
    const memory = new SparseMemory([
      { name: "heap", ...HEAP, type: "ram" },
      { name: "guests", ...guests, type: "ram" },
    ]);
    const share = 2 * MIB;
    const secureWorld = new SecureWorld({
      build: {
        ...DEBIAN_4_5_VIRTUALIZED,
        guestCount: vms,
        taRam: share * vms,
        heap: MIB,
      },
      memory: memory.view("normal", "secure"),
      nowMs: () => 0,
      pseudoTas: PSEUDO_TAS,
      userTas: [],
    });
    const port = {
      memory: memory.view("normal", "host"),
      smc: (registers: Registers): void => secureWorld.smc(registers),
    };
    this.mediator = createMediator(port, { heap: HEAP, guests: [guests], scatter: 1 });
    this.guests = Array.from({ length: vms }, () => {
      const made = this.mediator.createVm({ ram: RAM });
      if (!made.ok) throw new InternalError(`no VM: ${made.reason}`);
      return new RawGuest(made.value);
    });
  }
}

/** A guest that speaks in registers and pages: the least that a call needs. */
export class RawGuest {
  readonly #vm: Vm;
  readonly #registers = new Registers();
  #session = 0;

  constructor(vm: Vm) {
    this.#vm = vm;
  }

  /** Opens a session of a pseudo-TA and registers one page. */
  prepare(): void {
    const octets = uuidOctets(INVOKE_TESTS_UUID);
    const words = new DataView(octets.buffer, octets.byteOffset, 16);
    const uuid = { a: words.getBigUint64(0, true), b: words.getBigUint64(8, true) };
    const meta = { attr: BigInt(ATTR_META_VALUE_INPUT) };
    this.#write({ cmd: MSG_CMD.OPEN_SESSION, params: [{ ...meta, ...uuid }, meta] });
    this.#session = this.#call(TEEC.TEEC_SUCCESS).session;
    this.register(COOKIE);
    this.#ready();
  }

  /** Registers `count` more buffers of one page. */
  registerMore(count: number): void {
    for (let extra = 1; extra <= count; extra += 1) this.register(COOKIE + extra);
    this.#ready();
  }

  /** Puts the message of an invocation into the guest's page. */
  #ready(): void {
    const rmem = { attr: BigInt(ATTR_TYPE.RMEM_INOUT), b: BigInt(PAGE_SIZE), c: BigInt(COOKIE) };
    this.#write({
      cmd: MSG_CMD.INVOKE_COMMAND,
      func: COMMAND,
      session: this.#session,
      params: [rmem, rmem],
    });
  }

  /** Registers one page under a cookie. */
  register(cookie: number): void {
    const list = new Uint8Array(new BigUint64Array([BigInt(PLACE.data)]).buffer);
    this.#vm.conduit.memory.write(PLACE.list as Ipa, list);
    this.#write({
      cmd: MSG_CMD.REGISTER_SHM,
      params: [
        {
          attr: BigInt(ATTR_TMEM_OUTPUT_NONCONTIG),
          a: BigInt(PLACE.list),
          b: BigInt(PAGE_SIZE),
          c: BigInt(cookie),
        },
      ],
    });
    this.#call(TEEC.TEEC_SUCCESS);
  }

  /** Invokes with two references to registered memory; after `prepare`. */
  invoke(): void {
    this.#call(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  }

  #write(message: Parameters<typeof encodeMessage>[0]): void {
    this.#vm.conduit.memory.write(PLACE.message as Ipa, encodeMessage(message));
  }

  #call(expected: number): MessageView {
    const registers = this.#registers;
    registers.set(0, OPTEE_SMC.CALL_WITH_ARG);
    registers.setPair(1, PLACE.message);
    this.#vm.conduit.smc(registers);
    const page = this.#vm.conduit.memory.page(PLACE.message as Ipa);
    if (page === undefined) throw new InternalError("the message page is gone");
    const message = new MessageView(page);
    if (registers.get(0) !== SMC_RETURN.OK || message.ret !== expected) {
      throw new InternalError(`a call ended with a0 ${registers.get(0)}, ret ${message.ret}`);
    }
    return message;
  }
}

export interface Flatness {
  /** Time of a call at the largest number over that at the smallest; lower is better. */
  readonly ratio: number;
  /** Nanoseconds a call, by number. */
  readonly nsPerCall: Readonly<Record<string, number>>;
}

const CALLS = 10_000;
/** As many VMs take turns at most, so that the processor's caches see the same load at any number. */
const ACTIVE = 10;

/** Time of a mediated call while there are 1, 10, 100 and 1,000 VMs; in turns, fastest of each. */
export function benchVmCount(rounds = 12): Flatness {
  return flatness([1, 10, 100, 1000], rounds, (count) => {
    const { guests } = new VmFarm(count);
    const step = Math.max(1, Math.floor(count / ACTIVE));
    const active = guests.filter((_, index) => index % step === 0).slice(0, ACTIVE);
    for (const guest of guests) guest.prepare();
    return (call) => {
      active[call % active.length]?.invoke();
    };
  });
}

/** Time of a mediated call while the VM has 1, 100, 1,000 and 10,000 registered buffers. */
export function benchBufferCount(rounds = 12): Flatness {
  return flatness([1, 100, 1000, 10_000], rounds, (count) => {
    const [guest] = new VmFarm(1).guests;
    guest?.prepare();
    guest?.registerMore(count - 1);
    return () => {
      guest?.invoke();
    };
  });
}

function flatness(
  numbers: readonly number[],
  rounds: number,
  make: (count: number) => (call: number) => void,
): Flatness {
  const calls = numbers.map(make);
  const best = numbers.map(() => Infinity);
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, call] of calls.entries()) {
      const start = performance.now();
      for (let turn = 0; turn < CALLS; turn += 1) call(turn);
      const ns = ((performance.now() - start) * 1e6) / CALLS;
      best[index] = Math.min(best[index] ?? Infinity, ns);
    }
  }
  const nsPerCall = Object.fromEntries(
    numbers.map((count, index) => [String(count), Math.round(best[index] ?? 0)]),
  );
  return { ratio: (best.at(-1) ?? 0) / (best[0] ?? 1), nsPerCall };
}

export interface VmMemory {
  /** Bytes of an idle VM over 64 KiB; lower is better. */
  readonly ratio: number;
  readonly bytesPerVm: number;
  readonly vms: number;
}

/**
 * Memory of a VM beside its RAM, in mediator and OP-TEE model, over `vms` VMs of 16 MiB on scattered
 * frames that each have a session and a registered buffer and rest. `collect` is the engine's garbage
 * collector (`node --expose-gc`).
 */
export function benchVmMemory(collect: () => void, vms = 1000): VmMemory {
  const used = (): number => {
    collect();
    const { heapUsed, arrayBuffers } = process.memoryUsage();
    return heapUsed + arrayBuffers;
  };
  // One of everything first: code and tables that are there once are not a VM's.
  new VmFarm(1).guests[0]?.prepare();
  const before = used();
  const farm = new VmFarm(vms);
  for (const guest of farm.guests) guest.prepare();
  const perVm = (used() - before) / farm.mediator.vms.length;
  const bytesPerVm = Math.round(perVm - TOUCHED * PAGE_SIZE);
  return { ratio: bytesPerVm / (64 * 1024), bytesPerVm, vms };
}
