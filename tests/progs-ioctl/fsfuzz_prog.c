// SPDX-License-Identifier: GPL-2.0
/*
 * The concurrent mode of fsfuzz
 *
 * A program is some dozens of calls, dealt to one to four tasks (threads, or
 * processes with the same descriptors), on a set of descriptors that all of
 * them use, replace and close. What can be wrong without the kernel noticing:
 *  - an ioctl fails with an error that it is not documented to have;
 *  - a descriptor that was returned is none, or is left over;
 *  - a call does not return although nothing keeps it;
 *  - a listener is there at the end and does not answer.
 */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>

#include "fsfuzz.h"

static void ignore(int sig) { (void)sig; }

/* Calls that block are interrupted: a signal for each task, again and again. */
static void interrupt_me_often(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1 };
	struct itimerspec often = { { 0, 50000000 }, { 0, 50000000 } };
	timer_t timer;

	ev._sigev_un._tid = syscall(SYS_gettid);
	if (timer_create(CLOCK_MONOTONIC, &ev, &timer) || timer_settime(timer, 0, &often, NULL))
		finding("no timer: %s", error_name(errno));
}

static char *make_room(void)
{
	char *p = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p + page, page, PROT_READ) ||
	    mprotect(p + 2 * page, page, PROT_NONE)) {
		finding("no memory");
		_exit(1);
	}
	return p;
}

static void *run_task(void *arg)
{
	struct task *t = arg;

	interrupt_me_often();
	t->room = make_room();
	for (unsigned int i = 0; i < t->ncalls; i++)
		one_call(t);
	if (t->aio)
		syscall(SYS_io_destroy, t->aio);
	return NULL;
}

static void put(int fd, int slot)
{
	if (fd < 0 || dup2(fd, slot) < 0)
		finding("descriptor for slot %d: %s", slot, error_name(errno));
	close(fd);
}

/* What all programs start with. */
static void fill_slots(void)
{
	struct fsocket_ioctl_arg arg = { .backlog = 16 };
	int dev = open(DEVICE, O_RDWR | O_CLOEXEC), pair[2], p[2];

	for (int i = 0; i < 4; i++) {
		int fd = bound_socket(families[i & 1], SOCK_NONBLOCK);

		/* Two are native, two attached. */
		arg.fd = fd;
		if (i < 2 ? listen(fd, 16) : ioctl(dev, FSOCKET_IOC_LISTEN, &arg))
			finding("listener %d: %s", i, error_name(errno));
		put(fd, kinds[LISTENER].first + i);
	}
	for (int i = 0; i < 2; i++) {
		put(socket(families[i], SOCK_STREAM | SOCK_NONBLOCK, 0), kinds[TCP].first + i);
		put(bound_socket(families[i], SOCK_NONBLOCK), kinds[TCP].first + 2 + i);
	}
	put(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), kinds[OTHER].first);
	put(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), kinds[OTHER].first + 1);
	put(epoll_create1(0), kinds[EPOLL].first);
	put(epoll_create1(0), kinds[EPOLL].first + 1);
	if (!socketpair(AF_UNIX, SOCK_DGRAM, 0, pair)) {
		put(pair[0], kinds[PAIR].first);
		put(pair[1], kinds[PAIR].first + 1);
	}
	if (!pipe(p)) {
		put(p[0], kinds[OTHER].first + 2);
		put(p[1], kinds[OTHER].first + 3);
	}
	put(dev, kinds[DEV].first);
}

static int open_below_slots(void)
{
	int n = 0;

	for (int fd = 0; fd < FIRST_SLOT; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void run_threads(struct task *t, int n)
{
	pthread_t thread[4];

	for (int i = 1; i < n; i++)
		if (pthread_create(&thread[i], NULL, run_task, &t[i]))
			finding("no thread");
	run_task(&t[0]);
	for (int i = 1; i < n; i++)
		pthread_join(thread[i], NULL);
}

static void run_processes(struct task *t, int n)
{
	pid_t pid[4];

	fflush(stdout);
	for (int i = 1; i < n; i++) {
		pid[i] = fork();
		if (!pid[i]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			run_task(&t[i]);
			fflush(stdout);
			_exit(0);
		}
	}
	run_task(&t[0]);
	for (int i = 1; i < n; i++)
		while (waitpid(pid[i], NULL, 0) < 0 && errno == EINTR)
			;
}

/* ---- do the listeners that are left still answer? ---- */

static int int_option(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, level, name, &value, &len) ? -1 : value;
}

static uint64_t namespace_of(int fd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	return getsockopt(fd, SOL_SOCKET, 71 /* SO_NETNS_COOKIE */, &cookie, &len) ? 0 : cookie;
}

/* Until there is nothing left; workers of this program that ended leave theirs for later. */
static void empty_queue(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	int conn;
	bool quiet = false;

	while (!quiet) {
		conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (conn >= 0)
			close(conn);
		else if (errno == EAGAIN && poll(&p, 1, 10) <= 0)
			quiet = true;
		else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

static bool comes_in(int fd, int client)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN },
			       { .fd = client, .events = POLLOUT } };
	struct timespec begin, now;
	int conn;

	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		poll(p, 1, 50);
		conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (conn >= 0) {
			close(conn);
			return true;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - begin.tv_sec < 20);
	return false;
}

static void ask_listener(int fd)
{
	struct sockaddr_storage sa = { 0 };
	socklen_t len = sizeof(sa);
	int client, err;

	if (getsockname(fd, (void *)&sa, &len))
		return;
	client = socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client < 0 || namespace_of(client) != namespace_of(fd)) {
		__atomic_add_fetch(&shared->skipped, 1, __ATOMIC_RELAXED);
		close(client);
		return;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* Not its fault: a backlog of 0 counts what others leave in the SYN queue, too. */
	if (listen(fd, 16))
		finding("listener %d does not listen again: %s", fd, error_name(errno));
	empty_queue(fd);
	err = connect(client, (void *)&sa, len) ? errno : 0;
	/* No address to come from, no way out: nothing was sent to the listener. */
	if (err == EADDRNOTAVAIL || err == ENETUNREACH) {
		__atomic_add_fetch(&shared->skipped, 1, __ATOMIC_RELAXED);
		close(client);
		return;
	}
	if (err && err != EINPROGRESS)
		finding("connect() to the listener in slot %d, port %d: %s", fd, port_of(fd),
			error_name(err));
	else if (!comes_in(fd, client))
		finding("nothing comes out of the listener in slot %d, port %d", fd, port_of(fd));
	else
		__atomic_add_fetch(&shared->served, 1, __ATOMIC_RELAXED);
	close(client);
}

static void ask_listeners(bool hostile)
{
	for (int fd = FIRST_SLOT; fd < FIRST_SLOT + SLOTS; fd++) {
		if (int_option(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 ||
		    int_option(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP)
			continue;
		if (hostile)
			__atomic_add_fetch(&shared->skipped, 1, __ATOMIC_RELAXED);
		else
			ask_listener(fd);
	}
}

/**
 * concurrent_program() - run one in this process
 * @index: of the program
 */
void concurrent_program(unsigned long index)
{
	struct rng r = rng_for(opt.seed, index, 0);
	struct sigaction sa = { .sa_handler = ignore };
	unsigned int ncalls = 5 + below(&r, 56);
	int n = 1 + below(&r, 4), before, after;
	bool hostile = chance(&r, 3), processes = chance(&r, 3);
	struct task t[4] = { 0 };

	page = sysconf(_SC_PAGESIZE);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGIO, &sa, NULL);
	fill_slots();
	table_copied = false;
	before = open_below_slots();
	if (opt.verbose)
		printf("program %lu: %u calls, %d %s%s\n", index, ncalls, n,
		       processes ? "processes" : "threads", hostile ? ", any option" : "");
	for (int i = 0; i < n; i++) {
		t[i].number = i;
		t[i].hostile = hostile;
		t[i].alone = n == 1;
		t[i].ncalls = ncalls / n;
		t[i].r = rng_for(opt.seed, index, 1 + i);
	}
	if (processes)
		run_processes(t, n);
	else
		run_threads(t, n);
	/* Not waited for by their task. */
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;
	after = open_below_slots();
	/* A copy has what other threads had open for a moment. */
	if (after != before && !table_copied)
		finding("%d descriptors are left over", after - before);
	ask_listeners(hostile);
}
