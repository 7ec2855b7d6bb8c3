// SPDX-License-Identifier: GPL-2.0
/*
 * fsstorm: processes and threads that do everything one can do to a listener, in
 * an order drawn from a seed, while clients connect.
 *
 * Each actor draws its decisions from a generator of its own, made from the seed
 * and its number; the number of a child comes from that of its parent. So the
 * same seed makes the same decisions (-n prints them without doing them);
 * what comes of them depends on time. Without -f the listeners are native, and
 * what the verdict asks for must hold all the same.
 *
 * Two profiles:
 *   wild   anything goes. When the last listener has been closed, every client
 *          that was connected must hear of it: none may be left stranded.
 *   calm   the main process keeps the listeners. Workers come and go, are
 *          killed, stopped, replaced. In the end (with an odd seed while all
 *          workers are stopped) the main process serves what is left: every
 *          connection is answered, but for those that a worker took and did
 *          not live to answer.
 *
 * Ends with a line of key=value; exits 0 if the verdict is good, 1 if not, 3 if it
 * had to be ended by its own watchdog.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>

#include <linux/fastsocket.h>

#include "fsutil.h"

#define MAX_SLOTS	16	/* processes at a time */
#define MAX_THREADS	3	/* of a process, besides the first */
#define MAX_LISTENERS	12	/* of a process */
#define MAX_EPOLLS	3
#define MAILBOXES	6
#define CLIENTS		3
#define MAX_INFLIGHT	4
#define PORTS		5
#define SERVE_MS	1000	/* how long a worker waits for a request */
#define PATIENCE_MS	40000	/* how long a client waits for its fate */
#define MOST_TIMES	5	/* how many times longer than asked for a storm may take */
#define FEW_STEPS	500
#define FEW_ANSWERED	20
#define ALONE_MS	500	/* calm: how long clients go on with all workers stopped */
#define QUIET_MS	1500	/* calm: nothing is left when nothing came for so long */

/* descriptors at fixed places, so that they survive exec */
#define LIFE_FD		200
#define SHM_FD		201
#define MAIL_FD(i)	(210 + 2 * (i))	/* and the next: to read */

enum count {
	STEPS, LISTENS, LISTEN_ERRORS, FORKS, THREADS, EXECS, EXITS, KILLS, STOPS, SENT_FDS,
	GOT_FDS, CLOSES, SHUTDOWNS, UNSPECS, SOCKOPTS, SPAWNS, MODES, ACCEPTED, REPLIED, ACCEPTING,
	ESTABLISHED, ANSWERED, ENDED, RESET, REFUSED, UNESTABLISHED, STRANDED, COUNTS
};

static const char * const count_name[COUNTS] = {
	"steps", "listens", "listen_errors", "forks", "threads", "execs", "exits", "kills",
	"stops", "sent_fds", "got_fds", "closes", "shutdowns", "unspecs", "sockopts", "spawns",
	"modes", "accepted", "replied", "accepting", "established", "answered", "eof", "reset",
	"refused", "unestablished", "stranded",
};

static struct shared {
	unsigned long n[COUNTS];
	uint64_t seed;
	bool stop, calm, attach, verbose;
	double deadline;	/* actors end by themselves then */
	int port, clients_left;
	int clients_starting;	/* those that may still open a connection */
	struct slot {
		pid_t pid;
		double cont_at;	/* when to wake it after SIGSTOP */
	} slot[MAX_SLOTS];
} *shm;

struct actor {
	uint64_t id, rng;
	unsigned int children;
	int slot;
	bool thread;
	unsigned int steps_left;	/* of a thread */
};

/* of this process; taken by exchange, so that each number is closed once */
static int lfds[MAX_LISTENERS], epfds[MAX_EPOLLS];
static int nthreads;

static int initial_actors = 5, duration = 8000;

static void count(enum count c)
{
	__atomic_add_fetch(&shm->n[c], 1, __ATOMIC_RELAXED);
}

static unsigned long counted(enum count c)
{
	return __atomic_load_n(&shm->n[c], __ATOMIC_RELAXED);
}

/* needs no system call, which an emulated kernel with debugging takes its time for */
static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

/* --- decisions --- */

static uint64_t mix(uint64_t x)
{
	x ^= x >> 30;
	x *= 0xbf58476d1ce4e5b9ULL;
	x ^= x >> 27;
	x *= 0x94d049bb133111ebULL;
	return x ^ x >> 31;
}

static uint32_t draw(uint64_t *rng)
{
	*rng += 0x9e3779b97f4a7c15ULL;
	return mix(*rng) >> 32;
}

static void actor_init(struct actor *a, uint64_t id, int slot)
{
	memset(a, 0, sizeof(*a));
	a->id = id;
	a->rng = mix(shm->seed ^ mix(id));
	a->slot = slot;
}

static uint64_t next_child(struct actor *a)
{
	return mix(a->id * 64 + ++a->children);
}

/* --- tables of descriptors --- */

static bool keep(int *table, int size, int fd)
{
	int i, empty = -1;

	for (i = 0; i < size; i++) {
		empty = -1;
		if (__atomic_compare_exchange_n(&table[i], &empty, fd, false, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return true;
	}
	close(fd);
	return false;
}

/* the x-th that is there, or -1 */
static int pick(const int *table, int size, uint32_t x)
{
	int i, fd;

	for (i = 0; i < size; i++) {
		fd = __atomic_load_n(&table[(x + i) % size], __ATOMIC_RELAXED);
		if (fd >= 0)
			return fd;
	}
	return -1;
}

static bool drop(int *table, int size, uint32_t x)
{
	int fd = __atomic_exchange_n(&table[x % size], -1, __ATOMIC_RELAXED);

	return fd >= 0 && !close(fd);
}

static int a_listener(uint32_t x)
{
	return pick(lfds, MAX_LISTENERS, x);
}

static int an_epoll(uint32_t x)
{
	return pick(epfds, MAX_EPOLLS, x);
}

/* --- listeners --- */

static int device_call(unsigned int cmd, struct fsocket_ioctl_arg *arg)
{
	int fd, ret;

	if (!shm->attach)
		return -1;
	fd = open("/dev/fastsocket", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	ret = ioctl(fd, cmd, arg);
	close(fd);
	return ret;
}

static int bound(int family, int port, bool reuseport)
{
	static const char * const host[] = { "0.0.0.0", "::", "::" };
	struct timeval tv = { .tv_usec = 30000 };
	int on = 1, only = family == 1, fd;
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, host[family], port);

	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	/* a blocking accept() ends by itself */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	if (!bind(fd, (struct sockaddr *)&ss, len))
		return fd;
	close(fd);
	return -1;
}

static void op_listen(struct actor *a, uint32_t x, uint32_t y)
{
	int fd = bound(x % 3, shm->port + x / 3 % PORTS, y & 1);

	(void)a;
	if (fd < 0)
		return;
	if (y & 2)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	if (listen_either(fd, 1 + y / 4 % 128, shm->attach)) {
		count(LISTEN_ERRORS);
		close(fd);
		return;
	}
	count(LISTENS);
	keep(lfds, MAX_LISTENERS, fd);
}

static void op_relisten(struct actor *a, uint32_t x, uint32_t y)
{
	int fd = a_listener(x);

	(void)a;
	if (fd < 0 || listen_either(fd, (shm->calm ? 16 : 0) + y % 64, shm->attach))
		return;
	count(LISTENS);
}

static void op_close(struct actor *a, uint32_t x, uint32_t y)
{
	struct fsocket_ioctl_arg arg = { 0 };
	int fd;

	(void)a;
	if (y % 4 || !shm->attach) {
		if (drop(lfds, MAX_LISTENERS, x))
			count(CLOSES);
		return;
	}
	fd = __atomic_exchange_n(&lfds[x % MAX_LISTENERS], -1, __ATOMIC_RELAXED);
	if (fd < 0)
		return;
	arg.fd = fd;
	if (device_call(FSOCKET_IOC_CLOSE, &arg))
		close(fd);
	count(CLOSES);
}

static void op_dup(struct actor *a, uint32_t x, uint32_t y)
{
	int fd = a_listener(x);

	(void)a;
	if (fd < 0)
		return;
	fd = fcntl(fd, y & 1 ? F_DUPFD : F_DUPFD_CLOEXEC, 3);
	if (fd >= 0)
		keep(lfds, MAX_LISTENERS, fd);
}

static void op_shutdown(struct actor *a, uint32_t x, uint32_t y)
{
	struct fsocket_ioctl_arg arg = { .fd = a_listener(x), .op.shutdown_op.how = y % 3 };
	int fd = arg.fd;

	(void)a;
	if (fd < 0)
		return;
	if ((y & 64) && shm->attach)
		device_call(FSOCKET_IOC_SHUTDOWN_LISTEN, &arg);
	else
		shutdown(fd, y % 3);
	count(SHUTDOWNS);
}

static void op_unspec(struct actor *a, uint32_t x, uint32_t y)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };
	int fd = a_listener(x);

	(void)a;
	if (fd < 0)
		return;
	connect(fd, &sa, sizeof(sa));
	count(UNSPECS);
	/* and as often it listens again */
	if (y & 1)
		listen_either(fd, 16, shm->attach);
}

/* --- options --- */

static const struct option {
	int level, name;
	int value[3];
} options[] = {
	{ SOL_SOCKET, SO_REUSEADDR, { 1, 0, 1 } },
	{ SOL_SOCKET, SO_REUSEPORT, { 1, 0, 1 } },
	{ SOL_SOCKET, SO_KEEPALIVE, { 1, 0, 1 } },
	{ SOL_SOCKET, SO_OOBINLINE, { 1, 0, 1 } },
	{ SOL_SOCKET, SO_RCVBUF, { 4096, 65536, 1 } },
	{ SOL_SOCKET, SO_SNDBUF, { 4608, 65536, 300000 } },
	{ SOL_SOCKET, SO_RCVLOWAT, { 1, 8, 1 } },
	{ SOL_SOCKET, SO_PRIORITY, { 0, 4, 6 } },
	{ SOL_SOCKET, SO_MARK, { 0, 7, 0 } },
	{ SOL_SOCKET, SO_BUSY_POLL, { 0, 20, 0 } },
	{ SOL_SOCKET, SO_INCOMING_CPU, { 0, 2, -1 } },
	{ SOL_SOCKET, SO_TIMESTAMP, { 1, 0, 1 } },
	{ SOL_SOCKET, SO_DONTROUTE, { 1, 0, 0 } },
	{ SOL_SOCKET, SO_DETACH_FILTER, { 0, 0, 0 } },
	{ IPPROTO_TCP, TCP_NODELAY, { 1, 0, 1 } },
	{ IPPROTO_TCP, TCP_CORK, { 0, 1, 0 } },
	{ IPPROTO_TCP, TCP_MAXSEG, { 536, 1400, 100 } },
	{ IPPROTO_TCP, TCP_KEEPIDLE, { 10, 100, 1000 } },
	{ IPPROTO_TCP, TCP_SYNCNT, { 3, 6, 9 } },
	{ IPPROTO_TCP, TCP_LINGER2, { 1, 90, -1 } },
	{ IPPROTO_TCP, TCP_DEFER_ACCEPT, { 0, 3, 0 } },
	{ IPPROTO_TCP, TCP_WINDOW_CLAMP, { 4096, 65535, 100000 } },
	{ IPPROTO_TCP, TCP_QUICKACK, { 1, 0, 1 } },
	{ IPPROTO_TCP, TCP_FASTOPEN, { 0, 5, 0 } },
	{ IPPROTO_TCP, TCP_SAVE_SYN, { 1, 0, 2 } },
	{ IPPROTO_TCP, TCP_NOTSENT_LOWAT, { 4096, 16384, -1 } },
	{ IPPROTO_TCP, TCP_INQ, { 1, 0, 1 } },
	{ IPPROTO_IP, IP_TOS, { 0, 0x10, 0x28 } },
	{ IPPROTO_IP, IP_TTL, { 64, 1, 255 } },
	{ IPPROTO_IP, IP_MTU_DISCOVER, { 0, 1, 2 } },
	{ IPPROTO_IP, IP_FREEBIND, { 1, 0, 1 } },
	{ IPPROTO_IP, IP_TRANSPARENT, { 1, 0, 1 } },
	{ IPPROTO_IPV6, IPV6_TCLASS, { 0, 0x10, 0x28 } },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, { -1, 64, 1 } },
	{ IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, { 1, 0, 1 } },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, { 1, 0, 1 } },
	{ IPPROTO_IPV6, IPV6_V6ONLY, { 1, 0, 1 } },
};

static void set_timeout(int fd, uint32_t y)
{
	struct timeval tv = { .tv_usec = 1000 + y % 60000 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
}

/* one that passes all, or (not in the calm) one that drops all */
static void set_filter(int fd, uint32_t y)
{
	struct sock_filter code = BPF_STMT(BPF_RET | BPF_K,
					   shm->calm || y & 1 ? 0xffffffff : 0);
	struct sock_fprog prog = { 1, &code };

	setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

static void set_congestion(int fd, uint32_t y)
{
	static const char * const name[] = { "cubic", "reno", "dctcp" };

	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name[y % 3], strlen(name[y % 3]));
}

/* for an address that no client has */
static void set_md5(int fd, uint32_t y)
{
	struct tcp_md5sig md5 = { .tcpm_keylen = y & 1 ? 5 : 0, .tcpm_key = "storm" };

	make_address(&md5.tcpm_addr, y & 2 ? "192.0.2.1" : "2001:db8::1", 0);
	setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &md5, sizeof(md5));
}

static void set_linger(int fd, uint32_t y)
{
	struct linger l = { .l_onoff = !shm->calm && y & 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static void set_device(int fd, uint32_t y)
{
	setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", y & 1 ? 3 : 0);
}

static void set_ulp(int fd, uint32_t y)
{
	(void)y;
	setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", 4);
}

/* SIGIO is ignored */
static void set_async(int fd, uint32_t y)
{
	int fl = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETOWN, getpid());
	fcntl(fd, F_SETFL, y & 1 ? fl | O_ASYNC : fl & ~O_ASYNC);
}

static void set_nonblock(int fd, uint32_t y)
{
	int fl = fcntl(fd, F_GETFL);

	fcntl(fd, F_SETFL, y & 1 ? fl | O_NONBLOCK : fl & ~O_NONBLOCK);
}

static void (* const setters[])(int fd, uint32_t y) = {
	set_timeout, set_filter, set_congestion, set_md5, set_linger, set_device, set_ulp,
	set_async, set_nonblock, set_nonblock,
};

static void op_sockopt(struct actor *a, uint32_t x, uint32_t y)
{
	unsigned int i = y % (ARRAY_SIZE(options) + ARRAY_SIZE(setters));
	const struct option *o = &options[i];
	int fd = a_listener(x);

	(void)a;
	if (fd < 0)
		return;
	count(SOCKOPTS);
	if (i >= ARRAY_SIZE(options))
		return setters[i - ARRAY_SIZE(options)](fd, y / 64);
	setsockopt(fd, o->level, o->name, &o->value[y / 64 % 3], sizeof(int));
}

static void op_look(struct actor *a, uint32_t x, uint32_t y)
{
	static const char * const file[] = {
		"/proc/net/fsocket_listeners", "/proc/net/fsocket_stats",
	};
	struct tcp_info info;
	socklen_t len = sizeof(info);
	char block[4096];
	int fd;

	(void)a;
	getsockopt(a_listener(x), IPPROTO_TCP, TCP_INFO, &info, &len);
	fd = open(file[y % 2], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	while (read(fd, block, sizeof(block)) > 0)
		;
	close(fd);
}

/* --- connections --- */

static bool request_came(int fd, struct fs_request *req)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double end = now() + SERVE_MS;
	size_t got = 0;
	ssize_t n;

	while (got < sizeof(*req) && now() < end) {
		if (poll(&p, 1, SERVE_MS) <= 0)
			continue;
		n = recv(fd, (char *)req + got, sizeof(*req) - got, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n > 0)
			got += n;
	}
	return got == sizeof(*req);
}

static void serve(int fd)
{
	struct fs_reply reply = { 0 };
	struct fs_request req;

	if (request_came(fd, &req)) {
		reply.seq = req.seq;
		if (send(fd, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply))
			count(REPLIED);
	}
	close(fd);
}

/*
 * Who is killed in here may have taken a connection that nobody knows of: in the
 * end ACCEPTING is how many there can be.
 */
static int take(int lfd, int how)
{
	struct fsocket_ioctl_arg arg = { .fd = lfd };
	int fd;

	count(ACCEPTING);
	if (how == 0)
		fd = accept(lfd, NULL, NULL);
	else if (how == 1 && shm->attach)
		fd = device_call(FSOCKET_IOC_ACCEPT, &arg);
	else
		fd = accept4(lfd, NULL, NULL, how & 1 ? SOCK_CLOEXEC : SOCK_NONBLOCK);
	if (fd >= 0)
		count(ACCEPTED);
	__atomic_sub_fetch(&shm->n[ACCEPTING], 1, __ATOMIC_RELAXED);
	return fd;
}

static bool pending(int lfd)
{
	struct pollfd p = { .fd = lfd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

/* after poll(); the listener may block, and waiting is for op_accept() */
static void serve_some(int lfd, int how, int most)
{
	int fd;

	while (most-- && pending(lfd) && (fd = take(lfd, how)) >= 0)
		serve(fd);
}

static void op_accept(struct actor *a, uint32_t x, uint32_t y)
{
	int lfd = a_listener(x), fd;

	(void)a;
	if (lfd < 0)
		return;
	fd = take(lfd, y % 4);
	if (fd >= 0)
		serve(fd);
}

static void op_poll(struct actor *a, uint32_t x, uint32_t y)
{
	struct pollfd p[MAX_LISTENERS];
	int i;

	(void)a;
	for (i = 0; i < MAX_LISTENERS; i++) {
		p[i].fd = x >> i & 1 ? lfds[i] : -1;
		p[i].events = POLLIN;
	}
	if (poll(p, MAX_LISTENERS, y % 100) <= 0)
		return;
	for (i = 0; i < MAX_LISTENERS; i++)
		if (p[i].fd >= 0 && p[i].revents & POLLIN)
			serve_some(p[i].fd, y / 64 % 4, 2);
}

static void op_select(struct actor *a, uint32_t x, uint32_t y)
{
	struct timeval tv = { .tv_usec = y % 100000 };
	int one = a_listener(x), two = a_listener(y);
	fd_set set;

	(void)a;
	if (one < 0 || two < 0)
		return;
	FD_ZERO(&set);
	FD_SET(one, &set);
	FD_SET(two, &set);
	if (select((one > two ? one : two) + 1, &set, NULL, NULL, &tv) <= 0)
		return;
	if (FD_ISSET(one, &set))
		serve_some(one, y / 64 % 4, 2);
	if (FD_ISSET(two, &set) && two != one)
		serve_some(two, y / 64 % 4, 2);
}

static void op_epoll_new(struct actor *a, uint32_t x, uint32_t y)
{
	int fd;

	(void)a;
	if (y % 4 == 0)
		drop(epfds, MAX_EPOLLS, x);
	fd = epoll_create1(y & 1 ? EPOLL_CLOEXEC : 0);
	if (fd >= 0)
		keep(epfds, MAX_EPOLLS, fd);
}

static const uint32_t epoll_flags[] = { 0, 0, 0, EPOLLET, EPOLLEXCLUSIVE, EPOLLONESHOT };

static void op_epoll_add(struct actor *a, uint32_t x, uint32_t y)
{
	struct epoll_event ev = { .data.fd = a_listener(x) };

	ev.events = EPOLLIN | epoll_flags[y / 8 % ARRAY_SIZE(epoll_flags)];
	if (an_epoll(y) < 0)
		op_epoll_new(a, x, 1);
	epoll_ctl(an_epoll(y), EPOLL_CTL_ADD, ev.data.fd, &ev);
}

static void op_epoll_change(struct actor *a, uint32_t x, uint32_t y)
{
	struct epoll_event ev = { .data.fd = a_listener(x) };

	(void)a;
	ev.events = EPOLLIN | epoll_flags[y / 8 % ARRAY_SIZE(epoll_flags)];
	epoll_ctl(an_epoll(y), y & 64 ? EPOLL_CTL_MOD : EPOLL_CTL_DEL, ev.data.fd, &ev);
}

static void op_epoll_wait(struct actor *a, uint32_t x, uint32_t y)
{
	struct epoll_event ev[4];
	int i, n;

	(void)a;
	n = epoll_wait(an_epoll(x), ev, 4, y % 150);
	for (i = 0; i < n; i++)
		serve_some(ev[i].data.fd, y / 64 % 4, 3);
}

static void op_spawn(struct actor *a, uint32_t x, uint32_t y)
{
	struct fsocket_ioctl_arg arg = { .op.spawn_op.cpu = (int)(y % 5) - 1 };
	int fd = a_listener(x);

	(void)a;
	if (fd < 0)
		return;
	arg.fd = fd;
	device_call(y & 64 ? FSOCKET_IOC_SPAWN_LISTEN : FSOCKET_IOC_SPAWN_ALL_LISTEN, &arg);
	count(SPAWNS);
}

static void op_mode(struct actor *a, uint32_t x, uint32_t y)
{
	char mode = '0' + y % 3;
	int fd;

	(void)a;
	if (!shm->attach || x % 4)
		return;
	fd = open("/sys/module/fastsocket/parameters/enable_listen_spawn", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	if (write(fd, &mode, 1) == 1)
		count(MODES);
	close(fd);
}

/* --- descriptors that travel --- */

union rights {
	char buf[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

static void op_send(struct actor *a, uint32_t x, uint32_t y)
{
	union rights r = { .buf = "" };
	struct iovec iov = { "x", 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = r.buf,
			    .msg_controllen = sizeof(r.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int fd = y & 64 ? an_epoll(x) : a_listener(x);

	(void)a;
	if (fd < 0)
		return;
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	if (sendmsg(MAIL_FD(y % MAILBOXES), &m, MSG_DONTWAIT) == 1)
		count(SENT_FDS);
}

static int receive_fd(int box, int flags)
{
	union rights r;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = r.buf,
			    .msg_controllen = sizeof(r.buf) };
	struct cmsghdr *c;
	int fd;

	if (recvmsg(MAIL_FD(box) + 1, &m, MSG_DONTWAIT | flags) < 0)
		return -1;
	c = CMSG_FIRSTHDR(&m);
	/* no room in the table of descriptors: the message comes without */
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static bool is_listener(int fd)
{
	socklen_t len = sizeof(int);
	int yes = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) && yes;
}

static bool is_epoll(int fd)
{
	char path[40], target[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, target, sizeof(target));
	return n == 22 && !memcmp(target, "anon_inode:[eventpoll]", 22);
}

/* an epoll, too, brings listeners that nobody here has */
static void op_receive(struct actor *a, uint32_t x, uint32_t y)
{
	int fd = receive_fd(x % MAILBOXES, y & 1 ? MSG_CMSG_CLOEXEC : 0);

	(void)a;
	if (fd < 0)
		return;
	count(GOT_FDS);
	if (is_epoll(fd))
		keep(epfds, MAX_EPOLLS, fd);
	else
		keep(lfds, MAX_LISTENERS, fd);
}

/* --- lives --- */

static void *act(void *actor);

static int claim_slot(pid_t pid)
{
	pid_t none;
	int i;

	for (i = 0; i < MAX_SLOTS; i++) {
		none = 0;
		if (__atomic_compare_exchange_n(&shm->slot[i].pid, &none, pid, false,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return i;
	}
	return -1;
}

static bool stopping(void)
{
	return __atomic_load_n(&shm->stop, __ATOMIC_RELAXED) || now() > shm->deadline;
}

/*
 * A slot is claimed before the fork: they bound the number of processes. Those
 * that the main process makes begin with a listener.
 */
static void fork_actor(uint64_t id, bool listening)
{
	int slot = claim_slot(-1);
	struct actor a;
	pid_t pid;

	if (slot < 0)
		return;
	shm->slot[slot].cont_at = 0;
	pid = fork();
	if (!pid) {
		shm->slot[slot].pid = getpid();
		nthreads = 0;
		actor_init(&a, id, slot);
		if (listening)
			op_listen(&a, mix(id), 0);
		act(&a);
		_exit(0);
	}
	shm->slot[slot].pid = pid < 0 ? 0 : pid;
	count(FORKS);
}

static void op_fork(struct actor *a, uint32_t x, uint32_t y)
{
	uint64_t id = next_child(a);

	(void)x;
	(void)y;
	if (!stopping())
		fork_actor(id, false);
}

static void op_thread(struct actor *a, uint32_t x, uint32_t y)
{
	uint64_t id = next_child(a);
	pthread_attr_t attr;
	struct actor *t;
	pthread_t thread;

	(void)y;
	if (__atomic_add_fetch(&nthreads, 1, __ATOMIC_RELAXED) > MAX_THREADS)
		goto none;
	t = malloc(sizeof(*t));
	if (!t)
		goto none;
	actor_init(t, id, a->slot);
	t->thread = true;
	t->steps_left = 5 + x % 50;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (!pthread_create(&thread, &attr, act, t)) {
		count(THREADS);
		return;
	}
	free(t);
none:
	__atomic_sub_fetch(&nthreads, 1, __ATOMIC_RELAXED);
}

static void op_thread_exit(struct actor *a, uint32_t x, uint32_t y)
{
	(void)x;
	(void)y;
	if (a->thread) {
		a->steps_left = 1;
		return;
	}
	/* the leader goes, the others stay */
	if (__atomic_load_n(&nthreads, __ATOMIC_RELAXED))
		pthread_exit(NULL);
}

static void op_exit(struct actor *a, uint32_t x, uint32_t y)
{
	(void)a;
	(void)y;
	if (x % 3)
		return;
	count(EXITS);
	_exit(0);
}

static void op_exec(struct actor *a, uint32_t x, uint32_t y)
{
	char id[24], rng[24], children[16], slot[16];
	char *argv[] = { "fsstorm", "--again", id, rng, children, slot, NULL };

	(void)y;
	if (x % 3)
		return;
	snprintf(id, sizeof(id), "%llx", (unsigned long long)a->id);
	snprintf(rng, sizeof(rng), "%llx", (unsigned long long)a->rng);
	snprintf(children, sizeof(children), "%u", a->children);
	snprintf(slot, sizeof(slot), "%d", a->slot);
	count(EXECS);
	execv("/proc/self/exe", argv);
	_exit(1);
}

static void op_reap(struct actor *a, uint32_t x, uint32_t y)
{
	pid_t pid = waitpid(-1, NULL, WNOHANG);
	int i;

	(void)a;
	(void)x;
	(void)y;
	for (i = 0; pid > 0 && i < MAX_SLOTS; i++)
		if (shm->slot[i].pid == pid)
			shm->slot[i].pid = 0;
}

static void op_kill(struct actor *a, uint32_t x, uint32_t y)
{
	int victim = x % MAX_SLOTS;
	pid_t pid = shm->slot[victim].pid;

	if (y % 3 || victim == a->slot || pid <= 0)
		return;
	kill(pid, SIGKILL);
	count(KILLS);
}

static void op_stop(struct actor *a, uint32_t x, uint32_t y)
{
	int victim = x % MAX_SLOTS;
	pid_t pid = shm->slot[victim].pid;

	if (victim == a->slot || pid <= 0)
		return;
	/* the main process wakes it */
	shm->slot[victim].cont_at = now() + 100 + y % 900;
	kill(pid, SIGSTOP);
	count(STOPS);
}

static void op_affinity(struct actor *a, uint32_t x, uint32_t y)
{
	cpu_set_t set;
	int i;

	(void)a;
	CPU_ZERO(&set);
	for (i = 0; i < 4; i++)
		if ((1 + x % 15) >> i & 1)
			CPU_SET(i, &set);
	/* as often all, which is what a server usually has */
	if (y & 1)
		memset(&set, 0xff, sizeof(set));
	sched_setaffinity(0, sizeof(set), &set);
}

static void op_nap(struct actor *a, uint32_t x, uint32_t y)
{
	(void)a;
	(void)y;
	msleep(x % 25);
}

static const struct op {
	const char *name;
	void (*run)(struct actor *a, uint32_t x, uint32_t y);
	int wild, calm;		/* how often */
} ops[] = {
	{ "listen", op_listen, 8, 0 },
	{ "relisten", op_relisten, 3, 2 },
	{ "close", op_close, 5, 2 },
	{ "dup", op_dup, 2, 2 },
	{ "shutdown", op_shutdown, 3, 0 },
	{ "unspec", op_unspec, 2, 0 },
	{ "sockopt", op_sockopt, 6, 6 },
	{ "look", op_look, 1, 1 },
	{ "accept", op_accept, 8, 3 },
	{ "poll", op_poll, 8, 8 },
	{ "select", op_select, 4, 4 },
	{ "epoll_new", op_epoll_new, 2, 2 },
	{ "epoll_add", op_epoll_add, 8, 8 },
	{ "epoll_change", op_epoll_change, 3, 3 },
	{ "epoll_wait", op_epoll_wait, 30, 24 },
	{ "spawn", op_spawn, 2, 2 },
	{ "mode", op_mode, 1, 1 },
	{ "send", op_send, 3, 3 },
	{ "receive", op_receive, 4, 4 },
	{ "fork", op_fork, 3, 3 },
	{ "thread", op_thread, 3, 3 },
	{ "thread_exit", op_thread_exit, 1, 1 },
	{ "exit", op_exit, 2, 2 },
	{ "exec", op_exec, 2, 2 },
	{ "reap", op_reap, 3, 3 },
	{ "kill", op_kill, 4, 3 },
	{ "stop", op_stop, 3, 3 },
	{ "affinity", op_affinity, 2, 2 },
	{ "nap", op_nap, 3, 3 },
};

static const struct op *choose(uint32_t r)
{
	unsigned int i, all = 0;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		all += shm->calm ? ops[i].calm : ops[i].wild;
	r %= all;
	for (i = 0; ; i++) {
		all = shm->calm ? ops[i].calm : ops[i].wild;
		if (r < all)
			return &ops[i];
		r -= all;
	}
}

/* three numbers for each step, whatever comes of it */
static const struct op *decide(struct actor *a, uint32_t *x, uint32_t *y)
{
	const struct op *op = choose(draw(&a->rng));

	*x = draw(&a->rng);
	*y = draw(&a->rng);
	return op;
}

static void *act(void *actor)
{
	struct actor *a = actor;
	const struct op *op;
	uint32_t x, y;

	while (!stopping() && (!a->thread || a->steps_left--)) {
		op = decide(a, &x, &y);
		if (shm->verbose)
			dprintf(STDERR_FILENO, "%016llx %s %u %u\n", (unsigned long long)a->id,
				op->name, x, y);
		count(STEPS);
		op->run(a, x, y);
	}
	if (a->thread) {
		free(a);
		__atomic_sub_fetch(&nthreads, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* what exec has left: the descriptors tell what they are */
static int again(char **argv)
{
	struct actor a;
	int fd;

	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED, SHM_FD, 0);
	if (shm == MAP_FAILED)
		_exit(1);
	memset(lfds, -1, sizeof(lfds));
	memset(epfds, -1, sizeof(epfds));
	for (fd = 3; fd < LIFE_FD; fd++) {
		if (is_listener(fd))
			keep(lfds, MAX_LISTENERS, fd);
		else if (is_epoll(fd))
			keep(epfds, MAX_EPOLLS, fd);
		else
			close(fd);
	}
	actor_init(&a, strtoull(argv[2], NULL, 16), atoi(argv[5]));
	a.rng = strtoull(argv[3], NULL, 16);
	a.children = atoi(argv[4]);
	act(&a);
	return 0;
}

/* --- clients --- */

struct conn {
	int fd;
	bool established;
	uint32_t seq;
	double start;
	size_t got;
	struct fs_reply reply;
};

static void conn_end(struct conn *c, enum count how)
{
	count(how);
	close(c->fd);
	c->fd = -1;
}

static void conn_error(struct conn *c, int err)
{
	if (c->established)
		conn_end(c, RESET);
	else
		conn_end(c, err == ECONNREFUSED ? REFUSED : UNESTABLISHED);
}

static void conn_start(struct conn *c, uint64_t *rng)
{
	static const char * const host[] = { "127.0.0.1", "::1" };
	uint32_t x = draw(rng);
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, host[x & 1], shm->port + x / 2 % PORTS);

	memset(c, 0, sizeof(*c));
	c->seq = x;
	c->start = now();
	c->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket of a client");
	if (connect(c->fd, (struct sockaddr *)&ss, len) && errno != EINPROGRESS)
		conn_error(c, errno);
}

static void conn_established(struct conn *c)
{
	struct fs_request req = { .magic = "FSrq", .seq = c->seq };
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err)
		return conn_error(c, err);
	c->established = true;
	count(ESTABLISHED);
	if (send(c->fd, &req, sizeof(req), MSG_NOSIGNAL) != sizeof(req))
		conn_end(c, RESET);
}

static void conn_readable(struct conn *c)
{
	ssize_t n = recv(c->fd, (char *)&c->reply + c->got, sizeof(c->reply) - c->got, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n < 0)
		return conn_end(c, RESET);
	if (n == 0)
		return conn_end(c, ENDED);
	c->got += n;
	if (c->got == sizeof(c->reply))
		conn_end(c, c->reply.seq == c->seq ? ANSWERED : STRANDED);
}

static int conns_turn(struct conn *c, int n)
{
	struct pollfd p[MAX_INFLIGHT];
	int i, open = 0;

	for (i = 0; i < n; i++) {
		p[i].fd = c[i].fd;
		p[i].events = c[i].established ? POLLIN : POLLOUT;
		p[i].revents = 0;
		open += c[i].fd >= 0;
	}
	poll(p, n, 15);
	for (i = 0; i < n; i++) {
		if (c[i].fd < 0 || !p[i].revents)
			continue;
		if (c[i].established)
			conn_readable(&c[i]);
		else
			conn_established(&c[i]);
	}
	return open;
}

/* new ones until the storm is over, then until each has had its fate */
static void client(int idx)
{
	uint64_t rng = mix(shm->seed ^ mix(1000 + idx));
	struct conn c[MAX_INFLIGHT];
	double end = 0, next = 0;
	int i;

	for (i = 0; i < MAX_INFLIGHT; i++)
		c[i].fd = -1;
	close(LIFE_FD);
	for (;;) {
		bool more = !__atomic_load_n(&shm->stop, __ATOMIC_RELAXED);

		for (i = 0; more && now() > next && i < MAX_INFLIGHT; i++)
			if (c[i].fd < 0) {
				conn_start(&c[i], &rng);
				next = now() + draw(&rng) % 20;
			}
		if (!more && !end) {
			end = now() + PATIENCE_MS;
			__atomic_sub_fetch(&shm->clients_starting, 1, __ATOMIC_RELAXED);
		}
		if (!conns_turn(c, MAX_INFLIGHT) && !more)
			break;
		if (!more && now() > end)
			break;
	}
	for (i = 0; i < MAX_INFLIGHT; i++)
		if (c[i].fd >= 0)
			count(c[i].established ? STRANDED : UNESTABLISHED);
	__atomic_sub_fetch(&shm->clients_left, 1, __ATOMIC_RELAXED);
	_exit(0);
}

/* --- the main process --- */

static uint64_t root_child = 1;
static int life_fd;

static void reap(void)
{
	pid_t pid;
	int i;

	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0)
		for (i = 0; i < MAX_SLOTS; i++)
			if (shm->slot[i].pid == pid)
				shm->slot[i].pid = 0;
}

static int actors(void)
{
	int i, n = 0;

	for (i = 0; i < MAX_SLOTS; i++)
		n += shm->slot[i].pid > 0;
	return n;
}

static void wake_stopped(void)
{
	double t = now();
	int i;

	for (i = 0; i < MAX_SLOTS; i++) {
		struct slot *s = &shm->slot[i];

		if (s->pid > 0 && s->cont_at && t > s->cont_at) {
			s->cont_at = 0;
			kill(s->pid, SIGCONT);
		}
	}
}

static void signal_all(int sig)
{
	int i;

	for (i = 0; i < MAX_SLOTS; i++)
		if (shm->slot[i].pid > 0)
			kill(shm->slot[i].pid, sig);
}

/* all who have the writing end of the pipe are gone */
static bool all_dead(void)
{
	struct pollfd p = { .fd = life_fd, .events = POLLIN };

	return poll(&p, 1, 5) == 1 && p.revents & POLLHUP;
}

/* calm: what the main process accepts; returns how many */
static int serve_listeners(void)
{
	struct pollfd p[MAX_LISTENERS];
	int i, fd, n = 0;

	for (i = 0; i < MAX_LISTENERS; i++) {
		p[i].fd = lfds[i];
		p[i].events = POLLIN;
	}
	if (poll(p, MAX_LISTENERS, 20) <= 0)
		return 0;
	for (i = 0; i < MAX_LISTENERS; i++) {
		if (p[i].fd < 0 || !p[i].revents)
			continue;
		fcntl(p[i].fd, F_SETFL, O_NONBLOCK);
		while ((fd = take(p[i].fd, 3)) >= 0) {
			serve(fd);
			n++;
		}
	}
	return n;
}

static int serve_for(int ms)
{
	double end = now() + ms;
	int n = 0;

	while (now() < end)
		n += serve_listeners();
	return n;
}

static int serve_until_quiet(double give_up)
{
	double last = now();
	int n, all = 0;

	while (now() < give_up && now() - last < QUIET_MS &&
	       __atomic_load_n(&shm->clients_left, __ATOMIC_RELAXED)) {
		n = serve_listeners();
		/* A client that waits for a CPU may not have seen yet that it is over. */
		if (n || __atomic_load_n(&shm->clients_starting, __ATOMIC_RELAXED))
			last = now();
		all += n;
	}
	return all;
}

static bool end_actors(void)
{
	double end = now() + PATIENCE_MS;

	while (!all_dead()) {
		signal_all(SIGCONT);
		signal_all(SIGKILL);
		reap();
		if (now() > end)
			return false;
	}
	return true;
}

static void close_all(void)
{
	int i, fd;

	for (i = 0; i < MAILBOXES; i++)
		while ((fd = receive_fd(i, 0)) >= 0)
			close(fd);
	for (i = 0; i < MAX_LISTENERS; i++)
		drop(lfds, MAX_LISTENERS, i);
}

static bool await_clients(bool serving)
{
	double end = now() + PATIENCE_MS + 20000;

	while (__atomic_load_n(&shm->clients_left, __ATOMIC_RELAXED)) {
		if (now() > end)
			return false;
		if (serving)
			serve_listeners();
		else
			msleep(20);
		reap();
	}
	return true;
}

static void fixed_fd(int fd, int at)
{
	if (fd < 0 || dup2(fd, at) != at)
		die("descriptor %d", at);
	close(fd);
}

static void set_up(void)
{
	int i, fds[2];

	for (i = 0; i < MAILBOXES; i++) {
		if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds))
			die("socketpair");
		fixed_fd(fds[0], MAIL_FD(i));
		fixed_fd(fds[1], MAIL_FD(i) + 1);
	}
	if (pipe(fds))
		die("pipe");
	life_fd = fcntl(fds[0], F_DUPFD_CLOEXEC, 300);
	close(fds[0]);
	fixed_fd(fds[1], LIFE_FD);
	memset(lfds, -1, sizeof(lfds));
	memset(epfds, -1, sizeof(epfds));
	signal(SIGIO, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1))
		die("subreaper");
}

static void calm_listeners(void)
{
	int i, fd;

	/* every port for both families */
	for (i = 0; i < PORTS; i++) {
		fd = bound(2, shm->port + i, false);
		if (fd < 0)
			die("bind to port %d", shm->port + i);
		if (i % 2)
			fcntl(fd, F_SETFL, O_NONBLOCK);
		if (listen_either(fd, 64, shm->attach))
			die("listen");
		count(LISTENS);
		lfds[i] = fd;
	}
}

static void start_clients(void)
{
	int i;

	shm->clients_left = CLIENTS;
	shm->clients_starting = CLIENTS;
	for (i = 0; i < CLIENTS; i++)
		if (!fork())
			client(i);
}

/* A slow machine gets the time to make a storm of it, within bounds. */
static bool storm_goes_on(double begin)
{
	double t = now() - begin;

	return t < duration || (t < MOST_TIMES * duration &&
				(counted(STEPS) < FEW_STEPS || counted(ANSWERED) < FEW_ANSWERED));
}

static void storm(void)
{
	double begin = now();
	int i;

	shm->deadline = begin + MOST_TIMES * duration + 60000;
	if (shm->calm)
		calm_listeners();
	for (i = 0; i < initial_actors; i++)
		fork_actor(mix(root_child++), !shm->calm);
	start_clients();
	while (storm_goes_on(begin)) {
		reap();
		wake_stopped();
		while (actors() < initial_actors)
			fork_actor(mix(root_child++), !shm->calm);
		msleep(50);
	}
}

static void watchdog(int sig)
{
	static const char text[] = "fsstorm: ended by its watchdog\n";

	(void)sig;
	signal_all(SIGCONT);
	signal_all(SIGKILL);
	if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0)
		_exit(4);
	_exit(3);
}

/* returns whether the verdict is good */
static bool report(int served, int late, bool hung)
{
	unsigned long lost = counted(ESTABLISHED) - counted(ANSWERED);
	unsigned long unknown = counted(ACCEPTED) - counted(REPLIED) + counted(ACCEPTING);
	bool ok = !hung && !counted(STRANDED) && counted(STEPS) && counted(LISTENS) &&
		  counted(ANSWERED) && counted(ANSWERED) <= counted(ACCEPTED) + counted(ACCEPTING);
	int i;

	if (shm->calm)
		ok &= !late && lost <= unknown && !counted(REFUSED) && !counted(UNESTABLISHED);
	printf("seed=%llu profile=%s attached=%d served=%d late=%d hung=%d lost=%lu unknown=%lu",
	       (unsigned long long)shm->seed, shm->calm ? "calm" : "wild", shm->attach, served,
	       late, hung, lost, unknown);
	for (i = 0; i < COUNTS; i++)
		printf(" %s=%lu", count_name[i], shm->n[i]);
	printf(" verdict=%s\n", ok ? "good" : "bad");
	return ok;
}

static int run(void)
{
	double begin = now(), end;
	int served = 0, late = 0;
	bool hung;

	set_up();
	signal(SIGALRM, watchdog);
	alarm(MOST_TIMES * duration / 1000 + 240);
	storm();
	end = now();
	close(LIFE_FD);
	if (shm->calm && shm->seed % 2) {
		/* before they are told to end: stopped they are still there */
		signal_all(SIGSTOP);
		served = serve_for(ALONE_MS);
		__atomic_store_n(&shm->stop, true, __ATOMIC_RELAXED);
		served += serve_until_quiet(now() + PATIENCE_MS / 2);
	}
	__atomic_store_n(&shm->stop, true, __ATOMIC_RELAXED);
	hung = !end_actors();
	if (shm->calm && shm->seed % 2)
		late = serve_until_quiet(now() + PATIENCE_MS / 2);
	if (!shm->calm)
		close_all();
	hung |= !await_clients(shm->calm);
	close_all();
	reap();
	printf("ms=%.0f end_ms=%.0f ", end - begin, now() - end);
	return report(served, late, hung) ? 0 : 1;
}

static int dry_run(void)
{
	struct actor a;
	uint32_t x, y;
	int i, k;

	for (i = 1; i <= initial_actors; i++) {
		actor_init(&a, mix(i), 0);
		for (k = 0; k < 20; k++) {
			const struct op *op = decide(&a, &x, &y);

			printf("%016llx %s %u %u\n", (unsigned long long)a.id, op->name, x, y);
		}
	}
	return 0;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: fsstorm -s SEED [options]\n"
		"  -f          listeners under Fastsocket, else native\n"
		"  -p PROFILE  wild or calm (wild)\n"
		"  -t MS       how long the storm lasts (8000)\n"
		"  -a ACTORS   so many processes at least (5)\n"
		"  -P PORT     the first of the ports (9400)\n"
		"  -v          every decision on standard error\n"
		"  -n          only the first decisions of each first actor\n");
	exit(2);
}

int main(int argc, char **argv)
{
	int o, fd;
	bool dry = false, seeded = false;

	if (argc == 6 && !strcmp(argv[1], "--again"))
		return again(argv);
	fd = memfd_create("fsstorm", 0);
	if (fd < 0 || ftruncate(fd, sizeof(*shm)))
		die("memfd");
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shm == MAP_FAILED)
		die("mmap");
	fixed_fd(fd, SHM_FD);
	shm->port = 9400;
	while ((o = getopt(argc, argv, "s:fp:t:a:P:vn")) != -1)
		switch (o) {
		case 's':
			shm->seed = strtoull(optarg, NULL, 0);
			seeded = true;
			break;
		case 'f': shm->attach = true; break;
		case 'p': shm->calm = !strcmp(optarg, "calm"); break;
		case 't': duration = atoi(optarg); break;
		case 'a': initial_actors = atoi(optarg); break;
		case 'P': shm->port = atoi(optarg); break;
		case 'v': shm->verbose = true; break;
		case 'n': dry = true; break;
		default: usage();
		}
	if (!seeded || optind != argc || initial_actors < 1 || initial_actors > MAX_SLOTS)
		usage();
	return dry ? dry_run() : run();
}
