// SPDX-License-Identifier: GPL-2.0
/*
 * Clones: creation, SYN and handshake in softirq, rescue
 *
 * A clone is a TCP socket in state TCP_LISTEN that was never bound and is in no
 * hash table: nobody can find it, conflict with it or see it in /proc/net/tcp.
 * The kernel finds the real listener as ever and calls conn_request() of its
 * icsk_af_ops, which is ours: it passes the SYN on to the original function
 * with the clone as the listener. Request sockets remember their listener, so
 * the rest of the handshake comes to the clone by itself. The child is made
 * from the real listener, which is how it inherits everything.
 *
 * What tcp_conn_request() and the SYN-ACK read from the listener is copied into
 * the clone before each SYN (fs_clone_sync()): a few dozen loads and stores on
 * lines of this CPU, instead of hooks in every setsockopt().
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/rculist.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <net/request_sock.h>
#include <net/tcp.h>

#include "include/compat.h"
#include "include/fastsocket.h"
#include "include/listen_spawn.h"

/* When workers that have joined are bound, if no connection wakes them before. */
#define FS_SETTLE_MS	50
/* How often a clone with pending connections is looked at. */
#define FS_WATCH_MS	20
/*
 * A connection that waits this long goes to others if one of them is idle: when
 * its worker sleeps over something else, when its worker runs or waits for the
 * CPU ...
 */
#define FS_ASLEEP_MS	40
#define FS_RUNNING_MS	100
/* ... and one this old in any case. */
#define FS_HARD_MS	400

/* Jiffies since the oldest connection in @c's accept queue was established. */
static unsigned long fs_oldest(const struct fs_clone *c)
{
	struct request_sock_queue *q = fs_queue(c->sk);
	struct request_sock *req;
	u32 age = 0;

	spin_lock_bh(&q->rskq_lock);
	req = q->rskq_accept_head;
	/* Until it is accepted nothing is sent: lsndtime is the time of birth. */
	if (req && req->sk)
		age = tcp_jiffies32 - READ_ONCE(tcp_sk(req->sk)->lsndtime);
	spin_unlock_bh(&q->rskq_lock);
	return (s32)age < 0 ? 0 : age;
}

static bool fs_has_waiter(const struct fs_clone *c)
{
	/* No barrier: a hint, and the watch makes up for a wrong one. */
	return waitqueue_active(&c->sock->wq.wait);
}

/* Is the worker seen last on @c asleep? Under RCU. */
static bool fs_worker_asleep(const struct fs_clone *c)
{
	struct pid *pid = READ_ONCE(c->lastpid);
	struct task_struct *p = pid ? pid_task(pid, PIDTYPE_PID) : NULL;

	return p && !task_is_running(p);
}

/* Does it sleep because it has nothing to do? Under RCU. */
static bool fs_clone_idle(const struct fs_clone *c)
{
	return !fs_pending(c->sk) && fs_has_waiter(c) && fs_worker_asleep(c);
}

/* How long @c's worker may leave a connection while others are idle. Under RCU. */
static unsigned int fs_patience_ms(const struct fs_clone *c)
{
	return fs_worker_asleep(c) ? FS_ASLEEP_MS : FS_RUNNING_MS;
}

/* Has the watch seen the same connection for longer than that? Under RCU. */
static bool fs_clone_stuck(const struct fs_clone *c)
{
	return READ_ONCE(c->rounds) * FS_WATCH_MS >= fs_patience_ms(c);
}

/* Would somebody else fetch a connection sooner than @c? Under RCU. */
static bool fs_idle_elsewhere(const struct fs_clone *c)
{
	struct fs_clone *o;

	/* No barrier: a hint, as in fs_has_waiter(). */
	if (waitqueue_active(&c->ls->sock->wq.wait))
		return true;
	list_for_each_entry_rcu(o, &c->ls->clones, node)
		if (o != c && fs_clone_idle(o))
			return true;
	return false;
}

/*
 * Nobody will come for what is in @c: its workers are dead, or epoll was their
 * way and none of them is registered any more. Under RCU.
 */
static bool fs_clone_gone(const struct fs_clone *c)
{
	const struct fs_worker *w;

	if (READ_ONCE(c->persistent) && !fs_has_waiter(c))
		return true;
	hlist_for_each_entry_rcu(w, &c->workers, on_clone)
		if (fs_pid_alive(w->pid))
			return false;
	return true;
}

/* Append @c's queue to the listener's. @c's socket is locked. Return: how many. */
static unsigned int fs_clone_splice(struct fs_clone *c)
{
	struct request_sock_queue *from = fs_queue(c->sk);
	struct sock *sk = c->ls->sk;
	struct request_sock_queue *to = fs_queue(sk);
	unsigned int n = 0;

	spin_lock(&from->rskq_lock);
	spin_lock_nested(&to->rskq_lock, SINGLE_DEPTH_NESTING);
	if (from->rskq_accept_head && sk->sk_state == TCP_LISTEN) {
		if (to->rskq_accept_head)
			to->rskq_accept_tail->dl_next = from->rskq_accept_head;
		else
			WRITE_ONCE(to->rskq_accept_head, from->rskq_accept_head);
		to->rskq_accept_tail = from->rskq_accept_tail;
		WRITE_ONCE(from->rskq_accept_head, NULL);
		from->rskq_accept_tail = NULL;
		n = c->sk->sk_ack_backlog;
		WRITE_ONCE(c->sk->sk_ack_backlog, 0);
		WRITE_ONCE(sk->sk_ack_backlog, sk->sk_ack_backlog + n);
	}
	spin_unlock(&to->rskq_lock);
	spin_unlock(&from->rskq_lock);
	return n;
}

/**
 * fs_clone_drain() - move pending connections to the listener's own queue
 * @c: the clone
 *
 * There every worker sees them. Any context but hard interrupts.
 *
 * Not while somebody has the clone's socket: accept() has seen that the queue is not
 * empty and relies on that until it takes the first, under the socket lock alone.
 *
 * Return: how many were moved; 0 when the listener does not listen any more, and
 * when an accept() is in the way, which is then to be tried again.
 */
unsigned int fs_clone_drain(struct fs_clone *c)
{
	struct sock *sk = c->ls->sk;
	unsigned int n = 0, i;

	local_bh_disable();
	bh_lock_sock(c->sk);
	if (!sock_owned_by_user(c->sk))
		n = fs_clone_splice(c);
	bh_unlock_sock(c->sk);
	local_bh_enable();

	if (n)
		fs_count_n(c->ls->fn, FS_DRAINED, n);
	/* A waiter for each: a call wakes one of the listener's and one of every clone's. */
	for (i = 0; i < n; i += READ_ONCE(c->ls->nclones) + 1)
		sk->sk_data_ready(sk);
	return n;
}

/*
 * Count for how many rounds the head of the queue has been there. A round that
 * took much longer does not count: this (virtual) CPU was paused, and the timer
 * runs before the worker has had its chance.
 */
static void fs_count_round(struct fs_clone *c)
{
	const struct request_sock *head = READ_ONCE(fs_queue(c->sk)->rskq_accept_head);
	bool late = time_after(jiffies, c->ran + 2 * msecs_to_jiffies(FS_WATCH_MS));

	if (head != c->seen)
		WRITE_ONCE(c->rounds, 0);
	else if (!late)
		WRITE_ONCE(c->rounds, c->rounds + 1);
	c->seen = head;
	c->ran = jiffies;
}

static bool fs_must_drain(struct fs_clone *c)
{
	unsigned long age = fs_oldest(c);

	if (fs_clone_gone(c))
		return true;
	fs_count_round(c);
	/* Even if every round is late, nobody waits for a second. */
	if (!c->rounds)
		return age >= msecs_to_jiffies(2 * FS_HARD_MS);
	return age >= msecs_to_jiffies(FS_HARD_MS) || (fs_clone_stuck(c) && fs_idle_elsewhere(c));
}

/*
 * Workers are bound when they come back from waiting. Without a connection for
 * them they would not: wake those that are due. They find nothing and wait on;
 * the program does not notice. Under RCU.
 */
static void fs_wake_unsettled_of(struct fs_listener *ls)
{
	struct fs_clone *c;

	list_for_each_entry_rcu(c, &ls->clones, node)
		if (!READ_ONCE(c->live))
			wake_up_interruptible_all(&c->sock->wq.wait);
}

static void fs_wake_unsettled(struct fs_listener *ls)
{
	struct fs_group *g = rcu_dereference(ls->group);
	struct fs_listener *m;

	if (!g) {
		fs_wake_unsettled_of(ls);
		return;
	}
	list_for_each_entry_rcu(m, &g->members, member)
		fs_wake_unsettled_of(m);
}

/*
 * Runs while a clone has pending connections. They belong to its worker, but a
 * worker may be dead, gone from epoll, or busy with something long while others
 * sleep. Softirq, on the clone's CPU unless that went offline.
 */
static void fs_watch(struct timer_list *t)
{
	struct fs_clone *c = timer_container_of(c, t, timer);

	if (READ_ONCE(c->settling)) {
		WRITE_ONCE(c->settling, false);
		rcu_read_lock();
		fs_wake_unsettled(c->ls);
		rcu_read_unlock();
	}
	if (!fs_pending(c->sk)) {
		c->seen = NULL;
		WRITE_ONCE(c->rounds, 0);
		/* Pairs with fs_clone_data_ready(): one of us sees the other. */
		smp_store_mb(c->watching, false);
		if (!fs_pending(c->sk))
			return;
		WRITE_ONCE(c->watching, true);
	}
	rcu_read_lock();
	if (fs_must_drain(c)) {
		WRITE_ONCE(c->live, false);
		fs_clone_drain(c);
	}
	rcu_read_unlock();
	mod_timer(&c->timer, jiffies + msecs_to_jiffies(FS_WATCH_MS));
}

/**
 * fs_clone_settle_soon() - a worker has joined and will be waiting in a moment
 * @c: its clone; process context
 */
void fs_clone_settle_soon(struct fs_clone *c)
{
	WRITE_ONCE(c->settling, true);
	WRITE_ONCE(c->watching, true);
	mod_timer(&c->timer, jiffies + msecs_to_jiffies(FS_SETTLE_MS));
}

/* sk_data_ready of a clone. Softirq; an accept queue got a connection. */
static void fs_clone_data_ready(struct sock *sk)
{
	struct fs_clone *c = sk->sk_user_data;

	c->data_ready(sk);
	if (READ_ONCE(c->watching))
		return;
	/* Pairs with fs_watch(). The queue was written before us, under its lock. */
	smp_store_mb(c->watching, true);
	mod_timer(&c->timer, jiffies + msecs_to_jiffies(FS_WATCH_MS));
}

static void fs_clone_sync6(struct sock *to, const struct sock *from)
{
#if IS_ENABLED(CONFIG_IPV6)
	struct ipv6_pinfo *n = inet6_sk(to);
	const struct ipv6_pinfo *o = inet6_sk(from);

	n->saddr = o->saddr;
	n->flow_label = o->flow_label;
	n->frag_size = o->frag_size;
	n->hop_limit = o->hop_limit;
	n->ucast_oif = o->ucast_oif;
	n->rxopt.all = o->rxopt.all;
	n->min_hopcount = o->min_hopcount;
	n->tclass = o->tclass;
	n->pmtudisc = o->pmtudisc;
	n->srcprefs = o->srcprefs;
	inet6_assign_bit(SNDFLOW, to, inet6_test_bit(SNDFLOW, from));
	inet6_assign_bit(REPFLOW, to, inet6_test_bit(REPFLOW, from));
	inet6_assign_bit(DONTFRAG, to, inet6_test_bit(DONTFRAG, from));
	inet6_assign_bit(AUTOFLOWLABEL, to, inet6_test_bit(AUTOFLOWLABEL, from));
	inet6_assign_bit(AUTOFLOWLABEL_SET, to, inet6_test_bit(AUTOFLOWLABEL_SET, from));
#endif
}

/*
 * Everything the kernel reads from a listener between the SYN and the child's
 * birth. Softirq on the clone's CPU, the only writer; readers on other CPUs
 * (a SYN-ACK timer that migrated, an ACK that arrives elsewhere) see old or new
 * values as they would while a setsockopt() runs on a plain listener.
 */
static void fs_clone_sync(struct sock *to, const struct sock *from)
{
	struct inet_connection_sock *icsk = inet_csk(to);
	const struct inet_connection_sock *oicsk = inet_csk(from);
	const u8 locks = SOCK_RCVBUF_LOCK | SOCK_SNDBUF_LOCK;
	struct tcp_sock *tp = tcp_sk(to);
	const struct tcp_sock *otp = tcp_sk(from);
	struct inet_sock *inet = inet_sk(to);
	const struct inet_sock *oinet = inet_sk(from);

	to->sk_bound_dev_if = READ_ONCE(from->sk_bound_dev_if);
	to->sk_mark = READ_ONCE(from->sk_mark);
	to->sk_priority = READ_ONCE(from->sk_priority);
	to->sk_uid = sk_uid(from);
	to->sk_rcvbuf = READ_ONCE(from->sk_rcvbuf);
	to->sk_sndbuf = READ_ONCE(from->sk_sndbuf);
	to->sk_userlocks = (to->sk_userlocks & ~locks) | (from->sk_userlocks & locks);
	to->sk_max_ack_backlog = READ_ONCE(from->sk_max_ack_backlog);
	to->sk_txrehash = READ_ONCE(from->sk_txrehash);
	to->sk_ipv6only = from->sk_ipv6only;
	if (unlikely(sock_flag(to, SOCK_LOCALROUTE) != sock_flag(from, SOCK_LOCALROUTE)))
		sock_valbool_flag(to, SOCK_LOCALROUTE, sock_flag(from, SOCK_LOCALROUTE));

	inet->tos = oinet->tos;
	inet->uc_ttl = oinet->uc_ttl;
	inet->min_ttl = READ_ONCE(oinet->min_ttl);
	inet->mc_ttl = oinet->mc_ttl;
	inet->pmtudisc = oinet->pmtudisc;
	inet->uc_index = oinet->uc_index;
	inet->inet_saddr = oinet->inet_saddr;
	inet_assign_bit(FREEBIND, to, inet_test_bit(FREEBIND, from));
	inet_assign_bit(TRANSPARENT, to, inet_test_bit(TRANSPARENT, from));

	icsk->icsk_syn_retries = READ_ONCE(oicsk->icsk_syn_retries);
	icsk->icsk_accept_queue.rskq_defer_accept =
		READ_ONCE(oicsk->icsk_accept_queue.rskq_defer_accept);
	tp->rx_opt.user_mss = READ_ONCE(otp->rx_opt.user_mss);
	tp->window_clamp = READ_ONCE(otp->window_clamp);
	tp->tcp_tx_delay = otp->tcp_tx_delay;
	tp->save_syn = otp->save_syn;
	tp->bpf_sock_ops_cb_flags = otp->bpf_sock_ops_cb_flags;
	fs_copy_rto_max(to, from);
	fs_copy_scaling_ratio(to, from);

	if (to->sk_family == AF_INET6)
		fs_clone_sync6(to, from);
}

/**
 * fs_listener_obstacle() - things a clone cannot stand in for
 * @sk: the listener, or an image of it; under RCU
 *
 * Return: the reason, or FS_REDIRECTED.
 */
enum fs_stat fs_listener_obstacle(const struct sock *sk)
{
	const struct net *net = sock_net(sk);

	if (rcu_access_pointer(sk->sk_filter))
		return FS_FILTER;
	if (fs_has_tcp_keys(sk))
		return FS_MD5;
	if (inet_csk(sk)->icsk_accept_queue.fastopenq.max_qlen)
		return FS_TFO;
	if (sock_flag(sk, SOCK_FASYNC))
		return FS_FASYNC;
	if (fs_has_policy(sk))
		return FS_XFRM;
	if (READ_ONCE(net->ipv4.sysctl_tcp_syncookies) == 2)
		return FS_SYNCOOKIES;
#ifdef CONFIG_BPF_SYSCALL
	if (rcu_access_pointer(sk->sk_bpf_storage))
		return FS_OPTIONS;
#endif
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6 && rcu_access_pointer(inet6_sk(sk)->opt))
		return FS_OPTIONS;
#endif
	if (rcu_access_pointer(sk->sk_reuseport_cb) && READ_ONCE(net->ipv4.sysctl_tcp_migrate_req))
		return FS_MIGRATE;
	return FS_REDIRECTED;
}

/* Does somebody fetch connections from @c soon? Under RCU. */
static enum fs_stat fs_clone_obstacle(const struct fs_clone *c)
{
	if (!READ_ONCE(c->live))
		return READ_ONCE(c->lastpid) ? FS_STALLED : FS_NO_WORKER;
	if (READ_ONCE(c->persistent) && !fs_has_waiter(c))
		return FS_STALLED;
	if (fs_pending(c->sk)) {
		if (fs_clone_stuck(c) && fs_idle_elsewhere(c))
			return FS_BUSY;
	} else if (!READ_ONCE(c->persistent) && !fs_has_waiter(c) &&
		   time_after(jiffies, READ_ONCE(c->last) + msecs_to_jiffies(fs_patience_ms(c))) &&
		   fs_idle_elsewhere(c)) {
		return FS_BUSY;
	}
	return FS_REDIRECTED;
}

/**
 * struct fs_load - how full the queues of a listener are, clones included
 * @accept: connections in accept queues
 * @syn: request sockets
 * @clone_syn: those of them that belong to clones
 */
struct fs_load {
	unsigned int accept, syn, clone_syn;
};

static struct fs_load fs_listener_load(const struct fs_listener *ls)
{
	struct fs_load l = { .accept = READ_ONCE(ls->sk->sk_ack_backlog) };
	struct fs_clone *c;

	list_for_each_entry_rcu(c, &ls->clones, node) {
		l.accept += READ_ONCE(c->sk->sk_ack_backlog);
		l.clone_syn += reqsk_queue_len(fs_queue(c->sk));
	}
	l.syn = l.clone_syn + reqsk_queue_len(fs_queue(ls->sk));
	return l;
}

/* Keep @ls->tight: set above half of the backlog, cleared below a quarter. */
static void fs_listener_note_load(struct fs_listener *ls, const struct fs_load *l)
{
	unsigned int max = READ_ONCE(ls->sk->sk_max_ack_backlog);
	unsigned int n = max(l->accept, l->syn);

	if (n > max / 2 && !READ_ONCE(ls->tight))
		WRITE_ONCE(ls->tight, true);
	else if (n < max / 4 && READ_ONCE(ls->tight))
		WRITE_ONCE(ls->tight, false);
}

/*
 * listen(2)'s backlog is for the listener as a whole. Each clone may fill its
 * share without looking at the others; the shares together with what the
 * listener's own queue holds before @tight is set stay below the backlog.
 */
static bool fs_within_share(const struct fs_listener *ls, const struct sock *csk)
{
	unsigned int share =
		READ_ONCE(ls->sk->sk_max_ack_backlog) / (2 * (READ_ONCE(ls->nclones) + 1));

	return !READ_ONCE(ls->tight) && READ_ONCE(csk->sk_ack_backlog) < share &&
	       reqsk_queue_len(fs_queue(csk)) < share;
}

/* As tcp_conn_request() and tcp_v4_syn_recv_sock() do on a full accept queue. */
static void fs_overflow(struct sock *sk)
{
	NET_INC_STATS(sock_net(sk), LINUX_MIB_LISTENOVERFLOWS);
	tcp_listendrop(sk);
}

/* The plain kernel's path, with the clones' share of the queues in view. */
static int fs_conn_request_native(struct fs_listener *ls, struct sk_buff *skb)
{
	struct sock *sk = ls->sk;
	unsigned int max = READ_ONCE(sk->sk_max_ack_backlog);
	struct fs_load l = fs_listener_load(ls);
	int err;

	fs_listener_note_load(ls, &l);
	if (l.accept > max) {
		fs_overflow(sk);
		return 0;
	}
	if (!l.clone_syn || l.syn < max)
		return ls->orig_af_ops->conn_request(sk, skb);
	/*
	 * The SYN queue is full taken together: lend the listener the clones'
	 * requests, so that it answers with cookies as the kernel would.
	 */
	atomic_add(l.clone_syn, &fs_queue(sk)->qlen);
	err = ls->orig_af_ops->conn_request(sk, skb);
	atomic_sub(l.clone_syn, &fs_queue(sk)->qlen);
	return err;
}

/* The clone of this CPU, of @ls or another member of its group; NULL: there is none. Under RCU. */
static struct fs_clone *fs_clone_here(const struct fs_listener *ls)
{
	struct fs_clone *c = rcu_dereference(ls->slot[raw_smp_processor_id()]), *other;

	if (likely(!rcu_access_pointer(ls->group)) || (c && fs_clone_obstacle(c) == FS_REDIRECTED))
		return c;
	other = fs_group_clone(ls);
	return other && fs_listener_obstacle(ls->sk) == FS_REDIRECTED ? other : c;
}

/* Pick the clone for a SYN on this CPU or say why there is none. Under RCU. */
static struct fs_clone *fs_pick_clone(struct fs_listener *ls, enum fs_stat *why)
{
	struct fs_clone *c;

	*why = FS_DISABLED;
	if (READ_ONCE(fs_spawn_mode) == FS_SPAWN_OFF)
		return NULL;
	*why = FS_NO_WORKER;
	c = fs_clone_here(ls);
	if (!c)
		return NULL;
	ls = c->ls;
	*why = FS_CGROUP;
	if (!c->usable)
		return NULL;
	*why = fs_clone_obstacle(c);
	if (*why != FS_REDIRECTED)
		return NULL;
	*why = fs_listener_obstacle(ls->sk);
	if (*why != FS_REDIRECTED)
		return NULL;
	*why = FS_CONG;
	if (tcp_ca_needs_ecn(ls->sk) != tcp_ca_needs_ecn(c->sk) ||
	    tcp_ca_needs_accecn(ls->sk) != tcp_ca_needs_accecn(c->sk))
		return NULL;
	*why = FS_QUEUE_FULL;
	if (!fs_within_share(ls, c->sk)) {
		struct fs_load l = fs_listener_load(ls);
		unsigned int max = READ_ONCE(ls->sk->sk_max_ack_backlog);

		fs_listener_note_load(ls, &l);
		if (l.accept > max || l.syn >= max)
			return NULL;
	}
	*why = FS_REDIRECTED;
	return c;
}

/**
 * fs_conn_request() - a SYN for an attached listener
 * @sk: the listener the kernel found
 * @skb: the SYN
 *
 * inet_connection_sock_af_ops.conn_request; softirq, under RCU, not locked.
 *
 * Return: as the original.
 */
int fs_conn_request(struct sock *sk, struct sk_buff *skb)
{
	struct fs_listener *ls = fs_listener_of(sk);
	enum fs_stat why;
	struct fs_clone *c;
	int err, drops;

	/* Unhooked between our caller's look at the operations and ours. */
	if (unlikely(!ls))
		return READ_ONCE(inet_csk(sk)->icsk_af_ops)->conn_request(sk, skb);
	if (unlikely(ls->sk != sk))
		return ls->orig_af_ops->conn_request(sk, skb);
	c = fs_pick_clone(ls, &why);
	fs_count(ls->fn, why);
	if (!c)
		return fs_conn_request_native(ls, skb);
	/* Of @ls, or of another member of its group. */
	sk = c->ls->sk;
	fs_clone_sync(c->sk, sk);
	err = c->ls->orig_af_ops->conn_request(c->sk, skb);
	drops = sk_drops_read(c->sk);
	if (unlikely(drops)) {
		sk_drops_add(c->sk, -drops);
		sk_drops_add(sk, drops);
	}
	return err;
}

/* Room for one more connection in the listener as a whole? As the kernel asks. */
static bool fs_accept_room(struct fs_listener *ls, const struct sock *on)
{
	struct fs_load l;

	if (on != ls->sk && fs_within_share(ls, on))
		return true;
	l = fs_listener_load(ls);
	fs_listener_note_load(ls, &l);
	return l.accept <= READ_ONCE(ls->sk->sk_max_ack_backlog);
}

/**
 * fs_unhook_child() - give a child the kernel's own operations back
 * @ls: the listener it was copied from
 * @child: a new connection, locked
 *
 * It outlives the listener and this module.
 */
void fs_unhook_child(const struct fs_listener *ls, struct sock *child)
{
	/* A v4-mapped child has the kernel's ipv6_mapped already. */
	if (inet_csk(child)->icsk_af_ops == &ls->af_ops)
		inet_csk(child)->icsk_af_ops = ls->orig_af_ops;
	/* Copied while the listener had it for itself. */
	if (unlikely(child->sk_prot == ls->guard)) {
		child->sk_prot = ls->prot;
		child->sk_prot_creator = ls->prot;
	}
	child->sk_data_ready = ls->data_ready;
	child->sk_state_change = ls->state_change;
	child->sk_error_report = ls->error_report;
}

/**
 * fs_syn_recv_sock() - the handshake is complete: make the child
 * @sk: a clone or the listener itself; the child descends from the listener
 * @skb: the last segment of the handshake
 * @req: the request socket
 * @dst: a route, or NULL; consumed
 * @req_unhash: @req, or NULL with a SYN cookie
 * @own_req: set to whether this call has made the connection
 * @opt_child_init: for v4-mapped children
 *
 * inet_connection_sock_af_ops.syn_recv_sock; softirq, under RCU.
 *
 * Return: the child, locked, as the original does, or NULL.
 */
struct sock *fs_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, struct request_sock *req,
			      struct dst_entry *dst, struct request_sock *req_unhash, bool *own_req,
			      void (*opt_child_init)(struct sock *newsk, const struct sock *sk))
{
	struct fs_listener *ls = fs_listener_of(sk);
	const struct inet_connection_sock_af_ops *ops;
	struct sock *child, *image = NULL;

	/* Unhooked meanwhile. From a clone nothing can be made: it has no port. */
	if (unlikely(!ls)) {
		ops = READ_ONCE(inet_csk(sk)->icsk_af_ops);
		return fs_stock_syn_recv_sock(ops, sk, skb, req, dst, req_unhash, own_req,
					      opt_child_init);
	}
	if (unlikely(!fs_accept_room(ls, sk))) {
		fs_overflow(ls->sk);
		dst_release(dst);
		return NULL;
	}
	if (sk != ls->sk)
		image = fs_bind_begin(sk->sk_user_data, skb, req);
	child = fs_stock_syn_recv_sock(ls->orig_af_ops, image ?: ls->sk, skb, req, dst, req_unhash,
				       own_req, opt_child_init);
	if (image)
		fs_bind_end(ls);
	if (!child)
		return NULL;
	if (image)
		fs_count(ls->fn, FS_PRIVATE);
	fs_unhook_child(ls, child);
	return child;
}

/**
 * fs_clone_start() - make a clone listen
 * @c: the clone; holds ls->lock
 *
 * What inet_csk_listen_start() does, less taking a port and entering a table.
 */
void fs_clone_start(struct fs_clone *c)
{
	struct request_sock_queue *q = fs_queue(c->sk);
	struct sock *sk = c->sk;

	lock_sock(sk);
	if (sk->sk_state != TCP_LISTEN) {
		q->fastopenq.rskq_rst_head = NULL;
		q->fastopenq.rskq_rst_tail = NULL;
		q->fastopenq.qlen = 0;
		q->rskq_accept_head = NULL;
		sk->sk_ack_backlog = 0;
		inet_csk_delack_init(sk);
		sock_set_flag(sk, SOCK_RCU_FREE);
		fs_clone_sync(sk, c->ls->sk);
		/* As inet_sk_state_store(): the queue first, then the state. */
		smp_store_release(&sk->sk_state, TCP_LISTEN);
	}
	release_sock(sk);
	c->stopped = false;
}

/**
 * fs_clone_publish() - let SYNs of its CPU come
 * @c: the clone; holds ls->lock
 */
void fs_clone_publish(struct fs_clone *c)
{
	rcu_assign_pointer(c->ls->slot[c->cpu], c);
}

/**
 * fs_clone_unpublish() - undo fs_clone_publish()
 * @c: the clone; holds ls->lock
 */
void fs_clone_unpublish(struct fs_clone *c)
{
	struct fs_listener *ls = c->ls;

	fs_group_withdraw(c);
	if (rcu_access_pointer(ls->slot[c->cpu]) == c)
		RCU_INIT_POINTER(ls->slot[c->cpu], NULL);
}

static bool fs_same_cgroup(const struct sock *a, const struct sock *b)
{
#ifdef CONFIG_SOCK_CGROUP_DATA
	return !memcmp(&a->sk_cgrp_data, &b->sk_cgrp_data, sizeof(a->sk_cgrp_data));
#else
	return true;
#endif
}

/* The socket of a clone, made as the listener's owner would make it. */
static int fs_clone_socket(struct fs_clone *c)
{
	struct fs_listener *ls = c->ls;
	const struct cred *old = override_creds(ls->sock->file->f_cred);
	int err;

	err = __sock_create(sock_net(ls->sk), ls->sk->sk_family, SOCK_STREAM, IPPROTO_TCP, &c->sock,
			    0);
	revert_creds(old);
	if (err)
		return err;
	c->sk = c->sock->sk;
	security_sk_clone(ls->sk, c->sk);
	c->usable = fs_same_cgroup(ls->sk, c->sk);
	return 0;
}

/**
 * fs_clone_get() - the clone of a listener for a CPU, made if there is none
 * @ls: the listener
 * @cpu: the CPU
 *
 * Process context, holds ls->lock, may sleep. Memory is charged to the calling
 * task's memory cgroup.
 *
 * Return: the clone or an ERR_PTR().
 */
struct fs_clone *fs_clone_get(struct fs_listener *ls, int cpu)
{
	struct fs_clone *c;
	int err;

	c = rcu_dereference_protected(ls->slot[cpu], lockdep_is_held(&ls->lock));
	if (c)
		return c;
	c = kzalloc_node(sizeof(*c), GFP_KERNEL_ACCOUNT, cpu_to_node(cpu));
	if (!c)
		return ERR_PTR(-ENOMEM);
	c->ls = ls;
	c->cpu = cpu;
	INIT_HLIST_HEAD(&c->workers);
	timer_setup(&c->timer, fs_watch, TIMER_PINNED);
	err = fs_clone_socket(c);
	if (err) {
		kfree(c);
		return ERR_PTR(err);
	}
	c->data_ready = c->sk->sk_data_ready;
	c->sk->sk_user_data = c;
	c->sk->sk_data_ready = fs_clone_data_ready;
	WRITE_ONCE(inet_csk(c->sk)->icsk_af_ops, &ls->af_ops);
	fs_clone_start(c);
	list_add_tail_rcu(&c->node, &ls->clones);
	WRITE_ONCE(ls->nclones, ls->nclones + 1);
	fs_bind_open(c);
	fs_clone_publish(c);
	return c;
}

/**
 * fs_clone_stop() - make a clone stop listening; what is pending is reset
 * @c: the clone; holds ls->lock, may sleep
 */
void fs_clone_stop(struct fs_clone *c)
{
	WRITE_ONCE(c->live, false);
	c->stopped = true;
	kernel_sock_shutdown(c->sock, SHUT_RDWR);
}

/**
 * fs_clone_unhook() - the last step of a clone before an RCU grace period
 * @c: stopped and unpublished; holds ls->lock, may sleep
 *
 * Requests in its SYN queue keep the socket until their timers find that it does
 * not listen; they must not find us.
 */
void fs_clone_unhook(struct fs_clone *c)
{
	lock_sock(c->sk);
	WRITE_ONCE(inet_csk(c->sk)->icsk_af_ops, c->ls->orig_af_ops);
	WRITE_ONCE(c->sk->sk_data_ready, c->data_ready);
	release_sock(c->sk);
}

/**
 * fs_clone_free() - close a clone's socket and free it; may sleep
 * @c: unhooked, and an RCU grace period has passed since
 */
void fs_clone_free(struct fs_clone *c)
{
	timer_delete_sync(&c->timer);
	c->sk->sk_user_data = NULL;
	sock_release(c->sock);
	kfree(c);
}
