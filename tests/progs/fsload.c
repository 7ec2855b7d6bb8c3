// SPDX-License-Identifier: GPL-2.0
/*
 * fsload: opens connections to fsserve, and gives every single one of them an
 * outcome: a reply, or the way in which it failed. Ends with one line
 *
 *   conns= ok= fail= refused= reset= timeout= noreply= eof= other= alien=
 *   established= max_ms= p99_ms= by=WORKER:REPLIES,...
 *
 * where fail is the sum of the six after it, timeout means that connect() did
 * not finish, noreply that nothing came back on an established connection, and
 * alien counts the replies (among ok) of another server than -g says. Exits 0
 * when every connection was answered, 1 otherwise.
 *
 * With -o all connections are opened first, one after the other, then
 * "established=N" is printed, and the requests go out when a line is read from
 * standard input: the server can be interfered with in between.
 */
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "fsutil.h"

#define MAX_PROCS	64
#define MAX_WORKERS	64
#define MAX_LATENCIES	16384

enum outcome { OK, REFUSED, RESET, TIMEOUT, NOREPLY, END_OF_FILE, OTHER, OUTCOMES };

static const char * const outcome_name[OUTCOMES] = {
	"ok", "refused", "reset", "timeout", "noreply", "eof", "other"
};

/* of one process, in memory shared with the parent */
struct result {
	unsigned long conns, established, alien;
	unsigned long outcome[OUTCOMES];
	unsigned long by[MAX_WORKERS];
	int other_errno;
	unsigned int n_latencies;
	float latency[MAX_LATENCIES];
};

enum state { IDLE, CONNECTING, WAITING, OPEN, SENT };

struct conn {
	enum state state;
	int fd;
	uint32_t seq;
	double start, due;	/* due: when a delayed request goes out */
	size_t got;
	struct fs_reply reply;
};

static struct {
	const char *addr[8];
	int n_addr;
	struct int_list ports, cpus;
	int conns, procs, inflight;
	int timeout, connect_timeout, delay, duration, interval;
	bool open_first, fast_open, md5;
	const char *source;
	int kill_sig, kill_pid;
	int tag;
} cfg = {
	.conns = 1, .procs = 1, .inflight = 1, .timeout = 10000, .tag = -1,
};

static struct result *res;

static void finish(struct conn *c, enum outcome how)
{
	res->outcome[how]++;
	if (res->n_latencies < MAX_LATENCIES)
		res->latency[res->n_latencies++] = now_ms() - c->start;
	if (how == OK) {
		if (c->reply.worker < MAX_WORKERS)
			res->by[c->reply.worker]++;
		if (cfg.tag >= 0 && (int)c->reply.tag != cfg.tag)
			res->alien++;
	}
	close(c->fd);
	c->state = IDLE;
}

static void fail_errno(struct conn *c, int err)
{
	switch (err) {
	case ECONNREFUSED:
		return finish(c, REFUSED);
	case ECONNRESET:
	case EPIPE:
		return finish(c, RESET);
	case ETIMEDOUT:
		return finish(c, c->state == CONNECTING ? TIMEOUT : NOREPLY);
	default:
		res->other_errno = err;
		finish(c, OTHER);
	}
}

static void set_md5_key(int fd, const struct sockaddr_storage *peer)
{
	struct tcp_md5sig md5 = { .tcpm_keylen = 10, .tcpm_key = "fastsocket" };

	md5.tcpm_addr = *peer;
	if (setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &md5, sizeof(md5)))
		die("TCP_MD5SIG");
}

static void make_request(const struct conn *c, struct fs_request *req)
{
	memset(req, 0, sizeof(*req));
	memcpy(req->magic, "FSrq", 4);
	req->seq = c->seq;
}

static void send_request(struct conn *c)
{
	struct fs_request req;

	make_request(c, &req);
	if (send(c->fd, &req, sizeof(req), MSG_NOSIGNAL) == sizeof(req))
		c->state = SENT;
	else
		fail_errno(c, errno);
}

static void established(struct conn *c)
{
	res->established++;
	if (cfg.open_first) {
		c->state = OPEN;
	} else if (cfg.delay) {
		c->state = WAITING;
		c->due = now_ms() + cfg.delay;
	} else {
		send_request(c);
	}
}

/* the request rides on the SYN when the kernel has a cookie for the server */
static void start_fast_open(struct conn *c, const struct sockaddr *sa, socklen_t len)
{
	struct fs_request req;

	make_request(c, &req);
	if (sendto(c->fd, &req, sizeof(req), MSG_FASTOPEN | MSG_NOSIGNAL, sa, len) ==
	    sizeof(req)) {
		res->established++;
		c->state = SENT;
	} else if (errno != EINPROGRESS) {
		fail_errno(c, errno);
	}
}

static void start(struct conn *c, uint32_t seq)
{
	const char *host = cfg.addr[seq % cfg.n_addr];
	struct sockaddr_storage ss, from;
	socklen_t len;

	memset(c, 0, sizeof(*c));
	c->seq = seq;
	c->start = now_ms();
	c->state = CONNECTING;
	res->conns++;
	/* not seq % n alone: addresses and ports would go in step */
	len = make_address(&ss, host, cfg.ports.v[seq / cfg.n_addr % cfg.ports.n]);
	c->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0)
		die("socket");
	if (cfg.md5)
		set_md5_key(c->fd, &ss);
	if (cfg.source) {
		socklen_t from_len = make_address(&from, cfg.source, 0);

		if (bind(c->fd, (struct sockaddr *)&from, from_len))
			die("bind to %s", cfg.source);
	}
	if (cfg.fast_open)
		return start_fast_open(c, (struct sockaddr *)&ss, len);
	if (!connect(c->fd, (struct sockaddr *)&ss, len))
		established(c);
	else if (errno != EINPROGRESS)
		fail_errno(c, errno);
}

static void receive(struct conn *c)
{
	ssize_t n = recv(c->fd, (char *)&c->reply + c->got, sizeof(c->reply) - c->got, 0);

	if (n < 0 && errno != EAGAIN)
		return fail_errno(c, errno);
	if (n == 0)
		return finish(c, END_OF_FILE);
	if (n > 0)
		c->got += n;
	if (c->got < sizeof(c->reply))
		return;
	if (c->reply.seq != c->seq)
		return fail_errno(c, EBADMSG);
	finish(c, OK);
}

static void ready(struct conn *c)
{
	socklen_t len = sizeof(int);
	int err = 0;

	if (c->state == SENT)
		return receive(c);
	if (c->state != CONNECTING)
		return;
	getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err)
		fail_errno(c, err);
	else
		established(c);
}

/* what time alone does to a connection */
static void expire(struct conn *c, double now)
{
	if (c->state == CONNECTING && now - c->start > cfg.connect_timeout)
		finish(c, TIMEOUT);
	else if (c->state == WAITING && now >= c->due)
		send_request(c);
	else if (c->state == SENT && now - c->start > cfg.timeout)
		finish(c, NOREPLY);
}

/* one turn for all connections; false when none of them is waiting for anything */
static bool turn(struct conn *conns, int n)
{
	struct pollfd pfd[n];
	bool busy = false;
	double now;
	int i;

	for (i = 0; i < n; i++) {
		pfd[i].fd = -1;
		pfd[i].revents = 0;
		if (conns[i].state == CONNECTING || conns[i].state == SENT)
			pfd[i].fd = conns[i].fd;
		pfd[i].events = conns[i].state == CONNECTING ? POLLOUT : POLLIN;
		busy |= conns[i].state != IDLE && conns[i].state != OPEN;
	}
	if (!busy)
		return false;
	poll(pfd, n, 5);
	for (i = 0; i < n; i++)
		if (pfd[i].revents)
			ready(&conns[i]);
	now = now_ms();
	for (i = 0; i < n; i++)
		expire(&conns[i], now);
	return true;
}

static void load(int proc)
{
	double begin = now_ms(), next = begin;
	struct conn conns[cfg.inflight];
	uint32_t seq = proc;
	bool more = true;
	int i;

	memset(conns, 0, sizeof(conns));
	while (more || turn(conns, cfg.inflight)) {
		for (i = 0; more && i < cfg.inflight; i++) {
			more = cfg.duration ? now_ms() - begin < cfg.duration :
					      seq < (uint32_t)cfg.conns;
			if (!more || now_ms() < next)
				break;
			if (conns[i].state != IDLE)
				continue;
			start(&conns[i], seq);
			seq += cfg.procs;
			next = now_ms() + cfg.interval;
		}
		if (more && !turn(conns, cfg.inflight) && now_ms() < next)
			usleep(500);
	}
}

static void load_open_first(void)
{
	struct conn conns[cfg.conns];
	double go;
	int i, c;

	for (i = 0; i < cfg.conns; i++) {
		if (cfg.cpus.n)
			pin_to(cfg.cpus.v[i % cfg.cpus.n]);
		start(&conns[i], i);
		while (turn(&conns[i], 1))
			;
	}
	if (cfg.kill_pid && kill(cfg.kill_pid, cfg.kill_sig))
		die("kill %d", cfg.kill_pid);
	printf("established=%lu\n", res->established);
	fflush(stdout);
	while (!cfg.kill_pid && (c = getchar()) != EOF && c != '\n')
		;
	go = now_ms();
	for (i = 0; i < cfg.conns; i++) {
		if (conns[i].state != OPEN)
			continue;
		conns[i].start = go;
		send_request(&conns[i]);
	}
	while (turn(conns, cfg.conns))
		;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void print_latencies(const struct result *all)
{
	float *lat = calloc(MAX_PROCS * MAX_LATENCIES, sizeof(*lat));
	float max = 0, p99 = 0;
	size_t n = 0;
	int p;

	for (p = 0; p < cfg.procs; p++) {
		memcpy(lat + n, all[p].latency, all[p].n_latencies * sizeof(*lat));
		n += all[p].n_latencies;
	}
	qsort(lat, n, sizeof(*lat), compare);
	if (n) {
		max = lat[n - 1];
		p99 = lat[(n - 1) * 99 / 100];
	}
	printf(" max_ms=%.0f p99_ms=%.0f", max, p99);
	free(lat);
}

/* returns how many failed */
static unsigned long report(const struct result *all)
{
	struct result sum = { 0 };
	unsigned long fail = 0;
	int p, i;

	for (p = 0; p < cfg.procs; p++) {
		sum.conns += all[p].conns;
		sum.established += all[p].established;
		sum.alien += all[p].alien;
		if (all[p].other_errno)
			sum.other_errno = all[p].other_errno;
		for (i = 0; i < OUTCOMES; i++)
			sum.outcome[i] += all[p].outcome[i];
		for (i = 0; i < MAX_WORKERS; i++)
			sum.by[i] += all[p].by[i];
	}
	fail = sum.conns - sum.outcome[OK];
	printf("conns=%lu ok=%lu fail=%lu", sum.conns, sum.outcome[OK], fail);
	for (i = REFUSED; i < OUTCOMES; i++)
		printf(" %s=%lu", outcome_name[i], sum.outcome[i]);
	printf(" alien=%lu established=%lu", sum.alien, sum.established);
	print_latencies(all);
	if (sum.other_errno)
		printf(" errno=%s", strerrorname_np(sum.other_errno));
	printf(" by=");
	for (i = 0, p = 0; i < MAX_WORKERS; i++)
		if (sum.by[i])
			printf("%s%d:%lu", p++ ? "," : "", i, sum.by[i]);
	printf("\n");
	return fail;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: fsload -p PORT[,PORT...] [options]\n"
		"  -a ADDRESS  server; given more than once: in turn (127.0.0.1)\n"
		"  -n CONNS    connections in total (1)\n"
		"  -D MS       go on for this time instead\n"
		"  -i MS       pause between the connections of a process\n"
		"  -P PROCS    client processes (1)\n"
		"  -c CPUS     pin the processes to these in turn; with -o: the connections\n"
		"  -k N        connections at the same time, per process (1)\n"
		"  -T MS       longest wait for a reply (10000)\n"
		"  -C MS       longest wait for connect (as -T)\n"
		"  -d MS       pause between connect and request\n"
		"  -o          open all first, wait for a line on standard input\n"
		"  -K SIG:PID  with -o: do not wait but send this signal\n"
		"  -F          TCP Fast Open    -M  TCP MD5 signatures\n"
		"  -s ADDRESS  source address\n"
		"  -g TAG      the server's tag\n");
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "a:p:n:D:i:P:c:k:T:C:d:oK:FMs:g:")) != -1)
		switch (o) {
		case 'a':
			if (cfg.n_addr == ARRAY_SIZE(cfg.addr))
				usage();
			cfg.addr[cfg.n_addr++] = optarg;
			break;
		case 'p': parse_list(&cfg.ports, optarg); break;
		case 'n': cfg.conns = atoi(optarg); break;
		case 'D': cfg.duration = atoi(optarg); break;
		case 'i': cfg.interval = atoi(optarg); break;
		case 'P': cfg.procs = atoi(optarg); break;
		case 'c': parse_list(&cfg.cpus, optarg); break;
		case 'k': cfg.inflight = atoi(optarg); break;
		case 'T': cfg.timeout = atoi(optarg); break;
		case 'C': cfg.connect_timeout = atoi(optarg); break;
		case 'd': cfg.delay = atoi(optarg); break;
		case 'o': cfg.open_first = true; break;
		case 'K':
			if (sscanf(optarg, "%d:%d", &cfg.kill_sig, &cfg.kill_pid) != 2)
				usage();
			break;
		case 'F': cfg.fast_open = true; break;
		case 'M': cfg.md5 = true; break;
		case 's': cfg.source = optarg; break;
		case 'g': cfg.tag = atoi(optarg); break;
		default: usage();
		}
	if (optind != argc || !cfg.ports.n || cfg.procs < 1 || cfg.procs > MAX_PROCS ||
	    cfg.inflight < 1 || cfg.conns < 1 || (cfg.open_first && cfg.procs > 1))
		usage();
	if (!cfg.n_addr)
		cfg.addr[cfg.n_addr++] = "127.0.0.1";
	if (!cfg.connect_timeout)
		cfg.connect_timeout = cfg.timeout;
}

int main(int argc, char **argv)
{
	struct result *all;
	int p, status, bad = 0;

	parse_options(argc, argv);
	all = mmap(NULL, MAX_PROCS * sizeof(*all), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		die("mmap");
	if (cfg.open_first) {
		res = all;
		load_open_first();
		return !!report(all);
	}
	for (p = 0; p < cfg.procs; p++) {
		if (fork())
			continue;
		res = &all[p];
		if (cfg.cpus.n)
			pin_to(cfg.cpus.v[p % cfg.cpus.n]);
		load(p);
		_exit(0);
	}
	while (wait(&status) > 0)
		bad |= status;
	return !!report(all) || bad;
}
