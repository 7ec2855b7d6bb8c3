// SPDX-License-Identifier: GPL-2.0
/*
 * fscost: what a system call or an exchange costs, by the machine's clock
 *
 * Meant for a machine that counts instructions (tests/vm/boot -i), where a nanosecond is
 * one of them, whichever CPU executes it.
 *
 *   fscost connect -a ADDRESS -p PORT -n N [-f FILL]
 *       N times connect() to a listener of its own, the handshake included; before that FILL
 *       connections that stay. Those that are measured are reset at once, so that their
 *       port is free again.
 *   fscost exchange -a ADDRESS -p PORT -n N
 *       a byte sent to a server that echoes (fsactive -S), and its way back, N times on one
 *       connection
 *   fscost open -n N
 *       N times socket() and close(), what RCU frees later included
 *   fscost accept -a ADDRESS -p PORT -n N
 *       N times accept4() of a connection that its client has reset, and close(), what RCU frees
 *       later included
 *
 *   -c CPU  where it runs (0)
 *
 * Prints one line "n= ok= errno= mean= median=", in nanoseconds.
 */
#include <sys/resource.h>
#include <time.h>

#include "fsutil.h"

static struct {
	const char *addr;
	int port, n, fill;
} cfg = { .addr = "127.0.0.1", .port = 8010, .n = 100 };

static uint64_t *cost;
static int done, ok, last_errno;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static void account(uint64_t since, int err)
{
	cost[done++] = now_ns() - since;
	if (err)
		last_errno = err;
	else
		ok++;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report(void)
{
	uint64_t sum = 0;
	int i;

	for (i = 0; i < done; i++)
		sum += cost[i];
	qsort(cost, done, sizeof(*cost), by_size);
	printf("n=%d ok=%d errno=%d mean=%llu median=%llu\n", done, ok, last_errno,
	       (unsigned long long)(sum / done), (unsigned long long)cost[done / 2]);
}

static int client_socket(void)
{
	struct linger now = { .l_onoff = 1 };
	int fd = socket(strchr(cfg.addr, ':') ? AF_INET6 : AF_INET, SOCK_STREAM, 0);

	/* Closing it resets: no TIME_WAIT keeps the port. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)))
		die("no socket: %s", strerror(errno));
	return fd;
}

/* The server side of what has just been connected, if it was */
static int accepted(int lfd)
{
	return accept4(lfd, NULL, NULL, SOCK_NONBLOCK);
}

static void measure_connect(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, cfg.addr, cfg.port);
	int one = 1, i, fd, err, lfd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (lfd < 0 || setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(lfd, (struct sockaddr *)&ss, len) || listen(lfd, 128))
		die("cannot listen: %s", strerror(errno));
	for (i = 0; i < cfg.fill; i++) {
		fd = client_socket();
		if (connect(fd, (struct sockaddr *)&ss, len))
			die("connection %d of %d: %s", i, cfg.fill, strerror(errno));
		if (accepted(lfd) < 0)
			die("accept: %s", strerror(errno));
	}
	for (i = 0; i < cfg.n; i++) {
		uint64_t begin;
		int server;

		fd = client_socket();
		begin = now_ns();
		err = connect(fd, (struct sockaddr *)&ss, len) ? errno : 0;
		account(begin, err);
		server = accepted(lfd);
		close(fd);
		if (server >= 0)
			close(server);
	}
}

static void measure_exchange(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, cfg.addr, cfg.port);
	int i, fd = client_socket();
	char c = 'x';

	if (connect(fd, (struct sockaddr *)&ss, len))
		die("connect: %s", strerror(errno));
	/* The first ones find out where the server is and what it announces. */
	for (i = -20; i < cfg.n; i++) {
		uint64_t begin = now_ns();

		errno = 0;
		if (send(fd, &c, 1, MSG_NOSIGNAL) != 1 || recv(fd, &c, 1, 0) != 1)
			die("exchange %d: %s", i, strerror(errno));
		if (i >= 0)
			account(begin, 0);
	}
}

/* Long enough for a grace period and its callbacks; the same number of instructions each time. */
static uint64_t wait_busily(void)
{
	uint64_t begin = now_ns();
	long i;

	for (i = 0; i < 20000000; i++)
		__asm__ volatile("" ::: "memory");
	return now_ns() - begin;
}

static void measure_open(void)
{
	int i, fd;
	uint64_t begin = 0;

	for (i = -2000; i < cfg.n; i++) {
		if (!i)
			begin = now_ns();
		fd = socket(AF_INET, SOCK_STREAM, 0);
		if (fd < 0 || close(fd))
			die("socket: %s", strerror(errno));
	}
	cost[done++] = (now_ns() - begin) / cfg.n;
	ok = cfg.n;
}

/* Connections that wait in the queue of @lfd, each reset by now */
static void connect_and_reset(const struct sockaddr_storage *ss, socklen_t len, int n)
{
	int i, fd;

	for (i = 0; i < n; i++) {
		fd = client_socket();
		if (connect(fd, (const struct sockaddr *)ss, len) || close(fd))
			die("connection %d: %s", i, strerror(errno));
	}
}

static void measure_accept(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, cfg.addr, cfg.port);
	int one = 1, i, round, fd, lfd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	uint64_t begin, idle = 0, took = 0;

	if (lfd < 0 || setsockopt(lfd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    bind(lfd, (struct sockaddr *)&ss, len) || listen(lfd, 4096))
		die("cannot listen: %s", strerror(errno));
	for (i = 0; i < 4; i++)
		idle = wait_busily();
	/* The first rounds fill whatever is filled by use. */
	for (round = -2; round < 4; round++) {
		connect_and_reset(&ss, len, cfg.n);
		wait_busily();
		begin = now_ns();
		for (i = 0; i < cfg.n; i++) {
			fd = accepted(lfd);
			if (fd < 0 || close(fd))
				die("accept %d: %s", i, strerror(errno));
		}
		wait_busily();
		took = now_ns() - begin;
		if (round < 0)
			continue;
		cost[done++] = (took - idle) / cfg.n;
		ok += cfg.n;
	}
}

/* clang-format off */
static const struct {
	const char *name;
	void (*measure)(void);
} modes[] = {
	{ "connect", measure_connect },
	{ "exchange", measure_exchange },
	{ "open", measure_open },
	{ "accept", measure_accept },
};

/* clang-format on */

static void (*mode(const char *name))(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		if (!strcmp(name, modes[i].name))
			return modes[i].measure;
	die("connect, exchange, open or accept?");
}

int main(int argc, char **argv)
{
	struct rlimit files = { 70000, 70000 };
	void (*measure)(void) = mode(argc < 2 ? "" : argv[1]);
	int c, cpu = 0;

	optind = 2;
	while ((c = getopt(argc, argv, "a:p:n:f:c:")) != -1) {
		switch (c) {
		case 'a':
			cfg.addr = optarg;
			break;
		case 'p':
			cfg.port = atoi(optarg);
			break;
		case 'n':
			cfg.n = atoi(optarg);
			break;
		case 'f':
			cfg.fill = atoi(optarg);
			break;
		case 'c':
			cpu = atoi(optarg);
			break;
		default:
			die("unknown option");
		}
	}
	if (cfg.n <= 0)
		die("-n must be more than 0");
	setrlimit(RLIMIT_NOFILE, &files);
	pin_to(cpu);
	cost = calloc(cfg.n, sizeof(*cost));
	measure();
	report();
	return 0;
}
