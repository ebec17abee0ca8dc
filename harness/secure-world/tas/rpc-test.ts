import { TEEC } from "../../optee-abi/index.ts";
import { PrivateMemory } from "../memory-object.ts";
import { TaParam, type TaParams, taParams, TEE_PARAM } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import { CRYPT_CMD, CRYPT_UUID } from "./crypt.ts";
import type { TaInstance, TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const RPC_TEST_UUID = "d17f73a0-36ef-11e1-984a-0002a5d5c51b";
export const RPC_TEST_CMD = {
  CRYPT_SHA224: 1,
  CRYPT_SHA256: 2,
  CRYPT_AES256ECB_ENC: 3,
  CRYPT_AES256ECB_DEC: 4,
  CRYPT_PRIVMEM_SHA224: 6,
  CRYPT_PRIVMEM_SHA256: 7,
  CRYPT_PRIVMEM_AES256ECB_ENC: 8,
  CRYPT_PRIVMEM_AES256ECB_DEC: 9,
} as const;

const FORWARD: Readonly<Record<number, { readonly command: number; readonly copy: boolean }>> = {
  [RPC_TEST_CMD.CRYPT_SHA224]: { command: CRYPT_CMD.SHA224, copy: false },
  [RPC_TEST_CMD.CRYPT_SHA256]: { command: CRYPT_CMD.SHA256, copy: false },
  [RPC_TEST_CMD.CRYPT_AES256ECB_ENC]: { command: CRYPT_CMD.AES256ECB_ENC, copy: false },
  [RPC_TEST_CMD.CRYPT_AES256ECB_DEC]: { command: CRYPT_CMD.AES256ECB_DEC, copy: false },
  [RPC_TEST_CMD.CRYPT_PRIVMEM_SHA224]: { command: CRYPT_CMD.SHA224, copy: true },
  [RPC_TEST_CMD.CRYPT_PRIVMEM_SHA256]: { command: CRYPT_CMD.SHA256, copy: true },
  [RPC_TEST_CMD.CRYPT_PRIVMEM_AES256ECB_ENC]: { command: CRYPT_CMD.AES256ECB_ENC, copy: true },
  [RPC_TEST_CMD.CRYPT_PRIVMEM_AES256ECB_DEC]: { command: CRYPT_CMD.AES256ECB_DEC, copy: true },
};

/** Passes commands on to the crypt TA: with the client's memory, or through private memory. */
function* forward(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
  const how = FORWARD[command];
  if (how === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  const opened = yield* tee.openTaSession(CRYPT_UUID, taParams());
  if (opened.result !== TEEC.TEEC_SUCCESS) return opened.result;
  const given = how.copy ? taParams(...params.map(privateCopy)) : params;
  const { result } = yield* tee.invokeTaCommand(opened.session, how.command, given);
  yield* tee.closeTaSession(opened.session);
  if (how.copy) copyBack(given, params);
  return result;
}

function privateCopy(param: TaParam): TaParam {
  if (!param.isMemref) return TaParam.value(param.type, param.a, param.b);
  const bytes =
    param.type === TEE_PARAM.MEMREF_OUTPUT ? new Uint8Array(param.capacity) : param.read();
  return TaParam.memref(param.type, new PrivateMemory(bytes));
}

function copyBack(from: TaParams, to: TaParams): void {
  for (const [index, target] of to.entries()) {
    const source = from[index];
    if (source === undefined) continue;
    if (!target.isMemref) {
      target.a = source.a;
      target.b = source.b;
    } else if (target.type !== TEE_PARAM.MEMREF_INPUT) {
      target.size = source.size;
      target.write(source.read(0, Math.min(source.size, source.capacity)));
    }
  }
}

export const rpcTestTa: TrustedApplication = {
  name: "rpc_test",
  uuid: RPC_TEST_UUID,
  flags: 0,
  stackSize: 4 * 1024,
  dataSize: 32 * 1024,
  imageSize: 113_592,
  instantiate: (): TaInstance => ({ invoke: forward }),
};
