import { MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../../optee-abi/index.ts";
import type { AbiKind, CoverageData } from "./coverage.ts";

const KNOWN: readonly (readonly [AbiKind, string, Readonly<Record<string, number>>])[] = [
  ["smc", "functions", OPTEE_SMC],
  ["return", "return codes", SMC_RETURN],
  ["message", "message commands", MSG_CMD],
  ["rpc", "RPC commands", RPC_CMD],
];

/** How many ids of each table of the ABI a campaign has reached, and which it has not. */
export function abiReached(coverage: CoverageData): {
  readonly table: string;
  readonly reached: number;
  readonly of: number;
  readonly missing: string[];
}[] {
  const seen = new Map(coverage.ids.map(([kind, ids]) => [kind, new Set(ids)]));
  return KNOWN.map(([kind, table, ids]) => {
    const entries = Object.entries(ids);
    const missing = entries.filter(([, id]) => seen.get(kind)?.has(id) !== true);
    return {
      table,
      reached: entries.length - missing.length,
      of: entries.length,
      missing: missing.map(([name]) => name),
    };
  });
}
