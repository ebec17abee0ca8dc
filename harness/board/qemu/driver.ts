import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  BoardFileError,
  Deadline,
  InfrastructureError,
  InterruptedError,
  messageOf,
  runtimeDir,
} from "../../base/index.ts";
import type { BytePort } from "../console/byte-port.ts";
import type { Console } from "../console/console.ts";
import { openSerialPort } from "../console/serial-port.ts";
import type { BoardConfig, ImageFiles } from "../file/model.ts";
import type { Incident } from "../live.ts";
import type { GuestPort } from "../options.ts";
import type { PowerProtocol } from "../protocol.ts";
import { chardevOf, qemuArguments } from "./arguments.ts";
import { freePort } from "./free-port.ts";
import { PortSocket } from "./guest-port.ts";
import { requireImages } from "./images.ts";
import { endedEarly, isPortInUse, type QemuExit, type QemuProcess, startQemu } from "./process.ts";
import { Qmp, type QmpEvent } from "./qmp.ts";
import { loadState, saveState } from "./snapshot.ts";

/** Longest path of a unix socket on Linux, without the final zero. */
const SOCKET_PATH_MAX = 107;
/** A port found free may be taken by somebody else before QEMU opens it; so often we try again. */
const PORT_ATTEMPTS = 5;
/** A paused machine's consoles count as drained after this long without a byte. */
const DRAINED_MS = 25;
const DRAINED_TURNS = 5;
const DRAIN_LIMIT_MS = 10_000;
const PAUSE_MS = 5000;
/** How often QEMU looks whether somebody has opened a pty, and a little more. */
const PTY_POLL_MS = 1050;
/** A QEMU whose control socket closed has ended within this time. */
const EXIT_MS = 2000;

export interface QemuDriverOptions {
  readonly config: BoardConfig;
  readonly images: ImageFiles;
  readonly consoles: ReadonlyMap<string, Console>;
  onIncident(incident: Incident): void;
  readonly logs?: string;
  /** A file that is the machine's RAM. */
  readonly sharedRam?: string;
  readonly guestPort?: GuestPort;
}

interface Machine {
  readonly process: QemuProcess;
  readonly qmp: Qmp;
  readonly ports: BytePort[];
  readonly guestPort: PortSocket | undefined;
  readonly dir: string;
  readonly sshPort: number | undefined;
  stopping: boolean;
  shutDown: boolean;
}

/** QEMU as a board: power is a process, consoles are its ptys. One process from `on` to `off`. */
export class QemuDriver implements PowerProtocol {
  readonly #options: QemuDriverOptions;
  #machine: Machine | undefined;
  #lastData = 0;
  #closed = false;

  constructor(options: QemuDriverOptions) {
    this.#options = options;
  }

  /** The local port that leads to the guest's SSH while the machine is on. */
  get sshPort(): number | undefined {
    return this.#machine?.sshPort;
  }

  async on(deadline: Deadline): Promise<void> {
    if (this.#machine !== undefined && !this.#machine.shutDown) return;
    await this.off();
    const { config, images } = this.#options;
    await requireImages(config, images);
    for (let attempt = 1; ; attempt += 1) {
      const result = await this.#start(deadline);
      if (result === undefined) return;
      const binary = config.qemu?.binary ?? "";
      const retry = isPortInUse(result.stderr) && config.ssh?.host === "forward";
      if (!retry || attempt === PORT_ATTEMPTS) throw endedEarly(binary, result);
    }
  }

  async off(): Promise<void> {
    const machine = this.#machine;
    if (machine === undefined) return;
    machine.stopping = true;
    await this.#drain(machine);
    await this.#dispose(machine);
  }

  async cycle(deadline: Deadline): Promise<void> {
    await this.off();
    await this.on(deadline);
  }

  async state(): Promise<"on" | "off"> {
    return this.#machine !== undefined && !this.#machine.shutDown ? "on" : "off";
  }

  /** Saves the running machine, RAM included; `loadState` goes back to it until power goes. */
  async saveState(deadline: Deadline): Promise<void> {
    const { qmp, dir } = this.#running();
    await saveState(qmp, dir, deadline);
  }

  async loadState(deadline: Deadline): Promise<void> {
    await loadState(this.#running().qmp, deadline);
  }

  #running(): Machine {
    const machine = this.#machine;
    if (machine !== undefined && !machine.shutDown) return machine;
    throw new InfrastructureError(`board ${this.#options.config.name} is off`);
  }

  /** Ends the machine; nothing starts one any more, not even an `on` that is under way. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.off();
  }

  /** Starts QEMU once. Returns how it ended if it ended before it answered. */
  async #start(deadline: Deadline): Promise<QemuExit | undefined> {
    const { config, images, logs, sharedRam } = this.#options;
    const sshPort = config.ssh?.host === "forward" ? await freePort() : undefined;
    const dir = await privateDir();
    const socket = path.join(dir, "qmp");
    const events: { on: (event: QmpEvent) => void } = { on: () => {} };
    const qmp = await Qmp.listen(socket, (event) => {
      events.on(event);
    });
    const lost: { on: (reason: string) => void } = { on: () => {} };
    const guestPort = await this.#listenForGuest(dir, (reason) => {
      lost.on(reason);
    });
    const args = qemuArguments(config, images, {
      qmpSocket: socket,
      ...(guestPort === undefined ? {} : { guestPort: guestPort.at }),
      ...(sshPort === undefined ? {} : { sshPort }),
      ...(logs === undefined ? {} : { logs }),
      ...(sharedRam === undefined ? {} : { sharedRam }),
    });
    const first = images.bios ?? images.flash ?? images.kernel;
    const process = await startQemu(config.qemu?.binary ?? "", args, {
      socket,
      cwd: first === undefined ? dir : path.dirname(first),
    });
    const machine: Machine = {
      process,
      qmp,
      dir,
      sshPort,
      ports: [],
      guestPort: guestPort?.socket,
      stopping: false,
      shutDown: false,
    };
    this.#machine = machine;
    if (this.#closed) {
      await this.#dispose(machine);
      throw new InterruptedError("the board was closed while it was being switched on");
    }
    events.on = (event) => {
      this.#event(machine, event);
    };
    lost.on = (reason) => {
      this.#portLost(machine, reason);
    };
    try {
      const early = await Promise.race([process.ended, answers(qmp, process, deadline)]);
      if (early !== undefined) {
        await this.#dispose(machine);
        return early;
      }
      void process.ended.then((exit) => this.#ended(machine, exit));
      await machine.guestPort?.ready(deadline);
      await this.#openConsoles(machine, deadline);
      await noticed(qmp, deadline);
      await qmp.execute("cont", {}, deadline);
    } catch (error) {
      await this.#dispose(machine);
      throw error;
    }
    return undefined;
  }

  async #listenForGuest(
    dir: string,
    lost: (reason: string) => void,
  ): Promise<{ at: { name: string; socket: string }; socket: PortSocket } | undefined> {
    const { guestPort } = this.#options;
    if (guestPort === undefined) return undefined;
    const at = { name: guestPort.name, socket: path.join(dir, "port") };
    return { at, socket: await PortSocket.listen(at.socket, guestPort, lost) };
  }

  #portLost(machine: Machine, reason: string): void {
    if (machine.stopping || this.#machine !== machine) return;
    this.#options.onIncident({
      kind: "lost",
      what: `port ${this.#options.guestPort?.name ?? ""} of the guest is served no more`,
      stream: "qemu",
      line: reason,
      infrastructure: true,
    });
  }

  /** Opens every pty; QEMU is paused, so nothing has been written yet. */
  async #openConsoles(machine: Machine, deadline: Deadline): Promise<void> {
    const chardevs = ptys(await machine.qmp.execute("query-chardev", {}, deadline));
    for (const resource of this.#options.config.consoles) {
      const console = this.#options.consoles.get(resource.name);
      if (console === undefined || !("qemuSerial" in resource.port)) {
        throw new BoardFileError(`console ${resource.name} is not a serial port of QEMU`, {
          where: this.#options.config.file,
        });
      }
      const pty = chardevs.get(chardevOf(resource.port.qemuSerial));
      if (pty === undefined) {
        throw new InfrastructureError(`QEMU made no pty for console ${resource.name}`);
      }
      const port = await openSerialPort(pty, 115_200, {
        onData: (bytes) => {
          this.#lastData = performance.now();
          console.feed(bytes);
        },
        onLost: () => {},
      });
      machine.ports.push(port);
      console.attach(port);
    }
  }

  #event(machine: Machine, { event, data }: QmpEvent): void {
    if (machine.stopping || this.#machine !== machine) return;
    const reason = typeof data["reason"] === "string" ? data["reason"] : "unknown reason";
    const report = (what: string): void => {
      this.#options.onIncident({
        kind: "crash",
        what,
        stream: "qemu",
        line: `QEMU event ${event}: ${reason}`,
      });
    };
    if (event === "SHUTDOWN") {
      machine.shutDown = true;
      report("the machine switched itself off");
    } else if (event === "RESET" && data["guest"] === true) {
      report("the machine reset itself");
    } else if (event === "GUEST_PANICKED") {
      report("guest panic");
    }
  }

  async #ended(machine: Machine, exit: QemuExit): Promise<void> {
    if (machine.stopping || this.#machine !== machine) return;
    await this.#dispose(machine);
    this.#options.onIncident({
      kind: "lost",
      what: "QEMU ended",
      stream: "qemu",
      gone: true,
      line: exit.stderr === "" ? exit.how : `${exit.how}: ${exit.stderr}`,
    });
  }

  /** Pauses the machine and reads what its consoles still hold: a pty drops it when QEMU ends. */
  async #drain(machine: Machine): Promise<void> {
    try {
      await machine.qmp.execute("stop", {}, Deadline.after(PAUSE_MS, "pausing QEMU"));
    } catch {
      return;
    }
    const start = performance.now();
    this.#lastData = start;
    let seen = start;
    // Time alone would take a pause of this process for silence: turns without data count as well.
    for (
      let turns = 0;
      (turns < DRAINED_TURNS || performance.now() - seen < DRAINED_MS) &&
      performance.now() - start < DRAIN_LIMIT_MS;
      turns += 1
    ) {
      await sleep(5);
      if (this.#lastData > seen) [seen, turns] = [this.#lastData, 0];
    }
  }

  async #dispose(machine: Machine): Promise<void> {
    machine.stopping = true;
    if (this.#machine === machine) this.#machine = undefined;
    await machine.process.stop();
    await machine.guestPort?.close();
    for (const port of machine.ports) await port.close();
    for (const console of this.#options.consoles.values()) console.detach();
    await machine.qmp.close();
    await rm(machine.dir, { recursive: true, force: true });
  }
}

/**
 * Waits until QEMU has seen that its ptys are open. It looks once a second, and until then drops
 * what does not fit into a pty's buffer. The timer's turn has come when a second has passed and
 * QEMU's main loop, which answers the queries, has gone round since.
 */
async function noticed(qmp: Qmp, deadline: Deadline): Promise<void> {
  await deadline.race(sleep(PTY_POLL_MS));
  for (let turn = 0; turn < 2; turn += 1) await qmp.execute("query-status", {}, deadline);
}

/** Waits until QEMU answers. Its control socket may close a moment before its exit is known. */
async function answers(
  qmp: Qmp,
  process: QemuProcess,
  deadline: Deadline,
): Promise<QemuExit | undefined> {
  try {
    await qmp.ready(deadline);
    return undefined;
  } catch (error) {
    const exit = await Promise.race([process.ended, sleep(EXIT_MS, undefined, { ref: false })]);
    if (exit === undefined) throw error;
    return exit;
  }
}

/** Chardev id to pty path, from the answer to `query-chardev`. */
function ptys(answer: unknown): Map<string, string> {
  const found = new Map<string, string>();
  for (const entry of Array.isArray(answer) ? (answer as unknown[]) : []) {
    const { label, filename } = entry as { label?: unknown; filename?: unknown };
    if (typeof label === "string" && typeof filename === "string" && filename.startsWith("pty:"))
      found.set(label, filename.slice("pty:".length));
  }
  return found;
}

/** A new folder that only this user can enter, with a path short enough for a socket in it. */
async function privateDir(): Promise<string> {
  const room = SOCKET_PATH_MAX - "/qemu-XXXXXX/qmp".length;
  const bases = [runtimeDir(), path.join(tmpdir(), `lockstep-${process.getuid?.() ?? 0}`)];
  const base = bases.find((dir) => Buffer.byteLength(dir) <= room);
  if (base === undefined) {
    throw new InfrastructureError("no folder for QEMU's control socket has a short enough path", {
      next: "Set XDG_RUNTIME_DIR to a folder with a shorter path.",
    });
  }
  try {
    await mkdir(base, { recursive: true, mode: 0o700 });
    return await mkdtemp(path.join(base, "qemu-"));
  } catch (error) {
    throw new InfrastructureError(`cannot make a folder for QEMU's control socket`, {
      where: base,
      seen: messageOf(error),
      next: "Set XDG_RUNTIME_DIR to a folder that you may write to.",
      cause: error,
    });
  }
}
