import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";

/** The compiled command. */
export const LOCKSTEP = path.join(packageRoot, "dist", "harness", "cli", "main.js");

export interface CliResult {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

export interface CliRun {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string | Uint8Array;
  /** Leaves standard input open; `with` writes to it and ends it. */
  readonly keepStdin?: boolean;
  /** After this long the child is killed, so that a hang is a failure; 60 s where absent. */
  readonly limitMs?: number;
  /** Gets the running child, e.g. to send it a signal. */
  readonly with?: (child: ReturnType<typeof spawn>) => void;
}

/** An environment without any of the user's LOCKSTEP_* and colour settings. */
export function cleanEnv(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([key]) => !/^(?:LOCKSTEP_|NO_COLOR$|FORCE_COLOR$|NODE_OPTIONS$|XDG_)/.test(key),
  );
  return { ...Object.fromEntries(kept), ...extra };
}

/** Runs the real command as a child process to its end. */
export async function lockstep(args: readonly string[], run: CliRun = {}): Promise<CliResult> {
  return await runProgram(process.execPath, [LOCKSTEP, ...args], run);
}

/** Runs any program to its end with a clean environment. */
export async function runProgram(
  program: string,
  args: readonly string[],
  run: CliRun = {},
): Promise<CliResult> {
  return await new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: run.cwd ?? tmpdir(),
      env: cleanEnv(run.env),
      stdio: ["pipe", "pipe", "pipe"],
    });
    const killer = setTimeout(() => child.kill("SIGKILL"), run.limitMs ?? 60_000);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.stdin.on("error", () => {});
    if (run.keepStdin !== true) child.stdin.end(run.input ?? "");
    child.on("close", (code, signal) => {
      clearTimeout(killer);
      resolve({ code, signal, stdout: Buffer.concat(out), stderr: Buffer.concat(err).toString() });
    });
    run.with?.(child);
  });
}

/** A folder that is gone after the test. */
export function temporaryFolder(onEnd: (remove: () => void) => void): string {
  const dir = mkdtempSync(path.join(tmpdir(), "lockstep-cli-"));
  onEnd(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}
