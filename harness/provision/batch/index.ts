export * from "./bench.ts";
export * from "./derive-batch.ts";
export { BATCH_FORMATS, type BatchFormat } from "./format.ts";
