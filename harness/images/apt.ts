import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { type CommandResult, lastLines, mustRun, run } from "./command.ts";
import { type DebianMirror, fieldsOf } from "./mirror.ts";

export const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** What every call of apt needs to know. */
export interface AptOptions {
  /** Folder of the isolated apt; made if absent. */
  readonly root: string;
  readonly suite: string;
  readonly architecture: string;
  /** Packages that apt takes as installed, so that it does not fetch them for others. */
  readonly assumed: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly abort: AbortSignal;
  /** The keys that must have signed the archive; Debian's where absent. */
  readonly keyring?: string;
}

/** A package version that apt chose. */
export interface ResolvedPackage {
  readonly name: string;
  readonly version: string;
}

/** A package version as the signed index describes it. */
export interface IndexedPackage extends ResolvedPackage {
  readonly architecture: string;
  readonly sha256: string;
}

/**
 * An apt of its own: state, cache, sources, keyring and (empty) list of installed packages in one
 * folder, nothing of the host's but its proxy and credentials settings. Needs no root.
 */
export class IsolatedApt {
  readonly options: AptOptions;
  readonly #config: string;

  private constructor(options: AptOptions) {
    this.options = options;
    this.#config = path.join(options.root, "apt.conf");
  }

  /** Where downloaded packages lie. */
  get archives(): string {
    return path.join(this.options.root, "cache", "archives");
  }

  static async create(options: AptOptions): Promise<IsolatedApt> {
    const { root } = options;
    if (/["\\\n]/.test(root)) {
      throw new InfrastructureError("apt cannot work in a folder with quotes in its name", {
        where: root,
        next: "Set LOCKSTEP_CACHE to another folder",
      });
    }
    const folders = ["state/lists/partial", "cache/archives/partial", "etc/apt.conf.d"];
    for (const folder of [...folders, "etc/preferences.d", "etc/sources.list.d"]) {
      await mkdir(path.join(root, folder), { recursive: true });
    }
    const apt = new IsolatedApt(options);
    await writeFile(path.join(root, "status"), options.assumed.map(assumedStanza).join("\n"));
    // The host's proxy settings may hold a password.
    const host = await apt.#hostSettings();
    await writeFile(apt.#config, configText(options, host), { mode: 0o600 });
    return apt;
  }

  /**
   * Points apt at a mirror and reads its index. Returns the suites that were there; `-updates` and
   * `-security` are left out where the mirror has none. Throws InfrastructureError with apt's reason.
   */
  async update(mirror: DebianMirror): Promise<string[]> {
    const { suite } = this.options;
    const main = { uri: mirror.uri, suite };
    const more = [{ uri: mirror.uri, suite: `${suite}-updates` }];
    if (mirror.securityUri !== undefined) {
      more.push({ uri: mirror.securityUri, suite: `${suite}-security` });
    }
    const full = await this.#tryUpdate([main, ...more]);
    if (full === undefined) return [main, ...more].map((each) => each.suite);
    const kept = [main];
    // Where the main suite is what failed there is no need to ask for it alone.
    const mainFailed = full.stderr.includes(`/dists/${suite}/`);
    const first = mainFailed ? full : await this.#tryUpdate(kept);
    if (first !== undefined) {
      throw new InfrastructureError(`apt cannot read Debian ${suite} from this mirror`, {
        where: mirror.uri,
        seen: reasonOf(first),
        next: nextFor(first, "Check the network and proxy, or give another mirror with --mirror"),
      });
    }
    for (const extra of more) {
      if ((await this.#tryUpdate([...kept, extra])) === undefined) kept.push(extra);
    }
    await this.#tryUpdate(kept);
    return kept.map((each) => each.suite);
  }

  /**
   * Points apt at the sources, and only the sources, of these suites of a mirror. Returns the suites
   * that were there. Throws InfrastructureError with apt's reason if none was.
   *
   * An index that has expired will do, its signature being good: who asks for sources of other suites
   * asks for versions that are known, not for the newest.
   */
  async updateSources(mirror: DebianMirror, suites: readonly string[]): Promise<string[]> {
    const all = suites.map((suite) => ({ uri: mirror.uri, suite }));
    if ((await this.#tryUpdate(all, "deb-src")) === undefined) return [...suites];
    const kept: typeof all = [];
    let failure: CommandResult | undefined;
    for (const each of all) {
      const result = await this.#tryUpdate([...kept, each], "deb-src");
      if (result === undefined) kept.push(each);
      else failure = result;
    }
    if (kept.length > 0) {
      await this.#tryUpdate(kept, "deb-src");
      return kept.map((each) => each.suite);
    }
    throw new InfrastructureError(`apt cannot read the sources of Debian ${suites.join(" or ")}`, {
      where: mirror.uri,
      ...(failure !== undefined && { seen: reasonOf(failure) }),
      next: "Check the network and proxy, or give a mirror that has them with --mirror",
    });
  }

  /** What installing `wanted` (`name` or `name=version`) would bring, dependencies included. */
  async resolve(wanted: readonly string[]): Promise<ResolvedPackage[]> {
    const result = await this.#apt("get", ["install", "--simulate", "--yes", ...wanted]);
    if (result.exitCode !== 0) {
      throw new InfrastructureError("apt cannot resolve the packages of this image", {
        seen: reasonOf(result),
        next: "Compare the recipe's package names with what the mirror has",
      });
    }
    return result.stdout.split("\n").flatMap((line) => {
      const match = /^Inst (\S+) (?:\[[^\]]*\] )?\((\S+) /.exec(line);
      const [, name = "", version = ""] = match ?? [];
      return name === "" ? [] : [{ name: name.replace(/:\w+$/, ""), version }];
    });
  }

  /** What the signed index says about these versions. */
  async describe(packages: readonly ResolvedPackage[]): Promise<IndexedPackage[]> {
    const asked = packages.map((each) => `${each.name}=${each.version}`);
    const result = await this.#mustApt("reading the package index", "cache", ["show", ...asked]);
    const found = new Map<string, IndexedPackage>();
    for (const stanza of result.stdout.split(/\n\n+/)) {
      const fields = fieldsOf(stanza);
      const [name, version] = [fields.get("package"), fields.get("version")];
      const [architecture, sha256] = [fields.get("architecture"), fields.get("sha256")];
      if (name === undefined || version === undefined) continue;
      if (architecture === undefined || !/^[0-9a-f]{64}$/.test(sha256 ?? "")) continue;
      found.set(`${name}=${version}`, { name, version, architecture, sha256: sha256 ?? "" });
    }
    return packages.map((each) => {
      const entry = found.get(`${each.name}=${each.version}`);
      if (entry !== undefined) return entry;
      throw new InfrastructureError(`the index has no SHA-256 of ${each.name} ${each.version}`);
    });
  }

  /** Versions of a binary package in the index, newest first. */
  async versions(name: string): Promise<string[]> {
    const result = await this.#mustApt("listing versions", "cache", ["madison", name]);
    const versions = result.stdout
      .split("\n")
      .map((line) => line.split("|").map((field) => field.trim()))
      .filter(([, , where]) => where?.endsWith(" Packages") === true)
      .map(([, version]) => version ?? "");
    return [...new Set(versions)];
  }

  /**
   * Downloads and verifies what `resolve` gave for `wanted`; `onFetch` is called with the name of
   * each package that begins. Returns those that the mirror no longer has. Throws on any other failure.
   */
  async download(
    wanted: readonly string[],
    resolved: readonly ResolvedPackage[],
    onFetch: (name: string) => void,
  ): Promise<ResolvedPackage[]> {
    const args = ["install", "--download-only", "--yes", ...wanted];
    const result = await run("apt-get", args, {
      ...this.#commandOptions(),
      onLine: (line) => {
        const name = /^Get:\d+ \S+ \S+ \S+ (\S+) /.exec(line)?.[1];
        if (name !== undefined) onFetch(name);
      },
    });
    if (result.exitCode === 0) return [];
    const files = lostFiles(result);
    // File names in the archive leave the epoch out.
    const lost = resolved.filter(({ name, version }) =>
      files.some((file) => file.startsWith(`${name}_${version.replace(/^\d+:/, "")}_`)),
    );
    if (lost.length > 0) return lost;
    throw new InfrastructureError("downloading the packages failed", {
      seen: reasonOf(result),
      next: nextFor(
        result,
        "Check the network and the mirror, then run the command again: what is complete is kept",
      ),
    });
  }

  /** Runs an apt program in isolation; for callers that judge its result themselves. */
  async apt(
    program: "get" | "cache",
    args: readonly string[],
    cwd?: string,
  ): Promise<CommandResult> {
    return await this.#apt(program, args, cwd);
  }

  /** Removes downloaded packages other than `kept` (file names). */
  async tidy(kept: ReadonlySet<string>): Promise<void> {
    for (const file of await readdir(this.archives)) {
      if (file.endsWith(".deb") && !kept.has(file)) await rm(path.join(this.archives, file));
    }
  }

  async #tryUpdate(
    sources: readonly { uri: string; suite: string }[],
    types = "deb deb-src",
  ): Promise<CommandResult | undefined> {
    const keyring = this.options.keyring ?? DEBIAN_KEYRING;
    const stanzas = sources.map(
      ({ uri, suite }) =>
        `Types: ${types}\nURIs: ${uri}\nSuites: ${suite}\nComponents: main\nSigned-By: ${keyring}\n`,
    );
    const file = path.join(this.options.root, "etc", "sources.list.d", "debian.sources");
    await writeFile(file, stanzas.join("\n"), { mode: 0o600 });
    const expired = types === "deb-src" ? ["-o", "Acquire::Check-Valid-Until=false"] : [];
    const result = await this.#apt("get", ["update", "--error-on=any", ...expired]);
    return result.exitCode === 0 ? undefined : result;
  }

  /** Proxy and transport settings of the host's own apt. */
  async #hostSettings(): Promise<string> {
    const { env, abort } = this.options;
    const result = await run("apt-config", ["dump"], { env, abort });
    return result.stdout
      .split("\n")
      .filter((line) => /^Acquire::(?:https?|Retries|ForceIPv[46])\b/.test(line))
      .join("\n");
  }

  async #mustApt(what: string, program: string, args: readonly string[]): Promise<CommandResult> {
    return await mustRun(what, `apt-${program}`, args, this.#commandOptions());
  }

  async #apt(program: string, args: readonly string[], cwd?: string): Promise<CommandResult> {
    return await run(`apt-${program}`, args, this.#commandOptions(cwd));
  }

  #commandOptions(cwd?: string): Parameters<typeof run>[2] {
    const { env, abort } = this.options;
    return {
      env: { ...env, APT_CONFIG: this.#config, DEBIAN_FRONTEND: "noninteractive" },
      abort,
      ...(cwd !== undefined && { cwd }),
    };
  }
}

function configText(options: AptOptions, host: string): string {
  const { root, architecture } = options;
  return `${host}
Dir "${root}";
Dir::State "${root}/state";
Dir::State::status "${root}/status";
Dir::Cache "${root}/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Dir::Etc "${root}/etc";
Dir::Etc::trusted "/dev/null";
Dir::Etc::trustedparts "/dev/null";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
APT::Architecture "${architecture}";
APT::Architectures "";
APT::Architectures:: "${architecture}";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Get::Assume-Yes "true";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
`;
}

const assumedStanza = (name: string): string =>
  [
    `Package: ${name}`,
    "Status: install ok installed",
    "Architecture: all",
    "Multi-Arch: foreign",
    "Version: 99999:0",
    "Maintainer: none",
    "Description: taken as present",
    "",
  ].join("\n");

/** Names of the files that apt reports as gone from the mirror. */
export function lostFiles(result: CommandResult): string[] {
  return [...result.stderr.matchAll(/^E: Failed to fetch (\S+)\s+404\b/gm)].map((match) =>
    decodeURIComponent(path.posix.basename(match[1] ?? "")),
  );
}

function reasonOf(result: CommandResult): string {
  const unmet = result.stdout.split("unmet dependencies:")[1];
  if (unmet !== undefined) return unmet.trim().replaceAll(/\s+/g, " ");
  const errors = result.stderr.split("\n").filter((line) => /^(?:E|Err):/.test(line));
  return errors.length > 0 ? errors.slice(0, 4).join(" | ") : lastLines(result, 4);
}

function nextFor(result: CommandResult, otherwise: string): string {
  return /No space left on device|enough free space/.test(result.stderr)
    ? "The disk is full: make room, or set LOCKSTEP_CACHE to a folder on another disk"
    : otherwise;
}

/** The file name that apt gives a downloaded package. */
export function archiveName(entry: IndexedPackage): string {
  const quoted = entry.version.replaceAll(":", "%3a");
  return `${entry.name}_${quoted}_${entry.architecture}.deb`;
}
