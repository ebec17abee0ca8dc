import type { KeyObject } from "node:crypto";
import { InfrastructureError } from "../base/index.ts";
import { rpmbKeyFrom } from "../rpmb/index.ts";

/**
 * The client of Lockstep's key-read service on the board (RPMB routes, `CFG_INSECURE` builds only).
 *
 * `lockstep-rpmb-key CID` takes the part's CID as 32 lower-case hexadecimal digits, asks the service
 * for the key that this OP-TEE derives for it, and prints on stdout exactly three lines, each with
 * `\n` at its end and one space between the words:
 *
 * ```
 * lockstep-rpmb-key 1
 * cid fe014e4d4d4330344742c8f6552a6115
 * key <64 lower-case hexadecimal digits>
 * ```
 *
 * It exits with 0. Anything else goes to stderr in one line, nothing to stdout, and the exit code is
 * 1 where the service is not in this OP-TEE, 2 where it refuses (with the TEE's result code in the
 * line), 64 for wrong arguments.
 */
export const KEY_CLIENT = {
  program: "lockstep-rpmb-key",
  version: 1,
  exit: { absent: 1, refused: 2, usage: 64 },
} as const;

const HEAD = `${KEY_CLIENT.program} ${KEY_CLIENT.version}\ncid `;
const CID_DIGITS = 32;
const KEY_DIGITS = 64;
const SIZE = HEAD.length + CID_DIGITS + "\nkey ".length + KEY_DIGITS + 1;

/**
 * The key in the client's output, which is overwritten whatever it is; no text is made of the key.
 * Throws InfrastructureError, without any of the output in it, unless it is exactly the three lines
 * for this CID.
 */
export function parseKeyClient(stdout: Uint8Array, cid: string): KeyObject {
  const head = Buffer.from(`${HEAD}${cid}\nkey `, "latin1");
  try {
    const end = stdout.length - 1;
    if (
      stdout.length !== SIZE ||
      !head.equals(stdout.subarray(0, head.length)) ||
      stdout[end] !== 0x0a
    ) {
      throw wrong(`${stdout.length} bytes`);
    }
    const key = new Uint8Array(KEY_DIGITS / 2);
    for (let index = 0; index < key.length; index += 1) {
      const at = head.length + index * 2;
      const high = nibble(stdout[at]);
      const low = nibble(stdout[at + 1]);
      if (high === undefined || low === undefined) {
        key.fill(0);
        throw wrong("a key with other characters than 0 to 9 and a to f");
      }
      key[index] = high * 16 + low;
    }
    return rpmbKeyFrom(key);
  } finally {
    stdout.fill(0);
  }
}

function nibble(byte: number | undefined): number | undefined {
  if (byte === undefined) return undefined;
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  return byte >= 0x61 && byte <= 0x66 ? byte - 0x57 : undefined;
}

function wrong(seen: string): InfrastructureError {
  return new InfrastructureError("the key-read client's output is not of the form agreed on", {
    where: KEY_CLIENT.program,
    expected: `${SIZE} bytes in three lines: name and version, the CID that was asked for, the key`,
    seen,
    next: "Use client and service of one `lockstep prepare`.",
  });
}
