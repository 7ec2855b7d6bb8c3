// SPDX-License-Identifier: GPL-2.0
/*
 * What an unprivileged user may try with /dev/fastsocket. safety_probe CASE
 * [NUMBER [NUMBER]]; the tests look at the system from outside meanwhile.
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "probe.h"

static int dev;

static int fs_listen(int fd)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .backlog = 16 };

	return ioctl(dev, FSOCKET_IOC_LISTEN, &arg);
}

static int fs_spawn(int fd, int cpu)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .op.spawn_op.cpu = cpu };

	return ioctl(dev, FSOCKET_IOC_SPAWN_LISTEN, &arg);
}

static int attached_listener(int family)
{
	int fd = bound_socket(family, SOCK_NONBLOCK);

	if (fd >= 0 && fs_listen(fd)) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static void until_input_ends(void)
{
	char c;

	while (read(0, &c, 1) > 0)
		;
}

static void end_with_parent(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* ---- many tasks on one listener ---- */

struct poller {
	int fd;
};

static void *polls(void *arg)
{
	struct poller *p = arg;
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC), conn;

	epoll_ctl(ep, EPOLL_CTL_ADD, p->fd, &ev);
	for (;;) {
		if (epoll_wait(ep, &ev, 1, 500) == 1) {
			conn = accept4(p->fd, NULL, NULL, SOCK_NONBLOCK);
			if (conn >= 0)
				close(conn);
		}
	}
	return NULL;
}

/* crowd PROCESSES THREADS: that many pollers; prints the port. */
static int crowd(int processes, int threads)
{
	struct poller p = { attached_listener(AF_INET) };

	CHECK(p.fd >= 0);
	for (int i = 0; i < processes; i++) {
		if (fork())
			continue;
		end_with_parent();
		for (int t = 1; t < threads; t++) {
			pthread_t thread;

			if (pthread_create(&thread, NULL, polls, &p))
				_exit(1);
		}
		polls(&p);
	}
	/* So that the workers that wait for a first connection get one. */
	for (int i = 0; i < 200; i++) {
		int c = connect_to(AF_INET, port_of(p.fd));

		CHECK(c >= 0);
		close(c);
	}
	printf("%u\n", port_of(p.fd));
	fflush(stdout);
	until_input_ends();
	return 0;
}

/* parade ROUNDS: workers that come, name a CPU and are killed. */
static int parade(int rounds, int unused)
{
	int fd = attached_listener(AF_INET), cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int most = 0;

	(void)unused;
	CHECK(fd >= 0);
	for (int i = 0; i < rounds; i++) {
		int ready[2];
		pid_t pid;
		char c;

		CHECK(!pipe(ready));
		pid = fork();
		if (!pid) {
			end_with_parent();
			if (fs_spawn(fd, i % cpus) || write(ready[1], "x", 1) != 1)
				_exit(1);
			pause();
		}
		close(ready[1]);
		CHECK(read(ready[0], &c, 1) == 1);
		close(ready[0]);
		if (clone_rows(port_of(fd)) > most)
			most = clone_rows(port_of(fd));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	printf("%d\n", most);
	return 0;
}

/* ---- memory ---- */

struct filler {
	pthread_t thread;
	int cpu, count, error;
	const int *fd;
};

static void *spawn_on_cpu(void *arg)
{
	struct filler *f = arg;

	if (bind_to_cpu(f->cpu)) {
		f->error = errno;
		return NULL;
	}
	for (int i = 0; i < f->count && !f->error; i++)
		if (fs_spawn(f->fd[i], f->cpu))
			f->error = errno;
	return NULL;
}

static int spawn_everywhere(const int *fd, int count)
{
	int cpus = sysconf(_SC_NPROCESSORS_ONLN), error = 0;
	struct filler f[cpus];

	for (int i = 0; i < cpus; i++) {
		f[i] = (struct filler){ .cpu = i, .count = count, .fd = fd };
		if (pthread_create(&f[i].thread, NULL, spawn_on_cpu, &f[i]))
			return errno;
	}
	for (int i = 0; i < cpus; i++) {
		pthread_join(f[i].thread, NULL);
		if (f[i].error)
			error = f[i].error;
	}
	return error;
}

static int raise_limit(void)
{
	struct rlimit limit = { 1 << 17, 1 << 17 };

	return setrlimit(RLIMIT_NOFILE, &limit);
}

/* Open listeners with a worker on every CPU, a batch at a time. Returns how many. */
static int fill_with(int *fd, int want, int *error)
{
	int n = 0;

	*error = 0;
	while (n < want && !*error) {
		int batch = 0;

		while (batch < 50 && n + batch < want && !*error) {
			/* IPv6 sockets are the larger ones. */
			fd[n + batch] = attached_listener(AF_INET6);
			if (fd[n + batch] < 0)
				*error = errno;
			else
				batch++;
		}
		if (!*error)
			*error = spawn_everywhere(fd + n, batch);
		n += batch;
	}
	return n;
}

/* fill LISTENERS: hold them until input ends; prints how far it got. */
static int fill(int want, int unused)
{
	int *fd = calloc(want, sizeof(*fd)), error, n;

	(void)unused;
	CHECK(fd);
	n = fill_with(fd, want, &error);
	printf("%d %s\n", n, error ? strerrorname_np(error) : "-");
	fflush(stdout);
	until_input_ends();
	return 0;
}

/* rounds ROUNDS LISTENERS: open and close, again and again. */
static int rounds(int count, int want)
{
	int *fd = calloc(want, sizeof(*fd)), error;

	CHECK(fd);
	for (int i = 0; i < count; i++) {
		int n = fill_with(fd, want, &error);

		CHECK(n == want && !error, ": round %d: %d, errno %d", i, n, error);
		while (n--)
			close(fd[n]);
	}
	return 0;
}

/* ---- other users ---- */

static int become(uid_t uid)
{
	return setresgid(uid, uid, uid) || setresuid(uid, uid, uid);
}

static int send_fd(int via, int fd)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(via, &msg, 0) == 1 ? 0 : -1;
}

static int receive_fd(int via)
{
	union {
		struct cmsghdr hdr;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	char c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd = -1;

	if (recvmsg(via, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* Serve what comes for two seconds; exit status 0 when still free to run anywhere. */
static int victim(int via, uid_t uid)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int fd, ep = epoll_create1(EPOLL_CLOEXEC), served = 0, conn;
	cpu_set_t before, after;
	time_t end;

	if (uid)
		CHECK(!become(uid));
	CHECK(!sched_getaffinity(0, sizeof(before), &before));
	fd = receive_fd(via);
	CHECK(fd >= 0);
	CHECK(!epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (end = time(NULL) + 3; time(NULL) < end;) {
		if (epoll_wait(ep, &ev, 1, 100) != 1)
			continue;
		conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		if (conn >= 0) {
			served++;
			close(conn);
		}
	}
	CHECK(!sched_getaffinity(0, sizeof(after), &after));
	CHECK(CPU_EQUAL(&before, &after), ": was bound (served %d)",
	      served);
	return 0;
}

/* Hand an attached listener to the victims, and connect to it. */
static int attacker(const int *via, int victims, uid_t uid)
{
	time_t end;
	int fd, n = 0;

	if (uid)
		CHECK(!become(uid));
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	fd = attached_listener(AF_INET);
	CHECK(fd >= 0);
	for (int i = 0; i < victims; i++)
		CHECK(!send_fd(via[i], fd));
	for (end = time(NULL) + 2; time(NULL) < end; n++) {
		int c;

		/* From every CPU, so that every victim is woken. */
		CHECK(!bind_to_cpu(n % sysconf(_SC_NPROCESSORS_ONLN)));
		c = connect_to(AF_INET, port_of(fd));
		CHECK(c >= 0);
		close(c);
		usleep(2000);
	}
	return 0;
}

/* passed_listener OWNER UID: two tasks of user UID poll a listener that OWNER attached. */
static int passed_listener(int owner, int uid)
{
	int pair[2][2], via[2], status, failed = 0;

	fflush(NULL);
	for (int i = 0; i < 2; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, pair[i]));
		via[i] = pair[i][0];
		if (!fork())
			_exit(victim(pair[i][1], uid));
	}
	if (!fork())
		_exit(attacker(via, 2, owner));
	while (wait(&status) > 0)
		failed |= status;
	return failed != 0;
}

/* own_listener: as nobody, own workers; prints the port. For the tests of views. */
static int own_listener(int workers, int unused)
{
	struct poller p = { attached_listener(AF_INET) };
	int cpus = sysconf(_SC_NPROCESSORS_ONLN);

	(void)unused;
	CHECK(p.fd >= 0);
	for (int i = 0; i < workers; i++) {
		int ready[2];
		char c;

		CHECK(!pipe(ready));
		if (!fork()) {
			end_with_parent();
			if (fs_spawn(p.fd, i % cpus) || write(ready[1], "x", 1) != 1)
				_exit(1);
			polls(&p);
		}
		close(ready[1]);
		CHECK(read(ready[0], &c, 1) == 1);
		close(ready[0]);
	}
	printf("%u\n", port_of(p.fd));
	fflush(stdout);
	until_input_ends();
	return 0;
}

/* As RestrictAddressFamilies= or a container's profile: socket() and accept4() are forbidden. */
static int forbid_sockets(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_accept4, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { sizeof(code) / sizeof(*code), code };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int filtered(int a, int b)
{
	struct fsocket_ioctl_arg make = {
		.op.socket_op = { .family = AF_INET, .type = SOCK_STREAM },
	};
	int fd = bound_socket(AF_INET, SOCK_NONBLOCK), c;
	struct fsocket_ioctl_arg take = { .fd = fd };

	(void)a;
	(void)b;
	CHECK(ioctl(dev, FSOCKET_IOC_SOCKET, &make) >= 0);
	CHECK(!forbid_sockets());
	CHECK_FAILS(socket(AF_INET, SOCK_STREAM, 0), EPERM);
	CHECK_FAILS(ioctl(dev, FSOCKET_IOC_SOCKET, &make), EPERM);
	CHECK(!fs_listen(fd));
	c = listener_rows(port_of(fd), "-", 0);
	CHECK_FAILS(accept4(fd, NULL, NULL, 0), EPERM);
	CHECK_FAILS(ioctl(dev, FSOCKET_IOC_ACCEPT, &take), EPERM);
	CHECK(c == 1);
	puts("forbidden");
	return 0;
}

#define CASE(name) { #name, name }

static const struct {
	const char *name;
	int (*run)(int a, int b);
} cases[] = {
	CASE(crowd), CASE(parade), CASE(fill), CASE(rounds),
	CASE(passed_listener), CASE(own_listener), CASE(filtered),
};

int main(int argc, char **argv)
{
	int a = argc > 2 ? atoi(argv[2]) : 0, b = argc > 3 ? atoi(argv[3]) : 0;

	signal(SIGPIPE, SIG_IGN);
	/* Only root may; a user has what the test gave. */
	raise_limit();
	dev = open(DEVICE, O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		perror(DEVICE);
		return 1;
	}
	for (unsigned int i = 0; argc > 1 && i < sizeof(cases) / sizeof(cases[0]); i++)
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run(a, b);
	fprintf(stderr, "usage: safety_probe CASE [NUMBER [NUMBER]]\n");
	return 2;
}
