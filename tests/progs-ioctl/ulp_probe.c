// SPDX-License-Identifier: GPL-2.0
/*
 * A program that asks for Fastsocket by TCP_ULP, and says what came of it: ulp_probe CASE.
 */
#include <pthread.h>
#include <sys/time.h>

#include "probe.h"

static int ulp(int fd, const char *name)
{
	return setsockopt(fd, SOL_TCP, TCP_ULP, name, strlen(name));
}

/* The name of the protocol that a socket has, "" for none. */
static const char *ulp_of(int fd)
{
	static char name[17];
	socklen_t len = sizeof(name) - 1;

	memset(name, 0, sizeof(name));
	return getsockopt(fd, SOL_TCP, TCP_ULP, name, &len) ? strerrorname_np(errno) : name;
}

static void say(const char *what, int fd)
{
	printf("%s %s\n", what,
	       listener_rows(port_of(fd), "-", 0) == 1 ? "attached" : "native");
	fflush(stdout);
}

static void tell(const char *what, int ret)
{
	printf("%s %s\n", what, ret ? strerrorname_np(errno) : "ok");
	fflush(stdout);
}

static int before_and_after(void)
{
	for_each_family(family) {
		int fd = bound_socket(family, 0);

		CHECK(!ulp(fd, "fastsocket") && !listen(fd, 8));
		say("before", fd);
		CHECK(!ulp(fd, "fastsocket"));
		close(fd);
		fd = bound_socket(family, 0);
		CHECK(!listen(fd, 8));
		say("not yet", fd);
		CHECK(!ulp(fd, "fastsocket"));
		say("after", fd);
		close(fd);
	}
	return 0;
}

/* What is accepted may have a protocol of its own; the listener shows none. */
static int accepted(void)
{
	for_each_family(family) {
		int fd = bound_socket(family, 0), c, conn;

		CHECK(!ulp(fd, "fastsocket") && !listen(fd, 8));
		c = connect_to(family, port_of(fd));
		conn = accept(fd, NULL, NULL);
		CHECK(c >= 0 && conn >= 0);
		printf("listener '%s' accepted '%s'\n", ulp_of(fd), ulp_of(conn));
		tell("tls", ulp(conn, "tls"));
		printf("then '%s'\n", ulp_of(conn));
		CHECK(write(c, "x", 1) == 1);
		close(c);
		close(conn);
		close(fd);
	}
	return 0;
}

static int refused(void)
{
	int fd = bound_socket(AF_INET, 0), c, conn;

	CHECK(!listen(fd, 8));
	c = connect_to(AF_INET, port_of(fd));
	conn = accept(fd, NULL, NULL);
	CHECK(c >= 0 && conn >= 0);
	tell("connected", ulp(c, "fastsocket"));
	tell("accepted", ulp(conn, "fastsocket"));
	tell("tls is free", ulp(conn, "tls"));
	tell("udp", ulp(socket(AF_INET, SOCK_DGRAM, 0), "fastsocket"));
	tell("other name", ulp(bound_socket(AF_INET, 0), "fastsocke"));
	return 0;
}

/* It waits for the task on the way back to the program, which a signal must not lose. */
static void nothing(int sig)
{
	(void)sig;
}

static int interrupted(void)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } }, never = {};
	int native = 0;

	signal(SIGALRM, nothing);
	CHECK(!setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < 50; i++) {
		int fd = bound_socket(AF_INET, 0);

		CHECK(!ulp(fd, "fastsocket") && !listen(fd, 8));
		native += listener_rows(port_of(fd), "-", 0) != 1;
		close(fd);
	}
	CHECK(!setitimer(ITIMER_REAL, &never, NULL));
	printf("native %d\n", native);
	return 0;
}

static int shared_fd, stop;

static void *listens_and_not(void *arg)
{
	(void)arg;
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		listen(shared_fd, 8);
		shutdown(shared_fd, SHUT_RD);
	}
	return NULL;
}

/* Another thread makes it a listener and none again meanwhile. */
static int raced(void)
{
	pthread_t t;

	for (int i = 0; i < 30; i++) {
		shared_fd = bound_socket(AF_INET, 0);
		stop = 0;
		CHECK(!pthread_create(&t, NULL, listens_and_not, NULL));
		for (int n = 0; n < 20; n++)
			ulp(shared_fd, "fastsocket");
		__atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
		pthread_join(t, NULL);
		close(shared_fd);
	}
	puts("done");
	return 0;
}

static const struct probe_case cases[] = {
	CASE(before_and_after), CASE(accepted), CASE(refused), CASE(interrupted), CASE(raced),
};

int main(int argc, char **argv)
{
	return run_case(cases, sizeof(cases) / sizeof(cases[0]), argc, argv);
}
