import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { type Deadline, InfrastructureError, messageOf, UsageError } from "../../base/index.ts";
import type { CommandProtocol, FileTransferProtocol } from "../protocol.ts";
import { quote } from "./quote.ts";

/** Bytes per typed command; base64 makes them a line that every line editor takes. */
const CHUNK = 600;
/** More than this is a matter of hours at console speed. */
const LIMIT = 4 * 1024 * 1024;

/** Small files through a console shell: typed in base64, compared by SHA-256. */
export class ConsoleFiles implements FileTransferProtocol {
  readonly #shell: CommandProtocol;

  constructor(shell: CommandProtocol) {
    this.#shell = shell;
  }

  async upload(local: string, remote: string, deadline: Deadline): Promise<void> {
    let bytes: Buffer;
    try {
      bytes = await readFile(local);
    } catch (error) {
      throw new UsageError("the file to upload cannot be read", {
        where: local,
        seen: messageOf(error),
      });
    }
    if (bytes.length > LIMIT) throw tooLarge(local, bytes.length);
    const part = quote(`${remote}.part`);
    await this.#must(`: >${part}`, remote, deadline);
    for (let at = 0; at < bytes.length; at += CHUNK) {
      const text = bytes.toString("base64", at, Math.min(at + CHUNK, bytes.length));
      await this.#must(`echo ${text} | base64 -d >>${part}`, remote, deadline);
    }
    const expected = createHash("sha256").update(bytes).digest("hex");
    const sum = await this.#must(`sha256sum <${part}`, remote, deadline);
    if (sum.slice(0, 64) !== expected) throw damaged(remote, expected, sum.slice(0, 64));
    await this.#must(`mv -f ${part} ${quote(remote)}`, remote, deadline);
  }

  async download(remote: string, local: string, deadline: Deadline): Promise<void> {
    const size = Number(await this.#must(`wc -c <${quote(remote)}`, remote, deadline));
    if (size > LIMIT) throw tooLarge(remote, size);
    const { exitCode, stdout, stderr, interleaved } = await this.#shell.exec(
      `cat ${quote(remote)}`,
      deadline,
    );
    if (exitCode !== 0) throw refused(remote, Buffer.from(stderr).toString());
    if (interleaved !== undefined) {
      throw new InfrastructureError("the board cannot send files exactly", {
        seen: "it has no base64 or no sha256sum",
        next: "Install them on the board, or use SSH.",
      });
    }
    await writeFile(local, stdout);
  }

  async #must(command: string, remote: string, deadline: Deadline): Promise<string> {
    const { exitCode, stdout, stderr } = await this.#shell.exec(command, deadline);
    if (exitCode === 0) return Buffer.from(stdout).toString().trim();
    throw refused(remote, Buffer.from(stderr).toString());
  }
}

function refused(remote: string, complaint: string): InfrastructureError {
  return new InfrastructureError("the board refused a file transfer", {
    where: remote,
    seen: complaint.trim() === "" ? "no reason given" : complaint.trim(),
    next: "Check the path, the permissions and the room on the board.",
  });
}

function damaged(remote: string, expected: string, seen: string): InfrastructureError {
  return new InfrastructureError("a file changed on its way to the board", {
    where: remote,
    expected: `SHA-256 ${expected}`,
    seen: `SHA-256 ${seen}`,
    next: "Check the serial line, then try again.",
  });
}

function tooLarge(file: string, size: number): UsageError {
  return new UsageError(`a file of ${size} bytes is too large for a console`, {
    where: file,
    expected: `at most ${LIMIT} bytes`,
    next: "Give the board SSH.",
  });
}
