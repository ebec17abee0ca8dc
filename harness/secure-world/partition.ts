import type { Core } from "./core.ts";
import { LentMemory } from "./lent-memory.ts";
import { registeredObjectHeap } from "./mapping.ts";
import type { SharedPages } from "./memory-object.ts";
import { Notifications } from "./notifications.ts";
import { type RegisteredObject, RegisteredObjects } from "./registered-shm.ts";
import type { Extent } from "./secure-pool.ts";
import { SecureStorage } from "./storage/secure-storage.ts";
import { RecursiveMutex, SecureCondition, SecureMutex } from "./sync.ts";
import type { Session } from "./session.ts";
import type { TaContext } from "./ta-context.ts";
import { type SecureTask, Thread } from "./thread.ts";

/**
 * All that OP-TEE keeps for one guest (SMC-8.2): its own copy of the core's writable data. A build
 * without virtualization has exactly one, which no client id selects.
 */
export class Partition {
  readonly core: Core;
  readonly clientId: number;
  readonly threads: readonly Thread[];
  readonly registered = new RegisteredObjects();
  readonly lent = new LentMemory();
  /** Sessions opened by the normal world, in opening order (MSG-2.1.2). */
  readonly sessions: Session[] = [];
  /** Loaded TA instances. */
  readonly contexts: TaContext[] = [];
  /** Of the TA manager (tee_ta_mutex): guards sessions, instances and who runs in them. */
  readonly taMutex = new SecureMutex();
  readonly contextInitialized = new SecureCondition(this.taMutex);
  /** The thread that executes single-instance TAs, and how deep (one at a time). */
  singleInstance: { thread: Thread; depth: number } | undefined;
  readonly singleInstanceFree = new SecureCondition(this.taMutex);
  /**
   * The memory pool for temporary values, which one thread has at a time (mempool_default): for a
   * block of a file that is read or written, and for the arithmetic of signatures.
   */
  readonly mempool = new RecursiveMutex();
  /** thread_prealloc_rpc_cache (SMC-6). */
  preallocRpcCache = false;
  readonly notifications: Notifications;
  /** Whether the deferred runtime initialization ran (SMC-4.1.4). */
  runtimeInitialized = false;
  /** Secure RAM that is the guest's. */
  readonly memory: readonly Extent[];
  /** One for its creation, one for each core that runs in it (SMC-8.3). */
  references = 1;
  /** VM_DESTROYED was seen: a second one finds nothing. */
  ending = false;
  #taRamLeft: number;
  #instances = 0;
  #storage: SecureStorage | undefined;

  constructor(core: Core, clientId: number, taRam: number, memory: readonly Extent[]) {
    this.core = core;
    this.clientId = clientId;
    this.memory = memory;
    this.notifications = new Notifications(core, clientId);
    this.threads = Array.from(
      { length: core.build.threads },
      (_, index) => new Thread(this, index),
    );
    this.#taRamLeft = taRam;
  }

  /** Secure storage, which keeps nothing in memory before its first use. */
  get storage(): SecureStorage {
    this.#storage ??= new SecureStorage(this.core, this.core.seed ^ this.clientId);
    return this.#storage;
  }

  /** A number for a TA instance. */
  nextInstance(): number {
    this.#instances += 1;
    return this.#instances;
  }

  get taRamLeft(): number {
    return this.#taRamLeft;
  }

  /** Takes secure RAM for a TA; false when there is not enough. */
  takeTaRam(bytes: number): boolean {
    if (bytes > this.#taRamLeft) return false;
    this.#taRamLeft -= bytes;
    return true;
  }

  giveTaRam(bytes: number): void {
    this.#taRamLeft += bytes;
  }

  /** The lowest free thread, made active; undefined when all are taken (SMC-4.1.3). */
  allocateThread(): Thread | undefined {
    const thread = this.threads.find((one) => one.state === "free");
    if (thread !== undefined) thread.state = "active";
    return thread;
  }

  heapHasRoom(bytes: number): boolean {
    return this.registered.heap + bytes <= this.core.build.heap;
  }

  /** Enters an object that the normal world registers. The caller has checked the heap. */
  register(pages: SharedPages, cookieHigh: number, cookieLow: number): RegisteredObject {
    return this.#enter(pages, cookieHigh, cookieLow, false);
  }

  /**
   * Enters an object of the core's own, used once from the start: real OP-TEE keeps temporary memory,
   * RPC arguments and RPC buffers by their cookies in the one table (MSG-2.3.2).
   */
  enterGuarded(pages: SharedPages, cookieHigh: number, cookieLow: number): RegisteredObject {
    return this.#enter(pages, cookieHigh, cookieLow, true);
  }

  #enter(
    pages: SharedPages,
    cookieHigh: number,
    cookieLow: number,
    guarded: boolean,
  ): RegisteredObject {
    const object: RegisteredObject = {
      pages,
      cookieHigh,
      cookieLow,
      heap: registeredObjectHeap(pages.pages.length),
      guarded,
      users: guarded ? 1 : 0,
      releasing: false,
      older: undefined,
    };
    this.registered.add(object);
    return object;
  }

  /** Ends a use of `object` by `thread`; whoever waits to unregister it goes on. */
  *release(thread: Thread, object: RegisteredObject): SecureTask {
    const { registered } = this;
    if (registered.drop(object)) yield* registered.announce(thread) ?? [];
  }
}
