import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/attacks#${name}`, null);

test("an SHM_ALLOC answer under another command hands xen's secure world a foreign page, strict's not", async () => {
  // It goes on with the buffer: its next request is in memory that is not the guest's.
  expect(await run("commandChangedXen")).toEqual({ next: "FS" });
  expect(await run("commandChangedStrict")).toEqual({ next: "SHM_FREE" });
});

test("a contiguous SHM_ALLOC answer hands xen's secure world a foreign page, strict's not", async () => {
  expect(await run("contiguousAnswerXen")).toEqual({ next: "FS" });
  expect(await run("contiguousAnswerStrict")).toEqual({ next: "SHM_FREE" });
});

test("a reply with an unknown cookie wedges the call under xen; under strict it goes on", async () => {
  expect(await run("unknownCookieXen")).toEqual({ first: 0x3200_0003, again: 3 });
  const { first, again } = (await run("unknownCookieStrict")) as Record<string, number>;
  expect([first, again].every((a0 = 0) => a0 === 0 || a0 >= 0xffff_0000)).toBe(true);
});

test("requests that cannot be delivered: xen's guest is asked all the same, strict's is not", async () => {
  expect(await run("argumentGoneXen")).toEqual({ a0: 0, asked: ["CMD", "FREE"] });
  expect(await run("argumentGoneStrict")).toEqual({ a0: 0, asked: ["FREE"] });
});

test("naming the cookie of registered memory unpins it under xen and not under strict", async () => {
  // The cookie can be registered once more only after the mediator let go of the pages.
  expect(await run("useAfterUnpinXen")).toEqual({ first: 0, again: 0 });
  expect(await run("useAfterUnpinStrict")).toEqual({ first: 0, again: 0xffff_0006 });
});

test("refused messages use up xen's 16 buffers and none of strict's", async () => {
  expect(await run("leakXen")).toEqual({ outOfMemoryAfter: 16 });
  expect(await run("leakStrict")).toEqual({ outOfMemoryAfter: null });
});

test("failed walks use up xen's page quota and none of strict's", async () => {
  expect(await run("quotaLeakXen")).toEqual({ outOfMemoryAfter: 127 });
  expect(await run("quotaLeakStrict")).toEqual({ outOfMemoryAfter: null });
});

test("a result that cannot be written back is a success under xen and EBADADDR under strict", async () => {
  expect(await run("resultLostXen")).toEqual({ a0: 0 });
  expect(await run("resultLostStrict")).toEqual({ a0: 4 });
});
