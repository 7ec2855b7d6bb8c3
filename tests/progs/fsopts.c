// SPDX-License-Identifier: GPL-2.0
/*
 * fsopts: everything an accepted socket has from its listener, as text, so that
 * two runs, one of them under Fastsocket, can be compared with diff.
 *
 * Sets options on a listener, before listen() or when its workers already wait,
 * has a connection made, and prints what getsockopt() says about the accepted
 * socket: every option number of SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6 and
 * IPPROTO_TCP, with several buffer sizes. Then the SYN-ACK as it was on the
 * wire, and what the client negotiated. What differs from one connection to the
 * next on the plain kernel is blanked, see blank_value().
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/tcp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fsutil.h"

#define LAST_OPTION	127

struct option {
	int level, name;
	const char *label;
	const void *val;
	socklen_t len;
	char family;	/* '6': IPv6 listeners only */
};

static struct {
	char family;	/* '4', '6' or 'm', an IPv4 client of an IPv6 listener */
	bool attach, after, each;
	int port, cpu;
	const char *set;
} cfg = { .family = '4', .set = "none" };

/* --- what is set on the listener --- */

#define VALUE(l, n, type, ...) \
	{ l, n, #n, &(const type) { __VA_ARGS__ }, sizeof(type), 0 }
#define INT(l, n, v)	{ l, n, #n, &(const int) { v }, sizeof(int), 0 }
#define INT6(n, v)	{ IPPROTO_IPV6, n, #n, &(const int) { v }, sizeof(int), '6' }
#define TEXT(l, n, v)	{ l, n, #n, v, sizeof(v), 0 }

/* the headers of the C library do not have these */
#ifndef IP_LOCAL_PORT_RANGE
#define IP_LOCAL_PORT_RANGE	51
#endif
#ifndef IP_RECVERR_RFC4884
#define IP_RECVERR_RFC4884	26
#endif
#ifndef IPV6_RECVERR_RFC4884
#define IPV6_RECVERR_RFC4884	31
#endif
#ifndef IPV6_FLOWINFO_SEND
#define IPV6_FLOWINFO_SEND	33
#endif
#ifndef IPV6_MULTICAST_ALL
#define IPV6_MULTICAST_ALL	29
#endif
#ifndef SO_RESERVE_MEM
#define SO_RESERVE_MEM		73
#endif
#ifndef SO_TXREHASH
#define SO_TXREHASH		74
#endif

/* the listener must keep to its fast path with all of these */
static const struct option ordinary[] = {
	INT(SOL_SOCKET, SO_DEBUG, 1),
	INT(SOL_SOCKET, SO_DONTROUTE, 1),
	INT(SOL_SOCKET, SO_BROADCAST, 1),
	INT(SOL_SOCKET, SO_SNDBUF, 70000),
	INT(SOL_SOCKET, SO_RCVBUF, 80000),
	INT(SOL_SOCKET, SO_KEEPALIVE, 1),
	INT(SOL_SOCKET, SO_OOBINLINE, 1),
	INT(SOL_SOCKET, SO_NO_CHECK, 1),
	INT(SOL_SOCKET, SO_PRIORITY, 5),
	VALUE(SOL_SOCKET, SO_LINGER, struct linger, 1, 7),
	INT(SOL_SOCKET, SO_PASSCRED, 1),
	INT(SOL_SOCKET, SO_RCVLOWAT, 3),
	VALUE(SOL_SOCKET, SO_RCVTIMEO, struct timeval, 3, 250000),
	VALUE(SOL_SOCKET, SO_SNDTIMEO, struct timeval, 4, 500000),
	TEXT(SOL_SOCKET, SO_BINDTODEVICE, "lo"),
	INT(SOL_SOCKET, SO_TIMESTAMP, 1),
	INT(SOL_SOCKET, SO_TIMESTAMPNS, 1),
	INT(SOL_SOCKET, SO_TIMESTAMPING, 0x18),
	INT(SOL_SOCKET, SO_MARK, 77),
	INT(SOL_SOCKET, SO_RXQ_OVFL, 1),
	INT(SOL_SOCKET, SO_WIFI_STATUS, 1),
	INT(SOL_SOCKET, SO_NOFCS, 1),
	INT(SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1),
	INT(SOL_SOCKET, SO_BUSY_POLL, 10),
	INT(SOL_SOCKET, SO_MAX_PACING_RATE, 900000000),
	INT(SOL_SOCKET, SO_ZEROCOPY, 1),
	INT(SOL_SOCKET, SO_PREFER_BUSY_POLL, 1),
	INT(SOL_SOCKET, SO_BUSY_POLL_BUDGET, 16),
	INT(SOL_SOCKET, SO_RESERVE_MEM, 65536),
	INT(SOL_SOCKET, SO_TXREHASH, 0),
	INT(IPPROTO_IP, IP_TOS, 0x48),
	INT(IPPROTO_IP, IP_TTL, 33),
	INT(IPPROTO_IP, IP_RECVOPTS, 1),
	INT(IPPROTO_IP, IP_RETOPTS, 1),
	INT(IPPROTO_IP, IP_PKTINFO, 1),
	INT(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT),
	INT(IPPROTO_IP, IP_RECVERR, 1),
	INT(IPPROTO_IP, IP_RECVTTL, 1),
	INT(IPPROTO_IP, IP_RECVTOS, 1),
	INT(IPPROTO_IP, IP_FREEBIND, 1),
	INT(IPPROTO_IP, IP_PASSSEC, 1),
	INT(IPPROTO_IP, IP_TRANSPARENT, 1),
	INT(IPPROTO_IP, IP_ORIGDSTADDR, 1),
	INT(IPPROTO_IP, IP_MINTTL, 10),
	INT(IPPROTO_IP, IP_CHECKSUM, 1),
	INT(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1),
	INT(IPPROTO_IP, IP_RECVFRAGSIZE, 1),
	INT(IPPROTO_IP, IP_RECVERR_RFC4884, 1),
	INT(IPPROTO_IP, IP_MULTICAST_TTL, 9),
	INT(IPPROTO_IP, IP_MULTICAST_LOOP, 0),
	INT(IPPROTO_IP, IP_MULTICAST_ALL, 0),
	INT(IPPROTO_IP, IP_LOCAL_PORT_RANGE, 40000 | 50000 << 16),
	INT6(IPV6_UNICAST_HOPS, 44),
	INT6(IPV6_MULTICAST_HOPS, 9),
	INT6(IPV6_MULTICAST_LOOP, 0),
	INT6(IPV6_MULTICAST_ALL, 0),
	INT6(IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT),
	INT6(IPV6_MTU, 1400),
	INT6(IPV6_RECVERR, 1),
	INT6(IPV6_RECVERR_RFC4884, 1),
	INT6(IPV6_RECVPKTINFO, 1),
	INT6(IPV6_RECVHOPLIMIT, 1),
	INT6(IPV6_RECVHOPOPTS, 1),
	INT6(IPV6_RECVRTHDR, 1),
	INT6(IPV6_RECVDSTOPTS, 1),
	INT6(IPV6_RECVPATHMTU, 1),
	INT6(IPV6_DONTFRAG, 1),
	INT6(IPV6_RECVTCLASS, 1),
	INT6(IPV6_TCLASS, 0x28),
	INT6(IPV6_AUTOFLOWLABEL, 1),
	INT6(IPV6_FLOWINFO_SEND, 1),
	INT6(IPV6_ADDR_PREFERENCES, 2),
	INT6(IPV6_MINHOPCOUNT, 10),
	INT6(IPV6_RECVORIGDSTADDR, 1),
	INT6(IPV6_TRANSPARENT, 1),
	INT6(IPV6_RECVFRAGSIZE, 1),
	INT6(IPV6_FREEBIND, 1),
	INT6(IPV6_2292PKTINFO, 1),
	INT(IPPROTO_TCP, TCP_NODELAY, 1),
	INT(IPPROTO_TCP, TCP_MAXSEG, 1000),
	INT(IPPROTO_TCP, TCP_CORK, 1),
	INT(IPPROTO_TCP, TCP_KEEPIDLE, 1000),
	INT(IPPROTO_TCP, TCP_KEEPINTVL, 33),
	INT(IPPROTO_TCP, TCP_KEEPCNT, 5),
	INT(IPPROTO_TCP, TCP_SYNCNT, 4),
	INT(IPPROTO_TCP, TCP_LINGER2, 11),
	INT(IPPROTO_TCP, TCP_DEFER_ACCEPT, 2),
	INT(IPPROTO_TCP, TCP_WINDOW_CLAMP, 30000),
	INT(IPPROTO_TCP, TCP_QUICKACK, 0),
	INT(IPPROTO_TCP, TCP_THIN_LINEAR_TIMEOUTS, 1),
	INT(IPPROTO_TCP, TCP_THIN_DUPACK, 1),
	INT(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000),
	INT(IPPROTO_TCP, TCP_NOTSENT_LOWAT, 4096),
	INT(IPPROTO_TCP, TCP_SAVE_SYN, 1),
	INT(IPPROTO_TCP, TCP_INQ, 1),
};

static const struct sock_filter pass_all[] = {
	BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
};

static const struct sock_fprog pass_all_prog = {
	ARRAY_SIZE(pass_all), (struct sock_filter *)pass_all
};

/* an option of four NOPs, and a destination option that is all padding */
static const unsigned char ip_nops[4] = { 1, 1, 1, 1 };
static const unsigned char ip6_padding[8] = { 0, 0, 1, 4 };

/* the same, where falling back to the plain path is allowed */
static const struct option unusual[] = {
	{ SOL_SOCKET, SO_ATTACH_FILTER, "SO_ATTACH_FILTER", &pass_all_prog,
	  sizeof(pass_all_prog), 0 },
	INT(SOL_SOCKET, SO_LOCK_FILTER, 1),
	INT(SOL_SOCKET, SO_INCOMING_CPU, 3),
	INT(SOL_SOCKET, SO_BUF_LOCK, 3),
	VALUE(SOL_SOCKET, SO_TXTIME, uint64_t, 1),
	INT(SOL_SOCKET, SO_REUSEPORT, 1),
	{ IPPROTO_IP, IP_OPTIONS, "IP_OPTIONS", ip_nops, sizeof(ip_nops), 0 },
	{ IPPROTO_IPV6, IPV6_DSTOPTS, "IPV6_DSTOPTS", ip6_padding,
	  sizeof(ip6_padding), '6' },
	TEXT(IPPROTO_TCP, TCP_CONGESTION, "reno"),
	INT(IPPROTO_TCP, TCP_FASTOPEN, 5),
	INT(IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1),
	INT(IPPROTO_TCP, TCP_TX_DELAY, 100),
};

/* SAVE_SYN with the link header takes the place of plain SAVE_SYN */
static const struct option variants[] = {
	INT(IPPROTO_TCP, TCP_SAVE_SYN, 2),
	INT(IPPROTO_TCP, TCP_QUICKACK, 1),
	INT(IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE),
	INT6(IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE),
	INT6(IPV6_AUTOFLOWLABEL, 0),
	INT(SOL_SOCKET, SO_RCVBUF, 1),
	INT(SOL_SOCKET, SO_RCVBUF, 4000000),
	INT(SOL_SOCKET, SO_SNDBUF, 1),
	INT(IPPROTO_TCP, TCP_MAXSEG, 88),
	INT(IPPROTO_TCP, TCP_WINDOW_CLAMP, 700),
};

static const struct {
	const char *name;
	const struct option *opts;
	int n;
} sets[] = {
	{ "none", NULL, 0 },
	{ "ordinary", ordinary, ARRAY_SIZE(ordinary) },
	{ "unusual", unusual, ARRAY_SIZE(unusual) },
	{ "variants", variants, ARRAY_SIZE(variants) },
};

static void apply(int fd, const struct option *o)
{
	const char *result = "0";

	if (o->family == '6' && cfg.family == '4')
		return;
	if (setsockopt(fd, o->level, o->name, o->val, o->len))
		result = strerrorname_np(errno);
	printf("set %s %d/%d: %s\n", o->label, o->level, o->name, result);
}

static void apply_all(int fd, const struct option *opts, int n)
{
	int i;

	for (i = 0; i < n; i++)
		apply(fd, &opts[i]);
}

/* --- what is printed of an accepted socket --- */

static void print_hex(const unsigned char *p, size_t n)
{
	while (n--)
		printf("%02x", *p++);
	printf("\n");
}

static void blank(unsigned char *buf, size_t len, size_t from, size_t n)
{
	for (; n-- && from < len; from++)
		buf[from] = 0;
}

#define BLANK_INFO(member) \
	blank(buf, len, offsetof(struct tcp_info, member), \
	      sizeof(((struct tcp_info *)0)->member))

/* clocks, and what is derived from them */
static void blank_tcp_info(unsigned char *buf, size_t len)
{
	BLANK_INFO(tcpi_last_data_sent);
	BLANK_INFO(tcpi_last_ack_sent);
	BLANK_INFO(tcpi_last_data_recv);
	BLANK_INFO(tcpi_last_ack_recv);
	BLANK_INFO(tcpi_rto);
	BLANK_INFO(tcpi_rtt);
	BLANK_INFO(tcpi_rttvar);
	BLANK_INFO(tcpi_rcv_rtt);
	BLANK_INFO(tcpi_pacing_rate);
	BLANK_INFO(tcpi_min_rtt);
	BLANK_INFO(tcpi_delivery_rate);
	BLANK_INFO(tcpi_busy_time);
	/* the delayed ACK estimate follows the time between segments */
	BLANK_INFO(tcpi_ato);
}

static void blank_tcp_header(unsigned char *tcp, size_t len, bool to_listener)
{
	size_t at = 20, end = len < 20 ? 0 : (tcp[12] >> 4) * 4;

	/* the client's port, sequence numbers, checksum */
	blank(tcp, len, to_listener ? 0 : 2, 2);
	blank(tcp, len, 4, 8);
	blank(tcp, len, 16, 2);
	while (at + 1 < end && at + 1 < len && tcp[at]) {
		if (tcp[at] == 1) {
			at++;
			continue;
		}
		/* timestamps: clocks with a random offset */
		if (tcp[at] == 8)
			blank(tcp, len, at + 2, 8);
		/* a Fast Open cookie is made from a random key */
		if (tcp[at] == 34)
			blank(tcp, len, at + 2, tcp[at + 1] - 2);
		if (!tcp[at + 1])
			break;
		at += tcp[at + 1];
	}
}

/* where the TCP header is in a packet of either version; 0: there is none */
static size_t tcp_offset(const unsigned char *p, size_t len)
{
	size_t at = 40;
	int next;

	if (len < 40)
		return 0;
	if (p[0] >> 4 == 4)
		return p[9] == IPPROTO_TCP ? (p[0] & 15) * 4 : 0;
	/* extension headers: what follows, and their length in units of 8 */
	for (next = p[6]; next != IPPROTO_TCP && at + 8 < len; at += 8 + p[at + 1] * 8)
		next = p[at];
	return next == IPPROTO_TCP ? at : 0;
}

/* packet of either version, starting at its IP header */
static void blank_packet(unsigned char *p, size_t len, bool to_listener)
{
	size_t at = tcp_offset(p, len);

	if (!at)
		return;
	if (p[0] >> 4 == 4) {
		/* identification: from a counter, or 0; which of the two stays to be seen */
		if (p[4] | p[5]) {
			p[4] = 0xff;
			p[5] = 0xff;
		}
		blank(p, len, 10, 2);
	} else {
		/* flow label: from a random hash, or 0 */
		if ((p[1] & 15) | p[2] | p[3]) {
			p[1] |= 15;
			p[2] = 0xff;
			p[3] = 0xff;
		}
	}
	blank_tcp_header(p + at, len - at, to_listener);
}

static void blank_value(int level, int name, unsigned char *buf, size_t len)
{
	if (level == SOL_SOCKET && name == SO_PEERNAME)
		blank(buf, len, 2, 2);		/* the client's port */
	if (level == SOL_SOCKET && name == SO_COOKIE)
		blank(buf, len, 0, 8);		/* of this socket alone */
	if (level == IPPROTO_TCP && name == TCP_INFO)
		blank_tcp_info(buf, len);
	/* repair sends none of these, but they are readable: sequence and clock */
	if (level == IPPROTO_TCP && name == TCP_TIMESTAMP)
		blank(buf, len, 0, 4);
	if (level == IPPROTO_TCP && name == TCP_SAVED_SYN) {
		/* with the link header in front when it does not start as IP does */
		if (len > ETH_HLEN && buf[0] >> 4 != 4 && buf[0] >> 4 != 6)
			blank_packet(buf + ETH_HLEN, len - ETH_HLEN, true);
		else
			blank_packet(buf, len, true);
	}
}

static const char *level_name(int level)
{
	switch (level) {
	case SOL_SOCKET: return "SOL_SOCKET";
	case IPPROTO_IP: return "IPPROTO_IP";
	case IPPROTO_IPV6: return "IPPROTO_IPV6";
	default: return "IPPROTO_TCP";
	}
}

static void print_option(int fd, int level, int name, socklen_t room)
{
	unsigned char buf[4096];
	socklen_t len = room;

	memset(buf, 0, sizeof(buf));
	if (getsockopt(fd, level, name, buf, &len)) {
		/* most numbers are of no option: not worth a line */
		if (errno != ENOPROTOOPT)
			printf("%s %d [%u] %s len=%u\n", level_name(level), name, room,
			       strerrorname_np(errno), len);
		return;
	}
	blank_value(level, name, buf, len < room ? len : room);
	printf("%s %d [%u] len=%u ", level_name(level), name, room, len);
	print_hex(buf, len < room ? len : room);
}

static void print_address(const char *what, int fd,
			  int (*get)(int, struct sockaddr *, socklen_t *), bool blank_port)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len = sizeof(ss);

	if (get(fd, (struct sockaddr *)&ss, &len)) {
		printf("%s: %s\n", what, strerrorname_np(errno));
		return;
	}
	if (blank_port)
		((struct sockaddr_in *)&ss)->sin_port = 0;
	printf("%s: ", what);
	print_hex((unsigned char *)&ss, len);
}

static int sock_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

static int peer_name(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

static void print_accepted(int fd)
{
	static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP };
	/* the large one last: reading a saved SYN in full discards it */
	static const socklen_t all_sizes[] = { 0, 1, 2, 4, 8, 16, 64, 256, 4096 };
	static const socklen_t few_sizes[] = { 4, 256 };
	const socklen_t *sizes = cfg.each ? few_sizes : all_sizes;
	size_t n_sizes = cfg.each ? ARRAY_SIZE(few_sizes) : ARRAY_SIZE(all_sizes);
	struct stat st;
	size_t l, s;
	int name;

	for (l = 0; l < ARRAY_SIZE(levels); l++)
		for (name = 0; name <= LAST_OPTION; name++)
			for (s = 0; s < n_sizes; s++)
				print_option(fd, levels[l], name, sizes[s]);
	print_address("getsockname", fd, sock_name, false);
	print_address("getpeername", fd, peer_name, true);
	fstat(fd, &st);
	printf("mode=%o uid=%d gid=%d fl=%x fd=%x own=%d sig=%d\n", st.st_mode, st.st_uid,
	       st.st_gid, fcntl(fd, F_GETFL), fcntl(fd, F_GETFD), fcntl(fd, F_GETOWN),
	       fcntl(fd, F_GETSIG));
}

/* --- server --- */

static void answer(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct fs_reply reply = { 0 };
	struct fs_request req;

	/* SO_RCVLOWAT and SO_RCVTIMEO may be anything here */
	while (recv(fd, &req, sizeof(req), MSG_DONTWAIT | MSG_PEEK) != sizeof(req))
		poll(&pfd, 1, 10);
	if (req.seq) {
		/* let the ACKs go out first: their counters are printed */
		msleep(60);
		print_accepted(fd);
		fflush(stdout);
	}
	recv(fd, &req, sizeof(req), 0);
	send(fd, &reply, sizeof(reply), MSG_NOSIGNAL);
	close(fd);
}

static void work(int lfd, int cpu)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int epfd = epoll_create1(0), fd;

	pin_to(cpu);
	if (epfd < 0 || epoll_ctl(epfd, EPOLL_CTL_ADD, lfd, &ev))
		die("epoll");
	for (;;) {
		if (epoll_wait(epfd, &ev, 1, -1) < 0)
			die("epoll_wait");
		fd = accept(lfd, NULL, NULL);
		if (fd >= 0)
			answer(fd);
		else if (errno != EAGAIN)
			die("accept");
	}
}

static pid_t start_worker(int lfd, int cpu)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		die("fork");
	if (!pid)
		work(lfd, cpu);
	return pid;
}

static bool asleep(pid_t pid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%*d %*s %c", &state) != 1)
			state = 0;
		fclose(f);
	}
	return state == 'S';
}

/* --- client --- */

static int open_capture(void)
{
	struct sockaddr_ll ll = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = if_nametoindex("lo"),
	};
	int fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(ETH_P_ALL));

	if (fd < 0 || bind(fd, (struct sockaddr *)&ll, sizeof(ll)))
		die("packet socket");
	return fd;
}

static bool is_synack(const unsigned char *p, ssize_t n)
{
	size_t at = n < 0 ? 0 : tcp_offset(p, n);

	return at && (size_t)n >= at + 20 && (p[at] << 8 | p[at + 1]) == cfg.port &&
	       (p[at + 13] & 0x12) == 0x12;
}

/* loopback shows every packet twice: as sent and as received */
static void print_synack(int cap)
{
	unsigned char buf[2048];
	struct sockaddr_ll ll;
	socklen_t len;
	ssize_t n;

	for (;;) {
		len = sizeof(ll);
		n = recvfrom(cap, buf, sizeof(buf), 0, (struct sockaddr *)&ll, &len);
		if (n < 0)
			break;
		if (ll.sll_pkttype != PACKET_OUTGOING || !is_synack(buf, n))
			continue;
		blank_packet(buf, n, false);
		printf("synack: ");
		print_hex(buf, n);
	}
}

static void print_negotiated(int fd)
{
	struct tcp_info ti;
	socklen_t len = sizeof(ti);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &ti, &len))
		die("TCP_INFO");
	printf("client: options=%x snd_wscale=%d rcv_wscale=%d snd_mss=%u advmss=%u\n",
	       ti.tcpi_options, ti.tcpi_snd_wscale, ti.tcpi_rcv_wscale, ti.tcpi_snd_mss,
	       ti.tcpi_advmss);
}

/* seq 0: do not print anything */
static void connect_once(uint32_t seq)
{
	struct fs_request req = { "FSrq", seq, { 0 } };
	struct timeval limit = { 20, 0 };
	struct sockaddr_storage ss;
	struct fs_reply reply;
	socklen_t len;
	int fd, cap = -1;

	len = make_address(&ss, cfg.family == '6' ? "::1" : "127.0.0.1", cfg.port);
	if (seq)
		cap = open_capture();
	fd = socket(ss.ss_family, SOCK_STREAM, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&ss, len))
		die("connect");
	if (send(fd, &req, sizeof(req), MSG_NOSIGNAL) != sizeof(req))
		die("send");
	if (recv(fd, &reply, sizeof(reply), MSG_WAITALL) != sizeof(reply))
		die("no reply");
	if (seq) {
		print_synack(cap);
		print_negotiated(fd);
		close(cap);
	}
	close(fd);
}

/* --- a run --- */

static int bound_socket(void)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int on = 1, fd;

	len = make_address(&ss, cfg.family == '4' ? "0.0.0.0" : "::", cfg.port);
	fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len))
		die("bind");
	return fd;
}

static void scenario(const struct option *opts, int n)
{
	int fd = bound_socket(), i;
	pid_t worker[2];

	if (!cfg.after)
		apply_all(fd, opts, n);
	if (listen_either(fd, 64, cfg.attach))
		die("listen");
	for (i = 0; i < 2; i++)
		worker[i] = start_worker(fd, i);
	for (i = 0; i < 2; i++)
		while (!asleep(worker[i]))
			msleep(1);
	connect_once(0);
	if (cfg.after)
		apply_all(fd, opts, n);
	fflush(stdout);
	connect_once(1);
	for (i = 0; i < 2; i++) {
		kill(worker[i], SIGKILL);
		waitpid(worker[i], NULL, 0);
	}
	close(fd);
}

static void run_set(const struct option *opts, int n)
{
	int i;

	if (!cfg.each) {
		scenario(opts, n);
		return;
	}
	for (i = 0; i < n; i++) {
		if (opts[i].family == '6' && cfg.family == '4')
			continue;
		printf("== %s alone\n", opts[i].label);
		scenario(&opts[i], 1);
	}
}

static void usage(void)
{
	fprintf(stderr,
		"usage: fsopts -p PORT [-4|-6|-m] [-f] [-s SET] [-w] [-e] [-c CPU]\n"
		"  -4 -6 -m  IPv4 (default), IPv6, IPv4 client of an IPv6 listener\n"
		"  -f        attach to Fastsocket\n"
		"  -s SET    options to set: none ordinary unusual variants\n"
		"  -w        set them when the workers already wait, not before listen\n"
		"  -e        each on a listener of its own\n"
		"  -c CPU    of the client; the two workers run on 0 and 1 (0)\n");
	exit(2);
}

int main(int argc, char **argv)
{
	size_t i;
	int o;

	while ((o = getopt(argc, argv, "p:46mfs:wec:")) != -1)
		switch (o) {
		case 'p': cfg.port = atoi(optarg); break;
		case '4': case '6': case 'm': cfg.family = o; break;
		case 'f': cfg.attach = true; break;
		case 's': cfg.set = optarg; break;
		case 'w': cfg.after = true; break;
		case 'e': cfg.each = true; break;
		case 'c': cfg.cpu = atoi(optarg); break;
		default: usage();
		}
	if (optind != argc || !cfg.port)
		usage();
	pin_to(cfg.cpu);
	for (i = 0; i < ARRAY_SIZE(sets); i++)
		if (!strcmp(sets[i].name, cfg.set)) {
			run_set(sets[i].opts, sets[i].n);
			return 0;
		}
	usage();
}
