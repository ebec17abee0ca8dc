import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import type { Ipa } from "./address.ts";
import { Frames, frameToPa, NOBODY } from "./frames.ts";
import { GuestSpace } from "./guest-space.ts";
import { SparseMemory } from "./memory.ts";
import { MAPPING } from "./stage2.ts";

const PAGE = 4096;
const PAGES = 6;
const BASE = 0x4000_0000;
/** Fewer frames than the VMs have room for, so that memory is short. */
const WINDOW = { base: 0x10_0000_0000, size: 16 * PAGE };
const at = (page: number): Ipa => (BASE + page * PAGE) as Ipa;

const vm = fc.nat(2);
const page = fc.nat(PAGES - 1);
const action = fc.oneof(
  fc.record({
    do: fc.constant("write" as const),
    vm,
    page,
    byte: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({ do: fc.constant("balloon" as const), vm, page }),
  fc.record({ do: fc.constant("refill" as const), vm, page }),
  fc.record({ do: fc.constant("migrate" as const), vm, page }),
  fc.record({ do: fc.constant("donate" as const), vm, page, to: vm, target: page }),
  fc.record({ do: fc.constant("protect" as const), vm, page, on: fc.boolean() }),
  fc.record({ do: fc.constant("pin" as const), vm, page }),
  fc.record({ do: fc.constant("unpin" as const), which: fc.nat(20) }),
  fc.record({ do: fc.constant("close" as const), vm }),
);

/** A pinned frame with what it held when it was pinned: nobody but its VM may change it meanwhile. */
interface Pin {
  readonly frame: number;
  readonly owner: number;
}

class Machine {
  readonly frames = new Frames([WINDOW], { scatter: 3 });
  readonly memory = new SparseMemory([{ name: "RAM", type: "ram", ...WINDOW }]);
  readonly spaces = [2, 3, 4].map(
    (owner) => new GuestSpace(this.frames, this.memory.view("normal", `vm ${owner}`), owner),
  );
  /** What each VM must find in each page: the last byte that it wrote there, 0 in a fresh page. */
  readonly held = new Map<string, number>();
  readonly pins: Pin[] = [];
  readonly closed = new Set<number>();

  key(space: number, number: number): string {
    return `${space} ${number}`;
  }

  step(one: typeof action extends fc.Arbitrary<infer A> ? A : never): void {
    if (one.do === "unpin") {
      const [pin] = this.pins.splice(one.which % Math.max(1, this.pins.length), 1);
      if (pin !== undefined) this.frames.unpin(pin.frame);
      return;
    }
    const space = this.spaces[one.vm];
    if (space === undefined || this.closed.has(one.vm)) return;
    if (one.do === "close") {
      space.close();
      this.closed.add(one.vm);
      return;
    }
    const address = at(one.page);
    const frame = space.stage2.frame(address / PAGE);
    switch (one.do) {
      case "write":
        if (space.stage2.kind(address / PAGE) === MAPPING.ramRw) {
          space.write(address, new Uint8Array(PAGE).fill(one.byte));
          this.held.set(this.key(one.vm, one.page), one.byte);
        } else {
          expect(() => space.write(address, Uint8Array.of(1))).toThrow("stage-2 fault");
        }
        break;
      case "balloon":
        expect(space.balloon(address)).toBe(frame >= 0);
        break;
      case "refill":
        if (space.refill(address)) this.held.set(this.key(one.vm, one.page), 0);
        break;
      case "migrate": {
        const pinned = frame >= 0 && this.frames.pins(frame) > 0;
        expect(space.migrate(address) === "pinned").toBe(pinned);
        break;
      }
      case "donate": {
        const to = this.spaces[one.to];
        if (to === undefined || this.closed.has(one.to)) break;
        const result = space.donate(address, to, at(one.target));
        // It waits exactly while somebody holds a reference.
        if (result === "waiting") expect(this.frames.pins(frame)).toBeGreaterThan(0);
        break;
      }
      case "protect":
        space.protect(address, one.on ? MAPPING.ramRo : MAPPING.ramRw);
        break;
      case "pin":
        if (frame >= 0 && this.frames.pin(frame)) this.pins.push({ frame, owner: space.owner });
        break;
      default:
        one satisfies never;
    }
  }

  check(): void {
    const seen = new Set<number>();
    for (const [index, space] of this.spaces.entries()) {
      for (const { page: number, frame, kind } of space.stage2.pages()) {
        // Every page is on a frame of this VM's own, and no frame is in two places.
        expect(this.frames.owner(frame)).toBe(space.owner);
        expect(seen.has(frame)).toBe(false);
        seen.add(frame);
        const bytes = this.memory.peek(frameToPa(frame), PAGE);
        const key = this.key(index, number - BASE / PAGE);
        // A page that was donated to the VM arrives as zeros: nothing of its old owner is in it.
        if (!this.held.has(key)) this.held.set(key, 0);
        const expected = this.held.get(key);
        if (bytes.some((byte) => byte !== expected)) {
          expect([bytes[0], kind]).toEqual([0, MAPPING.ramRw]);
          expect(bytes.every((byte) => byte === 0)).toBe(true);
          this.held.set(key, 0);
        }
      }
    }
    for (const { frame, owner } of this.pins) {
      // Unmapped or not, nobody else has a pinned frame.
      expect(this.frames.isFree(frame)).toBe(false);
      expect([owner, NOBODY]).toContain(this.frames.owner(frame));
    }
  }
}

test("through any history no VM has a frame of another's, and a pinned frame is nobody else's", () => {
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const machine = new Machine();
      for (const space of machine.spaces) expect(space.populate(at(0), 4 * PAGE)).toBe(true);
      for (const one of actions) {
        machine.step(one);
        machine.check();
      }
      // In the end everything can be given back.
      for (const { frame } of machine.pins) machine.frames.unpin(frame);
      machine.pins.length = 0;
      for (const space of machine.spaces) space.close();
      const free = Array.from({ length: WINDOW.size / PAGE }, (_, index) =>
        machine.frames.isFree(WINDOW.base / PAGE + index),
      );
      expect(free.every(Boolean)).toBe(true);
    }),
    { numRuns: budget(300, 10_000) },
  );
});
