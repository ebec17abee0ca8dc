import type { RuleSetName } from "../../harness/mediator/index.ts";
import { MSG_CMD, SMC_RETURN, rpcCommandName } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import {
  type Asked,
  type Back,
  type Draft,
  RawDriver,
  openSession,
  registered,
  tmem,
} from "../support/raw-driver.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

/** What a guest can do with cookies of its own, without anything but its own memory and registers. */
const guest = (
  rules: RuleSetName,
  clauses: readonly string[],
  run: (driver: RawDriver) => Data,
): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules,
  run: (context) => run(new RawDriver(context.conduit)),
});

const OUT_OF_MEMORY = 0xffff_000c;

const nameOf = (driver: RawDriver, back: Back): string =>
  back.rpc === undefined ? "completed" : (driver.asked.at(-1) ?? "");

/** Answers an ALLOC with a page of its own under `cookie`, beside the driver's own record of cookies. */
function give(driver: RawDriver, rpc: Asked, cookie: number): Back {
  const page = driver.page();
  return driver.resume(rpc, Math.floor(page / 2 ** 32), page >>> 0, 0, cookie);
}

/**
 * Registers a page, then names its cookie in a null reference of a message that OP-TEE refuses. Does the
 * mediator still know the buffer? It then refuses to register that cookie again. OP-TEE knows it all the
 * while: its pseudo-TA adds up the page's bytes.
 */
const forgotten = (driver: RawDriver): Data => {
  const result = (message: Draft) => driver.get(driver.send({ ret: 1, ...message }).at);
  const page = driver.page();
  driver.conduit.memory.write(page, Uint8Array.of(40, 2));
  const list = driver.list([page]);
  const register = (): number =>
    result({ cmd: MSG_CMD.REGISTER_SHM, params: [tmem(list, 4096, 7n)] }).ret;
  const first = register();
  const twice = register();
  const { session } = result(openSession(INVOKE_TESTS.uuid));
  const named = { cmd: MSG_CMD.INVOKE_COMMAND, session: 0x7777, params: [tmem(0n, 0, 7n, 9)] };
  result(named);
  const again = register();
  const params = [registered(7n, 4096)];
  const { ret: used } = result({
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: INVOKE_TESTS.PARAMS,
    params,
  });
  const [sum = -1] = driver.conduit.memory.read(page, 1);
  return { first, twice, again, used, sum };
};
export const forgottenXen = guest("xen", ["MED-085", "MED-084"], forgotten);
export const forgottenStrict = guest("strict", ["MED-085"], forgotten);

/**
 * Two calls at once; the second gives its RPC argument under the cookie of the first one's. What the
 * second is asked next, and whether the first can still be answered.
 */
const duplicateArgument = (driver: RawDriver): Data => {
  const first = driver.untilShmAlloc(OS_TEST.uuid);
  const { rpc: allocation } = driver.send(openSession(OS_TEST.uuid));
  if (allocation?.a0 !== SMC_RETURN.RPC_ALLOC) return { second: "not asked" };
  const second = nameOf(driver, give(driver, allocation, 0xa1));
  const { a0 } = driver.answer(first, { ret: OUT_OF_MEMORY });
  return { second, first: a0 };
};
export const duplicateArgumentXen = guest("xen", ["MED-121", "MED-124"], duplicateArgument);
export const duplicateArgumentStrict = guest("strict", ["MED-121", "MED-124"], duplicateArgument);

/** Two calls at once; the first is answered with the second one's argument page. How both go on. */
const swappedArgument = (driver: RawDriver): Data => {
  const first = driver.untilShmAlloc(OS_TEST.uuid);
  const { rpc: allocation } = driver.send(openSession(OS_TEST.uuid));
  if (allocation?.a0 !== SMC_RETURN.RPC_ALLOC) return { second: "not asked" };
  const { rpc: second } = driver.giveArgument(allocation, 0xa2);
  if (second === undefined) return { second: "completed" };
  const one = driver.resume(first, second.a1, second.a2);
  const firstGoesOn = nameOf(driver, one);
  const two = driver.answer(second, { ret: OUT_OF_MEMORY });
  return { firstGoesOn, secondGoesOn: nameOf(driver, two) };
};
export const swappedArgumentXen = guest("xen", ["MED-130"], swappedArgument);
export const swappedArgumentStrict = guest("strict", ["MED-130"], swappedArgument);

/** Answers SHM_ALLOC with a buffer under a cookie that is in use: what the guest is told to free. */
const duplicateBuffer = (driver: RawDriver): Data => {
  const list = driver.list(driver.pages(1));
  const first = { cmd: MSG_CMD.REGISTER_SHM, ret: 1, params: [tmem(list, 4096, 7n)] };
  const { ret: registering } = driver.get(driver.send(first).at);
  const rpc = driver.untilShmAlloc(OS_TEST.uuid);
  const { cmd } = driver.request(rpc);
  const buffer = tmem(driver.list(driver.pages(1)), 4096, 7n);
  const back = driver.answer(rpc, { cmd, ret: 0, params: [buffer] });
  if (back.rpc === undefined || back.rpc.a0 !== SMC_RETURN.RPC_CMD) {
    return { registering, next: nameOf(driver, back), cookie: null };
  }
  const { cmd: next, params } = driver.request(back.rpc);
  return {
    registering,
    next: rpcCommandName(next),
    cookie: Number(params[0]?.b ?? -1n),
  };
};
export const duplicateBufferXen = guest("xen", ["MED-062", "MED-147"], duplicateBuffer);
export const duplicateBufferStrict = guest("strict", ["MED-062", "MED-147"], duplicateBuffer);
