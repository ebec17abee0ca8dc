import type { Task } from "../../harness/machine/index.ts";
import {
  type FsRequest,
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import { FS_OP, resultName } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { buffer, openSession } from "../support/client.ts";
import { STORAGE } from "../support/tas.ts";

const { MEMREF_TEMP_INPUT, MEMREF_TEMP_OUTPUT, VALUE_INPUT, VALUE_INOUT } = TEEC_PARAM;
const TEE_STORAGE_PRIVATE = 1;
/** Read, write and write the metadata: TEE_DATA_FLAG_ACCESS_*. */
const ALL_ACCESS = 0x7;

const OP_NAMES = new Map<number, string>(Object.entries(FS_OP).map(([name, op]) => [op, name]));

/** A request as one line; descriptors are numbered in the order in which they appear. */
function lineOf(request: FsRequest, names: Map<number, string>): string {
  const op = OP_NAMES.get(request.op) ?? `op ${request.op}`;
  const result = request.result === 0 ? "" : ` ${resultName(request.result) ?? request.result}`;
  const { handle, name } = request;
  if (request.op === FS_OP.OPEN || request.op === FS_OP.CREATE) {
    if (request.result === 0 && !names.has(handle)) names.set(handle, `f${names.size}`);
    return `${op} ${name}${request.result === 0 ? ` = ${names.get(handle)}` : result}`;
  }
  if (name !== undefined) return `${op} ${name}${result}`;
  const file = names.get(handle) ?? `unknown ${handle}`;
  if (request.op === FS_OP.CLOSE) return `${op} ${file}${result}`;
  if (request.op === FS_OP.TRUNCATE) return `${op} ${file} to ${request.at}${result}`;
  return `${op} ${file} ${request.size} at ${request.at}${result}`;
}

/** The life of a persistent object, one command of the TA after the other. */
function* life(
  tee: TeecContext,
  session: TeecSession,
  begin: (step: string) => void,
): Task<number[]> {
  const results: number[] = [];
  const step = function* (name: string, command: number, params: TeecParam[]): Task {
    begin(name);
    results.push((yield* tee.invokeCommand(session, command, params)).result);
  };
  const input = (bytes: Uint8Array): TeecParam =>
    TeecParam.temp(MEMREF_TEMP_INPUT, buffer(tee, bytes));
  const text = (id: string): TeecParam => input(new TextEncoder().encode(id));
  const place = TeecParam.value(VALUE_INOUT, ALL_ACCESS, 0);
  yield* step("create", STORAGE.CREATE, [
    text("lockstep"),
    place,
    TeecParam.value(VALUE_INPUT, 0, TEE_STORAGE_PRIVATE),
    input(new Uint8Array(100).fill(7)),
  ]);
  const object = (b = 0): TeecParam => TeecParam.value(VALUE_INPUT, place.b, b);
  yield* step("write", STORAGE.WRITE, [input(new Uint8Array(5000).fill(9)), object()]);
  yield* step("seek", STORAGE.SEEK, [object(10), TeecParam.value(VALUE_INOUT, 0, 0)]);
  const read = buffer(tee, 64);
  yield* step("read", STORAGE.READ, [
    TeecParam.temp(MEMREF_TEMP_OUTPUT, read),
    TeecParam.value(VALUE_INOUT, place.b, 0),
  ]);
  results.push(read.read(0, 64).filter((byte) => byte === 7).length);
  yield* step("truncate", STORAGE.TRUNC, [object(20)]);
  yield* step("rename", STORAGE.RENAME, [object(), text("renamed")]);
  yield* step("close", STORAGE.CLOSE, [object()]);
  const again = TeecParam.value(VALUE_INOUT, ALL_ACCESS, 0);
  yield* step("open", STORAGE.OPEN, [
    text("renamed"),
    again,
    TeecParam.value(VALUE_INPUT, TEE_STORAGE_PRIVATE, 0),
  ]);
  yield* step("unlink", STORAGE.UNLINK, [TeecParam.value(VALUE_INPUT, again.b, 0)]);
  return results;
}

/**
 * A persistent object from its creation to its end, with every request that the secure world makes of
 * the supplicant's files on the way, the TA's own loading included.
 */
export const objectLife: Scenario = {
  conduits: ["direct", "hwdom", "vm"],
  clauses: [
    "MSG-3.FS",
    "MSG-3.1.OPEN",
    "MSG-3.1.CREATE",
    "MSG-3.1.CLOSE",
    "MSG-3.1.READ",
    "MSG-3.1.WRITE",
    "MSG-3.1.TRUNCATE",
    "MSG-3.1.REMOVE",
  ],
  rules: "strict",
  run: (context) => {
    const tee = context.client();
    const steps: Record<string, string[]> = {};
    let current: string[] = [];
    const names = new Map<number, string>();
    const begin = (step: string): void => {
      current = [];
      steps[step] = current;
    };
    const { supplicant } = context.guest().linux;
    if (supplicant === undefined) return null;
    supplicant.files.trace = (request) => current.push(lineOf(request, names));
    return context.execute(
      (function* (): Task<Data> {
        begin("load the TA");
        const session = yield* openSession(tee, STORAGE.uuid);
        const results = yield* life(tee, session, begin);
        return { results, steps };
      })(),
    );
  },
};
