import { createHash } from "node:crypto";
import path from "node:path";
import {
  type Clock,
  InternalError,
  messageOf,
  UsageError,
  runtimeDir,
  secrets as registeredSecrets,
  systemClock,
} from "../../base/index.ts";
import { type Lock, acquireLock } from "../lock.ts";
import { KnownSecrets, type SecretSource } from "../mask/known-secrets.ts";
import { TextMasker, maskValue } from "../mask/text-masker.ts";
import type {
  CaseResult,
  ClauseCatalogue,
  FactsSheet,
  FileDigest,
  Results,
  RunEventBody,
  RunInfo,
  RunTotals,
} from "../model.ts";
import type { Divergences } from "../divergences.ts";
import type { RunSink } from "../sink.ts";
import type { Trace } from "../trace.ts";
import { AppendFile, writeError, writeFileAtomic } from "./disk.ts";
import { makeBundleFolder, refuseForeignFolder, removeOldBundle } from "./folder.ts";
import {
  CLAUSES,
  DIVERGENCES,
  EVENTS,
  RESULTS,
  RUN_JSON,
  TRACE_INDEX,
  compareText,
  resultsText,
  sortedResults,
} from "./layout.ts";
import { BundleReader } from "./reader.ts";
import { StreamSet } from "./streams.ts";
import { readTraces } from "./trace-reader.ts";
import { TraceWriter } from "./trace-writer.ts";

/** What is known of a run when it begins. */
export interface RunStart extends Pick<RunInfo, "id" | "lockstep" | "node" | "command" | "seed"> {
  /**
   * The boards that have consoles. With one, its console files have plain names; with several, and
   * for every other target, they carry the target's name.
   */
  readonly boards?: readonly string[];
}

export interface BundleOptions {
  readonly clock?: Clock;
  readonly secrets?: SecretSource;
  /** Longest time in milliseconds that evidence stays in memory only. Default 100. */
  readonly flushMs?: number;
  /** Called once when the disk refuses a write, so that the run need not go on to its end in vain. */
  readonly onFailure?: (error: Error) => void;
  /** Where the lock of the folder is noted. */
  readonly runtimeDir?: string;
}

/** How a run ended. */
export interface RunOutcome {
  readonly exitCode: number;
  /** Given when the run was cut short (Ctrl-C): why. The bundle is then `incomplete`. */
  readonly incomplete?: string;
  /** Makes the reports, before the bundle is declared finished. */
  readonly render?: (reader: BundleReader) => Promise<void>;
}

const FLUSH_MS = 100;
/** Bytes in memory that are written at once, without waiting for the timer. */
const FLUSH_BYTES = 256 * 1024;

/**
 * Writes a bundle. `run.json` says `running` from the first moment on and is replaced, never
 * edited; everything else is appended in order. Killed at any moment, the folder holds a bundle
 * that reads as incomplete. Secrets are masked here, so no caller can forget it.
 */
export class BundleWriter implements RunSink {
  readonly dir: string;
  readonly #clock: Clock;
  readonly #known: KnownSecrets;
  readonly #flushMs: number;
  readonly #onFailure: (error: Error) => void;
  readonly #lock: Lock;
  readonly #began: number;
  readonly #events: AppendFile;
  readonly #streams: StreamSet;
  readonly #traces: TraceWriter;
  readonly #lineMaskers = new Map<string, TextMasker>();
  readonly #results = new Map<string, CaseResult>();
  #info: RunInfo;
  #catalogue: FileDigest | undefined;
  #divergences: FileDigest | undefined;
  #infoDirty = false;
  #infoCostMs = 0;
  #buffered = 0;
  #timer: NodeJS.Timeout | undefined;
  #failure: Error | undefined;
  #closed = false;

  private constructor(dir: string, lock: Lock, start: RunStart, options: BundleOptions) {
    this.dir = dir;
    this.#lock = lock;
    this.#clock = options.clock ?? systemClock;
    this.#known = new KnownSecrets(options.secrets ?? registeredSecrets);
    this.#flushMs = options.flushMs ?? FLUSH_MS;
    this.#onFailure = options.onFailure ?? (() => {});
    this.#began = this.#clock.monotonicMs();
    const { id, lockstep, node, seed } = start;
    this.#info = {
      format: 1,
      id,
      lockstep,
      node,
      command: maskValue(this.#known, start.command),
      seed,
      startedAt: new Date(this.#clock.wallMs()).toISOString(),
      state: "running",
      problems: [],
      facts: [],
      streams: [],
      redactions: [],
    };
    this.#streams = new StreamSet(dir, this.#known, start.boards ?? []);
    this.#traces = new TraceWriter(dir, this.#known);
    this.#writeInfo(this.#info);
    removeOldBundle(dir);
    this.#events = new AppendFile(path.join(dir, EVENTS));
    this.event({ type: "run-start", id });
    this.#drain();
  }

  /**
   * Starts a bundle in `dir`, making the folder. An older bundle there is replaced. Throws
   * UsageError when the folder holds anything else, InfrastructureError when another run is writing
   * to it or it cannot be written.
   */
  static async create(
    dir: string,
    start: RunStart,
    options: BundleOptions = {},
  ): Promise<BundleWriter> {
    const folder = path.resolve(dir);
    makeBundleFolder(folder);
    const lock = await acquireLock(`bundle ${folder}`, {
      runtimeDir: options.runtimeDir ?? runtimeDir(),
    });
    try {
      refuseForeignFolder(folder);
      return new BundleWriter(folder, lock, start, options);
    } catch (error) {
      await lock.release();
      throw error instanceof UsageError ? error : writeError(folder, error);
    }
  }

  /** The error that stopped all writing, if any. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Results so far, in the order of `results.json`. */
  get results(): Results {
    return sortedResults(this.#results.values());
  }

  event(event: RunEventBody): void {
    if (this.#closed && event.type === "line") return;
    this.#open();
    this.#append(this.#maskedEvent(event));
  }

  /** As in `RunSink`; what a console still sends when the run is over belongs to no run. */
  raw(target: string, stream: string, bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#guard(() => {
      const now = this.#clock.monotonicMs();
      const { ready, news } = this.#streams.push(target, stream, bytes, now);
      if (news) this.#infoDirty = true;
      this.#schedule(ready);
    });
  }

  result(result: CaseResult): void {
    this.#open();
    const key = JSON.stringify([result.target, result.id]);
    const name = `${result.id} on ${result.target}`;
    if (this.#results.has(key)) throw new InternalError(`a second result for ${name}`);
    if (result.status !== "pass" && (result.reason ?? "") === "") {
      throw new InternalError(`${name} is ${result.status} without a reason`);
    }
    const masked = maskValue(this.#known, result);
    this.#results.set(key, masked);
    this.#append({ type: "result", result: masked });
  }

  /** Appends what one run of a scenario exchanged to the traces of its case. */
  trace(trace: Trace): void {
    this.#open();
    this.#guard(() => this.#traces.add(trace));
  }

  /** The traces of a case on a target so far, by the number of the run; as `BundleReader.traces`. */
  async traces(target: string, caseId: string): Promise<Trace[]> {
    return await readTraces(this.dir, target, caseId);
  }

  totals(totals: RunTotals): void {
    this.event({ type: "totals", totals });
  }

  /** A board's facts sheet; a later one for the same board replaces the earlier. */
  facts(facts: FactsSheet): void {
    const others = this.#info.facts.filter((sheet) => sheet.board !== facts.board);
    const sheets = [...others, maskValue(this.#known, facts)];
    this.#change({ facts: sheets.toSorted((a, b) => compareText(a.board, b.board)) });
  }

  /** The clauses that the results are held against; at most once. */
  catalogue(catalogue: ClauseCatalogue): void {
    this.#open();
    const text = `${JSON.stringify(catalogue, undefined, 1)}\n`;
    this.#catalogue = digestOf(text);
    this.#guard(() => writeFileAtomic(path.join(this.dir, CLAUSES), text));
  }

  /** Where boards differ from the emulated platform; at most once, when all boards have run. */
  divergences(found: Divergences): void {
    this.#open();
    const text = `${JSON.stringify(maskValue(this.#known, found), undefined, 1)}\n`;
    this.#divergences = digestOf(text);
    this.#guard(() => writeFileAtomic(path.join(this.dir, DIVERGENCES), text));
  }

  problem(text: string): void {
    this.#change({ problems: [...this.#info.problems, maskValue(this.#known, text)] });
  }

  /** Everything handed over so far to the disk, held-back bytes included. */
  flush(): Promise<void> {
    this.#guard(() => {
      if (this.#streams.release("all")) this.#infoDirty = true;
      this.#drain();
      this.#streams.sync();
      this.#events.sync();
    });
    return this.#failure === undefined ? Promise.resolve() : Promise.reject(this.#failure);
  }

  /**
   * Ends the bundle: writes `results.json`, lets `render` make the reports, and only then declares
   * the bundle complete. Rejects when the disk refused anything; the bundle then stays incomplete.
   */
  async finish(outcome: RunOutcome): Promise<RunInfo> {
    this.#open();
    try {
      if (outcome.incomplete !== undefined) this.problem(outcome.incomplete);
      this.event({ type: "run-end", exitCode: outcome.exitCode });
      await this.flush();
      const text = resultsText(this.results);
      const { index } = this.#traces;
      const traces = index === undefined ? undefined : `${JSON.stringify(index, undefined, 1)}\n`;
      const info: RunInfo = {
        ...this.#currentInfo(),
        state: outcome.incomplete === undefined ? "complete" : "incomplete",
        exitCode: outcome.exitCode,
        finishedAt: new Date(this.#clock.wallMs()).toISOString(),
        files: this.#digests({ [RESULTS]: text, [TRACE_INDEX]: traces }),
      };
      if (traces !== undefined) {
        this.#guard(() => writeFileAtomic(path.join(this.dir, TRACE_INDEX), traces));
      }
      this.#guard(() => writeFileAtomic(path.join(this.dir, RESULTS), text));
      if (this.#failure !== undefined) throw this.#failure;
      await this.#render(info, outcome.render);
      this.#guard(() => this.#writeInfo(info));
      if (this.#failure !== undefined) throw this.#failure;
      return info;
    } finally {
      await this.#close();
    }
  }

  /** A bundle without its reports has all its evidence, but is not complete. */
  async #render(info: RunInfo, render: RunOutcome["render"]): Promise<void> {
    try {
      await render?.(await BundleReader.open(this.dir, { info }));
    } catch (error) {
      const text = maskValue(this.#known, `the reports could not be made: ${messageOf(error)}`);
      const problems = [...info.problems, text];
      this.#guard(() => this.#writeInfo({ ...info, state: "incomplete", problems }));
      throw error;
    }
  }

  /** Gives up: files are closed, and the bundle stays `running`, which reads as incomplete. */
  async abandon(): Promise<void> {
    if (!this.#closed) await this.#close();
  }

  async #close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#events.close();
    this.#streams.close();
    await this.#lock.release();
  }

  #currentInfo(): RunInfo {
    return { ...this.#info, streams: this.#streams.infos, redactions: this.#streams.redactions };
  }

  #digests(texts: Readonly<Record<string, string | undefined>>): Record<string, FileDigest> {
    const files: [string, FileDigest][] = [
      [EVENTS, this.#events.digest()],
      ...this.#streams.digests(),
    ];
    if (this.#catalogue !== undefined) files.push([CLAUSES, this.#catalogue]);
    if (this.#divergences !== undefined) files.push([DIVERGENCES, this.#divergences]);
    for (const [name, text] of Object.entries(texts)) {
      if (text !== undefined) files.push([name, digestOf(text)]);
    }
    return Object.fromEntries(files.toSorted(([a], [b]) => compareText(a, b)));
  }

  #maskedEvent(event: RunEventBody): RunEventBody {
    if (event.type !== "line") return maskValue(this.#known, event);
    const key = JSON.stringify([event.target, event.stream]);
    let masker = this.#lineMaskers.get(key);
    if (masker === undefined) {
      masker = new TextMasker(this.#known);
      this.#lineMaskers.set(key, masker);
    }
    return { ...event, text: masker.line(event.text) };
  }

  #append(event: RunEventBody): void {
    const t = Math.round((this.#clock.monotonicMs() - this.#began) * 1000) / 1000;
    const wall = new Date(this.#clock.wallMs()).toISOString();
    const line = Buffer.from(`${JSON.stringify({ t, wall, ...event })}\n`, "utf8");
    this.#guard(() => {
      this.#events.append(line);
      this.#schedule(line.length);
    });
  }

  #change(change: Partial<RunInfo>): void {
    this.#open();
    this.#info = { ...this.#info, ...change };
    this.#infoDirty = true;
    this.#guard(() => this.#schedule(0));
  }

  #schedule(bytes: number): void {
    this.#buffered += bytes;
    if (this.#buffered >= FLUSH_BYTES) this.#drain();
    if (this.#timer !== undefined || this.#closed) return;
    // Replacing run.json costs disk round trips: at most a twentieth of the time goes there.
    const wait = Math.max(this.#flushMs, this.#infoDirty ? this.#infoCostMs * 20 : 0);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#guard(() => {
        if (this.#streams.release({ quietAt: this.#clock.monotonicMs() })) this.#infoDirty = true;
        this.#drain();
        if (this.#streams.holding) this.#schedule(0);
      });
    }, wait);
  }

  /** What run.json tells about the streams comes first, so that it never lags behind them. */
  #drain(): void {
    if (this.#infoDirty) this.#writeInfo(this.#currentInfo());
    this.#streams.drain();
    this.#events.drain();
    this.#buffered = 0;
  }

  #writeInfo(info: RunInfo): void {
    const before = performance.now();
    writeFileAtomic(path.join(this.dir, RUN_JSON), `${JSON.stringify(info, null, 2)}\n`);
    this.#infoDirty = false;
    this.#infoCostMs = performance.now() - before;
  }

  /** Does `work` unless the disk has failed already; a failure is kept, reported once and ends all writing. */
  #guard(work: () => void): void {
    if (this.#failure !== undefined) return;
    try {
      work();
    } catch (error) {
      this.#failure = writeError(this.dir, error);
      this.#onFailure(this.#failure);
    }
  }

  #open(): void {
    if (this.#closed) throw new InternalError("the bundle is closed already");
  }
}

function digestOf(text: string): FileDigest {
  const sha256 = createHash("sha256").update(text).digest("hex");
  return { bytes: Buffer.byteLength(text), sha256 };
}
