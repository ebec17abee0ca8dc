import { TEEC } from "../../optee-abi/index.ts";
import type { SecureTask } from "../thread.ts";

/** A storage operation failed with a TEE result code. Never leaves the core. */
export class Failure extends Error {
  readonly code: number;
  constructor(code: number) {
    super(`TEE result 0x${code.toString(16)}`);
    this.name = "Failure";
    this.code = code;
  }
}

export function fail(code: number): never {
  throw new Failure(code);
}

/** The result code that `task` ends with: SUCCESS unless it fails. */
export function* codeOf(task: SecureTask<unknown>): SecureTask<number> {
  try {
    yield* task;
    return TEEC.TEEC_SUCCESS;
  } catch (error) {
    if (error instanceof Failure) return error.code;
    throw error;
  }
}

/** What `task` gives; undefined when it fails, for whatever reason. */
export function* perhaps<T>(task: SecureTask<T>): SecureTask<T | undefined> {
  try {
    return yield* task;
  } catch (error) {
    if (error instanceof Failure) return undefined;
    throw error;
  }
}

/** What `task` gives; undefined when it fails with exactly `code`. */
export function* unless<T>(code: number, task: SecureTask<T>): SecureTask<T | undefined> {
  try {
    return yield* task;
  } catch (error) {
    if (error instanceof Failure && error.code === code) return undefined;
    throw error;
  }
}
