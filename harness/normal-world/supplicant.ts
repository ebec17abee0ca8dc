import { uuidText } from "../base/index.ts";
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
  TEE_IOC,
  VERSION_DATA,
} from "../tee-uapi/index.ts";
import type { Process } from "./process.ts";
import { type ServiceParam, SupplicantFiles } from "./supplicant-fs.ts";
import type { UserBuffer } from "./user-memory.ts";

/** Parameter slots of every RECV, one of them META (MSG-3.4). */
const SLOTS = 5;
const NULL_ID = 0xffff_ffff_ffff_ffffn;

interface Shared {
  readonly fd: number;
  readonly buffer: UserBuffer;
}

/** tee-supplicant: a process that serves what the secure world asks of user space. */
export class Supplicant {
  readonly process: Process;
  /** `.ta` files by UUID. */
  readonly tas: Map<string, Uint8Array>;
  readonly files = new SupplicantFiles();
  /** How often each RPC command was served, for tests and traces. */
  readonly served = new Map<number, number>();
  readonly #memory = new Map<number, Shared>();
  #fd = -1;
  #registers = false;

  constructor(process: Process, tas: ReadonlyMap<string, Uint8Array>) {
    this.process = process;
    this.tas = new Map(tas);
  }

  /** Opens the privileged device; a negative errno when that fails (TEE-4.1). */
  *start(): Task<number> {
    const fd = yield* this.process.open("/dev/teepriv0");
    if (fd < 0) return fd;
    this.#fd = fd;
    const version = new Uint8Array(VERSION_DATA.size);
    yield* this.process.ioctl(fd, TEE_IOC.VERSION, version);
    const caps = new DataView(version.buffer).getUint32(VERSION_DATA.genCaps, true);
    this.#registers = (caps & TEE_GEN_CAP.REG_MEM) !== 0;
    return 0;
  }

  /** Spawns the loop that serves requests until the process is killed. */
  run(): SpawnedTask {
    return this.process.kernel.scheduler.spawn(`${this.process.name} loop`, this.#loop());
  }

  *#loop(): Task {
    for (;;) {
      const buffer = new Uint8Array(SUPP_RECV_ARG.size + SLOTS * PARAM.size);
      const view = new DataView(buffer.buffer);
      view.setUint32(SUPP_RECV_ARG.numParams, SLOTS, true);
      view.setUint32(SUPP_RECV_ARG.size, PARAM_ATTR_META, true);
      if ((yield* this.#variable(TEE_IOC.SUPPL_RECV, buffer)) < 0) return;
      const ret = yield* this.#serve(view);
      view.setUint32(0, ret, true);
      const count = view.getUint32(SUPP_RECV_ARG.numParams, true);
      const answer = buffer.subarray(0, SUPP_RECV_ARG.size + count * PARAM.size);
      if ((yield* this.#variable(TEE_IOC.SUPPL_SEND, answer)) < 0) return;
    }
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
    const ret = this.#service(func, params);
    for (const [index, param] of params.entries()) this.#putBack(view, index, param);
    return ret;
  }

  #service(func: number, params: readonly ServiceParam[]): number {
    switch (func) {
      case RPC_CMD.LOAD_TA:
        return this.#loadTa(params);
      case RPC_CMD.FS:
        return this.files.serve(params);
      default:
        // OP-TEE relies on exactly this answer (MSG-3.8).
        return TEEC.TEEC_ERROR_NOT_SUPPORTED;
    }
  }

  /** A NULL buffer asks for the size; a small one gets it with SHORT_BUFFER (MSG-3.5). */
  #loadTa(params: readonly ServiceParam[]): number {
    const [name, target] = params;
    if (params.length !== 2 || name?.attr !== PARAM_ATTR.VALUE_INPUT) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    if (target?.attr !== PARAM_ATTR.MEMREF_OUTPUT) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const octets = new Uint8Array(16);
    const view = new DataView(octets.buffer);
    view.setBigUint64(0, name.a, true);
    view.setBigUint64(8, name.b, true);
    const file = this.tas.get(uuidText(octets));
    if (file === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    target.b = BigInt(file.length);
    if (target.bytes === undefined) return TEEC.TEEC_SUCCESS;
    if (target.bytes.length < file.length) return TEEC.TEEC_ERROR_SHORT_BUFFER;
    target.bytes.set(file);
    return TEEC.TEEC_SUCCESS;
  }

  #param(view: DataView, index: number): ServiceParam {
    const at = SUPP_RECV_ARG.size + (index + 1) * PARAM.size;
    const attr = view.getUint32(at, true);
    const a = view.getBigUint64(at + PARAM.a, true);
    const b = view.getBigUint64(at + PARAM.b, true);
    const c = view.getBigUint64(at + PARAM.c, true);
    let bytes: Uint8Array | undefined;
    if (attr >= PARAM_ATTR.MEMREF_INPUT && attr <= PARAM_ATTR.MEMREF_INOUT && c !== NULL_ID) {
      bytes = this.#memory.get(Number(c))?.buffer.read(Number(a), Number(b));
    }
    return { attr, a, b, c, bytes };
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
    if (fd >= 0) return { fd, buffer, id: data.getInt32(SHM_REGISTER_DATA.id, true) };
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
    return { fd, buffer, id: data.getInt32(SHM_ALLOC_DATA.id, true) };
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
