import { readSheet } from "./table.ts";

/** The Linux TEE user ABI as OP-TEE's driver serves it: devices, ioctls, lifetimes, supplicant. */
export const TEE_CLAUSES = readSheet(
  "TEE",
  `
## 1 | linux drivers/tee/tee_core.c
1 | OP-TEE registers one device for clients and one for the supplicant |
2 | an open is a context, and every id is checked against it |
3 | implementation ids and capabilities | linux include/uapi/linux/tee.h
4 | generic capabilities, bit by bit | linux include/uapi/linux/tee.h
GP | bit 0: always | linux drivers/tee/optee/smc_abi.c
PRIVILEGED | bit 1: the supplicant's device |
REG_MEM | bit 2: with DYNAMIC_SHM | linux drivers/tee/optee/smc_abi.c
MEMREF_NULL | bit 3: with the secure world's MEMREF_NULL | linux drivers/tee/optee/smc_abi.c
OBJREF | bit 4: object references | | out: only the object-capability TEE (qcomtee) sets it

## 2 | linux include/uapi/linux/tee.h
VERSION | 0x800CA400: impl_id, impl_caps, gen_caps |
SHM_ALLOC | 0xC010A401: size, flags, id; returns a descriptor |
OPEN_SESSION | 0x8010A402 |
INVOKE | 0x8010A403 |
CANCEL | 0x8008A404: cancel_id, session |
CLOSE_SESSION | 0x8004A405: session |
SUPPL_RECV | 0x8010A406 |
SUPPL_SEND | 0x8010A407 |
SHM_REGISTER_FD | 0xC018A408: fd, size, flags, id; returns a descriptor |
SHM_REGISTER | 0xC018A409: addr, length, flags, id; returns a descriptor |
OBJECT_INVOKE | 0x8010A40A | | out: belongs to the object-capability TEE (qcomtee)
BUF_DATA | buf_ptr, buf_len at 0, 8 |

## 2.1 | linux include/uapi/linux/tee.h
OPEN_SESSION_ARG | 56 bytes |
INVOKE_ARG | 24 bytes |
SUPP_RECV_ARG | 8 bytes |
SUPP_SEND_ARG | 8 bytes |
OBJECT_INVOKE_ARG | 24 bytes | | out: belongs to the object-capability TEE (qcomtee)
PARAM | 32 bytes: attr, a, b, c |
1 | the length is exact and at most 4096 | linux drivers/tee/tee_core.c
2 | errno is for the transport only; results are in ret and ret_origin | linux drivers/tee/tee_core.c
3 | what a driver does not offer is EINVAL | linux drivers/tee/tee_core.c
4 | a session whose result cannot be copied out is closed again | linux drivers/tee/tee_core.c

## 2.2 | linux drivers/tee/tee_core.c
NONE | attribute 0 |
VALUE | attributes 1 to 3: a, b, c |
MEMREF | attributes 5 to 7: offset, size, id or all ones |
UBUF | attributes 8 to 10: user buffer | | out: belongs to the object-capability TEE (qcomtee)
OBJREF | attributes 11 to 13: object reference | | out: belongs to the object-capability TEE (qcomtee)
ATTR_BITS | only type and META bits, otherwise EINVAL |
WRITE_BACK | values a, b, c and sizes of outputs are written back on success |
CHECKS | range, owner and NULL of memory references |

## 2.3 | linux drivers/tee/tee_core.c: tee_session_calc_client_uuid
PUBLIC | 0: nil |
USER | 1: UUIDv5 of uid= in hexadecimal |
GROUP | 2: UUIDv5 of gid= in hexadecimal, members only, else EPERM |
APPLICATION | 4 to 6: EINVAL |
REE_KERNEL | from 0x80000000: EPERM from user space |
NAMESPACE | 58ac9ca0-2086-4683-a1b8-ec4bc08e01b6 |

## 3.1 | linux drivers/tee/tee_core.c
1 | descriptor and shared memory hold the context; the last one closes its sessions |
2 | a descriptor closed while shared memory lives closes no session |
3 | close_context at descriptor close | linux drivers/tee/qcomtee | out: only the object-capability TEE (qcomtee) has it
4 | one CLOSE_SESSION a session, results ignored | linux drivers/tee/optee/core.c

## 3.2 | linux drivers/tee/optee/call.c
- | a session is valid in its context only; calls from several threads are allowed |

## 3.3 | linux drivers/tee/tee_shm.c
SHM_ALLOC | pages of the pool, can be mapped, registered |
SHM_REGISTER | the caller's pages pinned, cannot be mapped, registered |
SHM_REGISTER_FD | dma-buf, cannot be mapped |
1 | ids start at 1, are of the device, and serve their context only |
2 | freed with the last reference; UNREGISTER_SHM then, failure only logged |
3 | what can be registered, offset and length |
4 | memory of the supplicant's device is not registered |
5 | sizes are rounded up; 0 is EINVAL |

## 3.4 | linux drivers/tee/optee/call.c
- | CANCEL: session of the context, returns 0 whatever comes; who sees the flag |

## 4 | linux drivers/tee/optee/supp.c
1 | one supplicant; its first open enumerates devices |
2 | RECV: interruptible; slots, too few of them |
3 | slot 0 chooses asynchronous or synchronous |
RECV | what RECV returns in either mode |
OUTSTANDING | many requests, or one |
SEND | what SEND must carry in either mode |
4 | parameters as the supplicant sees them |
5 | what SEND takes, and its errors |
6 | first in, first out; ids from 1 |
7 | requesters killed before and after pick-up; no supplicant |
8 | all requests are aborted when the supplicant's context goes, which memory can delay |
9 | memory for the secure world is a request to the supplicant |

## 5 | optee_client libteec/src/tee_client_api.c
TEMP | temporary memory is registered or shadowed for one call |
REGISTER | shared memory is registered where possible, else shadowed |
NULL_TEMP | NULL with and without size |
DEVICE_SEARCH | the first device with the GP capability; by name also implementation and TZ |
FINALIZE | finalizing only closes the descriptor |
`,
);
