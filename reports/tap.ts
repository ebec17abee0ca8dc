import { type BundleReader, type CaseResult, readTimeline } from "../harness/run/index.ts";
import { oneLine, printable } from "./text.ts";
import { describeTotals } from "./totals.ts";

/** results.tap: TAP 14, a test point for each case and target, its name `<target> <id>`. */
export async function renderTap(reader: BundleReader): Promise<string> {
  const { cases } = reader.results;
  const out = ["TAP version 14", `1..${cases.length}`];
  for (const one of (await readTimeline(reader)).totals) {
    out.push(`# ${oneLine(printable(`${one.suite} on ${one.target}`))}: ${describeTotals(one)}`);
  }
  for (const problem of reader.info.problems) out.push(`# ${oneLine(printable(problem))}`);
  for (const [i, one] of cases.entries()) out.push(...testPoint(one, i + 1));
  const lost = bailOut(reader);
  if (lost !== undefined) out.push(`Bail out! ${lost}`);
  out.push("");
  return out.join("\n");
}

function testPoint(result: CaseResult, number: number): string[] {
  const { status, target, id } = result;
  const ok = status === "pass" || status === "skip" || status === "xpass" ? "ok" : "not ok";
  const line = `${ok} ${number} - ${escapeDescription(`${target} ${id}`)}`;
  const reason = escapeDescription(result.reason ?? "");
  if (status === "pass") return [line];
  if (status === "skip") return [`${line} # SKIP ${reason}`];
  // A known divergence: "not ok # TODO" is a success to every TAP reader.
  if (status === "xfail") return [`${line} # TODO ${reason}`];
  // A known divergence that is gone must be looked at, so it is a failure here as everywhere.
  const point = status === "xpass" ? line.replace(/^ok/, "not ok") : line;
  return [point, ...diagnostics(result)];
}

function diagnostics(result: CaseResult): string[] {
  const fields: [string, string | undefined][] = [
    ["status", result.infrastructure === true ? "infrastructure error" : result.status],
    ["title", result.title],
    ["message", result.reason],
    ["at", result.where],
    ["clauses", result.clauses?.join(" ")],
  ];
  const lines = fields.flatMap(([key, value]) =>
    value === undefined ? [] : [`  ${key}: ${yamlText(value)}`],
  );
  const bad = (result.subcases ?? []).filter((sub) => sub.status !== "pass");
  if (bad.length > 0) {
    lines.push("  subcases:");
    for (const sub of bad) {
      const reason = sub.reason === undefined ? "" : `, reason: ${yamlText(sub.reason)}`;
      lines.push(`    - { id: ${yamlText(sub.id)}, status: ${sub.status}${reason} }`);
    }
  }
  return ["  ---", ...lines, "  ..."];
}

/** A double-quoted YAML scalar, which is a JSON string. */
function yamlText(text: string): string {
  return JSON.stringify(printable(text));
}

/** In a description `#` would begin a directive, and `\` is the escape character. */
function escapeDescription(text: string): string {
  return oneLine(printable(text)).replaceAll(/[\\#]/g, (character) => `\\${character}`);
}

/** The lab went away: what follows in the plan was not run because of it. */
function bailOut(reader: BundleReader): string | undefined {
  const lost = reader.results.cases.find((one) => one.infrastructure === true);
  if (lost !== undefined) return `${lost.target}: ${oneLine(printable(lost.reason ?? "lost"))}`;
  if (!reader.incomplete) return undefined;
  const why = reader.info.problems[0] ?? "the run ended before it was complete";
  return oneLine(printable(why));
}
