// SPDX-License-Identifier: GPL-2.0
/*
 * Attach a listener, the socket operations, release
 *
 * Three things of a listener are replaced, each by an install and a remove
 * function that stand side by side:
 *  - sock->ops, for what processes call (fs_attach(), fs_release()); for good,
 *    until the socket is closed, because a system call may be inside them;
 *  - icsk_af_ops and the three sk_* callbacks, for what the softirq calls
 *    (fs_hook(), fs_unhook()); only while the socket is a listener;
 *  - sk_prot and the ULP, so that the kernel itself refuses to give the socket
 *    other operations than ours (fs_guard(), fs_unguard()); only while it is
 *    none.
 * This is how MPTCP, kTLS and SMC take over sockets; the lookup code and the
 * tables of the kernel are not touched.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/cred.h>
#include <linux/file.h>
#include <linux/kmemleak.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/rculist.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/skmsg.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/user_namespace.h>
#include <net/inet_common.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "include/fast_epoll.h"
#include "include/fastsocket.h"
#include "include/listen_spawn.h"

/**
 * struct fs_family - our operations for one address family
 * @ops: what attached sockets have; see below
 * @stock: the kernel's operations that @ops derives from
 * @af_ops: the kernel's icsk_af_ops of a fresh socket
 * @data_ready: the kernel's sk_data_ready of a fresh socket
 * @prot: the kernel's sk_prot of a fresh socket
 * @guard: a copy of @prot, see fs_guard() and fs_release_cb()
 *
 * Made under fs_family_lock when the first socket of the family is attached,
 * constant from then until unload. A socket that differs from a fresh one
 * belongs to somebody else already (MPTCP, SMC, another module) and is left
 * alone.
 *
 * @ops names the owner of @stock, not this module: do_accept() gives every new
 * socket the listener's operations and counts a reference to their owner, which
 * would be a cache line shared by all CPUs, twice per connection. The listener
 * holds the module instead, and accept() puts @stock into the new socket. One
 * case is left: an accept() that an LSM denies leaves the new socket to a
 * delayed fput(), which may run when the listener is gone. For it the structure
 * is never freed; fs_family_retire() makes @ops equal to @stock at unload.
 */
struct fs_family {
	struct proto_ops ops;	/* not const: a copy that we change */
	const struct proto_ops *stock;
	const struct inet_connection_sock_af_ops *af_ops;
	void (*data_ready)(struct sock *sk);
	struct proto *prot;
	struct proto guard;
};

static struct fs_family *fs_inet, *fs_inet6;
static DEFINE_MUTEX(fs_family_lock);

static int fs_release(struct socket *sock);

/* Frees listeners; a queue of our own, so that unload can wait for it. */
struct workqueue_struct *fs_wq;

/* The kernel's operations behind ours. */
static const struct proto_ops *fs_stock_ops(const struct socket *sock)
{
	return container_of(READ_ONCE(sock->ops), struct fs_family, ops)->stock;
}

/**
 * fs_attached() - does a socket have our operations?
 * @sock: any socket; any context
 *
 * Return: whether it has.
 */
bool fs_attached(const struct socket *sock)
{
	/* Any proto_ops: release is there in all of them. */
	return READ_ONCE(sock->ops)->release == fs_release;
}

/**
 * fs_can_attach() - is this a TCP socket of a kind that we handle?
 * @sock: any socket; any context
 *
 * MPTCP sockets have another protocol number.
 *
 * Return: whether it is.
 */
bool fs_can_attach(const struct socket *sock)
{
	const struct sock *sk = sock->sk;

	return sk && sock->type == SOCK_STREAM && sk->sk_protocol == IPPROTO_TCP &&
	       (sk->sk_family == AF_INET || sk->sk_family == AF_INET6);
}

/*
 * The listener behind a socket that has our operations; NULL only before
 * fs_attach() has finished. Process context, with a reference on the file. The
 * list is for a socket that was shut down and became something else.
 */
static struct fs_listener *fs_listener_find(const struct sock *sk)
{
	struct fs_listener *ls = fs_listener_of(sk), *found = NULL;

	if (likely(ls && ls->sk == sk))
		return ls;
	rcu_read_lock();
	list_for_each_entry_rcu(ls, &fs_net(sock_net(sk))->listeners, node)
		if (ls->sk == sk)
			found = ls;
	rcu_read_unlock();
	return found;
}

/* The same for the callbacks: found without the list unless we are unhooked. */
static struct fs_listener *fs_listener_find_rcu(const struct sock *sk)
{
	struct fs_listener *ls = fs_listener_of(sk);

	return ls ? ls : fs_listener_find(sk);
}

/* Is @ls something that listens, so that our own paths apply? */
static bool fs_listening(const struct fs_listener *ls)
{
	return likely(ls) && inet_sk_state_load(ls->sk) == TCP_LISTEN;
}

/* Workers wait on the clones only: pass on what is said to the listener. */
static void fs_wake_clones(struct fs_listener *ls)
{
	struct fs_clone *c;

	list_for_each_entry_rcu(c, &ls->clones, node)
		c->data_ready(c->sk);
}

static void fs_guard_clone(const struct request_sock *req, struct sock *child, const gfp_t priority)
{
	inet_csk(child)->icsk_ulp_ops = NULL;
}

/*
 * Not registered: only its being there matters. No owner, the listener holds the
 * module and takes it away before it goes.
 */
static const struct tcp_ulp_ops fs_guard_ulp = {
	.name = "fastsocket",
	.clone = fs_guard_clone,
};

/*
 * A socket that is attached and does not listen may become a connection, and the
 * kernel changes the operations of those for IPV6_ADDRFORM and TCP_ULP: the
 * first would keep fs_release() from being called, kTLS keeps a copy of ours.
 * fs_setsockopt() refuses both, but a thread may have been inside the kernel's
 * function, with the socket lock yet to come, before the socket was attached.
 * Under that lock the kernel refuses IPV6_ADDRFORM when sk_prot is not its own
 * and TCP_ULP when there is one already, so these are made to be so, with the
 * socket locked, before it can stop to listen.
 */
static void fs_guard(struct sock *sk, const struct proto *prot, struct proto *guard)
{
	if (sk->sk_family == AF_INET6 && sk->sk_prot == prot)
		WRITE_ONCE(sk->sk_prot, guard);
	if (!inet_csk(sk)->icsk_ulp_ops)
		WRITE_ONCE(inet_csk(sk)->icsk_ulp_ops, &fs_guard_ulp);
}

/* The socket listens, or is being released; locked. */
static void fs_unguard(const struct fs_listener *ls)
{
	struct sock *sk = ls->sk;

	if (sk->sk_prot == ls->guard)
		WRITE_ONCE(sk->sk_prot, ls->prot);
	if (inet_csk(sk)->icsk_ulp_ops == &fs_guard_ulp)
		WRITE_ONCE(inet_csk(sk)->icsk_ulp_ops, NULL);
}

static bool fs_guarded(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_ulp_ops) == &fs_guard_ulp;
}

/*
 * Around a call that may begin or end the listening state. Counted, because the
 * end of one call must not take away what another, in another thread, relies on.
 * Bind buckets of clones are closed meanwhile; fs_clones_start() opens them again.
 */
static void fs_guard_begin(struct fs_listener *ls)
{
	lock_sock(ls->sk);
	ls->changing++;
	fs_guard(ls->sk, ls->prot, ls->guard);
	fs_bind_close(ls, true);
	release_sock(ls->sk);
}

static void fs_guard_end(struct fs_listener *ls)
{
	lock_sock(ls->sk);
	if (!--ls->changing && ls->sk->sk_state == TCP_LISTEN)
		fs_unguard(ls);
	release_sock(ls->sk);
}

/* The family whose @guard is a listener's sk_prot. */
static struct fs_family *fs_family_of(const struct sock *sk)
{
	return container_of(READ_ONCE(sk->sk_prot), struct fs_family, guard);
}

/*
 * release_cb of a guard: whatever somebody has done with the listener's socket lock, setsockopt()
 * for one, is done. With that lock and bottom halves off.
 */
static void fs_release_cb(struct sock *sk)
{
	struct fs_listener *ls;

	fs_family_of(sk)->prot->release_cb(sk);
	rcu_read_lock();
	ls = fs_listener_find_rcu(sk);
	if (ls && ls->sk == sk)
		fs_bind_check(ls);
	rcu_read_unlock();
}

#ifdef CONFIG_BPF_SYSCALL
/*
 * The listener enters a BPF sockmap, which derives operations from those in sk_prot, for all
 * sockets to come and for longer than we are there: it is to be the kernel's own. The socket is
 * locked.
 */
static int fs_psock_update(struct sock *sk, struct sk_psock *psock, bool restore)
{
	struct proto *prot = fs_family_of(sk)->prot, *guard = sk->sk_prot;
	struct fs_listener *ls;

	rcu_read_lock();
	ls = fs_listener_find_rcu(sk);
	if (ls && ls->sk == sk)
		fs_bind_close(ls, false);
	rcu_read_unlock();
	if (psock->sk_proto == guard)
		psock->sk_proto = prot;
	psock->psock_update_sk_prot = prot->psock_update_sk_prot;
	WRITE_ONCE(sk->sk_prot, prot);
	return prot->psock_update_sk_prot(sk, psock, restore);
}
#endif

/*
 * sk_data_ready, sk_state_change and sk_error_report of the listener; softirq or
 * process context. A child in the middle of its creation may call them too, for
 * which only the kernel's own function is meant. No listener any more: its file
 * is being released, nobody is left to wake.
 */
static void fs_data_ready(struct sock *sk)
{
	struct fs_listener *ls;

	rcu_read_lock();
	ls = fs_listener_find_rcu(sk);
	if (ls) {
		ls->data_ready(sk);
		if (ls->sk == sk)
			fs_wake_clones(ls);
	}
	rcu_read_unlock();
}

static void fs_wake_clones_all(struct fs_listener *ls)
{
	struct fs_clone *c;

	list_for_each_entry_rcu(c, &ls->clones, node)
		wake_up_interruptible_all(&c->sock->wq.wait);
}

static void fs_state_change(struct sock *sk)
{
	struct fs_listener *ls;

	rcu_read_lock();
	ls = fs_listener_find_rcu(sk);
	if (ls) {
		ls->state_change(sk);
		if (ls->sk == sk)
			fs_wake_clones_all(ls);
	}
	rcu_read_unlock();
}

static void fs_error_report(struct sock *sk)
{
	struct fs_listener *ls;

	rcu_read_lock();
	ls = fs_listener_find_rcu(sk);
	if (ls) {
		ls->error_report(sk);
		if (ls->sk == sk) {
			/* `ss -K` has ended it, with the socket locked. */
			if (sk->sk_state == TCP_CLOSE)
				fs_guard(sk, ls->prot, ls->guard);
			fs_wake_clones_all(ls);
		}
	}
	rcu_read_unlock();
}

/* Children that were copied from the listener while fs_hook() changed it. */
static void fs_unhook_pending(struct fs_listener *ls)
{
	struct request_sock_queue *q = fs_queue(ls->sk);
	struct request_sock *req;

	spin_lock_bh(&q->rskq_lock);
	for (req = q->rskq_accept_head; req; req = req->dl_next)
		if (req->sk && inet_csk(req->sk)->icsk_af_ops == &ls->af_ops)
			WRITE_ONCE(inet_csk(req->sk)->icsk_af_ops, ls->orig_af_ops);
	spin_unlock_bh(&q->rskq_lock);
}

/*
 * Install the softirq side. Holds ls->lock; takes the socket lock, which keeps
 * accept() out. A socket that listens already may be copied into a child at any
 * moment, by code that started before our syn_recv_sock() was there to mend the
 * child: wait for it, mend what it made, and only then go on to the callbacks.
 */
static void fs_hook(struct fs_listener *ls)
{
	struct sock *sk = ls->sk;

	lock_sock(sk);
	if (!ls->hooked) {
		WRITE_ONCE(inet_csk(sk)->icsk_af_ops, &ls->af_ops);
		if (sk->sk_state == TCP_LISTEN) {
			synchronize_net();
			fs_unhook_pending(ls);
		}
		WRITE_ONCE(sk->sk_data_ready, fs_data_ready);
		WRITE_ONCE(sk->sk_state_change, fs_state_change);
		WRITE_ONCE(sk->sk_error_report, fs_error_report);
		WRITE_ONCE(ls->hooked, true);
	}
	release_sock(sk);
}

/*
 * Remove it. Holds ls->lock. Each pointer only if it is still ours: connect()
 * sets icsk_af_ops, others may have stacked themselves onto a callback.
 */
static void fs_unhook(struct fs_listener *ls)
{
	struct sock *sk = ls->sk;

	lock_sock(sk);
	if (ls->hooked) {
		if (sk->sk_data_ready == fs_data_ready)
			WRITE_ONCE(sk->sk_data_ready, ls->data_ready);
		if (sk->sk_state_change == fs_state_change)
			WRITE_ONCE(sk->sk_state_change, ls->state_change);
		if (sk->sk_error_report == fs_error_report)
			WRITE_ONCE(sk->sk_error_report, ls->error_report);
		if (inet_csk(sk)->icsk_af_ops == &ls->af_ops)
			WRITE_ONCE(inet_csk(sk)->icsk_af_ops, ls->orig_af_ops);
		WRITE_ONCE(ls->hooked, false);
	}
	release_sock(sk);
}

/* Connections in the accept queues of the clones; any context. */
static unsigned int fs_clones_backlog(const struct fs_listener *ls)
{
	const struct fs_clone *c;
	unsigned int n = 0;

	rcu_read_lock();
	list_for_each_entry_rcu(c, &ls->clones, node)
		n += READ_ONCE(c->sk->sk_ack_backlog);
	rcu_read_unlock();
	return n;
}

/* The listener listens (again): so do its clones. Holds ls->lock. */
static void fs_clones_start(struct fs_listener *ls)
{
	struct fs_clone *c;

	list_for_each_entry(c, &ls->clones, node) {
		if (!c->stopped)
			continue;
		fs_clone_start(c);
		if (!rcu_access_pointer(ls->slot[c->cpu]))
			fs_clone_publish(c);
	}
	list_for_each_entry(c, &ls->clones, node)
		fs_bind_open(c);
}

/*
 * The listener listens no more: reset what is pending in the clones. Holds ls->lock.
 * Who waits was woken by the listener's callbacks, with its state changed before.
 */
static void fs_clones_stop(struct fs_listener *ls)
{
	struct fs_clone *c;

	list_for_each_entry(c, &ls->clones, node) {
		fs_clone_unpublish(c);
		if (!c->stopped)
			fs_clone_stop(c);
	}
}

/*
 * The listening state may have ended: by the call that we are in, or by somebody
 * else's (`ss -K`), which we see here when its wake-up brings a worker to us.
 */
static void fs_follow_state(struct fs_listener *ls)
{
	if (!ls || fs_listening(ls) || !READ_ONCE(ls->hooked))
		return;
	mutex_lock(&ls->lock);
	if (!fs_listening(ls)) {
		fs_clones_stop(ls);
		fs_unhook(ls);
	}
	mutex_unlock(&ls->lock);
}

/* After a call that might have ended it, and has closed the bind buckets for that. */
static void fs_follow_call(struct fs_listener *ls)
{
	fs_follow_state(ls);
	if (!fs_listening(ls))
		return;
	mutex_lock(&ls->lock);
	if (fs_listening(ls))
		fs_clones_start(ls);
	mutex_unlock(&ls->lock);
}

static int fs_listen(struct socket *sock, int backlog)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls = fs_listener_find(sock->sk);
	int err;

	if (!ls)
		return stock->listen(sock, backlog);
	mutex_lock(&ls->lock);
	if (sock->sk->sk_state == TCP_CLOSE)
		fs_hook(ls);
	fs_guard_begin(ls);
	err = stock->listen(sock, backlog);
	fs_guard_end(ls);
	if (fs_listening(ls))
		fs_clones_start(ls);
	else
		fs_unhook(ls);
	mutex_unlock(&ls->lock);
	return err;
}

static int fs_shutdown(struct socket *sock, int how)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls = fs_listener_find(sock->sk);
	int err;

	if (!ls)
		return stock->shutdown(sock, how);
	fs_guard_begin(ls);
	err = stock->shutdown(sock, how);
	fs_guard_end(ls);
	fs_follow_call(ls);
	return err;
}

/* connect() with AF_UNSPEC ends a listener, too. */
static int fs_connect(struct socket *sock, struct sockaddr_unsized *addr, int len, int flags)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls = fs_listener_find(sock->sk);
	int err;

	if (!ls)
		return stock->connect(sock, addr, len, flags);
	fs_guard_begin(ls);
	err = stock->connect(sock, addr, len, flags);
	fs_guard_end(ls);
	fs_follow_call(ls);
	return err;
}

/*
 * kTLS keeps a copy of the operations of the first socket it gets for as long
 * as it is loaded. Those must not be ours, so a socket that was an attached
 * listener once and is a connection now cannot have a ULP.
 */
static int fs_set_ulp(const struct sock *sk, sockptr_t optval, unsigned int optlen)
{
	char name[TCP_ULP_NAME_MAX] = {};

	if (!optlen)
		return -EINVAL;
	if (strncpy_from_sockptr(name, optval, min_t(unsigned int, optlen, sizeof(name) - 1)) < 0)
		return -EFAULT;
	if (!strcmp(name, fs_guard_ulp.name))
		return 0; /* as it was asked for */
	if ((1 << inet_sk_state_load(sk)) & (TCPF_LISTEN | TCPF_CLOSE))
		return -ENOTCONN; /* as kTLS says */
	pr_notice_ratelimited("TCP_ULP on an attached listener: use a new socket\n");
	return -EOPNOTSUPP;
}

/*
 * IPV6_ADDRFORM makes an IPv6 connection to an IPv4 address an IPv4 socket and
 * gives it the operations of those: fs_release() would not see its end. So it is
 * refused; what the kernel refuses has the kernel's error.
 */
static int fs_set_addrform(const struct sock *sk, sockptr_t optval, unsigned int optlen)
{
	int family;

	if (optlen < sizeof(family) || sockptr_is_null(optval))
		return -EINVAL;
	if (copy_from_sockptr(&family, optval, sizeof(family)))
		return -EFAULT;
	if (family != AF_INET)
		return -EINVAL;
	if (inet_sk_state_load(sk) != TCP_ESTABLISHED)
		return -ENOTCONN;
#if IS_ENABLED(CONFIG_IPV6)
	if (ipv6_only_sock(sk) || !ipv6_addr_v4mapped(&sk->sk_v6_daddr))
		return -EADDRNOTAVAIL;
#endif
	pr_notice_ratelimited("IPV6_ADDRFORM on an attached listener: use a new socket\n");
	return -EOPNOTSUPP;
}

static int fs_setsockopt(struct socket *sock, int level, int optname, sockptr_t optval,
			 unsigned int optlen)
{
	const struct sock *sk = sock->sk;

	if (level == SOL_TCP && optname == TCP_ULP)
		return fs_set_ulp(sk, optval, optlen);
	if (level == SOL_IPV6 && optname == IPV6_ADDRFORM && sk->sk_family == AF_INET6)
		return fs_set_addrform(sk, optval, optlen);
	return fs_stock_ops(sock)->setsockopt(sock, level, optname, optval, optlen);
}

/* What we have put there is nobody's business. */
static int fs_get_no_ulp(int __user *optlen)
{
	int len;

	if (get_user(len, optlen))
		return -EFAULT;
	return len < 0 ? -EINVAL : put_user(0, optlen);
}

/*
 * TCP_INFO of a listener says in tcpi_unacked how many connections wait to be
 * accepted: those in the clones do, too.
 */
static int fs_getsockopt(struct socket *sock, int level, int optname, char __user *optval,
			 int __user *optlen)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct tcp_info __user *info = (struct tcp_info __user *)optval;
	struct fs_listener *ls = fs_listener_find(sock->sk);
	unsigned int n;
	int len, err;

	if (level == SOL_TCP && optname == TCP_ULP && fs_guarded(sock->sk))
		return fs_get_no_ulp(optlen);
	err = stock->getsockopt(sock, level, optname, optval, optlen);
	if (err || level != SOL_TCP || optname != TCP_INFO || !fs_listening(ls))
		return err;
	n = READ_ONCE(ls->sk->sk_ack_backlog) + fs_clones_backlog(ls);
	if (get_user(len, optlen))
		return -EFAULT;
	if (len <= (int)offsetof(struct tcp_info, tcpi_unacked))
		return 0;
	/* The kernel fills whatever room there is, also part of a number. */
	len = min_t(int, len - offsetof(struct tcp_info, tcpi_unacked), sizeof(n));
	return copy_to_user(&info->tcpi_unacked, &n, len) ? -EFAULT : 0;
}

/* Does any clone have a connection? For tasks that are no workers. */
static struct fs_clone *fs_any_pending(struct fs_listener *ls)
{
	struct fs_clone *c, *found = NULL;

	rcu_read_lock();
	list_for_each_entry_rcu(c, &ls->clones, node) {
		if (fs_pending(c->sk)) {
			found = c;
			break;
		}
	}
	rcu_read_unlock();
	return found;
}

static bool fs_poll_waits(const poll_table *wait)
{
	return wait && wait->_qproc;
}

/*
 * A worker waits on its clone alone, one wait queue like any poll (aio accepts
 * no second); the listener's callbacks wake it as well. Others wait on the
 * listener, and see the clones in case they share a worker's epoll.
 */
static __poll_t fs_poll(struct file *file, struct socket *sock, poll_table *wait)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls = fs_listener_find(sock->sk);
	struct fs_clone *c;

	if (!fs_listening(ls)) {
		fs_follow_state(ls);
		return stock->poll(file, sock, wait);
	}
	if (fs_poll_waits(wait)) {
		c = fs_worker_join(ls);
		if (c)
			sock_poll_wait(file, c->sock, wait);
	} else {
		c = fs_worker_clone(ls);
	}
	if (!c) {
		__poll_t mask = stock->poll(file, sock, wait);

		return fs_any_pending(ls) ? mask | EPOLLIN | EPOLLRDNORM : mask;
	}
	if (fs_pending(c->sk) || fs_pending(ls->sk))
		return EPOLLIN | EPOLLRDNORM;
	/* Ended meanwhile? The wake-up may have come before we waited. */
	return fs_listening(ls) ? 0 : stock->poll(file, sock, NULL);
}

/*
 * One connection from @from, which is the listener's socket or a clone's, without
 * waiting. What the kernel's function says of the queue is not passed on: it is true
 * of one queue only.
 */
static int fs_accept_now(const struct fs_listener *ls, struct socket *from, struct socket *newsock,
			 const struct proto_accept_arg *arg)
{
	struct proto_accept_arg now = { .flags = arg->flags | O_NONBLOCK, .kern = arg->kern };

	if (!fs_pending(from->sk))
		return -EAGAIN;
	return fs_stock_accept(ls->ops, from, newsock, &now);
}

/* One connection from the listener's own queue, without waiting. */
static int fs_accept_global(struct fs_listener *ls, struct socket *newsock,
			    const struct proto_accept_arg *arg)
{
	int err = fs_accept_now(ls, ls->sock, newsock, arg);

	if (!err) {
		fs_count(ls->fn, FS_GLOBAL);
		atomic_long_inc(&ls->accepts);
	}
	return err;
}

/* One connection from a clone, without waiting. */
static int fs_accept_clone(struct fs_clone *c, struct socket *newsock,
			   const struct proto_accept_arg *arg)
{
	int err = fs_accept_now(c->ls, c->sock, newsock, arg);

	if (!err) {
		fs_count(c->ls->fn, c->cpu == raw_smp_processor_id() ? FS_LOCAL : FS_REMOTE);
		atomic_long_inc(&c->accepts);
	}
	/* Stopped under us: for the caller there is just nothing there. */
	return err == -EINVAL ? -EAGAIN : err;
}

/* Take turns when both queues have something, so that neither starves. */
static int fs_accept_worker(struct fs_listener *ls, struct fs_clone *c, struct socket *newsock,
			    const struct proto_accept_arg *arg)
{
	int err = -EAGAIN;

	if (fs_pending(ls->sk) && (!fs_pending(c->sk) || (c->turn++ & 1)))
		err = fs_accept_global(ls, newsock, arg);
	if (err == -EAGAIN) {
		err = fs_accept_clone(c, newsock, arg);
		if (unlikely(!err && READ_ONCE(c->stolen)))
			WRITE_ONCE(c->stolen, c->stolen - 1);
	}
	if (err == -EAGAIN)
		err = fs_accept_global(ls, newsock, arg);
	return err;
}

static int fs_accept_other(struct fs_listener *ls, struct socket *newsock,
			   const struct proto_accept_arg *arg)
{
	int err = fs_accept_global(ls, newsock, arg);
	struct fs_clone *c;

	if (err != -EAGAIN)
		return err;
	c = fs_any_pending(ls);
	if (!c)
		return err;
	err = fs_accept_clone(c, newsock, arg);
	if (!err)
		fs_clone_stolen(c);
	return err;
}

/* Is there anything left to accept for the worker of @c, or (NULL) for another task? */
static bool fs_accept_more(struct fs_listener *ls, const struct fs_clone *c)
{
	return fs_pending(ls->sk) || (c ? fs_pending(c->sk) : !!fs_any_pending(ls));
}

/*
 * Sleep until either queue gets a connection; exclusive on both, as in
 * inet_csk_wait_for_connect(). Return: what is left of @timeo.
 */
static long fs_accept_wait(struct fs_listener *ls, struct fs_clone *c, long timeo)
{
	DEFINE_WAIT(own);
	DEFINE_WAIT(global);

	prepare_to_wait_exclusive(sk_sleep(ls->sk), &global, TASK_INTERRUPTIBLE);
	prepare_to_wait_exclusive(sk_sleep(c->sk), &own, TASK_INTERRUPTIBLE);
	if (!fs_pending(c->sk) && !fs_pending(ls->sk) && fs_listening(ls) &&
	    !signal_pending(current))
		timeo = schedule_timeout(timeo);
	finish_wait(sk_sleep(c->sk), &own);
	finish_wait(sk_sleep(ls->sk), &global);
	return timeo;
}

static int fs_accept_block(struct fs_listener *ls, struct fs_clone *c, struct socket *newsock,
			   const struct proto_accept_arg *arg)
{
	long timeo = sock_rcvtimeo(ls->sk, 0);
	int err;

	for (;;) {
		err = fs_accept_worker(ls, c, newsock, arg);
		if (err != -EAGAIN)
			break;
		if (!fs_listening(ls))
			return -EINVAL;
		if (signal_pending(current))
			return sock_intr_errno(timeo);
		if (!timeo)
			return -EAGAIN;
		timeo = fs_accept_wait(ls, c, timeo);
		fs_worker_clone(ls);
	}
	/* We may have used up a wake-up that was for the other queue. */
	if (fs_pending(ls->sk))
		fs_data_ready(ls->sk);
	else if (fs_pending(c->sk))
		c->data_ready(c->sk);
	return err;
}

/**
 * fs_accept() - accept() on an attached socket
 * @sock: the socket
 * @newsock: what accept(2) will return
 * @arg: flags, and whether more connections wait
 *
 * Return: 0 or an error, as the kernel's function.
 */
int fs_accept(struct socket *sock, struct socket *newsock, struct proto_accept_arg *arg)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls = fs_listener_find(sock->sk);
	struct fs_clone *c;
	int err;

	/*
	 * The new socket is the kernel's: it lives on when the listener and the
	 * module are gone. (kernel_accept() sets its operations afterwards.)
	 */
	if (newsock->ops)
		WRITE_ONCE(newsock->ops, stock);
	if (!fs_listening(ls)) {
		fs_follow_state(ls);
		return fs_stock_accept(stock, sock, newsock, arg);
	}
	c = fs_worker_clone(ls);
	if (c) {
		fs_clone_accepting(c);
		err = fs_accept_worker(ls, c, newsock, arg);
	} else {
		err = fs_accept_other(ls, newsock, arg);
	}
	if (err == -EAGAIN && !(arg->flags & O_NONBLOCK)) {
		c = fs_worker_join(ls);
		if (!c)
			return fs_stock_accept(stock, sock, newsock, arg);
		err = fs_accept_block(ls, c, newsock, arg);
	}
	/* io_uring goes on until nothing is left in any queue of the task's. */
	if (!err)
		arg->is_empty = !fs_accept_more(ls, c);
	return err;
}

static void fs_listener_free(struct fs_listener *ls)
{
	put_cred(ls->cred);
	kfree(ls);
}

static void fs_free_work(struct work_struct *work)
{
	struct fs_listener *ls = container_of(to_rcu_work(work), struct fs_listener, free);
	struct fs_clone *c, *tmp;

	list_for_each_entry_safe(c, tmp, &ls->clones, node)
		fs_clone_free(c);
	fs_listener_free(ls);
}

/*
 * The end of an attached listener: the last reference on its file is gone, so
 * no system call is inside our operations. What its clones have pending goes to
 * its own queue first and meets the fate it would have met there.
 */
static void fs_detach(struct fs_listener *ls)
{
	struct fs_clone *c;

	mutex_lock(&ls->lock);
	lock_sock(ls->sk);
	ls->dead = true;
	fs_bind_close(ls, true);
	release_sock(ls->sk);
	list_for_each_entry(c, &ls->clones, node) {
		fs_clone_unpublish(c);
		fs_clone_drain(c);
		fs_clone_stop(c);
		fs_clone_unhook(c);
	}
	fs_group_leave(ls);
	fs_workers_drop(ls);
	fs_unhook(ls);
	lock_sock(ls->sk);
	fs_unguard(ls);
	release_sock(ls->sk);
	mutex_unlock(&ls->lock);

	mutex_lock(&ls->fn->lock);
	list_del_rcu(&ls->node);
	mutex_unlock(&ls->fn->lock);
}

static int fs_release(struct socket *sock)
{
	const struct proto_ops *stock = fs_stock_ops(sock);
	struct fs_listener *ls;
	int err;

	/* What accept() made for a connection that it then did not get. */
	if (!sock->sk)
		return stock->release(sock);
	ls = fs_listener_find(sock->sk);
	if (ls)
		fs_detach(ls);
	err = stock->release(sock);
	if (ls) {
		queue_rcu_work(fs_wq, &ls->free);
		fs_epoll_put();
		/* fs_listen_exit() waits until we have returned. */
		module_put(THIS_MODULE);
	}
	return err;
}

/* Learn the kernel's operations from a fresh socket. Holds fs_family_lock. */
static struct fs_family *fs_family_new(int family)
{
	struct fs_family *f = kzalloc(sizeof(*f), GFP_KERNEL);
	struct socket *sock;
	int err;

	if (!f)
		return ERR_PTR(-ENOMEM);
	err = sock_create_kern(&init_net, family, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (err) {
		kfree(f);
		return ERR_PTR(err);
	}
	f->stock = READ_ONCE(sock->ops);
	f->ops = *f->stock;
	f->ops.release = fs_release;
	f->ops.connect = fs_connect;
	f->ops.accept = fs_accept_op;
	f->ops.poll = fs_poll;
	f->ops.listen = fs_listen;
	f->ops.shutdown = fs_shutdown;
	f->ops.setsockopt = fs_setsockopt;
	f->ops.getsockopt = fs_getsockopt;
	f->af_ops = inet_csk(sock->sk)->icsk_af_ops;
	f->data_ready = sock->sk->sk_data_ready;
	f->prot = sock->sk->sk_prot;
	f->guard = *f->prot;
	f->guard.release_cb = fs_release_cb;
#ifdef CONFIG_BPF_SYSCALL
	f->guard.psock_update_sk_prot = fs_psock_update;
#endif
	sock_release(sock);
	return f;
}

/* Undo it at unload. See struct fs_family for why the memory stays. */
static void fs_family_retire(struct fs_family *f)
{
	if (!f)
		return;
	WRITE_ONCE(f->ops.release, f->stock->release);
	WRITE_ONCE(f->ops.connect, f->stock->connect);
	WRITE_ONCE(f->ops.accept, f->stock->accept);
	WRITE_ONCE(f->ops.poll, f->stock->poll);
	WRITE_ONCE(f->ops.listen, f->stock->listen);
	WRITE_ONCE(f->ops.shutdown, f->stock->shutdown);
	WRITE_ONCE(f->ops.setsockopt, f->stock->setsockopt);
	WRITE_ONCE(f->ops.getsockopt, f->stock->getsockopt);
	f->guard = *f->prot;
	kmemleak_not_leak(f);
}

static struct fs_family *fs_family_get(int family)
{
	struct fs_family **slot = family == AF_INET6 ? &fs_inet6 : &fs_inet;
	struct fs_family *f;

	mutex_lock(&fs_family_lock);
	f = *slot ? *slot : fs_family_new(family);
	if (!IS_ERR(f))
		*slot = f;
	mutex_unlock(&fs_family_lock);
	return f;
}

static struct fs_listener *fs_listener_new(struct socket *sock, struct fs_family *f)
{
	struct sock *sk = sock->sk;
	struct fs_listener *ls;

	ls = kzalloc(struct_size(ls, slot, nr_cpu_ids), GFP_KERNEL_ACCOUNT);
	if (!ls)
		return NULL;
	ls->sk = sk;
	ls->sock = sock;
	ls->ops = f->stock;
	ls->prot = f->prot;
	ls->guard = &f->guard;
	ls->orig_af_ops = f->af_ops;
	ls->af_ops = *f->af_ops;
	ls->af_ops.conn_request = fs_conn_request;
	ls->af_ops.syn_recv_sock = fs_syn_recv_sock_op;
	ls->data_ready = sk->sk_data_ready;
	ls->state_change = sk->sk_state_change;
	ls->error_report = sk->sk_error_report;
	ls->cred = get_current_cred();
	ls->fn = fs_net(sock_net(sk));
	mutex_init(&ls->lock);
	INIT_LIST_HEAD(&ls->clones);
	hash_init(ls->workers);
	INIT_RCU_WORK(&ls->free, fs_free_work);
	return ls;
}

/*
 * Enter a listener into the list, which is also how we see that another thread
 * is attaching the same socket.
 */
static int fs_claim(struct fs_listener *ls)
{
	struct fs_listener *o;
	int err = 0;

	mutex_lock(&ls->fn->lock);
	list_for_each_entry(o, &ls->fn->listeners, node)
		if (o->sk == ls->sk)
			err = -EALREADY;
	if (!err)
		list_add_tail_rcu(&ls->node, &ls->fn->listeners);
	mutex_unlock(&ls->fn->lock);
	return err;
}

/*
 * Is the socket as the kernel made it, and a listener or yet to become one? It is
 * to stay so. (Another thread may be attaching it; the guard is that one's, too.)
 */
static int fs_check_stock(const struct socket *sock, struct fs_family *f)
{
	struct sock *sk = sock->sk;
	int err = 0;

	lock_sock(sk);
	/* Without a file: setsockopt(TCP_ULP) has just given it to SMC. */
	if (!sock->file || READ_ONCE(sock->ops) != f->stock ||
	    inet_csk(sk)->icsk_af_ops != f->af_ops || sk->sk_data_ready != f->data_ready)
		err = -EBUSY;
	else if (sk->sk_state != TCP_CLOSE && sk->sk_state != TCP_LISTEN)
		err = -EINVAL;
	else if (sk->sk_state == TCP_CLOSE)
		fs_guard(sk, f->prot, &f->guard);
	release_sock(sk);
	return err;
}

/* Install our operations; undone by fs_release(). */
static int fs_install(struct socket *sock, const struct fs_family *f, struct fs_listener *ls)
{
	int err = fs_claim(ls);

	if (err)
		return err;
	mutex_lock(&ls->lock);
	fs_hook(ls);
	mutex_unlock(&ls->lock);
	/* Until fs_release(); the caller's open device keeps us there until now. */
	__module_get(THIS_MODULE);
	fs_epoll_get();
	lock_sock(ls->sk);
	if (ls->sk->sk_state != TCP_LISTEN)
		fs_guard(ls->sk, ls->prot, ls->guard);
	/* Whoever sees our operations finds the listener in the list. */
	smp_store_release(&sock->ops, &f->ops);
	release_sock(ls->sk);
	return 0;
}

/**
 * fs_attach() - put a socket under Fastsocket until it is closed
 * @sock: TCP, see fs_can_attach(), listening or about to; the caller holds a
 *	reference on its file
 *
 * Process context, may sleep.
 *
 * Return: 0, also when it is attached already; -EOPNOTSUPP: not TCP; -EBUSY: its
 * operations are not the kernel's own; -EINVAL: it is connected; -ENOMEM.
 */
int fs_attach(struct socket *sock)
{
	struct fs_listener *ls;
	struct fs_family *f;
	int err;

	if (!fs_can_attach(sock))
		return -EOPNOTSUPP;
	if (fs_attached(sock))
		return 0;
	f = fs_family_get(sock->sk->sk_family);
	if (IS_ERR(f))
		return PTR_ERR(f);
	ls = fs_listener_new(sock, f);
	if (!ls)
		return -ENOMEM;
	err = fs_check_stock(sock, f);
	if (!err)
		err = fs_install(sock, f, ls);
	if (err)
		fs_listener_free(ls);
	/* Another thread has attached it, or is about to. */
	return err && fs_listener_find(sock->sk) ? 0 : err;
}

/**
 * fs_attach_or_say() - fs_attach() if that is wanted now; a line in the log tells why not
 * @sock: any socket; the caller holds a reference on its file
 *
 * Process context, in the task whose listener it is; may sleep.
 */
void fs_attach_or_say(struct socket *sock)
{
	int err = 0;

	if (READ_ONCE(fs_spawn_mode) != FS_SPAWN_OFF && fs_can_attach(sock))
		err = fs_attach(sock);
	if (err)
		pr_notice_ratelimited("a listener of %s stays with the plain kernel: error %d\n",
				      current->comm, err);
	else if (sock->sk && sock->sk->sk_protocol == IPPROTO_MPTCP)
		pr_notice_ratelimited("a listener of %s stays with the plain kernel: it is MPTCP (Go programs: GODEBUG=multipathtcp=0)\n",
				      current->comm);
}

/**
 * fs_spawn() - FSOCKET_IOC_SPAWN_LISTEN: current becomes a worker of @sock
 * @sock: a TCP listener; attached if it is not yet
 * @cpu: see fs_worker_spawn()
 *
 * Return: as fs_attach() and fs_worker_spawn(); -EINVAL: not listening.
 */
int fs_spawn(struct socket *sock, int cpu)
{
	int err;

	if (!fs_can_attach(sock))
		return -EOPNOTSUPP;
	if (READ_ONCE(fs_spawn_mode) == FS_SPAWN_OFF)
		return -EOPNOTSUPP;
	if (inet_sk_state_load(sock->sk) != TCP_LISTEN)
		return -EINVAL;
	err = fs_attach(sock);
	if (err)
		return err;
	return fs_worker_spawn(fs_listener_find(sock->sk), cpu);
}

static void fs_show_address(struct seq_file *m, const struct sock *sk)
{
#if IS_ENABLED(CONFIG_IPV6)
	if (sk->sk_family == AF_INET6)
		seq_printf(m, "[%pI6c] ", &sk->sk_v6_rcv_saddr);
	else
#endif
		seq_printf(m, "%pI4 ", &sk->sk_rcv_saddr);
	seq_printf(m, "%u ", sk->sk_num);
}

static const char *fs_clone_state(const struct fs_clone *c)
{
	if (c->stopped)
		return "stopped";
	if (READ_ONCE(c->live))
		return "live";
	return READ_ONCE(c->lastpid) ? "stalled" : "idle";
}

/* Whose listener it is may be seen by its owner and by the namespace's admin. */
static bool fs_may_see_pids(const struct seq_file *m, const struct sock *sk)
{
	return uid_eq(m->file->f_cred->fsuid, sk_uid(sk)) ||
	       file_ns_capable(m->file, sock_net(sk)->user_ns, CAP_NET_ADMIN);
}

static void fs_clone_show(struct seq_file *m, const struct fs_clone *c, bool pids)
{
	struct fs_worker *w = hlist_entry_safe(c->workers.first, struct fs_worker, on_clone);

	fs_show_address(m, c->ls->sk);
	seq_printf(m, "%d %d %u %u %ld %s\n", c->cpu, pids && w ? pid_vnr(w->pid) : 0, c->nworkers,
		   READ_ONCE(c->sk->sk_ack_backlog), atomic_long_read(&c->accepts),
		   fs_clone_state(c));
}

/**
 * fs_listener_show() - the lines of a listener in /proc/net/fsocket_listeners
 * @m: the file
 * @ls: the listener
 *
 * Process context; the caller holds ls->fn->lock, which keeps @ls there.
 */
void fs_listener_show(struct seq_file *m, struct fs_listener *ls)
{
	bool pids = fs_may_see_pids(m, ls->sk);
	struct fs_clone *c;

	mutex_lock(&ls->lock);
	list_for_each_entry(c, &ls->clones, node)
		fs_clone_show(m, c, pids);
	fs_show_address(m, ls->sk);
	seq_printf(m, "- 0 %u %u %ld %s\n", ls->nworkers, READ_ONCE(ls->sk->sk_ack_backlog),
		   atomic_long_read(&ls->accepts), fs_listening(ls) ? "live" : "stopped");
	mutex_unlock(&ls->lock);
}

/**
 * fs_listen_init() - at load; process context
 *
 * Return: 0 or -ENOMEM.
 */
int fs_listen_init(void)
{
	fs_bind_init();
	fs_wq = alloc_workqueue("fastsocket", WQ_UNBOUND, 0);
	return fs_wq ? 0 : -ENOMEM;
}

/**
 * fs_listen_exit() - at unload; nothing is attached any more
 *
 * A task may be on its way out of fs_release(), softirqs may still be inside our
 * functions, and listeners wait to be freed.
 */
void fs_listen_exit(void)
{
	fs_family_retire(fs_inet);
	fs_family_retire(fs_inet6);
	if (fs_inet || fs_inet6)
		synchronize_rcu_tasks();
	synchronize_net();
	rcu_barrier();
	destroy_workqueue(fs_wq);
	rcu_barrier();
	fs_bind_exit();
}
