import { type Pa, type PhysicalMemory, Registers, SparseMemory } from "../../machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  decodeMessage,
  encodeMessage,
  encodePageList,
  isRpcReturn,
  isTmemType,
  listPagesFor,
  type Message,
  MSG_CMD,
  type MsgParam,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  TEEC,
} from "../../optee-abi/index.ts";
import { uuidOctets } from "../../base/index.ts";
import type { CoreOptions } from "../core.ts";
import { DEBIAN_4_5, type OpteeBuild } from "../build.ts";
import type { NotificationDriver } from "../notifications.ts";
import { SecureWorld } from "../secure-world.ts";
import { KitFiles, type PayloadAccess } from "./files.ts";
import { KitRpmb } from "./rpmb-service.ts";
import { buildTaImage, PSEUDO_TAS, type TrustedApplication, USER_TAS } from "../tas/index.ts";

const PAGE = 4096;
/** Where the kit's own pages start; the reserved pool and more lies below. */
const FREE = 0x4800_0000;

export type Param = Partial<MsgParam>;

export const value = (type: number, a = 0n, b = 0n, c = 0n): Param => ({
  attr: BigInt(type),
  a,
  b,
  c,
});
/** A registered reference: cookie, offset, size. */
export const rmem = (type: number, cookie: bigint, offset: number, size: number): Param => ({
  attr: BigInt(type),
  a: BigInt(offset),
  b: BigInt(size),
  c: cookie,
});

/** What the kit saw of an RPC: its function, and for commands the argument. */
export interface SeenRpc {
  readonly func: number;
  readonly a1: number;
  readonly a2: number;
  readonly thread: number;
  readonly message: Message | undefined;
}

export interface KitOptions {
  readonly build?: Partial<OpteeBuild>;
  readonly pseudoTas?: readonly TrustedApplication[];
  readonly userTas?: readonly TrustedApplication[];
  readonly interruptPending?: () => boolean;
  readonly drivers?: readonly NotificationDriver[];
  /** Where the kit's pages are instead; buffers for RPCs are then contiguous. Bytes. */
  readonly pool?: { readonly base: number; readonly size: number };
  /** Called whenever the secure world looks at a page of memory, with its address. */
  readonly onAccess?: (page: number, kit: SecureKit) => void;
  readonly core?: Pick<CoreOptions, "huk" | "rpmbKeyReady" | "seed">;
}

const built = new Map<TrustedApplication, Uint8Array>();

function imageOf(ta: TrustedApplication): Uint8Array {
  const image = built.get(ta) ?? buildTaImage(ta);
  built.set(ta, image);
  return image;
}

/** A secure world with a driver of registers and pages in front of it, in one physical memory. */
export class SecureKit {
  readonly memory = new SparseMemory([
    { name: "secure", base: 0xe10_0000, size: 0x100_0000, type: "ram", secure: true },
    { name: "ram", base: 0x4000_0000, size: 0x1000_0000, type: "ram" },
  ]);
  readonly world: SecureWorld;
  readonly rpcs: SeenRpc[] = [];
  readonly console: string[] = [];
  nowMs = 0;
  clientId = 0;
  /** `.ta` images that LOAD_TA finds. */
  readonly images = new Map<string, Uint8Array>();
  /** Answers a command before the kit's own service does; false to leave it to the kit. */
  onCommand: ((message: Message, kit: SecureKit, at: number) => boolean) | undefined;
  /** Files of the supplicant, and RPMB parts. */
  readonly files = new KitFiles();
  readonly rpmb = new KitRpmb();
  #next = FREE;
  #nextCookie = 0x1000n;
  readonly #pool: KitOptions["pool"];
  readonly #allocated = new Map<bigint, number[]>();
  /** Pages of payloads that were freed, for the next ones. */
  readonly #spare: number[] = [];
  /** RPC argument pages by cookie. */
  readonly #arguments = new Map<bigint, number>();

  constructor(options: KitOptions = {}) {
    this.#pool = options.pool;
    if (options.pool !== undefined) this.#next = options.pool.base;
    this.world = new SecureWorld({
      build: { ...DEBIAN_4_5, ...options.build },
      memory: this.#memory(options.onAccess),
      nowMs: () => this.nowMs,
      pseudoTas: options.pseudoTas ?? PSEUDO_TAS,
      userTas: options.userTas ?? USER_TAS,
      console: (line) => this.console.push(line),
      drivers: options.drivers ?? [],
      ...options.core,
      ...(options.interruptPending === undefined
        ? {}
        : { interruptPending: options.interruptPending }),
    });
    for (const ta of options.userTas ?? USER_TAS) {
      this.images.set(ta.uuid, imageOf(ta));
      for (const one of ta.libraries ?? []) this.images.set(one.uuid, buildTaImage(one));
    }
  }

  #memory(onAccess: KitOptions["onAccess"]): PhysicalMemory {
    const memory = this.memory.view("normal", "secure");
    if (onAccess === undefined) return memory;
    return {
      read: (at, length) => memory.read(at, length),
      write: (at, bytes) => memory.write(at, bytes),
      page: (at, intent) => {
        onAccess(at - (at % PAGE), this);
        return memory.page(at, intent);
      },
      dirty: (at, length) => memory.dirty(at, length),
    };
  }

  /** x0 to x7 after a raw SMC. */
  smc(...words: number[]): Registers {
    const registers = new Registers(words);
    this.world.smc(registers);
    return registers;
  }

  /** The low words of x0 to x3. */
  words(...words: number[]): number[] {
    const registers = this.smc(...words);
    return [0, 1, 2, 3].map((index) => registers.get(index));
  }

  page(count = 1): number {
    const at = this.#next;
    this.#next += count * PAGE;
    return at;
  }

  poke(at: number, bytes: Uint8Array): void {
    this.memory.poke(at as Pa, bytes);
  }

  peek(at: number, length: number): Uint8Array {
    return this.memory.peek(at as Pa, length);
  }

  put(message: Parameters<typeof encodeMessage>[0], at = this.page()): number {
    this.poke(at, encodeMessage(message));
    return at;
  }

  get(at: number): Message {
    return decodeMessage(this.peek(at, PAGE));
  }

  /** A page list of these pages; buf_ptr without offset. */
  listOf(pages: readonly number[]): bigint {
    const lists = Array.from({ length: Math.max(1, listPagesFor(pages.length)) }, () =>
      this.page(),
    );
    const bytes = lists.map(() => new Uint8Array(PAGE));
    encodePageList(pages, lists, bytes);
    for (const [index, page] of lists.entries()) this.poke(page, bytes[index] ?? new Uint8Array());
    return BigInt(lists[0] ?? 0);
  }

  /** CALL_WITH_ARG of a message, RPCs served; the message afterwards and a0. */
  call(message: Parameters<typeof encodeMessage>[0]): Message & { readonly a0: number } {
    const at = this.put(message);
    const registers = this.start(at);
    this.finish(registers);
    return { ...this.get(at), a0: registers.get(0) };
  }

  /** Begins CALL_WITH_ARG and stops at the first exit. */
  start(at: number): Registers {
    return this.smc(OPTEE_SMC.CALL_WITH_ARG, 0, at, 0, 0, 0, 0, this.clientId);
  }

  /** Serves RPCs until the call is over. */
  finish(registers: Registers): void {
    while (isRpcReturn(registers.get(0))) this.serve(registers);
  }

  /** Serves the one RPC in `registers` and goes on with the call. */
  serve(registers: Registers): void {
    this.answer(registers);
    registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
    registers.set(7, this.clientId);
    this.world.smc(registers);
  }

  /** Puts the answer to the RPC in `registers` into place, without resuming. */
  answer(registers: Registers): void {
    const func = rpcFunction(registers.get(0));
    const [a1, a2, thread] = [registers.get(1), registers.get(2), registers.get(3)];
    const cookie = (BigInt(a1) << 32n) | BigInt(a2);
    const at = func === RPC_FUNC.CMD ? this.argumentAt(cookie) : undefined;
    const message = at === undefined ? undefined : this.get(at);
    this.rpcs.push({ func, a1, a2, thread, message: structuredClone(message) });
    if (func === RPC_FUNC.ALLOC) {
      const page = this.page();
      this.#nextCookie += 1n;
      this.#arguments.set(this.#nextCookie, page);
      registers.setPair(1, page);
      registers.setPair(4, Number(this.#nextCookie));
    } else if (func === RPC_FUNC.FREE) {
      this.#arguments.delete(cookie);
    } else if (message !== undefined && at !== undefined) {
      if (this.onCommand?.(message, this, at) !== true) this.#command(message, at);
    }
  }

  readonly #payloads: PayloadAccess = {
    read: (param) => {
      const bytes = new Uint8Array(Number(param.b));
      this.#eachPage(param, bytes, (at, part) => part.set(this.peek(at, part.length)));
      return bytes;
    },
    write: (param, bytes) => this.#eachPage(param, bytes, (at, part) => this.poke(at, part)),
  };

  /** Walks the pages behind a reference to a payload: address and the part of `bytes` there. */
  #eachPage(
    { attr, a, c }: MsgParam,
    bytes: Uint8Array,
    visit: (at: number, part: Uint8Array) => void,
  ): void {
    if (isTmemType(Number(attr & 0xffn))) {
      // Reserved memory is named by its address.
      visit(Number(a), bytes);
      return;
    }
    const pages = this.#allocated.get(c) ?? [];
    for (let done = 0; done < bytes.length;) {
      const place = Number(a) + done;
      const inPage = place % PAGE;
      const part = bytes.subarray(done, done + PAGE - inPage);
      const page = pages[Math.floor(place / PAGE)];
      if (page === undefined) throw new RangeError("a reference beyond its payload");
      visit(page + inPage, part);
      done += part.length;
    }
  }

  /** Makes pages that a test gave away for a payload known to the kit's services. */
  adoptPayload(cookie: bigint, pages: number[]): void {
    this.#allocated.set(cookie, pages);
  }

  /** Where the RPC argument of that cookie is. */
  argumentAt(cookie: bigint): number | undefined {
    return this.#arguments.get(cookie);
  }

  /** The command that an exit asks for; -1 for every other exit, and at the end of the call. */
  commandOf(registers: Registers): number {
    if (rpcFunction(registers.get(0)) !== RPC_FUNC.CMD) return -1;
    const at = this.argumentAt((BigInt(registers.get(1)) << 32n) | BigInt(registers.get(2)));
    return at === undefined ? -1 : this.get(at).cmd;
  }

  /** RPC argument pages that were not freed. */
  get liveArguments(): number {
    return this.#arguments.size;
  }

  /** The pages of a payload buffer, by its cookie. */
  payload(cookie: bigint): readonly number[] | undefined {
    return this.#allocated.get(cookie);
  }

  /** Payload buffers that were not freed. */
  get livePayloads(): number {
    return this.#allocated.size;
  }

  reply(message: Message, at: number, ret: number): void {
    this.poke(at, encodeMessage({ ...message, ret }));
  }

  #command(message: Message, at: number): void {
    const [first, second] = message.params;
    switch (message.cmd) {
      case RPC_CMD.SHM_ALLOC: {
        const size = Number(first?.b ?? 0n);
        const pages = Array.from(
          { length: Math.ceil(size / PAGE) },
          () => this.#spare.pop() ?? this.page(),
        );
        this.#nextCookie += 1n;
        this.#allocated.set(this.#nextCookie, pages);
        const params = [
          {
            attr: BigInt(
              this.#pool === undefined ? ATTR_TMEM_OUTPUT_NONCONTIG : ATTR_TYPE.TMEM_OUTPUT,
            ),
            a: this.#pool === undefined ? this.listOf(pages) : BigInt(pages[0] ?? 0),
            b: BigInt(size),
            c: this.#nextCookie,
          },
        ];
        this.reply({ ...message, params }, at, TEEC.TEEC_SUCCESS);
        return;
      }
      case RPC_CMD.SHM_FREE:
        this.#spare.push(...(this.#allocated.get(first?.b ?? 0n) ?? []));
        this.#allocated.delete(first?.b ?? 0n);
        this.reply(message, at, TEEC.TEEC_SUCCESS);
        return;
      case RPC_CMD.SUSPEND:
        this.nowMs += Number(first?.a ?? 0n);
        this.reply(message, at, TEEC.TEEC_SUCCESS);
        return;
      case RPC_CMD.LOAD_TA: {
        const image = this.#imageOf(first);
        if (image === undefined || second === undefined) {
          this.reply(message, at, TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
          return;
        }
        const pages = this.#allocated.get(second.c) ?? [];
        if (second.c !== 0n) {
          for (const [index, page] of pages.entries()) {
            this.poke(page, image.subarray(index * PAGE, (index + 1) * PAGE));
          }
        }
        second.b = BigInt(image.length);
        this.reply(message, at, TEEC.TEEC_SUCCESS);
        return;
      }
      case RPC_CMD.FS:
        this.reply(message, at, this.files.serve(message.params, this.#payloads));
        return;
      default: {
        const served = this.rpmb.serve(message.cmd, message.params, this.#payloads);
        this.reply(message, at, served ?? TEEC.TEEC_ERROR_NOT_SUPPORTED);
      }
    }
  }

  #imageOf(name: MsgParam | undefined): Uint8Array | undefined {
    for (const [uuid, image] of this.images) {
      const view = new DataView(uuidOctets(uuid).buffer);
      if (view.getBigUint64(0, true) === name?.a && view.getBigUint64(8, true) === name.b) {
        return image;
      }
    }
    return undefined;
  }

  /** Registers `count` fresh pages under `cookie`, the object starting `offset` bytes into the first. */
  register(cookie: bigint, count = 1, offset = 0): { pages: number[]; result: Message } {
    const pages = Array.from({ length: count }, () => this.page());
    const result = this.call({
      cmd: MSG_CMD.REGISTER_SHM,
      ret: 0xdead,
      ret_origin: 7,
      params: [
        {
          attr: BigInt(ATTR_TMEM_OUTPUT_NONCONTIG),
          a: this.listOf(pages) + BigInt(offset),
          b: BigInt(count * PAGE - offset),
          c: cookie,
        },
      ],
    });
    return { pages, result };
  }

  unregister(cookie: bigint): Message {
    return this.call({
      cmd: MSG_CMD.UNREGISTER_SHM,
      ret: 0xdead,
      params: [rmem(ATTR_TYPE.RMEM_INPUT, cookie, 0, 0)],
    });
  }

  open(uuid: string, params: readonly Param[] = [], login = 0n): Message & { a0: number } {
    return this.call(openMessage(uuid, params, login));
  }

  invoke(session: number, func: number, params: readonly Param[] = []): Message & { a0: number } {
    return this.call({ cmd: MSG_CMD.INVOKE_COMMAND, session, func, params });
  }

  close(session: number): Message {
    return this.call({ cmd: MSG_CMD.CLOSE_SESSION, session });
  }
}

export function openMessage(
  uuid: string,
  params: readonly Param[] = [],
  login = 0n,
): Parameters<typeof encodeMessage>[0] {
  const view = new DataView(uuidOctets(uuid).buffer);
  return {
    cmd: MSG_CMD.OPEN_SESSION,
    params: [
      value(ATTR_META_VALUE_INPUT, view.getBigUint64(0, true), view.getBigUint64(8, true)),
      value(ATTR_META_VALUE_INPUT, 0x1111n, 0x2222n, login),
      ...params,
    ],
  };
}
