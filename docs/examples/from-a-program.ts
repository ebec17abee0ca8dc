/**
 * Scenarios without the command line: runs some of them on a target of one's own and on the emulated
 * platform, and says which answers differ.
 */
import { isDeepStrictEqual } from "node:util";
import { loadBoard } from "tee-lockstep/board";
import { type Data, EmulatedTarget, type OwnTarget } from "tee-lockstep/platform";

/** The scenarios whose answers on `own` are not those of Lockstep's own platform, with both. */
export async function differences(
  own: OwnTarget,
  references: readonly string[],
): Promise<readonly { readonly reference: string; readonly lockstep: Data; readonly own: Data }[]> {
  const board = await loadBoard("emulated", { env: {} });
  const known = new EmulatedTarget(board);
  const mine = new EmulatedTarget(board, { own });
  const found = [];
  for (const reference of references) {
    const on = { conduit: "vm", rules: "strict" } as const;
    const answers = {
      lockstep: await known.run(reference, null, on),
      own: await mine.run(reference, null, on),
    };
    if (!isDeepStrictEqual(answers.lockstep, answers.own)) found.push({ reference, ...answers });
  }
  return found;
}
