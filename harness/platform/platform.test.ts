import { expect, test } from "@jest/globals";
import { TEEC } from "../optee-abi/index.ts";
import { TEEC_PARAM, TeecParam } from "../normal-world/index.ts";
import {
  CRYPT_CMD,
  CRYPT_UUID,
  INVOKE_TESTS_CMD,
  INVOKE_TESTS_UUID,
} from "../secure-world/index.ts";
import { createEmulated, EmulatedContext } from "./index.ts";

for (const conduit of ["direct", "hwdom", "vm"] as const) {
  test(`conduit ${conduit}: a client opens a pseudo-TA and a TA and invokes with values and memory`, () => {
    const context = new EmulatedContext(createEmulated({ conduit, seed: 1 }));
    const tee = context.client();
    const { memory } = tee.process;
    context.execute(
      (function* () {
        const pta = yield* tee.openSession(INVOKE_TESTS_UUID);
        expect(pta.result).toBe(TEEC.TEEC_SUCCESS);
        if (pta.session === undefined) return;
        const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, 40, 2);
        const invoked = yield* tee.invokeCommand(pta.session, INVOKE_TESTS_CMD.PARAMS, [value]);
        expect(invoked).toEqual({ result: 0, origin: 4 });
        expect(value.a).toBe(42);
        const ta = yield* tee.openSession(CRYPT_UUID);
        expect(ta.result).toBe(0);
        if (ta.session === undefined) return;
        const input = memory.allocate(3);
        const output = memory.allocate(32);
        if (input === undefined || output === undefined) throw new Error("no memory");
        input.write(new TextEncoder().encode("abc"));
        const hashed = yield* tee.invokeCommand(ta.session, CRYPT_CMD.SHA256, [
          TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, input),
          TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, output),
        ]);
        expect(hashed).toEqual({ result: 0, origin: 4 });
        expect(Buffer.from(output.read()).toString("hex")).toMatch(/^ba7816bf8f01cfea/);
        yield* tee.closeSession(pta.session);
        yield* tee.closeSession(ta.session);
        yield* tee.finalize();
      })(),
    );
  });
}
