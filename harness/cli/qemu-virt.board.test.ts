import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { type CliResult, type CliRun, lockstep, temporaryFolder } from "./testing/run-cli.ts";

// Four boots; a shared machine without KVM can be ten times slower than an idle one.
jest.setTimeout(600_000);

const cleanups: (() => void)[] = [];
let runtime = "";

beforeEach(() => {
  runtime = path.join(
    temporaryFolder((remove) => cleanups.push(remove)),
    "run",
  );
  mkdirSync(runtime, { mode: 0o700 });
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

async function run(args: readonly string[], extra: CliRun = {}): Promise<CliResult> {
  const cache = process.env["LOCKSTEP_CACHE"];
  return await lockstep(args, {
    limitMs: 500_000,
    ...extra,
    env: { XDG_RUNTIME_DIR: runtime, ...(cache !== undefined && { LOCKSTEP_CACHE: cache }) },
  });
}

/** QEMU processes whose control socket is in this test's runtime folder. */
function survivors(): string[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => {
      try {
        return readFileSync(path.join("/proc", pid, "cmdline"), "utf8").includes(runtime);
      } catch {
        return false;
      }
    });
}

test("exec passes output apart and byte for byte, and the exit code", async () => {
  const script = String.raw`printf '\000\377\r\n\033[2J'; printf 'err\r\n' >&2; exit 42`;
  const { code, stdout, stderr } = await run(["exec", "-q", "qemu-virt", "--", script]);
  expect([code, stderr]).toEqual([42, "err\r\n"]);
  expect(stdout).toEqual(Buffer.from("\u0000\u00FF\r\n\u001B[2J", "latin1"));
  expect(survivors()).toEqual([]);
});

test("console gives a U-Boot prompt, and both worlds on one screen", async () => {
  let seen = "";
  const { code, stdout } = await run(
    ["console", "qemu-virt", "--to", "bootloader", "--name", "all"],
    {
      keepStdin: true,
      with: (child) => {
        let asked = false;
        child.stdout?.on("data", (chunk: Buffer) => {
          seen += chunk.toString("latin1");
          if (!asked && seen.endsWith("=> ")) {
            asked = true;
            child.stdin?.write("echo answer ${arch}\r");
          }
          if (/\nanswer arm/.test(seen)) child.kill("SIGINT");
        });
      },
    },
  );
  expect(code).toBe(130);
  expect(stdout.toString("latin1")).toMatch(/U-Boot 20\d\d\.\d\d/);
  expect(stdout.toString("latin1")).toMatch(/^secure\| .*TC:/m);
  expect(survivors()).toEqual([]);
});

test("a board of one's own boots the files that it names, without SSH", async () => {
  const prepared = await run(["prepare", "qemu-virt", "--json"]);
  const { files, append } = JSON.parse(prepared.stdout.toString()) as {
    files: { bios: string; kernel: string; initrd: string };
    append: string;
  };
  const file = path.join(path.dirname(runtime), "own.yaml");
  const images = JSON.stringify({ ...files, append });
  writeFileSync(file, `type: qemu-virt\nimages: ${images}\nssh: none\nxtest: { over: console }\n`);
  const { code, stdout } = await run(["exec", "-q", file, "--", "echo $((6 * 7)); exit 3"]);
  expect([code, stdout.toString()]).toEqual([3, "42\n"]);
});

test("an interrupted boot exits 130 and leaves no QEMU behind", async () => {
  const { code, stderr } = await run(["boot", "qemu-virt"], {
    with: (child) => {
      child.stderr?.once("data", () => child.kill("SIGINT"));
    },
  });
  expect(code).toBe(130);
  expect(stderr).toMatch(/stopping, and leaving boards as their files say/);
  expect(survivors()).toEqual([]);
});
