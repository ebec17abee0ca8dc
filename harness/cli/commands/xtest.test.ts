import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, jest, test } from "@jest/globals";
import { EXIT, packageRoot } from "../../base/index.ts";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";

const LOG = path.join(
  packageRoot,
  "harness",
  "xtest",
  "testdata",
  "xtest-4.5.0-qemu-virt.console.raw",
);
const log = readFileSync(LOG);
// Each test starts the real command, some of them several times, on a machine that may be busy.
jest.setTimeout(60_000);
const cleanups: (() => void)[] = [];
afterAll(() => {
  for (const remove of cleanups) remove();
});
const folder = (): string => temporaryFolder((remove) => cleanups.push(remove));

interface Document {
  readonly verdict: string;
  readonly exitCode: number;
  readonly totals: object;
  readonly statuses: object;
  readonly expected: object | null;
  readonly runs: readonly { readonly subtests: object; readonly problems: readonly object[] }[];
  readonly cases: readonly { readonly id: string; readonly status: string }[];
}

const parsed = (stdout: Buffer): Document => JSON.parse(stdout.toString()) as Document;

test("parse --json gives the totals of a real log, every case, and exit code 0", async () => {
  const args = ["xtest", "parse", LOG, "--json", "--board", "qemu-virt", "--optee", "4.5.0"];
  const { code, stdout, stderr } = await lockstep(args);
  expect(stderr).toBe("");
  expect(code).toBe(EXIT.ok);
  const document = parsed(stdout);
  expect(document).toMatchObject({
    verdict: "pass",
    exitCode: 0,
    totals: { cases: 139, subtests: 39397, failed: 0, skipped: 0 },
    statuses: { pass: 131, skip: 8 },
    expected: { xtest: "4.5.0", assumed: true },
    runs: [{ subtests: { seen: 39397, min: 39396, max: 39397, compared: "in range" } }],
  });
  expect(document.cases).toHaveLength(139);
});

test("parse for people lists every case and ends with the verdict", async () => {
  const { code, stdout } = await lockstep(["xtest", "parse", LOG]);
  const lines = stdout.toString().trimEnd().split("\n");
  expect(code).toBe(EXIT.ok);
  expect(lines[0]).toMatch(/^pass {4}regression_1001 +Core self tests$/);
  expect(lines.filter((line) => line.startsWith("skip "))).toHaveLength(8);
  expect(lines.at(-1)).toBe(`${LOG}: pass, 131 pass, 8 skip`);
});

test("a truncated log from standard input is incomplete: exit code 6", async () => {
  const input = log.subarray(0, 60_000);
  const { code, stdout } = await lockstep(["xtest", "parse", "-", "--json"], { input });
  expect(code).toBe(EXIT.incomplete);
  expect(parsed(stdout)).toMatchObject({ verdict: "miss", exitCode: 6 });
  expect(parsed(stdout).cases).toHaveLength(139);
});

test("a log that ends in a kernel panic exits with 5, one with a failure with 1", async () => {
  const panic = Buffer.concat([
    log.subarray(0, log.indexOf("  regression_1006 OK")),
    Buffer.from("[  9.000001] Kernel panic - not syncing: Oops\r\n"),
  ]);
  const crashed = await lockstep(["xtest", "parse", "-"], { input: panic });
  expect(crashed.code).toBe(EXIT.crashed);
  expect(crashed.stdout.toString()).toMatch(/crash {3}regression_1006 .*kernel panic/);
  const failed = log.toString("latin1").replace("  regression_1006 OK", "  regression_1006 FAILED");
  const failure = await lockstep(["xtest", "parse", "-"], { input: Buffer.from(failed, "latin1") });
  expect(failure.code).toBe(EXIT.failed);
});

test("two runs in a log: a later pass does not hide the earlier failure", async () => {
  const failed = log.toString("latin1").replace("  regression_1006 OK", "  regression_1006 FAILED");
  const input = Buffer.concat([Buffer.from(failed, "latin1"), log]);
  const { code, stdout } = await lockstep(["xtest", "parse", "-", "--json"], { input });
  expect(code).toBe(EXIT.failed);
  expect(parsed(stdout).runs).toHaveLength(2);
  const found = parsed(stdout).cases.find((one) => one.id === "regression_1006");
  expect(found?.status).toBe("fail");
});

test.each([
  ["an empty log", Buffer.alloc(0)],
  ["a binary log", Buffer.from(Array.from({ length: 50_000 }, (_, i) => (i * i * 7919) & 255))],
  ["a log without xtest", Buffer.from("U-Boot 2025.01\r\nlogin: \r\n".repeat(100))],
])("%s holds no run: exit code 2 and one paragraph", async (_, input) => {
  const { code, stderr, stdout } = await lockstep(["xtest", "parse", "-"], { input });
  expect(code).toBe(EXIT.usage);
  expect(stdout).toHaveLength(0);
  expect(stderr).toMatch(/^lockstep: standard input: no xtest run found\. [^\n]*\n$/);
});

test("a log that cannot be read is a usage error that names it", async () => {
  const missing = await lockstep(["xtest", "parse", "/nonexistent.log"]);
  expect(missing.code).toBe(EXIT.usage);
  expect(missing.stderr).toMatch(/\/nonexistent\.log: cannot read the log/);
  expect((await lockstep(["xtest", "parse", packageRoot])).code).toBe(EXIT.usage);
});

// Not getrusage: until a child has grown beyond it, that tells the size of the process it was forked from.
const REPORT_RSS =
  "--import=data:text/javascript,import{readFileSync}from'node:fs';" +
  "process.on('exit',()=>console.error(readFileSync('/proc/self/status','utf8')))";

async function peakMiB(chunk: Buffer, count: number, tail: Buffer): Promise<[number, number]> {
  const { code, stderr } = await lockstep(["xtest", "parse", "-", "--json"], {
    env: { NODE_OPTIONS: REPORT_RSS },
    with: ({ stdin }) => {
      void (async () => {
        for (let i = 0; i < count; i++) {
          if (stdin?.write(chunk) === false) {
            await new Promise((resolve) => {
              stdin.once("drain", resolve);
            });
          }
        }
        stdin?.end(tail);
      })();
    },
    keepStdin: true,
  });
  return [code ?? -1, Number(/VmHWM:\s*(\d+) kB/.exec(stderr)?.[1]) / 1024];
}

test("a log of 200 MB is judged in less than 300 MB of memory", async () => {
  const [code, peak] = await peakMiB(log, Math.ceil(200e6 / log.length), Buffer.alloc(0));
  expect(code).toBe(EXIT.ok);
  expect(peak).toBeGreaterThan(10);
  expect(peak).toBeLessThan(300);
});

test("a line of 1 GB before a run is passed over in less than 300 MB of memory", async () => {
  const tail = Buffer.concat([Buffer.from("\n"), log]);
  const [code, peak] = await peakMiB(Buffer.alloc(1 << 20, "x"), 1024, tail);
  expect(code).toBe(EXIT.ok);
  expect(peak).toBeLessThan(300);
});

test("expect records a run that parse then compares with, and widens only on demand", async () => {
  const cwd = folder();
  copyFileSync(LOG, path.join(cwd, "run.log"));
  const key = ["--xtest", "4.6.0", "--board", "mine", "--optee", "4.6.0"];
  const made = await lockstep(["xtest", "expect", "run.log", ...key], { cwd });
  expect(made.code).toBe(EXIT.ok);
  expect(made.stdout.toString()).toBe(`${path.join(cwd, "xtest-4.6.0.yaml")}\n`);
  const parse = ["--board", "mine", "--optee", "4.6.0", "--expect", "xtest-4.6.0.yaml"];
  expect((await lockstep(["xtest", "parse", "run.log", ...parse], { cwd })).code).toBe(EXIT.ok);

  const other = log.toString("latin1").replace("39397 subtests", "39399 subtests");
  writeFileSync(path.join(cwd, "other.log"), other, "latin1");
  const outside = await lockstep(["xtest", "parse", "other.log", ...parse], { cwd });
  expect(outside.code).toBe(EXIT.failed);
  expect(outside.stdout.toString()).toMatch(/39399 subtests, recorded are 39397 to 39397/);
  const refused = await lockstep(["xtest", "expect", "other.log", ...key], { cwd });
  expect(refused.code).toBe(EXIT.usage);
  expect(refused.stderr).toMatch(/recorded up to 39397.*--widen/);
  const widened = await lockstep(["xtest", "expect", "other.log", ...key, "--widen"], { cwd });
  expect(widened.stderr).toMatch(/39397 to 39399 subtests/);
  expect((await lockstep(["xtest", "parse", "other.log", ...parse], { cwd })).code).toBe(EXIT.ok);
});

test("expect refuses a log with two runs, a failing run and a wrong version", async () => {
  const cwd = folder();
  const key = ["--xtest", "4.6.0", "--board", "b", "--optee", "4.6.0"];
  const two = Buffer.concat([log, log]);
  const twice = await lockstep(["xtest", "expect", "-", ...key], { cwd, input: two });
  expect(twice.code).toBe(EXIT.usage);
  const cut = await lockstep(["xtest", "expect", "-", ...key], {
    cwd,
    input: log.subarray(0, 9e4),
  });
  expect(cut.code).toBe(EXIT.usage);
  const wrong = ["xtest", "expect", "-", "--xtest", "latest", "--board", "b"];
  expect((await lockstep(wrong, { cwd, input: log })).stderr).toMatch(/"latest" is no version/);
});
