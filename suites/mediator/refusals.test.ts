import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/refusals#${name}`, null);
const BAD_PARAMETERS = 0xffff_0006;
const OUT_OF_MEMORY = 0xffff_000c;

const TOO_MANY = { ret: BAD_PARAMETERS, origin: 2, params: 200 };

test("MED-046: num_params 200 leaves the function id in a0 under xen", async () => {
  expect(await run("tooManyParamsXen")).toEqual({ a0: 0x3200_0004, ...TOO_MANY });
});

test("MED-046: num_params 200 is OK in a0 under strict", async () => {
  expect(await run("tooManyParamsStrict")).toEqual({ a0: 0, ...TOO_MANY });
});

test("command 99 is EBADCMD and the message is untouched", async () => {
  expect(await run("unknownCommand")).toEqual({ a0: 5, ret: 0x77, origin: 9, params: 0 });
});

test("a contiguous temporary reference is BAD_PARAMETERS of origin COMMS", async () => {
  const refused = { a0: 0, ret: BAD_PARAMETERS, origin: 2, params: 1 };
  expect(await run("contiguous")).toEqual(refused);
});

test("MED-067: an empty page list is OUT_OF_MEMORY under xen", async () => {
  expect(await run("emptyListXen")).toMatchObject({ a0: 0, ret: OUT_OF_MEMORY, origin: 2 });
});

test("MED-067: an empty page list is BAD_PARAMETERS under strict", async () => {
  expect(await run("emptyListStrict")).toMatchObject({ a0: 0, ret: BAD_PARAMETERS, origin: 2 });
});

test("MED-062: a guest has 16 buffers under xen", async () => {
  expect(await run("bufferQuotaXen")).toEqual({ registered: 16, ret: OUT_OF_MEMORY });
});

test("MED-062: a guest has as many buffers as it likes under strict, and 512 pages under kvm", async () => {
  expect(await run("bufferQuotaStrict")).toEqual({ registered: 40, ret: 0 });
  expect(await run("pageQuotaKvm")).toEqual({ registered: 5, ret: OUT_OF_MEMORY });
});

test("MED-060: a buffer of 130 pages is too large for xen", async () => {
  expect(await run("largeBufferXen")).toEqual({ registered: 0, ret: OUT_OF_MEMORY });
});

test("MED-060: a buffer of 130 pages is none too large for strict", async () => {
  expect(await run("largeBufferStrict")).toEqual({ registered: 40, ret: 0 });
});

test("a cookie is used once until it is unregistered", async () => {
  expect(await run("duplicateCookie")).toEqual([0, BAD_PARAMETERS, 0, BAD_PARAMETERS, 0]);
});

test("pages that are not the guest's RAM are refused", async () => {
  expect(await run("foreignPages")).toEqual([BAD_PARAMETERS, BAD_PARAMETERS, BAD_PARAMETERS, 0]);
});
