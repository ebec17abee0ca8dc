import { createHash } from "node:crypto";
import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("mediator/many-vms");

/** What one client must see: the pseudo-TA's sum, the hash, and the sum over the shared bytes. */
function expectedOf(salt: number): unknown[] {
  const text = Uint8Array.from({ length: 5000 }, (_, index) => (index * salt) & 0xff);
  const sum = text.reduce((total, byte) => (total + byte) & 0xff, 0);
  return [salt + 1000, 0, createHash("sha256").update(text).digest("hex"), sum];
}

const expectedOfVm = (index: number): unknown[] => {
  const salts = [0, 1, 2].map((number) => 100 * (index + 1) + number);
  return [...salts.map(expectedOf), (100 * (index + 1)) & 0xff];
};

test(
  "four VMs with more clients than threads, interrupted at every turn: each sees what it would alone",
  ["busy", "alone"],
  async (run, on) => {
    const expected = [0, 1, 2, 3].map(expectedOfVm);
    expect(await run("alone")).toEqual(expected);
    const { results, clients, switches, threadLimit, interrupts, rpcs } = (await run("busy")) as {
      results: unknown[];
      clients: number[];
      switches: number;
      threadLimit: number;
      interrupts: number;
      rpcs: number;
    };
    expect(results).toEqual(expected.flat());
    // The host is client 1 of rule set kvm.
    expect(clients).toEqual(on?.rules === "kvm" ? [2, 3, 4, 5] : [1, 2, 3, 4]);
    // All of it happened, and often; how often depends on the seed.
    for (const count of [switches, interrupts, rpcs]) expect(count).toBeGreaterThan(50);
    expect(threadLimit).toBeGreaterThan(0);
  },
);

test(
  "VMs that die at any time of their lives leave nothing, and the one that lives does not notice",
  "deaths",
  async (run) => {
    expect(await run()).toEqual({ left: Array(8).fill(0), results: expectedOfVm(0) });
  },
);
