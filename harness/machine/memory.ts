import { PAGE_MASK, PAGE_SIZE, type Pa } from "./address.ts";
import type { AccessProbe } from "./access.ts";
import type { PhysicalMemory } from "./port.ts";
import { Region, type RegionSpec } from "./region.ts";

export type World = "normal" | "secure";

/**
 * Physical memory of an emulated machine: regions with attributes, pages made when first touched.
 * Accesses go through a view, which knows its world and its name.
 */
export class SparseMemory {
  readonly regions: readonly Region[];
  /** Sees every access while set; costs nothing while undefined. */
  probe: AccessProbe | undefined;
  /** Counts the times that pages got other bytes. */
  replaced = 0;
  #last: Region | undefined;

  /** Throws RangeError when regions overlap or are not whole pages. */
  constructor(specs: readonly RegionSpec[]) {
    const regions = specs.map((spec) => new Region(spec)).toSorted((a, b) => a.base - b.base);
    for (const [index, region] of regions.entries()) {
      const before = regions[index - 1];
      if (before !== undefined && before.end > region.base) {
        throw new RangeError(`regions ${before.spec.name} and ${region.spec.name} overlap`);
      }
    }
    this.regions = regions;
  }

  /** The region that holds `at`, if any. */
  find(at: number): Region | undefined {
    const last = this.#last;
    if (last !== undefined && at >= last.base && at < last.end) return last;
    for (const region of this.regions) {
      if (at >= region.base && at < region.end) {
        this.#last = region;
        return region;
      }
    }
    return undefined;
  }

  /** This memory as `world` sees it, with accesses attributed to `name`. */
  view(world: World, name: string = world): MemoryView {
    return new MemoryView(this, world, name);
  }

  /** Reads past every check and unseen by the probe: the debugger's way in. */
  peek(at: Pa, length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.#transfer(at, length, (page, from, done, count) => {
      out.set(page.subarray(from, from + count), done);
    });
    return out;
  }

  /** Writes past every check (ROM included) and unseen by the probe: the debugger's way in. */
  poke(at: Pa, bytes: Uint8Array): void {
    this.#transfer(at, bytes.length, (page, from, done, count) => {
      page.set(bytes.subarray(done, done + count), from);
    });
  }

  #transfer(
    at: number,
    length: number,
    each: (page: Uint8Array, from: number, done: number, count: number) => void,
  ): void {
    for (let done = 0; done < length;) {
      const address = at + done;
      const region = this.find(address);
      if (region === undefined || region.spec.type === "mmio") {
        throw new RangeError(`nothing backs 0x${address.toString(16)}`);
      }
      const from = address & PAGE_MASK;
      const count = Math.min(PAGE_SIZE - from, length - done);
      each(region.page(Math.floor((address - region.base) / PAGE_SIZE)), from, done, count);
      done += count;
    }
  }
}

/** One observer's view of a `SparseMemory`: world checks, attribution, fast page access. */
export class MemoryView implements PhysicalMemory {
  readonly world: World;
  readonly name: string;
  readonly #memory: SparseMemory;

  constructor(memory: SparseMemory, world: World, name: string) {
    this.#memory = memory;
    this.world = world;
    this.name = name;
  }

  as(name: string): MemoryView {
    return new MemoryView(this.#memory, this.world, name);
  }

  read(at: Pa, length: number): Uint8Array {
    const out = new Uint8Array(length);
    this.readInto(at, out);
    return out;
  }

  readInto(at: Pa, target: Uint8Array): void {
    const length = target.length;
    this.#memory.probe?.({ by: this.name, kind: "read", at, length });
    for (let done = 0; done < length;) {
      const address = at + done;
      const region = this.#region(address, "read");
      if (region.spec.type === "mmio") {
        this.#device(region, address, target.subarray(done), "read");
        return;
      }
      const page = region.page(Math.floor((address - region.base) / PAGE_SIZE));
      const from = address & PAGE_MASK;
      const count = Math.min(PAGE_SIZE - from, length - done);
      target.set(count === PAGE_SIZE ? page : page.subarray(from, from + count), done);
      done += count;
    }
  }

  write(at: Pa, bytes: Uint8Array): void {
    const length = bytes.length;
    this.#memory.probe?.({ by: this.name, kind: "write", at, length });
    // Every page is checked before the first byte changes: a refused write leaves nothing behind.
    for (let done = 0; done < length; done += this.#step(at + done, length - done)) {
      this.#region(at + done, "write");
    }
    for (let done = 0; done < length;) {
      const address = at + done;
      const region = this.#region(address, "write");
      if (region.spec.type === "mmio") {
        this.#device(region, address, bytes.subarray(done), "write");
        return;
      }
      const count = this.#step(address, length - done);
      region
        .page(Math.floor((address - region.base) / PAGE_SIZE))
        .set(bytes.subarray(done, done + count), address & PAGE_MASK);
      done += count;
    }
  }

  page(at: Pa, intent: "read" | "write" = "read"): Uint8Array | undefined {
    const region = this.#memory.find(at);
    if (region === undefined || region.spec.type !== "ram") return undefined;
    if (region.secure && this.world !== "secure") return undefined;
    const index = Math.floor((at - region.base) / PAGE_SIZE);
    if (intent === "read") {
      const start = (region.base + index * PAGE_SIZE) as Pa;
      this.#memory.probe?.({ by: this.name, kind: "read", at: start, length: PAGE_SIZE });
    }
    return region.page(index);
  }

  backs(at: Pa): boolean {
    const region = this.#memory.find(at);
    if (region === undefined || region.spec.type !== "ram") return false;
    return !region.secure || this.world === "secure";
  }

  dirty(at: Pa, length: number): void {
    this.#memory.probe?.({ by: this.name, kind: "write", at, length });
  }

  get epoch(): number | undefined {
    return this.#memory.probe === undefined ? this.#memory.replaced : undefined;
  }

  zero(at: Pa, length: number): void {
    this.#memory.replaced += 1;
    if (at % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
      throw new RangeError(`0x${at.toString(16)} and ${length} bytes are not whole pages`);
    }
    this.#memory.probe?.({ by: this.name, kind: "write", at, length });
    for (let done = 0; done < length; done += PAGE_SIZE) {
      const region = this.#region(at + done, "write");
      if (region.spec.type !== "ram") {
        throw this.#fault(at + done, "write", `${region.spec.name} is not RAM`);
      }
      region.zero(Math.floor((at + done - region.base) / PAGE_SIZE));
    }
  }

  #step(address: number, left: number): number {
    return Math.min(PAGE_SIZE - (address & PAGE_MASK), left);
  }

  #region(address: number, kind: "read" | "write"): Region {
    const region = this.#memory.find(address);
    if (region === undefined) throw this.#fault(address, kind, "nothing is there");
    if (region.secure && this.world !== "secure") {
      throw this.#fault(address, kind, `${region.spec.name} is secure`);
    }
    if (kind === "write" && region.spec.type === "rom") {
      throw this.#fault(address, kind, `${region.spec.name} is read-only`);
    }
    return region;
  }

  #device(region: Region, address: number, bytes: Uint8Array, kind: "read" | "write"): void {
    const device = region.spec.device;
    const size = bytes.length;
    if (device === undefined) throw this.#fault(address, kind, `${region.spec.name} has no device`);
    if ((size !== 1 && size !== 2 && size !== 4 && size !== 8) || address % size !== 0) {
      throw this.#fault(address, kind, `${region.spec.name} takes aligned 1, 2, 4 or 8 bytes`);
    }
    const offset = address - region.base;
    if (kind === "read") {
      let value = device.read(offset, size);
      for (let index = 0; index < size; index += 1) {
        bytes[index] = Number(value & 0xffn);
        value >>= 8n;
      }
      return;
    }
    let value = 0n;
    for (const byte of bytes.toReversed()) value = (value << 8n) | BigInt(byte);
    device.write(offset, size, value);
  }

  #fault(address: number, kind: string, why: string): RangeError {
    return new RangeError(
      `${this.name}: ${kind} at 0x${address.toString(16)} by the ${this.world} world: ${why}`,
    );
  }
}
