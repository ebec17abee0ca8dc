import type { StressReport } from "./stress.ts";

/** The vocabulary of results: what `results.json`, every report and every comparison speak of. */

/** Statuses of a case. A skip is never a pass; `miss` means expected but never seen. */
export const STATUSES = [
  "pass",
  "fail",
  "error",
  "crash",
  "timeout",
  "skip",
  "miss",
  "xfail",
  "xpass",
] as const;
export type Status = (typeof STATUSES)[number];

export interface SubcaseResult {
  /** As printed, e.g. `regression_1029.1`. */
  readonly id: string;
  readonly title?: string;
  readonly status: Status;
  readonly reason?: string;
}

export interface CaseResult {
  /** The board that ran it: `emulated`, `qemu-virt`. */
  readonly target: string;
  /** Subject: `xtest`, `smc-abi`, `mediator`. */
  readonly suite: string;
  /** Stable and unique within a target: `xtest.regression_1001`, `smc-abi.calls-uid`. */
  readonly id: string;
  readonly title: string;
  readonly status: Status;
  /** Why: mandatory for every status but `pass`. */
  readonly reason?: string;
  /** The first place that failed, e.g. `regression_1000.c:1234`. */
  readonly where?: string;
  /**
   * Only with `error`: the lab must act (power, serial, SSH, a missing tool), not the developer of
   * the software under test. Decides the exit code (3, not 1) and how reports classify the case.
   */
  readonly infrastructure?: true;
  readonly subcases?: readonly SubcaseResult[];
  /** Clause ids that this case proves, e.g. `MED-032`. */
  readonly clauses?: readonly string[];
}

/** A clause as `clauses.json` has it: one rule or table row of a sheet. */
export interface CatalogueClause {
  /** E.g. `MED-060`, `SMC-4.1.7`, `MSG-2.2.RMEM`. */
  readonly id: string;
  readonly sheet: string;
  /** R: behaviour to reproduce, S: security property, D: defect of another's implementation. */
  readonly level?: "R" | "S" | "D";
  readonly summary: string;
  readonly source: string;
  readonly status: "implemented" | "out-of-scope";
  /** Why it is out of scope; given exactly then. */
  readonly reason?: string;
  /** How many unit tests name it. */
  readonly unitTests: number;
}

/** `clauses.json`: what the results of a run are held against. */
export interface ClauseCatalogue {
  readonly format: 1;
  /** False where the installation that ran had no unit tests to count. */
  readonly unitTests: boolean;
  readonly sheets: readonly { readonly name: string; readonly title: string }[];
  readonly clauses: readonly CatalogueClause[];
}

/** What exactly was on the board. `unknown` where nothing was observed; never guessed. */
export interface FactsSheet {
  readonly board: string;
  readonly boardType: string;
  readonly platform: "emulated" | "qemu" | "hardware";
  /** Versions as the board printed them: `tf-a`, `optee`, `u-boot`, `linux`, `xtest`, `supplicant`. */
  readonly versions: Readonly<Record<string, string>>;
  /** File name to SHA-256 (hex) of what was booted. */
  readonly images: Readonly<Record<string, string>>;
  /** Package name to version, from the image's manifest. */
  readonly packages: Readonly<Record<string, string>>;
  /** Package name to SHA-256 (hex) of its .deb, from the image's manifest. */
  readonly packageHashes?: Readonly<Record<string, string>>;
  readonly machine: Readonly<Record<string, string>>;
  readonly hab: "open" | "closed" | "not-applicable" | "unknown";
  readonly huk: "open" | "closed" | "stub" | "unknown";
  readonly rpmb:
    | "real"
    | "emulated by supplicant"
    | "emulated by Lockstep"
    | "test key"
    | "none"
    | "unknown";
  readonly rpmbEvidence?: RpmbEvidence;
}

/** How `rpmb` of a facts sheet was established, and what became of the part's write counter. */
export interface RpmbEvidence {
  /** What was seen, a sentence each. */
  readonly how: readonly string[];
  /** Before and after the run. `authentic`: MAC and nonce vouch for both, or the part is Lockstep's. */
  readonly counter?: {
    readonly before?: number;
    readonly after?: number;
    readonly authentic: boolean;
  };
  /** Lockstep served the parts of the scenarios, whatever the board's Linux used. */
  readonly scenarios?: "emulated by Lockstep";
}

/** One console or output stream of a board within a bundle. `file` is relative to the bundle. */
export interface StreamInfo {
  readonly target: string;
  /** `normal`, `secure`, `xtest`. */
  readonly name: string;
  readonly file: string;
}

export interface Redaction {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
  readonly reason: string;
}

/** Assertion counts and totals of a whole xtest run, which belong to no single case. */
export interface RunTotals {
  readonly target: string;
  readonly suite: string;
  readonly cases: number;
  readonly failed: number;
  readonly skipped: number;
  /** Counted only for whole runs; the accepted range, where one is recorded. */
  readonly subtests?: { readonly seen: number; readonly min?: number; readonly max?: number };
}

export interface FileDigest {
  readonly bytes: number;
  readonly sha256: string;
}

export interface RunInfo {
  readonly format: 1;
  readonly id: string;
  readonly lockstep: string;
  readonly node: string;
  readonly command: readonly string[];
  readonly seed: number;
  readonly startedAt: string;
  readonly finishedAt?: string;
  /** `running` in a bundle on disk means that its writer died: the bundle is incomplete. */
  readonly state: "running" | "complete" | "incomplete";
  readonly exitCode?: number;
  /** Why the run is incomplete or what went wrong outside any case, worst first. */
  readonly problems: readonly string[];
  readonly facts: readonly FactsSheet[];
  readonly streams: readonly StreamInfo[];
  readonly redactions: readonly Redaction[];
  /** Size in bytes and SHA-256 (hex) of the evidence files, by name; written when the run ends. */
  readonly files?: Readonly<Record<string, FileDigest>>;
}

export interface Results {
  readonly format: 1;
  /** Sorted by target, then id. Nothing here depends on time or scheduling. */
  readonly cases: readonly CaseResult[];
}

/** Byte offsets into a target's streams at the moment of an event. */
export type StreamOffsets = Readonly<Record<string, number>>;

/** A line of `events.jsonl`. `t` is monotonic ms since the run's start, `wall` ISO 8601 UTC. */
export type RunEvent = { readonly t: number; readonly wall: string } & (
  | { readonly type: "run-start"; readonly id: string }
  | { readonly type: "run-end"; readonly exitCode: number }
  | { readonly type: "stage-start"; readonly target: string; readonly stage: string }
  | {
      readonly type: "stage-end";
      readonly target: string;
      readonly stage: string;
      readonly ok: boolean;
      readonly remark?: string;
    }
  | {
      readonly type: "line";
      readonly target: string;
      readonly stream: string;
      /** Byte offset of the line's start in the raw stream. */
      readonly offset: number;
      readonly text: string;
    }
  | {
      readonly type: "case-start";
      readonly target: string;
      readonly id: string;
      readonly offsets: StreamOffsets;
    }
  | {
      readonly type: "case-end";
      readonly target: string;
      readonly id: string;
      readonly status: Status;
      readonly offsets: StreamOffsets;
    }
  /** A case's final result in full, so that a bundle whose writer died can be read. */
  | { readonly type: "result"; readonly result: CaseResult }
  | { readonly type: "totals"; readonly totals: RunTotals }
  /** What the stress that a target was put under has done, at the end of its suites. */
  | { readonly type: "stress"; readonly target: string; readonly report: StressReport }
  | { readonly type: "warning"; readonly target?: string; readonly text: string }
);
/** A `RunEvent` before the writer has put its times on it. */
export type RunEventBody = RunEvent extends infer E
  ? E extends RunEvent
    ? Omit<E, "t" | "wall">
    : never
  : never;
