import { messageOf, UsageError } from "../../base/index.ts";

/** Who can open what is encrypted: age recipients (`age1…`), or whoever knows the passphrase. */
export type Sealing =
  | { readonly recipients: readonly string[] }
  | {
      readonly passphrase: string;
      /** Base-2 logarithm of scrypt's work; 18 where absent, as the age tool has it. */
      readonly work?: number;
    };

/** What opens it: age identities (`AGE-SECRET-KEY-1…`), a passphrase, or both. */
export interface Unsealing {
  readonly identities?: readonly string[];
  readonly passphrase?: string;
}

const BINARY = "age-encryption.org/v1\n";
const ARMOR = "-----BEGIN AGE ENCRYPTED FILE-----";

/** How bytes are encrypted, going by how they begin; undefined where they are not an age file. */
export function ageForm(bytes: Uint8Array): "binary" | "armor" | undefined {
  const start = Buffer.from(bytes.subarray(0, 64)).toString("latin1").trimStart();
  return start.startsWith(BINARY) ? "binary" : start.startsWith(ARMOR) ? "armor" : undefined;
}

/** Encrypts any number of small values for the same receivers. */
export interface Sealer {
  /** The value in the binary age format, readable by `age --decrypt`. */
  seal(value: Uint8Array): Promise<Uint8Array>;
}

/**
 * Throws UsageError for no recipients, one that is none (an identity is not shown), or an empty
 * passphrase.
 */
export async function makeSealer(sealing: Sealing): Promise<Sealer> {
  const { Encrypter } = await import("age-encryption");
  const encrypter = new Encrypter();
  if ("passphrase" in sealing) {
    if (sealing.passphrase === "") throw new UsageError("the passphrase is empty");
    encrypter.setPassphrase(sealing.passphrase);
    if (sealing.work !== undefined) encrypter.setScryptWorkFactor(sealing.work);
  } else {
    if (sealing.recipients.length === 0) throw new UsageError("there is no recipient");
    for (const recipient of sealing.recipients) {
      try {
        encrypter.addRecipient(recipient);
      } catch (error) {
        throw notRecipient(recipient, error);
      }
    }
  }
  return { seal: (value) => encrypter.encrypt(value) };
}

function notRecipient(text: string, cause: unknown): UsageError {
  if (/^AGE-SECRET-KEY-/i.test(text)) {
    return new UsageError("this is an identity, which opens files, and not a recipient", {
      expected: "its public half: age1…, printed by `age-keygen -y`",
      next: "It is on the command line or in a file of recipients now: replace that identity.",
    });
  }
  return new UsageError("this is not a recipient of age", {
    expected: "age1…, as `age-keygen` prints it",
    ...(text.startsWith("age1") && { seen: `"${text.slice(0, 80)}": ${messageOf(cause)}` }),
  });
}

/**
 * Decrypts an age file, binary or armored. The caller overwrites what it gets. Throws UsageError,
 * with nothing of the content or of the secrets, where it is damaged or nothing given opens it.
 */
export async function unseal(
  bytes: Uint8Array,
  unsealing: Unsealing,
  where: string,
): Promise<Uint8Array> {
  const { armor, Decrypter } = await import("age-encryption");
  const { identities = [], passphrase } = unsealing;
  if (identities.length === 0 && passphrase === undefined) {
    throw new UsageError("the file is encrypted, and nothing was given that opens it", {
      where,
      expected: "an age identity or the passphrase",
    });
  }
  const decrypter = new Decrypter();
  for (const identity of identities) {
    try {
      decrypter.addIdentity(identity);
    } catch {
      // The library's text could hold the identity.
      throw new UsageError("this is not an identity of age", {
        expected: "AGE-SECRET-KEY-1…, as `age-keygen` prints it",
      });
    }
  }
  if (passphrase !== undefined) decrypter.addPassphrase(passphrase);
  try {
    const binary =
      ageForm(bytes) === "armor" ? armor.decode(Buffer.from(bytes).toString("latin1")) : bytes;
    return await decrypter.decrypt(binary);
  } catch (error) {
    const closed = /no identity matched/.test(messageOf(error));
    throw new UsageError(
      closed ? "nothing given opens the encrypted file" : "the encrypted file is damaged",
      closed
        ? { where, expected: "the identity of one of its recipients, or its passphrase" }
        : { where, seen: messageOf(error) },
    );
  }
}

/** The identities in a file as `age-keygen` writes it; comments and empty lines do not count. */
export function parseIdentities(text: string): string[] {
  return linesOf(text).filter((line) => line.startsWith("AGE-SECRET-KEY-"));
}

/** The recipients in a file as `age -R` reads it: one a line, `#` begins a comment. */
export function parseRecipients(text: string): string[] {
  return linesOf(text);
}

const linesOf = (text: string): string[] =>
  text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));
