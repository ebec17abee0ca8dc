import { appendFile, copyFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import path from "node:path";
import { InfrastructureError } from "../base/index.ts";
import { type CommandOptions, mustRun } from "./command.ts";
import { buildEnvironment } from "./firmware.ts";
import type { RecipeHypervisor } from "./recipe.ts";
import { type DownloadedSource, unpackSource } from "./sources.ts";

export interface HypervisorBuild {
  /** Its name in the image. */
  readonly file: string;
  readonly append: string;
  /** What was run, without paths of this host. */
  readonly commands: readonly string[];
}

/** Who built it is part of what Xen prints, and would make two builds of one source differ. */
const NAMELESS = { XEN_WHOAMI: "lockstep", XEN_DOMAIN: "local", XEN_BUILD_HOST: "lockstep" };

/** Builds the recipe's hypervisor in `work` and copies it into `out`. `epoch`: seconds since 1970. */
export async function buildHypervisor(
  recipe: RecipeHypervisor,
  source: DownloadedSource,
  folders: { readonly work: string; readonly out: string },
  epoch: number,
  options: CommandOptions,
): Promise<HypervisorBuild> {
  const tree = path.join(folders.work, "hypervisor");
  await unpackSource(source, tree, options);
  const cwd = path.join(tree, recipe.folder);
  const env = { ...buildEnvironment(options.env, epoch), ...NAMELESS };
  const make = async (...args: string[]): Promise<void> => {
    await mustRun(`building ${source.record.name}`, "make", [...args, ...recipe.make], {
      ...options,
      cwd,
      env,
    });
  };
  await make(recipe.defconfig);
  await appendFile(path.join(cwd, ".config"), recipe.config.map((line) => `${line}\n`).join(""));
  await make("olddefconfig");
  await make(`-j${availableParallelism()}`);
  const file = path.basename(recipe.result);
  await copyFile(path.join(cwd, recipe.result), path.join(folders.out, file)).catch(
    (error: unknown) => {
      throw new InfrastructureError(`the build of ${source.record.name} left no ${recipe.result}`, {
        next: "Compare the recipe's hypervisor.result with this version of the source",
        cause: error,
      });
    },
  );
  const words = recipe.make.join(" ");
  return {
    file,
    append: recipe.append,
    commands: [
      `make ${recipe.defconfig} ${words}; ${recipe.config.join(" ")}`,
      `SOURCE_DATE_EPOCH=${epoch} make ${words}`,
    ],
  };
}
