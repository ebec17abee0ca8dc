import { setTimeout as sleep } from "node:timers/promises";
import { type Deadline, DeadlineError, InfrastructureError } from "../../base/index.ts";
import type { PowerProtocol } from "../protocol.ts";

export interface PowerCommands {
  readonly on: string;
  readonly off: string;
  readonly cycle?: string;
  readonly settleMs: number;
}

/** An outlet switched by commands of the lab, run by `/bin/sh`: any PDU that has a program. */
export class CommandPower implements PowerProtocol {
  readonly #commands: PowerCommands;
  readonly #cwd: string;
  #offAt = -Infinity;

  constructor(commands: PowerCommands, cwd: string) {
    this.#commands = commands;
    this.#cwd = cwd;
  }

  /** Waits until the outlet has been off for its settle time. */
  async on(deadline: Deadline): Promise<void> {
    const wait = this.#offAt + this.#commands.settleMs - performance.now();
    if (wait > 0) await deadline.race(sleep(wait));
    await this.#run("on", this.#commands.on, deadline);
  }

  async off(deadline: Deadline): Promise<void> {
    await this.#run("off", this.#commands.off, deadline);
    this.#offAt = performance.now();
  }

  async cycle(deadline: Deadline): Promise<void> {
    if (this.#commands.cycle !== undefined) {
      await this.#run("cycle", this.#commands.cycle, deadline);
      return;
    }
    await this.off(deadline);
    await this.on(deadline);
  }

  async state(): Promise<"unknown"> {
    return "unknown";
  }

  async #run(verb: string, command: string, deadline: Deadline): Promise<void> {
    const { execa } = await import("execa");
    const result = await execa("/bin/sh", ["-c", command], {
      cwd: this.#cwd,
      stdin: "ignore",
      all: true,
      reject: false,
      timeout: Math.max(1, Math.ceil(deadline.remainingMs)),
      ...(deadline.abortSignal === undefined ? {} : { cancelSignal: deadline.abortSignal }),
    });
    const seen = (result.all ?? "").trim().split("\n").slice(-5).join("\n");
    if (result.timedOut) {
      throw new DeadlineError(`the power command \`${verb}\` did not finish in time`, {
        where: command,
        seen,
      });
    }
    if (result.failed) {
      throw new InfrastructureError(`the power command \`${verb}\` failed`, {
        where: command,
        expected: "exit code 0",
        seen:
          result.exitCode === undefined
            ? (result.shortMessage ?? "no exit code")
            : `exit code ${result.exitCode}${seen === "" ? "" : `: ${seen}`}`,
        next: "Run the command by hand; correct it in the board file.",
      });
    }
  }
}
