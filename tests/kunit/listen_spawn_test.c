// SPDX-License-Identifier: GPL-2.0
/* Cases for listen_spawn.c */
#include "../../listen_spawn.c"

#include <linux/poll.h>

#include "kunit_util.h"

/* What fs_hook() replaces. */
struct fsk_hooks {
	const struct inet_connection_sock_af_ops *af_ops;
	void (*data_ready)(struct sock *sk);
	void (*state_change)(struct sock *sk);
	void (*error_report)(struct sock *sk);
};

static struct fsk_hooks fsk_hooks(const struct sock *sk)
{
	return (struct fsk_hooks){
		inet_csk(sk)->icsk_af_ops,
		sk->sk_data_ready,
		sk->sk_state_change,
		sk->sk_error_report,
	};
}

static void fsk_expect_hooks(struct kunit *test, const struct sock *sk, const struct fsk_hooks *h)
{
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(sk)->icsk_af_ops, h->af_ops);
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_data_ready, h->data_ready);
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_state_change, h->state_change);
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_error_report, h->error_report);
}

static int fsk_calls;

static void fsk_count_call(struct sock *sk)
{
	WRITE_ONCE(fsk_calls, fsk_calls + 1);
}

/* A clone of each of two CPUs, live. */
static void fsk_two_clones(struct kunit *test, struct fs_listener *ls, struct fs_clone **c)
{
	int cpu;

	fsk_need_cpus(test, 2);
	for (cpu = 0; cpu < 2; cpu++) {
		c[cpu] = fsk_clone(test, ls, cpu);
		fsk_clone_live(c[cpu]);
	}
}

/* ---- which sockets ---- */

static void fs_attached__by_the_operations(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);

	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
	KUNIT_EXPECT_EQ(test, fs_attach(sock), 0);
	KUNIT_EXPECT_TRUE(test, fs_attached(sock));
}

static void fs_can_attach__tcp_and_nothing_else(struct kunit *test)
{
	struct socket none = { .type = SOCK_STREAM };

	KUNIT_EXPECT_TRUE(test, fs_can_attach(fsk_tcp(test, AF_INET)));
	KUNIT_EXPECT_TRUE(test, fs_can_attach(fsk_tcp(test, AF_INET6)));
	KUNIT_EXPECT_FALSE(test, fs_can_attach(fsk_socket(test, AF_INET, SOCK_DGRAM, 0)));
	KUNIT_EXPECT_FALSE(test, fs_can_attach(fsk_socket(test, AF_INET6, SOCK_RAW, IPPROTO_TCP)));
	KUNIT_EXPECT_FALSE(test, fs_can_attach(fsk_socket(test, AF_UNIX, SOCK_STREAM, 0)));
	KUNIT_EXPECT_FALSE(test,
			   fs_can_attach(fsk_socket(test, AF_INET, SOCK_STREAM, IPPROTO_MPTCP)));
	KUNIT_EXPECT_FALSE(test, fs_can_attach(&none));
}

static void fs_listener_find__hooked_or_not(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct socket *other = fsk_listener(test, AF_INET, 4);
	struct fs_clone *c = fsk_clone(test, ls, 0);

	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find(ls->sk), ls);
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find_rcu(ls->sk), ls);
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find_rcu(c->sk), ls);
	KUNIT_EXPECT_NULL(test, fs_listener_find(c->sk));
	KUNIT_EXPECT_NULL(test, fs_listener_find(other->sk));
	KUNIT_EXPECT_NULL(test, fs_listener_find_rcu(other->sk));
	fsk_locked_void(ls, fs_unhook(ls));
	KUNIT_EXPECT_NULL(test, fs_listener_of(ls->sk));
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find(ls->sk), ls);
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find_rcu(ls->sk), ls);
}

static void fs_listening__follows_the_state(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	struct fs_listener *ls;

	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	ls = fs_listener_find(sock->sk);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	KUNIT_EXPECT_FALSE(test, fs_listening(NULL));
	KUNIT_EXPECT_FALSE(test, fs_listening(ls));
	fsk_bind_loopback(test, sock);
	KUNIT_EXPECT_EQ(test, kernel_listen(sock, 4), 0);
	KUNIT_EXPECT_TRUE(test, fs_listening(ls));
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(sock, SHUT_RDWR), 0);
	KUNIT_EXPECT_FALSE(test, fs_listening(ls));
}

/* ---- the callbacks ---- */

static void fs_data_ready__passes_on_and_wakes_clones(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_clone *c[2];

	fsk_two_clones(test, ls, c);
	ls->data_ready = fsk_count_call;
	c[0]->data_ready = fsk_count_call;
	c[1]->data_ready = fsk_count_call;
	fsk_calls = 0;
	fs_data_ready(ls->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 3);
	/* A child that still has our operations: the kernel's function alone. */
	fs_data_ready(c[0]->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 4);
	ls->data_ready = fs_inet->data_ready;
	c[0]->data_ready = fs_inet->data_ready;
	c[1]->data_ready = fs_inet->data_ready;
}

static int fsk_woken(struct wait_queue_entry *e, unsigned int mode, int sync, void *key)
{
	WRITE_ONCE(fsk_calls, fsk_calls + 1);
	return 0;
}

static void fs_state_change__passes_on_and_wakes_all(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct wait_queue_entry e = { .func = fsk_woken };
	typeof(ls->state_change) state_change = ls->state_change;
	typeof(ls->error_report) error_report = ls->error_report;
	struct fs_clone *c = fsk_clone(test, ls, 0);

	add_wait_queue(&c->sock->wq.wait, &e);
	ls->state_change = fsk_count_call;
	ls->error_report = fsk_count_call;
	fsk_calls = 0;
	fs_state_change(ls->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 2);
	fs_error_report(ls->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 4);
	fs_state_change(c->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 5);
	fs_error_report(c->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 6);
	remove_wait_queue(&c->sock->wq.wait, &e);
	ls->state_change = state_change;
	ls->error_report = error_report;
}

static void fs_data_ready__of_nobody_s_socket_is_silent(struct kunit *test)
{
	struct socket *sock = fsk_listener(test, AF_INET, 4);

	fs_data_ready(sock->sk);
	fs_state_change(sock->sk);
	fs_error_report(sock->sk);
	KUNIT_EXPECT_EQ(test, sock->sk->sk_state, TCP_LISTEN);
}

/* ---- hook and unhook ---- */

static void fs_unhook_pending__mends_children_in_the_queue(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct request_sock *req;
	unsigned int n = 0;

	fsk_connect(test, ls->sock, -1);
	fsk_connect(test, ls->sock, -1);
	for (req = fs_queue(ls->sk)->rskq_accept_head; req; req = req->dl_next)
		inet_csk(req->sk)->icsk_af_ops = &ls->af_ops;
	fs_unhook_pending(ls);
	for (req = fs_queue(ls->sk)->rskq_accept_head; req; req = req->dl_next) {
		KUNIT_EXPECT_PTR_EQ(test, inet_csk(req->sk)->icsk_af_ops, ls->orig_af_ops);
		n++;
	}
	KUNIT_EXPECT_EQ(test, n, 2);
}

static void fsk_hook_and_back(struct kunit *test, struct socket *sock)
{
	const struct fsk_hooks before = fsk_hooks(sock->sk);
	struct fsk_hooks ours;
	struct fs_listener *ls;

	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	ls = fs_listener_find(sock->sk);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	ours = (struct fsk_hooks){
		&ls->af_ops,
		fs_data_ready,
		fs_state_change,
		fs_error_report,
	};
	KUNIT_EXPECT_TRUE(test, ls->hooked);
	fsk_expect_hooks(test, sock->sk, &ours);
	fsk_locked_void(ls, fs_hook(ls));
	fsk_expect_hooks(test, sock->sk, &ours);
	fsk_locked_void(ls, fs_unhook(ls));
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	fsk_expect_hooks(test, sock->sk, &before);
	fsk_locked_void(ls, fs_unhook(ls));
	fsk_expect_hooks(test, sock->sk, &before);
	fsk_locked_void(ls, fs_hook(ls));
	fsk_expect_hooks(test, sock->sk, &ours);
}

static void fs_hook__and_unhook_restores_every_pointer(struct kunit *test)
{
	fsk_hook_and_back(test, fsk_tcp(test, AF_INET));
	fsk_hook_and_back(test, fsk_tcp(test, AF_INET6));
	fsk_hook_and_back(test, fsk_listener(test, AF_INET, 4));
	fsk_hook_and_back(test, fsk_listener(test, AF_INET6, 4));
}

static void fs_unhook__leaves_what_others_have_put_there(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fsk_hooks others = {
		ls->orig_af_ops,
		fsk_count_call,
		fsk_count_call,
		fsk_count_call,
	};
	struct inet_connection_sock_af_ops ops = *ls->orig_af_ops;
	struct sock *sk = ls->sk;

	others.af_ops = &ops;
	inet_csk(sk)->icsk_af_ops = &ops;
	sk->sk_data_ready = fsk_count_call;
	sk->sk_state_change = fsk_count_call;
	sk->sk_error_report = fsk_count_call;
	fsk_locked_void(ls, fs_unhook(ls));
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	fsk_expect_hooks(test, sk, &others);
	inet_csk(sk)->icsk_af_ops = ls->orig_af_ops;
	sk->sk_data_ready = ls->data_ready;
	sk->sk_state_change = ls->state_change;
	sk->sk_error_report = ls->error_report;
}

struct fsk_storm {
	struct fsk_tally tally;
	struct socket *sock;
};

static void fsk_storm_connect(void *arg)
{
	struct fsk_storm *s = arg;

	while (!fsk_stopping()) {
		fsk_tally_connect(&s->tally);
		cond_resched();
	}
}

static void fsk_storm_accept(void *arg)
{
	struct fsk_storm *s = arg;

	while (!fsk_stopping()) {
		fsk_tally_accept(&s->tally, s->sock);
		fsk_nap();
	}
}

static void fs_hook__while_connections_come(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 8192);
	const unsigned long end = jiffies + msecs_to_jiffies(fsk_stress_ms);
	struct fsk_storm s = { .sock = ls->sock };
	struct fsk_threads t = {};
	unsigned int turns = 0;
	struct rnd_state rnd;

	fsk_need_cpus(test, 4);
	fsk_seed(test, &rnd);
	fsk_tally_init(test, &s.tally, ls->sock);
	fsk_thread(test, &t, 0, fsk_storm_connect, &s);
	fsk_thread(test, &t, 1, fsk_storm_connect, &s);
	fsk_thread(test, &t, 2, fsk_storm_accept, &s);
	fsk_on_cpu(test, 3);
	do {
		fsk_locked_void(ls, fs_unhook(ls));
		msleep(fsk_rnd(&rnd, 4));
		fsk_locked_void(ls, fs_hook(ls));
		msleep(fsk_rnd(&rnd, 4));
		turns++;
	} while (time_before(jiffies, end) || turns < 3);
	fsk_threads_stop(&t);
	kunit_info(test, "%u turns\n", turns);
	fsk_tally_check(test, &s.tally, ls->sock);
}

/* ---- the clones follow the listener ---- */

static void fs_clones_backlog__adds_all_up(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c[2];

	KUNIT_EXPECT_EQ(test, fs_clones_backlog(ls), 0);
	fsk_two_clones(test, ls, c);
	fsk_connect(test, ls->sock, 0);
	fsk_connect(test, ls->sock, 1);
	fsk_connect(test, ls->sock, 1);
	c[0]->live = false;
	fsk_connect(test, ls->sock, 0);
	KUNIT_EXPECT_EQ(test, fs_clones_backlog(ls), 3);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, 1);
}

static void fs_clones_stop__and_start_again(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c[2];
	int cpu;

	fsk_two_clones(test, ls, c);
	fsk_connect(test, ls->sock, 1);
	fsk_locked_void(ls, fs_clones_stop(ls));
	for (cpu = 0; cpu < 2; cpu++) {
		KUNIT_EXPECT_TRUE(test, c[cpu]->stopped);
		KUNIT_EXPECT_FALSE(test, c[cpu]->live);
		KUNIT_EXPECT_EQ(test, c[cpu]->sk->sk_state, TCP_CLOSE);
		KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[cpu]));
	}
	KUNIT_EXPECT_FALSE(test, fs_pending(c[1]->sk));
	fsk_locked_void(ls, fs_clones_start(ls));
	for (cpu = 0; cpu < 2; cpu++) {
		KUNIT_EXPECT_FALSE(test, c[cpu]->stopped);
		KUNIT_EXPECT_EQ(test, c[cpu]->sk->sk_state, TCP_LISTEN);
		KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[cpu]), c[cpu]);
		KUNIT_EXPECT_EQ(test, c[cpu]->sk->sk_ack_backlog, 0);
	}
	fsk_clone_live(c[1]);
	fsk_connect(test, ls->sock, 1);
	KUNIT_EXPECT_TRUE(test, fs_pending(c[1]->sk));
}

static void fs_clones_start__leaves_a_slot_that_is_taken(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *old = fsk_clone(test, ls, 0), *new;

	fsk_locked_void(ls, fs_clones_stop(ls));
	new = fsk_clone(test, ls, 0);
	KUNIT_EXPECT_PTR_NE(test, new, old);
	fsk_locked_void(ls, fs_clones_start(ls));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[0]), new);
	KUNIT_EXPECT_FALSE(test, old->stopped);
}

static void fs_follow_state__ends_what_somebody_else_ended(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);

	fs_follow_state(NULL);
	fs_follow_state(ls);
	KUNIT_EXPECT_TRUE(test, ls->hooked);
	KUNIT_EXPECT_FALSE(test, c->stopped);
	/* As tcp_abort() does. */
	lock_sock(ls->sk);
	tcp_set_state(ls->sk, TCP_CLOSE);
	release_sock(ls->sk);
	fs_follow_state(ls);
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_TRUE(test, c->stopped);
	fs_follow_state(ls);
}

static void fs_listen__again_after_shutdown(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	const struct fsk_hooks ours = fsk_hooks(ls->sk);
	struct fs_clone *c = fsk_clone(test, ls, 1);

	KUNIT_EXPECT_EQ(test, kernel_listen(ls->sock, 32), 0);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_max_ack_backlog, 32);
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(ls->sock, SHUT_RDWR), 0);
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_TRUE(test, c->stopped);
	KUNIT_EXPECT_EQ(test, kernel_listen(ls->sock, 8), 0);
	KUNIT_EXPECT_TRUE(test, ls->hooked);
	fsk_expect_hooks(test, ls->sk, &ours);
	KUNIT_EXPECT_FALSE(test, c->stopped);
	fsk_clone_live(c);
	fsk_connect(test, ls->sock, 1);
	KUNIT_EXPECT_TRUE(test, fs_pending(c->sk));
}

static void fs_listen__that_fails_leaves_nothing_hooked(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET), *to = fsk_listener(test, AF_INET, 4);
	struct fs_listener *ls;
	struct sockaddr_in addr;

	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	ls = fs_listener_find(sock->sk);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	KUNIT_EXPECT_GT(test, kernel_getsockname(to, (struct sockaddr *)&addr), 0);
	KUNIT_EXPECT_EQ(test, kernel_connect(sock, (struct sockaddr *)&addr, sizeof(addr), 0), 0);
	sock_no_linger(sock->sk);
	KUNIT_EXPECT_EQ(test, kernel_listen(sock, 4), -EINVAL);
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(sock->sk)->icsk_af_ops, ls->orig_af_ops);
}

static void fs_shutdown__for_writing_goes_on_listening(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);

	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(ls->sock, SHUT_WR), 0);
	KUNIT_EXPECT_TRUE(test, fs_listening(ls));
	KUNIT_EXPECT_TRUE(test, ls->hooked);
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(ls->sock, SHUT_RD), 0);
	KUNIT_EXPECT_FALSE(test, fs_listening(ls));
	KUNIT_EXPECT_FALSE(test, ls->hooked);
}

static void fs_connect__to_nobody_ends_the_listener(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	struct sockaddr addr = { .sa_family = AF_UNSPEC };

	KUNIT_EXPECT_EQ(test, kernel_connect(ls->sock, &addr, sizeof(addr), 0), 0);
	KUNIT_EXPECT_FALSE(test, fs_listening(ls));
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_TRUE(test, c->stopped);
}

static void fs_setsockopt__no_ulp_for_an_attached_socket(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	const struct proto_ops *ops = ls->sock->ops;
	int one = 1;

	KUNIT_EXPECT_EQ(test, ops->setsockopt(ls->sock, SOL_TCP, TCP_ULP, KERNEL_SOCKPTR("tls"), 3),
			-ENOTCONN);
	KUNIT_EXPECT_EQ(test,
			ops->setsockopt(ls->sock, SOL_TCP, TCP_NODELAY, KERNEL_SOCKPTR(&one),
					sizeof(one)),
			0);
	KUNIT_EXPECT_EQ(test, tcp_sk(ls->sk)->nonagle & TCP_NAGLE_OFF, TCP_NAGLE_OFF);
	KUNIT_EXPECT_EQ(test,
			ops->setsockopt(ls->sock, SOL_TCP, TCP_NODELAY, KERNEL_SOCKPTR(&one), 1),
			-EINVAL);
}

/* ---- what keeps the kernel from changing the operations ---- */

static void fsk_expect_guarded(struct kunit *test, const struct fs_listener *ls, bool guarded)
{
	struct proto *prot = guarded && ls->sk->sk_family == AF_INET6 ? ls->guard : ls->prot;

	KUNIT_EXPECT_PTR_EQ(test, ls->sk->sk_prot, prot);
	KUNIT_EXPECT_EQ(test, fs_guarded(ls->sk), guarded);
	KUNIT_EXPECT_EQ(test, inet_csk_has_ulp(ls->sk), guarded);
}

static void fsk_guard_life(struct kunit *test, int family)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	struct socket *sock = fsk_tcp(test, family);
	struct proto *prot = sock->sk->sk_prot;
	struct sock *sk = sock->sk;
	struct fs_listener *ls;

	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	ls = fs_listener_find(sk);
	KUNIT_ASSERT_PTR_EQ(test, ls->prot, prot);
	fsk_expect_guarded(test, ls, true);
	fsk_bind_loopback(test, sock);
	KUNIT_EXPECT_EQ(test, kernel_listen(sock, 4), 0);
	fsk_expect_guarded(test, ls, false);
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(sock, SHUT_WR), 0);
	fsk_expect_guarded(test, ls, false);
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(sock, SHUT_RD), 0);
	fsk_expect_guarded(test, ls, true);
	KUNIT_EXPECT_EQ(test, kernel_listen(sock, 4), 0);
	fsk_expect_guarded(test, ls, false);
	KUNIT_EXPECT_EQ(test, kernel_connect(sock, &none, sizeof(none), 0), 0);
	fsk_expect_guarded(test, ls, true);
	sock_hold(sk);
	fsk_close(sock);
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_prot, prot);
	KUNIT_EXPECT_FALSE(test, inet_csk_has_ulp(sk));
	sock_put(sk);
}

static void fs_guard__whenever_it_does_not_listen(struct kunit *test)
{
	fsk_guard_life(test, AF_INET);
	fsk_guard_life(test, AF_INET6);
}

static void fs_guard__when_it_was_aborted(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 4);

	KUNIT_EXPECT_EQ(test, tcp_abort(ls->sk, ECONNABORTED), 0);
	fsk_expect_guarded(test, ls, true);
}

static void fs_guard__leaves_what_others_have_put_there(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 4);
	const struct tcp_ulp_ops ulp = {};
	struct proto prot = *ls->prot;

	ls->sk->sk_prot = &prot;
	inet_csk(ls->sk)->icsk_ulp_ops = &ulp;
	fs_guard_begin(ls);
	KUNIT_EXPECT_PTR_EQ(test, ls->sk->sk_prot, &prot);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(ls->sk)->icsk_ulp_ops, &ulp);
	fs_guard_end(ls);
	fs_unguard(ls);
	KUNIT_EXPECT_PTR_EQ(test, ls->sk->sk_prot, &prot);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(ls->sk)->icsk_ulp_ops, &ulp);
	ls->sk->sk_prot = ls->prot;
	inet_csk(ls->sk)->icsk_ulp_ops = NULL;
}

/* The end of one call does not leave another's unguarded. */
static void fs_guard__two_calls_at_a_time(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 4);

	fs_guard_begin(ls);
	KUNIT_EXPECT_EQ(test, kernel_listen(ls->sock, 4), 0);
	fsk_expect_guarded(test, ls, true);
	fs_guard_end(ls);
	fsk_expect_guarded(test, ls, false);
}

/* What is copied into a child between fs_guard_begin() and the call that it is for. */
static void fs_guard__is_not_inherited_by_children(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 4);
	struct socket *new;

	fs_guard_begin(ls);
	fsk_expect_guarded(test, ls, true);
	fsk_connect(test, ls->sock, -1);
	new = fsk_accept(test, ls->sock);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_PTR_EQ(test, new->sk->sk_prot, ls->prot);
	KUNIT_EXPECT_FALSE(test, inet_csk_has_ulp(new->sk));
	fs_guard_end(ls);
}

/* ---- poll and accept of tasks that are no workers ---- */

static void fs_any_pending__finds_the_clone_that_has_something(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c[2];

	fsk_two_clones(test, ls, c);
	KUNIT_EXPECT_NULL(test, fs_any_pending(ls));
	fsk_connect(test, ls->sock, 1);
	KUNIT_EXPECT_PTR_EQ(test, fs_any_pending(ls), c[1]);
}

static void fs_poll__sees_both_queues(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	struct file *file = ls->sock->file;

	KUNIT_EXPECT_EQ(test, (__force u32)fs_poll(file, ls->sock, NULL), 0);
	fsk_clone_live(c);
	fsk_connect(test, ls->sock, 0);
	KUNIT_EXPECT_EQ(test, (__force u32)fs_poll(file, ls->sock, NULL),
			(__force u32)(EPOLLIN | EPOLLRDNORM));
	KUNIT_EXPECT_NOT_NULL(test, fsk_accept(test, ls->sock));
	KUNIT_EXPECT_EQ(test, (__force u32)fs_poll(file, ls->sock, NULL), 0);
	c->live = false;
	fsk_connect(test, ls->sock, 0);
	KUNIT_EXPECT_EQ(test, (__force u32)fs_poll(file, ls->sock, NULL),
			(__force u32)(EPOLLIN | EPOLLRDNORM));
	KUNIT_EXPECT_EQ(test, kernel_sock_shutdown(ls->sock, SHUT_RDWR), 0);
	KUNIT_EXPECT_TRUE(test, !!(fs_poll(file, ls->sock, NULL) & EPOLLHUP));
}

static unsigned long fsk_stat(const struct fs_listener *ls, enum fs_stat s)
{
	unsigned long n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(ls->fn->stats, cpu)->n[s];
	return n;
}

static void fs_accept_global__counts_and_never_waits(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	unsigned long before = fsk_stat(ls, FS_GLOBAL);
	struct socket *client, *new;

	KUNIT_EXPECT_NULL(test, fsk_accept(test, ls->sock));
	client = fsk_connect(test, ls->sock, -1);
	new = fsk_accept(test, ls->sock);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_EQ(test, fsk_peer(new), fsk_port(client));
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_GLOBAL), before + 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&ls->accepts), 1L);
	KUNIT_EXPECT_NULL(test, fsk_accept(test, ls->sock));
}

static void fs_accept_clone__counts_by_cpu(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	unsigned long local = fsk_stat(ls, FS_LOCAL), remote = fsk_stat(ls, FS_REMOTE);
	struct fs_clone *c[2];

	fsk_two_clones(test, ls, c);
	fsk_connect(test, ls->sock, 1);
	fsk_connect(test, ls->sock, 1);
	KUNIT_EXPECT_NOT_NULL(test, fsk_accept(test, ls->sock));
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_LOCAL), local + 1);
	fsk_on_cpu(test, 0);
	KUNIT_EXPECT_NOT_NULL(test, fsk_accept(test, ls->sock));
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_LOCAL), local + 1);
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_REMOTE), remote + 1);
	KUNIT_EXPECT_EQ(test, atomic_long_read(&c[1]->accepts), 2L);
	/* We are no worker of it. */
	KUNIT_EXPECT_EQ(test, c[1]->stolen, 4);
}

static void fs_accept_clone__stopped_is_empty(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	struct request_sock *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	const struct proto_accept_arg arg = { .kern = true };
	struct socket *new;

	KUNIT_ASSERT_NOT_NULL(test, fake);
	KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &new), 0);
	KUNIT_EXPECT_EQ(test, fs_accept_clone(c, new, &arg), -EAGAIN);
	fsk_locked_void(ls, fs_clones_stop(ls));
	/* Between the look at the queue and the accept() it was stopped. */
	fs_queue(c->sk)->rskq_accept_head = fake;
	KUNIT_EXPECT_EQ(test, fs_accept_clone(c, new, &arg), -EAGAIN);
	fs_queue(c->sk)->rskq_accept_head = NULL;
	sock_release(new);
}

static void fs_accept_worker__takes_turns(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 32);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	const struct proto_accept_arg arg = { .kern = true };
	unsigned int i, own = 0, global = 0;
	struct socket *new;

	for (i = 0; i < 6; i++)
		fsk_connect(test, ls->sock, 0);
	fsk_clone_live(c);
	for (i = 0; i < 6; i++)
		fsk_connect(test, ls->sock, 0);
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 6);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, 6);
	c->stolen = 2;
	for (i = 0; i < 12; i++) {
		KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &new), 0);
		KUNIT_EXPECT_EQ(test, fs_accept_worker(ls, c, new, &arg), 0);
		new->ops = ls->ops;
		__module_get(new->ops->owner);
		sock_release(new);
		if (i == 5) {
			own = atomic_long_read(&c->accepts);
			global = atomic_long_read(&ls->accepts);
		}
	}
	KUNIT_EXPECT_EQ(test, own, 3);
	KUNIT_EXPECT_EQ(test, global, 3);
	KUNIT_EXPECT_EQ(test, c->stolen, 0);
	KUNIT_EXPECT_EQ(test, fsk_backlog(ls), 0);
}

static void fs_accept__child_is_the_kernel_s_alone(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	const struct fsk_hooks stock = {
		ls->orig_af_ops,
		ls->data_ready,
		ls->state_change,
		ls->error_report,
	};
	struct socket *new;

	fsk_connect(test, ls->sock, 0);
	fsk_clone_live(c);
	fsk_connect(test, ls->sock, 0);
	new = fsk_accept(test, ls->sock);
	KUNIT_ASSERT_NOT_NULL(test, new);
	fsk_expect_hooks(test, new->sk, &stock);
	new = fsk_accept(test, ls->sock);
	KUNIT_ASSERT_NOT_NULL(test, new);
	fsk_expect_hooks(test, new->sk, &stock);
	KUNIT_EXPECT_PTR_EQ(test, READ_ONCE(new->sk->sk_user_data), NULL);
	KUNIT_EXPECT_EQ(test, fsk_port(new), ntohs(inet_sk(ls->sk)->inet_sport));
}

static void fs_accept__new_socket_gets_the_kernel_s_operations(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct proto_accept_arg arg = { .flags = O_NONBLOCK };
	struct socket *new;

	fsk_connect(test, ls->sock, -1);
	KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &new), 0);
	/* As do_accept() does. */
	new->ops = ls->sock->ops;
	__module_get(new->ops->owner);
	KUNIT_EXPECT_EQ(test, fs_stock_accept(ls->sock->ops, ls->sock, new, &arg), 0);
	KUNIT_EXPECT_PTR_EQ(test, new->ops, ls->ops);
	sock_release(new);
}

/* Accept one; @more: does fs_accept() say that there is more? */
static void fsk_accept_arg(struct kunit *test, struct fs_listener *ls, bool more)
{
	struct proto_accept_arg arg = { .flags = O_NONBLOCK, .is_empty = -1 };
	struct socket *new;

	KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &new), 0);
	KUNIT_EXPECT_EQ(test, fs_accept(ls->sock, new, &arg), 0);
	KUNIT_EXPECT_EQ(test, arg.is_empty, !more);
	new->ops = ls->ops;
	__module_get(new->ops->owner);
	sock_release(new);
}

static void fs_accept__empty_are_all_queues_or_none(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	struct proto_accept_arg arg = { .flags = O_NONBLOCK, .is_empty = -1 };
	struct socket *none;

	fsk_connect(test, ls->sock, 0);
	fsk_clone_live(c);
	fsk_connect(test, ls->sock, 0);
	fsk_connect(test, ls->sock, 0);
	fsk_accept_arg(test, ls, true);
	fsk_accept_arg(test, ls, true);
	fsk_accept_arg(test, ls, false);
	/* Nothing accepted, nothing said, as the kernel does. */
	KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &none), 0);
	KUNIT_EXPECT_EQ(test, fs_accept(ls->sock, none, &arg), -EAGAIN);
	KUNIT_EXPECT_EQ(test, arg.is_empty, -1);
	sock_release(none);
}

static void fs_accept__what_it_did_not_fill_is_released(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct socket *new;

	KUNIT_ASSERT_EQ(test, sock_create_lite(AF_INET, SOCK_STREAM, IPPROTO_TCP, &new), 0);
	new->ops = ls->sock->ops;
	__module_get(new->ops->owner);
	KUNIT_EXPECT_NULL(test, new->sk);
	sock_release(new);
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find(ls->sk), ls);
}

/* ---- attach, its refusals, release ---- */

static void fs_release__gives_the_module_and_all_memory_back(struct kunit *test)
{
	int refs = module_refcount(THIS_MODULE);
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c[2];

	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);
	fsk_two_clones(test, ls, c);
	fsk_connect(test, ls->sock, 0);
	fsk_connect(test, ls->sock, 1);
	fsk_close(ls->sock);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs);
	KUNIT_EXPECT_TRUE(test, list_empty(&fs_net(&init_net)->listeners));
	rcu_barrier();
	flush_workqueue(fs_wq);
}

static void fs_detach__drains_stops_and_unhooks(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c[2];

	fsk_two_clones(test, ls, c);
	fsk_connect(test, ls->sock, 0);
	fsk_connect(test, ls->sock, 1);
	fs_detach(ls);
	KUNIT_EXPECT_TRUE(test, ls->dead);
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, 2);
	KUNIT_EXPECT_EQ(test, fs_clones_backlog(ls), 0);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[0]));
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[1]));
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(c[0]->sk)->icsk_af_ops, ls->orig_af_ops);
	KUNIT_EXPECT_PTR_EQ(test, c[0]->sk->sk_data_ready, c[0]->data_ready);
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find(ls->sk), NULL);
	/* For the release at the end of the case. */
	ls->dead = false;
	KUNIT_EXPECT_EQ(test, fs_claim(ls), 0);
}

static void fsk_family(struct kunit *test, int family)
{
	struct fs_family *f = fs_family_new(family);
	struct socket *sock = fsk_tcp(test, family);

	KUNIT_ASSERT_FALSE(test, IS_ERR(f));
	KUNIT_EXPECT_PTR_EQ(test, f->stock, sock->ops);
	KUNIT_EXPECT_PTR_EQ(test, f->af_ops, inet_csk(sock->sk)->icsk_af_ops);
	KUNIT_EXPECT_PTR_EQ(test, f->data_ready, sock->sk->sk_data_ready);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.owner, sock->ops->owner);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.release, &fs_release);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.connect, &fs_connect);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.accept, &fs_accept_op);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.poll, &fs_poll);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.listen, &fs_listen);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.shutdown, &fs_shutdown);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.setsockopt, &fs_setsockopt);
	KUNIT_EXPECT_PTR_EQ(test, f->ops.getsockopt, &fs_getsockopt);
	/* Retired, nothing of ours is left in it: it is the kernel's, byte by byte. */
	fs_family_retire(f);
	KUNIT_EXPECT_EQ(test, memcmp(&f->ops, f->stock, sizeof(f->ops)), 0);
	kfree(f);
}

static void fs_family_new__replaces_eight_and_retires_them(struct kunit *test)
{
	fsk_family(test, AF_INET);
	fsk_family(test, AF_INET6);
	fs_family_retire(NULL);
}

static void fs_family_new__reports_a_family_that_is_not_there(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, PTR_ERR(fs_family_new(AF_MAX - 1)), -EAFNOSUPPORT);
}

static void fs_family_get__one_per_family(struct kunit *test)
{
	struct fs_family *four = fs_family_get(AF_INET), *six = fs_family_get(AF_INET6);

	KUNIT_ASSERT_FALSE(test, IS_ERR(four));
	KUNIT_ASSERT_FALSE(test, IS_ERR(six));
	KUNIT_EXPECT_PTR_NE(test, four, six);
	KUNIT_EXPECT_PTR_EQ(test, fs_family_get(AF_INET), four);
	KUNIT_EXPECT_PTR_EQ(test, fs_family_get(AF_INET6), six);
	KUNIT_EXPECT_PTR_EQ(test, four, fs_inet);
	KUNIT_EXPECT_PTR_EQ(test, six, fs_inet6);
	KUNIT_EXPECT_PTR_EQ(test, container_of(&six->ops, struct fs_family, ops), six);
}

static void fs_listener_new__remembers_the_kernel_s(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	struct fs_family *f = fs_family_get(AF_INET);
	struct inet_connection_sock_af_ops want;
	struct fs_listener *ls;

	KUNIT_ASSERT_FALSE(test, IS_ERR(f));
	ls = fs_listener_new(sock, f);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	want = *f->af_ops;
	want.conn_request = fs_conn_request;
	want.syn_recv_sock = fs_syn_recv_sock_op;
	KUNIT_EXPECT_EQ(test, memcmp(&ls->af_ops, &want, sizeof(want)), 0);
	KUNIT_EXPECT_PTR_EQ(test, ls->sk, sock->sk);
	KUNIT_EXPECT_PTR_EQ(test, ls->sock, sock);
	KUNIT_EXPECT_PTR_EQ(test, ls->ops, f->stock);
	KUNIT_EXPECT_PTR_EQ(test, ls->orig_af_ops, f->af_ops);
	KUNIT_EXPECT_PTR_EQ(test, ls->cred, current_cred());
	KUNIT_EXPECT_PTR_EQ(test, ls->fn, fs_net(&init_net));
	KUNIT_EXPECT_FALSE(test, ls->hooked);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[nr_cpu_ids - 1]));
	fs_listener_free(ls);
}

static void fs_claim__one_per_socket(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	struct fs_family *f = fs_family_get(AF_INET);
	struct fs_listener *a, *b;

	KUNIT_ASSERT_FALSE(test, IS_ERR(f));
	a = fs_listener_new(sock, f);
	b = fs_listener_new(sock, f);
	KUNIT_ASSERT_NOT_NULL(test, a);
	KUNIT_ASSERT_NOT_NULL(test, b);
	KUNIT_EXPECT_EQ(test, fs_claim(a), 0);
	KUNIT_EXPECT_EQ(test, fs_claim(b), -EALREADY);
	KUNIT_EXPECT_EQ(test, fs_claim(a), -EALREADY);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&a->fn->listeners));
	/* Somebody else is attaching it: that is enough for us. */
	KUNIT_EXPECT_EQ(test, fs_attach(sock), 0);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
	list_del(&a->node);
	fs_listener_free(a);
	fs_listener_free(b);
}

static void fs_check_stock__refuses_what_is_somebody_s(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	struct fs_family *f = fs_family_get(AF_INET);
	struct inet_connection_sock_af_ops af_ops;
	struct fs_family other;
	struct file *file;

	KUNIT_ASSERT_FALSE(test, IS_ERR(f));
	KUNIT_EXPECT_EQ(test, fs_check_stock(sock, f), 0);
	other.ops = *f->stock;
	sock->ops = &other.ops;
	KUNIT_EXPECT_EQ(test, fs_check_stock(sock, f), -EBUSY);
	KUNIT_EXPECT_EQ(test, fs_attach(sock), -EBUSY);
	sock->ops = f->stock;
	af_ops = *f->af_ops;
	inet_csk(sock->sk)->icsk_af_ops = &af_ops;
	KUNIT_EXPECT_EQ(test, fs_check_stock(sock, f), -EBUSY);
	KUNIT_EXPECT_EQ(test, fs_attach(sock), -EBUSY);
	inet_csk(sock->sk)->icsk_af_ops = f->af_ops;
	sock->sk->sk_data_ready = fsk_count_call;
	KUNIT_EXPECT_EQ(test, fs_check_stock(sock, f), -EBUSY);
	KUNIT_EXPECT_EQ(test, fs_attach(sock), -EBUSY);
	sock->sk->sk_data_ready = f->data_ready;
	file = sock->file;
	sock->file = NULL;
	KUNIT_EXPECT_EQ(test, fs_check_stock(sock, f), -EBUSY);
	sock->file = file;
	KUNIT_EXPECT_EQ(test, fs_attach(sock), 0);
}

static void fs_check_stock__by_the_state(struct kunit *test)
{
	struct socket *sock = fsk_tcp(test, AF_INET);
	struct fs_family *f = fs_family_get(AF_INET);
	int state, want;

	KUNIT_ASSERT_FALSE(test, IS_ERR(f));
	for (state = TCP_ESTABLISHED; state < TCP_MAX_STATES; state++) {
		want = state == TCP_CLOSE || state == TCP_LISTEN ? 0 : -EINVAL;
		sock->sk->sk_state = state;
		KUNIT_EXPECT_EQ_MSG(test, fs_check_stock(sock, f), want, "state %d", state);
	}
	sock->sk->sk_state = TCP_CLOSE;
}

static void fs_attach__twice_is_once(struct kunit *test)
{
	int refs = module_refcount(THIS_MODULE);
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 4);

	KUNIT_EXPECT_EQ(test, fs_attach(ls->sock), 0);
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);
	KUNIT_EXPECT_TRUE(test, list_is_singular(&ls->fn->listeners));
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_find(ls->sk), ls);
}

static void fs_attach__says_why_not(struct kunit *test)
{
	struct socket *to = fsk_listener(test, AF_INET, 4);
	int refs = module_refcount(THIS_MODULE);
	struct sockaddr_in addr;
	struct socket *sock;

	KUNIT_EXPECT_EQ(test, fs_attach(fsk_socket(test, AF_INET, SOCK_DGRAM, 0)), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, fs_attach(fsk_socket(test, AF_UNIX, SOCK_STREAM, 0)), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, fs_attach(fsk_socket(test, AF_INET, SOCK_STREAM, IPPROTO_MPTCP)),
			-EOPNOTSUPP);
	/* A connection; one without a file, that a process cannot have, is somebody's. */
	KUNIT_EXPECT_EQ(test, fs_attach(fsk_connect(test, to, -1)), -EBUSY);
	sock = fsk_tcp(test, AF_INET);
	KUNIT_ASSERT_GT(test, kernel_getsockname(to, (struct sockaddr *)&addr), 0);
	KUNIT_ASSERT_EQ(test, kernel_connect(sock, (struct sockaddr *)&addr, sizeof(addr), 0), 0);
	KUNIT_EXPECT_EQ(test, fs_attach(sock), -EINVAL);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs);
	KUNIT_EXPECT_TRUE(test, list_empty(&fs_net(&init_net)->listeners));
}

static void fs_attach__a_listener_keeps_its_queue(struct kunit *test)
{
	struct socket *sock = fsk_listener(test, AF_INET, 4);
	struct socket *client = fsk_connect(test, sock, -1), *new;

	KUNIT_EXPECT_EQ(test, fs_attach(sock), 0);
	new = fsk_accept(test, sock);
	KUNIT_ASSERT_NOT_NULL(test, new);
	KUNIT_EXPECT_EQ(test, fsk_peer(new), fsk_port(client));
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(new->sk)->icsk_af_ops, fs_family_get(AF_INET)->af_ops);
}

static void fsk_attach_once(void *arg)
{
	fs_attach(arg);
}

static void fs_attach__by_several_at_a_time_is_once(struct kunit *test)
{
	const unsigned long end = jiffies + msecs_to_jiffies(fsk_stress_ms);
	int refs = module_refcount(THIS_MODULE), cpu;
	struct fsk_threads t = {};
	unsigned int turns = 0;
	struct socket *sock;

	fsk_need_cpus(test, 4);
	do {
		sock = fsk_tcp(test, turns & 1 ? AF_INET6 : AF_INET);
		for (cpu = 0; cpu < 4; cpu++)
			fsk_thread(test, &t, cpu, fsk_attach_once, sock);
		fsk_threads_stop(&t);
		KUNIT_EXPECT_TRUE(test, fs_attached(sock));
		KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs + 1);
		KUNIT_EXPECT_TRUE(test, list_is_singular(&fs_net(&init_net)->listeners));
		fsk_close(sock);
		turns++;
	} while (time_before(jiffies, end));
	KUNIT_EXPECT_EQ(test, module_refcount(THIS_MODULE), refs);
}

static void fsk_spawn(struct kunit *test, void *arg)
{
	struct socket *sock = arg;

	KUNIT_EXPECT_EQ(test, fs_spawn(sock, 0), 0);
	KUNIT_EXPECT_TRUE(test, fs_attached(sock));
	KUNIT_EXPECT_EQ(test, fs_listener_find(sock->sk)->nworkers, 1);
	KUNIT_EXPECT_EQ(test, fs_spawn(sock, nr_cpu_ids), -EINVAL);
	KUNIT_EXPECT_EQ(test, fs_spawn(sock, -2), -EINVAL);
}

static void fs_spawn__attaches_a_listener(struct kunit *test)
{
	fsk_user(test, fsk_spawn, fsk_listener(test, AF_INET, 4));
	fsk_user(test, fsk_spawn, fsk_listener(test, AF_INET6, 4));
}

static void fs_spawn__says_why_not(struct kunit *test)
{
	struct socket *sock = fsk_listener(test, AF_INET, 4);

	KUNIT_EXPECT_EQ(test, fs_spawn(fsk_socket(test, AF_INET, SOCK_DGRAM, 0), 0), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, fs_spawn(fsk_tcp(test, AF_INET), 0), -EINVAL);
	fs_spawn_mode = FS_SPAWN_OFF;
	KUNIT_EXPECT_EQ(test, fs_spawn(sock, 0), -EOPNOTSUPP);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
	fs_spawn_mode = FS_SPAWN_BIND;
	/* A kthread is no worker. */
	KUNIT_EXPECT_EQ(test, fs_spawn(sock, -1), -EINVAL);
}

static void fs_clone_state__one_word_per_state(struct kunit *test)
{
	struct fs_clone c = {};

	KUNIT_EXPECT_STREQ(test, fs_clone_state(&c), "idle");
	c.lastpid = task_pid(current);
	KUNIT_EXPECT_STREQ(test, fs_clone_state(&c), "stalled");
	c.live = true;
	KUNIT_EXPECT_STREQ(test, fs_clone_state(&c), "live");
	c.stopped = true;
	KUNIT_EXPECT_STREQ(test, fs_clone_state(&c), "stopped");
}

static void fs_listener_show__clones_first_then_the_listener(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fs_clone *c = fsk_clone(test, ls, 0);
	struct seq_file *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);
	unsigned int port = ntohs(inet_sk(ls->sk)->inet_sport);
	char want[160];

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->buf = kunit_kzalloc(test, 1024, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->buf);
	m->size = 1024;
	m->file = ls->sock->file;
	fsk_clone_live(c);
	fsk_connect(test, ls->sock, 0);
	atomic_long_set(&c->accepts, 5);
	atomic_long_set(&ls->accepts, 6);
	fs_listener_show(m, ls);
	snprintf(want, sizeof(want), "127.0.0.1 %u 0 0 0 1 5 live\n127.0.0.1 %u - 0 0 0 6 live\n",
		 port, port);
	KUNIT_EXPECT_STREQ(test, m->buf, want);
	KUNIT_EXPECT_TRUE(test, fs_may_see_pids(m, ls->sk));
}

/* clang-format off */
static struct kunit_case fsk_spawn_cases[] = {
	KUNIT_CASE(fs_attached__by_the_operations),
	KUNIT_CASE(fs_can_attach__tcp_and_nothing_else),
	KUNIT_CASE(fs_listener_find__hooked_or_not),
	KUNIT_CASE(fs_listening__follows_the_state),
	KUNIT_CASE(fs_data_ready__passes_on_and_wakes_clones),
	KUNIT_CASE(fs_data_ready__of_nobody_s_socket_is_silent),
	KUNIT_CASE(fs_state_change__passes_on_and_wakes_all),
	KUNIT_CASE(fs_unhook_pending__mends_children_in_the_queue),
	KUNIT_CASE(fs_hook__and_unhook_restores_every_pointer),
	KUNIT_CASE(fs_hook__while_connections_come),
	KUNIT_CASE(fs_unhook__leaves_what_others_have_put_there),
	KUNIT_CASE(fs_clones_backlog__adds_all_up),
	KUNIT_CASE(fs_clones_start__leaves_a_slot_that_is_taken),
	KUNIT_CASE(fs_clones_stop__and_start_again),
	KUNIT_CASE(fs_follow_state__ends_what_somebody_else_ended),
	KUNIT_CASE(fs_listen__again_after_shutdown),
	KUNIT_CASE(fs_listen__that_fails_leaves_nothing_hooked),
	KUNIT_CASE(fs_shutdown__for_writing_goes_on_listening),
	KUNIT_CASE(fs_connect__to_nobody_ends_the_listener),
	KUNIT_CASE(fs_setsockopt__no_ulp_for_an_attached_socket),
	KUNIT_CASE(fs_guard__whenever_it_does_not_listen),
	KUNIT_CASE(fs_guard__when_it_was_aborted),
	KUNIT_CASE(fs_guard__leaves_what_others_have_put_there),
	KUNIT_CASE(fs_guard__two_calls_at_a_time),
	KUNIT_CASE(fs_guard__is_not_inherited_by_children),
	KUNIT_CASE(fs_any_pending__finds_the_clone_that_has_something),
	KUNIT_CASE(fs_poll__sees_both_queues),
	KUNIT_CASE(fs_accept_global__counts_and_never_waits),
	KUNIT_CASE(fs_accept_clone__counts_by_cpu),
	KUNIT_CASE(fs_accept_clone__stopped_is_empty),
	KUNIT_CASE(fs_accept_worker__takes_turns),
	KUNIT_CASE(fs_accept__child_is_the_kernel_s_alone),
	KUNIT_CASE(fs_accept__new_socket_gets_the_kernel_s_operations),
	KUNIT_CASE(fs_accept__empty_are_all_queues_or_none),
	KUNIT_CASE(fs_accept__what_it_did_not_fill_is_released),
	KUNIT_CASE(fs_detach__drains_stops_and_unhooks),
	KUNIT_CASE(fs_release__gives_the_module_and_all_memory_back),
	KUNIT_CASE(fs_family_new__replaces_eight_and_retires_them),
	KUNIT_CASE(fs_family_new__reports_a_family_that_is_not_there),
	KUNIT_CASE(fs_family_get__one_per_family),
	KUNIT_CASE(fs_listener_new__remembers_the_kernel_s),
	KUNIT_CASE(fs_claim__one_per_socket),
	KUNIT_CASE(fs_check_stock__refuses_what_is_somebody_s),
	KUNIT_CASE(fs_check_stock__by_the_state),
	KUNIT_CASE(fs_attach__twice_is_once),
	KUNIT_CASE(fs_attach__says_why_not),
	KUNIT_CASE(fs_attach__a_listener_keeps_its_queue),
	KUNIT_CASE(fs_attach__by_several_at_a_time_is_once),
	KUNIT_CASE(fs_spawn__attaches_a_listener),
	KUNIT_CASE(fs_spawn__says_why_not),
	KUNIT_CASE(fs_clone_state__one_word_per_state),
	KUNIT_CASE(fs_listener_show__clones_first_then_the_listener),
	{}
};

/* clang-format on */

struct kunit_suite fsk_spawn_suite = {
	.name = "listen_spawn",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_spawn_cases,
};
