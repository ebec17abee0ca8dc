import type { Random } from "../../base/index.ts";
import type { StateFile } from "../state-journal.ts";

interface Pending {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** What becomes of a write that was not kept when the machine fails. */
export type Fate =
  | { readonly kind: "lost" }
  | { readonly kind: "whole" }
  /** The first `length` bytes came through. */
  | { readonly kind: "prefix"; readonly length: number }
  /** Each sector of `size` bytes that it touches is old, new, or reads as something else. */
  | { readonly kind: "torn"; readonly size: number; readonly random: Random };

/** A disk that keeps what was synced, and of the rest what each write's fate lets through. */
export class CrashDisk implements StateFile {
  readonly where = "the disk";
  kept: Uint8Array;
  pending: Pending[] = [];
  /** Called after each write and each sync, before the next. */
  onStep: (step: "write" | "sync" | "replace") => void = () => {};
  /** Whether `sync` does what it says. */
  honest = true;

  constructor(bytes: Uint8Array) {
    this.kept = bytes.slice();
  }

  write(at: number, bytes: Uint8Array): void {
    if (at + bytes.length > this.kept.length) throw new Error("beyond the file");
    this.pending.push({ at, bytes: bytes.slice() });
    this.onStep("write");
  }

  sync(): void {
    if (this.honest) {
      this.kept = this.image(this.pending.map(() => ({ kind: "whole" })));
      this.pending = [];
    }
    this.onStep("sync");
  }

  replace(bytes: Uint8Array): void {
    this.onStep("replace");
    this.kept = bytes.slice();
    this.pending = [];
    this.onStep("replace");
  }

  close(): void {}

  /** What is on the disk after a failure at this moment. */
  image(fates: readonly Fate[]): Uint8Array {
    const bytes = this.kept.slice();
    for (const [index, { at, bytes: written }] of this.pending.entries()) {
      const fate = fates[index] ?? { kind: "lost" };
      if (fate.kind === "whole") bytes.set(written, at);
      else if (fate.kind === "prefix") bytes.set(written.subarray(0, fate.length), at);
      else if (fate.kind === "torn") tear(bytes, at, written, fate);
    }
    return bytes;
  }
}

function tear(
  bytes: Uint8Array,
  at: number,
  written: Uint8Array,
  { size, random }: { readonly size: number; readonly random: Random },
): void {
  const first = Math.floor(at / size) * size;
  for (let sector = first; sector < at + written.length; sector += size) {
    const from = Math.max(sector, at);
    const piece = written.subarray(from - at, Math.min(sector + size, at + written.length) - at);
    switch (random.below(3)) {
      case 0:
        break;
      case 1:
        bytes.set(piece, from);
        break;
      default:
        // What lies beside the write in the same sector is lost with it.
        for (let one = sector; one < Math.min(sector + size, bytes.length); one += 1) {
          bytes[one] = random.below(256);
        }
    }
  }
}
