import { describe, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../base/index.ts";
import path from "node:path";
import { formatElapsed, plainProgress, terminalProgress } from "./progress.ts";
import { makeStyle, wantsColour } from "./style.ts";
import { noPty, onTerminal } from "./testing/pty.ts";
import { runProgram } from "./testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const DEMO = path.join(packageRoot, "dist", "harness", "cli", "testing", "progress-demo.js");

function manualClock(): { monotonicMs(): number; wallMs(): number; pass(ms: number): void } {
  let now = 0;
  return {
    monotonicMs: () => now,
    wallMs: () => now,
    pass: (ms) => {
      now += ms;
    },
  };
}

function recorded(make: typeof plainProgress): {
  progress: ReturnType<typeof plainProgress>;
  clock: ReturnType<typeof manualClock>;
  text: () => string;
} {
  let written = "";
  const clock = manualClock();
  const write = (text: string): void => {
    written += text;
  };
  const progress = make({ write, clock, style: makeStyle(false), columns: () => 72 });
  return { progress, clock, text: () => written };
}

test.each([
  [0, "0.0 s"],
  [5340, "5.3 s"],
  [9960, "10 s"],
  [59_400, "59 s"],
  [59_900, "1:00"],
  [187_000, "3:07"],
  [3_729_000, "1:02:09"],
])("%d ms reads %s", (ms, text) => {
  expect(formatElapsed(ms)).toBe(text);
});

describe("plain lines", () => {
  test("a stage is one line when it begins and one when it ends", () => {
    const { progress, clock, text } = recorded(plainProgress);
    const boot = progress.stage("linux");
    clock.pass(6200);
    boot.done("Linux 6.12");
    progress.stage("tee-ready").failed();
    expect(text()).toBe(
      "linux ...\nlinux: done after 6.2 s: Linux 6.12\ntee-ready ...\ntee-ready: failed after 0.0 s\n",
    );
  });

  test("a count is one line for every tenth, with the time left", () => {
    const { progress, clock, text } = recorded(plainProgress);
    for (let i = 0; i <= 139; i += 1) {
      progress.count(i, 139, `case_${i}`);
      clock.pass(1000);
    }
    const lines = text().trimEnd().split("\n");
    expect(lines).toHaveLength(10);
    expect(lines[0]).toBe("14/139 case_14, 2:05 left");
    expect(lines.at(-1)).toBe("139/139 case_139");
  });
});

describe("on a terminal", () => {
  test("the last line is redrawn in place and fits the width", () => {
    const { progress, clock, text } = recorded(terminalProgress);
    const stage = progress.stage("xtest");
    progress.count(0, 100, "regression_1000");
    clock.pass(30_000);
    progress.count(25, 100, `regression_1025 ${"long ".repeat(40)}`);
    const drawn = text().split("\r\u001B[2K").at(-1) ?? "";
    expect(drawn).toMatch(/^\[######-{18}\] 25\/100 {2}30 s, 1:30 left {2}regression_1025 lon/);
    expect(drawn).toHaveLength(71);
    stage.done();
    expect(text().split("\r\u001B[2K").at(-1)).toBe("ok     xtest  30 s\n");
    progress.end();
  });

  test("other output goes above the line that is being redrawn", () => {
    const { progress, text } = recorded(terminalProgress);
    const stage = progress.stage("boot");
    progress.note("hello");
    const clear = "\r\u001B[2K";
    expect(text()).toBe(`${clear}boot  0.0 s${clear}hello\n${clear}boot  0.0 s`);
    stage.done();
  });

  test("what a board printed cannot drive the terminal", () => {
    const { progress, text } = recorded(terminalProgress);
    progress.warn("evil \u001B]0;title\u0007 \u001B[2J");
    expect(text()).toBe("warning: evil \uFFFD]0;title\uFFFD \uFFFD[2J\n");
  });

  test("the stages of an interrupted command are taken away", () => {
    const { progress, text } = recorded(terminalProgress);
    progress.stage("boot");
    progress.end();
    expect(text().endsWith("boot  0.0 s\r\u001B[2K")).toBe(true);
  });
});

function wants(env: NodeJS.ProcessEnv, isTTY: boolean, noColor = false): boolean {
  return wantsColour({ env, isTTY, noColor });
}

describe("colours", () => {
  test.each<[string, boolean, boolean]>([
    ["a terminal", wants({ TERM: "xterm" }, true), true],
    ["a pipe", wants({ TERM: "xterm" }, false), false],
    ["a dumb terminal", wants({ TERM: "dumb" }, true), false],
    ["NO_COLOR", wants({ NO_COLOR: "1" }, true), false],
    ["an empty NO_COLOR", wants({ NO_COLOR: "" }, true), true],
    ["FORCE_COLOR on a pipe", wants({ FORCE_COLOR: "1" }, false), true],
    ["FORCE_COLOR over NO_COLOR", wants({ FORCE_COLOR: "1", NO_COLOR: "1" }, false), true],
    ["--no-color over everything", wants({ FORCE_COLOR: "1" }, true, true), false],
  ])("%s", (_what, got, expected) => {
    expect(got).toBe(expected);
  });
});

describe("as a process", () => {
  test("a pipe gets plain lines on stderr, and stdout holds the document alone", async () => {
    const { code, stdout, stderr } = await runProgram(process.execPath, [DEMO]);
    expect([code, stdout.toString()]).toEqual([0, "document\n"]);
    expect(stderr).not.toContain("\u001B");
    expect(stderr).toMatch(/^boot linux \.\.\.\nboot linux: done after \d/);
    expect(stderr.match(/^\d+\/20 /gm)).toHaveLength(10);
  });

  const missing = noPty();
  const pty = missing === undefined ? test : test.skip;
  const reason = missing === undefined ? "" : ` (skipped: ${missing})`;

  pty(`a terminal gets a bar in place that fits it, and colours${reason}`, async () => {
    const { code, stdout } = await onTerminal([process.execPath, DEMO], { columns: 50 });
    const text = stdout.toString();
    expect(code).toBe(0);
    expect(text).toContain("\u001B[32mok    \u001B[39m boot linux");
    expect(text).toContain("document\r\n");
    const bars = text.split("\r\u001B[2K").filter((part) => part.startsWith("["));
    expect(bars.length).toBeGreaterThanOrEqual(19);
    for (const bar of bars) expect(bar.length).toBeLessThan(50);
    expect(bars.at(-1)).toContain("19/20");
  });

  pty(`NO_COLOR and --no-color leave the bar without colours${reason}`, async () => {
    for (const [args, env] of [
      [[], { NO_COLOR: "1" }],
      [["--no-color"], {}],
    ] as const) {
      const { stdout } = await onTerminal([process.execPath, DEMO, ...args], { env });
      expect(stdout.toString()).toContain("\r\u001B[2Kok     boot linux");
      expect(stdout.toString().replaceAll("\u001B[2K", "")).not.toContain("\u001B");
    }
  });

  pty(`a dumb terminal gets plain lines${reason}`, async () => {
    const { stdout } = await onTerminal([process.execPath, DEMO], { env: { TERM: "dumb" } });
    expect(stdout.toString()).not.toContain("\u001B");
    expect(stdout.toString()).toContain("boot linux ...\r\n");
  });
});
