/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the test programs share: errors, clocks, CPU lists, addresses, and the
 * one call that puts a listener under Fastsocket.
 */
#ifndef _FSUTIL_H
#define _FSUTIL_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* what client and server say to each other: one request, one reply */
#define FS_MESSAGE	16

struct fs_request {
	char magic[4];		/* "FSrq" */
	uint32_t seq;
	uint32_t pad[2];
};

struct fs_reply {
	uint32_t worker;
	uint32_t cpu;		/* where the worker accepted */
	uint32_t tag;		/* which server, see fsserve -g */
	uint32_t seq;		/* of the request */
};

struct int_list {
	int n;
	int v[256];
};

void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));
double now_ms(void);
void msleep(unsigned int ms);
int parse_list(struct int_list *list, const char *text);
void pin_to(int cpu);
unsigned long affinity_of(pid_t tid);
socklen_t make_address(struct sockaddr_storage *ss, const char *host, int port);
int listen_attached(int fd, int backlog);
int listen_either(int fd, int backlog, bool attach);

#endif /* _FSUTIL_H */
