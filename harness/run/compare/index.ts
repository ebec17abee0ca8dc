export {
  type CaseChange,
  type CompareOptions,
  compareRuns,
  type CompareSide,
  type Comparison,
  type TargetPair,
} from "./compare.ts";
export { type FactDifference, factDifferences } from "./facts.ts";
export { comparisonVerdict, describeComparison } from "./text.ts";
