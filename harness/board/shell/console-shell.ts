import { BoardFileError, Deadline, InfrastructureError } from "../../base/index.ts";
import type { Console } from "../console/console.ts";
import { Deferred } from "../deferred.ts";
import type { CommandProtocol, ExecOptions, ExecResult, RunningCommand } from "../protocol.ts";
import { decodeExact, type ExactOutput } from "./exact-output.ts";
import { hasForeignLines } from "./foreign-lines.ts";
import { type FrameEnd, FrameReader } from "./frame-reader.ts";
import { Mutex } from "./mutex.ts";
import { OutputQueue } from "./output-queue.ts";
import {
  CLEAN_UP,
  EXACT_SETUP,
  newTokens,
  NOT_ENDED,
  NOT_WRITABLE,
  PLAIN_SETUP,
  typedLines,
} from "./script.ts";
import { Typist } from "./typist.ts";

export interface ShellOptions {
  /** Matches the end of the unfinished line when the shell waits for a command. */
  readonly prompt: RegExp;
  /** Compare every echo before Enter: for lines that can lose characters. */
  readonly verifyEcho: boolean;
  readonly characterDelayMs: number;
  /** Told when a command begins and when it has ended. */
  onBusy?(busy: boolean): void;
}

/** What a command on the console printed, stdout and stderr in one. */
export interface PlainResult {
  readonly exitCode: number;
  readonly output: Uint8Array;
  /** True if other programs printed into the output, or its beginning was lost. */
  readonly interleaved: boolean;
}

/** Captured output larger than this is refused: it takes a quarter of an hour at console speed. */
const CAPTURE_LIMIT = 64 * 1024 * 1024;
const EXACT_ATTEMPTS = 5;
/** A prompt that stands this long with no end mark in sight: the end mark was cut to pieces. */
const LOST_END_MS = 1000;
const KILL_STEP_MS = 2000;

/** Commands on a POSIX shell behind a console. One command runs at a time; others wait. */
export class ConsoleShell implements CommandProtocol {
  readonly #console: Console;
  readonly #prompt: RegExp;
  readonly #typist: Typist;
  readonly #mutex = new Mutex();
  readonly #options: ShellOptions;
  #plainReady = false;
  #exact: boolean | undefined;

  constructor(console: Console, options: ShellOptions) {
    this.#console = console;
    this.#prompt = options.prompt;
    this.#options = options;
    this.#typist = new Typist(console, options.prompt, {
      verify: options.verifyEcho,
      characterDelayMs: options.characterDelayMs,
    });
  }

  /** The shell is gone or was replaced; the next command teaches the new one. */
  reset(): void {
    this.#plainReady = false;
    this.#exact = undefined;
  }

  /** Makes sure that a shell answers: a command's way there and back. */
  async ready(deadline: Deadline): Promise<void> {
    await this.run(":", deadline);
  }

  /** Runs `command`, taking its output as it comes. */
  async run(command: string, deadline: Deadline): Promise<PlainResult> {
    return await this.#mutex.run(() => this.#plain(command, deadline));
  }

  /**
   * Runs `command` once, with exact stdout and stderr: they travel encoded and are fetched again
   * until their checksums fit. On a board without base64 and sha256sum the output is plain, in
   * `stdout`, and `interleaved` says whether anything else was in it.
   */
  async exec(
    command: string,
    deadline: Deadline,
    { input }: ExecOptions = {},
  ): Promise<ExecResult> {
    if (input !== undefined) {
      throw new BoardFileError("what a command reads cannot be typed on a console", {
        where: `console ${this.#console.name}`,
        next: "Add an `ssh` section to the board file.",
      });
    }
    return await this.#mutex.run(async () => {
      if (!(await this.#exactReady(deadline))) {
        const { exitCode, output, interleaved } = await this.#plain(command, deadline);
        const stderr = new Uint8Array();
        return { exitCode, signal: undefined, stdout: output, stderr, interleaved };
      }
      const first = await this.#capture("_lx", command, deadline);
      if (first.code === NOT_WRITABLE) {
        throw new InfrastructureError("the board has no writable folder for a command's output", {
          where: `console ${this.#console.name}`,
          next: "Make room in /tmp on the board.",
        });
      }
      const { stdout, stderr } = await this.#fetchExact(first.output, deadline);
      return { exitCode: known(first.code), signal: undefined, stdout, stderr };
    });
  }

  async start(command: string, deadline: Deadline): Promise<RunningCommand> {
    const queue = new OutputQueue();
    const killed = new Deferred<void>();
    const started = new Deferred<void>();
    const done = this.#mutex.run(async () => {
      await this.#plainSetup(deadline);
      started.resolve();
      const end = await this.#frame("_lk", command, deadline, queue.push, killed.promise);
      return end === "interrupted"
        ? { exitCode: undefined, signal: "SIGINT" }
        : { exitCode: known(end.code), signal: undefined };
    });
    done.catch(() => {});
    await Promise.race([started.promise, done]);
    return {
      onOutput: queue.listen,
      done,
      kill: async () => {
        killed.resolve();
        await done.catch(() => {});
      },
    };
  }

  /** Removes what the shell left on the board, unless a command is running. Never throws. */
  async cleanUp(deadline: Deadline): Promise<void> {
    if (this.#exact !== true || this.#mutex.busy) return;
    await this.run(CLEAN_UP, deadline).catch(() => {});
  }

  async #plain(command: string, deadline: Deadline): Promise<PlainResult> {
    await this.#plainSetup(deadline);
    const { code, output, complete } = await this.#capture("_lk", command, deadline);
    return {
      exitCode: known(code),
      output,
      interleaved: !complete || hasForeignLines(output.toString("latin1")),
    };
  }

  async #capture(fn: string, command: string, deadline: Deadline) {
    const chunks: Uint8Array[] = [];
    let size = 0;
    const end = await this.#frame(fn, command, deadline, (bytes) => {
      size += bytes.length;
      if (size <= CAPTURE_LIMIT) chunks.push(bytes);
    });
    if (size > CAPTURE_LIMIT) {
      throw new InfrastructureError(`the command printed ${size} bytes on the console`, {
        expected: `at most ${CAPTURE_LIMIT}`,
        next: "Write the output to a file on the board and download that over SSH.",
      });
    }
    if (end === "interrupted") throw new InfrastructureError("the command was interrupted");
    return { ...end, output: Buffer.concat(chunks) };
  }

  /** Types `command` and reads until its end mark. */
  async #frame(
    fn: string,
    command: string,
    deadline: Deadline,
    onOutput: (bytes: Uint8Array) => void,
    killed?: Promise<void>,
  ): Promise<FrameEnd | "interrupted"> {
    this.#console.mustWork();
    const tokens = newTokens();
    const lines = typedLines(fn, tokens, command);
    const reader = new FrameReader(tokens, onOutput);
    const { promise: ended, resolve, reject } = new Deferred<FrameEnd>();
    const stop = this.#console.listen({
      raw: (bytes) => {
        const end = reader.feed(bytes);
        if (end !== undefined) resolve(end);
      },
      failed: reject,
    });
    this.#options.onBusy?.(true);
    try {
      for (const [index, line] of lines.entries()) {
        if (index > 0) await this.#typist.atPrompt(deadline);
        await this.#typist.line(line, deadline);
      }
      const end = await deadline.race(
        Promise.race([
          ended,
          this.#rescue(ended, deadline),
          ...(killed === undefined ? [] : [killed.then(() => this.#kill(ended))]),
        ]),
        () => this.#console.timeout(deadline, "the end of the command"),
      );
      if (end !== "interrupted" && end.code === undefined) throw damagedEnd(this.#console);
      return end;
    } catch (error) {
      // Whatever still runs there would swallow the next command.
      this.reset();
      throw error;
    } finally {
      stop();
      this.#options.onBusy?.(false);
    }
  }

  /** Asks for the end mark again when the prompt is back without one. Never resolves by itself. */
  async #rescue(ended: Promise<unknown>, deadline: Deadline): Promise<never> {
    let over = false;
    const finish = (): void => {
      over = true;
    };
    ended.then(finish, finish);
    let quietSince = performance.now();
    let offset = this.#console.offset;
    let asked = 0;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, LOST_END_MS / 4).unref());
      if (over || deadline.expired || deadline.abortSignal?.aborted === true) {
        return await new Promise<never>(() => {});
      }
      if (this.#console.offset !== offset || !this.#prompt.test(this.#console.partial(256))) {
        offset = this.#console.offset;
        quietSince = performance.now();
        continue;
      }
      if (performance.now() - quietSince < LOST_END_MS) continue;
      if (asked === 3) throw replacedShell(this.#console);
      asked += 1;
      await this.#typist.line("_le", deadline);
      quietSince = performance.now();
    }
  }

  /** Ctrl-C until the command ends or the prompt is back. */
  async #kill(ended: Promise<FrameEnd>): Promise<FrameEnd | "interrupted"> {
    for (const key of [0x03, 0x03, 0x1c]) {
      const step = Deadline.after(KILL_STEP_MS, "ending the command");
      const from = this.#console.offset;
      const prompt = this.#console
        .until(step, "the prompt", (glimpse) =>
          glimpse.partial && this.#console.offset > from && this.#prompt.test(glimpse.text)
            ? ("interrupted" as const)
            : undefined,
        )
        .catch(() => undefined);
      await this.#console.type(Uint8Array.of(key));
      const end = await Promise.race([ended, prompt]);
      if (end !== undefined) return end;
    }
    throw new InfrastructureError("the command on the console does not end on Ctrl-C", {
      where: `console ${this.#console.name}`,
      next: "Power-cycle the board.",
    });
  }

  async #plainSetup(deadline: Deadline): Promise<void> {
    if (this.#plainReady) return;
    await this.#widen(deadline);
    try {
      await this.#teach(PLAIN_SETUP, deadline);
    } catch (error) {
      if (!(error instanceof InfrastructureError)) throw error;
      // A shell that was just starting may have thrown away what was typed: its lines still wrap.
      await this.#typist.interrupt(deadline);
      await this.#widen(deadline);
      await this.#teach(PLAIN_SETUP, deadline);
    }
    this.#plainReady = true;
  }

  /** Echo on, no line wrapping; nobody waits for an answer to this. */
  async #widen(deadline: Deadline): Promise<void> {
    await this.#typist.findPrompt(deadline);
    await this.#typist.line("stty echo columns 9999 2>/dev/null", deadline, false);
  }

  async #exactReady(deadline: Deadline): Promise<boolean> {
    await this.#plainSetup(deadline);
    if (this.#exact === undefined) {
      const tools = await this.#plain("command -v base64&&command -v sha256sum", deadline);
      if (tools.exitCode === 0) await this.#teach(EXACT_SETUP, deadline);
      this.#exact = tools.exitCode === 0;
    }
    return this.#exact;
  }

  async #teach(lines: readonly string[], deadline: Deadline): Promise<void> {
    for (const line of lines) {
      await this.#typist.atPrompt(deadline);
      await this.#typist.line(line, deadline);
    }
  }

  async #fetchExact(
    text: Buffer,
    deadline: Deadline,
  ): Promise<{ stdout: Uint8Array; stderr: Uint8Array }> {
    let best: ExactOutput = decodeExact(text.toString("latin1"));
    for (let attempt = 1; ; attempt += 1) {
      const { stdout, stderr } = best;
      if (stdout !== undefined && stderr !== undefined) return { stdout, stderr };
      if (attempt === EXACT_ATTEMPTS) {
        throw new InfrastructureError("a command's output never arrived undamaged", {
          where: `console ${this.#console.name}`,
          seen: `${EXACT_ATTEMPTS} transfers, none with the right checksum`,
          next: "Check the serial line, or run commands over SSH.",
        });
      }
      const again = await this.#capture("_lz", "", deadline);
      const next = decodeExact(again.output.toString("latin1"));
      best = { stdout: stdout ?? next.stdout, stderr: stderr ?? next.stderr };
    }
  }
}

function known(code: number | undefined): number {
  if (code === undefined || code >= NOT_ENDED || code > 255) {
    throw new InfrastructureError("the command's exit code is not known", {
      seen: "the shell lost it",
      next: "Run the command again.",
    });
  }
  return code;
}

function damagedEnd(console: Console): InfrastructureError {
  return new InfrastructureError("a command's exit code arrived damaged", {
    where: `console ${console.name}`,
    seen: console.lastLines(3).join(" / "),
    next: "Check the serial line, or set a longer character_delay for this board.",
  });
}

function replacedShell(console: Console): InfrastructureError {
  return new InfrastructureError("the shell on the console was replaced while a command ran", {
    where: `console ${console.name}`,
    seen: console.lastLines(3).join(" / "),
    next: "Find out what ended the shell: the lines before on this console tell.",
  });
}
