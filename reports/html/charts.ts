import type { CaseResult, StageTime, Timeline } from "../../harness/run/index.ts";
import { STATUSES } from "../../harness/run/index.ts";
import { duration, e } from "./markup.ts";

const WIDTH = 1180;
const LEFT = 130;
const LANE = 26;

interface Bar {
  readonly x: number;
  readonly width: number;
  readonly css: string;
  readonly title: string;
}

/** When what ran: boot stages and cases of each target on one time axis, and the longest cases. */
export function timingSection(cases: readonly CaseResult[], timeline: Timeline): string {
  const targets = [
    ...new Set([...timeline.stages.map((one) => one.target), ...cases.map((one) => one.target)]),
  ].toSorted();
  const end = Math.max(1, timeline.length);
  const scale = (t: number): number => LEFT + (t / end) * (WIDTH - LEFT - 10);
  const lanes: string[] = [];
  let y = 8;
  for (const target of targets) {
    const stages = timeline.stages.filter((one) => one.target === target);
    const bars = caseBars(cases, target, timeline, scale);
    if (stages.length === 0 && bars.length === 0) continue;
    lanes.push(`<text class="label" x="0" y="${y + 16}">${e(target)}</text>`);
    if (stages.length > 0) {
      lanes.push(...stages.map((stage) => stageBar(stage, end, scale, y)));
      y += LANE;
    }
    if (bars.length > 0) {
      lanes.push(`<text x="${LEFT - 8}" y="${y + 16}" text-anchor="end">cases</text>`);
      for (const bar of bars) lanes.push(rectangle(bar, y));
      y += LANE;
    }
    y += 8;
  }
  if (lanes.length === 0) return "";
  const axis = ticks(end).map((t) => {
    const x = scale(t).toFixed(1);
    return (
      `<line class="axis" x1="${x}" x2="${x}" y1="4" y2="${y}"/>` +
      `<text x="${x}" y="${y + 16}" text-anchor="middle">${clock(t, end)}</text>`
    );
  });
  const used = STATUSES.filter((s) => cases.some((one) => one.status === s));
  const legend = used.map((s) => `<span class="s-${s}">${s}</span>`).join("");
  return (
    `<section id="timing"><h2>Timing</h2><svg viewBox="0 0 ${WIDTH} ${y + 24}" role="img" ` +
    `aria-label="Boot stages and cases over the ${e(duration(end))} of the run">` +
    `${axis.join("")}${lanes.join("")}</svg>` +
    `<div class="legend"><span>boot stage</span>${legend}</div>${bootStages(timeline)}${longestCases(cases, timeline)}</section>`
  );
}

function stageBar(stage: StageTime, end: number, scale: (t: number) => number, y: number): string {
  const x = scale(stage.start);
  const width = Math.max(1, scale(stage.end ?? end) - x);
  const took = stage.end === undefined ? "did not end" : duration(stage.end - stage.start);
  const remark = stage.remark === undefined ? "" : `: ${stage.remark}`;
  const name = width > stage.stage.length * 7 ? stage.stage : "";
  return (
    `<rect class="stage${stage.ok === false ? " bad" : ""}" x="${x.toFixed(1)}" y="${y + 2}" ` +
    `width="${width.toFixed(1)}" height="18" rx="2"><title>${e(`${stage.stage}: ${took}${remark}`)}</title></rect>` +
    (name === ""
      ? ""
      : `<text class="label" x="${(x + 4).toFixed(1)}" y="${y + 15}">${e(name)}</text>`)
  );
}

/** Bars of a target's cases; what would be thinner than a third of a pixel joins its neighbour. */
function caseBars(
  cases: readonly CaseResult[],
  target: string,
  timeline: Timeline,
  scale: (t: number) => number,
): Bar[] {
  const timed = cases
    .filter((one) => one.target === target)
    .map((one) => ({ one, time: timeline.case(target, one.id) }))
    .flatMap(({ one, time }) => (time === undefined ? [] : [{ one, time }]))
    .toSorted((p, q) => p.time.start - q.time.start);
  const bars: Bar[] = [];
  for (const { one, time } of timed) {
    const x = scale(time.start);
    const width = Math.max(0.3, scale(time.end ?? timeline.length) - x);
    const last = bars.at(-1);
    if (
      last !== undefined &&
      width <= 0.3 &&
      last.css === one.status &&
      x - last.x - last.width < 0.3
    ) {
      bars[bars.length - 1] = { ...last, width: x + width - last.x, title: "several short cases" };
      continue;
    }
    const took = time.end === undefined ? "did not end" : duration(time.end - time.start);
    bars.push({ x, width, css: one.status, title: `${one.id}: ${one.status}, ${took}` });
  }
  return bars;
}

function rectangle(bar: Bar, y: number): string {
  return (
    `<rect class="s-${bar.css}" x="${bar.x.toFixed(1)}" y="${y + 2}" width="${Math.max(0.3, bar.width - 0.3).toFixed(2)}" ` +
    `height="18"><title>${e(bar.title)}</title></rect>`
  );
}

/** A mark on the axis: minutes and seconds, or in a short run the plain duration. */
function clock(t: number, end: number): string {
  if (t === 0) return "0";
  if (end < 60_000) return duration(t).replace(/\.0+ /, " ");
  const seconds = Math.round(t / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** About eight round marks from 0 to `end` milliseconds. */
function ticks(end: number): number[] {
  const rough = end / 8;
  const steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000];
  const large = [60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000];
  const step =
    [...steps, ...large].find((one) => one >= rough) ?? Math.ceil(rough / 3_600_000) * 3_600_000;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

const LONGEST = 10;
const STAGES_SHOWN = 24;
/** Characters that fit beside the bars. */
const LABEL = 44;
const CHART_LEFT = 310;
const CHART_BAR = 680;

function longestCases(cases: readonly CaseResult[], timeline: Timeline): string {
  const timed = cases
    .flatMap((one) => {
      const time = timeline.case(one.target, one.id);
      return time?.end === undefined ? [] : [{ one, ms: time.end - time.start }];
    })
    .toSorted((p, q) => q.ms - p.ms)
    .slice(0, LONGEST);
  if (timed.length < 2) return "";
  const bars = timed.map(({ one, ms }) => ({
    name: one.id,
    css: `s-${one.status}`,
    ms,
    remark: one.target,
  }));
  return `<h3>Longest cases</h3>${barChart(bars, "The longest cases")}`;
}

function bootStages(timeline: Timeline): string {
  const stages = timeline.stages.slice(0, STAGES_SHOWN);
  if (stages.length === 0) return "";
  const bars = stages.map(({ target, stage, start, end, ok, remark }) => ({
    name: `${target} · ${stage}`,
    css: ok === false ? "stage bad" : "stage",
    ms: (end ?? timeline.length) - start,
    remark:
      end === undefined ? "did not end" : ok === false ? `failed ${remark ?? ""}` : (remark ?? ""),
  }));
  const more = timeline.stages.length - stages.length;
  const rest = more > 0 ? `<p class="soft">and ${more} more in events.jsonl</p>` : "";
  return `<h3>Boot stages</h3>${barChart(bars, "Boot stages")}${rest}`;
}

function barChart(
  bars: readonly { name: string; css: string; ms: number; remark: string }[],
  label: string,
): string {
  const unit = CHART_BAR / Math.max(1, ...bars.map((bar) => bar.ms));
  const rows = bars.map(({ name, css, ms, remark }, i) => {
    const y = i * 22;
    const end = CHART_LEFT + ms * unit;
    const note = remark === "" ? duration(ms) : `${duration(ms)} · ${remark.slice(0, 30)}`;
    return (
      `<text class="label" x="${CHART_LEFT - 10}" y="${y + 15}" text-anchor="end">${e(name.length > LABEL ? `${name.slice(0, LABEL - 1)}…` : name)}</text>` +
      `<rect class="${css}" x="${CHART_LEFT}" y="${y + 3}" width="${Math.max(1, ms * unit).toFixed(1)}" height="15" rx="2"/>` +
      `<text x="${(end + 6).toFixed(1)}" y="${y + 15}">${e(note)}</text>`
    );
  });
  return (
    `<svg viewBox="0 0 ${WIDTH} ${bars.length * 22 + 4}" role="img" aria-label="${label}">` +
    `${rows.join("")}</svg>`
  );
}
