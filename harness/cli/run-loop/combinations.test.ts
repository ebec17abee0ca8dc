import { expect, test } from "@jest/globals";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import { nameOn } from "../../run/index.ts";
import { listedCombinations } from "./combinations.ts";

const SUITES = ["mediator", "normal-world", "smc-abi"];

test("every conduit and every rule set has scenarios, and several of most", async () => {
  const groups = await listedCombinations(SUITES);
  const names = new Set(groups.flatMap(({ on }) => on.map((one) => nameOn("", one))));
  expect([...names].toSorted()).toEqual([
    " [direct]",
    " [hwdom]",
    " [vm, kvm]",
    " [vm, strict]",
    " [vm, xen]",
  ]);
  for (const { on } of groups) expect(on.length).toBeGreaterThan(1);
});

test("a scenario that lists several combinations is run on every one of them by its suite", async () => {
  const sources = SUITES.flatMap((suite) => {
    const folder = path.join(packageRoot, "dist", "suites", suite);
    return readdirSync(folder)
      .filter((file) => file.endsWith(".test.js"))
      .map((file) => readFileSync(path.join(folder, file), "utf8"));
  });
  const runOnAll = (reference: string): boolean => {
    const [file = "", name = ""] = reference.split("#");
    return sources.some(
      (source) => source.includes(`scenariosOf("${file}")`) && source.includes(`"${name}"`),
    );
  };
  const groups = await listedCombinations(SUITES);
  const forgotten = groups.flatMap(({ of }) => of.filter((reference) => !runOnAll(reference)));
  expect(forgotten).toEqual([]);
});
