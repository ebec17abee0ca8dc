/** What a campaign has reached: clauses by the mediator's trace, ids of the ABI that were used. */
export class Coverage {
  readonly clauses = new Set<string>();
  /** `smc`, `return`, `port`, `message`, `rpc` with the number, as `smc 2986409989`. */
  readonly ids = new Map<AbiKind, Set<number>>();

  clause(id: string): void {
    this.clauses.add(id);
  }

  abi(kind: AbiKind, id: number): void {
    let seen = this.ids.get(kind);
    if (seen === undefined) this.ids.set(kind, (seen = new Set()));
    // Made-up numbers are not worth remembering.
    if (seen.size < MAX_IDS) seen.add(id);
  }

  add(other: CoverageData): void {
    for (const id of other.clauses) this.clauses.add(id);
    for (const [kind, ids] of other.ids) for (const id of ids) this.abi(kind, id);
  }

  data(): CoverageData {
    return {
      clauses: [...this.clauses],
      ids: [...this.ids].map(([kind, ids]) => [kind, [...ids]] as const),
    };
  }
}

const MAX_IDS = 4096;

export type AbiKind = "smc" | "return" | "port" | "message" | "rpc";

export interface CoverageData {
  readonly clauses: readonly string[];
  readonly ids: readonly (readonly [AbiKind, readonly number[]])[];
}
