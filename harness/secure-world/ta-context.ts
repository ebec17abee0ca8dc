import type { Partition } from "./partition.ts";
import type { Session } from "./session.ts";
import { TaObjects } from "./storage/ta-objects.ts";
import { SecureCondition } from "./sync.ts";
import { TA_FLAG, type TaInstance, type TrustedApplication } from "./tas/ta.ts";
import type { SecureTask, Thread } from "./thread.ts";

/** A TA instance as the manager keeps it: who uses it, whether it runs, whether it died. */
export class TaContext {
  /** Unique among the instances of its guest so far, from 1. */
  readonly id: number;
  readonly partition: Partition;
  readonly ta: TrustedApplication;
  readonly instance: TaInstance;
  readonly isPseudo: boolean;
  /** Sessions that this TA opened to others. */
  readonly openSessions: Session[] = [];
  /** Its transient and persistent objects. */
  readonly objects: TaObjects;
  /** Secure RAM that it occupies, in bytes. */
  ram: number;
  references = 1;
  /** Sessions that the TA's own code knows. */
  taSessions = 0;
  initializing: boolean;
  created = false;
  panicked = false;
  releasing = false;
  #busy = false;
  readonly #free: SecureCondition;

  constructor(partition: Partition, ta: TrustedApplication, isPseudo: boolean, ram: number) {
    this.id = partition.nextInstance();
    this.partition = partition;
    this.ta = ta;
    this.instance = ta.instantiate();
    this.isPseudo = isPseudo;
    this.ram = ram;
    this.objects = new TaObjects(partition, ta.uuid);
    this.initializing = !isPseudo;
    this.#free = new SecureCondition(partition.taMutex);
  }

  /** Whether it stays when its last session ends. */
  get keepAlive(): boolean {
    return this.has(TA_FLAG.SINGLE_INSTANCE) && this.has(TA_FLAG.INSTANCE_KEEP_ALIVE);
  }

  /** Whether it stays when it has panicked, so that nobody can start it anew. */
  get keepCrashed(): boolean {
    const { features } = this.partition.core;
    return features.keepCrashed && this.keepAlive && this.has(TA_FLAG.INSTANCE_KEEP_CRASHED);
  }

  has(flag: number): boolean {
    return (this.ta.flags & flag) !== 0;
  }

  /** Enters an instance that is free and of no kind that excludes others; false when `enter` decides. */
  tryEnter(): boolean {
    if (this.has(TA_FLAG.CONCURRENT)) return true;
    if (this.has(TA_FLAG.SINGLE_INSTANCE) || !this.partition.taMutex.isQuiet) return false;
    if (this.#busy || this.partition.singleInstance !== undefined) return false;
    this.#busy = true;
    return true;
  }

  /**
   * Waits until `thread` may execute in this instance. False when waiting would be a deadlock: the
   * thread already holds the single-instance lock and the instance is busy.
   */
  *enter(thread: Thread): SecureTask<boolean> {
    if (this.has(TA_FLAG.CONCURRENT)) return true;
    const { partition } = this;
    const entered = yield* this.#take(thread);
    yield* partition.taMutex.leave(thread) ?? [];
    return entered;
  }

  *#take(thread: Thread): SecureTask<boolean> {
    const { partition } = this;
    if (this.has(TA_FLAG.SINGLE_INSTANCE)) {
      while (partition.singleInstance !== undefined && partition.singleInstance.thread !== thread) {
        yield* partition.singleInstanceFree.wait(thread);
      }
      const depth = (partition.singleInstance?.depth ?? 0) + 1;
      partition.singleInstance = { thread, depth };
    }
    if (partition.singleInstance?.thread === thread) {
      if (this.#busy) {
        if (this.has(TA_FLAG.SINGLE_INSTANCE)) this.#leaveSingleInstance();
        return false;
      }
    } else {
      while (this.#busy) yield* this.#free.wait(thread);
    }
    this.#busy = true;
    return true;
  }

  /** Undefined when nobody waits, else the task that lets who waits go on. */
  leave(thread: Thread): SecureTask | undefined {
    if (this.has(TA_FLAG.CONCURRENT)) return undefined;
    this.#busy = false;
    this.#free.signal();
    if (this.has(TA_FLAG.SINGLE_INSTANCE)) this.#leaveSingleInstance();
    return this.partition.taMutex.leave(thread);
  }

  #leaveSingleInstance(): void {
    const { partition } = this;
    const held = partition.singleInstance;
    if (held === undefined) return;
    held.depth -= 1;
    if (held.depth > 0) return;
    partition.singleInstance = undefined;
    partition.singleInstanceFree.signal();
  }

  /** Takes the instance out of the list of those that new sessions may join; false if it was out. */
  unlist(): boolean {
    if (this.releasing) return false;
    this.releasing = true;
    const index = this.partition.contexts.indexOf(this);
    if (index >= 0) this.partition.contexts.splice(index, 1);
    return true;
  }
}
