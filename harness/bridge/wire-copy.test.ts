import { crc32 } from "node:zlib";
import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { createBridgedPort } from "./bridged-port.ts";
import { type WireAccess, WireCopy } from "./wire-copy.ts";
import type { MemoryWrite } from "./wire-machine.ts";

const BASE = 0x4800_0000;
const PAGES = 4;
const SIZE = PAGES * 4096;

/** RAM behind a wire that counts what goes over it, with a secure world that writes at every SMC. */
class FakeWire implements WireAccess {
  readonly ram = Buffer.alloc(SIZE);
  readonly granule: number;
  trips = 0;
  readBytes = 0;
  written = 0;
  during: () => void = () => {};

  constructor(granule: number) {
    this.granule = granule;
  }

  read(at: number, target: Uint8Array): void {
    this.trips += 1;
    this.readBytes += target.length;
    target.set(this.ram.subarray(at - BASE, at - BASE + target.length));
  }

  checksums(at: number, size: number, count: number): readonly number[] {
    this.trips += 1;
    const from = at - BASE;
    return Array.from({ length: count }, (_, index) =>
      crc32(this.ram.subarray(from + index * size, from + (index + 1) * size)),
    );
  }

  call(writes: readonly MemoryWrite[], registers?: Registers): void {
    this.trips += 1;
    const ends = [...writes].toSorted((a, b) => a.at - b.at);
    for (const [index, { at, bytes, length = bytes.length }] of ends.entries()) {
      expect(at + length).toBeLessThanOrEqual(ends[index + 1]?.at ?? BASE + SIZE);
      this.ram.fill(bytes, at - BASE, at - BASE + length);
      if (length === bytes.length) this.written += length;
    }
    if (registers !== undefined) this.during();
  }

  write(at: number, bytes: Uint8Array): void {
    this.call([{ at, bytes }]);
  }

  smc(registers: Registers): void {
    this.call([], registers);
  }
}

const place = fc.record({ at: fc.nat(SIZE - 1), length: fc.nat(6000), value: fc.nat(255) });
const step = fc.oneof(
  place.map((p) => ({ do: "write" as const, ...p })),
  place.map((p) => ({ do: "write" as const, ...p, length: p.length % 90 })),
  place.map((p) => ({ do: "page" as const, ...p })),
  place.map((p) => ({ do: "read" as const, ...p })),
  place.map((p) => ({ do: "read" as const, ...p, length: p.length % 150 })),
  fc.record({ do: fc.constant("zero" as const), first: fc.nat(PAGES - 1), pages: fc.nat(PAGES) }),
  place.map((p) => ({ do: "smc" as const, ...p })),
);

test.each([128, 512])(
  "what the model and the machine see of RAM is the same at every SMC, granule %i",
  (granule) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), fc.nat(255), (steps, rubbish) => {
        const machine = new FakeWire(granule);
        machine.ram.fill(rubbish, 0, SIZE / 2);
        const port = createBridgedPort(machine, { base: BASE, size: SIZE });
        const truth = Buffer.from(machine.ram);
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
            const start = one.at - offset;
            expect(Buffer.from(page ?? []).equals(truth.subarray(start, start + 4096))).toBe(true);
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
      { numRuns: budget(150, 5000) },
    );
  },
);

test("an SMC and all that was written before it are one round trip, and only bytes that differ go", () => {
  const wire = new FakeWire(128);
  const copy = new WireCopy(wire, { base: BASE, size: SIZE });
  const page = copy.page(BASE as Pa);
  expect({ trips: wire.trips, read: wire.readBytes }).toEqual({ trips: 1, read: 0 });
  page?.fill(0);
  page?.fill(7, 64, 72);
  copy.dirty(BASE as Pa, 4096);
  copy.write((BASE + 3 * 4096) as Pa, new Uint8Array(8).fill(1));
  copy.smc(new Registers());
  expect({ trips: wire.trips, written: wire.written }).toEqual({ trips: 2, written: 16 });
});

test("an unchanged page costs a checksum after an SMC, a changed line is all that comes back", () => {
  const wire = new FakeWire(128);
  const copy = new WireCopy(wire, { base: BASE, size: SIZE });
  copy.write(BASE as Pa, new Uint8Array(4096).fill(9));
  copy.smc(new Registers());
  copy.page(BASE as Pa);
  expect({ trips: wire.trips, read: wire.readBytes }).toEqual({ trips: 2, read: 0 });
  wire.during = () => wire.ram.fill(5, 700, 704);
  copy.smc(new Registers());
  expect(copy.page(BASE as Pa)?.[701]).toBe(5);
  // The call, checksums of the blocks, of the lines of one of them, and the line.
  expect({ trips: wire.trips, read: wire.readBytes }).toEqual({ trips: 6, read: 64 });
  copy.read(BASE as Pa, 4096);
  expect(wire.trips).toBe(6);
});

test("making RAM zero is not sent byte by byte, and needs no look at what was there", () => {
  const wire = new FakeWire(128);
  wire.ram.fill(3);
  const copy = new WireCopy(wire, { base: BASE, size: SIZE });
  copy.zero(BASE as Pa, 4096);
  copy.zero((BASE + 4096) as Pa, 8192);
  expect(copy.page((BASE + 4096) as Pa)).toEqual(new Uint8Array(4096));
  expect(wire.trips).toBe(0);
  copy.smc(new Registers());
  expect({ trips: wire.trips, written: wire.written }).toEqual({ trips: 2, written: 0 });
  expect(wire.ram.subarray(0, 12_288).every((byte) => byte === 0)).toBe(true);
});

test("outside of the board's free RAM nothing is backed", () => {
  const copy = new WireCopy(new FakeWire(128), { base: BASE, size: SIZE });
  expect(copy.page((BASE - 1) as Pa)).toBeUndefined();
  expect(copy.page((BASE + SIZE) as Pa)).toBeUndefined();
  expect(() => copy.read((BASE + SIZE - 1) as Pa, 2)).toThrow(RangeError);
  expect(() => copy.write((BASE - 1) as Pa, new Uint8Array(1))).toThrow(/outside the board/);
  expect(() => copy.zero((BASE + 8) as Pa, 4096)).toThrow(/not whole pages/);
});
