import type { SpawnedTask, Task } from "../machine/index.ts";
import { RPC_CMD, SHM_TYPE, TEEC } from "../optee-abi/index.ts";
import {
  PARAM,
  PARAM_ATTR,
  PARAM_ATTR_META,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  SUPP_RECV_ARG,
  TEE_GEN_CAP,
  TEE_IMPL_ID,
  TEE_IOC,
  VERSION_DATA,
} from "../tee-uapi/index.ts";
import type { FileSystem } from "./filesystem.ts";
import type { SimulatedNetwork } from "./network.ts";
import { type Process, ProcessKilled } from "./process.ts";
import { FS_PARENT_PATH, SupplicantFiles } from "./supplicant-fs.ts";
import { invokePlugin, type SupplicantPlugin } from "./supplicant-plugin.ts";
import { storeProfile } from "./supplicant-profile.ts";
import { type RpmbAccess, SupplicantRpmbService } from "./supplicant-rpmb.ts";
import type { ServiceParam } from "./supplicant-service.ts";
import { SupplicantSockets } from "./supplicant-socket.ts";
import { loadTa, taDirectories, type TaPathOptions } from "./supplicant-ta.ts";
import type { UserBuffer } from "./user-memory.ts";

/** Parameter slots of every RECV, one of them META (MSG-3.4). */
const SLOTS = 5;
const NULL_ID = 0xffff_ffff_ffff_ffffn;
/** `/dev/teepriv0` to 9 are tried. */
const MAX_DEVICES = 10;

/** The supplicant's command line and what it was built with. */
export interface SupplicantOptions extends TaPathOptions {
  /** --fs-parent-path; `/var/lib/tee` when left out. */
  readonly fsParentPath?: string;
  readonly plugins?: readonly SupplicantPlugin[];
  /** Which RPMB it serves; an emulated card when left out. */
  readonly rpmb?: RpmbAccess;
}

interface Shared {
  readonly fd: number;
  readonly buffer: UserBuffer;
  readonly size: number;
}

/** tee-supplicant: a process that serves what the secure world asks of user space. */
export class Supplicant {
  readonly process: Process;
  readonly disk: FileSystem;
  readonly files: SupplicantFiles;
  readonly sockets: SupplicantSockets;
  readonly plugins: readonly SupplicantPlugin[];
  /** How often each RPC command was served, for tests and traces. */
  readonly served = new Map<number, number>();
  readonly #directories: readonly string[];
  readonly #rpmb: SupplicantRpmbService;
  readonly #memory = new Map<number, Shared>();
  #fd = -1;
  #registers = false;
  #waiters = 0;
  #threads = 0;
  #aborted = false;

  constructor(
    process: Process,
    system: { readonly disk: FileSystem; readonly network: SimulatedNetwork },
    options: SupplicantOptions = {},
  ) {
    this.process = process;
    this.disk = system.disk;
    this.files = new SupplicantFiles(system.disk, options.fsParentPath ?? FS_PARENT_PATH);
    this.sockets = new SupplicantSockets(system.network);
    process.resources.push(this.sockets);
    this.plugins = options.plugins ?? [];
    this.#directories = taDirectories(options);
    this.#rpmb = new SupplicantRpmbService(options.rpmb);
  }

  /** Shared memory that the secure world has not freed. */
  get sharedMemory(): number {
    return this.#memory.size;
  }

  /** Threads that it has: another one whenever none is left to wait for requests. */
  get threads(): number {
    return this.#threads;
  }

  /** Opens the first privileged device of OP-TEE; a negative errno when that fails (TEE-4.1). */
  *start(): Task<number> {
    let status = 0;
    for (let number = 0; number < MAX_DEVICES; number += 1) {
      const fd = yield* this.process.open(`/dev/teepriv${number}`);
      if (fd < 0) {
        status = number === 0 ? fd : status;
        continue;
      }
      const version = new Uint8Array(VERSION_DATA.size);
      yield* this.process.ioctl(fd, TEE_IOC.VERSION, version);
      const view = new DataView(version.buffer);
      if (view.getUint32(VERSION_DATA.implId, true) === TEE_IMPL_ID.OPTEE) {
        this.#fd = fd;
        const caps = view.getUint32(VERSION_DATA.genCaps, true);
        this.#registers = (caps & TEE_GEN_CAP.REG_MEM) !== 0;
        return 0;
      }
      yield* this.process.close(fd);
    }
    return status;
  }

  /**
   * Spawns the main thread, which serves requests until the process is killed or the device refuses
   * something: then it ends the process, as soon as it comes back from waiting for a request.
   */
  run(): SpawnedTask {
    return this.#spawn(this.#main());
  }

  #spawn(body: Task): SpawnedTask {
    this.#threads += 1;
    const name = `${this.process.name} thread ${this.#threads}`;
    return this.process.kernel.scheduler.spawn(name, body);
  }

  *#main(): Task {
    yield* this.#loop();
    yield* this.process.exit();
  }

  /** A further thread, which was counted as waiting before it ran. */
  *#helper(): Task {
    this.#waiters -= 1;
    yield* this.#loop();
  }

  *#loop(): Task {
    try {
      while (!this.#aborted) {
        if (!(yield* this.#serveOne())) this.#aborted = true;
      }
    } catch (error) {
      if (!(error instanceof ProcessKilled)) throw error;
    }
  }

  /** False when the device does not go on. */
  *#serveOne(): Task<boolean> {
    const buffer = new Uint8Array(SUPP_RECV_ARG.size + SLOTS * PARAM.size);
    const view = new DataView(buffer.buffer);
    view.setUint32(SUPP_RECV_ARG.numParams, SLOTS, true);
    view.setUint32(SUPP_RECV_ARG.size, PARAM_ATTR_META, true);
    this.#waiters += 1;
    const received = yield* this.#variable(TEE_IOC.SUPPL_RECV, buffer);
    if (received < 0) return false;
    this.#waiters -= 1;
    if (this.#waiters === 0) {
      // Counted at once, so that no second one is started before this one runs.
      this.#waiters += 1;
      this.#spawn(this.#helper());
    }
    const ret = yield* this.#serve(view);
    view.setUint32(0, ret, true);
    const count = view.getUint32(SUPP_RECV_ARG.numParams, true);
    const answer = buffer.subarray(0, SUPP_RECV_ARG.size + count * PARAM.size);
    return (yield* this.#variable(TEE_IOC.SUPPL_SEND, answer)) >= 0;
  }

  *#variable(request: number, buffer: Uint8Array): Task<number> {
    const payload = new Uint8Array(16);
    new DataView(payload.buffer).setUint32(8, buffer.length, true);
    return yield* this.process.ioctl(this.#fd, request, payload, buffer);
  }

  /** Serves the request in `view`, whose parameters follow the META slot, and gives its result. */
  *#serve(view: DataView): Task<number> {
    const func = view.getUint32(SUPP_RECV_ARG.func, true);
    this.served.set(func, (this.served.get(func) ?? 0) + 1);
    const count = view.getUint32(SUPP_RECV_ARG.numParams, true) - 1;
    if (func === RPC_CMD.SHM_ALLOC) return yield* this.#allocate(view, count);
    if (func === RPC_CMD.SHM_FREE) return yield* this.#free(view, count);
    const params = Array.from({ length: count }, (_, index) => this.#param(view, index));
    const ret = yield* this.#service(func, params);
    for (const [index, param] of params.entries()) this.#putBack(view, index, param);
    return ret;
  }

  *#service(func: number, params: readonly ServiceParam[]): Task<number> {
    switch (func) {
      case RPC_CMD.LOAD_TA:
        return loadTa(this.disk, this.#directories, params);
      case RPC_CMD.FS:
        return this.files.serve(params);
      case RPC_CMD.RPMB:
        return this.#rpmb.serve(params);
      case RPC_CMD.SOCKET:
        return yield* this.sockets.serve(params);
      case RPC_CMD.GPROF:
        return storeProfile(this.disk, "gmon", params);
      case RPC_CMD.FTRACE:
        return storeProfile(this.disk, "ftrace", params);
      case RPC_CMD.SUPP_PLUGIN:
        return invokePlugin(this.plugins, params);
      default:
        // OP-TEE relies on exactly this answer (MSG-3.8).
        return TEEC.TEEC_ERROR_NOT_SUPPORTED;
    }
  }

  #param(view: DataView, index: number): ServiceParam {
    const at = SUPP_RECV_ARG.size + (index + 1) * PARAM.size;
    const attr = view.getUint32(at, true);
    const a = view.getBigUint64(at + PARAM.a, true);
    const b = view.getBigUint64(at + PARAM.b, true);
    const c = view.getBigUint64(at + PARAM.c, true);
    const isMemref = attr >= PARAM_ATTR.MEMREF_INPUT && attr <= PARAM_ATTR.MEMREF_INOUT;
    const shared = isMemref && c !== NULL_ID ? this.#memory.get(Number(c)) : undefined;
    if (shared === undefined) return { attr, a, b, c, bytes: undefined };
    if (a + b > BigInt(shared.size)) {
      return { attr, a, b, c, bytes: undefined, outOfRange: true };
    }
    return { attr, a, b, c, bytes: shared.buffer.read(Number(a), Number(b)) };
  }

  /** Output bytes go back into the shared memory that they were copied from. */
  #putBack(view: DataView, index: number, param: ServiceParam): void {
    const at = SUPP_RECV_ARG.size + (index + 1) * PARAM.size;
    if (param.bytes !== undefined && param.attr !== PARAM_ATTR.MEMREF_INPUT) {
      this.#memory.get(Number(param.c))?.buffer.write(param.bytes, Number(param.a));
    }
    view.setBigUint64(at + PARAM.a, param.a, true);
    view.setBigUint64(at + PARAM.b, param.b, true);
    view.setBigUint64(at + PARAM.c, param.c, true);
  }

  /** Memory that both the supplicant and the secure world can use (MSG-3.4). */
  *#allocate(view: DataView, count: number): Task<number> {
    const at = SUPP_RECV_ARG.size + PARAM.size;
    const type = view.getBigUint64(at + PARAM.a, true);
    const size = Number(view.getBigUint64(at + PARAM.b, true));
    if (count !== 1 || view.getUint32(at, true) !== PARAM_ATTR.VALUE_INOUT) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    if (type !== BigInt(SHM_TYPE.APPL)) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const made = this.#registers
      ? yield* this.#register(size)
      : yield* this.#allocateFromKernel(size);
    if (made === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    this.#memory.set(made.id, made);
    view.setBigUint64(at + PARAM.c, BigInt(made.id), true);
    return TEEC.TEEC_SUCCESS;
  }

  *#register(size: number): Task<(Shared & { readonly id: number }) | undefined> {
    const buffer = this.process.memory.allocate(size);
    if (buffer === undefined) return undefined;
    const payload = new Uint8Array(SHM_REGISTER_DATA.size);
    const data = new DataView(payload.buffer);
    data.setBigUint64(SHM_REGISTER_DATA.addr, BigInt(buffer.address), true);
    data.setBigUint64(SHM_REGISTER_DATA.length, BigInt(size), true);
    const fd = yield* this.process.ioctl(this.#fd, TEE_IOC.SHM_REGISTER, payload);
    if (fd >= 0) return { fd, buffer, size, id: data.getInt32(SHM_REGISTER_DATA.id, true) };
    this.process.memory.unmap(buffer);
    return undefined;
  }

  *#allocateFromKernel(size: number): Task<(Shared & { readonly id: number }) | undefined> {
    const payload = new Uint8Array(SHM_ALLOC_DATA.size);
    const data = new DataView(payload.buffer);
    data.setBigUint64(SHM_ALLOC_DATA.length, BigInt(size), true);
    const fd = yield* this.process.ioctl(this.#fd, TEE_IOC.SHM_ALLOC, payload);
    const buffer = fd < 0 ? undefined : this.process.mmap(fd);
    if (buffer === undefined) return undefined;
    return { fd, buffer, size, id: data.getInt32(SHM_ALLOC_DATA.id, true) };
  }

  *#free(view: DataView, count: number): Task<number> {
    const at = SUPP_RECV_ARG.size + PARAM.size;
    const id = Number(view.getBigUint64(at + PARAM.b, true));
    const shared = count === 1 ? this.#memory.get(id) : undefined;
    if (shared === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    this.#memory.delete(id);
    yield* this.process.close(shared.fd);
    if (this.#registers) this.process.memory.unmap(shared.buffer);
    else yield* this.process.munmap(shared.buffer);
    return TEEC.TEEC_SUCCESS;
  }
}
