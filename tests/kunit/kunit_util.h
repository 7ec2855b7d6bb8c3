/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the KUnit files share: sockets, user tasks, threads on CPUs
 *
 * Sockets made here are closed at the end of their case by fsk_exit(), which
 * also sees that the module's reference count is what it was before.
 */
#ifndef _FSK_UTIL_H
#define _FSK_UTIL_H

#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/net.h>
#include <linux/prandom.h>
#include <net/inet_sock.h>

struct fs_clone;
struct fs_listener;
struct pid;

extern struct kunit_suite fsk_main_suite, fsk_hook_suite, fsk_sys_suite, fsk_stats_suite,
	fsk_spawn_suite, fsk_clone_suite, fsk_worker_suite, fsk_rfd_suite, fsk_btf_suite,
	fsk_epoll_suite, fsk_vfs_suite, fsk_enrol_suite, fsk_group_suite, fsk_bind_suite;

static inline void fsk_nap(void)
{
	usleep_range(1000, 2000);
}

/* clang-format off */
/* True as soon as @cond is, false when it still is not after a long time. */
#define fsk_wait(cond)							\
({									\
	bool ok_ = false;						\
	int n_;								\
									\
	for (n_ = 0; n_ < 5000 && !ok_; n_++) {				\
		ok_ = (cond);						\
		if (!ok_)						\
			fsk_nap();					\
	}								\
	ok_;								\
})
/* clang-format on */

/* init and exit of every suite */
int fsk_init(struct kunit *test);
void fsk_exit(struct kunit *test);

/* Everything below asserts: not in threads and user tasks, except where said. */
struct socket *fsk_socket(struct kunit *test, int family, int type, int protocol);
struct socket *fsk_tcp(struct kunit *test, int family);
struct socket *fsk_listener(struct kunit *test, int family, int backlog);
struct fs_listener *fsk_attached(struct kunit *test, int family, int backlog);
void fsk_bind_loopback(struct kunit *test, struct socket *sock);
struct fs_clone *fsk_clone(struct kunit *test, struct fs_listener *ls, int cpu);
/* SYNs are handed to @c, and the watch keeps its hands off it. */
void fsk_clone_live(struct fs_clone *c);
/* A connection from @cpu, -1: wherever we are; waits until it can be accepted. */
struct socket *fsk_connect(struct kunit *test, const struct socket *to, int cpu);
/* The next connection of a listener or a clone, NULL if there is none. */
struct socket *fsk_accept(struct kunit *test, struct socket *sock);
unsigned int fsk_backlog(const struct fs_listener *ls);
/* The peer's port of an accepted socket, the own port of a connected one. */
unsigned int fsk_peer(const struct socket *sock);
unsigned int fsk_port(const struct socket *sock);
void fsk_close(struct socket *sock);
/* Run the rest of the case on one CPU. */
void fsk_on_cpu(struct kunit *test, int cpu);
void fsk_need_cpus(struct kunit *test, unsigned int n);
/* clang-format off */
/* Holds the listener's lock around an expression. */
#define fsk_locked(ls, expr)						\
({									\
	struct fs_listener *l_ = (ls);					\
	typeof(expr) r_;						\
									\
	mutex_lock(&l_->lock);						\
	r_ = (expr);							\
	mutex_unlock(&l_->lock);					\
	r_;								\
})
#define fsk_locked_void(ls, expr) fsk_locked(ls, ({ expr; 0; }))
/* clang-format on */

/* The generator of a case, its seed printed; parameter seed= repeats a run. */
void fsk_seed(struct kunit *test, struct rnd_state *rnd);
static inline u32 fsk_rnd(struct rnd_state *rnd, u32 below)
{
	return prandom_u32_state(rnd) % below;
}

/**
 * struct fsk_user - a task that the kernel counts as a user's
 * @fn: what it does; may EXPECT, not ASSERT
 * @arg: for @fn
 * @test: for @fn
 * @pid: its pid, a reference is held
 * @started: @pid is set
 * @done: @fn has returned; the task is about to die
 */
struct fsk_user {
	void (*fn)(struct kunit *test, void *arg);
	void *arg;
	struct kunit *test;
	struct pid *pid;
	struct completion started, done;
};

void fsk_user_start(struct kunit *test, struct fsk_user *u,
		    void (*fn)(struct kunit *test, void *arg), void *arg);
/* Waits until the task is dead. */
void fsk_user_wait(struct kunit *test, struct fsk_user *u);
/* Both. */
void fsk_user(struct kunit *test, void (*fn)(struct kunit *test, void *arg), void *arg);
/* A socket of ours as a descriptor of the calling user task. */
int fsk_fd(struct socket *sock);

#define FSK_THREADS 16

/* Kthreads of a stress case, each on a CPU. */
struct fsk_threads {
	struct task_struct *task[FSK_THREADS];
	unsigned int n;
};

/*
 * @fn loops until fsk_stopping(). Not kthread_should_stop(): what is under way is
 * to end by itself, and kthread_stop() interrupts it like a signal.
 */
bool fsk_stopping(void);
void fsk_thread(struct kunit *test, struct fsk_threads *t, int cpu, void (*fn)(void *arg),
		void *arg);
void fsk_threads_stop(struct fsk_threads *t);
/* How long a stress case runs, in milliseconds; parameter stress_ms=. */
extern unsigned int fsk_stress_ms;

/**
 * struct fsk_tally - connections of a stress case, by the client's port
 * @to: address of the listener
 * @tolen: length of @to
 * @made: connected, by port
 * @got: accepted, by the peer's port
 * @nmade: connected, all together
 * @ngot: accepted, all together
 * @errors: sockets and connections that failed
 */
struct fsk_tally {
	struct sockaddr_storage to;
	int tolen;
	atomic_t *made, *got;
	atomic_t nmade, ngot, errors;
};

void fsk_tally_init(struct kunit *test, struct fsk_tally *t, struct socket *to);
/* Thread functions' bodies: one connection made and dropped, all pending ones fetched. */
void fsk_tally_connect(struct fsk_tally *t);
void fsk_tally_accept(struct fsk_tally *t, struct socket *from);
/* Accept what is left in @from, compare, free. */
void fsk_tally_check(struct kunit *test, struct fsk_tally *t, struct socket *from);

#endif /* _FSK_UTIL_H */
