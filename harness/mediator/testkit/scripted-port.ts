import {
  type Pa,
  type PhysicalMemory,
  type PlatformPort,
  type RegionSpec,
  Registers,
  SparseMemory,
} from "../../machine/index.ts";
import {
  API_UID,
  MessageView,
  OPTEE_SMC,
  OS_UUID,
  SMC_RETURN,
  TEEC,
  isRpcReturn,
} from "../../optee-abi/index.ts";

/** Where the scripted machine keeps things: the mediator's heap and the RAM for VMs. */
export const HEAP = { base: 0x20_0000_0000, size: 0x40_0000 } as const;
export const GUESTS = { base: 0x30_0000_0000, size: 0x1000_0000 } as const;

const REGIONS: readonly RegionSpec[] = [
  { name: "heap", ...HEAP, type: "ram" },
  { name: "guests", ...GUESTS, type: "ram" },
  { name: "secure", base: 0xe00_0000, size: 0x10_0000, type: "ram", secure: true },
];

/** One step of the secure world: changes the registers as the answer to an SMC. */
export type Step = (registers: Registers, port: ScriptedPort) => void;

/**
 * A secure world that answers by script, faults included that no OP-TEE would produce. Fast calls
 * answer as a virtualized OP-TEE 4.5 does unless a step is queued for them; yielding calls take the
 * next queued step, or complete with TEEC_SUCCESS.
 */
export class ScriptedPort implements PlatformPort {
  readonly sparse: SparseMemory;
  readonly memory: PhysicalMemory;
  /** x0..x7 of every SMC, low words, in order. */
  readonly seen: number[][] = [];
  readonly steps: Step[] = [];
  /** Overrides fast calls by function id. */
  readonly fast = new Map<number, Step>();
  /** Where the last CALL_WITH_ARG's argument page was. */
  argument = 0;

  constructor(
    regions: readonly RegionSpec[] = REGIONS,
    wrap: (memory: PhysicalMemory) => PhysicalMemory = (memory) => memory,
  ) {
    this.sparse = new SparseMemory(regions);
    this.memory = wrap(this.sparse.view("normal", "host"));
  }

  smc(registers: Registers): void {
    this.seen.push(Array.from({ length: 8 }, (_, index) => registers.get(index)));
    const fid = registers.get(0);
    const override = this.fast.get(fid);
    if (override !== undefined) {
      override(registers, this);
      return;
    }
    if (fid === OPTEE_SMC.CALL_WITH_ARG || fid === OPTEE_SMC.RETURN_FROM_RPC) {
      if (fid === OPTEE_SMC.CALL_WITH_ARG) this.argument = registers.pair(1);
      (this.steps.shift() ?? succeed)(registers, this);
      return;
    }
    answerFast(registers);
  }

  /** The message in the argument page that the mediator made, as the secure world sees it. */
  shadow(): MessageView {
    return this.message(this.argument);
  }

  /** The page at `at` as a message, unseen by any recorder. */
  message(at: number): MessageView {
    const region = this.sparse.find(at);
    if (region === undefined) throw new RangeError(`no page at ${at}`);
    return new MessageView(region.page((at - region.base) / 4096));
  }

  /** 64-bit words of a page, for page lists. */
  words(at: number, count: number): bigint[] {
    const bytes = this.sparse.peek(at as Pa, count * 8);
    return [...new BigUint64Array(bytes.buffer, 0, count)];
  }

  /** The SMCs with this function id, as words. */
  sent(fid: number): number[][] {
    return this.seen.filter((words) => words[0] === fid);
  }

  get last(): number[] {
    return this.seen.at(-1) ?? [];
  }
}

/** Completes the call: OK in a0, TEEC_SUCCESS in the message. */
export const succeed: Step = (registers, port) => {
  port.shadow().ret = TEEC.TEEC_SUCCESS;
  port.shadow().retOrigin = 3;
  finish(SMC_RETURN.OK)(registers, port);
};

/** Completes with `ret` in the message. */
export const failWith =
  (ret: number): Step =>
  (registers, port) => {
    port.shadow().ret = ret;
    port.shadow().retOrigin = 3;
    finish(SMC_RETURN.OK)(registers, port);
  };

/** Completes with `a0` and leaves the message alone. */
export const finish =
  (a0: number): Step =>
  (registers) => {
    registers.set(0, a0);
    for (const index of [1, 2, 3]) registers.set(index, 0);
  };

/** Returns with an RPC. */
export const rpc = (a0: number, a1 = 0, a2 = 0, thread = 0): Step => {
  if (!isRpcReturn(a0)) throw new RangeError(`${a0} is no RPC`);
  return (registers) => {
    registers.set(0, a0);
    registers.set(1, a1);
    registers.set(2, a2);
    registers.set(3, thread);
  };
};

function answerFast(registers: Registers): void {
  const put = (...words: number[]): void => {
    for (const [index, word] of words.entries()) registers.set(index, word);
  };
  switch (registers.get(0)) {
    case OPTEE_SMC.CALLS_COUNT:
      return put(14);
    case OPTEE_SMC.CALLS_UID:
      return put(...API_UID);
    case OPTEE_SMC.CALLS_REVISION:
      return put(2, 0);
    case OPTEE_SMC.GET_OS_UUID:
      return put(...OS_UUID);
    case OPTEE_SMC.GET_OS_REVISION:
      put(4, 5);
      return registers.set64(2, 0x1234_5678_9abc_def0n);
    case OPTEE_SMC.EXCHANGE_CAPABILITIES:
      return put(SMC_RETURN.OK, 0xdd, 77, 4);
    case OPTEE_SMC.DISABLE_SHM_CACHE:
      return put(SMC_RETURN.ENOTAVAIL);
    case OPTEE_SMC.GET_THREAD_COUNT:
      return put(SMC_RETURN.OK, 2);
    case OPTEE_SMC.ENABLE_SHM_CACHE:
    case OPTEE_SMC.VM_CREATED:
    case OPTEE_SMC.VM_DESTROYED:
      return put(SMC_RETURN.OK);
    default:
      return registers.set(0, SMC_RETURN.UNKNOWN_FUNCTION);
  }
}
