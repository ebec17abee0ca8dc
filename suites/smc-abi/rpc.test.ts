import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/rpc");

/** Every result that a service is made to give, in the order of the scenarios. */
const RESULTS = [
  "GENERIC",
  "ACCESS_DENIED",
  "ACCESS_CONFLICT",
  "BAD_PARAMETERS",
  "ITEM_NOT_FOUND",
  "NOT_SUPPORTED",
  "OUT_OF_MEMORY",
  "SECURITY",
  "SHORT_BUFFER",
  "STORAGE_NOT_AVAILABLE",
  "STORAGE_NO_SPACE",
  "0x00001234",
  "0xffffffff",
];
const each = (seen: (result: string) => string): Record<string, string> =>
  Object.fromEntries(RESULTS.map((result) => [result, seen(result)]));

/** What is asked until a TA is looked for in files that there are not, and of the supplicant. */
const SEARCH = "ALLOC SHM_ALLOC FS FS FS FS FS FS LOAD_TA";
const END = "SHM_FREE FREE";

const taken = (cookie: string): string => `${SEARCH} ${END} (${cookie}): ITEM_NOT_FOUND`;
const given = (cookie: string): string =>
  `ALLOC SHM_ALLOC SHM_FREE FREE (${cookie}): OUT_OF_MEMORY`;
/** What is asked for, memory for files first, and how a TA of so many zeros is judged. */
const sizesOf = (size: number): string =>
  `4096 ${size}: ${size === 0 ? "OUT_OF_MEMORY" : "SECURITY"}`;

test(
  "MSG-3.SHM_ALLOC: whatever the reason, memory that is refused is OUT_OF_MEMORY",
  "allocationErrors",
  async (run) => {
    expect(await run()).toEqual(each(() => "ALLOC SHM_ALLOC FREE: OUT_OF_MEMORY 3"));
  },
);

test(
  "MSG-3.FS: a file's error ends the search for a TA, unless it says that there is none",
  "fileErrors",
  async (run) => {
    expect(await run()).toEqual({
      ...each((result) => `ALLOC SHM_ALLOC FS ${END}: ${result} 3`),
      ITEM_NOT_FOUND: `${SEARCH} ${END}: ITEM_NOT_FOUND 3`,
      STORAGE_NOT_AVAILABLE: `ALLOC SHM_ALLOC FS LOAD_TA ${END}: ITEM_NOT_FOUND 3`,
    });
  },
);

test("MSG-3.LOAD_TA: the supplicant's error reaches the client", "loadErrors", async (run) => {
  expect(await run()).toEqual(each((result) => `${SEARCH} ${END}: ${result} 3`));
});

test(
  "MSG-3.7: memory for a TA has the size that the first LOAD_TA tells",
  "loadSizes",
  async (run) => {
    const sizes = [0, 1, 8, 100, 4096, 4097, 12_288];
    expect(await run()).toEqual(Object.fromEntries(sizes.map((size) => [size, sizesOf(size)])));
  },
);

test(
  "MSG-3.7, MSG-3.2: a second LOAD_TA may fail, and what it says of the size does not count",
  "secondLoad",
  async (run) => {
    const loading = `${SEARCH} SHM_ALLOC LOAD_TA SHM_FREE ${END}`;
    expect(await run()).toEqual({
      fails: `${loading}: SHORT_BUFFER 3`,
      grows: `${loading}: SECURITY 3`,
    });
  },
);

test(
  "MSG-3.1, MSG-3.4: requests come with GENERIC as result and name memory by cookie",
  "requestShapes",
  async (run) => {
    const memory = "6: 1 of type 0, align 8, GENERIC";
    const named = "2: 1 5 2, GENERIC";
    const removal = "2: 1 5, GENERIC";
    const freed = "7: 1, GENERIC";
    expect(await run()).toEqual([
      memory,
      named,
      named,
      removal,
      named,
      named,
      removal,
      "0: 1 a, GENERIC",
      memory,
      "0: 1 6, GENERIC",
      freed,
      freed,
    ]);
  },
);

test("MSG-3.2: a reply is read in the request's own shape", "reshapedReplies", async (run) => {
  const read = `${SEARCH} ${END}: ITEM_NOT_FOUND 3`;
  expect(await run()).toEqual({ attributes: read, more: read, none: read, command: read });
});

test(
  "MSG-3.3, MED-141: memory is taken in one form, and given back where its pages are none",
  "allocationReplies",
  async (run) => {
    const refused = "ALLOC SHM_ALLOC FREE: OUT_OF_MEMORY";
    expect(await run()).toEqual({
      "memory of the size": taken("61"),
      "more than asked for": taken("62"),
      "less than asked for": refused,
      "a list of nothing": given("64"),
      "no list": given("65"),
      "input and output": refused,
      "registered memory": refused,
      "a value": refused,
      "two parameters": refused,
      "no parameters": refused,
    });
  },
);

test(
  "SMC-4.2.RESUME_CHECK: a thread is resumed by its own number, while it waits",
  "wrongResumes",
  async (run) => {
    expect(await run()).toEqual({
      before: 3,
      during: [3, 3, 3, 3, 3],
      ended: 0,
      ret: "ITEM_NOT_FOUND",
      after: 3,
    });
  },
);

test(
  "SMC-4.2.DELIVERY: what an RPC's answer does not consist of may hold anything",
  "resumeRegisters",
  async (run) => {
    expect(await run()).toEqual({ second: true, a0: 0 });
  },
);

test(
  "SMC-5.ALLOC, SMC-5.CMD, SMC-5.FREE: a size is asked for, and its cookie comes back with the rest",
  "rpcRegisters",
  async (run, on) => {
    const end = on?.conduit === "direct" ? "0 0 0" : "0 12 34";
    expect(await run()).toEqual(["ffff0000 a0 0", "ffff0005 12 34", "ffff0002 12 34", end]);
  },
);

test(
  "SMC-4.1.8: an RPC argument behind the message needs room for four parameters, and has no cookie",
  "argumentWithCall",
  async (run) => {
    expect(await run()).toEqual({
      room: [5, 5, 5, 4, 4],
      asked: [0xffff_0005, 0, 0],
      shmAlloc: true,
      ret: "OUT_OF_MEMORY",
    });
  },
);

test("MSG-3.1: a request that nobody answers has failed", "unanswered", async (run) => {
  const asked = ["ALLOC", "SHM_ALLOC", "FREE"];
  expect(await run()).toEqual({ asked, a0: 0, ret: "OUT_OF_MEMORY" });
});

test(
  "SMC-5.4: an argument that comes with the call has the cached one given back first",
  "cachedArgument",
  async (run) => {
    const [free, command] = [0xffff_0002, 0xffff_0005];
    expect(await run()).toEqual({ seen: [free, command, 0], ret: "OUT_OF_MEMORY", drained: 7 });
  },
);

test(
  "SMC-5.FOREIGN_INTR, SMC-5.6: interrupts between any two requests change nothing",
  "interrupted",
  async (run) => {
    const loading = `${SEARCH} SHM_ALLOC LOAD_TA SHM_FREE ${END}`;
    expect(await run()).toEqual(`${loading}: SECURITY 3`);
  },
);
