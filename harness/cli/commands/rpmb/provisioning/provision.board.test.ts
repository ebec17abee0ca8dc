import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { findPrepared } from "../../../../images/index.ts";
import { readLedger } from "../../../../provision/index.ts";
import {
  channelTo,
  deriveRpmbKey,
  keyDigits,
  keyId,
  readRpmbState,
  verifyKey,
  zeroHuk,
} from "../../../../rpmb/index.ts";
import { type HereResult, lockstepHere } from "../../../testing/in-process.ts";

const NAME = "qemu-virt-rpmb";
const prepared = await findPrepared(NAME, process.env);
const withImage = prepared === undefined ? test.skip : test;
const why = prepared === undefined ? ` (skipped: \`lockstep prepare ${NAME}\` was not run)` : "";
const TIMEOUT = 600_000;

const CID = "150100424a5444345203a1b2c3d4c59b";
const KEY = deriveRpmbKey(zeroHuk(), Buffer.from(CID, "hex"), { compat: true });

let dir = "";
const state = (): string => path.join(dir, "boards", "unit.rpmb");
const ledger = (): string => path.join(dir, "ledger.jsonl");

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-provision-"));
  mkdirSync(path.join(dir, "boards"));
  const optee =
    "{ write_key: true, compat: true, huk: zero-stub, key_service: true, rpmb_emu: false }";
  writeFileSync(
    path.join(dir, "boards", "unit.yaml"),
    `type: qemu-virt\nimage: ${NAME}\nrpmb: { part: emulated, cid: "${CID}", state: unit.rpmb, optee: ${optee} }\n`,
  );
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

async function run(route: string, ...args: readonly string[]): Promise<HereResult> {
  const inherited = Object.entries(process.env).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, value] as const],
  );
  return await lockstepHere(["rpmb", "provision", "--board", "unit", "--route", route, ...args], {
    cwd: dir,
    env: { ...Object.fromEntries(inherited), LOCKSTEP_LEDGER: ledger() },
  });
}

interface PlanJson {
  readonly obstacles: readonly string[];
  readonly key?: { readonly id: string };
  readonly confirmation?: { readonly code: string };
}

for (const [route, said] of [
  ["write-key-build", /it found the part blank.*it wrote the key.*xtest ended with exit code 0/],
  ["key-service", /written by mmc-utils on the board/],
] as const) {
  withImage(
    `route ${route} on a real OP-TEE: the part has the derived key, which no output holds${why}`,
    async () => {
      const planned = await run(route, "--json");
      const plan = JSON.parse(planned.stdout) as PlanJson;
      expect([plan.obstacles, plan.key?.id]).toEqual([[], keyId(KEY)]);
      const { code = "" } = plan.confirmation ?? {};
      const done = await run(route, "--perform", "--cid", CID, "--code", code);
      expect([done.code, done.stdout]).toEqual([0, expect.stringMatching(said)]);
      const named = [{ name: "k", key: KEY, how: "" }];
      const { verdict } = await verifyKey(channelTo(readRpmbState(state())), named);
      expect(verdict).toBe("proven");
      expect(readLedger(ledger()).entries).toMatchObject([
        { kind: "intent", route, keyId: keyId(KEY) },
        { kind: "done", verdict: "proven", keyId: keyId(KEY) },
      ]);
      const texts = [planned, done].flatMap(({ stdout, stderr }) => [stdout, stderr]);
      const everything = [...texts, readFileSync(ledger(), "utf8")].join("\n");
      expect(everything).not.toContain(keyDigits(KEY));
    },
    TIMEOUT,
  );
}
