import type { SecureCondition } from "./sync.ts";
import type { SharedPages } from "./memory-object.ts";

/** One entry of the table of registered objects (MSG-2.3). */
export interface RegisteredObject {
  readonly pages: SharedPages;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Core heap that its page table takes, in bytes. */
  readonly heap: number;
  /** Temporary: lives for one call and cannot be unregistered (MSG-2.2). */
  guarded: boolean;
  /** Calls that use it right now. */
  users: number;
  releasing: boolean;
  readonly unused: SecureCondition;
  /** The object of the same low cookie word that was entered before it. */
  older: RegisteredObject | undefined;
}

/** Objects by cookie. Duplicates are accepted; the newest hides the older (MSG-2.3.1). */
export class RegisteredObjects {
  readonly #newest = new Map<number, RegisteredObject>();
  #count = 0;
  #heap = 0;

  get count(): number {
    return this.#count;
  }

  /** Bytes of core heap that all objects take. */
  get heap(): number {
    return this.#heap;
  }

  /** All objects, in no particular order. */
  *objects(): Iterable<RegisteredObject> {
    for (const newest of this.#newest.values()) {
      for (let at: RegisteredObject | undefined = newest; at !== undefined; at = at.older) yield at;
    }
  }

  add(object: RegisteredObject): void {
    object.older = this.#newest.get(object.cookieLow);
    this.#newest.set(object.cookieLow, object);
    this.#count += 1;
    this.#heap += object.heap;
  }

  find(cookieHigh: number, cookieLow: number): RegisteredObject | undefined {
    let object = this.#newest.get(cookieLow);
    while (object !== undefined && object.cookieHigh !== cookieHigh) object = object.older;
    return object;
  }

  remove(object: RegisteredObject): void {
    let newer: RegisteredObject | undefined;
    let at = this.#newest.get(object.cookieLow);
    while (at !== undefined && at !== object) {
      newer = at;
      at = at.older;
    }
    if (at === undefined) return;
    if (newer !== undefined) newer.older = object.older;
    else if (object.older === undefined) this.#newest.delete(object.cookieLow);
    else this.#newest.set(object.cookieLow, object.older);
    this.#count -= 1;
    this.#heap -= object.heap;
  }
}
