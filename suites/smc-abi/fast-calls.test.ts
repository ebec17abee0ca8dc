import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/fast-calls");
const UNKNOWN = 0xffff_ffff;

test("CALLS_UID returns the OP-TEE API UID and leaves x4 to x7 alone", "callsUid", async (run) => {
  expect(await run()).toEqual([
    0x384fb3e0, 0xe7f811e3, 0xaf630002, 0xa5d5c51b, 0x44, 0x55, 0x66, 0,
  ]);
});

test("CALLS_REVISION is 2.0", "callsRevision", async (run) => {
  expect(await run()).toEqual([2, 0, 0x22, 0x33, 0x44, 0x55, 0x66, 0]);
});

test("GET_OS_UUID returns the UUID of OP-TEE", "getOsUuid", async (run) => {
  expect(await run()).toEqual([
    0x486178e0, 0xe7f811e3, 0xbc5e0002, 0xa5d5c51b, 0x44, 0x55, 0x66, 0,
  ]);
});

test("GET_OS_REVISION returns a version", "getOsRevision", async (run) => {
  const [major, minor, , x3, x4] = (await run()) as number[];
  expect(major).toBeGreaterThanOrEqual(3);
  expect(minor).toBeLessThan(100);
  expect([x3, x4]).toEqual([0x33, 0x44]);
});

test("CALLS_COUNT counts the API's calls", "callsCount", async (run) => {
  expect(await run()).toEqual([12, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0]);
});

test("GET_THREAD_COUNT tells how many threads there are", "getThreadCount", async (run) => {
  const [a0, threads, ...rest] = (await run()) as number[];
  expect(a0).toBe(0);
  expect(threads).toBeGreaterThanOrEqual(1);
  expect(rest).toEqual([0x22, 0x33, 0x44, 0x55, 0x66, 0]);
});

test(
  "what is not assigned or not built is an unknown function",
  ["unassigned", "l2ccMutex"],
  async (run) => {
    expect(await run("unassigned")).toEqual([UNKNOWN, UNKNOWN, UNKNOWN]);
    expect(((await run("l2ccMutex")) as number[])[0]).toBe(UNKNOWN);
  },
);

test(
  "EXCHANGE_CAPABILITIES announces what the build has, and refuses what it does not know",
  "exchangeCapabilities",
  async (run) => {
    const { none, uniprocessor, unknown } = (await run()) as Record<string, number[]>;
    expect(none?.[0]).toBe(0);
    const caps = none?.[1] ?? 0;
    // MEMREF_NULL since 3.9.0 and RPC_ARG since 3.17.0 always; UNREGISTERED_SHM never.
    expect(caps & 0b101_0010).toBe(0b101_0000);
    expect(none?.[3]).toBe(4);
    expect(uniprocessor).toEqual(none);
    expect(unknown?.slice(0, 2)).toEqual([7, 0xffff]);
  },
);

test(
  "GET_SHM_CONFIG agrees with the capability bit for reserved memory",
  "reservedMemory",
  async (run) => {
    const { announced, config } = (await run()) as {
      announced: boolean;
      config: number[];
    };
    const [a0 = 0, base = 0, size = 0, cached] = config;
    if (announced) {
      expect([a0, cached, base % 4096, size % 4096]).toEqual([0, 1, 0, 0]);
      expect(size).toBeGreaterThan(0);
    } else {
      expect(a0).toBe(UNKNOWN);
    }
  },
);

test("the shared-memory cache is off, goes on, and can be emptied", "shmCache", async (run) => {
  expect(await run()).toEqual([7, 0, 7]);
});
