import { uuidOctets } from "../../base/index.ts";
import { PAGE_SIZE } from "../../machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  MessageView,
  messageSize,
  MSG_CMD,
  PAGE_LIST,
  WORD,
} from "../../optee-abi/index.ts";
import { type Guest, placeOf } from "./guest.ts";
import type { ListParam, MessageSpec, Param, Place, SizeSpec } from "./program.ts";

const TWO_32 = 2 ** 32;

interface Wide {
  readonly high: number;
  readonly low: number;
}

export const split = (n: number): Wide => ({
  high: Math.floor(n / TWO_32) >>> 0,
  low: n % TWO_32,
});

/** A size in bytes; `fit` is what the pages hold. */
export function sizeOf(spec: SizeSpec, fit: number): Wide {
  switch (spec) {
    case "fit":
      return split(fit);
    case "empty":
      return split(0);
    case "one-more":
      return split(fit + PAGE_SIZE);
    case "2^32":
      return split(TWO_32);
    case "2^44":
      return split(2 ** 44);
    case "2^44+4096":
      return split(2 ** 44 + PAGE_SIZE);
    case "wrap":
      return split(2 ** 64 - PAGE_SIZE);
    case "top":
      return { high: 0xffff_ffff, low: 0xffff_ffff };
    default:
      return split(spec);
  }
}

/** Writes a page list into pages of the guest and says where it begins. */
export function putList(
  guest: Guest,
  entries: readonly number[],
  lists: readonly number[],
  twist: ListParam["twist"] = "no",
): number {
  for (const [index, list] of lists.entries()) {
    const words = new Uint32Array(PAGE_SIZE / 4);
    const first = index * PAGE_LIST.entries;
    for (const [place, entry] of entries.slice(first, first + PAGE_LIST.entries).entries()) {
      const { high, low } = split(entry);
      words[place * 2] = twist === "low-bits" ? (low | 0x7) >>> 0 : low;
      words[place * 2 + 1] = twist === "high-bits" ? (high | 0x8000_0000) >>> 0 : high;
    }
    const next = twist === "loop" ? lists[0] : lists[index + 1];
    if (next !== undefined) {
      const { high, low } = split(placeOf(next));
      words[PAGE_LIST.link * 2] = low;
      words[PAGE_LIST.link * 2 + 1] = high;
    }
    guest.write(placeOf(list), new Uint8Array(words.buffer));
  }
  return placeOf(lists[0] ?? 0);
}

/** A list parameter: the list is written, and the parameter names it. */
function listOf(guest: Guest, param: ListParam, messagePage: number): Wide & { fit: number } {
  const { pages, times = 1, twist = "no", offset = 0 } = param;
  const entries: number[] = [];
  for (let turn = 0; turn < times; turn += 1) for (const page of pages) entries.push(placeOf(page));
  const count = Math.ceil(entries.length / PAGE_LIST.entries);
  const lists = Array.from({ length: count }, () => guest.scratch());
  const [own] = pages;
  if (twist === "alias" && typeof own === "number") lists[0] = own;
  if (twist === "message") lists[0] = messagePage;
  const at = putList(guest, entries, lists, twist);
  return { ...split(at + offset), fit: Math.max(0, entries.length * PAGE_SIZE - offset) };
}

export function putParam(
  guest: Guest,
  view: MessageView,
  index: number,
  param: Param,
  messagePage: number,
): void {
  const set = (word: 0 | 1 | 2 | 3, { high, low }: Wide): void =>
    view.setWords(index, word, high, low);
  set(WORD.attr, { high: 0, low: param.attr });
  switch (param.as) {
    case "value":
      set(WORD.a, split(param.a));
      set(WORD.b, split(param.b));
      set(WORD.c, split(param.c));
      return;
    case "list": {
      const { fit, ...at } = listOf(guest, param, messagePage);
      set(WORD.buf_ptr, at);
      set(WORD.size, sizeOf(param.size, fit));
      break;
    }
    case "rmem":
      set(WORD.offs, split(param.offset));
      set(WORD.size, sizeOf(param.size, PAGE_SIZE));
      break;
    default:
      set(WORD.attr, { high: param.high ?? 0, low: param.attr });
      set(WORD.buf_ptr, split(placeOf(param.at)));
      set(WORD.size, sizeOf(param.size, PAGE_SIZE));
      break;
  }
  set(WORD.shm_ref, guest.cookie(param.cookie));
}

/** Writes a message into a page of the guest; `count` overrides num_params. */
export function putMessage(
  guest: Guest,
  page: number,
  head: Omit<MessageSpec, "params">,
  params: readonly Param[],
): void {
  const bytes = new Uint8Array(messageSize(params.length));
  const view = new MessageView(bytes);
  view.cmd = head.cmd;
  view.func = head.func;
  view.session = head.session;
  view.ret = head.ret;
  view.numParams = head.count ?? params.length;
  for (const [index, param] of params.entries()) putParam(guest, view, index, param, page);
  guest.write(placeOf(page), bytes);
}

/** Writes an OPEN_SESSION with its two meta parameters. */
export function putOpen(
  guest: Guest,
  page: number,
  uuid: string,
  login: number,
  params: readonly Param[],
): void {
  const bytes = new Uint8Array(messageSize(params.length + 2));
  const view = new MessageView(bytes);
  view.cmd = MSG_CMD.OPEN_SESSION;
  view.ret = 0xffff_0000;
  view.numParams = params.length + 2;
  view.setWords(0, WORD.attr, 0, ATTR_META_VALUE_INPUT);
  bytes.set(uuidOctets(uuid), messageSize(0) + 8);
  view.setWords(1, WORD.attr, 0, ATTR_META_VALUE_INPUT);
  view.setWords(1, WORD.c, 0, login);
  for (const [index, param] of params.entries()) putParam(guest, view, index + 2, param, page);
  guest.write(placeOf(page), bytes);
}

/** The number of a page that a place names, for messages that must lie in a page of the RAM. */
export const pageNumber = (place: Place, otherwise: number): number =>
  typeof place === "number" ? place : otherwise;
