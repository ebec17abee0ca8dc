import type { Task } from "../../harness/machine/index.ts";
import type { RuleSetName } from "../../harness/mediator/index.ts";
import { TEEC_PARAM, TeecParam } from "../../harness/normal-world/index.ts";
import { OPTEE_SMC, RPC_CMD, functionName } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { buffer, openSession, registerMemory } from "../support/client.ts";
import { CRYPT, INVOKE_TESTS, LARGE, OS_TEST } from "../support/tas.ts";
import { vmOf } from "../support/vm.ts";
import { RawDriver, openSession as openMessage } from "../support/raw-driver.ts";

const scenario = (
  clauses: readonly string[],
  run: (context: ScenarioContext) => Data,
  rules: RuleSetName = "strict",
): Scenario => ({ conduits: ["vm"], clauses, rules, run });

/** Function ids and client ids of every SMC that reaches the secure world while `body` runs. */
function watched(context: ScenarioContext, body: () => void): { fid: number; client: number }[] {
  const seen: { fid: number; client: number }[] = [];
  context.observe(({ where, phase, registers }) => {
    if (where !== "port" || phase !== "enter") return;
    seen.push({ fid: registers.get(0), client: registers.get(7) });
  });
  body();
  return [...seen];
}

/** A pseudo-TA and a TA that has to be loaded, value and memory parameters, everything mediated. */
const mediated =
  (own: number) =>
  (context: ScenarioContext): Data => {
    let sum = 0;
    let hash = "";
    const seen = watched(context, () => {
      const tee = context.client();
      context.execute(
        (function* (): Task {
          const pseudo = yield* openSession(tee, INVOKE_TESTS.uuid);
          const params = [1, 2, 3].map((a) => TeecParam.value(TEEC_PARAM.VALUE_INPUT, a, a));
          const out = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
          yield* tee.invokeCommand(pseudo, INVOKE_TESTS.PARAMS, [out, ...params]);
          sum = out.a;
          const ta = yield* openSession(tee, CRYPT.uuid);
          const input = yield* registerMemory(
            tee,
            buffer(tee, new TextEncoder().encode("abc"), 40),
          );
          const output = buffer(tee, 32, 100);
          yield* tee.invokeCommand(ta, CRYPT.SHA256, [
            TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INPUT, input, 0, 3),
            TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, output),
          ]);
          hash = Buffer.from(output.read()).toString("hex");
        })(),
      );
    });
    return {
      sum,
      hash,
      // The hypervisor itself speaks as client 0, and only to announce the VM.
      others: seen.filter(({ client }) => client !== own).map(({ fid }) => functionName(fid)),
      calls: seen.filter(({ fid }) => fid === OPTEE_SMC.CALL_WITH_ARG).length > 5,
      resumed: seen.some(({ fid }) => fid === OPTEE_SMC.RETURN_FROM_RPC),
    };
  };
export const everyCallIsMediated = scenario(["MED-009", "MED-053", "MED-101"], mediated(1));
/** The same unmodified driver under rule set kvm, whose first guest is client 2. */
export const everyCallIsMediatedKvm = scenario(
  ["MED-12.1", "MED-12.3", "MED-12.6", "MED-12.IDS"],
  mediated(2),
  "kvm",
);

/**
 * A TA of 284 pages: loading it takes one buffer of that size. What tee-supplicant was asked for
 * tells how far it got: the TA's size, memory, the TA itself, and that memory back.
 */
const loadLarge = (context: ScenarioContext): Data => {
  const tee = context.client();
  const { supplicant } = context.guest().linux;
  const served = (command: number): number => supplicant?.served.get(command) ?? 0;
  const { LOAD_TA, SHM_ALLOC, SHM_FREE } = RPC_CMD;
  const before = [LOAD_TA, SHM_ALLOC, SHM_FREE].map(served);
  return context.execute(
    (function* (): Task<Data> {
      const { result, origin, session } = yield* tee.openSession(LARGE.uuid);
      const [loads, allocations, frees] = [LOAD_TA, SHM_ALLOC, SHM_FREE].map(
        (command, index) => served(command) - (before[index] ?? 0),
      );
      return { result, origin, opened: session !== undefined, loads, allocations, frees };
    })(),
  );
};
export const largeTaXen = scenario(["MED-060", "MED-143"], loadLarge, "xen");
export const largeTaStrict = scenario(["MED-060", "MED-142"], loadLarge);
/** Larger than any buffer of Xen's, within the 512 pages of a KVM guest. */
export const largeTaKvm = scenario(["MED-060", "MED-142"], loadLarge, "kvm");

/** Two guests with a session each; both start from the same session number, as real ones do. */
export const twoGuests = scenario(["MED-151", "MED-062"], (context) => {
  const open = (guest: number): Data => {
    const tee = context.client(guest);
    return context.execute(
      (function* (): Task<Data> {
        const session = yield* openSession(tee, OS_TEST.uuid);
        const { result } = yield* tee.invokeCommand(session, OS_TEST.INIT, []);
        return result;
      })(),
    );
  };
  return [open(0), open(1), open(0)];
});

/** A guest dies while its call waits in an RPC; another one goes on, and a new one can come. */
export const deathInRpc = scenario(["MED-161", "MED-164", "MED-165"], (context) => {
  const bystander = context.guest(1);
  const victim = new RawDriver(context.guest(0).conduit);
  victim.untilShmAlloc(OS_TEST.uuid);
  const vm = vmOf(context);
  const before = vm.usage;
  const { frames, owner } = vm.space;
  const held = frames.records(owner).length;
  const seen = watched(context, () => context.guest(0).destroy());
  const other = new RawDriver(bystander.conduit);
  const { at } = other.send(openMessage(INVOKE_TESTS.uuid));
  return {
    suspended: before?.suspended ?? -1,
    held,
    left: frames.records(owner).length,
    told: seen.map(({ fid, client }) => `${functionName(fid)} ${client}`),
    bystander: other.get(at).ret,
    dead: victim.smc([OPTEE_SMC.CALLS_COUNT]).get(0),
  };
});

/** Another guest resumes the call of the first: thread numbers are the same, calls are not. */
export const foreignResume = scenario(["MED-110", "MED-151"], (context) => {
  const one = new RawDriver(context.guest(0).conduit);
  const two = new RawDriver(context.guest(1).conduit);
  const rpc = one.untilShmAlloc(OS_TEST.uuid);
  const stolen = two.resume(rpc).a0;
  const own = one.answer(rpc, { ret: 0xffff_000c });
  return { stolen, goesOn: own.a0 };
});
