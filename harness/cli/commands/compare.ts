import { statSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { EXIT, UsageError, worstExit } from "../../base/index.ts";
import type { TracesComparison } from "../../lockstep/index.ts";
import type { BundleReader, CompareSide, Comparison } from "../../run/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { printable } from "../style.ts";

interface Options {
  readonly json?: boolean;
  readonly force?: boolean;
}

export const build: CommandBuilder = (context) => {
  const command = new Command("compare")
    .description(
      "Compare two runs: new failures, fixed, missing and new cases, other changes, changed reasons\n" +
        "of skips, and where the traces of scenarios differ, if both have them. A and B are bundles,\n" +
        "or raw console logs of xtest (- for stdin).",
    )
    .argument("<A>", "the run before: a bundle or a raw console log")
    .argument("<B>", "the run after: a bundle or a raw console log")
    .option("--force", "compare even where the facts sheets say that it makes no sense")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 no worse, 1 new failures or divergences, 6 cases are missing,\n" +
        "2 not comparable.\n" +
        "Runs are not comparable when board type, platform, what stands behind RPMB, or the\n" +
        "major.minor version of xtest or OP-TEE differ. Everything else that differs is listed.",
    )
    .action((a: string, b: string, options: Options) => compareCommand(context, a, b, options));
  return examples(command, [
    ["lockstep compare lockstep-out/monday lockstep-out/tuesday", "what changed since monday"],
    ["lockstep compare baseline/ console.log", "a bundle and a log taken elsewhere"],
    ["lockstep compare A B --json | jq .newFailures", "for scripts"],
  ]);
};

async function compareCommand(
  context: CliContext,
  a: string,
  b: string,
  options: Options,
): Promise<void> {
  if (a === "-" && b === "-") throw new UsageError("only one side can come from standard input");
  const { compareRuns, describeComparison } = await import("../../run/index.ts");
  const before = await readSide(context, a);
  const after = await readSide(context, b);
  const comparison = compareRuns(before, after, { force: options.force === true });
  const traces = await compareTraces(before, after, comparison);
  if (options.json === true) {
    const document = traces === undefined ? comparison : { ...comparison, traces };
    context.out(`${JSON.stringify(document, undefined, 2)}\n`);
  } else {
    context.out(printable(describeComparison(comparison)));
    if (traces !== undefined) context.out(printable(await describeTraces(traces)));
    if (comparison.incomparable.length > 0 && options.force !== true) {
      context.err("The runs do not speak of the same thing; --force compares them all the same.");
    }
  }
  const differs = traces !== undefined && traces.divergences.length > 0;
  context.setExit(worstExit([comparison.exitCode, differs ? EXIT.failed : EXIT.ok]));
}

/** Runs that speak of the same thing do the same, or they diverge. */
async function compareTraces(
  before: Side,
  after: Side,
  { targets, incomparable }: Comparison,
): Promise<TracesComparison | undefined> {
  if (before.bundle === undefined || after.bundle === undefined) return undefined;
  if (incomparable.length > 0) return undefined;
  const { compareBundleTraces } = await import("../../lockstep/index.ts");
  return await compareBundleTraces(before.bundle, after.bundle, targets);
}

const SHOWN = 100;

async function describeTraces({ compared, divergences }: TracesComparison): Promise<string> {
  const { describeDifference } = await import("../../run/index.ts");
  const lines = divergences.slice(0, SHOWN).map(({ target, caseId, run, cause }) => {
    const number = run === 0 ? "" : ` run ${run}`;
    return `  ${target}  ${caseId}${number}: ${describeDifference(cause)}`;
  });
  if (divergences.length > SHOWN) lines.push(`  and ${divergences.length - SHOWN} more`);
  const head = `Traces: ${compared} runs compared, ${divergences.length} diverge.`;
  return ["", head, ...lines, ""].join("\n");
}

/** A side, with its bundle where it is one. */
interface Side extends CompareSide {
  readonly bundle?: BundleReader;
}

/** A folder is a bundle, anything else a log. */
async function readSide(context: CliContext, name: string): Promise<Side> {
  const file = name === "-" ? name : path.resolve(context.cwd, name);
  const stat = name === "-" ? undefined : statSync(file, { throwIfNoEntry: false });
  if (name !== "-" && stat === undefined) {
    throw new UsageError("there is no such bundle or log", {
      where: file,
      next: "Name the folder of a bundle, or the file of a raw console log",
    });
  }
  if (stat?.isDirectory() === true) {
    const { BundleReader } = await import("../../run/index.ts");
    const reader = await BundleReader.open(file);
    const { incomplete, results, info } = reader;
    return { label: name, results, facts: info.facts, incomplete, bundle: reader };
  }
  const { resultsFromLog } = await import("../../xtest/index.ts");
  const results = await resultsFromLog(file, { target: "log" });
  return { label: name, results, facts: [], incomplete: false, only: "xtest" };
}
