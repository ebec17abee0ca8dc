import { type MaybeTask, PAGE_SIZE, type Task } from "../machine/index.ts";
import {
  ERRNO,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  SHM_REGISTER_FD_DATA,
} from "../tee-uapi/index.ts";
import type { IoctlCall } from "./ioctl-call.ts";
import type { TeeShm } from "./shm.ts";

export function* shmAlloc(call: IoctlCall): Task<number> {
  const { view, context, process } = call;
  const size = readSize(view, SHM_ALLOC_DATA.length);
  const flags = view.getUint32(SHM_ALLOC_DATA.flags, true);
  if (flags !== 0 || size === 0 || size === undefined) return -ERRNO.EINVAL;
  const { device } = context;
  const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
  const id = device.takeShmId();
  const shm = device.privileged
    ? device.driver.allocateForSupplicant(rounded, context, id)
    : yield* device.driver.allocateShm(rounded, context, id);
  if (shm === undefined) {
    device.freeShmId(id);
    return -ERRNO.ENOMEM;
  }
  device.addShm(shm);
  view.setInt32(SHM_ALLOC_DATA.id, id, true);
  writeSize(view, SHM_ALLOC_DATA.length, shm.size);
  return process.install({ kind: "shm", shm, references: 1 });
}

/** SHM_REGISTER; a task only where something has to wait. */
export function shmRegister(call: IoctlCall): MaybeTask<number> {
  const { view, context, process } = call;
  const { device } = context;
  const address = readSize(view, SHM_REGISTER_DATA.addr);
  const length = readSize(view, SHM_REGISTER_DATA.length);
  const flags = view.getUint32(SHM_REGISTER_DATA.flags, true);
  if (flags !== 0 || length === undefined || length === 0) return -ERRNO.EINVAL;
  if (!device.driver.dynamicShm) return -ERRNO.EINVAL;
  const span = address === undefined ? undefined : process.memory.span(address, length);
  if (span === undefined) return -ERRNO.EFAULT;
  if (process.memory.isDevice(address ?? 0, length)) return -ERRNO.EINVAL;
  const { kernel } = process;
  kernel.pages.hold(span.pages);
  const id = device.takeShmId();
  const shm = kernel.makeShm({ id, context, span, size: length, kind: "user" });
  const registered = device.privileged ? 0 : device.driver.register(shm);
  return typeof registered === "number"
    ? endRegister(call, shm, registered)
    : registerLater(call, shm, registered);
}

function* registerLater(call: IoctlCall, shm: TeeShm, registering: Task<number>): Task<number> {
  return endRegister(call, shm, yield* registering);
}

function endRegister({ view, context, process }: IoctlCall, shm: TeeShm, status: number): number {
  const { device } = context;
  if (status !== 0) {
    device.freeShmId(shm.id);
    process.kernel.freeShm(shm);
    return status;
  }
  device.addShm(shm);
  view.setInt32(SHM_REGISTER_DATA.id, shm.id, true);
  writeSize(view, SHM_REGISTER_DATA.length, shm.size);
  return process.install({ kind: "shm", shm, references: 1 });
}

/** SHM_REGISTER_FD: an object of a dma-buf that the protected heap made. */
export function shmRegisterFd(call: IoctlCall): number {
  const { view, context, process } = call;
  const high = view.getInt32(SHM_REGISTER_FD_DATA.fd + 4, true);
  const fd = view.getInt32(SHM_REGISTER_FD_DATA.fd, true);
  if (view.getUint32(SHM_REGISTER_FD_DATA.flags, true) !== 0) return -ERRNO.EINVAL;
  const file = high === fd >> 31 ? process.file(fd) : undefined;
  if (file === undefined) return -ERRNO.EBADF;
  if (file.kind !== "dmabuf") return -ERRNO.EINVAL;
  const { device } = context;
  const id = device.takeShmId();
  const shm = process.kernel.makeProtectedShm(file.buffer, context, id);
  device.addShm(shm);
  view.setInt32(SHM_REGISTER_FD_DATA.id, id, true);
  writeSize(view, SHM_REGISTER_FD_DATA.length, shm.size);
  return process.install({ kind: "shm", shm, references: 1 });
}

/** A u64 that is below 2^53; undefined for larger ones, which no object can have. */
function readSize(view: DataView, at: number): number | undefined {
  const value = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
  return Number.isSafeInteger(value) ? value : undefined;
}

function writeSize(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
