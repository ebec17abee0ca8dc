import { uuidOctets, uuidText } from "../base/index.ts";
import type { Task } from "../machine/index.ts";
import { TEEC, UUIDS } from "../optee-abi/index.ts";
import { Param, PARAM_ATTR, TEE_LOGIN } from "../tee-uapi/index.ts";
import type { OpteeDriver } from "./driver.ts";
import { type Caller, kernelCaller } from "./supplicant-queue.ts";

/** Commands of the device-enumeration pseudo-TA (SMC-9.P12). */
export const DEVICE_PTA_CMD = {
  /** At probe. */
  GET_DEVICES: 0,
  /** When the supplicant first opens its device. */
  GET_DEVICES_SUPP: 1,
  /** When an RPMB device appears. */
  GET_DEVICES_RPMB: 2,
} as const;
export type DevicePtaCommand = (typeof DEVICE_PTA_CMD)[keyof typeof DEVICE_PTA_CMD];

/**
 * Asks the device-enumeration pseudo-TA which TAs want a device and adds them to `driver.devices`:
 * first the size with a NULL buffer, then the list (SMC-9.P12). That nobody answers is no error.
 */
export function* enumerateDevices(driver: OpteeDriver, command: DevicePtaCommand): Task {
  const caller = kernelCaller();
  const opened = yield* driver.openSession(
    undefined,
    {
      uuid: uuidOctets(UUIDS.deviceEnumeration),
      clientUuid: new Uint8Array(16),
      login: TEE_LOGIN.REE_KERNEL,
      cancelId: 0,
    },
    [],
    caller,
  );
  if (opened.ret !== TEEC.TEEC_SUCCESS) return;
  yield* listDevices(driver, opened.session, command, caller);
  yield* driver.closeSession(opened.session, caller);
}

function* listDevices(
  driver: OpteeDriver,
  session: number,
  command: DevicePtaCommand,
  caller: Caller,
): Task {
  const query = { param: new Param().setNullMemref(PARAM_ATTR.MEMREF_OUTPUT), shm: undefined };
  const first = yield* driver.invoke(session, command, 0, [query], caller);
  if (first.ret !== TEEC.TEEC_ERROR_SHORT_BUFFER || query.param.bNumber === 0) return;
  const size = query.param.bNumber;
  const shm = yield* driver.allocateShm(size);
  if (shm === undefined) return;
  const list = { param: new Param().set(PARAM_ATTR.MEMREF_OUTPUT, 0, size, 0), shm };
  const second = yield* driver.invoke(session, command, 0, [list], caller);
  if (second.ret === TEEC.TEEC_SUCCESS) {
    const octets = shm.span.read(0, size);
    for (let at = 0; at + 16 <= size; at += 16) {
      driver.devices.push(uuidText(octets.subarray(at, at + 16)));
    }
  }
  yield* driver.releaseShm(shm);
}
