// SPDX-License-Identifier: GPL-2.0
/*
 * fsactive: opens connections and says where their replies were handled
 *
 * With -S it is the server: a process for each CPU of -c, pinned, with a listener of its
 * own (SO_REUSEPORT), that echoes what it gets until the client closes. It
 * prints "ready" when all listen.
 *
 * Otherwise a process for each CPU of -c, pinned, opens -n connections, sends a byte
 * on each and reads it back, and compares SO_INCOMING_CPU, the CPU that has handled
 * the last packet of the connection, with its own. Ends with one line
 *
 *   conns= ok= fail= errno= local= named= odd= low= high=
 *
 * local: handled on the CPU that has opened the connection; named: its port names this
 * CPU, with -N codes; odd: its port is; low and high: the least and the greatest port.
 * Exits 0 when no connection failed. No fault of the client is forgiven: any error of any
 * call counts.
 *
 *   -a ADDRESS  -p PORT[,PORT...]  the destination; connections take the ports in turn
 *   -k          keep all connections open to the end, close without TIME_WAIT
 *   -e MS       with -k: then go on exchanging bytes on all of them for so long
 *   -t MS       open connections for so long, however many
 *   -b PORT     bind() to PORT first
 *   -s ADDRESS  bind() to ADDRESS, IP_BIND_ADDRESS_NO_PORT
 *   -r LOW-HIGH IP_LOCAL_PORT_RANGE
 *   -i NAME     SO_BINDTODEVICE
 *   -l          print each port, a line "port N"
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "fsutil.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

static struct {
	const char *addr, *source, *device;
	struct int_list ports, cpus;
	int conns, codes, exchange, duration, bind_port;
	unsigned int range;
	bool serve, keep, list;
} cfg = { .addr = "127.0.0.1", .conns = 1, .codes = 4 };

struct result {
	int conns, ok, err, local, named, odd, low, high;
};

static struct result *res;

/* A server's: forks one for each CPU */

static void serve_one(int ep, int lfd)
{
	struct epoll_event ev[64];
	int i, n = epoll_wait(ep, ev, ARRAY_SIZE(ev), -1);
	char buf[256];

	for (i = 0; i < n; i++) {
		int fd = ev[i].data.fd;
		ssize_t len;

		if (fd == lfd) {
			struct epoll_event new = { .events = EPOLLIN };

			new.data.fd = accept(lfd, NULL, NULL);
			if (new.data.fd >= 0)
				epoll_ctl(ep, EPOLL_CTL_ADD, new.data.fd, &new);
			continue;
		}
		len = recv(fd, buf, sizeof(buf), 0);
		if (len <= 0 || send(fd, buf, len, MSG_NOSIGNAL) != len)
			close(fd);
	}
}

static int reuse_listener(int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, cfg.addr, port);
	int one = 1, fd = socket(ss.ss_family, SOCK_STREAM, 0);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) ||
	    bind(fd, (struct sockaddr *)&ss, len) || listen(fd, 4096))
		die("cannot listen on port %d: %s", port, strerror(errno));
	return fd;
}

static void serve(void)
{
	int i, j, lfd;

	for (i = 0; i < cfg.cpus.n; i++) {
		for (j = 0; j < cfg.ports.n; j++) {
			struct epoll_event ev = { .events = EPOLLIN };
			int ep;

			lfd = reuse_listener(cfg.ports.v[j]);
			if (fork()) {
				close(lfd);
				continue;
			}
			pin_to(cfg.cpus.v[i]);
			ep = epoll_create1(0);
			ev.data.fd = lfd;
			epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev);
			for (;;)
				serve_one(ep, lfd);
		}
	}
	printf("ready\n");
	fflush(stdout);
	pause();
}

/* A client's */

static int prepare(int fd, int family)
{
	struct sockaddr_storage ss;
	int one = 1;

	if (cfg.range && setsockopt(fd, SOL_IP, IP_LOCAL_PORT_RANGE, &cfg.range, sizeof(cfg.range)))
		return -1;
	if (cfg.device &&
	    setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, cfg.device, strlen(cfg.device) + 1))
		return -1;
	if (cfg.source) {
		socklen_t len = make_address(&ss, cfg.source, 0);

		if (setsockopt(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) ||
		    bind(fd, (struct sockaddr *)&ss, len))
			return -1;
	}
	if (cfg.bind_port) {
		socklen_t len =
			make_address(&ss, family == AF_INET ? "0.0.0.0" : "::", cfg.bind_port);

		if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) ||
		    bind(fd, (struct sockaddr *)&ss, len))
			return -1;
	}
	return 0;
}

static int exchange(int fd)
{
	char c = 'x';

	if (send(fd, &c, 1, MSG_NOSIGNAL) != 1)
		return -1;
	if (recv(fd, &c, 1, 0) != 1 || c != 'x') {
		errno = errno ? errno : EPIPE;
		return -1;
	}
	return 0;
}

static int local_port(int fd)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getsockname(fd, (struct sockaddr *)&ss, &len))
		return -1;
	return ntohs(ss.ss_family == AF_INET ? ((struct sockaddr_in *)&ss)->sin_port :
					       ((struct sockaddr_in6 *)&ss)->sin6_port);
}

static bool is_local(int fd, int cpu)
{
	int got = -1;
	socklen_t len = sizeof(got);

	return !getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &got, &len) && got == cpu;
}

static void look(struct result *r, int fd, int cpu)
{
	int port = local_port(fd);

	r->ok++;
	r->local += is_local(fd, cpu);
	r->named += (port / 2) % cfg.codes == cpu;
	r->odd += port & 1;
	if (!r->low || port < r->low)
		r->low = port;
	if (port > r->high)
		r->high = port;
	if (cfg.list)
		printf("port %d\n", port);
}

static void done(int fd)
{
	struct linger now = { .l_onoff = 1 };

	if (cfg.keep)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
}

static int open_one(struct result *r, int n, int cpu)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, cfg.addr, cfg.ports.v[n % cfg.ports.n]);
	struct timeval patience = { .tv_sec = 20 };
	int fd = socket(ss.ss_family, SOCK_STREAM, 0);

	r->conns++;
	errno = 0;
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    prepare(fd, ss.ss_family) || connect(fd, (struct sockaddr *)&ss, len) || exchange(fd)) {
		r->err = errno;
		if (fd >= 0)
			close(fd);
		return -1;
	}
	look(r, fd, cpu);
	return fd;
}

static void client(struct result *r, int cpu)
{
	int *fds = calloc(cfg.conns, sizeof(*fds)), i, n;
	double end = now_ms() + cfg.duration;

	pin_to(cpu);
	for (n = 0; cfg.duration ? now_ms() < end : n < cfg.conns; n++) {
		int fd = open_one(r, n, cpu);

		if (fd >= 0 && !cfg.keep)
			done(fd);
		else if (cfg.keep)
			fds[n] = fd;
	}
	if (!cfg.keep)
		return;
	for (end = now_ms() + cfg.exchange; now_ms() < end; msleep(50)) {
		for (i = 0; i < n; i++) {
			if (fds[i] < 0 || !exchange(fds[i]))
				continue;
			r->err = errno;
			r->ok--;
			close(fds[i]);
			fds[i] = -1;
		}
	}
	/* Where the last packet was handled. */
	r->local = 0;
	for (i = 0; i < n; i++)
		r->local += fds[i] >= 0 && is_local(fds[i], cpu);
	for (i = 0; i < n; i++)
		if (fds[i] >= 0)
			done(fds[i]);
}

static void run(void)
{
	struct result sum = {};
	int i;

	res = mmap(NULL, cfg.cpus.n * sizeof(*res), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fflush(stdout);
	for (i = 0; i < cfg.cpus.n; i++) {
		if (fork())
			continue;
		client(&res[i], cfg.cpus.v[i]);
		fflush(stdout);
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (i = 0; i < cfg.cpus.n; i++) {
		sum.conns += res[i].conns;
		sum.ok += res[i].ok;
		sum.err = res[i].err ? res[i].err : sum.err;
		sum.local += res[i].local;
		sum.named += res[i].named;
		sum.odd += res[i].odd;
		if (res[i].low && (!sum.low || res[i].low < sum.low))
			sum.low = res[i].low;
		if (res[i].high > sum.high)
			sum.high = res[i].high;
	}
	printf("conns=%d ok=%d fail=%d errno=%d local=%d named=%d odd=%d low=%d high=%d\n",
	       sum.conns, sum.ok, sum.conns - sum.ok, sum.err, sum.local, sum.named, sum.odd,
	       sum.low, sum.high);
	exit(sum.conns != sum.ok);
}

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	unsigned int low, high;
	int c;

	parse_list(&cfg.cpus, "0");
	while ((c = getopt(argc, argv, "Sa:p:c:n:N:ke:t:b:s:r:i:l")) != -1) {
		switch (c) {
		case 'S':
			cfg.serve = true;
			break;
		case 'a':
			cfg.addr = optarg;
			break;
		case 'p':
			parse_list(&cfg.ports, optarg);
			break;
		case 'c':
			parse_list(&cfg.cpus, optarg);
			break;
		case 'n':
			cfg.conns = atoi(optarg);
			break;
		case 'N':
			cfg.codes = atoi(optarg);
			break;
		case 'k':
			cfg.keep = true;
			break;
		case 'e':
			cfg.exchange = atoi(optarg);
			break;
		case 't':
			cfg.duration = atoi(optarg);
			break;
		case 'b':
			cfg.bind_port = atoi(optarg);
			break;
		case 's':
			cfg.source = optarg;
			break;
		case 'i':
			cfg.device = optarg;
			break;
		case 'l':
			cfg.list = true;
			break;
		case 'r':
			if (sscanf(optarg, "%u-%u", &low, &high) != 2)
				die("-r LOW-HIGH");
			cfg.range = high << 16 | low;
			break;
		default:
			die("see the head of fsactive.c");
		}
	}
	if (!cfg.ports.n || !cfg.cpus.n)
		die("-p PORT and -c CPUS are needed");
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	if (cfg.serve)
		serve();
	else
		run();
}
