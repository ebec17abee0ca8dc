import { expect, jest, test } from "@jest/globals";
import { budget, Random } from "../../base/index.ts";
import { FS_OP, RPC_CMD, TEEC } from "../../optee-abi/index.ts";
import { deriveRpmbKey, EmmcRpmb, PowerCut, SUPPLICANT_CID, zeroHuk } from "../../rpmb/index.ts";
import { DEBIAN_4_5, OPTEE_4_10, type OpteeBuild } from "../build.ts";
import { TEE_DATA_FLAG, TEE_DATA_SEEK, TEE_STORAGE, type TeeApi } from "../tas/index.ts";
import { StorageKit } from "../testkit/storage-kit.ts";
import type { SecureTask } from "../thread.ts";

jest.setTimeout(120_000);

const { PRIVATE_REE, PRIVATE_RPMB } = TEE_STORAGE;
const { ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE_META, OVERWRITE } = TEE_DATA_FLAG;
const ALL = ACCESS_READ | ACCESS_WRITE | ACCESS_WRITE_META;
const id = (text: string): Uint8Array => new TextEncoder().encode(text);
const fill = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

const KEY = deriveRpmbKey(zeroHuk(), SUPPLICANT_CID, { compat: true });
const part = (): EmmcRpmb => new EmmcRpmb({ cid: SUPPLICANT_CID, sizeMultiplier: 1, key: KEY });
const OLD = fill(5000, 1);
const NEW = fill(5000, 2);
const KEPT = fill(300, 3);

interface Kind {
  readonly name: string;
  readonly build: Partial<OpteeBuild>;
  readonly place: number;
  readonly rpmb: boolean;
}
const KINDS: readonly Kind[] = [
  { name: "REE-FS", build: OPTEE_4_10, place: PRIVATE_REE, rpmb: false },
  {
    name: "REE-FS anchored in RPMB",
    build: { ...OPTEE_4_10, rpmbFs: true },
    place: PRIVATE_REE,
    rpmb: true,
  },
  {
    name: "RPMB",
    build: { ...OPTEE_4_10, rpmbFs: true, reeFs: false },
    place: PRIVATE_RPMB,
    rpmb: true,
  },
];

const kitOf = ({ build, rpmb }: Kind): { kit: StorageKit; device: EmmcRpmb } => {
  const device = part();
  return { kit: new StorageKit({ build, devices: rpmb ? [device] : [] }), device };
};

type Operation = (tee: TeeApi, place: number) => SecureTask;

/** Operations on "old" (5000 bytes of 1), and what may be there afterwards, by name. */
const OPERATIONS: [string, Operation, Record<string, readonly (Uint8Array | undefined)[]>][] = [
  [
    "create",
    function* ({ storage }, place) {
      yield* storage.create(place, id("new"), ALL, 0, NEW);
    },
    { old: [OLD], new: [undefined, NEW] },
  ],
  [
    "write",
    function* ({ storage }, place) {
      const { value } = yield* storage.open(place, id("old"), ALL);
      yield* storage.write(value, NEW);
    },
    { old: [OLD, NEW] },
  ],
  [
    "rename",
    function* ({ storage }, place) {
      const { value } = yield* storage.open(place, id("old"), ALL);
      yield* storage.rename(value, id("new"));
    },
    { old: [OLD, undefined], new: [undefined, OLD] },
  ],
  [
    "delete",
    function* ({ storage }, place) {
      const { value } = yield* storage.open(place, id("old"), ALL);
      yield* storage.closeAndDelete(value);
    },
    { old: [OLD, undefined] },
  ],
  [
    "extend",
    function* ({ storage }, place) {
      const { value } = yield* storage.open(place, id("old"), ALL);
      yield* storage.truncate(value, 9000);
    },
    { old: [OLD, Uint8Array.from([...OLD, ...fill(4000, 0)])] },
  ],
];

/** The object's contents; undefined when there is none. */
function* contents(
  { storage }: TeeApi,
  place: number,
  name: string,
): SecureTask<Uint8Array | undefined> {
  const { result, value } = yield* storage.open(place, id(name), ACCESS_READ);
  if (result === TEEC.TEEC_ERROR_ITEM_NOT_FOUND) return undefined;
  if (result !== 0) throw new Error(`${name}: 0x${result.toString(16)}`);
  const read = yield* storage.read(value, 20_000);
  if (read.result !== 0) throw new Error(`${name}: 0x${read.result.toString(16)}`);
  yield* storage.close(value);
  return read.value;
}

function* prepare({ storage }: TeeApi, place: number): SecureTask {
  for (const [name, bytes] of [
    ["old", OLD],
    ["kept", KEPT],
  ] as const) {
    yield* storage.close((yield* storage.create(place, id(name), ALL, 0, bytes)).value);
  }
}

/** Cuts the power before the `count`-th thing that changes a file, or frame that crosses the bus. */
function cutAt(kit: StorageKit, device: EmmcRpmb, where: "files" | "frames", count: number): void {
  if (where === "frames") {
    device.power.cutAfter(count);
    return;
  }
  const CHANGES: readonly number[] = [FS_OP.CREATE, FS_OP.WRITE, FS_OP.TRUNCATE, FS_OP.REMOVE];
  let seen = 0;
  kit.kit.onCommand = (message): boolean => {
    if (message.cmd !== RPC_CMD.FS || !CHANGES.includes(Number(message.params[0]?.a))) return false;
    if (seen === count) throw new PowerCut();
    seen += 1;
    return false;
  };
}

const isOneOf = (
  seen: Uint8Array | undefined,
  allowed: readonly (Uint8Array | undefined)[],
): boolean =>
  allowed.some((one) =>
    one === undefined || seen === undefined ? one === seen : Buffer.from(one).equals(seen),
  );

const CUTS = KINDS.flatMap((kind) =>
  (["files", "frames"] as const)
    .filter((where) => (where === "files" ? kind.build.reeFs !== false : kind.rpmb))
    .flatMap((where) =>
      OPERATIONS.map(([name, run, allowed]) => ({ name, where, kind, run, allowed })),
    ),
);

test.each(CUTS)(
  "power cut at any of the $where of a $name, storage in $kind.name: nothing acknowledged is lost",
  ({ name, where, kind, run, allowed }) => {
    const before = kitOf(kind);
    before.kit.run((tee) => prepare(tee, kind.place));
    before.kit.closeAll();
    let cuts = 0;
    // The nightly lane takes every frame; the test lane does so with small objects (rpmb-faults.test.ts).
    const stride = where === "frames" ? budget(17, 1) : 1;
    for (let count = 0; ; count += stride) {
      const device = before.device.copy();
      const kit = before.kit.reboot({ devices: kind.rpmb ? [device] : [] });
      kit.run(function* () {});
      cutAt(kit, device, where, count);
      let cut = false;
      try {
        kit.run((tee) => run(tee, kind.place));
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
        cut = true;
      }
      device.powerOn();
      const after = kit.reboot();
      const seen = after.run(function* (tee) {
        expect(yield* contents(tee, kind.place, "kept")).toEqual(KEPT);
        const found: Record<string, Uint8Array | undefined> = {};
        for (const key of Object.keys(allowed)) found[key] = yield* contents(tee, kind.place, key);
        return found;
      });
      for (const [key, values] of Object.entries(allowed)) {
        expect([count, key, isOneOf(seen[key], values)]).toEqual([count, key, true]);
      }
      // What was not lost is not doubled either.
      if (name === "rename")
        expect((seen["old"] === undefined) !== (seen["new"] === undefined)).toBe(true);
      if (!cut) {
        for (const [key, values] of Object.entries(allowed)) {
          expect(isOneOf(seen[key], [values.at(-1)])).toBe(true);
        }
        break;
      }
      cuts += 1;
    }
    expect(cuts).toBeGreaterThan(1);
  },
);

test.each(KINDS)(
  "power cut at any point of the first use, storage in $name: it can be used afterwards, by the second attempt at the latest",
  (kind) => {
    for (const where of ["files", "frames"] as const) {
      if (where === "frames" ? !kind.rpmb : kind.build.reeFs === false) continue;
      for (let count = 0; ; count += where === "frames" ? budget(23, 1) : 1) {
        const { kit, device } = kitOf(kind);
        cutAt(kit, device, where, count);
        let cut = false;
        try {
          kit.run((tee) => prepare(tee, kind.place));
        } catch (error) {
          if (!(error instanceof PowerCut)) throw error;
          cut = true;
        }
        if (!cut) break;
        device.powerOn();
        const after = kit.reboot();
        // What was half made and nothing vouches for is removed by whoever finds it.
        expect([0, TEEC.TEEC_ERROR_CORRUPT_OBJECT]).toContain(after.attempt(function* () {}).ret);
        after.run(function* (tee) {
          const { storage } = tee;
          const made = yield* storage.create(kind.place, id("later"), ALL | OVERWRITE, 0, NEW);
          expect([where, count, made.result]).toEqual([where, count, 0]);
          yield* storage.close(made.value);
          expect(yield* contents(tee, kind.place, "later")).toEqual(NEW);
        });
      }
    }
  },
);

/** How a TA can be loaded after the power went during the first use, at the second attempt. */
function outcomes(build: OpteeBuild): Set<number> {
  const seen = new Set<number>();
  for (let count = 0; count < 12; count += 1) {
    const kit = new StorageKit({ build });
    cutAt(kit, part(), "files", count);
    try {
      kit.run(function* () {});
    } catch (error) {
      if (!(error instanceof PowerCut)) throw error;
    }
    const after = kit.reboot();
    after.attempt(function* () {});
    seen.add(after.attempt(function* () {}).ret);
  }
  return seen;
}

test("up to 4.9 a directory that was half made when the power went keeps storage from opening; since 4.10 it is removed by the first that finds it", () => {
  expect([...outcomes(DEBIAN_4_5)]).toContain(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
  expect([...outcomes(OPTEE_4_10)]).toEqual([0]);
});

test("a write to the normal world's files that fails is told, and what was there stays", () => {
  const { kit } = kitOf(KINDS[0] as Kind);
  kit.run((tee) => prepare(tee, PRIVATE_REE));
  for (let count = 0; count < 12; count += 1) {
    const later = kit.reboot();
    later.run(function* () {});
    let seen = 0;
    later.kit.onCommand = (message, secure, at): boolean => {
      if (message.cmd !== RPC_CMD.FS || Number(message.params[0]?.a) !== FS_OP.WRITE) return false;
      seen += 1;
      if (seen !== count + 1) return false;
      secure.reply(message, at, TEEC.TEEC_ERROR_STORAGE_NO_SPACE);
      return true;
    };
    const result = later.run(function* ({ storage }) {
      const { value } = yield* storage.open(PRIVATE_REE, id("old"), ALL);
      return yield* storage.write(value, NEW);
    });
    expect(result).toBe(count < seen ? TEEC.TEEC_ERROR_STORAGE_NO_SPACE : 0);
    later.kit.onCommand = undefined;
    later.closeAll();
    for (const reader of [later, later.reboot()]) {
      reader.run(function* (tee) {
        const old = yield* contents(tee, PRIVATE_REE, "old");
        expect(isOneOf(old, result === 0 ? [NEW] : [OLD])).toBe(true);
        expect(yield* contents(tee, PRIVATE_REE, "kept")).toEqual(KEPT);
      });
    }
    if (result === 0) return;
  }
  throw new Error("the write never succeeded");
});

const REFUSALS: readonly number[] = [
  TEEC.TEEC_ERROR_CORRUPT_OBJECT,
  TEEC.TEEC_ERROR_SECURITY,
  TEEC.TEEC_ERROR_TARGET_DEAD,
];

test.each([
  ["without an anchor", DEBIAN_4_5, false],
  ["anchored in RPMB", { ...OPTEE_4_10, rpmbFs: true }, true],
] as const)(
  "a byte of a stored file that is changed, %s, is found out or not in use",
  (_name, build, rpmb) => {
    const device = part();
    const before = new StorageKit({ build, devices: rpmb ? [device] : [] });
    before.run((tee) => prepare(tee, PRIVATE_REE));
    before.closeAll();
    const files = before.copyFiles();
    const random = new Random(7);
    let found = 0;
    // Heads and nodes at the start of each file byte by byte, data blocks here and there.
    for (const [name, bytes] of files) {
      const heads = Array.from({ length: 136 }, (_, at) => at);
      const nodes = Array.from({ length: 4 * 66 }, (_, at) => 4096 + at);
      const data = Array.from(
        { length: 12 },
        () => 8192 + random.below(Math.max(1, bytes.length - 8192)),
      );
      const places = [...heads, ...nodes, ...data].filter((at) => at < bytes.length);
      for (const [turn, at] of places.entries()) {
        if (turn % budget(37, 1) !== 0) continue;
        const changed = new Map(files);
        changed.set(
          name,
          bytes.map((byte, index) => (index === at ? byte ^ (1 + random.below(255)) : byte)),
        );
        const kit = before.reboot({ files: changed, devices: rpmb ? [device.copy()] : [] });
        const { ret, value } = kit.attempt(function* ({ storage }) {
          const opened = yield* storage.open(PRIVATE_REE, id("old"), ACCESS_READ);
          if (opened.result !== 0) return opened.result;
          const read = yield* storage.read(opened.value, 20_000);
          return read.result === 0 ? read.value : read.result;
        });
        if (value instanceof Uint8Array) {
          expect([name, at, Buffer.from(value).equals(OLD)]).toEqual([name, at, true]);
        } else {
          expect(REFUSALS).toContain(value ?? ret);
          found += 1;
        }
      }
    }
    expect(found).toBeGreaterThan(15);
  },
);

test("RPMB-4.REE_FS_INTEGRITY: older files are taken for new without an anchor, and are refused with one", () => {
  for (const rpmb of [false, true]) {
    const device = part();
    const kit = new StorageKit({ build: { ...OPTEE_4_10, rpmbFs: rpmb }, devices: [device] });
    kit.run((tee) => prepare(tee, PRIVATE_REE));
    kit.closeAll();
    const older = kit.copyFiles();
    kit.run(function* ({ storage }) {
      const { value } = yield* storage.open(PRIVATE_REE, id("old"), ALL);
      storage.seek(value, 0, TEE_DATA_SEEK.SET);
      // Twice: both copies of everything in the directory are new.
      yield* storage.write(value, NEW);
      yield* storage.write(value, NEW);
    });
    const { ret, value } = kit
      .reboot({ files: older })
      .attempt((tee) => contents(tee, PRIVATE_REE, "old"));
    if (rpmb) expect(ret).toBe(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
    else expect(isOneOf(value, [OLD])).toBe(true);
    const none = kit.reboot({ files: new Map() }).attempt(function* () {});
    expect(none.ret).toBe(rpmb ? TEEC.TEEC_ERROR_SECURITY : 0);
    const build = { ...OPTEE_4_10, rpmbFs: rpmb, reeFsAllowReset: true };
    expect(kit.reboot({ files: new Map(), build }).attempt(function* () {}).ret).toBe(0);
  }
});

test("an object whose file was exchanged for an older one, or taken away, is corrupt and is removed", () => {
  const kit = new StorageKit();
  kit.run((tee) => prepare(tee, PRIVATE_REE));
  kit.closeAll();
  const older = kit.copyFiles();
  kit.run(function* ({ storage }) {
    const { value } = yield* storage.open(PRIVATE_REE, id("old"), ALL);
    for (const byte of [4, 5]) {
      storage.seek(value, 0, TEE_DATA_SEEK.SET);
      yield* storage.write(value, fill(5000, byte));
    }
  });
  const changed = [...older.keys()].find((name) => {
    const now = kit.kit.files.files.get(name);
    return (
      name !== "/dirf.db" && now !== undefined && !Buffer.from(now).equals(older.get(name) ?? now)
    );
  });
  if (changed === undefined) throw new Error("no file was changed");
  for (const replacement of [older.get(changed), undefined]) {
    const files = kit.copyFiles();
    if (replacement === undefined) files.delete(changed);
    else files.set(changed, replacement);
    kit.reboot({ files }).run(function* (tee) {
      const { storage } = tee;
      const opened = yield* storage.open(PRIVATE_REE, id("old"), ACCESS_READ);
      expect(opened.result).toBe(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
      expect(yield* contents(tee, PRIVATE_REE, "old")).toBeUndefined();
      expect(yield* contents(tee, PRIVATE_REE, "kept")).toEqual(KEPT);
    });
  }
});
