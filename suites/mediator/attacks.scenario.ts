import { type Ipa, MAPPING } from "../../harness/machine/index.ts";
import type { RuleSetName } from "../../harness/mediator/index.ts";
import {
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  rpcCommandName,
} from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";
import { vmOf } from "../support/vm.ts";
import {
  type Asked,
  type Back,
  type Draft,
  RawDriver,
  openSession,
  registered,
  tmem,
} from "../support/raw-driver.ts";

type Program = (driver: RawDriver, context: ScenarioContext) => Data;

const against = (rules: RuleSetName, clauses: readonly string[], run: Program): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules,
  vms: 2,
  run: (context) => run(new RawDriver(context.conduit), context),
});

const MARK = 0x55;

/** A page of a stranger's, filled with a mark: where it is in the machine, and what it says now. */
function victimPage(context: ScenarioContext): { pa: bigint; changed: () => string } {
  const page = context.strangersPage();
  page.write(new Uint8Array(4096).fill(MARK));
  const changed = (): string => {
    const bytes = page.read();
    const end = bytes.findLastIndex((byte) => byte !== MARK);
    return new TextDecoder().decode(bytes.subarray(0, end + 1)).replaceAll("\0", "");
  };
  return { pa: page.pa, changed };
}

/**
 * The secure world asks for memory and is given a page that is not the guest's, by `command`. What it asks
 * for next, and what it has written into that page by then.
 */
const answerAllocation =
  (command: number): Program =>
  (driver, context) => {
    const victim = victimPage(context);
    const rpc = driver.untilShmAlloc(OS_TEST.uuid);
    const params = [tmem(victim.pa, 0x1000, 0x66n, 0xa)];
    const back = driver.answer(rpc, { cmd: command, ret: 0, params });
    return { next: nameOf(driver, back), written: victim.changed() };
  };

const nameOf = (driver: RawDriver, back: Back): string =>
  back.rpc === undefined ? "completed" : (driver.asked.at(-1) ?? "");

const commandChanged = answerAllocation(RPC_CMD.GET_TIME);
export const commandChangedXen = against("xen", ["MED-135"], commandChanged);
export const commandChangedStrict = against("strict", ["MED-135"], commandChanged);

const contiguousAnswer = answerAllocation(RPC_CMD.SHM_ALLOC);
export const contiguousAnswerXen = against("xen", ["MED-141"], contiguousAnswer);
export const contiguousAnswerStrict = against("strict", ["MED-141"], contiguousAnswer);

/** Goes on with a call, whatever it asks for being refused, to its end. */
function toTheEnd(driver: RawDriver, back: Back): Back {
  let last = back;
  for (let turn = 0; last.rpc !== undefined && turn < 50; turn += 1) last = fail(driver, last.rpc);
  return last;
}

/** How many calls can wait in an RPC at once, before the next is turned away. */
function callsThatFit(driver: RawDriver): number {
  for (let count = 0; count < 64; count += 1) {
    if (driver.send(openSession(OS_TEST.uuid)).rpc === undefined) return count;
  }
  return 64;
}

/**
 * Answers an RPC with a cookie of nobody's, then tries to get on with the call to its end. How many
 * calls are lost to the guest for good, each with a thread of OP-TEE's.
 */
const unknownCookie: Program = (driver) => {
  const threads = callsThatFit(driver);
  for (const rpc of driver.pending()) toTheEnd(driver, fail(driver, rpc));
  const rpc = driver.untilShmAlloc(OS_TEST.uuid);
  const first = driver.resume(rpc, 0, 0xbad);
  const again = driver.resume(first.rpc ?? rpc);
  toTheEnd(driver, again);
  return { first: first.a0, again: again.a0, lost: threads - callsThatFit(driver) };
};
export const unknownCookieXen = against("xen", ["MED-131"], unknownCookie);
export const unknownCookieStrict = against("strict", ["MED-131"], unknownCookie);

/** The secure world has a buffer and opens a file; it gives the buffer back whatever comes of that. */
function untilFile(driver: RawDriver): Asked {
  const allocation = driver.untilShmAlloc(OS_TEST.uuid);
  const buffer = tmem(driver.list(driver.pages(1)), 0x1000, 0x66n);
  const reply = { cmd: RPC_CMD.SHM_ALLOC, ret: 0, params: [buffer] };
  const { rpc } = driver.answer(allocation, reply);
  if (rpc === undefined) throw new Error("the session did not go on with its buffer");
  return rpc;
}

/**
 * Takes the RPC argument page away; what the guest is still asked until its call comes back without a
 * request, and whether its thread can be resumed after that.
 */
const argumentGone: Program = (driver, context) => {
  const rpc = untilFile(driver);
  context.guest().unmap(driver.argument(rpc));
  const before = driver.asked.length;
  let back = driver.resume(rpc);
  for (let turn = 0; back.rpc !== undefined && turn < 50; turn += 1) back = driver.resume(back.rpc);
  const asked = driver.asked.slice(before);
  return { a0: back.a0, asked, resumed: driver.resume(rpc).a0 };
};
export const argumentGoneXen = against("xen", ["MED-106", "MED-132"], argumentGone);
export const argumentGoneStrict = against("strict", ["MED-106", "MED-132"], argumentGone);

/**
 * Makes the RPC argument page read-only, so that no further request can be written into it. What the
 * guest finds there when it is asked again: an old request that it would serve once more.
 */
const staleRequest: Program = (driver, context) => {
  const rpc = untilFile(driver);
  driver.put({ ...driver.request(rpc), ret: 0xffff_000c }, driver.argument(rpc));
  vmOf(context).space.protect(driver.argument(rpc), MAPPING.ramRo);
  const found: string[] = [];
  let back = driver.resume(rpc);
  for (let turn = 0; back.rpc !== undefined && turn < 50; turn += 1) {
    if (back.rpc.a0 === SMC_RETURN.RPC_CMD) found.push(rpcCommandName(driver.request(rpc).cmd));
    back = driver.resume(back.rpc);
  }
  return { a0: back.a0, found };
};
export const staleRequestXen = against("xen", ["MED-106"], staleRequest);
export const staleRequestStrict = against("strict", ["MED-106"], staleRequest);

/**
 * Registers a page, then frees it at the mediator without the secure world knowing, and gives the
 * page back to the hypervisor, who gives it to another guest. Then has a TA work on it: the TA adds up
 * all bytes and puts the sum into the first.
 */
const useAfterUnpin: Program = (driver, context) => {
  const [attacker, victim] = [vmOf(context, 0), vmOf(context, 1)];
  const invoke = (message: Draft) => driver.get(driver.send({ ret: 1, ...message }).at);
  const page = driver.page();
  const list = driver.list([page]);
  const registering = { cmd: MSG_CMD.REGISTER_SHM, params: [tmem(list, 4096, 7n)] };
  const { ret: first } = invoke(registering);
  const { session } = invoke(openSession(INVOKE_TESTS.uuid));
  const pinned = attacker.usage?.pages ?? -1;
  // A null reference that merely names the cookie.
  invoke({ cmd: MSG_CMD.INVOKE_COMMAND, session, params: [tmem(0n, 0, 7n, 9)] });
  const still = attacker.usage?.pages ?? -1;
  const place = (victim.conduit.ram.base + victim.conduit.ram.size) as Ipa;
  const given = attacker.space.donate(page, victim.space, place);
  if (given === "done") victim.conduit.memory.write(place, Uint8Array.of(40, 2));
  const params = [registered(7n, 4096)];
  const command = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.PARAMS, params };
  const { ret } = invoke(command);
  const byte = given === "done" ? (victim.conduit.memory.read(place, 1)[0] ?? -1) : null;
  return { first, pinned, still, given, ret, byte };
};
// Its page must not move between the unpin and the donation, or the attack misses.
export const useAfterUnpinXen: Scenario = {
  ...against("xen", ["MED-085"], useAfterUnpin),
  undisturbed: true,
};
export const useAfterUnpinStrict = against("strict", ["MED-085"], useAfterUnpin);

/** Sends messages whose second parameter is bad until cookies are used up; after how many, if ever. */
function leakUntilRefused(driver: RawDriver): number | null {
  for (let count = 0; count < 40; count += 1) {
    const good = tmem(driver.list(driver.pages(1)), 4096, BigInt(count));
    const { at } = driver.send({ cmd: 1, params: [good, tmem(0x1000n, 4096, 99n, 0xa)] });
    if (driver.get(at).ret === 0xffff_000c) return count;
  }
  return null;
}

const leak: Program = (driver) => ({ outOfMemoryAfter: leakUntilRefused(driver) });
export const leakXen = against("xen", ["MED-052"], leak);
export const leakStrict = against("strict", ["MED-052"], leak);

/** How many pages are pinned after that, although no call is under way. */
const leakedPins: Program = (driver, context) => {
  const vm = vmOf(context);
  leakUntilRefused(driver);
  return { pinned: vm.usage?.pages ?? -1 };
};
export const leakedPinsXen = against("xen", ["MED-052"], leakedPins);
export const leakedPinsStrict = against("strict", ["MED-052"], leakedPins);

/** One page under a size of 2^32 pages more; whose refusal it is in the end. */
function sendTruncated(driver: RawDriver): { ret: number; origin: number } {
  const size = 2n ** 44n + 4096n;
  const params = [tmem(driver.list(driver.pages(1)), size, 1n)];
  const { at } = driver.send({ cmd: MSG_CMD.INVOKE_COMMAND, ret: 1, params });
  const { ret, ret_origin: origin } = driver.get(at);
  return { ret, origin };
}
export const truncatedSizeXen = against("xen", ["MED-067"], sendTruncated);
export const truncatedSizeStrict = against("strict", ["MED-067"], sendTruncated);

/** What the mediator pins for it, and how often the secure world is asked. */
const truncatedPins: Program = (driver, context) => {
  const vm = vmOf(context);
  let reached = 0;
  let pinned = 0;
  context.observe(({ where, phase, registers }) => {
    if (where !== "port" || phase !== "enter") return;
    if (registers.get(0) !== OPTEE_SMC.CALL_WITH_ARG) return;
    reached += 1;
    pinned = vm.usage?.pages ?? -1;
  });
  sendTruncated(driver);
  return { reached, pinned };
};
export const truncatedPinsXen = against("xen", ["MED-067"], truncatedPins);
export const truncatedPinsStrict = against("strict", ["MED-067"], truncatedPins);

/** Walks that fail until the page quota is gone. */
const quotaLeak: Program = (driver) => {
  const list = driver.list(Array.from({ length: 128 }, () => 0x1000));
  for (let count = 0; count < 140; count += 1) {
    const { at } = driver.send({ cmd: 1, params: [tmem(list, 128 * 4096, 1n)] });
    if (driver.get(at).ret === 0xffff_000c) return { outOfMemoryAfter: count };
  }
  return { outOfMemoryAfter: null };
};
export const quotaLeakXen = against("xen", ["MED-068"], quotaLeak);
export const quotaLeakStrict = against("strict", ["MED-068"], quotaLeak);

/**
 * The message can no longer be written when its call ends: does anybody say so? The session that it
 * would open does not exist; a guest that trusts a0 and the old result uses it all the same.
 */
const resultLost: Program = (driver, context) => {
  const message = driver.put({ ...openSession(OS_TEST.uuid), session: 77 });
  let back = driver.call(message);
  for (let turn = 0; back.rpc !== undefined && turn < 20; turn += 1) {
    vmOf(context).space.protect(message, MAPPING.ramRo);
    back = fail(driver, back.rpc);
  }
  const { ret, session } = driver.get(message);
  return { a0: back.a0, ret, session };
};
export const resultLostXen = against("xen", ["MED-090"], resultLost);
export const resultLostStrict = against("strict", ["MED-090"], resultLost);

/** As above, with the message's page gone from the guest: what a0 says. */
const resultGone: Program = (driver, context) => {
  const message = driver.put(openSession(OS_TEST.uuid));
  let back = driver.call(message);
  for (let turn = 0; back.rpc !== undefined && turn < 20; turn += 1) {
    if (turn === 0) context.guest().unmap(message);
    back = fail(driver, back.rpc);
  }
  return { a0: back.a0 };
};
export const resultGoneXen = against("xen", ["MED-090"], resultGone);
export const resultGoneStrict = against("strict", ["MED-090"], resultGone);

/** Whatever is asked for cannot be had. */
function fail(driver: RawDriver, rpc: Asked): Back {
  if (rpc.a0 === SMC_RETURN.RPC_ALLOC) return driver.giveArgument(rpc, 0xa1 + rpc.thread);
  if (rpc.a0 === SMC_RETURN.RPC_FREE) return driver.resume(rpc);
  return driver.answer(rpc, { ...driver.request(rpc), ret: 0xffff_0008 });
}
