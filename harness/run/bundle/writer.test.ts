import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import {
  type Clock,
  InfrastructureError,
  InternalError,
  SecretStore,
  UsageError,
} from "../../base/index.ts";
import type { CaseResult, ClauseCatalogue, FactsSheet, RunEvent, RunInfo } from "../model.ts";
import { BundleReader } from "./reader.ts";
import { type BundleOptions, BundleWriter, type RunStart } from "./writer.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let root: string;
let dir: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-bundle-"));
  dir = path.join(root, "out");
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const START: RunStart = {
  id: "run-1",
  lockstep: "0.1.0",
  node: "v20.19.0",
  command: ["lockstep", "run"],
  seed: 1,
};

const FACTS: FactsSheet = {
  board: "b",
  boardType: "qemu-virt",
  platform: "qemu",
  versions: {},
  images: {},
  packages: {},
  machine: {},
  hab: "unknown",
  huk: "unknown",
  rpmb: "unknown",
};

/** 16 bytes that count up, as a dump has them. */
const bytesFrom = (first: number): string =>
  Array.from({ length: 16 }, (_, i) => (first + i).toString(16)).join(" ");

const CATALOGUE: ClauseCatalogue = {
  format: 1,
  unitTests: true,
  sheets: [{ name: "SMC", title: "SMC ABI" }],
  clauses: [
    {
      id: "SMC-4.1.7",
      sheet: "SMC",
      level: "S",
      summary: "at most 127 parameters",
      source: "os",
      status: "implemented",
      unitTests: 1,
    },
    {
      id: "SMC-2.OK",
      sheet: "SMC",
      summary: "completed",
      source: "os",
      status: "out-of-scope",
      reason: "for this test",
      unitTests: 0,
    },
  ],
};

function handClock(): Clock & { ms: number } {
  return {
    ms: 0,
    monotonicMs() {
      return this.ms;
    },
    wallMs() {
      return 1_700_000_000_000 + this.ms;
    },
  };
}

async function create(
  options: BundleOptions = {},
  start: Partial<RunStart> = {},
): Promise<BundleWriter> {
  return await BundleWriter.create(
    dir,
    { ...START, ...start },
    { runtimeDir: path.join(root, "rt"), clock: handClock(), ...options },
  );
}

function result(id: string, more: Partial<CaseResult> = {}): CaseResult {
  return { target: "b", suite: "s", id, title: id, status: "pass", ...more };
}

const read = (name: string): string => readFileSync(path.join(dir, name), "utf8");

async function events(reader: BundleReader): Promise<RunEvent[]> {
  const all: RunEvent[] = [];
  for await (const event of reader.events()) all.push(event);
  return all;
}

describe("a finished bundle", () => {
  test("gives back everything that was handed over", async () => {
    const clock = handClock();
    const writer = await create({ clock });
    writer.facts(FACTS);
    writer.catalogue(CATALOGUE);
    writer.event({ type: "stage-start", target: "b", stage: "linux" });
    clock.ms = 1500.25;
    writer.event({ type: "stage-end", target: "b", stage: "linux", ok: true });
    writer.raw("b", "normal", Buffer.from([0, 255, 13, 10]));
    writer.raw("b", "secure", Buffer.from("I/TC: hello\r\n"));
    writer.result(result("s.two", { status: "skip", reason: "no device" }));
    writer.result(result("s.one", { clauses: ["B-2", "A-1"] }));
    writer.totals({ target: "b", suite: "s", cases: 2, failed: 0, skipped: 1 });
    writer.problem("something outside any case");
    const info = await writer.finish({ exitCode: 0 });

    const reader = await BundleReader.open(dir);
    expect(reader.info).toEqual(info);
    expect(reader.incomplete).toBe(false);
    expect(reader.catalogue).toEqual(CATALOGUE);
    expect(Object.keys(info.files ?? {})).toContain("clauses.json");
    expect(reader.info).toMatchObject({
      state: "complete",
      exitCode: 0,
      facts: [FACTS],
      problems: ["something outside any case"],
      redactions: [],
    });
    expect(reader.results.cases.map((one) => one.id)).toEqual(["s.one", "s.two"]);
    expect(reader.results.cases[0]?.clauses).toEqual(["A-1", "B-2"]);
    expect((await events(reader)).map(({ t, wall, type }) => [t, wall.slice(11), type])).toEqual([
      [0, "22:13:20.000Z", "run-start"],
      [0, "22:13:20.000Z", "stage-start"],
      [1500.25, "22:13:21.500Z", "stage-end"],
      [1500.25, "22:13:21.500Z", "result"],
      [1500.25, "22:13:21.500Z", "result"],
      [1500.25, "22:13:21.500Z", "totals"],
      [1500.25, "22:13:21.500Z", "run-end"],
    ]);
    expect(readFileSync(path.join(dir, "console-normal.raw"))).toEqual(
      Buffer.from([0, 255, 13, 10]),
    );
  });

  test("lists size and hash of all evidence", async () => {
    const writer = await create();
    writer.raw("b", "normal", Buffer.from("x".repeat(300_000)));
    writer.result(result("s.one"));
    const { files = {} } = await writer.finish({ exitCode: 0 });
    expect(Object.keys(files)).toEqual(["console-normal.raw", "events.jsonl", "results.json"]);
    for (const [name, { bytes, sha256 }] of Object.entries(files)) {
      const content = readFileSync(path.join(dir, name));
      expect([name, bytes, sha256]).toEqual([
        name,
        content.length,
        createHash("sha256").update(content).digest("hex"),
      ]);
    }
  });

  test("has the same results.json whatever the order, times and totals of the run", async () => {
    const texts: string[] = [];
    for (const order of [
      [0, 1, 2],
      [2, 0, 1],
    ]) {
      const clock = handClock();
      const writer = await create({ clock });
      const cases = [
        result("s.b", { clauses: ["X-2", "X-1"] }),
        result("s.a"),
        result("s.a", { target: "a", status: "fail", reason: "wrong", where: "x.c:1" }),
      ];
      for (const i of order) {
        clock.ms += 1000 * i;
        const one = cases[i];
        if (one !== undefined) writer.result(one);
      }
      writer.totals({
        target: "b",
        suite: "s",
        cases: 3,
        failed: 1,
        skipped: 0,
        subtests: { seen: clock.ms },
      });
      await writer.finish({ exitCode: 1 });
      texts.push(read("results.json"));
    }
    expect(texts[0]).toBe(texts[1]);
  });

  test("leaves no temporary file behind", async () => {
    const writer = await create();
    writer.raw("b", "normal", Buffer.from("x"));
    await writer.finish({ exitCode: 0 });
    expect(readdirSync(dir).toSorted()).toEqual([
      "console-normal.raw",
      "events.jsonl",
      "results.json",
      "run.json",
    ]);
  });

  test("that was cut short says so and why", async () => {
    const writer = await create();
    await writer.finish({ exitCode: 130, incomplete: "stopped by SIGINT" });
    const reader = await BundleReader.open(dir);
    expect(reader.incomplete).toBe(true);
    expect(reader.info).toMatchObject({ state: "incomplete", problems: ["stopped by SIGINT"] });
  });

  test("is declared complete only after its reports were made", async () => {
    const writer = await create();
    let during: RunInfo["state"] | undefined;
    let seen: RunInfo["state"] | undefined;
    await writer.finish({
      exitCode: 0,
      render: async (reader) => {
        during = (JSON.parse(read("run.json")) as RunInfo).state;
        seen = reader.info.state;
        await Promise.resolve();
      },
    });
    expect([during, seen]).toEqual(["running", "complete"]);
  });
});

test("a bundle whose reports could not be made has its evidence, is incomplete and says why", async () => {
  const writer = await create();
  writer.result(result("s.one"));
  const finished = writer.finish({
    exitCode: 0,
    render: () => Promise.reject(new Error("the printer is on fire")),
  });
  await expect(finished).rejects.toThrow("the printer is on fire");
  const reader = await BundleReader.open(dir);
  expect(reader.info).toMatchObject({
    state: "incomplete",
    problems: ["the reports could not be made: the printer is on fire"],
  });
  expect(reader.results.cases).toHaveLength(1);
});

describe("a defect of the caller", () => {
  test("is a second result for one case", async () => {
    const writer = await create();
    writer.result(result("s.one"));
    expect(() => writer.result(result("s.one"))).toThrow(InternalError);
    writer.result(result("s.one", { target: "other" }));
    await writer.finish({ exitCode: 0 });
  });

  test("is a verdict other than pass without a reason", async () => {
    const writer = await create();
    expect(() => writer.result(result("s.one", { status: "skip" }))).toThrow(/without a reason/);
    await writer.finish({ exitCode: 0 });
  });

  test("is anything after the end", async () => {
    const writer = await create();
    await writer.finish({ exitCode: 0 });
    expect(() => writer.event({ type: "warning", text: "late" })).toThrow(/closed/);
    expect(() => writer.result(result("s.late"))).toThrow(/closed/);
    // Consoles do not know that the run is over: their last bytes are let go.
    const text = "late";
    writer.raw("b", "normal", Buffer.from(text));
    writer.event({ type: "line", target: "b", stream: "normal", offset: 0, text });
    expect(readdirSync(dir)).not.toContain("console-normal.raw");
  });
});

describe("console files", () => {
  test("carry the board's name when several boards have consoles", async () => {
    const writer = await create({}, { boards: ["one", "two"] });
    for (const board of ["one", "two"]) writer.raw(board, "normal", Buffer.from(board));
    const { streams } = await writer.finish({ exitCode: 0 });
    expect(streams.map((stream) => stream.file)).toEqual([
      "console-one-normal.raw",
      "console-two-normal.raw",
    ]);
    expect(read("console-two-normal.raw")).toBe("two");
  });

  test("have plain names for the only board, and nobody else takes them", async () => {
    const writer = await create({}, { boards: ["b"] });
    for (const target of ["emulated", "b"]) writer.raw(target, "secure", Buffer.from(target));
    const { streams } = await writer.finish({ exitCode: 0 });
    expect(streams.map((stream) => stream.file)).toEqual([
      "console-emulated-secure.raw",
      "console-secure.raw",
    ]);
  });

  test("never leave the folder and never collide, whatever boards and consoles are called", async () => {
    const writer = await create();
    const names = ["../up", "..\\up", "a b", "a_b", "ü"];
    for (const name of names) writer.raw("../../board", name, Buffer.from(name));
    const { streams } = await writer.finish({ exitCode: 0 });
    expect(new Set(streams.map((stream) => stream.file)).size).toBe(names.length);
    for (const stream of streams) {
      expect(stream.file).toMatch(/^console-[\w.-]+\.raw$/);
      expect(read(stream.file)).toBe(stream.name);
    }
    await BundleReader.open(dir);
  });
});

describe("secrets", () => {
  test("reach no file of the bundle, and run.json tells where they stood", async () => {
    const secrets = new SecretStore();
    secrets.add("hunter2-password");
    const writer = await create({ secrets }, { command: ["lockstep", "--pw", "hunter2-password"] });
    writer.raw("b", "normal", Buffer.from("login: root\r\nhunter2-"));
    writer.raw("b", "normal", Buffer.from("password\r\n"));
    writer.event({
      type: "line",
      target: "b",
      stream: "normal",
      offset: 13,
      text: "hunter2-password",
    });
    writer.result(result("s.one", { status: "fail", reason: "typed hunter2-password" }));
    writer.problem("saw hunter2-password");
    writer.facts({ ...FACTS, versions: { linux: "hunter2-password" } });
    const { redactions } = await writer.finish({ exitCode: 1 });
    expect(redactions).toEqual([
      { file: "console-normal.raw", offset: 13, length: 16, reason: "known secret" },
    ]);
    for (const name of readdirSync(dir)) expect(read(name)).not.toContain("hunter2");
    expect(read("console-normal.raw")).toBe(`login: root\r\n${"*".repeat(16)}\r\n`);
  });

  test("that are a word of ours leave boards, cases and statuses as they are", async () => {
    const secrets = new SecretStore();
    for (const word of ["pass", "qemu", "case-start"]) secrets.add(word);
    const writer = await create({ secrets });
    writer.facts({ ...FACTS, board: "qemu" });
    writer.event({ type: "case-start", target: "qemu", id: "s.pass", offsets: {} });
    writer.result(result("s.pass", { target: "qemu", title: "it may pass" }));
    await writer.finish({ exitCode: 0 });
    const reader = await BundleReader.open(dir);
    expect(reader.results.cases[0]).toMatchObject({
      target: "qemu",
      id: "s.pass",
      status: "pass",
      title: "it may ****",
    });
  });

  test("in a key dump are masked in the raw console and in its lines alike, and from then on everywhere", async () => {
    const key = bytesFrom(0xa0);
    const lines = [
      "D/TC:? 0 tee_rpmb_write_and_verify_key:1090 RPMB INIT: Writing Key value:",
      `D/TC:? 0 tee_rpmb_write_and_verify_key:1091 00000000e64523d0  ${key} `,
      `D/TC:? 0 tee_rpmb_write_and_verify_key:1091 00000000e64523e0  ${key} `,
      `D/TC:? 0 dump_something_else:12 00000000e64523e0  ${key} `,
      `D/TC:? 0 dump_something_else:12 00000000e64523f0  ${bytesFrom(0xd0)} `,
    ];
    const writer = await create();
    let offset = 0;
    for (const text of lines) {
      writer.raw("b", "secure", Buffer.from(`${text}\r\n`));
      writer.event({ type: "line", target: "b", stream: "secure", offset, text });
      offset += text.length + 2;
    }
    const { redactions } = await writer.finish({ exitCode: 0 });
    expect(redactions.map((one) => one.reason)).toEqual([
      "RPMB key dump",
      "RPMB key dump",
      "known key in a dump",
    ]);
    for (const name of ["console-secure.raw", "events.jsonl"]) {
      expect(read(name)).not.toContain("a0 a1");
      expect(read(name).split("d0 d1 d2")).toHaveLength(2);
    }
  });
});

describe("the output folder", () => {
  test("is made, parents included", async () => {
    dir = path.join(root, "deep", "er", "out");
    await (await create()).finish({ exitCode: 0 });
    expect((await BundleReader.open(dir)).info.id).toBe("run-1");
  });

  test("is refused when it holds anything of somebody else's, which stays untouched", async () => {
    mkdirSync(dir);
    writeFileSync(path.join(dir, "thesis.tex"), "years of work");
    const refused = create();
    await expect(refused).rejects.toThrow(UsageError);
    await expect(refused).rejects.toMatchObject({
      where: dir,
      seen: "a foreign entry, thesis.tex",
      next: expect.stringContaining("--out"),
    });
    expect(readdirSync(dir)).toEqual(["thesis.tex"]);
  });

  test("is refused when it is a file", async () => {
    writeFileSync(dir, "");
    await expect(create()).rejects.toThrow(/not a folder/);
  });

  test("that cannot be made is a matter of the lab, also where Node's own mkdir would never return", async () => {
    dir = "/proc/nowhere/out";
    await expect(create()).rejects.toThrow(InfrastructureError);
  });

  test("is taken again from an older bundle, of which nothing is left", async () => {
    const old = await create();
    old.raw("b", "other", Buffer.from("old"));
    old.result(result("s.old"));
    await old.finish({ exitCode: 0 });
    mkdirSync(path.join(dir, "allure-results"));
    const writer = await create({}, { id: "run-2" });
    expect(readdirSync(dir).toSorted()).toEqual(["events.jsonl", "run.json"]);
    await writer.finish({ exitCode: 0 });
    expect((await BundleReader.open(dir)).info.id).toBe("run-2");
  });

  test("cannot be written by two runs at once", async () => {
    const writer = await create();
    await expect(create()).rejects.toThrow(InfrastructureError);
    await writer.abandon();
    await (await create()).finish({ exitCode: 0 });
  });
});
