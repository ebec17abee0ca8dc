// SPDX-License-Identifier: Apache-2.0
//
// mmc-tracer SOCKET PROGRAM [ARGUMENT...]: runs a program and answers its MMC_IOC_MULTI_CMD in the
// kernel's place, for tests on hosts without an eMMC. What the program passed goes to the UNIX socket as it
// is: the count and both commands, then what it writes; the answer is the result of the call (8 bytes), then
// what the program reads. Every other system call is the kernel's. x86-64 only.

#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SYSCALL_IOCTL = 16, HEAD = 8 + 2 * 72, MOST = 256 * 512 };
static uint8_t head[HEAD], data[MOST];

static void transfer(pid_t child, void *here, uint64_t there, size_t size, int to_child)
{
	struct iovec local = { here, size }, remote = { (void *)there, size };

	if (to_child)
		process_vm_writev(child, &local, 1, &remote, 1, 0);
	else
		process_vm_readv(child, &local, 1, &remote, 1, 0);
}

static void all(int fd, void *bytes, size_t size, int out)
{
	for (size_t at = 0; at < size;) {
		ssize_t some = out ? write(fd, (uint8_t *)bytes + at, size - at)
				   : read(fd, (uint8_t *)bytes + at, size - at);
		if (some <= 0)
			_exit(98);
		at += some;
	}
}

static uint64_t field(int command, int offset, int size)
{
	uint64_t value = 0;

	memcpy(&value, head + 8 + command * 72 + offset, size);
	return value;
}

static int64_t serve(int fd, pid_t child, uint64_t argument)
{
	uint64_t written, wanted;
	int64_t status;

	transfer(child, head, argument, HEAD, 0);
	written = field(0, 40, 4) * field(0, 36, 4) > MOST ? 0 : field(0, 36, 4) * field(0, 40, 4);
	wanted = field(1, 36, 4) * field(1, 40, 4);
	transfer(child, data, field(0, 64, 8), written, 0);
	all(fd, head, HEAD, 1);
	all(fd, data, written, 1);
	all(fd, &status, 8, 0);
	if (status < 0)
		return status;
	all(fd, data, wanted > MOST ? 0 : wanted, 0);
	transfer(child, data, field(1, 64, 8), wanted, 1);
	return status;
}

int main(int count, char **arguments)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), status, inside = 0, ours = 0;
	pid_t child;
	int64_t result = 0;

	if (count < 3)
		return 97;
	strncpy(address.sun_path, arguments[1], sizeof(address.sun_path) - 1);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return 96;
	child = fork();
	if (child == 0) {
		close(fd);
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		raise(SIGSTOP);
		execv(arguments[2], arguments + 2);
		_exit(95);
	}
	waitpid(child, &status, 0);
	ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL);
	for (;;) {
		struct user_regs_struct registers;

		ptrace(PTRACE_SYSCALL, child, 0, 0);
		if (waitpid(child, &status, 0) < 0)
			return 94;
		if (WIFEXITED(status))
			return WEXITSTATUS(status);
		if (WIFSIGNALED(status))
			return 93;
		if (WSTOPSIG(status) != (SIGTRAP | 0x80))
			continue;
		inside = !inside;
		ptrace(PTRACE_GETREGS, child, 0, &registers);
		if (inside) {
			ours = registers.orig_rax == SYSCALL_IOCTL && registers.rsi == 0xc008b301;
			if (!ours)
				continue;
			result = serve(fd, child, registers.rdx);
			registers.orig_rax = -1;
		} else {
			if (!ours)
				continue;
			registers.rax = result;
		}
		ptrace(PTRACE_SETREGS, child, 0, &registers);
	}
}
