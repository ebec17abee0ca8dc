import { lstat, readdir, readFile, readlink, stat } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { readElf } from "./elf.ts";
import type { KernelModule } from "./modules.ts";
import type { ArchiveEntry } from "./newc.ts";
import type { LoadedRecipe } from "./recipe.ts";
import type { ImageKeys } from "./ssh-keys.ts";

/** Linux's major and minor number of /dev/console, which must be there before devtmpfs is mounted. */
const CONSOLE = { major: 5, minor: 1 } as const;

/** The tree of an initramfs while it is put together; paths are absolute, later entries win. */
export class RootFs {
  readonly #entries = new Map<string, ArchiveEntry>();
  readonly #links: ReadonlyMap<string, string>;

  /** `links`: folders that are links in the image (`/bin` → `usr/bin`); what is put there goes to their targets. */
  constructor(links: Readonly<Record<string, string>>) {
    this.#links = new Map(Object.entries(links));
    for (const [name, target] of this.#links) {
      this.#entries.set(name, { kind: "link", target });
    }
  }

  put(name: string, entry: ArchiveEntry): void {
    this.#entries.set(this.#place(name), entry);
  }

  file(name: string, content: Uint8Array | string, mode = 0o644): void {
    this.put(name, { kind: "file", mode, content: Buffer.from(content) });
  }

  directory(name: string, mode = 0o755): void {
    const place = this.#place(name);
    if (!this.#entries.has(place)) this.#entries.set(place, { kind: "directory", mode });
  }

  has(name: string): boolean {
    return this.#entries.has(this.#place(name));
  }

  /** Adds an unpacked tree, leaving out what lies at or below one of `exclude`. */
  async addTree(root: string, exclude: readonly string[]): Promise<void> {
    for (const name of (await readdir(root, { recursive: true })).toSorted()) {
      const inImage = `/${name}`;
      if (exclude.some((each) => inImage === each || inImage.startsWith(`${each}/`))) continue;
      const file = path.join(root, name);
      const info = await lstat(file);
      const mode = info.mode & 0o7777;
      if (info.isDirectory()) this.#addFolder(inImage, mode);
      else if (info.isSymbolicLink()) {
        this.put(inImage, { kind: "link", target: await readlink(file) });
      } else if (info.isFile()) this.file(inImage, await readFile(file), mode);
    }
  }

  /** Every entry with the folders that it needs, parents first, in a fixed order. */
  entries(): ReadonlyMap<string, ArchiveEntry> {
    const out = new Map(this.#entries);
    for (const name of this.#entries.keys()) {
      for (let dir = path.posix.dirname(name); dir !== "/"; dir = path.posix.dirname(dir)) {
        if (!out.has(dir)) out.set(dir, { kind: "directory", mode: 0o755 });
      }
    }
    return new Map([...out].toSorted(([a], [b]) => (a < b ? -1 : 1)));
  }

  #addFolder(name: string, mode: number): void {
    if (!this.#links.has(name)) this.directory(name, mode);
  }

  #place(name: string): string {
    for (const [link, target] of this.#links) {
      if (name.startsWith(`${link}/`)) {
        return path.posix.join(path.posix.resolve("/", target), name.slice(link.length));
      }
    }
    return name;
  }
}

const moduleFile = (name: string): string => `/usr/lib/modules/${name}.ko`;

/** Puts an initramfs together from unpacked packages and the recipe's own files. */
export async function assemble(
  loaded: LoadedRecipe,
  folders: { readonly rootfs: string; readonly parts: string },
  modules: readonly KernelModule[],
  keys: ImageKeys,
  programs: ReadonlyMap<string, Uint8Array>,
): Promise<ReadonlyMap<string, ArchiveEntry>> {
  const { recipe, sources } = loaded;
  const tree = new RootFs(recipe.rootfs.links);
  await tree.addTree(folders.rootfs, recipe.rootfs.exclude);
  for (const { from, to } of recipe.rootfs.copy) {
    for (const file of await matching(folders.parts, from)) {
      const mode = (await stat(file)).mode & 0o777;
      tree.file(path.posix.join(to, path.basename(file)), await readFile(file), mode);
    }
  }
  for (const directory of recipe.rootfs.directories) {
    tree.directory(directory, directory === "/root" ? 0o700 : 0o755);
  }
  for (const file of recipe.rootfs.files) {
    tree.file(file.path, sources.get(file.source) ?? Buffer.alloc(0), file.mode);
  }
  for (const [name, content] of programs) tree.file(name, content, 0o755);
  for (const each of modules) tree.file(moduleFile(each.name), each.content);
  tree.file("/etc/lockstep/modules", modules.map((each) => `${moduleFile(each.name)}\n`).join(""));
  tree.file(recipe.ssh.hostKey, keys.hostKeyFile, 0o600);
  tree.directory(path.posix.dirname(recipe.ssh.authorizedKeys), 0o700);
  tree.file(recipe.ssh.authorizedKeys, `${keys.clientKeyLine}\n`, 0o600);
  tree.put("/dev/console", { kind: "character-device", mode: 0o600, ...CONSOLE });
  const entries = tree.entries();
  checkLibraries(entries);
  return entries;
}

/** Files under `root` that match an absolute pattern whose last part may hold `*`; throws if none does. */
export async function matching(root: string, pattern: string): Promise<string[]> {
  const dir = path.join(root, path.posix.dirname(pattern));
  const last = path.posix.basename(pattern);
  const expression = new RegExp(
    `^${last.replaceAll(/[.+?^${}()|[\]\\]/g, "\\$&").replaceAll("*", ".*")}$`,
  );
  const names = await readdir(dir).catch(() => []);
  const found = names.filter((name) => expression.test(name)).toSorted();
  if (found.length > 0) return found.map((name) => path.join(dir, name));
  throw new InfrastructureError(`no package of this image holds ${pattern}`, {
    next: "Compare the recipe with the contents of these package versions",
  });
}

/** Throws InfrastructureError if a program or library needs a library that the image lacks. */
export function checkLibraries(entries: ReadonlyMap<string, ArchiveEntry>): void {
  const present = new Set([...entries.keys()].map((name) => path.posix.basename(name)));
  const missing: string[] = [];
  for (const [name, entry] of entries) {
    if (entry.kind !== "file") continue;
    const elf = readElf(
      Buffer.from(entry.content.buffer, entry.content.byteOffset, entry.content.length),
    );
    for (const library of elf?.needed ?? []) {
      if (!present.has(library)) missing.push(`${library} (needed by ${name})`);
    }
    const loader = elf?.interpreter;
    if (loader !== undefined && !present.has(path.posix.basename(loader))) {
      missing.push(`${loader} (needed by ${name})`);
    }
  }
  if (missing.length === 0) return;
  throw new InfrastructureError("programs in the image need libraries that are not in it", {
    seen: missing.slice(0, 5).join(", "),
    next: "Add the packages that hold them to the recipe, or remove them from its `assumed` list",
  });
}
