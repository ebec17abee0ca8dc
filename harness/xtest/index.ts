export {
  analyseLog,
  type AnalyseOptions,
  type LogAnalysis,
  readLog,
  resultsFromLog,
} from "./analyse.ts";
export { benchParser, type ParserBench } from "./bench.ts";
export { xtestCaseIds, xtestCases } from "./expected/cases.ts";
export {
  bundledVersions,
  expectationsDir,
  expectedFor,
  loadExpected,
  loadExpectedFile,
  parseExpected,
} from "./expected/load.ts";
export type { ExpectedCase, ExpectedList, RunRecord } from "./expected/model.ts";
export { formatExpected, recordRun, type RecordKey } from "./expected/record.ts";
export { EXPECTED_SCHEMA } from "./expected/schema.ts";
export { judgeRun, type JudgeOptions } from "./judge.ts";
export type { Cut } from "./judge-case.ts";
export type * from "./model.ts";
export { XtestParser } from "./parser.ts";
export {
  type CaseOutcome,
  type RunProblem,
  type RunReport,
  type SubtestsReport,
  worstStatus,
} from "./report.ts";
export type { XtestRunOptions } from "./run-options.ts";
export { runXtest } from "./runner.ts";
export {
  type Invocation,
  planInvocations,
  selectCases,
  suiteCases,
  xtestCommand,
  xtestRuns,
  type XtestSelection,
} from "./select.ts";
export { systemTimers, type Timers } from "./timers.ts";
export {
  caseResultId,
  RUN_RESULT_ID,
  RunCollector,
  runResult,
  type RunSummary,
  toCaseResult,
  toResults,
  type XtestSummary,
} from "./summary.ts";
