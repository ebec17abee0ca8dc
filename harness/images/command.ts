import { spawn } from "node:child_process";
import { type FileHandle, open } from "node:fs/promises";
import { InfrastructureError, InterruptedError } from "../base/index.ts";

export interface CommandOptions {
  readonly cwd?: string;
  readonly env: NodeJS.ProcessEnv;
  readonly abort: AbortSignal;
  /** Everything that the program prints is also appended here. */
  readonly log?: string;
  /** Called with each finished line of stdout and stderr. */
  readonly onLine?: (line: string) => void;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Longest text kept of either stream, in characters; package indexes stay below it by far. */
const KEPT = 64 * 1024 * 1024;

/** Exit code of setpriv(1) when the program is not there. */
const EXEC_FAILED = 127;

/**
 * Runs a host program to its end in a process group of its own; a non-zero exit is not an error.
 * When `abort` fires the whole group is ended and InterruptedError is thrown.
 * Throws InfrastructureError if the program cannot be started.
 */
export async function run(
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  if (options.abort.aborted) throw new InterruptedError(`stopped before ${program}`);
  const log = options.log === undefined ? undefined : await open(options.log, "a");
  try {
    return await attend(program, args, options, log);
  } finally {
    await log?.close();
  }
}

async function attend(
  program: string,
  args: readonly string[],
  options: CommandOptions,
  log: FileHandle | undefined,
): Promise<CommandResult> {
  return await new Promise<CommandResult>((resolve, reject) => {
    // The program ends when this process does, however that dies: nothing works on behind a later run.
    const child = spawn("setpriv", ["--pdeathsig", "KILL", program, ...args], {
      cwd: options.cwd,
      env: { ...options.env, LC_ALL: "C.UTF-8", LANGUAGE: "" },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    const text = { stdout: "", stderr: "" };
    const rest = { stdout: "", stderr: "" };
    let written: Promise<unknown> = Promise.resolve();
    let killer: NodeJS.Timeout | undefined;
    const endGroup = (signal: NodeJS.Signals): void => {
      if (child.pid === undefined) return;
      try {
        process.kill(-child.pid, signal);
      } catch {
        // the group has already ended
      }
    };
    const onAbort = (): void => {
      endGroup("SIGTERM");
      killer = setTimeout(endGroup, 2000, "SIGKILL");
    };
    options.abort.addEventListener("abort", onAbort, { once: true });
    const finish = (): void => {
      clearTimeout(killer);
      options.abort.removeEventListener("abort", onAbort);
    };
    for (const stream of ["stdout", "stderr"] as const) {
      child[stream].setEncoding("utf8");
      child[stream].on("data", (chunk: string) => {
        if (text[stream].length < KEPT) text[stream] += chunk;
        if (log !== undefined) written = written.then(async () => await log.appendFile(chunk));
        if (options.onLine === undefined) return;
        const lines = (rest[stream] + chunk).split("\n");
        rest[stream] = lines.pop() ?? "";
        for (const line of lines) options.onLine(line);
      });
    }
    child.on("error", (error) => {
      finish();
      reject(cannotStart("setpriv", error.message));
    });
    child.on("close", (code) => {
      finish();
      written.then(() => {
        if (options.abort.aborted) reject(new InterruptedError(`stopped while ${program} ran`));
        else if (code === EXEC_FAILED && text.stderr.startsWith("setpriv: ")) {
          reject(cannotStart(program, text.stderr.trim()));
        } else resolve({ exitCode: code ?? 128, ...text });
      }, reject);
    });
  });
}

function cannotStart(program: string, seen: string): InfrastructureError {
  return new InfrastructureError(`${program} cannot be started`, {
    seen,
    next: "Run `lockstep doctor` to see what is missing",
  });
}

/** As `run`, but a non-zero exit throws InfrastructureError with the last lines that it printed. */
export async function mustRun(
  what: string,
  program: string,
  args: readonly string[],
  options: CommandOptions,
): Promise<CommandResult> {
  const result = await run(program, args, options);
  if (result.exitCode === 0) return result;
  throw new InfrastructureError(`${what} failed: ${program} ended with ${result.exitCode}`, {
    seen: lastLines(result, 6),
    next: nextStep(result, options.log),
  });
}

/** The last lines of what a program said, errors first choice, as one paragraph. */
export function lastLines(result: CommandResult, count: number): string {
  const pick = result.stderr.trim() === "" ? result.stdout : result.stderr;
  const lines = pick
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
  return lines.slice(-count).join(" | ");
}

function nextStep(result: CommandResult, log: string | undefined): string {
  if (/No space left on device|ENOSPC/.test(result.stderr + result.stdout)) {
    return "The disk is full: make room, or set LOCKSTEP_CACHE to a folder on another disk";
  }
  const check = "`lockstep doctor` checks this host";
  return log === undefined ? check : `All of its output is in ${log}; ${check}`;
}
