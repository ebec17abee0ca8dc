import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/sessions");
const EINVAL = -22;
/** What the TA answers to a command that asks for a time which nobody has set. */
const TIME_NOT_SET = 0xffff_5000;
const TARGET_DEAD = { result: 0xffff_3024, origin: 3 };

test(
  "/dev/tee0 is OP-TEE in TrustZone with registered memory and NULL references",
  "openDevice",
  async (run) => {
    expect(await run()).toEqual({
      status: 0,
      implId: 1,
      implCaps: 1,
      genCaps: 0b1101,
      missing: -2,
      supplicantTwice: -16,
    });
  },
);

test("a pseudo-TA takes and gives values", "pseudoTa", async (run) => {
  expect(await run()).toEqual({ result: 0, origin: 4, a: 42, b: 2 });
});

test(
  "a TA is asked for twice, size first, and nothing of its loading is left behind",
  "userTa",
  async (run) => {
    expect(await run()).toEqual({ loads: 2, leaked: 0 });
  },
);

test("a TA of 284 pages loads wherever buffers may be so large", "largeTa", async (run, on) => {
  const loaded = { result: 0, origin: 4 };
  const refused = { result: 0xffff_000c, origin: 3 };
  expect(await run()).toEqual(on?.rules === "xen" ? refused : loaded);
});

test("a TA that nobody has is ITEM_NOT_FOUND from the TEE", "unknownTa", async (run) => {
  expect(await run()).toEqual({ result: 0xffff_0008, origin: 3 });
});

test(
  "the code of a TA whose create entry point fails reaches the client",
  "failingTa",
  async (run) => {
    expect(await run()).toBe(0xffff_0000);
  },
);

test(
  "a TA that panics is dead for its session and starts afresh for the next",
  "panic",
  async (run) => {
    expect(await run()).toEqual({
      first: TARGET_DEAD,
      second: TARGET_DEAD,
      alive: { result: TIME_NOT_SET, origin: 4 },
    });
  },
);

test(
  "a session of another context is refused, and closing twice too",
  "foreignSession",
  async (run) => {
    expect(await run()).toEqual({
      invoked: { result: 0xffff_0006, origin: 2 },
      cancelled: EINVAL,
      closedByStranger: EINVAL,
      closed: 0,
      closedTwice: EINVAL,
    });
  },
);

test(
  "two sessions share the one instance of a single-instance TA",
  "sharedInstance",
  async (run) => {
    expect(await run()).toEqual({ read: 0, bytes: new Uint8Array(32).fill(0x5a) });
  },
);

test(
  "sessions outlive the device's descriptor while shared memory of its context lives",
  "deviceClosedEarly",
  async (run) => {
    const { whileShared, afterwards } = (await run()) as Record<string, number>;
    expect(whileShared).toBe(0);
    expect(afterwards).toBeGreaterThan(0);
  },
);

test("a waiting invocation ends with CANCEL when it is cancelled", "cancellation", async (run) => {
  expect(await run()).toEqual({ result: 0xffff_0002, origin: 4 });
});
