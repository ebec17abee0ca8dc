import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = async (name: string): Promise<Record<string, unknown>> =>
  (await target.run(`mediator/attacks#${name}`, null)) as Record<string, unknown>;

test("MED-135: an SHM_ALLOC answer under another command goes through under xen", async () => {
  // Its next request is a file to open, whose name it writes into the memory that it was given.
  expect(await run("commandChangedXen")).toEqual({ next: "FS", written: "/dirf.db" });
});

test("MED-135: an SHM_ALLOC answer under another command is a failed allocation under strict", async () => {
  expect(await run("commandChangedStrict")).toEqual({ next: "SHM_FREE", written: "" });
});

test("MED-141: a contiguous SHM_ALLOC answer goes through under xen", async () => {
  expect(await run("contiguousAnswerXen")).toEqual({ next: "FS", written: "/dirf.db" });
});

test("MED-141: a contiguous SHM_ALLOC answer is a failed allocation under strict", async () => {
  expect(await run("contiguousAnswerStrict")).toEqual({ next: "SHM_FREE", written: "" });
});

test("MED-131: a reply with an unknown cookie costs xen's guest the call and a thread for good", async () => {
  // The first comes back as it went in, the second is told that there is no such call.
  expect(await run("unknownCookieXen")).toEqual({ first: 0x3200_0003, again: 3, lost: 1 });
});

test("MED-131: a reply with an unknown cookie is a failed RPC under strict, and the call goes on", async () => {
  const { first, again, lost } = await run("unknownCookieStrict");
  for (const a0 of [Number(first), Number(again)]) expect(a0 === 0 || a0 >= 0xffff_0000).toBe(true);
  expect(lost).toBe(0);
});

test("MED-106: an RPC that cannot be delivered comes back to xen's guest as no function that is known", async () => {
  expect(await run("staleRequestXen")).toEqual({ a0: 0xffff_ffff, found: [] });
});

test("MED-106: an RPC that cannot be delivered never reaches strict's guest", async () => {
  expect(await run("staleRequestStrict")).toEqual({ a0: 0, found: [] });
});

test("MED-106, MED-132: a request that cannot be delivered comes back to xen's guest as no function that is known", async () => {
  // Nothing tells it that its thread waits; who resumes it is asked to free the argument.
  const seen = { a0: 0xffff_ffff, asked: [], resumed: 0xffff_0002 };
  expect(await run("argumentGoneXen")).toEqual(seen);
});

test("MED-106, MED-132: a request that cannot be delivered fails, and strict's guest goes on", async () => {
  expect(await run("argumentGoneStrict")).toEqual({ a0: 0, asked: ["FREE"], resumed: 3 });
});

const BEFORE = { first: 0, pinned: 1, ret: 0 };

test("MED-085: a cookie named in passing under xen", async () => {
  // The other guest put 40 and 2 there; the attacker's TA adds them up in its memory.
  expect(await run("useAfterUnpinXen")).toEqual({ ...BEFORE, still: 0, given: "done", byte: 42 });
});

test("MED-085: a cookie named in passing means nothing under strict", async () => {
  const safe = { still: 1, given: "waiting", byte: null };
  expect(await run("useAfterUnpinStrict")).toEqual({ ...BEFORE, ...safe });
});

test("MED-052: refused messages use up xen's 16 buffers", async () => {
  expect(await run("leakXen")).toEqual({ outOfMemoryAfter: 16 });
});

test("MED-052: refused messages leave 16 pages pinned under xen", async () => {
  expect(await run("leakedPinsXen")).toEqual({ pinned: 16 });
});

test("MED-052: refused messages use up nothing of strict's and leave nothing pinned", async () => {
  expect(await run("leakStrict")).toEqual({ outOfMemoryAfter: null });
  expect(await run("leakedPinsStrict")).toEqual({ pinned: 0 });
});

test("MED-067: a size of 2^32 pages too many is left to OP-TEE to refuse by xen", async () => {
  // Origin TEE.
  expect(await run("truncatedSizeXen")).toEqual({ ret: 0xffff_0006, origin: 3 });
});

test("MED-067: a size of 2^32 pages too many is one page to xen, pinned and passed on as it is", async () => {
  expect(await run("truncatedPinsXen")).toEqual({ reached: 1, pinned: 1 });
});

test("MED-067: a size of 2^32 pages too many is refused by strict itself", async () => {
  expect(await run("truncatedSizeStrict")).toEqual({ ret: 0xffff_000c, origin: 2 });
  expect(await run("truncatedPinsStrict")).toEqual({ reached: 0, pinned: 0 });
});

test("MED-068: failed walks use up xen's page quota", async () => {
  expect(await run("quotaLeakXen")).toEqual({ outOfMemoryAfter: 127 });
});

test("MED-068: failed walks use up nothing of strict's page quota", async () => {
  expect(await run("quotaLeakStrict")).toEqual({ outOfMemoryAfter: null });
});

test("MED-090: a result that cannot be written back: xen's guest believes an old one", async () => {
  // The old result says success and session 77, which never was.
  expect(await run("resultLostXen")).toEqual({ a0: 0, ret: 0, session: 77 });
});

test("MED-090: a result that cannot be written back: strict's guest gets EBADADDR", async () => {
  expect(await run("resultLostStrict")).toEqual({ a0: 4, ret: 0, session: 77 });
});

test("MED-090: a result whose page is gone is success to xen's guest", async () => {
  expect(await run("resultGoneXen")).toEqual({ a0: 0 });
});

test("MED-090: a result whose page is gone is EBADADDR to strict's guest", async () => {
  expect(await run("resultGoneStrict")).toEqual({ a0: 4 });
});
