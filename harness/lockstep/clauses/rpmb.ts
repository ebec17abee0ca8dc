import { readSheet } from "./table.ts";

/** RPMB: the device's protocol, OP-TEE's use of it, the key's derivation, supplicant and kernel. */
export const RPMB_CLAUSES = readSheet(
  "RPMB",
  `
## 1 | jedec JESD84-B51 6.6.22
FRAME_STUFF | bytes 0 to 195 of a frame carry nothing and no MAC covers them |
FRAME_KEY_MAC | bytes 196 to 227: the key in its programming request, elsewhere the MAC |
FRAME_DATA | bytes 228 to 483: one block of 256 bytes |
FRAME_NONCE | bytes 484 to 499: nonce, echoed |
FRAME_COUNTER | bytes 500 to 503: write counter, big-endian as all numbers are |
FRAME_ADDRESS | bytes 504 and 505: index of the first block, the same in every frame |
FRAME_COUNT | bytes 506 and 507: block count |
FRAME_RESULT | bytes 508 and 509: result |
FRAME_TYPE | bytes 510 and 511: request or response type |
TYPE_PROGRAM_KEY | 0x0001, answered as 0x0100 |
TYPE_READ_COUNTER | 0x0002, answered as 0x0200 |
TYPE_WRITE_DATA | 0x0003, answered as 0x0300 |
TYPE_READ_DATA | 0x0004, answered as 0x0400 |
TYPE_READ_RESULT | 0x0005, answered with the type of the operation before |
TYPE_CONFIG | 0x0006 and 0x0007, answered as 0x0600 and 0x0700: secure write protection |
RESULT_OK | 0 |
RESULT_GENERAL_FAILURE | 1 |
RESULT_AUTHENTICATION_FAILURE | 2: the MAC does not match |
RESULT_COUNTER_FAILURE | 3: the request's counter is not the part's |
RESULT_ADDRESS_FAILURE | 4: beyond the partition |
RESULT_WRITE_FAILURE | 5 |
RESULT_READ_FAILURE | 6 |
RESULT_NO_KEY | 7: no key was programmed |
RESULT_EXPIRED | bit 7 in every result once the write counter is 0xFFFFFFFF |
FIELDS_KEY | key programming: the key in clear, a result without MAC |
FIELDS_COUNTER | counter read: nonce out; nonce, counter and MAC back |
FIELDS_WRITE | write: data, counter, address, count and MAC out; new counter, address and MAC back |
FIELDS_READ | read: nonce and address out, count 0; data, nonce, address, count and MAC back |
SEQUENCE_WRITE | key and write: reliable write, result request, read of one frame |
SEQUENCE_READ | read and counter: one frame written, then as many read as are wanted |
1 | the MAC is over bytes 228 to 511 of all frames in order and stands in the last |
2 | order of a write's checks; one request counts once, however many blocks it has |
3 | a key is programmed once, a further try is a general failure |
4 | without a key reads and counter reads are result 7; freshness comes from the nonce |
5 | size is 128 KiB a unit, at most 128 units, blocks of 256 bytes |
6 | writes have 1 or 2 frames, 32 where enhanced; they are reliable writes |

## 2.1 | optee_os core/tee/tee_rpmb_fs.c: struct rpmb_req
CMD | bytes 0 and 1, little-endian: DATA_REQ 0, GET_DEV_INFO 1 |
DEV_ID | bytes 2 and 3: CFG_RPMB_FS_DEV_ID |
BLOCK_COUNT | bytes 4 and 5: blocks of a read, 0 for a write; nobody looks |
FRAMES | frames from byte 6 on |
INFO_CID | device information, bytes 0 to 15: CID in register order |
INFO_SIZE_MULT | byte 16: RPMB_SIZE_MULT |
INFO_REL_WR_SEC_C | byte 17: REL_WR_SEC_C |
INFO_RET_CODE | byte 18: 0, or 1, which is there beforehand |
1 | sizes of request and response decide what is served | optee_client tee-supplicant/src/rpmb.c
2 | request and response share one object, each rounded up to 4 KiB |

## 2.2 | optee_os core/tee/tee_rpmb_fs.c
FRAMES | through the kernel frames have no header |
SHM_TYPE | PROBE_RESET says what memory frames go in; the CID's is always the kernel's |

## 2.3 | jedec JESD84-B51 7.2
MID | byte 0, part of the key's input |
CBX | byte 1, part of the key's input |
OID | byte 2, part of the key's input |
PNM | bytes 3 to 8, part of the key's input |
PRV | byte 9, zeroed for the key: firmware updates change it | optee_os core/tee/tee_rpmb_fs.c: tee_rpmb_key_gen
PSN | bytes 10 to 13, part of the key's input |
MDT | byte 14, part of the key's input |
CRC | byte 15, zeroed for the key: firmware updates change it | optee_os core/tee/tee_rpmb_fs.c: tee_rpmb_key_gen

## 3 | optee_os core/kernel/huk_subkey.c: __huk_subkey_derive
1 | the key is HMAC-SHA-256 of usage word and masked CID under the HUK | optee_os core/tee/tee_rpmb_fs.c: tee_rpmb_key_gen
2 | compat builds, the default, leave the usage word out |
3 | usages: RPMB, SSK, DIE_ID, UNIQUE_TA, TA_ENC, SE050 | optee_os core/include/kernel/huk_subkey.h
4 | the whole HUK field is the HMAC's key, 16 bytes unless built otherwise |
5 | the compat storage key: chip id or die id, then a text |
6 | usage words came with 3.6.0; before, every build was compat |

## 3.1 | optee_os core/kernel/otp_stubs.c
ZERO_STUB | nothing overrides it: all zero, in insecure builds only |
IMX_NO_CAAM | i.MX without CAAM, the default: all zero |
IMX_CAAM | i.MX with CAAM: 16 bytes of the master key verification blob | optee_os core/drivers/crypto/caam/blob/caam_blob.c
IMX_OPEN | an open i.MX8M has a HUK that all open ones have | optee_os core/drivers/crypto/caam/blob/caam_blob.c
IMX_CLOSED | closing an i.MX8M changes HUK, RPMB key and storage key for good | optee_os core/drivers/imx_snvs.c
OTHERS | platforms with drivers of their own | optee_os core/drivers | out: no board of these platforms is described; a HUK read out of one is taken as a given value

## 3.2 | optee_os core/include/tee/tee_rpmb_fs.h: plat_rpmb_key_is_ready
WHEN | asked right before a key is programmed, never else; no means BAD_STATE and no write |
IMX | i.MX with SNVS: trusted or secure state and a closed part | optee_os core/drivers/imx_snvs.c
OTHERS | zynqmp, versal and versal2 have checks of their own | optee_os core/arch/arm | out: no board of these platforms is described

## 3.3 | optee_os scripts/derive_rpmb_key.py
SCRIPT | 16 bytes of HUK and CID; not compat unless asked, unlike builds |

## 3.4 | optee_os scripts/derive_rpmb_key.py
V1C | HUK of zeros, the emulated card, compat |
V1N | HUK of zeros, the emulated card, not compat |
V2C | counting HUK, the emulated card, compat |
V2N | counting HUK, the emulated card, not compat |
V3C | counting HUK, another part, compat |
V3N | counting HUK, another part, not compat |
V4 | other PRV and CRC, the same key |
V5C | another HUK, compat |
V5N | another HUK, not compat |
V6C | 32 bytes of HUK, compat |
V6N | 32 bytes of HUK, not compat |
F1 | MAC of a counter response | jedec JESD84-B51 6.6.22
F2 | MAC of a write of one block | jedec JESD84-B51 6.6.22
F3 | MAC of a write of two blocks | jedec JESD84-B51 6.6.22
F4 | MAC of a read of two blocks | jedec JESD84-B51 6.6.22
F5 | MAC of a write response | jedec JESD84-B51 6.6.22
F6 | MAC of a counter response under the test key | jedec JESD84-B51 6.6.22

## 4 | optee_os mk/config.mk
RPMB_FS | storage in RPMB is built |
DEV_ID | the number of the part for the supplicant |
WRITE_KEY | a blank part gets its key, and the kernel is never asked |
TESTKEY | one published key for every part and HUK |
RESET_FAT | files are forgotten at the first use of each boot |
RD_ENTRIES | entries of the FAT that one request reads |
CACHE_ENTRIES | entries of the FAT that are kept | | out: a cache of entries, off unless built otherwise; no build at hand has it
DEBUG_DATA | frames, keys among them, are printed |
ANNOUNCE_PROBE_CAP | capability bit 7 |
REE_FS_INTEGRITY | the hash of the REE-FS directory is kept in RPMB |
TA_VERSION_DB | versions of TAs are kept in RPMB | | out: off unless built otherwise; no build at hand has it
SUBKEY_COMPAT | how keys are derived |
REL_WR_BLKCNT | one block a write, whatever the part says | optee_os core/tee/tee_rpmb_fs.c

## 5.1 | optee_os core/tee/tee_rpmb_fs.c: tee_rpmb_init
1 | dead until reboot, or verified and nothing to do |
2 | what goes to the supplicant, and what the answer to PROBE_RESET decides |
3 | parts of the kernel are tried in turn; one that does not prove the key is passed over |
4 | initialization again: the part of the CID that is known, without a counter read |

## 5.2 | optee_os core/tee/tee_rpmb_fs.c: legacy_rpmb_init
ONCE | device information is asked for once, the key derived once |
VERIFIED | an authentic counter: the key is verified |
NOT_PROGRAMMED | no key: programmed by a build that may, else STORAGE_NOT_AVAILABLE |
OTHER | any other answer is the result, and the next access tries again |
REVERIFY | after programming the next access reads the counter once more |

## 5.3 | optee_os core/tee/tee_rpmb_fs.c: tee_rpmb_resp_unpack_verify
1 | result, its low six bits: 7 is ITEM_NOT_FOUND, others GENERIC |
2 | another type is GENERIC |
3 | another address is GENERIC |
4 | counter: stored, plus one after a write, else SECURITY; counted before the MAC is checked |
5 | another nonce is SECURITY |
6 | a wrong MAC is SECURITY; the block count is not checked |

## 5.4 | optee_os core/tee/tee_rpmb_fs.c: write_req
- | ten attempts of the same content; which counter each has; then dead |

## 5.5 | optee_os core/tee/tee_rpmb_fs.c
1 | GET_DEV_INFO |
2 | counter read: no key |
3 | the key is programmed |
4 | counter read: 0, authentic |
5 | counter read again |
6 | block 0 is read |
7 | block 0 is written back as it was |
8 | block 0 is read again |
9 | an empty FAT entry, where there is no file system or it is reset |
10 | the partition data are read and written |
PROVISIONED | with a key, through the kernel: probe, one counter read, 6 to 8 |
DUMMY_WRITE | every boot that uses storage counts once, which outdates a write that was held up |

## 5.6 | optee_os core/tee/tee_rpmb_fs.c
PARTITION_DATA | 128 bytes at 0: magic, version 2, FAT's start |
FAT | entries of 256 bytes from byte 512 on |
FILE_DATA | from the high end downwards |
VERSION | another version is ACCESS_DENIED |
LIMIT | the last block is never used |
ENCRYPTION | data by a key of the file, that by a key of the TA; names and sizes are in clear |

## 6.1 | optee_client tee-supplicant/src/rpmb.c
1 | where the part is looked for, and by CID | | when: a supplicant built for real parts
2 | frames each request has, and the commands that the part gets | | when: a supplicant built for real parts
3 | several request frames are refused on little-endian hosts | | when: a supplicant built for real parts
4 | unknown types, failing transfers and parts that are not there | | when: a supplicant built for real parts

## 6.2 | optee_client tee-supplicant/src/rpmb.c | when: a supplicant that emulates its card
CID | fe014e4d4d4330344742c8f6552a6115 |
SIZE | 256 KiB |
REL_WR_SEC_C | 1 |
STATE | ends with the process, key included |
COUNTER_CHECK | a write's counter is not checked |
COUNTER | counts frames |
WRITE_BEFORE_KEY | a write without a key is an authentication failure |
SECOND_KEY | a second key is a general failure |
READ_BEFORE_KEY | a read without a key succeeds, without a MAC |
COUNTER_BEFORE_KEY | a counter read without a key is result 7 |
ADDRESS_FIRST | the address is checked before the MAC |
BLOCK_COUNT | the count in read responses has the host's byte order |
COUNTER_MAC | the MAC of a counter response does not cover a result that comes later |
BOUNDS | the address of the last request is the one that counts |
RESULT_READ | a result request is ignored |
UNKNOWN_TYPE | unknown types are ignored |

## 7 | linux drivers/tee/optee/rpc.c
1 | routing needs the subsystem and the capability; otherwise commands 22 to 24 are the supplicant's |
2 | what the kernel says of a part | linux drivers/mmc/core/block.c: mmc_blk_rpmb_add
3 | sizes each request may have, and types that are refused | linux drivers/mmc/core/block.c: mmc_route_rpmb_frames
4 | the walk, its end, a buffer that is too small, frames without a part |
5 | UFS parts have kind 1 and a text as id | linux drivers/ufs/core/ufs-rpmb.c | out: Lockstep has eMMC parts only; that another kind is refused is RPMB-5.1.3

## 8 | mmc-utils mmc_cmds.c
WRITE_KEY | 32 raw bytes from a file, for good |
READ_COUNTER | a nonce of zeros, the MAC unchecked |
READ_BLOCK | a nonce of zeros, the MAC checked with a key only |
WRITE_BLOCK | one block, the counter read before |
SECURE_WP_MODE | config write at 1 |
SECURE_WP | config write at 2 |
SECURE_WP_READ | config read |
RETCODE | any result but 0 fails, the expiry flag included |

## 9 | jedec JESD84-B51 6.6.22
PERSISTENCE | key, counter and data outlive a power cut, and nothing else does |
RESULT_REGISTER | the result register is not the data path |
RESULT_REQUEST | results of key and write are had with a request of type 5 |
SATURATION | a counter at its end: writes are refused, every result is flagged |
ADDRESS_RANGE | address and count together lie in the partition |
MAC_LAST_FRAME | only the last frame's MAC counts |
KEY_UNREADABLE | nothing reads the key |
STALE_COUNTER | an authentic write with an old counter is refused and changes nothing |
`,
);
