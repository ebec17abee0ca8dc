import { Command, Option } from "commander";
import { Deadline, messageOf, systemClock } from "../../base/index.ts";
import { BOARD_STATES, type BoardState } from "../../board/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { bootDeadline, type OpenedBoard, withBoard } from "../open-board.ts";
import { boardName, parseDuration } from "../options.ts";
import { formatElapsed } from "../progress.ts";

interface BootFlags {
  readonly to: BoardState;
  readonly timeout?: number;
  readonly json?: boolean;
}

export const build: CommandBuilder = (context) => {
  const command = new Command("boot")
    .description(
      "Bring a board to a state and say what it printed about itself. A hardware board stays " +
        "there; QEMU ends with the command (`console` keeps it running).",
    )
    .argument("[board]", "the board (default: LOCKSTEP_BOARD)")
    .addOption(
      new Option("--to <state>", "the state to reach").choices(BOARD_STATES).default("tee-ready"),
    )
    .option(
      "--timeout <time>",
      "for all stages together, e.g. 90s (default: the stages' own)",
      parseDuration,
    )
    .option("--json", "print JSON")
    .action((board: string | undefined, flags: BootFlags) =>
      boot(context, boardName(board, context, "boot"), flags),
    );
  return examples(command, [
    ["lockstep boot qemu-virt", "does it boot, and how long does that take?"],
    ["lockstep boot shelf-3 --to bootloader", "stop at U-Boot's prompt"],
  ]);
};

async function boot(context: CliContext, name: string, flags: BootFlags): Promise<void> {
  await withBoard(name, context, { onExit: "leave" }, async (opened) => {
    const { board, config } = opened;
    const start = systemClock.monotonicMs();
    const deadline = bootDeadline(config, context, flags.timeout);
    try {
      await board.transition(flags.to, deadline);
    } catch (error) {
      if (config.onExit === "off") await switchOff(context, opened);
      throw error;
    }
    const ms = Math.round(systemClock.monotonicMs() - start);
    const { versions } = board;
    if (flags.json === true) {
      const report = { board: config.name, state: flags.to, ms, versions };
      context.out(`${JSON.stringify(report, undefined, 2)}\n`);
      return;
    }
    const printed = Object.entries(versions).map(([what, version]) => `${what} ${version}`);
    const tail = printed.length === 0 ? "" : ` (${printed.join(", ")})`;
    context.out(`${config.name}: ${flags.to} after ${formatElapsed(ms)}${tail}\n`);
  });
}

/** A board that did not get there is left as its file says; that this fails is not the first news. */
async function switchOff(context: CliContext, { board, config }: OpenedBoard): Promise<void> {
  try {
    // The user's abort must not keep us from it.
    await board.power.off(Deadline.after(OFF_MS, `switching ${config.name} off`));
  } catch (error) {
    context.progress.warn(`${config.name} could not be switched off: ${messageOf(error)}`);
  }
}

const OFF_MS = 60_000;
