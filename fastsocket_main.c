// SPDX-License-Identifier: GPL-2.0
/*
 * Parameters, /dev/fastsocket, load and unload
 *
 * The device gives nobody anything that the same process could not do with its
 * own sockets, so everybody may open it: SOCKET, LISTEN, ACCEPT, CLOSE and
 * SHUTDOWN_LISTEN are the system calls of these names with all their checks (for
 * seccomp see fs_filtered()), SPAWN_LISTEN concerns the calling task and a listener
 * in its own table alone, and ENROL asks who the caller is when it is about others.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/compat.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/net.h>
#include <linux/seccomp.h>
#include <linux/uaccess.h>
#include <net/tcp.h>

#include "include/enrol.h"
#include "include/fast_epoll.h"
#include "include/fastsocket.h"
#include "include/fastsocket_vfs.h"
#include "include/listen_spawn.h"
#include "include/rfd.h"
#include "include/uapi/linux/fastsocket.h"

/* Read on every SYN, written by the administrator. */
unsigned int fs_spawn_mode __read_mostly = FS_SPAWN_BIND;

/* What a parameter is to be, 0 to @max; one line in the log tells of anything else. */
static int fs_param_parse(const char *name, const char *val, unsigned int max, const char *choices,
			  unsigned int *choice)
{
	if (!kstrtouint(val, 0, choice) && *choice <= max)
		return 0;
	pr_err_ratelimited("%s=%.16s is out of range: use %s\n", name, strim((char *)val), choices);
	return -EINVAL;
}

static int fs_set_spawn_mode(const char *val, const struct kernel_param *kp)
{
	unsigned int mode;
	int err;

	err = fs_param_parse("enable_listen_spawn", val, FS_SPAWN_BIND,
			     "0 (off), 1 (workers bound by the application) or 2 (workers bound by Fastsocket)",
			     &mode);
	if (err)
		return err;
	WRITE_ONCE(fs_spawn_mode, mode);
	return 0;
}

static const struct kernel_param_ops fs_spawn_mode_ops = {
	.set = fs_set_spawn_mode,
	.get = param_get_uint,
};

module_param_cb(enable_listen_spawn, &fs_spawn_mode_ops, &fs_spawn_mode, 0644);
__MODULE_PARM_TYPE(enable_listen_spawn, "uint");
MODULE_PARM_DESC(enable_listen_spawn,
		 "0: off, 1: workers bound to one CPU, 2: any worker; default 2, writable");

/**
 * struct fs_switch - a parameter that is 0 or 1, and does something when it changes
 * @enabled: what is read; the feature writes it under a lock of its own
 * @set: by it the feature is switched; may sleep, and fail
 */
struct fs_switch {
	const unsigned int *enabled;
	int (*set)(bool on);
};

static int fs_switch_set(const char *val, const struct kernel_param *kp)
{
	const struct fs_switch *s = kp->arg;
	unsigned int on;
	int err = fs_param_parse(kp->name, val, 1, "0 (off) or 1 (on)", &on);

	return err ?: s->set(on);
}

static int fs_switch_get(char *buf, const struct kernel_param *kp)
{
	const struct fs_switch *s = kp->arg;

	return sysfs_emit(buf, "%u\n", READ_ONCE(*s->enabled));
}

static const struct kernel_param_ops fs_switch_ops = {
	.set = fs_switch_set,
	.get = fs_switch_get,
};

static struct fs_switch fs_bind_param = { &fs_bind_enabled, fs_bind_switch };

module_param_cb(enable_private_bind, &fs_switch_ops, &fs_bind_param, 0644);
__MODULE_PARM_TYPE(enable_private_bind, "uint");
MODULE_PARM_DESC(enable_private_bind,
		 "0: off, 1: on: local listeners list their connections apart; default 1, writable");

static struct fs_switch fs_rfd_param = { &fs_rfd_enabled, fs_rfd_switch };

module_param_cb(enable_receive_flow_deliver, &fs_switch_ops, &fs_rfd_param, 0644);
__MODULE_PARM_TYPE(enable_receive_flow_deliver, "uint");
MODULE_PARM_DESC(enable_receive_flow_deliver,
		 "0: off, 1: on: replies go to the CPU that connected; default 0, writable");

static struct fs_switch fs_epoll_param = { &fs_epoll_enabled, fs_epoll_switch };

module_param_cb(enable_fast_epoll, &fs_switch_ops, &fs_epoll_param, 0644);
__MODULE_PARM_TYPE(enable_fast_epoll, "uint");
MODULE_PARM_DESC(enable_fast_epoll,
		 "0: off, 1: on: epoll_ctl finds sockets without a search; default 1, writable");

/*
 * The argument as a 32-bit program lays it out: pointers and the size of the
 * union differ, see union fsocket_op.
 */
struct fs_compat_arg {
	u32 fd;
	u32 backlog;
	union {
		struct {
			compat_uptr_t sockaddr;
			compat_uptr_t sockaddr_len;
			s32 flags;
		} accept_op;
		u32 words[5];
	} op;
};

static struct socket *fs_socket_get(u32 fd)
{
	int err;
	struct socket *sock = sockfd_lookup(fd, &err);

	return sock ? sock : ERR_PTR(err);
}

/*
 * listen(2), and the socket comes under Fastsocket if it is of a kind that can.
 * It is attached first: a socket that does not listen yet costs no grace period.
 */
static int fs_ioctl_listen(const struct fsocket_ioctl_arg *arg)
{
	struct socket *sock;

	/* Before it is attached: the caller listens natively then. */
	if (!fs_sys_can_listen())
		return -EOPNOTSUPP;
	sock = fs_socket_get(arg->fd);
	if (IS_ERR(sock))
		return PTR_ERR(sock);
	fs_attach_or_say(sock);
	sockfd_put(sock);
	return fs_sys_listen(arg->fd, arg->backlog);
}

static int fs_ioctl_spawn(const struct fsocket_ioctl_arg *arg)
{
	struct socket *sock = fs_socket_get(arg->fd);
	int err;

	if (IS_ERR(sock))
		return PTR_ERR(sock);
	err = fs_spawn(sock, arg->op.spawn_op.cpu);
	sockfd_put(sock);
	return err;
}

static int fs_is_attached_fd(const void *unused, struct file *file, unsigned int fd)
{
	const struct socket *sock = sock_from_file(file);

	return sock && fs_attached(sock) ? fd + 1 : 0;
}

/* SPAWN_LISTEN with cpu -1 for every attached listener of the process. */
static int fs_ioctl_spawn_all(void)
{
	struct fsocket_ioctl_arg arg = { .op.spawn_op.cpu = -1 };
	unsigned int n = 0;
	int err;

	for (;;) {
		n = iterate_fd(current->files, n, fs_is_attached_fd, NULL);
		if (!n)
			return 0;
		arg.fd = n - 1;
		err = fs_ioctl_spawn(&arg);
		/* Closed or shut down by another thread meanwhile: not ours to report. */
		if (err && err != -EBADF && err != -ENOTSOCK && err != -EINVAL)
			return err;
	}
}

static int fs_ioctl_close(const struct fsocket_ioctl_arg *arg)
{
	struct socket *sock = fs_socket_get(arg->fd);

	/* The original closed sockets only; so do we. */
	if (IS_ERR(sock))
		return PTR_ERR(sock);
	sockfd_put(sock);
	return close_fd(arg->fd);
}

/*
 * A filter of seccomp forbids system calls by their numbers, and does not see an ioctl that
 * does the same. A socket that it does not let the program make, or get, is not to be had
 * here, either.
 * (LISTEN stays: it only concerns a socket that the program has bound.)
 */
static bool fs_filtered(unsigned int cmd)
{
	if (likely(!seccomp_mode(&current->seccomp)) ||
	    (cmd != FSOCKET_IOC_SOCKET && cmd != FSOCKET_IOC_ACCEPT))
		return false;
	pr_notice_ratelimited("%s has a seccomp filter: use socket() and accept4(), not the ioctls\n",
			      current->comm);
	return true;
}

static int fs_ioctl_enrol(const struct fsocket_ioctl_arg *arg)
{
	unsigned int flags = arg->op.enrol_op.flags;
	bool on = !(flags & FSOCKET_ENROL_OFF);

	if (flags & ~(FSOCKET_ENROL_OFF | FSOCKET_ENROL_CGROUP))
		return -EINVAL;
	if (flags & FSOCKET_ENROL_CGROUP)
		return fs_enrol_cgroup(arg->fd, on);
	return fs_enrol_process(arg->op.enrol_op.pid, on);
}

static long fs_ioctl_do(unsigned int cmd, const struct fsocket_ioctl_arg *arg)
{
	if (fs_filtered(cmd))
		return -EPERM;
	switch (cmd) {
	case FSOCKET_IOC_SOCKET:
		return fs_sys_socket(arg->op.socket_op.family, arg->op.socket_op.type,
				     arg->op.socket_op.protocol);
	case FSOCKET_IOC_LISTEN:
		return fs_ioctl_listen(arg);
	case FSOCKET_IOC_ACCEPT:
		return fs_sys_accept4(arg->fd, (__force void __user *)arg->op.accept_op.sockaddr,
				      (__force int __user *)arg->op.accept_op.sockaddr_len,
				      arg->op.accept_op.flags);
	case FSOCKET_IOC_CLOSE:
		return fs_ioctl_close(arg);
	case FSOCKET_IOC_SPAWN_LISTEN:
		return fs_ioctl_spawn(arg);
	case FSOCKET_IOC_SHUTDOWN_LISTEN:
		return fs_sys_shutdown(arg->fd, arg->op.shutdown_op.how);
	case FSOCKET_IOC_SPAWN_ALL_LISTEN:
		return fs_ioctl_spawn_all();
	case FSOCKET_IOC_ENROL:
		return fs_ioctl_enrol(arg);
	default:
		return -ENOTTY;
	}
}

static bool fs_ioctl_known(unsigned int cmd)
{
	return (cmd >= FSOCKET_IOC_SOCKET && cmd <= FSOCKET_IOC_SPAWN_ALL_LISTEN &&
		cmd != _IO(FSOCKET_IOC_ID, 0x05)) ||
	       cmd == FSOCKET_IOC_ENROL;
}

static long fs_ioctl(struct file *file, unsigned int cmd, unsigned long uarg)
{
	struct fsocket_ioctl_arg arg = {};

	if (!fs_ioctl_known(cmd))
		return -ENOTTY;
	if (cmd != FSOCKET_IOC_SPAWN_ALL_LISTEN &&
	    copy_from_user(&arg, (void __user *)uarg, sizeof(arg)))
		return -EFAULT;
	return fs_ioctl_do(cmd, &arg);
}

#ifdef CONFIG_COMPAT
static long fs_compat_ioctl(struct file *file, unsigned int cmd, unsigned long uarg)
{
	struct fsocket_ioctl_arg arg = {};
	struct fs_compat_arg c = {};

	BUILD_BUG_ON(sizeof(c) != 28);
	if (!fs_ioctl_known(cmd))
		return -ENOTTY;
	if (cmd != FSOCKET_IOC_SPAWN_ALL_LISTEN && copy_from_user(&c, compat_ptr(uarg), sizeof(c)))
		return -EFAULT;
	arg.fd = c.fd;
	arg.backlog = c.backlog;
	if (cmd == FSOCKET_IOC_ACCEPT) {
		arg.op.accept_op.sockaddr = (__force void *)compat_ptr(c.op.accept_op.sockaddr);
		arg.op.accept_op.sockaddr_len =
			(__force int *)compat_ptr(c.op.accept_op.sockaddr_len);
		arg.op.accept_op.flags = c.op.accept_op.flags;
	} else {
		/* The members left have the same layout: int and __u32 only. */
		memcpy(&arg.op, &c.op, sizeof(arg.op.socket_op));
	}
	return fs_ioctl_do(cmd, &arg);
}
#endif

static const struct file_operations fs_dev_fops = {
	.owner		= THIS_MODULE,
	.unlocked_ioctl	= fs_ioctl,
#ifdef CONFIG_COMPAT
	.compat_ioctl	= fs_compat_ioctl,
#endif
	.llseek		= noop_llseek,
};

static struct miscdevice fs_dev = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "fastsocket",
	.fops	= &fs_dev_fops,
	.mode	= 0666,
};

static int __init fs_init(void)
{
	int err;

	fs_sys_init();
	fs_vfs_init();
	err = fs_listen_init();
	if (err)
		goto exit_vfs;
	err = fs_stats_init();
	if (err)
		goto exit_listen;
	err = fs_rfd_init();
	if (err)
		goto exit_stats;
	fs_epoll_init();
	err = fs_enrol_init();
	if (err)
		goto exit_epoll;
	err = misc_register(&fs_dev);
	if (err)
		goto exit_enrol;
	pr_info("Load Module\n");
	if (fs_spawn_mode != FS_SPAWN_OFF)
		pr_info("Enable Listen Spawn[Mode-%u]\n", fs_spawn_mode);
	if (fs_rfd_enabled)
		pr_info("Enable Receive Flow Deliver\n");
	if (fs_epoll_enabled)
		pr_info("Enable Fast Epoll\n");
	return 0;

exit_enrol:
	fs_enrol_exit();
exit_epoll:
	fs_epoll_exit();
	fs_rfd_exit();
exit_stats:
	fs_stats_exit();
exit_listen:
	fs_listen_exit();
exit_vfs:
	fs_vfs_exit();
	return err;
}

static void __exit fs_exit(void)
{
	misc_deregister(&fs_dev);
	fs_enrol_exit();
	fs_epoll_exit();
	fs_rfd_exit();
	fs_listen_exit();
	fs_stats_exit();
	fs_vfs_exit();
	pr_info("Remove Module\n");
}

module_init(fs_init);
module_exit(fs_exit);

MODULE_DESCRIPTION("Fastsocket: every connection on one CPU from interrupt to application");
MODULE_AUTHOR("The fastsocket.ko project");
MODULE_LICENSE("GPL");
MODULE_VERSION(FS_VERSION);
MODULE_ALIAS_TCP_ULP("fastsocket");
