import { expect, test } from "@jest/globals";
import { UsageError } from "../base/index.ts";
import { loadBoard } from "../board/index.ts";
import {
  admits,
  combinationName,
  combinationsOf,
  EmulatedTarget,
  type Narrowing,
} from "./index.ts";

const names = (scenario: Parameters<typeof combinationsOf>[0]): string[] =>
  combinationsOf(scenario).map(combinationName);

test("a scenario runs on each conduit that it lists, and on vm under each rule set", () => {
  expect(names({ conduits: ["vm", "direct", "hwdom"] })).toEqual([
    "vm, strict",
    "vm, xen",
    "vm, kvm",
    "direct",
    "hwdom",
  ]);
  expect(names({ conduits: ["direct"] })).toEqual(["direct"]);
  expect(names({ conduits: ["vm"], rules: "xen" })).toEqual(["vm, xen"]);
  expect(names({ conduits: ["direct", "vm"], rules: ["kvm", "strict"] })).toEqual([
    "direct",
    "vm, kvm",
    "vm, strict",
  ]);
});

test("rules narrow conduit vm and no other", () => {
  expect(admits({ rules: ["xen"] }, { conduit: "direct" })).toBe(true);
  expect(admits({ rules: ["xen"] }, { conduit: "vm", rules: "kvm" })).toBe(false);
  expect(admits({ conduits: ["vm"] }, { conduit: "direct" })).toBe(false);
});

const emulated = async (narrowing: Narrowing = {}): Promise<EmulatedTarget> =>
  new EmulatedTarget(await loadBoard("emulated", { env: {} }), { narrowing });

test("a scenario is not run on a combination that it does not list", async () => {
  const target = await emulated();
  const run = target.run("mediator/guests#largeTaXen", null, { conduit: "vm", rules: "kvm" });
  await expect(run).rejects.toThrow(UsageError);
  await expect(run).rejects.toThrow("not made for vm, kvm");
});

test("without a combination a scenario takes the first that the run is narrowed to, or skips", async () => {
  const narrowed = await emulated({ rules: ["xen"] });
  expect(await narrowed.run("mediator/guests#largeTaXen", null)).toMatchObject({ opened: false });
  await expect(narrowed.run("mediator/guests#largeTaStrict", null)).rejects.toThrow(
    "is for vm, strict, which is not selected",
  );
  // On vm it would load under every rule set but this one.
  expect(await narrowed.run("normal-world/sessions#largeTa", null)).toMatchObject({ origin: 3 });
  const direct = await emulated({ conduits: ["direct"] });
  expect(await direct.run("normal-world/sessions#largeTa", null)).toMatchObject({ result: 0 });
});
