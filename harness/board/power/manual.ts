import type { Progress } from "../../base/index.ts";
import type { PowerProtocol } from "../protocol.ts";

/** A person switches the board: they are told when, and what the consoles show tells that they did. */
export class ManualPower implements PowerProtocol {
  readonly #board: string;
  readonly #progress: Progress;

  constructor(board: string, progress: Progress) {
    this.#board = board;
    this.#progress = progress;
  }

  async on(): Promise<void> {
    this.#progress.warn(`Please switch board ${this.#board} on.`);
  }

  async off(): Promise<void> {
    this.#progress.warn(`Please switch board ${this.#board} off.`);
  }

  async cycle(): Promise<void> {
    this.#progress.warn(`Please switch board ${this.#board} off and on again, or reset it.`);
  }

  async state(): Promise<"unknown"> {
    return "unknown";
  }
}
