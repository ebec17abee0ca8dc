import type { Command } from "commander";
import type { CommandEntry } from "./command-table.ts";
import type { CliContext } from "./context.ts";

/** Loads a command and everything below it, with our manners instead of commander's. */
export async function buildCommand(entry: CommandEntry, context: CliContext): Promise<Command> {
  const { build } = await entry.load();
  const command = build(context);
  const settle = (one: Command): void => {
    one.exitOverride();
    one.configureOutput({
      writeOut: (text) => context.out(text),
      writeErr: () => {},
      getOutHelpWidth: () => Math.min(100, columnsOf(context)),
    });
    one.configureHelp({ showGlobalOptions: false, commandUsage: usage });
    one.helpCommand(false);
    one.option("--debug", "print stack traces").option("--no-color", "print no colours");
    for (const sub of one.commands) settle(sub);
  };
  settle(command);
  return command;
}

function columnsOf(context: CliContext): number {
  return (context.streams.stdout as { columns?: number }).columns ?? 100;
}

function usage(command: Command): string {
  const names: string[] = [];
  for (let one: Command | null = command; one !== null; one = one.parent) names.unshift(one.name());
  if (names[0] !== "lockstep") names.unshift("lockstep");
  return `${names.join(" ")} ${command.usage()}`;
}
