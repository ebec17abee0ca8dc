import {
  BoardFileError,
  type Deadline,
  InfrastructureError,
  InterruptedError,
  LockstepError,
  type Progress,
  UsageError,
} from "../../base/index.ts";
import type { Console } from "../console/console.ts";
import type { BoardConfig, BootConfig } from "../file/model.ts";
import type { IncidentDetector } from "../incident/detector.ts";
import type { CrashGate } from "../incident/guarded-commands.ts";
import type { BoardObserver } from "../observer.ts";
import type { BoardState, CommandProtocol, PowerProtocol } from "../protocol.ts";
import type { ConsoleShell } from "../shell/console-shell.ts";
import { Mutex } from "../shell/mutex.ts";
import type { SshConnection } from "../ssh/connection.ts";
import {
  type BootPatterns,
  type Login,
  reachBootloader,
  resetFromLoader,
  reachShell,
  reachTee,
  probe,
} from "./boot-stages.ts";
import { stageError } from "./stage-error.ts";

export interface StrategyParts {
  readonly config: BoardConfig;
  readonly boot: BootConfig | undefined;
  readonly patterns: BootPatterns | undefined;
  readonly consoles: ReadonlyMap<string, Console>;
  readonly primary: Console;
  readonly power: PowerProtocol;
  readonly shell: ConsoleShell | undefined;
  readonly ssh: SshConnection | undefined;
  /** SSH where there is one, else the console's shell. */
  readonly commands: CommandProtocol | undefined;
  readonly detector: IncidentDetector;
  readonly gate: CrashGate;
  readonly observer: BoardObserver;
  readonly progress: Progress;
  login(): Promise<Login>;
  /** Told the kernel release once Linux is up. */
  onLinux(release: string): void;
}

/** The longest time for which the watchdog of an i.MX8M can be set. */
const WATCHDOG_MS = 130_000;

type State = BoardState | "unknown" | "broken";

/**
 * The states of a board and the ways between them. The first failure makes the board `broken`; every
 * later call throws that same cause until `recover()`.
 */
export class BootStrategy {
  readonly #parts: StrategyParts;
  readonly #mutex = new Mutex();
  #state: BoardState | "unknown";
  #cause: LockstepError | undefined;

  constructor(parts: StrategyParts, initial: "off" | "unknown") {
    this.#parts = parts;
    this.#state = initial;
  }

  get state(): State {
    return this.#cause === undefined ? this.#state : "broken";
  }

  /** The board is useless until it is recovered. The first cause counts. */
  break(cause: LockstepError): void {
    this.#cause ??= cause;
  }

  async transition(to: BoardState, deadline: Deadline): Promise<void> {
    await this.#mutex.run(async () => {
      if (this.#cause !== undefined) throw this.#cause;
      try {
        await this.#go(to, deadline);
      } catch (error) {
        if (error instanceof InterruptedError) this.#state = "unknown";
        else if (error instanceof LockstepError) this.break(error);
        throw error;
      }
      // An incident that came while nothing was awaited.
      this.#throwCause();
    });
  }

  async recover(deadline: Deadline): Promise<void> {
    await this.#mutex.run(async () => {
      await this.switchOff(deadline);
      this.#cause = undefined;
    });
  }

  /** Back to the boot loader's prompt, whatever the board does now. */
  async restart(deadline: Deadline): Promise<void> {
    const { driver } = this.#parts.config.power;
    await this.#mutex.run(async () => {
      if (driver === "qemu" || driver === "command") await this.switchOff(deadline);
      this.#cause = undefined;
      try {
        if (driver === "qemu" || driver === "command") await this.#go("bootloader", deadline);
        else await this.#resetFromLoader(deadline);
      } catch (error) {
        if (error instanceof InterruptedError) this.#state = "unknown";
        else if (error instanceof LockstepError) this.break(error);
        throw error;
      }
      this.#throwCause();
    });
  }

  async switchOn(deadline: Deadline): Promise<void> {
    // Who asks a person cannot know when the old run of the board ended.
    this.#booting(this.#parts.config.power.driver === "manual" ? "rebooting" : "booting");
    await this.#parts.power.on(deadline);
  }

  async switchOff(deadline: Deadline): Promise<void> {
    this.#quiet();
    await this.#parts.power.off(deadline);
    this.#state = "off";
  }

  async switchCycle(deadline: Deadline): Promise<void> {
    const power = this.#parts.config.power;
    if (power.driver === "qemu" || (power.driver === "command" && power.cycle === undefined)) {
      await this.switchOff(deadline);
      await this.switchOn(deadline);
    } else {
      this.#booting("rebooting");
      await this.#parts.power.cycle(deadline);
    }
  }

  async #go(to: BoardState, deadline: Deadline): Promise<void> {
    if (this.#state === to) return;
    switch (to) {
      case "off":
        await this.switchOff(deadline);
        break;
      case "bootloader":
        await this.#bootloader(deadline);
        break;
      case "linux":
        if (this.#state !== "tee-ready") await this.#linux(deadline);
        break;
      case "tee-ready":
        await this.#go("linux", deadline);
        await this.#tee(deadline);
        break;
    }
    this.#state = to;
  }

  async #bootloader(deadline: Deadline): Promise<void> {
    const { boot, patterns } = this.#bootConfig();
    const { config, primary, detector } = this.#parts;
    await this.#stage("bootloader", boot.bootloader.timeoutMs, deadline, async (limit) => {
      this.#mustBeThere();
      await this.#fresh(limit);
      const found = config.power.driver === "none";
      await reachBootloader(primary, patterns, boot.bootloader.interrupt, limit, found);
    });
    detector.enter("up");
  }

  /** Nobody switches on a board, or a port that it feeds, where nothing can: it would be waited for in vain. */
  #mustBeThere(): void {
    const { config, primary } = this.#parts;
    if (config.power.driver !== "none" || this.#state !== "unknown" || primary.attached) return;
    throw new InfrastructureError(`console ${primary.name} of board ${config.name} is not there`, {
      where: config.file,
      next: `Check the cable, and the device in the board file; \`lockstep doctor ${config.name}\` shows it.`,
    });
  }

  /** Without a switch: the boot loader resets the machine, or a watchdog does, or a person. */
  async #resetFromLoader(deadline: Deadline): Promise<void> {
    const { boot, patterns } = this.#bootConfig();
    const { config, primary, detector, progress } = this.#parts;
    const limitMs = boot.bootloader.timeoutMs + WATCHDOG_MS;
    await this.#stage("bootloader", limitMs, deadline, async (limit) => {
      this.#mustBeThere();
      this.#booting("rebooting");
      await resetFromLoader(primary, limit, () => {
        const how = config.power.driver === "manual" ? " Please reset it." : "";
        progress.warn(`board ${config.name} does not react; its watchdog may reset it.${how}`);
      });
      await reachBootloader(primary, patterns, boot.bootloader.interrupt, limit);
    });
    this.#state = "bootloader";
    detector.enter("up");
  }

  async #linux(deadline: Deadline): Promise<void> {
    const { boot, patterns } = this.#bootConfig();
    const { config, primary, detector, shell, ssh, gate } = this.#parts;
    if (this.#state === "bootloader" || config.power.driver !== "none") refuseToProgram(config);
    await this.#stage("linux", boot.linux.timeoutMs, deadline, async (limit) => {
      if (this.#state === "bootloader") {
        detector.enter("booting");
        await limit.race(primary.type(Buffer.from(`${boot.linux.command}\n`)));
      } else {
        await this.#fresh(limit);
      }
      shell?.reset();
      const found = config.power.driver === "none";
      const login = await this.#parts.login();
      await reachShell(primary, patterns, login, found, limit);
      detector.enter("up");
      await shell?.ready(limit);
      if (ssh !== undefined) await gate.race(ssh.connect(limit));
      const { commands } = this.#parts;
      const release = commands && (await probe(commands, "uname -r", limit));
      if (release?.exitCode === 0)
        this.#parts.onLinux(Buffer.from(release.stdout).toString().trim());
    });
  }

  async #tee(deadline: Deadline): Promise<void> {
    const { boot } = this.#bootConfig();
    const commands = this.#parts.commands;
    await this.#stage("tee-ready", boot.teeReady.timeoutMs, deadline, async (limit) => {
      if (commands !== undefined) await reachTee(commands, boot.teeReady.command, limit);
    });
  }

  /** Power-cycles a board of which nothing is known; switches on one that is off. */
  async #fresh(deadline: Deadline): Promise<void> {
    if (this.#state === "off" || this.#parts.config.power.driver === "none") {
      await this.switchOn(deadline);
    } else {
      await this.switchCycle(deadline);
    }
  }

  async #stage(
    stage: BoardState,
    timeoutMs: number,
    deadline: Deadline,
    work: (limit: Deadline) => Promise<void>,
  ): Promise<void> {
    const { observer, progress, config, primary } = this.#parts;
    const shown = progress.stage(`${config.name}: ${stage}`);
    observer.stageStart(stage);
    try {
      await work(deadline.within(timeoutMs, `the way to ${stage}`));
      this.#throwCause();
    } catch (error) {
      const wrapped = stageError(config.name, stage, error, primary);
      observer.stageEnd(stage, false, wrapped.message);
      shown.failed(wrapped.message);
      throw wrapped;
    }
    observer.stageEnd(stage, true);
    shown.done();
  }

  #throwCause(): void {
    if (this.#cause !== undefined) throw this.#cause;
  }

  /** What failed with the last boot says nothing about the next. */
  #mend(): void {
    this.#parts.gate.reset();
    for (const console of this.#parts.consoles.values()) console.mend();
  }

  #booting(phase: "booting" | "rebooting"): void {
    this.#mend();
    this.#state = "unknown";
    this.#parts.shell?.reset();
    this.#parts.ssh?.close();
    this.#parts.detector.enter(phase);
  }

  /** Whatever still runs on the board ends now: its power goes. */
  #quiet(): void {
    const { config, consoles, detector, gate } = this.#parts;
    detector.enter("idle");
    const off = new InfrastructureError(`board ${config.name} was switched off`);
    gate.fail(off);
    for (const console of consoles.values()) console.condemn(off);
    this.#parts.shell?.reset();
    this.#parts.ssh?.close();
  }

  #bootConfig(): { boot: BootConfig; patterns: BootPatterns } {
    const { boot, patterns, config } = this.#parts;
    if (boot === undefined || patterns === undefined) {
      throw new BoardFileError(`board ${config.name} says nothing about how it boots`, {
        where: config.file,
        next: "Add a boot section to its board file or type.",
      });
    }
    return { boot, patterns };
  }
}

/**
 * The first use of storage under Linux has a write-key build program a blank part, for ever (RPMB-5.2.2).
 * Throws UsageError where that is no emulated part and the unit not one to be spent.
 */
function refuseToProgram({ name, file, platform, expendable, rpmb }: BoardConfig): void {
  if (platform !== "hardware" || expendable || rpmb?.optee.writeKey !== true) return;
  if (rpmb.emulated !== undefined) return;
  throw new UsageError(
    `Linux of board ${name} is not booted: its OP-TEE programs a blank RPMB part`,
    {
      where: file,
      expected: "`expendable: true`, or an OP-TEE built without CFG_RPMB_WRITE_KEY",
      seen: "`rpmb.optee.write_key: true`",
      next: "Where the part has its key already and this build may stay, say `expendable: true` in the file.",
    },
  );
}
