import { expect, test } from "@jest/globals";
import {
  crc7,
  decodeFrame,
  EmmcRpmb,
  emmcRegisters,
  encodeFrames,
  EXT_CSD,
  extCsdField,
  framesAuthentic,
  intoKey,
  PowerCut,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  SECURE_WP_INFO,
  setExtCsdField,
  WR_REL_PARAM,
} from "./index.ts";
import {
  ask,
  configRequest,
  keyRequest,
  readRequest,
  TEST_CID,
  TEST_KEY,
  TEST_NONCE,
  writeRequest,
} from "./testing/host.ts";

const {
  OK,
  GENERAL_FAILURE,
  AUTHENTICATION_FAILURE,
  COUNTER_FAILURE,
  ADDRESS_FAILURE,
  WRITE_FAILURE,
  READ_FAILURE,
  KEY_NOT_PROGRAMMED,
} = RPMB_RESULT;
const OTHER_KEY = intoKey(new Uint8Array(32).fill(0x5b));
const part = (writeCounter = 0): EmmcRpmb =>
  new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1, key: TEST_KEY, writeCounter });
const CONFIG_READ = readRequest(RPMB_REQUEST.CONFIG_READ);
const COUNTER_READ = readRequest(RPMB_REQUEST.READ_COUNTER);
const DATA_READ = readRequest(RPMB_REQUEST.READ_DATA);
const RESULT_READ = encodeFrames({ type: RPMB_REQUEST.READ_RESULT });

test("RPMB-1.TYPE_CONFIG, RPMB-8.SECURE_WP_MODE, RPMB-8.SECURE_WP, RPMB-8.SECURE_WP_READ: the configuration area is written at 1 and 2, counted, and read back authentic", () => {
  const device = part(7);
  const info = (): number => extCsdField(device.registers.extCsd, "SECURE_WP_INFO");
  expect(info()).toBe(SECURE_WP_INFO.SUPPORT);
  const on = device.frames(configRequest({ address: 1, value: 1, writeCounter: 7 }), 1);
  expect(framesAuthentic(TEST_KEY, on)).toBe(true);
  expect(decodeFrame(on)).toMatchObject({
    type: RPMB_RESPONSE.CONFIG_WRITE,
    result: OK,
    writeCounter: 8,
    address: 1,
  });
  expect(info()).toBe(SECURE_WP_INFO.SUPPORT | SECURE_WP_INFO.EN_STATUS);
  expect(ask(device, configRequest({ address: 2, value: 3, writeCounter: 8 })).result).toBe(OK);
  expect(device.secureWp).toEqual({ enable: 1, config: 3 });
  const read = device.frames(CONFIG_READ, 1);
  expect(framesAuthentic(TEST_KEY, read)).toBe(true);
  const frame = decodeFrame(read);
  expect(frame).toMatchObject({ type: RPMB_RESPONSE.CONFIG_READ, result: OK, nonce: TEST_NONCE });
  expect([...frame.data.subarray(253)]).toEqual([0, 3, 1]);
  ask(device, configRequest({ address: 1, value: 0, writeCounter: 9 }));
  expect([info(), device.secureWp]).toEqual([SECURE_WP_INFO.SUPPORT, { enable: 0, config: 3 }]);
  expect(device.image().every((byte) => byte === 0)).toBe(true);
});

test("RPMB-1.2: the checks of a configuration write come in the order of a data write's", () => {
  const blank = new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1 });
  const wrong = { address: 3, value: 1, writeCounter: 9, blockCount: 2, key: OTHER_KEY };
  expect(ask(blank, configRequest(wrong)).result).toBe(KEY_NOT_PROGRAMMED);
  expect(ask(blank, CONFIG_READ).result).toBe(KEY_NOT_PROGRAMMED);
  expect(ask(part(0xffff_ffff), configRequest(wrong)).result).toBe(WRITE_FAILURE | 0x80);
  const device = part();
  device.failingWrites = 1;
  const results = [
    wrong,
    { ...wrong, blockCount: 1 },
    { ...wrong, blockCount: 1, address: 0 },
    { ...wrong, blockCount: 1, address: 2 },
    { ...wrong, blockCount: 1, address: 2, key: TEST_KEY },
    { address: 2, value: 1 },
  ].map((write) => ask(device, configRequest(write)).result);
  expect(results).toEqual([
    GENERAL_FAILURE,
    ADDRESS_FAILURE,
    ADDRESS_FAILURE,
    AUTHENTICATION_FAILURE,
    COUNTER_FAILURE,
    WRITE_FAILURE,
  ]);
  expect([device.writeCounter, device.secureWp]).toEqual([0, { enable: 0, config: 0 }]);
  device.write(configRequest({ address: 2, value: 1 }), false);
  expect(decodeFrame(device.read(1)).result).toBe(GENERAL_FAILURE);
  expect(ask(device, configRequest({ address: 2, value: 1 })).result).toBe(OK);
});

test("RPMB-1.RESULT_READ_FAILURE: reads that fail in the flash say so and give no data", () => {
  const device = part();
  ask(device, writeRequest(0, 0, [0xa5]));
  device.failingReads = 2;
  const read = device.frames(DATA_READ, 1);
  expect(decodeFrame(read)).toMatchObject({ result: READ_FAILURE, data: new Uint8Array(256) });
  expect(framesAuthentic(TEST_KEY, read)).toBe(true);
  expect(ask(device, COUNTER_READ).result).toBe(OK);
  expect(ask(device, CONFIG_READ)).toMatchObject({
    type: RPMB_RESPONSE.CONFIG_READ,
    result: READ_FAILURE,
  });
  expect(ask(device, DATA_READ)).toMatchObject({
    result: OK,
    data: new Uint8Array(256).fill(0xa5),
  });
});

test("RPMB-1.TYPE_READ_RESULT, RPMB-9.RESULT_REGISTER: the result register has the type of the operation before and no data", () => {
  const device = part();
  ask(device, writeRequest(0, 0, [0xa5]));
  for (const [request, type] of [
    [DATA_READ, RPMB_RESPONSE.READ_DATA],
    [COUNTER_READ, RPMB_RESPONSE.READ_COUNTER],
    [CONFIG_READ, RPMB_RESPONSE.CONFIG_READ],
  ] as const) {
    expect(ask(device, request).type).toBe(type);
    device.write(RESULT_READ, false);
    const register = decodeFrame(device.read(1));
    expect(register).toMatchObject({ type, result: OK, data: new Uint8Array(256) });
  }
  device.write(keyRequest(), true);
  device.write(RESULT_READ, false);
  const register = decodeFrame(device.read(1));
  expect(register).toMatchObject({ type: RPMB_RESPONSE.PROGRAM_KEY, result: GENERAL_FAILURE });
});

test("RPMB-1.6, RPMB-1.5: registers say what the partition's size and writes are", () => {
  const plain = new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 128 });
  const { cid, csd, extCsd } = plain.registers;
  expect([cid, csd.length, extCsd.length]).toEqual([TEST_CID, 16, EXT_CSD.size]);
  // SEC_COUNT is little-endian: a part of 4 GB.
  expect([...extCsd.subarray(212, 216)]).toEqual([0, 0, 0x72, 0]);
  const at = [160, 166, 167, 168, 179, 192, 211, 222, 267, 268, 269].map((byte) => extCsd[byte]);
  expect(at).toEqual([7, 0x05, 0x1f, 128, 0, 8, 1, 1, 1, 1, 1]);
  expect(plain.blocks).toBe(65_536);
  const worn = emmcRegisters({
    cid: TEST_CID,
    sizeMultiplier: 32,
    relWrSecC: 16,
    enhancedReliableWrite: true,
    sectors: 0x0123_4567,
    lifeTime: [0x0b, 3],
  }).extCsd;
  expect(extCsdField(worn, "WR_REL_PARAM") & WR_REL_PARAM.EN_RPMB_REL_WR).not.toBe(0);
  expect([...worn.subarray(212, 216)]).toEqual([0x67, 0x45, 0x23, 0x01]);
  expect([worn[168], worn[222], worn[268], worn[269]]).toEqual([32, 16, 11, 3]);
  expect(() => setExtCsdField(worn, "REL_WR_SEC_C", 256)).toThrow(RangeError);
  expect(() => extCsdField(worn.subarray(0, 200), "SEC_COUNT")).toThrow(RangeError);
  // What the field's own checksum is of CMD0 and CMD17, as cards have answered for ever.
  expect([crc7(Uint8Array.of(0x40, 0, 0, 0, 0)), crc7(Uint8Array.of(0x51, 0, 0, 0, 0))]).toEqual([
    0x4a, 0x2a,
  ]);
  // CSD_STRUCTURE 3, SPEC_VERS 4, block length 512, C_SIZE at its largest, and the checksum.
  expect([csd[0], (csd[5] ?? 0) & 0xf]).toEqual([0xd0, 9]);
  expect(((csd[6] ?? 0) & 3) * 1024 + (csd[7] ?? 0) * 4 + ((csd[8] ?? 0) >> 6)).toBe(0xfff);
  expect(csd[15]).toBe((crc7(csd.subarray(0, 15)) << 1) | 1);
});

test("a part goes back to a snapshot, loses power by it, and to its factory's state", () => {
  const device = new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1 });
  ask(device, keyRequest());
  ask(device, writeRequest(0, 3, [1]));
  ask(device, configRequest({ address: 1, value: 1, writeCounter: 1 }));
  const earlier = device.snapshot();
  ask(device, writeRequest(2, 3, [2]));
  device.power.cutAfter(0);
  expect(() => device.frames(COUNTER_READ, 1)).toThrow(PowerCut);
  device.restore(earlier);
  // The result register did not outlive it.
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0, result: GENERAL_FAILURE });
  expect([device.writeCounter, device.image()[3 * 256], device.secureWp.enable]).toEqual([2, 1, 1]);
  // What was written after the snapshot is accepted once more: that is what roll-back means.
  expect(ask(device, writeRequest(2, 3, [2])).result).toBe(OK);
  expect(earlier.data[3 * 256]).toBe(1);
  device.erase();
  expect([device.keyProgrammed, device.writeCounter, device.secureWp.enable]).toEqual([
    false,
    0,
    0,
  ]);
  expect(device.image().every((byte) => byte === 0)).toBe(true);
  const other = new EmmcRpmb({ cid: new Uint8Array(16), sizeMultiplier: 1 });
  expect(() => other.restore(earlier)).toThrow(RangeError);
  expect(() => device.restore({ ...earlier, writeCounter: -1 })).toThrow(RangeError);
  expect(() => device.restore({ ...earlier, data: new Uint8Array(256) })).toThrow(RangeError);
  expect(() => EmmcRpmb.from({ ...earlier, data: new Uint8Array(256) })).toThrow(RangeError);
  const twin = device.copy({ writeCounter: 0xffff_ffff, data: earlier.data });
  expect([twin.writeCounter, twin.image()[3 * 256]]).toEqual([0xffff_ffff, 1]);
});
