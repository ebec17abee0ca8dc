import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/messages");
const BAD = 0xffff_0006;
const NOT_FOUND = 0xffff_0008;
/** Result and origin; results that nobody wrote are 7 and 8. */
const REFUSED = [BAD, 3];
const BAD_FROM_TA = [BAD, 4];

test(
  "MSG-2.OPEN_SESSION: two META values lead, four more may follow, and a refusal has no session",
  "openShapes",
  async (run) => {
    const refused = "0xffff0006 3";
    expect(await run()).toEqual({
      "no parameters": refused,
      "no client": refused,
      "first without META": refused,
      "second without META": refused,
      "META output": refused,
      "reserved bit 10": refused,
      "bit 32": refused,
      "a third META": refused,
      "four more": "session, 0 4",
      "five more": refused,
    });
  },
);

test("MSG-1.3.LOGIN, MSG-2.1.1: seven login classes are taken", "logins", async (run) => {
  expect(await run()).toEqual({ taken: [0, 1, 2, 4, 5, 6, 0x8000_0000], upperHalf: 0 });
});

test("MSG-2.1.P0: a TA is asked for by the octets of its UUID", "unknownTa", async (run) => {
  const asked = "00112233445566778899aabbccddeeff";
  expect(await run()).toEqual({ ret: NOT_FOUND, origin: 3, session: 0, asked });
});

test("MSG-2.1.2: session ids go on from the last in the list", "sessionIds", async (run) => {
  expect(await run()).toEqual({
    ids: [1, 2, 3],
    afterMiddle: 4,
    afterEnd: 2,
    closed: [0, 0, NOT_FOUND],
    afterAll: 1,
  });
});

test(
  "MSG-2.INVOKE_COMMAND: parameters are judged before the session is looked up",
  "wrongSession",
  async (run) => {
    expect(await run()).toEqual({
      none: [REFUSED, REFUSED, REFUSED],
      parametersFirst: [0xffff_000f, 3],
      closed: [0, REFUSED],
    });
  },
);

test(
  "MSG-1.3.TYPE, MSG-2.2.RESERVED, MSG-2.2.META: types that there are not never reach the TA, nor does META",
  "parameterTypes",
  async (run) => {
    const [values, registered, temporary] = [
      [4, 4, 4],
      [3, 3, 3],
      [4, 4],
    ];
    expect(await run()).toEqual({
      plain: [4, ...values, 3, ...registered, 3, ...temporary, 3, 3, 3, 3, 3],
      meta: Array(17).fill(3),
      others: [4, 4, 4, 4],
    });
  },
);

test("MSG-2.2.MAX_PARAMS: a TA is given four parameters", "parameterCounts", async (run) => {
  const taken = Array.from({ length: 5 }, () => BAD_FROM_TA);
  expect(await run()).toEqual([...taken, REFUSED, REFUSED, REFUSED]);
});

test(
  "MSG-2.4.TA_RETURNED: what a TA does not know it says itself, and the message's own fields stay",
  "commandIds",
  async (run) => {
    const kept = [true, true, true];
    const unknown = { result: BAD_FROM_TA, kept, value: [40, 2, 9] };
    const sum = { result: [0, 4], kept, value: [42, 2, 9] };
    expect(await run()).toEqual([sum, unknown, unknown, unknown]);
  },
);

test(
  "MSG-2.CANCEL, MSG-2.CLOSE_SESSION: neither takes parameters, and each has its own word for an unknown session",
  "closeAndCancel",
  async (run) => {
    const unknown = [REFUSED, [NOT_FOUND, 3]];
    expect(await run()).toEqual({
      parameter: [REFUSED, REFUSED],
      unknown,
      zero: unknown,
      tagged: [
        [0, 3],
        [0, 3],
      ],
      gone: unknown,
    });
  },
);

test(
  "MSG-2.REGISTER_SHM, MSG-2.UNREGISTER_SHM: one attribute registers, and any lets go",
  "registrationAttributes",
  async (run) => {
    expect(await run()).toEqual({
      registered: Array(7).fill(BAD),
      unregistered: Array.from({ length: 8 }, () => [0, 0]),
      twice: BAD,
    });
  },
);

test(
  "MSG-2.3.4: a wrong number of parameters has an origin with UNREGISTER_SHM alone",
  "registrationCounts",
  async (run) => {
    const done = [0, 8];
    expect(await run()).toEqual({
      register: [[BAD, 8], [BAD, 8], done],
      unregister: [REFUSED, REFUSED, done],
    });
  },
);

test("MSG-2.OTHER: commands that there are not touch nothing", "otherCommands", async (run) => {
  expect(await run()).toEqual(Array.from({ length: 8 }, () => [5, 7, 8]));
});

test(
  "SMC-4.1.5, MED-043: a message begins a page of the caller's RAM, the last one included",
  "argumentPlaces",
  async (run) => {
    expect(await run()).toEqual({
      withinPage: [4, 4, 4, 4, 4],
      nowhere: [4, 4, 4, 4],
      lastPage: 5,
    });
  },
);
