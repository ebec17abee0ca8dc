import { UsageError } from "../../../base/index.ts";
import {
  CID,
  type DerivationRequest,
  findHukSource,
  HUK_SOURCES,
  hukOf,
  type HukSource,
} from "../../../rpmb/index.ts";
import type { CliContext } from "../../context.ts";
import { type HexInput, readHexInput } from "../../hex-input.ts";

/** The options of `rpmb derive` that say which key is wanted. */
export interface RequestFlags {
  readonly huk?: string;
  readonly source?: string;
  readonly cid?: string;
  readonly usage: "rpmb" | "ssk";
  readonly dieId?: string;
  readonly compat: boolean;
  /** A file of age identities. */
  readonly identity?: string;
}

/** How a hardware unique key is read: from where `--huk` and `--huk-file` say. */
export function hukInput(
  context: CliContext,
  flags: Pick<RequestFlags, "identity">,
  { takes }: HukSource,
  what = "the HUK",
): HexInput {
  const { identity } = flags;
  const base = { what, sizes: takes, secret: true };
  if (identity === undefined) return base;
  return {
    ...base,
    unseal: async (bytes, where) => {
      const { unseal } = await import("../../../provision/index.ts");
      const { unsealingOf } = await import("../../key-opening.ts");
      return await unseal(bytes, await unsealingOf(context, { identity }), where);
    },
  };
}

export const TEST_KEY = "test-key";
export const SOURCES = [...HUK_SOURCES.map(({ name }) => name as string), TEST_KEY];

/** The source that the flags name; a given value where they name none. */
export const sourceName = (flags: Pick<RequestFlags, "source">): string => flags.source ?? "given";

/** Reads what is named and checks that it fits together. Throws UsageError, never with a HUK in it. */
export async function requestOf(
  context: CliContext,
  flags: RequestFlags,
): Promise<DerivationRequest> {
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
  const dieId = await dieIdOf(context, flags.dieId);
  const value =
    flags.huk === undefined
      ? undefined
      : await readHexInput(context, flags.huk, hukInput(context, flags, source));
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

/** Sizes of a die id; OP-TEE fills it up with zeros. */
const DIE_ID_SIZES = Array.from({ length: 32 }, (_, at) => at + 1);

async function dieIdOf(
  context: CliContext,
  text: string | undefined,
): Promise<Uint8Array | "derived" | undefined> {
  if (text === undefined || text === "derived") return text;
  return await readHexInput(context, text, {
    what: "the die id",
    sizes: DIE_ID_SIZES,
    secret: false,
  });
}

function refuseContradictions(flags: RequestFlags, name: string): void {
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
