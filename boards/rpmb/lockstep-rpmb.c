// SPDX-License-Identifier: Apache-2.0
//
// lockstep-rpmb DEVICE [SYSFS]: reads from the RPMB partition of an eMMC, e.g. /dev/mmcblk2rpmb, and
// never changes it. Prints what sysfs says of the part (SYSFS: the folder of its attributes), then
// answers requests from stdin.
//
// stdin, a line a request:   COUNT HEX      one frame of 512 bytes, and how many frames the answer has
// stdout, a line a fact:     fact NAME TEXT
//         a line an answer:  frames HEX
//         what went wrong:   error WHAT NUMBER     errno, or the request's type where it is refused
//         at the end:        end
//
// A request that is no read (counter 0x0002, data 0x0004, configuration 0x0007) is refused here as
// well as by whoever sends it: this program cannot program a key or write a block.
//
// Freestanding: it speaks to Linux by system calls and needs neither a C library nor its headers.
// AArch64 is what boards are; x86-64 is what the hosts of its tests are.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed int s32;

#if defined(__aarch64__)
enum { SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_ioctl = 29, SYS_exit = 93 };

static long call(long number, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}

__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tb run\n");
#elif defined(__x86_64__)
enum { SYS_openat = 257, SYS_close = 3, SYS_read = 0, SYS_write = 1, SYS_ioctl = 16, SYS_exit = 60 };

static long call(long number, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return result;
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall run\n");
#else
#error "only AArch64 and x86-64 are known"
#endif

enum { FRAME = 512, RESULTS = 256, LINE = 1100, TEXT = 64, AT_FDCWD = -100 };
enum { O_RDONLY = 0, O_RDWR = 2, O_CLOEXEC = 02000000 };
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_REFUSED = 2 };

// struct mmc_ioc_cmd and struct mmc_ioc_multi_cmd of the kernel's interface for block devices.
struct command {
	s32 write_flag, is_acmd;
	u32 opcode, argument, response[4], flags, block_size, blocks;
	u32 sleep_min_us, sleep_max_us, data_timeout_ns, command_timeout_ms, pad;
	u64 data;
};
struct commands {
	u64 count;
	struct command list[2];
};
#define MMC_IOC_MULTI_CMD 0xc008b301UL

// CMD18 and CMD25; the kernel puts CMD23 in front of each.
enum { READ_MULTIPLE_BLOCK = 18, WRITE_MULTIPLE_BLOCK = 25 };
// R1 with data: answer present, CRC, opcode; the same for SPI; ADTC.
enum { FLAGS = 0x15 | 0x80 | 0x20 };

static u8 request[FRAME];
static u8 answer[RESULTS * FRAME];
static char line[LINE];
static u8 input[4096];
static long have, taken;

static char output[8192];
static u64 pending;

static void flush(void)
{
	u64 at = 0;

	while (at < pending) {
		long wrote = call(SYS_write, 1, (long)(output + at), pending - at, 0);

		if (wrote <= 0)
			call(SYS_exit, EXIT_FAILED, 0, 0, 0);
		at += wrote;
	}
	pending = 0;
}

static void put(char character)
{
	if (pending == sizeof(output))
		flush();
	output[pending++] = character;
}

static void say(const char *text)
{
	while (*text)
		put(*text++);
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

static void say_hex(const u8 *bytes, u64 count)
{
	static const char digit[] = "0123456789abcdef";

	for (u64 at = 0; at < count; at++) {
		put(digit[bytes[at] >> 4]);
		put(digit[bytes[at] & 15]);
	}
}

static void fail(const char *what, u64 number, int code)
{
	say("error ");
	say(what);
	say(" ");
	say_number(number);
	say("\n");
	flush();
	call(SYS_exit, code, 0, 0, 0);
}

// The fact NAME, from the first of two folders that has it; nothing where neither has.
static void fact(const char *first, const char *second, const char *name)
{
	const char *folders[] = { first, second };
	char path[160];
	char text[TEXT];

	for (int i = 0; i < 2; i++) {
		u64 at = 0;
		long fd, size;

		for (const char *from = folders[i]; *from && at < 100; from++)
			path[at++] = *from;
		if (!at)
			continue;
		path[at++] = '/';
		for (const char *from = name; *from; from++)
			path[at++] = *from;
		path[at] = 0;
		fd = call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0);
		if (fd < 0)
			continue;
		size = call(SYS_read, fd, (long)text, TEXT, 0);
		call(SYS_close, fd, 0, 0, 0);
		if (size < 0)
			continue;
		say("fact ");
		say(name);
		say(" ");
		for (long k = 0; k < size && text[k] != '\n'; k++)
			put(text[k] > ' ' && text[k] < 127 ? text[k] : ' ');
		say("\n");
		return;
	}
}

// The number in a name such as /dev/mmcblk2rpmb, as text; empty for another name.
static const char *device_number(const char *device)
{
	static char number[8];
	static const char prefix[] = "mmcblk";
	const char *name = device;
	u64 digits = 0;

	for (const char *at = device; *at; at++)
		if (*at == '/')
			name = at + 1;
	for (u64 at = 0; prefix[at]; at++)
		if (*name++ != prefix[at])
			return number;
	while (name[digits] >= '0' && name[digits] <= '9' && digits < sizeof(number) - 1)
		digits++;
	if (name[digits] != 'r')
		return number;
	for (u64 at = 0; at < digits; at++)
		number[at] = name[at];
	return number;
}

static char *append(char *to, const char *from)
{
	while (*from)
		*to++ = *from++;
	*to = 0;
	return to;
}

static void facts(const char *device, const char *given)
{
	static const char *const names[] = {
		"cid", "raw_rpmb_size_mult", "rel_sectors", "enhanced_rpmb_supported", "fwrev", "rev",
	};
	const char *number = device_number(device);
	char block[100] = "", host[100] = "";

	if (!*given && *number) {
		append(append(append(block, "/sys/class/block/mmcblk"), number), "/device");
		append(append(append(append(append(host, "/sys/class/mmc_host/mmc"), number), "/mmc"), number),
		       ":0001");
	}
	for (u64 at = 0; at < sizeof(names) / sizeof(*names); at++)
		fact(*given ? given : block, host, names[at]);
}

static int next_byte(void)
{
	if (taken == have) {
		have = call(SYS_read, 0, (long)input, sizeof(input), 0);
		taken = 0;
		if (have < 0)
			fail("stdin", -have, EXIT_FAILED);
		if (have == 0)
			return -1;
	}
	return input[taken++];
}

// A line without its end; the length, or -1 at the end of stdin.
static long next_line(void)
{
	long length = 0;

	for (;;) {
		int byte = next_byte();

		if (byte < 0)
			return length == 0 ? -1 : length;
		if (byte == '\n')
			return length;
		if (length == LINE)
			fail("line", 0, EXIT_FAILED);
		line[length++] = byte;
	}
}

static int hex(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return -1;
}

// The request in the line; how many frames the answer has. Ends the program where the line is wrong.
static u32 parse(long length)
{
	long at = 0;
	u32 count = 0;

	while (at < length && line[at] >= '0' && line[at] <= '9' && count <= RESULTS)
		count = count * 10 + (line[at++] - '0');
	if (count < 1 || count > RESULTS || length != at + 1 + 2 * FRAME || line[at] != ' ')
		fail("line", 0, EXIT_FAILED);
	at++;
	for (u64 byte = 0; byte < FRAME; byte++, at += 2) {
		int high = hex(line[at]), low = hex(line[at + 1]);

		if (high < 0 || low < 0)
			fail("line", 0, EXIT_FAILED);
		request[byte] = high << 4 | low;
	}
	return count;
}

static void exchange(long device, u32 count)
{
	u32 type = request[510] << 8 | request[511];
	struct commands commands = { 0 };
	long status;

	if (type != 0x0002 && type != 0x0004 && type != 0x0007)
		fail("refused", type, EXIT_REFUSED);
	for (u64 at = 0; at < count * FRAME; at++)
		answer[at] = 0;
	commands.count = 2;
	for (int i = 0; i < 2; i++) {
		commands.list[i].flags = FLAGS;
		commands.list[i].block_size = FRAME;
	}
	commands.list[0].write_flag = 1;
	commands.list[0].opcode = WRITE_MULTIPLE_BLOCK;
	commands.list[0].blocks = 1;
	commands.list[0].data = (u64)request;
	commands.list[1].opcode = READ_MULTIPLE_BLOCK;
	commands.list[1].blocks = count;
	commands.list[1].data = (u64)answer;
	status = call(SYS_ioctl, device, MMC_IOC_MULTI_CMD, (long)&commands, 0);
	if (status < 0)
		fail("ioctl", -status, EXIT_FAILED);
	say("frames ");
	say_hex(answer, count * FRAME);
	say("\n");
	flush();
}

__attribute__((used)) static void run(const long *stack)
{
	const char *device = stack[0] > 1 ? (const char *)stack[2] : "";
	const char *given = stack[0] > 2 ? (const char *)stack[3] : "";
	long fd, length;

	if (!*device)
		fail("usage", 0, EXIT_FAILED);
	facts(device, given);
	flush();
	fd = call(SYS_openat, AT_FDCWD, (long)device, O_RDWR | O_CLOEXEC, 0);
	if (fd < 0)
		fail("open", -fd, EXIT_FAILED);
	while ((length = next_line()) >= 0)
		exchange(fd, parse(length));
	say("end\n");
	flush();
	call(SYS_exit, EXIT_OK, 0, 0, 0);
}
