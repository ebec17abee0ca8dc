import type { KeyObject } from "node:crypto";
import path from "node:path";
import type { Command } from "commander";
import { readPrivateFile, secrets, UsageError } from "../base/index.ts";
import { readKeyFile, type Unsealing } from "../provision/index.ts";
import type { CliContext } from "./context.ts";
import { type PassphraseFlags, readPassphrase } from "./passphrase.ts";

export interface OpeningFlags extends PassphraseFlags {
  readonly keyFile?: string;
  readonly identity?: string;
}

const MAX_IDENTITIES = 65_536;

/** Adds the options by which a command is given a part's key in a file. */
export function addOpeningOptions(command: Command): Command {
  return command
    .option(
      "--key-file <file>",
      "a key in a file: 32 raw bytes or 64 digits, best encrypted by age",
    )
    .option("--identity <file>", "age identities that open the key file, and a file of --huk")
    .option("--passphrase", "the key file's passphrase is asked for on the terminal")
    .option("--passphrase-fd <n>", "it is the first line of this file descriptor");
}

/**
 * The key that the options lead to, undefined where they name none. An identity may as well be for a
 * hardware unique key. Throws UsageError, keyless.
 */
export async function openKeyFile(
  context: CliContext,
  flags: OpeningFlags & { readonly huk?: string | readonly string[] },
): Promise<KeyObject | undefined> {
  if (flags.keyFile === undefined) {
    const unused = flags.identity !== undefined && (flags.huk ?? "").length === 0;
    if (!unused && flags.passphrase !== true && flags.passphraseFd === undefined) return undefined;
    throw new UsageError("there is no --key-file to open with an identity or a passphrase");
  }
  const file = path.resolve(context.cwd, flags.keyFile);
  const { key } = await readKeyFile(file, await unsealingOf(context, flags));
  return key;
}

/** The identities and the passphrase that the options give. Throws UsageError, keyless. */
export async function unsealingOf(context: CliContext, flags: OpeningFlags): Promise<Unsealing> {
  const passphrase = await readPassphrase(context, flags, false);
  const identities =
    flags.identity === undefined
      ? undefined
      : await identitiesIn(path.resolve(context.cwd, flags.identity));
  return {
    ...(identities !== undefined && { identities }),
    ...(passphrase !== undefined && { passphrase }),
  };
}

/** The identities in a file as age-keygen writes it: one a line, comments between them. */
async function identitiesIn(file: string): Promise<string[]> {
  const bytes = await readPrivateFile(file, { what: "the identities", limit: MAX_IDENTITIES });
  const lines = bytes.toString("latin1").split("\n");
  bytes.fill(0);
  const found = lines
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
  for (const line of found) secrets.add(line);
  if (found.length > 0) return found;
  throw new UsageError("the file holds no age identity", { where: file });
}
