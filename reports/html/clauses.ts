import type {
  BundleReader,
  ClauseInRun,
  Divergences,
  SheetInRun,
} from "../../harness/run/index.ts";
import { clausesOf, usedCounts, VERDICT_WORDS } from "../clauses.ts";
import { a, chip, e, figure } from "./markup.ts";

/** Cases linked from one cell. */
const LINKED = 12;

/**
 * Every clause of the sheets: what it says, and what became of it on each target with links to the
 * cases that name it. Empty where the bundle has no clauses.
 */
export function clausesSection(
  reader: Pick<BundleReader, "catalogue" | "results" | "divergences">,
  targets: readonly string[],
): string {
  const account = clausesOf(reader);
  const { catalogue } = reader;
  if (account === undefined || catalogue === undefined) return "";
  const used = usedCounts(account.sheets);
  const head = used.map(([, title]) => `<th class="num" scope="col">${title}</th>`).join("");
  const rows = account.sheets.map((sheet) => {
    const title = catalogue.sheets.find(({ name }) => name === sheet.sheet)?.title ?? "";
    const cells = used.map(
      ([key]) => `<td class="num">${sheet[key] === 0 ? "" : figure(sheet[key])}</td>`,
    );
    return `<tr><th scope="row">${e(sheet.sheet)} <small>${e(title)}</small></th>${cells.join("")}</tr>`;
  });
  const diverged = divergedOn(reader.divergences);
  const tables = account.sheets.map((sheet) =>
    sheetTable(
      sheet,
      account.clauses.filter(({ clause }) => clause.sheet === sheet.sheet),
      targets,
      diverged,
    ),
  );
  const blind = catalogue.unitTests
    ? ""
    : '<p class="soft">The unit tests were not installed where this ran, so none are counted.</p>';
  return (
    `<section id="clauses"><h2>Clauses</h2><div class="wide"><table class="sheets"><thead><tr><th scope="col">Sheet</th>` +
    `${head}</tr></thead><tbody>${rows.join("")}</tbody></table></div>` +
    `${blind}${tables.join("")}</section>`
  );
}

/** By target and clause: runs with an unexplained divergence whose first cause touches it. */
type Diverged = ReadonlyMap<string, ReadonlyMap<string, number>>;

function divergedOn(found: Divergences | undefined): Diverged {
  const targets = new Map<string, Map<string, number>>();
  for (const { target, cause } of found?.runs ?? []) {
    const [clause] = cause?.clauses ?? [];
    if (clause === undefined) continue;
    const counts = targets.get(target) ?? new Map<string, number>();
    targets.set(target, counts.set(clause, (counts.get(clause) ?? 0) + 1));
  }
  return targets;
}

function sheetTable(
  sheet: SheetInRun,
  clauses: readonly ClauseInRun[],
  targets: readonly string[],
  diverged: Diverged,
): string {
  const head = targets.map((target) => `<th scope="col">${e(target)}</th>`).join("");
  const open = sheet.failed > 0 ? " open" : "";
  return (
    `<details${open}><summary>${e(sheet.sheet)}: ${figure(sheet.total)} clauses</summary>` +
    `<div class="wide"><table class="clauses"><thead><tr><th scope="col">Clause</th>` +
    `${head}</tr></thead><tbody>\n` +
    `${clauses.map((one) => clauseRow(one, targets, diverged)).join("\n")}\n</tbody></table></div></details>`
  );
}

function clauseRow(
  { clause, verdict, on }: ClauseInRun,
  targets: readonly string[],
  diverged: Diverged,
): string {
  const { id, level, summary, source, reason, unitTests } = clause;
  const mark = level === undefined ? "" : ` <small>${level}</small>`;
  const proof =
    unitTests === 0 ? "" : ` · ${figure(unitTests)} unit ${unitTests === 1 ? "test" : "tests"}`;
  const because = reason === undefined ? "" : `<small>out of scope: ${e(reason)}</small>`;
  const cells = targets.map((target) => {
    const there = on.get(target);
    if (there === undefined) return `<td class="soft">${absent(verdict)}</td>`;
    const name = (i: number): string => (there.cases.length === 1 ? "case" : `${i + 1}`);
    const links = there.cases
      .slice(0, LINKED)
      .map(
        (one, i) =>
          `<a href="#case=${a(encodeURIComponent(one.id))}" title="${a(`${one.status}: ${one.title}`)}">${name(i)}</a>`,
      );
    const more = there.cases.length - links.length;
    const rest = more > 0 ? ` +${figure(more)}` : "";
    const count = diverged.get(target)?.get(id) ?? 0;
    const differs =
      count === 0
        ? ""
        : `<small><a class="mark-diverged" href="#divergences">${figure(count)} diverged</a></small>`;
    return `<td class="result">${chip(there.status)}${differs}<small>${links.join(" ")}${rest}</small></td>`;
  });
  return (
    `<tr id="clause-${a(id)}"><th scope="row"><div><span>${e(id)}${mark}</span>` +
    `<span>${e(summary)}${because}<small>${e(source)}${proof}</small></span></div></th>${cells.join("")}</tr>`
  );
}

/** What stands where no case of a target names the clause. */
function absent(verdict: ClauseInRun["verdict"]): string {
  if (verdict === "passed" || verdict === "failed" || verdict === "known") return "–";
  return VERDICT_WORDS[verdict];
}
