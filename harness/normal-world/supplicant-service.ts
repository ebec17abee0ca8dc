import { PARAM_ATTR } from "../tee-uapi/index.ts";

/** A request's parameters as the supplicant has them: memory references as bytes it may change. */
export interface ServiceParam {
  /** A TEE_IOCTL_PARAM_ATTR type. */
  readonly attr: number;
  a: bigint;
  b: bigint;
  c: bigint;
  /** The memory's bytes; undefined for a NULL or unusable reference and for values. */
  readonly bytes: Uint8Array | undefined;
  /** The reference names memory of the supplicant, but more than there is. */
  readonly outOfRange?: boolean;
}

/** Whether there are exactly parameters of these types. */
export const shapeIs = (params: readonly ServiceParam[], ...attrs: readonly number[]): boolean =>
  params.length === attrs.length && params.every(({ attr }, index) => attr === attrs[index]);

export const isValue = (param: ServiceParam | undefined): boolean =>
  param !== undefined &&
  param.attr >= PARAM_ATTR.VALUE_INPUT &&
  param.attr <= PARAM_ATTR.VALUE_INOUT;

/** A value's word as C's `uint32_t` takes it. */
export const u32 = (word: bigint | undefined): number => Number((word ?? 0n) & 0xffff_ffffn);
