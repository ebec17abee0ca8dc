import { expect, test } from "@jest/globals";
import { loadBoard } from "../board/index.ts";
import { Registers } from "../machine/index.ts";
import { chooseCombination } from "./choice.ts";
import { createEmulated } from "./emulated.ts";
import { GuestPlatform } from "./guest-platform.ts";
import type { Scenario } from "./scenario.ts";
import { Skipped } from "./target.ts";

const MIB = 1024 * 1024;
const scenario = (parts: Pick<Scenario, "conduits" | "rules">): Scenario => ({
  ...parts,
  clauses: [],
  run: () => null,
});

test("a hypervisor's first guest is at the end of its window, on conduit vm, and there is no second", () => {
  const emulated = createEmulated({ conduit: "direct", seed: 1 });
  const { port } = emulated;
  const { base } = emulated.addGuest().conduit.ram;
  const ram = { base, size: 64 * MIB };
  const platform = new GuestPlatform({ seed: 1, rules: "xen", port, ram, tas: new Map() });
  const { conduit, vm, destroy } = platform.addGuest();
  expect([conduit.kind, vm, destroy]).toEqual(["vm", undefined, undefined]);
  expect(conduit.ram).toEqual({ base: base + 48 * MIB, size: 16 * MIB });
  const registers = new Registers([0xbf00_ff01]);
  conduit.smc(registers);
  expect(registers.get(0)).toBe(0x384f_b3e0);
  expect(() => platform.addGuest()).toThrow(Skipped);
  expect(() => platform.addGuest()).toThrow(/guest-count/);
});

test("behind a hypervisor's own mediator only scenarios for its rules run", async () => {
  const board = await loadBoard("qemu-xen", { env: {} });
  const choose = (parts: Pick<Scenario, "conduits" | "rules">, on?: "strict" | "xen") =>
    chooseCombination(
      scenario(parts),
      "a/b#c",
      board,
      {},
      on === undefined ? undefined : { conduit: "vm", rules: on },
    );
  expect(choose({ conduits: ["direct", "vm"] })).toEqual({ conduit: "vm", rules: "xen" });
  expect(choose({ conduits: ["vm"] }, "xen")).toEqual({ conduit: "vm", rules: "xen" });
  expect(() => choose({ conduits: ["vm"] }, "strict")).toThrow(
    "needs a mediator of rules strict, board qemu-xen has that of xen",
  );
  expect(() => choose({ conduits: ["vm"], rules: ["strict", "kvm"] })).toThrow(
    "needs a mediator of rules strict or kvm",
  );
  expect(() => choose({ conduits: ["direct"] })).toThrow("needs conduit direct");
});
