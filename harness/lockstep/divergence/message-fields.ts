import {
  ATTR,
  attrTypeName,
  fsOpName,
  messageCommandName,
  MSG_CMD,
  nameTable,
  originName,
  paramKind,
  resultName,
  RPC_CMD,
  rpcCommandName,
  SOCKET_OP,
} from "../../optee-abi/index.ts";
import type { TraceData, TraceMessage, TraceParam } from "../../run/index.ts";
import type { CanonicalField, FieldValue } from "./model.ts";
import { rpmbDataFields, rpmbRequestName, rpmbTopic } from "./rpmb-fields.ts";
import { address, constant, field, hex, low32, loose, symbol, wordText } from "./values.ts";
import { TA_WORDS } from "./ta-words.ts";
import {
  CALL_WORDS,
  type MessageWords,
  OTHER_CALL_WORDS,
  type ParamWords,
  RPC_OPERATIONS,
  RPC_WORDS,
  type WordType,
} from "./words.ts";

const socketOpName = nameTable(SOCKET_OP);
const OPERATION_NAMES: Readonly<Record<number, (value: number) => string>> = {
  [RPC_CMD.FS]: fsOpName,
  [RPC_CMD.SOCKET]: socketOpName,
};

const ZERO = "0x0";

/** What a message's fields mean depends on where it was seen, and on what the trace has said before. */
export interface MessagePlace {
  /** The guest, within which cookies, sessions and handles are told apart. */
  readonly scope: string;
  /** The address space of the addresses in it. */
  readonly space: string;
  /** Whether the normal world sends it, which names pages and cookies; the secure world names sessions. */
  readonly phase: "enter" | "leave";
  /** Whose commands its session takes: the UUID of a TA. */
  readonly ta?: string;
  /** Sizes of TAs' images so far. */
  readonly taSizes: ReadonlySet<string>;
}

/** The operation of an RPC that has one. */
export function operationOf(message: TraceMessage): number | undefined {
  const rpmb = rpmbTopic(message);
  if (rpmb !== undefined) return rpmb.operation;
  if (message.role !== "rpc" || RPC_OPERATIONS[message.cmd] === undefined) return undefined;
  return low32(message.params[0]?.a);
}

/** `OPEN_SESSION`, `LOAD_TA`, `FS.READ`. */
export function messageName(message: TraceMessage): string {
  if (message.role === "call") return messageCommandName(message.cmd);
  const name = rpcCommandName(message.cmd);
  const rpmb = rpmbTopic(message);
  if (rpmb !== undefined) return `${name}.${rpmbRequestName(rpmb)}`;
  const operation = operationOf(message);
  if (operation === undefined) return name;
  return `${name}.${OPERATION_NAMES[message.cmd]?.(operation) ?? operation}`;
}

function wordsOf(message: TraceMessage, ta: string | undefined): MessageWords {
  if (message.role === "call") {
    const own = ta === undefined ? undefined : TA_WORDS.get(ta)?.[message.func];
    return message.cmd === MSG_CMD.INVOKE_COMMAND && own !== undefined
      ? own.map((words) => ({ ...OTHER_CALL_WORDS, ...words }))
      : (CALL_WORDS[message.cmd] ?? []);
  }
  const operation = RPC_OPERATIONS[message.cmd] === undefined ? undefined : operationOf(message);
  if (operation === undefined) return RPC_WORDS[message.cmd] ?? [];
  return RPC_OPERATIONS[message.cmd]?.[operation] ?? [];
}

/** The fields of a message, in the order in which a reader looks at them. */
export function messageFields(message: TraceMessage, place: MessagePlace): CanonicalField[] {
  const { phase } = place;
  const isCall = message.role === "call";
  const part = "message field";
  const number = (name: string, value: number): CanonicalField =>
    field(name, part, hex(value), constant(hex(value)));
  const fields = [
    field("ret", part, hex(message.ret), constant(resultName(message.ret))),
    field(
      "ret_origin",
      part,
      String(message.retOrigin),
      constant(originName.find(message.retOrigin) ?? String(message.retOrigin)),
    ),
    field("cmd", part, hex(message.cmd), constant(messageName(message))),
    number("func", message.func),
    field("session", part, hex(message.session), sessionOf(message, place)),
    number("cancel_id", message.cancelId),
    number("num_params", message.numParams),
    field(
      "message",
      part,
      message.at,
      address(place.space, wordText(message.at), phase === "enter"),
    ),
  ];
  const words = wordsOf(message, place.ta);
  const other = isCall ? OTHER_CALL_WORDS : {};
  for (const [index, param] of message.params.entries()) {
    fields.push(...paramFields(param, index, words[index] ?? other, message, place));
  }
  return fields;
}

function sessionOf(message: TraceMessage, { scope, phase }: MessagePlace): FieldValue {
  const { role, cmd, session } = message;
  if (role === "rpc" || (cmd === MSG_CMD.OPEN_SESSION && phase === "enter")) {
    return constant(hex(session));
  }
  return symbol("session", scope, hex(session));
}

const attrTexts = new Map<string, string>();
const MAX_ATTRS = 4096;

/** `TMEM_OUTPUT|NONCONTIG`; bits without a name in hexadecimal. */
function attrText(word: string): string {
  let text = attrTexts.get(word);
  if (text !== undefined) return text;
  if (!/^0x[0-9a-f]{1,16}$/.test(word)) return word;
  const attr = BigInt(word);
  const type = Number(attr & BigInt(ATTR.TYPE_MASK));
  const rest = attr & ~BigInt(ATTR.TYPE_MASK | ATTR.META | ATTR.NONCONTIG);
  text = [
    attrTypeName.find(type) ?? hex(type),
    ...((attr & BigInt(ATTR.META)) === 0n ? [] : ["META"]),
    ...((attr & BigInt(ATTR.NONCONTIG)) === 0n ? [] : ["NONCONTIG"]),
    ...(rest === 0n ? [] : [`0x${rest.toString(16)}`]),
  ].join("|");
  if (attrTexts.size < MAX_ATTRS) attrTexts.set(word, text);
  return text;
}

function paramFields(
  param: TraceParam,
  index: number,
  words: ParamWords,
  message: TraceMessage,
  place: MessagePlace,
): CanonicalField[] {
  const attr = wordText(param.attr);
  const [a, b, c] = [wordText(param.a), wordText(param.b), wordText(param.c)];
  const part = "message field";
  const at = `params[${index}]`;
  const fields = [field(`${at}.attr`, part, param.attr, constant(attrText(attr)))];
  const add = (name: string, raw: string, value: FieldValue): void => {
    fields.push(field(`${at}.${name}`, part, raw, value));
  };
  switch (paramKind(low32(attr) & ATTR.TYPE_MASK)) {
    case "value":
      add("a", param.a, wordValue(words.a, a, place));
      add("b", param.b, wordValue(words.b, b, place));
      add("c", param.c, wordValue(words.c, c, place));
      break;
    case "tmem": {
      const names = place.phase === "enter";
      add("buf_ptr", param.a, address(place.space, a, names));
      add("size", param.b, wordValue(sizeType(words, message), b, place));
      // MSG-2.2.TMEM_NULL: of a NULL reference nothing else counts.
      add("shm_ref", param.c, a === ZERO ? loose("garbage") : cookie(place, c, names));
      break;
    }
    case "rmem":
      add("offs", param.a, wordValue(words.offs, a, place));
      add("size", param.b, wordValue(sizeType(words, message), b, place));
      add("shm_ref", param.c, cookie(place, c, false));
      break;
    case "none":
    case "invalid":
      break;
  }
  if (param.data === undefined) return fields;
  const frames = rpmbDataFields(at, param.data, message, index, place.phase === "leave");
  return [...fields, ...(frames ?? [dataField(`${at}.data`, param.data, words.data)])];
}

function sizeType(words: ParamWords, message: TraceMessage): WordType | undefined {
  return message.role === "rpc" ? words.size : undefined;
}

const cookie = ({ scope }: MessagePlace, value: string, names: boolean): FieldValue =>
  symbol("cookie", scope, value, names);

function wordValue(type: WordType | undefined, value: string, place: MessagePlace): FieldValue {
  const { scope, space, phase, taSizes } = place;
  switch (type) {
    case "cookie":
      return cookie(place, value, false);
    case "handle":
      return symbol("handle", scope, value);
    case "new handle":
      return phase === "enter" ? symbol("handle", scope, value, true) : loose("garbage");
    case "ta handle":
      return symbol("handle", `${scope} ta`, value);
    case "new ta handle":
      // What the client sends in its place is overwritten.
      return phase === "leave" ? symbol("handle", `${scope} ta`, value, true) : constant(value);
    case "instance":
      return symbol("instance", scope, value);
    case "notification":
      return symbol("notification", scope, value);
    case "address":
      return address(space, value, false);
    case "time":
      return phase === "enter" ? loose("time") : loose("garbage");
    case "garbage":
    case "opaque":
      return loose(type);
    case "name":
      return loose("opaque");
    case "ta size":
      return taSizes.has(value) ? symbol("taSize", "ta", value) : constant(value);
    case "constant":
    case undefined:
      return constant(value);
    default:
      return type satisfies never;
  }
}

function dataField(name: string, data: TraceData, type: WordType | undefined): CanonicalField {
  const { size, digest, head } = data;
  const raw = `${size} bytes, SHA-256 ${digest}…, ${head}${head.length < 2 * size ? "…" : ""}`;
  return field(name, "data", raw, dataValue(data, type));
}

function dataValue({ size, digest, head }: TraceData, type: WordType | undefined): FieldValue {
  if (type === "opaque") return loose("opaque");
  const bytes = Buffer.from(head, "hex");
  const end = bytes.indexOf(0);
  const text = bytes.subarray(0, end < 0 ? bytes.length : end).toString("latin1");
  if (type === "name" && (end >= 0 || bytes.length === size)) {
    return constant(`${size} bytes ${JSON.stringify(text)}`);
  }
  // A short printable text is shown as such where nothing else is in it.
  const whole = bytes.length === size && (end < 0 || end === size - 1);
  const shown = whole && /^[ -~]+$/.test(text) ? JSON.stringify(text) : digest;
  return constant(`${size} bytes ${shown}`);
}
