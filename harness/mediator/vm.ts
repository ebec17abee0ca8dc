import {
  type Conduit,
  type GuestSpace,
  type Ipa,
  type Registers,
  isConvention64,
  ownerOf,
} from "../machine/index.ts";
import type { GuestFirmwareNode, GuestUsage, TeeBackEnd, TeeGuest } from "./backend.ts";
import type { Trap, TrapResult, Vm } from "./contract.ts";
import type { VmMemory } from "./front.ts";

type ServedBy = Pick<TeeBackEnd, "guestNode" | "owners">;

const NO_OWNERS = [64, -1] as const;

/** One VM: classifies what it traps on and hands the TEE's share to the back end. */
export class MediatedVm<Space extends VmMemory = GuestSpace> implements Vm<Space> {
  readonly clientId: number;
  readonly space: Space;
  readonly conduit: Conduit;
  readonly firmwareNode: GuestFirmwareNode | undefined;
  readonly #onEnd: (vm: MediatedVm<Space>) => void;
  readonly #preempted: (() => boolean) | undefined;
  readonly #owners: readonly [number, number];
  #tee: TeeGuest | undefined;
  #depth = 0;
  #state: "alive" | "dying" | "dead" = "alive";

  constructor(
    clientId: number,
    space: Space,
    ram: { readonly base: number; readonly size: number },
    tee: { readonly guest: TeeGuest; readonly backEnd: ServedBy } | undefined,
    onEnd: (vm: MediatedVm<Space>) => void,
    preempted: (() => boolean) | undefined,
  ) {
    this.clientId = clientId;
    this.space = space;
    this.#tee = tee?.guest;
    this.firmwareNode = tee?.backEnd.guestNode;
    this.#owners = tee?.backEnd.owners ?? NO_OWNERS;
    this.#onEnd = onEnd;
    this.#preempted = preempted;
    this.conduit = {
      kind: "vm",
      memory: space,
      ram: { base: ram.base as Ipa, size: ram.size },
      smc: (registers) => {
        this.#call(registers);
      },
    };
  }

  get alive(): boolean {
    return this.#state === "alive";
  }

  get usage(): GuestUsage | undefined {
    return this.#tee?.usage();
  }

  trap(trap: Trap): TrapResult {
    if (this.#state === "dead") return "dead";
    if ((trap.immediate ?? 0) !== 0) return "undefined";
    if (trap.aarch32 === true && isConvention64(trap.registers.get(0))) {
      trap.registers.setAllOnes(0);
    } else {
      this.#call(trap.registers);
    }
    return trap.method === "smc" ? "advance" : "stay";
  }

  destroy(): void {
    if (this.#state === "dead") return;
    this.#state = "dying";
    if (this.#depth === 0) this.#end();
  }

  /** MED-007, MED-008: what nobody handles answers all ones and changes nothing else. */
  #call(registers: Registers): void {
    const owner = ownerOf(registers.get(0));
    const tee = this.#tee;
    const [first, last] = this.#owners;
    if (this.#state !== "alive" || owner < first || owner > last || tee === undefined) {
      registers.setAllOnes(0);
      return;
    }
    this.#depth += 1;
    try {
      if (!tee.handle(registers)) registers.setAllOnes(0);
    } finally {
      this.#depth -= 1;
      if (this.#depth === 0 && !this.alive) this.#end();
    }
  }

  #end(): void {
    const preempted = this.#preempted;
    if (preempted === undefined || this.#tee?.relinquish === undefined) this.#tee?.destroy();
    else if (!this.#tee.relinquish(preempted)) return;
    this.#state = "dead";
    this.#tee = undefined;
    // MED-160: the TEE's pins go before the VM's pages and mappings.
    this.space.close();
    this.#onEnd(this);
  }
}
