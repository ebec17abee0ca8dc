import { PARAM } from "./structures.ts";

/** Parameter types of `struct tee_ioctl_param` (TEE-2.2). */
export const PARAM_ATTR = {
  NONE: 0,
  VALUE_INPUT: 1,
  VALUE_OUTPUT: 2,
  VALUE_INOUT: 3,
  MEMREF_INPUT: 5,
  MEMREF_OUTPUT: 6,
  MEMREF_INOUT: 7,
  UBUF_INPUT: 8,
  UBUF_OUTPUT: 9,
  UBUF_INOUT: 10,
  OBJREF_INPUT: 11,
  OBJREF_OUTPUT: 12,
  OBJREF_INOUT: 13,
} as const;

export const PARAM_ATTR_TYPE_MASK = 0xff;
export const PARAM_ATTR_META = 0x100;
export const PARAM_ATTR_MASK = PARAM_ATTR_TYPE_MASK | PARAM_ATTR_META;

const TWO_32 = 0x1_0000_0000;

/** What `c` of a memref holds for a NULL reference (TEE-2.2): all ones. */
export const MEMREF_NULL = 0xffff_ffff_ffff_ffffn;

/**
 * A parameter as the driver sees it. `a`, `b` and `c` are opaque 64-bit quantities held as two
 * unsigned 32-bit halves, because most of them are small and bigints cost ten times as much.
 */
export class Param {
  attr = 0;
  aHigh = 0;
  a = 0;
  bHigh = 0;
  b = 0;
  cHigh = 0;
  c = 0;

  get type(): number {
    return this.attr & PARAM_ATTR_TYPE_MASK;
  }

  get isNullMemref(): boolean {
    return this.cHigh === 0xffff_ffff && this.c === 0xffff_ffff;
  }

  set(attr: number, a: number, b: number, c: number): this {
    this.attr = attr;
    this.aHigh = Math.floor(a / TWO_32);
    this.a = a >>> 0;
    this.bHigh = Math.floor(b / TWO_32);
    this.b = b >>> 0;
    this.cHigh = Math.floor(c / TWO_32);
    this.c = c >>> 0;
    return this;
  }

  setNullMemref(attr: number): this {
    this.set(attr, 0, 0, 0);
    this.cHigh = 0xffff_ffff;
    this.c = 0xffff_ffff;
    return this;
  }

  /** `a` as a number; exact below 2^53. */
  get aNumber(): number {
    return this.aHigh * TWO_32 + this.a;
  }

  get bNumber(): number {
    return this.bHigh * TWO_32 + this.b;
  }

  get cNumber(): number {
    return this.cHigh * TWO_32 + this.c;
  }
}

/** Reads the parameter at byte `at`. The upper half of `attr` counts as unknown bits. */
export function readParam(view: DataView, at: number, into: Param = new Param()): Param {
  const attrHigh = view.getUint32(at + PARAM.attr + 4, true);
  const attrLow = view.getUint32(at + PARAM.attr, true);
  into.attr = attrHigh === 0 ? attrLow : attrHigh * TWO_32 + attrLow;
  into.a = view.getUint32(at + PARAM.a, true);
  into.aHigh = view.getUint32(at + PARAM.a + 4, true);
  into.b = view.getUint32(at + PARAM.b, true);
  into.bHigh = view.getUint32(at + PARAM.b + 4, true);
  into.c = view.getUint32(at + PARAM.c, true);
  into.cHigh = view.getUint32(at + PARAM.c + 4, true);
  return into;
}

export function writeParam(view: DataView, at: number, param: Param): void {
  view.setUint32(at + PARAM.attr, param.attr, true);
  view.setUint32(at + PARAM.attr + 4, Math.floor(param.attr / TWO_32), true);
  view.setUint32(at + PARAM.a, param.a, true);
  view.setUint32(at + PARAM.a + 4, param.aHigh, true);
  view.setUint32(at + PARAM.b, param.b, true);
  view.setUint32(at + PARAM.b + 4, param.bHigh, true);
  view.setUint32(at + PARAM.c, param.c, true);
  view.setUint32(at + PARAM.c + 4, param.cHigh, true);
}

/** Whether `attr` has only the type and META bits (TEE-2.2: any other bit is EINVAL). */
export const attrIsWellFormed = (attr: number): boolean =>
  attr < TWO_32 && (attr & ~PARAM_ATTR_MASK) === 0;

export const isValueType = (type: number): boolean =>
  type >= PARAM_ATTR.VALUE_INPUT && type <= PARAM_ATTR.VALUE_INOUT;
export const isMemrefType = (type: number): boolean =>
  type >= PARAM_ATTR.MEMREF_INPUT && type <= PARAM_ATTR.MEMREF_INOUT;
export const isUserBufferType = (type: number): boolean =>
  type >= PARAM_ATTR.UBUF_INPUT && type <= PARAM_ATTR.UBUF_INOUT;
/** Whether results travel back in this parameter. */
export const isOutputType = (type: number): boolean =>
  type === PARAM_ATTR.VALUE_OUTPUT ||
  type === PARAM_ATTR.VALUE_INOUT ||
  type === PARAM_ATTR.MEMREF_OUTPUT ||
  type === PARAM_ATTR.MEMREF_INOUT;
