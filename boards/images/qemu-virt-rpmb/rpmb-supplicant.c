// SPDX-License-Identifier: Apache-2.0
//
// A library that is loaded into tee-supplicant in front of the C library (/etc/ld.so.preload) and
// takes OP-TEE's RPMB requests to /dev/mmcblk<N>rpmb. Debian builds its supplicant with an emulation
// of an RPMB part in its own memory in place of what a board's supplicant does; everything that is
// not an RPMB request still reaches that supplicant.
//
// It stands between the supplicant and the TEE driver: of the ioctls of /dev/teepriv0 it notes which
// memory is shared, and answers a received RPMB request itself before it waits for the next one. In
// other programs it does nothing.
//
// Freestanding but for __errno_location of the C library that is there anyway.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed int s32;

enum { SYS_ioctl = 29, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_mmap = 222, SYS_munmap = 215, SYS_sched_yield = 124 };
enum { AT_FDCWD = -100, O_RDONLY = 0, O_RDWR = 2, O_CLOEXEC = 02000000 };

extern int *__errno_location(void);

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

// The library may be in several threads of the supplicant at once.
static void lock(u8 *taken)
{
	while (__atomic_test_and_set(taken, __ATOMIC_ACQUIRE))
		call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
}

static void unlock(u8 *taken)
{
	__atomic_clear(taken, __ATOMIC_RELEASE);
}

// ---- The TEE subsystem (linux/tee.h) --------------------------------------------------------------

#define TEE_IOC(direction, size, number) (((u64)(direction) << 30) | ((size) << 16) | (0xa4 << 8) | (number))
#define SHM_ALLOC TEE_IOC(3, 16, 1)
#define SUPPL_RECV TEE_IOC(2, 16, 6)
#define SUPPL_SEND TEE_IOC(2, 16, 7)
#define SHM_REGISTER TEE_IOC(3, 24, 9)

enum { PARAM_TYPE = 0xff, PARAM_META = 0x100, MEMREF_INPUT = 5, MEMREF_OUTPUT = 6, MEMREF_INOUT = 7 };
enum { RPC_RPMB = 1 };
enum {
	SUCCESS = 0, ERROR_GENERIC = 0xffff0000, ERROR_BAD_PARAMETERS = 0xffff0006,
	ERROR_ITEM_NOT_FOUND = 0xffff0008, ERROR_NO_DATA = 0xffff000b,
};

struct buffer { u64 pointer, length; };
struct param { u64 attr, a, b, c; };
/* Of a request: its function; of its answer: its result. */
struct message { u32 function, count; struct param params[]; };
struct shm_alloc { u64 size; u32 flags; s32 id; };
struct shm_register { u64 address, length; u32 flags; s32 id; };

// Shared memory by id: registered memory has an address, allocated memory a descriptor to map.
enum { SHARES = 256 };
static struct share { u64 address, length; s32 id, fd, used; } shares[SHARES];
static u8 shares_lock;

static void note_share(s32 id, u64 address, u64 length, s32 fd)
{
	struct share *place = 0;

	lock(&shares_lock);
	// An id that is known was given back and is used again; so is a descriptor.
	for (int i = 0; i < SHARES; i++) {
		if (shares[i].used && (shares[i].id == id || shares[i].fd == fd))
			shares[i].used = 0;
		if (!shares[i].used)
			place = &shares[i];
	}
	if (place)
		*place = (struct share){ address, length, id, fd, 1 };
	unlock(&shares_lock);
}

static int find_share(s32 id, struct share *found)
{
	int is_there = 0;

	lock(&shares_lock);
	for (int i = 0; i < SHARES && !is_there; i++) {
		if (shares[i].used && shares[i].id == id) {
			*found = shares[i];
			is_there = 1;
		}
	}
	unlock(&shares_lock);
	return is_there;
}

// Memory that a parameter refers to, within this process; `mapping` is to be undone afterwards.
struct memory { u8 *bytes; u64 size; long mapping; u64 mapped; };

static int reach(const struct param *param, struct memory *memory)
{
	u64 type = param->attr & PARAM_TYPE;
	struct share share;

	*memory = (struct memory){ 0, 0, 0, 0 };
	if (type < MEMREF_INPUT || type > MEMREF_INOUT || !find_share((s32)param->c, &share))
		return 0;
	if (param->a > share.length || param->b > share.length - param->a)
		return 0;
	if (share.address) {
		memory->bytes = (u8 *)share.address + param->a;
	} else {
		memory->mapping = call(SYS_mmap, 0, share.length, 3, 1, share.fd, 0);
		if (memory->mapping < 0 && memory->mapping > -4096)
			return 0;
		memory->mapped = share.length;
		memory->bytes = (u8 *)memory->mapping + param->a;
	}
	memory->size = param->b;
	return 1;
}

static void leave(struct memory *memory)
{
	if (memory->mapped)
		call(SYS_munmap, memory->mapping, memory->mapped, 0, 0, 0, 0);
}

// ---- The RPMB partition ---------------------------------------------------------------------------

enum { FRAME = 512, REQUEST_HEADER = 6, DEVICE_INFO = 19 };
enum { DATA_REQUEST = 0, GET_DEVICE_INFO = 1 };
enum { PROGRAM_KEY = 1, READ_COUNTER = 2, WRITE_DATA = 3, READ_DATA = 4, READ_RESULT = 5 };
enum { FRAME_BLOCK_COUNT = 506, FRAME_TYPE = 510 };
enum { READ_MULTIPLE = 18, WRITE_MULTIPLE = 25, R1_AND_DATA = 0x35 };
#define MMC_IOC_MULTI_CMD 0xc008b301
#define RELIABLE_WRITE 0x80000000

struct mmc_command {
	u32 write_flag, is_acmd, opcode, argument, response[4], flags, block_size, blocks;
	u32 postsleep_min, postsleep_max, data_timeout, command_timeout, pad;
	u64 data;
};

static u32 number_at(const u8 *bytes)
{
	return bytes[0] | bytes[1] << 8;
}

static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

static char *append_number(char *to, u32 value)
{
	char digits[12], *at = digits + sizeof(digits) - 1;

	*at = 0;
	do {
		*--at = '0' + value % 10;
		value /= 10;
	} while (value);
	return append(to, at);
}

// Opened once and kept, until it fails.
static struct { long file; u32 id; } device = { -1, 0 };

static void close_device(void)
{
	if (device.file >= 0)
		call(SYS_close, device.file, 0, 0, 0, 0, 0);
	device.file = -1;
}

static int open_device(u32 id)
{
	char path[64];

	if (device.file >= 0 && device.id == id)
		return 1;
	close_device();
	append(append_number(append(path, "/dev/mmcblk"), id), "rpmb");
	device.id = id;
	device.file = call(SYS_openat, AT_FDCWD, (long)path, O_RDWR | O_CLOEXEC, 0, 0, 0);
	return device.file >= 0;
}

static struct mmc_command command(u32 opcode, u32 write_flag, u64 blocks, const u8 *data)
{
	struct mmc_command made = { .write_flag = write_flag, .opcode = opcode, .flags = R1_AND_DATA };

	made.block_size = FRAME;
	made.blocks = blocks;
	made.data = (u64)data;
	return made;
}

// The frames of one request to the part, and of its answer from it.
static u32 exchange(u32 id, const u8 *request, u64 frames, u8 *answer, u64 answer_frames)
{
	static u8 result_read[FRAME];
	struct { u64 count; struct mmc_command commands[3]; } multi;
	u32 type = frames ? request[FRAME_TYPE] << 8 | request[FRAME_TYPE + 1] : 0;
	long status;

	if (type == PROGRAM_KEY || type == WRITE_DATA) {
		if (answer_frames != 1)
			return ERROR_BAD_PARAMETERS;
		result_read[FRAME_TYPE + 1] = READ_RESULT;
		multi.count = 3;
		multi.commands[0] = command(WRITE_MULTIPLE, RELIABLE_WRITE | 1, frames, request);
		multi.commands[1] = command(WRITE_MULTIPLE, 1, 1, result_read);
		multi.commands[2] = command(READ_MULTIPLE, 0, 1, answer);
	} else if (type == READ_COUNTER || type == READ_DATA) {
		if (frames != 1 || answer_frames < 1 || (type == READ_COUNTER && answer_frames != 1))
			return ERROR_BAD_PARAMETERS;
		multi.count = 2;
		multi.commands[0] = command(WRITE_MULTIPLE, 1, 1, request);
		multi.commands[1] = command(READ_MULTIPLE, 0, answer_frames, answer);
	} else {
		return ERROR_GENERIC;
	}
	if (!open_device(id))
		return ERROR_BAD_PARAMETERS;
	status = call(SYS_ioctl, device.file, MMC_IOC_MULTI_CMD, (long)&multi, 0, 0, 0);
	if (status < 0)
		close_device();
	return status < 0 ? ERROR_GENERIC : SUCCESS;
}

static long read_register(u32 id, const char *name, char *text, u64 size)
{
	char path[128], *end = append_number(append(path, "/sys/class/mmc_host/mmc"), id);
	long file, length;

	append(append(append_number(append(end, "/mmc"), id), ":0001/"), name);
	file = call(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0);
	if (file < 0)
		return file;
	length = call(SYS_read, file, (long)text, size, 0, 0, 0);
	call(SYS_close, file, 0, 0, 0, 0, 0);
	return length;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// One byte as sysfs shows it: 0x and hex digits.
static int byte_register(u32 id, const char *name, u8 *value)
{
	char text[16];
	long length = read_register(id, name, text, sizeof(text));
	u32 sum = 0;

	if (length < 3 || text[0] != '0' || text[1] != 'x')
		return 0;
	for (long i = 2; i < length && digit(text[i]) >= 0; i++)
		sum = sum << 4 | (u32)digit(text[i]);
	*value = sum;
	return sum <= 0xff;
}

static u32 device_info(u32 id, u8 *answer)
{
	char cid[32];
	long length = read_register(id, "cid", cid, sizeof(cid));

	if (length < 0)
		return ERROR_ITEM_NOT_FOUND;
	if (length != sizeof(cid))
		return ERROR_NO_DATA;
	for (int i = 0; i < 16; i++) {
		int high = digit(cid[2 * i]), low = digit(cid[2 * i + 1]);

		if (high < 0 || low < 0)
			return ERROR_GENERIC;
		answer[i] = high << 4 | low;
	}
	if (!byte_register(id, "raw_rpmb_size_mult", &answer[16]) || !byte_register(id, "rel_sectors", &answer[17]))
		return ERROR_GENERIC;
	answer[18] = SUCCESS;
	return SUCCESS;
}

static u32 serve(const u8 *request, u64 size, u8 *answer, u64 answer_size)
{
	u32 id;

	if (size < REQUEST_HEADER)
		return ERROR_BAD_PARAMETERS;
	id = number_at(request + 2);
	switch (number_at(request)) {
	case DATA_REQUEST:
		return exchange(id, request + REQUEST_HEADER, (size - REQUEST_HEADER) / FRAME, answer, answer_size / FRAME);
	case GET_DEVICE_INFO:
		if (size != REQUEST_HEADER || answer_size != DEVICE_INFO)
			return ERROR_BAD_PARAMETERS;
		return device_info(id, answer);
	default:
		return ERROR_BAD_PARAMETERS;
	}
}

// ---- What the supplicant calls --------------------------------------------------------------------

// Answers a received request if it is one for RPMB, and sends the answer; 0 if it is none.
static int take(struct buffer *received)
{
	static u8 one_at_a_time;
	struct message *message = (struct message *)received->pointer;
	struct memory request, answer;
	struct param *params = message->params;
	u32 count = message->count;

	if (message->function != RPC_RPMB)
		return 0;
	// The first parameter may be the request's number, which goes back as it came.
	if (count && (params->attr & PARAM_META)) {
		params++;
		count--;
	}
	message->function = ERROR_BAD_PARAMETERS;
	lock(&one_at_a_time);
	if (count == 2 && reach(&params[0], &request)) {
		if (reach(&params[1], &answer))
			message->function = serve(request.bytes, request.size, answer.bytes, answer.size);
		leave(&answer);
		leave(&request);
	}
	unlock(&one_at_a_time);
	return 1;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long number, void *argument)
{
	long status = call(SYS_ioctl, fd, number, (long)argument, 0, 0, 0);

	if (status >= 0 && number == SHM_REGISTER) {
		struct shm_register *shm = argument;
		note_share(shm->id, shm->address, shm->length, status);
	} else if (status >= 0 && number == SHM_ALLOC) {
		struct shm_alloc *shm = argument;
		note_share(shm->id, 0, shm->size, status);
	}
	while (status == 0 && number == SUPPL_RECV) {
		struct buffer *received = argument;
		struct message *message = (struct message *)received->pointer;
		// Room for as many parameters is asked for anew with every request.
		u32 room = (received->length - sizeof(struct message)) / sizeof(struct param);

		if (!take(received))
			break;
		status = call(SYS_ioctl, fd, SUPPL_SEND, (long)received, 0, 0, 0);
		if (status < 0)
			break;
		message->function = 0;
		message->count = room;
		for (u32 i = 0; i < room; i++)
			message->params[i] = (struct param){ i == 0 ? PARAM_META : 0, 0, 0, 0 };
		status = call(SYS_ioctl, fd, SUPPL_RECV, (long)received, 0, 0, 0);
	}
	if (status < 0 && status > -4096) {
		*__errno_location() = -status;
		return -1;
	}
	return status;
}
