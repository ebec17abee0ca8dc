import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import path from "node:path";

/** Host programs that a test repository needs and this host lacks. */
export function repositoryToolsMissing(): string[] {
  const tools = ["gpg", "dpkg-deb", "apt-get", "flock", "setpriv"];
  return tools.filter((tool) => spawnSync("which", [tool]).status !== 0);
}

interface PackageSpec {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
}

/** A signed Debian archive of a few small packages, served over HTTP on this host. For tests. */
export class TestRepository {
  readonly dir: string;
  readonly keyring: string;
  /** Paths below the root that the server says are gone. */
  readonly gone = new Set<string>();
  #server: Server | undefined;

  constructor(dir: string) {
    this.dir = dir;
    this.keyring = path.join(dir, "keyring.gpg");
    mkdirSync(path.join(dir, "gnupg"), { mode: 0o700 });
    this.#gpg(["--quick-generate-key", "Test Archive <test@example.invalid>", "ed25519", "sign"]);
    writeFileSync(this.keyring, this.#gpg(["--export"]));
  }

  /** Adds packages and sources and writes the signed index of `suite`, which may have expired. */
  write(
    suite: string,
    packages: readonly PackageSpec[],
    sources: readonly PackageSpec[],
    validUntil?: Date,
  ): void {
    const dists = path.join(this.dir, "dists", suite, "main");
    mkdirSync(path.join(dists, "binary-arm64"), { recursive: true });
    mkdirSync(path.join(dists, "source"), { recursive: true });
    mkdirSync(path.join(this.dir, "pool"), { recursive: true });
    const binary = packages.map((spec) => this.#deb(spec)).join("\n");
    const source = sources.map((spec) => this.#source(spec)).join("\n");
    writeFileSync(path.join(dists, "binary-arm64", "Packages"), binary);
    writeFileSync(path.join(dists, "source", "Sources"), source);
    const root = path.join(this.dir, "dists", suite);
    const lines = ["main/binary-arm64/Packages", "main/source/Sources"].map((file) => {
      const content = readFileSync(path.join(root, file));
      return ` ${sha256(content)} ${content.length} ${file}`;
    });
    const release = [
      "Origin: Test",
      `Suite: ${suite}`,
      `Codename: ${suite}`,
      `Date: ${debianDate(new Date())}`,
      ...(validUntil === undefined ? [] : [`Valid-Until: ${debianDate(validUntil)}`]),
      "Architectures: arm64",
      "Components: main",
      "SHA256:",
      ...lines,
      "",
    ].join("\n");
    writeFileSync(path.join(root, "Release"), release);
    writeFileSync(
      path.join(root, "InRelease"),
      this.#gpg(["--clearsign", "--output", "-", path.join(root, "Release")]),
    );
  }

  /** Starts serving; returns the URL of the archive. */
  async serve(): Promise<string> {
    const server = createServer((request, response) => {
      const name = decodeURIComponent((request.url ?? "").split("?")[0] ?? "");
      const file = path.join(this.dir, path.posix.normalize(name));
      const isThere = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
      if (!isThere || [...this.gone].some((gone) => name.includes(gone))) {
        response.writeHead(404).end();
        return;
      }
      response.writeHead(200).end(readFileSync(file));
    });
    this.#server = server;
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    const address = server.address();
    if (address === null || typeof address === "string") throw new TypeError("no TCP port");
    return `http://127.0.0.1:${address.port}`;
  }

  async close(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }

  #deb({ name, version, depends }: PackageSpec): string {
    const tree = path.join(this.dir, "tree", `${name}-${version.replaceAll(":", "_")}`);
    mkdirSync(path.join(tree, "DEBIAN"), { recursive: true });
    mkdirSync(path.join(tree, "usr", "share", name), { recursive: true });
    writeFileSync(path.join(tree, "usr", "share", name, "version"), version);
    const control = [
      `Package: ${name}`,
      `Version: ${version}`,
      "Architecture: arm64",
      "Maintainer: Test <test@example.invalid>",
      ...(depends === undefined ? [] : [`Depends: ${depends}`]),
      "Description: a package for tests",
      "",
    ].join("\n");
    writeFileSync(path.join(tree, "DEBIAN", "control"), control);
    const file = `pool/${name}_${version.replace(/^\d+:/, "")}_arm64.deb`;
    must("dpkg-deb", ["--build", "--root-owner-group", tree, path.join(this.dir, file)]);
    return `${control}${this.#describe(file)}`;
  }

  #source({ name, version }: PackageSpec): string {
    const tree = path.join(this.dir, "tree", `source-${name}-${version}`, `${name}-${version}`);
    mkdirSync(tree, { recursive: true });
    writeFileSync(path.join(tree, "Makefile"), "all:\n");
    const [upstream = ""] = version.split("-");
    const tarball = `${name}_${upstream}.orig.tar.gz`;
    const parent = path.dirname(tree);
    must("tar", ["-czf", path.join(this.dir, "pool", tarball), "-C", parent, path.basename(tree)]);
    const dsc = `${name}_${version}.dsc`;
    writeFileSync(path.join(this.dir, "pool", dsc), `Source: ${name}\nVersion: ${version}\n`);
    const files = [dsc, tarball].map((file) => {
      const content = readFileSync(path.join(this.dir, "pool", file));
      return ` ${sha256(content)} ${content.length} ${file}`;
    });
    return [
      `Package: ${name}`,
      "Format: 3.0 (quilt)",
      `Version: ${version}`,
      "Directory: pool",
      "Checksums-Sha256:",
      ...files,
      "",
    ].join("\n");
  }

  #describe(file: string): string {
    const content = readFileSync(path.join(this.dir, file));
    return `Filename: ${file}\nSize: ${content.length}\nSHA256: ${sha256(content)}\n`;
  }

  #gpg(args: readonly string[]): Buffer {
    const base = ["--homedir", path.join(this.dir, "gnupg"), "--batch", "--passphrase", ""];
    return must("gpg", [...base, "--pinentry-mode", "loopback", ...args]);
  }
}

const debianDate = (date: Date): string => date.toUTCString().replace("GMT", "+0000");
const sha256 = (content: Buffer): string => createHash("sha256").update(content).digest("hex");

function must(program: string, args: readonly string[]): Buffer {
  const result = spawnSync(program, args, { encoding: "buffer" });
  if (result.status === 0) return result.stdout;
  throw new Error(`${program} ${args.join(" ")}: ${result.stderr.toString()}`);
}
