import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { ATTR_TYPE, encodePageList, MSG_CMD, TEEC } from "../optee-abi/index.ts";
import { ProbeTa } from "./testkit/probe-ta.ts";
import { type Param, rmem, SecureKit, value } from "./testkit/kit.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const SECURITY = TEEC.TEEC_ERROR_SECURITY;
const PAGE = 4096;
const tmem = (attr: number, pointer: bigint, size: bigint, cookie = 0n): Param => ({
  attr: BigInt(attr),
  a: pointer,
  b: size,
  c: cookie,
});
const NONCONTIG = 0x200;

function probed(build = {}): { kit: SecureKit; probe: ProbeTa; session: number } {
  const probe = new ProbeTa();
  const kit = new SecureKit({ pseudoTas: [probe.ta], userTas: [], build });
  return { kit, probe, session: kit.open(ProbeTa.uuid).session };
}

test("MSG-2.2.VALUE, MSG-2.2.EXPORT: values arrive as 32-bit a and b; c goes neither in nor out", () => {
  const { kit, probe, session } = probed();
  probe.next = ([, inout]) => {
    inout.a += 1;
    inout.b = 0xffff_ffff;
    return TEEC.TEEC_SUCCESS;
  };
  const done = kit.invoke(session, 0, [
    value(ATTR_TYPE.VALUE_INPUT, 0x7_0000_0001n, 2n, 3n),
    value(ATTR_TYPE.VALUE_INOUT, 0x9_0000_0004n, 5n, 6n),
  ]);
  expect([probe.param(0).a, probe.param(0).b]).toEqual([1, 2]);
  expect(done.params[0]).toEqual({ attr: 1n, a: 0x7_0000_0001n, b: 2n, c: 3n });
  expect(done.params[1]).toEqual({ attr: 3n, a: 5n, b: 0xffff_ffffn, c: 6n });
});

test("MSG-2.2.EXPORT, MSG-2.4.TA_RETURNED: outputs are exported even when the TA fails, inputs never", () => {
  const { kit, probe, session } = probed();
  probe.next = (params) => {
    for (const param of params) {
      param.a = 77;
      param.size = 88;
    }
    return TEEC.TEEC_ERROR_SHORT_BUFFER;
  };
  kit.register(9n, 1);
  const done = kit.invoke(session, 0, [
    value(ATTR_TYPE.VALUE_INPUT, 1n),
    value(ATTR_TYPE.VALUE_OUTPUT, 1n),
    rmem(ATTR_TYPE.RMEM_INPUT, 9n, 0, 10),
    rmem(ATTR_TYPE.RMEM_OUTPUT, 9n, 0, 10),
  ]);
  expect([done.ret, done.ret_origin]).toEqual([TEEC.TEEC_ERROR_SHORT_BUFFER, 4]);
  expect(done.params.map((param) => [param.a, param.b])).toEqual([
    [1n, 0n],
    [77n, 0n],
    [0n, 10n],
    [0n, 88n],
  ]);
});

test("MSG-2.2.META, MSG-1.3.META, MSG-2.2.RESERVED, MSG-2.2.MAX_PARAMS, MSG-1.3.TYPE, MSG-2.4.IMPORT_FAILED: META, reserved types and more than four parameters are refused before the TA", () => {
  const { kit, probe, session } = probed();
  probe.params = undefined;
  for (const params of [
    [value(0x101)],
    [value(4)],
    [value(8)],
    [value(0xc)],
    [value(0xff)],
    Array.from({ length: 5 }, () => value(0)),
  ]) {
    const { a0, ret, ret_origin: origin } = kit.invoke(session, 0, params);
    expect([a0, ret, origin]).toEqual([0, BAD, 3]);
  }
  expect(probe.params).toBeUndefined();
});

test("MSG-2.2.TMEM_NULL: TMEM at address 0 is NULL of size 0, whatever the rest says", () => {
  const { kit, probe, session } = probed();
  for (const attr of [9, 0xa, 0xb, 0x209, 0x20a]) {
    expect(kit.invoke(session, 0, [tmem(attr, 0n, 4096n, 5n)]).ret).toBe(0);
    expect([probe.param(0).isNull, probe.param(0).size]).toEqual([true, 0]);
  }
});

test("MSG-2.2.TMEM_CONTIGUOUS: contiguous TMEM is accepted only inside the reserved pool", () => {
  const { kit, probe, session } = probed();
  const read = (at: number, size: number): number =>
    kit.invoke(session, 0, [tmem(ATTR_TYPE.TMEM_INPUT, BigInt(at), BigInt(size))]).ret;
  kit.poke(0x4200_0ffe, new TextEncoder().encode("pool"));
  expect(read(0x4200_0ffe, 4)).toBe(0);
  expect(new TextDecoder().decode(probe.param(0).read())).toBe("pool");
  for (const [at, size] of [
    [0x4800_0000, 16],
    [0x4220_0000 - 8, 16],
    [0x4200_0000 - 8, 16],
    [0xe10_0000, 16],
  ] as const) {
    expect(read(at, size)).toBe(BAD);
  }
});

test("MSG-2.2.TMEM_NONCONTIG, MSG-2.3.2: TMEM page lists outlast the call and cannot be unregistered", () => {
  const { kit, probe, session } = probed();
  const pages = [kit.page(), kit.page()];
  kit.poke((pages[0] ?? 0) + 4090, new TextEncoder().encode("abcdef"));
  kit.poke(pages[1] ?? 0, new TextEncoder().encode("ghij"));
  const table = kit.world.partitions.all[0]?.registered;
  probe.next = ([, other]) => {
    // The temporary object is in the table meanwhile: parameter 1 refers to it by cookie. The other
    // entry is the page of the message itself.
    expect(table?.count).toBe(2);
    expect(new TextDecoder().decode(other.read())).toBe("efgh");
    return TEEC.TEEC_SUCCESS;
  };
  const done = kit.invoke(session, 0, [
    tmem(ATTR_TYPE.TMEM_INPUT | NONCONTIG, kit.listOf(pages) + 4090n, 10n, 0x77n),
    rmem(ATTR_TYPE.RMEM_INPUT, 0x77n, 4, 4),
  ]);
  expect(done.ret).toBe(0);
  // NONCONTIG is beside the type, and what has anything beside it is not released: a flaw of OP-TEE's.
  expect(table?.count).toBe(1);
  expect(kit.unregister(0x77n).ret).toBe(BAD);
  probe.next = ([again]) => {
    expect(new TextDecoder().decode(again.read())).toBe("abcdef");
    return TEEC.TEEC_SUCCESS;
  };
  const after = kit.invoke(session, 0, [rmem(ATTR_TYPE.RMEM_INPUT, 0x77n, 0, 6)]);
  expect([after.ret, after.ret_origin]).toEqual([0, 4]);
});

test("MSG-2.2.TMEM_NONCONTIG: from 4.11 on TMEM page lists end with their call", () => {
  const { kit, session } = probed({ version: { major: 4, minor: 11 } });
  const buffer = tmem(ATTR_TYPE.TMEM_INPUT | NONCONTIG, kit.listOf([kit.page()]), 10n, 0x77n);
  expect(kit.invoke(session, 0, [buffer]).ret).toBe(0);
  expect(kit.world.partitions.all[0]?.registered.count).toBe(0);
  expect(kit.invoke(session, 0, [rmem(ATTR_TYPE.RMEM_INPUT, 0x77n, 0, 5)]).ret).toBe(BAD);
});

test("MSG-2.2.RMEM, MSG-2.4.IMPORT_FAILED: RMEM beyond its object is SECURITY, an unknown cookie BAD_PARAMETERS", () => {
  const { kit, session } = probed();
  kit.register(0x9_0000_0009n, 2, 100);
  const ret = (cookie: bigint, offset: bigint, size: bigint): number =>
    kit.invoke(session, 0, [{ attr: 5n, a: offset, b: size, c: cookie }]).ret;
  const cookie = 0x9_0000_0009n;
  const size = BigInt(2 * PAGE - 100);
  expect([ret(cookie, 0n, size), ret(cookie, size, 0n)]).toEqual([0, 0]);
  expect(ret(cookie, 1n, size)).toBe(SECURITY);
  expect(ret(cookie, 0xffff_ffff_ffff_ffffn, 2n)).toBe(SECURITY);
  expect(ret(cookie, 2n, 0xffff_ffff_ffff_ffffn)).toBe(SECURITY);
  expect([ret(9n, 0n, 0n), ret(0x8_0000_0009n, 0n, 0n)]).toEqual([BAD, BAD]);
});

test("MSG-2.2.RMEM, MSG-2.3.2: cookie 0 is no NULL: it names the page of the message, if that is in the table", () => {
  const { kit, probe, session } = probed();
  const message = {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    params: [rmem(ATTR_TYPE.RMEM_INPUT, 0n, 8, 4)],
  };
  // In the reserved pool a message is no registered object, and neither is anything else of cookie 0.
  const pooled = kit.put(message, 0x4200_0000);
  kit.finish(kit.start(pooled));
  expect(kit.get(pooled)).toMatchObject({ ret: BAD, ret_origin: 3 });
  // In a page of its own it is, for as long as the call lasts.
  probe.next = ([own]) => {
    expect(new DataView(own.read().buffer).getUint32(0, true)).toBe(session);
    return TEEC.TEEC_SUCCESS;
  };
  expect(kit.call(message).ret).toBe(0);
  kit.finish(kit.start(pooled));
  expect(kit.get(pooled).ret).toBe(BAD);
  // It hides an object that was registered under cookie 0, also from unregistering.
  const { pages } = kit.register(0n);
  kit.poke((pages[0] ?? 0) + 8, Uint8Array.of(1, 2, 3, 4));
  expect(kit.call(message).ret).toBe(0);
  expect(kit.unregister(0n).ret).toBe(BAD);
  probe.next = ([object]) => {
    expect([...object.read()]).toEqual([1, 2, 3, 4]);
    return TEEC.TEEC_SUCCESS;
  };
  kit.finish(kit.start(kit.put(message, pooled)));
  expect(kit.get(pooled).ret).toBe(0);
});

test("MSG-2.2.VALUE, MSG-2.2.RMEM, MSG-2.2.EXPORT: any mix of valid parameters reaches the TA and comes back as the wire says", () => {
  const { kit, probe, session } = probed();
  const { pages } = kit.register(5n, 3, 40);
  const bytes = Uint8Array.from({ length: 3 * PAGE }, (_, index) => index * 13);
  for (const [index, page] of pages.entries()) {
    kit.poke(page, bytes.subarray(index * PAGE, (index + 1) * PAGE));
  }
  const word = fc.bigInt({ min: 0n, max: 0xffff_ffffn });
  const param = fc.oneof(
    fc.record({ attr: fc.constantFrom(0n, 1n, 2n, 3n), a: word, b: word, c: word }),
    fc
      .tuple(fc.constantFrom(5n, 6n, 7n), fc.nat(3 * PAGE - 41), fc.nat(5000))
      .map(([attr, offset, size]) => ({
        attr,
        a: BigInt(offset),
        b: BigInt(Math.min(size, 3 * PAGE - 40 - offset)),
        c: 5n,
      })),
  );
  fc.assert(
    fc.property(fc.array(param, { maxLength: 4 }), (params) => {
      probe.next = () => TEEC.TEEC_SUCCESS;
      const done = kit.invoke(session, 0, params);
      expect([done.a0, done.ret]).toEqual([0, 0]);
      for (const [index, given] of params.entries()) {
        const seen = probe.param(index);
        expect(seen.type).toBe(Number(given.attr));
        const back = done.params[index];
        expect(back).toEqual(given);
        if (seen.isMemref) {
          const from = 40 + Number(given.a);
          expect(seen.read()).toEqual(bytes.slice(from, from + Number(given.b)));
        } else if (given.attr !== 0n) {
          expect([seen.a, seen.b]).toEqual([Number(given.a), Number(given.b)]);
        }
      }
      expect(kit.world.partitions.all[0]?.registered.find(0, 5)?.users).toBe(0);
    }),
  );
});

test("MSG-2.INVOKE_COMMAND: parameters of an invocation are judged before the session is looked up", () => {
  const { kit } = probed();
  expect(kit.invoke(99, 0, [value(8)])).toMatchObject({ ret: BAD, ret_origin: 3 });
  expect(kit.invoke(99, 0)).toMatchObject({ ret: BAD, ret_origin: 3 });
});

test("MSG-2.CLOSE_SESSION, MSG-2.CANCEL: CLOSE and CANCEL take no parameters and name what they do not find", () => {
  const { kit, session } = probed();
  const ret = (cmd: number, id: number, params: Param[] = []): number =>
    kit.call({ cmd, session: id, params }).ret;
  const { CLOSE_SESSION, CANCEL } = MSG_CMD;
  expect([ret(CANCEL, 9), ret(CLOSE_SESSION, 9)]).toEqual([BAD, TEEC.TEEC_ERROR_ITEM_NOT_FOUND]);
  expect([ret(CANCEL, session, [{}]), ret(CLOSE_SESSION, session, [{}])]).toEqual([BAD, BAD]);
  expect([ret(CANCEL, session), ret(CLOSE_SESSION, session)]).toEqual([0, 0]);
});

test("MSG-2.DO_BOTTOM_HALF, MSG-2.STOP_ASYNC_NOTIF: notification messages are EBADCMD when not built, and leave ret alone", () => {
  const without = probed({ asyncNotif: false }).kit;
  const built = probed().kit;
  for (const cmd of [MSG_CMD.DO_BOTTOM_HALF, MSG_CMD.STOP_ASYNC_NOTIF]) {
    expect(without.call({ cmd, ret: 5 })).toMatchObject({ a0: 5, ret: 5 });
    expect(built.call({ cmd, ret: 5, ret_origin: 6 })).toMatchObject({
      a0: 0,
      ret: 5,
      ret_origin: 6,
    });
  }
});

test("MSG-2.1.1, MSG-2.1.P1, MSG-1.3.LOGIN: the client UUID counts for user and group logins and is nil for public ones", () => {
  const { kit, probe } = probed();
  const own = "11110000-0000-0000-2222-000000000000";
  const nil = "00000000-0000-0000-0000-000000000000";
  for (const { login, uuid } of [
    { login: 0, uuid: nil },
    { login: 0x8000_0000, uuid: nil },
    { login: 1, uuid: own },
    { login: 2, uuid: own },
    { login: 6, uuid: own },
  ]) {
    expect(kit.open(ProbeTa.uuid, [], BigInt(login)).ret).toBe(0);
    expect(probe.client).toEqual({ login, uuid });
  }
  for (const login of [3n, 7n, 0xf000_0000n, 0x9000_0000n]) {
    expect(kit.open(ProbeTa.uuid, [], login)).toMatchObject({ ret: BAD, session: 0 });
  }
});

test("MSG-2.1.2: a session gets the id after the last one's, skipping 0 and those in use", () => {
  const { kit, session } = probed();
  const open = (): number => kit.open(ProbeTa.uuid).session;
  expect([session, open(), open()]).toEqual([1, 2, 3]);
  kit.close(3);
  expect(open()).toBe(3);
  kit.close(1);
  expect(open()).toBe(4);
  for (const id of [2, 3, 4]) kit.close(id);
  expect(open()).toBe(1);
});

test("MSG-2.OPEN_SESSION, MSG-2.4.TA_RETURNED, MSG-2.1.3: a refused open has session 0 and names who refused", () => {
  const { kit, probe } = probed();
  probe.next = () => TEEC.TEEC_ERROR_ACCESS_DENIED;
  expect(kit.open(ProbeTa.uuid)).toMatchObject({
    ret: TEEC.TEEC_ERROR_ACCESS_DENIED,
    ret_origin: 4,
    session: 0,
  });
  expect(kit.open("99999999-0000-0000-0000-000000000000")).toMatchObject({
    ret: TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
    ret_origin: 3,
    session: 0,
  });
});

test("MSG-2.3.1: duplicate cookies are accepted; the newest hides the older until it is gone", () => {
  const { kit, probe, session } = probed();
  const first = kit.register(4n);
  const second = kit.register(4n);
  kit.poke(first.pages[0] ?? 0, Uint8Array.of(1));
  kit.poke(second.pages[0] ?? 0, Uint8Array.of(2));
  const seen = (): number | undefined => {
    kit.invoke(session, 0, [rmem(ATTR_TYPE.RMEM_INPUT, 4n, 0, 1)]);
    return probe.param(0).read()[0];
  };
  expect(seen()).toBe(2);
  expect(kit.unregister(4n).ret).toBe(0);
  expect(seen()).toBe(1);
  expect(kit.unregister(4n).ret).toBe(0);
  expect(kit.unregister(4n).ret).toBe(BAD);
});

test("MSG-2.3.4: registering and unregistering leave ret_origin alone when they succeed", () => {
  const { kit } = probed();
  expect(kit.register(4n).result).toMatchObject({ ret: 0, ret_origin: 7 });
  expect(kit.unregister(4n)).toMatchObject({ ret: 0, ret_origin: 0 });
});

test("MSG-2.REGISTER_SHM, MSG-1.3.RESERVED: REGISTER_SHM demands exactly one parameter of attribute 0x20a", () => {
  const { kit } = probed();
  const list = kit.listOf([kit.page()]);
  const ret = (attr: bigint, count = 1): number =>
    kit.call({
      cmd: MSG_CMD.REGISTER_SHM,
      params: Array.from({ length: count }, () => ({ attr, a: list, b: 10n, c: 1n })),
    }).ret;
  expect(ret(0x20an)).toBe(0);
  for (const attr of [0x209n, 0x20bn, 0xan, 0x30an, 0x1_0000_020an]) expect(ret(attr)).toBe(BAD);
  expect([ret(0x20an, 0), ret(0x20an, 2)]).toEqual([BAD, BAD]);
});

test("MSG-1.4.3: the pages are counted from size and offset", () => {
  const { kit, session } = probed();
  const pages = Array.from({ length: 3 }, () => kit.page());
  const list = kit.listOf(pages);
  const ret = (offset: bigint, size: bigint): number =>
    kit.invoke(session, 0, [tmem(0x209, list + offset, size)]).ret;
  expect([ret(0n, 1n), ret(0n, 8192n), ret(4095n, 1n), ret(1n, 12_287n)]).toEqual([0, 0, 0, 0]);
  // A size of 0 is one page behind an offset and nothing that could be mapped without one.
  expect([ret(5n, 0n), ret(0n, 0n)]).toEqual([0, BAD]);
  expect([ret(0n, 12_289n), ret(1n, 0xffff_ffff_ffff_ffffn)]).toEqual([BAD, BAD]);
});

test("MSG-1.4.4: the link is followed only when more pages are needed", () => {
  const { kit } = probed({ heap: 1 << 20 });
  const data = kit.page();
  const lists = [kit.page(), kit.page()];
  const register = (count: number, link: number): number => {
    const bytes = lists.map(() => new Uint8Array(PAGE));
    encodePageList(
      Array.from({ length: count }, () => data),
      lists,
      bytes,
    );
    for (const [index, page] of lists.entries()) kit.poke(page, bytes[index] ?? new Uint8Array());
    const word = new Uint8Array(8);
    new DataView(word.buffer).setUint32(0, link, true);
    kit.poke((lists[0] ?? 0) + 511 * 8, word);
    return kit.call({
      cmd: MSG_CMD.REGISTER_SHM,
      params: [tmem(0x20a, BigInt(lists[0] ?? 0), BigInt(count * PAGE), 1n)],
    }).ret;
  };
  expect(register(511, 0xdead)).toBe(0);
  expect(register(512, lists[1] ?? 0)).toBe(0);
  expect(register(512, (lists[1] ?? 0) + 8)).toBe(BAD);
  expect(register(512, 0xe10_0000)).toBe(BAD);
});

test("MSG-1.4.4, MSG-1.4.7: unaligned, secure and absent pages are refused", () => {
  const { kit } = probed();
  const good = kit.page();
  for (const bad of [good + 1, good + 2048, 0xe10_0000, 0x9000_0000, 2 ** 51]) {
    const ret = kit.call({
      cmd: MSG_CMD.REGISTER_SHM,
      params: [tmem(0x20a, kit.listOf([good, bad]), 8192n, 1n)],
    }).ret;
    expect(ret).toBe(BAD);
  }
  expect(kit.world.partitions.all[0]?.registered.count).toBe(0);
});

test("MSG-1.4.6: an object reaches to the end of its last page", () => {
  const { kit, session } = probed();
  const list = kit.listOf([kit.page()]);
  const params = [tmem(0x20a, list + 100n, 1n, 6n)];
  expect(kit.call({ cmd: MSG_CMD.REGISTER_SHM, params }).ret).toBe(0);
  expect(kit.invoke(session, 0, [rmem(5, 6n, 0, PAGE - 100)]).ret).toBe(0);
  expect(kit.invoke(session, 0, [rmem(5, 6n, 0, PAGE - 99)]).ret).toBe(SECURITY);
});

test("MSG-2.3.6: objects end where the core's heap does", () => {
  const { kit } = probed({ heap: 3 * (64 + 8) });
  expect([1n, 2n, 3n, 4n].map((cookie) => kit.register(cookie).result.ret)).toEqual([0, 0, 0, BAD]);
  kit.unregister(2n);
  expect(kit.register(4n).result.ret).toBe(0);
});
