import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import {
  decodeRegisters,
  encodeRegisters,
  pack,
  packedAtMost,
  REGISTERS_AT_MOST,
  unpack,
} from "./agent-codec.ts";
import { AGENT_SYNC, encodeFrame, type Frame, FrameScanner, MAX_PAYLOAD } from "./agent-frame.ts";
import { ByteReader, TooShort } from "./agent-layout.ts";

const numRuns = budget(100, 5000);
const runs = fc
  .array(fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 1, max: 300 })), {
    maxLength: 12,
  })
  .map((parts) => Buffer.concat(parts.map(([value, count]) => Buffer.alloc(count, value))));
const bytes = fc.oneof(fc.uint8Array({ maxLength: 600 }), runs);
const registers = fc.array(
  fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 0n, max: 300n })),
  { minLength: 8, maxLength: 8 },
);

test("packed bytes come out as they went in, and are never longer than was reserved", () => {
  fc.assert(
    fc.property(bytes, (plain) => {
      const packed = pack(plain);
      expect(packed.length).toBeLessThanOrEqual(packedAtMost(plain.length));
      const reader = new ByteReader(packed);
      expect(Buffer.from(unpack(reader, plain.length)).equals(plain)).toBe(true);
      expect(reader.left).toBe(0);
    }),
    { numRuns },
  );
});

test("bytes that nobody packed are refused or read, never beyond their end", () => {
  fc.assert(
    fc.property(bytes, fc.integer({ min: 0, max: 700 }), (noise, length) => {
      try {
        expect(unpack(new ByteReader(noise), length)).toHaveLength(length);
      } catch (error) {
        expect(error).toBeInstanceOf(TooShort);
      }
    }),
    { numRuns },
  );
});

test("a page of zeros takes 64 bytes", () => {
  expect(pack(new Uint8Array(4096))).toHaveLength(64);
});

test("registers come out as they went in; those that stay the same take no room", () => {
  fc.assert(
    fc.property(registers, registers, fc.nat(255), (x, others, mask) => {
      const encoded = encodeRegisters(x);
      expect(encoded.length).toBeLessThanOrEqual(REGISTERS_AT_MOST);
      expect(decodeRegisters(new ByteReader(encoded))).toEqual(x);
      const after = x.map((word, index) => ((mask >> index) & 1 ? word : (others[index] ?? 0n)));
      const change = encodeRegisters(after, x);
      expect(decodeRegisters(new ByteReader(change), x)).toEqual(after);
    }),
    { numRuns },
  );
  expect(encodeRegisters(Array.from({ length: 8 }, () => 0n))).toHaveLength(4);
});

test("the known frames: a ping and its answer", () => {
  const payload = Uint8Array.of(1);
  const ping = encodeFrame(AGENT_SYNC.request, { sequence: 0x1234, payload });
  expect(ping.toString("hex")).toBe("a701003412014ca42aa4");
});

test("frames are found between anything else, whole and in order, however the bytes arrive", () => {
  const frame = fc.record({
    sequence: fc.nat(0xffff),
    payload: fc.uint8Array({ minLength: 1, maxLength: 40 }),
  });
  const text = fc.string({ maxLength: 30 }).map((part) => Buffer.from(part));
  const cuts = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(fc.tuple(text, frame), { maxLength: 5 }), cuts, (parts, sizes) => {
      const found: Frame[] = [];
      const other: Buffer[] = [];
      const scanner = new FrameScanner(
        AGENT_SYNC.answer,
        (one) => found.push(one),
        (rest) => other.push(Buffer.from(rest)),
      );
      const stream = Buffer.concat(
        parts.flatMap(([before, one]) => [before, encodeFrame(AGENT_SYNC.answer, one)]),
      );
      for (let at = 0, turn = 0; at < stream.length; turn += 1) {
        const size = sizes[turn % sizes.length] ?? 1;
        scanner.feed(stream.subarray(at, at + size));
        at += size;
      }
      expect(found).toEqual(parts.map(([, one]) => one));
      expect(Buffer.concat(other)).toEqual(Buffer.concat(parts.map(([before]) => before)));
    }),
    { numRuns },
  );
});

test("a frame that is too long, or whose check is wrong, is none", () => {
  const long = encodeFrame(AGENT_SYNC.answer, {
    sequence: 1,
    payload: new Uint8Array(MAX_PAYLOAD + 1),
  });
  const wrong = encodeFrame(AGENT_SYNC.answer, { sequence: 1, payload: Uint8Array.of(0, 1, 2) });
  wrong[6] = 9;
  const found: Frame[] = [];
  const scanner = new FrameScanner(AGENT_SYNC.answer, (one) => found.push(one));
  scanner.feed(long);
  scanner.feed(wrong);
  scanner.flush();
  expect(found).toEqual([]);
});
