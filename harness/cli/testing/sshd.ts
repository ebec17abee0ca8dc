import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import path from "node:path";

const SSHD = "/usr/sbin/sshd";

/** Why a real SSH server cannot be had here, or undefined where it can. */
export function noSshd(): string | undefined {
  if (!existsSync(SSHD)) return `${SSHD} is not installed`;
  const found = spawnSync("ssh-keygen", ["-?"]).error === undefined;
  return found ? undefined : "ssh-keygen is not installed";
}

export interface Sshd {
  readonly port: number;
  /** Private key files: `accepted` may log in, `stranger` may not. */
  readonly accepted: string;
  readonly stranger: string;
  /** The server's public host key, and one that is not the server's. */
  readonly hostKey: string;
  readonly otherHostKey: string;
  stop(): Promise<void>;
}

/**
 * Starts a real sshd on a free local port, with keys of its own in `dir`. Its sessions find programs in
 * `bin` first, where one is given.
 */
export async function startSshd(dir: string, bin?: string): Promise<Sshd> {
  const file = (name: string): string => path.join(dir, name);
  for (const name of ["host", "other", "accepted", "stranger"]) {
    spawnSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file(name)]);
  }
  writeFileSync(file("authorized"), readFileSync(file("accepted.pub")));
  // Debian's sshd wants its privilege separation folder, which an init script makes elsewhere.
  if (process.geteuid?.() === 0) mkdirSync("/run/sshd", { recursive: true });
  const port = await freePort();
  const options = [
    `ListenAddress=127.0.0.1:${port}`,
    `HostKey=${file("host")}`,
    `AuthorizedKeysFile=${file("authorized")}`,
    `PidFile=${file("pid")}`,
    "StrictModes=no",
    "UsePAM=no",
    "PasswordAuthentication=no",
    "PermitRootLogin=prohibit-password",
    ...(bin === undefined ? [] : [`SetEnv=PATH=${bin}:${process.env["PATH"] ?? "/usr/bin:/bin"}`]),
  ];
  const child = spawn(
    SSHD,
    ["-D", "-f", "/dev/null", ...options.flatMap((option) => ["-o", option])],
    {
      stdio: "ignore",
    },
  );
  const ended = once(child, "exit");
  await answers(port);
  const publicKey = (name: string): string =>
    readFileSync(file(`${name}.pub`), "utf8")
      .trim()
      .split(" ")
      .slice(0, 2)
      .join(" ");
  return {
    port,
    accepted: file("accepted"),
    stranger: file("stranger"),
    hostKey: publicKey("host"),
    otherHostKey: publicKey("other"),
    stop: async () => {
      child.kill();
      await ended;
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function answers(port: number): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const isUp = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("data", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
      socket.once("close", () => resolve(false));
    });
    if (isUp) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error("sshd does not answer");
}
