import { open } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { errorCode, readPrivateFile, secrets, UsageError } from "../base/index.ts";
import type { CliContext } from "./context.ts";

/** More than any value that is read here has, encrypted for some recipients too. */
const MAX_INPUT = 16_384;

export interface HexInput {
  /** For messages: `the HUK`, `the CID`. */
  readonly what: string;
  /** Sizes in bytes that are accepted. */
  readonly sizes: readonly number[];
  /** Whether the value is never shown, its digits are masked, and its file must be the owner's alone. */
  readonly secret: boolean;
  /** Opens what age has encrypted. */
  readonly unseal?: (bytes: Uint8Array, where: string) => Promise<Uint8Array>;
}

/** Bytes of a command-line value: HEX, `@FILE` (digits, or the raw bytes) or `-` for stdin. */
export async function readHexInput(
  context: CliContext,
  text: string,
  input: HexInput,
): Promise<Uint8Array> {
  if (text === "-") {
    const bytes = await readLimited(context.streams.stdin, input, "stdin");
    return await opened(bytes, input, "stdin");
  }
  if (text.startsWith("@")) {
    const file = path.resolve(context.cwd, text.slice(1));
    return await opened(await readFileInput(file, input), input, file);
  }
  const bytes = parseHex(text, input, undefined);
  if (input.secret && bytes.some((byte) => byte !== 0)) {
    context.err(
      `${context.style.err.yellow("warning:")} ${input.what} stands on the command line, where other users and the shell's history see it: @FILE and - keep it to yourself`,
    );
  }
  return bytes;
}

/**
 * Bytes of hexadecimal digits. Accepts `0x`, either case, and spaces or colons between bytes.
 * Throws UsageError without the digits.
 */
export function parseHex(text: string, input: HexInput, where: string | undefined): Uint8Array {
  const at = where === undefined ? {} : { where };
  const digits = text
    .trim()
    .replace(/^0x/i, "")
    .replaceAll(/(?<=[0-9a-f]{2})[ :](?=[0-9a-f]{2})/gi, "");
  if (/[^0-9a-f]/i.test(digits)) {
    throw new UsageError(`${input.what} is not hexadecimal`, {
      ...at,
      expected: expectation(input),
      seen: `${digits.length} characters, not all of them digits 0 to 9 and a to f`,
    });
  }
  if (digits.length % 2 !== 0 || !input.sizes.includes(digits.length / 2)) {
    const odd = digits.length % 2 === 0 ? "" : ", an odd count";
    throw new UsageError(`${input.what} has the wrong length`, {
      ...at,
      expected: expectation(input),
      seen: `${digits.length} digit${digits.length === 1 ? "" : "s"}${odd}`,
    });
  }
  if (input.secret) secrets.add(digits.toLowerCase());
  return Uint8Array.from(Buffer.from(digits, "hex"));
}

function expectation({ sizes }: HexInput): string {
  if (sizes.length > 2) {
    const [least, most] = [Math.min(...sizes), Math.max(...sizes)];
    return `${least * 2} to ${most * 2} hexadecimal digits (${least} to ${most} bytes)`;
  }
  const digits = sizes.map((size) => size * 2).join(" or ");
  return `${digits} hexadecimal digits (${sizes.join(" or ")} bytes)`;
}

const AGE_FILE = /^\s*(?:age-encryption\.org\/v1\n|-----BEGIN AGE ENCRYPTED FILE-----)/;

/** What is in a file, or in the age file that it is. */
async function opened(bytes: Buffer, input: HexInput, where: string): Promise<Uint8Array> {
  if (!AGE_FILE.test(bytes.toString("latin1", 0, 64))) return fromFile(bytes, input, where);
  if (input.unseal === undefined) {
    throw new UsageError(`${input.what} is encrypted, and nothing was given that opens it`, {
      where,
      expected: "--identity with a file of age identities",
    });
  }
  return fromFile(Buffer.from(await input.unseal(bytes, where)), input, where);
}

/** Digits as text, or the bytes themselves where the file has as many as are wanted. */
function fromFile(bytes: Buffer, input: HexInput, where: string): Uint8Array {
  const text = bytes.toString("latin1");
  try {
    const isText = /^[\s0-9a-fx:]*$/i.test(text);
    if (!isText && input.sizes.includes(bytes.length)) {
      if (input.secret) secrets.add(bytes.toString("hex"));
      return Uint8Array.from(bytes);
    }
    if (!isText) {
      throw new UsageError(`${input.what} is neither hexadecimal nor as many raw bytes as it has`, {
        where,
        expected: expectation(input),
        seen: `${bytes.length} bytes`,
      });
    }
    return parseHex(text, input, where);
  } finally {
    bytes.fill(0);
  }
}

async function readFileInput(file: string, input: HexInput): Promise<Buffer> {
  if (input.secret) return await readPrivateFile(file, { what: input.what, limit: MAX_INPUT });
  try {
    const handle = await open(file, "r");
    try {
      return await readLimited(handle.createReadStream({ autoClose: false }), input, file);
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`cannot read ${input.what}`, {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  }
}

async function readLimited(stream: Readable, input: HexInput, where: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = Buffer.from(chunk as Uint8Array);
    size += bytes.length;
    chunks.push(bytes);
    if (size > MAX_INPUT) {
      throw new UsageError(`${input.what} is far too long`, {
        where,
        expected: expectation(input),
      });
    }
  }
  const whole = Buffer.concat(chunks);
  for (const chunk of chunks) chunk.fill(0);
  return whole;
}
