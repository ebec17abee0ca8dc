import {
  type Conduit,
  dataViewOf,
  type Ipa,
  PageMemo,
  PAGE_SIZE,
  type Registers,
  type Scheduler,
} from "../machine/index.ts";
import type { RpmbDevice } from "../rpmb/index.ts";
import type { I2cBus } from "./i2c.ts";
import { MessageView } from "../optee-abi/index.ts";
import { PageAllocator, PageSpan } from "./pages.ts";
import type { ProtectedBuffer } from "./protected-heap.ts";
import { KernelPointers, POINTER_HIGH, type TeeShm } from "./shm.ts";
import type { TeeContext } from "./tee-context.ts";

export interface KernelOptions {
  readonly name: string;
  readonly conduit: Conduit;
  readonly scheduler: Scheduler;
  /** CPUs that the kernel runs on; 1 announces a uniprocessor to the secure world. */
  readonly cpus?: number;
  /** Timer ticks a second: what NOTIFICATION's timeout is really counted in (SMC-9.9). */
  readonly hz?: number;
  /**
   * Built to load OP-TEE's image through EL3 (SMC-9.P1); `image` is the file, undefined when the
   * root file system has none.
   */
  readonly imageLoad?: { readonly image: Uint8Array | undefined };
  /** I2C buses by number; undefined for a kernel that is built without I2C. */
  readonly i2c?: ReadonlyMap<number, I2cBus>;
  /** RPMB devices that the kernel has drivers for; undefined for one without RPMB support. */
  readonly rpmb?: readonly RpmbDevice[];
  /** Wall time at power-on, milliseconds since the Unix epoch. */
  readonly epochMs?: number;
  readonly log?: (line: string) => void;
}

/** One SMC instruction of a normal world, before (`enter`) or after (`leave`). */
export interface SmcEvent {
  readonly kernel: string;
  readonly phase: "enter" | "leave";
  readonly registers: Registers;
}

/** 2026-01-01T00:00:00Z: models need a wall time, and tests a fixed one. */
const DEFAULT_EPOCH_MS = 1_767_225_600_000;

/** What one Linux kernel has: its memory, CPUs and clocks, and the way to the secure world. */
export class Kernel {
  readonly name: string;
  readonly conduit: Conduit;
  readonly scheduler: Scheduler;
  readonly cpus: number;
  readonly hz: number;
  readonly imageLoad: { readonly image: Uint8Array | undefined } | undefined;
  readonly i2c: ReadonlyMap<number, I2cBus> | undefined;
  readonly rpmb: readonly RpmbDevice[] | undefined;
  readonly pages: PageAllocator;
  readonly shmPointers = new KernelPointers<TeeShm>();
  /** Pages that lists are written to, and those that start with a message. */
  readonly views = new PageMemo(dataViewOf);
  readonly messages = new PageMemo((bytes) => new MessageView(bytes));
  readonly log: (line: string) => void;
  readonly #epochMs: number;
  /** Sees every SMC while set. */
  trace: ((event: SmcEvent) => void) | undefined;
  #nextCpu = 0;

  constructor(options: KernelOptions) {
    this.name = options.name;
    this.conduit = options.conduit;
    this.scheduler = options.scheduler;
    this.cpus = options.cpus ?? 2;
    this.hz = options.hz ?? 250;
    this.imageLoad = options.imageLoad;
    this.i2c = options.i2c;
    this.rpmb = options.rpmb;
    this.pages = new PageAllocator(options.conduit);
    this.log = options.log ?? ((): void => undefined);
    this.#epochMs = options.epochMs ?? DEFAULT_EPOCH_MS;
  }

  get wallMs(): number {
    return this.#epochMs + this.scheduler.nowMs;
  }

  /** The CPU that the next call runs on. */
  cpuForCall(): number {
    const cpu = this.#nextCpu;
    this.#nextCpu = (cpu + 1) % this.cpus;
    return cpu;
  }

  smc(registers: Registers, cpu: number): void {
    const { trace } = this;
    if (trace === undefined) {
      this.conduit.smc(registers, cpu);
      return;
    }
    trace({ kernel: this.name, phase: "enter", registers });
    this.conduit.smc(registers, cpu);
    trace({ kernel: this.name, phase: "leave", registers });
  }

  span(pages: readonly Ipa[], offset: number, size: number): PageSpan {
    return new PageSpan(this.conduit.memory, pages, offset, size);
  }

  /** A kernel object over pages of its own; undefined when memory is short. */
  allocateShm(size: number, context: TeeContext | undefined, id: number): TeeShm | undefined {
    const count = Math.ceil(size / PAGE_SIZE);
    const pages = count === 0 ? undefined : this.pages.allocate(count);
    if (pages === undefined) return undefined;
    return this.makeShm({ id, context, span: this.span(pages, 0, size), size, kind: "pages" });
  }

  /** An object over a dma-buf of protected memory, on which it takes a reference. */
  makeProtectedShm(buffer: ProtectedBuffer, context: TeeContext, id: number): TeeShm {
    const count = buffer.size / PAGE_SIZE;
    const page = (_: unknown, index: number): Ipa => (buffer.address + index * PAGE_SIZE) as Ipa;
    const span = this.span(Array.from({ length: count }, page), 0, buffer.size);
    buffer.references += 1;
    const { size } = buffer;
    return this.makeShm({ id, context, span, size, kind: "protected", protectedBuffer: buffer });
  }

  makeShm(
    of: Pick<TeeShm, "id" | "context" | "span" | "size" | "kind"> &
      Partial<Pick<TeeShm, "protectedBuffer">>,
  ): TeeShm {
    const cookieLow = this.shmPointers.take();
    // Field by field: a spread is ten times slower, and objects are made for every temporary buffer.
    const shm: TeeShm = {
      id: of.id,
      context: of.context,
      span: of.span,
      size: of.size,
      kind: of.kind,
      protectedBuffer: of.protectedBuffer,
      cookieHigh: POINTER_HIGH,
      cookieLow,
      registered: false,
      references: 1,
    };
    this.shmPointers.set(cookieLow, shm);
    return shm;
  }

  /** Gives the object's pages and its kernel pointer back. */
  freeShm(shm: TeeShm): void {
    this.shmPointers.free(shm.cookieLow);
    const { protectedBuffer } = shm;
    if (protectedBuffer !== undefined) protectedBuffer.heap.drop(protectedBuffer);
    else if (shm.kind !== "reserved") this.pages.drop(shm.span.pages);
  }
}
