/** Bytes to and from a program that receives a file. */
export interface ByteLine {
  send(bytes: Uint8Array): Promise<void>;
  /** The next byte that comes; undefined after `ms` milliseconds without one. */
  next(ms: number): Promise<number | undefined>;
}

/** `ymodem` gives the receiver the file's exact length; with `xmodem` it is padded to whole blocks. */
export type ModemMode = "ymodem" | "xmodem";

const SOH = 0x01;
const STX = 0x02;
const EOT = 0x04;
const ACK = 0x06;
const NAK = 0x15;
const CAN = 0x18;
/** The receiver wants blocks with a CRC. */
const C = 0x43;
const PAD = 0x1a;
const SHORT = 128;
const LONG = 1024;
const TRIES = 6;
const START_MS = 5000;
const ANSWER_MS = 3000;
const SOON_MS = 50;
/** Enough for any receiver to give up. */
const CANCEL = new Uint8Array(8).fill(CAN);

/** Blocks of whole size: what xmodem can send without writing behind the end. */
export const MODEM_BLOCK = SHORT;

/**
 * Sends `bytes` to a receiver that has been started (`loady`, `loadx`); false, and the receiver told to
 * end, where the line is too bad. Blocks have a CRC-16, which is no proof: compare what arrived.
 */
export async function sendByModem(
  line: ByteLine,
  bytes: Uint8Array,
  mode: ModemMode,
): Promise<boolean> {
  const sent = await send(line, bytes, mode);
  if (!sent) await line.send(CANCEL);
  return sent;
}

async function send(line: ByteLine, bytes: Uint8Array, mode: ModemMode): Promise<boolean> {
  if (!(await awaited(line, C, START_MS))) return false;
  if (mode === "ymodem") {
    const name = new Uint8Array(SHORT);
    name.set(Buffer.from(`lockstep\0${bytes.length}\0`));
    if (!(await block(line, 0, name))) return false;
    // U-Boot says so only seconds later, and takes the first block before.
    await awaited(line, C, SOON_MS);
  }
  for (let done = 0, number = 1; done < bytes.length; number += 1) {
    const size = bytes.length - done >= LONG ? LONG : SHORT;
    const content = new Uint8Array(size).fill(PAD);
    content.set(bytes.subarray(done, done + size));
    if (!(await block(line, number, content))) return false;
    done += size;
  }
  if (!(await acknowledged(line, Uint8Array.of(EOT)))) return false;
  if (mode === "xmodem") return true;
  // An empty name says that no file follows. Nothing answers it.
  if (!(await awaited(line, C, START_MS))) return false;
  await line.send(framed(0, new Uint8Array(SHORT)));
  return true;
}

async function block(line: ByteLine, number: number, content: Uint8Array): Promise<boolean> {
  return await acknowledged(line, framed(number, content));
}

function framed(number: number, content: Uint8Array): Uint8Array {
  const out = Buffer.alloc(3 + content.length + 2);
  out[0] = content.length === LONG ? STX : SOH;
  out[1] = number & 0xff;
  out[2] = ~number & 0xff;
  out.set(content, 3);
  out.writeUInt16BE(crc16(content), 3 + content.length);
  return out;
}

/** Sends `bytes` until they are acknowledged. */
async function acknowledged(line: ByteLine, bytes: Uint8Array): Promise<boolean> {
  for (let turn = 0; turn < TRIES; turn += 1) {
    await line.send(bytes);
    let cancels = 0;
    for (;;) {
      const byte = await line.next(ANSWER_MS);
      if (byte === ACK) return true;
      if (byte === undefined || byte === NAK) break;
      cancels = byte === CAN ? cancels + 1 : 0;
      if (cancels === 2) return false;
    }
  }
  return false;
}

async function awaited(line: ByteLine, wanted: number, ms: number): Promise<boolean> {
  for (;;) {
    const byte = await line.next(ms);
    if (byte === undefined) return false;
    if (byte === wanted) return true;
  }
}

/** CRC-16 as XMODEM has it: polynomial 0x1021, from 0, most significant bit first. */
export function crc16(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let bit = 0; bit < 8; bit += 1) {
      crc = (crc & 0x8000) === 0 ? crc << 1 : (crc << 1) ^ 0x1021;
    }
    crc &= 0xffff;
  }
  return crc;
}
