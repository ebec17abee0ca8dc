import { Deadline, UsageError } from "../../../base/index.ts";
import type { BoardConfig, CommandProtocol, FileTransferProtocol } from "../../../board/index.ts";
import { boardProgram } from "../../../images/index.ts";
import { type BoardHelper, openBoardHelper } from "../../../provision/index.ts";
import type { CliContext } from "../../context.ts";
import { bootDeadline, withBoard } from "../../open-board.ts";

/** How a part on a board's Linux is reached. */
export interface PartFlags {
  readonly over?: "ssh" | "console" | "mmc-utils" | "bridge";
  readonly device?: string;
  readonly timeout?: number;
}

/** A board whose Linux is up, and its part there. */
export interface BoardPart {
  readonly config: BoardConfig;
  readonly device: string;
  readonly commands: CommandProtocol;
  readonly files: FileTransferProtocol;
  readonly deadline: Deadline;
}

const DEFAULT_MS = 60_000;

/** What asking may take once the board is up. */
export function askDeadline(
  context: CliContext,
  { timeout }: PartFlags,
  { name }: BoardConfig,
): Deadline {
  return Deadline.after(timeout ?? DEFAULT_MS, `asking the part of ${name}`, {
    abort: context.abort,
  });
}

/**
 * Brings a board to Linux and works on its part there. Throws UsageError where nothing says which
 * device that is, and what booting throws.
 */
export async function onBoardLinux<T>(
  context: CliContext,
  config: BoardConfig,
  flags: PartFlags,
  work: (part: BoardPart) => Promise<T>,
): Promise<T> {
  const device = flags.device ?? deviceOf(config) ?? noDevice(config);
  const usual = config.ssh === undefined ? "console" : "ssh";
  const over = flags.over === "ssh" || flags.over === "console" ? flags.over : usual;
  return await withBoard(config, context, {}, async ({ board }) => {
    await board.transition("linux", bootDeadline(config, context, undefined));
    const deadline = askDeadline(context, flags, config);
    return await work({
      config,
      device,
      commands: board.command(over),
      files: board.files,
      deadline,
    });
  });
}

/** Works with our helper on the board, which is removed again whatever happens. */
export async function withHelper<T>(
  context: CliContext,
  { config, ...part }: BoardPart,
  work: (helper: BoardHelper) => Promise<T>,
): Promise<T> {
  const program = await boardProgram("lockstep-rpmb", context);
  const helper = await openBoardHelper({ ...part, program, where: config.name });
  try {
    return await work(helper);
  } finally {
    await helper.close();
  }
}

/** Where the Linux of a QEMU board shows the part that Lockstep serves. */
const SERVED_DEVICE = "/dev/mmcblk0rpmb";

function deviceOf({ platform, rpmb }: BoardConfig): string | undefined {
  const served = platform === "qemu" && rpmb?.emulated !== undefined;
  return rpmb?.device ?? (served ? SERVED_DEVICE : undefined);
}

function noDevice({ name, file }: BoardConfig): never {
  throw new UsageError(`board ${name} does not say which device its RPMB part is`, {
    where: file,
    next: "Write `rpmb: { device: /dev/mmcblkNrpmb }` to its file, or give --device.",
  });
}
