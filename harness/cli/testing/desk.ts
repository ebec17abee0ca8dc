import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { type PtyDevice, startPtyDevice } from "./pty-device.ts";
import { type CliResult, type CliRun, lockstep, temporaryFolder } from "./run-cli.ts";

export interface Desk {
  /** The working folder, with `boards/`, an empty cache and a runtime folder of its own. */
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Writes `boards/<name>.yaml`. */
  board(name: string, text: string): void;
  /** Adds the hardware board `desk` at the far end of a pty; `more` is added to its file. */
  hardware(shell?: readonly string[], more?: string): Promise<PtyDevice>;
  run(args: readonly string[], extra?: CliRun): Promise<CliResult>;
}

/** A working folder for one test; what it started is stopped through `onEnd`. */
export function makeDesk(onEnd: (clean: () => void | Promise<void>) => void): Desk {
  const cwd = temporaryFolder(onEnd);
  for (const dir of ["boards/types", "bin", "cache", "run"]) {
    mkdirSync(path.join(cwd, dir), { recursive: true });
  }
  const env = { LOCKSTEP_CACHE: path.join(cwd, "cache"), XDG_RUNTIME_DIR: path.join(cwd, "run") };
  const board = (name: string, text: string): void =>
    writeFileSync(path.join(cwd, "boards", `${name}.yaml`), text);
  return {
    cwd,
    env,
    board,
    hardware: async (shell = [], more = "power: { driver: none }\n") => {
      const pty = await startPtyDevice(shell);
      onEnd(() => pty.stop());
      board("types/desk", "platform: hardware\nsoc: s\n");
      board(
        "desk",
        `type: desk
consoles: { normal: { device: ${pty.device} } }
boot:
  bootloader: { timeout: 500ms }
  linux: { prompt: "lockstep:[^\\\\r\\\\n]*# $", timeout: 20s }
  tee_ready: { command: "true" }
${more}`,
      );
      return pty;
    },
    run: async (args, extra = {}) =>
      await lockstep(args, { cwd, ...extra, env: { ...env, ...extra.env } }),
  };
}

/** The paragraph about what is wrong: what follows the progress lines. Throws for a stack trace. */
export function paragraph({ stderr }: CliResult): string {
  if (/\n +at /.test(stderr)) throw new Error(`a stack trace: ${stderr}`);
  const [, text = ""] = /(?:^|\n)lockstep: ([^\n]*(?:\n(?!$)[^\n]*)*)\n$/.exec(stderr) ?? [];
  return text;
}
