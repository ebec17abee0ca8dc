import type { Difference } from "../../run/index.ts";
import type { ClauseRow } from "./clause-row.ts";
import { CLAUSE_ROWS } from "./clause-table.ts";
import type { CanonicalRecord } from "./model.ts";

export interface DifferencePlace {
  /** The record that is on one side only, or its left. */
  readonly record: CanonicalRecord;
  readonly left: CanonicalRecord | undefined;
  readonly right: CanonicalRecord | undefined;
  readonly conduit: string;
  /** Whether records behind the mediator were compared too. */
  readonly port: boolean;
  /** Clauses that the scenario names. */
  readonly clauses: readonly string[];
}

/** Longest list of clauses of one difference. */
const MAX_CLAUSES = 6;

/**
 * The catalogue ids that a difference may touch, best first: what the table has for it, and of that
 * first what the scenario names. Where the table has nothing, what the scenario names.
 */
export function clausesOfDifference(difference: Difference, place: DifferencePlace): string[] {
  const origins = originsOf(difference, place);
  const rows = origins.flatMap((from) =>
    CLAUSE_ROWS.filter((row) => row.from === undefined || row.from === from).filter((row) =>
      matches(row, difference, place),
    ),
  );
  const candidates = [...new Set(rows.flatMap(({ clauses }) => clauses))];
  const named = candidates.filter((id) => place.clauses.includes(id));
  const rest = candidates.filter((id) => !place.clauses.includes(id));
  const found = candidates.length === 0 ? place.clauses : [...named, ...rest];
  return found.slice(0, MAX_CLAUSES);
}

/** Who made what differs, likeliest first. */
function originsOf(
  { where, phase, kind, call }: Difference,
  { conduit, port }: DifferencePlace,
): readonly NonNullable<ClauseRow["from"]>[] {
  if (kind === "end" || kind === "result") return [];
  const mediated = conduit === "vm";
  if (kind === "guest") return mediated ? ["mediator", "secure"] : ["secure"];
  const alone = kind === "missing call" || kind === "extra call";
  // A call that only one side has was made because of an answer; its RPCs are the secure world's own.
  if (alone) {
    if (call.startsWith("RPC ")) return mediated && !port ? ["secure", "mediator"] : ["secure"];
    return mediated && where === "port" ? ["mediator", "normal"] : ["normal"];
  }
  if (phase === "enter") return where === "port" ? ["mediator"] : ["normal"];
  if (where === "port" || !mediated) return ["secure"];
  // Behind the mediator all was equal: it is the mediator's. Where nothing is known of that, perhaps.
  return port ? ["mediator"] : ["mediator", "secure"];
}

function matches(row: ClauseRow, { kind, fields }: Difference, place: DifferencePlace): boolean {
  const { left, right, record } = place;
  // What stands in the place of a record that is on one side only has nothing to do with it.
  const alone = kind === "missing call" || kind === "extra call";
  const sides = !alone && left?.outline === right?.outline ? [left, right] : [record];
  const topics = sides.flatMap((one) => (one === undefined ? [] : [one.topic]));
  const any = (
    wanted: readonly number[] | undefined,
    key: keyof CanonicalRecord["topic"],
  ): boolean =>
    wanted === undefined ||
    topics.some((topic) => {
      const value = topic[key];
      return value !== undefined && wanted.includes(value);
    });
  return (
    (row.kinds === undefined || row.kinds.includes(kind)) &&
    (row.field === undefined || row.field.test(fields[0]?.field ?? "")) &&
    any(row.fids, "fid") &&
    any(row.cmds, "cmd") &&
    any(row.rpcs, "rpc") &&
    any(row.operations, "operation") &&
    any(row.addresses, "address") &&
    any(row.codes, "a0") &&
    any(row.results, "ret")
  );
}
