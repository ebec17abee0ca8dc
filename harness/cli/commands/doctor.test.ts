import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { acquireBoardLock } from "../../run/index.ts";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void)[] = [];
let cwd = "";
let env: Record<string, string> = {};

beforeEach(() => {
  cwd = temporaryFolder((remove) => cleanups.push(remove));
  for (const dir of ["boards", "bin", "cache", "run"]) mkdirSync(path.join(cwd, dir));
  env = { LOCKSTEP_CACHE: path.join(cwd, "cache"), XDG_RUNTIME_DIR: path.join(cwd, "run") };
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

/** A program that answers as QEMU does. */
function fakeQemu(version: string, machines = "virt"): Record<string, string> {
  const file = path.join(cwd, "bin", "qemu-system-aarch64");
  const script = `#!/bin/sh
case "$*" in
  --version) echo "QEMU emulator version ${version} (Debian)" ;;
  *"-cpu help") printf 'Available CPUs:\\n  cortex-a53\\n  max\\n' ;;
  *"-machine help") printf 'Supported machines are:\\n${machines}   a machine\\n' ;;
esac
`;
  writeFileSync(file, script, { mode: 0o755 });
  return { ...env, PATH: `${path.join(cwd, "bin")}:/usr/bin:/bin` };
}

interface Report {
  readonly ok: boolean;
  readonly checks: readonly { status: string; what: string; detail: string; mend?: string }[];
}

async function doctor(
  args: string[],
  run: Record<string, string>,
): Promise<{ code: number | null; report: Report; of: (what: string) => string }> {
  const { code, stdout } = await lockstep(["doctor", ...args, "--json"], { cwd, env: run });
  const report = JSON.parse(stdout.toString()) as Report;
  const of = (what: string): string => {
    const check = report.checks.find((one) => one.what === what);
    return check === undefined ? "" : [check.status, check.detail, check.mend ?? ""].join("; ");
  };
  return { code, report, of };
}

test("a host without QEMU is fine for the emulated platform and not for a QEMU board", async () => {
  const bare = { ...env, PATH: path.join(cwd, "bin") };
  const host = await doctor([], bare);
  expect([host.code, host.report.ok]).toEqual([0, true]);
  expect(host.of("QEMU")).toMatch(/^warn; .*not installed; sudo apt-get install .*qemu-system-arm/);
  expect((await doctor(["emulated"], bare)).code).toBe(0);

  const board = await doctor(["qemu-virt"], bare);
  expect([board.code, board.report.ok]).toEqual([3, false]);
  expect(board.of("QEMU")).toMatch(/^bad; /);
  expect(board.of("image")).toMatch(/^bad; .*not prepared; lockstep prepare qemu-virt/);
});

test("QEMU must be 7.2 or newer and have the board's machine and CPU", async () => {
  expect((await doctor(["qemu-virt"], fakeQemu("6.2.0"))).of("QEMU")).toMatch(
    /^bad; .*older than 7\.2/,
  );
  const good = await doctor(["qemu-virt"], fakeQemu("7.2.1"));
  expect(good.of("QEMU")).toMatch(/^ok; qemu-system-aarch64 7\.2\.1/);
  expect(good.of("machine")).toBe("ok; virt with cortex-a53; ");
  expect((await doctor(["qemu-virt"], fakeQemu("10.0.2", "vexpress"))).of("machine")).toMatch(
    /^bad; .*no machine "virt"/,
  );
  writeFileSync(
    path.join(cwd, "boards", "m.yaml"),
    "type: qemu-virt\nimage: qemu-virt\nqemu: { cpu: z80 }\n",
  );
  expect((await doctor(["m"], fakeQemu("10.0.2"))).of("machine")).toMatch(/^bad; .*no CPU "z80"/);
});

test("a hardware board's device, power program, key and variable are looked at", async () => {
  mkdirSync(path.join(cwd, "boards", "types"));
  writeFileSync(path.join(cwd, "boards", "types", "hw.yaml"), "platform: hardware\nsoc: s\n");
  writeFileSync(
    path.join(cwd, "boards", "desk.yaml"),
    `type: hw
consoles:
  normal: { device: /dev/ttyUSB99, primary: true }
  secure: { device: ./desk.yaml }
power: { driver: command, on: no-such-pdu on, off: no-such-pdu off }
ssh: { host: h, key: { file: nokey } }
boot: { linux: { password: { env: NO_SUCH_VARIABLE } } }
`,
  );
  const { code, of } = await doctor(["desk"], env);
  expect(code).toBe(2);
  expect(of("console normal")).toMatch(/^bad; \/dev\/ttyUSB99 is not there; Plug/);
  expect(of("console secure")).toMatch(/^bad; .*is no serial device/);
  expect(of("power")).toMatch(/^warn; the program "no-such-pdu" is not found/);
  expect(of("file")).toMatch(/^bad; .*desk\.yaml:6:30: .*nokey: no such file/);
  expect(of("boot.linux.password")).toMatch(
    /^bad; the variable NO_SUCH_VARIABLE is not set; export/,
  );
});

test("the holder of a board is named", async () => {
  const runtimeDir = path.join(cwd, "run", "lockstep");
  const lock = await acquireBoardLock("emulated", { runtimeDir, command: "lockstep test" });
  try {
    const { code, of } = await doctor(["emulated"], env);
    expect([code, of("lock")]).toEqual([
      0,
      expect.stringMatching(/^warn; in use: process \d+ \(lockstep test\)/),
    ]);
  } finally {
    await lock.release();
  }
  expect((await doctor(["emulated"], env)).of("lock")).toMatch(/^ok; the board is free/);
});

test("a broken board file is found without being named, and asks for exit code 2", async () => {
  writeFileSync(path.join(cwd, "boards", "bad.yaml"), "type: emulated\nfoo: 1\n");
  const { code, of } = await doctor([], fakeQemu("8.0.0"));
  expect([code, of("board bad")]).toEqual([
    2,
    expect.stringMatching(/bad\.yaml:2:1: unknown key `foo`; lockstep boards check/),
  ]);
});

test("people get one line a check, and looking changes nothing", async () => {
  const { code, stdout, stderr } = await lockstep(["doctor", "qemu-virt"], {
    cwd,
    env: { ...env, PATH: path.join(cwd, "bin") },
  });
  expect([code, stderr]).toEqual([3, ""]);
  expect(stdout.toString()).toMatch(/^ok {4}Node: \d/);
  expect(stdout.toString()).toMatch(/^bad {3}QEMU: .*\n {6}mend: sudo apt-get install/m);
  expect(readdirSync(path.join(cwd, "run"))).toEqual([]);
});
