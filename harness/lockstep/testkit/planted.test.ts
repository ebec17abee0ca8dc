import { expect, test } from "@jest/globals";
import { loadBoard } from "../../board/index.ts";
import { type Data, EmulatedTarget } from "../../platform/index.ts";
import { CLAUSES } from "../clauses/index.ts";
import { PLANTED_BUGS, type PlantedBug, planting } from "./planted.ts";

/** What the bug's scenario says, with and without it. */
async function outcomes(bug: PlantedBug): Promise<[sound: Data, spoilt: Data]> {
  const board = await loadBoard("emulated", { env: {} });
  const run = (prepare?: ReturnType<typeof planting>): Promise<Data> =>
    new EmulatedTarget(board, prepare === undefined ? {} : { prepare }).run(bug.scenario, null);
  return [await run(), await run(planting(bug))];
}

test.each(PLANTED_BUGS.map((bug) => [bug.name, bug] as const))(
  "planted, its scenario sees that %s",
  async (_, bug) => {
    const [sound, spoilt] = await outcomes(bug);
    expect(spoilt).not.toEqual(sound);
    expect(CLAUSES.map(({ id }) => id)).toContain(bug.clause);
  },
);
