import { UsageError, systemClock } from "../base/index.ts";
import {
  Frames,
  GuestSpace,
  type Ipa,
  type OwnerId,
  PAGE_SIZE,
  type PlatformPort,
  type Window,
} from "../machine/index.ts";
import type { BackEndHost, ProbedTee, TeeBackEnd, TeeGuest } from "./backend.ts";
import type {
  Errno,
  Mediator,
  MediatorOptions,
  Outcome,
  RuleSetName,
  Vm,
  VmSpec,
} from "./contract.ts";
import { GuestLog } from "./guest-log.ts";
import { PageHeap } from "./heap.ts";
import { opteeBackEnd } from "./optee/back-end.ts";
import { RULE_SETS, type RuleSet } from "./rules.ts";
import { MediatedVm } from "./vm.ts";

/** The secure world keeps 16 bits of a client id. */
const LAST_CLIENT_ID = 0xffff;
const FIRST_VM_OWNER: OwnerId = 2;

interface Active {
  readonly backEnd: TeeBackEnd;
  readonly tee: ProbedTee;
}

/**
 * A mediator in front of `port`. Probes its back ends now: the first that answers is the only one
 * (MED-005). Throws UsageError when `options.tee` names one that is absent or does not answer, and
 * RangeError for windows that are not whole pages.
 */
export function createMediator(port: PlatformPort, options: MediatorOptions): Mediator {
  return new TeeMediator(port, options);
}

class TeeMediator implements Mediator {
  readonly rules: RuleSetName;
  readonly tee: string | undefined;
  readonly frames: Frames;
  readonly #options: MediatorOptions;
  readonly #rules: RuleSet;
  readonly #host: BackEndHost;
  readonly #active: Active | undefined;
  readonly #vms: MediatedVm[] = [];
  #nextClientId: number;
  #nextOwner: OwnerId = FIRST_VM_OWNER;

  constructor(port: PlatformPort, options: MediatorOptions) {
    const rules = RULE_SETS[options.rules ?? "strict"];
    const order = options.scatter === undefined ? {} : { scatter: options.scatter };
    // MED-017: physical address 0 is the protocol's null pointer and backs nothing.
    this.frames = new Frames(options.guests.map(withoutZero), order);
    const heapFrames = new Frames([withoutZero(options.heap)], order);
    const memory = port.memory.as?.("mediator") ?? port.memory;
    this.#options = options;
    this.#rules = rules;
    this.rules = rules.name;
    this.#nextClientId = rules.firstClientId;
    this.#host = {
      port,
      rules,
      heap: new PageHeap(heapFrames, memory, options.failAllocation),
      trace: options.trace,
      compatible: options.compatible ?? ["linaro,optee-tz"],
    };
    this.#active = probe(this.#host, options.backEnds ?? [opteeBackEnd], options.tee);
    this.tee = this.#active?.backEnd.name;
    if (rules.hostClientId !== 0) this.#active?.tee.announce(rules.hostClientId);
  }

  get vms(): readonly Vm[] {
    return this.#vms;
  }

  get heapPages(): number {
    return this.#host.heap.used;
  }

  createVm(spec: VmSpec = DEFAULT_VM): Outcome<Vm> {
    const { base, size } = spec.ram;
    if (base < PAGE_SIZE || base % PAGE_SIZE !== 0 || size <= 0 || size % PAGE_SIZE !== 0) {
      return refused("EINVAL", "RAM is not whole pages above address 0 (MED-017)");
    }
    const wanted = this.#teeFor(spec);
    if (!wanted.ok) return wanted;
    const clientId = this.#freeClientId();
    if (clientId === undefined) return refused("ENOSPC", "all client ids are used");

    const owner = this.#nextOwner;
    const { port } = this.#host;
    const memory = port.memory.as?.(`vm ${clientId}`) ?? port.memory;
    const space = new GuestSpace(this.frames, memory, owner);
    const populated =
      spec.directMapped === true
        ? space.populateIdentity(base, size)
        : space.populate(base as Ipa, size);
    if (!populated) return refused("ENOMEM", `no ${size} bytes of RAM for the VM`);

    let tee: { guest: TeeGuest; backEnd: TeeBackEnd } | undefined;
    if (wanted.value !== undefined) {
      const now = this.#options.now ?? (() => systemClock.monotonicMs());
      const write = this.#options.log;
      const log = write === undefined ? undefined : new GuestLog(`vm ${clientId}`, write, now);
      const guest = wanted.value.tee.createGuest({ clientId, space, log });
      if (!guest.ok) {
        space.close();
        return guest;
      }
      tee = { guest: guest.value, backEnd: wanted.value.backEnd };
    }
    this.#nextOwner += 1;
    this.#nextClientId = clientId + 1;
    const forget = (dead: MediatedVm): void => {
      this.#vms.splice(this.#vms.indexOf(dead), 1);
    };
    const vm = new MediatedVm(clientId, space, spec.ram, tee, forget, this.#options.preempt);
    this.#vms.push(vm);
    return { ok: true, value: vm };
  }

  /** MED-006: the TEE that a VM of this kind gets; undefined for none. */
  #teeFor(spec: VmSpec): Outcome<Active | undefined> {
    const active = this.#active;
    if (spec.tee === "none") return { ok: true, value: undefined };
    if (spec.tee === undefined && spec.hardwareDomain === true) return { ok: true, value: active };
    if (active === undefined) return refused("ENODEV", "no TEE answers on this platform");
    if (spec.tee !== undefined && spec.tee !== active.backEnd.name) {
      return refused("EINVAL", `the TEE is ${active.backEnd.name}, not ${spec.tee}`);
    }
    return { ok: true, value: active };
  }

  #freeClientId(): number | undefined {
    if (this.#nextClientId <= LAST_CLIENT_ID) return this.#nextClientId;
    if (!this.#rules.reuseClientIds) return undefined;
    const taken = new Set(this.#vms.map((vm) => vm.clientId));
    for (let id = this.#rules.firstClientId; id <= LAST_CLIENT_ID; id += 1) {
      if (!taken.has(id)) return id;
    }
    return undefined;
  }
}

const DEFAULT_VM: VmSpec = { ram: { base: 0x4000_0000, size: 0x100_0000 } };

const refused = (error: Errno, reason: string): { ok: false; error: Errno; reason: string } => ({
  ok: false,
  error,
  reason,
});

function withoutZero({ base, size }: Window): Window {
  return base === 0 ? { base: PAGE_SIZE, size: size - PAGE_SIZE } : { base, size };
}

function probe(
  host: BackEndHost,
  backEnds: readonly TeeBackEnd[],
  only: string | undefined,
): Active | undefined {
  for (const backEnd of backEnds) {
    if (only !== undefined && backEnd.name !== only) continue;
    const tee = backEnd.probe(host);
    if (tee !== undefined) return { backEnd, tee };
  }
  if (only === undefined) return undefined;
  throw new UsageError(`the TEE ${only} was asked for and does not answer`, {
    expected: `a secure world that the ${only} back end recognises`,
    next: "Leave the TEE out to take the one that answers, or run a secure world built for VMs.",
  });
}
