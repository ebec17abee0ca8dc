import { Command, CommanderError } from "commander";
import {
  describeError,
  didYouMean,
  EXIT,
  exitCodeOf,
  InterruptedError,
  LockstepError,
  UsageError,
} from "../base/index.ts";
import { buildCommand } from "./build-command.ts";
import { COMMANDS, type CommandEntry, findCommand } from "./command-table.ts";
import type { CliContext } from "./context.ts";
import { mainHelp } from "./main-help.ts";
import { type CliEnvironment, makeContext } from "./make-context.ts";
import { printable } from "./style.ts";

/** Runs one command line to its end and returns the exit code. Never throws. */
export async function runCli(argv: readonly string[], around: CliEnvironment): Promise<number> {
  const own = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  const flags = { debug: own.includes("--debug"), noColor: own.includes("--no-color") };
  const { context, progress, exit } = makeContext(around, flags);
  let failureExit: number | undefined;
  try {
    const start = argv.findIndex((arg) => !GLOBAL_FLAGS.has(arg));
    const word = argv[start];
    if (word === undefined) {
      context.err(mainHelp());
      return EXIT.usage;
    }
    if (word === "--version" || word === "-V") context.out(`${around.version}\n`);
    else if (word === "--help" || word === "-h") context.out(`${mainHelp()}\n`);
    else if (word === "help") await help(argv.slice(start + 1), context);
    else {
      const entry = known(word);
      failureExit = entry.failureExit;
      await parse(entry, argv.slice(start), context);
    }
    if (around.abort.aborted) throw new InterruptedError("interrupted");
    return exit();
  } catch (error) {
    progress.end();
    await reportError(error, context, flags.debug);
    const code = exitCodeOf(error);
    return failureExit !== undefined && code !== EXIT.interrupted ? failureExit : code;
  } finally {
    progress.end();
  }
}

const GLOBAL_FLAGS: ReadonlySet<string> = new Set(["--debug", "--no-color"]);

/** Writes what a person needs to know of `error` to stderr; the stack only with `--debug`. */
export async function reportError(
  error: unknown,
  context: Pick<CliContext, "err" | "style">,
  debug: boolean,
): Promise<void> {
  // What is quoted from a console may show a key that nothing has registered.
  const { maskKeys } = await import("../run/index.ts");
  const text = maskKeys(printable(describeError(error)));
  context.err(`${context.style.err.red("lockstep:")} ${text}`);
  if (!debug) return;
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    context.err(maskKeys(printable(cause.stack ?? cause.message)));
  }
}

function known(word: string): CommandEntry {
  const entry = findCommand(word);
  if (entry !== undefined) return entry;
  const kind = word.startsWith("-") ? "option" : "command";
  const names = kind === "option" ? GLOBAL_OPTIONS : [...COMMANDS.map(({ name }) => name), "help"];
  const guess = didYouMean(word, names);
  throw new UsageError(`unknown ${kind} "${word}"${guess === undefined ? "" : `; ${guess}`}`, {
    next: "`lockstep --help` lists what there is.",
  });
}

const GLOBAL_OPTIONS = ["--help", "--version", ...GLOBAL_FLAGS];

async function parse(
  entry: CommandEntry,
  argv: readonly string[],
  context: CliContext,
): Promise<void> {
  const program = new Command("lockstep");
  program.exitOverride().configureOutput({ writeErr: () => {} });
  // Lets a command pass the options of what it runs through untouched.
  program.enablePositionalOptions();
  const command = await buildCommand(entry, context);
  refuseUnknownSubcommand(command, argv.slice(1));
  program.addCommand(command);
  try {
    await program.parseAsync([...argv], { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return;
    throw asUsageError(error, entry.name);
  }
}

function refuseUnknownSubcommand(command: Command, argv: readonly string[]): void {
  const word = argv.find((arg) => !arg.startsWith("-"));
  const names = command.commands.map((sub) => sub.name());
  // A command with arguments of its own (`report <bundle>`) takes any other word for one.
  if (command.registeredArguments.length > 0) return;
  if (word === undefined || names.length === 0 || names.includes(word)) return;
  const guess = didYouMean(word, names);
  throw new UsageError(
    `\`${command.name()}\` has no subcommand "${word}"${guess === undefined ? "" : `; ${guess}`}`,
    { next: `It has: ${names.join(", ")}. See \`lockstep ${command.name()} --help\`.` },
  );
}

function asUsageError(error: CommanderError, name: string): LockstepError {
  if (error.code === "commander.help") {
    return new UsageError(`\`${name}\` needs a subcommand`, {
      next: `See \`lockstep ${name} --help\`.`,
    });
  }
  const [first = "", ...rest] = error.message.replace(/^error: /, "").split("\n");
  const guess = /Did you mean (?:one of )?(.*)\?/.exec(rest.join(" "))?.[1];
  return new UsageError(
    first.replaceAll("'", '"') + (guess === undefined ? "" : `; did you mean ${guess}?`),
    {
      next: `See \`lockstep ${name} --help\`.`,
    },
  );
}

async function help(words: readonly string[], context: CliContext): Promise<void> {
  const names = words.filter((word) => !word.startsWith("-"));
  const [first, ...rest] = names;
  if (first === undefined || first === "help") {
    context.out(`${mainHelp()}\n`);
    return;
  }
  await parse(known(first), [first, ...rest, "--help"], context);
}
