/** What the board's Linux says of an eMMC part, through sysfs. What it does not say is left out. */
export interface PartFacts {
  /** 16 bytes in register order. */
  readonly cid?: Uint8Array;
  /** EXT_CSD[168], units of 128 KiB. */
  readonly sizeMultiplier?: number;
  /** EXT_CSD[222] REL_WR_SEC_C, units of 512 bytes. */
  readonly relWrSecC?: number;
  /** WR_REL_PARAM.EN_RPMB_REL_WR: writes of 32 frames. */
  readonly enhancedReliableWrite?: boolean;
  /** Firmware revision, as printed. */
  readonly firmware?: string;
}

/** Facts by the names of their sysfs attributes; texts that are not of their form are left out. */
export function partFacts(attributes: ReadonlyMap<string, string>): PartFacts {
  const cid = attributes.get("cid") ?? "";
  const sizeMultiplier = numberIn(attributes.get("raw_rpmb_size_mult"), 0xff);
  const relWrSecC = numberIn(attributes.get("rel_sectors"), 0xff);
  const enhanced = numberIn(attributes.get("enhanced_rpmb_supported"), 1);
  const firmware = attributes.get("fwrev");
  return {
    ...(/^[0-9a-f]{32}$/i.test(cid) && { cid: Buffer.from(cid, "hex") }),
    ...(sizeMultiplier !== undefined && { sizeMultiplier }),
    ...(relWrSecC !== undefined && { relWrSecC }),
    ...(enhanced !== undefined && { enhancedReliableWrite: enhanced === 1 }),
    ...(firmware !== undefined && /^[!-~]{1,32}$/.test(firmware) && { firmware }),
  };
}

function numberIn(text: string | undefined, max: number): number | undefined {
  if (text === undefined || !/^(?:0x[0-9a-f]{1,8}|\d{1,9})$/i.test(text)) return undefined;
  const value = Number(text);
  return value <= max ? value : undefined;
}
