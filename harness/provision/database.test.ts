import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, expect, test } from "@jest/globals";
import { generateIdentity, identityToRecipient } from "age-encryption";
import { describeError } from "../base/index.ts";
import { keyDigits, keyId } from "../rpmb/index.ts";
import { databaseKeyOf } from "./database.ts";
import { makeSealer } from "./key-file/index.ts";
import { CID, OTHER_CID, someKey } from "./testing/situations.ts";

let dir = "";
let identity = "";
let sealed = "";
let other = "";
const KEY = someKey();
const OTHER = someKey(9);

beforeAll(async () => {
  identity = await generateIdentity();
  const sealer = await makeSealer({ recipients: [await identityToRecipient(identity)] });
  const seal = async (bytes: Uint8Array): Promise<string> =>
    Buffer.from(await sealer.seal(bytes)).toString("base64");
  sealed = await seal(KEY.export());
  other = await seal(OTHER.export());
});
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-database-"));
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

function put(text: string): string {
  const file = path.join(dir, "keys");
  writeFileSync(file, text);
  return file;
}

const find = async (text: string, cid = CID): Promise<string | undefined> => {
  const key = await databaseKeyOf(put(text), cid, { identities: [identity] });
  return key === undefined ? undefined : keyId(key);
};
const refusal = async (text: string): Promise<string> =>
  await find(text).then(
    (id) => `not refused: ${id ?? "none"}`,
    (error: unknown) => describeError(error),
  );

const HEAD = "serial,cid,key_id,encrypted_key\n";
const row = (cid: string, id: string, key: string, serial = "1"): string =>
  `${serial},${cid},${id},${key}\n`;

test("the key of a CID is found in CSV and in JSON lines, among others and whatever its revision", async () => {
  const mine = [CID, `${CID.slice(0, 18)}99${CID.slice(20, 30)}00`, CID.toUpperCase()];
  for (const cid of mine) {
    const rows = [row(OTHER_CID, keyId(OTHER), other), row(cid, keyId(KEY), sealed)];
    expect(await find(HEAD + rows.join(""))).toBe(keyId(KEY));
    const lines = [
      { cid: OTHER_CID, key_id: keyId(OTHER), encrypted_key: other },
      { cid, key_id: keyId(KEY), encrypted_key: sealed },
    ];
    expect(await find(lines.map((line) => `${JSON.stringify(line)}\n`).join(""))).toBe(keyId(KEY));
  }
});

test("a part that is in no row has no key, nor has an empty file", async () => {
  expect(await find(HEAD + row(OTHER_CID, keyId(OTHER), other))).toBeUndefined();
  expect(await find("")).toBeUndefined();
});

test("the same row twice is one key", async () => {
  const twice = row(CID, keyId(KEY), sealed) + row(CID, keyId(KEY), sealed, "2");
  expect(await find(HEAD + twice)).toBe(keyId(KEY));
});

test("two keys for one part, mixed-up rows and damage are refused, without a key in the text", async () => {
  const cases: readonly (readonly [string, RegExp])[] = [
    [
      row(CID, keyId(KEY), sealed) + row(CID, keyId(OTHER), other),
      /two keys for this part.*lines 2 and 3/,
    ],
    [row(CID, keyId(OTHER), sealed), /not the one that its key id names.*mixed up/],
    [row(CID, keyId(KEY), ""), /no encrypted key for this part.*in plain are not read/],
    [row(CID, "", sealed), /is damaged/],
    [row(CID, keyId(KEY), "****"), /is damaged/],
    [row(CID, keyId(KEY), sealed.slice(0, 40)), /the encrypted file is damaged/],
    [row(CID, keyId(KEY), Buffer.from("x").toString("base64")), /damaged/],
  ];
  for (const [text, message] of cases) {
    const said = await refusal(HEAD + text);
    expect(said).toMatch(message);
    expect(said).not.toContain(keyDigits(KEY));
  }
  expect(await refusal("serial,huk\n1,2\n")).toMatch(/names no column cid/);
  await expect(databaseKeyOf(path.join(dir, "none"), CID, {})).rejects.toThrow("cannot be read");
});

test("nothing is decrypted without an identity, and another's opens nothing", async () => {
  const file = put(HEAD + row(CID, keyId(KEY), sealed));
  await expect(databaseKeyOf(file, CID, {})).rejects.toThrow(/nothing was given that opens it/);
  const stranger = { identities: [await generateIdentity()] };
  await expect(databaseKeyOf(file, CID, stranger)).rejects.toThrow(/nothing given opens/);
});
