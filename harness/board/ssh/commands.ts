import { randomBytes } from "node:crypto";
import type { ClientChannel } from "ssh2";
import { Deadline, InfrastructureError } from "../../base/index.ts";
import { Deferred } from "../deferred.ts";
import type { CommandProtocol, ExecOptions, ExecResult, RunningCommand } from "../protocol.ts";
import { OutputQueue } from "../shell/output-queue.ts";
import type { SshConnection } from "./connection.ts";

type End = { exitCode: number | undefined; signal: string | undefined };

const KILL_STEP_MS = 3000;
/** Environment variable by which the processes of a streamed command are found again. */
const MARK = "LOCKSTEP_COMMAND";

/** Commands over SSH, each on a channel of its own. */
export class SshCommands implements CommandProtocol {
  readonly #connection: SshConnection;

  constructor(connection: SshConnection) {
    this.#connection = connection;
  }

  async exec(
    command: string,
    deadline: Deadline,
    { input }: ExecOptions = {},
  ): Promise<ExecResult> {
    const stdout: Uint8Array[] = [];
    const stderr: Uint8Array[] = [];
    const { channel, ended } = await this.#connection.open(command, deadline, (opened) => {
      opened.on("data", (bytes: Buffer) => stdout.push(bytes));
      opened.stderr.on("data", (bytes: Buffer) => stderr.push(bytes));
      return { channel: opened, ended: this.#ended(opened) };
    });
    // A command that ends before it has read all of it is judged by its exit code.
    channel.on("error", () => {});
    if (input === undefined) channel.end();
    else channel.end(input);
    try {
      const end = await deadline.race(ended);
      return { ...end, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr) };
    } catch (error) {
      channel.destroy();
      throw error;
    }
  }

  async start(command: string, deadline: Deadline): Promise<RunningCommand> {
    const mark = randomBytes(8).toString("hex");
    const queue = new OutputQueue();
    const { channel, ended } = await this.#connection.open(
      `export ${MARK}=${mark};${command}`,
      deadline,
      (opened) => {
        opened.on("data", queue.push);
        opened.stderr.on("data", queue.push);
        return { channel: opened, ended: this.#ended(opened) };
      },
    );
    channel.end();
    const given = new Deferred<never>();
    const done = deadline.race(Promise.race([ended, given.promise])).catch((error: unknown) => {
      channel.destroy();
      throw error;
    });
    done.catch(() => {});
    return {
      onOutput: queue.listen,
      done,
      kill: async () => {
        for (const signal of ["TERM", "KILL"]) {
          await this.#signal(mark, signal);
          if (await settles(done, KILL_STEP_MS)) return;
        }
        given.reject(new InfrastructureError("the command on the board could not be ended"));
      },
    };
  }

  /**
   * Signals every process that `start` marked. SSH's own signal request reaches, with dropbear, the
   * shell but not what it started.
   */
  async #signal(mark: string, signal: string): Promise<void> {
    const split = `${MARK}=${mark.slice(0, 8)}''${mark.slice(8)}`;
    const script = `for p in /proc/[0-9]*;do grep -qs ${split} $p/environ $p/cmdline&&kill -${signal} \${p#/proc/};done`;
    const limit = Deadline.after(KILL_STEP_MS, "ending a command on the board");
    await this.exec(script, limit).catch(() => {});
  }

  /** Listens from now on. Settles when the channel is closed; rejects if that was not the command's own end. */
  #ended(channel: ClientChannel): Promise<End> {
    const result = new Deferred<End>();
    const stop = this.#connection.onLoss(result.reject);
    let end: End | undefined;
    channel.on("exit", (code: number | null, signal?: string) => {
      end = { exitCode: code ?? undefined, signal };
    });
    channel.on("close", () => {
      if (end !== undefined) result.resolve(end);
      else
        result.reject(
          new InfrastructureError("the SSH channel closed before the command had ended", {
            next: "The console shows what happened to the board.",
          }),
        );
    });
    result.promise.then(stop, stop);
    return result.promise;
  }
}

async function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return await new Promise((resolve) => {
    const timer = setTimeout(() => {
      resolve(false);
    }, ms);
    const yes = (): void => {
      clearTimeout(timer);
      resolve(true);
    };
    promise.then(yes, yes);
  });
}
