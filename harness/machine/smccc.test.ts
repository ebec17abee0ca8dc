import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import type { Ipa } from "./address.ts";
import { createDirectConduit } from "./direct.ts";
import { SparseMemory } from "./memory.ts";
import { Registers } from "./registers.ts";
import { functionNumberOf, isConvention64, isFastCall, ownerOf } from "./smccc.ts";

test("function identifiers fall into kind, convention, owner and number", () => {
  expect([0xb200_0009, 0x3200_0004].map(isFastCall)).toEqual([true, false]);
  expect([0xbf00_ff01, 0xc400_0003].map(isConvention64)).toEqual([false, true]);
  expect([0xbf00_ff01, 0x3200_0004, 0x8400_0000].map(ownerOf)).toEqual([63, 50, 4]);
  expect(functionNumberOf(0xbf00_ff01)).toBe(0xff01);
});

test("registers hold 64 bits exactly, as words, as pairs and as a whole", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.nat(7), (value, index) => {
      const registers = new Registers();
      registers.set64(index, value);
      expect(registers.get64(index)).toBe(value);
      expect(registers.get(index)).toBe(Number(value & 0xffff_ffffn));
      expect(registers.high(index)).toBe(Number(value >> 32n));
      const copy = new Registers([1, 2, 3]);
      copy.copyRegister(index, registers);
      expect(copy.get64(index)).toBe(value);
    }),
  );
  const registers = new Registers([0, 1, 2]);
  registers.setPair(1, 0x30_1234_5678);
  expect([registers.get(1), registers.get(2), registers.pair(1)]).toEqual([
    0x30, 0x1234_5678, 0x30_1234_5678,
  ]);
  registers.setAllOnes(3);
  expect(registers.get64(3)).toBe(2n ** 64n - 1n);
  registers.set(3, 5);
  expect(registers.get64(3)).toBe(5n);
});

test("the direct conduit hands memory and calls through as they are", () => {
  const memory = new SparseMemory([{ name: "ram", base: 0x1000, size: 0x4000, type: "ram" }]);
  const calls: bigint[][] = [];
  const port = {
    memory: memory.view("normal"),
    smc: (registers: Registers) => {
      calls.push(registers.toArray());
      registers.set(0, 9);
    },
  };
  const conduit = createDirectConduit(port, { base: 0x1000, size: 0x4000 });
  const registers = new Registers([1, 2, 3, 4, 5, 6, 7, 8]);
  conduit.smc(registers);
  expect(calls).toEqual([[1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n]]);
  expect(registers.get(0)).toBe(9);
  const at = conduit.ram.base;
  conduit.memory.write(at, Uint8Array.of(1, 2));
  expect(conduit.memory.read(at, 2)).toEqual(Uint8Array.of(1, 2));
  const page = conduit.memory.page(at);
  page?.set([7], 4095);
  conduit.memory.dirty((at + 4095) as Ipa, 1);
  expect(conduit.memory.read((at + 4095) as Ipa, 1)).toEqual(Uint8Array.of(7));
  expect(() => conduit.memory.read(0x9000 as Ipa, 1)).toThrow(RangeError);
});
