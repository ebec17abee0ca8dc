import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { InfrastructureError, type Clock, systemClock } from "../base/index.ts";
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
  mkdirSync(options.runtimeDir, { recursive: true, mode: 0o700 });
  const server = await bind(socketName(options.runtimeDir, what));
  const holder = readHolder(note);
  // A socket is seen only within its network namespace; the note covers processes outside it.
  if (server === undefined || (holder !== undefined && holder.pid !== process.pid && lives(holder)))
    throw await refused(what, server, () => readHolder(note));
  try {
    writeFileAtomic(note, `${JSON.stringify(describeSelf(options))}\n`);
  } catch (error) {
    await close(server);
    throw new InfrastructureError(`cannot take the lock of ${what}`, { where: note, cause: error });
  }
  let held = true;
  return {
    release: async () => {
      if (!held) return;
      held = false;
      rmSync(note, { force: true });
      await close(server);
    },
  };
}

function notePath(dir: string, what: string): string {
  return path.join(dir, `${what.replaceAll(/[^\w.-]/g, "-")}.lock`);
}

function socketName(runtimeDir: string, what: string): string {
  const id = createHash("sha256")
    .update(`${path.resolve(runtimeDir)}\0${what}`)
    .digest("hex");
  return `\0lockstep-${id.slice(0, 40)}`;
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
