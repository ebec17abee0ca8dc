import { createHash } from "node:crypto";

/** The two outputs of a command as the board sent them, each only if its checksum fits. */
export interface ExactOutput {
  readonly stdout: Uint8Array | undefined;
  readonly stderr: Uint8Array | undefined;
}

const BASE64_LINE = /^[A-Za-z0-9+/]{1,76}={0,2}$/;
const SUM_LINE = /^([0-9a-f]{64})\b/;

/**
 * Decodes what `_ly` printed: base64 of stdout, `-`, base64 of stderr, `-`, both SHA-256. Lines of
 * other programs between them are passed over; anything else that differs fails its checksum.
 */
export function decodeExact(text: string): ExactOutput {
  const blocks: string[][] = [[], []];
  const sums: string[] = [];
  let block = 0;
  for (const raw of text.split("\n")) {
    const line = raw.trim();
    const sum = block === 2 ? SUM_LINE.exec(line)?.[1] : undefined;
    if (line === "-") block += 1;
    else if (sum !== undefined) sums.push(sum);
    else if (BASE64_LINE.test(line)) blocks[block]?.push(line);
  }
  if (block !== 2 || sums.length !== 2) return { stdout: undefined, stderr: undefined };
  return { stdout: checked(blocks[0], sums[0]), stderr: checked(blocks[1], sums[1]) };
}

function checked(lines: readonly string[] | undefined, sum: string | undefined) {
  const bytes = Buffer.from((lines ?? []).join(""), "base64");
  return createHash("sha256").update(bytes).digest("hex") === sum ? bytes : undefined;
}
