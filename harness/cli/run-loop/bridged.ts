import { UsageError } from "../../base/index.ts";
import type { BoardConfig, BridgeTransport } from "../../board/index.ts";

/** Whether scenarios can run on a board: their conduits end at its secure world, through its boot loader. */
export function isBridged({ conduits, bridge, platform }: BoardConfig): boolean {
  return platform !== "emulated" && conduits.length > 0 && bridge !== undefined;
}

/** `config` with another transport, where scenarios run on it. Throws UsageError where it cannot be that. */
export function withTransport(config: BoardConfig, transport: BridgeTransport): BoardConfig {
  const { bridge, platform, name, file } = config;
  if (!isBridged(config) || bridge === undefined) return config;
  const refused = (expected: string): UsageError =>
    new UsageError(`--transport ${transport} cannot be used with board ${name}`, {
      where: file,
      expected,
    });
  if (bridge.guest !== undefined && transport !== "shared-ram") {
    throw refused("`shared-ram`: its program runs as a guest, which has no boot loader's console");
  }
  if (transport === "shared-ram" && (platform !== "qemu" || bridge.ramBase === undefined)) {
    throw refused("a QEMU board whose file says where its RAM begins (`bridge.ram_base`)");
  }
  if (transport === "agent" && bridge.uart === undefined) {
    throw refused("a board whose file says which UART its console is on (`bridge.uart`)");
  }
  return { ...config, bridge: { ...bridge, transport } };
}
