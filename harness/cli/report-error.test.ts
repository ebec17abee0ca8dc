import { expect, test } from "@jest/globals";
import { DeadlineError, secrets } from "../base/index.ts";
import { reportError } from "./app.ts";
import { lastWords } from "./process.ts";
import { makeStyle } from "./style.ts";

const KEY = "c1d2e3f405162738495a6b7c8d9eafb0213243546576879809bacbdcedfe0f1e";
const pairs = KEY.match(/../g) ?? [];

const CONSOLE = [
  "legacy_rpmb_init:1189 RPMB INIT: Auth key not yet written",
  "tee_rpmb_write_and_verify_key:1090 RPMB INIT: Writing Key value:",
  `tee_rpmb_write_and_verify_key:1091 000000007d0bd3d0  ${pairs.slice(0, 16).join(" ")}`,
  `tee_rpmb_write_and_verify_key:1091 000000007d0bd3e0  ${pairs.slice(16).join(" ")}`,
  "xtest: waiting",
];

test("an error that quotes a console on which a write-key build printed its key shows the lines and not the key", async () => {
  const written: string[] = [];
  const context = {
    err: (text: string) => {
      written.push(text);
    },
    style: { out: makeStyle(false), err: makeStyle(false) },
  };
  const seen = `\n${CONSOLE.map((line) => `  | ${line}`).join("\n")}\n`;
  const error = new DeadlineError("the first use did not end in time", {
    seen,
    cause: new Error(`console: ${CONSOLE.join(" / ")}; rpmb key ${KEY}`),
  });
  await reportError(error, context, true);
  const text = written.join("\n");
  expect(text).toContain("RPMB INIT: Writing Key value:");
  expect(text).toContain("xtest: waiting");
  expect(text).toContain("console: legacy_rpmb_init");
  expect(text).not.toContain(KEY);
  for (let at = 0; at < pairs.length; at += 4) {
    expect(text).not.toContain(pairs.slice(at, at + 4).join(" "));
  }
});

test("an error that nobody caught shows no known secret, its stack neither", () => {
  const secret = "correct-horse-4711";
  secrets.add(secret);
  const text = lastWords(new Error(`login with ${secret} failed`), true);
  expect(text).toMatch(/^lockstep: internal error: login with \*+ failed/);
  expect(text).toMatch(/\n +at /);
  expect(text).not.toContain(secret);
});
