// SPDX-License-Identifier: Apache-2.0
//
// lockstep-invoke CALLS: how fast a TA can be invoked with two references to 64 KiB. Prints one line
// of JSON; `npm run bench` holds the emulated platform against it.
//
// registered: two buffers are shared once; every call is one INVOKE.
// temporary: every call shares both buffers, invokes and ends the sharing, as libteec does for
// TEEC_MEMREF_TEMP_*: SHM_REGISTER, SHM_REGISTER, INVOKE, close, close.
//
// Freestanding: it speaks to /dev/tee0 by system calls and needs neither a C library nor its headers.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed int s32;

enum { SYS_openat = 56, SYS_close = 57, SYS_write = 64, SYS_ioctl = 29, SYS_exit = 93, SYS_mmap = 222 };
enum { SIZE = 64 * 1024, PAGE = 4096, PARAMS = 4, MAX_CALLS = 100000, BATCH = 50 };
enum { MEMREF_INOUT = 7, NO_COMMAND = 0x10000 };
enum { BAD_PARAMETERS = 0xffff0006, ORIGIN_TRUSTED_APP = 4 };

static long call(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}

// The ioctls of the TEE subsystem: direction, size of the payload, 0xa4, number.
#define TEE_IOC(direction, type, number) \
	(((u64)(direction) << 30) | (sizeof(type) << 16) | (0xa4 << 8) | (number))
#define OPEN_SESSION TEE_IOC(2, struct buffer, 2)
#define INVOKE TEE_IOC(2, struct buffer, 3)
#define SHM_REGISTER TEE_IOC(3, struct shm, 9)

struct buffer { u64 pointer, length; };
struct param { u64 attr, a, b, c; };
struct shm { u64 address, length; u32 flags; s32 id; };
struct open {
	u8 uuid[16], client[16];
	u32 login, cancel, session, ret, origin, count;
	struct param params[PARAMS];
};
struct invoke {
	u32 function, session, cancel, ret, origin, count;
	struct param params[PARAMS];
};

// The test TA os_test of OP-TEE's xtest. It takes any parameters and itself refuses a command that it
// does not know: the way to a TA and back, with both buffers mapped, and nothing else.
static const u8 os_test[16] = {
	0x5b, 0x9e, 0x0e, 0x40, 0x26, 0x36, 0x11, 0xe1, 0xad, 0x9e, 0x00, 0x02, 0xa5, 0xd5, 0xc5, 0x1b,
};

static u32 times[MAX_CALLS];
static struct open opening;
static struct invoke invocation;
static int tee;

static u64 length_of(const char *text)
{
	u64 length = 0;

	while (text[length])
		length++;
	return length;
}

static void say(const char *text)
{
	call(SYS_write, 1, (long)text, length_of(text), 0, 0, 0);
}

static void say_number(u64 value)
{
	char digits[24];
	int at = sizeof(digits) - 1;

	digits[at] = 0;
	do {
		digits[--at] = '0' + value % 10;
		value /= 10;
	} while (value);
	say(digits + at);
}

static void fail(const char *what, long code)
{
	say("lockstep-invoke: ");
	say(what);
	say(code < 0 ? " failed, errno " : " failed, result ");
	say_number(code < 0 ? -code : code);
	say("\n");
	call(SYS_exit, 1, 0, 0, 0, 0, 0);
}

static u64 ticks(void)
{
	u64 value;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(value));
	return value;
}

static u64 ticks_per_second(void)
{
	u64 value;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(value));
	return value;
}

static int share(u8 *memory, s32 *id)
{
	struct shm shm = { (u64)memory, SIZE, 0, 0 };
	long fd = call(SYS_ioctl, tee, SHM_REGISTER, (long)&shm, 0, 0, 0);

	if (fd < 0)
		fail("SHM_REGISTER", fd);
	*id = shm.id;
	return fd;
}

static void invoke(s32 first, s32 second)
{
	struct buffer buffer = { (u64)&invocation, sizeof(invocation) };
	long status;

	for (int i = 0; i < PARAMS; i++)
		invocation.params[i] = (struct param){ 0, 0, 0, 0 };
	invocation.params[0] = (struct param){ MEMREF_INOUT, 0, SIZE, (u32)first };
	invocation.params[1] = (struct param){ MEMREF_INOUT, 0, SIZE, (u32)second };
	invocation.function = NO_COMMAND;
	invocation.session = opening.session;
	invocation.count = PARAMS;
	status = call(SYS_ioctl, tee, INVOKE, (long)&buffer, 0, 0, 0);
	if (status < 0)
		fail("INVOKE", status);
	if (invocation.ret != BAD_PARAMETERS || invocation.origin != ORIGIN_TRUSTED_APP)
		fail("reaching the TA", invocation.ret);
}

static void temporary(u8 *first, u8 *second)
{
	s32 ids[2];
	int fds[2] = { share(first, &ids[0]), share(second, &ids[1]) };

	invoke(ids[0], ids[1]);
	call(SYS_close, fds[0], 0, 0, 0, 0, 0);
	call(SYS_close, fds[1], 0, 0, 0, 0, 0);
}

static void sort(u32 *values, u64 count)
{
	for (u64 gap = count / 2; gap > 0; gap /= 2) {
		for (u64 i = gap; i < count; i++) {
			u32 value = values[i];
			u64 at = i;

			for (; at >= gap && values[at - gap] > value; at -= gap)
				values[at] = values[at - gap];
			values[at] = value;
		}
	}
}

// What else the host does hits some batches of calls and spares others: the fastest tells the rate.
static u64 fastest_batch(u64 calls)
{
	u64 best = ~0UL;

	for (u64 from = 0; from + BATCH <= calls; from += BATCH) {
		u64 sum = 0;

		for (u64 i = from; i < from + BATCH; i++)
			sum += times[i];
		if (sum < best)
			best = sum;
	}
	return best;
}

static void report(const char *name, u64 calls, u64 total)
{
	u64 rate = ticks_per_second();
	u64 best = fastest_batch(calls);

	sort(times, calls);
	say("\"");
	say(name);
	say("\": {\"calls\": ");
	say_number(calls);
	say(", \"ns\": ");
	say_number(total * 1000 / (rate / 1000000));
	say(", \"batch\": ");
	say_number(BATCH);
	say(", \"batchNs\": ");
	say_number(best * 1000 / (rate / 1000000));
	say(", \"p99Ns\": ");
	say_number((u64)times[calls * 99 / 100] * 1000 / (rate / 1000000));
	say("}");
}

static u8 *memory(void)
{
	// Both buffers at once, and their pages touched in turns, so that neither is contiguous.
	long at = call(SYS_mmap, 0, 2 * SIZE, 3, 0x22, -1, 0);

	if (at < 0)
		fail("mmap", at);
	for (u64 page = 0; page < SIZE; page += PAGE) {
		((volatile u8 *)at)[page] = 1;
		((volatile u8 *)at)[SIZE + page] = 1;
	}
	return (u8 *)at;
}

static void open_session(void)
{
	struct buffer buffer = { (u64)&opening, sizeof(opening) };
	long status;

	tee = call(SYS_openat, -100, (long)"/dev/tee0", 2, 0, 0, 0);
	if (tee < 0)
		fail("opening /dev/tee0", tee);
	for (int i = 0; i < 16; i++)
		opening.uuid[i] = os_test[i];
	opening.count = PARAMS;
	status = call(SYS_ioctl, tee, OPEN_SESSION, (long)&buffer, 0, 0, 0);
	if (status < 0)
		fail("OPEN_SESSION", status);
	if (opening.ret)
		fail("opening a session", opening.ret);
}

__attribute__((used)) static void run(const long *stack)
{
	const char *text = stack[0] > 1 ? (const char *)stack[2] : "";
	u64 calls = 0;
	u64 start, before;
	u8 *first, *second;
	s32 ids[2];

	while (*text >= '0' && *text <= '9' && calls < MAX_CALLS)
		calls = calls * 10 + (*text++ - '0');
	if (calls < BATCH || calls > MAX_CALLS || *text)
		fail("usage: lockstep-invoke CALLS (50 to 100000):", 22);
	open_session();
	first = memory();
	second = first + SIZE;
	share(first, &ids[0]);
	share(second, &ids[1]);
	start = before = ticks();
	for (u64 i = 0; i < calls; i++) {
		invoke(ids[0], ids[1]);
		u64 now = ticks();
		times[i] = now - before;
		before = now;
	}
	say("{");
	report("registered", calls, before - start);
	start = before = ticks();
	for (u64 i = 0; i < calls; i++) {
		temporary(first, second);
		u64 now = ticks();
		times[i] = now - before;
		before = now;
	}
	say(", ");
	report("temporary", calls, before - start);
	say("}\n");
	call(SYS_exit, 0, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tb run\n");
