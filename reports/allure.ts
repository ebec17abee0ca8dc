import { createHash } from "node:crypto";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { StepResult, TestResult } from "allure-js-commons";
import type { EnvironmentInfo } from "allure-js-commons/sdk";
import type { ReporterRuntime } from "allure-js-commons/sdk/reporter";
import {
  type BundleReader,
  type CaseResult,
  readTimeline,
  type Status,
  type SubcaseResult,
  type Timeline,
} from "../harness/run/index.ts";
import { consoleSlices } from "./console-text.ts";
import { describeTotals } from "./totals.ts";

/** Bytes of each console that are attached to a case. */
const SLICE_BYTES = 128 * 1024;
/** Subcases that become steps; Allure grows slow with more. */
const STEPS = 500;

/**
 * Allure knows four statuses. An assertion that failed is `failed`; what says nothing about the
 * assertion (infrastructure, crash, timeout, never seen) is `broken`. A skip and a known divergence
 * are `skipped`, with the reason in the message.
 */
const ALLURE_STATUS = {
  pass: "passed",
  fail: "failed",
  xpass: "failed",
  error: "broken",
  crash: "broken",
  timeout: "broken",
  miss: "broken",
  skip: "skipped",
  xfail: "skipped",
} as const satisfies Record<Status, string>;

/** The status word stands at the beginning of each message, so that categories can tell them apart. */
const CATEGORIES = [
  ["Assertions", "^fail: ", "failed"],
  ["Unexpected passes", "^xpass: ", "failed"],
  ["Target crashes", "^crash: ", "broken"],
  ["Timeouts", "^timeout: ", "broken"],
  ["Infrastructure", "^infrastructure: ", "broken"],
  ["Other errors", "^error: ", "broken"],
  ["Expected but never seen", "^miss: ", "broken"],
  ["Known divergences", "^xfail: ", "skipped"],
  ["Skipped", "^skip: ", "skipped"],
] as const;

/**
 * Writes allure-results. The folder is built beside its place and then put there as a whole: Allure
 * only ever appends, and results of another run must not be mixed in. File names derive from the
 * run and the case, so equal bundles give equal folders.
 */
export async function writeAllure(reader: BundleReader, dir: string): Promise<void> {
  const { FileSystemWriter, ReporterRuntime: Runtime } =
    await import("allure-js-commons/sdk/reporter");
  const temporary = path.join(path.dirname(dir), `.${path.basename(dir)}.tmp`);
  rmSync(temporary, { recursive: true, force: true });
  try {
    mkdirSync(temporary, { recursive: true });
    // The library's writer waits for the disk after each of its hundreds of small files. Here the
    // folder appears as a whole, and the bundle that it is made from is safe already.
    class FolderWriter extends FileSystemWriter {
      override writeAttachment(name: string, content: Buffer): void {
        writeFileSync(path.join(temporary, name), content);
      }
      override writeResult(result: TestResult): void {
        writeFileSync(path.join(temporary, `${result.uuid}-result.json`), JSON.stringify(result));
      }
    }
    const runtime = new Runtime({
      writer: new FolderWriter({ resultsDir: temporary }),
      environmentInfo: environment(reader, await readTimeline(reader)),
      categories: CATEGORIES.map(([name, messageRegex, status]) => ({
        name,
        messageRegex,
        matchedStatuses: [status as never],
      })),
    });
    const timeline = await readTimeline(reader);
    for (const one of reader.results.cases) await writeCase(runtime, reader, timeline, one);
    runtime.writeEnvironmentInfo();
    runtime.writeCategoriesDefinitions();
    rmSync(dir, { recursive: true, force: true });
    renameSync(temporary, dir);
  } catch (error) {
    rmSync(temporary, { recursive: true, force: true });
    throw error;
  }
}

async function writeCase(
  runtime: ReporterRuntime,
  reader: BundleReader,
  timeline: Timeline,
  one: CaseResult,
): Promise<void> {
  const id = uuid(reader.info.id, one.target, one.id);
  const time = timeline.case(one.target, one.id);
  const origin = Date.parse(reader.info.startedAt);
  const start = (Number.isNaN(origin) ? 0 : origin) + Math.round(time?.start ?? 0);
  const stop = start + Math.round(time?.end === undefined ? 0 : time.end - time.start);
  const own = runtime.startTest({
    name: one.title === one.id ? one.id : `${one.id}: ${one.title}`,
    fullName: one.id,
    start,
    // A parameter, so that each board has a history of its own.
    parameters: [{ name: "board", value: one.target }],
    labels: [
      { name: "parentSuite", value: one.suite },
      { name: "suite", value: one.target },
      { name: "host", value: one.target },
      { name: "framework", value: "lockstep" },
      { name: "language", value: "typescript" },
      ...(one.clauses ?? []).map((clause) => ({ name: "tag", value: clause })),
    ],
  });
  const attachments: TestResult["attachments"] = [];
  for (const slice of await consoleSlices(reader, time, SLICE_BYTES)) {
    const source = `${uuid(id, slice.stream.name)}-attachment.txt`;
    const { file, name } = slice.stream;
    const head = `${file}, bytes ${slice.from} to ${slice.to}\n\n`;
    runtime.writer.writeAttachment(source, Buffer.from(head + slice.text, "utf8"));
    attachments.push({ name: `console ${name}`, source, type: "text/plain" });
  }
  runtime.updateTest(own, (test) => {
    test.uuid = id;
    test.status = ALLURE_STATUS[one.status] as never;
    test.statusDetails = details(one);
    test.stage = "finished" as never;
    test.steps = (one.subcases ?? []).slice(0, STEPS).map(step);
    test.attachments.push(...attachments);
  });
  runtime.stopTest(own, { stop });
  runtime.writeTest(own);
}

function details(one: CaseResult): TestResult["statusDetails"] {
  if (one.status === "pass") return one.reason === undefined ? {} : { message: one.reason };
  const kind = one.infrastructure === true ? "infrastructure" : one.status;
  const message = `${kind}: ${one.reason ?? "no reason given"}`;
  return one.where === undefined ? { message } : { message, trace: `at ${one.where}` };
}

function step(sub: SubcaseResult): StepResult {
  const name = [sub.id, sub.title].filter((part) => part !== undefined).join(" ");
  const message = sub.reason === undefined ? {} : { message: `${sub.status}: ${sub.reason}` };
  return {
    name,
    status: ALLURE_STATUS[sub.status] as never,
    statusDetails: message,
    stage: "finished" as never,
    steps: [],
    attachments: [],
    parameters: [],
  };
}

function environment(reader: BundleReader, { totals }: Timeline): EnvironmentInfo {
  const { info } = reader;
  const entries: [string, string][] = [
    ["run", info.id],
    ["lockstep", info.lockstep],
    ["seed", String(info.seed)],
  ];
  for (const sheet of info.facts) {
    const add = (key: string, value: string): void => {
      entries.push([`${sheet.board}.${key}`, value]);
    };
    add("type", sheet.boardType);
    add("platform", sheet.platform);
    add("hab", sheet.hab);
    add("huk", sheet.huk);
    add("rpmb", sheet.rpmb);
    for (const [key, value] of Object.entries(sheet.versions)) add(`version.${key}`, value);
    for (const [key, value] of Object.entries(sheet.machine)) add(`machine.${key}`, value);
  }
  for (const one of totals) entries.push([`${one.target}.${one.suite}`, describeTotals(one)]);
  return Object.fromEntries(entries);
}

/** A UUID that is the same for the same parts (RFC 9562, version 8). */
function uuid(...parts: readonly string[]): string {
  const hash = createHash("sha256").update(JSON.stringify(parts)).digest("hex");
  return [
    hash.slice(0, 8),
    hash.slice(8, 12),
    `8${hash.slice(13, 16)}`,
    `a${hash.slice(17, 20)}`,
    hash.slice(20, 32),
  ].join("-");
}
