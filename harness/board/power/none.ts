import { InfrastructureError } from "../../base/index.ts";
import type { PowerProtocol } from "../protocol.ts";

/** A board whose power nobody can switch: it is taken as it is found. */
export class NoPower implements PowerProtocol {
  readonly #board: string;

  constructor(board: string) {
    this.#board = board;
  }

  async on(): Promise<void> {}

  async off(): Promise<void> {
    throw this.#refusal("off");
  }

  async cycle(): Promise<void> {
    throw this.#refusal("off and on");
  }

  async state(): Promise<"unknown"> {
    return "unknown";
  }

  #refusal(what: string): InfrastructureError {
    return new InfrastructureError(`board ${this.#board} cannot be switched ${what}`, {
      seen: "its board file says `power: { driver: none }`",
      next: "Reset the board by hand, or give it a power driver (command or manual).",
    });
  }
}
