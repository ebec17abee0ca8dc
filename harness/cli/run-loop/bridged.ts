import type { BoardConfig } from "../../board/index.ts";

/** Whether scenarios can run on a board: their conduits end at its secure world, through its RAM. */
export function isBridged({ conduits, bridge, platform }: BoardConfig): boolean {
  return platform === "qemu" && conduits.length > 0 && bridge?.ramBase !== undefined;
}
