import {
  type BundleReader,
  type ContextLine,
  type Difference,
  type Divergences,
  type ExpectationOutcome,
  type NotCompared,
  placeOfDifference,
  type RunDivergence,
  whatDiffers,
} from "../../harness/run/index.ts";
import { byCause, type CauseGroup, describeOutcome, describeTarget } from "../divergences.ts";
import { a, e, figure } from "./markup.ts";

/** First causes of a board that are shown; the rest is in divergences.json. */
const SHOWN = 100;
/** Cases linked from one of them. */
const LINKED = 24;
/** Characters of one value. */
const MAX_VALUE = 400;

/**
 * Where each board differs from the emulated platform: every first cause with the records of both sides
 * around it, and the expectation that would name it. Empty where nothing was compared.
 */
export function divergencesSection(reader: Pick<BundleReader, "divergences">): string {
  const found = reader.divergences;
  if (found === undefined) return "";
  const groups = byCause(found);
  const boards = found.targets.map((totals) => {
    const own = groups.filter(({ target }) => target === totals.target);
    const more = own.length > SHOWN ? `<p>and ${figure(own.length - SHOWN)} more</p>` : "";
    return (
      `<h3>${e(totals.target)}</h3><p>${e(describeTarget(totals))}.</p>` +
      own
        .slice(0, SHOWN)
        .map((group) => causeDetails(group))
        .join("") +
      more +
      explained(found, totals.target) +
      expectations(found.expectations.filter(({ target }) => target === totals.target)) +
      leftOut(found.notCompared.filter(({ target }) => target === totals.target))
    );
  });
  return (
    `<section id="divergences"><h2>Divergences</h2>` +
    `<p>Each board's run of a scenario beside the emulated platform's. Only the first difference of a run that nothing explains ` +
    `is a cause; what follows may be its echo. Values are canonical: <code>page#1</code> is the first page on both sides.</p>` +
    `${boards.join("")}</section>`
  );
}

const short = (text: string): string =>
  text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text;

const caseLink = (caseId: string): string =>
  `<a href="#case=${a(encodeURIComponent(caseId))}">${e(caseId)}</a>`;

function causeDetails({ cause, runs }: CauseGroup): string {
  const [first] = runs;
  if (first === undefined) return "";
  const clauses = cause.clauses.map((id) => `<a href="#clause-${a(id)}">${e(id)}</a>`).join(" ");
  const cases = [...new Set(runs.map(({ caseId }) => caseId))];
  const more = cases.length > LINKED ? ` and ${figure(cases.length - LINKED)} more` : "";
  const echoes = runs.map((run) => run.echoes).reduce((x, y) => x + y, 0);
  const expired =
    first.expired === undefined
      ? ""
      : `<p>Expectation <code>${e(first.expired)}</code> names it, and has expired.</p>`;
  return (
    `<details class="divergence" open><summary><b>${e(short(placeOfDifference(cause)))}</b>: ${e(short(whatDiffers(cause)))}` +
    ` <small>${figure(runs.length)} ${runs.length === 1 ? "run" : "runs"}</small></summary>` +
    `<p>${clauses === "" ? "No clause is known for it." : `Clauses: ${clauses}.`} ` +
    `Conduit ${e(first.conduit)}, scenario <code>${e(first.reference)}</code>` +
    `${echoes === 0 ? "" : `, ${figure(echoes)} differences after it`}.</p>` +
    `<p>Cases: ${cases.slice(0, LINKED).map(caseLink).join(", ")}${more}.</p>${expired}` +
    fieldsTable(cause) +
    contexts(cause, first.target) +
    entryOf(first) +
    "</details>"
  );
}

function fieldsTable({ fields, calls = [] }: Difference): string {
  if (fields.length === 0)
    return `<p>Calls: ${calls.map((one) => `<code>${e(one)}</code>`).join(", ")}</p>`;
  const rows = fields.map(
    ({ field, left, right, leftRaw, rightRaw }) =>
      `<tr><th scope="row"><code>${e(field)}</code></th>${valueCell(left, leftRaw)}${valueCell(right, rightRaw)}</tr>`,
  );
  return (
    `<div class="wide"><table class="fields"><thead><tr><th scope="col">Field</th><th scope="col">emulated</th>` +
    `<th scope="col">board</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>`
  );
}

function valueCell(value: string, raw: string): string {
  const beside = raw === value || raw === "" ? "" : ` <small class="mono">${e(short(raw))}</small>`;
  return `<td class="mono">${e(short(value))}${beside}</td>`;
}

function contexts({ left, right }: Difference, target: string): string {
  return (
    `<div class="per sides"><div><h4>emulated</h4>${lines(left)}</div>` +
    `<div><h4>${e(target)}</h4>${lines(right)}</div></div>`
  );
}

function lines(context: readonly ContextLine[]): string {
  const text = context.map(({ record, text: line, here }) => {
    const shown = `${String(record).padStart(5)}  ${e(line)}`;
    return here === true ? `<mark>${shown}</mark>` : shown;
  });
  return `<pre>${text.join("\n")}</pre>`;
}

function entryOf({ entry }: RunDivergence): string {
  if (entry === undefined) return "";
  return `<details><summary>Expectation entry</summary><pre class="entry">${e(entry)}</pre></details>`;
}

/** Runs whose differences are known, by expectation. */
function explained({ runs }: Divergences, target: string): string {
  const known = new Map<string, { reason: string; cases: Set<string>; difference: Difference }>();
  for (const run of runs) {
    if (run.target !== target) continue;
    for (const { expectation, reason, difference } of run.explained) {
      const one = known.get(expectation) ?? { reason, cases: new Set(), difference };
      known.set(expectation, one);
      one.cases.add(run.caseId);
    }
  }
  if (known.size === 0) return "";
  const items = [...known].map(
    ([id, { reason, cases, difference }]) =>
      `<details class="divergence"><summary><b>${e(id)}</b>: ${e(short(reason))} ` +
      `<small>${figure(cases.size)} ${cases.size === 1 ? "case" : "cases"}</small></summary>` +
      `<p>${e(short(placeOfDifference(difference)))}. Cases: ${[...cases].slice(0, LINKED).map(caseLink).join(", ")}` +
      `${cases.size > LINKED ? ` and ${figure(cases.size - LINKED)} more` : ""}.</p>` +
      `${fieldsTable(difference)}${contexts(difference, target)}</details>`,
  );
  return `<h4>Known divergences</h4>${items.join("")}`;
}

function expectations(all: readonly ExpectationOutcome[]): string {
  const bad = all.filter((one) => describeOutcome(one) !== undefined);
  if (bad.length === 0) return "";
  const items = bad.map(
    (one) =>
      `<li><b>${e(describeOutcome(one) ?? "")}</b>: ${e(short(one.reason))} ` +
      `<small>${e(one.where)}, owner ${e(one.owner)}</small></li>`,
  );
  return `<div class="attention"><ul>${items.join("")}</ul></div>`;
}

/** Cases that were not compared, by reason. */
function leftOut(all: readonly NotCompared[]): string {
  if (all.length === 0) return "";
  const reasons = new Map<string, Set<string>>();
  for (const { reason, caseId } of all) {
    reasons.set(reason, (reasons.get(reason) ?? new Set()).add(caseId));
  }
  const items = [...reasons].map(([reason, cases]) => {
    const shown = [...cases].slice(0, LINKED).map(caseLink).join(", ");
    return `<li>${figure(cases.size)} × ${e(short(reason))}: ${shown}${cases.size > LINKED ? ", …" : ""}</li>`;
  });
  return `<details><summary>Not compared (${figure(all.length)})</summary><ul>${items.join("")}</ul></details>`;
}
