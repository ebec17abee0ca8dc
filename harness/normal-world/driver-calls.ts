import { type MessageView, TEEC, TEEC_ORIGIN, WORD } from "../optee-abi/index.ts";
import type { Param } from "../tee-uapi/index.ts";
import type { TeeShm } from "./shm.ts";

/** A parameter on its way to the secure world, with the object behind a memory reference. */
export interface DriverParam {
  readonly param: Param;
  shm: TeeShm | undefined;
}

export interface DriverResult {
  readonly ret: number;
  readonly origin: number;
}

export interface OpenRequest {
  readonly uuid: Uint8Array;
  readonly clientUuid: Uint8Array;
  readonly login: number;
  readonly cancelId: number;
}

/** An invocation: what it says, with `count` of `params` used. */
export interface InvokeRequest {
  readonly session: number;
  readonly func: number;
  readonly cancelId: number;
  readonly params: readonly DriverParam[];
  readonly count: number;
}

/** Where an outcome is stored. */
export interface StoredResult {
  ret: number;
  origin: number;
}

/** What a call gives whose message did not get through. */
export const COMMUNICATION: DriverResult = {
  ret: TEEC.TEEC_ERROR_COMMUNICATION,
  origin: TEEC_ORIGIN.TEEC_ORIGIN_COMMS,
};

export const commsError = (ret: number): DriverResult => ({
  ret,
  origin: TEEC_ORIGIN.TEEC_ORIGIN_COMMS,
});

export const outcome = (message: MessageView): DriverResult => ({
  ret: message.ret,
  origin: message.retOrigin,
});

/** Puts 16 octets into a and b of a value parameter. */
export function setOctets(message: MessageView, index: number, octets: Uint8Array): void {
  const view = new DataView(octets.buffer, octets.byteOffset, 16);
  message.setWords(index, WORD.a, view.getUint32(4, true), view.getUint32(0, true));
  message.setWords(index, WORD.b, view.getUint32(12, true), view.getUint32(8, true));
}
