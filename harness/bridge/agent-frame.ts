import { crc32 } from "node:zlib";
import { ByteReader, encode, type Layout, sizeOf } from "./agent-layout.ts";

export const AGENT_SYNC = { request: 0xa7, answer: 0x7a } as const;
export type Sync = (typeof AGENT_SYNC)[keyof typeof AGENT_SYNC];

/** Before the payload; behind it the CRC-32 of everything before. */
const HEAD = { sync: 1, length: 2, sequence: 2 } as const satisfies Layout;
const HEAD_SIZE = sizeOf(HEAD);
const CHECK_SIZE = 4;
export const FRAME_OVERHEAD: number = HEAD_SIZE + CHECK_SIZE;
/** Longest payload in bytes. */
export const MAX_PAYLOAD = 0x1200;

export interface Frame {
  readonly sequence: number;
  readonly payload: Uint8Array;
}

export function encodeFrame(sync: Sync, { sequence, payload }: Frame): Buffer {
  const head = encode(HEAD, { sync, length: payload.length, sequence });
  const body = Buffer.concat([head, payload, Buffer.alloc(CHECK_SIZE)]);
  body.writeUInt32LE(crc32(body.subarray(0, -CHECK_SIZE)), body.length - CHECK_SIZE);
  return body;
}

/** Picks frames out of a stream of bytes that may hold anything else. */
export class FrameScanner {
  readonly #sync: Sync;
  readonly #onFrame: (frame: Frame) => void;
  readonly #onOther: (bytes: Uint8Array) => void;
  #kept: Buffer = Buffer.alloc(0);

  /** `onOther` is handed what belongs to no frame, in order. */
  constructor(
    sync: Sync,
    onFrame: (frame: Frame) => void,
    onOther: (bytes: Uint8Array) => void = () => {},
  ) {
    this.#sync = sync;
    this.#onFrame = onFrame;
    this.#onOther = onOther;
  }

  feed(bytes: Uint8Array): void {
    this.#kept = Buffer.concat([this.#kept, bytes]);
    while (this.#next());
  }

  /** What is there of a frame will not be finished any more. */
  flush(): void {
    this.#other(this.#kept.length);
  }

  /** Takes the first whole frame. What stands before anything that may yet become one is no frame. */
  #next(): boolean {
    let unfinished: number | undefined;
    for (let at = this.#kept.indexOf(this.#sync); at >= 0;) {
      const seen = this.#at(at);
      if (typeof seen === "object") {
        this.#other(at);
        this.#kept = this.#kept.subarray(FRAME_OVERHEAD + seen.payload.length);
        this.#onFrame(seen);
        return true;
      }
      if (seen === "unfinished") unfinished ??= at;
      at = this.#kept.indexOf(this.#sync, at + 1);
    }
    this.#other(unfinished ?? this.#kept.length);
    return false;
  }

  #at(at: number): Frame | "unfinished" | "none" {
    const bytes = this.#kept.subarray(at);
    if (bytes.length < HEAD_SIZE) return "unfinished";
    const reader = new ByteReader(bytes);
    const { length, sequence } = reader.decode(HEAD);
    if (length > MAX_PAYLOAD) return "none";
    if (reader.left < length + CHECK_SIZE) return "unfinished";
    const payload = reader.bytes(length);
    const good = crc32(bytes.subarray(0, HEAD_SIZE + length)) === reader.number(CHECK_SIZE);
    return good ? { sequence, payload: new Uint8Array(payload) } : "none";
  }

  #other(count: number): void {
    if (count === 0) return;
    const bytes = this.#kept.subarray(0, count);
    this.#kept = this.#kept.subarray(count);
    this.#onOther(bytes);
  }
}
