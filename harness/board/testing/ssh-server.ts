import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { tmpdir, userInfo } from "node:os";
import path from "node:path";
import { freePort } from "../qemu/free-port.ts";

const SSHD = "/usr/sbin/sshd";

/** Why tests with a real SSH server cannot run on this machine, or undefined if they can. */
export function noSshdReason(): string | undefined {
  if (!existsSync(SSHD)) return "openssh-server is not installed";
  if (spawnSync("ssh-keygen", ["-?"]).error !== undefined) return "ssh-keygen is not installed";
  return undefined;
}

export interface SshServer {
  readonly port: number;
  readonly user: string;
  /** Folder with `client`, `stranger` (private keys) and `host.pub`, `other.pub`. */
  readonly dir: string;
  readonly hostKeyLine: string;
  start(): Promise<void>;
  /** Ends the server and every connection to it. */
  kill(): Promise<void>;
  dispose(): Promise<void>;
}

/** A real OpenSSH server on a free port of this machine, for this user, with keys of its own. */
export async function startSshServer(): Promise<SshServer> {
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-sshd-"));
  for (const name of ["host", "client", "stranger", "other"]) {
    spawnSync("ssh-keygen", [
      "-q",
      "-t",
      "ed25519",
      "-N",
      "",
      "-C",
      name,
      "-f",
      path.join(dir, name),
    ]);
  }
  const port = await freePort();
  const authorized = path.join(dir, "authorized_keys");
  await writeFile(authorized, await readFile(path.join(dir, "client.pub")));
  const settings = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${path.join(dir, "host")}`,
    `AuthorizedKeysFile ${authorized}`,
    "PidFile none",
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "PermitRootLogin yes",
  ];
  await writeFile(path.join(dir, "sshd_config"), `${settings.join("\n")}\n`);
  // What Debian's unit file makes before it starts the server as root.
  if (process.getuid?.() === 0) await mkdir("/run/sshd", { recursive: true });
  let child: ChildProcess | undefined;
  const server: SshServer = {
    port,
    user: userInfo().username,
    dir,
    hostKeyLine: (await readFile(path.join(dir, "host.pub"), "utf8")).trim(),
    start: async () => {
      // A group of its own, so that the children which hold the connections end with it.
      child = spawn(SSHD, ["-D", "-e", "-f", path.join(dir, "sshd_config")], {
        stdio: "ignore",
        detached: true,
      });
      await listening(port);
    },
    kill: async () => {
      if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const ended = once(child, "exit");
      for (const pid of descendants(child.pid)) kill(pid);
      await ended;
    },
    dispose: async () => {
      await server.kill();
      await rm(dir, { recursive: true, force: true });
    },
  };
  await server.start();
  return server;
}

async function listening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 500; attempt += 1) {
    const up = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => {
        resolve(false);
      });
    });
    if (up) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error("sshd did not start");
}

/** `pid` and everything it started; sshd gives each connection a session of its own. */
function descendants(pid: number): number[] {
  const { stdout } = spawnSync("ps", ["-e", "-o", "pid=,ppid="]);
  const parents = stdout
    .toString()
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number));
  const found = [pid];
  for (const one of found) {
    for (const [child, parent] of parents)
      if (parent === one && child !== undefined) found.push(child);
  }
  return found;
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
