import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeEach, expect, test } from "@jest/globals";
import { BoardFileError } from "../../../base/index.ts";
import { checkExpectations, loadExpectations } from "./load.ts";
import { coversCase } from "./match.ts";
import { inRange } from "./versions.ts";

const root = mkdtempSync(path.join(tmpdir(), "lockstep-expectations-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const folder = path.join(root, "expectations", "divergences");
const board = { name: "bench-7", type: "imx8mp-evk" };
const search = { dirs: [root], env: {} };

beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
});

const ENTRY = `divergences:
  - id: session-ids
    versions: { optee: ">=4.5 <4.6" }
    cases: ["smc-abi.sessions-*"]
    what:
      kind: message field
      call: CALL_WITH_ARG OPEN_SESSION
      fields:
        session: { left: "session#1", right: "session#2" }
    clause: MSG-2.1.2
    reason: this build counts from two
    owner: platform-team
    expires: 2027-06-30
`;
const write = (name: string, text: string): void => writeFileSync(path.join(folder, name), text);

test("a board has what its type's file says and its own", async () => {
  write("imx8mp-evk.yaml", ENTRY);
  write("bench-7.yaml", ENTRY.replace("session-ids", "own"));
  write("other.yaml", "not: read");
  const found = await loadExpectations(board, search);
  expect(found.map(({ id }) => id)).toEqual(["session-ids", "own"]);
  expect(found[0]).toMatchObject({
    versions: { optee: ">=4.5 <4.6" },
    clause: "MSG-2.1.2",
    expires: "2027-06-30",
    coversAssertion: false,
    where: `${path.join(folder, "imx8mp-evk.yaml")}:2:5`,
  });
});

test("an entry that names boards holds for no others", async () => {
  write("imx8mp-evk.yaml", ENTRY.replace("    cases", "    boards: [bench-8]\n    cases"));
  expect(await loadExpectations(board, search)).toEqual([]);
  const other = { ...board, name: "bench-8" };
  expect(await loadExpectations(other, search)).toHaveLength(1);
});

test.each<[string, (text: string) => string, string, RegExp]>([
  ["nothing", () => "", "1:1", /the file is empty; known divergences stand under/],
  ["no YAML", (text) => text.replace("what:", "what: ["), "", /not valid YAML/],
  ["an unknown key", (text) => text.replace("owner:", "ower:"), "12:5", /unknown key `ower`/],
  [
    "no owner",
    (text) => text.replace("    owner: platform-team\n", ""),
    "2:5",
    /lacks the key `owner`/,
  ],
  [
    "no reason given",
    (text) => text.replace("this build counts from two", '""'),
    "11:13",
    /reason/,
  ],
  [
    "no day",
    (text) => text.replace("2027-06-30", "2027-02-30"),
    "13:14",
    /there is no day 2027-02-30/,
  ],
  [
    "no date",
    (text) => text.replace("2027-06-30", "soon"),
    "13:14",
    /does not have the right form/,
  ],
  [
    "no clause",
    (text) => text.replace("MSG-2.1.2", "MSG-2.1.99"),
    "10:13",
    /there is no clause MSG-2.1.99/,
  ],
  ["no kind", (text) => text.replace("message field", "field"), "6:13", /must be one of register/],
  [
    "a bad range",
    (text) => text.replace(">=4.5 <4.6", "~4.5"),
    "3:24",
    /does not have the right form/,
  ],
])("%s is refused with its place", async (_what, change, place, message) => {
  write("bench-7.yaml", change(ENTRY));
  const error = await loadExpectations(board, search).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(BoardFileError);
  expect((error as BoardFileError).message).toMatch(message);
  expect((error as BoardFileError).exitCode).toBe(2);
  expect((error as BoardFileError).where).toContain(`bench-7.yaml:${place}`);
});

test("two entries of one id are refused, also in two files", async () => {
  write("imx8mp-evk.yaml", ENTRY);
  write("bench-7.yaml", ENTRY);
  await expect(loadExpectations(board, search)).rejects.toThrow(/a second entry session-ids/);
});

test("a check tells all that is wrong in all files, and which entries have expired", async () => {
  write("imx8mp-evk.yaml", ENTRY.replace("MSG-2.1.2", "MSG-2.1.99").replace("06-30", "02-30"));
  write("bench-7.yaml", `${ENTRY}${ENTRY.slice(ENTRY.indexOf("  - id")).replace("ids", "others")}`);
  const { problems, expired } = await checkExpectations(board, search, "2027-07-01");
  const told = problems.map(
    ({ file, line, message }) => `${path.basename(file)}:${line} ${message}`,
  );
  expect(told).toEqual([
    "imx8mp-evk.yaml:10 there is no clause MSG-2.1.99",
    "imx8mp-evk.yaml:13 there is no day 2027-02-30",
    expect.stringMatching(
      /^bench-7\.yaml:2 there is a second entry session-ids, at .*evk\.yaml:2:5$/,
    ),
  ]);
  expect(expired.map(({ line, next }) => `${line} ${next ?? ""}`).at(-1)).toMatch(
    /^25 Look at it again .*\(owner: platform-team\)\.$/,
  );
  expect((await checkExpectations(board, search, "2027-06-30")).expired).toHaveLength(1);
});

test("versions are compared by number, as far as the range goes", () => {
  expect(inRange("Unknown_4.5 (gcc 14)", ">=4.5 <4.6")).toBe(true);
  expect(inRange("4.10.0", ">=4.5 <4.6")).toBe(false);
  expect(inRange("4.10.0", ">4.9")).toBe(true);
  expect(inRange("4.5.0-2", "4.5")).toBe(true);
  expect(inRange("4.5.1", "<=4.5")).toBe(true);
  expect(inRange("4.4", "4.5")).toBe(false);
  expect(inRange("unknown", "4.5")).toBe(false);
});

test("a case is named by its id or a pattern, and nothing in it is a regular expression", () => {
  expect(coversCase({ cases: ["smc-abi.a-*-c"] }, "smc-abi.a-b-c")).toBe(true);
  expect(coversCase({ cases: ["smc-abi.a-*-c"] }, "smc-abi.a-b-cd")).toBe(false);
  expect(coversCase({ cases: ["smc.abi"] }, "smc-abi")).toBe(false);
});
