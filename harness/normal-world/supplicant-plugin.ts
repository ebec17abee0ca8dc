import { uuidText } from "../base/index.ts";
import { SUPP_PLUGIN_OP, TEEC } from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import { type ServiceParam, shapeIs, u32 } from "./supplicant-service.ts";

/** A plugin of tee-supplicant. */
export interface SupplicantPlugin {
  readonly uuid: string;
  /** Works on `data` in place; gives a TEEC result code and how many bytes of it are output. */
  invoke(
    command: number,
    subCommand: number,
    data: Uint8Array,
  ): { readonly result: number; readonly outputLength: number };
}

const { VALUE_INPUT, VALUE_INOUT, MEMREF_INOUT } = PARAM_ATTR;

/** SUPP_PLUGIN (MSG-3.3). */
export function invokePlugin(
  plugins: readonly SupplicantPlugin[],
  params: readonly ServiceParam[],
): number {
  if (!shapeIs(params, VALUE_INPUT, VALUE_INPUT, VALUE_INOUT, MEMREF_INOUT)) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  const [first, second, third, data] = params;
  if (third === undefined || data === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  if (data.b !== 0n && data.bytes === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  if (u32(first?.a) !== SUPP_PLUGIN_OP.INVOKE) return TEEC.TEEC_ERROR_NOT_SUPPORTED;
  const octets = new Uint8Array(16);
  const view = new DataView(octets.buffer);
  for (const [index, word] of [first?.b, first?.c, second?.a, second?.b].entries()) {
    view.setUint32(index * 4, u32(word), true);
  }
  const uuid = uuidText(octets);
  const plugin = plugins.find((one) => one.uuid === uuid);
  third.b = 0n;
  if (plugin === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
  const bytes = data.bytes ?? new Uint8Array(0);
  const { result, outputLength } = plugin.invoke(u32(second?.c), u32(third.a), bytes);
  third.b = BigInt(outputLength);
  return result;
}
