import { appendFileSync, mkdtempSync, mkdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, SecretStore, UsageError } from "../../base/index.ts";
import type { Trace, TraceRecord } from "../trace.ts";
import { readGzipLines } from "./json-lines.ts";
import { BundleReader } from "./reader.ts";
import { BundleWriter } from "./writer.ts";

let root: string;
let dir: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-traces-"));
  dir = path.join(root, "out");
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const START = { id: "run-1", lockstep: "0.1.0", node: "v20", command: ["lockstep"], seed: 1 };
const HEAD = "00112233445566778899aabbccddeeff".repeat(2);

async function writer(secrets = new SecretStore()): Promise<BundleWriter> {
  return await BundleWriter.create(dir, START, { secrets, runtimeDir: path.join(root, "rt") });
}

const header = (run = 0, caseId = "mediator.a-case"): Trace["header"] => ({
  type: "trace",
  format: 1,
  target: "emulated",
  caseId,
  run,
  reference: "mediator/guests#twoGuests",
  conduit: "vm",
  rules: "strict",
  seed: 7,
  clauses: ["MED-053"],
});

const RECORDS: readonly TraceRecord[] = [
  { type: "guest", guest: 0, what: "created" },
  {
    type: "smc",
    where: "conduit",
    phase: "enter",
    guest: 0,
    registers: ["0x32000004", "0x0", "0xffffffffffffffff", "0x0", "0x0", "0x0", "0x0", "0x1"],
    message: {
      role: "call",
      at: "0x40000000",
      cmd: 1,
      func: 2,
      session: 3,
      cancelId: 4,
      ret: 0xffff_0006,
      retOrigin: 3,
      numParams: 1,
      params: [
        {
          attr: "0x6",
          a: "0x0",
          b: "0x20",
          c: "0x42",
          data: { size: 32, digest: "0123456789abcdef", head: HEAD },
        },
      ],
    },
  },
  { type: "console", text: "D/TC:0 0 abc" },
  { type: "end", how: "done", value: { sum: [1, { $bigint: "0x10" }], text: null } },
];

const fileOf = (caseId = "mediator.a-case", target = "emulated"): string =>
  path.join(dir, "traces", target, `${caseId}.jsonl.gz`);

/** A bundle with these lines as the traces of the case. */
async function bundleWith(text: string): Promise<BundleReader> {
  const made = await writer();
  mkdirSync(path.dirname(fileOf()), { recursive: true });
  writeFileSync(fileOf(), gzipSync(text));
  await made.finish({ exitCode: 0 });
  return await BundleReader.open(dir);
}

const textOf = (...lines: readonly unknown[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join("");

test("traces come back as they were written, by the number of the run, and are listed", async () => {
  const made = await writer();
  const traces = [2, 0, 1].map((run): Trace => ({ header: header(run), records: RECORDS }));
  for (const trace of traces) made.trace(trace);
  made.trace({ header: header(0, "mediator.b"), records: [] });
  const inOrder = traces.toSorted((a, b) => a.header.run - b.header.run);
  // While the run is under way as well: a board's case is held against the emulated one.
  expect(await made.traces("emulated", "mediator.a-case")).toEqual(inOrder);
  expect(await made.traces("emulated", "mediator.unknown")).toEqual([]);
  expect((await BundleReader.open(dir)).traceIndex).toBeUndefined();
  const info = await made.finish({ exitCode: 0 });
  const reader = await BundleReader.open(dir);
  expect(await reader.traces("emulated", "mediator.a-case")).toEqual(inOrder);
  expect(await reader.traces("other", "mediator.a-case")).toEqual([]);
  expect(
    reader.traceIndex?.files.map(({ target, caseId, runs }) => [target, caseId, runs]),
  ).toEqual([
    ["emulated", "mediator.a-case", 3],
    ["emulated", "mediator.b", 1],
  ]);
  expect(Object.keys(info.files ?? {})).toContain("traces.json");
});

test("a bundle without traces has no index, and an older bundle's traces are removed", async () => {
  const first = await writer();
  first.trace({ header: header(), records: RECORDS });
  await first.finish({ exitCode: 0 });
  const second = await writer();
  const info = await second.finish({ exitCode: 0 });
  const reader = await BundleReader.open(dir);
  expect(await reader.traces("emulated", "mediator.a-case")).toEqual([]);
  expect(reader.traceIndex).toBeUndefined();
  expect(Object.keys(info.files ?? {})).not.toContain("traces.json");
});

test("names cannot leave the folder, and what is no plain file or folder is refused", async () => {
  const made = await writer();
  const evil = { ...header(0, "../../x"), target: ".." };
  made.trace({ header: evil, records: [] });
  expect(await made.traces("..", "../../x")).toHaveLength(1);
  expect(readFileSync(path.join(dir, "traces", "_.", "_._.._x.jsonl.gz")).length).toBeGreaterThan(
    0,
  );
  made.trace({ header: header(), records: [] });
  await made.finish({ exitCode: 0 });
  const reader = await BundleReader.open(dir);
  rmSync(fileOf());
  symlinkSync("/etc/hostname", fileOf());
  await expect(reader.traces("emulated", "mediator.a-case")).rejects.toThrow(/not a plain file/);
  rmSync(path.dirname(fileOf()), { recursive: true });
  symlinkSync("/etc", path.dirname(fileOf()));
  await expect(reader.traces("emulated", "hostname")).rejects.toThrow(/not a folder/);
});

test("secrets are masked in console lines, ends and memory, and nothing else is touched", async () => {
  const secrets = new SecretStore();
  const key = "c3f0".repeat(3) + "8e7d1b2a4960".repeat(4) + "5501";
  secrets.add("a-password-of-the-lab");
  secrets.add(key);
  const made = await writer(secrets);
  const [guest, smc, , end] = RECORDS;
  if (smc?.type !== "smc" || end?.type !== "end" || guest === undefined) throw new Error("records");
  const params = [
    {
      attr: "0x5",
      a: "0x0",
      b: "0x40",
      c: "0x1",
      data: { size: 64, digest: "0123456789abcdef", head: `0000${key}`.slice(0, 64) },
    },
  ] as const;
  const message = { ...(smc.message as NonNullable<typeof smc.message>), params };
  made.trace({
    header: header(),
    records: [
      guest,
      { ...smc, message },
      { type: "console", text: `RPMB key: ${key}` },
      { type: "console", text: "login with a-password-of-the-lab now" },
      { ...end, value: { seen: "a-password-of-the-lab" } },
    ],
  });
  const text = gunzipSync(readFileSync(fileOf())).toString();
  expect(text).not.toContain("a-password-of-the-lab");
  expect(text).not.toContain(key.slice(0, 16));
  const [trace] = await made.traces("emulated", "mediator.a-case");
  expect(trace?.records[0]).toEqual(guest);
  expect(trace?.records[1]).toMatchObject({ registers: smc.registers });
  expect(text).toContain(`"head":"0000${"*".repeat(60)}"`);
});

test("a file whose writer died is read as far as it goes, wherever it ends", async () => {
  const made = await writer();
  made.trace({ header: header(0), records: RECORDS });
  const whole = readFileSync(fileOf()).length;
  made.trace({ header: header(1), records: RECORDS });
  const all = readFileSync(fileOf()).length;
  await made.abandon();
  const reader = await BundleReader.open(dir);
  for (const size of [all - 1, whole + 30, whole + 3, whole, whole - 1, 12, 1, 0]) {
    truncateSync(fileOf(), size);
    const traces = await reader.traces("emulated", "mediator.a-case");
    if (size >= whole) expect(traces[0]).toEqual({ header: header(0), records: RECORDS });
    for (const { records } of traces) expect(RECORDS.slice(0, records.length)).toEqual(records);
  }
});

test.each([
  ["no JSON", `${textOf(header())}{"type":\n`, /:2.*is damaged/],
  ["a record before any header", textOf(RECORDS[0]), /:1.*record of no trace/],
  ["a record behind the end", textOf(header(), RECORDS[3], RECORDS[0]), /:3.*record of no trace/],
  ["another case", textOf(header(0, "mediator.other")), /:1.*something else/],
  ["a newer format", textOf({ ...header(), format: 2 }), /format 2, by a newer lockstep/],
  ["no type", textOf(header(), {}), /:2 .*at type .*missing/],
  ["an unknown type", textOf(header(), { type: "smb" }), /smb/],
  [
    "seven registers",
    textOf(header(), { ...RECORDS[1], registers: Array(7).fill("0x0") }),
    /at registers a list of 8/,
  ],
  [
    "a word of 17 digits",
    textOf(header(), { ...RECORDS[1], registers: Array(8).fill("0x10000000000000000") }),
    /:2 .*at registers\[0\] 64 bits/,
  ],
  [
    "a negative guest",
    textOf(header(), { type: "guest", guest: -1, what: "created" }),
    /0 or more/,
  ],
  ["bytes that are no gzip", undefined, /is damaged/],
] as const)("%s is refused with its place", async (_name, text, message) => {
  const reader = await bundleWith(text ?? "");
  if (text === undefined) writeFileSync(fileOf(), "hello, this is no gzip");
  const reading = reader.traces("emulated", "mediator.a-case");
  await expect(reading).rejects.toThrow(UsageError);
  const error = await reading.then(
    () => "",
    (one: UsageError) => `${one.where} ${one.message} ${one.expected} ${one.seen}`,
  );
  expect(error).toContain(fileOf());
  expect(error).toMatch(message);
});

test("whatever is done to a line, it is read as a record or refused as a UsageError", async () => {
  const lines = [header(), ...RECORDS].map((line) => JSON.stringify(line));
  const damage = fc.record({
    line: fc.nat(lines.length - 1),
    at: fc.nat(400),
    count: fc.nat(40),
    text: fc.oneof(
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.constantFrom('"', "{", "}", "[", "]", "null", "-1", "1e999", '"__proto__":1,', "\n", "[["),
    ),
  });
  const reader = await bundleWith("");
  await fc.assert(
    fc.asyncProperty(fc.array(damage, { minLength: 1, maxLength: 4 }), async (damages) => {
      const now = [...lines];
      for (const { line, at, count, text } of damages) {
        const old = now[line] ?? "";
        const from = at % (old.length + 1);
        now[line] = old.slice(0, from) + text + old.slice(from + count);
      }
      writeFileSync(fileOf(), gzipSync(now.map((line) => `${line}\n`).join("")));
      try {
        for (const { records } of await reader.traces("emulated", "mediator.a-case")) {
          for (const record of records) {
            expect(["smc", "guest", "console", "end"]).toContain(record.type);
            if (record.type === "smc") expect(record.registers).toHaveLength(8);
          }
        }
      } catch (error) {
        expect(error).toBeInstanceOf(UsageError);
      }
    }),
    { numRuns: budget(150, 5000) },
  );
}, 600_000);

test("a file that unpacks to more than it may is given up without being unpacked", async () => {
  const file = path.join(root, "bomb.gz");
  const member = gzipSync(Buffer.alloc(1024 * 1024));
  for (let count = 0; count < 8; count += 1) appendFileSync(file, member);
  const read = async (max: number): Promise<number> => {
    let lines = 0;
    for await (const _ of readGzipLines(file, max)) lines += 1;
    return lines;
  };
  await expect(read(4 * 1024 * 1024)).rejects.toThrow(/more than 4 MiB/);
  expect(await read(8 * 1024 * 1024)).toBe(1);
});
