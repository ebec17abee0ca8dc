import { isTmemType, isRmemType, isValueType, ATTR } from "./attributes.ts";
import { octets, struct, type StructOf, u16, u32, u64 } from "./struct.ts";

/** The header of struct optee_msg_arg (sheet MSG section 1.1). */
export const MSG_ARG = struct("optee_msg_arg", 32, {
  cmd: u32(0),
  func: u32(4),
  session: u32(8),
  cancel_id: u32(12),
  pad: u32(16),
  ret: u32(20),
  ret_origin: u32(24),
  num_params: u32(28),
});
export type MsgArgHeader = StructOf<typeof MSG_ARG>;

/** struct optee_msg_param as a value, a temporary, a registered or an FF-A reference, or octets. */
export const PARAM_VALUE = struct("optee_msg_param.value", 32, {
  attr: u64(0),
  a: u64(8),
  b: u64(16),
  c: u64(24),
});
export const PARAM_TMEM = struct("optee_msg_param.tmem", 32, {
  attr: u64(0),
  buf_ptr: u64(8),
  size: u64(16),
  shm_ref: u64(24),
});
export const PARAM_RMEM = struct("optee_msg_param.rmem", 32, {
  attr: u64(0),
  offs: u64(8),
  size: u64(16),
  shm_ref: u64(24),
});
export const PARAM_FMEM = struct("optee_msg_param.fmem", 32, {
  attr: u64(0),
  offs_low: u32(8),
  offs_high: u16(12),
  internal_offs: u16(14),
  size: u64(16),
  global_id: u64(24),
});
export const PARAM_OCTETS = struct("optee_msg_param.octets", 32, {
  attr: u64(0),
  octets: octets(8, 24),
});

export const MSG_PAGE_SIZE = 4096;
export const MSG_HEADER_SIZE = MSG_ARG.size;
export const MSG_PARAM_SIZE = PARAM_VALUE.size;
/** How many parameters one 4 KiB page can hold: 127. */
export const MSG_MAX_NUM_PARAMS = Math.floor((MSG_PAGE_SIZE - MSG_HEADER_SIZE) / MSG_PARAM_SIZE);
/** Parameters of an RPC argument: what EXCHANGE_CAPABILITIES announces. */
export const RPC_ARG_PARAM_COUNT = 4;

/** Bytes of a message with `params` parameters: 32 + 32 n. */
export const messageSize = (params: number): number => MSG_HEADER_SIZE + MSG_PARAM_SIZE * params;

/** One decoded parameter; `a`, `b`, `c` are the words at offsets 8, 16 and 24 whatever the type. */
export type MsgParam = StructOf<typeof PARAM_VALUE>;
export interface Message extends Omit<MsgArgHeader, "num_params" | "pad"> {
  params: MsgParam[];
}

/**
 * Decodes a message, copying everything. Throws RangeError when the bytes end before the parameters
 * do or num_params is over 127; for traces and tests, not for guests' bytes on hot paths.
 */
export function decodeMessage(bytes: Uint8Array, at = 0): Message {
  const { num_params: count, pad: _pad, ...header } = MSG_ARG.read(bytes, at);
  if (count > MSG_MAX_NUM_PARAMS) throw new RangeError(`num_params ${count} is over 127`);
  const params = Array.from({ length: count }, (_, index) =>
    PARAM_VALUE.read(bytes, at + messageSize(index)),
  );
  return { ...header, params };
}

/** Encodes a message; fields that are left out are 0. Throws RangeError for over 127 parameters. */
export function encodeMessage(
  message: Partial<Omit<Message, "params">> & { readonly params?: readonly Partial<MsgParam>[] },
): Uint8Array {
  const params = message.params ?? [];
  if (params.length > MSG_MAX_NUM_PARAMS) throw new RangeError(`${params.length} parameters`);
  const bytes = new Uint8Array(messageSize(params.length));
  MSG_ARG.write(bytes, {
    cmd: message.cmd ?? 0,
    func: message.func ?? 0,
    session: message.session ?? 0,
    cancel_id: message.cancel_id ?? 0,
    pad: 0,
    ret: message.ret ?? 0,
    ret_origin: message.ret_origin ?? 0,
    num_params: params.length,
  });
  for (const [index, param] of params.entries()) {
    const { attr = 0n, a = 0n, b = 0n, c = 0n } = param;
    PARAM_VALUE.write(bytes, { attr, a, b, c }, messageSize(index));
  }
  return bytes;
}

/** The four 64-bit words of a parameter by place; the aliases are those of the union's members. */
export const WORD = {
  attr: 0,
  a: 1,
  b: 2,
  c: 3,
  buf_ptr: 1,
  offs: 1,
  size: 2,
  shm_ref: 3,
} as const;
export type Word = (typeof WORD)[keyof typeof WORD];

/**
 * A message in place, for hot paths: no copies, no bigint unless asked for. 64-bit words are read
 * and written as 32-bit halves, as a number when below 2^53, or as an exact bigint. Parameter
 * indices are not checked against num_params; out of the bytes a RangeError is thrown.
 */
export class MessageView {
  readonly #view: DataView;

  /** `length` bytes of `bytes` from `at`; to the end when left out. */
  constructor(bytes: Uint8Array, at = 0, length = bytes.length - at) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset + at, length);
  }

  get byteLength(): number {
    return this.#view.byteLength;
  }

  get cmd(): number {
    return this.#view.getUint32(0, true);
  }
  set cmd(value: number) {
    this.#view.setUint32(0, value, true);
  }
  get func(): number {
    return this.#view.getUint32(4, true);
  }
  set func(value: number) {
    this.#view.setUint32(4, value, true);
  }
  get session(): number {
    return this.#view.getUint32(8, true);
  }
  set session(value: number) {
    this.#view.setUint32(8, value, true);
  }
  get cancelId(): number {
    return this.#view.getUint32(12, true);
  }
  set cancelId(value: number) {
    this.#view.setUint32(12, value, true);
  }
  get ret(): number {
    return this.#view.getUint32(20, true);
  }
  set ret(value: number) {
    this.#view.setUint32(20, value, true);
  }
  get retOrigin(): number {
    return this.#view.getUint32(24, true);
  }
  set retOrigin(value: number) {
    this.#view.setUint32(24, value, true);
  }
  get numParams(): number {
    return this.#view.getUint32(28, true);
  }
  set numParams(value: number) {
    this.#view.setUint32(28, value, true);
  }

  /** The TYPE field of parameter `index`. */
  type(index: number): number {
    return this.#view.getUint8(32 + 32 * index);
  }

  low(index: number, word: Word): number {
    return this.#view.getUint32(32 + 32 * index + 8 * word, true);
  }

  high(index: number, word: Word): number {
    return this.#view.getUint32(36 + 32 * index + 8 * word, true);
  }

  setWords(index: number, word: Word, high: number, low: number): void {
    this.#view.setUint32(36 + 32 * index + 8 * word, high, true);
    this.#view.setUint32(32 + 32 * index + 8 * word, low, true);
  }

  /** The word as a number; exact below 2^53, otherwise rounded. */
  number(index: number, word: Word): number {
    return this.high(index, word) * 0x1_0000_0000 + this.low(index, word);
  }

  /** Throws RangeError unless `value` is an integer from 0 to 2^53 - 1. */
  setNumber(index: number, word: Word, value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) {
      throw new RangeError(`${value} is not an integer below 2^53`);
    }
    this.setWords(index, word, Math.floor(value / 0x1_0000_0000), value >>> 0);
  }

  big(index: number, word: Word): bigint {
    return this.#view.getBigUint64(32 + 32 * index + 8 * word, true);
  }

  setBig(index: number, word: Word, value: bigint): void {
    this.#view.setBigUint64(32 + 32 * index + 8 * word, value, true);
  }

  /** Whether attr of parameter `index`, all 64 bits, is exactly `attr` (below 2^32). */
  attrIs(index: number, attr: number): boolean {
    return this.low(index, WORD.attr) === attr && this.high(index, WORD.attr) === 0;
  }

  /** True for TMEM with the NONCONTIG flag. */
  isNoncontig(index: number): boolean {
    return isTmemType(this.type(index)) && (this.low(index, WORD.attr) & ATTR.NONCONTIG) !== 0;
  }
}

/** "tmem", "rmem", "value", "none" or "invalid" for the TYPE field of a parameter. */
export function paramKind(type: number): "none" | "value" | "rmem" | "tmem" | "invalid" {
  if (type === 0) return "none";
  if (isValueType(type)) return "value";
  if (isRmemType(type)) return "rmem";
  return isTmemType(type) ? "tmem" : "invalid";
}
