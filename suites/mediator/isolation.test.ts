import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("mediator/isolation");
const BAD = 0xffff_0006;
const NOT_FOUND = 0xffff_0008;
const TARGET_DEAD = 0xffff_3024;

test("MED-9.2: memory of another VM's has no cookie here", "foreignCookie", async (run) => {
  expect(await run()).toEqual({ entered: 0, foreign: [BAD, BAD], own: 0, left: 0 });
});

test("MED-9.2: the same cookie is each VM's own", "sameCookie", async (run) => {
  expect(await run()).toEqual({
    entered: [0, 0],
    used: [0, 0],
    left: 0,
    after: [BAD, 0],
    sums: [11, 22],
  });
});

test(
  "MED-9.2, MSG-2.1.2: sessions of another VM's cannot be used, cancelled or closed",
  "foreignSession",
  async (run) => {
    expect(await run()).toEqual({
      sessions: [1, 2, 3],
      own: 1,
      foreign: [BAD, BAD, NOT_FOUND],
      still: 0,
    });
  },
);

test("MED-040, SMC-4.1.3: each VM has all threads", "ownThreads", async (run) => {
  expect(await run()).toEqual({ refusals: [1, 1], asMany: true, ended: [0], again: [5, 5] });
});

test("MED-110: calls of another VM's are resumed by nobody", "foreignThread", async (run) => {
  expect(await run()).toEqual({ before: 3, same: true, resumed: 0, after: 3, victim: 0 });
});

test("SMC-6, MED-026: each VM has a cache of its own", "ownCache", async (run) => {
  expect(await run()).toEqual({ enabled: 0, other: 7, busy: [2, 0, 7] });
});

test("MED-122: memory for RPCs under the same cookies", "sameRpcCookies", async (run) => {
  const ended = [0, NOT_FOUND];
  expect(await run()).toEqual({ same: true, ended: [ended, ended] });
});

test("SMC-8.2: a TA's panic is its own VM's", "ownPanics", async (run) => {
  expect(await run()).toEqual({ panicked: TARGET_DEAD, dead: TARGET_DEAD, alive: 0xffff_5000 });
});

test("MED-167, SMC-8.5: who comes after a VM finds nothing of it", "newcomer", async (run) => {
  expect(await run()).toEqual({
    entered: 0,
    gone: [0xffff_ffff, 0xffff_ffff],
    resumed: 3,
    session: NOT_FOUND,
    cookie: BAD,
    fresh: [1, 1],
    empty: true,
  });
});
