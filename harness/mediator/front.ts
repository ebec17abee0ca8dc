import { systemClock, UsageError } from "../base/index.ts";
import type { GuestMemory } from "../machine/index.ts";
import type { ProbedTee, TeeBackEnd, TeeGuest } from "./backend.ts";
import type { Errno, Outcome, VmSpec } from "./contract.ts";
import { GuestLog } from "./guest-log.ts";
import { MediatedVm } from "./vm.ts";

/** The secure world keeps 16 bits of a client id. */
const LAST_CLIENT_ID = 0xffff;

/** A VM's memory, however the placement of the mediator holds it. */
export interface VmMemory extends GuestMemory {
  /** The VM is gone. */
  close(): void;
}

/** How client ids are given out. */
export interface ClientIds {
  /** Of the first VM; 0 is the hypervisor. */
  readonly firstClientId: number;
  /** The host is a client itself, announced under this id at the start; 0 for none. */
  readonly hostClientId: number;
  /** Ids of destroyed VMs may be given out again once 65,535 is reached. */
  readonly reuseClientIds: boolean;
}

export interface FrontOptions<Host, Space> {
  /** What the placement gives its back ends to work with. */
  readonly host: Host;
  /** In the order in which they are probed. */
  readonly backEnds: readonly TeeBackEnd<Host, Space>[];
  /** Only this back end, which must answer. */
  readonly tee: string | undefined;
  readonly ids: ClientIds;
  readonly log?: ((line: string) => void) | undefined;
  /** Monotonic milliseconds for the rate limit of `log`. */
  readonly now?: (() => number) | undefined;
  /** Asked before each step of a VM's end: true leaves the rest for later (MED-163). */
  readonly preempt?: (() => boolean) | undefined;
}

interface Active<Host, Space> {
  readonly backEnd: TeeBackEnd<Host, Space>;
  readonly tee: ProbedTee<Space>;
}

/**
 * The part of a mediator that knows no TEE and not where it runs: back ends by owner range and probe,
 * client ids, the life of VMs. A placement (a hypervisor, a VMM in user space) decides what a VM's
 * memory is and what back ends work with.
 */
export class TeeFront<Host, Space extends VmMemory> {
  readonly vms: MediatedVm<Space>[] = [];
  readonly #options: FrontOptions<Host, Space>;
  readonly #active: Active<Host, Space> | undefined;
  #nextClientId: number;

  /**
   * Probes the back ends: the first that answers is the only one (MED-005). Throws UsageError when
   * `tee` names one that is absent or does not answer.
   */
  constructor(options: FrontOptions<Host, Space>) {
    const { ids } = options;
    this.#options = options;
    this.#nextClientId = ids.firstClientId;
    this.#active = probe(options);
    if (ids.hostClientId !== 0) this.#active?.tee.announce(ids.hostClientId);
  }

  /** The name of the back end that answered. */
  get tee(): string | undefined {
    return this.#active?.backEnd.name;
  }

  /** A new VM; `makeSpace` is asked for its memory once everything else is settled. */
  createVm(
    spec: VmSpec,
    makeSpace: (clientId: number) => Outcome<Space>,
  ): Outcome<MediatedVm<Space>> {
    const wanted = this.#teeFor(spec);
    if (!wanted.ok) return wanted;
    const clientId = this.#freeClientId();
    if (clientId === undefined) return refused("ENOSPC", "all client ids are used");
    const space = makeSpace(clientId);
    if (!space.ok) return space;

    let tee: { guest: TeeGuest; backEnd: TeeBackEnd<Host, Space> } | undefined;
    if (wanted.value !== undefined) {
      const log = this.#logFor(clientId);
      const guest = wanted.value.tee.createGuest({ clientId, space: space.value, log });
      if (!guest.ok) {
        space.value.close();
        return guest;
      }
      tee = { guest: guest.value, backEnd: wanted.value.backEnd };
    }
    this.#nextClientId = clientId + 1;
    const forget = (dead: MediatedVm<Space>): void => {
      this.vms.splice(this.vms.indexOf(dead), 1);
    };
    const { preempt } = this.#options;
    const vm = new MediatedVm(clientId, space.value, spec.ram, tee, forget, preempt);
    this.vms.push(vm);
    return { ok: true, value: vm };
  }

  #logFor(clientId: number): GuestLog | undefined {
    const { log, now = () => systemClock.monotonicMs() } = this.#options;
    return log === undefined ? undefined : new GuestLog(`vm ${clientId}`, log, now);
  }

  /** MED-006: the TEE that a VM of this kind gets; undefined for none. */
  #teeFor(spec: VmSpec): Outcome<Active<Host, Space> | undefined> {
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
    const { ids } = this.#options;
    if (!ids.reuseClientIds) return undefined;
    const taken = new Set(this.vms.map((vm) => vm.clientId));
    for (let id = ids.firstClientId; id <= LAST_CLIENT_ID; id += 1) {
      if (!taken.has(id)) return id;
    }
    return undefined;
  }
}

/** What was asked for cannot be. */
export const refused = (
  error: Errno,
  reason: string,
): { ok: false; error: Errno; reason: string } => ({
  ok: false,
  error,
  reason,
});

function probe<Host, Space>({
  host,
  backEnds,
  tee: only,
}: FrontOptions<Host, Space>): Active<Host, Space> | undefined {
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
