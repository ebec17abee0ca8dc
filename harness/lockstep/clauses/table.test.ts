import { expect, test } from "@jest/globals";
import { CLAUSES, SHEETS } from "./index.ts";
import { readSheet } from "./table.ts";

const ids = (sheet: "SMC" | "MED", text: string): string[] =>
  readSheet(sheet, text).map(({ id }) => id);

test("rules, rows, whole sections and numbers of the mediator sheet make ids", () => {
  expect(ids("SMC", "## 4.1 | a\n7 | seven |\nA1_A2 | row |\n## 4.3 | a\n- | all |")).toEqual([
    "SMC-4.1.7",
    "SMC-4.1.A1_A2",
    "SMC-4.3",
  ]);
  expect(ids("MED", "## 4.3 | a\n060 R | sixty |\n## 12 | a\n1 | one |")).toEqual([
    "MED-060",
    "MED-12.1",
  ]);
});

test("a row has its section's source and conditions unless it gives its own", () => {
  const rows = `
## 2 | os core/a.c: first | conduit: vm | when: built
A | plain |
B S | other symbol | : second
C | other place | linux b.c | placement: hypervisor | when: not built
D | left out | | out: no such thing
`;
  const common = { sheet: "MED", section: "2", conduit: "vm", condition: "built" };
  const implemented = { ...common, status: "implemented" };
  expect(readSheet("MED", rows)).toEqual([
    { ...implemented, id: "MED-2.A", summary: "plain", source: "os core/a.c: first" },
    {
      ...implemented,
      id: "MED-2.B",
      level: "S",
      summary: "other symbol",
      source: "os core/a.c: second",
    },
    {
      ...implemented,
      id: "MED-2.C",
      summary: "other place",
      source: "linux b.c",
      condition: "not built",
      placement: "hypervisor",
    },
    {
      ...common,
      id: "MED-2.D",
      summary: "left out",
      source: "os core/a.c: first",
      status: "out-of-scope",
      reason: "no such thing",
    },
  ]);
});

test.each([
  ["a clause before any section", "A | b |"],
  ["a name in small letters", "## 1 | s\nabc | b |"],
  ["no summary", "## 1 | s\nA | |"],
  ["a level that there is not", "## 1 | s\nA Q | b |"],
  ["an unknown column", "## 1 | s\nA | b | | who: me"],
  ["an unknown conduit", "## 1 | s\nA | b | | conduit: wire"],
  ["an id that comes twice", "## 1 | s\nA | b |\nA | c |"],
])("%s is a mistake", (_, text) => {
  expect(() => readSheet("SMC", text)).toThrow(/^clause catalogue: /);
});

test("ids are unique, and sheets come in order", () => {
  const all = CLAUSES.map(({ id }) => id);
  expect(new Set(all).size).toBe(all.length);
  expect([...new Set(CLAUSES.map(({ sheet }) => sheet))]).toEqual([...SHEETS]);
});

test("every clause says what it is and where it was read, and exactly the others say why not", () => {
  for (const clause of CLAUSES) {
    expect(clause.id).toMatch(/^(MED|SMC|MSG|TEE|RPMB)-\d+(\.\d+)*(\.[A-Z][A-Z0-9_]*)?$/);
    expect(clause.source).toMatch(/^(optee_os|optee_client|linux|tf-a|xen|kvm|jedec|mmc-utils)\b/);
    expect(clause.summary.length).toBeLessThanOrEqual(100);
    expect(clause.reason !== undefined).toBe(clause.status === "out-of-scope");
  }
});
