import type { Task } from "../../harness/machine/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import type { RpmbBuildOptions, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { keyId } from "../../harness/rpmb/index.ts";
import { DATA_FLAG, STORAGE_ID, StorageClient } from "../support/storage-client.ts";

/** The hardware unique keys of the boards that have one: those of the sheet's vectors V2 and V5. */
const COUNTING = "000102030405060708090a0b0c0d0e0f";
const FALLING = "ffeeddccbbaa99887766554433221100";

const NAME = Buffer.from("whose key");
const DATA = Buffer.from("kept where only one key writes");

/** Keeps an object in RPMB storage and reads it again. */
function* keep(context: ScenarioContext): Task<{ codes: number[]; same: boolean }> {
  const storage = yield* StorageClient.open(context.client());
  const flags = DATA_FLAG.ACCESS_READ | DATA_FLAG.ACCESS_WRITE | DATA_FLAG.OVERWRITE;
  const made = yield* storage.create(STORAGE_ID.RPMB, NAME, flags, DATA);
  const closed = yield* storage.close(made.object);
  const opened = yield* storage.openObject(STORAGE_ID.RPMB, NAME, DATA_FLAG.ACCESS_READ);
  const read = yield* storage.read(opened.object, DATA.length);
  const codes = [made, closed, opened, read].map(({ result }) => result);
  yield* storage.close(opened.object);
  yield* storage.end();
  return { codes, same: DATA.equals(read.bytes) };
}

/**
 * Blank parts with the CIDs of `args` are put in one after the other; each is used, and once more after
 * the machine was switched off and on.
 */
const programs = (build: RpmbBuildOptions): Scenario => ({
  conduits: ["direct", "vm"],
  rules: "strict",
  clauses: ["RPMB-3.1", "RPMB-3.2", "RPMB-5.2.NOT_PROGRAMMED", "RPMB-5.2.VERIFIED"],
  rpmb: { route: "supplicant", build },
  async run(context, args) {
    const parts = [];
    for (const cid of args as string[]) {
      if (parts.length > 0) await context.restart();
      const { part } = context.rpmb;
      part.replace({ cid });
      const first = context.execute(keep(context));
      const programmed = part.programmedKeyId;
      const proved = part.hasKey(part.derivedKey());
      const { writeCounter } = part;
      await context.restart();
      const again = context.execute(keep(context));
      parts.push({
        cid,
        ok: first.same && again.same,
        codes: [...first.codes, ...again.codes].filter((code) => code !== TEEC.TEEC_SUCCESS),
        programmed: programmed ?? "",
        derived: keyId(part.derivedKey()),
        proved,
        usedAgain: part.writeCounter > writeCounter && part.programmedKeyId === programmed,
      });
    }
    return parts;
  },
});

export const zeroStub = programs({});
export const given = programs({ huk: COUNTING, compat: false });
export const givenCompat = programs({ huk: FALLING });
export const testKey = programs({ testKey: true });
