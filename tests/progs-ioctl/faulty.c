// SPDX-License-Identifier: GPL-2.0
/*
 * A server and its clients in one process, while things fail in the kernel.
 *
 * faulty rounds MAX [FILE]: rounds of: make a listener by ioctl, serve it by three
 *   threads, each with an epoll of its own, connect, check every answer, count at
 *   both ends, close. Alternates IPv4 and IPv6, two rounds without SO_REUSEPORT
 *   and two with it. With FILE, a number that grows with each fault (debugfs),
 *   until four rounds in a row met none.
 * faulty nth: the kernel's own injector (/proc/thread-self/fail-nth) fails the
 *   first, second, third... allocation inside FSOCKET_IOC_LISTEN, then inside
 *   FSOCKET_IOC_SPAWN_LISTEN, until one goes through unharmed.
 * faulty close MODE: a listener with connections in private bind buckets is closed
 *   while everything fails: MODE is fsfault's file. bind() is then as natively.
 *
 * A fault may cost locality, never a connection. Prints what it did in one line.
 */
#include <pthread.h>
#include <sys/epoll.h>

#include "probe.h"

#define MAX_WORKERS	4
#define CONNECTIONS	12

/* One CPU of four has none. */
static int workers = 3;

struct server {
	int fd;
	volatile bool stop;
	unsigned int served;
};

static void serve_one(struct server *s)
{
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC);
	char byte;

	if (fd < 0)
		return;
	if (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1)
		__atomic_add_fetch(&s->served, 1, __ATOMIC_RELAXED);
	close(fd);
}

static void *work(void *arg)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct server *s = arg;
	int ep = epoll_create1(EPOLL_CLOEXEC);

	/* An epoll_ctl() that finds no memory says so to the program on any kernel. */
	while (epoll_ctl(ep, EPOLL_CTL_ADD, s->fd, &ev) && errno == ENOMEM)
		;
	while (!s->stop)
		if (epoll_wait(ep, &ev, 1, 100) > 0)
			serve_one(s);
	close(ep);
	return NULL;
}

/* One connection there and back; a SYN that finds no memory comes again. */
static int talk(int family, unsigned int port, char byte)
{
	struct timeval patience = { .tv_sec = 100 };
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, port, &sa);
	char answer = 0;
	int fd;

	do {
		fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	} while (fd < 0 && (errno == ENOMEM || errno == ENOBUFS));
	CHECK(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	CHECK(connect(fd, (void *)&sa, len) == 0);
	CHECK(write(fd, &byte, 1) == 1);
	CHECK(read(fd, &answer, 1) == 1);
	CHECK(answer == byte);
	close(fd);
	return 0;
}

/*
 * Bound to a port of its own choice, which connections in private bind buckets need,
 * and to all addresses, so that the one of its connections has no bucket yet.
 */
static int bound_everywhere(int family, int reuseport)
{
	struct sockaddr_storage sa;
	int fd = bound_socket(family, 0);
	socklen_t len = loopback(family, fd < 0 ? 0 : port_of(fd), &sa);

	if (family == AF_INET)
		((struct sockaddr_in *)&sa)->sin_addr.s_addr = INADDR_ANY;
	else
		((struct sockaddr_in6 *)&sa)->sin6_addr = in6addr_any;
	close(fd);
	fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, sizeof(reuseport));
	if (fd >= 0 && bind(fd, (void *)&sa, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

/*
 * A listener by ioctl, which must succeed whatever becomes of its attachment. For SO_REUSEPORT
 * listen() itself needs memory, and may say so.
 */
static int listener(int dev, int family, int reuseport)
{
	struct fsocket_ioctl_arg arg = { .backlog = 64 };
	int refused = 0, err;

	arg.fd = bound_everywhere(family, reuseport);
	CHECK((int)arg.fd >= 0);
	do {
		err = ioctl(dev, FSOCKET_IOC_LISTEN, &arg);
	} while (err && errno == ENOMEM && reuseport && ++refused < 16);
	CHECK(err == 0);
	return arg.fd;
}

static int write_mode(const char *file, const char *mode)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	CHECK(fd >= 0 && write(fd, mode, strlen(mode)) == (ssize_t)strlen(mode), ": %s", file);
	close(fd);
	return 0;
}

static int close_listener(int fd, const char *mode_file)
{
	CHECK(!mode_file || !write_mode(mode_file, "random 100 1"));
	CHECK(close(fd) == 0);
	CHECK(!mode_file || !write_mode(mode_file, "off"));
	return 0;
}

/* With @mode_file everything fails while the listener closes. */
static int round_at(int fd, int family, const char *mode_file)
{
	struct server s = { .fd = fd };
	pthread_t thread[MAX_WORKERS];
	unsigned int port = port_of(s.fd);
	cpu_set_t cpu;
	int err = 0;

	/* Threads inherit the CPUs, and the round before has left one. */
	memset(&cpu, 0xff, sizeof(cpu));
	sched_setaffinity(0, sizeof(cpu), &cpu);
	for (int i = 0; i < workers; i++)
		CHECK(pthread_create(&thread[i], NULL, work, &s) == 0);
	usleep(150000);
	for (int i = 0; i < CONNECTIONS && !err; i++) {
		CPU_ZERO(&cpu);
		CPU_SET(i % sysconf(_SC_NPROCESSORS_ONLN), &cpu);
		sched_setaffinity(0, sizeof(cpu), &cpu);
		err = talk(family, port, 'a' + i);
	}
	s.stop = true;
	for (int i = 0; i < workers; i++)
		pthread_join(thread[i], NULL);
	CHECK(close_listener(s.fd, mode_file) == 0);
	CHECK(err == 0);
	CHECK(s.served == CONNECTIONS, ": %u of %u at the server", s.served, CONNECTIONS);
	return 0;
}

static unsigned long number_in(const char *name)
{
	unsigned long n = 0;
	FILE *f = fopen(name, "r");

	if (!f || fscanf(f, "%lu", &n) != 1)
		perror(name);
	if (f)
		fclose(f);
	return n;
}

static int rounds(int dev, int max, const char *file)
{
	unsigned long before, faults = file ? number_in(file) : 0;
	int quiet = 0, i;

	for (i = 0; i < max && quiet < 4; i++) {
		if (round_at(listener(dev, families[i % 2], i % 4 > 1), families[i % 2], NULL))
			return 1;
		before = faults;
		faults = file ? number_in(file) : 0;
		quiet = file && faults == before ? quiet + 1 : 0;
	}
	printf("rounds=%d answered=%d faults=%lu\n", i, i * CONNECTIONS, faults);
	return 0;
}

/* Who gets the port of a listener that has left connections in TIME_WAIT. */
static int bind_to(int family, unsigned int port, int reuse)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, port, &sa);
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0), ret, err;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	ret = bind(fd, (void *)&sa, len);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

static int closes(int dev, const char *mode_file)
{
	/* No connection is in a bucket of the port that others could go to. */
	workers = MAX_WORKERS;
	for_each_family(family) {
		int fd = listener(dev, family, 0);
		unsigned int port = port_of(fd);

		CHECK(round_at(fd, family, mode_file) == 0);
		CHECK_FAILS(bind_to(family, port, 0), EADDRINUSE);
		CHECK_FAILS(bind_to(family, port, 1), EADDRINUSE);
	}
	return 0;
}

static void set_nth(int n)
{
	FILE *f = fopen("/proc/thread-self/fail-nth", "w");

	if (!f)
		return;
	setvbuf(f, NULL, _IONBF, 0);
	fprintf(f, "%d", n);
	fclose(f);
}

/*
 * The call with its n-th allocation failing; *hit: whether there was an n-th. The
 * file is opened before: opening it allocates.
 */
static int with_fault(int dev, unsigned int cmd, struct fsocket_ioctl_arg *arg, int n, bool *hit)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	char text[16] = "";
	int ret, err;

	snprintf(text, sizeof(text), "%d", n);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		return -1;
	ret = ioctl(dev, cmd, arg);
	err = errno;
	memset(text, 0, sizeof(text));
	*hit = pread(fd, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;
	close(fd);
	set_nth(0);
	errno = err;
	return ret;
}

/* Return: how many allocations failed, negative: something else did. */
static int nth_listen(int dev, int family)
{
	struct fsocket_ioctl_arg arg = { .backlog = 8 };
	bool hit = true;
	int n;

	for (n = 1; hit && n < 200; n++) {
		arg.fd = bound_everywhere(family, 0);
		if (with_fault(dev, FSOCKET_IOC_LISTEN, &arg, n, &hit)) {
			fprintf(stderr, "LISTEN, allocation %d failing: errno %d\n", n, errno);
			return -1;
		}
		struct server s = { .fd = arg.fd };
		pthread_t thread;

		pthread_create(&thread, NULL, work, &s);
		if (talk(family, port_of(s.fd), 'x'))
			return -1;
		s.stop = true;
		pthread_join(thread, NULL);
		close(arg.fd);
	}
	return n - 2;
}

static int nth_spawn(int dev, int family)
{
	struct fsocket_ioctl_arg arg = { };
	bool hit = true;
	int n, ret;

	for (n = 1; hit && n < 200; n++) {
		arg.fd = listener(dev, family, 0);
		arg.op.spawn_op.cpu = -1;
		ret = with_fault(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg, n, &hit);
		/* as socket(2): ENFILE without memory for the inode, ENOBUFS for the sock */
		if (ret && (!hit || (errno != ENOMEM && errno != ENFILE && errno != ENOBUFS))) {
			fprintf(stderr, "SPAWN, allocation %d failing: errno %d\n", n, errno);
			return -1;
		}
		/* and when memory is there again, it works */
		if (ret && ioctl(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg)) {
			fprintf(stderr, "SPAWN, after allocation %d failed: errno %d\n", n, errno);
			return -1;
		}
		close(arg.fd);
	}
	return n - 2;
}

static int nth(int dev)
{
	int l4 = nth_listen(dev, AF_INET), l6 = nth_listen(dev, AF_INET6);
	int s4 = nth_spawn(dev, AF_INET), s6 = nth_spawn(dev, AF_INET6);

	printf("listen=%d listen6=%d spawn=%d spawn6=%d\n", l4, l6, s4, s6);
	return l4 < 0 || l6 < 0 || s4 < 0 || s6 < 0;
}

int main(int argc, char **argv)
{
	int dev = open(DEVICE, O_RDWR | O_CLOEXEC);

	CHECK(dev >= 0);
	if (argc >= 3 && !strcmp(argv[1], "rounds"))
		return rounds(dev, atoi(argv[2]), argc > 3 ? argv[3] : NULL);
	if (argc == 3 && !strcmp(argv[1], "close"))
		return closes(dev, argv[2]);
	if (argc == 2 && !strcmp(argv[1], "nth"))
		return nth(dev);
	return 2;
}
