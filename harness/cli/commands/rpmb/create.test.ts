import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { readRpmbState } from "../../../rpmb/index.ts";
import { lockstepHere } from "../../testing/in-process.ts";
import { temporaryFolder } from "../../testing/run-cli.ts";

const CID = "fe014e4d4d4330344742c8f6552a6115";

const cleanups: (() => void)[] = [];
let cwd = "";

beforeEach(() => {
  cwd = temporaryFolder((clean) => cleanups.push(clean));
});
afterEach(() => {
  for (const clean of cleanups.splice(0)) clean();
});

const create = async (...args: string[]) =>
  await lockstepHere(["rpmb", "create", ...args], { cwd });

test("a blank part is made in a file of its owner alone, and never over another", async () => {
  const { code, stdout } = await create("p.rpmb", "--cid", CID, "--size-multiplier", "4", "--json");
  expect([code, JSON.parse(stdout)]).toEqual([0, { file: "p.rpmb", cid: CID, sizeMultiplier: 4 }]);
  const file = path.join(cwd, "p.rpmb");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  const part = readRpmbState(file);
  expect(Buffer.from(part.cid).toString("hex")).toBe(CID);
  expect([part.sizeMultiplier, part.snapshot().key, part.writeCounter]).toEqual([4, undefined, 0]);
  const again = await create("p.rpmb", "--cid", CID);
  expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/such a file already/)]);
});

test.each([
  ["no CID", ["p.rpmb"]],
  ["half a CID", ["p.rpmb", "--cid", CID.slice(16)]],
  ["a size that no part has", ["p.rpmb", "--cid", CID, "--size-multiplier", "129"]],
  ["no size", ["p.rpmb", "--cid", CID, "--size-multiplier", "0"]],
])("%s: exit code 2, and no file", async (_what, args) => {
  expect((await create(...args)).code).toBe(2);
  expect(readdirSync(cwd)).toEqual([]);
});
