import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { Deadline, DeadlineError, InfrastructureError, Random } from "../../base/index.ts";
import { noPtyReason } from "../testing/pty-board.ts";
import { openPtyConsole, type PtyConsole, type Spoilers } from "../testing/pty-console.ts";
import { ConsoleFiles } from "./console-files.ts";

// Every case starts a shell behind a pty; a busy machine takes its time.
jest.setTimeout(60_000);

const SHELLS: Readonly<Record<string, readonly string[]>> = {
  sh: ["sh", "-i"],
  bash: ["bash", "--norc", "-i"],
  "busybox ash": ["busybox", "ash", "-i"],
};
const noPty = noPtyReason();

function absent(command: string): string | undefined {
  if (noPty !== undefined) return noPty;
  const there = spawnSync("sh", ["-c", `command -v ${command}`]).status === 0;
  return there ? undefined : `${command} is not installed`;
}

const open: PtyConsole[] = [];
afterEach(async () => {
  for (const board of open.splice(0)) await board.stop();
});

async function connect(
  shell: readonly string[] = SHELLS["sh"] ?? [],
  spoilers: Spoilers = {},
  verifyEcho = false,
): Promise<PtyConsole> {
  const board = await openPtyConsole(shell, { spoilers, verifyEcho });
  open.push(board);
  return board;
}

const soon = (ms = 20_000): Deadline => Deadline.after(ms, "the command");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

for (const [name, command] of Object.entries(SHELLS)) {
  const reason = absent(command[0] ?? "");
  const suite = reason === undefined ? describe : describe.skip;
  suite(reason === undefined ? `behind ${name}` : `behind ${name} (skipped: ${reason})`, () => {
    test("exit codes are exact, the shell survives `exit` and broken syntax", async () => {
      const { shell } = await connect(command);
      await expect(shell.run("exit 3", soon())).resolves.toMatchObject({ exitCode: 3 });
      await expect(shell.run("true", soon())).resolves.toMatchObject({ exitCode: 0 });
      await expect(shell.run("(exit 255)", soon())).resolves.toMatchObject({ exitCode: 255 });
      expect((await shell.run("if then 'x", soon())).exitCode).toBeGreaterThan(0);
      const echo = await shell.run("echo still here", soon());
      expect(text(echo.output)).toBe("still here\n");
    });

    test("quotes, tabs, newlines and long commands arrive as they were given", async () => {
      const { shell } = await connect(command);
      const odd = "printf '%s' \"it's\ta 'test' %d \\\\ é\n\n\"";
      expect(text((await shell.run(odd, soon())).output)).toBe("it's\ta 'test' %d \\ é\n\n");
      const long = `x=${"a b".repeat(900)}; echo \${#x} $#`.replace("x=", "x='").replace(";", "';");
      expect(text((await shell.run(long, soon())).output)).toBe("2700 0\n");
    });

    test("exact output keeps stdout and stderr apart, byte by byte", async () => {
      const { shell } = await connect(command, {}, true);
      const result = await shell.exec("printf 'a\\000\\377\\r\\nb'; echo err >&2; exit 7", soon());
      expect(Buffer.from(result.stdout)).toEqual(Buffer.from("a\u0000\u00ff\r\nb", "latin1"));
      expect(text(result.stderr)).toBe("err\n");
      expect(result).toMatchObject({ exitCode: 7, signal: undefined });
    });

    test("a first line that the shell threw away while it started is typed again", async () => {
      let lost = 0;
      const down = (bytes: Uint8Array): Uint8Array => {
        if (lost > 0 || !text(bytes).startsWith("stty")) return bytes;
        lost += 1;
        return new Uint8Array(0);
      };
      const { shell } = await connect(command, { down }, true);
      const answer = await shell.run("echo here", soon());
      expect({ lost, output: text(answer.output) }).toEqual({ lost: 1, output: "here\n" });
    });

    test("a running command is ended by kill, and the next one runs", async () => {
      const { shell } = await connect(command);
      const running = await shell.start("echo started; sleep 1000", soon());
      const output: string[] = [];
      await new Promise<void>((resolve) => {
        running.onOutput((bytes) => {
          output.push(text(bytes));
          if (output.join("").includes("started")) resolve();
        });
      });
      await running.kill();
      await expect(running.done).resolves.toEqual({ exitCode: undefined, signal: "SIGINT" });
      expect(text((await shell.run("echo next", soon())).output)).toBe("next\n");
    });
  });
}

const suite = noPty === undefined ? describe : describe.skip;
suite(noPty === undefined ? "on a bad line" : `on a bad line (skipped: ${noPty})`, () => {
  test("standard input is refused: what is typed on a console is seen and kept", async () => {
    const { shell } = await connect();
    const input = Buffer.from("a secret");
    const refusal = shell.exec("cat", soon(), { input });
    await expect(refusal).rejects.toThrow("cannot be typed on a console");
    expect(text((await shell.exec("echo alive", soon())).stdout)).toBe("alive\n");
  });

  test("a command whose characters were lost on the way never runs", async () => {
    const random = new Random(1);
    let lossy = false;
    const { shell } = await connect(
      undefined,
      {
        down: (bytes) => (lossy ? bytes.filter(() => random.below(400) > 0) : bytes),
      },
      true,
    );
    await shell.ready(soon());
    lossy = true;
    const dir = await mkdtemp(path.join(tmpdir(), "lockstep-"));
    try {
      let ran = 0;
      for (let i = 0; i < 12; i += 1) {
        const wanted = `value number ${i} of twelve`;
        const result = await shell
          .run(`echo '${wanted}' >>${dir}/log`, soon())
          .catch((error: unknown) => error);
        if (!(result instanceof Error)) ran += 1;
        else expect(result).toBeInstanceOf(InfrastructureError);
      }
      const log = await readFile(path.join(dir, "log"), "utf8").catch(() => "");
      for (const line of log.split("\n").slice(0, -1)) {
        expect(line).toMatch(/^value number \d+ of twelve$/);
      }
      expect(log.split("\n").length - 1).toBeGreaterThanOrEqual(ran);
    } finally {
      await rm(dir, { recursive: true });
    }
  }, 60_000);

  test("kernel lines in the output are flagged, and do not change exact output", async () => {
    let noisy = false;
    const kernel = "\r\n[   12.345678] random: crng init done\r\n";
    const { shell } = await connect(undefined, {
      up: (bytes) =>
        noisy
          ? Buffer.from(bytes.toString("latin1").replaceAll("o", `o${kernel}`), "latin1")
          : bytes,
    });
    expect((await shell.run("echo hello", soon())).interleaved).toBe(false);
    await shell.exec("true", soon());
    noisy = true;
    expect(await shell.run("echo hello", soon())).toMatchObject({ exitCode: 0, interleaved: true });
    let spoilt = 0;
    noisy = false;
    const clean = await connect(undefined, {
      up: (bytes) => {
        // The first transfer is cut by kernel lines, the second and third are damaged.
        const line = bytes.toString("latin1");
        if (spoilt >= 3 || !line.includes("aGVsbG8")) return bytes;
        spoilt += 1;
        const damaged = spoilt === 1 ? `aGVs[    1.000001] x ${kernel}bG8` : "aGVsbG9";
        return Buffer.from(line.replace("aGVsbG8", damaged), "latin1");
      },
    });
    const exact = await clean.shell.exec("echo hello", soon());
    expect(text(exact.stdout)).toBe("hello\n");
    expect(spoilt).toBe(3);
  });

  test("an end mark that a kernel line cut in two is asked for again", async () => {
    let cut = 0;
    const { shell } = await connect(undefined, {
      up: (bytes) => {
        const line = bytes.toString("latin1");
        const mark = /\b([0-9a-f]{16}) 42 /.exec(line)?.[1];
        if (mark === undefined || cut > 0) return bytes;
        cut += 1;
        return Buffer.from(
          line.replace(mark, `${mark.slice(0, 5)}\r\n[ 1.000001] x\r\n${mark.slice(5)}`),
        );
      },
    });
    await expect(shell.run("exit 42", soon())).resolves.toMatchObject({
      exitCode: 42,
      interleaved: true,
    });
    expect(cut).toBe(1);
  });

  test("a line that damages every transfer ends in an error, never in a result", async () => {
    let noisy = false;
    const { shell } = await connect(undefined, {
      up: (bytes) => (noisy ? Buffer.from(bytes.toString("latin1").replaceAll("W", "V")) : bytes),
    });
    await shell.exec("true", soon());
    noisy = true;
    await expect(shell.exec("echo XXXXXXXXX", soon())).rejects.toThrow("never arrived undamaged");
  });

  test("a board that dies in the middle of a command ends it at once", async () => {
    const { shell, board, console } = await connect();
    await shell.ready(soon());
    const run = shell.run("sleep 1000", soon());
    setTimeout(() => {
      board.stop().then(
        () => {
          console.fail(new InfrastructureError("the console vanished"));
        },
        () => {},
      );
    }, 100);
    await expect(run).rejects.toThrow("the console vanished");
  });

  test("a shell that was replaced under a command is an error, not an exit code", async () => {
    const { shell } = await connect();
    await shell.ready(soon());
    await expect(shell.run("unset -f _le; kill -9 $$; sleep 0", soon(4000))).rejects.toThrow();
  });

  test("a board that never speaks ends in a deadline error", async () => {
    const { shell } = await connect(["sleep", "1000"], { up: () => Buffer.alloc(0) });
    await expect(shell.run("true", soon(300))).rejects.toThrow(DeadlineError);
  });
});

const files = noPty === undefined ? test : test.skip;
files(
  noPty === undefined
    ? "files go to the board and back over the console, and appear only whole"
    : `files over the console (skipped: ${noPty})`,
  async () => {
    const { shell } = await connect();
    const dir = await mkdtemp(path.join(tmpdir(), "lockstep-"));
    try {
      const transfer = new ConsoleFiles(shell);
      const bytes = new Random(7).bytes(2000);
      await writeFile(path.join(dir, "local"), bytes);
      await transfer.upload(path.join(dir, "local"), path.join(dir, "it's there"), soon());
      await transfer.download(path.join(dir, "it's there"), path.join(dir, "back"), soon());
      expect(await readFile(path.join(dir, "back"))).toEqual(Buffer.from(bytes));
      await expect(
        transfer.download(path.join(dir, "nothing"), path.join(dir, "x"), soon()),
      ).rejects.toMatchObject({
        name: "InfrastructureError",
        seen: expect.stringMatching(/nothing/),
      });
    } finally {
      await rm(dir, { recursive: true });
    }
  },
);
