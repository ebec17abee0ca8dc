import {
  Frames,
  GuestSpace,
  type Ipa,
  type OwnerId,
  PAGE_SIZE,
  type PlatformPort,
  type Window,
} from "../machine/index.ts";
import type { BackEndHost } from "./backend.ts";
import type { Mediator, MediatorOptions, Outcome, RuleSetName, Vm, VmSpec } from "./contract.ts";
import { refused, TeeFront } from "./front.ts";
import { PageHeap } from "./heap.ts";
import { opteeBackEnd } from "./optee/back-end.ts";
import { RULE_SETS } from "./rules.ts";

const FIRST_VM_OWNER: OwnerId = 2;

/**
 * A mediator in front of `port`. Probes its back ends now: the first that answers is the only one
 * (MED-005). Throws UsageError when `options.tee` names one that is absent or does not answer, and
 * RangeError for windows that are not whole pages.
 */
export function createMediator(port: PlatformPort, options: MediatorOptions): Mediator {
  return new HypervisorMediator(port, options);
}

/** The mediator in the hypervisor: it owns the frames, and SMCs go straight to the port. */
class HypervisorMediator implements Mediator {
  readonly rules: RuleSetName;
  readonly frames: Frames;
  readonly #host: BackEndHost;
  readonly #front: TeeFront<BackEndHost, GuestSpace>;
  #nextOwner: OwnerId = FIRST_VM_OWNER;

  constructor(port: PlatformPort, options: MediatorOptions) {
    const rules = RULE_SETS[options.rules ?? "strict"];
    const order = options.scatter === undefined ? {} : { scatter: options.scatter };
    const backEnds = options.backEnds ?? [opteeBackEnd];
    // MED-017: physical address 0 is the protocol's null pointer and backs nothing.
    this.frames = new Frames(options.guests.map(withoutZero), order);
    const heapFrames = new Frames([withoutZero(options.heap)], order);
    const memory = port.memory.as?.("mediator") ?? port.memory;
    this.rules = rules.name;
    this.#host = {
      port,
      rules,
      heap: new PageHeap(heapFrames, memory, options.failAllocation),
      trace: options.trace,
      compatible: options.compatible ?? backEnds.map(({ guestNode }) => guestNode.compatible),
    };
    const { tee, log, now, preempt } = options;
    this.#front = new TeeFront({ host: this.#host, backEnds, tee, ids: rules, log, now, preempt });
  }

  get tee(): string | undefined {
    return this.#front.tee;
  }

  get vms(): readonly Vm[] {
    return this.#front.vms;
  }

  get heapPages(): number {
    return this.#host.heap.used;
  }

  createVm(spec: VmSpec = DEFAULT_VM): Outcome<Vm> {
    const { base, size } = spec.ram;
    if (base < PAGE_SIZE || base % PAGE_SIZE !== 0 || size <= 0 || size % PAGE_SIZE !== 0) {
      return refused("EINVAL", "RAM is not whole pages above address 0 (MED-017)");
    }
    const made = this.#front.createVm(spec, (clientId) => this.#populated(clientId, spec));
    if (made.ok) this.#nextOwner += 1;
    return made;
  }

  #populated(clientId: number, { ram, directMapped }: VmSpec): Outcome<GuestSpace> {
    const { base, size } = ram;
    const { port } = this.#host;
    const memory = port.memory.as?.(`vm ${clientId}`) ?? port.memory;
    const space = new GuestSpace(this.frames, memory, this.#nextOwner);
    const populated =
      directMapped === true
        ? space.populateIdentity(base, size)
        : space.populate(base as Ipa, size);
    if (!populated) return refused("ENOMEM", `no ${size} bytes of RAM for the VM`);
    return { ok: true, value: space };
  }
}

const DEFAULT_VM: VmSpec = { ram: { base: 0x4000_0000, size: 0x100_0000 } };

function withoutZero({ base, size }: Window): Window {
  return base === 0 ? { base: PAGE_SIZE, size: size - PAGE_SIZE } : { base, size };
}
