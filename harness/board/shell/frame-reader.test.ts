import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { type FrameEnd, FrameReader } from "./frame-reader.ts";

const TOKENS = { first: "a1b2c3d4", second: "e5f60718", key: 4711 };
const BEGIN = `${TOKENS.first}${TOKENS.second}`;
const END = `${TOKENS.second}${TOKENS.first}`;

interface Reading {
  end: FrameEnd | undefined;
  output: string;
}

function read(chunks: readonly Uint8Array[]): Reading {
  const output: Uint8Array[] = [];
  const reader = new FrameReader(TOKENS, (bytes) => output.push(Uint8Array.from(bytes)));
  let end: FrameEnd | undefined;
  for (const chunk of chunks) end ??= reader.feed(chunk);
  return { end, output: Buffer.concat(output).toString("latin1") };
}

/** What a console shows for a command: prompt, echo, begin mark, output, end mark, prompt. */
function transcript(output: string, code: number): Buffer {
  const echo = `_lk ${TOKENS.first} ${TOKENS.second} ${TOKENS.key} 'cmd'`;
  const trailer = ` ${code} ${code * 7919 + TOKENS.key}`;
  const tty = output.replaceAll("\n", "\r\n");
  return Buffer.from(
    `lockstep:~# ${echo}\r\n${BEGIN}\r\n${tty}${END}${trailer}\r\nlockstep:~# `,
    "latin1",
  );
}

const outputs = fc
  .array(fc.constantFrom("a", "0", "\n", "\r", " ", "\u00ff", TOKENS.first, TOKENS.second, "x1"))
  .map((parts) => parts.join(""))
  .filter((text) => !text.includes(BEGIN) && !text.includes(END) && !/\r\n|\r$/.test(text));

test("output and exit code come back exactly, however the stream is cut", () => {
  fc.assert(
    fc.property(
      outputs,
      fc.integer({ min: 0, max: 255 }),
      fc.integer({ min: 1, max: 40 }),
      (output, code, size) => {
        const bytes = transcript(output, code);
        const chunks: Uint8Array[] = [];
        for (let at = 0; at < bytes.length; at += size) chunks.push(bytes.subarray(at, at + size));
        expect(read(chunks)).toEqual({ end: { code, complete: true }, output });
      },
    ),
  );
});

test("the echo of a command is neither its beginning nor its end", () => {
  const echo = `_lk ${TOKENS.first} ${TOKENS.second} 0 'echo ${TOKENS.second} ${TOKENS.first} 0 4711'\r\n`;
  expect(read([Buffer.from(echo.repeat(3))])).toEqual({ end: undefined, output: "" });
});

test("output that has no newline at its end, or looks like half a mark, is given out unchanged", () => {
  const half = TOKENS.second + TOKENS.first.slice(0, 7);
  expect(read([transcript(`tail ${half}`, 0)]).output).toBe(`tail ${half}`);
  expect(read([transcript("a\rb", 0)]).output).toBe("a\rb");
});

test("an end without a beginning still tells the exit code, and that output is missing", () => {
  const bytes = transcript("lost", 3).toString("latin1").replace(BEGIN, BEGIN.slice(1));
  expect(read([Buffer.from(bytes, "latin1")]).end).toEqual({ code: 3, complete: false });
});

test("a code that fails its check is no code", () => {
  const bytes = transcript("", 1).toString("latin1");
  const changed = bytes.replace(` 1 ${7919 + TOKENS.key}`, ` 0 ${7919 + TOKENS.key}`);
  expect(read([Buffer.from(changed, "latin1")]).end).toEqual({ code: undefined, complete: true });
  const endless = bytes.replace(`${7919 + TOKENS.key}\r\n`, "9".repeat(100));
  expect(read([Buffer.from(endless, "latin1")]).end).toEqual({ code: undefined, complete: true });
});

/** One thing that goes wrong on a serial line. */
type Fault =
  | { kind: "lose"; at: number; length: number }
  | { kind: "flip"; at: number; mask: number }
  | { kind: "insert"; at: number; text: string }
  | { kind: "cut"; at: number };

const faults: fc.Arbitrary<Fault> = fc.oneof(
  fc.record({
    kind: fc.constant("lose" as const),
    at: fc.nat(),
    length: fc.integer({ min: 1, max: 20 }),
  }),
  fc.record({
    kind: fc.constant("flip" as const),
    at: fc.nat(),
    mask: fc.integer({ min: 1, max: 255 }),
  }),
  fc.record({
    kind: fc.constant("insert" as const),
    at: fc.nat(),
    text: fc.constantFrom(
      "[   12.345678] random: crng init done\r\n",
      "D/TC:0 0 tee_entry_std:123 open session\r\n",
      "\u0000",
      `${TOKENS.first} ${TOKENS.second}`,
      "NOTICE:  BL1: v2.12.1(release):\r\n",
      " 0 31415\r\n",
    ),
  }),
  fc.record({ kind: fc.constant("cut" as const), at: fc.nat() }),
);

function spoil(bytes: Buffer, fault: Fault): Buffer {
  const at = fault.at % Math.max(1, bytes.length);
  const before = bytes.subarray(0, at);
  switch (fault.kind) {
    case "lose":
      return Buffer.concat([before, bytes.subarray(at + fault.length)]);
    case "flip":
      return Buffer.concat([
        before,
        Buffer.of((bytes[at] ?? 0) ^ fault.mask),
        bytes.subarray(at + 1),
      ]);
    case "insert":
      return Buffer.concat([before, Buffer.from(fault.text), bytes.subarray(at)]);
    case "cut":
      return before;
    default:
      return bytes;
  }
}

test("noise, lost characters, foreign lines and resets never turn one exit code into another", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 255 }),
      outputs,
      fc.array(faults, { minLength: 1, maxLength: 5 }),
      (code, output, spoilers) => {
        const bytes = spoilers.reduce(spoil, transcript(output, code));
        const { end } = read([bytes]);
        expect([undefined, code]).toContain(end?.code);
      },
    ),
    { numRuns: 5000 },
  );
});

test("pure noise is never an end", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
      expect(read([bytes]).end).toBeUndefined();
    }),
  );
});

test("memory stays at one chunk while nothing ends", () => {
  let given = 0;
  const reader = new FrameReader(TOKENS, (bytes) => {
    given += bytes.length;
  });
  reader.feed(Buffer.from(`${BEGIN}\r\n`));
  const chunk = Buffer.alloc(64 * 1024, "x");
  const before = process.memoryUsage().rss;
  for (let i = 0; i < 2048; i += 1) reader.feed(chunk);
  expect(given).toBe(2048 * chunk.length);
  expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
});
