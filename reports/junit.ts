import {
  type BundleReader,
  type CaseResult,
  type FactsSheet,
  readTimeline,
  type RunTotals,
  type Status,
  type Timeline,
} from "../harness/run/index.ts";
import { escapeAttribute, escapeMarkup } from "./text.ts";
import { bySuite, secondsOf } from "./group.ts";

/**
 * How a status counts in JUnit. An assertion that failed is a `failure`; what kept the case from
 * ending by itself (crash, timeout, infrastructure, never seen) is an `error`.
 */
const KIND: Readonly<Record<Status, "pass" | "failure" | "error" | "skipped">> = {
  pass: "pass",
  fail: "failure",
  xpass: "failure",
  error: "error",
  crash: "error",
  timeout: "error",
  miss: "error",
  skip: "skipped",
  xfail: "skipped",
};

/** junit.xml: a testsuite for each target and suite, in the form that Jenkins and GitLab read. */
export async function renderJunit(reader: BundleReader): Promise<string> {
  const timeline = await readTimeline(reader);
  const groups = bySuite(reader.results);
  const out = ['<?xml version="1.0" encoding="UTF-8"?>'];
  const totals = counts(reader.results.cases);
  out.push(`<testsuites name="lockstep" ${totals} time="${secondsOf(timeline.length)}">`);
  for (const { target, suite, cases } of groups) {
    const facts = reader.info.facts.find((sheet) => sheet.board === target);
    const time = cases.reduce((sum, one) => sum + durationOf(timeline, one), 0);
    out.push(
      `  <testsuite name="${escapeAttribute(`${target}.${suite}`)}" ${counts(cases)} ` +
        `time="${secondsOf(time)}" timestamp="${escapeAttribute(timestamp(reader.info.startedAt))}" ` +
        `hostname="${escapeAttribute(target)}">`,
      ...properties(
        reader,
        facts,
        timeline.totals.filter((one) => one.target === target && one.suite === suite),
      ),
      ...cases.flatMap((one) => testcase(one, durationOf(timeline, one))),
      "  </testsuite>",
    );
  }
  out.push("</testsuites>", "");
  return out.join("\n");
}

function durationOf(timeline: Timeline, { target, id }: CaseResult): number {
  const time = timeline.case(target, id);
  return time?.end === undefined ? 0 : time.end - time.start;
}

/** JUnit's schema has no zone and no fraction. */
function timestamp(iso: string): string {
  return iso.replace(/\.\d+Z?$/, "").replace(/Z$/, "");
}

function counts(cases: readonly CaseResult[]): string {
  const of = (kind: string): number => cases.filter((one) => KIND[one.status] === kind).length;
  return (
    `tests="${cases.length}" failures="${of("failure")}" ` +
    `errors="${of("error")}" skipped="${of("skipped")}"`
  );
}

function properties(
  reader: BundleReader,
  facts: FactsSheet | undefined,
  totals: readonly RunTotals[],
): string[] {
  const { id, lockstep, seed } = reader.info;
  const entries: [string, string][] = [
    ["lockstep.run", id],
    ["lockstep.version", lockstep],
    ["lockstep.seed", String(seed)],
  ];
  if (facts !== undefined) {
    entries.push(
      ["board", facts.board],
      ["board.type", facts.boardType],
      ["platform", facts.platform],
      ["hab", facts.hab],
      ["huk", facts.huk],
      ["rpmb", facts.rpmb],
      ...Object.entries(facts.versions).map(([k, v]): [string, string] => [`version.${k}`, v]),
      ...Object.entries(facts.images).map(([k, v]): [string, string] => [`image.${k}.sha256`, v]),
      ...Object.entries(facts.packages).map(([k, v]): [string, string] => [`package.${k}`, v]),
      ...Object.entries(facts.machine).map(([k, v]): [string, string] => [`machine.${k}`, v]),
    );
  }
  for (const { suite, cases, failed, skipped, subtests } of totals) {
    const figures = { cases, failed, filtered: skipped, subtests: subtests?.seen };
    const range = { "subtests.min": subtests?.min, "subtests.max": subtests?.max };
    for (const [key, value] of Object.entries({ ...figures, ...range })) {
      if (value !== undefined) entries.push([`${suite}.${key}`, String(value)]);
    }
  }
  const lines = entries.map(
    ([name, value]) =>
      `      <property name="${escapeAttribute(name)}" value="${escapeAttribute(value)}"/>`,
  );
  return ["    <properties>", ...lines, "    </properties>"];
}

function testcase(result: CaseResult, ms: number): string[] {
  const head =
    `    <testcase name="${escapeAttribute(result.id)}" ` +
    `classname="${escapeAttribute(`${result.target}.${result.suite}`)}" time="${secondsOf(ms)}"`;
  const body = [...verdict(result), ...output(result)];
  return body.length === 0 ? [`${head}/>`] : [`${head}>`, ...body, "    </testcase>"];
}

function verdict(result: CaseResult): string[] {
  const kind = KIND[result.status];
  if (kind === "pass") return [];
  const reason = result.reason ?? result.status;
  if (kind === "skipped") {
    const message = result.status === "xfail" ? `expected failure: ${reason}` : reason;
    return [`      <skipped message="${escapeAttribute(message)}"/>`];
  }
  const type = result.infrastructure === true ? "infrastructure" : result.status;
  const where = result.where === undefined ? "" : `${result.where}: `;
  return [
    `      <${kind} message="${escapeAttribute(reason)}" type="${type}">` +
      `${escapeMarkup(where + reason)}</${kind}>`,
  ];
}

/** Title and subcases, which JUnit has no element for. */
function output(result: CaseResult): string[] {
  const lines = [
    ...(result.title === result.id ? [] : [result.title]),
    ...(result.clauses === undefined ? [] : [`clauses: ${result.clauses.join(" ")}`]),
    ...(result.subcases ?? []).map((sub) =>
      [sub.id, sub.status, sub.title, sub.reason].filter((part) => part !== undefined).join("  "),
    ),
  ];
  if (lines.length === 0) return [];
  return [`      <system-out>${escapeMarkup(lines.join("\n"))}</system-out>`];
}
