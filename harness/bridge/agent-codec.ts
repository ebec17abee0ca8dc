import { ByteReader, type Layout, TooShort } from "./agent-layout.ts";

/** What the agent is asked for: fixed fields, in front of what follows them. */
export const AGENT_OPERATION = {
  info: { code: 1, fields: {} },
  /** Answered with packed bytes. */
  read: { code: 2, fields: { offset: 4, length: 2 } },
  /** Packed bytes follow. */
  write: { code: 3, fields: { offset: 4, length: 2 } },
  /** Answered with the CRC-32 of each of `count` blocks. */
  checksums: { code: 4, fields: { offset: 4, size: 4, count: 2 } },
  fill: { code: 5, fields: { offset: 4, length: 4, value: 1 } },
  /** Registers follow; answered with registers. */
  smc: { code: 6, fields: { number: 1 } },
  interruptedSmc: { code: 7, fields: { microseconds: 4, number: 1 } },
  /** Answered with the number of the last SMC and its registers. */
  lastSmc: { code: 8, fields: {} },
  leave: { code: 9, fields: {} },
} as const satisfies Readonly<Record<string, { readonly code: number; readonly fields: Layout }>>;

/** The answer to `info`. */
export const AGENT_INFO = {
  version: 1,
  /** Exception level. */
  level: 1,
  maxPayload: 2,
  /** Frequency of the system counter in Hz. */
  counterHz: 4,
  /** Where the program is. */
  address: 8,
} as const satisfies Layout;

/** The first byte of an answer. */
export const AGENT_STATUS = {
  ok: 0,
  malformed: 1,
  outside: 2,
  noRoom: 3,
  noTimer: 4,
  /** In a frame of sequence 0: what came was no frame. */
  noFrame: 0xff,
} as const;

const RUN = 128;
const MIN_RUN = 3;
const MAX_RUN = 130;
const MAX_LITERAL = 128;

/** Longest packed form of `length` bytes. */
export const packedAtMost = (length: number): number => length + Math.floor(length / 128) + 2;

/** Bytes with their runs shortened. */
export function pack(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(packedAtMost(bytes.length));
  let to = 0;
  /** Where the control byte of the literal stands that is being written. */
  let literal = -1;
  for (let at = 0; at < bytes.length;) {
    const value = bytes[at] ?? 0;
    let count = 1;
    while (count < MAX_RUN && at + count < bytes.length && bytes[at + count] === value) count += 1;
    if (count >= MIN_RUN) {
      out[to] = RUN + count - MIN_RUN;
      out[to + 1] = value;
      to += 2;
      at += count;
      literal = -1;
      continue;
    }
    const control = out[literal];
    if (control === undefined || control === MAX_LITERAL - 1) {
      literal = to;
      out[to] = 0;
      to += 1;
    } else out[literal] = control + 1;
    out[to] = value;
    to += 1;
    at += 1;
  }
  return out.subarray(0, to);
}

/** `length` bytes that `pack` made. Throws TooShort where they are not that many. */
export function unpack(reader: ByteReader, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const control = reader.number(1);
    const isRun = control >= RUN;
    const count = isRun ? control - RUN + MIN_RUN : control + 1;
    if (done + count > length) throw new TooShort(`packed bytes for more than ${length}`);
    if (isRun) out.fill(reader.number(1), done, done + count);
    else out.set(reader.bytes(count), done);
    done += count;
  }
  return out;
}

const REGISTERS = 8;
const WORD_SIZE = 8;
const SAME = 15;
/** Longest form of x0..x7. */
export const REGISTERS_AT_MOST: number = 4 + REGISTERS * WORD_SIZE;

/** x0..x7 without their leading zeros; what is as in `before` takes no room. */
export function encodeRegisters(x: readonly bigint[], before?: readonly bigint[]): Uint8Array {
  const out = Buffer.alloc(REGISTERS_AT_MOST);
  let nibbles = 0;
  let at = 4;
  for (let index = 0; index < REGISTERS; index += 1) {
    const value = x[index] ?? 0n;
    if (value === before?.[index]) {
      nibbles += SAME * 16 ** index;
      continue;
    }
    let size = 0;
    for (let left = value; left > 0n; left >>= 8n) {
      out[at] = Number(left & 0xffn);
      at += 1;
      size += 1;
    }
    nibbles += size * 16 ** index;
  }
  out.writeUInt32LE(nibbles);
  return out.subarray(0, at);
}

/** x0..x7. Throws TooShort where there are not that many, or not of these sizes. */
export function decodeRegisters(reader: ByteReader, before?: readonly bigint[]): bigint[] {
  const nibbles = reader.number(4);
  return Array.from({ length: REGISTERS }, (_, index) => {
    const size = Math.floor(nibbles / 16 ** index) % 16;
    const same = before?.[index];
    if (size === SAME && same !== undefined) return same;
    if (size > WORD_SIZE) throw new TooShort(`a register of ${size} bytes`);
    const bytes = Buffer.alloc(WORD_SIZE);
    bytes.set(reader.bytes(size));
    return bytes.readBigUInt64LE();
  });
}
