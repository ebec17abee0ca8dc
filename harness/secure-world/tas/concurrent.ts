import { createHash } from "node:crypto";
import { TEEC } from "../../optee-abi/index.ts";
import { paramTypes, type TaParams, TEE_PARAM, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import type { TaInstance, TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const CONCURRENT_UUID = "e13010e0-2ae1-11e5-896a-0002a5d5c51b";
export const CONCURRENT_LARGE_UUID = "5ce0c432-0ab0-40e5-a056-782ca0e6aba2";
export const CONCURRENT_CMD = { BUSY_LOOP: 0, SHA256: 1 } as const;

const BUSY = paramTypes(TEE_PARAM.MEMREF_INOUT, TEE_PARAM.VALUE_INOUT);
const SHA256 = paramTypes(
  TEE_PARAM.MEMREF_INOUT,
  TEE_PARAM.VALUE_INOUT,
  TEE_PARAM.MEMREF_INPUT,
  TEE_PARAM.MEMREF_OUTPUT,
);

/** Keeps busy for parameter 1's `a` rounds; its `b` tells how many did so at the same time. */
function* invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
  const [shared, rounds, input, output] = params;
  const types = command === CONCURRENT_CMD.BUSY_LOOP ? BUSY : SHA256;
  if (command !== CONCURRENT_CMD.BUSY_LOOP && command !== CONCURRENT_CMD.SHA256) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  if (typesOf(params) !== types || shared.capacity < 4) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  if (types === SHA256 && output.capacity < 32) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  const total = rounds.a;
  rounds.b = shared.add(1);
  let hash: Uint8Array = new Uint8Array(0);
  for (let round = 0; round < total; round += 1) {
    if (types === SHA256) hash = createHash("sha256").update(input.read()).digest();
    if (round % 64 === 0) yield* tee.preempt();
  }
  if (types === SHA256) {
    output.write(hash);
    output.size = hash.length;
  }
  shared.add(-1);
  return TEEC.TEEC_SUCCESS;
}

const concurrent = (name: string, uuid: string, dataSize: number): TrustedApplication => ({
  name,
  uuid,
  flags: 0,
  stackSize: 2 * 1024,
  dataSize,
  imageSize: 113_576,
  instantiate: (): TaInstance => ({ invoke }),
});

export const concurrentTa = concurrent("concurrent", CONCURRENT_UUID, 32 * 1024);
export const concurrentLargeTa = concurrent(
  "concurrent_large",
  CONCURRENT_LARGE_UUID,
  2 * 1024 * 1024,
);
