// SPDX-License-Identifier: GPL-2.0
/*
 * cpuwatch: LD_PRELOAD library that says on which CPU connections were
 * accepted and on which CPU their packets had been received.
 *
 * It knows nothing of the module, so that a server is measured the same way
 * with and without it. Results go to the file named by CPUWATCH_FILE, shared
 * by all processes of the server; it holds 64-bit numbers: a matrix
 * [accepting CPU][receiving CPU], then pairs (thread id, accepted or trying to).
 * fs_watch_* in tests/helpers.bash read it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CPUS	64
#define THREADS	512

struct watch {
	_Atomic uint64_t pair[CPUS][CPUS];
	struct {
		_Atomic uint64_t tid;
		_Atomic uint64_t accepted;
	} thread[THREADS];
};

static struct watch *watch;
static int (*next_accept)(int, struct sockaddr *, socklen_t *);
static int (*next_accept4)(int, struct sockaddr *, socklen_t *, int);

__attribute__((constructor))
static void cpuwatch_init(void)
{
	const char *name = getenv("CPUWATCH_FILE");
	void *map;
	int fd;

	*(void **)&next_accept = dlsym(RTLD_NEXT, "accept");
	*(void **)&next_accept4 = dlsym(RTLD_NEXT, "accept4");
	if (!name)
		return;
	fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	if (!ftruncate(fd, sizeof(*watch))) {
		map = mmap(NULL, sizeof(*watch), PROT_READ | PROT_WRITE,
			   MAP_SHARED, fd, 0);
		if (map != MAP_FAILED)
			watch = map;
	}
	close(fd);
}

/* Before accept(), and back if that fails: a thread that is killed in it may have had one. */
static void count_thread(uint64_t n)
{
	uint64_t tid = syscall(SYS_gettid);
	uint64_t empty;
	int i;

	for (i = 0; i < THREADS; i++) {
		empty = 0;
		if (watch->thread[i].tid == tid ||
		    atomic_compare_exchange_strong(&watch->thread[i].tid,
						   &empty, tid) ||
		    empty == tid) {
			watch->thread[i].accepted += n;
			return;
		}
	}
}

static void accepting(void)
{
	if (watch)
		count_thread(1);
}

static int accepted(int fd)
{
	int cpu = sched_getcpu(), incoming = -1, err = errno;
	socklen_t len = sizeof(incoming);

	if (!watch)
		return fd;
	if (fd < 0)
		count_thread(-1);
	else if (!getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &incoming, &len) &&
		 cpu >= 0 && cpu < CPUS && incoming >= 0 && incoming < CPUS)
		watch->pair[cpu][incoming]++;
	errno = err;
	return fd;
}

int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	accepting();
	return accepted(next_accept(fd, addr, len));
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	accepting();
	return accepted(next_accept4(fd, addr, len, flags));
}
