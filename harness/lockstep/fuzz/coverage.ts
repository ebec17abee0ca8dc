import { MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../../optee-abi/index.ts";

/** The tables of the ABI that coverage is told of, each with its name for people. */
export const ABI_TABLES = {
  smc: { name: "functions", ids: OPTEE_SMC },
  return: { name: "return codes", ids: SMC_RETURN },
  message: { name: "message commands", ids: MSG_CMD },
  rpc: { name: "RPC commands", ids: RPC_CMD },
} as const satisfies Record<string, { name: string; ids: Readonly<Record<string, number>> }>;

export type AbiKind = keyof typeof ABI_TABLES;

const KNOWN = new Map<string, ReadonlySet<number>>(
  Object.entries(ABI_TABLES).map(([kind, { ids }]) => [kind, new Set<number>(Object.values(ids))]),
);

/** What a campaign has reached: clauses by the mediator's trace, ids of the ABI that were used. */
export class Coverage {
  readonly clauses = new Set<string>();
  readonly #ids = new Map<AbiKind, Set<number>>();

  clause(id: string): void {
    this.clauses.add(id);
  }

  /** An id was used; numbers that the table does not have are not remembered. */
  abi(kind: AbiKind, id: number): void {
    if (KNOWN.get(kind)?.has(id) !== true) return;
    const seen = this.#ids.get(kind);
    if (seen === undefined) this.#ids.set(kind, new Set([id]));
    else seen.add(id);
  }

  add(other: CoverageData): void {
    for (const id of other.clauses) this.clauses.add(id);
    for (const [kind, ids] of other.ids) for (const id of ids) this.abi(kind, id);
  }

  /** Sorted, so that equal coverage is equal data. */
  data(): CoverageData {
    const ids = [...this.#ids].map(
      ([kind, seen]) => [kind, [...seen].toSorted((a, b) => a - b)] as const,
    );
    return {
      clauses: [...this.clauses].toSorted(),
      ids: ids.toSorted(([a], [b]) => a.localeCompare(b)),
    };
  }
}

export interface CoverageData {
  readonly clauses: readonly string[];
  readonly ids: readonly (readonly [AbiKind, readonly number[]])[];
}
