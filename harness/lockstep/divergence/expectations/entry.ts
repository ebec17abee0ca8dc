import type { Difference, FieldDifference } from "../../../run/index.ts";

/** A scalar as YAML takes it anywhere: JSON's strings are YAML's. */
const quoted = (text: string): string => JSON.stringify(text);

const field = ({ field: name, left, right }: FieldDifference): string =>
  `        ${quoted(name)}: { left: ${quoted(left)}, right: ${quoted(right)} }`;

/** The day `months` after an ISO date, for an entry that is written today. */
function monthsAfter(today: string, months: number): string {
  const day = new Date(`${today}T00:00:00Z`);
  day.setUTCMonth(day.getUTCMonth() + months, 1);
  return day.toISOString().slice(0, 10);
}

const MONTHS = 6;

/**
 * An entry for a difference, ready to paste below `divergences:`. What only a person can say (why, who)
 * is left to be filled in: as it stands, it is refused.
 */
export function expectationEntry(
  difference: Difference,
  of: {
    readonly caseId: string;
    readonly versions: Readonly<Record<string, string>>;
    readonly today: string;
  },
): string {
  const { kind, call, phase, where, guest, fields, calls, clauses } = difference;
  const id = of.caseId
    .toLowerCase()
    .replaceAll(/[^a-z0-9.]+/g, "-")
    .slice(0, 60)
    .replaceAll(/[-.]+$/g, "");
  const versions = Object.entries(of.versions).map(
    ([software, version]) => `${software}: ${quoted(version)}`,
  );
  const lines = [
    `  - id: ${id}`,
    ...(versions.length === 0 ? [] : [`    versions: { ${versions.join(", ")} }`]),
    `    cases: [${quoted(of.caseId)}]`,
    "    what:",
    `      kind: ${kind}`,
    `      call: ${quoted(call)}`,
    ...(phase === undefined ? [] : [`      phase: ${phase}`]),
    ...(where === undefined ? [] : [`      where: ${where}`]),
    ...(guest === undefined ? [] : [`      guest: ${guest}`]),
    ...(fields.length === 0 ? [] : ["      fields:", ...fields.map((one) => field(one))]),
    ...(calls === undefined
      ? []
      : ["      calls:", ...calls.map((one) => `        - ${quoted(one)}`)]),
    `    clause: ${clauses[0] ?? ""}`,
    "    reason: ",
    "    owner: ",
    `    expires: ${monthsAfter(of.today, MONTHS)}`,
    "",
  ];
  return lines.join("\n");
}
