import { createServer, type Server, type Socket } from "node:net";
import { type Deadline, InfrastructureError, InternalError } from "../../base/index.ts";
import { Deferred } from "../deferred.ts";

/** A QMP event, e.g. `SHUTDOWN` with `{ guest: true, reason: "guest-shutdown" }`. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: Error): void;
}

/**
 * QEMU's machine protocol over a unix socket on which we listen, so that there is no moment at
 * which QEMU runs and is not yet reachable (`-qmp unix:<path>`).
 */
export class Qmp {
  readonly #server: Server;
  readonly #onEvent: (event: QmpEvent) => void;
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | undefined;
  #nextId = 1;
  readonly #greeted = new Deferred<void>();
  #text = "";

  private constructor(server: Server, onEvent: (event: QmpEvent) => void) {
    this.#server = server;
    this.#onEvent = onEvent;
  }

  /** Listens at `path`, which must not exist and whose folder must be private. */
  static async listen(path: string, onEvent: (event: QmpEvent) => void): Promise<Qmp> {
    const server = createServer();
    const qmp = new Qmp(server, onEvent);
    server.on("connection", (socket) => {
      qmp.#accept(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return qmp;
  }

  /** Waits for QEMU's greeting and leaves the negotiation mode. */
  async ready(deadline: Deadline): Promise<void> {
    await deadline.race(this.#greeted.promise);
    await this.execute("qmp_capabilities", {}, deadline);
  }

  /** Runs a QMP command. Throws InfrastructureError with QEMU's own words when it refuses. */
  async execute(
    command: string,
    args: Readonly<Record<string, unknown>>,
    deadline: Deadline,
  ): Promise<unknown> {
    const socket = this.#socket;
    if (socket === undefined || socket.destroyed) throw gone(command);
    const id = this.#nextId;
    this.#nextId += 1;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
    });
    socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await deadline.race(answer);
    } finally {
      this.#pending.delete(id);
    }
  }

  async close(): Promise<void> {
    this.#greeted.reject(gone("its first question"));
    this.#socket?.destroy();
    await new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
  }

  #accept(socket: Socket): void {
    if (this.#socket !== undefined) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.setEncoding("utf8");
    socket.on("data", (text: string) => {
      this.#receive(text);
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      for (const pending of this.#pending.values()) pending.reject(gone("a QMP command"));
    });
  }

  #receive(text: string): void {
    this.#text += text;
    for (let end = this.#text.indexOf("\n"); end >= 0; end = this.#text.indexOf("\n")) {
      const line = this.#text.slice(0, end);
      this.#text = this.#text.slice(end + 1);
      if (line.trim() !== "") this.#message(line);
    }
  }

  #message(line: string): void {
    let message: Record<string, unknown>;
    try {
      message = record(JSON.parse(line));
    } catch (error) {
      throw new InternalError("QEMU's monitor sent something that is not JSON", { cause: error });
    }
    if ("QMP" in message) {
      this.#greeted.resolve();
    } else if (typeof message["event"] === "string") {
      this.#onEvent({ event: message["event"], data: record(message["data"]) });
    } else if (typeof message["id"] === "number") {
      const pending = this.#pending.get(message["id"]);
      if ("return" in message) pending?.resolve(message["return"]);
      else
        pending?.reject(
          new InfrastructureError(
            `QEMU refused a command: ${String(record(message["error"])["desc"])}`,
          ),
        );
    }
  }
}

function record(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function gone(what: string): InfrastructureError {
  return new InfrastructureError(`QEMU ended before it answered ${what}`);
}
