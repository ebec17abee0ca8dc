import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError, secrets, UsageError } from "../base/index.ts";

/** One line or stanza of apt's sources, as sources.list(5) defines them. */
export interface AptSource {
  readonly uri: string;
  readonly suite: string;
  readonly components: readonly string[];
  readonly signedBy: string | undefined;
}

/** Where Debian's archive is taken from. */
export interface DebianMirror {
  readonly uri: string;
  /** Base of the security archive, which lives elsewhere; undefined if it cannot be known. */
  readonly securityUri: string | undefined;
}

const DEBIAN_SUITE =
  /^(?:(?:old)*stable|testing|unstable|sid|buster|bullseye|bookworm|trixie|forky|duke)$/;
const SECURITY_SUITE = /^([\w]+)(?:-security|\/updates)$/;

/** `/etc/apt/sources.list` and the files beside it, in apt's order. Files that cannot be read are skipped. */
export async function hostSources(etcApt = "/etc/apt"): Promise<AptSource[]> {
  const parts = path.join(etcApt, "sources.list.d");
  const names = (await readdir(parts).catch((): string[] => [])).toSorted();
  const files = [path.join(etcApt, "sources.list"), ...names.map((name) => path.join(parts, name))];
  const out: AptSource[] = [];
  for (const file of files) {
    if (!/\.(?:list|sources)$/.test(file)) continue;
    const text = await readFile(file, "utf8").catch(() => "");
    out.push(...(file.endsWith(".sources") ? parseDeb822(text) : parseOneLine(text)));
  }
  return out;
}

/** The one-line format: `deb [options] uri suite [component…]`. Lines that are none are skipped. */
export function parseOneLine(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const bare = line.replace(/#.*$/, "").trim();
    const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*(.*)$/.exec(bare);
    const [, options = "", uri = "", suite = "", components = ""] = match ?? [];
    if (uri === "") return [];
    const signedBy = /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1];
    return [{ uri, suite, components: words(components), signedBy }];
  });
}

/** The deb822 format: stanzas of `Types`, `URIs`, `Suites`, `Components`; every combination is a source. */
export function parseDeb822(text: string): AptSource[] {
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  return lines
    .join("\n")
    .split(/\n[ \t]*\n/)
    .flatMap((stanza) => {
      const fields = fieldsOf(stanza);
      const get = (name: string): string[] => words(fields.get(name) ?? "");
      if (/^(?:no|false|0|off|disable)$/i.test(get("enabled")[0] ?? "yes")) return [];
      if (!get("types").includes("deb")) return [];
      const signedBy = get("signed-by")[0];
      return get("uris").flatMap((uri) =>
        get("suites").map((suite) => ({ uri, suite, components: get("components"), signedBy })),
      );
    });
}

/** The fields of one stanza by lower-case name; continued lines are joined. */
export function fieldsOf(stanza: string): Map<string, string> {
  const fields = new Map<string, string>();
  let name = "";
  for (const line of stanza.split("\n")) {
    const match = /^([\w-]+):\s*(.*)$/.exec(line);
    if (match !== null) {
      name = (match[1] ?? "").toLowerCase();
      fields.set(name, match[2] ?? "");
    } else if (/^[ \t]/.test(line) && name !== "") {
      fields.set(name, `${fields.get(name) ?? ""}\n${line.trim()}`);
    }
  }
  return fields;
}

/**
 * Mirrors of Debian's archive among the host's sources, likeliest first. Only a likelihood: whoever
 * uses one still checks Debian's signature.
 */
export function debianMirrors(sources: readonly AptSource[]): DebianMirror[] {
  const usable = sources.filter(
    (source) => source.components.includes("main") && !source.uri.startsWith("cdrom:"),
  );
  const securityUri = usable.find((source) => SECURITY_SUITE.test(source.suite))?.uri;
  const score = new Map<string, number>();
  for (const source of usable) {
    if (!DEBIAN_SUITE.test(source.suite)) continue;
    const uri = trimSlash(source.uri);
    const keyed = source.signedBy?.includes("debian-archive") === true ? 4 : 0;
    const named = uri.endsWith("/debian") ? 2 : 0;
    score.set(uri, Math.max(score.get(uri) ?? 0, 1 + keyed + named));
  }
  return [...score]
    .toSorted(([, a], [, b]) => b - a)
    .map(([uri]) => ({
      uri,
      securityUri: securityUri === undefined ? undefined : trimSlash(securityUri),
    }));
}

/**
 * The mirrors to try, best first: `given` (the option), `LOCKSTEP_DEBIAN_MIRROR`, the host's own apt
 * sources. A mirror that was given has no security archive beside it. Throws UsageError for a text
 * that is no URL, InfrastructureError if the host names no Debian mirror.
 */
export async function chooseMirrors(
  given: string | undefined,
  env: NodeJS.ProcessEnv,
  etcApt?: string,
): Promise<DebianMirror[]> {
  const variable = env["LOCKSTEP_DEBIAN_MIRROR"];
  const text = given ?? (variable === "" ? undefined : variable);
  if (text !== undefined) {
    if (!/^[a-z][a-z+]*:\/\/?[^\s"\\]+$/.test(text)) {
      throw new UsageError(`${JSON.stringify(text)} is not the URL of a Debian mirror`, {
        expected: "a URL such as https://HOST/debian, the folder that holds dists/ and pool/",
        where: given === undefined ? "LOCKSTEP_DEBIAN_MIRROR" : "--mirror",
      });
    }
    return hidePasswords([{ uri: trimSlash(text), securityUri: undefined }]);
  }
  const mirrors = debianMirrors(await hostSources(etcApt));
  if (mirrors.length > 0) return hidePasswords(mirrors);
  throw new InfrastructureError("the apt sources of this host name no Debian mirror", {
    where: etcApt ?? "/etc/apt",
    next: "Give one with --mirror URL or LOCKSTEP_DEBIAN_MIRROR",
  });
}

/** A password in a mirror's URL must not reach any message. */
function hidePasswords(mirrors: DebianMirror[]): DebianMirror[] {
  for (const { uri, securityUri } of mirrors) {
    for (const each of [uri, securityUri ?? ""]) {
      const password = /\/\/[^/@:]*:([^/@]+)@/.exec(each)?.[1];
      if (password !== undefined) secrets.add(password);
    }
  }
  return mirrors;
}

const trimSlash = (uri: string): string => uri.replace(/\/+$/, "");
const words = (text: string): string[] => text.split(/\s+/).filter((word) => word !== "");
