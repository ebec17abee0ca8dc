import type { CommandBuilder } from "./context.ts";

export interface CommandEntry {
  readonly name: string;
  /** One line for `lockstep --help`. */
  readonly summary: string;
  readonly group: string;
  /** The exit code of every failure of its own, where that is not told apart (`exec`, as ssh). */
  readonly failureExit?: number;
  readonly load: () => Promise<{ readonly build: CommandBuilder }>;
}

const CONTROL = "Boards";
const RESULTS = "Results";
const SETUP = "Setting up";

/** Every command, in the order of `lockstep --help`; each file is loaded only when it is asked for. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: "run",
    summary: "run the suites and xtest, and leave a bundle with reports",
    group: "Running",
    load: () => import("./commands/run.ts"),
  },
  {
    name: "fuzz",
    summary: "let hostile guests loose on the mediator and the OP-TEE model",
    group: "Running",
    load: () => import("./commands/fuzz.ts"),
  },
  {
    name: "compare",
    summary: "say what became better or worse between two runs",
    group: RESULTS,
    load: () => import("./commands/compare.ts"),
  },
  {
    name: "report",
    summary: "make reports of a run again, or check its bundle",
    group: RESULTS,
    load: () => import("./commands/report.ts"),
  },
  {
    name: "xtest",
    summary: "judge xtest logs, record what to expect",
    group: RESULTS,
    load: () => import("./commands/xtest.ts"),
  },
  {
    name: "boards",
    summary: "list, show, check and create board files",
    group: CONTROL,
    load: () => import("./commands/boards.ts"),
  },
  {
    name: "console",
    summary: "show a board's console live and type on it",
    group: CONTROL,
    load: () => import("./commands/console.ts"),
  },
  {
    name: "boot",
    summary: "bring a board to a state",
    group: CONTROL,
    load: () => import("./commands/boot.ts"),
  },
  {
    name: "power",
    summary: "switch a board on or off",
    group: CONTROL,
    load: () => import("./commands/power.ts"),
  },
  {
    name: "exec",
    summary: "run a command on a board's Linux",
    group: CONTROL,
    failureExit: 255,
    load: () => import("./commands/exec.ts"),
  },
  {
    name: "smc",
    summary: "make raw SMCs on a board at its boot loader's prompt",
    group: CONTROL,
    load: () => import("./commands/smc.ts"),
  },
  {
    name: "rpmb",
    summary: "derive RPMB keys",
    group: CONTROL,
    load: () => import("./commands/rpmb/index.ts"),
  },
  {
    name: "doctor",
    summary: "say what is missing, what is wrong and how to mend it",
    group: SETUP,
    load: () => import("./commands/doctor.ts"),
  },
  {
    name: "prepare",
    summary: "make the reference image that a board boots",
    group: SETUP,
    load: () => import("./commands/prepare.ts"),
  },
  {
    name: "completion",
    summary: "print a completion script for bash or zsh",
    group: SETUP,
    load: () => import("./commands/completion.ts"),
  },
];

export function findCommand(name: string): CommandEntry | undefined {
  return COMMANDS.find((entry) => entry.name === name);
}
