import {
  ATTR,
  isRmemType,
  isTmemType,
  MessageView,
  messageSize,
  MSG_HEADER_SIZE,
  MSG_MAX_NUM_PARAMS,
  WORD,
} from "../../optee-abi/index.ts";
import type { HexWord, TraceData, TraceMessage, TraceParam } from "../../run/index.ts";
import { type PageOf, readSpan, type Span } from "./spans.ts";
import { hexWord } from "./words.ts";

/** Parameters that are recorded; OP-TEE refuses every message with more than 6. */
const MAX_PARAMS = 16;

/** A parameter that names memory. */
export interface MemoryParam {
  readonly index: number;
  readonly type: number;
  /** The page list, of a temporary reference that is not in one piece. */
  readonly noncontig: boolean;
  readonly registered: boolean;
  /** buf_ptr or offset; rounded where no memory could be. */
  readonly pointer: number;
  readonly size: number;
  readonly cookie: bigint;
}

/** A message as it stands in memory, with what is needed to follow its references. */
export interface SeenMessage {
  readonly cmd: number;
  readonly ret: number;
  readonly numParams: number;
  /** By index; undefined for what names no memory. */
  readonly memory: readonly (MemoryParam | undefined)[];
  /** The cookie word of the first parameter, whatever it is (UNREGISTER_SHM looks at nothing else). */
  readonly firstCookie: bigint;
  /** The second word of the first parameter. */
  readonly firstSize: bigint;
  readonly firstAttr: bigint;
  /** As the trace has it; `data` gives the memory behind a parameter. */
  record(
    role: TraceMessage["role"],
    data: (param: MemoryParam) => TraceData | undefined,
  ): TraceMessage;
}

/** Reads the message at `span`; undefined where there is no memory for its header. */
export function seeMessage(pageOf: PageOf, span: Span): SeenMessage | undefined {
  const header = readSpan(pageOf, span, MSG_HEADER_SIZE);
  if (header === undefined) return undefined;
  const claimed = new MessageView(header).numParams;
  const wanted = claimed > MSG_MAX_NUM_PARAMS ? 0 : Math.min(claimed, MAX_PARAMS);
  const whole = wanted === 0 ? undefined : readSpan(pageOf, span, messageSize(wanted));
  const view = new MessageView(whole ?? header);
  const count = whole === undefined ? 0 : wanted;
  const indices = Array.from({ length: count }, (_, index) => index);
  const memory = indices.map((index) => memoryParam(view, index));
  const first = (word: 0 | 2 | 3): bigint => (count === 0 ? 0n : view.big(0, word));
  const at = span(0) ?? 0;
  return {
    cmd: view.cmd,
    ret: view.ret,
    numParams: claimed,
    memory,
    firstAttr: first(WORD.attr),
    firstSize: first(WORD.size),
    firstCookie: first(WORD.shm_ref),
    record: (role, data) => ({
      role,
      at: hexWord(Math.floor(at / 0x1_0000_0000), at % 0x1_0000_0000),
      cmd: view.cmd,
      func: view.func,
      session: view.session,
      cancelId: view.cancelId,
      ret: view.ret,
      retOrigin: view.retOrigin,
      numParams: claimed,
      params: indices.map((index) => {
        const param = memory[index];
        return paramRecord(view, index, param === undefined ? undefined : data(param));
      }),
    }),
  };
}

function memoryParam(view: MessageView, index: number): MemoryParam | undefined {
  const type = view.type(index);
  const registered = isRmemType(type);
  if (!registered && !isTmemType(type)) return undefined;
  return {
    index,
    type,
    registered,
    noncontig: !registered && (view.low(index, WORD.attr) & ATTR.NONCONTIG) !== 0,
    pointer: view.number(index, WORD.buf_ptr),
    size: view.number(index, WORD.size),
    cookie: view.big(index, WORD.shm_ref),
  };
}

function paramRecord(view: MessageView, index: number, data: TraceData | undefined): TraceParam {
  const word = (at: 0 | 1 | 2 | 3): HexWord => hexWord(view.high(index, at), view.low(index, at));
  const base = { attr: word(WORD.attr), a: word(WORD.a), b: word(WORD.b), c: word(WORD.c) };
  return data === undefined ? base : { ...base, data };
}
