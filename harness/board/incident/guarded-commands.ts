import type { Deadline, LockstepError } from "../../base/index.ts";
import type { CommandProtocol, ExecOptions, ExecResult, RunningCommand } from "../protocol.ts";

/** Waits that end with an incident; none begins between an incident and the next boot. */
export class CrashGate {
  #error: LockstepError | undefined;
  readonly #waits = new Set<(error: LockstepError) => void>();

  fail(error: LockstepError): void {
    this.#error = error;
    for (const reject of this.#waits) reject(error);
  }

  reset(): void {
    this.#error = undefined;
  }

  /** Settles like `work`, or rejects as soon as an incident ends whatever runs on the board. */
  async race<T>(work: Promise<T>): Promise<T> {
    const failed = this.#error;
    if (failed !== undefined) {
      work.catch(() => {});
      throw failed;
    }
    return await new Promise<T>((resolve, reject) => {
      this.#waits.add(reject);
      work.then(
        (value) => {
          this.#waits.delete(reject);
          resolve(value);
        },
        (error: unknown) => {
          this.#waits.delete(reject);
          reject(error);
        },
      );
    });
  }
}

/** Commands that end with a TargetCrashError the moment their board crashes. */
export class GuardedCommands implements CommandProtocol {
  readonly #commands: CommandProtocol;
  readonly #watch: CrashGate;

  constructor(commands: CommandProtocol, watch: CrashGate) {
    this.#commands = commands;
    this.#watch = watch;
  }

  async exec(command: string, deadline: Deadline, options?: ExecOptions): Promise<ExecResult> {
    return await this.#watch.race(this.#commands.exec(command, deadline, options));
  }

  async start(command: string, deadline: Deadline): Promise<RunningCommand> {
    const running = await this.#watch.race(this.#commands.start(command, deadline));
    const done = this.#watch.race(running.done);
    done.catch(() => {});
    return {
      onOutput: (listener) => {
        running.onOutput(listener);
      },
      done,
      kill: async () => {
        await running.kill();
      },
    };
  }
}
