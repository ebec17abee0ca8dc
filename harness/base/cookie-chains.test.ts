import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { CookieChains } from "./cookie-chains.ts";

class Entry {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  older: Entry | undefined;
  constructor(cookieHigh: number, cookieLow: number) {
    this.cookieHigh = cookieHigh;
    this.cookieLow = cookieLow;
  }
}

test("cookie chains agree with a plain list through any history, duplicates and all", () => {
  const high = fc.constantFrom(0, 1, 0xffff_0000);
  const low = fc.nat(40).map((number) => number * 0x100);
  const step = fc.record({ add: fc.boolean(), high, low, pick: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new CookieChains<Entry>();
      const model: Entry[] = [];
      for (const { add, high: h, low: l, pick } of steps) {
        if (add || model.length === 0) {
          const entry = new Entry(h, l);
          table.add(entry);
          model.push(entry);
        } else {
          const [gone] = model.splice(pick % model.length, 1);
          if (gone === undefined) continue;
          expect(table.delete(gone)).toBe(true);
          expect(table.delete(gone)).toBe(false);
        }
        const newest = model.findLast((one) => one.cookieHigh === h && one.cookieLow === l);
        expect(table.get(h, l)).toBe(newest);
        expect(table.size).toBe(model.length);
      }
      expect(new Set(table.values())).toEqual(new Set(model));
    }),
  );
});
