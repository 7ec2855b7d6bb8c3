// SPDX-License-Identifier: GPL-2.0
/* Cases for fastsocket_sys.c */
#include "../../fastsocket_sys.c"

#include <linux/module.h>
#include <linux/net.h>

#include "kunit_util.h"

static void fs_address_of__is_the_function(struct kunit *test)
{
	unsigned long addr = (unsigned long)fs_address_of("sock_create_kern", "");
	unsigned long sym = (unsigned long)&sock_create_kern;

	/* Or behind its ENDBR, which has four bytes. */
	KUNIT_EXPECT_TRUE(test, addr == sym || addr == sym + 4);
}

static void fs_address_of__nothing_for_what_is_not_there(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, fs_address_of("fs_no_such_function", "nothing"));
}

static void fs_sys_init__finds_all_of_this_kernel(struct kunit *test)
{
	have_socket = false;
	have_listen = false;
	have_accept4 = false;
	have_shutdown = false;
	have_setaffinity = false;
	fs_sys_init();
	KUNIT_EXPECT_TRUE(test, have_socket);
	KUNIT_EXPECT_TRUE(test, have_listen);
	KUNIT_EXPECT_TRUE(test, have_accept4);
	KUNIT_EXPECT_TRUE(test, have_shutdown);
	KUNIT_EXPECT_TRUE(test, have_setaffinity);
}

static void fsk_sys_socket(struct kunit *test, void *arg)
{
	int fd = fs_sys_socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), err;
	struct socket *sock = sockfd_lookup(fd, &err);

	KUNIT_EXPECT_GE(test, fd, 0);
	KUNIT_EXPECT_NOT_NULL(test, sock);
	if (sock) {
		KUNIT_EXPECT_EQ(test, sock->sk->sk_family, AF_INET6);
		KUNIT_EXPECT_EQ(test, sock->sk->sk_protocol, IPPROTO_TCP);
		sockfd_put(sock);
	}
	KUNIT_EXPECT_EQ(test, fs_sys_socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
	KUNIT_EXPECT_EQ(test, fs_sys_socket(AF_INET, -1, 0), -EINVAL);
	have_socket = false;
	KUNIT_EXPECT_EQ(test, fs_sys_socket(AF_INET, SOCK_STREAM, 0), -EOPNOTSUPP);
	have_socket = true;
}

static void fs_sys_socket__is_socket(struct kunit *test)
{
	fsk_user(test, fsk_sys_socket, NULL);
}

static void fsk_sys_listen(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	int fd = fsk_fd(sock);

	have_listen = false;
	KUNIT_EXPECT_EQ(test, fs_sys_listen(fd, 7), -EOPNOTSUPP);
	have_listen = true;
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_CLOSE);
	KUNIT_EXPECT_EQ(test, fs_sys_listen(fd, 7), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_max_ack_backlog, 7);
	/* The limit of the namespace applies, as for everybody. */
	KUNIT_EXPECT_EQ(test, fs_sys_listen(fd, INT_MAX), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_max_ack_backlog, init_net.core.sysctl_somaxconn);
	KUNIT_EXPECT_EQ(test, fs_sys_listen(1000, 7), -EBADF);
}

static void fs_sys_listen__is_listen(struct kunit *test)
{
	fsk_user(test, fsk_sys_listen, fsk_tcp(test, AF_INET));
}

static void fsk_sys_accept4(struct kunit *test, void *arg)
{
	struct socket *sock = arg, *conn;
	int fd = fsk_fd(sock), got, err;

	KUNIT_EXPECT_EQ(test, fs_sys_accept4(1000, NULL, NULL, 0), -EBADF);
	KUNIT_EXPECT_EQ(test, fs_sys_accept4(fd, NULL, NULL, 1), -EINVAL);
	have_accept4 = false;
	KUNIT_EXPECT_EQ(test, fs_sys_accept4(fd, NULL, NULL, 0), -EOPNOTSUPP);
	have_accept4 = true;
	got = fs_sys_accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	KUNIT_EXPECT_GE(test, got, 0);
	KUNIT_EXPECT_EQ(test, fs_sys_accept4(fd, NULL, NULL, 0), -EAGAIN);
	conn = sockfd_lookup(got, &err);
	KUNIT_EXPECT_NOT_NULL(test, conn);
	if (!conn)
		return;
	KUNIT_EXPECT_EQ(test, conn->file->f_flags & O_NONBLOCK, O_NONBLOCK);
	sockfd_put(conn);
}

static void fs_sys_accept4__is_accept4(struct kunit *test)
{
	struct socket *sock = fsk_listener(test, AF_INET, 4);

	fsk_connect(test, sock, -1);
	fsk_user(test, fsk_sys_accept4, sock);
}

static void fsk_sys_shutdown(struct kunit *test, void *arg)
{
	struct socket *sock = arg;
	int fd = fsk_fd(sock);

	have_shutdown = false;
	KUNIT_EXPECT_EQ(test, fs_sys_shutdown(fd, SHUT_RDWR), -EOPNOTSUPP);
	have_shutdown = true;
	KUNIT_EXPECT_EQ(test, fs_sys_shutdown(fd, 9), -EINVAL);
	KUNIT_EXPECT_EQ(test, fs_sys_shutdown(1000, SHUT_RDWR), -EBADF);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_EQ(test, fs_sys_shutdown(fd, SHUT_RDWR), 0);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_CLOSE);
}

static void fs_sys_shutdown__is_shutdown(struct kunit *test)
{
	fsk_user(test, fsk_sys_shutdown, fsk_listener(test, AF_INET, 4));
}

static void fsk_sys_setaffinity(struct kunit *test, void *arg)
{
	have_setaffinity = false;
	KUNIT_EXPECT_EQ(test, fs_sys_setaffinity(0, cpumask_of(1)), (long)-EOPNOTSUPP);
	have_setaffinity = true;
	KUNIT_EXPECT_NE(test, current->nr_cpus_allowed, 1);
	KUNIT_EXPECT_EQ(test, fs_sys_setaffinity(0, cpumask_of(1)), 0L);
	KUNIT_EXPECT_EQ(test, current->nr_cpus_allowed, 1);
	KUNIT_EXPECT_EQ(test, raw_smp_processor_id(), 1);
	KUNIT_EXPECT_EQ(test, fs_sys_setaffinity(task_pid_vnr(current), cpumask_of(0)), 0L);
	KUNIT_EXPECT_EQ(test, raw_smp_processor_id(), 0);
	KUNIT_EXPECT_EQ(test, fs_sys_setaffinity(0, cpu_none_mask), (long)-EINVAL);
	KUNIT_EXPECT_EQ(test, fs_sys_setaffinity(PID_MAX_LIMIT, cpumask_of(0)), (long)-ESRCH);
}

static void fs_sys_setaffinity__is_sched_setaffinity(struct kunit *test)
{
	fsk_need_cpus(test, 2);
	fsk_user(test, fsk_sys_setaffinity, NULL);
}

/* clang-format off */
static struct kunit_case fsk_sys_cases[] = {
	KUNIT_CASE(fs_address_of__is_the_function),
	KUNIT_CASE(fs_address_of__nothing_for_what_is_not_there),
	KUNIT_CASE(fs_sys_init__finds_all_of_this_kernel),
	KUNIT_CASE(fs_sys_socket__is_socket),
	KUNIT_CASE(fs_sys_listen__is_listen),
	KUNIT_CASE(fs_sys_accept4__is_accept4),
	KUNIT_CASE(fs_sys_shutdown__is_shutdown),
	KUNIT_CASE(fs_sys_setaffinity__is_sched_setaffinity),
	{}
};

/* clang-format on */

struct kunit_suite fsk_sys_suite = {
	.name = "fastsocket_sys",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_sys_cases,
};
