import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import type { Ipa } from "./address.ts";
import { Frames, HYPERVISOR, NOBODY, frameOfEntry } from "./frames.ts";
import { GuestSpace } from "./guest-space.ts";
import { SparseMemory } from "./memory.ts";
import { MAPPING, type Mapping, Stage2 } from "./stage2.ts";

const WINDOW = { base: 0x10_0000_0000, size: 0x100_0000 };
const FIRST = WINDOW.base / 4096;

test("stage 2 agrees with a plain map through any history of pages, blocks and unmaps", () => {
  const page = fc.nat(3 * 512);
  const kind = fc.constantFrom(1, 2, 3, 4, 5);
  const action = fc.oneof(
    fc.record({ do: fc.constant("map" as const), page, frame: fc.nat(2 ** 31 - 1), kind }),
    fc.record({
      do: fc.constant("block" as const),
      block: fc.nat(2),
      frame: fc.nat(2 ** 20),
      kind,
    }),
    fc.record({ do: fc.constant("unmap" as const), page }),
    fc.record({ do: fc.constant("clear" as const) }),
  );
  fc.assert(
    fc.property(
      fc.array(action, { maxLength: 40 }),
      fc.array(page, { maxLength: 20 }),
      (all, ask) => {
        const stage2 = new Stage2();
        const model = new Map<number, { frame: number; kind: Mapping }>();
        for (const one of all) {
          if (one.do === "map") {
            stage2.map(one.page, one.frame, one.kind);
            model.set(one.page, { frame: one.frame, kind: one.kind });
          } else if (one.do === "block") {
            stage2.mapBlock(one.block * 512, one.frame * 512, one.kind);
            for (let index = 0; index < 512; index += 1) {
              model.set(one.block * 512 + index, {
                frame: one.frame * 512 + index,
                kind: one.kind,
              });
            }
          } else if (one.do === "unmap") {
            expect(stage2.unmap(one.page)).toBe(model.get(one.page)?.frame ?? -1);
            model.delete(one.page);
          } else {
            stage2.clear();
            model.clear();
          }
          for (const number of ask) {
            expect(stage2.frame(number)).toBe(model.get(number)?.frame ?? -1);
            expect(stage2.kind(number)).toBe(model.get(number)?.kind ?? MAPPING.none);
            const entry = model.get(number);
            const writable = entry?.kind === MAPPING.ramRw ? entry.frame : -1;
            const window = stage2.window();
            const remembered = window.frames[number - window.first] ?? 0;
            expect(remembered <= 0 || remembered === writable).toBe(true);
            expect(stage2.writable(number)).toBe(writable);
          }
        }
        const pages = [...stage2.pages()].toSorted((a, b) => a.page - b.page);
        const expected = [...model].map(([number, entry]) => ({ page: number, ...entry }));
        expect(pages).toEqual(expected.toSorted((a, b) => a.page - b.page));
      },
    ),
    { numRuns: 60 },
  );
});

test("stage 2 translates bytes and refuses numbers that no machine has", () => {
  const stage2 = new Stage2();
  stage2.map(0x4_0000, 77, MAPPING.ramRw);
  expect(stage2.translate(0x4000_0123 as Ipa)).toBe(77 * 4096 + 0x123);
  expect(stage2.translate(0x4000_1000 as Ipa)).toBeUndefined();
  expect(() => stage2.map(-1, 1, MAPPING.ramRw)).toThrow(RangeError);
  expect(() => stage2.map(2 ** 40, 1, MAPPING.ramRw)).toThrow(RangeError);
  expect(() => stage2.map(1, 2 ** 31, MAPPING.ramRw)).toThrow(RangeError);
  expect(() => stage2.mapBlock(1, 512, MAPPING.ramRw)).toThrow(/2 MiB boundary/);
});

test("frames are handed out once, in order or scattered, and come back when released", () => {
  for (const options of [{}, { scatter: 3 }]) {
    const frames = new Frames([{ base: WINDOW.base, size: 64 * 4096 }], options);
    const taken = Array.from({ length: 64 }, () => frames.allocate(2));
    expect(new Set(taken).size).toBe(64);
    expect(taken.every((frame) => frame !== undefined && frames.owner(frame) === 2)).toBe(true);
    expect(frames.allocate(2)).toBeUndefined();
    frames.release(taken[5] ?? 0);
    expect(frames.allocate(3)).toBe(taken[5]);
  }
});

test("several windows serve one after the other; a frame outside them does not exist", () => {
  const frames = new Frames([
    { base: 0x1000, size: 0x2000 },
    { base: 0x10_0000, size: 0x1000 },
  ]);
  expect([1, 2, 3].map(() => frames.allocate(HYPERVISOR))).toEqual([1, 2, 256]);
  expect(frames.allocate(HYPERVISOR)).toBeUndefined();
  expect(frames.has(3)).toBe(false);
  expect(frames.claim(3, 2)).toBe(false);
  expect(frames.claim(1, 2)).toBe(false);
  expect(() => new Frames([{ base: 1, size: 4096 }])).toThrow(RangeError);
  expect(() => new Frames([{ base: 0, size: 2 ** 45 }])).toThrow(RangeError);
});

/** A page list of these frames, as words. */
const entries = (frames: readonly number[]): Int32Array =>
  new Int32Array(BigUint64Array.from(frames, (frame) => BigInt(frame) * 4096n).buffer);

test("pins are counted the same in a window of any size, one by one and all at once", () => {
  for (const size of [0x100_0000, 2 ** 42]) {
    const frames = new Frames([{ base: WINDOW.base, size }]);
    const numbers = [0, 1, 600, 1, 513].map((index) => FIRST + index);
    const list = entries(numbers);
    expect(numbers.map((_, index) => frameOfEntry(list, index))).toEqual(numbers);
    for (const frame of numbers) expect(frames.pin(frame)).toBe(true);
    const { first, counts } = frames.lastPins;
    expect(counts[FIRST + 513 - first]).toBe(1);
    expect([0, 1, 2, 513].map((index) => frames.pins(FIRST + index))).toEqual([1, 2, 0, 1]);
    expect(frames.pinnedFrames()).toBe(4);
    expect(frames.allocateBlock(2)).toBe(FIRST + 1024);
    frames.unpinEntries(list, numbers.length);
    expect(frames.pinnedFrames()).toBe(0);
    expect(() => frames.unpinEntries(list, 1)).toThrow(/not pinned/);
    expect(frames.pin(1)).toBe(false);
  }
});

test("the last pin of many brings the page to who waits for it", () => {
  const frames = new Frames([WINDOW]);
  frames.claim(FIRST, 2);
  frames.pin(FIRST);
  frames.release(FIRST);
  let got = false;
  frames.whenUnused(FIRST, () => {
    got = true;
  });
  frames.unpinEntries(entries([FIRST]), 1);
  expect(got).toBe(true);
});

test("a frame with a pin is nobody's until the pin goes, then it is free", () => {
  const frames = new Frames([WINDOW]);
  const frame = frames.allocate(2) ?? 0;
  frames.pin(frame);
  frames.pin(frame);
  expect(frames.pins(frame)).toBe(2);
  frames.release(frame);
  expect(frames.owner(frame)).toBe(NOBODY);
  expect(frames.isFree(frame)).toBe(false);
  frames.unpin(frame);
  expect(frames.isFree(frame)).toBe(false);
  frames.unpin(frame);
  expect(frames.isFree(frame)).toBe(true);
  expect(() => frames.unpin(frame)).toThrow(/not pinned/);
});

test("a block is 512 free frames on a 2 MiB boundary; one frame taken spoils it", () => {
  const frames = new Frames([{ base: WINDOW.base, size: 4 * 1024 * 1024 }]);
  frames.claim(FIRST + 5, 2);
  expect(frames.allocateBlock(3)).toBe(FIRST + 512);
  expect(frames.allocateBlock(3)).toBeUndefined();
  frames.release(FIRST + 5);
  expect(frames.allocateBlock(4)).toBe(FIRST);
  expect([frames.owner(FIRST), frames.owner(FIRST + 511)]).toEqual([4, 4]);
});

test("who waits for a frame gets it when the last reference goes, and nobody else does before", () => {
  const frames = new Frames([{ base: WINDOW.base, size: 4096 }]);
  frames.allocate(2);
  frames.pin(FIRST);
  const got: string[] = [];
  frames.release(FIRST);
  frames.whenUnused(FIRST, () => got.push("first"));
  expect(() => frames.whenUnused(FIRST, () => got.push("second"))).toThrow(/awaited already/);
  expect(frames.allocate(3)).toBeUndefined();
  expect(got).toEqual([]);
  frames.unpin(FIRST);
  expect(got).toEqual(["first"]);
  expect(frames.allocate(3)).toBe(FIRST);
});

/** Two VMs with RAM at the same guest address. */
function pair() {
  const memory = new SparseMemory([{ name: "ram", ...WINDOW, type: "ram" }]).view("normal");
  const frames = new Frames([WINDOW]);
  const spaces = [2, 3].map((owner) => new GuestSpace(frames, memory, owner));
  for (const space of spaces) expect(space.populate(RAM, 0x40_0000)).toBe(true);
  const [one, two] = spaces;
  if (one === undefined || two === undefined) throw new RangeError("two spaces");
  return { memory, frames, one, two };
}
const RAM = 0x4000_0000 as Ipa;

test("two VMs have the same addresses and not the same memory", () => {
  const { one, two } = pair();
  one.write(RAM, Uint8Array.of(1, 2, 3));
  expect(two.read(RAM, 3)).toEqual(new Uint8Array(3));
  expect(one.read(RAM, 3)).toEqual(Uint8Array.of(1, 2, 3));
  const across = (RAM + 0x1ffe) as Ipa;
  one.write(across, Uint8Array.of(1, 2, 3, 4));
  expect(one.read(across, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
});

test("a VM faults where nothing is mapped and where it may only read", () => {
  const { one } = pair();
  expect(() => one.read((RAM - 1) as Ipa, 2)).toThrow(/is not mapped/);
  expect(one.protect(RAM, MAPPING.ramRo)).toBe(true);
  expect(() => one.write(RAM, Uint8Array.of(1))).toThrow(/is read-only/);
  expect(one.page(RAM)).toBeUndefined();
  expect(one.read(RAM, 1)).toEqual(Uint8Array.of(0));
  expect(one.protect(RAM, MAPPING.ramRw)).toBe(true);
  one.write(RAM, Uint8Array.of(1));
  expect(one.protect((RAM - 4096) as Ipa, MAPPING.ramRo)).toBe(false);
});

test("ballooning takes a page, refilling brings a zeroed one, the block around it is split", () => {
  const { one, frames } = pair();
  const page = (RAM + 0x5000) as Ipa;
  one.write(page, Uint8Array.of(9));
  const frame = one.stage2.frame(page / 4096);
  expect(one.balloon(page)).toBe(true);
  expect(one.balloon(page)).toBe(false);
  expect(frames.isFree(frame)).toBe(true);
  expect(one.stage2.frame(page / 4096 + 1)).toBe(frame + 1);
  expect(one.refill(page)).toBe(true);
  expect(one.refill(page)).toBe(false);
  expect(one.read(page, 1)).toEqual(Uint8Array.of(0));
});

test("donation moves a page, zeroed, and says when it cannot", () => {
  const { one, two } = pair();
  const target = (RAM + 0x40_0000) as Ipa;
  one.write(RAM, Uint8Array.of(9));
  expect(one.donate(RAM, two, RAM)).toBe("occupied");
  const frame = one.stage2.frame(RAM / 4096);
  expect(one.donate(RAM, two, target)).toBe("done");
  expect(one.donate(RAM, two, target)).toBe("not-mapped");
  expect(two.stage2.frame(target / 4096)).toBe(frame);
  expect(two.read(target, 1)).toEqual(Uint8Array.of(0));
});

test("a VM that does not fit gets nothing and leaves nothing", () => {
  const { memory, frames } = pair();
  const free = (): number =>
    Array.from({ length: 4096 }, (_, index) => FIRST + index).filter((f) => frames.isFree(f))
      .length;
  const before = free();
  const large = new GuestSpace(frames, memory, 4);
  expect(large.populate(RAM, WINDOW.size)).toBe(false);
  expect(free()).toBe(before);
  expect(large.populate(RAM, 0x1000)).toBe(true);
  expect(large.populate(RAM, 0x1000)).toBe(false);
  expect(() => large.populate(1 as Ipa, 0x1000)).toThrow(RangeError);
});

test("a direct-mapped VM has its frames at equal addresses, or nothing when one is taken", () => {
  const { memory, frames } = pair();
  const base = WINDOW.base + 0x80_0000;
  const dom0 = new GuestSpace(frames, memory, 4);
  frames.claim(base / 4096 + 3, 5);
  expect(dom0.populateIdentity(base, 0x8000)).toBe(false);
  frames.release(base / 4096 + 3);
  expect(dom0.populateIdentity(base, 0x8000)).toBe(true);
  expect(dom0.stage2.translate((base + 0x1234) as Ipa)).toBe(base + 0x1234);
  dom0.close();
  expect(frames.isFree(base / 4096)).toBe(true);
});

test("memory of others mapped into a VM is not released with it", () => {
  const { one, frames } = pair();
  const frame = frames.allocate(9) ?? 0;
  one.mapForeign(0x900_0000 as Ipa, frame, MAPPING.foreign);
  one.balloon(0x900_0000 as Ipa);
  expect(frames.owner(frame)).toBe(9);
  one.mapForeign(0x900_0000 as Ipa, frame, MAPPING.grant);
  one.close();
  expect(frames.owner(frame)).toBe(9);
});

test("a VM of 64 MiB costs little beside its RAM", () => {
  const frames = new Frames([{ base: WINDOW.base, size: 0x4000_0000 }]);
  const memory = new SparseMemory([
    { name: "ram", base: WINDOW.base, size: 0x4000_0000, type: "ram" },
  ]).view("normal");
  const space = new GuestSpace(frames, memory, 2);
  expect(space.populate(RAM, 0x400_0000)).toBe(true);
  // 32 blocks and no table: the 4 KiB tables come only where a block is split.
  expect(space.stage2.leaf(RAM / 2 ** 21)?.frames).toBeUndefined();
  expect([...space.stage2.pages()]).toHaveLength(16_384);
});

test("frames keep their owners apart when owner numbers grow past two bytes", () => {
  const frames = new Frames([{ base: WINDOW.base, size: 0x1000_0000 }]);
  const owners = [2, 0xffff, 0x1_0000, 0x2_0003];
  for (const [index, owner] of owners.entries())
    expect(frames.claim(FIRST + index, owner)).toBe(true);
  expect(owners.map((_, index) => frames.owner(FIRST + index))).toEqual(owners);
  expect(frames.allocateBlock(0x3_0000)).toBe(FIRST + 512);
  frames.release(FIRST + 600);
  expect([599, 600].map((index) => frames.owner(FIRST + index))).toEqual([0x3_0000, NOBODY]);
});
