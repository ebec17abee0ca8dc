import type { Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, TeecParam } from "../../harness/normal-world/index.ts";
import { MSG_CMD, OPTEE_SMC } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { type Back, openSession, RawDriver, registered, tmem } from "../support/raw-driver.ts";
import { RawService } from "../support/raw-service.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";
import { openSession as openClient } from "../support/client.ts";

const PAGE = 4096;

/**
 * A VM ends while its call waits in `kind`. What the dead one is told, that the mediator holds none of
 * its memory, and that the next VM has all threads and a session of its own.
 */
function end(context: ScenarioContext, driver: RawDriver, reached: string | undefined): Data {
  const { vm } = context.guest(0);
  const suspended = vm?.usage?.suspended;
  context.guest(0).destroy();
  const held = vm === undefined ? undefined : vm.space.frames.records(vm.space.owner).length;
  const dead = [OPTEE_SMC.CALLS_UID, OPTEE_SMC.RETURN_FROM_RPC].map((fid) =>
    driver.smc([fid]).get(0),
  );
  const next = new RawDriver(context.guest(1).conduit);
  const service = new RawService(next);
  return {
    reached,
    suspended: suspended === undefined || suspended > 0,
    held: held ?? 0,
    dead,
    resumed: next.smc([OPTEE_SMC.RETURN_FROM_RPC]).get(0),
    loading: service.outcome(openSession(OS_TEST.uuid))[0],
    session: next.get(next.send(openSession(INVOKE_TESTS.uuid)).at).session,
  };
}

const scenario = (
  clauses: readonly string[],
  reach: (driver: RawDriver, context: ScenarioContext) => string | undefined,
  more: Partial<Scenario> = {},
): Scenario => ({
  conduits: ["vm"],
  clauses: ["MED-161", "MED-164", "MED-167", "SMC-8.5", ...clauses],
  ...more,
  run: (context) => {
    const driver = new RawDriver(context.conduit);
    return end(context, driver, reach(driver, context));
  },
});

const LOADED_SIZE = 100n;

/** Serves a TA's loading until it asks for `kind`, for the `nth` time; that RPC's name. */
const until =
  (kind: string, nth = 1) =>
  (driver: RawDriver): string | undefined => {
    const service = new RawService(driver, {
      stopAt: [kind],
      services: {
        LOAD_TA: (request) => ({
          ...request,
          ret: 0,
          params: request.params.map((param, index) =>
            index === 1 ? { ...param, b: LOADED_SIZE } : param,
          ),
        }),
      },
    });
    const { at: _, ...first } = driver.send(openSession(OS_TEST.uuid));
    let back: Back = service.finish(first);
    for (let turn = 1; turn < nth && back.rpc !== undefined; turn += 1) {
      back = service.finish(service.step(back.rpc));
    }
    return back.rpc === undefined ? undefined : driver.asked.at(-1);
  };

export const inAlloc = scenario(["SMC-5.ALLOC", "MED-101"], until("ALLOC"));
export const inFree = scenario(["SMC-5.FREE", "MED-105"], until("FREE"));
export const inShmAlloc = scenario(["MSG-3.SHM_ALLOC", "MED-103"], until("SHM_ALLOC"));
/** Two buffers of the secure world's are there, the second for the TA. */
export const inSecondShmAlloc = scenario(["MSG-3.SHM_ALLOC", "MED-163"], until("SHM_ALLOC", 2));
export const inFiles = scenario(["MSG-3.FS", "MED-162", "MED-163"], until("FS"));
export const inLoadTa = scenario(["MSG-3.LOAD_TA", "MED-163"], until("LOAD_TA"));
export const inSecondLoadTa = scenario(["MSG-3.LOAD_TA", "MED-163"], until("LOAD_TA", 2));
export const inShmFree = scenario(["MSG-3.SHM_FREE", "MED-104"], until("SHM_FREE"));

/** Memory is being unregistered that another call of the VM uses: both wait. */
export const inNotification = scenario(["MSG-3.NOTIFICATION", "MSG-2.3.3", "MED-163"], (driver) => {
  const params = [tmem(driver.list([driver.page()]), PAGE, 0x31n)];
  driver.send({ cmd: MSG_CMD.REGISTER_SHM, params });
  const message = openSession(OS_TEST.uuid);
  driver.send({ ...message, params: [...(message.params ?? []), registered(0x31n, PAGE)] });
  const { at: _, ...first } = driver.send({
    cmd: MSG_CMD.UNREGISTER_SHM,
    params: [registered(0x31n, 0, 5)],
  });
  const { rpc } = new RawService(driver, { stopAt: ["NOTIFICATION"] }).finish(first);
  return rpc === undefined ? undefined : driver.asked.at(-1);
});

/** A TA sleeps; its VM's client is a task that ends with it. */
export const inSuspend: Scenario = {
  conduits: ["vm"],
  clauses: ["MED-161", "MED-164", "MED-167", "SMC-8.5", "MSG-3.SUSPEND"],
  run: (context) => {
    const tee = context.client();
    const { linux } = context.guest();
    const slept = (): number => linux.driver?.rpcCommands.get(5) ?? 0;
    const waiter = context.guest().spawn(
      "waiting client",
      (function* (): Task {
        const session = yield* openClient(tee, OS_TEST.uuid);
        const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 10_000);
        yield* tee.invokeCommand(session, OS_TEST.WAIT, [wait]);
      })(),
    );
    context.scheduler.runUntil(() => slept() > 0 || waiter.finished);
    return end(context, new RawDriver(context.conduit), waiter.finished ? undefined : "SUSPEND");
  },
};

/** Registered memory, sessions and a full set of calls all at once. */
export const inEverything = scenario(["MED-163", "MED-165"], (driver) => {
  for (let cookie = 1n; cookie <= 8n; cookie += 1n) {
    const params = [tmem(driver.list(driver.pages(2)), 2 * PAGE, cookie)];
    driver.send({ cmd: MSG_CMD.REGISTER_SHM, params });
    driver.send(openSession(INVOKE_TESTS.uuid));
  }
  for (;;) {
    const { rpc } = driver.send(openSession(OS_TEST.uuid));
    if (rpc === undefined) return driver.asked.at(-1);
    driver.giveArgument(rpc, driver.nextCookie());
  }
});
