import { createHash } from "node:crypto";
import { readFile, readdir } from "node:fs/promises";
import path from "node:path";
import { BoardFileError, messageOf, packageRoot, UsageError } from "../base/index.ts";
import { BUILDER_FORMAT } from "./model.ts";

/** A file of ours that goes into the initramfs. */
export interface RecipeFile {
  readonly path: string;
  /** Name beside the recipe. */
  readonly source: string;
  readonly mode: number;
}

/** A program of ours: one C file, compiled without a C library. */
export interface RecipeProgram {
  readonly path: string;
  /** Name beside the recipe. */
  readonly source: string;
  /** It is a library, which programs load. */
  readonly library?: true;
}

/** A hypervisor, built from a Debian source package whose configuration is Kconfig. */
export interface RecipeHypervisor {
  readonly source: string;
  /** The folder of the source in which it is built. */
  readonly folder: string;
  /** Arguments of every `make`. */
  readonly make: readonly string[];
  /** The configuration to begin with, a target of `make`, and lines added to it. */
  readonly defconfig: string;
  readonly config: readonly string[];
  /** The file that results, in `folder`; its last part is its name in the image. */
  readonly result: string;
  /** The hypervisor's own command line. */
  readonly append: string;
}

/** OP-TEE, built from a Debian source package in place of the packaged build. */
export interface RecipeOptee {
  readonly source: string;
  /** The suites whose sources are looked at: a build may be of another release than the packages. */
  readonly suites: readonly string[];
  /** Versions of the source that are known to work, newest first. */
  readonly known: readonly string[];
  /** Arguments of `make` other than its options, and the key that signs the TAs of the image. */
  readonly make: readonly string[];
  readonly signKey: string;
  /** OP-TEE's options, `CFG_…`. */
  readonly config: Readonly<Record<string, string>>;
  /** Files of ours that are put into the source. */
  readonly files: readonly RecipeProgram[];
  /** Lines added at the end of files of the source: file to line. */
  readonly lines: Readonly<Record<string, string>>;
  /** The files that result, in the output folder; their last parts are their names. */
  readonly results: readonly string[];
}

/** How an image is made, as data: `boards/images/<name>/recipe.yaml`. */
export interface Recipe {
  readonly name: string;
  readonly description: string;
  readonly suite: string;
  readonly architecture: string;
  readonly packages: {
    readonly rootfs: readonly string[];
    readonly parts: readonly string[];
    readonly assumed: readonly string[];
  };
  /** Source or binary package to the version that the recipe was proven with. */
  readonly proven: Readonly<Record<string, string>>;
  readonly firmware: {
    readonly source: string;
    readonly make: readonly string[];
    readonly result: string;
  };
  /** Where OP-TEE is not that of the packages. */
  readonly optee?: RecipeOptee;
  /** What the firmware starts in front of the kernel; none in most images. */
  readonly hypervisor?: RecipeHypervisor;
  readonly kernel: { readonly image: string; readonly modules: readonly string[] };
  readonly rootfs: {
    readonly exclude: readonly string[];
    readonly directories: readonly string[];
    readonly links: Readonly<Record<string, string>>;
    readonly copy: readonly { readonly from: string; readonly to: string }[];
    readonly files: readonly RecipeFile[];
    readonly programs: readonly RecipeProgram[];
  };
  readonly ssh: {
    readonly user: string;
    readonly hostKey: string;
    readonly authorizedKeys: string;
  };
  readonly append: string;
}

/** A recipe with the content of its own files, and the hash that says whether an image is of it. */
export interface LoadedRecipe {
  readonly recipe: Recipe;
  /** `source` name to content. */
  readonly sources: ReadonlyMap<string, Buffer>;
  readonly hash: string;
}

const imagesDir = path.join(packageRoot, "boards", "images");

/** The names that `lockstep prepare` knows, sorted. */
export async function imageNames(dir: string = imagesDir): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .toSorted();
}

/** Throws UsageError for a name that is not there, BoardFileError for a recipe that is wrong. */
export async function loadRecipe(name: string, dir: string = imagesDir): Promise<LoadedRecipe> {
  const names = await imageNames(dir);
  if (!names.includes(name)) {
    throw new UsageError(`there is no reference image called ${JSON.stringify(name)}`, {
      expected: names.join(" or "),
      next: "Give one of these names, or a board whose file names one as its `image`.",
    });
  }
  const files = new Map<string, Buffer>();
  const merged = await readMerged(name, dir, files, []);
  const recipe = checkRecipe(name, merged, path.join(dir, name, "recipe.yaml"));
  const sources = new Map<string, Buffer>();
  const { files: inRootfs, programs } = recipe.rootfs;
  for (const file of [...inRootfs, ...programs, ...(recipe.optee?.files ?? [])]) {
    const content = files.get(file.source);
    if (content === undefined) {
      throw new BoardFileError(`the recipe names a file that is not beside it: ${file.source}`, {
        where: path.join(dir, name, "recipe.yaml"),
      });
    }
    sources.set(file.source, content);
  }
  const hash = createHash("sha256").update(`lockstep image ${BUILDER_FORMAT}\n`);
  hash.update(JSON.stringify(recipe));
  for (const [source, content] of [...sources].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`\n${source} ${content.length}\n`).update(content);
  }
  return { recipe, sources, hash: hash.digest("hex") };
}

type Plain = Record<string, unknown>;

/**
 * Reads a recipe and those it is based on; what is nearer wins, keys of maps one by one. A list under
 * `name+` is added to the one below it.
 */
async function readMerged(
  name: string,
  dir: string,
  files: Map<string, Buffer>,
  above: readonly string[],
): Promise<Plain> {
  const folder = path.join(dir, name);
  const where = path.join(folder, "recipe.yaml");
  const entries = await readdir(folder);
  for (const entry of entries) {
    if (entry !== "recipe.yaml" && !files.has(entry)) {
      files.set(entry, await readFile(path.join(folder, entry)));
    }
  }
  const { parse } = await import("yaml");
  let own: unknown;
  try {
    own = parse(await readFile(where, "utf8"));
  } catch (error) {
    throw new BoardFileError(messageOf(error), { where });
  }
  if (!isPlain(own)) throw new BoardFileError("the recipe is not a map", { where });
  const base = own["base"];
  if (base === undefined) return own;
  if (typeof base !== "string" || above.includes(base) || base === name) {
    throw new BoardFileError("`base` is not the name of another recipe", { where });
  }
  const { base: _, ...rest } = own;
  return merge(await readMerged(base, dir, files, [...above, name]), rest);
}

function merge(under: Plain, over: Plain): Plain {
  const out: Plain = { ...under };
  for (const [key, value] of Object.entries(over)) {
    const below = out[key];
    const added = key.endsWith("+") ? key.slice(0, -1) : undefined;
    const list = added === undefined ? undefined : out[added];
    if (added !== undefined && Array.isArray(list) && Array.isArray(value)) {
      out[added] = [...(list as unknown[]), ...(value as unknown[])];
    } else out[key] = isPlain(below) && isPlain(value) ? merge(below, value) : value;
  }
  return out;
}

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Turns the merged map into a Recipe, with `${name}` replaced from its variables. */
function checkRecipe(name: string, raw: Plain, where: string): Recipe {
  const variables = raw["variables"];
  const fail = (key: string, expected: string): never => {
    throw new BoardFileError(`recipe of image ${name}: ${key} is wrong`, { where, expected });
  };
  const expand = (text: string, within: readonly string[] = []): string =>
    text.replaceAll(/\$\{([\w-]+)\}/g, (whole, key: string) => {
      const value = isPlain(variables) ? variables[key] : undefined;
      if (typeof value !== "string") return fail(whole, "a name under `variables`");
      if (within.includes(key)) return fail(whole, "a variable that does not contain itself");
      return expand(value, [...within, key]);
    });
  const at = (key: string): unknown =>
    key.split(".").reduce<unknown>((o, k) => (isPlain(o) ? o[k] : undefined), raw);
  const text = (key: string): string => {
    const value = at(key);
    return typeof value === "string" ? expand(value) : fail(key, "a text");
  };
  const list = (key: string): string[] => {
    const value = at(key);
    if (!Array.isArray(value)) return fail(key, "a list of texts");
    return value.map((each: unknown) =>
      typeof each === "string" ? expand(each) : fail(key, "a list of texts"),
    );
  };
  const map = (key: string): Record<string, string> => {
    const value = at(key);
    if (!isPlain(value)) return fail(key, "a map of texts");
    return Object.fromEntries(
      Object.entries(value).map(([k, v]) => [
        k,
        typeof v === "string" ? expand(v) : fail(`${key}.${k}`, "a text"),
      ]),
    );
  };
  const maps = (key: string): Plain[] => {
    const value = at(key);
    if (!Array.isArray(value)) return fail(key, "a list of maps");
    return value.map((each: unknown) => (isPlain(each) ? each : fail(key, "a list of maps")));
  };
  const field = (entry: Plain, key: string, of: string): string => {
    const value = entry[key];
    return typeof value === "string" ? expand(value) : fail(`${of}.${key}`, "a text");
  };
  const programs = (key: string): RecipeProgram[] =>
    maps(key).map((entry) => ({
      path: field(entry, "path", key),
      source: field(entry, "source", key),
      ...(entry["library"] === true && { library: true as const }),
    }));
  return {
    name,
    description: text("description"),
    suite: text("suite"),
    architecture: text("architecture"),
    packages: {
      rootfs: list("packages.rootfs"),
      parts: list("packages.parts"),
      assumed: list("packages.assumed"),
    },
    proven: map("proven"),
    firmware: {
      source: text("firmware.source"),
      make: list("firmware.make"),
      result: text("firmware.result"),
    },
    ...(at("optee") !== undefined && {
      optee: {
        source: text("optee.source"),
        suites: list("optee.suites"),
        known: list("optee.known"),
        make: list("optee.make"),
        signKey: text("optee.sign_key"),
        config: map("optee.config"),
        files: programs("optee.files"),
        lines: map("optee.lines"),
        results: list("optee.results"),
      },
    }),
    ...(at("hypervisor") !== undefined && {
      hypervisor: {
        source: text("hypervisor.source"),
        folder: text("hypervisor.folder"),
        make: list("hypervisor.make"),
        defconfig: text("hypervisor.defconfig"),
        config: list("hypervisor.config"),
        result: text("hypervisor.result"),
        append: text("hypervisor.append"),
      },
    }),
    kernel: { image: text("kernel.image"), modules: list("kernel.modules") },
    rootfs: {
      exclude: list("rootfs.exclude"),
      directories: list("rootfs.directories"),
      links: map("rootfs.links"),
      copy: maps("rootfs.copy").map((entry) => ({
        from: field(entry, "from", "rootfs.copy"),
        to: field(entry, "to", "rootfs.copy"),
      })),
      files: maps("rootfs.files").map((entry) => {
        const mode = field(entry, "mode", "rootfs.files");
        if (!/^0[0-7]{3}$/.test(mode)) fail("rootfs.files.mode", "an octal text such as 0755");
        return {
          path: field(entry, "path", "rootfs.files"),
          source: field(entry, "source", "rootfs.files"),
          mode: Number.parseInt(mode, 8),
        };
      }),
      programs: programs("rootfs.programs"),
    },
    ssh: {
      user: text("ssh.user"),
      hostKey: text("ssh.hostKey"),
      authorizedKeys: text("ssh.authorizedKeys"),
    },
    append: text("append"),
  };
}
