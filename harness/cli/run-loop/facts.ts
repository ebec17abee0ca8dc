import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import path from "node:path";
import { BoardFileError, messageOf } from "../../base/index.ts";
import type { BoardConfig, LiveBoard } from "../../board/index.ts";
import type { PreparedImage } from "../../images/index.ts";
import type { OwnTarget } from "../../platform/index.ts";
import type { FactsSheet } from "../../run/index.ts";
import { DEBIAN_4_5 } from "../../secure-world/index.ts";

/** Package of the reference image whose version is the version of a piece of software. */
const PACKAGED: Readonly<Record<string, string>> = {
  xtest: "optee-test-qemu",
  supplicant: "tee-supplicant",
};

/** The facts sheet of the emulated platform, or of a target that takes the place of some of it. */
export function emulatedFacts(config: BoardConfig, own?: OwnTarget): FactsSheet {
  const { major, minor } = DEBIAN_4_5.version;
  return {
    board: config.name,
    boardType: config.type,
    platform: "emulated",
    versions: own?.createSecureWorld === undefined ? { "optee-model": `${major}.${minor}` } : {},
    images: {},
    packages: {},
    machine: own === undefined ? {} : partsOf(own),
    hab: "not-applicable",
    huk: own?.createSecureWorld === undefined ? "stub" : "unknown",
    rpmb: "emulated by Lockstep",
    rpmbEvidence: { how: ["the parts of the model are Lockstep's own, and no board is there"] },
  };
}

function partsOf(own: OwnTarget): Record<string, string> {
  const whose = (part: "createSecureWorld" | "createMediator"): string =>
    own[part] === undefined ? "Lockstep's" : own.name;
  return { "secure world": whose("createSecureWorld"), mediator: whose("createMediator") };
}

/** Versions of the software on a board: of its image's packages, and otherwise as its consoles printed them. */
export function softwareVersions(
  live: Pick<LiveBoard, "versions">,
  whole: PreparedImage | undefined,
): Readonly<Record<string, string>> {
  const packages = whole?.packages ?? {};
  const packaged = Object.entries({ ...PACKAGED, optee: "optee-os" }).flatMap(
    ([software, name]) => {
      const version = packages[name];
      return version === undefined ? [] : [[software, version] as const];
    },
  );
  return { ...live.versions, ...Object.fromEntries(packaged) };
}

/**
 * What is known of a board: versions as its consoles printed them, hashes of the files that it
 * booted, packages from the image's manifest. What was not observed stays `unknown`.
 */
export async function boardFacts(
  config: BoardConfig,
  live: LiveBoard | undefined,
  prepared: PreparedImage | undefined,
): Promise<FactsSheet> {
  const packages = wholeImage(config, prepared)?.packages ?? {};
  const packaged = Object.entries(PACKAGED).flatMap(([software, name]) => {
    const version = packages[name];
    return version === undefined ? [] : [[software, version] as const];
  });
  return {
    board: config.name,
    boardType: config.type,
    platform: config.platform,
    versions: { ...live?.versions, ...Object.fromEntries(packaged) },
    images: { ...hashesOfPrepared(config, prepared), ...(await hashOwnImages(config)) },
    packages,
    ...hashesOfPackages(wholeImage(config, prepared)),
    machine: machineOf(config),
    hab: config.platform === "qemu" ? "not-applicable" : "unknown",
    huk: "unknown",
    rpmb: "unknown",
  };
}

/**
 * The reference image, where the board boots all of it: its list of packages says nothing of files
 * that the board file brings in place of the image's.
 */
export function wholeImage(
  config: BoardConfig,
  prepared: PreparedImage | undefined,
): PreparedImage | undefined {
  const { append: _append, hypervisorAppend: _words, dtb: _dtb, ...own } = config.images;
  return Object.keys(own).length === 0 ? prepared : undefined;
}

function hashesOfPackages(
  prepared: PreparedImage | undefined,
): Pick<FactsSheet, "packageHashes"> | undefined {
  if (prepared === undefined) return undefined;
  const { packages } = prepared.manifest;
  return { packageHashes: Object.fromEntries(packages.map((each) => [each.name, each.sha256])) };
}

/** Of the image's files only those that are booted. */
function hashesOfPrepared(
  config: BoardConfig,
  prepared: PreparedImage | undefined,
): Record<string, string> {
  if (prepared === undefined) return {};
  const { images } = config;
  const replaced = new Set<string>();
  if (images.bios !== undefined || images.flash !== undefined) replaced.add(prepared.files.bios);
  if (images.kernel !== undefined) replaced.add(prepared.files.kernel);
  const { hypervisor } = prepared.files;
  if (images.hypervisor !== undefined && hypervisor !== undefined) replaced.add(hypervisor);
  if (images.initrd !== undefined) replaced.add(prepared.files.initrd);
  const names = new Set([...replaced].map((file) => path.basename(file)));
  return Object.fromEntries(Object.entries(prepared.sha256).filter(([name]) => !names.has(name)));
}

function machineOf(config: BoardConfig): Record<string, string> {
  const qemu = config.qemu;
  if (qemu === undefined) return { soc: config.soc };
  const options = Object.entries(qemu.options).map(([key, value]) => `${key}=${value}`);
  return {
    soc: config.soc,
    machine: [qemu.machine, ...options].join(","),
    cpu: qemu.cpu,
    cores: String(qemu.cores),
    memory: `${qemu.memoryMiB} MiB`,
  };
}

async function hashOwnImages(config: BoardConfig): Promise<Record<string, string>> {
  const { append: _append, hypervisorAppend: _words, ...files } = config.images;
  const hashes: Record<string, string> = {};
  for (const [kind, file] of Object.entries(files)) {
    if (file !== undefined) hashes[kind] = await sha256(file, config.file);
  }
  return hashes;
}

async function sha256(file: string, where: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(file)) hash.update(chunk as Uint8Array);
  } catch (error) {
    throw new BoardFileError(`the image ${file} cannot be read: ${messageOf(error)}`, {
      where,
      next: "Name a file that exists under images, or run `lockstep prepare`.",
      cause: error,
    });
  }
  return hash.digest("hex");
}
