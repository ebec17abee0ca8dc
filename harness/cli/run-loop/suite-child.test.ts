import { EventEmitter, once } from "node:events";
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { packageRoot, silentProgress } from "../../base/index.ts";
import { type Data, Skipped, type Target, type XtestOutcome } from "../../platform/index.ts";
import type { CaseResult, RunEventBody, RunSink, Trace } from "../../run/index.ts";
import { runSuites } from "./suite-child.ts";
import type { Tracing } from "./tracing.ts";

class CollectingSink implements RunSink {
  readonly results: CaseResult[] = [];
  readonly events: RunEventBody[] = [];
  output = "";
  event(event: RunEventBody): void {
    this.events.push(event);
  }
  raw(_target: string, _stream: string, bytes: Uint8Array): void {
    this.output += Buffer.from(bytes).toString("utf8");
  }
  result(result: CaseResult): void {
    this.results.push(result);
  }
  totals(): void {}
  facts(): void {}
  problem(): void {}
  async flush(): Promise<void> {}
}

function targetOf(xtest: (id: string) => Promise<XtestOutcome>): Target {
  return {
    board: undefined as never,
    run: async (): Promise<Data> => {
      throw new Skipped("no conduit");
    },
    xtest,
    close: async () => {},
  };
}

async function runXtestSuite(
  cases: readonly (string | { readonly id: string; readonly title: string })[],
  xtest: (id: string) => Promise<XtestOutcome>,
  patterns: readonly string[] = [],
  abort: AbortSignal = new AbortController().signal,
): Promise<{ sink: CollectingSink; cases: number }> {
  const sink = new CollectingSink();
  const ran = await runSuites({
    setup: {
      board: { name: "b", type: "t", platform: "emulated" },
      filter: { patterns },
      xtest: cases.map((one) =>
        typeof one === "string" ? { id: one, title: `title of ${one}` } : one,
      ),
    },
    suites: ["xtest"],
    target: targetOf(xtest),
    targetRecordsXtest: false,
    sink,
    offsets: () => ({}),
    clausesOf: async () => [],
    progress: silentProgress,
    abort,
  });
  return { sink, cases: ran };
}

const outcome = (id: string, rest: Partial<XtestOutcome>): XtestOutcome => ({
  id,
  title: id,
  status: "pass",
  ...rest,
});

test("a case is recorded with the status that the target gave it, a skip as a skip", async () => {
  const { sink, cases } = await runXtestSuite(
    ["regression_1", "regression_2", "regression_3"],
    async (id) => {
      if (id === "regression_2") return outcome(id, { status: "skip", reason: "not modelled" });
      if (id === "regression_3") return outcome(id, { status: "crash", reason: "kernel panic" });
      return outcome(id, {});
    },
  );
  expect(cases).toBe(3);
  expect(sink.results.map(({ id, status, reason }) => [id, status, reason])).toEqual([
    ["xtest.regression_1", "pass", undefined],
    ["xtest.regression_2", "skip", "not modelled"],
    ["xtest.regression_3", "crash", "kernel panic"],
  ]);
  expect(sink.output).toMatch(/1 failed, 1 skipped, 1 passed/);
}, 60_000);

test("a case carries the clauses that its title names and those that the target knows of", async () => {
  const title = ["MED-999, SMC-9.99", "both"].join(": ");
  const { sink } = await runXtestSuite(
    ["regression_1", { id: "regression_2", title }],
    async (id) => outcome(id, id === "regression_2" ? { clauses: ["TEE-9.9", "MED-999"] } : {}),
  );
  expect(sink.results.map(({ clauses }) => clauses)).toEqual([
    undefined,
    ["MED-999", "SMC-9.99", "TEE-9.9"],
  ]);
}, 60_000);

test("a filter leaves out what it does not match, by id or by title", async () => {
  const { sink } = await runXtestSuite(
    ["regression_1", "regression_2"],
    async (id) => outcome(id, {}),
    ["title of regression_2"],
  );
  expect(sink.results.map(({ id }) => id)).toEqual(["xtest.regression_2"]);
}, 60_000);

test("what a target throws makes the case an error with its message", async () => {
  const { sink } = await runXtestSuite(["regression_1"], async () => {
    throw new Error("the board did not come back");
  });
  expect(sink.results[0]).toMatchObject({ status: "error", reason: "the board did not come back" });
}, 60_000);

test("an interrupt with answers on their way to Jest is an interrupt and no defect", async () => {
  const stop = new AbortController();
  const ids = Array.from({ length: 60 }, (_, i) => `regression_${1000 + i}`);
  // All of them end at the moment of the interrupt, as they do on a board.
  const run = runXtestSuite(
    ids,
    async (id) => {
      stop.abort();
      return outcome(id, { status: "miss" });
    },
    [],
    stop.signal,
  );
  await expect(run).rejects.toThrow("the suites on b were stopped");
}, 60_000);

test("a case that takes longer than Jest's own limit is not cut short", async () => {
  const { sink } = await runXtestSuite(["regression_1"], async (id) => {
    await new Promise((resolve) => setTimeout(resolve, 6000));
    return outcome(id, {});
  });
  expect(sink.results).toMatchObject([{ status: "pass" }]);
  expect(sink.results[0]?.reason).toBeUndefined();
}, 60_000);

test("the package ships the configuration that its suites run by, and Jest itself", () => {
  const manifest = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
    files: string[];
    dependencies: Record<string, string>;
  };
  expect(manifest.files).toEqual(expect.arrayContaining(["dist", "jest.config.mjs"]));
  expect(Object.keys(manifest.dependencies)).toEqual(
    expect.arrayContaining(["jest", "jest-environment-node", "@jest/globals"]),
  );
});

/** Runs one case of the suites on a target that answers wrongly, and records two records a run. */
async function runTraced(
  judge?: Tracing["judge"],
): Promise<{ sink: CollectingSink; traces: Trace[]; failed: unknown }> {
  const sink = new CollectingSink();
  const traces: Trace[] = [];
  const target: Target = {
    ...targetOf(async (id) => outcome(id, {})),
    run: async (_reference, _args, _on, record) => {
      const end = { type: "end", how: "done", value: traces.length } as const;
      record?.([{ type: "guest", guest: 0, what: "created" }, end], {
        conduit: "vm",
        rules: "strict",
      });
      throw new Skipped("only the trace is wanted");
    },
  };
  const failed = await runSuites({
    setup: {
      board: { name: "b", type: "t", platform: "emulated" },
      filter: { patterns: ["calls_uid-returns", "calls_revision-is"] },
      xtest: [],
    },
    suites: ["smc-abi"],
    target,
    targetRecordsXtest: false,
    sink,
    offsets: () => ({}),
    clausesOf: async () => ["SMC-3.CALLS_UID"],
    progress: silentProgress,
    abort: new AbortController().signal,
    tracing: {
      seed: 3,
      add: (trace) => traces.push(trace),
      ...(judge === undefined ? {} : { judge }),
    },
  }).catch((error: unknown) => error);
  return { sink, traces, failed };
}

test("each run of a scenario is traced under its case, and a judge may change the case's result", async () => {
  const seen: [string, number][] = [];
  const second = new EventEmitter();
  const { sink, traces } = await runTraced(async (result, its) => {
    seen.push([result.id, its.length]);
    // The first is judged after the second: results keep their order all the same.
    if (seen.length === 1) await once(second, "judged");
    second.emit("judged");
    return { ...result, status: "fail", reason: "the traces differ" };
  });
  expect(traces.length).toBeGreaterThan(0);
  for (const { header } of traces) {
    expect(header).toMatchObject({
      type: "trace",
      format: 1,
      target: "b",
      run: 0,
      conduit: "vm",
      rules: "strict",
      seed: 3,
      clauses: ["SMC-3.CALLS_UID"],
      caseId: expect.stringMatching(/^smc-abi\./),
      reference: expect.stringMatching(/^smc-abi\/[\w-]+#\w+$/),
    });
  }
  expect(seen).toEqual(traces.map(({ header }) => [header.caseId, 1]));
  expect(sink.results.map(({ id, status, reason }) => [id, status, reason])).toEqual(
    seen.map(([id]) => [id, "fail", "the traces differ"]),
  );
  const ends = sink.events.filter(({ type }) => type === "case-end");
  expect(ends.map((one) => "status" in one && one.status)).toEqual(seen.map(() => "fail"));
}, 60_000);

test("what goes wrong in the judge ends the suites with its error", async () => {
  const { sink, failed } = await runTraced(() => {
    throw new Error("no such clause");
  });
  expect(failed).toMatchObject({ message: "no such clause" });
  expect(sink.results).toEqual([]);
}, 60_000);
