import path from "node:path";
import { Command, Option } from "commander";
import { secrets, UsageError } from "../../../base/index.ts";
import { derive, type Derivation, keyDigits } from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { examples } from "../../help.ts";
import {
  addSealingOptions,
  type SealingFlags,
  sealingOf,
  wantsSealing,
} from "../../key-sealing.ts";
import type { BatchFlags } from "./derive-batch.ts";
import { requestOf, type RequestFlags, sourceName, SOURCES, TEST_KEY } from "./derive-request.ts";

interface DeriveFlags extends RequestFlags, SealingFlags, Partial<BatchFlags> {
  readonly explain?: boolean;
  readonly json?: boolean;
  readonly outKey?: string;
  readonly usage: RequestFlags["usage"];
  readonly compat: boolean;
}

/** `lockstep rpmb derive`. */
export function buildDerive(context: CliContext): Command {
  const command = new Command("derive")
    .description(
      "Derive the RPMB key of a part as OP-TEE does, and print it as 64 hexadecimal digits or write " +
        "a key file. This is the only command that prints a key.",
    )
    .option("--huk <hex>", "hardware unique key: digits, @FILE (digits or raw bytes), - for stdin")
    .option("--identity <file>", "age identities that open a HUK file which is encrypted")
    .addOption(
      new Option("--source <name>", "where the key comes from (default: given)").choices(SOURCES),
    )
    .option("--cid <hex>", "CID of the part, 16 bytes in register order; also @FILE, as in sysfs")
    .addOption(
      new Option("--usage <key>", "which key: rpmb, or ssk for secure storage")
        .choices(["rpmb", "ssk"])
        .default("rpmb"),
    )
    .option(
      "--die-id <hex>",
      "for the ssk of builds that take the OTP die id: its 1 to 32 bytes, or `derived` where the platform has none",
    )
    .option("--no-compat", "as builds with CFG_CORE_HUK_SUBKEY_COMPAT=n derive it")
    .option(
      "--explain",
      "show every step; the hardware unique key is not shown unless it is public",
    )
    .option("--json", "print JSON")
    .option("--out-key <file>", "write the key to a new file instead of printing it, encrypted");
  addSealingOptions(command, true);
  addBatchOptions(command).action(async (flags: DeriveFlags) => {
    const { batch } = flags;
    if (batch === undefined) {
      refuseBatch(flags);
      await deriveOne(context, flags);
    } else {
      const { deriveMany } = await import("./derive-batch.ts");
      await deriveMany(context, { ...flags, batch });
    }
  });
  return examples(command, [
    ["lockstep rpmb derive --huk @huk.bin --cid fe014e4d4d4330344742c8f6552a6115", "the key"],
    ["lockstep rpmb derive --source zero-stub --cid @cid --explain", "every step of it"],
    ["lockstep rpmb derive --source caam-open --huk - --cid @cid --json", "an open i.MX8M"],
    [
      "lockstep rpmb derive --huk @huk.bin --cid @cid --out-key unit7.age --recipient age1…",
      "a file",
    ],
    ["lockstep rpmb derive --batch parts.csv --out ids.csv", "key ids of many parts"],
  ]);
}

function addBatchOptions(command: Command): Command {
  return command
    .optionsGroup("Many parts at once:")
    .option("--batch <file>", "a row for each part (docs/rpmb.md); - for stdin")
    .addOption(
      new Option("--format <format>", "format of the rows (default: as the file is named)").choices(
        ["csv", "jsonl"],
      ),
    )
    .option("--out <file>", "a new file for the same rows with key ids (default: -, stdout)")
    .option("--huk-file <name=@file...>", "a hardware unique key that rows name in huk_ref")
    .option("--strict", "stop at the first bad row, and leave no file")
    .optionsGroup("Options:");
}

function refuseBatch(flags: DeriveFlags): void {
  const many: readonly (readonly [given: boolean, flag: string])[] = [
    [flags.format !== undefined, "--format"],
    [flags.out !== undefined, "--out"],
    [flags.hukFile !== undefined, "--huk-file"],
    [flags.strict === true, "--strict"],
  ];
  for (const [given, flag] of many) {
    if (given) throw new UsageError(`${flag} is of --batch, not of a single derivation`);
  }
}

async function deriveOne(context: CliContext, flags: DeriveFlags): Promise<void> {
  if (flags.outKey === undefined && wantsSealing(flags)) {
    throw new UsageError("only a key file is encrypted, and --out-key names none");
  }
  const derivation = derive(await requestOf(context, flags));
  const { key, keyId, steps, warnings, message, cid } = derivation;
  secrets.add(keyDigits(key));
  const style = context.style;
  for (const warning of flags.json === true ? [] : warnings) {
    context.err(`${style.err.yellow("warning:")} ${warning}`);
  }
  const file =
    flags.outKey === undefined ? undefined : await writeTo(context, flags.outKey, flags, key);
  if (flags.json === true) {
    const document = {
      ...(file === undefined ? { key: keyDigits(key) } : { keyFile: file }),
      keyId,
      source: sourceName(flags),
      usage: flags.source === TEST_KEY ? "rpmb" : flags.usage,
      ...(message !== undefined && { compat: flags.compat }),
      ...(message !== undefined && { message: Buffer.from(message).toString("hex") }),
      ...(cid !== undefined && { cid }),
      ...(flags.explain === true && { steps: steps.map(trimmed) }),
      warnings,
    };
    context.out(`${JSON.stringify(document, undefined, 2)}\n`);
    return;
  }
  if (flags.explain === true) context.out(explained(derivation, file));
  else if (file === undefined) context.out(`${keyDigits(key)}\n`);
  else context.out(`${file}\n`);
  if (file !== undefined) context.err(`key id ${keyId}`);
}

async function writeTo(
  context: CliContext,
  name: string,
  flags: SealingFlags,
  key: Derivation["key"],
): Promise<string> {
  const { writeKeyFile } = await import("../../../provision/index.ts");
  const sealing = await sealingOf(context, flags);
  const file = path.resolve(context.cwd, name);
  await writeKeyFile(file, key, sealing);
  if (sealing === "plain") {
    context.err(
      `${context.style.err.yellow("warning:")} ${file} holds the key in plain: whoever copies it can write and forge the part's contents; shred it once it is used`,
    );
  }
  return file;
}

const trimmed = (step: Derivation["steps"][number]): Derivation["steps"][number] => ({
  ...step,
  name: step.name.trim(),
});

function explained({ steps, key, keyId, message }: Derivation, file: string | undefined): string {
  const origin = message === undefined ? "" : "HMAC-SHA-256 of the message under the HUK";
  const all = [
    ...steps,
    { name: "key", value: file === undefined ? keyDigits(key) : `(in ${file})`, note: origin },
    { name: "key id", value: keyId, note: "its public name" },
  ];
  const width = Math.max(...all.map(({ name }) => name.length));
  return all
    .map(({ name, value, note }) => {
      const head = `${name.padEnd(width)}  ${value}`;
      return note === undefined || note === "" ? `${head}\n` : `${head}   ${note}\n`;
    })
    .join("");
}
