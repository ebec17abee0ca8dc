import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/guests#${name}`, null);

const ALL_MEDIATED = {
  sum: 6,
  hash: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
  others: ["VM_CREATED"],
  calls: true,
  resumed: true,
};

test("a session to a pseudo-TA and to a TA, values and memory: every SMC goes through the mediator", async () => {
  expect(await run("everyCallIsMediated")).toEqual(ALL_MEDIATED);
});

test("MED-12.6: under kvm the same driver does the same, as client 2 behind the host", async () => {
  expect(await run("everyCallIsMediatedKvm")).toEqual(ALL_MEDIATED);
});

// Secure storage is looked into first, with a small buffer of its own.
const ASKED = { allocations: 2, frees: 2 };

test("MED-060, MED-143: a TA of 284 pages is too large for xen's buffers of 129", async () => {
  // The mediator itself has the memory freed (MED-143), and the TA is never asked for.
  const refused = { result: 0xffff_000c, origin: 3, opened: false, loads: 1, ...ASKED };
  expect(await run("largeTaXen")).toEqual(refused);
});

test("MED-060, MED-142: a TA of 284 pages is too large neither for strict nor for kvm", async () => {
  const loaded = { result: 0, origin: 4, opened: true, loads: 2, ...ASKED };
  expect(await run("largeTaStrict")).toEqual(loaded);
  expect(await run("largeTaKvm")).toEqual(loaded);
});

test("two guests work side by side", async () => {
  // What the TA answers where nobody has set its persistent time.
  expect(await run("twoGuests")).toEqual([0xffff_5000, 0xffff_5000, 0xffff_5000]);
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
  expect(await run("foreignResume")).toEqual({ stolen: 3, goesOn: 0xffff_0002 });
});
