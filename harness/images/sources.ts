import { access, readdir, rm } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { type IsolatedApt, lostFiles } from "./apt.ts";
import { lastLines, mustRun, run } from "./command.ts";
import { sha256File } from "./hash.ts";
import { fieldsOf } from "./mirror.ts";
import type { SourceRecord } from "./model.ts";

/** A version of a source package, as the signed index describes it. */
interface SourceVersion {
  readonly version: string;
  readonly files: Readonly<Record<string, string>>;
}

export interface DownloadedSource {
  readonly record: SourceRecord;
  readonly folder: string;
  /** What had left the archive, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Downloads the newest version of a source package that the mirror still has whole; where no
 * version is whole, the newest upstream tarball alone. Everything is checked against the index.
 *
 * `known`: versions that are known to work, newest first. They go before all others, and every
 * version that is not among them and is newer, or is taken for want of one, is named in `notes`.
 */
export async function downloadSource(
  apt: IsolatedApt,
  name: string,
  folder: string,
  known?: readonly string[],
): Promise<DownloadedSource> {
  const offered = await sourceVersions(apt, name);
  const versions = known === undefined ? offered : knownFirst(offered, known);
  const notes = known === undefined ? [] : unknownNewest(name, offered, known);
  for (const each of versions) {
    const result = await apt.apt(
      "get",
      ["source", "--download-only", "--only-source", `${name}=${each.version}`],
      folder,
    );
    if (result.exitCode === 0) return await record(name, each, folder, true, notes);
    const lost = lostFiles(result);
    if (lost.length === 0) {
      throw new InfrastructureError(`downloading the source of ${name} ${each.version} failed`, {
        seen: lastLines(result, 3),
        next: "Check the network and the mirror, then run the command again",
      });
    }
    notes.push(`source ${name} ${each.version} has left the archive (404: ${lost.join(", ")})`);
  }
  for (const each of versions) {
    // apt has fetched and verified the other files of a source, although one was missing.
    const upstream = Object.entries(each.files).find(([file]) => file.includes(".orig.tar."));
    if (upstream === undefined || !(await isThere(path.join(folder, upstream[0])))) continue;
    const [file, sha256] = upstream;
    notes.push(`source ${name}: upstream tarball of ${each.version} used without Debian's patches`);
    return await record(name, { ...each, files: { [file]: sha256 } }, folder, false, notes);
  }
  throw new InfrastructureError(`no version of the source package ${name} can be downloaded`, {
    seen: notes.join("; ") || "the index has none",
    next: "Give a mirror that has it with --mirror",
  });
}

async function record(
  name: string,
  source: SourceVersion,
  folder: string,
  patched: boolean,
  notes: readonly string[],
): Promise<DownloadedSource> {
  for (const [file, expected] of Object.entries(source.files)) {
    const seen = await sha256File(path.join(folder, file));
    if (seen !== expected) {
      throw new InfrastructureError(`${file} is not what the signed index describes`, {
        expected: `SHA-256 ${expected}`,
        seen,
        next: "Run the command again; if it happens again, use another mirror",
      });
    }
  }
  const { version, files } = source;
  for (const file of await readdir(folder)) {
    if (!(file in files)) await rm(path.join(folder, file), { force: true });
  }
  return { record: { name, version, files, patched }, folder, notes };
}

/** In the order of preference: what is known to work in its own order, then the rest, newest first. */
function knownFirst(
  offered: readonly SourceVersion[],
  known: readonly string[],
): readonly SourceVersion[] {
  const listed = known.flatMap((version) => offered.filter((each) => each.version === version));
  return [...listed, ...offered.filter((each) => !listed.includes(each))];
}

/** One sentence if the newest version that is offered is not one that is known to work. */
function unknownNewest(
  name: string,
  [newest]: readonly SourceVersion[],
  known: readonly string[],
): string[] {
  if (newest === undefined || known.includes(newest.version)) return [];
  return [
    `source ${name} ${newest.version} is offered and not known to work; known: ${known.join(", ")}`,
  ];
}

/** Versions in the index, newest first. */
async function sourceVersions(apt: IsolatedApt, name: string): Promise<SourceVersion[]> {
  const result = await apt.apt("cache", ["showsrc", "--only-source", name]);
  const found = new Map<string, SourceVersion>();
  for (const stanza of result.stdout.split(/\n\n+/)) {
    const fields = fieldsOf(stanza);
    const version = fields.get("version");
    if (version === undefined || fields.get("package") !== name) continue;
    const sums = (fields.get("checksums-sha256") ?? "").split("\n");
    const files = sums.flatMap((line) => {
      const match = /^([0-9a-f]{64})\s+\d+\s+(\S+)$/.exec(line.trim());
      return match === null ? [] : [[match[2] ?? "", match[1] ?? ""] as const];
    });
    found.set(version, { version, files: Object.fromEntries(files) });
  }
  return await newestFirst(apt, [...found.values()]);
}

async function newestFirst(apt: IsolatedApt, versions: SourceVersion[]): Promise<SourceVersion[]> {
  const { env, abort } = apt.options;
  const sorted: SourceVersion[] = [];
  for (const each of versions) {
    let at = 0;
    for (const other of sorted) {
      const args = ["--compare-versions", each.version, "gt", other.version];
      if ((await run("dpkg", args, { env, abort })).exitCode === 0) break;
      at += 1;
    }
    sorted.splice(at, 0, each);
  }
  return sorted;
}

/** Unpacks a downloaded source into `target`, which must not exist. */
export async function unpackSource(
  source: DownloadedSource,
  target: string,
  options: Parameters<typeof run>[2],
): Promise<void> {
  const files = await readdir(source.folder);
  const what = `unpacking the source of ${source.record.name}`;
  if (source.record.patched) {
    const dsc = Object.keys(source.record.files).find((file) => file.endsWith(".dsc")) ?? "";
    // apt has checked the signature of the index and the hash of every file
    const args = ["--no-check", "--extract", path.join(source.folder, dsc), target];
    await mustRun(what, "dpkg-source", args, options);
    return;
  }
  const tarball = files.find((file) => file.includes(".orig.tar.")) ?? "";
  await mustRun(what, "mkdir", [target], options);
  const args = ["--extract", "--strip-components=1", "-C", target, "-f"];
  await mustRun(what, "tar", [...args, path.join(source.folder, tarball)], options);
}

async function isThere(file: string): Promise<boolean> {
  return await access(file).then(
    () => true,
    () => false,
  );
}
