import type { RunEvent, RunTotals, StreamOffsets } from "../model.ts";
import type { StressReport } from "../stress.ts";
import type { BundleReader } from "./reader.ts";

/** Milliseconds since the run's start. */
export interface Interval {
  readonly start: number;
  /** Undefined when the run ended first. */
  readonly end?: number;
}

export interface StageTime extends Interval {
  readonly target: string;
  readonly stage: string;
  readonly ok?: boolean;
  readonly remark?: string;
}

/** When a case ran, and which bytes of each console of its target came meanwhile. */
export interface CaseTime extends Interval {
  readonly target: string;
  readonly id: string;
  /** Wall time of the start, ISO 8601 UTC. */
  readonly wall: string;
  readonly from: StreamOffsets;
  readonly to?: StreamOffsets;
}

/** What the events of a run tell about time and place. Times come from here only, never from results. */
export interface Timeline {
  readonly stages: readonly StageTime[];
  /** Milliseconds of the last event. */
  readonly length: number;
  readonly totals: readonly RunTotals[];
  readonly stress: readonly { readonly target: string; readonly report: StressReport }[];
  readonly warnings: readonly { readonly target?: string; readonly text: string }[];
  /** The last time that a case ran. */
  case(target: string, id: string): CaseTime | undefined;
}

const READ = new WeakMap<BundleReader, Promise<Timeline>>();

/** Reads the events, in memory bounded by the number of cases and stages; only once for a reader. */
export function readTimeline(reader: BundleReader): Promise<Timeline> {
  const known = READ.get(reader);
  if (known !== undefined) return known;
  const reading = collect(reader);
  READ.set(reader, reading);
  return reading;
}

async function collect(reader: BundleReader): Promise<Timeline> {
  const stages: StageTime[] = [];
  const cases = new Map<string, CaseTime>();
  const totals: RunTotals[] = [];
  const stress: { target: string; report: StressReport }[] = [];
  const warnings: { target?: string; text: string }[] = [];
  let length = 0;
  for await (const event of reader.events({ lines: false })) {
    length = Math.max(length, event.t);
    switch (event.type) {
      case "stage-start":
        stages.push({ target: event.target, stage: event.stage, start: event.t });
        break;
      case "stage-end":
        endStage(stages, event);
        break;
      case "case-start":
        cases.set(keyOf(event.target, event.id), {
          target: event.target,
          id: event.id,
          start: event.t,
          wall: event.wall,
          from: event.offsets,
        });
        break;
      case "case-end": {
        const key = keyOf(event.target, event.id);
        const begun = cases.get(key);
        if (begun !== undefined) cases.set(key, { ...begun, end: event.t, to: event.offsets });
        break;
      }
      case "totals":
        totals.push(event.totals);
        break;
      case "stress":
        stress.push(event);
        break;
      case "warning":
        warnings.push(event);
        break;
      case "run-start":
      case "run-end":
      case "result":
      case "line":
        break;
      default:
        event satisfies never;
    }
  }
  return {
    stages,
    length,
    totals,
    stress,
    warnings,
    case: (target, id) => cases.get(keyOf(target, id)),
  };
}

function endStage(stages: StageTime[], event: RunEvent & { type: "stage-end" }): void {
  const at = stages.findLastIndex(
    (one) => one.target === event.target && one.stage === event.stage && one.end === undefined,
  );
  const begun = stages[at];
  if (begun === undefined) return;
  const remark = event.remark === undefined ? {} : { remark: event.remark };
  stages[at] = { ...begun, end: event.t, ok: event.ok, ...remark };
}

function keyOf(target: string, id: string): string {
  return JSON.stringify([target, id]);
}
