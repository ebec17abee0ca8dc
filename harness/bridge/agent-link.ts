import { type Deadline, InfrastructureError, TargetCrashError } from "../base/index.ts";
import { AGENT_STATUS } from "./agent-codec.ts";
import {
  AGENT_SYNC,
  encodeFrame,
  type Frame,
  FRAME_OVERHEAD,
  FrameScanner,
} from "./agent-frame.ts";
import type { LoaderConsole } from "./loader-console.ts";

export interface AgentLinkOptions {
  /** The sequence that counts as the last one. */
  readonly sequence: number;
  /** Symbols a second on the wire, for how long a frame takes; default 115,200. */
  readonly baud?: number;
  /** Milliseconds after which the agent takes a silent line for the end of a frame. */
  readonly gapMs: number;
  /** Milliseconds of silence, beside the gap, before a request is sent again; default 200. */
  readonly retryMs?: number;
  /** What else the board says on this line. */
  readonly onText?: (bytes: Uint8Array) => void;
}

/** A frame, or its answer, did not come through in as many attempts as it was given. */
export class FrameLost extends InfrastructureError {}

const BAUD = 115_200;
const BITS = 10;
const RETRY_MS = 200;
const MAX_SILENCE_MS = 2000;
const SEQUENCES = 0x1_0000;
const QUOTED = 300;

/**
 * Requests and answers over a line that may change, lose and double bytes. A request is sent until
 * its answer came through whole; the agent carries it out once.
 */
export class AgentLink {
  readonly #console: LoaderConsole;
  readonly #msPerByte: number;
  readonly #gapMs: number;
  readonly #retryMs: number;
  readonly #scanner: FrameScanner;
  readonly #stops: (() => void)[];
  #sequence: number;
  #avoided: number | undefined;
  #answer: Uint8Array | undefined;
  #complained = false;
  /** What came since the last frame, its end. */
  #heard: Buffer = Buffer.alloc(0);
  #lost: string | undefined;
  #wake: (() => void) | undefined;
  #arrivals = 0;

  constructor(console: LoaderConsole, options: AgentLinkOptions) {
    this.#console = console;
    this.#sequence = options.sequence;
    this.#msPerByte = (BITS * 1000) / (options.baud ?? BAUD);
    this.#gapMs = options.gapMs;
    this.#retryMs = options.retryMs ?? RETRY_MS;
    this.#scanner = new FrameScanner(
      AGENT_SYNC.answer,
      (frame) => {
        this.#take(frame);
      },
      (bytes) => {
        this.#heard = Buffer.concat([this.#heard, bytes]).subarray(-0x4000);
        options.onText?.(bytes);
      },
    );
    this.#stops = [
      console.onBytes((bytes) => {
        this.#arrivals += 1;
        this.#scanner.feed(bytes);
        this.#wake?.();
      }),
      console.onLost((what) => {
        this.#lost = what;
        this.#wake?.();
      }),
    ];
  }

  /** The machine may go back to what it is now, and then takes the last sequence for a repetition. */
  avoidLast(): void {
    this.#avoided = this.#sequence;
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  /**
   * The payload of the answer to `payload`. Throws FrameLost when `tries` attempts came to nothing, and,
   * when nothing right was heard for `patienceMs`, TargetCrashError, or InfrastructureError where what
   * was heard is noise.
   */
  async ask(
    payload: Uint8Array,
    deadline: Deadline,
    options: { readonly patienceMs: number; readonly tries: number },
  ): Promise<Uint8Array> {
    do this.#sequence = (this.#sequence + 1) % SEQUENCES;
    while (this.#sequence === this.#avoided);
    const frame = encodeFrame(AGENT_SYNC.request, { sequence: this.#sequence, payload });
    const wireMs = (frame.length + FRAME_OVERHEAD) * this.#msPerByte;
    this.#answer = undefined;
    this.#heard = Buffer.alloc(0);
    let since = performance.now();
    const least = this.#gapMs + this.#retryMs;
    let silenceMs = least;
    for (let failures = 0; failures < options.tries;) {
      this.#mustLive();
      this.#complained = false;
      const heard = this.#heard.length;
      const sent = performance.now();
      await deadline.race(this.#console.type(frame, { unpaced: true }));
      await this.#listen(deadline, wireMs + silenceMs, sent);
      if (this.#answer !== undefined) return this.#answer;
      this.#mustLive();
      if (this.#complained) {
        failures += 1;
        since = performance.now();
        silenceMs = least;
        continue;
      }
      this.#scanner.flush();
      if (this.#heard.includes(frame)) throw this.#silent(frame, options.patienceMs);
      if (this.#heard.length > heard) {
        failures += 1;
        silenceMs = least;
      } else silenceMs = Math.min(2 * silenceMs, MAX_SILENCE_MS);
      if (performance.now() - since > options.patienceMs)
        throw this.#silent(frame, options.patienceMs);
    }
    throw new FrameLost("the line to the agent carries nothing right", {
      expected: `an answer within ${options.tries} attempts`,
      next: "Check cable and baud rate of the board file, and that nothing else uses the port.",
    });
  }

  #take({ sequence, payload }: Frame): void {
    if (payload[0] === AGENT_STATUS.noFrame) this.#complained = true;
    else if (sequence === this.#sequence) this.#answer = payload;
  }

  /** Waits for the answer, a complaint, or silence for `silenceMs`. */
  async #listen(deadline: Deadline, silenceMs: number, sent: number): Promise<void> {
    for (let arrivals = -1; arrivals !== this.#arrivals;) {
      arrivals = this.#arrivals;
      await this.#arrival(deadline, silenceMs);
      if (this.#answer !== undefined || this.#lost !== undefined) return;
      // Before the line was silent for so long a complaint is about something earlier.
      if (this.#complained && performance.now() - sent >= this.#gapMs) return;
      this.#complained = false;
    }
  }

  async #arrival(deadline: Deadline, ms: number): Promise<void> {
    if (this.#answer !== undefined || this.#lost !== undefined) return;
    let timer: NodeJS.Timeout | undefined;
    try {
      await deadline.race(
        new Promise<void>((resolve) => {
          this.#wake = resolve;
          timer = setTimeout(resolve, ms);
        }),
      );
    } finally {
      clearTimeout(timer);
      this.#wake = undefined;
    }
  }

  #silent(frame: Buffer, patienceMs: number): Error {
    const seen = this.#heard.toString("latin1").slice(-QUOTED);
    const details = {
      expected: `an answer within ${patienceMs / 1000} s`,
      seen: seen === "" ? "nothing" : seen,
    };
    if (this.#heard.includes(frame.subarray(0, 8))) {
      return new TargetCrashError(
        "the agent is gone: what is sent to it comes back as an echo",
        details,
      );
    }
    if (isText(this.#heard)) {
      return new TargetCrashError("the agent does not answer any more", {
        ...details,
        next: "What was called last never returned, or the board is dead: power-cycle it.",
      });
    }
    return new InfrastructureError("the line to the agent carries nothing right", {
      ...details,
      next: "Check cable and baud rate of the board file, and that nothing else uses the port.",
    });
  }

  #mustLive(): void {
    if (this.#lost === undefined) return;
    throw new TargetCrashError("the board left the agent", {
      seen: this.#lost,
      next: "Power-cycle the board to go on.",
    });
  }
}

const isText = (bytes: Uint8Array): boolean =>
  bytes.every(
    (byte) => (byte >= 0x20 && byte < 0x7f) || (byte >= 0x07 && byte <= 0x0d) || byte === 0x1b,
  );
