import { EXIT, type ExitCode, worstExit } from "../base/index.ts";
import type { CaseResult, Status } from "./model.ts";

const BY_STATUS: Readonly<Record<Status, ExitCode>> = {
  pass: EXIT.ok,
  skip: EXIT.ok,
  xfail: EXIT.ok,
  fail: EXIT.failed,
  error: EXIT.failed,
  xpass: EXIT.failed,
  crash: EXIT.crashed,
  timeout: EXIT.timeout,
  miss: EXIT.incomplete,
};

/** The exit code that one case asks for; an `error` that the lab must mend asks for 3. */
export function exitCodeOfCase(result: Pick<CaseResult, "status" | "infrastructure">): ExitCode {
  if (result.status === "error" && result.infrastructure === true) return EXIT.infrastructure;
  return BY_STATUS[result.status];
}

/**
 * The exit code of a run: the worst that any case asks for, and any in `also` (what went wrong
 * outside every case, a comparison with a baseline).
 */
export function exitCodeFor(
  cases: Iterable<Pick<CaseResult, "status" | "infrastructure">>,
  also: Iterable<ExitCode> = [],
): ExitCode {
  const codes = new Set<ExitCode>(also);
  for (const result of cases) codes.add(exitCodeOfCase(result));
  return worstExit(codes);
}
