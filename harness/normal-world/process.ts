import { type Task, WaitQueue } from "../machine/index.ts";
import { type Credentials, ERRNO } from "../tee-uapi/index.ts";
import { teeIoctl } from "./ioctl.ts";
import type { Kernel } from "./kernel.ts";
import { NumberTable } from "./number-table.ts";
import type { ProtectedBuffer } from "./protected-heap.ts";
import type { TeeShm } from "./shm.ts";
import type { Caller } from "./supplicant-queue.ts";
import type { TeeContext } from "./tee-context.ts";
import type { TeeDevice } from "./tee-device.ts";
import { type UserBuffer, UserMemory } from "./user-memory.ts";

/** The first descriptor after standard input, output and error. */
const FIRST_FD = 3;

/** An open file: a TEE context, a shared-memory object, or a dma-buf of protected memory. */
export type OpenFile =
  | { readonly kind: "tee"; readonly context: TeeContext; references: number }
  | { readonly kind: "shm"; readonly shm: TeeShm; references: number }
  | { readonly kind: "dmabuf"; readonly buffer: ProtectedBuffer; references: number };

export interface ProcessOptions {
  readonly name: string;
  readonly kernel: Kernel;
  /** `/dev/tee0`, `/dev/teepriv0`: what the TEE subsystem registered. */
  readonly devices: ReadonlyMap<string, TeeDevice>;
  readonly credentials?: Credentials;
}

/** Ends the code of a process that was killed: its system calls do not return to it. */
export class ProcessKilled extends Error {
  constructor(process: string) {
    super(`${process} was killed`);
    this.name = "ProcessKilled";
  }
}

/** A user-space process: credentials, file descriptors, memory, and the system calls that matter here. */
export class Process implements Caller {
  readonly name: string;
  readonly kernel: Kernel;
  readonly credentials: Credentials;
  readonly memory: UserMemory;
  readonly waitsOn = new Set<WaitQueue>();
  readonly supplicantNoWait = false;
  /** What else the kernel closes when the process ends. */
  readonly resources: { close(): void }[] = [];
  readonly #idle: WaitQueue;
  readonly #ended: WaitQueue;
  #killed = false;
  #interrupted = false;
  #exited = false;
  #systemCalls = 0;
  readonly #devices: ReadonlyMap<string, TeeDevice>;
  readonly #files = new NumberTable<OpenFile>(FIRST_FD);

  constructor(options: ProcessOptions) {
    this.name = options.name;
    this.kernel = options.kernel;
    this.#devices = options.devices;
    this.credentials = options.credentials ?? { euid: 0, egid: 0, groups: [] };
    this.memory = new UserMemory(options.kernel);
    this.#idle = new WaitQueue(`system calls of ${options.name}`);
    this.#ended = new WaitQueue(`end of ${options.name}`);
  }

  /** A fatal signal is pending, or the process has ended. */
  get killed(): boolean {
    return this.#killed;
  }

  /** Everything that the process held has been given back. */
  get exited(): boolean {
    return this.#exited;
  }

  get openFiles(): number {
    return this.#files.size;
  }

  /** A file descriptor, or a negative errno. */
  *open(path: string): Task<number> {
    // Whoever else wants to run may do so before.
    yield null;
    this.#checkAlive();
    const device = this.#devices.get(path);
    if (device === undefined) return -ERRNO.ENOENT;
    const context = device.open();
    if (context === undefined) return -ERRNO.EBUSY;
    return this.install({ kind: "tee", context, references: 1 });
  }

  *close(fd: number): Task<number> {
    this.#checkAlive();
    const file = this.#files.delete(fd);
    if (file === undefined) return -ERRNO.EBADF;
    this.#systemCalls += 1;
    const later = dropped(file) ? undefined : this.#putLast(file);
    if (later !== undefined) yield* later;
    this.#leave();
    return 0;
  }

  /** Another descriptor of the same open file. */
  dup(fd: number): number {
    this.#checkAlive();
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    file.references += 1;
    return this.install(file);
  }

  /**
   * `payload` is what the request's pointer points at; a DataView saves making one. For requests whose
   * payload names a buffer, `buffer` is that buffer, and its length has to be the payload's buf_len;
   * with `writable` false it lies in memory that the process may only read. Gives what Linux's ioctl
   * gives: 0, a file descriptor, or a negative errno. Throws ProcessKilled when the process is killed
   * meanwhile, after the kernel has done its part.
   */
  *ioctl(
    fd: number,
    request: number,
    payload: Uint8Array | DataView,
    buffer?: Uint8Array | DataView,
    writable = true,
  ): Task<number> {
    this.#checkAlive();
    const file = this.#files.get(fd);
    if (file === undefined) return -ERRNO.EBADF;
    if (file.kind !== "tee") return -ERRNO.ENOTTY;
    // The file stays while the call is under way, whoever closes the descriptor meanwhile.
    file.references += 1;
    this.#systemCalls += 1;
    const answer = teeIoctl(this, file.context, request, payload, buffer, writable);
    const result = typeof answer === "number" ? answer : yield* answer;
    const later = dropped(file) ? undefined : this.#putLast(file);
    if (later !== undefined) yield* later;
    this.#leave();
    return result;
  }

  /** A dma-buf descriptor of the protected heap of `/dev/tee0`; a negative errno when that fails. */
  allocateProtected(size: number): number {
    this.#checkAlive();
    const heap = this.#devices.get("/dev/tee0")?.driver.protectedHeap;
    if (heap === undefined) return -ERRNO.ENOENT;
    const buffer = heap.allocate(size);
    return buffer === undefined
      ? -ERRNO.ENOMEM
      : this.install({ kind: "dmabuf", buffer, references: 1 });
  }

  /** Maps a shared-memory descriptor; undefined where mmap fails with EINVAL (TEE-3.3). */
  mmap(fd: number): UserBuffer | undefined {
    this.#checkAlive();
    const file = this.#files.get(fd);
    if (file?.kind !== "shm") return undefined;
    if (file.shm.kind === "user" || file.shm.kind === "protected") return undefined;
    file.shm.references += 1;
    const buffer = this.memory.map(file.shm.span);
    this.#mapped.set(buffer, file.shm);
    return buffer;
  }

  *munmap(buffer: UserBuffer): Task {
    this.#checkAlive();
    this.#systemCalls += 1;
    yield* this.#unmap(buffer);
    this.#leave();
  }

  /** The open file of a descriptor. */
  file(fd: number): OpenFile | undefined {
    return this.#files.get(fd);
  }

  /** The lowest free descriptor from 3. */
  install(file: OpenFile): number {
    return this.#files.add(file);
  }

  /** A signal with a handler: interruptible waits of system calls that are under way end. */
  interrupt(): void {
    this.#interrupted = this.#systemCalls > 0;
    for (const queue of Array.from(this.waitsOn)) queue.wakeAll();
  }

  /** A signal waits to be handled. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /**
   * A fatal signal: killable waits end, and once the last system call is over every descriptor and
   * mapping goes, in a task of its own. `join` waits for that.
   */
  kill(): void {
    if (this.#killed) return;
    this.#killed = true;
    for (const queue of Array.from(this.waitsOn)) queue.wakeAll();
    this.kernel.scheduler.spawn(`${this.name} exit`, this.#exit());
  }

  /** For another task: until the process has ended and given everything back. */
  *join(): Task {
    while (!this.#exited) yield this.#ended;
  }

  /** Ends the process and waits for it; other threads of it are killed. */
  *exit(): Task {
    this.kill();
    yield* this.join();
  }

  *#exit(): Task {
    while (this.#systemCalls > 0) yield this.#idle;
    for (const buffer of Array.from(this.#mapped.keys())) yield* this.#unmap(buffer);
    for (const [fd, file] of this.#files.entries()) {
      this.#files.delete(fd);
      const later = dropped(file) ? undefined : this.#putLast(file);
      if (later !== undefined) yield* later;
    }
    for (const resource of this.resources.splice(0)) resource.close();
    this.memory.close();
    this.#exited = true;
    this.#ended.wakeAll();
  }

  #checkAlive(): void {
    if (this.#killed) throw new ProcessKilled(this.name);
  }

  /** The end of a system call: a process that was killed in it does not come back. */
  #leave(): void {
    this.#systemCalls -= 1;
    this.#interrupted = false;
    if (!this.#killed) return;
    if (this.#systemCalls === 0) this.#idle.wakeAll();
    throw new ProcessKilled(this.name);
  }

  *#unmap(buffer: UserBuffer): Task {
    this.memory.unmap(buffer);
    const shm = this.#mapped.get(buffer);
    if (shm === undefined) return;
    this.#mapped.delete(buffer);
    yield* shm.context?.device.driver.releaseShm(shm) ?? nothing();
  }

  readonly #mapped = new Map<UserBuffer, TeeShm>();

  /** The end of an open file; undefined when all is done, else the task that remains. */
  #putLast(file: OpenFile): Task | undefined {
    if (file.kind === "tee") return file.context.device.putContext(file.context);
    if (file.kind === "shm") return file.shm.context?.device.driver.release(file.shm) ?? undefined;
    file.buffer.heap.drop(file.buffer);
    return undefined;
  }
}

/** Drops a reference of an open file; false when it was the last. */
function dropped(file: OpenFile): boolean {
  file.references -= 1;
  return file.references > 0;
}

function* nothing(): Task {
  yield null;
}
