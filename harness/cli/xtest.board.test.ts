import { afterEach, expect, test } from "@jest/globals";
import { Deadline, silentProgress } from "../base/index.ts";
import { type BoardConfig, type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { findPrepared } from "../images/index.ts";
import type { CaseResult, RunSink } from "../run/index.ts";
import { expectedFor, runXtest, type XtestSummary } from "../xtest/index.ts";

const prepared = await findPrepared("qemu-virt", process.env);
const why = "`lockstep prepare qemu-virt` was not run";
const withImage = prepared === undefined ? test.skip : test;
const named = (title: string): string => (prepared === undefined ? `${title} (${why})` : title);

const open: LiveBoard[] = [];
afterEach(async () => {
  for (const board of open.splice(0)) await board.close();
});

async function bringUp(change: (config: BoardConfig) => BoardConfig): Promise<LiveBoard> {
  if (prepared === undefined) throw new Error(why);
  const config = change(await loadBoard("qemu-virt", { env: process.env, cwd: process.cwd() }));
  const board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared,
  });
  open.push(board);
  return board;
}

interface Ran {
  readonly results: ReadonlyMap<string, CaseResult>;
  readonly problems: readonly string[];
  readonly summary: XtestSummary;
  readonly statuses: Record<string, string>;
}

async function run(
  board: LiveBoard,
  only: string[],
  onCaseStart?: (id: string) => void,
): Promise<Ran> {
  const results = new Map<string, CaseResult>();
  const problems: string[] = [];
  const sink: RunSink = {
    event: (event) => {
      if (event.type === "case-start") onCaseStart?.(event.id);
    },
    raw: () => {},
    result: (result) => results.set(result.id, result),
    totals: () => {},
    facts: () => {},
    problem: (text) => problems.push(text),
    flush: () => Promise.resolve(),
  };
  const { list } = await expectedFor("4.5.0");
  const summary = await runXtest(
    board,
    { level: 0, suites: ["regression", "pkcs11"], only },
    { sink, progress: silentProgress, abort: new AbortController().signal, expected: list },
  );
  const statuses: Record<string, string> = {};
  for (const one of results.values()) statuses[one.id.replace("xtest.", "")] = one.status;
  return { results, problems, summary, statuses };
}

withImage(
  named("real cases pass over SSH and over the console, by their full ids only"),
  async () => {
    for (const over of ["ssh", "console"] as const) {
      const board = await bringUp((config) => {
        if (config.xtest === undefined) throw new Error("qemu-virt says nothing about xtest");
        return { ...config, xtest: { ...config.xtest, over } };
      });
      const { statuses, summary, results, problems } = await run(board, [
        "regression_1004",
        "regression_1029",
      ]);
      expect([over, problems]).toEqual([over, []]);
      expect(statuses).toEqual({ regression_1004: "pass", regression_1029: "skip" });
      expect(summary.runs.map((one) => one.totals?.cases)).toEqual([2]);
      expect(results.get("xtest.regression_1004")?.subcases).toHaveLength(5);
      await board.close();
    }
  },
  300_000,
);

withImage(
  named("with cpu max the hang of regression_1006 ends that case, and the next one still runs"),
  async () => {
    const board = await bringUp((config) => {
      if (config.qemu === undefined || config.xtest === undefined) throw new Error("no QEMU board");
      const xtest = { ...config.xtest, caseTimeoutMs: 90_000, silenceTimeoutMs: 60_000 };
      return { ...config, qemu: { ...config.qemu, cpu: "max" }, xtest };
    });
    // The TA of regression_1006 to 1009 is what hangs; the next case without it shows that the run goes on.
    const ids = ["regression_1005", "regression_1006", "regression_1015"];
    const { statuses, summary } = await run(board, ids);
    expect(statuses["regression_1005"]).toBe("pass");
    expect(["timeout", "crash"]).toContain(statuses["regression_1006"]);
    expect(statuses["regression_1015"]).toBe("pass");
    expect([4, 5]).toContain(summary.exitCode);
  },
  600_000,
);

withImage(
  named("a kernel panic during a case is that case's crash, and the next one still runs"),
  async () => {
    const board = await bringUp((config) => config);
    let provoked = false;
    const { statuses, results, summary } = await run(
      board,
      ["regression_1012", "regression_1013", "regression_1015"],
      (id) => {
        if (id !== "xtest.regression_1013" || provoked) return;
        provoked = true;
        const deadline = Deadline.after(10_000, "the panic");
        board
          .command("ssh")
          .exec("echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger", deadline)
          .catch(() => {});
      },
    );
    expect(statuses).toEqual({
      regression_1012: "pass",
      regression_1013: "crash",
      regression_1015: "pass",
    });
    expect(results.get("xtest.regression_1013")?.reason).toMatch(/panic/i);
    expect(summary.exitCode).toBe(5);
  },
  300_000,
);
