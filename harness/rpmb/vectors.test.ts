import { createHash, createSecretKey, type KeyObject } from "node:crypto";
import { inspect } from "node:util";
import { expect, test } from "@jest/globals";
import {
  CID,
  cidForKey,
  deriveRpmbKey,
  deriveStorageKey,
  encodeFrames,
  findHukSource,
  framesMac,
  HUK_SOURCES,
  HUK_USAGE,
  hukOf,
  intoKey,
  keyCandidates,
  keyId,
  rpmbTestKey,
  subkeyMessage,
  zeroHuk,
} from "./index.ts";

const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const shown = (key: KeyObject): string => key.export().toString("hex");

const CARD = "fe014e4d4d4330344742c8f6552a6115";
const OTHER = "150100424a5444345203a1b2c3d4c59b";
const OTHER_UPDATED = "150100424a5444345207a1b2c3d4c541";
const ZERO = "00".repeat(16);
const COUNTING = "000102030405060708090a0b0c0d0e0f";
const LONG = `${COUNTING}101112131415161718191a1b1c1d1e1f`;
const DOWN = "ffeeddccbbaa99887766554433221100";

test.each([
  [
    "RPMB-3.4.V1C",
    ZERO,
    CARD,
    true,
    "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493",
  ],
  [
    "RPMB-3.4.V1N",
    ZERO,
    CARD,
    false,
    "7df22a3d5b8f1d617e03da5711f8cb1fdba1553d2b0e3006125d672e22512ec7",
  ],
  [
    "RPMB-3.4.V2C",
    COUNTING,
    CARD,
    true,
    "cfd820d7e54fec9e86a275dfdccce362d40d09fb284ac7066232ed31e904f664",
  ],
  [
    "RPMB-3.4.V2N",
    COUNTING,
    CARD,
    false,
    "5b5e521a9b13edd535251bad17f7dd73f4d2124ed17434143c5fb82d312ad12c",
  ],
  [
    "RPMB-3.4.V3C",
    COUNTING,
    OTHER,
    true,
    "963e650442bfadadc2b5ebad249a72ce30951d295647d773aba6d232055aa470",
  ],
  [
    "RPMB-3.4.V3N",
    COUNTING,
    OTHER,
    false,
    "d494a91f607f1d55c1118102fd2fadf681dffae1d3185089c96225b9203c4b10",
  ],
  [
    "RPMB-3.4.V4",
    COUNTING,
    OTHER_UPDATED,
    true,
    "963e650442bfadadc2b5ebad249a72ce30951d295647d773aba6d232055aa470",
  ],
  [
    "RPMB-3.4.V4",
    COUNTING,
    OTHER_UPDATED,
    false,
    "d494a91f607f1d55c1118102fd2fadf681dffae1d3185089c96225b9203c4b10",
  ],
  [
    "RPMB-3.4.V5C",
    DOWN,
    OTHER,
    true,
    "445f8d667ddc1d54cdc382c81ba485880bdccecee3527bc8d0aaebae565ee7e7",
  ],
  [
    "RPMB-3.4.V5N",
    DOWN,
    OTHER,
    false,
    "64d324815bf3dcb69f636c8162e17b88a6679d4e8018b36afb13f72caf8e50f5",
  ],
  [
    "RPMB-3.4.V6C",
    LONG,
    OTHER,
    true,
    "2d2b2a0815aa311e297a0c9f8a790dd118c5e4ce665a3cc05b23f40790ca983e",
  ],
  [
    "RPMB-3.4.V6N",
    LONG,
    OTHER,
    false,
    "8c98ef1f5c41122845a077e9bc25c3bc26f75458f0a8f116c31dd66d6cbdb318",
  ],
] as const)("%s: HUK %s and CID %s, compat %s", (_name, huk, cid, compat, key) => {
  expect(shown(deriveRpmbKey(intoKey(hex(huk)), hex(cid), { compat }))).toBe(key);
});

test("RPMB-3.1, RPMB-3.2, RPMB-3.3: the derivation message is the masked CID, with the usage word unless compat", () => {
  const masked = "fe014e4d4d4330344700c8f6552a6100";
  expect(text(cidForKey(hex(CARD)))).toBe(masked);
  const message = (compat: boolean): string =>
    text(subkeyMessage(HUK_USAGE.RPMB, cidForKey(hex(CARD)), { compat }));
  expect([message(true), message(false)]).toEqual([masked, `00000000${masked}`]);
  const other = (compat: boolean): string =>
    text(subkeyMessage(HUK_USAGE.TA_ENC, hex("aa"), { compat }));
  expect([other(true), other(false)]).toEqual(["04000000aa", "04000000aa"]);
});

test.each([
  [ZERO, "79b082214416d9f43a9be1cb6c4abaa5435c1a1a55b8ae51c3a6857460952147"],
  [COUNTING, "dcab8ea0ceeb19dcb772919140cb52fbc5858f5945be342e4729332506d570d9"],
])("RPMB-3.5: the compat storage key of HUK %s", (huk, key) => {
  expect(shown(deriveStorageKey(intoKey(hex(huk)), { compat: true }))).toBe(key);
});

test("RPMB-3.5: with a die id, and without compat, the storage key is another", () => {
  const keys = [
    deriveStorageKey(zeroHuk(), { compat: true }),
    deriveStorageKey(zeroHuk(), { compat: true, dieId: new Uint8Array(32) }),
    deriveStorageKey(zeroHuk(), { compat: false }),
  ];
  expect(new Set(keys.map(shown)).size).toBe(3);
});

function missing(): never {
  throw new Error("no such source");
}

const V1C = (): KeyObject => deriveRpmbKey(zeroHuk(), hex(CARD), { compat: true });
const NONCE = hex(COUNTING);
const fill = (byte: number): Uint8Array => new Uint8Array(256).fill(byte);
const two = { address: 2, blockCount: 2 };

test.each([
  [
    "RPMB-3.4.F1",
    "3da9f35bd9d0b3c37dba876ee8aceb5b219de69f4b10b8c9018f41a092f41add",
    V1C,
    [{ type: 0x200, nonce: NONCE }],
  ],
  [
    "RPMB-3.4.F2",
    "66b32f795bcd74cd09e92a6d174332319dfb0722cd371667621dbc14054afb92",
    V1C,
    [{ type: 3, data: fill(0xa5), blockCount: 1 }],
  ],
  [
    "RPMB-3.4.F3",
    "40c78a64584b101035150de23e19a8a92f4b16b6c0fd67c1c4ed9d74037d797a",
    V1C,
    [1, 2].map((byte) => ({ type: 3, data: fill(byte), writeCounter: 5, ...two })),
  ],
  [
    "RPMB-3.4.F4",
    "bee834bbfc026c4c7c1ea07cc2681b74bbf05ea91718bc3acab060e9ab53be55",
    V1C,
    [1, 2].map((byte) => ({ type: 0x400, data: fill(byte), nonce: NONCE, ...two })),
  ],
  [
    "RPMB-3.4.F5",
    "4b7f231baefc6c102a36f04eec9c06e223dce2fb739ef7b889c5f9fe73e0766f",
    V1C,
    [{ type: 0x300, writeCounter: 1 }],
  ],
  [
    "RPMB-3.4.F6",
    "ee3391c42fd230fa06918a22e37387e05bff83bc1788331b245e43b2e9f11315",
    rpmbTestKey,
    [{ type: 0x200, nonce: NONCE }],
  ],
] as const)("%s: the MAC of its frames is %s", (_name, mac, key, frames) => {
  expect(text(framesMac(key(), encodeFrames(...frames)))).toBe(mac);
});

test("a CID and a HUK in a Buffer are taken as in any other array", () => {
  const cid = Buffer.from(CARD, "hex");
  const source = findHukSource("caam-closed");
  if (source === undefined) throw new Error("no such source");
  for (const value of [Buffer.from(LONG, "hex"), hex(COUNTING)]) {
    const { key } = hukOf(source, value);
    expect(value.every((byte) => byte === 0)).toBe(true);
    expect(shown(deriveRpmbKey(key, cid, { compat: true }))).toMatch(/^cfd820d7/);
  }
  expect(cid.toString("hex")).toBe(CARD);
});

test("keyId is the first 8 bytes of SHA-256 over the label, a zero byte and the key", () => {
  const label = Buffer.from("lockstep rpmb key id v1\0");
  const digest = createHash("sha256").update(label).update(rpmbTestKey().export()).digest("hex");
  expect(keyId(rpmbTestKey())).toBe(digest.slice(0, 16));
  expect([keyId(rpmbTestKey()), keyId(V1C())]).toEqual(["4acdf4e991dc4da9", "232a49ad981c01e4"]);
  expect(() => keyId(zeroHuk())).toThrow(RangeError);
});

test("the candidates of a part are every route, and those of the emulated card only as a mistake", () => {
  const huk = hukOf(HUK_SOURCES.find(({ name }) => name === "given") ?? missing(), hex(COUNTING));
  const names = keyCandidates({ cid: hex(OTHER), huks: [huk] }).map(({ name, key }) => [
    name,
    shown(key).slice(0, 8),
  ]);
  expect(names).toEqual([
    ["zero-stub/compat", expect.any(String)],
    ["zero-stub/non-compat", expect.any(String)],
    ["given/compat", "963e6504"],
    ["given/non-compat", "d494a91f"],
    ["test-key", "d3eb3ec3"],
    ["emulation/compat", "7143becb"],
    ["emulation/non-compat", "7df22a3d"],
  ]);
  const emulated = keyCandidates({ cid: hex(CARD) });
  expect(emulated.map(({ name }) => name)).toEqual([
    "zero-stub/compat",
    "zero-stub/non-compat",
    "test-key",
  ]);
  expect(emulated[0]?.key.equals(V1C())).toBe(true);
});

test("a key prints, serializes and fails as nothing", () => {
  const key = V1C();
  const secret = "7143becb";
  for (const seen of [inspect(key, { depth: 9 }), JSON.stringify(key)]) {
    expect(seen.toLowerCase()).not.toContain(secret);
  }
  const bytes = hex(COUNTING);
  intoKey(bytes);
  expect(bytes.every((byte) => byte === 0)).toBe(true);
  expect(createSecretKey(hex(ZERO)).equals(zeroHuk())).toBe(true);
});

test("the fields of a CID lie end to end, and only 16 bytes are one", () => {
  const { size, ...fields } = CID;
  let at = 0;
  for (const field of Object.values(fields)) {
    expect(field.offset).toBe(at);
    at += field.size;
  }
  expect(at).toBe(size);
  expect(() => cidForKey(new Uint8Array(15))).toThrow(RangeError);
});
