import { createHash, randomInt } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { cacheDir, errorCode, InfrastructureError, makeFolder, UsageError } from "../base/index.ts";
import { type GuardClock, guardClock } from "./guard-clock.ts";

/** What a confirmation is good for; everything must be the same when it is used. */
export interface ConfirmationBinding {
  /** SHA-256 of the plan. */
  readonly plan: string;
  readonly board: string;
  /** 32 hex digits. */
  readonly cid: string;
  /** Empty where Lockstep does not know the key. */
  readonly keyId: string;
}

export interface Confirmation {
  /** Typed by a person, e.g. `7KQ2-M4XD`. */
  readonly code: string;
  /** Wall time in ISO 8601. */
  readonly expires: string;
}

/** A code is good for ten minutes. */
export const CONFIRMATION_MS = 600_000;
/** How long it is remembered that a code was used. */
const USED_MS = 86_400_000;
/** No letters that are taken for digits, or for one another. */
const ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ";
const CODE_LENGTH = 8;
const CODE = new RegExp(`^[${ALPHABET}]{${CODE_LENGTH}}$`);

interface Stored extends ConfirmationBinding {
  readonly v: 1;
  readonly issuedMs: number;
  readonly uptimeMs: number;
  readonly bootId: string;
}

const folderOf = (env: NodeJS.ProcessEnv): string => path.join(cacheDir(env), "provision");

/** The file's name leads back to no code. */
function fileOf(env: NodeJS.ProcessEnv, code: string): string {
  const name = createHash("sha256").update(`lockstep confirmation\0${code}`).digest("hex");
  return path.join(folderOf(env), `${name.slice(0, 32)}.json`);
}

/**
 * Makes a code for a plan and keeps what it is bound to, readable by its owner alone. Throws
 * InfrastructureError where the cache folder cannot be written.
 */
export function issueConfirmation(
  env: NodeJS.ProcessEnv,
  { plan, board, cid, keyId }: ConfirmationBinding,
  clock: GuardClock = guardClock,
): Confirmation {
  const letters = Array.from({ length: CODE_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]);
  const code = letters.join("");
  const issuedMs = clock.wallMs();
  const stored: Stored = {
    v: 1,
    plan,
    board,
    cid,
    keyId,
    issuedMs,
    uptimeMs: clock.uptimeMs(),
    bootId: clock.bootId(),
  };
  try {
    makeFolder(folderOf(env), 0o700);
    sweep(folderOf(env), issuedMs);
    const fd = openSync(fileOf(env, code), "wx", 0o600);
    try {
      writeSync(fd, `${JSON.stringify(stored)}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw new InfrastructureError("the confirmation code cannot be kept", {
      where: folderOf(env),
      seen: errorCode(error) ?? "an error",
      next: "Make that folder writable, or name another cache with LOCKSTEP_CACHE.",
      cause: error,
    });
  }
  return {
    code: `${code.slice(0, 4)}-${code.slice(4)}`,
    expires: new Date(issuedMs + CONFIRMATION_MS).toISOString(),
  };
}

/** Takes away codes that nobody can use any more. */
function sweep(folder: string, nowMs: number): void {
  for (const name of readdirSync(folder)) {
    if (!/^[0-9a-f]{32}\.json(?:\.used)?$/.test(name)) continue;
    const file = path.join(folder, name);
    const keptMs = name.endsWith(".used") ? USED_MS : CONFIRMATION_MS * 2;
    try {
      if (nowMs - statSync(file).mtimeMs > keptMs) rmSync(file, { force: true });
    } catch {
      // Another process took it away.
    }
  }
}

/**
 * Uses a code up: from here on nobody else can, whatever becomes of the act that it was for. Of
 * several processes with one code exactly one returns. Throws UsageError, and uses nothing up, for a
 * code that is unknown, too old, or of another plan, board, part or key.
 */
export function consumeConfirmation(
  env: NodeJS.ProcessEnv,
  text: string,
  wanted: ConfirmationBinding,
  clock: GuardClock = guardClock,
): void {
  const code = text.toUpperCase().replaceAll(/[\s-]/g, "");
  if (!CODE.test(code))
    throw refused("the confirmation code is not one", "eight letters and digits");
  const file = fileOf(env, code);
  const stored = readStored(file);
  if (stored === undefined) {
    throw refused(
      wasUsed(file)
        ? "the confirmation code was used already"
        : "the confirmation code is not known here",
    );
  }
  refuseStale(stored, clock);
  for (const [field, what] of [
    ["board", "another board"],
    ["cid", "another part"],
    ["keyId", "another key"],
    ["plan", "another plan: something in it has changed since"],
  ] as const) {
    if (stored[field] !== wanted[field]) {
      throw refused(`the confirmation code is for ${what}`);
    }
  }
  try {
    renameSync(file, `${file}.used`);
  } catch (error) {
    if (errorCode(error) === "ENOENT") {
      throw refused("the confirmation code was used by another process at this moment");
    }
    throw new InfrastructureError("the confirmation code cannot be used up", {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  }
}

function refuseStale(stored: Stored, clock: GuardClock): void {
  const age = clock.wallMs() - stored.issuedMs;
  const running = clock.uptimeMs() - stored.uptimeMs;
  if (stored.bootId === clock.bootId() && isFresh(age) && isFresh(running)) return;
  throw refused("the confirmation code is too old", "one that is younger than 10 minutes");
}

const isFresh = (ms: number): boolean => ms >= 0 && ms <= CONFIRMATION_MS;

function refused(message: string, expected?: string): UsageError {
  return new UsageError(message, {
    ...(expected !== undefined && { expected }),
    next: "Run the same command without --perform, read the plan again, and use the code under it.",
  });
}

function wasUsed(file: string): boolean {
  try {
    return statSync(`${file}.used`).isFile();
  } catch {
    return false;
  }
}

/** The binding in a file that nobody but its owner could have written; undefined where none is there. */
function readStored(file: string): Stored | undefined {
  let fd: number;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw tampered(file, errorCode(error) ?? "an error");
  }
  try {
    const stat = fstatSync(fd);
    const own = stat.uid === (process.geteuid?.() ?? stat.uid);
    if (!stat.isFile() || !own || (stat.mode & 0o077) !== 0 || stat.size > 4096) {
      throw tampered(file, `mode 0${(stat.mode & 0o777).toString(8)}, owner ${stat.uid}`);
    }
    const value = JSON.parse(readFileSync(fd, "utf8")) as Partial<Stored> | null;
    const texts = [value?.plan, value?.board, value?.cid, value?.keyId, value?.bootId];
    const numbers = [value?.issuedMs, value?.uptimeMs];
    const whole =
      texts.every((one) => typeof one === "string") &&
      numbers.every((one) => typeof one === "number" && Number.isFinite(one));
    if (value?.v !== 1 || !whole) throw tampered(file, "its content is not a confirmation");
    return value as Stored;
  } catch (error) {
    if (error instanceof SyntaxError) throw tampered(file, "its content is not a confirmation");
    throw error;
  } finally {
    closeSync(fd);
  }
}

function tampered(file: string, seen: string): UsageError {
  return new UsageError("what is kept of the confirmation code cannot be trusted", {
    where: file,
    expected: "a file of yours with mode 0600, as Lockstep made it",
    seen,
    next: "Take it away, and run the same command without --perform for a new code.",
  });
}
