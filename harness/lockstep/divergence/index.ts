export {
  comparedByResults,
  compareBundleTraces,
  type TraceDivergence,
  type TracesComparison,
} from "./bundles.ts";
export { canonicalTrace } from "./canonical.ts";
export {
  compareTraces,
  type CompareTracesOptions,
  type Explain,
  type TraceComparison,
} from "./compare.ts";
export { ExpectationLedger } from "./expectations/ledger.ts";
export { checkExpectations, loadExpectations } from "./expectations/load.ts";
export type { Expectation } from "./expectations/model.ts";
export { DivergenceJudge, type Judgement, type JudgeOptions } from "./judge.ts";
export { renderTrace } from "./render.ts";
