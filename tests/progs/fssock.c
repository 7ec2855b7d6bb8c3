// SPDX-License-Identifier: GPL-2.0
/*
 * fssock: sockets as files, of which Fastsocket uses the inodes again
 *
 *   fssock look
 *       What can be seen of sockets of all kinds, as a transcript that must not depend on
 *       Fastsocket. Before each one many sockets of the kind are opened and closed.
 *   fssock churn [-n N] [-w WIDTH] [-c CPU] [-u]
 *       Opens WIDTH sockets (64) and closes them, N times (100). -u: AF_UNIX.
 *   fssock keep [-n N] [-c CPU]
 *       Opens N sockets, says "ready", and keeps them until SIGTERM.
 *   fssock storm [-t MS] [-j THREADS]
 *       Threads open sockets, use them, hand them to each other and close them; no two that are
 *       open may have the same inode number, and each is as new. 0 if nothing was wrong.
 *       SIGTERM ends it before its time.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>

#include "fsutil.h"

static struct {
	int n, width, cpu, ms, threads;
	bool local;
} cfg = { .n = 100, .width = 64, .cpu = -1, .ms = 5000, .threads = 4 };

/* --- look --- */

static const struct kind {
	const char *name;
	int family, type, protocol;
} kinds[] = {
	{ "TCP", AF_INET, SOCK_STREAM, 0 },
	{ "TCP over IPv6", AF_INET6, SOCK_STREAM, 0 },
	{ "UDP", AF_INET, SOCK_DGRAM, 0 },
	{ "raw", AF_INET, SOCK_RAW, IPPROTO_ICMP },
	{ "unix stream", AF_UNIX, SOCK_STREAM, 0 },
	{ "unix datagram", AF_UNIX, SOCK_DGRAM, 0 },
	{ "unix seqpacket", AF_UNIX, SOCK_SEQPACKET, 0 },
	{ "netlink", AF_NETLINK, SOCK_RAW, 0 },
	{ "packet", AF_PACKET, SOCK_DGRAM, 0 },
};

static int open_kind(const struct kind *k)
{
	int fd = socket(k->family, k->type | SOCK_CLOEXEC, k->protocol);

	if (fd < 0)
		die("%s: %s", k->name, strerror(errno));
	return fd;
}

static void churn(const struct kind *k, int n)
{
	int fds[64], i, round;

	for (round = 0; round < n; round++) {
		for (i = 0; i < 64; i++)
			fds[i] = open_kind(k);
		for (i = 0; i < 64; i++)
			close(fds[i]);
	}
}

static void say_result(const char *what, long ret)
{
	printf("  %s: ", what);
	if (ret < 0)
		printf("%s\n", strerrorname_np(errno));
	else
		printf("%ld\n", ret);
}

/* Its numbers are its own; that they are the same wherever they are shown is what we look at. */
static void look_at_names(int fd, const struct stat *st)
{
	char path[64], link[128], expected[128], line[256];
	ssize_t len;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	len = readlink(path, link, sizeof(link) - 1);
	link[len < 0 ? 0 : len] = '\0';
	snprintf(expected, sizeof(expected), "socket:[%lu]", (unsigned long)st->st_ino);
	printf("  link %s\n", strcmp(link, expected) ? link : "ok");
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f)) {
		unsigned long ino;

		if (sscanf(line, "ino: %lu", &ino) == 1)
			printf("  fdinfo ino %s\n", ino == st->st_ino ? "ok" : line);
		else
			printf("  fdinfo %s", line);
	}
	fclose(f);
}

static void look_at_xattrs(int fd)
{
	char list[1024], value[256];
	ssize_t len, at;

	len = flistxattr(fd, list, sizeof(list));
	say_result("listxattr", len);
	for (at = 0; at < len; at += strlen(list + at) + 1)
		printf("    %s\n", list + at);
	len = fgetxattr(fd, "system.sockprotoname", value, sizeof(value));
	say_result("sockprotoname", len);
	if (len > 0)
		printf("    %.*s\n", (int)len, value);
	say_result("security.selinux", fgetxattr(fd, "security.selinux", value, sizeof(value)));
	say_result("security.capability",
		   fgetxattr(fd, "security.capability", value, sizeof(value)));
	say_result("set user.a", fsetxattr(fd, "user.a", "bcd", 3, XATTR_CREATE));
	say_result("get user.a", fgetxattr(fd, "user.a", value, sizeof(value)));
	say_result("set user.b", fsetxattr(fd, "user.b", value, sizeof(value), 0));
	say_result("get user.c", fgetxattr(fd, "user.c", value, sizeof(value)));
	/* As many as it takes: there is a limit, and what it had before us does not count. */
	for (at = 0, len = 0; at < 300 && !len; at++) {
		snprintf(list, sizeof(list), "user.%zd", at);
		len = fsetxattr(fd, list, "x", 1, 0);
	}
	printf("  %zd more of user\n", at);
	say_result("the last", len);
}

static void look_at(const char *name, int fd)
{
	char label[256], path[64];
	socklen_t len = sizeof(label);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct stat st, again;
	int value, watch;

	if (fstat(fd, &st))
		die("fstat: %s", strerror(errno));
	printf("%s\n  mode %o uid %u gid %u nlink %lu size %lu blocks %lu blksize %lu dev %u:%u\n",
	       name, st.st_mode, st.st_uid, st.st_gid, (unsigned long)st.st_nlink,
	       (unsigned long)st.st_size, (unsigned long)st.st_blocks,
	       (unsigned long)st.st_blksize, major(st.st_dev), minor(st.st_dev));
	/* Not its times: those of a socket are whatever was in the memory before. */
	look_at_names(fd, &st);
	look_at_xattrs(fd);
	say_result("flags", fcntl(fd, F_GETFL));
	say_result("poll", poll(&pfd, 1, 0));
	printf("  revents %x\n", pfd.revents);
	say_result("owner", fcntl(fd, F_GETOWN));
	value = 1;
	say_result("FIOASYNC", ioctl(fd, FIOASYNC, &value));
	value = 0;
	say_result("FIOASYNC off", ioctl(fd, FIOASYNC, &value));
	say_result("flock", flock(fd, LOCK_EX | LOCK_NB));
	say_result("fchmod", fchmod(fd, 0700));
	say_result("fchown", fchown(fd, 0, 0));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	watch = inotify_init1(IN_CLOEXEC);
	say_result("inotify", inotify_add_watch(watch, path, IN_ALL_EVENTS) < 0 ? -1 : 0);
	say_result("peer's label", getsockopt(fd, SOL_SOCKET, SO_PEERSEC, label, &len) ? -1 : 0);
	printf("  stat again %s\n", fstat(fd, &again) || again.st_ino != st.st_ino ? "differs" : "ok");
	close(fd);
	close(watch);
}

/* A connection over loopback, accepted: the other way to a socket */
static int accepted_socket(void)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "127.0.0.1", 0);
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), fd;

	if (l < 0 || c < 0 || bind(l, (struct sockaddr *)&ss, len) || listen(l, 8) ||
	    getsockname(l, (struct sockaddr *)&ss, &len) || connect(c, (struct sockaddr *)&ss, len))
		die("no connection: %s", strerror(errno));
	fd = accept4(l, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept: %s", strerror(errno));
	close(l);
	close(c);
	return fd;
}

static int look(void)
{
	size_t i;
	int pair[2], round;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		churn(&kinds[i], 3);
		/* What the first one was changed to must not be seen of the next. */
		for (round = 0; round < 3; round++)
			look_at(kinds[i].name, open_kind(&kinds[i]));
	}
	for (round = 0; round < 3; round++)
		look_at("accepted", accepted_socket());
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	look_at("one of a pair", pair[0]);
	look_at("the other", pair[1]);
	return 0;
}

/* --- churn, keep --- */

static int churn_all(void)
{
	int *fds = calloc(cfg.width, sizeof(*fds)), i, round;

	if (cfg.cpu >= 0)
		pin_to(cfg.cpu);
	for (round = 0; round < cfg.n; round++) {
		for (i = 0; i < cfg.width; i++) {
			fds[i] = socket(cfg.local ? AF_UNIX : AF_INET, SOCK_STREAM, 0);
			if (fds[i] < 0)
				die("socket: %s", strerror(errno));
		}
		for (i = 0; i < cfg.width; i++)
			close(fds[i]);
	}
	printf("sockets=%d\n", cfg.n * cfg.width);
	return 0;
}

static int keep(void)
{
	int i;

	if (cfg.cpu >= 0)
		pin_to(cfg.cpu);
	for (i = 0; i < cfg.n; i++)
		if (socket(AF_UNIX, SOCK_STREAM, 0) < 0)
			die("socket: %s", strerror(errno));
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}

/* --- storm --- */

#define SLOTS 256

/* Sockets that are open, by slot; a slot is taken by exchange. */
static _Atomic int slot_fd[SLOTS];
static _Atomic bool over, ended;
static _Atomic unsigned long opened, wrong;

static void complain(const char *what, long value)
{
	if (wrong++ < 20)
		fprintf(stderr, "wrong: %s (%ld)\n", what, value);
}

/* Is it as a socket is that was just made? */
static void check_new(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLOUT };
	struct sockaddr_storage nobody;
	socklen_t nobody_len = make_address(&nobody, "127.0.0.1", 1);
	int value = 0, owner;
	socklen_t len = sizeof(value);

	/* One that is not connected: hung up. */
	if (poll(&pfd, 1, 0) != 1 || pfd.revents != (POLLOUT | POLLHUP))
		complain("poll of a new socket", pfd.revents);
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &value, &len) || value)
		complain("error of a new socket", value);
	owner = fcntl(fd, F_GETOWN);
	if (owner)
		complain("owner of a new socket", owner);
	if (fcntl(fd, F_GETFL) != O_RDWR)
		complain("flags of a new socket", fcntl(fd, F_GETFL));
	/* Newer kernels do not have that for TCP. */
	value = 0;
	if (!getsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, &len) && value)
		complain("a new socket passes credentials", value);
	if (!connect(fd, (struct sockaddr *)&nobody, nobody_len) || errno != ECONNREFUSED)
		complain("connect() of a new socket", errno);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state >> 11;
}

/* Leave a waiter, a signal's owner and data behind, and close, or let another thread close. */
static void use(int fd, uint64_t random)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	int on = 1;

	if (random & 1) {
		fcntl(fd, F_SETOWN, getpid());
		ioctl(fd, FIOASYNC, &on);
	}
	setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on));
	if (random & 2)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	if (random & 4)
		poll(&pfd, 1, 1);
	if (random & 8)
		send(fd, "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void *stormer(void *arg)
{
	uint64_t state = 0x9e3779b97f4a7c15ull * ((intptr_t)arg + 1);

	while (!over) {
		uint64_t random = next_random(&state);
		int slot = random % SLOTS, fd, pair[2];

		random /= SLOTS;
		if (random & 1) {
			fd = socket(AF_INET, SOCK_STREAM, 0);
			if (fd < 0) {
				complain("socket", errno);
				continue;
			}
			check_new(fd);
			opened++;
		} else {
			if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
				complain("socketpair", errno);
				continue;
			}
			opened += 2;
			use(pair[0], random >> 8);
			close(pair[0]);
			fd = pair[1];
		}
		use(fd, random >> 4);
		/* Who was there before is closed by us, on our CPU. */
		fd = atomic_exchange(&slot_fd[slot], fd);
		if (fd > 0)
			close(fd);
	}
	return NULL;
}

static int by_ino(const void *a, const void *b)
{
	unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

	return (x > y) - (x < y);
}

/* Only while nobody opens and closes */
static void check_unique(void)
{
	unsigned long ino[SLOTS];
	int i, n = 0;

	for (i = 0; i < SLOTS; i++) {
		struct stat st;

		if (slot_fd[i] > 0 && !fstat(slot_fd[i], &st))
			ino[n++] = st.st_ino;
	}
	qsort(ino, n, sizeof(*ino), by_ino);
	for (i = 1; i < n; i++)
		if (ino[i] == ino[i - 1])
			complain("two sockets have the same inode number", ino[i]);
}

static void round_of_storm(int ms)
{
	pthread_t threads[64];
	int i;

	over = false;
	for (i = 0; i < cfg.threads; i++)
		if (pthread_create(&threads[i], NULL, stormer, (void *)(intptr_t)i))
			die("pthread_create");
	msleep(ms);
	over = true;
	for (i = 0; i < cfg.threads; i++)
		pthread_join(threads[i], NULL);
	check_unique();
}

static void end_storm(int sig)
{
	(void)sig;
	ended = true;
}

static int storm(void)
{
	double end = now_ms() + cfg.ms;

	if (cfg.threads < 1 || cfg.threads > 64)
		die("1 to 64 threads");
	signal(SIGIO, SIG_IGN);
	signal(SIGTERM, end_storm);
	while (now_ms() < end && !ended)
		round_of_storm(500);
	printf("opened=%lu wrong=%lu\n", opened, wrong);
	return !!wrong;
}

/* clang-format off */
static const struct {
	const char *name;
	int (*run)(void);
} modes[] = {
	{ "look", look },
	{ "churn", churn_all },
	{ "keep", keep },
	{ "storm", storm },
};

/* clang-format on */

int main(int argc, char **argv)
{
	struct rlimit files = { 65536, 65536 };
	size_t i;
	int c;

	optind = 2;
	while (argc > 1 && (c = getopt(argc, argv, "n:w:c:t:j:u")) != -1) {
		switch (c) {
		case 'n':
			cfg.n = atoi(optarg);
			break;
		case 'w':
			cfg.width = atoi(optarg);
			break;
		case 'c':
			cfg.cpu = atoi(optarg);
			break;
		case 't':
			cfg.ms = atoi(optarg);
			break;
		case 'j':
			cfg.threads = atoi(optarg);
			break;
		case 'u':
			cfg.local = true;
			break;
		default:
			die("unknown option");
		}
	}
	setrlimit(RLIMIT_NOFILE, &files);
	for (i = 0; argc > 1 && i < ARRAY_SIZE(modes); i++)
		if (!strcmp(argv[1], modes[i].name))
			return modes[i].run();
	die("look, churn, keep or storm?");
}
