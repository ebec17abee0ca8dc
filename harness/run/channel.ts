/**
 * The one channel between the process that owns a board and its Jest child: Node IPC with
 * structured-clone ("advanced") serialisation. The child asks; the owner answers by `seq`.
 */

/** Selects cases by id or title; sources of regular expressions, any of which may match. */
export interface CaseFilter {
  readonly patterns: readonly string[];
}

/** A conduit, and on conduit `vm` the mediator's rules. */
export interface SuiteCombination {
  readonly conduit: string;
  readonly rules?: string;
}

export type FromSuite =
  | {
      readonly kind: "run";
      readonly seq: number;
      readonly caseId: string;
      readonly reference: string;
      readonly args: unknown;
      /** What to run it on; the first that fits when absent. */
      readonly on?: SuiteCombination;
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
  /** Which of the cases that name a combination are wanted; all when absent. */
  readonly narrowing?: {
    readonly conduits?: readonly string[];
    readonly rules?: readonly string[];
  };
  /** The combinations that scenarios list, where there are several, and whose they are. */
  readonly combinations?: readonly {
    readonly on: readonly SuiteCombination[];
    readonly of: readonly string[];
  }[];
  /** Case ids of the xtest list in force, in run order, with their titles. */
  readonly xtest: readonly { readonly id: string; readonly title: string }[];
}

const MAX_SLUG = 96;
/** How a test's name ends that is run on several combinations: ` [direct]`, ` [vm, kvm]`. */
const ON = / \[(direct|hwdom|vm)(?:, ([a-z]+))?\]$/;

/** The name of a test that is run on several combinations, on one of them. */
export function nameOn(title: string, { conduit, rules }: SuiteCombination): string {
  return `${title} [${rules === undefined ? conduit : `${conduit}, ${rules}`}]`;
}

/** Whether a case is wanted by its combination; one that names none always is. */
export function isSelected(narrowing: SuiteSetup["narrowing"], fullName: string): boolean {
  const [, conduit, rules] = ON.exec(fullName) ?? [];
  if (conduit === undefined || narrowing === undefined) return true;
  if (narrowing.conduits?.includes(conduit) === false) return false;
  return rules === undefined || narrowing.rules?.includes(rules) !== false;
}

const slugOf = (text: string): string =>
  text
    .toLowerCase()
    .replaceAll(/[^a-z0-9_]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");

/**
 * The stable id of a Jest test: the suite's folder and its full name in lower case, every run of
 * other characters a dash, e.g. `smc-abi.calls-uid-returns-the-api-uid`; cut at 96 characters, with
 * the combination behind them: `smc-abi.an-unknown-command-is-ebadcmd-vm-kvm`.
 */
export function caseIdOf(suite: string, fullName: string): string {
  const slug = slugOf(fullName.replace(ON, "")).slice(0, MAX_SLUG);
  const [on] = ON.exec(fullName) ?? [];
  return on === undefined ? `${suite}.${slug}` : `${suite}.${slug}-${slugOf(on)}`;
}

export function matchesFilter(filter: CaseFilter, caseId: string, title: string): boolean {
  if (filter.patterns.length === 0) return true;
  return filter.patterns.some((source) => {
    const pattern = new RegExp(source);
    return pattern.test(caseId) || pattern.test(title);
  });
}
