// SPDX-License-Identifier: GPL-2.0
/*
 * Cases for fastsocket_main.c, and the module's load and unload
 *
 * KUnit of 6.1 runs a module's suites before its init function. Ours need the
 * module as it is after it, so they run at its end, and there is no
 * kunit_test_suites().
 */
#include <linux/module.h>

/* The core's are called from ours, at the end. */
#pragma push_macro("module_init")
#pragma push_macro("module_exit")
#undef module_init
#undef module_exit
#undef pr_fmt
#define module_init(fn)
#define module_exit(fn)
#include "../../fastsocket_main.c"
#pragma pop_macro("module_init")
#pragma pop_macro("module_exit")

#include <net/tcp.h>

#include "kunit_util.h"

static int fsk_set_mode(const char *val)
{
	char buf[32];

	strscpy(buf, val, sizeof(buf));
	return fs_set_spawn_mode(buf, NULL);
}

static void fs_set_spawn_mode__takes_every_mode(struct kunit *test)
{
	/* clang-format off */
	static const struct {
		const char *val;
		unsigned int mode;
	} good[] = {
		{ "0", FS_SPAWN_OFF },
		{ "1", FS_SPAWN_PINNED },
		{ "2", FS_SPAWN_BIND },
		{ "0\n", FS_SPAWN_OFF },
		{ "1\n", FS_SPAWN_PINNED },
		{ "0x2", FS_SPAWN_BIND },
		{ "00", FS_SPAWN_OFF },
		{ "01", FS_SPAWN_PINNED },
		{ "+2", FS_SPAWN_BIND },
	};
	/* clang-format on */
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		KUNIT_EXPECT_EQ_MSG(test, fsk_set_mode(good[i].val), 0, "\"%s\"", good[i].val);
		KUNIT_EXPECT_EQ_MSG(test, fs_spawn_mode, good[i].mode, "\"%s\"", good[i].val);
	}
}

static void fs_set_spawn_mode__refuses_the_rest_and_stays(struct kunit *test)
{
	/* clang-format off */
	static const char * const bad[] = {
		"", " ", "\n", "3", "4294967295", "4294967296", "-1", "-0x1", "abc", "1 2", "2x",
		"0x", "1.0", " 1", "1,", "on", "2\n\n", "18446744073709551618",
	};
	/* clang-format on */
	unsigned int mode, i;

	for (mode = FS_SPAWN_OFF; mode <= FS_SPAWN_BIND; mode++) {
		fs_spawn_mode = mode;
		for (i = 0; i < ARRAY_SIZE(bad); i++) {
			KUNIT_EXPECT_EQ_MSG(test, fsk_set_mode(bad[i]), -EINVAL, "\"%s\"", bad[i]);
			KUNIT_EXPECT_EQ_MSG(test, fs_spawn_mode, mode, "\"%s\"", bad[i]);
		}
	}
}

static void fs_set_spawn_mode__is_read_back(struct kunit *test)
{
	const struct kernel_param kp = { .arg = &fs_spawn_mode };
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_EXPECT_PTR_EQ(test, fs_spawn_mode_ops.set, &fs_set_spawn_mode);
	KUNIT_EXPECT_EQ(test, fsk_set_mode("1"), 0);
	KUNIT_EXPECT_EQ(test, fs_spawn_mode_ops.get(buf, &kp), 2);
	KUNIT_EXPECT_STREQ(test, buf, "1\n");
}

static const struct kernel_param fsk_rfd = { .name = "a_switch", .arg = &fs_rfd_param };

static int fsk_set_rfd(const char *val)
{
	char buf[32];

	strscpy(buf, val, sizeof(buf));
	return fs_switch_set(buf, &fsk_rfd);
}

static void fs_switch_set__takes_0_and_1_and_refuses_the_rest(struct kunit *test)
{
	static const char * const bad[] = { "", "2", "-1", "4294967297", "on", "1 1", "0x" };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ(test, fsk_set_rfd(i % 2 ? "1\n" : "0"), 0);
		KUNIT_EXPECT_EQ(test, fs_rfd_enabled, i % 2);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		KUNIT_EXPECT_EQ_MSG(test, fsk_set_rfd(bad[i]), -EINVAL, "\"%s\"", bad[i]);
		KUNIT_EXPECT_EQ(test, fs_rfd_enabled, 1);
	}
	KUNIT_EXPECT_EQ(test, fsk_set_rfd("0"), 0);
}

static void fs_switch_get__reads_its_own_feature(struct kunit *test)
{
	char *buf = kunit_kzalloc(test, PAGE_SIZE, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buf);
	KUNIT_EXPECT_PTR_EQ(test, fs_bind_param.enabled, &fs_bind_enabled);
	KUNIT_EXPECT_PTR_EQ(test, fs_epoll_param.enabled, &fs_epoll_enabled);
	KUNIT_EXPECT_EQ(test, fsk_set_rfd("1"), 0);
	KUNIT_EXPECT_EQ(test, fs_switch_get(buf, &fsk_rfd), 2);
	KUNIT_EXPECT_STREQ(test, buf, "1\n");
	KUNIT_EXPECT_EQ(test, fsk_set_rfd("0"), 0);
	KUNIT_EXPECT_EQ(test, fs_switch_get(buf, &fsk_rfd), 2);
	KUNIT_EXPECT_STREQ(test, buf, "0\n");
}

static void fs_compat_arg__is_what_32_bit_programs_lay_out(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, sizeof(struct fs_compat_arg), 28);
	KUNIT_EXPECT_EQ(test, offsetof(struct fs_compat_arg, fd), 0);
	KUNIT_EXPECT_EQ(test, offsetof(struct fs_compat_arg, backlog), 4);
	KUNIT_EXPECT_EQ(test, offsetof(struct fs_compat_arg, op.accept_op.sockaddr), 8);
	KUNIT_EXPECT_EQ(test, offsetof(struct fs_compat_arg, op.accept_op.sockaddr_len), 12);
	KUNIT_EXPECT_EQ(test, offsetof(struct fs_compat_arg, op.accept_op.flags), 16);
	/* What is copied as it is has the same offsets in both. */
	KUNIT_EXPECT_EQ(test, offsetof(struct fsocket_ioctl_arg, op.socket_op.family), 8);
	KUNIT_EXPECT_EQ(test, offsetof(struct fsocket_ioctl_arg, op.socket_op.type), 12);
	KUNIT_EXPECT_EQ(test, offsetof(struct fsocket_ioctl_arg, op.socket_op.protocol), 16);
	KUNIT_EXPECT_EQ(test, offsetof(struct fsocket_ioctl_arg, op.spawn_op.cpu), 8);
	KUNIT_EXPECT_EQ(test, offsetof(struct fsocket_ioctl_arg, op.shutdown_op.how), 8);
	KUNIT_EXPECT_GE(test, sizeof_field(struct fs_compat_arg, op),
			sizeof(struct fsocket_socket_op));
}

/* ---- what takes descriptors runs in a user task, whose table it is ---- */

static int fsk_other_fd(void)
{
	struct file *file = filp_open("/", O_RDONLY | O_DIRECTORY, 0);
	int fd;

	if (IS_ERR(file))
		return PTR_ERR(file);
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd >= 0)
		fd_install(fd, file);
	else
		fput(file);
	return fd;
}

static void fsk_socket_get(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	int fd = fsk_fd(sock);
	long refs = file_count(sock->file);

	KUNIT_EXPECT_PTR_EQ(test, fs_socket_get(fd), sock);
	KUNIT_EXPECT_EQ(test, file_count(sock->file), refs + 1);
	fput(sock->file);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(fsk_other_fd())), -ENOTSOCK);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(1000)), -EBADF);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(-1)), -EBADF);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(INT_MAX)), -EBADF);
}

static void fs_socket_get__says_what_is_wrong(struct kunit *test)
{
	fsk_user(test, fsk_socket_get, fsk_tcp(test, AF_INET));
}

static void fsk_ioctl_listen(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	struct fsocket_ioctl_arg a = { .fd = fsk_fd(sock), .backlog = 17 };
	long refs = file_count(sock->file);

	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_LISTEN, &a), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_max_ack_backlog, 17);
	KUNIT_EXPECT_EQ(test, file_count(sock->file), refs);
	a.backlog = 18;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_LISTEN, &a), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_max_ack_backlog, 18);
	a.fd = 1000;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_LISTEN, &a), -EBADF);
	a.fd = fsk_other_fd();
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_LISTEN, &a), -ENOTSOCK);
}

static void fs_ioctl_listen__attaches_and_listens(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET), *six = fsk_tcp(test, AF_INET6);

	fsk_user(test, fsk_ioctl_listen, sock);
	KUNIT_EXPECT_TRUE(test, fs_attached(sock));
	fsk_user(test, fsk_ioctl_listen, six);
	KUNIT_EXPECT_TRUE(test, fs_attached(six));
}

static void fs_ioctl_listen__in_mode_0_is_plain_listen(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);

	fs_spawn_mode = FS_SPAWN_OFF;
	fsk_user(test, fsk_ioctl_listen, sock);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
}

static void fsk_ioctl_listen_any(struct kunit *test, void *unused)
{
	struct fsocket_ioctl_arg a = { .backlog = 5 };
	struct socket *sock;

	a.fd = fs_sys_socket(AF_INET, SOCK_DGRAM, 0);
	KUNIT_EXPECT_EQ(test, fs_ioctl_listen(&a), -EOPNOTSUPP);
	/* A user's: lockdep takes the two sockets of a kernel's MPTCP for one. */
	a.fd = fs_sys_socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	KUNIT_EXPECT_EQ(test, fs_ioctl_listen(&a), 0);
	sock = fs_socket_get(a.fd);
	KUNIT_EXPECT_FALSE(test, IS_ERR(sock));
	if (IS_ERR(sock))
		return;
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
	sockfd_put(sock);
}

static void fs_ioctl_listen__leaves_other_sockets_to_the_kernel(struct kunit *test)
{
	fsk_user(test, fsk_ioctl_listen_any, NULL);
}

static void fsk_ioctl_spawn(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	struct fsocket_ioctl_arg a = { .fd = fsk_fd(sock), .op.spawn_op.cpu = 1 };
	long refs = file_count(sock->file);

	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SPAWN_LISTEN, &a), 0);
	KUNIT_EXPECT_EQ(test, cpumask_weight(current->cpus_ptr), 1);
	KUNIT_EXPECT_TRUE(test, cpumask_test_cpu(1, current->cpus_ptr));
	KUNIT_EXPECT_EQ(test, file_count(sock->file), refs);
	a.op.spawn_op.cpu = -2;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SPAWN_LISTEN, &a), -EINVAL);
	a.fd = 1000;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SPAWN_LISTEN, &a), -EBADF);
}

static void fs_ioctl_spawn__makes_the_task_a_worker(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);

	fsk_need_cpus(test, 2);
	fsk_user(test, fsk_ioctl_spawn, ls->sock);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	KUNIT_EXPECT_NOT_NULL(test, rcu_access_pointer(ls->slot[1]));
}

static void fsk_is_attached_fd(struct kunit *test, void *arg)
{
	struct socket **s = arg;
	int other = fsk_other_fd(), plain = fsk_fd(s[0]), first = fsk_fd(s[1]);
	int second = fsk_fd(s[2]);

	KUNIT_EXPECT_LT(test, other, plain);
	KUNIT_EXPECT_EQ(test, fs_is_attached_fd(NULL, s[0]->file, plain), 0);
	KUNIT_EXPECT_EQ(test, fs_is_attached_fd(NULL, s[1]->file, first), first + 1);
	KUNIT_EXPECT_EQ(test, iterate_fd(current->files, 0, fs_is_attached_fd, NULL), first + 1);
	KUNIT_EXPECT_EQ(test, iterate_fd(current->files, first + 1, fs_is_attached_fd, NULL),
			second + 1);
	KUNIT_EXPECT_EQ(test, iterate_fd(current->files, second + 1, fs_is_attached_fd, NULL), 0);
}

static void fs_is_attached_fd__finds_attached_listeners_only(struct kunit *test)
{
	struct socket *s[] = {
		fsk_listener(test, AF_INET, 4),
		fsk_attached(test, AF_INET, 4)->sock,
		fsk_attached(test, AF_INET6, 4)->sock,
	};

	fsk_user(test, fsk_is_attached_fd, s);
}

static void fsk_ioctl_spawn_all(struct kunit *test, void *arg)
{
	struct fs_listener **ls = arg;
	struct fsocket_ioctl_arg a = {};

	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SPAWN_ALL_LISTEN, &a), 0);
	fsk_other_fd();
	fsk_fd(ls[0]->sock);
	fsk_fd(ls[1]->sock);
	KUNIT_EXPECT_EQ(test, fs_ioctl(NULL, FSOCKET_IOC_SPAWN_ALL_LISTEN, 0), 0);
	KUNIT_EXPECT_EQ(test, ls[0]->nworkers, 1);
	KUNIT_EXPECT_EQ(test, ls[1]->nworkers, 1);
	KUNIT_EXPECT_EQ(test, cpumask_weight(current->cpus_ptr), 1);
}

static void fs_ioctl_spawn_all__joins_every_listener(struct kunit *test)
{
	struct fs_listener *ls[] = {
		fsk_attached(test, AF_INET, 4),
		fsk_attached(test, AF_INET6, 4),
	};

	fsk_user(test, fsk_ioctl_spawn_all, ls);
}

static void fsk_ioctl_spawn_all_off(struct kunit *test, void *arg)
{
	fsk_fd(arg);
	KUNIT_EXPECT_EQ(test, fs_ioctl_spawn_all(), -EOPNOTSUPP);
}

static void fs_ioctl_spawn_all__reports_that_it_is_off(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	fs_spawn_mode = FS_SPAWN_OFF;
	fsk_user(test, fsk_ioctl_spawn_all_off, ls->sock);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
}

static void fsk_ioctl_spawn_all_shut(struct kunit *test, void *arg)
{
	struct fs_listener **ls = arg;

	fsk_fd(ls[0]->sock);
	fsk_fd(ls[1]->sock);
	kernel_sock_shutdown(ls[0]->sock, SHUT_RDWR);
	KUNIT_EXPECT_EQ(test, fs_ioctl_spawn_all(), 0);
	KUNIT_EXPECT_EQ(test, ls[0]->nworkers, 0);
	KUNIT_EXPECT_EQ(test, ls[1]->nworkers, 1);
}

static void fs_ioctl_spawn_all__passes_over_what_was_shut_down(struct kunit *test)
{
	struct fs_listener *ls[] = {
		fsk_attached(test, AF_INET, 4),
		fsk_attached(test, AF_INET, 4),
	};

	fsk_user(test, fsk_ioctl_spawn_all_shut, ls);
}

static void fsk_ioctl_close(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	struct fsocket_ioctl_arg a = { .fd = fsk_fd(sock) };
	int other = fsk_other_fd();

	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_CLOSE, &a), 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(a.fd)), -EBADF);
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_CLOSE, &a), -EBADF);
	a.fd = other;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_CLOSE, &a), -ENOTSOCK);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_socket_get(other)), -ENOTSOCK);
}

static void fs_ioctl_close__closes_sockets_and_nothing_else(struct kunit *test)
{
	fsk_user(test, fsk_ioctl_close, fsk_tcp(test, AF_INET));
}

static void fsk_ioctl_do(struct kunit *test, void *arg)
{
	struct fsocket_ioctl_arg a = { .op.socket_op = { AF_INET, SOCK_STREAM, IPPROTO_TCP } };
	long fd = fs_ioctl_do(FSOCKET_IOC_SOCKET, &a);
	struct socket *sock = fs_socket_get(fd);

	KUNIT_EXPECT_GE(test, fd, 0L);
	if (IS_ERR(sock))
		return;
	KUNIT_EXPECT_EQ(test, sock->sk->sk_family, AF_INET);
	KUNIT_EXPECT_EQ(test, sock->type, SOCK_STREAM);
	a.fd = fd;
	a.backlog = 4;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_LISTEN, &a), 0);
	KUNIT_EXPECT_TRUE(test, fs_attached(sock));
	a.op.accept_op = (struct fsocket_accept_op){ .flags = ~0 };
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_ACCEPT, &a), -EINVAL);
	a.op.shutdown_op.how = 9;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SHUTDOWN_LISTEN, &a), -EINVAL);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
	a.op.shutdown_op.how = SHUT_RDWR;
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_SHUTDOWN_LISTEN, &a), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_CLOSE);
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(_IO(FSOCKET_IOC_ID, 5), &a), -ENOTTY);
	sockfd_put(sock);
	KUNIT_EXPECT_EQ(test, fs_ioctl_do(FSOCKET_IOC_CLOSE, &a), 0);
}

static void fs_ioctl_do__passes_each_call_its_arguments(struct kunit *test)
{
	fsk_user(test, fsk_ioctl_do, NULL);
}

static void fs_ioctl_known__takes_eight_numbers(struct kunit *test)
{
	unsigned int nr, n = 0;

	for (nr = 0; nr < 256; nr++) {
		bool known = fs_ioctl_known(_IO(FSOCKET_IOC_ID, nr));

		KUNIT_EXPECT_EQ_MSG(test, known, (nr >= 1 && nr <= 8 && nr != 5) || nr == 0x10,
				    "number %u", nr);
		n += known;
	}
	KUNIT_EXPECT_EQ(test, n, 8);
}

static void fs_ioctl_known__refuses_other_types_and_directions(struct kunit *test)
{
	unsigned int type, nr;

	for (nr = 1; nr <= 8; nr++) {
		for (type = 0; type < 256; type++)
			KUNIT_EXPECT_EQ_MSG(test, fs_ioctl_known(_IO(type, nr)),
					    type == FSOCKET_IOC_ID && nr != 5, "%#x %u", type, nr);
		KUNIT_EXPECT_FALSE(test, fs_ioctl_known(_IOR(FSOCKET_IOC_ID, nr, int)));
		KUNIT_EXPECT_FALSE(test, fs_ioctl_known(_IOW(FSOCKET_IOC_ID, nr, int)));
		KUNIT_EXPECT_FALSE(test, fs_ioctl_known(_IOWR(FSOCKET_IOC_ID, nr, int)));
		KUNIT_EXPECT_FALSE(test, fs_ioctl_known(_IOC(0, FSOCKET_IOC_ID, nr, 1)));
	}
}

static void fsk_ioctl(struct kunit *test, void *arg)
{
	unsigned int nr;

	for (nr = 0; nr < 16; nr++) {
		unsigned int cmd = _IO(FSOCKET_IOC_ID, nr);
		long want = nr == 8 ? 0 : fs_ioctl_known(cmd) ? -EFAULT : -ENOTTY;

		KUNIT_EXPECT_EQ_MSG(test, fs_ioctl(NULL, cmd, 0), want, "number %u", nr);
#ifdef CONFIG_COMPAT
		KUNIT_EXPECT_EQ_MSG(test, fs_compat_ioctl(NULL, cmd, 0), want, "number %u", nr);
#endif
	}
}

static void fs_ioctl__tells_a_bad_number_from_a_bad_pointer(struct kunit *test)
{
	fsk_user(test, fsk_ioctl, NULL);
}

static void fs_dev_fops__hold_the_module(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, fs_dev_fops.owner, THIS_MODULE);
	KUNIT_EXPECT_PTR_EQ(test, fs_dev_fops.unlocked_ioctl, &fs_ioctl);
	KUNIT_EXPECT_EQ(test, fs_dev.mode, 0666);
	KUNIT_EXPECT_NE(test, fs_dev.minor, MISC_DYNAMIC_MINOR);
}

/* clang-format off */
static struct kunit_case fsk_main_cases[] = {
	KUNIT_CASE(fs_set_spawn_mode__takes_every_mode),
	KUNIT_CASE(fs_set_spawn_mode__refuses_the_rest_and_stays),
	KUNIT_CASE(fs_set_spawn_mode__is_read_back),
	KUNIT_CASE(fs_switch_set__takes_0_and_1_and_refuses_the_rest),
	KUNIT_CASE(fs_switch_get__reads_its_own_feature),
	KUNIT_CASE(fs_compat_arg__is_what_32_bit_programs_lay_out),
	KUNIT_CASE(fs_socket_get__says_what_is_wrong),
	KUNIT_CASE(fs_ioctl_listen__attaches_and_listens),
	KUNIT_CASE(fs_ioctl_listen__in_mode_0_is_plain_listen),
	KUNIT_CASE(fs_ioctl_listen__leaves_other_sockets_to_the_kernel),
	KUNIT_CASE(fs_ioctl_spawn__makes_the_task_a_worker),
	KUNIT_CASE(fs_is_attached_fd__finds_attached_listeners_only),
	KUNIT_CASE(fs_ioctl_spawn_all__joins_every_listener),
	KUNIT_CASE(fs_ioctl_spawn_all__reports_that_it_is_off),
	KUNIT_CASE(fs_ioctl_spawn_all__passes_over_what_was_shut_down),
	KUNIT_CASE(fs_ioctl_close__closes_sockets_and_nothing_else),
	KUNIT_CASE(fs_ioctl_do__passes_each_call_its_arguments),
	KUNIT_CASE(fs_ioctl_known__takes_eight_numbers),
	KUNIT_CASE(fs_ioctl_known__refuses_other_types_and_directions),
	KUNIT_CASE(fs_ioctl__tells_a_bad_number_from_a_bad_pointer),
	KUNIT_CASE(fs_dev_fops__hold_the_module),
	{}
};

/* clang-format on */

struct kunit_suite fsk_main_suite = {
	.name = "fastsocket_main",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_main_cases,
};

static struct kunit_suite * const fsk_suites[] = {
	&fsk_main_suite,  &fsk_hook_suite,   &fsk_sys_suite,   &fsk_stats_suite, &fsk_spawn_suite,
	&fsk_clone_suite, &fsk_worker_suite, &fsk_rfd_suite,   &fsk_btf_suite,	 &fsk_epoll_suite,
	&fsk_vfs_suite,	  &fsk_enrol_suite,  &fsk_group_suite, &fsk_bind_suite,
};

static int __init fsk_load(void)
{
	unsigned int i;
	int err = fs_init();

	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(fsk_suites); i++)
		kunit_run_tests(fsk_suites[i]);
	return 0;
}

module_init(fsk_load);
module_exit(fs_exit);
