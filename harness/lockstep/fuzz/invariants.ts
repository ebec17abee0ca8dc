import type { RuleSetName } from "../../mediator/index.ts";

/** What must hold after every step of every program, whatever guests do. */
export const INVARIANTS = {
  "never-throws": "mediator and secure world throw on nothing that a guest can do",
  "never-hangs": "mediator and secure world come back from everything that a guest can do",
  "no-address-shown": "no register and no byte that a guest can see holds a machine address",
  "no-foreign-data": "nothing that belongs to another VM or to the host is shown to a VM",
  "mediator-reach": "the mediator touches its own memory and that of the VM whose call it handles",
  "secure-reach": "the secure world touches what the mediator gave it for the VM that calls",
  "lists-are-ours": "whatever is handed to the secure world names pages pinned for the caller",
  "argument-is-ours": "arguments handed to the secure world are pages of the mediator's own",
  "call-form": "forwarded calls carry a known function, the caller's client id and nothing else",
  "pins-have-owners": "every pin is recorded, and its owner lives",
  "shared-is-pinned": "what the secure world holds of a VM's memory is pinned for that VM",
  "pinned-until-forgotten": "pins are dropped only after the secure world has forgotten the VM",
  "rpc-argument-lives": "an RPC argument that the secure world holds is the mediator's still",
  quotas: "calls, buffers and pages stay within the rule set's quotas",
  "quota-exact": "the pages charged to a VM are the pages of its buffers",
  "temporary-ends": "no temporary buffer outlives the calls of its VM",
  "no-stuck-call": "outside of SMCs every call is suspended and can be resumed",
  "threads-rest": "outside of SMCs every thread of the secure world is free or suspended",
  answered: "a yielding call comes back with a return code",
  "result-delivered": "a call that comes back as OK has had its result written",
  "retry-leaves-no-trace": "a call that is to be made again has changed nothing",
  "registers-preserved": "x4 to x7 come back as they were",
  "no-zero-cookie": "an RPC argument is handed on under a cookie of its own, never 0",
  "no-early-free": "a guest is not asked to free a buffer that is in use",
  "fresh-memory": "memory that a VM gets is zero",
  "clean-death": "nothing of a dead VM remains on either side",
  "nothing-left": "with the last VM the mediator's memory is empty and no page is pinned",
} as const;

export type Invariant = keyof typeof INVARIANTS;

/** A defect of a rule set that is there on purpose, and the invariants that it breaks. */
export interface Excuse {
  /** The clause that describes the defect. */
  readonly clause: string;
  readonly rules: RuleSetName;
  readonly invariants: readonly Invariant[];
  /** How the one leads to the other. */
  readonly because: string;
}

const xen = (clause: string, invariants: readonly Invariant[], because: string): Excuse => ({
  clause,
  rules: "xen",
  invariants,
  because,
});

/** What follows where a guest hands the secure world a machine address of its own choice. */
const PHYSICAL_ADDRESS: readonly Invariant[] = [
  "lists-are-ours",
  "secure-reach",
  "no-foreign-data",
  "shared-is-pinned",
  "pinned-until-forgotten",
];

/** Every invariant that a rule set may break, each with the clauses that say so. All else is a bug. */
export const EXCUSES: readonly Excuse[] = [
  xen("MED-046", ["answered"], "a0 keeps the function id when num_params is over 127"),
  xen("MED-052", ["temporary-ends"], "buffers of a refused message stay"),
  xen(
    "MED-067",
    ["lists-are-ours"],
    "sizes from 2^44 on are truncated, so the list is shorter than the size says",
  ),
  xen("MED-068", ["quota-exact", "clean-death"], "a failed walk gives back less than it took"),
  xen(
    "MED-084",
    ["shared-is-pinned", "secure-reach", "pinned-until-forgotten"],
    "OP-TEE keeps temporary memory, and a guest finds it by its own cookie when it is unpinned",
  ),
  xen(
    "MED-085",
    ["shared-is-pinned", "secure-reach", "lists-are-ours", "temporary-ends"],
    "completion frees what the message names: others' buffers, and not all of its own",
  ),
  xen("MED-086", ["retry-leaves-no-trace"], "a refused call is completed with a stale result"),
  xen("MED-090", ["result-delivered"], "OP-TEE's a0 hides that the copy-back failed"),
  xen(
    "MED-106",
    ["call-form", "no-stuck-call"],
    "the RPC code is sent where RETURN_FROM_RPC belongs",
  ),
  xen("MED-107", ["no-address-shown"], "requests of the secure world are shown as they are"),
  xen("MED-123", ["no-zero-cookie"], "cookie 0 is taken at face value"),
  xen(
    "MED-124",
    ["rpc-argument-lives", "secure-reach"],
    "a refused duplicate makes OP-TEE free the older RPC argument",
  ),
  xen("MED-131", ["no-stuck-call", "answered"], "a reply with an unknown cookie is dropped"),
  xen("MED-135", PHYSICAL_ADDRESS, "the command of the reply decides whether it is translated"),
  xen("MED-141", PHYSICAL_ADDRESS, "other attributes are passed on untranslated"),
  xen("MED-147", ["no-early-free"], "a duplicate cookie is given back to the guest to free"),
  xen("MED-166", ["pinned-until-forgotten"], "pins go before VM_DESTROYED is sent"),
];

/** The clauses that excuse a broken invariant under a rule set; none for a bug. */
export const excusesOf = (invariant: Invariant, rules: RuleSetName): readonly Excuse[] =>
  EXCUSES.filter((one) => one.rules === rules && one.invariants.includes(invariant));
