// SPDX-License-Identifier: Apache-2.0
//
// lockstep-rpmb-key CID: prints the RPMB key that this board's OP-TEE derives for the part with that
// CID, 32 hexadecimal digits. Asks Lockstep's key-read service, which serves root alone and is in no
// OP-TEE but one that was built for it. Prints three lines and exits with 0, or one line on stderr
// and exits with 1 (no such service), 2 (refused) or 64 (wrong arguments).
//
// Freestanding: it speaks to /dev/tee0 by system calls and needs neither a C library nor its headers.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

enum { SYS_openat = 56, SYS_write = 64, SYS_ioctl = 29, SYS_exit = 93 };
enum { PARAMS = 4, LOGIN_USER = 1, VALUE_INOUT = 3, COMMAND_DERIVE = 0 };
enum { CID_SIZE = 16, KEY_SIZE = 32 };
enum { OUT = 1, ERR = 2, ABSENT = 1, REFUSED = 2, USAGE = 64 };
enum { ITEM_NOT_FOUND = 0xffff0008 };

static long call(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = 0;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

// The ioctls of the TEE subsystem: they read and write, size of the payload, 0xa4, number.
#define TEE_IOC(number) (((u64)2 << 30) | (sizeof(struct buffer) << 16) | (0xa4 << 8) | (number))
#define OPEN_SESSION TEE_IOC(2)
#define INVOKE TEE_IOC(3)

struct buffer { u64 pointer, length; };
struct param { u64 attr, a, b, c; };
struct open {
	u8 uuid[16], client[16];
	u32 login, cancel, session, ret, origin, count;
	struct param params[PARAMS];
};
struct invoke {
	u32 function, session, cancel, ret, origin, count;
	struct param params[PARAMS];
};

static const u8 service[16] = {
	0xd9, 0x7b, 0x0e, 0x94, 0x45, 0xae, 0x42, 0x65, 0x80, 0xec, 0xbd, 0x54, 0x9b, 0x41, 0xdf, 0x54,
};
static const char hex[] = "0123456789abcdef";

static struct open opening;
static struct invoke invocation;
static char text[160];
static u64 length;

static void add(const char *more)
{
	while (*more)
		text[length++] = *more++;
}

static void add_octet(u8 octet)
{
	text[length++] = hex[octet >> 4];
	text[length++] = hex[octet & 15];
}

static void finish(int stream, int code)
{
	volatile char *at = text;
	long written = call(SYS_write, stream, (long)text, length);

	for (u64 i = 0; i < sizeof(text); i++)
		at[i] = 0;
	call(SYS_exit, written == (long)length ? code : REFUSED, 0, 0);
}

static void fail(const char *what, u32 result, int code)
{
	length = 0;
	add("lockstep-rpmb-key: ");
	add(what);
	if (result) {
		add(" 0x");
		for (int shift = 24; shift >= 0; shift -= 8)
			add_octet(result >> shift);
	}
	add("\n");
	finish(ERR, code);
}

static int value_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

// An octet of a value in the order of memory: four in a, four in b.
static u8 octet_of(const struct param *param, int at)
{
	return (at < 4 ? param->a : param->b) >> (8 * (at % 4));
}

static void read_cid(const char *digits)
{
	for (int at = 0; at < CID_SIZE; at++) {
		int high = value_of(digits[2 * at]);
		int low = high < 0 ? -1 : value_of(digits[2 * at + 1]);
		struct param *param = &invocation.params[at / 8];
		u64 octet = (u64)(high << 4 | low) << (8 * (at % 4));

		if (low < 0)
			fail("usage: lockstep-rpmb-key CID (32 digits of 0 to 9 and a to f)", 0, USAGE);
		if (at % 8 < 4)
			param->a |= octet;
		else
			param->b |= octet;
	}
	if (digits[2 * CID_SIZE])
		fail("usage: lockstep-rpmb-key CID (32 digits of 0 to 9 and a to f)", 0, USAGE);
}

static void open_session(int tee)
{
	struct buffer buffer = { (u64)&opening, sizeof(opening) };

	for (int i = 0; i < 16; i++)
		opening.uuid[i] = service[i];
	opening.login = LOGIN_USER;
	opening.count = PARAMS;
	if (call(SYS_ioctl, tee, OPEN_SESSION, (long)&buffer) < 0)
		fail("OP-TEE cannot be asked", 0, REFUSED);
	if (opening.ret == ITEM_NOT_FOUND)
		fail("this OP-TEE has no key-read service", 0, ABSENT);
	if (opening.ret)
		fail("the key-read service refuses a session with", opening.ret, REFUSED);
}

static void print(void)
{
	add("lockstep-rpmb-key 1\ncid ");
	for (int at = 0; at < CID_SIZE; at++)
		add_octet(octet_of(&invocation.params[at / 8], at % 8));
	add("\nkey ");
}

__attribute__((used)) static void run(const long *stack)
{
	struct buffer buffer = { (u64)&invocation, sizeof(invocation) };
	volatile u8 *at = (u8 *)&invocation;
	long tee;

	read_cid(stack[0] == 2 ? (const char *)stack[2] : "");
	print();
	tee = call(SYS_openat, -100, (long)"/dev/tee0", 2);
	if (tee < 0)
		fail("there is no /dev/tee0 to be opened", 0, ABSENT);
	open_session(tee);
	invocation.function = COMMAND_DERIVE;
	invocation.session = opening.session;
	invocation.count = PARAMS;
	for (int i = 0; i < PARAMS; i++)
		invocation.params[i].attr = VALUE_INOUT;
	if (call(SYS_ioctl, tee, INVOKE, (long)&buffer) < 0)
		fail("OP-TEE cannot be asked", 0, REFUSED);
	if (invocation.ret)
		fail("the key-read service refuses with", invocation.ret, REFUSED);
	for (int i = 0; i < KEY_SIZE; i++)
		add_octet(octet_of(&invocation.params[i / 8], i % 8));
	add("\n");
	for (u64 i = 0; i < sizeof(invocation); i++)
		at[i] = 0;
	finish(OUT, 0);
}

__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tb run\n");
