import { randomBytes } from "node:crypto";
import { appendFile, copyFile, mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { cacheDir, InfrastructureError } from "../base/index.ts";
import { type CommandOptions, mustRun, run } from "./command.ts";
import { buildEnvironment, epochOf } from "./firmware.ts";
import { sha256, sha256File } from "./hash.ts";
import type { LoadedRecipe, RecipeOptee } from "./recipe.ts";
import { type DownloadedSource, unpackSource } from "./sources.ts";
import { removeTree } from "./store.ts";

/** Raised whenever the same recipe and source would be built differently. */
const FORMAT = 1;

/** Holds the description of a finished build, and is written last. */
const RECORD = "build.json";

/** Where `make` leaves what it builds, below the source. */
const OUT = "out";

/** A finished build of OP-TEE in the cache, which images share. */
export interface OpteeBuilt {
  /** Hex SHA-256 over everything that decides the result. */
  readonly id: string;
  /** Absolute path; holds the files that result and `build.log`. */
  readonly folder: string;
  /** What was run, without paths of this host. */
  readonly commands: readonly string[];
  /** How long `make` took, in seconds. */
  readonly seconds: number;
  /** Found in the cache. */
  readonly cached: boolean;
}

interface BuildRecord {
  readonly seconds: number;
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
}

/**
 * The build of OP-TEE that a recipe asks for, from the cache or made. Throws InfrastructureError when
 * it fails; the message says so where the source is of a version that is not known to work.
 */
export async function buildOptee(
  loaded: LoadedRecipe,
  recipe: RecipeOptee,
  source: DownloadedSource,
  folders: { readonly parts: string; readonly work: string },
  options: CommandOptions,
): Promise<OpteeBuilt> {
  const signKey = path.join(folders.parts, recipe.signKey);
  const files = recipe.files.map((file) => ({
    ...file,
    content: loaded.sources.get(file.source) ?? Buffer.alloc(0),
  }));
  const words = [
    ...recipe.make,
    ...Object.entries(recipe.config).map(([key, value]) => `${key}=${value}`),
    // what else would be asked of a git repository that happens to lie above
    `TEE_IMPL_VERSION=${source.record.version}`,
  ];
  const id = sha256(
    JSON.stringify([
      FORMAT,
      source.record,
      words,
      recipe.results,
      recipe.lines,
      files.map((file) => [file.path, sha256(file.content)]),
      await sha256File(signKey).catch((error: unknown) => {
        throw new InfrastructureError("the key that signs the image's TAs is not in its packages", {
          expected: recipe.signKey,
          cause: error,
        });
      }),
      await compilerVersion(options),
    ]),
  );
  const folder = path.join(cacheDir(options.env), "optee", id.slice(0, 32));
  const commands = [`make TA_SIGN_KEY=<parts>${recipe.signKey} ${words.join(" ")}`];
  const known = await finished(folder, recipe);
  if (known !== undefined) {
    return { id, folder, commands, seconds: known.seconds, cached: true };
  }
  const tree = path.join(folders.work, "optee");
  await unpackSource(source, tree, options);
  for (const file of files) await place(tree, file.path, file.content);
  for (const [file, line] of Object.entries(recipe.lines)) {
    await appendFile(inside(tree, file), `\n${line}\n`);
  }
  const goals = recipe.results.map((result) => path.join(OUT, result));
  const started = performance.now();
  const made = await mustRun(
    `building ${nameOf(source, recipe)}`,
    "make",
    [`-j${availableParallelism()}`, `O=${OUT}`, `TA_SIGN_KEY=${signKey}`, ...words, ...goals],
    {
      ...options,
      cwd: tree,
      env: {
        ...buildEnvironment(options.env, await epochOf(tree)),
        GIT_CEILING_DIRECTORIES: folders.work,
      },
    },
  );
  const seconds = Math.round((performance.now() - started) / 100) / 10;
  const log = made.stdout + made.stderr;
  await publish(folder, path.join(tree, OUT), recipe, { log, seconds, name: source.record.name });
  await removeTree(tree);
  return { id, folder, commands, seconds, cached: false };
}

function nameOf({ record }: DownloadedSource, recipe: RecipeOptee): string {
  const name = `${record.name} ${record.version}`;
  if (recipe.known.includes(record.version)) return name;
  return `${name}, which is not known to work (known: ${recipe.known.join(", ")}),`;
}

/** A path of the recipe, below the source and nowhere else. */
function inside(tree: string, file: string): string {
  const full = path.resolve(tree, file);
  if (full.startsWith(tree + path.sep)) return full;
  throw new InfrastructureError("the recipe names a file outside of OP-TEE's source", {
    seen: file,
  });
}

async function place(tree: string, file: string, content: Buffer): Promise<void> {
  const target = inside(tree, file);
  await mkdir(path.dirname(target), { recursive: true });
  await writeFile(target, content);
}

/** The finished build in `folder`, if every file of it is there whole. */
async function finished(folder: string, recipe: RecipeOptee): Promise<BuildRecord | undefined> {
  const text = await readFile(path.join(folder, RECORD), "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  try {
    const record = JSON.parse(text) as BuildRecord;
    for (const result of recipe.results) {
      const name = path.basename(result);
      const file = path.join(folder, name);
      if ((await sha256File(file)) !== record.files[name]?.sha256) return undefined;
    }
    return record;
  } catch {
    return undefined;
  }
}

/** Puts a build into the cache: whole, or not at all. */
async function publish(
  folder: string,
  out: string,
  { results }: RecipeOptee,
  build: { readonly log: string; readonly seconds: number; readonly name: string },
): Promise<void> {
  const fresh = `${folder}.${randomBytes(4).toString("hex")}.tmp`;
  await mkdir(fresh, { recursive: true });
  try {
    const files: [string, { size: number; sha256: string }][] = [];
    for (const result of results) {
      const name = path.basename(result);
      const target = path.join(fresh, name);
      await copyFile(path.join(out, result), target).catch((error: unknown) => {
        throw new InfrastructureError(`the build of ${build.name} left no ${result}`, {
          next: "Compare the recipe's optee.results with this version of the source",
          cause: error,
        });
      });
      files.push([name, { size: (await stat(target)).size, sha256: await sha256File(target) }]);
    }
    await writeFile(path.join(fresh, "build.log"), build.log);
    const record: BuildRecord = { seconds: build.seconds, files: Object.fromEntries(files) };
    await writeFile(path.join(fresh, RECORD), `${JSON.stringify(record, undefined, 2)}\n`);
    await removeTree(folder);
    await rename(fresh, folder);
  } finally {
    await removeTree(fresh);
  }
}

async function compilerVersion(options: CommandOptions): Promise<string> {
  const { env, abort } = options;
  const tools = ["aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld"];
  const said = await Promise.all(
    tools.map(async (tool) => (await run(tool, ["--version"], { env, abort })).stdout),
  );
  return said.map((text) => text.split("\n")[0] ?? "").join("; ");
}
