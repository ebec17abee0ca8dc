import type { Status, SubcaseResult } from "../run/index.ts";
import type { RunRecord } from "./expected/model.ts";
import type { ParsedCase, ParsedRun, ParsedSubcase } from "./model.ts";
import type { CaseOutcome } from "./report.ts";

/** How a run was ended from outside: what becomes of the case that was running, and why. */
export interface Cut {
  readonly status: "timeout" | "crash" | "error" | "miss";
  readonly reason: string;
  /** Neither xtest nor the board: what the host provides for the board failed. */
  readonly infrastructure?: true;
}

export interface CaseContext {
  readonly run: ParsedRun;
  /** This case was running when the output ended. */
  readonly last: boolean;
  readonly cut: Cut | undefined;
  /** Title from the expected list. */
  readonly title: string | undefined;
  /** What is recorded of such runs on this board; undefined where nothing is. */
  readonly record: RunRecord | undefined;
  /** How many subcases it has at least wherever it was recorded; 0 where it was not. */
  readonly usualSubcases: number;
}

interface Ruling {
  readonly status: Status;
  readonly reason?: string;
}

/** The status of one case that appeared in a run. Whatever is not legible is never a pass. */
export function judgeCase(parsed: ParsedCase, context: CaseContext): CaseOutcome {
  const open = parsed.verdict === undefined ? withoutVerdict(parsed, context) : undefined;
  const subcases = judgeSubcases(parsed, open);
  const ruling = rule(parsed, context, subcases, open);
  const good = ruling.status === "pass" || ruling.status === "skip";
  const where = good ? undefined : firstPlace(parsed);
  return {
    id: parsed.id,
    title: context.title ?? parsed.title,
    status: ruling.status,
    ...(ruling.reason === undefined ? {} : { reason: ruling.reason }),
    ...(where === undefined ? {} : { where }),
    ...(subcases.length === 0 ? {} : { subcases }),
  };
}

/** Skip texts that a case and its subcases printed, by id; the first of each. */
export function printedSkips(parsed: ParsedCase): Map<string, string> {
  const skips = new Map<string, string>();
  const own = parsed.skips[0];
  if (own !== undefined) skips.set(parsed.id, own);
  for (const subcase of parsed.subcases) {
    const reason = subcase.skips?.[0];
    if (reason !== undefined) skips.set(subcase.id, reason);
  }
  return skips;
}

function rule(
  parsed: ParsedCase,
  context: CaseContext,
  subcases: readonly SubcaseResult[],
  open: Ruling | undefined,
): Ruling {
  if (parsed.verdict === "FAILED" || parsed.listed === "FAILED") {
    return { status: "fail", reason: failureReason(parsed) };
  }
  const failed = subcases.find((subcase) => subcase.status === "fail");
  if (failed !== undefined && open === undefined) {
    return { status: "fail", reason: `${failed.id} failed although the case says OK` };
  }
  const crash = parsed.evidence.find((evidence) => evidence.kind === "crash");
  if (open !== undefined) return open;
  if (crash !== undefined) return { status: "crash", reason: `${crash.what}: ${crash.line}` };
  if (!parsed.started) return { status: "error", reason: "its first line is not legible" };
  const lost = subcases.find((one) => one.status !== "pass" && one.status !== "skip");
  if (lost !== undefined) {
    return { status: "error", reason: `${lost.id}: ${lost.reason ?? "not legible"}` };
  }
  const skipped = subcases.every((subcase) => subcase.status === "skip")
    ? (parsed.skips[0] ?? subcases[0]?.reason)
    : undefined;
  if (skipped !== undefined) return { status: "skip", reason: skipped };
  if (context.run.totals.subtests === 0) {
    return {
      status: "error",
      reason: "says OK, but the run counts 0 subtests: nothing was checked",
    };
  }
  if (parsed.subcases.length === 0 && context.usualSubcases > 0) {
    return {
      status: "error",
      reason: `says OK, but ran none of the ${context.usualSubcases} subcases that it has elsewhere: nothing was checked, e.g. because its TA cannot be loaded`,
    };
  }
  const mismatch = recordMismatch(parsed, context.record);
  if (mismatch !== undefined) return { status: "error", reason: mismatch };
  const partly = parsed.skips[0];
  return partly === undefined
    ? { status: "pass" }
    : { status: "pass", reason: `partly skipped: ${partly}` };
}

/** A case that started and never ended. */
function withoutVerdict(parsed: ParsedCase, { run, last, cut }: CaseContext): Ruling {
  if (last && cut !== undefined) return { status: cut.status, reason: cut.reason };
  const evidence = parsed.evidence.find((one) => one.kind === "crash") ?? parsed.evidence[0];
  if (evidence !== undefined) {
    return { status: "crash", reason: `no verdict; ${evidence.what}: ${evidence.line}` };
  }
  if (parsed.listed === "OK") {
    return { status: "miss", reason: "its verdict is not legible; the result list says OK" };
  }
  return { status: "miss", reason: `started, no verdict: ${last ? endText(run) : "not legible"}` };
}

function endText(run: ParsedRun): string {
  switch (run.end) {
    case "end of log":
      return "the log ends here";
    case "next run":
      return "the next run begins here";
    case "boot":
      return "the board restarted";
    case "done":
      return "the run says that it is done";
    default:
      return run.end satisfies never;
  }
}

function failureReason(parsed: ParsedCase): string {
  const said = parsed.diagnostics[0];
  if (said !== undefined) return said.replace(/^\S*[/\\]/, "");
  if (parsed.where !== undefined) return `first error at ${parsed.where}`;
  const sub = parsed.subcases.find((subcase) => subcase.verdict === "FAILED");
  if (sub === undefined) return "FAILED, no place given";
  return sub.where === undefined ? `${sub.id} failed` : `${sub.id}: first error at ${sub.where}`;
}

function firstPlace(parsed: ParsedCase): string | undefined {
  const said = /^(?:\S*[/\\])?([^/\\\s]+?:\d+): /.exec(parsed.diagnostics[0] ?? "")?.[1];
  return parsed.where ?? parsed.subcases.find((one) => one.where !== undefined)?.where ?? said;
}

function judgeSubcases(parsed: ParsedCase, open: Ruling | undefined): SubcaseResult[] {
  if (parsed.subcases.every(isPlainPass)) {
    return parsed.subcases.map(({ id, title }) => ({ id, title, status: "pass" }));
  }
  const ran = new Set<string>();
  const skipped = new Map<string, string>();
  const results: SubcaseResult[] = [];
  // Children are printed after their parent: backwards, a parent knows already what ran in it.
  for (let i = parsed.subcases.length - 1; i >= 0; i--) {
    const subcase = parsed.subcases[i];
    if (subcase === undefined) continue;
    const ruling = ruleSubcase(subcase, open, ran, skipped);
    const parent = subcase.id.slice(0, subcase.id.lastIndexOf("."));
    if (ruling.status === "skip") skipped.set(parent, ruling.reason ?? "");
    else ran.add(parent);
    results.push({
      id: subcase.id,
      ...(subcase.title === "" ? {} : { title: subcase.title }),
      status: ruling.status,
      ...(ruling.reason === undefined ? {} : { reason: ruling.reason }),
    });
  }
  return results.toReversed();
}

function isPlainPass({ verdict, started, skips, title }: ParsedSubcase): boolean {
  return verdict === "OK" && started && skips === undefined && title !== "";
}

function ruleSubcase(
  subcase: ParsedSubcase,
  open: Ruling | undefined,
  ran: ReadonlySet<string>,
  skipped: ReadonlyMap<string, string>,
): Ruling {
  if (subcase.verdict === "FAILED") {
    const place = subcase.where;
    return { status: "fail", reason: place === undefined ? "FAILED" : `first error at ${place}` };
  }
  if (subcase.verdict === undefined) {
    return open ?? { status: "miss", reason: "its verdict is not legible" };
  }
  if (!subcase.started) return { status: "error", reason: "its first line is not legible" };
  const own = subcase.skips?.[0];
  if (!ran.has(subcase.id)) {
    const reason = own ?? skipped.get(subcase.id);
    if (reason !== undefined) return { status: "skip", reason };
  }
  return own === undefined
    ? { status: "pass" }
    : { status: "pass", reason: `partly skipped: ${own}` };
}

/** How a case that says OK differs from what is recorded of it. */
function recordMismatch(parsed: ParsedCase, record: RunRecord | undefined): string | undefined {
  if (record === undefined) return undefined;
  const recorded = new Set(record.subcases.get(parsed.id));
  const seen = new Set(parsed.subcases.map((subcase) => subcase.id));
  const lost = [...recorded].filter((id) => !seen.has(id));
  if (lost.length > 0) return `${lost.length} recorded subcase lines missing, first ${lost[0]}`;
  const added = [...seen].filter((id) => !recorded.has(id));
  if (added.length > 0) return `${added.length} subcase lines not recorded, first ${added[0]}`;
  const skips = printedSkips(parsed);
  for (const id of [parsed.id, ...recorded]) {
    const reason = record.skips.get(id);
    if (reason !== undefined && !skips.has(id)) {
      return `${id} is recorded as a skip (${reason}); it did not say so`;
    }
  }
  return undefined;
}
