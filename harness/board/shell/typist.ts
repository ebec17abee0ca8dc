import { type Deadline, DeadlineError, InfrastructureError } from "../../base/index.ts";
import type { Console } from "../console/console.ts";

const ENTER = Uint8Array.of(0x0a);
const INTERRUPT = Uint8Array.of(0x03);
const ATTEMPTS = 4;
/** An echo that has not come after this long, beyond the time of typing, does not come. */
const ECHO_MS = 1500;
const PROMPT_MS = 3000;

/**
 * Types lines at a shell's prompt. On a line that may lose characters, Enter is pressed only once
 * the echo shows exactly what was typed, so that a damaged command never runs.
 */
export class Typist {
  readonly #console: Console;
  readonly #prompt: RegExp;
  readonly #verify: boolean;
  readonly #msPerCharacter: number;

  constructor(
    console: Console,
    prompt: RegExp,
    options: { readonly verify: boolean; readonly characterDelayMs: number },
  ) {
    this.#console = console;
    this.#prompt = prompt;
    this.#verify = options.verify;
    // A slow UART, 9600 baud, needs a millisecond for each character in each direction.
    this.#msPerCharacter = 2 + 2 * options.characterDelayMs;
  }

  /** Types `line` and Enter. `verify` false types blindly whatever the console is. */
  async line(line: string, deadline: Deadline, verify: boolean = this.#verify): Promise<void> {
    const bytes = Buffer.from(line, "latin1");
    if (!verify) {
      await deadline.race(this.#console.type(Buffer.concat([bytes, ENTER])));
      return;
    }
    for (let attempt = 1; ; attempt += 1) {
      await this.atPrompt(deadline);
      const patience = deadline.within(
        ECHO_MS + bytes.length * this.#msPerCharacter,
        "the echo of a command",
      );
      const echoed = this.#console.until(patience, `the echo of: ${line}`, () =>
        this.#console.partial().endsWith(line) ? true : undefined,
      );
      echoed.catch(() => {});
      await deadline.race(this.#console.type(bytes));
      try {
        await echoed;
        break;
      } catch (error) {
        if (!(error instanceof DeadlineError) || deadline.expired) throw error;
        if (attempt === ATTEMPTS) throw this.#damaged(line);
        await this.interrupt(deadline);
      }
    }
    await this.#enter(deadline);
  }

  /** Enter, again if nothing at all comes of it: it may be lost like any other character. */
  async #enter(deadline: Deadline): Promise<void> {
    const from = this.#console.offset;
    for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
      const patience = deadline.within(ECHO_MS, "the echo of Enter");
      const answered = this.#console.until(patience, "anything", () =>
        this.#console.offset > from ? true : undefined,
      );
      answered.catch(() => {});
      await deadline.race(this.#console.type(ENTER));
      try {
        await answered;
        return;
      } catch (error) {
        if (!(error instanceof DeadlineError) || deadline.expired) throw error;
      }
    }
  }

  /** Waits until the prompt is the unfinished line; presses Ctrl-C if something stands behind it. */
  async atPrompt(deadline: Deadline): Promise<void> {
    if (this.#prompt.test(this.#console.partial())) return;
    if (!(await this.#promptWithin(PROMPT_MS, deadline))) await this.interrupt(deadline);
  }

  /**
   * A prompt, whatever happened before. Enter comes first: a shell that is only just starting would
   * die of Ctrl-C.
   */
  async findPrompt(deadline: Deadline): Promise<void> {
    if (this.#prompt.test(this.#console.partial())) return;
    await deadline.race(this.#console.type(ENTER));
    if (!(await this.#promptWithin(PROMPT_MS, deadline))) await this.interrupt(deadline);
  }

  /** Ctrl-C until there is a new prompt. */
  async interrupt(deadline: Deadline): Promise<void> {
    for (;;) {
      const from = this.#console.offset;
      const patience = deadline.within(PROMPT_MS, deadline.what);
      const prompt = this.#console.until(patience, "the shell's prompt after Ctrl-C", (glimpse) =>
        glimpse.partial && this.#console.offset > from && this.#prompt.test(glimpse.text)
          ? true
          : undefined,
      );
      prompt.catch(() => {});
      await deadline.race(this.#console.type(INTERRUPT));
      try {
        await prompt;
        return;
      } catch (error) {
        if (!(error instanceof DeadlineError) || deadline.expired) throw error;
      }
    }
  }

  /** Whether the prompt came in `ms`. Throws what the deadline throws when that is up. */
  async #promptWithin(ms: number, deadline: Deadline): Promise<boolean> {
    try {
      const patience = deadline.within(ms, deadline.what);
      await this.#console.until(patience, "the shell's prompt", (glimpse) =>
        glimpse.partial && this.#prompt.test(glimpse.text) ? true : undefined,
      );
      return true;
    } catch (error) {
      if (!(error instanceof DeadlineError) || deadline.expired) throw error;
      return false;
    }
  }

  #damaged(line: string): InfrastructureError {
    return new InfrastructureError(
      `the console ${this.#console.name} does not echo what is typed: characters are lost or damaged`,
      {
        expected: line,
        seen: this.#console.partial(1024),
        next: "Set a longer character_delay for this board, or check the serial line.",
      },
    );
  }
}
