import { crc32 } from "node:zlib";
import { PAGE_SIZE, type Pa, type PhysicalMemory, type Registers } from "../machine/index.ts";
import type { FreeRam } from "./ram-window.ts";
import type { MemoryWrite } from "./wire-machine.ts";

/** A machine behind a wire, made synchronous: each method is one round trip. `RemoteMachine` is one. */
export interface WireAccess {
  readonly granule: number;
  read(at: number, target: Uint8Array): void;
  checksums(at: number, size: number, count: number): readonly number[];
  call(writes: readonly MemoryWrite[], registers?: Registers): void;
}

/** What is known to be right together, a cache line. */
const LINE = 64;
const LINES = PAGE_SIZE / LINE;
/** What is compared by a checksum first, and within it the lines. */
const BLOCK = 512;
const BLOCK_LINES = BLOCK / LINE;
/** Unchanged bytes between two changed ones that are cheaper sent than left out. */
const MAX_GAP = 16;
const WORD = 8;
const ZERO_WORD = new Uint8Array(WORD);

interface Page {
  readonly number: number;
  /** As the model sees it. */
  readonly bytes: Uint8Array;
  /** As the machine had it when last heard of; zeros to begin with, which is what RAM mostly is. */
  readonly machine: Uint8Array;
  /** For each line the epoch in which `machine` was last known to be right. */
  readonly checked: Uint32Array;
  /** 1 for each byte that the model changed. */
  changed: Uint8Array | undefined;
}

/**
 * RAM of a machine behind a slow wire as the model sees it between two SMCs. Only bytes that differ go
 * out, all of them with the next SMC. After it nothing counts as known, but only what is needed is
 * looked at: where the machine's own checksum says that it is what it was, it is not sent again.
 * Outside of `window` nothing is backed.
 */
export class WireCopy implements PhysicalMemory {
  readonly #wire: WireAccess;
  readonly #base: number;
  readonly #end: number;
  readonly #pages = new Map<number, Page>();
  readonly #dirty = new Set<Page>();
  /** Made zero since the last SMC, and not sent yet. */
  #fills: { readonly from: number; readonly to: number }[] = [];
  /** Made zero since the last SMC. */
  #zeroed: { readonly from: number; readonly to: number }[] = [];
  #epoch = 1;

  constructor(wire: WireAccess, window: FreeRam) {
    this.#wire = wire;
    this.#base = window.base;
    this.#end = window.base + window.size;
  }

  read(at: Pa, length: number): Uint8Array {
    this.#check(at, length);
    const out = new Uint8Array(length);
    for (const { page, from, to, done } of this.#parts(at, length)) {
      this.#learn(page, from, to);
      out.set(page.bytes.subarray(from, to), done);
    }
    return out;
  }

  write(at: Pa, bytes: Uint8Array): void {
    this.#check(at, bytes.length);
    for (const { page, from, to, done } of this.#parts(at, bytes.length)) {
      page.bytes.set(bytes.subarray(done, done + to - from), from);
      this.#mark(page, from, to);
    }
  }

  page(at: Pa): Uint8Array | undefined {
    if (!this.backs(at)) return undefined;
    const page = this.#page(at);
    this.#learn(page, 0, PAGE_SIZE);
    return page.bytes;
  }

  backs(at: Pa): boolean {
    return at >= this.#base && at < this.#end;
  }

  dirty(at: Pa, length: number): void {
    this.#check(at, length);
    for (const { page, from, to } of this.#parts(at, length)) this.#mark(page, from, to);
  }

  zero(at: Pa, length: number): void {
    this.#check(at, length);
    if (at % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
      throw new RangeError(`0x${at.toString(16)} and ${length} bytes are not whole pages`);
    }
    if (length === 0) return;
    this.#fills.push({ from: at, to: at + length });
    this.#zeroed.push({ from: at, to: at + length });
    for (const page of this.#pages.values()) {
      const start = page.number * PAGE_SIZE;
      if (start < at || start >= at + length) continue;
      page.bytes.fill(0);
      page.machine.fill(0);
      page.checked.fill(this.#epoch);
      page.changed = undefined;
      this.#dirty.delete(page);
    }
  }

  /** One SMC, with everything that changed before it. */
  smc(registers: Registers): void {
    this.#sendFills();
    const writes: MemoryWrite[] = [];
    for (const page of this.#dirty) writes.push(...this.#writesOf(page));
    this.#dirty.clear();
    this.#wire.call(writes, registers);
    this.#epoch += 1;
    this.#zeroed = [];
  }

  *#parts(
    at: number,
    length: number,
  ): Generator<{ page: Page; from: number; to: number; done: number }> {
    for (let done = 0; done < length;) {
      const from = (at + done) % PAGE_SIZE;
      const to = Math.min(PAGE_SIZE, from + length - done);
      yield { page: this.#page(at + done), from, to, done };
      done += to - from;
    }
  }

  #page(at: number): Page {
    const number = Math.floor(at / PAGE_SIZE);
    const known = this.#pages.get(number);
    if (known !== undefined) return known;
    const page: Page = {
      number,
      bytes: new Uint8Array(PAGE_SIZE),
      machine: new Uint8Array(PAGE_SIZE),
      checked: new Uint32Array(LINES),
      changed: undefined,
    };
    const isZero = this.#zeroed.some(({ from, to }) => at >= from && at < to);
    if (isZero) page.checked.fill(this.#epoch);
    this.#pages.set(number, page);
    return page;
  }

  /** The bytes from `from` to `to` of a page are those of the machine, but for what the model changed. */
  #learn(page: Page, from: number, to: number): void {
    let first = Math.floor(from / LINE);
    let end = Math.ceil(to / LINE);
    while (first < end && this.#isSettled(page, first)) first += 1;
    while (end > first && this.#isSettled(page, end - 1)) end -= 1;
    if (first >= end) return;
    // What was made zero is zero from now on, and not before.
    this.#sendFills();
    if ((end - first) * LINE <= this.#wire.granule) {
      this.#fetch(page, first, end);
      return;
    }
    const blocks = {
      first: Math.floor((first * LINE) / BLOCK),
      end: Math.ceil((end * LINE) / BLOCK),
    };
    for (const run of this.#differing(page, blocks.first, blocks.end, BLOCK)) {
      if (this.#wire.granule >= BLOCK) {
        this.#fetch(page, run.first * BLOCK_LINES, run.end * BLOCK_LINES);
        continue;
      }
      for (let block = run.first; block < run.end; block += 1) {
        const line = block * BLOCK_LINES;
        for (const lines of this.#differing(page, line, line + BLOCK_LINES, LINE)) {
          this.#fetch(page, lines.first, lines.end);
        }
      }
    }
  }

  /** Runs of units of `size` bytes, from unit `first` to `end`, that are not what they were. */
  #differing(
    page: Page,
    first: number,
    end: number,
    size: number,
  ): { readonly first: number; readonly end: number }[] {
    const at = page.number * PAGE_SIZE + first * size;
    const sums = this.#wire.checksums(at, size, end - first);
    const runs: { first: number; end: number }[] = [];
    for (const [index, sum] of sums.entries()) {
      const unit = first + index;
      if (sum === crc32(page.machine.subarray(unit * size, (unit + 1) * size))) {
        page.checked.fill(this.#epoch, (unit * size) / LINE, ((unit + 1) * size) / LINE);
        this.#adopt(page, unit * size, (unit + 1) * size);
        continue;
      }
      const last = runs.at(-1);
      if (last?.end === unit) last.end = unit + 1;
      else runs.push({ first: unit, end: unit + 1 });
    }
    return runs;
  }

  #fetch(page: Page, first: number, end: number): void {
    const [from, to] = [first * LINE, end * LINE];
    this.#wire.read(page.number * PAGE_SIZE + from, page.machine.subarray(from, to));
    page.checked.fill(this.#epoch, first, end);
    this.#adopt(page, from, to);
  }

  /** The model sees what the machine has, where it changed nothing itself. */
  #adopt(page: Page, from: number, to: number): void {
    const { changed, bytes, machine } = page;
    if (changed === undefined) {
      bytes.set(machine.subarray(from, to), from);
      return;
    }
    for (let index = from; index < to; index += 1) {
      if (changed[index] === 0) bytes[index] = machine[index] ?? 0;
    }
  }

  #isKnown(page: Page, line: number): boolean {
    return page.checked[line] === this.#epoch;
  }

  /** Nothing that the machine has in a line could be seen. */
  #isSettled(page: Page, line: number): boolean {
    if (this.#isKnown(page, line)) return true;
    const changed = page.changed?.subarray(line * LINE, (line + 1) * LINE);
    return changed?.every((byte) => byte === 1) ?? false;
  }

  #mark(page: Page, from: number, to: number): void {
    page.changed ??= new Uint8Array(PAGE_SIZE);
    page.changed.fill(1, from, to);
    this.#dirty.add(page);
  }

  /** The changed bytes of a page, in as few runs as is cheap; the machine has them from here on. */
  #writesOf(page: Page): MemoryWrite[] {
    const { changed, bytes, machine } = page;
    if (changed === undefined) return [];
    const isKnown = (index: number): boolean => this.#isKnown(page, Math.floor(index / LINE));
    const mustGo = (index: number): boolean =>
      changed[index] === 1 && !(isKnown(index) && bytes[index] === machine[index]);
    // Bytes whose value is certain may go along.
    const mayGo = (index: number): boolean => changed[index] === 1 || isKnown(index);
    const runs: { from: number; to: number }[] = [];
    for (let index = 0; index < PAGE_SIZE; index += 1) {
      if (!mustGo(index)) continue;
      let from = index;
      while (from % WORD !== 0 && mayGo(from - 1)) from -= 1;
      let to = index + 1;
      while (to % WORD !== 0 && mayGo(to)) to += 1;
      const last = runs.at(-1);
      let gap = last?.to ?? from;
      while (gap < from && mayGo(gap)) gap += 1;
      if (last !== undefined && gap >= from && from - last.to <= MAX_GAP) last.to = to;
      else runs.push({ from: Math.max(from, last?.to ?? 0), to });
      index = to - 1;
    }
    page.changed = undefined;
    return runs.map(({ from, to }) => {
      const part = bytes.slice(from, to);
      machine.set(part, from);
      return { at: page.number * PAGE_SIZE + from, bytes: part };
    });
  }

  #sendFills(): void {
    if (this.#fills.length === 0) return;
    const merged: { readonly from: number; to: number }[] = [];
    for (const { from, to } of this.#fills.toSorted((a, b) => a.from - b.from)) {
      const last = merged.at(-1);
      if (last !== undefined && last.to >= from) last.to = Math.max(last.to, to);
      else merged.push({ from, to });
    }
    this.#fills = [];
    this.#wire.call(
      merged.map(({ from, to }) => ({ at: from, bytes: ZERO_WORD, length: to - from })),
    );
  }

  #check(at: number, length: number): void {
    if (at >= this.#base && length >= 0 && at + length <= this.#end) return;
    throw new RangeError(
      `0x${at.toString(16)} and ${length} bytes are outside the board's free RAM`,
    );
  }
}
