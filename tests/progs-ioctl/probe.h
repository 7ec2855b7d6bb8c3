/* SPDX-License-Identifier: GPL-2.0 */
/* What the test programs of this directory have in common. */
#ifndef PROBE_H
#define PROBE_H

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/fastsocket.h>

#define DEVICE "/dev/fastsocket"
#define LISTENERS "/proc/net/fsocket_listeners"

/* A check that fails says where and why, and fails the calling case. */
#define CHECK(cond, ...)                                                       \
	do {                                                                   \
		if (!(cond)) {                                                 \
			int check_errno = errno;                               \
			fprintf(stderr, "%s:%d: %s: not true: %s (errno %d)",  \
				__FILE__, __LINE__, __func__, #cond,           \
				check_errno);                                  \
			fprintf(stderr, " " __VA_ARGS__);                      \
			fputc('\n', stderr);                                   \
			return 1;                                              \
		}                                                              \
	} while (0)

#define CHECK_FAILS(call, error)                                               \
	do {                                                                   \
		errno = 0;                                                     \
		long check_ret = (call);                                       \
		CHECK(check_ret == -1 && errno == (error),                     \
		      ": wanted -1 and %s, got %ld", strerrorname_np(error),   \
		      check_ret);                                              \
	} while (0)

struct result {
	long ret;
	int err;
};

#define RESULT(call)                                                           \
	({                                                                     \
		errno = 0;                                                     \
		long result_ret = (call);                                      \
		(struct result){ result_ret, result_ret < 0 ? errno : 0 };     \
	})

static const int families[] = { AF_INET, AF_INET6 };

#define for_each_family(f)                                                     \
	for (int f##_i = 0, f; f##_i < 2 && (f = families[f##_i], true); f##_i++)

static inline socklen_t loopback(int family, unsigned int port,
				 struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->ss_family = family;
	if (family == AF_INET) {
		struct sockaddr_in *in = (void *)sa;

		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (void *)sa;

	in6->sin6_addr = in6addr_loopback;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static inline unsigned int port_of(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (getsockname(fd, (void *)&sa, &len))
		return 0;
	return ntohs(sa.ss_family == AF_INET ?
			     ((struct sockaddr_in *)&sa)->sin_port :
			     ((struct sockaddr_in6 *)&sa)->sin6_port);
}

/* A TCP socket bound to a free port of the loopback address, or -1. */
static inline int bound_socket(int family, int flags)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, 0, &sa);
	int fd = socket(family, SOCK_STREAM | flags, 0);

	if (fd >= 0 && bind(fd, (void *)&sa, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int connect_to(int family, unsigned int port)
{
	struct sockaddr_storage sa;
	socklen_t len = loopback(family, port, &sa);
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd >= 0 && connect(fd, (void *)&sa, len)) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

/* Rows of the listener with this port; cpu and pid select when not NULL and 0. */
static inline int listener_rows(unsigned int port, const char *cpu, long pid)
{
	int port_col = -1, cpu_col = -1, pid_col = -1, rows = 0;
	char line[512];
	FILE *f = fopen(LISTENERS, "re");

	if (!f)
		return -1;
	for (int n = 0; fgets(line, sizeof(line), f); n++) {
		char *save, *w = strtok_r(line, " \t\n", &save);
		bool match = n > 0;

		for (int col = 0; w; col++, w = strtok_r(NULL, " \t\n", &save)) {
			if (n == 0) {
				if (!strcmp(w, "port"))
					port_col = col;
				else if (!strcmp(w, "cpu"))
					cpu_col = col;
				else if (!strcmp(w, "pid"))
					pid_col = col;
			} else if (col == port_col) {
				match = match && strtoul(w, NULL, 10) == port;
			} else if (col == cpu_col) {
				match = match && (!cpu || !strcmp(w, cpu));
			} else if (col == pid_col) {
				match = match && (!pid || strtol(w, NULL, 10) == pid);
			}
		}
		rows += match;
	}
	fclose(f);
	return rows;
}

static inline int clone_rows(unsigned int port)
{
	return listener_rows(port, NULL, 0) - listener_rows(port, "-", 0);
}

static inline int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = -3; /* ".", ".." and the directory itself */

	if (!d)
		return -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Sum of a column of /proc/net/fsocket_stats over all CPUs. */
static inline long stats_column(const char *name)
{
	FILE *f = fopen("/proc/net/fsocket_stats", "re");
	char line[4096];
	int wanted = -1;
	long sum = 0;

	if (!f)
		return -1;
	for (int n = 0; fgets(line, sizeof(line), f); n++) {
		char *save, *w = strtok_r(line, " \t\n", &save);

		for (int col = 0; w; col++, w = strtok_r(NULL, " \t\n", &save)) {
			if (n == 0 && !strcmp(w, name))
				wanted = col;
			else if (n && col == wanted)
				sum += strtol(w, NULL, 10);
		}
	}
	fclose(f);
	return wanted < 0 ? -1 : sum;
}

static inline int bind_to_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* The only CPU on which the calling task may run, or -1 for several. */
static inline int only_cpu(void)
{
	cpu_set_t set;
	int cpu = 0;

	if (sched_getaffinity(0, sizeof(set), &set) || CPU_COUNT(&set) != 1)
		return -1;
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	return cpu;
}

/* Run a check in a process of its own: affinity and workers end with it. */
static inline int in_child(int (*check)(void *arg), void *arg)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (!pid)
		_exit(check(arg));
	return pid < 0 || waitpid(pid, &status, 0) != pid || status;
}

/* What a program can be asked for by name. */
struct probe_case {
	const char *name;
	int (*run)(void);
};

#define CASE(name) { #name, name }

/* Return: the exit status of the case that is named by the only argument, 2 for wrong use. */
static inline int run_case(const struct probe_case *cases, unsigned int n, int argc, char **argv)
{
	for (unsigned int i = 0; argc == 2 && i < n; i++)
		if (!strcmp(argv[1], cases[i].name))
			return cases[i].run();
	fprintf(stderr, "usage: %s CASE\n", program_invocation_short_name);
	return 2;
}

#endif /* PROBE_H */
