import { PAGE_MASK, PAGE_SIZE, type Ipa, type Pa } from "./address.ts";
import { FRAMES_PER_CHUNK, type Frames, type OwnerId, frameToPa } from "./frames.ts";
import type { GuestMemory, PhysicalMemory } from "./port.ts";
import { MAPPING, type Mapping, Stage2 } from "./stage2.ts";

export type DonationResult = "done" | "waiting" | "not-mapped" | "occupied";
export type MigrationResult = "done" | "pinned" | "fixed" | "not-mapped" | "no-frame";

/** A VM's memory: its stage-2 table, the frames behind it, and access as the VM itself has it. */
export class GuestSpace implements GuestMemory {
  readonly owner: OwnerId;
  readonly stage2 = new Stage2();
  readonly frames: Frames;
  #closed = false;
  /** Direct-mapped: every page stays at its own address. */
  #fixed = false;
  readonly #memory: PhysicalMemory;

  constructor(frames: Frames, memory: PhysicalMemory, owner: OwnerId) {
    this.frames = frames;
    this.owner = owner;
    this.#memory = memory;
  }

  /**
   * Gives the VM RAM at [base, base + size), in 2 MiB blocks where both sides allow it. False, with
   * nothing mapped, when there are not enough frames or something is mapped there already.
   */
  populate(base: Ipa, size: number): boolean {
    const first = base / PAGE_SIZE;
    const end = first + size / PAGE_SIZE;
    if (!Number.isInteger(first) || !Number.isInteger(end)) {
      throw new RangeError(`RAM at ${base} of ${size} bytes is not whole pages`);
    }
    for (let page = first; page < end; page += 1) if (this.stage2.frame(page) >= 0) return false;
    let page = first;
    while (page < end) {
      if (page % FRAMES_PER_CHUNK === 0 && page + FRAMES_PER_CHUNK <= end) {
        const block = this.frames.allocateBlock(this.owner);
        if (block !== undefined) {
          this.#scrub(block, FRAMES_PER_CHUNK);
          this.stage2.mapBlock(page, block, MAPPING.ramRw);
          page += FRAMES_PER_CHUNK;
          continue;
        }
      }
      const frame = this.frames.allocate(this.owner);
      if (frame === undefined) {
        for (let undo = first; undo < page; undo += 1) this.balloon((undo * PAGE_SIZE) as Ipa);
        return false;
      }
      this.#scrub(frame, 1);
      this.stage2.map(page, frame, MAPPING.ramRw);
      page += 1;
    }
    return true;
  }

  /** Maps RAM one to one, as a direct-mapped domain has it; false when a frame is taken. */
  populateIdentity(base: number, size: number): boolean {
    this.#fixed = true;
    const first = base / PAGE_SIZE;
    const end = first + size / PAGE_SIZE;
    for (let frame = first; frame < end; frame += 1) {
      if (!this.frames.claim(frame, this.owner)) {
        for (let undo = first; undo < frame; undo += 1) this.balloon((undo * PAGE_SIZE) as Ipa);
        return false;
      }
      this.#scrub(frame, 1);
      this.stage2.map(frame, frame, MAPPING.ramRw);
    }
    return true;
  }

  /** Puts a frame that the VM does not own (device, grant, foreign, ROM) into its address space. */
  mapForeign(at: Ipa, frame: number, kind: Exclude<Mapping, 0 | 1>): void {
    this.stage2.map(at / PAGE_SIZE, frame, kind);
  }

  /** Makes a RAM page read-only or read-write. False when no RAM of this VM is mapped there. */
  protect(at: Ipa, kind: typeof MAPPING.ramRw | typeof MAPPING.ramRo): boolean {
    const page = Math.floor(at / PAGE_SIZE);
    const now = this.stage2.kind(page);
    if (now !== MAPPING.ramRw && now !== MAPPING.ramRo) return false;
    this.stage2.map(page, this.stage2.frame(page), kind);
    return true;
  }

  /**
   * Takes a page from the VM (ballooning). It succeeds whether or not the page is pinned; the frame
   * is reused only when its last pin is dropped. False when no page is mapped there.
   */
  balloon(at: Ipa): boolean {
    const page = Math.floor(at / PAGE_SIZE);
    const kind = this.stage2.kind(page);
    const frame = this.stage2.unmap(page);
    if (frame < 0) return false;
    if (kind === MAPPING.ramRw || kind === MAPPING.ramRo) this.frames.release(frame);
    return true;
  }

  /** Gives the VM a fresh zeroed page at `at`; false when it has one there or none is left. */
  refill(at: Ipa): boolean {
    const page = Math.floor(at / PAGE_SIZE);
    if (this.stage2.frame(page) >= 0) return false;
    const frame = this.frames.allocate(this.owner);
    if (frame === undefined) return false;
    this.#scrub(frame, 1);
    this.stage2.map(page, frame, MAPPING.ramRw);
    return true;
  }

  /**
   * Gives a page to another VM: unmapped here at once, mapped there once no pin holds it, and only
   * then may the other VM touch it. `target` is where it will appear.
   */
  donate(at: Ipa, to: GuestSpace, target: Ipa): DonationResult {
    const page = Math.floor(at / PAGE_SIZE);
    const there = Math.floor(target / PAGE_SIZE);
    const kind = this.stage2.kind(page);
    if (kind !== MAPPING.ramRw) return "not-mapped";
    if (to.stage2.frame(there) >= 0) return "occupied";
    const frame = this.stage2.unmap(page);
    let arrived = false;
    this.frames.release(frame);
    this.frames.whenUnused(frame, () => {
      if (!to.#closed && to.stage2.frame(there) < 0 && this.frames.claim(frame, to.owner)) {
        this.#scrub(frame, 1);
        to.stage2.map(there, frame, MAPPING.ramRw);
      }
      arrived = true;
    });
    return arrived ? "done" : "waiting";
  }

  /**
   * Moves a page of RAM to another frame with what it holds, as compaction and swapping do under
   * memory pressure; the VM notices nothing. Only a frame without pins can move: whoever holds a pin
   * knows the frame by its address. A direct-mapped VM's pages are "fixed".
   */
  migrate(at: Ipa): MigrationResult {
    const page = Math.floor(at / PAGE_SIZE);
    const kind = this.stage2.kind(page);
    if (kind !== MAPPING.ramRw && kind !== MAPPING.ramRo) return "not-mapped";
    if (this.#fixed) return "fixed";
    const from = this.stage2.frame(page);
    if (this.frames.pins(from) > 0) return "pinned";
    const to = this.frames.allocate(this.owner);
    if (to === undefined) return "no-frame";
    const memory = this.#memory.as?.("hypervisor") ?? this.#memory;
    memory.write(frameToPa(to), memory.read(frameToPa(from), PAGE_SIZE));
    this.stage2.map(page, to, kind);
    this.frames.release(from);
    return "done";
  }

  /**
   * Takes every page away at the end of the VM; pages on their way to it stay free. Frames that are
   * pinned are not yet reusable.
   */
  close(): void {
    this.#closed = true;
    for (const { frame, kind } of this.stage2.pages()) {
      if (kind === MAPPING.ramRw || kind === MAPPING.ramRo) this.frames.release(frame);
    }
    this.stage2.clear();
  }

  read(at: Ipa, length: number): Uint8Array {
    const out = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const address = at + done;
      const count = Math.min(PAGE_SIZE - (address & PAGE_MASK), length - done);
      out.set(this.#memory.read(this.#where(address, false), count), done);
      done += count;
    }
    return out;
  }

  write(at: Ipa, bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) {
      const address = at + done;
      const count = Math.min(PAGE_SIZE - (address & PAGE_MASK), bytes.length - done);
      this.#memory.write(this.#where(address, true), bytes.subarray(done, done + count));
      done += count;
    }
  }

  page(at: Ipa): Uint8Array | undefined {
    const frame = this.stage2.writable(Math.floor(at / PAGE_SIZE));
    return frame < 0 ? undefined : this.#memory.page(frameToPa(frame));
  }

  dirty(at: Ipa, length: number): void {
    const where = this.stage2.translate(at);
    if (where !== undefined) this.#memory.dirty(where, length);
  }

  #where(address: number, write: boolean): Pa {
    const page = Math.floor(address / PAGE_SIZE);
    const kind = this.stage2.kind(page);
    const frame = this.stage2.frame(page);
    if (frame < 0 || (write && kind === MAPPING.ramRo)) {
      const why = frame < 0 ? "is not mapped" : "is read-only";
      throw new RangeError(`stage-2 fault: guest address 0x${address.toString(16)} ${why}`);
    }
    return (frame * PAGE_SIZE + (address & PAGE_MASK)) as Pa;
  }

  #scrub(frame: number, count: number): void {
    const length = count * PAGE_SIZE;
    if (this.#memory.zero === undefined) {
      this.#memory.write(frameToPa(frame), new Uint8Array(length));
    } else this.#memory.zero(frameToPa(frame), length);
  }
}
