import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { createBridgedPort, type SynchronousMachine } from "./bridged-port.ts";
import { HostCopy } from "./host-copy.ts";

const BASE = 0x4800_0000;
const PAGES = 4;
const SIZE = PAGES * 4096;

/** RAM that counts how it is used, with a secure world that writes into it at every SMC. */
class FakeMachine implements SynchronousMachine {
  readonly ram = Buffer.alloc(SIZE);
  reads = 0;
  written = 0;
  during: () => void = () => {};

  read(at: number, target: Uint8Array): void {
    this.reads += 1;
    target.set(this.ram.subarray(at - BASE, at - BASE + target.length));
  }

  write(at: number, bytes: Uint8Array): void {
    this.written += bytes.length;
    this.ram.set(bytes, at - BASE);
  }

  smc(): void {
    this.during();
  }
}

const place = fc.record({ at: fc.nat(SIZE - 1), length: fc.nat(6000), value: fc.nat(255) });
const step = fc.oneof(
  place.map((p) => ({ do: "write" as const, ...p })),
  place.map((p) => ({ do: "page" as const, ...p })),
  place.map((p) => ({ do: "read" as const, ...p })),
  fc.record({ do: fc.constant("zero" as const), first: fc.nat(PAGES - 1), pages: fc.nat(PAGES) }),
  place.map((p) => ({ do: "smc" as const, ...p })),
);

test("the copy is the machine's RAM at every SMC, and the machine's RAM is the copy's after it", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const machine = new FakeMachine();
      const port = createBridgedPort(machine, { base: BASE, size: SIZE });
      const truth = Buffer.alloc(SIZE);
      for (const one of steps) {
        if (one.do === "zero") {
          const pages = Math.min(one.pages, PAGES - one.first);
          port.memory.zero?.((BASE + one.first * 4096) as Pa, pages * 4096);
          truth.fill(0, one.first * 4096, (one.first + pages) * 4096);
          continue;
        }
        const length = Math.min(one.length, SIZE - one.at);
        const at = (BASE + one.at) as Pa;
        if (one.do === "write") {
          port.memory.write(at, new Uint8Array(length).fill(one.value));
          truth.fill(one.value, one.at, one.at + length);
        } else if (one.do === "page") {
          const page = port.memory.page(at);
          const offset = one.at % 4096;
          const count = Math.min(length, 4096 - offset);
          page?.fill(one.value, offset, offset + count);
          port.memory.dirty(at, count);
          truth.fill(one.value, one.at, one.at + count);
        } else if (one.do === "read") {
          const seen = Buffer.from(port.memory.read(at, length));
          expect(seen.equals(truth.subarray(one.at, one.at + length))).toBe(true);
        } else {
          machine.during = () => {
            expect(machine.ram.equals(truth)).toBe(true);
            machine.ram.fill(one.value, one.at, one.at + length);
            truth.fill(one.value, one.at, one.at + length);
          };
          port.smc(new Registers());
        }
      }
      machine.during = () => expect(machine.ram.equals(truth)).toBe(true);
      port.smc(new Registers());
    }),
    { numRuns: budget(200, 5000) },
  );
});

test("a page is fetched once between two SMCs, and only what changed is sent", () => {
  const machine = new FakeMachine();
  const copy = new HostCopy(machine, { base: BASE, size: SIZE });
  for (let turn = 0; turn < 5; turn += 1) copy.read((BASE + 10) as Pa, 100);
  copy.write((BASE + 20) as Pa, new Uint8Array(8).fill(1));
  copy.write((BASE + 40) as Pa, new Uint8Array(4).fill(2));
  copy.flush();
  expect({ reads: machine.reads, written: machine.written }).toEqual({ reads: 1, written: 24 });
  copy.flush();
  expect(machine.written).toBe(24);
  copy.invalidate();
  copy.read((BASE + 10) as Pa, 1);
  copy.read((BASE + 4000) as Pa, 1);
  expect(machine.reads).toBe(2);
});

test("outside of the board's free RAM nothing is backed", () => {
  const copy = new HostCopy(new FakeMachine(), { base: BASE, size: SIZE });
  expect(copy.page((BASE - 1) as Pa)).toBeUndefined();
  expect(copy.page((BASE + SIZE) as Pa)).toBeUndefined();
  for (const [at, length] of [
    [BASE - 1, 1],
    [BASE + SIZE - 1, 2],
    [BASE, -1],
  ] as const) {
    expect(() => copy.read(at as Pa, length)).toThrow(RangeError);
  }
  expect(() => copy.write((BASE + SIZE) as Pa, new Uint8Array(1))).toThrow(/outside the board/);
  expect(() => copy.zero((BASE + 8) as Pa, 4096)).toThrow(/not whole pages/);
});
