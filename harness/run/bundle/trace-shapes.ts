import type {
  HexWord,
  TraceData,
  TraceFrame,
  TraceHeader,
  TraceMessage,
  TraceParam,
  TraceRecord,
} from "../trace.ts";
import { type Check, count, list, matching, object, oneOf, ShapeError, text } from "./check.ts";

const REGISTERS = 8;
/** A message of one page has no more. */
const MAX_PARAMS = 127;
const MAX_DATA = 64 * 1024;
/** RPMB frames of one transfer that are told. */
const MAX_FRAMES = 64;

const word: Check<HexWord> = (value, at) => {
  if (typeof value === "string" && /^0x(?:0|[1-9a-f][0-9a-f]{0,15})$/.test(value)) {
    return value as HexWord;
  }
  throw new ShapeError(at, "64 bits as 0x and digits", value);
};

const u32: Check<number> = (value, at) => {
  if (count(value, at) > 0xffff_ffff) throw new ShapeError(at, "a 32-bit number", value);
  return value as number;
};

/** A list with a length from `min` to `max`. */
function bounded<T>(item: Check<T>, min: number, max: number): Check<T[]> {
  const items = list(item);
  return (value, at) => {
    if (Array.isArray(value) && (value.length < min || value.length > max)) {
      const expected = min === max ? `${max}` : `${min} to ${max}`;
      throw new ShapeError(at, `a list of ${expected}`, value);
    }
    return items(value, at);
  };
}

const dataSize: Check<number> = (value, at) => {
  const size = count(value, at);
  if (size === 0 || size > MAX_DATA) throw new ShapeError(at, `1 to ${MAX_DATA} bytes`, value);
  return size;
};

const u16: Check<number> = (value, at) => {
  if (count(value, at) > 0xffff) throw new ShapeError(at, "a 16-bit number", value);
  return value as number;
};

const frame: Check<TraceFrame> = object(
  {
    type: u16,
    result: u16,
    address: u16,
    count: u16,
    counter: u32,
    nonce: matching(/^(?:[0-9a-f*]{32})?$/, "16 bytes in hexadecimal, or nothing"),
    mac: matching(/^(?:[0-9a-f*]{64})?$/, "32 bytes in hexadecimal, or nothing"),
  },
  { block: text },
);

const data: Check<TraceData> = object(
  {
    size: dataSize,
    digest: matching(/^[0-9a-f]{16}$/, "16 hexadecimal digits"),
    head: matching(/^(?:[0-9a-f*]{2}){1,32}$/, "up to 32 bytes in hexadecimal"),
  },
  { frames: bounded(frame, 1, MAX_FRAMES) },
);

const param: Check<TraceParam> = object({ attr: word, a: word, b: word, c: word }, { data });

const message: Check<TraceMessage> = object({
  role: oneOf(["call", "rpc"]),
  at: word,
  cmd: u32,
  func: u32,
  session: u32,
  cancelId: u32,
  ret: u32,
  retOrigin: u32,
  numParams: u32,
  params: bounded(param, 0, MAX_PARAMS),
});

const anything: Check<unknown> = (value) => value;

const RECORD_SHAPES = {
  smc: object(
    {
      type: oneOf(["smc"]),
      where: oneOf(["conduit", "port"]),
      phase: oneOf(["enter", "leave"]),
      registers: bounded(word, REGISTERS, REGISTERS),
    },
    { guest: count, message },
  ),
  guest: object({
    type: oneOf(["guest"]),
    guest: count,
    what: oneOf(["created", "refused", "destroyed"]),
  }),
  console: object({ type: oneOf(["console"]), text }),
  end: object(
    { type: oneOf(["end"]), how: oneOf(["done", "skip", "crash", "error"]) },
    { value: anything, reason: text, dropped: count },
  ),
} satisfies { [K in TraceRecord["type"]]: Check<TraceRecord> };

const recordType = oneOf(Object.keys(RECORD_SHAPES) as TraceRecord["type"][]);

const traceHeader: Check<TraceHeader> = object(
  {
    type: oneOf(["trace"]),
    format: oneOf([1]),
    target: text,
    caseId: text,
    run: count,
    reference: text,
    conduit: text,
    seed: count,
    clauses: list(text),
  },
  { rules: text },
);

/** A line of a trace file: where a trace begins, or one of its records. */
export const traceLine: Check<TraceHeader | TraceRecord> = (value, at) => {
  if (typeof value !== "object" || value === null) throw new ShapeError(at, "an object", value);
  const { type } = value as { type?: unknown };
  if (type === "trace") return traceHeader(value, at);
  return RECORD_SHAPES[recordType(type, "type")](value, at);
};
