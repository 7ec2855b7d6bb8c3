// SPDX-License-Identifier: GPL-2.0
/*
 * A program that calls listen() in all the places a program can, for the tests
 * of libfsocket.so: listen_probe CASE. It knows nothing of Fastsocket, except
 * that it says of each listener whether the kernel shows it as attached.
 */
#include <liburing.h>
#include <limits.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "probe.h"

extern char **environ;

static void say(const char *what, int fd)
{
	int rows = listener_rows(port_of(fd), "-", 0);

	printf("%s %s\n", what, rows == 1 ? "attached" : "native");
	fflush(stdout);
}

static int listen_and_say(const char *what)
{
	int fd = bound_socket(AF_INET, 0);

	CHECK(!listen(fd, 8));
	say(what, fd);
	close(fd);
	return 0;
}

static int both_families(void)
{
	for_each_family(family) {
		int fd = bound_socket(family, 0), c, conn;

		CHECK(!listen(fd, 8));
		say(family == AF_INET ? "ipv4" : "ipv6", fd);
		c = connect_to(family, port_of(fd));
		conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		CHECK(c >= 0 && conn >= 0);
		close(c);
		close(conn);
		close(fd);
	}
	return 0;
}

static int one(void)
{
	return listen_and_say("one");
}

static int twice(void)
{
	return one() || one();
}

/* A child with a listener of its own, and one that inherits the parent's. */
static int forks(void)
{
	int fd = bound_socket(AF_INET, 0), status, c, conn;
	pid_t pid;

	CHECK(!listen(fd, 8));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		say("inherited", fd);
		conn = accept(fd, NULL, NULL);
		_exit(conn < 0 || listen_and_say("child"));
	}
	c = connect_to(AF_INET, port_of(fd));
	CHECK(c >= 0 && waitpid(pid, &status, 0) == pid && !status);
	close(c);
	close(fd);
	return 0;
}

static int vforks(void)
{
	static int fd;
	int status;

	fd = bound_socket(AF_INET, 0);
	fflush(stdout);

	pid_t pid = vfork();

	if (!pid)
		_exit(listen(fd, 8) ? 1 : 0);
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	say("vfork", fd);
	close(fd);
	return 0;
}

static int spawns(void)
{
	char *argv[] = { "listen_probe", "one", NULL };
	int status;
	pid_t pid;

	CHECK(!posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ));
	CHECK(waitpid(pid, &status, 0) == pid && !status);
	return 0;
}

static void *thread_listens(void *arg)
{
	*(int *)arg = listen_and_say("thread");
	return NULL;
}

static int threads(void)
{
	pthread_t t[8];
	int failed[8];

	for (int i = 0; i < 8; i++)
		CHECK(!pthread_create(&t[i], NULL, thread_listens, &failed[i]));
	for (int i = 0; i < 8; i++)
		CHECK(!pthread_join(t[i], NULL) && !failed[i]);
	return 0;
}

static int signal_fd, signal_ret = -1;

static void listen_in_handler(int sig)
{
	(void)sig;
	signal_ret = listen(signal_fd, 8);
}

static int signals(void)
{
	signal_fd = bound_socket(AF_INET, 0);
	signal(SIGUSR1, listen_in_handler);
	raise(SIGUSR1);
	CHECK(signal_ret == 0);
	say("signal", signal_fd);
	close(signal_fd);
	return 0;
}

/* The listener lives as long as any descriptor of it, under any number. */
static int dups(void)
{
	int fd = bound_socket(AF_INET, 0), second, c, conn;
	unsigned int port = port_of(fd);

	second = dup(fd);
	CHECK(!listen(second, 8));
	say("dup", fd);
	close(fd);
	say("first-closed", second);
	c = connect_to(AF_INET, port);
	conn = accept4(second, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	CHECK(c >= 0 && conn >= 0);
	CHECK(fcntl(conn, F_GETFL) & O_NONBLOCK && fcntl(conn, F_GETFD) & FD_CLOEXEC);
	close(second);
	CHECK_FAILS(connect_to(AF_INET, port), ECONNREFUSED);
	CHECK(listener_rows(port, NULL, 0) <= 0, ": the last close ended it");
	return 0;
}

static void tell(const char *what, int ret)
{
	printf("%s %d %s\n", what, ret, ret ? strerrorname_np(errno) : "-");
}

/* Results of listen() by itself: must read the same with and without the library. */
static int errors(void)
{
	int p[2], fd = bound_socket(AF_INET, 0), fd2;
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_storage sa;
	int yes = 1;
	socklen_t len;

	tell("closed", listen(-1, 5));
	tell("large", listen(INT_MAX, 5));
	CHECK(!pipe(p));
	tell("pipe", listen(p[0], 5));
	tell("path", listen(open("/", O_PATH), 5));
	tell("udp", listen(socket(AF_INET, SOCK_DGRAM, 0), 5));
	tell("udp6", listen(socket(AF_INET6, SOCK_DGRAM, 0), 5));
	tell("unix-unbound", listen(socket(AF_UNIX, SOCK_STREAM, 0), 5));
	tell("unix-dgram", listen(socket(AF_UNIX, SOCK_DGRAM, 0), 5));
	fd2 = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK(!bind(fd2, (void *)&un, sizeof(un.sun_family)));
	tell("unix", listen(fd2, 5));
	tell("tcp", listen(fd, 5));
	tell("tcp-again", listen(fd, -5));
	tell("tcp-unbound", listen(socket(AF_INET6, SOCK_STREAM, 0), 5));
	fd2 = connect_to(AF_INET, port_of(fd));
	tell("tcp-connected", listen(fd2, 5));

	fd = socket(AF_INET, SOCK_STREAM, 0);
	fd2 = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	setsockopt(fd2, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	len = loopback(AF_INET, 0, &sa);
	CHECK(!bind(fd, (void *)&sa, len));
	len = loopback(AF_INET, port_of(fd), &sa);
	CHECK(!bind(fd2, (void *)&sa, len));
	tell("first", listen(fd, 5));
	tell("second", listen(fd2, 5));

	errno = EXDEV;
	listen(fd, 7);
	printf("errno-kept %s\n", strerrorname_np(errno));
	return 0;
}

/* Nothing of the library's stays among the descriptors. */
static int descriptors(void)
{
	int fd = bound_socket(AF_INET, 0), before = open_fds(), next;

	CHECK(!listen(fd, 8));
	CHECK(open_fds() == before);
	next = dup(0);
	CHECK(next == fd + 1, ": next number %d after %d", next, fd);
	puts("same");
	return 0;
}

static int no_descriptor_left(void)
{
	int fd = bound_socket(AF_INET, 0), c;
	struct rlimit limit;

	CHECK(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = fd + 1;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	CHECK(dup(0) == -1 && errno == EMFILE);
	CHECK(!listen(fd, 8));
	limit.rlim_cur = limit.rlim_max;
	CHECK(!setrlimit(RLIMIT_NOFILE, &limit));
	c = connect_to(AF_INET, port_of(fd));
	CHECK(c >= 0);
	puts("listens");
	return 0;
}

static void *cancelled_listens(void *arg)
{
	int *failed = arg;

	/* Pending from here on: ends the thread at its next cancellation point. */
	pthread_cancel(pthread_self());
	*failed = listen(bound_socket(AF_INET, 0), 8);
	pthread_testcancel();
	*failed = 2;
	return NULL;
}

static int cancellation(void)
{
	int failed = 1;
	void *ret;
	pthread_t t;

	CHECK(!pthread_create(&t, NULL, cancelled_listens, &failed));
	CHECK(!pthread_join(t, &ret) && ret == PTHREAD_CANCELED);
	CHECK(failed == 0, ": listen() was left by the cancellation");
	puts("listens");
	return 0;
}

/* Started with a standard error output that nobody reads. */
static int broken_stderr(void)
{
	sigset_t pending;
	int fd = bound_socket(AF_INET, 0);

	signal(SIGPIPE, SIG_DFL);
	CHECK(!listen(fd, 8));
	sigpending(&pending);
	puts(sigismember(&pending, SIGPIPE) ? "signal pending" : "listens");
	return 0;
}

static int exec_with_broken_stderr(void)
{
	int p[2];

	CHECK(!pipe(p));
	close(p[0]);
	dup2(p[1], 2);
	close(p[1]);
	execl("/proc/self/exe", "listen_probe", "broken_stderr", NULL);
	return 1;
}

static int exec_with_full_stderr(void)
{
	static char fill[65536];
	int p[2];

	CHECK(!pipe(p));
	CHECK(write(p[1], fill, sizeof(fill)) == sizeof(fill));
	dup2(p[1], 2);
	alarm(20);
	execl("/proc/self/exe", "listen_probe", "broken_stderr", NULL);
	return 1;
}

/* A daemon's descriptor 2 may be anything: here, a data file. */
static int reused_stderr(void)
{
	FILE *data = tmpfile();
	struct stat st;

	CHECK(data);
	fflush(stderr);
	dup2(fileno(data), 2);
	if (listen(bound_socket(AF_INET, 0), 8) || fstat(2, &st))
		return 1;
	printf("%ld bytes written\n", (long)st.st_size);
	return 0;
}

/* Hold a listener, and a worker for each number given, until input ends. */
static int hold(void)
{
	int fd = bound_socket(AF_INET, 0);
	struct pollfd p[2] = { { .fd = 0, .events = POLLIN }, { .fd = fd, .events = POLLIN } };

	CHECK(!listen(fd, 8));
	printf("%u\n", port_of(fd));
	fflush(stdout);
	while (poll(p, 2, -1) >= 0 && !p[0].revents)
		close(accept(fd, NULL, NULL));
	return 0;
}

/* A new listener for each line of input; they stay until it ends. */
static int on_demand(void)
{
	char line[16];
	int fd;

	puts("ready");
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin)) {
		fd = bound_socket(AF_INET, 0);
		CHECK(!listen(fd, 8));
		say("one", fd);
	}
	return 0;
}

/* Who started it is gone when the daemon, in a session of its own, listens. */
static int daemonises(void)
{
	int fd[2];
	char end;

	CHECK(!pipe(fd));
	if (fork()) {
		/* As the shell behind a daemon: wait until all who might write are gone. */
		close(fd[1]);
		return read(fd[0], &end, 1) != 0;
	}
	close(fd[0]);
	setsid();
	if (fork())
		_exit(0);
	while (getppid() == getsid(0))
		usleep(1000);
	exit(listen_and_say("daemon"));
}

/* Processes that come and go on all CPUs; the last generation listens. */
static int forks_much(void)
{
	int status, failed = 0;

	fflush(stdout);
	for (int i = 0; i < 8; i++) {
		if (fork())
			continue;
		for (int n = 0; n < 100; n++) {
			if (!fork())
				_exit(0);
			wait(NULL);
		}
		_exit(listen_and_say("one"));
	}
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}

/* As Go's net package makes its listeners. */
static int mptcp(void)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(AF_INET, 0, &sa);
	int fd = socket(AF_INET, SOCK_STREAM, 262 /* IPPROTO_MPTCP */);

	CHECK(fd >= 0 && !bind(fd, (void *)&sa, len) && !listen(fd, 8));
	say("mptcp", fd);
	return 0;
}

/* IORING_OP_LISTEN, of Linux 6.11; liburing learnt it later. Return: the result, or -errno. */
static int ring_listen(struct io_uring *ring, unsigned int flags, int fd)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	io_uring_prep_rw(57, sqe, fd, NULL, 8, 0);
	io_uring_sqe_set_flags(sqe, flags);
	io_uring_submit(ring);
	ret = io_uring_wait_cqe(ring, &cqe);
	if (!ret) {
		ret = cqe->res;
		io_uring_cqe_seen(ring, cqe);
	}
	return ret;
}

/* The kernel's own thread attaches when it has nothing else to do. */
static int ring_listens(const char *what, unsigned int setup, unsigned int flags)
{
	int fd = bound_socket(AF_INET, 0), ret, i;
	struct io_uring ring;

	CHECK(!io_uring_queue_init(8, &ring, setup));
	ret = ring_listen(&ring, flags, fd);
	if (ret == -EINVAL) {
		printf("io_uring does not listen\n");
		exit(0);
	}
	CHECK(!ret);
	for (i = 0; i < 100 && listener_rows(port_of(fd), "-", 0) != 1; i++)
		usleep(100000);
	say(what, fd);
	io_uring_queue_exit(&ring);
	close(fd);
	return 0;
}

static int rings(void)
{
	return ring_listens("submitter", 0, 0) || ring_listens("worker", 0, IOSQE_ASYNC) ||
	       ring_listens("poller", IORING_SETUP_SQPOLL, 0);
}

static const struct probe_case cases[] = {
	CASE(one), CASE(twice), CASE(both_families), CASE(forks), CASE(vforks),
	CASE(spawns), CASE(threads), CASE(signals), CASE(dups), CASE(errors),
	CASE(descriptors), CASE(no_descriptor_left), CASE(cancellation),
	CASE(broken_stderr), CASE(exec_with_broken_stderr),
	CASE(exec_with_full_stderr), CASE(reused_stderr), CASE(hold),
	CASE(on_demand), CASE(daemonises), CASE(forks_much), CASE(mptcp),
	CASE(rings),
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
