import { Deadline, messageOf } from "../base/index.ts";
import type { CommandProtocol, Incident, LiveBoard, RunningCommand } from "../board/index.ts";
import type { Cut } from "./judge-case.ts";
import type { ParsedCase, ParsedRun, XtestEvent } from "./model.ts";
import { essence } from "./noise.ts";
import { XtestParser } from "./parser.ts";
import type { Timers } from "./timers.ts";

export interface InvocationSetup {
  readonly board: Pick<LiveBoard, "onIncident">;
  readonly commands: CommandProtocol;
  readonly command: string;
  /** Longest time for one case, and longest silence of xtest, in milliseconds. */
  readonly caseTimeoutMs: number;
  readonly silenceTimeoutMs: number;
  /** How long output that is under way may still arrive after the board went down. */
  readonly settleMs: number;
  readonly startTimeoutMs: number;
  readonly timers: Timers;
  readonly abort: AbortSignal;
  onBytes(bytes: Uint8Array): void;
  onEvent(event: XtestEvent): void;
}

export interface InvocationEnd {
  readonly runs: readonly ParsedRun[];
  /**
   * `clean`: xtest printed its totals and ended. `exited`: it ended without them, on a board that
   * showed nothing wrong. `not started`: there was no way to start it. `interrupted`: the user
   * stopped it. Anything else took the board down.
   */
  readonly how:
    | "clean"
    | "not started"
    | "exited"
    | "incident"
    | "timeout"
    | "lost"
    | "interrupted";
  /** Set for every end but a clean one. */
  readonly cut: Cut | undefined;
  /** The last text that is no result, for messages. */
  readonly tail: string;
}

/** Longer than any run; what a case may take is bounded by its own deadlines. */
const WHOLE_RUN_MS = 24 * 3_600_000;

/** Starts xtest once and follows it until it ends, hangs, or the board does. Never rejects. */
export async function runInvocation(setup: InvocationSetup): Promise<InvocationEnd> {
  return await new Promise<InvocationEnd>((resolve) => {
    new Follower(setup, resolve).start();
  });
}

interface Ending {
  readonly how: InvocationEnd["how"];
  readonly status: Cut["status"];
  readonly what: string;
  /** Text after the place, e.g. the console line. */
  readonly detail?: string;
  readonly infrastructure?: true;
}

class Follower {
  readonly #setup: InvocationSetup;
  readonly #resolve: (end: InvocationEnd) => void;
  readonly #parser: XtestParser;
  readonly #runs: ParsedRun[] = [];
  #open: ParsedCase | undefined;
  #last: string | undefined;
  #totals = false;
  /** xtest has printed its last line. */
  #finished = false;
  #tail = "";
  #ending: Ending | undefined;
  #closed = false;
  #running: RunningCommand | undefined;
  #stopListening: () => void = () => {};
  #cancelCase: () => void = () => {};
  #cancelSilence: () => void = () => {};
  readonly #onAbort = (): void => this.#interrupt();

  constructor(setup: InvocationSetup, resolve: (end: InvocationEnd) => void) {
    this.#setup = setup;
    this.#resolve = resolve;
    this.#parser = new XtestParser((event) => this.#event(event));
  }

  start(): void {
    const { board, commands, command, abort, startTimeoutMs } = this.#setup;
    this.#stopListening = board.onIncident((incident) => this.#incident(incident));
    if (abort.aborted) {
      this.#interrupt();
      return;
    }
    abort.addEventListener("abort", this.#onAbort, { once: true });
    this.#armSilence();
    const whole = Deadline.after(WHOLE_RUN_MS, "xtest", { abort });
    const starting = commands.start(command, whole);
    // A start that succeeds too late is followed all the same: to be killed.
    starting.then(
      (running) => this.#follow(running),
      () => {},
    );
    const begun = Deadline.after(startTimeoutMs, "the start of xtest", { abort });
    begun.race(starting).catch((error: unknown) => {
      const what = `xtest could not be started: ${messageOf(error)}`;
      this.#settle({ how: "not started", status: "error", what });
    });
  }

  #follow(running: RunningCommand): void {
    if (this.#closed) {
      running.done.catch(() => {});
      running.kill().catch(() => {});
      return;
    }
    this.#running = running;
    running.onOutput((bytes) => this.#output(bytes));
    running.done.then(
      (end) => this.#exited(end.signal ?? `exit code ${end.exitCode ?? "unknown"}`),
      (error: unknown) => {
        const what = `the connection was lost: ${messageOf(error)}`;
        this.#settle({ how: "lost", status: "crash", what });
      },
    );
  }

  #output(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#setup.onBytes(bytes);
    const before = this.#parser.payloadLines;
    this.#tail = (this.#tail + Buffer.from(bytes).toString("latin1")).slice(-400);
    this.#parser.push(bytes);
    // Kernel lines about a stall are no sign of life.
    if (this.#parser.payloadLines !== before) this.#armSilence();
  }

  #event(event: XtestEvent): void {
    switch (event.type) {
      case "case-start":
        this.#open = event.case;
        this.#armCase();
        break;
      case "case-end":
        this.#open = undefined;
        this.#last = event.case.id;
        this.#cancelCase();
        break;
      case "totals":
        this.#totals = true;
        break;
      case "run-end":
        this.#runs.push(event.run);
        this.#finished = event.run.end === "done" && event.run.totals.cases !== undefined;
        break;
      default:
        break;
    }
    this.#setup.onEvent(event);
  }

  #armCase(): void {
    if (this.#ending !== undefined) return;
    const { timers, caseTimeoutMs } = this.#setup;
    this.#cancelCase();
    this.#cancelCase = timers.set(caseTimeoutMs, () => {
      const what = `no verdict after ${seconds(caseTimeoutMs)}`;
      this.#end({ how: "timeout", status: "timeout", what });
    });
  }

  #armSilence(): void {
    if (this.#ending !== undefined) return;
    const { timers, silenceTimeoutMs } = this.#setup;
    this.#cancelSilence();
    this.#cancelSilence = timers.set(silenceTimeoutMs, () => {
      const what = `xtest was silent for ${seconds(silenceTimeoutMs)}`;
      this.#end({ how: "timeout", status: "timeout", what });
    });
  }

  #incident({ kind, what, stream, line, infrastructure }: Incident): void {
    const status = kind === "hang" ? "timeout" : "crash";
    this.#settle({
      how: "incident",
      status: infrastructure === true ? "error" : status,
      ...(infrastructure && { infrastructure }),
      what: `${what} on ${stream}`,
      detail: `: ${essence(line)}`,
    });
  }

  #exited(how: string): void {
    if (this.#totals && this.#ending === undefined) {
      this.#end({ how: "clean", status: "miss", what: "" });
      return;
    }
    const what = `xtest ended without its totals (${how})`;
    this.#settle({ how: "exited", status: "crash", what });
  }

  #interrupt(): void {
    this.#end({ how: "interrupted", status: "miss", what: "interrupted" });
  }

  /** Between two cases there is none to blame, so the place is part of the reason. */
  #place(): string {
    if (this.#open !== undefined) return "";
    return this.#last === undefined ? ", before the first case" : `, after ${this.#last}`;
  }

  /** Lets output that is under way arrive, so that what was printed before counts as printed. */
  #settle(ending: Ending): void {
    if (this.#closed) return;
    const before = this.#ending;
    // What a console shows explains more than the connection that broke because of it.
    if (before === undefined || (before.how !== "incident" && ending.how === "incident")) {
      this.#ending = ending;
    }
    if (before !== undefined) return;
    this.#cancelSilence();
    this.#cancelCase();
    this.#setup.timers.set(this.#setup.settleMs, () => {
      const known = this.#ending ?? ending;
      // A channel that breaks after xtest has said that it is done takes nothing away from it; a
      // board that died then shows that on a console, and that explanation is kept.
      const late =
        (known.how === "exited" && this.#totals) || (known.how === "lost" && this.#finished);
      this.#end(late ? { ...known, how: "clean" } : known);
    });
  }

  #end({ how, status, what, detail = "", infrastructure }: Ending): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelCase();
    this.#cancelSilence();
    this.#stopListening();
    this.#setup.abort.removeEventListener("abort", this.#onAbort);
    // The place is that of the moment when all output had come.
    const reason = `${what}${this.#place()}${detail}`;
    this.#parser.end();
    if (how !== "clean" && how !== "exited") this.#running?.kill().catch(() => {});
    this.#resolve({
      runs: this.#runs,
      how,
      cut:
        how === "clean" ? undefined : { status, reason, ...(infrastructure && { infrastructure }) },
      tail: tailText(this.#tail),
    });
  }
}

function seconds(ms: number): string {
  return ms >= 1000 ? `${Math.round(ms / 100) / 10} s` : `${ms} ms`;
}

/** The last line with letters in it. */
function tailText(text: string): string {
  const lines = text.split(/[\r\n]+/).filter((line) => /[A-Za-z]/.test(line));
  return (lines.at(-1) ?? "").replaceAll(/[^\x20-\x7e]/g, "").trim();
}
