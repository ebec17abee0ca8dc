import type { Registers } from "../../machine/index.ts";
import {
  ATTR_TYPE,
  isRpcReturn,
  MessageView,
  messageSize,
  MSG_CMD,
  MSG_MAX_NUM_PARAMS,
  OPTEE_SMC,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../../optee-abi/index.ts";
import type { EmulatedPlatform, NormalWorld } from "../../platform/index.ts";

/** A way into something that answers SMCs. */
export type Smc = (registers: Registers) => void;

/** Memory by the addresses that the registers of those SMCs have. */
export interface SmcMemory {
  read(at: number, length: number): Uint8Array;
  write(at: number, bytes: Uint8Array): void;
}

/** A bug of the model, put in from outside, which a comparison with the real thing must find. */
export interface PlantedBug {
  readonly name: string;
  /** Whose SMCs it spoils: the secure world's at the port, or the mediator's at a VM's conduit. */
  readonly where: "secure world" | "mediator";
  /** The clause that the model then breaks. */
  readonly clause: string;
  /** A scenario that comes to it, on conduit `vm`, and on `direct` for a secure world's. */
  readonly scenario: string;
  /** The first cause, as a report has it. */
  readonly seen: { readonly call: string; readonly field: string };
  /** The way in with the bug in it, for one machine. */
  plant(smc: Smc, memory: SmcMemory): Smc;
}

/** Closing and cancelling differ in what they call an unknown session; here they do not. */
const cancelOfNothing: PlantedBug = {
  name: "an unknown session cannot be found when it is cancelled",
  where: "secure world",
  clause: "MSG-2.CANCEL",
  scenario: "smc-abi/yielding-calls#noSuchSession",
  seen: { call: "CALL_WITH_ARG CANCEL", field: "ret" },
  plant: (smc, memory) =>
    changingResults(smc, memory, (message) => {
      const wrong =
        message.cmd === MSG_CMD.CANCEL &&
        message.numParams === 0 &&
        message.ret === TEEC.TEEC_ERROR_BAD_PARAMETERS;
      if (!wrong) return false;
      message.ret = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      return true;
    }),
};

const ARGUMENT_SIZE = messageSize(4);

/** As if an RPC's argument had six parameters, as a call's message may. */
const largeArgument: PlantedBug = {
  name: "the argument of an RPC is asked for with room for six parameters",
  where: "secure world",
  clause: "SMC-5.ALLOC",
  scenario: "smc-abi/rpc#rpcRegisters",
  seen: { call: "RPC ALLOC", field: "a1" },
  plant: (smc) => (registers) => {
    smc(registers);
    const asked = registers.get(0) === SMC_RETURN.RPC_ALLOC && registers.get(1) === ARGUMENT_SIZE;
    if (asked) registers.set(1, messageSize(6));
  },
};

/** The build's id, which real mediators keep to themselves. */
const revealedBuild: PlantedBug = {
  name: "the mediator hands out the build of OP-TEE",
  where: "mediator",
  clause: "MED-024",
  scenario: "smc-abi/mediated-fast-calls#getOsRevision",
  seen: { call: "GET_OS_REVISION", field: "a2" },
  plant: (smc) => (registers) => {
    const revision = registers.get(0) === OPTEE_SMC.GET_OS_REVISION;
    smc(registers);
    if (revision) registers.set(2, 0);
  },
};

/** A NULL reference has a size of its own, where it has none. */
const sizeOfNull: PlantedBug = {
  name: "a NULL reference for output comes back with a size",
  where: "secure world",
  clause: "MSG-2.2.EXPORT",
  scenario: "smc-abi/memory-life#nullReferences",
  seen: { call: "CALL_WITH_ARG INVOKE_COMMAND", field: "params[0].size" },
  plant: (smc, memory) =>
    changingResults(smc, memory, (message) => {
      const { cmd, numParams } = message;
      const wrong =
        cmd === MSG_CMD.INVOKE_COMMAND &&
        numParams === 1 &&
        message.type(0) === ATTR_TYPE.TMEM_INOUT &&
        message.low(0, WORD.buf_ptr) === 0 &&
        message.high(0, WORD.buf_ptr) === 0;
      if (wrong) message.setWords(0, WORD.size, 0, 0x1000);
      return wrong;
    }),
};

export const PLANTED_BUGS: readonly PlantedBug[] = [
  cancelOfNothing,
  largeArgument,
  sizeOfNull,
  revealedBuild,
];

/** Plants the bug in every machine that `EmulatedTarget` makes with this as `prepare`. */
export function planting(bug: PlantedBug): (platform: EmulatedPlatform) => void {
  return bug.where === "mediator"
    ? (platform) => plantInMediator(bug, platform)
    : (platform) => plantInSecureWorld(bug, platform);
}

function plantInSecureWorld(bug: PlantedBug, { port, secureWorld }: EmulatedPlatform): void {
  secureWorld.smc = bug.plant(secureWorld.smc.bind(secureWorld), port.memory);
}

function plantInMediator(bug: PlantedBug, platform: EmulatedPlatform): void {
  const add = platform.addGuest.bind(platform);
  platform.addGuest = (): NormalWorld => {
    const made = add();
    const { conduit } = made;
    let onVcpu: number | undefined;
    const smc = bug.plant((registers) => conduit.smc(registers, onVcpu), conduit.memory);
    return {
      ...made,
      conduit: {
        ...conduit,
        smc: (registers, vcpu) => {
          onVcpu = vcpu;
          smc(registers);
        },
      },
    };
  };
}

/** Has `change` look at the message of every CALL_WITH_ARG that is done; true when it changed it. */
function changingResults(
  smc: Smc,
  memory: SmcMemory,
  change: (message: MessageView) => boolean,
): Smc {
  const suspended = new Map<string, number>();
  return (registers) => {
    const fid = registers.get(0);
    const client = registers.get(7);
    let at: number | undefined;
    if (fid === OPTEE_SMC.CALL_WITH_ARG) at = registers.pair(1);
    else if (fid === OPTEE_SMC.RETURN_FROM_RPC) at = suspended.get(`${client} ${registers.get(3)}`);
    smc(registers);
    if (at === undefined) return;
    const a0 = registers.get(0);
    if (isRpcReturn(a0)) suspended.set(`${client} ${registers.get(3)}`, at);
    else if (a0 === SMC_RETURN.OK) {
      const bytes = memory.read(at, messageSize(MSG_MAX_NUM_PARAMS));
      if (change(new MessageView(bytes))) memory.write(at, bytes.subarray(0, messageSize(1)));
    }
  };
}
