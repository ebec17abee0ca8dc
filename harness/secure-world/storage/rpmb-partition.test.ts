import { expect, test } from "@jest/globals";
import { TEEC } from "../../optee-abi/index.ts";
import {
  deriveRpmbKey,
  EmmcRpmb,
  type EmmcRpmbOptions,
  FRAME,
  encodeFrames,
  fieldOf,
  intoKey,
  type RpmbDevice,
  rpmbTestKey,
  setNumber,
  signFrames,
  SUPPLICANT_CID,
  SupplicantRpmb,
  zeroHuk,
} from "../../rpmb/index.ts";
import { OPTEE_4_10, type OpteeBuild } from "../build.ts";
import { TEE_DATA_FLAG, TEE_STORAGE, type TeeApi } from "../tas/index.ts";
import { rpmbTrace } from "../testkit/rpmb-trace.ts";
import { StorageKit, type StorageKitOptions } from "../testkit/storage-kit.ts";
import type { SecureTask } from "../thread.ts";

/** Storage in RPMB and nowhere else: what comes of it is what comes of loading a TA. */
const BUILD: OpteeBuild = { ...OPTEE_4_10, reeFs: false, rpmbFs: true };
const WRITE_KEY: OpteeBuild = { ...BUILD, rpmbWriteKey: true };
const KEY = deriveRpmbKey(zeroHuk(), SUPPLICANT_CID, { compat: true });
const OTHER_CID = Uint8Array.from(Buffer.from("150100424a5444345203a1b2c3d4c59b", "hex"));

const part = (options: Partial<EmmcRpmbOptions> = {}): EmmcRpmb =>
  new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1, key: KEY, ...options });
const blank = (cid = SUPPLICANT_CID): EmmcRpmb => new EmmcRpmb({ cid, sizeMultiplier: 1 });

const kitOf = (devices: readonly RpmbDevice[], options: StorageKitOptions = {}): StorageKit =>
  new StorageKit({ build: BUILD, devices, ...options });
const trace = (kit: StorageKit): string => rpmbTrace(kit.kit.rpmb).join(" ");
const load = (kit: StorageKit): number => kit.attempt(function* () {}).ret;

test("RPMB-5.1.2, RPMB-5.5.PROVISIONED, RPMB-5.5.DUMMY_WRITE: through the kernel a part with the right key needs no device information, and one counter read", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(load(kit)).toBe(0);
  expect(trace(kit).slice(0, 40)).toBe("counter r1@0 w1@0 r1@0 w1@2 r1@0 w1@0 r8");
  // Every boot that touches storage takes a counter value at least.
  const counter = device.writeCounter;
  const again = kit.reboot();
  expect(load(again)).toBe(0);
  expect(trace(again)).toMatch(/^counter r1@0 w1@0 r1@0 r8@2/);
  expect(device.writeCounter).toBe(counter + 1);
});

test.each([
  ["the normal world does not know the request", TEEC.TEEC_ERROR_NOT_SUPPORTED],
  ["it has it not implemented", TEEC.TEEC_ERROR_NOT_IMPLEMENTED],
])("RPMB-5.1.2: where %s, requests go through the supplicant", (_why, code) => {
  const kit = kitOf([part()], { kernelRouting: false });
  kit.kit.onCommand = (message, secure, at) => {
    if (message.cmd !== 22) return false;
    secure.reply(message, at, code);
    return true;
  };
  expect(load(kit)).toBe(0);
  expect(trace(kit)).toMatch(/^info counter r1@0 w1@0/);
});

/** What comes of a probe that is answered BUSY, and how often it was asked. */
function answered(build: OpteeBuild): { ret: number; asked: number } {
  const kit = kitOf([part()], { build });
  let asked = 0;
  kit.kit.onCommand = (message, secure, at) => {
    if (message.cmd !== 22) return false;
    asked += 1;
    secure.reply(message, at, TEEC.TEEC_ERROR_BUSY);
    return true;
  };
  return { ret: load(kit), asked };
}

test("RPMB-5.1.2, RPMB-4.WRITE_KEY: any other answer to the probe is the result, and a build that writes keys never asks", () => {
  expect(answered(BUILD)).toEqual({ ret: TEEC.TEEC_ERROR_BUSY, asked: 1 });
  expect(answered(WRITE_KEY)).toEqual({ ret: 0, asked: 0 });
});

test("RPMB-5.1.3: parts that are blank or have another key are passed over and left as they are", () => {
  const other = part({ cid: OTHER_CID });
  const none = blank(OTHER_CID);
  const right = part();
  expect(load(kitOf([none, other, right]))).toBe(0);
  expect([none.keyProgrammed, other.writeCounter]).toEqual([false, 0]);
  expect(right.writeCounter).toBeGreaterThan(0);
  expect(load(kitOf([none, other]))).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  expect(load(kitOf([]))).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
});

test("RPMB-5.1.3: a size of 0 or beyond 16 MiB, and a part that is no eMMC", () => {
  const sized = (sizeMultiplier: number): RpmbDevice => {
    const real = part();
    const { cid, relWrSecC } = real;
    return { cid, relWrSecC, sizeMultiplier, frames: (a, b) => real.frames(a, b) };
  };
  for (const size of [0, 129, 255]) expect(load(kitOf([sized(size), part()]))).toBe(0);
  const legacy = { kernelRouting: false };
  expect(load(kitOf([sized(0)], legacy))).toBe(TEEC.TEEC_ERROR_GENERIC);
  expect(load(kitOf([sized(129)], legacy))).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  const kit = kitOf([part()]);
  kit.kit.onCommand = (message, secure, at) => {
    if (message.cmd !== 23) return false;
    const [first, ...rest] = message.params;
    if (first === undefined) return false;
    secure.reply({ ...message, params: [{ ...first, a: 1n }, ...rest] }, at, 0);
    return true;
  };
  expect(load(kit)).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
});

test("RPMB-5.2.NOT_PROGRAMMED, RPMB-5.2.ONCE, RPMB-3.2.WHEN: a blank part is programmed by a build that may, and only when the platform is ready", () => {
  const legacy = { kernelRouting: false };
  const locked = blank();
  expect(load(kitOf([locked], legacy))).toBe(TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE);
  expect(locked.keyProgrammed).toBe(false);
  let ready = false;
  const device = blank();
  const kit = kitOf([device], { build: WRITE_KEY, core: { rpmbKeyReady: () => ready } });
  expect(load(kit)).toBe(TEEC.TEEC_ERROR_BAD_STATE);
  expect([device.keyProgrammed, trace(kit)]).toEqual([false, "info counter"]);
  ready = true;
  expect(load(kit)).toBe(0);
  // Size and key are known by now; the key is verified when it is written, and at the next access.
  expect(trace(kit)).toMatch(/^counter key counter r1@0 counter w1@0 r1@0 w1@2/);
  expect(device.keyProgrammed).toBe(true);
  expect(load(kitOf([device]))).toBe(0);
});

test("RPMB-5.2.OTHER, RPMB-3.1, RPMB-4.TESTKEY, RPMB-4.SUBKEY_COMPAT: the key depends on HUK, CID and build, and a wrong one is a MAC failure", () => {
  const huk = intoKey(new Uint8Array(16).fill(1));
  const builds: [OpteeBuild, StorageKitOptions["core"]][] = [
    [WRITE_KEY, {}],
    [WRITE_KEY, { huk }],
    [{ ...WRITE_KEY, hukSubkeyCompat: false }, {}],
    [{ ...WRITE_KEY, rpmbTestKey: true }, {}],
  ];
  const programmed = builds.map(([build, core = {}]) => {
    const device = blank();
    expect(load(kitOf([device], { build, core }))).toBe(0);
    return device;
  });
  for (const [made, device] of programmed.entries()) {
    for (const [used, [build, core = {}]] of builds.entries()) {
      const ret = load(kitOf([device.copy()], { build, core }));
      expect([made, used, ret]).toEqual([made, used, made === used ? 0 : TEEC.TEEC_ERROR_SECURITY]);
    }
  }
  const published = part({ key: rpmbTestKey(), cid: OTHER_CID });
  expect(load(kitOf([published], { build: { ...BUILD, rpmbTestKey: true } }))).toBe(0);
});

test("RPMB-3.6: before 3.6 every build derives its key without a usage word", () => {
  const device = blank();
  const build = { ...WRITE_KEY, version: { major: 3, minor: 5 }, hukSubkeyCompat: false };
  expect(load(kitOf([device], { build, kernelRouting: false }))).toBe(0);
  const compat = { ...WRITE_KEY, hukSubkeyCompat: true };
  expect(load(kitOf([device], { build: compat, kernelRouting: false }))).toBe(0);
  const later = { ...build, version: { major: 3, minor: 6 } };
  expect(load(kitOf([device], { build: later, kernelRouting: false }))).toBe(
    TEEC.TEEC_ERROR_SECURITY,
  );
});

const NAME = new TextEncoder().encode("object");
const ALL =
  TEE_DATA_FLAG.ACCESS_READ | TEE_DATA_FLAG.ACCESS_WRITE | TEE_DATA_FLAG.ACCESS_WRITE_META;

function* create({ storage }: TeeApi): SecureTask<number> {
  const made = yield* storage.create(TEE_STORAGE.PRIVATE_RPMB, NAME, ALL, 0, new Uint8Array(600));
  yield* storage.close(made.value);
  return made.result;
}

const WRITES = 0x0300;
const isWriteAnswer = (answer: Uint8Array): boolean =>
  Buffer.from(fieldOf(answer, FRAME.type)).readUInt16BE() === WRITES;

test("RPMB-5.4: a write that fails in the part is tried again with the same content", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(load(kit)).toBe(0);
  trace(kit);
  device.failingWrites = 9;
  expect(kit.run(create)).toBe(0);
  const writes = trace(kit)
    .split(" ")
    .filter((one) => one.startsWith("w"));
  expect(new Set(writes.slice(0, 10))).toEqual(new Set([writes[0]]));
});

test("RPMB-5.4, RPMB-5.1.1: after ten attempts the TA panics and the partition is not touched before the next boot", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(load(kit)).toBe(0);
  device.failingWrites = 10;
  expect(kit.attempt(create).ret).toBe(TEEC.TEEC_ERROR_TARGET_DEAD);
  trace(kit);
  expect(load(kit)).toBe(TEEC.TEEC_ERROR_COMMUNICATION);
  expect(trace(kit)).toBe("");
  const later = kit.reboot();
  expect(later.run(create)).toBe(0);
});

test("RPMB-5.3.4, RPMB-5.4: the counter of an answer that cannot be right is used for the next attempt", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(load(kit)).toBe(0);
  const counters: number[] = [];
  const before = device.writeCounter;
  let lies = 1;
  kit.kit.rpmb.tamper = (answer, request) => {
    if (!isWriteAnswer(answer)) return answer;
    counters.push(Buffer.from(fieldOf(request, FRAME.writeCounter)).readUInt32BE());
    if (lies === 0) return answer;
    lies -= 1;
    const changed = answer.slice();
    setNumber(changed, FRAME.writeCounter, 77);
    return changed;
  };
  // The lie costs one attempt with counter 77, whose refusal has no counter to learn from.
  expect(kit.attempt(create).ret).toBe(TEEC.TEEC_ERROR_TARGET_DEAD);
  expect(counters).toEqual([before, ...Array.from({ length: 9 }, () => 77)]);
});

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
}

test.each<[string, number, (answer: Uint8Array) => void]>([
  ["another nonce", TEEC.TEEC_ERROR_SECURITY, (answer) => flip(answer, FRAME.nonce.offset + 0)],
  ["other data", TEEC.TEEC_ERROR_SECURITY, (answer) => flip(answer, FRAME.data.offset + 0)],
  ["another MAC", TEEC.TEEC_ERROR_SECURITY, (answer) => flip(answer, FRAME.keyMac.offset + 31)],
  ["another address", TEEC.TEEC_ERROR_GENERIC, (answer) => setNumber(answer, FRAME.address, 9)],
  ["another type", TEEC.TEEC_ERROR_GENERIC, (answer) => setNumber(answer, FRAME.type, 0x300)],
  ["a failure", TEEC.TEEC_ERROR_GENERIC, (answer) => setNumber(answer, FRAME.result, 6)],
  ["no key", TEEC.TEEC_ERROR_ITEM_NOT_FOUND, (answer) => setNumber(answer, FRAME.result, 7)],
])(
  "RPMB-5.3.1, RPMB-5.3.2, RPMB-5.3.3, RPMB-5.3.5, RPMB-5.3.6: an answer to a read with %s is %d",
  (_what, code, change) => {
    const kit = kitOf([part()]);
    kit.kit.rpmb.tamper = (answer, request) => {
      if (Buffer.from(fieldOf(request, FRAME.type)).readUInt16BE() !== 4) return answer;
      const changed = answer.slice();
      change(changed);
      return changed;
    };
    expect(load(kit)).toBe(code);
  },
);

test("RPMB-5.3.1: that the counter expired is not noticed in a read", () => {
  const kit = kitOf([part({ writeCounter: 0xffff_ffff })]);
  // Reads go well; the first write ends as ten failures.
  expect(load(kit)).toBe(TEEC.TEEC_ERROR_COMMUNICATION);
  expect(trace(kit)).toBe(`counter r1@0 ${Array.from({ length: 10 }, () => "w1@0").join(" ")}`);
});

test("an old answer that is played again is refused, and an old write that was held up does nothing", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(kit.run(create)).toBe(0);
  const reads = new Map<string, Uint8Array>();
  const later = kit.reboot();
  later.kit.rpmb.tamper = (answer, request) => {
    const key = `${Buffer.from(fieldOf(request, FRAME.type)).toString("hex")} ${answer.length}`;
    const old = reads.get(key);
    if (old === undefined) reads.set(key, answer.slice());
    return isWriteAnswer(answer) ? answer : (old ?? answer);
  };
  expect(load(later)).toBe(TEEC.TEEC_ERROR_SECURITY);
  const writes = kit.kit.rpmb.requests.filter(({ frames }) => frames[511] === 3);
  const before = device.image();
  for (const { frames } of writes) device.frames(frames, 1);
  expect(Buffer.from(device.image()).equals(before)).toBe(true);
});

function* openIt({ storage }: TeeApi): SecureTask<number> {
  return (yield* storage.open(TEE_STORAGE.PRIVATE_RPMB, NAME, TEE_DATA_FLAG.ACCESS_READ)).result;
}

test("RPMB-5.6.VERSION, RPMB-5.6.PARTITION_DATA, RPMB-4.RESET_FAT: another version is refused, and a reset build makes an empty FAT", () => {
  const device = part();
  const kit = kitOf([device]);
  expect(kit.run(create)).toBe(0);
  expect(kit.reboot().run(openIt)).toBe(0);
  const reset = kit.reboot({ build: { ...BUILD, rpmbResetFat: true } });
  expect(reset.run(openIt)).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  const data = device.image().slice(0, 256);
  expect([...data.subarray(0, 16)]).toEqual([
    0x42, 0x4d, 0x50, 0x52, 2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,
  ]);
  data[4] = 3;
  const { writeCounter } = device;
  const request = encodeFrames({ type: 3, data, blockCount: 1, writeCounter });
  signFrames(KEY, request);
  device.frames(request, 1);
  expect(load(kit.reboot())).toBe(TEEC.TEEC_ERROR_ACCESS_DENIED);
});

test("RPMB-6.2.STATE: the supplicant's own card serves storage as well, and forgets it with its process", () => {
  const kit = kitOf([new SupplicantRpmb()], { build: WRITE_KEY, kernelRouting: false });
  expect(kit.run(create)).toBe(0);
  expect(load(kit.reboot())).toBe(0);
  const forgotten = kit.reboot({ devices: [new SupplicantRpmb()], build: BUILD });
  expect(load(forgotten)).toBe(TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE);
});
