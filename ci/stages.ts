import { execa } from "execa";
import { packageRoot } from "../harness/base/index.ts";

/** What a stage of the test lane found. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NOTHING: Counts = { passed: 0, failed: 0, skipped: 0 };

export function add(a: Counts, b: Counts): Counts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  };
}

interface StageRecord {
  readonly title: string;
  readonly seconds: number;
  readonly counts: Counts;
}

/** Runs stages one after the other, under one limit, and keeps their times for the closing table. */
export class Lane {
  readonly #records: StageRecord[] = [];
  readonly #limit: AbortController = new AbortController();
  readonly #limitMinutes: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(limitMinutes: number) {
    this.#limitMinutes = limitMinutes;
    this.#timer = setTimeout(() => this.#limit.abort(), limitMinutes * 60_000);
  }

  get abort(): AbortSignal {
    return this.#limit.signal;
  }

  /** A stage that throws, or that the limit stops, counts as one failure; later stages still run. */
  async stage(title: string, work: (abort: AbortSignal) => Promise<Counts>): Promise<void> {
    const started = performance.now();
    let counts: Counts;
    process.stdout.write(`\n== ${title}\n`);
    try {
      counts = this.abort.aborted
        ? this.#notRun()
        : await Promise.race([work(this.abort), this.#stopped()]);
    } catch (error) {
      process.stdout.write(`${error instanceof Error ? error.message : String(error)}\n`);
      counts = { passed: 0, failed: 1, skipped: 0 };
    }
    this.#records.push({ title, seconds: (performance.now() - started) / 1000, counts });
  }

  #notRun(): Counts {
    process.stdout.write(`not run: the limit of ${this.#limitMinutes} minutes was reached\n`);
    return { passed: 0, failed: 1, skipped: 0 };
  }

  async #stopped(): Promise<never> {
    return await new Promise((_resolve, reject) => {
      this.abort.addEventListener("abort", () => {
        reject(new Error(`stopped: the limit of ${this.#limitMinutes} minutes was reached`));
      });
    });
  }

  /** Prints the table and the closing line; returns the exit code. A lane that ran nothing fails. */
  close(): number {
    clearTimeout(this.#timer);
    process.stdout.write(
      "\nstage                                      seconds  passed  failed skipped\n",
    );
    for (const { title, seconds, counts } of this.#records) {
      const cells = [counts.passed, counts.failed, counts.skipped].map((n) =>
        String(n).padStart(7),
      );
      process.stdout.write(
        `${title.padEnd(42)} ${seconds.toFixed(0).padStart(7)} ${cells.join(" ")}\n`,
      );
    }
    const total = this.#records.map((record) => record.counts).reduce(add, NOTHING);
    process.stdout.write(
      `\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`,
    );
    return total.failed > 0 || total.passed === 0 ? 1 : 0;
  }
}

/** Runs a command with its output shown as it comes; resolves to its exit code and stdout. */
export async function show(
  file: string,
  args: readonly string[],
  abort: AbortSignal,
  options: { env?: Record<string, string>; quiet?: boolean } = {},
): Promise<{ exitCode: number; stdout: string }> {
  const result = await execa(file, args, {
    cwd: packageRoot,
    env: options.env ?? {},
    reject: false,
    stdin: "ignore",
    stdout: options.quiet === true ? "pipe" : ["pipe", "inherit"],
    stderr: "inherit",
    cancelSignal: abort,
    forceKillAfterDelay: 20_000,
    maxBuffer: 200_000_000,
  });
  return { exitCode: result.exitCode ?? 70, stdout: result.stdout };
}
