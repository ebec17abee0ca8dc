import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { TargetCrashError } from "../../base/index.ts";
import { Registers } from "../../machine/index.ts";
import type { TraceRecord } from "../../run/index.ts";
import { Skipped } from "../target.ts";
import { endOf, endRecord } from "./end.ts";
import { Journal } from "./journal.ts";
import { LogTail } from "./log-tail.ts";
import { openRecording, SharedRun } from "./shared-run.ts";

let root: string;
let log: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-recording-"));
  log = path.join(root, "secure.log");
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

const guest = (number: number): TraceRecord => ({ type: "guest", guest: number, what: "created" });
const smc = new Registers([0xbf00_ff01]);
const END = { how: "done", value: null } as const;
const brief = (records: readonly TraceRecord[]): string[] =>
  records.map((one) => {
    if (one.type === "smc") return one.phase;
    return one.type === "console" ? one.text : one.type;
  });

test("a journal gives what another holder of its memory added, up to the last record", () => {
  const own = new Journal();
  const other = new Journal(own.buffer);
  other.add(guest(0));
  other.add({ type: "console", text: "Zürich" });
  expect(own.records()).toEqual([guest(0), { type: "console", text: "Zürich" }]);
  expect(own.count).toBe(2);
  own.clear();
  expect(other.records()).toEqual([]);
});

test("a journal that is full keeps its beginning and counts the rest", () => {
  const journal = new Journal(new SharedArrayBuffer(512));
  for (let number = 0; number < 40; number += 1) journal.add(guest(number));
  const kept = journal.records();
  expect(kept.length).toBeGreaterThan(2);
  expect(kept).toEqual(kept.map((_, number) => guest(number)));
  expect(journal.dropped).toBe(40 - kept.length);
  expect(endRecord(END, journal)).toEqual({
    type: "end",
    how: "done",
    value: null,
    dropped: 40 - kept.length,
  });
});

test("a log is followed line by line, from its end, whatever parts it comes in", () => {
  writeFileSync(log, "what was before\nand a beg");
  const tail = new LogTail(log);
  expect(tail.lines()).toEqual([]);
  appendFileSync(log, "inning\r\nZü");
  expect(tail.lines()).toEqual(["inning"]);
  expect(tail.lines()).toEqual([]);
  const bytes = Buffer.from("rich é\nlast");
  for (const byte of bytes) appendFileSync(log, Uint8Array.of(byte));
  expect(tail.lines()).toEqual(["Zürich é"]);
  expect(new LogTail(log, tail.offset).lines(true)).toEqual(["last"]);
  appendFileSync(log, `${"x".repeat(200_000)}\n`);
  expect(tail.lines()).toEqual([`last${"x".repeat(200_000)}`]);
  tail.close();
});

test("lines of the secure console's log stand before the return of the SMC that printed them", () => {
  writeFileSync(log, "boot\n");
  const run = new SharedRun();
  const { recorder, close } = openRecording(run.begin(log));
  recorder.poll();
  recorder.smc("conduit", "enter", 0, smc, undefined);
  appendFileSync(log, "E/TC: one\nE/TC: tw");
  recorder.poll();
  recorder.smc("conduit", "leave", 0, smc, undefined);
  appendFileSync(log, "o\n");
  recorder.poll();
  recorder.smc("conduit", "enter", 0, smc, undefined);
  // The call never returns; the board says why, and is reset.
  appendFileSync(log, "E/TC: Panic at core.c:1\nE/TC: regis");
  close();
  run.collect();
  appendFileSync(log, "NOTICE:  Booting\n");
  run.collect();
  const expected = [
    "enter",
    "E/TC: one",
    "leave",
    "E/TC: two",
    "enter",
    "E/TC: Panic at core.c:1",
    "E/TC: regis",
    "end",
  ];
  expect(brief(run.records(END))).toEqual(expected);
});

test("of a board that panics, what follows the line that tells of it is waited for", async () => {
  writeFileSync(log, "");
  const run = new SharedRun();
  const { recorder, close } = openRecording(run.begin(log));
  recorder.smc("conduit", "enter", 0, smc, undefined);
  appendFileSync(log, "E/TC: Panic at core.c:1\n");
  const quiet = run.quiet();
  appendFileSync(log, "E/TC: Call stack:\n");
  await quiet;
  close();
  run.collect();
  const expected = ["enter", "E/TC: Panic at core.c:1", "E/TC: Call stack:", "end"];
  expect(brief(run.records(END))).toEqual(expected);
});

test("without a log, lines stand where they arrived, and a run knows nothing of the one before", () => {
  const run = new SharedRun();
  for (let round = 0; round < 2; round += 1) {
    const { recorder, close } = openRecording(run.begin(path.join(root, "absent.log")));
    run.arrived(Buffer.from("early\r\n"));
    recorder.smc("conduit", "enter", 0, smc, undefined);
    run.arrived(Buffer.from("with"));
    run.arrived(Buffer.from("in\nun"));
    recorder.smc("conduit", "leave", 0, smc, undefined);
    run.arrived(Buffer.from("ended"));
    close();
    run.collect();
    const expected = ["early", "enter", "within", "leave", "unended", "end"];
    expect(brief(run.records(END))).toEqual(expected);
  }
});

test("the end tells a result from a skip, a crash and an error, and keeps bigints and bytes apart", () => {
  const none = { add: () => {}, dropped: 0 };
  const value = { big: -5n, bytes: Uint8Array.of(1, 255), list: [1, "a", null], none: undefined };
  expect(endRecord({ how: "done", value }, none)).toEqual({
    type: "end",
    how: "done",
    value: { big: { $bigint: "-0x5" }, bytes: { $bytes: "01ff" }, list: [1, "a", null] },
  });
  const large = { how: "done", value: new Uint8Array(5000) } as const;
  expect(endRecord(large, none)).toMatchObject({
    value: { $bytes: 5000, $sha256: expect.stringMatching(/^[0-9a-f]{64}$/) },
  });
  const huge = { how: "done", value: "x".repeat(70_000) } as const;
  expect(endRecord(huge, none)).toMatchObject({ value: { $json: 70_002 } });
  expect(endOf(new Skipped("no conduit"))).toEqual({ how: "skip", reason: "no conduit" });
  expect(endOf(new TargetCrashError("gone"))).toEqual({ how: "crash", reason: "gone" });
  expect(endOf(new Error("x".repeat(9000))).how).toBe("error");
  expect(JSON.stringify(endOf(new Error("x".repeat(9000)))).length).toBeLessThan(2100);
});
