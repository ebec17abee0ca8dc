import type { Task } from "../../machine/index.ts";
import {
  BUF_DATA,
  PARAM,
  PARAM_ATTR_META,
  SHM_ALLOC_DATA,
  SUPP_RECV_ARG,
  SUPP_SEND_ARG,
  TEE_IOC,
} from "../../tee-uapi/index.ts";
import type { Process } from "../process.ts";

/** attr, a, b, c of a parameter. */
export type Words = readonly [number | bigint, ...(number | bigint)[]];

export interface Received {
  readonly status: number;
  readonly func: number;
  readonly params: readonly bigint[][];
}

/** A process that speaks the supplicant's protocol as a test tells it. */
export class RawSupplicant {
  readonly process: Process;
  #fd = -1;

  constructor(process: Process) {
    this.process = process;
  }

  *open(): Task<number> {
    this.#fd = yield* this.process.open("/dev/teepriv0");
    return this.#fd;
  }

  /** RECV with `slots` empty slots, the first one with `first` as its attribute. */
  *recv(slots: number, first: number = PARAM_ATTR_META, second = 0): Task<Received> {
    const buffer = new Uint8Array(SUPP_RECV_ARG.size + slots * PARAM.size);
    const view = new DataView(buffer.buffer);
    view.setUint32(SUPP_RECV_ARG.numParams, slots, true);
    if (slots > 0) view.setUint32(SUPP_RECV_ARG.size, first, true);
    if (slots > 1) view.setUint32(SUPP_RECV_ARG.size + PARAM.size, second, true);
    const status = yield* this.#variable(TEE_IOC.SUPPL_RECV, buffer);
    if (status < 0) return { status, func: -1, params: [] };
    const count = view.getUint32(SUPP_RECV_ARG.numParams, true);
    const params = Array.from({ length: count }, (_, index) =>
      [0, 8, 16, 24].map((word) =>
        view.getBigUint64(SUPP_RECV_ARG.size + index * PARAM.size + word, true),
      ),
    );
    return { status, func: view.getUint32(SUPP_RECV_ARG.func, true), params };
  }

  *send(ret: number, params: readonly Words[]): Task<number> {
    const buffer = new Uint8Array(SUPP_SEND_ARG.size + params.length * PARAM.size);
    const view = new DataView(buffer.buffer);
    view.setUint32(SUPP_SEND_ARG.ret, ret, true);
    view.setUint32(SUPP_SEND_ARG.numParams, params.length, true);
    for (const [index, words] of params.entries()) {
      for (const [word, of] of words.entries()) {
        view.setBigUint64(SUPP_SEND_ARG.size + index * PARAM.size + word * 8, BigInt(of), true);
      }
    }
    return yield* this.#variable(TEE_IOC.SUPPL_SEND, buffer);
  }

  /** SHM_ALLOC on the privileged device: id and descriptor. */
  *alloc(size: number): Task<{ readonly id: number; readonly fd: number }> {
    const payload = new Uint8Array(SHM_ALLOC_DATA.size);
    const view = new DataView(payload.buffer);
    view.setUint32(SHM_ALLOC_DATA.length, size, true);
    const fd = yield* this.process.ioctl(this.#fd, TEE_IOC.SHM_ALLOC, payload);
    return { id: view.getInt32(SHM_ALLOC_DATA.id, true), fd };
  }

  *#variable(request: number, buffer: Uint8Array): Task<number> {
    const payload = new Uint8Array(BUF_DATA.size);
    new DataView(payload.buffer).setUint32(BUF_DATA.bufLen, buffer.length, true);
    return yield* this.process.ioctl(this.#fd, request, payload, buffer);
  }
}
