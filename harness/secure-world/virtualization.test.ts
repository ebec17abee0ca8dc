import { expect, test } from "@jest/globals";
import { MSG_CMD, OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { DEBIAN_4_5 } from "./build.ts";
import type { NotificationDriver } from "./notifications.ts";
import { SecurePool } from "./secure-pool.ts";
import { CRYPT_UUID, INVOKE_TESTS_UUID } from "./tas/index.ts";
import { openMessage, SecureKit } from "./testkit/kit.ts";

const { RETURN_FROM_RPC } = OPTEE_SMC;
const MARKS = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66];

/** Low words of x0 to x7 with marks in x1 to x6. */
function fast(kit: SecureKit, fid: number, a7 = 0, marks = MARKS): number[] {
  const six = Array.from({ length: 6 }, (_, index) => marks[index] ?? 0);
  const registers = kit.smc(fid, ...six, a7);
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

const create = (kit: SecureKit, id: number, a7 = 0): number | undefined =>
  fast(kit, OPTEE_SMC.VM_CREATED, a7, [id])[0];
const destroy = (kit: SecureKit, id: number, a7 = 0): number | undefined =>
  fast(kit, OPTEE_SMC.VM_DESTROYED, a7, [id])[0];

const virtualized = (): SecureKit => new SecureKit({ build: { virtualization: true } });

test("SMC-8.4: a client that was not announced gets ENOTAVAIL for every fast call", () => {
  const kit = virtualized();
  for (const fid of [OPTEE_SMC.CALLS_UID, OPTEE_SMC.GET_THREAD_COUNT, 0xb200_00ff]) {
    expect(fast(kit, fid, 1)).toEqual([7, ...MARKS, 1]);
  }
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0)[0]).toBe(0x384fb3e0);
  expect(fast(kit, OPTEE_SMC.CALLS_COUNT, 0)[0]).toBe(14);
});

test("SMC-8.1, SMC-3.VM_CREATED: an announced client is served, another is not", () => {
  const kit = virtualized();
  expect(fast(kit, OPTEE_SMC.VM_CREATED, 0, [1])[0]).toBe(0);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 1, [0]).slice(0, 4)).toEqual([
    0, 0xfd, 0x42, 4,
  ]);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 6, [0])[0]).toBe(7);
});

test("SMC-8.2, SMC-3.VM_CREATED, SMC-3.VM_DESTROYED: partitions end where the memory for them does", () => {
  const kit = virtualized();
  expect([create(kit, 1), create(kit, 2), create(kit, 3)]).toEqual([0, 0, 7]);
  // Duplicate ids are not detected: they only need memory, and the newest hides the older.
  expect(destroy(kit, 2)).toBe(0);
  expect([create(kit, 1), create(kit, 4)]).toEqual([0, 7]);
  const newest = kit.world.partitions.select(1);
  expect(destroy(kit, 1)).toBe(0);
  expect(kit.world.partitions.select(1)).not.toBe(newest);
  expect(kit.world.partitions.select(1)).toBeDefined();
  // An id that is not known is destroyed with success, and only the hypervisor may ask.
  expect([destroy(kit, 99), destroy(kit, 1, 1), create(kit, 5, 1)]).toEqual([0, 7, 7]);
});

test("SMC-10.VM_CREATED_ID_0: id 0 is refused since 4.5.0 and accepted before", () => {
  expect(fast(virtualized(), OPTEE_SMC.VM_CREATED, 0, [0])[0]).toBe(7);
  const old = new SecureKit({
    build: { virtualization: true, version: { major: 4, minor: 4 } },
  });
  expect(fast(old, OPTEE_SMC.VM_CREATED, 0, [0])[0]).toBe(0);
});

test("SMC-8.6: client ids that are equal modulo 65536 select one partition", () => {
  const kit = virtualized();
  fast(kit, OPTEE_SMC.VM_CREATED, 0, [0x1_0001]);
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0x7_0001)[0]).toBe(0x384fb3e0);
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0x1_0000)[0]).toBe(7);
});

test("SMC-8.7: notifications of no guest panic the core, and it stays dead", () => {
  const kit = virtualized();
  expect(() => fast(kit, OPTEE_SMC.ENABLE_ASYNC_NOTIF, 0)).toThrow(/panicked/);
  expect(() => fast(kit, OPTEE_SMC.CALLS_UID, 0)).toThrow(/panicked/);
});

test("SMC-8.5, SMC-3.VM_DESTROYED: what is suspended in a destroyed partition vanishes with it", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  kit.smc(OPTEE_SMC.VM_CREATED, 1);
  kit.clientId = 1;
  kit.start(kit.put(openMessage(CRYPT_UUID)));
  kit.smc(OPTEE_SMC.VM_DESTROYED, 1);
  expect(kit.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1).get(0)).toBe(7);
  kit.smc(OPTEE_SMC.VM_CREATED, 1);
  expect(kit.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1).get(0)).toBe(3);
});

test("SMC-8.1: a client id has 16 bits, and those of 65536 are the hypervisor's", () => {
  const kit = virtualized();
  expect([create(kit, 0x1_0000), create(kit, 0xffff_0001)]).toEqual([7, 0]);
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 1)[0]).toBe(0x384fb3e0);
  expect([destroy(kit, 0x5_0001), fast(kit, OPTEE_SMC.CALLS_UID, 1)[0]]).toEqual([0, 7]);
});

test("SMC-8.2: a partition is three pieces of secure RAM, and what is left of the share is for TAs", () => {
  const kit = virtualized();
  const { taRam, partitionRam, partitionTables } = DEBIAN_4_5;
  const { partitions } = kit.world;
  expect(partitions.freeRam).toBe(taRam);
  create(kit, 1);
  const [partition] = partitions.all;
  const sizes = partition?.memory.map(({ size }) => size) ?? [];
  const share = taRam / 2 - partitionRam - partitionTables;
  expect(sizes).toEqual([partitionRam, share, partitionTables]);
  expect([partition?.taRamLeft, share % 4096]).toEqual([share, 0]);
  expect(partitions.freeRam).toBe(taRam / 2);
  // Each guest starts with data of its own.
  create(kit, 2);
  const [first, second] = partitions.all;
  expect(first?.threads[0]).not.toBe(second?.threads[0]);
  expect(partitions.freeRam).toBe(0);
  // What does not fit whole is not begun.
  expect(create(kit, 3)).toBe(SMC_RETURN.ENOTAVAIL);
  destroy(kit, 1);
  expect(partitions.freeRam).toBe(taRam / 2);
  expect(kit.console).toEqual([
    "I/TC: Added guest 1",
    "I/TC: Added guest 2",
    "I/TC: Removing guest 1",
  ]);
});

test("SMC-8.2: guest count and partition size decide how many guests fit", () => {
  for (const guestCount of [1, 3, 8]) {
    const kit = new SecureKit({ build: { virtualization: true, guestCount } });
    const made = Array.from({ length: 12 }, (_, index) => create(kit, index + 1));
    expect(made.filter((a0) => a0 === 0)).toHaveLength(guestCount);
    expect(made.slice(guestCount)).toEqual(Array(12 - guestCount).fill(7));
  }
  const large = new SecureKit({
    build: { virtualization: true, partitionRam: DEBIAN_4_5.taRam },
  });
  expect(create(large, 1)).toBe(7);
});

test("SMC-8.2: secure RAM is handed out lowest first and joined again when it comes back", () => {
  const pool = new SecurePool(10);
  const [a] = pool.takeAll([3]) ?? [];
  const [b, c] = pool.takeAll([3, 4]) ?? [];
  expect([a, b, c]).toEqual([
    { base: 0, size: 3 },
    { base: 3, size: 3 },
    { base: 6, size: 4 },
  ]);
  if (a === undefined || b === undefined || c === undefined) return;
  pool.give(c);
  pool.give(a);
  // Seven bytes are free, and not in one piece; nothing of a refused request stays taken.
  expect([pool.takeAll([5]), pool.takeAll([4, 4]), pool.free]).toEqual([undefined, undefined, 7]);
  pool.give(b);
  expect(pool.takeAll([10])).toEqual([{ base: 0, size: 10 }]);
  expect(pool.takeAll([0])).toBeUndefined();
});

test("SMC-8.3, SMC-8.5: destroying is safe during a call, and the memory goes when the last core leaves", () => {
  let kit: SecureKit | undefined;
  const seen: unknown[] = [];
  const driver: NotificationDriver = {
    atomic: (event, client) => {
      seen.push(`${event} ${client}`);
      // A second VM_DESTROYED while the first is under way finds nothing.
      if (event === "shutdown" && kit !== undefined) seen.push(destroy(kit, client));
    },
    *yielding(event) {
      if (kit === undefined || event !== "bottom-half") return;
      const before = kit.world.partitions.freeRam;
      // Another core takes the guest down in the middle of this call.
      seen.push(destroy(kit, 1), fast(kit, OPTEE_SMC.CALLS_UID, 1)[0]);
      seen.push(kit.world.partitions.freeRam - before, create(kit, 3));
      yield* [];
    },
  };
  kit = new SecureKit({ build: { virtualization: true }, drivers: [driver] });
  create(kit, 1);
  create(kit, 2);
  fast(kit, OPTEE_SMC.ENABLE_ASYNC_NOTIF, 1);
  kit.clientId = 1;
  expect(kit.call({ cmd: MSG_CMD.DO_BOTTOM_HALF }).a0).toBe(0);
  expect(seen).toEqual(["started 1", "shutdown 1", 0, 0, 7, 0, 7]);
  expect(create(kit, 3)).toBe(0);
});

test("SMC-8.3: the newest of a double id ends first, once for each VM_DESTROYED", () => {
  const kit = virtualized();
  create(kit, 1);
  kit.clientId = 1;
  const old = kit.open(INVOKE_TESTS_UUID).session;
  create(kit, 1);
  expect(kit.close(old).ret).not.toBe(0);
  expect(destroy(kit, 1)).toBe(0);
  // The older one is visible again, with what it had.
  expect(kit.close(old).ret).toBe(0);
  expect([destroy(kit, 1), destroy(kit, 1)]).toEqual([0, 0]);
  expect(kit.console.at(-1)).toBe("E/TC: Client with id 1 is not found");
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 1)[0]).toBe(7);
});

test("SMC-8.8, SMC-11.2: whoever calls with a guest's id in a7 is that guest to the secure world", () => {
  const kit = virtualized();
  create(kit, 1);
  create(kit, 2);
  kit.clientId = 1;
  const { session } = kit.open(INVOKE_TESTS_UUID);
  kit.clientId = 2;
  expect(kit.close(session).ret).not.toBe(0);
  kit.clientId = 1;
  expect(kit.close(session).ret).toBe(0);
});

test("SMC-10.A7_UNKNOWN: before 4.2 a yielding call of an unknown client stops the secure world", () => {
  const old = new SecureKit({
    build: { virtualization: true, version: { major: 4, minor: 1 } },
  });
  expect(() => old.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 5)).toThrow(/panicked/);
  expect(() => fast(old, OPTEE_SMC.CALLS_UID)).toThrow(/panicked/);
  const fresh = new SecureKit({
    build: { virtualization: true, version: { major: 4, minor: 2 } },
  });
  expect(fresh.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 5).get(0)).toBe(7);
});
