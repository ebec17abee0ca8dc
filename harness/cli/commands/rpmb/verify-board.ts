import type { KeyObject } from "node:crypto";
import { UsageError } from "../../../base/index.ts";
import { type BoardConfig, loadBoard } from "../../../board/index.ts";
import { LoaderPrompt, loaderConsoleOf } from "../../../bridge/index.ts";
import { type CounterClaim, counterByLoader, counterByMmcUtils } from "../../../provision/index.ts";
import {
  cidForKey,
  type Huk,
  type KeyJudgement,
  type NamedKey,
  verifyKey,
} from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { bootDeadline, withBoard } from "../../open-board.ts";
import { boardName } from "../../options.ts";
import { openKeyFile } from "../../key-opening.ts";
import { askDeadline, onBoardLinux, withHelper } from "./board-part.ts";
import { cidInput, expectationOf, hukInputs, knownKeys } from "../../known-keys.ts";
import type { VerifyFlags } from "./verify.ts";
import { judgeTraffic, watchOptee } from "./verify-optee.ts";
import type { PartSheet, Verification, VerifyWay } from "./verify-report.ts";

/** What asking came to, before it is held against what was expected. */
interface Asked {
  readonly way: VerifyWay;
  readonly subject: string;
  readonly part: PartSheet;
  /** Judges with the keys that fit this part's CID. */
  readonly judge: (keys: readonly NamedKey[]) => Promise<KeyJudgement>;
  readonly warnings?: readonly string[];
}

/** Asks the part of a board. Throws UsageError, InfrastructureError and what booting throws. */
export async function verifyBoard(context: CliContext, flags: VerifyFlags): Promise<Verification> {
  const config = await loadBoard(
    boardName(flags.board, context, "rpmb verify", "rpmb verify --board shelf-3"),
    context,
  );
  const huks = await hukInputs(context, flags, config);
  const givenCid = await cidInput(context, flags);
  const keyFile = await openKeyFile(context, flags);
  const given = { huks, keyFile, cid: givenCid };
  const finish = async (asked: Asked): Promise<Verification> =>
    await concluded(config, flags, given, asked);
  const over = flags.over ?? (config.ssh === undefined ? "console" : "ssh");
  if (flags.loaderMmc !== undefined && over !== "bridge") {
    throw new UsageError("--loader-mmc belongs to --over bridge");
  }
  if (over === "bridge") {
    const served = config.rpmb?.emulated !== undefined && flags.loaderMmc === undefined;
    return served
      ? await throughOptee(context, config, givenCid, finish)
      : await throughLoader(context, config, flags, finish);
  }
  if (over === "mmc-utils") {
    return await onBoardLinux(context, config, flags, async ({ commands, device, deadline }) => {
      const claim = await counterByMmcUtils(commands, device, deadline, config.name);
      return await finish({ way: "mmc-utils", subject: device, part: {}, judge: claimed(claim) });
    });
  }
  return await onBoardLinux(context, config, { ...flags, over }, async (place) => {
    return await withHelper(context, place, async (helper) => {
      const judge: Asked["judge"] = async (keys) => await verifyKey(helper, keys);
      return await finish({ way: "helper", subject: place.device, part: helper.facts, judge });
    });
  });
}

async function throughOptee(
  context: CliContext,
  config: BoardConfig,
  givenCid: Uint8Array | undefined,
  finish: (asked: Asked) => Promise<Verification>,
): Promise<Verification> {
  const cid = givenCid ?? writtenCid(config) ?? new Uint8Array(0);
  const hex = Buffer.from(cid).toString("hex");
  const traffic = await watchOptee(context, config, hex);
  const sizeMultiplier = config.rpmb?.emulated?.sizeMultiplier;
  return await finish({
    way: "optee",
    subject: "OP-TEE",
    part: { cid, ...(sizeMultiplier !== undefined && { sizeMultiplier }) },
    judge: async (keys) => judgeTraffic(traffic, keys),
  });
}

async function throughLoader(
  context: CliContext,
  config: BoardConfig,
  flags: VerifyFlags,
  finish: (asked: Asked) => Promise<Verification>,
): Promise<Verification> {
  const { boot } = config;
  if (boot === undefined) {
    throw new UsageError(`board ${config.name} has no boot loader`, { where: config.file });
  }
  const device = flags.device ?? config.rpmb?.device;
  const index =
    flags.loaderMmc ?? Number(/mmcblk(\d{1,2})rpmb$/.exec(device ?? "")?.[1] ?? Number.NaN);
  if (Number.isNaN(index)) {
    throw new UsageError("which part U-Boot is to ask is not known", {
      where: config.file,
      next: "Give its number in `mmc list` with --loader-mmc, or write rpmb.device to the board file.",
    });
  }
  return await withBoard(config, context, {}, async ({ board }) => {
    await board.transition("bootloader", bootDeadline(config, context, undefined));
    const prompt = new LoaderPrompt(loaderConsoleOf(board), {
      prompt: new RegExp(boot.bootloader.prompt),
    });
    try {
      const deadline = askDeadline(context, flags, config);
      const { part, ...claim } = await counterByLoader(
        async (command) => await prompt.run(command, deadline),
        index,
        config.name,
      );
      const { name, manufacturer } = part;
      const seen = `${name ?? "?"} of manufacturer 0x${(manufacturer ?? 0).toString(16)}`;
      return await finish({
        way: "u-boot",
        subject: `mmc ${index}${name === undefined ? "" : ` (${seen})`}`,
        part: {},
        judge: claimed(claim),
      });
    } finally {
      prompt.close();
    }
  });
}

/** Nobody who only tells what the part said proves anything. */
function claimed({ programmed, counter, reason }: CounterClaim): Asked["judge"] {
  return async () => ({
    verdict: programmed === undefined ? "unproven" : programmed ? "replayable" : "none programmed",
    matches: [],
    reason,
    ...(counter !== undefined && { counter: { ...counter, authentic: false } }),
  });
}

/** What the command line gives to check with. */
interface Given {
  readonly huks: readonly Huk[];
  readonly keyFile: KeyObject | undefined;
  readonly cid: Uint8Array | undefined;
}

const checksMacs = (way: VerifyWay): boolean => way === "helper" || way === "optee";

function writtenCid({ rpmb }: BoardConfig): Uint8Array | undefined {
  const written = rpmb?.expectedCid ?? rpmb?.emulated?.cid;
  return written === undefined ? undefined : Buffer.from(written, "hex");
}

/** The keys that a part may have; none where nobody checks a MAC. Throws UsageError without a CID. */
function keysFor(config: BoardConfig, given: Given, { way, part }: Asked): NamedKey[] {
  if (!checksMacs(way)) return [];
  const cid = given.cid ?? part.cid ?? writtenCid(config);
  if (cid !== undefined) return knownKeys(cid, given.huks, given.keyFile);
  throw new UsageError("the CID of the part is not known, and keys depend on it", {
    where: config.file,
    next: "Give it with --cid; Linux shows it in /sys/block/mmcblkN/device/cid.",
  });
}

async function concluded(
  config: BoardConfig,
  flags: VerifyFlags,
  given: Given,
  asked: Asked,
): Promise<Verification> {
  const { way, subject, part, judge, warnings = [] } = asked;
  const tried = keysFor(config, given, asked);
  const names = tried.map(({ name }) => name);
  const expected = expectationOf(flags.expect, config, names);
  return {
    board: config.name,
    subject,
    way,
    part,
    judgement: await judge(tried),
    tried,
    ...(expected !== undefined && { expected }),
    warnings: [...warnings, ...cidWarnings(config, part.cid, given.cid)],
  };
}

function cidWarnings(
  config: BoardConfig,
  read: Uint8Array | undefined,
  given: Uint8Array | undefined,
): string[] {
  const other = given ?? writtenCid(config);
  if (read === undefined || other === undefined) return [];
  if (Buffer.compare(cidForKey(read), cidForKey(other)) === 0) return [];
  const where = given === undefined ? `${config.file} says` : "--cid says";
  return [
    `the part shows CID ${Buffer.from(read).toString("hex")}, and ${where} ${Buffer.from(other).toString("hex")}: another part, perhaps`,
  ];
}
