import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import { deriveRpmbKey, EmmcRpmb, SUPPLICANT_CID, zeroHuk } from "../../rpmb/index.ts";
import { OPTEE_4_10 } from "../build.ts";
import { TEE_DATA_FLAG, TEE_DATA_SEEK, TEE_STORAGE, type TeeApi } from "../tas/index.ts";
import { OTHER_SCRIPT_UUID, StorageKit } from "../testkit/storage-kit.ts";
import type { SecureTask } from "../thread.ts";
import { BlockPool } from "./block-pool.ts";
import { DIRECTORY_ENTRY } from "./dir-file.ts";
import { BLOCK_SIZE, HEAD_IMAGE, META, NODE_IMAGE, offsetOf } from "./htree-layout.ts";
import { FAT_ENTRY, RPMB_PARTITION } from "./rpmb-layout.ts";
import { OBJECT_HEAD } from "./tee-object.ts";

const NONE = new Uint8Array(0);
const { PRIVATE, PRIVATE_REE, PRIVATE_RPMB } = TEE_STORAGE;
const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, SHARE_READ, SHARE_WRITE, OVERWRITE } =
  TEE_DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
const id = (text: string): Uint8Array => new TextEncoder().encode(text);

const part = (): EmmcRpmb =>
  new EmmcRpmb({
    cid: SUPPLICANT_CID,
    sizeMultiplier: 2,
    key: deriveRpmbKey(zeroHuk(), SUPPLICANT_CID, { compat: true }),
  });
const WITH_RPMB = { ...OPTEE_4_10, rpmbFs: true };
const kitFor = (place: number): StorageKit =>
  place === PRIVATE_RPMB
    ? new StorageKit({ build: WITH_RPMB, devices: [part()] })
    : new StorageKit();

test("the structures on disk have the sizes and places of OP-TEE's", () => {
  expect([HEAD_IMAGE, NODE_IMAGE, META, DIRECTORY_ENTRY].map(({ size }) => size)).toEqual([
    68, 66, 16, 120,
  ]);
  expect([OBJECT_HEAD, RPMB_PARTITION, FAT_ENTRY].map(({ size }) => size)).toEqual([24, 128, 256]);
  expect([offsetOf.head(0), offsetOf.head(1)]).toEqual([0, 68]);
  const nodes: [number, number][] = [
    [0, 0],
    [0, 1],
    [1, 0],
    [30, 1],
    [31, 0],
    [62, 0],
  ];
  expect(nodes.map(([index, version]) => offsetOf.node(index, version))).toEqual([
    4096,
    4096 + 66,
    4096 + 132,
    4096 + 61 * 66,
    63 * 4096,
    125 * 4096,
  ]);
  const blocks: [number, number][] = [
    [0, 0],
    [0, 1],
    [30, 0],
    [30, 1],
    [31, 0],
    [61, 0],
  ];
  expect(blocks.map(([index, version]) => offsetOf.block(index, version) / BLOCK_SIZE)).toEqual([
    2, 3, 62, 64, 65, 126,
  ]);
});

test("no two things of a file lie on each other, however large it is", () => {
  fc.assert(
    fc.property(fc.nat(5000), fc.nat(5000), fc.nat(1), fc.nat(1), (a, b, va, vb) => {
      const node = offsetOf.node(a, va);
      const block = offsetOf.block(b, vb);
      expect(node + 66 <= block || block + BLOCK_SIZE <= node).toBe(true);
      if (a !== b || va !== vb) {
        expect(offsetOf.block(a, va)).not.toBe(offsetOf.block(b, vb));
        expect(Math.abs(node - offsetOf.node(b, vb))).toBeGreaterThanOrEqual(66);
      }
    }),
    { numRuns: budget(300, 20_000) },
  );
});

test("blocks are given from the top downwards, in the first gap that fits", () => {
  const pool = new BlockPool(10);
  expect([pool.take(0, 3), pool.take(8, 1), pool.take(2, 2), pool.take(9, 2)]).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect([pool.allocate(1), pool.allocate(2), pool.allocate(4), pool.allocate(3)]).toEqual([
    9,
    6,
    undefined,
    3,
  ]);
  expect(pool.allocate(1)).toBeUndefined();
});

test.each([PRIVATE, PRIVATE_REE, PRIVATE_RPMB])(
  "an object in storage %d outlives its handle, its session and the secure world",
  (place) => {
    const kit = kitFor(place);
    kit.run(function* ({ storage }) {
      const { value } = yield* storage.create(place, id("one"), ALL, 0, id("hello"));
      expect(yield* storage.write(value, id("HE"))).toBe(0);
      expect(storage.seek(value, -1, TEE_DATA_SEEK.END)).toBe(0);
      expect(yield* storage.write(value, id("O and more"))).toBe(0);
      expect(storage.info(value)).toMatchObject({ dataSize: 14, dataPosition: 14 });
    });
    // The handle is closed with the instance.
    kit.closeAll();
    for (const later of [kit, kit.reboot()]) {
      later.run(function* ({ storage }) {
        const { value } = yield* storage.open(place, id("one"), ACCESS_READ);
        const read = yield* storage.read(value, 100);
        expect(new TextDecoder().decode(read.value)).toBe("HEllO and more");
        expect((yield* storage.read(value, 100)).value).toHaveLength(0);
        yield* storage.close(value);
      });
    }
  },
);

const NO_STORAGE: readonly [number, Parameters<typeof kitFor>[0]][] = [
  [PRIVATE_RPMB, PRIVATE],
  [7, PRIVATE],
];

test.each(NO_STORAGE)("storage %d that is not built has nothing", (place, built) => {
  kitFor(built).run(function* ({ storage }) {
    const found = yield* storage.open(place, id("x"), ACCESS_READ);
    expect(found.result).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    const made = yield* storage.create(place, id("x"), ALL, 0, NONE);
    expect(made.result).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    const enumerator = storage.allocateEnumerator();
    const started = yield* storage.startEnumerator(enumerator, place);
    expect(started).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  });
});

test("handles share an object only as both say, and a name that is made or moved to is taken", () => {
  const both = SHARE_READ | SHARE_WRITE;
  const cases: [first: number, second: number, allowed: boolean][] = [
    [ACCESS_READ, ACCESS_READ, false],
    [ACCESS_READ | SHARE_READ, ACCESS_READ | SHARE_READ, true],
    [ACCESS_READ | SHARE_READ, ACCESS_READ, false],
    [ACCESS_WRITE | SHARE_WRITE, ACCESS_WRITE | SHARE_WRITE, true],
    [ACCESS_WRITE | SHARE_READ, ACCESS_READ | SHARE_READ, false],
    [ACCESS_WRITE | both, ACCESS_READ | both, true],
    [ACCESS_READ | both, ACCESS_WRITE_META, false],
    [ACCESS_READ | both, ACCESS_WRITE_META | both, false],
    [0, 0, true],
    [SHARE_READ, SHARE_READ, true],
    [SHARE_READ, 0, false],
    [both, SHARE_READ, false],
  ];
  kitFor(PRIVATE).run(function* ({ storage }) {
    const made = yield* storage.create(PRIVATE, id("a"), ACCESS_WRITE, 0, NONE);
    yield* storage.close(made.value);
    for (const [first, second, allowed] of cases) {
      const one = yield* storage.open(PRIVATE, id("a"), first);
      const two = yield* storage.open(PRIVATE, id("a"), second);
      const expected = allowed ? 0 : TEEC.TEEC_ERROR_ACCESS_CONFLICT;
      expect({ first, second, result: two.result }).toEqual({ first, second, result: expected });
      yield* storage.close(one.value);
      yield* storage.close(two.value);
    }
    const held = yield* storage.open(PRIVATE, id("a"), ACCESS_WRITE_META);
    const over = yield* storage.create(PRIVATE, id("a"), ALL | OVERWRITE, 0, NONE);
    expect(over.result).toBe(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    const other = yield* storage.create(PRIVATE, id("b"), ALL, 0, NONE);
    expect(yield* storage.rename(other.value, id("a"))).toBe(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    yield* storage.close(held.value);
    expect(yield* storage.rename(other.value, id("a"))).toBe(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    expect(yield* storage.rename(other.value, id("c"))).toBe(0);
    expect((yield* storage.open(PRIVATE, id("b"), 0)).result).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  });
});

type Misuse = (tee: TeeApi, object: number) => SecureTask<unknown>;
const MISUSES: [string, number, number, Misuse][] = [
  [
    "reads without the right to",
    TEEC.TEEC_ERROR_ACCESS_CONFLICT,
    ACCESS_WRITE,
    ({ storage }, o) => storage.read(o, 1),
  ],
  [
    "writes without the right to",
    TEEC.TEEC_ERROR_ACCESS_CONFLICT,
    ACCESS_READ,
    ({ storage }, o) => storage.write(o, id("x")),
  ],
  [
    "truncates without the right to",
    TEEC.TEEC_ERROR_ACCESS_CONFLICT,
    ACCESS_READ,
    ({ storage }, o) => storage.truncate(o, 0),
  ],
  [
    "deletes without the right to",
    TEEC.TEEC_ERROR_ACCESS_CONFLICT,
    ACCESS_READ,
    ({ storage }, o) => storage.closeAndDelete(o),
  ],
  [
    "renames without the right to",
    TEEC.TEEC_ERROR_BAD_STATE,
    ACCESS_READ,
    ({ storage }, o) => storage.rename(o, id("x")),
  ],
  [
    "uses a handle of nobody's",
    TEEC.TEEC_ERROR_BAD_STATE,
    ALL,
    ({ storage }) => storage.read(0xffff_bad0, 1),
  ],
  [
    "opens with flags that do not exist",
    TEEC.TEEC_ERROR_BAD_PARAMETERS,
    ALL,
    ({ storage }) => storage.open(PRIVATE, id("x"), OVERWRITE),
  ],
  [
    "names an object with 65 bytes",
    TEEC.TEEC_ERROR_BAD_PARAMETERS,
    ALL,
    ({ storage }) => storage.open(PRIVATE, new Uint8Array(65), 0),
  ],
  [
    "frees an enumerator of nobody's",
    TEEC.TEEC_ERROR_BAD_PARAMETERS,
    ALL,
    ({ storage }) => storage.freeEnumerator(0xbad0),
  ],
];

test.each(MISUSES)(
  "a TA that %s panics, and its objects are free again",
  (_what, code, flags, misuse) => {
    const kit = kitFor(PRIVATE);
    kit.run(function* ({ storage }) {
      yield* storage.close((yield* storage.create(PRIVATE, id("a"), ALL, 0, id("data"))).value);
    });
    const { ret } = kit.attempt(function* (tee) {
      yield* misuse(tee, (yield* tee.storage.open(PRIVATE, id("a"), flags)).value);
    });
    expect(ret).toBe(TEEC.TEEC_ERROR_TARGET_DEAD);
    expect(kit.kit.console).toContain(`E/TC:? 0 TA panicked with code 0x${code.toString(16)}`);
    expect(kit.kit.world.partitions.all[0]?.storage.objects.count).toBe(0);
    expect(kit.kit.files.openCount).toBe(0);
  },
);

test("a TA sees its own objects only, under the same name as another's too", () => {
  for (const place of [PRIVATE_REE, PRIVATE_RPMB]) {
    const kit = kitFor(place);
    const own = (text: string) =>
      function* ({ storage }: TeeApi): SecureTask {
        yield* storage.close((yield* storage.create(place, id("a"), ALL, 0, id(text))).value);
      };
    kit.run(own("mine"));
    kit.run(function* ({ storage }) {
      const found = yield* storage.open(place, id("a"), ACCESS_READ);
      expect(found.result).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
      const started = yield* storage.startEnumerator(storage.allocateEnumerator(), place);
      expect(started).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    }, OTHER_SCRIPT_UUID);
    kit.run(own("yours"), OTHER_SCRIPT_UUID);
    kit.run(function* ({ storage }) {
      const { value } = yield* storage.open(place, id("a"), ACCESS_READ);
      expect((yield* storage.read(value, 9)).value).toEqual(id("mine"));
    });
  }
});

test("RPMB-5.6.ENCRYPTION: nothing of an object can be read in the normal world's files or in the partition", () => {
  const secret = id("the very secret text of a trusted application");
  for (const place of [PRIVATE_REE, PRIVATE_RPMB]) {
    const device = part();
    const kit = new StorageKit({ build: WITH_RPMB, devices: [device] });
    kit.run(function* ({ storage }) {
      yield* storage.create(place, id("object"), ALL, 0, secret);
    });
    const stored = [...kit.kit.files.files.values(), device.image()];
    expect(stored.some((bytes) => Buffer.from(bytes).includes(Buffer.from(secret)))).toBe(false);
  }
});

/** One step of a history, on one of three names. */
type Step =
  | {
      readonly kind: "create";
      readonly name: number;
      readonly size: number;
      readonly over: boolean;
    }
  | { readonly kind: "write"; readonly name: number; readonly at: number; readonly size: number }
  | { readonly kind: "truncate"; readonly name: number; readonly size: number }
  | { readonly kind: "rename"; readonly name: number; readonly to: number }
  | { readonly kind: "delete"; readonly name: number }
  | { readonly kind: "read"; readonly name: number }
  | { readonly kind: "list" }
  | { readonly kind: "reboot" };

const name = fc.nat(2);
const size = fc.oneof(fc.nat(300), fc.nat(9000), fc.constantFrom(0, 255, 256, 4071, 4072, 4096));
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant("create" as const), name, size, over: fc.boolean() }),
  fc.record({ kind: fc.constant("write" as const), name, at: size, size }),
  fc.record({ kind: fc.constant("truncate" as const), name, size }),
  fc.record({ kind: fc.constant("rename" as const), name, to: name }),
  fc.record({ kind: fc.constant("delete" as const), name }),
  fc.record({ kind: fc.constant("read" as const), name }),
  fc.constantFrom({ kind: "list" as const }, { kind: "reboot" as const }),
);
const pattern = (length: number, salt: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => index * 7 + salt);
const nameOf = (index: number): Uint8Array => id(`object ${index}`);

/** Applies a step to the storage and to the model; they must agree. */
function* apply(
  { storage }: TeeApi,
  place: number,
  one: Step,
  salt: number,
  model: Map<number, Uint8Array>,
): SecureTask {
  if (one.kind === "reboot") return;
  if (one.kind === "list") {
    const found: string[] = [];
    const enumerator = storage.allocateEnumerator();
    let result = yield* storage.startEnumerator(enumerator, place);
    while (result === 0) {
      const next = yield* storage.nextObject(enumerator);
      ({ result } = next);
      if (next.value !== undefined) found.push(new TextDecoder().decode(next.value.id));
    }
    expect(result).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    yield* storage.freeEnumerator(enumerator);
    expect(found.toSorted()).toEqual([...model.keys()].map((key) => `object ${key}`).toSorted());
    return;
  }
  const known = model.get(one.name);
  if (one.kind === "create") {
    const bytes = pattern(one.size, salt);
    const flags = one.over ? ALL | OVERWRITE : ALL;
    const made = yield* storage.create(place, nameOf(one.name), flags, 0, bytes);
    const conflict = known !== undefined && !one.over;
    expect(made.result).toBe(conflict ? TEEC.TEEC_ERROR_ACCESS_CONFLICT : 0);
    if (!conflict) model.set(one.name, bytes);
    yield* storage.close(made.value);
    return;
  }
  const opened = yield* storage.open(place, nameOf(one.name), ALL);
  expect(opened.result).toBe(known === undefined ? TEEC.TEEC_ERROR_ITEM_NOT_FOUND : 0);
  if (known === undefined) return;
  const object = opened.value;
  if (one.kind === "delete") {
    expect(yield* storage.closeAndDelete(object)).toBe(0);
    model.delete(one.name);
    return;
  }
  if (one.kind === "write") {
    const bytes = pattern(one.size, salt);
    expect(storage.seek(object, one.at, TEE_DATA_SEEK.SET)).toBe(0);
    expect(yield* storage.write(object, bytes)).toBe(0);
    const end = bytes.length === 0 ? 0 : one.at + bytes.length;
    const next = new Uint8Array(Math.max(known.length, end));
    next.set(known);
    if (bytes.length > 0) next.set(bytes, one.at);
    model.set(one.name, next);
  } else if (one.kind === "truncate") {
    expect(yield* storage.truncate(object, one.size)).toBe(0);
    const next = new Uint8Array(one.size);
    next.set(known.subarray(0, one.size));
    model.set(one.name, next);
  } else if (one.kind === "rename") {
    const result = yield* storage.rename(object, nameOf(one.to));
    const taken = model.has(one.to);
    expect(result).toBe(taken ? TEEC.TEEC_ERROR_ACCESS_CONFLICT : 0);
    if (!taken) {
      model.set(one.to, known);
      model.delete(one.name);
    }
  } else {
    const read = yield* storage.read(object, known.length + 10);
    expect(Buffer.from(read.value).equals(known)).toBe(true);
    expect(storage.info(object).dataSize).toBe(known.length);
  }
  yield* storage.close(object);
}

test.each([PRIVATE_REE, PRIVATE_RPMB])(
  "any history of operations in storage %d is that of a map from names to bytes",
  (place) => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 5, maxLength: 25 }), (steps) => {
        const model = new Map<number, Uint8Array>();
        let kit = kitFor(place);
        for (const [salt, one] of steps.entries()) {
          if (one.kind === "reboot") kit = kit.reboot();
          else kit.run((tee) => apply(tee, place, one, salt, model));
        }
        kit = kit.reboot();
        kit.run(function* (tee) {
          yield* apply(tee, place, { kind: "list" }, 0, model);
          for (const key of model.keys()) {
            yield* apply(tee, place, { kind: "read", name: key }, 0, model);
          }
        });
        expect(kit.kit.world.partitions.all[0]?.storage.objects.count).toBe(0);
      }),
      { numRuns: budget(8, 200) },
    );
  },
);
