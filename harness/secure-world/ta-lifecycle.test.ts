import { expect, test } from "@jest/globals";
import { TargetCrashError } from "../base/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, RPC_CMD, TEEC } from "../optee-abi/index.ts";
import type { OpteeBuild } from "./build.ts";
import { cancellationTime } from "./session.ts";
import { INVOKE_TESTS_CMD, INVOKE_TESTS_UUID, TA_FLAG } from "./tas/index.ts";
import { openMessage, rmem, SecureKit, value } from "./testkit/kit.ts";
import { TINY_CMD, TINY_FLAGS, TinyTa } from "./testkit/tiny-tas.ts";

const { VALUE_INPUT, VALUE_INOUT, VALUE_OUTPUT, RMEM_OUTPUT } = ATTR_TYPE;
const DEAD = { ret: TEEC.TEEC_ERROR_TARGET_DEAD, ret_origin: 3 };
const TEE_BUSY = { ret: TEEC.TEEC_ERROR_BUSY, ret_origin: 3 };

function kitOf(tas: readonly TinyTa[], build: Partial<OpteeBuild> = {}): SecureKit {
  return new SecureKit({ userTas: tas.map(({ ta }) => ta), build });
}

function withTa(flags: number, build: Partial<OpteeBuild> = {}): { kit: SecureKit; tiny: TinyTa } {
  const tiny = new TinyTa(1, flags);
  return { kit: kitOf([tiny], build), tiny };
}

const partitionOf = (kit: SecureKit): SecureKit["world"]["partitions"]["all"][number] => {
  const [partition] = kit.world.partitions.all;
  if (partition === undefined) throw new Error("no partition");
  return partition;
};
const loads = (kit: SecureKit): number =>
  kit.rpcs.filter(({ message }) => message?.cmd === RPC_CMD.LOAD_TA).length / 2;

test("MSG-2.1.3: a multi-instance TA is loaded for each session and ends with it", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.multiInstance);
  const ids = [kit.open(tiny.uuid).session, kit.open(tiny.uuid).session];
  expect(loads(kit)).toBe(2);
  expect(partitionOf(kit).contexts).toHaveLength(2);
  for (const id of ids) kit.close(id);
  const one = ["create", "open"];
  expect(tiny.calls).toEqual([...one, ...one, "close", "destroy", "close", "destroy"]);
  expect(partitionOf(kit).contexts).toHaveLength(0);
});

test("MSG-2.1.3: a single instance without multi-session is BUSY for a second client, and free again", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.singleSession);
  const { session } = kit.open(tiny.uuid);
  expect(kit.open(tiny.uuid)).toMatchObject({ ...TEE_BUSY, session: 0 });
  kit.close(session);
  expect(kit.open(tiny.uuid).ret).toBe(0);
  expect(loads(kit)).toBe(2);
});

test("MSG-2.1.3: a single instance is shared by its sessions and destroyed with the last", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.shared);
  const ids = [1, 2, 3].map(() => kit.open(tiny.uuid).session);
  expect([loads(kit), partitionOf(kit).contexts.length]).toEqual([1, 1]);
  for (const id of ids) kit.close(id);
  expect(tiny.calls.filter((call) => call === "create")).toHaveLength(1);
  expect(tiny.calls.slice(-4)).toEqual(["close", "close", "close", "destroy"]);
  kit.open(tiny.uuid);
  expect(loads(kit)).toBe(2);
});

test("MSG-2.1.3: kept alive, an instance outlives its sessions and is never created again", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.keepAlive);
  for (let turn = 0; turn < 3; turn += 1) kit.close(kit.open(tiny.uuid).session);
  expect(loads(kit)).toBe(1);
  expect(tiny.calls).toEqual(["create", "open", "close", "open", "close", "open", "close"]);
  // Without single instance the flag means nothing.
  const other = withTa(TA_FLAG.INSTANCE_KEEP_ALIVE);
  other.kit.close(other.kit.open(other.tiny.uuid).session);
  expect(other.tiny.calls.at(-1)).toBe("destroy");
  expect(partitionOf(other.kit).contexts).toHaveLength(0);
});

test("MSG-2.4.TA_RETURNED: a TA that fails to be created or opened has no session, and is not closed", () => {
  for (const { results, calls } of [
    { results: { create: 0xffff_0001 }, calls: ["create"] },
    { results: { open: 0xffff_0001 }, calls: ["create", "open", "destroy"] },
  ]) {
    const { kit, tiny } = withTa(TINY_FLAGS.multiInstance);
    tiny.results = results;
    expect(kit.open(tiny.uuid)).toMatchObject({ ret: 0xffff_0001, ret_origin: 4, session: 0 });
    expect(tiny.calls).toEqual(calls);
    const { contexts, sessions, taRamLeft } = partitionOf(kit);
    expect([contexts.length, sessions.length]).toEqual([0, 0]);
    expect(taRamLeft).toBe(kit.world.core.build.taRam);
  }
});

test("MSG-2.4.TA_PANICKED, MSG-2.1.3: after a panic every session of the instance is dead; a new one loads anew", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.keepAlive);
  const [first, second] = [kit.open(tiny.uuid).session, kit.open(tiny.uuid).session];
  expect(kit.invoke(first, TINY_CMD.PANIC, [value(VALUE_INPUT, 0x1234n)])).toMatchObject(DEAD);
  expect([kit.invoke(first, 0), kit.invoke(second, 0)]).toMatchObject([DEAD, DEAD]);
  // What the instance had is free as soon as it has panicked.
  expect(partitionOf(kit).taRamLeft).toBe(kit.world.core.build.taRam);
  const fresh = kit.open(tiny.uuid);
  expect([fresh.ret, loads(kit)]).toEqual([0, 2]);
  expect(kit.invoke(fresh.session, 0, [value(VALUE_INPUT, 0n)])).toMatchObject({ ret: 0 });
  expect(kit.invoke(second, 0)).toMatchObject(DEAD);
  // Closing what is dead succeeds and runs no code of the TA.
  const before = tiny.calls.length;
  expect([kit.close(first).ret, kit.close(second).ret]).toEqual([0, 0]);
  expect(tiny.calls).toHaveLength(before);
  expect(partitionOf(kit).sessions).toHaveLength(1);
});

test("MSG-2.4.TA_PANICKED: a pseudo-TA is code of the core: where it writes to NULL, the secure world ends", () => {
  const kit = new SecureKit();
  const { session } = kit.open(INVOKE_TESTS_UUID);
  const nowhere = value(ATTR_TYPE.TMEM_INOUT);
  const invoke = (): unknown => kit.invoke(session, INVOKE_TESTS_CMD.PARAMS, [nowhere]);
  expect(invoke).toThrow(TargetCrashError);
  expect(() => kit.smc(OPTEE_SMC.CALLS_UID)).toThrow(TargetCrashError);
});

test("MSG-2.4.TA_PANICKED: the secure console tells of a panic and of an abort as the real one does", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.multiInstance);
  const panics = kit.open(tiny.uuid).session;
  kit.invoke(panics, TINY_CMD.PANIC, [value(VALUE_INPUT, 0xffff_0006n)]);
  expect(kit.console).toEqual([
    "E/TC:? 0 ",
    "E/TC:? 0 TA panicked with code 0xffff0006",
    `E/LD:  Status of TA ${tiny.uuid}`,
  ]);
  kit.console.length = 0;
  const aborts = kit.open(tiny.uuid).session;
  expect(kit.invoke(aborts, TINY_CMD.ABORT)).toMatchObject(DEAD);
  expect(kit.console[1]).toMatch(/^E\/TC:\? 0 User mode data-abort/);
});

test("MSG-2.4.TA_PANICKED, MSG-2.2.EXPORT: a panic loses what the TA did to its parameters, an error does not", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.multiInstance);
  kit.register(5n);
  const params = [
    value(VALUE_INOUT, 0x9_0000_0001n, 2n),
    value(VALUE_OUTPUT, 3n, 4n),
    rmem(RMEM_OUTPUT, 5n, 0, 16),
  ];
  const { session } = kit.open(tiny.uuid);
  const seen = (command: number): (readonly [bigint, bigint])[] =>
    kit.invoke(session, command, params).params.map(({ a, b }) => [a, b]);
  expect(seen(TINY_CMD.CHANGE)).toEqual([
    [0xaaaa_aaaan, 0xbbbb_bbbbn],
    [0xaaaa_aaaan, 0xbbbb_bbbbn],
    [0n, 23n],
  ]);
  // The values as they were given, in the 32 bits that they have in the core.
  expect(seen(TINY_CMD.PANIC)).toEqual([
    [1n, 2n],
    [3n, 4n],
    [0n, 16n],
  ]);
});

/** What opening gives after a crash under release 4.`minor`, and how often the TA was loaded. */
function afterCrash(minor: number): number[] {
  const { kit, tiny } = withTa(TINY_FLAGS.keepCrashed, { version: { major: 4, minor } });
  const { session } = kit.open(tiny.uuid);
  kit.invoke(session, TINY_CMD.PANIC, [value(VALUE_INPUT, 1n)]);
  kit.close(session);
  return [kit.open(tiny.uuid).ret, loads(kit)];
}

test("MSG-2.1.3: since 4.7 a TA can have its crashed instance kept, and then stays dead", () => {
  expect(afterCrash(6)).toEqual([0, 2]);
  expect(afterCrash(7)).toEqual([TEEC.TEEC_ERROR_TARGET_DEAD, 1]);
});

test("MSG-2.4.TA_PANICKED: sessions that a TA opened end with it", () => {
  const peer = new TinyTa(2, TINY_FLAGS.shared);
  const tiny = new TinyTa(1, TINY_FLAGS.multiInstance, () => peer.uuid);
  const kit = kitOf([tiny, peer]);
  const [dies, closes] = [kit.open(tiny.uuid).session, kit.open(tiny.uuid).session];
  for (const id of [dies, closes]) expect(kit.invoke(id, TINY_CMD.OPEN).ret).toBe(0);
  expect(peer.calls).toEqual(["create", "open", "open"]);
  kit.invoke(dies, TINY_CMD.PANIC);
  expect(peer.calls.slice(3)).toEqual(["close"]);
  kit.close(closes);
  expect(peer.calls.slice(3)).toEqual(["close", "close", "destroy"]);
  kit.close(dies);
  expect(partitionOf(kit).contexts).toHaveLength(0);
  expect(partitionOf(kit).taRamLeft).toBe(kit.world.core.build.taRam);
});

test("MSG-2.1.3: TAs call each other four deep, and no deeper", () => {
  const tiny: TinyTa = new TinyTa(1, TINY_FLAGS.multiInstance);
  const kit = kitOf([tiny]);
  const { session } = kit.open(tiny.uuid);
  // Each instance opens another of its own kind and passes the command on.
  expect(kit.invoke(session, TINY_CMD.PASS, [value(VALUE_INPUT, 0n, 0xffff_ffffn)])).toMatchObject({
    ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY,
    ret_origin: 4,
  });
  expect(tiny.calls.filter((call) => call === "invoke")).toHaveLength(4);
  kit.close(session);
  expect(partitionOf(kit).contexts).toHaveLength(0);
});

test("MSG-2.1.3: without secure RAM for a TA it is OUT_OF_MEMORY, and the RAM comes back", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.multiInstance, { taRam: 3 * 3 * 4096 });
  const results = [1, 2, 3, 4].map(() => kit.open(tiny.uuid));
  expect(results.map(({ ret }) => ret)).toEqual([0, 0, 0, TEEC.TEEC_ERROR_OUT_OF_MEMORY]);
  kit.close(results[1]?.session ?? 0);
  expect(kit.open(tiny.uuid).ret).toBe(0);
});

/** Starts a wait of 10 s and stops where it leaves the secure world to sleep. */
function waiting(
  kit: SecureKit,
  session: number,
  unmasked: boolean,
): { at: number; call: ReturnType<SecureKit["start"]> } {
  const at = kit.put({
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: TINY_CMD.WAIT,
    params: [value(VALUE_INPUT, 9999n, unmasked ? 0n : 1n)],
  });
  const call = kit.start(at);
  while (kit.commandOf(call) !== RPC_CMD.SUSPEND) kit.serve(call);
  return { at, call };
}

test("MSG-2.CANCEL: a TA that masks cancellation is not cancelled, and none is left for its next operation", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.multiInstance);
  const { session } = kit.open(tiny.uuid);
  for (const unmasked of [false, true]) {
    const { at, call } = waiting(kit, session, unmasked);
    expect(kit.call({ cmd: MSG_CMD.CANCEL, session }).ret).toBe(0);
    kit.onCommand = (message, own, where) => {
      if (message.cmd !== RPC_CMD.SUSPEND) return false;
      own.nowMs += 4000;
      own.reply(message, where, 0);
      return true;
    };
    kit.finish(call);
    expect(kit.get(at).ret).toBe(unmasked ? TEEC.TEEC_ERROR_CANCEL : 0);
  }
  kit.onCommand = undefined;
  const { at, call } = waiting(kit, session, true);
  kit.finish(call);
  expect(kit.get(at).ret).toBe(0);
});

test("MSG-2.CANCEL: the timeout of a call between TAs cancels as the computation of the core has it", () => {
  const infinite = 0xffff_ffff;
  expect(cancellationTime(1234, infinite)).toBe(Number.POSITIVE_INFINITY);
  expect([cancellationTime(1200, 500), cancellationTime(1200, 3800)]).toEqual([1700, 5000]);
  // Past the second both are added to, the timeout's own seconds are lost.
  expect([cancellationTime(1200, 900), cancellationTime(1200, 60_900)]).toEqual([3100, 3100]);
  expect(cancellationTime(0xffff_ffff * 1000, 5000)).toBe(Number.POSITIVE_INFINITY);
});

test("MSG-2.1.3: who opens a TA that is being loaded waits, also where nobody has that TA", () => {
  const { kit, tiny } = withTa(TINY_FLAGS.shared);
  for (const uuid of [tiny.uuid, "99999999-0000-4000-8000-000000000000"]) {
    const [first, second] = [kit.put(openMessage(uuid)), kit.put(openMessage(uuid))];
    const loading = kit.start(first);
    while (kit.commandOf(loading) !== RPC_CMD.LOAD_TA) kit.serve(loading);
    const joining = kit.start(second);
    while (kit.commandOf(joining) !== RPC_CMD.NOTIFICATION) kit.serve(joining);
    kit.onCommand = (message, own, at) => {
      if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
      own.reply(message, at, 0);
      return true;
    };
    kit.finish(loading);
    kit.finish(joining);
    kit.onCommand = undefined;
    const known = uuid === tiny.uuid;
    const rets = [first, second].map((at) => kit.get(at).ret);
    expect(rets).toEqual(known ? [0, 0] : [0xffff_0008, 0xffff_0008]);
  }
  expect(tiny.calls).toEqual(["create", "open", "open"]);
});
