import type { Task } from "../../harness/machine/index.ts";
import type { TeecResult } from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { StorageClient } from "../support/storage-client.ts";
import type { StorageCase } from "./storage-cases.ts";
import { checkResult } from "./restate.ts";

type Step = (client: StorageClient) => Task<TeecResult>;

/** A step that ends the TA, in a session of its own. */
export function* panics({ run }: Pick<StorageCase, "run">, what: string, step: Step): Task {
  const client = yield* StorageClient.open(run.tee);
  checkResult(yield* step(client), TEEC.TEEC_ERROR_TARGET_DEAD, what);
  yield* client.end();
}

/** Subcases each of which ends the TA. */
export function* panicCases(
  one: StorageCase,
  cases: readonly (readonly [number: string, title: string, step: Step])[],
): Task {
  for (const [number, title, step] of cases) {
    yield* one.run.subcase(`${one.number}.${number}`, title, () => panics(one, title, step));
  }
}
