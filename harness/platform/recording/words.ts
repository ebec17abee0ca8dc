import type { Registers } from "../../machine/index.ts";
import type { HexWord } from "../../run/index.ts";

/** 64 bits given as two unsigned halves. */
export function hexWord(high: number, low: number): HexWord {
  if (high === 0) return `0x${low.toString(16)}`;
  return `0x${high.toString(16)}${low.toString(16).padStart(8, "0")}`;
}

/** x0..x7. */
export function hexRegisters(registers: Registers): HexWord[] {
  const words: HexWord[] = [];
  for (let index = 0; index < 8; index += 1) {
    words.push(hexWord(registers.high(index), registers.get(index)));
  }
  return words;
}

/** The low 32 bits of a register and of the next, high word first, as one exact number. */
export function bigPair(registers: Registers, index: number): bigint {
  return (BigInt(registers.get(index)) << 32n) | BigInt(registers.get(index + 1));
}
