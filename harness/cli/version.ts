import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../base/index.ts";

/** The version of this package. */
export function lockstepVersion(): string {
  const manifest = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
    version: string;
  };
  return manifest.version;
}
