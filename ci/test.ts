import { boardLegs } from "./board-legs.ts";
import { cli, countRun } from "./cli.ts";
import { jest } from "./jest.ts";
import { Lane } from "./stages.ts";

// `npm test`: unit tests and every suite on the emulated platform; then the legs of the boards that
// LOCKSTEP_BOARDS names, which are thereby mandatory.

const DEFAULT_LIMIT_MINUTES = 75;

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
  for (const board of boards) await boardLegs(lane, board);
  return lane.close();
}

process.exit(await main());
