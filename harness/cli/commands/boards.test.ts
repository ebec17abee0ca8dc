import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { noPty, onTerminal } from "../testing/pty.ts";
import { lockstep, LOCKSTEP, temporaryFolder } from "../testing/run-cli.ts";

// Every case starts processes; a busy machine takes its time.
jest.setTimeout(60_000);

const cleanups: (() => void)[] = [];
let cwd = "";

beforeEach(() => {
  cwd = temporaryFolder((remove) => cleanups.push(remove));
  mkdirSync(path.join(cwd, "boards"));
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

const write = (name: string, text: string): void =>
  writeFileSync(path.join(cwd, "boards", name), text);

test("the list shows every board, and a broken one with the place of its first mistake", async () => {
  write("broken.yaml", "type: qemu-virt\nimage: x\nfoo: 1\n");
  const { code, stdout } = await lockstep(["boards"], { cwd });
  expect(code).toBe(0);
  expect(stdout.toString().split("\n")).toEqual([
    expect.stringMatching(/^broken +broken {4}boards\/broken\.yaml:3:1: unknown key `foo`$/),
    expect.stringMatching(/^emulated +emulated {2}OP-TEE, /),
    expect.stringMatching(/^qemu-virt +qemu {6}TF-A, OP-TEE/),
    expect.stringMatching(/^qemu-virt-hyp +qemu {6}virtualized OP-TEE/),
    expect.stringMatching(/^qemu-virt-rpmb +qemu {6}OP-TEE with RPMB/),
    expect.stringMatching(
      /^qemu-virt-rpmb-huk +qemu {6}OP-TEE with RPMB and a hardware unique key of its/,
    ),
    expect.stringMatching(
      /^qemu-virt-rpmb-huk-compat +qemu {6}OP-TEE with RPMB, a hardware unique key and/,
    ),
    expect.stringMatching(/^qemu-virt-rpmb-hyp +qemu {6}virtualized OP-TEE with RPMB/),
    expect.stringMatching(
      /^qemu-virt-rpmb-probe +qemu {6}OP-TEE with RPMB in QEMU, which programs no/,
    ),
    expect.stringMatching(/^qemu-virt-rpmb-reset +qemu {6}OP-TEE that resets/),
    expect.stringMatching(/^qemu-virt-rpmb-testkey +qemu {6}OP-TEE with the test key/),
    expect.stringMatching(/^qemu-xen +qemu {6}Xen's OP-TEE mediator/),
    "",
  ]);
});

test("--json and --names are for scripts", async () => {
  const json = await lockstep(["boards", "list", "--json"], { cwd });
  const rows = JSON.parse(json.stdout.toString()) as { name: string; platform: string }[];
  expect(rows.map(({ name, platform }) => [name, platform])).toEqual([
    ["emulated", "emulated"],
    ["qemu-virt", "qemu"],
    ["qemu-virt-hyp", "qemu"],
    ["qemu-virt-rpmb", "qemu"],
    ["qemu-virt-rpmb-huk", "qemu"],
    ["qemu-virt-rpmb-huk-compat", "qemu"],
    ["qemu-virt-rpmb-hyp", "qemu"],
    ["qemu-virt-rpmb-probe", "qemu"],
    ["qemu-virt-rpmb-reset", "qemu"],
    ["qemu-virt-rpmb-testkey", "qemu"],
    ["qemu-xen", "qemu"],
  ]);
  const names = await lockstep(["boards", "list", "--names"], { cwd });
  expect(names.stdout.toString()).toBe(rows.map(({ name }) => `${name}\n`).join(""));
});

test("a board is shown with its type merged in, as YAML and as JSON", async () => {
  write("mine.yaml", "type: qemu-virt\nimages: { bios: fw.bin }\nqemu: { cpu: max }\n");
  const json = await lockstep(["boards", "show", "mine", "--json"], { cwd });
  expect(JSON.parse(json.stdout.toString())).toMatchObject({
    name: "mine",
    qemu: { cpu: "max", machine: "virt" },
    images: { bios: path.join(cwd, "boards", "fw.bin") },
  });
  const yaml = await lockstep(["boards", "show", "mine"], { cwd });
  expect(yaml.stdout.toString()).toMatch(/^qemu:\n(?: .*\n)* {2}cpu: max$/m);
});

test("a check lists all mistakes of all files, one line each, and exits 2", async () => {
  write("a.yaml", "type: qemu-virt\nimage: x\nfoo: 1\non_exit: of\n");
  write("b.yaml", "typ: emulated\n");
  const { code, stdout } = await lockstep(["boards", "check", "boards/a.yaml", "b"], { cwd });
  expect(code).toBe(2);
  expect(stdout.toString().trimEnd().split("\n")).toEqual([
    expect.stringMatching(/^boards\/a\.yaml:3:1: error: unknown key `foo`/),
    expect.stringMatching(/^boards\/a\.yaml:4:10: error: `on_exit` must be one of off, leave/),
    expect.stringMatching(/^boards\/b\.yaml:1:1: error: the file lacks the key `type`/),
    expect.stringMatching(/^boards\/b\.yaml:1:1: error: unknown key `typ`\. Did you mean "type"\?/),
  ]);
});

test("a check names images that are missing, which is no mistake of the file", async () => {
  write("a.yaml", "type: qemu-virt\nimages: { bios: fw.bin }\n");
  const { code, stdout } = await lockstep(["boards", "check", "a"], { cwd });
  expect(code).toBe(0);
  expect(stdout.toString()).toMatch(
    /^boards\/a\.yaml:2:17: missing: .*fw\.bin: no such file.*\na: ok, but 1 file is missing\n$/,
  );
});

test("a suite or an exclusion that xtest does not have is a mistake", async () => {
  write(
    "a.yaml",
    "type: qemu-virt\nimages: { bios: fw.bin }\nxtest: { suites: [regresion], exclude: [regression_100] }\n",
  );
  const { code, stdout } = await lockstep(["boards", "check", "a"], { cwd });
  expect(code).toBe(2);
  expect(stdout.toString().split("\n").slice(0, 2)).toEqual([
    expect.stringMatching(/^boards\/a\.yaml:3:19: error: .*did you mean "regression"\?/),
    expect.stringMatching(/^boards\/a\.yaml:3:41: error: .*no case "regression_100".*full id/),
  ]);
});

test("what is known of a board's divergences is checked with it; an expired entry is no mistake", async () => {
  write("a.yaml", "type: qemu-virt\nimage: qemu-virt\n");
  const folder = path.join(cwd, "boards", "expectations", "divergences");
  mkdirSync(folder, { recursive: true });
  const entry = {
    id: "old",
    cases: ["fuzz.campaign"],
    what: { kind: "extra call", call: "RPC NOTIFICATION" },
    clause: "MSG-3.NOTIFICATION",
    reason: "a lock that is not modelled yet",
    owner: "lab",
    expires: "2020-01-31",
  };
  const store = (divergences: unknown[]): void =>
    writeFileSync(path.join(folder, "a.yaml"), JSON.stringify({ divergences }, undefined, 1));
  store([entry]);
  const old = await lockstep(["boards", "check", "a"], { cwd });
  expect([old.code, old.stdout.toString()]).toEqual([
    0,
    expect.stringMatching(
      /^boards\/expectations\/divergences\/a\.yaml:15:15: expired: known divergence old expired on 2020-01-31\. .*\na: ok, but 1 known divergence has expired\n$/,
    ),
  ]);
  store([{ ...entry, clause: "MSG-3.NOTIFICATON" }, entry]);
  const wrong = await lockstep(["boards", "check", "a"], { cwd });
  expect(wrong.code).toBe(2);
  expect(wrong.stdout.toString()).toMatch(
    /error: there is no clause MSG-3\.NOTIFICATON\. .*NOTIFICATION/,
  );
  expect(wrong.stdout.toString()).toMatch(/error: there is a second entry old/);
  const doctor = await lockstep(["doctor", "a", "--json"], { cwd });
  expect(doctor.stdout.toString()).toMatch(
    /"what": "known divergences",\s*"detail": ".*MSG-3\.NOTIFICATON/,
  );
});

test.each(["emulated", "qemu-virt"])(
  "a new board of type %s is written once and loads",
  async (type) => {
    const args = ["boards", "new", "--type", type, "--name", "fresh"];
    const first = await lockstep(args, { cwd });
    const file = path.join(cwd, "boards", "fresh.yaml");
    expect([first.code, first.stdout.toString()]).toEqual([0, `${file}\n`]);
    const text = readFileSync(file, "utf8");
    expect((await lockstep(["boards", "check", "fresh"], { cwd })).code).toBe(0);

    const again = await lockstep(args, { cwd });
    expect([again.code, readFileSync(file, "utf8")]).toEqual([2, text]);
    expect(again.stderr).toMatch(/fresh\.yaml exists already/);
  },
);

test("every line that the template comments out is a key that exists", async () => {
  await lockstep(["boards", "new", "--type", "qemu-virt", "--name", "full"], { cwd });
  const file = path.join(cwd, "boards", "full.yaml");
  const text = readFileSync(file, "utf8")
    .replace("image: qemu-virt\n", "")
    .replaceAll(/^# (?=(?:images|qemu|description|ssh|power):| {2,}\w)/gm, "");
  writeFileSync(file, text);
  const { stdout } = await lockstep(["boards", "check", "full"], { cwd });
  expect(stdout.toString()).not.toMatch(/error/);
  expect(stdout.toString()).toMatch(/missing: .*out\/bin\/Image/);
});

test("without a terminal nothing is asked: what is missing is said", async () => {
  const type = await lockstep(["boards", "new"], { cwd });
  const name = await lockstep(["boards", "new", "--type", "emulated"], { cwd });
  expect([type.code, name.code]).toEqual([2, 2]);
  expect(type.stderr).toMatch(/needs --type where there is no terminal.*emulated, qemu-virt/);
  expect(name.stderr).toMatch(/needs --name/);
});

test("a name that leads out of the folder is refused", async () => {
  const { code } = await lockstep(["boards", "new", "--type", "emulated", "--name", "../x"], {
    cwd,
  });
  expect([code, existsSync(path.join(cwd, "x.yaml"))]).toEqual([2, false]);
});

const missing = noPty();
(missing === undefined ? test : test.skip)(
  `on a terminal it asks, with proposals${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  async () => {
    const { code, stdout } = await onTerminal([process.execPath, LOCKSTEP, "boards", "new"], {
      cwd,
      input: "emulated\n\n",
    });
    expect([code, stdout.toString()]).toEqual([
      0,
      expect.stringContaining("Board name [my-emulated]"),
    ]);
    expect(existsSync(path.join(cwd, "boards", "my-emulated.yaml"))).toBe(true);
  },
);
