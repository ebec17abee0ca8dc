import { spawn } from "node:child_process";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { packageRoot } from "../base/index.ts";
import {
  CONFIRMATION_MS,
  type ConfirmationBinding,
  consumeConfirmation,
  issueConfirmation,
} from "./confirmation.ts";
import type { GuardClock } from "./guard-clock.ts";

let dir = "";
let env: Record<string, string> = {};
beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), "lockstep-confirm-"));
  env = { LOCKSTEP_CACHE: dir };
});
afterEach(() => {
  rmSync(dir, { recursive: true, force: true });
});

const BOUND: ConfirmationBinding = {
  plan: "ab".repeat(32),
  board: "shelf-3",
  cid: "fe014e4d4d4330344742c8f6552a6115",
  keyId: "0011223344556677",
};
const NOW = 1_800_000_000_000;
const at = (ms: number, more: Partial<GuardClock> = {}): GuardClock => ({
  wallMs: () => NOW + ms,
  uptimeMs: () => 5_000_000 + ms,
  bootId: () => "one",
  ...more,
});
const issue = (): string => issueConfirmation(env, BOUND, at(0)).code;
const use = (code: string, bound = BOUND, clock = at(1000)): void =>
  consumeConfirmation(env, code, bound, clock);

test("a code is used once, in any case and with or without its hyphen", () => {
  for (const write of [
    (code: string) => code,
    (code: string) => code.toLowerCase(),
    (code: string) => ` ${code.replace("-", "")} `,
  ]) {
    const code = issue();
    use(write(code));
    expect(() => use(code)).toThrow("was used already");
  }
});

test("what is kept of it is its owner's alone and does not hold the code", () => {
  const { code, expires } = issueConfirmation(env, BOUND, at(0));
  const folder = path.join(dir, "provision");
  const [name = ""] = readdirSync(folder);
  const file = path.join(folder, name);
  expect([statSync(file).mode & 0o777, statSync(folder).mode & 0o777]).toEqual([0o600, 0o700]);
  expect(`${name}${readFileSync(file, "utf8")}`).not.toContain(code.replace("-", ""));
  expect(new Date(expires).getTime() - NOW).toBe(CONFIRMATION_MS);
});

test.each([
  ["a plan that has changed", { plan: "cd".repeat(32) }, /for another plan/],
  ["another board", { board: "shelf-4" }, /for another board/],
  ["another part", { cid: "15".repeat(16) }, /for another part/],
  ["another key", { keyId: "ff".repeat(8) }, /for another key/],
])("a code is not good for %s, and is not used up by the attempt", (_what, change, message) => {
  const code = issue();
  expect(() => use(code, { ...BOUND, ...change })).toThrow(message);
  use(code);
});

test.each<[string, GuardClock]>([
  ["after ten minutes", at(CONFIRMATION_MS + 1)],
  ["before it was made", at(-1)],
  ["after ten minutes, the wall clock put back", at(0, { uptimeMs: () => 5_600_001 })],
  ["after a restart of the machine", at(1000, { bootId: () => "two" })],
  ["by a wall clock put forward", at(1000, { wallMs: () => NOW + CONFIRMATION_MS + 1 })],
])("a code is too old %s", (_when, clock) => {
  const code = issue();
  expect(() => use(code, BOUND, clock)).toThrow("too old");
});

test.each(["", "AAAA", "AAAA-AAAA-A", "../../etc", "0O1I-LU0O", "AAAA-AAA\0"])(
  "%j is no code",
  (text) => {
    issue();
    expect(() => use(text)).toThrow(/is not one/);
  },
);

test("a code of another cache, or that nobody made, is not known", () => {
  const code = issue();
  const elsewhere = { LOCKSTEP_CACHE: path.join(dir, "other") };
  expect(() => consumeConfirmation(elsewhere, code, BOUND, at(1000))).toThrow("not known here");
  expect(() => use("2222-2222")).toThrow("not known here");
});

test("a file that others may have written is not believed", () => {
  const code = issue();
  const folder = path.join(dir, "provision");
  const file = path.join(folder, readdirSync(folder)[0] ?? "");
  const good = readFileSync(file);
  chmodSync(file, 0o644);
  expect(() => use(code)).toThrow("cannot be trusted");
  chmodSync(file, 0o600);
  for (const text of ["", "{", "null", "{}", '{"v":1}', good.toString().replace("1", "2")]) {
    writeFileSync(file, text);
    expect(() => use(code)).toThrow("cannot be trusted");
  }
  const aside = path.join(dir, "aside");
  writeFileSync(aside, good, { mode: 0o600 });
  rmSync(file);
  symlinkSync(aside, file);
  expect(() => use(code)).toThrow("cannot be trusted");
});

test("of processes that use one code at once exactly one may go on", async () => {
  const script = path.join(packageRoot, "dist", "harness", "provision", "testing", "consume.js");
  const { code } = issueConfirmation(env, BOUND);
  const started = Date.now() + 700;
  const outcomes = await Promise.all(
    Array.from({ length: 4 }, async () => {
      const args = [script, code, JSON.stringify(BOUND), String(started)];
      const child = spawn(process.execPath, args, { env: { ...process.env, ...env } });
      let text = "";
      child.stdout.on("data", (bytes: Buffer) => (text += bytes.toString()));
      return await new Promise<string>((resolve) => child.on("close", () => resolve(text)));
    }),
  );
  expect(outcomes.filter((one) => one === "won")).toHaveLength(1);
  expect(outcomes.filter((one) => /was used/.test(one))).toHaveLength(3);
});
