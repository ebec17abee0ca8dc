import { appendFileSync } from "node:fs";
import { messageOf } from "../../base/index.ts";
import { perform } from "../perform.ts";
import { makePlan } from "../plan/plan.ts";
import { programKey } from "../write-key.ts";
import { CID, livePart, situation, someKey } from "./situations.ts";

/**
 * One process that performs the tests' usual plan on a part of its own:
 * `perform-once.js CODE LEDGER FILE 0|kill`. It notes the act in FILE; with `kill` it then dies.
 */
const [, , code = "", ledger = "", file = "", then = ""] = process.argv;
const { part, channel } = livePart();
const key = someKey();
try {
  const { judgement } = await perform({
    plan: makePlan(situation()),
    part,
    key,
    typedCid: CID,
    code,
    env: process.env,
    ledger,
    version: "0.0.0",
    act: async () => {
      await programKey(channel, key);
      appendFileSync(file, "one act\n");
      if (then === "kill") process.kill(process.pid, "SIGKILL");
      return "";
    },
  });
  process.stdout.write(judgement.verdict);
} catch (error) {
  process.stdout.write(messageOf(error));
}
