import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { corpusFolder, corpusFolderOf } from "../fuzz/corpus.ts";
import { clausesInTitle, findTests, titlesIn } from "./titles.ts";

const folder = mkdtempSync(path.join(os.tmpdir(), "lockstep-titles-"));
afterAll(() => rmSync(folder, { recursive: true }));

test.each(["SMC-4.1.7 without a colon", "the rule SMC-4.1.7: no", "RFC-1: no", "MED: no", ""])(
  "%j names none",
  (title) => {
    expect(clausesInTitle(title)).toEqual([]);
  },
);

// Put together here, lest this file's own examples be taken for tests of those clauses.
const at = (id: string, text: string): string => [id, text].join(": ");

test("a title names the clauses before its first colon", () => {
  expect(clausesInTitle(at("SMC-4.1.7", "more than 127"))).toEqual(["SMC-4.1.7"]);
  expect(clausesInTitle(at("MED-060, MSG-1.4.3, SMC-8", "sizes"))).toEqual([
    "MED-060",
    "MSG-1.4.3",
    "SMC-8",
  ]);
  expect(clausesInTitle(at("TEE-2.1.OPEN_SESSION_ARG", "56 bytes"))).toEqual([
    "TEE-2.1.OPEN_SESSION_ARG",
  ]);
});

test("titles are found in every quotation, and skipped tests are not", () => {
  const source = [
    `test("${at("MED-001", String.raw`a \"b\"`)}", () => {});`,
    `test('${at("MED-002", "c")}', () => {});`,
    `  test(\n    \`${at("MED-003, MED-004", "d ${e}")}\`,\n () => {});`,
    `rule("${at("MED-005", "by a function of the file")}");`,
    `test.skip("${at("MED-006", "never")}", () => {});`,
    `test.todo("${at("MED-007", "never")}");`,
    `expect("MED-008").toBe("other MED-009: text");`,
  ].join("\n");
  expect(titlesIn(source)).toEqual([
    { title: at("MED-001", 'a "b"'), clauses: ["MED-001"] },
    { title: at("MED-002", "c"), clauses: ["MED-002"] },
    { title: at("MED-003, MED-004", "d ${e}"), clauses: ["MED-003", "MED-004"] },
    { title: at("MED-005", "by a function of the file"), clauses: ["MED-005"] },
  ]);
});

const rows = (ids: readonly string[]): string => ids.map((id) => `["${id}", [1, 2]],`).join("\n  ");
const table = (call: string, ids: readonly string[], title: string): string =>
  `${call}.each([\n  ${rows(ids)}\n])("${title}", () => {});\n`;

test("a table of rows names a clause a row", () => {
  const source =
    table("test", ["SMC-0.A", "SMC-0.B"], "%s: is %i") +
    table("test", ["SMC-0.C"], "a case that begins otherwise: %s") +
    table("test.skip", ["SMC-0.D"], "%s: never") +
    table("test", ["SMC-0.E"], "%s: is");
  expect(titlesIn(source).map(({ title }) => title)).toEqual([
    at("SMC-0.A", "is %i"),
    at("SMC-0.B", "is %i"),
    at("SMC-0.E", "is"),
  ]);
});

test("test files are looked for in the package, and whether its unit tests are there", async () => {
  const put = (file: string, title: string): void => {
    const place = path.join(folder, "dist", file);
    mkdirSync(path.dirname(place), { recursive: true });
    writeFileSync(place, `test("${title}", () => {});\n`);
  };
  put("suites/smc-abi/a.test.js", at("SMC-0.A", "suite"));
  put("suites/smc-abi/a.scenario.js", at("SMC-0.B", "no test"));
  expect(await findTests(folder)).toEqual({
    unitTests: false,
    tests: [
      { file: "suites/smc-abi/a.test.ts", title: at("SMC-0.A", "suite"), clauses: ["SMC-0.A"] },
    ],
  });
  put("harness/machine/b.test.js", "names none");
  put("harness/machine/c.test.js", at("SMC-0.C", "unit"));
  const { unitTests, tests } = await findTests(folder);
  expect(unitTests).toBe(true);
  expect(tests.map(({ file }) => file)).toEqual([
    "harness/machine/c.test.ts",
    "suites/smc-abi/a.test.ts",
  ]);
});

test("programs of the fuzz corpus count as the cases that replay them", async () => {
  const programs = corpusFolderOf(folder);
  mkdirSync(programs, { recursive: true });
  mkdirSync(path.join(folder, "dist", "suites", "fuzz"), { recursive: true });
  const put = (name: string): void =>
    copyFileSync(path.join(corpusFolder, name), path.join(programs, name));
  put("chained-list.json");
  put("honest-guests.json");
  const before = (await findTests(folder)).tests;
  expect(before.filter(({ file }) => file.startsWith("suites/fuzz/"))).toEqual([]);
  writeFileSync(path.join(folder, "dist", "suites", "fuzz", "corpus.test.js"), "// by name\n");
  const found = (await findTests(folder)).tests.filter(({ file }) => file.includes("/fuzz/"));
  expect(found).toEqual([
    {
      file: "suites/fuzz/corpus.test.ts",
      title: expect.stringMatching(/^MED-060, MED-064: chained-list: a list of 512 pages/),
      clauses: ["MED-060", "MED-064"],
    },
  ]);
});
