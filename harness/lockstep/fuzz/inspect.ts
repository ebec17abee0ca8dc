import { PAGE_SIZE, type PinRecord, type Registers } from "../../machine/index.ts";
import { RULE_SETS, type TraceEvent } from "../../mediator/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  isRpcReturn,
  isTmemType,
  MessageView,
  MSG_MAX_NUM_PARAMS,
  OPTEE_SMC,
  PAGE_LIST,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../../optee-abi/index.ts";
import type { Guest } from "./guest.ts";
import type { FuzzMachine } from "./machine.ts";
import type { Entry } from "./watch.ts";
import { serialOf } from "./taint.ts";
import { eachRpcArgument, eachShared } from "./worlds.ts";

/** Functions that a mediator may send on behalf of a guest. */
const FORWARDED: ReadonlySet<number> = new Set([
  OPTEE_SMC.CALLS_UID,
  OPTEE_SMC.CALLS_REVISION,
  OPTEE_SMC.GET_OS_UUID,
  OPTEE_SMC.GET_OS_REVISION,
  OPTEE_SMC.EXCHANGE_CAPABILITIES,
  OPTEE_SMC.ENABLE_SHM_CACHE,
  OPTEE_SMC.DISABLE_SHM_CACHE,
  OPTEE_SMC.CALL_WITH_ARG,
  OPTEE_SMC.RETURN_FROM_RPC,
]);
/** Longer lists are longer than any rule set admits. */
const MAX_LIST = 16_384;

/** What a thread of the secure world waits for. */
interface Asked {
  readonly func: number;
  readonly cmd: number;
  /** Machine address of the argument of a command. */
  readonly argument: number;
}

const hexOf = (n: number): string => `0x${n.toString(16)}`;
const cookieKey = (client: number, high: number, low: number): string => `${client}/${high}/${low}`;

/** Checks what passes between mediator and secure world, and what is true after each step. */
export class Inspector {
  readonly #machine: FuzzMachine;
  readonly #asked = new Map<string, Asked>();
  /** RPC arguments as the secure world was given them, by client and cookie. */
  readonly #arguments = new Map<string, number>();
  /** The function of each entry under way. */
  readonly #functions: number[] = [];
  readonly #dead: Guest[] = [];

  constructor(machine: FuzzMachine) {
    this.#machine = machine;
  }

  /** VM_CREATED while creation is to fail: answered here. */
  creationRefused(registers: Registers): boolean {
    const refused = this.#machine.refuseCreation && registers.get(0) === OPTEE_SMC.VM_CREATED;
    this.#functions.push(registers.get(0));
    if (refused) registers.set(0, SMC_RETURN.ENOTAVAIL);
    return refused;
  }

  /** The mediator has decided something: MED-165 says when a VM's end leaves something behind. */
  decided({ clause, what }: TraceEvent): void {
    if (clause === "MED-165") this.#machine.report("clean-death", what);
  }

  /** An SMC is about to enter the secure world. */
  beforeEntry(registers: Registers): void {
    const machine = this.#machine;
    const fid = registers.get(0);
    if (fid === OPTEE_SMC.VM_DESTROYED) this.#beforeForgotten(registers.get(1));
    if (registers.get64(7) === 0n) return;
    const guest = machine.watch.entries.at(-1)?.guest;
    const form =
      guest === undefined ? "no call is under way" : formOf(registers, guest.vm.clientId);
    if (form !== undefined) machine.report("call-form", form);
    if (guest === undefined) return;
    if (fid === OPTEE_SMC.CALL_WITH_ARG) {
      const at = registers.pair(1);
      const message = this.#ownMessage(at, guest, "the message");
      if (message === undefined) return;
      const count = Math.min(message.numParams, MSG_MAX_NUM_PARAMS);
      for (let index = 0; index < count; index += 1) this.#reference(message, index, guest);
    } else if (fid === OPTEE_SMC.RETURN_FROM_RPC) this.#reply(registers, guest);
  }

  /** An SMC has left the secure world. */
  afterEntry(registers: Registers): void {
    const fid = this.#functions.pop() ?? 0;
    const entry = this.#machine.watch.entries.at(-1);
    const a0 = registers.get(0);
    if (entry === undefined) return;
    const yielding = fid === OPTEE_SMC.CALL_WITH_ARG || fid === OPTEE_SMC.RETURN_FROM_RPC;
    if (!yielding) return;
    entry.retry = a0 === SMC_RETURN.ETHREAD_LIMIT;
    if (!isRpcReturn(a0)) return;
    const client = entry.guest.vm.clientId;
    const func = rpcFunction(a0);
    const key = cookieKey(client, registers.get(1), registers.get(2));
    const argument = this.#arguments.get(key) ?? 0;
    const message = func === RPC_FUNC.CMD && argument !== 0 ? this.#message(argument) : undefined;
    const cmd = message?.cmd ?? -1;
    if (message !== undefined) this.#machine.coverage.abi("rpc", cmd);
    this.#asked.set(cookieKey(client, 0, registers.get(3)), { func, cmd, argument });
    if (func === RPC_FUNC.FREE) this.#arguments.delete(key);
  }

  /** What a resume hands over: an RPC argument, or memory that the guest allocated. */
  #reply(registers: Registers, guest: Guest): void {
    const machine = this.#machine;
    const client = guest.vm.clientId;
    const asked = this.#asked.get(cookieKey(client, 0, registers.get(3)));
    if (asked?.func === RPC_FUNC.ALLOC) {
      const at = registers.pair(1);
      const [high, low] = [registers.get(4), registers.get(5)];
      if (at === 0) return;
      this.#ownMessage(at, guest, "an RPC argument");
      if (high === 0 && low === 0)
        machine.report("no-zero-cookie", "an RPC argument with cookie 0");
      this.#arguments.set(cookieKey(client, high, low), at);
    } else if (asked?.func === RPC_FUNC.CMD && asked.cmd === RPC_CMD.SHM_ALLOC) {
      const reply = this.#message(asked.argument);
      if (reply === undefined || reply.ret !== TEEC.TEEC_SUCCESS || reply.numParams !== 1) return;
      const taken =
        reply.attrIs(0, ATTR_TYPE.TMEM_OUTPUT) || reply.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG);
      if (taken) this.#reference(reply, 0, guest);
    }
  }

  /** A message that the secure world gets lies in a page that the mediator uses for the caller. */
  #ownMessage(at: number, guest: Guest, what: string): MessageView | undefined {
    const { heap, watch } = this.#machine;
    const inside = at >= heap.base && at < heap.base + heap.size && at % PAGE_SIZE === 0;
    if (!inside || !watch.isHeapOf(at, guest)) {
      this.#machine.report("argument-is-ours", `${what} is at ${hexOf(at)}`);
      return undefined;
    }
    return this.#message(at);
  }

  #message(at: number): MessageView | undefined {
    const bytes = this.#machine.frameBytes(Math.floor(at / PAGE_SIZE));
    return bytes === undefined ? undefined : new MessageView(bytes);
  }

  /** Follows a memory reference as OP-TEE does: lists of ours, pages pinned for the caller. */
  #reference(message: MessageView, index: number, guest: Guest): void {
    if (!isTmemType(message.type(index))) return;
    const pointer = message.number(index, WORD.buf_ptr);
    if (pointer === 0) return;
    const wrong = (what: string): void =>
      this.#machine.report("lists-are-ours", `parameter ${index}: ${what}`);
    if (!message.isNoncontig(index)) return wrong(`an address, ${hexOf(pointer)}`);
    const { heap, watch } = this.#machine;
    const offset = pointer % PAGE_SIZE;
    const count = Math.ceil((message.number(index, WORD.size) + offset) / PAGE_SIZE);
    if (count > MAX_LIST) return wrong(`a size of ${count} pages`);
    let list = pointer - offset;
    for (let done = 0; done < count;) {
      if (list < heap.base || list >= heap.base + heap.size || !watch.isHeapOf(list, guest)) {
        return wrong(`a page list at ${hexOf(list)}`);
      }
      const bytes = this.#machine.frameBytes(list / PAGE_SIZE);
      if (bytes === undefined) return;
      const words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
      const here = Math.min(PAGE_LIST.entries, count - done);
      for (let entry = 0; entry < here; entry += 1) {
        const at = (words[entry * 2 + 1] ?? 0) * 2 ** 32 + (words[entry * 2] ?? 0);
        if (at % PAGE_SIZE !== 0 || !watch.pinnedFor(at / PAGE_SIZE, guest)) {
          return wrong(`page ${done + entry} of ${count} at ${hexOf(at)}`);
        }
      }
      done += here;
      const link = PAGE_LIST.link * 2;
      list = (words[link + 1] ?? 0) * 2 ** 32 + (words[link] ?? 0);
    }
  }

  /** Registers and results of an SMC that a guest has made. */
  afterSmc(entry: Entry, before: Registers, after: Registers, handled: boolean): void {
    const machine = this.#machine;
    const { guest } = entry;
    const fid = before.get(0);
    const a0 = after.get(0);
    this.#shownRegisters(guest, before, after);
    for (let index = 4; index < 8; index += 1) {
      if (same(before, after, index)) continue;
      machine.report("registers-preserved", `x${index} came back as ${after.get64(index)}`);
    }
    if (!guest.vm.alive || !handled) return;
    if (fid !== OPTEE_SMC.CALL_WITH_ARG && fid !== OPTEE_SMC.RETURN_FROM_RPC) return;
    if (a0 === fid) machine.report("answered", `a0 is still ${hexOf(fid)}`);
    if (a0 === SMC_RETURN.OK && entry.mediatorWrites === 0) {
      machine.report("result-delivered", "a0 is OK and nothing was written");
    }
    if (a0 === SMC_RETURN.ETHREAD_LIMIT && entry.retry && entry.mediatorWrites > 0) {
      machine.report("retry-leaves-no-trace", "ETHREAD_LIMIT, and the message was written");
    }
    if (a0 === SMC_RETURN.RPC_CMD && machine.world.model !== undefined) {
      this.#askedToFree(guest, after.get(1), after.get(2));
    }
  }

  #shownRegisters(guest: Guest, before: Registers, after: Registers): void {
    const machine = this.#machine;
    for (let index = 0; index < 8; index += 1) {
      if (same(before, after, index)) continue;
      const [high, low] = [after.high(index), after.get(index)];
      const window =
        machine.secrets.of(high, low) ??
        machine.secrets.lowHalf(low) ??
        (index < 7 ? machine.secrets.of(low, after.get(index + 1)) : undefined);
      if (window !== undefined) {
        machine.report("no-address-shown", `x${index} shows an address of the ${window}`);
      }
      for (const word of [high, low]) {
        const serial = serialOf(word);
        if (serial >= 0 && serial !== guest.serial && serial <= machine.secrets.lastSerial) {
          machine.report("no-foreign-data", `x${index} shows ${hexOf(word)} of VM ${serial}`);
        }
      }
    }
  }

  /** SHM_FREE names a buffer that is no longer pinned, never one that is in use. */
  #askedToFree(guest: Guest, high: number, low: number): void {
    const request = guest.request(high, low);
    if (request === undefined || request.cmd !== RPC_CMD.SHM_FREE) return;
    const { frames } = this.#machine.mediator;
    for (const record of frames.records(guest.vm.space.owner)) {
      if (!named(record, request.high(0, WORD.b), request.low(0, WORD.b))) continue;
      if (record.reason === "RPC argument") continue;
      this.#machine.report("no-early-free", `SHM_FREE of ${record.reason} that is pinned`);
    }
  }

  /** VM_DESTROYED: until now the secure world may use the VM's memory. */
  #beforeForgotten(client: number): void {
    const { model } = this.#machine.world;
    const partition = client === 0 ? undefined : model?.partitions.select(client);
    if (partition === undefined) return;
    const { frames } = this.#machine.mediator;
    const { base, size } = this.#machine.heap;
    eachShared(partition, (at, what) => {
      if ((at >= base && at < base + size) || frames.pins(at / PAGE_SIZE) > 0) return;
      this.#machine.report("pinned-until-forgotten", `page ${hexOf(at)} of ${what}`);
    });
  }

  died(guest: Guest): void {
    this.#dead.push(guest);
  }

  /** A VM could not be created: nobody owns anything on its behalf. */
  afterRefusal(): void {
    const owners = new Set(this.#machine.mediator.vms.map(({ space }) => space.owner));
    this.#ownersLive(owners, "a VM that was refused");
  }

  afterStep(): void {
    const machine = this.#machine;
    const { frames } = machine.mediator;
    const guests = machine.guests;
    const owners = new Set(guests.map(({ vm }) => vm.space.owner));
    let pins = 0;
    const charged = new Map<number, { pages: number; temporary: number }>();
    for (const record of frames.records()) {
      if (!owners.has(record.owner)) {
        machine.report("pins-have-owners", `${record.reason} of a VM that is gone`);
      }
      const sums = charged.get(record.owner) ?? { pages: 0, temporary: 0 };
      charged.set(record.owner, sums);
      let count = 0;
      for (const frame of record.frames()) {
        count += 1;
        if (frames.pins(frame) === 0)
          machine.report("pins-have-owners", "a recorded pin is not there");
      }
      pins += count;
      if (record.reason === "RPC argument") continue;
      sums.pages += count;
      if (/^(?:temporary|registering) /.test(record.reason)) sums.temporary += 1;
    }
    if (pins !== this.#pinsHeld()) {
      machine.report("pins-have-owners", `${this.#pinsHeld()} pins, ${pins} of them recorded`);
    }
    for (const guest of guests) this.#usage(guest, charged.get(guest.vm.space.owner));
    for (const guest of this.#dead.splice(0)) this.#afterDeath(guest, owners);
  }

  #pinsHeld(): number {
    const { guestRam, mediator } = this.#machine;
    const first = guestRam.base / PAGE_SIZE;
    const { frames } = mediator;
    // All counts at once where the table gives them out.
    const window = frames.lastPins;
    if (window.first === first) return window.counts.reduce((sum, count) => sum + count, 0);
    let held = 0;
    for (let index = 0; index < guestRam.size / PAGE_SIZE; index += 1) {
      held += frames.pins(first + index);
    }
    return held;
  }

  #usage(guest: Guest, sums = { pages: 0, temporary: 0 }): void {
    const machine = this.#machine;
    const usage = guest.vm.usage;
    if (usage === undefined) return;
    const { calls, suspended, buffers, pages, rpcArguments } = usage;
    const limits = RULE_SETS[machine.rules];
    if (calls > machine.spec.threads || buffers > limits.maxBuffers || pages > limits.maxPages) {
      machine.report("quotas", `${calls} calls, ${buffers} buffers, ${pages} pages`);
    }
    if (pages !== sums.pages) {
      machine.report("quota-exact", `${pages} pages are charged, ${sums.pages} are pinned`);
    }
    if (calls === 0 && sums.temporary > 0) {
      machine.report("temporary-ends", `${sums.temporary} temporary buffers and no call`);
    }
    if (calls !== suspended) {
      machine.report("no-stuck-call", `${calls} calls, ${suspended} of them suspended`);
    }
    const partition = machine.world.model?.partitions.select(guest.vm.clientId);
    if (partition === undefined) return;
    eachShared(partition, (at, what) => {
      if (machine.watch.isHeapOf(at, guest)) return;
      if (machine.watch.pinnedFor(at / PAGE_SIZE, guest)) return;
      machine.report("shared-is-pinned", `page ${hexOf(at)} of ${what} of VM ${guest.serial}`);
    });
    let held = 0;
    eachRpcArgument(partition, (at) => {
      held += 1;
      if (machine.watch.isHeapOf(at, guest)) return;
      machine.report("rpc-argument-lives", `the page at ${hexOf(at)} is used for another VM`);
    });
    if (held > rpcArguments) {
      machine.report("rpc-argument-lives", `${held} held, ${rpcArguments} at the mediator`);
    }
    if (partition.threads.some(({ state }) => state === "active")) {
      machine.report("threads-rest", "a thread is active and nobody is inside");
    }
  }

  #afterDeath({ vm, serial }: Guest, living: ReadonlySet<number>): void {
    const machine = this.#machine;
    this.#ownersLive(living, `VM ${serial}, which is dead`);
    if (machine.world.model?.partitions.select(vm.clientId) !== undefined) {
      machine.report("clean-death", `the secure world has a partition of VM ${serial}`);
    }
    if (vm.usage !== undefined) machine.report("clean-death", `VM ${serial} still uses something`);
  }

  #ownersLive(living: ReadonlySet<number>, who: string): void {
    const { guestRam, mediator } = this.#machine;
    const first = guestRam.base / PAGE_SIZE;
    for (let index = 0; index < guestRam.size / PAGE_SIZE; index += 1) {
      const owner = mediator.frames.owner(first + index);
      if (owner === 0 || living.has(owner)) continue;
      this.#machine.report("clean-death", `a frame belongs to ${who}`);
      return;
    }
  }

  /** The last VM is gone. */
  atEnd(): void {
    const { mediator } = this.#machine;
    const left: string[] = [];
    if (mediator.heapPages !== 0) left.push(`${mediator.heapPages} pages of the mediator`);
    if (mediator.frames.pinnedFrames() !== 0) left.push("pins");
    if (mediator.frames.records().length !== 0) left.push("records of pins");
    if (left.length > 0) this.#machine.report("nothing-left", left.join(", "));
  }
}

const same = (a: Registers, b: Registers, index: number): boolean =>
  a.get(index) === b.get(index) && a.high(index) === b.high(index);

/** What is wrong with the registers of a forwarded call. */
function formOf(registers: Registers, client: number): string | undefined {
  const fid = registers.get(0);
  if (!FORWARDED.has(fid)) return `function ${hexOf(fid)}`;
  if (registers.get(7) !== client) return `client id ${registers.get(7)}, not ${client}`;
  for (let index = 0; index < 8; index += 1) {
    if (registers.high(index) !== 0) return `the upper half of x${index} is not 0`;
    const free = fid === OPTEE_SMC.RETURN_FROM_RPC && index < 6;
    if (index >= 4 && index < 7 && !free && registers.get(index) !== 0) return `x${index} is not 0`;
  }
  return undefined;
}

/** Whether a pin record is of the buffer with this cookie. */
function named(record: PinRecord, high: number, low: number): boolean {
  const cookied = record as Partial<{ cookieHigh: number; cookieLow: number }>;
  return cookied.cookieHigh === high && cookied.cookieLow === low;
}
