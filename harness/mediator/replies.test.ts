import { expect, test } from "@jest/globals";
import type { Ipa, Pa } from "../machine/index.ts";
import { OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC, encodeMessage } from "../optee-abi/index.ts";
import { OWN_COOKIE_HIGH } from "./cookies.ts";
import { GuestKit, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { finish, rpc } from "./testkit/scripted-port.ts";

const GENERIC = TEEC.TEEC_ERROR_GENERIC;
const COOKIE = 0xc1;
const TIME = { cmd: RPC_CMD.GET_TIME, params: [value(2)] };

/** What the secure world gets for an RPC argument page that the guest offers. */
function offered(kit: GuestKit, page: number, high: number, low: number): number[] {
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.resume(0, Math.floor(page / 2 ** 32), page >>> 0, high, low);
  return kit.port.last;
}

test("MED-120: the page of an ALLOC reply may lie anywhere in the guest's address space", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    const far = RAM + 5 * 2 ** 32;
    kit.vm.space.refill(far as Ipa);
    expect(offered(kit, far, 0, COOKIE).slice(1, 3)).not.toEqual([0, 0]);
    expect(kit.pins(far)).toBe(1);
  }
});

test("MED-121: a cookie of an ALLOC reply is a number of 64 bits", () => {
  const kit = new GuestKit();
  for (const [high, low] of [
    [1, 0],
    [0, 1],
    [2, 0],
    [1, 1],
  ] as const) {
    const kitHad = kit.vm.usage?.rpcArguments ?? 0;
    const sent = offered(kit, kit.page(), high, low);
    expect(sent.slice(1, 3)).not.toEqual([0, 0]);
    expect(kit.vm.usage?.rpcArguments).toBe(kitHad + 1);
    kit.resume();
  }
});

test("MED-121: no guest of strict's can offer a page under a cookie that is the mediator's own", () => {
  const kit = new GuestKit();
  const page = kit.page();
  expect(offered(kit, page, OWN_COOKIE_HIGH, 1).slice(1, 6)).toEqual([0, 0, 0, 0, 0]);
  expect(kit.pins(page)).toBe(0);
  const xen = new GuestKit({ rules: "xen" });
  expect(offered(xen, xen.page(), OWN_COOKIE_HIGH, 1).slice(4, 6)).toEqual([OWN_COOKIE_HIGH, 1]);
});

test("MED-124: a cookie in use comes with an old page and a new one; strict's secure world hears of neither", () => {
  const kit = new GuestKit();
  offered(kit, kit.page(), 0, COOKIE);
  kit.resume();
  for (const page of [kit.page(), kit.page() + 8]) {
    expect(offered(kit, page, 0, COOKIE).slice(1, 6)).toEqual([0, 0, 0, 0, 0]);
    kit.resume();
  }
  expect(kit.vm.usage?.rpcArguments).toBe(1);
});

test("MED-130: both words of a reply's cookie count", () => {
  for (const [high, low] of [
    [1, COOKIE],
    [0, COOKIE + 1],
  ] as const) {
    const kit = new GuestKit();
    const argument = kit.withRpcArgument(COOKIE);
    kit.ask(argument, TIME);
    kit.put({ ...TIME, ret: 0 }, argument.page);
    kit.resume(0, high, low);
    expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
  }
});

test("MED-132: xen reads a reply of 127 parameters, which fill the page", () => {
  const kit = new GuestKit({ rules: "xen" });
  const argument = kit.withRpcArgument(COOKIE);
  kit.ask(argument, TIME);
  const params = Array.from({ length: 127 }, () => value(2, 9n));
  kit.put({ cmd: RPC_CMD.GET_TIME, ret: 0, params }, argument.page);
  kit.resume(0, 0, COOKIE);
  const message = kit.port.message(argument.shadow);
  expect([message.ret, message.big(126, 1)]).toEqual([0, 9n]);
});

test("MED-132: a reply of 128 parameters is GENERIC and changes nothing else under xen", () => {
  const kit = new GuestKit({ rules: "xen" });
  const argument = kit.withRpcArgument(COOKIE);
  kit.ask(argument, TIME);
  kit.put({ cmd: 77, ret: 0 }, argument.page);
  kit.vm.conduit.memory.write((argument.page + 28) as Ipa, Uint8Array.of(128));
  kit.resume(0, 0, COOKIE);
  expect(kit.port.message(argument.shadow)).toMatchObject({ ret: GENERIC, cmd: RPC_CMD.GET_TIME });
});

test("MED-105: when the page of a request is freed before its reply, the call goes on without it", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(COOKIE);
  kit.ask(argument, TIME);
  // Another call of the secure world frees the page.
  kit.suspend(rpc(SMC_RETURN.RPC_FREE, argument.wireHigh, argument.wireLow, 1));
  kit.port.steps.push(finish(SMC_RETURN.OK));
  kit.resume(1);
  expect(kit.vm.usage).toMatchObject({ calls: 1, rpcArguments: 0 });
  expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.last).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1]);
});

test("MED-133: a reply may be as long as its request and is read no further", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(COOKIE);
  const params = Array.from({ length: 127 }, () => value(2));
  kit.port.sparse.poke(argument.shadow as Pa, new Uint8Array(4096));
  kit.ask(argument, { cmd: RPC_CMD.FS, params });
  const bytes = encodeMessage({ cmd: RPC_CMD.FS, ret: 0, params: params.map(() => value(2, 7n)) });
  kit.vm.conduit.memory.write(argument.page as Ipa, bytes);
  kit.resume(0, 0, COOKIE);
  const message = kit.port.message(argument.shadow);
  expect([message.ret, message.big(0, 1), message.big(126, 1)]).toEqual([0, 7n, 7n]);
});

test("MED-140: a failed allocation pins nothing, even where it names a buffer that would do", () => {
  for (const rules of ["xen", "strict", "kvm"] as const) {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(COOKIE);
    kit.ask(argument, { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n, 8n)] });
    const { pointer, pages } = kit.list(1);
    const ret = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    kit.put({ cmd: RPC_CMD.SHM_ALLOC, ret, params: [tmem(pointer, 4096, 5n)] }, argument.page);
    kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
    expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
    expect(kit.port.message(argument.shadow).ret).toBe(ret);
    expect([kit.pins(pages[0] ?? 0), kit.vm.usage?.buffers]).toEqual([0, 0]);
  }
});
