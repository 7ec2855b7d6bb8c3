// SPDX-License-Identifier: GPL-2.0
/*
 * fsfuzz: random programs of system calls around /dev/fastsocket and attached
 * listeners.
 *
 * usage: fsfuzz [-d | -c] [-s SEED] [-n PROGRAMS | -i INDEX] [-t SECONDS] [-l SECONDS]
 *               [-v] [-m] [-1]
 *   -d  differential: see fsfuzz_diff.c; otherwise concurrent: see fsfuzz_prog.c
 *   -c  the same with native listeners only, which must never differ
 *   -s  the seed (default: 1); each program derives from it and its index alone
 *   -n  so many programs (default: 100)
 *   -i  this one only
 *   -t  start no program after that many seconds
 *   -l  a program that takes longer hangs, which is a finding (default: 120)
 *   -v  print each call with its result
 *   -m  write the index of each program to the kernel log, as root
 *   -1  stop at the first finding
 *
 * Status 0: no finding; 1: findings, each with how to run its program again.
 */
#include <sys/mman.h>
#include <sys/prctl.h>

#include "fsfuzz.h"

struct shared *shared;
struct options opt = { .seed = 1, .count = 100, .limit = 120 };
unsigned long program_index;

/* Something is not as it should be. May be called by any task of a program. */
void finding(const char *fmt, ...)
{
	char line[1024];
	int n = snprintf(line, sizeof(line), "FINDING in program %lu: ", program_index);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + n, sizeof(line) - n, fmt, ap);
	va_end(ap);
	__atomic_add_fetch(&shared->findings, 1, __ATOMIC_RELAXED);
	printf("%s\n    again: fsfuzz %s-s %lu -i %lu -v\n", line, opt.diff ? "-d " : "",
	       opt.seed, program_index);
	fflush(stdout);
}

const char *error_name(int err)
{
	const char *name = err ? strerrorname_np(err) : "0";

	return name ? name : "?";
}

/* After a crash the log says which program it was. */
static void leave_mark(unsigned long index)
{
	char line[96];
	int fd, n;

	if (!opt.mark)
		return;
	fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = snprintf(line, sizeof(line), "<6>fsfuzz%d %s-s %lu -i %lu\n", (int)sizeof(long) * 8,
		     opt.diff ? "-d " : "", opt.seed, index);
	if (write(fd, line, n) != n)
		opt.mark = false;
	close(fd);
}

static void show_file(pid_t pid, const char *tid, const char *name)
{
	char path[300], text[4096];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/task/%s/%s", pid, tid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n > 0)
		printf("%s: %.*s\n", path, (int)n, text);
}

/* Where is it? The kernel tells root the stack, others the call. */
static void show_hanging(pid_t pid)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	d = opendir(path);
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		show_file(pid, e->d_name, "syscall");
		show_file(pid, e->d_name, "stack");
	}
	if (d)
		closedir(d);
	fflush(stdout);
}

/* Wait for a program's process, which leads a process group. False: it hangs. */
static bool wait_for(pid_t pid, int *status)
{
	time_t end = time(NULL) + opt.limit;
	struct timespec pause = { .tv_nsec = 1000000 };

	while (time(NULL) <= end) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < 20000000)
			pause.tv_nsec *= 2;
	}
	return false;
}

/* What a program left, and as nobody in a namespace of its own cannot mend. */
static void reset_parameter(void)
{
	int fd =
		open("/sys/module/fastsocket/parameters/enable_listen_spawn", O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	if (write(fd, "2", 1) != 1)
		finding("the parameter is not taken back: %s", error_name(errno));
	close(fd);
}

static void run_program(unsigned long index)
{
	int status = 0;
	pid_t pid;

	program_index = index;
	leave_mark(index);
	fflush(stdout);
	pid = fork();
	if (pid < 0) {
		finding("fork: %s", error_name(errno));
		return;
	}
	if (!pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (opt.diff)
			differential_program(index);
		else
			concurrent_program(index);
		fflush(stdout);
		_exit(0);
	}
	if (!wait_for(pid, &status)) {
		finding("it hangs");
		show_hanging(pid);
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
	} else if (status) {
		finding("its process ended with status %#x", status);
	}
	/* What it has forked and not waited for ends with it. */
	kill(-pid, SIGKILL);
	reset_parameter();
}

static int usage(void)
{
	fprintf(stderr, "usage: fsfuzz [-d | -c] [-s SEED] [-n PROGRAMS | -i INDEX]\n");
	fprintf(stderr, "              [-t SECONDS] [-l SECONDS] [-v] [-m] [-1]\n");
	return 2;
}

static int parse(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "dcs:n:i:t:l:vm1")) != -1) {
		switch (o) {
		case 'd': opt.diff = true; break;
		case 'c': opt.diff = opt.control = true; break;
		case 's': opt.seed = strtoul(optarg, NULL, 0); break;
		case 'n': opt.count = strtoul(optarg, NULL, 0); break;
		case 'i': opt.first = strtoul(optarg, NULL, 0); opt.count = 1; break;
		case 't': opt.seconds = strtoul(optarg, NULL, 0); break;
		case 'l': opt.limit = strtoul(optarg, NULL, 0); break;
		case 'v': opt.verbose = true; break;
		case 'm': opt.mark = true; break;
		case '1': opt.stop = true; break;
		default: return -1;
		}
	}
	return optind == argc ? 0 : -1;
}

int main(int argc, char **argv)
{
	time_t start = time(NULL);
	unsigned long n = 0;

	if (parse(argc, argv))
		return usage();
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED || access(DEVICE, R_OK | W_OK)) {
		perror(DEVICE);
		return 2;
	}
	for (; n < opt.count; n++) {
		if (opt.stop && shared->findings)
			break;
		if (opt.seconds && time(NULL) - start >= opt.seconds)
			break;
		run_program(opt.first + n);
	}
	printf("seed %lu: %lu programs, %lu calls (%lu failed), ", opt.seed, n, shared->calls,
	       shared->failed);
	printf("%lu listeners answered (%lu not asked), %lu findings\n", shared->served,
	       shared->skipped, shared->findings);
	return shared->findings != 0;
}
