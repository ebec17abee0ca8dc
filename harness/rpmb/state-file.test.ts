import { spawn } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, describeError, UsageError } from "../base/index.ts";
import {
  EmmcRpmb,
  framesAuthentic,
  openRpmbState,
  readRpmbState,
  RPMB_REQUEST,
  RPMB_RESULT,
  RpmbStateError,
  setExtCsdField,
  STATE_FILE,
} from "./index.ts";
import { StateOnDisk } from "./state-disk.ts";
import { encodeState, loadState } from "./state-journal.ts";
import { encodeHeader, encodeRecord, slotStart, type StateRecord } from "./state-layout.ts";
import {
  ask,
  configRequest,
  keyRequest,
  readRequest,
  TEST_CID,
  TEST_KEY,
  writeRequest,
} from "./testing/host.ts";

jest.setTimeout(120_000);

const CREATE = { cid: TEST_CID, sizeMultiplier: 1 };
const { page: PAGE } = STATE_FILE;
let folder = "";
let files = 0;

beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "lockstep-rpmb-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});
const fresh = (): string => path.join(folder, `part-${(files += 1)}`);

/** A file of a part with a key and two blocks written, closed again. */
function used(): string {
  const file = fresh();
  const part = openRpmbState(file, { create: CREATE });
  ask(part, keyRequest());
  ask(part, writeRequest(0, 7, [1]));
  ask(part, writeRequest(1, 8, [2]));
  part.close();
  return file;
}

/** The file of that name with `change` made to its bytes. */
function changed(change: (bytes: Uint8Array) => Uint8Array | void): string {
  const file = used();
  const bytes = new Uint8Array(readFileSync(file));
  writeFileSync(file, change(bytes) ?? bytes);
  return file;
}

test("a part's file outlives its process: key, counter, data and configuration, and is its owner's alone", () => {
  const file = fresh();
  const first = openRpmbState(file, { create: { ...CREATE, relWrSecC: 16 } });
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(file).size).toBe(STATE_FILE.dataPage * PAGE + 128 * 1024);
  ask(first, keyRequest());
  ask(first, writeRequest(0, 511, [9]));
  ask(first, configRequest({ address: 1, value: 1, writeCounter: 1 }));
  first.close();
  first.close();
  expect(() => ask(first, keyRequest())).toThrow("the part was closed");
  const second = openRpmbState(file, { create: CREATE, sync: false });
  expect([second.writeCounter, second.relWrSecC, second.secureWp.enable]).toEqual([2, 16, 1]);
  expect(second.image()[511 * 256]).toBe(9);
  const counter = second.frames(readRequest(RPMB_REQUEST.READ_COUNTER), 1);
  expect(framesAuthentic(TEST_KEY, counter)).toBe(true);
  expect(ask(second, keyRequest()).result).toBe(RPMB_RESULT.GENERAL_FAILURE);
  const earlier = second.snapshot();
  second.erase();
  expect(statSync(file).mode & 0o777).toBe(0o600);
  // The lock went over to the new file.
  expect(() => openRpmbState(file)).toThrow("in use");
  second.close();
  const third = openRpmbState(file);
  expect([third.keyProgrammed, third.writeCounter]).toEqual([false, 0]);
  third.restore(earlier);
  third.close();
  expect(readRpmbState(file).writeCounter).toBe(2);
  expect(existsSync(`${file}.new`)).toBe(false);
});

test("a part that is read from a file, or copied, changes nothing in it", () => {
  const file = used();
  const before = readFileSync(file);
  const part = readRpmbState(file);
  expect(ask(part, writeRequest(2, 0, [3])).result).toBe(RPMB_RESULT.OK);
  const open = openRpmbState(file);
  expect(ask(open.copy(), writeRequest(2, 0, [3])).result).toBe(RPMB_RESULT.OK);
  open.close();
  expect(readFileSync(file).equals(before)).toBe(true);
});

const HOLDER = `
  const { openRpmbState } = await import(process.argv[1]);
  const part = openRpmbState(process.argv[2]);
  process.stdout.write("held " + part.writeCounter);
  setInterval(() => {}, 1000);
`;

test("two processes at once: the second is refused, for reading as well, until the first has ended in whatever way", async () => {
  const file = used();
  const room = new URL("./index.js", import.meta.url).href;
  const child = spawn(process.execPath, ["--input-type=module", "--eval", HOLDER, room, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  try {
    const text = await new Promise<string>((resolve) => {
      child.stdout.once("data", (bytes: Buffer) => resolve(bytes.toString()));
    });
    expect(text).toBe("held 2");
    for (const open of [openRpmbState, readRpmbState]) {
      let message = "";
      try {
        open(file);
      } catch (error) {
        expect(error).toBeInstanceOf(RpmbStateError);
        message = describeError(error);
      }
      expect(message).toBe(
        `${file}: the state file is in use by another process. Stop that process (fuser names it), or give this part a file of its own.`,
      );
    }
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
  const part = openRpmbState(file);
  expect(part.writeCounter).toBe(2);
  // Not within one process either.
  expect(() => openRpmbState(file)).toThrow("in use");
  part.close();
});

test("what is left of a file that never came to its place is used again, and changes nothing", () => {
  const file = fresh();
  writeFileSync(`${file}.new`, "half a file", { mode: 0o600 });
  const part = openRpmbState(file, { create: CREATE });
  expect(existsSync(`${file}.new`)).toBe(false);
  ask(part, keyRequest());
  // The power went before the rename of an erasure: the part is as it was.
  writeFileSync(`${file}.new`, encodeState(new EmmcRpmb(CREATE).snapshot()), { mode: 0o600 });
  part.close();
  const again = openRpmbState(file);
  expect(again.keyProgrammed).toBe(true);
  again.erase();
  again.close();
  expect([readRpmbState(file).keyProgrammed, existsSync(`${file}.new`)]).toEqual([false, false]);
});

test("a file that cannot be put in its place leaves nothing beside it, and one that is there already stays", () => {
  const file = used();
  const before = readFileSync(file);
  const bytes = encodeState(new EmmcRpmb(CREATE).snapshot());
  expect(() => StateOnDisk.create(file, bytes, { sync: true })).toThrow("just made this file");
  expect([existsSync(`${file}.new`), readFileSync(file).equals(before)]).toEqual([false, true]);
  const open = fresh();
  writeFileSync(`${open}.new`, "");
  chmodSync(`${open}.new`, 0o666);
  expect(() => openRpmbState(open, { create: CREATE })).toThrow("others may use this file");
  const taken = path.join(folder, "taken");
  mkdirSync(`${taken}.new`);
  expect(() => openRpmbState(taken, { create: CREATE })).toThrow("cannot be made");
});

test("a file of another part, of none, or that others may use is refused, and says what to do", () => {
  const file = used();
  const another = (): unknown => openRpmbState(file, { create: { ...CREATE, sizeMultiplier: 2 } });
  expect(another).toThrow(UsageError);
  const cid = new Uint8Array(16);
  expect(() => openRpmbState(file, { create: { ...CREATE, cid } })).toThrow("another part");
  expect(() => openRpmbState(fresh())).toThrow("no such state file");
  expect(() => readRpmbState(fresh())).toThrow("no such state file");
  expect(() => openRpmbState(path.join(folder, "none", "x"), { create: CREATE })).toThrow(
    RpmbStateError,
  );
  mkdirSync(path.join(folder, "folder"));
  symlinkSync("loop", path.join(folder, "loop"));
  for (const name of ["folder", "loop"]) {
    expect(() => openRpmbState(path.join(folder, name))).toThrow(RpmbStateError);
  }
  expect(() => readRpmbState("/dev/null")).toThrow("no regular file");
  chmodSync(file, 0o640);
  expect(() => openRpmbState(file)).toThrow("others may use this file");
  chmodSync(file, 0o600);
  openRpmbState(file).close();
});

const recordOf = (bytes: Uint8Array): StateRecord => loadState(bytes, "").last;

test.each<[string, string, (bytes: Uint8Array) => Uint8Array | void]>([
  ["no bytes", "no state file", () => new Uint8Array(0)],
  ["another kind of file", "no state file", () => Buffer.from("\x7fELF".repeat(99))],
  ["a header and nothing more", "another size", (bytes) => bytes.slice(0, PAGE)],
  ["half a header", "header is damaged", (bytes) => bytes.slice(0, PAGE / 2)],
  ["a byte more", "another size", (bytes) => Uint8Array.from([...bytes, 0])],
  ["a flipped bit in the CID", "header is damaged", (bytes) => flip(bytes, 16)],
  ["another version", "another version", (bytes) => reheaded(bytes, 2)],
  ["a size of 0", "another size", (bytes) => resized(bytes, 0)],
  ["a size over 16 MiB", "another size", (bytes) => resized(bytes, 255)],
  ["two torn records", "both records", (bytes) => flip(flip(bytes, PAGE), slotStart(1))],
  ["a flipped bit in the data", "not those", (bytes) => flip(bytes, bytes.length - 1)],
  [
    "a page that went back to an earlier state",
    "not those",
    (bytes) => bytes.fill(0, STATE_FILE.dataPage * PAGE, STATE_FILE.dataPage * PAGE + 2000),
  ],
  [
    "records that do not follow each other",
    "follow each other",
    (bytes) => put(bytes, (record) => ({ ...record, sequence: record.sequence + 5 })),
  ],
  [
    "records of one number",
    "follow each other",
    (bytes) => put(bytes, (record) => ({ ...record, sequence: record.sequence - 1 })),
  ],
])("a state file with %s is refused: %s", (_what, message, change) => {
  const file = changed((bytes) => {
    // The last record would heal a page that it holds; so the file is one with no such record.
    const { snapshot } = loadState(bytes, "");
    const second = recordOf(bytes);
    const clean = encodeState(snapshot);
    const pages = new Uint8Array(0);
    const digest = recordOf(clean).digest;
    clean.set(encodeRecord({ ...second, pages, firstPage: 0, digest, sequence: 2 }), slotStart(1));
    return change(clean) ?? clean;
  });
  for (const open of [openRpmbState, readRpmbState]) {
    expect(() => open(file)).toThrow(RpmbStateError);
    expect(() => open(file)).toThrow(message);
  }
});

function flip(bytes: Uint8Array, at: number): Uint8Array {
  bytes[at] = (bytes[at] ?? 0) ^ 4;
  return bytes;
}

function reheaded(bytes: Uint8Array, version: number): Uint8Array {
  const { registers } = loadState(bytes, "").snapshot;
  bytes.set(encodeHeader(registers, version));
  return bytes;
}

function resized(bytes: Uint8Array, multiplier: number): Uint8Array {
  const { registers } = loadState(bytes, "").snapshot;
  setExtCsdField(registers.extCsd, "RPMB_SIZE_MULT", multiplier);
  bytes.set(encodeHeader(registers));
  return bytes;
}

function put(bytes: Uint8Array, change: (record: StateRecord) => StateRecord): Uint8Array {
  bytes.set(encodeRecord(change(recordOf(bytes))), slotStart(1));
  return bytes;
}

test("records that are well made and cannot be are passed over as torn ones are", () => {
  const bytes = new Uint8Array(readFileSync(used()));
  const last = recordOf(bytes);
  const pages = new Uint8Array(PAGE);
  for (const record of [
    { ...last, firstPage: 32, pages },
    { ...last, firstPage: 0xffff_ffff, pages },
    { ...last, firstPage: 0, pages: new Uint8Array(4 * PAGE) },
    { ...last, sequence: 2 ** 60 },
  ]) {
    const hostile = bytes.slice();
    const whole = encodeRecord(record);
    hostile.set(whole.subarray(0, STATE_FILE.slots.pages * PAGE), slotStart(1));
    hostile.set(whole.subarray(0, STATE_FILE.slots.pages * PAGE), slotStart(0));
    expect(() => loadState(hostile, "")).toThrow("both records are damaged");
  }
});

test("any damage to a file is a typed refusal, or the part is one that it was", () => {
  const bytes = new Uint8Array(readFileSync(used()));
  const states = [1, 2].map((writeCounter) => ({ writeCounter, keyProgrammed: true }));
  const place = fc.oneof(
    fc.nat(STATE_FILE.dataPage * PAGE - 1),
    fc.nat(bytes.length - 1),
    fc.constantFrom(0, 8, 64 + 168, PAGE + 16, PAGE + 28, PAGE + 32, slotStart(1) + 8),
  );
  const damage = fc.record({ at: place, value: fc.uint8Array({ minLength: 1, maxLength: 16 }) });
  fc.assert(
    fc.property(
      fc.array(damage, { minLength: 1, maxLength: 6 }),
      fc.option(fc.nat(bytes.length)),
      (damages, length) => {
        const file = bytes.slice(0, length ?? bytes.length);
        for (const { at, value } of damages) {
          file.set(value.subarray(0, Math.max(0, file.length - at)), Math.min(at, file.length));
        }
        try {
          const { keyProgrammed, writeCounter } = EmmcRpmb.from(loadState(file, "").snapshot);
          expect(states).toContainEqual({ keyProgrammed, writeCounter });
        } catch (error) {
          if (!(error instanceof RpmbStateError)) throw error;
        }
      },
    ),
    { numRuns: budget(200, 20_000) },
  );
});
