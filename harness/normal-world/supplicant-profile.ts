import { uuidText } from "../base/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import { ERRNO, PARAM_ATTR } from "../tee-uapi/index.ts";
import type { FileSystem } from "./filesystem.ts";
import { type ServiceParam, shapeIs } from "./supplicant-service.ts";

/** Files that one TA can have. */
const MAX_ID = 100;
const { VALUE_INOUT, MEMREF_INPUT } = PARAM_ATTR;

/** GPROF and FTRACE: appends to a file of the TA in /tmp, or makes the next one (MSG-3.GPROF). */
export function storeProfile(
  disk: FileSystem,
  prefix: "gmon" | "ftrace",
  params: readonly ServiceParam[],
): number {
  const [value, uuid, data] = params;
  if (!shapeIs(params, VALUE_INOUT, MEMREF_INPUT, MEMREF_INPUT) || value === undefined) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  const wanted = Number(BigInt.asIntN(32, value.a));
  if (uuid?.bytes?.length !== 16 || data?.bytes === undefined || wanted < 0 || wanted > MAX_ID) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  const name = `/tmp/${prefix}-${uuidText(inTextOrder(uuid.bytes))}`;
  // 0 makes a file; the id of the first is 1 and shows in no name.
  for (let id = Math.max(1, wanted); id <= MAX_ID; id += 1) {
    const path = `${name}${id > 1 ? `.${id - 1}` : ""}.out`;
    const make = wanted === 0;
    const file = disk.open(path, { write: true, create: make, exclusive: make });
    if (typeof file !== "number") {
      const written = disk.write(file, file.bytes.length, data.bytes);
      if (written !== data.bytes.length) break;
      value.a = BigInt(id);
      return TEEC.TEEC_SUCCESS;
    }
    if (file !== -ERRNO.EEXIST) break;
  }
  return TEEC.TEEC_ERROR_GENERIC;
}

/** A TEE_UUID in memory has little-endian time fields. */
function inTextOrder(bytes: Uint8Array): Uint8Array {
  const octets = bytes.slice();
  octets.subarray(0, 4).reverse();
  octets.subarray(4, 6).reverse();
  octets.subarray(6, 8).reverse();
  return octets;
}
