import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { packageRoot, SecretStore } from "../../base/index.ts";
import { KnownSecrets } from "./known-secrets.ts";
import { StreamMasker } from "./stream-masker.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

const GOLDEN = readFileSync(
  path.join(packageRoot, "harness/run/testdata/rpmb-write-key.secure.raw"),
);
/** The key that the golden log prints: published, so an exception. */
const PUBLISHED = "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493";
const PRIVATE = "a1b2c3d4e5f60718293a4b5c6d7e8f90112233445566778899aabbccddeeff00";

function masker(...values: string[]): StreamMasker {
  const store = new SecretStore();
  for (const value of values) store.add(value);
  return new StreamMasker(new KnownSecrets(store));
}

interface Whole {
  readonly text: string;
  readonly redactions: { offset: number; length: number; reason: string }[];
}

/** Feeds the pieces one after the other, then releases; redactions joined where they touch. */
function feed(subject: StreamMasker, pieces: readonly Uint8Array[]): Whole {
  const out: Buffer[] = [];
  const redactions: { offset: number; length: number; reason: string }[] = [];
  const steps = [...pieces.map((piece) => () => subject.push(piece)), () => subject.release()];
  for (const step of steps) {
    const masked = step();
    out.push(masked.bytes);
    for (const one of masked.redactions) {
      const last = redactions.at(-1);
      if (last?.reason === one.reason && last.offset + last.length === one.offset)
        last.length += one.length;
      else redactions.push({ ...one });
    }
  }
  return { text: Buffer.concat(out).toString("latin1"), redactions };
}

function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set(at.map((one) => one % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...places].map((from, i) => bytes.subarray(from, places[i] ?? bytes.length));
}

function spaced(hex: string): string {
  return (hex.match(/../g) ?? []).map((pair, i) => (i === 8 ? ` ${pair}` : pair)).join(" ");
}

function frameLine(at: number, byte: string): string {
  const bytes = Array.from({ length: 16 }, () => byte).join(" ");
  return `D/TC:? 0 tee_rpmb_req_pack:700 00000000e5402${at}50  ${bytes}\r\n`;
}

/** The golden dump with another key in it. */
function dumpOf(key: string): Buffer {
  const text = GOLDEN.toString("latin1")
    .replace(spaced(PUBLISHED.slice(0, 32)), spaced(key.slice(0, 32)))
    .replace(spaced(PUBLISHED.slice(32)), spaced(key.slice(32)));
  return Buffer.from(text, "latin1");
}

describe("known secrets", () => {
  test("are overwritten at equal length, wherever the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.string({ maxLength: 30 }),
        fc.string({ maxLength: 30 }),
        (cuts, before, after) => {
          const bytes = Buffer.from(`${before}hunter2-hunter3${after}\r\nhunter2`, "utf8");
          const { text, redactions } = feed(masker("hunter2"), cut(bytes, cuts));
          expect(text.length).toBe(bytes.length);
          expect(text).not.toContain("hunter2");
          const at = Buffer.byteLength(before);
          expect(redactions).toContainEqual({ offset: at, length: 7, reason: "known secret" });
          expect(text.slice(at + 7, at + 15)).toBe("-hunter3");
        },
      ),
    );
  });

  test("leave every other byte as it was, wherever the stream is cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(), { maxLength: 8 }),
        fc.uint8Array({ maxLength: 400 }),
        (cuts, bytes) => {
          const raw = Buffer.from(bytes);
          const { text, redactions } = feed(masker("correct horse"), cut(raw, cuts));
          expect(text).toBe(raw.toString("latin1"));
          expect(redactions).toEqual([]);
        },
      ),
    );
  });

  test("that end a stalled stream half-way are masked from their fourth byte on, and so is the rest", () => {
    const subject = masker("s3cr3t-value");
    expect(subject.push(Buffer.from("pw: s3cr3t")).bytes.toString()).toBe("pw: ");
    expect(subject.held).toBe(6);
    expect(subject.release().bytes.toString()).toBe("******");
    expect(subject.push(Buffer.from("-value\n")).bytes.toString()).toBe("******\n");
  });

  test("hold back no more than what may be the beginning of one", () => {
    const subject = masker("s3cr3t-value");
    expect(subject.push(Buffer.from("login: s")).bytes.toString()).toBe("login: ");
    expect(subject.push(Buffer.from("am\r\n")).bytes.toString()).toBe("sam\r\n");
    expect(subject.held).toBe(0);
  });

  test("registered while the stream runs are masked from then on", () => {
    const store = new SecretStore();
    const subject = new StreamMasker(new KnownSecrets(store));
    subject.push(Buffer.from("late-secret\n"));
    store.add("late-secret");
    expect(subject.push(Buffer.from("late-secret\n")).bytes.toString()).toBe("***********\n");
  });

  test("that everybody knows are left alone, and so are test patterns like them", () => {
    const counting = "000102030405060708090a0b0c0d0e0f";
    const { text, redactions } = feed(masker(counting, PUBLISHED, counting.toUpperCase()), [
      Buffer.from(`${counting} ${spaced(counting)} ${PUBLISHED}\n`),
    ]);
    expect(text).toBe(`${counting} ${spaced(counting)} ${PUBLISHED}\n`);
    expect(redactions).toEqual([]);
  });

  test("of several lines are masked line by line, as a console prints them", () => {
    const pem = "-----BEGIN KEY-----\nMIIabcdefgh\nijklmnopqr\n-----END KEY-----";
    const { text } = feed(masker(pem), [
      Buffer.from("-----BEGIN KEY-----\r\nMIIabcdefgh\r\nijklmnopqr\r\n-----END KEY-----\r\n"),
    ]);
    expect(text).toBe("-----BEGIN KEY-----\r\n***********\r\n**********\r\n-----END KEY-----\r\n");
  });

  test("in hex are found in either case and as spaced bytes of any dump", () => {
    const part = (PRIVATE.match(/../g) ?? []).slice(3, 19).join(" ");
    const { text } = feed(masker(PRIVATE), [
      Buffer.from(`x ${PRIVATE.toUpperCase()}\n00000010  ${part}  |....|\n`),
    ]);
    expect(text).toBe(`x ${"*".repeat(64)}\n00000010  ${"*".repeat(47)}  |....|\n`);
  });
});

describe("key dumps of a write-key build", () => {
  test("are masked on both lines, whatever the key, wherever the stream is cut", () => {
    const bytes = dumpOf(PRIVATE);
    const whole = feed(masker(), [bytes]);
    expect(whole.redactions).toHaveLength(2);
    expect(whole.redactions.map((one) => [one.length, one.reason])).toEqual([
      [48, "RPMB key dump"],
      [48, "RPMB key dump"],
    ]);
    expect(whole.text).not.toMatch(/a1 b2|90 11|ee ff/);
    expect(whole.text.length).toBe(bytes.length);
    // The CID above it is no secret.
    expect(whole.text).toContain("fe 01 4e 4d 4d 43 30 34");
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 20 }), (cuts) => {
        expect(feed(masker(), cut(bytes, cuts))).toEqual(whole);
      }),
    );
  });

  test("are masked the same when the stream is cut at any one byte, and so are whole frames", () => {
    const frame = `D/TC:? 0 tee_rpmb_req_pack:698 Dumping data frame 0:\r\n${[1, 2, 3].map((at) => frameLine(at, `${at}f`)).join("")}`;
    for (const bytes of [dumpOf(PRIVATE), Buffer.from(frame)]) {
      const whole = feed(masker(), [bytes]);
      expect(whole.redactions).toHaveLength(2);
      for (let at = 1; at < bytes.length; at += 1) {
        expect(feed(masker(), [bytes.subarray(0, at), bytes.subarray(at)])).toEqual(whole);
      }
    }
  });

  test("teach their key: it is masked wherever else it turns up, in any notation", () => {
    const store = new SecretStore();
    const subject = new StreamMasker(new KnownSecrets(store));
    const later = [
      `x ${PRIVATE}\n`,
      `y ${Buffer.from(PRIVATE, "hex").toString("base64")}\n`,
      `60000000: d4c3b2a1 1807f6e5 4d3c2b9a 01020304    ................\n`,
    ].join("");
    const { text } = feed(subject, [dumpOf(PRIVATE), Buffer.from(later)]);
    expect(text.slice(-later.length)).toBe(
      `x ${"*".repeat(64)}\ny ${"*".repeat(44)}\n60000000: ${"*".repeat(17)} 4d3c2b9a 01020304    ................\n`,
    );
    expect(store.size).toBe(1);
    feed(subject, [GOLDEN]);
    expect(store.size).toBe(1);
  });

  test("of a published emulation are left alone, as the golden log shows one", () => {
    expect(feed(masker(), [GOLDEN])).toEqual({
      text: GOLDEN.toString("latin1"),
      redactions: [],
    });
  });

  test("are masked although another core prints in between", () => {
    const text = dumpOf(PRIVATE)
      .toString("latin1")
      .replace(/(value:\r\n)/, "$1D/TC:1 0 net_up:12 link aa:bb:cc:dd:ee:ff\r\n");
    const { text: masked } = feed(masker(), [Buffer.from(text, "latin1")]);
    expect(masked).not.toMatch(/a1 b2|8f 90|11 22|ee ff 00/);
  });

  test("are masked when the announcing line was lost, by the function's name", () => {
    const text = dumpOf(PRIVATE)
      .toString("latin1")
      .replace(/.*Writing Key value:\r\n/, "");
    expect(feed(masker(), [Buffer.from(text, "latin1")]).redactions).toHaveLength(2);
  });

  test("that never end are not waited for: a silent board's bytes are released masked", () => {
    const subject = masker();
    const bytes = dumpOf(PRIVATE);
    const half = bytes.indexOf("a1 b2") + 20;
    const first = subject.push(bytes.subarray(0, half));
    expect(first.bytes.toString("latin1")).not.toContain("a1 b2");
    expect(subject.held).toBeGreaterThan(20);
    const rest = subject.release();
    expect(rest.bytes.toString("latin1")).not.toContain("a1 b2");
    expect(rest.redactions).toHaveLength(1);
    const end = subject.push(bytes.subarray(half));
    expect(end.bytes.toString("latin1")).not.toMatch(/8f 90|11 22|ee ff/);
  });

  test("RPMB-4.DEBUG_DATA: dumps of whole frames lose their key-or-MAC field only", () => {
    const text = `D/TC:? 0 tee_rpmb_req_pack:698 Dumping data frame 0:\r\n${frameLine(1, "aa")}${frameLine(2, "bb")}${frameLine(3, "cc")}`;
    const { text: masked, redactions } = feed(masker(), [Buffer.from(text)]);
    expect(redactions).toHaveLength(2);
    expect(masked).not.toMatch(/aa aa|bb bb/);
    expect(masked).toContain("cc cc cc");
  });
});

test("a key that follows its name is masked, a hash that follows something else is not", () => {
  const hash = "0f".repeat(32);
  const text = `RPMB key: ${PRIVATE}\nHUK=${PRIVATE.slice(0, 32)}\nsha256 ${hash}\nRPMB key: ${PUBLISHED}\n`;
  const { text: masked } = feed(masker(), [Buffer.from(text)]);
  expect(masked).toBe(
    `RPMB key: ${"*".repeat(64)}\nHUK=${"*".repeat(32)}\nsha256 ${hash}\nRPMB key: ${PUBLISHED}\n`,
  );
});

test("a line without end is passed on in bounded memory and stays byte for byte", () => {
  const subject = masker("never-there");
  const chunk = Buffer.alloc(1 << 20, "x");
  let bytes = 0;
  for (let i = 0; i < 64; i++) {
    bytes += subject.push(chunk).bytes.length;
    expect(subject.held).toBeLessThan(2048);
  }
  expect(bytes + subject.release().bytes.length).toBe(64 << 20);
});
