// SPDX-License-Identifier: GPL-2.0
/*
 * cpuselect: LD_PRELOAD library that lets a SO_REUSEPORT group choose its member by CPU
 *
 * What a program has to do that is written for locality: after listen() each member of
 * the group attaches the same BPF program, and the kernel asks it for the member that gets
 * a SYN. CPUSELECT_CPUS lists the CPUs of the members in the order in which these call
 * listen(), as 0,2,4. A SYN on another CPU goes to the member that CPU modulo members names.
 * Sockets without SO_REUSEPORT, and those of other address families, are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#define MAX_CPUS	256

static int (*next_listen)(int fd, int backlog);
static struct sock_filter code[1 + 2 * MAX_CPUS + 2];
static struct sock_fprog prog = { .filter = code };

static void emit(struct sock_filter insn)
{
	code[prog.len++] = insn;
}

/* The CPU's number into A; then for each member: is it its CPU? */
__attribute__((constructor))
static void cpuselect_init(void)
{
	const char *list = getenv("CPUSELECT_CPUS");
	int members = 0, used;
	unsigned int cpu;

	*(void **)&next_listen = dlsym(RTLD_NEXT, "listen");
	if (!list)
		return;
	emit((struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_CPU));
	while (members < MAX_CPUS && sscanf(list, "%u%n", &cpu, &used) == 1) {
		emit((struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, cpu, 0, 1));
		emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_K, members));
		members++;
		list += used;
		if (*list == ',')
			list++;
	}
	if (!members || *list) {
		fprintf(stderr, "cpuselect: CPUSELECT_CPUS is no list of CPUs\n");
		exit(127);
	}
	emit((struct sock_filter)BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, members));
	emit((struct sock_filter)BPF_STMT(BPF_RET | BPF_A, 0));
}

static int is_member(int fd)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof(addr), on_len = sizeof(int);
	int on = 0;

	return !getsockname(fd, (struct sockaddr *)&addr, &len) &&
	       (addr.ss_family == AF_INET || addr.ss_family == AF_INET6) &&
	       !getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &on_len) && on;
}

int listen(int fd, int backlog)
{
	int err = next_listen(fd, backlog);

	/* A benchmark must not go on without it. */
	if (!err && prog.len && is_member(fd) &&
	    setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &prog, sizeof(prog))) {
		perror("cpuselect: SO_ATTACH_REUSEPORT_CBPF");
		exit(127);
	}
	return err;
}
