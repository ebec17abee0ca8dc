import type { Clause, ClauseConduit, SheetName } from "./model.ts";

type Extras = Pick<Clause, "condition" | "conduit" | "placement" | "reason">;

/** What a wrongly written line throws: a mistake in a catalogue file, seen by its first test. */
const wrong = (line: string, why: string): Error =>
  new Error(`clause catalogue: ${why}: ${JSON.stringify(line)}`);

const ONE_OF = {
  conduit: ["direct", "hwdom", "vm"],
  placement: ["hypervisor", "vmm"],
} as const;

function readExtras(columns: readonly string[], line: string): Extras {
  let extras: Extras = {};
  for (const column of columns) {
    const [, key = "", value = ""] = /^(\w+): (.+)$/.exec(column) ?? [];
    if (key === "when") extras = { ...extras, condition: value };
    else if (key === "out") extras = { ...extras, reason: value };
    else if (key === "conduit" && ONE_OF.conduit.some((known) => known === value)) {
      extras = { ...extras, conduit: value as ClauseConduit };
    } else if (key === "placement" && ONE_OF.placement.some((known) => known === value)) {
      extras = { ...extras, placement: value as "hypervisor" | "vmm" };
    } else throw wrong(line, "unknown column");
  }
  return extras;
}

/** A row's source: its own, or its section's with another symbol (`: symbol`). */
const sourceOf = (own: string, section: string): string =>
  own.startsWith(":") ? section.replace(/:.*$/, "") + own : own === "" ? section : own;

function idOf(sheet: SheetName, section: string, name: string): string {
  if (name === "-") return `${sheet}-${section}`;
  return /^\d{3}$/.test(name) ? `${sheet}-${name}` : `${sheet}-${section}.${name}`;
}

/**
 * Reads a sheet's clauses from lines
 *
 *     ## section | source | extras
 *     name [level] | summary | source | extras
 *
 * where `name` is a rule's number, a row's name, or `-` for a section that is one rule; `source` may
 * be empty (the section's) or `: symbol` (the section's file); extras are `when:` (condition),
 * `conduit:`, `placement:`, `out:` (out of scope, and why). Throws on anything else and on an id that
 * comes twice.
 */
export function readSheet(sheet: SheetName, text: string): readonly Clause[] {
  const clauses = new Map<string, Clause>();
  let section: { number: string; source: string; extras: Extras } | undefined;
  for (const line of text.split("\n").filter((candidate) => candidate.trim() !== "")) {
    const columns = line.split("|").map((column) => column.trim());
    const [head = "", second = "", third = "", ...rest] = columns;
    if (head.startsWith("## ")) {
      const extras = readExtras(columns.slice(2), line);
      section = { number: head.slice(3), source: second, extras };
      continue;
    }
    const match = /^(-|\d+|[A-Z][A-Z0-9_]*)(?: ([RSD]))?$/.exec(head);
    if (match === null || section === undefined) throw wrong(line, "not a clause");
    if (second === "") throw wrong(line, "no summary");
    const [, name = "", level] = match;
    const id = idOf(sheet, section.number, name);
    if (clauses.has(id)) throw wrong(line, `second ${id}`);
    const extras = { ...section.extras, ...readExtras(rest, line) };
    clauses.set(id, {
      id,
      sheet,
      section: section.number,
      ...(level === undefined ? {} : { level: level as "R" | "S" | "D" }),
      ...extras,
      summary: second,
      source: sourceOf(third, section.source),
      status: extras.reason === undefined ? "implemented" : "out-of-scope",
    });
  }
  return [...clauses.values()];
}
