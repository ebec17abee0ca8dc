import { TEEC } from "../../optee-abi/index.ts";
import { paramTypes, TaParam, type TaParams, taParams, TEE_PARAM, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import { TA_FLAG, type TaInstance, type TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";
import { uuidFromMemory } from "./uuid-memory.ts";

export const SIMS_UUID = "e6a33ed4-562b-463a-bb7e-ff5e15a493c8";
export const SIMS_KEEP_ALIVE_UUID = "a4c04d50-f180-11e8-8eb2-f2801f1b9fd1";
export const MISS_UUID = "528938ce-fc59-11e8-8eb2-f2801f1b9fd1";
export const SIMS_CMD = {
  READ: 1,
  WRITE: 2,
  GET_COUNTER: 3,
  PANIC: 4,
  OPEN_TA_SESSION: 5,
} as const;

const SLOTS = 4;
/** What a read allocates and frees again, and what an allocation takes beside its bytes, about. */
const READ_BUFFER = 16_000;
const OVERHEAD = 32;

interface ClientState {
  counter: number;
  session: number | undefined;
}

/** Storage and a counter that all sessions of one instance share; used to tell instances apart. */
class Sims implements TaInstance {
  readonly #heap: number;
  readonly #slots: (Uint8Array | undefined)[] = [];
  readonly #clients = new Map<TeeApi, ClientState>();
  #opened = 0;

  constructor(heap: number) {
    this.#heap = heap;
  }

  /** Whether the heap has room beside what is stored. */
  #hasRoom(bytes: number): boolean {
    const used = this.#slots.map((slot) => (slot === undefined ? 0 : slot.length + OVERHEAD));
    return used.reduce((sum, one) => sum + one, bytes + OVERHEAD) <= this.#heap;
  }

  open(tee: TeeApi): number {
    this.#clients.set(tee, { counter: this.#opened, session: undefined });
    this.#opened += 1;
    return TEEC.TEEC_SUCCESS;
  }

  *close(tee: TeeApi): SecureTask {
    const session = this.#clients.get(tee)?.session;
    this.#clients.delete(tee);
    if (session !== undefined) yield* tee.closeTaSession(session);
  }

  *invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
    switch (command) {
      case SIMS_CMD.READ:
        return this.#read(params);
      case SIMS_CMD.WRITE:
        return this.#write(params);
      case SIMS_CMD.GET_COUNTER:
        if (typesOf(params) !== paramTypes(TEE_PARAM.VALUE_OUTPUT)) break;
        params[0].a = this.#clients.get(tee)?.counter ?? 0;
        return TEEC.TEEC_SUCCESS;
      case SIMS_CMD.PANIC:
        return yield* this.#panic(tee, params);
      case SIMS_CMD.OPEN_TA_SESSION:
        return yield* this.#openTaSession(tee, params);
      default:
    }
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }

  #read(params: TaParams): number {
    const types = paramTypes(TEE_PARAM.VALUE_INPUT, TEE_PARAM.MEMREF_OUTPUT);
    const [slot, out] = params;
    if (typesOf(params) !== types || slot.a >= SLOTS) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const stored = this.#slots[slot.a];
    if (stored !== undefined && stored.length > out.capacity) return TEEC.TEEC_ERROR_OVERFLOW;
    if (!this.#hasRoom(READ_BUFFER)) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    if (out.capacity === 0) return TEEC.TEEC_SUCCESS;
    // It copies from where nothing was ever allocated.
    if (stored === undefined || stored.length === 0) {
      throw new RangeError("data abort: a slot that was never written");
    }
    out.write(stored);
    return TEEC.TEEC_SUCCESS;
  }

  #write(params: TaParams): number {
    const types = paramTypes(TEE_PARAM.VALUE_INPUT, TEE_PARAM.MEMREF_INPUT);
    const [slot, input] = params;
    if (typesOf(params) !== types || slot.a >= SLOTS) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    this.#slots[slot.a] = undefined;
    if (!this.#hasRoom(input.capacity)) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    this.#slots[slot.a] = input.read();
    return TEEC.TEEC_SUCCESS;
  }

  *#openTaSession(tee: TeeApi, params: TaParams): SecureTask<number> {
    const client = this.#clients.get(tee);
    const [name] = params;
    if (client === undefined || typesOf(params) !== paramTypes(TEE_PARAM.MEMREF_INPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    if (name.capacity !== 16) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const { result, session } = yield* tee.openTaSession(uuidFromMemory(name.read()), taParams());
    if (result !== TEEC.TEEC_SUCCESS) return result;
    client.session = session;
    client.counter += 1;
    return TEEC.TEEC_SUCCESS;
  }

  /** With a UUID: makes that TA panic; without one: panics itself. */
  *#panic(tee: TeeApi, params: TaParams): SecureTask<number> {
    const [name] = params;
    if (typesOf(params) !== paramTypes(TEE_PARAM.MEMREF_INPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    if (name.isNull || name.capacity === 0) return tee.panic(0xbeef);
    const opened = yield* this.#openTaSession(tee, params);
    if (opened !== TEEC.TEEC_SUCCESS) return opened;
    const session = this.#clients.get(tee)?.session ?? 0;
    const nothing = taParams(TaParam.memref(TEE_PARAM.MEMREF_INPUT, undefined));
    yield* tee.invokeTaCommand(session, SIMS_CMD.PANIC, nothing);
    return TEEC.TEEC_SUCCESS;
  }
}

const sims = (
  name: string,
  uuid: string,
  flags: number,
  stackSize = 4 * 1024,
  dataSize = 64 * 1024,
): TrustedApplication => ({
  name,
  uuid,
  flags,
  stackSize,
  dataSize,
  imageSize: 113_576,
  instantiate: () => new Sims(dataSize),
});

const SHARED = TA_FLAG.SINGLE_INSTANCE | TA_FLAG.MULTI_SESSION;

/** Single instance, many sessions. */
export const simsTa = sims("sims", SIMS_UUID, SHARED);
/** The same, kept alive when its last session ends. */
export const simsKeepAliveTa = sims(
  "sims_keepalive",
  SIMS_KEEP_ALIVE_UUID,
  SHARED | TA_FLAG.INSTANCE_KEEP_ALIVE,
);
/** An instance for each session. */
export const missTa = sims("miss", MISS_UUID, 0, 32 * 1024, 32 * 1024);
