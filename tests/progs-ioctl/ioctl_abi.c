// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of /dev/fastsocket, one case a run: ioctl_abi CASE. Exit status 0
 * when everything in the case is as it must be. Where a call stands for a
 * system call, the same is done with the system call and the results compared.
 */
#include <limits.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

#include "probe.h"

static int dev;

static long fs_socket(unsigned int family, unsigned int type, unsigned int proto)
{
	struct fsocket_ioctl_arg arg = {
		.op.socket_op = { family, type, proto },
	};

	return ioctl(dev, FSOCKET_IOC_SOCKET, &arg);
}

static long fs_listen(unsigned int fd, unsigned int backlog)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .backlog = backlog };

	return ioctl(dev, FSOCKET_IOC_LISTEN, &arg);
}

static long fs_accept(unsigned int fd, void *addr, void *len, int flags)
{
	struct fsocket_ioctl_arg arg = {
		.fd = fd, .op.accept_op = { addr, len, flags },
	};

	return ioctl(dev, FSOCKET_IOC_ACCEPT, &arg);
}

static long fs_close(unsigned int fd)
{
	struct fsocket_ioctl_arg arg = { .fd = fd };

	return ioctl(dev, FSOCKET_IOC_CLOSE, &arg);
}

static long fs_spawn(unsigned int fd, int cpu)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .op.spawn_op.cpu = cpu };

	return ioctl(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg);
}

static long fs_shutdown(unsigned int fd, int how)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .op.shutdown_op.how = how };

	return ioctl(dev, FSOCKET_IOC_SHUTDOWN_LISTEN, &arg);
}

static long fs_spawn_all(void)
{
	struct fsocket_ioctl_arg arg = { 0 };

	return ioctl(dev, FSOCKET_IOC_SPAWN_ALL_LISTEN, &arg);
}

static int attached_listener(int family, int flags)
{
	int fd = bound_socket(family, flags);

	return fd >= 0 && !fs_listen(fd, 16) ? fd : -1;
}

static int get_int(int fd, int level, int option)
{
	socklen_t len = sizeof(int);
	int value = -1;

	return getsockopt(fd, level, option, &value, &len) ? -1 : value;
}

static struct tcp_info info_of(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len))
		info.tcpi_state = 0xff;
	return info;
}

/* ---- SOCKET ---- */

static int socket_as_native(void)
{
	static const struct {
		int family, type, proto;
	} kinds[] = {
		{ AF_INET, SOCK_STREAM, 0 },
		{ AF_INET, SOCK_STREAM, IPPROTO_TCP },
		{ AF_INET6, SOCK_STREAM, 0 },
		{ AF_INET6, SOCK_STREAM, IPPROTO_TCP },
		{ AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0 },
		{ AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0 },
		{ AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0 },
		{ AF_INET, SOCK_DGRAM, 0 },
		{ AF_INET6, SOCK_DGRAM, IPPROTO_UDP },
		{ AF_INET, SOCK_RAW, IPPROTO_ICMP },
		{ AF_UNIX, SOCK_STREAM, 0 },
		{ AF_UNIX, SOCK_SEQPACKET, 0 },
		{ AF_NETLINK, SOCK_RAW, 0 },
		{ AF_INET, SOCK_STREAM, IPPROTO_UDP },
		{ AF_INET, SOCK_DGRAM, IPPROTO_TCP },
		{ AF_INET, 77, 0 },
		{ AF_INET, SOCK_STREAM | 0x10000000, 0 },
		{ AF_INET, -1, 0 },
		{ AF_INET, 0, 0 },
		{ AF_INET, SOCK_STREAM, -1 },
		{ AF_INET, SOCK_STREAM, 9999 },
		{ AF_UNIX, SOCK_STREAM, 9999 },
		{ 9999, SOCK_STREAM, 0 },
		{ -1, SOCK_STREAM, 0 },
		{ AF_UNSPEC, SOCK_STREAM, 0 },
	};

	for (unsigned int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct result n, f;

		n = RESULT(socket(kinds[i].family, kinds[i].type, kinds[i].proto));
		f = RESULT(fs_socket(kinds[i].family, kinds[i].type, kinds[i].proto));
		CHECK((n.ret < 0) == (f.ret < 0) && n.err == f.err,
		      ": kind %u: native errno %d, ioctl errno %d", i, n.err, f.err);
		if (n.ret < 0)
			continue;
		CHECK(get_int(n.ret, SOL_SOCKET, SO_DOMAIN) ==
		      get_int(f.ret, SOL_SOCKET, SO_DOMAIN), ": kind %u", i);
		CHECK(get_int(n.ret, SOL_SOCKET, SO_TYPE) ==
		      get_int(f.ret, SOL_SOCKET, SO_TYPE), ": kind %u", i);
		CHECK(get_int(n.ret, SOL_SOCKET, SO_PROTOCOL) ==
		      get_int(f.ret, SOL_SOCKET, SO_PROTOCOL), ": kind %u", i);
		CHECK(fcntl(n.ret, F_GETFL) == fcntl(f.ret, F_GETFL), ": kind %u", i);
		CHECK(fcntl(n.ret, F_GETFD) == fcntl(f.ret, F_GETFD), ": kind %u", i);
		close(n.ret);
		close(f.ret);
	}
	return 0;
}

static int socket_serves(void)
{
	for_each_family(family) {
		struct sockaddr_storage sa;
		socklen_t len = loopback(family, 0, &sa);
		int fd = fs_socket(family, SOCK_STREAM, 0), client, conn;
		char byte = 0;

		CHECK(fd >= 0);
		CHECK(!bind(fd, (void *)&sa, len));
		CHECK(!fs_listen(fd, 8));
		client = connect_to(family, port_of(fd));
		CHECK(client >= 0);
		conn = fs_accept(fd, NULL, NULL, 0);
		CHECK(conn >= 0);
		CHECK(write(client, "x", 1) == 1 && read(conn, &byte, 1) == 1 && byte == 'x');
		CHECK(!fs_close(conn) && !fs_close(client) && !fs_close(fd));
	}
	return 0;
}

/* ---- LISTEN ---- */

static int listen_attaches(void)
{
	for_each_family(family) {
		int fd = bound_socket(family, 0);
		unsigned int port = port_of(fd);

		CHECK(listener_rows(port, NULL, 0) == 0);
		CHECK(!fs_listen(fd, 16));
		CHECK(info_of(fd).tcpi_state == TCP_LISTEN);
		CHECK(listener_rows(port, "-", 0) == 1);
		CHECK(!fs_listen(fd, 32), ": a second time");
		CHECK(listener_rows(port, "-", 0) == 1);
		close(fd);
		CHECK(listener_rows(port, NULL, 0) == 0);

		fd = socket(family, SOCK_STREAM, 0);
		CHECK(!fs_listen(fd, 16), ": without a bind");
		CHECK(port_of(fd) != 0 && listener_rows(port_of(fd), "-", 0) == 1);
		close(fd);

		fd = bound_socket(family, 0);
		CHECK(!listen(fd, 16) && !fs_listen(fd, 16), ": listening already");
		CHECK(listener_rows(port_of(fd), "-", 0) == 1);
		close(fd);
	}
	return 0;
}

static int listen_backlog(void)
{
	static const int backlogs[] = { 0, 1, 7, 128, 4096, 1000000, -1, INT_MIN };

	for_each_family(family) {
		int n = bound_socket(family, 0), f = bound_socket(family, 0);

		for (unsigned int i = 0; i < sizeof(backlogs) / sizeof(int); i++) {
			CHECK(!listen(n, backlogs[i]) && !fs_listen(f, backlogs[i]));
			CHECK(info_of(n).tcpi_sacked == info_of(f).tcpi_sacked,
			      ": backlog %d: native %u, ioctl %u", backlogs[i],
			      info_of(n).tcpi_sacked, info_of(f).tcpi_sacked);
		}
		close(n);
		close(f);
	}
	return 0;
}

static int connected_socket(int family)
{
	int l = bound_socket(family, 0), c;

	listen(l, 1);
	c = connect_to(family, port_of(l));
	close(l);
	return c;
}

static int unix_bound(int type)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, type, 0);

	/* Only the family: the kernel chooses an abstract name. */
	return bind(fd, (void *)&sa, sizeof(sa.sun_family)) ? -1 : fd;
}

static int other_file(void)
{
	int p[2];

	if (pipe(p))
		return -1;
	close(p[1]);
	return p[0];
}

/* Sockets and files on which listen() fails, or does nothing for TCP. */
static int odd_file(int kind)
{
	switch (kind) {
	case 0: return -1;
	case 1: return 0x7fffffff;
	case 2: return other_file();
	case 3: return open("/", O_PATH);
	case 4: return open("/proc/self/status", O_RDONLY);
	case 5: return socket(AF_INET, SOCK_DGRAM, 0);
	case 6: return socket(AF_INET6, SOCK_DGRAM, 0);
	case 7: return socket(AF_UNIX, SOCK_STREAM, 0);
	case 8: return socket(AF_UNIX, SOCK_DGRAM, 0);
	case 9: return unix_bound(SOCK_STREAM);
	case 10: return unix_bound(SOCK_SEQPACKET);
	case 11: return connected_socket(AF_INET);
	case 12: return connected_socket(AF_INET6);
	case 13: return socket(AF_NETLINK, SOCK_RAW, 0);
	case 14: return socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
	case 15: return open(DEVICE, O_RDWR);
	case 16: return INT_MIN;
	default: return -2;
	}
}

static int listen_fails_as_native(void)
{
	for (int kind = 0, fd; (fd = odd_file(kind)) != -2; kind++) {
		int fd2 = odd_file(kind);
		struct result n = RESULT(listen(fd, 5)), f = RESULT(fs_listen(fd2, 5));

		CHECK(n.ret == f.ret && n.err == f.err,
		      ": kind %d: native %ld (%d), ioctl %ld (%d)", kind, n.ret,
		      n.err, f.ret, f.err);
		close(fd);
		close(fd2);
	}
	for_each_family(family) {
		struct sockaddr_storage sa;
		int one = 1, l = socket(family, SOCK_STREAM, 0);
		int fd = socket(family, SOCK_STREAM, 0);
		socklen_t len;

		/* Both may bind with SO_REUSEADDR, only one may listen. */
		setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		len = loopback(family, 0, &sa);
		CHECK(!bind(l, (void *)&sa, len));
		len = loopback(family, port_of(l), &sa);
		CHECK(!bind(fd, (void *)&sa, len));
		CHECK(!fs_listen(l, 5));
		CHECK_FAILS(fs_listen(fd, 5), EADDRINUSE);
		CHECK_FAILS(listen(fd, 5), EADDRINUSE);
		close(l);
		CHECK(!fs_listen(fd, 5), ": the port is free now");
		close(fd);
	}
	return 0;
}

static int listen_passes_others(void)
{
	struct sockaddr_un sa;
	socklen_t len = sizeof(sa);
	int l = unix_bound(SOCK_STREAM), c, conn, fd;

	CHECK(!fs_listen(l, 4));
	CHECK(get_int(l, SOL_SOCKET, SO_ACCEPTCONN) == 1);
	CHECK(!getsockname(l, (void *)&sa, &len));
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!connect(c, (void *)&sa, len));
	conn = fs_accept(l, NULL, NULL, SOCK_CLOEXEC);
	CHECK(conn >= 0);
	close(c);
	close(conn);
	close(l);

	/* 262: IPPROTO_MPTCP; whether the kernel has it or not. */
	fd = socket(AF_INET, SOCK_STREAM, 262);
	if (fd >= 0) {
		CHECK(!fs_listen(fd, 4), ": MPTCP listens, natively");
		CHECK(get_int(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1);
		CHECK(listener_rows(port_of(fd), NULL, 0) == 0);
		close(fd);
	}
	return 0;
}

/* ---- ACCEPT ---- */

static int accept_returns_peer(void)
{
	for_each_family(family) {
		struct sockaddr_storage name, mine, part;
		int l = attached_listener(family, 0), len, c, conn;
		socklen_t name_len = sizeof(name), mine_len = sizeof(mine);

		c = connect_to(family, port_of(l));
		CHECK(c >= 0);
		memset(&mine, 0x5a, sizeof(mine));
		len = sizeof(mine);
		conn = fs_accept(l, &mine, &len, 0);
		CHECK(conn >= 0);
		memset(&name, 0x5a, sizeof(name));
		CHECK(!getsockname(c, (void *)&name, &name_len));
		CHECK(len == (int)name_len && !memcmp(&name, &mine, sizeof(name)));
		CHECK(!getpeername(conn, (void *)&mine, &mine_len) && mine_len == name_len);
		close(c);
		close(conn);

		c = connect_to(family, port_of(l));
		memset(&part, 0x5a, sizeof(part));
		memset(&mine, 0x5a, sizeof(mine));
		name_len = sizeof(name);
		CHECK(!getsockname(c, (void *)&name, &name_len));
		memcpy(&mine, &name, 4);
		len = 4;
		conn = fs_accept(l, &part, &len, 0);
		CHECK(conn >= 0 && len == (int)name_len, ": length of a truncated address");
		CHECK(!memcmp(&part, &mine, sizeof(part)), ": room for 4 bytes only");
		close(c);
		close(conn);

		c = connect_to(family, port_of(l));
		len = 0;
		conn = fs_accept(l, &part, &len, 0);
		CHECK(conn >= 0 && len == (int)name_len);
		close(c);
		close(conn);

		c = connect_to(family, port_of(l));
		conn = fs_accept(l, NULL, &len, 0);
		CHECK(conn >= 0, ": a length without an address is not looked at");
		close(c);
		close(conn);
		close(l);
	}
	return 0;
}

static int accept_flags(void)
{
	static const int bad[] = { 1, 2, O_APPEND, 0x40000000, INT_MIN, -1 };
	static const int good[] = { 0, SOCK_NONBLOCK, SOCK_CLOEXEC,
				    SOCK_NONBLOCK | SOCK_CLOEXEC };

	for_each_family(family) {
		int l = attached_listener(family, 0);

		for (unsigned int i = 0; i < 4; i++) {
			int c = connect_to(family, port_of(l));
			int conn = fs_accept(l, NULL, NULL, good[i]);

			CHECK(conn >= 0);
			CHECK(!(fcntl(conn, F_GETFL) & O_NONBLOCK) == !(good[i] & SOCK_NONBLOCK));
			CHECK(!(fcntl(conn, F_GETFD) & FD_CLOEXEC) == !(good[i] & SOCK_CLOEXEC));
			close(c);
			close(conn);
		}
		for (unsigned int i = 0; i < sizeof(bad) / sizeof(int); i++) {
			int c = connect_to(family, port_of(l)), conn;

			CHECK_FAILS(accept4(l, NULL, NULL, bad[i]), EINVAL);
			CHECK_FAILS(fs_accept(l, NULL, NULL, bad[i]), EINVAL);
			conn = fs_accept(l, NULL, NULL, 0);
			CHECK(conn >= 0, ": the connection is still there");
			close(c);
			close(conn);
		}
		close(l);
	}
	return 0;
}

static int accept_fails_as_native(void)
{
	for (int kind = 0, fd; (fd = odd_file(kind)) != -2; kind++) {
		struct result n = RESULT(accept4(fd, NULL, NULL, SOCK_NONBLOCK));
		struct result f = RESULT(fs_accept(fd, NULL, NULL, SOCK_NONBLOCK));

		CHECK(n.ret == f.ret && n.err == f.err,
		      ": kind %d: native %ld (%d), ioctl %ld (%d)", kind, n.ret,
		      n.err, f.ret, f.err);
		close(fd);
	}
	for_each_family(family) {
		int fd = bound_socket(family, SOCK_NONBLOCK);

		CHECK_FAILS(fs_accept(fd, NULL, NULL, 0), EINVAL);
		CHECK(!fs_listen(fd, 5));
		CHECK_FAILS(fs_accept(fd, NULL, NULL, 0), EAGAIN);
		close(fd);
	}
	return 0;
}

/* A bad address costs the connection natively, too. */
static int accept_bad_address(void)
{
	struct sockaddr_storage sa;
	int room = sizeof(sa), negative = -1;
	const struct {
		void *addr, *len;
	} bad[] = {
		{ &sa, NULL }, { &sa, (void *)8 }, { (void *)8, &room },
		{ &sa, &negative }, { (void *)8, (void *)8 },
	};

	for_each_family(family) {
		int n = bound_socket(family, SOCK_NONBLOCK);
		int f = attached_listener(family, SOCK_NONBLOCK);

		CHECK(!listen(n, 16));
		for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			int cn = connect_to(family, port_of(n));
			int cf = connect_to(family, port_of(f));
			struct result rn, rf;

			rn = RESULT(accept4(n, bad[i].addr, bad[i].len, 0));
			rf = RESULT(fs_accept(f, bad[i].addr, bad[i].len, 0));
			CHECK(rn.ret == -1 && rf.ret == -1 && rn.err == rf.err,
			      ": pair %u: native errno %d, ioctl %ld errno %d", i,
			      rn.err, rf.ret, rf.err);
			rn = RESULT(accept4(n, NULL, NULL, 0));
			rf = RESULT(fs_accept(f, NULL, NULL, 0));
			CHECK((rn.ret < 0) == (rf.ret < 0) && rn.err == rf.err,
			      ": pair %u: native errno %d, ioctl errno %d", i, rn.err, rf.err);
			if (rn.ret >= 0) {
				close(rn.ret);
				close(rf.ret);
			}
			close(cn);
			close(cf);
		}
		close(n);
		close(f);
	}
	return 0;
}

static volatile sig_atomic_t alarms;

static void count_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void alarm_in(int msec, int sa_flags)
{
	struct itimerval t = { .it_value.tv_usec = msec * 1000 };
	struct sigaction sa = { .sa_handler = count_alarm, .sa_flags = sa_flags };

	alarms = 0;
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
}

static long since_ms(const struct timespec *start)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (now.tv_sec - start->tv_sec) * 1000 +
	       (now.tv_nsec - start->tv_nsec) / 1000000;
}

static int accept_blocks(void)
{
	for_each_family(family) {
		int l = attached_listener(family, 0), conn, status;
		struct timeval tv = { .tv_usec = 200000 }, none = { 0 };
		struct timespec start;
		pid_t pid;

		clock_gettime(CLOCK_MONOTONIC, &start);
		CHECK(!setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
		CHECK_FAILS(fs_accept(l, NULL, NULL, 0), EAGAIN);
		CHECK(since_ms(&start) >= 190, ": SO_RCVTIMEO, %ld ms", since_ms(&start));
		CHECK(!setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none)));

		alarm_in(100, 0);
		CHECK_FAILS(fs_accept(l, NULL, NULL, 0), EINTR);
		CHECK(alarms == 1);

		pid = fork();
		if (!pid) {
			usleep(400000);
			_exit(connect_to(family, port_of(l)) < 0);
		}
		alarm_in(100, SA_RESTART);
		conn = fs_accept(l, NULL, NULL, 0);
		CHECK(conn >= 0 && alarms == 1, ": restarted after the signal");
		close(conn);
		CHECK(waitpid(pid, &status, 0) == pid && !status);
		close(l);
	}
	return 0;
}

/* ---- CLOSE ---- */

static int close_closes(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), again;

	CHECK(!fs_close(fd) && fcntl(fd, F_GETFD) == -1);
	CHECK_FAILS(fs_close(fd), EBADF);
	CHECK_FAILS(fs_close(-1), EBADF);
	CHECK_FAILS(fs_close(INT_MAX), EBADF);
	again = other_file();
	CHECK(again == fd, ": the number is free again");
	CHECK_FAILS(fs_close(again), ENOTSOCK);
	CHECK_FAILS(fs_close(dev), ENOTSOCK);
	CHECK(!close(again), ": what is no socket stays open");

	for_each_family(family) {
		unsigned int port;

		fd = attached_listener(family, 0);
		port = port_of(fd);
		CHECK(!fs_close(fd));
		CHECK_FAILS(connect_to(family, port), ECONNREFUSED);
		CHECK(listener_rows(port, NULL, 0) == 0);
	}
	return 0;
}

/* ---- SHUTDOWN_LISTEN ---- */

static int shutdown_as_native(void)
{
	static const int hows[] = { SHUT_RD, SHUT_WR, SHUT_RDWR, 3, -1, INT_MAX };

	for (unsigned int i = 0; i < sizeof(hows) / sizeof(int); i++) {
		for_each_family(family) {
			int n = bound_socket(family, 0), f = bound_socket(family, 0);
			struct result rn, rf;

			rn = RESULT(shutdown(n, hows[i]));
			rf = RESULT(fs_shutdown(f, hows[i]));
			CHECK(rn.ret == rf.ret && rn.err == rf.err, ": not listening, how %d",
			      hows[i]);
			CHECK(!listen(n, 5) && !fs_listen(f, 5));
			rn = RESULT(shutdown(n, hows[i]));
			rf = RESULT(fs_shutdown(f, hows[i]));
			CHECK(rn.ret == rf.ret && rn.err == rf.err, ": how %d", hows[i]);
			CHECK(info_of(n).tcpi_state == info_of(f).tcpi_state,
			      ": how %d: native state %d, ioctl state %d", hows[i],
			      info_of(n).tcpi_state, info_of(f).tcpi_state);
			rn = RESULT(connect_to(family, port_of(n)));
			rf = RESULT(connect_to(family, port_of(f)));
			CHECK((rn.ret < 0) == (rf.ret < 0) && rn.err == rf.err,
			      ": how %d", hows[i]);
			close(rn.ret);
			close(rf.ret);
			close(n);
			close(f);
		}
		for (int kind = 0, fd; (fd = odd_file(kind)) != -2; kind++) {
			int fd2 = odd_file(kind);
			struct result rn = RESULT(shutdown(fd, hows[i]));
			struct result rf = RESULT(fs_shutdown(fd2, hows[i]));

			CHECK(rn.ret == rf.ret && rn.err == rf.err,
			      ": kind %d how %d: native %ld (%d), ioctl %ld (%d)",
			      kind, hows[i], rn.ret, rn.err, rf.ret, rf.err);
			close(fd);
			close(fd2);
		}
	}
	return 0;
}

static int shutdown_reopens(void)
{
	for_each_family(family) {
		int l = attached_listener(family, 0), c, conn;
		unsigned int port = port_of(l);

		CHECK(!fs_shutdown(l, SHUT_RDWR));
		CHECK_FAILS(connect_to(family, port), ECONNREFUSED);
		CHECK_FAILS(fs_accept(l, NULL, NULL, 0), EINVAL);
		CHECK(!fs_listen(l, 5));
		/* A port that the kernel chose is given up by the shutdown. */
		c = connect_to(family, port_of(l));
		CHECK(c >= 0, ": listens again");
		conn = fs_accept(l, NULL, NULL, 0);
		CHECK(conn >= 0);
		close(c);
		close(conn);
		close(l);
	}
	return 0;
}

/*
 * A listener that was attached and became a connection to an IPv4 address keeps our
 * operations: as an IPv4 socket it would have the kernel's, and its end be missed.
 */
static int addrform_refused(void)
{
	struct fsocket_ioctl_arg arg = { .backlog = 8 };
	struct sockaddr_in6 to = { .sin6_family = AF_INET6 };
	int v4 = AF_INET, peer = bound_socket(AF_INET, 0);

	arg.fd = socket(AF_INET6, SOCK_STREAM, 0);
	CHECK(peer >= 0 && (int)arg.fd >= 0);
	CHECK(!listen(peer, 8));
	CHECK(!ioctl(dev, FSOCKET_IOC_LISTEN, &arg));
	CHECK_FAILS(setsockopt(arg.fd, SOL_IPV6, IPV6_ADDRFORM, &v4, sizeof(v4)), ENOTCONN);
	CHECK(!shutdown(arg.fd, SHUT_RD));
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to.sin6_addr);
	to.sin6_port = htons(port_of(peer));
	CHECK(!connect(arg.fd, (void *)&to, sizeof(to)));
	CHECK_FAILS(setsockopt(arg.fd, SOL_IPV6, IPV6_ADDRFORM, &v4, sizeof(v4)), EOPNOTSUPP);
	CHECK_FAILS(setsockopt(arg.fd, SOL_IPV6, IPV6_ADDRFORM, &v4, 1), EINVAL);
	close(arg.fd);
	close(peer);
	return 0;
}

/* A worker that waits when somebody else ends the listener; SIGALRM: nobody has woken it. */
struct waiting {
	int fd;
	bool attach, poll;
};

static int wait_for_the_end(const struct waiting *w)
{
	struct pollfd p = { .fd = w->fd, .events = POLLIN };

	CHECK(!w->attach || !fs_spawn(w->fd, -1));
	alarm(10);
	if (w->poll)
		CHECK(poll(&p, 1, -1) == 1 && p.revents & POLLHUP, ": events %#x", p.revents);
	else
		CHECK_FAILS(accept(w->fd, NULL, NULL), EINVAL);
	return 0;
}

static int killed_by_ss(int family, bool attach)
{
	int l = bound_socket(family, 0), status;
	char command[80];
	pid_t pid[2];

	CHECK(l >= 0 && !(attach ? fs_listen(l, 8) : listen(l, 8)));
	for (int i = 0; i < 2; i++) {
		struct waiting w = { .fd = l, .attach = attach, .poll = i };

		pid[i] = fork();
		if (!pid[i])
			_exit(wait_for_the_end(&w));
	}
	usleep(500000);
	snprintf(command, sizeof(command), "ss -K state listening sport = :%u", port_of(l));
	CHECK(!system(command));
	for (int i = 0; i < 2; i++)
		CHECK(waitpid(pid[i], &status, 0) == pid[i] && !status, ": %s, attached %d: %#x",
		      i ? "poll" : "accept", attach, status);
	close(l);
	return 0;
}

static int killed_wakes(void)
{
	for (int attach = 0; attach < 2; attach++)
		for_each_family(family)
			CHECK(!killed_by_ss(family, attach));
	return 0;
}

/* What is accepted from a clone is the kernel's: its operations may be changed. */
static int accept_and_change(void *arg)
{
	int l = *(int *)arg, v4 = AF_INET, conn, client;
	long local = stats_column("local");

	CHECK(!fs_spawn(l, -1));
	for (int i = 0; i < 2; i++) {
		client = connect_to(AF_INET, port_of(l));
		CHECK(client >= 0);
		conn = accept(l, NULL, NULL);
		CHECK(conn >= 0);
		if (i) {
			CHECK(!setsockopt(conn, SOL_TCP, TCP_ULP, "tls", 4));
		} else {
			CHECK(!setsockopt(conn, SOL_IPV6, IPV6_ADDRFORM, &v4, sizeof(v4)));
			CHECK(get_int(conn, SOL_SOCKET, SO_DOMAIN) == AF_INET);
		}
		close(client);
		close(conn);
	}
	CHECK(stats_column("local") == local + 2);
	return 0;
}

static int accepted_are_stock(void)
{
	struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT };
	int l = socket(AF_INET6, SOCK_STREAM, 0);

	CHECK(l >= 0 && !bind(l, (void *)&any, sizeof(any)) && !fs_listen(l, 8));
	CHECK(!in_child(accept_and_change, &l));
	close(l);
	return 0;
}

/*
 * setsockopt() that has entered the kernel and waits there for its value: a page
 * that is not there, until late_finish() puts it there.
 */
static struct late {
	pthread_t thread;
	int fd, level, name, uffd, error;
	unsigned int len;
	char *page;
} late;

static void *late_setsockopt(void *arg)
{
	struct late *l = arg;

	l->error = setsockopt(l->fd, l->level, l->name, l->page, l->len) ? errno : 0;
	return NULL;
}

static int late_start(int fd, int level, int name, unsigned int len)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct uffd_msg msg;

	late = (struct late){ .fd = fd, .level = level, .name = name, .len = len };
	late.page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	late.uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	reg.range.start = (unsigned long)late.page;
	reg.range.len = 4096;
	CHECK(late.page != MAP_FAILED && late.uffd >= 0);
	CHECK(!ioctl(late.uffd, UFFDIO_API, &api) && !ioctl(late.uffd, UFFDIO_REGISTER, &reg));
	CHECK(!pthread_create(&late.thread, NULL, late_setsockopt, &late));
	CHECK(read(late.uffd, &msg, sizeof(msg)) == sizeof(msg));
	CHECK(msg.event == UFFD_EVENT_PAGEFAULT);
	return 0;
}

/* its error is in late.error */
static int late_finish(const void *value)
{
	static char page[4096] __attribute__((aligned(4096)));
	struct uffdio_copy copy = {
		.dst = (unsigned long)late.page, .src = (unsigned long)page, .len = sizeof(page),
	};

	memcpy(page, value, late.len);
	CHECK(!ioctl(late.uffd, UFFDIO_COPY, &copy));
	CHECK(!pthread_join(late.thread, NULL));
	munmap(late.page, 4096);
	close(late.uffd);
	return 0;
}

/* Listen, end that, connect: what a late setsockopt() then finds is a connection. */
static int become_connection(int fd, int family, int port, bool attach)
{
	struct sockaddr_in6 to6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET6, "::ffff:127.0.0.1", &to6.sin6_addr);
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHECK(!(attach ? fs_listen(fd, 8) : listen(fd, 8)));
	CHECK(!shutdown(fd, SHUT_RD));
	CHECK(!connect(fd, family == AF_INET6 ? (void *)&to6 : (void *)&to,
		       family == AF_INET6 ? sizeof(to6) : sizeof(to)));
	return 0;
}

static int late_option(int family, int level, int name, const void *value, unsigned int len,
		       bool attach, int error)
{
	int peer = bound_socket(AF_INET, 0), fd = socket(family, SOCK_STREAM, 0);
	char ulp[16];
	socklen_t ulp_len = sizeof(ulp);

	CHECK(peer >= 0 && fd >= 0 && !listen(peer, 8));
	CHECK(!late_start(fd, level, name, len));
	CHECK(!become_connection(fd, family, port_of(peer), attach));
	CHECK(!late_finish(value));
	CHECK(late.error == error, ": option %d of level %d, attached %d: %s", name, level, attach,
	      strerror(late.error));
	CHECK(!getsockopt(fd, SOL_TCP, TCP_ULP, ulp, &ulp_len));
	CHECK(attach ? !ulp_len : true, ": a ULP is seen, %u characters", ulp_len);
	close(fd);
	close(peer);
	return 0;
}

/*
 * Options that replace the operations of a connection, by a thread that was in the
 * kernel before the socket was attached.
 */
static int late_options_refused(void)
{
	int v4 = AF_INET;

	for (int attach = 0; attach < 2; attach++) {
		CHECK(!late_option(AF_INET6, SOL_IPV6, IPV6_ADDRFORM, &v4, sizeof(v4), attach,
				   attach ? EBUSY : 0));
		for_each_family(family)
			CHECK(!late_option(family, SOL_TCP, TCP_ULP, "tls", 4, attach,
					   attach ? EEXIST : 0));
	}
	return 0;
}

/* ---- SPAWN_LISTEN ---- */

/* Become the worker of a CPU and serve a connection that arrives there. */

struct spawn {
	int fd, cpu, family;
};

static int serve_on_cpu(void *arg)
{
	struct spawn *s = arg;
	unsigned int port = port_of(s->fd);
	char cpu[16];
	pid_t pid;
	int conn, status, at;
	long redirected, local;

	CHECK(!fs_spawn(s->fd, s->cpu));
	at = only_cpu();
	CHECK(s->cpu < 0 ? at >= 0 : at == s->cpu, ": runs on %d", at);
	snprintf(cpu, sizeof(cpu), "%d", at);
	CHECK(listener_rows(port, cpu, getpid()) == 1);
	CHECK(!fs_spawn(s->fd, s->cpu), ": a second time");
	CHECK(listener_rows(port, cpu, getpid()) == 1);

	redirected = stats_column("redirected");
	local = stats_column("local");
	pid = fork();
	if (!pid) {
		/* The SYN of a connection over loopback arrives where it is sent. */
		if (bind_to_cpu(at))
			_exit(2);
		_exit(connect_to(s->family, port) < 0);
	}
	conn = fs_accept(s->fd, NULL, NULL, 0);
	CHECK(conn >= 0);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	CHECK(stats_column("redirected") == redirected + 1);
	CHECK(stats_column("local") == local + 1);
	close(conn);
	return 0;
}

static int each_cpu(int (*check)(void *), bool with_any)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for_each_family(family) {
		for (int cpu = with_any ? -1 : 0; cpu < cpus; cpu++) {
			struct spawn s = { attached_listener(family, 0), cpu, family };

			CHECK(s.fd >= 0);
			CHECK(!in_child(check, &s), ": family %d cpu %d", family, cpu);
			close(s.fd);
		}
	}
	return 0;
}

static int spawn_binds(void)
{
	return each_cpu(serve_on_cpu, true);
}

/* Workers that let the module choose get CPUs of their own. */
static int spawn_any_spreads(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for_each_family(family) {
		int l = attached_listener(family, 0), go[2];
		char cpu[16];

		CHECK(!pipe(go));
		for (int i = 0; i < cpus; i++) {
			pid_t pid = fork();
			int at = -1;

			if (!pid) {
				close(go[0]);
				if (!fs_spawn(l, -1))
					at = only_cpu();
				if (write(go[1], &at, sizeof(at)) != sizeof(at))
					_exit(1);
				pause();
			}
			CHECK(read(go[0], &at, sizeof(at)) == sizeof(at) && at >= 0);
			snprintf(cpu, sizeof(cpu), "%d", at);
			CHECK(listener_rows(port_of(l), cpu, pid) == 1);
		}
		for (int i = 0; i < cpus; i++) {
			snprintf(cpu, sizeof(cpu), "%d", i);
			CHECK(listener_rows(port_of(l), cpu, 0) == 1, ": cpu %d", i);
		}
		CHECK(clone_rows(port_of(l)) == cpus);
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		signal(SIGTERM, SIG_DFL);
		while (wait(NULL) > 0)
			;
		close(go[0]);
		close(go[1]);
		close(l);
	}
	return 0;
}

static int affinity_is(const cpu_set_t *want)
{
	cpu_set_t now;

	return !sched_getaffinity(0, sizeof(now), &now) && CPU_EQUAL(&now, want);
}

static int two_cpus_only(void *arg)
{
	struct spawn *s = arg;
	cpu_set_t two;

	CPU_ZERO(&two);
	CPU_SET(0, &two);
	CPU_SET(1, &two);
	CHECK(!sched_setaffinity(0, sizeof(two), &two));
	CHECK_FAILS(fs_spawn(s->fd, 2), EINVAL);
	CHECK_FAILS(fs_spawn(s->fd, 3), EINVAL);
	CHECK(affinity_is(&two), ": a refused call binds nobody");
	CHECK(clone_rows(port_of(s->fd)) == 0);
	CHECK(!fs_spawn(s->fd, -1));
	CHECK(only_cpu() == 0 || only_cpu() == 1);
	return 0;
}

static int bound_task(void *arg)
{
	struct spawn *s = arg;
	int other = (s->cpu + 1) % sysconf(_SC_NPROCESSORS_ONLN);
	char cpu[16];

	CHECK(!bind_to_cpu(s->cpu));
	CHECK_FAILS(fs_spawn(s->fd, other), EINVAL);
	CHECK(only_cpu() == s->cpu && clone_rows(port_of(s->fd)) == 0);
	CHECK(!fs_spawn(s->fd, -1));
	CHECK(only_cpu() == s->cpu);
	snprintf(cpu, sizeof(cpu), "%d", s->cpu);
	CHECK(listener_rows(port_of(s->fd), cpu, getpid()) == 1);
	CHECK(!fs_spawn(s->fd, s->cpu));
	CHECK_FAILS(fs_spawn(s->fd, other), EINVAL);
	CHECK(only_cpu() == s->cpu);
	return 0;
}

static int spawn_respects_affinity(void)
{
	for_each_family(family) {
		struct spawn s = { attached_listener(family, 0), -1, family };

		CHECK(!in_child(two_cpus_only, &s));
		close(s.fd);
	}
	return each_cpu(bound_task, false);
}

static int impossible_cpus(void *arg)
{
	struct spawn *s = arg;
	const int bad[] = { sysconf(_SC_NPROCESSORS_CONF), 1 << 13, 1 << 20,
			    INT_MAX, -2, INT_MIN };
	cpu_set_t before;

	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(int); i++)
		CHECK_FAILS(fs_spawn(s->fd, bad[i]), EINVAL);
	CHECK(affinity_is(&before));
	CHECK(clone_rows(port_of(s->fd)) == 0);
	return 0;
}

static int spawn_impossible_cpu(void)
{
	for_each_family(family) {
		struct spawn s = { attached_listener(family, 0), -1, family };

		CHECK(!in_child(impossible_cpus, &s));
		close(s.fd);
	}
	return 0;
}

/* The last CPU is offline (the caller's business). */
static int spawn_offline_cpu(void)
{
	int last = sysconf(_SC_NPROCESSORS_CONF) - 1;

	CHECK(sysconf(_SC_NPROCESSORS_ONLN) == last);
	for_each_family(family) {
		int l = attached_listener(family, 0);

		CHECK_FAILS(fs_spawn(l, last), EINVAL);
		CHECK(clone_rows(port_of(l)) == 0);
		close(l);
	}
	return 0;
}

static int attach_by_spawn(void *arg)
{
	struct spawn *s = arg;

	CHECK(listener_rows(port_of(s->fd), NULL, 0) == 0);
	return serve_on_cpu(s);
}

static int spawn_attaches(void)
{
	for_each_family(family) {
		struct spawn s = { bound_socket(family, 0), -1, family };

		CHECK(!listen(s.fd, 16));
		CHECK(!in_child(attach_by_spawn, &s));
		CHECK(listener_rows(port_of(s.fd), "-", 0) == 1);
		close(s.fd);
	}
	return 0;
}

static int spawn_needs_listener(void)
{
	static const int errors[] = {
		[0] = EBADF, [1] = EBADF, [2] = ENOTSOCK, [3] = EBADF,
		[4] = ENOTSOCK, [5] = EOPNOTSUPP, [6] = EOPNOTSUPP,
		[7] = EOPNOTSUPP, [8] = EOPNOTSUPP, [9] = EOPNOTSUPP,
		[10] = EOPNOTSUPP, [11] = EINVAL, [12] = EINVAL,
		[13] = EOPNOTSUPP, [14] = EOPNOTSUPP, [15] = ENOTSOCK,
		[16] = EBADF,
	};
	cpu_set_t before;

	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	for (int kind = 0, fd; (fd = odd_file(kind)) != -2; kind++) {
		struct result r = RESULT(fs_spawn(fd, 0));

		CHECK(r.ret == -1 && r.err == errors[kind],
		      ": kind %d: %ld (%d), wanted errno %d", kind, r.ret, r.err,
		      errors[kind]);
		close(fd);
	}
	for_each_family(family) {
		int fd = bound_socket(family, 0);

		CHECK_FAILS(fs_spawn(fd, 0), EINVAL);
		CHECK_FAILS(fs_spawn(fd, -1), EINVAL);
		CHECK(!fs_listen(fd, 4) && !shutdown(fd, SHUT_RDWR));
		CHECK_FAILS(fs_spawn(fd, -1), EINVAL);
		close(fd);
	}
	CHECK(affinity_is(&before));
	return 0;
}

static int unbound_in_mode1(void *arg)
{
	struct spawn *s = arg;
	cpu_set_t before;

	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	CHECK_FAILS(fs_spawn(s->fd, -1), EINVAL);
	CHECK_FAILS(fs_spawn(s->fd, 0), EINVAL);
	CHECK(affinity_is(&before));
	CHECK(clone_rows(port_of(s->fd)) == 0);
	return 0;
}

static int bound_and_serving(void *arg)
{
	struct spawn *s = arg;

	CHECK(!bind_to_cpu(s->cpu));
	return serve_on_cpu(s);
}

static int spawn_in_mode1(void)
{
	for_each_family(family) {
		struct spawn s = { attached_listener(family, 0), -1, family };

		CHECK(!in_child(unbound_in_mode1, &s));
		close(s.fd);
	}
	return each_cpu(bound_task, false) || each_cpu(bound_and_serving, false);
}

static int spawn_in_mode0(void)
{
	for_each_family(family) {
		int l = attached_listener(family, 0);

		CHECK(l >= 0, ": LISTEN works in every mode");
		CHECK_FAILS(fs_spawn(l, -1), EOPNOTSUPP);
		CHECK_FAILS(fs_spawn(l, 0), EOPNOTSUPP);
		CHECK(clone_rows(port_of(l)) <= 0);
		close(l);
	}
	return 0;
}

/* ---- SPAWN_ALL_LISTEN ---- */

static int spawn_all(void *arg)
{
	int *fd = arg, at;
	char cpu[16];

	CHECK(!fs_spawn_all());
	at = only_cpu();
	CHECK(at >= 0, ": bound");
	snprintf(cpu, sizeof(cpu), "%d", at);
	for (int i = 0; i < 4; i++)
		CHECK(listener_rows(port_of(fd[i]), cpu, getpid()) == 1, ": listener %d", i);
	CHECK(listener_rows(port_of(fd[4]), NULL, 0) == 0, ": a native listener stays native");
	return 0;
}

static int spawn_all_listeners(void)
{
	int fd[5], closed, dup_fd;

	for (int i = 0; i < 4; i++) {
		fd[i] = attached_listener(families[i % 2], 0);
		CHECK(fd[i] >= 0);
	}
	fd[4] = bound_socket(AF_INET, 0);
	CHECK(!listen(fd[4], 4));
	closed = attached_listener(AF_INET, 0);
	close(closed);
	dup_fd = fcntl(fd[0], F_DUPFD, 500);
	CHECK(dup_fd >= 500, ": a second number of the same socket");
	CHECK(!in_child(spawn_all, fd));
	return 0;
}

static int spawn_all_without_listener(void)
{
	cpu_set_t before;

	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	CHECK(!fs_spawn_all());
	CHECK(affinity_is(&before), ": nothing to serve, nobody bound");
	return 0;
}

/* ---- the call itself ---- */

static int unknown_numbers(void)
{
	struct fsocket_ioctl_arg arg = { 0 };
	static const unsigned int dirs[] = { _IOC_NONE, _IOC_READ, _IOC_WRITE,
					     _IOC_READ | _IOC_WRITE };

	for (unsigned int d = 0; d < 4; d++) {
		for (unsigned int nr = 0; nr < 256; nr++) {
			for (unsigned int size = 0; size <= 8; size += 8) {
				unsigned int cmd = _IOC(dirs[d], FSOCKET_IOC_ID, nr, size);

				if (cmd >= FSOCKET_IOC_SOCKET && nr <= 8 && nr != 5 &&
				    !d && !size && nr)
					continue;
				if (cmd == FSOCKET_IOC_ENROL)
					continue;
				CHECK_FAILS(ioctl(dev, cmd, &arg), ENOTTY);
				CHECK_FAILS(ioctl(dev, cmd, NULL), ENOTTY);
			}
		}
	}
	for (unsigned int type = 0; type < 256; type++)
		if (type != FSOCKET_IOC_ID && type != 'T' && type != 'f' && type != 'X' && type)
			CHECK_FAILS(ioctl(dev, _IO(type, 2), &arg), ENOTTY);
	CHECK_FAILS(ioctl(dev, TIOCGWINSZ, &arg), ENOTTY);
	return 0;
}

static const unsigned int with_argument[] = {
	FSOCKET_IOC_SOCKET, FSOCKET_IOC_LISTEN, FSOCKET_IOC_ACCEPT,
	FSOCKET_IOC_CLOSE, FSOCKET_IOC_SPAWN_LISTEN, FSOCKET_IOC_SHUTDOWN_LISTEN,
	FSOCKET_IOC_ENROL,
};

static int bad_pointers(void)
{
	void *guard = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int before = open_fds();
	void *const bad[] = {
		NULL, (void *)1, guard, (void *)-1L, (void *)-4096L,
		/* in a 64-bit address space: the kernel's half, and no canonical address */
		(void *)(unsigned long)0xffff888000000000ULL,
		(void *)(unsigned long)0x0000800000000000ULL,
		(void *)(unsigned long)0x1234567800000000ULL,
	};

	CHECK(guard != MAP_FAILED);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (unsigned int c = 0; c < sizeof(with_argument) / sizeof(int); c++)
			CHECK_FAILS(ioctl(dev, with_argument[c], bad[i]), EFAULT);
	CHECK(open_fds() == before);
	munmap(guard, 4096);
	return 0;
}

/* Thousands of calls that fail leave no descriptor behind. */
static int failed_calls_leave_nothing(void)
{
	int l = attached_listener(AF_INET6, SOCK_NONBLOCK), before = open_fds();
	int one = other_file();

	for (int i = 0; i < 300; i++) {
		fs_accept(l, NULL, NULL, 0);
		fs_accept(l, NULL, NULL, 0x1234);
		fs_socket(9999, 1, 0);
		for (unsigned int c = 0; c < sizeof(with_argument) / sizeof(int); c++) {
			struct fsocket_ioctl_arg arg = { .fd = 600 + i };

			arg.op.socket_op.family = 9999;
			ioctl(dev, with_argument[c], NULL);
			ioctl(dev, with_argument[c], &arg);
			if (with_argument[c] != FSOCKET_IOC_CLOSE) {
				arg.fd = one;
				ioctl(dev, with_argument[c], &arg);
			}
		}
		fs_spawn(l, 4096);
		fs_spawn(one, 0);
		ioctl(dev, _IO(FSOCKET_IOC_ID, 0x05), &l);
		ioctl(dev, _IO(FSOCKET_IOC_ID, 0x30), &l);
	}
	close(one);
	CHECK(open_fds() == before);
	return 0;
}

static int one_round(void *arg)
{
	int family = *(int *)arg;

	for (int i = 0; i < 50; i++) {
		struct spawn s = { attached_listener(family, 0), -1, family };
		int c, conn;

		CHECK(s.fd >= 0 && !fs_spawn(s.fd, -1));
		c = connect_to(family, port_of(s.fd));
		conn = fs_accept(s.fd, NULL, NULL, 0);
		CHECK(c >= 0 && conn >= 0);
		CHECK(!fs_close(c) && !fs_close(conn) && !fs_close(s.fd));
	}
	return 0;
}

static int good_calls_leave_nothing(void)
{
	for_each_family(family)
		for (int i = 0; i < 8; i++)
			CHECK(!in_child(one_round, &family));
	return 0;
}

/* Sizes and places that the original's programs were compiled with. */
static int fs_enrol(int pid, unsigned int flags)
{
	struct fsocket_ioctl_arg arg = { .fd = -1U };

	arg.op.enrol_op.pid = pid;
	arg.op.enrol_op.flags = flags;
	return ioctl(dev, FSOCKET_IOC_ENROL, &arg);
}

/* Return: whether a listener that is made by listen() is attached; -1: an error. */
static int listens_attached(int family)
{
	int fd = bound_socket(family, 0), rows;

	if (fd < 0 || listen(fd, 8))
		return -1;
	rows = listener_rows(port_of(fd), "-", 0);
	close(fd);
	return rows == 1;
}

static int enrols_itself(void)
{
	for_each_family(family) {
		CHECK(listens_attached(family) == 0);
		CHECK(!fs_enrol(0, 0));
		CHECK(!fs_enrol(getpid(), 0));
		CHECK(listens_attached(family) == 1);
		CHECK(!fs_enrol(0, FSOCKET_ENROL_OFF));
		CHECK(!fs_enrol(getpid(), FSOCKET_ENROL_OFF));
		CHECK(listens_attached(family) == 0);
	}
	CHECK_FAILS(fs_enrol(0, 4), EINVAL);
	CHECK_FAILS(fs_enrol(0, 0x80000000U), EINVAL);
	CHECK_FAILS(fs_enrol(-1, 0), ESRCH);
	CHECK_FAILS(fs_enrol(2, 0), EINVAL);
	CHECK_FAILS(fs_enrol(0, FSOCKET_ENROL_CGROUP), EBADF);
	return 0;
}

static int layout(void)
{
	struct fsocket_ioctl_arg *a = NULL;

	CHECK((size_t)&a->backlog == 4 && (size_t)&a->op == 8);
	CHECK((size_t)&a->op.accept_op.flags == 8 + 2 * sizeof(void *));
	CHECK(sizeof(*a) == (sizeof(void *) == 8 ? 32 : 28));
	CHECK(FSOCKET_IOC_SOCKET == 0xf501 && FSOCKET_IOC_SPAWN_ALL_LISTEN == 0xf508);
	CHECK((size_t)&a->op.enrol_op.flags == 12 && FSOCKET_IOC_ENROL == 0xf510);
	return 0;
}

#define CASE(name) { #name, name }

static const struct {
	const char *name;
	int (*run)(void);
} cases[] = {
	CASE(socket_as_native), CASE(socket_serves),
	CASE(listen_attaches), CASE(listen_backlog),
	CASE(listen_fails_as_native), CASE(listen_passes_others),
	CASE(accept_returns_peer), CASE(accept_flags),
	CASE(accept_fails_as_native), CASE(accept_bad_address), CASE(accept_blocks),
	CASE(close_closes),
	CASE(shutdown_as_native), CASE(shutdown_reopens), CASE(addrform_refused),
	CASE(killed_wakes), CASE(accepted_are_stock), CASE(late_options_refused),
	CASE(spawn_binds), CASE(spawn_any_spreads), CASE(spawn_respects_affinity),
	CASE(spawn_impossible_cpu), CASE(spawn_offline_cpu), CASE(spawn_attaches),
	CASE(spawn_needs_listener), CASE(spawn_in_mode1), CASE(spawn_in_mode0),
	CASE(spawn_all_listeners), CASE(spawn_all_without_listener),
	CASE(unknown_numbers), CASE(bad_pointers),
	CASE(failed_calls_leave_nothing), CASE(good_calls_leave_nothing),
	CASE(layout), CASE(enrols_itself),
};

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	setpgid(0, 0);
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	for (unsigned int i = 0; argc == 2 && i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (strcmp(argv[1], cases[i].name))
			continue;
		if (dev < 0) {
			perror(DEVICE);
			return 1;
		}
		return cases[i].run();
	}
	fprintf(stderr, "usage: ioctl_abi CASE\n");
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		fprintf(stderr, "  %s\n", cases[i].name);
	return 2;
}
