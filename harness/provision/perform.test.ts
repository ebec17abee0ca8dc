import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { describeError, InfrastructureError, packageRoot } from "../base/index.ts";
import { EmmcRpmb, keyId, rpmbTestKey } from "../rpmb/index.ts";
import { issueConfirmation } from "./confirmation.ts";
import type { GuardClock } from "./guard-clock.ts";
import { Ledger, readLedger } from "./ledger/ledger.ts";
import { bindingOf, perform, type PerformOptions } from "./perform.ts";
import { makePlan } from "./plan/plan.ts";
import type { Situation } from "./plan/situation.ts";
import {
  boardView,
  CID,
  livePart,
  OTHER_CID,
  partView,
  situation,
  someKey,
} from "./testing/situations.ts";
import { programKey } from "./write-key.ts";

let dir = "";
let env: Record<string, string> = {};
let ledger = "";
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-perform-"));
  env = { LOCKSTEP_CACHE: path.join(dir, "cache") };
  ledger = path.join(dir, "ledger.jsonl");
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const KEY = someKey();

interface Attempt {
  readonly options: PerformOptions;
  readonly device: EmmcRpmb;
  exchange: (other: EmmcRpmb) => void;
}

/** A plan for a part in memory with a fresh code, ready to be performed. */
function attempt(
  more: Partial<Situation> = {},
  changes: Partial<PerformOptions> = {},
  clock?: GuardClock,
): Attempt {
  const { device, part, channel, exchange } = livePart();
  const plan = makePlan(situation(more));
  const { code } = issueConfirmation(env, bindingOf(plan), clock);
  const options: PerformOptions = {
    plan,
    part,
    key: KEY,
    typedCid: CID,
    code,
    env,
    ledger,
    version: "0.0.0",
    act: async () => {
      await programKey(channel, KEY);
      return "written";
    },
    ...changes,
  };
  return { options, device, exchange };
}

const refusal = async (options: PerformOptions): Promise<string> =>
  await perform(options).then(
    () => "not refused",
    (error: unknown) => describeError(error),
  );

const at = (ms: number): GuardClock => ({
  wallMs: () => 1_800_000_000_000 + ms,
  uptimeMs: () => ms,
  bootId: () => "one",
});

const kinds = (): string[] => readLedger(ledger).entries.map(({ kind }) => kind);

/** Refused, nothing was sent to the part, and the ledger says nothing of an attempt. */
async function held(one: Attempt, options: PerformOptions = one.options): Promise<string> {
  let acted = 0;
  const text = await refusal({
    ...options,
    act: async () => {
      acted += 1;
      return "";
    },
  });
  expect({ acted, programmed: one.device.keyProgrammed, kinds: kinds() }).toEqual({
    acted: 0,
    programmed: false,
    kinds: [],
  });
  return text;
}

/** An attempt that ends right after its intent was written. */
async function interrupted(options: PerformOptions): Promise<{ id: string }> {
  const opened = await Ledger.open(ledger);
  const { plan } = options;
  const entry = opened.append({
    kind: "intent",
    id: "00000000000000cc",
    board: plan.board.name,
    lifeCycle: plan.board.lifeCycle,
    part: plan.part?.where ?? "",
    emulated: false,
    cid: CID,
    keyId: plan.key?.id ?? "",
    route: plan.route,
    plan: plan.hash,
    by: "",
    host: "",
    lockstep: "",
  });
  await opened.close();
  return { id: entry.kind === "intent" ? entry.id : "" };
}

test("a blank part gets the key of the plan, which is proven and kept in the ledger by its id", async () => {
  const { options, device } = attempt();
  const { judgement, settled } = await perform(options);
  expect([judgement.verdict, judgement.counter?.value, settled]).toEqual(["proven", 0, []]);
  expect(device.keyProgrammed).toBe(true);
  const { entries, open, problems } = readLedger(ledger);
  expect({ open, problems }).toEqual({ open: [], problems: [] });
  expect(entries).toMatchObject([
    {
      kind: "intent",
      cid: CID,
      keyId: keyId(KEY),
      board: "shelf-3",
      route: "offline",
      emulated: false,
    },
    { kind: "done", cid: CID, keyId: keyId(KEY), verdict: "proven", writeCounter: 0 },
  ]);
  const text = readFileSync(ledger, "utf8");
  expect(text).not.toContain(KEY.export().toString("hex"));
});

describe("the guard cannot be talked round", () => {
  test.each([
    ["a digit too few", CID.slice(1)],
    ["a digit too many", `${CID}0`],
    ["one digit wrong", `${CID.slice(0, 31)}4`],
    ["two digits exchanged", `ef${CID.slice(2)}`],
    ["another part's", OTHER_CID],
    ["only its beginning", CID.slice(0, 8)],
    ["a space in it", `${CID.slice(0, 16)} ${CID.slice(17)}`],
    ["a letter O for a zero", CID.replace("0", "O")],
    ["nothing", ""],
  ])("a CID with %s is refused", async (_what, typedCid) => {
    const one = attempt();
    expect(await held(one, { ...one.options, typedCid })).toMatch(
      /the CID that was typed is not that of the part/,
    );
  });

  test("the CID may be typed in capitals, as labels have it", async () => {
    const { options } = attempt();
    await perform({ ...options, typedCid: CID.toUpperCase() });
    expect(kinds()).toEqual(["intent", "done"]);
  });

  test("a unit that its board file does not call expendable is refused, whatever the environment says", async () => {
    const overrides = {
      LOCKSTEP_EXPENDABLE: "true",
      EXPENDABLE: "1",
      LOCKSTEP_CONFIRM: "yes",
      LOCKSTEP_FORCE: "1",
    };
    const one = attempt({ board: boardView({ expendable: false }) });
    const text = await held(one, { ...one.options, env: { ...env, ...overrides } });
    expect(text).toMatch(/shelf-3\.yaml: this plan is not performed.*`expendable: true`/);
  });

  test("a part that Lockstep serves needs no expendable unit, but for a board of hardware", async () => {
    const emulated = partView({ emulated: true, where: "part.rpmb" });
    const qemu = boardView({ platform: "qemu", soc: "QEMU virt", expendable: false });
    expect(makePlan(situation({ part: emulated, board: qemu })).obstacles).toEqual([]);
    const { options } = attempt({ part: emulated, board: qemu });
    await perform(options);
    const hardware = boardView({ expendable: false });
    expect(makePlan(situation({ part: emulated, board: hardware })).obstacles).not.toEqual([]);
    expect(makePlan(situation({ board: qemu })).obstacles).not.toEqual([]);
  });

  test("a stale code is refused", async () => {
    const one = attempt({}, {}, at(0));
    expect(await held(one, { ...one.options, clock: at(600_001) })).toMatch(/too old/);
  });

  test("a code of a plan that has changed since is refused", async () => {
    const one = attempt();
    for (const changed of [
      situation({ board: boardView({ fileHash: "cd".repeat(32) }) }),
      situation({ board: boardView({ lifeCycle: "unknown" }) }),
      situation({ tools: {}, database: "other", route: "database" }),
      situation({ part: partView({ where: "/dev/mmcblk1rpmb" }) }),
    ]) {
      const plan = makePlan(changed);
      expect(await held(one, { ...one.options, plan })).toMatch(/code is for another plan/);
    }
    await perform(one.options);
  });

  test("another board's code, and another key's, are refused", async () => {
    const one = attempt();
    const board = makePlan(situation({ board: boardView({ name: "shelf-4" }) }));
    expect(await held(one, { ...one.options, plan: board })).toMatch(/code is for another board/);
    const other = someKey(1);
    const key = {
      ...situation().key,
      id: keyId(other),
      how: "",
      source: "given",
      published: false,
    };
    const plan = makePlan(situation({ key }));
    expect(await held(one, { ...one.options, plan, key: other })).toMatch(
      /code is for another key/,
    );
    expect(await held(one, { ...one.options, key: other })).toMatch(/not the one of the plan/);
  });

  test("a part that was replaced before the act is refused, by what was typed or by the code", async () => {
    const one = attempt();
    one.exchange(new EmmcRpmb({ cid: Buffer.from(OTHER_CID, "hex"), sizeMultiplier: 1 }));
    expect(await held(one)).toMatch(/not that of the part/);
    const plan = makePlan(situation({ part: partView({ cid: OTHER_CID }) }));
    expect(await held(one, { ...one.options, plan, typedCid: OTHER_CID })).toMatch(
      /for another part/,
    );
  });

  test("a part that is replaced at the last moment gets nothing", async () => {
    const one = attempt();
    const { part } = one.options;
    let asked = 0;
    const cid = async (): Promise<string> => {
      asked += 1;
      return asked === 1 ? CID : OTHER_CID;
    };
    let acted = 0;
    const text = await refusal({
      ...one.options,
      part: { ...part, cid },
      act: async () => {
        acted += 1;
        return "";
      },
    });
    expect(text).toMatch(/the part was replaced between plan and act.*Nothing was written/);
    expect([acted, kinds()]).toEqual([0, ["intent", "failed"]]);
  });

  test("a part that has a key is refused, and stays as it is", async () => {
    const one = attempt();
    one.exchange(new EmmcRpmb({ cid: one.device.cid, sizeMultiplier: 1, key: rpmbTestKey() }));
    const known = [{ name: "test-key", key: rpmbTestKey(), how: "" }];
    expect(await held(one, { ...one.options, known })).toMatch(/not blank.*the key of test-key/);
  });

  test.each([
    ["that is a device", (): string => "/dev/null"],
    ["in a folder that cannot be", (): string => "/proc/none/ledger"],
  ])("a ledger %s stops it before the act, and the code is still good", async (_what, name) => {
    const one = attempt();
    expect(await held(one, { ...one.options, ledger: name() })).toMatch(/ledger cannot be/);
    await perform(one.options);
    expect(kinds()).toEqual(["intent", "done"]);
  });

  test("a ledger that somebody changed stops it before the act", async () => {
    await perform(attempt().options);
    const text = readFileSync(ledger, "utf8");
    writeFileSync(ledger, text.replace('"shelf-3"', '"shelf-4"'));
    const one = attempt();
    expect(await refusal(one.options)).toMatch(/changed by something else than Lockstep/);
    expect(one.device.keyProgrammed).toBe(false);
    writeFileSync(ledger, text);
    await perform(one.options);
  });

  test("a code is used up even when the act fails", async () => {
    const one = attempt();
    const failing = {
      ...one.options,
      act: async () => await Promise.reject(new Error("no power")),
    };
    expect(await refusal(failing)).toMatch(/not programmed as planned.*no power.*still blank/);
    expect(kinds()).toEqual(["intent", "failed"]);
    expect(await refusal(one.options)).toMatch(/was used already/);
    expect(one.device.keyProgrammed).toBe(false);
  });

  test("of two processes at once exactly one acts", async () => {
    const { options } = attempt();
    const state = path.join(dir, "part");
    const script = path.join(
      packageRoot,
      "dist",
      "harness",
      "provision",
      "testing",
      "perform-once.js",
    );
    const outcomes = await Promise.all(
      [1, 2, 3].map(
        async () =>
          await new Promise<string>((resolve) => {
            const args = [script, options.code, ledger, state, "0"];
            const child = spawn(process.execPath, args, { env: { ...process.env, ...env } });
            let text = "";
            child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
            child.on("close", () => resolve(text));
          }),
      ),
    );
    expect(outcomes.filter((one) => one === "proven")).toHaveLength(1);
    expect(readFileSync(state, "utf8")).toBe("one act\n");
    expect(kinds()).toEqual(["intent", "done"]);
  });
});

describe("what stops in the middle is known afterwards", () => {
  test("a process that dies between act and entry leaves an open intent, which the next one closes", async () => {
    const { options } = attempt();
    const state = path.join(dir, "part");
    const script = path.join(
      packageRoot,
      "dist",
      "harness",
      "provision",
      "testing",
      "perform-once.js",
    );
    await new Promise<void>((resolve) => {
      const args = [script, options.code, ledger, state, "kill"];
      const child = spawn(process.execPath, args, { env: { ...process.env, ...env } });
      child.on("close", () => resolve());
    });
    const reading = readLedger(ledger);
    expect(reading).toMatchObject({ problems: [], open: [{ cid: CID, keyId: keyId(KEY) }] });
    const seen = makePlan(situation({ history: { programmed: [], open: reading.open } }));
    expect(seen.hazards.map(({ id }) => id)).toContain("open-intent");
    // The part has the key: nothing more is written to it, and the attempt is closed as programmed.
    const next = attempt();
    next.exchange(new EmmcRpmb({ cid: next.device.cid, sizeMultiplier: 1, key: KEY }));
    expect(await refusal(next.options)).toMatch(/not blank/);
    expect(readLedger(ledger)).toMatchObject({
      open: [],
      entries: [{}, { kind: "settled", part: "programmed", keyId: keyId(KEY) }],
    });
  });

  test("an attempt before a firmware update of the part is closed as one on the same part", async () => {
    const one = attempt();
    const { id } = await interrupted(one.options);
    const updated = `${CID.slice(0, 18)}43${CID.slice(20, 30)}2b`;
    const part = livePart(new EmmcRpmb({ cid: Buffer.from(updated, "hex"), sizeMultiplier: 1 }));
    const plan = makePlan(situation({ part: partView({ cid: updated }) }));
    const { code } = issueConfirmation(env, bindingOf(plan));
    const { settled } = await perform({
      ...one.options,
      plan,
      part: part.part,
      typedCid: updated,
      code,
      act: async () => {
        await programKey(part.channel, KEY);
        return "";
      },
    });
    expect(settled.map((intent) => intent.id)).toEqual([id]);
    expect(readLedger(ledger).open).toEqual([]);
  });

  test("an attempt that wrote nothing is closed as blank, and the next goes on", async () => {
    const first = attempt();
    const { id } = await interrupted(first.options);
    const { settled } = await perform(attempt().options);
    expect(settled.map((one) => one.id)).toEqual([id]);
    expect(kinds()).toEqual(["intent", "settled", "intent", "done"]);
    expect(readLedger(ledger).entries[1]).toMatchObject({ part: "blank", keyId: "" });
  });

  test("a part that does not answer after the act leaves the attempt open", async () => {
    const one = attempt();
    let cut = false;
    const { channel } = one.options.part;
    const part = {
      ...one.options.part,
      channel: {
        frames: async (request: Uint8Array, count: number) => {
          if (cut) throw new Error("the link is gone");
          return await channel.frames(request, count);
        },
      },
    };
    const act = async (): Promise<string> => {
      const note = await one.options.act();
      cut = true;
      return note;
    };
    expect(await refusal({ ...one.options, part, act })).toMatch(
      /could not be asked what it has.*the link is gone.*keeps the attempt open/,
    );
    expect(readLedger(ledger).open).toHaveLength(1);
  });

  test("an act that fails after the part took the key is done, with the error as its note", async () => {
    const one = attempt();
    const act = async (): Promise<string> => {
      await one.options.act();
      throw new Error("connection lost");
    };
    const { judgement } = await perform({ ...one.options, act });
    expect(judgement.verdict).toBe("proven");
    expect(readLedger(ledger).entries[1]).toMatchObject({
      kind: "done",
      note: "after an error: connection lost",
    });
  });

  test("an act that fails with the key on its console leaves nothing of it in ledger, note and error", async () => {
    const digits = KEY.export().toString("hex");
    const bytes = digits.match(/../g) ?? [];
    const seen = [
      "RPMB INIT: Writing Key value:",
      `tee_rpmb_write_and_verify_key:1091 0000d3d0  ${bytes.slice(0, 16).join(" ")}`,
      `tee_rpmb_write_and_verify_key:1091 0000d3e0  ${bytes.slice(16).join(" ")}`,
    ].join("\n  | ");
    const printed = new InfrastructureError("the trigger did not end in time", { seen });
    const taken = attempt();
    const { note } = await perform({
      ...taken.options,
      act: async () => {
        await taken.options.act();
        throw printed;
      },
    });
    const blank = attempt();
    const text = await refusal({
      ...blank.options,
      act: async () => await Promise.reject(printed),
    });
    for (const where of [note, text, readFileSync(ledger, "utf8")]) {
      expect(where).toContain("Writing Key value");
      for (const some of [0, 4, 8, 12, 16, 20, 24, 28]) {
        expect(where).not.toContain(bytes.slice(some, some + 4).join(" "));
      }
    }
  });

  test("a part with another key than planned is a failure that names it", async () => {
    const one = attempt();
    const known = [{ name: "test-key", key: rpmbTestKey(), how: "" }];
    const act = async (): Promise<string> => {
      await programKey(one.options.part.channel, rpmbTestKey());
      return "";
    };
    expect(await refusal({ ...one.options, known, act })).toMatch(
      /another key: test-key.*Do not try again/,
    );
    expect(readLedger(ledger).entries[1]).toMatchObject({ kind: "failed", part: "programmed" });
  });

  test("a ledger that fails after the act says what is true all the same", async () => {
    const one = attempt();
    const act = async (): Promise<string> => {
      const note = await one.options.act();
      rmSync(ledger);
      mkdirSync(ledger);
      return note;
    };
    expect(await refusal({ ...one.options, act })).toMatch(
      /could not be written to the ledger.*the part has the key of the plan/,
    );
  });
});

test("a key that only OP-TEE knows is programmed and called so", async () => {
  const unknown = situation({
    route: "write-key-build",
    board: boardView({
      build: { writeKey: true, huk: "caam-closed", compat: true, supplicantEmulation: false },
    }),
  });
  const { key: _key, ...more } = unknown;
  const plan = makePlan(more);
  expect(plan.hazards.map(({ id }) => id)).toContain("key-not-known");
  const { part, channel } = livePart();
  const { code } = issueConfirmation(env, bindingOf(plan));
  const { judgement } = await perform({
    plan,
    part,
    typedCid: CID,
    code,
    env,
    ledger,
    version: "0.0.0",
    act: async () => {
      await programKey(channel, someKey(7));
      return "";
    },
  });
  expect(judgement.verdict).toBe("none of these");
  expect(readLedger(ledger).entries[1]).toMatchObject({
    kind: "done",
    keyId: "",
    verdict: "none of these",
  });
});
