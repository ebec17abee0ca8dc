import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/cookies#${name}`, null);
const BAD_PARAMETERS = 0xffff_0006;

test("MED-085: how long xen knows a buffer whose cookie is named in passing", async () => {
  const seen = { first: 0, twice: BAD_PARAMETERS, used: 0, sum: 42 };
  expect(await run("forgottenXen")).toEqual({ ...seen, again: 0 });
});

test("MED-085: strict knows a buffer for as long as OP-TEE does", async () => {
  const seen = { first: 0, twice: BAD_PARAMETERS, used: 0, sum: 42 };
  expect(await run("forgottenStrict")).toEqual({ ...seen, again: BAD_PARAMETERS });
});

test("MED-121, MED-124: a second RPC argument under one cookie takes the first one's away under xen", async () => {
  // The first call comes back as it went in: RETURN_FROM_RPC.
  expect(await run("duplicateArgumentXen")).toEqual({ second: "FREE", first: 0x3200_0003 });
});

test("MED-121, MED-124: a second RPC argument under one cookie costs the first one nothing under strict", async () => {
  expect(await run("duplicateArgumentStrict")).toEqual({ second: "ALLOC", first: 0xffff_0005 });
});

const BOTH_GO_ON = { firstGoesOn: "NOTIFICATION", secondGoesOn: "SHM_ALLOC" };

test("MED-130: an answer with another call's argument page is a failed RPC, and no more, under xen", async () => {
  expect(await run("swappedArgumentXen")).toEqual(BOTH_GO_ON);
});

test("MED-130: an answer with another call's argument page is a failed RPC, and no more, under strict", async () => {
  expect(await run("swappedArgumentStrict")).toEqual(BOTH_GO_ON);
});

test("MED-062, MED-147: a buffer under a cookie in use makes xen ask for the one in use to be freed", async () => {
  expect(await run("duplicateBufferXen")).toEqual({ registering: 0, next: "SHM_FREE", cookie: 7 });
});

test("MED-062, MED-147: a buffer under a cookie in use is a failed allocation under strict", async () => {
  expect(await run("duplicateBufferStrict")).toEqual({
    registering: 0,
    next: "FREE",
    cookie: null,
  });
});
