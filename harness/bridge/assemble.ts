import { mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import path from "node:path";
import {
  cacheDir,
  errorCode,
  InfrastructureError,
  InternalError,
  makeFolder,
  packageRoot,
} from "../base/index.ts";

/** Programs of ours that run on a board, in boards/bridge/. */
export type BridgeProgram = "agent" | "console" | "dom0" | "mailbox";

const TOOL_PREFIX = "aarch64-linux-gnu-";

/**
 * The machine code of a program, position independent. Assembled on first use and kept in the cache.
 * Throws InfrastructureError where binutils for AArch64 are missing.
 */
export async function assemble(
  program: BridgeProgram,
  env: NodeJS.ProcessEnv,
): Promise<Uint8Array> {
  const sources = path.join(packageRoot, "boards", "bridge");
  const source = path.join(sources, `${program}.s`);
  const hash = await hashOf(sources, program);
  const folder = path.join(cacheDir(env), "bridge");
  const kept = path.join(folder, `${program}-${hash}.bin`);
  try {
    return await readFile(kept);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
  makeFolder(folder);
  const scratch = await mkdtemp(path.join(folder, "as-"));
  try {
    const object = path.join(scratch, "program.o");
    const binary = path.join(scratch, "program.bin");
    await tool("as", ["-I", sources, "-o", object, source], env);
    await tool("objcopy", ["-O", "binary", "-j", ".text", object, binary], env);
    const code = await readFile(binary);
    await writeFile(path.join(scratch, "done"), code);
    await rename(path.join(scratch, "done"), kept);
    return code;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Of a program and of all sources beside it: whatever it may include. */
async function hashOf(folder: string, program: BridgeProgram): Promise<string> {
  const sources = (await readdir(folder)).filter((name) => name.endsWith(".s")).toSorted();
  const hash = createHash("sha256").update(program);
  for (const name of sources) {
    const text = await readFile(path.join(folder, name));
    hash.update(`${name} ${text.length}\n`).update(text);
  }
  return hash.digest("hex").slice(0, 16);
}

async function tool(name: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const { execa } = await import("execa");
  const program = `${TOOL_PREFIX}${name}`;
  const { exitCode, stderr, code } = await execa(program, args, { env, reject: false });
  if (code === "ENOENT") {
    throw new InfrastructureError(`${program} is not installed`, {
      expected: "binutils for AArch64, which assemble the program that runs on the board",
      next: "Install it with: sudo apt-get install --yes binutils-aarch64-linux-gnu",
    });
  }
  if (exitCode !== 0) throw new InternalError(`${program} refuses our own source: ${stderr}`);
}
