import { expect, test } from "@jest/globals";
import * as fc from "fast-check";

import { DeadlockError, Scheduler, sleep, type Task, TaskGroup, WaitQueue } from "./scheduler.ts";

function* worker(log: string[], name: string, turns: number): Task<number> {
  for (let turn = 0; turn < turns; turn += 1) {
    log.push(`${name}${turn}`);
    yield null;
  }
  return turns;
}

function interleaving(seed: number): string[] {
  const log: string[] = [];
  const scheduler = new Scheduler(seed);
  for (const name of ["a", "b", "c"]) scheduler.spawn(name, worker(log, name, 5));
  scheduler.runUntilIdle();
  return log;
}

function* failing(): Task {
  yield null;
  throw new RangeError("no");
}

function* stuck(): Task {
  yield new WaitQueue("the other one");
}

test("one seed gives one interleaving, and seeds differ", () => {
  expect(interleaving(7)).toEqual(interleaving(7));
  const all = new Set(Array.from({ length: 20 }, (_, seed) => interleaving(seed).join()));
  expect(all.size).toBeGreaterThan(10);
});

test("each task keeps its own order under any seed", () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const log = interleaving(seed);
      expect(log).toHaveLength(15);
      for (const name of ["a", "b", "c"]) {
        const own = log.filter((entry) => entry.startsWith(name));
        expect(own).toEqual([0, 1, 2, 3, 4].map((turn) => `${name}${turn}`));
      }
    }),
  );
});

test("time is virtual: it jumps to the next timer, in order", () => {
  const scheduler = new Scheduler(1);
  const log: number[] = [];
  function* nap(ms: number): Task {
    yield* sleep(ms);
    log.push(scheduler.nowMs);
  }
  for (const ms of [3_600_000, 5, 100]) scheduler.spawn(`nap ${ms}`, nap(ms));
  scheduler.runUntilIdle();
  expect(log).toEqual([5, 100, 3_600_000]);
});

test("a waiter is woken before its timeout and not again by it", () => {
  const scheduler = new Scheduler(1);
  const queue = new WaitQueue("event");
  const log: string[] = [];
  function* waiter(): Task {
    log.push(yield { queue, timeoutMs: 50 });
    log.push(yield { queue, timeoutMs: 200 });
    log.push(String(scheduler.nowMs));
  }
  function* waker(): Task {
    yield* sleep(10);
    queue.wake();
  }
  scheduler.spawn("waiter", waiter());
  scheduler.spawn("waker", waker());
  scheduler.runUntilIdle();
  expect(log).toEqual(["woken", "timeout", "210"]);
});

test("wakers serve first come first served and report how many they woke", () => {
  const scheduler = new Scheduler(3);
  const queue = new WaitQueue("turns");
  const log: string[] = [];
  function* waiter(name: string): Task {
    yield queue;
    log.push(name);
  }
  scheduler.spawn("x", waiter("x"));
  scheduler.runUntilIdle();
  scheduler.spawn("y", waiter("y"));
  scheduler.runUntilIdle();
  expect(queue.wake()).toBe(1);
  scheduler.runUntilIdle();
  expect(log).toEqual(["x"]);
  expect(queue.wake(5)).toBe(1);
});

test("a join gives the value, and a failure reaches whoever joins", () => {
  const scheduler = new Scheduler(1);
  function* parent(): Task<number> {
    const good = scheduler.spawn("good", worker([], "g", 3));
    const bad = scheduler.spawn("bad", failing());
    const value = yield* good.join();
    try {
      yield* bad.join();
    } catch (error) {
      return error instanceof RangeError ? value + 100 : 0;
    }
    return value;
  }
  expect(scheduler.run("parent", parent())).toBe(103);
});

test("tasks that sleep for ever are named", () => {
  const scheduler = new Scheduler(1);
  expect(() => scheduler.run("first", stuck())).toThrow(DeadlockError);
  expect(() => scheduler.run("second", stuck())).toThrow(/second \(the other one\)/);
});

test("a killed task runs its finally block and leaves its queue", () => {
  const scheduler = new Scheduler(1);
  const queue = new WaitQueue("event");
  let cleaned = false;
  function* victim(): Task {
    try {
      yield queue;
    } finally {
      cleaned = true;
    }
  }
  const task = scheduler.spawn("victim", victim());
  scheduler.runUntilIdle();
  task.kill(new Error("SIGKILL"));
  expect(cleaned).toBe(true);
  expect(queue.waiters).toHaveLength(0);
  expect(() => task.result()).toThrow("SIGKILL");
});

function* busy(): Task {
  for (;;) yield null;
}

test("tasks that keep each other busy for ever are reported, not run for ever", () => {
  const scheduler = new Scheduler(1);
  scheduler.spawn("ping", busy());
  expect(() => scheduler.run("pong", busy())).toThrow(/without time passing, by .*p[io]ng/);
});

test("a group stops where it is: no finally block, no timer, nothing that a member started", () => {
  const scheduler = new Scheduler(1);
  const seen: string[] = [];
  function* child(): Task {
    yield* sleep(10);
    seen.push("child ran on");
  }
  function* member(): Task {
    try {
      scheduler.spawn("child", child());
      yield* sleep(1);
    } finally {
      seen.push("finally");
    }
  }
  const group = new TaskGroup("vm");
  const task = scheduler.spawn("member", member(), group);
  const outside = scheduler.spawn("outside", child());
  scheduler.runUntil(() => group.tasks.size === 2);
  group.stop(new Error("gone"));
  scheduler.runUntilIdle();
  expect(seen).toEqual(["child ran on"]);
  expect(outside.finished).toBe(true);
  expect(() => task.result()).toThrow("gone");
  expect(group.tasks.size).toBe(0);
});

test("a task that stops its own group ends at its next suspension and is never resumed", () => {
  const scheduler = new Scheduler(1);
  const group = new TaskGroup("vm");
  let resumed = false;
  function* member(): Task {
    group.stop(new Error("gone"));
    yield null;
    resumed = true;
  }
  const task = scheduler.spawn("member", member(), group);
  function* waiter(): Task<string> {
    try {
      yield* task.join();
      return "joined";
    } catch (error) {
      return (error as Error).message;
    }
  }
  expect(scheduler.run("waiter", waiter())).toBe("gone");
  scheduler.runUntilIdle();
  expect(resumed).toBe(false);
});
