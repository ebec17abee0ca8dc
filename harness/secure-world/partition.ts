import type { Core } from "./core.ts";
import { registeredObjectHeap } from "./mapping.ts";
import type { SharedPages } from "./memory-object.ts";
import { Notifications } from "./notifications.ts";
import { type RegisteredObject, RegisteredObjects } from "./registered-shm.ts";
import { SecureCondition } from "./sync.ts";
import type { Session } from "./session.ts";
import type { TaContext } from "./ta-context.ts";
import { Thread } from "./thread.ts";

/**
 * All that OP-TEE keeps for one guest (SMC-8.2): its own copy of the core's writable data. A build
 * without virtualization has exactly one, which no client id selects.
 */
export class Partition {
  readonly core: Core;
  readonly clientId: number;
  readonly threads: readonly Thread[];
  readonly registered = new RegisteredObjects();
  /** Sessions opened by the normal world, in opening order (MSG-2.1.2). */
  readonly sessions: Session[] = [];
  /** Loaded TA instances. */
  readonly contexts: TaContext[] = [];
  readonly contextInitialized = new SecureCondition();
  /** The thread that executes single-instance TAs, and how deep (one at a time). */
  singleInstance: { thread: Thread; depth: number } | undefined;
  readonly singleInstanceFree = new SecureCondition();
  /** thread_prealloc_rpc_cache (SMC-6). */
  preallocRpcCache = false;
  readonly notifications: Notifications;
  /** Whether the deferred runtime initialization ran (SMC-4.1.4). */
  runtimeInitialized = false;
  shutDown = false;
  #taRamLeft: number;

  constructor(core: Core, clientId: number, taRam: number) {
    this.core = core;
    this.clientId = clientId;
    this.notifications = new Notifications(core, clientId);
    this.threads = Array.from(
      { length: core.build.threads },
      (_, index) => new Thread(this, index),
    );
    this.#taRamLeft = taRam;
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

  /** Enters an object into the table. The caller has checked that the heap has room. */
  register(
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
      users: 0,
      releasing: false,
      unused: new SecureCondition(),
      older: undefined,
    };
    this.registered.add(object);
    return object;
  }
}
