// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/fastsocket.h>

#include "fsutil.h"

void die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, err ? ": %s\n" : "\n", strerror(err));
	exit(2);
}

double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e3 + ts.tv_nsec / 1e6;
}

/* sleeps its time out, whatever signals arrive */
void msleep(unsigned int ms)
{
	struct timespec ts = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* "3", "0,2" or "4-7,9"; returns how many */
int parse_list(struct int_list *list, const char *text)
{
	char *end;

	list->n = 0;
	do {
		int from = strtol(text, &end, 10), to = from;

		if (end == text)
			die("not a list of numbers: %s", text);
		if (*end == '-')
			to = strtol(end + 1, &end, 10);
		for (; from <= to && list->n < (int)ARRAY_SIZE(list->v); from++)
			list->v[list->n++] = from;
		text = end + 1;
	} while (*end == ',');
	if (*end)
		die("not a list of numbers: %s", text);
	return list->n;
}

void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("sched_setaffinity to CPU %d", cpu);
}

/* the CPUs a task may run on, the first 64 of them; 0 when the task is gone */
unsigned long affinity_of(pid_t tid)
{
	unsigned long mask = 0;
	cpu_set_t set;
	int cpu;

	if (sched_getaffinity(tid, sizeof(set), &set))
		return 0;
	for (cpu = 0; cpu < 64; cpu++)
		if (CPU_ISSET(cpu, &set))
			mask |= 1UL << cpu;
	return mask;
}

/* a literal address decides the family */
socklen_t make_address(struct sockaddr_storage *ss, const char *host, int port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *in = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		return sizeof(*in6);
	}
	errno = 0;
	die("not an address: %s", host);
}

/* listen(2) and enrolment in one call, as libfsocket.so does it */
int listen_attached(int fd, int backlog)
{
	struct fsocket_ioctl_arg arg = { .fd = fd, .backlog = backlog };
	int dev, ret, err;

	dev = open("/dev/fastsocket", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return -1;
	ret = ioctl(dev, FSOCKET_IOC_LISTEN, &arg);
	err = errno;
	close(dev);
	errno = err;
	return ret;
}

int listen_either(int fd, int backlog, bool attach)
{
	return attach ? listen_attached(fd, backlog) : listen(fd, backlog);
}
