import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { errorCode, UsageError } from "../base/index.ts";
import type { Sealing } from "../provision/index.ts";
import type { CliContext } from "./context.ts";
import { type PassphraseFlags, readPassphrase } from "./passphrase.ts";

export interface SealingFlags extends PassphraseFlags {
  readonly recipient?: readonly string[];
  readonly recipientsFile?: string;
  readonly plain?: boolean;
}

/** Adds the options that say how keys are protected which a command writes. */
export function addSealingOptions(command: Command, plain: boolean): Command {
  command
    .option("--recipient <age1...>", "encrypt for this age recipient; may be repeated", collect)
    .option("--recipients-file <file>", "encrypt for the age recipients in this file, one a line")
    .option("--passphrase", "encrypt with a passphrase, asked for on the terminal")
    .option("--passphrase-fd <n>", "the passphrase is the first line of this file descriptor");
  return plain
    ? command.option("--plain", "write the key as 32 raw bytes that anybody with the file can use")
    : command;
}

const collect = (value: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  value,
];

/** Whether any of the options is there. */
export const wantsSealing = (flags: SealingFlags): boolean =>
  flags.recipient !== undefined ||
  flags.recipientsFile !== undefined ||
  flags.passphrase === true ||
  flags.passphraseFd !== undefined ||
  flags.plain === true;

/** What the options ask for. Throws UsageError for none, or two ways at once. */
export async function sealingOf(
  context: CliContext,
  flags: SealingFlags,
): Promise<Sealing | "plain"> {
  const recipients = [...(flags.recipient ?? [])];
  if (flags.recipientsFile !== undefined) {
    const { parseRecipients } = await import("../provision/index.ts");
    const file = path.resolve(context.cwd, flags.recipientsFile);
    recipients.push(...parseRecipients(await recipientsText(file)));
    if (recipients.length === 0)
      throw new UsageError("the file names no recipient", { where: file });
  }
  const byPassphrase = flags.passphrase === true || flags.passphraseFd !== undefined;
  const ways = [recipients.length > 0, byPassphrase, flags.plain === true].filter(Boolean);
  if (ways.length !== 1) {
    throw new UsageError(
      ways.length === 0
        ? "a key is written encrypted, and nothing says for whom"
        : "a key is protected in one way, and several are asked for",
      { expected: "--recipient age1…, --passphrase or --passphrase-fd; or --plain, knowingly" },
    );
  }
  if (recipients.length > 0) return { recipients };
  if (flags.plain === true) return "plain";
  return { passphrase: (await readPassphrase(context, flags, true)) ?? "" };
}

async function recipientsText(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    throw new UsageError("cannot read the recipients", {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  }
}
