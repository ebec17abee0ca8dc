import { spawn, spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../../base/index.ts";
import { missingTools } from "../../images/index.ts";

// Programs are started here; a loaded machine takes its time.
jest.setTimeout(60_000);

const MAIN = path.join(packageRoot, "dist", "harness", "cli", "main.js");
const missing = (await missingTools()).map(({ tool }) => tool);
const withTools = missing.length === 0 ? test : test.skip;
const lacks = missing.length === 0 ? "" : ` (skipped: this host lacks ${missing.join(", ")})`;
// A mount namespace of its own: as a user inside a user namespace, as root without one.
const inNamespace = [["--user", "--map-root-user", "--mount"], ["--mount"]].find(
  (flags) => spawnSync("unshare", [...flags, "mount", "-t", "tmpfs", "none", "/mnt"]).status === 0,
);
const canMount = inNamespace !== undefined;
const withMount = canMount && missing.length === 0 ? test : test.skip;
const noMount = canMount ? lacks : " (skipped: this host allows no mounts in namespaces)";

let cache = "";
let server: Server | undefined;

beforeEach(async () => {
  cache = await mkdtemp(path.join(tmpdir(), "lockstep-prepare-"));
});
afterEach(async () => {
  server?.close();
  server = undefined;
  await rm(cache, { recursive: true });
});

function cli(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const child = spawn(process.execPath, [MAIN, "prepare", ...args], {
    env: { ...process.env, LOCKSTEP_CACHE: cache, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const text = { out: "", err: "" };
  child.stdout.on("data", (chunk: Buffer) => (text.out += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (text.err += chunk.toString()));
  const done = new Promise<{ code: number | null; out: string; err: string }>((resolve) => {
    child.on("close", (code) => {
      resolve({ code, ...text });
    });
  });
  return { child, done };
}

test("an unknown name is a usage error that suggests the right one", async () => {
  const { code, out, err } = await cli(["qemu-vrit"]).done;
  expect({ code, out }).toEqual({ code: 2, out: "" });
  expect(err).toContain('there is no board or reference image "qemu-vrit"');
  expect(err).toContain("qemu-virt");
});

test("a board without a reference image has nothing to prepare, and that is no error", async () => {
  const { code, out } = await cli(["emulated", "--json"]).done;
  expect(code).toBe(0);
  expect(JSON.parse(out)).toEqual({ board: "emulated", image: null });
});

withTools(`the helper for a board's RPMB part is compiled, for AArch64${lacks}`, async () => {
  const board = path.join(cache, "shelf.yaml");
  const consoles = "consoles: { c: { device: /dev/x } }\n";
  await mkdir(path.join(cache, "types"));
  await writeFile(
    path.join(cache, "types", "shelf-type.yaml"),
    `platform: hardware\nsoc: i.MX8M Plus\n${consoles}`,
  );
  await writeFile(board, "type: shelf-type\nrpmb: { device: /dev/mmcblk2rpmb }\n");
  const { code, out, err } = await cli([board, "--json"]).done;
  expect([code, err]).toEqual([0, expect.stringMatching(/RPMB helper is ready\n$/)]);
  const { rpmbHelper } = JSON.parse(out) as { rpmbHelper: string };
  const program = await readFile(rpmbHelper);
  // ELF of 64 bits, little-endian, machine 183; nothing that a dynamic linker would be needed for.
  expect([program.toString("latin1", 1, 4), program[4], program[5]]).toEqual(["ELF", 2, 1]);
  expect(program.readUInt16LE(18)).toBe(183);
  expect(program.includes("ld-linux")).toBe(false);
  expect((await cli([board, "--json"]).done).out).toBe(out);
});

test("a host without tools gets one message with the line that installs them all", async () => {
  const { code, err } = await cli(["qemu-virt"], { PATH: cache }).done;
  expect(code).toBe(3);
  expect(err).toMatch(/apt-get.*aarch64-linux-gnu-gcc/s);
  expect(err.match(/sudo apt-get install/g)).toHaveLength(1);
  expect(err).not.toMatch(/\n\s+at /);
});

withTools(
  `a mirror that is no URL is a usage error, and nothing is left behind${lacks}`,
  async () => {
    const { code, err } = await cli(["qemu-virt", "--mirror", "not a url"]).done;
    expect(code).toBe(2);
    expect(err).toContain("--mirror");
    expect(await readdir(cache)).toEqual([]);
  },
);

withTools(
  `Ctrl-C while a mirror keeps silent exits 130 and leaves neither image nor process${lacks}`,
  async () => {
    const connected = new Promise<void>((resolve) => {
      server = createServer(() => {
        resolve();
      });
    });
    await new Promise<void>((resolve) => server?.listen(0, "127.0.0.1", resolve));
    const address = server?.address();
    if (typeof address !== "object" || address === null) throw new TypeError("no TCP port");
    const mirror = `http://127.0.0.1:${address.port}/debian`;
    const { child, done } = cli(["qemu-virt"], { LOCKSTEP_DEBIAN_MIRROR: mirror });
    await connected;
    child.kill("SIGINT");
    const { code, out } = await done;
    expect({ code, out }).toEqual({ code: 130, out: "" });
    const left = (await readdir(path.join(cache, "images"))).filter((name) => !/lock/.test(name));
    expect(left).toEqual([]);
    expect(await processesUsing(cache)).toEqual([]);
  },
);

withMount(`a full disk is told as such, with what to do${noMount}`, async () => {
  const disk = path.join(cache, "disk");
  await mkdir(disk);
  const script = 'mount -t tmpfs -o size=8k none "$1" && exec "$2" "$3" prepare qemu-virt';
  const args = [...(inNamespace ?? []), "sh", "-c", script, "sh", disk, process.execPath, MAIN];
  const result = spawnSync("unshare", args, {
    env: {
      ...process.env,
      LOCKSTEP_CACHE: path.join(disk, "cache"),
      LOCKSTEP_DEBIAN_MIRROR: "http://127.0.0.1:9/debian",
    },
    encoding: "utf8",
  });
  expect(result.status).toBe(3);
  expect(result.stderr).toMatch(/disk is full.*LOCKSTEP_CACHE/s);
});

/** Command lines of living processes that were started with `folder` in their environment or arguments. */
async function processesUsing(folder: string): Promise<string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(
    pids.map(async (pid) => {
      const read = async (file: string): Promise<string> =>
        await readFile(`/proc/${pid}/${file}`, "utf8").catch(() => "");
      const [command, environment] = [await read("cmdline"), await read("environ")];
      return `${command}${environment}`.includes(folder) ? [command.replaceAll("\0", " ")] : [];
    }),
  );
  return lines.flat();
}
