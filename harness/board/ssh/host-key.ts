import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import path from "node:path";
import { BoardFileError, messageOf } from "../../base/index.ts";

/** A public host key that pins a board. */
export interface HostKey {
  /** As in the key line, e.g. `ssh-ed25519`. */
  readonly type: string;
  /** The key in SSH wire format. */
  readonly blob: Buffer;
}

const LINE = /(?:^|\s)((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+) ([A-Za-z0-9+/]+={0,2})(?:\s|$)/;

/**
 * Reads a pinned key: a public key line, a known_hosts line, or the path of a file whose first such
 * line it is. Throws BoardFileError if there is none.
 */
export async function readHostKey(value: string, where: string): Promise<HostKey> {
  const inline = parseHostKey(value);
  if (inline !== undefined) return inline;
  let text: string;
  try {
    text = await readFile(value, "utf8");
  } catch (error) {
    throw new BoardFileError("the pinned SSH host key cannot be read", {
      where,
      expected: "a line such as `ssh-ed25519 AAAA…`, or a file that holds one",
      seen: messageOf(error),
      next: "Correct ssh.host_key in the board file.",
    });
  }
  const fromFile = parseHostKey(text);
  if (fromFile === undefined) {
    throw new BoardFileError(`${path.basename(value)} holds no SSH public key`, {
      where,
      expected: "a line such as `ssh-ed25519 AAAA…`",
      next: "Correct ssh.host_key in the board file.",
    });
  }
  return fromFile;
}

export function parseHostKey(text: string): HostKey | undefined {
  const [, type, base64] = LINE.exec(text) ?? [];
  if (type === undefined || base64 === undefined) return undefined;
  const blob = Buffer.from(base64, "base64");
  return keyType(blob) === type ? { type, blob } : undefined;
}

/** The algorithm name that a wire-format key begins with, or undefined if it is none. */
export function keyType(blob: Uint8Array): string | undefined {
  const bytes = Buffer.from(blob);
  if (bytes.length < 4) return undefined;
  const length = bytes.readUInt32BE(0);
  if (length === 0 || length > 64 || 4 + length > bytes.length) return undefined;
  return bytes.toString("latin1", 4, 4 + length);
}

/** `ssh-ed25519 SHA256:…`, as ssh-keygen and OpenSSH show a key. */
export function fingerprint(blob: Uint8Array): string {
  const hash = createHash("sha256").update(blob).digest("base64").replace(/=+$/, "");
  return `${keyType(blob) ?? "unknown key type"} SHA256:${hash}`;
}

/** Signature algorithms to ask the server for, so that it shows the pinned key and not another. */
export function hostKeyAlgorithms(type: string): string[] {
  return type === "ssh-rsa" ? ["rsa-sha2-512", "rsa-sha2-256"] : [type];
}
