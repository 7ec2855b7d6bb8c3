// SPDX-License-Identifier: GPL-2.0
/*
 * libfsocket.so: LD_PRELOAD library that puts the TCP sockets on which an
 * unmodified program listens under fastsocket.ko.
 *
 * It interposes listen() and nothing else. Enrolment belongs to the socket,
 * not to the process or to the descriptor: once the kernel has it, every task
 * that inherits or receives the descriptor (fork, vfork, posix_spawn, threads,
 * dup, SCM_RIGHTS) is served through it, and accept, accept4, poll, shutdown
 * and close are the kernel's own calls. So there is nothing to do for any of
 * them here, and no state to keep about them.
 *
 * Rules:
 * - The kernel's own listen() has the last word. Whatever the device cannot
 *   do is done natively, so result and errno are always those of listen(2),
 *   and the program is never ended because the module is missing.
 * - listen() is async-signal-safe and no cancellation point, so this one is
 *   neither allowed to allocate, lock or call stdio, nor to use open(), close()
 *   or write(), which are cancellation points and which others interpose. It
 *   uses system calls, on its own stack.
 * - The device is open during the call only: nothing is left that keeps the
 *   module in use or that a program could meet among its descriptors. (A
 *   fork() by another thread in these few microseconds copies the descriptor
 *   into the child, which then has it until it executes a program or exits.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/fastsocket.h>

#define DEVICE "/dev/fastsocket"

/* Set once before main(): dlsym() must not be called from a signal handler. */
static int (*next_listen)(int fd, int backlog);
static dev_t stderr_dev;
static ino_t stderr_ino;
static bool stderr_known;

static atomic_flag warned = ATOMIC_FLAG_INIT;

__attribute__((constructor)) static void remember_start(void)
{
	int saved = errno;
	struct stat st;

	/* Other preloaded libraries may interpose listen(), too. */
	*(void **)&next_listen = dlsym(RTLD_NEXT, "listen");

	if (!fstat(STDERR_FILENO, &st)) {
		stderr_dev = st.st_dev;
		stderr_ino = st.st_ino;
		stderr_known = true;
	}
	errno = saved;
}

/* Also called before the constructor, when an earlier one listens. */
static int native_listen(int fd, int backlog)
{
	if (next_listen)
		return next_listen(fd, backlog);
	return syscall(SYS_listen, fd, backlog);
}

/*
 * Is descriptor 2 still the standard error output that the program was started
 * with, and is there room? Daemons close it, and the number may by now be that
 * of a data file or of a client.
 */
static bool stderr_usable(void)
{
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	struct timespec now = { 0 };
	struct stat st;

	if (!stderr_known || fstat(STDERR_FILENO, &st) ||
	    st.st_dev != stderr_dev || st.st_ino != stderr_ino)
		return false;
	return syscall(SYS_ppoll, &p, 1, &now, NULL, (size_t)_NSIG / CHAR_BIT) == 1 &&
	       (p.revents & POLLOUT);
}

/*
 * write() may raise SIGPIPE, SIGXFSZ or SIGTTOU, none of which the program
 * would have met without us: block all, and take back what the write raised.
 */
static void write_stderr(const char *text, size_t len)
{
	struct timespec now = { 0 };
	sigset_t all, old, pending, ours;

	sigfillset(&all);
	if (pthread_sigmask(SIG_SETMASK, &all, &old))
		return;
	sigpending(&pending);
	sigemptyset(&ours);
	if (!sigismember(&pending, SIGPIPE))
		sigaddset(&ours, SIGPIPE);
	if (!sigismember(&pending, SIGXFSZ))
		sigaddset(&ours, SIGXFSZ);

	if (syscall(SYS_write, STDERR_FILENO, text, len) < 0 &&
	    (errno == EPIPE || errno == EFBIG))
		syscall(SYS_rt_sigtimedwait, &ours, NULL, &now, (size_t)_NSIG / CHAR_BIT);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/* strerror() may allocate and translate. */
static const char *reason(int err)
{
	switch (err) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		return "no such device (is the module loaded?)";
	case EACCES:
	case EPERM:
		return "permission denied";
	case EMFILE:
	case ENFILE:
		return "too many open files";
	case ENOMEM:
	case ENOBUFS:
		return "out of memory";
	case ENOTTY:
		return "not the device of fastsocket.ko";
	case EOPNOTSUPP:
		return "not supported for this socket";
	default:
		return "failed";
	}
}

static void warn_once(int err)
{
	char text[160] = "fastsocket: " DEVICE ": ";

	if (atomic_flag_test_and_set(&warned) || !stderr_usable())
		return;
	strcat(text, reason(err));
	strcat(text, "; listening without Fastsocket\n");
	write_stderr(text, strlen(text));
}

/* 0, or why the socket is not listening under Fastsocket. */
static int device_listen(int fd, int backlog)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .backlog = backlog };
	int dev, err = 0;

	/* O_NONBLOCK, O_NOCTTY: whatever lies there, the open has no effect. */
	dev = syscall(SYS_openat, AT_FDCWD, DEVICE,
		      O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (dev < 0)
		return errno;
	if (syscall(SYS_ioctl, dev, FSOCKET_IOC_LISTEN, &arg) < 0)
		err = errno;
	syscall(SYS_close, dev);
	return err;
}

__attribute__((visibility("default"))) int listen(int fd, int backlog)
{
	int saved = errno;
	int err = device_listen(fd, backlog);

	if (err) {
		/* No warning for what listen(2) itself refuses. */
		if (native_listen(fd, backlog) < 0)
			return -1;
		warn_once(err);
	}
	errno = saved;
	return 0;
}
