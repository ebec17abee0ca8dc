import { createReadStream, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { errorCode, InterruptedError, secrets, UsageError } from "../base/index.ts";
import type { CliContext } from "./context.ts";

/** Longest passphrase, in bytes of UTF-8. */
const MAX_BYTES = 1024;
/** Shorter ones are found by trying. */
const GOOD_LENGTH = 10;

export interface PassphraseFlags {
  /** Ask on the terminal. */
  readonly passphrase?: boolean;
  /** Read the first line of this file descriptor. */
  readonly passphraseFd?: string;
}

/**
 * The passphrase that the flags ask for, undefined where they ask for none. `twice` asks again, for
 * files that are written. Throws UsageError where there is no terminal or no such descriptor.
 */
export async function readPassphrase(
  context: CliContext,
  flags: PassphraseFlags,
  twice: boolean,
): Promise<string | undefined> {
  if (flags.passphraseFd !== undefined) {
    if (flags.passphrase === true) {
      throw new UsageError("give one of --passphrase and --passphrase-fd");
    }
    return checked(context, await firstLine(flags.passphraseFd), twice);
  }
  if (flags.passphrase !== true) return undefined;
  const first = await ask("Passphrase: ", context.abort);
  if (twice && (await ask("The same again: ", context.abort)) !== first) {
    throw new UsageError("the two passphrases differ");
  }
  return checked(context, first, twice);
}

function checked(context: CliContext, passphrase: string, isNew: boolean): string {
  if (passphrase === "") throw new UsageError("the passphrase is empty");
  secrets.add(passphrase);
  if (isNew && passphrase.length < GOOD_LENGTH) {
    context.err(
      `${context.style.err.yellow("warning:")} a passphrase of fewer than ${GOOD_LENGTH} characters is found by trying`,
    );
  }
  return passphrase;
}

async function firstLine(text: string): Promise<string> {
  const fd = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isInteger(fd)) {
    throw new UsageError("--passphrase-fd takes the number of a file descriptor", {
      expected: "e.g. --passphrase-fd 3 3< <(pass show rpmb)",
    });
  }
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of createReadStream("", { fd, autoClose: fd > 2 })) {
      chunks.push(chunk as Buffer);
      size += (chunk as Buffer).length;
      if (size > MAX_BYTES || (chunk as Buffer).includes(0x0a)) break;
    }
  } catch (error) {
    throw new UsageError(`cannot read the passphrase from file descriptor ${fd}`, {
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  }
  const whole = Buffer.concat(chunks);
  const [line = ""] = whole.toString("utf8").split("\n");
  for (const chunk of [...chunks, whole]) chunk.fill(0);
  if (Buffer.byteLength(line) > MAX_BYTES) throw new UsageError("the passphrase is too long");
  return line.replace(/\r$/, "");
}

const ENTER = ["\r", "\n"];
const BACKSPACE = ["\u007F", "\b"];
const END = "\u0004";
const INTERRUPT = "\u0003";

/** One line from the controlling terminal, which shows none of it. */
async function ask(question: string, abort: AbortSignal): Promise<string> {
  let fd: number;
  try {
    fd = openSync("/dev/tty", "r+");
  } catch (error) {
    throw new UsageError("there is no terminal to ask for the passphrase on", {
      next: "Give it with --passphrase-fd, e.g. --passphrase-fd 3 3< <(pass show rpmb).",
      cause: error,
    });
  }
  const terminal = new ReadStream(fd);
  try {
    terminal.setRawMode(true);
    writeSync(fd, question);
    return await typed(terminal, abort);
  } finally {
    terminal.setRawMode(false);
    writeSync(fd, "\n");
    terminal.destroy();
  }
}

function typed(terminal: ReadStream, abort: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let characters: string[] = [];
    const stop = (): void => reject(new InterruptedError("no passphrase was given"));
    abort.addEventListener("abort", stop, { once: true });
    terminal.setEncoding("utf8");
    terminal.on("error", reject);
    terminal.on("end", stop);
    terminal.on("data", (text: string) => {
      for (const character of text) {
        if (ENTER.includes(character)) {
          resolve(characters.join(""));
          return;
        }
        if (character === INTERRUPT || character === END) {
          stop();
          return;
        }
        if (BACKSPACE.includes(character)) characters.pop();
        else if (character === "\u0015") characters = [];
        else if (Buffer.byteLength(characters.join("")) < MAX_BYTES) characters.push(character);
      }
    });
  });
}
