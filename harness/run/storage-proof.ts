import type { CaseResult, FactsSheet } from "./model.ts";

/** Storage results of a target of which nobody knows what they were stored in. */
export interface UnprovenStorage {
  readonly target: string;
  /** Why, one sentence. */
  readonly reason: string;
  /** Ids of the cases, in the order of the results. */
  readonly cases: readonly string[];
}

/** TEE_STORAGE_PRIVATE_RPMB as xtest prints it. */
const RPMB_STORAGE_ID = "80000100";
const RPMB_SUITE = "rpmb";

/** Whether a case that ran stored something in RPMB: a storage case of xtest there, or a suite's. */
export function usesRpmbStorage({ suite, status, subcases = [] }: CaseResult): boolean {
  if (status === "skip" || status === "miss") return false;
  return suite === RPMB_SUITE || subcases.some(({ title }) => title?.includes(RPMB_STORAGE_ID));
}

/**
 * Results on RPMB storage whose target's facts do not say what stood behind it. They count as what
 * they are, but say nothing of a part: tee-supplicant may have emulated one.
 */
export function unprovenStorage(
  cases: readonly CaseResult[],
  facts: readonly FactsSheet[],
): UnprovenStorage[] {
  const unproven = new Map<string, string[]>();
  for (const one of cases) {
    const sheet = facts.find(({ board }) => board === one.target);
    if (!usesRpmbStorage(one) || isProven(one, sheet)) continue;
    unproven.set(one.target, [...(unproven.get(one.target) ?? []), one.id]);
  }
  return [...unproven].map(([target, list]) => {
    const sheet = facts.find(({ board }) => board === target);
    return { target, reason: reasonFor(sheet), cases: list };
  });
}

function isProven({ suite }: CaseResult, sheet: FactsSheet | undefined): boolean {
  const { rpmb = "unknown", rpmbEvidence } = sheet ?? {};
  if (suite === RPMB_SUITE && rpmbEvidence?.scenarios !== undefined) return true;
  return rpmb !== "unknown" && rpmb !== "none" && (rpmbEvidence?.how.length ?? 0) > 0;
}

function reasonFor(sheet: FactsSheet | undefined): string {
  const { rpmb = "unknown", rpmbEvidence } = sheet ?? {};
  const seen = rpmbEvidence?.how.join("; ") ?? "";
  if (rpmb === "none") {
    return `the facts sheet says that there is no RPMB${seen === "" ? "" : ` (${seen})`}`;
  }
  const because = seen === "" ? "nothing that was seen tells what" : seen;
  return `what stands behind RPMB is not known: ${because}`;
}
