// SPDX-License-Identifier: Apache-2.0
//
// lockstep-rpmb-device PORT FOLDER: the RPMB partition that Lockstep serves at the other end of the
// virtio-serial port PORT, as /dev/mmcblk0rpmb with the ioctls of Linux's MMC driver. The part's
// registers are written to FOLDER as that driver shows them in sysfs. Returns when the device is
// there, and serves it in the background.
//
// The device is one of CUSE: /dev/cuse hands over what is done with it, as requests of the FUSE
// protocol (linux/fuse.h). An ioctl with pointers to further memory is answered with a list of what
// to copy from and to the caller, and comes again with it.
//
// Freestanding: system calls, no C library.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef signed int s32;

enum {
	SYS_mkdirat = 34, SYS_openat = 56, SYS_close = 57, SYS_read = 63, SYS_write = 64, SYS_writev = 66,
	SYS_ppoll = 73, SYS_exit = 93, SYS_setsid = 157, SYS_clone = 220,
};
enum { AT_FDCWD = -100, O_RDWR = 2, O_WRONLY_CREAT_TRUNC = 01101, O_NONBLOCK = 04000, SIGCHLD = 17 };
enum { POLLIN = 1, POLLOUT = 4, POLLHUP = 16 };
enum { EINTR = 4, EIO = 5, EAGAIN = 11, EINVAL = 22, ENOTTY = 25, ENOSYS = 38, EOVERFLOW = 75 };

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

static void copy(void *to, const void *from, u64 size)
{
	for (u64 i = 0; i < size; i++)
		((u8 *)to)[i] = ((const u8 *)from)[i];
}

static u64 length_of(const char *text)
{
	u64 length = 0;

	while (text[length])
		length++;
	return length;
}

static void say(const char *text)
{
	call(SYS_write, 2, (long)text, length_of(text), 0, 0, 0);
}

static void fail(const char *what)
{
	say("lockstep-rpmb-device: ");
	say(what);
	say("\n");
	call(SYS_exit, 1, 0, 0, 0, 0, 0);
}

// ---- The part, at the other end of the port -------------------------------------------------------

enum { FRAME = 512, MAX_FRAMES = 254 };
enum { PATIENCE_MS = 30000 };

static int port;

struct pollfd { s32 fd; short events, revents; };
struct timespec { u64 seconds, nanoseconds; };

// Waits until the port takes or has bytes; an error if nobody is at its other end.
static int port_waits(int events)
{
	struct pollfd poll = { port, events, 0 };
	struct timespec patience = { PATIENCE_MS / 1000, 0 };
	long ready;

	do
		ready = call(SYS_ppoll, (long)&poll, 1, (long)&patience, 0, 0, 0);
	while (ready == -EINTR);
	if (ready <= 0 || ((poll.revents & POLLHUP) && !(poll.revents & POLLIN)))
		return -EIO;
	return 0;
}

static int port_moves(long number, int events, u8 *bytes, u64 size)
{
	while (size > 0) {
		int status = port_waits(events);
		long done;

		if (status < 0)
			return status;
		done = call(number, port, (long)bytes, size, 0, 0, 0);
		if (done == -EAGAIN || done == -EINTR)
			continue;
		if (done <= 0)
			return -EIO;
		bytes += done;
		size -= done;
	}
	return 0;
}

static int port_sends(const void *bytes, u64 size)
{
	return port_moves(SYS_write, POLLOUT, (u8 *)bytes, size);
}

static int port_receives(void *bytes, u64 size)
{
	return port_moves(SYS_read, POLLIN, bytes, size);
}

// A request is a header with frames behind it, and so is its answer; little-endian.
#define MAGIC 0x424d5052
enum { OP_INFO = 0, OP_WRITE = 2, OP_READ = 3 };
enum { MAX_ERRNO = 4095 };
struct wire_request { u32 magic; u16 op, answer_frames; u32 frames; };
struct wire_answer { u32 magic; s32 status; u32 length; };
/* CID and CSD in register order, EXT_CSD from byte 0. */
static struct { u8 cid[16], csd[16], ext_csd[512]; } part;
enum { EXT_CSD_RPMB_SIZE_MULT = 168, EXT_CSD_REL_WR_SEC_C = 222 };

// The most that FUSE carries in one request is 32 pages; the headers of its commands come on top.
enum { MAX_TRANSFER = 32 * 4096, OUTGOING = MAX_TRANSFER + 4096 };
// Requests that are sent together and answered one after the other.
static u8 outgoing[OUTGOING];
static u64 outgoing_size;

// `argument`: how many frames to answer with; of a write, 1 where it is a reliable one.
static int queue_request(u16 op, u16 argument, const u8 *frames, u32 count)
{
	struct wire_request request = { MAGIC, op, argument, count };
	u64 size = (u64)count * FRAME;

	if (sizeof(request) + size > OUTGOING - outgoing_size)
		return -EOVERFLOW;
	copy(outgoing + outgoing_size, &request, sizeof(request));
	copy(outgoing + outgoing_size + sizeof(request), frames, size);
	outgoing_size += sizeof(request) + size;
	return 0;
}

static int send_requests(void)
{
	u64 size = outgoing_size;
	u8 late[FRAME];

	// What is left of answers that came too late.
	while (call(SYS_read, port, (long)late, sizeof(late), 0, 0, 0) > 0)
		;
	outgoing_size = 0;
	return port_sends(outgoing, size);
}

// The next answer: 0, or the errno that it says. Negative where there is no answer to be had any more.
static int receive_answer(void *answer, u64 size)
{
	struct wire_answer head;

	if (port_receives(&head, sizeof(head)) < 0 || head.magic != MAGIC || head.status > 0 || head.status < -MAX_ERRNO)
		return -EIO;
	if (head.status < 0 && head.length == 0)
		return -head.status;
	return head.length == size ? port_receives(answer, size) : -EIO;
}

static int part_answers(void)
{
	if (queue_request(OP_INFO, 0, 0, 0) < 0 || send_requests() < 0)
		return -EIO;
	return receive_answer(&part, sizeof(part)) == 0 ? 0 : -EIO;
}

// ---- Its registers in sysfs -----------------------------------------------------------------------

static char *append(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	*to = 0;
	return to;
}

static char *append_hex(char *to, u8 value)
{
	*to++ = "0123456789abcdef"[value >> 4];
	*to++ = "0123456789abcdef"[value & 15];
	*to = 0;
	return to;
}

static void write_file(const char *folder, const char *name, const char *text)
{
	char path[256];
	long file;

	if (length_of(folder) + length_of(name) + 2 > sizeof(path))
		fail("the folder's path is too long");
	append(append(append(path, folder), "/"), name);
	file = call(SYS_openat, AT_FDCWD, (long)path, O_WRONLY_CREAT_TRUNC, 0444, 0, 0);
	if (file < 0 || call(SYS_write, file, (long)text, length_of(text), 0, 0, 0) < 0)
		fail("a register cannot be written to the folder");
	call(SYS_close, file, 0, 0, 0, 0, 0);
}

// As the kernel's %#x: no leading zeros.
static void write_number(const char *folder, const char *name, u8 value)
{
	char text[8], *end = append(text, "0x");

	if (value < 16) {
		*end++ = "0123456789abcdef"[value];
		*end = 0;
	} else {
		end = append_hex(end, value);
	}
	append(end, "\n");
	write_file(folder, name, text);
}

static void write_registers(const char *folder)
{
	char text[40], *end = text;

	for (int i = 0; i < 16; i++)
		end = append_hex(end, part.cid[i]);
	append(end, "\n");
	write_file(folder, "cid", text);
	write_number(folder, "raw_rpmb_size_mult", part.ext_csd[EXT_CSD_RPMB_SIZE_MULT]);
	write_number(folder, "rel_sectors", part.ext_csd[EXT_CSD_REL_WR_SEC_C]);
	write_file(folder, "type", "MMC\n");
}

// ---- Commands of the MMC driver -------------------------------------------------------------------

enum { MMC_READ_MULTIPLE_BLOCK = 18, MMC_SET_BLOCK_COUNT = 23, MMC_WRITE_MULTIPLE_BLOCK = 25 };
enum { MAX_COMMANDS = 255, R1_TRANSFER_STATE = 0x900 };
#define MMC_IOC_CMD 0xc048b300
#define MMC_IOC_MULTI_CMD 0xc008b301
#define RELIABLE_WRITE 0x80000000

struct mmc_command {
	u32 write_flag, is_acmd, opcode, argument, response[4], flags, block_size, blocks;
	u32 postsleep_min, postsleep_max, data_timeout, command_timeout, pad;
	u64 data;
};

static u64 data_size(const struct mmc_command *command)
{
	return command->opcode == MMC_SET_BLOCK_COUNT ? 0 : (u64)command->block_size * command->blocks;
}

// What the driver and the part would refuse, before any of it is done.
static int command_fits(const struct mmc_command *command)
{
	if (command->is_acmd)
		return 0;
	switch (command->opcode) {
	case MMC_SET_BLOCK_COUNT:
		return 1;
	case MMC_READ_MULTIPLE_BLOCK:
		return !command->write_flag && command->block_size == FRAME && command->blocks > 0 && command->blocks <= MAX_FRAMES;
	case MMC_WRITE_MULTIPLE_BLOCK:
		return command->write_flag && command->block_size == FRAME && command->blocks > 0 && command->blocks <= MAX_FRAMES;
	default:
		return 0;
	}
}

static int transfers(const struct mmc_command *command)
{
	// The driver sends CMD23 by itself before every transfer of this partition.
	return command->opcode != MMC_SET_BLOCK_COUNT;
}

// `data`: of each writing command in turn; `answers`: room for that of each reading one.
static int run_commands(struct mmc_command *commands, u64 count, const u8 *data, u8 *answers)
{
	int status = 0, failure = 0;

	for (u64 i = 0; i < count && status == 0; i++) {
		const struct mmc_command *command = &commands[i];

		if (command->opcode == MMC_WRITE_MULTIPLE_BLOCK) {
			status = queue_request(OP_WRITE, (command->write_flag & RELIABLE_WRITE) != 0, data, command->blocks);
			data += data_size(command);
		} else if (transfers(command)) {
			status = queue_request(OP_READ, command->blocks, 0, 0);
		}
	}
	if (status == 0)
		status = send_requests();
	outgoing_size = 0;
	for (u64 i = 0; i < count && status == 0; i++) {
		struct mmc_command *command = &commands[i];
		u64 size = command->opcode == MMC_READ_MULTIPLE_BLOCK ? data_size(command) : 0;
		int error = transfers(command) ? receive_answer(answers, size) : 0;

		if (error < 0)
			status = error;
		// The first failure is told; the answers behind it come all the same.
		if (failure == 0)
			failure = error;
		answers += size;
		command->response[0] = R1_TRANSFER_STATE;
	}
	return status < 0 ? status : -failure;
}

// ---- CUSE -----------------------------------------------------------------------------------------

enum { FUSE_OPEN = 14, FUSE_RELEASE = 18, FUSE_FSYNC = 20, FUSE_FLUSH = 25, FUSE_INTERRUPT = 36, FUSE_IOCTL = 39, CUSE_INIT = 4096 };
enum { CUSE_UNRESTRICTED_IOCTL = 1, FUSE_IOCTL_RETRY = 4, FUSE_IOCTL_MAX_IOV = 256 };
// The protocol of Linux 3.0 to today: lists of memory in 64 bits, no compounds that we do not answer.
enum { FUSE_MAJOR = 7, FUSE_MINOR = 26 };
enum { BUFFER = MAX_TRANSFER + 4096 };

struct fuse_in { u32 length, opcode; u64 unique, node; u32 uid, gid, pid, pad; };
struct fuse_out { u32 length; s32 error; u64 unique; };
struct cuse_init_out { u32 major, minor, unused, flags, max_read, max_write, dev_major, dev_minor, spare[10]; };
struct fuse_open_out { u64 handle; u32 flags, pad; };
struct fuse_ioctl_in { u64 handle; u32 flags, command; u64 argument; u32 in_size, out_size; };
struct fuse_ioctl_out { s32 result; u32 flags, in_count, out_count; };
struct area { u64 base, length; };
struct vector { const void *base; u64 length; };

static int cuse;
static u8 request[BUFFER] __attribute__((aligned(8)));
static u8 answer[BUFFER] __attribute__((aligned(8)));

static void reply(u64 unique, int error, const void *bytes, u64 size, const void *more, u64 more_size)
{
	struct fuse_out header = { sizeof(header) + size + more_size, error, unique };
	struct vector parts[3] = { { &header, sizeof(header) }, { bytes, size }, { more, more_size } };

	// A caller that was interrupted waits no more for its answer: nothing to be done.
	call(SYS_writev, cuse, (long)parts, 3, 0, 0, 0);
}

static void reply_error(u64 unique, int error)
{
	reply(unique, error, 0, 0, 0, 0);
}

// Asks for the ioctl again, with the memory of `areas`: `in` of them to read, then `out` to write.
static void reply_retry(u64 unique, const struct area *areas, u32 in, u32 out)
{
	struct fuse_ioctl_out head = { 0, FUSE_IOCTL_RETRY, in, out };

	reply(unique, 0, &head, sizeof(head), areas, (in + out) * sizeof(struct area));
}

static void answer_ioctl(u64 unique, const struct fuse_ioctl_in *in, u8 *bytes)
{
	static struct area areas[2 * MAX_COMMANDS + 2];
	// MULTI_CMD: the number of commands stands in front of them.
	u64 head = in->command == MMC_IOC_MULTI_CMD ? sizeof(u64) : 0;
	struct mmc_command *commands = (struct mmc_command *)(bytes + head);
	struct fuse_ioctl_out done = { 0, 0, 0, 0 };
	u64 count = 1, written = 0, read = 0, used = 1, listed;
	int status;

	if (in->command != MMC_IOC_CMD && in->command != MMC_IOC_MULTI_CMD) {
		reply_error(unique, in->command == 0 ? -EINVAL : -ENOTTY);
		return;
	}
	if (head && in->in_size < head) {
		areas[0] = (struct area){ in->argument, head };
		reply_retry(unique, areas, 1, 0);
		return;
	}
	if (head)
		count = *(u64 *)bytes;
	if (count == 0) {
		reply(unique, 0, &done, sizeof(done), 0, 0);
		return;
	}
	if (count > MAX_COMMANDS) {
		reply_error(unique, -EINVAL);
		return;
	}
	listed = head + count * sizeof(struct mmc_command);
	if (in->in_size < listed) {
		areas[0] = (struct area){ in->argument, listed };
		reply_retry(unique, areas, 1, 0);
		return;
	}
	areas[0] = (struct area){ in->argument, listed };
	for (u64 i = 0; i < count; i++) {
		if (!command_fits(&commands[i])) {
			reply_error(unique, -EINVAL);
			return;
		}
		if (commands[i].opcode != MMC_WRITE_MULTIPLE_BLOCK)
			continue;
		areas[used++] = (struct area){ commands[i].data, data_size(&commands[i]) };
		written += data_size(&commands[i]);
	}
	u64 inputs = used;

	areas[used++] = areas[0];
	for (u64 i = 0; i < count; i++) {
		if (commands[i].opcode != MMC_READ_MULTIPLE_BLOCK)
			continue;
		areas[used++] = (struct area){ commands[i].data, data_size(&commands[i]) };
		read += data_size(&commands[i]);
	}
	if (listed + written > MAX_TRANSFER || listed + read > MAX_TRANSFER || used > FUSE_IOCTL_MAX_IOV) {
		reply_error(unique, -EOVERFLOW);
		return;
	}
	if (in->out_size == 0) {
		reply_retry(unique, areas, inputs, used - inputs);
		return;
	}
	// The caller may have changed its list of commands meanwhile.
	if (in->in_size != listed + written || in->out_size != listed + read) {
		reply_error(unique, -EINVAL);
		return;
	}
	status = run_commands(commands, count, bytes + listed, answer + listed);
	if (status < 0) {
		reply_error(unique, status);
		return;
	}
	copy(answer, bytes, listed);
	reply(unique, 0, &done, sizeof(done), answer, listed + read);
}

static void answer_request(const struct fuse_in *in, u8 *bytes)
{
	struct fuse_open_out opened = { 0, 0, 0 };

	switch (in->opcode) {
	case FUSE_OPEN:
		reply(in->unique, 0, &opened, sizeof(opened), 0, 0);
		break;
	case FUSE_RELEASE:
	case FUSE_FLUSH:
	case FUSE_FSYNC:
		reply_error(in->unique, 0);
		break;
	case FUSE_IOCTL:
		answer_ioctl(in->unique, (struct fuse_ioctl_in *)bytes, bytes + sizeof(struct fuse_ioctl_in));
		break;
	default:
		reply_error(in->unique, -ENOSYS);
	}
}

// Reads one request; the header of it, or 0 when the device has gone.
static struct fuse_in *next_request(void)
{
	for (;;) {
		long size = call(SYS_read, cuse, (long)request, sizeof(request), 0, 0, 0);

		if (size == -EINTR || size == -EAGAIN)
			continue;
		if (size < (long)sizeof(struct fuse_in))
			return 0;
		return (struct fuse_in *)request;
	}
}

static void make_device(void)
{
	static const char name[] = "DEVNAME=mmcblk0rpmb";
	struct cuse_init_out out = { FUSE_MAJOR, FUSE_MINOR, 0, CUSE_UNRESTRICTED_IOCTL, MAX_TRANSFER, MAX_TRANSFER, 0, 0, { 0 } };
	struct fuse_in *in;

	cuse = call(SYS_openat, AT_FDCWD, (long)"/dev/cuse", O_RDWR, 0, 0, 0);
	if (cuse < 0)
		fail("/dev/cuse cannot be opened: is the module cuse loaded?");
	in = next_request();
	if (!in || in->opcode != CUSE_INIT)
		fail("/dev/cuse did not begin with its first request");
	reply(in->unique, 0, &out, sizeof(out), name, sizeof(name));
}

__attribute__((used)) static void run(const long *stack)
{
	struct fuse_in *in;

	if (stack[0] != 3)
		fail("usage: lockstep-rpmb-device PORT FOLDER");
	port = call(SYS_openat, AT_FDCWD, stack[2], O_RDWR | O_NONBLOCK, 0, 0, 0);
	if (port < 0)
		fail("the port cannot be opened");
	if (part_answers() < 0)
		fail("nobody serves a part at the other end of the port");
	write_registers((const char *)stack[3]);
	make_device();
	if (call(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0) != 0)
		call(SYS_exit, 0, 0, 0, 0, 0, 0);
	call(SYS_setsid, 0, 0, 0, 0, 0, 0);
	while ((in = next_request()))
		answer_request(in, (u8 *)(in + 1));
	call(SYS_exit, 0, 0, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tb run\n");
