import type { Status } from "../../harness/run/index.ts";
import { STATUSES } from "../../harness/run/index.ts";
import type { StatusCounts } from "../verdict.ts";
import { escapeAttribute, escapeMarkup } from "../text.ts";

export const e = escapeMarkup;
export const a = escapeAttribute;

/** `12.3 ms`, `4.21 s`, `4 min 18 s`, `1 h 02 min`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** `39,397`. */
export function figure(value: number): string {
  return String(value).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");
}

/** Runs that need attention stand out: their chip is filled. */
const FILLED: ReadonlySet<Status> = new Set(["fail", "error", "crash", "timeout", "xpass", "miss"]);

export function chip(status: Status): string {
  return `<span class="chip s-${status}${FILLED.has(status) ? " solid" : ""}">${status}</span>`;
}

/** A bar whose parts are proportional to the counts. */
export function countBar(counts: StatusCounts): string {
  const parts = STATUSES.filter((s) => counts[s] > 0).map(
    (s) => `<i class="s-${s}" style="flex:${counts[s]}" title="${counts[s]} ${s}"></i>`,
  );
  return `<div class="bar" aria-hidden="true">${parts.join("")}</div>`;
}

/** Ids in the order that people count: `1002` before `1010`, whatever the number of digits. */
export function naturalCompare(left: string, right: string): number {
  const [x, y] = [left.split(/(\d+)/), right.split(/(\d+)/)];
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const [p, q] = [x[i] ?? "", y[i] ?? ""];
    if (p === q) continue;
    if (i % 2 === 0) return p < q ? -1 : 1;
    return Number(p) - Number(q) || p.length - q.length;
  }
  return x.length - y.length;
}
