import { Command, Option } from "commander";
import { Deadline, InfrastructureError, silentProgress, UsageError } from "../../base/index.ts";
import { BOARD_STATES, type BoardState } from "../../board/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { bootDeadline, withBoard } from "../open-board.ts";
import { parseDuration } from "../options.ts";

interface ExecFlags {
  readonly over?: "ssh" | "console";
  readonly to: BoardState;
  readonly timeout?: number;
  readonly quiet?: boolean;
}

/** A day: like ssh, a command without --timeout may take as long as it wants to. */
const NO_TIMEOUT_MS = 86_400_000;

export const build: CommandBuilder = (context) => {
  const command = new Command("exec")
    .description(
      "Run a command on a board's Linux. The board is booted first; one without a power driver " +
        "is used as it is found. Exits with the command's exit code, and with 255 for failures " +
        "of its own, as ssh does. stdout and stderr are passed on apart, byte for byte.",
    )
    .argument("<board>", "the board")
    .argument(
      "<command...>",
      "the command; words are joined with spaces and run by the board's shell",
    )
    .addOption(
      new Option("--over <way>", "how to reach the board (default: ssh if it has it)").choices([
        "ssh",
        "console",
      ]),
    )
    .addOption(
      new Option("--to <state>", "the state to bring the board to first")
        .choices(BOARD_STATES.filter((state) => state === "linux" || state === "tee-ready"))
        .default("tee-ready"),
    )
    .option("--timeout <time>", "longest time for the command, e.g. 60s", parseDuration)
    .option("-q, --quiet", "show no progress on stderr")
    .passThroughOptions()
    .action((board: string, words: string[], flags: ExecFlags) =>
      exec(context, board, commandLine(words), flags),
    );
  return examples(command, [
    ["lockstep exec qemu-virt -- xtest -l 0 -t pkcs11", "run part of xtest by hand"],
    ["lockstep exec -q qemu-virt -- cat /proc/cpuinfo > cpuinfo", "output as it is"],
  ]);
};

/** `--` before the command may be there or not. Throws UsageError for an empty command. */
function commandLine(words: readonly string[]): string {
  const line = (words[0] === "--" ? words.slice(1) : words).join(" ");
  if (line.trim() !== "") return line;
  throw new UsageError("there is no command to run", { next: "See `lockstep exec --help`." });
}

async function exec(
  context: CliContext,
  name: string,
  line: string,
  flags: ExecFlags,
): Promise<void> {
  const progress = flags.quiet === true ? silentProgress : context.progress;
  await withBoard(name, context, { progress }, async ({ board, config }) => {
    await board.transition(flags.to, bootDeadline(config, context, undefined));
    const over = flags.over ?? (config.ssh === undefined ? "console" : "ssh");
    const limit = flags.timeout === undefined ? "" : ` (--timeout ${flags.timeout / 1000}s)`;
    const deadline = Deadline.after(
      flags.timeout ?? NO_TIMEOUT_MS,
      `the command on ${config.name}${limit}`,
      { abort: context.abort },
    );
    const result = await board.command(over).exec(line, deadline);
    const { stdout, stderr } = context.streams;
    stdout.write(result.stdout);
    stderr.write(result.stderr);
    if (result.exitCode === undefined) {
      throw new InfrastructureError(
        `the command was ended by signal ${result.signal ?? "unknown"} and has no exit code`,
      );
    }
    context.setExit(result.exitCode);
  });
}
