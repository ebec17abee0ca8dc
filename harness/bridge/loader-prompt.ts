import { type Deadline, InfrastructureError, TargetCrashError } from "../base/index.ts";
import type { ByteLine } from "./ymodem.ts";
import type { LoaderConsole } from "./loader-console.ts";

export interface LoaderPromptOptions {
  /** Matches the prompt at the end of the line that it stands on. */
  readonly prompt: RegExp;
  /** Milliseconds of silence after which something was lost on the way. */
  readonly silenceMs?: number;
  /** How often one command is typed before the line is given up. */
  readonly attempts?: number;
}

const CTRL_C = "\u0003";
const ENTER = "\r";
/** Ends a transfer; at a prompt it rubs the line out. Enough for any receiver to give up. */
const CANCEL = "\u0018".repeat(8);
const SILENCE_MS = 1000;
const ATTEMPTS = 100;
/** Ctrl-C goes unanswered this often, each time waited for longer, before the board counts as hung. */
const KNOCKS = 6;
const KEPT = 64 * 1024;
/** The echo of Enter, and what `go` prints before it jumps. */
const BUSY_LINES = 3;

/** The characters differ from those that were typed, or did not come back. */
class Garbled extends Error {}

/** A command did not come through in as many attempts as it was given. */
export class LineTooBad extends InfrastructureError {}

/**
 * Types commands at a boot loader's prompt over a line that may lose and change characters. A command
 * is typed, its echo compared, and only then sent with Enter: the boot loader never acts on a line
 * that it did not get as it was meant. Its output may still be garbled, and a command whose output
 * was lost may be typed again, so commands must bear repetition.
 */
export class LoaderPrompt {
  readonly #console: LoaderConsole;
  readonly #prompt: RegExp;
  readonly #silenceMs: number;
  readonly #attempts: number;
  readonly #stops: (() => void)[];
  #received = "";
  #wake: (() => void) | undefined;
  #lost: string | undefined;
  /** The prompt as this boot loader prints it, once it is known. */
  #exact: string | undefined;
  readonly #candidates = new Set<string>();
  /** Whether an empty prompt is known to stand there. */
  #clean = false;
  /** Whether a receiver of bytes may still be there, which takes Ctrl-C for one of them. */
  #receiving = false;

  constructor(console: LoaderConsole, options: LoaderPromptOptions) {
    this.#console = console;
    this.#prompt = options.prompt;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
    this.#attempts = options.attempts ?? ATTEMPTS;
    this.#stops = [
      console.onBytes((bytes) => {
        this.#received = (this.#received + Buffer.from(bytes).toString("latin1")).slice(-KEPT);
        this.#wake?.();
      }),
      console.onLost((what) => {
        this.#lost = what;
        this.#wake?.();
      }),
    ];
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  /**
   * Runs `command` and gives the lines that it printed, which may be garbled. `busyMs` is how long a
   * program that it starts may be silent for. Throws LineTooBad after `attempts`, TargetCrashError when the
   * board is lost or does not come back to its prompt.
   */
  async run(
    command: string,
    deadline: Deadline,
    options: { readonly busyMs?: number; readonly attempts?: number } = {},
  ): Promise<string[]> {
    const { busyMs = this.#silenceMs, attempts = this.#attempts } = options;
    let last = "";
    for (let attempt = 0; attempt < attempts; attempt += 1) {
      try {
        if (!this.#clean) await this.#clear(deadline);
        this.#clean = false;
        await this.#type(command, deadline);
        const lines = await this.#enter(deadline, busyMs);
        this.#clean = true;
        return lines;
      } catch (error) {
        if (!(error instanceof Garbled)) throw error;
        last = error.message;
      }
    }
    throw new LineTooBad("the boot loader's console garbles what goes over it", {
      expected: `an answer to \`${command.slice(0, 80)}\` within ${attempts} attempts`,
      seen: last.slice(0, 400),
      next: "Check cable, baud rate and `character_delay` of the board file, and that nothing else uses the port.",
    });
  }

  /**
   * Runs a command that does not come back to the prompt, until it has printed a line that matches
   * `started`, where that is given. Throws as `run`. Not repeated once it was sent: it may have begun.
   */
  async leave(command: string, started: RegExp | undefined, deadline: Deadline): Promise<void> {
    for (let attempt = 0; attempt < this.#attempts; attempt += 1) {
      try {
        if (!this.#clean) await this.#clear(deadline);
        this.#clean = false;
        await this.#type(command, deadline);
      } catch (error) {
        if (error instanceof Garbled) continue;
        throw error;
      }
      this.#received = "";
      await this.#send(ENTER, deadline);
      if (started === undefined) return;
      const there = (): boolean => started.test(this.#received);
      if (await this.#until(there, deadline, this.#silenceMs)) return;
      break;
    }
    throw new TargetCrashError(`\`${command}\` did not start`, {
      expected: started?.source ?? "an echo",
      seen: this.#received.slice(-200),
      next: "Power-cycle the board to go on.",
    });
  }

  /**
   * Runs a command that talks in bytes with `dialog`, and waits for the prompt behind it; false where
   * either failed. Throws TargetCrashError when the board is lost.
   */
  async talk(
    command: string,
    dialog: (line: ByteLine) => Promise<boolean>,
    deadline: Deadline,
  ): Promise<boolean> {
    try {
      if (!this.#clean) await this.#clear(deadline);
      this.#clean = false;
      await this.#type(command, deadline);
    } catch (error) {
      if (error instanceof Garbled) return false;
      throw error;
    }
    this.#received = "";
    this.#receiving = true;
    await this.#send(ENTER, deadline);
    const done = await dialog({
      send: async (bytes) => {
        this.#mustLive();
        await deadline.race(this.#console.type(bytes));
      },
      next: async (ms) => {
        await this.#until(() => this.#received !== "", deadline, ms);
        if (this.#received === "") return undefined;
        const byte = this.#received.charCodeAt(0);
        this.#received = this.#received.slice(1);
        return byte;
      },
    });
    return done && (await this.#until(() => this.#atPrompt(), deadline, this.#silenceMs));
  }

  /** What stands on the line is not known any more. */
  forget(): void {
    this.#clean = false;
  }

  /** Gets rid of whatever stands on the line: Ctrl-C until the prompt answers. */
  async #clear(deadline: Deadline): Promise<void> {
    for (let knock = 1; knock <= KNOCKS; knock += 1) {
      this.#received = "";
      await this.#send(this.#receiving ? `${CANCEL}${CTRL_C}` : CTRL_C, deadline);
      if (!(await this.#until(() => this.#atPrompt(), deadline, this.#silenceMs * knock))) continue;
      if (this.#exact === undefined && !this.#learn()) continue;
      this.#receiving = false;
      return;
    }
    throw new TargetCrashError("the boot loader does not come back to its prompt", {
      expected: `the prompt (${this.#prompt.source}) after Ctrl-C`,
      seen: this.#received === "" ? "nothing" : this.#received.slice(-200),
      next: "What was called last never returned, or the board is dead: power-cycle it.",
    });
  }

  async #type(command: string, deadline: Deadline): Promise<void> {
    this.#received = "";
    await this.#send(command, deadline);
    const whole = (): boolean =>
      this.#received.length >= command.length || !command.startsWith(this.#received);
    await this.#until(whole, deadline, this.#silenceMs);
    if (this.#received !== command) {
      throw new Garbled(`echo of ${command.slice(0, 60)}: ${this.#received.slice(0, 200)}`);
    }
  }

  async #enter(deadline: Deadline, busyMs: number): Promise<string[]> {
    this.#received = "";
    await this.#send(ENTER, deadline);
    // `go` announces itself in a line of its own; what comes behind that has returned.
    const silence = (): number =>
      this.#received.split("\n").length > BUSY_LINES ? this.#silenceMs : busyMs;
    if (!(await this.#until(() => this.#atPrompt(), deadline, silence))) {
      throw new Garbled(`no prompt after: ${this.#received.slice(-200)}`);
    }
    const lines = this.#received.split("\n").map((line) => line.replaceAll("\r", ""));
    lines.pop();
    return lines.slice(1);
  }

  /** The unfinished line, where a line has been finished before it. */
  get #lastLine(): string | undefined {
    const start = this.#received.lastIndexOf("\n");
    return start < 0 ? undefined : this.#received.slice(start + 1);
  }

  #atPrompt(): boolean {
    const line = this.#lastLine;
    if (line === undefined) return false;
    return this.#exact === undefined ? this.#prompt.test(line) : line === this.#exact;
  }

  /** What stood there twice after Ctrl-C is the prompt and nothing else: output may end like it. */
  #learn(): boolean {
    const line = this.#lastLine ?? "";
    const before = this.#candidates.has(line);
    this.#candidates.add(line);
    if (before) this.#exact = line;
    return before;
  }

  async #send(text: string, deadline: Deadline): Promise<void> {
    this.#mustLive();
    await deadline.race(this.#console.type(Buffer.from(text, "latin1")));
  }

  /** Waits until `done` holds; false after `silenceMs` without a byte. */
  async #until(
    done: () => boolean,
    deadline: Deadline,
    silenceMs: number | (() => number),
  ): Promise<boolean> {
    while (!done()) {
      this.#mustLive();
      let timer: NodeJS.Timeout | undefined;
      const silent = await deadline.race(
        new Promise<boolean>((resolve) => {
          this.#wake = () => {
            resolve(false);
          };
          const ms = typeof silenceMs === "number" ? silenceMs : silenceMs();
          timer = setTimeout(resolve, ms, true);
        }),
      );
      clearTimeout(timer);
      this.#wake = undefined;
      if (silent) return done();
    }
    return true;
  }

  #mustLive(): void {
    if (this.#lost === undefined) return;
    throw new TargetCrashError("the board left its boot loader", {
      seen: this.#lost,
      next: "Power-cycle the board to go on.",
    });
  }
}
