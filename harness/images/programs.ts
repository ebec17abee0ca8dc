import { mkdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { type CommandOptions, mustRun } from "./command.ts";
import type { LoadedRecipe } from "./recipe.ts";

export const COMPILER = "aarch64-linux-gnu-gcc";

/**
 * Nothing but its own code: hosts need no C library for AArch64. Without the last two the compiler may
 * turn loops into calls of a memset or strlen that is not there.
 */
const COMMON = [
  ["-std=c11", "-O2", "-nostdlib", "-Wl,--build-id=none"],
  ["-ffreestanding", "-fno-stack-protector", "-fno-tree-loop-distribute-patterns"],
].flat();
/** Of a static program. */
export const FLAGS = [...COMMON, "-static", "-no-pie"];
/** Of a library; what it takes from the C library is bound by the program that loads it. */
const LIBRARY = [...COMMON, "-shared", "-fPIC", "-fvisibility=hidden", "-mno-outline-atomics"];

/** Compiles the recipe's own programs in `work`; path in the image to content. */
export async function compilePrograms(
  { recipe, sources }: LoadedRecipe,
  work: string,
  options: CommandOptions,
): Promise<ReadonlyMap<string, Buffer>> {
  const folder = path.join(work, "programs");
  await mkdir(folder, { recursive: true });
  const programs = new Map<string, Buffer>();
  for (const program of recipe.rootfs.programs) {
    const source = path.join(folder, program.source);
    const result = path.join(folder, path.posix.basename(program.path));
    await writeFile(source, sources.get(program.source) ?? "");
    await mustRun(
      `compiling ${program.source}`,
      COMPILER,
      [...(program.library === true ? LIBRARY : FLAGS), "-o", result, source],
      options,
    );
    programs.set(program.path, await readFile(result));
  }
  return programs;
}
