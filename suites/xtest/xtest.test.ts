import { test } from "@jest/globals";
import { CaseFailed, target } from "../support/target.ts";

// One test a case of the recorded list. A board runs xtest once and its results stream in here; the
// emulated platform runs the re-statement of the case where there is one.
for (const { id } of target.xtestCases) {
  test(id, async () => {
    const outcome = await target.xtest(id);
    if (outcome.status === "pass") return;
    if (outcome.status === "skip") target.skip(outcome.reason ?? "no reason given");
    throw new CaseFailed(`${outcome.status}: ${outcome.reason ?? "no reason given"}`);
  });
}
