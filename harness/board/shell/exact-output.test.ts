import { createHash } from "node:crypto";
import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { decodeExact } from "./exact-output.ts";

function encode(bytes: Uint8Array): string[] {
  return (
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,76}/g) ?? []
  );
}

function sum(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function sent(stdout: Uint8Array, stderr: Uint8Array): string[] {
  return [...encode(stdout), "-", ...encode(stderr), "-", `${sum(stdout)}  -`, `${sum(stderr)}  -`];
}

const bytes = fc.uint8Array({ maxLength: 300 });

test("both outputs are decoded, binary and empty ones included", () => {
  fc.assert(
    fc.property(bytes, bytes, (stdout, stderr) => {
      const decoded = decodeExact(sent(stdout, stderr).join("\n"));
      expect(Buffer.from(decoded.stdout ?? "missing")).toEqual(Buffer.from(stdout));
      expect(Buffer.from(decoded.stderr ?? "missing")).toEqual(Buffer.from(stderr));
    }),
  );
});

test("whole lines of other programs are passed over", () => {
  const data = Buffer.from("x".repeat(200));
  const lines = sent(data, new Uint8Array()).flatMap((line) => [
    "[   12.345678] random: crng init done",
    "D/TC:? 0 wd_ndrv_yielding_cb:85 Clearing pending",
    line,
  ]);
  expect(Buffer.from(decodeExact(lines.join("\r\n")).stdout ?? "")).toEqual(data);
});

test("damage is never taken for output", () => {
  fc.assert(
    fc.property(
      bytes,
      bytes,
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (stdout, stderr, at, mask) => {
        const text = Buffer.from(sent(stdout, stderr).join("\n"), "latin1");
        const place = at % text.length;
        text[place] = (text[place] ?? 0) ^ mask;
        const decoded = decodeExact(text.toString("latin1"));
        for (const [got, real] of [
          [decoded.stdout, stdout],
          [decoded.stderr, stderr],
        ] as const) {
          if (got !== undefined) expect(Buffer.from(got)).toEqual(Buffer.from(real));
        }
      },
    ),
    { numRuns: 1000 },
  );
});
