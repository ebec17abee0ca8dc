import { uuidText } from "../../base/index.ts";
import { PAGE_SIZE, Registers } from "../../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  FS_OP,
  isOutputType,
  MessageView,
  messageSize,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../../optee-abi/index.ts";
import { putList, split } from "./build.ts";
import {
  type Cookie,
  cookieKey,
  type DriverBuffer,
  type Guest,
  type PendingRpc,
  placeOf,
} from "./guest.ts";
import type { Answer, Lie } from "./program.ts";

/** An answer without a lie. */
export const HONEST = { lie: "no", at: 0, cookie: 0 } as const;
type How = Pick<Answer, "lie" | "at" | "cookie">;

const MAX_PAGES = 16;

const ABOUT_ALLOC: ReadonlySet<Lie> = new Set(["misaligned", "unmapped", "null", "no-cookie"]);
const ABOUT_SHM: ReadonlySet<Lie> = new Set([
  "contiguous",
  "no-attr",
  "more-params",
  "ref",
  "small",
  "huge",
  "outside",
  "loop",
]);

/** Whether a lie says anything in an answer to this RPC. */
export function fits(guest: Guest, rpc: PendingRpc, lie: Lie): boolean {
  if (ABOUT_ALLOC.has(lie)) return rpc.a0 === SMC_RETURN.RPC_ALLOC;
  if (!ABOUT_SHM.has(lie)) return true;
  return guest.request(rpc.a1, rpc.a2)?.cmd === RPC_CMD.SHM_ALLOC;
}

/** Answers an RPC as a driver and its supplicant would, or with one lie. */
export function answer(guest: Guest, rpc: PendingRpc, how: How): void {
  switch (rpc.a0) {
    case SMC_RETURN.RPC_ALLOC:
      answerAlloc(guest, rpc, how);
      return;
    case SMC_RETURN.RPC_FREE: {
      const key = cookieKey({ high: rpc.a1, low: rpc.a2 });
      const page = guest.arguments.get(key);
      guest.arguments.delete(key);
      if (page !== undefined) guest.release([page]);
      resume(guest, rpc, how);
      return;
    }
    case SMC_RETURN.RPC_CMD:
      if (how.lie !== "silent") answerCommand(guest, rpc, how);
      resume(guest, rpc, how);
      return;
    default:
      resume(guest, rpc, how);
  }
}

/** RETURN_FROM_RPC with the words of the request, or others when that is the lie. */
function resume(guest: Guest, { a1, a2, thread }: PendingRpc, { lie, cookie }: How): void {
  const named = lie === "cookie" ? guest.cookie(cookie) : { high: a1, low: a2 };
  const words = [OPTEE_SMC.RETURN_FROM_RPC, named.high, named.low, thread, 0, 0, 0, 0];
  const registers = new Registers(words);
  if (lie === "wide") {
    for (let index = 0; index < 8; index += 1) {
      registers.set64(index, (0xa5a5_0000n << 32n) | BigInt(words[index] ?? 0));
    }
  }
  guest.trap({ method: "smc", registers });
}

/** A page for RPC arguments. */
function answerAlloc(guest: Guest, { thread }: PendingRpc, { lie, at, cookie: spec }: How): void {
  const [page] = lie === "fail" ? [] : (guest.allocate(1) ?? []);
  let address = page === undefined ? 0 : placeOf(page);
  let cookie: Cookie = page === undefined ? { high: 0, low: 0 } : guest.freshCookie();
  if (lie === "misaligned") address += 8;
  if (lie === "unmapped" || lie === "outside") address = placeOf(at);
  if (lie === "null") address = 0;
  if (lie === "no-cookie") cookie = { high: 0, low: 0 };
  if (lie === "ref" || lie === "cookie") cookie = guest.cookie(spec);
  if (lie === "duplicate") cookie = guest.argumentCookie ?? cookie;
  const key = cookieKey(cookie);
  if (page !== undefined) {
    if (!guest.arguments.has(key)) guest.arguments.set(key, page);
    guest.argumentCookie = cookie;
  }
  const { high, low } = split(address);
  guest.smc([OPTEE_SMC.RETURN_FROM_RPC, high, low, thread, cookie.high, cookie.low]);
}

function answerCommand(guest: Guest, rpc: PendingRpc, how: How): void {
  const page = guest.arguments.get(cookieKey({ high: rpc.a1, low: rpc.a2 }));
  const bytes = page === undefined ? undefined : guest.bytes(page);
  if (page === undefined || bytes === undefined) return;
  // A copy, as another vCPU may be at the page too.
  const reply = bytes.slice(0, messageSize(5));
  const view = new MessageView(reply);
  const asked = view.cmd;
  serve(guest, view, how);
  tell(guest, view, asked, how);
  guest.write(placeOf(page), reply);
}

/** The honest part: what a kernel and a supplicant do. */
function serve(guest: Guest, view: MessageView, how: How): void {
  switch (view.cmd) {
    case RPC_CMD.LOAD_TA:
      return loadTa(guest, view);
    case RPC_CMD.FS:
      return files(guest, view);
    case RPC_CMD.GET_TIME:
      view.setWords(0, WORD.a, 0, 1000);
      view.setWords(0, WORD.b, 0, 0);
      view.ret = OK;
      return;
    case RPC_CMD.SHM_ALLOC:
      return allocate(guest, view, how);
    case RPC_CMD.SHM_FREE: {
      const key = cookieKey({ high: view.high(0, WORD.b), low: view.low(0, WORD.b) });
      const buffer = guest.buffers.get(key);
      guest.buffers.delete(key);
      if (buffer !== undefined) guest.release(buffer.taken);
      view.ret = OK;
      return;
    }
    case RPC_CMD.NOTIFICATION:
    case RPC_CMD.SUSPEND:
      view.ret = OK;
      return;
    default:
      view.ret = TEEC.TEEC_ERROR_NOT_SUPPORTED;
  }
}

/** SHM_ALLOC: pages, and the list of them. */
function allocate(guest: Guest, view: MessageView, { lie, at, cookie: spec }: How): void {
  const size = view.number(0, WORD.b);
  const count = Math.max(1, Math.ceil(size / PAGE_SIZE));
  const taken = count <= guest.machine.largestBuffer ? guest.allocate(count + 1) : undefined;
  if (taken === undefined) {
    view.ret = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    return;
  }
  const [list = 0, ...pages] = taken;
  const entries = pages.map(placeOf);
  if (lie === "outside") entries[entries.length - 1] = placeOf(at);
  const pointer = putList(guest, entries, [list], lie === "loop" ? "loop" : "no");
  const inUse = guest.lastCookie;
  const fresh = lie === "duplicate" && inUse !== undefined ? inUse : guest.freshCookie();
  const cookie = lie === "ref" ? guest.cookie(spec) : fresh;
  const key = cookieKey(cookie);
  // Where the list says what is the program's own, that is where the driver writes.
  const isOwn = lie === "outside" && typeof at === "number";
  const own = isOwn ? [...pages.slice(0, -1), at] : pages;
  if (isOwn) guest.lent.add(at);
  if (!guest.buffers.has(key)) guest.buffers.set(key, { list: [list], pages: own, taken });
  const { high, low } = split(pointer);
  view.ret = OK;
  view.numParams = 1;
  view.setWords(0, WORD.attr, 0, ATTR_TMEM_OUTPUT_NONCONTIG);
  view.setWords(0, WORD.buf_ptr, high, low);
  view.setWords(0, WORD.size, 0, lie === "loop" ? 600 * PAGE_SIZE : count * PAGE_SIZE);
  view.setWords(0, WORD.shm_ref, cookie.high, cookie.low);
}

function loadTa(guest: Guest, view: MessageView): void {
  const octets = new Uint8Array(16);
  const words = new DataView(octets.buffer);
  for (const [index, word] of [WORD.a, WORD.b].entries()) {
    words.setUint32(index * 8, view.low(0, word), true);
    words.setUint32(index * 8 + 4, view.high(0, word), true);
  }
  const image = guest.machine.tas.imageOf(uuidText(octets));
  if (image === undefined) {
    view.ret = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    return;
  }
  const target = bufferOf(guest, view, 1);
  if (target !== undefined) writeBuffer(guest, target, view.number(1, WORD.offs), image);
  view.setWords(1, WORD.size, 0, image.length);
  view.ret = OK;
}

function files(guest: Guest, view: MessageView): void {
  const operation = view.low(0, WORD.a);
  const buffer = bufferOf(guest, view, 1);
  const offset = view.number(1, WORD.offs);
  const size = Math.min(view.number(1, WORD.size), MAX_PAGES * PAGE_SIZE);
  const hasData = buffer !== undefined && operation !== FS_OP.READ && view.numParams > 1;
  const reply = guest.files.serve({
    operation,
    handle: view.low(0, WORD.b),
    offset: Math.min(view.number(0, WORD.c), MAX_PAGES * PAGE_SIZE),
    data: hasData ? readBuffer(guest, buffer, offset, size) : new Uint8Array(0),
    room: size,
  });
  view.ret = reply.ret;
  if (reply.handle !== undefined) view.setWords(2, WORD.a, 0, reply.handle);
  if (reply.data !== undefined && buffer !== undefined) {
    writeBuffer(guest, buffer, offset, reply.data);
    view.setWords(1, WORD.size, 0, reply.data.length);
  }
}

const bufferOf = (guest: Guest, view: MessageView, index: number): DriverBuffer | undefined =>
  guest.buffers.get(
    cookieKey({ high: view.high(index, WORD.shm_ref), low: view.low(index, WORD.shm_ref) }),
  );

function eachPiece(
  { pages }: DriverBuffer,
  offset: number,
  length: number,
  visit: (page: number, from: number, done: number, count: number) => void,
): void {
  for (let done = 0; done < length;) {
    const at = offset + done;
    const page = pages[Math.floor(at / PAGE_SIZE)];
    const count = Math.min(PAGE_SIZE - (at % PAGE_SIZE), length - done);
    if (page === undefined) return;
    visit(page, at % PAGE_SIZE, done, count);
    done += count;
  }
}

function writeBuffer(guest: Guest, buffer: DriverBuffer, offset: number, bytes: Uint8Array): void {
  eachPiece(buffer, offset, bytes.length, (page, from, done, count) => {
    guest.write(placeOf(page) + from, bytes.subarray(done, done + count));
  });
}

function readBuffer(guest: Guest, buffer: DriverBuffer, offset: number, size: number): Uint8Array {
  const out = new Uint8Array(size);
  eachPiece(buffer, offset, size, (page, from, done, count) => {
    const bytes = guest.bytes(page);
    if (bytes !== undefined) out.set(bytes.subarray(from, from + count), done);
  });
  return out;
}

/** The lie in an answer that is written already. */
function tell(guest: Guest, view: MessageView, asked: number, { lie, at, cookie }: How): void {
  const contiguous = (): void => {
    const { high, low } = split(placeOf(at));
    view.ret = OK;
    view.numParams = 1;
    view.setWords(0, WORD.attr, 0, ATTR_TYPE.TMEM_OUTPUT);
    view.setWords(0, WORD.buf_ptr, high, low);
    view.setWords(0, WORD.size, 0, PAGE_SIZE);
    const { high: refHigh, low: refLow } = guest.cookie(cookie);
    view.setWords(0, WORD.shm_ref, refHigh, refLow);
  };
  switch (lie) {
    case "fail":
      view.ret = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
      return;
    case "cmd":
      if (asked === RPC_CMD.SHM_ALLOC) contiguous();
      else allocateUnasked(guest, view);
      view.cmd = asked === RPC_CMD.SHM_ALLOC ? RPC_CMD.GET_TIME : RPC_CMD.SHM_ALLOC;
      return;
    case "contiguous":
      contiguous();
      return;
    case "no-attr":
      view.setWords(0, WORD.attr, 0, 0);
      return;
    case "more-params":
      view.numParams += 1;
      return;
    case "many-params":
      view.numParams = 0xffff_ffff;
      return;
    case "small":
    case "huge":
      for (let index = 0; index < 2; index += 1) {
        if (!isOutputType(view.type(index))) continue;
        view.setWords(index, WORD.size, lie === "huge" ? 0x1000 : 0, lie === "huge" ? 0 : 1);
      }
      return;
    default:
  }
}

/** Memory that nobody asked for. */
function allocateUnasked(guest: Guest, view: MessageView): void {
  view.setWords(0, WORD.b, 0, PAGE_SIZE);
  allocate(guest, view, HONEST);
}

const OK = TEEC.TEEC_SUCCESS;
