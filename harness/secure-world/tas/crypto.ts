import { createCipheriv, createDecipheriv, createHash } from "node:crypto";
import { TEEC } from "../../optee-abi/index.ts";
import { paramTypes, TEE_PARAM, type TaParams, typesOf } from "../param.ts";

const IN_OUT = paramTypes(TEE_PARAM.MEMREF_INPUT, TEE_PARAM.MEMREF_OUTPUT);

/** The published test key: octets 0 to 31. */
const AES_KEY = Uint8Array.from({ length: 32 }, (_, index) => index);

/** Hashes parameter 0 into parameter 1; BAD_PARAMETERS when it does not fit. */
export function digest(algorithm: "sha224" | "sha256", params: TaParams): number {
  if (typesOf(params) !== IN_OUT) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  const hash = createHash(algorithm).update(params[0].read()).digest();
  // The real one does not say how much it needs.
  if (params[1].size < hash.length) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  // Nor how much it wrote: the size stays as the client gave it.
  params[1].write(hash);
  return TEEC.TEEC_SUCCESS;
}

/** AES-256-ECB with the fixed key, parameter 0 into parameter 1; whole blocks only. */
export function aes256Ecb(direction: "encrypt" | "decrypt", params: TaParams): number {
  if (typesOf(params) !== IN_OUT) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  const input = params[0].read();
  if (input.length === 0 || input.length % 16 !== 0) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  const make = direction === "encrypt" ? createCipheriv : createDecipheriv;
  const cipher = make("aes-256-ecb", AES_KEY, null).setAutoPadding(false);
  return give(params, Buffer.concat([cipher.update(input), cipher.final()]));
}

function give(params: TaParams, bytes: Uint8Array): number {
  const [, output] = params;
  output.size = bytes.length;
  if (output.capacity < bytes.length) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  output.write(bytes);
  return TEEC.TEEC_SUCCESS;
}
