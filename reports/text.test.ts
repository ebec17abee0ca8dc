import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { escapeAttribute, escapeMarkup, oneLine, printable } from "./text.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

const anyText = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString("latin1")),
  fc
    .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 60 })
    .map((units) => String.fromCharCode(...units)),
);

/** What XML 1.0 may hold: tab, line ends, and everything from space on but surrogates and two noncharacters. */
const XML_TEXT = /^[\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]*$/u;

test("any text becomes one that XML 1.0 can hold", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      expect(printable(text)).toMatch(XML_TEXT);
    }),
  );
});

test("escaped markup holds no markup and reads back as the printable text", () => {
  const entities: Record<string, string> = { amp: "&", lt: "<", gt: ">", quot: '"' };
  fc.assert(
    fc.property(anyText, (text) => {
      for (const escape of [escapeMarkup, escapeAttribute]) {
        const escaped = escape(text);
        expect(escaped).not.toMatch(/[<>"']/);
        const back = escaped.replaceAll(/&(?:#(\d+)|(\w+));/g, (_all, code?: string, name = "") =>
          code === undefined ? (entities[name] ?? "?") : String.fromCodePoint(Number(code)),
        );
        expect(back).toBe(printable(text));
      }
    }),
  );
});

test("control characters stay visible", () => {
  expect(printable("a\u0000\u001b[31m\u007f\u0085\ud800b\n")).toBe(
    "a\u2400\u241b[31m\u2421\\u{85}\\u{d800}b\n",
  );
});

test("one line has no line end in it", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      expect(oneLine(text)).not.toMatch(/[\r\n]/);
    }),
  );
});
