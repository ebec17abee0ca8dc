export { FORMATS, renderAll, renderFormats, REPORT_FILES, type ReportFormat } from "./render.ts";
export { renderSummary, type SummaryOptions } from "./summary.ts";
export { countStatuses, describeCounts, type Verdict, verdictOf } from "./verdict.ts";
