/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between the kernels we support
 *
 * The core is written for the newest kernel and never looks at a version number;
 * this is the only file that knows about differences. What a kernel offers has
 * been compiled before (compat/probes.c); FS_HAVE_... are the results. Three kinds
 * of things are here:
 *  - what newer kernels have under the same name, for older ones;
 *  - fs_stock_...() and fs_..._op, for functions of the kernel that call us or that
 *    we call and whose arguments have changed;
 *  - fs_...(), for members that only some kernels have.
 */
#ifndef _FASTSOCKET_COMPAT_H
#define _FASTSOCKET_COMPAT_H

#include <linux/fs.h>
#include <linux/ftrace.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/timer.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/sock.h>
#include <net/tcp.h>

#include "fs_kernel.h"

#ifndef FS_HAVE_TIMER_CONTAINER_OF
#define timer_container_of from_timer
#endif

#ifndef FS_HAVE_CONNECT_UNSIZED
#define sockaddr_unsized sockaddr
#endif

#ifndef FS_HAVE_PERCPU_WQ
#define system_percpu_wq system_wq
#endif

#ifndef FS_HAVE_SK_UID
static inline kuid_t sk_uid(const struct sock *sk)
{
	return READ_ONCE(sk->sk_uid);
}
#endif

#ifndef FS_HAVE_SK_DROPS_READ
static inline int sk_drops_read(const struct sock *sk)
{
	return atomic_read(&sk->sk_drops);
}

static inline void fs_sk_drops_add(struct sock *sk, int n)
{
	atomic_add(n, &sk->sk_drops);
}

/* The kernel's own of this name counts an skb. */
#define sk_drops_add fs_sk_drops_add
#endif

#ifndef FS_HAVE_CA_NEEDS_ACCECN
static inline bool tcp_ca_needs_accecn(const struct sock *sk)
{
	return false;
}
#endif

/* Bits of inet_flags were bit fields of struct inet_sock ... */
#ifndef FS_HAVE_INET_FLAGS
#define fs_inet_FREEBIND		freebind
#define fs_inet_TRANSPARENT		transparent
#define inet_test_bit(nr, sk)		(inet_sk(sk)->fs_inet_##nr)
#define inet_assign_bit(nr, sk, val)	(inet_sk(sk)->fs_inet_##nr = (val))
#endif

/* ... and of struct ipv6_pinfo. */
#ifndef FS_HAVE_INET6_FLAGS
#define fs_inet6_SNDFLOW		sndflow
#define fs_inet6_REPFLOW		repflow
#define fs_inet6_DONTFRAG		dontfrag
#define fs_inet6_AUTOFLOWLABEL		autoflowlabel
#define fs_inet6_AUTOFLOWLABEL_SET	autoflowlabel_set
#define inet6_test_bit(nr, sk)		(inet6_sk(sk)->fs_inet6_##nr)
#define inet6_assign_bit(nr, sk, val)	(inet6_sk(sk)->fs_inet6_##nr = (val))
#endif

/* accept() takes flags and kern where it has no struct for all it takes and returns. */
#ifndef FS_HAVE_ACCEPT_ARG
struct proto_accept_arg {
	int flags;
	int err;
	int is_empty;
	bool kern;
};
#endif

int fs_accept(struct socket *sock, struct socket *newsock, struct proto_accept_arg *arg);

#ifdef FS_HAVE_ACCEPT_ARG
#define fs_accept_op fs_accept

static inline int fs_stock_accept(const struct proto_ops *ops, struct socket *sock,
				  struct socket *newsock, struct proto_accept_arg *arg)
{
	return ops->accept(sock, newsock, arg);
}
#else
static inline int fs_accept_op(struct socket *sock, struct socket *newsock, int flags, bool kern)
{
	struct proto_accept_arg arg = { .flags = flags, .kern = kern };

	return fs_accept(sock, newsock, &arg);
}

static inline int fs_stock_accept(const struct proto_ops *ops, struct socket *sock,
				  struct socket *newsock, struct proto_accept_arg *arg)
{
	return ops->accept(sock, newsock, arg->flags, arg->kern);
}
#endif

/*
 * IPv6's syn_recv_sock() tells IPv4's with a callback how a v4-mapped child is
 * finished before it can be found; or it does so afterwards.
 */
struct sock *fs_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, struct request_sock *req,
			      struct dst_entry *dst, struct request_sock *req_unhash, bool *own_req,
			      void (*opt_child_init)(struct sock *newsk, const struct sock *sk));

#ifdef FS_HAVE_OPT_CHILD_INIT
#define fs_syn_recv_sock_op fs_syn_recv_sock
#define fs_stock_syn_recv_sock(ops, sk, skb, req, dst, unhash, own, init) \
	((ops)->syn_recv_sock(sk, skb, req, dst, unhash, own, init))
#else
static inline struct sock *fs_syn_recv_sock_op(const struct sock *sk, struct sk_buff *skb,
					       struct request_sock *req, struct dst_entry *dst,
					       struct request_sock *req_unhash, bool *own_req)
{
	return fs_syn_recv_sock(sk, skb, req, dst, req_unhash, own_req, NULL);
}

#define fs_stock_syn_recv_sock(ops, sk, skb, req, dst, unhash, own, init) \
	((ops)->syn_recv_sock(sk, skb, req, dst, unhash, own))
#endif

/* Keys of TCP-MD5 and TCP-AO live on the listener only. */
static inline bool fs_has_tcp_keys(const struct sock *sk)
{
#ifdef CONFIG_TCP_MD5SIG
	if (rcu_access_pointer(tcp_sk(sk)->md5sig_info))
		return true;
#endif
#ifdef FS_HAVE_TCP_AO
	if (rcu_access_pointer(tcp_sk(sk)->ao_info))
		return true;
#endif
	return false;
}

/* IPsec and PSP: does the listener itself say what may reach it? */
static inline bool fs_has_policy(const struct sock *sk)
{
#ifdef CONFIG_XFRM
	if (rcu_access_pointer(sk->sk_policy[0]) || rcu_access_pointer(sk->sk_policy[1]))
		return true;
#endif
#ifdef FS_HAVE_PSP
	if (rcu_access_pointer(sk->psp_assoc))
		return true;
#endif
	return false;
}

/* TCP_RTO_MAX_MS bounds how long a request waits for its next SYN-ACK. */
static inline void fs_copy_rto_max(struct sock *to, const struct sock *from)
{
#ifdef FS_HAVE_RTO_MAX
	WRITE_ONCE(inet_csk(to)->icsk_rto_max, READ_ONCE(inet_csk(from)->icsk_rto_max));
#endif
}

/* What part of the receive buffer the window may be, where no sysctl says it. */
static inline void fs_copy_scaling_ratio(struct sock *to, const struct sock *from)
{
#ifdef FS_HAVE_SCALING_RATIO
	WRITE_ONCE(tcp_sk(to)->scaling_ratio, READ_ONCE(tcp_sk(from)->scaling_ratio));
#endif
}

/* Declared in netdevice.h, or in a header of its own. */
extern struct static_key_false rps_needed;

/* The registers of a hooked function: before 6.12 a struct for everybody to look into. */
#ifndef FS_HAVE_FTRACE_REGS
#define arch_ftrace_regs(fregs)				(fregs)
#define ftrace_regs_set_instruction_pointer(fregs, ip)	ftrace_instruction_pointer_set(fregs, ip)
#endif

/* The last state of an inode that is evicted, as clear_inode() sets it. */
static inline void fs_inode_set_clear(struct inode *inode)
{
#ifdef FS_HAVE_INODE_STATE_RAW
	inode_state_assign_raw(inode, I_FREEING | I_CLEAR);
#else
	inode->i_state = I_FREEING | I_CLEAR;
#endif
}

/* Direct calls of ftrace: their own function for one address, or for all of an ops. */
static inline int fs_register_direct(struct ftrace_ops *ops, unsigned long addr)
{
#ifdef FS_HAVE_FTRACE_DIRECT
	return register_ftrace_direct(ops, addr);
#else
	return register_ftrace_direct_multi(ops, addr);
#endif
}

static inline int fs_unregister_direct(struct ftrace_ops *ops, unsigned long addr)
{
#ifdef FS_HAVE_FTRACE_DIRECT
	return unregister_ftrace_direct(ops, addr, false);
#else
	return unregister_ftrace_direct_multi(ops, addr);
#endif
}

/* The ops_func @name() of a struct ftrace_ops, which asks int @answer(enum ftrace_ops_cmd). */
#ifdef FS_HAVE_OPS_FUNC_IP
#define FS_OPS_FUNC(name, answer)                                                           \
	static int name(struct ftrace_ops *ops, unsigned long ip, enum ftrace_ops_cmd cmd)  \
	{                                                                                   \
		return answer(cmd);                                                         \
	}
#else
#define FS_OPS_FUNC(name, answer)                                                           \
	static int name(struct ftrace_ops *ops, enum ftrace_ops_cmd cmd)                    \
	{                                                                                   \
		return answer(cmd);                                                         \
	}
#endif

static __always_inline void fs_set_first_arg(struct ftrace_regs *fregs, long value)
{
	arch_ftrace_regs(fregs)->regs.di = value;
}

/*
 * IP_LOCAL_PORT_RANGE of a socket, high << 16 | low, 0: none. Where it is one word,
 * setsockopt() does not take the socket lock.
 */
static inline u32 fs_port_range(const struct sock *sk)
{
#ifdef FS_HAVE_PORT_RANGE
	return READ_ONCE(inet_sk(sk)->local_port_range);
#else
	return (u32)inet_sk(sk)->local_port_range.hi << 16 | inet_sk(sk)->local_port_range.lo;
#endif
}

/* Set it if it is still @from; under the socket lock. */
static inline bool fs_port_range_change(struct sock *sk, u32 from, u32 to)
{
#ifdef FS_HAVE_PORT_RANGE
	return cmpxchg(&inet_sk(sk)->local_port_range, from, to) == from;
#else
	if (fs_port_range(sk) != from)
		return false;
	inet_sk(sk)->local_port_range.lo = to;
	inet_sk(sk)->local_port_range.hi = to >> 16;
	return true;
#endif
}

/* What the tracepoint sched_process_exit calls: fn(task), in the thread that exits. */
#ifdef FS_HAVE_PROCESS_EXIT_DEAD
#define FS_AT_PROCESS_EXIT(probe, fn)						\
	static void probe(void *unused, struct task_struct *task, bool group_dead) \
	{									\
		fn(task);							\
	}
#else
#define FS_AT_PROCESS_EXIT(probe, fn)						\
	static void probe(void *unused, struct task_struct *task)		\
	{									\
		fn(task);							\
	}
#endif

/*
 * The bind buckets of a port. struct inet_bind_bucket is the port's (tb), struct inet_bind2_bucket
 * that of a port at an address (tb2). Sockets hang on both, those in TIME_WAIT on a list of their
 * own in tb2; or on tb2 only, and tb lists its tb2. Nothing of it is private, so nothing but a
 * probe says that a kernel has what we know. All lists are changed under the lock of the port's
 * chain, and those of a tb2 under that of the address's chain as well.
 */
#if defined(FS_HAVE_BIND_BUCKETS) && !defined(CONFIG_PREEMPT_RT) && IS_ENABLED(CONFIG_IPV6) && \
	(defined(FS_HAVE_BIND_OWNERS) || defined(FS_HAVE_BIND_BY_ADDRESS))
#define FS_BIND_KNOWN
#endif

#ifdef FS_BIND_KNOWN
/* IPv4 addresses are v4-mapped. */
static inline void fs_tb2_address(const struct inet_bind2_bucket *tb2, struct in6_addr *addr)
{
#ifdef FS_HAVE_BIND_OWNERS
	if (tb2->family == AF_INET) {
		ipv6_addr_set_v4mapped(tb2->rcv_saddr, addr);
		return;
	}
#endif
	*addr = tb2->v6_rcv_saddr;
}

static inline void fs_tb2_set_address(struct inet_bind2_bucket *tb2, unsigned short family,
				      const struct in6_addr *addr)
{
#ifdef FS_HAVE_BIND_OWNERS
	tb2->family = family;
	if (family == AF_INET) {
		tb2->rcv_saddr = addr->s6_addr32[3];
		return;
	}
#else
	tb2->addr_type = ipv6_addr_type(addr);
#endif
	tb2->v6_rcv_saddr = *addr;
}

/* May bind() take it without a look at who is there? -1: only connections have ever been. */
static inline void fs_tb2_set_reuse(struct inet_bind2_bucket *tb2, int reuse)
{
#ifdef FS_HAVE_BIND2_REUSE
	tb2->fastreuse = reuse;
	tb2->fastreuseport = reuse;
#endif
}

/* @tb2 is one of @tb's; the list that knows it by its address is the caller's. */
static inline void fs_tb2_join(struct inet_bind2_bucket *tb2, struct inet_bind_bucket *tb)
{
#ifdef FS_HAVE_BIND_BY_ADDRESS
	hlist_add_head(&tb2->bhash_node, &tb->bhash2);
#endif
}

static inline void fs_tb2_leave(struct inet_bind2_bucket *tb2)
{
#ifdef FS_HAVE_BIND_BY_ADDRESS
	hlist_del(&tb2->bhash_node);
#endif
}

static inline void fs_tb_init(struct inet_bind_bucket *tb, struct hlist_node *holder)
{
#ifdef FS_HAVE_BIND_OWNERS
	hlist_add_head(holder, &tb->owners);
#endif
}

static inline void fs_tb2_init(struct inet_bind2_bucket *tb2, struct hlist_node *holder)
{
	hlist_add_head(holder, &tb2->owners);
}

/* No socket in @tb2 any more, and no @holder. */
static inline bool fs_tb2_empty(const struct inet_bind2_bucket *tb2)
{
#ifdef FS_HAVE_BIND_OWNERS
	if (!hlist_empty(&tb2->deathrow))
		return false;
#endif
	return hlist_empty(&tb2->owners);
}

static inline void fs_sock_set_tb(struct sock *sk, struct inet_bind_bucket *tb)
{
	if (sk->sk_state == TCP_TIME_WAIT)
		inet_twsk(sk)->tw_tb = tb;
	else
		inet_csk(sk)->icsk_bind_hash = tb;
}

static inline void fs_sock_set_tb2(struct sock *sk, struct inet_bind2_bucket *tb2)
{
	if (sk->sk_state == TCP_TIME_WAIT)
		inet_twsk(sk)->tw_tb2 = tb2;
	else
		inet_csk(sk)->icsk_bind2_hash = tb2;
}

/*
 * Move at most @max sockets from @from to @to, but for @holder; the port's chain is locked. Return:
 * how many.
 */
static inline unsigned int fs_tb_move(struct inet_bind_bucket *from, struct inet_bind_bucket *to,
				      const struct hlist_node *holder, unsigned int max)
{
	unsigned int n = 0;
#ifdef FS_HAVE_BIND_OWNERS
	struct hlist_node *pos, *next;

	hlist_for_each_safe(pos, next, &from->owners) {
		if (pos == holder)
			continue;
		if (n == max)
			break;
		hlist_del(pos);
		fs_sock_set_tb(hlist_entry(pos, struct sock, sk_bind_node), to);
		hlist_add_head(pos, &to->owners);
		n++;
	}
#endif
	return n;
}

/* The same for the port at an address, @to_tb's @to; both chains are locked. */
static inline unsigned int fs_tb2_move(struct inet_bind2_bucket *from, struct inet_bind2_bucket *to,
				       struct inet_bind_bucket *to_tb,
				       const struct hlist_node *holder, unsigned int max)
{
	struct hlist_node *pos, *next;
	unsigned int n = 0;
	struct sock *sk;

	hlist_for_each_safe(pos, next, &from->owners) {
		if (pos == holder)
			continue;
		if (n == max)
			return n;
		hlist_del(pos);
#ifdef FS_HAVE_BIND_OWNERS
		sk = hlist_entry(pos, struct sock, sk_bind2_node);
#else
		sk = hlist_entry(pos, struct sock, sk_bind_node);
		fs_sock_set_tb(sk, to_tb);
#endif
		fs_sock_set_tb2(sk, to);
		hlist_add_head(pos, &to->owners);
		n++;
	}
#ifdef FS_HAVE_BIND_OWNERS
	hlist_for_each_safe(pos, next, &from->deathrow) {
		if (n == max)
			return n;
		hlist_del(pos);
		hlist_entry(pos, struct inet_timewait_sock, tw_bind2_node)->tw_tb2 = to;
		hlist_add_head(pos, &to->deathrow);
		n++;
	}
#endif
	return n;
}

/* All sockets in @tb2, which has no holder, belong to @tb. As above. Return: how many. */
static inline unsigned int fs_tb2_set_tb(struct inet_bind2_bucket *tb2, struct inet_bind_bucket *tb)
{
	unsigned int n = 0;
#ifdef FS_HAVE_BIND_BY_ADDRESS
	struct sock *sk;

	hlist_for_each_entry(sk, &tb2->owners, sk_bind_node) {
		fs_sock_set_tb(sk, tb);
		n++;
	}
#endif
	return n;
}

/* Is a socket in its port's tb because it is in one of tb's tb2? Else it is on two lists. */
static inline bool fs_tb_by_address(void)
{
#ifdef FS_HAVE_BIND_BY_ADDRESS
	return true;
#else
	return false;
#endif
}
#endif /* FS_BIND_KNOWN */

#endif /* _FASTSOCKET_COMPAT_H */
