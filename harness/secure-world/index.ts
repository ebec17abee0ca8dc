export * from "./build.ts";
export type { CoreOptions } from "./core.ts";
export { secureCapabilities } from "./fast-calls.ts";
export * from "./memory-object.ts";
export { ASYNC_VALUE_MAX, type NotificationDriver } from "./notifications.ts";
export * from "./param.ts";
export type { Partition } from "./partition.ts";
export { SecureWorld } from "./secure-world.ts";
export {
  listRpmbFs,
  type ReadBytes,
  type RpmbFsFile,
  type RpmbFsListing,
} from "./storage/rpmb-listing.ts";
export type { ClientIdentity } from "./session.ts";
export * from "./tas/index.ts";
export type { SecureTask, Thread } from "./thread.ts";
