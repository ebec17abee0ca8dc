import { readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { type Desk, makeDesk } from "./testing/desk.ts";
import { noPty, onTerminal } from "./testing/pty.ts";
import { LOCKSTEP } from "./testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void | Promise<void>)[] = [];
let desk: Desk;

beforeEach(() => {
  desk = makeDesk((clean) => cleanups.push(clean));
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

const reason = noPty();
const onPty = reason === undefined ? test : test.skip;
const because = reason === undefined ? "" : ` (skipped: ${reason})`;

/** Power that is a file: what was done to it, one word a line. */
const FILE_POWER = `power:
  driver: command
  on: echo on >> power.log
  off: echo off >> power.log
  settle: 0ms
`;

function powerLog(): string[] {
  return readFileSync(path.join(desk.cwd, "boards", "power.log"), "utf8")
    .trim()
    .split("\n");
}

describe("console", () => {
  onPty(`shows what the board prints and types what comes on stdin${because}`, async () => {
    await desk.hardware(["sh", "-i"]);
    const { code, stdout, stderr } = await desk.run(["console", "desk"], {
      keepStdin: true,
      with: (child) => {
        let seen = "";
        child.stderr?.once("data", () => child.stdin?.write("echo $((6 * 7))\n"));
        child.stdout?.on("data", (chunk: Buffer) => {
          seen += chunk.toString();
          if (seen.includes("42\r\n")) child.kill("SIGINT");
        });
      },
    });
    expect(code).toBe(130);
    expect(stdout.toString()).toContain("42\r\n");
    expect(stderr).toMatch(/^desk: normal console\n/);
  });

  onPty(`on a terminal every key goes to the board until Ctrl-]${because}`, async () => {
    await desk.hardware(["sh", "-i"]);
    // Ctrl-C must reach the board's shell, which then prompts again, and not us.
    const { code, stdout } = await onTerminal([process.execPath, LOCKSTEP, "console", "desk"], {
      cwd: desk.cwd,
      env: desk.env,
      keepStdin: true,
      with: (child) => {
        let seen = "";
        const steps: [RegExp, string][] = [
          [/Ctrl-\] ends it/, "\n"],
          [/lockstep:/, "\u0003"],
          [/\^C[^]*lockstep:/, "echo $((6 * 7))\n"],
          [/42\r+\n/, "\u001D"],
        ];
        child.stdout?.on("data", (chunk: Buffer) => {
          seen += chunk.toString();
          const [next] = steps;
          if (next === undefined || !next[0].test(seen)) return;
          steps.shift();
          child.stdin?.write(next[1]);
        });
      },
    });
    expect(code).toBe(0);
    expect(stdout.toString()).toContain("desk: normal console; Ctrl-] ends it");
  });

  onPty(
    `a console that the board does not have is named with those that it has${because}`,
    async () => {
      await desk.hardware();
      const { code, stderr } = await desk.run(["console", "desk", "--name", "secure"]);
      expect([code, stderr]).toEqual([
        2,
        expect.stringMatching(/no console "secure"\. It has: normal;/),
      ]);
    },
  );
});

describe("power", () => {
  onPty(`a board stays as it was switched${because}`, async () => {
    await desk.hardware([], FILE_POWER);
    for (const action of ["on", "off", "cycle"]) {
      const { code, stdout, stderr } = await desk.run(["power", action, "desk"]);
      expect([code, stdout.toString(), stderr]).toEqual([0, "", ""]);
    }
    expect(powerLog()).toEqual(["on", "off", "off", "on"]);
  });
});

describe("boot", () => {
  onPty(`says how long it took, as JSON too${because}`, async () => {
    await desk.hardware(["sh", "-i"]);
    const { code, stdout, stderr } = await desk.run(["boot", "desk", "--to", "linux", "--json"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout.toString())).toMatchObject({ board: "desk", state: "linux" });
    expect(stderr).toMatch(/^desk: linux \.\.\.\ndesk: linux: done after/);
  });

  onPty(`a board that did not get there is left as its file says${because}`, async () => {
    await desk.hardware([], FILE_POWER);
    expect((await desk.run(["boot", "desk", "--to", "bootloader"])).code).toBe(4);
    expect(powerLog().at(-1)).toBe("off");
    await desk.hardware([], `${FILE_POWER}on_exit: leave\n`);
    expect((await desk.run(["boot", "desk", "--to", "bootloader"])).code).toBe(4);
    expect(powerLog().at(-1)).toBe("on");
  });
});

describe("an interrupt", () => {
  onPty.each([["SIGINT" as const], ["SIGTERM" as const], ["SIGHUP" as const]])(
    `%s leaves the board as its file says and exits 130${because}`,
    async (signal) => {
      await desk.hardware([], FILE_POWER.replace("settle: 0ms", "settle: 0ms\non_exit: off"));
      const { code, stderr } = await desk.run(["console", "desk", "--to", "linux"], {
        with: (child) => {
          const watch = setInterval(() => {
            try {
              if (powerLog().includes("on")) {
                clearInterval(watch);
                child.kill(signal);
              }
            } catch {
              // Not switched on yet.
            }
          }, 20);
          child.on("exit", () => clearInterval(watch));
        },
      });
      expect(code).toBe(130);
      expect(stderr).toMatch(/stopping, and leaving boards as their files say/);
      expect(powerLog().at(-1)).toBe("off");
    },
  );

  onPty(`a second one ends it at once${because}`, async () => {
    const slow = FILE_POWER.replace(
      "off: echo off",
      "off: echo stopping >> power.log; sleep 30; echo off",
    );
    await desk.hardware([], slow);
    const { code } = await desk.run(["console", "desk"], {
      limitMs: 20_000,
      with: (child) => {
        child.stderr?.once("data", () => child.kill("SIGINT"));
        const watch = setInterval(() => {
          try {
            if (powerLog().includes("stopping")) {
              clearInterval(watch);
              child.kill("SIGINT");
            }
          } catch {
            // Not interrupted yet.
          }
        }, 20);
        child.on("exit", () => clearInterval(watch));
      },
    });
    expect(code).toBe(130);
    expect(powerLog()).toEqual(["stopping"]);
  });
});

/** Runs xtest on a board that says nothing and whose power does `on`, with two retries. */
async function runOnce(on: string) {
  const pty = await desk.hardware();
  desk.board(
    "desk",
    `type: desk
consoles: { normal: { device: ${pty.device} } }
boot: { bootloader: { timeout: 300ms }, linux: { timeout: 300ms }, tee_ready: { command: "true" } }
power: { driver: command, on: "echo on >> power.log; ${on}", off: echo off >> power.log, settle: 0ms }
`,
  );
  const one = ["--suite", "xtest", "--filter", "regression_1001$", "--out", "out", "--json"];
  const result = await desk.run(["run", "--board", "desk", "--retries", "2", ...one]);
  const { cases } = JSON.parse(result.stdout.toString()) as {
    cases: { target: string; status: string }[];
  };
  const statuses = cases.filter(({ target }) => target === "desk").map(({ status }) => status);
  return { ...result, statuses, switchedOn: powerLog().filter((word) => word === "on").length };
}

describe("run --retries", () => {
  onPty(`boots again where the lab failed, so often and no more${because}`, async () => {
    const { code, stderr, statuses, switchedOn } = await runOnce("exit 1");
    expect([code, statuses, switchedOn]).toEqual([3, ["miss"], 3]);
    expect(stderr.match(/boot \d failed and is tried again/g)).toHaveLength(2);
  });

  onPty(`does not boot again where the target did not answer in time${because}`, async () => {
    const { code, stderr, statuses, switchedOn } = await runOnce("true");
    expect([code, statuses, switchedOn]).toEqual([4, ["miss"], 1]);
    expect(stderr).not.toContain("tried again");
  });
});
