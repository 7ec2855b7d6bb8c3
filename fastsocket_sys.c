// SPDX-License-Identifier: GPL-2.0
/*
 * The system calls behind the ioctls of /dev/fastsocket
 *
 * An ioctl must do what the system call of the same name does: the limits, the
 * LSM hooks, the errno. The kernel keeps that in __sys_listen() and its
 * siblings and exports none of them, nor the LSM hooks to write them again, so
 * they are looked up by name and called through static calls. A symbol that is
 * missing costs the ioctl concerned (EOPNOTSUPP) and nothing else.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/errno.h>
#include <linux/sched.h>
#include <linux/socket.h>
#include <linux/static_call.h>

#include "include/fastsocket.h"
#include "include/hook.h"

DEFINE_STATIC_CALL_NULL(fs_do_socket, __sys_socket);
DEFINE_STATIC_CALL_NULL(fs_do_listen, __sys_listen);
DEFINE_STATIC_CALL_NULL(fs_do_accept4, __sys_accept4);
DEFINE_STATIC_CALL_NULL(fs_do_shutdown, __sys_shutdown);
DEFINE_STATIC_CALL_NULL(fs_do_setaffinity, sched_setaffinity);

static bool have_socket, have_listen, have_accept4, have_shutdown, have_setaffinity;

/* @without: what is to be had without it. */
static void *fs_address_of(const char *name, const char *without)
{
	void *addr = fs_symbol(name);

	if (!addr)
		pr_notice("%s is not in this kernel: %s\n", name, without);
	return addr;
}

#define fs_resolve(call, symbol, have, without)				\
	do {								\
		void *addr = fs_address_of(symbol, without);		\
									\
		if (addr) {						\
			static_call_update(call, addr);			\
			(have) = true;					\
		}							\
	} while (0)

/**
 * fs_sys_init() - look up the system calls; process context, at load
 *
 * A symbol that is missing turns off what needs it, with a line in the log.
 */
void fs_sys_init(void)
{
	fs_resolve(fs_do_socket, "__sys_socket", have_socket, "the ioctl that needs it is off");
	fs_resolve(fs_do_listen, "__sys_listen", have_listen,
		   "LISTEN is off, programs listen natively");
	fs_resolve(fs_do_accept4, "__sys_accept4", have_accept4, "the ioctl that needs it is off");
	fs_resolve(fs_do_shutdown, "__sys_shutdown", have_shutdown,
		   "the ioctl that needs it is off");
	fs_resolve(fs_do_setaffinity, "sched_setaffinity", have_setaffinity,
		   "workers do not get their CPUs back");
}

/**
 * fs_sys_socket() - socket(2) for the calling process
 * @family: as there
 * @type: as there
 * @protocol: as there
 *
 * Return: as there, -EOPNOTSUPP without the symbol.
 */
int fs_sys_socket(int family, int type, int protocol)
{
	return have_socket ? static_call(fs_do_socket)(family, type, protocol) : -EOPNOTSUPP;
}

/**
 * fs_sys_can_listen() - is there what fs_sys_listen() needs? Any context
 *
 * Return: whether there is.
 */
bool fs_sys_can_listen(void)
{
	return have_listen;
}

/**
 * fs_sys_listen() - listen(2) for the calling process
 * @fd: as there
 * @backlog: as there
 *
 * Return: as there, -EOPNOTSUPP without the symbol.
 */
int fs_sys_listen(int fd, int backlog)
{
	return have_listen ? static_call(fs_do_listen)(fd, backlog) : -EOPNOTSUPP;
}

/**
 * fs_sys_accept4() - accept4(2) for the calling process
 * @fd: as there
 * @addr: as there
 * @len: as there
 * @flags: as there
 *
 * Return: as there, -EOPNOTSUPP without the symbol.
 */
int fs_sys_accept4(int fd, struct sockaddr __user *addr, int __user *len, int flags)
{
	return have_accept4 ? static_call(fs_do_accept4)(fd, addr, len, flags) : -EOPNOTSUPP;
}

/**
 * fs_sys_shutdown() - shutdown(2) for the calling process
 * @fd: as there
 * @how: as there
 *
 * Return: as there, -EOPNOTSUPP without the symbol.
 */
int fs_sys_shutdown(int fd, int how)
{
	return have_shutdown ? static_call(fs_do_shutdown)(fd, how) : -EOPNOTSUPP;
}

/**
 * fs_sys_setaffinity() - sched_setaffinity(2): checks permissions and cpusets
 * @pid: in the caller's pid namespace, 0: the caller
 * @mask: wanted CPUs
 *
 * Return: 0 or the system call's error, -EOPNOTSUPP without the symbol.
 */
long fs_sys_setaffinity(pid_t pid, const struct cpumask *mask)
{
	return have_setaffinity ? static_call(fs_do_setaffinity)(pid, mask) : -EOPNOTSUPP;
}
