import { mkdir } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError, messageOf, type Progress } from "../base/index.ts";
import { archiveName, type IndexedPackage, IsolatedApt, type ResolvedPackage } from "./apt.ts";
import { mustRun } from "./command.ts";
import { sha256File } from "./hash.ts";
import { chooseMirrors, type DebianMirror } from "./mirror.ts";
import type { PackageRecord, PrepareOptions } from "./model.ts";
import type { Recipe } from "./recipe.ts";
import { type DownloadedSource, downloadSource } from "./sources.ts";

/** How often a package that left the archive is replaced before giving up. */
const MAX_SUBSTITUTIONS = 8;

/** Everything from the archive that an image is made of, downloaded and checked. */
export interface Inputs {
  readonly suites: readonly string[];
  readonly packages: readonly PackageRecord[];
  /** What the firmware is built from. */
  readonly source: DownloadedSource;
  /** What the hypervisor is built from, where the recipe has one. */
  readonly hypervisor: DownloadedSource | undefined;
  /** What OP-TEE is built from, where the recipe builds it. */
  readonly optee: DownloadedSource | undefined;
  readonly notes: readonly string[];
  /** Absolute path of a package's .deb. */
  debOf(entry: PackageRecord): string;
}

/**
 * Resolves, downloads and checks the packages and the sources of a recipe. `aptRoot` must be locked;
 * `keyring` replaces Debian's.
 */
export async function gatherInputs(
  recipe: Recipe,
  aptRoot: string,
  options: PrepareOptions,
  keyring?: string,
): Promise<Inputs> {
  const apt = await IsolatedApt.create({
    root: aptRoot,
    suite: recipe.suite,
    architecture: recipe.architecture,
    assumed: recipe.packages.assumed,
    env: options.env,
    abort: options.abort,
    ...(keyring !== undefined && { keyring }),
  });
  const notes: string[] = [];
  const suites = await fromAnyMirror(options, async (mirror) => {
    const found = await apt.update(mirror);
    for (const wanted of ["updates", "security"].map((tail) => `${recipe.suite}-${tail}`)) {
      if (!found.includes(wanted)) notes.push(`${wanted} was left out: this mirror has none`);
    }
    return found;
  });
  const { rootfs, parts } = recipe.packages;
  const { all, inRootfs } = await download(apt, rootfs, parts, options.progress, notes);
  const indexed = await apt.describe(all);
  const packages = indexed
    .map((entry): PackageRecord => {
      const { name, version, architecture, sha256 } = entry;
      return { name, version, architecture, sha256, use: inRootfs.has(name) ? "rootfs" : "parts" };
    })
    .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  await checkArchives(apt, packages);
  const fetchSource = async (
    name: string,
    from = apt,
    known?: readonly string[],
  ): Promise<DownloadedSource> => {
    const folder = path.join(aptRoot, "sources", name);
    await mkdir(folder, { recursive: true });
    const fetched = await downloadSource(from, name, folder, known);
    for (const note of fetched.notes) options.progress.warn(note);
    notes.push(...fetched.notes);
    return fetched;
  };
  const source = await fetchSource(recipe.firmware.source);
  const hypervisor =
    recipe.hypervisor === undefined ? undefined : await fetchSource(recipe.hypervisor.source);
  const optee =
    recipe.optee === undefined
      ? undefined
      : await fetchSource(
          recipe.optee.source,
          await aptForSources(apt, recipe.optee.suites, options),
          recipe.optee.known,
        );
  const sources = [source, hypervisor, optee].filter((each) => each !== undefined);
  notes.push(...differencesFromProven(recipe, packages, sources));
  await apt.tidy(new Set(packages.map((entry) => archiveName(entry))));
  return {
    suites,
    packages,
    source,
    hypervisor,
    optee,
    notes,
    debOf: (entry) => path.join(apt.archives, archiveName(entry)),
  };
}

/** An apt that knows nothing but the sources of other suites, beside the one of the packages. */
async function aptForSources(
  apt: IsolatedApt,
  suites: readonly string[],
  options: PrepareOptions,
): Promise<IsolatedApt> {
  const root = path.join(apt.options.root, "other-sources");
  const other = await IsolatedApt.create({ ...apt.options, root, assumed: [] });
  await fromAnyMirror(options, async (mirror) => await other.updateSources(mirror, suites));
  return other;
}

/** What `update` gives with the first mirror that it works with; else the first mirror's error. */
async function fromAnyMirror<T>(
  options: PrepareOptions,
  update: (mirror: DebianMirror) => Promise<T>,
): Promise<T> {
  const mirrors = await chooseMirrors(options.mirror, options.env);
  let failure: unknown;
  for (const mirror of mirrors) {
    try {
      return await update(mirror);
    } catch (error) {
      if (options.abort.aborted || !(error instanceof InfrastructureError)) throw error;
      failure ??= error;
      if (mirrors.length > 1) options.progress.warn(messageOf(error));
    }
  }
  throw failure;
}

interface Downloaded {
  readonly all: readonly ResolvedPackage[];
  readonly inRootfs: ReadonlySet<string>;
}

/** Downloads; what the mirror has lost is named and replaced by its newest other version. */
async function download(
  apt: IsolatedApt,
  rootfs: readonly string[],
  parts: readonly string[],
  progress: Progress,
  notes: string[],
): Promise<Downloaded> {
  const pins = new Map<string, string>();
  const lostVersions = new Set<string>();
  for (let round = 0; round <= MAX_SUBSTITUTIONS; round += 1) {
    const pinned = [...pins].map(([name, version]) => `${name}=${version}`);
    const wanted = [...rootfs, ...parts].filter((name) => !pins.has(name));
    const all = await apt.resolve([...wanted, ...pinned]);
    const rootfsWanted = rootfs.map((name) =>
      pins.has(name) ? `${name}=${pins.get(name)}` : name,
    );
    const inRootfs = new Set((await apt.resolve(rootfsWanted)).map((each) => each.name));
    let fetched = 0;
    const lost = await apt.download([...wanted, ...pinned], all, (name) => {
      fetched += 1;
      progress.count(Math.min(fetched, all.length), all.length, name);
    });
    if (lost.length === 0) return { all, inRootfs };
    for (const { name, version } of lost) {
      lostVersions.add(`${name}=${version}`);
      const other = (await apt.versions(name)).find((each) => !lostVersions.has(`${name}=${each}`));
      if (other === undefined) {
        throw new InfrastructureError(`package ${name} ${version} has left the archive`, {
          seen: "404, and the index has no other version of it",
          next: "Give another mirror with --mirror",
        });
      }
      const note = `package ${name} ${version} has left the archive (404); ${other} taken instead`;
      progress.warn(note);
      notes.push(note);
      pins.set(name, other);
    }
  }
  throw new InfrastructureError("too many packages have left this mirror", {
    seen: [...lostVersions].join(", "),
    next: "Give another mirror with --mirror",
  });
}

async function checkArchives(apt: IsolatedApt, packages: readonly IndexedPackage[]): Promise<void> {
  for (const entry of packages) {
    const seen = await sha256File(path.join(apt.archives, archiveName(entry)));
    if (seen === entry.sha256) continue;
    throw new InfrastructureError(`${archiveName(entry)} is not what the signed index describes`, {
      expected: `SHA-256 ${entry.sha256}`,
      seen,
      next: "Remove the file and run the command again",
      where: apt.archives,
    });
  }
}

function differencesFromProven(
  recipe: Recipe,
  packages: readonly PackageRecord[],
  sources: readonly DownloadedSource[],
): string[] {
  const have = new Map(packages.map((each) => [each.name, each.version]));
  for (const { record } of sources) have.set(record.name, record.version);
  return Object.entries(recipe.proven)
    .filter(([name, version]) => have.get(name) !== version)
    .map(
      ([name, version]) =>
        `${name} ${have.get(name) ?? "(absent)"} is used; this recipe was proven with ${version}`,
    );
}

/** Unpacks packages into `target`, one after the other. */
export async function unpackPackages(
  inputs: Inputs,
  use: PackageRecord["use"],
  target: string,
  options: Parameters<typeof mustRun>[3],
): Promise<void> {
  await mkdir(target);
  for (const entry of inputs.packages) {
    if (entry.use !== use) continue;
    await mustRun(
      `unpacking ${entry.name}`,
      "dpkg-deb",
      ["--extract", inputs.debOf(entry), target],
      options,
    );
  }
}
