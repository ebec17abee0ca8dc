import { Command, Option } from "commander";
import { UsageError } from "../../../base/index.ts";
import {
  CID,
  derive,
  type Derivation,
  type DerivationRequest,
  findHukSource,
  HUK_SOURCES,
  hukOf,
  keyDigits,
} from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { examples } from "../../help.ts";
import { readHexInput } from "../../hex-input.ts";

export interface DeriveFlags {
  readonly huk?: string;
  readonly source?: string;
  readonly cid?: string;
  readonly usage: "rpmb" | "ssk";
  readonly dieId?: string;
  readonly compat: boolean;
  readonly explain?: boolean;
  readonly json?: boolean;
}

const TEST_KEY = "test-key";
const SOURCES = [...HUK_SOURCES.map(({ name }) => name as string), TEST_KEY];

/** `lockstep rpmb derive`. */
export function buildDerive(context: CliContext): Command {
  const command = new Command("derive")
    .description(
      "Derive the RPMB key of a part as OP-TEE does, and print it as 64 hexadecimal digits. This is " +
        "the only command that prints a key.",
    )
    .option("--huk <hex>", "hardware unique key: digits, @FILE (digits or raw bytes), - for stdin")
    .addOption(
      new Option("--source <name>", "where the key comes from (default: given)").choices(SOURCES),
    )
    .option("--cid <hex>", "CID of the part, 16 bytes in register order; also @FILE, as in sysfs")
    .addOption(
      new Option("--usage <key>", "which key: rpmb, or ssk for secure storage")
        .choices(["rpmb", "ssk"])
        .default("rpmb"),
    )
    .option("--die-id <hex>", "32 bytes, for the ssk of builds that take the OTP die id")
    .option("--no-compat", "as builds with CFG_CORE_HUK_SUBKEY_COMPAT=n derive it")
    .option(
      "--explain",
      "show every step; the hardware unique key is not shown unless it is public",
    )
    .option("--json", "print JSON")
    .action((flags: DeriveFlags) => deriveOne(context, flags));
  return examples(command, [
    ["lockstep rpmb derive --huk @huk.bin --cid fe014e4d4d4330344742c8f6552a6115", "the key"],
    ["lockstep rpmb derive --source zero-stub --cid @cid --explain", "every step of it"],
    ["lockstep rpmb derive --source caam-open --huk - --cid @cid --json", "an open i.MX8M"],
  ]);
}

async function deriveOne(context: CliContext, flags: DeriveFlags): Promise<void> {
  const derivation = derive(await requestOf(context, flags));
  const { key, keyId, steps, warnings, message, cid } = derivation;
  const style = context.style;
  if (flags.json === true) {
    const document = {
      key: keyDigits(key),
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
  for (const warning of warnings) context.err(`${style.err.yellow("warning:")} ${warning}`);
  if (flags.explain === true) context.out(explained(derivation));
  else context.out(`${keyDigits(key)}\n`);
}

const trimmed = (step: Derivation["steps"][number]): Derivation["steps"][number] => ({
  ...step,
  name: step.name.trim(),
});

function explained({ steps, key, keyId }: Derivation): string {
  const all = [
    ...steps,
    { name: "key", value: keyDigits(key), note: "HMAC-SHA-256 of the message under the HUK" },
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

const sourceName = (flags: DeriveFlags): string => flags.source ?? "given";

async function requestOf(context: CliContext, flags: DeriveFlags): Promise<DerivationRequest> {
  const name = sourceName(flags);
  refuseContradictions(flags, name);
  if (name === TEST_KEY) return { usage: "test-key" };
  const source = findHukSource(name);
  if (source === undefined) throw new UsageError(`there is no source "${name}"`);
  if (flags.huk === "-" && flags.cid === "-") {
    throw new UsageError("only one of --huk and --cid can be read from stdin");
  }
  if (source.takes.length > 0 && flags.huk === undefined) {
    throw new UsageError(
      flags.source === undefined
        ? "there is no hardware unique key to derive from"
        : `the source ${name} needs a value`,
      {
        expected:
          flags.source === undefined
            ? "--huk with the value, or --source with one of " + SOURCES.join(", ")
            : `--huk with ${source.about}`,
      },
    );
  }
  const cid =
    flags.cid === undefined
      ? undefined
      : await readHexInput(context, flags.cid, {
          what: "the CID",
          sizes: [CID.size],
          secret: false,
        });
  const dieId =
    flags.dieId === undefined
      ? undefined
      : await readHexInput(context, flags.dieId, {
          what: "the die id",
          sizes: [32],
          secret: false,
        });
  const value =
    flags.huk === undefined
      ? undefined
      : await readHexInput(context, flags.huk, {
          what: "the HUK",
          sizes: source.takes,
          secret: true,
        });
  const huk = hukOf(source, value);
  const { compat } = flags;
  if (flags.usage === "ssk") {
    return { usage: "ssk", huk, compat, ...(dieId !== undefined && { dieId }) };
  }
  if (cid === undefined) {
    throw new UsageError("the RPMB key depends on the part: --cid is missing", {
      next: "Linux shows it in /sys/block/mmcblkN/device/cid; give its digits, or @ and the file.",
    });
  }
  return { usage: "rpmb", huk, cid, compat };
}

function refuseContradictions(flags: DeriveFlags, name: string): void {
  const clashes: readonly (readonly [clash: boolean, message: string])[] = [
    [name === TEST_KEY && flags.usage === "ssk", "the test key is an RPMB key, no storage key"],
    [name === TEST_KEY && flags.huk !== undefined, "the test key depends on no --huk"],
    [name === "zero-stub" && flags.huk !== undefined, "--source zero-stub takes no --huk"],
    [flags.usage === "ssk" && flags.cid !== undefined, "the ssk depends on no --cid"],
    [flags.dieId !== undefined && flags.usage !== "ssk", "only the ssk depends on a --die-id"],
    [flags.dieId !== undefined && !flags.compat, "--die-id is of compat derivation only"],
  ];
  for (const [clash, message] of clashes) if (clash) throw new UsageError(message);
}
