import { uuidOctets, uuidText } from "../../harness/base/index.ts";
import { resultName } from "../../harness/optee-abi/index.ts";
import type { Task } from "../../harness/machine/index.ts";
import type {
  OpenSessionOptions,
  TeecContext,
  TeecMemory,
  TeecResult,
  TeecSession,
  UserBuffer,
} from "../../harness/normal-world/index.ts";

/** A step of a scenario that had to succeed did not. */
export class StepFailed extends Error {
  constructor(step: string, { result, origin }: TeecResult) {
    const name = resultName(result) ?? `0x${result.toString(16)}`;
    super(`${step}: ${name}, origin ${origin}`);
    this.name = "StepFailed";
  }
}

/** The octets of a UUID as C has a TEE_UUID in memory: the three time fields are little-endian. */
export function uuidInMemory(uuid: string): Uint8Array {
  return swapTimeFields(uuidOctets(uuid));
}

/** The text of a TEE_UUID in memory. */
export function uuidFromMemory(bytes: Uint8Array): string {
  return uuidText(swapTimeFields(bytes.slice(0, 16)));
}

function swapTimeFields(octets: Uint8Array): Uint8Array {
  octets.subarray(0, 4).reverse();
  octets.subarray(4, 6).reverse();
  octets.subarray(6, 8).reverse();
  return octets;
}

/** Opens a session; throws StepFailed unless that succeeds. */
export function* openSession(
  tee: TeecContext,
  uuid: string,
  options: OpenSessionOptions = {},
): Task<TeecSession> {
  const opened = yield* tee.openSession(uuid, options);
  if (opened.session === undefined) throw new StepFailed(`open session to ${uuid}`, opened);
  return opened.session;
}

/** Memory of the client's process with these contents, `offset` bytes into its first page. */
export function buffer(tee: TeecContext, contents: Uint8Array | number, offset = 0): UserBuffer {
  const size = typeof contents === "number" ? contents : contents.length;
  const made = tee.process.memory.allocate(size, offset);
  if (made === undefined) throw new Error(`the client's process has no ${size} bytes left`);
  if (typeof contents !== "number") made.write(contents);
  return made;
}

/** Registers a buffer; throws StepFailed unless that succeeds. */
export function* registerMemory(tee: TeecContext, from: UserBuffer, flags = 3): Task<TeecMemory> {
  const made = yield* tee.registerSharedMemory(from, flags);
  if (made.memory === undefined) throw new StepFailed("register shared memory", made);
  return made.memory;
}

/** Allocates shared memory; throws StepFailed unless that succeeds. */
export function* allocateMemory(tee: TeecContext, size: number, flags = 3): Task<TeecMemory> {
  const made = yield* tee.allocateSharedMemory(size, flags);
  if (made.memory === undefined) throw new StepFailed("allocate shared memory", made);
  return made.memory;
}
