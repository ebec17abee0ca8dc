// SPDX-License-Identifier: Apache-2.0
//
// The hardware unique key of CFG_LOCKSTEP_HUK, in hexadecimal digits, in place of the all-zero one: a
// stand-in for a driver that reads a fuse. OP-TEE's own headers say how many octets it has.

#include <assert.h>
#include <kernel/tee_common_otp.h>

#ifndef CFG_INSECURE
#error "A hardware unique key that stands in a configuration is for insecure builds alone"
#endif

#define AS_TEXT(value) #value
#define TEXT_OF(macro) AS_TEXT(macro)

static const char digits[] = TEXT_OF(CFG_LOCKSTEP_HUK);

static_assert(sizeof(digits) - 1 == 2 * HW_UNIQUE_KEY_LENGTH, "CFG_LOCKSTEP_HUK has another length");

static int value_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

TEE_Result tee_otp_get_hw_unique_key(struct tee_hw_unique_key *hwkey)
{
	for (size_t at = 0; at < sizeof(hwkey->data); at++) {
		int high = value_of(digits[2 * at]);
		int low = value_of(digits[2 * at + 1]);

		if (high < 0 || low < 0)
			return TEE_ERROR_BAD_FORMAT;
		hwkey->data[at] = high << 4 | low;
	}
	return TEE_SUCCESS;
}
