import type { Duplex } from "node:stream";
import { messageOf, secrets } from "../base/index.ts";
import type { BoardConfig, GuestPort } from "../board/index.ts";
import {
  EmmcRpmb,
  fieldOf,
  FRAME,
  FRAME_SIZE,
  openRpmbState,
  RPMB_REQUEST,
  RPMB_WIRE_OP,
  type RpmbWireRequest,
  serveRpmb,
} from "../rpmb/index.ts";

/** What a board's software did with its part, from one power-on to the next. */
export interface PartUse {
  /** 32 hex digits in register order. */
  readonly cid: string;
  readonly keyProgrammed: boolean;
  /** At power-on, and last. */
  readonly counterBefore: number;
  readonly counterAfter: number;
  /** Frames of 512 bytes, both ways together. */
  readonly frames: number;
  /** Requests that program a key, write or read: each of its frames may be one of several. */
  readonly writes: number;
  readonly reads: number;
}

type Emulated = NonNullable<NonNullable<BoardConfig["rpmb"]>["emulated"]>;

/**
 * The RPMB part that a board file says Lockstep serves, at the end of a virtio-serial port of its
 * guest. Without a state file every power-on brings a blank part: the board's Linux, which is all in
 * RAM, has lost what it kept beside the part then, too.
 */
export class ServedPart implements GuestPort {
  readonly name = "lockstep.rpmb";
  readonly #config: Emulated;
  readonly #uses: Use[] = [];
  #part: EmmcRpmb | undefined;

  constructor(config: Emulated) {
    this.#config = config;
  }

  /** The part while the board is on. */
  get part(): EmmcRpmb | undefined {
    return this.#part;
  }

  /** A record for each power-on, in order. */
  uses(): readonly PartUse[] {
    return this.#uses.map((use) => use.record());
  }

  powerOn(stream: Duplex, failed: (reason: string) => void): () => void {
    const part = this.#open();
    const use = new Use(part);
    this.#part = part;
    this.#uses.push(use);
    const service = serveRpmb(stream, part, {
      onTransfer: (request, _status, answer) => {
        use.transferred(request, answer);
      },
      onError: (error) => {
        failed(`the RPMB part cannot be kept: ${messageOf(error)}`);
      },
    });
    return () => {
      service.stop();
      use.end();
      this.#part = undefined;
      part.close();
    };
  }

  #open(): EmmcRpmb {
    const { cid, sizeMultiplier, state } = this.#config;
    const create = { cid: Buffer.from(cid, "hex"), sizeMultiplier };
    return state === undefined ? new EmmcRpmb(create) : openRpmbState(state, { create });
  }
}

class Use {
  readonly #part: EmmcRpmb;
  readonly #cid: string;
  readonly #counterBefore: number;
  #ended: { readonly keyProgrammed: boolean; readonly counterAfter: number } | undefined;
  #frames = 0;
  #writes = 0;
  #reads = 0;

  constructor(part: EmmcRpmb) {
    this.#part = part;
    this.#cid = Buffer.from(part.cid).toString("hex");
    this.#counterBefore = part.writeCounter;
  }

  transferred({ op, frames }: RpmbWireRequest, answer: Uint8Array): void {
    if (op === RPMB_WIRE_OP.INFO) return;
    this.#frames += (frames.length + answer.length) / FRAME_SIZE;
    const type = frames.at(FRAME_TYPE_LAST_BYTE);
    if (type === RPMB_REQUEST.PROGRAM_KEY || type === RPMB_REQUEST.WRITE_DATA) this.#writes += 1;
    if (type === RPMB_REQUEST.PROGRAM_KEY) {
      secrets.add(Buffer.from(fieldOf(frames, FRAME.keyMac)).toString("hex"));
    }
    if (type === RPMB_REQUEST.READ_COUNTER || type === RPMB_REQUEST.READ_DATA) this.#reads += 1;
  }

  /** What the part was like when power went. */
  end(): void {
    this.#ended = this.#now();
  }

  record(): PartUse {
    return {
      cid: this.#cid,
      counterBefore: this.#counterBefore,
      ...(this.#ended ?? this.#now()),
      frames: this.#frames,
      writes: this.#writes,
      reads: this.#reads,
    };
  }

  #now(): { readonly keyProgrammed: boolean; readonly counterAfter: number } {
    return { keyProgrammed: this.#part.keyProgrammed, counterAfter: this.#part.writeCounter };
  }
}

/** Requests have the numbers of one byte; the field's other byte is in front of it. */
const FRAME_TYPE_LAST_BYTE = FRAME_SIZE - 1;
