import { CookieChains } from "../base/index.ts";
import type { SharedPages } from "./memory-object.ts";
import { SecureCondition, SecureMutex } from "./sync.ts";
import type { SecureTask, Thread } from "./thread.ts";

/** One entry of the table of registered objects (MSG-2.3). */
export interface RegisteredObject {
  pages: SharedPages;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Core heap that its page table takes, in bytes. */
  readonly heap: number;
  /**
   * Made by the core for its own use (a call's temporary memory and message, RPC buffers): it lives
   * as long as it is used and cannot be unregistered (MSG-2.2).
   */
  readonly guarded: boolean;
  /** Uses: by calls, and for a guarded object by its maker. */
  users: number;
  releasing: boolean;
  /** Temporary memory whose call is over: nobody uses it, and nobody ever lets go of it (MSG-2.2). */
  left?: boolean;
  /** The table's own link. */
  older: RegisteredObject | undefined;
}

/** Objects by cookie. Duplicates are accepted; the newest hides the older (MSG-2.3.1). */
export class RegisteredObjects {
  readonly #mutex = new SecureMutex();
  /** Where calls wait that unregister an object in use; shared by all objects, as upstream has it. */
  readonly #released = new SecureCondition(this.#mutex);
  readonly #objects = new CookieChains<RegisteredObject>();
  #heap = 0;

  get count(): number {
    return this.#objects.size;
  }

  /** Bytes of core heap that all objects take. */
  get heap(): number {
    return this.#heap;
  }

  /** All objects, in no particular order. */
  objects(): Iterable<RegisteredObject> {
    return this.#objects.values();
  }

  add(object: RegisteredObject): void {
    this.#objects.add(object);
    this.#heap += object.heap;
  }

  find(cookieHigh: number, cookieLow: number): RegisteredObject | undefined {
    return this.#objects.get(cookieHigh, cookieLow);
  }

  /**
   * Ends one use: the last one of a guarded object ends the object. True when that was what a thread
   * waits for which unregisters the object; `announce` is to follow then.
   */
  drop(object: RegisteredObject): boolean {
    object.users -= 1;
    if (object.users > 0) return false;
    if (!object.guarded) return object.releasing;
    this.remove(object);
    return false;
  }

  /**
   * The last use of an object has ended: threads that wait to unregister one look again, whichever it
   * is that they wait for. Undefined when none does.
   */
  announce(thread: Thread): SecureTask | undefined {
    this.#released.broadcast();
    return this.#mutex.leave(thread);
  }

  /** Waits until nobody uses an object that is to be unregistered. */
  *untilUnused(thread: Thread, object: { readonly users: number }): SecureTask {
    while (object.users > 0) yield* this.#released.wait(thread);
    yield* this.#mutex.leave(thread) ?? [];
  }

  remove(object: RegisteredObject): void {
    if (this.#objects.delete(object)) this.#heap -= object.heap;
  }
}
