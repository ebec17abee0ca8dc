import { UNKNOWN_FUNCTION, Registers } from "../../machine/index.ts";
import { API_UID, OPTEE_OWNER, OPTEE_SMC, SMC_RETURN, returnName } from "../../optee-abi/index.ts";
import type { BackEndHost, GuestHost, ProbedTee, TeeBackEnd, TeeGuest } from "../backend.ts";
import type { Outcome } from "../contract.ts";
import { OpteeGuest } from "./guest.ts";

const COMPATIBLE = "linaro,optee-tz";

/** OP-TEE over its SMC ABI. */
export const opteeBackEnd: TeeBackEnd = {
  name: "optee",
  owners: [OPTEE_OWNER.trustedOs, OPTEE_OWNER.trustedOsApi],
  guestNode: { path: "/firmware/optee", compatible: COMPATIBLE, method: "hvc" }, // MED-010
  probe,
};

/** MED-001 to MED-004. */
function probe(host: BackEndHost): ProbedTee | undefined {
  const say = (clause: string, what: string): undefined => {
    host.trace?.({ clientId: 0, clause, what });
  };
  if (!host.compatible.includes(COMPATIBLE)) return say("MED-001", "no OP-TEE node");
  const uid = call(host, OPTEE_SMC.CALLS_UID);
  if (API_UID.some((word, index) => uid.get(index) !== word)) return say("MED-002", "other UID");
  const threads = call(host, OPTEE_SMC.GET_THREAD_COUNT);
  if (threads.get(0) !== SMC_RETURN.OK) return say("MED-003", "OP-TEE before 3.5.0");
  if (call(host, OPTEE_SMC.VM_DESTROYED).get(0) === UNKNOWN_FUNCTION) {
    return say("MED-004", "built without virtualization");
  }
  say("MED-003", `${threads.get(1)} threads per guest`);
  return new ProbedOptee(host, threads.get(1));
}

/** A fast call as the hypervisor: a7 is 0. */
function call(host: BackEndHost, fid: number, a1 = 0): Registers {
  const registers = new Registers([fid, a1, 0, 0, 0, 0, 0, 0]);
  host.port.smc(registers);
  return registers;
}

class ProbedOptee implements ProbedTee {
  readonly #host: BackEndHost;
  readonly #threads: number;

  constructor(host: BackEndHost, threads: number) {
    this.#host = host;
    this.#threads = threads;
  }

  /** MED-015, MED-016. */
  createGuest(guest: GuestHost): Outcome<TeeGuest> {
    if (!this.announce(guest.clientId)) {
      const reason = `OP-TEE refused VM_CREATED of client ${guest.clientId}`;
      return { ok: false, error: "ENODEV", reason };
    }
    return { ok: true, value: new OpteeGuest(this.#host, guest, this.#threads) };
  }

  announce(clientId: number): boolean {
    const a0 = call(this.#host, OPTEE_SMC.VM_CREATED, clientId).get(0);
    this.#host.trace?.({ clientId, clause: "MED-015", what: `VM_CREATED: ${returnName(a0)}` });
    return a0 === SMC_RETURN.OK;
  }
}
