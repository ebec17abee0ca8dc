import { expect, test } from "@jest/globals";
import { budget } from "../../../base/index.ts";
import { generator } from "../arbitrary.ts";
import { corpusFiles, corpusFolder } from "../corpus.ts";
import { STORED_PROGRAM } from "../program.ts";
import { mismatch } from "../shape.ts";
import { readStored } from "../stored.ts";
import { replayDifferential, runDifferential } from "./campaign.ts";
import {
  DIFFERENTIAL_PROGRAM,
  differentialProgram,
  forRealMachines,
  notDifferential,
} from "./program.ts";
import { PROGRAM_PLANTS } from "./testkit/plants.ts";
import { standIn } from "./testkit/stand-in.ts";

const SEED = 5;

test("two equal secure worlds do not differ, however hostile the guests", async () => {
  const { target, tas } = await standIn();
  const result = await runDifferential({ target, tas, rules: "strict", seed: SEED, runs: 12 });
  expect(result).toMatchObject({
    programs: 12,
    lost: 0,
    differing: 0,
    findings: [],
    interrupted: false,
  });
  expect(result.secureSmcs).toBeGreaterThan(500);
  expect(result.created).toBeGreaterThan(12);
});

test.each(PROGRAM_PLANTS.map((bug) => [bug.name, bug, bug.clause] as const))(
  "a planted bug is found, told with its clause and made small: %s",
  async (_name, plant, clause) => {
    const { target, tas } = await standIn();
    const options = { target, tas, rules: "strict", seed: SEED, plant } as const;
    const { findings } = await runDifferential({ ...options, runs: 10, trials: 30 });
    const found = findings.find(({ clauses }) => clauses[0] === clause);
    expect(found?.kind).toBe("divergence");
    expect(found?.program.steps.length).toBeLessThanOrEqual(8);
    if (found === undefined) return;
    const again = await replayDifferential(options, found.program);
    expect(again.finding?.key).toBe(found.key);
  },
);

test("one failure of the laboratory costs a program, two in a row end the campaign", async () => {
  const one = await standIn((run) => run === 1);
  const options = { rules: "strict", seed: SEED, runs: 4 } as const;
  const result = await runDifferential({ ...options, target: one.target, tas: one.tas });
  expect(result).toMatchObject({ programs: 3, lost: 1 });
  const two = await standIn((run) => run >= 1);
  await expect(
    runDifferential({ ...options, target: two.target, tas: two.tas }),
  ).rejects.toMatchObject({ exitCode: 3 });
  expect(two.runs()).toBe(3);
});

test("every program for real machines can be stored, read and made smaller as one", async () => {
  const generate = await generator(DIFFERENTIAL_PROGRAM);
  for (let seed = 0; seed < budget(40, 1000); seed += 1) {
    const program = differentialProgram(generate(seed));
    expect(mismatch(STORED_PROGRAM, program)).toBeUndefined();
    expect(notDifferential(program)).toBeUndefined();
  }
});

test("programs of the corpus that need nothing of an emulated machine are fit for real ones", () => {
  const fit = corpusFiles().filter((name) => {
    const { program } = readStored(`${corpusFolder}/${name}.json`);
    const real = forRealMachines(program);
    return real !== undefined && notDifferential(real) === undefined;
  });
  expect(fit).toContain("honest-guests");
  expect(fit.length).toBeGreaterThan(5);
});
