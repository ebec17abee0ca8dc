import type { KeyObject } from "node:crypto";
import { createReadStream } from "node:fs";
import { errorCode, UsageError } from "../base/index.ts";
import { keyId, rpmbKeyFrom } from "../rpmb/index.ts";
import { type BatchRow, makeReader } from "./batch/format.ts";
import { unseal, type Unsealing } from "./key-file/index.ts";
import { sameForKeys } from "./plan/hazards-part.ts";

const OPEN_BRACE = 0x7b;
const MAX_ENCRYPTED = 16_384;

interface Found {
  readonly line: number;
  readonly keyId: string;
  readonly encrypted: string;
}

/**
 * The key of the part with this CID in a production database: CSV or JSON lines with the fields `cid`,
 * `key_id` and `encrypted_key`, as batch derivation writes them. PRV and CRC of the CID do not count.
 * Only that row is decrypted, and its key must have the id that stands beside it. Undefined where no
 * row is of this part. Throws UsageError, with nothing of any key, for a file that cannot be used.
 */
export async function databaseKeyOf(
  file: string,
  cid: string,
  unsealing: Unsealing,
): Promise<KeyObject | undefined> {
  const found = await rowOf(file, cid);
  if (found === undefined) return undefined;
  const where = `${file}, line ${found.line}`;
  const bytes = Buffer.from(await unseal(Buffer.from(found.encrypted, "base64"), unsealing, where));
  if (bytes.length !== 32) {
    bytes.fill(0);
    throw new UsageError("what is encrypted in the database is no RPMB key", {
      where,
      expected: "32 bytes",
    });
  }
  const key = rpmbKeyFrom(bytes);
  if (keyId(key) === found.keyId) return key;
  throw new UsageError("the key in the database is not the one that its key id names", {
    where,
    expected: found.keyId,
    seen: keyId(key),
    next: "The rows were mixed up: make the database anew.",
  });
}

async function rowOf(file: string, cid: string): Promise<Found | undefined> {
  let reader: ReturnType<typeof makeReader> | undefined;
  let found: Found | undefined;
  const look = (rows: readonly BatchRow[]): void => {
    for (const row of rows) {
      const other = row.fault === undefined ? row.field("cid") : undefined;
      if (other === undefined || !sameForKeys(digitsOf(other), cid)) continue;
      const next = foundIn(row, file);
      if (found !== undefined && found.keyId !== next.keyId) {
        throw new UsageError("the database has two keys for this part", {
          where: file,
          seen: `lines ${found.line} and ${next.line}`,
          next: "Find out which one is wrong before anything is written.",
        });
      }
      found ??= next;
    }
  };
  try {
    for await (const piece of createReadStream(file)) {
      const bytes = piece as Buffer;
      reader ??= makeReader(bytes[0] === OPEN_BRACE ? "jsonl" : "csv", "huk", []);
      look(reader.push(bytes));
    }
    if (reader !== undefined) look(reader.end());
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError("the database cannot be read", {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  }
  return found;
}

const digitsOf = (text: string): string =>
  text.toLowerCase().replace(/^0x/, "").replaceAll(/[ :]/g, "");

function foundIn(row: BatchRow, file: string): Found {
  const id = row.field("key_id") ?? "";
  const encrypted = row.field("encrypted_key") ?? "";
  const where = `${file}, line ${row.line}`;
  if (encrypted === "") {
    throw new UsageError("the database has no encrypted key for this part", {
      where,
      expected: "the fields key_id and encrypted_key, as `rpmb derive --batch` writes them",
      next: "Keys in plain are not read from a database: encrypt them, or give one with --key-file.",
    });
  }
  const wellFormed =
    /^[0-9a-f]{16}$/.test(id) &&
    encrypted.length <= MAX_ENCRYPTED &&
    /^[A-Za-z0-9+/]+={0,2}$/.test(encrypted);
  if (wellFormed) return { line: row.line, keyId: id, encrypted };
  throw new UsageError("the row of this part in the database is damaged", {
    where,
    expected: "key_id of 16 digits, and encrypted_key in base64",
  });
}
