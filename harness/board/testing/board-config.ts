import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import type { BoardConfig } from "../file/model.ts";

/** A QEMU board with two consoles and nothing else; tests override what they need. */
export function qemuConfig(overrides: Partial<BoardConfig> = {}): BoardConfig {
  return {
    name: "bench-board",
    type: "qemu-virt",
    description: "a board of the tests",
    file: path.join(packageRoot, "boards", "bench-board.yaml"),
    platform: "qemu",
    soc: "QEMU virt",
    onExit: "off",
    expendable: false,
    lifeCycle: "unknown",
    conduits: [],
    consoles: [
      { name: "normal", primary: true, port: { qemuSerial: 0 } },
      { name: "secure", primary: false, port: { qemuSerial: 1 } },
    ],
    power: { driver: "qemu" },
    qemu: {
      binary: "qemu-system-aarch64",
      machine: "virt",
      options: { secure: "on", "gic-version": "3" },
      cpu: "cortex-a53",
      cores: 1,
      memoryMiB: 64,
      extra: [],
    },
    images: {},
    characterDelayMs: 0,
    ...overrides,
  };
}

/** A hardware board on one pty whose power is a command that does nothing. */
export function ptyConfig(device: string, overrides: Partial<BoardConfig> = {}): BoardConfig {
  const { qemu: _, ...base } = qemuConfig();
  return {
    ...base,
    platform: "hardware",
    consoles: [{ name: "normal", primary: true, port: { device, baud: 115_200 } }],
    power: { driver: "command", on: "true", off: "true", settleMs: 0 },
    boot: {
      bootloader: { autoboot: "stop autoboot", interrupt: " ", prompt: "=> $", timeoutMs: 20_000 },
      linux: {
        command: "boot",
        user: "root",
        prompt: "lockstep:[^\\r\\n]*# $",
        timeoutMs: 20_000,
      },
      teeReady: { command: "true", timeoutMs: 20_000 },
    },
    ...overrides,
  };
}
