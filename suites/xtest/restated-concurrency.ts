import type { Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, type TeecMemory, TeecParam } from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { allocateMemory, buffer } from "../support/client.ts";
import { CONCURRENT, CONCURRENT_LARGE } from "../support/tas.ts";
import { check, checkResult, type Restatement, restate } from "./restate.ts";

const THREADS = 3;
const LOOPS = 12;
/**
 * Every worker loads its TA anew: all loops are 144 of them, and on a real machine 15,000 SMCs, for a
 * busy loop takes it milliseconds, in each of which an interrupt comes.
 */
const LOOPS_OF_BRIDGED = 2;
const SHA_ROUNDS = 1000;
const BUSY_ROUNDS = 10 * SHA_ROUNDS;
const SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/** One thread of a client: its own session, one long command. Gives how many were busy with it. */
function* worker(
  { tee }: Restatement,
  uuid: string,
  command: number,
  shared: TeecMemory,
): Task<number> {
  const opened = yield* tee.openSession(uuid);
  // Secure RAM may be short for a third large instance; that is not what is tested.
  if (opened.result === TEEC.TEEC_ERROR_OUT_OF_MEMORY && uuid === CONCURRENT_LARGE.uuid) return 0;
  checkResult(opened, TEEC.TEEC_SUCCESS, "open session");
  if (opened.session === undefined) return 0;
  const sha = command === CONCURRENT.SHA256;
  const rounds = TeecParam.value(TEEC_PARAM.VALUE_INOUT, sha ? SHA_ROUNDS : BUSY_ROUNDS);
  const hash = buffer(tee, 32);
  const done = yield* tee.invokeCommand(opened.session, command, [
    TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INOUT, shared, 0, shared.size),
    rounds,
    ...(sha
      ? [
          TeecParam.temp(
            TEEC_PARAM.MEMREF_TEMP_INPUT,
            buffer(tee, new TextEncoder().encode("abc")),
          ),
          TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, hash),
        ]
      : []),
  ]);
  checkResult(done, TEEC.TEEC_SUCCESS, "the long command");
  if (sha) check(Buffer.from(hash.read()).toString("hex") === SHA256_OF_ABC, "the hash");
  yield* tee.closeSession(opened.session);
  return rounds.b;
}

function* together(run: Restatement, uuid: string, command: number): Task {
  const shared = yield* allocateMemory(run.tee, 4);
  const workers = Array.from({ length: THREADS }, (_, index) =>
    run.scheduler.spawn(`worker ${index}`, worker(run, uuid, command, shared)),
  );
  let most = 0;
  for (const one of workers) most = Math.max(most, yield* one.join());
  check(most >= 1 && most <= THREADS, `${most} threads were busy at once`);
  yield* run.tee.releaseSharedMemory(shared);
}

function* loops(run: Restatement, number: string, uuid: string): Task {
  const count = run.isBridged ? LOOPS_OF_BRIDGED : LOOPS;
  for (let loop = 0; loop < count; loop += 1) {
    yield* run.subcase(`${number}.${loop * 2 + 1}`, "Busy loops", () =>
      together(run, uuid, CONCURRENT.BUSY_LOOP),
    );
    yield* run.subcase(`${number}.${loop * 2 + 2}`, "SHA-256 loops", () =>
      together(run, uuid, CONCURRENT.SHA256),
    );
  }
}

export const regression_1013 = restate(
  "regression_1013",
  "Concurrent TAs",
  { clauses: ["SMC-4.3", "SMC-9.2", "MSG-2.1.3"], interrupts: 100 },
  function* (run) {
    yield* run.subcase("1", "Small TA", () => loops(run, "1", CONCURRENT.uuid));
    yield* run.subcase("2", "Large TA", () => loops(run, "2", CONCURRENT_LARGE.uuid));
  },
);
