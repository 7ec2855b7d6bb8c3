/* SPDX-License-Identifier: GPL-2.0 */
/*
 * One local listener per CPU behind every attached listener
 *
 * Why it exists: a listener has one accept queue, so the CPU that handles a SYN
 * and the CPU that accepts the connection meet by chance, and all CPUs write
 * the queue's cache lines. An attached listener keeps its place in the kernel's
 * tables and its own queue; beside them it has a "clone" for each CPU on which
 * a worker runs: a listening socket that is in no table. SYNs are handed to the
 * clone of the CPU they arrive on, whose worker polls and accepts from it.
 *
 * listen_spawn.c   attach, the socket operations, release
 * listen_clone.c   clones: creation, SYN and handshake in softirq, rescue
 * listen_worker.c  which task is the worker of which clone, CPU affinity
 * listen_group.c   SO_REUSEPORT: members of a group serve each other's CPUs
 * listen_bind.c    private bind buckets: connections of a clone are listed apart
 *
 * Locks, outermost first: fs_net.lock | fs_listener.lock > fs_groups_lock > fs_tasks_lock, the
 * socket lock > request_sock_queue.rskq_lock of a clone > that of its listener.
 * The two mutexes of the first level are never nested.
 */
#ifndef _FASTSOCKET_LISTEN_SPAWN_H
#define _FASTSOCKET_LISTEN_SPAWN_H

#include <linux/hashtable.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/timer.h>
#include <linux/workqueue.h>
#include <net/inet_connection_sock.h>

#include "compat.h"
#include "fastsocket.h"

#define FS_WORKER_BITS	6
/* A bound on what one listener can cost, far above any real server. */
#define FS_MAX_WORKERS	4096

struct fs_bind;
struct fs_listener;

/**
 * struct fs_clone - a local listener
 * @ls: the listener it belongs to; constant
 * @sock: the socket, in no table, sk_user_data points back here; constant
 * @sk: @sock->sk; constant
 * @data_ready: the kernel's sk_data_ready of @sk; constant
 * @usable: in the same control group as the listener; constant
 * @joined: when a worker joined last, in numbers of workers that have ever joined anything;
 *	written under @ls->lock, read without
 * @cpu: the CPU whose SYNs it gets while @ls->slot points to it; changed under
 *	@ls->lock
 * @node: in @ls->clones; added under @ls->lock, walked under RCU, never removed
 *	before the listener's release
 * @workers: fs_worker.on_clone; changed under @ls->lock, walked under RCU
 * @nworkers: length of @workers; under @ls->lock, read without
 * @on_group: in fs_group.slot while another member's SYNs may come; changed under
 *	fs_group.lock, walked under RCU
 * @live: SYNs may come. Set by a worker in its own context, cleared by the
 *	watch; a plain flag, a late reader costs a detour
 * @persistent: its workers wait in epoll, so an empty wait queue means that
 *	nobody polls any more; a hint like @live
 * @shared: tasks that are no workers accept from it (one epoll for several
 *	threads): it stays off until a worker polls it anew
 * @stolen: the balance that leads to @shared; a hint
 * @settling: a worker has joined: the watch shall wake those that are not bound
 * @seen: head of the accept queue at the last run of the watch, to compare
 * @ran: jiffies of that run
 * @rounds: on how many runs in a row the head was the same
 * @watching: @timer is pending or about to be; written in softirq
 * @stopped: @sk does not listen (any more); under @ls->lock
 * @bind: its bind buckets, NULL: its connections are in the port's own. Changed with the listener's
 *	socket locked, read in softirq between fs_bind_begin() and fs_bind_end()
 * @turn: alternates between the two queues; a hint
 * @lastpid: task_pid() of the worker seen last; compared, dereferenced only
 *	under RCU; cleared when the worker goes
 * @last: jiffies when a worker came by last
 * @accepts: connections accepted from it
 * @timer: looks for connections that nobody fetches; see fs_watch()
 *
 * The first part is read by all CPUs and written at creation only; the second
 * belongs to the clone's CPU.
 */
struct fs_clone {
	struct fs_listener *ls;
	struct socket *sock;
	struct sock *sk;
	void (*data_ready)(struct sock *sk);
	struct list_head node;
	struct hlist_head workers;
	struct hlist_node on_group;
	unsigned int nworkers;
	unsigned long joined;
	int cpu;
	bool usable;
	bool stopped;
	struct fs_bind *bind;

	bool live ____cacheline_aligned_in_smp;
	bool persistent;
	bool shared;
	bool settling;
	bool watching;
	u8 turn;
	unsigned int stolen;
	struct pid *lastpid;
	unsigned long last;
	atomic_long_t accepts;
	const struct request_sock *seen;
	unsigned long ran;
	unsigned int rounds;
	struct timer_list timer;
};

/**
 * struct fs_task - a task that is the worker of one or more listeners
 * @node: in fs_tasks, by @pid
 * @pid: of the thread; we hold a reference
 * @users: fs_worker structures that point here
 * @cpu: the CPU chosen for it
 * @bound_to: the CPU we bound it to, -1: we did not
 * @saved: the CPUs it had before that
 * @rcu: to free it, and to drop @pid, which softirqs look into under RCU
 *
 * All under fs_tasks_lock; the task itself may read what it wrote without.
 */
struct fs_task {
	struct hlist_node node;
	struct pid *pid;
	unsigned int users;
	int cpu;
	int bound_to;
	cpumask_var_t saved;
	struct rcu_head rcu;
};

/**
 * struct fs_worker - a task that polls or accepts on a listener
 * @node: in fs_listener.workers, by pid; changed under fs_listener.lock, walked
 *	under RCU
 * @on_clone: in fs_clone.workers; the same rules
 * @pid: the task's, referenced through @task; constant
 * @clone: constant: the task's poll entries wait there
 * @task: constant
 * @retry: jiffies before which fs_worker_settle() need not try again
 * @rcu: to free it
 */
struct fs_worker {
	struct hlist_node node;
	struct hlist_node on_clone;
	struct pid *pid;
	struct fs_clone *clone;
	struct fs_task *task;
	unsigned long retry;
	struct rcu_head rcu;
};

/**
 * struct fs_group - the attached members of a SO_REUSEPORT group
 * @node: in fs_groups; under fs_groups_lock
 * @members: fs_listener.member; changed under fs_groups_lock, walked under RCU
 * @lock: guards changes of @slot; process context
 * @rcu: to free it
 * @slot: by CPU, fs_clone.on_group of clones whose workers are there; changed under @lock, walked
 *	under RCU. They are withdrawn before their listener leaves
 */
struct fs_group {
	struct list_head node;
	struct list_head members;
	spinlock_t lock;	/* @slot */
	struct rcu_head rcu;
	struct hlist_head slot[];
};

/**
 * struct fs_listener - an attached listener
 * @sk: its socket; constant, valid until fs_release() has returned
 * @sock: @sk->sk_socket; constant
 * @ops: the kernel's operations of @sock; constant
 * @prot: the kernel's sk_prot; constant
 * @guard: what sk_prot is while an IPv6 socket does not listen, and since a clone first had bind
 *	buckets; constant
 * @changing: calls under way that may begin or end the listening state; under
 *	the socket lock
 * @orig_af_ops: the kernel's icsk_af_ops; constant
 * @af_ops: our copy of them; icsk_af_ops of @sk and of all clones. What is
 *	called in softirq finds this structure by container_of()
 * @data_ready: the kernel's callback in @sk; constant
 * @state_change: ditto
 * @error_report: ditto
 * @cred: of the task that attached it: what it may do to workers; constant
 * @fn: of the listener's network namespace, which @sk holds; constant
 * @node: in @fn->listeners
 * @hooked: the softirq side is installed, see fs_hook(); under @lock
 * @dead: the listener is being released; under @lock, set with @sk locked
 * @split: clones have bind buckets; set and cleared with @sk locked, read in softirq. Before it
 *	is set, fs_clone.bind is; when it was cleared and softirqs were waited for, nobody looks
 *	there
 * @tight: the queues are so full that all must be added up for the backlog;
 *	a hint, read on every SYN, written rarely
 * @nclones: length of @clones; under @lock, read without
 * @nworkers: number of workers; under @lock, read without
 * @group: the SO_REUSEPORT group that it is in, found when a worker joined; set and cleared
 *	under @lock and fs_groups_lock, read under RCU
 * @member: in @group->members; the same
 * @lock: guards the lists, the slots and the workers; process context
 * @clones: fs_clone.node
 * @workers: fs_worker.node by pid
 * @accepts: connections accepted from the listener's own queue
 * @free: frees the listener and its clones after an RCU grace period
 * @slot: by CPU, the clone that serves it; written under @lock, read under RCU
 */
struct fs_listener {
	struct sock *sk;
	struct socket *sock;
	const struct proto_ops *ops;
	struct proto *prot;
	struct proto *guard;
	unsigned int changing;
	const struct inet_connection_sock_af_ops *orig_af_ops;
	struct inet_connection_sock_af_ops af_ops;
	void (*data_ready)(struct sock *sk);
	void (*state_change)(struct sock *sk);
	void (*error_report)(struct sock *sk);
	const struct cred *cred;
	struct fs_net *fn;
	struct list_head node;
	bool hooked;
	bool dead;
	bool split;
	bool tight;
	unsigned int nclones;
	unsigned int nworkers;
	struct fs_group __rcu *group;
	struct list_head member;
	struct list_head clones;
	DECLARE_HASHTABLE(workers, FS_WORKER_BITS);

	struct mutex lock ____cacheline_aligned_in_smp;
	atomic_long_t accepts;
	struct rcu_work free;

	struct fs_clone __rcu *slot[] ____cacheline_aligned_in_smp;
};

static inline struct request_sock_queue *fs_queue(const struct sock *sk)
{
	return &inet_csk((struct sock *)sk)->icsk_accept_queue;
}

static inline bool fs_pending(const struct sock *sk)
{
	return !reqsk_queue_empty(fs_queue(sk));
}

int fs_conn_request(struct sock *sk, struct sk_buff *skb);

/**
 * fs_listener_of() - the attached listener behind a socket
 * @sk: a listener or one of its clones
 *
 * The operations tell: nobody else's structure has our conn_request. Softirq or
 * process context, under RCU or with a reference on the listener's file. A
 * child in the middle of its creation also gets an answer: compare with ->sk.
 *
 * Return: the listener or NULL.
 */
static inline struct fs_listener *fs_listener_of(const struct sock *sk)
{
	const struct inet_connection_sock_af_ops *ops = READ_ONCE(inet_csk(sk)->icsk_af_ops);

	if (unlikely(ops->conn_request != fs_conn_request))
		return NULL;
	return container_of(ops, struct fs_listener, af_ops);
}

/* listen_spawn.c */
int fs_listen_init(void);
void fs_listen_exit(void);
int fs_attach(struct socket *sock);
void fs_attach_or_say(struct socket *sock);
int fs_spawn(struct socket *sock, int cpu);
bool fs_attached(const struct socket *sock);
bool fs_can_attach(const struct socket *sock);
void fs_listener_show(struct seq_file *m, struct fs_listener *ls);

/* listen_clone.c */
enum fs_stat fs_listener_obstacle(const struct sock *sk);
void fs_unhook_child(const struct fs_listener *ls, struct sock *child);
struct fs_clone *fs_clone_get(struct fs_listener *ls, int cpu);
void fs_clone_settle_soon(struct fs_clone *c);
void fs_clone_start(struct fs_clone *c);
void fs_clone_publish(struct fs_clone *c);
void fs_clone_unpublish(struct fs_clone *c);
void fs_clone_stop(struct fs_clone *c);
void fs_clone_unhook(struct fs_clone *c);
void fs_clone_free(struct fs_clone *c);
unsigned int fs_clone_drain(struct fs_clone *c);

/* listen_worker.c */
struct fs_clone *fs_worker_clone(struct fs_listener *ls);
struct fs_clone *fs_worker_join(struct fs_listener *ls);
int fs_worker_spawn(struct fs_listener *ls, int cpu);
void fs_workers_drop(struct fs_listener *ls);
void fs_clone_accepting(struct fs_clone *c);
void fs_clone_stolen(struct fs_clone *c);
bool fs_pid_alive(struct pid *pid);

/* listen_group.c */
bool fs_group_same(const struct fs_listener *a, const struct fs_listener *b);
bool fs_group_join(struct fs_listener *ls);
void fs_group_joined(void);
void fs_group_leave(struct fs_listener *ls);
void fs_group_offer(struct fs_clone *c);
void fs_group_withdraw(struct fs_clone *c);
struct fs_clone *fs_group_clone(const struct fs_listener *ls);

/* listen_bind.c */
extern unsigned int fs_bind_enabled;
struct sock *fs_bind_begin(struct fs_clone *c, const struct sk_buff *skb,
			   const struct request_sock *req);
void fs_bind_end(const struct fs_listener *ls);
void fs_bind_open(struct fs_clone *c);
void fs_bind_close(struct fs_listener *ls, bool may_sleep);
void fs_bind_check(struct fs_listener *ls);
int fs_bind_switch(bool on);
void fs_bind_init(void);
void fs_bind_exit(void);

#endif /* _FASTSOCKET_LISTEN_SPAWN_H */
