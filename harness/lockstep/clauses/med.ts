import { readSheet } from "./table.ts";

/** The mediator between guests and OP-TEE: Xen's, what to do better, and KVM's. */
export const MED_CLAUSES = readSheet(
  "MED",
  `
## 0 | xen xen/arch/arm/tee/optee.c | conduit: vm
CLIENT_ID | a VM's client id is never 0, which is the hypervisor's |
MEDIATOR_SMC_COUNT | 11, the answer to CALLS_COUNT |
MAX_STD_CALLS | calls of a guest: the thread count read at probe |
MAX_SHM_BUFFERS | 16 buffers a guest, of all kinds together (rule set xen) |
MAX_PAGES_PER_BUFFER | 129 pages a buffer (rule set xen) |
MAX_TOTAL_PAGES | 16384 pages a guest, and the limit itself is refused (rule set xen) |
PAGE | pages of 4096 bytes, 511 entries and a link |
TEEC_CODES | GENERIC, BAD_PARAMETERS and OUT_OF_MEMORY from COMMS are all that it makes |

## 1 | xen xen/arch/arm/tee/optee.c | conduit: vm
001 R | the platform's device tree decides whether OP-TEE is probed | : optee_probe
002 R | OP-TEE must answer with its API UID | : optee_probe
003 R | the thread count is read at probe and limits each guest; without it no mediation | : optee_probe
004 R | VM_DESTROYED must be known: that is what tells a virtualized OP-TEE | : optee_probe
005 R | the first back end that answers is the only one; a named one must answer | xen xen/arch/arm/tee/tee.c: tee_init
006 R | which TEE a VM gets, and the errors for none or another | xen xen/arch/arm/tee/tee.c
007 R | which traps are calls: immediate, owner, width; who advances the program counter | xen xen/arch/arm/vsmc.c: vsmccc_handle_call | placement: hypervisor
008 R | unhandled calls answer all ones and change nothing else |
009 S | every forwarded call carries the caller's client id, whatever the guest put there |
010 R | the node in a guest's device tree | xen libxl | placement: hypervisor

## 2 | xen xen/arch/arm/tee/optee.c: optee_domain_init | conduit: vm
015 R | VM_CREATED before anything else; refusal makes the VM fail |
016 R | a new context is empty |
017 S | addresses 0, guest or machine, are never RAM of a guest |

## 3 | xen xen/arch/arm/tee/optee.c | conduit: vm
020 R | CALLS_COUNT is answered locally with 11 |
021 R | CALLS_UID is forwarded; a0 to a3 come back |
022 R | CALLS_REVISION is forwarded; a0 and a1 come back |
023 R | GET_OS_UUID is forwarded; a0 to a3 come back |
024 R | GET_OS_REVISION is forwarded; a0 and a1 come back, no build id |
025 R | ENABLE_SHM_CACHE is forwarded; a0 comes back |
026 R | DISABLE_SHM_CACHE unpins first, then names the cookie |
027 R | GET_SHM_CONFIG is refused locally with ENOTAVAIL |
028 R | EXCHANGE_CAPABILITIES is forwarded and filtered both ways | : handle_exchange_capabilities
029 R | everything else does not exist for guests: UNKNOWN_FUNCTION |

## 3 | xen xen/arch/arm/tee/optee.c: handle_exchange_capabilities | conduit: vm
030 R | only UNIPROCESSOR of the guest's capabilities is passed on |
031 R | a refused exchange comes back as a0 alone |
032 S | secure capabilities are masked to dynamic memory and NULL memrefs |
033 R | no dynamic shared memory is ENOTAVAIL |
034 R | only a0 and a1 are written |

## 4.1 | xen xen/arch/arm/tee/optee.c: handle_std_call | conduit: vm
040 R | too many calls of a guest is ETHREAD_LIMIT | : allocate_std_call
041 R | no memory for a call is ENOMEM | : allocate_std_call
042 R | a new call is in flight and has no thread | : allocate_std_call
043 R | an unaligned argument is EBADADDR |
044 R | no shadow page is ENOMEM |
045 S | the argument page is copied once, and only the copy counts |
046 D | more than 127 parameters are refused in the message, and a0 says OK |
047 R | only commands 0 to 5, otherwise EBADCMD |
048 R | every failing exit gives back shadow and slot |

## 4.2 | xen xen/arch/arm/tee/optee.c: translate_params | conduit: vm
050 S | page lists are walked, contiguous memory is refused, the rest passes |
051 R | a failed translation is told in the message, OP-TEE is not entered |
052 D | buffers of a message that is refused later are given back |
053 R | registers of the forwarded call: the shadow's address, cached, client id |

## 4.3 | xen xen/arch/arm/tee/optee.c: translate_noncontig | conduit: vm
060 R | pages of a buffer from offset and size, and their limit |
061 R | no page for the mediator's own list is OUT_OF_MEMORY |
062 R | quotas and unique cookies, undone on failure |
063 S | pages must be the guest's writable RAM; data pages are pinned |
064 S | the secure world gets a list of the mediator's own |
065 R | buf_ptr becomes that list's address with the offset; nothing else changes |
066 R | low bits of list entries are dropped |
067 D | empty, huge and wrapping sizes are refused |
068 D | a walk that fails half-way gives back all of the quota |
069 D | a walk is bounded |
072 R | registers of RPC ALLOC replies | | out: no such rule: the sheet refers by this number to MED-122

## 4.4 | xen xen/arch/arm/tee/optee.c | conduit: vm
080 R | every return but an RPC completes the call: copy back, a0, nothing else |
081 R | REGISTER_SHM that succeeded keeps pins and count, drops the list |
082 R | REGISTER_SHM that failed frees its buffer |
083 R | UNREGISTER_SHM that succeeded frees the buffer, one that failed frees nothing |
084 R | temporary buffers end with the call, whatever its result; no guest may name them later |
085 D | only buffers that this call made are freed |
086 D | ETHREAD_LIMIT of the secure world completes the message too |
087 R | the command that counts is the copy's |

## 4.5 | xen xen/arch/arm/tee/optee.c: copy_std_request_back | conduit: vm
090 S | copy-back needs a page that is writable now, else EBADADDR |
091 S | only result fields are written, never an address |
092 R | attributes come from the copy |

## 5 | xen xen/arch/arm/tee/optee.c: handle_rpc_return | conduit: vm
100 R | a0 to a3 of an RPC reach the guest; the call is suspended |
101 R | ALLOC, interrupts and unknown RPCs are passed on |
102 R | CMD: the request is copied from the shadow to the guest's page |
103 R | the type of an allocation is remembered |
104 R | SHM_FREE unpins before the guest sees it |
105 R | FREE drops the RPC argument before the guest sees it |
106 D | an RPC that cannot be delivered fails in OP-TEE at once |
107 S | no machine address in a request |

## 6 | xen xen/arch/arm/tee/optee.c: handle_rpc | conduit: vm
110 R | resume needs a suspended call of this guest, else ERESUME |
111 R | a resumed call has no thread until its next RPC |
112 S | what is pending is what was saved, not what the guest says |
113 R | interrupts and FREE are resumed with the saved words |

## 6.1 | xen xen/arch/arm/tee/optee.c: handle_rpc_func_alloc | conduit: vm
120 R | an unaligned ALLOC reply is a failure |
121 S | the guest's page is pinned behind a shadow, under a unique cookie |
122 S | the secure world gets the shadow's address |
123 D | address 0 in an ALLOC reply is a failure |
124 D | a duplicate cookie in an ALLOC reply leaves the older page alone |
125 R | RPC arguments have no quota of their own |

## 6.2 | xen xen/arch/arm/tee/optee.c: handle_rpc_cmd | conduit: vm
130 D | a reply must come in the buffer of its request |
131 D | an unknown cookie in a reply fails the RPC and frees the call |
132 D | how a reply is fetched, and that its header is read once |
133 R | only allocations are processed |
134 R | registers of the resume after CMD |
135 D | the request decides what a reply may say, not the reply |

## 6.3 | xen xen/arch/arm/tee/optee.c: handle_rpc_cmd_alloc | conduit: vm
140 R | a failed allocation passes |
141 D | an allocation with other attributes fails |
142 R | an allocation is translated and pinned until SHM_FREE |
143 R | one that cannot be translated makes the mediator send SHM_FREE of its own |
144 R | where the guest cannot be asked, the allocation fails at once |
145 R | the answer to it is ignored, and the allocation fails |
146 D | an unreadable answer to it ends that state too |
147 D | a duplicate cookie in an allocation frees nothing of the guest's |

## 7 | xen xen/arch/arm/tee/optee.c | conduit: vm
150 R | foreign interrupts go to the guest, which resumes |
151 R | threads are numbered within a guest |
152 S | one vCPU in a call at a time |

## 8 | xen xen/arch/arm/tee/optee.c: optee_relinquish_resources | conduit: vm
160 R | the TEE's part comes before a VM's memory goes | xen xen/arch/arm/domain.c: domain_relinquish_resources | placement: hypervisor
161 R | calls are freed |
162 R | RPC arguments are freed |
163 R | buffers are freed one at a time, and it can be interrupted |
164 R | VM_DESTROYED, result ignored |
165 R | nothing is left |
166 D | the secure world forgets the VM before its pins go |
167 R | nothing is completed or closed for a dead VM |
168 R | nothing is left for later | xen xen/arch/arm/tee/tee.c: tee_domain_teardown

## 9 | xen xen/arch/arm/tee/optee.c | conduit: vm
1 S | machine addresses are hidden |
2 S | other guests are hidden: threads, cookies, sessions |
3 S | services that are not mediated are hidden |
4 S | a guest can never select a client id |
5 S | how long pages of a guest stay pinned |

## 10 | xen xen/arch/arm/tee/optee.c | conduit: vm
TOO_MANY_CALLS | ETHREAD_LIMIT |
NO_MEMORY | ENOMEM at admission |
BAD_ARG | EBADADDR for a misaligned or unmapped argument |
NUM_PARAMS | more than 127 parameters: BAD_PARAMETERS from COMMS |
BAD_CMD | EBADCMD |
QUOTA | OK, and OUT_OF_MEMORY from COMMS in the message |
BAD_BUFFER | OK, and BAD_PARAMETERS from COMMS for page, cookie and contiguous memory |
BAD_RESUME | ERESUME for an unknown thread and a busy call |
NO_SHM | ENOTAVAIL for static memory and without dynamic memory |
NOT_MEDIATED | UNKNOWN_FUNCTION |

## 11 | xen xen/arch/arm/tee/optee.c
1 | the hardware domain's device tree is the host's | xen xen/arch/arm/tee/tee.c | out: a to-do of Xen's about a device tree that no model reads
2 | the hazard of address 0 | : optee_domain_init | conduit: vm
3 | the page-list walk cannot be interrupted | | out: a to-do of Xen's; MED-069 is the rule
4 | only pages of 4 KiB | | conduit: vm
5 | no asynchronous notifications, RPC arguments, protected memory or FF-A | | conduit: vm
6 | support status | xen SUPPORT.md | out: a statement about Xen's support, not a behaviour
7 | no save, restore or migration of a guest with TEE state | | out: there is no migration in the model
8 | list of defects | | out: an index of the clauses of level D

## 12 | kvm RFC series "TEE mediator / OP-TEE" of 1 April 2025 | conduit: vm
1 | each VM is announced with VM_CREATED before its first call |
2 | its end is announced with VM_DESTROYED |
3 | every call carries the VM's id in a7; 0 is the hypervisor's |
4 | addresses are translated in everything passed to OP-TEE |
5 | guest pages are pinned while OP-TEE may use them |
6 | the protocol is followed transparently, with an unmodified guest driver |
IDS | the host is 1, guests from 2, never reused (rule set kvm) |
QUOTA | 512 shared pages a VM (rule set kvm) |
PLACEMENT | in the kernel: the guest's SMC is trapped and forwarded by the host | | placement: hypervisor
STATUS | state of the series' review | | out: a statement about a review, not a behaviour
DEFECTS | what the series got wrong is not copied |
`,
);
