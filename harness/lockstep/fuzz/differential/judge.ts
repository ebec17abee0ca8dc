import type { Difference, Trace, TraceRecord } from "../../../run/index.ts";
import { compareTraces, type Explain } from "../../divergence/index.ts";
import type { BothResult } from "./both.ts";
import { firstDifference } from "./compare.ts";
import type { ProgramRecord } from "./recorder.ts";

/** What the programs ran on, for traces. */
export interface About {
  readonly board: string;
  readonly rules: string;
  readonly seed: number;
  readonly program: number;
}

/** Where a program went another way on the real machine than on the model. */
export interface Verdict {
  /** The same for every program that differs in the same way. */
  readonly key: string;
  readonly title: string;
  readonly clauses: readonly string[];
  /** The first cause, with both sides' context; absent where no record of an SMC differs. */
  readonly cause?: Difference;
  /** Expectations that account for differences before the cause. */
  readonly explained: readonly { readonly expectation: string; readonly reason: string }[];
}

const REFERENCE = "fuzz/differential#program";

/** A side's records as a trace. */
export function traceOf(
  records: readonly ProgramRecord[],
  target: string,
  { rules, seed, program }: About,
): Trace {
  return {
    header: {
      type: "trace",
      format: 1,
      target,
      caseId: "fuzz",
      run: program,
      reference: REFERENCE,
      conduit: "vm",
      rules,
      seed,
      clauses: [],
    },
    records: records.filter(
      (one): one is TraceRecord => one.type !== "memory" && one.type !== "thrown",
    ),
  };
}

/** What a program's difference is of; undefined when there is none, or nothing that counts. */
export function judge(
  { model, real, difference }: BothResult,
  about: About,
  explain?: Explain,
): Verdict | undefined {
  if (difference === undefined) return undefined;
  const left = traceOf(model.records, "emulated", about);
  const right = traceOf(real.records, about.board, about);
  const compared = compareTraces(left, right, explain === undefined ? {} : { explain });
  const explained = compared.explained.map(({ expectation, reason }) => ({ expectation, reason }));
  const { cause } = compared;
  if (cause !== undefined) {
    const title = titleOf(cause);
    return { key: keyOf(title), title, clauses: cause.clauses, cause, explained };
  }
  // What differs in names only is the same; memory has none. What is explained is in memory as well:
  // behind it only what the mediator throws still says something.
  const isEcho = explained.length > 0 && ![difference.left, difference.right].some(isBare);
  const counts = isEcho ? isThrown : isBare;
  const rest = firstDifference(model.records.filter(counts), real.records.filter(counts));
  if (rest === undefined) {
    return explained.length > 0 ? { key: "", title: "", clauses: [], explained } : undefined;
  }
  const title = unlike(rest.left, rest.right);
  return { key: keyOf(title), title, clauses: [], explained };
}

const isThrown = (record: ProgramRecord | undefined): boolean => record?.type === "thrown";
const isBare = (record: ProgramRecord | undefined): boolean =>
  record?.type === "memory" || isThrown(record);

function titleOf({ kind, call, where, phase, fields, calls }: Difference): string {
  const [first] = fields;
  const place = [where === "port" ? "behind the mediator" : "", phase ?? ""].filter(
    (one) => one !== "",
  );
  const at = place.length === 0 ? "" : ` (${place.join(", ")})`;
  if (first === undefined) {
    const one = calls?.[0] === undefined ? "" : `: ${calls[0]}`;
    return `${kind} ${call}${at}${one}`;
  }
  return `${call}${at}: ${first.field} is ${first.left} in the model and ${first.right} on the board`;
}

/** Names of symbols say which one in this program; for the kind of difference they do not matter. */
const keyOf = (title: string): string =>
  title.replaceAll(/\b(page|cookie|session|thread|handle|instance|client|ta) ?#?\d+/gi, "$1");

const thrown = (record: ProgramRecord | undefined): string =>
  record?.type === "thrown" ? record.what : "nothing";

function unlike(left: ProgramRecord | undefined, right: ProgramRecord | undefined): string {
  if (left?.type === "memory" && right?.type === "memory") {
    return "memory of a guest differs after a step in which all registers and messages were equal";
  }
  if (left?.type === "thrown" || right?.type === "thrown") {
    return `the mediator throws: ${thrown(left)} in front of the model, ${thrown(right)} on the board`;
  }
  return `${left?.type ?? "nothing"} in the model, ${right?.type ?? "nothing"} on the board, equal in canonical form`;
}
