import { Random } from "../base/index.ts";

/** What a suspended task is told when it goes on. */
export type Wake = "woken" | "timeout";

/** A wait on `queue` that ends at the latest after `timeoutMs` of virtual time. */
export interface TimedWait {
  readonly queue: WaitQueue;
  readonly timeoutMs: number;
}

/** Why a task stops: until it is woken, until a time, or (`null`) only to let others run. */
export type Suspension = WaitQueue | TimedWait | null;

/**
 * Whatever can be suspended on the real system is a generator: it yields a `Suspension` where it
 * would sleep or could be preempted, and runs as plain synchronous code in between.
 */
export type Task<T = void> = Generator<Suspension, T, Wake>;

/**
 * The value where nothing had to wait, else the task that will give it. For hot paths: a generator
 * costs more than most of what it would wrap. `T` is told from a task by `typeof`.
 */
export type MaybeTask<T extends number | boolean> = T | Task<T>;

/** Tasks that wait for one event. Waking order is first come, first served. */
export class WaitQueue {
  readonly name: string;
  readonly waiters: SpawnedTask[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** Wakes at most `count` waiters and returns how many there were. */
  wake(count = 1): number {
    let woken = 0;
    if (this.waiters.length === 0) return 0;
    for (; woken < count; woken += 1) {
      const task = this.waiters.shift();
      if (task === undefined) break;
      task.scheduler.resumeLater(task, "woken");
    }
    return woken;
  }

  wakeAll(): number {
    return this.wake(this.waiters.length);
  }
}

type State<T> =
  | { readonly at: "ready" | "waiting" }
  | { readonly at: "done"; readonly value: T }
  | { readonly at: "failed"; readonly error: unknown };

/**
 * Tasks that stop together: all that runs on the vCPUs of one VM. A task that a member spawns is a
 * member as well.
 */
export class TaskGroup {
  readonly name: string;
  readonly tasks = new Set<SpawnedTask>();

  constructor(name: string) {
    this.name = name;
  }

  /**
   * Stops every task where it is, as the end of a vCPU does: no `finally` block runs and nothing of
   * the task ever runs again. Who joins one of them gets `reason` thrown.
   */
  stop(reason: unknown): void {
    for (const task of this.tasks) task.abandon(reason);
    this.tasks.clear();
  }
}

/** A task under a scheduler's care. */
export class SpawnedTask<T = unknown> {
  readonly name: string;
  readonly scheduler: Scheduler;
  readonly ended: WaitQueue;
  readonly group: TaskGroup | undefined;
  state: State<T> = { at: "ready" };
  queue: WaitQueue | undefined;
  wake: Wake = "woken";
  /** Distinguishes the wait that a timer was set for from later ones. */
  waitNumber = 0;
  readonly #body: Task<T>;

  constructor(scheduler: Scheduler, name: string, body: Task<T>, group?: TaskGroup) {
    this.scheduler = scheduler;
    this.name = name;
    this.#body = body;
    this.group = group;
    group?.tasks.add(this);
    this.ended = new WaitQueue(`end of ${name}`);
  }

  get finished(): boolean {
    return this.state.at === "done" || this.state.at === "failed";
  }

  /** Runs until the next suspension. Returns it, or undefined when the task has ended. */
  step(): Suspension | undefined {
    try {
      const result = this.#body.next(this.wake);
      // Abandoned by what it did itself: it has ended, wherever it got to.
      if (this.finished) return undefined;
      if (result.done !== true) return result.value;
      this.state = { at: "done", value: result.value };
    } catch (error) {
      if (!this.finished) this.state = { at: "failed", error };
    }
    this.#end();
    return undefined;
  }

  /** Ends the task as a kill does: its `finally` blocks run, and no later step. */
  kill(reason: unknown): void {
    if (this.finished) return;
    this.scheduler.forget(this);
    try {
      // A kill is the task's own exception: cleanup that suspends is cut short by the next line.
      this.#body.throw(reason);
    } catch {
      // Expected: the reason comes back out.
    }
    this.#body.return(undefined as T);
    this.state = { at: "failed", error: reason };
    this.#end();
  }

  /** Ends the task where it is: nothing of it runs any more, `finally` blocks included. */
  abandon(reason: unknown): void {
    if (this.finished) return;
    this.scheduler.forget(this);
    this.state = { at: "failed", error: reason };
    this.#end();
  }

  #end(): void {
    this.group?.tasks.delete(this);
    this.ended.wakeAll();
  }

  /** The result. Rethrows what the task threw; throws Error while it still runs. */
  result(): T {
    if (this.state.at === "done") return this.state.value;
    if (this.state.at === "failed") throw this.state.error;
    throw new Error(`task ${this.name} has not ended`);
  }

  /** For another task: waits for the end and gives the result. */
  *join(): Task<T> {
    while (!this.finished) yield this.ended;
    return this.result();
  }
}

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly task: SpawnedTask;
  readonly waitNumber: number;
}

/** All tasks are asleep and no timer will ever wake one. */
export class DeadlockError extends Error {
  readonly sleeping: readonly string[];
  constructor(sleeping: readonly string[]) {
    super(`every task sleeps for ever: ${sleeping.join(", ")}`);
    this.name = "DeadlockError";
    this.sleeping = sleeping;
  }
}

/** Tasks keep each other busy and virtual time never passes: a loop that no real system would end. */
export class LivelockError extends Error {
  readonly running: readonly string[];
  constructor(running: readonly string[]) {
    super(`${MAX_STEPS_WITHOUT_TIME} steps without time passing, by ${running.join(", ")}`);
    this.name = "LivelockError";
    this.running = running;
  }
}

/** A million: seconds of real time, and far more than any scenario does between two sleeps. */
const MAX_STEPS_WITHOUT_TIME = 1_000_000;

/**
 * One seeded scheduler with virtual time: the same seed gives the same interleaving. Time stands
 * still while any task can run and jumps to the next timer when none can.
 */
export class Scheduler {
  readonly seed: number;
  readonly #random: Random;
  readonly #ready: SpawnedTask[] = [];
  readonly #tasks = new Set<SpawnedTask>();
  #timers: Timer[] = [];
  #running: SpawnedTask | undefined;
  #nowMs = 0;
  #order = 0;
  #steps = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.#random = new Random(seed);
  }

  /** Virtual milliseconds since the scheduler was made. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Lets virtual time pass while a task runs (a busy wait). */
  advance(ms: number): void {
    this.#nowMs += ms;
    this.#steps = 0;
  }

  /** Starts a task, in `group` or else in the group of the task that runs now. */
  spawn<T>(name: string, body: Task<T>, group = this.#running?.group): SpawnedTask<T> {
    const task = new SpawnedTask<T>(this, name, body, group);
    this.#tasks.add(task);
    this.#ready.push(task);
    return task;
  }

  /** Spawns `body` and runs everything until it has ended. Throws what it throws, or DeadlockError. */
  run<T>(name: string, body: Task<T>, group?: TaskGroup): T {
    const task = this.spawn(name, body, group);
    this.runUntil(() => task.finished);
    return task.result();
  }

  /**
   * Runs until `done()` holds. Throws DeadlockError when nothing can run any more, LivelockError when
   * tasks run on and on at one moment of virtual time.
   */
  runUntil(done: () => boolean): void {
    this.#steps = 0;
    while (!done()) {
      if (this.#runOne()) continue;
      throw new DeadlockError([...this.#tasks].map((t) => `${t.name} (${t.queue?.name ?? "?"})`));
    }
  }

  /** Runs until every task sleeps without a timer or has ended. */
  runUntilIdle(): void {
    this.#steps = 0;
    while (this.#runOne()) {
      // each turn runs one task to its next suspension
    }
  }

  /**
   * Lets one task run to its next suspension; false when none can now. Also from within a task, in an
   * access hook: what another CPU does between two accesses of this one.
   */
  turn(): boolean {
    return this.#ready.length > 0 && this.#runOne();
  }

  resumeLater(task: SpawnedTask, wake: Wake): void {
    task.queue = undefined;
    task.waitNumber += 1;
    task.wake = wake;
    task.state = { at: "ready" };
    this.#ready.push(task);
  }

  forget(task: SpawnedTask): void {
    this.#tasks.delete(task);
    const ready = this.#ready.indexOf(task);
    if (ready >= 0) this.#ready.splice(ready, 1);
    const waiters = task.queue?.waiters;
    const waiting = waiters?.indexOf(task) ?? -1;
    if (waiting >= 0) waiters?.splice(waiting, 1);
    task.waitNumber += 1;
  }

  #runOne(): boolean {
    if (this.#ready.length === 0 && !this.#fireTimers()) return false;
    this.#steps += 1;
    if (this.#steps > MAX_STEPS_WITHOUT_TIME) {
      throw new LivelockError([...new Set(this.#ready.map(({ name }) => name))]);
    }
    const count = this.#ready.length;
    const [task] = this.#ready.splice(count === 1 ? 0 : this.#random.below(count), 1);
    if (task === undefined) return false;
    const outer = this.#running;
    this.#running = task;
    const suspension = task.step();
    this.#running = outer;
    if (suspension === undefined) this.#tasks.delete(task);
    else if (suspension === null) this.resumeLater(task, "woken");
    else this.#sleep(task, suspension);
    return true;
  }

  #sleep(task: SpawnedTask, suspension: WaitQueue | TimedWait): void {
    task.state = { at: "waiting" };
    const queue = suspension instanceof WaitQueue ? suspension : suspension.queue;
    task.queue = queue;
    queue.waiters.push(task);
    if (suspension instanceof WaitQueue) return;
    const timer = {
      at: this.#nowMs + Math.max(0, suspension.timeoutMs),
      order: (this.#order += 1),
      task,
      waitNumber: task.waitNumber,
    };
    const index = this.#timers.findIndex((other) => other.at > timer.at);
    this.#timers.splice(index < 0 ? this.#timers.length : index, 0, timer);
  }

  #fireTimers(): boolean {
    for (;;) {
      const timer = this.#timers.shift();
      if (timer === undefined) return false;
      const { task } = timer;
      if (task.finished || task.waitNumber !== timer.waitNumber) continue;
      this.#nowMs = Math.max(this.#nowMs, timer.at);
      this.#steps = 0;
      const waiters = task.queue?.waiters;
      const at = waiters?.indexOf(task) ?? -1;
      if (at >= 0) waiters?.splice(at, 1);
      this.resumeLater(task, "timeout");
      return true;
    }
  }
}

/** Sleeps for `ms` of virtual time. */
export function* sleep(ms: number): Task {
  yield { queue: new WaitQueue("sleep"), timeoutMs: ms };
}
