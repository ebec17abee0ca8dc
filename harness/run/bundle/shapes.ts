import {
  type CaseResult,
  type CatalogueClause,
  type ClauseCatalogue,
  type FactsSheet,
  type Results,
  type RunEvent,
  type RunInfo,
  type RunTotals,
  STATUSES,
} from "../model.ts";
import {
  MEMORY_OPERATIONS,
  type MemoryOperation,
  type OperationCounts,
  STRESS_KINDS,
  type StressReport,
} from "../stress.ts";
import {
  type Check,
  ShapeError,
  count,
  flag,
  list,
  matching,
  number,
  object,
  oneOf,
  record,
  text,
} from "./check.ts";

const status = oneOf(STATUSES);
const format = oneOf([1]);
const sha256 = matching(/^[0-9a-f]{64}$/, "a SHA-256 in hex");
/** A plain name within the bundle: no separators, no leading dot, so it cannot leave the folder. */
const fileName = matching(/^(?!\.)[\w.-]{1,255}$/, "a plain file name");

const subcase = object({ id: text, status }, { title: text, reason: text });

export const caseResult: Check<CaseResult> = object(
  { target: text, suite: text, id: text, title: text, status },
  {
    reason: text,
    where: text,
    infrastructure: oneOf([true]),
    subcases: list(subcase),
    clauses: list(text),
  },
);

export const results: Check<Results> = object({ format, cases: list(caseResult) });

const catalogueClause: Check<CatalogueClause> = object(
  {
    id: matching(/^[A-Z]{3,4}-[\w.]{1,60}$/, "a clause id"),
    sheet: text,
    summary: text,
    source: text,
    status: oneOf(["implemented", "out-of-scope"]),
    unitTests: count,
  },
  { level: oneOf(["R", "S", "D"]), reason: text },
);

export const clauseCatalogue: Check<ClauseCatalogue> = object({
  format,
  unitTests: flag,
  sheets: list(object({ name: text, title: text })),
  clauses: list(catalogueClause),
});

const facts: Check<FactsSheet> = object(
  {
    board: text,
    boardType: text,
    platform: oneOf(["emulated", "qemu", "hardware"]),
    versions: record(text),
    images: record(text),
    packages: record(text),
    machine: record(text),
    hab: oneOf(["open", "closed", "not-applicable", "unknown"]),
    huk: oneOf(["open", "closed", "stub", "unknown"]),
    rpmb: oneOf([
      "real",
      "emulated by supplicant",
      "emulated by Lockstep",
      "test key",
      "none",
      "unknown",
    ]),
  },
  {
    packageHashes: record(sha256),
    rpmbEvidence: object(
      { how: list(text) },
      {
        counter: object({ authentic: flag }, { before: count, after: count }),
        scenarios: oneOf(["emulated by Lockstep"]),
      },
    ),
  },
);

export const runInfo: Check<RunInfo> = object(
  {
    format,
    id: text,
    lockstep: text,
    node: text,
    command: list(text),
    seed: number,
    startedAt: text,
    state: oneOf(["running", "complete", "incomplete"]),
    problems: list(text),
    facts: list(facts),
    streams: list(object({ target: text, name: text, file: fileName })),
    redactions: list(object({ file: fileName, offset: count, length: count, reason: text })),
  },
  {
    finishedAt: text,
    exitCode: count,
    files: record(object({ bytes: count, sha256 })),
  },
);

const runTotals: Check<RunTotals> = object(
  { target: text, suite: text, cases: count, failed: count, skipped: count },
  { subtests: object({ seen: count }, { min: count, max: count }) },
);

const time = { t: number, wall: text };
const offsets = record(count);

const operationCounts: Check<OperationCounts> = object({
  attempts: count,
  waits: count,
  completions: count,
});

const stressReport: Check<StressReport> = object({
  kind: oneOf(STRESS_KINDS),
  machines: count,
  vms: count,
  operations: object(
    Object.fromEntries(MEMORY_OPERATIONS.map((name) => [name, operationCounts])) as Record<
      MemoryOperation,
      Check<OperationCounts>
    >,
  ),
});

const EVENT_SHAPES = {
  "run-start": object({ ...time, type: oneOf(["run-start"]), id: text }),
  "run-end": object({ ...time, type: oneOf(["run-end"]), exitCode: count }),
  "stage-start": object({ ...time, type: oneOf(["stage-start"]), target: text, stage: text }),
  "stage-end": object(
    { ...time, type: oneOf(["stage-end"]), target: text, stage: text, ok: flag },
    { remark: text },
  ),
  line: object({ ...time, type: oneOf(["line"]), target: text, stream: text, offset: count, text }),
  "case-start": object({ ...time, type: oneOf(["case-start"]), target: text, id: text, offsets }),
  "case-end": object({
    ...time,
    type: oneOf(["case-end"]),
    target: text,
    id: text,
    status,
    offsets,
  }),
  result: object({ ...time, type: oneOf(["result"]), result: caseResult }),
  totals: object({ ...time, type: oneOf(["totals"]), totals: runTotals }),
  stress: object({ ...time, type: oneOf(["stress"]), target: text, report: stressReport }),
  warning: object({ ...time, type: oneOf(["warning"]), text }, { target: text }),
} satisfies { [K in RunEvent["type"]]: Check<unknown> };

const eventType = oneOf(Object.keys(EVENT_SHAPES) as RunEvent["type"][]);

export const runEvent: Check<RunEvent> = (value, at) => {
  if (typeof value !== "object" || value === null) throw new ShapeError(at, "an object", value);
  const type = eventType((value as { type?: unknown }).type, at === "" ? "type" : `${at}.type`);
  return EVENT_SHAPES[type](value, at);
};
