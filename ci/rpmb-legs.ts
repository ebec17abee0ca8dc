import { type BoardConfig, listBoards, loadBoard } from "../harness/board/index.ts";
import { check, checkColumn, checkCompared, cli, countRun } from "./cli.ts";
import { jest } from "./jest.ts";
import { add, type Lane } from "./stages.ts";

/** xtest's cases of trusted storage: create, write, delete, all of the API, usage, large objects. */
const SHORT_STORAGE = ["6001", "6004", "6006", "6010", "6013", "6018"];
const WHOLE_STORAGE = 20;
/** What a case prints for the part of it that runs on RPMB storage (TEE_STORAGE_PRIVATE_RPMB). */
const ON_RPMB = "Storage id: 80000100";

/** Runs of suite rpmb that each board shares with the emulated platform, and clauses that they reach, at least. */
const FEWEST = { runs: 6, clauses: 30 } as const;
/** The same of a board whose OP-TEE is not built as most scenarios need it. */
const FEWEST_OF_VARIANT = { runs: 1, clauses: 1 } as const;

/** A build that only few scenarios are about: another hardware unique key, the test key, no leave to program. */
function isVariant({ rpmb }: BoardConfig): boolean {
  const { huk, writeKey, testKey, resetFat, compat } = rpmb?.optee ?? {};
  return (
    huk !== "zero-stub" || writeKey !== true || testKey === true || resetFat === true || !compat
  );
}

/** The boards with RPMB of all variants, by which a nightly run completes those that it names. */
export async function rpmbVariants(): Promise<string[]> {
  const variants: string[] = [];
  for (const { name } of await listBoards({ env: process.env })) {
    if (!name.startsWith("qemu-virt-rpmb")) continue;
    if (isVariant(await loadBoard(name, { env: process.env }))) variants.push(name);
  }
  return variants;
}

/** A Linux with an RPMB part that Lockstep serves: the key-read service, mmc-utils, OP-TEE's storage. */
export async function linuxRpmbLegs(lane: Lane, board: string): Promise<void> {
  const config = await loadBoard(board, { env: process.env });
  const { keyService, testKey, writeKey } = config.rpmb?.optee ?? {};
  if (keyService === true && testKey !== true && writeKey === true) {
    await lane.stage(`key-read service, ${board}`, async (abort) => {
      const counts = await jest("key-service", abort, { LOCKSTEP_TEST_KEY_BOARD: board });
      return { passed: counts.passed, failed: counts.failed + counts.skipped, skipped: 0 };
    });
  }
  if (isVariant(config)) return;
  await lane.stage(`board tests, ${board}`, async (abort) => {
    const counts = await jest("rpmb", abort);
    return { passed: counts.passed, failed: counts.failed + counts.skipped, skipped: 0 };
  });
  await lane.stage(`storage in xtest, ${board}`, async (abort) => {
    const nightly = process.env["LOCKSTEP_BUDGET"] === "nightly";
    const cases = nightly ? "6\\d{3}" : `(${SHORT_STORAGE.join("|")})`;
    const filter = `^xtest\\.regression_${cases}$`;
    const args = ["run", "--board", board, "--suite", "xtest", "--filter", filter, "--json"];
    const run = await cli(args, abort);
    const wanted = nightly ? WHOLE_STORAGE : SHORT_STORAGE.length;
    const own = run.document.cases.filter((one) => one.target === board);
    const onRpmb = own.filter(
      ({ status, subcases = [] }) =>
        status === "pass" &&
        subcases.some((each) => each.title === ON_RPMB && each.status === "pass"),
    );
    const text = `xtest on ${board}: ${onRpmb.length} of ${wanted} storage cases pass on RPMB storage`;
    return add(countRun(run, { exitCodes: [0] }), check(onRpmb.length === wanted, text));
  });
}

/**
 * Suite rpmb on boards whose OP-TEE has RPMB storage, against parts that Lockstep serves: frame by frame
 * as the model. What needs another build of OP-TEE is skipped there, with the reason.
 */
export async function rpmbLeg(lane: Lane, boards: readonly string[]): Promise<void> {
  await lane.stage(`scenarios of RPMB, ${boards.join(" ")}`, async (abort) => {
    const targets = ["emulated", ...boards];
    const run = await cli(["run", "--board", ...targets, "--suite", "rpmb", "--json"], abort);
    let counts = add(
      countRun(run, { exitCodes: [0] }),
      checkColumn(run, "emulated", FEWEST.clauses),
    );
    for (const board of boards) {
      const variant = isVariant(await loadBoard(board, { env: process.env }));
      const fewest = variant ? FEWEST_OF_VARIANT : FEWEST;
      counts = add(counts, checkCompared(run, board, fewest.runs));
      counts = add(counts, checkColumn(run, board, fewest.clauses));
    }
    return counts;
  });
}
