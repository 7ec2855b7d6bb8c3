// SPDX-License-Identifier: GPL-2.0
/*
 * fsepoll: what epoll_ctl() answers, what it costs, and whether it stands a storm
 *
 *   fsepoll calls [-f] [-p PORT] [-s SCENE] [-w]
 *       A transcript, which must not depend on Fastsocket. -s: of this scene only;
 *       -w: with the one that lowers fs.epoll.max_user_watches for a moment (root).
 *   fsepoll cost [-f] [-n N] [-r ROUNDS] [-c CPU]
 *       Medians of ROUNDS calls on N sockets in one epoll, in random order, in one line
 *       "n= mod= del= add= pipe=" in nanoseconds. Meant for a machine that counts
 *       instructions (tests/vm/boot -i).
 *   fsepoll storm [-f] [-t MS] [-j THREADS]
 *       Everything at once on shared descriptors; 0 if nothing was wrong. FS_SEED repeats one.
 *       SIGTERM ends it before its time.
 *   fsepoll stuck [-f]
 *       A MOD and a DEL that sleep on the epoll's mutex: says "stuck", and until SIGTERM they do.
 *   fsepoll hold [-p PORT]
 *       Attaches a listener, says "ready", and stays.
 *
 * With -f a listener is attached to Fastsocket all the time, and if Fast Epoll is on, it is
 * at work before anything else happens.
 */
#include <dirent.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <linux/userfaultfd.h>

#include "fsutil.h"

/* a wait that is to be satisfied; nobody waits that long unless something is lost */
#define LONG_MS	10000

#define COUNTERS	"/proc/net/fsocket_epoll"
#define PARAMETER	"/sys/module/fastsocket/parameters/enable_fast_epoll"
#define MAX_WATCHES	"/proc/sys/fs/epoll/max_user_watches"

static struct {
	int port, n, rounds, ms, threads, cpu;
	bool attach, watches;
	const char *scene;
} cfg = { .n = 1000, .rounds = 300, .ms = 5000, .threads = 4 };

static int lfd;			/* the listener, attached with -f */

/* --- sockets --- */

static int tcp_listener(const char *host, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, host, port);
	int on = 1, fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind");
	return fd;
}

/* the client's end and the accepted one */
static void connect_pair(int listener, int pair[2])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(listener, (struct sockaddr *)&ss, &len))
		die("getsockname");
	pair[0] = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (pair[0] < 0 || connect(pair[0], (struct sockaddr *)&ss, len))
		die("connect");
	pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (pair[1] < 0)
		die("accept");
}

static void tcp_pair(const char *host, int pair[2])
{
	int listener = tcp_listener(host, 0);

	if (listen(listener, 8))
		die("listen");
	connect_pair(listener, pair);
	close(listener);
}

static void unix_pair(int pair[2])
{
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
}

static int new_epoll(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		die("epoll_create1");
	return fd;
}

static int raw_ctl(int ep, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };

	return epoll_ctl(ep, op, fd, &ev);
}

/* --- the listener, and Fast Epoll at work --- */

static bool switched_on(void)
{
	FILE *f = fopen(PARAMETER, "r");
	int c = f ? fgetc(f) : EOF;

	if (f)
		fclose(f);
	return c == '1' || c == 'Y';
}

/* how many MOD were Fast Epoll's */
static unsigned long long counted(void)
{
	unsigned long long sum = 0, n;
	FILE *f = fopen(COUNTERS, "r");
	char line[256];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%*d %llu", &n) == 1)
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

static void attach(void)
{
	double end = now_ms() + LONG_MS;
	unsigned long long before;
	int pair[2], ep;

	lfd = tcp_listener("127.0.0.1", cfg.port);
	if (listen_either(lfd, 16, cfg.attach))
		die("listen");
	if (!cfg.attach || !switched_on())
		return;
	ep = new_epoll();
	unix_pair(pair);
	raw_ctl(ep, EPOLL_CTL_ADD, pair[0], EPOLLIN, 0);
	before = counted();
	do {
		if (now_ms() > end) {
			fprintf(stderr, "fsepoll: Fast Epoll is switched on and does nothing\n");
			break;
		}
		usleep(1000);
		raw_ctl(ep, EPOLL_CTL_MOD, pair[0], EPOLLIN, 0);
	} while (counted() == before);
	close(pair[0]);
	close(pair[1]);
	close(ep);
}

/* --- what is in an epoll, as /proc tells it --- */

struct item {
	int fd;
	unsigned int events;
	unsigned long long data;
	unsigned long ino;
};

static int by_fd(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	if (x->fd != y->fd)
		return x->fd < y->fd ? -1 : 1;
	return (x->data > y->data) - (x->data < y->data);
}

static int read_items(int ep, struct item *items, int max)
{
	char path[64], line[256];
	int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", ep);
	f = fopen(path, "r");
	while (f && n < max && fgets(line, sizeof(line), f))
		if (sscanf(line, "tfd: %d events: %x data: %llx pos:%*d ino:%lx", &items[n].fd,
			   &items[n].events, &items[n].data, &items[n].ino) == 4)
			n++;
	if (f)
		fclose(f);
	qsort(items, n, sizeof(*items), by_fd);
	return n;
}

/* --- calls: what is said --- */

static const char *result(int ret)
{
	static char text[32];

	if (ret < 0)
		snprintf(text, sizeof(text), "-%s", strerrorname_np(errno));
	else
		snprintf(text, sizeof(text), "%d", ret);
	return text;
}

static int say(const char *what, int ret)
{
	printf("\t%s: %s\n", what, result(ret));
	return ret;
}

static void ctl(const char *name, int op, int ep, int fd, uint32_t events, uint64_t data)
{
	int ret = raw_ctl(ep, op, fd, events, data);

	printf("\t%s %x data %llx: %s\n", name, events, (unsigned long long)data, result(ret));
}

static void add(int ep, int fd, uint32_t events, uint64_t data)
{
	ctl("ADD", EPOLL_CTL_ADD, ep, fd, events, data);
}

static void mod(int ep, int fd, uint32_t events, uint64_t data)
{
	ctl("MOD", EPOLL_CTL_MOD, ep, fd, events, data);
}

static void del(int ep, int fd)
{
	say("DEL", epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
}

static void say_events(const char *what, int n, const struct epoll_event *evs)
{
	int i;

	printf("\t%s: %s", what, result(n));
	for (i = 0; i < n; i++)
		printf(" (%x data %llx)", evs[i].events, (unsigned long long)evs[i].data.u64);
	printf("\n");
}

/* what is there now */
static void look(int ep)
{
	struct epoll_event evs[32];

	say_events("wait", epoll_wait(ep, evs, ARRAY_SIZE(evs), 0), evs);
}

static void show(int ep)
{
	struct item items[64];
	int i, n = read_items(ep, items, ARRAY_SIZE(items));

	printf("\tset:");
	for (i = 0; i < n; i++)
		printf(" (%d %x data %llx)", items[i].fd, items[i].events, items[i].data);
	printf("\n");
}

/* TCP over loopback is not there at once when softirq leaves it to its thread */
static void settle(int fd, short events)
{
	struct pollfd pfd = { .fd = fd, .events = events };
	double end = now_ms() + LONG_MS;

	while (poll(&pfd, 1, 100) < 0 || (pfd.revents & events) != events) {
		if (now_ms() > end) {
			printf("\tnever settled: %x\n", pfd.revents);
			return;
		}
		usleep(1000);
	}
}

/* TCP tells under the socket's lock, under which it wakes: with the byte the event is there. */
static int unread(int fd)
{
	int n;

	if (ioctl(fd, FIONREAD, &n))
		die("FIONREAD");
	return n;
}

static void put(int fd, int to)
{
	double end = now_ms() + LONG_MS;
	int before = unread(to);

	if (send(fd, "x", 1, MSG_NOSIGNAL) != 1)
		die("send");
	while (unread(to) <= before && now_ms() < end)
		usleep(1000);
	settle(to, POLLIN);
}

static void take(int fd)
{
	char c;

	if (recv(fd, &c, 1, MSG_DONTWAIT) != 1)
		die("recv");
}

static void close_pair(int pair[2])
{
	close(pair[0]);
	close(pair[1]);
}

/* --- calls: every kind of file --- */

static int other = -1;		/* the other end of what has been opened */

static int open_tcp(const char *host, int end)
{
	int pair[2];

	tcp_pair(host, pair);
	other = pair[!end];
	return pair[end];
}

static int open_tcp4(void)
{
	return open_tcp("127.0.0.1", 0);
}

static int open_tcp6(void)
{
	return open_tcp("::1", 0);
}

static int open_accepted(void)
{
	return open_tcp("127.0.0.1", 1);
}

static int open_attached(void)
{
	return fcntl(lfd, F_DUPFD_CLOEXEC, 0);
}

static int open_listening(void)
{
	int fd = tcp_listener("127.0.0.1", 0);

	if (listen(fd, 8))
		die("listen");
	return fd;
}

static int open_bound(void)
{
	return tcp_listener("::1", 0);
}

static int open_udp(void)
{
	return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int open_unix(void)
{
	int pair[2];

	unix_pair(pair);
	other = pair[1];
	return pair[0];
}

static int open_unix_dgram(void)
{
	return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

static int open_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
}

static int open_pipe(void)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		die("pipe2");
	other = fd[1];
	return fd[0];
}

static int open_pipe_writing(void)
{
	int fd[2];

	if (pipe2(fd, O_CLOEXEC))
		die("pipe2");
	other = fd[0];
	return fd[1];
}

static int open_eventfd(void)
{
	return eventfd(1, EFD_CLOEXEC);
}

static int open_timerfd(void)
{
	return timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
}

static int open_file(void)
{
	return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static int open_directory(void)
{
	return open("/", O_RDONLY | O_CLOEXEC);
}

static int open_null(void)
{
	return open("/dev/null", O_RDWR | O_CLOEXEC);
}

static int open_path(void)
{
	return open("/", O_PATH | O_CLOEXEC);
}

/* one that is ready, with a socket in it */
static int open_epoll(void)
{
	int ep = new_epoll();

	other = open_udp();
	raw_ctl(ep, EPOLL_CTL_ADD, other, EPOLLOUT, 0);
	return ep;
}

static const struct {
	const char *name;
	int (*open)(void);
} kinds[] = {
	{ "connected TCP over IPv4", open_tcp4 },
	{ "connected TCP over IPv6", open_tcp6 },
	{ "accepted TCP", open_accepted },
	{ "the listener that may be attached", open_attached },
	{ "a plain listener", open_listening },
	{ "a bound TCP socket", open_bound },
	{ "UDP", open_udp },
	{ "a UNIX stream", open_unix },
	{ "a UNIX datagram socket", open_unix_dgram },
	{ "netlink", open_netlink },
	{ "a pipe, reading", open_pipe },
	{ "a pipe, writing", open_pipe_writing },
	{ "an eventfd", open_eventfd },
	{ "a timerfd", open_timerfd },
	{ "a regular file", open_file },
	{ "a directory", open_directory },
	{ "/dev/null", open_null },
	{ "O_PATH", open_path },
	{ "another epoll", open_epoll },
};

static void drill(int ep, int fd)
{
	mod(ep, fd, EPOLLIN, 1);
	del(ep, fd);
	add(ep, fd, EPOLLIN, 2);
	show(ep);
	look(ep);
	add(ep, fd, EPOLLIN | EPOLLOUT, 3);
	show(ep);
	mod(ep, fd, EPOLLOUT, 4);
	look(ep);
	mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP, 0xfedcba9876543210);
	show(ep);
	look(ep);
	look(ep);
	mod(ep, fd, 0, 6);
	look(ep);
	show(ep);
	mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 7);
	look(ep);
	look(ep);
	mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLET, 8);
	look(ep);
	look(ep);
	mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLONESHOT, 9);
	look(ep);
	look(ep);
	show(ep);
	mod(ep, fd, EPOLLIN | EPOLLOUT | EPOLLONESHOT, 10);
	look(ep);
	look(ep);
	mod(ep, fd, EPOLLIN | EPOLLEXCLUSIVE, 11);
	show(ep);
	mod(ep, fd, ~EPOLLEXCLUSIVE, 12);
	show(ep);
	look(ep);
	say("MOD NULL", epoll_ctl(ep, EPOLL_CTL_MOD, fd, NULL));
	say("MOD at a bad address", epoll_ctl(ep, EPOLL_CTL_MOD, fd, (void *)8));
	show(ep);
	say("DEL with a bad address", epoll_ctl(ep, EPOLL_CTL_DEL, fd, (void *)8));
	look(ep);
	show(ep);
	del(ep, fd);
	mod(ep, fd, EPOLLIN, 13);
	add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLEXCLUSIVE | EPOLLONESHOT, 14);
	add(ep, fd, EPOLLIN | EPOLLOUT | EPOLLEXCLUSIVE, 15);
	show(ep);
	look(ep);
	mod(ep, fd, EPOLLIN, 16);
	mod(ep, fd, EPOLLIN | EPOLLEXCLUSIVE, 17);
	show(ep);
	del(ep, fd);
	look(ep);
	add(ep, fd, EPOLLOUT, 18);
	look(ep);
}

static void every_kind(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		int ep = new_epoll(), fd;

		other = -1;
		fd = kinds[i].open();
		if (fd < 0)
			die("%s", kinds[i].name);
		printf("    %s\n", kinds[i].name);
		drill(ep, fd);
		close(fd);
		printf("\tclosed\n");
		look(ep);
		show(ep);
		mod(ep, fd, EPOLLIN, 19);
		del(ep, fd);
		close(other);
		close(ep);
	}
}

/* --- calls: errors, and which of several comes first --- */

/* with an event, one that is exclusive, or none; then all is as it was before */
static const char *try_call(int ep, int op, int fd, int with)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = 3 };
	int ret, again = 0;

	if (with == 1)
		ev.events |= EPOLLEXCLUSIVE;
	ret = epoll_ctl(ep, op, fd, with == 2 ? NULL : &ev);
	if (ret)
		return result(ret);
	if (op == EPOLL_CTL_ADD)
		again = epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	if (op == EPOLL_CTL_DEL)
		again = raw_ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 4);
	return again ? "0, but not undone" : "0";
}

static void errors(void)
{
	static const int ops[] = { 0, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD, 4, -1 };
	static const char * const with[] = { "", " exclusive", " NULL" };
	static const char * const op_names[] = { "0", "ADD", "DEL", "MOD", "4", "-1" };
	int ep = new_epoll(), second = new_epoll(), in = open_udp(), out = open_udp();
	int pipe_in = open_pipe(), pipe_out = open_pipe(), file = open_file();
	int path = open_path(), closed = dup(file);
	const struct {
		const char *name;
		int fd;
	} fds[] = {
		{ "an epoll", ep },
		{ "another epoll", second },
		{ "a socket in the set", in },
		{ "a socket", out },
		{ "a pipe in the set", pipe_in },
		{ "a pipe", pipe_out },
		{ "a file", file },
		{ "O_PATH", path },
		{ "closed", closed },
		{ "-1", -1 },
		{ "INT_MIN", INT_MIN },
		{ "INT_MAX", INT_MAX },
		{ "far out", 1 << 20 },
	};
	size_t i, j, k;

	close(closed);
	raw_ctl(ep, EPOLL_CTL_ADD, in, EPOLLOUT, 1);
	raw_ctl(ep, EPOLL_CTL_ADD, pipe_in, EPOLLIN, 2);
	for (i = 0; i < ARRAY_SIZE(fds); i++)
		for (j = 0; j < ARRAY_SIZE(fds); j++) {
			printf("\t%s, %s:", fds[i].name, fds[j].name);
			for (k = 0; k < 3 * ARRAY_SIZE(ops); k++)
				printf(" %s%s %s", op_names[k / 3], with[k % 3],
				       try_call(fds[i].fd, ops[k / 3], fds[j].fd, k % 3));
			printf("\n");
		}
	show(ep);
	close_range(ep, path, 0);
}

/* --- calls: one file, many descriptors and epolls --- */

static void duplicates(void)
{
	int ep = new_epoll(), pair[2], more, twin, udp;

	unix_pair(pair);
	more = dup(pair[0]);
	twin = dup(pair[0]);
	add(ep, pair[0], EPOLLOUT, 1);
	mod(ep, more, EPOLLOUT, 2);
	del(ep, more);
	add(ep, more, EPOLLIN, 2);
	show(ep);
	mod(ep, more, EPOLLOUT, 3);
	look(ep);
	mod(ep, more, EPOLLIN, 4);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 5);
	look(ep);
	put(pair[1], pair[0]);
	look(ep);
	del(ep, more);
	look(ep);
	del(ep, more);
	add(ep, more, EPOLLIN, 6);

	/* The number goes, the item stays: the file is open. */
	close(pair[0]);
	look(ep);
	show(ep);
	mod(ep, pair[0], EPOLLIN, 7);
	del(ep, pair[0]);
	/* another file under the number */
	udp = open_udp();
	printf("\tthe same number: %d\n", udp == pair[0]);
	mod(ep, udp, EPOLLOUT, 8);
	del(ep, udp);
	add(ep, udp, EPOLLOUT, 8);
	show(ep);
	mod(ep, udp, EPOLLOUT | EPOLLIN, 9);
	look(ep);
	show(ep);
	del(ep, udp);
	show(ep);
	/* and the old file under its old number again */
	say("dup2", dup2(twin, udp) == udp);
	mod(ep, udp, EPOLLIN, 10);
	look(ep);
	add(ep, udp, EPOLLIN, 11);
	del(ep, udp);
	show(ep);
	/* dup2 over a number that is in the set, the only one of its file */
	close(more);
	close(twin);
	more = open_udp();
	add(ep, more, EPOLLOUT, 12);
	dup2(udp, more);
	show(ep);
	mod(ep, more, EPOLLIN, 13);
	add(ep, more, EPOLLIN, 14);
	look(ep);
	close(udp);
	close(more);
	look(ep);
	close(pair[1]);
	close(ep);
}

static void many_epolls(int n)
{
	int ep[20], pair[2], i, j;

	printf("    %d\n", n);
	unix_pair(pair);
	for (i = 0; i < n; i++) {
		ep[i] = new_epoll();
		add(ep[i], pair[0], EPOLLIN, i);
	}
	put(pair[1], pair[0]);
	for (i = 0; i < n; i++) {
		j = (i * 7 + 3) % n;
		mod(ep[j], pair[0], EPOLLOUT, 0x100 + j);
		for (j = 0; j < n; j++)
			show(ep[j]);
	}
	for (i = 0; i < n; i++)
		look(ep[i]);
	/* From the middle, the end, the beginning, wherever that is; every third is closed. */
	for (i = 0; i < n; i++) {
		j = (i * 3 + n / 2) % n;
		if (i % 3 == 2) {
			close(ep[j]);
			ep[j] = new_epoll();
		}
		del(ep[j], pair[0]);
		mod(ep[j], pair[0], EPOLLIN, 1);
		for (j = 0; j < n; j++)
			look(ep[j]);
	}
	add(ep[0], pair[0], EPOLLIN, 0x200);
	mod(ep[0], pair[0], EPOLLIN, 0x201);
	look(ep[0]);
	for (i = 0; i < n; i++)
		close(ep[i]);
	close_pair(pair);
}

static void several_epolls(void)
{
	many_epolls(1);
	many_epolls(2);
	many_epolls(5);
	many_epolls(20);
}

static int pass(int fd)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 }, c = 'x';
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = space,
		.msg_controllen = sizeof(space),
	};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	int way[2];

	unix_pair(way);
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(fd));
	if (sendmsg(way[0], &msg, 0) != 1 || recvmsg(way[1], &msg, 0) != 1)
		die("SCM_RIGHTS");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	close_pair(way);
	return fd;
}

static void passed_on(void)
{
	int ep = new_epoll(), pair[2], fd, ep2;

	unix_pair(pair);
	add(ep, pair[0], EPOLLIN, 1);
	fd = pass(pair[0]);
	mod(ep, fd, EPOLLOUT, 2);
	del(ep, fd);
	add(ep, fd, EPOLLOUT, 3);
	look(ep);
	close(pair[0]);
	mod(ep, fd, EPOLLIN, 4);
	show(ep);
	put(pair[1], fd);
	look(ep);
	ep2 = pass(ep);
	mod(ep2, fd, EPOLLIN, 5);
	look(ep);
	del(ep2, fd);
	look(ep2);
	close(fd);
	look(ep);
	show(ep);
	close(pair[1]);
	close(ep);
	close(ep2);
}

static void in_child(int ep, int pair[2], void (*act)(int ep, int pair[2]))
{
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child < 0)
		die("fork");
	if (!child) {
		act(ep, pair);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, NULL, 0);
}

static void child_changes(int ep, int pair[2])
{
	mod(ep, pair[0], EPOLLOUT, 2);
	look(ep);
	add(ep, pair[1], EPOLLOUT, 3);
	add(ep, open_udp(), EPOLLOUT, 4);
}

static void child_deletes(int ep, int pair[2])
{
	del(ep, pair[0]);
	look(ep);
}

static void child_reuses(int ep, int pair[2])
{
	int fd = open_udp();

	if (dup2(fd, pair[0]) != pair[0])
		die("dup2");
	mod(ep, pair[0], EPOLLIN, 6);
	del(ep, pair[0]);
	add(ep, pair[0], EPOLLOUT, 7);
	mod(ep, pair[0], EPOLLOUT, 8);
	look(ep);
}

static void forked(void)
{
	int ep = new_epoll(), pair[2];

	unix_pair(pair);
	add(ep, pair[0], EPOLLIN, 1);
	in_child(ep, pair, child_changes);
	/* the child's own socket is gone with it */
	look(ep);
	mod(ep, pair[0], EPOLLOUT, 5);
	look(ep);
	in_child(ep, pair, child_reuses);
	look(ep);
	in_child(ep, pair, child_deletes);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 9);
	close_pair(pair);
	look(ep);
	close(ep);
}

/* --- calls: what MOD makes of what is ready --- */

static void modified(int pair[2])
{
	int ep = new_epoll();

	/* to nothing and back */
	put(pair[1], pair[0]);
	add(ep, pair[0], 0, 1);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 2);
	look(ep);
	mod(ep, pair[0], 0, 3);
	look(ep);
	mod(ep, pair[0], EPOLLOUT, 4);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLOUT, 5);
	look(ep);
	/* ready, and changed before anybody looked */
	mod(ep, pair[0], EPOLLIN, 6);
	mod(ep, pair[0], EPOLLIN, 7);
	look(ep);
	mod(ep, pair[0], EPOLLPRI, 8);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 9);
	mod(ep, pair[0], EPOLLPRI, 10);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 11);
	take(pair[0]);
	look(ep);
	put(pair[1], pair[0]);
	mod(ep, pair[0], EPOLLIN | EPOLLOUT, 12);
	look(ep);
	/* deleted, and added again, while it is ready */
	mod(ep, pair[0], EPOLLIN, 13);
	del(ep, pair[0]);
	look(ep);
	add(ep, pair[0], EPOLLIN, 14);
	look(ep);
	/* edges */
	mod(ep, pair[0], EPOLLIN | EPOLLET, 15);
	look(ep);
	look(ep);
	put(pair[1], pair[0]);
	look(ep);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 16);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 17);
	look(ep);
	look(ep);
	take(pair[0]);
	take(pair[0]);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 18);
	look(ep);
	put(pair[1], pair[0]);
	look(ep);
	look(ep);
	/* one shot */
	mod(ep, pair[0], EPOLLIN | EPOLLONESHOT, 19);
	show(ep);
	look(ep);
	show(ep);
	put(pair[1], pair[0]);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLONESHOT, 20);
	show(ep);
	look(ep);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLET | EPOLLONESHOT, 21);
	look(ep);
	mod(ep, pair[0], EPOLLOUT, 22);
	look(ep);
	take(pair[0]);
	take(pair[0]);
	/* the other end shuts down while nothing is armed */
	mod(ep, pair[0], EPOLLOUT | EPOLLONESHOT, 23);
	look(ep);
	shutdown(pair[1], SHUT_WR);
	settle(pair[0], POLLIN);
	look(ep);
	mod(ep, pair[0], EPOLLRDHUP, 24);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLRDHUP, 25);
	look(ep);
	mod(ep, pair[0], 0, 26);
	look(ep);
	say("shutdown", shutdown(pair[0], SHUT_RDWR));
	settle(pair[0], POLLHUP);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 27);
	look(ep);
	mod(ep, pair[0], EPOLLET, 28);
	look(ep);
	look(ep);
	del(ep, pair[0]);
	look(ep);
	close_pair(pair);
	close(ep);
}

static void changes(void)
{
	int pair[2];

	printf("    UNIX\n");
	unix_pair(pair);
	modified(pair);
	printf("    TCP over IPv4\n");
	tcp_pair("127.0.0.1", pair);
	modified(pair);
	printf("    TCP over IPv6, accepted\n");
	tcp_pair("::1", pair);
	modified((int[]){ pair[1], pair[0] });
}

/* in which order, and that a full socket is not writable */
static void order(void)
{
	int ep = new_epoll(), small = 4096, pair[6][2], i;
	char buf[4096] = { 0 };

	for (i = 0; i < 6; i++) {
		unix_pair(pair[i]);
		setsockopt(pair[i][0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		add(ep, pair[i][0], EPOLLIN, i);
	}
	for (i = 5; i >= 0; i -= 2)
		mod(ep, pair[i][0], EPOLLOUT, 0x10 + i);
	look(ep);
	for (i = 0; i < 6; i += 2) {
		put(pair[i][1], pair[i][0]);
		mod(ep, pair[i][0], EPOLLIN, 0x20 + i);
	}
	look(ep);
	mod(ep, pair[3][0], EPOLLIN, 0x33);
	del(ep, pair[2][0]);
	look(ep);
	look(ep);
	while (send(pair[5][0], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	mod(ep, pair[5][0], EPOLLOUT, 0x45);
	look(ep);
	while (recv(pair[5][1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
	settle(pair[5][0], POLLOUT);
	look(ep);
	for (i = 0; i < 6; i++)
		close_pair(pair[i]);
	close(ep);
}

static void reset(void)
{
	struct linger now = { .l_onoff = 1 };
	int ep = new_epoll(), pair[2], i;

	for (i = 0; i < 2; i++) {
		tcp_pair(i ? "::1" : "127.0.0.1", pair);
		add(ep, pair[0], EPOLLIN | EPOLLONESHOT, 1);
		put(pair[1], pair[0]);
		look(ep);
		setsockopt(pair[1], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
		close(pair[1]);
		settle(pair[0], POLLHUP);
		look(ep);
		mod(ep, pair[0], 0, 2);
		look(ep);
		mod(ep, pair[0], EPOLLIN | EPOLLOUT | EPOLLRDHUP, 3);
		look(ep);
		mod(ep, pair[0], EPOLLIN | EPOLLET, 4);
		look(ep);
		look(ep);
		mod(ep, pair[0], EPOLLRDHUP | EPOLLONESHOT, 5);
		look(ep);
		look(ep);
		close(pair[0]);
		look(ep);
	}
	/* connected to nobody */
	tcp_pair("127.0.0.1", pair);
	close(pair[0]);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	add(ep, pair[0], EPOLLET, 6);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLOUT, 7);
	look(ep);
	close_pair(pair);
	close(ep);
}

static void urgent(void)
{
	int ep = new_epoll(), pair[2];
	char c;

	tcp_pair("127.0.0.1", pair);
	add(ep, pair[0], EPOLLIN, 1);
	say("MSG_OOB", send(pair[1], "o", 1, MSG_OOB));
	settle(pair[0], POLLPRI);
	look(ep);
	mod(ep, pair[0], EPOLLPRI, 2);
	look(ep);
	mod(ep, pair[0], EPOLLPRI | EPOLLONESHOT, 3);
	look(ep);
	look(ep);
	mod(ep, pair[0], EPOLLPRI | EPOLLIN, 4);
	look(ep);
	say("recv", recv(pair[0], &c, 1, MSG_OOB | MSG_DONTWAIT));
	look(ep);
	mod(ep, pair[0], EPOLLPRI, 5);
	look(ep);
	del(ep, pair[0]);
	close_pair(pair);
	close(ep);
}

static void a_listener(void)
{
	int ep = new_epoll(), ep2 = new_epoll(), c[2], fd;
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	getsockname(lfd, (struct sockaddr *)&ss, &len);
	for (fd = 0; fd < 2; fd++)
		c[fd] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	add(ep, lfd, EPOLLOUT, 1);
	add(ep2, lfd, EPOLLIN | EPOLLET, 2);
	say("connect", connect(c[0], (struct sockaddr *)&ss, len));
	settle(lfd, POLLIN);
	look(ep);
	look(ep2);
	look(ep2);
	mod(ep, lfd, EPOLLIN, 3);
	look(ep);
	mod(ep2, lfd, EPOLLIN | EPOLLET, 4);
	look(ep2);
	look(ep2);
	fd = accept(lfd, NULL, NULL);
	look(ep);
	mod(ep2, lfd, EPOLLIN | EPOLLET, 5);
	look(ep2);
	close(fd);
	mod(ep, lfd, EPOLLIN | EPOLLONESHOT, 6);
	say("connect", connect(c[1], (struct sockaddr *)&ss, len));
	settle(lfd, POLLIN);
	look(ep2);
	look(ep);
	look(ep);
	del(ep2, lfd);
	look(ep2);
	mod(ep, lfd, EPOLLIN, 7);
	look(ep);
	del(ep, lfd);
	look(ep);
	close(accept(lfd, NULL, NULL));
	close_pair(c);
	close(ep);
	close(ep2);
}

/* --- calls: EPOLLWAKEUP --- */

static int wakeup_sources(void)
{
	DIR *dir = opendir("/sys/class/wakeup");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void wakeup(void)
{
	int before = wakeup_sources(), ep = new_epoll(), pair[2];

	unix_pair(pair);
	put(pair[1], pair[0]);
	add(ep, pair[0], EPOLLIN | EPOLLWAKEUP, 1);
	show(ep);
	say("wakeup sources", wakeup_sources() - before);
	look(ep);
	mod(ep, pair[0], EPOLLIN | EPOLLWAKEUP, 2);
	say("wakeup sources", wakeup_sources() - before);
	mod(ep, pair[0], EPOLLIN, 3);
	show(ep);
	look(ep);
	say("wakeup sources", wakeup_sources() - before);
	mod(ep, pair[0], EPOLLIN | EPOLLWAKEUP | EPOLLET, 4);
	show(ep);
	look(ep);
	say("wakeup sources", wakeup_sources() - before);
	del(ep, pair[0]);
	say("wakeup sources", wakeup_sources() - before);
	add(ep, pair[0], EPOLLIN, 5);
	mod(ep, pair[0], EPOLLIN | EPOLLWAKEUP | EPOLLONESHOT, 6);
	look(ep);
	show(ep);
	say("wakeup sources", wakeup_sources() - before);
	close_pair(pair);
	say("wakeup sources", wakeup_sources() - before);
	close(ep);
	say("wakeup sources", wakeup_sources() - before);
}

/* --- calls: those who sleep --- */

struct sleeper {
	_Atomic int tid, done;
	pthread_t thread;
	struct epoll_event ev;
	bool polls;		/* in poll() on the epoll */
	int ep, ret;
};

static void *sleep_in(void *arg)
{
	struct sleeper *s = arg;

	s->tid = gettid();
	if (s->polls) {
		struct pollfd pfd = { .fd = s->ep, .events = POLLIN };

		s->ret = poll(&pfd, 1, LONG_MS);
		s->ev.events = pfd.revents;
	} else {
		s->ret = epoll_wait(s->ep, &s->ev, 1, LONG_MS);
	}
	s->done = true;
	return NULL;
}

static char state_of(pid_t tid)
{
	char path[64], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d %*s %c", &state) != 1)
			state = '?';
		fclose(f);
	}
	return state;
}

static bool asleep(pid_t tid)
{
	return state_of(tid) == 'S';
}

static void lie_down(struct sleeper *s, int ep, bool polls)
{
	memset(s, 0, sizeof(*s));
	s->ep = ep;
	s->polls = polls;
	if (pthread_create(&s->thread, NULL, sleep_in, s))
		die("pthread_create");
	while (!s->tid || (!asleep(s->tid) && !s->done))
		usleep(500);
}

static void woken(struct sleeper *s)
{
	pthread_join(s->thread, NULL);
	say_events("woken", s->ret, &s->ev);
}

static void still_asleep(struct sleeper *s)
{
	say("asleep", asleep(s->tid) && !s->done);
}

static void sleepers(int pair[2])
{
	int ep = new_epoll(), outer = new_epoll(), outmost = new_epoll();
	struct sleeper s[2];

	add(ep, pair[0], EPOLLIN, 1);
	lie_down(s, ep, false);
	mod(ep, pair[0], EPOLLIN | EPOLLPRI, 2);
	still_asleep(s);
	mod(ep, pair[0], EPOLLOUT, 3);
	woken(s);
	/* what is ready already, but not armed */
	mod(ep, pair[0], EPOLLIN, 4);
	look(ep);
	mod(ep, pair[0], 0, 5);
	put(pair[1], pair[0]);
	lie_down(s, ep, false);
	mod(ep, pair[0], EPOLLIN | EPOLLONESHOT, 6);
	woken(s);
	lie_down(s, ep, false);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 7);
	woken(s);
	/* one edge is for one of two */
	lie_down(s, ep, false);
	lie_down(s + 1, ep, false);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 8);
	while (!s[0].done && !s[1].done)
		usleep(500);
	say("of two woken", s[0].done + s[1].done);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 8);
	woken(s);
	woken(s + 1);
	lie_down(s, ep, true);
	mod(ep, pair[0], EPOLLIN | EPOLLET, 9);
	woken(s);
	look(ep);
	/* nobody is woken for what is deleted */
	lie_down(s, ep, false);
	del(ep, pair[0]);
	put(pair[1], pair[0]);
	still_asleep(s);
	add(ep, pair[0], EPOLLIN | EPOLLET, 10);
	woken(s);
	take(pair[0]);
	take(pair[0]);

	/* through one epoll and two */
	add(outer, ep, EPOLLIN, 11);
	add(outmost, outer, EPOLLIN | EPOLLET, 12);
	mod(ep, pair[0], EPOLLIN, 13);
	lie_down(s, outer, false);
	lie_down(s + 1, outmost, false);
	mod(ep, pair[0], EPOLLIN | EPOLLOUT, 14);
	woken(s);
	woken(s + 1);
	look(ep);
	mod(ep, pair[0], EPOLLIN, 15);
	look(outer);
	look(outmost);
	mod(ep, pair[0], EPOLLOUT, 16);
	mod(outer, ep, EPOLLIN | EPOLLONESHOT, 17);
	look(outmost);
	look(outer);
	look(outer);
	del(ep, pair[0]);
	mod(outer, ep, EPOLLIN, 18);
	look(outer);
	add(ep, pair[0], EPOLLIN | EPOLLET, 19);
	lie_down(s, outmost, true);
	mod(ep, pair[0], EPOLLOUT | EPOLLET, 20);
	woken(s);
	look(outmost);
	look(ep);
	/* loops are none of ours */
	say("a loop", raw_ctl(ep, EPOLL_CTL_ADD, outmost, EPOLLIN, 21));
	say("exclusively", raw_ctl(outmost, EPOLL_CTL_ADD, ep, EPOLLIN | EPOLLEXCLUSIVE, 22));
	del(outmost, outer);
	del(outer, ep);
	close_pair(pair);
	close(ep);
	close(outer);
	close(outmost);
}

static void blocked(void)
{
	int pair[2];

	printf("    UNIX\n");
	unix_pair(pair);
	sleepers(pair);
	printf("    TCP\n");
	tcp_pair("127.0.0.1", pair);
	sleepers(pair);
}

/* --- calls: io_uring --- */

static int ring_ctl(struct io_uring *ring, unsigned int flags, int ep, int op, int fd,
		    uint32_t events, uint64_t data)
{
	struct epoll_event ev = { .events = events, .data.u64 = data };
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_epoll_ctl(sqe, ep, fd, op, &ev);
	sqe->flags |= flags;
	io_uring_submit(ring);
	do {
		ret = io_uring_wait_cqe(ring, &cqe);
	} while (ret == -EINTR);
	if (!ret) {
		ret = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

struct hammer {
	int ep, fd;
	_Atomic bool stop;
};

/* the epoll's mutex is taken most of the time */
static void *hammer(void *arg)
{
	struct hammer *h = arg;

	while (!h->stop)
		raw_ctl(h->ep, EPOLL_CTL_MOD, h->fd, EPOLLIN, 0);
	return NULL;
}

static void ring_calls(struct io_uring *ring, unsigned int flags)
{
	static const struct {
		const char *name;
		int op;
		uint32_t events;
	} calls[] = {
		{ "MOD before", EPOLL_CTL_MOD, EPOLLIN },
		{ "DEL before", EPOLL_CTL_DEL, 0 },
		{ "ADD", EPOLL_CTL_ADD, EPOLLIN },
		{ "ADD again", EPOLL_CTL_ADD, EPOLLIN },
		{ "MOD", EPOLL_CTL_MOD, EPOLLOUT },
		{ "MOD, one shot", EPOLL_CTL_MOD, EPOLLOUT | EPOLLONESHOT },
		{ "MOD, edge", EPOLL_CTL_MOD, EPOLLOUT | EPOLLET },
		{ "MOD, exclusive", EPOLL_CTL_MOD, EPOLLOUT | EPOLLEXCLUSIVE },
		{ "unknown", 9, EPOLLOUT },
		{ "DEL", EPOLL_CTL_DEL, 0 },
		{ "DEL again", EPOLL_CTL_DEL, 0 },
		{ "ADD, exclusive", EPOLL_CTL_ADD, EPOLLOUT | EPOLLEXCLUSIVE },
		{ "MOD of that", EPOLL_CTL_MOD, EPOLLOUT },
		{ "DEL of that", EPOLL_CTL_DEL, 0 },
	};
	struct hammer h = { 0 };
	int ep = new_epoll(), pair[2], good = 0, tries = 0;
	pthread_t thread;
	size_t i;

	unix_pair(pair);
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		say(calls[i].name,
		    ring_ctl(ring, flags, ep, calls[i].op, pair[0], calls[i].events, 0x30 + i));
		look(ep);
		show(ep);
	}
	say("a closed one", ring_ctl(ring, flags, ep, EPOLL_CTL_MOD, 99, EPOLLIN, 1));
	say("no epoll", ring_ctl(ring, flags, pair[0], EPOLL_CTL_MOD, pair[1], EPOLLIN, 1));
	h.ep = ep;
	h.fd = pair[1];
	raw_ctl(ep, EPOLL_CTL_ADD, pair[1], EPOLLIN, 0);
	if (pthread_create(&thread, NULL, hammer, &h))
		die("pthread_create");
	for (i = 0; i < 50; i++) {
		good += !ring_ctl(ring, flags, ep, EPOLL_CTL_ADD, pair[0], EPOLLIN, i);
		good += !ring_ctl(ring, flags, ep, EPOLL_CTL_MOD, pair[0], EPOLLOUT, i);
		good += !ring_ctl(ring, flags, ep, EPOLL_CTL_DEL, pair[0], 0, i);
		tries += 3;
	}
	h.stop = true;
	pthread_join(thread, NULL);
	printf("\tbusy: %d of %d\n", good, tries);
	look(ep);
	close_pair(pair);
	close(ep);
}

static void uring(void)
{
	struct io_uring ring;
	int ret = io_uring_queue_init(8, &ring, 0);

	if (ret) {
		errno = -ret;
		say("io_uring", -1);
		return;
	}
	printf("    at once\n");
	ring_calls(&ring, 0);
	printf("    by another thread\n");
	ring_calls(&ring, IOSQE_ASYNC);
	io_uring_queue_exit(&ring);
}

/* --- calls: how many watches a user may have --- */

static int add_until_full(int ep, int from, int to)
{
	int fd;

	for (fd = from; fd < to; fd++)
		if (raw_ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN, fd))
			break;
	return fd - from;
}

static void watch(int ep, int pair[2])
{
	enum { FIRST = 300, LAST = 600 };
	int fd, i, bad = 0;

	if (setresuid(54321, 54321, 54321))
		die("setresuid");
	for (fd = FIRST; fd < LAST; fd++)
		if (dup2(pair[0], fd) != fd)
			die("dup2");
	close(ep);
	ep = new_epoll();
	say("watches", add_until_full(ep, FIRST, LAST));
	say("one more", raw_ctl(ep, EPOLL_CTL_ADD, LAST - 1, EPOLLIN, 1));
	for (i = 0; i < 3; i++)
		for (fd = FIRST; fd < FIRST + 200; fd++)
			bad += !!raw_ctl(ep, EPOLL_CTL_MOD, fd, EPOLLOUT, i);
	say("MOD that failed", bad);
	say("one more", raw_ctl(ep, EPOLL_CTL_ADD, LAST - 1, EPOLLIN, 1));
	for (fd = FIRST; fd < FIRST + 50; fd++)
		bad += !!epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL);
	say("DEL that failed", bad);
	say("watches", add_until_full(ep, FIRST + 200, LAST));
	say("one more", raw_ctl(ep, EPOLL_CTL_ADD, FIRST, EPOLLIN, 1));
	close(ep);
	ep = new_epoll();
	say("watches", add_until_full(ep, FIRST, LAST));
}

static void set_watches(long n)
{
	FILE *f = fopen(MAX_WATCHES, "w");

	if (!f || fprintf(f, "%ld\n", n) < 0 || fclose(f))
		die(MAX_WATCHES);
}

static void watches(void)
{
	FILE *f = fopen(MAX_WATCHES, "r");
	int ep = new_epoll(), pair[2];
	long old;

	if (!f || fscanf(f, "%ld", &old) != 1)
		die(MAX_WATCHES);
	fclose(f);
	unix_pair(pair);
	set_watches(200);
	in_child(ep, pair, watch);
	set_watches(old);
	close_pair(pair);
	close(ep);
}

/* --- calls --- */

static const struct {
	const char *name;
	void (*play)(void);
} scenes[] = {
	{ "every kind of file", every_kind },
	{ "errors", errors },
	{ "duplicates", duplicates },
	{ "several epolls", several_epolls },
	{ "passed on", passed_on },
	{ "forked", forked },
	{ "changes", changes },
	{ "order", order },
	{ "reset", reset },
	{ "urgent data", urgent },
	{ "a listener", a_listener },
	{ "EPOLLWAKEUP", wakeup },
	{ "blocked", blocked },
	{ "io_uring", uring },
	{ "watches", watches },
};

static int calls(void)
{
	size_t i;

	/* The numbers of descriptors are part of it. */
	close_range(3, ~0U, 0);
	pin_to(0);
	attach();
	for (i = 0; i < ARRAY_SIZE(scenes); i++) {
		if (cfg.scene ? strcmp(cfg.scene, scenes[i].name) :
				scenes[i].play == watches && !cfg.watches)
			continue;
		printf("%s\n", scenes[i].name);
		scenes[i].play();
	}
	return 0;
}

/* --- cost --- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

/* The only place where something is timed: the same instructions around all. */
static __attribute__((noinline)) uint64_t timed(int ep, int op, int fd, struct epoll_event *ev)
{
	uint64_t begin = now_ns();
	int ret = epoll_ctl(ep, op, fd, ev);
	uint64_t end = now_ns();

	if (ret)
		die("epoll_ctl %d", op);
	return end - begin;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static unsigned long long median(uint64_t *v)
{
	qsort(v, cfg.rounds, sizeof(*v), by_size);
	return v[cfg.rounds / 2];
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

static int cost(void)
{
	struct rlimit files = { cfg.n + 100, cfg.n + 100 };
	uint64_t *took[4], seed = 88172645463325252ull;
	struct epoll_event ev = { .events = EPOLLIN };
	int ep, i, which, *fd, pipes[16], warm = 20;

	if (setrlimit(RLIMIT_NOFILE, &files))
		die("RLIMIT_NOFILE");
	pin_to(cfg.cpu);
	attach();
	ep = new_epoll();
	fd = calloc(cfg.n + 1, sizeof(*fd));
	for (i = 0; i < 4; i++) {
		took[i] = malloc(cfg.rounds * sizeof(uint64_t));
		/* no page fault later */
		memset(took[i], 1, cfg.rounds * sizeof(uint64_t));
	}
	for (i = 0; i < cfg.n; i++) {
		if (!(i & 1))
			unix_pair(fd + i);
		timed(ep, EPOLL_CTL_ADD, fd[i], &ev);
	}
	for (i = -warm; i < cfg.rounds; i++) {
		which = fd[next_random(&seed) % cfg.n];
		took[0][i < 0 ? 0 : i] = timed(ep, EPOLL_CTL_MOD, which, &ev);
	}
	for (i = -warm; i < cfg.rounds; i++) {
		which = fd[next_random(&seed) % cfg.n];
		took[1][i < 0 ? 0 : i] = timed(ep, EPOLL_CTL_DEL, which, &ev);
		took[2][i < 0 ? 0 : i] = timed(ep, EPOLL_CTL_ADD, which, &ev);
	}
	/* Several: where one is in the kernel's tree is a matter of luck. */
	for (i = 0; i < (int)ARRAY_SIZE(pipes); i++) {
		pipes[i] = open_pipe();
		timed(ep, EPOLL_CTL_ADD, pipes[i], &ev);
	}
	for (i = -warm; i < cfg.rounds; i++) {
		which = pipes[next_random(&seed) % ARRAY_SIZE(pipes)];
		took[3][i < 0 ? 0 : i] = timed(ep, EPOLL_CTL_MOD, which, &ev);
	}
	printf("n=%d mod=%llu del=%llu add=%llu pipe=%llu\n", cfg.n, median(took[0]),
	       median(took[1]), median(took[2]), median(took[3]));
	return 0;
}

/* --- storm --- */

/*
 * Descriptors have fixed numbers: what is reopened is put there by dup3(), so that a number
 * never becomes something of another kind. Temporary ones are below EP_FD.
 *
 * The first slots belong to a thread each, which alone changes them in the first epolls: it
 * knows what every call must answer, and what may be delivered. All else is anybody's.
 */
enum {
	MAX_THREADS	= 16,
	OWNED		= 6,	/* slots of each thread */
	WILD		= 16,	/* slots that are opened, closed, duplicated */
	SLOTS		= MAX_THREADS * OWNED + WILD,
	STABLE		= 2,	/* epolls that stay */
	EPOLLS		= 4,
	EP_FD		= 100,
	OUTER_FD	= 110,	/* an epoll for the epolls */
	SLOT_FD		= 200,
	PEER_FD		= 400,
	WAITERS		= 3,
	MAX_ITEMS	= 4096,
};

/* what an event carries: where it belongs, and which call put it there */
#define MAGIC		0x5aull
#define MUST_FAIL	0x100000000ull	/* by a call that had to be refused */

static uint64_t mark(int e, int slot, uint32_t gen)
{
	return MAGIC << 56 | (uint64_t)e << 48 | (uint64_t)slot << 40 | gen;
}

static bool marked(uint64_t data, int e, int slot)
{
	return data >> 56 == MAGIC && (data >> 48 & 255) == (uint64_t)e &&
	       (slot < 0 ? (data >> 40 & 255) < SLOTS : (data >> 40 & 255) == (uint64_t)slot);
}

static struct {
	_Atomic uint32_t issued;	/* the last call that was begun */
	_Atomic uint32_t floor;		/* what was before this is over */
	bool in, exclusive;		/* only its owner looks */
	uint64_t data;
} pairs[STABLE][SLOTS];

static int slots, owned;	/* how many; those below owned have an owner */
static int storm_listener;
static pthread_mutex_t connecting = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool storm_over;
static _Atomic unsigned long ops, events_seen;
static _Atomic int wrong_things;

static void __attribute__((format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (wrong_things++ < 20)
		fprintf(stderr, "wrong: %s\n", text);
}

static const char *op_name(int op)
{
	return op == EPOLL_CTL_ADD ? "ADD" : op == EPOLL_CTL_MOD ? "MOD" : "DEL";
}

static void place(int fd, int number)
{
	if (dup3(fd, number, O_CLOEXEC) < 0)
		wrong("dup3 to %d: %s", number, strerrorname_np(errno));
	close(fd);
}

static void open_slot(int slot, uint64_t random)
{
	struct linger now = { .l_onoff = 1 };
	int pair[2], i;

	if (random & 1) {
		unix_pair(pair);
	} else {
		pthread_mutex_lock(&connecting);
		connect_pair(storm_listener, pair);
		pthread_mutex_unlock(&connecting);
		/* no TIME_WAIT; and some resets */
		for (i = 0; i < 2; i++)
			setsockopt(pair[i], SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	place(pair[0], SLOT_FD + slot);
	place(pair[1], PEER_FD + slot);
}

static uint32_t random_events(uint64_t random)
{
	static const uint32_t some[] = {
		EPOLLIN,  EPOLLIN, EPOLLIN | EPOLLRDHUP, EPOLLIN | EPOLLOUT,
		EPOLLOUT, 0,	   EPOLLIN | EPOLLPRI,	 EPOLLIN
	};
	static const uint32_t how[] = { 0, 0, EPOLLET, EPOLLONESHOT };

	return some[random % 8] | how[random / 8 % 4];
}

static int random_op(uint64_t random)
{
	static const int some[] = { EPOLL_CTL_ADD, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_MOD,
				    EPOLL_CTL_MOD, EPOLL_CTL_MOD, EPOLL_CTL_DEL, EPOLL_CTL_DEL };

	return some[random % 8];
}

/* Nobody else changes this one: only one answer is right. */
static void change_own(int e, int slot, uint64_t random)
{
	uint32_t gen = ++pairs[e][slot].issued, events = random_events(random >> 8);
	bool exclusive = false, in = pairs[e][slot].in;
	uint64_t data = mark(e, slot, gen);
	int op = random_op(random), want = 0, got;

	if (op == EPOLL_CTL_ADD) {
		exclusive = random >> 20 & 1;
		if (exclusive)
			events = EPOLLIN | EPOLLET | EPOLLEXCLUSIVE;
		want = in ? EEXIST : 0;
	} else if (!in) {
		want = ENOENT;
	} else if (op == EPOLL_CTL_MOD) {
		want = pairs[e][slot].exclusive ? EINVAL : 0;
	}
	if (want)
		data |= MUST_FAIL;
	got = raw_ctl(EP_FD + e, op, SLOT_FD + slot, events, data) ? errno : 0;
	if (got != want)
		wrong("%s: %s, expected %s", op_name(op), got ? strerrorname_np(got) : "0",
		      want ? strerrorname_np(want) : "0");
	if (got)
		return;
	pairs[e][slot].in = op != EPOLL_CTL_DEL;
	if (op == EPOLL_CTL_ADD)
		pairs[e][slot].exclusive = exclusive;
	pairs[e][slot].data = data;
	pairs[e][slot].floor = gen + (op == EPOLL_CTL_DEL);
}

static void change_any(uint64_t random)
{
	int e = random % EPOLLS, op = random_op(random >> 4), got, slot;
	uint32_t events = random_events(random >> 8);

	random >>= 16;
	slot = e < STABLE ? owned + random % WILD : random % slots;
	if (op == EPOLL_CTL_ADD && (random >> 10) % 8 == 0)
		events = EPOLLIN | EPOLLEXCLUSIVE;
	got = raw_ctl(EP_FD + e, op, SLOT_FD + slot, events, mark(e, slot, 0)) ? errno : 0;
	if (!got || got == EBADF || got == (op == EPOLL_CTL_ADD ? EEXIST : ENOENT) ||
	    (got == EINVAL && op == EPOLL_CTL_MOD))
		return;
	wrong("%s: %s", op_name(op), strerrorname_np(got));
}

static void change_epolls(uint64_t random)
{
	int e = random % EPOLLS, op = random_op(random >> 4), got;

	if (random >> 10 & 1) {
		got = raw_ctl(OUTER_FD, op, EP_FD + e, EPOLLIN, mark(e, 0, 0)) ? errno : 0;
		if (got && got != EBADF && got != (op == EPOLL_CTL_ADD ? EEXIST : ENOENT))
			wrong("%s of an epoll: %s", op_name(op), strerrorname_np(got));
	} else if (e >= STABLE) {
		if (random >> 11 & 1)
			place(new_epoll(), EP_FD + e);
		else
			close(EP_FD + e);
	}
}

static void do_something(uint64_t random, int thread)
{
	int dice = random % 100, any, wild;
	char buf[64];

	random /= 100;
	any = (random >> 4) % slots;
	wild = owned + (random >> 4) % WILD;
	if (dice < 45)
		change_own(random % STABLE, thread * OWNED + random / STABLE % OWNED, random >> 6);
	else if (dice < 80)
		change_any(random);
	else if (dice < 86)
		send(PEER_FD + any, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (dice < 89)
		recv(SLOT_FD + any, buf, sizeof(buf), MSG_DONTWAIT);
	else if (dice < 90)
		shutdown(SLOT_FD + wild, random % 3);
	else if (dice < 93)
		open_slot(wild, random);
	else if (dice < 95)
		close(SLOT_FD + wild);
	else if (dice < 97)
		dup3(SLOT_FD + any, any == wild ? SLOT_FD + owned : SLOT_FD + wild, O_CLOEXEC);
	else if (dice < 98)
		dup3(SLOT_FD + (random >> 20) % slots, SLOT_FD + wild, O_CLOEXEC);
	else
		change_epolls(random);
}

static uint64_t storm_seed;

static void *changer(void *arg)
{
	int thread = (int)(intptr_t)arg;
	uint64_t state = storm_seed + 0x9e3779b97f4a7c15ull * (thread + 1);

	while (!storm_over) {
		do_something(next_random(&state), thread);
		ops++;
	}
	return NULL;
}

static void judge(const struct epoll_event *ev, int e, const uint32_t *floor)
{
	uint64_t data = ev->data.u64;
	int slot = data >> 40 & 255;
	uint32_t gen = data;
	char buf[64];

	if (!marked(data, e, -1) || slot >= slots) {
		wrong("epoll %d delivers %llx", e, (unsigned long long)data);
		return;
	}
	if (data & MUST_FAIL)
		wrong("epoll %d delivers what was refused: %llx", e, (unsigned long long)data);
	if (e < STABLE && slot < owned) {
		uint32_t issued = pairs[e][slot].issued;

		if (gen < floor[slot] || gen > issued)
			wrong("epoll %d delivers %u of slot %d, after %u, before %u", e, gen, slot,
			      floor[slot], issued);
	}
	if (ev->events & EPOLLIN)
		recv(SLOT_FD + slot, buf, sizeof(buf), MSG_DONTWAIT);
	events_seen++;
}

static void *waiter(void *arg)
{
	uint64_t state = storm_seed - 0x9e3779b97f4a7c15ull * ((intptr_t)arg + 1);
	struct epoll_event evs[64];
	uint32_t floor[SLOTS];
	int e, i, n;

	while (!storm_over) {
		e = next_random(&state) % (EPOLLS + 1);
		for (i = 0; e < STABLE && i < owned; i++)
			floor[i] = pairs[e][i].floor;
		n = epoll_wait(e < EPOLLS ? EP_FD + e : OUTER_FD, evs, ARRAY_SIZE(evs), 5);
		if (n < 0 && (errno != EBADF || e < STABLE || e == EPOLLS))
			wrong("epoll_wait: %s", strerrorname_np(errno));
		for (i = 0; i < n; i++) {
			if (e < EPOLLS)
				judge(evs + i, e, floor);
			else if (!marked(evs[i].data.u64, evs[i].data.u64 >> 48 & 255, 0))
				wrong("the outer epoll delivers %llx",
				      (unsigned long long)evs[i].data.u64);
		}
	}
	return NULL;
}

/* --- storm: afterwards nothing moves --- */

static struct item items[EPOLLS][MAX_ITEMS];
static int item_count[EPOLLS];

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* the item of this number and the file that has it now */
static const struct item *find_item(int e, int slot)
{
	struct stat st;
	int i;

	if (fstat(SLOT_FD + slot, &st))
		return NULL;
	for (i = 0; i < item_count[e]; i++)
		if (items[e][i].fd == SLOT_FD + slot && items[e][i].ino == st.st_ino)
			return &items[e][i];
	return NULL;
}

static void compare_items(int e)
{
	int i, slot;

	item_count[e] = read_items(EP_FD + e, items[e], MAX_ITEMS);
	for (i = 0; i < item_count[e]; i++)
		if (!marked(items[e][i].data, e, items[e][i].fd - SLOT_FD) ||
		    items[e][i].data & MUST_FAIL)
			wrong("epoll %d has %d with %llx", e, items[e][i].fd, items[e][i].data);
	for (slot = 0; e < STABLE && slot < owned; slot++) {
		const struct item *it = find_item(e, slot);

		if (!it != !pairs[e][slot].in)
			wrong("slot %d is%s in epoll %d", slot, it ? "" : " not", e);
		else if (it && it->data != pairs[e][slot].data)
			wrong("slot %d has %llx in epoll %d", slot, it->data, e);
	}
}

static bool readable(int slot, int ms)
{
	struct pollfd pfd = { .fd = SLOT_FD + slot, .events = POLLIN };

	return poll(&pfd, 1, ms) > 0;
}

static void feed(void)
{
	int slot;

	for (slot = 0; slot < slots; slot++)
		send(PEER_FD + slot, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* MOD of all that are there, and which can be expected to be reported */
static void rearm(int e, uint32_t events, uint32_t gen, bool *expected)
{
	int slot;

	for (slot = 0; slot < slots; slot++) {
		const struct item *it = find_item(e, slot);
		int want = 0, got;

		expected[slot] = it && !(it->events & EPOLLEXCLUSIVE);
		if (!is_open(SLOT_FD + slot))
			want = EBADF;
		else if (!it)
			want = ENOENT;
		else if (it->events & EPOLLEXCLUSIVE)
			want = EINVAL;
		got = raw_ctl(EP_FD + e, EPOLL_CTL_MOD, SLOT_FD + slot, events, mark(e, slot, gen));
		got = got ? errno : 0;
		if (got != want)
			wrong("MOD of slot %d in epoll %d afterwards: %d, expected %d", slot, e,
			      got, want);
	}
}

static void collect(int e, uint32_t gen, bool *expected, const char *what)
{
	static struct epoll_event evs[MAX_ITEMS];
	double end = now_ms() + LONG_MS;
	int slot, left = 0, i, n;

	for (slot = 0; slot < slots; slot++)
		left += expected[slot];
	while (left && now_ms() < end) {
		n = epoll_wait(EP_FD + e, evs, MAX_ITEMS, 100);
		for (i = 0; i < n; i++) {
			slot = evs[i].data.u64 >> 40 & 255;
			if (evs[i].data.u64 != mark(e, slot, gen) || !expected[slot])
				continue;
			expected[slot] = false;
			left--;
		}
	}
	for (slot = 0; slot < slots; slot++)
		if (expected[slot])
			wrong("epoll %d does not report slot %d, %s", e, slot, what);
}

/* data first, then MOD; and MOD first, then data */
static void check_wakeups(void)
{
	static bool expected[EPOLLS][SLOTS];
	struct epoll_event evs[64];
	char buf[4096];
	int e, i, slot;

	feed();
	for (slot = 0; slot < slots; slot++)
		if (is_open(SLOT_FD + slot) && !readable(slot, LONG_MS))
			wrong("slot %d has no data", slot);
	for (e = 0; e < EPOLLS; e++) {
		if (!is_open(EP_FD + e))
			continue;
		rearm(e, EPOLLIN, 0xfffffff0, expected[e]);
		collect(e, 0xfffffff0, expected[e], "which was ready");
	}

	for (slot = 0; slot < slots; slot++)
		while (recv(SLOT_FD + slot, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
	for (e = 0; e < EPOLLS; e++) {
		if (!is_open(EP_FD + e))
			continue;
		rearm(e, EPOLLIN | EPOLLET, 0xfffffff1, expected[e]);
		/* What is level-triggered is another file's under this number: it never ends. */
		for (i = 0; i < 100 && epoll_wait(EP_FD + e, evs, ARRAY_SIZE(evs), 0) > 0; i++)
			;
		/* at its end, or reset */
		for (slot = 0; slot < slots; slot++)
			if (expected[e][slot] && readable(slot, 0))
				expected[e][slot] = false;
	}
	feed();
	for (e = 0; e < EPOLLS; e++)
		if (is_open(EP_FD + e))
			collect(e, 0xfffffff1, expected[e], "which became ready");
}

static void check_deletes(int e)
{
	int slot, want, got, i;

	for (slot = 0; slot < slots; slot++) {
		want = !is_open(SLOT_FD + slot) ? EBADF : find_item(e, slot) ? 0 : ENOENT;
		for (i = 0; i < 2; i++) {
			got = epoll_ctl(EP_FD + e, EPOLL_CTL_DEL, SLOT_FD + slot, NULL) ? errno : 0;
			if (got != want)
				wrong("DEL of slot %d from epoll %d: %d, expected %d", slot, e, got,
				      want);
			want = want ? want : ENOENT;
		}
	}
	item_count[e] = read_items(EP_FD + e, items[e], MAX_ITEMS);
	for (slot = 0; slot < slots; slot++)
		if (find_item(e, slot))
			wrong("slot %d is still in epoll %d", slot, e);
}

static void end_storm(int sig)
{
	(void)sig;
	storm_over = true;
}

static int storm(void)
{
	double end = now_ms() + cfg.ms;

	pthread_t threads[MAX_THREADS + WAITERS];
	const char *seed = getenv("FS_SEED");
	int i, e, n = cfg.threads + WAITERS;

	if (cfg.threads < 1 || cfg.threads > MAX_THREADS)
		die("1 to %d threads", MAX_THREADS);
	signal(SIGTERM, end_storm);
	storm_seed = seed ? strtoull(seed, NULL, 0) : now_ns() | 1;
	owned = cfg.threads * OWNED;
	slots = owned + WILD;
	attach();
	storm_listener = tcp_listener("127.0.0.1", 0);
	if (listen(storm_listener, 16))
		die("listen");
	place(new_epoll(), OUTER_FD);
	for (e = 0; e < EPOLLS; e++)
		place(new_epoll(), EP_FD + e);
	for (i = 0; i < slots; i++)
		open_slot(i, i);
	for (i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, i < cfg.threads ? changer : waiter,
				   (void *)(intptr_t)i))
			die("pthread_create");
	while (!storm_over && now_ms() < end)
		msleep(20);
	storm_over = true;
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);

	for (e = 0; e < EPOLLS; e++)
		if (is_open(EP_FD + e))
			compare_items(e);
	check_wakeups();
	for (e = 0; e < EPOLLS; e++)
		if (is_open(EP_FD + e))
			check_deletes(e);
	printf("ops=%lu errors=%d events=%lu seed=%llu\n", ops, wrong_things, events_seen,
	       (unsigned long long)storm_seed);
	return !!wrong_things;
}

/* --- stuck --- */

/*
 * epoll_wait() stores events with the epoll's mutex held. Where it stores them is memory that
 * is not there before we say so: until then epoll_ctl() sleeps on the mutex.
 */
struct call {
	pthread_t thread;
	int ep, op, fd, ret;
	_Atomic int tid;
	struct epoll_event *evs;
};

static void *call(void *arg)
{
	struct call *c = arg;

	c->tid = gettid();
	if (c->evs)
		c->ret = epoll_wait(c->ep, c->evs, 1, LONG_MS);
	else
		c->ret = raw_ctl(c->ep, c->op, c->fd, EPOLLIN, 7);
	return NULL;
}

/* how it sleeps: in a page fault as in a mutex, or so that signals are seen */
static void start_call(struct call *c, const char *states)
{
	if (pthread_create(&c->thread, NULL, call, c))
		die("pthread_create");
	while (!c->tid || !strchr(states, state_of(c->tid)))
		usleep(500);
}

static void *absent_page(int *uffd)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = {
		.range.len = getpagesize(),
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	void *page = mmap(NULL, getpagesize(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	*uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	reg.range.start = (uintptr_t)page;
	if (*uffd < 0 || ioctl(*uffd, UFFDIO_API, &api) || ioctl(*uffd, UFFDIO_REGISTER, &reg))
		die("userfaultfd");
	return page;
}

static int stuck(void)
{
	struct uffdio_zeropage zero = { .range.len = getpagesize() };
	int ep = new_epoll(), pair[2], uffd, sig;
	struct call w = { .ep = ep }, m = { .ep = ep }, d = { .ep = ep };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	attach();
	unix_pair(pair);
	raw_ctl(ep, EPOLL_CTL_ADD, pair[0], EPOLLOUT, 1);
	raw_ctl(ep, EPOLL_CTL_ADD, pair[1], EPOLLIN, 2);
	w.evs = absent_page(&uffd);
	m.op = EPOLL_CTL_MOD;
	m.fd = pair[0];
	d.op = EPOLL_CTL_DEL;
	d.fd = pair[1];
	start_call(&w, "SD");
	start_call(&m, "D");
	start_call(&d, "D");
	puts("stuck");
	fflush(stdout);
	sigwait(&set, &sig);
	if (state_of(m.tid) != 'D' || state_of(d.tid) != 'D')
		puts("not for long");
	zero.range.start = (uintptr_t)w.evs;
	if (ioctl(uffd, UFFDIO_ZEROPAGE, &zero))
		die("UFFDIO_ZEROPAGE");
	pthread_join(w.thread, NULL);
	pthread_join(m.thread, NULL);
	pthread_join(d.thread, NULL);
	printf("wait=%d data=%llu mod=%d del=%d\n", w.ret, (unsigned long long)w.evs->data.u64,
	       m.ret, d.ret);
	show(ep);
	return 0;
}

/* --- hold --- */

static int hold(void)
{
	lfd = tcp_listener("127.0.0.1", cfg.port);
	if (listen_attached(lfd, 16))
		die("attach");
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

static const struct {
	const char *name;
	int (*run)(void);
} modes[] = {
	{ "calls", calls }, { "cost", cost }, { "storm", storm },
	{ "stuck", stuck }, { "hold", hold },
};

int main(int argc, char **argv)
{
	size_t i;
	int o;

	for (i = 0; argc > 1 && i < ARRAY_SIZE(modes); i++)
		if (!strcmp(argv[1], modes[i].name))
			break;
	optind = 2;
	while (argc > 1 && (o = getopt(argc, argv, "fp:s:wn:r:c:t:j:")) != -1)
		switch (o) {
		case 'f':
			cfg.attach = true;
			break;
		case 'p':
			cfg.port = atoi(optarg);
			break;
		case 's':
			cfg.scene = optarg;
			break;
		case 'w':
			cfg.watches = true;
			break;
		case 'n':
			cfg.n = atoi(optarg);
			break;
		case 'r':
			cfg.rounds = atoi(optarg);
			break;
		case 'c':
			cfg.cpu = atoi(optarg);
			break;
		case 't':
			cfg.ms = atoi(optarg);
			break;
		case 'j':
			cfg.threads = atoi(optarg);
			break;
		default:
			optind = argc + 1;
		}
	if (argc < 2 || i == ARRAY_SIZE(modes) || optind != argc || cfg.n < 1 || cfg.rounds < 1) {
		fprintf(stderr, "usage: fsepoll calls [-f] [-p PORT] [-s SCENE] [-w]\n"
				"       fsepoll cost [-f] [-n N] [-r ROUNDS] [-c CPU]\n"
				"       fsepoll storm [-f] [-t MS] [-j THREADS]\n"
				"       fsepoll stuck [-f]\n"
				"       fsepoll hold [-p PORT]\n");
		return 2;
	}
	return modes[i].run();
}
