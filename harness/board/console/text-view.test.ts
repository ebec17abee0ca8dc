import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { MAX_LINE_BYTES, TextView } from "./text-view.ts";

type Line = { offset: number; text: string };

function view(chunks: readonly Uint8Array[]): { lines: Line[]; partial: string } {
  const lines: Line[] = [];
  const text = new TextView((offset, line) => lines.push({ offset, text: line }));
  for (const chunk of chunks) text.feed(chunk);
  return { lines, partial: text.partial() };
}

/** `bytes` cut at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [...places.map((place) => place % (bytes.length + 1)), 0, bytes.length].toSorted(
    (a, b) => a - b,
  );
  return at.slice(1).map((end, index) => bytes.subarray(at[index] ?? 0, end));
}

test("lines carry the raw offset of their first byte, and lose CR, VT100 and control characters", () => {
  const raw = "one\r\n\u001b[31mred\u001b[0m\u0007\r\n\u001b]0;title\u0007two\u001b[6n";
  const { lines, partial } = view([Buffer.from(raw)]);
  expect(lines).toEqual([
    { offset: 0, text: "one" },
    { offset: 5, text: "red" },
  ]);
  expect(partial).toBe("two");
});

test("a sequence or a character split between two reads is taken as one", () => {
  const bytes = Buffer.from("a\u001b[31;1mé€\u{1f512}b\u001b(Bc\n");
  for (let at = 0; at <= bytes.length; at += 1) {
    expect(view([bytes.subarray(0, at), bytes.subarray(at)]).lines).toEqual([
      { offset: 0, text: "aé€\u{1f512}bc" },
    ]);
  }
});

test("a line feed inside a broken sequence still ends the line", () => {
  const { lines } = view([Buffer.from("x\u001b[12\ny\u001b]0;never closed\nz\n")]);
  expect(lines.map((line) => line.text)).toEqual(["x", "y", "z"]);
});

test("how the stream is cut into reads never changes what is seen", () => {
  const noise = fc.uint8Array({ maxLength: 400 });
  const seasoned = fc
    .array(
      fc.oneof(
        fc.constantFrom("\n", "\r\n", "\u001b[", "\u001b[6n", "\u001b]", "\u0007", "é", "=> "),
        fc.string(),
      ),
    )
    .map((parts) => Buffer.from(parts.join("")));
  fc.assert(
    fc.property(fc.oneof(noise, seasoned), fc.array(fc.nat(), { maxLength: 8 }), (raw, places) => {
      const bytes = Buffer.from(raw);
      expect(view(cut(bytes, places))).toEqual(view([bytes]));
    }),
  );
});

test("lines cover the stream: every offset is where the line before ended", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (raw) => {
      const bytes = Buffer.from(raw);
      const starts = [0];
      for (const [index, byte] of bytes.entries()) if (byte === 0x0a) starts.push(index + 1);
      expect(view([bytes]).lines.map((line) => line.offset)).toEqual(starts.slice(0, -1));
    }),
  );
});

test("a line without end arrives in pieces that hold all of its text, and memory does not grow", () => {
  const pieces: Line[] = [];
  let length = 0;
  let misplaced = 0;
  const text = new TextView((offset, line) => {
    if (pieces.length < 3) pieces.push({ offset, text: line });
    if (offset !== length) misplaced += 1;
    length += Buffer.byteLength(line);
  });
  const chunk = Buffer.alloc(64 * 1024, "é");
  const before = process.memoryUsage().rss;
  const total = 256 * 1024 * 1024;
  for (let fed = 0; fed < total; fed += chunk.length) text.feed(chunk);
  expect(length + Buffer.byteLength(text.partial())).toBe(total);
  expect(misplaced).toBe(0);
  expect(pieces[0]?.text).toBe("é".repeat(MAX_LINE_BYTES / 2));
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
});

test("what is left when the stream ends is a line", () => {
  const lines: Line[] = [];
  const text = new TextView((offset, line) => lines.push({ offset, text: line }));
  text.feed(Buffer.from("a\nrest"));
  text.flush();
  text.flush();
  text.feed(Buffer.from("next\n"));
  expect(lines).toEqual([
    { offset: 0, text: "a" },
    { offset: 2, text: "rest" },
    { offset: 6, text: "next" },
  ]);
});
