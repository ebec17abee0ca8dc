import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/yielding-calls");
const ITEM_NOT_FOUND = 0xffff_0008;
const BAD_PARAMETERS = 0xffff_0006;

/** a0 to a3 of a refused call: OP-TEE clears a1 to a3, the hardware domain keeps its own. */
const refused = (
  on: { conduit: string } | undefined,
  code: number,
  a1: number,
  a2: number,
): number[] => (on?.conduit === "hwdom" ? [code, a1, a2, 0] : [code, 0, 0, 0]);

test(
  "an unknown message command is EBADCMD and leaves the message alone",
  "unknownCommand",
  async (run) => {
    expect(await run()).toEqual({ a0: 5, ret: 0x1234, origin: 9 });
  },
);

test(
  "an unknown yielding function is EBADCMD, not an unknown function",
  "unknownYieldingFunction",
  async (run) => {
    expect(await run()).toEqual([5, 0, 0, 0]);
  },
);

test(
  "an argument that is not page aligned or not in memory is EBADADDR",
  ["misalignedArgument", "argumentOutsideOfMemory"],
  async (run, on) => {
    expect(await run("misalignedArgument")).toBe(4);
    expect(await run("argumentOutsideOfMemory")).toEqual(refused(on, 4, 0xf, 0xffff_f000));
  },
);

test("127 parameters fit into a page and more are EBADADDR", "tooManyParameters", async (run) => {
  expect(await run()).toEqual([0, 4, 4]);
});

test("a thread that waits for nothing cannot be resumed", "resumeOfNothing", async (run) => {
  expect(await run()).toEqual([3, 3, 3, 3]);
});

test(
  "an argument in an object that was never registered is EBADADDR",
  "unknownRegisteredArgument",
  async (run, on) => {
    expect(await run()).toEqual(refused(on, 4, 0xdead, 0xbeef));
  },
);

test("sessions that do not exist cannot be closed or cancelled", "noSuchSession", async (run) => {
  expect(await run()).toEqual({
    close: ITEM_NOT_FOUND,
    cancel: BAD_PARAMETERS,
    closeWithParams: BAD_PARAMETERS,
  });
});

test(
  "sessions to a pseudo-TA count from 1, and from 1 again when all are closed",
  "pseudoTaByHand",
  async (run) => {
    expect(await run()).toEqual({
      results: [0, 0, 0],
      sessions: [1, 2, 1],
      closed: [0, 0, ITEM_NOT_FOUND, 0],
      refused: [BAD_PARAMETERS, 0, BAD_PARAMETERS, 0],
    });
  },
);
