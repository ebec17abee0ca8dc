import { expect, test } from "@jest/globals";
import * as fc from "fast-check";

import {
  attrIsWellFormed,
  BUF_DATA,
  CANCEL_ARG,
  CLIENT_UUID_NAMESPACE,
  clientUuid,
  CLOSE_SESSION_ARG,
  ERRNO,
  errnoName,
  INVOKE_ARG,
  ioctlPayloadSize,
  isMemrefType,
  isOutputType,
  isValueType,
  OBJECT_INVOKE_ARG,
  OPEN_SESSION_ARG,
  Param,
  PARAM,
  PARAM_ATTR,
  readParam,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  SHM_REGISTER_FD_DATA,
  SUPP_RECV_ARG,
  SUPP_SEND_ARG,
  TEE_IOC,
  TEE_LOGIN,
  VERSION_DATA,
  writeParam,
} from "./index.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("TEE-2.VERSION, TEE-2.SHM_ALLOC, TEE-2.OPEN_SESSION, TEE-2.INVOKE, TEE-2.CANCEL, TEE-2.CLOSE_SESSION, TEE-2.SUPPL_RECV, TEE-2.SUPPL_SEND, TEE-2.SHM_REGISTER_FD, TEE-2.SHM_REGISTER: ioctl numbers equal the kernel's", () => {
  expect(TEE_IOC).toEqual({
    VERSION: 0x800ca400,
    SHM_ALLOC: 0xc010a401,
    OPEN_SESSION: 0x8010a402,
    INVOKE: 0x8010a403,
    CANCEL: 0x8008a404,
    CLOSE_SESSION: 0x8004a405,
    SUPPL_RECV: 0x8010a406,
    SUPPL_SEND: 0x8010a407,
    SHM_REGISTER_FD: 0xc018a408,
    SHM_REGISTER: 0xc018a409,
    OBJECT_INVOKE: 0x8010a40a,
  });
  expect(ioctlPayloadSize(TEE_IOC.SHM_REGISTER)).toBe(SHM_REGISTER_DATA.size);
});

test("TEE-2.VERSION, TEE-2.SHM_ALLOC, TEE-2.SHM_REGISTER_FD, TEE-2.SHM_REGISTER, TEE-2.CANCEL, TEE-2.CLOSE_SESSION, TEE-2.BUF_DATA: payloads have the fields and the size that the number says", () => {
  expect([VERSION_DATA, BUF_DATA, CANCEL_ARG, CLOSE_SESSION_ARG]).toEqual([
    { size: 12, implId: 0, implCaps: 4, genCaps: 8 },
    { size: 16, bufPtr: 0, bufLen: 8 },
    { size: 8, cancelId: 0, session: 4 },
    { size: 4, session: 0 },
  ]);
  expect([SHM_ALLOC_DATA, SHM_REGISTER_DATA, SHM_REGISTER_FD_DATA]).toEqual([
    { size: 16, length: 0, flags: 8, id: 12 },
    { size: 24, addr: 0, length: 8, flags: 16, id: 20 },
    { size: 24, fd: 0, length: 8, flags: 16, id: 20 },
  ]);
  const sizes: [number, { readonly size: number }][] = [
    [TEE_IOC.VERSION, VERSION_DATA],
    [TEE_IOC.SHM_ALLOC, SHM_ALLOC_DATA],
    [TEE_IOC.SHM_REGISTER_FD, SHM_REGISTER_FD_DATA],
    [TEE_IOC.SHM_REGISTER, SHM_REGISTER_DATA],
    [TEE_IOC.CANCEL, CANCEL_ARG],
    [TEE_IOC.CLOSE_SESSION, CLOSE_SESSION_ARG],
  ];
  for (const [request, layout] of sizes) expect(ioctlPayloadSize(request)).toBe(layout.size);
  for (const request of [TEE_IOC.OPEN_SESSION, TEE_IOC.INVOKE, TEE_IOC.SUPPL_RECV]) {
    expect(ioctlPayloadSize(request)).toBe(BUF_DATA.size);
  }
});

test("TEE-2.1.OPEN_SESSION_ARG, TEE-2.1.INVOKE_ARG, TEE-2.1.SUPP_RECV_ARG, TEE-2.1.SUPP_SEND_ARG: every field is inside its structure and none overlaps", () => {
  const widths: Record<string, number> = { uuid: 16, clntUuid: 16, addr: 8, length: 8, id: 4 };
  for (const layout of [OPEN_SESSION_ARG, INVOKE_ARG, SUPP_RECV_ARG, SUPP_SEND_ARG]) {
    const used = new Set<number>();
    for (const [name, offset] of Object.entries(layout)) {
      if (name === "size") continue;
      for (let byte = offset; byte < offset + (widths[name] ?? 4); byte += 1) {
        expect(byte).toBeLessThan(layout.size);
        expect(used.has(byte)).toBe(false);
        used.add(byte);
      }
    }
    expect(used.size).toBe(layout.size);
  }
  const sizes = [OPEN_SESSION_ARG, INVOKE_ARG, SUPP_RECV_ARG, SUPP_SEND_ARG, OBJECT_INVOKE_ARG];
  expect(sizes.map(({ size }) => size)).toEqual([56, 24, 8, 8, 24]);
  expect(OPEN_SESSION_ARG).toMatchObject({
    clntUuid: 16,
    clntLogin: 32,
    cancelId: 36,
    session: 40,
  });
  expect(INVOKE_ARG).toMatchObject({ func: 0, session: 4, cancelId: 8, ret: 12, retOrigin: 16 });
});

test("TEE-2.1.PARAM, TEE-2.2.MEMREF: a parameter has the kernel's bytes", () => {
  const bytes = new Uint8Array(PARAM.size);
  const param = new Param().set(PARAM_ATTR.MEMREF_INOUT, 0x1122, 0x0a_0000_0001, 7);
  writeParam(new DataView(bytes.buffer), 0, param);
  expect(hex(bytes)).toBe("07000000000000002211000000000000010000000a0000000700000000000000");
  writeParam(new DataView(bytes.buffer), 0, new Param().setNullMemref(PARAM_ATTR.MEMREF_INPUT));
  expect(hex(bytes)).toBe(`0500000000000000${"00".repeat(16)}${"ff".repeat(8)}`);
});

test("TEE-2.1.PARAM, TEE-2.2.VALUE: any 32 bytes survive reading and writing", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (bytes) => {
      const high = (bytes[7] ?? 0) & 0x1f;
      bytes[7] = 0;
      bytes[6] = high;
      const copy = new Uint8Array(32);
      writeParam(new DataView(copy.buffer), 0, readParam(new DataView(bytes.buffer), 0));
      expect(copy).toEqual(bytes);
    }),
  );
});

test("TEE-2.2.ATTR_BITS: only type and META bits are well formed", () => {
  expect(attrIsWellFormed(0x107)).toBe(true);
  for (const bad of [0x200, 0x1_0000_0001, 0x8000_0000]) expect(attrIsWellFormed(bad)).toBe(false);
});

test("TEE-2.2.NONE, TEE-2.2.VALUE, TEE-2.2.MEMREF: types are classified by kind and direction", () => {
  const all = Object.values(PARAM_ATTR);
  expect(all.filter(isValueType)).toEqual([1, 2, 3]);
  expect(all.filter(isMemrefType)).toEqual([5, 6, 7]);
  expect(all.filter(isOutputType)).toEqual([2, 3, 6, 7]);
  expect(all.filter((type) => !isValueType(type) && !isMemrefType(type))).toEqual([
    0, 8, 9, 10, 11, 12, 13,
  ]);
});

const who = { euid: 1000, egid: 100, groups: [27, 0x1f4] };

test("TEE-2.3.PUBLIC, TEE-2.3.USER, TEE-2.3.NAMESPACE: the client UUID of a user login is made of the uid in hex without 0x", () => {
  expect(CLIENT_UUID_NAMESPACE).toBe("58ac9ca0-2086-4683-a1b8-ec4bc08e01b6");
  // SHA-1 of the namespace octets and "uid=3e8", as RFC 4122 says.
  expect(clientUuid(TEE_LOGIN.USER, 0, who)).toEqual({
    ok: true,
    uuid: "fc34275c-d8dd-5ba7-968b-504718363b87",
  });
  expect(clientUuid(TEE_LOGIN.PUBLIC, 0, who)).toEqual({
    ok: true,
    uuid: "00000000-0000-0000-0000-000000000000",
  });
});

test("TEE-2.3.GROUP: a group login needs membership", () => {
  const own = clientUuid(TEE_LOGIN.GROUP, 100, who);
  const supplementary = clientUuid(TEE_LOGIN.GROUP, 0x1f4, who);
  expect(own).toEqual({ ok: true, uuid: "d32f761e-b364-519b-be12-ed54ba663b0a" });
  expect(supplementary.ok).toBe(true);
  expect(supplementary).not.toEqual(own);
  expect(clientUuid(TEE_LOGIN.GROUP, 5, who)).toEqual({ ok: false, errno: ERRNO.EPERM });
});

test("TEE-2.3.APPLICATION, TEE-2.3.REE_KERNEL: application logins are invalid and kernel logins not permitted", () => {
  for (const login of [TEE_LOGIN.APPLICATION, TEE_LOGIN.USER_APPLICATION, 6, 3, 7, 0xc000_0000]) {
    expect(clientUuid(login, 0, who)).toEqual({ ok: false, errno: ERRNO.EINVAL });
  }
  for (const login of [0x8000_0000, 0xbfff_ffff]) {
    expect(clientUuid(login, 0, who)).toEqual({ ok: false, errno: ERRNO.EPERM });
  }
});

test("error numbers have their names", () => {
  expect(errnoName(-22)).toBe("EINVAL");
  expect(errnoName(16)).toBe("EBUSY");
  expect(errnoName(9999)).toBe("9999");
});
