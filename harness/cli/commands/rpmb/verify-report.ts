import { EXIT, type ExitCode } from "../../../base/index.ts";
import { decodeCid, keyId, type KeyJudgement, type NamedKey } from "../../../rpmb/index.ts";
import type { Style } from "../../style.ts";
import { type Expectation, isRoute, NONE_PROGRAMMED } from "../../known-keys.ts";

/** How the part was asked. */
export type VerifyWay = "image" | "helper" | "mmc-utils" | "u-boot" | "optee";

/** What is known of a part beside its key. */
export interface PartSheet {
  readonly cid?: Uint8Array;
  readonly sizeMultiplier?: number;
  readonly relWrSecC?: number;
  readonly enhancedReliableWrite?: boolean;
  readonly firmware?: string;
}

export interface Verification {
  /** The board, or undefined for an image. */
  readonly board?: string;
  /** The device on the board, the file of an image, or what else was asked. */
  readonly subject: string;
  readonly way: VerifyWay;
  readonly part: PartSheet;
  readonly judgement: KeyJudgement;
  readonly tried: readonly NamedKey[];
  readonly expected?: Expectation;
  readonly warnings: readonly string[];
}

/** `lockstep rpmb verify --json`. */
export interface VerifyDocument {
  readonly format: 1;
  readonly board?: string;
  readonly subject: string;
  readonly over: VerifyWay;
  readonly verdict: KeyJudgement["verdict"];
  readonly reason: string;
  /** Names of the key that the part has; several where several routes lead to one key. */
  readonly routes: readonly { readonly name: string; readonly how: string }[];
  readonly keyId?: string;
  readonly counter?: KeyJudgement["counter"];
  readonly tried: readonly string[];
  readonly expected?: Expectation & { readonly met: boolean };
  readonly part: PartDocument;
  readonly warnings: readonly string[];
}

export interface PartDocument {
  readonly cid?: string;
  readonly sizeMultiplier?: number;
  readonly bytes?: number;
  readonly relWrSecC?: number;
  readonly enhancedReliableWrite?: boolean;
  readonly firmware?: string;
}

const BYTES_A_UNIT = 128 * 1024;

export function partDocument({ cid, ...part }: PartSheet): PartDocument {
  const { sizeMultiplier } = part;
  return {
    ...(cid !== undefined && { cid: Buffer.from(cid).toString("hex") }),
    ...part,
    ...(sizeMultiplier !== undefined && { bytes: sizeMultiplier * BYTES_A_UNIT }),
  };
}

export function verifyDocument(verification: Verification): VerifyDocument {
  const { board, subject, way, judgement, tried, expected, warnings, part } = verification;
  const { verdict, reason, matches, counter } = judgement;
  const [first] = matches;
  return {
    format: 1,
    ...(board !== undefined && { board }),
    subject,
    over: way,
    verdict,
    reason,
    routes: matches.map(({ name, how }) => ({ name, how })),
    ...(first !== undefined && { keyId: keyId(first.key) }),
    ...(counter !== undefined && { counter }),
    tried: tried.map(({ name }) => name),
    ...(expected !== undefined && { expected: { ...expected, met: isMet(judgement, expected) } }),
    part: partDocument(part),
    warnings,
  };
}

function isMet({ verdict, matches }: KeyJudgement, { route }: Expectation): boolean {
  if (route === NONE_PROGRAMMED) return verdict === "none programmed";
  return verdict === "proven" && matches.some(({ name }) => isRoute(name, route));
}

/**
 * 0: proven, and the expected route where one is expected. 1: another key than expected, none that is
 * known, or none where one was asked for. 6: nothing was proven.
 */
export function verifyExit({ judgement, expected }: Verification): ExitCode {
  const { verdict } = judgement;
  if (verdict === "replayable" || verdict === "unproven") return EXIT.incomplete;
  if (expected !== undefined) return isMet(judgement, expected) ? EXIT.ok : EXIT.failed;
  return verdict === "proven" ? EXIT.ok : EXIT.failed;
}

/** What people read: the verdict in one line, then what it rests on. */
export function verifyText(verification: Verification, style: Style): string {
  const document = verifyDocument(verification);
  const { verdict, routes, counter, expected, part } = document;
  const good = verifyExit(verification) === EXIT.ok;
  const open = verdict === "replayable" || verdict === "unproven";
  const colour = good ? "green" : open ? "yellow" : "red";
  const head = {
    ...HEADS,
    proven: `the key is proven: ${routes.map(({ name }) => name).join(" = ")}`,
  };
  const where = [document.board, document.subject].filter((one) => one !== undefined).join(" ");
  const rows: [string, string | undefined][] = [
    ["reason", document.reason],
    ...routes.map(({ how }, index): [string, string] => [index === 0 ? "route" : "", how]),
    ["key id", document.keyId],
    ["counter", counterText(counter)],
    ["expected", expectationText(expected)],
    ["part", partText(part)],
    ["asked", WAYS[document.over]],
    [
      "tried",
      document.tried.length === 0 ? "no key: nothing can be checked" : document.tried.join(", "),
    ],
  ];
  const lines = rows.flatMap(([name, value]) =>
    value === undefined ? [] : [`  ${name.padEnd(9)} ${value}`],
  );
  return [`${where}: ${style[colour](head[verdict])}`, ...lines, ""].join("\n");
}

const HEADS = {
  "none of these": "the part has a key, and it is none of these",
  "none programmed": "no key is programmed, as the part says",
  replayable: "nothing is proven: the answer can be replayed",
  unproven: "nothing is proven",
} as const;

const WAYS: Readonly<Record<VerifyWay, string>> = {
  image: "the image of the part, by one counter read with a random nonce",
  helper: "the part, by one counter read with a random nonce",
  "mmc-utils": "mmc-utils on the board",
  "u-boot": "U-Boot's own mmc command",
  optee:
    "the board's OP-TEE, by what it did with a blank part of this CID that Lockstep served for this",
};

function counterText(counter: KeyJudgement["counter"]): string | undefined {
  if (counter === undefined) return undefined;
  const vouched = counter.authentic ? "" : ", as the part says";
  return `${counter.value}${counter.expired ? " (expired: the part takes no write any more)" : ""}${vouched}`;
}

function expectationText(expected: VerifyDocument["expected"]): string | undefined {
  if (expected === undefined) return undefined;
  return `${expected.route}, by ${expected.from}${expected.met ? "" : ": not what was found"}`;
}

export function partText(part: PartDocument): string | undefined {
  if (part.cid === undefined && part.bytes === undefined) return undefined;
  const words: string[] = [];
  if (part.cid !== undefined) {
    const { pnm, mid, psn } = decodeCid(Buffer.from(part.cid, "hex"));
    words.push(
      `CID ${part.cid}`,
      `${pnm} of manufacturer 0x${hex(mid, 2)}`,
      `serial 0x${hex(psn, 8)}`,
    );
  }
  if (part.bytes !== undefined) words.push(`${part.bytes / 1024} KiB`);
  if (part.firmware !== undefined) words.push(`firmware ${part.firmware}`);
  return words.join(", ");
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
