import { type MaybeTask, Registers, type Task } from "../machine/index.ts";
import { isRpcReturn, OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import type { CallQueue } from "./call-queue.ts";
import type { Kernel } from "./kernel.ts";
import type { MessageBuffer } from "./message-buffers.ts";
import type { CallContext, RpcService } from "./rpc-service.ts";
import type { Caller } from "./supplicant-queue.ts";

/** A message on its way. */
interface Trip {
  readonly buffer: MessageBuffer;
  readonly params: number;
  readonly caller: Caller;
  readonly system: boolean;
  readonly cpu: number;
  readonly registers: Registers;
}

/** Carries the driver's messages to the secure world and back (SMC-9.1 to 9.5). */
export class Carrier {
  readonly #kernel: Kernel;
  readonly #queue: CallQueue;
  readonly #rpc: RpcService;
  readonly #idleRegisters: Registers[] = [];

  constructor(kernel: Kernel, queue: CallQueue, rpc: RpcService) {
    this.#kernel = kernel;
    this.#queue = queue;
    this.#rpc = rpc;
  }

  /** False when the transport failed (SMC-9.3). A task only where the call has to wait. */
  send(buffer: MessageBuffer, params: number, caller: Caller, system = false): MaybeTask<boolean> {
    buffer.written();
    const cpu = this.#kernel.cpuForCall();
    const registers = this.#idleRegisters.pop() ?? new Registers();
    this.#entry(registers, buffer);
    const begun = this.#queue.tryBegin(system);
    if (begun) {
      this.#kernel.smc(registers, cpu);
      const a0 = registers.get(0);
      if (a0 !== SMC_RETURN.ETHREAD_LIMIT && !isRpcReturn(a0)) return this.#arrived(registers);
    }
    return this.#goOn({ buffer, params, caller, system, cpu, registers }, begun);
  }

  /** The rest of a call that has to wait, for its turn or for what the secure world asks. */
  *#goOn(trip: Trip, begun: boolean): Task<boolean> {
    const { buffer, params, caller, system, cpu, registers } = trip;
    const call: CallContext = { pageList: [], caller };
    if (!begun) {
      yield* this.#queue.begin(system);
      this.#kernel.smc(registers, cpu);
    }
    for (;;) {
      const a0 = registers.get(0);
      if (a0 === SMC_RETURN.ETHREAD_LIMIT) {
        yield* this.#queue.waitForCompletion(system);
        this.#entry(registers, buffer);
      } else if (isRpcReturn(a0)) {
        const rpcArg = buffer.hasRpcArg ? () => buffer.rpcArg(params) : undefined;
        yield* this.#rpc.serve(registers, rpcArg, () => buffer.written(), call);
        registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
      } else {
        break;
      }
      this.#kernel.smc(registers, cpu);
    }
    this.#kernel.pages.drop(call.pageList);
    return this.#arrived(registers);
  }

  #arrived(registers: Registers): boolean {
    const ok = registers.get(0) === SMC_RETURN.OK;
    this.#idleRegisters.push(registers);
    this.#queue.end();
    return ok;
  }

  /** a3 says where the message is in a registered object; otherwise it and a4 to a7 are 0 (SMC-9.1). */
  #entry(registers: Registers, buffer: MessageBuffer): void {
    registers.set(0, buffer.fid);
    for (let index = 3; index < 8; index += 1) registers.set(index, 0);
    if (buffer.fid === OPTEE_SMC.CALL_WITH_REGD_ARG) {
      registers.set(1, buffer.shm.cookieHigh);
      registers.set(2, buffer.shm.cookieLow);
      registers.set(3, buffer.offset);
    } else {
      registers.setPair(1, buffer.page + buffer.within);
    }
  }
}
