import { randomInt } from "node:crypto";
import {
  type Deadline,
  InfrastructureError,
  InternalError,
  TargetCrashError,
} from "../base/index.ts";
import type { Pa, Registers } from "../machine/index.ts";
import {
  type AgentOperation,
  type AgentResult,
  type Job,
  jobOf,
  type Part,
} from "./agent-batch.ts";
import { AGENT_INFO, AGENT_OPERATION, AGENT_STATUS, decodeRegisters } from "./agent-codec.ts";
import { MAX_PAYLOAD } from "./agent-frame.ts";
import { ByteReader, TooShort, type Values } from "./agent-layout.ts";
import { AgentLink, FrameLost } from "./agent-link.ts";
import { AGENT_PAGES, type AgentDevices, agentImage } from "./agent-page.ts";
import type { ConsoleBridge } from "./console-bridge.ts";
import { InterruptPace } from "./interrupt-pace.ts";
import type { LoaderConsole } from "./loader-console.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";
import type { FreeRam, RamWindow } from "./ram-window.ts";
import { noTimer } from "./shared-ram.ts";
import type { MemoryWrite, WireMachine } from "./wire-machine.ts";

export interface AgentBridgeOptions {
  readonly console: LoaderConsole;
  readonly prompt: Pick<LoaderPrompt, "leave" | "run">;
  /** What puts the program in place. */
  readonly loader: Pick<ConsoleBridge, "write" | "makeFetchable">;
  /** Its pages are taken from here; it works in what is behind them. */
  readonly window: RamWindow;
  /** The assembled boards/bridge/agent.s. */
  readonly program: Uint8Array;
  readonly devices: AgentDevices;
  /** Symbols a second; default 115,200. */
  readonly baud?: number;
  /** Milliseconds after which an SMC that did not return counts as lost; default 30,000. */
  readonly smcMs?: number;
  /** Milliseconds without a right answer after which the agent counts as lost; default 5000. */
  readonly silenceMs?: number;
  /** Milliseconds of silence that end a frame; default 200. */
  readonly gapMs?: number;
  /** Milliseconds of silence, beside the gap, before a request is sent again; default 200. */
  readonly retryMs?: number;
  /** What the board says on this line that is no answer. */
  readonly onText?: (bytes: Uint8Array) => void;
}

export type AgentInfo = Values<typeof AGENT_INFO>;

const SMC_MS = 30_000;
const SILENCE_MS = 5000;
const GAP_MS = 200;
const VERSION = 1;
const SEQUENCES = 0x1_0000;
const NUMBERS = 0x100;
const STARTS = 5;
/** Attempts for a frame that can be cut smaller, and for one that cannot. */
const TRIES = 3;
const LAST_TRIES = 100;
const START_TRIES = 10;
const START_MS = 1500;
const MIN_LIMIT = 24;
/** Good frames in a row after which longer ones are tried. */
const GOOD = 16;

/**
 * Memory and SMCs of a machine on which boards/bridge/agent.s runs, by binary frames on its boot
 * loader's console. Every frame is checked by a CRC-32 both ways. An SMC is carried out once, however
 * often its answer has to be asked for. One call at a time.
 */
export class AgentBridge implements WireMachine {
  readonly granule = 128;
  /** What the agent said of itself. */
  readonly info: AgentInfo;
  /** What it works in. */
  readonly window: FreeRam;
  /**
   * Microseconds after which an interrupt is pending in every SMC, more while a call is handed back
   * again and again; undefined: never. Needs `devices.gic`.
   */
  interruptEveryUs: number | undefined;
  readonly #link: AgentLink;
  readonly #prompt: AgentBridgeOptions["prompt"];
  readonly #smcMs: number;
  readonly #silenceMs: number;
  readonly #pace = new InterruptPace();
  #number: number;
  #avoided: number | undefined;
  /** Longest payload that the line is trusted with. */
  #limit: number = MAX_PAYLOAD;
  #good = 0;

  private constructor(
    options: AgentBridgeOptions,
    parts: { link: AgentLink; info: AgentInfo; window: FreeRam; number: number },
  ) {
    this.#link = parts.link;
    this.info = parts.info;
    this.window = parts.window;
    this.#number = parts.number;
    this.#prompt = options.prompt;
    this.#smcMs = options.smcMs ?? SMC_MS;
    this.#silenceMs = options.silenceMs ?? SILENCE_MS;
  }

  /**
   * Puts the agent in place and starts it. Throws InfrastructureError when the line is too bad or it is
   * not our agent that answers, TargetCrashError when it does not start or the board is lost.
   */
  static async start(options: AgentBridgeOptions, deadline: Deadline): Promise<AgentBridge> {
    const { console, gapMs = GAP_MS, window: ram, baud, retryMs, onText } = options;
    const page = ram.take(AGENT_PAGES.size);
    const window = ram.rest;
    const sequence = randomInt(SEQUENCES);
    const number = randomInt(NUMBERS);
    const own = { window, gapMs, sequence, number };
    await options.loader.write(page, agentImage(options.program, options.devices, own), deadline);
    await options.loader.makeFetchable(deadline);
    const link = new AgentLink(console, {
      sequence,
      gapMs,
      ...(baud === undefined ? {} : { baud }),
      ...(retryMs === undefined ? {} : { retryMs }),
      ...(onText === undefined ? {} : { onText }),
    });
    try {
      const info = await begin(options.prompt, link, page, deadline);
      return new AgentBridge(options, { link, info, window, number });
    } catch (error) {
      link.close();
      throw error;
    }
  }

  /** A copy of `length` bytes of RAM. Throws RangeError outside the window. */
  async read(at: Pa, length: number, deadline: Deadline): Promise<Uint8Array> {
    const [result] = await this.exec([{ kind: "read", at, length }], deadline);
    if (result?.kind !== "read") throw misplaced();
    return result.bytes;
  }

  /** Throws RangeError outside the window. */
  async write(at: Pa, bytes: Uint8Array, deadline: Deadline): Promise<void> {
    await this.exec([{ kind: "write", at, bytes }], deadline);
  }

  async fill(at: Pa, length: number, value: number, deadline: Deadline): Promise<void> {
    await this.exec([{ kind: "fill", at, length, value }], deadline);
  }

  async checksums(
    at: Pa,
    size: number,
    count: number,
    deadline: Deadline,
  ): Promise<readonly number[]> {
    const [result] = await this.exec([{ kind: "checksums", at, size, count }], deadline);
    if (result?.kind !== "checksums") throw misplaced();
    return result.values;
  }

  async writeAll(writes: readonly MemoryWrite[], deadline: Deadline): Promise<void> {
    await this.call(writes, undefined, deadline);
  }

  /** x0..x7 go in and come back in place. Throws TargetCrashError when the call does not return. */
  async smc(registers: Registers, deadline: Deadline): Promise<void> {
    await this.call([], registers, deadline);
  }

  /** `writes`, and then one SMC where there is one, in as few round trips as can be. */
  async call(
    writes: readonly MemoryWrite[],
    registers: Registers | undefined,
    deadline: Deadline,
  ): Promise<void> {
    const operations = writes.map(writeOf);
    if (registers !== undefined) {
      const x = Array.from({ length: 8 }, (_, index) => registers.get64(index));
      const everyUs = this.interruptEveryUs;
      const interruptUs = everyUs === undefined ? {} : { interruptUs: this.#pace.next(everyUs) };
      operations.push({ kind: "smc", x, ...interruptUs });
    }
    const result = (await this.exec(operations, deadline)).at(-1);
    if (registers === undefined) return;
    if (result?.kind !== "smc") throw misplaced();
    this.#pace.returned(result.x[0] ?? 0n);
    for (const [index, word] of result.x.entries()) registers.set64(index, word);
  }

  /** Carries out `batch` in its order and gives the result of each. Throws RangeError outside the window. */
  async exec(
    batch: readonly AgentOperation[],
    deadline: Deadline,
  ): Promise<readonly AgentResult[]> {
    const jobs = batch.map((operation) => this.#job(operation));
    for (;;) {
      const frame = this.#frame(jobs);
      if (frame === undefined) return jobs.map(({ result }) => result);
      await this.#carryOut(frame, deadline);
    }
  }

  /** The agent ends; the boot loader's prompt stands there again. */
  async exit(deadline: Deadline): Promise<void> {
    try {
      const options = { patienceMs: this.#silenceMs, tries: LAST_TRIES };
      await this.#link.ask(Uint8Array.of(AGENT_OPERATION.leave.code), deadline, options);
    } catch (error) {
      // The answer to a request that made it leave may be lost; the prompt shows whether it left.
      if (!(error instanceof TargetCrashError)) throw error;
    } finally {
      this.#link.close();
    }
    await this.#prompt.run("echo", deadline);
  }

  /** The machine may be put back to what it is now, as often as one likes. */
  checkpoint(): void {
    this.#avoided = this.#number;
    this.#link.avoidLast();
  }

  /** Listens no more, whatever runs on the board. */
  close(): void {
    this.#link.close();
  }

  #job(operation: AgentOperation): Job {
    if (operation.kind === "smc") {
      do this.#number = (this.#number + 1) % NUMBERS;
      while (this.#number === this.#avoided);
      return jobOf(operation, 0, this.#number);
    }
    const { at } = operation;
    const length =
      operation.kind === "write"
        ? operation.bytes.length
        : operation.kind === "checksums"
          ? operation.size * operation.count
          : operation.length;
    const { base, size } = this.window;
    if (!(at >= base && length >= 0 && at + length <= base + size)) {
      throw new RangeError(
        `0x${at.toString(16)} and ${length} bytes are outside the agent's RAM, 0x${base.toString(16)} to 0x${(base + size).toString(16)}`,
      );
    }
    return jobOf(operation, at - base, 0);
  }

  /** What goes into the next frame; undefined when everything is done. At most one SMC, nothing read before it. */
  #frame(jobs: readonly Job[]): Planned[] | undefined {
    const planned: Planned[] = [];
    let request = 0;
    // Before the results stands the status.
    let answer = 1;
    let called = false;
    for (const job of jobs) {
      if (job.done) continue;
      // What was read before an SMC whose frame is lost could not be read again.
      if (job.smc !== undefined && (called || answer > 1)) break;
      const room = { request: this.#limit - request, answer: this.#limit - answer };
      const part = job.part(room, planned.length === 0);
      if (part === undefined) break;
      planned.push({ job, part });
      request += part.request.length;
      answer += part.answer;
      called ||= job.smc !== undefined;
      if (!part.last) break;
    }
    return planned.length === 0 ? undefined : planned;
  }

  async #carryOut(frame: readonly Planned[], deadline: Deadline): Promise<void> {
    const call = frame.find(({ job }) => job.smc !== undefined);
    const payload = Buffer.concat(frame.map(({ part }) => part.request));
    const patienceMs = call === undefined ? this.#silenceMs : this.#smcMs;
    const isLeast = this.#limit <= MIN_LIMIT;
    const tries = isLeast ? LAST_TRIES : TRIES;
    let answer: Uint8Array;
    try {
      answer = await this.#link.ask(payload, deadline, { patienceMs, tries });
    } catch (error) {
      if (!(error instanceof FrameLost) || isLeast) throw error;
      this.#limit = Math.max(MIN_LIMIT, Math.floor(this.#limit / 2));
      this.#good = 0;
      if (call?.job.smc !== undefined) await this.#recall(frame, call.job.smc, deadline);
      return;
    }
    this.#take(frame, answer);
    this.#good += 1;
    if (this.#good >= GOOD && this.#limit < MAX_PAYLOAD) {
      this.#limit = Math.min(MAX_PAYLOAD, 2 * this.#limit);
      this.#good = 0;
    }
  }

  #take(frame: readonly Planned[], answer: Uint8Array): void {
    const reader = new ByteReader(answer);
    try {
      mustBeOk(reader.number(1));
      for (const { part } of frame) part.take(reader);
    } catch (error) {
      if (error instanceof TooShort) throw notOurs(error.message);
      throw error;
    }
    if (reader.left > 0) throw notOurs(`${reader.left} bytes more than were asked for`);
  }

  /**
   * Whether the SMC of a frame whose answer is lost was made, and what it gave. If so, what stood before
   * it in the frame has been done and must not be done again: the secure world has answered into it.
   */
  async #recall(
    frame: readonly Planned[],
    smc: NonNullable<Job["smc"]>,
    deadline: Deadline,
  ): Promise<void> {
    const request = Uint8Array.of(AGENT_OPERATION.lastSmc.code);
    const options = { patienceMs: this.#smcMs, tries: LAST_TRIES };
    const reader = new ByteReader(await this.#link.ask(request, deadline, options));
    mustBeOk(reader.number(1));
    if (reader.number(1) !== smc.number) return;
    const x = decodeRegisters(reader);
    for (const { job, part } of frame) {
      if (job.smc !== undefined) break;
      part.take(new ByteReader(new Uint8Array(0)));
    }
    smc.learn(x);
  }
}

interface Planned {
  readonly job: Job;
  readonly part: Part;
}

/** Starts what was loaded at `page`, as often as it takes until it answers. */
async function begin(
  prompt: AgentBridgeOptions["prompt"],
  link: AgentLink,
  page: Pa,
  deadline: Deadline,
): Promise<AgentInfo> {
  const request = Uint8Array.of(AGENT_OPERATION.info.code);
  for (let turn = 1; ; turn += 1) {
    await prompt.leave(`go ${page.toString(16)}`, undefined, deadline);
    try {
      const options = { patienceMs: START_MS, tries: START_TRIES };
      const reader = new ByteReader(await link.ask(request, deadline, options));
      mustBeOk(reader.number(1));
      const info = reader.decode(AGENT_INFO);
      if (info.version === VERSION && info.address === page) return info;
      throw notOurs(`version ${info.version} at 0x${info.address.toString(16)}`);
    } catch (error) {
      if (error instanceof TooShort) throw notOurs(error.message);
      // An Enter that got lost leaves the boot loader at its prompt.
      if (!(error instanceof TargetCrashError) || turn >= STARTS) throw error;
    }
  }
}

function writeOf({ at, bytes, length = bytes.length }: MemoryWrite): AgentOperation {
  if (length === bytes.length) return { kind: "write", at, bytes };
  const [value = 0] = bytes;
  if (bytes.every((byte) => byte === value)) return { kind: "fill", at, length, value };
  const repeated = Buffer.alloc(length, bytes);
  return { kind: "write", at, bytes: repeated };
}

function mustBeOk(status: number): void {
  if (status === AGENT_STATUS.ok) return;
  if (status === AGENT_STATUS.outside) throw new RangeError("the agent refuses this address");
  if (status === AGENT_STATUS.noTimer) throw noTimer();
  throw new InternalError(`the agent refuses our request with status ${status}`);
}

const notOurs = (seen: string): InfrastructureError =>
  new InfrastructureError("it is not our agent that answers", { seen });

const misplaced = (): InternalError => new InternalError("a result of another kind");
