import { expect, test } from "@jest/globals";
import { caseIdOf, isSelected, nameOn } from "./channel.ts";

const LONG = `a title ${"that goes on ".repeat(20)}`;

test("a case's id is its suite and its name in lower case", () => {
  expect(caseIdOf("smc-abi", "CALLS_UID returns the API UID")).toBe(
    "smc-abi.calls_uid-returns-the-api-uid",
  );
  expect(caseIdOf("smc-abi", LONG)).toHaveLength("smc-abi.".length + 96);
});

test("the combination of a case is part of its id, however long the title is", () => {
  const on = { conduit: "vm", rules: "kvm" };
  expect(caseIdOf("s", nameOn("A title", on))).toBe("s.a-title-vm-kvm");
  expect(caseIdOf("s", nameOn("A title", { conduit: "direct" }))).toBe("s.a-title-direct");
  const ids = ["strict", "xen", "kvm"].map((rules) =>
    caseIdOf("s", nameOn(LONG, { conduit: "vm", rules })),
  );
  expect(new Set(ids).size).toBe(3);
});

test("brackets that name no conduit are part of the title", () => {
  expect(caseIdOf("s", "a list [of, things]")).toBe("s.a-list-of-things");
  expect(isSelected({ conduits: ["vm"] }, "a list [of, things]")).toBe(true);
});

test.each([
  [undefined, "t [vm, xen]", true],
  [{}, "t [hwdom]", true],
  [{ conduits: ["direct"] }, "t", true],
  [{ conduits: ["direct"] }, "t [direct]", true],
  [{ conduits: ["direct"] }, "t [vm, xen]", false],
  [{ rules: ["kvm"] }, "t [vm, kvm]", true],
  [{ rules: ["kvm"] }, "t [vm, strict]", false],
  // Rules are the mediator's: the other conduits have none.
  [{ rules: ["kvm"] }, "t [direct]", true],
  [{ conduits: ["vm"], rules: ["kvm"] }, "t [direct]", false],
])("narrowed by %j, the case %j is wanted: %j", (narrowing, name, wanted) => {
  expect(isSelected(narrowing, name)).toBe(wanted);
});
