import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`mediator/registers#${name}`, null);

const ALL_ONES = "ffffffffffffffff";
const rest = (from: number): string =>
  ["11", "22", "33", "44", "55", "66", "77"].slice(from - 1).join(" ");

// Seen at the real Xen 4.20 in front of OP-TEE 4.5, as its guest: x0 to x7 of each call.
const SEEN = {
  CALLS_COUNT: `b ${rest(1)}`,
  CALLS_UID: `384fb3e0 e7f811e3 af630002 a5d5c51b ${rest(4)}`,
  CALLS_REVISION: `2 0 ${rest(2)}`,
  GET_OS_UUID: `486178e0 e7f811e3 bc5e0002 a5d5c51b ${rest(4)}`,
  GET_OS_REVISION: `4 5 ${rest(2)}`,
  ENABLE_SHM_CACHE: `0 ${rest(1)}`,
  DISABLE_SHM_CACHE: `7 ${rest(1)}`,
  GET_SHM_CONFIG: `7 ${rest(1)}`,
  EXCHANGE_CAPABILITIES: `0 14 ${rest(2)}`,
  VM_CREATED: `${ALL_ONES} ${rest(1)}`,
  VM_DESTROYED: `${ALL_ONES} ${rest(1)}`,
  GET_THREAD_COUNT: `${ALL_ONES} ${rest(1)}`,
  CALL_WITH_RPC_ARG: `${ALL_ONES} ${rest(1)}`,
  "CALL_WITH_ARG, misaligned": `4 ${rest(1)}`,
  "RETURN_FROM_RPC, no thread": `3 ${rest(1)}`,
  "CALL_WITH_ARG, 200 parameters": `32000004 0 page ${rest(3)}`,
  "CALL_WITH_ARG, command 99": `5 0 page ${rest(3)}`,
};

test("MED-020, MED-029, MED-046, MED-110: what the mediator answers by itself or filters, in every register of xen's guest", async () => {
  expect(await run("refusedRegisters")).toEqual(SEEN);
});

test("MED-050, MED-051, MED-067: parameters that cannot be translated, in every register of xen's guest", async () => {
  const registers = `0 0 page ${rest(3)}`;
  expect(await run("refusedParameters")).toEqual({
    contiguous: { registers, ret: 0xffff_0006, origin: 2 },
    empty: { registers, ret: 0xffff_000c, origin: 2 },
  });
});

test("MED-053, MED-080, MED-113: a call that completes leaves x4 to x7 of xen's guest alone, interrupted or not", async () => {
  const session = expect.any(Number) as unknown;
  expect(await run("completedRegisters")).toEqual({ x0: "0", others: rest(4), ret: 0, session });
});

test("MED-101, MED-113, MED-150: an interrupt in the middle of a call is an RPC to xen's guest, and changes no result", async () => {
  expect(await run("interrupted")).toEqual({ wrong: 0 });
});

test("MED-101, MED-113, MED-150: a call that is interrupted over and over ends as it should", async () => {
  expect(await run("longCall")).toEqual({ ret: 0 });
});
