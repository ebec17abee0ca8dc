import type { KeyObject } from "node:crypto";
import { PrivateFile, readPrivateFile, secrets, UsageError } from "../../base/index.ts";
import { isRpmbKey, rpmbKeyFrom } from "../../rpmb/index.ts";
import { ageForm, makeSealer, type Sealing, unseal, type Unsealing } from "./age.ts";

/** An age file of 32 bytes has about 200; each further recipient adds 100, or 1,600 if post-quantum. */
const MAX_KEY_FILE = 65_536;
const KEY_BYTES = 32;

/**
 * Writes a part's key as 32 raw bytes, what `mmc rpmb write-key` takes, encrypted in the age format
 * unless `plain`. Mode 0600; never overwrites. Throws UsageError as `PrivateFile` and
 * `makeSealer` do, RangeError for a key that is not 32 bytes.
 */
export async function writeKeyFile(
  file: string,
  key: KeyObject,
  protection: Sealing | "plain",
): Promise<void> {
  if (!isRpmbKey(key)) throw new RangeError("a key file holds a key of 32 bytes");
  const sealer = protection === "plain" ? undefined : await makeSealer(protection);
  // The name first: a passphrase takes a second or two to become a key.
  const out = await PrivateFile.create(file);
  const raw = key.export();
  try {
    await out.write(sealer === undefined ? raw : await sealer.seal(raw));
    await out.commit();
  } finally {
    raw.fill(0);
    await out.discard();
  }
}

export interface KeyFile {
  readonly key: KeyObject;
  readonly encrypted: boolean;
}

/**
 * Reads a key file: encrypted, 32 raw bytes, or 64 hexadecimal digits. The key is masked from then on
 * wherever text leaves. Throws UsageError, with nothing of the content, where it is none, is open to
 * other users, or stays closed.
 */
export async function readKeyFile(file: string, unsealing: Unsealing = {}): Promise<KeyFile> {
  const bytes = await readPrivateFile(file, { what: "the key", limit: MAX_KEY_FILE });
  try {
    if (ageForm(bytes) === undefined) return { key: keyOf(bytes, file), encrypted: false };
    const opened = Buffer.from(await unseal(bytes, unsealing, file));
    try {
      return { key: keyOf(opened, file), encrypted: true };
    } finally {
      opened.fill(0);
    }
  } finally {
    bytes.fill(0);
  }
}

function keyOf(bytes: Buffer, where: string): KeyObject {
  if (bytes.length === KEY_BYTES) {
    secrets.add(bytes.toString("hex"));
    return rpmbKeyFrom(Uint8Array.from(bytes));
  }
  const digits = bytes.length <= KEY_BYTES * 2 + 2 ? bytes.toString("latin1").trim() : "";
  if (digits.length === KEY_BYTES * 2 && /^[0-9a-f]+$/i.test(digits)) {
    secrets.add(digits.toLowerCase());
    return rpmbKeyFrom(Uint8Array.from(Buffer.from(digits, "hex")));
  }
  throw new UsageError("this is not the key of a part", {
    where,
    expected: "32 raw bytes or 64 hexadecimal digits, best encrypted with age",
    seen: `${bytes.length} bytes`,
  });
}
