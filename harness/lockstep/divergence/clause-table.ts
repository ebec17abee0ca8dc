import {
  FS_OP,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  SOCKET_OP,
  TEEC,
} from "../../optee-abi/index.ts";
import type { ClauseRow } from "./clause-row.ts";
import { RPMB_ROWS } from "./rpmb-clauses.ts";

const { CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG, RETURN_FROM_RPC } = OPTEE_SMC;
const CALLS = [CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG];
const YIELDING = [...CALLS, RETURN_FROM_RPC];
const ALONE = ["missing call", "extra call"] as const;

/** Functions with a row of their own in SMC section 3. */
const FAST = [
  "CALLS_COUNT",
  "CALLS_UID",
  "CALLS_REVISION",
  "GET_OS_UUID",
  "GET_OS_REVISION",
  "GET_SHM_CONFIG",
  "L2CC_MUTEX",
  "EXCHANGE_CAPABILITIES",
  "DISABLE_SHM_CACHE",
  "ENABLE_SHM_CACHE",
  "BOOT_SECONDARY",
  "VM_CREATED",
  "VM_DESTROYED",
  "GET_THREAD_COUNT",
  "ENABLE_ASYNC_NOTIF",
  "GET_ASYNC_NOTIF_VALUE",
  "GET_PROTMEM_CONFIG",
] as const;

const MEDIATED_FAST: Readonly<Partial<Record<(typeof FAST)[number], readonly string[]>>> = {
  CALLS_COUNT: ["MED-020"],
  CALLS_UID: ["MED-021"],
  CALLS_REVISION: ["MED-022"],
  GET_OS_UUID: ["MED-023"],
  GET_OS_REVISION: ["MED-024"],
  ENABLE_SHM_CACHE: ["MED-025"],
  DISABLE_SHM_CACHE: ["MED-026"],
  GET_SHM_CONFIG: ["MED-027", "MED-10.NO_SHM"],
};

const mediator: readonly ClauseRow[] = [
  { from: "mediator", kinds: ["guest"], clauses: ["MED-015"] },
  {
    from: "mediator",
    fids: [OPTEE_SMC.VM_CREATED],
    kinds: ALONE,
    clauses: ["MED-015", "MED-12.1"],
  },
  {
    from: "mediator",
    fids: [OPTEE_SMC.VM_DESTROYED],
    kinds: ALONE,
    clauses: ["MED-164", "MED-12.2"],
  },
  { from: "mediator", fids: YIELDING, field: /^a7$/, clauses: ["MED-009", "MED-12.3"] },
  ...FAST.map((name): ClauseRow => {
    const clauses = MEDIATED_FAST[name] ?? ["MED-029", "MED-10.NOT_MEDIATED"];
    return { from: "mediator", fids: [OPTEE_SMC[name]], clauses };
  }).filter(({ fids }) => fids?.[0] !== OPTEE_SMC.EXCHANGE_CAPABILITIES),
  {
    from: "mediator",
    fids: [OPTEE_SMC.EXCHANGE_CAPABILITIES],
    field: /^a1$/,
    clauses: ["MED-032"],
  },
  {
    from: "mediator",
    fids: [OPTEE_SMC.EXCHANGE_CAPABILITIES],
    field: /^a[23]$/,
    clauses: ["MED-034"],
  },
  {
    from: "mediator",
    fids: [OPTEE_SMC.EXCHANGE_CAPABILITIES],
    clauses: ["MED-028", "MED-033", "MED-031", "MED-030"],
  },
  { from: "mediator", fids: [CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG], clauses: ["MED-029"] },
  {
    from: "mediator",
    fids: YIELDING,
    codes: [SMC_RETURN.ERESUME],
    clauses: ["MED-110", "MED-152", "MED-10.BAD_RESUME"],
  },
  {
    from: "mediator",
    fids: CALLS,
    codes: [SMC_RETURN.ETHREAD_LIMIT],
    clauses: ["MED-040", "MED-086", "MED-10.TOO_MANY_CALLS"],
  },
  {
    from: "mediator",
    fids: CALLS,
    codes: [SMC_RETURN.EBADADDR],
    clauses: ["MED-043", "MED-090", "MED-10.BAD_ARG"],
  },
  {
    from: "mediator",
    fids: CALLS,
    codes: [SMC_RETURN.ENOMEM],
    clauses: ["MED-041", "MED-044", "MED-10.NO_MEMORY"],
  },
  {
    from: "mediator",
    fids: CALLS,
    codes: [SMC_RETURN.EBADCMD],
    clauses: ["MED-047", "MED-10.BAD_CMD"],
  },
  { from: "mediator", codes: [SMC_RETURN.UNKNOWN_FUNCTION], clauses: ["MED-008", "MED-046"] },
  {
    from: "mediator",
    results: [TEEC.TEEC_ERROR_OUT_OF_MEMORY],
    clauses: ["MED-062", "MED-060", "MED-10.QUOTA"],
  },
  {
    from: "mediator",
    results: [TEEC.TEEC_ERROR_BAD_PARAMETERS],
    clauses: ["MED-050", "MED-063", "MED-067", "MED-051", "MED-046", "MED-10.BAD_BUFFER"],
  },
  {
    from: "mediator",
    rpcs: [RPC_CMD.SHM_ALLOC],
    clauses: ["MED-142", "MED-143", "MED-141", "MED-140"],
  },
  { from: "mediator", rpcs: [RPC_CMD.SHM_FREE], clauses: ["MED-104", "MED-143", "MED-145"] },
  { from: "mediator", codes: [SMC_RETURN.RPC_ALLOC], clauses: ["MED-120", "MED-121", "MED-122"] },
  { from: "mediator", codes: [SMC_RETURN.RPC_FREE], clauses: ["MED-105", "MED-113"] },
  { from: "mediator", codes: [SMC_RETURN.RPC_CMD], field: /^a/, clauses: ["MED-100"] },
  { from: "mediator", codes: [SMC_RETURN.RPC_CMD], clauses: ["MED-102", "MED-107", "MED-106"] },
  {
    from: "mediator",
    fids: [RETURN_FROM_RPC],
    field: /^a/,
    clauses: ["MED-134", "MED-113", "MED-112"],
  },
  { from: "mediator", fids: CALLS, field: /^a/, clauses: ["MED-053", "MED-080"] },
  { from: "mediator", field: /buf_ptr$/, clauses: ["MED-065", "MED-064", "MED-091"] },
  {
    from: "mediator",
    field: /(?:attr|offs|shm_ref|^cmd|^func|^num_params)$/,
    clauses: ["MED-091", "MED-092"],
  },
  {
    from: "mediator",
    fids: YIELDING,
    field: /^(?:ret|ret_origin|session|params)/,
    clauses: ["MED-091", "MED-045"],
  },
  { from: "mediator", fids: YIELDING, clauses: ["MED-12.6"] },
];

const RPC_ROWS: readonly ClauseRow[] = [
  ...RPMB_ROWS,
  { rpcs: [RPC_CMD.LOAD_TA], clauses: ["MSG-3.LOAD_TA", "MSG-3.7", "MSG-3.5.LOAD_TA"] },
  {
    rpcs: [RPC_CMD.SHM_ALLOC],
    clauses: ["MSG-3.SHM_ALLOC", "MSG-3.3", "MSG-3.6", "MSG-3.SHM_TYPES"],
  },
  { rpcs: [RPC_CMD.SHM_FREE], clauses: ["MSG-3.SHM_FREE", "MSG-3.6", "MSG-3.3"] },
  { rpcs: [RPC_CMD.RPMB_PROBE_RESET], clauses: ["MSG-3.RPMB_PROBE_RESET", "MSG-3.8"] },
  ...Object.entries(FS_OP).map(([name, operation]): ClauseRow => ({
    rpcs: [RPC_CMD.FS],
    operations: [operation],
    clauses: [`MSG-3.1.${name}`],
  })),
  ...Object.entries(SOCKET_OP).map(([name, operation]): ClauseRow => ({
    rpcs: [RPC_CMD.SOCKET],
    operations: [operation],
    clauses: [`MSG-3.2.${name}`],
  })),
  { rpcs: [RPC_CMD.SUPP_PLUGIN], clauses: ["MSG-3.SUPP_PLUGIN", "MSG-3.3.INVOKE"] },
  ...(
    [
      "RPMB",
      "FS",
      "GET_TIME",
      "NOTIFICATION",
      "SUSPEND",
      "GPROF",
      "SOCKET",
      "FTRACE",
      "BENCH_REG",
      "I2C_TRANSFER",
      "RPMB_PROBE_NEXT",
      "RPMB_FRAMES",
    ] as const
  ).map((name): ClauseRow => ({ rpcs: [RPC_CMD[name]], clauses: [`MSG-3.${name}`] })),
];

const secure: readonly ClauseRow[] = [
  // What a fast call answers.
  { fids: FAST.map((name) => OPTEE_SMC[name]), field: /^a[4-7]$/, clauses: ["SMC-3.REGISTERS"] },
  ...FAST.map((name): ClauseRow => ({
    fids: [OPTEE_SMC[name]],
    clauses: [`SMC-3.${name}`, `SMC-1.${name}`],
  })),
  { from: "secure", fids: [OPTEE_SMC.DISABLE_SHM_CACHE], clauses: ["SMC-6.DISABLE"] },
  { from: "secure", fids: [OPTEE_SMC.ENABLE_SHM_CACHE], clauses: ["SMC-6.ENABLE"] },
  // RPCs.
  {
    from: "secure",
    codes: [SMC_RETURN.RPC_ALLOC],
    clauses: ["SMC-5.ALLOC", "SMC-5.2", "SMC-2.RPC_ALLOC"],
  },
  {
    from: "secure",
    codes: [SMC_RETURN.RPC_FREE],
    clauses: ["SMC-5.FREE", "SMC-5.3", "SMC-5.1", "SMC-2.RPC_FREE"],
  },
  { from: "secure", codes: [SMC_RETURN.RPC_CMD], field: /^a3$/, clauses: ["SMC-5", "SMC-4.1.3"] },
  { from: "secure", codes: [SMC_RETURN.RPC_CMD], field: /^a[12]/, clauses: ["SMC-5.CMD"] },
  { from: "secure", codes: [SMC_RETURN.RPC_CMD], field: /^ret$/, clauses: ["MSG-3.1"] },
  {
    from: "secure",
    codes: [SMC_RETURN.RPC_CMD],
    field: /(?:attr|buf_ptr|offs|shm_ref)$/,
    clauses: ["MSG-3.4"],
  },
  ...RPC_ROWS,
  { from: "secure", codes: [SMC_RETURN.RPC_CMD], clauses: ["SMC-5.6", "SMC-5.CMD"] },
  { codes: [SMC_RETURN.RPC_FOREIGN_INTR], clauses: ["SMC-5.FOREIGN_INTR", "SMC-4.3"] },
  // Codes of yielding calls.
  {
    from: "secure",
    fids: YIELDING,
    codes: [SMC_RETURN.ETHREAD_LIMIT],
    clauses: ["SMC-4.1.3", "SMC-2.ETHREAD_LIMIT"],
  },
  {
    from: "secure",
    fids: [RETURN_FROM_RPC],
    codes: [SMC_RETURN.ERESUME],
    clauses: ["SMC-4.2.RESUME_CHECK", "SMC-2.ERESUME", "SMC-4.2.CLIENT_CHECK"],
  },
  {
    from: "secure",
    fids: [CALL_WITH_REGD_ARG],
    codes: [SMC_RETURN.EBADADDR, SMC_RETURN.ENOMEM],
    clauses: ["SMC-4.1.6", "MSG-2.3.5"],
  },
  {
    from: "secure",
    fids: CALLS,
    codes: [SMC_RETURN.EBADADDR],
    clauses: ["SMC-4.1.5", "SMC-4.1.7", "SMC-4.1.8", "SMC-2.EBADADDR"],
  },
  {
    from: "secure",
    codes: [SMC_RETURN.EBADCMD],
    clauses: ["SMC-4.1.9", "SMC-4.1.2", "MSG-2.OTHER", "SMC-2.EBADCMD"],
  },
  {
    from: "secure",
    fids: YIELDING,
    codes: [SMC_RETURN.ENOTAVAIL],
    clauses: ["SMC-4.1.1", "SMC-2.ENOTAVAIL"],
  },
  { from: "secure", codes: [SMC_RETURN.ENOTAVAIL], clauses: ["SMC-8.4", "SMC-2.ENOTAVAIL"] },
  {
    from: "secure",
    codes: [SMC_RETURN.UNKNOWN_FUNCTION],
    clauses: ["SMC-2.UNKNOWN_FUNCTION", "SMC-1.FID"],
  },
  { from: "secure", fids: YIELDING, field: /^a[1-3]/, clauses: ["SMC-4.1.10"] },
  { from: "secure", fids: YIELDING, field: /^a[4-7]/, clauses: ["SMC-4.1.11"] },
  // What a message says when it is done.
  { from: "secure", field: /^session$/, clauses: ["MSG-2.1.2", "MSG-2.OPEN_SESSION"] },
  {
    from: "secure",
    field: /^ret_origin$/,
    cmds: [MSG_CMD.REGISTER_SHM, MSG_CMD.UNREGISTER_SHM],
    clauses: ["MSG-2.3.4"],
  },
  {
    from: "secure",
    field: /^ret/,
    results: [TEEC.TEEC_ERROR_TARGET_DEAD],
    clauses: ["MSG-2.4.TA_PANICKED", "MSG-2.1.3"],
  },
  {
    from: "secure",
    field: /^ret/,
    results: [TEEC.TEEC_ERROR_SECURITY],
    clauses: ["MSG-2.2.RMEM", "MSG-2.4.IMPORT_FAILED"],
  },
  {
    from: "secure",
    field: /^ret/,
    cmds: [MSG_CMD.OPEN_SESSION],
    results: [TEEC.TEEC_ERROR_BUSY, TEEC.TEEC_ERROR_ITEM_NOT_FOUND],
    clauses: ["MSG-2.1.3"],
  },
  { from: "secure", cmds: [MSG_CMD.CLOSE_SESSION], clauses: ["MSG-2.CLOSE_SESSION"] },
  { from: "secure", cmds: [MSG_CMD.CANCEL], clauses: ["MSG-2.CANCEL"] },
  {
    from: "secure",
    cmds: [MSG_CMD.REGISTER_SHM],
    clauses: ["MSG-2.REGISTER_SHM", "MSG-1.4.7", "MSG-1.4.4", "MSG-1.4.3", "MSG-2.3.1"],
  },
  {
    from: "secure",
    cmds: [MSG_CMD.UNREGISTER_SHM],
    clauses: ["MSG-2.UNREGISTER_SHM", "MSG-2.3.3", "MSG-2.3.1"],
  },
  { from: "secure", cmds: [MSG_CMD.DO_BOTTOM_HALF], clauses: ["MSG-2.DO_BOTTOM_HALF", "SMC-7.6"] },
  {
    from: "secure",
    cmds: [MSG_CMD.STOP_ASYNC_NOTIF],
    clauses: ["MSG-2.STOP_ASYNC_NOTIF", "SMC-7.6"],
  },
  { from: "secure", cmds: [MSG_CMD.LEND_PROTMEM], clauses: ["MSG-2.LEND_PROTMEM"] },
  { from: "secure", cmds: [MSG_CMD.RECLAIM_PROTMEM], clauses: ["MSG-2.RECLAIM_PROTMEM"] },
  { from: "secure", cmds: [MSG_CMD.GET_PROTMEM_CONFIG], clauses: ["MSG-2.GET_PROTMEM_CONFIG"] },
  {
    from: "secure",
    field: /^ret/,
    results: [TEEC.TEEC_ERROR_BAD_PARAMETERS],
    clauses: [
      "MSG-2.4.IMPORT_FAILED",
      "MSG-2.2.META",
      "MSG-2.2.MAX_PARAMS",
      "MSG-2.2.RESERVED",
      "MSG-2.2.TMEM_CONTIGUOUS",
      "MSG-2.2.RMEM",
      "MSG-1.4.7",
      "MSG-2.1.1",
    ],
  },
  { from: "secure", field: /^ret_origin$/, clauses: ["MSG-1.1.RET_ORIGIN", "MSG-4.ORIGINS"] },
  {
    from: "secure",
    cmds: [MSG_CMD.OPEN_SESSION],
    field: /^ret/,
    clauses: ["MSG-2.OPEN_SESSION", "MSG-2.1.3"],
  },
  { from: "secure", field: /^ret/, clauses: ["MSG-2.4.TA_RETURNED", "MSG-1.1.RET"] },
  { from: "secure", field: /^params\[\d\]\.c$/, clauses: ["MSG-2.2.VALUE"] },
  { from: "secure", field: /^params/, clauses: ["MSG-2.2.EXPORT"] },
  { from: "secure", field: /^(?:cmd|func|cancel_id|num_params)$/, clauses: ["MSG-2.2.FETCH"] },
  { from: "secure", kinds: ["guest"], clauses: ["SMC-3.VM_CREATED", "SMC-8.2"] },
  { from: "secure", cmds: [MSG_CMD.INVOKE_COMMAND], clauses: ["MSG-2.INVOKE_COMMAND"] },
  { from: "secure", cmds: [MSG_CMD.OPEN_SESSION], clauses: ["MSG-2.OPEN_SESSION"] },
];

const normal: readonly ClauseRow[] = [
  {
    from: "normal",
    fids: [CALL_WITH_REGD_ARG],
    kinds: ["register", ...ALONE],
    clauses: ["SMC-9.BUFFERS_DYN_RPC_ARG"],
  },
  {
    from: "normal",
    fids: [CALL_WITH_RPC_ARG],
    kinds: ["register", ...ALONE],
    clauses: ["SMC-9.BUFFERS_RESERVED_RPC_ARG", "SMC-9.BUFFERS_REGISTER"],
  },
  {
    from: "normal",
    fids: [CALL_WITH_ARG],
    kinds: ["register", ...ALONE],
    clauses: ["SMC-9.BUFFERS_DYN", "SMC-9.BUFFERS_RESERVED"],
  },
  {
    from: "normal",
    fids: [RETURN_FROM_RPC],
    field: /^a/,
    clauses: ["SMC-9.4", "SMC-4.1.A1_A2", "SMC-4.1.A4_A5"],
  },
  {
    from: "normal",
    field: /^params\[\d\]\.(?:attr|buf_ptr|offs|size|shm_ref)$/,
    clauses: ["MSG-5.KERNEL", "SMC-9.6"],
  },
  { from: "normal", fids: [RETURN_FROM_RPC], clauses: ["SMC-9.8"] },
  { from: "normal", clauses: ["SMC-9.1"] },
];

/** From a difference to the clauses that it may touch; earlier rows say more. */
export const CLAUSE_ROWS: readonly ClauseRow[] = [...mediator, ...secure, ...normal];
