import {
  Deadline,
  InfrastructureError,
  type Progress,
  runtimeDir,
  UsageError,
} from "../base/index.ts";
import {
  type BoardConfig,
  boardFileError,
  type BoardObserver,
  type LiveBoard,
  loadBoard,
  missingFiles,
  openBoard,
} from "../board/index.ts";
import { findPrepared, type PreparedImage } from "../images/index.ts";
import { acquireBoardLock } from "../run/index.ts";
import type { CliContext } from "./context.ts";
import { ServedPart } from "./served-part.ts";

export interface OpenBoardForCliOptions {
  readonly observer?: BoardObserver;
  /** In place of the context's, e.g. where the console itself is on the screen. */
  readonly progress?: Progress;
  /** In place of what the board file says. QEMU is always off. */
  readonly onExit?: BoardConfig["onExit"];
  /** A folder for QEMU's own console logs. */
  readonly qemuLogs?: string;
  /** A file that becomes the RAM of a QEMU board. */
  readonly sharedRam?: string;
  /** A program that a QEMU board starts in place of its kernel. */
  readonly kernel?: string;
  /** False where the board's Linux is not booted: an RPMB part that Lockstep serves is then not served to it. */
  readonly servePart?: false;
}

/** A board that this process owns: locked, its files resolved, its consoles about to be drained. */
export interface OpenedBoard {
  readonly board: LiveBoard;
  readonly config: BoardConfig;
  readonly prepared: PreparedImage | undefined;
  /** The RPMB part that Lockstep serves to the board's Linux, where its file says so. */
  readonly part: ServedPart | undefined;
  /** Leaves the board as `on_exit` says and frees its lock. Safe to call twice. */
  close(): Promise<void>;
}

const NO_OBSERVER: BoardObserver = {
  raw: () => {},
  line: () => {},
  stageStart: () => {},
  stageEnd: () => {},
};

/**
 * Opens a board for one command: loads its file, finds its image, takes its lock. The one way in
 * which commands come to a board. Throws UsageError for the emulated platform and unknown names,
 * BoardFileError for what is wrong or missing in the file, InfrastructureError for an image that is
 * not prepared and a board that is in use.
 */
export async function openBoardForCli(
  nameOrConfig: string | BoardConfig,
  context: CliContext,
  options: OpenBoardForCliOptions = {},
): Promise<OpenedBoard> {
  const config =
    typeof nameOrConfig === "string" ? await loadBoard(nameOrConfig, context) : nameOrConfig;
  if (config.platform === "emulated") {
    throw new UsageError(
      `board ${config.name} is the emulated platform: it has no power, console or shell`,
      {
        next: "Name another board, or use `lockstep run`.",
      },
    );
  }
  const [missing, ...more] = await missingFiles(config.file, context);
  if (missing !== undefined) throw boardFileError(missing, more.length);
  const prepared = await preparedImage(config, context);
  const part = options.servePart === false ? undefined : servedPart(config);
  const lock = await acquireBoardLock(config.name, { runtimeDir: runtimeDir(context.env) });
  try {
    const board = await openBoard(
      options.onExit === undefined ? config : { ...config, onExit: options.onExit },
      {
        observer: options.observer ?? NO_OBSERVER,
        progress: options.progress ?? context.progress,
        abort: context.abort,
        ...(prepared !== undefined && { prepared }),
        ...(options.qemuLogs !== undefined && { qemuLogs: options.qemuLogs }),
        ...(options.sharedRam !== undefined && { sharedRam: options.sharedRam }),
        ...(options.kernel !== undefined && { kernel: options.kernel }),
        ...(part !== undefined && { guestPort: part }),
      },
    );
    return {
      board,
      config,
      prepared,
      part,
      close: async () => {
        try {
          await board.close();
        } finally {
          await lock.release();
        }
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

function servedPart({ platform, rpmb }: BoardConfig): ServedPart | undefined {
  const emulated = rpmb?.emulated;
  return platform === "qemu" && emulated !== undefined ? new ServedPart(emulated) : undefined;
}

async function preparedImage(
  config: BoardConfig,
  context: CliContext,
): Promise<PreparedImage | undefined> {
  if (config.image === undefined) return undefined;
  const prepared = await findPrepared(config.image, context.env);
  if (prepared !== undefined) return prepared;
  throw new InfrastructureError(
    `the image ${config.image} of board ${config.name} is not prepared`,
    {
      next: `Run \`lockstep prepare ${config.name}\` first.`,
    },
  );
}

/** Runs `work` with an open board and closes it, whatever happens. */
export async function withBoard<T>(
  name: string | BoardConfig,
  context: CliContext,
  options: OpenBoardForCliOptions,
  work: (opened: OpenedBoard) => Promise<T>,
): Promise<T> {
  const opened = await openBoardForCli(name, context, options);
  try {
    return await work(opened);
  } finally {
    await opened.close();
  }
}

/** What all stages of a boot may take together, unless `--timeout` says otherwise. */
export function bootDeadline(
  config: BoardConfig,
  context: CliContext,
  timeoutMs: number | undefined,
): Deadline {
  const { boot } = config;
  const stages =
    boot === undefined
      ? 0
      : boot.bootloader.timeoutMs + boot.linux.timeoutMs + boot.teeReady.timeoutMs;
  return Deadline.after(timeoutMs ?? stages + SWITCHING_MS, `booting ${config.name}`, {
    abort: context.abort,
  });
}

/** Power and consoles, before the first stage begins. */
const SWITCHING_MS = 60_000;
