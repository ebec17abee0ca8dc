import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { boardProgram } from "../../../images/index.ts";
import {
  counterRequest,
  deriveRpmbKey,
  EmmcRpmb,
  encodeFrames,
  intoKey,
  openRpmbState,
  RPMB_REQUEST,
  rpmbTestKey,
  zeroHuk,
} from "../../../rpmb/index.ts";
import { type Desk, makeDesk, paragraph } from "../../testing/desk.ts";
import { lockstepHere } from "../../testing/in-process.ts";
import { noPty } from "../../testing/pty.ts";
import type { CliResult } from "../../testing/run-cli.ts";
import { noSshd, startSshd } from "../../testing/sshd.ts";
import {
  noTracer,
  startTracedPart,
  type TracedDevice,
  type TracedPart,
} from "../../testing/traced-part.ts";
import type { VerifyDocument } from "./verify-report.ts";

// Every case on a board starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const CID = Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex");
const HUK = "000102030405060708090a0b0c0d0e0f";
const ZERO = deriveRpmbKey(zeroHuk(), CID, { compat: true });
const FROM_HUK = deriveRpmbKey(intoKey(Buffer.from(HUK, "hex")), CID, { compat: false });

const cleanups: (() => void | Promise<void>)[] = [];
let desk: Desk;

beforeEach(() => {
  desk = makeDesk((clean) => cleanups.push(clean));
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

const reason = noPty() ?? noSshd() ?? noTracer();
const onBoard = reason === undefined ? test : test.skip;
const because = reason === undefined ? "" : ` (skipped: ${reason})`;

function image(options: Partial<ConstructorParameters<typeof EmmcRpmb>[0]>): string {
  const file = path.join(desk.cwd, "part.rpmb");
  openRpmbState(file, { create: { cid: CID, sizeMultiplier: 1, ...options } }).close();
  return file;
}

async function verifyImage(file: string, ...args: string[]) {
  const { code, stdout, stderr } = await lockstepHere(
    ["rpmb", "verify", "--image", file, "--json", ...args],
    { cwd: desk.cwd },
  );
  return { code, stderr, document: JSON.parse(stdout || "null") as VerifyDocument };
}

describe("on an image of a part", () => {
  test("names the route of the key, its id and the counter, and leaves the file as it is", async () => {
    const file = image({ key: ZERO, writeCounter: 12 });
    const before = readFileSync(file);
    const { code, document } = await verifyImage(file);
    expect(code).toBe(0);
    expect(document).toMatchObject({
      verdict: "proven",
      over: "image",
      routes: [{ name: "zero-stub/compat" }],
      counter: { value: 12, expired: false, authentic: true },
      part: { cid: CID.toString("hex"), bytes: 131_072 },
    });
    expect(document.keyId).toMatch(/^[0-9a-f]{16}$/);
    expect(readFileSync(file).equals(before)).toBe(true);
  });

  test("finds a key that was written from a given hardware unique key, by the name of its source", async () => {
    const file = image({ key: FROM_HUK });
    const huk = path.join(desk.cwd, "huk");
    writeFileSync(huk, HUK, { mode: 0o600 });
    const found = await verifyImage(file, "--huk", "caam-open=@huk");
    expect(found.document.routes).toMatchObject([{ name: "caam-open/non-compat" }]);
    const other = await verifyImage(
      file,
      "--huk",
      "caam-open=@huk",
      "--expect",
      "caam-open/compat",
    );
    expect([other.code, other.document.expected]).toEqual([
      1,
      { route: "caam-open/compat", from: "--expect", met: false },
    ]);
    expect((await verifyImage(file, "--huk", "@huk", "--expect", "given")).code).toBe(0);
    expect(JSON.stringify([found, other])).not.toContain(HUK);
  });

  test("opens a hardware unique key that age has encrypted", async () => {
    const { Encrypter, generateX25519Identity, identityToRecipient } =
      await import("age-encryption");
    const identity = await generateX25519Identity();
    const encrypter = new Encrypter();
    encrypter.addRecipient(await identityToRecipient(identity));
    const sealed = await encrypter.encrypt(Buffer.from(HUK, "hex"));
    writeFileSync(path.join(desk.cwd, "huk.age"), sealed, { mode: 0o600 });
    writeFileSync(path.join(desk.cwd, "id"), `# ours\n${identity}\n`, { mode: 0o600 });
    const file = image({ key: FROM_HUK });
    const { document } = await verifyImage(file, "--huk", "@huk.age", "--identity", "id");
    expect(document.routes).toMatchObject([{ name: "given/non-compat" }]);
    const closed = await verifyImage(file, "--huk", "@huk.age");
    expect([closed.code, closed.stderr]).toEqual([2, expect.stringMatching(/--identity/)]);
  });

  test("finds a key that is given in a file", async () => {
    const file = image({ key: rpmbTestKey(), writeCounter: 1 });
    const key = path.join(desk.cwd, "key");
    writeFileSync(key, rpmbTestKey().export(), { mode: 0o600 });
    const { document } = await verifyImage(file, "--key-file", "key");
    expect(document.routes.map(({ name }) => name)).toEqual(["key-file", "test-key"]);
  });

  test("fails for a key of none of the routes, and for none unless that is expected", async () => {
    const foreign = await verifyImage(image({ key: FROM_HUK }));
    expect([foreign.code, foreign.document.verdict]).toEqual([1, "none of these"]);
    expect(foreign.document.keyId).toBeUndefined();
  });

  test("says of a blank part what the part says, which fails unless it is expected", async () => {
    const file = image({});
    const blank = await verifyImage(file);
    expect([blank.code, blank.document.verdict]).toEqual([1, "none programmed"]);
    expect((await verifyImage(file, "--expect", "none-programmed")).code).toBe(0);
  });

  test("refuses what cannot be: an unknown route, a fixed source, an image and a board at once", async () => {
    const file = image({ key: ZERO });
    for (const [args, text] of [
      [["--expect", "caam-closed"], /not tried: "caam-closed"/],
      [["--huk", `zero-stub=${HUK}`], /takes no source "zero-stub"/],
      [["--huk", "0011"], /the HUK/],
      [["--board", "emulated"], /exclude each other/],
      [["--identity", "x"], /no --key-file/],
    ] as const) {
      const { code, stderr } = await verifyImage(file, ...args);
      expect([args, code]).toEqual([args, 2]);
      expect(stderr).toMatch(text);
    }
    const { code, stderr } = await verifyImage(path.join(desk.cwd, "nowhere"));
    expect([code, stderr]).toEqual([3, expect.stringMatching(/no such state file/)]);
  });

  test("is told to people in words, with the counter and what was tried", async () => {
    const file = image({ key: ZERO, writeCounter: 0xffff_ffff });
    const { stdout } = await lockstepHere(["rpmb", "verify", "--image", file]);
    expect(stdout).toMatch(/: the key is proven: zero-stub\/compat\n/);
    expect(stdout).toMatch(/counter +4294967295 \(expired: the part takes no write any more\)/);
    expect(stdout).toMatch(/tried +zero-stub\/compat, zero-stub\/non-compat, test-key\n/);
  });
});

const requestLine = (type: number): string =>
  `1 ${Buffer.from(encodeFrames({ type })).toString("hex")}\n`;

const serving =
  (emmc: EmmcRpmb): TracedDevice =>
  (request, count) =>
    emmc.frames(request, count);

/** Makes this host the board `desk`, with a part of ours in its kernel. */
async function board(device: TracedDevice): Promise<TracedPart> {
  const part = await startTracedPart(desk.cwd, device);
  cleanups.push(() => part.stop());
  const sshd = await startSshd(desk.cwd);
  cleanups.push(() => sshd.stop());
  const user = userInfo().username;
  await desk.hardware(
    ["sh", "-i"],
    `power: { driver: none }\nssh: { host: 127.0.0.1, port: ${sshd.port}, user: ${user}, key: { file: ${sshd.accepted} }, host_key: "${sshd.hostKey}" }\n`,
  );
  return part;
}

describe("on a board's Linux", () => {
  const asked: string[] = ["--device", "/dev/null", "--cid", CID.toString("hex")];

  async function verify(part: TracedPart, ...args: string[]): Promise<CliResult> {
    return await desk.run(["rpmb", "verify", "--board", "desk", "--json", ...asked, ...args], {
      env: part.env,
    });
  }

  onBoard(
    `our helper goes there, asks as Linux wants it, and is gone afterwards${because}`,
    async () => {
      const emmc = new EmmcRpmb({ cid: CID, sizeMultiplier: 2, key: ZERO, writeCounter: 5 });
      const part = await board(serving(emmc));
      const { code, stdout } = await verify(part);
      expect(code).toBe(0);
      expect(JSON.parse(stdout.toString())).toMatchObject({
        board: "desk",
        over: "helper",
        verdict: "proven",
        routes: [{ name: "zero-stub/compat" }],
        counter: { value: 5, authentic: true },
      });
      // CMD25 without the reliable-write flag, then CMD18; R1 and data on either bus; one frame each.
      const commands = [
        [1, 25, 0xb5, 512, 1],
        [0, 18, 0xb5, 512, 1],
      ];
      expect(part.seen).toEqual([{ type: RPMB_REQUEST.READ_COUNTER, commands }]);
      const once = part.helpers();
      expect([once.ran > 0, once.left]).toEqual([true, []]);
      const over = await verify(part, "--over", "console");
      expect([over.code, part.seen.length]).toEqual([0, 2]);
      const twice = part.helpers();
      expect([twice.ran > once.ran, twice.left]).toEqual([true, []]);
    },
  );

  onBoard(
    `an answer that was recorded before is no proof, and the exit code says so${because}`,
    async () => {
      const emmc = new EmmcRpmb({ cid: CID, sizeMultiplier: 1, key: ZERO });
      const old = emmc.frames(counterRequest(new Uint8Array(16)), 1);
      const part = await board(() => old);
      const { code, stdout } = await verify(part);
      const { verdict } = JSON.parse(stdout.toString()) as VerifyDocument;
      expect([code, verdict]).toEqual([6, "replayable"]);
    },
  );

  onBoard(`who may not is told so, and nothing stays behind${because}`, async () => {
    const part = await board(() => -1);
    const forbidden = await verify(part);
    expect([forbidden.code, paragraph(forbidden)]).toEqual([
      3,
      expect.stringMatching(/only root may talk to \/dev\/null.*CAP_SYS_RAWIO/s),
    ]);
    const { ran, left } = part.helpers();
    expect([ran > 0, left]).toEqual([true, []]);
  });

  onBoard(
    `the helper itself reads facts from sysfs and refuses every request that is no read${because}`,
    async () => {
      const part = await startTracedPart(desk.cwd, () => -1);
      cleanups.push(() => part.stop());
      const env = { ...process.env, ...desk.env, ...part.env };
      await boardProgram("lockstep-rpmb", { env, abort: new AbortController().signal });
      const sysfs = path.join(desk.cwd, "sysfs");
      mkdirSync(sysfs);
      writeFileSync(path.join(sysfs, "cid"), `${CID.toString("hex")}\n`);
      writeFileSync(path.join(sysfs, "raw_rpmb_size_mult"), "0x000002\n");
      const run = (input: string) =>
        spawnSync(part.native, ["/dev/null", sysfs], { input, encoding: "latin1" });
      const facts = `fact cid ${CID.toString("hex")}\nfact raw_rpmb_size_mult 0x000002\n`;
      expect(run("")).toMatchObject({ status: 0, stdout: `${facts}end\n` });
      for (const type of [0, 1, 3, 5, 6, 8, 0x0102, 0x0200, 0xffff]) {
        expect(run(requestLine(type))).toMatchObject({
          status: 2,
          stdout: `${facts}error refused ${type}\n`,
        });
      }
      // On a device that takes no MMC commands a read is the kernel's to refuse: ENOTTY.
      expect(run(requestLine(2)).stdout).toBe(`${facts}error ioctl 25\n`);
      for (const line of ["0 00", "257 00", "1", `1 ${"0".repeat(1023)}g`, "x".repeat(5000)]) {
        expect(run(`${line}\n`)).toMatchObject({ status: 1, stdout: `${facts}error line 0\n` });
      }
    },
  );
});
