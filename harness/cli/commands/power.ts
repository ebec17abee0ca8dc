import { Command } from "commander";
import { Deadline, runtimeDir, UsageError } from "../../base/index.ts";
import { type BoardConfig, loadBoard } from "../../board/index.ts";
import { boardLockHolder } from "../../run/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { withBoard } from "../open-board.ts";
import { boardName } from "../options.ts";

const ACTIONS = {
  on: "Switch a board on.",
  off: "Switch a board off.",
  cycle: "Switch a board off, wait until it has settled, and on again.",
  status: "Print on, off or unknown.",
} as const;
type Action = keyof typeof ACTIONS;

/** Outlets behind slow controllers take seconds; the settle time comes on top. */
const SWITCH_MS = 60_000;

export const build: CommandBuilder = (context) => {
  const command = new Command("power").description(
    "Switch a board on or off. The board stays as it is switched, whatever its on_exit says.",
  );
  for (const action of Object.keys(ACTIONS) as Action[]) {
    const sub = new Command(action)
      .description(ACTIONS[action])
      .argument("[board]", "the board (default: LOCKSTEP_BOARD)")
      .action(async (board: string | undefined) => {
        await power(context, action, boardName(board, context, `power ${action}`));
      });
    command.addCommand(examples(sub, [[`lockstep power ${action} shelf-3`, "that board"]]));
  }
  return examples(command, [
    ["lockstep power cycle shelf-3", "off, settle, on"],
    ["lockstep power status shelf-3", "on, off or unknown"],
  ]);
};

async function power(context: CliContext, action: Action, name: string): Promise<void> {
  const config = await loadBoard(name, context);
  if (config.platform === "qemu") {
    await powerOfQemu(context, action, config);
    return;
  }
  await withBoard(name, context, { onExit: "leave" }, async ({ board }) => {
    const settle = config.power.driver === "command" ? config.power.settleMs : 0;
    const deadline = Deadline.after(SWITCH_MS + settle, `switching ${config.name}`, {
      abort: context.abort,
    });
    if (action === "status") context.out(`${await board.power.state()}\n`);
    else await board.power[action](deadline);
  });
}

/** A QEMU board lives only as long as the command that started it. */
async function powerOfQemu(
  context: CliContext,
  action: Action,
  config: BoardConfig,
): Promise<void> {
  const holder = await boardLockHolder(config.name, { runtimeDir: runtimeDir(context.env) });
  if (action === "status") {
    context.out(`${holder === undefined ? "off" : "on"}\n`);
    if (holder !== undefined) context.err(holder);
    return;
  }
  if (action === "off" && holder === undefined) {
    context.err(`${config.name} is off: QEMU ends with the command that started it`);
    return;
  }
  throw new UsageError(
    `power ${action} means nothing for the QEMU board ${config.name}: QEMU lives only as long as the command that started it`,
    {
      next:
        holder === undefined
          ? `Use \`lockstep console ${config.name}\` or \`lockstep boot ${config.name}\`.`
          : `It is in use: ${holder}. Stop that command.`,
    },
  );
}
