import { spawn } from "node:child_process";
import { chmodSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, expect, jest, test } from "@jest/globals";
import { budget } from "../../../base/index.ts";
import { lockstepHere } from "../../testing/in-process.ts";
import { cleanEnv, LOCKSTEP, temporaryFolder } from "../../testing/run-cli.ts";

jest.setTimeout(budget(60_000, 600_000));

const CID = "150100424a5444345203a1b2c3d4c593";
const HUK = "000102030405060708090a0b0c0d0e0f";
const ID = "86b92cf24f0c2e9f";
let removeAll = (): void => {};
const cwd = temporaryFolder((remove) => (removeAll = remove));
afterAll(() => removeAll());

let files = 0;
function put(text: string, extension: string, mode = 0o600): string {
  const name = `in-${(files += 1)}${extension}`;
  writeFileSync(path.join(cwd, name), text);
  chmodSync(path.join(cwd, name), mode);
  return name;
}

const derive = (args: readonly string[], input = ""): ReturnType<typeof lockstepHere> =>
  lockstepHere(["rpmb", "derive", ...args], { cwd, input });

test("a batch goes from a file to a new file of the owner, or through a pipe", async () => {
  const rows = `serial,cid,huk\n1,${CID},${HUK}\n`;
  const wanted = `serial,cid,key_id\n1,${CID},${ID}\n`;
  const file = await derive(["--batch", put(rows, ".csv"), "--out", "ids.csv", "--json"]);
  expect(JSON.parse(file.stdout)).toEqual({
    rows: 1,
    derived: 1,
    failed: 0,
    wrongCrc: 0,
    out: "ids.csv",
  });
  expect(readFileSync(path.join(cwd, "ids.csv"), "utf8")).toBe(wanted);
  expect(statSync(path.join(cwd, "ids.csv")).mode & 0o777).toBe(0o600);
  const piped = await derive(["--batch", "-", "--format", "csv"], rows);
  expect(piped).toEqual({ code: 0, stdout: wanted, stderr: "1 key derived\n" });
  const again = await derive(["--batch", put(rows, ".csv"), "--out", "ids.csv"]);
  expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/never overwritten/)]);
});

test("bad rows make the exit code 1 and are left out; with --strict there is no file at all", async () => {
  const rows = put(`cid,huk\n${CID},${HUK}\nno,${HUK}\n`, ".csv");
  const lenient = await derive(["--batch", rows, "--out", "some.csv"]);
  expect(lenient.code).toBe(1);
  expect(lenient.stderr).toBe(
    "line 3: failed: the CID is not 32 hexadecimal digits\n1 key derived, 1 row failed\n",
  );
  expect(readFileSync(path.join(cwd, "some.csv"), "utf8")).toBe(`cid,key_id\n${CID},${ID}\n`);
  const strict = await derive(["--batch", rows, "--out", "none.csv", "--strict"]);
  expect([strict.code, strict.stderr]).toEqual([
    2,
    expect.stringMatching(/line 3: the CID is not/),
  ]);
  expect(readdirSync(cwd).filter((name) => name.includes("none"))).toEqual([]);
});

test("hardware unique keys come from files by name, from one value, or from a source", async () => {
  const key = put(`${HUK}\n`, ".hex");
  const named = put(`{"cid":"${CID}","huk_ref":"vault"}\n`, ".jsonl", 0o644);
  const { stdout } = await derive(["--batch", named, "--huk-file", `vault=@${key}`]);
  expect(JSON.parse(stdout)).toEqual({ cid: CID, huk_ref: "vault", key_id: ID });
  const bare = put(`cid\n${CID}\n`, ".csv", 0o644);
  for (const args of [
    ["--huk", `@${key}`],
    ["--huk", `@${key}`, "--source", "caam-closed"],
  ]) {
    expect((await derive(["--batch", bare, ...args])).stdout).toBe(`cid,key_id\n${CID},${ID}\n`);
  }
  const stub = await derive(["--batch", bare, "--source", "zero-stub"]);
  expect(stub.stdout).toMatch(/,key_id\n.*,[0-9a-f]{16}\n$/);
  expect(stub.stdout).not.toContain(ID);
});

test.each([
  [["--batch", "none.csv"], /none.csv: cannot read the batch.*ENOENT/],
  [["--batch", "."], /format|folder/],
  [["--batch", "-"], /does not say what format/],
  [["--batch", "-", "--format", "csv", "--huk", "-"], /only one of --huk and --batch/],
  [["--batch", "-", "--format", "csv"], /the batch has no row/],
  [["--batch", "-", "--format", "csv", "--json"], /stdout has the rows/],
  [["--batch", "-", "--format", "csv", "--cid", CID], /--cid is of a single derivation/],
  [["--batch", "-", "--format", "csv", "--explain"], /--explain is of a single/],
  [["--batch", "-", "--format", "csv", "--plain"], /--plain is of a single/],
  [["--batch", "-", "--format", "csv", "--passphrase"], /--passphrase is of a single/],
  [["--batch", "-", "--format", "csv", "--huk-file", "x"], /NAME=@FILE/],
  [["--batch", "-", "--format", "csv", "--huk-file", "test-key=@x"], /test-key is taken/],
  [["--batch", "-", "--format", "csv", "--source", "zero-stub", "--huk", HUK], /takes no --huk/],
  [["--cid", CID, "--huk", HUK, "--strict"], /--strict is of --batch/],
  [["--cid", CID, "--huk", HUK, "--out", "x"], /--out is of --batch/],
])("%j is a usage error", async (args, message) => {
  const { code, stdout, stderr } = await derive(args);
  expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
  expect(stderr).toMatch(message);
});

test("a batch with hardware unique keys that other users can read is refused", async () => {
  const rows = put(`cid,huk\n${CID},${HUK}\n`, ".csv", 0o640);
  const { code, stderr } = await derive(["--batch", rows, "--out", "open.csv"]);
  expect([code, stderr]).toEqual([2, expect.stringMatching(/open to other users.*chmod 600/)]);
  expect(readdirSync(cwd).filter((name) => name.includes("open"))).toEqual([]);
});

test("any number of rows goes through a small heap", async () => {
  const rows = budget(60_000, 1_000_000);
  const child = spawn(
    process.execPath,
    [
      `--max-old-space-size=${budget(24, 32)}`,
      LOCKSTEP,
      "rpmb",
      "derive",
      "--batch",
      "-",
      "--format",
      "csv",
      "--out",
      "many.csv",
    ],
    { cwd, env: cleanEnv(), stdio: ["pipe", "ignore", "pipe"] },
  );
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.stdin.on("error", () => {});
  const ended = new Promise((resolve) => child.on("close", resolve));
  child.stdin.write("serial,cid,huk\n");
  for (let row = 0; row < rows;) {
    let text = "";
    for (const end = Math.min(rows, row + 500); row < end; row += 1) {
      text += `unit ${row},${row.toString(16).padStart(30, "0")}00,${HUK}\n`;
    }
    if (!child.stdin.write(text)) {
      await new Promise<void>((resolve) => {
        child.stdin.once("drain", resolve);
        child.stdin.once("close", resolve);
      });
    }
  }
  child.stdin.end();
  expect([await ended, stderr]).toEqual([0, `${rows} keys derived\n`]);
  const text = readFileSync(path.join(cwd, "many.csv"), "utf8");
  expect(text.split("\n")).toHaveLength(rows + 2);
});
