import type { Duplex } from "node:stream";
import { type Clock, systemClock } from "../base/index.ts";
import type { EmmcRpmb } from "./emmc.ts";
import { FRAME_SIZE, maskedFrames } from "./frame.ts";
import { PowerCut } from "./power.ts";
import {
  decodeWireHeader,
  encodeWireAnswer,
  encodeWireInfo,
  RPMB_WIRE,
  RPMB_WIRE_OP,
  RPMB_WIRE_STATUS,
  type RpmbWireRequest,
} from "./wire.ts";

export interface ServeOptions {
  /** Told of every request and its answer; a key that is programmed is asterisks (`maskedFrames`). */
  readonly onTransfer?: (request: RpmbWireRequest, status: number, answer: Uint8Array) => void;
  /** Told what the part threw that a driver only sees as EIO, e.g. RpmbStateError. */
  readonly onError?: (error: unknown) => void;
  /**
   * Milliseconds after which a request that is not whole is forgotten when more bytes come, as its
   * sender has died; default 1000.
   */
  readonly stallMs?: number;
  readonly clock?: Clock;
}

export interface RpmbService {
  /** Settles when the stream has ended or failed, or `stop` was called. */
  readonly ended: Promise<void>;
  /** Answers nothing more. The stream and the part stay as they are. */
  stop(): void;
}

/**
 * Serves a part over a stream, see `RPMB_WIRE`. What is no request is answered with EPROTO or
 * EMSGSIZE, and what came with it is thrown away; nothing that comes makes it throw.
 */
export function serveRpmb(stream: Duplex, part: EmmcRpmb, options: ServeOptions = {}): RpmbService {
  const server = new Server(stream, part, options);
  return { ended: server.ended, stop: () => server.stop() };
}

class Server {
  readonly ended: Promise<void>;
  readonly #stream: Duplex;
  readonly #part: EmmcRpmb;
  readonly #options: ServeOptions;
  readonly #clock: Clock;
  #end: () => void = () => {};
  #waiting: Buffer = Buffer.alloc(0);
  #lastMs = 0;
  /** Whether the stream takes no more answers for now. */
  #full = false;

  constructor(stream: Duplex, part: EmmcRpmb, options: ServeOptions) {
    this.#stream = stream;
    this.#part = part;
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    stream.on("data", this.#onData);
    stream.on("drain", this.#onDrain);
    for (const event of ["end", "close", "error"]) stream.on(event, this.#onEnd);
  }

  stop(): void {
    this.#stream.off("data", this.#onData);
    this.#stream.off("drain", this.#onDrain);
    // A stream's error that nobody listens to ends the process: that listener stays.
    for (const event of ["end", "close"]) this.#stream.off(event, this.#onEnd);
    this.#waiting = Buffer.alloc(0);
    this.#end();
  }

  readonly #onEnd = (): void => {
    this.stop();
  };

  readonly #onData = (chunk: Uint8Array): void => {
    const now = this.#clock.monotonicMs();
    const stalled = now - this.#lastMs > (this.#options.stallMs ?? 1000);
    this.#lastMs = now;
    this.#waiting = Buffer.concat(stalled ? [chunk] : [this.#waiting, chunk]);
    this.#answerAll();
  };

  /** Whoever asks without reading the answers waits. */
  readonly #onDrain = (): void => {
    this.#full = false;
    this.#lastMs = this.#clock.monotonicMs();
    this.#answerAll();
    if (!this.#full) this.#stream.resume();
  };

  #answerAll(): void {
    while (!this.#full && !this.#stream.destroyed) {
      const answer = this.#next();
      if (answer === undefined) return;
      if (this.#stream.write(answer)) continue;
      this.#full = true;
      this.#stream.pause();
    }
  }

  /** The answer to the next whole request; undefined while there is none. */
  #next(): Uint8Array | undefined {
    const header = decodeWireHeader(this.#waiting);
    if (header === undefined) return undefined;
    if (header.magic !== RPMB_WIRE.magic) return this.#refuse(RPMB_WIRE_STATUS.EPROTO);
    const { op, responseFrames, requestFrames } = header;
    if (requestFrames > RPMB_WIRE.maxFrames || responseFrames > RPMB_WIRE.maxFrames) {
      return this.#refuse(RPMB_WIRE_STATUS.EMSGSIZE);
    }
    const size = RPMB_WIRE.request.size + requestFrames * FRAME_SIZE;
    if (this.#waiting.length < size) return undefined;
    const frames = this.#waiting.subarray(RPMB_WIRE.request.size, size);
    this.#waiting = this.#waiting.subarray(size);
    const { status, bytes } = this.#perform({ op, responseFrames, frames });
    const shown = maskedFrames(frames);
    frames.fill(0);
    this.#options.onTransfer?.({ op, responseFrames, frames: shown }, status, bytes);
    return encodeWireAnswer(status, bytes);
  }

  #refuse(status: number): Uint8Array {
    this.#waiting = Buffer.alloc(0);
    return encodeWireAnswer(status);
  }

  #perform(request: RpmbWireRequest): { status: number; bytes: Uint8Array } {
    try {
      const bytes = operate(this.#part, request);
      if (bytes === undefined) return failed(RPMB_WIRE_STATUS.EOPNOTSUPP);
      return { status: RPMB_WIRE_STATUS.OK, bytes };
    } catch (error) {
      if (error instanceof RangeError) return failed(RPMB_WIRE_STATUS.EINVAL);
      if (error instanceof PowerCut) return failed(RPMB_WIRE_STATUS.ETIMEDOUT);
      this.#options.onError?.(error);
      return failed(RPMB_WIRE_STATUS.EIO);
    }
  }
}

const NONE: Uint8Array = new Uint8Array(0);
const failed = (status: number): { status: number; bytes: Uint8Array } => ({ status, bytes: NONE });

/** Undefined for an operation that there is not. Throws what the part throws. */
function operate(part: EmmcRpmb, request: RpmbWireRequest): Uint8Array | undefined {
  const { op, responseFrames, frames } = request;
  switch (op) {
    case RPMB_WIRE_OP.INFO:
      return encodeWireInfo(part.registers);
    case RPMB_WIRE_OP.TRANSFER:
      return part.frames(frames, responseFrames);
    case RPMB_WIRE_OP.WRITE:
      part.write(frames, responseFrames === 1);
      return NONE;
    case RPMB_WIRE_OP.READ:
      return part.read(responseFrames);
    default:
      return undefined;
  }
}
