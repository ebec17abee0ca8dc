import { UsageError } from "../../base/index.ts";
import { printedSkips } from "../judge-case.ts";
import { wholeRun } from "../judge.ts";
import type { ParsedRun } from "../model.ts";
import type { RunReport } from "../report.ts";
import { type ExpectedCase, type ExpectedList, plainVersion, type RunRecord } from "./model.ts";

export interface RecordKey {
  readonly xtest: string;
  readonly optee: string;
  readonly board: string;
  readonly remark?: string | undefined;
}

/**
 * The list that `run` proves, added to `before` where there is one. `report` is the judgement of
 * the same run without any expectation. What contradicts `before` is refused unless `widen`:
 * then ranges grow, new cases are added, and the newest subcases and skips replace the old ones.
 * Throws UsageError for a run that proves nothing.
 */
export function recordRun(
  run: ParsedRun,
  report: RunReport,
  key: RecordKey,
  before: ExpectedList | undefined,
  widen: boolean,
): ExpectedList {
  const { level, suite } = run;
  const subtests = run.totals.subtests;
  if (!wholeRun(run) || level === undefined || suite === undefined || subtests === undefined) {
    throw new UsageError("this log holds no whole run, and only a whole run can be recorded", {
      next: "Record a log of xtest that was started without test ids and ran to its totals",
    });
  }
  if (report.status !== "pass") {
    const why = report.problems[0]?.text ?? firstBad(report);
    throw new UsageError(`a run that is ${report.status} cannot be recorded`, {
      seen: why,
      next: "Mend the cause and record a clean run",
    });
  }
  const optee = plainVersion(key.optee);
  const old = before?.records.find(
    (one) =>
      one.optee === optee && one.board === key.board && one.level === level && one.suite === suite,
  );
  const fresh: RunRecord = {
    optee,
    board: key.board,
    level,
    suite,
    remark: key.remark ?? old?.remark,
    subtests: {
      min: Math.min(subtests, old?.subtests.min ?? subtests),
      max: Math.max(subtests, old?.subtests.max ?? subtests),
    },
    subcases: new Map(
      run.cases
        .filter((one) => one.subcases.length > 0)
        .map((one) => [one.id, one.subcases.map((subcase) => subcase.id)]),
    ),
    skips: new Map(run.cases.flatMap((one) => [...printedSkips(one)])),
  };
  const cases = mergeCases(run, suite, before);
  const changes = [
    ...(before === undefined ? [] : caseChanges(before.cases, cases)),
    ...(old === undefined ? [] : recordChanges(old, fresh)),
  ];
  if (changes.length > 0 && !widen) {
    throw new UsageError("the log shows more than is recorded", {
      where: before?.file ?? "",
      seen:
        changes.slice(0, 5).join("; ") + (changes.length > 5 ? `; ${changes.length} in all` : ""),
      next: "If all of it is right, repeat with --widen",
    });
  }
  const others = (before?.records ?? []).filter((one) => one !== old);
  return { xtest: key.xtest, cases, records: [...others, fresh], file: before?.file ?? "" };
}

function firstBad(report: RunReport): string {
  const bad = report.cases.find((one) => one.status !== "pass" && one.status !== "skip");
  return bad === undefined
    ? "every case was skipped"
    : `${bad.id} ${bad.status}: ${bad.reason ?? ""}`;
}

/** The suite of a case is its id's prefix, if the run names such a suite; else the run's only one. */
function suiteOf(id: string, suites: readonly string[]): string {
  const owner = suites.find((suite) => id.startsWith(`${suite}_`)) ?? suites[0];
  return owner ?? "regression";
}

function mergeCases(
  run: ParsedRun,
  suite: string,
  before: ExpectedList | undefined,
): ExpectedCase[] {
  const suites = suite.split("+");
  const known = new Map(before?.cases.map((one) => [one.id, one]));
  const seen = run.cases.map(
    (one) => known.get(one.id) ?? { id: one.id, title: one.title, suite: suiteOf(one.id, suites) },
  );
  const ids = new Set(seen.map((one) => one.id));
  const untouched = (before?.cases ?? []).filter((one) => !ids.has(one.id));
  const merged = [...seen, ...untouched];
  const order = [...new Set([...(before?.cases ?? []), ...seen].map((one) => one.suite))];
  return order.flatMap((name) => merged.filter((one) => one.suite === name));
}

function caseChanges(before: readonly ExpectedCase[], after: readonly ExpectedCase[]): string[] {
  const known = new Set(before.map((one) => one.id));
  return after.filter((one) => !known.has(one.id)).map((one) => `new case ${one.id}`);
}

function recordChanges(old: RunRecord, fresh: RunRecord): string[] {
  const changes: string[] = [];
  const { min, max } = fresh.subtests;
  if (min < old.subtests.min) changes.push(`${min} subtests, recorded from ${old.subtests.min}`);
  if (max > old.subtests.max) changes.push(`${max} subtests, recorded up to ${old.subtests.max}`);
  for (const id of new Set([...old.subcases.keys(), ...fresh.subcases.keys()])) {
    const [was, is] = [old.subcases.get(id) ?? [], fresh.subcases.get(id) ?? []];
    if (was.join() !== is.join())
      changes.push(`${id} has ${is.length} subcases, not ${was.length}`);
  }
  for (const id of new Set([...old.skips.keys(), ...fresh.skips.keys()])) {
    const [was, is] = [old.skips.get(id), fresh.skips.get(id)];
    if (was !== is) changes.push(`${id} ${is === undefined ? "no longer skips" : `skips: ${is}`}`);
  }
  return changes;
}

/** The list as the text of its file. */
export async function formatExpected(list: ExpectedList): Promise<string> {
  const { stringify } = await import("yaml");
  const suites: Record<string, Record<string, string>> = {};
  for (const one of list.cases) (suites[one.suite] ??= {})[one.id] = one.title;
  const document = {
    format: 1,
    xtest: list.xtest,
    suites,
    records: list.records.map((record) => ({
      optee: record.optee,
      board: record.board,
      level: record.level,
      suite: record.suite,
      ...(record.remark === undefined ? {} : { remark: record.remark }),
      subtests: { ...record.subtests },
      subcases: Object.fromEntries(
        [...record.subcases].map(([id, ids]) => [
          id,
          ids.map((one) => one.slice(id.length + 1)).join(" "),
        ]),
      ),
      skips: Object.fromEntries(record.skips),
    })),
  };
  const head =
    "# Cases of this xtest in run order, and what whole runs on known boards printed.\n" +
    "# Made by `lockstep xtest expect`; see docs/xtest.md.\n";
  return head + stringify(document, { lineWidth: 100 });
}
