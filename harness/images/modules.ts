import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { readElf } from "./elf.ts";

/** Kernel modules by name, as one kernel package holds them. */
export interface ModuleSource {
  has(name: string): boolean;
  /** True if the module is part of the kernel itself. */
  isBuiltin(name: string): boolean;
  /** The uncompressed module. */
  read(name: string): Promise<Buffer>;
}

export interface KernelModule {
  readonly name: string;
  readonly content: Buffer;
}

/** Kernel and tools treat `-` and `_` in module names as the same. */
export const moduleName = (text: string): string => text.replaceAll("-", "_");

/**
 * The modules named, each after those it needs: an order in which `insmod` succeeds. Needs are read
 * from the modules themselves (`depends=`), since Debian's package carries no modules.dep.
 * Throws InfrastructureError for a module that the kernel package does not have.
 */
export async function resolveModules(
  wanted: readonly string[],
  source: ModuleSource,
): Promise<KernelModule[]> {
  const done = new Map<string, KernelModule>();
  const visit = async (given: string, neededBy: readonly string[]): Promise<void> => {
    const name = moduleName(given);
    if (done.has(name) || source.isBuiltin(name)) return;
    if (neededBy.includes(name)) {
      throw new InfrastructureError(
        `kernel modules need each other: ${[...neededBy, name].join(" → ")}`,
      );
    }
    if (!source.has(name)) {
      throw new InfrastructureError(`the kernel package has no module ${given}`, {
        ...(neededBy.length > 0 && { where: `needed by ${neededBy.join(" → ")}` }),
        next: "Compare the recipe's kernel.modules with this kernel version",
      });
    }
    const content = await source.read(name);
    for (const need of dependsOf(content)) await visit(need, [...neededBy, name]);
    done.set(name, { name, content });
  };
  for (const name of wanted) await visit(name, []);
  return [...done.values()];
}

/** What a module's own record says that it needs. */
export function dependsOf(content: Buffer): string[] {
  const modinfo = readElf(content)?.modinfo ?? [];
  return modinfo
    .filter(([key]) => key === "depends")
    .flatMap(([, value]) => value.split(","))
    .filter((name) => name !== "");
}

/** The modules of an unpacked kernel package; `unxz` uncompresses a `.ko.xz`. */
export async function modulesOf(
  root: string,
  unxz: (file: string) => Promise<Buffer>,
): Promise<ModuleSource> {
  const base = path.join(root, "usr", "lib", "modules");
  const versions = await readdir(base).catch(() => []);
  const [version] = versions;
  if (version === undefined || versions.length > 1) {
    throw new InfrastructureError("the kernel package does not hold the modules of one kernel", {
      seen: versions.join(", ") || "none",
    });
  }
  const dir = path.join(base, version);
  const files = new Map<string, string>();
  for (const entry of await readdir(dir, { recursive: true })) {
    const match = /([^/]+)\.ko(?:\.xz)?$/.exec(entry);
    if (match?.[1] !== undefined) files.set(moduleName(match[1]), path.join(dir, entry));
  }
  const builtin = new Set(
    (await readFile(path.join(dir, "modules.builtin"), "utf8"))
      .split("\n")
      .map((line) => moduleName(path.basename(line.trim(), ".ko"))),
  );
  return {
    has: (name) => files.has(name),
    isBuiltin: (name) => builtin.has(name),
    read: async (name) => {
      const file = files.get(name);
      if (file === undefined) throw new InfrastructureError(`no kernel module ${name}`);
      return file.endsWith(".xz") ? await unxz(file) : await readFile(file);
    },
  };
}
