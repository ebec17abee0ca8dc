import type { Task } from "../../harness/machine/index.ts";
import type { Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { DATA_FLAG, STORAGE_ID, StorageClient } from "../support/storage-client.ts";

const NAME = Buffer.from("for one boot");
const DATA = Buffer.from("forgotten with it");
const PLACE = STORAGE_ID.RPMB;

/** Looks for the object, makes it, and looks again in the same boot. */
function* oneBoot(context: ScenarioContext): Task<number[]> {
  const storage = yield* StorageClient.open(context.client());
  const codes: number[] = [];
  const look = function* (): Task {
    const { result, object } = yield* storage.openObject(PLACE, NAME, DATA_FLAG.ACCESS_READ);
    codes.push(result);
    if (result === 0) yield* storage.close(object);
  };
  yield* look();
  const made = yield* storage.create(PLACE, NAME, DATA_FLAG.ACCESS_WRITE, DATA);
  codes.push(made.result);
  yield* storage.close(made.object);
  yield* look();
  yield* storage.end();
  return codes;
}

/** A build that resets the file table, over three boots on one part. */
export const threeBoots: Scenario = {
  conduits: ["direct", "vm"],
  rules: "strict",
  clauses: ["RPMB-4.RESET_FAT"],
  rpmb: { route: "supplicant", build: { resetFat: true } },
  async run(context) {
    const { part } = context.rpmb;
    const boots: number[][] = [];
    const counters: number[] = [];
    for (let boot = 0; boot < 3; boot += 1) {
      if (boot > 0) await context.restart();
      boots.push(context.execute(oneBoot(context)));
      counters.push(part.writeCounter);
    }
    return { boots, counters, sameKey: part.hasKey(part.derivedKey()) };
  },
};
