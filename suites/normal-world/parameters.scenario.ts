import type { Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, type TeecContext, TeecParam } from "../../harness/normal-world/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import {
  allocateMemory,
  buffer,
  openSession,
  registerMemory,
  uuidFromMemory,
} from "../support/client.ts";
import { CONCURRENT, CRYPT, DEVICES, INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

const client = (
  clauses: readonly string[],
  program: (tee: TeecContext) => Task<Data>,
): Scenario => ({
  conduits: ["vm", "direct", "hwdom"],
  clauses,
  run: (context) => context.execute(program(context.client())),
});

const text = (of: string): Uint8Array => new TextEncoder().encode(of);

/** One output and three input values, with the output in each place. */
export const values = client(["MSG-2.2.VALUE", "MSG-2.2.EXPORT", "MSG-5.VALUE"], function* (tee) {
  const session = yield* openSession(tee, INVOKE_TESTS.uuid);
  const sums: Data[] = [];
  for (let place = 0; place < 4; place += 1) {
    const params = [0, 1, 2, 3].map((index) =>
      index === place
        ? TeecParam.value(TEEC_PARAM.VALUE_OUTPUT)
        : TeecParam.value(TEEC_PARAM.VALUE_INPUT, 10 ** index, 0xffff_fff0 + index),
    );
    const { result } = yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, params);
    sums.push({ result, a: params[place]?.a, b: params[place]?.b });
  }
  return sums;
});

/** A temporary reference that starts within a page and spans several. */
export const temporaryMemref = client(
  ["MSG-5.MEMREF_TEMP", "TEE-5.TEMP", "MSG-1.4.2"],
  function* (tee) {
    const session = yield* openSession(tee, INVOKE_TESTS.uuid);
    const bytes = Uint8Array.from({ length: 16_384 }, (_, index) => index + 1);
    const memory = buffer(tee, bytes, 1000);
    const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, memory);
    const { result } = yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [memref]);
    const after = memory.read();
    return {
      result,
      sum: after[0],
      expected: bytes.reduce((total, byte) => (total + byte) & 0xff, 0),
      restUntouched: after.slice(1).every((byte, index) => byte === bytes[index + 1]),
    };
  },
);

/** SHA-256 of part of a registered buffer into another part of it. */
export const partialMemref = client(
  ["MSG-5.MEMREF_PARTIAL", "MSG-2.2.RMEM", "TEE-3.3.3"],
  function* (tee) {
    const session = yield* openSession(tee, CRYPT.uuid);
    const memory = yield* registerMemory(tee, buffer(tee, 9000, 123));
    memory.buffer.write(text("abc"), 5000);
    const { result } = yield* tee.invokeCommand(session, CRYPT.SHA256, [
      TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INPUT, memory, 5000, 3),
      TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_OUTPUT, memory, 8000, 64),
    ]);
    const hash = memory.buffer.read(8000, 32);
    const beyond = memory.buffer.read(8032, 32);
    yield* tee.releaseSharedMemory(memory);
    return { result, hash: Buffer.from(hash).toString("hex"), beyond };
  },
);

export const wholeMemref = client(["MSG-5.MEMREF_WHOLE"], function* (tee) {
  const session = yield* openSession(tee, CRYPT.uuid);
  const input = yield* allocateMemory(tee, 3, 1);
  input.buffer.write(text("abc"));
  const output = yield* allocateMemory(tee, 32, 2);
  const result = yield* tee.invokeCommand(session, CRYPT.SHA256, [
    TeecParam.whole(input),
    TeecParam.whole(output),
  ]);
  return { result: result.result, hash: Buffer.from(output.buffer.read(0, 32)).toString("hex") };
});

/** The size that would have been needed comes back, and nothing is written. */
export const shortBuffer = client(["MSG-2.2.EXPORT", "MSG-4.SHORT_BUFFER"], function* (tee) {
  const session = yield* openSession(tee, DEVICES.uuid);
  const output = buffer(tee, new Uint8Array(15).fill(0xee));
  const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, output);
  const { result, origin } = yield* tee.invokeCommand(session, DEVICES.GET_DEVICES, [memref]);
  return { result, origin, size: memref.size, untouched: output.read().every((b) => b === 0xee) };
});

/** NULL is told from an empty buffer; a NULL pointer with a size never leaves the library. */
export const nullMemref = client(
  ["MSG-5.NULL", "MSG-2.2.TMEM_NULL", "TEE-2.2.MEMREF", "TEE-5.NULL_TEMP"],
  function* (tee) {
    const pta = yield* openSession(tee, INVOKE_TESTS.uuid);
    const nothing = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, null);
    const toPta = yield* tee.invokeCommand(pta, INVOKE_TESTS.MEMREF_NULL, [nothing]);
    const ta = yield* openSession(tee, OS_TEST.uuid);
    const empty = buffer(tee, 1);
    const { MEMREF_TEMP_INPUT: input, MEMREF_TEMP_OUTPUT: output } = TEEC_PARAM;
    const shapes = (first: number): TeecParam[] => [
      TeecParam.temp(input, empty, first),
      TeecParam.temp(input, null),
      TeecParam.temp(output, empty, 0),
      TeecParam.temp(output, null),
    ];
    const toTa = yield* tee.invokeCommand(ta, OS_TEST.NULL_MEMREF_PARAMS, shapes(0));
    const notEmpty = yield* tee.invokeCommand(ta, OS_TEST.NULL_MEMREF_PARAMS, shapes(1));
    const local = yield* tee.invokeCommand(ta, OS_TEST.NULL_MEMREF_PARAMS, [
      TeecParam.temp(input, null, 5),
    ]);
    return {
      toPta: toPta.result,
      toTa: toTa.result,
      notEmpty: notEmpty.result,
      local: { ...local },
    };
  },
);

/** One byte beyond the end of shared memory never reaches the TA. */
export const outOfBounds = client(["TEE-2.2.CHECKS", "MSG-5.MEMREF_PARTIAL"], function* (tee) {
  const session = yield* openSession(tee, OS_TEST.uuid);
  const memory = yield* registerMemory(tee, buffer(tee, 6001));
  const invoked = yield* tee.invokeCommand(session, OS_TEST.PARAMS, [
    TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INPUT, memory, 3002, 3000),
  ]);
  yield* tee.releaseSharedMemory(memory);
  return { result: invoked.result, fromTa: invoked.origin === 4 };
});

/** A TA counts atomically in shared memory: aligned, and beginning at an odd byte, which faults. */
export const atomicInShared = client(
  ["MSG-5.MEMREF_PARTIAL", "MSG-2.4.TA_PANICKED"],
  function* (tee) {
    const memory = yield* allocateMemory(tee, 16);
    const results: Data[] = [];
    for (const at of [0, 4, 2, 1]) {
      const session = yield* openSession(tee, CONCURRENT.uuid);
      const { result, origin } = yield* tee.invokeCommand(session, CONCURRENT.BUSY_LOOP, [
        TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INOUT, memory, at, 8),
        TeecParam.value(TEEC_PARAM.VALUE_INOUT, 1),
      ]);
      results.push({ result, origin });
      yield* tee.closeSession(session);
    }
    yield* tee.releaseSharedMemory(memory);
    return results;
  },
);

/** Login classes as the TA sees them. */
export const logins: Scenario = {
  conduits: ["vm", "direct", "hwdom"],
  clauses: [
    "TEE-2.3.PUBLIC",
    "TEE-2.3.USER",
    "TEE-2.3.GROUP",
    "TEE-2.3.APPLICATION",
    "TEE-2.3.REE_KERNEL",
    "TEE-2.3.NAMESPACE",
    "MSG-2.1.1",
  ],
  run: (context) => {
    const tee = context.client();
    return context.execute(
      (function* (): Task<Data> {
        const seen: Data[] = [];
        for (const options of [{ login: 0 }, { login: 1 }, { login: 2, group: 0 }]) {
          const session = yield* openSession(tee, OS_TEST.uuid, options);
          const login = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
          const uuid = buffer(tee, 16);
          yield* tee.invokeCommand(session, OS_TEST.CLIENT_IDENTITY, [
            login,
            TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, uuid),
          ]);
          seen.push({ login: login.a, uuid: uuidFromMemory(uuid.read()) });
          yield* tee.closeSession(session);
        }
        const refused: number[] = [];
        for (const options of [{ login: 2, group: 4711 }, { login: 4 }, { login: 0x8000_0000 }]) {
          refused.push((yield* tee.openSession(OS_TEST.uuid, options)).origin);
        }
        return { seen, refused };
      })(),
    );
  },
};
