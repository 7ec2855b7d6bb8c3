// SPDX-License-Identifier: GPL-2.0
/*
 * Receive Flow Deliver: the port of a connection names its CPU
 *
 * include/rfd.h tells why. Three parts, in this order: which CPU a port belongs to
 * and the choice of one at connect(), which CPU a packet belongs to, on and off.
 *
 * N, the number of CPU codes, is that of possible CPUs rounded up to a power of two;
 * port p belongs to CPU (p / 2) mod N. So each CPU has even and odd ports, and those
 * of the parity that connect() prefers come first, as in the kernel, which leaves
 * the other parity to bind().
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/jhash.h>
#include <linux/jump_label.h>
#include <linux/log2.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/skbuff.h>
#include <linux/static_call.h>
#include <linux/tcp.h>
#include <linux/tracepoint.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/net_namespace.h>
#include <net/netns/hash.h>

#include "include/compat.h"
#include "include/hook.h"
#include "include/rfd.h"

#define FS_STEER_STOCK (-2) /* get_rps_cpu() decides; -1 is its "handle it here" */

/* What the parameter shows; written under fs_rfd_lock. */
unsigned int fs_rfd_enabled;

/* N - 1; constant once loaded. */
static unsigned int fs_cpu_mask __read_mostly;

/* Switching off: ports leave one by one, see fs_steer_port(). */
static bool fs_rfd_leaving __read_mostly;

static struct fs_rfd_cpu __percpu *fs_rfd_cpus;

DEFINE_STATIC_CALL_NULL(fs_hash_connect, inet_hash_connect);
DEFINE_STATIC_CALL_NULL(fs_hash_connect6, inet6_hash_connect);

static unsigned int fs_port_cpu(unsigned int port)
{
	return (port >> 1) & fs_cpu_mask;
}

/* The ports of @cpu from @low to @high whose lowest bit is @parity. */
static struct fs_port_set fs_port_set(unsigned int low, unsigned int high, unsigned int cpu,
				      unsigned int parity)
{
	unsigned int stride = 2 * (fs_cpu_mask + 1);
	struct fs_port_set set;

	set.first = low + ((2 * cpu + parity - low) & (stride - 1));
	set.count = set.first > high ? 0 : (high - set.first) / stride + 1;
	return set;
}

/*
 * The candidate number @i: drawn anew each time, so that nothing but the range and
 * the CPU can be told from outside; all, one after the other, when there are few.
 */
static unsigned int fs_port_pick(const struct fs_port_set *set, unsigned int tries,
				 unsigned int start, unsigned int i)
{
	unsigned int n;

	if (set->count <= tries)
		n = (start + i) % set->count;
	else
		n = i ? get_random_u32_below(set->count) : start;
	return set->first + n * 2 * (fs_cpu_mask + 1);
}

/* @tries of both parities; 0: take any port. */
static unsigned int fs_backoff_tries(struct fs_backoff *b, u32 key)
{
	bool old = (s32)((u32)jiffies - READ_ONCE(b->until)) >= 0;
	u16 skip = READ_ONCE(b->skip);

	if (READ_ONCE(b->key) != key)
		return !READ_ONCE(b->key) || old ? FS_TRIES : FS_TRIES_AGAIN;
	if (!skip || old)
		return FS_TRIES_AGAIN;
	WRITE_ONCE(b->skip, skip - 1);
	return 0;
}

/* No port was free: pass over more connects each time. */
static void fs_backoff_failed(struct fs_backoff *b, u32 key)
{
	u16 step = FS_BACKOFF_MIN;

	if (READ_ONCE(b->key) == key)
		step = min_t(u16, 2 * READ_ONCE(b->step), FS_BACKOFF_MAX);
	else if (READ_ONCE(b->key) && (s32)((u32)jiffies - READ_ONCE(b->until)) < 0)
		return;
	WRITE_ONCE(b->key, key);
	WRITE_ONCE(b->step, step);
	WRITE_ONCE(b->skip, step);
	WRITE_ONCE(b->until, (u32)jiffies + HZ);
}

static void fs_backoff_worked(struct fs_backoff *b, u32 key)
{
	if (READ_ONCE(b->key) == key)
		WRITE_ONCE(b->key, 0);
}

/* What a connection's four addresses are but for the port that is to be found; not 0. */
static u32 fs_backoff_key(const struct sock *sk, bool v6)
{
	const struct inet_sock *inet = inet_sk(sk);
	u32 mix = net_hash_mix(sock_net(sk)) + (__force u32)inet->inet_dport;

#if IS_ENABLED(CONFIG_IPV6)
	if (v6)
		return jhash2((const u32 *)&sk->sk_v6_daddr, 4,
			      jhash2((const u32 *)&sk->sk_v6_rcv_saddr, 4, mix)) |
		       1;
#endif
	return jhash_3words((__force u32)inet->inet_daddr, (__force u32)inet->inet_rcv_saddr, mix,
			    0) |
	       1;
}

/* The map of ports handed out in a namespace, made when it is needed first. */
static unsigned long *fs_ports_get(struct fs_net *fn, gfp_t gfp)
{
	unsigned long *ports = READ_ONCE(fn->ports), *old;

	if (ports)
		return ports;
	ports = bitmap_zalloc(FS_PORTS, gfp | __GFP_ACCOUNT | __GFP_NOWARN);
	if (!ports)
		return NULL;
	old = cmpxchg(&fn->ports, NULL, ports);
	if (!old)
		return ports;
	bitmap_free(ports);
	return old;
}

/* Another than us has the port now. Does not write a line that all CPUs read without need. */
static bool fs_port_forget(const struct net *net, unsigned int port)
{
	unsigned long *ports = READ_ONCE(fs_net(net)->ports);

	return ports && test_bit(port, ports) && test_and_clear_bit(port, ports);
}

static __always_inline int fs_stock_connect(struct inet_timewait_death_row *row, struct sock *sk,
					    bool v6)
{
	return v6 ? static_call(fs_hash_connect6)(row, sk) : static_call(fs_hash_connect)(row, sk);
}

/* With one port to choose from, the kernel's function takes it or says EADDRNOTAVAIL. */
static __always_inline int fs_try_port(struct inet_timewait_death_row *row, struct sock *sk,
				       unsigned int port, bool v6)
{
	u32 range = port << 16 | port;
	int err;

	/* Another thread may give the socket a range, or has just done so: then that is it. */
	if (!fs_port_range_change(sk, 0, range))
		return fs_stock_connect(row, sk, v6);
	err = fs_stock_connect(row, sk, v6);
	fs_port_range_change(sk, range, 0);
	return err;
}

/* Try ports of @cpu; -EADDRNOTAVAIL: none of those that were tried is free. */
static __always_inline int fs_try_ports(struct inet_timewait_death_row *row, struct sock *sk,
					unsigned int cpu, unsigned int tries, bool v6)
{
	unsigned int i, half, start;
	struct fs_port_set set;
	int low, high, err;

	inet_get_local_port_range(sock_net(sk), &low, &high);
	for (half = 0; half < 2; half++) {
		set = fs_port_set(low, high, cpu, (low ^ half) & 1);
		if (!set.count)
			continue;
		start = get_random_u32_below(set.count);
		for (i = 0; i < min(tries, set.count); i++) {
			err = fs_try_port(row, sk, fs_port_pick(&set, tries, start, i), v6);
			if (err != -EADDRNOTAVAIL)
				return err;
		}
	}
	return -EADDRNOTAVAIL;
}

/*
 * The kernel's function with a port that names this CPU. Whatever goes wrong with
 * it, the kernel chooses as ever. Process context, under the socket lock.
 */
static __always_inline int fs_connect(struct inet_timewait_death_row *row, struct sock *sk, bool v6)
{
	unsigned int cpu = raw_smp_processor_id(), tries;
	struct fs_net *fn = fs_net(sock_net(sk));
	/* What the socket may do for memory: it can be that of a file system or of swap. */
	unsigned long *ports = fs_ports_get(fn, sk->sk_allocation);
	u32 key = fs_backoff_key(sk, v6);
	struct fs_backoff *b = &raw_cpu_ptr(fs_rfd_cpus)->backoff[(key >> 1) % FS_BACKOFFS];
	int err;

	tries = ports ? fs_backoff_tries(b, key) : 0;
	if (!tries) {
		fs_count_rfd(fn, FS_RFD_BACKOFF);
		return fs_stock_connect(row, sk, v6);
	}
	err = fs_try_ports(row, sk, cpu, tries, v6);
	if (err == -EADDRNOTAVAIL) {
		fs_backoff_failed(b, key);
		fs_count_rfd(fn, FS_RFD_ANY);
		return fs_stock_connect(row, sk, v6);
	}
	fs_backoff_worked(b, key);
	/* The kernel took no other than ours, unless the range has changed meanwhile. */
	if (!err && fs_port_cpu(inet_sk(sk)->inet_num) == cpu) {
		if (!test_bit(inet_sk(sk)->inet_num, ports))
			set_bit(inet_sk(sk)->inet_num, ports);
		fs_count_rfd(fn, FS_RFD_PORT);
	}
	return err;
}

static int fs_connect4(struct inet_timewait_death_row *row, struct sock *sk)
{
	int err;

	this_cpu_inc(fs_rfd_cpus->connecting);
	err = fs_connect(row, sk, false);
	this_cpu_dec(fs_rfd_cpus->connecting);
	return err;
}

static int fs_connect6(struct inet_timewait_death_row *row, struct sock *sk)
{
	int err;

	this_cpu_inc(fs_rfd_cpus->connecting);
	err = fs_connect(row, sk, true);
	this_cpu_dec(fs_rfd_cpus->connecting);
	return err;
}

/* Is the port of this connection ours to choose? The kernel's function also serves DCCP. */
static bool fs_may_choose(const struct sock *sk)
{
	if (sk->sk_protocol != IPPROTO_TCP)
		return false;
	if (!inet_sk(sk)->inet_num && !fs_port_range(sk))
		return true;
	fs_port_forget(sock_net(sk), inet_sk(sk)->inet_num);
	fs_count_rfd(fs_net(sock_net(sk)), FS_RFD_GIVEN);
	return false;
}

static void notrace fs_at_connect4(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *op,
				   struct ftrace_regs *fregs)
{
	if (fs_may_choose((const struct sock *)fs_hook_arg(fregs, 1)))
		fs_hook_replace(fregs, fs_connect4);
}

static void notrace fs_at_connect6(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *op,
				   struct ftrace_regs *fregs)
{
	if (fs_may_choose((const struct sock *)fs_hook_arg(fregs, 1)))
		fs_hook_replace(fregs, fs_connect6);
}

/*
 * The TCP header behind an IP header at skb->data, or NULL: it is not TCP, a
 * fragment, or wrapped in something.
 */
static const struct tcphdr *fs_tcp_header(const struct sk_buff *skb, struct tcphdr *buf)
{
	unsigned int offset;

	if (skb->protocol == htons(ETH_P_IP)) {
		struct iphdr ip_buf;
		const struct iphdr *ip = skb_header_pointer(skb, 0, sizeof(ip_buf), &ip_buf);

		if (!ip || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP ||
		    ip_is_fragment(ip))
			return NULL;
		offset = ip->ihl * 4;
	} else if (skb->protocol == htons(ETH_P_IPV6)) {
		struct ipv6hdr ip6_buf;
		const struct ipv6hdr *ip6 = skb_header_pointer(skb, 0, sizeof(ip6_buf), &ip6_buf);

		if (!ip6 || ip6->version != 6 || ip6->nexthdr != IPPROTO_TCP)
			return NULL;
		offset = sizeof(ip6_buf);
	} else {
		return NULL;
	}
	return skb_header_pointer(skb, offset, sizeof(*buf), buf);
}

/* Everything that was ever queued there has been handled. */
static bool fs_backlog_done(int cpu)
{
	const struct softnet_data *sd = &per_cpu(softnet_data, cpu);

	return READ_ONCE(sd->input_queue_head) == READ_ONCE(sd->input_queue_tail);
}

/*
 * Which CPU handles a packet to a port that was handed out. All packets of a flow go
 * through one backlog, or are handled where that backlog is known to be empty, so they
 * stay in order; switching off, a port leaves at such a moment, and for good.
 */
static int fs_steer_port(struct fs_net *fn, unsigned long *ports, unsigned int port,
			 const struct tcphdr *th)
{
	int cpu = fs_port_cpu(port);

	/* A SYN is never a reply: somebody wants to open a connection to that port. */
	if (th->syn && !th->ack) {
		fs_count_rfd(fn, FS_RFD_SYN);
		return FS_STEER_STOCK;
	}
	if (cpu >= nr_cpu_ids || !cpu_online(cpu)) {
		fs_count_rfd(fn, FS_RFD_OFFLINE);
		return FS_STEER_STOCK;
	}
	if (unlikely(READ_ONCE(fs_rfd_leaving)) && fs_backlog_done(cpu)) {
		clear_bit(port, ports);
		return FS_STEER_STOCK;
	}
	if (cpu != raw_smp_processor_id()) {
		fs_count_rfd(fn, FS_RFD_STEERED);
		return cpu;
	}
	fs_count_rfd(fn, FS_RFD_HERE);
	return fs_backlog_done(cpu) ? -1 : cpu;
}

/* In softirq, or with it off; skb->data is the network header. */
static int fs_steer(const struct sk_buff *skb)
{
	struct fs_net *fn = fs_net(dev_net(skb->dev));
	unsigned long *ports = READ_ONCE(fn->ports);
	const struct tcphdr *th;
	struct tcphdr buf;

	if (!ports || skb->pkt_type != PACKET_HOST)
		return FS_STEER_STOCK;
	th = fs_tcp_header(skb, &buf);
	if (!th || !test_bit(ntohs(th->dest), ports))
		return FS_STEER_STOCK;
	return fs_steer_port(fn, ports, ntohs(th->dest), th);
}

static void notrace fs_at_rps(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *op,
			      struct ftrace_regs *fregs)
{
	int cpu = fs_steer((const struct sk_buff *)fs_hook_arg(fregs, 1));

	if (cpu != FS_STEER_STOCK)
		fs_hook_return(fregs, cpu);
}

/*
 * A listener takes the port: at listen(), or, when listen() also chose the port,
 * with its first child.
 */
static void fs_at_state(void *unused, const struct sock *sk, const int from, const int to)
{
	if (to != TCP_LISTEN && !(from == TCP_SYN_RECV && to == TCP_ESTABLISHED))
		return;
	if (sk->sk_protocol == IPPROTO_TCP && fs_port_forget(sock_net(sk), inet_sk(sk)->inet_num))
		fs_count_rfd(fs_net(sock_net(sk)), FS_RFD_TAKEN);
}

static struct fs_hook fs_rps_hook = FS_HOOK("get_rps_cpu", fs_at_rps);
static struct fs_hook fs_connect4_hook = FS_HOOK("inet_hash_connect", fs_at_connect4);
static struct fs_hook fs_connect6_hook = FS_HOOK("inet6_hash_connect", fs_at_connect6);

/* In the order in which they are installed: first what steers, then what hands out ports. */
static struct fs_hook * const fs_rfd_hooks[] = { &fs_rps_hook, &fs_connect4_hook,
						 &fs_connect6_hook };

/* Switching on and off, and whether it is possible now: between fs_rfd_init() and fs_rfd_exit(). */
static DEFINE_MUTEX(fs_rfd_lock);
static bool fs_rfd_ready;

static struct tracepoint *fs_state_tp;

static void fs_find_tp(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "inet_sock_set_state"))
		fs_state_tp = tp;
}

#define fs_rfd_stays_off(fmt, ...) \
	pr_notice("Receive Flow Deliver stays off: " fmt "\n", ##__VA_ARGS__)

/* Look up all that is needed; under fs_rfd_lock. */
static int fs_rfd_find(void)
{
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(fs_rfd_hooks); i++) {
		err = fs_hook_find(fs_rfd_hooks[i]);
		if (err) {
			fs_rfd_stays_off("%s %s in this kernel", fs_rfd_hooks[i]->symbol,
					 err == -ENOENT ? "is not" : "cannot be traced");
			return -EOPNOTSUPP;
		}
	}
	if (!fs_state_tp)
		for_each_kernel_tracepoint(fs_find_tp, NULL);
	if (!fs_state_tp) {
		fs_rfd_stays_off("inet_sock_set_state is no tracepoint");
		return -EOPNOTSUPP;
	}
	static_call_update(fs_hash_connect, fs_hook_stock(&fs_connect4_hook));
	static_call_update(fs_hash_connect6, fs_hook_stock(&fs_connect6_hook));
	return 0;
}

/* Flows of another time are not to move: what was handed out then is forgotten. */
static void fs_ports_clear(void)
{
	unsigned long *ports;
	struct net *net;

	rcu_read_lock();
	for_each_net_rcu(net) {
		ports = READ_ONCE(fs_net(net)->ports);
		if (ports)
			bitmap_zero(ports, FS_PORTS);
	}
	rcu_read_unlock();
}

/* No task is inside our connect functions any more; none can come, their hooks are gone. */
static void fs_wait_connecting(void)
{
	long n;
	int cpu;

	for (;;) {
		n = 0;
		for_each_possible_cpu(cpu)
			n += READ_ONCE(per_cpu_ptr(fs_rfd_cpus, cpu)->connecting);
		if (!n)
			break;
		usleep_range(1000, 2000);
	}
	/* And has left them altogether. */
	synchronize_rcu_tasks();
}

/* Undo fs_rfd_on(), also when it has come only half the way; under fs_rfd_lock. */
static void fs_rfd_off(void)
{
	bool steering = fs_rps_hook.installed;

	fs_hook_remove(&fs_connect6_hook);
	fs_hook_remove(&fs_connect4_hook);
	fs_wait_connecting();
	if (steering) {
		WRITE_ONCE(fs_rfd_leaving, true);
		msleep(100);
		static_branch_dec(&rps_needed);
		fs_hook_remove(&fs_rps_hook);
		WRITE_ONCE(fs_rfd_leaving, false);
	}
	tracepoint_probe_unregister(fs_state_tp, fs_at_state, NULL);
	tracepoint_synchronize_unregister();
}

/* Under fs_rfd_lock. */
static int fs_rfd_on(void)
{
	unsigned int i;
	int err = fs_rfd_find();

	if (err)
		return err;
	fs_ports_clear();
	err = tracepoint_probe_register(fs_state_tp, fs_at_state, NULL);
	if (err) {
		fs_rfd_stays_off("tracepoint inet_sock_set_state: error %d", err);
		return err;
	}
	for (i = 0; i < ARRAY_SIZE(fs_rfd_hooks); i++) {
		err = fs_hook_install(fs_rfd_hooks[i]);
		if (err) {
			fs_rfd_stays_off("%s: error %d: a live patch has it or ftrace is off",
					 fs_rfd_hooks[i]->symbol, err);
			goto off;
		}
		/* From here on get_rps_cpu() is called. */
		if (fs_rfd_hooks[i] == &fs_rps_hook)
			static_branch_inc(&rps_needed);
	}
	return 0;

off:
	fs_rfd_off();
	return err;
}

/**
 * fs_rfd_switch() - what a write to the parameter does; process context, sleeps
 * @on: the wish. Before fs_rfd_init() it is only noted.
 *
 * Return: 0; -EOPNOTSUPP: the kernel lacks something; -EBUSY or another error of
 * ftrace: it cannot be done now. On errors a line in the log tells, and it is off.
 */
int fs_rfd_switch(bool on)
{
	int err = 0;

	mutex_lock(&fs_rfd_lock);
	if (fs_rfd_ready && on != fs_rfd_enabled) {
		if (on)
			err = fs_rfd_on();
		else
			fs_rfd_off();
	}
	if (!err)
		WRITE_ONCE(fs_rfd_enabled, on);
	mutex_unlock(&fs_rfd_lock);
	return err;
}

/**
 * fs_rfd_init() - at load, behind fs_stats_init(); on if the parameter says so and it is possible
 *
 * Return: 0 or -ENOMEM.
 */
int fs_rfd_init(void)
{
	fs_cpu_mask = roundup_pow_of_two(nr_cpu_ids) - 1;
	fs_rfd_cpus = alloc_percpu(struct fs_rfd_cpu);
	if (!fs_rfd_cpus)
		return -ENOMEM;
	mutex_lock(&fs_rfd_lock);
	fs_rfd_ready = true;
	if (fs_rfd_enabled && fs_rfd_on())
		WRITE_ONCE(fs_rfd_enabled, 0);
	mutex_unlock(&fs_rfd_lock);
	return 0;
}

/**
 * fs_rfd_exit() - undo fs_rfd_init(), before fs_stats_exit()
 *
 * Connections stay as they are.
 */
void fs_rfd_exit(void)
{
	fs_rfd_switch(false);
	mutex_lock(&fs_rfd_lock);
	fs_rfd_ready = false;
	mutex_unlock(&fs_rfd_lock);
	free_percpu(fs_rfd_cpus);
}

/**
 * fs_rfd_net_exit() - a namespace ends, or the module goes
 * @fn: ours of the namespace: it has no devices any more, or nothing is hooked
 */
void fs_rfd_net_exit(struct fs_net *fn)
{
	bitmap_free(fn->ports);
}
