import { uuidOctets, uuidText } from "../../base/index.ts";

/** The 16 bytes of a TEE_UUID as a TA has it in memory: its three time fields are little-endian. */
export function uuidToMemory(uuid: string): Uint8Array {
  return swapTimeFields(uuidOctets(uuid));
}

export function uuidFromMemory(bytes: Uint8Array): string {
  return uuidText(swapTimeFields(Uint8Array.from(bytes)));
}

function swapTimeFields(octets: Uint8Array): Uint8Array {
  octets.subarray(0, 4).reverse();
  octets.subarray(4, 6).reverse();
  octets.subarray(6, 8).reverse();
  return octets;
}
