import { createHash } from "node:crypto";
import { mkdtemp, readFile, rename, rm, stat } from "node:fs/promises";
import path from "node:path";
import { cacheDir, makeFolder, packageRoot } from "../base/index.ts";
import { type CommandOptions, mustRun } from "./command.ts";
import { COMPILER, FLAGS } from "./programs.ts";

/** Programs of ours that are copied to a board's Linux, run there and removed; in boards/rpmb/. */
export type BoardProgram = "lockstep-rpmb";

/**
 * The file of a program for a board's Linux on AArch64: static, and nothing but its own code. Compiled
 * on first use and kept in the cache. Throws InfrastructureError where the cross compiler is missing.
 */
export async function boardProgram(
  name: BoardProgram,
  options: Pick<CommandOptions, "env" | "abort">,
): Promise<string> {
  const source = path.join(packageRoot, "boards", "rpmb", `${name}.c`);
  const hash = createHash("sha256").update(JSON.stringify([COMPILER, FLAGS]));
  const id = hash
    .update(await readFile(source))
    .digest("hex")
    .slice(0, 16);
  const folder = path.join(cacheDir(options.env), "programs");
  const kept = path.join(folder, `${name}-${id}`);
  const found = await stat(kept).catch(() => undefined);
  if (found?.isFile() === true) return kept;
  makeFolder(folder);
  const scratch = await mkdtemp(path.join(folder, "cc-"));
  try {
    const result = path.join(scratch, name);
    await mustRun(`compiling ${name}`, COMPILER, [...FLAGS, "-s", "-o", result, source], options);
    await rename(result, kept);
    return kept;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
