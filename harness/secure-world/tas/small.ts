import { TEEC } from "../../optee-abi/index.ts";
import type { TaInstance, TrustedApplication } from "./ta.ts";

export const CREATE_FAIL_UUID = "c3f6e2c0-3548-11e1-b86c-0800200c9a66";
export const LARGE_UUID = "25497083-a58a-4fc5-8a72-1ad7b69b8562";

const refuse = (): number => TEEC.TEEC_ERROR_GENERIC;

/** Its create entry point always fails. */
export const createFailTa: TrustedApplication = {
  name: "create_fail_test",
  uuid: CREATE_FAIL_UUID,
  flags: 0,
  stackSize: 1024,
  dataSize: 32 * 1024,
  imageSize: 113_576,
  instantiate: (): TaInstance => ({ create: refuse, invoke: refuse }),
};

/** Its image needs 284 pages: more than the Xen mediator lets one buffer have. */
export const largeTa: TrustedApplication = {
  name: "large",
  uuid: LARGE_UUID,
  flags: 0,
  stackSize: 2 * 1024,
  dataSize: 2 * 1024,
  imageSize: 1_162_152,
  instantiate: (): TaInstance => ({ invoke: refuse }),
};
