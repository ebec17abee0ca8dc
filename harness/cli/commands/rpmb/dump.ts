import { createHash, type KeyObject } from "node:crypto";
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { createPrivateFile, EXIT, UsageError } from "../../../base/index.ts";
import { loadBoard } from "../../../board/index.ts";
import {
  channelTo,
  type KeyJudgement,
  keyId,
  type NamedKey,
  readRpmbState,
  type RpmbChannel,
  verifyKey,
} from "../../../rpmb/index.ts";
import { listRpmbFs } from "../../../secure-world/index.ts";
import type { CliContext } from "../../context.ts";
import { examples } from "../../help.ts";
import { addOpeningOptions, openKeyFile, type OpeningFlags } from "../../key-opening.ts";
import { boardName, parseDuration } from "../../options.ts";
import { onBoardLinux, withHelper } from "./board-part.ts";
import { PartBlocks } from "./part-blocks.ts";
import { type DumpDocument, dumpText } from "./dump-report.ts";
import { cidInput, hukInputs, type KeyFlags, knownKeys } from "../../known-keys.ts";
import { partDocument, type PartSheet } from "./verify-report.ts";

interface DumpFlags extends KeyFlags, OpeningFlags {
  readonly board?: string;
  readonly image?: string;
  readonly over?: "ssh" | "console";
  readonly device?: string;
  readonly blocks?: BlockRange;
  readonly raw?: string;
  readonly timeout?: number;
  readonly json?: boolean;
}

export interface BlockRange {
  readonly address: number;
  readonly count: number;
}

/** A part that is open, and what is known of it without asking. */
interface OpenPart {
  readonly board?: string;
  readonly subject: string;
  readonly channel: RpmbChannel;
  readonly sheet: PartSheet;
  readonly keys: readonly NamedKey[];
  /** Blocks that one request may ask for. */
  readonly blocksAtOnce: number;
}

/** `lockstep rpmb dump`. */
export function buildDump(context: CliContext): Command {
  const command = new Command("dump")
    .description(
      "Show what a part is and what is on it: CID, size, write counter, whether a key is programmed, " +
        "and the files of OP-TEE's storage. Reads are authenticated where the part's key is known, and " +
        "marked unverified where it is not. Nothing is written, and no key is shown.",
    )
    .option("--board <board>", "the board (default: LOCKSTEP_BOARD)")
    .option("--image <file>", "the state file of an emulated part, in place of a board")
    .addOption(
      new Option("--over <way>", "how the board is reached (default: ssh if it has it)").choices([
        "ssh",
        "console",
      ]),
    )
    .option("--device <path>", "the part on the board's Linux, in place of rpmb.device")
    .option("--cid <hex>", "CID of the part, where it cannot be read; digits, @FILE or -")
    .option(
      "--huk <[source=]value>",
      "a hardware unique key to try, as for verify; repeatable",
      (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
    );
  addOpeningOptions(command)
    .option("--blocks <first[+count]>", "show these blocks of 256 bytes, e.g. 0 or 2+8", parseRange)
    .option("--raw <file>", "write the blocks to a new file: all of them, or those of --blocks")
    .option("--timeout <time>", "longest time for reading (default: 60s)", parseDuration)
    .option("--json", "print JSON")
    .action((flags: DumpFlags) => dump(context, flags));
  return examples(command, [
    ["lockstep rpmb dump --image part.rpmb", "what is on an emulated part"],
    [
      "lockstep rpmb dump --board shelf-3 --huk @huk",
      "a board's, verified with the key of this HUK",
    ],
    ["lockstep rpmb dump --image part.rpmb --blocks 0+2", "the first 512 bytes in hex"],
    ["lockstep rpmb dump --board shelf-3 --raw blocks.bin --json", "all of it, for other tools"],
  ]);
}

function parseRange(text: string): BlockRange {
  const [, first, count = "1"] = /^(\d{1,5}|0x[0-9a-f]{1,4})(?:\+(\d{1,5}))?$/i.exec(text) ?? [];
  const range = { address: Number(first), count: Number(count) };
  if (first === undefined || range.count < 1 || range.address + range.count > 0x1_0000) {
    throw new InvalidArgumentError("Write a block from 0 to 65535, and +COUNT for more than one.");
  }
  return range;
}

async function dump(context: CliContext, flags: DumpFlags): Promise<void> {
  const document =
    flags.image === undefined
      ? await dumpBoard(context, flags)
      : await dumpImage(context, flags, flags.image);
  if (document.problems.length > 0) context.setExit(EXIT.failed);
  if (flags.json === true) context.out(`${JSON.stringify(document, undefined, 2)}\n`);
  else context.out(dumpText(document, context.style.out));
}

async function dumpImage(
  context: CliContext,
  flags: DumpFlags,
  name: string,
): Promise<DumpDocument> {
  for (const flag of ["board", "over", "device"] as const) {
    if (flags[flag] !== undefined) {
      throw new UsageError(`--image and --${flag} exclude each other`);
    }
  }
  const [huks, keyFile, cid] = [
    await hukInputs(context, flags, undefined),
    await openKeyFile(context, flags),
    await cidInput(context, flags),
  ];
  const device = readRpmbState(path.resolve(context.cwd, name));
  const { sizeMultiplier, relWrSecC } = device;
  return await read(context, flags, {
    subject: name,
    channel: channelTo(device),
    sheet: { cid: device.cid, sizeMultiplier, relWrSecC },
    keys: knownKeys(cid ?? device.cid, huks, keyFile),
    blocksAtOnce: 256,
  });
}

async function dumpBoard(context: CliContext, flags: DumpFlags): Promise<DumpDocument> {
  const config = await loadBoard(
    boardName(flags.board, context, "rpmb dump", "rpmb dump --board shelf-3"),
    context,
  );
  const huks = await hukInputs(context, flags, config);
  const keyFile = await openKeyFile(context, flags);
  const given = await cidInput(context, flags);
  return await onBoardLinux(context, config, flags, async (part) =>
    withHelper(context, part, async (helper) => {
      const written = config.rpmb?.expectedCid ?? config.rpmb?.emulated?.cid;
      const cid =
        given ??
        helper.facts.cid ??
        (written === undefined ? undefined : Buffer.from(written, "hex"));
      return await read(context, flags, {
        board: config.name,
        subject: part.device,
        channel: helper,
        sheet: helper.facts,
        keys: cid === undefined ? [] : knownKeys(cid, huks, keyFile),
        // What controllers and drivers take in one transfer differs; every one takes this much.
        blocksAtOnce: 32,
      });
    }),
  );
}

async function read(context: CliContext, flags: DumpFlags, part: OpenPart): Promise<DumpDocument> {
  const { channel, sheet, keys, subject, board } = part;
  const judgement = await verifyKey(channel, keys);
  const [found] = judgement.matches;
  const blocks = new PartBlocks(channel, found?.key, part.blocksAtOnce);
  const units = sheet.sizeMultiplier;
  const total = units === undefined ? undefined : units * 512;
  const readable = judgement.verdict !== "none programmed";
  const problems: string[] = [];
  const fs =
    readable && total !== undefined
      ? await listRpmbFs(async (at, length) => await blocks.bytes(at, length), total * 256)
      : undefined;
  const range = wanted(flags, total);
  const data = readable && range !== undefined ? await blocks.range(range) : undefined;
  if (range !== undefined && data === undefined) {
    problems.push(readable ? (blocks.problem ?? "the blocks cannot be read") : NOTHING);
  }
  if (blocks.problem !== undefined && !problems.includes(blocks.problem))
    problems.push(blocks.problem);
  const file = flags.raw;
  if (file !== undefined && data !== undefined) {
    await createPrivateFile(path.resolve(context.cwd, file), data);
  }
  return {
    format: 1,
    ...(board !== undefined && { board }),
    subject,
    part: partDocument(sheet),
    key: keyText(judgement, found?.key),
    ...(judgement.counter !== undefined && { counter: judgement.counter }),
    authentic: blocks.authentic,
    ...(fs !== undefined && { storage: fs }),
    ...(range !== undefined &&
      data !== undefined && { blocks: blocksDocument(range, data, flags) }),
    problems,
  };
}

const NOTHING = "no key is programmed: a part without one gives no data";

function wanted({ blocks, raw }: DumpFlags, total: number | undefined): BlockRange | undefined {
  if (blocks !== undefined) return blocks;
  if (raw === undefined) return undefined;
  if (total !== undefined) return { address: 0, count: total };
  throw new UsageError("the size of the part is not known", {
    next: "Say with --blocks which blocks to write.",
  });
}

function keyText({ verdict, matches, reason }: KeyJudgement, key: KeyObject | undefined) {
  return {
    verdict,
    reason,
    routes: matches.map(({ name }) => name),
    ...(key !== undefined && { keyId: keyId(key) }),
  };
}

function blocksDocument({ address, count }: BlockRange, data: Uint8Array, { raw }: DumpFlags) {
  const sha256 = createHash("sha256").update(data).digest("hex");
  const shown = raw === undefined ? { hex: Buffer.from(data).toString("hex") } : { file: raw };
  return { address, count, sha256, ...shown };
}
