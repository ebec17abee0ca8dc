// Set-up before anything else can run: dependencies, build. Plain JavaScript, for neither is there yet.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "..");
const NEEDED = [20, 19];

function stop(text) {
  process.stderr.write(`lockstep: ${text}\n`);
  process.exit(3);
}

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  stop(
    `Node ${process.versions.node} is too old: expected ${NEEDED.join(".")} or newer. ` +
      "Debian 13 ships it as the package nodejs.",
  );
}

function run(title, command, args) {
  process.stderr.write(`lockstep: ${title}\n`);
  const started = performance.now();
  const result = spawnSync(command, args, { cwd: root, encoding: "utf8" });
  if (result.error !== undefined || result.status !== 0) {
    process.stderr.write(`${result.stdout ?? ""}${result.stderr ?? ""}`);
    stop(
      `${title} failed (${result.error?.message ?? `exit code ${result.status}`}). ` +
        `Its output is above; mend that and run the same command again.`,
    );
  }
  process.stderr.write(
    `lockstep: ${title} done in ${((performance.now() - started) / 1000).toFixed(1)} s\n`,
  );
}

function stamp(file) {
  return existsSync(file) ? readFileSync(file, "utf8") : "";
}

const lock = createHash("sha256")
  .update(readFileSync(path.join(root, "package-lock.json")))
  .digest("hex");
const modulesStamp = path.join(root, "node_modules", ".lockstep-lock");
if (stamp(modulesStamp) !== lock) {
  run("installing dependencies", "npm", ["ci", "--engine-strict", "--no-audit", "--no-fund"]);
  writeFileSync(modulesStamp, lock);
}

// The set of source files: a deleted test must not live on in dist/.
const sources = ["harness", "suites", "reports", "ci"].flatMap((folder) =>
  readdirSync(path.join(root, folder), { recursive: true })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => `${folder}/${name}`),
);
sources.sort((a, b) => (a < b ? -1 : 1));
const digest = createHash("sha256");
for (const name of [...sources, "tsconfig.json"]) {
  digest.update(`${name}\0`).update(readFileSync(path.join(root, name)));
}
const fingerprint = digest.digest("hex");
const list = createHash("sha256").update(sources.join("\n")).digest("hex");
const dist = path.join(root, "dist");
const built = path.join(dist, ".lockstep-built");
const [builtFingerprint, builtList] = stamp(built).split("\n");
if (builtFingerprint !== fingerprint) {
  if (builtList !== list) rmSync(dist, { recursive: true, force: true });
  run("building", process.execPath, [
    path.join("node_modules", "typescript", "bin", "tsc"),
    "-p",
    ".",
  ]);
  mkdirSync(dist, { recursive: true });
  writeFileSync(built, `${fingerprint}\n${list}\n`);
  const bin = path.join(dist, "harness", "cli", "main.js");
  if (existsSync(bin)) chmodSync(bin, 0o755);
}
