import { MAX_COUNTER, SIZE_UNIT } from "./frame.ts";
import { isRpmbKey } from "./key.ts";
import {
  copyRegisters,
  type EmmcRegisters,
  extCsdField,
  SECURE_WP_INFO,
  setExtCsdField,
} from "./registers.ts";
import type { RpmbCells, RpmbKeeper, RpmbPatch, RpmbSnapshot } from "./state.ts";

/** What a part keeps without power: registers, cells and data, each change whole or not at all. */
export class PartMemory {
  /** The partition; changed by `change` and `replace` only. */
  readonly data: Uint8Array;
  readonly #registers: EmmcRegisters;
  readonly #keeper: RpmbKeeper | undefined;
  #cells: RpmbCells;
  /** Why the part can no longer be used. */
  #gone: Error | undefined;

  /** Throws RangeError for a counter over 32 bits, a key that is not 32 bytes, data of another size. */
  constructor(snapshot: RpmbSnapshot, keeper: RpmbKeeper | undefined) {
    const { registers, data } = snapshot;
    this.#registers = copyRegisters(registers);
    this.#cells = checkedCells(snapshot);
    if (data.length !== extCsdField(registers.extCsd, "RPMB_SIZE_MULT") * SIZE_UNIT) {
      throw new RangeError(`${data.length} bytes of data in a part of another size`);
    }
    this.data = new Uint8Array(data);
    this.#keeper = keeper;
  }

  get cells(): RpmbCells {
    return this.#cells;
  }

  /** A copy, with what the configuration area has in it. */
  get registers(): EmmcRegisters {
    const registers = copyRegisters(this.#registers);
    const info = extCsdField(registers.extCsd, "SECURE_WP_INFO") & ~SECURE_WP_INFO.EN_STATUS;
    const on = (this.#cells.secureWp.enable & 1) === 1 ? SECURE_WP_INFO.EN_STATUS : 0;
    setExtCsdField(registers.extCsd, "SECURE_WP_INFO", info | on);
    return registers;
  }

  snapshot(): RpmbSnapshot {
    const registers = copyRegisters(this.#registers);
    return { ...this.#cells, registers, data: this.data.slice() };
  }

  /** Throws what was thrown when the part was last used in vain, or that it was closed. */
  use(): void {
    if (this.#gone !== undefined) throw this.#gone;
  }

  /** Throws RpmbStateError where it cannot be kept; then the part is of no use any more. */
  change(cells: Partial<RpmbCells>, patch?: Omit<RpmbPatch, "data">): void {
    const next = { ...this.#cells, ...cells };
    if (this.#keeper !== undefined) {
      this.#keep((keeper) => {
        keeper.commit(next, patch === undefined ? undefined : { ...patch, data: this.data });
      });
    }
    this.#cells = next;
    if (patch !== undefined) this.data.set(patch.bytes, patch.at);
  }

  /** Throws RangeError for a snapshot of a part with another CID or size, and as `change` does. */
  replace(snapshot: RpmbSnapshot): void {
    const { cid } = this.#registers;
    const same = Buffer.compare(snapshot.registers.cid, cid) === 0;
    if (!same || snapshot.data.length !== this.data.length) {
      throw new RangeError("the snapshot is of another part");
    }
    const cells = checkedCells(snapshot);
    const registers = this.#registers;
    this.#keep((keeper) => {
      keeper.replace({ ...cells, registers, data: snapshot.data });
    });
    this.#cells = cells;
    this.data.set(snapshot.data);
  }

  close(): void {
    if (this.#gone instanceof ClosedPart) return;
    this.#gone = new ClosedPart();
    this.#keeper?.close();
  }

  /** After a failure nobody knows what was kept, so nothing more is answered. */
  #keep(work: (keeper: RpmbKeeper) => void): void {
    this.use();
    if (this.#keeper === undefined) return;
    try {
      work(this.#keeper);
    } catch (error) {
      this.#gone = error instanceof Error ? error : new Error(String(error));
      throw error;
    }
  }
}

function checkedCells({ key, writeCounter, secureWp }: RpmbCells): RpmbCells {
  if (!Number.isInteger(writeCounter) || writeCounter < 0 || writeCounter > MAX_COUNTER) {
    throw new RangeError(`the write counter has 32 bits, ${writeCounter} does not fit`);
  }
  if (key !== undefined && !isRpmbKey(key)) throw new RangeError("an RPMB key has 32 bytes");
  return { key, writeCounter, secureWp: { ...secureWp } };
}

class ClosedPart extends Error {
  constructor() {
    super("the part was closed");
    this.name = "ClosedPart";
  }
}
