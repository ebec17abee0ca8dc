import { dumpRuns } from "./dump-runs.ts";
import { WINDOW_BYTES, type KnownSecrets } from "./known-secrets.ts";
import { isPublished } from "./published-keys.ts";

/** Characters `from` (inclusive) to `to` (exclusive) of a line that must not be kept. */
export interface Span {
  readonly from: number;
  readonly to: number;
  readonly reason: string;
}

const KEY_BYTES = 32;
/** Lines after the announcement of a dump that are searched: other cores print in between. */
const DUMP_LINES = 12;
/** Fewest bytes in a row that are masked while a dump is awaited: a torn line leaves such pieces. */
const PIECE_BYTES = 4;
/** Fewest bytes in a row that are counted as a part of the dump, so that a MAC address is not. */
const COUNTED_BYTES = 8;

const WRITTEN_KEY = "RPMB key dump";
/** OP-TEE, level 3, CFG_RPMB_WRITE_KEY: the key, announced and then dumped by the same function. */
const KEY_DUMP = /Writing Key value|rpmb_write_and_verify_key/i;
/** OP-TEE with CFG_RPMB_FS_DEBUG_DATA: a frame from offset 196, which is the key or the MAC. */
const FRAME_DUMP = /Dumping data frame/i;
/** Words that name a key, up to 60 characters before its digits. */
const LABEL = /(?:\b(?:rpmb|auth\w*|hardware unique|hw unique)\b[^\n]{0,40}?\bkey\b|\bhuk\b)/gi;
const PAIR_RUN = /(?<![0-9a-f])[0-9a-f]{2}(?:[ :-]{1,2}[0-9a-f]{2})+(?![0-9a-f])/gi;
/** What stands right before a key of 32 bytes; public keys are none of ours. */
const BARE_LABEL = /(?<!public )\bkey\b ?[:=]? ?$/i;
/** How a line may end in the middle of a dump. */
const OPEN_DUMP = /[0-9a-f]{2}(?:[ :,-]{0,3}(?:0?x|\\x?)?[0-9a-f]{0,16}|\d?, ?\d{0,3})$/i;
const DIGIT_RUN = /(?<![0-9a-f])(?:0x)?([0-9a-f]{64}|[0-9a-f]{32})(?![0-9a-f])/gi;

/** Recognises key material line by line, remembering an announced dump from line to line. */
export class LineScanner {
  readonly #known: KnownSecrets;
  /** Whether the line is taken for good, so that what it shows may be remembered. */
  #peeking = false;
  #wanted = 0;
  #linesLeft = 0;
  #seen = "";
  #reason = "";

  constructor(known: KnownSecrets) {
    this.#known = known;
  }

  /** Whether a dump was announced and has not yet been seen in full. */
  get watching(): boolean {
    return this.#wanted > 0;
  }

  /** Whether an unfinished line may yet turn out to hold key material, so it must be waited for. */
  mayGrow(line: string): boolean {
    if (this.watching) return true;
    if (/key|huk|dump/i.test(line)) return true;
    return this.#known.windows.size > 0 && OPEN_DUMP.test(line);
  }

  /** Key material in a finished line. Call once for each line, in order. */
  scan(line: string): Span[] {
    if (KEY_DUMP.test(line)) this.#announce(WRITTEN_KEY);
    else if (FRAME_DUMP.test(line)) this.#announce("key or MAC field of an RPMB frame dump");
    const spans = [...this.#labelled(line), ...this.#windows(line)];
    if (this.watching) {
      spans.push(...this.#dumped(line));
      this.#linesLeft -= 1;
      if (this.#linesLeft <= 0) this.#wanted = 0;
    }
    return spans;
  }

  /** Key material in a line that has not ended yet; remembers nothing. */
  peek(line: string): Span[] {
    const [wanted, linesLeft, seen, reason] = [
      this.#wanted,
      this.#linesLeft,
      this.#seen,
      this.#reason,
    ];
    this.#peeking = true;
    const spans = this.scan(line);
    this.#peeking = false;
    this.#wanted = wanted;
    this.#linesLeft = linesLeft;
    this.#seen = seen;
    this.#reason = reason;
    return spans;
  }

  #learn(key: string): void {
    if (!this.#peeking) this.#known.learn(key);
  }

  #announce(reason: string): void {
    // The announcing function's name stands on every line of its dump: announced once is enough.
    if (this.watching && this.#reason === reason) return;
    this.#wanted = KEY_BYTES;
    this.#linesLeft = DUMP_LINES;
    this.#seen = "";
    this.#reason = reason;
  }

  #dumped(line: string): Span[] {
    const spans: Span[] = [];
    for (const run of line.matchAll(PAIR_RUN)) {
      if (this.#wanted === 0) break;
      const pairs = [...run[0].matchAll(/[0-9a-f]{2}/gi)].slice(0, this.#wanted);
      const last = pairs.at(-1);
      if (last === undefined || pairs.length < Math.min(PIECE_BYTES, this.#wanted)) continue;
      if (pairs.length >= Math.min(COUNTED_BYTES, this.#wanted)) {
        this.#seen += pairs.map((pair) => pair[0].toLowerCase()).join("");
        this.#wanted -= pairs.length;
        if (this.#wanted === 0 && this.#reason === WRITTEN_KEY) this.#learn(this.#seen);
        if (isPublished(this.#seen)) continue;
      }
      spans.push({ from: run.index, to: run.index + last.index + 2, reason: this.#reason });
    }
    return spans;
  }

  #labelled(line: string): Span[] {
    if (!/key|huk/i.test(line)) return [];
    const labels = [...line.matchAll(LABEL)].map((match) => match.index + match[0].length);
    const near = (at: number): boolean => labels.some((end) => at >= end && at - end <= 60);
    const spans: Span[] = [];
    for (const run of line.matchAll(DIGIT_RUN)) {
      const digits = (run[1] ?? "").toLowerCase();
      const named = digits.length === KEY_BYTES * 2 && BARE_LABEL.test(line.slice(0, run.index));
      if ((!named && !near(run.index)) || isPublished(digits)) continue;
      if (digits.length === KEY_BYTES * 2) this.#learn(digits);
      spans.push({ from: run.index, to: run.index + run[0].length, reason: "labelled key" });
    }
    for (const run of line.matchAll(PAIR_RUN)) {
      const hex = run[0].replaceAll(/[^0-9a-f]/gi, "").toLowerCase();
      if (hex.length < KEY_BYTES || !near(run.index) || isPublished(hex)) continue;
      spans.push({ from: run.index, to: run.index + run[0].length, reason: "labelled key" });
    }
    return spans;
  }

  /** Parts of registered keys in a dump, whatever the line says about itself. */
  #windows(line: string): Span[] {
    const windows = this.#known.windows;
    if (windows.size === 0) return [];
    const spans: Span[] = [];
    for (const { bytes, tokens, tokenOf } of dumpRuns(line)) {
      for (let at = 0; at + WINDOW_BYTES * 2 <= bytes.length; at += 2) {
        if (!windows.has(bytes.slice(at, at + WINDOW_BYTES * 2))) continue;
        const first = tokens[tokenOf(at / 2)];
        const last = tokens[tokenOf(at / 2 + WINDOW_BYTES - 1)];
        if (first === undefined || last === undefined) continue;
        spans.push({ from: first.from, to: last.to, reason: "known key in a dump" });
      }
    }
    return spans;
  }
}
