import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void)[] = [];
let cwd = "";

beforeEach(() => {
  cwd = temporaryFolder((remove) => cleanups.push(remove));
  mkdirSync(path.join(cwd, "boards"));
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

test("a call by name, in any case and with its prefix, and what the answer means", async () => {
  for (const name of ["EXCHANGE_CAPABILITIES", "optee_smc_exchange_capabilities", "0xb2000009"]) {
    const { code, stdout } = await lockstep(["smc", "emulated", name], { cwd });
    expect(code).toBe(0);
    expect(stdout.toString()).toBe(
      "EXCHANGE_CAPABILITIES (0xb2000009)\n" +
        "  x0..x3 0x0 0xf5 0x42 0x4   OK: HAVE_RESERVED_SHM DYNAMIC_SHM MEMREF_NULL ASYNC_NOTIF RPC_ARG RPMB_PROBE\n",
    );
  }
});

test("several calls from stdin, with comments, as JSON", async () => {
  const { code, stdout } = await lockstep(["smc", "emulated", "-", "--json"], {
    cwd,
    input:
      "# what is there?\nCALLS_UID 1 2 3 4 5\n\nEXCHANGE_CAPABILITIES 0xffff # refused\n0xb2001234\n",
  });
  expect(code).toBe(0);
  expect(JSON.parse(stdout.toString())).toEqual([
    {
      fid: "0xbf00ff01",
      name: "CALLS_UID",
      sent: ["0x1", "0x2", "0x3", "0x4", "0x5"],
      x: ["0x384fb3e0", "0xe7f811e3", "0xaf630002", "0xa5d5c51b", "0x4", "0x5", "0x0", "0x0"],
      meaning: "384fb3e0-e7f8-11e3-af63-0002a5d5c51b",
    },
    {
      fid: "0xb2000009",
      name: "EXCHANGE_CAPABILITIES",
      sent: ["0xffff"],
      x: ["0x7", "0xffff", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0"],
      meaning: "ENOTAVAIL",
    },
    {
      fid: "0xb2001234",
      sent: [],
      x: ["0xffffffff", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0"],
      meaning: "UNKNOWN_FUNCTION",
    },
  ]);
});

test.each([
  [["EXCHANGE_CAPABILITES"], /did you mean "EXCHANGE_CAPABILITIES"\?/],
  [["0x1b2000009"], /is no SMC function identifier/],
  [["CALLS_UID", "one"], /x1 is not a 64-bit number: "one"/],
  [["CALLS_UID", "0x10000000000000000"], /x1 is not a 64-bit number/],
  [["CALLS_UID", "1", "2", "3", "4", "5", "6", "7", "8"], /at most seven registers/],
  [["-", "1"], /the registers stand on stdin/],
  [["-"], /there is no call on stdin/],
] as const)("%j is a usage error", async (words, message) => {
  const { code, stdout, stderr } = await lockstep(["smc", "emulated", ...words], { cwd });
  expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
});

test("a bad line on stdin is named before any call is made", async () => {
  const { code, stdout, stderr } = await lockstep(["smc", "emulated", "-"], {
    cwd,
    input: "CALLS_UID\nCALLS_REVISIN\n",
  });
  expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(/stdin, line 2: "CALLS_REVISIN" .*did you mean "CALLS_REVISION"\?/);
});

const HARDWARE = `
consoles: { normal: { device: /dev/null } }
power: { driver: none }
`;

test("a SoC's own call is refused unless the unit is expendable and confirmed by name", async () => {
  mkdirSync(path.join(cwd, "boards", "types"));
  writeFileSync(
    path.join(cwd, "boards", "types", "evk.yaml"),
    `platform: hardware\nsoc: i.MX8M Plus\n${HARDWARE}`,
  );
  const unit = (name: string, text: string): void =>
    writeFileSync(path.join(cwd, "boards", `${name}.yaml`), `type: evk\n${text}`);
  unit("kept", "");
  unit("spare", "expendable: true\n");
  for (const args of [
    ["kept"],
    ["kept", "--confirm", "kept"],
    ["spare"],
    ["spare", "--confirm", "kept"],
  ]) {
    const [board = "", ...flags] = args;
    const { code, stderr } = await lockstep(["smc", board, "0xc2000000", ...flags], { cwd });
    expect(code).toBe(2);
    expect(stderr).toMatch(/such calls can blow fuses\. expected: a board that its file marks/);
  }
  // Let through, it fails for the next reason.
  const allowed = await lockstep(["smc", "spare", "0xc2000000", "--confirm", "spare"], { cwd });
  expect(allowed.code).toBe(2);
  expect(allowed.stderr).toMatch(/does not say which RAM is free.*Add `bridge: \{ free_ram:/);
});

test("a port that is not there is not waited for where nothing switches the board", async () => {
  mkdirSync(path.join(cwd, "boards", "types"), { recursive: true });
  writeFileSync(
    path.join(cwd, "boards", "types", "cable.yaml"),
    `platform: hardware
soc: i.MX8M Plus
consoles: { normal: { device: /dev/serial/by-path/none } }
power: { driver: none }
boot: { bootloader: { prompt: "=> $" } }
bridge: { free_ram: { base: 0x60000000, size: 64MiB } }
`,
  );
  const file = path.join(cwd, "boards", "unplugged.yaml");
  writeFileSync(file, "type: cable\nssh: none\nxtest: none\n");
  const { code, stderr } = await lockstep(["smc", "unplugged", "CALLS_UID"], { cwd });
  expect(stderr).toContain("console normal of board unplugged is not there");
  expect(code).toBe(3);
});
