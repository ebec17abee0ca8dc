import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { cacheDir, makeFolder } from "../base/index.ts";
import {
  CLIENT_KEY_FILE,
  IMAGE_FILES,
  type ImageManifest,
  MANIFEST_FILE,
  type PreparedImage,
} from "./model.ts";

/** Images of superseded recipes that are kept, so that switching back is instant. */
const KEPT_REFERENCES = 4;

/** Where images of all names live; one folder a name, one folder an image in it. */
export function imagesRoot(env: NodeJS.ProcessEnv): string {
  return path.join(cacheDir(env), "images");
}

const nameRoot = (env: NodeJS.ProcessEnv, name: string): string => path.join(imagesRoot(env), name);
const referenceFile = (env: NodeJS.ProcessEnv, name: string, recipe: string): string =>
  path.join(nameRoot(env, name), `${recipe.slice(0, 32)}.ref`);

/** What the programs of the last build of an image printed; it outlives a build that failed. */
export function buildLog(env: NodeJS.ProcessEnv, name: string): string {
  return path.join(nameRoot(env, name), "build.log");
}

/** The finished image of this recipe, or undefined if there is none or a file of it is damaged in length. */
export async function findByRecipe(
  env: NodeJS.ProcessEnv,
  name: string,
  recipe: string,
): Promise<PreparedImage | undefined> {
  const folder = await readText(referenceFile(env, name, recipe));
  if (folder === undefined || !/^[0-9a-f]{16,64}-[0-9a-f]{8}$/.test(folder)) return undefined;
  const dir = path.join(nameRoot(env, name), folder);
  const manifestText = await readText(path.join(dir, MANIFEST_FILE));
  if (manifestText === undefined) return undefined;
  let manifest: ImageManifest;
  try {
    manifest = JSON.parse(manifestText) as ImageManifest;
  } catch {
    return undefined;
  }
  if (manifest.recipe !== recipe || manifest.name !== name) return undefined;
  for (const [file, { size }] of Object.entries(manifest.files)) {
    const info = await stat(path.join(dir, file)).catch(() => undefined);
    if (info?.size !== size) return undefined;
  }
  return asPrepared(dir, manifest);
}

/** The face of an image folder. */
export function asPrepared(dir: string, manifest: ImageManifest): PreparedImage {
  return {
    name: manifest.name,
    dir,
    manifest,
    files: {
      bios: path.join(dir, IMAGE_FILES.bios),
      kernel: path.join(dir, IMAGE_FILES.kernel),
      initrd: path.join(dir, IMAGE_FILES.initrd),
      ...(manifest.hypervisor && { hypervisor: path.join(dir, manifest.hypervisor.file) }),
    },
    append: manifest.append,
    ...(manifest.hypervisor && { hypervisorAppend: manifest.hypervisor.append }),
    ssh: {
      user: manifest.ssh.user,
      clientKeyFile: path.join(dir, CLIENT_KEY_FILE),
      hostKeyLine: manifest.ssh.hostKeyLine,
    },
    packages: Object.fromEntries([
      ...manifest.packages.map((each) => [each.name, each.version] as const),
      ...manifest.sources.map((each) => [`src:${each.name}`, each.version] as const),
    ]),
    sha256: Object.fromEntries(
      Object.entries(manifest.files)
        .filter(([file]) => file !== CLIENT_KEY_FILE)
        .map(([file, { sha256 }]) => [file, sha256]),
    ),
  };
}

/**
 * A fresh folder for a build, on the file system of the finished images. Only the holder of the
 * image lock calls this: whatever another build left there is dead, and removed.
 */
export async function workFolder(env: NodeJS.ProcessEnv, name: string): Promise<string> {
  const root = nameRoot(env, name);
  makeFolder(root);
  for (const entry of await readdir(root)) {
    if (entry.startsWith("build-")) await removeTree(path.join(root, entry));
  }
  const dir = path.join(root, `build-${randomBytes(4).toString("hex")}`);
  await mkdir(dir);
  return dir;
}

/**
 * Makes the finished folder `out` the image of its recipe. A crash at any moment leaves either the
 * old image or the new one: data first, then the folder's name, then the reference.
 */
export async function publish(
  env: NodeJS.ProcessEnv,
  out: string,
  manifest: ImageManifest,
): Promise<PreparedImage> {
  await writeFile(path.join(out, MANIFEST_FILE), `${JSON.stringify(manifest, undefined, 2)}\n`);
  await syncTree(out);
  const root = nameRoot(env, manifest.name);
  const folder = `${manifest.inputs.slice(0, 16)}-${randomBytes(4).toString("hex")}`;
  const dir = path.join(root, folder);
  await rename(out, dir);
  await syncPath(root);
  const reference = referenceFile(env, manifest.name, manifest.recipe);
  const fresh = `${reference}.${randomBytes(4).toString("hex")}.tmp`;
  await writeFile(fresh, folder);
  await syncPath(fresh);
  await rename(fresh, reference);
  await syncPath(root);
  await prune(root);
  return asPrepared(dir, manifest);
}

/** Removes a folder, write-protected folders of unpacked packages included. */
export async function removeTree(dir: string): Promise<void> {
  await rm(dir, { recursive: true, force: true, maxRetries: 3 });
}

/** Removes what no kept reference names; the newest unreferenced image stays, a run may be using it. */
async function prune(root: string): Promise<void> {
  const entries = await readdir(root);
  const references = await byAge(
    root,
    entries.filter((entry) => entry.endsWith(".ref")),
  );
  const used = new Set<string>();
  for (const [index, reference] of references.entries()) {
    if (index < KEPT_REFERENCES) used.add((await readText(path.join(root, reference))) ?? "");
    else await rm(path.join(root, reference), { force: true });
  }
  const folders = await byAge(
    root,
    entries.filter((entry) => /^[0-9a-f]{16}-[0-9a-f]{8}$/.test(entry) && !used.has(entry)),
  );
  for (const folder of folders.slice(1)) await removeTree(path.join(root, folder));
  for (const entry of entries) {
    if (entry.endsWith(".tmp")) await rm(path.join(root, entry), { force: true });
  }
}

/** Newest first. */
async function byAge(root: string, entries: readonly string[]): Promise<string[]> {
  const dated = await Promise.all(
    entries.map(async (entry) => ({
      entry,
      at: await stat(path.join(root, entry)).then(
        (info) => info.mtimeMs,
        () => 0,
      ),
    })),
  );
  return dated.toSorted((a, b) => b.at - a.at).map(({ entry }) => entry);
}

async function syncTree(dir: string): Promise<void> {
  for (const entry of await readdir(dir, { withFileTypes: true, recursive: true })) {
    await syncPath(path.join(entry.parentPath, entry.name));
  }
  await syncPath(dir);
}

async function syncPath(file: string): Promise<void> {
  const handle = await open(file, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function readText(file: string): Promise<string | undefined> {
  return await readFile(file, "utf8").catch(() => undefined);
}
