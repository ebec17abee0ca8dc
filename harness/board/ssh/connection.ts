import type { Client, ClientChannel } from "ssh2";
import {
  BoardFileError,
  type Deadline,
  DeadlineError,
  InfrastructureError,
  type LockstepError,
  messageOf,
} from "../../base/index.ts";
import { Deferred } from "../deferred.ts";
import { fingerprint, type HostKey, hostKeyAlgorithms } from "./host-key.ts";

export interface SshTarget {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly privateKey: string | undefined;
  readonly hostKey: HostKey | undefined;
  /** The board file, for messages. */
  readonly where: string;
}

/** One attempt to connect takes at most this long. */
const CONNECT_MS = 10_000;
const RETRY_MS = 250;
/** A loaded emulator can be silent for long; its consoles tell of a real hang much earlier. */
const KEEPALIVE_MS = 10_000;
const KEEPALIVE_MISSED = 6;

/** An SSH connection that is made when it is needed and made again after it was lost. */
export class SshConnection {
  readonly #target: () => Promise<SshTarget>;
  #client: Client | undefined;
  #connecting: Promise<Client> | undefined;
  /** What the last attempt met, for the error when time is up. */
  #tried: Tried = { where: "the board", seen: "no attempt was made" };
  readonly #losses = new Set<(error: InfrastructureError) => void>();

  /** `target` is asked at each connection: on QEMU the port changes with every power-on. */
  constructor(target: () => Promise<SshTarget>) {
    this.#target = target;
  }

  /** Connects, trying again while nobody answers. A wrong key on either side ends it at once. */
  async connect(deadline: Deadline): Promise<Client> {
    if (this.#client !== undefined) return this.#client;
    this.#connecting ??= this.#retry(deadline).finally(() => {
      this.#connecting = undefined;
    });
    return await deadline.race(this.#connecting, () => noAnswer(this.#tried));
  }

  /**
   * Starts `command` on a new channel and returns what `attach` makes of it. `attach` is called
   * synchronously: a short command's whole life may come in one read, and its exit status is lost to
   * whoever listens a moment later.
   */
  async open<T>(
    command: string,
    deadline: Deadline,
    attach: (channel: ClientChannel) => T,
  ): Promise<T> {
    const client = await this.connect(deadline);
    const opened = new Deferred<T>();
    client.exec(command, (error, channel) => {
      if (error === undefined || error === null) opened.resolve(attach(channel));
      else opened.reject(lost(messageOf(error)));
    });
    const stop = this.onLoss(opened.reject);
    try {
      return await deadline.race(opened.promise);
    } finally {
      stop();
    }
  }

  /** Calls `listener` when the connection is lost, until the returned function is called. */
  onLoss(listener: (error: InfrastructureError) => void): () => void {
    this.#losses.add(listener);
    return () => {
      this.#losses.delete(listener);
    };
  }

  /** Ends the connection; the next use makes a new one. */
  close(): void {
    this.#drop("the connection was closed");
  }

  async #retry(deadline: Deadline): Promise<Client> {
    const target = await this.#target();
    const where = `${target.host}:${target.port}`;
    this.#tried = { where, seen: "no answer", user: target.user };
    for (;;) {
      if (deadline.expired) throw noAnswer(this.#tried);
      try {
        return await this.#attempt(target, deadline);
      } catch (error) {
        if (!(error instanceof Unreachable)) throw error;
        this.#tried = { where, seen: error.message, user: target.user };
      }
      await deadline.race(
        new Promise((resolve) => setTimeout(resolve, Math.min(RETRY_MS, deadline.remainingMs))),
        () => noAnswer(this.#tried),
      );
    }
  }

  async #attempt(target: SshTarget, deadline: Deadline): Promise<Client> {
    const ssh2 = await import("ssh2");
    const client = new ssh2.default.Client();
    const result = new Deferred<Client>();
    let refusal: LockstepError | undefined;
    client.on("ready", () => {
      result.resolve(client);
    });
    client.on("error", (error: Error & { level?: string }) => {
      result.reject(refusal ?? classify(error, target));
      if (this.#client === client) this.#drop(error.message);
    });
    client.on("close", () => {
      result.reject(refusal ?? new Unreachable("the connection was closed"));
      if (this.#client === client) this.#drop("the other side closed the connection");
    });
    try {
      client.connect({
        host: target.host,
        port: target.port,
        username: target.user,
        ...(target.privateKey === undefined ? {} : { privateKey: target.privateKey }),
        readyTimeout: Math.max(1, Math.min(CONNECT_MS, deadline.remainingMs)),
        keepaliveInterval: KEEPALIVE_MS,
        keepaliveCountMax: KEEPALIVE_MISSED,
        ...(target.hostKey === undefined
          ? {}
          : { algorithms: { serverHostKey: hostKeyAlgorithms(target.hostKey.type) as never } }),
        hostVerifier: (key: Buffer) => {
          refusal = judgeHostKey(key, target);
          return refusal === undefined;
        },
      });
    } catch (error) {
      result.reject(
        new BoardFileError("the SSH client key cannot be used", {
          where: target.where,
          seen: messageOf(error),
          next: "Use an unencrypted private key in OpenSSH format.",
        }),
      );
    }
    try {
      const ready = await deadline.race(result.promise);
      this.#client = ready;
      return ready;
    } catch (error) {
      client.destroy();
      throw error;
    }
  }

  #drop(reason: string): void {
    const client = this.#client;
    this.#client = undefined;
    if (client === undefined) return;
    client.destroy();
    for (const listener of this.#losses) listener(lost(reason));
  }
}

/** Nobody answered, or not yet: worth another attempt. */
class Unreachable extends Error {}

function judgeHostKey(key: Buffer, target: SshTarget): LockstepError | undefined {
  if (target.hostKey === undefined) {
    return new BoardFileError("this board has no pinned SSH host key", {
      where: target.where,
      seen: `${target.host}:${target.port} shows ${fingerprint(key)}`,
      next: `If that is your board, put it in the board file: host_key: "${line(key)}"`,
    });
  }
  if (target.hostKey.blob.equals(key)) return undefined;
  return new InfrastructureError(
    "the SSH host key is not the board's: this may be another machine",
    {
      where: `${target.host}:${target.port}`,
      expected: fingerprint(target.hostKey.blob),
      seen: fingerprint(key),
      next: "Check the address and the cabling; if the board has a new key, correct ssh.host_key in its board file.",
    },
  );
}

function line(key: Buffer): string {
  return `${fingerprint(key).split(" ")[0] ?? ""} ${key.toString("base64")}`;
}

function classify(error: Error & { level?: string }, target: SshTarget): Error {
  if (error.level === "client-authentication") {
    return new InfrastructureError(`the board refused the SSH client key of ${target.user}`, {
      where: `${target.host}:${target.port}`,
      seen: error.message,
      next: "Put the public half of ssh.key in the board's authorized_keys, or correct ssh.key or ssh.user.",
    });
  }
  if (/no matching host key/i.test(error.message)) {
    return new InfrastructureError("the board does not have an SSH host key of the pinned kind", {
      where: `${target.host}:${target.port}`,
      expected: target.hostKey === undefined ? "any" : fingerprint(target.hostKey.blob),
      seen: error.message,
      next: "Check the address; if the board has a new key, correct ssh.host_key in its board file.",
    });
  }
  return new Unreachable(error.message === "" ? "no answer" : error.message);
}

interface Tried {
  readonly where: string;
  readonly seen: string;
  readonly user?: string;
}

function noAnswer(tried: Tried): DeadlineError {
  return new DeadlineError("SSH did not answer in time", {
    where: tried.where,
    expected: `an SSH server that takes ${tried.user ?? "the board's user"}`,
    seen: tried.seen,
    next: "See on the console whether the network and the SSH server came up.",
  });
}

function lost(reason: string): InfrastructureError {
  return new InfrastructureError("the SSH connection to the board was lost", {
    seen: reason,
    next: "The console shows what happened to the board; recover it and run the command again.",
  });
}
