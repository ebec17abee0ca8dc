import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { BoardFileError, describeError } from "../../base/index.ts";
import { type BoardConfig, checkBoardFile, loadBoard } from "../index.ts";

/** A made-up hardware unique key. */
const HUK = "8899aabbccddeeff0123456789abcdef";

let dir = "";

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-boards-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const search = (): { env: NodeJS.ProcessEnv; cwd: string } => ({ env: {}, cwd: dir });

function file(name: string, text: string): string {
  const full = path.join(dir, "boards", name);
  mkdirSync(path.dirname(full), { recursive: true });
  writeFileSync(full, text);
  return full;
}

const load = async (name: string): Promise<BoardConfig> => await loadBoard(name, search());

async function refusal(text: string): Promise<BoardFileError> {
  const error: unknown = await load(file("bad.yaml", text)).catch((thrown: unknown) => thrown);
  if (!(error instanceof BoardFileError)) throw new Error(`not refused: ${String(error)}`);
  return error;
}

const place = (error: BoardFileError): string => (error.where ?? "").replace(/^.*bad\.yaml/, "");

describe("the RPMB part", () => {
  test("of a board says nothing that its file does not say", async () => {
    file("b.yaml", "type: qemu-virt\nimage: qemu-virt\n");
    const board = await load("b");
    expect([board.lifeCycle, board.expendable, board.rpmb]).toEqual(["unknown", false, undefined]);
    file("b.yaml", "type: qemu-virt\nimage: qemu-virt\nrpmb: {}\n");
    expect((await load("b")).rpmb).toEqual({ optee: {} });
  });

  test("that Lockstep serves has the CID and size of the usual one unless told", async () => {
    file("b.yaml", "type: qemu-virt\nimage: qemu-virt\nrpmb: { part: emulated }\n");
    const usual = { cid: "fe014e4d4d4330344742c8f6552a6115", sizeMultiplier: 2 };
    expect((await load("b")).rpmb).toEqual({ emulated: usual, optee: {} });
    file("b.yaml", "type: qemu-virt\nimage: qemu-virt\nrpmb: { part: emulated, state: parts/b }\n");
    const { emulated } = (await load("b")).rpmb ?? {};
    expect(emulated?.state).toMatch(/^\/.*\/parts\/b$/);
  });

  test("and the unit's life cycle, with all that is known of its OP-TEE, and the type beneath", async () => {
    file(
      "types/t.yaml",
      "platform: hardware\nsoc: i.MX8M Plus\nconsoles: { c: { device: /dev/x } }\nrpmb: { device: /dev/mmcblk2rpmb, optee: { compat: false, huk: { env: HUK }, routing: kernel } }\n",
    );
    file(
      "b.yaml",
      "type: t\nlife_cycle: open\nrpmb:\n  cid: FE014E4D4D4330344742C8F6552A6115\n  optee: { huk: { file: keys/huk }, write_key: false, rpmb_emu: true }\n",
    );
    expect(await load("b")).toMatchObject({
      lifeCycle: "open",
      rpmb: {
        device: "/dev/mmcblk2rpmb",
        expectedCid: "fe014e4d4d4330344742c8f6552a6115",
        optee: {
          compat: false,
          huk: { file: path.join(dir, "boards/keys/huk") },
          writeKey: false,
          routing: "kernel",
          supplicantEmulation: true,
        },
      },
    });
  });
});

describe("what is refused, with line and column", () => {
  test.each<[string, string, string, RegExp]>([
    [
      "a life cycle that does not exist",
      "type: emulated\nlife_cycle: close\n",
      ":2:13",
      /one of open, closed, unknown; not "close".*Did you mean "closed"/,
    ],
    [
      "a part's path that is a command",
      "type: qemu-virt\nimage: x\nrpmb: { device: /dev/mmcblk2rpmb;reboot }\n",
      ":3:17",
      /`rpmb\.device` does not have the right form/,
    ],
    [
      "a part's path that leaves /dev",
      "type: qemu-virt\nimage: x\nrpmb: { device: /dev/../etc/passwd }\n",
      ":3:17",
      /\(e\.g\. \/dev\/mmcblk2rpmb\)/,
    ],
    [
      "a part at two places",
      "type: qemu-virt\nimage: x\nrpmb: { device: /dev/mmcblk2rpmb, part: emulated }\n",
      ":3:41",
      /`device` and `part` exclude each other/,
    ],
    [
      "a CID that is too short",
      "type: qemu-virt\nimage: x\nrpmb: { part: emulated, cid: fe014e }\n",
      ":3:30",
      /`rpmb\.cid` does not have the right form: "fe014e" \(e\.g\. "fe014e4d/,
    ],
    [
      "a CID that YAML takes for a number",
      "type: qemu-virt\nimage: x\nrpmb: { part: emulated, cid: 15010042453412340000000000000001 }\n",
      ":3:30",
      /must be a text, not the number .*\(e\.g\. "fe014e4d/,
    ],
    [
      "a CID of no part",
      "type: qemu-virt\nimage: x\nrpmb: { cid: fe014e4d4d4330344742c8f6552a6115 }\n",
      ":3:14",
      /belongs to a part that is not named/,
    ],
    [
      "a part that is larger than its addresses reach",
      "type: qemu-virt\nimage: x\nrpmb: { part: emulated, size_multiplier: 129 }\n",
      ":3:42",
      /must be <= 128/,
    ],
    [
      "the size of a real part",
      "type: qemu-virt\nimage: x\nrpmb: { device: /dev/mmcblk2rpmb, size_multiplier: 2 }\n",
      ":3:52",
      /tells its size itself/,
    ],
    [
      "a state file for a real part",
      "type: qemu-virt\nimage: x\nrpmb: { device: /dev/mmcblk2rpmb, state: parts/b }\n",
      ":3:42",
      /keeps its own/,
    ],
    [
      "a device of a board without Linux",
      "type: emulated\nrpmb: { device: /dev/mmcblk2rpmb }\n",
      ":2:17",
      /`device` means nothing on a board of platform emulated/,
    ],
    [
      "a write-key build behind the kernel's routing",
      "type: qemu-virt\nimage: x\nrpmb: { optee: { write_key: true, routing: kernel } }\n",
      ":3:44",
      /never probes the kernel's parts/,
    ],
  ])("%s", async (_what, text, where, message) => {
    const error = await refusal(text);
    expect([place(error), describeError(error)]).toEqual([where, expect.stringMatching(message)]);
    expect(describeError(error)).not.toMatch(/\n/);
  });

  test.each([
    ["in quotes", `huk: "${HUK}"`],
    ["in hex without quotes", `huk: 0x${HUK}`],
    ["in decimal digits", `huk: ${HUK.replaceAll(/[a-f]/g, "7")}`],
    ["in a list", `huk: ["${HUK}"]`],
  ])("a hardware unique key %s, without repeating it", async (_how, huk) => {
    const error = await refusal(`type: qemu-virt\nimage: x\nrpmb: { optee: { ${huk} } }\n`);
    const text = describeError(error);
    expect(text).toMatch(/a secret never stands in a board file/);
    expect(text).not.toContain(HUK.slice(0, 8));
    expect(place(error)).toBe(":3:23");
  });

  test("expendable and life cycle in a type file: they are of one unit", async () => {
    const type = "platform: emulated\nsoc: s\nexpendable: true\nlife_cycle: open\n";
    file("types/t.yaml", type);
    const problems = await checkBoardFile(file("b.yaml", "type: t\n"), search());
    expect(problems.map(({ line, message }) => [line, message])).toEqual([
      [3, "unknown key `expendable`"],
      [4, "unknown key `life_cycle`"],
    ]);
  });
});
