import { EXIT, type ExitCode } from "../harness/base/index.ts";
import {
  exitCodeFor,
  type RunInfo,
  type Results,
  STATUSES,
  type Status,
} from "../harness/run/index.ts";

/** What a run comes to, in words that a customer reads first. */
export interface Verdict {
  /** `good` nothing to do, `bad` the software under test, `open` no verdict yet or the lab's turn. */
  readonly tone: "good" | "bad" | "open";
  readonly word: string;
  readonly sentence: string;
  readonly exitCode: number;
}

const WORDS: Readonly<Record<ExitCode, readonly [Verdict["tone"], string]>> = {
  [EXIT.ok]: ["good", "Passed"],
  [EXIT.failed]: ["bad", "Failed"],
  [EXIT.usage]: ["open", "Not run as asked"],
  [EXIT.infrastructure]: ["open", "Lab failure"],
  [EXIT.timeout]: ["bad", "Timed out"],
  [EXIT.crashed]: ["bad", "Target crashed"],
  [EXIT.incomplete]: ["open", "Incomplete"],
  [EXIT.internal]: ["open", "Internal error"],
  [EXIT.interrupted]: ["open", "Interrupted"],
};

export type StatusCounts = Readonly<Record<Status, number>>;

export function countStatuses(cases: Iterable<{ readonly status: Status }>): StatusCounts {
  const counts = Object.fromEntries(STATUSES.map((s) => [s, 0])) as Record<Status, number>;
  for (const { status } of cases) counts[status] += 1;
  return counts;
}

/** `137 pass, 2 skip`: statuses that occur, in the order of the vocabulary. */
export function describeCounts(counts: StatusCounts): string {
  const parts = STATUSES.filter((s) => counts[s] > 0).map((s) => `${counts[s]} ${s}`);
  return parts.length === 0 ? "no cases" : parts.join(", ");
}

export function verdictOf(info: RunInfo, results: Results): Verdict {
  const code = info.exitCode ?? exitCodeFor(results.cases, [EXIT.incomplete]);
  const died = info.state === "running";
  const known = Object.hasOwn(WORDS, code) ? WORDS[code as ExitCode] : undefined;
  // Skips alone prove nothing, so they may not read as a pass.
  const proved = results.cases.some(({ status }) => status !== "skip");
  const [tone, word] = died
    ? (["open", "Incomplete"] as const)
    : code === EXIT.ok && !proved
      ? (["open", "Nothing was tested"] as const)
      : (known ?? (["open", `Ended with ${code}`] as const));
  const targets = [...new Set(results.cases.map((one) => one.target))].toReversed();
  const parts = targets.map((target) => {
    const cases = results.cases.filter((one) => one.target === target);
    return `${target}: ${describeCounts(countStatuses(cases))}`;
  });
  const ran = parts.length === 0 ? "No case ran" : parts.join(". ");
  const ending = died
    ? ". The run was ended from outside; what it left behind is shown."
    : info.state === "incomplete"
      ? ". The run was cut short."
      : ".";
  return { tone, word, sentence: ran + ending, exitCode: code };
}
