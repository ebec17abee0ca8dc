import { createHash } from "node:crypto";
import { type BundleReader, compareText, readTimeline } from "../../harness/run/index.ts";
import { verdictOf } from "../verdict.ts";
import { casesHead, writeCases } from "./cases.ts";
import { timingSection } from "./charts.ts";
import { clausesSection } from "./clauses.ts";
import { divergencesSection } from "./divergences.ts";
import { e } from "./markup.ts";
import {
  attentionSection,
  evidenceSection,
  factsSection,
  totalsSection,
  verdictSection,
} from "./overview.ts";
import { SCRIPT } from "./script.ts";
import { storageSection } from "./storage.ts";
import { STYLE } from "./style.ts";

/**
 * Writes report.html piece by piece: one file, no network, no script but its own (its hash stands in
 * the content security policy, so nothing that a console printed can ever run).
 */
export async function writeHtml(
  reader: BundleReader,
  write: (text: string) => void,
): Promise<void> {
  const { info, results } = reader;
  const timeline = await readTimeline(reader);
  const verdict = verdictOf(info, results);
  const targets = [...new Set(results.cases.map((one) => one.target))].toSorted(
    (p, q) => rank(p) - rank(q) || compareText(p, q),
  );
  const hash = createHash("sha256").update(SCRIPT).digest("base64");
  write(
    `<!doctype html>\n<html lang="en"><head><meta charset="utf-8">` +
      `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-${hash}'; ` +
      `style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">` +
      `<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">` +
      `<title>${e(`${verdict.word}: ${targets.join(", ") || "no target"} · lockstep ${info.id}`)}</title>` +
      `<style>${STYLE}</style></head>\n<body><a class="skip-link" href="#cases">Skip to the cases</a>` +
      `<header><span class="mark">Lockstep</span><span class="what">TEE conformance report</span><nav>` +
      `<a href="#facts">What was tested</a><a href="#totals">Totals</a><a href="#cases">Cases</a>` +
      (reader.divergences === undefined ? "" : '<a href="#divergences">Divergences</a>') +
      (reader.catalogue === undefined ? "" : '<a href="#clauses">Clauses</a>') +
      `<a href="#timing">Timing</a><a href="#evidence">Evidence</a>` +
      `<button type="button" id="theme" class="js-only" hidden>Theme</button></nav></header><main>\n`,
  );
  write(`${verdictSection(reader, timeline)}\n`);
  write(`${attentionSection(reader)}\n`);
  write(`${storageSection(reader)}\n`);
  write(`${factsSection(info.facts)}\n`);
  write(`${totalsSection(reader, timeline)}\n`);
  write(`${divergencesSection(reader)}\n`);
  write(`${timingSection(results.cases, timeline)}\n`);
  write(casesHead(results.cases, targets));
  await writeCases(reader, timeline, targets, write);
  write(`${clausesSection(reader, targets)}\n`);
  write(`${evidenceSection(reader, timeline)}\n`);
  write(
    `</main><footer>Made by lockstep ${e(info.lockstep)} from the bundle of run ${e(info.id)}. ` +
      `A skip is never a pass; miss means expected but never seen.</footer>\n` +
      `<script>${SCRIPT}</script>\n</body></html>\n`,
  );
}

/** The model stands in the first column: everything else is held against it. */
function rank(target: string): number {
  return target === "emulated" ? 0 : 1;
}
