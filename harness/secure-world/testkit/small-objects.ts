import { TEEC } from "../../optee-abi/index.ts";
import { TEE_DATA_FLAG, type TeeApi } from "../tas/index.ts";
import type { SecureTask } from "../thread.ts";

const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META } = TEE_DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
const id = (text: string): Uint8Array => new TextEncoder().encode(text);
const fill = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

/** Objects of a few blocks, so that every frame of an operation can be walked. */
const OLD = fill(600, 1);
const NEW = fill(600, 2);
const KEPT = fill(100, 3);

/** What is in storage: the objects by name, by the byte that they are full of, and their size. */
export type Contents = Readonly<Record<string, string>>;
const shown = (bytes: Uint8Array): string => `${bytes.length} of ${[...new Set(bytes)].join("+")}`;

/** Makes "old" and "kept". */
export function* prepareObjects({ storage }: TeeApi, place: number): SecureTask<number> {
  for (const [name, bytes] of [
    ["old", OLD],
    ["kept", KEPT],
  ] as const) {
    const made = yield* storage.create(place, id(name), ALL, 0, bytes);
    if (made.result !== 0) return made.result;
    yield* storage.close(made.value);
  }
  return 0;
}

/** The first call's result that is not success, which is when nothing was acknowledged. */
export type ObjectOperation = (tee: TeeApi, place: number) => SecureTask<number>;

const BEFORE: Contents = { old: shown(OLD), kept: shown(KEPT) };

export interface NamedOperation {
  readonly name: string;
  readonly run: ObjectOperation;
  readonly before: Contents;
  readonly after: Contents;
}

export const OBJECT_OPERATIONS: readonly NamedOperation[] = [
  {
    name: "create",
    *run({ storage }, place): SecureTask<number> {
      const made = yield* storage.create(place, id("new"), ALL, 0, NEW);
      if (made.result !== 0) return made.result;
      yield* storage.close(made.value);
      return 0;
    },
    before: BEFORE,
    after: { ...BEFORE, new: shown(NEW) },
  },
  {
    name: "write",
    *run({ storage }, place): SecureTask<number> {
      const { result, value } = yield* storage.open(place, id("old"), ALL);
      return result === 0 ? yield* storage.write(value, NEW) : result;
    },
    before: BEFORE,
    after: { ...BEFORE, old: shown(NEW) },
  },
  {
    name: "rename",
    *run({ storage }, place): SecureTask<number> {
      const { result, value } = yield* storage.open(place, id("old"), ALL);
      return result === 0 ? yield* storage.rename(value, id("new")) : result;
    },
    before: BEFORE,
    after: { kept: shown(KEPT), new: shown(OLD) },
  },
  {
    name: "delete",
    *run({ storage }, place): SecureTask<number> {
      const { result, value } = yield* storage.open(place, id("old"), ALL);
      return result === 0 ? yield* storage.closeAndDelete(value) : result;
    },
    before: BEFORE,
    after: { kept: shown(KEPT) },
  },
];

/** What storage has. Throws Error where an object that is there cannot be read. */
export function* contentsOf({ storage }: TeeApi, place: number): SecureTask<Contents> {
  const found: Record<string, string> = {};
  for (const name of ["old", "new", "kept"]) {
    const { result, value } = yield* storage.open(place, id(name), ACCESS_READ);
    if (result === TEEC.TEEC_ERROR_ITEM_NOT_FOUND) continue;
    if (result !== 0) throw new Error(`${name} cannot be opened: 0x${result.toString(16)}`);
    const read = yield* storage.read(value, 2000);
    if (read.result !== 0) throw new Error(`${name} cannot be read: 0x${read.result.toString(16)}`);
    found[name] = shown(read.value);
    yield* storage.close(value);
  }
  return found;
}
