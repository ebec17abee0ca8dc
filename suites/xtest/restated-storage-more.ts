import type { Task } from "../../harness/machine/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { StorageClient, STORAGE_ID } from "../support/storage-client.ts";
import { STORAGE, STORAGE2 } from "../support/tas.ts";
import { check } from "./restate.ts";
import { joinAll } from "./restated-core.ts";
import { panics } from "./restated-storage-panics.ts";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  ACCESS_WRITE_META,
  ALL,
  DATA,
  expectData,
  file,
  make,
  OTHER_DATA,
  OVERWRITE,
  refuse,
  reopen,
  storageCase,
  type StorageCase,
  succeed,
} from "./storage-cases.ts";

const CONFLICT = TEEC.TEEC_ERROR_ACCESS_CONFLICT;
const WRITE_META = ACCESS_WRITE | ACCESS_WRITE_META;
const READ_META = ACCESS_READ | ACCESS_WRITE_META;

/** The case in a new session, as a client that comes back. */
function* again(one: StorageCase, body: (later: StorageCase) => Task): Task {
  const client = yield* StorageClient.open(one.run.tee);
  yield* body({ ...one, client });
  yield* client.end();
}

export const regression_6012 = storageCase(
  "regression_6012",
  "Create over an object, and not without leave",
  function* (one) {
    const { client, place } = one;
    yield* succeed("create", client.createOverwrite(place, file(4)));
    yield* again(one, function* (later) {
      yield* succeed("over it", later.client.createOverwrite(place, file(4)));
      yield* make(later, file(4), WRITE_META | OVERWRITE, null);
    });
    yield* again(one, function* (later) {
      const without = later.client.create(place, file(4), WRITE_META, null);
      yield* refuse("without leave", CONFLICT, without);
      const object = yield* reopen(later, file(4), READ_META);
      yield* succeed("delete", later.client.unlink(object));
    });
  },
);

export const regression_6013 = storageCase(
  "regression_6013",
  "A key as a persistent object",
  function* ({ client, place }) {
    yield* succeed("key", client.value(STORAGE.KEY_IN_PERSISTENT, place));
  },
);

export const regression_6014 = storageCase(
  "regression_6014",
  "Create and delete in a loop",
  function* ({ client, place }) {
    yield* succeed("loop", client.value(STORAGE.LOOP, place));
  },
);

export const regression_6015 = storageCase(
  "regression_6015",
  "Objects of another TA cannot be opened",
  function* (one) {
    const other = yield* StorageClient.open(one.run.tee, STORAGE2.uuid);
    const object = yield* make(one, file(1), ALL, DATA);
    const opening = other.openObject(one.place, file(1), ACCESS_READ);
    yield* refuse("open", TEEC.TEEC_ERROR_ITEM_NOT_FOUND, opening);
    yield* succeed("delete", one.client.unlink(object));
    yield* other.end();
  },
);

const CLIENTS = 3;
const LOOPS = 2;

/** What each of several clients does with an object of its own, at once. */
function* worker(one: StorageCase, index: number): Task {
  const client = yield* StorageClient.open(one.run.tee);
  const mine = { ...one, client };
  const name = new TextEncoder().encode(`file_${index}\0`);
  yield* succeed("close", client.close(yield* make(mine, name, ACCESS_WRITE, OTHER_DATA)));
  const writer = yield* reopen(mine, name, ACCESS_WRITE);
  yield* succeed("write", client.write(writer, DATA));
  yield* succeed("close", client.close(writer));
  const object = yield* reopen(mine, name, READ_META);
  yield* expectData(mine, object, 10, DATA.subarray(0, 10));
  yield* succeed("delete", client.unlink(object));
  yield* client.end();
}

export const regression_6016 = storageCase(
  "regression_6016",
  "Several clients at once",
  function* (one) {
    for (let loop = 0; loop < LOOPS; loop += 1) {
      const workers = Array.from({ length: CLIENTS }, (_, index) =>
        one.run.scheduler.spawn(`storage client ${index}`, worker(one, index)),
      );
      yield* joinAll(workers);
    }
  },
  { interrupts: 50 },
);

export const regression_6017 = storageCase(
  "regression_6017",
  "The size that an object is said to have",
  function* (one) {
    const { client } = one;
    const object = yield* make(one, file(1), ACCESS_WRITE, null);
    yield* succeed("write", client.write(object, DATA));
    const before = (yield* succeed("info", client.info(object))).info;
    yield* succeed("close", client.close(object));
    const later = yield* reopen(one, file(1), ACCESS_WRITE_META);
    const after = (yield* succeed("info", client.info(later))).info;
    check(before.dataSize === DATA.length && after.dataSize === DATA.length, "the size is kept");
    yield* succeed("delete", client.unlink(later));
  },
);

export const regression_6018 = storageCase("regression_6018", "A large object", function* (one) {
  const { client, place } = one;
  const rpmb = place === STORAGE_ID.RPMB;
  const [count, size] = rpmb ? [10, 1024] : [8, 32 * 1024];
  const object = yield* make(one, file(1), ACCESS_WRITE, null);
  for (let index = 0; index < count; index += 1) {
    yield* succeed("write", client.write(object, new Uint8Array(size).fill(index)));
  }
  const { dataSize } = (yield* succeed("info", client.info(object))).info;
  check(dataSize === count * size, `${dataSize} bytes in all`);
  yield* succeed("close", client.close(object));
  const later = yield* reopen(one, file(1), READ_META);
  for (let index = 0; index < count; index += 1) {
    yield* expectData(one, later, size, new Uint8Array(size).fill(index));
  }
  yield* succeed("delete", client.unlink(later));
});

export const regression_6019 = storageCase(
  "regression_6019",
  "Objects of two TAs under one name",
  function* (one) {
    const other = yield* StorageClient.open(one.run.tee, STORAGE2.uuid);
    const users = [
      { one, data: DATA },
      { one: { ...one, client: other }, data: OTHER_DATA },
    ];
    for (const user of users) {
      const object = yield* make(user.one, file(1), WRITE_META | OVERWRITE, user.data);
      yield* succeed("close", user.one.client.close(object));
    }
    for (const user of users) {
      const object = yield* reopen(user.one, file(1), READ_META);
      yield* expectData(user.one, object, 10, user.data.subarray(0, 10));
      yield* succeed("delete", user.one.client.unlink(object));
    }
    yield* other.end();
  },
);

export const regression_6020 = storageCase(
  "regression_6020",
  "Object ids must not lie in shared memory",
  function* (one) {
    const { client, place } = one;
    const name = file(1);
    const object = yield* make(one, name, WRITE_META | OVERWRITE, DATA);
    yield* succeed("close", client.close(object));
    yield* panics(one, "open", (c) => c.openObject(place, name, WRITE_META, true));
    yield* panics(one, "create over it", (c) => c.createOverwrite(place, name, true));
    yield* panics(one, "rename", function* (c) {
      const opened = yield* succeed("open", c.openObject(place, name, WRITE_META));
      return yield* c.rename(opened.object, name.subarray(0, 1), true);
    });
    yield* panics(one, "create", function* (c) {
      const opened = yield* succeed("open", c.openObject(place, name, WRITE_META));
      yield* succeed("delete", c.unlink(opened.object));
      return yield* c.create(place, name, WRITE_META | OVERWRITE, DATA, true);
    });
    yield* refuse(
      "nothing was made",
      TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
      client.openObject(place, name, ACCESS_READ),
    );
  },
);

const EXTRACTABLE = 1;

function* usage(client: StorageClient, object: number): Task<number> {
  return (yield* succeed("info", client.info(object))).info.objectUsage;
}

export const regression_6021 = storageCase(
  "regression_6021",
  "The usage of an object is restricted for good",
  function* (one) {
    const { client } = one;
    const all = 0xffff_ffff;
    const less = (all & ~EXTRACTABLE) >>> 0;
    const object = yield* make(one, file(1), ALL | OVERWRITE, DATA);
    check((yield* usage(client, object)) === all, "everything at first");
    yield* succeed("restrict", client.value(STORAGE.RESTRICT_USAGE, object, less));
    check((yield* usage(client, object)) === less, "less then");
    yield* succeed("close", client.close(object));
    yield* again(one, function* (later) {
      const reopened = yield* reopen(later, file(1), ALL);
      check((yield* usage(later.client, reopened)) === less, "and later");
      yield* succeed("delete", later.client.unlink(reopened));
    });
  },
);
