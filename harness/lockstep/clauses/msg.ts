import { readSheet } from "./table.ts";

/** The OP-TEE message protocol: structures, commands, RPC commands, result codes, client API. */
export const MSG_CLAUSES = readSheet(
  "MSG",
  `
## 1 | optee_os core/include/optee_msg.h
- | little-endian, natural alignment, no padding |

## 1.1 | optee_os core/include/optee_msg.h
CMD | offset 0: message or RPC command |
FUNC | offset 4: command id of the TA |
SESSION | offset 8: in, and out for OPEN_SESSION |
CANCEL_ID | offset 12: request tag that OP-TEE never reads |
PAD | offset 16: 0 |
RET | offset 20: result code |
RET_ORIGIN | offset 24: 1 to 4 |
NUM_PARAMS | offset 28: number of parameters |
PARAMS | offset 32: parameters |
SIZE | 32 + 32 for each parameter; at most 127 in a page |

## 1.2 | optee_os core/include/optee_msg.h
ATTR | offset 0: 64-bit attributes of every kind |
TMEM | buf_ptr, size, shm_ref at 8, 16, 24 |
RMEM | offs, size, shm_ref at 8, 16, 24 |
FMEM | offs_low, offs_high, internal_offs, size, global_id | | out: concerns FF-A builds only
VALUE | a, b, c at 8, 16, 24 |
OCTETS | 24 octets over bytes 8 to 31 |
ALIASING | c and both shm_ref share offset 24, both sizes offset 16 |

## 1.3 | optee_os core/include/optee_msg.h
TYPE | bits 7:0: NONE, VALUE, RMEM, TMEM; 4, 8 and from 0xC are invalid |
META | bit 8: only the leading parameters of OPEN_SESSION |
NONCONTIG | bit 9: buf_ptr is a page list |
CACHE | bits 18:16 are ignored |
RESERVED | the rest is 0: masked in most places, compared whole in some |
LOGIN | login classes of OPEN_SESSION |

## 1.4 | optee_os core/kernel/msg_param.c: msg_param_extract_pages
1 | 511 addresses and a link a page; pages of 4 KiB whatever the OS uses |
2 | low bits of buf_ptr are the offset, the rest the first list page in non-secure RAM |
3 | number of pages from size and offset; empty at offset 0 and overflow fail |
4 | the link is read only if needed; every address is page aligned and non-secure |
5 | entries are fetched once; the list can go as soon as REGISTER_SHM returns |
6 | the object reaches to the end of its last page |
7 | any failure is BAD_PARAMETERS |

## 2 | optee_os core/tee/entry_std.c
OPEN_SESSION | two leading META values, at most 4 more; session 0 on failure | : entry_open_session
INVOKE_COMMAND | parameters are parsed before the session is looked up | : entry_invoke_command
CLOSE_SESSION | no parameters; unknown session ITEM_NOT_FOUND | : entry_close_session
CANCEL | no parameters; unknown session BAD_PARAMETERS; cancel_id ignored | : entry_cancel
REGISTER_SHM | one parameter of exactly 0x20A | : register_shm
UNREGISTER_SHM | one parameter, attributes unchecked; waits for users | : unregister_shm
DO_BOTTOM_HALF | EBADCMD where not built; ret is never written |
STOP_ASYNC_NOTIF | EBADCMD where not built; ret is never written |
LEND_PROTMEM | use case and memory; use cases 1 and 2 only | | when: 4.9 and later, dynamic protected memory
RECLAIM_PROTMEM | one RMEM_INPUT with the cookie | | when: 4.9 and later, dynamic protected memory
GET_PROTMEM_CONFIG | use case in; size, alignment and address width out | | when: 4.9 and later, dynamic protected memory
ASSIGN_PROTMEM | cookie and use case | | out: concerns FF-A builds only
OTHER | EBADCMD and the message untouched |
USE_CASES | 1 SECURE_VIDEO_PLAY, 2 TRUSTED_UI, 3 SECURE_VIDEO_RECORD |

## 2.1 | optee_os core/tee/entry_std.c
P0 | parameter 0: UUID of the TA in RFC 4122 order |
P1 | parameter 1: client UUID and login class |
1 | which logins take the client UUID from the message |
2 | how session ids are chosen, reused and counted | optee_os core/kernel/tee_ta_manager.c: new_session_id
3 | BUSY, ITEM_NOT_FOUND, TARGET_DEAD |

## 2.2 | optee_os core/tee/entry_std.c: copy_in_params
META | a META parameter is BAD_PARAMETERS |
MAX_PARAMS | more than 4 are BAD_PARAMETERS |
VALUE | a and b in 32 bits; c goes neither in nor out |
TMEM_NULL | buf_ptr 0 is a NULL memref of size 0, whatever else it says |
TMEM_NONCONTIG | a page list is a registered object for this call |
TMEM_CONTIGUOUS | only in reserved or protected memory |
RMEM | unknown cookie BAD_PARAMETERS, range SECURITY; no NULL form |
RESERVED | a reserved type is BAD_PARAMETERS |
EXPORT | only sizes and values a, b go out, also when the TA failed | : copy_out_param
FETCH | parameters are fetched once; cmd, func, session are read when used |

## 2.3 | optee_os core/mm/mobj_dyn_shm.c
1 | duplicate cookies are accepted: the newest is found, then the older again |
2 | temporary objects are in the same table during their call |
3 | UNREGISTER_SHM waits while other calls hold the object |
4 | success does not write ret_origin |
5 | CALL_WITH_REGD_ARG looks up here too |
6 | no limit but the heap, and that is BAD_PARAMETERS |

## 2.4 | optee_os core/tee/entry_std.c
IMPORT_FAILED | BAD_PARAMETERS or SECURITY, origin TEE |
TA_RETURNED | the TA's code, origin TRUSTED_APP |
TA_PANICKED | TARGET_DEAD, origin TEE |
TRANSPORT_FAILED | COMMUNICATION, origin COMMS, made by Linux | linux drivers/tee/optee/call.c
MEDIATOR_REFUSED | BAD_PARAMETERS or OUT_OF_MEMORY, origin COMMS | xen xen/arch/arm/tee/optee.c

## 3 | optee_os core/include/optee_rpc_cmd.h
LOAD_TA | 0: UUID of a TA, buffer out; supplicant |
RPMB | 1: legacy frames, two buffers; supplicant |
FS | 2: files; supplicant |
GET_TIME | 3: seconds and nanoseconds; kernel |
NOTIFICATION | 4: WAIT or SEND, value, timeout; kernel |
SUSPEND | 5: milliseconds; kernel |
SHM_ALLOC | 6: type, size, alignment in; the same slot rewritten as memory; kernel |
SHM_FREE | 7: type, cookie; kernel |
SQL_FS | 8: reserved |
GPROF | 9: file id, UUID, data; supplicant |
SOCKET | 10: sockets; supplicant |
FTRACE | 11: as GPROF; supplicant |
SUPP_PLUGIN | 12: plugins of the supplicant |
UNASSIGNED | 13 to 19 are forwarded |
BENCH_REG | 20: removed from the upstream kernel |
I2C_TRANSFER | 21: bus, chip, flags, data, bytes; kernel |
RPMB_PROBE_RESET | 22: memory type to use; kernel with the capability |
RPMB_PROBE_NEXT | 23: kind, size, write count, device id; kernel with the capability |
RPMB_FRAMES | 24: frames in and out; kernel with the capability |
SHM_TYPES | 0 APPL, 1 KERNEL, 2 GLOBAL |
1 | the argument is zeroed and ret preset to GENERIC |
2 | OP-TEE reads ret, values and sizes by its own shapes |
3 | which SHM_ALLOC replies are taken, and which are freed | : get_rpc_alloc_res
4 | memory in a request is NULL, reserved or by cookie |
5 | one RPC at a time on a thread |
6 | payload memory of SOCKET, FS, I2C and RPMB is cached by user |
7 | LOAD_TA twice: size first, then the data; the first size counts |
8 | an unknown command is NOT_SUPPORTED |
9 | NOTIFICATION has the numbers of the former wait queue |

## 3.1 | optee_client tee-supplicant/src/tee_supp_fs.c
OPEN | 0: name; descriptor out |
CREATE | 1: name; descriptor out |
CLOSE | 2: descriptor |
READ | 3: descriptor, offset; data out |
WRITE | 4: descriptor, offset, data |
TRUNCATE | 5: descriptor, length |
REMOVE | 6: name |
RENAME | 7: overwrite flag, old name, new name |
OPENDIR | 8: directory; handle out |
CLOSEDIR | 9: handle |
READDIR | 10: handle; name out |
1 | the root, and what is refused before any file is touched |
2 | how OPEN and CREATE open, create parents and limit names |
3 | short reads are SUCCESS; writes are whole |
4 | errno to result code |
5 | RENAME without overwriting; other errors are SUCCESS |
6 | REMOVE also removes up to two empty parents |
7 | OPENDIR and READDIR: empty, hidden, end, short buffer |

## 3.2 | optee_os core/include/optee_rpc_cmd.h
OPEN | 0: instance, port, protocol, IP version, address; handle out |
CLOSE | 1: instance, handle |
CLOSE_ALL | 2: instance |
SEND | 3: instance, handle, data, timeout; bytes out |
RECV | 4: instance, handle, timeout; data out |
IOCTL | 5: instance, handle, command, data |
TIMEOUT | 0 does not block, all ones blocks, else milliseconds |
END | CLOSE_ALL is sent when a TA instance is destroyed |

## 3.3 | optee_os core/include/optee_rpc_cmd.h
INVOKE | parameters of a plugin call, and what comes back |
UUID | four little-endian words of the UUID's octets |
REFUSALS | wrong shapes, unknown plugin, unknown operation | optee_client tee-supplicant/src/plugin.c

## 3.4 | optee_client tee-supplicant/src/tee_supplicant.c
ALLOC | type and size in, shared-memory id out | : process_alloc
FREE | type and id; unknown id BAD_PARAMETERS | : process_free
MEMORY | registers its heap where it can, else allocates; 5 slots, the first META | : process_alloc

## 3.5 | optee_client tee-supplicant/src/teec_ta_load.c
LOAD_TA | file names, directories, and codes for missing, size query and short buffer |

## 4 | optee_os lib/libutee/include/tee_api_defines.h
SUCCESS | 0x00000000 |
CORRUPT_OBJECT | 0xF0100001 |
CORRUPT_OBJECT_2 | 0xF0100002 |
STORAGE_NOT_AVAILABLE | 0xF0100003 |
STORAGE_NOT_AVAILABLE_2 | 0xF0100004 |
UNSUPPORTED_VERSION | 0xF0100005 |
CIPHERTEXT_INVALID | 0xF0100006 |
GENERIC | 0xFFFF0000 |
ACCESS_DENIED | 0xFFFF0001 |
CANCEL | 0xFFFF0002 |
ACCESS_CONFLICT | 0xFFFF0003 |
EXCESS_DATA | 0xFFFF0004 |
BAD_FORMAT | 0xFFFF0005 |
BAD_PARAMETERS | 0xFFFF0006 |
BAD_STATE | 0xFFFF0007 |
ITEM_NOT_FOUND | 0xFFFF0008 |
NOT_IMPLEMENTED | 0xFFFF0009 |
NOT_SUPPORTED | 0xFFFF000A |
NO_DATA | 0xFFFF000B |
OUT_OF_MEMORY | 0xFFFF000C |
BUSY | 0xFFFF000D |
COMMUNICATION | 0xFFFF000E |
SECURITY | 0xFFFF000F |
SHORT_BUFFER | 0xFFFF0010 |
EXTERNAL_CANCEL | 0xFFFF0011 |
TIMEOUT | 0xFFFF3001 |
OVERFLOW | 0xFFFF300F |
TARGET_DEAD | 0xFFFF3024 |
STORAGE_NO_SPACE | 0xFFFF3041 |
MAC_INVALID | 0xFFFF3071 |
SIGNATURE_INVALID | 0xFFFF3072 |
TIME_NOT_SET | 0xFFFF5000 |
TIME_NEEDS_RESET | 0xFFFF5001 |
ORIGINS | 1 API, 2 COMMS, 3 TEE, 4 TRUSTED_APP | optee_client libteec/include/tee_client_api.h

## 5 | optee_client libteec/src/tee_client_api.c
VALUE | values pass as values |
MEMREF_TEMP | registered or shadowed for one call; forms of NULL |
MEMREF_WHOLE | all of a shared memory, direction from its flags |
MEMREF_PARTIAL | offset and size in a shared memory |
CANCEL_ID | always 0: cancellation is by session |
KERNEL | which memory becomes RMEM and which TMEM on the wire | linux drivers/tee/optee/smc_abi.c: optee_to_msg_param
NULL | a NULL memref is TMEM of zeros without NONCONTIG | linux drivers/tee/optee/smc_abi.c: optee_to_msg_param

## 6 | optee_os, by release
MEMREF_NULL | since 3.9.0 |
ASYNC_NOTIF | DO_BOTTOM_HALF, STOP_ASYNC_NOTIF and the name NOTIFICATION since 3.16.0 |
RPMB_PROBE | RPMB_PROBE_RESET, _NEXT and RPMB_FRAMES since 4.4.0 |
NOTIFICATION_TIMEOUT | since 4.3.0 |
PROTMEM | protected-memory commands since 4.9.0 |
UFS_NVME | OP-TEE takes eMMC only; other kinds are NOT_SUPPORTED within it |
`,
);
