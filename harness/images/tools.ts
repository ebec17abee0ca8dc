import { access, constants } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { loadRecipe, type Recipe } from "./recipe.ts";

/** A host tool or file that making an image needs. */
export interface RequiredTool {
  readonly tool: string;
  readonly debianPackage: string;
  readonly why: string;
  /** Another program that does as well. */
  readonly or?: string;
  /** Needed only for images that build this. */
  readonly only?: keyof ToolUser;
}

const TOOLS: readonly RequiredTool[] = [
  { tool: "apt-get", debianPackage: "apt", why: "resolves, downloads and verifies packages" },
  { tool: "apt-cache", debianPackage: "apt", why: "reads the package index" },
  {
    tool: "gpgv",
    debianPackage: "gpgv",
    why: "lets apt check the archive's signature",
    // what apt uses since Debian 13
    or: "sqv",
  },
  { tool: "dpkg-deb", debianPackage: "dpkg", why: "unpacks packages" },
  { tool: "dpkg-source", debianPackage: "dpkg-dev", why: "unpacks source packages" },
  { tool: "tar", debianPackage: "tar", why: "unpacks source tarballs" },
  { tool: "xz", debianPackage: "xz-utils", why: "unpacks kernel modules" },
  { tool: "make", debianPackage: "make", why: "builds TF-A" },
  { tool: "gcc", debianPackage: "gcc", why: "builds TF-A's own host tools" },
  {
    tool: "aarch64-linux-gnu-gcc",
    debianPackage: "gcc-aarch64-linux-gnu",
    why: "compiles TF-A and the programs of ours",
  },
  {
    tool: "aarch64-linux-gnu-objcopy",
    debianPackage: "binutils-aarch64-linux-gnu",
    why: "links TF-A",
  },
  { tool: "openssl", debianPackage: "openssl", why: "is asked for its version by TF-A's build" },
  {
    tool: "/usr/include/openssl/sha.h",
    debianPackage: "libssl-dev",
    why: "TF-A's fiptool is compiled against it",
  },
  {
    tool: "/usr/include/stdio.h",
    debianPackage: "libc6-dev",
    why: "TF-A's own host tools are compiled against it",
  },
  { tool: "flex", debianPackage: "flex", why: "builds Xen's Kconfig", only: "hypervisor" },
  { tool: "bison", debianPackage: "bison", why: "builds Xen's Kconfig", only: "hypervisor" },
  {
    tool: "python3",
    debianPackage: "python3",
    why: "runs scripts of Xen's build",
    only: "hypervisor",
  },
  {
    tool: "/usr/bin/python3",
    debianPackage: "python3",
    why: "runs OP-TEE's scripts",
    only: "optee",
  },
  {
    tool: "/usr/lib/python3/dist-packages/elftools/__init__.py",
    debianPackage: "python3-pyelftools",
    why: "OP-TEE's build reads its own ELF files with it",
    only: "optee",
  },
  {
    tool: "/usr/lib/python3/dist-packages/cryptography/__init__.py",
    debianPackage: "python3-cryptography",
    why: "OP-TEE's build reads the key of its TAs with it",
    only: "optee",
  },
  { tool: "flock", debianPackage: "util-linux", why: "keeps two builds apart" },
  { tool: "setpriv", debianPackage: "util-linux", why: "ends programs with their starter" },
  {
    tool: "/usr/share/keyrings/debian-archive-keyring.gpg",
    debianPackage: "debian-archive-keyring",
    why: "holds the keys that sign Debian's archive",
  },
];

/** What of an image decides which tools it needs. */
export type ToolUser = Pick<Recipe, "hypervisor" | "optee">;

/**
 * What making an image needs and this host lacks, in a fixed order; empty when all is there. Without
 * `recipe` it is what every image needs. Files with a fixed place are looked for below `root`.
 */
export async function missingTools(
  env: NodeJS.ProcessEnv = process.env,
  recipe: ToolUser = {},
  root = "/",
): Promise<readonly RequiredTool[]> {
  const needed = TOOLS.filter(({ only }) => only === undefined || recipe[only] !== undefined);
  const found = await Promise.all(
    needed.map(
      async ({ tool, or }) =>
        (await isPresent(tool, env, root)) ||
        (or !== undefined && (await isPresent(or, env, root))),
    ),
  );
  return needed.filter((_, index) => found[index] !== true);
}

/** What making the image called `name` needs and this host lacks. Throws UsageError for an unknown name. */
export async function missingToolsFor(
  name: string,
  env: NodeJS.ProcessEnv = process.env,
  root = "/",
): Promise<readonly RequiredTool[]> {
  return await missingTools(env, (await loadRecipe(name)).recipe, root);
}

/** The one line that installs everything in `missing` on Debian. */
export function installLine(missing: readonly RequiredTool[]): string {
  const packages = [...new Set(missing.map((each) => each.debianPackage))].toSorted();
  return `sudo apt-get install --yes --no-install-recommends ${packages.join(" ")}`;
}

/** Throws one InfrastructureError that names everything missing and how to install it. */
export async function requireTools(env: NodeJS.ProcessEnv, recipe: ToolUser = {}): Promise<void> {
  const missing = await missingTools(env, recipe);
  if (missing.length === 0) return;
  const list = missing.map((each) => `${each.tool} (${each.why})`).join(", ");
  throw new InfrastructureError(`this host lacks what preparing an image needs: ${list}.`, {
    next: `Install it with: ${installLine(missing)}`,
  });
}

async function isPresent(tool: string, env: NodeJS.ProcessEnv, root: string): Promise<boolean> {
  if (path.isAbsolute(tool)) return await canAccess(path.join(root, tool), constants.R_OK);
  for (const dir of searchPath(env)) {
    if (await canAccess(path.join(dir, tool), constants.X_OK)) return true;
  }
  return false;
}

function searchPath(env: NodeJS.ProcessEnv): string[] {
  return (env["PATH"] ?? "").split(":").filter((dir) => dir !== "");
}

async function canAccess(file: string, mode: number): Promise<boolean> {
  return await access(file, mode).then(
    () => true,
    () => false,
  );
}
