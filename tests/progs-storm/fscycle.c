// SPDX-License-Identifier: GPL-2.0
/*
 * fscycle: what a life of the module, of a listener or of a network namespace
 * leaves behind.
 *
 *   fscycle rounds  -k KO -n ROUNDS   load, serve, unload, again and again, while
 *                                     a native server serves all the time
 *   fscycle rounds  -n ROUNDS         the same with the module that is there
 *   fscycle rounds  -w FILE           until FILE exists
 *   fscycle states  -k KO             unload right after close, with connections
 *                                     in every state
 *   fscycle netns   -n ROUNDS         listeners that die with their namespace
 *   fscycle migrate [-f]              a member of a SO_REUSEPORT group closes with
 *                                     connections pending, which the other gets
 *   fscycle linger                    connections in every state, until standard
 *                                     input ends
 *
 * Each ends with a line of key=value. It exits 0 if all that it was told to do
 * could be done and nothing that it counts went wrong. Rounds are cheap on
 * purpose: one program, the module's file read once.
 */
#include <fcntl.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/fastsocket.h>

#include "fsutil.h"

#define CLIENTS		4
#define NATIVES		1
#define WORKERS		2
#define CPUS		4
#define PATIENCE	20000	/* ms; far more than anything here takes */

static struct {
	const char *ko, *stop_file;
	int rounds, port, conns;
	bool attach, reuseport;
} cfg = { .rounds = 200, .port = 9300, .conns = 1 };

/* what one side of a load counts, and of its last failure where, why, how late; one writer each */
struct tally {
	unsigned long sent, answered, failed;
	unsigned long accepted, replied;
	char where[16];
	int error, ms;
} __attribute__((aligned(64)));

static struct shared {
	struct tally client[CLIENTS], native[NATIVES];
	struct tally worker[WORKERS], native_worker[WORKERS];
	sem_t go[CLIENTS], done;
	struct sockaddr_storage to;
	socklen_t to_len;
	bool stop, stop_serving;
} *shm;

static void *image;
static size_t image_size;
static unsigned long busy, loads;
static double load_ms, unload_ms;

/* --- the module --- */

static void read_module(void)
{
	int fd = open(cfg.ko, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("%s", cfg.ko);
	image_size = st.st_size;
	image = malloc(image_size);
	if (!image || read(fd, image, image_size) != (ssize_t)image_size)
		die("%s: cannot be read", cfg.ko);
	close(fd);
}

static void load(int mode)
{
	double begin = now_ms();
	char param[40];

	snprintf(param, sizeof(param), "enable_listen_spawn=%d", mode);
	if (syscall(SYS_init_module, image, image_size, param))
		die("init_module in round %lu", loads);
	loads++;
	load_ms += now_ms() - begin;
}

static bool may_unload(void)
{
	if (!syscall(SYS_delete_module, "fastsocket", O_NONBLOCK))
		return true;
	if (errno != EWOULDBLOCK && errno != EBUSY)
		die("delete_module in round %lu", loads);
	busy++;
	return false;
}

/* A process that was killed closes its files a little later than it is reaped. */
static void unload(void)
{
	double begin = now_ms();

	while (!may_unload()) {
		if (now_ms() > begin + PATIENCE)
			die("the module is in use for ever, round %lu", loads);
		msleep(1);
	}
	unload_ms += now_ms() - begin;
}

static int device(void)
{
	int fd = open("/dev/fastsocket", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		die("/dev/fastsocket");
	return fd;
}

static void spawn_on(int fd, int cpu)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .op.spawn_op.cpu = cpu };
	int dev = device();

	/* off (mode 0), not bound (mode 1), CPU away: it stays with the plain kernel */
	if (ioctl(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg) && errno != EOPNOTSUPP && errno != EINVAL)
		die("SPAWN_LISTEN on CPU %d", cpu);
	close(dev);
}

/* --- sockets --- */

static const char * const listen_host[] = { "127.0.0.1", "::1", "::" };
static const char * const connect_host[] = { "127.0.0.1", "::1", "127.0.0.1" };
static const char * const family_name[] = { "v4", "v6", "mapped" };

static int listener(const char *host, int port, bool attach, int defer)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, host, port);
	int on = 1, off = 0, linger = 100;
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (cfg.reuseport)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	/* so that an orphan in FIN_WAIT2 stays a whole socket */
	setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &linger, sizeof(linger));
	if (defer)
		setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer, sizeof(defer));
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind to port %d", port);
	if (listen_either(fd, 64, attach))
		die("listen");
	return fd;
}

/* CPUs may be away */
static void try_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void unpin(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	sched_setaffinity(0, sizeof(set), &set);
}

static int connected(const struct sockaddr_storage *to, socklen_t len)
{
	struct timeval tv = { .tv_sec = PATIENCE / 1000 };
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (const struct sockaddr *)to, len))
		return fd;
	close(fd);
	return -1;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double end = now_ms() + ms;
	int n;

	do {
		n = poll(&p, 1, ms);
	} while (n < 0 && errno == EINTR && now_ms() < end);
	return n > 0;
}

static void failed(struct tally *t, const char *where, double begin)
{
	snprintf(t->where, sizeof(t->where), "%s", where);
	t->error = errno;
	t->ms = now_ms() - begin;
}

/* the whole message; false: it ended before */
static bool get(int fd, void *buf, size_t len)
{
	size_t got = 0;
	ssize_t n;

	while (got < len) {
		if (!readable(fd, PATIENCE))
			return false;
		n = recv(fd, (char *)buf + got, len - got, 0);
		if (n <= 0 && errno != EINTR && errno != EAGAIN)
			return false;
		if (n == 0)
			return false;
		if (n > 0)
			got += n;
	}
	return true;
}

static bool put(int fd, const void *buf, size_t len)
{
	return send(fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* one connection with an outcome */
static void ask(struct tally *t, const struct sockaddr_storage *to, socklen_t len)
{
	struct fs_request req = { .magic = "FSrq", .seq = ++t->sent };
	struct fs_reply reply = { 0 };
	const char *where = NULL;
	double begin = now_ms();
	int fd;

	/* time that runs out, and an end without an error, set none */
	errno = 0;
	fd = connected(to, len);
	if (fd < 0)
		where = "connect";
	else if (!put(fd, &req, sizeof(req)))
		where = "send";
	else if (!get(fd, &reply, sizeof(reply)) || reply.seq != req.seq)
		where = "recv";
	if (where) {
		failed(t, where, begin);
		t->failed++;
	} else {
		t->answered++;
	}
	if (fd >= 0)
		close(fd);
}

static void answer(struct tally *t, int fd)
{
	struct fs_request req;
	struct fs_reply reply = { 0 };
	double begin = now_ms();

	t->accepted++;
	errno = 0;
	if (get(fd, &req, sizeof(req))) {
		reply.seq = req.seq;
		/* first: with the reply we may be killed */
		t->replied++;
		if (!put(fd, &reply, sizeof(reply))) {
			failed(t, "send", begin);
			t->replied--;
		}
	} else {
		failed(t, "recv", begin);
	}
	close(fd);
}

static void answer_all(struct tally *t, int lfd)
{
	int fd;

	while ((fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		answer(t, fd);
}

static pid_t child(void)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	return 0;
}

/* --- a server that nothing of this concerns --- */

static void native_work(struct tally *t, int lfd)
{
	while (!__atomic_load_n(&shm->stop_serving, __ATOMIC_RELAXED))
		if (readable(lfd, 100))
			answer_all(t, lfd);
	_exit(0);
}

static void native_load(struct tally *t)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "127.0.0.1", cfg.port + 1);

	while (!__atomic_load_n(&shm->stop, __ATOMIC_RELAXED)) {
		ask(t, &ss, len);
		msleep(50);
	}
	_exit(0);
}

static pid_t native_pid[NATIVES], native_worker_pid[WORKERS];

static void natives_start(void)
{
	int i, lfd = listener("127.0.0.1", cfg.port + 1, false, 0);

	for (i = 0; i < WORKERS; i++) {
		native_worker_pid[i] = child();
		if (!native_worker_pid[i])
			native_work(&shm->native_worker[i], lfd);
	}
	close(lfd);
	for (i = 0; i < NATIVES; i++) {
		native_pid[i] = child();
		if (!native_pid[i])
			native_load(&shm->native[i]);
	}
}

static void natives_stop(void)
{
	int i;

	__atomic_store_n(&shm->stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < NATIVES; i++)
		waitpid(native_pid[i], NULL, 0);
	/* Not before: what clients have begun is answered. */
	__atomic_store_n(&shm->stop_serving, true, __ATOMIC_RELAXED);
	for (i = 0; i < WORKERS; i++)
		waitpid(native_worker_pid[i], NULL, 0);
}

/* --- the clients of a round: one on each CPU, for all rounds --- */

static pid_t client_pid[CLIENTS];

static void client(int idx)
{
	int i;

	for (;;) {
		while (sem_wait(&shm->go[idx]) && errno == EINTR)
			;
		try_pin(idx);
		for (i = 0; i < cfg.conns; i++)
			ask(&shm->client[idx], &shm->to, shm->to_len);
		sem_post(&shm->done);
	}
}

static void clients_start(void)
{
	int i;

	sem_init(&shm->done, 1, 0);
	for (i = 0; i < CLIENTS; i++) {
		sem_init(&shm->go[i], 1, 0);
		client_pid[i] = child();
		if (!client_pid[i])
			client(i);
	}
}

static void clients_run(void)
{
	int i;

	for (i = 0; i < CLIENTS; i++)
		sem_post(&shm->go[i]);
	for (i = 0; i < CLIENTS; i++)
		while (sem_wait(&shm->done) && errno == EINTR)
			;
}

static void clients_stop(void)
{
	int i;

	for (i = 0; i < CLIENTS; i++) {
		kill(client_pid[i], SIGKILL);
		waitpid(client_pid[i], NULL, 0);
	}
}

/* --- the server of a round --- */

struct job {
	int lfd, quit_fd, idx, round;
	struct tally *t;
	pthread_t thread;
	pid_t pid;
};

/* in turn: epoll, poll, blocking accept() */
static void *work(void *arg)
{
	struct job *j = arg;
	struct pollfd p[2] = { { .fd = j->lfd, .events = POLLIN },
			       { .fd = j->quit_fd, .events = POLLIN } };
	struct epoll_event ev = { .events = EPOLLIN };
	int ep, fd;

	if (j->round % 2)
		spawn_on(j->lfd, j->idx);
	switch (j->round % 3) {
	case 0:
		ep = epoll_create1(EPOLL_CLOEXEC);
		epoll_ctl(ep, EPOLL_CTL_ADD, j->lfd, &ev);
		epoll_ctl(ep, EPOLL_CTL_ADD, j->quit_fd, &ev);
		while (!readable(j->quit_fd, 0))
			if (epoll_wait(ep, &ev, 1, PATIENCE) > 0)
				answer_all(j->t, j->lfd);
		close(ep);
		break;
	case 1:
		while (!readable(j->quit_fd, 0))
			if (poll(p, 2, PATIENCE) > 0)
				answer_all(j->t, j->lfd);
		break;
	default:
		/* ended by shutdown() or a signal */
		while ((fd = accept4(j->lfd, NULL, NULL, SOCK_CLOEXEC)) >= 0 || errno == EINTR)
			if (fd >= 0)
				answer(j->t, fd);
	}
	return NULL;
}

static bool uses_threads(int round)
{
	return round / 2 % 2;
}

static void server_start(struct job *jobs, int round, int lfd, int quit_fd)
{
	int i;

	if (round % 3 == 2)
		fcntl(lfd, F_SETFL, fcntl(lfd, F_GETFL) & ~O_NONBLOCK);
	for (i = 0; i < WORKERS; i++) {
		jobs[i] = (struct job){ .lfd = lfd, .quit_fd = quit_fd, .idx = i,
					.round = round, .t = &shm->worker[i] };
		if (uses_threads(round)) {
			if (pthread_create(&jobs[i].thread, NULL, work, &jobs[i]))
				die("pthread_create");
			continue;
		}
		jobs[i].pid = child();
		if (!jobs[i].pid) {
			work(&jobs[i]);
			_exit(0);
		}
	}
}

static void server_stop(struct job *jobs, int round, int lfd, int quit_fd)
{
	int i;

	if (write(quit_fd, "qqqq", 4) != 4)
		die("pipe");
	if (round % 3 == 2)
		shutdown(lfd, SHUT_RDWR);
	for (i = 0; i < WORKERS; i++) {
		if (uses_threads(round)) {
			pthread_join(jobs[i].thread, NULL);
			continue;
		}
		/* some are killed, in whatever they do */
		if (round % 5 == 0)
			kill(jobs[i].pid, SIGKILL);
		waitpid(jobs[i].pid, NULL, 0);
	}
}

/* Connections that nobody accepts: they must end with the listener. */
static void leave_pending(int *fds, int n)
{
	int i;

	for (i = 0; i < n; i++) {
		fds[i] = -1;
		try_pin(i % CPUS);
		fds[i] = connected(&shm->to, shm->to_len);
	}
	unpin();
}

static int still_open(int *fds, int n)
{
	int i, open = 0;
	char c;

	for (i = 0; i < n; i++) {
		if (fds[i] < 0)
			continue;
		if (!readable(fds[i], PATIENCE) || recv(fds[i], &c, 1, MSG_DONTWAIT) > 0)
			open++;
		close(fds[i]);
	}
	return open;
}

static unsigned long stranded, unrefused;

static void serve_once(int round, int mode)
{
	int quit[2], pending[CPUS], lfd, family = round % 3;
	struct job jobs[WORKERS];

	if (pipe2(quit, O_CLOEXEC))
		die("pipe");
	lfd = listener(listen_host[family], cfg.port, true, 0);
	shm->to_len = make_address(&shm->to, connect_host[family], cfg.port);
	server_start(jobs, round, lfd, quit[0]);
	clients_run();
	/* in mode 0 nothing is attached */
	if (cfg.ko && mode && may_unload()) {
		unrefused++;
		die("unloaded under an attached listener");
	}
	server_stop(jobs, round, lfd, quit[1]);
	if (round % 4 == 0)
		leave_pending(pending, CPUS);
	close(lfd);
	close(quit[0]);
	close(quit[1]);
	if (cfg.ko)
		unload();
	if (round % 4 == 0)
		stranded += still_open(pending, CPUS);
}

static struct tally sum(const struct tally *t, int n)
{
	struct tally s = { 0 };

	for (; n--; t++) {
		s.sent += t->sent;
		s.answered += t->answered;
		s.failed += t->failed;
		s.accepted += t->accepted;
		s.replied += t->replied;
		if (t->where[0]) {
			memcpy(s.where, t->where, sizeof(s.where));
			s.error = t->error;
			s.ms = t->ms;
		}
	}
	return s;
}

static void show_failure(const char *name, const char *side, const struct tally *t)
{
	if (t->where[0])
		printf("%s_%s=%s,%s,%dms ", name, side, t->where,
		       t->error ? strerrorname_np(t->error) : "0", t->ms);
}

/* every connection of a load counted at both ends */
static bool add_up(const char *name, const struct tally *c, const struct tally *s)
{
	printf("%s_sent=%lu %s_answered=%lu %s_failed=%lu %s_accepted=%lu %s_replied=%lu ",
	       name, c->sent, name, c->answered, name, c->failed, name, s->accepted,
	       name, s->replied);
	show_failure(name, "client", c);
	show_failure(name, "server", s);
	return c->sent && c->sent == c->answered && c->sent == s->accepted &&
	       c->sent == s->replied;
}

static int rounds(void)
{
	double begin = now_ms();
	bool until_told = cfg.stop_file, ok;
	struct tally c, w;
	int i;

	natives_start();
	clients_start();
	for (i = 0; until_told ? access(cfg.stop_file, F_OK) != 0 : i < cfg.rounds; i++) {
		/* each mode with each way to wait and each family, in time */
		int mode = (i + i / 3) % 3;

		if (cfg.ko)
			load(mode);
		serve_once(i, mode);
	}
	natives_stop();
	clients_stop();
	printf("rounds=%d loads=%lu busy=%lu stranded=%lu ms=%.0f load_ms=%.0f unload_ms=%.0f ",
	       i, loads, busy, stranded, now_ms() - begin, load_ms, unload_ms);
	c = sum(shm->client, CLIENTS);
	w = sum(shm->worker, WORKERS);
	ok = add_up("round", &c, &w);
	c = sum(shm->native, NATIVES);
	w = sum(shm->native_worker, WORKERS);
	ok &= add_up("native", &c, &w);
	printf("\n");
	return !ok || stranded;
}

/* --- connections in every state --- */

/* a worker of two listeners, on a CPU of its own, that accepts when told to */
struct hand {
	int cpu, lfd, dfd, order[2], result[2];
	pthread_t thread;
};

static int take(int lfd)
{
	int fd = -1;

	if (readable(lfd, PATIENCE))
		fd = accept4(lfd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd;
}

static void *hand_work(void *arg)
{
	struct hand *h = arg;
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC), fd;
	char c;

	spawn_on(h->lfd, h->cpu);
	spawn_on(h->dfd, h->cpu);
	epoll_ctl(ep, EPOLL_CTL_ADD, h->lfd, &ev);
	epoll_ctl(ep, EPOLL_CTL_ADD, h->dfd, &ev);
	fd = -1;
	do {
		if (write(h->result[1], &fd, sizeof(fd)) != sizeof(fd))
			die("pipe");
		if (read(h->order[0], &c, 1) != 1)
			die("pipe");
		if (c == 'a')
			fd = take(h->lfd);
	} while (c == 'a');
	close(ep);
	return NULL;
}

static int hand_result(struct hand *h)
{
	int fd = -1;

	if (read(h->result[0], &fd, sizeof(fd)) != sizeof(fd))
		die("pipe");
	return fd;
}

static void hand_order(struct hand *h, char c)
{
	if (write(h->order[1], &c, 1) != 1)
		die("pipe");
}

static void hands_start(struct hand *h, int lfd, int dfd)
{
	int i;

	for (i = 0; i < CPUS; i++) {
		h[i].cpu = i;
		h[i].lfd = lfd;
		h[i].dfd = dfd;
		if (pipe2(h[i].order, O_CLOEXEC) || pipe2(h[i].result, O_CLOEXEC))
			die("pipe");
		if (pthread_create(&h[i].thread, NULL, hand_work, &h[i]))
			die("pthread_create");
	}
	for (i = 0; i < CPUS; i++)
		hand_result(&h[i]);
}

static void hands_stop(struct hand *h)
{
	int i;

	for (i = 0; i < CPUS; i++) {
		hand_order(&h[i], 'q');
		pthread_join(h[i].thread, NULL);
		close(h[i].order[0]);
		close(h[i].order[1]);
		close(h[i].result[0]);
		close(h[i].result[1]);
	}
}

struct pair {
	int client, server;
};

/* of one CPU */
struct states {
	struct pair alive[2], wait;	/* in use; client open, server in FIN_WAIT2 */
	struct pair full;		/* FIN_WAIT1, with data that nobody reads */
	size_t full_bytes;
	int pending, half[2];		/* accept queue, SYN queue: clients only */
};

static int connect_from(int cpu, int family, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, connect_host[family], port);
	int fd;

	try_pin(cpu);
	fd = connected(&ss, len);
	unpin();
	if (fd < 0)
		die("connect, %s", family_name[family]);
	return fd;
}

static struct pair accepted(struct hand *h, int family)
{
	struct pair p = { .client = connect_from(h->cpu, family, cfg.port) };

	hand_order(h, 'a');
	p.server = hand_result(h);
	if (p.server < 0)
		die("worker on CPU %d got no connection, %s", h->cpu, family_name[family]);
	return p;
}

/* as much as fits */
static size_t fill(int fd)
{
	static char block[65536];
	size_t total = 0;
	ssize_t n;

	while ((n = send(fd, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL)) > 0)
		total += n;
	return total;
}

static void states_make(struct states *s, struct hand *h, int family)
{
	struct pair p = accepted(h, family);

	/* TIME_WAIT: the server closes first */
	close(p.server);
	readable(p.client, PATIENCE);
	close(p.client);
	s->alive[0] = accepted(h, family);
	s->alive[1] = accepted(h, family);
	s->wait = accepted(h, family);
	close(s->wait.server);
	s->full = accepted(h, family);
	s->full_bytes = fill(s->full.server);
	close(s->full.server);
}

/* Last of all: a worker of another CPU could get them, too. */
static void states_leave(struct states *s, struct hand *h, int family)
{
	s->pending = connect_from(h->cpu, family, cfg.port);
	s->half[0] = connect_from(h->cpu, family, cfg.port + 2);
	s->half[1] = connect_from(h->cpu, family, cfg.port + 2);
}

static unsigned long used, ended, drained, wrong;

static void expect(bool ok, unsigned long *counter, const char *what, int family)
{
	if (ok) {
		++*counter;
		return;
	}
	fprintf(stderr, "fscycle: %s: %s\n", family_name[family], what);
	wrong++;
}

/* both ways */
static bool exchange(const struct pair *p)
{
	struct fs_request a = { .magic = "FSrq", .seq = 1 }, b;

	return put(p->client, &a, sizeof(a)) && get(p->server, &b, sizeof(b)) &&
	       !memcmp(&a, &b, sizeof(a)) && put(p->server, &b, sizeof(b)) &&
	       get(p->client, &a, sizeof(a));
}

/* does a connection that the server knows no more end for its client? */
static bool is_over(int fd)
{
	char c;

	return readable(fd, PATIENCE) && recv(fd, &c, 1, MSG_DONTWAIT) <= 0;
}

static size_t read_out(int fd)
{
	static char block[65536];
	size_t total = 0;
	ssize_t n;

	while (readable(fd, PATIENCE) && (n = recv(fd, block, sizeof(block), 0)) > 0)
		total += n;
	return total;
}

static void use_half(struct states *s, int i, int family)
{
	put(s->half[i], "x", 1);
	expect(is_over(s->half[i]), &ended, "a half-open connection lives on", family);
	close(s->half[i]);
}

static void states_after_unload(struct states *s, int family)
{
	expect(is_over(s->pending), &ended, "a connection that nobody accepted lives on", family);
	close(s->pending);
	use_half(s, 0, family);
	expect(exchange(&s->alive[0]), &used, "an accepted connection is dead", family);
	expect(exchange(&s->alive[1]), &used, "an accepted connection is dead", family);
	expect(is_over(s->wait.client), &ended, "a closed connection does not end", family);
}

static void states_after_reload(struct states *s, int family)
{
	expect(exchange(&s->alive[0]), &used, "an accepted connection is dead", family);
	expect(exchange(&s->alive[1]), &used, "an accepted connection is dead", family);
	close(s->alive[0].server);
	expect(is_over(s->alive[0].client), &ended, "a close does not arrive", family);
	close(s->alive[0].client);
	expect(read_out(s->full.client) == s->full_bytes, &drained, "data of an orphan is lost",
	       family);
	use_half(s, 1, family);
}

static void states_last(struct states *s, int family)
{
	expect(exchange(&s->alive[1]), &used, "an accepted connection is dead", family);
	close(s->alive[1].client);
	expect(is_over(s->alive[1].server), &ended, "a close does not arrive", family);
	close(s->alive[1].server);
	close(s->wait.client);
	close(s->full.client);
}

/* how many SYNs went to clones, all namespaces' statistics being this one's */
static unsigned long redirected(void)
{
	char line[1024];
	unsigned long n = 0, v;
	FILE *f = fopen("/proc/net/fsocket_stats", "re");

	if (!f || !fgets(line, sizeof(line), f))
		die("statistics");
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%*s %*s %*s %*s %lu", &v) == 1)
			n += v;
	fclose(f);
	return n;
}

static unsigned long redirects;

/*
 * late: the workers are still there, asleep, when their listener closes and the
 * module goes
 */
static void states_round(int family, int mode, bool late)
{
	struct states s[CPUS];
	struct hand h[CPUS];
	int i, lfd, dfd;

	load(mode);
	lfd = listener(listen_host[family], cfg.port, true, 0);
	dfd = listener(listen_host[family], cfg.port + 2, true, 30);
	hands_start(h, lfd, dfd);
	for (i = 0; i < CPUS; i++)
		states_make(&s[i], &h[i], family);
	for (i = 0; i < CPUS; i++)
		states_leave(&s[i], &h[i], family);
	redirects += redirected();
	if (!late)
		hands_stop(h);
	close(lfd);
	close(dfd);
	unload();
	for (i = 0; i < CPUS; i++)
		states_after_unload(&s[i], family);
	load((mode + 1) % 3);
	for (i = 0; i < CPUS; i++)
		states_after_reload(&s[i], family);
	unload();
	if (late)
		hands_stop(h);
	for (i = 0; i < CPUS; i++)
		states_last(&s[i], family);
}

static int states(void)
{
	int family, late;

	for (late = 0; late < 2; late++)
		for (family = 0; family < 3; family++)
			states_round(family, 2, late);
	/* timers of what is left in SYN queues find a module that is gone */
	msleep(1500);
	printf("loads=%lu busy=%lu redirected=%lu used=%lu ended=%lu drained=%lu wrong=%lu\n",
	       loads, busy, redirects, used, ended, drained, wrong);
	return wrong || redirects < CPUS;
}

/* --- namespaces --- */

static void loopback_up(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("lo");
	close(fd);
}

/* connections in every state, which end as the process does */
static void make_everything(int family)
{
	struct states s[CPUS];
	struct hand h[CPUS];
	int i, lfd, dfd;

	lfd = listener(listen_host[family], cfg.port, true, 0);
	dfd = listener(listen_host[family], cfg.port + 2, true, 30);
	hands_start(h, lfd, dfd);
	for (i = 0; i < CPUS; i++)
		states_make(&s[i], &h[i], family);
	for (i = 0; i < CPUS; i++)
		states_leave(&s[i], &h[i], family);
}

static int netns(void)
{
	int i, status, bad = 0;
	pid_t pid;

	for (i = 0; i < cfg.rounds; i++) {
		pid = child();
		if (!pid) {
			if (unshare(CLONE_NEWNET))
				die("unshare");
			loopback_up();
			make_everything(i % 3);
			if (i % 2)
				kill(getpid(), SIGKILL);
			_exit(0);
		}
		if (waitpid(pid, &status, 0) != pid || (WIFEXITED(status) && WEXITSTATUS(status)))
			bad++;
	}
	printf("namespaces=%d failed=%d\n", i, bad);
	return bad;
}

static void migrate_requests(bool on)
{
	int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, on ? "1" : "0", 1) != 1)
		die("tcp_migrate_req");
	close(fd);
}

/*
 * Connections in the clones of the first listener, whose lines come first, those of
 * its clones before its own, which has no CPU. A worker that stays away loses them in time.
 */
static unsigned int pending_in_clones(void)
{
	FILE *f = fopen("/proc/net/fsocket_listeners", "re");
	unsigned int n = 0, v;
	char line[256];

	if (!f || !fgets(line, sizeof(line), f))
		die("listeners");
	while (fgets(line, sizeof(line), f) && sscanf(line, "%*s %*u %*d %*d %*u %u", &v) == 1)
		n += v;
	fclose(f);
	return n;
}

/*
 * Pending connections in clones meet the fate of those in the listener's own
 * queue: the kernel gives them to the rest of the group.
 */
static int migrate(void)
{
	int client[16 * CPUS], i, a, b, served = 0, n = 0;
	unsigned int pending = 0;
	struct fs_request req = { .magic = "FSrq" };
	struct hand h[CPUS];
	struct pair p;

	cfg.reuseport = true;
	a = listener(listen_host[0], cfg.port, cfg.attach, 0);
	b = listener(listen_host[0], cfg.port, cfg.attach, 0);
	if (cfg.attach)
		hands_start(h, a, b);
	migrate_requests(true);
	do {
		for (i = 0; i < CPUS; i++)
			client[n++] = connect_from(i, 0, cfg.port);
		if (cfg.attach)
			pending = pending_in_clones();
	} while (cfg.attach && !pending && n < (int)ARRAY_SIZE(client));
	close(a);
	migrate_requests(false);
	for (i = 0; i < n; i++)
		put(client[i], &req, sizeof(req));
	while (readable(b, 500)) {
		p.server = take(b);
		if (p.server >= 0 && get(p.server, &req, sizeof(req)))
			served++;
	}
	printf("connections=%d served=%d pending=%u\n", n, served, pending);
	return served != n || (cfg.attach && !pending);
}

static int linger(void)
{
	make_everything(0);
	printf("ready\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}

/* --- */

static const struct {
	const char *name;
	int (*run)(void);
} commands[] = {
	{ "rounds", rounds }, { "states", states }, { "netns", netns }, { "migrate", migrate },
	{ "linger", linger },
};

static void usage(void)
{
	fprintf(stderr,
		"usage: fscycle rounds|states|netns|migrate|linger [-f] [-k MODULE.ko] [-n ROUNDS] [-w FILE] [-p PORT] [-c CONNECTIONS]\n");
	exit(2);
}

int main(int argc, char **argv)
{
	size_t i;
	int o;

	if (argc < 2)
		usage();
	while ((o = getopt(argc - 1, argv + 1, "fk:n:w:p:c:")) != -1)
		switch (o) {
		case 'f': cfg.attach = true; break;
		case 'k': cfg.ko = optarg; break;
		case 'n': cfg.rounds = atoi(optarg); break;
		case 'w': cfg.stop_file = optarg; break;
		case 'p': cfg.port = atoi(optarg); break;
		case 'c': cfg.conns = atoi(optarg); break;
		default: usage();
		}
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shm == MAP_FAILED)
		die("mmap");
	if (cfg.ko)
		read_module();
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run();
	usage();
}
