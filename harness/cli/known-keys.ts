import type { KeyObject } from "node:crypto";
import { UsageError } from "../base/index.ts";
import type { BoardConfig } from "../board/index.ts";
import {
  CID,
  findHukSource,
  type Huk,
  HUK_SOURCES,
  hukOf,
  keyCandidates,
  type NamedKey,
} from "../rpmb/index.ts";
import { unseal } from "../provision/index.ts";
import type { CliContext } from "./context.ts";
import { type HexInput, parseHex, readHexInput } from "./hex-input.ts";
import { unsealingOf } from "./key-opening.ts";

/** What the command line says of keys to try. */
export interface KeyFlags {
  /** `[SOURCE=]HEX`, `@FILE` or `-`. */
  readonly huk?: readonly string[];
  readonly cid?: string;
  /** A file of age identities, which open a file of `huk`. */
  readonly identity?: string;
}

/** The route that a part without a key is expected on, with `--expect`. */
export const NONE_PROGRAMMED = "none-programmed";
const TEST_KEY = "test-key";
export const KEY_FILE = "key-file";

const CID_INPUT = { what: "the CID", sizes: [CID.size], secret: false } as const;

/** The hardware unique keys that the command line and the board file name. Throws UsageError. */
export async function hukInputs(
  context: CliContext,
  flags: KeyFlags,
  config: BoardConfig | undefined,
): Promise<Huk[]> {
  const given = flags.huk ?? [];
  if (
    given.filter((text) => /^(?:[\w-]+=)?-$/.test(text)).length + (flags.cid === "-" ? 1 : 0) >
    1
  ) {
    throw new UsageError("only one value can be read from stdin");
  }
  const huks: Huk[] = [];
  for (const text of given) huks.push(await hukIn(context, text, flags));
  const reference = config?.rpmb?.optee.huk;
  if (typeof reference === "object") {
    const source = findHukSource("given");
    const value =
      "file" in reference
        ? await readHexInput(context, `@${reference.file}`, HUK_INPUT)
        : parseHex(fromEnvironment(context, reference.env, config), HUK_INPUT, reference.env);
    if (source !== undefined) huks.push(hukOf(source, value));
  }
  return huks;
}

const HUK_INPUT = { what: "the HUK", sizes: [16, 32], secret: true } as const;

async function hukIn(context: CliContext, text: string, { identity }: KeyFlags): Promise<Huk> {
  const [, name = "given", value = ""] = /^(?:([a-z][a-z-]+)=)?(.*)$/s.exec(text) ?? [];
  const source = findHukSource(name);
  if (source === undefined || source.takes.length === 0) {
    throw new UsageError(`--huk takes no source "${name}"`, {
      expected: HUK_SOURCES.filter(({ takes }) => takes.length > 0)
        .map((one) => `${one.name}=…`)
        .join(", "),
    });
  }
  const input: HexInput = {
    ...HUK_INPUT,
    sizes: source.takes,
    ...(identity !== undefined && {
      unseal: async (bytes, where) =>
        await unseal(bytes, await unsealingOf(context, { identity }), where),
    }),
  };
  return hukOf(source, await readHexInput(context, value, input));
}

function fromEnvironment(
  context: CliContext,
  name: string,
  config: BoardConfig | undefined,
): string {
  const value = context.env[name];
  if (value !== undefined && value !== "") return value;
  throw new UsageError(`the environment variable ${name} is not set`, {
    ...(config === undefined ? {} : { where: config.file }),
    next: `Set ${name} to the hardware unique key that the board file refers to.`,
  });
}

/** Every key to try on a part with this CID. */
export function knownKeys(
  cid: Uint8Array,
  huks: readonly Huk[],
  keyFile: KeyObject | undefined,
): NamedKey[] {
  const own: NamedKey[] =
    keyFile === undefined
      ? []
      : [{ name: KEY_FILE, key: keyFile, how: "the key in the given file" }];
  return [...own, ...keyCandidates({ cid, huks })];
}

/** A CID as the flag gives it; undefined where it is not given. Throws UsageError. */
export async function cidInput(
  context: CliContext,
  flags: KeyFlags,
): Promise<Uint8Array | undefined> {
  if (flags.cid === undefined) return undefined;
  return await readHexInput(context, flags.cid, CID_INPUT);
}

/** What is expected of a part, and who says so. */
export interface Expectation {
  /** A route's name, its beginning up to the slash, or `none-programmed`. */
  readonly route: string;
  readonly from: "--expect" | "the board file";
}

/**
 * What `--expect` says, else what the board file says of the build of its OP-TEE where that is enough.
 * `tried` names the routes whose keys are known, and is left out where no MAC is checked. Throws
 * UsageError for a route that is not among them.
 */
export function expectationOf(
  flag: string | undefined,
  config: BoardConfig | undefined,
  tried: readonly string[] = [],
): Expectation | undefined {
  if (flag !== undefined) {
    const isKnown = tried.some((name) => isRoute(name, flag));
    if (flag === NONE_PROGRAMMED || isKnown) return { route: flag, from: "--expect" };
    if (tried.length === 0) {
      throw new UsageError("--expect names a key, and nothing that is asked this way proves one", {
        next: `Ask with --over ssh or console, or expect ${NONE_PROGRAMMED}.`,
      });
    }
    throw new UsageError(`--expect names a route that is not tried: ${JSON.stringify(flag)}`, {
      expected: [...new Set([...tried, NONE_PROGRAMMED])].join(", "),
      next: "Give the hardware unique key of a derived route with --huk.",
    });
  }
  const { testKey, compat, huk } = config?.rpmb?.optee ?? {};
  const from = "the board file";
  if (testKey === true) return { route: TEST_KEY, from };
  if (huk === undefined) return undefined;
  const source = typeof huk === "string" ? huk : "given";
  const route = compat === undefined ? source : `${source}/${compat ? "compat" : "non-compat"}`;
  return tried.some((name) => isRoute(name, route)) ? { route, from } : undefined;
}

/** Whether a route is the expected one: by its whole name, or by its source alone. */
export const isRoute = (name: string, expected: string): boolean =>
  name === expected || name.startsWith(`${expected}/`);
