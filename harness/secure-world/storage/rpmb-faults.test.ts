import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import { expect, jest, test } from "@jest/globals";
import { budget, Random } from "../../base/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import {
  deriveRpmbKey,
  EmmcRpmb,
  FRAME,
  FRAME_SIZE,
  framesAuthentic,
  numberOf,
  openRpmbState,
  PowerCut,
  readRpmbState,
  RPMB_REQUEST,
  STATE_FILE,
  STATE_RECORD,
  SUPPLICANT_CID,
  zeroHuk,
} from "../../rpmb/index.ts";
import { OPTEE_4_10, type OpteeBuild } from "../build.ts";
import { TEE_STORAGE } from "../tas/index.ts";
import { FaultyLink, LINK_FAULTS } from "../testkit/faulty-link.ts";
import {
  type Contents,
  contentsOf,
  type NamedOperation,
  OBJECT_OPERATIONS,
  prepareObjects,
} from "../testkit/small-objects.ts";
import { StorageKit } from "../testkit/storage-kit.ts";

jest.setTimeout(120_000);

const KEY = deriveRpmbKey(zeroHuk(), SUPPLICANT_CID, { compat: true });
const RPMB: OpteeBuild = { ...OPTEE_4_10, rpmbFs: true, reeFs: false };
const ANCHORED: OpteeBuild = { ...OPTEE_4_10, rpmbFs: true };
const WRITE_KEY: OpteeBuild = { ...RPMB, rpmbWriteKey: true };
const { PRIVATE_REE, PRIVATE_RPMB } = TEE_STORAGE;

/** Storage of a build with "old" and "kept" in it, made once and copied. */
function madeBy(build: OpteeBuild, place: number): { kit: StorageKit; device: EmmcRpmb } {
  const device = new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1, key: KEY });
  const kit = new StorageKit({ build, devices: [device] });
  expect(kit.run((tee) => prepareObjects(tee, place))).toBe(0);
  kit.closeAll();
  return { kit, device };
}
const MADE: ReadonlyMap<number, ReturnType<typeof madeBy>> = new Map([
  [PRIVATE_RPMB, madeBy(RPMB, PRIVATE_RPMB)],
  [PRIVATE_REE, madeBy(ANCHORED, PRIVATE_REE)],
]);

function made(place: number): { kit: StorageKit; device: EmmcRpmb } {
  const found = MADE.get(place);
  if (found === undefined) throw new Error("no such storage");
  return found;
}

/** What a client gets of an operation: the opening of the TA, the operation, or its panic. */
function attempt(kit: StorageKit, place: number, { run }: NamedOperation): number {
  const { ret, value } = kit.attempt((tee) => run(tee, place));
  return ret === 0 ? (value ?? TEEC.TEEC_ERROR_GENERIC) : ret;
}

const looked = new Map<string, Contents>();

/**
 * What the next boot finds on this part and these files. It depends on nothing else, and most cuts
 * leave the same: each is looked at once.
 */
function seenAfter(kit: StorageKit, device: EmmcRpmb, place: number): Contents {
  const hash = createHash("sha256").update(device.image());
  const files = kit.copyFiles();
  for (const [name, bytes] of files) hash.update(`${name} ${bytes.length} `).update(bytes);
  const key = [hash.digest("hex"), device.writeCounter, place].join(" ");
  const known = looked.get(key);
  if (known !== undefined) return known;
  const later = kit.reboot({ files, devices: [device.copy()] });
  const seen = later.run((tee) => contentsOf(tee, place));
  looked.set(key, seen);
  return seen;
}

const WALKS = OBJECT_OPERATIONS.flatMap((operation) => [
  { operation, name: operation.name, place: PRIVATE_RPMB, where: "RPMB" },
  { operation, name: operation.name, place: PRIVATE_REE, where: "files with an anchor in RPMB" },
]);

test.each(WALKS)(
  "RPMB-9.PERSISTENCE: power cut at every frame of $name, boot included, in $where: done or not, and what was there is there",
  ({ operation, place }) => {
    const { kit: before, device: part } = made(place);
    let cuts = 0;
    for (;;) {
      const device = part.copy();
      const kit = before.reboot({ devices: [device] });
      device.power.cutAfter(cuts);
      let result: number | undefined;
      try {
        result = attempt(kit, place, operation);
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
      }
      device.powerOn();
      const seen = seenAfter(kit, device, place);
      if (result !== undefined) {
        expect([result, seen]).toEqual([0, operation.after]);
        break;
      }
      expect([operation.before, operation.after]).toContainEqual(seen);
      cuts += 1;
    }
    // Two frames a read, three a write: every one of them was the one that the power went at.
    expect(cuts).toBeGreaterThan(20);
  },
);

/** A build that may write keys, over the supplicant. */
const first = (device: EmmcRpmb): StorageKit =>
  new StorageKit({ build: WRITE_KEY, devices: [device], kernelRouting: false });

test("RPMB-5.5.3, RPMB-9.PERSISTENCE: power cut at every frame of the first use, key programming included: the next boot goes on from there", () => {
  const states = new Set<string>();
  for (let cuts = 0; ; cuts += 1) {
    const device = new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1 });
    const kit = first(device);
    device.power.cutAfter(cuts);
    let ret: number | undefined;
    try {
      ({ ret } = kit.attempt(function* () {}));
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
    }
    device.powerOn();
    const state = `${device.keyProgrammed} ${device.writeCounter}`;
    if (ret !== undefined) {
      expect(ret).toBe(0);
      break;
    }
    // Each write has its number, so this is all that a part was left with.
    if (states.has(state)) continue;
    states.add(state);
    const later = first(device);
    expect([cuts, later.run((tee) => prepareObjects(tee, PRIVATE_RPMB))]).toEqual([cuts, 0]);
    expect(seenAfter(later, device, PRIVATE_RPMB)).toEqual(OBJECT_OPERATIONS[0]?.before);
  }
  // Blank, with a key, and with each of the writes that make the file system.
  expect([...states].slice(0, 4)).toEqual(["false 0", "true 0", "true 1", "true 2"]);
});

test.each(OBJECT_OPERATIONS)(
  "$name on a part in a file, the machine failing at any of its writes: with a record whole or torn the file and storage open, and what was acknowledged is there",
  (operation) => {
    const { kit: before, device: part } = made(PRIVATE_RPMB);
    const folder = mkdtempSync(path.join(tmpdir(), "lockstep-rpmb-"));
    const file = path.join(folder, "part");
    const create = { cid: SUPPLICANT_CID, sizeMultiplier: 1 };
    const places = committingFrames(operation);
    expect(places.length).toBeGreaterThan(1);
    for (const place of places) {
      const device = openRpmbState(file, { create, sync: false });
      device.restore(part.snapshot());
      const kit = before.reboot({ devices: [device] });
      let earlier = readFileSync(file);
      kit.kit.rpmb.onRequest = () => {
        const request = kit.kit.rpmb.requests.at(-1)?.frames;
        if (request !== undefined && isWrite(request)) earlier = readFileSync(file);
      };
      device.power.cutAfter(place);
      expect(() => attempt(kit, PRIVATE_RPMB, operation)).toThrow(PowerCut);
      const counter = device.writeCounter;
      device.close();
      const reopened = (): [number, Contents] => {
        const again = readRpmbState(file);
        const { writeCounter } = again;
        return [writeCounter, seenAfter(before, again, PRIVATE_RPMB)];
      };
      const { before: old, after } = operation;
      // Forward: the record of the request that was not answered is whole.
      const [forward, seen] = reopened();
      expect([forward, [old, after].some((one) => isDeepStrictEqual(one, seen))]).toEqual([
        counter,
        true,
      ]);
      // Back: it is not, and then its data never came to their place either.
      writeFileSync(file, torn(earlier, readFileSync(file)));
      const [back, seenThen] = reopened();
      expect([back, [old, after].some((one) => isDeepStrictEqual(one, seenThen))]).toEqual([
        counter - 1,
        true,
      ]);
    }
    rmSync(folder, { recursive: true });
  },
);

/** After how many frames each of an operation's writes is in the flash and not yet answered. */
function committingFrames(operation: NamedOperation): number[] {
  const { kit: before, device } = made(PRIVATE_RPMB);
  const kit = before.reboot({ devices: [device.copy()] });
  expect(attempt(kit, PRIVATE_RPMB, operation)).toBe(0);
  const places: number[] = [];
  let passed = 0;
  for (const { frames, responseFrames } of kit.kit.rpmb.requests) {
    if (isWrite(frames)) places.push(passed + 1);
    passed += frames.length / FRAME_SIZE + responseFrames + (isWrite(frames) ? 1 : 0);
  }
  return places;
}

/** A state file before a request, with half of the record in it that the request has made. */
function torn(before: Buffer, after: Buffer): Buffer {
  const { page, slots } = STATE_FILE;
  const starts = Array.from(
    { length: slots.count },
    (_, slot) => (slots.page + slot * slots.pages) * page,
  );
  const sequence = (start: number): bigint => after.readBigUInt64LE(start + STATE_RECORD.sequence);
  const newest = Math.max(...starts.map((start) => Number(sequence(start))));
  const start = starts.find((one) => Number(sequence(one)) === newest) ?? 0;
  const bytes = Buffer.from(before);
  after.copy(bytes, start, start, start + page / 2);
  return bytes;
}

const isWrite = (frames: Uint8Array): boolean =>
  frames.length > 0 && numberOf(frames, FRAME.type) === RPMB_REQUEST.WRITE_DATA;

test.each(LINK_FAULTS)(
  "%s at any of the frames: nothing acknowledged is lost, nothing replayed is accepted, and the next boot finds storage whole",
  (fault) => {
    const random = new Random(LINK_FAULTS.indexOf(fault) + 1);
    let refused = 0;
    for (const operation of OBJECT_OPERATIONS) {
      const stride = budget(3, 1);
      for (let at = random.below(stride); ; at += stride) {
        const { kit: before, device: part } = made(PRIVATE_RPMB);
        const device = part.copy();
        const link = new FaultyLink(device, random);
        const kit = before.reboot({ devices: [link] });
        link.faults.set(at, fault);
        const result = attempt(kit, PRIVATE_RPMB, operation);
        const seen = seenAfter(kit, device, PRIVATE_RPMB);
        const allowed = result === 0 ? [operation.after] : [operation.before, operation.after];
        expect({ at, operation: operation.name, allowed, seen }).toEqual({
          at,
          operation: operation.name,
          allowed: expect.arrayContaining([seen]),
          seen,
        });
        if (result !== 0) refused += 1;
        // Whatever is still under way somewhere and comes now is an old request.
        const state = device.image();
        for (const request of link.requests) device.frames(request, 1);
        expect(Buffer.from(device.image()).equals(state)).toBe(true);
        if (link.requests.length <= at) break;
      }
    }
    // A lost request is asked for again; the others make trouble now and then.
    if (fault !== "request lost") expect(refused).toBeGreaterThan(0);
  },
);

test("several faults at once, boot after boot: an operation that was acknowledged stays, and a part answers only what its key has signed", () => {
  for (let seed = 1; seed <= budget(12, 1000); seed += 1) {
    const random = new Random(seed);
    const { kit: before, device: part } = made(PRIVATE_RPMB);
    const device = part.copy();
    const operation = OBJECT_OPERATIONS[random.below(OBJECT_OPERATIONS.length)];
    if (operation === undefined) throw new Error("no operation");
    let done = false;
    for (let boot = 0; boot < 3 && !done; boot += 1) {
      const link = new FaultyLink(device, random);
      for (let fault = 0; fault < 4; fault += 1) {
        const kind = LINK_FAULTS[random.below(LINK_FAULTS.length)];
        if (kind !== undefined) link.faults.set(random.below(60), kind);
      }
      const counter = device.writeCounter;
      const kit = before.reboot({ devices: [link] });
      done = attempt(kit, PRIVATE_RPMB, operation) === 0;
      const authentic = link.requests.filter(
        (frames) => isWrite(frames) && framesAuthentic(KEY, frames),
      );
      expect(device.writeCounter - counter).toBeLessThanOrEqual(authentic.length);
      const seen = seenAfter(before, device, PRIVATE_RPMB);
      expect([operation.after, ...(done ? [] : [operation.before])]).toContainEqual(seen);
      // What is done in spite of its failure cannot be done again.
      if (JSON.stringify(seen) === JSON.stringify(operation.after)) break;
    }
  }
});
