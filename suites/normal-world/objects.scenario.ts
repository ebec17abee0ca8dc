import type { Task } from "../../harness/machine/index.ts";
import { resultName } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { DATA_FLAG, SEEK, StorageClient, STORAGE_ID, TYPE_AES } from "../support/storage-client.ts";
import { STORAGE, STORAGE2 } from "../support/tas.ts";

const PLACE = STORAGE_ID.PRIVATE;
const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, OVERWRITE, SHARE_READ, SHARE_WRITE } =
  DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;

const nameOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const filled = (size: number, value: number): Uint8Array => new Uint8Array(size).fill(value);
const codeOf = (result: number): string =>
  (resultName(result) ?? `0x${result.toString(16)}`).replace(/^TEEC?_(ERROR_)?/, "");

/** Storage of the TA alone; on conduit `vm` with files that are as they would be anywhere. */
const storage = (
  clauses: readonly string[],
  program: (client: StorageClient, context: ScenarioContext) => Task<Data>,
): Scenario => ({
  conduits: ["direct", "hwdom", "vm"],
  clauses: ["MSG-3.FS", ...clauses],
  rules: "strict",
  run: (context) => {
    const tee = context.client();
    return context.execute(
      (function* (): Task<Data> {
        return yield* program(yield* StorageClient.open(tee), context);
      })(),
    );
  },
});

function* made(client: StorageClient, id: string, flags = ALL, size = 10): Task<number> {
  const { result, object } = yield* client.create(PLACE, nameOf(id), flags, filled(size, 7));
  if (result !== 0) throw new Error(`${id} is not created: ${codeOf(result)}`);
  return object;
}

/** Two handles at a time: which pairs of flags get on with each other. */
export const accessFlags = storage(["MSG-4.ACCESS_CONFLICT"], function* (client) {
  yield* client.close(yield* made(client, "shared"));
  const sets: Record<string, number> = {
    read: ACCESS_READ,
    "read, shared": ACCESS_READ | SHARE_READ,
    write: ACCESS_WRITE,
    "write, shared": ACCESS_WRITE | SHARE_WRITE,
    "all, shared": ACCESS_READ | ACCESS_WRITE | SHARE_READ | SHARE_WRITE,
    meta: ACCESS_WRITE_META,
  };
  const seen: Record<string, string> = {};
  for (const [first, flags] of Object.entries(sets)) {
    const one = yield* client.openObject(PLACE, nameOf("shared"), flags);
    const line: string[] = [];
    for (const other of Object.values(sets)) {
      const two = yield* client.openObject(PLACE, nameOf("shared"), other);
      line.push(two.result === 0 ? "yes" : codeOf(two.result));
      if (two.result === 0) yield* client.close(two.object);
    }
    if (one.result === 0) yield* client.close(one.object);
    seen[first] = `${codeOf(one.result)}: ${line.join(" ")}`;
  }
  return seen;
});

/** What a handle without the access for it may not do: a TA does not survive to try. */
export const missingAccess = storage(["MSG-2.4.TA_PANICKED"], function* (client) {
  yield* client.close(yield* made(client, "plain"));
  const seen: Record<string, string> = {};
  for (const [name, flags] of Object.entries({ read: ACCESS_READ, write: ACCESS_WRITE })) {
    for (const attempt of ["read", "write", "rename"]) {
      const own = yield* StorageClient.open(client.tee);
      const { object } = yield* own.openObject(PLACE, nameOf("plain"), flags);
      const tried =
        attempt === "read"
          ? own.read(object, 4)
          : attempt === "write"
            ? own.write(object, filled(2, 1))
            : own.rename(object, nameOf("else"));
      seen[`${attempt} with ${name}`] = codeOf((yield* tried).result);
      yield* own.end();
    }
  }
  return seen;
});

/** Created again with and without leave to overwrite; closed and open. */
export const overwriting = storage(["MSG-3.1.CREATE", "MSG-4.ACCESS_CONFLICT"], function* (client) {
  const object = yield* made(client, "again");
  const create = function* (flags: number): Task<string> {
    const done = yield* client.create(PLACE, nameOf("again"), flags, filled(3, 9));
    if (done.result === 0) yield* client.close(done.object);
    return codeOf(done.result);
  };
  const open = [yield* create(ALL), yield* create(ALL | OVERWRITE)];
  yield* client.close(object);
  const closed = [yield* create(ALL), yield* create(ALL | OVERWRITE)];
  const later = yield* client.openObject(PLACE, nameOf("again"), ALL);
  const { bytes } = yield* client.read(later.object, 10);
  return { open, closed, bytes: [...bytes] };
});

/** Renamed to a free name, to one in use, to its own; what is found by which name then. */
export const renaming = storage(["MSG-3.1.RENAME", "MSG-4.ITEM_NOT_FOUND"], function* (client) {
  yield* client.close(yield* made(client, "other"));
  const object = yield* made(client, "old");
  const results: string[] = [];
  for (const name of ["new", "other", "new", "old", "x"]) {
    results.push(codeOf((yield* client.rename(object, nameOf(name))).result));
  }
  yield* client.close(object);
  const found: string[] = [];
  for (const name of ["old", "new", "other", "x"]) {
    const opened = yield* client.openObject(PLACE, nameOf(name), ACCESS_READ);
    found.push(`${name}: ${codeOf(opened.result)}`);
    if (opened.result === 0) yield* client.close(opened.object);
  }
  return { results, found };
});

/** Shorter, longer, empty: the size, the position and what is read there. */
export const truncating = storage(["MSG-3.1.TRUNCATE"], function* (client) {
  const object = yield* made(client, "cut", ALL, 100);
  const seen: Data[] = [];
  for (const size of [40, 40, 200, 5000, 0, 3]) {
    const { result } = yield* client.value(STORAGE.TRUNC, object, size);
    const { info } = yield* client.info(object);
    yield* client.seek(object, 0, SEEK.SET);
    const { bytes } = yield* client.read(object, 64);
    const kept = bytes.filter((byte) => byte === 7).length;
    seen.push(`${size}: ${codeOf(result)}, ${info.dataSize}, ${bytes.length} read, ${kept} kept`);
  }
  return seen;
});

/** Positions before the beginning and behind the end, and what is written there. */
export const seeking = storage(["MSG-3.1.READ", "MSG-3.1.WRITE"], function* (client) {
  const object = yield* made(client, "place", ALL, 20);
  const seen: string[] = [];
  for (const [offset, whence] of [
    [5, SEEK.SET],
    [3, SEEK.CUR],
    [-100, SEEK.CUR],
    [-4, SEEK.END],
    [10, SEEK.END],
    [0x7fff_ffff, SEEK.SET],
  ] as const) {
    const { result, at } = yield* client.seek(object, offset, whence);
    seen.push(`${offset} ${whence}: ${codeOf(result)}${result === 0 ? ` ${at}` : ""}`);
  }
  yield* client.seek(object, 30, SEEK.SET);
  const written = codeOf((yield* client.write(object, filled(2, 9))).result);
  const { info } = yield* client.info(object);
  yield* client.seek(object, 18, SEEK.SET);
  const { bytes } = yield* client.read(object, 64);
  return { seen, written, size: info.dataSize, bytes: [...bytes] };
});

/** Every object once, in whatever order; after a removal without it, and none at the end. */
export const enumerating = storage(["MSG-3.1.READ", "MSG-4.ITEM_NOT_FOUND"], function* (client) {
  const list = function* (): Task<string> {
    const { enumerator } = yield* client.allocateEnumerator();
    const started = yield* client.value(STORAGE.START_ENUM, enumerator, PLACE);
    if (started.result !== 0) {
      // To ask for the next object now would be the end of OP-TEE.
      yield* client.value(STORAGE.FREE_ENUM, enumerator);
      return codeOf(started.result);
    }
    const names: string[] = [];
    for (;;) {
      const next = yield* client.nextEnum(enumerator, true);
      if (next.result !== 0 || names.length > 9) {
        yield* client.value(STORAGE.FREE_ENUM, enumerator);
        return `${names.toSorted().join(" ")}: ${codeOf(next.result)}`;
      }
      names.push(new TextDecoder().decode(next.id));
    }
  };
  const none = yield* list();
  for (const id of ["a", "bb", "ccc"]) yield* client.close(yield* made(client, id));
  const all = yield* list();
  const { object } = yield* client.openObject(PLACE, nameOf("bb"), ALL);
  yield* client.unlink(object);
  const less = yield* list();
  for (const id of ["a", "ccc"]) {
    const opened = yield* client.openObject(PLACE, nameOf(id), ALL);
    yield* client.unlink(opened.object);
  }
  return { none, all, less, after: yield* list() };
});

/** Names of every length that there may be, and one more. */
export const names = storage(["MSG-2.4.TA_RETURNED"], function* (client) {
  const seen: string[] = [];
  for (const length of [0, 1, 63, 64, 65]) {
    const id = filled(length, 0x61);
    const { result, object } = yield* client.create(PLACE, id, ALL, filled(1, 1));
    seen.push(`${length}: ${codeOf(result)}`);
    if (result !== 0) break;
    yield* client.unlink(object);
  }
  return seen;
});

/** The same name in two TAs; what one removes the other still has. */
export const twoTas = storage(["MSG-2.1.3"], function* (client) {
  const other = yield* StorageClient.open(client.tee, STORAGE2.uuid);
  const before = yield* other.openObject(PLACE, nameOf("mine"), ACCESS_READ);
  const object = yield* made(client, "mine");
  const foreign = yield* other.openObject(PLACE, nameOf("mine"), ACCESS_READ);
  const own = yield* other.create(PLACE, nameOf("mine"), ALL, filled(3, 2));
  yield* client.unlink(object);
  yield* other.close(own.object);
  const still = yield* other.openObject(PLACE, nameOf("mine"), ACCESS_READ);
  const { bytes } = yield* other.read(still.object, 10);
  return {
    before: codeOf(before.result),
    foreign: codeOf(foreign.result),
    own: codeOf(own.result),
    still: [...bytes],
  };
});

/** Objects outlive the session, the instance, and its panic. */
export const outliving = storage(["MSG-2.4.TA_PANICKED"], function* (client) {
  yield* client.close(yield* made(client, "kept"));
  const doomed = yield* StorageClient.open(client.tee);
  const opened = yield* doomed.openObject(PLACE, nameOf("kept"), ALL);
  yield* doomed.write(opened.object, filled(4, 1));
  // A handle that nobody has is a mistake that a TA does not survive.
  const panic = yield* doomed.close(0x1234);
  yield* doomed.end();
  yield* client.end();
  const later = yield* StorageClient.open(client.tee);
  const again = yield* later.openObject(PLACE, nameOf("kept"), ALL);
  const { bytes } = yield* later.read(again.object, 10);
  return { panic: codeOf(panic.result), again: codeOf(again.result), bytes: [...bytes] };
});

/** Objects of a TA's own, and of places that there are not; nobody built this TEE with RPMB storage. */
export const transient = storage(["MSG-2.4.TA_RETURNED"], function* (client) {
  const seen: string[] = [];
  for (const [type, bits] of [
    [TYPE_AES, 128],
    [TYPE_AES, 100],
    [TYPE_AES, 0],
    [0xa000_ffff, 128],
  ] as const) {
    const { result, object } = yield* client.allocateTransient(type, bits);
    seen.push(codeOf(result));
    if (result === 0) yield* client.value(STORAGE.FREE_OBJ, object);
  }
  const nowhere: string[] = [];
  for (const place of [0x1234, STORAGE_ID.RPMB]) {
    const opened = yield* client.openObject(place, nameOf("x"), ACCESS_READ);
    nowhere.push(codeOf(opened.result));
  }
  return { seen, nowhere };
});

/** The file of an object is taken away, cut, or changed behind the secure world's back. */
export const spoiltFiles = storage(
  ["MSG-3.1.4", "MSG-4.CORRUPT_OBJECT", "MSG-4.ITEM_NOT_FOUND"],
  function* (client, context) {
    const { supplicant } = context.guest().linux;
    const disk = supplicant?.files.disk;
    if (disk === undefined) return context.skip("the supplicant has no files");
    const seen: Record<string, string> = {};
    const last = (): string => {
      const files = disk.list("/var/lib/tee");
      return typeof files === "number"
        ? ""
        : (files.filter((name) => /^\d/.test(name)).at(-1) ?? "");
    };
    const spoil: Record<string, (file: string) => void> = {
      gone: (file) => void disk.unlink(file),
      empty: (file) => disk.store(file, new Uint8Array(0)),
      "half of it": (file) => disk.store(file, (disk.read(file) ?? filled(0, 0)).slice(0, 6000)),
      "a bit of its data": (file) => {
        const bytes = Uint8Array.from(disk.read(file) ?? []);
        const at = bytes.length - 100;
        bytes[at] = (bytes[at] ?? 0) ^ 1;
        disk.store(file, bytes);
      },
    };
    for (const [how, change] of Object.entries(spoil)) {
      yield* client.close(yield* made(client, how, ALL, 100));
      change(`/var/lib/tee/${last()}`);
      const opened = yield* client.openObject(PLACE, nameOf(how), ACCESS_READ);
      let text = codeOf(opened.result);
      if (opened.result === 0) {
        const { result } = yield* client.read(opened.object, 100);
        text += `, ${codeOf(result)}`;
        yield* client.close(opened.object);
      }
      seen[how] = text;
    }
    return seen;
  },
);
