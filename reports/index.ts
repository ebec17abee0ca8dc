export {
  BUNDLE_FORMATS,
  FORMATS,
  renderAll,
  renderFormats,
  type RenderOptions,
  REPORT_FILES,
  type ReportFormat,
} from "./render.ts";
export { renderSummary, type SummaryOptions } from "./summary.ts";
export { countStatuses, describeCounts, type Verdict, verdictOf } from "./verdict.ts";
export { type Verification, verifyBundle } from "./verify.ts";
