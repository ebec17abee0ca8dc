import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/attacks#${name}`, null);

test("MED-135: an SHM_ALLOC answer under another command makes xen's OP-TEE write into another guest", async () => {
  // Its next request is a file to open, whose name it writes into the memory that it was given.
  expect(await run("commandChangedXen")).toEqual({ next: "FS", written: "/dirf.db" });
  expect(await run("commandChangedStrict")).toEqual({ next: "SHM_FREE", written: "" });
});

test("MED-141: a contiguous SHM_ALLOC answer makes xen's OP-TEE write into another guest", async () => {
  expect(await run("contiguousAnswerXen")).toEqual({ next: "FS", written: "/dirf.db" });
  expect(await run("contiguousAnswerStrict")).toEqual({ next: "SHM_FREE", written: "" });
});

test("MED-131: a reply with an unknown cookie wedges the call under xen; under strict it goes on", async () => {
  expect(await run("unknownCookieXen")).toEqual({ first: 0x3200_0003, again: 3, stuck: 1 });
  const outcome = (await run("unknownCookieStrict")) as Record<string, number>;
  const { first = -1, again = -1 } = outcome;
  expect([first, again].every((a0) => a0 === 0 || a0 >= 0xffff_0000)).toBe(true);
  expect(outcome["stuck"]).toBe(0);
});

test("MED-106: an RPC that cannot be delivered makes xen's guest serve an old request once more", async () => {
  expect(await run("staleRequestXen")).toEqual({ a0: 0, found: ["FS"] });
  expect(await run("staleRequestStrict")).toEqual({ a0: 0, found: [] });
});

test("MED-106, MED-132: requests that cannot be delivered: xen's guest is asked all the same, strict's is not", async () => {
  expect(await run("argumentGoneXen")).toEqual({ a0: 0, asked: ["CMD", "FREE"] });
  expect(await run("argumentGoneStrict")).toEqual({ a0: 0, asked: ["FREE"] });
});

test("MED-085: a cookie named in passing unpins a page under xen, and OP-TEE works on it when it is another guest's", async () => {
  const before = { first: 0, pinned: 1, ret: 0 };
  // The other guest put 40 and 2 there; the attacker's TA adds them up in its memory.
  expect(await run("useAfterUnpinXen")).toEqual({ ...before, still: 0, given: "done", byte: 42 });
  const safe = { still: 1, given: "waiting", byte: null };
  expect(await run("useAfterUnpinStrict")).toEqual({ ...before, ...safe });
});

test("MED-052: refused messages use up xen's 16 buffers and pin their pages; strict's use up nothing", async () => {
  expect(await run("leakXen")).toEqual({ outOfMemoryAfter: 16, pinned: 16 });
  expect(await run("leakStrict")).toEqual({ outOfMemoryAfter: null, pinned: 0 });
});

test("MED-067: a size of 2^32 pages too many is one page to xen and passed on as it is; strict refuses it", async () => {
  // OP-TEE itself refuses it then (origin TEE, 3); strict never asks (COMMS, 2).
  const refusals = {
    xen: { ret: 0xffff_0006, origin: 3 },
    strict: { ret: 0xffff_000c, origin: 2 },
  };
  expect(await run("truncatedSizeXen")).toEqual({ reached: 1, pinned: 1, ...refusals.xen });
  expect(await run("truncatedSizeStrict")).toEqual({ reached: 0, pinned: 0, ...refusals.strict });
});

test("MED-068: failed walks use up xen's page quota and none of strict's", async () => {
  expect(await run("quotaLeakXen")).toEqual({ outOfMemoryAfter: 127 });
  expect(await run("quotaLeakStrict")).toEqual({ outOfMemoryAfter: null });
});

test("MED-090: a result that cannot be written back: xen's guest believes an old one, strict's gets EBADADDR", async () => {
  // The old result says success and session 77, which never was.
  expect(await run("resultLostXen")).toEqual({ a0: 0, ret: 0, session: 77 });
  expect(await run("resultLostStrict")).toEqual({ a0: 4, ret: 0, session: 77 });
});
