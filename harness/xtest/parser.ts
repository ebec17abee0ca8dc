import { listedLine, resultLine, type ResultLine, skipReason, totalsLine, utf8 } from "./lines.ts";
import type { ParsedRun, XtestEvent } from "./model.ts";
import { clean, evidenceIn, foreignStart, isDirty } from "./noise.ts";
import { emptyRun, RunTracker } from "./run-tracker.ts";

/** Longest line that can matter, in bytes; the rest of a longer one is passed over. */
const MAX_LINE = 8_192;
const MAX_PENDING = 1_024;
const MAX_FILTERS = 10_000;
/** Distinct result lines remembered; a real xtest has about 2,200. */
const MAX_KNOWN = 20_000;

const CR = 13;
const HASH = 35;
const PLUS = 43;

/**
 * Reads what xtest prints, in chunks of any size, from an SSH channel or from a raw console log
 * with other text between and inside its lines. Memory is bounded by one run, whatever comes in.
 * A line that cannot be read for certain is never guessed into a verdict.
 */
export class XtestParser {
  readonly #emit: (event: XtestEvent) => void;
  #carry = "";
  #overlong = false;
  /** The beginning of a line that foreign text cut in two. */
  #pending = "";
  #run: RunTracker | undefined;
  #runs = 0;
  #filters: string[] = [];
  #hashes = 0;
  /** Result lines by their text: most lines of a log were seen before, and are read only once. */
  readonly #known = new Map<string, ResultLine>();
  #payload = 0;
  #optee: string | undefined;

  /** `onEvent` is called synchronously from `push` and `end`. */
  constructor(onEvent: (event: XtestEvent) => void) {
    this.#emit = onEvent;
  }

  /** Lines so far that came from neither the kernel nor the secure world: the sign of progress. */
  get payloadLines(): number {
    return this.#payload;
  }

  get runs(): number {
    return this.#runs;
  }

  /** The version that OP-TEE printed last on a console in this log, e.g. `4.5.0`. */
  get opteeVersion(): string | undefined {
    return this.#optee;
  }

  /** Takes the next piece of output; bytes or text may be cut anywhere, within a character too. */
  push(chunk: Uint8Array | string): void {
    const bytes =
      typeof chunk === "string"
        ? Buffer.from(chunk, "utf8")
        : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    // One character a byte: cheap to search, and no chunk border can break a character.
    const text = bytes.toString("latin1");
    let from = 0;
    let at = text.indexOf("\n");
    if (this.#carry !== "" || this.#overlong) {
      if (at === -1) {
        this.#keep(text, 0);
        return;
      }
      this.#keep(text.slice(0, at), 0);
      const line = this.#carry;
      const overlong = this.#overlong;
      this.#carry = "";
      this.#overlong = false;
      if (overlong) this.#overlongLine(line);
      else this.#line(line);
      from = at + 1;
      at = text.indexOf("\n", from);
    }
    while (at !== -1) {
      const length = at - from;
      if (length > MAX_LINE) this.#overlongLine(text.slice(from, from + MAX_LINE));
      else this.#line(text.slice(from, at));
      from = at + 1;
      at = text.indexOf("\n", from);
    }
    this.#keep(text, from);
  }

  /** The input is over: handles an unfinished line and closes the last run. */
  end(): void {
    if (this.#overlong) this.#overlongLine(this.#carry);
    else if (this.#carry !== "") this.#line(this.#carry);
    this.#carry = "";
    this.#overlong = false;
    const pending = this.#pending;
    this.#pending = "";
    if (pending !== "" && !this.#grammar(pending)) this.#other(pending);
    this.#run?.end("end of log");
    this.#run = undefined;
  }

  #keep(text: string, from: number): void {
    const room = MAX_LINE - this.#carry.length;
    const length = text.length - from;
    if (length > room) this.#overlong = true;
    if (room > 0 && length > 0) this.#carry += text.slice(from, from + Math.min(room, length));
  }

  /** Only what is known not to be a line of xtest gets here; it can still show a panic. */
  #overlongLine(line: string): void {
    this.#payload++;
    this.#noteEvidence(clean(line));
  }

  #line(raw: string): void {
    if (this.#pending === "") {
      if (raw.length <= 2) {
        // The blank line before each case.
        this.#payload++;
        return;
      }
      const known = this.#known.get(raw);
      if (known !== undefined) {
        this.#payload++;
        this.#result(known);
        return;
      }
    }
    const end = raw.charCodeAt(raw.length - 1) === CR ? raw.length - 1 : raw.length;
    const line = end === raw.length ? raw : raw.slice(0, end);
    if (this.#pending === "" && this.#grammar(line, raw)) {
      this.#payload++;
      return;
    }
    if (line.includes("\r")) {
      for (const part of line.split("\r")) if (part !== "") this.#slow(part);
      return;
    }
    this.#slow(line);
  }

  #slow(line: string): void {
    const text = isDirty(line) ? clean(line) : line;
    const foreign = foreignStart(text);
    if (foreign >= 0) {
      this.#noteVersion(text);
      this.#noteEvidence(text.slice(foreign));
      const head = text.slice(0, foreign);
      if (head !== "") {
        this.#payload++;
        this.#pending = (this.#pending + head).slice(0, MAX_PENDING);
      }
      return;
    }
    this.#payload++;
    const pending = this.#pending;
    this.#pending = "";
    if (pending === "") {
      if (text === line || !this.#grammar(text)) this.#other(text);
      return;
    }
    if (this.#grammar(pending + text)) return;
    if (this.#grammar(text)) {
      this.#other(pending);
      return;
    }
    this.#other(pending + text);
  }

  /**
   * Acts on a line that has the exact shape of one of xtest's; false where it has not. A result
   * line is remembered as `raw`, the form in which it came.
   */
  #grammar(line: string, raw?: string): boolean {
    const result = resultLine(line);
    if (result !== undefined) {
      if ("title" in result && !isPlain(result.title)) return false;
      this.#remember(raw, result);
      this.#result(result);
      return true;
    }
    const first = line.charCodeAt(0);
    if (first === HASH) return this.#hashLine(line);
    if (first === PLUS) return /^\+-{16,}$/.test(line);
    if (first >= 48 && first <= 57) return this.#totalsLine(line);
    return this.#wordLine(line, raw);
  }

  #remember(raw: string | undefined, line: ResultLine): void {
    if (raw !== undefined && this.#known.size < MAX_KNOWN) this.#known.set(flat(raw), line);
  }

  #result(line: ResultLine): void {
    if (line.kind === "listed" && this.#run === undefined) return;
    const tracker = this.#run ?? this.#headless();
    switch (line.kind) {
      case "subcase":
        tracker.startSubcase(line.id, line.parent, line.title);
        break;
      case "verdict":
        tracker.verdict(line.id, line.verdict);
        break;
      case "case":
        tracker.startCase(line.id, line.title);
        this.#filters = [];
        break;
      case "listed":
        // Outside the result list such a line is somebody's text.
        if (tracker.listing) tracker.listed(line.id, line.verdict, line.where);
        break;
      default:
        line satisfies never;
    }
  }

  #hashLine(line: string): boolean {
    if (/^#{20,}$/.test(line)) {
      this.#hashes = 1;
      return true;
    }
    if (line === "#") return true;
    const name = /^# ([A-Za-z][A-Za-z0-9_+]*)$/.exec(line)?.[1];
    if (name === undefined || this.#hashes !== 1) return false;
    this.#hashes = 0;
    (this.#run ?? this.#headless()).suite(flat(name));
    return true;
  }

  #totalsLine(line: string): boolean {
    const totals = totalsLine(line);
    if (totals === undefined) return false;
    const run = this.#run;
    // Totals without a run are somebody else's text.
    if (run === undefined) return true;
    if (totals.of === "subtests") run.subtests(totals.count, totals.failed);
    else if (totals.of === "cases") run.caseTotals(totals.count, totals.failed);
    else run.skippedTotal(totals.count);
    return true;
  }

  #wordLine(line: string, raw: string | undefined): boolean {
    if (isDirty(line)) return false;
    if (this.#run?.listing === true) {
      const listed = listedLine(line);
      if (listed !== undefined) {
        this.#remember(raw, listed);
        this.#result(listed);
        return true;
      }
    }
    if (line.startsWith("Test ID: ")) {
      const filter = line.slice(9);
      if (this.#filters.length < MAX_FILTERS) {
        if (filter.startsWith("-x ")) this.#filters.push("-x", filter.slice(3));
        else this.#filters.push(filter);
      }
      return true;
    }
    if (line.startsWith("Run test suite with level=")) return this.#openRun(line);
    if (line.startsWith("TEE test application ")) return this.#application(line);
    if (line.startsWith("Result of testsuite ")) {
      (this.#run ?? this.#headless()).startList();
      return true;
    }
    if (line.startsWith("Test suite aborted by ") || line === "Test suite was ABORTED") {
      if (this.#run !== undefined) this.#run.run.aborted = true;
      return true;
    }
    if (/^(?:Failed to open TEE context: 0x|Unko?nown test suite: )/.test(line)) {
      this.#run?.message(line);
      return true;
    }
    return false;
  }

  #openRun(line: string): boolean {
    const level = /^Run test suite with level=(\d{1,2})$/.exec(line)?.[1];
    if (level === undefined) return false;
    this.#startRun(this.#filters).level = Number(level);
    this.#filters = [];
    return true;
  }

  #application(line: string): boolean {
    if (line.startsWith("TEE test application started over ")) {
      const tracker = this.#run;
      if (tracker === undefined || tracker.begun) this.#headless();
      return true;
    }
    if (line !== "TEE test application done!") return false;
    const open = this.#run?.openCase;
    if (open !== undefined) this.#run?.violation(`the run says it is done while ${open.id} runs`);
    this.#run?.end("done");
    this.#run = undefined;
    return true;
  }

  #other(text: string): void {
    if (this.#noteEvidence(text)) return;
    const run = this.#run;
    if (run === undefined || run.openCase === undefined) return;
    const reason = skipReason(text);
    if (reason !== undefined) run.skip(utf8(reason));
    else run.text(text);
  }

  #noteVersion(text: string): void {
    const at = text.indexOf("OP-TEE version: ");
    if (at !== -1) this.#optee = /^v?\d+(?:\.\d+)+/.exec(text.slice(at + 16, at + 48))?.[0];
  }

  #noteEvidence(text: string): boolean {
    const run = this.#run;
    if (run === undefined) return false;
    const evidence = evidenceIn(text);
    if (evidence === undefined) return false;
    run.evidence(evidence);
    if (evidence.kind === "boot") {
      run.end("boot");
      this.#run = undefined;
      this.#pending = "";
    }
    return true;
  }

  /** A run whose opening lines were lost: it can be reported, it cannot be a pass. */
  #headless(): RunTracker {
    this.#startRun([]);
    const tracker = this.#run;
    if (tracker === undefined) throw new Error("a run was just started");
    tracker.violation("the lines that open the run are not legible");
    return tracker;
  }

  #startRun(filters: readonly string[]): ParsedRun {
    this.#run?.end("next run");
    this.#hashes = 0;
    const run = emptyRun(++this.#runs, filters);
    this.#run = new RunTracker(run, this.#emit);
    return run;
  }
}

/** No terminal control and no text of kernel or secure world in it. */
function isPlain(title: string): boolean {
  return !isDirty(title) && foreignStart(title) < 0;
}

/** A copy of its own: a slice would keep the whole chunk that it came from alive. */
function flat(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}
