import { nameTable, RPC_CMD } from "../../optee-abi/index.ts";
import { RPMB_REQ, RPMB_REQ_CMD, RPMB_REQUEST, RPMB_RESPONSE } from "../../rpmb/index.ts";
import type { TraceData, TraceFrame, TraceMessage } from "../../run/index.ts";
import type { CanonicalField, FieldValue } from "./model.ts";
import { constant, field, hex, loose, symbol } from "./values.ts";

const requestName = nameTable(RPMB_REQUEST);
const responseName = nameTable(RPMB_RESPONSE);
const commandName = nameTable(RPMB_REQ_CMD);

/** What an RPMB request is about, for names and the table of clauses. */
export interface RpmbTopic {
  /** Type of the request's frames; of a request for the device's information, 0. */
  readonly operation: number;
  /** Address in the frames. */
  readonly address?: number;
}

const carriesFrames = ({ role, cmd }: TraceMessage): boolean =>
  role === "rpc" && (cmd === RPC_CMD.RPMB || cmd === RPC_CMD.RPMB_FRAMES);

/** What the secure world asks of an RPMB part; undefined for any other message. */
export function rpmbTopic(message: TraceMessage): RpmbTopic | undefined {
  if (!carriesFrames(message)) return undefined;
  const { data } = message.params[0] ?? {};
  const [frame] = data?.frames ?? [];
  if (frame !== undefined) return { operation: frame.type, address: frame.address };
  return data === undefined ? undefined : { operation: 0 };
}

/** `READ_COUNTER`, `GET_DEV_INFO`. */
export function rpmbRequestName(topic: RpmbTopic): string {
  return topic.operation === 0 ? "GET_DEV_INFO" : requestName(topic.operation);
}

/**
 * The fields of RPMB frames in a parameter, and of the header before them: what is counted and addressed
 * as it is, what is random, or is made with random numbers, by a symbol. `made`: the secure world has made
 * it just now. A machine that was taken back to a saved state draws the same random numbers again, so that
 * there it may have the name of something else; what a part answers has the name that it was given.
 */
export function rpmbDataFields(
  at: string,
  data: TraceData,
  message: TraceMessage,
  index: number,
  made: boolean,
): CanonicalField[] | undefined {
  if (!carriesFrames(message)) return undefined;
  const header = message.cmd === RPC_CMD.RPMB && index === 0 ? headerFields(at, data) : [];
  if (data.frames === undefined) return header.length === 0 ? undefined : header;
  const length = String(data.frames.length);
  return [
    ...header,
    field(`${at}.frames`, "data", length, constant(length)),
    ...data.frames.flatMap((frame, number) => frameFields(`${at}.frames[${number}]`, frame, made)),
  ];
}

function headerFields(at: string, { head, frames }: TraceData): CanonicalField[] {
  const bytes = Buffer.from(head, "hex");
  if (bytes.length < RPMB_REQ.size) return [];
  const [cmd, devId, count] = [RPMB_REQ.cmd, RPMB_REQ.devId, RPMB_REQ.blockCount].map((offset) =>
    bytes.readUInt16LE(offset),
  ) as [number, number, number];
  // Only reads and writes say how many blocks there are; in other requests it is what was there before.
  const type = frames?.[0]?.type;
  const counted = type === RPMB_REQUEST.READ_DATA || type === RPMB_REQUEST.WRITE_DATA;
  return [
    field(`${at}.header.cmd`, "data", hex(cmd), constant(commandName(cmd))),
    field(`${at}.header.dev_id`, "data", hex(devId), constant(hex(devId))),
    field(
      `${at}.header.block_count`,
      "data",
      hex(count),
      counted ? constant(hex(count)) : loose("garbage"),
    ),
  ];
}

function frameFields(at: string, frame: TraceFrame, made: boolean): CanonicalField[] {
  const number = (name: string, value: number): CanonicalField =>
    field(`${at}.${name}`, "data", hex(value), constant(hex(value)));
  const type = requestName.find(frame.type) ?? responseName(frame.type);
  return [
    field(`${at}.type`, "data", hex(frame.type), constant(type)),
    number("result", frame.result),
    number("address", frame.address),
    number("count", frame.count),
    number("counter", frame.counter),
    field(`${at}.nonce`, "data", frame.nonce, named("nonce", frame.nonce, made)),
    field(`${at}.mac`, "data", frame.mac, named("mac", frame.mac, true)),
    ...(frame.block === undefined ? [] : blockFields(`${at}.block`, frame.block, made)),
  ];
}

const named = (of: "nonce" | "mac" | "block" | "fek", digits: string, names: boolean): FieldValue =>
  digits === "" ? constant("0x0") : symbol(of, "rpmb", `0x${digits}`, names);

/** A block, with what is encrypted in it named by a symbol. */
function blockFields(at: string, text: string, made: boolean): CanonicalField[] {
  const [, digest] = /^data ([0-9a-f]{16})$/.exec(text) ?? [];
  if (digest !== undefined) return [field(at, "data", text, named("block", digest, made))];
  const [, before, fek, after] = /^(entry .*?) key ([0-9a-f]{16})( .*)$/.exec(text) ?? [];
  if (before === undefined || fek === undefined || after === undefined) {
    return [field(at, "data", text, constant(text))];
  }
  return [
    field(at, "data", text, constant(`${before}${after}`)),
    field(`${at}.key`, "data", fek, named("fek", fek, made)),
  ];
}
