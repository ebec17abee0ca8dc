import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { BoardFileError, messageOf } from "../../base/index.ts";
import type { BoardConfig, LiveBoard } from "../../board/index.ts";
import type { PreparedImage } from "../../images/index.ts";
import type { FactsSheet } from "../../run/index.ts";
import { DEBIAN_4_5 } from "../../secure-world/index.ts";

/** Package of the reference image whose version is the version of a piece of software. */
const PACKAGED: Readonly<Record<string, string>> = {
  xtest: "optee-test-qemu",
  supplicant: "tee-supplicant",
};

/** The facts sheet of the emulated platform. */
export function emulatedFacts(config: BoardConfig): FactsSheet {
  const { major, minor } = DEBIAN_4_5.version;
  return {
    board: config.name,
    boardType: config.type,
    platform: "emulated",
    versions: { "optee-model": `${major}.${minor}` },
    images: {},
    packages: {},
    machine: {},
    hab: "not-applicable",
    huk: "stub",
    rpmb: "none",
  };
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
  const packages = prepared?.packages ?? {};
  const packaged = Object.entries(PACKAGED).flatMap(([software, name]) => {
    const version = packages[name];
    return version === undefined ? [] : [[software, version] as const];
  });
  return {
    board: config.name,
    boardType: config.type,
    platform: config.platform,
    versions: { ...live?.versions, ...Object.fromEntries(packaged) },
    images: { ...prepared?.sha256, ...(await hashOwnImages(config)) },
    packages,
    ...(prepared !== undefined && { packageHashes: hashesOf(prepared) }),
    machine: machineOf(config),
    hab: config.platform === "qemu" ? "not-applicable" : "unknown",
    huk: "unknown",
    rpmb: "unknown",
  };
}

function hashesOf(prepared: PreparedImage): Record<string, string> {
  return Object.fromEntries(prepared.manifest.packages.map((each) => [each.name, each.sha256]));
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
  const { append: _append, ...files } = config.images;
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
