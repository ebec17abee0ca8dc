import { createServer, type Server, type Socket } from "node:net";
import { type Deadline, InfrastructureError, messageOf } from "../../base/index.ts";
import { Deferred } from "../deferred.ts";
import type { GuestPort } from "../options.ts";

/** Our end of a guest's port: a unix socket to which QEMU connects while it starts. */
export class PortSocket {
  readonly #server: Server;
  readonly #port: GuestPort;
  readonly #lost: (reason: string) => void;
  readonly #connected = new Deferred<void>();
  #socket: Socket | undefined;
  #end: () => void = () => {};
  #closing = false;

  private constructor(server: Server, port: GuestPort, lost: (reason: string) => void) {
    this.#server = server;
    this.#port = port;
    this.#lost = lost;
  }

  /** Listens at `path`; `lost` is called once if the port is served no more before `close`. */
  static async listen(
    path: string,
    port: GuestPort,
    lost: (reason: string) => void,
  ): Promise<PortSocket> {
    const server = createServer();
    const listening = new PortSocket(server, port, lost);
    server.on("connection", (socket) => {
      listening.#accept(socket);
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(path, resolve);
    });
    return listening;
  }

  /** Waits until QEMU is there and the port is served. Throws what `powerOn` of the port threw. */
  async ready(deadline: Deadline): Promise<void> {
    await deadline.race(this.#connected.promise);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#hangUp();
    this.#server.close();
  }

  #accept(socket: Socket): void {
    if (this.#socket !== undefined) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on("error", () => {});
    socket.on("close", () => {
      this.#fail(`the connection with QEMU for port ${this.#port.name} has ended`);
    });
    try {
      this.#end = this.#port.powerOn(socket, (reason) => {
        this.#fail(reason);
      });
      this.#connected.resolve();
    } catch (error) {
      this.#closing = true;
      this.#connected.reject(
        error instanceof Error ? error : new InfrastructureError(messageOf(error)),
      );
    }
  }

  #fail(reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#hangUp();
    this.#lost(reason);
  }

  #hangUp(): void {
    const end = this.#end;
    this.#end = () => {};
    end();
    this.#socket?.destroy();
  }
}
