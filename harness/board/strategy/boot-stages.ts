import {
  BoardFileError,
  type Deadline,
  DeadlineError,
  InfrastructureError,
} from "../../base/index.ts";
import type { Console } from "../console/console.ts";
import { Deferred } from "../deferred.ts";
import { BANNERS } from "../incident/patterns.ts";
import type { BootConfig } from "../file/model.ts";
import type { CommandProtocol, ExecResult } from "../protocol.ts";

/** A key that was not heard is pressed again. */
const KEY_EVERY_MS = 300;
/** After this much silence since Linux started, Enter is pressed for a new prompt. */
const POKE_AFTER_MS = 4000;
/** A boot loader's prompt that stands this long while Linux is awaited: it gave up. */
const STUCK_AFTER_MS = 3000;
const TICK_MS = 500;
const PROBE_ATTEMPTS = 5;
const CTRL_C = "\u0003";
const TEE_POLL_MS = 500;
/** A boot loader that did not take `reset` is told again, and after some turns counts as deaf. */
const RESET_EVERY_MS = 3000;
const DEAF_AFTER = 4;

const LINUX_STARTED = /Starting kernel|Linux version \d|^\[ *\d+\.\d{6}\]/;
const PASSWORD = /[Pp]assword: ?$/;

/** Compiles a pattern of a board file. Throws BoardFileError. */
export function pattern(source: string, what: string, where: string): RegExp {
  try {
    return new RegExp(source);
  } catch (error) {
    throw new BoardFileError(`${what} is not a regular expression`, {
      where,
      seen: error instanceof Error ? error.message : source,
      next: "Correct it in the boot section of the board file.",
    });
  }
}

export interface BootPatterns {
  readonly autoboot: RegExp;
  readonly loaderPrompt: RegExp;
  readonly login: RegExp | undefined;
  readonly prompt: RegExp;
}

export function bootPatterns(boot: BootConfig, where: string): BootPatterns {
  return {
    autoboot: pattern(boot.bootloader.autoboot, "boot.bootloader.autoboot", where),
    loaderPrompt: pattern(boot.bootloader.prompt, "boot.bootloader.prompt", where),
    login:
      boot.linux.login === undefined
        ? undefined
        : pattern(boot.linux.login, "boot.linux.login", where),
    prompt: pattern(boot.linux.prompt, "boot.linux.prompt", where),
  };
}

/**
 * From power-on to the boot loader's prompt, its countdown interrupted. `found` says that the board may
 * stand there already: the prompt is asked for.
 */
export async function reachBootloader(
  console: Console,
  patterns: BootPatterns,
  interrupt: string,
  deadline: Deadline,
  found = false,
): Promise<void> {
  let pressed = 0;
  let lastSeen = 0;
  let awaited = `the boot loader's countdown (${patterns.autoboot.source}) or prompt (${patterns.loaderPrompt.source})`;
  // Keys pressed too often stand behind the prompt and hide it.
  const tick = setInterval(() => {
    if (pressed > 0 && performance.now() - Math.max(pressed, lastSeen) > TICK_MS) {
      pressed = performance.now();
      type(console, CTRL_C);
    }
  }, TICK_MS);
  if (found) type(console, CTRL_C);
  try {
    await console.until(
      deadline,
      () => awaited,
      ({ text, partial }) => {
        lastSeen = performance.now();
        if (partial && patterns.loaderPrompt.test(text)) return true;
        if (patterns.autoboot.test(text) && lastSeen - pressed > KEY_EVERY_MS) {
          pressed = lastSeen;
          awaited = `the boot loader's prompt (${patterns.loaderPrompt.source}) after interrupting its countdown`;
          type(console, interrupt);
        }
        return undefined;
      },
    );
  } finally {
    clearInterval(tick);
  }
  // A prompt that answers Ctrl-C is alive, and whatever keys were pressed too often are gone.
  const from = console.offset;
  const answer = console.until(deadline, "the boot loader's prompt after Ctrl-C", (glimpse) =>
    glimpse.partial && console.offset > from && patterns.loaderPrompt.test(glimpse.text)
      ? true
      : undefined,
  );
  type(console, CTRL_C);
  await answer;
}

/**
 * Has a boot loader that stands at its prompt reset the machine, until the machine shows that it boots.
 * `onDeaf` is called once when it does not react.
 */
export async function resetFromLoader(
  console: Console,
  deadline: Deadline,
  onDeaf: () => void,
): Promise<void> {
  let turns = 0;
  const tell = (): void => {
    turns += 1;
    if (turns === DEAF_AFTER) onDeaf();
    type(console, `${CTRL_C}reset\r`);
  };
  const boots = console.until(
    deadline,
    "the banner of a board that boots, after `reset`",
    ({ text, partial }) =>
      !partial && BANNERS.some((banner) => banner.pattern.test(text)) ? true : undefined,
  );
  const timer = setInterval(tell, RESET_EVERY_MS);
  try {
    tell();
    await boots;
  } finally {
    clearInterval(timer);
  }
}

export interface Login {
  readonly user: string;
  readonly password: string | undefined;
}

/**
 * From anywhere in the boot to the shell's prompt on the console, logged in. `found` says that the
 * board may have been up before: its prompt is asked for without waiting for Linux to start.
 */
export async function reachShell(
  console: Console,
  patterns: BootPatterns,
  login: Login,
  found: boolean,
  deadline: Deadline,
): Promise<void> {
  let started = found;
  let lastSeen = performance.now();
  let loggedInAt = 0;
  let awaited = `Linux's prompt (${patterns.prompt.source})`;
  const stuck = new Deferred<never>();
  const tick = setInterval(() => {
    const silent = performance.now() - lastSeen;
    if (!started && silent > STUCK_AFTER_MS && patterns.loaderPrompt.test(console.partial(256))) {
      stuck.reject(
        new InfrastructureError("the boot loader stopped at its prompt instead of starting Linux", {
          next: "Read above what it could not load; check the images and boot.linux.command.",
        }),
      );
    } else if (started && silent > POKE_AFTER_MS) {
      lastSeen = performance.now();
      type(console, "\n");
    }
  }, TICK_MS);
  const reached = console.until(
    deadline,
    () => awaited,
    ({ text, partial }) => {
      if (text !== "") lastSeen = performance.now();
      if (!partial) started ||= LINUX_STARTED.test(text);
      else if (patterns.prompt.test(text)) return true;
      else if (patterns.login?.test(text) === true && lastSeen - loggedInAt > KEY_EVERY_MS) {
        started = true;
        loggedInAt = lastSeen;
        awaited = `the shell's prompt after logging in as ${login.user}`;
        type(console, `${login.user}\n`);
      } else if (PASSWORD.test(text) && login.password !== undefined) {
        type(console, `${login.password}\n`);
      }
      return undefined;
    },
  );
  try {
    await Promise.race([reached, stuck.promise]);
  } finally {
    clearInterval(tick);
    reached.catch(() => {});
  }
}

/** Runs the board file's check until it succeeds. */
export async function reachTee(
  commands: CommandProtocol,
  check: string,
  deadline: Deadline,
): Promise<void> {
  let last = "the check did not run";
  for (;;) {
    const { exitCode, stdout, stderr } = await probe(commands, check, deadline);
    if (exitCode === 0) return;
    const output = Buffer.concat([stdout, stderr]).toString().trim();
    last = `exit code ${exitCode ?? "none"}${output === "" ? "" : `: ${output}`}`;
    if (deadline.remainingMs < TEE_POLL_MS) {
      throw new DeadlineError("the TEE is not ready", {
        expected: `exit code 0 of: ${check}`,
        seen: last,
        next: "See on the consoles whether OP-TEE, its driver and tee-supplicant started.",
      });
    }
    await deadline.race(new Promise((resolve) => setTimeout(resolve, TEE_POLL_MS)));
  }
}

/**
 * Runs a command that changes nothing, again if its channel is lost: under load an SSH server that
 * has just come up can close the first channels without an exit status.
 */
export async function probe(
  commands: CommandProtocol,
  command: string,
  deadline: Deadline,
): Promise<ExecResult> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await commands.exec(command, deadline);
    } catch (error) {
      if (!(error instanceof InfrastructureError) || attempt >= PROBE_ATTEMPTS) throw error;
    }
    await deadline.race(new Promise((resolve) => setTimeout(resolve, TEE_POLL_MS)));
  }
}

/** Types without waiting; a port that is gone shows itself to whoever waits. */
function type(console: Console, text: string): void {
  console.type(Buffer.from(text, "utf8")).catch(() => {});
}
