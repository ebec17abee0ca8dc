import type { Task } from "../../harness/machine/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import type { Scenario } from "../../harness/platform/index.ts";
import { DATA_FLAG, StorageClient, STORAGE_ID } from "../support/storage-client.ts";
import { check, checkResult, type Restatement, restate } from "./restate.ts";

const OK = TEEC.TEEC_SUCCESS;

/** Names of objects, and contents. */
export const FILES: readonly Uint8Array[] = [
  Uint8Array.from({ length: 32 }, (_, index) => index * 11),
  Uint8Array.of(1, 0),
  Uint8Array.of(2, 0x11, 2),
  Uint8Array.of(3, 0x13, 3),
  Uint8Array.of(0, 1, 2),
];
export const file = (index: number): Uint8Array => FILES[index] ?? new Uint8Array(0);
export const DATA: Uint8Array = Uint8Array.from({ length: 32 }, (_, index) => index * 37 + 5);
export const OTHER_DATA: Uint8Array = Uint8Array.from({ length: 32 }, (_, index) => index * 53 + 1);
export const EMPTY = new Uint8Array(0);

export const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, SHARE_READ, SHARE_WRITE, OVERWRITE } =
  DATA_FLAG;
export const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
export const SHARED = ALL | SHARE_READ | SHARE_WRITE | OVERWRITE;

/** What one case does in one kind of storage. */
export interface StorageCase {
  readonly run: Restatement;
  readonly client: StorageClient;
  readonly place: number;
  /** Number of the subcase for this storage, for subcases of its own. */
  readonly number: string;
}

/** The kinds of storage that this TEE has: an object can be made there. */
function* available(client: StorageClient): Task<number[]> {
  const places: number[] = [];
  for (const place of Object.values(STORAGE_ID)) {
    const name = new TextEncoder().encode("storage test\0");
    const made = yield* client.create(place, name, ALL, EMPTY);
    if (made.result === TEEC.TEEC_ERROR_ITEM_NOT_FOUND) continue;
    if (made.result === TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE) continue;
    checkResult(made, OK, "create a first object");
    checkResult(yield* client.unlink(made.object), OK, "delete it");
    places.push(place);
  }
  return places;
}

/** A case that is one subcase for each kind of storage, in a session of the storage TA. */
export function storageCase(
  id: string,
  title: string,
  body: (one: StorageCase) => Task,
  options: { readonly interrupts?: number } = {},
): Scenario {
  const clauses = ["MSG-3.FS", "MSG-3.6", "MSG-2.2.TMEM_NONCONTIG"];
  return restate(id, title, { ...options, clauses }, function* (run) {
    const first = yield* StorageClient.open(run.tee);
    const places = yield* available(first);
    yield* first.end();
    check(places.length > 0, "there is storage");
    for (const [index, place] of places.entries()) {
      const number = String(index + 1);
      const name = `Storage id: ${place.toString(16).padStart(8, "0")}`;
      yield* run.subcase(number, name, function* () {
        const client = yield* StorageClient.open(run.tee);
        yield* body({ run, client, place, number });
        yield* client.end();
      });
    }
  });
}

/** A step that has to succeed; gives its outcome. */
export function* succeed<T extends { readonly result: number; readonly origin: number }>(
  what: string,
  step: Task<T>,
): Task<T> {
  const outcome = yield* step;
  checkResult(outcome, OK, what);
  return outcome;
}

/** A step that has to end with this result. */
export function* refuse(
  what: string,
  result: number,
  step: Task<{ readonly result: number; readonly origin: number }>,
): Task {
  checkResult(yield* step, result, what);
}

export function* make(
  { client, place }: StorageCase,
  id: Uint8Array | null,
  flags: number,
  data: Uint8Array | null,
): Task<number> {
  return (yield* succeed("create", client.create(place, id, flags, data))).object;
}

export function* reopen(
  { client, place }: StorageCase,
  id: Uint8Array | null,
  flags: number,
): Task<number> {
  return (yield* succeed("open", client.openObject(place, id, flags))).object;
}

/** Reads and compares; `length` bytes are asked for. */
export function* expectData(
  { client }: StorageCase,
  object: number,
  length: number,
  expected: Uint8Array,
): Task {
  const { bytes } = yield* succeed("read", client.read(object, length));
  check(Buffer.from(bytes).equals(expected), "the data is what was written");
}

/** Bytes one after the other; a number stands for that many zeros. */
export const bytesOf = (...parts: readonly (Uint8Array | number)[]): Uint8Array =>
  Uint8Array.from(
    Buffer.concat(parts.map((part) => (typeof part === "number" ? new Uint8Array(part) : part))),
  );
