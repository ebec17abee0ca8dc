import { UUIDS, TEEC } from "../../optee-abi/index.ts";
import { uuidOctets } from "../../base/index.ts";
import { TEE_PARAM, type TaParams, paramTypes, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import type { TeeApi } from "./tee-api.ts";
import { PTA_DEFAULT_FLAGS, TA_FLAG, type TaInstance, type TrustedApplication } from "./ta.ts";

/** Commands: all devices, those that need the supplicant, those that need an RPMB device. */
export const DEVICE_CMD = { GET_DEVICES: 0, GET_DEVICES_SUPP: 1, GET_DEVICES_RPMB: 2 } as const;

const FLAGS: Readonly<Record<number, number>> = {
  [DEVICE_CMD.GET_DEVICES]: TA_FLAG.DEVICE_ENUM,
  [DEVICE_CMD.GET_DEVICES_SUPP]: TA_FLAG.DEVICE_ENUM_SUPP | TA_FLAG.DEVICE_ENUM_TEE_STORAGE_PRIVATE,
  [DEVICE_CMD.GET_DEVICES_RPMB]: 0,
};

/**
 * The device-enumeration pseudo-TA: the UUIDs, 16 octets each, of the TAs among `all` that the
 * normal world should make devices of. The buffer's size is always set to what is needed.
 */
export function devicePta(all: () => readonly TrustedApplication[]): TrustedApplication {
  return {
    name: "device.pta",
    uuid: UUIDS.deviceEnumeration,
    flags: PTA_DEFAULT_FLAGS,
    stackSize: 0,
    dataSize: 0,
    imageSize: 0,
    instantiate: (): TaInstance => ({
      *invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
        const flags = FLAGS[command];
        if (flags === undefined) return TEEC.TEEC_ERROR_NOT_IMPLEMENTED;
        if (command === DEVICE_CMD.GET_DEVICES_RPMB && !(yield* tee.rpmbAnnounced())) {
          return TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE;
        }
        const [out] = params;
        if (typesOf(params) !== paramTypes(TEE_PARAM.MEMREF_OUTPUT)) {
          return TEEC.TEEC_ERROR_BAD_PARAMETERS;
        }
        if (out.isNull && out.size > 0) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
        let needed = 0;
        for (const ta of all()) {
          if ((ta.flags & flags) === 0) continue;
          if (needed + 16 <= out.capacity) out.write(uuidOctets(ta.uuid), needed);
          needed += 16;
        }
        out.size = needed;
        return needed > out.capacity ? TEEC.TEEC_ERROR_SHORT_BUFFER : TEEC.TEEC_SUCCESS;
      },
    }),
  };
}
