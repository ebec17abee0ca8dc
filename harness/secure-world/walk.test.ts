import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { Registers } from "../machine/index.ts";
import {
  ATTR_TYPE,
  encodeMessage,
  isRpcReturn,
  MSG_CMD,
  OPTEE_SMC,
  RPC_FUNC,
  rpcFunction,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { DEBIAN_4_5, DEBIAN_4_5_VIRTUALIZED, OPTEE_4_10, type OpteeBuild } from "./build.ts";
import type { Partition } from "./partition.ts";
import { PSEUDO_TAS } from "./tas/index.ts";
import { openMessage, SecureKit } from "./testkit/kit.ts";
import { TINY_FLAGS, TinyTa } from "./testkit/tiny-tas.ts";

const PAGES = 12;
const POOL = 0x4200_0000;
const { CALL_WITH_ARG, RETURN_FROM_RPC, ENABLE_ASYNC_NOTIF } = OPTEE_SMC;
const YIELDING = [0x3200_0003, 0x3200_0004, 0x3200_0012, 0x3200_0013, 0x3200_0099];
const FAST = Object.values(OPTEE_SMC).filter((fid) => fid >= 0x8000_0000);

/** Addresses, cookies, indexes and nonsense, by number; pages are those of the walk. */
const word = fc.oneof(
  { weight: 4, arbitrary: fc.nat(PAGES - 1).map((index) => -1 - index) },
  fc.nat(6),
  fc.constantFrom(0x1001, 0x1002, 0x1003, POOL, POOL + 8, 0xe10_0000, 0x8000_0000, 0xffff_ffff),
  fc.nat(0xffff_ffff),
);
const cookie = fc.oneof(fc.nat(5), fc.constantFrom(0x1001, 0x1002, 0x1003));
const attr = fc.oneof(
  { weight: 5, arbitrary: fc.constantFrom(...Object.values(ATTR_TYPE), 0x20a, 0x209, 0x101) },
  fc.nat(0xffff),
);
const param = fc.record({ attr, a: word, b: fc.oneof(word, fc.nat(9000)), c: cookie });
const message = fc.record({
  cmd: fc.oneof({ weight: 9, arbitrary: fc.nat(12) }, fc.nat()),
  func: fc.nat(8),
  session: fc.nat(5),
  params: fc.array(param, { maxLength: 6 }),
});
const uuid = fc.nat(6);
const page = fc.nat(PAGES - 1);
const clientId = fc.oneof(
  { weight: 8, arbitrary: fc.constant(1) },
  fc.constantFrom(0, 2, 3, 0x1_0001),
);
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("open" as const), uuid, client: clientId, page }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("message" as const),
      message,
      page,
      client: clientId,
      fid: fc.constantFrom(...YIELDING),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant("serve" as const), which: fc.nat(7), client: clientId }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("answer" as const),
      which: fc.nat(7),
      words: fc.tuple(word, word, word, word),
      client: clientId,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("smc" as const),
      fid: fc.oneof(fc.constantFrom(...FAST, ...YIELDING), fc.nat(0xffff_ffff)),
      words: fc.tuple(word, word, word),
      client: clientId,
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("poke" as const), page, at: fc.nat(100), value: word }),
  },
  fc.record({ do: fc.constant("notify" as const), value: fc.nat(63), client: clientId }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

const RPC_FUNCS: ReadonlySet<number> = new Set(Object.values(RPC_FUNC));
/** Codes of calls that never had a thread. */
const EARLY: ReadonlySet<number> = new Set([
  SMC_RETURN.ETHREAD_LIMIT,
  SMC_RETURN.ERESUME,
  SMC_RETURN.ENOTAVAIL,
]);

/** As `expect`, for what is asked tens of thousands of times. */
function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`violated: ${what}`);
}

/** A secure world, pages to play with, and the calls that are suspended in it. */
class Walk {
  readonly kit: SecureKit;
  readonly pages: number[];
  readonly tas = Object.values(TINY_FLAGS).map((flags, digit) => new TinyTa(digit, flags));
  readonly suspended: { registers: Registers; client: number }[] = [];
  readonly build: OpteeBuild;

  constructor(build: OpteeBuild, interrupts: boolean) {
    let turn = 0;
    this.build = build;
    this.kit = new SecureKit({
      build,
      pseudoTas: PSEUDO_TAS,
      userTas: this.tas.map(({ ta }) => ta),
      ...(interrupts ? { interruptPending: () => (turn += 1) % 7 === 0 } : {}),
    });
    this.pages = Array.from({ length: PAGES }, () => this.kit.page());
    // Two of them are page lists of the others.
    const listed = Buffer.alloc(4096);
    for (const [index, at] of this.pages.slice(2).entries()) listed.writeUInt32LE(at, index * 8);
    for (const list of this.pages.slice(0, 2)) this.kit.poke(list, listed);
    if (build.virtualization) for (const id of [1, 2]) this.kit.smc(OPTEE_SMC.VM_CREATED, id);
  }

  number(value: number): number {
    return value < 0 ? (this.pages[-1 - value] ?? 0) : value;
  }

  smc(words: readonly number[], client: number): Registers | undefined {
    const given = Array.from({ length: 7 }, (_, index) => this.number(words[index] ?? index));
    const registers = new Registers([...given, client]);
    const before = registers.toArray();
    const fid = registers.get(0);
    // The one call that the real core does not survive (SMC-8.7).
    if (fid === ENABLE_ASYNC_NOTIF && this.build.virtualization && client === 0) return undefined;
    // A hidden partition cannot be settled from outside.
    if (fid === OPTEE_SMC.VM_CREATED && this.#exists(registers.get(1))) return undefined;
    this.kit.world.smc(registers);
    this.#judge(fid, before, registers, client);
    return registers;
  }

  #exists(id: number): boolean {
    return this.build.virtualization && this.kit.world.partitions.select(id) !== undefined;
  }

  #judge(fid: number, before: bigint[], registers: Registers, client: number): void {
    const after = registers.toArray();
    const same = (from: number, to: number): boolean =>
      after.slice(from, to).every((value, index) => value === before[from + index]);
    must(same(4, 8), "x4 to x7 are the caller's");
    const a0 = registers.get(0);
    const yielding = fid >>> 24 === 0x32;
    if (!yielding) {
      must(!isRpcReturn(a0), "a fast call raises no RPC");
    } else if (isRpcReturn(a0)) {
      must(RPC_FUNCS.has(rpcFunction(a0)), "an RPC is one of four");
      this.suspended.push({ registers, client });
    } else {
      must(a0 <= SMC_RETURN.ENOTAVAIL, "a return code of the ABI");
      const cleared = after.slice(1, 4).every((value) => value === 0n);
      must(EARLY.has(a0) ? same(1, 4) : cleared, "x1 to x3 at the end of a call");
    }
    for (const partition of this.kit.world.partitions.all) check(partition);
  }

  take(which: number): { registers: Registers; client: number } | undefined {
    const [taken] = this.suspended.splice(which % Math.max(1, this.suspended.length), 1);
    return taken;
  }

  resume(registers: Registers, client: number): void {
    const words = [1, 2, 3, 4, 5, 6].map((index) => registers.get(index));
    this.smc([RETURN_FROM_RPC, ...words], client);
  }

  run(one: Step): void {
    const { kit, pages } = this;
    switch (one.do) {
      case "open": {
        const all = [...this.tas.map(({ ta }) => ta.uuid), ...PSEUDO_TAS.map((ta) => ta.uuid)];
        kit.put(openMessage(all[one.uuid % all.length] ?? ""), pages[one.page]);
        this.smc([CALL_WITH_ARG, 0, pages[one.page] ?? 0], one.client);
        return;
      }
      case "message": {
        const params = one.message.params.map((each) => ({
          attr: BigInt(each.attr),
          a: BigInt(this.number(each.a)),
          b: BigInt(this.number(each.b)),
          c: BigInt(each.c),
        }));
        kit.poke(pages[one.page] ?? 0, encodeMessage({ ...one.message, params }));
        this.smc([one.fid, 0, pages[one.page] ?? 0], one.client);
        return;
      }
      case "serve": {
        const call = this.take(one.which);
        if (call === undefined) return;
        kit.nowMs += 500;
        kit.answer(call.registers);
        this.resume(call.registers, call.client);
        return;
      }
      case "answer": {
        const call = this.take(one.which);
        if (call === undefined) return;
        const [a1, a2, a4, a5] = one.words;
        this.smc([RETURN_FROM_RPC, a1, a2, call.registers.get(3), a4, a5], call.client);
        return;
      }
      case "smc":
        this.smc([one.fid, ...one.words], one.client);
        return;
      case "poke":
        kit.poke(
          (pages[one.page] ?? 0) + one.at * 4,
          new Uint8Array(Uint32Array.of(this.number(one.value)).buffer),
        );
        return;
      case "notify":
        kit.world.raiseNotification(one.value, one.client);
    }
  }

  /** Serves every call to its end, in turn: a call may wait for another. */
  settle(): void {
    for (let turn = 0; this.suspended.length > 0; turn += 1) {
      if (turn > 20_000) throw new Error("calls that never end");
      this.run({ do: "serve", which: turn, client: 1 });
    }
  }
}

/** What holds for a partition whenever the normal world runs. */
function check(partition: Partition): void {
  for (const thread of partition.threads) {
    const free = thread.state === "free";
    must(free || thread.state === "suspended", "no thread is active in the normal world");
    must((thread.body === undefined) === free, "a free thread does nothing");
    must(
      !free || (thread.depth === 0 && thread.payloads.size === 0),
      "a free thread holds nothing",
    );
  }
  let count = 0;
  for (const object of partition.registered.objects()) {
    count += 1;
    must(object.users >= (object.guarded ? 1 : 0), "an object has its users");
  }
  must(partition.registered.count === count, "the table counts its objects");
  must(partition.taRamLeft >= 0, "secure RAM is not handed out twice");
}

/** Closes and unregisters all that a guest could have, as that guest. */
function closeAll(walk: Walk, partition: Partition): void {
  const { kit } = walk;
  const id = partition.clientId;
  const call = (given: Parameters<typeof encodeMessage>[0]): void => {
    kit.put(given, walk.pages[0]);
    walk.smc([CALL_WITH_ARG, 0, walk.pages[0] ?? 0], id);
    walk.settle();
  };
  for (const { id: session } of Array.from(partition.sessions)) {
    call({ cmd: MSG_CMD.CLOSE_SESSION, session });
  }
  walk.smc([OPTEE_SMC.DISABLE_SHM_CACHE], id);
  while (walk.smc([OPTEE_SMC.DISABLE_SHM_CACHE], id)?.get(0) === SMC_RETURN.OK) {
    // one cookie a call
  }
  for (const object of Array.from(partition.registered.objects())) {
    const { cookieHigh: high, cookieLow: low } = object;
    // What was registered under cookie 0 is hidden by the page of every message by address.
    const at = POOL + 64;
    kit.put(
      { cmd: MSG_CMD.UNREGISTER_SHM, params: [{ c: (BigInt(high) << 32n) | BigInt(low) }] },
      at,
    );
    walk.smc([CALL_WITH_ARG, 0, at], id);
    walk.settle();
  }
}

/** Without interrupts a call that needs no service runs from start to end in one stretch. */
const BUILDS: readonly (readonly [string, OpteeBuild, boolean])[] = [
  ["Debian 4.5", DEBIAN_4_5, true],
  ["Debian 4.5 without interrupts", DEBIAN_4_5, false],
  ["Debian 4.5 virtualized", DEBIAN_4_5_VIRTUALIZED, true],
  ["4.10 with lent memory", { ...OPTEE_4_10, protectedMemory: "lent" }, true],
  [
    "4.2 virtualized, one thread",
    {
      ...DEBIAN_4_5_VIRTUALIZED,
      version: { major: 4, minor: 2 },
      threads: 1,
      preallocRpcCache: false,
    },
    false,
  ],
];

for (const [name, build, interrupts] of BUILDS) {
  test(`SMC-3.REGISTERS, SMC-4.1.11: any walk over all calls keeps threads, registers and memory in order (${name})`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const walk = new Walk(build, interrupts);
        for (const one of steps) walk.run(one);
        walk.settle();
        for (const partition of walk.kit.world.partitions.all) {
          closeAll(walk, partition);
          expect(partition.threads.map(({ state }) => state)).toEqual(
            partition.threads.map(() => "free"),
          );
          expect([partition.registered.count, partition.registered.heap]).toEqual([0, 0]);
          expect(partition.sessions).toEqual([]);
          const alive = partition.contexts.filter(({ isPseudo }) => !isPseudo);
          expect(alive.every(({ keepAlive }) => keepAlive)).toBe(true);
          const held = alive.reduce((sum, { ram }) => sum + ram, 0);
          const whole = build.virtualization ? partition.memory[1]?.size : build.taRam;
          expect(partition.taRamLeft + held).toBe(whole);
        }
        for (let id = 0; id < 4; id += 1) {
          for (let turn = 0; turn < 4; turn += 1) walk.smc([OPTEE_SMC.VM_DESTROYED, id], 0);
        }
        if (build.virtualization && walk.kit.world.partitions.all.length === 0) {
          expect(walk.kit.world.partitions.freeRam).toBe(build.taRam);
        }
      }),
      { numRuns: budget(60, 5000) },
    );
  });
}
