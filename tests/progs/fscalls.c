// SPDX-License-Identifier: GPL-2.0
/*
 * fscalls: a transcript of what system calls on a listener answer. The one of
 * an attached listener must be the same as that of an ordinary one.
 *
 * Every scene has a new listener with two workers, so that Fastsocket does not
 * leave it to the plain kernel: the calling process, pinned to CPU 0, and a
 * helper pinned to CPU 1, which polls and never accepts. Clients run on CPU 0.
 * With -e the listener is in an epoll of the calling process all the time, as
 * those of most servers are.
 */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <linux/sockios.h>

#include "fsutil.h"

static struct {
	int port;
	bool attach, v6, epoll;
} cfg;

static int lfd;			/* the listener of the scene */
static pid_t helper;
static int server_epoll = -1;

/* "what: 0" or "what: -EINVAL" */
static int say(const char *what, int ret)
{
	int err = errno;

	if (ret < 0)
		printf("\t%s: -%s\n", what, strerrorname_np(err));
	else
		printf("\t%s: %d\n", what, ret);
	return ret;
}

/* for calls that return a new descriptor: its number says nothing */
static int say_fd(const char *what, int fd)
{
	say(what, fd < 0 ? -1 : 0);
	return fd;
}

/* "what: in time" when it took that long, give or take what emulation costs */
static void say_time(const char *what, double begin, double wanted)
{
	double ms = now_ms() - begin;

	if (ms >= wanted - 5 && ms <= wanted + 1500)
		printf("\t%s: in time\n", what);
	else
		printf("\t%s: after %.0f ms, expected %.0f\n", what, ms, wanted);
}

/* --- the listener, its helper, clients --- */

static socklen_t server_address(struct sockaddr_storage *ss, bool any)
{
	if (cfg.v6)
		return make_address(ss, any ? "::" : "::1", cfg.port);
	return make_address(ss, any ? "0.0.0.0" : "127.0.0.1", cfg.port);
}

static int bound_socket(void)
{
	struct sockaddr_storage ss;
	socklen_t len = server_address(&ss, true);
	int on = 1, fd;

	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind");
	return fd;
}

static void set_nonblock(int fd, bool on)
{
	if (fcntl(fd, F_SETFL, on ? O_NONBLOCK : 0))
		die("F_SETFL");
}

static void help(void)
{
	struct pollfd pfd = { .fd = lfd, .events = POLLIN };

	pin_to(1);
	for (;;)
		if (poll(&pfd, 1, -1) != 0)
			usleep(1000);
}

static bool asleep(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d %*s %c", &state) != 1)
			state = 0;
		fclose(f);
	}
	return state == 'S';
}

/* poll with a timeout, and let Fastsocket know this task as a worker */
static void be_worker(void)
{
	struct pollfd pfd = { .fd = lfd, .events = POLLIN };

	poll(&pfd, 1, 5);
}

static void start_helper(void)
{
	fflush(stdout);
	helper = fork();
	if (helper < 0)
		die("fork");
	if (!helper)
		help();
	while (!asleep(helper))
		usleep(1000);
}

static void end_helper(void)
{
	kill(helper, SIGKILL);
	waitpid(helper, NULL, 0);
	helper = 0;
}

static void open_listener(int backlog)
{
	lfd = bound_socket();
	set_nonblock(lfd, true);
	if (listen_either(lfd, backlog, cfg.attach))
		die("listen");
	start_helper();
	if (cfg.epoll) {
		struct epoll_event ev = { .events = EPOLLIN };

		server_epoll = epoll_create1(EPOLL_CLOEXEC);
		if (epoll_ctl(server_epoll, EPOLL_CTL_ADD, lfd, &ev))
			die("EPOLL_CTL_ADD");
	}
	be_worker();
	be_worker();
}

static int start_client(void)
{
	struct sockaddr_storage ss;
	socklen_t len = server_address(&ss, false);
	struct timeval limit = { 3, 0 };
	int fd;

	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&ss, len)) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/*
 * For connect() the connection exists before the listener has the last ACK,
 * which softirq may leave to its thread.
 */
static int client(void)
{
	int fd = start_client();

	if (fd < 0)
		die("connect");
	usleep(5000);
	return fd;
}

/* what a client sees that waits for data */
static void say_client(const char *what, int fd)
{
	char c;

	say(what, recv(fd, &c, 1, 0));
}

static int revents(int fd, int timeout)
{
	struct pollfd pfd = {
		.fd = fd,
		.events = POLLIN | POLLOUT | POLLPRI | POLLRDHUP | POLLRDNORM | POLLWRNORM,
	};

	if (poll(&pfd, 1, timeout) < 0)
		return -1;
	return pfd.revents;
}

static void say_revents(const char *what)
{
	int r = revents(lfd, 10);

	printf("\t%s: revents %x\n", what, r);
}

/* accept, whatever the scene; complains when there is none within a second */
static int take(const char *what)
{
	int fd = -1, tries;

	for (tries = 0; fd < 0 && tries < 200; tries++) {
		fd = accept(lfd, NULL, NULL);
		if (fd < 0 && errno == EAGAIN)
			revents(lfd, 5);
	}
	return say_fd(what, fd);
}

/* --- scenes --- */

static void accept_arguments(void)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int c[7], i, fd;

	say("nothing there", accept(lfd, NULL, NULL));
	say("unknown flag", accept4(lfd, NULL, NULL, 0x1));
	for (i = 0; i < 7; i++)
		c[i] = client();
	be_worker();
	say("unknown flag, one there", accept4(lfd, NULL, NULL, 0x1));

	len = sizeof(ss);
	close(say_fd("address", accept(lfd, (struct sockaddr *)&ss, &len)));
	printf("\taddress has length %u family %d\n", len, ss.ss_family);
	len = 4;
	close(say_fd("little room", accept(lfd, (struct sockaddr *)&ss, &len)));
	printf("\taddress has length %u\n", len);
	len = 0;
	close(say_fd("no room", accept(lfd, (struct sockaddr *)&ss, &len)));
	printf("\taddress has length %u\n", len);

	len = -1;
	say("negative room", accept(lfd, (struct sockaddr *)&ss, &len));
	len = sizeof(ss);
	say("bad address", accept(lfd, (struct sockaddr *)8, &len));
	say("bad length", accept(lfd, (struct sockaddr *)&ss, (socklen_t *)8));
	for (i = 3; i < 6; i++)
		say_client("client of a failed accept", c[i]);

	fd = say_fd("the one after", accept(lfd, NULL, NULL));
	say("and none", accept(lfd, NULL, NULL));
	for (i = 0; i < 7; i++)
		close(c[i]);
	close(fd);
}

static void accept_flags(void)
{
	static const int flags[] = { 0, SOCK_NONBLOCK, SOCK_CLOEXEC,
				     SOCK_NONBLOCK | SOCK_CLOEXEC };
	size_t i;
	int c, fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		c = client();
		be_worker();
		fd = accept4(lfd, NULL, NULL, flags[i]);
		printf("\tflags %x: F_GETFL %x F_GETFD %x\n", flags[i],
		       fcntl(fd, F_GETFL), fcntl(fd, F_GETFD));
		close(fd);
		close(c);
	}
}

static void accept_order(void)
{
	struct sockaddr_in6 from, peer;
	int c[5], i, fd;
	socklen_t len;

	for (i = 0; i < 5; i++)
		c[i] = client();
	be_worker();
	for (i = 0; i < 5; i++) {
		len = sizeof(from);
		getsockname(c[i], (struct sockaddr *)&from, &len);
		len = sizeof(peer);
		fd = accept(lfd, (struct sockaddr *)&peer, &len);
		say("the eldest first", fd < 0 ? -1 : from.sin6_port == peer.sin6_port);
		close(fd);
		close(c[i]);
	}
}

static void accept_full_table(void)
{
	struct rlimit old, none = { 0, 0 };
	int c = client();

	be_worker();
	getrlimit(RLIMIT_NOFILE, &old);
	none.rlim_max = old.rlim_max;
	setrlimit(RLIMIT_NOFILE, &none);
	say("no descriptor left", accept(lfd, NULL, NULL));
	setrlimit(RLIMIT_NOFILE, &old);
	close(take("then there is"));
	close(c);
}

static void accept_dead_client(void)
{
	struct linger now = { 1, 0 };
	int c = client(), fd;
	char buf[4];

	setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(c);
	say_revents("the client has reset");
	fd = take("accept");
	say("recv", recv(fd, buf, sizeof(buf), 0));
	close(fd);

	c = client();
	say("send", send(c, "abc", 3, 0));
	close(c);
	say_revents("the client has sent and closed");
	fd = take("accept");
	say("recv", recv(fd, buf, sizeof(buf), 0));
	say("recv", recv(fd, buf, sizeof(buf), 0));
	close(fd);
}

static void poll_events(void)
{
	fd_set in, out, except;
	struct timeval tv = { 0, 20000 };
	double begin;
	int c;

	say_revents("empty");
	begin = now_ms();
	say("poll for 300 ms", revents(lfd, 300));
	say_time("it returned", begin, 300);
	c = client();
	say_revents("one pending");
	say_revents("still pending");
	FD_ZERO(&in);
	FD_SET(lfd, &in);
	out = in;
	except = in;
	say("select", select(lfd + 1, &in, &out, &except, &tv));
	printf("\tselect: in %d out %d except %d\n", !!FD_ISSET(lfd, &in),
	       !!FD_ISSET(lfd, &out), !!FD_ISSET(lfd, &except));
	say("poll without waiting", revents(lfd, 0));
	close(take("accept"));
	say("poll without waiting", revents(lfd, 0));
	say_revents("empty again");
	close(c);
}

static void epoll_events(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0), outer = epoll_create1(0), c, d;

	say("add", epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev));
	say("add twice", epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev));
	say("nested", epoll_ctl(outer, EPOLL_CTL_ADD, ep, &ev));
	say("empty", epoll_wait(ep, &ev, 1, 10));
	c = client();
	say("level: one pending", epoll_wait(ep, &ev, 1, 1000));
	printf("\tevents %x\n", ev.events);
	say("level: still pending", epoll_wait(ep, &ev, 1, 1000));
	say("outer", epoll_wait(outer, &ev, 1, 1000));
	close(take("accept"));
	say("level: empty", epoll_wait(ep, &ev, 1, 10));
	close(c);

	ev.events = EPOLLIN | EPOLLET;
	say("edge", epoll_ctl(ep, EPOLL_CTL_MOD, lfd, &ev));
	c = client();
	say("edge: one pending", epoll_wait(ep, &ev, 1, 1000));
	d = client();
	say("edge: another", epoll_wait(ep, &ev, 1, 1000));
	close(take("accept"));
	close(take("accept"));
	say("edge: empty", epoll_wait(ep, &ev, 1, 10));
	close(c);
	close(d);

	ev.events = EPOLLIN | EPOLLONESHOT;
	say("oneshot", epoll_ctl(ep, EPOLL_CTL_MOD, lfd, &ev));
	c = client();
	say("oneshot: one pending", epoll_wait(ep, &ev, 1, 1000));
	say("oneshot: not armed", epoll_wait(ep, &ev, 1, 10));
	ev.events = EPOLLIN | EPOLLONESHOT;
	say("oneshot: arm", epoll_ctl(ep, EPOLL_CTL_MOD, lfd, &ev));
	say("oneshot: still pending", epoll_wait(ep, &ev, 1, 1000));
	say("delete", epoll_ctl(ep, EPOLL_CTL_DEL, lfd, &ev));
	say("deleted", epoll_wait(ep, &ev, 1, 10));
	ev.events = EPOLLIN | EPOLLEXCLUSIVE;
	say("exclusive", epoll_ctl(ep, EPOLL_CTL_ADD, lfd, &ev));
	say("exclusive: pending before", epoll_wait(ep, &ev, 1, 1000));
	ev.events = EPOLLIN;
	say("exclusive: modify", epoll_ctl(ep, EPOLL_CTL_MOD, lfd, &ev));
	close(take("accept"));
	say("exclusive: empty", epoll_wait(ep, &ev, 1, 10));
	close(c);
	close(ep);
	close(outer);
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void alarm_in(unsigned int ms, int flags)
{
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = flags };
	struct itimerval it = { { 0, 0 }, { 0, ms * 1000 } };

	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &it, NULL);
}

/* a child that does something to this process or its listener a little later */
static pid_t later(unsigned int ms, void (*act)(pid_t parent))
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid)
		return pid;
	msleep(ms);
	act(parent);
	_exit(0);
}

static void connect_and_wait(pid_t parent)
{
	char c;

	(void)parent;
	recv(client(), &c, 1, 0);
}

static void shut_listener(pid_t parent)
{
	(void)parent;
	shutdown(lfd, SHUT_RDWR);
}

static void stop_and_continue(pid_t parent)
{
	kill(parent, SIGSTOP);
	msleep(50);
	kill(parent, SIGCONT);
	msleep(50);
	connect_and_wait(parent);
}

static void blocking_accept(void)
{
	struct timeval tv = { 0, 300000 }, none = { 0, 0 };
	double begin;
	pid_t child;

	set_nonblock(lfd, false);
	setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	begin = now_ms();
	say("SO_RCVTIMEO", accept(lfd, NULL, NULL));
	say_time("it returned", begin, 300);
	begin = now_ms();
	alarm_in(100, SA_RESTART);
	say("SO_RCVTIMEO, signal with SA_RESTART", accept(lfd, NULL, NULL));
	say_time("it returned", begin, 100);
	begin = now_ms();
	child = later(100, connect_and_wait);
	close(say_fd("SO_RCVTIMEO, connection in time", accept(lfd, NULL, NULL)));
	say_time("it returned", begin, 100);
	waitpid(child, NULL, 0);
	setsockopt(lfd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));

	begin = now_ms();
	alarm_in(200, 0);
	say("signal", accept(lfd, NULL, NULL));
	say_time("it returned", begin, 200);
	begin = now_ms();
	alarm_in(100, SA_RESTART);
	child = later(400, connect_and_wait);
	close(say_fd("signal with SA_RESTART, then a connection", accept(lfd, NULL, NULL)));
	say_time("it returned", begin, 400);
	waitpid(child, NULL, 0);
	begin = now_ms();
	child = later(100, stop_and_continue);
	close(say_fd("stopped, continued, then a connection", accept(lfd, NULL, NULL)));
	say_time("it returned", begin, 200);
	waitpid(child, NULL, 0);

	child = client();
	begin = now_ms();
	close(say_fd("one there already", accept(lfd, NULL, NULL)));
	say_time("it returned", begin, 0);
	close(child);
	begin = now_ms();
	child = later(100, shut_listener);
	say("shut down meanwhile", accept(lfd, NULL, NULL));
	say_time("it returned", begin, 100);
	waitpid(child, NULL, 0);
	say("once more", accept(lfd, NULL, NULL));
}

static void interrupted_poll(void)
{
	double begin = now_ms();
	pid_t child;

	alarm_in(100, SA_RESTART);
	say("signal", revents(lfd, 2000));
	say_time("it returned", begin, 100);
	begin = now_ms();
	child = later(100, connect_and_wait);
	printf("\tconnection: revents %x\n", revents(lfd, 2000));
	say_time("it returned", begin, 100);
	close(take("accept"));
	waitpid(child, NULL, 0);
	begin = now_ms();
	child = later(100, shut_listener);
	printf("\tshut down: revents %x\n", revents(lfd, 2000));
	say_time("it returned", begin, 100);
	waitpid(child, NULL, 0);
}

static void say_int_option(const char *what, int level, int name)
{
	socklen_t len = sizeof(int);
	int val = 0;

	if (getsockopt(lfd, level, name, &val, &len))
		say(what, -1);
	else
		printf("\t%s: %d\n", what, val);
}

static void say_listener_info(const char *what)
{
	struct tcp_info ti = { 0 };
	socklen_t len = sizeof(ti);

	if (getsockopt(lfd, IPPROTO_TCP, TCP_INFO, &ti, &len)) {
		say(what, -1);
		return;
	}
	printf("\t%s: state %d pending %u of %u\n", what, ti.tcpi_state,
	       ti.tcpi_unacked, ti.tcpi_sacked);
}

static int listening_entries(void)
{
	char line[512], want[16];
	FILE *f = fopen(cfg.v6 ? "/proc/net/tcp6" : "/proc/net/tcp", "r");
	int n = 0;

	snprintf(want, sizeof(want), ":%04X ", cfg.port);
	while (f && fgets(line, sizeof(line), f)) {
		char *at = strstr(line, want);

		if (at && at < line + 50 && strstr(at, " 0A "))
			n++;
	}
	if (f)
		fclose(f);
	return n;
}

/* what ss -ltn shows */
static void queue_length(void)
{
	int c[3], fd[3], i;

	say_listener_info("empty");
	c[0] = client();
	say_listener_info("one connection");
	for (i = 1; i < 3; i++)
		c[i] = client();
	say_listener_info("three connections");
	fd[0] = take("accept");
	say_listener_info("one accepted");
	say("listen again", listen_either(lfd, 7, cfg.attach));
	say_listener_info("other backlog");
	say("plain listen again", listen(lfd, 9));
	say_listener_info("other backlog");
	fd[1] = take("accept");
	fd[2] = take("accept");
	say_listener_info("all accepted");
	printf("\tlisteners in /proc/net/tcp: %d\n", listening_entries());
	for (i = 0; i < 3; i++) {
		close(fd[i]);
		close(c[i]);
	}
}

static void other_calls(void)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char buf[8];
	int val = 0, c;

	say("send", send(lfd, "x", 1, MSG_NOSIGNAL));
	say("recv", recv(lfd, buf, sizeof(buf), 0));
	say("read", read(lfd, buf, sizeof(buf)));
	say("recv from the error queue", recv(lfd, buf, sizeof(buf), MSG_ERRQUEUE));
	say("getpeername", getpeername(lfd, (struct sockaddr *)&ss, &len));
	len = sizeof(ss);
	say("getsockname", getsockname(lfd, (struct sockaddr *)&ss, &len));
	printf("\tfamily %d port %d length %u\n", ss.ss_family,
	       ntohs(((struct sockaddr_in *)&ss)->sin_port) == cfg.port, len);
	len = server_address(&ss, true);
	say("bind", bind(lfd, (struct sockaddr *)&ss, len));
	len = server_address(&ss, false);
	say("connect", connect(lfd, (struct sockaddr *)&ss, len));
	say("FIONREAD", ioctl(lfd, FIONREAD, &val));
	say("SIOCOUTQ", ioctl(lfd, SIOCOUTQ, &val));
	say("SIOCATMARK", ioctl(lfd, SIOCATMARK, &val));
	say("lseek", lseek(lfd, 0, SEEK_SET));
	say("mmap", mmap(NULL, 4096, PROT_READ, MAP_SHARED, lfd, 0) == MAP_FAILED ? -1 : 0);
	say_int_option("SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN);
	say_int_option("SO_ERROR", SOL_SOCKET, SO_ERROR);
	say_int_option("SO_TYPE", SOL_SOCKET, SO_TYPE);
	say_int_option("SO_PROTOCOL", SOL_SOCKET, SO_PROTOCOL);
	say_int_option("SO_DOMAIN", SOL_SOCKET, SO_DOMAIN);
	say("shutdown, unknown how", shutdown(lfd, 7));
	c = client();
	say("accept on a connection", accept(c, NULL, NULL));
	close(take("and on the listener"));
	close(c);
}

static void shut_down(int how)
{
	int c[2], i;

	for (i = 0; i < 2; i++)
		c[i] = client();
	say("shutdown", shutdown(lfd, how));
	say_revents("after");
	for (i = 0; i < 2; i++) {
		if (how == SHUT_WR)
			close(take("accept of one that was pending"));
		say_client("client that was pending", c[i]);
		close(c[i]);
	}
	say("shutdown again", shutdown(lfd, how));
	if (how == SHUT_WR) {
		c[0] = client();
		close(take("accept"));
		close(c[0]);
		return;
	}
	say("accept", accept(lfd, NULL, NULL));
	say("new client", start_client());
	say_int_option("SO_ACCEPTCONN", SOL_SOCKET, SO_ACCEPTCONN);
	printf("\tlisteners in /proc/net/tcp: %d\n", listening_entries());
	say("listen again", listen_either(lfd, 16, cfg.attach));
	say_revents("after");
	for (i = 0; i < 2; i++) {
		c[i] = client();
		close(take("accept"));
		say_client("client", c[i]);
		close(c[i]);
	}
	say_listener_info("at the end");
}

static void shut_down_read(void)
{
	shut_down(SHUT_RD);
}

static void shut_down_write(void)
{
	shut_down(SHUT_WR);
}

static void shut_down_both(void)
{
	shut_down(SHUT_RDWR);
}

static void close_pending(void)
{
	int c[3], i;

	for (i = 0; i < 3; i++)
		c[i] = client();
	end_helper();
	say("close", close(lfd));
	for (i = 0; i < 3; i++) {
		say_client("client that was pending", c[i]);
		close(c[i]);
	}
	say("new client", start_client());
	lfd = -1;
}

static void disconnect(void)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int c = client();

	say("connect to AF_UNSPEC", connect(lfd, &none, sizeof(none)));
	say_client("client that was pending", c);
	close(c);
	say("accept", accept(lfd, NULL, NULL));
	say("new client", start_client());
	say("listen again", listen_either(lfd, 16, cfg.attach));
	c = client();
	close(take("accept"));
	say_client("client", c);
	close(c);
}

static void duplicates(void)
{
	int c, other = dup(lfd), fd;

	c = client();
	be_worker();
	say("close one of two", close(lfd));
	lfd = other;
	close(take("accept on the other"));
	say_client("client", c);
	close(c);
	c = client();
	fd = take("accept on the other");
	close(c);
	other = fcntl(lfd, F_DUPFD_CLOEXEC, 100);
	say("dup2 over the first", dup2(fd, lfd) == lfd);
	close(fd);
	lfd = other;
	c = client();
	close(take("accept on the third"));
	close(c);
}

/* a child gets the listener through a socket and is the last to have it */
static void receive_and_accept(int from)
{
	char space[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
			      .msg_controllen = sizeof(space) };
	int fd, n = 0;

	close(lfd);
	if (recvmsg(from, &msg, 0) != 1)
		_exit(100);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	set_nonblock(fd, false);
	pin_to(2);
	while (n < 3) {
		int conn = accept(fd, NULL, NULL);

		if (conn < 0)
			_exit(101);
		send(conn, "y", 1, MSG_NOSIGNAL);
		close(conn);
		n++;
	}
	_exit(n);
}

static void pass_on(void)
{
	char space[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec iov = { "x", 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space,
			      .msg_controllen = sizeof(space) };
	struct cmsghdr *cm = CMSG_FIRSTHDR(&msg);
	int pair[2], c[3], i, status = 0;
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("socketpair");
	fflush(stdout);
	child = fork();
	if (!child)
		receive_and_accept(pair[1]);
	c[0] = client();
	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &lfd, sizeof(lfd));
	say("sendmsg", sendmsg(pair[0], &msg, 0));
	end_helper();
	close(lfd);
	lfd = -1;
	for (i = 1; i < 3; i++)
		c[i] = client();
	for (i = 0; i < 3; i++) {
		say_client("client", c[i]);
		close(c[i]);
	}
	waitpid(child, &status, 0);
	printf("\taccepted by the receiver: %d\n", WEXITSTATUS(status));
	close(pair[0]);
	close(pair[1]);
}

static void try_bind(const char *what, int reuse, int reuseport)
{
	struct sockaddr_storage ss;
	socklen_t len = server_address(&ss, true);
	int fd = socket(ss.ss_family, SOCK_STREAM, 0), ret;
	char text[64];

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &reuse, sizeof(reuse));
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &reuseport, sizeof(reuseport));
	ret = bind(fd, (struct sockaddr *)&ss, len);
	snprintf(text, sizeof(text), "%s: bind (%d,%d)", what, reuse, reuseport);
	if (!say(text, ret))
		say("and listen", listen(fd, 1));
	close(fd);
}

static void try_binds(const char *what)
{
	try_bind(what, 0, 0);
	try_bind(what, 1, 0);
	try_bind(what, 0, 1);
	try_bind(what, 1, 1);
}

/* who else gets the port while the listener and its children have it */
static void port_conflicts(void)
{
	int c = client(), fd;
	char byte;

	fd = take("accept");
	try_binds("listening");
	end_helper();
	close(lfd);
	lfd = -1;
	try_binds("with a connection");
	say("the connection lives", send(fd, "z", 1, MSG_NOSIGNAL));
	say("its client reads", recv(c, &byte, 1, 0));
	/* the server closes first: TIME_WAIT is on the port */
	close(fd);
	close(c);
	try_binds("in TIME_WAIT");
}

static void reuseport_later(void)
{
	int on = 1;

	say("SO_REUSEPORT on the listener", setsockopt(lfd, SOL_SOCKET, SO_REUSEPORT, &on,
						       sizeof(on)));
	try_binds("then");
}

static void backlog_zero(void)
{
	int c, d;

	say("listen with backlog 0", listen_either(lfd, 0, cfg.attach));
	c = client();
	say_listener_info("one connection");
	close(take("accept"));
	d = client();
	close(take("accept"));
	say("listen with backlog -1", listen_either(lfd, -1, cfg.attach));
	say_listener_info("then");
	close(c);
	close(d);
}

static const struct {
	const char *name;
	void (*play)(void);
} scenes[] = {
	{ "arguments of accept", accept_arguments },
	{ "flags of accept4", accept_flags },
	{ "order of accepts", accept_order },
	{ "accept with a full descriptor table", accept_full_table },
	{ "accept of a connection that has ended", accept_dead_client },
	{ "poll and select", poll_events },
	{ "epoll", epoll_events },
	{ "blocking accept", blocking_accept },
	{ "poll, interrupted", interrupted_poll },
	{ "length of the queue", queue_length },
	{ "other calls", other_calls },
	{ "shutdown for reading", shut_down_read },
	{ "shutdown for writing", shut_down_write },
	{ "shutdown", shut_down_both },
	{ "close with connections pending", close_pending },
	{ "disconnect", disconnect },
	{ "dup", duplicates },
	{ "passing the listener on", pass_on },
	{ "bind conflicts", port_conflicts },
	{ "SO_REUSEPORT set late", reuseport_later },
	{ "backlog 0", backlog_zero },
};

/* a port for every scene: TIME_WAIT of one must not meet the next */
static void play(size_t i)
{
	printf("%s\n", scenes[i].name);
	open_listener(16);
	scenes[i].play();
	if (helper)
		end_helper();
	if (lfd >= 0)
		close(lfd);
	if (server_epoll >= 0)
		close(server_epoll);
	cfg.port++;
}

int main(int argc, char **argv)
{
	const char *only = NULL, *except = "";
	size_t i;
	int o;

	while ((o = getopt(argc, argv, "p:f6es:x:")) != -1)
		switch (o) {
		case 'p': cfg.port = atoi(optarg); break;
		case 'f': cfg.attach = true; break;
		case '6': cfg.v6 = true; break;
		case 'e': cfg.epoll = true; break;
		case 's': only = optarg; break;
		case 'x': except = optarg; break;
		default: optind = argc + 1;
		}
	if (optind != argc || !cfg.port) {
		fprintf(stderr,
			"usage: fscalls -p FIRST_PORT [-f] [-6] [-e] [-s SCENE | -x SCENE]\n"
			"  -f  attach to Fastsocket   -6  IPv6\n"
			"  -e  keep the listener in an epoll   -s  this scene only   -x  all but this\n");
		return 2;
	}
	pin_to(0);
	for (i = 0; i < ARRAY_SIZE(scenes); i++)
		if (strcmp(except, scenes[i].name) &&
		    (!only || !strcmp(only, scenes[i].name)))
			play(i);
	return 0;
}
