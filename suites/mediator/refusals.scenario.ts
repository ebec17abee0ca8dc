import { type Ipa } from "../../harness/machine/index.ts";
import type { RuleSetName } from "../../harness/mediator/index.ts";
import { MSG_CMD, OPTEE_SMC } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { RawDriver, registered, tmem } from "../support/raw-driver.ts";

const guest = (
  clauses: readonly string[],
  rules: RuleSetName,
  run: (driver: RawDriver) => Data,
): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules,
  run: (context) => run(new RawDriver(context.conduit)),
});

/** What a message that is refused leaves behind: a0, ret, origin, num_params. */
const outcome = (driver: RawDriver, at: Ipa): Data => {
  const a0 = driver.smc([OPTEE_SMC.CALL_WITH_ARG, 0, at]).get(0);
  const view = new DataView(driver.conduit.memory.read(at, 32).buffer);
  return {
    a0,
    ret: view.getUint32(20, true),
    origin: view.getUint32(24, true),
    params: view.getUint32(28, true),
  };
};

const tooManyParams = (driver: RawDriver): Data => {
  const at = driver.put({ cmd: MSG_CMD.INVOKE_COMMAND });
  driver.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(200, 0, 0, 0));
  return outcome(driver, at);
};

export const tooManyParamsXen = guest(["MED-046"], "xen", tooManyParams);
export const tooManyParamsStrict = guest(["MED-046"], "strict", tooManyParams);

export const unknownCommand = guest(["MED-047"], "xen", (driver) =>
  outcome(driver, driver.put({ cmd: 99, ret: 0x77, ret_origin: 9 })),
);

export const contiguous = guest(
  ["MED-050", "MED-051", "MSG-2.4.MEDIATOR_REFUSED"],
  "xen",
  (driver) =>
    outcome(driver, driver.put({ cmd: 1, params: [tmem(BigInt(driver.page()), 4096, 1n, 0xa)] })),
);

const empty = (driver: RawDriver): Data =>
  outcome(driver, driver.put({ cmd: 1, params: [tmem(driver.list(driver.pages(1)), 0, 1n)] }));

export const emptyListXen = guest(["MED-067"], "xen", empty);
export const emptyListStrict = guest(["MED-067"], "strict", empty);

/** Registers buffers under new cookies until one is refused; how many went in and what was said. */
const registerUntilRefused =
  (pages: number) =>
  (driver: RawDriver): Data => {
    const list = driver.list(driver.pages(pages));
    for (let cookie = 1; cookie <= 40; cookie += 1) {
      const params = [tmem(list, pages * 4096, BigInt(cookie))];
      const { at } = driver.send({ cmd: MSG_CMD.REGISTER_SHM, ret: 1, params });
      const { ret } = driver.get(at);
      if (ret !== 0) return { registered: cookie - 1, ret };
    }
    return { registered: 40, ret: 0 };
  };

export const bufferQuotaXen = guest(["MED-062"], "xen", registerUntilRefused(1));
export const bufferQuotaStrict = guest(["MED-062"], "strict", registerUntilRefused(1));
export const pageQuotaKvm = guest(["MED-062"], "kvm", registerUntilRefused(100));
export const largeBufferXen = guest(["MED-060"], "xen", registerUntilRefused(130));
export const largeBufferStrict = guest(["MED-060"], "strict", registerUntilRefused(130));

/** The same cookie twice, then unregistered and used again. */
export const duplicateCookie = guest(["MED-062", "MED-081", "MED-083"], "strict", (driver) => {
  const list = driver.list(driver.pages(2));
  const register = (): number => {
    const params = [tmem(list, 8192, 7n)];
    return driver.get(driver.send({ cmd: MSG_CMD.REGISTER_SHM, ret: 1, params }).at).ret;
  };
  const unregister = (): number => {
    const params = [registered(7n, 0, 5)];
    return driver.get(driver.send({ cmd: MSG_CMD.UNREGISTER_SHM, ret: 1, params }).at).ret;
  };
  return [register(), register(), unregister(), unregister(), register()];
});

/** A list that names a page of nobody's, of a device's place, and of the guest's own. */
export const foreignPages = guest(["MED-063"], "strict", (driver) =>
  [0x1000, 0x900_0000, 0x30_0000_0000, driver.page()].map((page) => {
    const params = [tmem(driver.list([page]), 4096, 1n)];
    return driver.get(driver.send({ cmd: MSG_CMD.REGISTER_SHM, ret: 1, params }).at).ret;
  }),
);
