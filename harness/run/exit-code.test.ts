import { expect, test } from "@jest/globals";
import { EXIT } from "../base/index.ts";
import { exitCodeFor, exitCodeOfCase } from "./exit-code.ts";
import { STATUSES } from "./model.ts";

test("each status asks for the exit code that the command line promises", () => {
  const codes = Object.fromEntries(STATUSES.map((status) => [status, exitCodeOfCase({ status })]));
  expect(codes).toEqual({
    pass: 0,
    fail: 1,
    error: 1,
    crash: 5,
    timeout: 4,
    skip: 0,
    miss: 6,
    xfail: 0,
    xpass: 1,
  });
});

test("an error that the lab must mend asks for 3", () => {
  expect(exitCodeOfCase({ status: "error", infrastructure: true })).toBe(EXIT.infrastructure);
});

test("of several the worst wins: 70, 2, 3, 5, 4, 6, 1", () => {
  expect(exitCodeFor([{ status: "fail" }, { status: "miss" }])).toBe(6);
  expect(exitCodeFor([{ status: "miss" }, { status: "timeout" }])).toBe(4);
  expect(exitCodeFor([{ status: "timeout" }, { status: "crash" }])).toBe(5);
  expect(exitCodeFor([{ status: "crash" }], [EXIT.infrastructure])).toBe(3);
  expect(exitCodeFor([{ status: "pass" }], [EXIT.usage, EXIT.infrastructure])).toBe(2);
  expect(exitCodeFor([{ status: "pass" }, { status: "skip" }])).toBe(0);
});
