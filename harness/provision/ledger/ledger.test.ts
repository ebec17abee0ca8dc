import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, describeError } from "../../base/index.ts";
import { readChain } from "./chain.ts";
import type { LedgerFact } from "./entry.ts";
import { Ledger, ledgerFile, readLedger } from "./ledger.ts";

let dir = "";
let file = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-ledger-"));
  file = path.join(dir, "deep", "ledger.jsonl");
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const CID = "fe014e4d4d4330344742c8f6552a6115";
const intent = (id: string): LedgerFact => ({
  kind: "intent",
  id,
  board: "shelf-3",
  lifeCycle: "closed",
  part: "/dev/mmcblk2rpmb",
  emulated: false,
  cid: CID,
  keyId: "0011223344556677",
  route: "offline",
  plan: "ab".repeat(32),
  by: "someone",
  host: "lab",
  lockstep: "0.0.0",
});
const done = (id: string): LedgerFact => ({
  kind: "done",
  id,
  cid: CID,
  keyId: "0011223344556677",
  verdict: "proven",
  writeCounter: 0,
  note: "",
});
const A = "00000000000000aa";
const B = "00000000000000bb";

async function write(...facts: readonly LedgerFact[]): Promise<void> {
  const ledger = await Ledger.open(file);
  for (const fact of facts) ledger.append(fact);
  await ledger.close();
}

const refusalOf = async (): Promise<string> =>
  await Ledger.open(file).then(
    async (ledger) => {
      await ledger.close();
      return "not refused";
    },
    (error: unknown) => describeError(error),
  );

test("entries are kept in order, one a line, each bound to the one before", async () => {
  await write(intent(A), done(A));
  await write(intent(B));
  const { entries, open, problems, torn } = readLedger(file);
  expect(entries.map(({ seq, kind }) => [seq, kind])).toEqual([
    [1, "intent"],
    [2, "done"],
    [3, "intent"],
  ]);
  expect(entries[0]?.prev).toBe("0".repeat(64));
  expect({ open: open.map(({ id }) => id), problems, torn }).toEqual({
    open: [B],
    problems: [],
    torn: undefined,
  });
  expect(readFileSync(file, "utf8").split("\n")).toHaveLength(4);
});

test("a ledger that is not there is empty and makes no file", () => {
  expect(readLedger(file)).toMatchObject({ entries: [], problems: [], open: [] });
  expect(existsSync(file)).toBe(false);
});

test("an entry that was torn at any byte is recovered from, reported and accounted for", async () => {
  await write(intent(A), done(A));
  const whole = readFileSync(file);
  const head = readFileSync(`${file}.head`);
  await write(intent(B));
  const next = readFileSync(file);
  for (let length = whole.length + 1; length < next.length; length += 1) {
    writeFileSync(file, next.subarray(0, length));
    writeFileSync(`${file}.head`, head);
    const before = readLedger(file);
    const lacksOnlyItsEnd = length === next.length - 1;
    expect([before.problems, before.unended, before.entries.length, before.torn?.length]).toEqual(
      lacksOnlyItsEnd ? [[], true, 3, undefined] : [[], false, 2, length - whole.length],
    );
    // Every length in the reading; a few of them through an append as well, which waits for the disk.
    if (length % 211 !== 0 && !lacksOnlyItsEnd) continue;
    await write(intent(B), done(B));
    const after = readLedger(file);
    expect([after.problems, after.torn, after.open]).toEqual([[], undefined, []]);
    const between = lacksOnlyItsEnd ? "intent" : "recovered";
    expect(after.entries.map(({ kind }) => kind)).toEqual([
      "intent",
      "done",
      between,
      "intent",
      "done",
    ]);
    expect(readFileSync(file).subarray(0, length)).toEqual(next.subarray(0, length));
  }
});

test("a power cut between an entry and the note of the end loses nothing", async () => {
  await write(intent(A));
  const head = readFileSync(`${file}.head`);
  await write(done(A));
  writeFileSync(`${file}.head`, head);
  expect(readLedger(file)).toMatchObject({ problems: [], open: [] });
  await write(intent(B));
  expect(readLedger(file)).toMatchObject({ problems: [], open: [{ id: B }] });
});

test("an end that was cut off is seen, whole entries included, and nothing is appended", async () => {
  await write(intent(A), done(A), intent(B), done(B));
  const copy = path.join(dir, "copy");
  copyFileSync(file, copy);
  const lines = readFileSync(file, "utf8").split("\n");
  for (let kept = 0; kept < 4; kept += 1) {
    const text = lines
      .slice(0, kept)
      .map((line) => `${line}\n`)
      .join("");
    truncateSync(file, text.length);
    expect(readLedger(file).problems).toEqual([expect.stringMatching(/the end was cut off/)]);
    expect(await refusalOf()).toMatch(/was changed by something else than Lockstep.*cut off/);
    expect(readFileSync(file, "utf8")).toBe(text);
    copyFileSync(copy, file);
  }
  rmSync(file);
  expect(await refusalOf()).toMatch(/the end was cut off/);
});

test("a byte changed anywhere, a line taken out, put in or moved is seen", async () => {
  await write(intent(A), done(A), intent(B), done(B));
  const good = readFileSync(file);
  const head = { seq: 4, hash: readLedger(file).hash };
  expect(readChain(good, head).problems).toEqual([]);
  const change = fc.record({
    at: fc.nat(good.length - 1),
    to: fc.integer({ min: 1, max: 255 }),
  });
  fc.assert(
    fc.property(change, ({ at, to }) => {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ to;
      const { problems, torn, unended } = readChain(bad, head);
      // Of the last byte only: an end of line that is missing is not a lie.
      const harmless = at === good.length - 1 && unended;
      expect(problems.length > 0 || torn !== undefined || harmless).toBe(true);
    }),
    { numRuns: budget(150, 5000) },
  );
  const lines = good.toString().trimEnd().split("\n");
  const swapped = [lines[2], lines[3], lines[0], lines[1]];
  const without = [lines[0], lines[1], lines[3]];
  const twice = [...lines.slice(0, 2), lines[1], ...lines.slice(2)];
  for (const list of [swapped, without, twice, [...lines, "x"]]) {
    expect(readChain(Buffer.from(`${list.join("\n")}\n`), head).problems).not.toEqual([]);
  }
});

test("no bytes make the reader fail", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      const { entries } = readChain(bytes);
      expect(entries).toEqual([]);
    }),
    { numRuns: budget(200, 5000) },
  );
  const entry = { v: 1, seq: 1, time: "2026-01-01T00:00:00.000Z", prev: "0".repeat(64) };
  for (const more of [
    { ...done(A), writeCounter: "0" },
    { ...done(A), extra: 1 },
    { ...done(A), cid: CID.toUpperCase() },
    { ...done(A), id: "../../x" },
    { kind: "toString" },
    { kind: "recovered", bytes: 1e300, sha256: "" },
  ]) {
    expect(readChain(Buffer.from(`${JSON.stringify({ ...entry, ...more })}\n`)).entries).toEqual(
      [],
    );
  }
});

test("two writers take turns, whatever their environments say", async () => {
  const first = await Ledger.open(file);
  const second = Ledger.open(path.join(dir, "deep", "..", "deep", "ledger.jsonl"));
  first.append(intent(A));
  await first.close();
  const other = await second;
  expect(other.reading.open).toHaveLength(1);
  other.append(done(A));
  await other.close();
  expect(readLedger(file)).toMatchObject({ problems: [], open: [] });
});

test.each([
  ["a device", (): string => "/dev/null", /not a regular file/],
  ["a folder", (): string => dir, /EISDIR/],
  ["a file below a file", (): string => path.join(dir, "f", "ledger"), /E(NOTDIR|EXIST|NOENT)/],
  ["a place in procfs", (): string => "/proc/none/ledger", /E(NOENT|ACCES|PERM)/],
])("%s is no ledger", async (_what, name, seen) => {
  writeFileSync(path.join(dir, "f"), "");
  file = name();
  const text = await refusalOf();
  expect(text).toMatch(/the ledger cannot be (?:read|written)/);
  expect(text).toMatch(seen);
  expect(text).toMatch(/Nothing is programmed without a ledger/);
});

test("a ledger that may not be written is refused", async () => {
  await write(intent(A));
  chmodSync(file, 0o444);
  chmodSync(dir, 0o755);
  chmodSync(path.join(dir, "deep"), 0o555);
  const root = process.geteuid?.() === 0;
  // Root may write everything, so it is tried as somebody else.
  if (root) process.seteuid?.(65_534);
  try {
    expect(await refusalOf()).toMatch(/cannot be written.*EACCES/);
  } finally {
    if (root) process.seteuid?.(0);
    chmodSync(path.join(dir, "deep"), 0o755);
  }
});

test("a note of the end that is damaged is named", async () => {
  await write(intent(A));
  appendFileSync(`${file}.head`, "x");
  expect(() => readLedger(file)).toThrow("what is known of the ledger's end is damaged");
});

test("it lies in the state folder unless LOCKSTEP_LEDGER names a file", () => {
  expect(ledgerFile({ XDG_STATE_HOME: "/s" })).toBe("/s/lockstep/rpmb-ledger.jsonl");
  expect(ledgerFile({ LOCKSTEP_LEDGER: "lab/l.jsonl", XDG_STATE_HOME: "/s" }, "/w")).toBe(
    "/w/lab/l.jsonl",
  );
});
