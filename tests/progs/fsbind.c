// SPDX-License-Identifier: GPL-2.0
/*
 * fsbind: who may have a port that a listener and its connections have
 *
 *   fsbind [-c CPU] [-a ADDRESS] [-l CHAIN] [-e CHAIN] [-s N] [-o N]
 *       A transcript that must not depend on Fastsocket. For listeners of all kinds, with
 *       connections in all states: a line for each moment of a chain of events (closed, shut
 *       down, listening again, other options ...), with what sockets of all kinds get from
 *       bind() and listen() at the port, from bind() with port 0, and from connect() when the port
 *       is the only one to choose. One CPU does it all, in a network namespace of its own.
 *       -a, -l: this address, this chain only. -e: at each moment "at CHAIN" goes out and a line
 *       must come in, for that chain only. -s: only each Nth letter, others at each moment;
 *       -o: from the Nth on.
 *
 * A letter of a line is what one socket got: "." all it wanted, "A" the port is in use, "a" it is
 * when it listens, "N" there is no port to choose, "?" something else.
 * On stderr: how many connections had private bind buckets, how many sockets were moved from there.
 */
#include <getopt.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include "fsutil.h"

#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE 51
#endif

#define OTHER_UID 1234
#define MAX_CONNS 64

static struct {
	int cpu, sample, first;
	const char *address, *chain, *events;
} cfg = { .cpu = -1, .sample = 1 };

static const struct address {
	const char *host;
	bool v6only;
} addresses[] = {
	{ "0.0.0.0", false },
	{ "127.0.0.1", false },
	{ "127.0.0.2", false },
	{ "::", false },
	{ "::", true },
	{ "::1", false },
	{ "::ffff:127.0.0.1", false },
	{ "::ffff:0.0.0.0", false },
};

/* What a socket asks for. */
struct want {
	const struct address *at;
	bool reuse, reuseport, device, other_uid;
};

static int next_port = 33000;
static int helper_port;

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		die("option %d of level %d", name, level);
}

static void set_device(int fd, const char *name)
{
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, strlen(name)))
		die("SO_BINDTODEVICE");
}

static int open_socket(const struct want *w)
{
	struct sockaddr_storage ss;
	int fd;

	make_address(&ss, w->at->host, 0);
	if (w->other_uid)
		setfsuid(OTHER_UID);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->other_uid)
		setfsuid(0);
	if (fd < 0)
		die("socket");
	if (ss.ss_family == AF_INET6)
		set(fd, SOL_IPV6, IPV6_V6ONLY, w->at->v6only);
	if (w->reuse)
		set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (w->reuseport)
		set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
	if (w->device)
		set_device(fd, "lo");
	return fd;
}

static int bind_to(int fd, const struct address *at, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, at->host, port);

	return bind(fd, (struct sockaddr *)&ss, len);
}

/* --- probes --- */

static char probe(const struct want *w, int port)
{
	int fd = open_socket(w);
	char c = '.';

	if (bind_to(fd, w->at, port))
		c = errno == EADDRINUSE ? 'A' : '?';
	else if (listen(fd, 1))
		c = errno == EADDRINUSE ? 'a' : '?';
	close(fd);
	return c;
}

/* Which ports are there to choose; kernels without that option find others, natively too. */
static void only_ports(int fd, int low, int high)
{
	unsigned int range = (unsigned int)high << 16 | low;

	if (setsockopt(fd, SOL_IP, IP_LOCAL_PORT_RANGE, &range, sizeof(range)) &&
	    errno != ENOPROTOOPT)
		die("IP_LOCAL_PORT_RANGE");
}

static char probe_any(const struct want *w, int port)
{
	int fd = open_socket(w);
	char c = '.';

	only_ports(fd, port, port);
	if (bind_to(fd, w->at, 0))
		c = errno == EADDRINUSE ? 'N' : '?';
	close(fd);
	return c;
}

static void reset(int fd)
{
	struct linger l = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
	close(fd);
}

static char probe_connect(const struct want *w, int port, int helper)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, "127.0.0.1", helper_port);
	int fd;
	char c = '.';

	if (helper < 0)
		return '-';
	fd = open_socket(w);

	only_ports(fd, port, port);
	if (connect(fd, (struct sockaddr *)&ss, len))
		c = errno == EADDRNOTAVAIL ? 'N' : '?';
	else
		reset(accept(helper, NULL, NULL));
	reset(fd);
	return c;
}

/* Is it this one's turn? */
static bool turn(void)
{
	static unsigned int n;

	return (n++ + cfg.sample - cfg.first % cfg.sample) % cfg.sample == 0;
}

static void look(const char *what, int port, int helper)
{
	char line[1024], *p = line;
	struct want w;
	unsigned int i;
	int n;

	for (i = 0; i < ARRAY_SIZE(addresses); i++) {
		for (n = 0; n < 16; n++) {
			w = (struct want){ &addresses[i], n & 1, n & 2, n & 4, n & 8 };
			*p++ = turn() ? probe(&w, port) : '_';
		}
		*p++ = ' ';
	}
	for (i = 0; i < ARRAY_SIZE(addresses); i++)
		for (n = 0; n < 4; n++) {
			w = (struct want){ &addresses[i], n & 1, n & 2, false, false };
			*p++ = turn() ? probe_any(&w, port) : '_';
		}
	*p++ = ' ';
	for (n = 0; n < 4; n++) {
		w = (struct want){ &addresses[0], n & 1, n & 2, false, false };
		*p++ = turn() ? probe_connect(&w, port, helper) : '_';
	}
	*p = '\0';
	printf("   %-10s %s\n", what, line);
}

/* --- connections --- */

struct pair {
	int server, client;
	bool waits;
};

struct server {
	struct want want;
	int fd, epoll, port, nconns;
	bool listens, ended;
	struct pair conns[MAX_CONNS];
};

static int connect_to(const char *host, int port)
{
	struct sockaddr_storage ss;
	socklen_t len = make_address(&ss, host, port);
	int fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		die("socket");
	/* None of those that listeners will have. */
	only_ports(fd, 45000, 60000);
	if (connect(fd, (struct sockaddr *)&ss, len))
		die("connect to %s", host);
	return fd;
}

static void end(int *fd)
{
	close(*fd);
	*fd = -1;
}

static bool try_listen(struct server *s)
{
	struct epoll_event ev = { .events = EPOLLIN };

	s->listens = !listen(s->fd, 64);
	if (!s->listens)
		return false;
	/* A task with one CPU that waits is a worker. */
	if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->fd, &ev) && errno != EEXIST)
		die("epoll_ctl");
	return true;
}

/* What the server's end of a connection is to be, by its letter. */
static void bring(struct server *s, struct pair *c, char state)
{
	char byte;

	switch (state) {
	case 'Q': /* waits to be accepted */
		c->waits = true;
		return;
	case 'u': /* accepted by another user */
		setfsuid(OTHER_UID);
		break;
	}
	c->server = accept(s->fd, NULL, NULL);
	c->waits = false;
	setfsuid(0);
	if (c->server < 0)
		die("accept");
	switch (state) {
	case 'T': /* TIME_WAIT */
		end(&c->server);
		if (read(c->client, &byte, 1))
			die("no end of file");
		end(&c->client);
		break;
	case 'F': /* FIN_WAIT_2 */
		shutdown(c->server, SHUT_WR);
		break;
	case 'O': /* the same without a process */
		end(&c->server);
		break;
	case 'C': /* CLOSE_WAIT */
		end(&c->client);
		break;
	case 'r': /* other options than the listener's */
		set(c->server, SOL_SOCKET, SO_REUSEADDR, !s->want.reuse);
		break;
	case 'p':
		set(c->server, SOL_SOCKET, SO_REUSEPORT, 1);
		break;
	case 'd':
		set_device(c->server, "lo");
		break;
	}
}

/*
 * Those that wait are accepted: accept() would give them to others that come. They are gone if the
 * listener was none meanwhile.
 */
static void empty_queue(struct server *s)
{
	int i;

	for (i = 0; i < s->nconns; i++)
		if (s->conns[i].waits && !s->ended)
			bring(s, &s->conns[i], 'E');
}

static void add_conn(struct server *s, const char *host, char state)
{
	struct pair *c = &s->conns[s->nconns++];

	*c = (struct pair){ .server = -1 };
	c->client = connect_to(host, s->port);
	bring(s, c, state);
}

/* Those that wait come last, see empty_queue(). */
static void add_conns(struct server *s, const char *states)
{
	const char *host = s->want.at->host, *p;
	bool v4 = !strchr(host, ':') || strstr(host, "ffff"), both = !strcmp(host, "::");

	for (p = states; *p; p++) {
		if (v4 || (both && !s->want.at->v6only))
			add_conn(s, strstr(host, "127.0.0.2") ? "127.0.0.2" : "127.0.0.1", *p);
		if (!v4)
			add_conn(s, "::1", *p);
	}
}

static void drop_conns(struct server *s)
{
	int i;

	for (i = 0; i < s->nconns; i++) {
		if (s->conns[i].client >= 0)
			reset(s->conns[i].client);
		if (s->conns[i].server >= 0)
			reset(s->conns[i].server);
	}
	s->nconns = 0;
}

/* --- chains of events --- */

static void open_server(struct server *s, const struct want *w, int port)
{
	s->want = *w;
	s->port = port;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->fd = open_socket(w);
	if (bind_to(s->fd, w->at, port))
		die("bind to %s", w->at->host);
	if (!try_listen(s))
		die("listen");
}

static void unspec(int fd)
{
	struct sockaddr sa = { .sa_family = AF_UNSPEC };

	if (connect(fd, &sa, sizeof(sa)))
		die("connect to nowhere");
}

/* `ss -K`: a socket of that port that listens is destroyed. */
static void destroy(const struct server *s)
{
	char command[128];

	snprintf(command, sizeof(command),
		 "ss -K state listening '( sport = :%d )' >/dev/null 2>&1", s->port);
	if (system(command))
		die("%s", command);
}

static void event(struct server *s, char e, const char *chain, int helper)
{
	static const char * const names[128] = {
		['x'] = "close",  ['s'] = "shut",    ['w'] = "shut-wr", ['l'] = "listen",
		['n'] = "unspec", ['r'] = "reuse",   ['p'] = "port+",	['q'] = "port-",
		['d'] = "dev+",	  ['e'] = "dev-",    ['c'] = "conn",	['K'] = "destroy",
		['b'] = "rebind", ['R'] = "noreuse",
	};
	char line[64];

	switch (e) {
	case 'x':
		end(&s->fd);
		break;
	case 's':
		s->listens = false;
		s->ended = true;
		shutdown(s->fd, SHUT_RD);
		break;
	case 'w':
		shutdown(s->fd, SHUT_WR);
		break;
	case 'l':
		printf("   listen: %s\n", try_listen(s) ? "yes" : strerror(errno));
		break;
	case 'n':
		s->listens = false;
		s->ended = true;
		unspec(s->fd);
		break;
	case 'r':
	case 'R':
		set(s->fd, SOL_SOCKET, SO_REUSEADDR, e == 'r');
		break;
	case 'p':
	case 'q':
		set(s->fd, SOL_SOCKET, SO_REUSEPORT, e == 'p');
		break;
	case 'd':
	case 'e':
		set_device(s->fd, e == 'd' ? "lo" : "");
		break;
	case 'c':
		if (s->listens) {
			empty_queue(s);
			add_conns(s, "ET");
		}
		break;
	case 'K':
		destroy(s);
		break;
	case 'b':
		s->fd = open_socket(&s->want);
		if (bind_to(s->fd, s->want.at, s->port))
			printf("   rebind: %s\n", strerror(errno));
		else
			printf("   rebind: %s\n", try_listen(s) ? "yes" : strerror(errno));
		break;
	}
	if (cfg.events && !strcmp(cfg.events, chain)) {
		fprintf(stderr, "at %s\n", names[(int)e]);
		if (!fgets(line, sizeof(line), stdin))
			die("nobody says go on");
	}
	look(names[(int)e], s->port, helper);
}

static void run_chain(const struct want *w, const char *states, const char *chain, int helper)
{
	struct server s = {};
	const char *e;

	if (cfg.chain && strcmp(cfg.chain, chain))
		return;
	printf("%s%s reuse %d reuseport %d device %d, connections \"%s\", chain %s\n", w->at->host,
	       w->at->v6only ? " v6only" : "", w->reuse, w->reuseport, w->device, states, chain);
	open_server(&s, w, next_port++);
	add_conns(&s, states);
	look("begin", s.port, helper);
	for (e = chain; *e; e++)
		event(&s, *e, chain, helper);
	if (s.fd >= 0)
		close(s.fd);
	drop_conns(&s);
	close(s.epoll);
	fflush(stdout);
}

/* The server is a process of its own that is killed. */
static void run_crash(const struct want *w, const char *states, int helper)
{
	struct server s = {};
	int port = next_port++, to[2];
	char byte = 0;
	pid_t pid;

	if (cfg.chain && strcmp(cfg.chain, "crash"))
		return;
	printf("%s%s reuse %d reuseport %d device %d, connections \"%s\", crash\n", w->at->host,
	       w->at->v6only ? " v6only" : "", w->reuse, w->reuseport, w->device, states);
	fflush(stdout);
	if (pipe(to))
		die("pipe");
	pid = fork();
	if (!pid) {
		open_server(&s, w, port);
		add_conns(&s, states);
		if (write(to[1], &byte, 1) != 1)
			die("pipe");
		for (;;)
			pause();
	}
	close(to[1]);
	if (read(to[0], &byte, 1) != 1)
		die("the server");
	close(to[0]);
	look("begin", port, helper);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	look("killed", port, helper);
	fflush(stdout);
}

static void run_address(const struct address *at, int helper)
{
	static const char * const some[] = { "", "E", "Q", "T", "F", "O", "C", "r", "p", "d", "u" };
	static const char * const chains[] = { "xb",	"sls", "rsx", "Rslx", "pcqcx",
					       "dcecx", "nlx", "wcx", "pslcx" };
	static const char all[] = "ETFOCrpduQ";
	struct want w = { .at = at };
	unsigned int i;
	int n;

	for (n = 0; n < 8; n++) {
		w.reuse = n & 1;
		w.reuseport = n & 2;
		w.device = n & 4;
		for (i = 0; i < ARRAY_SIZE(chains); i++) {
			run_chain(&w, all, chains[i], helper);
			if (n < 2)
				run_chain(&w, "r", chains[i], helper);
		}
		for (i = 0; i < ARRAY_SIZE(some) && n < 2; i++) {
			run_chain(&w, some[i], "xb", helper);
			run_crash(&w, some[i], helper);
		}
		run_crash(&w, all, helper);
		run_chain(&w, all, "Kx", helper);
		run_chain(&w, "r", "Klx", helper);
	}
}

static void own_namespace(void)
{
	struct ifreq ifr = { .ifr_name = "lo" };
	int fd;

	if (unshare(CLONE_NEWNET))
		die("unshare");
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr))
		die("lo");
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(fd, SIOCSIFFLAGS, &ifr))
		die("lo");
	close(fd);
}

/* The sum of a column of the module's statistics. */
static unsigned long counted(const char *column)
{
	char line[2048], *word, *save;
	FILE *f = fopen("/proc/self/net/fsocket_stats", "r");
	unsigned long sum = 0;
	int i, at = -1;

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		word = strtok_r(line, "\n ", &save);
		for (i = 0; word; i++, word = strtok_r(NULL, "\n ", &save)) {
			if (i == at)
				sum += strtoul(word, NULL, 10);
			else if (at < 0 && !strcmp(word, column))
				at = i;
		}
		if (at < 0)
			break;
	}
	fclose(f);
	return sum;
}

static int open_helper(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = htons(30000);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) || listen(fd, 16))
		die("helper");
	helper_port = 30000;
	return fd;
}

int main(int argc, char **argv)
{
	unsigned int i;
	int opt, helper;

	while ((opt = getopt(argc, argv, "c:a:l:e:s:o:")) != -1) {
		switch (opt) {
		case 'c':
			cfg.cpu = atoi(optarg);
			break;
		case 'a':
			cfg.address = optarg;
			break;
		case 'l':
			cfg.chain = optarg;
			break;
		case 'e':
			cfg.events = optarg;
			break;
		case 's':
			cfg.sample = atoi(optarg);
			break;
		case 'o':
			cfg.first = atoi(optarg);
			break;
		default:
			return 2;
		}
	}
	pin_to(cfg.cpu < 0 ? 0 : cfg.cpu);
	own_namespace();
	/* With -e no listener may be there but the one. */
	helper = cfg.events ? -1 : open_helper();
	for (i = 0; i < ARRAY_SIZE(addresses); i++)
		if (!cfg.address || !strcmp(cfg.address, addresses[i].host))
			run_address(&addresses[i], helper);
	fprintf(stderr, "private=%lu published=%lu\n", counted("private"), counted("published"));
	return 0;
}
