/** Kinds of stress that a run can be put under. */
export const STRESS_KINDS = ["memory"] as const;
export type StressKind = (typeof STRESS_KINDS)[number];

/** What is done to the memory of VMs under pressure. */
export const MEMORY_OPERATIONS = ["balloon", "refill", "donation", "migration"] as const;
export type MemoryOperation = (typeof MEMORY_OPERATIONS)[number];

export interface OperationCounts {
  attempts: number;
  /** Attempts that had to wait because somebody held a pin on the page. */
  waits: number;
  /** Attempts that went through, at once or after waiting. */
  completions: number;
}

/** What a kind of stress did. */
export interface StressReport {
  readonly kind: StressKind;
  /** Emulated machines, one for each scenario that was run. */
  readonly machines: number;
  /** VMs that were under pressure; a machine without a mediator has none. */
  readonly vms: number;
  readonly operations: Readonly<Record<MemoryOperation, Readonly<OperationCounts>>>;
}

const NOTHING: OperationCounts = { attempts: 0, waits: 0, completions: 0 };

export function noStress(kind: StressKind): StressReport {
  const operations = { balloon: NOTHING, refill: NOTHING, donation: NOTHING, migration: NOTHING };
  return { kind, machines: 0, vms: 0, operations };
}

/** Both together. */
export function addStress(a: StressReport, b: StressReport): StressReport {
  const sum = (name: MemoryOperation): OperationCounts => {
    const [one, other] = [a.operations[name], b.operations[name]];
    return {
      attempts: one.attempts + other.attempts,
      waits: one.waits + other.waits,
      completions: one.completions + other.completions,
    };
  };
  return {
    kind: a.kind,
    machines: a.machines + b.machines,
    vms: a.vms + b.vms,
    operations: {
      balloon: sum("balloon"),
      refill: sum("refill"),
      donation: sum("donation"),
      migration: sum("migration"),
    },
  };
}
