import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../harness/base/index.ts";
import { check, checkColumn, checkCompared, cli, type CliRun, countRun } from "./cli.ts";
import { fuzzOnBoard } from "./fuzz.ts";
import { jest } from "./jest.ts";
import { loadBoard } from "../harness/board/index.ts";
import { BundleReader, readTimeline } from "../harness/run/index.ts";
import { linuxRpmbLegs, rpmbLeg } from "./rpmb-legs.ts";
import { add, type Counts, type Lane, show } from "./stages.ts";

/** Cases of xtest 4.5 that run at level 0 in the suites regression and pkcs11. */
const WHOLE_XTEST = 139;
const HANG_CASE = "xtest.regression_1006";
/** 1007 to 1009 hang with that CPU too; this is the next case that does not. */
const AFTER_HANG = "xtest.regression_1015";

/** What of xtest runs behind Xen: self tests, sessions, concurrency, PKCS#11. The whole takes 450 s. */
const SHORT_XTEST = [
  "regression_1001",
  "regression_1004",
  "regression_1013",
  "pkcs11_1001",
  "pkcs11_1013",
];
/** The small amount takes under two minutes on two cores. */
const BOARD_FUZZ = { seed: 1, small: ["--runs", "40"], large: ["--time", "10m"] } as const;
/** The suites whose scenarios real secure worlds are put to. */
const SCENARIOS = ["smc-abi", "normal-world", "mediator", "fuzz"];

/** Everything that needs a real board; named boards are mandatory, so nothing here may be skipped. */
export async function boardLegs(lane: Lane, board: string): Promise<void> {
  let imageDir = "";
  await lane.stage(`prepare ${board}`, async (abort) => {
    const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
    const { exitCode, stdout } = await show(
      process.execPath,
      [main, "prepare", board, "--json"],
      abort,
      { quiet: true },
    );
    if (exitCode !== 0) throw new Error(`lockstep prepare ${board} exited ${exitCode}`);
    imageDir = (JSON.parse(stdout) as { dir: string }).dir;
    return { passed: 1, failed: 0, skipped: 0 };
  });
  const { xtest, bridge, conduits, rpmb } = await loadBoard(board, { env: process.env });
  if (bridge?.guest !== undefined) {
    await guestLegs(lane, board, imageDir);
    return;
  }
  // The fuzzer's model is Debian's own virtualized build, which has no RPMB.
  if (conduits.includes("vm") && bridge !== undefined && rpmb === undefined) {
    const nightly = process.env["LOCKSTEP_BUDGET"] === "nightly";
    const seed = nightly ? Math.floor(Math.random() * 2 ** 32) : BOARD_FUZZ.seed;
    const amount = nightly ? BOARD_FUZZ.large : BOARD_FUZZ.small;
    await lane.stage(
      `fuzz, ${board}`,
      async (abort) => await fuzzOnBoard(board, seed, amount, abort),
    );
  }
  if (xtest === undefined) return;
  if (rpmb?.emulated !== undefined) {
    await linuxRpmbLegs(lane, board);
    return;
  }
  await lane.stage(`board tests, ${board}`, async (abort) => {
    const counts = await jest("boards", abort, { LOCKSTEP_TEST_IMAGE: imageDir });
    // A board that was named is there: a skipped board test means that nothing was proved.
    return { passed: counts.passed, failed: counts.failed + counts.skipped, skipped: 0 };
  });
  await lane.stage(`full xtest, ${board}`, async (abort) => await fullXtest(board, abort));
  await lane.stage(`hang in regression_1006, ${board}`, async (abort) => await hang(board, abort));
}

/**
 * Every scenario on the emulated platform and on all boards that have conduits, in one run: each board
 * agrees with the model, and the clause matrix has a column for each.
 */
export async function matrixLeg(lane: Lane, boards: readonly string[]): Promise<void> {
  const bridged: string[] = [];
  const withRpmb: string[] = [];
  for (const name of boards) {
    const { conduits, rpmb } = await loadBoard(name, { env: process.env });
    if (conduits.length > 0) (rpmb === undefined ? bridged : withRpmb).push(name);
  }
  if (withRpmb.length > 0) await rpmbLeg(lane, withRpmb);
  if (bridged.length === 0) return;
  await lane.stage(`scenarios, ${bridged.join(" ")}`, async (abort) => {
    const targets = ["emulated", ...bridged];
    const args = ["--board", ...targets, "--suite", ...SCENARIOS, "--json"];
    const run = await cli(["run", ...args], abort);
    return [
      ...bridged.map((board) => checkCompared(run, board)),
      ...targets.map((target) => checkColumn(run, target)),
    ].reduce(add, countRun(run, { exitCodes: [0] }));
  });
}

/** A board with a hypervisor of its own: a part of xtest in its dom0. */
async function guestLegs(lane: Lane, board: string, imageDir: string): Promise<void> {
  await lane.stage(`board tests, ${board}`, async (abort) => {
    const counts = await jest("xen", abort, { LOCKSTEP_TEST_XEN_IMAGE: imageDir });
    return { passed: counts.passed, failed: counts.failed + counts.skipped, skipped: 0 };
  });
  await lane.stage(`short xtest, ${board}`, async (abort) => {
    const filter = `^xtest\\.(${SHORT_XTEST.join("|")})$`;
    const args = ["run", "--board", board, "--suite", "xtest", "--filter", filter, "--json"];
    const run = await cli(args, abort);
    const ran = run.document.cases.filter((one) => one.target === board && one.status === "pass");
    const text = `xtest in dom0 of ${board}: ${ran.length} of ${SHORT_XTEST.length} cases pass`;
    return add(countRun(run, { exitCodes: [0] }), check(ran.length === SHORT_XTEST.length, text));
  });
}

/** The whole of xtest: every case, and a count of assertions that was held against a recorded range. */
async function fullXtest(board: string, abort: AbortSignal): Promise<Counts> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-xtest-"));
  try {
    const out = path.join(scratch, "bundle");
    const args = ["run", "--board", board, "--suite", "xtest", "--json", "--out", out];
    const run = await cli(args, abort);
    const { totals } = await readTimeline(await BundleReader.open(out));
    const [own] = totals.filter(({ target }) => target === board);
    const { seen = 0, min, max } = own?.subtests ?? {};
    const inRange = min !== undefined && max !== undefined && min <= seen && seen <= max;
    const text = `xtest on ${board}: ${own?.cases ?? 0} cases, ${own?.failed ?? "?"} failed, ${seen} subtests, recorded ${min ?? "?"} to ${max ?? "?"}`;
    const good = own?.cases === WHOLE_XTEST && own.failed === 0 && inRange;
    return add(countRun(run, { exitCodes: [0] }), check(good, text));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** With `-cpu max` regression_1006 never ends: it must cost that one case, no other, and say so. */
async function hang(board: string, abort: AbortSignal): Promise<Counts> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-hang-"));
  try {
    const file = path.join(scratch, "hang.yaml");
    await writeFile(
      file,
      `type: ${board}\nimage: ${board}\nqemu:\n  cpu: max\nxtest:\n  case_timeout: 120s\n`,
    );
    const filter = "xtest.regression_(1005|1006|1015)$";
    const run = await cli(
      ["run", "--board", file, "--suite", "xtest", "--filter", filter, "--json"],
      abort,
    );
    return judgeHang(run);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function judgeHang(run: CliRun): Counts {
  const statusOf = (id: string): string =>
    run.document.cases.find((entry) => entry.target === "hang" && entry.id === id)?.status ??
    "absent";
  const checks: [string, boolean][] = [
    [`exit code ${run.exitCode} is 4 or 5`, run.exitCode === 4 || run.exitCode === 5],
    [
      `${HANG_CASE} is ${statusOf(HANG_CASE)}: timeout or crash`,
      ["timeout", "crash"].includes(statusOf(HANG_CASE)),
    ],
    [`${AFTER_HANG} is ${statusOf(AFTER_HANG)}: pass`, statusOf(AFTER_HANG) === "pass"],
  ];
  for (const [text, ok] of checks) process.stdout.write(`${ok ? "ok" : "not ok"} ${text}\n`);
  const passed = checks.filter(([, ok]) => ok).length;
  return { passed, failed: checks.length - passed, skipped: 0 };
}
