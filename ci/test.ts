import { boardLegs, matrixLeg } from "./board-legs.ts";
import { cli, countRun } from "./cli.ts";
import { fuzz } from "./fuzz.ts";
import { jest } from "./jest.ts";
import { Lane } from "./stages.ts";

// `npm test`: unit tests, every suite on the emulated platform and a small fuzz campaign; then the
// legs of the boards that LOCKSTEP_BOARDS names, which are thereby mandatory.

const DEFAULT_LIMIT_MINUTES = 75;
/** About six seconds for each rule set on two idle cores. */
const FUZZ = { seed: 1, amount: ["--runs", "1000"] } as const;

async function main(): Promise<number> {
  const limit = Number(process.env["LOCKSTEP_TEST_LIMIT_MINUTES"] ?? DEFAULT_LIMIT_MINUTES);
  const boards = (process.env["LOCKSTEP_BOARDS"] ?? "")
    .split(/[\s,]+/)
    .filter((name) => name !== "");
  const lane = new Lane(limit);
  await lane.stage("unit tests", async (abort) => await jest("unit", abort));
  await lane.stage("suites, emulated", async (abort) =>
    countRun(await cli(["run", "--json"], abort), { exitCodes: [0] }),
  );
  await lane.stage("fuzz, small", async (abort) => await fuzz(FUZZ.seed, FUZZ.amount, abort));
  for (const board of boards) await boardLegs(lane, board);
  await matrixLeg(lane, boards);
  // Skipped, with the reason, where LOCKSTEP_QEMU_IMX8MP names no QEMU that has the machine.
  if (boards.length > 0) {
    await lane.stage("agent, i.MX8M Plus", async (abort) => await jest("imx", abort));
  }
  return lane.close();
}

process.exit(await main());
