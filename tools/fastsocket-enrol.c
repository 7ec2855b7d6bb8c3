// SPDX-License-Identifier: GPL-2.0
/*
 * fastsocket-enrol: ask /dev/fastsocket to serve processes that do not know of it
 *
 * For the command `fastsocket` and for systemd units; the device does the work and says who may.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/fastsocket.h>

#define DEVICE "/dev/fastsocket"

enum {
	DONE = 0,
	REFUSED = 1,
	WRONG_USE = 2,
	NO_MODULE = 3,
	CANNOT_EXECUTE = 126,
	NOT_FOUND = 127,
};

static const char usage_text[] =
	"Usage: fastsocket-enrol [--off] --pid PID...\n"
	"       fastsocket-enrol [--off] --cgroup DIRECTORY...\n"
	"       fastsocket-enrol [--] COMMAND [ARGUMENT]...\n"
	"\n"
	"Enrol processes with fastsocket.ko, or all that are ever in a control group, or the\n"
	"program COMMAND: the TCP sockets on which they and their children listen from now on\n"
	"are attached. With --off: not any more.\n"
	"\n"
	"Exit status: 0; 1 refused; 2 wrong use; 3 the module is not there or too old. COMMAND is\n"
	"executed in any case; the exit status is then its own, 126 when it cannot be executed,\n"
	"127 when it is not found.\n";

static int wrong_use(void)
{
	fputs(usage_text, stderr);
	return WRONG_USE;
}

/* The error is that of opening the device. */
static bool cannot_open;

/* What the kernel said, in terms of what was asked for. */
static const char *reason(int error, bool cgroup)
{
	if (cannot_open)
		return error == EPERM ? DEVICE " may not be opened here: DeviceAllow=" :
					DEVICE " cannot be opened: permission denied";
	switch (error) {
	case EPERM:
		return cgroup ? "not permitted: needs CAP_NET_ADMIN" :
				"not permitted: another user's process";
	case ESRCH:
		return "no such process";
	case EBADF:
		return "no directory of a control group (cgroup v2)";
	case EINVAL:
		return "a thread of the kernel";
	case ENOSPC:
		return "too many control groups are enrolled: take some back (--off)";
	case EOPNOTSUPP:
		return "this kernel lacks something for it, the kernel log says what";
	default:
		return strerror(error);
	}
}

/* The module is not loaded, or knows no such call. */
static bool no_module(int error)
{
	return error == ENOENT || error == ENXIO || error == ENODEV || error == ENOTTY;
}

static int status_of(int error)
{
	return no_module(error) || error == EOPNOTSUPP ? NO_MODULE : REFUSED;
}

/* Return: 0 or an errno. */
static int enrol(int fd, int pid, unsigned int flags)
{
	struct fsocket_ioctl_arg arg = { .fd = fd };
	int dev = open(DEVICE, O_RDWR | O_CLOEXEC), error = 0;

	if (dev < 0) {
		cannot_open = errno == EPERM || errno == EACCES;
		return errno;
	}
	arg.op.enrol_op.pid = pid;
	arg.op.enrol_op.flags = flags;
	if (ioctl(dev, FSOCKET_IOC_ENROL, &arg) < 0)
		error = errno;
	close(dev);
	return error;
}

static int enrol_pid(const char *word, unsigned int flags)
{
	char *end;
	long pid = strtol(word, &end, 10);
	int error;

	if (*end || end == word || pid <= 0 || pid > INT_MAX) {
		fprintf(stderr, "fastsocket-enrol: not a process number: %s\n", word);
		return WRONG_USE;
	}
	error = enrol(0, pid, flags);
	if (!error)
		return DONE;
	fprintf(stderr, "fastsocket-enrol: %ld: %s\n", pid,
		no_module(error) ? "the module is not loaded, or too old" : reason(error, false));
	return status_of(error);
}

static int enrol_cgroup(const char *dir, unsigned int flags)
{
	int error, fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		fprintf(stderr, "fastsocket-enrol: %s: %s\n", dir, strerror(errno));
		return REFUSED;
	}
	error = enrol(fd, 0, flags | FSOCKET_ENROL_CGROUP);
	close(fd);
	if (!error)
		return DONE;
	fprintf(stderr, "fastsocket-enrol: %s: %s\n", dir,
		no_module(error) ? "the module is not loaded, or too old" : reason(error, true));
	return status_of(error);
}

/* The command runs in any case: it is the program that matters. */
static int run(char **argv)
{
	int error = enrol(0, 0, 0);

	if (error)
		fprintf(stderr, "fastsocket-enrol: %s runs without Fastsocket: %s\n", argv[0],
			no_module(error) ? "the module is not loaded, or too old" :
					   reason(error, false));
	execvp(argv[0], argv);
	error = errno;
	fprintf(stderr, "fastsocket-enrol: %s: %s\n", argv[0], strerror(error));
	return error == ENOENT ? NOT_FOUND : CANNOT_EXECUTE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "off", no_argument, NULL, 'o' },	  { "pid", no_argument, NULL, 'p' },
		{ "cgroup", no_argument, NULL, 'c' },	  { "help", no_argument, NULL, 'h' },
		{},
	};
	int (*each)(const char *word, unsigned int flags) = NULL;
	unsigned int flags = 0;
	int option, status = DONE, one;

	while ((option = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (option) {
		case 'o':
			flags = FSOCKET_ENROL_OFF;
			break;
		case 'p':
			each = enrol_pid;
			break;
		case 'c':
			each = enrol_cgroup;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return DONE;
		default:
			return wrong_use();
		}
	}
	if (optind == argc || (flags && !each))
		return wrong_use();
	if (!each)
		return run(argv + optind);
	for (; optind < argc; optind++) {
		one = each(argv[optind], flags);
		if (!status)
			status = one;
	}
	return status;
}
