import type {
  Confirmation,
  DryRun,
  Hazard,
  Performed,
  Plan,
  Severity,
} from "../../../../provision/index.ts";
import type { Style } from "../../../style.ts";

/** What there is to tell of a plan. */
export interface PlanReport {
  readonly plan: Plan;
  readonly dryRun?: DryRun;
  readonly confirmation?: Confirmation;
  readonly performed?: Performed;
  /** The command line that performs the plan, but for the code and the CID. */
  readonly again: string;
  readonly ledger: string;
}

/** `lockstep rpmb provision --json`. */
export function planDocument({
  plan,
  dryRun,
  confirmation,
  performed,
  ledger,
}: PlanReport): object {
  return {
    ...plan,
    ...(dryRun !== undefined && { dryRun }),
    ...(confirmation !== undefined && { confirmation }),
    ledger,
    ...(performed !== undefined && {
      performed: {
        id: performed.id,
        verdict: performed.judgement.verdict,
        writeCounter: performed.judgement.counter?.value,
        note: performed.note,
        settled: performed.settled.map(({ id }) => id),
      },
    }),
  };
}

/** Nothing in it moves the cursor or colours the terminal, whatever a part or a file says. */
export const plain = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "?");

const label = (name: string, value: string): string => `  ${name.padEnd(9)} ${plain(value)}\n`;

/** The plan as people read it. */
export function planText(report: PlanReport, style: Style): string {
  const { plan, dryRun } = report;
  const { board, part, key } = plan;
  const life = board.lifeCycle === "unknown" ? "" : `, ${board.lifeCycle}`;
  const expendable = plan.needsExpendable
    ? board.expendable
      ? ", expendable"
      : ", not expendable"
    : "";
  return [
    `${style.bold(`Route ${plan.route}`)}: ${plan.title}\n\n`,
    label("board", `${board.name} (${board.soc}${life}${expendable}) ${board.file}`.trim()),
    part === undefined
      ? label("part", "not asked")
      : label("part", `${part.where}${part.emulated ? ", emulated by Lockstep" : ""}`),
    part === undefined ? "" : label("CID", part.cid),
    part === undefined ? "" : label("now", verdictText(part.verdict, part.keys)),
    label("key", key === undefined ? "not known" : `id ${key.id}: ${key.how}`),
    `\n${style.bold("Steps")}\n`,
    ...plan.steps.map(
      ({ title, commands, irreversible }, index) =>
        `  ${index + 1}. ${plain(title)}${irreversible === true ? style.red("  (cannot be undone)") : ""}\n${commands.map((one) => `       ${plain(one)}\n`).join("")}`,
    ),
    `\n${style.bold("What can go wrong")}\n`,
    ...plan.hazards.map((hazard) => hazardText(hazard, style)),
    dryRun === undefined ? "" : `\n${style.bold("Dry run")}\n  ${dryRun.text}\n`,
    `\n${endText(report, style)}`,
  ].join("");
}

function verdictText(verdict: string, keys: readonly string[]): string {
  if (verdict === "none programmed") return "blank, as it says: no key is programmed";
  if (verdict === "proven") return `it has the key of ${keys.join(" = ")}`;
  if (verdict === "none of these") return "it has a key, and none that is known here";
  return verdict;
}

const PAINT: Readonly<Record<Severity, "red" | "yellow" | "dim">> = {
  stop: "red",
  danger: "red",
  caution: "yellow",
  note: "dim",
};

function hazardText({ id, severity, what, mend, sources }: Hazard, style: Style): string {
  const head = style[PAINT[severity]](severity.padEnd(8));
  return `  ${head} ${plain(what)} [${id}; ${sources.join(", ")}]\n           ${plain(mend)}\n`;
}

function endText(
  { plan, confirmation, performed, again, ledger }: PlanReport,
  style: Style,
): string {
  if (performed !== undefined) {
    const { judgement, note, id, settled } = performed;
    const counter =
      judgement.counter === undefined ? "" : `, write counter ${judgement.counter.value}`;
    const closed = settled.map(
      (one) =>
        `An attempt of ${one.time} (${one.id}) was closed in the ledger: the part was blank.\n`,
    );
    const head =
      plan.key === undefined
        ? "The part has a key now; Lockstep does not know which."
        : `Programmed and proven: the part has the key ${plan.key.id}${counter}.`;
    return `${style.green(head)}\n${plain(note)}\nEntry ${id} of ${ledger}\n${closed.join("")}`;
  }
  if (confirmation !== undefined) {
    return `To perform it, once and until ${confirmation.expires}, with the CID typed in full:\n  ${again} --perform --code ${confirmation.code} --cid …\n`;
  }
  const [first, ...more] = plan.obstacles;
  if (first === undefined) return "";
  return `${style.red("It is not performed:")} ${[first, ...more].map(plain).join("; ")}.\n`;
}
