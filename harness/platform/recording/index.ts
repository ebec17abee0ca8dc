export { endOf, endRecord, type RunEnd } from "./end.ts";
export { RecordList } from "./record-list.ts";
export { portObserver, recordConduit, recordGuest, recordPort } from "./record-port.ts";
export { Recorder, type RecorderOptions, type RecordSink } from "./recorder.ts";
export { openRecording, type SharedRecording, SharedRun } from "./shared-run.ts";
