import { COMMANDS } from "./command-table.ts";

/** The text of `lockstep --help`. */
export function mainHelp(): string {
  const groups = [...new Set(COMMANDS.map(({ group }) => group))];
  const width = Math.max(...COMMANDS.map(({ name }) => name.length));
  const commands = groups.map((group) => {
    const lines = COMMANDS.filter((entry) => entry.group === group).map(
      ({ name, summary }) => `  ${name.padEnd(width)}   ${summary}`,
    );
    return `${group}:\n${lines.join("\n")}`;
  });
  return `Usage: lockstep COMMAND [options]

Runs trusted-execution traffic through a model and through real boards, and explains every difference.

${commands.join("\n\n")}

Options:
  -h, --help      show this help; \`lockstep help COMMAND\` shows that of a command
  -V, --version   print the version
  --debug         print stack traces
  --no-color      print no colours

Environment (options beat it):
  LOCKSTEP_BOARD           the board where none is named
  LOCKSTEP_BOARDS_PATH     more folders with board files, separated by ":"
  LOCKSTEP_OUT             where \`run\` puts its bundles
  LOCKSTEP_SEED            the seed of everything in \`run\` that uses chance
  LOCKSTEP_CACHE           where prepared images are kept (else $XDG_CACHE_HOME/lockstep)
  LOCKSTEP_LEDGER          where \`rpmb provision\` keeps what was programmed
  LOCKSTEP_DEBIAN_MIRROR   where \`prepare\` gets Debian packages
  NO_COLOR, FORCE_COLOR    colours off, colours on

Exit codes:
  0 all as expected   1 fail, error, xpass or divergence   2 usage or configuration
  3 infrastructure    4 timeout    5 target crashed    6 incomplete
  70 internal error   130 interrupted`;
}
