import type { Command } from "commander";

/** Adds an `Examples:` part to a command's help; each is a command line and what it does. */
export function examples(
  command: Command,
  lines: readonly (readonly [line: string, what: string])[],
): Command {
  const width = Math.max(...lines.map(([line]) => line.length));
  const text = lines.map(([line, what]) => `  $ ${line.padEnd(width)}   ${what}`).join("\n");
  return command.addHelpText("after", `\nExamples:\n${text}`);
}
