import { TEEC, TEEC_ORIGIN } from "../../optee-abi/index.ts";
import { PrivateMemory } from "../memory-object.ts";
import { paramTypes, TaParam, type TaParams, taParams, TEE_PARAM, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import { CRYPT_CMD, CRYPT_UUID } from "./crypt.ts";
import type { EntryResult, TaInstance, TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";
import { uuidToMemory } from "./uuid-memory.ts";

export const OS_TEST_UUID = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b";
export const OS_TEST_CMD = {
  INIT: 0,
  CLIENT_WITH_TIMEOUT: 1,
  PANIC: 6,
  CLIENT: 7,
  WAIT: 9,
  BAD_MEM_ACCESS: 10,
  TA2TA_MEMREF: 11,
  TA2TA_MEMREF_MIX: 12,
  PARAMS: 13,
  NULL_MEMREF_PARAMS: 19,
  CLIENT_IDENTITY: 20,
  TA2TA_MEMREF_SIZE0: 37,
} as const;

const { MEMREF_INPUT, MEMREF_INOUT, MEMREF_OUTPUT, VALUE_INPUT, VALUE_OUTPUT } = TEE_PARAM;
const IN_INOUT_OUT = paramTypes(MEMREF_INPUT, MEMREF_INOUT, MEMREF_OUTPUT);
const TWO_IN_TWO_OUT = paramTypes(MEMREF_INPUT, MEMREF_INPUT, MEMREF_OUTPUT, MEMREF_OUTPUT);
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OK = TEEC.TEEC_SUCCESS;
const SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
/** Buffer of the transfers between TAs, in bytes. */
const TRANSFER_SIZE = 32;

/** A TA for tests of what the TEE does for TAs: parameters, time, panics, TAs as clients. */
function invoke(tee: TeeApi, command: number, params: TaParams): EntryResult {
  tee.maskCancellation(false);
  switch (command) {
    case OS_TEST_CMD.INIT:
      // Asks for the TA's persistent time, which nobody has set.
      return TEEC.TEEC_ERROR_TIME_NOT_SET;
    case OS_TEST_CMD.PANIC:
      return tee.panic(0xdead_beef);
    case OS_TEST_CMD.CLIENT:
      return clientOfCrypt(tee);
    case OS_TEST_CMD.CLIENT_WITH_TIMEOUT:
      return clientWithTimeout(tee, params);
    case OS_TEST_CMD.WAIT:
      return tee.wait(params[0].a);
    case OS_TEST_CMD.BAD_MEM_ACCESS:
      return badAccess(tee, params);
    case OS_TEST_CMD.TA2TA_MEMREF:
      return transfer(tee, params);
    case OS_TEST_CMD.TA2TA_MEMREF_MIX:
      return mix(params);
    case OS_TEST_CMD.TA2TA_MEMREF_SIZE0:
      return transferNothing(tee, params);
    case OS_TEST_CMD.PARAMS:
      if (typesOf(params) !== TWO_IN_TWO_OUT) return BAD;
      return params.every((param) => !param.isNull && param.size > 0) ? OK : BAD;
    case OS_TEST_CMD.NULL_MEMREF_PARAMS:
      return nullMemrefs(params);
    case OS_TEST_CMD.CLIENT_IDENTITY:
      return identity(tee, params);
    default:
      return BAD;
  }
}

function* clientOfCrypt(tee: TeeApi): SecureTask<number> {
  const opened = yield* tee.openTaSession(CRYPT_UUID, taParams());
  if (opened.result !== OK) return opened.result;
  const input = new PrivateMemory(new TextEncoder().encode("abc"));
  const hash = new PrivateMemory(new Uint8Array(32));
  const { result } = yield* tee.invokeTaCommand(
    opened.session,
    CRYPT_CMD.SHA256,
    taParams(TaParam.memref(MEMREF_INPUT, input), TaParam.memref(MEMREF_OUTPUT, hash)),
  );
  yield* tee.closeTaSession(opened.session);
  if (result !== OK) return result;
  const right = Buffer.from(hash.bytes).toString("hex") === SHA256_OF_ABC;
  return right ? OK : TEEC.TEEC_ERROR_GENERIC;
}

/** Invokes a wait of its own kind with half the time as timeout: it must end as cancelled. */
function* clientWithTimeout(tee: TeeApi, params: TaParams): SecureTask<number> {
  if (typesOf(params) !== paramTypes(VALUE_INPUT)) return BAD;
  const opened = yield* tee.openTaSession(OS_TEST_UUID, taParams());
  if (opened.result !== OK) return opened.result;
  const half = Math.floor(params[0].a / 2);
  const { result, origin } = yield* tee.invokeTaCommand(
    opened.session,
    OS_TEST_CMD.WAIT,
    params,
    half,
  );
  yield* tee.closeTaSession(opened.session);
  const cancelled =
    result === TEEC.TEEC_ERROR_CANCEL && origin === TEEC_ORIGIN.TEEC_ORIGIN_TRUSTED_APP;
  return cancelled ? OK : TEEC.TEEC_ERROR_GENERIC;
}

/** Kinds 1 to 7 stand for bad reads, writes, jumps and an undefined instruction: all end the TA. */
function badAccess(tee: TeeApi, params: TaParams): number {
  const types = typesOf(params);
  if (types !== paramTypes(VALUE_INPUT) && types !== paramTypes(VALUE_INPUT, MEMREF_INOUT)) {
    return BAD;
  }
  const kind = params[0].a;
  if (kind < 1 || kind > 7) return OK;
  if (kind <= 2 && params[1].isMemref) params[1].write(Uint8Array.of(0), params[1].capacity);
  return tee.panic(0xdeaf_0000 + kind);
}

function* transfer(tee: TeeApi, params: TaParams): SecureTask<number> {
  if (typesOf(params) !== 0) return BAD;
  const opened = yield* tee.openTaSession(OS_TEST_UUID, taParams());
  if (opened.result !== OK) return opened.result;
  const buffers = [5, 10, 0].map((fill) => new Uint8Array(TRANSFER_SIZE).fill(fill));
  const [input, inout, output] = buffers.map((bytes) => new PrivateMemory(bytes));
  let result: number = OK;
  for (let turn = 0; turn < 2 && result === OK; turn += 1) {
    if (turn === 1) for (const bytes of buffers) for (const i of bytes.keys()) bump(bytes, i);
    const call = yield* tee.invokeTaCommand(
      opened.session,
      OS_TEST_CMD.TA2TA_MEMREF_MIX,
      taParams(
        TaParam.memref(MEMREF_INPUT, input),
        TaParam.memref(MEMREF_INOUT, inout),
        TaParam.memref(MEMREF_OUTPUT, output),
      ),
    );
    result = call.result;
  }
  yield* tee.closeTaSession(opened.session);
  const expected = [6, 13, 19];
  const right = buffers.every((bytes, which) => bytes.every((byte) => byte === expected[which]));
  return result !== OK || right ? result : TEEC.TEEC_ERROR_GENERIC;
}

function bump(bytes: Uint8Array, index: number): void {
  bytes[index] = (bytes[index] ?? 0) + 1;
}

/** output = ++inout + input, byte by byte. */
function mix(params: TaParams): number {
  const [input, inout, output] = params;
  if (typesOf(params) !== IN_INOUT_OUT) return BAD;
  if (input.size !== inout.size || input.size !== output.size) return BAD;
  const from = input.read();
  const both = inout.read().map((byte) => byte + 1);
  inout.write(both);
  output.write(both.map((byte, index) => byte + (from[index] ?? 0)));
  return OK;
}

function* transferNothing(tee: TeeApi, params: TaParams): SecureTask<number> {
  if (typesOf(params) !== IN_INOUT_OUT) return BAD;
  if (params.slice(0, 3).some((param) => param.isNull || param.size > 0)) return BAD;
  const opened = yield* tee.openTaSession(OS_TEST_UUID, taParams());
  if (opened.result !== OK) return opened.result;
  const call = yield* tee.invokeTaCommand(opened.session, OS_TEST_CMD.TA2TA_MEMREF_MIX, params);
  yield* tee.closeTaSession(opened.session);
  return call.result;
}

/** Parameters 0 and 2 must be mapped and empty, 1 and 3 NULL. */
function nullMemrefs(params: TaParams): number {
  if (typesOf(params) !== TWO_IN_TWO_OUT) return BAD;
  const right = params.every(
    (param, index) => param.size === 0 && param.isNull === (index % 2 === 1),
  );
  return right ? OK : BAD;
}

function identity(tee: TeeApi, params: TaParams): number {
  const [login, uuid] = params;
  if (typesOf(params) !== paramTypes(VALUE_OUTPUT, MEMREF_OUTPUT)) return BAD;
  uuid.size = 16;
  if (uuid.capacity < 16) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  login.a = tee.client.login;
  uuid.write(uuidToMemory(tee.client.uuid));
  return OK;
}

export const osTestTa: TrustedApplication = {
  name: "os_test",
  uuid: OS_TEST_UUID,
  flags: 0,
  stackSize: 8 * 1024,
  dataSize: 900 * 1024,
  imageSize: 36_768,
  libraries: [{ uuid: "ffd2bded-ab7d-4988-95ee-e4962fff7154", imageSize: 143_296 }],
  instantiate: (): TaInstance => ({ invoke }),
};
