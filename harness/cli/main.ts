#!/usr/bin/env node
import { readFileSync } from "node:fs";

const manifest = readFileSync(new URL("../../../package.json", import.meta.url), "utf8");
const { version } = JSON.parse(manifest) as { version: string };
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
const [, , first, ...rest] = process.argv;

if (major < 20 || (major === 20 && minor < 19)) {
  process.stderr.write(
    `lockstep: Node ${process.versions.node} is too old: 20.19 or newer is needed. On Debian 13: apt install nodejs.\n`,
  );
  process.exitCode = 3;
} else if ((first === "--version" || first === "-V") && rest.length === 0) {
  // Everything else costs more to load than this takes to answer.
  process.stdout.write(`${version}\n`);
} else {
  const { main } = await import("./process.ts");
  await main(process.argv.slice(2), version);
}
