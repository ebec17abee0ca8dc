import { type Task, WaitQueue } from "../machine/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import type { TeeShm } from "./shm.ts";
import type { TeeContext } from "./tee-context.ts";

/** One parameter of a request to tee-supplicant; memory references carry the kernel's object. */
export interface SupplicantParam {
  /** A TEE_IOCTL_PARAM_ATTR type. */
  readonly attr: number;
  a: bigint;
  b: bigint;
  c: bigint;
  readonly shm: TeeShm | undefined;
}

/** Who waits; a fatal signal ends a killable wait. */
export interface Caller {
  readonly killed: boolean;
  /** What to wake when a fatal signal arrives. */
  readonly waitsOn: Set<WaitQueue>;
  /** Gives up at once where there is no supplicant, instead of waiting for one (TEE-4.7). */
  readonly supplicantNoWait: boolean;
}

/** A client inside the kernel, which no signal reaches. */
const KERNEL: Caller = { killed: false, waitsOn: new Set(), supplicantNoWait: true };
const RELEASE: Caller = { ...KERNEL, supplicantNoWait: false };

export const kernelCaller = (): Caller => KERNEL;

/** Whoever drops the last reference of a context: no signal reaches it any more. */
export const releaseCaller = (): Caller => RELEASE;

export interface SupplicantRequest {
  readonly func: number;
  readonly params: SupplicantParam[];
  result: number;
  state: "queued" | "taken" | "done" | "abandoned";
  id: number;
  readonly answered: WaitQueue;
}

/** Requests of the secure world on their way to and from the supplicant (TEE-4). */
export class SupplicantQueue {
  readonly #queued: SupplicantRequest[] = [];
  readonly #taken = new Map<number, SupplicantRequest>();
  readonly arrived = new WaitQueue("supplicant request");
  /** The context of the supplicant, whether or not its process lives (TEE-4.8). */
  context: TeeContext | undefined;
  /** The request that a supplicant in synchronous mode works on (TEE-4.3). */
  synchronous: SupplicantRequest | undefined;

  /** Requests that nobody has answered, those of dead requesters included. */
  get outstanding(): number {
    return this.#queued.length + this.#taken.size;
  }

  get first(): SupplicantRequest | undefined {
    return this.#queued[0];
  }

  /** Waits for the supplicant's answer and gives its result code; outputs are in `params`. */
  *request(func: number, params: SupplicantParam[], caller: Caller): Task<number> {
    if (this.context === undefined && caller.supplicantNoWait) {
      return TEEC.TEEC_ERROR_COMMUNICATION;
    }
    const request: SupplicantRequest = {
      func,
      params,
      result: TEEC.TEEC_ERROR_COMMUNICATION,
      state: "queued",
      id: 0,
      answered: new WaitQueue(`supplicant answer to command ${func}`),
    };
    this.#queued.push(request);
    this.arrived.wake();
    caller.waitsOn.add(request.answered);
    while (request.state !== "done" && !caller.killed) yield request.answered;
    caller.waitsOn.delete(request.answered);
    if (request.state === "done") return request.result;
    // Killed: before pickup the request vanishes, after it the id stays until the answer (TEE-4.7).
    if (request.state === "queued") this.#queued.splice(this.#queued.indexOf(request), 1);
    else request.state = "abandoned";
    return TEEC.TEEC_ERROR_COMMUNICATION;
  }

  /** Hands the first request out and gives it the lowest free id from 1 (TEE-4.6). */
  take(): SupplicantRequest | undefined {
    const request = this.#queued.shift();
    if (request === undefined) return undefined;
    let id = 1;
    while (this.#taken.has(id)) id += 1;
    request.id = id;
    request.state = "taken";
    this.#taken.set(id, request);
    return request;
  }

  find(id: number): SupplicantRequest | undefined {
    return this.#taken.get(id);
  }

  complete(request: SupplicantRequest, result: number): void {
    this.#taken.delete(request.id);
    if (request.state !== "taken") return;
    request.result = result;
    request.state = "done";
    request.answered.wake();
  }

  /** The id of a request whose requester died is free again. */
  forget(request: SupplicantRequest): void {
    this.#taken.delete(request.id);
  }

  /** The supplicant's context is gone: every request fails, and another may come (TEE-4.8). */
  abort(): void {
    for (const request of [...this.#queued.splice(0), ...this.#taken.values()]) {
      if (request.state === "queued") request.state = "taken";
      this.complete(request, TEEC.TEEC_ERROR_COMMUNICATION);
    }
    this.#taken.clear();
    this.synchronous = undefined;
    this.context = undefined;
  }
}
