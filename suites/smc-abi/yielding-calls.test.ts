import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`smc-abi/yielding-calls#${name}`, null);
const ITEM_NOT_FOUND = 0xffff_0008;
const BAD_PARAMETERS = 0xffff_0006;

test("an unknown message command is EBADCMD and leaves the message alone", async () => {
  expect(await run("unknownCommand")).toEqual({ a0: 5, ret: 0x1234, origin: 9 });
});

test("an unknown yielding function is EBADCMD, not an unknown function", async () => {
  expect(await run("unknownYieldingFunction")).toEqual([5, 0, 0, 0]);
});

test("an argument that is not page aligned or not in memory is EBADADDR", async () => {
  expect(await run("misalignedArgument")).toBe(4);
  expect(await run("argumentOutsideOfMemory")).toEqual([4, 0, 0, 0]);
});

test("127 parameters fit into a page and more are EBADADDR", async () => {
  expect(await run("tooManyParameters")).toEqual([0, 4, 4]);
});

test("a thread that waits for nothing cannot be resumed", async () => {
  expect(await run("resumeOfNothing")).toEqual([3, 3, 3, 3]);
});

test("an argument in an object that was never registered is EBADADDR", async () => {
  expect(await run("unknownRegisteredArgument")).toEqual([4, 0, 0, 0]);
});

test("sessions that do not exist cannot be closed or cancelled", async () => {
  expect(await run("noSuchSession")).toEqual({
    close: ITEM_NOT_FOUND,
    cancel: BAD_PARAMETERS,
    closeWithParams: BAD_PARAMETERS,
  });
});

test("sessions to a pseudo-TA count from 1, and from 1 again when all are closed", async () => {
  expect(await run("pseudoTaByHand")).toEqual({
    results: [0, 0, 0],
    sessions: [1, 2, 1],
    closed: [0, 0, ITEM_NOT_FOUND, 0],
    refused: [BAD_PARAMETERS, 0, BAD_PARAMETERS, 0],
  });
});
