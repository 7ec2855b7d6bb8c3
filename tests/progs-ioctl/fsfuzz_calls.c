// SPDX-License-Identifier: GPL-2.0
/*
 * The calls that the concurrent mode of fsfuzz makes: a table of them, and the pools
 * from which their arguments come.
 */
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>

#include "fsfuzz.h"

/* ---- descriptors: slots by kind, far above what calls return ---- */

const struct slots kinds[NR_KINDS] = {
	[LISTENER] = { "listener", FIRST_SLOT, 6 },
	[TCP] = { "tcp", FIRST_SLOT + 6, 4 },
	[CONN] = { "conn", FIRST_SLOT + 10, 8 },
	[OTHER] = { "other", FIRST_SLOT + 18, 6 },
	[EPOLL] = { "epoll", FIRST_SLOT + 24, 3 },
	[PAIR] = { "pair", FIRST_SLOT + 27, 2 },
	[DEV] = { "dev", FIRST_SLOT + 29, 1 },
	[CLOSED] = { "closed", FIRST_SLOT + 30, 2 },
};

long page;

static void say(struct task *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct task *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->text + t->used, sizeof(t->text) - t->used, fmt, ap);
	va_end(ap);
	if (n > 0 && t->used + n < sizeof(t->text))
		t->used += n;
}

static int slot_of(struct task *t, enum kind k)
{
	return kinds[k].first + below(&t->r, kinds[k].count);
}

/* A descriptor to use where one of kind @k is expected. */
static int pick(struct task *t, enum kind k)
{
	static const int numbers[] = { -1, -100, 0x7fffffff, 1 << 20, 100 };

	if (chance(&t->r, 40))
		return ONE_OF(&t->r, numbers);
	if (chance(&t->r, 8))
		k = below(&t->r, NR_KINDS);
	return slot_of(t, k);
}

/* A listener or what may become one. */
static int pick_listener(struct task *t)
{
	return pick(t, chance(&t->r, 4) ? TCP : LISTENER);
}

/* Put what a call has returned into a slot; what was there is closed. */
static void keep(struct task *t, int fd, enum kind k)
{
	int saved = errno;

	if (fd >= 0) {
		if (fcntl(fd, F_GETFD) < 0)
			finding("%s returned %d, which is no descriptor", t->text, fd);
		dup2(fd, slot_of(t, k));
		close(fd);
	}
	errno = saved;
}

/* ---- addresses ---- */

/* Memory with @len bytes of @content, or a bad address instead. */
static void *place(struct task *t, const void *content, size_t len, bool bad)
{
	static const unsigned long addresses[] = {
		0, 1, 0xfff, 0x10000, (unsigned long)-1, (unsigned long)-4096,
		(unsigned long)(0xffff888000000000ULL >> (sizeof(long) == 4 ? 32 : 0)),
	};
	size_t short_by = 1 + below(&t->r, len ? len : 1);
	char *p = t->room + 16 * below(&t->r, 64) + (chance(&t->r, 4) ? below(&t->r, 8) : 0);

	if (!bad) {
		/* Up to the end of what is there. */
		if (chance(&t->r, 8))
			p = t->room + page - len;
		memcpy(p, content, len);
		return p;
	}
	switch (below(&t->r, 4)) {
	case 0:
		say(t, "{ends early}");
		p = t->room + 2 * page - len + short_by;
		return p;
	case 1:
		say(t, "{read-only}");
		return t->room + page;
	default:
		p = (void *)ONE_OF(&t->r, addresses);
		say(t, "{%p}", p);
		return p;
	}
}

static bool bad_address(struct task *t) { return chance(&t->r, 16); }

/* The loopback address with the port of a slot, or something else. */
static socklen_t random_address(struct task *t, struct sockaddr_storage *sa)
{
	int of = pick_listener(t), family;
	unsigned int port = chance(&t->r, 6) ? 0 : port_of(of);
	socklen_t len;

	len = sizeof(*sa);
	memset(sa, 0, sizeof(*sa));
	family = !getsockname(of, (void *)sa, &len) && sa->ss_family == AF_INET6 ? AF_INET6 :
										   AF_INET;
	if (chance(&t->r, 10))
		family = ONE_OF(&t->r, families);
	len = loopback(family, port, sa);
	say(t, "%s port of %d", family == AF_INET ? "inet" : "inet6", of);
	if (family == AF_INET6 && chance(&t->r, 4)) {
		/* The same by IPv4. */
		((struct sockaddr_in6 *)sa)->sin6_addr =
			(struct in6_addr){ .s6_addr = { [10] = 255, 255, 127, 0, 0, 1 } };
		say(t, " mapped");
	}
	if (chance(&t->r, 10)) {
		sa->ss_family = chance(&t->r, 2) ? AF_UNSPEC : rnd(&t->r) % 48;
		say(t, " as family %d", sa->ss_family);
	}
	if (chance(&t->r, 16))
		len = below(&t->r, sizeof(*sa) + 1);
	return len;
}

/* ---- the ioctls, and what they may fail with ---- */

static const int *allowed_errors(unsigned int cmd)
{
	/* As the manual pages of the calls, without what needs a blocking one to be interrupted. */
	static const int socket_errors[] = {
		EACCES, EAFNOSUPPORT, EINVAL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTONOSUPPORT,
		ESOCKTNOSUPPORT, EPERM, EFAULT, 0
	};
	static const int listen_errors[] = {
		EADDRINUSE, EBADF, ENOTSOCK, EOPNOTSUPP, EINVAL, EACCES, ENOBUFS, EFAULT, 0
	};
	static const int accept_errors[] = {
		EAGAIN, EBADF, ECONNABORTED, EFAULT, EINTR, EINVAL, EMFILE, ENFILE, ENOBUFS,
		ENOMEM, ENOTSOCK, EOPNOTSUPP, EPERM, EPROTO, 0
	};
	static const int close_errors[] = { EBADF, ENOTSOCK, EFAULT, EINTR, 0 };
	static const int spawn_errors[] = {
		EBADF, ENOTSOCK, EOPNOTSUPP, EINVAL, EBUSY, ENOMEM, EUSERS, EFAULT, 0
	};
	static const int shutdown_errors[] = {
		EBADF, EINVAL, ENOTCONN, ENOTSOCK, EOPNOTSUPP, EFAULT, 0
	};
	static const int spawn_all_errors[] = { EOPNOTSUPP, EBUSY, ENOMEM, EUSERS, 0 };
	static const int unknown[] = { ENOTTY, 0 };

	switch (cmd) {
	case FSOCKET_IOC_SOCKET: return socket_errors;
	case FSOCKET_IOC_LISTEN: return listen_errors;
	case FSOCKET_IOC_ACCEPT: return accept_errors;
	case FSOCKET_IOC_CLOSE: return close_errors;
	case FSOCKET_IOC_SPAWN_LISTEN: return spawn_errors;
	case FSOCKET_IOC_SHUTDOWN_LISTEN: return shutdown_errors;
	case FSOCKET_IOC_SPAWN_ALL_LISTEN: return spawn_all_errors;
	default: return unknown;
	}
}

static bool allowed(unsigned int cmd, int err)
{
	const int *e = allowed_errors(cmd);

	while (*e && *e != err)
		e++;
	return *e;
}

/* What a slot holds, as far as this task can know. */
static bool is_device(int fd)
{
	char path[64], target[64] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return readlink(path, target, sizeof(target) - 1) > 0 && !strcmp(target, DEVICE);
}

static long device_ioctl(struct task *t, unsigned int cmd, const struct fsocket_ioctl_arg *arg)
{
	bool bad = bad_address(t), sure = t->alone;
	int dev = pick(t, DEV), saved;
	void *p;
	long ret;

	say(t, " on %d ", dev);
	p = place(t, arg, sizeof(*arg), bad);
	sure = sure && is_device(dev);
	ret = ioctl(dev, cmd, p);
	saved = errno;
	if (sure && ret < 0 && !allowed(cmd, saved))
		finding("%s failed with %s", t->text, error_name(saved));
	if (sure && bad && ret >= 0 && cmd != FSOCKET_IOC_SPAWN_ALL_LISTEN)
		finding("%s took a bad address", t->text);
	errno = saved;
	return ret;
}

static const int flag_sets[] = { SOCK_NONBLOCK, SOCK_NONBLOCK, SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
				 SOCK_CLOEXEC, 1, -1 };

static int random_backlog(struct task *t)
{
	static const int backlogs[] = { 0, 1, 2, 3, 16, 16, 128, 4096, 1 << 20, 0x7fffffff, -1,
					(int)0x80000000 };

	return ONE_OF(&t->r, backlogs);
}

static long ioc_socket(struct task *t)
{
	/* Families and protocols that nobody has make root's kernel look for modules: rare. */
	static const int other_families[] = { 0, AF_UNIX, AF_NETLINK, AF_PACKET, -1, 0x7fffffff };
	static const int protocols[] = { IPPROTO_TCP, IPPROTO_TCP, 262, IPPROTO_UDP, -1, 1000 };
	struct fsocket_ioctl_arg arg = { .fd = rnd(&t->r) };
	bool odd = chance(&t->r, 6);
	long fd;

	arg.op.socket_op.family = odd ? ONE_OF(&t->r, other_families) : ONE_OF(&t->r, families);
	arg.op.socket_op.type = (chance(&t->r, 8) ? below(&t->r, 12) : SOCK_STREAM) |
				(chance(&t->r, 8) ? rnd(&t->r) : SOCK_NONBLOCK);
	arg.op.socket_op.protocol = chance(&t->r, 4) ? ONE_OF(&t->r, protocols) : 0;
	say(t, "SOCKET %u %#x %u", arg.op.socket_op.family, arg.op.socket_op.type,
	    arg.op.socket_op.protocol);
	fd = device_ioctl(t, FSOCKET_IOC_SOCKET, &arg);
	keep(t, fd, TCP);
	return fd;
}

static long ioc_listen(struct task *t)
{
	struct fsocket_ioctl_arg arg = { .fd = pick_listener(t), .backlog = random_backlog(t) };

	say(t, "LISTEN %d %d", arg.fd, arg.backlog);
	return device_ioctl(t, FSOCKET_IOC_LISTEN, &arg);
}

static long ioc_accept(struct task *t)
{
	struct sockaddr_storage sa = { 0 };
	int room = chance(&t->r, 3) ? (int)rnd(&t->r) : (int)below(&t->r, sizeof(sa));
	struct fsocket_ioctl_arg arg = { .fd = pick_listener(t) };
	long fd;

	say(t, "ACCEPT %d ", arg.fd);
	arg.op.accept_op.flags = ONE_OF(&t->r, flag_sets);
	if (chance(&t->r, 2)) {
		arg.op.accept_op.sockaddr = place(t, &sa, sizeof(sa), bad_address(t));
		arg.op.accept_op.sockaddr_len = place(t, &room, sizeof(room), bad_address(t));
	}
	say(t, "flags %#x", arg.op.accept_op.flags);
	fd = device_ioctl(t, FSOCKET_IOC_ACCEPT, &arg);
	keep(t, fd, CONN);
	return fd;
}

static long ioc_close(struct task *t)
{
	struct fsocket_ioctl_arg arg = { .fd = pick(t, below(&t->r, NR_KINDS)) };

	say(t, "CLOSE %d", arg.fd);
	return device_ioctl(t, FSOCKET_IOC_CLOSE, &arg);
}

static long ioc_spawn(struct task *t)
{
	static const int cpus[] = { -1, -1, -1, 0, 1, 2, 3, 4, 63, 64, 8191, -2, 0x7fffffff,
				    (int)0x80000000 };
	struct fsocket_ioctl_arg arg = { .fd = pick_listener(t) };

	arg.op.spawn_op.cpu = ONE_OF(&t->r, cpus);
	say(t, "SPAWN_LISTEN %d cpu %d", arg.fd, arg.op.spawn_op.cpu);
	return device_ioctl(t, FSOCKET_IOC_SPAWN_LISTEN, &arg);
}

static long ioc_shutdown(struct task *t)
{
	struct fsocket_ioctl_arg arg = { .fd = pick_listener(t) };

	arg.op.shutdown_op.how = below(&t->r, 5) - 1;
	say(t, "SHUTDOWN_LISTEN %d how %d", arg.fd, arg.op.shutdown_op.how);
	return device_ioctl(t, FSOCKET_IOC_SHUTDOWN_LISTEN, &arg);
}

static long ioc_spawn_all(struct task *t)
{
	struct fsocket_ioctl_arg arg = { .fd = rnd(&t->r) };

	say(t, "SPAWN_ALL_LISTEN");
	return device_ioctl(t, FSOCKET_IOC_SPAWN_ALL_LISTEN, &arg);
}

/* Numbers beside the known ones, and those with a direction or a size. */
static long ioc_unknown(struct task *t)
{
	struct fsocket_ioctl_arg arg = { .fd = pick_listener(t), .backlog = rnd(&t->r) };
	unsigned int cmd;

	switch (below(&t->r, 4)) {
	case 0: cmd = _IO(FSOCKET_IOC_ID, chance(&t->r, 2) ? 5 : 9 + below(&t->r, 247)); break;
	case 1:
		cmd = _IOC(1 + below(&t->r, 3), FSOCKET_IOC_ID, below(&t->r, 10), sizeof(arg));
		break;
	case 2: cmd = _IO(below(&t->r, FSOCKET_IOC_ID), 1 + below(&t->r, 8)); break;
	default: cmd = _IO(FSOCKET_IOC_ID, 0);
	}
	/* What every file knows, FIONBIO and the like, is 'T' and others. */
	if (_IOC_TYPE(cmd) != FSOCKET_IOC_ID)
		cmd = _IO(0xf4, _IOC_NR(cmd));
	say(t, "ioctl %#x", cmd);
	return device_ioctl(t, cmd, &arg);
}

/* ---- system calls on sockets ---- */

static long sys_socket(struct task *t)
{
	static const struct {
		int family, type, protocol;
		enum kind kind;
	} sockets[] = {
		{ AF_INET, SOCK_STREAM, 0, TCP },
		{ AF_INET6, SOCK_STREAM, 0, TCP },
		{ AF_INET6, SOCK_STREAM, 0, LISTENER },
		{ AF_INET, SOCK_STREAM, IPPROTO_TCP, LISTENER },
		{ AF_INET, SOCK_STREAM, 262 /* MPTCP */, OTHER },
		{ AF_INET6, SOCK_STREAM, 262, LISTENER },
		{ AF_INET, SOCK_DGRAM, 0, OTHER },
		{ AF_UNIX, SOCK_STREAM, 0, OTHER },
		{ AF_UNIX, SOCK_SEQPACKET, 0, LISTENER },
		{ AF_NETLINK, SOCK_RAW, 0, OTHER },
	};
	unsigned int i = below(&t->r, ARRAY_SIZE(sockets));
	long fd;

	say(t, "socket %d %d %d", sockets[i].family, sockets[i].type, sockets[i].protocol);
	fd = socket(sockets[i].family, sockets[i].type | SOCK_NONBLOCK, sockets[i].protocol);
	keep(t, fd, sockets[i].kind);
	return fd;
}

static long sys_bind(struct task *t)
{
	struct sockaddr_storage sa;
	int fd = pick_listener(t);
	socklen_t len;

	say(t, "bind %d to ", fd);
	len = random_address(t, &sa);
	return bind(fd, place(t, &sa, sizeof(sa), bad_address(t)), len);
}

static long sys_listen(struct task *t)
{
	int fd = pick_listener(t), backlog = random_backlog(t);

	say(t, "listen %d %d", fd, backlog);
	return listen(fd, backlog);
}

static long sys_accept(struct task *t)
{
	struct sockaddr_storage sa = { 0 };
	int fd = pick_listener(t), flags = ONE_OF(&t->r, flag_sets), room = sizeof(sa);
	void *p = NULL, *len = NULL;
	long ret;

	say(t, "accept4 %d flags %#x ", fd, flags);
	if (chance(&t->r, 3)) {
		p = place(t, &sa, sizeof(sa), bad_address(t));
		len = place(t, &room, sizeof(room), bad_address(t));
	}
	ret = accept4(fd, p, len, flags);
	keep(t, ret, CONN);
	return ret;
}

static long sys_connect(struct task *t)
{
	int family = ONE_OF(&t->r, families), fd, saved;
	struct sockaddr_storage sa;
	socklen_t len;
	long ret;

	say(t, "connect new to ");
	len = random_address(t, &sa);
	if (sa.ss_family == AF_INET || sa.ss_family == AF_INET6)
		family = sa.ss_family;
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	ret = connect(fd, (void *)&sa, len);
	saved = errno;
	keep(t, fd, CONN);
	errno = saved;
	return ret;
}

/* Of a socket that is something already: listeners become connections, or nothing. */
static long sys_connect_used(struct task *t)
{
	int fd = pick_listener(t);
	struct sockaddr_storage sa;
	socklen_t len;

	say(t, "connect %d to ", fd);
	len = random_address(t, &sa);
	if (chance(&t->r, 3)) {
		sa.ss_family = AF_UNSPEC;
		say(t, " AF_UNSPEC");
	}
	return connect(fd, place(t, &sa, sizeof(sa), bad_address(t)), len);
}

/* A listener becomes a connection to an IPv4 address and wants to be an IPv4 socket. */
static long become_ipv4(struct task *t)
{
	int fd = pick_listener(t), to = slot_of(t, LISTENER), family = AF_INET;
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port_of(to)) };
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	in6.sin6_addr = (struct in6_addr){ .s6_addr = { [10] = 255, 255, 127, 0, 0, 1 } };
	say(t, "make %d a connection to %d by IPv4", fd, to);
	connect(fd, &none, sizeof(none));
	connect(fd, (void *)&in6, sizeof(in6));
	poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 5);
	return setsockopt(fd, IPPROTO_IPV6, IPV6_ADDRFORM, &family, sizeof(family));
}

static long sys_shutdown(struct task *t)
{
	int fd = pick(t, chance(&t->r, 3) ? CONN : LISTENER), how = below(&t->r, 4);

	say(t, "shutdown %d %d", fd, how);
	return shutdown(fd, how);
}

static long sys_close(struct task *t)
{
	int fd = slot_of(t, chance(&t->r, 10) ? below(&t->r, NR_KINDS) : below(&t->r, OTHER));

	say(t, "close %d", fd);
	return close(fd);
}

static long sys_dup(struct task *t)
{
	int fd = pick(t, chance(&t->r, 4) ? below(&t->r, NR_KINDS) : LISTENER);
	enum kind to = chance(&t->r, 4) ? OTHER : LISTENER;
	long ret;

	say(t, "dup %d to %s", fd, kinds[to].name);
	ret = dup(fd);
	keep(t, ret, to);
	return ret;
}

static long sys_setsockopt(struct task *t)
{
	int fd = pick(t, chance(&t->r, 4) ? CONN : LISTENER);
	struct option_value o;

	random_option(&t->r, t->hostile, &o);
	say(t, "setsockopt %d %d/%d len %d value %d ", fd, o.level, o.name, (int)o.len,
	    *(int *)o.value);
	return setsockopt(fd, o.level, o.name,
			  place(t, o.value, o.len <= sizeof(o.value) ? o.len : sizeof(o.value),
				bad_address(t)), o.len);
}

static long sys_getsockopt(struct task *t)
{
	int fd = pick(t, chance(&t->r, 4) ? CONN : LISTENER);
	char buffer[512] = "";
	struct option_value o;
	socklen_t len = below(&t->r, sizeof(buffer));

	random_option(&t->r, true, &o);
	if (chance(&t->r, 3)) {
		o.level = SOL_TCP;
		o.name = TCP_INFO;
	}
	if (chance(&t->r, 10))
		len = rnd(&t->r);
	say(t, "getsockopt %d %d/%d len %d ", fd, o.level, o.name, (int)len);
	return getsockopt(fd, o.level, o.name, place(t, buffer, sizeof(buffer), bad_address(t)),
			  place(t, &len, sizeof(len), bad_address(t)));
}

static long sys_name(struct task *t)
{
	struct sockaddr_storage sa = { 0 };
	int fd = pick(t, below(&t->r, OTHER));
	socklen_t len = sizeof(sa);

	say(t, "getsockname %d ", fd);
	return getsockname(fd, place(t, &sa, sizeof(sa), bad_address(t)),
			   place(t, &len, sizeof(len), bad_address(t)));
}

static long sys_send(struct task *t)
{
	int fd = pick(t, chance(&t->r, 4) ? LISTENER : CONN);
	int flags = MSG_NOSIGNAL | MSG_DONTWAIT | (chance(&t->r, 8) ? rnd(&t->r) : 0);
	size_t len = below(&t->r, 4096);
	struct sockaddr_storage sa;
	socklen_t salen;

	say(t, "send %d len %zu flags %#x ", fd, len, flags);
	if (!chance(&t->r, 6))
		return send(fd, t->room, len, flags | MSG_NOSIGNAL);
	/* With an address: Fast Open, if allowed. */
	salen = random_address(t, &sa);
	return sendto(fd, t->room, len, flags | MSG_NOSIGNAL | MSG_FASTOPEN, (void *)&sa, salen);
}

/* Descriptors that came with a message are nobody's. */
static void drop_rights(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int fd;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		close(fd);
	}
}

static long sys_receive(struct task *t)
{
	int fd = pick(t, chance(&t->r, 3) ? LISTENER : CONN);
	int flags = MSG_DONTWAIT | (chance(&t->r, 4) ? (int)rnd(&t->r) : 0);
	char control[128], data[256];
	struct iovec iov = { data, sizeof(data) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
			      .msg_controllen = sizeof(control) };
	long ret;

	if (chance(&t->r, 4))
		flags |= MSG_ERRQUEUE;
	say(t, "recvmsg %d flags %#x", fd, flags);
	ret = recvmsg(fd, &msg, flags);
	if (ret >= 0)
		drop_rights(&msg);
	return ret;
}

static long sys_ioctl(struct task *t)
{
	static const unsigned int cmds[] = { FIONBIO, FIOASYNC, FIONREAD, TIOCOUTQ, 0x8905, 0x8904,
					     0x8902, 0x894b };
	int fd = pick(t, below(&t->r, OTHER)), value = chance(&t->r, 3) ? 0 : 1;
	unsigned int cmd = ONE_OF(&t->r, cmds);

	say(t, "ioctl %d %#x %d ", fd, cmd, value);
	return ioctl(fd, cmd, place(t, &value, sizeof(value), bad_address(t)));
}

static long sys_fcntl(struct task *t)
{
	static const int sets[] = { O_NONBLOCK, O_NONBLOCK, O_NONBLOCK | O_ASYNC, O_ASYNC, 0 };
	int fd = pick(t, below(&t->r, OTHER)), flags = ONE_OF(&t->r, sets);

	say(t, "fcntl %d F_SETFL %#x", fd, flags);
	if (chance(&t->r, 3))
		fcntl(fd, F_SETOWN, chance(&t->r, 2) ? getpid() : -getpgrp());
	return fcntl(fd, F_SETFL, flags);
}

/* ---- waiting ---- */

static long sys_epoll_ctl(struct task *t)
{
	static const unsigned int sets[] = { EPOLLIN,
					     EPOLLIN,
					     EPOLLIN | EPOLLET,
					     EPOLLIN | EPOLLONESHOT,
					     EPOLLIN | EPOLLEXCLUSIVE,
					     EPOLLIN | EPOLLOUT | EPOLLRDHUP,
					     0 };
	static const int ops[] = { EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, 9 };
	int ep = pick(t, EPOLL), fd = pick(t, chance(&t->r, 4) ? CONN : LISTENER);
	struct epoll_event ev = { .events = ONE_OF(&t->r, sets), .data.fd = fd };
	int op = ONE_OF(&t->r, ops);

	say(t, "epoll_ctl %d op %d %d events %#x ", ep, op, fd, ev.events);
	return epoll_ctl(ep, op, fd, place(t, &ev, sizeof(ev), bad_address(t)));
}

static long sys_epoll_wait(struct task *t)
{
	struct epoll_event ev[4];
	int ep = pick(t, EPOLL), timeout = chance(&t->r, 3) ? 5 : 0;

	say(t, "epoll_wait %d %d", ep, timeout);
	return epoll_wait(ep, ev, chance(&t->r, 3) ? 1 : 4, timeout);
}

static long sys_poll(struct task *t)
{
	struct pollfd p[4];
	unsigned int n = 1 + below(&t->r, 4);
	int timeout = chance(&t->r, 3) ? 5 : 0;

	say(t, "poll %d", timeout);
	for (unsigned int i = 0; i < n; i++) {
		p[i].fd = pick(t, chance(&t->r, 3) ? CONN : LISTENER);
		p[i].events = chance(&t->r, 4) ? rnd(&t->r) : POLLIN;
		say(t, " %d", p[i].fd);
	}
	return poll(p, n, timeout);
}

static long sys_select(struct task *t)
{
	struct timeval tv = { 0, chance(&t->r, 3) ? 5000 : 0 };
	int fd = slot_of(t, LISTENER), other = slot_of(t, CONN);
	fd_set in, out;

	FD_ZERO(&in);
	FD_SET(fd, &in);
	FD_ZERO(&out);
	FD_SET(other, &out);
	say(t, "select in %d out %d", fd, other);
	return select(FIRST_SLOT + SLOTS, &in, &out, chance(&t->r, 2) ? &in : NULL, &tv);
}

/* Its callback may run in any context, and polls later, from a worker. */
static long sys_aio_poll(struct task *t)
{
	struct iocb cb = { .aio_lio_opcode = IOCB_CMD_POLL, .aio_fildes = pick_listener(t),
			   .aio_buf = POLLIN };
	struct iocb *list[] = { &cb };
	struct timespec none = { 0, 1000000 };
	struct io_event ev[8];

	say(t, "aio poll %d", cb.aio_fildes);
	if (!t->aio && syscall(SYS_io_setup, 8, &t->aio))
		return -1;
	if (syscall(SYS_io_submit, t->aio, 1, list) < 0)
		return -1;
	if (chance(&t->r, 3))
		return syscall(SYS_io_cancel, t->aio, &cb, ev);
	return syscall(SYS_io_getevents, t->aio, 0, 8, ev, &none);
}

/* ---- descriptors that travel, processes, namespaces ---- */

static long sys_pass(struct task *t)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	int fd = pick(t, chance(&t->r, 5) ? PAIR : LISTENER);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	say(t, "pass %d", fd);
	return sendmsg(kinds[PAIR].first, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static long sys_take(struct task *t)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	long ret;
	int fd;

	say(t, "take");
	ret = recvmsg(kinds[PAIR].first + 1, &msg, MSG_DONTWAIT);
	if (ret > 0 && CMSG_FIRSTHDR(&msg)) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
		keep(t, fd, LISTENER);
	}
	return ret;
}

/* A worker that comes and goes: the child makes some calls and ends. */
static long sys_fork(struct task *t)
{
	int n = 1 + below(&t->r, 4), status = 0;
	bool wait = !chance(&t->r, 4);
	struct task child = *t;
	pid_t pid;

	say(t, "fork for %d calls%s", n, wait ? "" : ", not waited for");
	child.r = rng_for(rnd(&t->r), 0, 0);
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child.number += 100;
		child.alone = false;
		while (n--)
			one_call(&child);
		_exit(0);
	}
	if (pid > 0 && wait)
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	return status;
}

static long sys_affinity(struct task *t)
{
	cpu_set_t set;
	int cpu = below(&t->r, 6);

	CPU_ZERO(&set);
	if (cpu < 4)
		CPU_SET(cpu, &set);
	else
		memset(&set, 0xff, sizeof(set));
	say(t, "affinity %d", cpu < 4 ? cpu : -1);
	return sched_setaffinity(0, sizeof(set), &set);
}

bool table_copied;

/* Descriptors of their own, or another network namespace, for the rest of the task. */
static long sys_unshare(struct task *t)
{
	static const int sets[] = { CLONE_FILES, CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET,
				    CLONE_NEWUSER };
	int what = ONE_OF(&t->r, sets);

	/* Costs too much for every program. */
	if (!chance(&t->r, 4))
		what = CLONE_FILES;
	if (what & CLONE_FILES)
		__atomic_store_n(&table_copied, true, __ATOMIC_RELAXED);
	say(t, "unshare %#x", what);
	return unshare(what);
}

/* ---- the module's files ---- */

static long read_proc(struct task *t)
{
	static const char *const files[] = { "/proc/net/fsocket_stats", LISTENERS,
		"/proc/thread-self/net/fsocket_listeners", "/proc/net/tcp", "/proc/net/tcp6",
		"/sys/module/fastsocket/parameters/enable_listen_spawn" };
	const char *path = ONE_OF(&t->r, files);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = chance(&t->r, 3) ? 1 + below(&t->r, 40) : 4096;
	ssize_t n = 0;
	int saved;

	say(t, "read %s by %zu", path, len);
	if (fd < 0)
		return -1;
	if (chance(&t->r, 4))
		lseek(fd, below(&t->r, 300), SEEK_SET);
	for (int i = 0; i < 60; i++) {
		n = read(fd, t->room, len);
		if (n <= 0)
			break;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return n;
}

static long write_parameter(struct task *t)
{
	static const char * const values[] = {
		"0", "1", "2", "2", "2\n", "3", "-1", "", "x", "0x2"
	};
	const char *v = ONE_OF(&t->r, values);
	int fd =
		open("/sys/module/fastsocket/parameters/enable_listen_spawn", O_WRONLY | O_CLOEXEC);
	int saved;
	ssize_t n;

	say(t, "enable_listen_spawn=\"%s\"", v);
	if (fd < 0)
		return -1;
	n = write(fd, v, strlen(v));
	saved = errno;
	close(fd);
	errno = saved;
	return n;
}

static long open_device(struct task *t)
{
	long fd = open(DEVICE, (chance(&t->r, 3) ? O_RDONLY : O_RDWR) | O_CLOEXEC);

	say(t, "open " DEVICE);
	keep(t, fd, DEV);
	return fd;
}

static long use_device(struct task *t)
{
	int fd = kinds[DEV].first;

	say(t, "read, seek and poll " DEVICE);
	lseek(fd, rnd(&t->r), below(&t->r, 5));
	poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0);
	mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
	return read(fd, t->room, 16);
}

/* What `ss -K` does to a listener; only the administrator may. */
static long diag_destroy(struct task *t)
{
	struct {
		struct nlmsghdr h;
		struct inet_diag_req_v2 r;
	} req = {
		.h = { .nlmsg_len = sizeof(req), .nlmsg_type = 21 /* SOCK_DESTROY */,
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
		.r = { .sdiag_protocol = IPPROTO_TCP, .idiag_states = -1 },
	};
	int of = slot_of(t, LISTENER), nl, saved;
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	ssize_t n = -1;

	say(t, "destroy %d", of);
	if (getsockname(of, (void *)&sa, &len))
		return -1;
	req.r.sdiag_family = sa.ss_family;
	req.r.id.idiag_sport = ((struct sockaddr_in *)&sa)->sin_port;
	if (sa.ss_family == AF_INET)
		req.r.id.idiag_src[0] = ((struct sockaddr_in *)&sa)->sin_addr.s_addr;
	else
		memcpy(req.r.id.idiag_src, &((struct sockaddr_in6 *)&sa)->sin6_addr, 16);
	req.r.id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	req.r.id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	nl = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (nl < 0)
		return -1;
	if (send(nl, &req, sizeof(req), 0) == sizeof(req))
		n = recv(nl, t->room, page, MSG_DONTWAIT);
	if (n >= (ssize_t)(sizeof(struct nlmsghdr) + sizeof(int))) {
		errno = -((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)t->room))->error;
		n = errno ? -1 : 0;
	}
	saved = errno;
	close(nl);
	errno = saved;
	return n;
}

/* ---- the table ---- */

#define OFTEN	6
#define USUAL	3
#define RARE	1

static const struct {
	long (*make)(struct task *t);
	unsigned int weight;
} calls[] = {
	{ ioc_socket, USUAL },	    { ioc_listen, OFTEN },	 { ioc_accept, OFTEN },
	{ ioc_close, RARE },	    { ioc_spawn, OFTEN },	 { ioc_shutdown, USUAL },
	{ ioc_spawn_all, USUAL },   { ioc_unknown, RARE },	 { sys_socket, OFTEN },
	{ sys_bind, USUAL },	    { sys_listen, USUAL },	 { sys_accept, OFTEN },
	{ sys_connect, 2 * OFTEN }, { sys_connect_used, USUAL }, { become_ipv4, RARE },
	{ sys_shutdown, USUAL },    { sys_close, RARE },	 { sys_dup, USUAL },
	{ sys_setsockopt, OFTEN },  { sys_getsockopt, USUAL },	 { sys_name, RARE },
	{ sys_send, USUAL },	    { sys_receive, USUAL },	 { sys_ioctl, RARE },
	{ sys_fcntl, RARE },	    { sys_epoll_ctl, OFTEN },	 { sys_epoll_wait, USUAL },
	{ sys_poll, OFTEN },	    { sys_select, RARE },	 { sys_aio_poll, RARE },
	{ sys_pass, RARE },	    { sys_take, RARE },		 { sys_fork, RARE },
	{ sys_affinity, RARE },	    { sys_unshare, RARE },	 { read_proc, USUAL },
	{ write_parameter, RARE },  { open_device, RARE },	 { use_device, RARE },
	{ diag_destroy, RARE },
};

static long random_call(struct task *t)
{
	unsigned int total = 0, n;

	for (unsigned int i = 0; i < ARRAY_SIZE(calls); i++)
		total += calls[i].weight;
	n = below(&t->r, total);
	for (unsigned int i = 0; ; i++) {
		if (n < calls[i].weight)
			return calls[i].make(t);
		n -= calls[i].weight;
	}
}

/**
 * one_call() - make the next call of a task
 * @t: the task
 */
void one_call(struct task *t)
{
	long ret;

	t->used = 0;
	t->text[0] = 0;
	errno = 0;
	ret = random_call(t);
	__atomic_add_fetch(&shared->calls, 1, __ATOMIC_RELAXED);
	if (ret < 0)
		__atomic_add_fetch(&shared->failed, 1, __ATOMIC_RELAXED);
	if (opt.verbose)
		printf("%d: %s = %ld %s\n", t->number, t->text, ret,
		       ret < 0 ? error_name(errno) : "");
}
