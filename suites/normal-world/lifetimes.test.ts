import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/lifetimes");
const DEAD = 0xffff_3024;
const CANCEL = 0xffff_0002;
/** What was stored; where there is nothing the TA does not survive to look. */
const [STORED, NOTHING] = [
  [0, 0x5a],
  [DEAD, 0xee],
];

test("MSG-2.1.3: a TA may have an instance for each session", "multiInstance", async (run) => {
  expect(await run()).toEqual({ written: 0, beside: NOTHING, after: NOTHING });
});

test("MSG-2.1.3: a single instance ends with its last session", "singleInstance", async (run) => {
  expect(await run()).toEqual({ written: 0, beside: STORED, after: NOTHING });
});

test("MSG-2.1.3: one that is kept alive outlives its last session", "keptAlive", async (run) => {
  expect(await run()).toEqual({ written: 0, beside: STORED, after: STORED });
});

test("MSG-2.4.TA_RETURNED: what a TA has no place for is its own error", "slots", async (run) => {
  const [done, refused] = [
    [0, 4],
    [0xffff_0006, 4],
  ];
  expect(await run()).toEqual([done, refused, done, refused]);
});

test("MSG-2.1.3: a TA for one session is BUSY for the next", "singleSession", async (run) => {
  expect(await run()).toEqual({ busy: [0xffff_000d, 3], again: 0 });
});

for (const [scenario, beside, what] of [
  ["panicOfMulti", 0, "a panic ends the one session that has the instance"],
  ["panicOfSingle", DEAD, "a panic ends every session of a single instance"],
  ["panicOfKept", DEAD, "a panic ends an instance that is kept alive"],
] as const) {
  test(`MSG-2.4.TA_PANICKED, MSG-2.1.3: ${what}`, scenario, async (run) => {
    expect(await run()).toEqual({ died: [DEAD, 3], beside, own: DEAD, after: [0, 0] });
  });
}

test(
  "MSG-2.4.TA_PANICKED: a TA lives on when the TA panics that it called",
  "panicByTa",
  async (run) => {
    expect(await run()).toEqual({ asked: 0, lives: 0, dead: DEAD });
  },
);

test("MSG-2.4.TA_PANICKED: access to no memory of its own ends a TA", "badAccess", async (run) => {
  expect(await run()).toEqual(Array.from({ length: 4 }, () => [DEAD, 3]));
});

test("memory of a TA that panicked is its client's again", "memoryAfterPanic", async (run) => {
  expect(await run()).toEqual({ result: 0, hash: "ba7816bf" });
});

test("MSG-2.1.2: forty sessions at once", "manySessions", async (run) => {
  expect(await run()).toEqual({ distinct: 40, sum: 42, again: true });
});

test(
  "MSG-2.1.3: instances are refused when the secure RAM is used up, and only then",
  "secureRam",
  async (run) => {
    expect(await run()).toEqual({ several: true, refusedBy: 3, again: 0 });
  },
);

test(
  "MSG-2.CANCEL: a cancellation waits for the next operation, and ends with it",
  "cancelledBefore",
  async (run) => {
    expect(await run()).toEqual([CANCEL, 0]);
  },
);

test(
  "MSG-1.1.CANCEL_ID: whatever tag a cancellation has, the session decides",
  "cancelledByTag",
  async (run) => {
    expect(await run()).toEqual({ status: 0, result: CANCEL });
  },
);

test("MSG-2.CANCEL: another session's cancellation is its own", "cancelledOther", async (run) => {
  expect(await run()).toBe(0);
});

test("MSG-2.CANCEL: two cancellations are one", "cancelledTwice", async (run) => {
  expect(await run()).toEqual([CANCEL, 0]);
});

test("MSG-2.CANCEL: who does not ask is not cancelled", "cancelledMasked", async (run) => {
  expect(await run()).toEqual([0, 0]);
});

test("SMC-9.2: more clients than threads are served in turn", "queueing", async (run) => {
  expect(await run()).toEqual([0, 1, 2, 3, 4].map((index) => [0, 100 + index]));
});
