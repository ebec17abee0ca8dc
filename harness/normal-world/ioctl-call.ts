import { BUF_DATA, TEE_MAX_ARG_SIZE } from "../tee-uapi/index.ts";
import type { Process } from "./process.ts";
import type { TeeContext } from "./tee-context.ts";

/** What every ioctl of one open device gets. */
export interface IoctlCall {
  readonly process: Process;
  readonly context: TeeContext;
  readonly view: DataView;
  readonly buffer: Uint8Array | DataView | undefined;
  /** Whether results can be copied into `buffer`. */
  readonly writable: boolean;
}

/** The buffer of a variable structure when its length is right (TEE-2.1.1). */
export function variableBuffer(call: IoctlCall, size: number): DataView | undefined {
  const { buffer, view } = call;
  const length = view.getUint32(BUF_DATA.bufLen, true);
  const high = view.getUint32(BUF_DATA.bufLen + 4, true);
  if (buffer === undefined || high !== 0 || length !== buffer.byteLength) return undefined;
  if (length > TEE_MAX_ARG_SIZE || length < size) return undefined;
  return viewOf(buffer);
}

/** Making a DataView costs as much as a system call's other book-keeping: callers may bring one. */
export const viewOf = (bytes: Uint8Array | DataView): DataView =>
  bytes instanceof DataView
    ? bytes
    : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
