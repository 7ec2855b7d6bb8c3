// SPDX-License-Identifier: GPL-2.0
/* Cases for rfd.c */
#include "../../rfd.c"

#include <linux/slab.h>

#include "kunit_util.h"

/* Another N for a case; fsk_rfd_exit() puts the machine's back. */
static void fsk_codes(unsigned int n)
{
	fs_cpu_mask = n - 1;
}

static void fsk_rfd_exit(struct kunit *test)
{
	fsk_codes(roundup_pow_of_two(nr_cpu_ids));
	fs_rfd_leaving = false;
	KUNIT_EXPECT_EQ(test, fs_rfd_switch(false), 0);
	if (fs_net(&init_net)->ports)
		bitmap_zero(fs_net(&init_net)->ports, FS_PORTS);
	fsk_exit(test);
}

static unsigned long fsk_rfd_sum(enum fs_rfd_stat s)
{
	unsigned long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(fs_net(&init_net)->stats, cpu)->rfd[s]);
	return sum;
}

static unsigned long *fsk_ports(struct kunit *test)
{
	unsigned long *ports = fs_ports_get(fs_net(&init_net), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ports);
	return ports;
}

static void fs_port_cpu__is_in_the_bits_above_the_lowest(struct kunit *test)
{
	fsk_codes(4);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(40000), 0);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(40001), 0);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(40002), 1);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(40007), 3);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(40008), 0);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(65535), 3);
	fsk_codes(1);
	KUNIT_EXPECT_EQ(test, fs_port_cpu(65535), 0);
}

static void fs_port_set__has_each_port_of_the_range_once(struct kunit *test)
{
	/* clang-format off */
	static const unsigned int ranges[][2] = {
		{ 32768, 60999 }, { 1, 65535 }, { 32769, 60998 }, { 40000, 40010 },
		{ 50001, 50001 },
	};
	/* clang-format on */
	u8 *seen = kunit_kzalloc(test, FS_PORTS, GFP_KERNEL);
	unsigned int i, n, cpu, parity, k, port, bad = 0;

	KUNIT_ASSERT_NOT_NULL(test, seen);
	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		for (n = 1; n <= 256; n *= 4) {
			fsk_codes(n);
			memset(seen, 0, FS_PORTS);
			for (cpu = 0; cpu < n; cpu++) {
				for (parity = 0; parity < 2; parity++) {
					struct fs_port_set s = fs_port_set(ranges[i][0],
									   ranges[i][1], cpu,
									   parity);

					for (k = 0; k < s.count; k++) {
						port = s.first + k * 2 * n;
						bad += fs_port_cpu(port) != cpu ||
						       port % 2 != parity;
						seen[port & (FS_PORTS - 1)]++;
					}
				}
			}
			for (port = 0; port < FS_PORTS; port++)
				bad += seen[port] != (port >= ranges[i][0] && port <= ranges[i][1]);
			KUNIT_EXPECT_EQ_MSG(test, bad, 0, "range %u, N %u", i, n);
		}
	}
}

/* 256 ports, 64 draws for each: none is far from what chance allows. */
static void fs_port_pick__is_uniform(struct kunit *test)
{
	struct fs_port_set set = { .first = 32770, .count = 256 };
	unsigned int *n = kunit_kcalloc(test, 256, sizeof(*n), GFP_KERNEL);
	unsigned int i, k, bad = 0;

	KUNIT_ASSERT_NOT_NULL(test, n);
	fsk_codes(4);
	for (i = 0; i < 64 * 256; i++) {
		k = fs_port_pick(&set, FS_TRIES, get_random_u32_below(256), i % 2) - set.first;
		KUNIT_ASSERT_EQ(test, k % 8, 0);
		KUNIT_ASSERT_LT(test, k / 8, 256);
		n[k / 8]++;
	}
	for (i = 0; i < 256; i++)
		bad += n[i] < 64 - 7 * 8 || n[i] > 64 + 7 * 8;
	KUNIT_EXPECT_EQ(test, bad, 0);
}

static void fs_port_pick__takes_each_of_a_few_once(struct kunit *test)
{
	struct fs_port_set set = { .first = 40002, .count = FS_TRIES };
	unsigned long seen[BITS_TO_LONGS(FS_TRIES)] = {};
	unsigned int i;

	fsk_codes(4);
	for (i = 0; i < FS_TRIES; i++)
		__set_bit((fs_port_pick(&set, FS_TRIES, 5, i) - set.first) / 8, seen);
	KUNIT_EXPECT_EQ(test, bitmap_weight(seen, FS_TRIES), FS_TRIES);
}

static void fs_backoff_tries__all_for_what_is_not_known(struct kunit *test)
{
	struct fs_backoff b = {};

	KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 5), FS_TRIES);
	fs_backoff_failed(&b, 7);
	KUNIT_EXPECT_EQ_MSG(test, fs_backoff_tries(&b, 5), FS_TRIES_AGAIN,
			    "beside one that has just failed");
	b.until = (u32)jiffies - 1;
	KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 5), FS_TRIES);
}

static void fs_backoff_failed__passes_over_more_each_time(struct kunit *test)
{
	unsigned int want = FS_BACKOFF_MIN, i, n;
	struct fs_backoff b = {};

	for (i = 0; i < 10; i++) {
		fs_backoff_failed(&b, 7);
		for (n = 0; !fs_backoff_tries(&b, 7) && n < 1000; n++)
			b.until = (u32)jiffies + HZ;
		KUNIT_EXPECT_EQ(test, n, want);
		KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 7), FS_TRIES_AGAIN);
		want = min(want * 2, (unsigned int)FS_BACKOFF_MAX);
	}
}

static void fs_backoff_failed__is_tried_again_after_a_second(struct kunit *test)
{
	struct fs_backoff b = {};

	fs_backoff_failed(&b, 7);
	KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 7), 0);
	b.until = (u32)jiffies;
	KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 7), FS_TRIES_AGAIN);
	KUNIT_EXPECT_LE(test, (s32)((u32)jiffies + HZ - b.until), (s32)HZ);
}

static void fs_backoff_failed__leaves_another_s_place(struct kunit *test)
{
	struct fs_backoff b = {};

	fs_backoff_failed(&b, 7);
	fs_backoff_failed(&b, 5);
	KUNIT_EXPECT_EQ(test, b.key, 7);
	b.until = (u32)jiffies - 1;
	fs_backoff_failed(&b, 5);
	KUNIT_EXPECT_EQ(test, b.key, 5);
	KUNIT_EXPECT_EQ(test, b.step, FS_BACKOFF_MIN);
}

static void fs_backoff_worked__forgets_its_own_only(struct kunit *test)
{
	struct fs_backoff b = {};

	fs_backoff_failed(&b, 7);
	fs_backoff_worked(&b, 5);
	KUNIT_EXPECT_EQ(test, b.key, 7);
	fs_backoff_worked(&b, 7);
	KUNIT_EXPECT_EQ(test, b.key, 0);
	KUNIT_EXPECT_EQ(test, fs_backoff_tries(&b, 7), FS_TRIES);
}

static void fs_backoff_key__is_of_the_destination(struct kunit *test)
{
	struct sock *sk = fsk_tcp(test, AF_INET6)->sk;
	u32 key;

	inet_sk(sk)->inet_daddr = htonl(0x0a000001);
	inet_sk(sk)->inet_dport = htons(80);
	key = fs_backoff_key(sk, false);
	KUNIT_EXPECT_NE(test, key, 0);
	KUNIT_EXPECT_EQ(test, fs_backoff_key(sk, false), key);
	inet_sk(sk)->inet_dport = htons(81);
	KUNIT_EXPECT_NE(test, fs_backoff_key(sk, false), key);
	inet_sk(sk)->inet_dport = htons(80);
	inet_sk(sk)->inet_rcv_saddr = htonl(0x0a000002);
	KUNIT_EXPECT_NE(test, fs_backoff_key(sk, false), key);
	key = fs_backoff_key(sk, true);
	sk->sk_v6_daddr.s6_addr[15] ^= 2;
	KUNIT_EXPECT_NE(test, fs_backoff_key(sk, true), key);
	sk->sk_v6_daddr.s6_addr[15] ^= 2;
	inet_sk(sk)->inet_daddr = 0;
	inet_sk(sk)->inet_rcv_saddr = 0;
	inet_sk(sk)->inet_dport = 0;
}

static void fs_port_forget__tells_once(struct kunit *test)
{
	unsigned long *ports = fsk_ports(test);

	KUNIT_EXPECT_PTR_EQ(test, fsk_ports(test), ports);
	KUNIT_EXPECT_FALSE(test, fs_port_forget(&init_net, 40000));
	set_bit(40000, ports);
	KUNIT_EXPECT_FALSE(test, fs_port_forget(&init_net, 40001));
	KUNIT_EXPECT_TRUE(test, fs_port_forget(&init_net, 40000));
	KUNIT_EXPECT_FALSE(test, fs_port_forget(&init_net, 40000));
	KUNIT_EXPECT_FALSE(test, fs_port_forget(&init_net, 0));
	KUNIT_EXPECT_FALSE(test, fs_port_forget(&init_net, 65535));
}

#define FSK_SPORT 80
#define FSK_DPORT 40004

/* A packet as get_rps_cpu() gets it, with @options bytes of IPv4 options; all of it linear. */
static struct sk_buff *fsk_packet(struct kunit *test, int family, int protocol, int options)
{
	struct sk_buff *skb = alloc_skb(256, GFP_KERNEL);
	struct tcphdr *th;

	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb->dev = init_net.loopback_dev;
	skb->pkt_type = PACKET_HOST;
	if (family == AF_INET) {
		struct iphdr *ip = skb_put_zero(skb, sizeof(*ip) + options);

		ip->version = 4;
		ip->ihl = 5 + options / 4;
		ip->protocol = protocol;
		skb->protocol = htons(ETH_P_IP);
	} else {
		struct ipv6hdr *ip6 = skb_put_zero(skb, sizeof(*ip6));

		ip6->version = 6;
		ip6->nexthdr = protocol;
		skb->protocol = htons(ETH_P_IPV6);
	}
	th = skb_put_zero(skb, sizeof(*th));
	th->source = htons(FSK_SPORT);
	th->dest = htons(FSK_DPORT);
	th->ack = 1;
	return skb;
}

static unsigned int fsk_dest(const struct sk_buff *skb)
{
	struct tcphdr buf;
	const struct tcphdr *th = fs_tcp_header(skb, &buf);

	return th ? ntohs(th->dest) : 0;
}

static void fs_tcp_header__of_both_families(struct kunit *test)
{
	struct sk_buff *skb = fsk_packet(test, AF_INET, IPPROTO_TCP, 0);

	KUNIT_EXPECT_EQ(test, fsk_dest(skb), FSK_DPORT);
	kfree_skb(skb);
	skb = fsk_packet(test, AF_INET, IPPROTO_TCP, 12);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), FSK_DPORT);
	kfree_skb(skb);
	skb = fsk_packet(test, AF_INET6, IPPROTO_TCP, 0);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), FSK_DPORT);
	kfree_skb(skb);
}

static void fs_tcp_header__of_nothing_else(struct kunit *test)
{
	struct sk_buff *skb = fsk_packet(test, AF_INET, IPPROTO_UDP, 0);
	struct iphdr *ip;

	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	kfree_skb(skb);
	skb = fsk_packet(test, AF_INET, IPPROTO_IPIP, 0);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	kfree_skb(skb);
	skb = fsk_packet(test, AF_INET6, IPPROTO_ROUTING, 0);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	kfree_skb(skb);

	skb = fsk_packet(test, AF_INET, IPPROTO_TCP, 0);
	ip = (struct iphdr *)skb->data;
	ip->frag_off = htons(IP_MF);
	KUNIT_EXPECT_EQ_MSG(test, fsk_dest(skb), 0, "first fragment");
	ip->frag_off = htons(100);
	KUNIT_EXPECT_EQ_MSG(test, fsk_dest(skb), 0, "another fragment");
	ip->frag_off = htons(IP_DF);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), FSK_DPORT);
	ip->ihl = 4;
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	ip->ihl = 15;
	KUNIT_EXPECT_EQ_MSG(test, fsk_dest(skb), 0, "longer than the packet");
	ip->ihl = 5;
	ip->version = 5;
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	ip->version = 4;
	skb->protocol = htons(ETH_P_8021Q);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	skb->protocol = htons(ETH_P_IPV6);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), 0);
	skb->protocol = htons(ETH_P_IP);
	skb_trim(skb, skb->len - 1);
	KUNIT_EXPECT_EQ_MSG(test, fsk_dest(skb), 0, "a byte is missing");
	kfree_skb(skb);
}

static void fs_tcp_header__outside_the_linear_part(struct kunit *test)
{
	struct sk_buff *skb = fsk_packet(test, AF_INET, IPPROTO_TCP, 0);
	struct page *page = alloc_page(GFP_KERNEL);
	unsigned int len;

	KUNIT_ASSERT_NOT_NULL(test, page);
	len = skb->len;
	memcpy(page_address(page), skb->data, len);
	skb_trim(skb, 0);
	skb_add_rx_frag(skb, 0, page, 0, len, PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, skb_headlen(skb), 0);
	KUNIT_EXPECT_EQ(test, fsk_dest(skb), FSK_DPORT);
	kfree_skb(skb);
}

static void fs_steer__only_what_was_handed_out(struct kunit *test)
{
	struct sk_buff *skb = fsk_packet(test, AF_INET, IPPROTO_TCP, 0);
	unsigned long *ports = fsk_ports(test);

	fsk_need_cpus(test, 4);
	fsk_codes(4);
	fsk_on_cpu(test, 0);
	rcu_read_lock();
	KUNIT_EXPECT_EQ(test, fs_steer(skb), FS_STEER_STOCK);
	set_bit(FSK_DPORT, ports);
	KUNIT_EXPECT_EQ(test, fs_steer(skb), 2);
	skb->pkt_type = PACKET_OTHERHOST;
	KUNIT_EXPECT_EQ_MSG(test, fs_steer(skb), FS_STEER_STOCK, "on its way to another machine");
	rcu_read_unlock();
	kfree_skb(skb);
}

static void fs_steer_port__decides_and_counts(struct kunit *test)
{
	static const struct tcphdr ack = { .ack = 1 }, syn = { .syn = 1 },
				   synack = { .syn = 1, .ack = 1 };
	unsigned long steered = fsk_rfd_sum(FS_RFD_STEERED), here = fsk_rfd_sum(FS_RFD_HERE);
	unsigned long syns = fsk_rfd_sum(FS_RFD_SYN), offline = fsk_rfd_sum(FS_RFD_OFFLINE);
	struct fs_net *fn = fs_net(&init_net);
	unsigned long *ports = fsk_ports(test);
	int cpu;

	fsk_need_cpus(test, 4);
	fsk_codes(4);
	fsk_on_cpu(test, 1);
	set_bit(40004, ports);
	KUNIT_EXPECT_EQ(test, fs_steer_port(fn, ports, 40004, &ack), 2);
	KUNIT_EXPECT_EQ(test, fs_steer_port(fn, ports, 40004, &synack), 2);
	KUNIT_EXPECT_EQ(test, fs_steer_port(fn, ports, 40004, &syn), FS_STEER_STOCK);
	cpu = fs_steer_port(fn, ports, 40002, &ack);
	KUNIT_EXPECT_TRUE(test, cpu == -1 || cpu == 1);
	fsk_codes(roundup_pow_of_two(nr_cpu_ids + 1));
	KUNIT_EXPECT_EQ(test, fs_steer_port(fn, ports, 2 * nr_cpu_ids, &ack), FS_STEER_STOCK);
	KUNIT_EXPECT_GE(test, fsk_rfd_sum(FS_RFD_STEERED), steered + 2);
	KUNIT_EXPECT_GE(test, fsk_rfd_sum(FS_RFD_HERE), here + 1);
	KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_SYN), syns + 1);
	KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_OFFLINE), offline + 1);
}

static void fs_steer_port__switching_off_a_port_leaves_for_good(struct kunit *test)
{
	static const struct tcphdr ack = { .ack = 1 };
	unsigned long *ports = fsk_ports(test);

	fsk_need_cpus(test, 4);
	fsk_codes(4);
	fsk_on_cpu(test, 0);
	set_bit(40004, ports);
	fs_rfd_leaving = true;
	KUNIT_EXPECT_TRUE(test, fsk_wait(fs_steer_port(fs_net(&init_net), ports, 40004, &ack) ==
					 FS_STEER_STOCK));
	KUNIT_EXPECT_FALSE(test, test_bit(40004, ports));
}

static void fs_rfd_switch__ports_name_the_cpu_while_it_is_on(struct kunit *test)
{
	int cpu, family, odd = 0;
	struct socket *to, *sock;
	unsigned long port;

	for (family = 0; family < 2; family++) {
		to = fsk_listener(test, family ? AF_INET6 : AF_INET, 16);
		KUNIT_ASSERT_EQ(test, fs_rfd_switch(true), 0);
		KUNIT_EXPECT_EQ(test, fs_rfd_enabled, 1);
		port = fsk_rfd_sum(FS_RFD_PORT);
		for_each_online_cpu(cpu) {
			sock = fsk_connect(test, to, cpu);
			KUNIT_EXPECT_EQ(test, fs_port_cpu(fsk_port(sock)), cpu);
			KUNIT_EXPECT_TRUE(test, test_bit(fsk_port(sock), fsk_ports(test)));
			KUNIT_EXPECT_EQ_MSG(test, fs_port_range(sock->sk), 0,
					    "a range is left behind");
			odd += fsk_port(sock) % 2;
		}
		KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_PORT), port + num_online_cpus());
		KUNIT_ASSERT_EQ(test, fs_rfd_switch(false), 0);
		KUNIT_EXPECT_EQ(test, fs_rfd_enabled, 0);
		for_each_online_cpu(cpu)
			fsk_connect(test, to, cpu);
		KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_PORT), port + num_online_cpus());
	}
	KUNIT_EXPECT_EQ_MSG(test, odd, 0, "bind()'s ports");
}

static void fs_rfd_switch__a_listener_takes_its_port(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	unsigned long taken = fsk_rfd_sum(FS_RFD_TAKEN);
	unsigned long *ports = fsk_ports(test);

	KUNIT_ASSERT_EQ(test, fs_rfd_switch(true), 0);
	fsk_bind_loopback(test, sock);
	set_bit(fsk_port(sock), ports);
	KUNIT_EXPECT_EQ(test, kernel_listen(sock, 4), 0);
	KUNIT_EXPECT_FALSE(test, test_bit(fsk_port(sock), ports));
	KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_TAKEN), taken + 1);
	/* A child, too: a listener whose port listen() has chosen. */
	set_bit(fsk_port(sock), ports);
	fsk_connect(test, sock, -1);
	KUNIT_EXPECT_TRUE(test, fsk_wait(!test_bit(fsk_port(sock), ports)));
}

static struct fs_backoff *fsk_place(const struct sock *sk)
{
	return &raw_cpu_ptr(fs_rfd_cpus)->backoff[(fs_backoff_key(sk, false) >> 1) % FS_BACKOFFS];
}

static void fs_connect__backs_off_and_comes_back(struct kunit *test)
{
	struct socket *to = fsk_listener(test, AF_INET, 16), *sock;
	unsigned long backoff = fsk_rfd_sum(FS_RFD_BACKOFF);
	struct fs_backoff *b;
	u32 key;

	KUNIT_ASSERT_EQ(test, fs_rfd_switch(true), 0);
	sock = fsk_connect(test, to, 0);
	b = fsk_place(sock->sk);
	key = fs_backoff_key(sock->sk, false);
	b->key = 0;
	fs_backoff_failed(b, key);
	fsk_connect(test, to, 0);
	KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_BACKOFF), backoff + 1);
	b->until = (u32)jiffies;
	fsk_connect(test, to, 0);
	KUNIT_EXPECT_EQ(test, fsk_rfd_sum(FS_RFD_BACKOFF), backoff + 1);
	KUNIT_EXPECT_EQ_MSG(test, b->key, 0, "it has worked");
}

/* clang-format off */
static struct kunit_case fsk_rfd_cases[] = {
	KUNIT_CASE(fs_port_cpu__is_in_the_bits_above_the_lowest),
	KUNIT_CASE(fs_port_set__has_each_port_of_the_range_once),
	KUNIT_CASE(fs_port_pick__is_uniform),
	KUNIT_CASE(fs_port_pick__takes_each_of_a_few_once),
	KUNIT_CASE(fs_backoff_tries__all_for_what_is_not_known),
	KUNIT_CASE(fs_backoff_failed__passes_over_more_each_time),
	KUNIT_CASE(fs_backoff_failed__is_tried_again_after_a_second),
	KUNIT_CASE(fs_backoff_failed__leaves_another_s_place),
	KUNIT_CASE(fs_backoff_worked__forgets_its_own_only),
	KUNIT_CASE(fs_backoff_key__is_of_the_destination),
	KUNIT_CASE(fs_port_forget__tells_once),
	KUNIT_CASE(fs_connect__backs_off_and_comes_back),
	KUNIT_CASE(fs_tcp_header__of_both_families),
	KUNIT_CASE(fs_tcp_header__of_nothing_else),
	KUNIT_CASE(fs_tcp_header__outside_the_linear_part),
	KUNIT_CASE(fs_steer_port__decides_and_counts),
	KUNIT_CASE(fs_steer_port__switching_off_a_port_leaves_for_good),
	KUNIT_CASE(fs_steer__only_what_was_handed_out),
	KUNIT_CASE(fs_rfd_switch__ports_name_the_cpu_while_it_is_on),
	KUNIT_CASE(fs_rfd_switch__a_listener_takes_its_port),
	{}
};

/* clang-format on */

struct kunit_suite fsk_rfd_suite = {
	.name = "rfd",
	.init = fsk_init,
	.exit = fsk_rfd_exit,
	.test_cases = fsk_rfd_cases,
};
