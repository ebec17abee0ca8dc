import type { Scenario } from "../../harness/platform/index.ts";
import { FRAME, numberOf, RPMB_REQUEST, setNumber } from "../../harness/rpmb/index.ts";
import { idOf, RpmbRun } from "../support/rpmb.ts";

const ANYWHERE = { conduits: ["direct", "vm"], rules: "strict" } as const;
const DIRECT = { conduits: ["direct"] } as const;
const PROVISIONED = { route: "supplicant", parts: [{ key: "optee" }] } as const;

type Change = (answer: Uint8Array) => void;

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] ?? 0) ^ 1;
}

/** One answer changed, and no other of its kind. */
function once(
  type: number,
  change: Change,
): (answer: Uint8Array, request: Uint8Array) => Uint8Array {
  let done = false;
  return (answer, request) => {
    if (done || numberOf(request, FRAME.type) !== type) return answer;
    done = true;
    const changed = answer.slice();
    change(changed);
    return changed;
  };
}

const LAST = (answer: Uint8Array): number => answer.length - 512;
const CHANGES: Readonly<Record<string, Change>> = {
  "general failure": (answer) => setNumber(answer, FRAME.result, 1, LAST(answer) / 512),
  "read failure": (answer) => setNumber(answer, FRAME.result, 6, LAST(answer) / 512),
  "no key": (answer) => setNumber(answer, FRAME.result, 7, LAST(answer) / 512),
  "another type": (answer) => setNumber(answer, FRAME.type, 0x300, LAST(answer) / 512),
  "another address": (answer) => setNumber(answer, FRAME.address, 9, LAST(answer) / 512),
  "another nonce": (answer) => flip(answer, LAST(answer) + FRAME.nonce.offset),
  "another MAC": (answer) => flip(answer, LAST(answer) + FRAME.keyMac.offset),
  "other data": (answer) => flip(answer, FRAME.data.offset),
  "bit 7 of the result": (answer) => setNumber(answer, FRAME.result, 0x40, LAST(answer) / 512),
  "another block count": (answer) => setNumber(answer, FRAME.blockCount, 9, LAST(answer) / 512),
};

/** Every way in which the answer to a read can be wrong, one at a time, while the TA is loaded. */
export const readAnswers: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.3.1", "RPMB-5.3.2", "RPMB-5.3.3", "RPMB-5.3.5", "RPMB-5.3.6"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    run.create("create", "object", idOf("there"));
    for (const [name, change] of Object.entries(CHANGES)) {
      part.tamper({ response: once(RPMB_REQUEST.READ_DATA, change) });
      run.load(name);
    }
    part.tamper({});
    run.load("as it is");
    return run.end();
  },
};

/** Wrong answers to the first counter read: the next access asks again. */
export const counterAnswers: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.2.OTHER", "RPMB-5.3.1", "RPMB-5.3.5", "RPMB-5.3.6"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    for (const name of ["general failure", "another type", "another nonce", "another MAC"]) {
      const change = CHANGES[name] ?? ((): void => undefined);
      part.tamper({ response: once(RPMB_REQUEST.READ_COUNTER, change) });
      run.load(name);
    }
    part.tamper({});
    run.load("as it is");
    return run.end();
  },
};

/** Nine writes fail in the flash and the tenth attempt succeeds; then ten do. */
export const tenAttempts: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-5.4", "RPMB-5.1.1"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    part.failWrites(9);
    run.create("nine fail", "object", idOf("kept"));
    part.failWrites(10);
    run.create("ten fail", "other", idOf("lost"));
    run.load("dead");
    await run.restart();
    run.load("after a restart");
    run.read("what was kept", "object");
    run.read("what was lost", "other");
    return run.end();
  },
};

const WRONG_COUNTER = 77;

/** A write's answer with a counter that cannot be right is what the next attempt goes by. */
export const counterTakenOver: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.4", "RPMB-5.3.4"],
  rpmb: PROVISIONED,
  run: async (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    part.tamper({
      response: once(RPMB_REQUEST.WRITE_DATA, (answer) =>
        setNumber(answer, FRAME.writeCounter, WRONG_COUNTER),
      ),
    });
    run.create("a counter that is wrong", "object", idOf("x"));
    part.tamper({});
    run.load("dead");
    await run.restart();
    run.load("after a restart");
    return run.end();
  },
};

/** A write that was done although its answer was lost: the counter is taken from the refusal. */
export const answerLost: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.4", "RPMB-5.3.4", "RPMB-9.STALE_COUNTER"],
  rpmb: PROVISIONED,
  run: (context) => {
    const run = new RpmbRun(context);
    const { part } = context.rpmb;
    run.load("load");
    part.tamper({
      response: once(RPMB_REQUEST.WRITE_DATA, (answer) => setNumber(answer, FRAME.result, 1)),
    });
    run.create("an answer is lost", "object", idOf("y"));
    part.tamper({});
    run.read("read", "object");
    return run.end();
  },
};

/** A part that is smaller than its file system could be, larger than addresses reach, or no size at all. */
export const sizes: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.3", "RPMB-1.5", "RPMB-5.2.ONCE", "RPMB-5.6.LIMIT"],
  rpmb: { route: "supplicant", parts: [{ key: "optee", sizeMultiplier: 0 }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("size 0");
    for (const sizeMultiplier of [129, 1, 128]) {
      context.rpmb.part.replace({ key: "optee", sizeMultiplier });
      await run.restart();
      run.load(`size ${sizeMultiplier}`);
      run.create(`create at size ${sizeMultiplier}`, "object", idOf("z"));
    }
    return run.end();
  },
};
