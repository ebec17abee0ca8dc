import { type Deadline, InfrastructureError } from "../base/index.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";

/** Runs of `smc` until two of them printed the same. */
const ATTEMPTS = 12;
const HELP_ATTEMPTS = 3;
const REGISTERS = 7;
/** x0..x3, as signed decimal numbers. */
const RESULT = /^Res: {1,4}(-?\d{1,20}) (-?\d{1,20}) (-?\d{1,20}) (-?\d{1,20})$/;

/**
 * SMCs by U-Boot's own command `smc` (CONFIG_CMD_SMC), with no program of ours on the board. It prints
 * x0 to x3 and nothing that could be checked, so a call is made until two answers agree: only for calls
 * that bear repetition. What x4 to x7 hold afterwards it does not tell.
 */
export class LoaderSmc {
  readonly #prompt: LoaderPrompt;

  private constructor(prompt: LoaderPrompt) {
    this.#prompt = prompt;
  }

  /** Undefined where the boot loader does not have the command. */
  static async find(prompt: LoaderPrompt, deadline: Deadline): Promise<LoaderSmc | undefined> {
    for (let attempt = 0; attempt < HELP_ATTEMPTS; attempt += 1) {
      const lines = await prompt.run("help smc", deadline);
      if (lines.some((line) => line.startsWith("smc - "))) return new LoaderSmc(prompt);
      if (lines.some((line) => line.startsWith("Unknown command 'smc'"))) return undefined;
    }
    return undefined;
  }

  /**
   * x0..x3 after a call with x0..x6; x7 is 0. Throws InfrastructureError when no two answers agree,
   * TargetCrashError when the board is lost or the call does not return.
   */
  async call(x: readonly bigint[], deadline: Deadline, busyMs: number): Promise<readonly bigint[]> {
    const words = Array.from({ length: REGISTERS }, (_, index) => (x[index] ?? 0n).toString(16));
    const seen = new Set<string>();
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const lines = await this.#prompt.run(`smc ${words.join(" ")}`, deadline, { busyMs });
      const [match, ...more] = lines.map((line) => RESULT.exec(line)).filter((one) => one !== null);
      if (match === undefined || more.length > 0) continue;
      const [text, ...results] = match;
      if (seen.has(text)) return results.map((result) => BigInt.asUintN(64, BigInt(result)));
      seen.add(text);
    }
    throw new InfrastructureError("the boot loader's `smc` never printed the same twice", {
      seen: [...seen].slice(0, 4).join(" | "),
      next: "Check cable, baud rate and `character_delay` of the board file.",
    });
  }
}
