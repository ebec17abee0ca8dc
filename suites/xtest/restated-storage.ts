import { TEEC } from "../../harness/optee-abi/index.ts";
import type { Task } from "../../harness/machine/index.ts";
import { SEEK, TYPE_AES } from "../support/storage-client.ts";
import { STORAGE } from "../support/tas.ts";
import { check } from "./restate.ts";
import { panicCases } from "./restated-storage-panics.ts";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  ACCESS_WRITE_META,
  ALL,
  bytesOf,
  DATA,
  EMPTY,
  expectData,
  file,
  make,
  OTHER_DATA,
  refuse,
  reopen,
  SHARED,
  storageCase,
  type StorageCase,
  succeed,
} from "./storage-cases.ts";

const CONFLICT = TEEC.TEEC_ERROR_ACCESS_CONFLICT;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
const WRITE_META = ACCESS_WRITE | ACCESS_WRITE_META;
const READ_META = ACCESS_READ | ACCESS_WRITE_META;

export const regression_6001 = storageCase(
  "regression_6001",
  "Create and delete objects, without a name too",
  function* (one) {
    for (const id of [file(0), EMPTY, null]) {
      const object = yield* make(one, id, WRITE_META, DATA);
      yield* succeed("delete", one.client.unlink(object));
    }
  },
);

export const regression_6002 = storageCase("regression_6002", "Open objects", function* (one) {
  const { client } = one;
  for (const id of [file(1), EMPTY, null]) {
    yield* succeed("close", client.close(yield* make(one, id, ACCESS_WRITE, DATA)));
    yield* succeed("close", client.close(yield* reopen(one, id, ACCESS_WRITE_META)));
    yield* succeed("delete", client.unlink(yield* reopen(one, id, ACCESS_WRITE_META)));
  }
});

export const regression_6003 = storageCase("regression_6003", "Read an object", function* (one) {
  const { client } = one;
  yield* succeed("close", client.close(yield* make(one, file(2), ACCESS_WRITE, OTHER_DATA)));
  const object = yield* reopen(one, file(2), READ_META);
  yield* expectData(one, object, 10, OTHER_DATA.subarray(0, 10));
  yield* succeed("delete", client.unlink(object));
});

export const regression_6004 = storageCase("regression_6004", "Write an object", function* (one) {
  const { client } = one;
  yield* succeed("close", client.close(yield* make(one, file(2), ACCESS_WRITE, OTHER_DATA)));
  const writer = yield* reopen(one, file(2), ACCESS_WRITE);
  yield* succeed("write", client.write(writer, DATA));
  yield* succeed("close", client.close(writer));
  const object = yield* reopen(one, file(2), READ_META);
  yield* expectData(one, object, 10, DATA.subarray(0, 10));
  yield* succeed("delete", client.unlink(object));
});

export const regression_6005 = storageCase(
  "regression_6005",
  "Move the position in an object",
  function* (one) {
    const object = yield* make(one, file(1), ALL, DATA);
    yield* succeed("seek", one.client.seek(object, 10, SEEK.SET));
    yield* expectData(one, object, 10, DATA.subarray(10, 20));
    yield* succeed("delete", one.client.unlink(object));
  },
);

export const regression_6006 = storageCase(
  "regression_6006",
  "A deleted object is gone",
  function* (one) {
    const { client, place } = one;
    const object = yield* make(one, file(1), ACCESS_WRITE_META, DATA);
    yield* succeed("delete", client.unlink(object));
    yield* refuse("open", NOT_FOUND, client.openObject(place, file(1), ACCESS_READ));
  },
);

/** The data from `at` on, through this handle and through a new one; the object is deleted. */
function* seenFrom(one: StorageCase, object: number, at: number, expected: Uint8Array): Task {
  const { client } = one;
  yield* succeed("seek", client.seek(object, at, SEEK.SET));
  yield* expectData(one, object, 10, expected);
  yield* succeed("close", client.close(object));
  const again = yield* reopen(one, file(1), ALL);
  yield* succeed("seek", client.seek(again, at, SEEK.SET));
  yield* expectData(one, again, 10, expected);
  yield* succeed("delete", client.unlink(again));
}

export const regression_6007 = storageCase(
  "regression_6007",
  "Change the length of an object",
  function* (one) {
    const { run, client, number } = one;
    yield* run.subcase(`${number}.1`, "Shorter", function* () {
      const object = yield* make(one, file(1), ALL, DATA);
      yield* succeed("truncate", client.value(STORAGE.TRUNC, object, 10));
      yield* seenFrom(one, object, 5, DATA.subarray(5, 10));
    });
    yield* run.subcase(`${number}.2`, "Longer", function* () {
      const object = yield* make(one, file(1), ALL, DATA);
      yield* succeed("extend", client.value(STORAGE.TRUNC, object, 40));
      yield* seenFrom(one, object, 30, bytesOf(DATA.subarray(30), 8));
    });
    yield* run.subcase(`${number}.3`, "A hole", function* () {
      const object = yield* make(one, file(1), ALL, DATA);
      yield* succeed("seek", client.seek(object, 80, SEEK.SET));
      yield* succeed("write", client.write(object, DATA));
      yield* seenFrom(one, object, 74, bytesOf(6, DATA.subarray(0, 4)));
    });
  },
);

export const regression_6008 = storageCase("regression_6008", "Rename an object", function* (one) {
  const { client } = one;
  yield* succeed("close", client.close(yield* make(one, file(2), ACCESS_WRITE, OTHER_DATA)));
  const first = yield* reopen(one, file(2), WRITE_META);
  yield* succeed("write", client.write(first, DATA));
  yield* succeed("rename", client.rename(first, file(3)));
  yield* succeed("close", client.close(first));
  let object = yield* reopen(one, file(3), READ_META);
  yield* expectData(one, object, 10, DATA.subarray(0, 10));
  for (const id of [EMPTY, null]) {
    if (id === null) yield* succeed("rename", client.rename(object, file(3)));
    yield* succeed("rename to no name", client.rename(object, id));
    yield* succeed("close", client.close(object));
    object = yield* reopen(one, id, READ_META);
    yield* expectData(one, object, 10, DATA.subarray(0, 10));
  }
  yield* succeed("delete", client.unlink(object));
});

export const regression_6009 = storageCase("regression_6009", "List objects", function* (one) {
  const { client, place } = one;
  const names = [file(0), file(1), file(2)];
  const objects = [];
  for (const name of names) objects.push(yield* make(one, name, ACCESS_WRITE, OTHER_DATA));
  for (const object of objects) yield* succeed("close", client.close(object));
  const { enumerator } = yield* succeed("enumerator", client.allocateEnumerator());
  yield* succeed("start", client.value(STORAGE.START_ENUM, enumerator, place));
  const seen = [];
  for (const index of names.keys()) {
    const next = yield* succeed("next", client.nextEnum(enumerator, index !== 1));
    seen.push(Buffer.from(next.id).toString("hex"));
  }
  const expected = names.map((name) => Buffer.from(name).toString("hex"));
  check(seen.toSorted().join() === expected.toSorted().join(), "each object once");
  yield* refuse("after the last", NOT_FOUND, client.nextEnum(enumerator, true));
  yield* succeed("free", client.value(STORAGE.FREE_ENUM, enumerator));
  for (const name of names) {
    const object = yield* reopen(one, name, ACCESS_WRITE_META);
    yield* succeed("delete", client.unlink(object));
  }
});

const KIBIBYTE = Uint8Array.from({ length: 1024 }, (_, index) => index);

function* seekWriteRead(one: StorageCase): Task {
  const { client } = one;
  const object = yield* make(one, file(0), SHARED, KIBIBYTE);
  yield* succeed("seek", client.seek(object, 2, SEEK.SET));
  yield* succeed("to the end", client.seek(object, 0, SEEK.END));
  yield* succeed("append", client.write(object, KIBIBYTE));
  yield* succeed("seek", client.seek(object, 1024, SEEK.SET));
  yield* expectData(one, object, 1024, KIBIBYTE);
  yield* succeed("beyond the end", client.seek(object, 10, SEEK.END));
  yield* expectData(one, object, 1024, EMPTY);
  yield* succeed("back", client.seek(object, -512, SEEK.END));
  yield* expectData(one, object, 512, KIBIBYTE.subarray(512));
  yield* succeed("delete", client.unlink(object));
}

function* renameConflicts(one: StorageCase): Task {
  const { client, place } = one;
  for (const open of [true, false]) {
    let first = yield* make(one, file(0), SHARED, KIBIBYTE);
    if (!open) yield* succeed("close", client.close(first));
    const second = yield* make(one, file(1), SHARED, KIBIBYTE.subarray(512));
    yield* refuse("rename onto it", CONFLICT, client.rename(second, file(0)));
    if (!open) {
      const again = client.create(place, file(0), SHARED, KIBIBYTE);
      first = (yield* succeed("create over it", again)).object;
    }
    yield* succeed("delete", client.unlink(first));
    yield* succeed("delete", client.unlink(second));
  }
}

function* enumerators({ client, place }: StorageCase): Task {
  const reset = (yield* succeed("enumerator", client.allocateEnumerator())).enumerator;
  yield* succeed("reset", client.value(STORAGE.RESET_ENUM, reset));
  const { enumerator } = yield* succeed("enumerator", client.allocateEnumerator());
  yield* refuse("next before start", NOT_FOUND, client.nextEnum(enumerator, false));
  const starting = client.value(STORAGE.START_ENUM, enumerator, place);
  yield* refuse("start without objects", NOT_FOUND, starting);
  yield* succeed("free", client.value(STORAGE.FREE_ENUM, enumerator));
}

export const regression_6010 = storageCase(
  "regression_6010",
  "Conflicts, bad handles, positions and enumerators",
  function* (one) {
    const { run, client, place, number } = one;
    yield* run.subcase(`${number}.1`, "A name that is taken", function* () {
      const object = yield* make(one, file(0), SHARED, KIBIBYTE);
      const again = client.create(place, file(0), ACCESS_READ | ACCESS_WRITE, KIBIBYTE);
      yield* refuse("create again", CONFLICT, again);
      yield* succeed("delete", client.unlink(object));
    });
    yield* panicCases(one, [
      ["2", "Usage of a bad handle", (c) => c.value(STORAGE.RESTRICT_USAGE, 0xffff_bad0, 0xffff)],
      ["3", "Position of a bad handle", (c) => c.seek(0xffff_bad0, 5, SEEK.SET)],
      [
        "4",
        "Position of a transient object",
        function* (c) {
          const { object } = yield* succeed("allocate", c.allocateTransient(TYPE_AES, 256));
          return yield* c.seek(object, 5, SEEK.SET);
        },
      ],
    ]);
    yield* run.subcase(`${number}.5`, "Seek, write and read", () => seekWriteRead(one));
    yield* run.subcase(`${number}.6`, "Names that are taken when renaming", () =>
      renameConflicts(one),
    );
    yield* run.subcase(`${number}.7`, "Enumerators without objects", () => enumerators(one));
    yield* run.subcase(`${number}.8`, "Rename an open object", function* () {
      const object = yield* make(one, file(0), SHARED, KIBIBYTE);
      yield* succeed("rename", client.rename(object, file(1)));
      yield* succeed("delete", client.unlink(object));
    });
    yield* run.subcase(`${number}.9`, "NULL handles", function* () {
      for (const command of [STORAGE.CLOSE, STORAGE.FREE_OBJ, STORAGE.RESET_OBJ]) {
        yield* succeed("NULL", client.value(command, 0));
      }
    });
  },
);
