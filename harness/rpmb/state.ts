import type { KeyObject } from "node:crypto";
import type { EmmcRegisters } from "./registers.ts";

/** Registers of the device configuration area that RPMB guards (JESD84-B51 secure write protection). */
export interface SecureWpMode {
  /** SECURE_WP_MODE_ENABLE, one byte; bit 0 SECURE_WP_EN. */
  readonly enable: number;
  /** SECURE_WP_MODE_CONFIG, one byte; bit 0 SECURE_WP_MASK. */
  readonly config: number;
}

/** What a part keeps without power, beside the data. */
export interface RpmbCells {
  readonly key: KeyObject | undefined;
  readonly writeCounter: number;
  readonly secureWp: SecureWpMode;
}

/** A part as it is at one moment, whole: enough to make it again, key included. */
export interface RpmbSnapshot extends RpmbCells {
  readonly registers: EmmcRegisters;
  /** The partition, a multiple of 128 KiB. */
  readonly data: Uint8Array;
}

/** Data that one request puts at a byte offset of the partition. */
export interface RpmbPatch {
  readonly at: number;
  readonly bytes: Uint8Array;
  /** The partition as it is before. */
  readonly data: Uint8Array;
}

/**
 * Where a part's cells are kept beside memory. Each call is atomic: when it returns the change is
 * kept, when it throws or the process ends it is kept whole or not at all.
 */
export interface RpmbKeeper {
  commit(cells: RpmbCells, patch?: RpmbPatch): void;
  replace(snapshot: RpmbSnapshot): void;
  close(): void;
}

/** As parts leave their factory. */
export const BLANK_CELLS: RpmbCells = {
  key: undefined,
  writeCounter: 0,
  secureWp: { enable: 0, config: 0 },
};
