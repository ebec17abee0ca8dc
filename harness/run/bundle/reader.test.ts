import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { UsageError } from "../../base/index.ts";
import { BundleReader } from "./reader.ts";
import { readTimeline } from "./timeline.ts";
import { BundleWriter } from "./writer.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let root: string;
let dir: string;

beforeEach(async () => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-reader-"));
  dir = path.join(root, "out");
  const writer = await BundleWriter.create(
    dir,
    { id: "run-1", lockstep: "0.1.0", node: "v20", command: [], seed: 1 },
    { runtimeDir: path.join(root, "rt") },
  );
  writer.raw("b", "normal", Buffer.from("0123456789"));
  writer.event({ type: "case-start", target: "b", id: "s.one", offsets: { normal: 2 } });
  writer.event({ type: "line", target: "b", stream: "normal", offset: 0, text: '"type":"line"' });
  writer.result({ target: "b", suite: "s", id: "s.one", title: "One", status: "pass" });
  writer.event({
    type: "case-end",
    target: "b",
    id: "s.one",
    status: "pass",
    offsets: { normal: 8 },
  });
  writer.event({ type: "case-start", target: "b", id: "s.two", offsets: { normal: 8 } });
  await writer.finish({ exitCode: 0 });
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const file = (name: string): string => path.join(dir, name);

function edit(name: string, change: (value: Record<string, unknown>) => unknown): void {
  const value = JSON.parse(readFileSync(file(name), "utf8")) as Record<string, unknown>;
  writeFileSync(file(name), JSON.stringify(change(value)));
}

async function count(reader: BundleReader): Promise<number> {
  let n = 0;
  for await (const event of reader.events()) n += event.t >= 0 ? 1 : 0;
  return n;
}

describe("damage is named with its place", () => {
  test.each<[string, () => void, RegExp]>([
    ["no run.json", () => rmSync(file("run.json")), /not a bundle of lockstep.*no run\.json/],
    [
      "run.json cut off",
      () => truncateSync(file("run.json"), 40),
      /run\.json: is damaged: .*position/,
    ],
    ["run.json empty", () => writeFileSync(file("run.json"), ""), /run\.json: is damaged/],
    ["run.json binary", () => writeFileSync(file("run.json"), Buffer.alloc(64)), /is damaged/],
    ["run.json a list", () => writeFileSync(file("run.json"), "[]"), /at its top.*a list/],
    [
      "a newer format",
      () => edit("run.json", (value) => ({ ...value, format: 2 })),
      /written in bundle format 2, by a newer lockstep/,
    ],
    [
      "a wrong type",
      () => edit("run.json", (value) => ({ ...value, seed: "one" })),
      /at seed.*a number.*"one"/,
    ],
    [
      "an unknown status",
      () =>
        edit("results.json", (value) => ({
          ...value,
          cases: [{ target: "b", suite: "s", id: "x", title: "x", status: "green" }],
        })),
      /results\.json: .*at cases\[0\]\.status.*one of pass, fail/,
    ],
    [
      "a stream outside the bundle",
      () =>
        edit("run.json", (value) => ({
          ...value,
          streams: [{ target: "b", name: "normal", file: "../../../etc/passwd" }],
        })),
      /at streams\[0\]\.file.*a plain file name/,
    ],
    [
      "results.json a folder",
      () => {
        rmSync(file("results.json"));
        mkdirSync(file("results.json"));
      },
      /not a plain file/,
    ],
  ])("%s", async (_name, harm, message) => {
    harm();
    const error = await BundleReader.open(dir).then(
      () => undefined,
      (caught: unknown) => caught,
    );
    expect(error).toBeInstanceOf(UsageError);
    const { where, message: text, expected, seen } = error as UsageError;
    expect(`${where}: ${text}. ${expected ?? ""} ${seen ?? ""}`).toMatch(message);
  });

  test("an event that is not one, with its line", async () => {
    appendFileSync(file("events.jsonl"), '{"t":1,"wall":"x","type":"explode"}\n');
    const reader = await BundleReader.open(dir);
    await expect(count(reader)).rejects.toMatchObject({
      where: expect.stringMatching(/events\.jsonl:8$/),
    });
  });

  test("a console that is a link to somewhere else", async () => {
    rmSync(file("console-normal.raw"));
    symlinkSync("/etc/passwd", file("console-normal.raw"));
    const reader = await BundleReader.open(dir);
    const stream = reader.stream("b", "normal");
    if (stream === undefined) throw new Error("no stream");
    await expect(reader.slice(stream, 0, 10)).rejects.toThrow(/not a plain file/);
  });

  test("any bytes in place of run.json or events give a UsageError or a reading, never anything else", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom("run.json", "events.jsonl", "results.json"),
        fc.oneof(
          fc.uint8Array({ maxLength: 200 }),
          fc.json().map((t) => Buffer.from(`${t}\n`)),
        ),
        async (name, bytes) => {
          const saved = readFileSync(file(name));
          writeFileSync(file(name), bytes);
          try {
            await count(await BundleReader.open(dir));
          } catch (error) {
            expect(error).toBeInstanceOf(UsageError);
          } finally {
            writeFileSync(file(name), saved);
          }
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe("a bundle whose writer died", () => {
  beforeEach(() => {
    edit("run.json", (value) => ({ ...value, state: "running", files: undefined }));
    rmSync(file("results.json"));
  });

  test("still has every result that came, and the case under way as miss", async () => {
    const reader = await BundleReader.open(dir);
    expect(reader.incomplete).toBe(true);
    expect(reader.results.cases).toEqual([
      { target: "b", suite: "s", id: "s.one", title: "One", status: "pass" },
      {
        target: "b",
        suite: "s",
        id: "s.two",
        title: "s.two",
        status: "miss",
        reason: "the run ended before this case did",
      },
    ]);
  });

  test("is read up to the line in which the writer died, wherever that was", async () => {
    const whole = readFileSync(file("events.jsonl"));
    for (let length = whole.length - 1; length > 0; length -= 7) {
      truncateSync(file("events.jsonl"), length);
      const ended = whole.subarray(0, length).filter((byte) => byte === 0x0a).length;
      expect(await count(await BundleReader.open(dir))).toBe(ended);
    }
  });

  test("does not take over the events of the bundle that it replaced", async () => {
    edit("run.json", (value) => ({ ...value, id: "run-2" }));
    const reader = await BundleReader.open(dir);
    expect(reader.results.cases).toEqual([]);
    expect(await count(reader)).toBe(0);
  });

  test("is read without any events at all", async () => {
    rmSync(file("events.jsonl"));
    expect((await BundleReader.open(dir)).results.cases).toEqual([]);
  });
});

describe("slices", () => {
  test("are cut to what there is", async () => {
    const reader = await BundleReader.open(dir);
    const stream = reader.stream("b", "normal");
    if (stream === undefined) throw new Error("no stream");
    const text = async (from: number, to: number, max?: number): Promise<string> =>
      (await reader.slice(stream, from, to, max)).bytes.toString();
    expect(await text(2, 8)).toBe("234567");
    expect(await text(-5, 3)).toBe("012");
    expect(await text(8, 1e15)).toBe("89");
    expect(await text(20, 30)).toBe("");
    expect(await text(6, 2)).toBe("");
  });

  test("longer than allowed keep their beginning and their end, and tell what is missing", async () => {
    const reader = await BundleReader.open(dir);
    const stream = reader.stream("b", "normal");
    if (stream === undefined) throw new Error("no stream");
    const slice = await reader.slice(stream, 0, 10, 4);
    expect(slice).toMatchObject({ from: 0, to: 10, omitted: 6, head: 1 });
    expect(slice.bytes.toString()).toBe("0789");
  });
});

test("the timeline tells when a case ran and which console bytes are its own", async () => {
  const timeline = await readTimeline(await BundleReader.open(dir));
  expect(timeline.case("b", "s.one")).toMatchObject({ from: { normal: 2 }, to: { normal: 8 } });
  expect(timeline.case("b", "s.two")).toMatchObject({ from: { normal: 8 } });
  expect(timeline.case("b", "s.two")?.end).toBeUndefined();
  expect(timeline.case("b", "s.three")).toBeUndefined();
});
