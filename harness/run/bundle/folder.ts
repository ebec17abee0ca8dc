import { lstatSync, readdirSync, rmSync } from "node:fs";
import path from "node:path";
import { makeFolder, UsageError } from "../../base/index.ts";
import { writeError } from "./disk.ts";
import { BUNDLE_ENTRY, RUN_JSON } from "./layout.ts";

/** Makes the folder of a bundle. Throws UsageError when the path is a file, InfrastructureError when it cannot be made. */
export function makeBundleFolder(folder: string): void {
  try {
    makeFolder(folder);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST" || code === "ENOTDIR") {
      throw new UsageError("the output path is not a folder", {
        where: folder,
        next: "Name another folder with --out",
        cause: error,
      });
    }
    throw writeError(folder, error);
  }
}

/** Throws UsageError when the folder holds anything that lockstep did not put there. */
export function refuseForeignFolder(folder: string): void {
  const entries = readdirSync(folder);
  if (entries.length === 0) return;
  const foreign = entries.find((entry) => !BUNDLE_ENTRY.test(entry));
  const ours = entries.includes(RUN_JSON) && lstatSync(path.join(folder, RUN_JSON)).isFile();
  if (foreign === undefined && ours) return;
  throw new UsageError("the output folder is not empty and is not a bundle of lockstep", {
    where: folder,
    seen: foreign === undefined ? `no ${RUN_JSON}` : `a foreign entry, ${foreign}`,
    next: "Name an empty or new folder with --out, or remove this one yourself",
  });
}

/** Removes what an older bundle left, all but `run.json`, which by now belongs to the new one. */
export function removeOldBundle(folder: string): void {
  for (const entry of readdirSync(folder)) {
    if (entry !== RUN_JSON) rmSync(path.join(folder, entry), { recursive: true, force: true });
  }
}
