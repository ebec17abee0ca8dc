import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import {
  MSG_ARG,
  MSG_MAX_NUM_PARAMS,
  MessageView,
  PAGE_LIST,
  PARAM_FMEM,
  PARAM_OCTETS,
  PARAM_RMEM,
  PARAM_TMEM,
  PARAM_VALUE,
  WORD,
  decodeMessage,
  encodeMessage,
  encodePageList,
  listPagesFor,
  messageSize,
  octets,
  pagesFor,
  struct,
  u32,
  u64,
} from "./index.ts";

const u64s = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32s = fc.nat(0xffff_ffff);
const param = fc.record({ attr: u64s, a: u64s, b: u64s, c: u64s });
const message = fc.record({
  cmd: u32s,
  func: u32s,
  session: u32s,
  cancel_id: u32s,
  ret: u32s,
  ret_origin: u32s,
  params: fc.array(param, { maxLength: MSG_MAX_NUM_PARAMS }),
});

/** REGISTER_SHM of a page list, byte by byte as the sheet lays it out (MSG sections 1.1 and 1.2). */
const GOLDEN = Buffer.from(
  [
    "04000000 00000000 00000000 00000000", // cmd func session cancel_id
    "00000000 0000ffff 03000000 01000000", // pad ret ret_origin num_params
    "0a02000000000000 2310004000000000", // attr buf_ptr
    "0080000000000000 7856341200ffffff", // size shm_ref
  ]
    .join("")
    .replaceAll(" ", ""),
  "hex",
);

test("MSG-1, MSG-1.1.PARAMS, MSG-1.1.PAD: a message has the bytes of the sheet", () => {
  const decoded = {
    cmd: 4,
    func: 0,
    session: 0,
    cancel_id: 0,
    ret: 0xffff_0000,
    ret_origin: 3,
    params: [{ attr: 0x20an, a: 0x4000_1023n, b: 0x8000n, c: 0xffff_ff00_1234_5678n }],
  };
  expect(Buffer.from(encodeMessage(decoded))).toEqual(GOLDEN);
  expect(decodeMessage(GOLDEN)).toEqual(decoded);
});

test("MSG-1.1.CMD, MSG-1.1.FUNC, MSG-1.1.SESSION, MSG-1.1.CANCEL_ID, MSG-1.1.RET, MSG-1.1.RET_ORIGIN, MSG-1.1.NUM_PARAMS: each header field has its place", () => {
  const fields = { cmd: 0, func: 4, session: 8, cancel_id: 12, ret: 20, ret_origin: 24 } as const;
  for (const [field, at] of Object.entries(fields)) {
    const words = new Uint32Array(8);
    words[at / 4] = 0x0102_0304;
    expect(encodeMessage({ [field]: 0x0102_0304 })).toEqual(new Uint8Array(words.buffer));
    expect(decodeMessage(new Uint8Array(words.buffer))).toMatchObject({ [field]: 0x0102_0304 });
  }
  expect([...encodeMessage({ params: [{}, {}] }).subarray(28, 32)]).toEqual([2, 0, 0, 0]);
});

test("MSG-1.2.ATTR, MSG-1.2.TMEM, MSG-1.2.RMEM, MSG-1.2.VALUE, MSG-1.2.OCTETS, MSG-1.2.ALIASING: the members of the parameter union lie on each other as the sheet says", () => {
  const bytes = GOLDEN.subarray(32);
  expect(PARAM_TMEM.read(bytes)).toEqual({
    attr: 0x20an,
    buf_ptr: 0x4000_1023n,
    size: 0x8000n,
    shm_ref: 0xffff_ff00_1234_5678n,
  });
  expect(PARAM_RMEM.read(bytes).offs).toBe(0x4000_1023n);
  expect(PARAM_VALUE.read(bytes).c).toBe(0xffff_ff00_1234_5678n);
  const fmem = { attr: 7n, offs_low: 1, offs_high: 2, internal_offs: 3, size: 4n, global_id: 5n };
  const out = new Uint8Array(32);
  PARAM_FMEM.write(out, fmem);
  expect(Buffer.from(out).toString("hex")).toBe(
    "0700000000000000010000000200030004000000000000000500000000000000",
  );
  expect(PARAM_FMEM.read(out)).toEqual(fmem);
  expect(PARAM_OCTETS.read(out).octets).toEqual(out.subarray(8));
  PARAM_OCTETS.write(out, { attr: 0n, octets: new Uint8Array(24).fill(9) });
  expect(out.subarray(8)).toEqual(new Uint8Array(24).fill(9));
  expect(() => PARAM_OCTETS.write(out, { attr: 0n, octets: new Uint8Array(23) })).toThrow(
    /23 bytes/,
  );
});

test("MSG-1.1.SIZE: sizes are 32 + 32 n and a page holds 127 parameters", () => {
  expect([0, 1, 2, 4, 6, 127].map(messageSize)).toEqual([32, 64, 96, 160, 224, 4096]);
  expect(MSG_MAX_NUM_PARAMS).toBe(127);
  expect(MSG_ARG.size).toBe(32);
});

test("whatever is encoded is decoded again", () => {
  fc.assert(
    fc.property(message, (any) => {
      expect(decodeMessage(encodeMessage(any))).toEqual(any);
    }),
  );
});

test("a message that is cut off or has too many parameters is refused", () => {
  const bytes = encodeMessage({ params: [{}, {}] });
  for (let length = 0; length < bytes.length; length += 1) {
    expect(() => decodeMessage(bytes.subarray(0, length))).toThrow(RangeError);
  }
  new DataView(bytes.buffer).setUint32(28, 128, true);
  expect(() => decodeMessage(bytes)).toThrow(/over 127/);
  expect(() => encodeMessage({ params: Array.from({ length: 128 }, () => ({})) })).toThrow(
    RangeError,
  );
});

test("a view reads and writes what the codec does, in place and at any offset", () => {
  fc.assert(
    fc.property(message, fc.nat(3), (any, shift) => {
      const bytes = new Uint8Array(messageSize(any.params.length) + shift * 8);
      bytes.set(encodeMessage(any), shift * 8);
      const view = new MessageView(bytes, shift * 8);
      const header = [view.cmd, view.func, view.session, view.cancelId, view.ret, view.retOrigin];
      expect(header).toEqual([
        any.cmd,
        any.func,
        any.session,
        any.cancel_id,
        any.ret,
        any.ret_origin,
      ]);
      expect(view.numParams).toBe(any.params.length);
      for (const [index, one] of any.params.entries()) {
        const words = [one.attr, one.a, one.b, one.c];
        for (const [word, value] of words.entries()) {
          const place = word as 0 | 1 | 2 | 3;
          expect(view.big(index, place)).toBe(value);
          const joined = (BigInt(view.high(index, place)) << 32n) | BigInt(view.low(index, place));
          expect(joined).toBe(value);
          if (value < 2n ** 53n) expect(view.number(index, place)).toBe(Number(value));
        }
        expect(view.type(index)).toBe(Number(one.attr & 0xffn));
        expect(view.attrIs(index, Number(one.attr & 0xffff_ffffn))).toBe(one.attr < 2n ** 32n);
      }
      const copy = new Uint8Array(bytes.length);
      const target = new MessageView(copy, shift * 8);
      target.cmd = any.cmd;
      target.func = any.func;
      target.session = any.session;
      target.cancelId = any.cancel_id;
      target.ret = any.ret;
      target.retOrigin = any.ret_origin;
      target.numParams = any.params.length;
      for (const [index, one] of any.params.entries()) {
        target.setBig(index, WORD.attr, one.attr);
        target.setWords(index, WORD.a, Number(one.a >> 32n), Number(one.a & 0xffff_ffffn));
        target.setBig(index, WORD.b, one.b);
        target.setBig(index, WORD.c, one.c);
      }
      expect(copy).toEqual(bytes);
    }),
  );
});

test("numbers in a view are exact below 2^53 and refused beyond", () => {
  const view = new MessageView(encodeMessage({ params: [{}] }));
  fc.assert(
    fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (value) => {
      view.setNumber(0, WORD.size, value);
      expect(view.number(0, WORD.size)).toBe(value);
      expect(view.big(0, WORD.size)).toBe(BigInt(value));
    }),
  );
  for (const bad of [-1, 0.5, 2 ** 53]) expect(() => view.setNumber(0, 2, bad)).toThrow(RangeError);
  expect(() => view.low(1, WORD.attr)).toThrow(RangeError);
  expect(new MessageView(new Uint8Array(100), 32, 64).byteLength).toBe(64);
});

test("MSG-1.3.NONCONTIG: NONCONTIG counts only on temporary references", () => {
  const attrs = [0x20an, 0x209n, 0x20bn, 0x30an, 0x20dn, 0x205n, 0x201n, 0xan, 0x200n];
  const view = new MessageView(encodeMessage({ params: attrs.map((attr) => ({ attr })) }));
  expect(attrs.map((_, index) => view.isNoncontig(index))).toEqual([
    true,
    true,
    true,
    true,
    false,
    false,
    false,
    false,
    false,
  ]);
});

test("a layout whose fields overlap or stick out does not load", () => {
  expect(() => struct("bad", 8, { a: u32(0), b: u32(2) })).toThrow("bad.b overlaps bad.a");
  expect(() => struct("bad", 8, { a: u64(1) })).toThrow(/outside the 8 bytes/);
  expect(() => struct("bad", 8, { a: u32(-1) })).toThrow(/outside/);
});

test("writing a structure touches its own bytes and no other", () => {
  const layout = struct("two", 12, { a: u32(0), b: octets(8, 4) });
  const bytes = new Uint8Array(20).fill(0xee);
  layout.write(bytes, { a: 0x0102_0304, b: Uint8Array.of(1, 2, 3, 4) }, 4);
  expect(Buffer.from(bytes).toString("hex")).toBe("eeeeeeee04030201eeeeeeee01020304eeeeeeee");
  const read = layout.read(bytes, 4);
  read.b[0] = 99;
  expect(bytes[12]).toBe(1);
  expect(() => layout.write(bytes, { a: 0, b: new Uint8Array(4) }, 9)).toThrow(
    /needs 12 bytes at 9/,
  );
  expect(() => layout.read(bytes, -1)).toThrow(RangeError);
});

test("MSG-1.4.1: page lists: 511 entries and a link on each page, the link only when more follow", () => {
  expect([0, 1, 4095, 4096, 4097].map((size) => pagesFor(size, 0))).toEqual([0, 1, 1, 1, 2]);
  expect([pagesFor(0, 5), pagesFor(4096, 1)]).toEqual([1, 2]);
  expect([1, 511, 512, 1022, 1023].map(listPagesFor)).toEqual([1, 1, 2, 2, 3]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 1600 }), (count) => {
      const pages = Array.from({ length: count }, (_, index) => 0x10_0000_0000 + index * 4096);
      const lists = listPagesFor(count);
      const at = Array.from({ length: lists }, (_, index) => 0x2_0000_0000 + index * 8192);
      const into = at.map(() => new Uint8Array(4096));
      expect(encodePageList(pages, at, into)).toBe(at[0]);
      const found: number[] = [];
      for (const [index, bytes] of into.entries()) {
        const words = new BigUint64Array(bytes.buffer);
        found.push(
          ...[...words.subarray(0, PAGE_LIST.entries)].map(Number).filter((word) => word > 0),
        );
        expect(Number(words[PAGE_LIST.link])).toBe(at[index + 1] ?? 0);
      }
      expect(found).toEqual(pages);
    }),
    { numRuns: 40 },
  );
  expect(() => encodePageList([1, 2], [], [])).toThrow(/need 1 list pages/);
  expect(() => encodePageList([1], [0], [new Uint8Array(10)])).toThrow(/4096 bytes/);
});
