import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { OPTEE_SMC, SEC_CAP } from "../optee-abi/index.ts";
import {
  DEBIAN_4_10_RPMB,
  DEBIAN_4_10_RPMB_VIRTUALIZED,
  DEBIAN_4_5,
  DEBIAN_4_5_VIRTUALIZED,
  OPTEE_4_10,
  type OpteeBuild,
} from "./build.ts";
import { SecureKit } from "./testkit/kit.ts";

const { EXCHANGE_CAPABILITIES } = OPTEE_SMC;

/** x0 to x3, low words, after an exchange with `a1`. */
function exchange(build: Partial<OpteeBuild>, a1 = 0): number[] {
  return new SecureKit({ build }).words(EXCHANGE_CAPABILITIES, a1, 0x22, 0x33);
}
const capsOf = (build: Partial<OpteeBuild>): number => exchange(build)[1] ?? -1;
const release = (major: number, minor: number): Partial<OpteeBuild> => ({
  version: { major, minor },
});

/** Nothing that a build can leave out. */
const BARE: Partial<OpteeBuild> = {
  reservedShm: undefined,
  dynamicShm: false,
  asyncNotif: false,
  rpmbProbe: false,
};
const ALWAYS = SEC_CAP.MEMREF_NULL | SEC_CAP.RPC_ARG;
const REGION = { base: 0x6000_0000, size: 0x10_0000 };

test("SMC-3.1.UNIPROCESSOR: it is taken, changes nothing, and is the only bit that is", () => {
  expect(exchange({}, 1)).toEqual(exchange({}, 0));
  for (let bit = 1; bit < 32; bit += 1) {
    const a1 = (2 ** bit + 1) >>> 0;
    expect(exchange({}, a1)).toEqual([7, a1, 0x22, 0x33]);
  }
});

test.each<[string, Partial<OpteeBuild>, number]>([
  ["SMC-3.1.HAVE_RESERVED_SHM", { reservedShm: REGION }, 1 << 0],
  ["SMC-3.1.DYNAMIC_SHM", { dynamicShm: true }, 1 << 2],
  ["SMC-3.1.ASYNC_NOTIF", { asyncNotif: true }, 1 << 5],
  ["SMC-3.1.RPMB_PROBE", { rpmbProbe: true }, 1 << 7],
  ["SMC-3.1.PROTMEM", { ...release(4, 9), protectedMemory: { region: REGION } }, 1 << 8],
  ["SMC-3.1.DYNAMIC_PROTMEM", { ...release(4, 9), protectedMemory: "lent" }, 1 << 9],
])("%s: the bit follows the build option", (_, option, bit) => {
  expect(capsOf(BARE)).toBe(ALWAYS);
  expect(capsOf({ ...BARE, ...option })).toBe(ALWAYS | bit);
});

test("SMC-3.1.VIRTUALIZATION: bit 3 is that of a virtualized build", () => {
  const kit = new SecureKit({ build: { ...BARE, virtualization: true } });
  expect(kit.words(OPTEE_SMC.VM_CREATED, 1)[0]).toBe(0);
  expect(kit.smc(EXCHANGE_CAPABILITIES, 0, 0, 0, 0, 0, 0, 1).get(1)).toBe(ALWAYS | (1 << 3));
});

test.each<[string, number, readonly [number, number], readonly [number, number]]>([
  ["SMC-3.1.MEMREF_NULL", 1 << 4, [3, 8], [3, 9]],
  ["SMC-3.1.ASYNC_NOTIF", 1 << 5, [3, 15], [3, 16]],
  ["SMC-3.1.RPC_ARG", 1 << 6, [3, 16], [3, 17]],
  ["SMC-3.1.RPMB_PROBE", 1 << 7, [4, 3], [4, 4]],
])("%s: bit value %i is not there in release %j and is in %j", (_, bit, before, since) => {
  expect(capsOf(release(...before)) & bit).toBe(0);
  expect(capsOf(release(...since)) & bit).toBe(bit);
});

test.each<[string, NonNullable<OpteeBuild["protectedMemory"]>]>([
  ["SMC-3.1.PROTMEM", { region: REGION }],
  ["SMC-3.1.DYNAMIC_PROTMEM", "lent"],
])("%s: releases before 4.9 do not know it", (_, protectedMemory) => {
  expect(capsOf({ ...BARE, ...release(4, 8), protectedMemory })).toBe(ALWAYS);
});

test("SMC-3.1.UNREGISTERED_SHM: no build of any release announces it", () => {
  const builds = fc.record({
    version: fc.record({ major: fc.integer({ min: 3, max: 4 }), minor: fc.integer({ max: 30 }) }),
    reservedShm: fc.constantFrom(undefined, REGION),
    dynamicShm: fc.boolean(),
    asyncNotif: fc.boolean(),
    rpmbProbe: fc.boolean(),
  });
  fc.assert(
    fc.property(builds, (build) => {
      expect(capsOf(build) & SEC_CAP.UNREGISTERED_SHM).toBe(0);
    }),
  );
});

test("SMC-3.1.STATELESS: it can be asked for again, after a refusal and not at all", () => {
  const kit = new SecureKit();
  const first = kit.words(EXCHANGE_CAPABILITIES);
  expect(kit.words(EXCHANGE_CAPABILITIES, 2)[0]).toBe(7);
  expect(kit.words(EXCHANGE_CAPABILITIES)).toEqual(first);
  const never = new SecureKit();
  expect(never.words(OPTEE_SMC.ENABLE_SHM_CACHE)[0]).toBe(0);
  // Unknown command: the call was taken and its message read.
  expect(never.call({ cmd: 99 }).a0).toBe(5);
});

test("SMC-3.EXCHANGE_CAPABILITIES: the presets announce what the real builds do", () => {
  expect(exchange(DEBIAN_4_5)).toEqual([0, 0xf5, 0x42, 4]);
  expect(exchange(DEBIAN_4_10_RPMB)).toEqual([0, 0xf5, 0x42, 4]);
  expect(exchange(OPTEE_4_10)).toEqual([0, 0xf5, 0x44, 4]);
  for (const build of [DEBIAN_4_5_VIRTUALIZED, DEBIAN_4_10_RPMB_VIRTUALIZED]) {
    const kit = new SecureKit({ build });
    kit.smc(OPTEE_SMC.VM_CREATED, 1);
    const registers = kit.smc(EXCHANGE_CAPABILITIES, 0, 0, 0, 0, 0, 0, 1);
    expect([0, 1, 2, 3].map((index) => registers.get(index))).toEqual([0, 0xfd, 0x42, 4]);
  }
});

test("SMC-3.EXCHANGE_CAPABILITIES: a2 and a3 are written only with the capability behind them", () => {
  expect(exchange({ asyncNotif: false }).slice(2)).toEqual([0x22, 4]);
  expect(exchange(release(3, 16)).slice(2)).toEqual([0x42, 0x33]);
  expect(exchange(release(3, 15)).slice(2)).toEqual([0x22, 0x33]);
  expect(exchange({ threads: 7 })[2]).toBe(64 + 7);
});
