import type { Clock, Progress } from "../base/index.ts";
import { printable, type Style } from "./style.ts";

/** A progress display that shares its terminal with other output. */
export interface CliProgress extends Progress {
  /** Runs `write` with the display out of the way. */
  aside(write: () => void): void;
  /** Takes the display away for good. */
  end(): void;
}

export interface ProgressOptions {
  /** Writes to stderr. */
  readonly write: (text: string) => void;
  readonly clock: Clock;
  readonly style: Style;
  /** Columns of the terminal, asked for at every drawing. */
  readonly columns: () => number;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** Milliseconds for people: `0.4 s`, `5.3 s`, `42 s`, `3:07`, `1:02:09`. */
export function formatElapsed(ms: number): string {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

const oneLine = (text: string): string => printable(text, "").trim();

/** Counted work, and what is known of its pace. */
class Count {
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #first: number;
  done: number;
  total: number;
  label: string;

  constructor(clock: Clock, done: number, total: number, label: string) {
    this.#clock = clock;
    this.#startedAt = clock.monotonicMs();
    this.#first = done;
    this.done = done;
    this.total = total;
    this.label = label;
  }

  /** `1:40 left`, or nothing before the first item is done. */
  left(): string {
    const worked = this.done - this.#first;
    if (worked <= 0 || this.done >= this.total) return "";
    const elapsed = this.#clock.monotonicMs() - this.#startedAt;
    return `${formatElapsed((elapsed / worked) * (this.total - this.done))} left`;
  }
}

/** Plain lines: for files, pipes and dumb terminals. Counts appear at every tenth of the work. */
export function plainProgress(options: ProgressOptions): CliProgress {
  const { clock, style } = options;
  const line = (text: string): void => options.write(`${text}\n`);
  let count: Count | undefined;
  let tenth = 0;
  return {
    stage(title) {
      const startedAt = clock.monotonicMs();
      const name = oneLine(title);
      const end = (word: string, remark: string | undefined): void => {
        const tail = remark === undefined ? "" : `: ${oneLine(remark)}`;
        line(`${name}: ${word} after ${formatElapsed(clock.monotonicMs() - startedAt)}${tail}`);
      };
      line(`${name} ...`);
      return {
        done: (remark) => end("done", remark),
        failed: (remark) => end(style.red("failed"), remark),
      };
    },
    note: (text) => line(printable(text)),
    warn: (text) => line(`${style.yellow("warning:")} ${printable(text)}`),
    count(done, total, label) {
      if (count === undefined || done < count.done || total !== count.total) {
        count = new Count(clock, done, total, label);
        tenth = 0;
      }
      count.done = done;
      const now = total === 0 ? 0 : Math.floor((done * 10) / total);
      if (now <= tenth) return;
      tenth = now;
      const left = count.left();
      line(`${done}/${total} ${oneLine(label)}${left === "" ? "" : `, ${left}`}`);
    },
    aside: (write) => write(),
    end: () => {},
  };
}

const REDRAW_MS = 200;
const BAR_CELLS = 24;
const CLEAR_LINE = "\r\u001B[2K";

/** A live last line on a terminal: the running stage with its time, or a bar over counted work. */
export function terminalProgress(options: ProgressOptions): CliProgress {
  const { clock, style } = options;
  const running: { readonly name: string; readonly startedAt: number }[] = [];
  let count: Count | undefined;
  let shown = false;
  let timer: NodeJS.Timeout | undefined;

  const text = (): string => {
    const stage = running.at(-1);
    const elapsed = stage === undefined ? "" : formatElapsed(clock.monotonicMs() - stage.startedAt);
    if (count === undefined) return stage === undefined ? "" : `${stage.name}  ${elapsed}`;
    const share = count.total === 0 ? 0 : Math.min(1, count.done / count.total);
    const cells = Math.round(share * BAR_CELLS);
    const bar = `[${"#".repeat(cells)}${"-".repeat(BAR_CELLS - cells)}]`;
    const times = [elapsed, count.left()].filter((part) => part !== "").join(", ");
    return `${bar} ${count.done}/${count.total}  ${times}  ${count.label}`;
  };
  const clear = (): void => {
    if (shown) options.write(CLEAR_LINE);
    shown = false;
  };
  const draw = (): void => {
    const line = text();
    if (line === "") {
      clear();
      clearInterval(timer);
      timer = undefined;
      return;
    }
    timer ??= setInterval(draw, REDRAW_MS).unref();
    const room = Math.max(10, options.columns() - 1);
    options.write(`${CLEAR_LINE}${line.slice(0, room)}`);
    shown = true;
  };
  const aside = (write: () => void): void => {
    clear();
    write();
    draw();
  };
  const print = (line: string): void => aside(() => options.write(`${line}\n`));

  return {
    stage(title) {
      const stage = { name: oneLine(title), startedAt: clock.monotonicMs() };
      running.push(stage);
      draw();
      const end = (mark: string, remark: string | undefined): void => {
        const at = running.indexOf(stage);
        if (at < 0) return;
        running.splice(at, 1);
        if (running.length === 0) count = undefined;
        const took = formatElapsed(clock.monotonicMs() - stage.startedAt);
        const tail = remark === undefined ? "" : `  ${style.dim(oneLine(remark))}`;
        print(`${mark} ${stage.name}  ${took}${tail}`);
      };
      return {
        done: (remark) => end(style.green("ok    "), remark),
        failed: (remark) => end(style.red("failed"), remark),
      };
    },
    note: (note) => print(printable(note)),
    warn: (warning) => print(`${style.yellow("warning:")} ${printable(warning)}`),
    count(done, total, label) {
      if (count === undefined || done < count.done || total !== count.total) {
        count = new Count(clock, done, total, label);
      }
      count.done = done;
      count.label = oneLine(label);
      if (done >= total) count = undefined;
      draw();
    },
    aside,
    end: () => {
      running.length = 0;
      count = undefined;
      draw();
    },
  };
}
