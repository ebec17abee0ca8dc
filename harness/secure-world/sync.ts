import { NOTIFICATION_OP, RPC_CMD } from "../optee-abi/index.ts";
import { rpcCommand, rpcValue } from "./rpc.ts";
import type { SecureTask, Thread } from "./thread.ts";

interface Waiter {
  readonly thread: Thread;
  /** Waits to read, for a read/write mutex. */
  readonly read: boolean;
  done: boolean;
}

/**
 * A condition variable of the core: a thread that has to wait leaves the secure world with a
 * NOTIFICATION RPC and is let in again when another thread sends its value (MSG-3, command 4).
 */
export class SecureCondition {
  readonly #waiters: Waiter[] = [];

  get waiting(): number {
    return this.#waiters.length;
  }

  /** Waits once. May end without a signal: the normal world decides when to come back. */
  *wait(thread: Thread, read = false): SecureTask {
    const waiter = { thread, read, done: false };
    this.#waiters.push(waiter);
    yield* notify(thread, NOTIFICATION_OP.WAIT, thread);
    const index = this.#waiters.indexOf(waiter);
    if (index >= 0) this.#waiters.splice(index, 1);
  }

  /** Lets the first waiter in, if there is one. */
  *signal(thread: Thread): SecureTask {
    const waiter = this.#waiters.find((one) => !one.done);
    if (waiter === undefined) return;
    waiter.done = true;
    yield* notify(thread, NOTIFICATION_OP.SEND, waiter.thread);
  }

  /** Lets the first waiter in, and if that one reads all others that read. */
  *wakeNext(thread: Thread): SecureTask {
    const first = this.#waiters.find((one) => !one.done);
    for (let next = first; next !== undefined;) {
      next.done = true;
      yield* notify(thread, NOTIFICATION_OP.SEND, next.thread);
      next = first?.read === true ? this.#waiters.find((one) => one.read && !one.done) : undefined;
    }
  }

  *broadcast(thread: Thread): SecureTask {
    for (const waiter of Array.from(this.#waiters)) {
      if (waiter.done) continue;
      waiter.done = true;
      yield* notify(thread, NOTIFICATION_OP.SEND, waiter.thread);
    }
  }
}

/** A mutex of the core. */
export class SecureMutex {
  #holder: Thread | undefined;
  readonly #free = new SecureCondition();

  *lock(thread: Thread): SecureTask {
    while (this.#holder !== undefined) yield* this.#free.wait(thread);
    this.#holder = thread;
  }

  *unlock(thread: Thread): SecureTask {
    this.#holder = undefined;
    if (this.#free.waiting > 0) yield* this.#free.signal(thread);
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
}

/** A read/write mutex: many readers or one writer; a waiting writer does not hold readers back. */
export class SecureRwMutex {
  /** Readers inside, or -1 with a writer inside. */
  #state = 0;
  readonly #changed = new SecureCondition();

  *writeLock(thread: Thread): SecureTask {
    while (this.#state !== 0) yield* this.#changed.wait(thread);
    this.#state = -1;
  }

  *readLock(thread: Thread): SecureTask {
    while (this.#state < 0) yield* this.#changed.wait(thread, true);
    this.#state += 1;
  }

  *writeUnlock(thread: Thread): SecureTask {
    this.#state = 0;
    yield* this.#changed.wakeNext(thread);
  }

  *readUnlock(thread: Thread): SecureTask {
    this.#state -= 1;
    if (this.#state === 0) yield* this.#changed.wakeNext(thread);
  }
}

function* notify(thread: Thread, operation: number, whom: Thread): SecureTask {
  const value = thread.partition.core.syncNotificationBase + whom.index;
  yield* rpcCommand(thread, RPC_CMD.NOTIFICATION, [rpcValue("in", operation, value, 0)]);
}
