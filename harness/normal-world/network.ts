import { type Scheduler, type Task, WaitQueue } from "../machine/index.ts";

export type Protocol = "tcp" | "udp";

/** What a peer of a simulated network has of one connection, or of one UDP client. */
export interface PeerConnection {
  /** What arrives next: bytes of a stream, or one datagram; undefined once the client has gone. */
  receive(): Task<Uint8Array | undefined>;
  send(bytes: Uint8Array): void;
  /** Ends a stream: the client reads its end. */
  close(): void;
}

/** A program on another machine; runs as a task for every connection. */
export type Peer = (connection: PeerConnection) => Task;

/** Sends everything back after `delayMs` of virtual time. */
export const echoPeer = (delayMs = 0): Peer =>
  function* echo(connection): Task {
    for (;;) {
      const bytes = yield* connection.receive();
      if (bytes === undefined) return connection.close();
      if (delayMs > 0) yield { queue: new WaitQueue("echo"), timeoutMs: delayMs };
      connection.send(bytes);
    }
  };

/** What a host does with a connection that no peer takes. */
type Silence = "refuses" | "is silent";

interface Host {
  readonly version: 4 | 6;
  readonly otherwise: Silence;
  readonly peers: Map<string, Peer>;
}

export type ConnectResult = Socket | "no such host" | "refused" | "timed out";

/** How long Linux tries to connect before it gives up, in milliseconds. */
const CONNECT_TIMEOUT_MS = 130_000;
/** Bytes that a peer which does not read leaves room for. */
const SEND_BUFFER = 64 * 1024;

/** Hosts and names that a simulated Linux can reach; time is the scheduler's. */
export class SimulatedNetwork {
  readonly #scheduler: Scheduler;
  readonly #hosts = new Map<string, Host>();
  readonly #names = new Map<string, string[]>();

  constructor(scheduler: Scheduler) {
    this.#scheduler = scheduler;
    this.addHost("127.0.0.1", "localhost");
    this.addHost("::1", "localhost");
  }

  get nowMs(): number {
    return this.#scheduler.nowMs;
  }

  /** An address, and the names that lead to it. A host that "is silent" never answers. */
  addHost(address: string, name?: string, otherwise: Silence = "refuses"): void {
    const version = address.includes(":") ? 6 : 4;
    this.#hosts.set(address, { version, otherwise, peers: new Map() });
    if (name !== undefined) this.#names.set(name, [...(this.#names.get(name) ?? []), address]);
  }

  /** Runs `peer` for everyone who connects. Throws RangeError for an address that no host has. */
  listen(protocol: Protocol, address: string, port: number, peer: Peer): void {
    const host = this.#hosts.get(address);
    if (host === undefined) throw new RangeError(`no host ${address}`);
    host.peers.set(`${protocol}:${port}`, peer);
  }

  /** Addresses of a name or of itself; `version` 0 takes both kinds. */
  resolve(server: string, version: 0 | 4 | 6): readonly string[] {
    const known = this.#hosts.has(server) ? [server] : (this.#names.get(server) ?? []);
    return known.filter((one) => version === 0 || this.#hosts.get(one)?.version === version);
  }

  /** Tries every address of `server` in turn. */
  *connect(
    protocol: Protocol,
    server: string,
    port: number,
    version: 0 | 4 | 6,
  ): Task<ConnectResult> {
    let result: ConnectResult = "no such host";
    for (const address of this.resolve(server, version)) {
      const socket = new Socket(this, protocol);
      result = yield* this.reach(socket, address, port);
      if (result instanceof Socket) return result;
    }
    return result;
  }

  /** Leads a socket to another peer. */
  *reach(socket: Socket, address: string, port: number): Task<ConnectResult> {
    const host = this.#hosts.get(address);
    const peer = host?.peers.get(`${socket.protocol}:${port}`);
    if (peer === undefined && socket.protocol === "tcp") {
      if (host?.otherwise !== "is silent") return "refused";
      yield { queue: new WaitQueue("connect"), timeoutMs: CONNECT_TIMEOUT_MS };
      return "timed out";
    }
    socket.attach(address, port, host?.version ?? 4);
    if (peer === undefined) return socket;
    this.#scheduler.spawn(`peer ${address}:${port}`, peer(socket.far()));
    return socket;
  }
}

/** A connected, non-blocking socket of the simulated Linux. */
export class Socket {
  readonly network: SimulatedNetwork;
  readonly protocol: Protocol;
  readonly readable = new WaitQueue("socket readable");
  readonly writable = new WaitQueue("socket writable");
  readonly #arrived: Uint8Array[] = [];
  #outgoing: Uint8Array[] = [];
  #sent = new WaitQueue("peer readable");
  #ended = false;
  #closed = false;
  address = "";
  port = 0;
  version: 4 | 6 = 4;

  constructor(network: SimulatedNetwork, protocol: Protocol) {
    this.network = network;
    this.protocol = protocol;
  }

  attach(address: string, port: number, version: 4 | 6): void {
    this.address = address;
    this.port = port;
    this.version = version;
    this.#outgoing = [];
    this.#sent = new WaitQueue(`peer ${address}:${port}`);
  }

  /** Something to read: data, or the end of the stream. */
  get hasInput(): boolean {
    return this.#arrived.length > 0 || this.#ended;
  }

  /** Room to write in. */
  get room(): number {
    if (this.protocol === "udp") return Number.POSITIVE_INFINITY;
    return SEND_BUFFER - this.#outgoing.reduce((sum, part) => sum + part.length, 0);
  }

  /** Takes what there is room for; the bytes taken. */
  send(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, this.room);
    if (count > 0 || this.protocol === "udp") this.#outgoing.push(bytes.slice(0, count));
    this.#sent.wake();
    return count;
  }

  /** Reads at most `length` bytes of the stream, or of one datagram whose rest is lost. */
  receive(length: number, peek = false): { readonly bytes: Uint8Array; readonly whole: number } {
    const [first] = this.#arrived;
    if (first === undefined) return { bytes: new Uint8Array(0), whole: 0 };
    const bytes = first.slice(0, length);
    if (!peek) {
      this.#arrived.shift();
      const rest = first.subarray(bytes.length);
      if (this.protocol === "tcp" && rest.length > 0) this.#arrived.unshift(rest);
    }
    return { bytes, whole: first.length };
  }

  /** Bytes of a stream that can be read now. */
  get queued(): number {
    return this.protocol === "tcp"
      ? this.#arrived.reduce((sum, part) => sum + part.length, 0)
      : (this.#arrived[0]?.length ?? 0);
  }

  close(): void {
    this.#closed = true;
    this.#sent.wakeAll();
  }

  /** The other end. */
  far(): PeerConnection {
    const outgoing = this.#outgoing;
    const sent = this.#sent;
    const isClosed = (): boolean => this.#closed;
    const { writable } = this;
    return {
      *receive(): Task<Uint8Array | undefined> {
        while (outgoing.length === 0 && !isClosed()) yield sent;
        const next = outgoing.shift();
        writable.wakeAll();
        return next;
      },
      send: (bytes) => {
        this.#arrived.push(bytes.slice());
        this.readable.wakeAll();
      },
      close: () => {
        if (this.protocol === "tcp") this.#ended = true;
        this.readable.wakeAll();
      },
    };
  }
}
