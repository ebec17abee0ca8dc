import { readSheet } from "./table.ts";

/** The OP-TEE SMC ABI: function ids, registers, threads, RPC, virtualization, the Linux driver. */
export const SMC_CLAUSES = readSheet(
  "SMC",
  `
## 0 | optee_os core/arch/arm/include/sm/optee_smc.h
PAIRS | a 64-bit quantity in two registers has its high word first |
WIDTH | AArch64 fast calls answer in 64-bit registers; yielding calls use the low 32 bits | optee_os core/arch/arm/include/kernel/thread_arch.h: struct thread_smc_args

## 1 | optee_os core/arch/arm/include/sm/optee_smc.h: OPTEE_SMC_CALL_VAL
FID | type, convention, owner and function make the id; bits 23:16 are 0, bit 16 a hint to EL3 |
UNASSIGNED | functions 5 and 6 are unassigned, owner 62 belongs to OPTEED and EL3 |
CALLS_COUNT | fast, 0xBF00FF00 |
CALLS_UID | fast, 0xBF00FF01 |
CALLS_REVISION | fast, 0xBF00FF03 |
GET_OS_UUID | fast, 0xB2000000 |
GET_OS_REVISION | fast, 0xB2000001 |
LOAD_IMAGE | fast, 0xBF000002, between Linux and TF-A only | linux drivers/tee/optee/optee_smc.h
RETURN_FROM_RPC | yielding, 0x32000003 |
CALL_WITH_ARG | yielding, 0x32000004 |
GET_SHM_CONFIG | fast, 0xB2000007 |
L2CC_MUTEX | fast, 0xB2000008 |
EXCHANGE_CAPABILITIES | fast, 0xB2000009 |
DISABLE_SHM_CACHE | fast, 0xB200000A |
ENABLE_SHM_CACHE | fast, 0xB200000B |
BOOT_SECONDARY | fast, 0xB200000C |
VM_CREATED | fast, 0xB200000D | | when: 3.5.0 and later
VM_DESTROYED | fast, 0xB200000E | | when: 3.5.0 and later
GET_THREAD_COUNT | fast, 0xB200000F | | when: 3.5.0 and later
ENABLE_ASYNC_NOTIF | fast, 0xB2000010 | | when: 3.16.0 and later
GET_ASYNC_NOTIF_VALUE | fast, 0xB2000011 | | when: 3.16.0 and later
CALL_WITH_RPC_ARG | yielding, 0x32000012 | | when: 3.17.0 and later
CALL_WITH_REGD_ARG | yielding, 0x32000013 | | when: 3.17.0 and later
GET_PROTMEM_CONFIG | fast, 0xB2000014 | | when: 4.9.0 and later

## 2 | optee_os core/arch/arm/include/sm/optee_smc.h
OK | 0x0: completed |
ETHREAD_LIMIT | 0x1: no free thread, a1 to a3 preserved, the same call can be sent again |
EBUSY | 0x2: a thread is not free while the cache is switched, or BOOT_SECONDARY |
ERESUME | 0x3: RETURN_FROM_RPC with bad resume information |
EBADADDR | 0x4: address, cookie or size of the argument structure is bad |
EBADCMD | 0x5: unknown yielding function, or unknown command in the message |
ENOMEM | 0x6: a registered argument cannot be mapped |
ENOTAVAIL | 0x7: not available, or the client is refused |
UNKNOWN_FUNCTION | 0xFFFFFFFF: function id not recognised |
RPC_PREFIX | a0 with all ones above bit 15, but not all ones, is an RPC |
RPC_ALLOC | 0xFFFF0000 |
RPC_FREE | 0xFFFF0002 |
RPC_FOREIGN_INTR | 0xFFFF0004 |
RPC_CMD | 0xFFFF0005 |
RPC_TEST | only the low 32 bits of a0 decide; functions 1 and 3 are unassigned | linux drivers/tee/optee/optee_smc.h: __optee_smc_return_is_rpc

## 3 | optee_os core/arch/arm/tee/entry_fast.c: __tee_entry_fast
FAST | a fast call never yields, raises no RPC and takes no thread |
REGISTERS | registers that the handler does not write come back as sent, x4 to x7 always | tf-a services/spd/opteed/opteed_main.c
CALLS_COUNT | 12, with virtualization 14 | : tee_entry_generic_get_api_call_count
CALLS_UID | 384fb3e0-e7f8-11e3-af63-0002a5d5c51b in a0 to a3 |
CALLS_REVISION | 2.0 in a0, a1 |
GET_OS_UUID | 486178e0-e7f8-11e3-bc5e-0002a5d5c51b in a0 to a3 |
GET_OS_REVISION | major, minor, and the leading digits of the commit: 64 bits on AArch64 |
GET_SHM_CONFIG | address (whole in a1), size, cached; without reserved memory UNKNOWN_FUNCTION |
L2CC_MUTEX | UNKNOWN_FUNCTION on an AArch64 core |
EXCHANGE_CAPABILITIES | capabilities, notification limit, 4 RPC parameters; unknown bits of 32 ENOTAVAIL |
DISABLE_SHM_CACHE | one cookie a call (whole in a2), EBUSY, ENOTAVAIL once empty |
ENABLE_SHM_CACHE | OK, or EBUSY while a thread is in use |
BOOT_SECONDARY | OK or EBADCMD where built in, otherwise ENOTAVAIL |
VM_CREATED | OK; ENOTAVAIL for a7, for id 0 and without memory; duplicates pass |
VM_DESTROYED | OK, also for an unknown id; ENOTAVAIL for a7 |
GET_THREAD_COUNT | number of threads in a1; UNKNOWN_FUNCTION before 3.5.0 |
ENABLE_ASYNC_NOTIF | OK; UNKNOWN_FUNCTION where not built |
GET_ASYNC_NOTIF_VALUE | value, VALID and PENDING; UNKNOWN_FUNCTION where not built |
GET_PROTMEM_CONFIG | address, size and address width; ENOTAVAIL without region, else UNKNOWN_FUNCTION |

## 3.1 | optee_os core/arch/arm/tee/entry_fast.c: tee_entry_exchange_capabilities
UNIPROCESSOR | bit 0 of the normal world's capabilities is taken and ignored |
HAVE_RESERVED_SHM | bit 0: built with reserved shared memory |
UNREGISTERED_SHM | bit 1 is never set |
DYNAMIC_SHM | bit 2: built with dynamic shared memory and non-secure RAM is known |
VIRTUALIZATION | bit 3: built with virtualization | | when: 3.5.0 and later
MEMREF_NULL | bit 4 always | | when: 3.9.0 and later
ASYNC_NOTIF | bit 5: built with asynchronous notifications | | when: 3.16.0 and later
RPC_ARG | bit 6 always | | when: 3.17.0 and later
RPMB_PROBE | bit 7: built to announce RPMB probing | | when: 4.4.0 and later
PROTMEM | bit 8: secure data path with a static region | | when: 4.9.0 and later
DYNAMIC_PROTMEM | bit 9: secure data path with lent memory | | when: 4.9.0 and later
STATELESS | capabilities can be exchanged any number of times, and nothing depends on it |

## 4.1 | optee_os core/arch/arm/kernel/thread_optee_smc.c
A1_A2 | address of the argument, cookie of its object, or RPC reply words |
A3 | cache setting (ignored), offset in the object, or resume id |
A4_A5 | cookie of an RPC ALLOC reply, otherwise unused |
A6 | unused |
A7 | client id |
1 | the partition is selected by a7 before anything else; none is ENOTAVAIL | : thread_handle_std_smc | when: virtualization, 4.2.0 and later
2 | any other yielding function takes a thread first and is EBADCMD after | : thread_handle_std_smc
3 | the free thread of lowest index, or ETHREAD_LIMIT with nothing changed | optee_os core/arch/arm/kernel/thread.c: alloc_thread
4 | the first yielding call of each guest runs the deferred initialization | optee_os core/arch/arm/kernel/virtualization.c: virt_on_stdcall | when: virtualization
5 | where an argument may lie by address, and that it must fit | : std_entry_with_parg
6 | codes of an argument in a registered object | : std_entry_with_regd_arg
7 | the number of parameters is read once and at most 127 | optee_os core/include/optee_msg.h: OPTEE_MSG_MAX_NUM_PARAMS
8 | an RPC argument lies right behind the argument, with room for 4 parameters |
9 | an unknown command is EBADCMD and leaves ret alone; a known one is OK |
10 | completion clears a1 to a3 after the thread is free; early errors keep registers | optee_os core/arch/arm/kernel/thread_optee_smc_a64.S: thread_std_smc_entry
11 | a4 to a7 are preserved on every return |

## 4.2 | optee_os core/arch/arm/kernel/thread.c: thread_resume_from_rpc
FREE | a free thread can be allocated |
ACTIVE | an active thread runs on a core and cannot be resumed |
SUSPENDED | a suspended thread waits in an RPC or a foreign interrupt |
RESUME_CHECK | only index and state are checked: ERESUME changes nothing, there is no nonce |
CLIENT_CHECK_OLD | the thread remembers its client; another one gets ERESUME | | when: before 3.7.0
CLIENT_CHECK | no client check: each guest has its own thread table and ids overlap | | when: 3.7.0 and later
NO_VIRTUALIZATION | one table, a7 ignored | | when: no virtualization
DELIVERY | a1, a2, a4, a5 are the reply to an RPC; after an interrupt only a3 counts |
DEFAULTS | two threads and two guests unless built otherwise |

## 4.3 | optee_os core/arch/arm/tee/entry_std.c: __tee_entry_std
- | a foreign interrupt can end a stretch of any call, OPEN_SESSION included |

## 5 | optee_os core/arch/arm/kernel/thread_optee_smc.c
- | a3 is the thread's index, a4 to a7 are preserved |
ALLOC | size in a1; the reply is an address and a cookie |
FREE | cookie in a1, a2 |
FOREIGN_INTR | a1 and a2 are 0 and ignored in the reply |
CMD | cookie of the RPC argument in a1, a2, or 0 where it came with the call |
1 | which ALLOC replies are taken; a refused one is freed by its cookie | : rpc_shm_mobj_alloc
2 | the RPC argument is allocated at a thread's first CMD and kept |
3 | what a call frees at its end, and when it keeps its RPC argument | optee_os core/arch/arm/kernel/thread_optee_smc.c: call_entry_std
4 | a call that brings an RPC argument frees the cached one first |
5 | the thread index can be reused by the very next call |
6 | any number of RPCs a call, with foreign interrupts between any two |
7 | a4 and a5 of an earlier ALLOC reply can still be there later | linux drivers/tee/optee/smc_abi.c: optee_handle_rpc

## 6 | optee_os core/arch/arm/kernel/thread_optee_smc.c: thread_prealloc_rpc_cache
- | the cache is on by build option, off at start, and each guest has its own |
ENABLE | every thread must be free, otherwise EBUSY; OK without the feature |
DISABLE | every thread must be free; one cookie a call, then ENOTAVAIL and the cache is off |
LOOP | the driver calls until ENOTAVAIL, frees each cookie, waits on EBUSY | linux drivers/tee/optee/smc_abi.c
KEXEC | at probe cookies are ignored, then the cache is enabled | linux drivers/tee/optee/smc_abi.c: optee_disable_unmapped_shm_cache

## 7 | optee_os core/include/kernel/notif.h | when: 3.16.0 and later, asynchronous notifications built
1 | values 0 to 63 are asynchronous, 0 the bottom half; thread values start behind them |
2 | nothing is signalled before ENABLE_ASYNC_NOTIF; only a message stops it |
3 | the lowest pending value is read first and cleared by reading |
4 | value 0 asks for DO_BOTTOM_HALF, others complete waiters |
5 | pending values and the started flag belong to one guest | | when: virtualization
6 | DO_BOTTOM_HALF and STOP_ASYNC_NOTIF are EBADCMD where not built | | when: asynchronous notifications not built

## 8 | optee_os core/arch/arm/kernel/virtualization.c | when: virtualization
1 | client ids have 16 bits; 0 is the hypervisor |
2 | a partition is memory: each guest takes its share; the newest duplicate wins |
3 | VM_DESTROYED ends the first match once; its memory goes when the last core leaves |
4 | a fast call of an unknown client is ENOTAVAIL, whatever the function; a7 of 0 is served |
5 | destroying is safe during a call; suspended threads vanish without cleanup |
6 | the partition is found by 16 bits of a7, the hypervisor by all of it | : virt_set_guest
7 | ENABLE_ASYNC_NOTIF from the hypervisor stops the secure world |
8 | only the hypervisor can vouch for a7: EL3 passes x4 to x7 on | tf-a services/spd/opteed/opteed_main.c

## 9 | linux drivers/tee/optee/smc_abi.c
P1 | image loading: CALLS_UID, then LOAD_IMAGE | | when: kernel built with image loading
P2 | CALLS_UID must match, otherwise EINVAL |
P3 | CALLS_REVISION must be 2.x |
P4 | GET_THREAD_COUNT; a failure means no count |
P5 | EXCHANGE_CAPABILITIES; what the driver takes from it and when |
P6 | GET_SHM_CONFIG only without dynamic and with reserved shared memory |
P7 | GET_OS_REVISION |
P8 | ENABLE_ASYNC_NOTIF with the capability, result ignored |
P9 | GET_PROTMEM_CONFIG with the capability, not fatal |
P10 | DISABLE_SHM_CACHE until ENOTAVAIL, cookies ignored |
P11 | ENABLE_SHM_CACHE only where RPC arguments do not come with the call |
P12 | devices are enumerated: at probe, with the supplicant, with an RPMB |
BUFFERS_DYN_RPC_ARG | CALL_WITH_REGD_ARG, several arguments in a registered page, 384 apart | linux drivers/tee/optee/call.c: optee_get_msg_arg
BUFFERS_DYN | CALL_WITH_ARG, one zeroed page an argument | linux drivers/tee/optee/call.c: optee_get_msg_arg
BUFFERS_RESERVED_RPC_ARG | CALL_WITH_RPC_ARG from the static pool | linux drivers/tee/optee/call.c: optee_get_msg_arg
BUFFERS_RESERVED | CALL_WITH_ARG from the static pool | linux drivers/tee/optee/call.c: optee_get_msg_arg
BUFFERS_REGISTER | REGISTER_SHM and UNREGISTER_SHM use a private page | linux drivers/tee/optee/call.c: optee_get_msg_arg
1 | at most 6 parameters; a3 to a7 are sent as 0 |
2 | calls are limited to the thread count, or wait on ETHREAD_LIMIT for another to end | linux drivers/tee/optee/call.c
3 | any other a0 is COMMUNICATION from COMMS | linux drivers/tee/optee/call.c
4 | RPC ALLOC is answered with a private page and its pointer, or four zeros |
5 | the cookie of an RPC CMD is used without check |
6 | SHM_ALLOC by type: supplicant, kernel, refused; always a page list | linux drivers/tee/optee/rpc.c
7 | SHM_FREE of an unknown type ends as SUCCESS | linux drivers/tee/optee/rpc.c
8 | which RPC commands the kernel serves; all others go to the supplicant | linux drivers/tee/optee/rpc.c
9 | WAIT: timeout in jiffies, TIMEOUT, BAD_PARAMETERS | linux drivers/tee/optee/notif.c
10 | REGISTER_SHM that fails is EINVAL; its list is freed at once |
11 | what removal and shutdown send |

## 10 | optee_os, by release
GET_THREAD_COUNT | before 3.5.0 UNKNOWN_FUNCTION |
A7_UNKNOWN | before 4.2.0 a yielding call of an unknown client stops the secure world |
VM_CREATED_ID_0 | before 4.5.0 id 0 is accepted |
RESUME_CLIENT_CHECK | up to 3.6 each thread checks its client |
RPC_ARG | before 3.17 RPC arguments come by RPC ALLOC only |
NOTIFICATION_RPC | before 3.16 sleep and wake-up; the timeout since 4.3.0 |
NOT_BUILT | what is not built answers UNKNOWN_FUNCTION, whatever the header promises |

## 11 | tf-a services/spd/opteed/opteed_main.c
1 | owners 50 to 63 go to OP-TEE; what the secure world may not call is an error |
2 | x1 to x7 and the function id reach the secure world |
3 | x0 to x3 come back in 64 bits, x4 to x7 keep the caller's values |
4 | an interrupted yielding call comes back through OP-TEE, never resumed by EL3 |
`,
);
