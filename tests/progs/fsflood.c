// SPDX-License-Identifier: GPL-2.0
/*
 * fsflood: sends SYNs to a local address from addresses where nobody answers,
 * one from each, on one CPU: half-open connections that stay.
 *
 * The caller provides a route for the sources, or the SYN-ACKs have nowhere to
 * go and the requests are dropped at once. They would not leave 127.0.0.1 either.
 */
#include <netinet/ip.h>
#include <netinet/tcp.h>

#include "fsutil.h"

struct syn {
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

static uint16_t tcp_checksum(const struct syn *s)
{
	struct {
		uint32_t from, to;
		uint8_t zero, proto;
		uint16_t len;
		struct tcphdr tcp;
	} __attribute__((packed)) p = {
		s->ip.saddr, s->ip.daddr, 0, IPPROTO_TCP, htons(sizeof(s->tcp)), s->tcp
	};
	uint16_t words[sizeof(p) / 2];
	uint32_t sum = 0;
	size_t i;

	memcpy(words, &p, sizeof(p));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		sum += words[i];
	sum = (sum >> 16) + (sum & 0xffff);
	return ~(sum + (sum >> 16));
}

static void send_syn(int fd, struct in_addr dest, int port, uint32_t source)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr = dest };
	struct syn s = { 0 };

	s.ip.version = 4;
	s.ip.ihl = 5;
	s.ip.ttl = 64;
	s.ip.protocol = IPPROTO_TCP;
	s.ip.tot_len = htons(sizeof(s));
	s.ip.saddr = htonl(source);
	s.ip.daddr = dest.s_addr;
	s.tcp.source = htons(1024 + source % 30000);
	s.tcp.dest = htons(port);
	s.tcp.seq = htonl(source * 2654435761u);
	s.tcp.doff = 5;
	s.tcp.syn = 1;
	s.tcp.window = htons(65535);
	s.tcp.check = tcp_checksum(&s);
	if (sendto(fd, &s, sizeof(s), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("sendto");
}

int main(int argc, char **argv)
{
	struct in_addr dest, first;
	int n, i, fd, port;

	if (argc < 5 || argc > 6 || !inet_aton(argv[1], &dest) || !inet_aton(argv[4], &first)) {
		fprintf(stderr, "usage: fsflood ADDRESS PORT NUMBER FIRST_SOURCE [CPU]\n");
		return 2;
	}
	port = atoi(argv[2]);
	n = atoi(argv[3]);
	if (argc == 6)
		pin_to(atoi(argv[5]));
	fd = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		die("raw socket");
	for (i = 0; i < n; i++)
		send_syn(fd, dest, port, ntohl(first.s_addr) + i);
	return 0;
}
