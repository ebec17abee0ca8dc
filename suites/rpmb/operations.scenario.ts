import type { Task } from "../../harness/machine/index.ts";
import type { Scenario } from "../../harness/platform/index.ts";
import { DATA_FLAG, SEEK, STORAGE_ID, type StorageClient } from "../support/storage-client.ts";
import { idOf, RpmbRun } from "../support/rpmb.ts";
import { STORAGE } from "../support/tas.ts";

const { RPMB } = STORAGE_ID;
const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META } = DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
const ANYWHERE = { conduits: ["direct", "vm"], rules: "strict" } as const;
const DIRECT = { conduits: ["direct"] } as const;
const PROVISIONED = { route: "supplicant", parts: [{ key: "optee" }] } as const;
const pattern = (length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index * 7 + 3);

/** The life of an object in RPMB: created, written in and across blocks, renamed, cut, read, deleted. */
export const objectLife: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-5.6.FAT", "RPMB-5.6.FILE_DATA", "RPMB-5.6.ENCRYPTION", "RPMB-4.REL_WR_BLKCNT"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    let object = 0;
    const step = (
      name: string,
      body: (client: StorageClient) => Task<{ result: number; origin: number }>,
    ): void => run.do(name, body);
    step("create", function* (client) {
      const made = yield* client.create(RPMB, idOf("life"), ALL, pattern(100));
      ({ object } = made);
      return made;
    });
    step("write within a block", (client) => client.write(object, pattern(20)));
    step("seek", (client) => client.seek(object, 0, SEEK.END));
    step("write across blocks", (client) => client.write(object, pattern(700)));
    step("truncate", (client) => client.value(STORAGE.TRUNC, object, 300));
    step("rename", (client) => client.rename(object, idOf("renamed")));
    step("close", (client) => client.close(object));
    run.read("open and read", "renamed");
    run.read("the old name", "life");
    run.create("overwrite", "renamed", idOf("new contents"));
    run.read("read", "renamed");
    run.remove("delete", "renamed");
    run.read("gone", "renamed");
    return run.end();
  },
};

/** An object is made shorter with the handle of its creation, and after a rename with that of its opening. */
export const truncatedWhileOpen: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.6.FAT"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    let object = 0;
    run.do("create", function* (client) {
      const made = yield* client.create(RPMB, idOf("made"), ALL, pattern(100));
      ({ object } = made);
      return made;
    });
    run.do("truncate", (client) => client.value(STORAGE.TRUNC, object, 80));
    run.do("close", (client) => client.close(object));
    run.read("read", "made");
    run.create("create another", "before", pattern(100));
    run.do("open", function* (client) {
      const opened = yield* client.openObject(RPMB, idOf("before"), ALL);
      ({ object } = opened);
      return opened;
    });
    run.do("rename", (client) => client.rename(object, idOf("after")));
    run.do("truncate it", (client) => client.value(STORAGE.TRUNC, object, 80));
    run.do("close it", (client) => client.close(object));
    run.read("by its new name", "after");
    run.read("by its old name", "before");
    return run.end();
  },
};

/** Objects are listed in the order of the FAT, whose free entries are used again. */
export const listing: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.6.FAT", "RPMB-4.RD_ENTRIES"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    for (let index = 0; index < 9; index += 1)
      run.create(`create ${index}`, `o${index}`, idOf("x"));
    run.remove("delete 3", "o3");
    run.create("create 9", "o9", idOf("x"));
    const names: string[] = [];
    run.do("list", function* (client) {
      const { enumerator } = yield* client.allocateEnumerator();
      yield* client.value(STORAGE.START_ENUM, enumerator, RPMB);
      for (;;) {
        const next = yield* client.nextEnum(enumerator, true);
        if (next.result !== 0) {
          yield* client.value(STORAGE.FREE_ENUM, enumerator);
          return next;
        }
        names.push(Buffer.from(next.id).toString("latin1"));
      }
    });
    return run.end({ names });
  },
};

/** An object of many blocks: made whole, changed in the middle, which writes all of it anew elsewhere. */
export const bigObject: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.6.FILE_DATA", "RPMB-5.6.LIMIT"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    run.create("create", "big", pattern(12_000));
    run.do("change", function* (client) {
      const opened = yield* client.openObject(RPMB, idOf("big"), ALL);
      if (opened.result !== 0) return opened;
      yield* client.seek(opened.object, 5000, SEEK.SET);
      const written = yield* client.write(opened.object, pattern(600));
      yield* client.close(opened.object);
      return written;
    });
    run.read("read", "big");
    return run.end();
  },
};

/** A partition of 128 KiB until nothing more fits; what was there stays, what is freed is used again. */
export const fullPartition: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.6.LIMIT", "RPMB-1.5"],
  rpmb: { route: "supplicant", parts: [{ key: "optee", sizeMultiplier: 1 }] },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    run.create("most of it", "large", pattern(100_000));
    run.create("what is left", "small", pattern(20_000));
    run.create("no room", "more", pattern(20_000));
    run.read("read", "large");
    run.remove("delete", "small");
    run.create("in its place", "other", pattern(1000));
    run.read("read that", "other");
    return run.end();
  },
};
