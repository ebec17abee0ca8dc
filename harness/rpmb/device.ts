import { RPMB_REQUEST } from "./frame.ts";

/** An RPMB partition as the normal world's drivers use it: one operation at a time. */
export interface RpmbDevice {
  /** 16 bytes in register order. */
  readonly cid: Uint8Array;
  /** EXT_CSD[168] RPMB_SIZE_MULT, units of 128 KiB. */
  readonly sizeMultiplier: number;
  /** EXT_CSD[222] REL_WR_SEC_C, units of 512 bytes. */
  readonly relWrSecC: number;
  /**
   * Sends whole request frames and gives `responseFrames` response frames. For key programming and
   * writes the result register is read with a frame that the caller does not send, as drivers do.
   */
  frames(request: Uint8Array, responseFrames: number): Uint8Array;
}

/** Whether the answer to a request of this type must be fetched with a result-register read. */
export const needsResultRead = (type: number): boolean =>
  type === RPMB_REQUEST.PROGRAM_KEY ||
  type === RPMB_REQUEST.WRITE_DATA ||
  type === RPMB_REQUEST.CONFIG_WRITE;
