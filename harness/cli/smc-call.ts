import { didYouMean, UsageError } from "../base/index.ts";
import { isFastCall, ownerOf, Registers, SMCCC } from "../machine/index.ts";
import {
  isRpcReturn,
  OPTEE_SMC,
  returnName,
  secCapNames,
  SMC_RETURN,
  smcByName,
  smcName,
  smcNames,
} from "../optee-abi/index.ts";

/** One SMC as it was asked for: x0..x7. */
export interface SmcCall {
  readonly registers: readonly bigint[];
}

const MAX_64 = 2n ** 64n;

/** Reads `FID [X1 … X7]`: a name or number, then numbers, hexadecimal with 0x. Throws UsageError. */
export function parseSmc(words: readonly string[], where = "the command line"): SmcCall {
  const [fid = "", ...operands] = words;
  if (operands.length > 7) {
    throw new UsageError("an SMC takes at most seven registers after the function identifier", {
      where,
      seen: `${operands.length}: ${operands.join(" ")}`,
    });
  }
  const named = smcByName(fid);
  const first = named === undefined ? number(fid) : BigInt(named);
  if (first === undefined || first > 0xffff_ffffn) throw unknownFunction(fid, where);
  const rest = operands.map((text, index) => {
    const value = number(text);
    if (value !== undefined) return value;
    throw new UsageError(`x${index + 1} is not a 64-bit number: ${JSON.stringify(text)}`, {
      where,
      next: "Write it as 0x42000000 or in decimal.",
    });
  });
  return { registers: Array.from({ length: 8 }, (_, index) => [first, ...rest][index] ?? 0n) };
}

function number(text: string): bigint | undefined {
  if (!/^(?:0x[0-9a-f]{1,16}|\d{1,20})$/i.test(text)) return undefined;
  const value = BigInt(text);
  return value < MAX_64 ? value : undefined;
}

function unknownFunction(text: string, where: string): UsageError {
  const guess = didYouMean(text.toUpperCase(), smcNames());
  return new UsageError(
    `${JSON.stringify(text)} is no SMC function identifier${guess === undefined ? "" : `; ${guess}`}`,
    {
      where,
      next: "Name one (EXCHANGE_CAPABILITIES, CALLS_UID, PSCI_VERSION, …) or write its number, as 0xb2000009.",
    },
  );
}

/**
 * Whether a call belongs to the architecture, to PSCI or to the trusted OS. All others are the
 * SoC's or the vendor's own (fuses among them), and nothing says what they do.
 */
export function isWellKnown({ registers }: SmcCall): boolean {
  const owner = ownerOf(Number((registers[0] ?? 0n) & 0xffff_ffffn));
  return owner === 0 || owner === 4 || owner >= SMCCC.trustedOsFirst;
}

export const registersOf = ({ registers }: SmcCall): Registers => {
  const made = new Registers();
  for (const [index, value] of registers.entries()) made.set64(index, value);
  return made;
};

export interface SmcReport {
  readonly fid: string;
  readonly name?: string;
  /** x1..x7 as sent, trailing zeros left out. */
  readonly sent: readonly string[];
  /** x0..x7 as they came back; x0..x3 where U-Boot's own `smc` was used, which tells no more. */
  readonly x: readonly string[];
  /** What x0 and, for some calls, the others mean. */
  readonly meaning?: string;
}

/** What a call and its answer mean, for people and as JSON. Numbers are hexadecimal text. */
export function reportOf(call: SmcCall, answer: Registers, known = 8): SmcReport {
  const fid = Number((call.registers[0] ?? 0n) & 0xffff_ffffn);
  const sent = call.registers.slice(1).map(hex);
  while (sent.at(-1) === "0x0") sent.pop();
  const x = Array.from({ length: known }, (_, index) => hex(answer.get64(index)));
  const name = smcName(fid);
  const meaning = meaningOf(fid, answer);
  return {
    fid: `0x${fid.toString(16).padStart(8, "0")}`,
    ...(name !== undefined && { name }),
    sent,
    x,
    ...(meaning !== undefined && { meaning }),
  };
}

const hex = (value: bigint): string => `0x${value.toString(16)}`;

/** Calls whose a0 is no return code but part of the answer. */
const PLAIN = new Set<number>([
  OPTEE_SMC.CALLS_COUNT,
  OPTEE_SMC.CALLS_UID,
  OPTEE_SMC.CALLS_REVISION,
  OPTEE_SMC.GET_OS_UUID,
  OPTEE_SMC.GET_OS_REVISION,
]);

function meaningOf(fid: number, answer: Registers): string | undefined {
  const a0 = answer.get(0);
  if (a0 === SMC_RETURN.UNKNOWN_FUNCTION) return "UNKNOWN_FUNCTION";
  if (fid === 0x8400_0000 || fid === 0x8000_0000) return `version ${a0 >>> 16}.${a0 & 0xffff}`;
  if (ownerOf(fid) < SMCCC.trustedOsFirst) return undefined;
  switch (fid) {
    case OPTEE_SMC.CALLS_UID:
    case OPTEE_SMC.GET_OS_UUID:
      return uuid([0, 1, 2, 3].map((index) => answer.get(index)));
    case OPTEE_SMC.CALLS_REVISION:
      return `API ${a0}.${answer.get(1)}`;
    case OPTEE_SMC.GET_OS_REVISION:
      return `OP-TEE ${a0}.${answer.get(1)}`;
    default:
  }
  if (PLAIN.has(fid)) return undefined;
  const name = returnName.find(a0) ?? (isRpcReturn(a0) ? "an RPC" : undefined);
  if (a0 === SMC_RETURN.OK && fid === OPTEE_SMC.EXCHANGE_CAPABILITIES) {
    return `OK: ${secCapNames(answer.get(1)).join(" ")}`;
  }
  if (a0 === SMC_RETURN.OK && fid === OPTEE_SMC.GET_THREAD_COUNT) {
    return `OK: ${answer.get(1)} threads`;
  }
  return name === undefined || !(isFastCall(fid) || ownerOf(fid) >= 50) ? undefined : name;
}

function uuid(words: readonly number[]): string {
  const text = words.map((word) => word.toString(16).padStart(8, "0")).join("");
  return text.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
