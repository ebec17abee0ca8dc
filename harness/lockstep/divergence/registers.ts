import { OPTEE_SMC } from "../../optee-abi/index.ts";

/** How a register, or a pair with the high word first, is to be read. */
export type RegisterType =
  | "constant"
  | "address"
  | "cookie"
  /** A cookie that the sender makes up here. */
  | "new cookie"
  | "thread"
  | "new thread"
  | "client"
  | "version"
  | "garbage";

/** One register by number, or two that make up 64 bits, and its type; the rest is constant. */
export type RegisterSpec = readonly [register: number | readonly [number, number], RegisterType];

const A1_A2 = [1, 2] as const;
const A4_A5 = [4, 5] as const;

/** What a caller puts into registers (SMC sections 3 and 4.1). */
export const ENTER: Readonly<Record<number, readonly RegisterSpec[]>> = {
  [OPTEE_SMC.CALL_WITH_ARG]: [[A1_A2, "address"]],
  [OPTEE_SMC.CALL_WITH_RPC_ARG]: [[A1_A2, "address"]],
  [OPTEE_SMC.CALL_WITH_REGD_ARG]: [[A1_A2, "cookie"]],
  [OPTEE_SMC.VM_CREATED]: [[1, "client"]],
  [OPTEE_SMC.VM_DESTROYED]: [[1, "client"]],
};

/** How RETURN_FROM_RPC answers, by the RPC's function (SMC section 5); `other` where none is known. */
export const RESUME = {
  ALLOC: [
    [A1_A2, "address"],
    [3, "thread"],
    [A4_A5, "new cookie"],
  ],
  CMD: [
    [A1_A2, "cookie"],
    [3, "thread"],
    // SMC-5.7: what an earlier reply to ALLOC left.
    [A4_A5, "garbage"],
  ],
  other: [
    [A1_A2, "garbage"],
    [3, "thread"],
    [A4_A5, "garbage"],
  ],
} as const satisfies Record<string, readonly RegisterSpec[]>;

/** What a fast call that ended in OK leaves in registers (SMC section 3). */
export const LEAVE_OK: Readonly<Record<number, readonly RegisterSpec[]>> = {
  [OPTEE_SMC.GET_SHM_CONFIG]: [[1, "address"]],
  [OPTEE_SMC.DISABLE_SHM_CACHE]: [[A1_A2, "cookie"]],
  [OPTEE_SMC.GET_PROTMEM_CONFIG]: [[1, "address"]],
};

/** What leaves no code in a0 but an answer. */
export const LEAVE_ANSWER: Readonly<Record<number, readonly RegisterSpec[]>> = {
  [OPTEE_SMC.CALLS_COUNT]: [],
  [OPTEE_SMC.CALLS_UID]: [],
  [OPTEE_SMC.CALLS_REVISION]: [],
  [OPTEE_SMC.GET_OS_UUID]: [],
  [OPTEE_SMC.GET_OS_REVISION]: [
    [0, "version"],
    [1, "version"],
    [2, "version"],
  ],
};

/** An RPC's request (SMC section 5). `new thread` where the call had none before. */
export const LEAVE_RPC = {
  ALLOC: [[3, "thread"]],
  FREE: [
    [A1_A2, "cookie"],
    [3, "thread"],
  ],
  CMD: [
    [A1_A2, "cookie"],
    [3, "thread"],
  ],
  other: [[3, "thread"]],
} as const satisfies Record<string, readonly RegisterSpec[]>;

/** SMC-4.1.10: a refusal before there is a thread says nothing in these. */
export const LEAVE_EARLY: readonly RegisterSpec[] = [
  [1, "garbage"],
  [2, "garbage"],
  [3, "garbage"],
];
