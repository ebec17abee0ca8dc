import type { MessagePort } from "node:worker_threads";
import { BoardFileError, type Deadline, InternalError } from "../base/index.ts";
import type { BoardConfig, BridgeTransport } from "../board/index.ts";
import {
  AgentBridge,
  type AgentBridgeOptions,
  assemble,
  ConsoleBridge,
  type FreeRam,
  loaderConsoleOf,
  LoaderPrompt,
  RamWindow,
  serveMachine,
  startResident,
  type WireMachine,
} from "../bridge/index.ts";
import type { BridgedTargetOptions } from "./bridged-target.ts";
import type { BridgedSetup } from "./bridged-worker.ts";
import { bringUpGuest } from "./bring-up-guest.ts";

/** A machine that stands ready for a worker. */
export interface ReadyMachine {
  /** For the worker, with `transfer` in its transfer list. */
  readonly setup: Pick<BridgedSetup, "machine" | "ram" | "guestOf" | "strangers">;
  readonly transfer: readonly MessagePort[];
  /** An interrupt is pending in every SMC from now on, after so many microseconds; undefined: never. */
  interruptEvery(us: number | undefined): void;
  /** The machine went back to the state in which it was handed over. */
  resumed(): void;
  /** The boot loader's prompt stands there again, where something else stood there. */
  leave(deadline: Deadline): Promise<void>;
}

const MIB = 1024 * 1024;
const SMC_MS = 20_000;
/** Longest time for one request of the worker beside what an SMC may take: 100 KiB over a bad line. */
const REQUEST_MS = 600_000;
/** What a driver and a mediator use before they use anything else, zero so that nobody has to ask. */
const CLEARED = 32 * MIB;
const ZERO = new Uint8Array(8);

/** How memory and SMCs of a board are reached: as its file says, else the fastest that it can do. */
export function transportOf({ bridge, platform }: BoardConfig): BridgeTransport {
  if (bridge?.transport !== undefined) return bridge.transport;
  if (platform === "qemu" && bridge?.ramBase !== undefined) return "shared-ram";
  return bridge?.uart === undefined ? "console" : "agent";
}

/**
 * Puts the bridge's program onto a board and starts it. A board with `bridge.guest` is booted for it;
 * any other stands at its boot loader's prompt. Throws BoardFileError, InfrastructureError,
 * TargetCrashError, DeadlineError.
 */
export async function bringUp(
  options: BridgedTargetOptions,
  deadline: Deadline,
): Promise<ReadyMachine> {
  const { board, transport = transportOf(board.config) } = options;
  if (board.config.bridge?.guest !== undefined) {
    return local(await bringUpGuest(options, deadline));
  }
  if (transport === "shared-ram") return await throughRam(options, deadline);
  return await throughWire(options, transport, deadline);
}

const local = (setup: ReadyMachine["setup"]): ReadyMachine => ({
  setup,
  transfer: [],
  // The worker has the machine to itself.
  interruptEvery: () => {},
  resumed: () => {},
  leave: async () => {},
});

async function throughRam(
  { board, env, ramFile, smcMs = SMC_MS }: BridgedTargetOptions,
  deadline: Deadline,
): Promise<ReadyMachine> {
  const { bridge, name, file } = board.config;
  if (ramFile === undefined) throw new InternalError("there is no file for the machine's RAM");
  if (bridge?.ramBase === undefined) {
    throw new BoardFileError(`board ${name} does not say where its RAM begins (bridge.ram_base)`, {
      where: file,
    });
  }
  const prompt = promptOf(board);
  try {
    const window = new RamWindow(bridge.freeRam, file);
    const program = await assemble("mailbox", env);
    const { gic, ramBase: base } = bridge;
    const place = { file: ramFile, base, window, program, smcMs, ...(gic && { gic }) };
    const resident = await startResident(prompt, place, deadline);
    return local({ machine: { kind: "shared-ram", resident }, ram: wholeMib(window.rest) });
  } finally {
    prompt.close();
  }
}

async function throughWire(
  options: BridgedTargetOptions,
  transport: "agent" | "console",
  deadline: Deadline,
): Promise<ReadyMachine> {
  const { board, env, smcMs = SMC_MS } = options;
  const { bridge, name, file } = board.config;
  if (bridge === undefined)
    throw new BoardFileError(`board ${name} has no bridge`, { where: file });
  const prompt = promptOf(board);
  try {
    const window = new RamWindow(bridge.freeRam, file);
    const program = await assemble("console", env);
    const { lineLimit } = bridge;
    const loader = await ConsoleBridge.start(
      { prompt, window, program, lineLimit, smcMs },
      deadline,
    );
    const agent =
      transport === "console"
        ? undefined
        : await startAgent(options, { prompt, loader, window }, deadline);
    const ram = wholeMib(window.rest);
    const machine = agent ?? loader;
    const cleared = { at: ram.base, bytes: ZERO, length: Math.min(ram.size, CLEARED) };
    await machine.writeAll([cleared], deadline);
    return served(machine, ram, options, prompt, agent);
  } catch (error) {
    prompt.close();
    throw error;
  }
}

async function startAgent(
  { board, env, smcMs = SMC_MS }: BridgedTargetOptions,
  parts: Pick<AgentBridgeOptions, "prompt" | "loader" | "window">,
  deadline: Deadline,
): Promise<AgentBridge> {
  const { name, file, bridge, consoles } = board.config;
  if (bridge?.uart === undefined) {
    throw new BoardFileError(`board ${name} does not say which UART its console is on`, {
      where: file,
      next: "Add bridge.uart, or choose `transport: console`.",
    });
  }
  const { uart, watchdog, gic } = bridge;
  const port = consoles.find(({ primary }) => primary)?.port;
  return await AgentBridge.start(
    {
      ...parts,
      console: loaderConsoleOf(board),
      program: await assemble("agent", env),
      devices: { uart, ...(watchdog && { watchdog }), ...(gic && { gic }) },
      smcMs,
      ...(port !== undefined && "baud" in port ? { baud: port.baud } : {}),
    },
    deadline,
  );
}

function served(
  machine: WireMachine,
  ram: FreeRam,
  { board, abort, smcMs = SMC_MS }: BridgedTargetOptions,
  prompt: LoaderPrompt,
  agent: AgentBridge | undefined,
): ReadyMachine {
  agent?.checkpoint();
  const server = serveMachine(machine, { limitMs: REQUEST_MS + smcMs, abort });
  return {
    setup: { machine: { kind: "wire", link: server.link }, ram },
    transfer: [server.link.port],
    interruptEvery: (us) => {
      if (agent !== undefined && board.config.bridge?.gic) agent.interruptEveryUs = us;
    },
    resumed: () => {
      prompt.forget();
    },
    leave: async (deadline) => {
      server.close();
      try {
        if (board.state !== "broken") await agent?.exit(deadline);
      } finally {
        agent?.close();
        prompt.close();
      }
    },
  };
}

function promptOf(board: BridgedTargetOptions["board"]): LoaderPrompt {
  const { boot, name, file } = board.config;
  if (boot === undefined) {
    throw new BoardFileError(`board ${name} says nothing about how it boots`, {
      where: file,
      next: "Add a boot section to its board file or type.",
    });
  }
  return new LoaderPrompt(loaderConsoleOf(board), { prompt: new RegExp(boot.bootloader.prompt) });
}

/** The whole mebibytes of a window. */
function wholeMib({ base, size }: FreeRam): FreeRam {
  const first = Math.ceil(base / MIB) * MIB;
  return { base: first, size: Math.floor((base + size - first) / MIB) * MIB };
}
