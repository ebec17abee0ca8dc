import { Random } from "../base/index.ts";
import {
  type Access,
  type Frames,
  frameToPa,
  GuestSpace,
  type Ipa,
  PAGE_SIZE,
  paToFrame,
  type SparseMemory,
  type Window,
} from "../machine/index.ts";
import type { Vm } from "../mediator/index.ts";
import type { Linux } from "../normal-world/index.ts";
import type { MemoryOperation, OperationCounts, StressReport } from "../run/index.ts";

/** What is tried between two SMCs, and between which of the accesses something is tried, one in so many. */
const TRIES_BETWEEN_CALLS = 3;
const ONE_ACCESS_IN = 16;
/** The most pages that one VM is without at a time, and what its allocator always keeps free. */
const MOST_HOLES = 32;
const KEEP_FREE = 512;
/** The most migrations that wait for pins and are tried again. */
const MOST_WAITING = 256;
/** How many frames that were touched last are candidates: memory in use is what pins protect. */
const TOUCHED = 48;
/** An owner that no VM gets: the neighbour that pages are donated to. */
const NEIGHBOUR = 0x7fff_ffff;
const NEIGHBOUR_BASE = 0x8000_0000;
/** What the next user of a frame writes all over it. */
const REUSED = new Uint8Array(PAGE_SIZE).fill(0xdb);

/** One VM under pressure. */
interface Victim {
  readonly vm: Vm;
  readonly linux: Linux;
  /** Pages that its balloon driver has given up and that nothing backs. */
  readonly holes: Ipa[];
}

interface Page {
  readonly victim: Victim;
  readonly at: Ipa;
}

/**
 * Keeps the memory of VMs under pressure while they work. A VM's balloon driver gives up pages that
 * its kernel has free; they are ballooned out or donated to another VM, and filled again later. Any
 * other page may move to another frame at any time; a pin makes that wait. Frames that become free
 * are overwritten at once, as their next user would, so that whoever still uses one is found out.
 */
export class MemoryPressure {
  readonly #frames: Frames;
  readonly #memory: SparseMemory;
  readonly #guestRam: Window;
  readonly #random: Random;
  readonly #victims: Victim[] = [];
  readonly #neighbour: GuestSpace;
  readonly #donated: Ipa[] = [];
  readonly #places = new Map<number, Page>();
  readonly #touched: number[] = [];
  /** Accessed since the last SMC boundary: their bytes may still be in somebody's hands. */
  #held = new Set<number>();
  /** The same of CPUs that are in the middle of something. */
  readonly #outer: Set<number>[] = [];
  readonly #waiting: Page[] = [];
  readonly #counts: Record<MemoryOperation, OperationCounts> = {
    balloon: { attempts: 0, waits: 0, completions: 0 },
    refill: { attempts: 0, waits: 0, completions: 0 },
    donation: { attempts: 0, waits: 0, completions: 0 },
    migration: { attempts: 0, waits: 0, completions: 0 },
  };
  #cursor = 0;
  #nextDonation = NEIGHBOUR_BASE;
  #busy = false;

  constructor(parts: {
    readonly frames: Frames;
    readonly memory: SparseMemory;
    readonly guestRam: Window;
    readonly seed: number;
  }) {
    this.#frames = parts.frames;
    this.#memory = parts.memory;
    this.#guestRam = parts.guestRam;
    this.#random = new Random(parts.seed ^ 0xba11);
    const view = parts.memory.view("normal", "neighbour");
    this.#neighbour = new GuestSpace(parts.frames, view, NEIGHBOUR);
  }

  get report(): StressReport {
    return { kind: "memory", machines: 1, vms: this.#victims.length, operations: this.#counts };
  }

  attach(vm: Vm, linux: Linux): void {
    const victim = { vm, linux, holes: [] };
    this.#victims.push(victim);
    for (const { page, frame } of vm.space.stage2.pages()) {
      this.#places.set(frame, { victim, at: (page * PAGE_SIZE) as Ipa });
    }
  }

  /** Between two SMCs, on either side of the mediator: nobody holds bytes of a page. */
  readonly betweenCalls = (): void => {
    this.#held.clear();
    for (let count = 0; count < TRIES_BETWEEN_CALLS; count += 1) this.#act();
  };

  /**
   * The CPU that runs stops in the middle of what it does and another one goes on. What the first
   * holds stays held until the function that comes back is called.
   */
  readonly suspend = (): (() => void) => {
    const held = this.#held;
    this.#outer.push(held);
    this.#held = new Set();
    return () => {
      this.#outer.pop();
      this.#held = held;
    };
  };

  /** Before any access to memory: the page that is about to be accessed stays where it is. */
  readonly probe = ({ at, length }: Access): void => {
    if (this.#busy) return;
    const { base, size } = this.#guestRam;
    if (at >= base && at < base + size) {
      const last = paToFrame((at + Math.max(length, 1) - 1) as typeof at);
      for (let frame = paToFrame(at); frame <= last; frame += 1) this.#touch(frame);
    }
    if (this.#random.below(ONE_ACCESS_IN) === 0) this.#act();
  };

  #touch(frame: number): void {
    this.#held.add(frame);
    if (this.#touched[this.#cursor] === frame) return;
    this.#cursor = (this.#cursor + 1) % TOUCHED;
    this.#touched[this.#cursor] = frame;
  }

  #act(): void {
    if (this.#busy) return;
    const alive = this.#victims.filter(({ vm }) => vm.alive);
    const victim = alive[alive.length === 0 ? 0 : this.#random.below(alive.length)];
    if (victim === undefined) return;
    this.#busy = true;
    try {
      this.#retryOne();
      switch (this.#random.below(8)) {
        case 0:
          this.#balloon(victim);
          break;
        case 1:
          this.#refill(victim);
          break;
        case 2:
          this.#donate(victim);
          break;
        default:
          this.#migrate(victim);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** A page that the VM's kernel gives up. A kernel without its driver yet has no balloon either. */
  #given({ linux, holes }: Victim): Ipa | undefined {
    const { pages } = linux.kernel;
    if (linux.driver === undefined || holes.length >= MOST_HOLES) return undefined;
    return pages.freePages > KEEP_FREE ? pages.giveUp() : undefined;
  }

  #balloon(victim: Victim): void {
    const at = this.#given(victim);
    if (at === undefined) return;
    const { space } = victim.vm;
    const frame = space.stage2.frame(at / PAGE_SIZE);
    if (!space.balloon(at)) return;
    victim.holes.push(at);
    this.#places.delete(frame);
    this.#count("balloon", frame, () => this.#reuse(frame));
  }

  #refill(victim: Victim): void {
    const index = victim.holes.length === 0 ? -1 : this.#random.below(victim.holes.length);
    const [at] = index < 0 ? [] : victim.holes.splice(index, 1);
    if (at === undefined) return;
    const counts = this.#counts.refill;
    counts.attempts += 1;
    if (!victim.vm.space.refill(at)) {
      victim.holes.push(at);
      return;
    }
    counts.completions += 1;
    this.#arrived(victim, at);
  }

  /** To a hole of another VM, or to the neighbour, who gives pages back when it has had its use. */
  #donate(victim: Victim): void {
    const at = this.#given(victim);
    if (at === undefined) return;
    const { space } = victim.vm;
    const other = this.#victims.find(
      (one) => one !== victim && one.vm.alive && one.holes.length > 0,
    );
    const hole = other?.holes.pop();
    const frame = space.stage2.frame(at / PAGE_SIZE);
    const target = hole ?? (this.#nextDonation as Ipa);
    const to = hole === undefined || other === undefined ? this.#neighbour : other.vm.space;
    const result = space.donate(at, to, target);
    if (result !== "done" && result !== "waiting") return;
    victim.holes.push(at);
    this.#places.delete(frame);
    const counts = this.#counts.donation;
    counts.attempts += 1;
    if (result === "waiting") {
      counts.waits += 1;
      return;
    }
    counts.completions += 1;
    if (other !== undefined && hole !== undefined) this.#arrived(other, hole);
    else {
      this.#nextDonation += PAGE_SIZE;
      this.#donated.push(target);
      this.#neighbour.write(target, REUSED);
      if (this.#donated.length > MOST_HOLES)
        this.#neighbour.balloon(this.#donated.shift() ?? target);
    }
  }

  #migrate(victim: Victim): void {
    const { base, size } = victim.vm.conduit.ram;
    let page: Page | undefined;
    if (this.#random.below(4) > 0 && this.#touched.length > 0) {
      page = this.#places.get(this.#touched[this.#random.below(this.#touched.length)] ?? -1);
    }
    const anywhere = (base + this.#random.below(size / PAGE_SIZE) * PAGE_SIZE) as Ipa;
    page ??= { victim, at: anywhere };
    const result = this.#move(page);
    if (result === undefined || result === "held") return;
    const counts = this.#counts.migration;
    counts.attempts += 1;
    if (result === "done") counts.completions += 1;
    if (result !== "pinned") return;
    counts.waits += 1;
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push(page);
  }

  #retryOne(): void {
    const page = this.#waiting.shift();
    if (page === undefined) return;
    const result = this.#move(page);
    if (result === "done") this.#counts.migration.completions += 1;
    if (result === "pinned" || result === "held") this.#waiting.push(page);
  }

  /** Undefined when the page is not there any more or cannot be moved at this moment. */
  #move({ victim, at }: Page): "done" | "pinned" | "held" | undefined {
    const { vm } = victim;
    if (!vm.alive) return undefined;
    const frame = vm.space.stage2.frame(at / PAGE_SIZE);
    if (this.#held.has(frame) || this.#outer.some((one) => one.has(frame))) return "held";
    const result = vm.space.migrate(at);
    if (result === "pinned") return "pinned";
    if (result !== "done") return undefined;
    this.#places.delete(frame);
    this.#places.set(vm.space.stage2.frame(at / PAGE_SIZE), { victim, at });
    this.#reuse(frame);
    return "done";
  }

  #arrived(victim: Victim, at: Ipa): void {
    const frame = victim.vm.space.stage2.frame(at / PAGE_SIZE);
    this.#places.set(frame, { victim, at });
    victim.linux.kernel.pages.takeBack(at);
  }

  /** Counts an attempt that completes once nobody holds a pin on `frame` any more. */
  #count(operation: MemoryOperation, frame: number, then: () => void): void {
    const counts = this.#counts[operation];
    counts.attempts += 1;
    if (this.#frames.pins(frame) > 0) counts.waits += 1;
    this.#frames.whenUnused(frame, () => {
      counts.completions += 1;
      then();
    });
  }

  /** The frame's next user writes to it. */
  #reuse(frame: number): void {
    if (this.#frames.isFree(frame)) this.#memory.poke(frameToPa(frame), REUSED);
  }
}
