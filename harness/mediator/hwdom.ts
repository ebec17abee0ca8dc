import {
  type Conduit,
  type GuestMemory,
  type InterruptLine,
  type Ipa,
  IdentityMemory,
  type PlatformPort,
  Registers,
  isFastCall,
  ownerOf,
} from "../machine/index.ts";
import {
  OPTEE_OWNER,
  OPTEE_SMC,
  RPC_FUNC,
  SMC_RETURN,
  isRpcReturn,
  rpcFunction,
} from "../optee-abi/index.ts";

export interface HwdomOptions {
  /** RAM of the domain, mapped one to one; bytes. */
  readonly ram: { readonly base: number; readonly size: number };
  /** What goes into a7; 1 as for the first domain. An OP-TEE without virtualization ignores it. */
  readonly clientId?: number;
}

/** Results that a fast call hands to its caller when it succeeds; a0 alone when not listed. */
const RESULTS: ReadonlyMap<number, number> = new Map([
  [OPTEE_SMC.CALLS_UID, 4],
  [OPTEE_SMC.CALLS_REVISION, 2],
  [OPTEE_SMC.GET_OS_UUID, 4],
  [OPTEE_SMC.GET_OS_REVISION, 3],
  [OPTEE_SMC.GET_SHM_CONFIG, 4],
  [OPTEE_SMC.EXCHANGE_CAPABILITIES, 4],
  [OPTEE_SMC.DISABLE_SHM_CACHE, 3],
  [OPTEE_SMC.GET_THREAD_COUNT, 2],
  [OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, 3],
  [OPTEE_SMC.GET_PROTMEM_CONFIG, 4],
]);

/** Fast calls whose a0 is data and not a return code. */
const A0_IS_DATA: ReadonlySet<number> = new Set([
  OPTEE_SMC.CALLS_UID,
  OPTEE_SMC.CALLS_REVISION,
  OPTEE_SMC.GET_OS_UUID,
  OPTEE_SMC.GET_OS_REVISION,
]);

/** What only the hypervisor or the boot chain may ask for. */
const MANAGEMENT: ReadonlySet<number> = new Set([
  OPTEE_SMC.VM_CREATED,
  OPTEE_SMC.VM_DESTROYED,
  OPTEE_SMC.BOOT_SECONDARY,
  OPTEE_SMC.LOAD_IMAGE,
]);

/**
 * Bits of a function id that are 0 in all that are known here. EL3 takes bit 16 for a hint and out of
 * the id, so that with it a function would look like another to whoever passes it on.
 */
const MUST_BE_ZERO = 0x00ff_0000;

/**
 * Pass-through for the one direct-mapped hardware domain, static shared memory included, as the
 * first Xen series had it. Each call runs into registers of its own; the domain's are written only
 * once it is decided what it may see, so an error leaves nothing but its code behind. A resume is
 * passed on only for a thread that this domain has suspended.
 */
export function createHwdomConduit(port: PlatformPort, options: HwdomOptions): Conduit {
  return new HwdomConduit(port, options);
}

class HwdomConduit implements Conduit {
  readonly kind = "hwdom";
  readonly memory: GuestMemory;
  readonly ram: { readonly base: Ipa; readonly size: number };
  readonly notifications?: InterruptLine;
  readonly #port: PlatformPort;
  readonly #clientId: number;
  readonly #granted: Granted;
  readonly #suspended = new Set<number>();

  constructor(port: PlatformPort, options: HwdomOptions) {
    const { base, size } = options.ram;
    this.#port = port;
    if (port.notifications !== undefined) this.notifications = port.notifications;
    this.#clientId = options.clientId ?? 1;
    this.ram = { base: base as Ipa, size };
    this.#granted = new Granted(port, options.ram);
    this.memory = this.#granted;
  }

  smc(registers: Registers): void {
    const fid = registers.get(0);
    const owner = ownerOf(fid);
    const known = owner === OPTEE_OWNER.trustedOs || owner === OPTEE_OWNER.trustedOsApi;
    if (!known || (fid & MUST_BE_ZERO) !== 0 || MANAGEMENT.has(fid)) {
      registers.setAllOnes(0);
      return;
    }
    if (fid === OPTEE_SMC.RETURN_FROM_RPC && !this.#suspended.has(registers.get(3))) {
      registers.set(0, SMC_RETURN.ERESUME);
      return;
    }
    const answer = registers.clone();
    answer.set(7, this.#clientId);
    if (fid === OPTEE_SMC.RETURN_FROM_RPC) this.#suspended.delete(registers.get(3));
    this.#port.smc(answer);
    if (isFastCall(fid)) this.#finishFast(fid, registers, answer);
    else this.#finishYielding(registers, answer);
  }

  #finishFast(fid: number, registers: Registers, answer: Registers): void {
    registers.copyRegister(0, answer);
    if (answer.get(0) !== SMC_RETURN.OK && !A0_IS_DATA.has(fid)) return;
    if (fid === OPTEE_SMC.GET_SHM_CONFIG) this.#granted.grant(answer.get64(1), answer.get64(2));
    const results = RESULTS.get(fid) ?? 1;
    for (let index = 1; index < results; index += 1) registers.copyRegister(index, answer);
  }

  #finishYielding(registers: Registers, answer: Registers): void {
    const a0 = answer.get(0);
    registers.copyRegister(0, answer);
    if (!isRpcReturn(a0)) return;
    for (let index = 1; index < 4; index += 1) registers.copyRegister(index, answer);
    this.#suspended.add(answer.get(3));
    if (rpcFunction(a0) === RPC_FUNC.FOREIGN_INTR) {
      registers.set(1, 0);
      registers.set(2, 0);
    }
  }
}

interface Range {
  readonly base: number;
  readonly end: number;
}

/** The domain's RAM and, once it was told where that is, the static shared memory. */
class Granted implements GuestMemory {
  readonly #identity: IdentityMemory;
  readonly #ram: Range;
  #shared: Range = { base: 0, end: 0 };

  constructor(port: PlatformPort, ram: { readonly base: number; readonly size: number }) {
    this.#identity = new IdentityMemory(port.memory.as?.("hwdom") ?? port.memory);
    this.#ram = { base: ram.base, end: ram.base + ram.size };
  }

  grant(base: bigint, size: bigint): void {
    this.#shared = { base: Number(base), end: Number(base + size) };
  }

  read(at: Ipa, length: number): Uint8Array {
    this.#check(at, length);
    return this.#identity.read(at, length);
  }

  write(at: Ipa, bytes: Uint8Array): void {
    this.#check(at, bytes.length);
    this.#identity.write(at, bytes);
  }

  page(at: Ipa): Uint8Array | undefined {
    return this.#has(at, 1) ? this.#identity.page(at) : undefined;
  }

  dirty(at: Ipa, length: number): void {
    this.#identity.dirty(at, length);
  }

  #has(at: number, length: number): boolean {
    return [this.#ram, this.#shared].some((range) => at >= range.base && at + length <= range.end);
  }

  #check(at: number, length: number): void {
    if (this.#has(at, length)) return;
    throw new RangeError(`0x${at.toString(16)} is not memory of the hardware domain`);
  }
}
