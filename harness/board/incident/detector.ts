import type { ConsoleLine } from "../console/console.ts";
import type { Incident } from "../live.ts";
import { isTyped } from "../shell/script.ts";
import { BANNERS, CRASHES, NEW_LOGIN, SUSPICIOUS } from "./patterns.ts";

/** What the board is doing, as far as it decides what a line means. */
export type Phase =
  /** Off, or nobody knows: nothing is an incident. */
  | "idle"
  /** As idle, until a boot banner shows that the board is booting. */
  | "rebooting"
  /** Banners are expected, each once. */
  | "booting"
  /** At the boot loader's prompt or in Linux: any banner is a reset. */
  | "up";

/** Judges every finished line of every console. Reports each kind of incident once a boot. */
export class IncidentDetector {
  readonly #report: (incident: Incident) => void;
  readonly #seen = new Set<string>();
  #phase: Phase = "idle";
  /** A console whose output is a command's own: old log lines there are not news. */
  #quoting: string | undefined;

  constructor(report: (incident: Incident) => void) {
    this.#report = report;
  }

  get phase(): Phase {
    return this.#phase;
  }

  enter(phase: Phase): void {
    if (phase !== "up") this.#seen.clear();
    this.#phase = phase;
  }

  /** While a command prints on `console`, a `Booting Linux` there may come out of a log. */
  quoting(console: string | undefined): void {
    this.#quoting = console;
  }

  line({ stream, text }: ConsoleLine): void {
    if (this.#phase === "idle" || !SUSPICIOUS.test(text) || isTyped(text)) return;
    if (this.#phase === "rebooting") {
      if (!BANNERS.some(({ pattern }) => pattern.test(text))) return;
      this.#phase = "booting";
    }
    for (const { kind, what, pattern } of CRASHES) {
      if (pattern.test(text)) {
        this.#once({ kind, what, stream, line: text });
        return;
      }
    }
    for (const { what, pattern } of BANNERS) {
      if (pattern.test(text)) {
        this.#banner(what, stream, text);
        return;
      }
    }
    if (this.#phase === "up" && this.#quoting !== stream && NEW_LOGIN.test(text)) {
      this.#once({ kind: "lost", what: "the login was lost", stream, line: text });
    }
  }

  #banner(what: string, stream: string, line: string): void {
    if (what === "Linux" && this.#quoting === stream) return;
    if (this.#phase === "booting") {
      // TF-A announces itself with two lines, and each stage of it may do so on its own console.
      const key = `banner ${what} ${line}`;
      if (!this.#seen.has(key)) {
        this.#seen.add(key);
        return;
      }
    }
    this.#once({ kind: "crash", what: `unexpected boot banner of ${what}`, stream, line });
  }

  #once(incident: Incident): void {
    if (this.#seen.has(incident.what)) return;
    this.#seen.add(incident.what);
    this.#report(incident);
  }
}
