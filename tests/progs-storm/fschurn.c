// SPDX-License-Identifier: GPL-2.0
/*
 * fschurn: a listener that is closed, opened, shut down and changed again and
 * again, while clients connect and connections go on
 *
 *   fschurn [-f] [-t MS] [-p PORT] [-k KINDS]
 *
 * KINDS are what happens to the listener, in turn:
 *   x   closed, and another one opened
 *   s   shut down, and listens again
 *   n   connected to nowhere, and listens again
 *   l   listen() while it listens
 *   p   SO_REUSEPORT on and off, and listen()
 *   d   bound to the device, and to none, and listen()
 * After the last three nobody may notice anything; the first three cost those
 * connections that wait to be accepted, on any kernel.
 *
 * Ends with a line of key=value; exits 0 if
 *   - every connection that was accepted was answered (cut=0, answered=replied),
 *   - none that had an answer was ever without the next (broken=0),
 *   - no client was left without an end (hung=0),
 *   - nobody got the port by a plain bind(), with a connection there all the
 *     time (stolen=0),
 *   - with none of x, s, n: none was lost or refused.
 */
#include <getopt.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fsutil.h"

#define CPUS		4
#define KEPT		8	/* connections that a client has besides */
#define PATIENCE	30	/* seconds; far more than anything here takes */
#define ROUND_MS	100
#define MAX_FD		65536
#define LISTENER	UINT64_C(0x100000000)

static struct {
	bool attach;
	int duration, port;
	const char *kinds;
} cfg = { .duration = 4000, .port = 9400, .kinds = "xsnlpd" };

enum count {
	ROUNDS, CONNECTED, ANSWERED, AGAIN, REFUSED, LOST, BROKEN, HUNG, ACCEPTED, REPLIED, CUT,
	PROBES, STOLEN, COUNTS
};

static const char * const count_name[COUNTS] = {
	"rounds", "connected", "answered", "again", "refused", "lost", "broken", "hung", "accepted",
	"replied", "cut", "probes", "stolen",
};

static struct shared {
	unsigned long n[COUNTS];
	bool go, stop;
} *shm;

/* Of the server: its listener, which workers add when the number has changed. */
static int lfd = -1;
static unsigned int generation;
static bool done;
/* By descriptor: has had an answer. */
static bool had_answer[MAX_FD];

static void count(enum count c)
{
	__atomic_add_fetch(&shm->n[c], 1, __ATOMIC_RELAXED);
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set_flag(bool *flag)
{
	__atomic_store_n(flag, true, __ATOMIC_RELEASE);
}

static void set_int(int fd, int name, int value)
{
	if (setsockopt(fd, SOL_SOCKET, name, &value, sizeof(value)))
		die("option %d", name);
}

static pthread_t start(void *(*run)(void *arg), long arg)
{
	pthread_t t;

	if (pthread_create(&t, NULL, run, (void *)arg))
		die("pthread_create");
	return t;
}

/* --- clients --- */

enum fate { FINE, GONE, NEVER };

static enum fate fate_of(ssize_t n)
{
	if (n > 0)
		return FINE;
	return n < 0 && (errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT) ? NEVER :
										       GONE;
}

/* "b": the server closes after its answer. */
static enum fate ask(int fd, char what)
{
	enum fate fate = fate_of(send(fd, &what, 1, MSG_NOSIGNAL));

	return fate == FINE ? fate_of(recv(fd, &what, 1, 0)) : fate;
}

/* A connection that has had its first answer, or -1. */
static int talk(void)
{
	struct timeval patience = { .tv_sec = PATIENCE };
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "127.0.0.1", cfg.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	enum fate fate;

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&ss, len)) {
		count(errno == ECONNREFUSED ? REFUSED : fate_of(-1) == GONE ? LOST : HUNG);
		close(fd);
		return -1;
	}
	count(CONNECTED);
	fate = ask(fd, 'a');
	if (fate == FINE) {
		count(ANSWERED);
		return fd;
	}
	count(fate == GONE ? LOST : HUNG);
	close(fd);
	return -1;
}

static void leave(int fd, bool server_first)
{
	enum fate fate = ask(fd, server_first ? 'b' : 'a');
	char byte;

	if (fate == FINE) {
		count(AGAIN);
		if (server_first && recv(fd, &byte, 1, 0))
			count(BROKEN);
	} else {
		count(fate == GONE ? BROKEN : HUNG);
	}
	close(fd);
}

static void *client(void *arg)
{
	int kept[KEPT], fd, i;
	unsigned int n = 0;

	pin_to((long)arg % sysconf(_SC_NPROCESSORS_ONLN));
	memset(kept, -1, sizeof(kept));
	while (!is_set(&shm->stop)) {
		fd = talk();
		if (fd < 0) {
			msleep(2);
			continue;
		}
		i = n++ % KEPT;
		if (kept[i] >= 0)
			leave(kept[i], n / KEPT % 2);
		kept[i] = fd;
	}
	for (i = 0; i < KEPT; i++)
		if (kept[i] >= 0)
			leave(kept[i], i % 2);
	return NULL;
}

static void clients(void)
{
	pthread_t t[CPUS];
	long i;

	while (!is_set(&shm->go))
		msleep(1);
	for (i = 0; i < CPUS; i++)
		t[i] = start(client, i);
	for (i = 0; i < CPUS; i++)
		pthread_join(t[i], NULL);
}

/* --- workers --- */

static void watch(int ep, int fd, uint64_t flag)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = flag | fd };

	/* The listener may be there, or closed again. */
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) && !flag)
		die("epoll_ctl");
}

static void take(int ep, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0) {
		count(ACCEPTED);
		had_answer[fd] = false;
		watch(ep, fd, 0);
	} else if (errno == EINVAL || errno == EBADF) {
		/* It does not listen; the next generation is added. */
		epoll_ctl(ep, EPOLL_CTL_DEL, listener, NULL);
	}
}

static void answer(int fd)
{
	char byte;

	if (recv(fd, &byte, 1, MSG_DONTWAIT) != 1 || send(fd, &byte, 1, MSG_NOSIGNAL) != 1) {
		if (!had_answer[fd])
			count(CUT);
		close(fd);
		return;
	}
	if (!had_answer[fd])
		count(REPLIED);
	had_answer[fd] = true;
	if (byte == 'b')
		close(fd);
}

static void *work(void *arg)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), i, n, fd;
	unsigned int seen = 0, now;
	struct epoll_event ev[16];

	pin_to((long)arg % sysconf(_SC_NPROCESSORS_ONLN));
	while (!is_set(&done)) {
		now = __atomic_load_n(&generation, __ATOMIC_ACQUIRE);
		fd = __atomic_load_n(&lfd, __ATOMIC_ACQUIRE);
		if (now != seen && fd >= 0)
			watch(ep, fd, LISTENER);
		seen = now;
		n = epoll_wait(ep, ev, ARRAY_SIZE(ev), 5);
		for (i = 0; i < n; i++) {
			fd = (int)ev[i].data.u64;
			if (ev[i].data.u64 & LISTENER)
				take(ep, fd);
			else
				answer(fd);
		}
	}
	close(ep);
	return NULL;
}

/* --- who else wants the port --- */

static void probe_once(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "127.0.0.1", cfg.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	count(PROBES);
	if (fd < 0 || !bind(fd, (struct sockaddr *)&ss, len))
		count(STOLEN);
	close(fd);
	msleep(1);
}

static void *probe(void *arg)
{
	while (!is_set(&done))
		probe_once();
	return arg;
}

/* --- the listener --- */

static void announce(int fd)
{
	__atomic_store_n(&lfd, fd, __ATOMIC_RELEASE);
	__atomic_add_fetch(&generation, 1, __ATOMIC_RELEASE);
}

static void listen_again(int fd)
{
	if (listen(fd, 512))
		die("listen again");
	announce(fd);
}

static int open_listener(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "0.0.0.0", cfg.port);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	double begin = now_ms();

	if (fd < 0)
		die("socket");
	set_int(fd, SO_REUSEADDR, 1);
	/* The one before is there as long as a worker is about to accept from it. */
	while (bind(fd, (struct sockaddr *)&ss, len)) {
		if (errno != EADDRINUSE || now_ms() > begin + 1000 * PATIENCE)
			die("bind");
		msleep(1);
	}
	if (listen_either(fd, 512, cfg.attach))
		die("listen");
	announce(fd);
	return fd;
}

static void set_device(int fd, const char *name)
{
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name)))
		die("SO_BINDTODEVICE");
}

/* Return: the listener from then on. */
static int change(int fd, char kind)
{
	struct sockaddr nowhere = { .sa_family = AF_UNSPEC };
	int i;

	switch (kind) {
	case 'x':
		announce(-1);
		close(fd);
		/* Now nobody has the port but connections. */
		for (i = 0; i < 5; i++)
			probe_once();
		return open_listener();
	case 's':
		shutdown(fd, SHUT_RD);
		break;
	case 'n':
		if (connect(fd, &nowhere, sizeof(nowhere)))
			die("connect to nowhere");
		break;
	case 'p':
		set_int(fd, SO_REUSEPORT, 1);
		set_int(fd, SO_REUSEPORT, 0);
		break;
	case 'd':
		set_device(fd, "lo");
		set_device(fd, "");
		break;
	}
	listen_again(fd);
	return fd;
}

/* A connection that has the port, before the one from before is left. */
static int anchor(int old)
{
	int fd;

	do {
		fd = talk();
	} while (fd < 0);
	if (old >= 0)
		leave(old, false);
	return fd;
}

static void server(void)
{
	double end = now_ms() + cfg.duration;
	pthread_t worker[CPUS], prober;
	int fd = open_listener(), held;
	unsigned int round;
	long i;

	for (i = 0; i < CPUS; i++)
		worker[i] = start(work, i);
	held = anchor(-1);
	prober = start(probe, 0);
	set_flag(&shm->go);
	for (round = 0; now_ms() < end; round++) {
		msleep(ROUND_MS);
		fd = change(fd, cfg.kinds[round % strlen(cfg.kinds)]);
		held = anchor(held);
		count(ROUNDS);
	}
	set_flag(&shm->stop);
	if (wait(NULL) < 0)
		die("wait");
	leave(held, false);
	set_flag(&done);
	for (i = 0; i < CPUS; i++)
		pthread_join(worker[i], NULL);
	pthread_join(prober, NULL);
	close(fd);
}

static bool good(void)
{
	const unsigned long *n = shm->n;

	if (!strpbrk(cfg.kinds, "xsn") && (n[LOST] || n[REFUSED]))
		return false;
	return !n[BROKEN] && !n[HUNG] && !n[CUT] && !n[STOLEN] && n[ANSWERED] == n[REPLIED] &&
	       n[ANSWERED];
}

int main(int argc, char **argv)
{
	int o, i;

	while ((o = getopt(argc, argv, "ft:p:k:")) != -1)
		switch (o) {
		case 'f': cfg.attach = true; break;
		case 't': cfg.duration = atoi(optarg); break;
		case 'p': cfg.port = atoi(optarg); break;
		case 'k': cfg.kinds = optarg; break;
		default: return 2;
		}
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shm == MAP_FAILED || !*cfg.kinds)
		die("mmap");
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		clients();
		_exit(0);
	}
	server();
	for (i = 0; i < COUNTS; i++)
		printf("%s=%lu ", count_name[i], shm->n[i]);
	printf("verdict=%s\n", good() ? "good" : "bad");
	return good() ? 0 : 1;
}
