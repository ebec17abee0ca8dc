import { copyFile, readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { type CommandOptions, mustRun } from "./command.ts";
import type { Recipe } from "./recipe.ts";
import { type DownloadedSource, unpackSource } from "./sources.ts";

/** Seconds since the epoch of a source that says nothing about its date. */
const FALLBACK_EPOCH = 1_735_689_600;

export interface FirmwareBuild {
  /** Seconds since the epoch that all times in the image are set to. */
  readonly epoch: number;
  /** The build command without paths of this host. */
  readonly command: string;
}

/**
 * Builds TF-A around U-Boot and OP-TEE, that of the packages or that in the folder `optee`, and copies
 * the result to `target`.
 */
export async function buildFirmware(
  recipe: Recipe,
  source: DownloadedSource,
  folders: { readonly parts: string; readonly work: string; readonly optee?: string | undefined },
  target: string,
  options: CommandOptions,
): Promise<FirmwareBuild> {
  const tree = path.join(folders.work, "firmware");
  await unpackSource(source, tree, options);
  const epoch = await epochOf(tree);
  const args = recipe.firmware.make.map((each) =>
    each.replaceAll("<parts>", folders.parts).replaceAll("<optee>", folders.optee ?? "<optee>"),
  );
  await mustRun("building the firmware", "make", [`-j${availableParallelism()}`, ...args], {
    ...options,
    cwd: tree,
    env: buildEnvironment(options.env, epoch),
  });
  await copyFile(path.join(tree, recipe.firmware.result), target).catch((error: unknown) => {
    throw new InfrastructureError(`the firmware build left no ${recipe.firmware.result}`, {
      next: "Compare the recipe's firmware.result with this version of the source",
      cause: error,
    });
  });
  return { epoch, command: `SOURCE_DATE_EPOCH=${epoch} make ${recipe.firmware.make.join(" ")}` };
}

/** Nothing in the user's environment may change what is built. */
export function buildEnvironment(env: NodeJS.ProcessEnv, epoch: number): NodeJS.ProcessEnv {
  return {
    PATH: env["PATH"],
    HOME: env["HOME"],
    TMPDIR: env["TMPDIR"],
    TZ: "UTC",
    SOURCE_DATE_EPOCH: String(epoch),
  };
}

/** The date of the newest entry in the Debian changelog: it makes builds of one source alike. */
export async function epochOf(tree: string): Promise<number> {
  const changelog = await readFile(path.join(tree, "debian", "changelog"), "utf8").catch(() => "");
  const date = /^ -- .*>  (.+)$/m.exec(changelog)?.[1];
  const milliseconds = date === undefined ? Number.NaN : Date.parse(date);
  return Number.isNaN(milliseconds) ? FALLBACK_EPOCH : Math.floor(milliseconds / 1000);
}
