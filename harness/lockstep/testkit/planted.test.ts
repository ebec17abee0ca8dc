import { expect, test } from "@jest/globals";
import { loadBoard } from "../../board/index.ts";
import { EmulatedTarget } from "../../platform/index.ts";
import { CLAUSES } from "../clauses/index.ts";
import { compareOn } from "./compare-run.ts";
import { PLANTED_BUGS, planting } from "./planted.ts";

const VM = { conduit: "vm", rules: "strict" } as const;

test.each(PLANTED_BUGS.map((bug) => [bug.name, bug] as const))(
  "planted, its scenario finds the clause that it breaks: %s",
  async (_, bug) => {
    const board = await loadBoard("emulated", { env: {} });
    const sound = new EmulatedTarget(board);
    const spoilt = new EmulatedTarget(board, { prepare: planting(bug) });
    const { cause } = await compareOn(spoilt, sound, bug, VM);
    expect(cause?.clauses[0]).toBe(bug.clause);
    expect({ call: cause?.call, field: cause?.fields[0]?.field }).toEqual(bug.seen);
    expect(CLAUSES.map(({ id }) => id)).toContain(bug.clause);
    // Nothing else was changed.
    expect((await compareOn(sound, new EmulatedTarget(board), bug, VM)).cause).toBeUndefined();
  },
);
