import { NOTIFICATION_OP, RPC_CMD } from "../optee-abi/index.ts";
import { rpcCommand, rpcValue } from "./rpc.ts";
import type { SecureTask, Thread } from "./thread.ts";

/** An entry of the queue of a mutex. */
interface Waiter {
  readonly thread: Thread;
  /** Waits to read. */
  readonly read: boolean;
  /** What has to be signalled before it may be woken; undefined for who waits for the mutex alone. */
  condition: SecureCondition | undefined;
  /** It was sent its wake-up. */
  done: boolean;
}

/**
 * A mutex of the core, for many readers or one writer; a waiting writer does not hold readers back.
 * Who has to wait leaves the secure world with a NOTIFICATION RPC and is let in again when another
 * thread sends its value (MSG-3, command 4); the normal world may come back earlier. Who waits for a
 * condition of the mutex stands in the same queue.
 */
export class SecureMutex {
  /** Readers inside, or -1 with a writer inside. */
  #state = 0;
  readonly #waiters: Waiter[] = [];

  /** Nobody waits for it, nor for any condition of it. */
  get isQuiet(): boolean {
    return this.#waiters.length === 0;
  }

  *lock(thread: Thread): SecureTask {
    while (this.#state !== 0) yield* this.#wait(thread, false);
    this.#state = -1;
  }

  *readLock(thread: Thread): SecureTask {
    while (this.#state < 0) yield* this.#wait(thread, true);
    this.#state += 1;
  }

  *unlock(thread: Thread): SecureTask {
    this.#state = 0;
    yield* this.#wakeNext(thread);
  }

  *readUnlock(thread: Thread): SecureTask {
    this.#state -= 1;
    if (this.#state === 0) yield* this.#wakeNext(thread);
  }

  /**
   * The end of a section without an exit in it, which nobody can have found locked and which needs
   * no `lock` for that reason. Undefined when nobody waits.
   */
  leave(thread: Thread): SecureTask | undefined {
    return this.isQuiet ? undefined : this.#wakeNext(thread);
  }

  /** Runs `task` with the mutex held, and lets go of it however the task ends. */
  *hold<T>(thread: Thread, task: SecureTask<T>): SecureTask<T> {
    yield* this.lock(thread);
    try {
      return yield* task;
    } finally {
      yield* this.unlock(thread);
    }
  }

  /** Lets go of the mutex and waits once; as `SecureCondition.wait`, with the mutex free after it. */
  *waitFor(thread: Thread, condition: SecureCondition): SecureTask {
    yield* this.#queue(thread, { thread, read: false, condition, done: false }, () => {
      this.#state = 0;
      return this.#wakeNext(thread);
    });
  }

  /** Makes who waits for `condition` wait for the mutex, all or the first. */
  promote(condition: SecureCondition, onlyOne: boolean): void {
    for (const waiter of this.#waiters) {
      if (waiter.condition !== condition) continue;
      waiter.condition = undefined;
      if (onlyOne) return;
    }
  }

  #wait(thread: Thread, read: boolean): SecureTask {
    return this.#queue(thread, { thread, read, condition: undefined, done: false });
  }

  *#queue(thread: Thread, waiter: Waiter, first?: () => SecureTask): SecureTask {
    this.#waiters.push(waiter);
    if (first !== undefined) yield* first();
    yield* notify(thread, NOTIFICATION_OP.WAIT, thread);
    this.#waiters.splice(this.#waiters.indexOf(waiter), 1);
  }

  /** Lets the first waiter in, and if that one reads all others that read. */
  *#wakeNext(thread: Thread): SecureTask {
    const first = this.#next();
    for (let next = first; next !== undefined;) {
      next.done = true;
      yield* notify(thread, NOTIFICATION_OP.SEND, next.thread);
      next = first?.read === true ? this.#next(true) : undefined;
    }
  }

  /** The first that may be woken, or the first of those that read. */
  #next(read?: boolean): Waiter | undefined {
    return this.#waiters.find(
      (one) =>
        one.condition === undefined && !one.done && (read === undefined || one.read === read),
    );
  }
}

/**
 * A condition variable of the core. A signal sends nothing: it makes a waiter one of the mutex, whose
 * next unlock wakes the first of those, so that a broadcast lets one waiter in after the other.
 */
export class SecureCondition {
  readonly #mutex: SecureMutex;

  constructor(mutex: SecureMutex) {
    this.#mutex = mutex;
  }

  /** Waits once, without the mutex. May end without a signal: the normal world decides. */
  wait(thread: Thread): SecureTask {
    return this.#mutex.waitFor(thread, this);
  }

  /** To be followed by the mutex' `unlock` or `leave`. */
  signal(): void {
    this.#mutex.promote(this, true);
  }

  /** To be followed by the mutex' `unlock` or `leave`. */
  broadcast(): void {
    this.#mutex.promote(this, false);
  }
}

/** A mutex that its holder can lock again. */
export class RecursiveMutex {
  readonly #mutex = new SecureMutex();
  #holder: Thread | undefined;
  #depth = 0;

  /** Runs `task` with the mutex held, and lets go of it however the task ends. */
  *hold<T>(thread: Thread, task: SecureTask<T>): SecureTask<T> {
    if (this.#holder !== thread) yield* this.#mutex.lock(thread);
    this.#holder = thread;
    this.#depth += 1;
    try {
      return yield* task;
    } finally {
      this.#depth -= 1;
      if (this.#depth === 0) {
        this.#holder = undefined;
        yield* this.#mutex.unlock(thread);
      }
    }
  }
}

function* notify(thread: Thread, operation: number, whom: Thread): SecureTask {
  const value = thread.partition.core.syncNotificationBase + whom.index;
  yield* rpcCommand(thread, RPC_CMD.NOTIFICATION, [rpcValue("in", operation, value, 0)]);
}
