// SPDX-License-Identifier: GPL-2.0
/*
 * fsserve: a server whose workers wait for connections in every way that Linux
 * offers, count them in shared memory, and misbehave on command.
 *
 * Prints "ready pids=..." when all workers wait, and one line of key=value when
 * it ends on SIGTERM:
 *
 *   accepted= local= replied= empty= badflags= sig= alive= acc= loc= rep=
 *   cpus= aff= pids= tids=
 *
 * The first are sums; those after alive are lists, an element per worker. local
 * counts the connections with SO_INCOMING_CPU equal to the CPU that accepted
 * them; empty the times a worker was woken and found nothing; cpus and aff are
 * masks of the CPUs it accepted on, and may run on.
 *
 * With -C commands are read from standard input, each answered with a line:
 * see the table at the end.
 */
#include <fcntl.h>
#include <liburing.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fsutil.h"

#define MAX_WORKERS	64
#define MAX_LISTENERS	8

enum order { NONE, STOP, SPIN, GO, EXIT, DEL, ADD, CLOSE };

/* in shared memory, written by the worker; order by whoever commands it */
struct worker {
	pid_t pid, tid;
	int ready;
	enum order order;
	unsigned int asked, obeyed;
	unsigned long accepted, local, replied, empty, badflags;
	unsigned long cpus;
} __attribute__((aligned(64)));

static struct shared {
	unsigned long sig;
	int spawned;
	struct worker w[MAX_WORKERS];
} *shm;

/* what one worker waits with; in its own memory */
struct ctx {
	struct worker *w;
	int idx;
	int epfd;
	struct io_uring ring;
	bool armed[MAX_LISTENERS];
	aio_context_t aio;
	struct iocb iocb[MAX_LISTENERS];
	bool watched[MAX_LISTENERS];
};

struct method {
	const char *name;
	bool nonblock;			/* the listeners are O_NONBLOCK */
	uint32_t events;		/* for epoll */
	void (*open)(struct ctx *c);
	void (*turn)(struct ctx *c);	/* wait once, serve what came */
	void (*watch)(struct ctx *c, int l, bool on);
};

static struct {
	const struct method *method;
	int workers, late, backlog, accept_flags, tag;
	bool threads, shared_epoll, early_epoll, attach, control, reexec;
	const char *program;
	char family;
	struct int_list ports, cpus, inherited;
	int timeout;
	/* listener options */
	bool reuseport, async, cpu_select;
	int defer, fast_open, rcvbuf, incoming;
	const char *md5, *drop, *cong;
} cfg = { .incoming = -1, .workers = 4, .backlog = 511, .family = '4', .timeout = 200,
	  .program = "/proc/self/exe" };

static int listener[MAX_LISTENERS], n_listeners;
static int prepared_epfd[MAX_WORKERS], shared_epfd = -1;
static volatile sig_atomic_t ending;

static void spawn(int idx);

/* --- what a worker does with a connection --- */

static void check_flags(struct worker *w, int fd)
{
	bool nonblock = fcntl(fd, F_GETFL) & O_NONBLOCK;
	bool cloexec = fcntl(fd, F_GETFD) & FD_CLOEXEC;

	if (nonblock != !!(cfg.accept_flags & SOCK_NONBLOCK) ||
	    cloexec != !!(cfg.accept_flags & SOCK_CLOEXEC))
		w->badflags++;
}

static void answer(struct ctx *c, int fd, int cpu)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct fs_reply reply = { .worker = c->idx, .cpu = cpu, .tag = cfg.tag };
	struct fs_request req;
	size_t got = 0;
	ssize_t n;

	while (got < sizeof(req)) {
		n = poll(&pfd, 1, 5000);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		n = recv(fd, (char *)&req + got, sizeof(req) - got, 0);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return;
		got += n;
	}
	reply.seq = req.seq;
	if (send(fd, &reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply))
		c->w->replied++;
}

/* late workers are the children of one that has already been put on a CPU */
static void spawn_late(struct ctx *c)
{
	int i;

	if (c->idx || !cfg.late || (int)c->w->accepted != cfg.late)
		return;
	for (i = 2; i < cfg.workers; i++)
		spawn(i);
}

static void serve(struct ctx *c, int fd)
{
	int cpu = sched_getcpu(), incoming = -1;
	socklen_t len = sizeof(incoming);

	c->w->accepted++;
	c->w->cpus |= 1UL << cpu;
	getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &incoming, &len);
	if (incoming == cpu)
		c->w->local++;
	check_flags(c->w, fd);
	answer(c, fd, cpu);
	close(fd);
	spawn_late(c);
}

/* the listener is no longer one: stop watching it */
static void retire(struct ctx *c, int l)
{
	if (cfg.method->watch)
		cfg.method->watch(c, l, false);
	c->watched[l] = false;
}

static bool take(struct ctx *c, int l)
{
	int fd = accept4(listener[l], NULL, NULL, cfg.accept_flags);

	if (fd >= 0) {
		serve(c, fd);
		return true;
	}
	if (errno == EINVAL || errno == EBADF)
		retire(c, l);
	return false;
}

static void take_one(struct ctx *c, int l)
{
	if (!take(c, l))
		c->w->empty++;
}

/* --- the ways to wait --- */

static void epoll_watch(struct ctx *c, int l, bool on)
{
	struct epoll_event ev = { .events = cfg.method->events, .data.u32 = l };
	int op = on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL;

	if (epoll_ctl(c->epfd, op, listener[l], &ev) && on && errno != EEXIST)
		die("EPOLL_CTL_ADD");
}

static int new_epoll(void)
{
	int fd = epoll_create1(0);

	if (fd < 0)
		die("epoll_create1");
	return fd;
}

static void epoll_open(struct ctx *c)
{
	c->epfd = shared_epfd >= 0 ? shared_epfd :
		  cfg.early_epoll ? prepared_epfd[c->idx] : new_epoll();
}

static void epoll_rearm(struct ctx *c, int l)
{
	struct epoll_event ev = { .events = cfg.method->events, .data.u32 = l };

	if (c->watched[l])
		epoll_ctl(c->epfd, EPOLL_CTL_MOD, listener[l], &ev);
}

static void epoll_turn(struct ctx *c)
{
	struct epoll_event ev[MAX_LISTENERS];
	int i, l, n;

	n = epoll_wait(c->epfd, ev, MAX_LISTENERS, -1);
	for (i = 0; i < n; i++) {
		l = ev[i].data.u32;
		take_one(c, l);
		if (cfg.method->events & EPOLLET)
			while (take(c, l))
				;
		if (cfg.method->events & EPOLLONESHOT)
			epoll_rearm(c, l);
	}
}

static void poll_turn(struct ctx *c)
{
	struct pollfd pfd[MAX_LISTENERS];
	int l;

	for (l = 0; l < n_listeners; l++) {
		pfd[l].fd = c->watched[l] ? listener[l] : -1;
		pfd[l].events = POLLIN;
		pfd[l].revents = 0;
	}
	if (poll(pfd, n_listeners, -1) <= 0)
		return;
	for (l = 0; l < n_listeners; l++)
		if (pfd[l].revents)
			take_one(c, l);
}

static void select_turn(struct ctx *c)
{
	fd_set set;
	int l, max = -1;

	FD_ZERO(&set);
	for (l = 0; l < n_listeners; l++) {
		if (!c->watched[l])
			continue;
		FD_SET(listener[l], &set);
		if (listener[l] > max)
			max = listener[l];
	}
	if (select(max + 1, &set, NULL, NULL, NULL) <= 0)
		return;
	for (l = 0; l < n_listeners; l++)
		if (FD_ISSET(listener[l], &set))
			take_one(c, l);
}

/* blocking, so a worker has one listener only */
static void accept_turn(struct ctx *c)
{
	int l = c->idx % n_listeners;

	if (c->watched[l])
		take(c, l);
	else
		pause();
}

static void uring_open(struct ctx *c)
{
	int ret = io_uring_queue_init(4 * MAX_LISTENERS, &c->ring, 0);

	if (ret < 0) {
		errno = -ret;
		die("io_uring_queue_init");
	}
}

static void uring_arm(struct ctx *c, int l)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&c->ring);

	if (!strcmp(cfg.method->name, "uringpoll"))
		io_uring_prep_poll_add(sqe, listener[l], POLLIN);
	else if (!strcmp(cfg.method->name, "uringmulti"))
		io_uring_prep_multishot_accept(sqe, listener[l], NULL, NULL,
					       cfg.accept_flags);
	else
		io_uring_prep_accept(sqe, listener[l], NULL, NULL, cfg.accept_flags);
	io_uring_sqe_set_data64(sqe, l);
	c->armed[l] = true;
}

static void uring_complete(struct ctx *c, int l, int res)
{
	if (res == -EINVAL || res == -EBADF)
		retire(c, l);
	else if (res < 0)
		c->w->empty++;
	else if (!strcmp(cfg.method->name, "uringpoll"))
		take_one(c, l);
	else
		serve(c, res);
}

static void uring_turn(struct ctx *c)
{
	struct io_uring_cqe *cqe;
	int l, res;

	for (l = 0; l < n_listeners; l++)
		if (c->watched[l] && !c->armed[l])
			uring_arm(c, l);
	io_uring_submit(&c->ring);
	if (io_uring_wait_cqe(&c->ring, &cqe))
		return;
	l = io_uring_cqe_get_data64(cqe);
	res = cqe->res;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		c->armed[l] = false;
	io_uring_cqe_seen(&c->ring, cqe);
	uring_complete(c, l, res);
}

static void aio_open(struct ctx *c)
{
	if (syscall(SYS_io_setup, MAX_LISTENERS, &c->aio))
		die("io_setup");
}

static void aio_turn(struct ctx *c)
{
	struct io_event ev;
	struct iocb *cb;
	int l;

	for (l = 0; l < n_listeners; l++) {
		if (!c->watched[l] || c->armed[l])
			continue;
		cb = &c->iocb[l];
		memset(cb, 0, sizeof(*cb));
		cb->aio_lio_opcode = IOCB_CMD_POLL;
		cb->aio_fildes = listener[l];
		cb->aio_buf = POLLIN;
		cb->aio_data = l;
		if (syscall(SYS_io_submit, c->aio, 1, &cb) != 1)
			die("io_submit of IOCB_CMD_POLL");
		c->armed[l] = true;
	}
	if (syscall(SYS_io_getevents, c->aio, 1, 1, &ev, NULL) != 1)
		return;
	l = ev.data;
	c->armed[l] = false;
	if (ev.res < 0)
		retire(c, l);
	else
		take_one(c, l);
}

static const struct method methods[] = {
	{ "epoll", true, EPOLLIN, epoll_open, epoll_turn, epoll_watch },
	{ "edge", true, EPOLLIN | EPOLLET, epoll_open, epoll_turn, epoll_watch },
	{ "exclusive", true, EPOLLIN | EPOLLEXCLUSIVE, epoll_open, epoll_turn, epoll_watch },
	{ "oneshot", true, EPOLLIN | EPOLLONESHOT, epoll_open, epoll_turn, epoll_watch },
	{ "poll", true, 0, NULL, poll_turn, NULL },
	{ "select", true, 0, NULL, select_turn, NULL },
	{ "accept", false, 0, NULL, accept_turn, NULL },
	/* as accept, with SO_RCVTIMEO on the listener */
	{ "timeo", false, 0, NULL, accept_turn, NULL },
	{ "uring", false, 0, uring_open, uring_turn, NULL },
	{ "uringmulti", false, 0, uring_open, uring_turn, NULL },
	{ "uringpoll", true, 0, uring_open, uring_turn, NULL },
	{ "aio", true, 0, aio_open, aio_turn, NULL },
};

/* --- a worker's life --- */

static void watch_all(struct ctx *c, bool on)
{
	int l;

	for (l = 0; l < n_listeners; l++) {
		if (cfg.method->watch)
			cfg.method->watch(c, l, on);
		c->watched[l] = on;
	}
}

static enum order obey(struct ctx *c)
{
	struct worker *w = c->w;
	enum order order = __atomic_load_n(&w->order, __ATOMIC_ACQUIRE);
	unsigned int asked = __atomic_load_n(&w->asked, __ATOMIC_ACQUIRE);
	int l;

	if (w->obeyed == asked)
		return order;
	switch (order) {
	case DEL:
		watch_all(c, false);
		break;
	case ADD:
		watch_all(c, true);
		break;
	case CLOSE:
		for (l = 0; l < n_listeners; l++)
			close(listener[l]);
		break;
	default:
		break;
	}
	__atomic_store_n(&w->obeyed, asked, __ATOMIC_RELEASE);
	return order;
}

static void live(struct ctx *c)
{
	for (;;) {
		switch (obey(c)) {
		case STOP:
		case CLOSE:
			/* the signal of the next order ends it early */
			usleep(50000);
			break;
		case SPIN:
			break;
		case EXIT:
			return;
		default:
			cfg.method->turn(c);
		}
	}
}

static void block_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(how, &set, NULL);
}

static void *work(void *arg)
{
	int idx = (long)arg;
	struct ctx *c = calloc(1, sizeof(*c));

	c->w = &shm->w[idx];
	c->idx = idx;
	c->epfd = -1;
	if (cfg.cpus.n)
		pin_to(cfg.cpus.v[idx % cfg.cpus.n]);
	if (cfg.method->open)
		cfg.method->open(c);
	if (cfg.early_epoll || cfg.shared_epoll)
		memset(c->watched, true, sizeof(c->watched));
	else
		watch_all(c, true);
	c->w->pid = getpid();
	c->w->tid = gettid();
	__atomic_store_n(&c->w->ready, 1, __ATOMIC_RELEASE);
	live(c);
	if (c->ring.ring_fd)
		io_uring_queue_exit(&c->ring);
	return NULL;
}

static void spawn(int idx)
{
	struct worker *w = &shm->w[idx];
	pid_t parent = getpid();
	pthread_t thread;

	w->ready = 0;
	w->order = NONE;
	w->asked = 0;
	w->obeyed = 0;
	if (idx >= shm->spawned)
		shm->spawned = idx + 1;
	if (cfg.threads) {
		/* main handles the signals */
		block_signals(SIG_BLOCK);
		if (pthread_create(&thread, NULL, work, (void *)(long)idx))
			die("pthread_create");
		pthread_detach(thread);
		if (gettid() == getpid())
			block_signals(SIG_UNBLOCK);
		return;
	}
	w->pid = fork();
	if (w->pid < 0)
		die("fork");
	if (w->pid) {
		w->tid = w->pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(0);
	signal(SIGTERM, SIG_DFL);
	work((void *)(long)idx);
	_exit(0);
}

/* --- listeners --- */

static void must_set(int fd, int level, int name, const void *val, socklen_t len)
{
	if (setsockopt(fd, level, name, val, len))
		die("setsockopt %d of level %d", name, level);
}

/* drops what comes from one IPv4 address, passes all else */
static void drop_from(int fd, const char *addr)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_NET_OFF + 12),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ntohl(inet_addr(addr)), 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	must_set(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog));
}

/* a reuseport group that chooses its member by CPU */
static void select_by_cpu(int fd, int members)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU),
		BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, members),
		BPF_STMT(BPF_RET | BPF_A, 0),
	};
	struct sock_fprog prog = { ARRAY_SIZE(code), code };

	must_set(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog));
}

static void require_md5(int fd, const char *peer)
{
	struct tcp_md5sig md5 = { .tcpm_keylen = 10, .tcpm_key = "fastsocket" };

	make_address(&md5.tcpm_addr, peer, 0);
	must_set(fd, IPPROTO_TCP, TCP_MD5SIG, &md5, sizeof(md5));
}

static void signal_arrivals(int fd)
{
	if (fcntl(fd, F_SETOWN, getpid()) || fcntl(fd, F_SETSIG, SIGRTMIN) ||
	    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC))
		die("O_ASYNC");
}

static void set_options(int fd)
{
	if (cfg.defer)
		must_set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &cfg.defer, sizeof(int));
	if (cfg.fast_open)
		must_set(fd, IPPROTO_TCP, TCP_FASTOPEN, &cfg.fast_open, sizeof(int));
	if (cfg.rcvbuf)
		must_set(fd, SOL_SOCKET, SO_RCVBUF, &cfg.rcvbuf, sizeof(int));
	if (cfg.incoming >= 0)
		must_set(fd, SOL_SOCKET, SO_INCOMING_CPU, &cfg.incoming, sizeof(int));
	if (cfg.cong)
		must_set(fd, IPPROTO_TCP, TCP_CONGESTION, cfg.cong, strlen(cfg.cong));
	if (cfg.md5)
		require_md5(fd, cfg.md5);
	if (cfg.drop)
		drop_from(fd, cfg.drop);
	if (cfg.async)
		signal_arrivals(fd);
	if (!strcmp(cfg.method->name, "timeo")) {
		struct timeval tv = { cfg.timeout / 1000, cfg.timeout % 1000 * 1000 };

		must_set(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	}
}

static int bound_socket(int port)
{
	int on = 1, only = cfg.family == '6', fd;
	struct sockaddr_storage ss;
	socklen_t len;

	len = make_address(&ss, cfg.family == '4' ? "0.0.0.0" : "::", port);
	/* not close-on-exec: -X hands it on */
	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	must_set(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ss.ss_family == AF_INET6)
		must_set(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	if (cfg.reuseport)
		must_set(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind to port %d", port);
	return fd;
}

static void open_listeners(void)
{
	int i;

	for (i = 0; i < cfg.inherited.n; i++)
		listener[n_listeners++] = cfg.inherited.v[i];
	if (n_listeners)
		return;
	for (i = 0; i < cfg.ports.n && i < MAX_LISTENERS; i++) {
		int fd = bound_socket(cfg.ports.v[i]);

		if (cfg.method->nonblock)
			fcntl(fd, F_SETFL, O_NONBLOCK);
		set_options(fd);
		if (listen_either(fd, cfg.backlog, cfg.attach))
			die("listen on port %d", cfg.ports.v[i]);
		if (cfg.cpu_select)
			select_by_cpu(fd, cfg.workers);
		listener[n_listeners++] = fd;
	}
}

/* becomes a new program that has inherited the listeners, and nothing else */
static void reexec(int argc, char **argv)
{
	char list[64] = "";
	char *args[argc + 3];
	int i, n = 0;

	for (i = 0; i < n_listeners; i++)
		sprintf(list + strlen(list), "%s%d", i ? "," : "", listener[i]);
	for (i = 0; i < argc; i++)
		if (strcmp(argv[i], "-X"))
			args[n++] = argv[i];
	args[n++] = "-i";
	args[n++] = list;
	args[n] = NULL;
	execv(cfg.program, args);
	die("execv");
}

static void prepare_epolls(void)
{
	struct ctx c = { 0 };
	int i;

	if (!cfg.shared_epoll && !cfg.early_epoll)
		return;
	for (i = 0; i < (cfg.shared_epoll ? 1 : cfg.workers); i++) {
		prepared_epfd[i] = new_epoll();
		c.epfd = prepared_epfd[i];
		watch_all(&c, true);
	}
	if (cfg.shared_epoll)
		shared_epfd = prepared_epfd[0];
}

/* --- statistics --- */

#define SUM(member) ({						\
	unsigned long sum_ = 0;					\
	int i_;							\
	for (i_ = 0; i_ < shm->spawned; i_++)			\
		sum_ += shm->w[i_].member;			\
	sum_; })

#define PRINT_LIST(name, format, expr) do {			\
	int i;							\
	printf(" " name "=");					\
	for (i = 0; i < shm->spawned; i++)			\
		printf("%s" format, i ? "," : "", expr);	\
} while (0)

static int count_alive(void)
{
	int i, n = 0;

	for (i = 0; i < shm->spawned; i++)
		if (shm->w[i].ready && affinity_of(shm->w[i].tid))
			n++;
	return n;
}

static void print_stats(void)
{
	printf("accepted=%lu local=%lu replied=%lu empty=%lu badflags=%lu sig=%lu alive=%d",
	       SUM(accepted), SUM(local), SUM(replied), SUM(empty), SUM(badflags),
	       shm->sig, count_alive());
	PRINT_LIST("acc", "%lu", shm->w[i].accepted);
	PRINT_LIST("loc", "%lu", shm->w[i].local);
	PRINT_LIST("rep", "%lu", shm->w[i].replied);
	PRINT_LIST("cpus", "%lx", shm->w[i].cpus);
	PRINT_LIST("aff", "%lx", affinity_of(shm->w[i].tid));
	PRINT_LIST("pids", "%d", shm->w[i].pid);
	PRINT_LIST("tids", "%d", shm->w[i].tid);
	printf("\n");
	fflush(stdout);
}

static void reset_stats(void)
{
	int i;

	shm->sig = 0;
	for (i = 0; i < shm->spawned; i++) {
		struct worker *w = &shm->w[i];

		w->accepted = 0;
		w->local = 0;
		w->replied = 0;
		w->empty = 0;
		w->badflags = 0;
		w->cpus = 0;
	}
}

/* --- commands --- */

/* the signal is repeated: one sent before the worker sleeps is lost */
static bool command(int idx, enum order order)
{
	struct worker *w = &shm->w[idx];
	unsigned int asked = w->asked + 1;
	int tries;

	w->order = order;
	__atomic_store_n(&w->asked, asked, __ATOMIC_RELEASE);
	for (tries = 0; tries < 1000; tries++) {
		if (__atomic_load_n(&w->obeyed, __ATOMIC_ACQUIRE) == asked)
			return true;
		if (syscall(SYS_tgkill, w->pid, w->tid, SIGUSR1))
			return false;
		usleep(5000);
	}
	return false;
}

static bool command_some(enum order order, const char *who)
{
	bool ok = true;
	int i;

	if (strcmp(who, "all"))
		return command(atoi(who), order);
	for (i = 0; i < shm->spawned; i++)
		if (affinity_of(shm->w[i].tid))
			ok &= command(i, order);
	return ok;
}

static bool wait_ready(int idx)
{
	int tries;

	for (tries = 0; tries < 1000; tries++) {
		if (__atomic_load_n(&shm->w[idx].ready, __ATOMIC_ACQUIRE))
			return true;
		usleep(5000);
	}
	return false;
}

static bool cmd_stop(const char *arg) { return command_some(STOP, arg); }
static bool cmd_spin(const char *arg) { return command_some(SPIN, arg); }
static bool cmd_go(const char *arg) { return command_some(GO, arg); }
static bool cmd_exit(const char *arg) { return command_some(EXIT, arg); }
static bool cmd_del(const char *arg) { return command_some(DEL, arg); }
static bool cmd_add(const char *arg) { return command_some(ADD, arg); }
static bool cmd_close(const char *arg) { return command_some(CLOSE, arg); }

/* main's own descriptors of the listeners */
static bool cmd_closemine(const char *arg)
{
	int l;

	(void)arg;
	for (l = 0; l < n_listeners; l++)
		close(listener[l]);
	return true;
}

static bool cmd_shutdown(const char *arg)
{
	bool ok = true;
	int l;

	for (l = 0; l < n_listeners; l++)
		ok &= !shutdown(listener[l], atoi(arg));
	return ok;
}

static bool cmd_listen(const char *arg)
{
	bool ok = true;
	int l;

	for (l = 0; l < n_listeners; l++)
		ok &= !listen_either(listener[l], *arg ? atoi(arg) : cfg.backlog, cfg.attach);
	return ok;
}

/* the listeners in and out of a BPF sockmap that is made at the first call */
static bool cmd_sockmap(const char *arg)
{
	static int map = -1;
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_SOCKMAP,
		.key_size = sizeof(int),
		.value_size = sizeof(__u64),
		.max_entries = MAX_LISTENERS,
	};
	bool in = !strcmp(arg, "in"), ok = true;
	__u64 sock;
	int l;

	if (map < 0)
		map = syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = map;
	attr.key = (uintptr_t)&l;
	attr.value = in ? (uintptr_t)&sock : 0;
	for (l = 0; l < n_listeners; l++) {
		sock = listener[l];
		ok &= !syscall(SYS_bpf, in ? BPF_MAP_UPDATE_ELEM : BPF_MAP_DELETE_ELEM, &attr,
			       sizeof(attr));
	}
	return ok;
}

static bool cmd_kill(const char *arg)
{
	pid_t pid = shm->w[atoi(arg)].pid;

	return !kill(pid, SIGKILL) && waitpid(pid, NULL, 0) == pid;
}

static bool cmd_respawn(const char *arg)
{
	waitpid(-1, NULL, WNOHANG);
	spawn(atoi(arg));
	return wait_ready(atoi(arg));
}

static bool cmd_reset(const char *arg)
{
	(void)arg;
	reset_stats();
	return true;
}

static const struct {
	const char *name;
	bool (*run)(const char *arg);
} commands[] = {
	{ "stop", cmd_stop },		/* WORKER|all: sleep, poll nothing */
	{ "spin", cmd_spin },		/* WORKER|all: compute, poll nothing */
	{ "go", cmd_go },		/* WORKER|all: be a worker again */
	{ "exit", cmd_exit },		/* WORKER|all: end orderly */
	{ "del", cmd_del },		/* WORKER|all: EPOLL_CTL_DEL, keep polling */
	{ "add", cmd_add },		/* WORKER|all: EPOLL_CTL_ADD again */
	{ "close", cmd_close },		/* WORKER|all: close its listeners, live on */
	{ "closemine", cmd_closemine },	/* main closes its own copies */
	{ "shutdown", cmd_shutdown },	/* HOW: shutdown(2) by main */
	{ "listen", cmd_listen },	/* [BACKLOG]: listen again */
	{ "sockmap", cmd_sockmap },	/* in|out: of a BPF sockmap */
	{ "kill", cmd_kill },		/* WORKER: SIGKILL, and wait for its end */
	{ "respawn", cmd_respawn },	/* WORKER: a new one in its place */
	{ "reset", cmd_reset },		/* all counters to 0 */
};

static void handle_command(char *line)
{
	static const char blanks[] = "\n ";
	char *name = strtok(line, blanks), *arg = strtok(NULL, blanks);
	size_t i;

	if (!name)
		return;
	if (!strcmp(name, "stats"))
		return print_stats();
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(name, commands[i].name))
			continue;
		puts(commands[i].run(arg ? arg : "") ? "done" : "failed");
		fflush(stdout);
		return;
	}
	puts("unknown command");
	fflush(stdout);
}

static void on_signal(int sig)
{
	if (sig == SIGTERM)
		ending = 1;
	else if (sig == SIGRTMIN)
		shm->sig++;
}

static void install_handlers(void)
{
	/* no SA_RESTART: a command must get a worker out of its system call */
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGRTMIN, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static void main_loop(void)
{
	sigset_t usual, held;
	char line[128];

	/* SIGTERM between the check and the sleep must not be lost */
	sigemptyset(&held);
	sigaddset(&held, SIGTERM);
	sigprocmask(SIG_BLOCK, &held, &usual);
	sigdelset(&usual, SIGTERM);
	while (!ending) {
		struct pollfd pfd = { .fd = cfg.control ? 0 : -1, .events = POLLIN };
		ssize_t n;

		if (ppoll(&pfd, 1, NULL, &usual) <= 0)
			continue;
		n = read(0, line, sizeof(line) - 1);
		if (n <= 0)
			break;
		line[n] = 0;
		handle_command(line);
	}
}

/* --- options --- */

static const struct method *find_method(const char *name)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(methods); i++)
		if (!strcmp(name, methods[i].name))
			return &methods[i];
	errno = 0;
	die("no method %s", name);
}

static void parse_listener_option(const char *arg)
{
	const char *val = strchr(arg, '=');
	size_t len = val ? (size_t)(val - arg) : strlen(arg);

	val = val ? val + 1 : "";
#define IS(name) (len == sizeof(name) - 1 && !strncmp(arg, name, len))
	if (IS("reuseport"))
		cfg.reuseport = true;
	else if (IS("async"))
		cfg.async = true;
	else if (IS("cpuselect"))
		cfg.cpu_select = true;
	else if (IS("defer"))
		cfg.defer = atoi(val);
	else if (IS("fastopen"))
		cfg.fast_open = atoi(val);
	else if (IS("rcvbuf"))
		cfg.rcvbuf = atoi(val);
	else if (IS("incoming"))
		cfg.incoming = atoi(val);
	else if (IS("md5"))
		cfg.md5 = val;
	else if (IS("drop"))
		cfg.drop = val;
	else if (IS("cong"))
		cfg.cong = val;
	else
		die("no listener option %s", arg);
#undef IS
}

static void usage(void)
{
	size_t i;

	fprintf(stderr,
		"usage: fsserve -p PORT[,PORT...] [options]\n"
		"  -e METHOD   how to wait:");
	for (i = 0; i < ARRAY_SIZE(methods); i++)
		fprintf(stderr, " %s", methods[i].name);
	fprintf(stderr,
		"\n"
		"  -n N        workers (4)      -t  threads rather than processes\n"
		"  -s          one epoll for all, filled before the workers start\n"
		"  -B          an epoll per worker, filled before the workers start\n"
		"  -L K        worker 0 starts all but 0 and 1 after its first K accepts\n"
		"  -4 -6 -d    IPv4 (default), IPv6 only, both on one socket\n"
		"  -c CPUS     pin the workers to these in turn\n"
		"  -b BACKLOG  (511)            -a nonblock|cloexec  accept4 flags\n"
		"  -f          attach to Fastsocket\n"
		"  -o OPTION   listener: reuseport async cpuselect defer= fastopen= rcvbuf=\n"
		"              md5=PEER drop=PEER cong= incoming=CPU\n"
		"  -T MS       SO_RCVTIMEO of method timeo (200)\n"
		"  -X          exec once more after listen; -x FILE  not this program but FILE\n"
		"  -i FDS      inherited listeners\n"
		"  -g TAG      sent in replies  -C  take commands from standard input\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	int o;

	cfg.method = find_method("epoll");
	while ((o = getopt(argc, argv, "e:n:tsBL:46dc:b:a:fo:T:Xx:i:g:Cp:")) != -1)
		switch (o) {
		case 'e': cfg.method = find_method(optarg); break;
		case 'n': cfg.workers = atoi(optarg); break;
		case 't': cfg.threads = true; break;
		case 's': cfg.shared_epoll = true; break;
		case 'B': cfg.early_epoll = true; break;
		case 'L': cfg.late = atoi(optarg); break;
		case '4': case '6': case 'd': cfg.family = o; break;
		case 'c': parse_list(&cfg.cpus, optarg); break;
		case 'b': cfg.backlog = atoi(optarg); break;
		case 'a':
			cfg.accept_flags |= !strcmp(optarg, "nonblock") ?
					    SOCK_NONBLOCK : SOCK_CLOEXEC;
			break;
		case 'f': cfg.attach = true; break;
		case 'o': parse_listener_option(optarg); break;
		case 'T': cfg.timeout = atoi(optarg); break;
		case 'X': cfg.reexec = true; break;
		case 'x': cfg.program = optarg; break;
		case 'i': parse_list(&cfg.inherited, optarg); break;
		case 'g': cfg.tag = atoi(optarg); break;
		case 'C': cfg.control = true; break;
		case 'p': parse_list(&cfg.ports, optarg); break;
		default: usage();
		}
	if (optind != argc || !(cfg.ports.n || cfg.inherited.n) ||
	    cfg.workers < 0 || cfg.workers > MAX_WORKERS)
		usage();
}

int main(int argc, char **argv)
{
	int i, first;

	parse_options(argc, argv);
	shm = mmap(NULL, sizeof(*shm), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shm == MAP_FAILED)
		die("mmap");
	install_handlers();
	open_listeners();
	if (cfg.reexec)
		reexec(argc, argv);
	prepare_epolls();
	first = cfg.late && cfg.workers > 2 ? 2 : cfg.workers;
	for (i = 0; i < first; i++)
		spawn(i);
	for (i = 0; i < first; i++)
		if (!wait_ready(i))
			die("worker %d did not start", i);
	printf("ready pid=%d", getpid());
	PRINT_LIST("pids", "%d", shm->w[i].pid);
	printf("\n");
	fflush(stdout);
	main_loop();
	print_stats();
	return 0;
}
