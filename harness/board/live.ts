import type { Deadline } from "../base/index.ts";
import type { BoardConfig } from "./file/model.ts";
import type {
  BoardState,
  CommandProtocol,
  FileTransferProtocol,
  PowerProtocol,
} from "./protocol.ts";

/** Something on a console or a link that ends whatever is running on the board. */
export interface Incident {
  /** `crash`: panic, oops, secure-world panic, unexpected boot banner. `hang`: lockup, stall. `lost`: link or login gone. */
  readonly kind: "crash" | "hang" | "lost";
  /** What was recognised, e.g. `kernel panic`, `OP-TEE core panic`, `hard lockup`. */
  readonly what: string;
  /** The console and the line that showed it. */
  readonly stream: string;
  readonly line: string;
  /** The link itself has gone: nothing can come from there any more. */
  readonly gone?: true;
  /** Not the target's doing: what the host provides for the board has failed. */
  readonly infrastructure?: true;
}

/** The whole machine as it was at a moment. Only emulators have that. */
export interface MachineState {
  /** Saves the machine while it runs; replaces what was saved before. */
  save(deadline: Deadline): Promise<void>;
  /** Back to what was saved since power came on, much faster than a boot. Throws InfrastructureError. */
  load(deadline: Deadline): Promise<void>;
}

/** A board that this process owns: consoles drained from open to close, whoever listens. */
export interface LiveBoard {
  readonly config: BoardConfig;
  readonly state: BoardState | "unknown" | "broken";
  readonly power: PowerProtocol;
  /** Undefined where the machine's state cannot be saved. */
  readonly machineState: MachineState | undefined;
  /** Versions seen on the consoles so far: `tf-a`, `optee`, `u-boot`, `linux`. */
  readonly versions: Readonly<Record<string, string>>;

  /** Moves the board to `state`; on failure the error names the stage, what was awaited, and the last console lines. */
  transition(state: BoardState, deadline: Deadline): Promise<void>;
  /** Switches the board off, whatever state it is in, and clears `broken`; the next transition boots it. */
  recover(deadline: Deadline): Promise<void>;
  /**
   * Ends whatever runs on the board and brings it to its boot loader's prompt through a reset of the
   * whole machine, from any state, `broken` included. Where its power cannot be switched by a driver,
   * the boot loader is told to reset; a board that hangs is waited for, as a watchdog may reset it.
   */
  restart(deadline: Deadline): Promise<void>;
  /** Commands on the board's Linux over SSH or the console shell. Throws BoardFileError if there is none. */
  command(over: "ssh" | "console"): CommandProtocol;
  readonly files: FileTransferProtocol;

  /** Current byte offset of each raw stream, for slicing. */
  offsets(): Record<string, number>;
  /** Calls `listener` for every incident until the returned function is called. Silent between power-off and boot. */
  onIncident(listener: (incident: Incident) => void): () => void;
  /** Every console byte as it arrives, for the live console. */
  onRaw(listener: (stream: string, bytes: Uint8Array) => void): () => void;
  /** Types bytes on the primary console as they are, `unpaced` without the board's character delay. */
  type(bytes: Uint8Array, options?: { readonly unpaced?: boolean }): Promise<void>;
  /** Ends everything; powers off as `on_exit` says (QEMU always). Safe to call twice. */
  close(): Promise<void>;
}
