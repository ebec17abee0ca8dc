import type { MemoryObject } from "./memory-object.ts";

/** GP parameter types of the internal API, four bits each in a type word. */
export const TEE_PARAM = {
  NONE: 0,
  VALUE_INPUT: 1,
  VALUE_OUTPUT: 2,
  VALUE_INOUT: 3,
  MEMREF_INPUT: 5,
  MEMREF_OUTPUT: 6,
  MEMREF_INOUT: 7,
} as const;

/** The type word of up to four parameters. */
export const paramTypes = (p0 = 0, p1 = 0, p2 = 0, p3 = 0): number =>
  p0 | (p1 << 4) | (p2 << 8) | (p3 << 12);

/**
 * One parameter as a trusted application has it. Values are unsigned 32-bit. A memory reference is
 * `size` bytes at `offset` of `memory`; a NULL one has no memory. Out-of-bounds access is a data
 * abort of the TA: `read` and `write` throw RangeError, which ends as a panic of the TA.
 */
export class TaParam {
  type: number;
  a = 0;
  b = 0;
  /** The values as the caller gave them. */
  givenA = 0;
  givenB = 0;
  memory: MemoryObject | undefined;
  /** In protected memory, which only TAs for a secure data path may have. */
  isProtected = false;
  offset = 0;
  /** Bytes; a TA changes it to say how much it wrote or would have needed. */
  size = 0;
  /** Bytes that are mapped, whatever `size` says by now. */
  capacity = 0;

  constructor(type = 0) {
    this.type = type;
  }

  static value(type: number, a: number, b = 0): TaParam {
    const param = new TaParam(type);
    param.give(a >>> 0, b >>> 0);
    return param;
  }

  static memref(
    type: number,
    memory: MemoryObject | undefined,
    offset = 0,
    size = memory === undefined ? 0 : memory.size - offset,
  ): TaParam {
    const param = new TaParam(type);
    param.memory = memory;
    param.offset = offset;
    param.size = size;
    param.capacity = size;
    return param;
  }

  /** Sets the values as the caller gives them, unsigned 32-bit. */
  give(a: number, b: number): void {
    this.a = a;
    this.b = b;
    this.givenA = a;
    this.givenB = b;
  }

  /** A user TA finds zeros where it is to give values; what the caller left there it never sees. */
  hide(): void {
    if (this.type !== TEE_PARAM.VALUE_OUTPUT) return;
    this.a = 0;
    this.b = 0;
  }

  /** Forgets what a TA changed: only an entry point that returns hands its values back. */
  restore(): void {
    this.a = this.givenA;
    this.b = this.givenB;
    this.size = this.capacity;
  }

  get isMemref(): boolean {
    return this.type >= TEE_PARAM.MEMREF_INPUT;
  }

  get isNull(): boolean {
    return this.memory === undefined;
  }

  /**
   * Changes the 32-bit word at the start with one atomic access, which faults where the memory is not
   * aligned. Gives the new value.
   */
  add(change: number): number {
    if ((((this.memory?.offset ?? 0) + this.offset) & 3) !== 0) {
      throw new RangeError("data abort: atomic access to memory that is not aligned");
    }
    const bytes = this.read(0, 4);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const value = (view.getUint32(0, true) + change) >>> 0;
    view.setUint32(0, value, true);
    this.write(bytes);
    return value;
  }

  read(at = 0, length: number = this.capacity - at): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    if (this.memory === undefined || at < 0 || at + length > this.capacity) {
      throw new RangeError(`data abort: read of ${length} bytes at ${at} of ${this.capacity}`);
    }
    return this.memory.read(this.offset + at, length);
  }

  write(bytes: Uint8Array, at = 0): void {
    if (bytes.length === 0) return;
    if (this.memory === undefined || at < 0 || at + bytes.length > this.capacity) {
      throw new RangeError(
        `data abort: write of ${bytes.length} bytes at ${at} of ${this.capacity}`,
      );
    }
    this.memory.write(this.offset + at, bytes);
  }
}

export type TaParams = readonly [TaParam, TaParam, TaParam, TaParam];

export const noParams = (): TaParams => [
  new TaParam(),
  new TaParam(),
  new TaParam(),
  new TaParam(),
];

/** Four parameters, the missing ones of type NONE. */
export function taParams(...given: readonly TaParam[]): TaParams {
  const [a, b, c, d] = given;
  return [a ?? new TaParam(), b ?? new TaParam(), c ?? new TaParam(), d ?? new TaParam()];
}

export const typesOf = (params: TaParams): number =>
  paramTypes(params[0].type, params[1].type, params[2].type, params[3].type);
