import { nameTable } from "./names.ts";

/** The TYPE field of a parameter's attributes, bits 7:0 (sheet MSG section 1.3). */
export const ATTR_TYPE = {
  NONE: 0x0,
  VALUE_INPUT: 0x1,
  VALUE_OUTPUT: 0x2,
  VALUE_INOUT: 0x3,
  RMEM_INPUT: 0x5,
  RMEM_OUTPUT: 0x6,
  RMEM_INOUT: 0x7,
  TMEM_INPUT: 0x9,
  TMEM_OUTPUT: 0xa,
  TMEM_INOUT: 0xb,
} as const;
export const attrTypeName = nameTable(ATTR_TYPE);

export const ATTR = {
  TYPE_MASK: 0xff,
  /** Only for the two leading parameters of OPEN_SESSION. */
  META: 1 << 8,
  /** buf_ptr is a page list; only with TMEM. */
  NONCONTIG: 1 << 9,
  CACHE_SHIFT: 16,
  CACHE_MASK: 0x7,
  CACHE_PREDEFINED: 0,
} as const;

/** The exact attributes that REGISTER_SHM and an SHM_ALLOC answer carry. */
export const ATTR_TMEM_OUTPUT_NONCONTIG = ATTR_TYPE.TMEM_OUTPUT | ATTR.NONCONTIG;
/** The exact attributes of the meta parameters of OPEN_SESSION. */
export const ATTR_META_VALUE_INPUT = ATTR_TYPE.VALUE_INPUT | ATTR.META;

export const isValueType = (type: number): boolean => type >= 1 && type <= 3;
export const isRmemType = (type: number): boolean => type >= 5 && type <= 7;
export const isTmemType = (type: number): boolean => type >= 9 && type <= 0xb;
/** Whether the receiver of a request may change what the type describes. */
export const isOutputType = (type: number): boolean =>
  (isValueType(type) || isRmemType(type) || isTmemType(type)) && (type & 2) !== 0;

/** Login classes in params[1].c of OPEN_SESSION. */
export const LOGIN = {
  PUBLIC: 0,
  USER: 1,
  GROUP: 2,
  APPLICATION: 4,
  APPLICATION_USER: 5,
  APPLICATION_GROUP: 6,
  REE_KERNEL: 0x8000_0000,
  TRUSTED_APP: 0xf000_0000,
} as const;
export const loginName = nameTable(LOGIN);
