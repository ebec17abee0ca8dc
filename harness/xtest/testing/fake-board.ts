import { InfrastructureError } from "../../base/index.ts";
import type {
  BoardConfig,
  CommandProtocol,
  Incident,
  LiveBoard,
  RunningCommand,
} from "../../board/index.ts";
import type { CaseResult, RunEventBody, RunSink, RunTotals } from "../../run/index.ts";
import type { Timers } from "../timers.ts";
import {
  bodyOf,
  type FakeCase,
  footer,
  header,
  readCommand,
  runBy,
  startOf,
} from "./fake-xtest.ts";

/** Virtual time: short timers fire by themselves, long ones when `advance` is called. */
export class FakeTimers implements Timers {
  #now = 0;
  readonly #waiting = new Set<{ readonly at: number; readonly fire: () => void }>();

  set(ms: number, fire: () => void): () => void {
    if (ms < 1_000) {
      const soon = setImmediate(fire);
      return () => clearImmediate(soon);
    }
    const entry = { at: this.#now + ms, fire };
    this.#waiting.add(entry);
    return () => this.#waiting.delete(entry);
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = [...this.#waiting].filter((one) => one.at <= this.#now);
    for (const one of due.toSorted((a, b) => a.at - b.at)) {
      if (this.#waiting.delete(one)) one.fire();
    }
  }
}

/** What happens to the board at a point of a run. */
export type Fault =
  | { readonly incident: Incident }
  | { readonly silentMs: number }
  | { readonly busyMs: number }
  | { readonly lost: string }
  | { readonly exit: number }
  | { readonly print: string };

/** Faults by `<case id> start` (after its first line), `<case id> end`, `<case id> before`, each used once. */
export type FaultPlan = Record<string, Fault[]>;

export interface FakeBoardOptions {
  readonly cases: readonly FakeCase[];
  readonly faults?: FaultPlan;
  readonly subtests?: number;
  /** So many calls of `recover` succeed before others fail. */
  readonly deadAfter?: number;
  /** So many calls of `recover` fail then; all where absent. */
  readonly deadFor?: number;
  readonly startFails?: number;
  readonly over?: "ssh" | "console";
  readonly config?: Partial<BoardConfig>;
}

/** A scripted board whose Linux has an xtest that behaves as it is told. */
export class FakeBoard implements LiveBoard {
  readonly machineState = undefined;
  readonly config: BoardConfig;
  readonly versions = { optee: "4.5.0" };
  readonly timers = new FakeTimers();
  readonly commands: string[] = [];
  recoveries = 0;
  killed = 0;
  state: LiveBoard["state"] = "off";
  readonly #options: FakeBoardOptions;
  readonly #listeners = new Set<(incident: Incident) => void>();
  #starts = 0;

  constructor(options: FakeBoardOptions) {
    this.#options = options;
    this.config = {
      name: "fake",
      type: "fake",
      description: "",
      file: "fake.yaml",
      platform: "hardware",
      soc: "none",
      onExit: "off",
      expendable: false,
      lifeCycle: "unknown",
      conduits: [],
      consoles: [],
      power: { driver: "none" },
      images: {},
      characterDelayMs: 0,
      xtest: {
        over: options.over ?? "ssh",
        level: 0,
        suites: ["regression"],
        exclude: [],
        caseTimeoutMs: 300_000,
        silenceTimeoutMs: 60_000,
      },
      ...options.config,
    };
  }

  get power(): never {
    throw new Error("not scripted");
  }
  get files(): never {
    throw new Error("not scripted");
  }
  async transition(): Promise<void> {
    if (this.state === "broken") throw new InfrastructureError("the board is broken");
    this.state = "tee-ready";
  }
  async restart(): Promise<void> {
    await this.recover();
    this.state = "bootloader";
  }
  async recover(): Promise<void> {
    this.recoveries++;
    const { deadAfter = Number.POSITIVE_INFINITY, deadFor = Number.POSITIVE_INFINITY } =
      this.#options;
    if (this.recoveries > deadAfter && this.recoveries <= deadAfter + deadFor) {
      this.state = "broken";
      throw new InfrastructureError("no answer on the console");
    }
    this.state = "off";
  }
  command(): CommandProtocol {
    return {
      exec: () => Promise.reject(new Error("not scripted")),
      start: (command) => this.#start(command),
    };
  }
  offsets(): Record<string, number> {
    return { normal: 7 };
  }
  onIncident(listener: (incident: Incident) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  onRaw(): () => void {
    return () => {};
  }
  async type(): Promise<void> {}
  async close(): Promise<void> {}

  async #start(command: string): Promise<RunningCommand> {
    this.commands.push(command);
    if (++this.#starts <= (this.#options.startFails ?? 0)) {
      throw new InfrastructureError("SSH refused");
    }
    const link = new FakeLink();
    void this.#play(command, link);
    const done = link.done.finally(() => {});
    return {
      onOutput: (listener) => link.listen(listener),
      done,
      kill: () => {
        this.killed++;
        return Promise.resolve();
      },
    };
  }

  async #play(command: string, link: FakeLink): Promise<void> {
    const { cases, subtests } = this.#options;
    const ran = runBy(command, cases);
    await tick();
    link.print(header(command));
    for (const one of ran) {
      if (await this.#fault(`${one.id} before`, link)) return;
      link.print(startOf(one));
      if (await this.#fault(`${one.id} start`, link)) return;
      link.print(bodyOf(one));
      if (await this.#fault(`${one.id} end`, link)) return;
    }
    const universe = cases.filter((one) => readCommand(command).suites.includes(one.suite)).length;
    link.print(footer(command, ran, universe, subtests));
    if (await this.#fault("totals", link)) return;
    link.exit(ran.filter((one) => one.does === "fail").length);
  }

  /** True where the command is over. */
  async #fault(point: string, link: FakeLink): Promise<boolean> {
    const fault = this.#options.faults?.[point]?.shift();
    await tick();
    if (fault === undefined) return false;
    if ("print" in fault) {
      link.print(fault.print);
      return false;
    }
    if ("busyMs" in fault) {
      // Alive and talking, without ever coming to an end.
      for (let past = 0; past < fault.busyMs; past += 10_000) {
        link.print(`working ${past}\n`);
        this.timers.advance(10_000);
        await tick();
      }
      return true;
    }
    if ("silentMs" in fault) this.timers.advance(fault.silentMs);
    else if ("incident" in fault) for (const one of this.#listeners) one(fault.incident);
    else if ("lost" in fault) link.lose(fault.lost);
    else link.exit(fault.exit);
    return true;
  }
}

async function tick(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

class FakeLink {
  readonly done: Promise<{ exitCode: number | undefined; signal: string | undefined }>;
  #listener: (bytes: Uint8Array) => void = () => {};
  #resolve: (end: { exitCode: number | undefined; signal: string | undefined }) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
  listen(listener: (bytes: Uint8Array) => void): void {
    this.#listener = listener;
  }
  print(text: string): void {
    this.#listener(Buffer.from(text));
  }
  exit(exitCode: number): void {
    this.#resolve({ exitCode, signal: undefined });
  }
  lose(why: string): void {
    this.#reject(new InfrastructureError(why));
  }
}

/** Collects what a run hands over; a second result for one id is refused, as the bundle does. */
export class CollectingSink implements RunSink {
  readonly events: RunEventBody[] = [];
  readonly results = new Map<string, CaseResult>();
  readonly problems: string[] = [];
  readonly totalsSeen: RunTotals[] = [];
  bytes = 0;

  event(event: RunEventBody): void {
    this.events.push(event);
  }
  raw(_target: string, _stream: string, bytes: Uint8Array): void {
    this.bytes += bytes.length;
  }
  result(result: CaseResult): void {
    if (this.results.has(result.id)) throw new Error(`a second result for ${result.id}`);
    this.results.set(result.id, result);
  }
  totals(totals: RunTotals): void {
    this.totalsSeen.push(totals);
  }
  facts(): void {}
  problem(text: string): void {
    this.problems.push(text);
  }
  async flush(): Promise<void> {}
}
