import path from "node:path";
import type {
  BundleReader,
  CaseResult,
  RunTotals,
  Status,
  StressReport,
} from "../harness/run/index.ts";
import { clausesOf, sheetLines } from "./clauses.ts";
import { divergenceLines } from "./divergences.ts";
import { bySuite } from "./group.ts";
import { unprovenLines } from "./storage.ts";
import { describeStress } from "./stress.ts";
import { oneLine, printable } from "./text.ts";
import { describeTotals } from "./totals.ts";
import { countStatuses, describeCounts, verdictOf } from "./verdict.ts";

export interface SummaryOptions {
  readonly color: boolean;
  /** Paths are shown relative to this folder where that is shorter. */
  readonly cwd?: string;
  /** What whole runs of a suite came to, from the bundle's events. */
  readonly totals?: readonly RunTotals[];
  /** What stress did, by target, from the bundle's events. */
  readonly stress?: readonly { readonly target: string; readonly report: StressReport }[];
}

const COLORS = { good: 32, bad: 31, open: 33, dim: 2, bold: 1 } as const;
const SHOWN = 100;
/** Not told case by case. */
const QUIET: ReadonlySet<Status> = new Set(["pass", "skip", "xfail", "miss"]);

/**
 * The end of `lockstep run` on a terminal: the verdict, counts for each target and suite, totals of
 * xtest, everything that did not pass with its reason, skips grouped by reason, storage results that
 * prove nothing of a part, what became of the clauses of each sheet, and where the evidence is.
 */
export function renderSummary(
  reader: Pick<BundleReader, "dir" | "info" | "results" | "catalogue"> &
    Partial<Pick<BundleReader, "divergences">>,
  options: SummaryOptions,
): string {
  const paint = (style: keyof typeof COLORS, text: string): string =>
    options.color ? `\u001b[${COLORS[style]}m${text}\u001b[0m` : text;
  const verdict = verdictOf(reader.info, reader.results);
  const out = [paint(verdict.tone, paint("bold", verdict.word)) + `: ${verdict.sentence}`];

  const groups = bySuite(reader.results);
  const width = Math.max(0, ...groups.map((one) => `${one.target} ${one.suite}`.length));
  for (const { target, suite, cases } of groups) {
    out.push(`  ${`${target} ${suite}`.padEnd(width)}  ${describeCounts(countStatuses(cases))}`);
  }
  for (const one of options.totals ?? []) {
    out.push(`  ${printable(one.suite)} on ${printable(one.target)}: ${describeTotals(one)}`);
  }
  for (const { target, report } of options.stress ?? []) {
    const [head = "", ...lines] = describeStress(report);
    out.push(`  ${printable(target)} under ${head}`, ...lines.map((line) => `    ${line}`));
  }
  const bad = reader.results.cases.filter((one) => !QUIET.has(one.status));
  if (bad.length > 0) {
    out.push("", paint("bold", "Not passed:"));
    for (const one of bad.slice(0, SHOWN)) out.push(...describeCase(one, paint));
    if (bad.length > SHOWN) out.push(`  and ${bad.length - SHOWN} more, in the report`);
  }
  out.push(...grouped(reader.results.cases, "miss", "Never seen", paint));
  out.push(...grouped(reader.results.cases, "xfail", "Known divergences", paint));
  out.push(...grouped(reader.results.cases, "skip", "Skipped", paint));
  const unproven = unprovenLines(reader);
  if (unproven.length > 0) {
    out.push("", paint("bold", paint("open", "Storage backend unproven:")), ...unproven);
  }
  const divergences = divergenceLines(reader.divergences);
  if (divergences.length > 0) {
    out.push("", paint("bold", "Compared with the emulated platform:"), ...divergences);
  }
  const clauses = clausesOf(reader);
  if (clauses !== undefined) {
    out.push("", paint("bold", "Clauses:"), ...sheetLines(clauses.sheets));
  }
  for (const problem of reader.info.problems)
    out.push("", `problem: ${oneLine(printable(problem))}`);
  const show = (file: string): string => shortPath(file, options.cwd);
  out.push("", `Bundle: ${show(reader.dir)}`);
  out.push(`Report: ${show(path.join(reader.dir, "report.html"))}`, "");
  return out.join("\n");
}

type Paint = (style: keyof typeof COLORS, text: string) => string;

function describeCase(one: CaseResult, paint: Paint): string[] {
  const status = one.infrastructure === true ? "infrastructure error" : one.status;
  const where = one.where === undefined ? "" : ` (${one.where})`;
  const reason = oneLine(printable(one.reason ?? "")).slice(0, 400);
  return [
    `  ${paint("bad", status)}  ${one.target}  ${one.id}`,
    ...(reason === "" ? [] : [`      ${reason}${where}`]),
  ];
}

/** `3 × reason (first id …)`, the most frequent reason first. */
function grouped(
  cases: readonly CaseResult[],
  status: Status,
  title: string,
  paint: Paint,
): string[] {
  const chosen = cases.filter((one) => one.status === status);
  if (chosen.length === 0) return [];
  const reasons = new Map<string, CaseResult[]>();
  for (const one of chosen) {
    const key = `${one.target}: ${oneLine(printable(one.reason ?? "no reason"))}`;
    reasons.set(key, [...(reasons.get(key) ?? []), one]);
  }
  const lines = [...reasons]
    .toSorted(([, a], [, b]) => b.length - a.length)
    .map(([reason, list]) => {
      const ids = list.slice(0, 3).map((one) => one.id);
      const more = list.length > ids.length ? ", …" : "";
      return `  ${list.length} × ${reason} ${paint("dim", `(${ids.join(", ")}${more})`)}`;
    });
  const rest = lines.length > SHOWN ? [`  and ${lines.length - SHOWN} more reasons`] : [];
  return ["", paint("bold", `${title}: ${chosen.length}`), ...lines.slice(0, SHOWN), ...rest];
}

function shortPath(file: string, cwd: string | undefined): string {
  if (cwd === undefined) return file;
  const relative = path.relative(cwd, file);
  return relative === "" || relative.startsWith("..") ? file : relative;
}
