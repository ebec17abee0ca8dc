import { TargetCrashError } from "../base/index.ts";
import {
  type InterruptLine,
  isFastCall,
  ownerOf,
  type Registers,
  SMCCC,
  UNKNOWN_FUNCTION,
} from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { Core, type CoreOptions } from "./core.ts";
import { fastCall } from "./fast-calls.ts";
import { Partitions } from "./partitions.ts";
import type { Partition } from "./partition.ts";
import { standardCall } from "./standard-call.ts";
import type { Thread } from "./thread.ts";

/** What TF-A answers for itself. */
const PSCI_VERSION = 0x8400_0000;
const PSCI_1_1 = 0x1_0001;
/** Bits of a function id that EL3 refuses in fast calls (SMC-1.FID). */
const FID_RESERVED = 0x00fe_0000;
/** The caller's hint that no SVE state is live, which EL3 takes out of every function id. */
const FID_HINT = 0x0001_0000;

/**
 * The secure side of an emulated platform: EL3's dispatcher with an OP-TEE behind it. One call of
 * `smc` is one SMC instruction; it returns at completion and at every RPC, and nothing of the normal
 * world is ever called from here. Throws TargetCrashError where the real one would panic.
 */
export class SecureWorld {
  readonly core: Core;
  readonly partitions: Partitions;

  constructor(options: CoreOptions) {
    this.core = new Core(options);
    this.partitions = new Partitions(this.core);
  }

  #crash: unknown;

  /** The normal world's interrupt that asynchronous notifications raise. */
  get notifications(): InterruptLine {
    return this.core.notifications;
  }

  /**
   * What a driver of the secure world does to notify a guest (0 without virtualization) of `value`,
   * 0 to 63: nothing, and false, before that guest has enabled notifications (SMC-7.2). Throws
   * RangeError for another value.
   */
  raiseNotification(value: number, clientId = 0): boolean {
    const guest = this.core.features.asyncNotif ? this.partitions.select(clientId) : undefined;
    if (guest?.notifications.started !== true) return false;
    guest.notifications.send(value);
    return true;
  }

  /**
   * x0..x7 in, x0..x3 out in place; x4..x7 keep the caller's values (SMC-11.3). After a panic every
   * call throws the TargetCrashError of that panic again.
   */
  smc(registers: Registers): void {
    if (this.#crash !== undefined) throw this.#crash;
    try {
      this.#dispatch(registers);
      if (this.core.crash !== undefined) throw this.core.crash;
    } catch (error) {
      this.#crash = error;
      throw error;
    }
  }

  #dispatch(registers: Registers): void {
    const given = registers.get(0);
    if (isFastCall(given) && (given & FID_RESERVED) !== 0) {
      registers.setAllOnes(0);
      return;
    }
    const fid = (given & ~FID_HINT) >>> 0;
    if (fid !== given) registers.set(0, fid);
    if (fid === PSCI_VERSION) {
      registers.set(0, PSCI_1_1);
      return;
    }
    const owner = ownerOf(fid);
    if (owner < SMCCC.trustedOsFirst || owner > SMCCC.trustedOsLast) {
      registers.set64(0, 0xffff_ffff_ffff_ffffn);
      return;
    }
    if (isFastCall(fid)) this.#fast(registers);
    else this.#yielding(registers, fid);
  }

  #fast(registers: Registers): void {
    const partition = this.partitions.select(registers.get(7));
    const hypervisor = registers.get(7) === 0 && registers.high(7) === 0;
    if (partition === undefined && !hypervisor) {
      registers.set(0, SMC_RETURN.ENOTAVAIL);
      return;
    }
    fastCall(registers, this.core, this.partitions, partition);
  }

  #yielding(registers: Registers, fid: number): void {
    const client = registers.get(7);
    const partition = this.partitions.select(client);
    if (partition === undefined) {
      if (!this.core.features.refusesUnknownClient) {
        throw new TargetCrashError("OP-TEE panicked: a yielding call of no guest", {
          expected: "the client id of a guest in a7 (SMC-10)",
          seen: `a7 is ${client}, and this release does not check it`,
        });
      }
      registers.set(0, SMC_RETURN.ENOTAVAIL);
      return;
    }
    let thread: Thread | undefined;
    if (fid === OPTEE_SMC.RETURN_FROM_RPC) {
      thread = this.#resume(partition, registers);
      if (thread === undefined) {
        registers.set(0, SMC_RETURN.ERESUME);
        return;
      }
    } else {
      thread = partition.allocateThread();
      if (thread === undefined) {
        registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
        return;
      }
      thread.clientId = client;
    }
    this.partitions.enter(partition);
    if (fid === OPTEE_SMC.RETURN_FROM_RPC) run(thread, registers);
    else start(thread, registers, fid);
    this.partitions.leave(partition);
  }

  /** The suspended thread that a3 names, made active with the reply (SMC-4.2). */
  #resume(partition: Partition, registers: Registers): Thread | undefined {
    const thread = partition.threads[registers.get(3)];
    if (thread?.state !== "suspended") return undefined;
    if (this.core.features.checksClientOnResume && thread.clientId !== registers.get(7)) {
      return undefined;
    }
    thread.state = "active";
    if (thread.copyArgsOnReturn) {
      thread.reply[0] = registers.get(1);
      thread.reply[1] = registers.get(2);
      thread.reply[2] = registers.get(4);
      thread.reply[3] = registers.get(5);
    }
    return thread;
  }
}

/** Starts a call on a thread; it has completed, or left the secure world, when this returns. */
function start(thread: Thread, registers: Registers, fid: number): void {
  const code = standardCall(thread, fid, registers.get(1), registers.get(2), registers.get(3));
  if (typeof code === "number") {
    complete(thread, registers, code);
    return;
  }
  thread.body = code;
  run(thread, registers);
}

function complete(thread: Thread, registers: Registers, code: number): void {
  thread.state = "free";
  registers.set(0, code);
  registers.set(1, 0);
  registers.set(2, 0);
  registers.set(3, 0);
}

/** Runs the thread until it leaves the secure world, and says so in the registers. */
function run(thread: Thread, registers: Registers): void {
  const step = thread.body?.next();
  if (step === undefined) {
    registers.set(0, UNKNOWN_FUNCTION);
    return;
  }
  if (step.done === true) {
    thread.body = undefined;
    complete(thread, registers, step.value);
    return;
  }
  thread.state = "suspended";
  registers.set(0, thread.exitCode);
  registers.set(1, thread.exitA1);
  registers.set(2, thread.exitA2);
  registers.set(3, thread.index);
}
