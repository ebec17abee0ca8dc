import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/mediated-fast-calls");
// What a guest of Xen 4.20 saw in front of the same OP-TEE, register by register.
const marks = (from: number): bigint[] =>
  [0x11n, 0x22n, 0x33n, 0x44n, 0x55n, 0x66n, 0x77n].slice(from - 1);

test("CALLS_COUNT is the mediator's own number of calls", "callsCount", async (run) => {
  expect(await run()).toEqual([[0xbn, ...marks(1)]]);
});

test(
  "CALLS_UID and GET_OS_UUID hand out four registers",
  ["callsUid", "getOsUuid"],
  async (run) => {
    expect(await run("callsUid")).toEqual([
      [0x384fb3e0n, 0xe7f811e3n, 0xaf630002n, 0xa5d5c51bn, ...marks(4)],
    ]);
    expect(await run("getOsUuid")).toEqual([
      [0x486178e0n, 0xe7f811e3n, 0xbc5e0002n, 0xa5d5c51bn, ...marks(4)],
    ]);
  },
);

test("CALLS_REVISION hands out two registers", "callsRevision", async (run) => {
  expect(await run()).toEqual([[2n, 0n, ...marks(2)]]);
});

test("GET_OS_REVISION keeps the build id to itself", "getOsRevision", async (run) => {
  const [[major = 0n, , ...rest] = []] = (await run()) as bigint[][];
  expect(major).toBeGreaterThanOrEqual(3n);
  expect(rest).toEqual(marks(2));
});

test("the shared-memory cache can be switched on and emptied", "shmCache", async (run) => {
  expect(await run()).toEqual([
    [0n, ...marks(1)],
    [7n, ...marks(1)],
  ]);
});

test("static shared memory is not available", "getShmConfig", async (run) => {
  expect(await run()).toEqual([[7n, ...marks(1)]]);
});

test(
  "only the capabilities that a guest can use are visible",
  "exchangeCapabilities",
  async (run) => {
    expect(await run()).toEqual([[0n, 0x14n, ...marks(2)]]);
  },
);

test(
  "management, thread count, notifications and newer calls do not exist for guests",
  "notForGuests",
  async (run) => {
    const answers = (await run()) as bigint[][];
    expect(answers).toHaveLength(11);
    for (const answer of answers) expect(answer).toEqual([0xffff_ffff_ffff_ffffn, ...marks(1)]);
  },
);

test(
  "a resume of no call and a misaligned argument are refused in a0 alone",
  ["unknownThread", "misalignedArgument"],
  async (run) => {
    expect(await run("unknownThread")).toEqual([[3n, ...marks(1)]]);
    expect(await run("misalignedArgument")).toEqual([[4n, ...marks(1)]]);
  },
);
