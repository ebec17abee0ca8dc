import { type Ipa, PAGE_SIZE, type Task, WaitQueue } from "../machine/index.ts";
import { messageSize, MessageView, OPTEE_SMC, RPC_ARG_PARAM_COUNT } from "../optee-abi/index.ts";
import type { Kernel } from "./kernel.ts";
import type { TeeShm } from "./shm.ts";

/** Parameters that any message of this driver has room for: two meta and four others (SMC-9.1). */
export const MAX_MESSAGE_PARAMS = 6;
const MESSAGE_SIZE = messageSize(MAX_MESSAGE_PARAMS);
const RPC_ARG_SIZE = messageSize(RPC_ARG_PARAM_COUNT);
/** Bytes of one message with its RPC argument in a shared page. */
export const SLOT_SIZE = MESSAGE_SIZE + RPC_ARG_SIZE;

/** Where the driver puts messages, by what the secure world can do (SMC-9, table of buffers). */
export type Placement = "registered" | "private" | "reserved rpc" | "reserved";

/** A place for one message, and for the RPC argument behind it where the call takes one. */
export class MessageBuffer {
  readonly shm: TeeShm;
  readonly fid: number;
  readonly offset: number;
  /** Where the message is: the page, and the byte within it. */
  readonly page: Ipa;
  readonly within: number;
  readonly hasRpcArg: boolean;
  readonly #kernel: Kernel;
  readonly #length: number;
  #message: MessageView | undefined;
  /** The page that `#message` is a view of. */
  #of: Uint8Array | undefined;

  constructor(kernel: Kernel, shm: TeeShm, fid: number, offset: number) {
    this.#kernel = kernel;
    this.shm = shm;
    this.fid = fid;
    this.offset = offset;
    const position = shm.span.offset + offset;
    this.page = shm.span.pages[Math.floor(position / PAGE_SIZE)] ?? (0 as Ipa);
    this.within = position % PAGE_SIZE;
    this.hasRpcArg = fid !== OPTEE_SMC.CALL_WITH_ARG;
    this.#length = this.hasRpcArg ? SLOT_SIZE : MESSAGE_SIZE;
  }

  /** The message as it is now; valid until the next SMC. */
  message(): MessageView {
    const bytes = this.#bytes();
    if (this.within === 0) return this.#kernel.messages.of(this.page / PAGE_SIZE, bytes);
    if (this.#message === undefined || this.#of !== bytes) {
      this.#of = bytes;
      this.#message = new MessageView(bytes, this.within, MESSAGE_SIZE);
    }
    return this.#message;
  }

  /** The RPC argument, which follows a message of `params` parameters. */
  rpcArg(params: number): MessageView {
    return new MessageView(this.#bytes(), this.within + messageSize(params), RPC_ARG_SIZE);
  }

  /** Reports the message and what follows as written. */
  written(): void {
    this.#kernel.conduit.memory.dirty((this.page + this.within) as Ipa, this.#length);
  }

  clear(): void {
    this.#bytes().fill(0, this.within, this.within + this.#length);
    this.written();
  }

  #bytes(): Uint8Array {
    return this.#kernel.conduit.memory.page(this.page) ?? new Uint8Array(PAGE_SIZE);
  }
}

/** Makes the memory of one entry of the cache; undefined when there is none. */
export type EntryMaker = () => Task<TeeShm | undefined>;

/** The driver's cache of message buffers. Freed ones are used again, the latest first. */
export class MessageBuffers {
  readonly #kernel: Kernel;
  readonly #placement: Placement;
  readonly #make: EntryMaker;
  readonly #free: MessageBuffer[] = [];
  readonly entries: TeeShm[] = [];
  readonly #made = new WaitQueue("optee message page");
  #making = false;

  constructor(kernel: Kernel, placement: Placement, make: EntryMaker) {
    this.#kernel = kernel;
    this.#placement = placement;
    this.#make = make;
  }

  /** A free buffer of the cache, cleared; undefined when `take` has to make one. */
  takeFree(): MessageBuffer | undefined {
    const free = this.#free.pop();
    free?.clear();
    return free;
  }

  *take(): Task<MessageBuffer | undefined> {
    // One at a time: who waits may find a place in the page that another made.
    while (this.#making) yield this.#made;
    const free = this.takeFree();
    if (free !== undefined) return free;
    this.#making = true;
    const shm = yield* this.#make();
    this.#making = false;
    this.#made.wakeAll();
    if (shm === undefined) return undefined;
    this.entries.push(shm);
    const placement = this.#placement;
    const fid = {
      registered: OPTEE_SMC.CALL_WITH_REGD_ARG,
      private: OPTEE_SMC.CALL_WITH_ARG,
      "reserved rpc": OPTEE_SMC.CALL_WITH_RPC_ARG,
      reserved: OPTEE_SMC.CALL_WITH_ARG,
    }[placement];
    const shared = placement !== "private";
    const size = placement === "reserved" ? MESSAGE_SIZE : SLOT_SIZE;
    const slots = shared ? Math.floor(PAGE_SIZE / size) : 1;
    for (let slot = slots - 1; slot >= 0; slot -= 1) {
      this.#free.push(new MessageBuffer(this.#kernel, shm, fid, slot * size));
    }
    const first = this.#free.pop();
    first?.clear();
    return first;
  }

  /** A buffer of its own, outside of any cache. */
  static single(kernel: Kernel, shm: TeeShm, fid: number): MessageBuffer {
    return new MessageBuffer(kernel, shm, fid, 0);
  }

  /** Empties the cache; the caller releases its memory. No buffer may be in use. */
  drain(): TeeShm[] {
    this.#free.length = 0;
    return this.entries.splice(0);
  }

  give(buffer: MessageBuffer): void {
    this.#free.push(buffer);
  }
}
