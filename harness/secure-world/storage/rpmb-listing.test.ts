import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { deriveRpmbKey, EmmcRpmb, SUPPLICANT_CID, zeroHuk } from "../../rpmb/index.ts";
import { OPTEE_4_10 } from "../build.ts";
import { TEE_STORAGE, type TeeApi } from "../tas/index.ts";
import { StorageKit } from "../testkit/storage-kit.ts";
import type { SecureTask } from "../thread.ts";
import { listRpmbFs, type ReadBytes } from "./rpmb-listing.ts";

const KEY = deriveRpmbKey(zeroHuk(), SUPPLICANT_CID, { compat: true });
const SIZE = 128 * 1024;

const from =
  (bytes: Uint8Array): ReadBytes =>
  async (at, length) =>
    bytes.slice(at, at + length);

/** A partition on which OP-TEE's model made a file of 600 bytes. */
function used(): Uint8Array {
  const device = new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1, key: KEY });
  const build = { ...OPTEE_4_10, reeFs: false, rpmbFs: true };
  const kit = new StorageKit({ build, devices: [device] });
  kit.run(function* ({ storage }: TeeApi): SecureTask {
    const name = Buffer.from("name");
    yield* storage.create(TEE_STORAGE.PRIVATE_RPMB, name, 0x7, 0, new Uint8Array(600));
  });
  return device.image();
}

test("RPMB-5.6.FAT: the files that OP-TEE made are listed with size and place", async () => {
  const listing = await listRpmbFs(from(used()), SIZE);
  expect(listing).toMatchObject({ version: 2, fatStart: 512, problems: [] });
  // OP-TEE's own directory of the TA's objects comes first; names have the UUID's bytes as they lie in memory.
  const file = listing?.files[1];
  expect(listing?.files).toHaveLength(2);
  expect(file?.name).toMatch(/^\/521A4D0C636F0E4D9F397D8F0A6B1C11\/6E616D65$/);
  expect(file?.size).toBeGreaterThan(600);
  // File data are allocated from the high end downwards.
  expect(file?.start).toBeGreaterThan(SIZE - 2048);
});

test("a partition without OP-TEE's magic has no storage", async () => {
  expect(await listRpmbFs(from(new Uint8Array(SIZE)), SIZE)).toBeUndefined();
  expect(await listRpmbFs(async () => undefined, SIZE)).toBeUndefined();
});

test("what OP-TEE would stumble over is said: version, FAT without an end, a file beyond the end", async () => {
  const version = used();
  version[4] = 3;
  expect((await listRpmbFs(from(version), SIZE))?.problems).toEqual([
    "version 3, which OP-TEE refuses: it knows 2",
  ]);
  const start = used();
  start.set([0xff, 0xff, 0xff, 0x7f], 12);
  expect((await listRpmbFs(from(start), SIZE))?.problems).toEqual([
    "the FAT is said to begin at byte 2147483647",
  ]);
  const beyond = used();
  beyond.set([0xff, 0xff, 0xff, 0xff], 512);
  expect((await listRpmbFs(from(beyond), SIZE))?.problems).toEqual([
    expect.stringMatching(/reaches beyond the end of the partition$/),
  ]);
  const endless = used().fill(0, 512);
  const listing = await listRpmbFs(from(endless), SIZE);
  expect(listing?.problems).toEqual(["no entry of the FAT is marked as its last"]);
  expect(listing?.freeEntries).toBe(SIZE / 256 - 2);
});

test("whatever is on a partition, listing it ends", async () => {
  const image = used();
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.integer({ min: 4, max: 2048 }), fc.uint8Array({ maxLength: 12 }))),
      async (patches) => {
        const bytes = image.slice();
        for (const [at, patch] of patches) bytes.set(patch, at);
        const listing = await listRpmbFs(from(bytes), SIZE);
        expect(listing?.files.length).toBeLessThanOrEqual(SIZE / 256);
      },
    ),
    { numRuns: budget(50, 1000) },
  );
});
