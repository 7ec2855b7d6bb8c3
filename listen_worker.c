// SPDX-License-Identifier: GPL-2.0
/*
 * Which task is the worker of which clone, CPU affinity
 *
 * A task becomes a worker of a listener when it waits for connections: when it
 * polls the listener, or is about to sleep in accept(). Its poll entries are
 * then in the wait queue of one clone, so clone and worker stay together until
 * the listener or the task goes.
 *
 * SYNs are sent to a clone only when its worker runs on the clone's CPU for
 * sure, i.e. is allowed on no other. In mode 1 the application must see to that.
 * In mode 2 we do it, late: in the worker's own context, when it comes back
 * from waiting, and not before the listener or its SO_REUSEPORT group has a
 * second worker. A program's main thread that merely set up epoll, or a server
 * with one task, is left alone, and so are the threads it makes (they inherit
 * its CPUs).
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/rculist.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "include/fastsocket.h"
#include "include/listen_spawn.h"

/* How long fs_worker_settle() rests after it could not do anything. */
#define FS_RETRY_MS	100

/*
 * A connection that another task took counts two, one that a worker took minus
 * one; at this balance a clone counts as shared.
 */
#define FS_SHARED_AFTER	8

#define FS_TASK_BITS	8

/* All workers' tasks by pid. A task has one CPU, whatever it listens on. */
static DEFINE_HASHTABLE(fs_tasks, FS_TASK_BITS);
static DEFINE_MUTEX(fs_tasks_lock);

/* How many workers have ever joined: tells which of two has joined first. */
static atomic_long_t fs_joins;

static unsigned long fs_key(const struct pid *pid)
{
	return (unsigned long)pid;
}

/**
 * fs_pid_alive() - is there still a task with this thread id?
 * @pid: the caller has a reference, or is under RCU; any context
 *
 * Return: whether there is.
 */
bool fs_pid_alive(struct pid *pid)
{
	bool alive;

	rcu_read_lock();
	alive = pid_task(pid, PIDTYPE_PID);
	rcu_read_unlock();
	return alive;
}

/* The one CPU that current is allowed on, or -1. */
static int fs_pinned_cpu(void)
{
	return current->nr_cpus_allowed == 1 ? cpumask_first(current->cpus_ptr) : -1;
}

static bool fs_may_use(const struct cpumask *mask, int cpu)
{
	return cpu_online(cpu) && cpumask_test_cpu(cpu, mask);
}

/* Is the one CPU that current is allowed on our choice, not the user's? */
static bool fs_bound_by_us(const struct fs_task *t)
{
	return t->bound_to >= 0 && t->bound_to == fs_pinned_cpu();
}

/* The CPUs that current, whose record is @t, may use if we let it. */
static const struct cpumask *fs_allowed(const struct fs_task *t)
{
	return fs_bound_by_us(t) ? t->saved : current->cpus_ptr;
}

static struct fs_clone *fs_slot(const struct fs_listener *ls, int cpu)
{
	return rcu_dereference_protected(ls->slot[cpu], lockdep_is_held(&ls->lock));
}

/* Add the workers that @ls has on @cpu, and when the last of them joined. */
static void fs_add_workers(const struct fs_listener *ls, int cpu, unsigned int *n,
			   unsigned long *joined)
{
	const struct fs_clone *c = rcu_dereference(ls->slot[cpu]);
	const struct fs_worker *w;

	if (!c)
		return;
	*n += READ_ONCE(c->nworkers);
	hlist_for_each_entry_rcu(w, &c->workers, on_clone)
		if (!fs_pid_alive(w->pid))
			--*n;
	*joined = max(*joined, READ_ONCE(c->joined));
}

/* The same of all members of its group, unless the program chooses among them. */
static void fs_count_workers(const struct fs_listener *ls, int cpu, unsigned int *n,
			     unsigned long *joined)
{
	const struct fs_listener *m;
	const struct fs_group *g;

	*n = 0;
	*joined = 0;
	rcu_read_lock();
	fs_add_workers(ls, cpu, n, joined);
	g = rcu_dereference(ls->group);
	if (g)
		list_for_each_entry_rcu(m, &g->members, member)
			if (m != ls && fs_group_same(ls, m))
				fs_add_workers(m, cpu, n, joined);
	rcu_read_unlock();
}

/* Is there another worker, of this listener or of its group? A hint without ls->lock. */
static bool fs_has_company(const struct fs_listener *ls)
{
	const struct fs_listener *m;
	const struct fs_group *g;
	unsigned int n = READ_ONCE(ls->nworkers);

	if (n > 1)
		return true;
	rcu_read_lock();
	g = rcu_dereference(ls->group);
	if (g)
		list_for_each_entry_rcu(m, &g->members, member)
			if (m != ls && fs_group_same(ls, m))
				n += READ_ONCE(m->nworkers);
	rcu_read_unlock();
	return n > 1;
}

/*
 * The CPU of @mask that has the fewest workers of @ls or its group; of several the one that
 * got its last worker first, then the lowest. When a server replaces its workers,
 * old and new ones overlap: a CPU that has a new one already is not the next, but
 * one whose old worker is about to go.
 */
static int fs_choose_cpu(const struct fs_listener *ls, const struct cpumask *mask)
{
	unsigned int least = UINT_MAX;
	unsigned long oldest = 0;
	int cpu, best = -1;

	for_each_cpu_and(cpu, mask, cpu_online_mask) {
		unsigned long joined;
		unsigned int n;

		fs_count_workers(ls, cpu, &n, &joined);
		if (n < least || (n == least && joined < oldest)) {
			least = n;
			oldest = joined;
			best = cpu;
		}
	}
	return best;
}

static struct fs_task *fs_task_find(const struct pid *pid)
{
	struct fs_task *t;

	hash_for_each_possible(fs_tasks, t, node, fs_key(pid))
		if (t->pid == pid)
			return t;
	return NULL;
}

/*
 * Current was made by a worker that we bound, and has its one CPU from there: it
 * is as free as that worker was. Holds fs_tasks_lock.
 */
static void fs_task_inherit(struct fs_task *t)
{
	int i, cpu = fs_pinned_cpu();
	const struct fs_task *o;
	struct task_struct *p;

	if (cpu < 0)
		return;
	rcu_read_lock();
	hash_for_each(fs_tasks, i, o, node) {
		p = o->bound_to == cpu ? pid_task(o->pid, PIDTYPE_PID) : NULL;
		if (p && (same_thread_group(p, current) ||
			  same_thread_group(p, rcu_dereference(current->real_parent)))) {
			cpumask_copy(t->saved, o->saved);
			t->bound_to = cpu;
			break;
		}
	}
	rcu_read_unlock();
}

static struct fs_task *fs_task_new(void)
{
	struct fs_task *t = kzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);

	if (!t)
		return NULL;
	if (!zalloc_cpumask_var(&t->saved, GFP_KERNEL_ACCOUNT)) {
		kfree(t);
		return NULL;
	}
	t->pid = get_task_pid(current, PIDTYPE_PID);
	t->cpu = -1;
	t->bound_to = -1;
	fs_task_inherit(t);
	hash_add(fs_tasks, &t->node, fs_key(t->pid));
	return t;
}

/*
 * The record of current, with a CPU for it: @want, else the one that the user
 * has pinned it to, else the one it has because of another listener, else the
 * best for @ls.
 */
static struct fs_task *fs_task_get(const struct fs_listener *ls, int want)
{
	struct fs_task *t;

	mutex_lock(&fs_tasks_lock);
	t = fs_task_find(task_pid(current));
	if (!t)
		t = fs_task_new();
	if (t) {
		t->users++;
		if (want >= 0)
			t->cpu = want;
		else if (fs_pinned_cpu() >= 0 && !fs_bound_by_us(t))
			t->cpu = fs_pinned_cpu();
		else if (t->cpu < 0 || !fs_may_use(fs_allowed(t), t->cpu))
			t->cpu = fs_choose_cpu(ls, fs_allowed(t));
	}
	mutex_unlock(&fs_tasks_lock);
	return t;
}

/*
 * Give a task the CPUs back that it had before we bound it, if nobody changed
 * them since. sched_setaffinity() keeps it inside its cpuset. It fails for
 * tasks the caller has no right to, which then stay as they are: they belong to
 * another user and go on as workers of their own listeners.
 */
static void fs_task_unbind(struct fs_task *t)
{
	struct task_struct *p = get_pid_task(t->pid, PIDTYPE_PID);
	pid_t nr = pid_vnr(t->pid);

	if (p && nr && t->bound_to >= 0 && p->nr_cpus_allowed == 1 &&
	    cpumask_test_cpu(t->bound_to, p->cpus_ptr))
		fs_sys_setaffinity(nr, t->saved);
	t->bound_to = -1;
	if (p)
		put_task_struct(p);
}

/*
 * put_pid() frees at once when the task is long dead: not before softirqs that
 * found the pid in fs_clone.lastpid or in a worker are done with it.
 */
static void fs_task_free(struct rcu_head *head)
{
	struct fs_task *t = container_of(head, struct fs_task, rcu);

	put_pid(t->pid);
	free_cpumask_var(t->saved);
	kfree(t);
}

static void fs_task_put(struct fs_task *t)
{
	mutex_lock(&fs_tasks_lock);
	if (--t->users == 0) {
		fs_task_unbind(t);
		hash_del(&t->node);
		call_rcu(&t->rcu, fs_task_free);
	}
	mutex_unlock(&fs_tasks_lock);
}

/* Bind current to the CPU of its record. Return: whether it now is. */
static bool fs_task_bind(struct fs_task *t, int cpu)
{
	bool ok;

	mutex_lock(&fs_tasks_lock);
	if (!fs_bound_by_us(t))
		cpumask_copy(t->saved, current->cpus_ptr);
	ok = !set_cpus_allowed_ptr(current, cpumask_of(cpu));
	if (ok) {
		t->cpu = cpu;
		t->bound_to = cpu;
	}
	mutex_unlock(&fs_tasks_lock);
	return ok;
}

/*
 * The calling task's worker. It stays: only fs_release(), for which our caller's
 * reference on the file is in the way, removes workers that are alive.
 */
static struct fs_worker *fs_worker_find(const struct fs_listener *ls)
{
	const struct pid *pid = task_pid(current);
	struct fs_worker *w;

	rcu_read_lock();
	hash_for_each_possible_rcu(ls->workers, w, node, fs_key(pid))
		if (w->pid == pid)
			break;
	rcu_read_unlock();
	return w;
}

/* Remove a worker; holds ls->lock. */
static void fs_worker_drop(struct fs_listener *ls, struct fs_worker *w)
{
	hash_del_rcu(&w->node);
	hlist_del_rcu(&w->on_clone);
	WRITE_ONCE(w->clone->nworkers, w->clone->nworkers - 1);
	WRITE_ONCE(ls->nworkers, ls->nworkers - 1);
	if (w->clone->lastpid == w->pid)
		WRITE_ONCE(w->clone->lastpid, NULL);
	fs_task_put(w->task);
	kfree_rcu(w, rcu);
}

static void fs_workers_drop_if(struct fs_listener *ls, bool dead_only)
{
	struct hlist_node *tmp;
	struct fs_worker *w;
	int i;

	hash_for_each_safe(ls->workers, i, tmp, w, node)
		if (!dead_only || !fs_pid_alive(w->pid))
			fs_worker_drop(ls, w);
}

/**
 * fs_workers_drop() - forget all workers and give them their CPUs back
 * @ls: the listener; holds ls->lock
 */
void fs_workers_drop(struct fs_listener *ls)
{
	fs_workers_drop_if(ls, false);
}

/* Make current a worker of @ls on @cpu (-1: any); holds ls->lock, and that of its group. */
static struct fs_worker *fs_worker_add(struct fs_listener *ls, int cpu)
{
	struct fs_worker *w;
	struct fs_clone *c;

	fs_workers_drop_if(ls, true);
	if (ls->nworkers >= FS_MAX_WORKERS)
		return ERR_PTR(-EUSERS);
	w = kzalloc(sizeof(*w), GFP_KERNEL_ACCOUNT);
	if (!w)
		return ERR_PTR(-ENOMEM);
	w->task = fs_task_get(ls, cpu);
	if (!w->task) {
		kfree(w);
		return ERR_PTR(-ENOMEM);
	}
	c = w->task->cpu >= 0 ? fs_clone_get(ls, w->task->cpu) : ERR_PTR(-EINVAL);
	if (IS_ERR(c)) {
		fs_task_put(w->task);
		kfree(w);
		return ERR_CAST(c);
	}
	w->pid = w->task->pid;
	w->clone = c;
	w->retry = jiffies;
	hash_add_rcu(ls->workers, &w->node, fs_key(w->pid));
	hlist_add_head_rcu(&w->on_clone, &c->workers);
	WRITE_ONCE(c->joined, atomic_long_inc_return(&fs_joins));
	WRITE_ONCE(c->nworkers, c->nworkers + 1);
	WRITE_ONCE(ls->nworkers, ls->nworkers + 1);
	return w;
}

/* The same; holds ls->lock. */
static struct fs_worker *fs_worker_new(struct fs_listener *ls, int cpu)
{
	bool grouped = fs_group_join(ls);
	struct fs_worker *w = fs_worker_add(ls, cpu);

	if (grouped)
		fs_group_joined();
	return w;
}

/*
 * Does current, which is in accept(), wait for @c in epoll, whose entry is in the
 * wait queue also while current runs? With several workers all must be in the
 * queue for that: those of poll() and accept() are there only while they sleep.
 */
static bool fs_waits_in_epoll(const struct fs_clone *c)
{
	struct wait_queue_head *wq = &c->sock->wq.wait;
	struct wait_queue_entry *e;
	unsigned int n = 0;

	if (likely(READ_ONCE(c->nworkers) < 2))
		return waitqueue_active(wq);	/* no barrier: a hint */
	spin_lock_irq(&wq->lock);
	list_for_each_entry(e, &wq->head, entry)
		n++;
	spin_unlock_irq(&wq->lock);
	return n >= READ_ONCE(c->nworkers);
}

/* Let SYNs come, now that a worker of @c is here and runs where it should. */
static void fs_clone_enliven(struct fs_clone *c)
{
	unsigned long now = jiffies;

	if (READ_ONCE(c->lastpid) != task_pid(current))
		WRITE_ONCE(c->lastpid, task_pid(current));
	if (READ_ONCE(c->last) != now)
		WRITE_ONCE(c->last, now);
	if (!READ_ONCE(c->live) && !READ_ONCE(c->shared) && !c->stopped)
		WRITE_ONCE(c->live, true);
	if (rcu_access_pointer(c->ls->group))
		fs_group_offer(c);
}

/* Move a clone to another CPU with its only worker; holds ls->lock. */
static bool fs_clone_move(struct fs_clone *c, int cpu)
{
	if (c->nworkers != 1 || fs_slot(c->ls, cpu))
		return false;
	fs_clone_unpublish(c);
	WRITE_ONCE(c->cpu, cpu);
	fs_clone_publish(c);
	return true;
}

/*
 * See that current, worker @w, is allowed on its clone's CPU alone, by binding
 * it or by moving the clone. Process context, may sleep. Return: whether it is.
 */
static bool fs_worker_settle(struct fs_listener *ls, struct fs_worker *w)
{
	const struct cpumask *allowed = fs_allowed(w->task);
	struct fs_clone *c = w->clone;
	int cpu = fs_pinned_cpu();
	bool ok = false;

	if (cpu >= 0 && cpu == READ_ONCE(c->cpu))
		return true;
	if (READ_ONCE(c->shared) || time_before(jiffies, w->retry))
		return false;
	mutex_lock(&ls->lock);
	if (cpu >= 0 && !fs_bound_by_us(w->task)) {
		ok = fs_clone_move(c, cpu);
	} else if (READ_ONCE(fs_spawn_mode) == FS_SPAWN_BIND) {
		fs_workers_drop_if(ls, true);
		if (!fs_may_use(allowed, c->cpu)) {
			cpu = fs_choose_cpu(ls, allowed);
			if (cpu >= 0)
				fs_clone_move(c, cpu);
		}
		ok = fs_has_company(ls) && c->usable && fs_may_use(allowed, c->cpu) &&
		     fs_task_bind(w->task, c->cpu);
	}
	w->retry = jiffies + (ok ? 0 : msecs_to_jiffies(FS_RETRY_MS));
	mutex_unlock(&ls->lock);
	return ok;
}

/**
 * fs_clone_accepting() - a worker of @c has called accept(): note how it waits
 * @c: the clone
 *
 * Not told from inside poll(), whose own entries are in the queue until it ends.
 */
void fs_clone_accepting(struct fs_clone *c)
{
	bool persistent = fs_waits_in_epoll(c);

	if (READ_ONCE(c->persistent) != persistent)
		WRITE_ONCE(c->persistent, persistent);
}

/**
 * fs_worker_clone() - the clone of the calling task
 * @ls: the listener
 *
 * Process context, may sleep; the caller holds a reference on the listener's
 * file. Also what tells us that the worker is alive and where it runs.
 *
 * Return: the clone, NULL when the task is no worker.
 */
struct fs_clone *fs_worker_clone(struct fs_listener *ls)
{
	struct fs_worker *w;
	struct fs_clone *c;

	rcu_read_lock();
	c = rcu_dereference(ls->slot[raw_smp_processor_id()]);
	if (likely(c && READ_ONCE(c->lastpid) == task_pid(current) && READ_ONCE(c->live) &&
		   current->nr_cpus_allowed == 1)) {
		rcu_read_unlock();
		fs_clone_enliven(c);
		return c;
	}
	rcu_read_unlock();
	w = fs_worker_find(ls);
	if (!w)
		return NULL;
	if (fs_worker_settle(ls, w))
		fs_clone_enliven(w->clone);
	return w->clone;
}

/*
 * Might the task that attached @ls set the affinity of current? As
 * check_same_owner() and CAP_SYS_NICE in sched_setaffinity(): a listener that
 * came from another user by SCM_RIGHTS must not bind who polls it.
 */
static bool fs_attacher_may_bind(const struct fs_listener *ls)
{
	struct user_namespace *ns = current_user_ns();
	const struct cred *old;
	bool ok;

	if (uid_eq(ls->cred->euid, current_euid()) || uid_eq(ls->cred->euid, current_uid()))
		return true;
	old = override_creds(ls->cred);
	ok = ns_capable_noaudit(ns, CAP_SYS_NICE);
	revert_creds(old);
	return ok;
}

static bool fs_may_be_worker(void)
{
	unsigned int mode = READ_ONCE(fs_spawn_mode);

	if (current->flags & (PF_KTHREAD | PF_IO_WORKER | PF_EXITING))
		return false;
	return mode == FS_SPAWN_BIND || (mode == FS_SPAWN_PINNED && fs_pinned_cpu() >= 0);
}

/**
 * fs_worker_join() - make the calling task a worker if it may be one
 * @ls: the listener
 *
 * Called where the task is about to wait for connections. Process context, may
 * sleep.
 *
 * Return: its clone, NULL when it has to take the plain kernel's path.
 */
struct fs_clone *fs_worker_join(struct fs_listener *ls)
{
	struct fs_clone *c = fs_worker_clone(ls);
	struct fs_worker *w;

	if (c) {
		/* It polls by itself again: whatever shared its epoll is past. */
		if (READ_ONCE(c->shared)) {
			WRITE_ONCE(c->stolen, 0);
			WRITE_ONCE(c->shared, false);
		}
		return c;
	}
	if (!fs_may_be_worker() || !fs_attacher_may_bind(ls))
		return NULL;
	mutex_lock(&ls->lock);
	w = ls->dead ? ERR_PTR(-EINVAL) : fs_worker_new(ls, -1);
	mutex_unlock(&ls->lock);
	if (IS_ERR(w))
		return NULL;
	/* Pinned tasks are where they should be; others are bound when they wake. */
	if (fs_pinned_cpu() == READ_ONCE(w->clone->cpu))
		fs_clone_enliven(w->clone);
	else if (fs_has_company(ls))
		fs_clone_settle_soon(w->clone);
	return w->clone;
}

/**
 * fs_worker_spawn() - make the calling task a worker on a CPU of its choice
 * @ls: the listener
 * @cpu: the CPU, -1: choose one
 *
 * The explicit form (FSOCKET_IOC_SPAWN_LISTEN). Process context, may sleep.
 *
 * Return: 0; -EOPNOTSUPP: switched off; -EINVAL: no such CPU, offline, not
 * allowed for the task, or mode 1 and the task is not bound to one CPU; -EBUSY:
 * the task already waits on another CPU's clone; -EUSERS: too many workers; -ENOMEM;
 * -ENFILE, -ENOBUFS: no memory for a socket, as socket(2) says it.
 */
int fs_worker_spawn(struct fs_listener *ls, int cpu)
{
	unsigned int mode = READ_ONCE(fs_spawn_mode);
	struct fs_worker *w;
	int err = 0;

	if (mode == FS_SPAWN_OFF)
		return -EOPNOTSUPP;
	if (cpu < -1 || cpu >= (int)nr_cpu_ids || (cpu >= 0 && !fs_may_use(current->cpus_ptr, cpu)))
		return -EINVAL;
	if (!fs_may_be_worker()) {
		pr_notice_ratelimited("enable_listen_spawn=1: bind %s to one CPU before SPAWN_LISTEN\n",
				      current->comm);
		return -EINVAL;
	}
	mutex_lock(&ls->lock);
	w = fs_worker_find(ls);
	if (!w)
		w = fs_worker_new(ls, cpu);
	if (IS_ERR(w))
		err = PTR_ERR(w);
	else if (cpu >= 0 && w->clone->cpu != cpu && !fs_clone_move(w->clone, cpu))
		err = -EBUSY;
	else if (fs_pinned_cpu() != w->clone->cpu &&
		 (!fs_may_use(fs_allowed(w->task), w->clone->cpu) ||
		  !fs_task_bind(w->task, w->clone->cpu)))
		err = -EINVAL;
	else
		fs_clone_enliven(w->clone);
	mutex_unlock(&ls->lock);
	return err;
}

/**
 * fs_clone_stolen() - a task that is no worker has accepted from a clone
 * @c: the clone
 *
 * When that goes on, several tasks share its poll entry, and locality is not
 * theirs to have: no more SYNs for it, and its workers get their CPUs back.
 * Process context, may sleep.
 */
void fs_clone_stolen(struct fs_clone *c)
{
	struct fs_worker *w;

	WRITE_ONCE(c->stolen, c->stolen + 2);
	if (c->stolen < FS_SHARED_AFTER || READ_ONCE(c->shared))
		return;
	mutex_lock(&c->ls->lock);
	WRITE_ONCE(c->shared, true);
	WRITE_ONCE(c->live, false);
	hlist_for_each_entry(w, &c->workers, on_clone) {
		mutex_lock(&fs_tasks_lock);
		fs_task_unbind(w->task);
		mutex_unlock(&fs_tasks_lock);
	}
	mutex_unlock(&c->ls->lock);
}
