import { expect, test } from "@jest/globals";
import { InterruptLine } from "./interrupt.ts";
import { Scheduler, type Task } from "./scheduler.ts";

test("an interrupt stays pending until it is taken, however often it was raised", () => {
  const line = new InterruptLine("test");
  expect(line.acknowledge()).toBe(false);
  line.raise();
  line.raise();
  expect([line.pending, line.acknowledge(), line.pending, line.acknowledge()]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

test("a handler sleeps on the line, misses no interrupt and holds nobody else up", () => {
  const scheduler = new Scheduler(3);
  const line = new InterruptLine("test");
  let taken = 0;
  const handler = function* (): Task<never> {
    for (;;) {
      while (!line.acknowledge()) yield line.raised;
      taken += 1;
    }
  };
  line.raise();
  scheduler.spawn("handler", handler());
  scheduler.run(
    "device",
    (function* (): Task {
      yield null;
      expect(taken).toBe(1);
      line.raise();
      yield null;
      yield null;
    })(),
  );
  scheduler.runUntilIdle();
  expect(taken).toBe(2);
});
