import { type Deadline, InfrastructureError } from "../base/index.ts";
import type { Pa } from "../machine/index.ts";
import { mustBeFree } from "./loader-memory.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";
import { MAILBOX } from "./mailbox-page.ts";
import type { RamWindow } from "./ram-window.ts";
import { SharedRamMachine, type SharedRamOptions } from "./shared-ram.ts";

/** Where a running resident program is, as `SharedRamMachine` takes it in any thread. */
export type Resident = SharedRamOptions;

const STARTED = /## Starting application at 0x[0-9A-Fa-f]+/;

/**
 * Puts boards/bridge/mailbox.s into the machine's RAM, which is `file`, and starts it from the
 * boot loader's prompt. Throws InfrastructureError where the file is not the
 * machine's RAM, BoardFileError where the window is not free, TargetCrashError where the program does not start.
 */
export async function startResident(
  prompt: LoaderPrompt,
  ram: {
    readonly file: string;
    readonly base: number;
    readonly window: RamWindow;
    readonly program: Uint8Array;
    readonly smcMs?: number;
    /** For interrupts in the middle of an SMC. */
    readonly gic?: { readonly distributor: number; readonly redistributor: number };
  },
  deadline: Deadline,
): Promise<Resident> {
  await mustBeFree(prompt, ram.window, deadline);
  const page: Pa = ram.window.take(MAILBOX.size);
  const resident: Resident = {
    file: ram.file,
    base: ram.base,
    page,
    hasTimer: ram.gic !== undefined,
    ...(ram.smcMs === undefined ? {} : { smcMs: ram.smcMs }),
  };
  const machine = new SharedRamMachine(resident);
  try {
    const image = new Uint8Array(MAILBOX.size);
    image.set(ram.program);
    const gic = new DataView(image.buffer, MAILBOX.gic);
    gic.setBigUint64(0, BigInt(ram.gic?.distributor ?? 0), true);
    gic.setBigUint64(8, BigInt(ram.gic?.redistributor ?? 0), true);
    machine.write(page, image);
    await mustBeTheSame(prompt, machine, page, deadline);
    await prompt.leave(`go ${page.toString(16)}`, STARTED, deadline);
  } finally {
    machine.close();
  }
  return resident;
}

/** What the boot loader reads at `page` is what was written into the file. */
async function mustBeTheSame(
  prompt: LoaderPrompt,
  machine: SharedRamMachine,
  page: Pa,
  deadline: Deadline,
): Promise<void> {
  const head = Buffer.alloc(16);
  machine.read(page, head);
  const words = [head.readBigUInt64LE(0), head.readBigUInt64LE(8)].map((word) =>
    word.toString(16).padStart(16, "0"),
  );
  const shown = await prompt.run(`md.q ${page.toString(16)} 2`, deadline);
  if (shown.some((line) => line.includes(words.join(" ")))) return;
  throw new InfrastructureError("the file is not the machine's RAM", {
    expected: `0x${page.toString(16)}: ${words.join(" ")}`,
    seen: shown.join(" | "),
    next: "Check bridge.shared_ram in the board file: the address of the machine's first byte of RAM.",
  });
}
