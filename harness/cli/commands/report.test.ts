import {
  appendFileSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { renderAll } from "../../../reports/index.ts";
import { packageRoot } from "../../base/index.ts";
import { BundleWriter } from "../../run/index.ts";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

const { version } = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
  version: string;
};

const TRACE = path.join("traces", "b", "s.a.jsonl.gz");

const cleanups: (() => void)[] = [];
let root: string;
let dir: string;

beforeEach(async () => {
  root = temporaryFolder((remove) => cleanups.push(remove));
  dir = path.join(root, "run");
  const writer = await start();
  await writer.finish({ exitCode: 1, render: renderAll });
});

afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

async function start(): Promise<BundleWriter> {
  const writer = await BundleWriter.create(
    dir,
    { id: "run-1", lockstep: version, node: "v20", command: ["lockstep", "run"], seed: 1 },
    { runtimeDir: path.join(root, "rt") },
  );
  writer.event({ type: "case-start", target: "b", id: "s.a", offsets: { normal: 0 } });
  writer.raw("b", "normal", Buffer.from("hello\r\n"));
  writer.trace({
    header: {
      type: "trace",
      format: 1,
      target: "b",
      caseId: "s.a",
      run: 0,
      reference: "s/a#b",
      conduit: "direct",
      seed: 1,
      clauses: [],
    },
    records: [{ type: "end", how: "done" }],
  });
  writer.event({
    type: "case-end",
    target: "b",
    id: "s.a",
    status: "fail",
    offsets: { normal: 7 },
  });
  writer.result({ target: "b", suite: "s", id: "s.a", title: "A", status: "fail", reason: "no" });
  return writer;
}

describe("lockstep report", () => {
  test("makes every report again from the evidence alone, byte for byte", async () => {
    const elsewhere = path.join(root, "again");
    const { code, stdout } = await lockstep(["report", dir, "--out", elsewhere], { cwd: root });
    expect(code).toBe(0);
    expect(stdout.toString().trim().split("\n")).toEqual([
      "again/report.html",
      "again/junit.xml",
      "again/results.tap",
      "again/allure-results",
    ]);
    for (const name of ["report.html", "junit.xml", "results.tap"]) {
      expect(readFileSync(path.join(elsewhere, name), "utf8")).toBe(
        readFileSync(path.join(dir, name), "utf8"),
      );
    }
  });

  test("puts back what was deleted from a bundle", async () => {
    for (const name of ["report.html", "allure-results"]) {
      rmSync(path.join(dir, name), { recursive: true });
    }
    expect((await lockstep(["report", dir])).code).toBe(0);
    expect((await lockstep(["report", "verify", dir])).code).toBe(0);
  });

  test("prints one report on stdout", async () => {
    const tap = await lockstep(["report", dir, "--format", "tap", "--out", "-"]);
    expect(tap.stdout.toString()).toBe(readFileSync(path.join(dir, "results.tap"), "utf8"));
    const args = ["--format", "kcidb", "--origin", "lab", "--out", "-"];
    const kcidb = await lockstep(["report", dir, ...args]);
    expect(JSON.parse(kcidb.stdout.toString())).toMatchObject({
      tests: [{ id: "lab:run-1/b/s.a", status: "FAIL", path: "optee.s.a" }],
    });
    const allure = await lockstep(["report", dir, "--format", "allure", "--out", "-"]);
    expect([allure.code, allure.stderr]).toEqual([2, expect.stringContaining("not a folder")]);
  });

  test("lists what it wrote as JSON", async () => {
    const { stdout } = await lockstep(["report", dir, "--format", "junit", "html", "--json"]);
    expect(JSON.parse(stdout.toString())).toEqual([
      path.join(dir, "junit.xml"),
      path.join(dir, "report.html"),
    ]);
  });

  test.each([
    [["report", "nope"], 2, /not a bundle of lockstep.*no such folder/],
    [
      ["report", "run", "--format", "pdf"],
      2,
      /Allowed choices are html, junit, tap, allure, kcidb/,
    ],
    [["report", "run", "--format", "kcidb", "--origin", "A b"], 2, /KCIDB origin/],
    [["report", "run", "--out", "/dev/full/x"], 3, /cannot write/],
  ])("%j exits with %d and says why", async (args, code, message) => {
    const ended = await lockstep(args, { cwd: root });
    expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(message)]);
  });

  test("of a damaged bundle names file and place", async () => {
    writeFileSync(path.join(dir, "run.json"), '{"format":1,');
    const { code, stderr } = await lockstep(["report", dir]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/run\.json: is damaged: .*position/)]);
  });
});

describe("lockstep report verify", () => {
  test("finds a bundle sound as it was written", async () => {
    const { code, stdout } = await lockstep(["report", "verify", "run"], { cwd: root });
    expect([code, stdout.toString()]).toEqual([0, "sound: run\n"]);
  });

  test.each<[string, () => void, string]>([
    [
      "a changed console",
      () => writeFileSync(path.join(dir, "console-normal.raw"), "hallo\r\n"),
      "console-normal.raw was changed: its hash differs",
    ],
    [
      "a longer console",
      () => appendFileSync(path.join(dir, "console-normal.raw"), "x"),
      "console-normal.raw has 8 bytes, not 7",
    ],
    [
      "a missing console",
      () => rmSync(path.join(dir, "console-normal.raw")),
      "console-normal.raw is missing",
    ],
    [
      "a failure turned into a pass",
      () => {
        const file = path.join(dir, "results.json");
        writeFileSync(file, readFileSync(file, "utf8").replace('"fail"', '"pass"'));
      },
      "s.a on b is pass in results.json but ended as fail",
    ],
    [
      "a polished report",
      () => {
        const file = path.join(dir, "report.html");
        writeFileSync(file, readFileSync(file, "utf8").replace("Failed", "Passed"));
      },
      "report.html is not what the evidence gives",
    ],
    [
      "an additional Allure result",
      () => writeFileSync(path.join(dir, "allure-results", "x-result.json"), "{}"),
      "allure-results does not hold the files that the evidence gives",
    ],
    [
      "a changed trace",
      () => {
        const bytes = readFileSync(path.join(dir, TRACE));
        bytes[bytes.length - 1] = 1;
        writeFileSync(path.join(dir, TRACE), bytes);
      },
      "the trace of s.a on b was changed: its hash differs",
    ],
    ["a missing trace", () => rmSync(path.join(dir, TRACE)), "the trace of s.a on b is missing"],
    [
      "a trace that is kept secret",
      () => writeFileSync(path.join(dir, "traces.json"), '{"format":1,"files":[]}'),
      "traces.json has",
    ],
    ["a missing report", () => rmSync(path.join(dir, "junit.xml")), "junit.xml is missing"],
  ])("finds %s", async (_name, harm, message) => {
    harm();
    const { code, stdout } = await lockstep(["report", "verify", dir, "--json"]);
    expect(code).toBe(1);
    const { problems } = JSON.parse(stdout.toString()) as { problems: string[] };
    expect(problems).toContainEqual(expect.stringContaining(message));
  });

  test("calls a bundle whose writer died incomplete, not wrong", async () => {
    const writer = await start();
    await writer.flush();
    await writer.abandon();
    const { code, stdout } = await lockstep(["report", "verify", "run"], { cwd: root });
    expect(code).toBe(6);
    expect(stdout.toString()).toMatch(/note: the run did not end.*\nincomplete: run/);
    // It can be rendered all the same.
    expect((await lockstep(["report", dir])).code).toBe(0);
    expect(readFileSync(path.join(dir, "report.html"), "utf8")).toContain("<h1>Incomplete</h1>");
  });

  test("calls a bundle incomplete, not wrong, whose reports found no room on the disk", async () => {
    const writer = await start();
    const noRoom = writer.finish({
      exitCode: 3,
      render: () => Promise.reject(new Error("the disk is full")),
    });
    await expect(noRoom).rejects.toThrow("the disk is full");
    const { code, stdout } = await lockstep(["report", "verify", "run"], { cwd: root });
    expect([code, stdout.toString()]).toEqual([
      6,
      expect.stringMatching(/^note: the run was cut short\nnote: report\.html was not made/),
    ]);
  });

  test("leaves nothing behind but what was there", async () => {
    const before = readdirSync(dir);
    await lockstep(["report", "verify", dir]);
    expect(readdirSync(dir)).toEqual(before);
    expect(existsSync(path.join(root, "run", "kcidb.json"))).toBe(false);
  });
});
