import { expect, test } from "@jest/globals";
import { silentProgress } from "../base/index.ts";
import { type DifferentialResult, type Expectation, ExpectationLedger } from "../lockstep/index.ts";
import type { CliContext } from "./context.ts";
import { conclude, outcomesOf } from "./fuzz-board.ts";
import { makeStyle } from "./style.ts";

const KNOWN: Expectation = {
  id: "wakes",
  boards: [],
  versions: {},
  cases: ["fuzz.campaign"],
  what: { kind: "extra call", call: "RPC NOTIFICATION" },
  clause: "MSG-3.NOTIFICATION",
  reason: "seen once",
  owner: "lab",
  expires: "2027-06-30",
  coversAssertion: false,
  where: "known.yaml:2:5",
};

const RESULT: DifferentialResult = {
  programs: 200,
  steps: 1,
  smcs: 1,
  secureSmcs: 1,
  created: 1,
  refused: 0,
  deaths: 1,
  restores: 200,
  reboots: 0,
  predictedCrashes: 0,
  lost: 0,
  differing: 0,
  rules: "strict",
  seed: 7,
  findings: [],
  explained: [],
  coverage: { clauses: [], ids: [] },
  seconds: 1,
  interrupted: false,
};

/** What a campaign with that expectation says, and its exit code; `shows`: it differs as expected. */
async function campaign(
  known: Partial<Expectation>,
  result: Partial<DifferentialResult> = {},
  shows = false,
): Promise<[exit: number, text: string]> {
  const ledger = new ExpectationLedger({
    target: "bench-7",
    expectations: [{ ...KNOWN, ...known }],
    versions: () => ({ optee: "4.5" }),
    today: "2026-11-20",
  });
  const { explain } = ledger.of("fuzz.campaign");
  if (shows) {
    explain({
      kind: "extra call",
      call: "RPC NOTIFICATION",
      guest: 0,
      fields: [],
      clauses: [],
      left: [],
      right: [],
    } as unknown as Parameters<typeof explain>[0]);
  }
  const found = { ...RESULT, ...result };
  const out: string[] = [];
  let exit = -1;
  const context: CliContext = {
    env: {},
    cwd: "/",
    out: (text) => out.push(text),
    err: () => {},
    progress: silentProgress,
    abort: new AbortController().signal,
    setExit: (code) => {
      exit = code;
    },
    streams: process,
    style: { out: makeStyle(false), err: makeStyle(false) },
  };
  const flags = { board: "bench-7", rules: "strict", out: "found" } as const;
  await conclude(context, flags, { ...found, expectations: outcomesOf(ledger, found) });
  return [exit, out.join("")];
}

test("an expectation that holds, or that a campaign is too short to judge, fails nothing", async () => {
  expect((await campaign({}, {}, true))[0]).toBe(0);
  expect((await campaign({}, { programs: 199 }))[0]).toBe(0);
  expect((await campaign({}, { lost: 1 }))[0]).toBe(0);
  expect((await campaign({ versions: { optee: ">=4.10" } }))[0]).toBe(0);
  expect((await campaign({ cases: ["fuzz.*"] }))[0]).toBe(0);
  expect((await campaign({ cases: ["smc-abi.*"], expires: "2020-01-01" }))[0]).toBe(0);
});

test("an expectation that no program of a whole campaign shows fails it", async () => {
  const [exit, text] = await campaign({});
  expect(exit).toBe(1);
  expect(text).toMatch(
    /EXPECTATION wakes is no longer true: none of 200 programs differs so; remove it \(owner: lab\)\n {2}known\.yaml:2:5\n/,
  );
});

test("an expired expectation fails any campaign", async () => {
  const [exit, text] = await campaign({ expires: "2026-11-19" }, { programs: 3 });
  expect(exit).toBe(1);
  expect(text).toMatch(/EXPECTATION wakes expired on 2026-11-19: look at it again/);
});
