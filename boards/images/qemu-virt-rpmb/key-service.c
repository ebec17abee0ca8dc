// SPDX-License-Identifier: Apache-2.0
//
// Lockstep's key-read service, a pseudo-TA: tells root of the normal world which RPMB key this OP-TEE
// derives for the part with a given CID. Whoever has that key can write the part for ever after, so
// this is for development builds: it does not compile where CFG_INSECURE is off.
//
// Command 0 takes four in-out values. In: the CID, 16 octets in a and b of the first two. Out: the
// key, 32 octets in a and b of all four. Both in the order in which a little-endian machine has them
// in its memory.

#include <kernel/huk_subkey.h>
#include <kernel/pseudo_ta.h>
#include <kernel/tee_ta_manager.h>
#include <kernel/ts_manager.h>
#include <string.h>
#include <string_ext.h>
#include <tee/uuid.h>

#ifndef CFG_INSECURE
#error "The key-read service gives an RPMB key away: it is for builds with CFG_INSECURE=y alone"
#endif

#define SERVICE_UUID \
	{ 0xd97b0e94, 0x45ae, 0x4265, { 0x80, 0xec, 0xbd, 0x54, 0x9b, 0x41, 0xdf, 0x54 } }

enum { COMMAND_DERIVE = 0 };
enum { CID_SIZE = 16, KEY_SIZE = 32, CID_REVISION = 9, CID_CHECKSUM = 15 };

// What Linux makes of the login of user 0: a name-based UUID of "uid=0". No user can choose it.
static const uint8_t root_uuid[] = {
	0xef, 0x01, 0x80, 0xa3, 0x13, 0xf3, 0x5d, 0x1c, 0xb7, 0xf5, 0x88, 0x8c, 0x0e, 0x21, 0x05, 0x9a,
};

static TEE_Result open_session(uint32_t types __unused, TEE_Param params[TEE_NUM_PARAMS] __unused,
			       void **context __unused)
{
	const TEE_Identity *client = &to_ta_session(ts_get_current_session())->clnt_id;
	uint8_t octets[sizeof(root_uuid)] = { };

	tee_uuid_to_octets(octets, &client->uuid);
	if (client->login != TEE_LOGIN_USER || memcmp(octets, root_uuid, sizeof(octets)))
		return TEE_ERROR_ACCESS_DENIED;
	return TEE_SUCCESS;
}

static TEE_Result derive(TEE_Param params[TEE_NUM_PARAMS])
{
	uint32_t words[KEY_SIZE / sizeof(uint32_t)] = { };
	uint8_t cid[CID_SIZE] = { };
	uint8_t key[KEY_SIZE] = { };
	TEE_Result result = TEE_SUCCESS;

	// A build with the test key takes neither HUK nor CID: there is nothing to derive.
	if (IS_ENABLED(CFG_RPMB_TESTKEY))
		return TEE_ERROR_NOT_SUPPORTED;
	for (size_t at = 0; at < CID_SIZE / 8; at++) {
		words[2 * at] = params[at].value.a;
		words[2 * at + 1] = params[at].value.b;
	}
	memcpy(cid, words, sizeof(cid));
	// Both may change in the life of a part; OP-TEE leaves them out too.
	cid[CID_REVISION] = 0;
	cid[CID_CHECKSUM] = 0;
	result = huk_subkey_derive(HUK_SUBKEY_RPMB, cid, sizeof(cid), key, sizeof(key));
	if (result == TEE_SUCCESS) {
		memcpy(words, key, sizeof(key));
		for (size_t at = 0; at < TEE_NUM_PARAMS; at++) {
			params[at].value.a = words[2 * at];
			params[at].value.b = words[2 * at + 1];
		}
	}
	memzero_explicit(key, sizeof(key));
	memzero_explicit(words, sizeof(words));
	return result;
}

static TEE_Result invoke(void *context __unused, uint32_t command, uint32_t types,
			 TEE_Param params[TEE_NUM_PARAMS])
{
	const uint32_t expected = TEE_PARAM_TYPES(TEE_PARAM_TYPE_VALUE_INOUT, TEE_PARAM_TYPE_VALUE_INOUT,
						  TEE_PARAM_TYPE_VALUE_INOUT, TEE_PARAM_TYPE_VALUE_INOUT);

	if (command != COMMAND_DERIVE)
		return TEE_ERROR_NOT_IMPLEMENTED;
	if (types != expected)
		return TEE_ERROR_BAD_PARAMETERS;
	return derive(params);
}

pseudo_ta_register(.uuid = SERVICE_UUID, .name = "lockstep-rpmb-key", .flags = PTA_DEFAULT_FLAGS,
		   .open_session_entry_point = open_session, .invoke_command_entry_point = invoke);
