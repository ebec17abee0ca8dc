import { expect, test } from "@jest/globals";
import { originName, resultName, TEEC, TEEC_ORIGIN } from "./index.ts";

test("MSG-4.SUCCESS, MSG-4.CORRUPT_OBJECT, MSG-4.CORRUPT_OBJECT_2, MSG-4.STORAGE_NOT_AVAILABLE, MSG-4.STORAGE_NOT_AVAILABLE_2, MSG-4.UNSUPPORTED_VERSION, MSG-4.CIPHERTEXT_INVALID: success and the storage codes of the internal API", () => {
  expect(TEEC).toMatchObject({
    TEEC_SUCCESS: 0x0000_0000,
    TEEC_ERROR_CORRUPT_OBJECT: 0xf010_0001,
    TEEC_ERROR_CORRUPT_OBJECT_2: 0xf010_0002,
    TEEC_ERROR_STORAGE_NOT_AVAILABLE: 0xf010_0003,
    TEEC_ERROR_STORAGE_NOT_AVAILABLE_2: 0xf010_0004,
    TEEC_ERROR_UNSUPPORTED_VERSION: 0xf010_0005,
    TEEC_ERROR_CIPHERTEXT_INVALID: 0xf010_0006,
  });
});

test("MSG-4.GENERIC, MSG-4.ACCESS_DENIED, MSG-4.CANCEL, MSG-4.ACCESS_CONFLICT, MSG-4.EXCESS_DATA, MSG-4.BAD_FORMAT, MSG-4.BAD_PARAMETERS, MSG-4.BAD_STATE, MSG-4.ITEM_NOT_FOUND: codes from 0xffff0000", () => {
  expect(TEEC).toMatchObject({
    TEEC_ERROR_GENERIC: 0xffff_0000,
    TEEC_ERROR_ACCESS_DENIED: 0xffff_0001,
    TEEC_ERROR_CANCEL: 0xffff_0002,
    TEEC_ERROR_ACCESS_CONFLICT: 0xffff_0003,
    TEEC_ERROR_EXCESS_DATA: 0xffff_0004,
    TEEC_ERROR_BAD_FORMAT: 0xffff_0005,
    TEEC_ERROR_BAD_PARAMETERS: 0xffff_0006,
    TEEC_ERROR_BAD_STATE: 0xffff_0007,
    TEEC_ERROR_ITEM_NOT_FOUND: 0xffff_0008,
  });
});

test("MSG-4.NOT_IMPLEMENTED, MSG-4.NOT_SUPPORTED, MSG-4.NO_DATA, MSG-4.OUT_OF_MEMORY, MSG-4.BUSY, MSG-4.COMMUNICATION, MSG-4.SECURITY, MSG-4.SHORT_BUFFER, MSG-4.EXTERNAL_CANCEL: codes from 0xffff0009", () => {
  expect(TEEC).toMatchObject({
    TEEC_ERROR_NOT_IMPLEMENTED: 0xffff_0009,
    TEEC_ERROR_NOT_SUPPORTED: 0xffff_000a,
    TEEC_ERROR_NO_DATA: 0xffff_000b,
    TEEC_ERROR_OUT_OF_MEMORY: 0xffff_000c,
    TEEC_ERROR_BUSY: 0xffff_000d,
    TEEC_ERROR_COMMUNICATION: 0xffff_000e,
    TEEC_ERROR_SECURITY: 0xffff_000f,
    TEEC_ERROR_SHORT_BUFFER: 0xffff_0010,
    TEEC_ERROR_EXTERNAL_CANCEL: 0xffff_0011,
  });
});

test("MSG-4.TIMEOUT, MSG-4.OVERFLOW, MSG-4.TARGET_DEAD, MSG-4.STORAGE_NO_SPACE, MSG-4.MAC_INVALID, MSG-4.SIGNATURE_INVALID, MSG-4.TIME_NOT_SET, MSG-4.TIME_NEEDS_RESET: the codes above", () => {
  expect(TEEC).toMatchObject({
    TEEC_ERROR_TIMEOUT: 0xffff_3001,
    TEEC_ERROR_OVERFLOW: 0xffff_300f,
    TEEC_ERROR_TARGET_DEAD: 0xffff_3024,
    TEEC_ERROR_STORAGE_NO_SPACE: 0xffff_3041,
    TEEC_ERROR_MAC_INVALID: 0xffff_3071,
    TEEC_ERROR_SIGNATURE_INVALID: 0xffff_3072,
    TEEC_ERROR_TIME_NOT_SET: 0xffff_5000,
    TEEC_ERROR_TIME_NEEDS_RESET: 0xffff_5001,
  });
});

test("MSG-4.ORIGINS: who produced a code", () => {
  expect(TEEC_ORIGIN).toEqual({
    TEEC_ORIGIN_API: 1,
    TEEC_ORIGIN_COMMS: 2,
    TEEC_ORIGIN_TEE: 3,
    TEEC_ORIGIN_TRUSTED_APP: 4,
  });
});

test("every code has one name, and the name the code", () => {
  const codes = Object.values(TEEC);
  expect(new Set(codes).size).toBe(codes.length);
  for (const [name, code] of Object.entries(TEEC)) expect(resultName(code)).toBe(name);
  for (const [name, origin] of Object.entries(TEEC_ORIGIN)) expect(originName(origin)).toBe(name);
});
