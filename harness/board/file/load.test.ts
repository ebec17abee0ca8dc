import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  messageOf,
  BoardFileError,
  describeError,
  packageRoot,
  UsageError,
} from "../../base/index.ts";
import { type BoardConfig, checkBoardFile, listBoards, loadBoard, missingFiles } from "../index.ts";

let dir = "";
const env = {};

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-boards-"));
  mkdirSync(path.join(dir, "boards", "types"), { recursive: true });
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const search = (): { env: NodeJS.ProcessEnv; cwd: string } => ({ env, cwd: dir });

function file(name: string, text: string | Uint8Array): string {
  const full = path.join(dir, "boards", name);
  mkdirSync(path.dirname(full), { recursive: true });
  writeFileSync(full, text);
  return full;
}

async function load(name: string): Promise<BoardConfig> {
  return await loadBoard(name, search());
}

async function refusal(text: string | Uint8Array): Promise<BoardFileError> {
  const made = file("bad.yaml", text);
  const error: unknown = await loadBoard(made, search()).catch((thrown: unknown) => thrown);
  if (!(error instanceof BoardFileError)) throw new Error(`not refused: ${String(error)}`);
  return error;
}

const place = (error: BoardFileError): string => (error.where ?? "").replace(/^.*bad\.yaml/, "");

/** The example in the documentation that names the output of OP-TEE's own build. */
function example(): string {
  const text = readFileSync(path.join(packageRoot, "docs", "board-files.md"), "utf8");
  const [, yaml = ""] = /```yaml\n(# boards\/optee-build\.yaml\n[\s\S]*?)```/.exec(text) ?? [];
  return yaml;
}

describe("the boards that come with lockstep", () => {
  test("emulated needs nothing but its type", async () => {
    const board = await load("emulated");
    expect(board).toMatchObject({ platform: "emulated", power: { driver: "none" }, consoles: [] });
    expect(board.qemu).toBeUndefined();
  });

  test("qemu-virt is a secure machine with two consoles, SSH and the reference image", async () => {
    const board = await load("qemu-virt");
    expect(board.qemu).toMatchObject({
      machine: "virt",
      options: { secure: "on", "gic-version": "3", acpi: "off" },
      cpu: "cortex-a53",
      cores: 2,
      memoryMiB: 1024,
    });
    expect(board.consoles).toEqual([
      { name: "normal", primary: true, port: { qemuSerial: 0 } },
      { name: "secure", primary: false, port: { qemuSerial: 1 } },
    ]);
    expect(board).toMatchObject({ image: "qemu-virt", images: {}, ssh: { host: "forward" } });
    expect(board.xtest).toMatchObject({ over: "ssh", level: 0, suites: ["regression", "pkcs11"] });
    expect(board.boot?.bootloader.timeoutMs).toBe(60_000);
  });

  test("all of them, and their types, satisfy the published schemas", async () => {
    for (const board of await listBoards({ env, dirs: [path.join(packageRoot, "boards")] })) {
      expect(await checkBoardFile(board.file, search())).toEqual([]);
    }
  });

  test("every file names its schema for editors", () => {
    for (const name of ["emulated", "qemu-virt", "types/emulated", "types/qemu-virt"]) {
      const text = readFileSync(path.join(packageRoot, "boards", `${name}.yaml`), "utf8");
      const [, schema = ""] = /^# yaml-language-server: \$schema=(\S+)$/m.exec(text) ?? [];
      const where = path.join(packageRoot, "boards", path.dirname(name), schema);
      expect(JSON.parse(readFileSync(where, "utf8"))).toHaveProperty("title");
    }
  });
});

describe("merging", () => {
  test("the board wins over its type: maps key by key, lists as a whole", async () => {
    file(
      "types/t.yaml",
      "platform: qemu\nsoc: s\nqemu:\n  machine: virt\n  cpu: max\n  memory: 2GiB\n  options: { a: 1, b: on }\n  extra: [x, y]\nxtest: { over: console, suites: [regression, pkcs11] }\nconsoles: { normal: { serial: 0 } }\n",
    );
    file(
      "b.yaml",
      "type: t\nimage: qemu-virt\nqemu:\n  cpu: cortex-a53\n  options: { b: off }\n  extra: [z]\nxtest: { suites: [pkcs11] }\n",
    );
    const board = await load("b");
    expect(board.qemu).toEqual({
      binary: "qemu-system-aarch64",
      machine: "virt",
      options: { a: "1", b: "off" },
      cpu: "cortex-a53",
      cores: 1,
      memoryMiB: 2048,
      extra: ["z"],
    });
    expect(board.xtest?.suites).toEqual(["pkcs11"]);
    expect(board.xtest?.over).toBe("console");
    expect(board.type).toBe("t");
  });

  test("a secret is replaced as a whole, not mixed from both files", async () => {
    file("types/t.yaml", "platform: hardware\nsoc: s\nssh: { host: h, key: { file: k } }\n");
    file("b.yaml", "type: t\nconsoles: { c: { device: /dev/x } }\nssh: { key: { env: KEY } }\n");
    expect((await load("b")).ssh?.key).toEqual({ env: "KEY" });
  });

  test("relative paths are relative to the file in which they stand", async () => {
    file(
      "types/t.yaml",
      "platform: qemu\nsoc: s\nqemu: { machine: virt, cpu: max, memory: 1GiB, binary: ./bin/qemu }\nimages: { kernel: Image, append: a/b }\nconsoles: { c: { serial: 0 } }\n",
    );
    file(
      "b.yaml",
      "type: t\nimages: { bios: ../fw.bin }\nssh: { host_key: ssh-ed25519 AAAA, key: { file: k } }\n",
    );
    const board = await load("b");
    expect(board.images).toEqual({
      bios: path.join(dir, "fw.bin"),
      kernel: path.join(dir, "boards/types/Image"),
      append: "a/b",
    });
    expect(board.qemu?.binary).toBe(path.join(dir, "boards/types/bin/qemu"));
    expect(board.ssh).toMatchObject({
      hostKey: "ssh-ed25519 AAAA",
      key: { file: path.join(dir, "boards/k") },
    });
  });

  test("a hypervisor needs a place for its guest's kernel, and its guest the machine's RAM", async () => {
    const type = "platform: qemu\nsoc: s\nconsoles: { c: { serial: 0 } }\n";
    const qemu = "machine: virt, cpu: max, memory: 1GiB";
    const images = "images: { bios: fw, kernel: Image, hypervisor: xen, hypervisor_append: a/b }\n";
    file("types/t.yaml", type);
    file("no-place.yaml", `type: t\nqemu: { ${qemu} }\n${images}`);
    await expect(load("no-place")).rejects.toThrow("a hypervisor needs a place");
    file(
      "whole.yaml",
      `type: t\nqemu: { ${qemu}, guest_loader: { address: 0x50000000 } }\n${images}`,
    );
    const { images: files, qemu: machine } = await load("whole");
    expect(files).toMatchObject({
      hypervisor: path.join(dir, "boards/xen"),
      hypervisorAppend: "a/b",
    });
    expect(machine?.guestLoader).toEqual({ address: 0x5000_0000 });
    const free = "free_ram: { base: 0x90000000, size: 64MiB }";
    file(
      "guest.yaml",
      `type: t\nqemu: { ${qemu} }\nimages: { bios: fw }\nbridge: { guest: xen, ${free} }\n`,
    );
    await expect(load("guest")).rejects.toThrow("needs `bridge.ram_base`");
  });
});

describe("finding", () => {
  test("./boards comes before LOCKSTEP_BOARDS_PATH, and that before lockstep's own", async () => {
    const more = path.join(dir, "more");
    mkdirSync(more);
    writeFileSync(path.join(more, "emulated.yaml"), "type: emulated\ndescription: more\n");
    writeFileSync(path.join(more, "extra.yaml"), "type: emulated\n");
    const withMore = { cwd: dir, env: { LOCKSTEP_BOARDS_PATH: more } };
    expect((await loadBoard("emulated", withMore)).description).toBe("more");
    file("emulated.yaml", "type: emulated\ndescription: here\n");
    expect((await loadBoard("emulated", withMore)).description).toBe("here");
    expect((await listBoards(withMore)).map(({ name }) => name)).toEqual([
      "emulated",
      "extra",
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

  test("a name with a slash or .yaml is a path", async () => {
    file("b.yaml", "type: emulated\n");
    expect((await load("boards/b.yaml")).name).toBe("b");
    await expect(load("b.yaml")).rejects.toThrow(/^no such file$/);
  });

  test("an unknown board names the one that was probably meant", async () => {
    const error: unknown = await load("qemu-vrit").catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(UsageError);
    expect(describeError(error)).toMatch(
      /did you mean "qemu-virt"\? Known boards: emulated, qemu-virt, qemu-virt-hyp/,
    );
  });

  test("a board may bring its type along in a folder beside it", async () => {
    const lab = path.join(dir, "lab");
    mkdirSync(path.join(lab, "types"), { recursive: true });
    writeFileSync(path.join(lab, "types", "own.yaml"), "platform: emulated\nsoc: mine\n");
    writeFileSync(path.join(lab, "b.yaml"), "type: own\n");
    expect((await load("lab/b.yaml")).soc).toBe("mine");
  });
});

describe("what is refused, with line and column", () => {
  test.each<[string, string, string, RegExp]>([
    [
      "an unknown key",
      "type: emulated\nconsols: {}\n",
      ":2:1",
      /unknown key `consols`.*Did you mean "consoles"\?/,
    ],
    [
      "an unknown key inside a section",
      "type: qemu-virt\nqemu:\n  machin: x\n",
      ":3:3",
      /unknown key `machin` in `qemu`.*"machine"/,
    ],
    [
      "a number for a text",
      "type: qemu-virt\nqemu: { memory: 1024 }\n",
      ":2:17",
      /must be a text, not the number 1024 \(e\.g\. 1024MiB\)/,
    ],
    [
      "a text for a number",
      'type: qemu-virt\nssh: { port: "22" }\n',
      ":2:14",
      /must be a whole number, not "22"/,
    ],
    [
      "a time without its unit",
      "type: qemu-virt\nxtest: { case_timeout: 300 }\n",
      ":2:24",
      /500ms, 60s or 5m/,
    ],
    [
      "a deadline of no time",
      "type: qemu-virt\nxtest: { case_timeout: 0.0s }\n",
      ":2:24",
      /does not have the right form: "0\.0s"/,
    ],
    [
      "a list of nothing",
      "type: qemu-virt\nxtest: { suites: [] }\n",
      ":2:18",
      /`xtest\.suites` must not be empty/,
    ],
    [
      "an unknown reference image",
      "type: qemu-virt\nimage: qemu-vrt\n",
      ":2:8",
      /no reference image "qemu-vrt"; did you mean "qemu-virt"\? Known images: qemu-virt, qemu-virt-hyp/,
    ],
    [
      "two firmwares",
      "type: qemu-virt\nimages: { bios: a, flash: b }\n",
      ":2:27",
      /`bios` and `flash` exclude each other/,
    ],
    [
      "a type file that is not there",
      "type: ./types/none.yaml\n",
      ":1:7",
      /the type file .*none\.yaml: no such file/,
    ],
    ["a list for a map", "type: qemu-virt\nboot: [1]\n", ":2:7", /must be a map, not a list/],
    ["an empty section", "type: qemu-virt\nboot:\n", ":2:6", /must be a map, not nothing/],
    [
      "a wrong word",
      "type: qemu-virt\non_exit: of\n",
      ":2:10",
      /one of off, leave; not "of".*Did you mean "off"/,
    ],
    ["a missing type", "description: x\n", ":1:1", /lacks the key `type`/],
    [
      "an unknown type",
      "type: qemu-vrt\n",
      ":1:7",
      /no board type "qemu-vrt"; did you mean "qemu-virt"\?/,
    ],
    [
      "a literal password",
      "type: qemu-virt\nboot: { linux: { password: hunter2 } }\n",
      ":2:28",
      /a secret never stands in a board file.*\{ env: NAME \}/,
    ],
    [
      "a literal key",
      "type: qemu-virt\nssh:\n  key: |\n    -----BEGIN\n",
      ":3:8",
      /a secret never stands in a board file/,
    ],
    [
      "two ways to one secret",
      "type: qemu-virt\nssh: { key: { env: A, file: b } }\n",
      ":2:13",
      /exactly one of the keys env, file/,
    ],
    [
      "a key twice",
      "type: qemu-virt\nimage: a\nimage: b\n",
      ":3:1",
      /not valid YAML: Map keys must be unique/,
    ],
    ["a syntax error", "type: [qemu-virt\nimage: x\n", ":2:1", /not valid YAML/],
    ["a tab for indentation", "type: qemu-virt\nqemu:\n\tcpu: max\n", ":3:1", /not valid YAML/],
    ["an unknown tag", "type: !!js/function x\n", ":1:7", /not valid YAML: Unresolved tag/],
    ["two documents", "type: emulated\n---\ntype: emulated\n", ":2:1", /multiple documents/],
    ["an empty file", "", ":1:1", /the file is empty/],
    ["a list", "- a\n", ":1:1", /the file is not a map/],
    [
      "a key with a special meaning in JavaScript",
      "type: emulated\n__proto__: { a: 1 }\n",
      ":2:1",
      /unknown key `__proto__`/,
    ],
    [
      "a bad console name",
      "type: qemu-virt\nconsoles: { Bad_Name: { serial: 3 } }\n",
      ":2:13",
      /characters that are not allowed/,
    ],
    [
      "a broken pattern",
      'type: qemu-virt\nimage: x\nboot: { linux: { prompt: "([" } }\n',
      ":3:26",
      /not a regular expression/,
    ],
    [
      "RAM that is too little for the conduits",
      "type: qemu-virt\nimage: x\nconduits: [vm]\nbridge: { free_ram: { base: 0x48000000, size: 32MiB } }\n",
      ":4:47",
      /32 MiB are too little for scenarios on vm: they take 64 MiB/,
    ],
    [
      "two primary consoles",
      "type: qemu-virt\nimage: x\nconsoles: { secure: { primary: true } }\n",
      ":3:11",
      /exactly one console must be `primary: true`; seen: normal, secure/,
    ],
    [
      "one port for two consoles",
      "type: qemu-virt\nimage: x\nconsoles: { third: { serial: 0 } }\n",
      ":3:30",
      /0 is already the normal console/,
    ],
    [
      "a device on QEMU",
      "type: qemu-virt\nimage: x\nconsoles: { third: { serial: 2, device: /dev/ttyUSB0 } }\n",
      ":3:41",
      /named by `serial`, not `device`/,
    ],
    ["nothing to boot", "type: qemu-virt\n", ":1:1", /nothing to boot/],
    [
      "QEMU left running",
      "type: qemu-virt\nimage: x\non_exit: leave\n",
      ":3:10",
      /QEMU ends with the command/,
    ],
    [
      "switching off what cannot be switched",
      "type: ./types/hw.yaml\nconsoles: { c: { device: /dev/x } }\npower: { driver: none }\non_exit: off\n",
      ":4:10",
      /no power driver/,
    ],
    [
      "a word for a section",
      "type: qemu-virt\nssh: no\n",
      ":2:6",
      /`ssh` does not have the right form: "no" \(e\.g\. \{ host: 192\.0\.2\.10 \} or none\)/,
    ],
    [
      "xtest over an SSH that is not there",
      "type: ./types/hw.yaml\nconsoles: { c: { device: /dev/x } }\nxtest: { over: ssh }\n",
      ":3:16",
      /needs an `ssh` section/,
    ],
    [
      "a section that means nothing",
      "type: emulated\nssh: { host: x }\n",
      ":2:6",
      /`ssh` means nothing/,
    ],
  ])("%s", async (_what, text, where, message) => {
    file("types/hw.yaml", "platform: hardware\nsoc: s\n");
    const error = await refusal(text);
    expect([place(error), describeError(error)]).toEqual([where, expect.stringMatching(message)]);
    expect(describeError(error)).not.toMatch(/\n/);
  });

  test("an alias bomb, quickly", async () => {
    const lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"];
    for (let i = 1; i < 30; i += 1) {
      lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(", ")}]`);
    }
    expect(describeError(await refusal(lines.join("\n")))).toMatch(/alias count/);
  });

  test("bytes that are no text", async () => {
    expect(await refusal(Uint8Array.of(0, 1, 0xff, 0xfe))).toBeInstanceOf(BoardFileError);
  });

  test("a file that is far too large, unread", async () => {
    expect(describeError(await refusal(new Uint8Array(2 << 20)))).toMatch(/at most 1048576/);
  });

  test("a mistake in the type file names the type file", async () => {
    const type = file("types/t.yaml", "platform: qemu\nsoc: s\nqemu: { cpus: 2 }\n");
    const made = file("b.yaml", "type: t\n");
    const [problem] = await checkBoardFile(made, search());
    expect(problem).toMatchObject({ file: type, line: 3, column: 9 });
  });

  test("the first problem is thrown with the number of the others, and a check lists all", async () => {
    const text = "type: qemu-virt\nimage: x\nfoo: 1\nbar: 2\nbaz: 3\n";
    const error = await refusal(text);
    expect(error.next).toMatch(/2 more problems: `lockstep boards check .*bad\.yaml` lists all/);
    const all = await checkBoardFile(path.join(dir, "boards/bad.yaml"), search());
    expect(all.map(({ line }) => line)).toEqual([3, 4, 5]);
  });
});

describe("files that cannot be read", () => {
  test("a missing one", async () => {
    await expect(load("./none.yaml")).rejects.toThrow(/^no such file$/);
  });

  test("a folder", async () => {
    await expect(load(`${dir}/`)).rejects.toThrow("is not a file");
  });

  test("one without permission", async () => {
    const made = file("b.yaml", "type: emulated\n");
    await load("boards/b.yaml");
    chmodSync(made, 0);
    chmodSync(dir, 0o755);
    const root = process.geteuid?.() === 0;
    // Root may read everything, so the file is looked at as somebody else.
    if (root) process.seteuid?.(65_534);
    try {
      await expect(load("boards/b.yaml")).rejects.toThrow("may not be read by you");
    } finally {
      if (root) process.seteuid?.(0);
    }
  });
});

describe("images of one's own", () => {
  test("the output folder of OP-TEE's QEMU build is usable by naming its files", async () => {
    file("optee-build.yaml", example());
    const board = await load("optee-build");
    expect(board.images).toEqual({
      bios: path.join(dir, "out/bin/bl1.bin"),
      kernel: path.join(dir, "out/bin/Image"),
      initrd: path.join(dir, "out/bin/rootfs.cpio.gz"),
      append: "console=ttyAMA0,38400 keep_bootcon root=/dev/vda2",
    });
    expect(board.image).toBeUndefined();
    expect(board.qemu).toMatchObject({
      options: { secure: "on" },
      memoryMiB: 1057,
      extra: ["-semihosting-config", "enable=on,target=native"],
    });
    expect(board.xtest?.over).toBe("console");
    expect(board.ssh).toBeUndefined();
  });

  test("what is missing is named at the place that names it", async () => {
    const made = file("optee-build.yaml", example());
    const bin = path.join(dir, "out", "bin");
    mkdirSync(bin, { recursive: true });
    for (const name of ["bl1.bin", "rootfs.cpio.gz"]) writeFileSync(path.join(bin, name), "x");
    const missing = await missingFiles(made, search());
    expect(missing).toEqual([
      expect.objectContaining({ file: made, line: 6, message: `${bin}/Image: no such file` }),
    ]);
    writeFileSync(path.join(bin, "Image"), "x");
    expect(await missingFiles(made, search())).toEqual([]);
  });

  test("the walk-through for a board on a serial cable is a whole board file", async () => {
    const text = readFileSync(path.join(packageRoot, "docs", "bridge.md"), "utf8");
    const examples = [...text.matchAll(/```yaml\n# boards\/([^\s:]+): [^\n]*\n([\s\S]*?)```/g)];
    for (const [, name = "", yaml = ""] of examples) file(name, yaml);
    expect(await load("my-evk")).toMatchObject({
      platform: "hardware",
      onExit: "leave",
      power: { driver: "none" },
      conduits: ["direct", "hwdom"],
      bridge: { freeRam: { base: 0x6000_0000, size: 64 * 1024 * 1024 }, lineLimit: 512 },
    });
  });

  test("a bridge needs RAM, shared RAM a QEMU board, and a folder of TAs must be there", async () => {
    const hardware = [
      "platform: hardware",
      "soc: X",
      "consoles: { a: { device: /dev/x } }",
      "power: { driver: none }",
    ].join("\n");
    file("types/x.yaml", hardware);
    const problemsOf = async (bridge: string): Promise<string> => {
      file("x.yaml", `type: x\nbridge: ${bridge}\n`);
      return await load("x").then(
        () => "nothing",
        (error: unknown) => messageOf(error),
      );
    };
    const ram = "free_ram: { base: 0x60000000, size: 64MiB }";
    expect(await problemsOf("{ line_limit: 512 }")).toMatch(/lacks the key `free_ram`/);
    expect(await problemsOf(`{ ${ram}, transport: shared-ram }`)).toMatch(/is for QEMU boards/);
    await problemsOf(`{ ${ram}, tas: ../none, reset: each }`);
    expect(await load("x")).toMatchObject({
      bridge: { tas: path.join(dir, "none"), reset: "each" },
    });
    const missing = await missingFiles(path.join(dir, "boards", "x.yaml"), { cwd: dir, env: {} });
    expect(missing.map(({ message }) => message)).toEqual([
      `${path.join(dir, "none")}: no such folder`,
    ]);
  });

  test("the other examples of the documentation load too", async () => {
    const text = readFileSync(path.join(packageRoot, "docs", "board-files.md"), "utf8");
    const examples = [...text.matchAll(/```yaml\n# boards\/(\S+)\n([\s\S]*?)```/g)];
    for (const [, name = "", yaml = ""] of examples) file(name, yaml);
    expect(examples.length).toBeGreaterThanOrEqual(3);
    expect(await load("shelf-3")).toMatchObject({
      platform: "hardware",
      soc: "i.MX8M Plus",
      characterDelayMs: 5,
      power: { driver: "command", on: "pdu on 4", settleMs: 5000 },
      ssh: { host: "192.0.2.10", hostKey: path.join(dir, "boards/keys/shelf-3-host.pub") },
    });
  });
});
