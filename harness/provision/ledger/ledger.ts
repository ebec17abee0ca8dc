import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import {
  type Clock,
  errorCode,
  InfrastructureError,
  makeFolder,
  messageOf,
  stateDir,
  systemClock,
} from "../../base/index.ts";
import { acquireLock, type Lock } from "../../run/index.ts";
import { type LedgerHead, type LedgerReading, readChain, sha256 } from "./chain.ts";
import type { LedgerEntry, LedgerFact } from "./entry.ts";

/** How long another process's entry is waited for. */
const LOCK_MS = 10_000;
const LOCK_STEP_MS = 25;

/** Where the ledger is: `LOCKSTEP_LEDGER`, else `rpmb-ledger.jsonl` in the user's state folder. */
export function ledgerFile(env: NodeJS.ProcessEnv, cwd = process.cwd()): string {
  const own = env["LOCKSTEP_LEDGER"];
  return own !== undefined && own !== ""
    ? path.resolve(cwd, own)
    : path.join(stateDir(env), "rpmb-ledger.jsonl");
}

const headFile = (file: string): string => `${file}.head`;

/** The ledger as it is now; one that is not there is empty. Throws InfrastructureError. */
export function readLedger(file: string): LedgerReading {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw unusable(file, "read", error);
    bytes = Buffer.alloc(0);
  }
  return readChain(bytes, readHead(file));
}

function readHead(file: string): LedgerHead | undefined {
  let text: string;
  try {
    text = readFileSync(headFile(file), "utf8");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw unusable(headFile(file), "read", error);
  }
  const [, seq, hash] = /^(\d{1,15}) ([0-9a-f]{64})\n$/.exec(text) ?? [];
  if (seq === undefined || hash === undefined) {
    throw new InfrastructureError("what is known of the ledger's end is damaged", {
      where: headFile(file),
      next: "Compare the ledger with a copy; then remove this file, and the ledger is believed as it is.",
    });
  }
  return { seq: Number(seq), hash };
}

/**
 * The ledger, open for entries: this process alone may write it until `close`. Entries are appended
 * whole, are on the disk when `append` returns, and are never changed.
 */
export class Ledger {
  readonly file: string;
  readonly #fd: number;
  readonly #lock: Lock;
  readonly #clock: Clock;
  #reading: LedgerReading;

  private constructor(file: string, fd: number, lock: Lock, clock: Clock) {
    this.file = file;
    this.#fd = fd;
    this.#lock = lock;
    this.#clock = clock;
    this.#reading = readLedger(file);
  }

  /**
   * Opens the ledger, made where it is not there, after whoever writes it now. Throws
   * InfrastructureError where it cannot be written or was changed by somebody else.
   */
  static async open(file: string, clock: Clock = systemClock): Promise<Ledger> {
    let folder = path.dirname(file);
    try {
      makeFolder(folder, 0o700);
      folder = realpathSync(folder);
    } catch (error) {
      throw unusable(file, "written", error);
    }
    const lock = await lockOf(file, folder, clock);
    let fd: number | undefined;
    try {
      fd = openSync(
        file,
        constants.O_RDWR | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK,
        0o644,
      );
      if (!fstatSync(fd).isFile()) throw new Error("it is not a regular file");
      const ledger = new Ledger(file, fd, lock, clock);
      const [problem] = ledger.reading.problems;
      if (problem !== undefined) throw damaged(file, problem);
      return ledger;
    } catch (error) {
      if (fd !== undefined) closeSync(fd);
      await lock.release();
      throw error instanceof InfrastructureError ? error : unusable(file, "written", error);
    }
  }

  /** All entries, those of this process included. */
  get reading(): LedgerReading {
    return this.#reading;
  }

  /**
   * Appends an entry and waits for the disk. Where a torn entry stands at the end, it is closed and
   * accounted for first. Throws InfrastructureError where it cannot be written whole.
   */
  append(fact: LedgerFact): LedgerEntry {
    const { torn } = this.#reading;
    if (torn !== undefined) {
      this.#write({ kind: "recovered", bytes: torn.length, sha256: sha256(torn) }, "\n");
    }
    return this.#write(fact, this.#reading.unended ? "\n" : "");
  }

  #write(fact: LedgerFact, before: string): LedgerEntry {
    const { entries, hash } = this.#reading;
    const time = new Date(this.#clock.wallMs()).toISOString();
    const entry = { v: 1, seq: entries.length + 1, time, ...fact, prev: hash } as LedgerEntry;
    const line = JSON.stringify(entry);
    try {
      const bytes = Buffer.from(`${before}${line}\n`, "utf8");
      for (let at = 0; at < bytes.length;) at += writeSync(this.#fd, bytes, at);
      fsyncSync(this.#fd);
      syncFolder(path.dirname(this.file));
      this.#writeHead({ seq: entry.seq, hash: sha256(Buffer.from(line, "utf8")) });
    } catch (error) {
      throw unusable(this.file, "written", error);
    }
    this.#reading = readLedger(this.file);
    return entry;
  }

  #writeHead({ seq, hash }: LedgerHead): void {
    const file = headFile(this.file);
    const temporary = `${file}.tmp`;
    try {
      const fd = openSync(temporary, "w", 0o644);
      try {
        writeSync(fd, `${seq} ${hash}\n`);
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(temporary, file);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw error;
    }
    syncFolder(path.dirname(file));
  }

  async close(): Promise<void> {
    closeSync(this.#fd);
    await this.#lock.release();
  }
}

/** A new name in a folder outlives a power cut only once the folder is on the disk. */
function syncFolder(folder: string): void {
  const fd = openSync(folder, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The lock lies beside the ledger, so that no variable of the environment gives two of them. */
async function lockOf(file: string, folder: string, clock: Clock): Promise<Lock> {
  const started = clock.monotonicMs();
  for (;;) {
    try {
      return await acquireLock(`ledger ${path.basename(file)}`, { runtimeDir: folder });
    } catch (error) {
      if (!(error instanceof InfrastructureError)) throw error;
      if (clock.monotonicMs() - started > LOCK_MS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_STEP_MS));
  }
}

function unusable(file: string, how: "read" | "written", error: unknown): InfrastructureError {
  return new InfrastructureError(`the ledger cannot be ${how}`, {
    where: file,
    seen: errorCode(error) ?? messageOf(error),
    next: "Nothing is programmed without a ledger. Make it a writable file, or name another with LOCKSTEP_LEDGER.",
    cause: error,
  });
}

function damaged(file: string, problem: string): InfrastructureError {
  return new InfrastructureError("the ledger was changed by something else than Lockstep", {
    where: file,
    seen: problem,
    next: "Nothing is programmed until that is understood: compare it with a copy. To begin a new one, keep this one, with its .head, under another name.",
  });
}
