export { NOT_SELECTED } from "./choice.ts";
export * from "./combination.ts";
export * from "./bench-invoke.ts";
export * from "./bench-vms.ts";
export { folderTas } from "./board-tas.ts";
export { transportOf } from "./bring-up.ts";
export { onlyAsks } from "./clean.ts";
export { BridgedPlatform, type BridgedOptions } from "./bridged.ts";
export { BridgedTarget, type BridgedTargetOptions } from "./bridged-target.ts";
export * from "./emulated.ts";
export { EmulatedContext } from "./emulated-context.ts";
export * from "./emulated-target.ts";
export * from "./own-target.ts";
export {
  portObserver,
  recordConduit,
  Recorder,
  type RecorderOptions,
  RecordList,
  recordPort,
  type RecordSink,
} from "./recording/index.ts";
export * from "./reference.ts";
export type { RpmbContext, RpmbImage, RpmbPart, RpmbTampering } from "./rpmb-bench.ts";
export {
  type RpmbBuildOptions,
  type RpmbPartSpec,
  type RpmbRoute,
  type RpmbSetup,
} from "./rpmb-setup.ts";
export * from "./scenario.ts";
export type { NormalWorld, ScenarioPlatform } from "./scenario-platform.ts";
export * from "./target.ts";
