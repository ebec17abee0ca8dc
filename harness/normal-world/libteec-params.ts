import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { UserBuffer } from "./user-memory.ts";

/** Parameter types of the GP client API (MSG-5). */
export const TEEC_PARAM = {
  NONE: 0,
  VALUE_INPUT: 1,
  VALUE_OUTPUT: 2,
  VALUE_INOUT: 3,
  MEMREF_TEMP_INPUT: 5,
  MEMREF_TEMP_OUTPUT: 6,
  MEMREF_TEMP_INOUT: 7,
  MEMREF_WHOLE: 0xc,
  MEMREF_PARTIAL_INPUT: 0xd,
  MEMREF_PARTIAL_OUTPUT: 0xe,
  MEMREF_PARTIAL_INOUT: 0xf,
} as const;

/** Directions of shared memory. */
export const TEEC_MEM = { INPUT: 1, OUTPUT: 2 } as const;

export const TEEC_LOGIN = {
  PUBLIC: 0,
  USER: 1,
  GROUP: 2,
  APPLICATION: 4,
  USER_APPLICATION: 5,
  GROUP_APPLICATION: 6,
} as const;

/** `TEEC_SharedMemory`. */
export interface TeecMemory {
  /** The caller's bytes. */
  readonly buffer: UserBuffer;
  readonly size: number;
  readonly flags: number;
  readonly id: number;
  readonly fd: number;
  /** Where the TEE sees them, when that is a copy. */
  readonly shadow: UserBuffer | undefined;
}

/** One parameter of an operation. Outputs are stored into it. */
export class TeecParam {
  readonly type: number;
  a = 0;
  b = 0;
  /** Of a temporary reference; null is the NULL pointer. */
  buffer: UserBuffer | null = null;
  memory: TeecMemory | undefined;
  offset = 0;
  size = 0;

  constructor(type: number) {
    this.type = type;
  }

  static value(type: number, a = 0, b = 0): TeecParam {
    const param = new TeecParam(type);
    param.a = a >>> 0;
    param.b = b >>> 0;
    return param;
  }

  /** A temporary reference to the first `size` bytes of `buffer`. */
  static temp(type: number, buffer: UserBuffer | null, size = buffer?.size ?? 0): TeecParam {
    const param = new TeecParam(type);
    param.buffer = buffer;
    param.size = size;
    return param;
  }

  static whole(memory: TeecMemory): TeecParam {
    const param = new TeecParam(TEEC_PARAM.MEMREF_WHOLE);
    param.memory = memory;
    param.size = memory.size;
    return param;
  }

  static partial(type: number, memory: TeecMemory, offset: number, size: number): TeecParam {
    const param = new TeecParam(type);
    param.memory = memory;
    param.offset = offset;
    param.size = size;
    return param;
  }

  /** Of a type that exists; a part lies in its memory, and its direction is one that this allows. */
  get isValid(): boolean {
    const { type, memory } = this;
    if (type >= TEEC_PARAM.MEMREF_PARTIAL_INPUT) {
      if (memory === undefined || type > TEEC_PARAM.MEMREF_PARTIAL_INOUT) return false;
      const needed = type - TEEC_PARAM.MEMREF_PARTIAL_INPUT + 1;
      return (memory.flags & needed) === needed && this.offset + this.size <= memory.size;
    }
    if (type === TEEC_PARAM.MEMREF_WHOLE) return memory !== undefined;
    return type !== 4 && type <= TEEC_PARAM.MEMREF_TEMP_INOUT;
  }

  get isValue(): boolean {
    return this.type <= TEEC_PARAM.VALUE_INOUT;
  }

  get isTemporary(): boolean {
    return this.type >= TEEC_PARAM.MEMREF_TEMP_INPUT && this.type <= TEEC_PARAM.MEMREF_TEMP_INOUT;
  }

  get isInput(): boolean {
    return this.#direction() !== 2;
  }

  get isOutput(): boolean {
    return this.type !== TEEC_PARAM.NONE && this.#direction() !== 1;
  }

  /** The TEE_IOCTL_PARAM_ATTR type that goes to the kernel. */
  get attr(): number {
    if (this.isValue || this.isTemporary) return this.type;
    return PARAM_ATTR.MEMREF_INPUT + this.#direction() - 1;
  }

  /** 1 input, 2 output, 3 both. */
  #direction(): number {
    switch (this.type) {
      case TEEC_PARAM.MEMREF_WHOLE:
        return this.memory?.flags ?? 3;
      case TEEC_PARAM.VALUE_INPUT:
      case TEEC_PARAM.MEMREF_TEMP_INPUT:
      case TEEC_PARAM.MEMREF_PARTIAL_INPUT:
        return 1;
      case TEEC_PARAM.VALUE_OUTPUT:
      case TEEC_PARAM.MEMREF_TEMP_OUTPUT:
      case TEEC_PARAM.MEMREF_PARTIAL_OUTPUT:
        return 2;
      default:
        return 3;
    }
  }
}
