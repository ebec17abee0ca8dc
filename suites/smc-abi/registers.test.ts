import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/registers");
type On = { readonly conduit: string } | undefined;
const EL3 = "UNKNOWN_FUNCTION in 64 bits";
const OPTEE = "UNKNOWN_FUNCTION";
/** Who answers what nobody knows: a mediator itself, and all ones. */
const unknown = (on: On): string => (on?.conduit === "vm" ? EL3 : OPTEE);

test(
  "SMC-3.REGISTERS, SMC-11.3: registers that a fast call does not write come back whole",
  "keptRegisters",
  async (run, on) => {
    const vm = on?.conduit === "vm";
    const management = on?.conduit === "direct" ? { boot: "ENOTAVAIL", load: OPTEE } : undefined;
    const all = "1 2 3 4 5 6";
    expect(await run()).toEqual([
      `CALLS_COUNT: data, kept ${all}`,
      "CALLS_UID: data, kept 4 5 6",
      "CALLS_REVISION: data, kept 2 3 4 5 6",
      "GET_OS_UUID: data, kept 4 5 6",
      // The build is the hypervisor's to know.
      `GET_OS_REVISION: data, kept ${vm ? "2 3 4 5 6" : "3 4 5 6"}`,
      `L2CC_MUTEX: ${unknown(on)}, kept ${all}`,
      `EXCHANGE_CAPABILITIES: OK, kept ${vm ? "2 3 4 5 6" : "4 5 6"}`,
      `DISABLE_SHM_CACHE: ENOTAVAIL, kept ${all}`,
      `ENABLE_SHM_CACHE: OK, kept ${all}`,
      `BOOT_SECONDARY: ${management?.boot ?? EL3}, kept ${all}`,
      `GET_ASYNC_NOTIF_VALUE: ${vm ? `${EL3}, kept ${all}` : "OK, kept 3 4 5 6"}`,
      `GET_PROTMEM_CONFIG: ${unknown(on)}, kept ${all}`,
      `LOAD_IMAGE: ${management?.load ?? EL3}, kept ${all}`,
    ]);
  },
);

test(
  "SMC-1.FID, SMC-11.2: 32 bits of x0 make the function id, and EL3 takes a hint out of it",
  "functionIds",
  async (run, on) => {
    const direct = on?.conduit === "direct";
    expect(await run()).toEqual({
      plain: "UID",
      "dirty upper half": "UID",
      // A conduit that passes calls on must not take one function for another.
      "bit 16": direct ? "UID" : EL3,
      "bit 17": EL3,
      "bit 23": EL3,
      "64-bit convention": unknown(on),
      yielding: on?.conduit === "vm" ? EL3 : "EBADCMD",
      "other owner": unknown(on),
      "call, bit 16": direct ? "EBADADDR" : EL3,
      "call, bit 17": direct ? "EBADCMD" : EL3,
    });
  },
);

test(
  "SMC-1.UNASSIGNED, SMC-11.1: functions without an owner or a number are unknown",
  "nobodysFunctions",
  async (run, on) => {
    expect(await run()).toEqual({ tee: Array(6).fill(unknown(on)), others: [EL3, EL3] });
  },
);

test(
  "SMC-3.EXCHANGE_CAPABILITIES, MED-030: of 32 bits only the first may be announced; a guest's others are dropped",
  "capabilityBits",
  async (run, on) => {
    const refused = on?.conduit === "vm" ? "OK" : "ENOTAVAIL";
    const low = ["OK", "OK", refused, refused, refused, refused];
    expect(await run()).toEqual([...low, "OK", "OK"]);
  },
);

test(
  "SMC-3.1.STATELESS: capabilities are the same whatever was exchanged before",
  "capabilitiesAgain",
  async (run) => {
    expect(await run()).toEqual({ ok: true, second: true, third: true });
  },
);

test("only a hypervisor manages VMs", "management", async (run, on) => {
  expect(await run()).toEqual(Array(4).fill(on?.conduit === "direct" ? OPTEE : EL3));
});

test(
  "SMC-7.3, MSG-2.STOP_ASYNC_NOTIF: nothing is pending, and the messages about it write no result",
  "notifications",
  async (run) => {
    expect(await run()).toEqual({
      before: [0, 0, 0, 3],
      enabled: 0,
      after: [0, 0, 0, 3],
      bottomHalf: [0, 7, 8],
      stopped: [0, 7, 8],
    });
  },
);

test(
  "SMC-4.1.A3, SMC-4.1.11: what a yielding call does not use may hold anything, and x4 to x6 are kept",
  "yieldingRegisters",
  async (run) => {
    expect(await run()).toEqual(Array.from({ length: 4 }, () => ({ code: "EBADCMD", kept: true })));
  },
);

test(
  "SMC-6.ENABLE, SMC-6.DISABLE: while a call is suspended fast calls are answered, and the cache is busy",
  "duringCall",
  async (run) => {
    const uid = 0x384f_b3e0;
    const [busy, ok, empty] = [2, 0, 7];
    expect(await run()).toEqual({
      suspended: true,
      during: [uid, busy, busy],
      after: [uid, ok, empty],
    });
  },
);

test(
  "SMC-5.2, SMC-5.3: an RPC argument ends with its call, or is kept until the cache is emptied",
  "argumentCache",
  async (run) => {
    expect(await run()).toEqual({
      off: "ALLOC SHM_ALLOC FREE",
      enabled: 0,
      on: ["ALLOC SHM_ALLOC", "SHM_ALLOC"],
      drained: [[0, 0, 0xa1], [7], [7]],
      offAgain: "ALLOC SHM_ALLOC FREE",
    });
  },
);

test("MED-029: guests are not told how many threads there are", "threadCount", async (run, on) => {
  const vm = on?.conduit === "vm";
  const kept = vm ? "1 2 3 4 5 6" : "2 3 4 5 6";
  expect(await run()).toEqual({ code: vm ? EL3 : "OK", kept });
});

test(
  "SMC-4.2.FREE, SMC-5.5: one call after the other is as the first",
  "oneAfterTheOther",
  async (run) => {
    expect(await run()).toEqual([42]);
  },
);
