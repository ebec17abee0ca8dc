import { expect, test } from "@jest/globals";
import * as fc from "fast-check";

import {
  attrIsWellFormed,
  clientUuid,
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
  SHM_REGISTER_DATA,
  SUPP_RECV_ARG,
  SUPP_SEND_ARG,
  TEE_IOC,
  TEE_LOGIN,
  writeParam,
} from "./index.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

test("TEE-2: ioctl numbers equal the kernel's", () => {
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

test("TEE-2.1: every field lies inside its structure and none overlaps", () => {
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
  expect(OBJECT_INVOKE_ARG.size).toBe(24);
});

test("TEE-2.2: a parameter has the kernel's bytes", () => {
  const bytes = new Uint8Array(PARAM.size);
  const param = new Param().set(PARAM_ATTR.MEMREF_INOUT, 0x1122, 0x0a_0000_0001, 7);
  writeParam(new DataView(bytes.buffer), 0, param);
  expect(hex(bytes)).toBe("07000000000000002211000000000000010000000a0000000700000000000000");
  writeParam(new DataView(bytes.buffer), 0, new Param().setNullMemref(PARAM_ATTR.MEMREF_INPUT));
  expect(hex(bytes)).toBe(`0500000000000000${"00".repeat(16)}${"ff".repeat(8)}`);
});

test("TEE-2.2: any 32 bytes survive reading and writing", () => {
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

test("TEE-2.2: only type and META bits are well formed", () => {
  expect(attrIsWellFormed(0x107)).toBe(true);
  for (const bad of [0x200, 0x1_0000_0001, 0x8000_0000]) expect(attrIsWellFormed(bad)).toBe(false);
});

test("TEE-2.2: types are classified by kind and direction", () => {
  const all = Object.values(PARAM_ATTR);
  expect(all.filter(isValueType)).toEqual([1, 2, 3]);
  expect(all.filter(isMemrefType)).toEqual([5, 6, 7]);
  expect(all.filter(isOutputType)).toEqual([2, 3, 6, 7]);
});

const who = { euid: 1000, egid: 100, groups: [27, 0x1f4] };

test("TEE-2.3: the client UUID of a user login is made of the uid in hex without 0x", () => {
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

test("TEE-2.3: a group login needs membership", () => {
  const own = clientUuid(TEE_LOGIN.GROUP, 100, who);
  const supplementary = clientUuid(TEE_LOGIN.GROUP, 0x1f4, who);
  expect(own).toEqual({ ok: true, uuid: "d32f761e-b364-519b-be12-ed54ba663b0a" });
  expect(supplementary.ok).toBe(true);
  expect(supplementary).not.toEqual(own);
  expect(clientUuid(TEE_LOGIN.GROUP, 5, who)).toEqual({ ok: false, errno: ERRNO.EPERM });
});

test("TEE-2.3: application logins are invalid and kernel logins not permitted", () => {
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
