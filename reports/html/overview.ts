import type { BundleReader, CaseResult, FactsSheet, Timeline } from "../../harness/run/index.ts";
import { STATUSES } from "../../harness/run/index.ts";
import { bySuite } from "../group.ts";
import { countStatuses, describeCounts, verdictOf } from "../verdict.ts";
import { counterText } from "../storage.ts";
import { describeTotals } from "../totals.ts";
import { a, chip, countBar, duration, e, figure, naturalCompare } from "./markup.ts";

/** The verdict, first thing on the page: one word, one sentence, one card a target, and what run this was. */
export function verdictSection(reader: BundleReader, timeline: Timeline): string {
  const { info, results } = reader;
  const verdict = verdictOf(info, results);
  const targets = [...new Set(results.cases.map((one) => one.target))];
  const cards = targets.map((target) => {
    const cases = results.cases.filter((one) => one.target === target);
    const counts = countStatuses(cases);
    const sheet = info.facts.find((one) => one.board === target);
    const kind = sheet === undefined ? "" : ` <span class="soft">${e(sheet.platform)}</span>`;
    return (
      `<div class="target"><b>${e(target)}</b>${kind}` +
      `<div><span class="figure">${figure(counts.pass)}</span> of ${figure(cases.length)} passed</div>` +
      `${countBar(counts)}<small>${e(describeCounts(counts))}</small></div>`
    );
  });
  const problems = info.problems.map((text) => `<li>${e(text)}</li>`).join("");
  return (
    `<section id="verdict" class="verdict tone-${verdict.tone}"><h1>${e(verdict.word)}</h1>` +
    `<p class="lead">${e(verdict.sentence)}</p>` +
    `<div class="targets">${cards.join("")}</div>` +
    (problems === "" ? "" : `<div class="attention"><ul>${problems}</ul></div>`) +
    `<dl class="meta">${meta("Run", info.id)}${meta("Started", utc(info.startedAt))}` +
    meta("Took", duration(timeline.length)) +
    meta("Command", info.command.join(" ")) +
    meta("Seed", String(info.seed)) +
    meta("Made with", `lockstep ${info.lockstep} on Node.js ${info.node.replace(/^v/, "")}`) +
    meta(
      "Exit code",
      info.exitCode === undefined ? "none: the run did not end" : `${verdict.exitCode}`,
    ) +
    "</dl></section>"
  );
}

function meta(name: string, value: string): string {
  const css = value.length > 40 ? ' class="long"' : "";
  return `<div${css}><dt>${e(name)}</dt><dd>${e(value)}</dd></div>`;
}

function utc(iso: string): string {
  return iso.replace("T", " ").replace(/(?:\.\d+)?Z$/, " UTC");
}

const QUIET = new Set(["pass", "skip", "xfail"]);
const ATTENTION_SHOWN = 200;

/**
 * Everything that did not pass, with its reason and a link to its row; what ended the same way for
 * the same reason stands together. Empty when there is none.
 */
export function attentionSection(reader: Pick<BundleReader, "results">): string {
  const bad = reader.results.cases.filter((one) => !QUIET.has(one.status));
  if (bad.length === 0) return "";
  const groups = new Map<string, CaseResult[]>();
  for (const one of bad.slice(0, ATTENTION_SHOWN)) {
    const { target, status, reason, where, infrastructure } = one;
    const key = JSON.stringify([target, status, reason, where, infrastructure]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  const items = [...groups.values()].map((list) => attentionItem(list));
  const more = bad.length - ATTENTION_SHOWN;
  const rest = more > 0 ? `<p>and ${more} more in the table below</p>` : "";
  return `<section id="attention" class="attention"><h2>Needs attention</h2><ul>${items.join("")}</ul>${rest}</section>`;
}

function attentionItem(list: readonly CaseResult[]): string {
  const [one] = list;
  if (one === undefined) return "";
  const where = one.where === undefined ? "" : ` <code>${e(one.where)}</code>`;
  const links = list.map(({ id }) => {
    const link = `#case=${encodeURIComponent(id)}`;
    return `<a href="${a(link)}"><b>${e(id)}</b></a>`;
  });
  const times = list.length === 1 ? "" : ` ${list.length} ×`;
  return (
    `<li>${chip(one.status)}${times} ${links.join(", ")} on ${e(one.target)}${one.infrastructure === true ? " · infrastructure" : ""}` +
    `${where}<div class="reason s-${one.status}">${e((one.reason ?? "").slice(0, 1000))}</div></li>`
  );
}

/** Counts for each target and suite, and what xtest's runs came to as a whole. */
export function totalsSection(reader: BundleReader, timeline: Timeline): string {
  const used = STATUSES.filter((s) => reader.results.cases.some((one) => one.status === s));
  const head = used.map((s) => `<th class="num" scope="col">${s}</th>`).join("");
  const rows = bySuite(reader.results).map(({ target, suite, cases }) => {
    const counts = countStatuses(cases);
    const cells = used.map(
      (s) => `<td class="num">${counts[s] === 0 ? "" : figure(counts[s])}</td>`,
    );
    return (
      `<tr><th scope="row">${e(target)}</th><td>${e(suite)}</td><td class="num">${figure(cases.length)}</td>` +
      `${cells.join("")}<td style="width:30%">${countBar(counts)}</td></tr>`
    );
  });
  const printed = timeline.totals.map((one) => {
    return `<p>${e(one.suite)} on ${e(one.target)}: ${e(describeTotals(one))}.</p>`;
  });
  return (
    `<section id="totals"><h2>Totals</h2><div class="wide"><table><thead><tr><th scope="col">Target</th>` +
    `<th scope="col">Suite</th><th class="num" scope="col">cases</th>${head}<th></th></tr></thead>` +
    `<tbody>${rows.join("")}</tbody></table></div>${printed.join("")}</section>`
  );
}

/** What exactly was on each board, side by side. */
export function factsSection(sheets: readonly FactsSheet[]): string {
  if (sheets.length === 0) return "";
  const head = sheets.map((sheet) => `<th scope="col">${e(sheet.board)}</th>`).join("");
  const plain: [string, (sheet: FactsSheet) => string | undefined][] = [
    ["Board type", (sheet) => sheet.boardType],
    ["Platform", (sheet) => sheet.platform],
    ["HAB (secure boot)", (sheet) => sheet.hab],
    ["HUK", (sheet) => sheet.huk],
    ["RPMB", (sheet) => sheet.rpmb],
    ["RPMB: how that is known", (sheet) => sheet.rpmbEvidence?.how.join("; ")],
    ["RPMB write counter", (sheet) => counterText(sheet.rpmbEvidence)],
  ];
  const rows = [
    ...plain,
    ...listed(sheets, "versions", (key) => key),
    ...listed(sheets, "machine", (key) => `Machine: ${key}`),
  ];
  const factTable = (entries: readonly (typeof plain)[number][]): string =>
    `<div class="wide"><table class="facts"><thead><tr><th></th>${head}</tr></thead><tbody>` +
    entries.map(([name, of]) => factRow(name, sheets.map(of))).join("") +
    "</tbody></table></div>";
  const folded = (title: string, entries: readonly (typeof plain)[number][]): string =>
    entries.length === 0
      ? ""
      : `<details><summary>${title} (${entries.length})</summary>${factTable(entries)}</details>`;
  return (
    `<section id="facts"><h2>What was tested</h2>${factTable(rows)}` +
    folded(
      "Images booted, SHA-256",
      listed(sheets, "images", (key) => key),
    ) +
    folded(
      "Packages in the image",
      listed(sheets, "packages", (key) => key),
    ) +
    "</section>"
  );
}

function listed(
  sheets: readonly FactsSheet[],
  field: "versions" | "machine" | "images" | "packages",
  title: (key: string) => string,
): [string, (sheet: FactsSheet) => string | undefined][] {
  const keys = [...new Set(sheets.flatMap((sheet) => Object.keys(sheet[field])))];
  return keys
    .toSorted(naturalCompare)
    .map((key) => [
      title(key),
      (sheet) => (Object.hasOwn(sheet[field], key) ? sheet[field][key] : undefined),
    ]);
}

function factRow(name: string, values: readonly (string | undefined)[]): string {
  const cells = values.map((value) =>
    value === undefined
      ? '<td class="soft">–</td>'
      : `<td${/^[0-9a-f]{40,}$/.test(value) ? ' class="mono"' : ""}>${e(value)}</td>`,
  );
  return `<tr><th scope="row">${e(name)}</th>${cells.join("")}</tr>`;
}

/** Files of the bundle with sizes and hashes, what was masked, and what went wrong on the way. */
export function evidenceSection(reader: BundleReader, timeline: Timeline): string {
  const { info } = reader;
  const files = Object.entries(info.files ?? {}).map(
    ([name, { bytes, sha256 }]) =>
      `<tr><td class="mono">${e(name)}</td><td class="num">${figure(bytes)}</td><td class="mono">${e(sha256)}</td></tr>`,
  );
  const redactions = info.redactions
    .slice(0, ATTENTION_SHOWN)
    .map(
      (one) =>
        `<tr><td class="mono">${e(one.file)}</td><td class="num">${figure(one.offset)}</td>` +
        `<td class="num">${figure(one.length)}</td><td>${e(one.reason)}</td></tr>`,
    );
  const warnings = timeline.warnings
    .slice(0, ATTENTION_SHOWN)
    .map(
      ({ target, text }) => `<li>${target === undefined ? "" : `${e(target)}: `}${e(text)}</li>`,
    );
  return (
    `<section id="evidence"><h2>Evidence</h2><p>Everything on this page was made from the files below; ` +
    `<code>lockstep report verify</code> checks them and makes it again.</p>` +
    table("Files", '<th>File</th><th class="num">Bytes</th><th>SHA-256</th>', files) +
    table(
      `Masked in the console files (${info.redactions.length})`,
      '<th>File</th><th class="num">Offset</th><th class="num">Bytes</th><th>Reason</th>',
      redactions,
    ) +
    (warnings.length === 0 ? "" : `<h3>Warnings</h3><ul>${warnings.join("")}</ul>`) +
    "</section>"
  );
}

function table(title: string, head: string, rows: readonly string[]): string {
  if (rows.length === 0) return "";
  const body = `<thead><tr>${head}</tr></thead><tbody>${rows.join("")}</tbody>`;
  return `<h3>${title}</h3><div class="wide"><table>${body}</table></div>`;
}
