import { expect, test } from "@jest/globals";
import { budget } from "../../base/index.ts";
import { RULE_SETS, type RuleSet } from "../../mediator/index.ts";
import { MED_CLAUSES } from "../clauses/med.ts";
import { generator } from "./arbitrary.ts";
import { type Batch, programSeed, runBatch } from "./batch.ts";
import { EXCUSES, excusesOf, INVARIANTS, type Invariant } from "./invariants.ts";
import { type Program, PROGRAM, tidy } from "./program.ts";
import { runProgram } from "./run-program.ts";
import { shrink } from "./shrink.ts";
import { PLANTS, type Plant, withRules } from "./testkit/plants.ts";

const SEED = 1;
const generate = await generator(PROGRAM);

interface Found {
  readonly program: number;
  readonly invariant: Invariant;
  readonly steps: number;
}

/** The first program that breaks something, and how small it becomes. */
function hunt(plant: Plant["options"], budgetOf: number): Found | undefined {
  for (let index = 0; index < budgetOf; index += 1) {
    const program = tidy(generate(programSeed(SEED, index)));
    const broken = (candidate: Program) =>
      runProgram(candidate, { rules: "strict", ...plant }).violations[0];
    const violation = broken(program);
    if (violation === undefined) continue;
    const { invariant, step } = violation;
    const cut = { ...program, steps: program.steps.slice(0, step + 1) };
    const least = shrink(cut, (one) => broken(one)?.invariant === invariant);
    return { program: index, invariant, steps: least.steps.length };
  }
  return undefined;
}

test.each(PLANTS.map((plant) => [plant.name, plant] as const))(
  "a planted bug is found within 60 programs, and five steps show it: %s",
  (_name, plant) => {
    const found = hunt(plant.options, 60);
    expect(plant.breaks).toContain(found?.invariant);
    expect(found?.steps).toBeLessThanOrEqual(5);
  },
);

/** Which clauses each switch of a rule set stands for. */
const SWITCHES: Partial<Record<keyof RuleSet, readonly string[]>> = {
  keepA0OnTooManyParams: ["MED-046"],
  keepBuffersOfRefusedMessage: ["MED-052"],
  truncatePageCount: ["MED-067"],
  leakPageQuota: ["MED-068"],
  freeByGuestCookie: ["MED-085"],
  keepTemporaryCookie: ["MED-084"],
  completeOnThreadLimit: ["MED-086"],
  loseCopyBackError: ["MED-090"],
  answerLostRpcWithRpcCode: ["MED-106"],
  naiveRpcAlloc: ["MED-123", "MED-124"],
  trustRpcReply: ["MED-107", "MED-131", "MED-135", "MED-141", "MED-147"],
  unpinBeforeDestroy: ["MED-166"],
};

test.each(Object.entries(SWITCHES))(
  "strict rules with the one switch %s break what its clauses excuse, and nothing else",
  (name, clauses) => {
    const backEnds = [withRules({ [name]: true })];
    const allowed = EXCUSES.filter(({ clause }) => clauses.includes(clause)).flatMap(
      ({ invariants }) => invariants,
    );
    const seen = new Set<Invariant>();
    // A few programs more after the first that finds something.
    for (
      let index = 0, more = budget(20, 5000);
      index < budget(400, 5000) && more > 0;
      index += 1
    ) {
      const program = tidy(generate(programSeed(SEED, index)));
      const { violations } = runProgram(program, { rules: "strict", backEnds });
      for (const { invariant } of violations) seen.add(invariant);
      if (seen.size > 0) more -= 1;
    }
    expect(seen.size).toBeGreaterThan(0);
    for (const invariant of seen) expect(allowed).toContain(invariant);
  },
);

const campaign = (rules: "xen" | "strict" | "kvm", to: number): Batch =>
  runBatch({ rules, seed: SEED, generate }, 0, to);

test("MED-046, MED-052, MED-067, MED-068, MED-085, MED-106, MED-131, MED-135, MED-141, MED-166: under xen the campaign finds them", () => {
  const { findings } = campaign("xen", budget(100, 4000));
  const found = findings.map(({ invariant }) => invariant);
  expect(found).toEqual(
    expect.arrayContaining([
      "answered",
      "temporary-ends",
      "lists-are-ours",
      "quota-exact",
      "shared-is-pinned",
      "call-form",
      "no-stuck-call",
      "secure-reach",
      "no-foreign-data",
      "pinned-until-forgotten",
    ]),
  );
  // Nothing that no clause of the rule set stands for.
  expect(found.filter((invariant) => excusesOf(invariant, "xen").length === 0)).toEqual([]);
});

test.each(["strict", "kvm"] as const)("under %s no program breaks an invariant", (rules) => {
  const batch = campaign(rules, budget(50, 5000));
  expect(batch.findings).toEqual([]);
  // A campaign that stays at the door would prove nothing.
  expect(batch.smcs).toBeGreaterThan(50 * batch.programs);
  expect(batch.deaths).toBeGreaterThan(batch.programs);
  expect(batch.coverage.clauses).toEqual(
    expect.arrayContaining(["MED-106", "MED-121", "MED-131", "MED-141", "MED-142", "MED-143"]),
  );
});

test("every excuse names a clause of the catalogue that describes a defect, and only xen has any", () => {
  const known = new Set(MED_CLAUSES.map(({ id }) => id));
  for (const { clause, rules, invariants } of EXCUSES) {
    expect(known).toContain(clause);
    expect(rules).toBe("xen");
    expect(invariants.every((one) => Object.hasOwn(INVARIANTS, one))).toBe(true);
  }
  expect(Object.keys(RULE_SETS)).toEqual(["xen", "strict", "kvm"]);
});
