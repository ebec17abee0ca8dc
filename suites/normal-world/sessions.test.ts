import { expect, test } from "@jest/globals";
import { target } from "../support/target.ts";

const run = (name: string): Promise<unknown> => target.run(`normal-world/sessions#${name}`, null);
const EINVAL = -22;
/** What the TA answers to a command that asks for a time which nobody has set. */
const TIME_NOT_SET = 0xffff_5000;
const TARGET_DEAD = { result: 0xffff_3024, origin: 3 };

test("/dev/tee0 is OP-TEE in TrustZone with registered memory and NULL references", async () => {
  expect(await run("openDevice")).toEqual({
    status: 0,
    implId: 1,
    implCaps: 1,
    genCaps: 0b1101,
    missing: -2,
    supplicantTwice: -16,
  });
});

test("a pseudo-TA takes and gives values", async () => {
  expect(await run("pseudoTa")).toEqual({ result: 0, origin: 4, a: 42, b: 2 });
});

test("a TA is asked for twice, size first, and nothing of its loading is left behind", async () => {
  expect(await run("userTa")).toEqual({ loads: 2, leaked: 0 });
});

test("a TA of 284 pages loads", async () => {
  expect(await run("largeTa")).toBe("opened");
});

test("a TA that nobody has is ITEM_NOT_FOUND from the TEE", async () => {
  expect(await run("unknownTa")).toEqual({ result: 0xffff_0008, origin: 3 });
});

test("the code of a TA whose create entry point fails reaches the client", async () => {
  expect(await run("failingTa")).toBe(0xffff_0000);
});

test("a TA that panics is dead for its session and starts afresh for the next", async () => {
  expect(await run("panic")).toEqual({
    first: TARGET_DEAD,
    second: TARGET_DEAD,
    alive: { result: TIME_NOT_SET, origin: 4 },
  });
});

test("a session of another context is refused, and closing twice too", async () => {
  expect(await run("foreignSession")).toEqual({
    invoked: { result: 0xffff_0006, origin: 2 },
    cancelled: EINVAL,
    closedByStranger: EINVAL,
    closed: 0,
    closedTwice: EINVAL,
  });
});

test("two sessions share the one instance of a single-instance TA", async () => {
  expect(await run("sharedInstance")).toEqual({ read: 0, bytes: new Uint8Array(32).fill(0x5a) });
});

test("sessions outlive the device's descriptor while shared memory of its context lives", async () => {
  const { whileShared, afterwards } = (await run("deviceClosedEarly")) as Record<string, number>;
  expect(whileShared).toBe(0);
  expect(afterwards).toBeGreaterThan(0);
});

test("a waiting invocation ends with CANCEL when it is cancelled", async () => {
  expect(await run("cancellation")).toEqual({ result: 0xffff_0002, origin: 4 });
});
