import { BoardFileError, type Deadline, InternalError } from "../base/index.ts";
import { assemble, Dom0Program } from "../bridge/index.ts";
import type { Pa } from "../machine/index.ts";
import type { BridgedTargetOptions } from "./bridged-target.ts";
import type { BridgedSetup } from "./bridged-worker.ts";

const MIB = 1024 * 1024;
const SMC_MS = 20_000;
/** From the boot loader's prompt through the hypervisor's start to the first instruction of its guest. */
const GUEST_MS = 180_000;

/**
 * Boots a board whose hypervisor starts our program as its first guest, in place of a kernel. Returns
 * where the program is and what RAM scenarios may use.
 */
export async function bringUpGuest(
  { board, env, ramFile, kernelFile, smcMs = SMC_MS }: BridgedTargetOptions,
  deadline: Deadline,
): Promise<Pick<BridgedSetup, "machine" | "ram" | "guestOf" | "strangers">> {
  const { bridge, boot, qemu, name, file } = board.config;
  if (kernelFile === undefined || ramFile === undefined) {
    throw new InternalError("there is no file for the guest's kernel or its RAM");
  }
  if (bridge?.guest === undefined || bridge.ramBase === undefined || boot === undefined) {
    throw new BoardFileError(`board ${name} does not say where its RAM begins (bridge.ram_base)`, {
      where: file,
    });
  }
  const program = new Dom0Program(kernelFile, await assemble("dom0", env));
  // QEMU reads the file when it starts.
  await board.recover(deadline);
  await program.write();
  await board.transition("bootloader", deadline);
  await board.type(Buffer.from(`${boot.linux.command}\n`));
  const ram = { file: ramFile, base: bridge.ramBase, size: (qemu?.memoryMiB ?? 0) * MIB };
  const started = deadline.within(GUEST_MS, `the first guest of ${bridge.guest} on ${name}`);
  const resident = await program.found(ram, bridge.freeRam, started, smcMs);
  const { freeRam, foreignRam, guest } = bridge;
  const strangers = foreignRam === undefined ? {} : { strangers: foreignRam.base as Pa };
  const machine = { kind: "shared-ram", resident } as const;
  return { machine, ram: freeRam, guestOf: guest, ...strangers };
}
