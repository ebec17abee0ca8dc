import type { RuleSetName } from "./contract.ts";

/** Where rule sets differ. Every defect of the Xen mediator has its own switch (sheet MED). */
export interface RuleSet {
  readonly name: RuleSetName;
  /** Client id of the first VM; 0 is the hypervisor (MED section 0, section 12). */
  readonly firstClientId: number;
  /** The hypervisor's host is itself a client, announced as this id at the start; 0 for none. */
  readonly hostClientId: number;
  /** Ids of destroyed VMs may be given out again once 65,535 is reached. */
  readonly reuseClientIds: boolean;
  /** Registered, temporary and RPC buffers together. */
  readonly maxBuffers: number;
  readonly maxPagesPerBuffer: number;
  /** Pages of all buffers together that may be in use. */
  readonly maxPages: number;

  /** MED-046: a refused num_params leaves a0 as it was. */
  readonly keepA0OnTooManyParams: boolean;
  /** MED-052: what earlier parameters pinned stays pinned when a later one is refused. */
  readonly keepBuffersOfRefusedMessage: boolean;
  /** MED-067: the page count is truncated to 32 bits and an empty list counts as out of memory. */
  readonly truncatePageCount: boolean;
  /** MED-068: a failed walk gives back only the pages pinned so far of its reservation. */
  readonly leakPageQuota: boolean;
  /** MED-085: completion frees buffers by whatever cookie the message names. */
  readonly freeByGuestCookie: boolean;
  /**
   * MED-084: temporary memory keeps the guest's cookie on its way to the secure world. OP-TEE never
   * lets go of such an object, so that a guest finds it by that cookie when its pages are unpinned.
   */
  readonly keepTemporaryCookie: boolean;
  /** MED-086: ETHREAD_LIMIT from the secure world completes the message and believes its stale ret. */
  readonly completeOnThreadLimit: boolean;
  /** MED-090: a failed copy-back at completion is hidden by the secure world's a0. */
  readonly loseCopyBackError: boolean;
  /** MED-106: an RPC that cannot be delivered is answered with its own RPC code. */
  readonly answerLostRpcWithRpcCode: boolean;
  /** MED-123, MED-124: guest frame 0 and duplicate cookies in an ALLOC reply are taken at face value. */
  readonly naiveRpcAlloc: boolean;
  /**
   * MED-130, MED-131, MED-132, MED-135, MED-141, MED-146, MED-147: the guest's reply replaces the
   * request as it is.
   */
  readonly trustRpcReply: boolean;
  /** MED-166: pins are dropped before the secure world forgets the VM. */
  readonly unpinBeforeDestroy: boolean;
}

const better = {
  keepA0OnTooManyParams: false,
  keepBuffersOfRefusedMessage: false,
  truncatePageCount: false,
  leakPageQuota: false,
  freeByGuestCookie: false,
  keepTemporaryCookie: false,
  completeOnThreadLimit: false,
  loseCopyBackError: false,
  answerLostRpcWithRpcCode: false,
  naiveRpcAlloc: false,
  trustRpcReply: false,
  unpinBeforeDestroy: false,
} as const;

export const RULE_SETS: Readonly<Record<RuleSetName, RuleSet>> = {
  xen: {
    name: "xen",
    firstClientId: 1,
    hostClientId: 0,
    reuseClientIds: true,
    maxBuffers: 16,
    maxPagesPerBuffer: 129,
    maxPages: 16_383,
    keepA0OnTooManyParams: true,
    keepBuffersOfRefusedMessage: true,
    truncatePageCount: true,
    leakPageQuota: true,
    freeByGuestCookie: true,
    keepTemporaryCookie: true,
    completeOnThreadLimit: true,
    loseCopyBackError: true,
    answerLostRpcWithRpcCode: true,
    naiveRpcAlloc: true,
    trustRpcReply: true,
    unpinBeforeDestroy: true,
  },
  strict: {
    name: "strict",
    firstClientId: 1,
    hostClientId: 0,
    reuseClientIds: true,
    maxBuffers: 16_384,
    maxPagesPerBuffer: 16_384,
    maxPages: 16_384,
    ...better,
  },
  kvm: {
    name: "kvm",
    firstClientId: 2,
    hostClientId: 1,
    reuseClientIds: false,
    maxBuffers: 512,
    maxPagesPerBuffer: 512,
    maxPages: 512,
    ...better,
  },
};
