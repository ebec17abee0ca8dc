import type { RuleSetName } from "../../harness/mediator/index.ts";
import { MSG_CMD } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { openSession } from "../support/client.ts";
import { OS_TEST } from "../support/tas.ts";
import { RawDriver, registered, tmem } from "../support/raw-driver.ts";

const RMEM_INPUT = 5;
const TMEM_LIST = { inout: 0x20b, output: 0x20a } as const;
/** Header and three parameters. */
const MESSAGE_SIZE = 32 + 3 * 32;
/** Where buf_ptr of parameter 1 is in the message. */
const SECOND_BUF_PTR = 32 + 32 + 8;

/**
 * OP-TEE keeps the page of a running message among its registered objects, under cookie 0. A guest
 * that names cookie 0 therefore names the mediator's shadow, where page lists have their machine
 * addresses, and a TA that copies its input hands them out: what the guest learns about its list.
 */
function readShadow(context: ScenarioContext): Data {
  const { id: session } = context.execute(openSession(context.client(), OS_TEST.uuid));
  const { pages } = context.guest().linux.kernel;
  const driver = new RawDriver(context.conduit, () => {
    const [page] = pages.allocate(1) ?? [];
    return page ?? context.skip("the guest has no page left");
  });
  const [inout, output] = [driver.page(), driver.page()];
  const list = driver.list([inout]);
  const { at } = driver.send({
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: OS_TEST.TA2TA_MEMREF_MIX,
    params: [
      registered(0n, MESSAGE_SIZE, RMEM_INPUT),
      tmem(list, MESSAGE_SIZE, 0x51n, TMEM_LIST.inout),
      tmem(driver.list([output]), MESSAGE_SIZE, 0x52n, TMEM_LIST.output),
    ],
  });
  const { ret, ret_origin: origin } = driver.get(at);
  // The TA writes input plus one, as the other buffer is all zeros.
  const copied = context.conduit.memory.read(output, MESSAGE_SIZE).map((byte) => byte - 1);
  const learned = new DataView(copied.buffer).getBigUint64(SECOND_BUF_PTR, true);
  if (ret !== 0) return { ret, origin, learned: "nothing" };
  return { ret, origin, learned: learned === list ? "its own address" : "a machine address" };
}

const under = (rules: RuleSetName): Scenario => ({
  conduits: ["vm"],
  clauses: ["MED-050", "MED-091", "MSG-2.3.2"],
  rules,
  run: (context) => readShadow(context),
});

// What it reads is a machine address.
export const readShadowXen: Scenario = { ...under("xen"), resultsOnly: true };
export const readShadowStrict = under("strict");
