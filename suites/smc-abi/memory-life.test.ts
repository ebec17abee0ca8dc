import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/memory-life");
const BAD = 0xffff_0006;
const FROM_TA = [0, 4];
const UNKNOWN = [BAD, 3];

test(
  "MSG-2.REGISTER_SHM, MSG-2.UNREGISTER_SHM: memory is there from its registration to its end",
  "wholeLife",
  async (run) => {
    const turn = { entered: 0, used: FROM_TA, sum: 1, left: 0 };
    expect(await run()).toEqual({
      before: UNKNOWN,
      first: turn,
      between: UNKNOWN,
      second: turn,
      after: UNKNOWN,
    });
  },
);

test("MSG-2.3.1: cookies are 64 bits of the caller's own", "cookies", async (run) => {
  const done = [0, 0, 0, 0, 0, 0];
  expect(await run()).toEqual({ entered: done, sums: [1, 2, 3, 4, 5, 6], left: done });
});

test(
  "MSG-2.2.RMEM, MSG-1.4.6: a part lies within the pages of its object, empty memory is NULL to a pseudo-TA",
  "parts",
  async (run) => {
    const taken = "0xffff0006 4";
    const beyond = "0xffff000f 3";
    expect(await run()).toEqual({
      "all of it": taken,
      "its last byte": taken,
      "nothing at its end": "0x0 4",
      "one byte at its end": beyond,
      "one byte too many": beyond,
      "beyond its end": beyond,
      "offset and size overflow": beyond,
      "a size of 64 bits": beyond,
      "an offset of 2^32": beyond,
    });
  },
);

test(
  "MSG-1.4.2, MSG-1.4.3: temporary memory begins and ends anywhere in its pages",
  "temporarySizes",
  async (run) => {
    expect(await run()).toEqual({ wrong: [] });
  },
);

test(
  "MSG-1.4.3, MED-067: sizes that no memory has are refused, and leave nothing behind",
  "hugeSizes",
  async (run) => {
    expect(await run()).toEqual({
      whole: [true, true, true, true, true],
      overflow: true,
      after: 0,
    });
  },
);

test(
  "MSG-1.4.4, MED-063: every page of a list is the normal world's RAM",
  "badEntries",
  async (run) => {
    const refused = Array(6).fill(BAD);
    expect(await run()).toEqual({ alone: refused, last: refused, good: 0 });
  },
);

test("MSG-1.4.2: so is the list itself, up to the last page", "badLists", async (run) => {
  expect(await run()).toEqual([BAD, BAD, BAD, 0]);
});

test("MSG-1.4.1, MED-064: lists go on in further pages", "chainedLists", async (run) => {
  const counts = [128, 510, 511, 512, 513, 1022, 1023];
  expect(await run()).toEqual(counts.map((count) => [count, 0, 0]));
});

test(
  "MSG-2.3.3, MSG-3.NOTIFICATION: who unregisters memory in use waits, and is woken by its user",
  "unregisterInUse",
  async (run) => {
    expect(await run()).toEqual({
      waits: [0, 0],
      used: 0xffff_0008,
      woken: true,
      done: [0, 0],
      after: BAD,
    });
  },
);

test(
  "MSG-2.2.TMEM_NONCONTIG, MED-084: temporary memory named by its cookie, in its call and after it",
  "temporaryByCookie",
  async (run, on) => {
    const hidden = on?.conduit === "vm" && on.rules !== "xen";
    expect(await run()).toEqual(
      hidden
        ? { both: UNKNOWN, after: UNKNOWN, during: BAD, byte: 40 }
        : { both: [BAD, 4], after: FROM_TA, during: BAD, byte: 42 },
    );
  },
);

test(
  "MSG-2.2.RMEM, MSG-1.3.CACHE: a reference with bits beside its type, in use and unregistered",
  "neverReleased",
  async (run) => {
    expect(await run()).toEqual({ used: FROM_TA, waits: true, ret: 7, stillUsed: FROM_TA });
  },
);

test(
  "MSG-2.2.TMEM_CONTIGUOUS, MED-050: memory by address is refused, by the mediator where there is one",
  "contiguous",
  async (run, on) => {
    const refused = on?.conduit === "vm" ? [BAD, 2] : UNKNOWN;
    expect(await run()).toEqual([refused, refused, refused, refused]);
  },
);

test("MSG-2.2.TMEM_NULL: NULL is NULL whatever else is said", "nullReferences", async (run) => {
  expect(await run()).toEqual([
    [0, 0, 0, 0],
    [0, 0, 0, 5],
    [0, 0, 0, 0],
    [0, 0, 0, 0x1b],
  ]);
});

test("MSG-2.3.1, MED-062: fourteen objects side by side", "manyObjects", async (run) => {
  const index = Array.from({ length: 14 }, (_, at) => at);
  expect(await run()).toEqual({
    all: [0],
    left: [0],
    used: index.map((at) => (at % 2 === 0 ? BAD : 0)),
    sums: index.map((at) => (at % 2 === 0 ? at : at + 1)),
  });
});
