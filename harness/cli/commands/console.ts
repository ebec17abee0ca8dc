import { Command, Option } from "commander";
import {
  Deadline,
  InfrastructureError,
  InterruptedError,
  silentProgress,
  UsageError,
} from "../../base/index.ts";
import {
  BOARD_STATES,
  type BoardConfig,
  type BoardState,
  type LiveBoard,
} from "../../board/index.ts";
import { consoleView } from "../console-view.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { bootDeadline, withBoard } from "../open-board.ts";
import { boardName } from "../options.ts";

interface ConsoleFlags {
  readonly to?: BoardState;
  readonly name?: string;
}

/** Ctrl-], as in telnet and virsh. */
const ESCAPE = 0x1d;
const POWER_ON_MS = 60_000;

export const build: CommandBuilder = (context) => {
  const command = new Command("console")
    .description(
      "Show a board's console live and type on it; Ctrl-] ends it. A QEMU board is started and " +
        "ends with the command; hardware is left as it is unless --to moves it, and as its on_exit " +
        "says at the end. Where stdin is not a terminal, it is typed on the console as it comes, once " +
        "the board is there.",
    )
    .argument("[board]", "the board (default: LOCKSTEP_BOARD)")
    .addOption(
      new Option("--to <state>", "bring the board to this state first").choices(
        BOARD_STATES.slice(1),
      ),
    )
    .option(
      "--name <console>",
      "the console to show, or `all`: then the others' lines are prefixed (default: the primary one)",
    )
    .action((board: string | undefined, flags: ConsoleFlags) =>
      showConsole(context, boardName(board, context, "console"), flags),
    );
  return examples(command, [
    ["lockstep console qemu-virt", "boot it and watch"],
    ["lockstep console qemu-virt --to bootloader", "a U-Boot prompt"],
    ["lockstep console qemu-virt --name all", "normal world, and secure world prefixed"],
  ]);
};

async function showConsole(context: CliContext, name: string, flags: ConsoleFlags): Promise<void> {
  const { stdin, stdout } = context.streams;
  await withBoard(name, context, { progress: silentProgress }, async ({ board, config }) => {
    const shown = selected(config, flags.name);
    const primary = config.consoles.find((console) => console.primary)?.name ?? "";
    const view = consoleView(shown, primary, (bytes) => void stdout.write(bytes));
    const end = new AbortController();
    const closers = [board.onRaw(view)];
    const raw = stdin.isTTY === true && stdin.setRawMode !== undefined;
    try {
      if (raw) stdin.setRawMode?.(true);
      context.err(`${config.name}: ${shown.join(", ")} console${raw ? "; Ctrl-] ends it" : ""}`);
      closers.push(watchEnd(context, board, end));
      let started = false;
      // A person may type, and end it, while the board starts; what is piped in waits until then.
      if (stdin.isTTY === true) closers.push(typing(context, board, end, () => started));
      await start(context, board, config, flags.to, end.signal);
      started = true;
      if (stdin.isTTY !== true) closers.push(typing(context, board, end, () => started));
      await ended(end.signal, context.abort);
    } finally {
      for (const close of closers) close();
      if (raw) stdin.setRawMode?.(false);
    }
    if (context.abort.aborted) throw new InterruptedError("interrupted");
    if (end.signal.reason instanceof Error && end.signal.reason.name !== "AbortError") {
      throw end.signal.reason;
    }
  });
}

function selected(config: BoardConfig, name: string | undefined): string[] {
  const names = config.consoles.map((console) => console.name);
  if (name === "all") return names;
  const wanted = name ?? config.consoles.find((console) => console.primary)?.name;
  if (wanted !== undefined && names.includes(wanted)) return [wanted];
  throw new UsageError(`board ${config.name} has no console "${wanted ?? ""}"`, {
    next: `It has: ${names.join(", ")}; \`all\` shows all.`,
  });
}

async function start(
  context: CliContext,
  board: LiveBoard,
  config: BoardConfig,
  to: BoardState | undefined,
  end: AbortSignal,
): Promise<void> {
  const abort = AbortSignal.any([context.abort, end]);
  const options = { ...context, abort };
  try {
    if (to !== undefined) await board.transition(to, bootDeadline(config, options, undefined));
    else if (config.platform === "qemu") {
      await board.power.on(Deadline.after(POWER_ON_MS, `starting ${config.name}`, { abort }));
    }
  } catch (error) {
    // Whatever an interrupt made fail, e.g. a power command, it is an interrupt.
    if (!abort.aborted) throw error;
  }
}

/** Passes what is typed on to the board until Ctrl-]. Keys that come before its console is open are lost. */
function typing(
  context: CliContext,
  board: LiveBoard,
  end: AbortController,
  started: () => boolean,
): () => void {
  const { stdin } = context.streams;
  const fail = (error: unknown): void => {
    if (started()) end.abort(error);
  };
  const onData = (chunk: Buffer): void => {
    const escape = stdin.isTTY === true ? chunk.indexOf(ESCAPE) : -1;
    const bytes = escape < 0 ? chunk : chunk.subarray(0, escape);
    if (bytes.length > 0) board.type(bytes).catch(fail);
    if (escape >= 0) end.abort();
  };
  stdin.on("data", onData);
  stdin.resume();
  return () => {
    stdin.off("data", onData);
    stdin.pause();
  };
}

/** Ends the console when the board is gone or nobody reads it any more. */
function watchEnd(context: CliContext, board: LiveBoard, end: AbortController): () => void {
  const { stdout } = context.streams;
  const onGone = (): void => {
    end.abort();
  };
  stdout.on("error", onGone);
  const off = board.onIncident(({ gone, what }) => {
    // Who sits at the console sees panics, resets and logins there, and may have asked for them.
    if (gone !== true) return;
    context.err(`\r\nlockstep: ${what}\r`);
    end.abort(new InfrastructureError(`the console is gone: ${what}`));
  });
  return () => {
    stdout.off("error", onGone);
    off();
  };
}

async function ended(...signals: readonly AbortSignal[]): Promise<void> {
  const any = AbortSignal.any([...signals]);
  if (any.aborted) return;
  await new Promise<void>((resolve) => {
    any.addEventListener("abort", () => resolve(), { once: true });
  });
}
