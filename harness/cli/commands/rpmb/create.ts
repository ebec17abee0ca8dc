import { existsSync } from "node:fs";
import path from "node:path";
import { Command, InvalidArgumentError } from "commander";
import { UsageError } from "../../../base/index.ts";
import { MAX_SIZE_MULT, openRpmbState } from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { examples } from "../../help.ts";
import { cidInput } from "../../known-keys.ts";

interface CreateFlags {
  readonly cid: string;
  readonly sizeMultiplier: number;
  readonly json?: boolean;
}

/** `lockstep rpmb create`. */
export function buildCreate(context: CliContext): Command {
  const command = new Command("create")
    .description(
      "Make the state file of an emulated part, blank: no key, counter 0. Board files name it as " +
        "rpmb.state; `rpmb verify`, `dump` and `provision` take it as --image.",
    )
    .argument("<file>", "a file that is not there yet")
    .requiredOption("--cid <hex>", "the part's CID, 16 bytes in register order; digits, @FILE or -")
    .option("--size-multiplier <n>", "its size in units of 128 KiB", parseMultiplier, 2)
    .option("--json", "print JSON")
    .action(async (file: string, flags: CreateFlags) => await create(context, file, flags));
  return examples(command, [
    ["lockstep rpmb create part.rpmb --cid fe014e4d4d4330344742c8f6552a6115", "256 KiB"],
    ["lockstep rpmb create part.rpmb --cid @cid --size-multiplier 32", "4 MiB, a board's own CID"],
  ]);
}

function parseMultiplier(text: string): number {
  const value = Number(text);
  if (/^\d{1,3}$/.test(text) && value >= 1 && value <= MAX_SIZE_MULT) return value;
  throw new InvalidArgumentError(`Write a number from 1 to ${MAX_SIZE_MULT}.`);
}

async function create(context: CliContext, name: string, flags: CreateFlags): Promise<void> {
  const { sizeMultiplier } = flags;
  const cid = await cidInput(context, flags);
  if (cid === undefined) throw new UsageError("--cid is missing");
  const file = path.resolve(context.cwd, name);
  if (existsSync(file)) {
    throw new UsageError("there is such a file already", {
      where: name,
      next: "Name another one: what a part holds is never overwritten.",
    });
  }
  openRpmbState(file, { create: { cid, sizeMultiplier } }).close();
  const made = { file: name, cid: Buffer.from(cid).toString("hex"), sizeMultiplier };
  if (flags.json === true) context.out(`${JSON.stringify(made, undefined, 2)}\n`);
  else context.out(`${name}: a blank part of ${sizeMultiplier * 128} KiB, CID ${made.cid}\n`);
}
