import { afterEach, expect, test } from "@jest/globals";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { BundleReader, readTimeline } from "../../run/index.ts";
import { lockstep, runProgram, LOCKSTEP, temporaryFolder } from "../testing/run-cli.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleanups.splice(0)) clean();
});
const folder = (): string => temporaryFolder((remove) => cleanups.push(remove));

interface Document {
  readonly verdict: string;
  readonly exitCode: number;
  readonly bundle: string;
  readonly cases: readonly { id: string; target: string; status: string; reason?: string }[];
  readonly baseline?: { newFailures: readonly { id: string }[] };
}

const ONE = ["--suite", "xtest", "--filter", "regression_1001$"];

test("a run prints one JSON document on stdout and leaves a complete bundle with every report", async () => {
  const out = path.join(folder(), "bundle");
  const result = await lockstep(["run", ...ONE, "--json", "--out", out]);
  expect(result.stderr).toContain("Bundle:");
  const document = JSON.parse(result.stdout.toString()) as Document;
  expect(result.code).toBe(0);
  expect(document).toMatchObject({ exitCode: 0, bundle: out });
  expect(document.cases.map(({ id }) => id)).toEqual(["xtest.regression_1001"]);
  const reader = await BundleReader.open(out);
  expect(reader.info.state).toBe("complete");
  expect(readdirSync(out)).toEqual(
    expect.arrayContaining([
      "allure-results",
      "events.jsonl",
      "junit.xml",
      "report.html",
      "results.json",
      "results.tap",
      "run.json",
    ]),
  );
}, 120_000);

test("two runs with one seed leave the same results, byte for byte", async () => {
  const dir = folder();
  const results = [];
  for (const name of ["a", "b"]) {
    const out = path.join(dir, name);
    const suites = ["mediator", "normal-world", "smc-abi"].flatMap((suite) => ["--suite", suite]);
    const run = await lockstep(["run", "--seed", "7", ...suites, "--out", out]);
    expect(run.code).toBe(0);
    results.push(readFileSync(path.join(out, "results.json"), "utf8"));
  }
  expect(results[0]).toBe(results[1]);
}, 240_000);

test("a filter that matches nothing is a usage error and leaves no folder", async () => {
  const out = path.join(folder(), "bundle");
  const result = await lockstep(["run", "--filter", "no-such-case", "--out", out]);
  expect(result.code).toBe(2);
  expect(result.stderr).toContain("no case matches --filter no-such-case");
  expect(existsSync(out)).toBe(false);
}, 120_000);

test("conduits and rules that leave every scenario out are a usage error too", async () => {
  const out = path.join(folder(), "bundle");
  const none = ["--conduit", "direct", "--rules", "xen", "--suite", "mediator"];
  const result = await lockstep(["run", ...none, "--out", out]);
  expect(result.code).toBe(2);
  expect(result.stderr).toContain(
    "no case matches --conduit direct --rules xen. The scenarios that are left run on other conduits",
  );
  expect(existsSync(out)).toBe(false);
}, 120_000);

test.each([
  [["--suite", "xtets"], 'there is no suite "xtets"; did you mean "xtest"?'],
  [["--filter", "("], "--filter ( is not a regular expression"],
  [["--board", "qemu-vrit"], 'did you mean "qemu-virt"?'],
  [["--baseline", "/nonexistent"], "/nonexistent"],
  [["--retries", "many"], "Write a whole number"],
  [["--transport", "agent"], "--transport agent is for boards"],
  [["--stress", "cpu"], "Allowed choices are memory"],
  [
    ["--stress", "memory", "--board", "qemu-virt"],
    "--stress memory cannot be applied to board qemu-virt. expected: the emulated platform only",
  ],
  [["--conduit", "vhdom"], "Allowed choices are direct, hwdom, vm"],
  [["--rules", "lax"], "Allowed choices are strict, xen, kvm"],
])(
  "lockstep run %j is refused before anything is created",
  async (args, text) => {
    const cwd = folder();
    const result = await lockstep(["run", ...args], { cwd });
    expect(result.stderr).toContain(text);
    expect(result.code).toBe(2);
    expect(readdirSync(cwd)).toEqual([]);
  },
  60_000,
);

test("a board that names what is not there is refused before anything is created", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "boards"));
  const run = async (text: string): Promise<readonly [number | null, string]> => {
    writeFileSync(path.join(cwd, "boards", "b.yaml"), `type: qemu-virt\n${text}\n`);
    const { code, stderr } = await lockstep(["run", "--board", "b"], { cwd });
    return [code, stderr];
  };
  const image = await run("images: { bios: none.bin }");
  expect(image).toEqual([2, expect.stringMatching(/b\.yaml:2:17: .*none\.bin: no such file/)]);
  writeFileSync(path.join(cwd, "boards", "fw.bin"), "firmware");
  const exclude = await run("images: { bios: fw.bin }\nxtest: { exclude: ['1004'] }");
  expect(exclude).toEqual([2, expect.stringMatching(/b\.yaml:3:20: xtest .* has no case "1004"/)]);
  expect(readdirSync(cwd)).toEqual(["boards"]);
}, 60_000);

test("two boards of one name cannot be told apart and are refused", async () => {
  const cwd = folder();
  for (const dir of ["boards", "other"]) {
    mkdirSync(path.join(cwd, dir));
    writeFileSync(path.join(cwd, dir, "twin.yaml"), "type: emulated\n");
  }
  const args = ["run", "--board", "twin", "--board", "other/twin.yaml"];
  const { code, stderr } = await lockstep(args, { cwd });
  expect([code, stderr]).toEqual([2, expect.stringContaining("two boards of this run are called")]);
}, 60_000);

test("a board file of the emulated type runs as the emulated platform does", async () => {
  const cwd = folder();
  mkdirSync(path.join(cwd, "boards"));
  writeFileSync(path.join(cwd, "boards", "mine.yaml"), "type: emulated\n");
  const result = await lockstep(["run", "--board", "mine", ...ONE, "--json"], { cwd });
  expect(result.code).toBe(0);
  const { cases } = JSON.parse(result.stdout.toString()) as Document;
  expect(cases.map(({ target, status }) => [target, status])).toEqual([
    ["emulated", "pass"],
    ["mine", "pass"],
  ]);
}, 60_000);

test("a folder that holds something else is not written to", async () => {
  const out = folder();
  writeFileSync(path.join(out, "thesis.tex"), "precious");
  const result = await lockstep(["run", ...ONE, "--out", out]);
  expect(result.code).toBe(2);
  expect(readdirSync(out)).toEqual(["thesis.tex"]);
}, 60_000);

test("Ctrl-C leaves an incomplete bundle that reads, and exits 130", async () => {
  const out = path.join(folder(), "bundle");
  const result = await lockstep(["run", "--out", out], {
    with: (child) => {
      // Once: a second one forces the end.
      child.stderr?.once("data", () => child.kill("SIGINT"));
    },
  });
  expect(result.code).toBe(130);
  const reader = await BundleReader.open(out);
  expect(reader.info).toMatchObject({ state: "incomplete", exitCode: 130 });
}, 120_000);

test("a disk that takes no more ends the run with exit code 3 and a bundle marked incomplete", async () => {
  const out = path.join(folder(), "bundle");
  // The limit is on one file's size, in units of 1,024 bytes: events.jsonl is the first to reach it.
  const script = `ulimit -f 8; exec "$0" "$@"`;
  const result = await runProgram("bash", [
    "-c",
    script,
    process.execPath,
    LOCKSTEP,
    "run",
    "--out",
    out,
  ]);
  expect(result.stderr).toMatch(/cannot write the (bundle|reports)/);
  expect(result.code).toBe(3);
  expect((await BundleReader.open(out)).incomplete).toBe(true);
}, 120_000);

test("a baseline that was better fails the run with what became worse", async () => {
  const dir = folder();
  const before = path.join(dir, "before");
  expect((await lockstep(["run", ...ONE, "--out", before])).code).toBe(0);
  const file = path.join(before, "results.json");
  const text = readFileSync(file, "utf8");
  const better = JSON.parse(text) as { cases: Record<string, unknown>[] };
  better.cases.push({
    target: "emulated",
    suite: "xtest",
    id: "xtest.regression_1001-gone",
    title: "a case that is no more: regression_1001",
    status: "pass",
  });
  writeFileSync(file, `${JSON.stringify(better, null, 2)}\n`);
  const after = path.join(dir, "after");
  const selection = ["--suite", "xtest", "--filter", "regression_1001"];
  const args = ["run", ...selection, "--baseline", before, "--json", "--out", after];
  const result = await lockstep(args);
  expect(result.code).toBe(6);
  expect(result.stderr).toContain("xtest.regression_1001-gone");
}, 120_000);

test("--stress memory tells what it did, in the text, the document and the bundle", async () => {
  const out = path.join(folder(), "bundle");
  const selection = ["--suite", "mediator", "--filter", "284 pages"];
  const run = await lockstep(["run", "--stress", "memory", ...selection, "--json", "--out", out]);
  expect(run.code).toBe(0);
  const document = JSON.parse(run.stdout.toString()) as {
    stress: { target: string; report: { vms: number; operations: Record<string, object> } }[];
  };
  const [{ target, report } = { target: "", report: undefined }] = document.stress;
  expect(target).toBe("emulated");
  expect(report?.vms).toBeGreaterThan(0);
  expect(Object.keys(report?.operations ?? {})).toEqual([
    "balloon",
    "refill",
    "donation",
    "migration",
  ]);
  expect(run.stderr).toContain("emulated under stress memory: ");
  expect(run.stderr).toMatch(/migration \d+ attempts, \d+ completed, \d+ had to wait for pins/);
  const { stress } = await readTimeline(await BundleReader.open(out));
  expect(stress).toMatchObject(document.stress);
}, 120_000);

interface Listing {
  readonly unitTests: boolean;
  readonly sheets: readonly { sheet: string; total: number; implemented: number }[];
  readonly clauses: readonly {
    id: string;
    source: string;
    summary: string;
    status: string;
    tests: readonly { file: string; title: string }[];
    scenarios: readonly string[];
  }[];
}

test("--list-clauses names tests and scenarios of each clause, counts the sheets and runs nothing", async () => {
  const cwd = folder();
  const result = await lockstep(["run", "--list-clauses", "--json"], { cwd });
  expect(result.code).toBe(0);
  const { unitTests, sheets, clauses } = JSON.parse(result.stdout.toString()) as Listing;
  expect(unitTests).toBe(true);
  expect(sheets.map(({ sheet }) => sheet)).toEqual(["MED", "SMC", "MSG", "TEE", "RPMB"]);
  expect(sheets.reduce((sum, { total }) => sum + total, 0)).toBe(clauses.length);
  const found = clauses.find(({ id }) => id === "MED-143");
  expect(found).toMatchObject({
    status: "implemented",
    source: "xen xen/arch/arm/tee/optee.c: handle_rpc_cmd_alloc",
  });
  expect(found?.scenarios).toContain("mediator/guests#largeTaXen");
  expect(found?.tests.map(({ file }) => file)).toContain("harness/mediator/resume.test.ts");
  expect(readdirSync(cwd)).toEqual([]);
}, 60_000);

async function list(...flags: string[]): Promise<{ code: number | null; text: string }> {
  const { code, stdout, stderr } = await lockstep(["run", "--list-clauses", ...flags]);
  return { code, text: `${stdout.toString()}${stderr}` };
}

test("--list-clauses as text: a paragraph a clause, totals at the end, narrowed by filter and suite", async () => {
  const some = await list("--filter", "^MED-14[13]$");
  const [first = "", second = "", totals = "", count = ""] = some.text.split("\n\n");
  expect(first).toMatch(/^MED-141 \[D\] {2}\S.*\n {2}source {4}xen \S/);
  expect(first).toMatch(/\n {2}test {6}harness\/\S+\.test\.ts\n {12}MED-141/);
  expect(first).toMatch(/\n {2}scenario {2}mediator\/attacks#contiguousAnswerXen(?:\n|$)/);
  expect(second).toMatch(/^MED-143 \[R\] /);
  expect(totals).toMatch(/^sheet .*\nMED +2 +2 +2 +0 +0 .*\nall +2 +2 +2 +0 +0$/);
  expect(count).toMatch(/^Scenarios that name them: \d+\.\n$/);
  const lines = (await list()).text.split("\n");
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
  expect((await list("--suite", "mediator")).text).not.toContain("\nTEE-");
  expect((await list("--filter", "no such clause")).code).toBe(2);
  expect((await list("--suite", "mediatr")).text).toContain('did you mean "mediator"?');
}, 60_000);

test("--list-clauses refuses what it would take no notice of, and lists the fuzz corpus", async () => {
  const refused = await list("--conduit", "vm", "--stress", "memory");
  expect(refused.code).toBe(2);
  expect(refused.text).toMatch(/--list-clauses runs nothing and takes no --conduit, --stress/);
  const fuzz = await list("--suite", "fuzz", "--filter", "^MED-015$");
  expect(fuzz.code).toBe(0);
  expect(fuzz.text).toMatch(/suites\/fuzz\/corpus\.test\.ts\n {12}MED-015: creation-fails/);
}, 60_000);

test("a run says of every clause what became of it, by the titles and scenarios of its cases", async () => {
  const out = path.join(folder(), "out");
  const selection = ["--suite", "mediator", "--suite", "xtest", "--filter", "284|regression_1005$"];
  const result = await lockstep(["run", ...selection, "--json", "--out", out]);
  expect(result.code).toBe(0);
  const { cases, clauses } = JSON.parse(result.stdout.toString()) as {
    cases: { id: string; clauses?: string[] }[];
    clauses: {
      unitTests: boolean;
      sheets: { sheet: string; total: number; passed: number; failed: number }[];
      clauses: { id: string; verdict: string; on: Record<string, { status: string }> }[];
    };
  };
  const of = (id: string): unknown => clauses.clauses.find((clause) => clause.id === id);
  expect(clauses.unitTests).toBe(true);
  expect(clauses.sheets.map(({ sheet, failed }) => [sheet, failed])).toEqual(
    ["MED", "SMC", "MSG", "TEE", "RPMB"].map((sheet) => [sheet, 0]),
  );
  expect(of("MED-143")).toMatchObject({ verdict: "passed", on: { emulated: { status: "pass" } } });
  expect(of("MED-041")).toEqual({ id: "MED-041", verdict: "unit-tests", on: {} });
  expect(of("MED-11.6")).toEqual({ id: "MED-11.6", verdict: "out-of-scope", on: {} });
  // The re-statement of an xtest case names clauses too.
  expect(cases.find(({ id }) => id === "xtest.regression_1005")?.clauses).toContain("MSG-2.1.2");
  expect(result.stderr).toMatch(/^Clauses:\n +clauses +passed +failed .*\n {2}MED +\d+ +[1-9]/m);
  expect(JSON.parse(readFileSync(path.join(out, "clauses.json"), "utf8"))).toMatchObject({
    format: 1,
    unitTests: true,
  });
}, 120_000);
