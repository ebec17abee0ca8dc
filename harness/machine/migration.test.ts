import { expect, test } from "@jest/globals";
import { AccessRecorder } from "./access.ts";
import type { Ipa } from "./address.ts";
import { Frames, frameToPa } from "./frames.ts";
import { GuestSpace } from "./guest-space.ts";
import { SparseMemory } from "./memory.ts";
import { MAPPING } from "./stage2.ts";

const WINDOW = { base: 0x10_0000_0000, size: 0x10_0000 };
const BASE = 0x4000_0000 as Ipa;
const PAGE = BASE / 4096;

function machine(
  pages = 4,
  window = WINDOW,
): {
  memory: SparseMemory;
  frames: Frames;
  space: GuestSpace;
} {
  const memory = new SparseMemory([{ name: "RAM", type: "ram", ...window }]);
  const frames = new Frames([window]);
  const space = new GuestSpace(frames, memory.view("normal", "vm"), 2);
  expect(space.populate(BASE, pages * 4096)).toBe(true);
  return { memory, frames, space };
}

test("a page that moves is on another frame with the same bytes and permissions", () => {
  const { frames, space } = machine();
  space.write(BASE, Uint8Array.of(1, 2, 3));
  space.protect(BASE, MAPPING.ramRo);
  const before = space.stage2.frame(PAGE);
  expect(space.migrate(BASE)).toBe("done");
  const after = space.stage2.frame(PAGE);
  expect(after).not.toBe(before);
  expect(frames.isFree(before)).toBe(true);
  expect(frames.owner(after)).toBe(2);
  expect(space.read(BASE, 3)).toEqual(Uint8Array.of(1, 2, 3));
  expect(() => space.write(BASE, Uint8Array.of(9))).toThrow("read-only");
});

test("a pin keeps a page where it is until the last one is dropped", () => {
  const { frames, space } = machine();
  const frame = space.stage2.frame(PAGE);
  frames.pin(frame);
  frames.pin(frame);
  expect(space.migrate(BASE)).toBe("pinned");
  frames.unpin(frame);
  expect(space.migrate(BASE)).toBe("pinned");
  expect(space.stage2.frame(PAGE)).toBe(frame);
  frames.unpin(frame);
  expect(space.migrate(BASE)).toBe("done");
});

test("what is not RAM of the VM does not move", () => {
  const { space } = machine();
  const device = (BASE + 0x100_0000) as Ipa;
  space.mapForeign(device, 7, MAPPING.mmio);
  expect(space.migrate(device)).toBe("not-mapped");
  expect(space.migrate((BASE + 0x200_0000) as Ipa)).toBe("not-mapped");
});

test("without a free frame everything stays as it is", () => {
  const { space } = machine(4, { base: WINDOW.base, size: 4 * 4096 });
  const frame = space.stage2.frame(PAGE);
  expect(space.migrate(BASE)).toBe("no-frame");
  expect(space.stage2.frame(PAGE)).toBe(frame);
});

test("pages of a direct-mapped VM stay at their own addresses", () => {
  const memory = new SparseMemory([{ name: "RAM", type: "ram", ...WINDOW }]);
  const space = new GuestSpace(new Frames([WINDOW]), memory.view("normal"), 2);
  expect(space.populateIdentity(WINDOW.base, 8192)).toBe(true);
  expect(space.migrate(WINDOW.base as Ipa)).toBe("fixed");
});

test("a block is split when one of its pages moves, and the others keep their frames", () => {
  const window = { base: 0x10_0000_0000, size: 0x100_0000 };
  const { space } = machine(512, window);
  const before = Array.from({ length: 512 }, (_, index) => space.stage2.frame(PAGE + index));
  expect(space.migrate((BASE + 5 * 4096) as Ipa)).toBe("done");
  const after = before.map((_, index) => space.stage2.frame(PAGE + index));
  expect(after.filter((frame, index) => frame !== before[index])).toHaveLength(1);
  expect(after[5]).not.toBe(before[5]);
});

test("the hypervisor moves the bytes, not the VM", () => {
  const { memory, space } = machine();
  const from = frameToPa(space.stage2.frame(PAGE));
  const recorder = new AccessRecorder();
  memory.probe = recorder.probe;
  space.migrate(BASE);
  const to = frameToPa(space.stage2.frame(PAGE));
  expect(recorder.accesses).toEqual([
    { by: "hypervisor", kind: "read", at: from, length: 4096 },
    { by: "hypervisor", kind: "write", at: to, length: 4096 },
  ]);
});
