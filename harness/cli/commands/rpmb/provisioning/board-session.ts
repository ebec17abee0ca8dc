import type { KeyObject } from "node:crypto";
import { existsSync } from "node:fs";
import {
  Deadline,
  InfrastructureError,
  InternalError,
  UsageError,
} from "../../../../base/index.ts";
import type { BoardConfig, BoardObserver, CommandProtocol } from "../../../../board/index.ts";
import {
  hasProgram,
  KEY_CLIENT,
  type OpteeLine,
  opteeLine,
  parseKeyClient,
  summarizeLines,
  writeKeyByMmcUtils,
} from "../../../../provision/index.ts";
import { channelTo, EmmcRpmb, readRpmbState, type RpmbChannel } from "../../../../rpmb/index.ts";
import type { CliContext } from "../../../context.ts";
import { bootDeadline, type OpenedBoard, withBoard } from "../../../open-board.ts";
import { askDeadline, type BoardPart, withHelper } from "../board-part.ts";
import type { ProvisionFlags } from "./flags.ts";
import { reportedCid, type SessionWork } from "./session.ts";

/** Asking, writing and asking again: nothing of it may be cut short by a board that is slow. */
const BOARD_MS = 300_000;
/** What OP-TEE's storage may take the first time, a TA included. */
const TRIGGER_MS = 180_000;

/** A part on the board's Linux, reached with our helper and, for writing, with mmc-utils over SSH. */
export async function onDevice<T>(
  context: CliContext,
  flags: ProvisionFlags,
  config: BoardConfig,
  work: SessionWork<T>,
): Promise<T> {
  const device = config.rpmb?.device;
  if (device === undefined) {
    throw new UsageError(`board ${config.name} does not say which device its RPMB part is`, {
      where: config.file,
      next: "Write `rpmb: { device: /dev/mmcblkNrpmb }` to its file.",
    });
  }
  refuseToBoot(flags, config);
  const lines: OpteeLine[] = [];
  return await withBoard(config, context, { observer: watching(lines) }, async (opened) => {
    const { board } = opened;
    const needsTee = flags.route === "key-service";
    await board.transition(
      needsTee ? "tee-ready" : "linux",
      bootDeadline(config, context, undefined),
    );
    const deadline = askDeadline(context, { timeout: flags.timeout ?? BOARD_MS }, config);
    const commands = board.command(config.ssh === undefined ? "console" : "ssh");
    const place: BoardPart = { config, device, commands, files: board.files, deadline };
    return await withHelper(context, place, async (helper) => {
      const sizeMultiplier = helper.facts.sizeMultiplier;
      return await work({
        where: device,
        emulated: false,
        ...(sizeMultiplier !== undefined && { sizeMultiplier }),
        live: {
          channel: helper,
          cid: async () => reportedCid((await helper.readFacts()).cid, config.name),
        },
        tools: await toolsOn(commands, flags, deadline),
        ...(needsTee && { readKey: async (cid) => await readKey(config, commands, cid, deadline) }),
        act: async (key) => {
          if (flags.route === "write-key-build") {
            return await firstUse(context, flags, opened, lines);
          }
          if (config.ssh === undefined || key === undefined) {
            throw new UsageError("a key is written over SSH only", { where: config.file });
          }
          await writeKeyByMmcUtils(commands, device, key, deadline);
          return "written by mmc-utils on the board";
        },
      });
    });
  });
}

const planned = async (): Promise<never> =>
  await Promise.reject(new InternalError("a plan performs nothing"));

/** Linux of a write-key build may program the part before anybody has asked it. */
function refuseToBoot(flags: ProvisionFlags, config: BoardConfig): void {
  const mayWrite = flags.route === "write-key-build" && config.rpmb?.optee.writeKey !== false;
  if (!mayWrite || config.expendable) return;
  throw new UsageError("this board is not booted for a plan: its OP-TEE may program the part", {
    where: config.file,
    expected: "a unit that its file marks `expendable: true`",
    next: "Use --offline for a plan from the board file alone.",
  });
}

/** A part that Lockstep serves to a QEMU board: in its file before, on the board's Linux during the act. */
export async function onServedPart<T>(
  context: CliContext,
  flags: ProvisionFlags,
  config: BoardConfig,
  state: string | undefined,
  work: SessionWork<T>,
): Promise<T> {
  const { cid, sizeMultiplier } = config.rpmb?.emulated ?? { cid: "", sizeMultiplier: 1 };
  const create = { cid: Buffer.from(cid, "hex"), sizeMultiplier };
  const asKept = (): EmmcRpmb =>
    state !== undefined && existsSync(state) ? readRpmbState(state) : new EmmcRpmb(create);
  const needsTee = flags.route === "key-service";
  const device = "/dev/mmcblk0rpmb";
  const base = { where: device, emulated: true, sizeMultiplier } as const;
  if (flags.perform !== true && !needsTee) {
    const part = asKept();
    const reported = Buffer.from(part.cid).toString("hex");
    return await work({
      ...base,
      live: { channel: channelTo(part), cid: async () => reported },
      tools: {},
      act: planned,
    });
  }
  const lines: OpteeLine[] = [];
  return await withBoard(config, context, { observer: watching(lines) }, async (opened) => {
    const current = (): EmmcRpmb => opened.part?.part ?? asKept();
    const channel: RpmbChannel = {
      frames: async (request, count) => await channelTo(current()).frames(request, count),
    };
    let commands: CommandProtocol | undefined;
    const up = async (): Promise<CommandProtocol> => {
      await opened.board.transition("tee-ready", bootDeadline(config, context, undefined));
      commands ??= opened.board.command(config.ssh === undefined ? "console" : "ssh");
      return commands;
    };
    const deadline = (): Deadline =>
      askDeadline(context, { timeout: flags.timeout ?? BOARD_MS }, config);
    return await work({
      ...base,
      live: { channel, cid: async () => Buffer.from(current().cid).toString("hex") },
      tools: needsTee ? await toolsOn(await up(), flags, deadline()) : {},
      ...(needsTee && {
        readKey: async (wanted) => await readKey(config, await up(), wanted, deadline()),
      }),
      act: async (key) => {
        if (!needsTee) return await firstUse(context, flags, opened, lines);
        if (key === undefined) throw new UsageError("the key was not read out");
        await writeKeyByMmcUtils(await up(), device, key, deadline());
        return "written by mmc-utils on the board";
      },
    });
  });
}

/** Makes OP-TEE use its storage, and gives what it said of it. */
async function firstUse(
  context: CliContext,
  flags: ProvisionFlags,
  { board, config }: OpenedBoard,
  lines: OpteeLine[],
): Promise<string> {
  await board.transition("tee-ready", bootDeadline(config, context, undefined));
  const deadline = Deadline.after(flags.timeout ?? TRIGGER_MS, "the first use of RPMB storage", {
    abort: context.abort,
  });
  const commands = board.command(config.ssh === undefined ? "console" : "ssh");
  const { exitCode } = await commands.exec(flags.trigger, deadline);
  const said = summarizeLines(lines);
  if (lines.some(({ says }) => says === "not ready")) {
    throw new InfrastructureError("OP-TEE did not program the part: its key is not ready", {
      seen: said,
      next: "An i.MX8M must be closed for that; see the plan.",
    });
  }
  return `${said}; ${flags.trigger.split(" ")[0] ?? ""} ended with exit code ${exitCode ?? "?"}`;
}

const watching = (lines: OpteeLine[]): BoardObserver => ({
  raw: () => {},
  stageStart: () => {},
  stageEnd: () => {},
  line: (_stream, _offset, text) => {
    const found = opteeLine(text);
    if (found !== undefined) lines.push(found);
  },
});

async function toolsOn(
  commands: CommandProtocol,
  { route }: ProvisionFlags,
  deadline: Deadline,
): Promise<{ mmc?: boolean; keyClient?: boolean }> {
  if (route === "write-key-build") return {};
  const mmc = await hasProgram(commands, "mmc", deadline);
  if (route !== "key-service") return { mmc };
  return { mmc, keyClient: await hasProgram(commands, KEY_CLIENT.program, deadline) };
}

async function readKey(
  config: BoardConfig,
  commands: CommandProtocol,
  cid: string,
  deadline: Deadline,
): Promise<KeyObject> {
  if (config.ssh === undefined) {
    throw new UsageError("a key is read out over SSH only: what a console shows is recorded", {
      where: config.file,
      next: "Add an `ssh` section to the board file.",
    });
  }
  const result = await commands.exec(`${KEY_CLIENT.program} ${cid}`, deadline);
  if (result.exitCode === 0) return parseKeyClient(result.stdout, cid);
  result.stdout.fill(0);
  const said = Buffer.from(result.stderr)
    .toString("latin1")
    .replaceAll(/[^\x20-\x7e]+/g, " ");
  throw new InfrastructureError("the key could not be read out of the board's OP-TEE", {
    where: KEY_CLIENT.program,
    seen: `exit code ${result.exitCode ?? "?"}: ${said
      .replaceAll(/[0-9a-f]{32,}/gi, "*")
      .trim()
      .slice(0, 200)}`,
    next:
      result.exitCode === KEY_CLIENT.exit.absent
        ? "Boot the build with the key-read service: it is in CFG_INSECURE=y builds of `lockstep prepare` only."
        : "The board's secure console may say more.",
  });
}
