import { Deadline, InfrastructureError, UsageError } from "../../base/index.ts";
import type { CommandProtocol, ExecResult, FileTransferProtocol } from "../../board/index.ts";
import { FRAME_SIZE, type RpmbChannel } from "../../rpmb/index.ts";
import { type PartFacts, partFacts } from "./part-facts.ts";

/** What the helper is run through, and the file that it is. */
export interface HelperOptions {
  readonly commands: CommandProtocol;
  readonly files: FileTransferProtocol;
  /** The program for the board's processor, on this host. */
  readonly program: string;
  /** E.g. `/dev/mmcblk2rpmb`. */
  readonly device: string;
  readonly deadline: Deadline;
  /** The board, for messages. */
  readonly where: string;
}

/** The helper on a board, until it is closed. */
export interface BoardHelper extends RpmbChannel {
  readonly facts: PartFacts;
  /** The facts as they are at this moment. */
  readFacts(): Promise<PartFacts>;
  /** Removes everything that was put on the board. Safe to call twice; never throws. */
  close(): Promise<void>;
}

/** Frames of one answer that the program has room for. */
export const HELPER_MAX_FRAMES = 256;
/** Folders of a board in which programs may be put and run, the likeliest first. */
const FOLDERS = ["/tmp", "/run", "/dev/shm", "/var/tmp", "/root"];
const NAME = "lockstep-rpmb";
const CLEAN_UP_MS = 10_000;
const DEVICE_PATH = /^\/dev\/[\w./-]{1,64}$/;

/**
 * Copies the helper into a new folder on the board, opens the part with it and reads the facts. Throws
 * UsageError for a device path that cannot be one, InfrastructureError where the board lets no program
 * run or does not let it at the part; nothing is left on the board then.
 */
export async function openBoardHelper(options: HelperOptions): Promise<BoardHelper> {
  if (!DEVICE_PATH.test(options.device)) {
    throw new UsageError(`${JSON.stringify(options.device)} is no RPMB device`, {
      expected: "a path such as /dev/mmcblk2rpmb",
      where: options.where,
    });
  }
  const folder = await install(options);
  const close = async (): Promise<void> => await remove(options.commands, folder);
  const run = async (requests: string): Promise<HelperOutput> => {
    const program = `${folder}/${NAME} ${options.device}`;
    const command =
      requests === "" ? `${program} </dev/null` : `printf '%s\\n' '${requests}'|${program}`;
    return readOutput(await options.commands.exec(command, options.deadline), options);
  };
  try {
    const { attributes } = await run("");
    return {
      facts: partFacts(attributes),
      readFacts: async () => partFacts((await run("")).attributes),
      frames: async (request, count) => {
        if (count < 1 || count > HELPER_MAX_FRAMES) {
          throw new RangeError(`${count} frames at once: at most ${HELPER_MAX_FRAMES}`);
        }
        const { answers } = await run(`${count} ${Buffer.from(request).toString("hex")}`);
        const [answer] = answers;
        if (answers.length !== 1 || answer?.length !== count * FRAME_SIZE) {
          throw garbled(options, `${answers.length} answers to one request for ${count} frames`);
        }
        return answer;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A folder on the board in which the helper is and runs. */
async function install({
  commands,
  files,
  program,
  deadline,
  where,
}: HelperOptions): Promise<string> {
  const refusals: string[] = [];
  for (const parent of FOLDERS) {
    const made = await commands.exec(`umask 077;mktemp -d ${parent}/${NAME}.XXXXXX`, deadline);
    const folder = text(made.stdout).trim();
    if (made.exitCode !== 0 || !isFolder(folder, parent)) {
      refusals.push(`${parent}: ${oneLine(text(made.stderr)) || "no folder"}`);
      continue;
    }
    try {
      await files.upload(program, `${folder}/${NAME}`, deadline);
      const there = `chmod 700 ${folder}/${NAME}&&${folder}/${NAME}`;
      const { stdout, stderr } = await commands.exec(there, deadline);
      // Without arguments it says how it is used: it runs here.
      if (text(stdout).startsWith("error usage")) return folder;
      refusals.push(`${parent}: ${oneLine(text(stderr)) || "the program does not run"}`);
    } catch (error) {
      await remove(commands, folder);
      throw error;
    }
    await remove(commands, folder);
  }
  throw new InfrastructureError("no program of ours can be put on the board and run there", {
    where,
    seen: refusals.join("; ").slice(0, 400),
    expected: "an AArch64 Linux with a folder that is writable and not mounted noexec",
  });
}

const isFolder = (folder: string, parent: string): boolean =>
  folder.startsWith(`${parent}/${NAME}.`) && /^[\w./-]{1,64}$/.test(folder);

async function remove(commands: CommandProtocol, folder: string): Promise<void> {
  const deadline = Deadline.after(CLEAN_UP_MS, "removing the helper from the board");
  await commands.exec(`rm -rf -- ${folder}`, deadline).catch(() => {});
}

interface HelperOutput {
  readonly attributes: ReadonlyMap<string, string>;
  readonly answers: readonly Uint8Array[];
}

const KNOWN_LINE = /^(?:fact [a-z_]+ .*|frames (?:[0-9a-f]{1024})+|error [a-z]+ \d+|end)$/;

/** What the helper printed: hostile until it has the form that it is described with. */
function readOutput(result: ExecResult, options: HelperOptions): HelperOutput {
  const lines = text(result.stdout)
    .split("\n")
    .filter((line) => line !== "");
  const attributes = new Map<string, string>();
  const answers: Uint8Array[] = [];
  for (const line of lines) {
    if (!KNOWN_LINE.test(line)) throw garbled(options, line);
    const [kind = "", first = "", ...rest] = line.split(" ");
    if (kind === "error") throw refusalOf(first, Number(rest[0]), options);
    if (kind === "fact") attributes.set(first, rest.join(" ").trim());
    if (kind === "frames") answers.push(Buffer.from(first, "hex"));
  }
  if (lines.at(-1) !== "end" || result.exitCode !== 0) {
    throw garbled(options, lines.at(-1) ?? oneLine(text(result.stderr)));
  }
  return { attributes, answers };
}

function garbled({ where }: HelperOptions, seen: string): InfrastructureError {
  return new InfrastructureError("what came back from the board is not what the helper prints", {
    where,
    seen: seen === "" ? "nothing" : seen.slice(0, 200),
    next: "Check with `lockstep exec` that commands on this board come back whole.",
  });
}

/** errno on Linux, for AArch64 as for x86-64. */
const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EACCES: 13,
  EBUSY: 16,
  ENODEV: 19,
  ENOTTY: 25,
};
const GONE: readonly number[] = [ERRNO.ENOENT, ERRNO.ENXIO, ERRNO.ENODEV];
const FORBIDDEN: readonly number[] = [ERRNO.EPERM, ERRNO.EACCES];

function refusalOf(what: string, code: number, options: HelperOptions): Error {
  const { device, where } = options;
  const seen = `${what === "open" ? "opening it" : "a request"} gives errno ${code}`;
  if (what !== "open" && what !== "ioctl") return garbled(options, `${what} ${code}`);
  if (FORBIDDEN.includes(code)) {
    return new InfrastructureError(`only root may talk to ${device} on the board`, {
      where,
      seen,
      next: "Let the board file's ssh.user be root, or give that user CAP_SYS_RAWIO and the device.",
    });
  }
  if (what === "open" && GONE.includes(code)) {
    return new InfrastructureError(`the board's Linux has no ${device}`, {
      where,
      seen,
      next: "`lockstep exec BOARD -- ls /dev/mmcblk*rpmb` lists what it has; write that one to rpmb.device of the board file, or give it with --device.",
    });
  }
  if (code === ERRNO.EBUSY) {
    return new InfrastructureError(`${device} is in use on the board`, {
      where,
      seen,
      next: "End what uses it, e.g. tee-supplicant, and try again.",
    });
  }
  if (code === ERRNO.ENOTTY) {
    return new InfrastructureError(`${device} is no RPMB partition: it takes no MMC commands`, {
      where,
      seen,
    });
  }
  return new InfrastructureError(`the part behind ${device} does not answer`, {
    where,
    seen,
    next: "The board's kernel log (dmesg) says more.",
  });
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const oneLine = (message: string): string => message.trim().replaceAll(/\s+/g, " ").slice(0, 200);
