import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Command, Option } from "commander";
import { EXIT, packageRoot, UsageError } from "../../base/index.ts";
import type { ReportFormat } from "../../../reports/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { printable } from "../style.ts";

/** As in `reports/`, which is loaded only when a report is made. */
const FORMATS: readonly ReportFormat[] = ["html", "junit", "tap", "allure", "kcidb"];

interface Options {
  readonly format?: readonly ReportFormat[];
  readonly out?: string;
  readonly origin?: string;
  readonly json?: boolean;
}

interface TraceOptions {
  readonly filter?: readonly string[];
  readonly board?: readonly string[];
}

export const build: CommandBuilder = (context) => {
  const verify = new Command("verify")
    .description(
      "Check a bundle: hashes, every event, results against events, and that its reports are what " +
        "the evidence gives when they are made again.",
    )
    .argument("<bundle>", "the folder that `lockstep run` left")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 sound, 1 not as it was written, 6 sound as far as it goes but incomplete,\n" +
        "2 not a bundle or damaged.",
    )
    .action((bundle: string, options: Options) => verifyCommand(context, bundle, options));
  examples(verify, [["lockstep report verify lockstep-out/RUN", "before handing it on"]]);
  const trace = new Command("trace")
    .description(
      "Print traces of scenarios in canonical form, a line for each record: symbols for what two " +
        "platforms name differently, a call together with its RPCs (docs/divergences.md).",
    )
    .argument("<bundle>", "the folder that `lockstep run` left")
    .option("--filter <re...>", "only cases whose id matches one of these")
    .option("--board <board...>", "only traces of these (default: all that the bundle has)")
    .action((bundle: string, options: TraceOptions) => traceCommand(context, bundle, options));
  examples(trace, [
    ["lockstep report trace lockstep-out/RUN --filter sessions --board qemu-virt", "what it did"],
  ]);
  const command = new Command("report")
    .usage("<bundle> [options] | verify <bundle> | trace <bundle>")
    .description(
      "Make reports from a bundle alone: every one but KCIDB, or those named with --format.",
    )
    .argument("<bundle>", "the folder that `lockstep run` left")
    .addOption(
      new Option("--format <format...>", "what to make").choices(FORMATS as readonly string[]),
    )
    .option("--out <dir>", "where to put them (default: the bundle; - prints one on stdout)")
    .option("--origin <name>", "KCIDB's name for your CI system", "lockstep")
    .option("--json", "print the paths as JSON")
    .action((bundle: string, options: Options) => makeCommand(context, bundle, options));
  command.enablePositionalOptions().addCommand(verify).addCommand(trace);
  return examples(command, [
    ["lockstep report lockstep-out/RUN", "html, JUnit, TAP and Allure, into the bundle"],
    ["lockstep report lockstep-out/RUN --format html --out /tmp/r", "one report, elsewhere"],
    ["lockstep report lockstep-out/RUN --format kcidb --out -", "on stdout"],
    ["lockstep report verify lockstep-out/RUN", "is it as it was written?"],
  ]);
};

async function makeCommand(context: CliContext, bundle: string, options: Options): Promise<void> {
  const { BundleReader } = await import("../../run/index.ts");
  const { BUNDLE_FORMATS, renderFormats } = await import("../../../reports/index.ts");
  const reader = await BundleReader.open(path.resolve(context.cwd, bundle));
  const formats = options.format === undefined ? BUNDLE_FORMATS : [...new Set(options.format)];
  const origin = options.origin === undefined ? {} : { origin: options.origin };
  if (options.out !== "-") {
    const dir = options.out === undefined ? reader.dir : path.resolve(context.cwd, options.out);
    const places = await renderFormats(reader, formats, dir, origin);
    if (options.json === true) context.out(`${JSON.stringify(places, undefined, 2)}\n`);
    else for (const place of places) context.out(`${shortest(place, context.cwd)}\n`);
    return;
  }
  if (formats.length !== 1 || formats[0] === "allure") {
    throw new UsageError("only one report, and not a folder, can go to stdout", {
      next: "Name one of html, junit, tap, kcidb with --format",
    });
  }
  const scratch = mkdtempSync(path.join(tmpdir(), "lockstep-report-"));
  try {
    const [place] = await renderFormats(reader, formats, scratch, origin);
    if (place !== undefined) context.out(readFileSync(place, "utf8"));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function traceCommand(
  context: CliContext,
  bundle: string,
  options: TraceOptions,
): Promise<void> {
  const { BundleReader } = await import("../../run/index.ts");
  const { renderTrace } = await import("../../lockstep/index.ts");
  const { checkedPattern } = await import("../run-loop/plan.ts");
  const reader = await BundleReader.open(path.resolve(context.cwd, bundle));
  const patterns = (options.filter ?? []).map((source) => new RegExp(checkedPattern(source)));
  const files = (reader.traceIndex?.files ?? []).filter(
    ({ target, caseId }) =>
      options.board?.includes(target) !== false &&
      (patterns.length === 0 || patterns.some((pattern) => pattern.test(caseId))),
  );
  if (files.length === 0) {
    const all = reader.traceIndex?.files ?? [];
    if (all.length > 0) {
      const boards = [...new Set(all.map(({ target }) => target))].join(", ");
      throw new UsageError("no trace fits --filter and --board", {
        where: bundle,
        seen: `traces of ${all.length} cases on ${boards}`,
        next: "--filter is matched against ids such as smc-abi.calls_uid…; results.json holds all.",
      });
    }
    throw new UsageError("the bundle has no traces", {
      where: bundle,
      next: reader.incomplete
        ? "The run did not end, so none are listed; the files are under traces/ (`zcat`)."
        : "Traces are recorded with `lockstep run --trace`, and whenever scenarios run on a board.",
    });
  }
  for (const file of files) {
    for (const one of await reader.listedTraces(file)) {
      context.out(`${printable(renderTrace(one))}\n`);
    }
  }
}

async function verifyCommand(context: CliContext, bundle: string, options: Options): Promise<void> {
  const { BundleReader } = await import("../../run/index.ts");
  const { verifyBundle } = await import("../../../reports/index.ts");
  const reader = await BundleReader.open(path.resolve(context.cwd, bundle));
  const found = await verifyBundle(reader, ownVersion());
  if (options.json === true) context.out(`${JSON.stringify(found, undefined, 2)}\n`);
  else {
    const style = context.style.out;
    for (const problem of found.problems)
      context.out(`${style.red("wrong")}: ${printable(problem)}\n`);
    for (const note of found.notes) context.out(`note: ${printable(note)}\n`);
    if (found.problems.length === 0) {
      const word = found.state === "complete" ? style.green("sound") : style.yellow("incomplete");
      context.out(`${word}: ${bundle}\n`);
    }
  }
  if (found.problems.length > 0) context.setExit(EXIT.failed);
  else if (found.state !== "complete") context.setExit(EXIT.incomplete);
}

function shortest(file: string, cwd: string): string {
  const relative = path.relative(cwd, file);
  return relative.startsWith("..") ? file : relative;
}

function ownVersion(): string {
  const file = readFileSync(path.join(packageRoot, "package.json"), "utf8");
  return (JSON.parse(file) as { version: string }).version;
}
