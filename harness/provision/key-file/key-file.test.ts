import { spawnSync } from "node:child_process";
import { createSecretKey, type KeyObject } from "node:crypto";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { keyId } from "../../rpmb/index.ts";
import { parseIdentities, readKeyFile, type Sealing, writeKeyFile } from "./index.ts";

const RAW = Buffer.from("a1b2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeeff00", "hex");
const DIGITS = RAW.toString("hex");
const key = (): KeyObject => createSecretKey(RAW);

let dir = "";
let identity = "";
let other = "";
let recipient = "";
beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-key-file-"));
  [identity, other] = [await generateX25519Identity(), await generateX25519Identity()];
  recipient = await identityToRecipient(identity);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

let files = 0;
const fresh = (): string => path.join(dir, `key-${(files += 1)}`);

/** A file of mode 0600 with these bytes. */
function put(bytes: string | Uint8Array): string {
  const file = fresh();
  writeFileSync(file, bytes, { mode: 0o600 });
  return file;
}

async function failure(promise: Promise<unknown>): Promise<string> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ exitCode: 2 });
  const { message, expected, seen, next } = error as Record<string, string | undefined>;
  return [message, expected, seen, next].join(" ");
}

describe("a key file", () => {
  test("for recipients is closed to other users, holds nothing in plain, and opens for each of them", async () => {
    const file = fresh();
    await writeKeyFile(file, key(), {
      recipients: [recipient, await identityToRecipient(other)],
    });
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const bytes = readFileSync(file);
    expect(bytes.includes(RAW.subarray(0, 8))).toBe(false);
    for (const one of [identity, other]) {
      const read = await readKeyFile(file, { identities: [one] });
      expect([read.encrypted, read.key.equals(key())]).toEqual([true, true]);
    }
    expect(readdirSync(dir).filter((name) => name.includes(".part"))).toEqual([]);
  });

  test("with a passphrase opens with that passphrase alone", async () => {
    const file = fresh();
    await writeKeyFile(file, key(), { passphrase: "correct horse", work: 10 });
    expect((await readKeyFile(file, { passphrase: "correct horse" })).key.equals(key())).toBe(true);
    const text = await failure(readKeyFile(file, { passphrase: "wrong donkey" }));
    expect(text).toMatch(/nothing given opens the encrypted file/);
    expect(text).not.toContain("donkey");
  });

  test("in plain is the 32 bytes that mmc-utils takes; hexadecimal digits are read as well", async () => {
    const file = fresh();
    await writeKeyFile(file, key(), "plain");
    expect([readFileSync(file).equals(RAW), statSync(file).mode & 0o777]).toEqual([true, 0o600]);
    for (const one of [file, put(`${DIGITS.toUpperCase()}\n`)]) {
      const read = await readKeyFile(one);
      expect([read.encrypted, keyId(read.key)]).toEqual([false, keyId(key())]);
    }
  });

  test("is never overwritten, and a refused one leaves what was there", async () => {
    const file = put("mine");
    const text = await failure(writeKeyFile(file, key(), "plain"));
    expect(text).toMatch(/exists already, and is never overwritten/);
    expect(readFileSync(file, "utf8")).toBe("mine");
    expect(readdirSync(dir).filter((name) => name.includes(".part"))).toEqual([]);
  });

  test("that group or others could read is refused", async () => {
    const file = put(RAW);
    for (const mode of [0o640, 0o604, 0o660, 0o601]) {
      chmodSync(file, mode);
      expect(await failure(readKeyFile(file))).toMatch(/open to other users.*mode 0600/);
    }
  });

  test("fails without showing anything of itself or of what should open it", async () => {
    const sealed = fresh();
    await writeKeyFile(sealed, key(), { recipients: [recipient] });
    const cut = readFileSync(sealed);
    const cases: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
      [() => readKeyFile(sealed), /nothing was given that opens it/],
      [() => readKeyFile(sealed, { identities: [other] }), /nothing given opens/],
      [
        () => readKeyFile(sealed, { identities: ["AGE-SECRET-KEY-1SECRET"] }),
        /not an identity of age/,
      ],
      [() => readKeyFile(put(cut.subarray(0, 150)), { identities: [identity] }), /damaged/],
      [() => readKeyFile(put(cut.subarray(0, -1)), { identities: [identity] }), /damaged/],
      [() => readKeyFile(put(DIGITS.slice(2))), /not the key of a part/],
      [() => readKeyFile(put(RAW.subarray(1))), /not the key of a part/],
      [() => readKeyFile(put("")), /not the key of a part/],
      [() => readKeyFile(put(Buffer.alloc(70_000, "x"))), /far too long/],
      [() => readKeyFile(path.join(dir, "none")), /cannot read the key.*ENOENT/],
      [() => readKeyFile(dir), /is a folder/],
      [() => writeKeyFile(path.join(dir, "no", "where"), key(), "plain"), /cannot write/],
    ];
    for (const [attempt, message] of cases) {
      const text = await failure(attempt());
      expect(text).toMatch(message);
      expect(text).not.toMatch(/a1b2c3|SECRET-KEY-1[A-Z0-9]/i);
    }
  });

  test("is not written for what is no recipient", async () => {
    const cases: readonly (readonly [Sealing, RegExp])[] = [
      [{ recipients: [] }, /no recipient/],
      [{ recipients: ["age1qqq"] }, /not a recipient of age.*age1qqq/],
      [{ recipients: ["ssh-ed25519 AAAA"] }, /not a recipient of age/],
      [{ recipients: [identity] }, /this is an identity/],
      [{ passphrase: "" }, /the passphrase is empty/],
    ];
    for (const [sealing, message] of cases) {
      const file = fresh();
      const text = await failure(writeKeyFile(file, key(), sealing));
      expect(text).toMatch(message);
      expect(text).not.toContain(identity);
      expect(() => statSync(file)).toThrow(/ENOENT/);
    }
    await expect(writeKeyFile(fresh(), createSecretKey(RAW.subarray(1)), "plain")).rejects.toThrow(
      RangeError,
    );
  });
});

const missing = spawnSync("age", ["--version"]).status === 0 ? undefined : "age is not installed";
const withAge = missing === undefined ? test : test.skip;

withAge(
  `the age tool opens our key files, and we what it encrypts${missing === undefined ? "" : ` (${missing})`}`,
  async () => {
    const keys = put(`# created: now\n# public key: ${recipient}\n${identity}\n`);
    const ours = fresh();
    await writeKeyFile(ours, key(), { recipients: [recipient] });
    const opened = spawnSync("age", ["--decrypt", "--identity", keys, ours]);
    expect([opened.status, opened.stdout.equals(RAW)]).toEqual([0, true]);
    expect(parseIdentities(readFileSync(keys, "utf8"))).toEqual([identity]);
    for (const armor of [[], ["--armor"]]) {
      const made = spawnSync("age", ["--encrypt", ...armor, "--recipient", recipient], {
        input: RAW,
      });
      const read = await readKeyFile(put(made.stdout), { identities: [identity] });
      expect([read.encrypted, read.key.equals(key())]).toEqual([true, true]);
    }
  },
);
