import type { Status } from "../run/index.ts";
import type { LogAnalysis, RunSummary, SubtestsReport } from "../xtest/index.ts";
import { printable, type Style } from "./style.ts";

/** The document of `lockstep xtest parse --json`; described in docs/xtest.md. */
export function analysisDocument(
  log: string,
  { summary, expected, assumed, optee }: LogAnalysis,
  board: string | undefined,
): object {
  return {
    format: 1,
    log,
    verdict: summary.status,
    exitCode: summary.exitCode,
    expected: expected === undefined ? null : { xtest: expected.xtest, assumed },
    board: board ?? null,
    optee: optee ?? null,
    totals: summary.totals,
    statuses: countStatuses(summary.cases.map((one) => one.status)),
    runCount: summary.runCount,
    runs: summary.runs.map(({ status, totals, subtests, unknown, ...run }) => ({
      index: run.index,
      suite: run.suite ?? null,
      level: run.level ?? null,
      filters: run.filters,
      verdict: status,
      totals: totals ?? null,
      subtests: subtests ?? null,
      problems: run.problems,
      notes: run.notes,
      new: unknown,
    })),
    new: summary.unknown,
    cases: summary.cases,
  };
}

function countStatuses(statuses: readonly Status[]): Partial<Record<Status, number>> {
  const counts: Partial<Record<Status, number>> = {};
  for (const status of statuses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

/** The same for people: cases, then runs with what is wrong with them, then the verdict. */
export function analysisText(
  log: string,
  { summary, expected, assumed, optee }: LogAnalysis,
  board: string | undefined,
  style: Style,
): string {
  const lines: string[] = [];
  const width = Math.max(4, ...summary.cases.map((one) => one.id.length));
  const fresh = new Set(summary.unknown);
  for (const one of summary.cases) {
    const status = paint(one.status, one.status.padEnd(7), style);
    const remark = [
      ...(fresh.has(one.id) ? ["new"] : []),
      ...(one.where === undefined ? [] : [one.where]),
      ...(one.reason === undefined ? [] : [one.reason]),
    ].join("; ");
    const text = `${status} ${one.id.padEnd(width)}  ${one.title}`;
    lines.push(remark === "" ? text : `${text}  [${remark}]`);
  }
  lines.push("");
  for (const run of summary.runs) lines.push(...runLines(run, style));
  if (summary.runCount > summary.runs.length) {
    lines.push(`${summary.runCount - summary.runs.length} more runs are not shown`);
  }
  const list =
    expected === undefined
      ? "no expected cases: what is missing cannot be told"
      : `expected cases of xtest ${expected.xtest}${assumed ? ", assumed because they fit" : ""}`;
  const version =
    optee === undefined
      ? "whose OP-TEE the log does not show (--optee names it)"
      : `OP-TEE ${optee}`;
  const place = board === undefined ? "no board named" : `board ${board}, ${version}`;
  const counts = Object.entries(countStatuses(summary.cases.map((one) => one.status)));
  lines.push(
    `${list}; ${place}`,
    `${log === "-" ? "standard input" : log}: ${paint(summary.status, summary.status, style)}, ` +
      counts.map(([status, count]) => `${count} ${status}`).join(", "),
  );
  return lines.map((line) => `${printableLine(line, style)}\n`).join("");
}

function runLines(run: RunSummary, style: Style): string[] {
  const name = `run ${run.index}  ${run.suite ?? "unknown suite"}, level ${run.level ?? "unknown"}`;
  const filters = run.filters.length === 0 ? "" : `, only ${run.filters.join(" ")}`;
  const totals =
    run.totals === undefined
      ? "no totals"
      : `${run.totals.cases} cases, ${run.totals.failed} failed, ${run.totals.skipped} skipped`;
  const status = paint(run.status, run.status, style);
  return [
    `${name}${filters}: ${totals}${subtestsText(run.subtests)}: ${status}`,
    ...run.problems.map(
      (problem) => `  ${paint(problem.status, problem.status, style)}: ${problem.text}`,
    ),
    ...run.notes.map((note) => `  note: ${note}`),
    ...(run.unknown.length === 0 ? [] : [`  new: ${run.unknown.join(" ")}`]),
  ];
}

function subtestsText(subtests: SubtestsReport | undefined): string {
  if (subtests === undefined) return "";
  const { seen, min, max, compared } = subtests;
  switch (compared) {
    case "in range":
    case "out of range":
      return `, ${seen} subtests (recorded ${min} to ${max})`;
    case "not recorded":
      return `, ${seen} subtests (not recorded)`;
    case "partial":
      return `, ${seen} subtests`;
    default:
      return compared satisfies never;
  }
}

function paint(status: Status, text: string, style: Style): string {
  if (status === "pass") return style.green(text);
  return status === "skip" || status === "xfail" ? style.yellow(text) : style.red(text);
}

/** Titles and reasons come from the log: without colours of ours nothing but text may remain. */
function printableLine(line: string, style: Style): string {
  return style.enabled ? printable(line, "\n\t\u001B") : printable(line);
}
