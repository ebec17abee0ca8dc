export { DEVICE_PTA_CMD, enumerateDevices } from "./device-enumeration.ts";
export { OpteeDriver } from "./driver.ts";
export * from "./i2c.ts";
export { Kernel, type KernelOptions, type SmcEvent } from "./kernel.ts";
export * from "./libteec.ts";
export * from "./libteec-params.ts";
export * from "./linux.ts";
export { PageAllocator, PageSpan } from "./pages.ts";
export { type OpenFile, Process, ProcessKilled, type ProcessOptions } from "./process.ts";
export { type FileNode, FileSystem } from "./filesystem.ts";
export * from "./network.ts";
export { Supplicant, type SupplicantOptions } from "./supplicant.ts";
export { type FsRequest, SupplicantFiles } from "./supplicant-fs.ts";
export type { SupplicantPlugin } from "./supplicant-plugin.ts";
export type { RpmbAccess } from "./supplicant-rpmb.ts";
export {
  SOCKET_IOCTL,
  TEE_IP_VERSION,
  TEE_ISOCKET,
  TEE_ISOCKET_PROTOCOL,
} from "./supplicant-socket.ts";
export { TA_DIRECTORY } from "./supplicant-ta.ts";
export { TeeContext } from "./tee-context.ts";
export { TeeDevice } from "./tee-device.ts";
export type { UserBuffer } from "./user-memory.ts";
