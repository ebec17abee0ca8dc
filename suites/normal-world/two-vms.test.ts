import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`normal-world/two-vms#${name}`, null);

test("two VMs work at the same time, each with its own sessions and client id", async () => {
  const { results, clientIds, switches } = (await run("interleaved")) as {
    results: { ids: number[]; right: boolean }[];
    clientIds: number[];
    switches: number;
  };
  for (const { ids, right } of results) {
    expect(right).toBe(true);
    // The partition of each VM counts its own sessions.
    expect(new Set(ids)).toEqual(new Set([2]));
  }
  expect(clientIds).toHaveLength(2);
  // One VM after the other would be a single switch; how many there are depends on the seed.
  expect(switches).toBeGreaterThan(2);
});

test("a single-instance TA is an instance of each VM's own", async () => {
  expect(await run("ownInstances")).toEqual([0, 1, 0]);
});

test("the death of one VM touches no other and makes room", async () => {
  expect(await run("deathOfOne")).toEqual({ right: true, third: 0 });
});
