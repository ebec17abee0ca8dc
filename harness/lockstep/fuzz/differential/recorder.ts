import { crc32 } from "node:zlib";
import { PAGE_SIZE, type Pa, type PhysicalMemory, type Registers } from "../../../machine/index.ts";
import {
  isRpcReturn,
  MSG_HEADER_SIZE,
  MSG_MAX_NUM_PARAMS,
  MSG_PARAM_SIZE,
  OPTEE_SMC,
  SMC_RETURN,
} from "../../../optee-abi/index.ts";
import type { HexWord, TraceMessage, TraceParam, TraceRecord } from "../../../run/index.ts";
import type { Guest } from "../guest.ts";
import { OWN_PAGES } from "../program.ts";

/** What a program's pages hold after a step: the CRC-32 of each, -1 where none is mapped, -2 where not compared. */
export interface MemoryRecord {
  readonly type: "memory";
  readonly step: number;
  readonly guest: number;
  readonly pages: readonly number[];
}

/** Something that neither secure world may lead to: the mediator threw. */
export interface ThrownRecord {
  readonly type: "thrown";
  readonly what: string;
}

export type ProgramRecord = TraceRecord | MemoryRecord | ThrownRecord;

const hex = (value: bigint | number): HexWord => `0x${value.toString(16)}`;
const words = (registers: Registers): HexWord[] =>
  Array.from({ length: 8 }, (_, index) => hex(registers.get64(index)));

/** Records what a program exchanges with the secure world, at the guests and at the port. */
export class Recorder {
  readonly records: ProgramRecord[] = [];
  readonly #memory: PhysicalMemory;
  /** Machine addresses of messages of calls under way, by client and thread. */
  readonly #calls = new Map<string, number>();
  /** Machine addresses of RPC arguments, by client and cookie. */
  readonly #arguments = new Map<string, number>();
  #entered: { readonly fid: number; readonly client: number; readonly at: number } | undefined;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  /** At a guest; `message` is what it sees of the message that this is about. */
  conduit(guest: Guest, phase: "enter" | "leave", registers: Registers, message?: Seen): void {
    this.#smc("conduit", phase, registers, message, guest.slot);
  }

  /** At the port, where the registers say what was before. */
  port(phase: "enter" | "leave", registers: Registers): void {
    if (phase === "enter") this.#enter(registers);
    else this.#leave(registers);
  }

  /** After a step: the pages of a guest that are the program's own. */
  memory(step: number, guest: Guest): void {
    const pages = Array.from({ length: OWN_PAGES }, (_, page) => {
      // What the secure world writes to files is ciphertext, and never the same.
      if (guest.lent.has(page)) return -2;
      const bytes = guest.bytes(page);
      return bytes === undefined ? -1 : crc32(bytes);
    });
    this.records.push({ type: "memory", step, guest: guest.slot, pages });
  }

  #enter(registers: Registers): void {
    const fid = registers.get(0);
    const client = registers.get(7);
    const thread = `${client}/${registers.get(3)}`;
    let at = 0;
    let seen: Seen | undefined;
    if (fid === OPTEE_SMC.CALL_WITH_ARG) {
      at = registers.pair(1);
      seen = this.#at(at, "call");
    } else if (fid === OPTEE_SMC.RETURN_FROM_RPC) {
      at = this.#calls.get(thread) ?? 0;
      this.#calls.delete(thread);
      // A reply to ALLOC names memory and its cookie; a reply to others names neither.
      const given = registers.pair(1);
      if (given !== 0 && given % PAGE_SIZE === 0) {
        this.#arguments.set(`${client}/${hex(registers.get(4))}/${hex(registers.get(5))}`, given);
      }
    }
    this.#entered = { fid, client, at };
    this.#smc("port", "enter", registers, seen);
  }

  #leave(registers: Registers): void {
    const { fid, client, at } = this.#entered ?? { fid: 0, client: 0, at: 0 };
    const a0 = registers.get(0);
    let seen: Seen | undefined;
    if (fid === OPTEE_SMC.CALL_WITH_ARG || fid === OPTEE_SMC.RETURN_FROM_RPC) {
      if (isRpcReturn(a0)) {
        this.#calls.set(`${client}/${registers.get(3)}`, at);
        if (a0 === SMC_RETURN.RPC_CMD) {
          const key = `${client}/${hex(registers.get(1))}/${hex(registers.get(2))}`;
          seen = this.#at(this.#arguments.get(key) ?? 0, "rpc");
        }
      } else if (a0 === SMC_RETURN.OK) seen = this.#at(at, "call");
    }
    this.#smc("port", "leave", registers, seen);
  }

  #at(at: number, role: Seen["role"]): Seen | undefined {
    const bytes = at === 0 ? undefined : this.#memory.page(at as Pa);
    return bytes === undefined ? undefined : { role, at, bytes: bytes.subarray(at % PAGE_SIZE) };
  }

  #smc(
    where: "conduit" | "port",
    phase: "enter" | "leave",
    registers: Registers,
    seen: Seen | undefined,
    guest?: number,
  ): void {
    const message = seen === undefined ? undefined : messageOf(seen);
    this.records.push({
      type: "smc",
      where,
      phase,
      ...(guest === undefined ? {} : { guest }),
      registers: words(registers),
      ...(message === undefined ? {} : { message }),
    });
  }
}

/** A message in memory. */
export interface Seen {
  readonly role: TraceMessage["role"];
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** No RPC has a number as large; a guest that gives one page twice sees ciphertext in its place. */
const MAX_RPC = 0xff;

function messageOf({ role, at, bytes }: Seen): TraceMessage | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  if (role === "rpc" && u32(0) > MAX_RPC) return undefined;
  const numParams = u32(28);
  const room = Math.floor((bytes.length - MSG_HEADER_SIZE) / MSG_PARAM_SIZE);
  const count = Math.min(numParams, room, MSG_MAX_NUM_PARAMS);
  const params = Array.from({ length: count }, (_, index): TraceParam => {
    const from = MSG_HEADER_SIZE + index * MSG_PARAM_SIZE;
    const word = (place: number): HexWord => hex(view.getBigUint64(from + place * 8, true));
    return { attr: word(0), a: word(1), b: word(2), c: word(3) };
  });
  return {
    role,
    at: hex(at),
    cmd: u32(0),
    func: u32(4),
    session: u32(8),
    cancelId: u32(12),
    ret: u32(20),
    retOrigin: u32(24),
    numParams,
    params,
  };
}
