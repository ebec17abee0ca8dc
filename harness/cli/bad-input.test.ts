import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { userInfo } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { type Desk, makeDesk, paragraph } from "./testing/desk.ts";
import { noPty } from "./testing/pty.ts";
import type { CliResult, CliRun } from "./testing/run-cli.ts";
import { noSshd, startSshd } from "./testing/sshd.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void | Promise<void>)[] = [];
let desk: Desk;
let cwd = "";

beforeEach(() => {
  desk = makeDesk((clean) => cleanups.push(clean));
  ({ cwd } = desk);
});
afterEach(async () => {
  for (const clean of cleanups.splice(0).toReversed()) await clean();
});

const ptyReason = noPty();
const qemuReason =
  spawnSync("qemu-system-aarch64", ["--version"]).status === 0
    ? undefined
    : "qemu-system-aarch64 is not installed";
const sshdReason = ptyReason ?? noSshd();
const needing = (reason: string | undefined): typeof test.skip =>
  reason === undefined ? test : test.skip;
const because = (reason: string | undefined): string =>
  reason === undefined ? "" : ` (skipped: ${reason})`;

describe("board files, before anything is touched", () => {
  test.each<[string, string, RegExp]>([
    ["broken YAML", "type: [\n", /^boards\/b\.yaml:2:1: not valid YAML: /],
    [
      "a wrong type",
      "type: qemu-virt\nqemu: { cores: two }\n",
      /^boards\/b\.yaml:2:16: `qemu\.cores` must be a whole number/,
    ],
    [
      "an unknown key",
      "type: qemu-virt\nimages: { bois: x }\n",
      /^boards\/b\.yaml:2:11: unknown key `bois` in `images`\. Did you mean "bios"\?/,
    ],
    [
      "a secret in the file",
      "type: qemu-virt\nssh: { key: hunter2 }\n",
      /a secret never stands in a board file/,
    ],
    [
      "a missing image file",
      "type: qemu-virt\nimages: { bios: none.bin }\n",
      /^boards\/b\.yaml:2:17: .*\/none\.bin: no such file\. Put the file there, or correct `images\.bios`\.$/,
    ],
  ])("%s", async (_what, text, message) => {
    desk.board("b", text);
    const result = await desk.run(["boot", "b"]);
    expect([result.code, result.stdout.length]).toEqual([2, 0]);
    expect(paragraph(result)).toMatch(message);
    expect(result.stderr).not.toContain("hunter2");
    expect(readdirSync(path.join(cwd, "run"))).toEqual([]);
  });

  test("an unknown board, in every command that takes one", async () => {
    for (const args of [["boot"], ["console"], ["power", "on"], ["doctor"], ["boards", "show"]]) {
      const result = await desk.run([...args, "qemu-vrit"]);
      expect(result.code).toBe(2);
      expect(paragraph(result)).toMatch(
        /there is no board "qemu-vrit"; did you mean "qemu-virt"\?/,
      );
    }
    expect((await desk.run(["exec", "qemu-vrit", "--", "true"])).code).toBe(255);
  });

  test("no board at all", async () => {
    const result = await desk.run(["boot"]);
    expect(result.code).toBe(2);
    expect(paragraph(result)).toMatch(/`boot` needs a board\. .*LOCKSTEP_BOARD/);
    desk.board("mine", "type: emulated\n");
    const named = await desk.run(["boot"], { env: { LOCKSTEP_BOARD: "mine" } });
    expect(paragraph(named)).toMatch(/board mine is the emulated platform/);
  });

  test("a board file that may not be read", async () => {
    desk.board("b", "type: emulated\n");
    const file = path.join(cwd, "boards", "b.yaml");
    chmodSync(file, 0);
    // Root may read everything; then there is nothing to refuse.
    const isRoot = process.geteuid?.() === 0;
    const result = await desk.run(["boards", "show", "b"]);
    if (isRoot) expect(result.code).toBe(0);
    else expect(paragraph(result)).toMatch(/^boards\/b\.yaml: may not be read by you/);
  });

  test("an image that was never prepared is not prepared behind one's back", async () => {
    const result = await desk.run(["boot", "qemu-virt"]);
    expect(result.code).toBe(3);
    expect(paragraph(result)).toMatch(
      /image qemu-virt .* not prepared\. Run `lockstep prepare qemu-virt`/,
    );
    expect(readdirSync(path.join(cwd, "run"))).toEqual([]);
  });
});

describe("QEMU", () => {
  beforeEach(() => {
    writeFileSync(path.join(cwd, "boards", "fw.bin"), new Uint8Array(4096));
  });

  test("no QEMU on PATH", async () => {
    desk.board("b", "type: qemu-virt\nimages: { bios: fw.bin }\n");
    for (const tool of ["cat", "rm", "rmdir", "sleep"]) {
      symlinkSync(`/bin/${tool}`, path.join(cwd, "bin", tool));
    }
    const result = await desk.run(["boot", "b"], { env: { PATH: path.join(cwd, "bin") } });
    expect(result.code).toBe(3);
    expect(paragraph(result)).toMatch(
      /no usable qemu-system-aarch64.*apt-get install qemu-system-arm/,
    );
  });

  needing(qemuReason)(`a port that is in use${because(qemuReason)}`, async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    desk.board(
      "b",
      `type: qemu-virt\nimages: { bios: fw.bin }\nqemu: { extra: [-nic, "user,hostfwd=tcp:127.0.0.1:${port}-:22"] }\nssh: { host: 127.0.0.1, port: ${port} }\n`,
    );
    try {
      const result = await desk.run(["boot", "b"]);
      expect(result.code).toBe(3);
      expect(paragraph(result)).toMatch(
        /cannot use a network port.*End the program that uses the port/s,
      );
    } finally {
      server.close();
    }
  });

  needing(qemuReason)(`an argument that QEMU refuses${because(qemuReason)}`, async () => {
    desk.board("b", "type: qemu-virt\nimages: { bios: fw.bin }\nqemu: { cpu: z80 }\n");
    const result = await desk.run(["boot", "b"]);
    expect(result.code).toBe(3);
    expect(paragraph(result)).toMatch(/z80.*board's qemu section/s);
  });

  needing(qemuReason)(`firmware that never speaks${because(qemuReason)}`, async () => {
    desk.board(
      "b",
      "type: qemu-virt\nimages: { bios: fw.bin }\nboot: { bootloader: { timeout: 1s } }\n",
    );
    const result = await desk.run(["boot", "b", "--to", "bootloader"]);
    expect(result.code).toBe(4);
    expect(paragraph(result)).toMatch(
      /board b did not reach bootloader in time.*The console was silent/s,
    );
  });

  test("power on means nothing for it, and says what to use", async () => {
    desk.board("b", "type: qemu-virt\nimages: { bios: fw.bin }\n");
    const on = await desk.run(["power", "on", "b"]);
    expect(on.code).toBe(2);
    expect(paragraph(on)).toMatch(/lives only as long as the command.*lockstep console b/);
    const off = await desk.run(["power", "off", "b"]);
    const status = await desk.run(["power", "status", "b"]);
    expect([off.code, status.code, status.stdout.toString()]).toEqual([0, 0, "off\n"]);
  });
});

/** Runs `second` while `lockstep console desk` has the board; then interrupts the console. */
async function whileInUse(
  second: string[],
  extra: CliRun = {},
): Promise<{ holder: CliResult; other: CliResult }> {
  let other: Promise<CliResult> | undefined;
  const holder = await desk.run(["console", "desk"], {
    with: (child) => {
      child.stderr?.once("data", () => {
        other = desk.run(second, extra).finally(() => child.kill("SIGINT"));
      });
    },
  });
  if (other === undefined) throw new Error(`the console did not open: ${holder.stderr}`);
  return { holder, other: await other };
}

describe("a board behind a serial device", () => {
  needing(ptyReason)(`that never speaks${because(ptyReason)}`, async () => {
    await desk.hardware();
    const result = await desk.run(["boot", "desk", "--to", "bootloader"]);
    expect(result.code).toBe(4);
    expect(paragraph(result)).toMatch(
      /board desk did not reach bootloader in time.*The console was silent: check/s,
    );
    expect(result.stderr).toMatch(/desk: bootloader: failed after/);
  });

  needing(ptyReason)(`that is in use by another run${because(ptyReason)}`, async () => {
    await desk.hardware();
    const { holder, other } = await whileInUse(["boot", "desk"]);
    expect([holder.code, other.code]).toEqual([130, 3]);
    expect(paragraph(other)).toMatch(
      /board desk is in use by another run\. seen: process \d+ \(lockstep console desk\) has held it since \d{4}-/,
    );
    // The lock is held by the living process only.
    expect((await desk.run(["power", "status", "desk"])).code).toBe(0);
  });

  needing(ptyReason)(
    `that a run finds in use has every case told${because(ptyReason)}`,
    async () => {
      await desk.hardware();
      const { other } = await whileInUse([
        "run",
        "--board",
        "desk",
        "--suite",
        "xtest",
        "--filter",
        "regression_100[12]$",
        "--json",
      ]);
      expect(other.code).toBe(3);
      const { cases } = JSON.parse(other.stdout.toString()) as {
        cases: { target: string; status: string; reason?: string }[];
      };
      expect(cases.filter(({ target }) => target === "desk")).toMatchObject([
        { status: "miss", reason: expect.stringContaining("in use by another run") },
        { status: "miss" },
      ]);
    },
  );

  needing(ptyReason)(`whose holder was killed is free at once${because(ptyReason)}`, async () => {
    await desk.hardware();
    const first = await desk.run(["console", "desk"], {
      with: (child) => {
        child.stderr?.once("data", () => child.kill("SIGKILL"));
      },
    });
    expect(first.signal).toBe("SIGKILL");
    expect((await desk.run(["power", "status", "desk"])).stdout.toString()).toBe("unknown\n");
  });

  needing(ptyReason)(`whose port another program has${because(ptyReason)}`, async () => {
    await desk.hardware();
    const elsewhere = { XDG_RUNTIME_DIR: path.join(cwd, "bin") };
    const { other } = await whileInUse(["boot", "desk"], { env: elsewhere });
    expect(other.code).toBe(3);
    expect(paragraph(other)).toMatch(/\/dev\/pts\/\d+/);
  });
});

describe("exec", () => {
  needing(ptyReason)(`passes the exit code on, over the console${because(ptyReason)}`, async () => {
    await desk.hardware(["sh", "-i"]);
    const result = await desk.run(["exec", "-q", "--to", "linux", "desk", "--", "echo hi; exit 7"]);
    expect([result.code, result.stdout.toString()]).toEqual([7, "hi\n"]);
    expect((await desk.run(["exec", "-q", "desk", "--", "true"])).code).toBe(0);
  });

  needing(sshdReason)(
    `keeps stdout and stderr apart, byte for byte, over SSH${because(sshdReason)}`,
    async () => {
      const sshd = await startSshd(cwd);
      cleanups.push(() => sshd.stop());
      const user = userInfo().username;
      await desk.hardware(
        ["sh", "-i"],
        `power: { driver: none }\nssh: { host: 127.0.0.1, port: ${sshd.port}, user: ${user}, key: { file: ${sshd.accepted} }, host_key: "${sshd.hostKey}" }\n`,
      );
      const script = String.raw`printf '\000\377\r\n\033[2J'; printf 'err\r\n' >&2; exit 42`;
      const result = await desk.run(["exec", "-q", "desk", "--", script]);
      expect(result.code).toBe(42);
      expect(result.stdout).toEqual(Buffer.from("\u0000\u00FF\r\n\u001B[2J", "latin1"));
      expect(result.stderr).toBe("err\r\n");
    },
  );

  needing(sshdReason)(
    `a wrong SSH key on either side is 255, at once${because(sshdReason)}`,
    async () => {
      const sshd = await startSshd(cwd);
      cleanups.push(() => sshd.stop());
      const ssh = (key: string, hostKey: string): string =>
        `power: { driver: none }\nssh: { host: 127.0.0.1, port: ${sshd.port}, user: ${userInfo().username}, key: { file: ${key} }, host_key: "${hostKey}" }\n`;
      await desk.hardware(["sh", "-i"], ssh(sshd.stranger, sshd.hostKey));
      const client = await desk.run(["exec", "desk", "--", "touch touched"]);
      expect(client.code).toBe(255);
      expect(paragraph(client)).toMatch(/refused the SSH client key of.*authorized_keys/s);

      await desk.hardware(["sh", "-i"], ssh(sshd.accepted, sshd.otherHostKey));
      const host = await desk.run(["boot", "desk", "--to", "linux"]);
      expect(host.code).toBe(3);
      expect(paragraph(host)).toMatch(/SSH host key is not the board's.*ssh\.host_key/s);
      expect(existsSync(path.join(cwd, "touched"))).toBe(false);
    },
  );

  test("its own failures are 255, its usage errors too", async () => {
    expect((await desk.run(["exec", "emulated", "--", "true"])).code).toBe(255);
    expect((await desk.run(["exec", "emulated"])).code).toBe(255);
    const empty = await desk.run(["exec", "emulated", "--", ""]);
    expect([empty.code, paragraph(empty)]).toEqual([
      255,
      expect.stringMatching(/no command to run/),
    ]);
  });
});
