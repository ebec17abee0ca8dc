import { readFileSync } from "node:fs";
import { uptime } from "node:os";

/** Time as the guard measures it: no setting of the wall clock makes a code young again. */
export interface GuardClock {
  /** Wall time in milliseconds since the Unix epoch. */
  wallMs(): number;
  /** Milliseconds since the machine started, suspension included. */
  uptimeMs(): number;
  /** Changes with every start of the machine. */
  bootId(): string;
}

export const guardClock: GuardClock = {
  wallMs: () => Date.now(),
  uptimeMs: () => uptime() * 1000,
  bootId: () => {
    try {
      return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
    } catch {
      return "";
    }
  },
};
