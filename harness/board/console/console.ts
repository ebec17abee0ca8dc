import {
  type Clock,
  type Deadline,
  DeadlineError,
  InfrastructureError,
  InternalError,
  LockstepError,
  messageOf,
  systemClock,
} from "../../base/index.ts";
import { Deferred } from "../deferred.ts";
import type { BoardObserver, LineTime } from "../observer.ts";
import type { BytePort } from "./byte-port.ts";
import { TextView } from "./text-view.ts";

/** A finished line. */
export interface ConsoleLine extends LineTime {
  readonly stream: string;
  readonly offset: number;
  readonly text: string;
}

/** All methods are called synchronously, in the order of the bytes. */
export interface ConsoleListener {
  raw?(bytes: Uint8Array): void;
  line?(line: ConsoleLine): void;
  /** After every chunk that left an unfinished line. */
  partial?(): void;
  /** The console cannot be read any more: its port is gone, or the target crashed. */
  failed?(error: LockstepError): void;
}

/** What a wait is shown: a finished line, or the end of an unfinished one. */
export interface Glimpse {
  readonly text: string;
  readonly partial: boolean;
}

/** Prompts are looked for in this much of the end of an unfinished line. */
const PROMPT_WINDOW = 256;
const TAIL_LINES = 200;
/** How many of the last lines an error quotes. */
export const QUOTED_LINES = 15;

/**
 * One console of a board over the whole life of the board object: ports come and go with power
 * cycles, the stream and its offsets go on. It reads whatever its port delivers at once, whether
 * anybody waits or not.
 */
export class Console {
  readonly name: string;
  readonly #observer: Pick<BoardObserver, "raw" | "line">;
  readonly #clock: Clock;
  readonly #characterDelayMs: number;
  readonly #listeners = new Set<ConsoleListener>();
  readonly #tail: ConsoleLine[] = [];
  readonly #view: TextView;
  #port: BytePort | undefined;
  #absence: string | undefined;
  #condemned: LockstepError | undefined;
  #typing: Promise<void> = Promise.resolve();
  /** When the bytes that are being looked at arrived. */
  #now: LineTime = { monotonicMs: 0, wallMs: 0 };

  constructor(
    name: string,
    observer: Pick<BoardObserver, "raw" | "line">,
    options: { clock?: Clock; characterDelayMs?: number } = {},
  ) {
    this.name = name;
    this.#observer = observer;
    this.#clock = options.clock ?? systemClock;
    this.#characterDelayMs = options.characterDelayMs ?? 0;
    this.#view = new TextView((offset, text) => {
      this.#line(offset, text);
    });
  }

  /** Raw bytes so far. */
  get offset(): number {
    return this.#view.offset;
  }

  get attached(): boolean {
    return this.#port !== undefined;
  }

  /** From now on `port` takes what is typed. Its owner feeds what it delivers. */
  attach(port: BytePort): void {
    this.#port = port;
    this.#absence = undefined;
  }

  /** There is no port (any more), for the reason given; an unfinished line is finished. */
  detach(reason?: string): void {
    this.#port = undefined;
    this.#absence = reason;
    this.#view.flush();
  }

  /** Everything that arrives, in order. */
  feed(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#now = { monotonicMs: this.#clock.monotonicMs(), wallMs: this.#clock.wallMs() };
    this.#observe(() => {
      this.#observer.raw(this.name, bytes);
    });
    for (const listener of this.#listeners) listener.raw?.(bytes);
    this.#view.feed(bytes);
    for (const listener of this.#listeners) listener.partial?.();
  }

  /** Ends every wait on this console with `error`. */
  fail(error: LockstepError): void {
    for (const listener of this.#listeners) listener.failed?.(error);
  }

  /** Ends every wait on this console with `error`, and every one that begins until `mend()`. */
  condemn(error: LockstepError): void {
    this.#condemned = error;
    this.fail(error);
  }

  mend(): void {
    this.#condemned = undefined;
  }

  /** Throws what the console was condemned with. */
  mustWork(): void {
    if (this.#condemned !== undefined) throw this.#condemned;
  }

  /** Calls `listener` until the returned function is called. */
  listen(listener: ConsoleListener): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** The unfinished line, without VT100; its last `limit` bytes. */
  partial(limit?: number): string {
    return this.#view.partial(limit);
  }

  /** The last lines for an error message, the unfinished one included. */
  lastLines(count: number = QUOTED_LINES): string[] {
    const lines = this.#tail.slice(-count).map((line) => line.text);
    const partial = this.partial(1024);
    return partial === "" ? lines : [...lines, partial].slice(-count);
  }

  /**
   * Types `bytes` after whatever is being typed, with the board's character delay unless they are
   * `unpaced`, for a reader that keeps up with the line.
   */
  async type(bytes: Uint8Array, options: { readonly unpaced?: boolean } = {}): Promise<void> {
    const turn = this.#typing.then(() => this.#write(bytes, options.unpaced === true));
    this.#typing = turn.catch(() => {});
    await turn;
  }

  /**
   * Shows `step` every finished line and, after each chunk, the end of the unfinished one, until it
   * returns something. Each line is shown once; the unfinished one at most PROMPT_WINDOW bytes at a
   * time. `step` runs synchronously, so what comes right behind a match is never missed by a
   * `step` that goes on. Throws DeadlineError quoting the last lines.
   */
  async until<T>(
    deadline: Deadline,
    awaited: string | (() => string),
    step: (glimpse: Glimpse) => T | undefined,
  ): Promise<T> {
    this.mustWork();
    const found = new Deferred<T>();
    const show = (text: string, partial: boolean): void => {
      try {
        const result = step({ text, partial });
        if (result === undefined) return;
        stop();
        found.resolve(result);
      } catch (error) {
        stop();
        found.reject(error);
      }
    };
    const stop = this.listen({
      line: (line) => {
        show(line.text, false);
      },
      partial: () => {
        const text = this.partial(PROMPT_WINDOW);
        if (text !== "") show(text, true);
      },
      failed: found.reject,
    });
    show(this.partial(PROMPT_WINDOW), true);
    try {
      return await deadline.race(found.promise, () => this.timeout(deadline, awaited));
    } finally {
      stop();
    }
  }

  /** The error for a wait that ran out of time, with what was awaited and what was last seen. */
  timeout(deadline: Deadline, awaited: string | (() => string)): DeadlineError {
    const lines = this.lastLines();
    return new DeadlineError(`${deadline.what} did not finish in time`, {
      where: `console ${this.name}`,
      expected: typeof awaited === "string" ? awaited : awaited(),
      seen: lines.length === 0 ? silence(this.#absence) : quoteLines(lines),
    });
  }

  async #write(bytes: Uint8Array, unpaced: boolean): Promise<void> {
    const port = this.#port;
    if (port === undefined) throw notOpen(this.name);
    if (unpaced || this.#characterDelayMs <= 0) {
      await port.write(bytes);
      return;
    }
    for (let i = 0; i < bytes.length; i += 1) {
      if (i > 0) await new Promise((resolve) => setTimeout(resolve, this.#characterDelayMs));
      await port.write(bytes.subarray(i, i + 1));
    }
  }

  /** An observer that fails (a full disk) ends the waits, never the reading. */
  #observe(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.fail(
        error instanceof LockstepError
          ? error
          : new InternalError(`the observer of console ${this.name} failed: ${messageOf(error)}`, {
              cause: error,
            }),
      );
    }
  }

  #line(offset: number, text: string): void {
    const line: ConsoleLine = { stream: this.name, offset, text, ...this.#now };
    this.#tail.push(line);
    if (this.#tail.length > 2 * TAIL_LINES) this.#tail.splice(0, TAIL_LINES);
    this.#observe(() => {
      this.#observer.line(this.name, offset, text, line);
    });
    for (const listener of this.#listeners) listener.line?.(line);
  }
}

/** Lines for the `seen` of an error. */
export function quoteLines(lines: readonly string[]): string {
  if (lines.length === 0) return silence();
  return `\n${lines.map((line) => `  | ${line.slice(0, 400)}`).join("\n")}\n`;
}

function silence(reason: string = "the console was silent"): string {
  return `nothing: ${reason}`;
}

function notOpen(name: string): InfrastructureError {
  return new InfrastructureError(`the console ${name} is not open`, {
    next: "Switch the board on first.",
  });
}
