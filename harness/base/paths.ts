import { homedir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

/** The root of the lockstep package: the folder that holds package.json, boards/ and dist/. */
export const packageRoot = path.resolve(
  path.dirname(fileURLToPath(import.meta.url)),
  "..",
  "..",
  "..",
);

/** The user's cache folder for lockstep, by the XDG base directory specification. */
export function cacheDir(env: NodeJS.ProcessEnv = process.env): string {
  const own = env["LOCKSTEP_CACHE"];
  if (own !== undefined && own !== "") return path.resolve(own);
  const xdg = env["XDG_CACHE_HOME"];
  const base = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(homedir(), ".cache");
  return path.join(base, "lockstep");
}

/** What must outlive caches and reboots, such as the ledger, by the XDG base directory specification. */
export function stateDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env["XDG_STATE_HOME"];
  const base =
    xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(homedir(), ".local", "state");
  return path.join(base, "lockstep");
}

/** Where running state (board locks, control sockets) lives; lost at a reboot, as it should be. */
export function runtimeDir(env: NodeJS.ProcessEnv = process.env): string {
  const xdg = env["XDG_RUNTIME_DIR"];
  return xdg !== undefined && path.isAbsolute(xdg)
    ? path.join(xdg, "lockstep")
    : path.join(cacheDir(env), "run");
}
