/** What one or several xtest runs printed, before anything is judged. */

export type Verdict = "OK" | "FAILED";

/** A sign on a console that the software on the board died, stalled or started anew. */
export interface Evidence {
  /** `crash`: panic, oops, abort. `hang`: lockup, stall. `boot`: a boot banner. */
  readonly kind: "crash" | "hang" | "boot";
  /** What was recognised, e.g. `kernel panic`. */
  readonly what: string;
  /** The line without time stamp, addresses and processor numbers, at most 200 characters. */
  readonly line: string;
}

export interface ParsedSubcase {
  /** As printed, e.g. `regression_1013.1.24`. */
  readonly id: string;
  title: string;
  /** False where only the verdict was legible. */
  started: boolean;
  verdict: Verdict | undefined;
  /** Texts by which it says that it skipped something. */
  skips: string[] | undefined;
  /** First-error place from the result list, e.g. `regression_1000.c:1234`. */
  where: string | undefined;
}

export interface ParsedCase {
  /** As printed, e.g. `regression_1013`. */
  readonly id: string;
  title: string;
  /** False where the line that starts the case was not legible. */
  started: boolean;
  verdict: Verdict | undefined;
  /** Verdict in the result list at the run's end, printed independently of the first. */
  listed: Verdict | undefined;
  where: string | undefined;
  /** Skip texts printed by the case itself, outside its subcases. */
  readonly skips: string[];
  readonly subcases: ParsedSubcase[];
  /** Failed expectations as printed, first ones only. */
  readonly diagnostics: string[];
  readonly evidence: Evidence[];
}

/** The numbers that xtest prints at the end of a run; each is undefined until its line came. */
export interface PrintedTotals {
  subtests: number | undefined;
  failedSubtests: number | undefined;
  cases: number | undefined;
  failedCases: number | undefined;
  /** Cases that were filtered out; xtest has no other notion of skipping. */
  skippedCases: number | undefined;
}

/** Why a run's output ends. */
export type RunEnd = "done" | "boot" | "next run" | "end of log";

export interface ParsedRun {
  /** 1 for the first run of a log. */
  readonly index: number;
  /** Undefined where the line that opens a run was not legible. */
  level: number | undefined;
  /** Arguments after the options, as xtest echoes them: `regression_1004`, `-x`, `1027`. */
  readonly filters: readonly string[];
  /** As printed, e.g. `regression+pkcs11`. */
  suite: string | undefined;
  readonly cases: ParsedCase[];
  readonly totals: PrintedTotals;
  /** The result list was begun. */
  listed: boolean;
  aborted: boolean;
  end: RunEnd;
  /** What cannot come from one undisturbed xtest: lost lines, forged lines, contradictions. */
  readonly violations: string[];
  /** Reasons that xtest itself gives for not running. */
  readonly messages: string[];
  /** Evidence seen outside any case of this run, with the cases around it. */
  readonly between: { readonly after: string | undefined; readonly evidence: Evidence }[];
}

/** What the parser tells while it reads. */
export type XtestEvent =
  | { readonly type: "run-start"; readonly run: ParsedRun }
  | { readonly type: "suite"; readonly run: ParsedRun; readonly suite: string }
  | { readonly type: "case-start"; readonly run: ParsedRun; readonly case: ParsedCase }
  | { readonly type: "case-end"; readonly run: ParsedRun; readonly case: ParsedCase }
  | {
      readonly type: "subcase-start" | "subcase-end";
      readonly case: ParsedCase;
      readonly subcase: ParsedSubcase;
    }
  | { readonly type: "skip"; readonly id: string; readonly text: string }
  | { readonly type: "evidence"; readonly evidence: Evidence }
  | { readonly type: "totals"; readonly run: ParsedRun }
  /** The run is complete as far as it ever will be; the parser keeps no reference to it. */
  | { readonly type: "run-end"; readonly run: ParsedRun };
