import { createSecretKey } from "node:crypto";
import { describe, expect, test } from "@jest/globals";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { deriveRpmbKey, findHukSource, hukOf, keyDigits, keyId } from "../../rpmb/index.ts";
import { makeSealer, unseal } from "../key-file/index.ts";
import { type BatchCounts, type BatchOptions, deriveBatch } from "./index.ts";

const CID = "150100424a5444345203a1b2c3d4c593";
const COUNTING = "000102030405060708090a0b0c0d0e0f";
const bytesOf = (hex: string): Buffer => Buffer.from(hex, "hex");

function idOf(huk: string, cid: string, compat: boolean): string {
  return keyId(deriveRpmbKey(createSecretKey(bytesOf(huk)), bytesOf(cid), { compat }));
}

const source = (name: string): BatchOptions["source"] => {
  const found = findHukSource(name);
  if (found === undefined) throw new Error(name);
  return found;
};

interface Outcome {
  readonly text: string;
  readonly reports: readonly string[];
  readonly counts: BatchCounts;
}

async function run(text: string, options: Partial<BatchOptions> = {}): Promise<Outcome> {
  const reports: string[] = [];
  const counts = { rows: 0, failed: 0, oddCids: 0 };
  const report: BatchOptions["report"] = (line, what) => reports.push(`${line} ${what}`);
  const all: BatchOptions = {
    format: "csv",
    compat: true,
    source: source("given"),
    references: new Map([["zero-stub", hukOf(source("zero-stub"))]]),
    report,
    ...options,
  };
  let out = "";
  for await (const piece of deriveBatch([Buffer.from(text)], all, counts)) out += piece.toString();
  return { text: out, reports, counts };
}

test("rows come out as they went in, with the key id and without the HUK", async () => {
  const rows = `serial,huk,cid,note\r\n"7,1",${COUNTING},${CID},"say ""hé"""\r\n8,0x${COUNTING.toUpperCase()},${CID.toUpperCase()}, x \r\n`;
  const id = idOf(COUNTING, CID, true);
  const { text, reports, counts } = await run(rows);
  expect(text).toBe(
    `serial,cid,note,key_id\n"7,1",${CID},"say ""hé""",${id}\n8,${CID.toUpperCase()}," x ",${id}\n`,
  );
  expect({ reports, counts }).toEqual({ reports: [], counts: { rows: 2, failed: 0, oddCids: 0 } });
});

test("JSON lines keep their other fields, numbers and nested values too", async () => {
  const row = { cid: CID, huk: COUNTING, n: 1, deep: { a: ["é", null] }, compat: false };
  const { text } = await run(
    `${JSON.stringify(row)}\n\n${JSON.stringify({ ...row, compat: "y" })}`,
    {
      format: "jsonl",
    },
  );
  const { huk: _huk, ...kept } = row;
  expect(
    text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as unknown),
  ).toEqual([
    { ...kept, key_id: idOf(COUNTING, CID, false) },
    { ...kept, compat: "y", key_id: idOf(COUNTING, CID, true) },
  ]);
});

const bytes = (size: number): fc.Arbitrary<string> =>
  fc
    .uint8Array({ minLength: size, maxLength: size })
    .map((one) => Buffer.from(one).toString("hex"));

test("keys are derived as one by one, for any HUK, CID and compat", async () => {
  const row = fc.record({
    huk: fc.oneof(bytes(16), bytes(32)),
    cid: bytes(16),
    compat: fc.constantFrom("y", "n", "", "true", "false", "1", "0", "No"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 8 }), async (rows) => {
      const lines = rows.map(({ huk, cid, compat }) => `${huk},${cid},${compat}\n`);
      const { text, counts } = await run(`huk,cid,compat\n${lines.join("")}`);
      expect(counts.failed).toBe(0);
      const ids = text
        .trimEnd()
        .split("\n")
        .slice(1)
        .map((line) => line.split(",").at(-1));
      expect(ids).toEqual(
        rows.map(({ huk, cid, compat }) => idOf(huk, cid, !/^(?:n|no|false|0)$/i.test(compat))),
      );
    }),
    { numRuns: budget(30, 1000) },
  );
});

describe("the hardware unique key of a row", () => {
  const options: Partial<BatchOptions> = {
    huk: "test-key",
    references: new Map<string, ReturnType<typeof hukOf> | "test-key">([
      ["zero-stub", hukOf(source("zero-stub"))],
      ["vault", hukOf(source("given"), bytesOf(COUNTING))],
      ["test-key", "test-key"],
    ]),
  };
  test.each([
    ["", "vault", "", idOf(COUNTING, CID, true)],
    ["", "zero-stub", "", idOf("00".repeat(16), CID, true)],
    ["", "", "", "4acdf4e991dc4da9"],
    ["", "test-key", "", "4acdf4e991dc4da9"],
    [COUNTING, "", "", idOf(COUNTING, CID, true)],
    [COUNTING + COUNTING, "", "given", idOf(COUNTING + COUNTING, CID, true)],
    [COUNTING + COUNTING, "", "caam-closed", idOf(COUNTING, CID, true)],
    [COUNTING, "", "caam-open", idOf(COUNTING, CID, true)],
  ])("value %j, reference %j, source %j", async (huk, reference, name, id) => {
    const row = `${CID},${huk},${reference},${name}`;
    const { text, reports } = await run(`cid,huk,huk_ref,source\n${row}\n`, options);
    expect(reports).toEqual([]);
    expect(text.trimEnd().split("\n")[1]).toBe(`${CID},${reference},${name},${id}`);
  });
});

const BAD = [
  ["150100", COUNTING, "", "the CID is not 32 hexadecimal digits"],
  [`${CID.slice(1)}g`, COUNTING, "", "the CID is not 32 hexadecimal digits"],
  ["", COUNTING, "", "it has no CID"],
  [CID, COUNTING.slice(1), "", "the HUK is not 32 or 64 hexadecimal digits"],
  [CID, `${COUNTING}00`, "", "the HUK is not 32 or 64 hexadecimal digits"],
  [CID, `${COUNTING.slice(2)}zz`, "", "the HUK is not 32 or 64 hexadecimal digits"],
  [CID, "", "", "it names no hardware unique key"],
  [CID, "", "__proto__", "its huk_ref is neither"],
  [CID, COUNTING, "zero-stub", "it has both a huk and a huk_ref"],
  [CID, `${COUNTING},`, "", "it has 4 values, and there are 3 names"],
  [CID, `"${COUNTING}`, "", "a quoted value does not end"],
] as const;

describe("a bad row", () => {
  test("is reported by its line, and costs itself alone; nothing of it is shown", async () => {
    const rows = BAD.map(([cid, huk, reference]) => `${cid},${huk},${reference}\n`);
    const good = `${CID},${COUNTING},\n`;
    const { text, reports, counts } = await run(
      `cid,huk,huk_ref\n${good}${rows.join(good)}${good}`,
    );
    expect(counts).toEqual({ rows: BAD.length * 2 + 1, failed: BAD.length, oddCids: 0 });
    for (const [at, [, , , what]] of BAD.entries()) {
      expect(reports[at]).toContain(`${3 + at * 2} ${what}`);
      expect(reports[at]).not.toMatch(/0102|4a54/);
    }
    const line = `${CID},,${idOf(COUNTING, CID, true)}`;
    expect(text.trimEnd().split("\n").slice(1)).toEqual(
      Array.from({ length: BAD.length + 1 }, () => line),
    );
  });

  test.each(BAD)("ends a strict run: %s, %s, %s", async (cid, huk, reference, what) => {
    const rows = `cid,huk,huk_ref\n${CID},${COUNTING},\n${cid},${huk},${reference}\n`;
    const failed = run(rows, { strict: true });
    await expect(failed).rejects.toThrow(`line 3: ${what}`);
    await expect(failed).rejects.toMatchObject({ exitCode: 2 });
  });

  test("in JSON lines is one that is no object, or has no text where it should", async () => {
    const rows = ["{", "[]", "7", `{"cid":5}`, `{"cid":"${CID}","huk":null}`, "x".repeat(70_000)];
    const { reports, counts } = await run(rows.join("\n"), { format: "jsonl" });
    expect(counts).toEqual({ rows: 6, failed: 6, oddCids: 0 });
    expect(reports.map((one) => one.slice(0, 30))).toEqual([
      "1 the line is not JSON",
      "2 the line is not a JSON objec",
      "3 the line is not a JSON objec",
      "4 the CID is not 32 hexadecima",
      "5 it names no hardware unique ",
      "6 the line is longer than 6553",
    ]);
  });
});

test("a field that is misspelt in case is refused, as it would be passed on with what is in it", async () => {
  for (const name of ["HUK", "Huk", "Compat", "HUK_REF", "Source"]) {
    await expect(run(`cid,${name}\n${CID},${COUNTING}\n`)).rejects.toMatchObject({
      exitCode: 2,
      message: `the column "${name}" is written otherwise than its field`,
    });
    const row = JSON.stringify({ cid: CID, huk_ref: "zero-stub", [name]: COUNTING });
    const spaced = JSON.stringify({ cid: CID, huk_ref: "zero-stub", [` ${name}`]: COUNTING });
    const { text, reports } = await run(`${row}\n${spaced}\n`, { format: "jsonl" });
    expect(text).toBe("");
    const field = name.toLowerCase();
    const report = `the field ${field} is written in another case, or with spaces`;
    expect(reports).toEqual([`1 ${report}`, `2 ${report}`]);
  }
});

test("numbers in JSON lines are values, and never as if they were not there", async () => {
  const row = (more: object): string => `${JSON.stringify({ cid: CID, ...more })}\n`;
  const ids = async (more: object): Promise<string> =>
    (await run(row({ huk: COUNTING, ...more }), { format: "jsonl" })).text;
  expect(await ids({ compat: 0 })).toContain(idOf(COUNTING, CID, false));
  expect(await ids({ compat: 1 })).toContain(idOf(COUNTING, CID, true));
  for (const more of [{ compat: 2 }, { compat: [] }, { huk: 7 }, { huk_ref: {} }, { source: 1 }]) {
    const { text, counts } = await run(row({ huk: COUNTING, ...more }), { format: "jsonl" });
    expect([more, text, counts.failed]).toEqual([more, "", 1]);
  }
});

test("a CID with a wrong CRC is derived and reported, and ends a strict run", async () => {
  const rows = `cid,huk\n${CID.slice(0, 30)}9b,${COUNTING}\n${CID.slice(0, 30)}00,${COUNTING}\n`;
  const { text, reports, counts } = await run(rows);
  expect(counts).toEqual({ rows: 2, failed: 0, oddCids: 1 });
  expect(reports).toEqual(["2 derived, but the CID's CRC7 is wrong"]);
  expect(text.match(new RegExp(idOf(COUNTING, CID, true), "g"))).toHaveLength(2);
  await expect(run(rows, { strict: true })).rejects.toThrow(/line 2: the CID's CRC7 is wrong/);
});

test.each([
  ["serial,huk\n1,2\n", "csv", /no column cid/],
  ["cid,huk,cid\n", "csv", /two columns are named "cid"/],
  [`cid,${COUNTING},${COUNTING}\n`, "csv", /two columns are named "…"/],
  ["cid,key_id\n", "csv", /has a field "key_id" already/],
  ['"cid,huk\n', "csv", /line 1, the names: a quoted value/],
  [`{"cid":"${CID}","key_id":"x"}\n`, "jsonl", /has a field "key_id" already/],
] as const)("a file that cannot be worked with is refused: %j", async (text, format, message) => {
  await expect(run(text, { format })).rejects.toThrow(message);
});

test("keys go out encrypted for the recipients, and open to them", async () => {
  const identity = await generateX25519Identity();
  const sealer = await makeSealer({ recipients: [await identityToRecipient(identity)] });
  const { text } = await run(`cid,huk\n${CID},${COUNTING}\n`, { sealer });
  const [head, row = ""] = text.split("\n");
  expect(head).toBe("cid,key_id,encrypted_key");
  const sealed = Buffer.from(row.split(",")[2] ?? "", "base64");
  const opened = await unseal(sealed, { identities: [identity] }, "row");
  const key = deriveRpmbKey(createSecretKey(bytesOf(COUNTING)), bytesOf(CID), { compat: true });
  expect(Buffer.from(opened).toString("hex")).toBe(keyDigits(key));
});

test("nothing is read before what was read is asked for again", async () => {
  let read = 0;
  function* pieces(): Generator<Buffer> {
    yield Buffer.from("cid,huk\n");
    for (;;) {
      read += 1;
      yield Buffer.from(`${CID},${COUNTING}\n`.repeat(100));
    }
  }
  const options: BatchOptions = {
    format: "csv",
    compat: true,
    source: source("given"),
    references: new Map(),
    report: () => {},
  };
  const out = deriveBatch(pieces(), options, { rows: 0, failed: 0, oddCids: 0 });
  for (let asked = 1; asked <= 20; asked += 1) {
    expect((await out.next()).done).toBe(false);
    expect(read).toBe(asked - 1);
  }
  await out.return(undefined);
});
