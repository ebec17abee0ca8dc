import { BUF_DATA, TEE_MAX_ARG_SIZE } from "../tee-uapi/index.ts";
import type { Process } from "./process.ts";
import type { TeeContext } from "./tee-context.ts";

/** What every ioctl of one open device gets. */
export interface IoctlCall {
  readonly process: Process;
  readonly context: TeeContext;
  readonly view: DataView;
  readonly buffer: Uint8Array | undefined;
}

/** The buffer of a variable structure when its length is right (TEE-2.1.1). */
export function variableBuffer(call: IoctlCall, size: number): DataView | undefined {
  const { buffer, view } = call;
  const length = view.getUint32(BUF_DATA.bufLen, true);
  const high = view.getUint32(BUF_DATA.bufLen + 4, true);
  if (buffer === undefined || high !== 0 || length !== buffer.length) return undefined;
  if (length > TEE_MAX_ARG_SIZE || length < size) return undefined;
  return new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}
