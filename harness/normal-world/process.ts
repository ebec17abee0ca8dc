import type { Task, WaitQueue } from "../machine/index.ts";
import { type Credentials, ERRNO } from "../tee-uapi/index.ts";
import { teeIoctl } from "./ioctl.ts";
import type { Kernel } from "./kernel.ts";
import type { TeeShm } from "./shm.ts";
import type { Caller } from "./supplicant-queue.ts";
import type { TeeContext } from "./tee-context.ts";
import type { TeeDevice } from "./tee-device.ts";
import { type UserBuffer, UserMemory } from "./user-memory.ts";

/** An open file: a TEE context, or a shared-memory object. */
export type OpenFile =
  | { readonly kind: "tee"; readonly context: TeeContext; references: number }
  | { readonly kind: "shm"; readonly shm: TeeShm; references: number };

export interface ProcessOptions {
  readonly name: string;
  readonly kernel: Kernel;
  /** `/dev/tee0`, `/dev/teepriv0`: what the TEE subsystem registered. */
  readonly devices: ReadonlyMap<string, TeeDevice>;
  readonly credentials?: Credentials;
}

/** A user-space process: credentials, file descriptors, memory, and the system calls that matter here. */
export class Process implements Caller {
  readonly name: string;
  readonly kernel: Kernel;
  readonly credentials: Credentials;
  readonly memory: UserMemory;
  readonly waitsOn = new Set<WaitQueue>();
  killed = false;
  readonly #devices: ReadonlyMap<string, TeeDevice>;
  readonly #files = new Map<number, OpenFile>();

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.kernel = options.kernel;
    this.#devices = options.devices;
    this.credentials = options.credentials ?? { euid: 0, egid: 0, groups: [] };
    this.memory = new UserMemory(options.kernel);
  }

  get openFiles(): number {
    return this.#files.size;
  }

  /** A file descriptor, or a negative errno. */
  *open(path: string): Task<number> {
    const device = this.#devices.get(path);
    if (device === undefined) return -ERRNO.ENOENT;
    const context = yield* device.open();
    if (context === undefined) return -ERRNO.EBUSY;
    return this.install({ kind: "tee", context, references: 1 });
  }

  *close(fd: number): Task<number> {
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    this.#files.delete(fd);
    yield* this.#put(file);
    return 0;
  }

  /** Another descriptor of the same open file. */
  dup(fd: number): number {
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    file.references += 1;
    return this.install(file);
  }

  /**
   * `payload` is what the request's pointer points at. For requests whose payload names a buffer,
   * `buffer` is that buffer, and its length has to be the payload's buf_len. Gives what Linux's ioctl
   * gives: 0, a file descriptor, or a negative errno.
   */
  *ioctl(fd: number, request: number, payload: Uint8Array, buffer?: Uint8Array): Task<number> {
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (file.kind !== "tee") return -ERRNO.ENOTTY;
    // The file stays while the call is under way, whoever closes the descriptor meanwhile.
    file.references += 1;
    const result = yield* teeIoctl(this, file.context, request, payload, buffer);
    yield* this.#put(file);
    return result;
  }

  /** Maps a shared-memory descriptor; undefined where mmap fails with EINVAL (TEE-3.3). */
  mmap(fd: number): UserBuffer | undefined {
    const file = this.#files.get(fd);
    if (file?.kind !== "shm" || file.shm.kind === "user") return undefined;
    file.shm.references += 1;
    const buffer = this.memory.map(file.shm.span);
    this.#mapped.set(buffer, file.shm);
    return buffer;
  }

  *munmap(buffer: UserBuffer): Task {
    this.memory.unmap(buffer);
    const shm = this.#mapped.get(buffer);
    if (shm === undefined) return;
    this.#mapped.delete(buffer);
    yield* shm.context?.device.driver.releaseShm(shm) ?? nothing();
  }

  /** The open file of a descriptor. */
  file(fd: number): OpenFile | undefined {
    return this.#files.get(fd);
  }

  /** The lowest free descriptor from 3. */
  install(file: OpenFile): number {
    let fd = 3;
    while (this.#files.has(fd)) fd += 1;
    this.#files.set(fd, file);
    return fd;
  }

  /** A fatal signal: killable waits end, and every descriptor and mapping goes. */
  *kill(): Task {
    this.killed = true;
    for (const queue of Array.from(this.waitsOn)) queue.wakeAll();
    yield* this.exit();
  }

  *exit(): Task {
    for (const buffer of Array.from(this.#mapped.keys())) yield* this.munmap(buffer);
    for (const fd of Array.from(this.#files.keys())) yield* this.close(fd);
    this.memory.unmapAll();
  }

  readonly #mapped = new Map<UserBuffer, TeeShm>();

  *#put(file: OpenFile): Task {
    file.references -= 1;
    if (file.references > 0) return;
    if (file.kind === "tee") yield* file.context.device.putContext(file.context);
    else yield* file.shm.context?.device.driver.releaseShm(file.shm) ?? nothing();
  }
}

function* nothing(): Task {
  yield null;
}
