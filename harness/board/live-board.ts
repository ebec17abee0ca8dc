import {
  BoardFileError,
  type Deadline,
  InfrastructureError,
  InterruptedError,
  type LockstepError,
  TargetCrashError,
} from "../base/index.ts";
import type { Console } from "./console/console.ts";
import type { BoardConfig } from "./file/model.ts";
import type { IncidentDetector } from "./incident/detector.ts";
import { type CrashGate, GuardedCommands } from "./incident/guarded-commands.ts";
import type { Incident, LiveBoard, MachineState } from "./live.ts";
import type {
  BoardState,
  CommandProtocol,
  FileTransferProtocol,
  PowerProtocol,
} from "./protocol.ts";
import type { BootStrategy } from "./strategy/strategy.ts";
import { versionIn } from "./strategy/versions.ts";

export interface BoardParts {
  readonly config: BoardConfig;
  readonly consoles: ReadonlyMap<string, Console>;
  readonly primary: Console;
  readonly strategy: BootStrategy;
  readonly detector: IncidentDetector;
  readonly gate: CrashGate;
  readonly power: PowerProtocol;
  readonly machineState?: MachineState;
  readonly commands: { readonly ssh?: CommandProtocol; readonly console?: CommandProtocol };
  readonly files: FileTransferProtocol;
  readonly versions: Record<string, string>;
  /** Removes what Lockstep left on a board that stays on. */
  cleanUp(): Promise<void>;
  /** Ends power (where it is to end), links and ports. */
  shutDown(): Promise<void>;
}

/** A board assembled from its parts: what callers see of it. */
export class Board implements LiveBoard {
  readonly config: BoardConfig;
  readonly power: PowerProtocol;
  readonly machineState: MachineState | undefined;
  readonly files: FileTransferProtocol;
  readonly #parts: BoardParts;
  readonly #incidents = new Set<(incident: Incident) => void>();
  #closing: Promise<void> | undefined;

  constructor(parts: BoardParts) {
    this.#parts = parts;
    this.config = parts.config;
    this.files = parts.files;
    this.machineState = parts.machineState;
    const { strategy, power } = parts;
    this.power = {
      on: async (deadline) => {
        await strategy.switchOn(deadline);
      },
      off: async (deadline) => {
        await strategy.switchOff(deadline);
      },
      cycle: async (deadline) => {
        await strategy.switchCycle(deadline);
      },
      state: async () => await power.state(),
    };
    for (const console of parts.consoles.values()) {
      console.listen({
        line: (line) => {
          const seen = versionIn(line.text);
          if (seen !== undefined) parts.versions[seen.name] = seen.version;
          parts.detector.line(line);
        },
      });
    }
  }

  get state(): BoardState | "unknown" | "broken" {
    return this.#parts.strategy.state;
  }

  get versions(): Readonly<Record<string, string>> {
    return this.#parts.versions;
  }

  async transition(state: BoardState, deadline: Deadline): Promise<void> {
    this.#mustBeOpen();
    await this.#parts.strategy.transition(state, deadline);
  }

  async recover(deadline: Deadline): Promise<void> {
    this.#mustBeOpen();
    await this.#parts.strategy.recover(deadline);
  }

  async restart(deadline: Deadline): Promise<void> {
    this.#mustBeOpen();
    await this.#parts.strategy.restart(deadline);
  }

  command(over: "ssh" | "console"): CommandProtocol {
    const commands = this.#parts.commands[over];
    if (commands !== undefined) return new GuardedCommands(commands, this.#parts.gate);
    throw new BoardFileError(
      over === "ssh"
        ? `board ${this.config.name} has no SSH`
        : `board ${this.config.name} does not say how its console's shell looks`,
      {
        where: this.config.file,
        next:
          over === "ssh"
            ? "Add an ssh section to its board file."
            : "Add a boot section with linux.prompt to its board file.",
      },
    );
  }

  offsets(): Record<string, number> {
    return Object.fromEntries(
      [...this.#parts.consoles].map(([name, console]) => [name, console.offset]),
    );
  }

  onIncident(listener: (incident: Incident) => void): () => void {
    this.#incidents.add(listener);
    return () => {
      this.#incidents.delete(listener);
    };
  }

  onRaw(listener: (stream: string, bytes: Uint8Array) => void): () => void {
    const stops = [...this.#parts.consoles].map(([name, console]) =>
      console.listen({
        raw: (bytes) => {
          listener(name, bytes);
        },
      }),
    );
    return () => {
      for (const stop of stops) stop();
    };
  }

  async type(bytes: Uint8Array, options?: { readonly unpaced?: boolean }): Promise<void> {
    await this.#parts.primary.type(bytes, options);
  }

  async close(): Promise<void> {
    this.#closing ??= this.#end();
    await this.#closing;
  }

  /** An incident was recognised: waits end, the board is broken until it is recovered. */
  incident(incident: Incident): void {
    const { strategy, gate, detector, consoles } = this.#parts;
    if (detector.phase === "idle" || this.#closing !== undefined) return;
    const error = crashError(this.config.name, incident);
    strategy.break(error);
    for (const listener of this.#incidents) listener(incident);
    this.#failWaits(error, gate, consoles);
  }

  async #end(): Promise<void> {
    const { gate, consoles, detector, strategy } = this.#parts;
    const up = strategy.state === "linux" || strategy.state === "tee-ready";
    if (up && this.config.onExit === "leave") await this.#parts.cleanUp();
    detector.enter("idle");
    this.#failWaits(new InterruptedError("the board was closed"), gate, consoles);
    await this.#parts.shutDown();
  }

  #failWaits(error: LockstepError, gate: CrashGate, consoles: ReadonlyMap<string, Console>): void {
    gate.fail(error);
    for (const console of consoles.values()) console.condemn(error);
  }

  #mustBeOpen(): void {
    if (this.#closing !== undefined) throw new InterruptedError("the board was closed");
  }
}

function crashError(board: string, incident: Incident): LockstepError {
  if (incident.infrastructure === true) {
    return new InfrastructureError(`board ${board}: ${incident.what}`, {
      seen: incident.line,
      next: "Mend that, then run the command again.",
    });
  }
  const verb =
    incident.kind === "hang" ? "hangs" : incident.kind === "lost" ? "is lost" : "crashed";
  return new TargetCrashError(`board ${board} ${verb}: ${incident.what}`, {
    where: `console ${incident.stream}`,
    seen: incident.line,
    next: "Recover the board (power-cycle it) to go on.",
  });
}
