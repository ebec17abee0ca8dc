import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, jest, test } from "@jest/globals";
import { packageRoot, SecretStore } from "../../base/index.ts";
import { BundleWriter, type FactsSheet, type TraceRecord } from "../../run/index.ts";
import { deriveRpmbKey, intoKey, keyDigits } from "../../rpmb/index.ts";
import { FORMATS, renderFormats } from "../../../reports/index.ts";

jest.setTimeout(60_000);

const hex = (text: string): Buffer => Buffer.from(text, "hex");
const CID = hex("150100424a5444345203a1b2c3d4c593");
const HUK = "ffeeddccbbaa99887766554433221101";
/** Known before the run: derived, and read from a key file. */
const GIVEN = keyDigits(deriveRpmbKey(intoKey(hex(HUK)), CID, { compat: true }));
/** Known to nobody: a write-key build prints it. */
const WRITTEN = "c3f1a20b5d97e64831cc0dd2be7a9f4016d85b33e08a7cf59124be6d03a7c8e9";
/** Holds line ends, so that its raw bytes are torn apart. */
const TORN = "9c4d0a71e2b83f560d1fa7c9e4d2b6880a93f5d7c1e6482b7a3c9d0e5f8a6b12";
const KEYS = { HUK, GIVEN, WRITTEN, TORN };
/** The key of the emulated card, which everybody knows. */
const PUBLISHED = "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493";

const GOLDEN = readFileSync(
  path.join(packageRoot, "harness/run/testdata/rpmb-write-key.secure.raw"),
  "latin1",
);

const pairs = (key: string): string[] => key.match(/../g) ?? [];
const spaced = (key: string): string =>
  pairs(key)
    .map((pair, at) => (at % 8 === 0 && at % 16 !== 0 ? ` ${pair}` : pair))
    .join(" ");
const words = (key: string, bytes: number): string =>
  (key.match(new RegExp(`.{${bytes * 2}}`, "g")) ?? [])
    .map((word) => pairs(word).toReversed().join(""))
    .join(" ");
const base64 = (key: string, before = 0): string =>
  Buffer.concat([Buffer.alloc(before, 0x55), hex(key), Buffer.alloc(7, 0x33)]).toString("base64");

/** A key in every form in which text has bytes. */
const formsOf = (key: string): string[] => [
  key,
  key.toUpperCase(),
  `0x${key}`,
  `7a7a${key}7a7a`,
  spaced(key),
  spaced(key).toUpperCase(),
  `00000010  ${spaced(key.slice(0, 32))}  |................|`,
  `00000020  ${spaced(key.slice(-32))}  |................|`,
  pairs(key).join(":"),
  pairs(key)
    .map((pair) => `0x${pair}`)
    .join(", "),
  `{0x${pairs(key).join(",0x")}}`,
  pairs(key)
    .map((pair) => String.raw`\x${pair}`)
    .join(""),
  `60000000: ${words(key, 4)}    ................`,
  `60000002: 7b7b ${words(key, 2)}`,
  `0000000 ${words(key, 8)}`,
  `Uint8Array(32) [ ${[...hex(key)].join(", ")} ]`,
  JSON.stringify([...hex(key)]),
  hex(key).toString("base64"),
  hex(key).toString("base64url"),
  ...[0, 1, 2].map((before) => base64(key, before)),
];

/** The golden log of a write-key build, with another key in it. */
const writeKeyLog = (key: string): string =>
  GOLDEN.replace(spaced(PUBLISHED.slice(0, 32)), spaced(key.slice(0, 32))).replace(
    spaced(PUBLISHED.slice(32)),
    spaced(key.slice(32)),
  );

const root = mkdtempSync(path.join(tmpdir(), "lockstep-masking-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const FACTS: FactsSheet = {
  board: "b",
  boardType: "qemu-virt",
  platform: "qemu",
  versions: { "op-tee": `4.10.0 ${GIVEN}` },
  images: {},
  packages: {},
  machine: {},
  hab: "unknown",
  huk: "unknown",
  rpmb: "unknown",
};

/** Console bytes in pieces, and the lines that the console engine makes of them. */
function say(writer: BundleWriter, stream: string, bytes: Buffer, piece: number): void {
  for (let at = 0; at < bytes.length; at += piece) {
    writer.raw("b", stream, bytes.subarray(at, at + piece));
  }
  let offset = 0;
  for (const line of bytes.toString("utf8").split(/\r?\n/)) {
    writer.event({ type: "line", target: "b", stream, offset, text: line });
    offset += line.length + 2;
  }
}

const record = (key: string, text: string): TraceRecord[] => [
  { type: "console", text },
  {
    type: "smc",
    where: "conduit",
    phase: "enter",
    guest: 0,
    registers: ["0x32000004", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0", "0x1"],
    message: {
      role: "call",
      at: "0x40000000",
      cmd: 1,
      func: 2,
      session: 3,
      cancelId: 4,
      ret: 0,
      retOrigin: 0,
      numParams: 1,
      params: [
        {
          attr: "0x6",
          a: "0x0",
          b: "0x20",
          c: "0x42",
          data: { size: 32, digest: "0123456789abcdef", head: key.slice(0, 64) },
        },
      ],
    },
  },
  {
    type: "end",
    how: "done",
    value: { $bytes: `${"00".repeat(196)}${key}${"00".repeat(282)}0001`, note: text },
  },
];

/** Every file of a folder, compressed ones as what is in them. */
function* files(dir: string): Generator<readonly [name: string, bytes: Buffer]> {
  for (const entry of readdirSync(dir, { withFileTypes: true, recursive: true })) {
    if (!entry.isFile()) continue;
    const file = path.join(entry.parentPath, entry.name);
    const bytes = readFileSync(file);
    yield [file, file.endsWith(".gz") ? gunzipSync(bytes) : bytes];
  }
}

/** Where `bytes` have a key, or 8 bytes of it in a row, in whatever notation. */
function leaks(bytes: Buffer, key: string): string[] {
  const found: string[] = [];
  const text = bytes.toString("latin1");
  for (const form of formsOf(key)) if (text.includes(form)) found.push(form.slice(0, 40));
  const raw = hex(key);
  for (let at = 0; at + 8 <= raw.length; at += 1) {
    if (bytes.includes(raw.subarray(at, at + 8))) found.push(`raw bytes from ${at}`);
  }
  const digits = text.toLowerCase().replaceAll(/0x|\\+x|[^0-9a-f*]/g, "");
  for (let at = 0; at + 16 <= key.length; at += 2) {
    if (digits.includes(key.slice(at, at + 16))) found.push(`digits from ${at / 2}`);
  }
  for (let at = 0; at + 12 <= hex(key).toString("base64").length; at += 1) {
    const part = hex(key)
      .toString("base64")
      .slice(at, at + 12);
    if (text.includes(part)) found.push(`base64 from ${at}`);
  }
  return found;
}

let dir = "";
beforeAll(async () => {
  dir = path.join(root, "out");
  const secrets = new SecretStore();
  for (const key of [HUK, GIVEN, TORN]) secrets.add(key);
  const start = {
    id: "run-1",
    lockstep: "0.1.0",
    node: "v20",
    command: ["lockstep", "run", GIVEN],
    seed: 1,
    boards: ["b"],
  };
  const writer = await BundleWriter.create(dir, start, {
    secrets,
    runtimeDir: path.join(root, "rt"),
  });
  say(writer, "secure", Buffer.from(writeKeyLog(WRITTEN), "latin1"), 1);
  say(writer, "secure", Buffer.from(`${PUBLISHED}\r\n`), 5);
  let run = 0;
  for (const [name, key] of Object.entries(KEYS)) {
    const raw = Buffer.concat([Buffer.from("raw "), hex(key), Buffer.from(" end\r\n")]);
    for (const stream of ["secure", "normal"]) say(writer, stream, raw, 3);
    for (const [at, text] of formsOf(key).entries()) {
      for (const [stream, piece] of [
        ["secure", 1],
        ["normal", 7],
      ] as const) {
        say(writer, stream, Buffer.from(`D/TC:0 0 key? ${text}\r\n`), piece);
      }
      writer.event({ type: "warning", target: "b", text });
      writer.event({ type: "stage-end", target: "b", stage: "boot", ok: false, remark: text });
      writer.problem(`seen: ${text}`);
      writer.result({
        target: "b",
        suite: "rpmb",
        id: `rpmb.${name}-${at}`.toLowerCase(),
        title: `the key ${text} is written`,
        status: "fail",
        reason: `expected ${text}\n  seen: ${text}`,
        where: text,
      });
      const header = {
        type: "trace",
        format: 1,
        target: "b",
        caseId: `rpmb.${name}`.toLowerCase(),
        run: (run += 1),
        reference: "rpmb/key#writes",
        conduit: "direct",
        seed: 1,
        clauses: [],
      } as const;
      writer.trace({ header, records: record(key, text) });
      writer.trace({
        header: { ...header, run: (run += 1) },
        records: [{ type: "end", how: "error", reason: text }],
      });
    }
  }
  writer.facts(FACTS);
  await writer.finish({
    exitCode: 1,
    incomplete: `the board printed ${WRITTEN}`,
    render: async (reader) => {
      await renderFormats(reader, FORMATS, dir);
    },
  });
});

test("no file of a bundle has a key in it, whatever it went through and however it was written", () => {
  const names: string[] = [];
  const found: string[] = [];
  for (const [name, bytes] of files(dir)) {
    names.push(path.relative(dir, name));
    for (const [which, key] of Object.entries(KEYS)) {
      for (const leak of leaks(bytes, key)) found.push(`${names.at(-1)}: ${which}, ${leak}`);
    }
  }
  expect(found).toEqual([]);
  expect(names).toEqual(
    expect.arrayContaining([
      "run.json",
      "events.jsonl",
      "results.json",
      "console-secure.raw",
      "console-normal.raw",
      "junit.xml",
      "results.tap",
      "report.html",
      "kcidb.json",
      "traces/b/rpmb.written.jsonl.gz",
      expect.stringMatching(/^allure-results\//),
    ]),
  );
});

test("what went through is there but for the keys, and a published key is left alone", () => {
  const all = new Map([...files(dir)].map(([name, bytes]) => [path.relative(dir, name), bytes]));
  const read = (name: string): string => all.get(name)?.toString("latin1") ?? "";
  const secure = read("console-secure.raw");
  expect(secure.length).toBeGreaterThan(GOLDEN.length);
  // Masked at equal length: offsets into the raw log stay true.
  expect(secure.indexOf(PUBLISHED)).toBe(GOLDEN.length);
  expect(secure).toContain("Writing Key value");
  expect(secure.match(/D\/TC:0 0 key\? /g)).toHaveLength(formsOf(HUK).length * 4);
  expect(read("events.jsonl")).toContain(PUBLISHED);
  for (const [name, text] of [
    ["junit.xml", "the key ****"],
    ["report.html", "the key ****"],
    ["results.json", "expected ****"],
    ["traces/b/rpmb.given.jsonl.gz", '"head":"****'],
  ] as const) {
    expect(read(name)).toContain(text);
  }
});

test.each([
  ["8 raw bytes", hex(WRITTEN).subarray(3, 11)],
  ["8 bytes in digits", Buffer.from(WRITTEN.slice(20, 36).toUpperCase())],
  [
    "8 spaced bytes over two lines",
    Buffer.from(`${spaced(WRITTEN.slice(0, 8))}\n${spaced(WRITTEN.slice(8, 16))}`),
  ],
  ["bytes as C has them", Buffer.from(pairs(WRITTEN.slice(0, 16)).join(", 0x"))],
  ["12 characters of base64", Buffer.from(hex(WRITTEN).toString("base64").slice(9, 21))],
])("the search would find %s of a key", (_what, bytes) => {
  expect(leaks(bytes, WRITTEN)).not.toEqual([]);
  expect(leaks(bytes, GIVEN)).toEqual([]);
});
