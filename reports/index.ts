export { renderAll, renderFormats, FORMATS, type ReportFormat } from "./render.ts";
