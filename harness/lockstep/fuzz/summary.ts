import { ABI_TABLES, type AbiKind, type CoverageData } from "./coverage.ts";

/** How much of one table of the ABI a campaign has reached. */
export interface AbiReached {
  readonly table: string;
  readonly reached: number;
  readonly of: number;
  readonly missing: readonly string[];
}

export function abiReached(coverage: CoverageData): AbiReached[] {
  const seen = new Map(coverage.ids);
  return Object.entries(ABI_TABLES).map(([kind, { name, ids }]) => {
    const reached = seen.get(kind as AbiKind) ?? [];
    const entries = Object.entries<number>(ids);
    const missing = entries.filter(([, id]) => !reached.includes(id));
    return {
      table: name,
      reached: entries.length - missing.length,
      of: entries.length,
      missing: missing.map(([id]) => id),
    };
  });
}
