import { uuidText } from "../../base/index.ts";
import { type Ipa, PAGE_SIZE, Registers } from "../../machine/index.ts";
import { OWN_COOKIE_HIGH, type Trap, type Vm } from "../../mediator/index.ts";
import {
  isRpcReturn,
  messageSize,
  MessageView,
  MSG_CMD,
  OPTEE_SMC,
  SMC_RETURN,
  TEEC,
} from "../../optee-abi/index.ts";
import { GuestFiles } from "./files.ts";
import { KNOWN, MAPPED_PAGES, RAM_BASE, ROM_PAGE } from "./layout.ts";
import { type CookieSpec, OWN_PAGES, type Place, RAM_PAGES, SLOTS } from "./program.ts";
import type { ProgramMachine } from "./program-machine.ts";

export interface Cookie {
  readonly high: number;
  readonly low: number;
}

/** An RPC that the guest was given and has not answered. */
export interface PendingRpc {
  readonly a0: number;
  readonly a1: number;
  readonly a2: number;
  readonly thread: number;
}

/** A call on its way, by the thread that it waits on. */
interface CallUnderWay {
  readonly page: number;
  readonly cmd: number;
  readonly session: number;
}

/** Memory that this driver allocated for the secure world. */
export interface DriverBuffer {
  readonly list: readonly number[];
  readonly pages: readonly number[];
  /** The driver's pages among them and its list. */
  readonly taken: readonly number[];
}

export const cookieKey = ({ high, low }: Cookie): string => `${high}/${low}`;

/** A VM and what its driver knows: pages, cookies, sessions, RPCs that wait for an answer. */
export class Guest {
  readonly machine: ProgramMachine;
  readonly slot: number;
  readonly serial: number;
  readonly vm: Vm;
  readonly files = new GuestFiles();
  readonly pending: PendingRpc[] = [];
  readonly sessions: number[] = [];
  /** UUIDs of the TAs that sessions were opened to, by session. */
  readonly taOf = new Map<number, string>();
  /** Pages of RPC arguments by cookie. */
  readonly arguments = new Map<string, number>();
  readonly buffers = new Map<string, DriverBuffer>();
  /** Pages of the program's own that the secure world was given for its requests. */
  readonly lent = new Set<number>();
  lastCookie: Cookie | undefined;
  argumentCookie: Cookie | undefined;
  readonly #free: number[] = [];
  readonly #calls = new Map<number, CallUnderWay>();
  #serialOfCookie = 0x100;
  #rotation = 0;

  constructor(machine: ProgramMachine, slot: number, serial: number, vm: Vm) {
    this.machine = machine;
    this.slot = slot;
    this.serial = serial;
    this.vm = vm;
    const { first, count } = machine.morePages;
    for (let page = first + count - 1; page >= first; page -= 1) this.#free.push(page);
    for (let page = ROM_PAGE - 1; page >= OWN_PAGES; page -= 1) this.#free.push(page);
  }

  /** Pages of the driver's own, or undefined when there are not so many. */
  allocate(count: number): number[] | undefined {
    return this.#free.length < count ? undefined : this.#free.splice(this.#free.length - count);
  }

  release(pages: readonly number[]): void {
    this.#free.push(...pages);
  }

  /** A page for a message or list that is not kept: taken by turns from the last of the driver's. */
  scratch(): number {
    const [page] = this.allocate(1) ?? [];
    if (page !== undefined) {
      this.#free.unshift(page);
      return page;
    }
    this.#rotation = (this.#rotation + 1) % OWN_PAGES;
    return this.#rotation;
  }

  freshCookie(): Cookie {
    this.#serialOfCookie += 1;
    this.lastCookie = { high: this.slot + 1, low: this.#serialOfCookie };
    return this.lastCookie;
  }

  cookie(spec: CookieSpec): Cookie {
    switch (spec) {
      case "last":
        return this.lastCookie ?? { high: this.slot + 1, low: 0 };
      case "argument":
        return this.argumentCookie ?? { high: this.slot + 1, low: 0 };
      case "other":
        return { high: ((this.slot + 1) % SLOTS) + 1, low: this.lastCookie?.low ?? 1 };
      case "own":
        return { high: OWN_COOKIE_HIGH, low: 1 };
      case "zero":
        return { high: 0, low: 0 };
      case "top":
        return { high: 0xffff_ffff, low: 0xffff_ffff };
      case "sign":
        return { high: 0x8000_0000, low: 0 };
      default:
        return { high: this.slot + 1, low: spec };
    }
  }

  /** The bytes of a page of its RAM; undefined when none is mapped there. */
  bytes(page: number): Uint8Array | undefined {
    return this.machine.pageBytes(this.vm.space, page);
  }

  view(page: number): MessageView | undefined {
    const bytes = this.bytes(page);
    return bytes === undefined ? undefined : new MessageView(bytes);
  }

  /** The request of an RPC command as the guest reads it. */
  request(high: number, low: number): MessageView | undefined {
    const bytes = this.requestBytes(high, low);
    return bytes === undefined ? undefined : new MessageView(bytes);
  }

  requestBytes(high: number, low: number): Uint8Array | undefined {
    const page = this.arguments.get(cookieKey({ high, low }));
    return page === undefined ? undefined : this.bytes(page);
  }

  /** Writes as a vCPU does; nothing where it cannot. */
  write(at: number, bytes: Uint8Array): void {
    const page = Math.floor((at - RAM_BASE) / PAGE_SIZE);
    const target = this.vm.space.page(at as Ipa);
    if (target === undefined || page < 0) return;
    const from = at % PAGE_SIZE;
    const written = bytes.subarray(0, PAGE_SIZE - from);
    target.set(written, from);
    this.vm.space.dirty(at as Ipa, written.length);
  }

  /** Calls the secure world with a message in `page`. */
  call(page: number, fid: number = OPTEE_SMC.CALL_WITH_ARG): Registers {
    const at = placeOf(page);
    return this.smc([fid, Math.floor(at / 2 ** 32), at >>> 0]);
  }

  smc(words: readonly number[]): Registers {
    const registers = new Registers(words);
    this.trap({ method: "smc", registers });
    return registers;
  }

  /** One trapped instruction, with everything that is checked around it. */
  trap(trap: Trap): void {
    const { registers } = trap;
    const before = registers.clone();
    this.machine.trap(this, trap, before);
    if (this.vm.alive) this.#note(before, registers);
  }

  /** The message that a CALL_WITH_ARG names, where it lies in the RAM. */
  messageOf(registers: Registers): MessageView | undefined {
    const bytes = this.messageBytes(registers);
    return bytes === undefined ? undefined : new MessageView(bytes);
  }

  messageBytes(registers: Registers): Uint8Array | undefined {
    if (registers.get(0) !== OPTEE_SMC.CALL_WITH_ARG) return undefined;
    const page = (registers.pair(1) - RAM_BASE) / PAGE_SIZE;
    const { first, count } = this.machine.morePages;
    const inside = (page >= 0 && page < RAM_PAGES) || (page >= first && page < first + count);
    return Number.isInteger(page) && inside ? this.bytes(page) : undefined;
  }

  /** Remembers what came back: RPCs that wait, sessions that were opened. */
  #note(before: Registers, after: Registers): void {
    const fid = before.get(0);
    const a0 = after.get(0);
    let call: CallUnderWay | undefined;
    if (fid === OPTEE_SMC.RETURN_FROM_RPC) {
      if (a0 === SMC_RETURN.ERESUME || a0 === fid) return;
      const thread = before.get(3);
      const index = this.pending.findIndex((one) => one.thread === thread);
      if (index >= 0) this.pending.splice(index, 1);
      call = this.#calls.get(thread);
      this.#calls.delete(thread);
    } else if (fid === OPTEE_SMC.CALL_WITH_ARG) {
      const page = (before.pair(1) - RAM_BASE) / PAGE_SIZE;
      const message = this.messageOf(before);
      if (message !== undefined) call = { page, cmd: message.cmd, session: message.session };
    }
    if (isRpcReturn(a0)) {
      const thread = after.get(3);
      this.pending.push({ a0, a1: after.get(1), a2: after.get(2), thread });
      if (call !== undefined) this.#calls.set(thread, call);
    } else if (a0 === SMC_RETURN.OK && call !== undefined) this.#completed(call);
  }

  #completed({ page, cmd, session }: CallUnderWay): void {
    const message = this.view(page);
    if (message === undefined || message.ret !== TEEC.TEEC_SUCCESS) return;
    if (cmd === MSG_CMD.OPEN_SESSION && this.sessions.length < MAX_SESSIONS) {
      this.sessions.push(message.session);
      const octets = this.bytes(page)?.slice(UUID_AT, UUID_AT + 16);
      if (octets !== undefined) this.taOf.set(message.session, uuidText(octets));
    } else if (cmd === MSG_CMD.CLOSE_SESSION) {
      const index = this.sessions.indexOf(session);
      if (index >= 0) this.sessions.splice(index, 1);
    }
  }
}

const MAX_SESSIONS = 16;
/** Of the TA in an OPEN_SESSION (MSG-2.1). */
const UUID_AT = messageSize(0) + 8;

/** The address of a place, in a guest's own terms; numbers from 2^53 on are exact all the same. */
export function placeOf(place: Place): number {
  switch (place) {
    case "null":
      return 0;
    case "below":
      return RAM_BASE - PAGE_SIZE;
    case "beyond":
      return RAM_BASE + RAM_PAGES * PAGE_SIZE;
    case "misaligned":
      return RAM_BASE + 8;
    case "mmio":
    case "grant":
    case "foreign":
      return RAM_BASE + MAPPED_PAGES[place] * PAGE_SIZE;
    case "rom":
      return RAM_BASE + ROM_PAGE * PAGE_SIZE;
    case "host":
    case "reserved":
    case "secure":
      return KNOWN[place].base + PAGE_SIZE;
    case "top":
      return 2 ** 52 - PAGE_SIZE;
    case "past-top":
      return 2 ** 52;
    case "wrap":
      return 2 ** 64 - PAGE_SIZE;
    default:
      return RAM_BASE + place * PAGE_SIZE;
  }
}
