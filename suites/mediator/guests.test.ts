import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/guests#${name}`, null);

test("a session to a pseudo-TA and to a TA, values and memory: every SMC goes through the mediator", async () => {
  expect(await run("everyCallIsMediated")).toEqual({
    sum: 6,
    hash: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    others: ["VM_CREATED"],
    calls: true,
    resumed: true,
  });
});

test("a TA of 284 pages cannot be loaded under xen's limits and can under strict", async () => {
  expect(await run("largeTaXen")).toEqual({ result: 0xffff_000c, opened: false });
  expect(await run("largeTaStrict")).toEqual({ result: 0, opened: true });
});

test("two guests work side by side", async () => {
  expect(await run("twoGuests")).toEqual([0, 0, 0]);
});

test("a guest that dies in an RPC leaves nothing, and the others go on", async () => {
  expect(await run("deathInRpc")).toEqual({
    suspended: 1,
    held: 1,
    left: 0,
    told: ["VM_DESTROYED 0"],
    bystander: 0,
    dead: 0xffff_ffff,
  });
});

test("nobody resumes another guest's call", async () => {
  expect(await run("foreignResume")).toEqual({ stolen: 3, goesOn: 0xffff_0005 });
});
