import { expect, test } from "@jest/globals";
import { isConvention64, isFastCall, ownerOf, Registers } from "../machine/index.ts";
import {
  functionName,
  isRpcReturn,
  OPTEE_OWNER,
  OPTEE_SMC,
  RPC_FUNC,
  returnName,
  rpcFunction,
  SMC_RETURN,
} from "./index.ts";

/** Identifiers composed as the header composes them: type, owner, function. */
const fid = (fast: number, owner: number, number: number): number =>
  ((fast << 31) | (owner << 24) | number) >>> 0;

test("SMC-1.FID: identifiers are composed of type, owner and number, in the 32-bit convention", () => {
  const os = OPTEE_OWNER.trustedOs;
  const api = OPTEE_OWNER.trustedOsApi;
  expect([os, api]).toEqual([50, 63]);
  expect(OPTEE_SMC).toEqual({
    CALLS_COUNT: fid(1, api, 0xff00),
    CALLS_UID: fid(1, api, 0xff01),
    CALLS_REVISION: fid(1, api, 0xff03),
    GET_OS_UUID: fid(1, os, 0),
    GET_OS_REVISION: fid(1, os, 1),
    LOAD_IMAGE: fid(1, api, 2),
    RETURN_FROM_RPC: fid(0, os, 3),
    CALL_WITH_ARG: fid(0, os, 4),
    GET_SHM_CONFIG: fid(1, os, 7),
    L2CC_MUTEX: fid(1, os, 8),
    EXCHANGE_CAPABILITIES: fid(1, os, 9),
    DISABLE_SHM_CACHE: fid(1, os, 10),
    ENABLE_SHM_CACHE: fid(1, os, 11),
    BOOT_SECONDARY: fid(1, os, 12),
    VM_CREATED: fid(1, os, 13),
    VM_DESTROYED: fid(1, os, 14),
    GET_THREAD_COUNT: fid(1, os, 15),
    ENABLE_ASYNC_NOTIF: fid(1, os, 16),
    GET_ASYNC_NOTIF_VALUE: fid(1, os, 17),
    CALL_WITH_RPC_ARG: fid(0, os, 18),
    CALL_WITH_REGD_ARG: fid(0, os, 19),
    GET_PROTMEM_CONFIG: fid(1, os, 20),
  });
  for (const value of Object.values(OPTEE_SMC)) {
    expect([isConvention64(value), (value >>> 16) & 0xff]).toEqual([false, 0]);
    expect([os, api]).toContain(ownerOf(value));
  }
});

test.each([
  ["SMC-1.CALLS_COUNT", "CALLS_COUNT", "fast", 0xbf00_ff00],
  ["SMC-1.CALLS_UID", "CALLS_UID", "fast", 0xbf00_ff01],
  ["SMC-1.CALLS_REVISION", "CALLS_REVISION", "fast", 0xbf00_ff03],
  ["SMC-1.GET_OS_UUID", "GET_OS_UUID", "fast", 0xb200_0000],
  ["SMC-1.GET_OS_REVISION", "GET_OS_REVISION", "fast", 0xb200_0001],
  ["SMC-1.LOAD_IMAGE", "LOAD_IMAGE", "fast", 0xbf00_0002],
  ["SMC-1.RETURN_FROM_RPC", "RETURN_FROM_RPC", "yielding", 0x3200_0003],
  ["SMC-1.CALL_WITH_ARG", "CALL_WITH_ARG", "yielding", 0x3200_0004],
  ["SMC-1.GET_SHM_CONFIG", "GET_SHM_CONFIG", "fast", 0xb200_0007],
  ["SMC-1.L2CC_MUTEX", "L2CC_MUTEX", "fast", 0xb200_0008],
  ["SMC-1.EXCHANGE_CAPABILITIES", "EXCHANGE_CAPABILITIES", "fast", 0xb200_0009],
  ["SMC-1.DISABLE_SHM_CACHE", "DISABLE_SHM_CACHE", "fast", 0xb200_000a],
  ["SMC-1.ENABLE_SHM_CACHE", "ENABLE_SHM_CACHE", "fast", 0xb200_000b],
  ["SMC-1.BOOT_SECONDARY", "BOOT_SECONDARY", "fast", 0xb200_000c],
  ["SMC-1.VM_CREATED", "VM_CREATED", "fast", 0xb200_000d],
  ["SMC-1.VM_DESTROYED", "VM_DESTROYED", "fast", 0xb200_000e],
  ["SMC-1.GET_THREAD_COUNT", "GET_THREAD_COUNT", "fast", 0xb200_000f],
  ["SMC-1.ENABLE_ASYNC_NOTIF", "ENABLE_ASYNC_NOTIF", "fast", 0xb200_0010],
  ["SMC-1.GET_ASYNC_NOTIF_VALUE", "GET_ASYNC_NOTIF_VALUE", "fast", 0xb200_0011],
  ["SMC-1.CALL_WITH_RPC_ARG", "CALL_WITH_RPC_ARG", "yielding", 0x3200_0012],
  ["SMC-1.CALL_WITH_REGD_ARG", "CALL_WITH_REGD_ARG", "yielding", 0x3200_0013],
  ["SMC-1.GET_PROTMEM_CONFIG", "GET_PROTMEM_CONFIG", "fast", 0xb200_0014],
] as const)("%s: %s is a %s call of its number", (_, name, kind, value) => {
  expect(OPTEE_SMC[name]).toBe(value);
  expect(functionName(value)).toBe(name);
  expect(isFastCall(value)).toBe(kind === "fast");
});

test.each([
  ["SMC-2.OK", "OK", 0],
  ["SMC-2.ETHREAD_LIMIT", "ETHREAD_LIMIT", 1],
  ["SMC-2.EBUSY", "EBUSY", 2],
  ["SMC-2.ERESUME", "ERESUME", 3],
  ["SMC-2.EBADADDR", "EBADADDR", 4],
  ["SMC-2.EBADCMD", "EBADCMD", 5],
  ["SMC-2.ENOMEM", "ENOMEM", 6],
  ["SMC-2.ENOTAVAIL", "ENOTAVAIL", 7],
  ["SMC-2.UNKNOWN_FUNCTION", "UNKNOWN_FUNCTION", 0xffff_ffff],
] as const)("%s: %s has its number and is no RPC", (_, name, value) => {
  expect(SMC_RETURN[name]).toBe(value);
  expect(returnName(value)).toBe(name);
  expect(isRpcReturn(value)).toBe(false);
});

test.each([
  ["SMC-2.RPC_ALLOC", "ALLOC", 0xffff_0000],
  ["SMC-2.RPC_FREE", "FREE", 0xffff_0002],
  ["SMC-2.RPC_FOREIGN_INTR", "FOREIGN_INTR", 0xffff_0004],
  ["SMC-2.RPC_CMD", "CMD", 0xffff_0005],
] as const)("%s: RPC %s has its number", (_, name, value) => {
  expect(returnName(value)).toBe(`RPC_${name}`);
  expect(isRpcReturn(value)).toBe(true);
  expect(rpcFunction(value)).toBe(RPC_FUNC[name]);
});

test("SMC-2.RPC_PREFIX: all ones above bit 15 is an RPC, unless all bits are ones", () => {
  const edges = [0, 1, 7, 0x7fff_ffff, 0xfffe_ffff, 0xffff_ffff];
  expect(edges.map(isRpcReturn)).toEqual(edges.map(() => false));
  expect([0xffff_0000, 0xffff_1234, 0xffff_fffe].map(isRpcReturn)).toEqual([true, true, true]);
});

test("SMC-2.RPC_TEST: the low 32 bits of a register decide; functions 1 and 3 are nobody's", () => {
  const registers = new Registers();
  registers.set64(0, 0xffff_ffff_ffff_0005n);
  expect(isRpcReturn(registers.get(0))).toBe(true);
  registers.set64(0, 0xffff_0005_0000_0000n);
  expect(isRpcReturn(registers.get(0))).toBe(false);
  const functions: readonly number[] = Object.values(RPC_FUNC);
  expect([1, 3].filter((number) => functions.includes(number))).toEqual([]);
  expect([0xffff_0001, 0xffff_0003].map((a0) => returnName(a0))).toEqual([
    "0xffff0001",
    "0xffff0003",
  ]);
});

test("SMC-0.PAIRS: of two registers the first holds the high word", () => {
  const registers = new Registers();
  registers.setPair(1, 0x12_3456_789a_bcde);
  expect([registers.get(1), registers.get(2)]).toEqual([0x12_3456, 0x789a_bcde]);
  expect(registers.pair(1)).toBe(0x12_3456_789a_bcde);
});
