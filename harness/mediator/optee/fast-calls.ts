import type { Registers } from "../../machine/index.ts";
import {
  CALLS_COUNT_VALUE,
  NSEC_CAP,
  OPTEE_SMC,
  SEC_CAP,
  SMC_RETURN,
  functionName,
  returnName,
} from "../../optee-abi/index.ts";
import type { OpteeGuest } from "./guest.ts";

/** Calls that are forwarded with a1..a6 zero, and how many result registers the guest gets. */
const FORWARDED: ReadonlyMap<number, { readonly results: number; readonly clause: string }> =
  new Map([
    [OPTEE_SMC.CALLS_UID, { results: 4, clause: "MED-021" }],
    [OPTEE_SMC.CALLS_REVISION, { results: 2, clause: "MED-022" }],
    [OPTEE_SMC.GET_OS_UUID, { results: 4, clause: "MED-023" }],
    // MED-024: the build id in a2 is not for guests.
    [OPTEE_SMC.GET_OS_REVISION, { results: 2, clause: "MED-024" }],
    [OPTEE_SMC.ENABLE_SHM_CACHE, { results: 1, clause: "MED-025" }],
  ]);

/** MED-032: what a guest may know of the secure world's capabilities, before bit 0 is removed. */
const KNOWN_CAPS =
  SEC_CAP.HAVE_RESERVED_SHM | SEC_CAP.UNREGISTERED_SHM | SEC_CAP.DYNAMIC_SHM | SEC_CAP.MEMREF_NULL;

/** Handles a fast call; false for a function that guests do not have (MED-029). */
export function handleFastCall(guest: OpteeGuest, registers: Registers): boolean {
  const fid = registers.get(0);
  switch (fid) {
    case OPTEE_SMC.CALLS_COUNT:
      registers.set(0, CALLS_COUNT_VALUE.xenMediator);
      guest.trace?.("MED-020", "CALLS_COUNT");
      return true;
    case OPTEE_SMC.GET_SHM_CONFIG:
      registers.set(0, SMC_RETURN.ENOTAVAIL); // Never forwarded.
      guest.trace?.("MED-027", "GET_SHM_CONFIG: ENOTAVAIL");
      return true;
    case OPTEE_SMC.EXCHANGE_CAPABILITIES:
      exchangeCapabilities(guest, registers);
      return true;
    case OPTEE_SMC.DISABLE_SHM_CACHE:
      disableShmCache(guest, registers);
      return true;
    default:
      return forward(guest, registers, fid);
  }
}

/** MED-021 to MED-025; false for what is not forwarded (MED-029). */
function forward(guest: OpteeGuest, registers: Registers, fid: number): boolean {
  const forwarded = FORWARDED.get(fid);
  if (forwarded === undefined) {
    guest.trace?.("MED-029", `${functionName(fid)} refused`);
    return false;
  }
  const answer = guest.takeRegisters(fid);
  guest.port.smc(answer);
  for (let index = 0; index < forwarded.results; index += 1) registers.copyRegister(index, answer);
  guest.giveRegisters(answer);
  guest.trace?.(forwarded.clause, functionName(fid));
  return true;
}

/** MED-026: the guest may free the page behind the cookie, so the mediator lets go of it first. */
function disableShmCache(guest: OpteeGuest, registers: Registers): void {
  const answer = guest.takeRegisters(OPTEE_SMC.DISABLE_SHM_CACHE);
  guest.port.smc(answer);
  registers.copyRegister(0, answer);
  if (answer.get(0) === SMC_RETURN.OK) {
    registers.copyRegister(1, answer);
    registers.copyRegister(2, answer);
    const argument = guest.rpcArguments.byWire(answer.get(1), answer.get(2));
    if (argument !== undefined) {
      registers.set(1, argument.cookieHigh);
      registers.set(2, argument.cookieLow);
      guest.rpcArguments.drop(argument);
    }
  }
  guest.giveRegisters(answer);
  guest.trace?.("MED-026", `DISABLE_SHM_CACHE: ${returnName(registers.get(0))}`);
}

/** MED-030 to MED-034. */
function exchangeCapabilities(guest: OpteeGuest, registers: Registers): void {
  const answer = guest.takeRegisters(OPTEE_SMC.EXCHANGE_CAPABILITIES);
  answer.set(1, registers.get(1) & NSEC_CAP.UNIPROCESSOR);
  guest.port.smc(answer);
  guest.giveRegisters(answer);
  const caps = answer.get(1) & KNOWN_CAPS & ~SEC_CAP.HAVE_RESERVED_SHM;
  if (answer.get(0) !== SMC_RETURN.OK) {
    registers.copyRegister(0, answer);
    guest.trace?.("MED-031", `EXCHANGE_CAPABILITIES: ${returnName(answer.get(0))}`);
  } else if ((caps & SEC_CAP.DYNAMIC_SHM) === 0) {
    registers.set(0, SMC_RETURN.ENOTAVAIL);
    guest.trace?.("MED-033", "EXCHANGE_CAPABILITIES: no dynamic shared memory");
  } else {
    registers.set(0, SMC_RETURN.OK);
    registers.set(1, caps);
    guest.trace?.("MED-034", `EXCHANGE_CAPABILITIES: 0x${caps.toString(16)}`);
  }
}
