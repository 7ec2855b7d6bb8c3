// SPDX-License-Identifier: GPL-2.0
/* Cases for listen_clone.c */
#include "../../listen_clone.c"

#include <linux/module.h>

#include "kunit_util.h"

/* A listener of numbers only, for the arithmetic, with up to this many clones. */
#define FSK_CLONES 16

struct fsk_fake {
	struct fs_listener *ls;
	struct fs_clone c[FSK_CLONES];
};

static struct sock *fsk_fake_sock(struct kunit *test)
{
	struct sock *sk = kunit_kzalloc(test, sizeof(struct tcp6_sock), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, sk);
	return sk;
}

static struct fsk_fake *fsk_fake(struct kunit *test)
{
	struct fsk_fake *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->ls = kunit_kzalloc(test, struct_size(f->ls, slot, nr_cpu_ids), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->ls);
	f->ls->sk = fsk_fake_sock(test);
	f->ls->fn = fs_net(&init_net);
	sock_net_set(f->ls->sk, &init_net);
	INIT_LIST_HEAD(&f->ls->clones);
	for (i = 0; i < FSK_CLONES; i++) {
		f->c[i].ls = f->ls;
		f->c[i].sk = fsk_fake_sock(test);
	}
	return f;
}

/* The first @n of them are its clones. */
static void fsk_fake_clones(struct fsk_fake *f, unsigned int n)
{
	INIT_LIST_HEAD(&f->ls->clones);
	f->ls->nclones = n;
	while (n)
		list_add(&f->c[--n].node, &f->ls->clones);
}

static unsigned long fsk_stat(const struct fs_listener *ls, enum fs_stat s)
{
	unsigned long n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(ls->fn->stats, cpu)->n[s];
	return n;
}

/* A listener with a live clone on CPU 0, where the case goes on. */
static struct fs_clone *fsk_live(struct kunit *test, int backlog)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, backlog);
	struct fs_clone *c = fsk_clone(test, ls, 0);

	fsk_on_cpu(test, 0);
	fsk_clone_live(c);
	return c;
}

/* An expression evaluated as in a softirq. */
/* clang-format off */
#define fsk_softirq(expr)						\
({									\
	typeof(expr) r_;						\
									\
	local_bh_disable();						\
	rcu_read_lock();						\
	r_ = (expr);							\
	rcu_read_unlock();						\
	local_bh_enable();						\
	r_;								\
})
/* clang-format on */

/* Somebody waits on a socket for as long as the entry is there. */
static void fsk_wait_on(struct socket *sock, struct wait_queue_entry *e)
{
	init_waitqueue_entry(e, current);
	add_wait_queue(&sock->wq.wait, e);
}

static void fsk_sleep(void *unused)
{
	set_current_state(TASK_INTERRUPTIBLE);
	while (!fsk_stopping()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
}

/*
 * The pid of a task that is asleep until fsk_threads_stop(). Not running is not enough: on
 * its way to another CPU's run queue it is TASK_WAKING.
 */
static struct pid *fsk_sleeper(struct kunit *test, struct fsk_threads *t)
{
	struct task_struct *p;

	fsk_thread(test, t, 0, fsk_sleep, NULL);
	p = t->task[t->n - 1];
	KUNIT_EXPECT_TRUE(test, fsk_wait(READ_ONCE(p->__state) == TASK_INTERRUPTIBLE));
	return task_pid(p);
}

/* ---- age, idleness, patience ---- */

static void fs_oldest__is_the_age_of_the_head(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct tcp_sock *first, *second;

	KUNIT_EXPECT_EQ(test, fs_oldest(c), 0UL);
	fsk_connect(test, c->ls->sock, 0);
	fsk_connect(test, c->ls->sock, 0);
	first = tcp_sk(fs_queue(c->sk)->rskq_accept_head->sk);
	second = tcp_sk(fs_queue(c->sk)->rskq_accept_head->dl_next->sk);
	KUNIT_EXPECT_LT(test, fs_oldest(c), (unsigned long)(60 * HZ));
	first->lsndtime = tcp_jiffies32 - 1000 * HZ;
	second->lsndtime = tcp_jiffies32 - 5000 * HZ;
	KUNIT_EXPECT_GE(test, fs_oldest(c), 1000UL * HZ);
	KUNIT_EXPECT_LT(test, fs_oldest(c), 1060UL * HZ);
	/* Born in the next tick: no age, not a huge one. */
	first->lsndtime = tcp_jiffies32 + 60 * HZ;
	KUNIT_EXPECT_EQ(test, fs_oldest(c), 0UL);
	first->lsndtime = tcp_jiffies32;
	second->lsndtime = tcp_jiffies32;
}

static void fs_clone_idle__asleep_and_nothing_to_do(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fsk_threads t = {};
	struct wait_queue_entry e;

	KUNIT_EXPECT_FALSE(test, fs_has_waiter(c));
	fsk_wait_on(c->sock, &e);
	KUNIT_EXPECT_TRUE(test, fs_has_waiter(c));
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_worker_asleep(c)));
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_idle(c)));
	c->lastpid = task_pid(current);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_idle(c)));
	c->lastpid = fsk_sleeper(test, &t);
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_worker_asleep(c)));
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_idle(c)));
	remove_wait_queue(&c->sock->wq.wait, &e);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_idle(c)));
	fsk_wait_on(c->sock, &e);
	fsk_connect(test, c->ls->sock, 0);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_idle(c)));
	remove_wait_queue(&c->sock->wq.wait, &e);
	c->lastpid = NULL;
	fsk_threads_stop(&t);
}

static void fs_patience_ms__longer_for_one_that_runs(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	struct fsk_threads t = {};
	struct fs_clone *c = &f->c[0];

	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_patience_ms(c)), FS_RUNNING_MS);
	c->lastpid = task_pid(current);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_patience_ms(c)), FS_RUNNING_MS);
	c->lastpid = fsk_sleeper(test, &t);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_patience_ms(c)), FS_ASLEEP_MS);
	c->lastpid = NULL;
	fsk_threads_stop(&t);
}

static void fs_clone_stuck__after_rounds_of_patience(struct kunit *test)
{
	struct fs_clone *c = &fsk_fake(test)->c[0];
	struct fsk_threads t = {};

	c->rounds = FS_RUNNING_MS / FS_WATCH_MS - 1;
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_stuck(c)));
	c->rounds++;
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_stuck(c)));
	c->lastpid = fsk_sleeper(test, &t);
	c->rounds = FS_ASLEEP_MS / FS_WATCH_MS - 1;
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_stuck(c)));
	c->rounds++;
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_stuck(c)));
	fsk_threads_stop(&t);
}

static void fs_idle_elsewhere__on_the_listener_or_another_clone(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 16);
	struct fsk_threads t = {};
	struct wait_queue_entry e;
	struct fs_clone *a, *b;

	fsk_need_cpus(test, 2);
	a = fsk_clone(test, ls, 0);
	b = fsk_clone(test, ls, 1);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_idle_elsewhere(a)));
	fsk_wait_on(ls->sock, &e);
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_idle_elsewhere(a)));
	remove_wait_queue(&ls->sock->wq.wait, &e);
	/* Only the other one: being idle itself is not elsewhere. */
	b->lastpid = fsk_sleeper(test, &t);
	fsk_wait_on(b->sock, &e);
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_idle_elsewhere(a)));
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_idle_elsewhere(b)));
	remove_wait_queue(&b->sock->wq.wait, &e);
	b->lastpid = NULL;
	fsk_threads_stop(&t);
}

static void fsk_nothing(struct kunit *test, void *unused)
{
}

static void fs_clone_gone__dead_workers_or_out_of_epoll(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_worker dead = {}, alive = { .pid = task_pid(current) };
	struct wait_queue_entry e;
	struct fsk_user u;

	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_gone(c)));
	fsk_user_start(test, &u, fsk_nothing, NULL);
	dead.pid = get_pid(u.pid);
	fsk_user_wait(test, &u);
	hlist_add_head(&dead.on_clone, &c->workers);
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_gone(c)));
	hlist_add_head(&alive.on_clone, &c->workers);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_gone(c)));
	hlist_del(&dead.on_clone);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_gone(c)));
	c->persistent = true;
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_clone_gone(c)));
	fsk_wait_on(c->sock, &e);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_clone_gone(c)));
	remove_wait_queue(&c->sock->wq.wait, &e);
	hlist_del(&alive.on_clone);
	put_pid(dead.pid);
}

/* ---- drain ---- */

static int fsk_calls;

static void fsk_count_call(struct sock *sk)
{
	WRITE_ONCE(fsk_calls, fsk_calls + 1);
}

/* @own connections in the listener's queue, then @n in the clone's: drained in that order. */
static void fsk_drain(struct kunit *test, unsigned int own, unsigned int n)
{
	struct fs_clone *c = fsk_live(test, 32);
	struct fs_listener *ls = c->ls;
	unsigned long before = fsk_stat(ls, FS_DRAINED);
	unsigned int port[16], i;

	c->live = false;
	for (i = 0; i < own + n; i++) {
		c->live = i >= own;
		port[i] = fsk_port(fsk_connect(test, ls->sock, 0));
	}
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, own);
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, n);
	ls->sk->sk_data_ready = fsk_count_call;
	fsk_calls = 0;
	KUNIT_EXPECT_EQ(test, fs_clone_drain(c), n);
	ls->sk->sk_data_ready = ls->data_ready;
	/* One clone: each call wakes two. */
	KUNIT_EXPECT_EQ(test, fsk_calls, (n + 1) / 2);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, own + n);
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 0);
	KUNIT_EXPECT_FALSE(test, fs_pending(c->sk));
	KUNIT_EXPECT_NULL(test, fs_queue(c->sk)->rskq_accept_tail);
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_DRAINED), before + n);
	KUNIT_EXPECT_EQ(test, fs_clone_drain(c), 0);
	/* The queues are whole: what comes next goes to the end. */
	c->live = false;
	port[i++] = fsk_port(fsk_connect(test, ls->sock, 0));
	for (i = 0; i < own + n + 1; i++)
		KUNIT_EXPECT_EQ_MSG(test, fsk_peer(fsk_accept(test, ls->sock)), port[i],
				    "number %u", i);
	KUNIT_EXPECT_EQ(test, ls->sk->sk_ack_backlog, 0);
	fsk_clone_live(c);
	port[0] = fsk_port(fsk_connect(test, ls->sock, 0));
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 1);
	KUNIT_EXPECT_EQ(test, fsk_peer(fsk_accept(test, ls->sock)), port[0]);
}

static void fs_clone_drain__into_an_empty_queue(struct kunit *test)
{
	fsk_drain(test, 0, 5);
}

static void fs_clone_drain__behind_what_is_there(struct kunit *test)
{
	fsk_drain(test, 3, 4);
}

static void fs_clone_drain__of_nothing(struct kunit *test)
{
	fsk_drain(test, 2, 0);
}

static void fs_clone_drain__not_to_one_that_does_not_listen(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);

	fsk_connect(test, c->ls->sock, 0);
	fsk_connect(test, c->ls->sock, 0);
	c->ls->sk->sk_state = TCP_CLOSE;
	KUNIT_EXPECT_EQ(test, fs_clone_drain(c), 0);
	c->ls->sk->sk_state = TCP_LISTEN;
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 2);
	KUNIT_EXPECT_EQ(test, c->ls->sk->sk_ack_backlog, 0);
	KUNIT_EXPECT_TRUE(test, fs_pending(c->sk));
}

static void fs_clone_drain__not_while_accept_has_the_socket(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);

	fsk_connect(test, c->ls->sock, 0);
	lock_sock(c->sk);
	KUNIT_EXPECT_EQ(test, fs_clone_drain(c), 0);
	KUNIT_EXPECT_TRUE(test, fs_pending(c->sk));
	release_sock(c->sk);
	KUNIT_EXPECT_EQ(test, fs_clone_drain(c), 1);
	KUNIT_EXPECT_FALSE(test, fs_pending(c->sk));
}

struct fsk_storm {
	struct fsk_tally tally;
	struct fs_listener *ls;
	struct fs_clone *c[2];
	unsigned int drained;
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
		fsk_tally_accept(&s->tally, s->ls->sock);
		fsk_nap();
	}
}

static void fs_clone_drain__while_connections_come_and_go(struct kunit *test)
{
	const unsigned long end = jiffies + msecs_to_jiffies(fsk_stress_ms);
	struct fsk_storm s = { .ls = fsk_attached(test, AF_INET, 16384) };
	unsigned long redirected = fsk_stat(s.ls, FS_REDIRECTED);
	unsigned long drained = fsk_stat(s.ls, FS_DRAINED);
	struct fsk_threads t = {};
	struct rnd_state rnd;
	int cpu;

	fsk_need_cpus(test, 4);
	fsk_seed(test, &rnd);
	for (cpu = 0; cpu < 2; cpu++) {
		s.c[cpu] = fsk_clone(test, s.ls, cpu);
		fsk_clone_live(s.c[cpu]);
	}
	fsk_tally_init(test, &s.tally, s.ls->sock);
	fsk_thread(test, &t, 0, fsk_storm_connect, &s);
	fsk_thread(test, &t, 1, fsk_storm_connect, &s);
	fsk_thread(test, &t, 2, fsk_storm_accept, &s);
	fsk_on_cpu(test, 3);
	do {
		for (cpu = 0; cpu < 2; cpu++) {
			/* Tasks that are no workers take from it: that would turn it off. */
			WRITE_ONCE(s.c[cpu]->stolen, 0);
			WRITE_ONCE(s.c[cpu]->shared, false);
			fsk_clone_live(s.c[cpu]);
			s.drained += fs_clone_drain(s.c[cpu]);
		}
		msleep(fsk_rnd(&rnd, 3));
	} while (time_before(jiffies, end));
	fsk_threads_stop(&t);
	fsk_tally_check(test, &s.tally, s.ls->sock);
	kunit_info(test, "%u drained\n", s.drained);
	KUNIT_EXPECT_GT(test, fsk_stat(s.ls, FS_REDIRECTED), redirected);
	KUNIT_EXPECT_EQ(test, fsk_stat(s.ls, FS_DRAINED), drained + s.drained);
	KUNIT_EXPECT_EQ(test, fsk_backlog(s.ls), 0);
}

/* ---- the watch ---- */

static void fs_count_round__the_same_head_in_time(struct kunit *test)
{
	const unsigned long late = 2 * msecs_to_jiffies(FS_WATCH_MS) + 2;
	struct fs_clone *c = &fsk_fake(test)->c[0];
	struct request_sock *a = (void *)c, *b = (void *)c->ls;
	/* Never late, however long we are held up. */
	const unsigned long in_time = jiffies + 600 * HZ;
	unsigned long ran;

	c->ran = in_time;
	fs_queue(c->sk)->rskq_accept_head = a;
	fs_count_round(c);
	KUNIT_EXPECT_EQ(test, c->rounds, 0);
	KUNIT_EXPECT_PTR_EQ(test, c->seen, a);
	c->ran = in_time;
	fs_count_round(c);
	c->ran = in_time;
	fs_count_round(c);
	KUNIT_EXPECT_EQ(test, c->rounds, 2);
	/* A round that came late does not count, and does not count back. */
	ran = jiffies - late;
	c->ran = ran;
	fs_count_round(c);
	KUNIT_EXPECT_EQ(test, c->rounds, 2);
	KUNIT_EXPECT_TRUE(test, time_after(c->ran, ran));
	fs_queue(c->sk)->rskq_accept_head = b;
	c->ran = in_time;
	fs_count_round(c);
	KUNIT_EXPECT_EQ(test, c->rounds, 0);
	KUNIT_EXPECT_PTR_EQ(test, c->seen, b);
}

/* Whether to drain when the head is @age_ms old and has been seen @rounds times. */
static bool fsk_must_drain(struct fs_clone *c, unsigned int age_ms, unsigned int rounds)
{
	struct request_sock *head = fs_queue(c->sk)->rskq_accept_head;

	/* Held up here, an age of 0 must stay one, and no round be late. */
	tcp_sk(head->sk)->lsndtime = age_ms ? tcp_jiffies32 - msecs_to_jiffies(age_ms) :
					      tcp_jiffies32 + 600 * HZ;
	c->seen = rounds ? head : NULL;
	c->rounds = rounds - 1;
	c->ran = jiffies + 600 * HZ;
	return fsk_softirq(fs_must_drain(c));
}

static void fs_must_drain__by_age_rounds_and_who_is_idle(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_worker w = { .pid = task_pid(current) };
	const unsigned int stuck = FS_RUNNING_MS / FS_WATCH_MS;
	struct wait_queue_entry e;

	fsk_connect(test, c->ls->sock, 0);
	/* No worker: at once. */
	KUNIT_EXPECT_TRUE(test, fsk_must_drain(c, 0, 0));
	hlist_add_head(&w.on_clone, &c->workers);
	KUNIT_EXPECT_FALSE(test, fsk_must_drain(c, 0, 0));
	KUNIT_EXPECT_TRUE(test, fsk_wait(!fsk_must_drain(c, FS_HARD_MS, 0)));
	KUNIT_EXPECT_TRUE(test, fsk_must_drain(c, 2 * FS_HARD_MS, 0));
	KUNIT_EXPECT_FALSE(test, fsk_must_drain(c, 0, 1));
	KUNIT_EXPECT_TRUE(test, fsk_must_drain(c, FS_HARD_MS, 1));
	/* Stuck is not enough as long as nobody else is idle. */
	KUNIT_EXPECT_FALSE(test, fsk_must_drain(c, 0, stuck));
	fsk_wait_on(c->ls->sock, &e);
	KUNIT_EXPECT_TRUE(test, fsk_must_drain(c, 0, stuck));
	KUNIT_EXPECT_FALSE(test, fsk_must_drain(c, 0, 1));
	remove_wait_queue(&c->ls->sock->wq.wait, &e);
	hlist_del(&w.on_clone);
}

static int fsk_woken(struct wait_queue_entry *e, unsigned int mode, int sync, void *key)
{
	WRITE_ONCE(fsk_calls, fsk_calls + 1);
	return 0;
}

static void fs_wake_unsettled__those_that_are_not_live(struct kunit *test)
{
	struct wait_queue_entry e = { .func = fsk_woken };
	struct fs_clone *c = fsk_live(test, 16);

	add_wait_queue(&c->sock->wq.wait, &e);
	fsk_calls = 0;
	rcu_read_lock();
	fs_wake_unsettled(c->ls);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, fsk_calls, 0);
	c->live = false;
	rcu_read_lock();
	fs_wake_unsettled(c->ls);
	rcu_read_unlock();
	KUNIT_EXPECT_EQ(test, fsk_calls, 1);
	remove_wait_queue(&c->sock->wq.wait, &e);
}

static void fs_watch__drains_what_nobody_fetches_and_stops(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);

	c->watching = false;
	fsk_connect(test, c->ls->sock, 0);
	/* It has no worker. */
	KUNIT_EXPECT_TRUE(test, fsk_wait(READ_ONCE(c->ls->sk->sk_ack_backlog) == 1));
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 0);
	KUNIT_EXPECT_FALSE(test, c->live);
	KUNIT_EXPECT_TRUE(test, fsk_wait(!READ_ONCE(c->watching)));
	KUNIT_EXPECT_TRUE(test, fsk_wait(!timer_pending(&c->timer)));
	KUNIT_EXPECT_NULL(test, c->seen);
}

static void fs_watch__leaves_what_a_worker_will_fetch(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_worker w = { .pid = task_pid(current) };

	hlist_add_head_rcu(&w.on_clone, &c->workers);
	c->watching = false;
	fsk_connect(test, c->ls->sock, 0);
	/* Whenever the watch comes: the connection is young. */
	tcp_sk(fs_queue(c->sk)->rskq_accept_head->sk)->lsndtime = tcp_jiffies32 + 600 * HZ;
	KUNIT_EXPECT_TRUE(test, fsk_wait(READ_ONCE(c->seen)));
	msleep(3 * FS_WATCH_MS);
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 1);
	KUNIT_EXPECT_TRUE(test, c->live);
	hlist_del_rcu(&w.on_clone);
	synchronize_rcu();
	KUNIT_EXPECT_TRUE(test, fsk_wait(READ_ONCE(c->ls->sk->sk_ack_backlog) == 1));
}

static void fs_clone_settle_soon__wakes_the_idle_later(struct kunit *test)
{
	struct wait_queue_entry e = { .func = fsk_woken };
	struct fs_clone *c = fsk_live(test, 16);

	c->watching = false;
	c->live = false;
	add_wait_queue(&c->sock->wq.wait, &e);
	fsk_calls = 0;
	fs_clone_settle_soon(c);
	KUNIT_EXPECT_TRUE(test, c->settling);
	KUNIT_EXPECT_TRUE(test, fsk_wait(READ_ONCE(fsk_calls)));
	KUNIT_EXPECT_TRUE(test, fsk_wait(!READ_ONCE(c->watching)));
	KUNIT_EXPECT_FALSE(test, c->settling);
	remove_wait_queue(&c->sock->wq.wait, &e);
}

static void fs_clone_data_ready__starts_the_watch_once(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	typeof(c->data_ready) data_ready = c->data_ready;

	c->data_ready = fsk_count_call;
	fsk_calls = 0;
	fs_clone_data_ready(c->sk);
	KUNIT_EXPECT_EQ(test, fsk_calls, 1);
	KUNIT_EXPECT_FALSE(test, timer_pending(&c->timer));
	c->watching = false;
	local_bh_disable();
	fs_clone_data_ready(c->sk);
	KUNIT_EXPECT_TRUE(test, timer_pending(&c->timer));
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, fsk_calls, 2);
	KUNIT_EXPECT_TRUE(test, fsk_wait(!READ_ONCE(c->watching)));
	c->data_ready = data_ready;
}

/* ---- what a clone copies ---- */

enum fsk_visit {
	FSK_GET, /* v[] = fields */
	FSK_PUT, /* fields = v[] */
	FSK_SET, /* fields = values that no fresh socket has; v[] = fields */
};

#define FSK_FIELDS 64

static const char *fsk_field_name[FSK_FIELDS];

/* All scalars of fs_clone_sync(). Return: how many. */
static unsigned int fsk_fields(struct sock *s, enum fsk_visit visit, u64 *v)
{
	unsigned int n = 0;

#define FIELD(field, value)                 \
	do {                                \
		if (visit == FSK_SET)       \
			(field) = (value);  \
		else if (visit == FSK_PUT)  \
			(field) = v[n];     \
		fsk_field_name[n] = #field; \
		v[n++] = (field);           \
	} while (0)

#define FLAG(kind, nr)                                                     \
	do {                                                               \
		if (visit == FSK_SET)                                      \
			kind##_assign_bit(nr, s, !kind##_test_bit(nr, s)); \
		else if (visit == FSK_PUT)                                 \
			kind##_assign_bit(nr, s, v[n]);                    \
		fsk_field_name[n] = #nr;                                   \
		v[n++] = kind##_test_bit(nr, s);                           \
	} while (0)

	FIELD(s->sk_bound_dev_if, 77);
	FIELD(s->sk_mark, 0xdeadbeef);
	FIELD(s->sk_priority, 0x89abcdef);
	FIELD(s->sk_uid.val, 54321);
	FIELD(s->sk_rcvbuf, 123457);
	FIELD(s->sk_sndbuf, 234567);
	FIELD(s->sk_max_ack_backlog, 0x12345678);
	FIELD(s->sk_txrehash, s->sk_txrehash + 1);
	FIELD(s->sk_ipv6only, 1);
	FIELD(inet_sk(s)->tos, 0xb8);
	FIELD(inet_sk(s)->uc_ttl, 33);
	FIELD(inet_sk(s)->min_ttl, 34);
	FIELD(inet_sk(s)->mc_ttl, 35);
	FIELD(inet_sk(s)->pmtudisc, IP_PMTUDISC_PROBE);
	FIELD(inet_sk(s)->uc_index, 36);
	FIELD(*(__force u32 *)&inet_sk(s)->inet_saddr, 0x7f01007f);
	FLAG(inet, FREEBIND);
	FLAG(inet, TRANSPARENT);
	FIELD(inet_csk(s)->icsk_syn_retries, 11);
	FIELD(inet_csk(s)->icsk_accept_queue.rskq_defer_accept, 12);
	FIELD(tcp_sk(s)->rx_opt.user_mss, 1213);
	FIELD(tcp_sk(s)->window_clamp, 54323);
	FIELD(tcp_sk(s)->tcp_tx_delay, 14);
	FIELD(tcp_sk(s)->save_syn, 2);
	FIELD(tcp_sk(s)->bpf_sock_ops_cb_flags, 0x55);
#ifdef FS_HAVE_RTO_MAX
	FIELD(inet_csk(s)->icsk_rto_max, 54);
#endif
#ifdef FS_HAVE_SCALING_RATIO
	FIELD(tcp_sk(s)->scaling_ratio, 55);
#endif
	if (s->sk_family != AF_INET6)
		return n;
	FIELD(*(__force u32 *)&inet6_sk(s)->saddr.s6_addr32[0], 0x20010db8);
	FIELD(*(__force u32 *)&inet6_sk(s)->saddr.s6_addr32[1], 0x11111111);
	FIELD(*(__force u32 *)&inet6_sk(s)->saddr.s6_addr32[2], 0x22222222);
	FIELD(*(__force u32 *)&inet6_sk(s)->saddr.s6_addr32[3], 0x33333333);
	FIELD(*(__force u32 *)&inet6_sk(s)->flow_label, 0x12345);
	FIELD(inet6_sk(s)->frag_size, 1400);
	FIELD(inet6_sk(s)->hop_limit, 41);
	FIELD(inet6_sk(s)->ucast_oif, 42);
	FIELD(inet6_sk(s)->rxopt.all, 0x1235);
	FIELD(inet6_sk(s)->min_hopcount, 43);
	FIELD(inet6_sk(s)->tclass, 44);
	FLAG(inet6, SNDFLOW);
	FLAG(inet6, REPFLOW);
	FIELD(inet6_sk(s)->pmtudisc, IPV6_PMTUDISC_PROBE);
	FIELD(inet6_sk(s)->srcprefs, 5);
	FLAG(inet6, DONTFRAG);
	FLAG(inet6, AUTOFLOWLABEL);
	FLAG(inet6, AUTOFLOWLABEL_SET);
#undef FLAG
#undef FIELD
	return n;
}

/*
 * Every listed field gets the listener's value, no other byte of the socket
 * changes: with the old values put back it is what it was.
 */
static void fsk_sync(struct kunit *test, int family)
{
	struct sock *from = fsk_listener(test, family, 4)->sk, *to = fsk_tcp(test, family)->sk;
	const size_t size = from->sk_prot_creator->obj_size;
	u64 *old = kunit_kzalloc(test, 4 * FSK_FIELDS * sizeof(*old), GFP_KERNEL);
	u64 *want = old + FSK_FIELDS, *before = want + FSK_FIELDS, *got = before + FSK_FIELDS;
	void *image = kunit_kzalloc(test, size, GFP_KERNEL);
	void *source = kunit_kzalloc(test, size, GFP_KERNEL);
	unsigned int i, n;

	KUNIT_ASSERT_NOT_NULL(test, old);
	KUNIT_ASSERT_NOT_NULL(test, image);
	KUNIT_ASSERT_NOT_NULL(test, source);
	fsk_fields(from, FSK_GET, old);
	n = fsk_fields(from, FSK_SET, want);
	fsk_fields(to, FSK_GET, before);
	memcpy(image, to, size);
	memcpy(source, from, size);
	fs_clone_sync(to, from);
	KUNIT_EXPECT_EQ(test, memcmp(source, from, size), 0);
	fsk_fields(to, FSK_GET, got);
	for (i = 0; i < n; i++) {
		KUNIT_EXPECT_NE_MSG(test, before[i], want[i], "%s", fsk_field_name[i]);
		KUNIT_EXPECT_EQ_MSG(test, got[i], want[i], "%s", fsk_field_name[i]);
	}
	fsk_fields(to, FSK_PUT, before);
	for (i = 0; i < size; i++)
		if (((u8 *)image)[i] != ((u8 *)to)[i])
			break;
	KUNIT_EXPECT_EQ_MSG(test, i, size, "changed at offset %u", i);
	fsk_fields(from, FSK_PUT, old);
}

static void fs_clone_sync__every_field_and_no_other(struct kunit *test)
{
	fsk_sync(test, AF_INET);
}

static void fs_clone_sync6__every_field_and_no_other(struct kunit *test)
{
	fsk_sync(test, AF_INET6);
}

static void fs_clone_sync__flags_bit_by_bit(struct kunit *test)
{
	const u8 locks = SOCK_RCVBUF_LOCK | SOCK_SNDBUF_LOCK;
	struct sock *from = fsk_tcp(test, AF_INET)->sk, *to = fsk_tcp(test, AF_INET)->sk;
	unsigned int i, j;

	for (i = 0; i < 16; i++) {
		for (j = 0; j < 16; j++) {
			from->sk_userlocks = i;
			to->sk_userlocks = j;
			fs_clone_sync(to, from);
			KUNIT_EXPECT_EQ(test, (u8)to->sk_userlocks, (i & locks) | (j & ~locks));
		}
	}
	for (i = 0; i < 4; i++) {
		sock_valbool_flag(from, SOCK_LOCALROUTE, i & 1);
		sock_valbool_flag(to, SOCK_LOCALROUTE, i & 2);
		sock_valbool_flag(from, SOCK_KEEPOPEN, i & 1);
		sock_reset_flag(to, SOCK_KEEPOPEN);
		fs_clone_sync(to, from);
		KUNIT_EXPECT_EQ(test, sock_flag(to, SOCK_LOCALROUTE), i & 1);
		KUNIT_EXPECT_FALSE(test, sock_flag(to, SOCK_KEEPOPEN));
	}
	sock_reset_flag(from, SOCK_KEEPOPEN);
}

/* ---- reasons against a clone ---- */

/* With a pointer of @sk that is looked at, not followed. */
static void fsk_obstacle(struct kunit *test, struct sock *sk, void *pointer, enum fs_stat why)
{
	void **p = pointer;

	*p = sk;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), why);
	*p = NULL;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_REDIRECTED);
}

static void fs_listener_obstacle__one_reason_each(struct kunit *test)
{
	struct sock *sk = fsk_fake_sock(test);
	struct net *net = kunit_kzalloc(test, sizeof(*net), GFP_KERNEL);
	struct ipv6_pinfo *np = &((struct tcp6_sock *)sk)->inet6;

	KUNIT_ASSERT_NOT_NULL(test, net);
	sock_net_set(sk, net);
	sk->sk_family = AF_INET6;
	inet_sk(sk)->pinet6 = np;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_REDIRECTED);
	fsk_obstacle(test, sk, &sk->sk_filter, FS_FILTER);
#ifdef CONFIG_TCP_MD5SIG
	fsk_obstacle(test, sk, &tcp_sk(sk)->md5sig_info, FS_MD5);
#endif
#ifdef CONFIG_XFRM
	fsk_obstacle(test, sk, &sk->sk_policy[0], FS_XFRM);
	fsk_obstacle(test, sk, &sk->sk_policy[1], FS_XFRM);
#endif
#ifdef CONFIG_BPF_SYSCALL
	fsk_obstacle(test, sk, &sk->sk_bpf_storage, FS_OPTIONS);
#endif
	fsk_obstacle(test, sk, &np->opt, FS_OPTIONS);
	inet_csk(sk)->icsk_accept_queue.fastopenq.max_qlen = 1;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_TFO);
	inet_csk(sk)->icsk_accept_queue.fastopenq.max_qlen = 0;
	sock_set_flag(sk, SOCK_FASYNC);
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_FASYNC);
	sock_reset_flag(sk, SOCK_FASYNC);
	net->ipv4.sysctl_tcp_syncookies = 1;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_REDIRECTED);
	net->ipv4.sysctl_tcp_syncookies = 2;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_SYNCOOKIES);
	net->ipv4.sysctl_tcp_syncookies = 0;
	/* A group of sockets is no obstacle by itself. */
	rcu_assign_pointer(sk->sk_reuseport_cb, (void *)sk);
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_REDIRECTED);
	net->ipv4.sysctl_tcp_migrate_req = 1;
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_MIGRATE);
	RCU_INIT_POINTER(sk->sk_reuseport_cb, NULL);
	KUNIT_EXPECT_EQ(test, fs_listener_obstacle(sk), FS_REDIRECTED);
}

static void fs_clone_obstacle__nobody_or_nobody_any_more(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct wait_queue_entry e;

	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	c->live = false;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_NO_WORKER);
	c->lastpid = task_pid(current);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_STALLED);
	c->live = true;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	c->persistent = true;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_STALLED);
	fsk_wait_on(c->sock, &e);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	remove_wait_queue(&c->sock->wq.wait, &e);
	c->lastpid = NULL;
}

static void fs_clone_obstacle__busy_if_another_is_idle(struct kunit *test)
{
	const unsigned long patience = msecs_to_jiffies(FS_RUNNING_MS) + 1;
	struct fs_clone *c = fsk_live(test, 16);
	struct wait_queue_entry e;

	/* Nothing pending and nobody came by for long. */
	c->last = jiffies - patience;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	fsk_wait_on(c->ls->sock, &e);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_BUSY);
	c->last = jiffies + 600 * HZ;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	remove_wait_queue(&c->ls->sock->wq.wait, &e);
	fsk_connect(test, c->ls->sock, 0);
	/* Something is pending: what the watch has seen decides. */
	c->rounds = FS_RUNNING_MS / FS_WATCH_MS;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	fsk_wait_on(c->ls->sock, &e);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_BUSY);
	c->rounds--;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_clone_obstacle(c)), FS_REDIRECTED);
	remove_wait_queue(&c->ls->sock->wq.wait, &e);
}

/* ---- the backlog ---- */

static void fs_listener_load__adds_all_queues_up(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	struct fs_load l;
	unsigned int i;

	fsk_fake_clones(f, FSK_CLONES);
	f->ls->sk->sk_ack_backlog = 1000;
	atomic_set(&fs_queue(f->ls->sk)->qlen, 2000);
	for (i = 0; i < FSK_CLONES; i++) {
		f->c[i].sk->sk_ack_backlog = i;
		atomic_set(&fs_queue(f->c[i].sk)->qlen, 2 * i);
	}
	l = fsk_softirq(fs_listener_load(f->ls));
	KUNIT_EXPECT_EQ(test, l.accept, 1000 + 120);
	KUNIT_EXPECT_EQ(test, l.clone_syn, 240);
	KUNIT_EXPECT_EQ(test, l.syn, 2240);
	fsk_fake_clones(f, 0);
	l = fsk_softirq(fs_listener_load(f->ls));
	KUNIT_EXPECT_EQ(test, l.accept, 1000);
	KUNIT_EXPECT_EQ(test, l.clone_syn, 0);
	KUNIT_EXPECT_EQ(test, l.syn, 2000);
}

static void fs_listener_note_load__with_hysteresis(struct kunit *test)
{
	struct fs_listener *ls = fsk_fake(test)->ls;
	struct fs_load l = {};
	unsigned int i, n;

	ls->sk->sk_max_ack_backlog = 100;
	/* Either queue counts. */
	for (i = 0; i < 2; i++) {
		unsigned int *p = i ? &l.syn : &l.accept;

		for (n = 0; n <= 50; n++) {
			*p = n;
			fs_listener_note_load(ls, &l);
			KUNIT_EXPECT_FALSE_MSG(test, ls->tight, "at %u, rising", n);
		}
		*p = 51;
		fs_listener_note_load(ls, &l);
		KUNIT_EXPECT_TRUE(test, ls->tight);
		for (n = 50; n >= 25; n--) {
			*p = n;
			fs_listener_note_load(ls, &l);
			KUNIT_EXPECT_TRUE_MSG(test, ls->tight, "at %u, falling", n);
		}
		*p = 24;
		fs_listener_note_load(ls, &l);
		KUNIT_EXPECT_FALSE(test, ls->tight);
		*p = 0;
	}
}

/*
 * Fill clones at random for as long as they are within their share, and the
 * listener's own queue up to where @tight is set: never more than the backlog.
 */
static void fs_within_share__together_never_above_the_backlog(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	unsigned int turn, i, n, max, sum, misses;
	struct rnd_state rnd;

	fsk_seed(test, &rnd);
	for (turn = 0; turn < 500; turn++) {
		n = fsk_rnd(&rnd, FSK_CLONES + 1);
		max = fsk_rnd(&rnd, turn & 1 ? 20 : 2000);
		fsk_fake_clones(f, n);
		f->ls->sk->sk_max_ack_backlog = max;
		f->ls->sk->sk_ack_backlog = max / 2;
		for (i = 0; i < n; i++)
			f->c[i].sk->sk_ack_backlog = 0;
		for (misses = 0; n && misses < 8 * n;) {
			struct sock *sk = f->c[fsk_rnd(&rnd, n)].sk;

			if (fs_within_share(f->ls, sk))
				sk->sk_ack_backlog++;
			else
				misses++;
		}
		sum = fsk_softirq(fs_listener_load(f->ls)).accept;
		KUNIT_EXPECT_LE_MSG(test, sum, max, "%u clones", n);
	}
}

static void fs_within_share__both_queues_and_tight(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	struct sock *sk = f->c[0].sk;

	fsk_fake_clones(f, 4);
	f->ls->sk->sk_max_ack_backlog = 100;
	sk->sk_ack_backlog = 9;
	atomic_set(&fs_queue(sk)->qlen, 9);
	KUNIT_EXPECT_TRUE(test, fs_within_share(f->ls, sk));
	sk->sk_ack_backlog = 10;
	KUNIT_EXPECT_FALSE(test, fs_within_share(f->ls, sk));
	sk->sk_ack_backlog = 9;
	atomic_set(&fs_queue(sk)->qlen, 10);
	KUNIT_EXPECT_FALSE(test, fs_within_share(f->ls, sk));
	atomic_set(&fs_queue(sk)->qlen, 9);
	f->ls->tight = true;
	KUNIT_EXPECT_FALSE(test, fs_within_share(f->ls, sk));
}

static void fs_overflow__counts_as_the_kernel_does(struct kunit *test)
{
	struct sock *sk = fsk_listener(test, AF_INET, 4)->sk;
	unsigned long before;

	before = snmp_fold_field(init_net.mib.net_statistics, LINUX_MIB_LISTENOVERFLOWS);
	local_bh_disable();
	fs_overflow(sk);
	local_bh_enable();
	KUNIT_EXPECT_EQ(test, sk_drops_read(sk), 1);
	KUNIT_EXPECT_EQ(test,
			snmp_fold_field(init_net.mib.net_statistics, LINUX_MIB_LISTENOVERFLOWS),
			before + 1);
}

/* What the kernel's conn_request() sees of the SYN queue. */
static int fsk_qlen, fsk_requests;
static struct sock *fsk_request_sk;

static int fsk_conn_request(struct sock *sk, struct sk_buff *skb)
{
	fsk_requests++;
	fsk_request_sk = sk;
	fsk_qlen = atomic_read(&fs_queue(sk)->qlen);
	return 42;
}

static const struct inet_connection_sock_af_ops fsk_af_ops = { .conn_request = fsk_conn_request };

static void fs_conn_request_native__lends_the_clones_requests(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	struct fs_listener *ls = f->ls;

	fsk_fake_clones(f, 2);
	ls->orig_af_ops = &fsk_af_ops;
	ls->sk->sk_max_ack_backlog = 10;
	atomic_set(&fs_queue(ls->sk)->qlen, 4);
	atomic_set(&fs_queue(f->c[0].sk)->qlen, 5);
	/* Not full together: the listener's own count is enough. */
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request_native(ls, NULL)), 42);
	KUNIT_EXPECT_EQ(test, fsk_qlen, 4);
	KUNIT_EXPECT_TRUE(test, ls->tight);
	atomic_set(&fs_queue(f->c[1].sk)->qlen, 1);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request_native(ls, NULL)), 42);
	KUNIT_EXPECT_EQ(test, fsk_qlen, 10);
	KUNIT_EXPECT_EQ(test, atomic_read(&fs_queue(ls->sk)->qlen), 4);
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, ls->sk);
	/* Full of connections: dropped, and the kernel is not asked. */
	fsk_requests = 0;
	f->c[1].sk->sk_ack_backlog = 11;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request_native(ls, NULL)), 0);
	KUNIT_EXPECT_EQ(test, fsk_requests, 0);
	KUNIT_EXPECT_EQ(test, sk_drops_read(ls->sk), 1);
	f->c[1].sk->sk_ack_backlog = 10;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request_native(ls, NULL)), 42);
}

/* ---- which clone ---- */

static enum fs_stat fsk_pick(struct fs_listener *ls, struct fs_clone **c)
{
	enum fs_stat why;

	*c = fsk_softirq(fs_pick_clone(ls, &why));
	return why;
}

static void fs_pick_clone__says_why_there_is_none(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16), *got;
	struct fs_listener *ls = c->ls;

	KUNIT_EXPECT_EQ(test, fsk_pick(ls, &got), FS_REDIRECTED);
	KUNIT_EXPECT_PTR_EQ(test, got, c);
#define NO_CLONE(why)                                           \
	do {                                                    \
		KUNIT_EXPECT_EQ(test, fsk_pick(ls, &got), why); \
		KUNIT_EXPECT_NULL(test, got);                   \
	} while (0)
	fs_spawn_mode = FS_SPAWN_OFF;
	NO_CLONE(FS_DISABLED);
	fs_spawn_mode = FS_SPAWN_BIND;
	fs_clone_unpublish(c);
	NO_CLONE(FS_NO_WORKER);
	fs_clone_publish(c);
	c->usable = false;
	NO_CLONE(FS_CGROUP);
	c->usable = true;
	c->live = false;
	NO_CLONE(FS_NO_WORKER);
	c->live = true;
	sock_set_flag(ls->sk, SOCK_FASYNC);
	NO_CLONE(FS_FASYNC);
	sock_reset_flag(ls->sk, SOCK_FASYNC);
	c->sk->sk_ack_backlog = 17;
	NO_CLONE(FS_QUEUE_FULL);
	/* Above the share, but there is room in the listener as a whole. */
	c->sk->sk_ack_backlog = 16;
	KUNIT_EXPECT_EQ(test, fsk_pick(ls, &got), FS_REDIRECTED);
	c->sk->sk_ack_backlog = 0;
	atomic_add(16, &fs_queue(c->sk)->qlen);
	NO_CLONE(FS_QUEUE_FULL);
	atomic_sub(16, &fs_queue(c->sk)->qlen);
	KUNIT_EXPECT_EQ(test, fsk_pick(ls, &got), FS_REDIRECTED);
#undef NO_CLONE
}

static void fs_pick_clone__by_the_cpu_of_the_syn(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16), *got;

	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_EQ(test, fsk_pick(c->ls, &got), FS_REDIRECTED);
	fsk_on_cpu(test, 1);
	KUNIT_EXPECT_EQ(test, fsk_pick(c->ls, &got), FS_NO_WORKER);
}

static void fs_pick_clone__congestion_control_that_needs_ecn(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16), *got;
	struct inet_connection_sock *icsk = inet_csk(c->ls->sk);
	const struct tcp_congestion_ops *old = icsk->icsk_ca_ops;
	struct tcp_congestion_ops ecn = *old;

	ecn.flags |= TCP_CONG_NEEDS_ECN;
	icsk->icsk_ca_ops = &ecn;
	KUNIT_EXPECT_EQ(test, fsk_pick(c->ls, &got), FS_CONG);
	icsk->icsk_ca_ops = old;
	KUNIT_EXPECT_EQ(test, fsk_pick(c->ls, &got), FS_REDIRECTED);
}

static void fs_conn_request__to_the_clone_with_the_listener_s_options(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_listener *ls = c->ls;
	const struct inet_connection_sock_af_ops *orig = ls->orig_af_ops;
	unsigned long before = fsk_stat(ls, FS_REDIRECTED);
	unsigned long none = fsk_stat(ls, FS_NO_WORKER);

	ls->orig_af_ops = &fsk_af_ops;
	ls->sk->sk_mark = 0x1234;
	sk_drops_add(c->sk, 3);
	sk_drops_add(ls->sk, 4);
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request(ls->sk, NULL)), 42);
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, c->sk);
	KUNIT_EXPECT_EQ(test, c->sk->sk_mark, 0x1234);
	/* Drops are told on the listener. */
	KUNIT_EXPECT_EQ(test, sk_drops_read(c->sk), 0);
	KUNIT_EXPECT_EQ(test, sk_drops_read(ls->sk), 7);
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_REDIRECTED), before + 1);
	c->live = false;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request(ls->sk, NULL)), 42);
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, ls->sk);
	KUNIT_EXPECT_EQ(test, fsk_stat(ls, FS_NO_WORKER), none + 1);
	/* For a clone itself nothing is to choose. */
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request(c->sk, NULL)), 42);
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, c->sk);
	ls->orig_af_ops = orig;
	ls->sk->sk_mark = 0;
}

static void fs_conn_request__after_unhooking_is_the_kernel_s(struct kunit *test)
{
	struct sock *sk = fsk_listener(test, AF_INET, 4)->sk;
	const struct inet_connection_sock_af_ops *orig = inet_csk(sk)->icsk_af_ops;

	inet_csk(sk)->icsk_af_ops = &fsk_af_ops;
	fsk_request_sk = NULL;
	KUNIT_EXPECT_EQ(test, fsk_softirq(fs_conn_request(sk, NULL)), 42);
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, sk);
	inet_csk(sk)->icsk_af_ops = orig;
}

static void fs_accept_room__as_the_kernel_asks(struct kunit *test)
{
	struct fsk_fake *f = fsk_fake(test);
	struct fs_listener *ls = f->ls;

	fsk_fake_clones(f, 1);
	ls->sk->sk_max_ack_backlog = 16;
	f->c[0].sk->sk_ack_backlog = 3;
	ls->sk->sk_ack_backlog = 100;
	/* Within its share nobody is asked. */
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_accept_room(ls, f->c[0].sk)));
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_accept_room(ls, ls->sk)));
	KUNIT_EXPECT_TRUE(test, ls->tight);
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_accept_room(ls, f->c[0].sk)));
	/* sk_acceptq_is_full() is "more than", so one above the backlog fits. */
	ls->sk->sk_ack_backlog = 13;
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_accept_room(ls, ls->sk)));
	KUNIT_EXPECT_TRUE(test, fsk_softirq(fs_accept_room(ls, f->c[0].sk)));
	ls->sk->sk_ack_backlog = 14;
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_accept_room(ls, ls->sk)));
	KUNIT_EXPECT_FALSE(test, fsk_softirq(fs_accept_room(ls, f->c[0].sk)));
}

static void fs_unhook_child__all_but_other_operations(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct sock *child = fsk_tcp(test, AF_INET)->sk;
	const struct inet_connection_sock_af_ops *orig = inet_csk(child)->icsk_af_ops;

	inet_csk(child)->icsk_af_ops = &ls->af_ops;
	child->sk_data_ready = ls->sk->sk_data_ready;
	child->sk_state_change = ls->sk->sk_state_change;
	child->sk_error_report = ls->sk->sk_error_report;
	fs_unhook_child(ls, child);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(child)->icsk_af_ops, orig);
	KUNIT_EXPECT_PTR_EQ(test, child->sk_data_ready, ls->data_ready);
	KUNIT_EXPECT_PTR_EQ(test, child->sk_state_change, ls->state_change);
	KUNIT_EXPECT_PTR_EQ(test, child->sk_error_report, ls->error_report);
	/* As in a v4-mapped child. */
	inet_csk(child)->icsk_af_ops = &fsk_af_ops;
	fs_unhook_child(ls, child);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(child)->icsk_af_ops, &fsk_af_ops);
	inet_csk(child)->icsk_af_ops = orig;
}

static struct sock *
fsk_syn_recv_sock(const struct sock *sk, struct sk_buff *skb, struct request_sock *req,
		  struct dst_entry *dst, struct request_sock *req_unhash, bool *own_req,
		  void (*opt_child_init)(struct sock *newsk, const struct sock *sk))
{
	fsk_request_sk = (struct sock *)sk;
	return NULL;
}

static void fs_syn_recv_sock__from_the_listener_if_there_is_room(struct kunit *test)
{
	static const struct inet_connection_sock_af_ops ops = {
		.syn_recv_sock = fsk_syn_recv_sock,
	};
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_listener *ls = c->ls;
	const struct inet_connection_sock_af_ops *orig = ls->orig_af_ops;

	ls->orig_af_ops = &ops;
	fsk_request_sk = NULL;
	KUNIT_EXPECT_NULL(test,
			  fsk_softirq(fs_syn_recv_sock(c->sk, NULL, NULL, NULL, NULL, NULL, NULL)));
	KUNIT_EXPECT_PTR_EQ(test, fsk_request_sk, ls->sk);
	KUNIT_EXPECT_EQ(test, sk_drops_read(ls->sk), 0);
	fsk_request_sk = NULL;
	c->sk->sk_ack_backlog = 17;
	KUNIT_EXPECT_NULL(test,
			  fsk_softirq(fs_syn_recv_sock(c->sk, NULL, NULL, NULL, NULL, NULL, NULL)));
	KUNIT_EXPECT_NULL(test, fsk_request_sk);
	KUNIT_EXPECT_EQ(test, sk_drops_read(ls->sk), 1);
	c->sk->sk_ack_backlog = 0;
	ls->orig_af_ops = orig;
}

/* ---- life of a clone ---- */

static void fs_clone_get__in_no_table_and_listening(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET6, 23);
	struct fs_clone *c = fsk_clone(test, ls, 0);

	KUNIT_EXPECT_EQ(test, c->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_EQ(test, c->sk->sk_family, AF_INET6);
	KUNIT_EXPECT_EQ(test, c->sk->sk_max_ack_backlog, 23);
	KUNIT_EXPECT_TRUE(test, sk_unhashed(c->sk));
	KUNIT_EXPECT_EQ(test, inet_sk(c->sk)->inet_num, 0);
	KUNIT_EXPECT_NULL(test, inet_csk(c->sk)->icsk_bind_hash);
	KUNIT_EXPECT_TRUE(test, sock_flag(c->sk, SOCK_RCU_FREE));
	KUNIT_EXPECT_PTR_EQ(test, fs_listener_of(c->sk), ls);
	KUNIT_EXPECT_PTR_EQ(test, c->sk->sk_user_data, (void *)c);
	KUNIT_EXPECT_PTR_EQ(test, c->data_ready, ls->data_ready);
	KUNIT_EXPECT_PTR_EQ(test, c->sk->sk_data_ready, &fs_clone_data_ready);
	KUNIT_EXPECT_TRUE(test, c->usable);
	KUNIT_EXPECT_FALSE(test, c->live);
	KUNIT_EXPECT_FALSE(test, c->stopped);
	KUNIT_EXPECT_NULL(test, c->sock->file);
}

static void fs_clone_get__one_per_cpu(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_clone *c;
	int cpu;

	for_each_online_cpu(cpu) {
		c = fsk_clone(test, ls, cpu);
		KUNIT_EXPECT_EQ(test, c->cpu, cpu);
		KUNIT_EXPECT_PTR_EQ(test, fsk_clone(test, ls, cpu), c);
		KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[cpu]), c);
	}
	KUNIT_EXPECT_EQ(test, ls->nclones, num_online_cpus());
}

static void fs_clone_socket__as_the_listener_s_owner_would(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	const struct cred *cred = current_cred();
	struct fs_clone *c = fsk_clone(test, ls, 0);

	KUNIT_EXPECT_PTR_EQ(test, current_cred(), cred);
	KUNIT_EXPECT_EQ(test, c->sock->type, SOCK_STREAM);
	KUNIT_EXPECT_EQ(test, c->sk->sk_protocol, IPPROTO_TCP);
	KUNIT_EXPECT_PTR_EQ(test, sock_net(c->sk), sock_net(ls->sk));
	KUNIT_EXPECT_TRUE(test, uid_eq(c->sk->sk_uid, ls->sk->sk_uid));
}

static void fs_same_cgroup__byte_by_byte(struct kunit *test)
{
	struct sock *a = fsk_fake_sock(test), *b = fsk_fake_sock(test);

	KUNIT_EXPECT_TRUE(test, fs_same_cgroup(a, b));
	((u8 *)&a->sk_cgrp_data)[sizeof(a->sk_cgrp_data) - 1] = 1;
	KUNIT_EXPECT_FALSE(test, fs_same_cgroup(a, b));
	((u8 *)&b->sk_cgrp_data)[sizeof(b->sk_cgrp_data) - 1] = 1;
	KUNIT_EXPECT_TRUE(test, fs_same_cgroup(a, b));
}

static void fs_clone_unpublish__its_own_slot_alone(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_clone *c = fsk_clone(test, ls, 0), other = { .ls = ls, .cpu = 0 };

	fsk_locked_void(ls, fs_clone_unpublish(&other));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[0]), c);
	fsk_locked_void(ls, fs_clone_unpublish(c));
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[0]));
	fsk_locked_void(ls, fs_clone_publish(c));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[0]), c);
}

static void fs_clone_stop__and_start_and_unhook(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);
	struct fs_listener *ls = c->ls;

	fsk_connect(test, ls->sock, 0);
	fsk_locked_void(ls, fs_clone_stop(c));
	KUNIT_EXPECT_FALSE(test, c->live);
	KUNIT_EXPECT_TRUE(test, c->stopped);
	KUNIT_EXPECT_EQ(test, c->sk->sk_state, TCP_CLOSE);
	KUNIT_EXPECT_FALSE(test, fs_pending(c->sk));
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 0);
	fsk_locked_void(ls, fs_clone_start(c));
	KUNIT_EXPECT_FALSE(test, c->stopped);
	KUNIT_EXPECT_EQ(test, c->sk->sk_state, TCP_LISTEN);
	KUNIT_EXPECT_FALSE(test, c->live);
	fsk_locked_void(ls, fs_clone_unhook(c));
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(c->sk)->icsk_af_ops, ls->orig_af_ops);
	KUNIT_EXPECT_PTR_EQ(test, c->sk->sk_data_ready, c->data_ready);
}

static void fs_clone_start__keeps_one_that_listens(struct kunit *test)
{
	struct fs_clone *c = fsk_live(test, 16);

	fsk_connect(test, c->ls->sock, 0);
	c->stopped = true;
	fsk_locked_void(c->ls, fs_clone_start(c));
	KUNIT_EXPECT_FALSE(test, c->stopped);
	KUNIT_EXPECT_EQ(test, c->sk->sk_ack_backlog, 1);
	KUNIT_EXPECT_NOT_NULL(test, fsk_accept(test, c->ls->sock));
}

/* clang-format off */
static struct kunit_case fsk_clone_cases[] = {
	KUNIT_CASE(fs_oldest__is_the_age_of_the_head),
	KUNIT_CASE(fs_clone_idle__asleep_and_nothing_to_do),
	KUNIT_CASE(fs_patience_ms__longer_for_one_that_runs),
	KUNIT_CASE(fs_clone_stuck__after_rounds_of_patience),
	KUNIT_CASE(fs_idle_elsewhere__on_the_listener_or_another_clone),
	KUNIT_CASE(fs_clone_gone__dead_workers_or_out_of_epoll),
	KUNIT_CASE(fs_clone_drain__into_an_empty_queue),
	KUNIT_CASE(fs_clone_drain__behind_what_is_there),
	KUNIT_CASE(fs_clone_drain__of_nothing),
	KUNIT_CASE(fs_clone_drain__not_to_one_that_does_not_listen),
	KUNIT_CASE(fs_clone_drain__not_while_accept_has_the_socket),
	KUNIT_CASE(fs_clone_drain__while_connections_come_and_go),
	KUNIT_CASE(fs_count_round__the_same_head_in_time),
	KUNIT_CASE(fs_must_drain__by_age_rounds_and_who_is_idle),
	KUNIT_CASE(fs_wake_unsettled__those_that_are_not_live),
	KUNIT_CASE(fs_watch__drains_what_nobody_fetches_and_stops),
	KUNIT_CASE(fs_watch__leaves_what_a_worker_will_fetch),
	KUNIT_CASE(fs_clone_settle_soon__wakes_the_idle_later),
	KUNIT_CASE(fs_clone_data_ready__starts_the_watch_once),
	KUNIT_CASE(fs_clone_sync6__every_field_and_no_other),
	KUNIT_CASE(fs_clone_sync__every_field_and_no_other),
	KUNIT_CASE(fs_clone_sync__flags_bit_by_bit),
	KUNIT_CASE(fs_listener_obstacle__one_reason_each),
	KUNIT_CASE(fs_clone_obstacle__nobody_or_nobody_any_more),
	KUNIT_CASE(fs_clone_obstacle__busy_if_another_is_idle),
	KUNIT_CASE(fs_listener_load__adds_all_queues_up),
	KUNIT_CASE(fs_listener_note_load__with_hysteresis),
	KUNIT_CASE(fs_within_share__together_never_above_the_backlog),
	KUNIT_CASE(fs_within_share__both_queues_and_tight),
	KUNIT_CASE(fs_overflow__counts_as_the_kernel_does),
	KUNIT_CASE(fs_conn_request_native__lends_the_clones_requests),
	KUNIT_CASE(fs_pick_clone__says_why_there_is_none),
	KUNIT_CASE(fs_pick_clone__by_the_cpu_of_the_syn),
	KUNIT_CASE(fs_pick_clone__congestion_control_that_needs_ecn),
	KUNIT_CASE(fs_conn_request__to_the_clone_with_the_listener_s_options),
	KUNIT_CASE(fs_conn_request__after_unhooking_is_the_kernel_s),
	KUNIT_CASE(fs_accept_room__as_the_kernel_asks),
	KUNIT_CASE(fs_unhook_child__all_but_other_operations),
	KUNIT_CASE(fs_syn_recv_sock__from_the_listener_if_there_is_room),
	KUNIT_CASE(fs_clone_start__keeps_one_that_listens),
	KUNIT_CASE(fs_clone_unpublish__its_own_slot_alone),
	KUNIT_CASE(fs_same_cgroup__byte_by_byte),
	KUNIT_CASE(fs_clone_socket__as_the_listener_s_owner_would),
	KUNIT_CASE(fs_clone_get__in_no_table_and_listening),
	KUNIT_CASE(fs_clone_get__one_per_cpu),
	KUNIT_CASE(fs_clone_stop__and_start_and_unhook),
	{}
};

/* clang-format on */

struct kunit_suite fsk_clone_suite = {
	.name = "listen_clone",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_clone_cases,
};
