import { createPrivateKey, createPublicKey } from "node:crypto";
import { expect, test } from "@jest/globals";
import ssh2 from "ssh2";
import { dropbearKeyFile, makeImageKeys, publicKeyLine } from "./ssh-keys.ts";

// RFC 8032, section 7.1, test 1: secret key and public key.
const SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const POINT = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

const fixed = createPrivateKey({
  key: Buffer.from(`302e020100300506032b657004220420${SEED}`, "hex"),
  format: "der",
  type: "pkcs8",
});

test("a host key file is what dropbear reads: name, then seed and public key in one string", () => {
  const name = Buffer.from("ssh-ed25519").toString("hex");
  expect(dropbearKeyFile(fixed).toString("hex")).toBe(`0000000b${name}00000040${SEED}${POINT}`);
});

test("the public key line is the one that OpenSSH writes for the same key", () => {
  const blob = `0000000b${Buffer.from("ssh-ed25519").toString("hex")}00000020${POINT}`;
  expect(publicKeyLine(createPublicKey(fixed))).toBe(
    `ssh-ed25519 ${Buffer.from(blob, "hex").toString("base64")}`,
  );
});

test("every image has keys of its own, and its private client key opens its public one", async () => {
  const [one, two] = await Promise.all([makeImageKeys("one"), makeImageKeys("two")]);
  expect(one.hostKeyLine).not.toBe(two.hostKeyLine);
  expect(one.clientKeyLine).not.toBe(two.clientKeyLine);
  const parsed = ssh2.utils.parseKey(one.clientKeyFile);
  if (parsed instanceof Error) throw parsed;
  const [, base64 = ""] = one.clientKeyLine.split(" ");
  const [key] = Array.isArray(parsed) ? parsed : [parsed];
  expect(key?.getPublicSSH().toString("base64")).toBe(base64);
  expect(key?.isPrivateKey()).toBe(true);
});
