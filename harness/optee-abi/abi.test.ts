import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import {
  ATTR,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  FS_OP,
  IMAGE_LOAD_UID,
  LOGIN,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
  TEEC_ORIGIN,
  attrTypeName,
  functionName,
  isOutputType,
  isRmemType,
  isTmemType,
  isValueType,
  loginName,
  messageCommandName,
  nameTable,
  octetsToUuid,
  originName,
  paramKind,
  resultName,
  returnName,
  rpcCommandName,
  secCapNames,
  uuidToOctets,
} from "./index.ts";

test("numbers are looked up by their upstream names, unknown ones stay numbers", () => {
  expect(functionName(0x3200_0004)).toBe("CALL_WITH_ARG");
  expect(functionName(0x3200_0099)).toBe("0x32000099");
  expect(functionName.find(0x3200_0099)).toBeUndefined();
  expect(returnName(0xffff_0005)).toBe("RPC_CMD");
  expect(messageCommandName(MSG_CMD.OPEN_SESSION)).toBe("OPEN_SESSION");
  expect(rpcCommandName(6)).toBe("SHM_ALLOC");
  expect(resultName(0xffff_0006)).toBe("TEEC_ERROR_BAD_PARAMETERS");
  expect(originName(2)).toBe("TEEC_ORIGIN_COMMS");
  expect(attrTypeName(0xa)).toBe("TMEM_OUTPUT");
  expect(loginName(0x8000_0000)).toBe("REE_KERNEL");
  expect(nameTable({ FIRST: 1, SECOND: 1 })(1)).toBe("FIRST");
});

test("every table gives each number one name only", () => {
  const tables = [
    OPTEE_SMC,
    SMC_RETURN,
    MSG_CMD,
    RPC_CMD,
    FS_OP,
    ATTR_TYPE,
    LOGIN,
    TEEC,
    TEEC_ORIGIN,
  ];
  for (const table of tables) {
    const values = Object.values(table);
    expect(new Set(values).size).toBe(values.length);
    expect(values.every((value) => value >= 0 && value <= 0xffff_ffff)).toBe(true);
  }
});

test("capability bits have their names, unknown ones their value", () => {
  expect(secCapNames(0xdd)).toEqual([
    "HAVE_RESERVED_SHM",
    "DYNAMIC_SHM",
    "VIRTUALIZATION",
    "MEMREF_NULL",
    "RPC_ARG",
    "RPMB_PROBE",
  ]);
  expect(secCapNames(2 ** 31 + SEC_CAP.PROTMEM)).toEqual(["PROTMEM", "0x80000000"]);
  expect(Object.values(SEC_CAP)).toEqual(Array.from({ length: 10 }, (_, bit) => 1 << bit));
});

test("parameter types are one of none, value, rmem and tmem; the rest is invalid", () => {
  const kinds = Array.from({ length: 16 }, (_, type) => paramKind(type));
  expect(kinds).toEqual([
    "none",
    "value",
    "value",
    "value",
    "invalid",
    "rmem",
    "rmem",
    "rmem",
    "invalid",
    "tmem",
    "tmem",
    "tmem",
    "invalid",
    "invalid",
    "invalid",
    "invalid",
  ]);
  const outputs = Array.from({ length: 256 }, (_, type) => type).filter(isOutputType);
  expect(outputs).toEqual([2, 3, 6, 7, 0xa, 0xb]);
  expect([isValueType(0x101), isRmemType(0x105), isTmemType(0x109)]).toEqual([false, false, false]);
});

test("the exact attributes of REGISTER_SHM and OPEN_SESSION are those of the sheet", () => {
  expect(ATTR_TMEM_OUTPUT_NONCONTIG).toBe(0x20a);
  expect(ATTR.META | ATTR_TYPE.VALUE_INPUT).toBe(0x101);
});

test("UUIDs go to octets in RFC 4122 order and back", () => {
  const uuid = "7011a688-ddde-4053-a5a9-7b3c4ddf13b8";
  const octets = uuidToOctets(uuid);
  expect(Buffer.from(octets).toString("hex")).toBe("7011a688ddde4053a5a97b3c4ddf13b8");
  expect(octetsToUuid(octets)).toBe(uuid);
  expect(octetsToUuid(Uint8Array.of(9, ...octets), 1)).toBe(uuid);
  fc.assert(
    fc.property(fc.uuid(), (any) =>
      expect(octetsToUuid(uuidToOctets(any.toUpperCase()))).toBe(any),
    ),
  );
  for (const bad of ["", "7011a688ddde4053a5a97b3c4ddf13b8", `${uuid}0`]) {
    expect(() => uuidToOctets(bad)).toThrow(RangeError);
  }
  expect(() => octetsToUuid(new Uint8Array(15))).toThrow(RangeError);
  expect(IMAGE_LOAD_UID).toHaveLength(4);
});
