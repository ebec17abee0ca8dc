import { writeFile } from "node:fs/promises";
import path from "node:path";
import { cacheDir, InfrastructureError, InterruptedError } from "../base/index.ts";
import { buildImage } from "./build.ts";
import { sha256 } from "./hash.ts";
import { chooseMirrors } from "./mirror.ts";
import { withLock } from "./lock.ts";
import type { PreparedImage, PrepareOptions } from "./model.ts";
import { gatherInputs, type Inputs } from "./packages.ts";
import { type LoadedRecipe, loadRecipe } from "./recipe.ts";
import { inStage } from "./stage.ts";
import { buildLog, findByRecipe, imagesRoot, publish, removeTree, workFolder } from "./store.ts";
import { requireTools } from "./tools.ts";

/**
 * The image called `name`, made if it is not in the cache; instant and without network if it is.
 * Builds of one image by several processes wait for each other, and the second finds the first's.
 *
 * Throws UsageError for an unknown name or a bad mirror, InfrastructureError for a missing tool,
 * an unreachable mirror, a failed build or a full disk, InterruptedError when `abort` fires. Nothing
 * half-made is ever found by `findPrepared`.
 */
export async function prepareImage(name: string, options: PrepareOptions): Promise<PreparedImage> {
  const loaded = await loadRecipe(name);
  const { env } = options;
  const fresh = options.update === true || options.rebuild === true;
  const find = async (): Promise<PreparedImage | undefined> =>
    await findByRecipe(env, name, loaded.hash);
  const known = fresh ? undefined : await find();
  if (known !== undefined) return known;
  await requireTools(env, loaded.recipe);
  await chooseMirrors(options.mirror, env);
  try {
    const lock = path.join(imagesRoot(env), `${name}.lock`);
    return await withLock(lock, waiting(options, `image ${name}`), async () => {
      const meanwhile = fresh ? undefined : await find();
      return meanwhile ?? (await make(loaded, await find(), options));
    });
  } catch (error) {
    throw explain(error, options);
  }
}

async function make(
  loaded: LoadedRecipe,
  known: PreparedImage | undefined,
  options: PrepareOptions,
): Promise<PreparedImage> {
  const { recipe } = loaded;
  const { env, progress } = options;
  const aptRoot = path.join(cacheDir(env), "apt", `${recipe.suite}-${recipe.architecture}`);
  // The packages must stay where they are until they are unpacked, so the lock is held to the end.
  return await withLock(`${aptRoot}.lock`, waiting(options, "the package cache"), async () => {
    const inputs = await inStage(
      progress,
      `download Debian ${recipe.suite} packages`,
      async () => await gatherInputs(recipe, aptRoot, options),
      ({ packages, suites }) => `${packages.length} packages of ${suites.join(", ")}`,
    );
    for (const note of inputs.notes) progress.note(note);
    const hash = inputsHash(loaded, inputs);
    if (known?.manifest.inputs === hash && options.rebuild !== true) {
      progress.note("nothing newer in the archive: the image stays as it is");
      return known;
    }
    const work = await workFolder(env, recipe.name);
    try {
      const out = path.join(work, "image");
      const log = buildLog(env, recipe.name);
      await writeFile(log, "");
      const manifest = await buildImage(loaded, inputs, hash, { work, out, log }, options);
      if (options.abort.aborted) throw new InterruptedError("stopped while preparing an image");
      return await publish(env, out, manifest);
    } finally {
      await removeTree(work);
    }
  });
}

/** What the image is made of: the recipe, every package, the sources. */
function inputsHash(loaded: LoadedRecipe, inputs: Inputs): string {
  const packages = inputs.packages.map((each) => `${each.name} ${each.version} ${each.sha256}`);
  const sources = [inputs.source, inputs.hypervisor, inputs.optee];
  const files = sources.flatMap((each) =>
    Object.entries(each?.record.files ?? {}).map(([file, sum]) => `${file} ${sum}`),
  );
  return sha256([loaded.hash, ...packages, ...files.toSorted()].join("\n"));
}

function waiting(
  options: PrepareOptions,
  what: string,
): { abort: AbortSignal; onWait: (holder: string) => void } {
  return {
    abort: options.abort,
    onWait: (holder) => {
      options.progress.note(`${what} is being prepared by ${holder}: waiting for it`);
    },
  };
}

/** Errors of the file system that the user can mend become errors that say how. */
function explain(error: unknown, options: PrepareOptions): unknown {
  if (options.abort.aborted && !(error instanceof InterruptedError)) {
    return new InterruptedError("stopped while preparing an image", { cause: error });
  }
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  const where = cacheDir(options.env);
  if (code === "ENOSPC" || code === "EDQUOT") {
    return new InfrastructureError("the disk is full: the image was not made", {
      where,
      next: "Make room (about 600 MB are needed while building), or set LOCKSTEP_CACHE to a folder on another disk",
      cause: error,
    });
  }
  if (code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return new InfrastructureError("the cache folder cannot be written", {
      where,
      seen: code,
      next: "Mend its permissions, or set LOCKSTEP_CACHE to another folder",
      cause: error,
    });
  }
  return error;
}
