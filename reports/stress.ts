import { MEMORY_OPERATIONS, type StressReport } from "../harness/run/index.ts";

const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? "" : "s"}`;

/** What the stress of a run did, a heading and one line for each operation. */
export function describeStress({ kind, machines, vms, operations }: StressReport): string[] {
  const lines = MEMORY_OPERATIONS.map((name) => {
    const { attempts, waits, completions } = operations[name];
    const waited = waits === 0 ? "" : `, ${waits} had to wait for pins`;
    return `${name.padEnd(9)} ${plural(attempts, "attempt")}, ${completions} completed${waited}`;
  });
  return [`stress ${kind}: ${plural(vms, "VM")} of ${plural(machines, "machine")}`, ...lines];
}
