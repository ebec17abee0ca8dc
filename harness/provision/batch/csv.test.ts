import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { CsvReader, csvLine } from "./csv.ts";
import { type BatchRecord, MAX_RECORD } from "./record.ts";

const RUNS = { numRuns: budget(60, 3000) };

/** Everything that the reader gives for `text`, cut where `cuts` say. */
function read(text: string, cuts: readonly number[] = []): BatchRecord[] {
  const bytes = Buffer.from(text, "latin1");
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted(
    (a, b) => a - b,
  );
  const reader = new CsvReader();
  const out = [0, ...places].flatMap((from, at) => reader.push(bytes.subarray(from, places[at])));
  return [...out, ...reader.end()];
}

const cells = (text: string): (readonly string[])[] => read(text).map((record) => record.cells);

test("records end in LF or CRLF, the last one need not; empty lines are none", () => {
  for (const text of [
    "a,b\n1,\n",
    "a,b\r\n1,\r\n",
    "a,b\n\r\n\n1,",
    "\u00EF\u00BB\u00BFa,b\r\n1,",
  ]) {
    expect(cells(text)).toEqual([
      ["a", "b"],
      ["1", ""],
    ]);
  }
  expect(cells("")).toEqual([]);
});

test("quoted values hold commas, line ends and doubled quotation marks", () => {
  const text = 'a,"b, c","d\r\ne","f ""g"""\r\n"",x\n';
  expect(read(text)).toEqual([
    { line: 1, cells: ["a", "b, c", "d\r\ne", 'f "g"'] },
    { line: 3, cells: ["", "x"] },
  ]);
});

test.each([
  ['1,2\nx"y,3\n4,5\n', 2, /within a value/],
  ['1,2\n"x"y,3\n4,5\n', 2, /between the end/],
  ['1,2\n"x,3\n4,5\n', 2, /does not end/],
  [`1,2\n"${"x,".repeat(MAX_RECORD / 2)},3\n4,5\n`, 2, /does not end/],
  [`1,2\n${"x,".repeat(MAX_RECORD)}\n4,5\n`, 2, /longer than/],
])("a record that is not well formed costs that line and no other: %#", (text, line, fault) => {
  const records = read(text);
  expect(records.map((record) => record.line)).toEqual([1, line, 3]);
  expect(records[1]?.fault).toMatch(fault);
  expect(records[1]?.fault).not.toMatch(/x/);
  expect(records[2]?.cells).toEqual(["4", "5"]);
});

test("a file without end of line or quotation mark is read in bounded memory", () => {
  for (const piece of ["x".repeat(10_000), `"${"x".repeat(10_000)}`, 'x,"y\n'.repeat(2000)]) {
    const reader = new CsvReader();
    for (let n = 0; n < 100; n += 1) {
      reader.push(Buffer.from(piece));
      expect(reader.held).toBeLessThanOrEqual(2 * MAX_RECORD);
    }
  }
});

const row = fc.array(
  fc.oneof(
    fc.string({ unit: fc.constantFrom("a", ",", '"', "\r", "\n", " ", "é"), maxLength: 6 }),
    fc.stringMatching(/^[0-9a-f]{0,8}$/),
  ),
  { minLength: 1, maxLength: 5 },
);
const cuts = fc.array(fc.nat(), { maxLength: 10 });

test("what is written is read again, wherever it is cut", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 6 }), cuts, (rows, at) => {
      const text = rows.map((one) => csvLine(one)).join("");
      expect(read(text, at).map((record) => record.cells)).toEqual(rows);
    }),
    RUNS,
  );
});

test("any text is read the same, wherever it is cut, and every line after a fault is looked at", () => {
  const unit = fc.constantFrom("a", "b", ",", '"', "\r", "\n");
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 60 }), cuts, (text, at) => {
      const whole = read(text);
      expect(read(text, at)).toEqual(whole);
      const tail = read(`${text.replaceAll('"', "")}\n7,8,9\n`, at).at(-1);
      expect(tail).toEqual({ line: text.split("\n").length + 1, cells: ["7", "8", "9"] });
    }),
    RUNS,
  );
});
