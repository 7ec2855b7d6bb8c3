// SPDX-License-Identifier: GPL-2.0
/*
 * httpload: one HTTP request per connection, and an outcome for every single
 * connection. ab and wrk do not tell which failures belong together,
 * and open more connections than they use; hey costs too much under emulation.
 *
 * usage: httpload [-n REQUESTS] [-c CONCURRENCY] [-p PAUSE] [-t SECONDS] [-s STOPFILE]
 *                 ADDRESS PORT PATH
 *
 * With -s it goes on, whatever -n says, until STOPFILE exists; with -p each of
 * the CONCURRENCY connections is followed by a pause of so many milliseconds.
 * Prints "started" and, in the end, one line:
 *   sent= answered= failed= refused= reset= timeout= short= status= slowest_ms=
 * A connection is answered when status 200, a body of the announced length and
 * the end of the connection have come.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS	1024
#define HEAD		4096

enum outcome { ANSWERED, REFUSED, RESET, TIMEOUT, SHORT, STATUS, OUTCOMES };

struct conn {
	double start;
	double next;		/* not before: the pause of -p */
	int connected;
	size_t got;		/* bytes received; the first HEAD - 1 are kept */
	char head[HEAD];
};

static struct conn conns[MAX_CONNS];
static struct pollfd fds[MAX_CONNS];
static unsigned long counts[OUTCOMES], sent;
static double slowest;
static struct sockaddr_storage addr;
static socklen_t addr_len;
static char request[1024];
static unsigned long requests = 1;
static int concurrency = 1, timeout = 20, pause_ms;
static const char *stop_file;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static void set_address(const char *host, int port)
{
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&addr;
	struct sockaddr_in *in = (struct sockaddr_in *)&addr;

	if (inet_pton(AF_INET, host, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		addr_len = sizeof(*in);
	} else if (inet_pton(AF_INET6, host, &in6->sin6_addr) == 1) {
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		addr_len = sizeof(*in6);
	} else {
		fprintf(stderr, "httpload: bad address %s\n", host);
		exit(2);
	}
}

static int more_to_send(void)
{
	return stop_file ? access(stop_file, F_OK) != 0 : sent < requests;
}

static void finish(int i, enum outcome how)
{
	double end = now(), took = end - conns[i].start;

	conns[i].next = end + pause_ms / 1e3;
	counts[how]++;
	if (took > slowest)
		slowest = took;
	close(fds[i].fd);
	fds[i].fd = -1;
}

static enum outcome outcome_of(int err)
{
	return err == ECONNREFUSED ? REFUSED : err == ETIMEDOUT ? TIMEOUT : RESET;
}

static void begin(int i)
{
	struct conn *c = &conns[i];

	c->start = now();
	c->connected = 0;
	c->got = 0;
	sent++;
	fds[i].fd = socket(addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (fds[i].fd < 0) {
		perror("httpload: socket");
		exit(2);
	}
	fds[i].events = POLLOUT;
	if (connect(fds[i].fd, (struct sockaddr *)&addr, addr_len) < 0 &&
	    errno != EINPROGRESS)
		finish(i, outcome_of(errno));
}

/* The server has closed: is what came a whole reply? */
static enum outcome judge(struct conn *c)
{
	size_t kept = c->got < HEAD - 1 ? c->got : HEAD - 1;
	char *end, *length;

	c->head[kept] = 0;
	end = strstr(c->head, "\r\n\r\n");
	if (!end)
		return SHORT;
	if (strncmp(c->head, "HTTP/1.", 7) || strncmp(c->head + 8, " 200", 4))
		return STATUS;
	length = strcasestr(c->head, "\r\nContent-Length:");
	if (!length || length > end)
		return SHORT;
	return strtoul(length + 17, NULL, 10) == c->got - (end + 4 - c->head) ?
		ANSWERED : SHORT;
}

static void send_request(int i)
{
	socklen_t len = sizeof(int);
	int err = 0;

	getsockopt(fds[i].fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (!err && send(fds[i].fd, request, strlen(request), MSG_NOSIGNAL) < 0)
		err = errno;
	if (err) {
		finish(i, outcome_of(err));
		return;
	}
	conns[i].connected = 1;
	fds[i].events = POLLIN;
}

static void receive(int i)
{
	struct conn *c = &conns[i];
	static char rest[65536];
	ssize_t n;

	for (;;) {
		if (c->got < HEAD - 1)
			n = recv(fds[i].fd, c->head + c->got, HEAD - 1 - c->got, 0);
		else
			n = recv(fds[i].fd, rest, sizeof(rest), 0);
		if (n <= 0)
			break;
		c->got += n;
	}
	if (n == 0)
		finish(i, judge(c));
	else if (errno != EAGAIN)
		finish(i, outcome_of(errno));
}

static void serve(void)
{
	int i, open;

	for (;;) {
		open = 0;
		for (i = 0; i < concurrency; i++) {
			if (fds[i].fd < 0 && now() >= conns[i].next && more_to_send())
				begin(i);
			if (fds[i].fd >= 0)
				open++;
		}
		if (!open && !more_to_send())
			return;
		poll(fds, concurrency, open == concurrency ? 100 : 1 + pause_ms / 4);
		for (i = 0; i < concurrency; i++) {
			if (fds[i].fd < 0)
				continue;
			if (fds[i].revents && !conns[i].connected)
				send_request(i);
			else if (fds[i].revents)
				receive(i);
			if (fds[i].fd >= 0 && now() - conns[i].start > timeout)
				finish(i, TIMEOUT);
		}
	}
}

int main(int argc, char **argv)
{
	unsigned long failed = 0;
	int o, i;

	while ((o = getopt(argc, argv, "n:c:p:t:s:")) != -1) {
		switch (o) {
		case 'n':
			requests = strtoul(optarg, NULL, 10);
			break;
		case 'c':
			concurrency = atoi(optarg);
			break;
		case 'p':
			pause_ms = atoi(optarg);
			break;
		case 't':
			timeout = atoi(optarg);
			break;
		case 's':
			stop_file = optarg;
			break;
		default:
			return 2;
		}
	}
	if (argc - optind != 3 || concurrency < 1 || concurrency > MAX_CONNS)
		return 2;
	set_address(argv[optind], atoi(argv[optind + 1]));
	snprintf(request, sizeof(request),
		 "GET %s HTTP/1.0\r\nHost: test\r\nConnection: close\r\n\r\n",
		 argv[optind + 2]);
	printf("started\n");
	fflush(stdout);
	for (i = 0; i < concurrency; i++)
		fds[i].fd = -1;
	serve();
	for (i = ANSWERED + 1; i < OUTCOMES; i++)
		failed += counts[i];
	printf("sent=%lu answered=%lu failed=%lu refused=%lu reset=%lu timeout=%lu short=%lu status=%lu slowest_ms=%.0f\n",
	       sent, counts[ANSWERED], failed, counts[REFUSED], counts[RESET],
	       counts[TIMEOUT], counts[SHORT], counts[STATUS], slowest * 1e3);
	return failed != 0;
}
