import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/two-vms");

test(
  "two VMs work at the same time, each with its own sessions and client id",
  "interleaved",
  async (run) => {
    const { results, clientIds, interleaved } = (await run()) as {
      results: { ids: number[]; right: boolean }[];
      clientIds: number[];
      interleaved: boolean;
    };
    for (const { ids, right } of results) {
      expect(right).toBe(true);
      // The partition of each VM counts its own sessions.
      expect(new Set(ids)).toEqual(new Set([2]));
    }
    expect(clientIds).toHaveLength(2);
    expect(interleaved).toBe(true);
  },
);

test("a single-instance TA is an instance of each VM's own", "ownInstances", async (run) => {
  expect(await run()).toEqual([0, 1, 0]);
});

test("the death of one VM touches no other and makes room", "deathOfOne", async (run) => {
  expect(await run()).toEqual({ right: true, third: 0 });
});
