import { deflateRawSync } from "node:zlib";
import {
  type BundleReader,
  type CaseResult,
  compareText,
  STATUSES,
  type SubcaseResult,
  type Timeline,
} from "../../harness/run/index.ts";
import { type ConsoleSlice, consoleSlices } from "../console-text.ts";
import { countStatuses } from "../verdict.ts";
import { a, chip, duration, e, figure, naturalCompare } from "./markup.ts";

/** Bytes of each console that the page holds for a case that passed, and for one that did not. */
const SLICE_PASSED = 32 * 1024;
const SLICE_OTHER = 128 * 1024;
/** Deflated bytes of console that the whole page holds. */
const SLICES_TOTAL = 24 * 1024 * 1024;
const QUIET = new Set(["pass", "skip", "xfail"]);

/** One line of the table: a case on every target. */
interface Row {
  readonly suite: string;
  readonly id: string;
  readonly title: string;
  readonly on: ReadonlyMap<string, CaseResult>;
}

/** The filters and the head of the case table. */
export function casesHead(cases: readonly CaseResult[], targets: readonly string[]): string {
  const counts = countStatuses(cases);
  const buttons = STATUSES.filter((s) => counts[s] > 0).map(
    (s) =>
      `<button type="button" class="status s-${s}" data-status="${s}" aria-pressed="false">${s} ${figure(counts[s])}</button>`,
  );
  const suites = [...new Set(cases.map((one) => one.suite))].toSorted(naturalCompare);
  const choices = suites.map((suite) => `<option value="${a(suite)}">${e(suite)}</option>`);
  const head = targets.map((target) => `<th scope="col">${e(target)}</th>`).join("");
  return (
    `<section id="cases"><h2>Cases</h2><div class="filters js-only" hidden role="search">` +
    `<input id="text" type="search" placeholder="Filter by id or title ( / )" aria-label="Filter by id or title">` +
    `<select id="suite" aria-label="Suite"><option value="">all suites</option>${choices.join("")}</select>` +
    `${buttons.join("")}<button type="button" id="all">Show all</button>` +
    `<span id="shown" class="soft" role="status"></span></div>` +
    `<noscript><p class="soft">Filters and console slices need JavaScript; the table is complete without.</p></noscript>` +
    `<p id="nothing" hidden>No case matches these filters.</p>` +
    `<div class="wide"><table class="cases"><thead><tr><th scope="col">Case</th>${head}</tr></thead>\n`
  );
}

/** Writes the rows, suite by suite, each followed by the deflated console slices that it refers to. */
export async function writeCases(
  reader: BundleReader,
  timeline: Timeline,
  targets: readonly string[],
  write: (text: string) => void,
): Promise<void> {
  let budget = SLICES_TOTAL;
  let slices = 0;
  let suite: string | undefined;
  let blocks: string[] = [];
  const keep = (slice: ConsoleSlice): string | undefined => {
    const data = deflateRawSync(Buffer.from(slice.text, "utf8"), { level: 9 });
    if (data.length > budget) return undefined;
    budget -= data.length;
    const id = `slice-${++slices}`;
    blocks.push(`<script type="text/plain" id="${id}">${data.toString("base64")}</script>\n`);
    return id;
  };
  for (const row of rowsOf(reader.results.cases)) {
    if (row.suite !== suite) {
      if (suite !== undefined) write("</tbody>\n");
      suite = row.suite;
      write(
        `<tbody class="suite"><tr><th scope="colgroup" colspan="${targets.length + 1}">${e(suite)}</th></tr>\n`,
      );
    }
    write(await rowMarkup(row, reader, timeline, targets, keep));
    for (const block of blocks) write(block);
    blocks = [];
  }
  if (suite !== undefined) write("</tbody>\n");
  write("</table></div></section>\n");
}

function rowsOf(cases: readonly CaseResult[]): Row[] {
  const rows = new Map<string, Row & { on: Map<string, CaseResult> }>();
  for (const one of cases) {
    const key = JSON.stringify([one.suite, one.id]);
    const row = rows.get(key) ?? { suite: one.suite, id: one.id, title: one.title, on: new Map() };
    row.on.set(one.target, one);
    rows.set(key, row);
  }
  return [...rows.values()].toSorted(
    (p, q) => compareText(p.suite, q.suite) || naturalCompare(p.id, q.id),
  );
}

async function rowMarkup(
  row: Row,
  reader: BundleReader,
  timeline: Timeline,
  targets: readonly string[],
  keep: (slice: ConsoleSlice) => string | undefined,
): Promise<string> {
  const statuses = [...new Set([...row.on.values()].map((one) => one.status))];
  const cells = targets.map((target) => {
    const one = row.on.get(target);
    if (one === undefined) return '<td class="result"><span class="chip none">not run</span></td>';
    const time = timeline.case(target, row.id);
    const took = time?.end === undefined ? "" : `<small>${duration(time.end - time.start)}</small>`;
    return `<td class="result">${chip(one.status)}${took}</td>`;
  });
  const details: string[] = [];
  for (const target of targets) {
    const one = row.on.get(target);
    if (one !== undefined) details.push(await detail(one, reader, timeline, keep));
  }
  const title = row.title === row.id ? "" : `<span class="title">${e(row.title)}</span>`;
  const search = `${row.id} ${row.title}`.toLowerCase();
  return (
    `<tr class="case" data-id="${a(row.id)}" data-suite="${a(row.suite)}" data-status="${statuses.join(" ")}" ` +
    `data-text="${a(search)}"><td class="id"><button type="button" aria-expanded="false">${e(row.id)}</button>` +
    `${title}<template><div class="per">${details.join("")}</div></template></td>${cells.join("")}</tr>\n`
  );
}

async function detail(
  one: CaseResult,
  reader: BundleReader,
  timeline: Timeline,
  keep: (slice: ConsoleSlice) => string | undefined,
): Promise<string> {
  const time = timeline.case(one.target, one.id);
  const max = QUIET.has(one.status) ? SLICE_PASSED : SLICE_OTHER;
  const slices = await consoleSlices(reader, time, max);
  const kind = one.infrastructure === true ? ' <span class="soft">(infrastructure)</span>' : "";
  const began = time === undefined ? "" : `, ${duration(time.start)} into the run`;
  const took =
    time?.end === undefined
      ? ""
      : ` <span class="soft">${duration(time.end - time.start)}${began}</span>`;
  const parts = [`<div><h3>${e(one.target)} ${chip(one.status)}${kind}${took}</h3>`];
  if (one.reason !== undefined) {
    parts.push(`<p class="reason s-${one.status}">${e(one.reason)}</p>`);
  }
  if (one.where !== undefined) parts.push(`<p>First error at <code>${e(one.where)}</code></p>`);
  if (one.clauses !== undefined && one.clauses.length > 0) {
    parts.push(`<p class="soft">Clauses: ${one.clauses.map(clauseLink).join(", ")}</p>`);
  }
  if (one.subcases !== undefined && one.subcases.length > 0) parts.push(subcases(one.subcases));
  for (const slice of slices) parts.push(consoleMarkup(slice, keep(slice)));
  if (slices.length === 0) {
    parts.push('<p class="soft">No console output belongs to this case.</p>');
  }
  parts.push("</div>");
  return parts.join("");
}

const clauseLink = (id: string): string => `<a href="#clause-${a(id)}">${e(id)}</a>`;

function consoleMarkup(slice: ConsoleSlice, id: string | undefined): string {
  const place = `<code>${e(slice.stream.file)}</code>, bytes ${figure(slice.from)} to ${figure(slice.to)}`;
  const cut = slice.omitted === 0 ? "" : ` · truncated, ${figure(slice.omitted)} bytes left out`;
  const head = `<h3>Console: ${e(slice.stream.name)} <small>${place}${cut}</small></h3>`;
  return id === undefined
    ? `${head}<p class="soft">Not embedded: this page holds as much console as it may. See the file.</p>`
    : `${head}<pre data-slice="${id}" tabindex="0">…</pre>`;
}

const SUBCASES_SHOWN = 500;

function subcases(list: readonly SubcaseResult[]): string {
  const rows = list.slice(0, SUBCASES_SHOWN).map((sub) => {
    const reason = sub.reason === undefined ? "" : ` <span class="soft">${e(sub.reason)}</span>`;
    return `<tr><td>${chip(sub.status)}</td><td>${e(sub.id)}</td><td>${e(sub.title ?? "")}${reason}</td></tr>`;
  });
  const more = list.length - rows.length;
  const rest = more > 0 ? `<p class="soft">and ${more} more in results.json</p>` : "";
  const open = list.some((sub) => !QUIET.has(sub.status)) ? " open" : "";
  return `<details${open}><summary>${list.length} subcases</summary><table>${rows.join("")}</table>${rest}</details>`;
}
