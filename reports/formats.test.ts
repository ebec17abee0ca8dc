import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import {
  BundleReader,
  type CaseResult,
  type Results,
  type RunInfo,
  STATUSES,
} from "../harness/run/index.ts";
import { renderJunit } from "./junit.ts";
import { renderKcidb } from "./kcidb.ts";
import { renderAll } from "./render.ts";
import { renderTap } from "./tap.ts";
import { writeSampleBundle } from "./testing/sample-bundle.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-reports-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

async function sample(name: string, broken: boolean, rendered = false): Promise<BundleReader> {
  const dir = path.join(root, name);
  const runtimeDir = path.join(root, "rt");
  const render = rendered ? { render: renderAll } : {};
  await writeSampleBundle({ dir, runtimeDir, broken, cases: 30, ...render });
  return await BundleReader.open(dir);
}

/** A reader over results that never were on disk; it has no events. */
async function readerOf(
  cases: readonly CaseResult[],
  info: Partial<RunInfo> = {},
): Promise<BundleReader> {
  const reader = await BundleReader.open(root, {
    info: {
      format: 1,
      id: "r",
      lockstep: "0",
      node: "v20",
      command: [],
      seed: 1,
      startedAt: "2026-01-05T09:00:00.000Z",
      state: "complete",
      problems: [],
      facts: [],
      streams: [],
      redactions: [],
      ...info,
    },
  });
  const results: Results = { format: 1, cases };
  return Object.create(reader, { results: { value: results } }) as BundleReader;
}

const anyText = fc.oneof(
  fc.string({ unit: "binary", maxLength: 60 }),
  fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
);

const anyCase: fc.Arbitrary<CaseResult> = fc.record({
  target: anyText,
  suite: anyText,
  id: anyText,
  title: anyText,
  status: fc.constantFrom(...STATUSES),
  reason: anyText,
  where: anyText,
  subcases: fc.array(
    fc.record({ id: anyText, status: fc.constantFrom(...STATUSES), reason: anyText }),
    { maxLength: 3 },
  ),
});

/** Parses XML with Python's expat and prints what a JUnit reader would see. */
const PYTHON_JUNIT = `
import json, sys
import xml.etree.ElementTree as ET
root = ET.fromstring(sys.stdin.buffer.read())
assert root.tag == "testsuites", root.tag
out = []
for suite in root:
    assert suite.tag == "testsuite"
    for name in ("name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"):
        assert name in suite.attrib, name
    tags = [child.tag for child in suite]
    assert tags[0] == "properties" and set(tags[1:]) <= {"testcase"}, tags
    kinds = {"failure": 0, "error": 0, "skipped": 0}
    cases = suite.findall("testcase")
    for case in cases:
        assert case.attrib["time"] == "%.3f" % float(case.attrib["time"])
        results = [child.tag for child in case if child.tag != "system-out"]
        assert len(results) <= 1 and set(results) <= set(kinds), results
        for tag in results:
            kinds[tag] += 1
        out.append([case.attrib["classname"], case.attrib["name"], results[0] if results else "pass",
                    case.find(results[0]).attrib.get("message") if results else None])
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == kinds["failure"]
    assert int(suite.attrib["errors"]) == kinds["error"]
    assert int(suite.attrib["skipped"]) == kinds["skipped"]
print(json.dumps(out))
`;

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

const python = spawnSync("python3", ["-c", "import xml.etree.ElementTree"]).status === 0;
const withPython = python ? test : test.skip;
const noPython = python ? "" : "; skipped: no python3";

function readJunit(xml: string): [string, string, string, string | null][] {
  const run = spawnSync("python3", ["-c", PYTHON_JUNIT], { input: xml, encoding: "utf8" });
  if (run.status !== 0) throw new Error(run.stderr);
  return JSON.parse(run.stdout) as [string, string, string, string | null][];
}

describe("junit.xml", () => {
  withPython(`is well-formed and counts right, whatever the texts are${noPython}`, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyCase, { maxLength: 60 }), anyText, async (cases, text) => {
        const reader = await readerOf(cases, { id: text });
        expect(readJunit(await renderJunit(reader))).toHaveLength(cases.length);
      }),
      { numRuns: 10 },
    );
  });

  withPython(
    `tells assertions (failure) from what kept a case from its end (error)${noPython}`,
    async () => {
      const reader = await sample("broken", true);
      const seen = readJunit(await renderJunit(reader));
      const kinds = new Map(seen.map(([suite, id, kind]) => [`${suite} ${id}`, kind]));
      const kind = (id: string): string | undefined => kinds.get(`qemu-virt.xtest xtest.${id}`);
      expect(kind("regression_1004")).toBe("failure");
      expect(kind("regression_1006")).toBe("error");
      expect(kind("regression_1010")).toBe("error");
      expect(kind("regression_1013")).toBe("error");
      expect(kind("regression_1021")).toBe("error");
      expect(kind("regression_1023")).toBe("skipped");
      expect(kind("regression_1025")).toBe("failure");
      expect(kind("regression_1001")).toBe("pass");
      expect(kinds.get("emulated.xtest xtest.regression_1001")).toBe("skipped");
      const xml = await renderJunit(reader);
      expect(xml).toContain('<error message="the SSH connection was lost" type="infrastructure">');
      expect(xml).toContain('<skipped message="not modelled"/>');
      expect(xml).toContain('<property name="version.optee" value="4.5.0"/>');
      expect(xml).toContain('<property name="xtest.subtests" value="39397"/>');
      expect(xml.match(/name="xtest\.cases"/g)).toHaveLength(1);
      expect(xml).toContain(`<property name="image.flash.bin.sha256" value="${"ab".repeat(32)}"/>`);
    },
  );
});

/** The lines of a TAP document that are test points: ok or not, description, directive. */
function readTap(text: string): { ok: boolean; description: string; directive: string }[] {
  const lines = text.split("\n");
  expect(lines[0]).toBe("TAP version 14");
  const points = lines.filter((line) => /^(?:not )?ok /.test(line));
  expect(lines[1]).toBe(`1..${points.length}`);
  let inYaml = false;
  for (const line of lines.slice(2)) {
    if (line === "  ---") inYaml = true;
    else if (line === "  ...") inYaml = false;
    else if (inYaml) expect(line).toMatch(/^ {2,}(?:\w+: |subcases:$|- \{ )/);
    else expect(line).toMatch(/^(?:(?:not )?ok \d+ - |# |Bail out! |$)/);
  }
  expect(inYaml).toBe(false);
  return points.map((line, i) => {
    const [, no, number, rest = ""] = /^(not )?ok (\d+) - (.*)$/u.exec(line) ?? [];
    expect(Number(number)).toBe(i + 1);
    const [, description = "", directive = ""] =
      /^((?:\\[\s\S]|[^\\#])*?)(?: # ((?:SKIP|TODO).*))?$/u.exec(rest) ?? [];
    return {
      ok: no === undefined,
      description: description.replaceAll(/\\(.)/gu, "$1"),
      directive,
    };
  });
}

describe("results.tap", () => {
  test("keeps its grammar and its descriptions, whatever the texts are", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyCase, { maxLength: 6 }), async (cases) => {
        const points = readTap(await renderTap(await readerOf(cases)));
        expect(points).toHaveLength(cases.length);
        for (const [i, one] of cases.entries()) {
          expect(points[i]?.ok).toBe(one.status === "pass" || one.status === "skip");
          const directive = points[i]?.directive ?? "";
          expect(directive.startsWith("SKIP")).toBe(one.status === "skip");
          expect(directive.startsWith("TODO")).toBe(one.status === "xfail");
        }
      }),
    );
  });

  test("cannot be talked into a directive by an id or a title", async () => {
    const reader = await readerOf([
      { target: "b", suite: "s", id: "x # SKIP ha", title: "t", status: "fail", reason: "r" },
    ]);
    expect(readTap(await renderTap(reader))).toEqual([
      { ok: false, description: "b x # SKIP ha", directive: "" },
    ]);
  });

  test("bails out when the lab was lost or the run cut short", async () => {
    const lost = await sample("broken", true);
    expect(await renderTap(lost)).toMatch(/^Bail out! qemu-virt: the SSH connection was lost$/m);
    const cut = await readerOf([], { state: "incomplete", problems: ["stopped by SIGINT"] });
    expect(await renderTap(cut)).toMatch(/^Bail out! stopped by SIGINT$/m);
    expect(await renderTap(await sample("good", false))).not.toContain("Bail out!");
  });
});

interface AllureResult {
  readonly uuid: string;
  readonly historyId: string;
  readonly testCaseId: string;
  readonly fullName: string;
  readonly status: string;
  readonly statusDetails: { message?: string };
  readonly parameters: { name: string; value: string }[];
  readonly steps: { name: string; status: string }[];
  readonly attachments: { name: string; source: string }[];
  readonly start: number;
  readonly stop: number;
}

function allureResults(dir: string): AllureResult[] {
  const folder = path.join(dir, "allure-results");
  return readdirSync(folder)
    .filter((name) => name.endsWith("-result.json"))
    .map((name) => JSON.parse(readFileSync(path.join(folder, name), "utf8")) as AllureResult);
}

/** History ids by board and case. */
function history(reader: BundleReader): Map<string, string> {
  return new Map(
    allureResults(reader.dir).map((one) => [
      `${one.parameters[0]?.value} ${one.fullName}`,
      `${one.testCaseId} ${one.historyId}`,
    ]),
  );
}

describe("allure-results", () => {
  test("tell failed assertions from broken runs, and skips with their reasons", async () => {
    const reader = await sample("broken", true, true);
    const found = allureResults(reader.dir);
    expect(found).toHaveLength(reader.results.cases.length);
    const on = (target: string, id: string): AllureResult | undefined =>
      found.find((one) => one.fullName === `xtest.${id}` && one.parameters[0]?.value === target);
    const statuses = ["1001", "1004", "1006", "1010", "1013", "1021", "1023", "1025"].map((id) => [
      id,
      on("qemu-virt", `regression_${id}`)?.status,
    ]);
    expect(statuses).toEqual([
      ["1001", "passed"],
      ["1004", "failed"],
      ["1006", "broken"],
      ["1010", "broken"],
      ["1013", "broken"],
      ["1021", "broken"],
      ["1023", "skipped"],
      ["1025", "failed"],
    ]);
    expect(on("emulated", "regression_1001")).toMatchObject({
      status: "skipped",
      statusDetails: { message: "skip: not modelled" },
    });
    expect(on("qemu-virt", "regression_1013")?.statusDetails.message).toMatch(/^infrastructure: /);
  });

  test("have both consoles of each case attached, and its subcases as steps", async () => {
    const reader = await sample("good", false, true);
    const one = allureResults(reader.dir).find(
      (found) => found.fullName === "xtest.regression_1002" && found.attachments.length > 0,
    );
    expect(one?.attachments.map((attachment) => attachment.name)).toEqual([
      "console normal",
      "console secure",
    ]);
    expect(one?.steps.map((step) => step.status)).toEqual(["passed", "skipped"]);
    const source = one?.attachments[0]?.source ?? "";
    const text = readFileSync(path.join(reader.dir, "allure-results", source), "utf8");
    expect(text).toMatch(/^console-normal\.raw, bytes \d+ to \d+\n\n\* regression_1002 /);
    expect((one?.stop ?? 0) - (one?.start ?? 0)).toBeGreaterThan(39);
  });

  test("keep one history for a case on a board from run to run, and another on another board", async () => {
    const [a, b] = [await sample("a", false, true), await sample("b", true, true)];
    expect(history(a)).toEqual(history(b));
    expect(new Set(history(a).values()).size).toBe(history(a).size);
    expect(history(a).get("emulated xtest.regression_1001")?.split(" ")[0]).toBe(
      history(a).get("qemu-virt xtest.regression_1001")?.split(" ")[0],
    );
  });

  test("hold nothing of an earlier run in the same folder", async () => {
    const reader = await sample("good", false, true);
    const before = readdirSync(path.join(reader.dir, "allure-results"));
    await renderAll(reader);
    expect(readdirSync(path.join(reader.dir, "allure-results"))).toEqual(before);
  });
});

interface Kcidb {
  readonly version: { major: number; minor: number };
  readonly checkouts: { id: string; origin: string }[];
  readonly builds: { id: string; checkout_id: string; origin: string }[];
  readonly tests: {
    id: string;
    origin: string;
    build_id: string;
    path: string;
    status: string;
    log_excerpt?: string;
  }[];
  readonly issues: { id: string; version: number; origin: string }[];
  readonly incidents: { issue_id: string; test_id: string; present: boolean; origin: string }[];
}

describe("kcidb.json", () => {
  test("maps statuses, links known divergences, and every id begins with the origin", async () => {
    const reader = await sample("broken", true);
    const report = JSON.parse(await renderKcidb(reader, "mylab")) as Kcidb;
    expect(report.version).toEqual({ major: 5, minor: 3 });
    const on = new Map(
      report.tests.filter((one) => one.id.includes("/qemu-virt/")).map((one) => [one.path, one]),
    );
    const status = (id: string): string | undefined =>
      on.get(`optee.xtest.regression_${id}`)?.status;
    expect(
      ["1001", "1004", "1006", "1010", "1013", "1021", "1023", "1025"].map((id) => status(id)),
    ).toEqual(["PASS", "FAIL", "FAIL", "FAIL", "ERROR", "MISS", "FAIL", "PASS"]);
    expect(on.get("optee.xtest.regression_1006")?.log_excerpt).toContain("regression_1006");
    expect(report.incidents.map((one) => `${one.present}`).toSorted()).toEqual(["false", "true"]);
    const { checkouts, builds, tests, issues, incidents } = report;
    for (const one of [...checkouts, ...builds, ...tests, ...issues, ...incidents]) {
      expect(one.origin).toBe("mylab");
    }
    const ids = [...checkouts, ...builds, ...tests, ...issues].map((one) => one.id);
    for (const id of ids) expect(id).toMatch(/^mylab:.+$/);
    const builtOf = new Set(builds.map((one) => one.id));
    for (const one of tests) expect(builtOf.has(one.build_id)).toBe(true);
    const known = new Set(issues.map((one) => one.id));
    for (const one of incidents) expect(known.has(one.issue_id)).toBe(true);
  });

  test("has paths and ids that the schema accepts, whatever the texts are", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(anyCase, { maxLength: 4 }), async (cases) => {
        const report = JSON.parse(await renderKcidb(await readerOf(cases))) as Kcidb;
        for (const one of report.tests) {
          expect(one.path).toMatch(/^[\w-]*(?:\.[\w-]*)*$/);
          expect(one.id).toMatch(/^lockstep:.*$/);
          expect(JSON.stringify(one)).not.toContain("\\u0000");
        }
      }),
      { numRuns: 40 },
    );
  });

  test("refuses an origin that KCIDB would refuse", async () => {
    await expect(renderKcidb(await readerOf([]), "My Lab")).rejects.toThrow(/KCIDB origin/);
  });
});

function files(dir: string): string[] {
  return readdirSync(dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(dir, path.join(entry.parentPath, entry.name)))
    .toSorted();
}

test("all reports come out byte for byte the same when they are made again from the bundle", async () => {
  for (const broken of [false, true]) {
    const reader = await sample(`again-${broken}`, broken, true);
    const again = path.join(root, `elsewhere-${broken}`);
    await renderAll(reader, again);
    expect(files(again).length).toBeGreaterThan(100);
    for (const name of files(again)) {
      const same = readFileSync(path.join(again, name)).equals(
        readFileSync(path.join(reader.dir, name)),
      );
      expect([name, same]).toEqual([name, true]);
    }
  }
});
