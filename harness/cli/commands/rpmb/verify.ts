import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { UsageError } from "../../../base/index.ts";
import { channelTo, readRpmbState, verifyKey } from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { examples } from "../../help.ts";
import { addOpeningOptions, openKeyFile, type OpeningFlags } from "../../key-opening.ts";
import { parseDuration } from "../../options.ts";
import {
  cidInput,
  expectationOf,
  hukInputs,
  type KeyFlags,
  knownKeys,
  NONE_PROGRAMMED,
} from "../../known-keys.ts";
import { type Verification, verifyDocument, verifyExit, verifyText } from "./verify-report.ts";

export interface VerifyFlags extends KeyFlags, OpeningFlags {
  readonly board?: string;
  readonly image?: string;
  readonly over?: "ssh" | "console" | "mmc-utils" | "bridge";
  readonly device?: string;
  readonly loaderMmc?: number;
  readonly expect?: string;
  readonly timeout?: number;
  readonly json?: boolean;
}

/** `lockstep rpmb verify`. */
export function buildVerify(context: CliContext): Command {
  const command = new Command("verify")
    .description(
      "Say which key a part really has, without writing anything: the part is asked for its write " +
        "counter under a random nonce, and the MAC of the answer is checked with every key that is " +
        "known. Exits with 0 where the key is proven (and the expected one), 1 where it is another, " +
        "none of these or not programmed, 6 where nothing could be proven.",
    )
    .option("--board <board>", "the board (default: LOCKSTEP_BOARD)")
    .option("--image <file>", "the state file of an emulated part, in place of a board")
    .addOption(
      new Option(
        "--over <way>",
        "how the part is asked (default: ssh if the board has it)",
      ).choices(["ssh", "console", "mmc-utils", "bridge"]),
    )
    .option("--device <path>", "the part on the board's Linux, in place of rpmb.device")
    .option("--loader-mmc <n>", "the part's number in U-Boot, with --over bridge", parseIndex)
    .option("--cid <hex>", "CID of the part, where it cannot be read; digits, @FILE or -")
    .option(
      "--huk <[source=]value>",
      "a hardware unique key to try: digits, @FILE or -, with caam-open= or caam-closed= before it; repeatable",
      (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
    );
  addOpeningOptions(command)
    .option("--expect <route>", `fail unless the key came by this route, or is ${NONE_PROGRAMMED}`)
    .option(
      "--timeout <time>",
      "longest time for asking, once the board is up (default: 60s)",
      parseDuration,
    )
    .option("--json", "print JSON")
    .action((flags: VerifyFlags) => verify(context, flags));
  return examples(command, [
    ["lockstep rpmb verify --board shelf-3", "which key has its part?"],
    [
      "lockstep rpmb verify --board shelf-3 --huk caam-open=@mkvb-open",
      "was it written while open?",
    ],
    [
      "lockstep rpmb verify --board shelf-3 --expect caam-closed/compat --huk caam-closed=-",
      "in CI",
    ],
    ["lockstep rpmb verify --image part.rpmb --json", "an emulated part's file"],
  ]);
}

function parseIndex(text: string): number {
  if (!/^\d{1,2}$/.test(text)) throw new InvalidArgumentError("Write a number from 0 to 99.");
  return Number(text);
}

async function verify(context: CliContext, flags: VerifyFlags): Promise<void> {
  const verification =
    flags.image === undefined
      ? await onBoard(context, flags)
      : await onImage(context, flags, flags.image);
  context.setExit(verifyExit(verification));
  if (flags.json === true) {
    context.out(`${JSON.stringify(verifyDocument(verification), undefined, 2)}\n`);
    return;
  }
  const { warnings } = verification;
  for (const warning of warnings) context.err(`${context.style.err.yellow("warning:")} ${warning}`);
  context.out(verifyText(verification, context.style.out));
}

async function onBoard(context: CliContext, flags: VerifyFlags): Promise<Verification> {
  const { verifyBoard } = await import("./verify-board.ts");
  return await verifyBoard(context, flags);
}

async function onImage(
  context: CliContext,
  flags: VerifyFlags,
  name: string,
): Promise<Verification> {
  for (const flag of ["board", "over", "device", "loaderMmc"] as const) {
    if (flags[flag] !== undefined) {
      throw new UsageError(
        `--image and --${flag === "loaderMmc" ? "loader-mmc" : flag} exclude each other`,
      );
    }
  }
  const huks = await hukInputs(context, flags, undefined);
  const keyFile = await openKeyFile(context, flags);
  const file = path.resolve(context.cwd, name);
  const device = readRpmbState(file);
  const cid = (await cidInput(context, flags)) ?? device.cid;
  const tried = knownKeys(cid, huks, keyFile);
  const expected = expectationOf(
    flags.expect,
    undefined,
    tried.map((one) => one.name),
  );
  const judgement = await verifyKey(channelTo(device), tried);
  const { sizeMultiplier, relWrSecC } = device;
  return {
    subject: name,
    way: "image",
    part: { cid: device.cid, sizeMultiplier, relWrSecC },
    judgement,
    tried,
    ...(expected !== undefined && { expected }),
    warnings: [],
  };
}
