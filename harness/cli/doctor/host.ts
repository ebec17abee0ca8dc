import { access, constants, statfs } from "node:fs/promises";
import path from "node:path";
import { cacheDir, makeFolder, messageOf } from "../../base/index.ts";
import { installLine, missingTools, missingToolsFor } from "../../images/index.ts";
import type { CliContext } from "../context.ts";
import { bad, type Check, lacking, ok, warn } from "./check.ts";

const GIB = 1024 ** 3;
/** A prepared image with its downloads and build takes under 2 GiB. */
const ROOM_FOR_IMAGES = 2 * GIB;
/** The bundle of a full xtest takes a few MiB. */
const ROOM_FOR_BUNDLES = GIB / 4;

export function checkNode(version: string = process.versions.node): Check {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major > 20 || (major === 20 && minor >= 19)
    ? ok("Node", version)
    : bad(
        "Node",
        `${version} is too old`,
        "Install 20.19 or newer; Debian 13: apt install nodejs.",
      );
}

/** The folder for prepared images: can it be written, and is there room? */
export async function checkCache(env: NodeJS.ProcessEnv): Promise<Check> {
  const dir = cacheDir(env);
  try {
    makeFolder(dir);
    await access(dir, constants.W_OK);
    const { bavail, bsize } = await statfs(dir);
    const free = bavail * bsize;
    const text = `${dir}, ${(free / GIB).toFixed(1)} GiB free`;
    return free >= ROOM_FOR_IMAGES
      ? ok("cache", text)
      : warn("cache", text, "Free 2 GiB there, or name another folder with LOCKSTEP_CACHE.");
  } catch (error) {
    return bad(
      "cache",
      `${dir} cannot be used: ${messageOf(error)}`,
      "Make it writable, or name another folder with LOCKSTEP_CACHE.",
    );
  }
}

/** Where `lockstep run` puts its bundles: is there room for a few? */
export async function checkOutput(context: Pick<CliContext, "env" | "cwd">): Promise<Check> {
  const dir = path.resolve(context.cwd, context.env["LOCKSTEP_OUT"] ?? ".");
  try {
    const { bavail, bsize } = await statfs(await existing(dir));
    const free = bavail * bsize;
    const text = `${dir}, ${(free / GIB).toFixed(1)} GiB free`;
    return free >= ROOM_FOR_BUNDLES
      ? ok("bundles", text)
      : warn("bundles", text, "Free some space there, or name another folder with --out.");
  } catch (error) {
    const mend = "Name another folder with --out or LOCKSTEP_OUT.";
    return warn("bundles", `${dir} cannot be used: ${messageOf(error)}`, mend);
  }
}

/** The nearest folder of `dir` and its parents that is there already. */
async function existing(dir: string): Promise<string> {
  const isThere = await access(dir).then(
    () => true,
    () => false,
  );
  return isThere || path.dirname(dir) === dir ? dir : await existing(path.dirname(dir));
}

/** What `lockstep prepare` needs of this host, for `image` or for any; `needed` where an image has yet to be made. */
export async function checkPrepareTools(
  env: NodeJS.ProcessEnv,
  needed: boolean,
  image?: string,
): Promise<Check> {
  const missing = image === undefined ? await missingTools(env) : await missingToolsFor(image, env);
  if (missing.length === 0) return ok("prepare", "all tools for making images are there");
  const names = missing.map(({ tool }) => tool).join(", ");
  return lacking(needed, "prepare", `missing for making images: ${names}`, installLine(missing));
}
