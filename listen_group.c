// SPDX-License-Identifier: GPL-2.0
/*
 * SO_REUSEPORT: members of a group serve each other's CPUs
 *
 * A program with a listener for each worker (nginx's reuseport, HAProxy's shards) has the kernel
 * choose one of them by a hash of the addresses, so worker and CPU meet by chance as with one
 * listener. Any member is as good as the one that the hash has chosen, unless the program says
 * otherwise; so a SYN goes on to the member whose worker is on this CPU. The rest is
 * as with one listener: workers are spread over the CPUs, with all members in view.
 *
 * The kernel knows who is a member: two listeners are in one group when they point to the
 * same struct sock_reuseport. That is looked at for each SYN; what is kept here is only where
 * to look.
 */
#include <linux/random.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <net/sock_reuseport.h>
#include <net/tcp.h>

#include "include/compat.h"
#include "include/listen_spawn.h"

/* All groups, and who is in which. Inside of fs_listener.lock, outside of fs_tasks_lock. */
static DEFINE_MUTEX(fs_groups_lock);
static LIST_HEAD(fs_groups);

/**
 * fs_group_same() - would the kernel have chosen @b as well as @a?
 * @a: a listener
 * @b: another one
 *
 * Not if a BPF program or SO_INCOMING_CPU does the choosing. Any context, under RCU.
 *
 * Return: whether it would.
 */
bool fs_group_same(const struct fs_listener *a, const struct fs_listener *b)
{
	const struct sock_reuseport *r = rcu_dereference(a->sk->sk_reuseport_cb);

	return r && r == rcu_access_pointer(b->sk->sk_reuseport_cb) &&
	       !rcu_access_pointer(r->prog) && READ_ONCE(a->sk->sk_incoming_cpu) < 0 &&
	       READ_ONCE(b->sk->sk_incoming_cpu) < 0;
}

static struct fs_group *fs_group_find(const struct sock *sk)
{
	const void *r = rcu_access_pointer(sk->sk_reuseport_cb);
	const struct fs_listener *ls;
	struct fs_group *g;

	if (!r)
		return NULL;
	list_for_each_entry(g, &fs_groups, node)
		list_for_each_entry(ls, &g->members, member)
			if (rcu_access_pointer(ls->sk->sk_reuseport_cb) == r)
				return g;
	return NULL;
}

static struct fs_group *fs_group_new(void)
{
	struct fs_group *g = kzalloc(struct_size(g, slot, nr_cpu_ids), GFP_KERNEL_ACCOUNT);

	if (!g)
		return NULL;
	INIT_LIST_HEAD(&g->members);
	spin_lock_init(&g->lock);
	list_add(&g->node, &fs_groups);
	return g;
}

/**
 * fs_group_join() - a worker joins a listener: is it a member of a group?
 * @ls: the listener; holds @ls->lock; may sleep
 *
 * Without memory for it the listener stays alone, which costs locality.
 *
 * Return: whether it is in one. Then fs_group_joined() is to be called when the worker has its
 * CPU: until then no worker of another member chooses one.
 */
bool fs_group_join(struct fs_listener *ls)
{
	struct fs_group *g = rcu_access_pointer(ls->group);

	if (!g && !rcu_access_pointer(ls->sk->sk_reuseport_cb))
		return false;
	mutex_lock(&fs_groups_lock);
	if (!g) {
		g = fs_group_find(ls->sk) ?: fs_group_new();
		if (!g) {
			mutex_unlock(&fs_groups_lock);
			return false;
		}
		list_add_tail_rcu(&ls->member, &g->members);
		rcu_assign_pointer(ls->group, g);
	}
	return true;
}

/**
 * fs_group_joined() - the other half of fs_group_join()
 */
void fs_group_joined(void)
{
	mutex_unlock(&fs_groups_lock);
}

/**
 * fs_group_leave() - a listener is released
 * @ls: the listener; its clones are unpublished; holds @ls->lock; may sleep
 *
 * It and the group may be looked at until an RCU grace period has passed.
 */
void fs_group_leave(struct fs_listener *ls)
{
	struct fs_group *g = rcu_access_pointer(ls->group);

	if (!g)
		return;
	mutex_lock(&fs_groups_lock);
	list_del_rcu(&ls->member);
	RCU_INIT_POINTER(ls->group, NULL);
	if (list_empty(&g->members)) {
		list_del(&g->node);
		kfree_rcu(g, rcu);
	}
	mutex_unlock(&fs_groups_lock);
}

/**
 * fs_group_offer() - a live clone may serve the SYNs of its CPU for all members
 * @c: the clone; the caller has a reference on its listener's file
 *
 * Called whenever a worker comes by, so cheap when there is nothing to do.
 */
void fs_group_offer(struct fs_clone *c)
{
	struct fs_group *g;

	if (!hlist_unhashed_lockless(&c->on_group))
		return;
	rcu_read_lock();
	g = rcu_dereference(c->ls->group);
	if (g) {
		spin_lock(&g->lock);
		if (hlist_unhashed(&c->on_group))
			hlist_add_head_rcu(&c->on_group, &g->slot[c->cpu]);
		spin_unlock(&g->lock);
	}
	rcu_read_unlock();
}

/**
 * fs_group_withdraw() - undo fs_group_offer()
 * @c: the clone; holds its listener's lock
 */
void fs_group_withdraw(struct fs_clone *c)
{
	struct fs_group *g = rcu_access_pointer(c->ls->group);

	if (!g)
		return;
	spin_lock(&g->lock);
	hlist_del_init_rcu(&c->on_group);
	spin_unlock(&g->lock);
}

/* May @c serve a SYN of @ls on @cpu? It may have moved there since it was found. */
static bool fs_group_serves(const struct fs_clone *c, const struct fs_listener *ls, int cpu)
{
	return READ_ONCE(c->live) && READ_ONCE(c->cpu) == cpu && fs_group_same(ls, c->ls) &&
	       inet_sk_state_load(c->ls->sk) == TCP_LISTEN;
}

/**
 * fs_group_clone() - whose worker is on this CPU?
 * @ls: the listener that the kernel has chosen; softirq, under RCU
 *
 * Several get equal shares, as the hash would give them.
 *
 * Return: a clone of another member, or NULL.
 */
struct fs_clone *fs_group_clone(const struct fs_listener *ls)
{
	const struct fs_group *g = rcu_dereference(ls->group);
	int cpu = raw_smp_processor_id();
	struct fs_clone *c;
	unsigned int n = 0;

	if (!g)
		return NULL;
	hlist_for_each_entry_rcu(c, &g->slot[cpu], on_group)
		n += fs_group_serves(c, ls, cpu);
	if (n > 1)
		n = 1 + reciprocal_scale(get_random_u32(), n);
	hlist_for_each_entry_rcu(c, &g->slot[cpu], on_group)
		if (fs_group_serves(c, ls, cpu) && !--n)
			return c;
	return NULL;
}
