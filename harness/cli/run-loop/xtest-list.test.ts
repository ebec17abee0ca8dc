import { expect, test } from "@jest/globals";
import { loadBoard } from "../../board/index.ts";
import { expectedOn, wantedCases } from "./xtest-list.ts";

test("excluded cases are told apart by their full id, and a filter selects among them too", async () => {
  const board = await loadBoard("qemu-virt", { env: {} });
  const { list } = await expectedOn(undefined);
  const xtest = { ...board.xtest, exclude: ["regression_1004", "regression_1006"] };
  const config = { ...board, xtest: xtest as NonNullable<typeof board.xtest> };
  const ids = (patterns: string[]): [string[], string[]] => {
    const { run, excluded } = wantedCases(list, config, { patterns });
    return [run.map(({ id }) => id), excluded.map(({ id }) => id)];
  };
  const [run, excluded] = ids([]);
  expect(excluded).toEqual(["regression_1004", "regression_1006"]);
  // xtest's own -x works on substrings; ours must not take pkcs11_1004 along.
  expect(run).toContain("pkcs11_1004");
  expect(run).toHaveLength(list.cases.length - 2);
  expect(ids(["regression_100[3-5]$"])).toEqual([
    ["regression_1003", "regression_1005"],
    ["regression_1004"],
  ]);
});
