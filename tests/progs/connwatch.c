// SPDX-License-Identifier: GPL-2.0
/*
 * connwatch.so: preloaded into a proxy, tells where replies to its connections are handled
 *
 * connect() remembers on which CPU it was called, close() compares with
 * SO_INCOMING_CPU, the CPU that has handled the connection's last packet. Knows nothing of
 * the module. CONNWATCH_FILE holds two 64-bit numbers: connections, and those that were local.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 65536

static int (*next_connect)(int fd, const struct sockaddr *addr, socklen_t len);
static int (*next_close)(int fd);
static uint64_t *count;
static int16_t opened_on[MAX_FD];	/* CPU + 1 */

static void __attribute__((constructor)) begin(void)
{
	const char *name = getenv("CONNWATCH_FILE");
	int fd = name ? open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : -1;

	next_connect = dlsym(RTLD_NEXT, "connect");
	next_close = dlsym(RTLD_NEXT, "close");
	if (fd < 0 || ftruncate(fd, 16))
		return;
	count = mmap(NULL, 16, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (count == MAP_FAILED)
		count = NULL;
	next_close(fd);
}

int connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int cpu = sched_getcpu(), err = next_connect(fd, addr, len);

	if (fd >= 0 && fd < MAX_FD && (addr->sa_family == AF_INET || addr->sa_family == AF_INET6) &&
	    (!err || errno == EINPROGRESS))
		opened_on[fd] = cpu + 1;
	return err;
}

int close(int fd)
{
	socklen_t len = sizeof(int);
	int cpu = -1;

	if (fd >= 0 && fd < MAX_FD && opened_on[fd]) {
		if (count && !getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &len)) {
			__atomic_fetch_add(&count[0], 1, __ATOMIC_RELAXED);
			if (cpu == opened_on[fd] - 1)
				__atomic_fetch_add(&count[1], 1, __ATOMIC_RELAXED);
		}
		opened_on[fd] = 0;
	}
	return next_close(fd);
}
