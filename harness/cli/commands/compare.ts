import { statSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { UsageError } from "../../base/index.ts";
import type { CompareSide } from "../../run/index.ts";
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
      "Compare two runs: new failures, fixed, missing and new cases, other changes, and changed\n" +
        "reasons of skips. A and B are bundles, or raw console logs of xtest (- for stdin).",
    )
    .argument("<A>", "the run before: a bundle or a raw console log")
    .argument("<B>", "the run after: a bundle or a raw console log")
    .option("--force", "compare even where the facts sheets say that it makes no sense")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 no worse, 1 new failures, 6 cases are missing, 2 not comparable.\n" +
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
  if (options.json === true) context.out(`${JSON.stringify(comparison, undefined, 2)}\n`);
  else {
    context.out(printable(describeComparison(comparison)));
    if (comparison.incomparable.length > 0 && options.force !== true) {
      context.err("The runs do not speak of the same thing; --force compares them all the same.");
    }
  }
  context.setExit(comparison.exitCode);
}

/** A folder is a bundle, anything else a log. */
async function readSide(context: CliContext, name: string): Promise<CompareSide> {
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
    return { label: name, results, facts: info.facts, incomplete };
  }
  const { resultsFromLog } = await import("../../xtest/index.ts");
  const results = await resultsFromLog(file, { target: "log" });
  return { label: name, results, facts: [], incomplete: false, only: "xtest" };
}
