// SPDX-License-Identifier: GPL-2.0
/* Socket options for fsfuzz: a table of those with a meaning, and every number. */
#include <linux/filter.h>
#include <linux/net_tstamp.h>

#include "fsfuzz.h"

#define HOSTILE	1	/* may make a listener answer nobody, or not this client */
#define NO_DIFF	2	/* what it does depends on time, or is a documented exception */

/* What a value looks like; those from V_FLAG to V_BIG are an int. */
enum value_kind {
	V_FLAG, V_SMALL, V_BIG, V_LINGER, V_TIME, V_TEXT, V_FILTER, V_MD5, V_BYTES, V_FD,
};

struct spec {
	int level, name;
	enum value_kind kind;
	int flags;
};

static const struct spec specs[] = {
	{ SOL_SOCKET, SO_DEBUG, V_FLAG, 0 },
	{ SOL_SOCKET, SO_REUSEADDR, V_FLAG, 0 },
	{ SOL_SOCKET, SO_DONTROUTE, V_FLAG, 0 },
	{ SOL_SOCKET, SO_BROADCAST, V_FLAG, 0 },
	{ SOL_SOCKET, SO_SNDBUF, V_BIG, 0 },
	{ SOL_SOCKET, SO_RCVBUF, V_BIG, 0 },
	{ SOL_SOCKET, SO_SNDBUFFORCE, V_BIG, 0 },
	{ SOL_SOCKET, SO_RCVBUFFORCE, V_BIG, 0 },
	{ SOL_SOCKET, SO_KEEPALIVE, V_FLAG, 0 },
	{ SOL_SOCKET, SO_OOBINLINE, V_FLAG, 0 },
	{ SOL_SOCKET, SO_NO_CHECK, V_FLAG, 0 },
	{ SOL_SOCKET, SO_PRIORITY, V_SMALL, 0 },
	{ SOL_SOCKET, SO_LINGER, V_LINGER, 0 },
	{ SOL_SOCKET, SO_REUSEPORT, V_FLAG, HOSTILE },
	{ SOL_SOCKET, SO_PASSCRED, V_FLAG, 0 },
	{ SOL_SOCKET, SO_RCVLOWAT, V_BIG, 0 },
	{ SOL_SOCKET, SO_SNDLOWAT, V_SMALL, 0 },
	{ SOL_SOCKET, SO_RCVTIMEO, V_TIME, 0 },
	{ SOL_SOCKET, SO_SNDTIMEO, V_TIME, 0 },
	{ SOL_SOCKET, SO_BINDTODEVICE, V_TEXT, HOSTILE },
	{ SOL_SOCKET, SO_ATTACH_FILTER, V_FILTER, HOSTILE },
	{ SOL_SOCKET, SO_DETACH_FILTER, V_FLAG, HOSTILE },
	{ SOL_SOCKET, SO_TIMESTAMP, V_FLAG, 0 },
	{ SOL_SOCKET, SO_TIMESTAMPNS, V_FLAG, 0 },
	{ SOL_SOCKET, SO_TIMESTAMPING, V_SMALL, 0 },
	{ SOL_SOCKET, SO_MARK, V_SMALL, 0 },
	{ SOL_SOCKET, SO_RXQ_OVFL, V_FLAG, 0 },
	{ SOL_SOCKET, SO_WIFI_STATUS, V_FLAG, 0 },
	{ SOL_SOCKET, SO_PEEK_OFF, V_SMALL, 0 },
	{ SOL_SOCKET, SO_NOFCS, V_FLAG, 0 },
	{ SOL_SOCKET, SO_LOCK_FILTER, V_FLAG, HOSTILE },
	{ SOL_SOCKET, SO_SELECT_ERR_QUEUE, V_FLAG, 0 },
	{ SOL_SOCKET, SO_BUSY_POLL, V_SMALL, 0 },
	{ SOL_SOCKET, SO_MAX_PACING_RATE, V_BIG, NO_DIFF },
	{ SOL_SOCKET, SO_INCOMING_CPU, V_SMALL, NO_DIFF },
	{ SOL_SOCKET, SO_ATTACH_BPF, V_FD, HOSTILE },
	{ SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, V_FILTER, HOSTILE },
	{ SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, V_FD, HOSTILE },
	{ SOL_SOCKET, SO_CNX_ADVICE, V_FLAG, 0 },
	{ SOL_SOCKET, SO_ZEROCOPY, V_FLAG, 0 },
	{ SOL_SOCKET, SO_TXTIME, V_BYTES, 0 },
	{ SOL_SOCKET, SO_BINDTOIFINDEX, V_SMALL, HOSTILE },
	{ SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, V_FLAG, HOSTILE },
	{ SOL_SOCKET, SO_PREFER_BUSY_POLL, V_FLAG, 0 },
	{ SOL_SOCKET, SO_BUSY_POLL_BUDGET, V_SMALL, 0 },
	{ SOL_SOCKET, 72 /* SO_BUF_LOCK */, V_SMALL, 0 },
	{ SOL_SOCKET, 73 /* SO_RESERVE_MEM */, V_BIG, NO_DIFF },
	{ SOL_SOCKET, 74 /* SO_TXREHASH */, V_SMALL, 0 },
	{ IPPROTO_IP, IP_TOS, V_SMALL, 0 },
	{ IPPROTO_IP, IP_TTL, V_SMALL, 0 },
	{ IPPROTO_IP, IP_OPTIONS, V_BYTES, HOSTILE },
	{ IPPROTO_IP, IP_RECVOPTS, V_FLAG, 0 },
	{ IPPROTO_IP, IP_PKTINFO, V_FLAG, 0 },
	{ IPPROTO_IP, IP_MTU_DISCOVER, V_SMALL, 0 },
	{ IPPROTO_IP, IP_RECVERR, V_FLAG, 0 },
	{ IPPROTO_IP, IP_RECVTTL, V_FLAG, 0 },
	{ IPPROTO_IP, IP_RECVTOS, V_FLAG, 0 },
	{ IPPROTO_IP, IP_FREEBIND, V_FLAG, 0 },
	{ IPPROTO_IP, IP_IPSEC_POLICY, V_BYTES, HOSTILE },
	{ IPPROTO_IP, IP_XFRM_POLICY, V_BYTES, HOSTILE },
	{ IPPROTO_IP, IP_TRANSPARENT, V_FLAG, 0 },
	{ IPPROTO_IP, IP_MINTTL, V_SMALL, HOSTILE },
	{ IPPROTO_IP, IP_NODEFRAG, V_FLAG, 0 },
	{ IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, V_FLAG, 0 },
	{ IPPROTO_IP, IP_MULTICAST_TTL, V_SMALL, 0 },
	{ IPPROTO_IP, IP_UNICAST_IF, V_SMALL, HOSTILE },
	{ IPPROTO_IP, IP_ADD_MEMBERSHIP, V_BYTES, 0 },
	{ IPPROTO_IPV6, IPV6_ADDRFORM, V_SMALL, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_HOPS, V_SMALL, 0 },
	{ IPPROTO_IPV6, IPV6_V6ONLY, V_FLAG, HOSTILE },
	{ IPPROTO_IPV6, IPV6_RECVPKTINFO, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_RECVHOPLIMIT, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_TCLASS, V_SMALL, 0 },
	{ IPPROTO_IPV6, IPV6_RECVTCLASS, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_HOPOPTS, V_BYTES, HOSTILE },
	{ IPPROTO_IPV6, IPV6_DSTOPTS, V_BYTES, HOSTILE },
	{ IPPROTO_IPV6, IPV6_RTHDR, V_BYTES, HOSTILE },
	{ IPPROTO_IPV6, IPV6_DONTFRAG, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_MTU_DISCOVER, V_SMALL, 0 },
	{ IPPROTO_IPV6, IPV6_MTU, V_BIG, 0 },
	{ IPPROTO_IPV6, IPV6_AUTOFLOWLABEL, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, V_SMALL, 0 },
	{ IPPROTO_IPV6, IPV6_MINHOPCOUNT, V_SMALL, HOSTILE },
	{ IPPROTO_IPV6, IPV6_TRANSPARENT, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_FREEBIND, V_FLAG, 0 },
	{ IPPROTO_IPV6, IPV6_UNICAST_IF, V_SMALL, HOSTILE },
	{ IPPROTO_IPV6, 33 /* IPV6_FLOWINFO_SEND */, V_FLAG, 0 },
	{ SOL_TCP, TCP_NODELAY, V_FLAG, 0 },
	{ SOL_TCP, TCP_MAXSEG, V_BIG, 0 },
	{ SOL_TCP, TCP_CORK, V_FLAG, 0 },
	{ SOL_TCP, TCP_KEEPIDLE, V_SMALL, 0 },
	{ SOL_TCP, TCP_KEEPINTVL, V_SMALL, 0 },
	{ SOL_TCP, TCP_KEEPCNT, V_SMALL, 0 },
	{ SOL_TCP, TCP_SYNCNT, V_SMALL, 0 },
	{ SOL_TCP, TCP_LINGER2, V_SMALL, 0 },
	{ SOL_TCP, TCP_DEFER_ACCEPT, V_SMALL, HOSTILE },
	{ SOL_TCP, TCP_WINDOW_CLAMP, V_BIG, 0 },
	{ SOL_TCP, TCP_QUICKACK, V_FLAG, NO_DIFF },
	{ SOL_TCP, TCP_CONGESTION, V_TEXT, 0 },
	{ SOL_TCP, TCP_MD5SIG, V_MD5, HOSTILE },
	{ SOL_TCP, TCP_MD5SIG_EXT, V_MD5, HOSTILE },
	{ SOL_TCP, TCP_THIN_LINEAR_TIMEOUTS, V_FLAG, 0 },
	{ SOL_TCP, TCP_USER_TIMEOUT, V_BIG, 0 },
	{ SOL_TCP, TCP_REPAIR, V_SMALL, HOSTILE },
	{ SOL_TCP, TCP_REPAIR_QUEUE, V_SMALL, HOSTILE },
	{ SOL_TCP, TCP_QUEUE_SEQ, V_BIG, HOSTILE },
	{ SOL_TCP, TCP_REPAIR_OPTIONS, V_BYTES, HOSTILE },
	{ SOL_TCP, TCP_FASTOPEN, V_SMALL, 0 },
	{ SOL_TCP, TCP_FASTOPEN_CONNECT, V_FLAG, HOSTILE },
	{ SOL_TCP, TCP_FASTOPEN_KEY, V_BYTES, 0 },
	{ SOL_TCP, TCP_FASTOPEN_NO_COOKIE, V_FLAG, NO_DIFF },
	{ SOL_TCP, TCP_TIMESTAMP, V_BIG, NO_DIFF },
	{ SOL_TCP, TCP_NOTSENT_LOWAT, V_BIG, 0 },
	{ SOL_TCP, TCP_SAVE_SYN, V_SMALL, 0 },
	{ SOL_TCP, TCP_ULP, V_TEXT, NO_DIFF },
	{ SOL_TCP, TCP_INQ, V_FLAG, 0 },
	{ SOL_TCP, TCP_TX_DELAY, V_SMALL, NO_DIFF },
};

static int random_int(struct rng *r, enum value_kind kind)
{
	static const int small[] = { 0, 1, 2, 3, 4, 5, 6, 7, 10, 64, 127, 254, 255, 256 };
	static const int big[] = { 1, 88, 536, 1460, 2048, 4096, 65535, 1 << 20 };
	static const int odd[] = { -1, 0x7fffffff, (int)0x80000000, 0xffff, 0x10000 };

	if (chance(r, 12))
		return ONE_OF(r, odd);
	switch (kind) {
	case V_FLAG: return below(r, 2);
	case V_SMALL: return ONE_OF(r, small);
	default: return ONE_OF(r, big);
	}
}

/* In what differential programs set, "accept" comes more often than "drop". */
static void put_filter(struct rng *r, struct option_value *o)
{
	/* It must stay there until the call: any program for all. */
	static struct sock_filter programs[3][1] = {
		{ { BPF_RET | BPF_K, 0, 0, 0xffffffff } },
		{ { BPF_RET | BPF_K, 0, 0, 0 } },
		{ { BPF_RET | BPF_K, 0, 0, 1 } },
	};
	struct sock_fprog f = { .len = 1 };

	f.filter = programs[chance(r, 2) ? 0 : below(r, 3)];
	memcpy(o->value, &f, sizeof(f));
	o->len = sizeof(f);
}

static void put_md5(struct rng *r, struct option_value *o)
{
	struct tcp_md5sig key = { .tcpm_keylen = below(r, 4) ? 5 : below(r, 90) };
	unsigned int family = families[below(r, 2)];

	loopback(family, 0, (struct sockaddr_storage *)&key.tcpm_addr);
	if (o->name == TCP_MD5SIG_EXT) {
		key.tcpm_flags = TCP_MD5SIG_FLAG_PREFIX;
		key.tcpm_prefixlen = below(r, 33);
	}
	memcpy(key.tcpm_key, "hello", 5);
	memcpy(o->value, &key, sizeof(key));
	o->len = sizeof(key);
}

static void put_text(struct rng *r, struct option_value *o)
{
	static const char *const devices[] = { "lo", "lo", "", "nonesuch", "sit0" };
	static const char *const algorithms[] = { "cubic", "reno", "reno", "nonesuch", "" };
	static const char *const ulps[] = { "tls", "mptcp", "smc", "nonesuch", "", "espintcp" };
	const char *s = o->name == TCP_ULP ? ONE_OF(r, ulps) : ONE_OF(r, algorithms);

	if (o->level == SOL_SOCKET)
		s = ONE_OF(r, devices);
	strcpy((char *)o->value, s);
	o->len = strlen(s) + below(r, 2);
}

static void put_value(struct rng *r, enum value_kind kind, struct option_value *o)
{
	struct linger linger = { below(r, 2), below(r, 3) };
	struct timeval tv = { 0, 1000 * below(r, 30) };
	int i = random_int(r, kind);

	memset(o->value, 0, sizeof(o->value));
	switch (kind) {
	case V_LINGER:
		memcpy(o->value, &linger, o->len = sizeof(linger));
		break;
	case V_TIME:
		memcpy(o->value, &tv, o->len = sizeof(tv));
		break;
	case V_TEXT:
		put_text(r, o);
		break;
	case V_FILTER:
		put_filter(r, o);
		break;
	case V_MD5:
		put_md5(r, o);
		break;
	case V_BYTES:
		o->len = 4 * below(r, 12);
		for (unsigned int n = 0; n < o->len; n++)
			o->value[n] = chance(r, 3) ? rnd(r) : 0;
		break;
	case V_FD:
		i = chance(r, 2) ? -1 : (int)below(r, 240);
		/* fall through */
	default:
		memcpy(o->value, &i, o->len = sizeof(i));
	}
}

/* A length that is not the value's own. */
static socklen_t odd_length(struct rng *r, socklen_t len)
{
	static const socklen_t lengths[] = { 0, 1, 2, 3, 4, 5, 8, 16, 40, 512, 0x7fffffff, -1 };

	return chance(r, 3) ? len - 1 : ONE_OF(r, lengths);
}

/* Any level and number but those of iptables and multicast routing, which load modules. */
static void any_number(struct rng *r, struct option_value *o)
{
	static const int levels[] = { SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, SOL_TCP, 17, 284,
				      282, 283, 255, -1 };

	o->level = ONE_OF(r, levels);
	do {
		o->name = below(r, 84);
	} while (o->name >= 64 && o->name < 72 && o->level != SOL_SOCKET);
	put_value(r, below(r, V_FD), o);
}

static void table_option(struct rng *r, int but, struct option_value *o)
{
	const struct spec *s;

	do {
		s = &ONE_OF(r, specs);
	} while (s->flags & but);
	o->level = s->level;
	o->name = s->name;
	put_value(r, s->kind, o);
	if (chance(r, 12))
		o->len = odd_length(r, o->len);
	if (o->len > sizeof(o->value) && o->len < 0x7fffffff)
		o->len = sizeof(o->value);
}

/**
 * random_option() - for concurrent programs
 * @r: where it comes from
 * @hostile: also what may make the listener answer nobody
 * @o: the result
 */
void random_option(struct rng *r, bool hostile, struct option_value *o)
{
	if (hostile && chance(r, 4))
		any_number(r, o);
	else
		table_option(r, hostile ? 0 : HOSTILE, o);
}

/** plain_option() - for differential programs, where it must have one result */
void plain_option(struct rng *r, struct option_value *o)
{
	/* Few of those after which every connect() has to run into its time limit. */
	table_option(r, NO_DIFF | (below(r, 3) ? HOSTILE : 0), o);
}

/* Options whose value is another each time: times, ports, cookies, CPUs. */
static bool differs_anyway(int level, int name)
{
	if (level == SOL_SOCKET)
		return name == SO_PEERNAME || name == SO_INCOMING_CPU || name == SO_MEMINFO ||
		       name == SO_INCOMING_NAPI_ID || name == SO_COOKIE;
	if (level == SOL_TCP)
		return name == TCP_INFO || name == TCP_CC_INFO || name == TCP_ZEROCOPY_RECEIVE ||
		       name == TCP_TIMESTAMP || name == TCP_SAVED_SYN;
	if (level == IPPROTO_IP)
		return name == 52 /* IP_PROTOCOL: the port, of anything but a raw socket */;
	return level == IPPROTO_IPV6 && (name == 32 /* flow labels */ || (name >= 64 && name < 66));
}

/**
 * list_option() - every option that can be compared, by number
 * @n: from 0 on
 * @level: the result
 * @name: the result
 *
 * Return: 1, 0 for one to leave out, -1 behind the last.
 */
int list_option(unsigned int n, int *level, int *name)
{
	static const struct {
		int level;
		unsigned int count;
	} ranges[] = {
		{ SOL_SOCKET, 76 }, { IPPROTO_IP, 54 }, { IPPROTO_IPV6, 81 }, { SOL_TCP, 42 }
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(ranges); i++) {
		if (n < ranges[i].count) {
			*level = ranges[i].level;
			*name = n;
			return !differs_anyway(*level, *name);
		}
		n -= ranges[i].count;
	}
	return -1;
}
