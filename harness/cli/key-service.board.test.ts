import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Deadline, silentProgress } from "../base/index.ts";
import { type LiveBoard, loadBoard, openBoard, readSecret } from "../board/index.ts";
import { findPrepared } from "../images/index.ts";
import { KEY_CLIENT, parseKeyClient } from "../provision/index.ts";
import { deriveRpmbKey, intoKey, keyId, rpmbKeyFrom, zeroHuk } from "../rpmb/index.ts";
import { ServedPart } from "./served-part.ts";

/** A board with Lockstep's key-read service, whose image was prepared. */
const NAME = process.env["LOCKSTEP_TEST_KEY_BOARD"] ?? "";
const withBoard = NAME === "" ? test.skip : test;
const why = NAME === "" ? " (skipped: LOCKSTEP_TEST_KEY_BOARD names no board)" : "";
const TIMEOUT = 600_000;

/** The emulated card, another part, and that one with another revision and checksum. */
const CIDS = [
  "fe014e4d4d4330344742c8f6552a6115",
  "150100424a5444345203a1b2c3d4c59b",
  "150100424a5444345207a1b2c3d4c541",
];
/** Every user may open the device, so that it is the service that refuses; `nobody` is user 7. */
const AS_NOBODY = `chmod 666 /dev/tee0; echo nobody:x:7:7::/:/bin/sh >>/etc/passwd; busybox su nobody -c`;

let dir = "";
let board: LiveBoard | undefined;
let served: ServedPart | undefined;
let derive: (cid: string) => string = () => "";
const consoles = new Map<string, Buffer[]>();

const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the test");

beforeAll(async () => {
  if (NAME === "") return;
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-key-"));
  const config = await loadBoard(NAME, { env: {} });
  const { emulated, optee } = config.rpmb ?? {};
  const prepared = await findPrepared(config.image ?? "", process.env);
  if (emulated === undefined || prepared === undefined) throw new Error(`${NAME} is not prepared`);
  const huk =
    typeof optee?.huk === "object"
      ? intoKey(Uint8Array.from(Buffer.from(await readSecret(optee.huk, config.file), "hex")))
      : zeroHuk();
  const compat = optee?.compat ?? true;
  derive = (cid) => keyId(deriveRpmbKey(huk, Buffer.from(cid, "hex"), { compat }));
  served = new ServedPart(emulated);
  board = await openBoard(config, {
    observer: {
      raw: (name, bytes) => {
        consoles.set(name, [...(consoles.get(name) ?? []), Buffer.from(bytes)]);
      },
      line: () => {},
      stageStart: () => {},
      stageEnd: () => {},
    },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared,
    guestPort: served,
  });
  await board.transition("tee-ready", soon());
}, TIMEOUT);

afterAll(async () => {
  await board?.close();
  if (dir !== "") await rm(dir, { recursive: true });
}, TIMEOUT);

async function sh(
  command: string,
): Promise<{ stdout: Uint8Array; stderr: string; exitCode: number | undefined }> {
  const done = await board?.command("ssh").exec(command, soon());
  if (done === undefined) throw new Error("the board is not open");
  const { stdout, stderr, exitCode } = done;
  return { stdout: Uint8Array.from(stdout), stderr: Buffer.from(stderr).toString(), exitCode };
}

withBoard(
  `RPMB-3.1: the key that the service reads out is the derived one, for every part${why}`,
  async () => {
    const before = keyOnConsoles();
    for (const cid of CIDS) {
      const { stdout, stderr, exitCode } = await sh(`${KEY_CLIENT.program} ${cid}`);
      expect([stderr, exitCode]).toEqual(["", 0]);
      expect([cid, keyId(parseKeyClient(stdout, cid))]).toEqual([cid, derive(cid)]);
    }
    expect(keyOnConsoles()).toBe(before);
    expect(served?.part?.keyProgrammed).toBe(false);
  },
  TIMEOUT,
);

withBoard(
  `nobody but root is told a key, and what is no CID is refused before OP-TEE is asked${why}`,
  async () => {
    const nobody = await sh(`${AS_NOBODY} '${KEY_CLIENT.program} ${CIDS[0]}'`);
    expect(nobody).toMatchObject({ exitCode: KEY_CLIENT.exit.refused });
    expect(nobody.stderr).toMatch(/refuses a session with 0xffff0001\n$/);
    expect(nobody.stdout).toHaveLength(0);
    for (const wrong of ["", "00", `${CIDS[0]}00`, CIDS[0]?.toUpperCase(), `${CIDS[0]} 1`, "-"]) {
      const { stdout, exitCode } = await sh(`${KEY_CLIENT.program} ${wrong}`);
      expect([wrong, exitCode, stdout.length]).toEqual([wrong, KEY_CLIENT.exit.usage, 0]);
    }
  },
  TIMEOUT,
);

withBoard(
  `RPMB-5.2.NOT_PROGRAMMED: it is the key that OP-TEE then writes into the part${why}`,
  async () => {
    const [cid = ""] = CIDS;
    const { stdout } = await sh(`${KEY_CLIENT.program} ${cid}`);
    const read = keyId(parseKeyClient(stdout, cid));
    expect((await sh("xtest 6001")).exitCode).toBe(0);
    const { key } = served?.part?.snapshot() ?? {};
    expect(key === undefined ? undefined : keyId(key)).toBe(read);
  },
  TIMEOUT,
);

/** How often 32 octets in hex that are one of the keys stand on a console. */
function keyOnConsoles(): number {
  const ids = new Set(CIDS.map((cid) => derive(cid)));
  const text = [...consoles.values()].map((chunks) => Buffer.concat(chunks).toString("latin1"));
  const runs = text.flatMap((one) => one.replaceAll(/[ \r\n]/g, "").match(/[0-9a-f]{64}/gi) ?? []);
  return runs.filter((hex) => ids.has(keyId(rpmbKeyFrom(Buffer.from(hex, "hex"))))).length;
}
