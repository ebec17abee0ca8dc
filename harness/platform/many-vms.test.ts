import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { SMC_RETURN } from "../optee-abi/index.ts";
import { expectedOf, finish, saltOf, startBusy } from "./testing/busy-vms.ts";

jest.setTimeout(300_000);

const setting = fc.record({
  seed: fc.integer({ min: 0, max: 0xffff_ffff }),
  rules: fc.constantFrom("strict" as const, "xen" as const, "kvm" as const),
  vms: fc.integer({ min: 1, max: 4 }),
  clients: fc.integer({ min: 1, max: 3 }),
  interrupts: fc.constantFrom(0, 100, 500, 900),
  parallel: fc.constantFrom(0, 50, 300),
  stress: fc.constantFrom(undefined, "memory" as const),
});

const CROWDED = {
  seed: 1,
  rules: "strict",
  vms: 4,
  clients: 3,
  interrupts: 900,
  parallel: 300,
  stress: "memory",
} as const;

test("however VMs, vCPUs, interrupts and memory pressure fall together, every client gets its own answer", () => {
  let seen = { threadLimit: 0, waits: 0 };
  fc.assert(
    fc.property(setting, ({ stress, ...options }) => {
      const world = startBusy({ ...options, ...(stress === undefined ? {} : { stress }) });
      const { platform, context } = world;
      let threadLimit = 0;
      context.observe(({ where, phase, registers }) => {
        const limited = registers.get(0) === SMC_RETURN.ETHREAD_LIMIT;
        if (where === "conduit" && phase === "leave" && limited) threadLimit += 1;
      });
      for (const [guest, clients] of world.clients.entries()) {
        const expected = clients.map((_, index) => expectedOf(saltOf(guest, index)));
        expect(finish(world, clients)).toEqual(expected);
      }
      const waits = platform.pressure?.report.operations.migration.waits ?? 0;
      seen = { threadLimit: seen.threadLimit + threadLimit, waits: seen.waits + waits };
      for (let guest = 0; guest < options.vms; guest += 1) context.guest(guest).destroy();
      const { mediator } = platform;
      expect([mediator?.heapPages, mediator?.frames.pinnedFrames()]).toEqual([0, 0]);
      expect(mediator?.frames.records()).toEqual([]);
    }),
    // The crowded one is always among them.
    { numRuns: budget(15, 600), examples: [[CROWDED]] },
  );
  // The property means something only if these came up.
  expect(seen.threadLimit).toBeGreaterThan(0);
  expect(seen.waits).toBeGreaterThan(0);
});
