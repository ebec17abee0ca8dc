import { createHash, randomBytes } from "node:crypto";
import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Deadline, InfrastructureError, messageOf, UsageError } from "../../base/index.ts";
import type { CommandProtocol, FileTransferProtocol } from "../protocol.ts";
import { quote } from "../shell/quote.ts";
import type { SshConnection } from "./connection.ts";

/**
 * Files over plain SSH channels and `cat`, so that a board without an SFTP server will do. A file
 * appears under its name only after its SHA-256 was compared on both sides.
 */
export class SshFiles implements FileTransferProtocol {
  readonly #connection: SshConnection;
  readonly #commands: CommandProtocol;

  constructor(connection: SshConnection, commands: CommandProtocol) {
    this.#connection = connection;
    this.#commands = commands;
  }

  async upload(local: string, remote: string, deadline: Deadline): Promise<void> {
    const part = `${remote}.${randomBytes(4).toString("hex")}.part`;
    const hash = createHash("sha256");
    let complaint = "";
    const { channel, closed } = await this.#connection.open(
      `cat >${quote(part)}`,
      deadline,
      (opened) => {
        opened.stderr.on("data", (bytes: Buffer) => {
          complaint += bytes.toString();
        });
        opened.resume();
        const end = new Promise<void>((resolve) => opened.on("close", resolve));
        return { channel: opened, closed: end };
      },
    );
    try {
      try {
        await deadline.race(pipeline(createReadStream(local), tee(hash), channel));
        await deadline.race(closed);
      } catch (error) {
        if (isLocal(error, local)) throw unreadable(local, error);
        throw complaint === "" ? error : refused(remote, complaint);
      }
      if (complaint !== "") throw refused(remote, complaint);
      await this.#compare(part, hash.digest("hex"), deadline);
      await this.#must(`mv -f ${quote(part)} ${quote(remote)}`, remote, deadline);
    } catch (error) {
      channel.destroy();
      await this.#commands.exec(`rm -f ${quote(part)}`, deadline).catch(() => {});
      throw error;
    }
  }

  async download(remote: string, local: string, deadline: Deadline): Promise<void> {
    const part = `${local}.${randomBytes(4).toString("hex")}.part`;
    const hash = createHash("sha256");
    let complaint = "";
    const channel = await this.#connection.open(`cat ${quote(remote)}`, deadline, (opened) => {
      opened.stderr.on("data", (bytes: Buffer) => {
        complaint += bytes.toString();
      });
      return opened;
    });
    channel.end();
    try {
      try {
        await deadline.race(pipeline(channel, tee(hash), createWriteStream(part)));
      } catch (error) {
        if (isLocal(error, part)) throw unwritable(local, error);
        throw error;
      }
      if (complaint !== "") throw refused(remote, complaint);
      await this.#compare(remote, hash.digest("hex"), deadline);
      await rename(part, local);
    } catch (error) {
      channel.destroy();
      await rm(part, { force: true });
      throw error;
    }
  }

  async #compare(remote: string, expected: string, deadline: Deadline): Promise<void> {
    const text = await this.#must(`sha256sum <${quote(remote)}`, remote, deadline);
    const seen = text.slice(0, 64);
    if (seen === expected) return;
    throw new InfrastructureError("a file changed on its way to or from the board", {
      where: remote,
      expected: `SHA-256 ${expected}`,
      seen: `SHA-256 ${seen}`,
      next: "Check that nothing else writes the file and that the board has room, then try again.",
    });
  }

  async #must(command: string, remote: string, deadline: Deadline): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#commands.exec(command, deadline);
    if (exitCode === 0) return Buffer.from(stdout).toString();
    throw refused(remote, Buffer.from(stderr).toString());
  }
}

/** Hands bytes through and hashes them. */
function tee(hash: ReturnType<typeof createHash>): Transform {
  return new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      hash.update(chunk);
      done(null, chunk);
    },
  });
}

function isLocal(error: unknown, file: string): boolean {
  return typeof error === "object" && error !== null && "path" in error && error.path === file;
}

function unreadable(local: string, error: unknown): UsageError {
  return new UsageError("the file to upload cannot be read", {
    where: local,
    seen: messageOf(error),
  });
}

function unwritable(local: string, error: unknown): InfrastructureError {
  return new InfrastructureError("the downloaded file cannot be written", {
    where: local,
    seen: messageOf(error),
    next: "Check the folder and the room on the disk.",
    cause: error,
  });
}

function refused(remote: string, complaint: string): InfrastructureError {
  return new InfrastructureError("the board refused a file transfer", {
    where: remote,
    seen: complaint.trim() === "" ? "no reason given" : complaint.trim(),
    next: "Check the path, the permissions and the room on the board.",
  });
}
