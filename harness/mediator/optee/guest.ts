import {
  type GuestSpace,
  MAPPING,
  type Pa,
  PAGE_SIZE,
  type PlatformPort,
  Registers,
  PageMemo,
  dataViewOf,
  frameToPa,
} from "../../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN } from "../../optee-abi/index.ts";
import type { BackEndHost, GuestHost, GuestUsage, TeeGuest } from "../backend.ts";
import type { GuestLog } from "../guest-log.ts";
import type { PageHeap } from "../heap.ts";
import type { RuleSet } from "../rules.ts";
import { BufferTable } from "./buffers.ts";
import { StdCall } from "./call.ts";
import { handleFastCall } from "./fast-calls.ts";
import { handleReturnFromRpc } from "./resume.ts";
import { RpcArguments } from "./rpc-arguments.ts";
import { handleCallWithArg } from "./std-call.ts";

/** Per-VM context of the OP-TEE back end: calls, RPC arguments, buffers, quotas (sheet MED 0). */
export class OpteeGuest implements TeeGuest {
  readonly clientId: number;
  readonly space: GuestSpace;
  /** Messages about this VM; undefined when nobody listens. */
  readonly log: GuestLog | undefined;
  /** Reports a decision under its clause; undefined when nobody listens, and then it costs nothing. */
  readonly trace: ((clause: string, what: string) => void) | undefined;
  readonly rules: RuleSet;
  readonly heap: PageHeap;
  readonly port: PlatformPort;
  readonly buffers: BufferTable;
  readonly rpcArguments: RpcArguments;
  readonly calls: StdCall[] = [];
  /** Guest pages that results are written to. */
  readonly views = new PageMemo(dataViewOf);
  /** The most calls that may be in flight or suspended (MED-003). */
  readonly threadLimit: number;
  /** The secure world was told of the VM's end. */
  #forgotten = false;
  #temporaries = 0;
  readonly #idleCalls: StdCall[] = [];
  readonly #idleRegisters: Registers[] = [];

  constructor(host: BackEndHost, guest: GuestHost, threadLimit: number) {
    this.clientId = guest.clientId;
    this.space = guest.space;
    this.log = guest.log;
    this.rules = host.rules;
    this.heap = host.heap;
    this.port = host.port;
    this.threadLimit = threadLimit;
    const { trace } = host;
    const { clientId } = guest;
    this.trace =
      trace === undefined ? undefined : (clause, what) => trace({ clientId, clause, what });
    const { frames, owner } = guest.space;
    this.buffers = new BufferTable(host.rules, frames, host.heap, owner);
    this.rpcArguments = new RpcArguments(host.rules, frames, host.heap, owner);
  }

  /** Low word of the cookie under which the secure world gets the next temporary memory. */
  nextTemporary(): number {
    this.#temporaries = (this.#temporaries + 1) >>> 0;
    return this.#temporaries;
  }

  handle(registers: Registers): boolean {
    switch (registers.get(0)) {
      case OPTEE_SMC.CALL_WITH_ARG:
        handleCallWithArg(this, registers);
        return true;
      case OPTEE_SMC.RETURN_FROM_RPC:
        handleReturnFromRpc(this, registers);
        return true;
      default:
        return handleFastCall(this, registers);
    }
  }

  /** MED-160 to MED-168. No RPC is completed and no session closed on behalf of the VM. */
  destroy(): void {
    this.relinquish(() => false);
  }

  /** Every step can be taken again; what was done is not done again. */
  relinquish(preempted: () => boolean): boolean {
    // MED-166: the secure world forgets the VM before its pages can be used for anything else.
    if (!this.rules.unpinBeforeDestroy) this.#announceDestroyed();
    for (const call of this.calls.splice(0)) this.#releaseShadow(call);
    if (preempted()) return false;
    this.rpcArguments.dropAll();
    for (const buffer of this.buffers.all()) {
      if (preempted()) return false;
      this.buffers.close(buffer);
    }
    if (preempted()) return false;
    this.#announceDestroyed();
    // MED-165: what xen's quota has lost (MED-068) is all that can be left.
    const { pages } = this.buffers;
    if (pages !== 0) this.trace?.("MED-165", `left behind: ${pages} pages of the quota`);
    return true;
  }

  usage(): GuestUsage {
    return {
      calls: this.calls.length,
      suspended: this.calls.filter((call) => !call.inFlight).length,
      buffers: this.buffers.count,
      pages: this.buffers.pages,
      rpcArguments: this.rpcArguments.count,
    };
  }

  /** MED-040 to MED-042: a new call, or undefined with the code that refuses it. */
  beginCall(): StdCall | typeof SMC_RETURN.ETHREAD_LIMIT | typeof SMC_RETURN.ENOMEM {
    if (this.calls.length >= this.threadLimit) return SMC_RETURN.ETHREAD_LIMIT;
    if (!this.heap.admits("call")) return SMC_RETURN.ENOMEM;
    const call = this.#idleCalls.pop() ?? new StdCall();
    this.calls.push(call);
    return call;
  }

  /** MED-048: every way out of a call gives back its shadow and its slot. */
  endCall(call: StdCall): void {
    // The last one without splice, which throws the array's memory away.
    if (this.calls.at(-1) === call) this.calls.pop();
    else this.calls.splice(this.calls.indexOf(call), 1);
    this.#releaseShadow(call);
    call.reset();
    this.#idleCalls.push(call);
  }

  /** A register file for one forwarded call: a1..a6 zero, a7 the client id (MED-009). */
  takeRegisters(fid: number): Registers {
    const registers = this.#idleRegisters.pop() ?? new Registers();
    this.prepare(registers, fid);
    return registers;
  }

  giveRegisters(registers: Registers): void {
    this.#idleRegisters.push(registers);
  }

  prepare(registers: Registers, fid: number): void {
    registers.set(0, fid);
    for (let index = 1; index < 7; index += 1) registers.set(index, 0);
    registers.set(7, this.clientId);
  }

  /** The frame behind a page that the guest may write, RAM of its own; -1 otherwise. */
  writableFrame(page: number): number {
    return this.space.stage2.writable(page);
  }

  /**
   * The frame behind a page that the guest may write, held by a reference until `letGo`: should the
   * page be taken from the guest meanwhile, its frame is nobody else's yet. -1 when there is none.
   */
  hold(page: number): number {
    const frame = this.writableFrame(page);
    // No frame table has -1.
    return this.space.frames.pin(frame) ? frame : -1;
  }

  letGo(frame: number): void {
    this.space.frames.unpin(frame);
  }

  /** The bytes of a frame that is held, for writing. */
  bytesOf(frame: number): Uint8Array | undefined {
    return this.heap.memory.page(frameToPa(frame), "write");
  }

  /** Reports a write to a frame that is held. */
  wrote(frame: number, offset: number, length: number): void {
    this.heap.memory.dirty((frameToPa(frame) + offset) as Pa, length);
  }

  /** Writes the start of a page; false when the guest may not write it now. */
  copyOut(page: number, bytes: Uint8Array): boolean {
    const frame = this.hold(page);
    if (frame < 0) return false;
    const target = this.bytesOf(frame);
    target?.set(bytes);
    if (target !== undefined) this.wrote(frame, 0, bytes.length);
    this.letGo(frame);
    return target !== undefined;
  }

  /** Copies the start of a guest page once; RAM that is read-only for the guest will do. */
  copyIn(page: number, target: Uint8Array): boolean {
    const { stage2, frames } = this.space;
    const kind = stage2.kind(page);
    if (kind !== MAPPING.ramRw && kind !== MAPPING.ramRo) return false;
    const frame = stage2.frame(page);
    if (!frames.pin(frame)) return false;
    const bytes = this.heap.memory.page(frameToPa(frame));
    if (bytes !== undefined) {
      target.set(target.length === PAGE_SIZE ? bytes : bytes.subarray(0, target.length));
    }
    frames.unpin(frame);
    return bytes !== undefined;
  }

  #releaseShadow(call: StdCall): void {
    if (call.shadow >= 0) this.heap.release(call.shadow);
  }

  #announceDestroyed(): void {
    if (this.#forgotten) return;
    this.#forgotten = true;
    const registers = this.takeRegisters(OPTEE_SMC.VM_DESTROYED);
    registers.set(1, this.clientId);
    registers.set(7, 0);
    this.port.smc(registers);
    this.giveRegisters(registers);
    this.trace?.("MED-164", "VM_DESTROYED");
  }
}
