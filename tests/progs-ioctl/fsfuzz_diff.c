// SPDX-License-Identifier: GPL-2.0
/*
 * The differential mode of fsfuzz
 *
 * A program of one task is run on native listeners and on attached ones, each
 * time in a process of its own, and writes down every result, errno and output.
 * Both must have written the same. What differs anyway is written down in other
 * words: ports are those of a socket of the program, the order in which pending
 * connections are accepted (nobody promises one), times and cookies.
 *
 * The task is one: what it must see, it must see at once. Only after it has
 * forked workers that are gone the module may take some time.
 */
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/time.h>

#include "fsfuzz.h"

/**
 * enum how - how the listeners of a run come under the module
 * @NATIVE: they do not
 * @ATTACHED: FSOCKET_IOC_LISTEN is called for listen()
 * @SPAWNED: and SPAWN_LISTEN after it
 * @LATE: LISTEN is called after listen()
 * @IOCTLS: all calls that have an ioctl are that
 */
enum how { NATIVE, ATTACHED, SPAWNED, LATE, IOCTLS, NR_HOWS };

static const char * const how_names[] = { "native", "attached", "spawned", "attached late",
					  "ioctls" };

#define LISTENERS_MAX	2
#define CLIENTS		6
#define FIRST_FD	300	/* far above what calls return */
#define LOG_SIZE	(512 * 1024)

/**
 * struct run - a program that is being run; shared with the children it forks
 * @how: see enum how
 * @strict: nobody else has been a worker
 * @patience: how long to wait for what must come
 * @pending: connections of each listener that are established and not accepted
 * @to: the listener that a client is connected to, or -1
 * @used: length of @log
 * @log: what it has written down
 */
struct run {
	enum how how;
	bool strict;
	int patience;
	int pending[LISTENERS_MAX];
	int to[CLIENTS];
	size_t used;
	char log[LOG_SIZE];
};

static struct run *run;
static struct rng *rg;
static int dev, ep;

/* The fixed descriptors of a program. */
static int listener(int i) { return FIRST_FD + i; }
static int client(int i) { return FIRST_FD + 10 + i; }
static int server(int i) { return FIRST_FD + 20 + i; }

static int any_listener(void) { return below(rg, 3) ? 0 : below(rg, LISTENERS_MAX); }
static int any_client(void) { return below(rg, CLIENTS); }

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void note(const char *fmt, ...)
{
	size_t room = LOG_SIZE - run->used;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(run->log + run->used, room, fmt, ap);
	va_end(ap);
	if (n > 0 && (size_t)n < room)
		run->used += n;
}

static void note_result(long ret, int err)
{
	note(" = %ld%s%s\n", ret, ret < 0 ? " " : "", ret < 0 ? error_name(err) : "");
}

#define NOTE(ret) do { long note_ret = (ret); note_result(note_ret, errno); } while (0)

static void note_bytes(const void *p, size_t len)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < len; i++)
		note("%02x", b[i]);
}

/* Output in a buffer that was full of these: what is left of them at its end is not shown. */
#define UNTOUCHED 0xa5

static void note_output(const unsigned char *p, size_t len)
{
	while (len && p[len - 1] == UNTOUCHED)
		len--;
	note_bytes(p, len);
}

static const char *fd_name(int fd)
{
	static char name[4][24];
	static int next;
	char *s = name[next++ % 4];

	if (fd >= server(0))
		snprintf(s, sizeof(name[0]), "server%d", fd - server(0));
	else if (fd >= client(0))
		snprintf(s, sizeof(name[0]), "client%d", fd - client(0));
	else
		snprintf(s, sizeof(name[0]), "listener%d", fd - FIRST_FD);
	return s;
}

static int any_fd(void)
{
	switch (below(rg, 4)) {
	case 0: return client(any_client());
	case 1: return server(any_client());
	default: return listener(any_listener());
	}
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int int_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? -1 : value;
}

static bool listens(int fd) { return int_option(fd, SOL_SOCKET, SO_ACCEPTCONN) == 1; }

static bool connected(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	return !getpeername(fd, (void *)&sa, &len);
}

/* A new descriptor gets its place, so that all numbers are the same in all runs. */
static void keep(int fd, int place)
{
	if (fd < 0)
		return;
	dup2(fd, place);
	close(fd);
}

/* Whose port is this? */
static void note_port(unsigned int port)
{
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (port && port_of(listener(i)) == port) {
			note("port of listener%d", i);
			return;
		}
	for (int i = 0; i < CLIENTS; i++)
		if (port && port_of(client(i)) == port) {
			note("port of client%d", i);
			return;
		}
	note(port ? "a port" : "port 0");
}

static unsigned int port_in(const struct sockaddr_storage *sa)
{
	return ntohs(((const struct sockaddr_in *)sa)->sin_port);
}

static void note_address(const struct sockaddr_storage *given, socklen_t len)
{
	struct sockaddr_storage sa = *given;

	note(" len %u family %d ", len, sa.ss_family);
	if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6) {
		note_port(port_in(&sa));
		((struct sockaddr_in *)&sa)->sin_port = 0;
		note(" ");
	}
	note_bytes(&sa, len < 28 ? len : 28);
}

/* ---- calls that differ between runs ---- */

static struct fsocket_ioctl_arg arg_for(int fd)
{
	return (struct fsocket_ioctl_arg){ .fd = fd };
}

static int do_socket(int family, int type, int protocol)
{
	struct fsocket_ioctl_arg arg = arg_for(0);

	if (run->how != IOCTLS)
		return socket(family, type, protocol);
	arg.op.socket_op.family = family;
	arg.op.socket_op.type = type;
	arg.op.socket_op.protocol = protocol;
	return ioctl(dev, FSOCKET_IOC_SOCKET, &arg);
}

static void do_spawn(int fd)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);
	int saved = errno;

	arg.op.spawn_op.cpu = -1;
	ioctl(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg);
	errno = saved;
}

static int do_listen(int fd, int backlog)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);
	int ret = 0;

	arg.backlog = backlog;
	if (run->how == NATIVE || run->how == LATE)
		ret = listen(fd, backlog);
	if (run->how != NATIVE && !ret)
		ret = ioctl(dev, FSOCKET_IOC_LISTEN, &arg);
	if (run->how == SPAWNED && !ret)
		do_spawn(fd);
	return ret;
}

static int do_accept(int fd, void *sa, void *len, int flags)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	if (run->how != IOCTLS)
		return accept4(fd, sa, len, flags);
	arg.op.accept_op.sockaddr = sa;
	arg.op.accept_op.sockaddr_len = len;
	arg.op.accept_op.flags = flags;
	return ioctl(dev, FSOCKET_IOC_ACCEPT, &arg);
}

static int do_shutdown(int fd, int how)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	if (run->how != IOCTLS)
		return shutdown(fd, how);
	arg.op.shutdown_op.how = how;
	return ioctl(dev, FSOCKET_IOC_SHUTDOWN_LISTEN, &arg);
}

static int do_close(int fd)
{
	struct fsocket_ioctl_arg arg = arg_for(fd);

	return run->how == IOCTLS ? ioctl(dev, FSOCKET_IOC_CLOSE, &arg) : close(fd);
}

/* ---- the life of a listener ---- */

static void op_socket(void)
{
	int i = any_listener(), family = ONE_OF(rg, families);
	long fd;

	if (is_open(listener(i)))
		return;
	note("socket listener%d family %d", i, family);
	fd = do_socket(family, SOCK_STREAM | SOCK_NONBLOCK | (chance(rg, 3) ? SOCK_CLOEXEC : 0), 0);
	NOTE(fd);
	keep(fd, listener(i));
	run->pending[i] = 0;
}

static int family_of(int fd)
{
	int family = int_option(fd, SOL_SOCKET, SO_DOMAIN);

	return family < 0 ? AF_INET : family;
}

static void op_bind(void)
{
	static const int exotic[] = { AF_UNSPEC, AF_UNIX, AF_INET, AF_INET6 };
	int i = any_listener(), other = chance(rg, 8);
	struct sockaddr_storage sa;
	socklen_t len;

	len = loopback(family_of(listener(i)), 0, &sa);
	note("bind listener%d", i);
	if (chance(rg, 3))
		memset(&((struct sockaddr_in6 *)&sa)->sin6_addr, 0, 16);
	if (chance(rg, 12))
		len = below(rg, sizeof(sa));
	if (chance(rg, 12))
		sa.ss_family = ONE_OF(rg, exotic);
	/* Not into a group: which of its members gets a connection is the hash's choice. */
	if (other && int_option(listener(i), SOL_SOCKET, SO_REUSEPORT) != 1) {
		((struct sockaddr_in *)&sa)->sin_port =
			htons(port_of(listener(below(rg, LISTENERS_MAX))));
		note(" to the port of a listener");
	}
	note(" family %d len %u", sa.ss_family, len);
	NOTE(bind(listener(i), (void *)&sa, len));
}

static void op_listen(void)
{
	static const int backlogs[] = { 0, 1, 2, 5, 16, 128, 0x7fffffff, -1, (int)0x80000000 };
	int i = any_listener(), backlog = ONE_OF(rg, backlogs);

	note("listen listener%d %d", i, backlog);
	NOTE(do_listen(listener(i), backlog));
}

static void op_shutdown(void)
{
	int fd = any_fd(), how = (int)below(rg, 5) - 1;

	note("shutdown %s %d", fd_name(fd), how);
	NOTE(do_shutdown(fd, how));
	if (fd < client(0) && !listens(fd))
		run->pending[fd - FIRST_FD] = 0;
}

static void op_close(void)
{
	int fd = any_fd();

	note("close %s", fd_name(fd));
	NOTE(do_close(fd));
	if (fd < client(0))
		run->pending[fd - FIRST_FD] = 0;
	else if (fd < server(0))
		run->to[fd - client(0)] = -1;
}

/* A listener becomes a connection, or a socket that is nothing. */
static void op_connect_listener(void)
{
	int i = any_listener();
	struct sockaddr_storage sa;
	struct pollfd p = { .fd = listener(i), .events = POLLOUT };
	socklen_t len;

	len = loopback(family_of(listener(i)), port_of(listener(!i)), &sa);
	if (chance(rg, 2))
		sa.ss_family = AF_UNSPEC;
	else if (!listens(listener(!i)))
		return;
	if (sa.ss_family == AF_INET6 && family_of(listener(!i)) == AF_INET)
		((struct sockaddr_in6 *)&sa)->sin6_addr =
			(struct in6_addr){ .s6_addr = { [10] = 255, 255, 127, 0, 0, 1 } };
	note("connect listener%d family %d", i, sa.ss_family);
	NOTE(connect(listener(i), (void *)&sa, len));
	if (!listens(listener(i)))
		run->pending[i] = 0;
	if (sa.ss_family == AF_UNSPEC)
		return;
	if (poll(&p, 1, 100 * run->patience) > 0 && connected(listener(i)))
		run->pending[!i]++;
}

static void op_dup(void)
{
	int i = any_listener(), fd;

	note("dup listener%d", i);
	fd = dup(listener(i));
	NOTE(fd);
	if (fd < 0)
		return;
	close(listener(i));
	keep(fd, listener(i));
}

static void op_pass(void)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int i = any_listener(), fd = listener(i), pair[2];
	char byte;

	if (!is_open(fd) || socketpair(AF_UNIX, SOCK_DGRAM, 0, pair))
		return;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	note("pass listener%d", i);
	NOTE(sendmsg(pair[0], &msg, 0));
	close(fd);
	iov.iov_base = &byte;
	if (recvmsg(pair[1], &msg, 0) == 1 && CMSG_FIRSTHDR(&msg)) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
		keep(fd, listener(i));
	}
	close(pair[0]);
	close(pair[1]);
}

/* Changes nothing on native listeners, and must not for others. */
static void op_mode(void)
{
	static const char *const modes[] = { "0", "1", "2", "2" };
	const char *mode = ONE_OF(rg, modes);
	int fd;

	if (run->how == NATIVE)
		return;
	fd = open("/sys/module/fastsocket/parameters/enable_listen_spawn", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, mode, 1) != 1)
		finding("enable_listen_spawn=%s is not taken", mode);
	close(fd);
}

/* ---- connections ---- */

/* Connect a client and wait for what becomes of it. */
static void op_connect(void)
{
	int i = any_listener(), c = any_client(), err;
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	struct pollfd p = { .events = POLLOUT };
	int family, fd;

	if (is_open(client(c)) || getsockname(listener(i), (void *)&sa, &len) || !port_in(&sa))
		return;
	family = sa.ss_family;
	/* Both protocols lead to a listener of any IPv6 address. */
	if (family == AF_INET6 &&
	    IN6_IS_ADDR_UNSPECIFIED(&((struct sockaddr_in6 *)&sa)->sin6_addr) && chance(rg, 2))
		family = AF_INET;
	len = loopback(family, port_in(&sa), &sa);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	keep(fd, client(c));
	note("connect client%d to listener%d family %d", c, i, family);
	NOTE(connect(client(c), (void *)&sa, len));
	p.fd = client(c);
	poll(&p, 1, 100 * run->patience);
	err = int_option(client(c), SOL_SOCKET, SO_ERROR);
	note("client%d revents %#x error %s\n", c, p.revents, error_name(err));
	run->to[c] = -1;
	if (p.revents == POLLOUT && connected(client(c))) {
		run->pending[i]++;
		run->to[c] = i;
	} else {
		/* Do not leave one that tries again some time. */
		close(client(c));
	}
}

static int client_with(unsigned int port)
{
	for (int c = 0; c < CLIENTS; c++)
		if (is_open(client(c)) && port_of(client(c)) == port)
			return c;
	return -1;
}

/* Peers of accepted connections, by client, and what is common to all. */
static void note_accepted(int fd, const struct sockaddr_storage *sa, socklen_t len)
{
	struct sockaddr_storage plain = *sa;

	((struct sockaddr_in *)&plain)->sin_port = 0;
	note("  fd %d flags %x %x len %u ", fd, fcntl(fd, F_GETFD), fcntl(fd, F_GETFL), len);
	note_bytes(&plain, len < 28 ? len : 28);
	note("\n");
}

/* Accept everything; the order is left open. Return: how many. */
static int drain(int i, int flags, bool keep_them)
{
	int waits = run->strict ? 0 : 100 * run->patience, n = 0, err;
	unsigned int got = 0, strangers = 0;

	for (;;) {
		struct pollfd p = { .fd = listener(i), .events = POLLIN };
		struct sockaddr_storage sa = { 0 };
		socklen_t len = sizeof(sa);
		int fd = do_accept(listener(i), &sa, &len, flags | SOCK_NONBLOCK), c;

		err = errno;
		if (fd < 0 && err == EAGAIN && n < run->pending[i] && waits-- > 0) {
			poll(&p, 1, 10);
			continue;
		}
		if (fd < 0)
			break;
		n++;
		note_accepted(fd, &sa, len);
		c = client_with(port_in(&sa));
		if (c < 0)
			strangers++;
		else
			got |= 1 << c;
		if (c < 0 || !keep_them)
			close(fd);
		else
			keep(fd, server(c));
		if (n > 50)
			break;
	}
	note("accept listener%d flags %#x: %d, clients %#x, others %u, then %s\n", i, flags, n, got,
	     strangers, error_name(err));
	run->pending[i] = n < run->pending[i] ? run->pending[i] - n : 0;
	return n;
}

static bool blocks(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && !(flags & O_NONBLOCK);
}

static void op_accept(void)
{
	static const int flags[] = { SOCK_CLOEXEC, 0 };
	int i = any_listener();

	if (!blocks(listener(i)))
		drain(i, ONE_OF(rg, flags), true);
}

/* Bad flags, bad addresses, short ones: with at most one connection, so that it is that one. */
static void op_accept_oddly(void)
{
	int i = any_listener(), flags = SOCK_NONBLOCK, what = below(rg, 6), fd;
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	void *p = &sa, *l = &len;

	if (run->pending[i] > 1 || blocks(listener(i)) || !run->strict)
		return;
	switch (what) {
	case 0: flags = 1 << below(rg, 31); break;
	case 1: p = (void *)8; break;
	case 2: l = (void *)8; break;
	case 3: l = NULL; break;
	case 4: len = below(rg, 30); break;
	default: len = -1;
	}
	note("accept oddly listener%d case %d flags %#x", i, what, flags);
	fd = do_accept(listener(i), p, l, flags);
	NOTE(fd);
	note("  len %d\n", (int)len);
	if (fd >= 0) {
		int c = what > 3 && len >= 4 ? client_with(port_in(&sa)) : -1;

		if (c < 0)
			close(fd);
		else
			keep(fd, server(c));
	}
	/* Was it lost? */
	drain(i, 0, true);
}

static void on_alarm(int sig) { (void)sig; }

/* Of a listener without a connection: by its time limit or by a signal. */
static void op_accept_blocking(void)
{
	struct itimerval often = { { 0, 20000 }, { 0, 20000 } }, never = { 0 };
	struct sigaction sa = { .sa_handler = on_alarm };
	struct timeval limit = { 0, chance(rg, 2) ? 15000 : 0 }, old = { 0 };
	int i = any_listener(), flags = fcntl(listener(i), F_GETFL), fd;
	socklen_t len = sizeof(old);

	if (flags < 0 || run->pending[i] || !run->strict)
		return;
	getsockopt(listener(i), SOL_SOCKET, SO_RCVTIMEO, &old, &len);
	setsockopt(listener(i), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	fcntl(listener(i), F_SETFL, flags & ~O_NONBLOCK);
	if (!limit.tv_usec) {
		sigaction(SIGALRM, &sa, NULL);
		setitimer(ITIMER_REAL, &often, NULL);
	}
	note("accept blocking listener%d limit %d", i, (int)limit.tv_usec);
	fd = do_accept(listener(i), NULL, NULL, 0);
	NOTE(fd);
	setitimer(ITIMER_REAL, &never, NULL);
	if (fd >= 0)
		close(fd);
	fcntl(listener(i), F_SETFL, flags);
	setsockopt(listener(i), SOL_SOCKET, SO_RCVTIMEO, &old, sizeof(old));
}

static void op_data(void)
{
	char buffer[300];
	int c = any_client(), to = chance(rg, 2) ? client(c) : server(c);
	int from = to == client(c) ? server(c) : client(c);
	struct pollfd p = { .fd = to, .events = POLLIN };

	memset(buffer, 'a' + c, sizeof(buffer));
	note("send %s", fd_name(from));
	NOTE(send(from, buffer, 1 + below(rg, 200), MSG_NOSIGNAL | MSG_DONTWAIT));
	note("recv %s", fd_name(to));
	if (is_open(from) && is_open(to))
		poll(&p, 1, 20 * run->patience);
	NOTE(recv(to, buffer, sizeof(buffer), MSG_DONTWAIT));
}

/* ---- options ---- */

static void op_setsockopt(void)
{
	int fd = any_fd();
	struct option_value o;

	plain_option(rg, &o);
	/* docs/operating.md, kTLS: a listener that became a connection. */
	if (fd < client(0) && o.name == IPV6_ADDRFORM && o.level == IPPROTO_IPV6 && connected(fd))
		return;
	note("setsockopt %s %d/%d len %d ", fd_name(fd), o.level, o.name, (int)o.len);
	if (!(o.level == SOL_SOCKET && (o.name == SO_ATTACH_FILTER ||
					o.name == SO_ATTACH_REUSEPORT_CBPF)))
		note_bytes(o.value, o.len < 24 ? o.len : 24);
	if (chance(rg, 30))
		NOTE(setsockopt(fd, o.level, o.name, (void *)8, o.len));
	else
		NOTE(setsockopt(fd, o.level, o.name, o.value, o.len));
}

static void get_option(int fd, int level, int name, socklen_t len)
{
	unsigned char buffer[600];
	int ret;

	memset(buffer, UNTOUCHED, sizeof(buffer));
	ret = getsockopt(fd, level, name, buffer, &len);
	note("getsockopt %s %d/%d len %d ", fd_name(fd), level, name, (int)len);
	if (!ret)
		note_output(buffer, sizeof(buffer));
	NOTE(ret);
}

static void op_getsockopt(void)
{
	static const socklen_t lens[] = { 4, 4, 4, 16, 256, 0, 1, 2, 3, 5, -1 };
	unsigned int n = below(rg, 256);
	int level, name;

	if (list_option(n, &level, &name) == 1)
		get_option(any_fd(), level, name, ONE_OF(rg, lens));
}

/* All there are. The buffer is 0, which some options take as input. */
static void op_dump(void)
{
	int fd = any_fd(), level, name, ok;
	unsigned char buffer[600];

	if (!is_open(fd))
		return;
	for (unsigned int n = 0; (ok = list_option(n, &level, &name)) >= 0; n++) {
		socklen_t len = 64;
		int ret;

		if (!ok)
			continue;
		memset(buffer, 0, sizeof(buffer));
		errno = 0;
		ret = getsockopt(fd, level, name, buffer, &len);
		if (ret && errno == ENOPROTOOPT)
			continue;
		note("dump %s %d/%d len %u %s ", fd_name(fd), level, name, len, error_name(errno));
		note_bytes(buffer, ret ? 0 : len < 64 ? len : 64);
		note("\n");
	}
}

/* Of listeners all of it can be compared, of connections what is no measurement. */
static void op_info(void)
{
	static const socklen_t lens[] = { 300, 300, 300, 104, 28, 27, 24, 8, 1, 0, -1, 0x7fffffff };
	int fd = any_fd(), ret;
	unsigned char buffer[320];
	socklen_t len = ONE_OF(rg, lens), shown;
	bool bad = chance(rg, 12);

	memset(buffer, UNTOUCHED, sizeof(buffer));
	note("TCP_INFO %s len %d", fd_name(fd), (int)len);
	ret = getsockopt(fd, SOL_TCP, TCP_INFO, bad ? (void *)8 : buffer, &len);
	note(" %d ", (int)len);
	shown = listens(fd) ? sizeof(buffer) : 8;
	if (!ret)
		note_output(buffer, shown);
	NOTE(ret);
}

/* ---- looking ---- */

/* How long to wait for a connection that must be there. */
static int wait_for(int i)
{
	return run->pending[i] && !run->strict ? 1000 * run->patience : 0;
}

static void op_poll(void)
{
	static const short sets[] = { POLLIN, POLLIN, POLLIN | POLLOUT, POLLRDNORM | POLLRDHUP, 0,
				      POLLPRI, -1 };
	int i = any_listener();
	struct pollfd p = { .fd = listener(i), .events = ONE_OF(rg, sets) };
	int n = poll(&p, 1, p.events & POLLIN ? wait_for(i) : 0);

	note("poll listener%d %#hx revents %#hx", i, p.events, p.revents);
	NOTE(n);
}

static void op_poll_others(void)
{
	int fd = chance(rg, 2) ? client(any_client()) : server(any_client());
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP | POLLPRI };
	int n = poll(&p, 1, 0);

	note("poll %s revents %#hx", fd_name(fd), p.revents);
	NOTE(n);
}

static void op_select(void)
{
	int i = any_listener();
	struct timeval tv = { wait_for(i) / 1000, 0 };
	fd_set in, out, except;
	int n;

	if (!is_open(listener(i)))
		return;
	FD_ZERO(&in);
	FD_SET(listener(i), &in);
	out = in;
	except = in;
	n = select(listener(i) + 1, &in, &out, &except, &tv);
	note("select listener%d %d %d %d", i, !!FD_ISSET(listener(i), &in),
	     !!FD_ISSET(listener(i), &out), !!FD_ISSET(listener(i), &except));
	NOTE(n);
}

static void op_epoll_ctl(void)
{
	static const unsigned int sets[] = { EPOLLIN,
					     EPOLLIN,
					     EPOLLIN | EPOLLET,
					     EPOLLIN | EPOLLONESHOT,
					     EPOLLIN | EPOLLEXCLUSIVE,
					     EPOLLIN | EPOLLOUT | EPOLLRDHUP,
					     0 };
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL };
	int i = any_listener(), op = ONE_OF(rg, ops);
	struct epoll_event ev = { .events = ONE_OF(rg, sets), .data.u32 = i };

	note("epoll_ctl op %d listener%d events %#x", op, i, ev.events);
	NOTE(epoll_ctl(ep, op, listener(i), &ev));
}

static void op_epoll_wait(void)
{
	struct epoll_event ev[4];
	unsigned int seen[LISTENERS_MAX] = { 0 };
	int n, wait = 0;

	/* Must something come? Only with more than one worker one has to wait for it. */
	for (int i = 0; i < LISTENERS_MAX; i++)
		if (!run->strict && wait_for(i))
			wait = 30;
	n = epoll_wait(ep, ev, 4, wait);
	for (int i = 0; i < n; i++)
		seen[ev[i].data.u32 % LISTENERS_MAX] |= ev[i].events;
	/* Who of several is first, and how late, is open. */
	if (!run->strict)
		return;
	note("epoll_wait %#x %#x", seen[0], seen[1]);
	NOTE(n);
}

static void op_names(void)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = chance(rg, 5) ? below(rg, 30) : sizeof(sa);
	int fd = any_fd(), ret;

	ret = getsockname(fd, (void *)&sa, &len);
	note("getsockname %s", fd_name(fd));
	if (!ret)
		note_address(&sa, len);
	NOTE(ret);
	memset(&sa, 0, sizeof(sa));
	len = sizeof(sa);
	ret = getpeername(fd, (void *)&sa, &len);
	note("getpeername %s", fd_name(fd));
	if (!ret)
		note_address(&sa, len);
	NOTE(ret);
}

static void op_ioctl(void)
{
	static const unsigned int cmds[] = { FIONREAD, TIOCOUTQ, 0x8905 /* SIOCATMARK */, 0x894b,
					     0x8904 /* SIOCGPGRP */, 0x5401 /* TCGETS */ };
	int fd = any_fd(), value = -1, ret;
	unsigned int cmd = ONE_OF(rg, cmds);
	char room[64];

	ret = ioctl(fd, cmd, cmd == 0x5401 ? (void *)room : &value);
	note("ioctl %s %#x", fd_name(fd), cmd);
	if (fd < client(0))
		note(" value %d", value);
	NOTE(ret);
}

static void op_fcntl(void)
{
	int fd = listener(any_listener()), async = chance(rg, 2) ? O_ASYNC : 0;

	note("fcntl %s F_SETFL %#x", fd_name(fd), async | O_NONBLOCK);
	NOTE(fcntl(fd, F_SETFL, async | O_NONBLOCK));
	note("fcntl %s F_GETFL", fd_name(fd));
	NOTE(fcntl(fd, F_GETFL));
}

/* What listeners cannot. */
static void op_io(void)
{
	int fd = listener(any_listener());
	char buffer[64];

	if (connected(fd))
		return;
	note("recv %s", fd_name(fd));
	NOTE(recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT | (chance(rg, 3) ? MSG_ERRQUEUE : 0)));
	note("send %s", fd_name(fd));
	NOTE(send(fd, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_NOSIGNAL));
	if (blocks(fd))
		return;
	note("read %s", fd_name(fd));
	NOTE(read(fd, buffer, sizeof(buffer)));
}

/* Another worker, which ends. What it had in its queue comes later. */
static void op_fork(void)
{
	int i = any_listener(), status = -1;
	bool takes = chance(rg, 2), polls = chance(rg, 2);
	pid_t pid;

	if (blocks(listener(i)))
		return;
	run->strict = false;
	note("fork\n");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (polls)
			poll(&(struct pollfd){ .fd = listener(i), .events = POLLIN }, 1,
			     wait_for(i));
		if (run->how == SPAWNED && listens(listener(i)))
			do_spawn(listener(i));
		if (takes)
			drain(i, 0, false);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	note("child's status %d\n", status);
}

/* ---- the program ---- */

static const struct {
	void (*make)(void);
	unsigned int weight;
} ops[] = {
	{ op_socket, 4 }, { op_bind, 4 }, { op_listen, 6 }, { op_shutdown, 3 }, { op_close, 5 },
	{ op_connect_listener, 2 }, { op_dup, 1 }, { op_pass, 1 }, { op_mode, 1 },
	{ op_connect, 14 }, { op_accept, 8 }, { op_accept_oddly, 3 }, { op_accept_blocking, 2 },
	{ op_data, 4 }, { op_setsockopt, 12 }, { op_getsockopt, 4 }, { op_dump, 2 }, { op_info, 5 },
	{ op_poll, 6 }, { op_poll_others, 3 }, { op_select, 2 }, { op_epoll_ctl, 4 },
	{ op_epoll_wait, 5 }, { op_names, 3 }, { op_ioctl, 2 }, { op_fcntl, 1 }, { op_io, 2 },
	{ op_fork, 1 },
};

static void random_op(void)
{
	unsigned int total = 0, n;

	for (unsigned int i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	n = below(rg, total);
	for (unsigned int i = 0; ; i++) {
		if (n < ops[i].weight) {
			ops[i].make();
			return;
		}
		n -= ops[i].weight;
	}
}

/* Most programs start with a listener that works, all with a socket. */
static void begin(void)
{
	int family = ONE_OF(rg, families), fd;
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, 0, &sa);

	fd = do_socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	note("socket");
	NOTE(fd);
	keep(fd, listener(0));
	if (chance(rg, 3))
		memset(&((struct sockaddr_in6 *)&sa)->sin6_addr, 0, 16);
	if (chance(rg, 5))
		return;
	note("bind");
	NOTE(bind(listener(0), (void *)&sa, len));
	note("listen");
	NOTE(do_listen(listener(0), 1 + below(rg, 8)));
}

static void set_mode(const char *mode)
{
	int fd =
		open("/sys/module/fastsocket/parameters/enable_listen_spawn", O_WRONLY | O_CLOEXEC);

	/* Users cannot; for them it is as it is. */
	if (fd >= 0 && write(fd, mode, 1) != 1)
		finding("enable_listen_spawn=%s is not taken", mode);
	close(fd);
}

/* In a process of its own. */
static void run_ops(unsigned long index)
{
	struct rng r = rng_for(opt.seed, index, 0);
	unsigned int n;

	rg = &r;
	/* Bound by itself, a task is a worker at once; else it needs a second one. */
	if (!chance(&r, 4))
		bind_to_cpu(below(&r, sysconf(_SC_NPROCESSORS_ONLN)));
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	ep = epoll_create1(0);
	for (int c = 0; c < CLIENTS; c++)
		run->to[c] = -1;
	n = 5 + below(&r, 56);
	begin();
	for (unsigned int i = 0; i < n; i++) {
		r = rng_for(opt.seed, index, 1 + i);
		random_op();
	}
	shared->calls += n;
}

/* Run it and wait: the log is in memory that is shared. */
static void run_how(unsigned long index, enum how how, int patience, struct run *into)
{
	int status = 0;
	pid_t pid;

	memset(into, 0, sizeof(*into));
	into->how = how;
	into->strict = true;
	into->patience = patience;
	set_mode("2");
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run = into;
		run_ops(index);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	if (status)
		finding("its process (%s) ended with status %#x", how_names[how], status);
}

/* Where does the first line begin in which they differ? -1: they are the same. */
static long first_difference(const char *a, const char *b)
{
	long line = 0;

	for (long i = 0; a[i] == b[i]; i++) {
		if (!a[i])
			return -1;
		if (a[i] == '\n')
			line = i + 1;
	}
	return line;
}

static void print_line(const char *who, const char *text)
{
	int len = strcspn(text, "\n");

	printf("    %s: %.*s\n", who, len, text);
}

static void report(const struct run *native, const struct run *other, long at)
{
	long from = at;

	for (int lines = 0; from > 0 && lines < 12; from--)
		lines += native->log[from - 1] == '\n';
	if (from)
		from++;
	finding("%s listeners and native ones differ", how_names[other->how]);
	printf("%.*s", (int)(at - from), native->log + from);
	print_line("native", native->log + at);
	print_line(how_names[other->how], other->log + at);
	fflush(stdout);
}

/*
 * On a busy machine a packet may be late once, and what depends on it differs.
 * What counts is what differs each time, with more and more patience.
 */
static bool differs(unsigned long index, enum how how, struct run *native, struct run *other)
{
	int patience = 2;
	long at = -1;

	for (int attempt = 0; attempt < 4; attempt++) {
		run_how(index, NATIVE, patience, native);
		run_how(index, how, patience, other);
		at = first_difference(native->log, other->log);
		if (at < 0)
			return false;
		patience *= 2;
		if (opt.verbose)
			report(native, other, at);
	}
	report(native, other, at);
	return true;
}

/**
 * differential_program() - run one on native listeners and on others
 * @index: of the program
 */
void differential_program(unsigned long index)
{
	struct run *runs = mmap(NULL, 2 * sizeof(*runs), PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct rng r = rng_for(opt.seed, index, 1000000);

	if (runs == MAP_FAILED) {
		finding("no memory");
		return;
	}
	/* Against itself, to see that nothing but the module makes a difference. */
	if (opt.control)
		differs(index, NATIVE, &runs[0], &runs[1]);
	else
		differs(index, 1 + below(&r, NR_HOWS - 1), &runs[0], &runs[1]);
	if (opt.verbose)
		fputs(runs[1].log, stdout);
}
