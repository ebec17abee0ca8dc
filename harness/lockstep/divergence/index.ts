export { canonicalTrace } from "./canonical.ts";
export {
  compareTraces,
  type CompareTracesOptions,
  type Explain,
  type TraceComparison,
} from "./compare.ts";
export { renderTrace } from "./render.ts";
