import { readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import {
  deriveRpmbKey,
  type EmmcRpmb,
  encodeFrames,
  intoKey,
  openRpmbState,
  RPMB_REQUEST,
  signFrames,
  zeroHuk,
} from "../../../rpmb/index.ts";
import { lockstepHere } from "../../testing/in-process.ts";
import { temporaryFolder } from "../../testing/run-cli.ts";
import type { DumpDocument } from "./dump-report.ts";

const CID = Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex");
const HUK = "00112233445566778899aabbccddeeff";
const ZERO = deriveRpmbKey(zeroHuk(), CID, { compat: true });
const OWN = deriveRpmbKey(intoKey(Buffer.from(HUK, "hex")), CID, { compat: true });

const cleanups: (() => void)[] = [];
let cwd = "";

beforeEach(() => {
  cwd = temporaryFolder((clean) => cleanups.push(clean));
});
afterEach(() => {
  for (const clean of cleanups.splice(0)) clean();
});

const part = (key = ZERO, create = {}): EmmcRpmb =>
  openRpmbState(path.join(cwd, "part.rpmb"), {
    create: { cid: CID, sizeMultiplier: 1, key, ...create },
  });

function write(device: EmmcRpmb, address: number, data: Uint8Array, key = ZERO): void {
  const type = RPMB_REQUEST.WRITE_DATA;
  const writeCounter = device.writeCounter;
  const frame = encodeFrames({ type, address, data, blockCount: 1, writeCounter });
  signFrames(key, frame);
  device.frames(frame, 1);
}

/** OP-TEE's storage with one file, as RPMB-5.6 has it. */
function withStorage(device: EmmcRpmb, key = ZERO): void {
  const first = Buffer.alloc(256);
  first.writeUInt32LE(0x5250_4d42, 0);
  first.writeUInt32LE(2, 4);
  first.writeUInt32LE(512, 12);
  write(device, 0, first, key);
  const entry = Buffer.alloc(256);
  entry.writeUInt32LE(0x1_f000, 0);
  entry.writeUInt32LE(1234, 4);
  entry.writeUInt32LE(1, 8);
  entry.write("/dirf.db.hash\u001B[2J", 32, "latin1");
  write(device, 2, entry, key);
  const last = Buffer.alloc(256);
  last.writeUInt32LE(2, 8);
  write(device, 3, last, key);
  device.close();
}

const dump = (...args: string[]) =>
  lockstepHere(["rpmb", "dump", "--image", "part.rpmb", ...args], { cwd });

async function document(...args: string[]): Promise<DumpDocument> {
  const { stdout, stderr } = await dump("--json", ...args);
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout) as DumpDocument;
}

test("shows the part, its key's route, the counter and OP-TEE's files, all of it verified", async () => {
  withStorage(part());
  expect(await document()).toMatchObject({
    part: { cid: CID.toString("hex"), bytes: 131_072, relWrSecC: 1 },
    key: { verdict: "proven", routes: ["zero-stub/compat"] },
    counter: { value: 3, authentic: true },
    authentic: true,
    storage: {
      version: 2,
      files: [{ name: "/dirf.db.hash\u001B[2J", size: 1234, start: 0x1_f000, flags: 1 }],
      freeEntries: 1,
    },
    problems: [],
  });
  const { code, stdout } = await dump();
  expect(code).toBe(0);
  expect(stdout).toMatch(/data +verified: MAC and nonce are right\n/);
  expect(stdout).toMatch(/1234 bytes at 126976 {2}\/dirf\.db\.hash/);
  expect(stdout).not.toContain("\u001B");
});

test("data of a part with an unknown key are marked unverified, and verified when its HUK is given", async () => {
  withStorage(part(OWN), OWN);
  const unknown = await document();
  expect(unknown).toMatchObject({ key: { verdict: "none of these", routes: [] }, problems: [] });
  expect(unknown.authentic).toBeUndefined();
  expect(unknown.storage?.files).toHaveLength(1);
  expect((await dump()).stdout).toMatch(/data +unverified: no known key checks them\n/);
  writeFileSync(path.join(cwd, "huk"), HUK, { mode: 0o600 });
  const known = await document("--huk", "@huk");
  expect(known).toMatchObject({ key: { verdict: "proven" }, authentic: true });
  expect(JSON.stringify(known)).not.toContain(HUK);
});

test("blocks come in hex, or all of them as a file that only its owner can read, which is never overwritten", async () => {
  const device = part();
  write(device, 511, Buffer.alloc(256, "lockstep"));
  device.close();
  const shown = await document("--blocks", "510+2");
  expect(shown.blocks).toMatchObject({ address: 510, count: 2 });
  expect(Buffer.from(shown.blocks?.hex ?? "", "hex").toString("latin1", 256, 264)).toBe("lockstep");
  expect((await dump("--blocks", "0x1ff")).stdout).toMatch(
    / {2}block 511\n {4}00 {2}6c 6f 63 6b .* {2}lockstep/,
  );
  const { code } = await dump("--raw", "all.bin");
  expect(code).toBe(0);
  const all = readFileSync(path.join(cwd, "all.bin"));
  expect([all.length, all.toString("latin1", 511 * 256, 511 * 256 + 8)]).toEqual([
    131_072,
    "lockstep",
  ]);
  expect(statSync(path.join(cwd, "all.bin")).mode & 0o777).toBe(0o600);
  const again = await dump("--raw", "all.bin");
  expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/all\.bin/)]);
});

test("blocks that are not there, and those of a blank part, are a problem that the exit code tells", async () => {
  part().close();
  const beyond = await dump("--blocks", "512", "--json");
  expect(beyond.code).toBe(1);
  expect((JSON.parse(beyond.stdout) as DumpDocument).problems).toEqual([
    "block 512 and those behind it: the part answers with result 0x0004 (address failure)",
  ]);
  for (const range of ["", "-1", "0+0", "65535+2", "1+x"]) {
    expect((await dump("--blocks", range)).code).toBe(2);
  }
});

test("a blank part has no data, and says so", async () => {
  openRpmbState(path.join(cwd, "part.rpmb"), { create: { cid: CID, sizeMultiplier: 1 } }).close();
  const blank = await document();
  expect(blank).toMatchObject({ key: { verdict: "none programmed" }, problems: [] });
  expect(blank.storage).toBeUndefined();
  const { code, stdout } = await dump("--blocks", "0");
  expect([code, stdout]).toEqual([1, expect.stringMatching(/problem: no key is programmed/)]);
});
