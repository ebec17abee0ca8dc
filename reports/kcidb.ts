import { createHash } from "node:crypto";
import {
  type BundleReader,
  type CaseResult,
  type FactsSheet,
  readTimeline,
  type Status,
  type Timeline,
} from "../harness/run/index.ts";
import { UsageError } from "../harness/base/index.ts";
import { consoleSlices } from "./console-text.ts";

/**
 * KCIDB's statuses (I/O schema 5): FAIL says that the tested code is at fault, ERROR that the test
 * could not be completed, MISS that it did not run. A known divergence is a FAIL that is linked to
 * an issue, and its disappearance a PASS that is linked to the issue's absence.
 */
const KCIDB_STATUS: Readonly<Record<Status, "PASS" | "FAIL" | "ERROR" | "MISS" | "SKIP">> = {
  pass: "PASS",
  xpass: "PASS",
  fail: "FAIL",
  crash: "FAIL",
  timeout: "FAIL",
  xfail: "FAIL",
  error: "ERROR",
  miss: "MISS",
  skip: "SKIP",
};

/** Longest `log_excerpt` that the schema accepts, in characters. */
const EXCERPT = 16384;

/**
 * kcidb.json: the run as a KCIDB report, I/O schema 5.3. `origin` is the name under which the CI
 * system is registered, `[a-z0-9_]+`; every id begins with it. Throws UsageError for any other.
 */
export async function renderKcidb(reader: BundleReader, origin = "lockstep"): Promise<string> {
  if (!/^[a-z0-9_]+$/.test(origin)) {
    throw new UsageError(`"${origin}" cannot be a KCIDB origin`, {
      expected: "lower-case letters, digits and underscores",
    });
  }
  const timeline = await readTimeline(reader);
  const builds = new Map<string, string>();
  const report = {
    version: { major: 5, minor: 3 },
    checkouts: [] as object[],
    builds: [] as object[],
    tests: [] as object[],
    issues: [] as object[],
    incidents: [] as object[],
  };
  for (const target of new Set(reader.results.cases.map((one) => one.target))) {
    const facts = reader.info.facts.find((sheet) => sheet.board === target);
    const software = hash(facts === undefined ? [target] : [facts.versions, facts.images]);
    const id = `${origin}:${software}`;
    builds.set(target, id);
    if (report.checkouts.some((one) => (one as { id?: string }).id === id)) continue;
    report.checkouts.push(checkout(id, origin, facts));
    report.builds.push({
      id,
      checkout_id: id,
      origin,
      architecture: "arm64",
      comment: `What ${safe(target)} booted`,
      ...(facts === undefined ? {} : { misc: { images: facts.images, packages: facts.packages } }),
    });
  }
  const issues = new Set<string>();
  for (const one of reader.results.cases) {
    const id = `${origin}:${safe(`${reader.info.id}/${one.target}/${one.id}`)}`;
    const build = builds.get(one.target) ?? `${origin}:unknown`;
    report.tests.push(await test(reader, timeline, one, { id, origin, build_id: build }));
    if (one.status !== "xfail" && one.status !== "xpass") continue;
    const issue = `${origin}:${hash([one.id, one.reason])}`;
    const version = 1;
    if (!issues.has(issue)) {
      issues.add(issue);
      report.issues.push({
        id: issue,
        version,
        origin,
        comment: safe(one.reason ?? "known divergence"),
      });
    }
    report.incidents.push({
      id: `${origin}:${hash([issue, id])}`,
      origin,
      issue_id: issue,
      issue_version: version,
      test_id: id,
      present: one.status === "xfail",
    });
  }
  return `${JSON.stringify(report, noNul, 2)}\n`;
}

function checkout(id: string, origin: string, facts: FactsSheet | undefined): object {
  const version = facts?.versions["optee"];
  return {
    id,
    origin,
    tree_name: "optee",
    ...(version === undefined ? {} : { git_commit_name: safe(version) }),
    ...(facts === undefined ? {} : { misc: { versions: facts.versions } }),
  };
}

async function test(
  reader: BundleReader,
  timeline: Timeline,
  one: CaseResult,
  ids: { id: string; origin: string; build_id: string },
): Promise<object> {
  const time = timeline.case(one.target, one.id);
  const facts = reader.info.facts.find((sheet) => sheet.board === one.target);
  const excerpt = one.status === "pass" || one.status === "skip" ? "" : await logOf();
  const comment = [one.title, one.reason, one.where].filter((part) => part !== undefined);
  return {
    ...ids,
    path: `optee.${one.id}`.replaceAll(/[^\w.-]/g, "_").replaceAll(/\.{2,}/g, "."),
    status: KCIDB_STATUS[one.status],
    comment: safe(comment.join(": ")),
    ...(time === undefined ? {} : { start_time: startTime(reader, time.start) }),
    ...(time?.end === undefined ? {} : { duration: (time.end - time.start) / 1000 }),
    ...(excerpt === "" ? {} : { log_excerpt: excerpt }),
    environment: {
      comment: safe(one.target),
      ...(facts === undefined ? {} : { misc: factsOf(facts) }),
    },
    misc: {
      lockstep: reader.info.lockstep,
      status: one.status,
      ...(one.infrastructure === undefined ? {} : { infrastructure: true }),
      ...(one.clauses === undefined ? {} : { clauses: one.clauses }),
      ...(one.subcases === undefined ? {} : { subcases: one.subcases }),
    },
  };

  async function logOf(): Promise<string> {
    const slices = await consoleSlices(reader, time, EXCERPT);
    return slices
      .map((slice) => `${slice.stream.name}:\n${slice.text}`)
      .join("\n")
      .slice(-EXCERPT);
  }
}

/** The facts sheet without images and packages, which belong to the build. */
function factsOf(sheet: FactsSheet): object {
  const { images: _images, packages: _packages, ...facts } = sheet;
  return facts;
}

/** The database behind KCIDB takes no NUL in any text. */
function noNul(_key: string, value: unknown): unknown {
  return typeof value === "string" ? value.replaceAll("\0", "\u2400") : value;
}

function startTime(reader: BundleReader, ms: number): string {
  const origin = Date.parse(reader.info.startedAt);
  return new Date((Number.isNaN(origin) ? 0 : origin) + ms).toISOString().replace("Z", "+00:00");
}

/** One line, as the schema's patterns want it. */
function safe(text: string): string {
  return text.replaceAll(/[\r\n\u2028\u2029]+/g, " ");
}

function hash(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex").slice(0, 32);
}
