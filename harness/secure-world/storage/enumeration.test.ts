import { expect, test } from "@jest/globals";
import { TargetCrashError } from "../../base/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import { TEE_STORAGE } from "../tas/index.ts";
import { StorageKit } from "../testkit/storage-kit.ts";

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
