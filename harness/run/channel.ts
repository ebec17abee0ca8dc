/**
 * The one channel between the process that owns a board and its Jest child: Node IPC with
 * structured-clone ("advanced") serialisation. The child asks; the owner answers by `seq`.
 */

/** Selects cases by id or title; sources of regular expressions, any of which may match. */
export interface CaseFilter {
  readonly patterns: readonly string[];
}

export type FromSuite =
  | {
      readonly kind: "run";
      readonly seq: number;
      readonly caseId: string;
      readonly reference: string;
      readonly args: unknown;
    }
  | { readonly kind: "xtest"; readonly seq: number; readonly caseId: string; readonly id: string }
  | { readonly kind: "announce"; readonly cases: number }
  | { readonly kind: "case-start"; readonly caseId: string; readonly title: string }
  | { readonly kind: "case-end"; readonly end: SuiteCaseEnd };

export interface SuiteCaseEnd {
  readonly caseId: string;
  readonly suite: string;
  readonly title: string;
  readonly status: "pass" | "fail" | "skip" | "error";
  readonly reason?: string;
}

export type ToSuite =
  | { readonly kind: "value"; readonly seq: number; readonly value: unknown }
  | { readonly kind: "skipped"; readonly seq: number; readonly reason: string }
  | {
      readonly kind: "failed";
      readonly seq: number;
      readonly name: string;
      readonly message: string;
    };

/** Environment variable that carries the JSON of what a Jest child needs to know. */
export const SUITE_ENV = "LOCKSTEP_SUITE";

export interface SuiteSetup {
  readonly board: { readonly name: string; readonly type: string; readonly platform: string };
  readonly filter: CaseFilter;
  /** Case ids of the xtest list in force, in run order, with their titles. */
  readonly xtest: readonly { readonly id: string; readonly title: string }[];
}

const MAX_SLUG = 96;

/**
 * The stable id of a Jest test: the suite's folder and its full name in lower case, every run of
 * other characters a dash, e.g. `smc-abi.calls-uid-returns-the-api-uid`.
 */
export function caseIdOf(suite: string, fullName: string): string {
  const slug = fullName
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, "-")
    .replaceAll(/^-+|-+$/g, "")
    .slice(0, MAX_SLUG);
  return `${suite}.${slug}`;
}

export function matchesFilter(filter: CaseFilter, caseId: string, title: string): boolean {
  if (filter.patterns.length === 0) return true;
  return filter.patterns.some((source) => {
    const pattern = new RegExp(source);
    return pattern.test(caseId) || pattern.test(title);
  });
}
