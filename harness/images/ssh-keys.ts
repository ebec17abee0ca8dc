import { generateKeyPairSync, type KeyObject } from "node:crypto";

/** Key material of one image; no two images share any of it. */
export interface ImageKeys {
  /** Dropbear's own host key file. */
  readonly hostKeyFile: Buffer;
  /** `ssh-ed25519 AAAA…` */
  readonly hostKeyLine: string;
  /** Private key of the client, OpenSSH format. */
  readonly clientKeyFile: string;
  /** `ssh-ed25519 AAAA… comment`, for authorized_keys. */
  readonly clientKeyLine: string;
}

const ALGORITHM = "ssh-ed25519";

export async function makeImageKeys(name: string): Promise<ImageKeys> {
  const host = generateKeyPairSync("ed25519");
  const { default: ssh2 } = await import("ssh2");
  const client = ssh2.utils.generateKeyPairSync("ed25519", { comment: `lockstep-${name}` });
  return {
    hostKeyFile: dropbearKeyFile(host.privateKey),
    hostKeyLine: publicKeyLine(host.publicKey),
    clientKeyFile: client.private,
    clientKeyLine: client.public,
  };
}

/**
 * Dropbear's file format for an Ed25519 private key: the algorithm's name and one string of 64
 * bytes, private seed then public key, each with its length in 32 bits, big-endian.
 */
export function dropbearKeyFile(privateKey: KeyObject): Buffer {
  const jwk = privateKey.export({ format: "jwk" });
  const pair = Buffer.concat([jwkBytes(jwk.d), jwkBytes(jwk.x)]);
  return Buffer.concat([sshString(Buffer.from(ALGORITHM)), sshString(pair)]);
}

/** The public key as one line of known_hosts or authorized_keys, without host and comment (RFC 8709). */
export function publicKeyLine(publicKey: KeyObject): string {
  const point = jwkBytes(publicKey.export({ format: "jwk" }).x);
  const blob = Buffer.concat([sshString(Buffer.from(ALGORITHM)), sshString(point)]);
  return `${ALGORITHM} ${blob.toString("base64")}`;
}

function jwkBytes(field: string | undefined): Buffer {
  const bytes = Buffer.from(field ?? "", "base64url");
  if (bytes.length !== 32) throw new TypeError("not an Ed25519 key");
  return bytes;
}

function sshString(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
