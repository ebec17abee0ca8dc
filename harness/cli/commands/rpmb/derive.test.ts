import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterAll, describe, expect, jest, test } from "@jest/globals";
import { generateX25519Identity, identityToRecipient } from "age-encryption";
import { makeSealer, readKeyFile } from "../../../provision/index.ts";
import { keyDigits } from "../../../rpmb/index.ts";
import { lockstepHere } from "../../testing/in-process.ts";
import { noPty, onTerminal } from "../../testing/pty.ts";
import { cleanEnv, LOCKSTEP, temporaryFolder } from "../../testing/run-cli.ts";

// Some cases start processes; a busy machine takes its time.
jest.setTimeout(60_000);

const CARD = "fe014e4d4d4330344742c8f6552a6115";
const OTHER = "150100424a5444345203a1b2c3d4c59b";
const UPDATED = "150100424a5444345207a1b2c3d4c541";
const COUNTING = "000102030405060708090a0b0c0d0e0f";
const LONG = `${COUNTING}101112131415161718191a1b1c1d1e1f`;
const DOWN = "ffeeddccbbaa99887766554433221100";
const V1C = "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493";
const V2C = "cfd820d7e54fec9e86a275dfdccce362d40d09fb284ac7066232ed31e904f664";
const V3C = "963e650442bfadadc2b5ebad249a72ce30951d295647d773aba6d232055aa470";
const V3N = "d494a91f607f1d55c1118102fd2fadf681dffae1d3185089c96225b9203c4b10";
const TEST_KEY = "d3eb3ec36e334c9f988ce2c0b85954610d2bcf8664844df2ab56e6c61bb701e4";

let removeAll = (): void => {};
const cwd = temporaryFolder((remove) => (removeAll = remove));
afterAll(() => removeAll());

let files = 0;
function put(bytes: string | Uint8Array, mode = 0o600): string {
  const name = `file-${(files += 1)}`;
  writeFileSync(path.join(cwd, name), bytes);
  chmodSync(path.join(cwd, name), mode);
  return name;
}

const derive = (
  args: readonly string[],
  input?: string | Uint8Array,
): ReturnType<typeof lockstepHere> =>
  lockstepHere(["rpmb", "derive", ...args], { cwd, ...(input !== undefined && { input }) });

describe("the golden vectors come out of the command line", () => {
  test.each([
    ["V1C", ["--source", "zero-stub", "--cid", CARD], V1C],
    ["V1C", ["--huk", "00".repeat(16), "--cid", CARD.toUpperCase()], V1C],
    [
      "V1N",
      ["--source", "zero-stub", "--cid", CARD, "--no-compat"],
      "7df22a3d5b8f1d617e03da5711f8cb1fdba1553d2b0e3006125d672e22512ec7",
    ],
    ["V2C", ["--huk", `0x${COUNTING}`, "--cid", CARD], V2C],
    [
      "V2N",
      ["--huk", COUNTING, "--cid", CARD, "--no-compat"],
      "5b5e521a9b13edd535251bad17f7dd73f4d2124ed17434143c5fb82d312ad12c",
    ],
    ["V3C", ["--huk", COUNTING, "--cid", OTHER], V3C],
    ["V3N", ["--huk", COUNTING, "--cid", OTHER, "--no-compat"], V3N],
    ["V4", ["--huk", COUNTING, "--cid", UPDATED], V3C],
    ["V4", ["--huk", COUNTING, "--cid", UPDATED, "--no-compat"], V3N],
    [
      "V5C",
      ["--huk", DOWN, "--cid", OTHER],
      "445f8d667ddc1d54cdc382c81ba485880bdccecee3527bc8d0aaebae565ee7e7",
    ],
    [
      "V5N",
      ["--huk", DOWN, "--cid", OTHER, "--no-compat"],
      "64d324815bf3dcb69f636c8162e17b88a6679d4e8018b36afb13f72caf8e50f5",
    ],
    [
      "V6C",
      ["--huk", LONG, "--cid", OTHER],
      "2d2b2a0815aa311e297a0c9f8a790dd118c5e4ce665a3cc05b23f40790ca983e",
    ],
    [
      "V6N",
      ["--huk", LONG, "--cid", OTHER, "--no-compat"],
      "8c98ef1f5c41122845a077e9bc25c3bc26f75458f0a8f116c31dd66d6cbdb318",
    ],
    [
      "the first 16 bytes of an MKVB",
      ["--source", "caam-open", "--huk", LONG, "--cid", OTHER],
      V3C,
    ],
    ["a closed part", ["--source", "caam-closed", "--huk", COUNTING, "--cid", OTHER], V3C],
    ["the test key", ["--source", "test-key"], TEST_KEY],
    [
      "the SSK of the zero stub",
      ["--source", "zero-stub", "--usage", "ssk"],
      "79b082214416d9f43a9be1cb6c4abaa5435c1a1a55b8ae51c3a6857460952147",
    ],
    [
      "the SSK of another HUK",
      ["--huk", COUNTING, "--usage", "ssk"],
      "dcab8ea0ceeb19dcb772919140cb52fbc5858f5945be342e4729332506d570d9",
    ],
    [
      "the constant as a die id",
      ["--huk", COUNTING, "--usage", "ssk", "--die-id", "42454546".repeat(8)],
      "dcab8ea0ceeb19dcb772919140cb52fbc5858f5945be342e4729332506d570d9",
    ],
    [
      "a short die id, filled up",
      ["--huk", COUNTING, "--usage", "ssk", "--die-id", "0102030405060708"],
      "f3b85704d1070473286cdb945532d018c894841a8e15b226090d7aa9287c9218",
    ],
    [
      "a die id that is derived",
      ["--huk", COUNTING, "--usage", "ssk", "--die-id", "derived"],
      "05010658e1009f54b16192b58af7fda59630afcf3485ada4c10f7a836ddeb25a",
    ],
  ] as const)("%s, %j", async (_name, args, key) => {
    const { code, stdout } = await derive(args);
    expect([code, stdout]).toEqual([0, `${key}\n`]);
  });

  test("from files, raw and in digits, from a pipe, and with the CID as sysfs has it", async () => {
    const cid = put(`${OTHER}\n`, 0o444);
    const raw = Buffer.from(COUNTING, "hex");
    for (const huk of [
      put(raw),
      put(`${COUNTING}\n`),
      put(COUNTING.replaceAll(/..(?=.)/g, "$&:")),
    ]) {
      expect(await derive(["--huk", `@${huk}`, "--cid", `@${cid}`])).toMatchObject({
        code: 0,
        stdout: `${V3C}\n`,
      });
    }
    for (const input of [raw, `${COUNTING}\n`, `0x${COUNTING.toUpperCase()}\r\n`]) {
      const { code, stdout, stderr } = await derive(["--huk", "-", "--cid", `@${cid}`], input);
      expect([code, stdout]).toEqual([0, `${V3C}\n`]);
      expect(stderr).not.toMatch(/command line/);
    }
    expect((await derive(["--huk", `@${put(raw)}`, "--cid", "-"], `${OTHER}\n`)).stdout).toBe(
      `${V3C}\n`,
    );
  });
});

test("a HUK in an age file is opened with an identity, and stays closed without one", async () => {
  const identity = await generateX25519Identity();
  const sealer = await makeSealer({ recipients: [await identityToRecipient(identity)] });
  const identities = put(`# vault\n${identity}\n`);
  for (const value of [Buffer.from(COUNTING, "hex"), Buffer.from(`${COUNTING}\n`)]) {
    const huk = `@${put(await sealer.seal(value))}`;
    const args = ["--huk", huk, "--cid", OTHER];
    expect((await derive([...args, "--identity", identities])).stdout).toBe(`${V3C}\n`);
    const closed = await derive(args);
    expect([closed.code, closed.stderr]).toEqual([
      2,
      expect.stringMatching(/is encrypted, and nothing was given.*--identity/),
    ]);
    const other = put(await generateX25519Identity());
    const wrong = await derive([...args, "--identity", other]);
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringMatching(/nothing given opens/)]);
  }
});

describe("--explain", () => {
  test("shows every step of a public derivation", async () => {
    const { stdout } = await derive(["--source", "zero-stub", "--cid", CARD, "--explain"]);
    const lines = Object.fromEntries(
      stdout.split("\n").map((line) => {
        const [name = "", ...rest] = line.trim().split(/ {2,}/);
        return [name, rest.join(" | ")];
      }),
    );
    expect(lines).toMatchObject({
      HUK: `${"00".repeat(16)} | 16 zero bytes; public`,
      CID: CARD,
      MID: "fe | manufacturer",
      CBX: "01 | BGA",
      OID: "4e",
      PNM: "MMC04G | product name",
      PRV: "42 | revision 4.2; zeroed for the key",
      PSN: "c8f6552a | serial number",
      MDT: "61 | month 06 of 1998, 2014, 2030",
      CRC: "15 | right; zeroed for the key",
      "masked CID": "fe014e4d4d4330344700c8f6552a6100 | PRV and CRC zeroed",
      "HMAC message":
        "fe014e4d4d4330344700c8f6552a6100 | CFG_CORE_HUK_SUBKEY_COMPAT=y: the masked CID alone",
      key: `${V1C} | HMAC-SHA-256 of the message under the HUK`,
      "key id": "232a49ad981c01e4 | its public name",
    });
  });

  test("never shows a HUK that is not public, in text or JSON", async () => {
    const huk = `@${put(DOWN)}`;
    for (const json of [[], ["--json"]]) {
      const { code, stdout, stderr } = await derive([
        "--huk",
        huk,
        "--cid",
        OTHER,
        "--no-compat",
        "--explain",
        ...json,
      ]);
      expect(code).toBe(0);
      expect(stdout).toContain("00000000150100424a5444345200a1b2c3d4c500");
      expect(stdout).toContain("(not shown)");
      expect((stdout + stderr).toLowerCase()).not.toContain(DOWN.slice(0, 8));
    }
  });

  test("a CRC that is wrong is warned of, one that the host controller stripped is not", async () => {
    const wrong = await derive(["--source", "zero-stub", "--cid", OTHER, "--json"]);
    expect(JSON.parse(wrong.stdout)).toMatchObject({
      cid: { crc: "wrong", expectedCrc: 0x93 },
      warnings: [expect.stringMatching(/public/), expect.stringMatching(/ends in 9b.*asks for 93/)],
    });
    for (const last of ["93", "00"]) {
      const { stdout, stderr } = await derive([
        "--source",
        "caam-closed",
        "--huk",
        `@${put(DOWN)}`,
        "--cid",
        `${OTHER.slice(0, 30)}${last}`,
      ]);
      expect(stderr).toBe("");
      expect(stdout).toBe("445f8d667ddc1d54cdc382c81ba485880bdccecee3527bc8d0aaebae565ee7e7\n");
    }
  });
});

test("JSON names the key, its id, and how it came about", async () => {
  const { stdout, stderr } = await derive(["--source", "test-key", "--json"]);
  expect(JSON.parse(stdout)).toEqual({
    key: TEST_KEY,
    keyId: "4acdf4e991dc4da9",
    source: "test-key",
    usage: "rpmb",
    warnings: ["the test key is public: it protects nothing"],
  });
  expect(stderr).toBe("");
});

test("the ssk of an i.MX without its die id is warned of, and --explain shows the die id", async () => {
  const args = ["--source", "caam-closed", "--huk", `@${put(DOWN)}`, "--usage", "ssk"];
  expect((await derive(args)).stderr).toMatch(/takes the part's die id.*none is given/);
  const { stdout, stderr } = await derive([...args, "--die-id", "0A0B", "--explain"]);
  expect(stderr).toBe("");
  expect(stdout).toContain(`die id        0a0b${"00".repeat(30)}   OTP\n`);
});

test("what rests on an open part is warned of, and so is a HUK on the command line", async () => {
  const { stderr } = await derive(["--source", "caam-open", "--huk", DOWN, "--cid", CARD]);
  expect(stderr).toMatch(/closing the part changes it/);
  expect(stderr).toMatch(/the HUK stands on the command line/);
  expect(stderr).not.toContain(DOWN.slice(0, 8));
});

describe("refused with exit code 2, nothing on stdout, and no digit of the HUK", () => {
  const secret = DOWN;
  test.each([
    [["--cid", CARD], /no hardware unique key.*--source with one of zero-stub, given/],
    [["--source", "caam-open", "--cid", CARD], /caam-open needs a value.*open part.*never guesses/],
    [["--source", "caam-closed", "--cid", CARD], /caam-closed needs a value.*that part only/],
    [["--source", "zero-stub"], /--cid is missing.*\/sys\/block/],
    [["--huk", secret.slice(1), "--cid", CARD], /wrong length.*32 or 64.*31 digits, an odd count/],
    [["--huk", `${secret}ff`, "--cid", CARD], /wrong length.*32 or 64.*34 digits/],
    [["--huk", `${secret}${secret}ff`, "--cid", CARD], /wrong length.*66 digits/],
    [["--huk", `${secret.slice(2)}zz`, "--cid", CARD], /is not hexadecimal/],
    [["--huk", "", "--cid", CARD], /wrong length.*0 digits/],
    [["--huk", secret, "--cid", CARD.slice(1)], /the CID has the wrong length.*31 digits, an odd/],
    [["--huk", secret, "--cid", `${CARD}00`], /the CID has the wrong length/],
    [["--huk", secret, "--cid", "@none"], /none: cannot read the CID.*ENOENT/],
    [["--huk", "@none", "--cid", CARD], /none: cannot read the HUK.*ENOENT/],
    [["--huk", "@.", "--cid", CARD], /the HUK is a folder/],
    [["--huk", "-", "--cid", "-"], /only one of --huk and --cid/],
    [["--huk", secret, "--source", "zero-stub", "--cid", CARD], /zero-stub takes no --huk/],
    [["--huk", secret, "--source", "test-key"], /test key depends on no --huk/],
    [["--source", "test-key", "--usage", "ssk"], /no storage key/],
    [["--huk", secret, "--usage", "ssk", "--cid", CARD], /the ssk depends on no --cid/],
    [["--huk", secret, "--cid", CARD, "--die-id", "00".repeat(32)], /only the ssk/],
    [
      ["--huk", secret, "--usage", "ssk", "--die-id", "00".repeat(33)],
      /die id has the wrong.*2 to 64/,
    ],
    [["--source", "mkvb", "--cid", CARD], /"mkvb" is invalid.*caam-open/],
    [["--huk", secret, "--cid", CARD, "--recipient", "age1x"], /--out-key names none/],
    [["--huk", secret, "--cid", CARD, "--out-key", "k"], /nothing says for whom/],
    [["--huk", secret, "--cid", CARD, "--out-key", "k", "--plain", "--passphrase"], /several/],
    [
      ["--huk", secret, "--cid", CARD, "--out-key", "k", "--passphrase-fd", "x"],
      /number of a file/,
    ],
  ] as const)("%#: %j", async (args, message) => {
    const { code, stdout, stderr } = await derive(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.replaceAll('"', '"')).toMatch(message);
    expect(stderr).not.toMatch(/eeddcc|ddccbb/);
    expect(existsSync(path.join(cwd, "k"))).toBe(false);
  });

  test.each([
    ["a file with something else", Buffer.from([...Buffer.from(secret, "hex"), 7])],
    ["an empty file", ""],
    ["a long file", "ff".repeat(9000)],
    ["an odd count", secret.slice(3)],
  ])("%s", async (_name, bytes) => {
    for (const [huk, input] of [[`@${put(bytes)}`], ["-", bytes]] as const) {
      const { code, stdout, stderr } = await derive(["--huk", huk, "--cid", CARD], input);
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      expect(stderr).toMatch(/the HUK (?:is|has)/);
      expect(stderr).not.toMatch(/eeddcc|ddccbb/);
    }
  });

  test("a HUK that other users can read", async () => {
    const { code, stderr } = await derive(["--huk", `@${put(secret, 0o644)}`, "--cid", CARD]);
    expect([code, stderr]).toEqual([2, expect.stringMatching(/open to other users.*chmod 600/)]);
  });
});

describe("--out-key", () => {
  const args = ["--huk", `@${put(COUNTING)}`, "--cid", OTHER];

  test("writes an encrypted key and prints no key", async () => {
    const identity = await generateX25519Identity();
    const recipients = put(`# the vault\n${await identityToRecipient(identity)}\n`, 0o644);
    for (const [flag, value] of [
      ["--recipient", await identityToRecipient(identity)],
      ["--recipients-file", recipients],
    ] as const) {
      const file = path.join(cwd, `unit${flag}.age`);
      for (const explain of [[], ["--explain"]]) {
        const out = existsSync(file) ? `${file}.2` : file;
        const result = await derive([...args, "--out-key", out, flag, value, ...explain]);
        expect(result.code).toBe(0);
        expect(result.stdout + result.stderr).not.toContain(V3C);
        expect(result.stdout).toContain(out);
        expect(result.stderr).toMatch(/key id [0-9a-f]{16}/);
        const { key, encrypted } = await readKeyFile(out, { identities: [identity] });
        expect([encrypted, keyDigits(key)]).toEqual([true, V3C]);
      }
    }
  });

  test("in plain is warned of; what exists is never overwritten", async () => {
    const file = path.join(cwd, "plain.bin");
    const { code, stderr } = await derive([...args, "--out-key", file, "--plain", "--json"]);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/holds the key in plain/)]);
    expect([readFileSync(file).toString("hex"), statSync(file).mode & 0o777]).toEqual([V3C, 0o600]);
    const again = await derive([...args, "--out-key", file, "--plain"]);
    expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/never overwritten/)]);
  });

  test("takes a passphrase from a file descriptor, and it is in no argument", async () => {
    const file = path.join(cwd, "fd.age");
    const child = spawn(
      process.execPath,
      [LOCKSTEP, "rpmb", "derive", ...args, "--out-key", file, "--passphrase-fd", "3"],
      { cwd, env: cleanEnv(), stdio: ["ignore", "ignore", "ignore", "pipe"] },
    );
    const fd = child.stdio[3];
    if (fd === null || fd === undefined || !("end" in fd)) throw new Error("no descriptor 3");
    fd.end("correct horse\nnot this\n");
    expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0);
    const { key } = await readKeyFile(file, { passphrase: "correct horse" });
    expect(keyDigits(key)).toBe(V3C);
  });

  const missing = noPty();
  const onPty = missing === undefined ? test : test.skip;
  onPty(`asks for a passphrase twice and shows none of it (${missing ?? "python3"})`, async () => {
    const ask = async (
      name: string,
      typed: readonly string[],
    ): Promise<[number | null, string]> => {
      const file = path.join(cwd, name);
      const argv = [process.execPath, LOCKSTEP, "rpmb", "derive", ...args];
      const { code, stdout } = await onTerminal([...argv, "--out-key", file, "--passphrase"], {
        cwd,
        keepStdin: true,
        with: (child) => {
          let shown = "";
          let answered = 0;
          child.stdout?.on("data", (chunk: Buffer) => {
            shown += chunk.toString();
            const asked = shown.match(/Passphrase: |The same again: /g)?.length ?? 0;
            for (; answered < asked; answered += 1) child.stdin?.write(typed[answered] ?? "\u0003");
          });
          child.on("exit", () => child.stdin?.end());
        },
      });
      return [code, stdout.toString()];
    };
    // Both are the same, and only then is it found that the file is there already.
    writeFileSync(path.join(cwd, "tty.age"), "");
    const [code, shown] = await ask("tty.age", ["correcf\u007Ft horse\r", "correct horse\r"]);
    expect([code, shown]).toEqual([2, expect.stringContaining("never overwritten")]);
    expect(shown).not.toMatch(/corre|horse/);
    const [differ, why] = await ask("tty2.age", ["correct horse\r", "correct house\r"]);
    expect([differ, why]).toEqual([2, expect.stringMatching(/two passphrases differ/)]);
    const [stopped] = await ask("tty3.age", ["correct\u0003"]);
    expect(stopped).toBe(130);
  });
});
