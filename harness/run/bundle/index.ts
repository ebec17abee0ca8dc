export { consoleFile, compareText, resultsText, sortedResults } from "./layout.ts";
export { streamFileAtomic, writeError, writeFileAtomic } from "./disk.ts";
export { BundleReader, type Slice } from "./reader.ts";
export { traceFileIn, type TraceFileInfo, type TraceIndex } from "./trace-reader.ts";
export { type CaseTime, readTimeline, type StageTime, type Timeline } from "./timeline.ts";
export { type BundleOptions, BundleWriter, type RunOutcome, type RunStart } from "./writer.ts";
