import path from "node:path";
import {
  BoardFileError,
  Deadline,
  InterruptedError,
  messageOf,
  UsageError,
} from "../base/index.ts";
import { Console } from "./console/console.ts";
import { DeviceConsole } from "./console/device-console.ts";
import type { BoardConfig } from "./file/model.ts";
import { IncidentDetector } from "./incident/detector.ts";
import { CrashGate, GuardedCommands } from "./incident/guarded-commands.ts";
import type { Incident, LiveBoard } from "./live.ts";
import { Board } from "./live-board.ts";
import type { OpenBoardOptions } from "./options.ts";
import { CommandPower } from "./power/command.ts";
import { ManualPower } from "./power/manual.ts";
import { NoPower } from "./power/none.ts";
import type { CommandProtocol, FileTransferProtocol, PowerProtocol } from "./protocol.ts";
import { QemuDriver } from "./qemu/driver.ts";
import { bootFiles } from "./qemu/images.ts";
import { ConsoleFiles } from "./shell/console-files.ts";
import { ConsoleShell } from "./shell/console-shell.ts";
import { SshCommands } from "./ssh/commands.ts";
import { SshConnection } from "./ssh/connection.ts";
import { readClientKey, readSecret } from "./ssh/credentials.ts";
import { SshFiles } from "./ssh/files.ts";
import { readHostKey } from "./ssh/host-key.ts";
import { bootPatterns } from "./strategy/boot-stages.ts";
import { BootStrategy } from "./strategy/strategy.ts";

/** Enough for a relay or for QEMU to end. */
const CLOSE_MS = 30_000;
const CLEAN_UP_MS = 2000;

/**
 * Takes a board into this process: opens its consoles and reads them from now to `close()`. The
 * board's power is not touched; `transition` does that. Throws UsageError for an emulated board,
 * BoardFileError or InfrastructureError where the board cannot be had.
 */
export async function openBoard(
  config: BoardConfig,
  options: OpenBoardOptions,
): Promise<LiveBoard> {
  if (config.platform === "emulated") {
    throw new UsageError(`board ${config.name} is emulated: it has no power, consoles or shell`, {
      where: config.file,
    });
  }
  if (options.abort.aborted) throw new InterruptedError("stopped before the board was opened");
  const { observer, progress, prepared } = options;
  const boot = config.boot;
  const patterns = boot === undefined ? undefined : bootPatterns(boot, config.file);

  const consoles = new Map(
    config.consoles.map(({ name, primary }) => [
      name,
      new Console(name, observer, { characterDelayMs: primary ? config.characterDelayMs : 0 }),
    ]),
  );
  const primaryConfig = config.consoles.find((console) => console.primary);
  const primary = primaryConfig === undefined ? undefined : consoles.get(primaryConfig.name);
  if (primary === undefined || primaryConfig === undefined) {
    throw new BoardFileError(`board ${config.name} has no primary console`, { where: config.file });
  }

  let board: Board | undefined;
  const onIncident = (incident: Incident): void => {
    board?.incident(incident);
  };
  const detector = new IncidentDetector(onIncident);
  const gate = new CrashGate();
  const versions: Record<string, string> = {};

  const qemu =
    config.platform === "qemu"
      ? new QemuDriver({
          config,
          images: {
            ...bootFiles(config, prepared),
            ...(options.kernel === undefined ? {} : { kernel: options.kernel }),
          },
          consoles,
          onIncident,
          ...(options.qemuLogs === undefined ? {} : { logs: options.qemuLogs }),
          ...(options.sharedRam === undefined ? {} : { sharedRam: options.sharedRam }),
          ...(options.guestPort === undefined ? {} : { guestPort: options.guestPort }),
        })
      : undefined;
  const power = qemu ?? otherPower(config, options);

  const shell =
    patterns === undefined
      ? undefined
      : new ConsoleShell(primary, {
          prompt: patterns.prompt,
          // A pty of QEMU's loses nothing; a UART may, and so may what needs a delay.
          verifyEcho: !("qemuSerial" in primaryConfig.port) || config.characterDelayMs > 0,
          characterDelayMs: config.characterDelayMs,
          onBusy: (busy) => {
            detector.quoting(busy ? primary.name : undefined);
          },
        });
  const ssh = config.ssh === undefined ? undefined : sshConnection(config, options, qemu);
  const sshCommands = ssh === undefined ? undefined : new SshCommands(ssh);
  const commands = sshCommands ?? shell;

  const strategy = new BootStrategy(
    {
      config,
      boot,
      patterns,
      consoles,
      primary,
      power,
      shell,
      ssh,
      commands: commands === undefined ? undefined : new GuardedCommands(commands, gate),
      detector,
      gate,
      observer,
      progress,
      login: async () => ({
        user: boot?.linux.user ?? "root",
        password:
          boot?.linux.password === undefined
            ? undefined
            : await readSecret(boot.linux.password, config.file),
      }),
      onLinux: (release) => {
        versions["linux"] = release;
      },
    },
    qemu === undefined ? "unknown" : "off",
  );

  const devices = deviceConsoles(config, consoles, (stream, reason) => {
    if (detector.phase === "up")
      onIncident({
        kind: "lost",
        what: "the console device vanished",
        stream,
        line: reason,
        gone: true,
      });
  });
  const closeAbort = (): void => {
    board?.close().catch((error: unknown) => {
      progress.warn(`closing board ${config.name}: ${messageOf(error)}`);
    });
  };
  board = new Board({
    config,
    consoles,
    primary,
    strategy,
    detector,
    gate,
    power,
    ...(qemu === undefined
      ? {}
      : {
          machineState: {
            save: async (deadline) => await qemu.saveState(deadline),
            load: async (deadline) => await qemu.loadState(deadline),
          },
        }),
    commands: {
      ...(sshCommands === undefined ? {} : { ssh: sshCommands }),
      ...(shell === undefined ? {} : { console: shell }),
    },
    files: fileTransfer(config, ssh, sshCommands, shell),
    versions,
    cleanUp: async () => {
      await shell?.cleanUp(Deadline.after(CLEAN_UP_MS, "cleaning up on the board"));
    },
    shutDown: async () => {
      options.abort.removeEventListener("abort", closeAbort);
      const deadline = Deadline.after(CLOSE_MS, `closing board ${config.name}`);
      try {
        ssh?.close();
        if (qemu !== undefined) await qemu.close();
        else if (config.onExit === "off") await switchOff(config, power, options, deadline);
      } finally {
        for (const device of devices) await device.close();
      }
    },
  });
  options.abort.addEventListener("abort", closeAbort, { once: true });
  try {
    for (const device of devices) await device.open();
  } catch (error) {
    for (const device of devices) await device.close();
    options.abort.removeEventListener("abort", closeAbort);
    throw error;
  }
  return board;
}

function otherPower(config: BoardConfig, options: OpenBoardOptions): PowerProtocol {
  const power = config.power;
  if (power.driver === "command") return new CommandPower(power, path.dirname(config.file));
  if (power.driver === "manual") return new ManualPower(config.name, options.progress);
  if (power.driver === "none") return new NoPower(config.name);
  throw new BoardFileError(`board ${config.name} is hardware, but its power driver is qemu`, {
    where: config.file,
    next: "Name a power driver in its board file: command, manual or none.",
  });
}

/** Switches off on the way out; a board that nobody can switch is left as it is. */
async function switchOff(
  config: BoardConfig,
  power: PowerProtocol,
  options: OpenBoardOptions,
  deadline: Deadline,
): Promise<void> {
  if (config.power.driver === "none") return;
  try {
    await power.off(deadline);
  } catch (error) {
    options.progress.warn(`board ${config.name} could not be switched off: ${messageOf(error)}`);
  }
}

function deviceConsoles(
  config: BoardConfig,
  consoles: ReadonlyMap<string, Console>,
  onLost: (stream: string, reason: string) => void,
): DeviceConsole[] {
  return config.consoles.flatMap(({ name, port }) => {
    const console = consoles.get(name);
    if (console === undefined || !("device" in port)) return [];
    return [
      new DeviceConsole(console, port.device, port.baud, (reason) => {
        onLost(name, reason);
      }),
    ];
  });
}

function sshConnection(
  config: BoardConfig,
  options: OpenBoardOptions,
  qemu: QemuDriver | undefined,
): SshConnection {
  return new SshConnection(async () => {
    const ssh = config.ssh;
    if (ssh === undefined) throw new BoardFileError("no ssh section", { where: config.file });
    const forward = ssh.host === "forward";
    const pinned = ssh.hostKey ?? options.prepared?.ssh?.hostKeyLine;
    const key = ssh.key ?? options.prepared?.ssh?.clientKeyFile;
    return {
      host: forward ? "127.0.0.1" : ssh.host,
      port: forward ? (qemu?.sshPort ?? ssh.port) : ssh.port,
      user: ssh.user,
      privateKey: await readClientKey(key, config.file),
      hostKey: pinned === undefined ? undefined : await readHostKey(pinned, config.file),
      where: config.file,
    };
  });
}

function fileTransfer(
  config: BoardConfig,
  ssh: SshConnection | undefined,
  commands: CommandProtocol | undefined,
  shell: ConsoleShell | undefined,
): FileTransferProtocol {
  if (ssh !== undefined && commands !== undefined) return new SshFiles(ssh, commands);
  if (shell !== undefined) return new ConsoleFiles(shell);
  const refuse = async (): Promise<never> => {
    throw new BoardFileError(`board ${config.name} has neither SSH nor a console shell for files`, {
      where: config.file,
      next: "Add an ssh section, or a boot section with linux.prompt, to its board file.",
    });
  };
  return { upload: refuse, download: refuse };
}
