import { expect, test } from "@jest/globals";
import { TargetCrashError } from "../../base/index.ts";
import { FS_OP, RPC_CMD, TEEC } from "../../optee-abi/index.ts";
import { TEE_STORAGE } from "../tas/index.ts";
import { StorageKit } from "../testkit/storage-kit.ts";

/** TEE_DATA_FLAG_ACCESS_READ, WRITE and WRITE_META. */
const ALL = 7;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;

test("an enumeration that was never started, or is of a storage that there is not, has no objects", () => {
  const results = new StorageKit().run(function* ({ storage }) {
    const enumerator = storage.allocateEnumerator();
    const never = yield* storage.nextObject(enumerator);
    const nowhere = yield* storage.startEnumerator(enumerator, 0x1234);
    return [never.result, nowhere, (yield* storage.nextObject(enumerator)).result];
  });
  expect(results).toEqual([NOT_FOUND, NOT_FOUND, NOT_FOUND]);
});

test("the next object after a start that found none takes the core down, as it does OP-TEE's", () => {
  const kit = new StorageKit();
  let started = -1;
  const next = (): unknown =>
    kit.run(function* ({ storage }) {
      const enumerator = storage.allocateEnumerator();
      started = yield* storage.startEnumerator(enumerator, TEE_STORAGE.PRIVATE);
      return yield* storage.nextObject(enumerator);
    });
  expect(next).toThrow(TargetCrashError);
  expect(started).toBe(NOT_FOUND);
});

/** How often the TA's object, opened and closed after a whole enumeration, has the supplicant close a file. */
function closesAfterListing(minor: number): number {
  const kit = new StorageKit({ build: { version: { major: 4, minor } } });
  let closes = 0;
  kit.run(function* ({ storage }) {
    const id = new TextEncoder().encode("one");
    const made = yield* storage.create(TEE_STORAGE.PRIVATE, id, ALL, 0, new Uint8Array(1));
    yield* storage.close(made.value);
    const enumerator = storage.allocateEnumerator();
    yield* storage.startEnumerator(enumerator, TEE_STORAGE.PRIVATE);
    while ((yield* storage.nextObject(enumerator)).result === 0);
    yield* storage.freeEnumerator(enumerator);
    kit.kit.onCommand = ({ cmd, params: [first] }) => {
      if (cmd === RPC_CMD.FS && Number(first?.a) === FS_OP.CLOSE) closes += 1;
      return false;
    };
    const opened = yield* storage.open(TEE_STORAGE.PRIVATE, id, ALL);
    yield* storage.close(opened.value);
  });
  return closes;
}

test("MSG-3.1.CLOSE: before 4.11 an enumeration to its end leaves the directory open for ever", () => {
  expect(closesAfterListing(5)).toBe(1);
  expect(closesAfterListing(10)).toBe(1);
  expect(closesAfterListing(11)).toBe(2);
});
