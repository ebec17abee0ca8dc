import type { Ipa } from "../../harness/machine/index.ts";
import type { RuleSetName } from "../../harness/mediator/index.ts";
import { MSG_CMD, RPC_CMD, SMC_RETURN } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { OS_TEST } from "../support/tas.ts";
import { type Asked, type Back, RawDriver, openSession, tmem } from "./raw-driver.ts";

type Program = (driver: RawDriver, context: ScenarioContext) => Data;

const against = (rules: RuleSetName, clauses: readonly string[], run: Program): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules,
  run: (context) => run(new RawDriver(context.conduit), context),
});

/** An address of the machine that is no memory of the guest's. */
const FOREIGN = 0x4100_0000n;

/** The secure world asks for memory; `reply` is the guest's answer. What it asks for next. */
const answerAllocation =
  (reply: (driver: RawDriver) => Parameters<RawDriver["answer"]>[1]): Program =>
  (driver) => {
    const rpc = driver.untilShmAlloc(OS_TEST.uuid);
    const back = driver.answer(rpc, reply(driver));
    return { next: nameOf(driver, back) };
  };

const nameOf = (driver: RawDriver, back: Back): string =>
  back.rpc === undefined ? "completed" : (driver.asked.at(-1) ?? "");

const commandChanged = answerAllocation(() => ({
  cmd: RPC_CMD.GET_TIME,
  ret: 0,
  params: [tmem(FOREIGN, 0x1000, 0x66n, 0xa)],
}));
export const commandChangedXen = against("xen", ["MED-135"], commandChanged);
export const commandChangedStrict = against("strict", ["MED-135"], commandChanged);

const contiguousAnswer = answerAllocation(() => ({
  cmd: RPC_CMD.SHM_ALLOC,
  ret: 0,
  params: [tmem(FOREIGN, 0x1000, 0x66n, 0xa)],
}));
export const contiguousAnswerXen = against("xen", ["MED-141"], contiguousAnswer);
export const contiguousAnswerStrict = against("strict", ["MED-141"], contiguousAnswer);

/** Answers an RPC with a cookie of nobody's, then tries to get on with the call. */
const unknownCookie: Program = (driver) => {
  const rpc = driver.untilShmAlloc(OS_TEST.uuid);
  const first = driver.resume(rpc, 0, 0xbad);
  const again = driver.resume(rpc);
  return { first: first.a0, again: again.a0 };
};
export const unknownCookieXen = against("xen", ["MED-131"], unknownCookie);
export const unknownCookieStrict = against("strict", ["MED-131"], unknownCookie);

/** Takes the RPC argument page away; what the guest is still asked until its call is over. */
const argumentGone: Program = (driver, context) => {
  const rpc = driver.untilShmAlloc(OS_TEST.uuid);
  unmap(context, driver.argument(rpc));
  const before = driver.asked.length;
  let back = driver.resume(rpc);
  for (let turn = 0; back.rpc !== undefined && turn < 50; turn += 1) back = driver.resume(back.rpc);
  return { a0: back.a0, asked: driver.asked.slice(before) };
};
export const argumentGoneXen = against("xen", ["MED-106", "MED-132"], argumentGone);
export const argumentGoneStrict = against("strict", ["MED-106", "MED-132"], argumentGone);

/** Registers a page, then frees it at the mediator without the secure world knowing. */
const useAfterUnpin: Program = (driver) => {
  const [page = 0] = driver.pages(1);
  const list = driver.list([page]);
  const send = (message: Parameters<RawDriver["send"]>[0]): number =>
    driver.get(driver.send({ ret: 1, ...message }).at).ret;
  const register = (): number =>
    send({ cmd: MSG_CMD.REGISTER_SHM, params: [tmem(list, 4096, 7n)] });
  const first = register();
  // A null reference that merely names the cookie.
  send({ cmd: MSG_CMD.INVOKE_COMMAND, params: [tmem(0n, 0, 7n, 9)] });
  // The cookie is free again only if the mediator has let go of the buffer.
  return { first, again: register() };
};
export const useAfterUnpinXen = against("xen", ["MED-085"], useAfterUnpin);
export const useAfterUnpinStrict = against("strict", ["MED-085"], useAfterUnpin);

/** How often a message whose second parameter is bad can be sent before cookies are used up. */
const leak: Program = (driver) => {
  for (let count = 0; count < 40; count += 1) {
    const good = tmem(driver.list(driver.pages(1)), 4096, BigInt(count));
    const { at } = driver.send({ cmd: 1, params: [good, tmem(0x1000n, 4096, 99n, 0xa)] });
    if (driver.get(at).ret === 0xffff_000c) return { outOfMemoryAfter: count };
  }
  return { outOfMemoryAfter: null };
};
export const leakXen = against("xen", ["MED-052"], leak);
export const leakStrict = against("strict", ["MED-052"], leak);

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

/** The argument page goes away while the call runs: does anybody say so? */
const resultLost: Program = (driver, context) => {
  const message = driver.put(openSession(OS_TEST.uuid));
  let back = driver.call(message);
  for (let turn = 0; back.rpc !== undefined && turn < 20; turn += 1) {
    unmap(context, message);
    back = fail(driver, back.rpc);
  }
  return { a0: back.a0 };
};
export const resultLostXen = against("xen", ["MED-090"], resultLost);
export const resultLostStrict = against("strict", ["MED-090"], resultLost);

/** Whatever is asked for cannot be had. */
function fail(driver: RawDriver, rpc: Asked): Back {
  if (rpc.a0 === SMC_RETURN.RPC_ALLOC) return driver.giveArgument(rpc, 0xa1);
  if (rpc.a0 === SMC_RETURN.RPC_FREE) return driver.resume(rpc);
  return driver.answer(rpc, { ...driver.request(rpc), ret: 0xffff_0008 });
}

/** Takes a page out of the guest's address space, as ballooning does. */
function unmap(context: ScenarioContext, page: Ipa): void {
  context.guest().vm?.space.balloon(page);
}
