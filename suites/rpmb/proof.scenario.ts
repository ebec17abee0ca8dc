import type { Task } from "../../harness/machine/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import type { Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { FRAME, numberOf, RPMB_REQUEST, RPMB_RESULT } from "../../harness/rpmb/index.ts";
import { DATA_FLAG, STORAGE_ID, StorageClient } from "../support/storage-client.ts";

/** Has OP-TEE use its RPMB storage; the result that the client gets. */
function* use(context: ScenarioContext): Task<number> {
  const storage = yield* StorageClient.open(context.client());
  const flags = DATA_FLAG.ACCESS_READ | DATA_FLAG.OVERWRITE;
  const { result, object } = yield* storage.create(
    STORAGE_ID.RPMB,
    Buffer.from("proof"),
    flags,
    Buffer.from("of a key"),
  );
  if (result === TEEC.TEEC_SUCCESS) yield* storage.close(object);
  yield* storage.end();
  return result;
}

/**
 * A blank part with the CID in `args` is used by an OP-TEE. Gives OP-TEE's own first
 * authenticated write, whose MAC nobody else can have made, and whether the part took it. Keys stay
 * where they are: of one that is programmed only the id is told.
 */
const ownWrite = (anyBuild: boolean): Scenario => ({
  conduits: ["direct", "vm"],
  rules: "strict",
  clauses: ["RPMB-1.1", "RPMB-5.5.DUMMY_WRITE"],
  rpmb: { route: "supplicant", ...(anyBuild && { anyBuild }) },
  run(context, args) {
    const { part } = context.rpmb;
    part.replace({ cid: args as string });
    let write = "";
    let taken = false;
    let reads = 0;
    part.tamper({
      response(answer, request) {
        const type = numberOf(request, FRAME.type);
        if (type === RPMB_REQUEST.READ_COUNTER) reads += 1;
        if (type === RPMB_REQUEST.WRITE_DATA && write === "") {
          write = Buffer.from(request).toString("hex");
          taken = numberOf(answer, FRAME.result) === RPMB_RESULT.OK;
        }
        return answer;
      },
    });
    let code = 0;
    try {
      code = context.execute(use(context));
    } finally {
      part.tamper({});
    }
    const programmed = part.programmedKeyId ?? "";
    return { write, taken, reads, programmed, code, counter: part.writeCounter };
  },
});

/** With the build whose key is known beforehand. */
export const usual = ownWrite(false);
/** With whatever build the board has: what `lockstep rpmb verify --over bridge` runs. */
export const asBuilt = ownWrite(true);
