import { cpSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../base/index.ts";
import { COMMANDS } from "./command-table.ts";
import { lockstep, LOCKSTEP, runProgram, temporaryFolder } from "./testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const { version } = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as {
  version: string;
};

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

async function isColoured(args: string[], env: Record<string, string>): Promise<boolean> {
  const { stderr } = await lockstep(["boards", "show", "nope", ...args], { env });
  return stderr.includes("\u001B[");
}

describe("version and help", () => {
  test.each(["--version", "-V"])("%s prints the version and nothing else", async (flag) => {
    const { code, stdout, stderr } = await lockstep([flag]);
    expect([code, stdout.toString(), stderr]).toEqual([0, `${version}\n`, ""]);
  });

  test("the version needs no file but main.js and package.json", async () => {
    const root = temporaryFolder((remove) => cleanups.push(remove));
    const main = path.join(root, path.relative(packageRoot, LOCKSTEP));
    mkdirSync(path.dirname(main), { recursive: true });
    cpSync(LOCKSTEP, main);
    cpSync(path.join(packageRoot, "package.json"), path.join(root, "package.json"));
    const { code, stdout } = await runProgram(process.execPath, [main, "--version"]);
    expect([code, stdout.toString()]).toEqual([0, `${version}\n`]);
  });

  test("--help and `help` show every command that there is, on stdout", async () => {
    const [flag, word] = await Promise.all([lockstep(["--help"]), lockstep(["help"])]);
    expect([flag.code, word.code]).toEqual([0, 0]);
    expect(word.stdout.toString()).toBe(flag.stdout.toString());
    for (const { name, summary } of COMMANDS) {
      expect(flag.stdout.toString()).toContain(`  ${name.padEnd(12)}`.trimEnd());
      expect(flag.stdout.toString()).toContain(summary);
    }
  });

  test("without a command the help goes to stderr, with exit code 2", async () => {
    const { code, stdout, stderr } = await lockstep([]);
    expect([code, stdout.length]).toEqual([2, 0]);
    expect(stderr).toMatch(/^Usage: lockstep COMMAND/);
  });

  test.each(COMMANDS.map(({ name }) => name))(
    "`%s --help` has a usage line and examples",
    async (name) => {
      const [flag, word] = await Promise.all([
        lockstep([name, "--help"]),
        lockstep(["help", name]),
      ]);
      expect([flag.code, flag.stderr]).toEqual([0, ""]);
      expect(flag.stdout.toString()).toMatch(new RegExp(`^Usage: lockstep ${name} `));
      expect(flag.stdout.toString()).toMatch(/\nExamples:\n {2}\$ /);
      expect(word.stdout.toString()).toBe(flag.stdout.toString());
      for (const line of flag.stdout.toString().split("\n")) expect(line.length).toBeLessThan(121);
    },
  );

  test("help reaches subcommands", async () => {
    const { code, stdout } = await lockstep(["help", "boards", "check"]);
    expect(code).toBe(0);
    expect(stdout.toString()).toMatch(/^Usage: lockstep boards check /);
  });
});

describe("a command line that is wrong ends with 2 and says what was probably meant", () => {
  test.each<[string[], RegExp]>([
    [["bords"], /unknown command "bords"; did you mean "boards"\?/],
    [["--versoin"], /unknown option "--versoin"; did you mean "--version"\?/],
    [["help", "bords"], /unknown command "bords"; did you mean "boards"\?/],
    [["boards", "lst"], /`boards` has no subcommand "lst"; did you mean "list"\?/],
    [["boards", "list", "--jsno"], /unknown option "--jsno"; did you mean --json\?/],
    [["boards", "show"], /missing required argument "board".*lockstep boards --help/],
    [["boards", "show", "a", "b"], /too many arguments/],
    [["boards", "new", "--name"], /option "--name <name>" argument missing/],
    [["boards", "show", "emulatd"], /no board "emulatd"; did you mean "emulated"\?/],
    [["completion", "fish"], /Allowed choices are bash, zsh/],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await lockstep(args);
    expect([code, stdout.length]).toEqual([2, 0]);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/^lockstep: [^\n]*\n$/);
  });
});

describe("global options", () => {
  test("--debug shows where an error came from, and only --debug", async () => {
    const plain = await lockstep(["boards", "show", "nope"]);
    const debug = await lockstep(["boards", "show", "nope", "--debug"]);
    const before = await lockstep(["--debug", "boards", "show", "nope"]);
    expect(plain.stderr).not.toMatch(/^ +at /m);
    expect(debug.stderr).toMatch(/^ +at .*load/m);
    expect(before.stderr).toBe(debug.stderr);
  });

  test("a pipe gets no colours unless they are forced; --no-color beats force", async () => {
    expect(await isColoured([], {})).toBe(false);
    expect(await isColoured([], { FORCE_COLOR: "1" })).toBe(true);
    expect(await isColoured([], { FORCE_COLOR: "0" })).toBe(false);
    expect(await isColoured(["--no-color"], { FORCE_COLOR: "1" })).toBe(false);
  });
});

describe("the process", () => {
  test("a reader that goes away early is no error", async () => {
    const { code, stdout, stderr } = await runProgram("bash", [
      "-c",
      `set -o pipefail; "${process.execPath}" "${LOCKSTEP}" help boards | head -n 1; echo "\${PIPESTATUS[0]}"`,
    ]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout.toString()).toMatch(/^Usage: .*\n0\n$/);
  });

  test("a closed stdout is no crash either", async () => {
    const { stderr } = await runProgram("bash", [
      "-c",
      `"${process.execPath}" "${LOCKSTEP}" boards list --json >&-`,
    ]);
    expect(stderr).not.toMatch(/internal error|at /);
  });
});
