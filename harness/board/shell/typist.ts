import { type Deadline, DeadlineError, InfrastructureError } from "../../base/index.ts";
import type { Console } from "../console/console.ts";

const ENTER = Uint8Array.of(0x0a);
const INTERRUPT = Uint8Array.of(0x03);
const ATTEMPTS = 4;
/** An echo that has not come after this long, beyond the time of typing, does not come. */
const ECHO_MS = 1500;
const PROMPT_MS = 5000;

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
    await deadline.race(this.#console.type(ENTER));
  }

  /** Waits until the prompt is the unfinished line, pressing Ctrl-C if something stands behind it. */
  async atPrompt(deadline: Deadline): Promise<void> {
    if (this.#prompt.test(this.#console.partial())) return;
    try {
      await this.#awaitPrompt(deadline.within(PROMPT_MS, "the shell's prompt"));
    } catch (error) {
      if (!(error instanceof DeadlineError) || deadline.expired) throw error;
      await this.interrupt(deadline);
    }
  }

  /** Ctrl-C, then a new prompt. */
  async interrupt(deadline: Deadline): Promise<void> {
    const fresh = this.#console.offset;
    const prompt = this.#console.until(deadline, "the shell's prompt after Ctrl-C", (glimpse) =>
      glimpse.partial && this.#console.offset > fresh && this.#prompt.test(glimpse.text)
        ? true
        : undefined,
    );
    prompt.catch(() => {});
    await deadline.race(this.#console.type(INTERRUPT));
    await prompt;
  }

  async #awaitPrompt(deadline: Deadline): Promise<void> {
    await this.#console.until(deadline, "the shell's prompt", (glimpse) =>
      glimpse.partial && this.#prompt.test(glimpse.text) ? true : undefined,
    );
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
