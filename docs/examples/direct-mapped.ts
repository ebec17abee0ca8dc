/**
 * A mediator of one's own, as small as one can be: its VMs are direct-mapped, so there is nothing to
 * translate. It announces them, puts the client id into a7, and hides what only a hypervisor may ask
 * for. The suites say what it lacks.
 *
 *     lockstep run --target dist/docs/examples/direct-mapped.js
 */
import {
  type Conduit,
  createDirectConduit,
  type PlatformPort,
  Registers,
} from "tee-lockstep/machine";
import { OPTEE_SMC } from "tee-lockstep/optee-abi";
import type { MediatorMachine, OwnMediator, OwnTarget } from "tee-lockstep/platform";

const NOT_FOR_GUESTS: ReadonlySet<number> = new Set([
  OPTEE_SMC.VM_CREATED,
  OPTEE_SMC.VM_DESTROYED,
  // It would need memory that every VM shares.
  OPTEE_SMC.GET_SHM_CONFIG,
]);

class DirectMapped implements OwnMediator {
  readonly #port: PlatformPort;
  readonly #end: number;
  #nextRam: number;
  #nextClient = 1;

  constructor(port: PlatformPort, { guests }: MediatorMachine) {
    this.#port = port;
    this.#nextRam = guests.base;
    this.#end = guests.base + guests.size;
  }

  createVm({ ram }: Parameters<OwnMediator["createVm"]>[0]): ReturnType<OwnMediator["createVm"]> {
    const base = this.#nextRam;
    if (base + ram.size > this.#end) {
      return { ok: false, error: "ENOMEM", reason: "no RAM is left" };
    }
    const client = this.#nextClient;
    if (this.#manage(OPTEE_SMC.VM_CREATED, client) !== 0) {
      return { ok: false, error: "ENODEV", reason: `VM_CREATED of client ${client} was refused` };
    }
    this.#nextRam += ram.size;
    this.#nextClient += 1;
    // Its addresses are physical ones: the direct conduit's memory is what it needs.
    const { memory, ram: own } = createDirectConduit(this.#port, { base, size: ram.size });
    let alive = true;
    const conduit: Conduit = {
      kind: "vm",
      memory,
      ram: own,
      smc: (registers) => {
        if (alive) this.#forward(registers, client);
        else registers.setAllOnes(0);
      },
    };
    const destroy = (): void => {
      if (alive) this.#manage(OPTEE_SMC.VM_DESTROYED, client);
      alive = false;
    };
    return { ok: true, value: { conduit, destroy } };
  }

  #forward(registers: Registers, client: number): void {
    if (NOT_FOR_GUESTS.has(registers.get(0))) {
      registers.setAllOnes(0);
      return;
    }
    registers.set(7, client);
    this.#port.smc(registers);
  }

  /** A fast call as the hypervisor, which is client 0; a0 that comes back. */
  #manage(fid: number, client: number): number {
    const registers = new Registers([fid, client]);
    this.#port.smc(registers);
    return registers.get(0);
  }
}

const target: OwnTarget = {
  name: "direct-mapped",
  conduits: ["vm"],
  createMediator: (port, machine) => new DirectMapped(port, machine),
};
export default target;
