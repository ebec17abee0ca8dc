import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { InfrastructureError, TargetCrashError } from "../base/index.ts";
import type { Pa, Registers } from "../machine/index.ts";
import { InterruptPace } from "./interrupt-pace.ts";
import { MAILBOX } from "./mailbox-page.ts";

export interface SharedRamOptions {
  /** The file that is the machine's RAM. */
  readonly file: string;
  /** The physical address of its first byte. */
  readonly base: number;
  /** Where the resident program is. */
  readonly page: Pa;
  /** Milliseconds after which an SMC that did not return counts as lost; default 30,000. */
  readonly smcMs?: number;
  /** Whether the program was told of the board's GIC. */
  readonly hasTimer?: boolean;
}

const SMC_MS = 30_000;
/**
 * Polls before the thread begins to sleep between them. An SMC on an idle machine needs about 100, and
 * QEMU needs the processor too: on a busy machine 20,000 halve what a fuzzer gets done.
 */
const SPINS = 1000;
const NAP_MS = 0.2;

/**
 * A machine whose RAM is a file of this host and which runs boards/bridge/mailbox.s. All methods are
 * synchronous, so the thread that uses them must not be the one that drains the board's consoles.
 */
export class SharedRamMachine {
  /**
   * Microseconds after which an interrupt is pending in every SMC, more while a call is handed back
   * again and again; undefined: never. Needs boards/bridge/mailbox.s,
   * started with the board's GIC.
   */
  interruptEveryUs: number | undefined;
  readonly #fd: number;
  readonly #base: number;
  readonly #page: number;
  readonly #smcMs: number;
  readonly #request = Buffer.alloc(8 + MAILBOX.wordsSize);
  readonly #number = Buffer.alloc(8);
  readonly #answer = Buffer.alloc(8 + 8 + MAILBOX.wordsSize);
  readonly #nap = new Int32Array(new SharedArrayBuffer(4));
  readonly #pace = new InterruptPace();
  /** The number of the last request that the program answered. */
  #last: bigint;

  constructor(options: SharedRamOptions) {
    this.#fd = openSync(options.file, "r+");
    this.#base = options.base;
    this.#page = options.page;
    this.#smcMs = options.smcMs ?? SMC_MS;
    this.read(this.#page + MAILBOX.answer, this.#number);
    this.#last = this.#number.readBigUInt64LE();
  }

  close(): void {
    closeSync(this.#fd);
  }

  /** Reads `target.length` bytes of RAM at `at`. */
  read(at: number, target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const count = readSync(this.#fd, target, done, target.length - done, at - this.#base + done);
      if (count === 0) throw new RangeError(`0x${(at + done).toString(16)} is behind the RAM`);
      done += count;
    }
  }

  write(at: number, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      done += writeSync(this.#fd, bytes, done, bytes.length - done, at - this.#base + done);
    }
  }

  /**
   * One SMC: x0..x7 in and out in place. Throws TargetCrashError when it does not return, or where the
   * program met an exception instead, InfrastructureError where an interrupt is wanted and cannot be
   * had. With `ticks` (32 bits) boards/bridge/dom0.s has its guest's timer fire that many ticks after
   * it begins.
   */
  smc(registers: Registers, ticks = 0): void {
    const high =
      this.interruptEveryUs === undefined ? ticks : this.#pace.next(this.interruptEveryUs);
    this.#call(MAILBOX.smc | (BigInt(high) << MAILBOX.highShift), registers);
    this.#pace.returned(registers.get64(0));
  }

  /** One hypercall of Xen, where boards/bridge/dom0.s runs: its number is x7. Throws as `smc` does. */
  hypercall(registers: Registers): void {
    this.#call(MAILBOX.hypercall, registers);
  }

  #call(operation: bigint, registers: Registers): void {
    const request = this.#request;
    request.writeBigUInt64LE(operation, 0);
    for (let index = 0; index < 8; index += 1) {
      request.writeBigUInt64LE(registers.get64(index), 8 + index * 8);
    }
    this.#ask(request);
    const answer = this.#answer;
    this.read(this.#page + MAILBOX.answer, answer);
    const exception = answer.readBigUInt64LE(8);
    if (exception === MAILBOX.noTimer) throw noTimer();
    if (exception !== 0n) {
      throw new TargetCrashError("the call ended in an exception of its guest", {
        seen: `ESR_EL1 0x${exception.toString(16)} at 0x${answer.readBigUInt64LE(16).toString(16)}`,
        next: "Power-cycle the board to go on.",
      });
    }
    for (let index = 0; index < 8; index += 1) {
      registers.set64(index, answer.readBigUInt64LE(16 + index * 8));
    }
  }

  /** What boards/bridge/dom0.s reads at `at`, a multiple of 8; undefined where it may not. */
  load(at: Pa): bigint | undefined {
    const request = this.#request.fill(0);
    request.writeBigUInt64LE(MAILBOX.load, 0);
    request.writeBigUInt64LE(BigInt(at), 8);
    this.#ask(request);
    this.read(this.#page + MAILBOX.answer, this.#answer);
    return this.#answer.readBigUInt64LE(8) === 0n ? this.#answer.readBigUInt64LE(16) : undefined;
  }

  /** The program goes back to the boot loader's prompt. */
  leave(): void {
    this.#request.fill(0);
    this.#request.writeBigUInt64LE(MAILBOX.leave, 0);
    this.#ask(this.#request);
  }

  #ask(request: Uint8Array): void {
    this.#last += 1n;
    this.write(this.#page + MAILBOX.request + 8, request);
    // The number goes last: a request is there when it is whole.
    this.#number.writeBigUInt64LE(this.#last);
    this.write(this.#page + MAILBOX.request, this.#number);
    const limit = performance.now() + this.#smcMs;
    for (let polls = 0; ; polls += 1) {
      this.read(this.#page + MAILBOX.answer, this.#number);
      if (this.#number.readBigUInt64LE() === this.#last) return;
      if (polls < SPINS) continue;
      if (performance.now() > limit) {
        throw new TargetCrashError(`a call did not return within ${this.#smcMs / 1000} s`, {
          expected: "an answer in the mailbox of the resident program",
          seen: `request ${this.#last} unanswered, x0 = 0x${request.length > 8 ? Buffer.from(request).readBigUInt64LE(8).toString(16) : "0"}`,
          next: "Read the secure console; power-cycle the board to go on.",
        });
      }
      Atomics.wait(this.#nap, 0, 0, NAP_MS);
    }
  }
}

/** There is no timer interrupt where the board file says that there is one. */
export const noTimer = (): InfrastructureError =>
  new InfrastructureError("the board has no timer interrupt as bridge.gic says", {
    expected: "a GICv3 with affinity routing, and this core's redistributor",
    next: "Check bridge.gic of the board file.",
  });
