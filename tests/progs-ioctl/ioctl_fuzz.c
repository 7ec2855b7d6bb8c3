/* SPDX-License-Identifier: GPL-2.0 */
/*
 * ioctl_fuzz SEED SECONDS: three threads make random calls, ioctls and plain
 * ones, on the same few descriptors, so that every call meets descriptors that
 * another is closing, replacing or using. Only the kernel log can tell whether
 * that went well; the program itself tells how many calls it made.
 */
#include <pthread.h>
#include <sys/epoll.h>
#include <time.h>

#include "probe.h"

#define FIRST	40
#define SLOTS	24

static int dev;
static time_t end;
static unsigned long calls;

static int slot(unsigned int *seed)
{
	return FIRST + rand_r(seed) % SLOTS;
}

/* Put a descriptor into a slot, closing what was there. */
static void put(int fd, unsigned int *seed)
{
	if (fd < 0)
		return;
	dup2(fd, slot(seed));
	close(fd);
}

static void random_ioctl(unsigned int *seed)
{
	static const int cpus[] = { -1, 0, 1, 2, 3, 4, 64, -7 };
	struct fsocket_ioctl_arg arg = { .fd = slot(seed), .backlog = rand_r(seed) % 16 };
	struct sockaddr_storage sa;
	int len = sizeof(sa);
	unsigned int nr = 1 + rand_r(seed) % 9;
	void *p = rand_r(seed) % 16 ? (void *)&arg : (void *)(long)(rand_r(seed) % 8192);

	switch (nr) {
	case 1:
		arg.op.socket_op.family = families[rand_r(seed) % 2];
		arg.op.socket_op.type = SOCK_STREAM | SOCK_NONBLOCK;
		arg.op.socket_op.protocol = 0;
		put(ioctl(dev, FSOCKET_IOC_SOCKET, p), seed);
		return;
	case 3:
		arg.op.accept_op.sockaddr = rand_r(seed) % 2 ? (void *)&sa : NULL;
		arg.op.accept_op.sockaddr_len = rand_r(seed) % 2 ? &len : NULL;
		arg.op.accept_op.flags = rand_r(seed) % 4 ? SOCK_NONBLOCK : rand_r(seed);
		put(ioctl(dev, FSOCKET_IOC_ACCEPT, p), seed);
		return;
	case 6:
		arg.op.spawn_op.cpu = cpus[rand_r(seed) % 8];
		break;
	case 7:
		arg.op.shutdown_op.how = rand_r(seed) % 4;
		break;
	}
	ioctl(dev, _IO(FSOCKET_IOC_ID, nr), p);
}

static void random_connect(unsigned int *seed)
{
	struct sockaddr_storage sa;
	int family = families[rand_r(seed) % 2];
	unsigned int port = port_of(slot(seed));
	socklen_t len = loopback(family, port, &sa);
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (port)
		connect(fd, (void *)&sa, len);
	put(fd, seed);
}

static void random_wait(unsigned int *seed, int ep)
{
	struct epoll_event ev = { .events = EPOLLIN };
	struct pollfd p[2] = {
		{ .fd = slot(seed), .events = POLLIN },
		{ .fd = slot(seed), .events = POLLIN },
	};

	if (rand_r(seed) % 4 == 0)
		ev.events |= EPOLLET;
	if (rand_r(seed) % 4 == 0)
		ev.events |= EPOLLEXCLUSIVE;
	epoll_ctl(ep, rand_r(seed) % 3 ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, slot(seed), &ev);
	epoll_wait(ep, &ev, 1, rand_r(seed) % 2);
	poll(p, 2, rand_r(seed) % 2);
}

static void unbind(void)
{
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
}

static void *work(void *arg)
{
	unsigned int seed = (long)arg;
	int ep = epoll_create1(EPOLL_CLOEXEC);
	unsigned long n = 0;

	for (; time(NULL) < end; n++) {
		switch (rand_r(&seed) % 12) {
		case 0: put(bound_socket(families[n % 2], SOCK_NONBLOCK), &seed); break;
		case 1: close(slot(&seed)); break;
		case 2: listen(slot(&seed), rand_r(&seed) % 16); break;
		case 3: random_connect(&seed); break;
		case 4: random_wait(&seed, ep); break;
		case 5: put(accept4(slot(&seed), NULL, NULL, SOCK_NONBLOCK), &seed); break;
		case 6: dup2(slot(&seed), slot(&seed)); break;
		case 7: unbind(); break;
		default: random_ioctl(&seed);
		}
	}
	__atomic_add_fetch(&calls, n, __ATOMIC_RELAXED);
	close(ep);
	return NULL;
}

int main(int argc, char **argv)
{
	pthread_t thread[3];

	if (argc != 3)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		perror(DEVICE);
		return 1;
	}
	end = time(NULL) + atoi(argv[2]);
	for (long i = 0; i < 3; i++)
		pthread_create(&thread[i], NULL, work, (void *)(atol(argv[1]) * 3 + i));
	for (int i = 0; i < 3; i++)
		pthread_join(thread[i], NULL);
	printf("%lu calls\n", calls);
	return calls < 1000;
}
