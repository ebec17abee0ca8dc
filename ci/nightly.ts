import { boardLegs, matrixLeg } from "./board-legs.ts";
import { cli, countRun } from "./cli.ts";
import { fuzz } from "./fuzz.ts";
import { jest } from "./jest.ts";
import { rpmbVariants } from "./rpmb-legs.ts";
import { Lane } from "./stages.ts";

// `npm run nightly`: the code of `npm test` with the large budgets for property tests and stress.

const LIMIT_MINUTES = 8 * 60;
/** For each rule set. */
const FUZZ_TIME = "10m";

async function main(): Promise<number> {
  process.env["LOCKSTEP_BUDGET"] = "nightly";
  const boards = await withVariants(
    (process.env["LOCKSTEP_BOARDS"] ?? "qemu-virt").split(/[\s,]+/),
  );
  const lane = new Lane(LIMIT_MINUTES);
  await lane.stage("unit tests, large budgets", async (abort) => await jest("unit", abort));
  await lane.stage("suites, emulated", async (abort) =>
    countRun(await cli(["run", "--json"], abort), { exitCodes: [0] }),
  );
  await lane.stage("fuzz, large", async (abort) => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    process.stdout.write(`a fresh seed: ${seed}\n`);
    return await fuzz(seed, ["--time", FUZZ_TIME], abort);
  });
  for (const board of boards) await boardLegs(lane, board);
  await matrixLeg(lane, boards);
  // Skipped, with the reason, where LOCKSTEP_QEMU_IMX8MP names no QEMU that has the machine.
  if (boards.length > 0) {
    await lane.stage("agent, i.MX8M Plus", async (abort) => await jest("imx", abort));
  }
  return lane.close();
}

/** The boards named, and with the one whose OP-TEE has RPMB those of its other builds. */
async function withVariants(named: readonly string[]): Promise<string[]> {
  const more = named.includes("qemu-virt-rpmb") ? await rpmbVariants() : [];
  return [...new Set([...named, ...more])].filter((name) => name !== "");
}

process.exit(await main());
