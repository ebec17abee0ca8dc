import { systemClock } from "../base/index.ts";
import { type BoardFileProblem, loadBoard } from "../board/index.ts";
import type { CliContext } from "./context.ts";

/** Today in UTC, as expectations have it. */
export const today = (): string => new Date(systemClock.wallMs()).toISOString().slice(0, 10);

/** What is wrong in the files of known divergences of a board that loads, and which entries have expired. */
export async function divergenceProblems(
  board: string,
  context: CliContext,
): Promise<{
  readonly problems: readonly BoardFileProblem[];
  readonly expired: readonly BoardFileProblem[];
}> {
  const { checkExpectations } = await import("../lockstep/index.ts");
  return await checkExpectations(await loadBoard(board, context), context, today());
}

/** Each problem once: boards of one type have files in common. */
export function once(problems: readonly BoardFileProblem[]): BoardFileProblem[] {
  const byPlace = new Map(
    problems.map((one) => [`${one.file}:${one.line}:${one.column}: ${one.message}`, one]),
  );
  return [...byPlace.values()];
}
