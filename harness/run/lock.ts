import { createHash } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { InfrastructureError, type Clock, makeFolder, systemClock } from "../base/index.ts";
import { writeFileAtomic } from "./bundle/disk.ts";

/** A lock that this process holds until `release` or its end, however it ends. */
export interface Lock {
  release(): Promise<void>;
}

export interface LockOptions {
  /** Folder for the note that says who holds the lock; also the lock's scope. */
  readonly runtimeDir: string;
  /** What the holder runs, for the message that others get. Default: this process's arguments. */
  readonly command?: string;
  readonly clock?: Clock;
}

interface Holder {
  readonly pid: number;
  /** Start time of the process in clock ticks after boot (/proc/PID/stat, field 22): tells a reused pid. */
  readonly start: string;
  readonly command: string;
  readonly since: string;
}

/**
 * Takes the lock of a board, or throws InfrastructureError naming the process that holds it, its
 * command and since when. The lock is an abstract Unix socket: the kernel grants it to one process
 * and frees it when that process ends, kill -9 included, so no lock is ever stale.
 */
export async function acquireBoardLock(board: string, options: LockOptions): Promise<Lock> {
  return await acquireLock(`board ${board}`, options);
}

/** Who holds a board's lock, as a sentence, or undefined where it is free. Takes nothing. */
export async function boardLockHolder(
  board: string,
  options: Pick<LockOptions, "runtimeDir">,
): Promise<string | undefined> {
  const holder = readHolder(notePath(options.runtimeDir, `board ${board}`));
  if (holder === undefined || !lives(holder)) return undefined;
  return `process ${holder.pid} (${holder.command}) has held it since ${holder.since}`;
}

/** The same for anything that only one process may use at a time; `what` names it in messages. */
export async function acquireLock(what: string, options: LockOptions): Promise<Lock> {
  const note = notePath(options.runtimeDir, what);
  const server = await bind(`\0lockstep-${idOf(options.runtimeDir, what)}`);
  const holder = readHolder(note);
  // A socket is seen only within its network namespace; the note covers processes outside it.
  if (server === undefined || (holder !== undefined && holder.pid !== process.pid && lives(holder)))
    throw await refused(what, server, () => readHolder(note));
  writeNote(note, describeSelf(options));
  let held = true;
  return {
    release: async () => {
      if (!held) return;
      held = false;
      removeNote(note);
      await close(server);
    },
  };
}

function notePath(runtimeDir: string, what: string): string {
  const slug = what.replaceAll(/[^\w.-]/g, "-").slice(0, 60);
  return path.join(runtimeDir, `${slug}-${idOf(runtimeDir, what).slice(0, 8)}.lock`);
}

function idOf(runtimeDir: string, what: string): string {
  const hash = createHash("sha256")
    .update(`${path.resolve(runtimeDir)}\0${what}`)
    .digest("hex");
  return hash.slice(0, 40);
}

/** The note only tells others who holds the lock; where none can be written, the lock holds without. */
function writeNote(note: string, holder: Holder): void {
  try {
    makeFolder(path.dirname(note), 0o700);
    writeFileAtomic(note, `${JSON.stringify(holder)}\n`);
  } catch {
    removeNote(note);
  }
}

function removeNote(note: string): void {
  try {
    rmSync(note, { force: true });
  } catch {
    // A note of a process that is gone is no lock.
  }
}

/** Binds the socket, or resolves undefined when a living process has it. */
async function bind(name: string): Promise<net.Server | undefined> {
  return await new Promise((resolve, reject) => {
    const server = net.createServer((socket) => socket.destroy());
    server.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EADDRINUSE") resolve(undefined);
      else reject(new InfrastructureError("cannot take a lock", { cause: error }));
    });
    server.listen({ path: name }, () => {
      server.unref();
      resolve(server);
    });
  });
}

async function close(server: net.Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}

async function refused(
  what: string,
  server: net.Server | undefined,
  read: () => Holder | undefined,
): Promise<InfrastructureError> {
  if (server !== undefined) await close(server);
  // A holder that took the lock a moment ago may not have written its note yet.
  let holder = read();
  for (let i = 0; i < 20 && (holder === undefined || !lives(holder)); i++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
    holder = read();
  }
  const known = holder !== undefined && lives(holder) ? holder : undefined;
  return new InfrastructureError(`${what} is in use by another run`, {
    seen:
      known === undefined
        ? "a living process holds its lock"
        : `process ${known.pid} (${known.command}) has held it since ${known.since}`,
    next: "Wait for that run to end, stop it, or name another board",
  });
}

function describeSelf(options: LockOptions): Holder {
  const clock = options.clock ?? systemClock;
  return {
    pid: process.pid,
    start: startTime(process.pid) ?? "",
    command: options.command ?? ["lockstep", ...process.argv.slice(2)].join(" "),
    since: new Date(clock.wallMs()).toISOString(),
  };
}

function readHolder(note: string): Holder | undefined {
  try {
    const value = JSON.parse(readFileSync(note, "utf8")) as Partial<Holder> | null;
    if (value === null || typeof value !== "object") return undefined;
    const { pid, start, command, since } = value;
    if (typeof pid !== "number" || typeof start !== "string") return undefined;
    if (typeof command !== "string" || typeof since !== "string") return undefined;
    return { pid, start, command, since };
  } catch {
    return undefined;
  }
}

function lives(holder: Holder): boolean {
  return holder.start !== "" && startTime(holder.pid) === holder.start;
}

/** Start time of a living process; undefined when there is none of that id. */
function startTime(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The name in parentheses may hold anything, so fields are counted from its end: 22 is the 20th.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" || fields[0] === "X" ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
