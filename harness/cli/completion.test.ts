import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, describe, expect, jest, test } from "@jest/globals";
import { COMMANDS } from "./command-table.ts";
import { lockstep, LOCKSTEP, runProgram, temporaryFolder } from "./testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

/** A folder with a board `shelf-3` and a `lockstep` on PATH. */
function workplace(): { dir: string; env: Record<string, string> } {
  const dir = temporaryFolder((remove) => cleanups.push(remove));
  for (const sub of ["boards", "bin"]) mkdirSync(path.join(dir, sub));
  writeFileSync(path.join(dir, "boards", "shelf-3.yaml"), "type: emulated\n");
  writeFileSync(path.join(dir, "run.sh"), "");
  writeFileSync(
    path.join(dir, "bin", "lockstep"),
    `#!/bin/sh\nexec "${process.execPath}" "${LOCKSTEP}" "$@"\n`,
    { mode: 0o755 },
  );
  symlinkSync(process.execPath, path.join(dir, "bin", "node"));
  return { dir, env: { PATH: `${path.join(dir, "bin")}:${process.env["PATH"] ?? ""}` } };
}

/** What bash offers for a command line that ends at the cursor. */
async function bash(line: string): Promise<string[]> {
  const { dir, env } = workplace();
  // As readline does it: "=" is a word of its own.
  const words = line.split(/(=)|\s+/).filter((word) => word !== undefined);
  const script = `source <(lockstep completion bash)
    COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
    _lockstep; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { code, stdout, stderr } = await runProgram("bash", ["-c", script], { cwd: dir, env });
  expect([code, stderr]).toEqual([0, ""]);
  return stdout
    .toString()
    .split("\n")
    .filter((word) => word !== "")
    .toSorted();
}

describe("bash", () => {
  test("commands", async () => {
    expect(await bash("lockstep ")).toEqual(
      [...COMMANDS.map(({ name }) => name), "help"].toSorted(),
    );
    expect(await bash("lockstep boa")).toEqual(["boards"]);
    expect(await bash("lockstep help comp")).toContain("completion");
  });

  test("subcommands", async () => {
    expect(await bash("lockstep boards ")).toEqual(["check", "list", "new", "show"]);
    expect(await bash("lockstep --debug boards sh")).toEqual(["show"]);
  });

  test("options, of a command and of its subcommand", async () => {
    expect(await bash("lockstep --")).toEqual(["--help", "--version"]);
    expect(await bash("lockstep boards new --")).toEqual([
      "--debug",
      "--help",
      "--name",
      "--no-color",
      "--out",
      "--type",
    ]);
    expect(await bash("lockstep boards list --j")).toEqual(["--json"]);
  });

  test("board names, those of the working folder included", async () => {
    expect(await bash("lockstep boards show ")).toEqual([
      "emulated",
      "qemu-virt",
      "qemu-virt-hyp",
      "qemu-virt-rpmb",
      "qemu-virt-rpmb-huk",
      "qemu-virt-rpmb-huk-compat",
      "qemu-virt-rpmb-hyp",
      "qemu-virt-rpmb-probe",
      "qemu-virt-rpmb-reset",
      "qemu-virt-rpmb-testkey",
      "qemu-xen",
      "shelf-3",
    ]);
    expect(await bash("lockstep boards show q")).toEqual([
      "qemu-virt",
      "qemu-virt-hyp",
      "qemu-virt-rpmb",
      "qemu-virt-rpmb-huk",
      "qemu-virt-rpmb-huk-compat",
      "qemu-virt-rpmb-hyp",
      "qemu-virt-rpmb-probe",
      "qemu-virt-rpmb-reset",
      "qemu-virt-rpmb-testkey",
      "qemu-xen",
    ]);
  });

  test("choices of an argument", async () => {
    expect(await bash("lockstep completion ")).toEqual(["bash", "zsh"]);
  });

  test("files and everything after -- are left to the shell", async () => {
    expect(await bash("lockstep boards new --out ")).toEqual([]);
    expect(await bash("lockstep boards -- ")).toEqual([]);
  });

  test("the script can be loaded by name and by path", async () => {
    const { stdout } = await lockstep(["completion", "bash"]);
    expect(stdout.toString()).toMatch(
      /complete -o bashdefault -o default -F _lockstep lockstep\n$/,
    );
  });
});

const zshMissing = spawnSync("zsh", ["--version"]).status !== 0;
const inZsh = zshMissing ? test.skip : test;
const reason = zshMissing ? " (skipped: zsh is not installed)" : "";

describe("zsh", () => {
  inZsh(`the script loads and offers what bash offers${reason}`, async () => {
    const { dir, env } = workplace();
    const offer = async (words: string[]): Promise<string[]> => {
      // The completion builtins work only inside the line editor, so they are recorded instead.
      const script = `compdef() { :; }
        source <(lockstep completion zsh)
        _describe() { shift; local -a all=("\${(@P)1}"); print -l -- "\${(@)all%%:*}"; }
        compadd() { shift; print -l -- "$@"; }
        _files() { print FILES; }
        words=(${words.map((word) => `'${word}'`).join(" ")}); CURRENT=${words.length}
        _lockstep`;
      const { stdout, stderr } = await runProgram("zsh", ["-f", "-c", script], { cwd: dir, env });
      expect(stderr).toBe("");
      return stdout.toString().trim().split("\n").toSorted();
    };
    expect(await offer(["lockstep", ""])).toEqual(
      [...COMMANDS.map(({ name }) => name), "help"].toSorted(),
    );
    expect(await offer(["lockstep", "boards", ""])).toEqual(["check", "list", "new", "show"]);
    expect(await offer(["lockstep", "boards", "show", ""])).toEqual([
      "emulated",
      "qemu-virt",
      "qemu-virt-hyp",
      "qemu-virt-rpmb",
      "qemu-virt-rpmb-huk",
      "qemu-virt-rpmb-huk-compat",
      "qemu-virt-rpmb-hyp",
      "qemu-virt-rpmb-probe",
      "qemu-virt-rpmb-reset",
      "qemu-virt-rpmb-testkey",
      "qemu-xen",
      "shelf-3",
    ]);
    expect(await offer(["lockstep", "boards", "new", "--"])).toContain("--type");
    expect(await offer(["lockstep", "completion", ""])).toEqual(["bash", "zsh"]);
    expect(await offer(["lockstep", "boards", "check", ""])).toEqual(["FILES"]);
  });
});
