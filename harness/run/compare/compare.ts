import { EXIT, type ExitCode, worstExit } from "../../base/index.ts";
import type { CaseResult, FactsSheet, Results, Status, SubcaseResult } from "../model.ts";
import { type FactDifference, factDifferences } from "./facts.ts";

/** One of the two things that are compared: a bundle, or what a raw log was parsed to. */
export interface CompareSide {
  /** For people: the bundle's folder or the log's name. */
  readonly label: string;
  readonly results: Results;
  /** Empty where nothing is known, as of a raw log. */
  readonly facts: readonly FactsSheet[];
  readonly incomplete: boolean;
  /** The only suite that this side can know, of one board: a raw console log of xtest. */
  readonly only?: string;
}

/** A case, or one of its subcases, whose outcome differs. A side on which it is absent has no status. */
export interface CaseChange {
  readonly target: string;
  readonly id: string;
  readonly subcase?: string;
  readonly before?: Status;
  readonly after?: Status;
  readonly reasonBefore?: string;
  readonly reasonAfter?: string;
}

/** Two targets that were held against each other, one of each side. */
export interface TargetPair {
  readonly before: string;
  readonly after: string;
  readonly differences: readonly FactDifference[];
}

export interface Comparison {
  readonly before: string;
  readonly after: string;
  readonly targets: readonly TargetPair[];
  /** Why the two cannot be compared; empty when they can. */
  readonly incomparable: readonly string[];
  /** What a reader should know besides, e.g. that one side is incomplete. */
  readonly notes: readonly string[];
  readonly newFailures: readonly CaseChange[];
  readonly fixed: readonly CaseChange[];
  /** Had a verdict and has none now: absent, `miss`, or skipped. */
  readonly missing: readonly CaseChange[];
  readonly newCases: readonly CaseChange[];
  /** Any other change of status, e.g. `fail` to `crash`, `skip` to `pass`. */
  readonly changed: readonly CaseChange[];
  readonly skipReasons: readonly CaseChange[];
  readonly unchanged: number;
  /** 0 no worse, 1 new failures, 6 missing, 2 incomparable; the worst of them. */
  readonly exitCode: ExitCode;
}

export interface CompareOptions {
  /** Compare whatever the facts sheets say. */
  readonly force?: boolean;
  /** Leaves cases out on both sides, e.g. those that a filter of the new run excluded. */
  readonly scope?: (result: CaseResult) => boolean;
}

type Kind = "newFailures" | "fixed" | "missing" | "newCases" | "changed" | "skipReasons";

const BAD: ReadonlySet<Status> = new Set(["fail", "error", "crash", "timeout", "xpass"]);
const GOOD: ReadonlySet<Status> = new Set(["pass", "xfail"]);

/** What became better, worse or different from `before` to `after`. */
export function compareRuns(
  before: CompareSide,
  after: CompareSide,
  options: CompareOptions = {},
): Comparison {
  const scope = options.scope ?? (() => true);
  const old = byTarget(narrowed(before, after).filter(scope));
  const now = byTarget(narrowed(after, before).filter(scope));
  const pairs = pairTargets(before, after, [...old.keys()], [...now.keys()]);
  const found: Record<Kind, CaseChange[]> = {
    newFailures: [],
    fixed: [],
    missing: [],
    newCases: [],
    changed: [],
    skipReasons: [],
  };
  let unchanged = 0;
  const partner = new Map(pairs.map((pair) => [pair.before, pair.after]));
  for (const [target, cases] of old) {
    const others = now.get(partner.get(target) ?? "");
    for (const a of cases.values()) {
      const b = others?.get(a.id);
      const changes = b === undefined ? [gone(a, others)] : caseChanges(a, b);
      for (const [kind, change] of changes) found[kind].push(change);
      if (changes.length === 0) unchanged += 1;
    }
  }
  const origin = new Map(pairs.map((pair) => [pair.after, pair.before]));
  for (const [target, cases] of now) {
    const others = old.get(origin.get(target) ?? "");
    for (const b of cases.values()) {
      if (others?.has(b.id) === true) continue;
      const kind = BAD.has(b.status) ? "newFailures" : "newCases";
      found[kind].push({ target, id: b.id, after: b.status, ...reason("reasonAfter", b.reason) });
    }
  }
  const incomparable = reasonsAgainst(pairs, old, now);
  return {
    before: before.label,
    after: after.label,
    targets: pairs,
    incomparable,
    notes: notes(before, after, pairs),
    ...found,
    unchanged,
    exitCode: exitCode(found, incomparable.length > 0 && options.force !== true),
  };
}

/**
 * The cases of a side that the other can know of: where that is a raw log, its suite on the one
 * target that has most verdicts in common with it.
 */
function narrowed(side: CompareSide, other: CompareSide): readonly CaseResult[] {
  const { cases } = side.results;
  if (other.only === undefined || side.only !== undefined) return cases;
  const known = new Set(other.results.cases.map((one) => one.id));
  const common = new Map<string, number>();
  for (const one of cases) {
    if (one.suite !== other.only) continue;
    const verdict = known.has(one.id) && one.status !== "skip" ? 1 : 0;
    common.set(one.target, (common.get(one.target) ?? 0) + verdict);
  }
  // A log comes from a real board: of two that have as much in common it is that one's.
  const isReal = (target: string): number =>
    sheetOf(side, target)?.platform === "emulated" ? 0 : 1;
  const [best] = [...common].toSorted(([a, p], [b, q]) => q - p || isReal(b) - isReal(a))[0] ?? [];
  return cases.filter((one) => one.target === best && one.suite === other.only);
}

function exitCode(found: Record<Kind, CaseChange[]>, refuse: boolean): ExitCode {
  const codes: ExitCode[] = [];
  if (refuse) codes.push(EXIT.usage);
  if (found.newFailures.length > 0) codes.push(EXIT.failed);
  if (found.missing.length > 0) codes.push(EXIT.incomplete);
  return worstExit(codes);
}

function byTarget(cases: readonly CaseResult[]): Map<string, Map<string, CaseResult>> {
  const targets = new Map<string, Map<string, CaseResult>>();
  for (const one of cases) {
    const target = targets.get(one.target) ?? new Map<string, CaseResult>();
    target.set(one.id, one);
    targets.set(one.target, target);
  }
  return targets;
}

/**
 * Targets of one name belong together. One left over on each side belongs together too: a board
 * that was renamed, or a raw log, which knows no board.
 */
function pairTargets(
  before: CompareSide,
  after: CompareSide,
  old: readonly string[],
  now: readonly string[],
): TargetPair[] {
  const names: [string, string][] = old.filter((name) => now.includes(name)).map((n) => [n, n]);
  const [left, right] = [
    old.filter((name) => !now.includes(name)),
    now.filter((name) => !old.includes(name)),
  ];
  if (left.length === 1 && right.length === 1) names.push([left[0] ?? "", right[0] ?? ""]);
  return names.map(([a, b]) => {
    const [x, y] = [sheetOf(before, a), sheetOf(after, b)];
    const differences = x === undefined || y === undefined ? [] : factDifferences(x, y);
    return { before: a, after: b, differences };
  });
}

function sheetOf(side: CompareSide, target: string): FactsSheet | undefined {
  return side.facts.find((sheet) => sheet.board === target);
}

function reasonsAgainst(
  pairs: readonly TargetPair[],
  old: ReadonlyMap<string, unknown>,
  now: ReadonlyMap<string, unknown>,
): string[] {
  if (pairs.length === 0) {
    const [left, right] = [[...old.keys()].join(", "), [...now.keys()].join(", ")];
    return [`no board is on both sides: ${left || "none"} before, ${right || "none"} after`];
  }
  return pairs.flatMap((pair) =>
    pair.differences
      .filter((one) => one.decisive)
      .map((one) => `${one.fact} of ${pair.after}: ${one.before} before, ${one.after} after`),
  );
}

function notes(before: CompareSide, after: CompareSide, pairs: readonly TargetPair[]): string[] {
  const out: string[] = [];
  for (const side of [before, after]) {
    if (side.incomplete) out.push(`${side.label} is incomplete: the run did not come to its end`);
  }
  for (const pair of pairs) {
    if (pair.before !== pair.after) out.push(`${pair.before} was held against ${pair.after}`);
    const unknown = [
      sheetOf(before, pair.before) === undefined ? before.label : undefined,
      sheetOf(after, pair.after) === undefined ? after.label : undefined,
    ].filter((label) => label !== undefined);
    if (unknown.length > 0) {
      out.push(
        `no facts sheet of ${pair.after} in ${unknown.join(" and ")}: compared by case only`,
      );
    }
  }
  return out;
}

function gone(
  a: CaseResult,
  others: ReadonlyMap<string, CaseResult> | undefined,
): [Kind, CaseChange] {
  const loss = {
    target: a.target,
    id: a.id,
    before: a.status,
    ...reason("reasonBefore", a.reason),
  };
  if (a.id === `${a.suite}.run` && ranSuite(others, a.suite)) return ["fixed", loss];
  // What never was seen cannot get lost; a skip that is gone took no verdict with it.
  return [a.status === "miss" || a.status === "skip" ? "changed" : "missing", loss];
}

/** `<suite>.run` tells what is wrong with a run as a whole, and is absent where nothing is. */
function ranSuite(cases: ReadonlyMap<string, CaseResult> | undefined, suite: string): boolean {
  return [...(cases?.values() ?? [])].some(
    (one) => one.suite === suite && (BAD.has(one.status) || GOOD.has(one.status)),
  );
}

function caseChanges(a: CaseResult, b: CaseResult): [Kind, CaseChange][] {
  const base = { target: b.target, id: b.id };
  const kind = kindOf(a, b);
  if (kind !== undefined) return [[kind, changed(base, a, b)]];
  const old = new Map((a.subcases ?? []).map((sub) => [sub.id, sub]));
  return (b.subcases ?? []).flatMap((sub): [Kind, CaseChange][] => {
    const was = old.get(sub.id);
    const subKind = was === undefined ? undefined : kindOf(was, sub);
    if (was === undefined || subKind === undefined) return [];
    // The case as a whole has a verdict, so a subcase that is skipped now is a change, not a loss.
    const shown = subKind === "missing" ? "changed" : subKind;
    return [[shown, changed({ ...base, subcase: sub.id }, was, sub)]];
  });
}

type Outcome = Pick<SubcaseResult, "status" | "reason">;

function kindOf(a: Outcome, b: Outcome): Kind | undefined {
  if (a.status === b.status) {
    return a.status === "skip" && a.reason !== b.reason ? "skipReasons" : undefined;
  }
  if (BAD.has(b.status)) return BAD.has(a.status) ? "changed" : "newFailures";
  if (GOOD.has(b.status) && BAD.has(a.status)) return "fixed";
  const hadVerdict = BAD.has(a.status) || GOOD.has(a.status);
  if (b.status === "miss" ? a.status !== "miss" : b.status === "skip" && hadVerdict)
    return "missing";
  return "changed";
}

function changed(
  base: { target: string; id: string; subcase?: string },
  a: Outcome,
  b: Outcome,
): CaseChange {
  return {
    ...base,
    before: a.status,
    after: b.status,
    ...reason("reasonBefore", a.reason),
    ...reason("reasonAfter", b.reason),
  };
}

function reason<K extends string>(key: K, value: string | undefined): Partial<Record<K, string>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, string>>);
}
