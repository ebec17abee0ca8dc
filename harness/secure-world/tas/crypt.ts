import { TEEC } from "../../optee-abi/index.ts";
import type { TaParams } from "../param.ts";
import { aes256Ecb, digest } from "./crypto.ts";
import type { TaInstance, TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const CRYPT_UUID = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b";
export const CRYPT_CMD = {
  SHA224: 1,
  SHA256: 2,
  AES256ECB_ENC: 3,
  AES256ECB_DEC: 4,
} as const;

export function cryptCommand(command: number, params: TaParams): number {
  switch (command) {
    case CRYPT_CMD.SHA224:
      return digest("sha224", params);
    case CRYPT_CMD.SHA256:
      return digest("sha256", params);
    case CRYPT_CMD.AES256ECB_ENC:
      return aes256Ecb("encrypt", params);
    case CRYPT_CMD.AES256ECB_DEC:
      return aes256Ecb("decrypt", params);
    default:
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
}

export const cryptTa: TrustedApplication = {
  name: "crypt",
  uuid: CRYPT_UUID,
  flags: 0,
  stackSize: 32 * 1024,
  dataSize: 32 * 1024,
  imageSize: 377_704,
  instantiate: (): TaInstance => ({
    invoke: (_tee: TeeApi, command: number, params: TaParams): number =>
      cryptCommand(command, params),
  }),
};
