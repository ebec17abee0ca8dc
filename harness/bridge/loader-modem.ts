import type { Deadline } from "../base/index.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";
import { MODEM_BLOCK, type ModemMode, sendByModem } from "./ymodem.ts";

/** Characters that a transfer costs beside its bytes: its command, what it prints, its blocks' frames. */
const OVERHEAD = 700;

/**
 * A faster way to write memory where a boot loader has `loady` or `loadx`: a character a byte in place
 * of four. It is given up for good when a transfer fails, as it does where one character in a thousand
 * is wrong.
 */
export class LoaderModem {
  readonly #prompt: LoaderPrompt;
  #mode: ModemMode | undefined;

  /** `help` is what the boot loader prints about `loady` and `loadx`. */
  constructor(prompt: LoaderPrompt, help: string) {
    this.#prompt = prompt;
    if (/^loady - /m.test(help)) this.#mode = "ymodem";
    else if (/^loadx - /m.test(help)) this.#mode = "xmodem";
  }

  get works(): boolean {
    return this.#mode !== undefined;
  }

  /** Whether it takes fewer characters than `typed`, which is what `mw` would take. */
  pays(bytes: Uint8Array, typed: number): boolean {
    if (this.#mode === undefined || bytes.length + OVERHEAD >= typed) return false;
    return this.#mode === "ymodem" || bytes.length % MODEM_BLOCK === 0;
  }

  /** Writes `bytes`, to be checked by the caller; false where that failed. */
  async write(at: number, bytes: Uint8Array, deadline: Deadline): Promise<boolean> {
    const mode = this.#mode;
    if (mode === undefined) return false;
    const command = `${mode === "ymodem" ? "loady" : "loadx"} ${at.toString(16)}`;
    const done = await this.#prompt.talk(
      command,
      async (line) => await sendByModem(line, bytes, mode),
      deadline,
    );
    if (!done) this.giveUp();
    return done;
  }

  giveUp(): void {
    this.#mode = undefined;
  }
}
