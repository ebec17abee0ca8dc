import { chmod, copyFile, mkdir, stat, writeFile } from "node:fs/promises";
import path from "node:path";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { InfrastructureError } from "../base/index.ts";
import { type CommandOptions, run } from "./command.ts";
import { buildFirmware } from "./firmware.ts";
import { sha256File } from "./hash.ts";
import { buildHypervisor, type HypervisorBuild } from "./hypervisor.ts";
import {
  BUILDER_FORMAT,
  CLIENT_KEY_FILE,
  IMAGE_FILES,
  type ImageManifest,
  type PrepareOptions,
} from "./model.ts";
import { modulesOf, resolveModules } from "./modules.ts";
import { writeNewc } from "./newc.ts";
import { buildOptee, type OpteeBuilt } from "./optee.ts";
import { type Inputs, unpackPackages } from "./packages.ts";
import { compilePrograms } from "./programs.ts";
import type { LoadedRecipe, Recipe } from "./recipe.ts";
import { assemble, matching } from "./rootfs.ts";
import { type ImageKeys, makeImageKeys } from "./ssh-keys.ts";
import { inStage } from "./stage.ts";

/** Largest uncompressed kernel module that is accepted, in bytes. */
const MODULE_MAX = 64 * 1024 * 1024;

/** Makes all files of an image in `out` (which must not exist) and says what is in them. */
export async function buildImage(
  loaded: LoadedRecipe,
  inputs: Inputs,
  inputsHash: string,
  folders: { readonly work: string; readonly out: string; readonly log: string },
  options: PrepareOptions,
): Promise<ImageManifest> {
  const { recipe } = loaded;
  const { work, out } = folders;
  const { progress } = options;
  const command: CommandOptions = {
    env: options.env,
    abort: options.abort,
    log: folders.log,
  };
  const parts = path.join(work, "parts");
  const rootfs = path.join(work, "rootfs");
  await mkdir(path.join(out, path.dirname(CLIENT_KEY_FILE)), { recursive: true });

  await inStage(
    progress,
    "unpack packages",
    async () => {
      await unpackPackages(inputs, "parts", parts, command);
      await unpackPackages(inputs, "rootfs", rootfs, command);
    },
    () => `${inputs.packages.length} packages`,
  );
  const optee = await inOpteeStage(loaded, inputs, { parts, work }, { command, progress });
  const bios = path.join(out, IMAGE_FILES.bios);
  const trees = { parts, work, optee: optee?.folder };
  const firmware = await inStage(
    progress,
    "build firmware",
    async () => await buildFirmware(recipe, inputs.source, trees, bios, command),
    () => `${inputs.source.record.name} ${inputs.source.record.version}`,
  );
  const hypervisor = await inHypervisorStage(recipe, inputs, folders, firmware.epoch, {
    command,
    progress,
  });
  const keys = await makeImageKeys(recipe.name);
  await inStage(
    progress,
    "make kernel and initramfs",
    async () => {
      const programs = await compilePrograms(loaded, work, command);
      const roots = { parts, rootfs, out };
      return await packFiles(loaded, roots, { keys, programs, epoch: firmware.epoch }, options);
    },
    (bytes) => `${(bytes / 1e6).toFixed(0)} MB unpacked`,
  );
  await writeFile(path.join(out, CLIENT_KEY_FILE), keys.clientKeyFile, { mode: 0o600 });
  return {
    format: BUILDER_FORMAT,
    name: recipe.name,
    description: recipe.description,
    suite: recipe.suite,
    architecture: recipe.architecture,
    suites: inputs.suites,
    recipe: loaded.hash,
    inputs: inputsHash,
    packages: inputs.packages,
    sources: [inputs.source, inputs.hypervisor, inputs.optee].flatMap((each) =>
      each === undefined ? [] : [each.record],
    ),
    notes: inputs.notes,
    tools: await toolVersions(options),
    commands: [...(optee?.commands ?? []), firmware.command, ...(hypervisor?.commands ?? [])],
    files: await describeFiles(out, hypervisor === undefined ? [] : [hypervisor.file]),
    append: recipe.append,
    ...(optee && recipe.optee && { optee: { build: optee.id, config: recipe.optee.config } }),
    ...(hypervisor && { hypervisor: { file: hypervisor.file, append: hypervisor.append } }),
    ssh: { user: recipe.ssh.user, hostKeyLine: keys.hostKeyLine },
  };
}

async function inOpteeStage(
  loaded: LoadedRecipe,
  inputs: Inputs,
  folders: { readonly parts: string; readonly work: string },
  options: { readonly command: CommandOptions; readonly progress: PrepareOptions["progress"] },
): Promise<OpteeBuilt | undefined> {
  const { optee } = loaded.recipe;
  const { optee: source } = inputs;
  if (optee === undefined || source === undefined) return undefined;
  const { name, version } = source.record;
  return await inStage(
    options.progress,
    "build OP-TEE",
    async () => await buildOptee(loaded, optee, source, folders, options.command),
    ({ cached, seconds }) =>
      `${name} ${version}, ${cached ? "built before" : `${seconds.toFixed(0)} s`}`,
  );
}

async function inHypervisorStage(
  { hypervisor }: Recipe,
  inputs: Inputs,
  folders: { readonly work: string; readonly out: string },
  epoch: number,
  options: { readonly command: CommandOptions; readonly progress: PrepareOptions["progress"] },
): Promise<HypervisorBuild | undefined> {
  const { hypervisor: source } = inputs;
  if (hypervisor === undefined || source === undefined) return undefined;
  return await inStage(
    options.progress,
    "build hypervisor",
    async () => await buildHypervisor(hypervisor, source, folders, epoch, options.command),
    () => `${source.record.name} ${source.record.version}`,
  );
}

/** Writes kernel and initramfs; returns the initramfs' unpacked size in bytes. */
async function packFiles(
  loaded: LoadedRecipe,
  folders: { readonly parts: string; readonly rootfs: string; readonly out: string },
  own: {
    readonly keys: ImageKeys;
    readonly programs: ReadonlyMap<string, Uint8Array>;
    /** Seconds since the Unix epoch that every file's time is set to. */
    readonly epoch: number;
  },
  options: PrepareOptions,
): Promise<number> {
  const { kernel } = loaded.recipe;
  const [file = ""] = await matching(folders.parts, kernel.image);
  await copyFile(file, path.join(folders.out, IMAGE_FILES.kernel));
  const modules = await resolveModules(
    kernel.modules,
    await modulesOf(folders.parts, async (each) => await unxz(each, options)),
  );
  const tree = await assemble(loaded, folders, modules, own.keys, own.programs);
  const archive = writeNewc(tree, own.epoch);
  const compressed = await promisify(gzip)(archive, { level: 6 });
  await writeFile(path.join(folders.out, IMAGE_FILES.initrd), compressed);
  for (const each of Object.values(IMAGE_FILES)) await chmod(path.join(folders.out, each), 0o644);
  return archive.length;
}

async function describeFiles(
  out: string,
  more: readonly string[],
): Promise<ImageManifest["files"]> {
  const names = [...Object.values(IMAGE_FILES), ...more, CLIENT_KEY_FILE];
  const described = await Promise.all(
    names.map(async (name) => {
      const file = path.join(out, name);
      return [name, { size: (await stat(file)).size, sha256: await sha256File(file) }] as const;
    }),
  );
  return Object.fromEntries(described);
}

async function toolVersions(options: PrepareOptions): Promise<Record<string, string>> {
  const tools = [
    "apt-get",
    "dpkg-deb",
    "make",
    "gcc",
    "aarch64-linux-gnu-gcc",
    "aarch64-linux-gnu-ld",
  ];
  const found = await Promise.all(
    tools.map(async (tool) => {
      const { stdout } = await run(tool, ["--version"], options);
      return [tool, stdout.split("\n")[0]?.trim() ?? ""] as const;
    }),
  );
  return Object.fromEntries([...found, ["node", process.version]]);
}

async function unxz(file: string, options: PrepareOptions): Promise<Buffer> {
  try {
    const { stdout } = await promisify(execFile)("xz", ["--decompress", "--stdout", file], {
      encoding: "buffer",
      maxBuffer: MODULE_MAX,
      env: options.env,
      signal: options.abort,
    });
    return stdout;
  } catch (error) {
    throw new InfrastructureError(`the kernel module ${path.basename(file)} cannot be unpacked`, {
      cause: error,
    });
  }
}
