import { InternalError } from "../base/index.ts";
import {
  AGENT_OPERATION,
  decodeRegisters,
  encodeRegisters,
  pack,
  packedAtMost,
  REGISTERS_AT_MOST,
  unpack,
} from "./agent-codec.ts";
import { type ByteReader, encode, sizeOf, type Values } from "./agent-layout.ts";

/** What the agent does; addresses in bytes. */
export type AgentOperation =
  | { readonly kind: "read"; readonly at: number; readonly length: number }
  | { readonly kind: "write"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: "fill"; readonly at: number; readonly length: number; readonly value: number }
  /** The CRC-32 of each of `count` blocks of `size` bytes, one behind the other. */
  | {
      readonly kind: "checksums";
      readonly at: number;
      readonly size: number;
      readonly count: number;
    }
  /** x0..x7; `interruptUs` is after how many microseconds an interrupt is pending. */
  | { readonly kind: "smc"; readonly x: readonly bigint[]; readonly interruptUs?: number };

/** What came of an operation, of the kind that it has. */
export type AgentResult =
  | { readonly kind: "read"; readonly bytes: Uint8Array }
  | { readonly kind: "write" }
  | { readonly kind: "fill" }
  | { readonly kind: "checksums"; readonly values: readonly number[] }
  | { readonly kind: "smc"; readonly x: readonly bigint[] };

/** Bytes that are left of a frame's payload, each way. */
export interface Room {
  readonly request: number;
  readonly answer: number;
}

/** What of an operation goes into one frame. */
export interface Part {
  readonly request: Uint8Array;
  /** Longest answer in bytes. */
  readonly answer: number;
  /** Whether the operation is finished with it. */
  readonly last: boolean;
  /** Its result stands next in the answer. */
  take(reader: ByteReader): void;
}

/** An operation under way. It gets on only by `take` of a part, so a part that was lost is made again. */
export interface Job {
  readonly result: AgentResult;
  readonly done: boolean;
  /** Only for an SMC: its number, and what it gave when that was learnt in another way. */
  readonly smc?: { readonly number: number; learn(x: readonly bigint[]): void };
  /** The next part that fits; with `force` a small one, whether it fits or not. */
  part(room: Room, force: boolean): Part | undefined;
}

type Operations = typeof AGENT_OPERATION;

function head<K extends keyof Operations>(
  kind: K,
  values: Values<Operations[K]["fields"]>,
): Uint8Array {
  const { code, fields } = AGENT_OPERATION[kind];
  return Buffer.concat([Uint8Array.of(code), encode(fields, values)]);
}

const headSize = (kind: keyof Operations): number => 1 + sizeOf(AGENT_OPERATION[kind].fields);

/** Bytes that a part has at least, however little room there is. */
const FORCED = 16;
const MAX_LENGTH = 0xffff;
/** What the board fills, or checks, in one go; the watchdog waits for so long. */
const MAX_SPAN = 4 * 1024 * 1024;
const CHECK_SIZE = 4;

/** `offset` is that of the operation within the agent's window; `number` that of an SMC. */
export function jobOf(operation: AgentOperation, offset: number, number: number): Job {
  switch (operation.kind) {
    case "read":
      return readJob(offset, operation.length);
    case "write":
      return writeJob(offset, operation.bytes);
    case "fill":
      return fillJob(offset, operation.length, operation.value);
    case "checksums":
      return checksumsJob(offset, operation.size, operation.count);
    case "smc":
      return smcJob(number, operation.x, operation.interruptUs ?? 0);
    default:
      throw new InternalError("no such operation");
  }
}

function readJob(offset: number, length: number): Job {
  const bytes = new Uint8Array(length);
  let done = 0;
  return {
    result: { kind: "read", bytes },
    get done() {
      return done === length;
    },
    part(room, force) {
      const fits = room.request < headSize("read") ? 0 : unpackedAtMost(room.answer);
      const size = Math.min(length - done, MAX_LENGTH, force ? Math.max(fits, FORCED) : fits);
      if (size <= 0) return undefined;
      const from = done;
      return {
        request: head("read", { offset: offset + from, length: size }),
        answer: packedAtMost(size),
        last: from + size === length,
        take(reader) {
          bytes.set(unpack(reader, size), from);
          done = from + size;
        },
      };
    },
  };
}

function writeJob(offset: number, bytes: Uint8Array): Job {
  let done = 0;
  return {
    result: { kind: "write" },
    get done() {
      return done === bytes.length;
    },
    part(room, force) {
      const left = Math.min(bytes.length - done, MAX_LENGTH);
      const space = room.request - headSize("write");
      let size = left;
      let packed = left <= MAX_SPAN ? pack(bytes.subarray(done, done + left)) : undefined;
      if (packed === undefined || packed.length > space) {
        const fits = unpackedAtMost(space);
        size = Math.min(left, force ? Math.max(fits, FORCED) : fits);
        if (size <= 0) return undefined;
        packed = pack(bytes.subarray(done, done + size));
      }
      const from = done;
      return {
        request: Buffer.concat([head("write", { offset: offset + from, length: size }), packed]),
        answer: 0,
        last: from + size === bytes.length,
        take() {
          done = from + size;
        },
      };
    },
  };
}

function fillJob(offset: number, length: number, value: number): Job {
  let done = 0;
  return {
    result: { kind: "fill" },
    get done() {
      return done === length;
    },
    part(room, force) {
      if (!force && room.request < headSize("fill")) return undefined;
      const from = done;
      const size = Math.min(length - done, MAX_SPAN);
      return {
        request: head("fill", { offset: offset + from, length: size, value }),
        answer: 0,
        last: from + size === length,
        take() {
          done = from + size;
        },
      };
    },
  };
}

function checksumsJob(offset: number, size: number, count: number): Job {
  const values: number[] = [];
  return {
    result: { kind: "checksums", values },
    get done() {
      return values.length === count;
    },
    part(room, force) {
      const done = values.length;
      const span = Math.max(1, Math.floor(MAX_SPAN / size));
      const least = force ? Math.max(room.answer, FORCED) : room.answer;
      const fits =
        room.request < headSize("checksums") && !force ? 0 : Math.floor(least / CHECK_SIZE);
      const some = Math.min(count - done, span, fits, MAX_LENGTH);
      if (some <= 0) return undefined;
      return {
        request: head("checksums", { offset: offset + done * size, size, count: some }),
        answer: some * CHECK_SIZE,
        last: done + some === count,
        take(reader) {
          for (let index = 0; index < some; index += 1) values.push(reader.number(CHECK_SIZE));
        },
      };
    },
  };
}

function smcJob(number: number, x: readonly bigint[], microseconds: number): Job {
  const result: { readonly kind: "smc"; x: readonly bigint[] } = { kind: "smc", x };
  let done = false;
  const learn = (answer: readonly bigint[]): void => {
    result.x = answer;
    done = true;
  };
  const request = Buffer.concat([
    microseconds > 0 ? head("interruptedSmc", { microseconds, number }) : head("smc", { number }),
    encodeRegisters(x),
  ]);
  return {
    result,
    get done() {
      return done;
    },
    smc: { number, learn },
    part(room, force) {
      const fits = request.length <= room.request && REGISTERS_AT_MOST <= room.answer;
      if (!fits && !force) return undefined;
      return {
        request,
        answer: REGISTERS_AT_MOST,
        last: true,
        take(reader) {
          learn(decodeRegisters(reader, x));
        },
      };
    },
  };
}

/** Most bytes whose packed form surely fits into `room`. */
const unpackedAtMost = (room: number): number => Math.max(0, Math.floor(((room - 2) * 128) / 129));
