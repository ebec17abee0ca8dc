import { expect, test } from "@jest/globals";
import { SupplicantRpmb } from "../../rpmb/index.ts";
import { OPTEE_4_10 } from "../build.ts";
import { TEE_DATA_FLAG, TEE_HANDLE_NULL, TEE_STORAGE, type TeeApi } from "../tas/index.ts";
import { rpmbTrace } from "../testkit/rpmb-trace.ts";
import { StorageKit } from "../testkit/storage-kit.ts";
import type { SecureTask } from "../thread.ts";

/**
 * What OP-TEE 4.10, built with CFG_RPMB_FS and CFG_RPMB_WRITE_KEY, asked of its RPMB partition on QEMU
 * when xtest used storage for the first time: from its own log, line by line. `r8@2` reads eight
 * blocks at index 2, `w1@0` writes one at index 0. Each line is the loading of the storage TA, or what
 * one session did with it.
 */
const REAL = {
  firstLoad: [
    "info counter key counter counter r1@0 w1@0 r1@0 w1@2 r1@0 w1@0",
    "r8@2 r8@2 w1@3 w1@2 r8@2 r8@2 r8@2 r1@1022 w1@1022 w1@2",
    "r8@2 r8@2 r1@1022 r8@2 r8@2 r1@1022",
    "r8@2 r1@1022 w1@1022 r8@2 r1@1022 w1@1022 r8@2 r1@1022 w1@1022",
  ].join(" "),
  load: "r8@2 r8@2 r1@1022 r8@2 r8@2 r1@1022",
  reeCreateAndDelete: "r8@2 r8@2 r1@1022 r8@2 r1@1022 w1@1022 r8@2 r1@1022 w1@1022",
  rpmbFirst: "r8@2 w1@4 w1@3 r8@2 r1@1021 w1@1021 w1@3 r8@2 r8@2 w1@3 r8@2 w1@3",
  rpmbWithData:
    "r8@2 w1@3 r8@2 r1@1021 w1@1021 w1@3 r8@2 r1@1021 r1@1020 w1@1020 w1@3 r8@2 r8@2 w1@3 r8@2 w1@3",
};

const DATA = Uint8Array.from({ length: 32 }, (_, index) => index);
const FILE = new Uint8Array(32).fill(7);
const NAME = new TextEncoder().encode("xtest_storage_test\0");
const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META } = TEE_DATA_FLAG;

/** Creates an object and deletes it. */
const createAndDelete = (place: number, id: Uint8Array, data: Uint8Array) =>
  function* ({ storage }: TeeApi): SecureTask {
    const flags = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
    const made = yield* storage.create(place, id, flags, TEE_HANDLE_NULL, data);
    expect(made.result).toBe(0);
    expect(yield* storage.closeAndDelete(made.value)).toBe(0);
  };

test("RPMB-5.5.1, RPMB-5.5.2, RPMB-5.5.3, RPMB-5.5.4, RPMB-5.5.5, RPMB-5.5.6, RPMB-5.5.7, RPMB-5.5.8, RPMB-5.5.9, RPMB-5.5.10, RPMB-5.2.VERIFIED, RPMB-5.2.REVERIFY, RPMB-4.RPMB_FS, RPMB-4.RD_ENTRIES, RPMB-4.REL_WR_BLKCNT, RPMB-5.6.FAT, RPMB-5.6.FILE_DATA, RPMB-5.6.LIMIT, RPMB-3.1.ZERO_STUB: the first use of a blank card is that of real OP-TEE, request by request", () => {
  const device = new SupplicantRpmb();
  const build = { ...OPTEE_4_10, rpmbFs: true, rpmbWriteKey: true };
  const kit = new StorageKit({ build, devices: [device], kernelRouting: false });
  const trace = (): string => rpmbTrace(kit.kit.rpmb).join(" ");
  const places = [TEE_STORAGE.PRIVATE, TEE_STORAGE.PRIVATE_REE, TEE_STORAGE.PRIVATE_RPMB];
  kit.run(function* () {});
  expect(trace()).toBe(REAL.firstLoad);
  expect([device.keyProgrammed, kit.kit.files.openCount]).toEqual([true, 0]);
  // What storage there is: an empty object in each.
  for (const [turn, place] of places.entries()) {
    if (turn > 0) {
      kit.run(function* () {});
      expect(trace()).toBe(REAL.load);
    }
    kit.run(createAndDelete(place, NAME, new Uint8Array(0)));
    expect(trace()).toBe(turn < 2 ? REAL.reeCreateAndDelete : REAL.rpmbFirst);
    kit.closeAll();
    expect(trace()).toBe("");
  }
  // regression_6001: three objects, of which the last two have ids of no bytes.
  for (const place of places) {
    kit.run(function* () {});
    expect(trace()).toBe(REAL.load);
    for (const id of [FILE, new Uint8Array(0), new Uint8Array(0)]) {
      kit.run(createAndDelete(place, id, DATA));
      const ree = place !== TEE_STORAGE.PRIVATE_RPMB;
      expect(trace()).toBe(ree ? REAL.reeCreateAndDelete : REAL.rpmbWithData);
    }
    kit.closeAll();
  }
});
