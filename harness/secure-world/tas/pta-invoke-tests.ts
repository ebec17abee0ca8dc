import { TEEC } from "../../optee-abi/index.ts";
import { TEE_PARAM, type TaParam, type TaParams, paramTypes, typesOf } from "../param.ts";
import { coreSelfTests } from "../self-tests.ts";
import { SecureMutex } from "../sync.ts";
import type { SecureTask } from "../thread.ts";
import { PTA_DEFAULT_FLAGS, TA_FLAG, type TaInstance, type TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const INVOKE_TESTS_UUID = "d96a5b40-c3e5-21e3-8794-1002a5d5c61b";
export const INVOKE_TESTS_CMD = {
  TRACE: 0,
  PARAMS: 1,
  SELF_TESTS: 2,
  MUTEX: 7,
  LOCKDEP: 8,
  MEMREF_NULL: 10,
  DT_DRIVER_TESTS: 11,
  TRANSFER_LIST_TESTS: 12,
} as const;
export const MUTEX_TEST = { WRITER: 0, READER: 1 } as const;

const NONE = TEE_PARAM.NONE;
/** How many rounds of a mutex test pass between two places where it can be interrupted. */
const ROUNDS_PER_INTERRUPT = 4096;

/** The pseudo-TA for tests of the core: parameter shapes, the core's own tests, its mutexes. */
class InvokeTests implements TaInstance {
  readonly #mutex = new SecureMutex();
  #waitingReaders = 0;
  #waitingWriters = 0;
  #insideReaders = 0;
  #insideWriters = 0;
  #first = 0;
  #second = 0;

  *invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
    switch (command) {
      case INVOKE_TESTS_CMD.TRACE:
        return TEEC.TEEC_SUCCESS;
      case INVOKE_TESTS_CMD.PARAMS:
        return paramShapes(params);
      case INVOKE_TESTS_CMD.SELF_TESTS:
        return coreSelfTests() ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_GENERIC;
      case INVOKE_TESTS_CMD.MUTEX:
        return yield* this.#mutexTest(tee, params);
      case INVOKE_TESTS_CMD.MEMREF_NULL:
        return memrefNull(params);
      case INVOKE_TESTS_CMD.LOCKDEP:
      case INVOKE_TESTS_CMD.DT_DRIVER_TESTS:
      case INVOKE_TESTS_CMD.TRANSFER_LIST_TESTS:
        return TEEC.TEEC_ERROR_NOT_SUPPORTED;
      default:
        return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
  }

  *#mutexTest(tee: TeeApi, params: TaParams): SecureTask<number> {
    const [input, output] = params;
    if (typesOf(params) !== paramTypes(TEE_PARAM.VALUE_INPUT, TEE_PARAM.VALUE_OUTPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    switch (input.a) {
      case MUTEX_TEST.WRITER:
        return yield* this.#writer(tee, input.b, output);
      case MUTEX_TEST.READER:
        return yield* this.#reader(tee, input.b, output);
      default:
        return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
  }

  *#writer(tee: TeeApi, rounds: number, output: TaParam): SecureTask<number> {
    output.a = this.#waitingWriters += 1;
    yield* this.#mutex.lock(tee.thread);
    this.#waitingWriters -= 1;
    output.b = this.#insideWriters += 1;
    for (let round = 0; round < rounds; round += 1) {
      this.#first = (this.#first + 1) >>> 0;
      if (round % ROUNDS_PER_INTERRUPT === 0) yield* tee.preempt();
      this.#second = (this.#second + 2) >>> 0;
    }
    this.#insideWriters -= 1;
    yield* this.#mutex.unlock(tee.thread);
    return TEEC.TEEC_SUCCESS;
  }

  *#reader(tee: TeeApi, rounds: number, output: TaParam): SecureTask<number> {
    output.a = this.#waitingReaders += 1;
    yield* this.#mutex.readLock(tee.thread);
    this.#waitingReaders -= 1;
    output.b = this.#insideReaders += 1;
    let consistent = true;
    for (let round = 0; round < rounds; round += 1) {
      if ((this.#first * 2) >>> 0 !== this.#second) consistent = false;
      if (round % ROUNDS_PER_INTERRUPT === 0) yield* tee.preempt();
    }
    this.#insideReaders -= 1;
    yield* this.#mutex.readUnlock(tee.thread);
    return consistent ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_BAD_STATE;
  }
}

/**
 * Three shapes, each in any place: one in/out value (a becomes a + b), one output and three input
 * values (sums), one in/out memory reference (its first byte becomes the sum of all, modulo 256).
 */
function paramShapes(params: TaParams): number {
  const used = params.filter((param) => param.type !== NONE);
  const [only] = used;
  if (used.length === 1 && only?.type === TEE_PARAM.VALUE_INOUT) {
    only.a = (only.a + only.b) >>> 0;
    return TEEC.TEEC_SUCCESS;
  }
  if (used.length === 1 && only?.type === TEE_PARAM.MEMREF_INOUT) {
    const sum = only.read().reduce((total, byte) => (total + byte) & 0xff, 0);
    // Stored whatever the size; empty memory is NULL to a pseudo-TA, and the core faults there.
    only.write(Uint8Array.of(sum));
    return TEEC.TEEC_SUCCESS;
  }
  const outputs = params.filter((param) => param.type === TEE_PARAM.VALUE_OUTPUT);
  const inputs = params.filter((param) => param.type === TEE_PARAM.VALUE_INPUT);
  const [output] = outputs;
  if (outputs.length === 1 && inputs.length === 3 && output !== undefined) {
    output.a = inputs.reduce((total, param) => (total + param.a) >>> 0, 0);
    output.b = inputs.reduce((total, param) => (total + param.b) >>> 0, 0);
    return TEEC.TEEC_SUCCESS;
  }
  return TEEC.TEEC_ERROR_BAD_PARAMETERS;
}

function memrefNull(params: TaParams): number {
  const shape = typesOf(params) === paramTypes(TEE_PARAM.MEMREF_INOUT);
  const [memref] = params;
  // Empty memory is NULL to a pseudo-TA.
  return shape && memref.capacity === 0 ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_BAD_PARAMETERS;
}

export const invokeTestsPta: TrustedApplication = {
  name: "invoke_tests.pta",
  uuid: INVOKE_TESTS_UUID,
  flags: PTA_DEFAULT_FLAGS | TA_FLAG.SECURE_DATA_PATH | TA_FLAG.CONCURRENT | TA_FLAG.DEVICE_ENUM,
  stackSize: 0,
  dataSize: 0,
  imageSize: 0,
  instantiate: () => new InvokeTests(),
};
