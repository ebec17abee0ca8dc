import type { Task } from "../../harness/machine/index.ts";
import {
  TEEC_PARAM,
  type TeecMemory,
  TeecParam,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { NIL_UUID, uuidV5 } from "../../harness/base/index.ts";
import {
  allocateMemory,
  buffer,
  openSession,
  registerMemory,
  uuidFromMemory,
} from "../support/client.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";
import { check, checkResult, type Restatement, restate, SubcaseSkipped } from "./restate.ts";

const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const PAGE = 4096;
const {
  MEMREF_TEMP_INPUT,
  MEMREF_TEMP_OUTPUT,
  MEMREF_TEMP_INOUT,
  MEMREF_PARTIAL_INPUT,
  MEMREF_PARTIAL_OUTPUT,
} = TEEC_PARAM;

export const regression_1016 = restate(
  "regression_1016",
  "Memory references between TAs",
  { clauses: ["MSG-2.4.TA_RETURNED", "MSG-5.MEMREF_TEMP"] },
  function* ({ tee }) {
    const session = yield* openSession(tee, OS_TEST.uuid);
    checkResult(yield* tee.invokeCommand(session, OS_TEST.TA2TA_MEMREF), OK, "32 bytes each way");
    const empty = [MEMREF_TEMP_INPUT, MEMREF_TEMP_INOUT, MEMREF_TEMP_OUTPUT].map((type) =>
      TeecParam.temp(type, buffer(tee, 4), 0),
    );
    const nothing = yield* tee.invokeCommand(session, OS_TEST.TA2TA_MEMREF_SIZE0, empty);
    checkResult(nothing, OK, "references to no bytes");
    yield* tee.closeSession(session);
  },
);

/** Two adjacent input parts and two output parts, the last of `lastPages` pages at page 6 of 8. */
const parts = (memory: TeecMemory, lastPages: number): TeecParam[] => [
  TeecParam.partial(MEMREF_PARTIAL_INPUT, memory, 0, PAGE),
  TeecParam.partial(MEMREF_PARTIAL_INPUT, memory, PAGE, PAGE),
  TeecParam.partial(MEMREF_PARTIAL_OUTPUT, memory, 4 * PAGE, PAGE),
  TeecParam.partial(MEMREF_PARTIAL_OUTPUT, memory, 6 * PAGE, lastPages * PAGE),
];

export const regression_1017 = restate(
  "regression_1017",
  "Adjacent parts of shared memory",
  { clauses: ["MSG-2.2.RMEM", "MSG-5.MEMREF_PARTIAL", "TEE-3.3.SHM_ALLOC"] },
  function* ({ tee }) {
    const memory = yield* allocateMemory(tee, 8 * PAGE);
    const session = yield* openSession(tee, OS_TEST.uuid);
    const done = yield* tee.invokeCommand(session, OS_TEST.PARAMS, parts(memory, 2));
    checkResult(done, OK, "four parts of one buffer");
    yield* tee.closeSession(session);
    yield* tee.releaseSharedMemory(memory);
  },
);

/** Half of the memory, ending one byte beyond it. */
function byOne(memory: TeecMemory): TeecParam[] {
  const half = Math.floor(memory.size / 2);
  return [TeecParam.partial(MEMREF_PARTIAL_INPUT, memory, memory.size - half + 1, half)];
}

/** The reference is refused before the TA sees it. */
function* refused(run: Restatement, session: TeecSession, params: TeecParam[]): Task {
  const done = yield* run.tee.invokeCommand(session, OS_TEST.PARAMS, params);
  check(done.origin !== 4, "the TA was not reached");
  check(
    done.result === BAD || done.result === TEEC.TEEC_ERROR_GENERIC,
    `refused, with 0x${done.result.toString(16)}`,
  );
}

export const regression_1018 = restate(
  "regression_1018",
  "References out of bounds",
  { clauses: ["TEE-2.2.CHECKS", "MSG-5.MEMREF_PARTIAL"] },
  function* (run) {
    const { tee } = run;
    const session = yield* openSession(tee, OS_TEST.uuid);
    const cases: { title: string; make: () => Task<TeecMemory>; params: typeof byOne }[] = [
      {
        title: "By a page on allocated memory",
        make: () => allocateMemory(tee, 8 * PAGE),
        params: (memory) => parts(memory, 3),
      },
      {
        title: "By a byte on registered memory",
        make: () => registerMemory(tee, buffer(tee, 6001)),
        params: byOne,
      },
      {
        title: "By a byte on allocated memory",
        make: () => allocateMemory(tee, 6001),
        params: byOne,
      },
    ];
    for (const [index, { title, make, params }] of cases.entries()) {
      yield* run.subcase(String(index + 1), title, function* () {
        const memory = yield* make();
        yield* refused(run, session, params(memory));
        yield* tee.releaseSharedMemory(memory);
      });
    }
    yield* tee.closeSession(session);
  },
);

export const regression_1025 = restate(
  "regression_1025",
  "NULL and empty memory references",
  { clauses: ["MSG-5.NULL", "MSG-2.2.TMEM_NULL", "TEE-2.2.MEMREF", "TEE-5.NULL_TEMP"] },
  function* (run) {
    const { tee } = run;
    yield* run.subcase("1", "NULL cannot be registered", function* () {
      for (const flags of [1, 2]) {
        checkResult(yield* tee.registerSharedMemory(null, flags), BAD, "register NULL");
      }
    });
    if (!tee.memrefNull) throw new SubcaseSkipped("no NULL references on this TEE");
    const session = yield* openSession(tee, OS_TEST.uuid);
    const empty = buffer(tee, 1);
    const shapes = (first: number): TeecParam[] => [
      TeecParam.temp(MEMREF_TEMP_INPUT, empty, first),
      TeecParam.temp(MEMREF_TEMP_INPUT, null),
      TeecParam.temp(MEMREF_TEMP_OUTPUT, empty, 0),
      TeecParam.temp(MEMREF_TEMP_OUTPUT, null),
    ];
    const invoke = (first: number): ReturnType<typeof tee.invokeCommand> =>
      tee.invokeCommand(session, OS_TEST.NULL_MEMREF_PARAMS, shapes(first));
    yield* run.subcase("2", "NULL and empty, both ways", function* () {
      checkResult(yield* invoke(0), OK, "empty and NULL");
    });
    yield* run.subcase("3", "An input that is not empty", function* () {
      checkResult(yield* invoke(1), BAD, "one byte");
    });
    yield* run.subcase("4", "NULL to a pseudo-TA", function* () {
      const pta = yield* openSession(tee, INVOKE_TESTS.uuid);
      const nothing = TeecParam.temp(MEMREF_TEMP_INOUT, null);
      checkResult(yield* tee.invokeCommand(pta, INVOKE_TESTS.MEMREF_NULL, [nothing]), OK, "NULL");
      yield* tee.closeSession(pta);
    });
    yield* tee.closeSession(session);
  },
);

const NAMESPACE = "58ac9ca0-2086-4683-a1b8-ec4bc08e01b6";

/** Opens a session with a login class and compares who the TA sees with `expected`. */
function identity(
  id: string,
  title: string,
  options: { readonly login: number; readonly group?: number },
  expected: string,
  ...own: readonly string[]
): ReturnType<typeof restate> {
  const clauses = [...own, "MSG-2.1.1", "MSG-2.1.P1"];
  return restate(id, title, { clauses }, function* ({ tee }) {
    const session = yield* openSession(tee, OS_TEST.uuid, options);
    const login = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
    const uuid = buffer(tee, 16);
    const asked = yield* tee.invokeCommand(session, OS_TEST.CLIENT_IDENTITY, [
      login,
      TeecParam.temp(MEMREF_TEMP_OUTPUT, uuid),
    ]);
    checkResult(asked, OK, "client identity");
    check(login.a === options.login, `login class ${login.a}`);
    check(uuidFromMemory(uuid.read()) === expected, "client UUID");
    yield* tee.closeSession(session);
  });
}

export const regression_1026 = identity(
  "regression_1026",
  "Public login",
  { login: 0 },
  NIL_UUID,
  "TEE-2.3.PUBLIC",
);
export const regression_1027 = identity(
  "regression_1027",
  "Login of the current user",
  { login: 1 },
  uuidV5(NAMESPACE, "uid=0"),
  "TEE-2.3.USER",
  "TEE-2.3.NAMESPACE",
);
export const regression_1028 = identity(
  "regression_1028",
  "Login of the current group",
  { login: 2, group: 0 },
  uuidV5(NAMESPACE, "gid=0"),
  "TEE-2.3.GROUP",
  "TEE-2.3.NAMESPACE",
);
