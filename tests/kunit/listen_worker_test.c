// SPDX-License-Identifier: GPL-2.0
/*
 * Cases for listen_worker.c
 *
 * A case runs in a kthread. Most functions do not ask what current is; those
 * that do get a user task.
 */
#include "../../listen_worker.c"

#include <linux/cpu.h>
#include <linux/module.h>

#include "kunit_util.h"

/* Too big for a stack where there are thousands of CPUs. */
static struct cpumask fsk_mask, fsk_before;

static void fsk_worker_exit(struct kunit *test)
{
	fsk_exit(test);
	KUNIT_EXPECT_TRUE(test, hash_empty(fs_tasks));
}

static const struct cpumask *fsk_cpus(int a, int b)
{
	cpumask_clear(&fsk_mask);
	cpumask_set_cpu(a, &fsk_mask);
	cpumask_set_cpu(b, &fsk_mask);
	return &fsk_mask;
}

static void fsk_allow(struct kunit *test, const struct cpumask *mask)
{
	KUNIT_EXPECT_EQ(test, set_cpus_allowed_ptr(current, mask), 0);
}

static int fsk_choose(struct fs_listener *ls, const struct cpumask *mask)
{
	return fsk_locked(ls, fs_choose_cpu(ls, mask));
}

/* All kthreads have it in common. */
static struct pid *fsk_parent(void)
{
	return task_pid(rcu_dereference_raw(current->real_parent));
}

/* A record as fs_task_get() makes it, without a listener. */
static struct fs_task *fsk_task(struct kunit *test)
{
	struct fs_task *t;

	mutex_lock(&fs_tasks_lock);
	t = fs_task_new();
	if (t)
		t->users++;
	mutex_unlock(&fs_tasks_lock);
	KUNIT_ASSERT_NOT_NULL(test, t);
	return t;
}

/* Make the case's thread a worker. */
static struct fs_worker *fsk_worker(struct kunit *test, struct fs_listener *ls, int cpu)
{
	struct fs_worker *w = fsk_locked(ls, fs_worker_new(ls, cpu));

	KUNIT_ASSERT_FALSE(test, IS_ERR(w));
	return w;
}

static void fsk_drop(struct fs_listener *ls, struct fs_worker *w)
{
	fsk_locked_void(ls, fs_worker_drop(ls, w));
}

/* A user task that becomes a worker on @cpu and stays until it is told to go. */
struct fsk_staying {
	struct fsk_user user;
	struct fs_listener *ls;
	int cpu, err;
	struct completion joined, go;
};

static void fsk_stay(struct kunit *test, void *arg)
{
	struct fsk_staying *s = arg;

	s->err = fs_worker_spawn(s->ls, s->cpu);
	complete(&s->joined);
	wait_for_completion(&s->go);
}

static void fsk_staying_start(struct kunit *test, struct fsk_staying *s, struct fs_listener *ls,
			      int cpu)
{
	s->ls = ls;
	s->cpu = cpu;
	init_completion(&s->joined);
	init_completion(&s->go);
	fsk_user_start(test, &s->user, fsk_stay, s);
	wait_for_completion(&s->joined);
	KUNIT_EXPECT_EQ(test, s->err, 0);
}

static void fsk_staying_end(struct kunit *test, struct fsk_staying *s)
{
	complete(&s->go);
	fsk_user_wait(test, &s->user);
}

/* ---- CPUs ---- */

static void fsk_nothing(struct kunit *test, void *unused)
{
}

static void fs_pid_alive__until_the_task_is_gone(struct kunit *test)
{
	struct fsk_user u;
	struct pid *pid;

	KUNIT_EXPECT_TRUE(test, fs_pid_alive(task_pid(current)));
	fsk_user_start(test, &u, fsk_nothing, NULL);
	pid = get_pid(u.pid);
	fsk_user_wait(test, &u);
	KUNIT_EXPECT_FALSE(test, fs_pid_alive(pid));
	put_pid(pid);
}

static void fs_pinned_cpu__if_there_is_just_one(struct kunit *test)
{
	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	fsk_allow(test, fsk_cpus(0, 1));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	fsk_allow(test, cpumask_of(1));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 1);
	fsk_allow(test, cpumask_of(0));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 0);
}

static void fs_may_use__online_and_in_the_mask(struct kunit *test)
{
	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_TRUE(test, fs_may_use(cpumask_of(1), 1));
	KUNIT_EXPECT_FALSE(test, fs_may_use(cpumask_of(1), 0));
	KUNIT_EXPECT_FALSE(test, fs_may_use(cpu_none_mask, 0));
	KUNIT_EXPECT_TRUE(test, fs_may_use(cpu_all_mask, 0));
}

static void fs_bound_by_us__if_it_still_is_where_we_put_it(struct kunit *test)
{
	struct fs_task t = { .bound_to = -1 };

	fsk_need_cpus(test, 2);
	/* -1 is no CPU, although fs_pinned_cpu() says -1, too. */
	KUNIT_EXPECT_FALSE(test, fs_bound_by_us(&t));
	fsk_allow(test, cpumask_of(1));
	KUNIT_EXPECT_FALSE(test, fs_bound_by_us(&t));
	t.bound_to = 1;
	KUNIT_EXPECT_TRUE(test, fs_bound_by_us(&t));
	fsk_allow(test, cpumask_of(0));
	KUNIT_EXPECT_FALSE(test, fs_bound_by_us(&t));
}

static void fs_allowed__what_it_had_before_us(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);

	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_PTR_EQ(test, fs_allowed(t), current->cpus_ptr);
	cpumask_copy(&fsk_before, current->cpus_ptr);
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	KUNIT_EXPECT_PTR_EQ(test, fs_allowed(t), (const struct cpumask *)t->saved);
	KUNIT_EXPECT_TRUE(test, cpumask_equal(fs_allowed(t), &fsk_before));
	fs_task_put(t);
}

static void fs_choose_cpu__fewest_workers_lowest_first(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_clone *c[4];
	int cpu;

	fsk_need_cpus(test, 4);
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 0);
	for (cpu = 0; cpu < 4; cpu++)
		c[cpu] = fsk_clone(test, ls, cpu);
	/* A clone without a worker is as good as none. */
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 0);
	c[0]->nworkers = 1;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 1);
	for (cpu = 0; cpu < num_online_cpus() && cpu < 4; cpu++)
		c[cpu]->nworkers = 3;
	c[2]->nworkers = 2;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(2, 3)), 2);
	c[3]->nworkers = 1;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(2, 3)), 3);
	c[2]->nworkers = 1;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(2, 3)), 2);
	c[1]->nworkers = UINT_MAX - 1;
	c[0]->nworkers = UINT_MAX - 1;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(0, 1)), 0);
	for (cpu = 0; cpu < 4; cpu++)
		c[cpu]->nworkers = 0;
}

/* A worker that is replaced while others are new already: not next to a new one. */
static void fs_choose_cpu__of_equals_the_one_joined_first(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_clone *c[4];
	int cpu;

	fsk_need_cpus(test, 4);
	for (cpu = 0; cpu < 4; cpu++) {
		c[cpu] = fsk_clone(test, ls, cpu);
		c[cpu]->nworkers = 1;
		c[cpu]->joined = 10 + cpu;
	}
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 0);
	c[0]->joined = 20;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 1);
	c[3]->joined = 5;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 3);
	c[3]->nworkers = 2;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_all_mask), 1);
	for (cpu = 0; cpu < 4; cpu++)
		c[cpu]->nworkers = 0;
}

static void fs_choose_cpu__only_within_the_mask(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	int cpu;

	for_each_online_cpu(cpu)
		KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpumask_of(cpu)), cpu);
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpu_none_mask), -1);
}

static void fs_choose_cpu__never_one_that_is_offline(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	fsk_need_cpus(test, 4);
	fsk_on_cpu(test, 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, cpumask_of(3)), -1);
	fsk_locked(ls, fs_clone_get(ls, 2))->nworkers = 7;
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(2, 3)), 2);
	KUNIT_EXPECT_FALSE(test, fs_may_use(cpumask_of(3), 3));
	KUNIT_EXPECT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, fsk_choose(ls, fsk_cpus(2, 3)), 3);
	fsk_clone(test, ls, 2)->nworkers = 0;
}

/* ---- records of tasks ---- */

static void fs_task_find__by_pid(struct kunit *test)
{
	struct fs_task *t;

	KUNIT_EXPECT_NULL(test, fs_task_find(task_pid(current)));
	t = fsk_task(test);
	KUNIT_EXPECT_PTR_EQ(test, fs_task_find(task_pid(current)), t);
	KUNIT_EXPECT_NULL(test, fs_task_find(fsk_parent()));
	fs_task_put(t);
	KUNIT_EXPECT_NULL(test, fs_task_find(task_pid(current)));
}

static void fs_task_new__holds_the_pid_and_no_cpu(struct kunit *test)
{
	unsigned int refs = refcount_read(&task_pid(current)->count);
	struct fs_task *t = fsk_task(test);

	KUNIT_EXPECT_PTR_EQ(test, t->pid, task_pid(current));
	KUNIT_EXPECT_EQ(test, refcount_read(&task_pid(current)->count), refs + 1);
	KUNIT_EXPECT_EQ(test, t->cpu, -1);
	KUNIT_EXPECT_EQ(test, t->bound_to, -1);
	fs_task_put(t);
	rcu_barrier();
	KUNIT_EXPECT_EQ(test, refcount_read(&task_pid(current)->count), refs);
}

/* @o, bound to CPU 1 and free on 0 and 1 before, as the record of @pid. */
static void fsk_record(struct kunit *test, struct fs_task *o, struct pid *pid)
{
	memset(o, 0, sizeof(*o));
	KUNIT_ASSERT_TRUE(test, zalloc_cpumask_var(&o->saved, GFP_KERNEL));
	cpumask_copy(o->saved, fsk_cpus(0, 1));
	o->pid = pid;
	o->bound_to = 1;
	hash_add(fs_tasks, &o->node, fs_key(pid));
}

static int fsk_inherited(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);
	int bound_to = t->bound_to;

	if (bound_to >= 0)
		KUNIT_EXPECT_TRUE(test, cpumask_equal(t->saved, fsk_cpus(0, 1)));
	t->bound_to = -1;
	fs_task_put(t);
	return bound_to;
}

static void fs_task_inherit__from_a_bound_parent(struct kunit *test)
{
	struct fs_task o;

	fsk_need_cpus(test, 2);
	fsk_record(test, &o, fsk_parent());
	KUNIT_EXPECT_EQ(test, fsk_inherited(test), -1);
	fsk_on_cpu(test, 0);
	KUNIT_EXPECT_EQ(test, fsk_inherited(test), -1);
	fsk_on_cpu(test, 1);
	KUNIT_EXPECT_EQ(test, fsk_inherited(test), 1);
	o.bound_to = -1;
	KUNIT_EXPECT_EQ(test, fsk_inherited(test), -1);
	hash_del(&o.node);
	free_cpumask_var(o.saved);
}

static void fsk_idle(void *unused)
{
	while (!fsk_stopping())
		fsk_nap();
}

static void fs_task_inherit__not_from_strangers(struct kunit *test)
{
	struct fsk_threads t = {};
	struct fs_task o;

	fsk_need_cpus(test, 2);
	fsk_thread(test, &t, 1, fsk_idle, NULL);
	fsk_record(test, &o, task_pid(t.task[0]));
	fsk_on_cpu(test, 1);
	KUNIT_EXPECT_EQ(test, fsk_inherited(test), -1);
	hash_del(&o.node);
	free_cpumask_var(o.saved);
	fsk_threads_stop(&t);
}

static void fs_task_get__wanted_pinned_known_best(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_task *t, *again;

	fsk_need_cpus(test, 4);
	fsk_clone(test, ls, 0)->nworkers = 1;
	/* The best for the listener. */
	t = fsk_locked(ls, fs_task_get(ls, -1));
	KUNIT_ASSERT_NOT_NULL(test, t);
	KUNIT_EXPECT_EQ(test, t->cpu, 1);
	KUNIT_EXPECT_EQ(test, t->users, 1);
	/* What it has because of another listener. */
	fsk_clone(test, ls, 1)->nworkers = 9;
	again = fsk_locked(ls, fs_task_get(ls, -1));
	KUNIT_EXPECT_PTR_EQ(test, again, t);
	KUNIT_EXPECT_EQ(test, t->cpu, 1);
	KUNIT_EXPECT_EQ(test, t->users, 2);
	/* Not allowed there any more. */
	fsk_allow(test, fsk_cpus(0, 2));
	fsk_locked(ls, fs_task_get(ls, -1));
	KUNIT_EXPECT_EQ(test, t->cpu, 2);
	/* The user has pinned it. */
	fsk_allow(test, cpumask_of(0));
	fsk_locked(ls, fs_task_get(ls, -1));
	KUNIT_EXPECT_EQ(test, t->cpu, 0);
	/* The caller's choice comes before all. */
	fsk_locked(ls, fs_task_get(ls, 3));
	KUNIT_EXPECT_EQ(test, t->cpu, 3);
	KUNIT_EXPECT_EQ(test, t->users, 5);
	while (t->users > 1)
		fs_task_put(t);
	KUNIT_EXPECT_PTR_EQ(test, fs_task_find(task_pid(current)), t);
	fs_task_put(t);
	fsk_clone(test, ls, 0)->nworkers = 0;
	fsk_clone(test, ls, 1)->nworkers = 0;
}

static void fs_task_get__bound_by_us_is_not_pinned(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_task *t = fsk_task(test);

	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	t->cpu = 0;
	fsk_locked(ls, fs_task_get(ls, -1));
	KUNIT_EXPECT_EQ(test, t->cpu, 0);
	fs_task_put(t);
	fs_task_put(t);
}

static void fs_task_bind__and_unbind_gives_the_cpus_back(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);

	fsk_need_cpus(test, 4);
	fsk_allow(test, fsk_cpus(1, 3));
	cpumask_copy(&fsk_before, current->cpus_ptr);
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 3));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 3);
	KUNIT_EXPECT_EQ(test, raw_smp_processor_id(), 3);
	KUNIT_EXPECT_EQ(test, t->bound_to, 3);
	KUNIT_EXPECT_EQ(test, t->cpu, 3);
	/* Once more: what was saved is from before the first time. */
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 1);
	mutex_lock(&fs_tasks_lock);
	fs_task_unbind(t);
	mutex_unlock(&fs_tasks_lock);
	KUNIT_EXPECT_EQ(test, t->bound_to, -1);
	KUNIT_EXPECT_TRUE(test, cpumask_equal(current->cpus_ptr, &fsk_before));
	fs_task_put(t);
	KUNIT_EXPECT_TRUE(test, cpumask_equal(current->cpus_ptr, &fsk_before));
}

static void fs_task_unbind__leaves_what_the_user_has_changed(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);

	fsk_need_cpus(test, 4);
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	fsk_allow(test, cpumask_of(2));
	fs_task_put(t);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 2);
	t = fsk_task(test);
	fsk_allow(test, fsk_cpus(0, 1));
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	fsk_allow(test, fsk_cpus(1, 2));
	fs_task_put(t);
	KUNIT_EXPECT_TRUE(test, cpumask_equal(current->cpus_ptr, fsk_cpus(1, 2)));
}

static void fs_task_unbind__of_a_dead_task_is_nothing(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);
	struct pid *own = t->pid;
	struct fsk_user u;

	fsk_user_start(test, &u, fsk_nothing, NULL);
	t->pid = get_pid(u.pid);
	fsk_user_wait(test, &u);
	t->bound_to = 0;
	mutex_lock(&fs_tasks_lock);
	fs_task_unbind(t);
	mutex_unlock(&fs_tasks_lock);
	KUNIT_EXPECT_EQ(test, t->bound_to, -1);
	put_pid(t->pid);
	t->pid = own;
	fs_task_put(t);
}

static void fs_task_put__at_the_last_user(struct kunit *test)
{
	struct fs_task *t = fsk_task(test);

	fsk_need_cpus(test, 2);
	t->users++;
	KUNIT_EXPECT_TRUE(test, fs_task_bind(t, 1));
	fs_task_put(t);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 1);
	KUNIT_EXPECT_PTR_EQ(test, fs_task_find(task_pid(current)), t);
	fs_task_put(t);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	KUNIT_EXPECT_NULL(test, fs_task_find(task_pid(current)));
}

/* ---- tables of workers ---- */

static void fs_worker_find__current_alone(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_listener *other = fsk_attached(test, AF_INET, 4);
	struct fsk_staying s;
	struct fs_worker *w;

	fsk_staying_start(test, &s, ls, 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	KUNIT_EXPECT_NULL(test, fs_worker_find(ls));
	w = fsk_worker(test, ls, 1);
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_find(ls), w);
	KUNIT_EXPECT_NULL(test, fs_worker_find(other));
	fsk_drop(ls, w);
	KUNIT_EXPECT_NULL(test, fs_worker_find(ls));
	fsk_staying_end(test, &s);
}

static void fs_worker_drop__undoes_what_new_did(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, 0);
	struct fs_clone *c = w->clone;

	KUNIT_EXPECT_EQ(test, c->cpu, 0);
	KUNIT_EXPECT_EQ(test, c->nworkers, 1);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	KUNIT_EXPECT_PTR_EQ(test, w->pid, task_pid(current));
	KUNIT_EXPECT_PTR_EQ(test, w->pid, w->task->pid);
	KUNIT_EXPECT_PTR_EQ(test, c->workers.first, &w->on_clone);
	c->lastpid = w->pid;
	fsk_drop(ls, w);
	KUNIT_EXPECT_EQ(test, c->nworkers, 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
	KUNIT_EXPECT_NULL(test, c->lastpid);
	KUNIT_EXPECT_TRUE(test, hlist_empty(&c->workers));
	KUNIT_EXPECT_TRUE(test, hash_empty(ls->workers));
	KUNIT_EXPECT_TRUE(test, hash_empty(fs_tasks));
	/* The clone stays: its poll entries may. */
	KUNIT_EXPECT_EQ(test, ls->nclones, 1);
}

static void fs_worker_drop__leaves_another_s_lastpid(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, 0);
	struct fs_clone *c = w->clone;

	c->lastpid = fsk_parent();
	fsk_drop(ls, w);
	KUNIT_EXPECT_PTR_EQ(test, c->lastpid, fsk_parent());
	c->lastpid = NULL;
}

static void fs_workers_drop_if__the_dead_only(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fsk_staying s[3];
	struct fs_worker *w;
	unsigned int i;

	fsk_need_cpus(test, 3);
	for (i = 0; i < 3; i++)
		fsk_staying_start(test, &s[i], ls, i);
	w = fsk_worker(test, ls, 0);
	fsk_staying_end(test, &s[1]);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 4);
	fsk_locked_void(ls, fs_workers_drop_if(ls, true));
	KUNIT_EXPECT_EQ(test, ls->nworkers, 3);
	KUNIT_EXPECT_EQ(test, fsk_clone(test, ls, 0)->nworkers, 2);
	KUNIT_EXPECT_EQ(test, fsk_clone(test, ls, 1)->nworkers, 0);
	KUNIT_EXPECT_EQ(test, fsk_clone(test, ls, 2)->nworkers, 1);
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_find(ls), w);
	fsk_locked_void(ls, fs_workers_drop(ls));
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
	KUNIT_EXPECT_TRUE(test, hash_empty(ls->workers));
	fsk_staying_end(test, &s[0]);
	fsk_staying_end(test, &s[2]);
}

static void fs_worker_new__makes_room_by_dropping_the_dead(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fsk_staying s;

	fsk_staying_start(test, &s, ls, 0);
	fsk_staying_end(test, &s);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	fsk_worker(test, ls, 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_find(ls)->clone, fsk_clone(test, ls, 0));
}

static void fs_worker_new__no_more_than_the_bound(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	ls->nworkers = FS_MAX_WORKERS;
	KUNIT_EXPECT_EQ(test, PTR_ERR(fsk_locked(ls, fs_worker_new(ls, 0))), -EUSERS);
	KUNIT_EXPECT_NULL(test, fs_worker_find(ls));
	KUNIT_EXPECT_TRUE(test, hash_empty(fs_tasks));
	ls->nworkers = FS_MAX_WORKERS - 1;
	fsk_worker(test, ls, 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, FS_MAX_WORKERS);
	ls->nworkers = 1;
}

static void fs_worker_new__without_a_cpu_leaves_nothing(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_task *t = fsk_task(test);

	/* As if all CPUs it had before we bound it were offline. */
	fsk_on_cpu(test, 0);
	t->bound_to = 0;
	cpumask_clear(t->saved);
	KUNIT_EXPECT_EQ(test, PTR_ERR(fsk_locked(ls, fs_worker_new(ls, -1))), -EINVAL);
	KUNIT_EXPECT_EQ(test, t->users, 1);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
	KUNIT_EXPECT_EQ(test, ls->nclones, 0);
	t->bound_to = -1;
	fs_task_put(t);
}

static void fs_worker_new__one_record_for_two_listeners(struct kunit *test)
{
	struct fs_listener *a = fsk_attached(test, AF_INET, 4), *b = fsk_attached(test, AF_INET, 4);
	struct fs_worker *v = fsk_worker(test, a, 1), *w = fsk_worker(test, b, -1);

	KUNIT_EXPECT_PTR_EQ(test, v->task, w->task);
	KUNIT_EXPECT_EQ(test, v->task->users, 2);
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 1);
	fsk_drop(a, v);
	KUNIT_EXPECT_EQ(test, w->task->users, 1);
}

/* ---- what a worker that comes by does ---- */

static void fs_waits_in_epoll__all_workers_must_be_there(struct kunit *test)
{
	struct fs_clone *c = fsk_clone(test, fsk_attached(test, AF_INET, 4), 0);
	struct wait_queue_entry a, b;

	init_waitqueue_entry(&a, current);
	init_waitqueue_entry(&b, current);
	c->nworkers = 1;
	KUNIT_EXPECT_FALSE(test, fs_waits_in_epoll(c));
	add_wait_queue(&c->sock->wq.wait, &a);
	KUNIT_EXPECT_TRUE(test, fs_waits_in_epoll(c));
	fs_clone_accepting(c);
	KUNIT_EXPECT_TRUE(test, c->persistent);
	c->nworkers = 2;
	KUNIT_EXPECT_FALSE(test, fs_waits_in_epoll(c));
	fs_clone_accepting(c);
	KUNIT_EXPECT_FALSE(test, c->persistent);
	add_wait_queue(&c->sock->wq.wait, &b);
	KUNIT_EXPECT_TRUE(test, fs_waits_in_epoll(c));
	remove_wait_queue(&c->sock->wq.wait, &a);
	remove_wait_queue(&c->sock->wq.wait, &b);
	KUNIT_EXPECT_FALSE(test, fs_waits_in_epoll(c));
	c->nworkers = 0;
}

static void fs_clone_enliven__unless_shared_or_stopped(struct kunit *test)
{
	struct fs_clone *c = fsk_clone(test, fsk_attached(test, AF_INET, 4), 0);

	c->last = jiffies - 1000;
	c->shared = true;
	fs_clone_enliven(c);
	KUNIT_EXPECT_FALSE(test, c->live);
	KUNIT_EXPECT_PTR_EQ(test, c->lastpid, task_pid(current));
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, c->last + 1000));
	c->shared = false;
	c->stopped = true;
	fs_clone_enliven(c);
	KUNIT_EXPECT_FALSE(test, c->live);
	c->stopped = false;
	fs_clone_enliven(c);
	KUNIT_EXPECT_TRUE(test, c->live);
	c->lastpid = NULL;
}

static void fs_clone_move__with_its_only_worker_to_a_free_slot(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, 0);
	struct fs_clone *c = w->clone, *two;

	fsk_need_cpus(test, 3);
	KUNIT_EXPECT_TRUE(test, fsk_locked(ls, fs_clone_move(c, 1)));
	KUNIT_EXPECT_EQ(test, c->cpu, 1);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(ls->slot[0]));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[1]), c);
	two = fsk_clone(test, ls, 2);
	KUNIT_EXPECT_FALSE(test, fsk_locked(ls, fs_clone_move(c, 2)));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[1]), c);
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(ls->slot[2]), two);
	c->nworkers = 2;
	KUNIT_EXPECT_FALSE(test, fsk_locked(ls, fs_clone_move(c, 0)));
	c->nworkers = 0;
	KUNIT_EXPECT_FALSE(test, fsk_locked(ls, fs_clone_move(c, 0)));
	c->nworkers = 1;
	KUNIT_EXPECT_EQ(test, c->cpu, 1);
}

struct fsk_move {
	struct fsk_tally tally;
	struct fs_listener *ls;
	struct fs_clone *c;
	atomic_t seen, wrong;
};

static void fsk_move_connect(void *arg)
{
	struct fsk_move *m = arg;

	while (!fsk_stopping()) {
		fsk_tally_connect(&m->tally);
		cond_resched();
	}
}

static void fsk_move_read(void *arg)
{
	struct fsk_move *m = arg;
	unsigned int turns = 0;
	struct fs_clone *c;
	int cpu;

	while (!fsk_stopping()) {
		rcu_read_lock();
		for (cpu = 0; cpu < 4; cpu++) {
			c = rcu_dereference(m->ls->slot[cpu]);
			if (!c)
				continue;
			atomic_inc(&m->seen);
			if (c != m->c || READ_ONCE(c->ls) != m->ls || READ_ONCE(c->cpu) > 3)
				atomic_inc(&m->wrong);
		}
		rcu_read_unlock();
		if (!(++turns % 64))
			fsk_nap();
		if (!(turns % 256))
			fsk_tally_accept(&m->tally, m->ls->sock);
	}
}

static void fs_clone_move__under_readers_and_connections(struct kunit *test)
{
	const unsigned long end = jiffies + msecs_to_jiffies(fsk_stress_ms);
	struct fsk_move m = { .ls = fsk_attached(test, AF_INET, 16384) };
	unsigned int moved = 0, slots = 0;
	struct fsk_threads t = {};
	struct rnd_state rnd;
	int cpu;

	fsk_need_cpus(test, 4);
	fsk_seed(test, &rnd);
	m.c = fsk_worker(test, m.ls, 0)->clone;
	fsk_clone_live(m.c);
	fsk_tally_init(test, &m.tally, m.ls->sock);
	fsk_thread(test, &t, 0, fsk_move_connect, &m);
	fsk_thread(test, &t, 1, fsk_move_connect, &m);
	fsk_thread(test, &t, 2, fsk_move_read, &m);
	fsk_on_cpu(test, 3);
	do {
		moved += fsk_locked(m.ls, fs_clone_move(m.c, fsk_rnd(&rnd, 4)));
		/* We take from it as a worker would not. */
		WRITE_ONCE(m.c->stolen, 0);
		WRITE_ONCE(m.c->shared, false);
		fsk_clone_live(m.c);
		if (!fsk_rnd(&rnd, 8))
			fsk_nap();
		cond_resched();
	} while (time_before(jiffies, end));
	fsk_threads_stop(&t);
	for (cpu = 0; cpu < 4; cpu++)
		slots += !!rcu_access_pointer(m.ls->slot[cpu]);
	KUNIT_EXPECT_EQ(test, slots, 1);
	kunit_info(test, "%u moves\n", moved);
	KUNIT_EXPECT_GT(test, moved, 0);
	KUNIT_EXPECT_GT(test, atomic_read(&m.seen), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&m.wrong), 0);
	fsk_tally_check(test, &m.tally, m.ls->sock);
}

static void fs_worker_settle__pinned_to_its_clone_s_cpu(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w;

	fsk_need_cpus(test, 2);
	fsk_on_cpu(test, 1);
	w = fsk_worker(test, ls, -1);
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 1);
	KUNIT_EXPECT_TRUE(test, fs_worker_settle(ls, w));
	KUNIT_EXPECT_EQ(test, w->task->bound_to, -1);
	/* The user moves it: the clone goes with it. */
	fsk_on_cpu(test, 0);
	KUNIT_EXPECT_TRUE(test, fs_worker_settle(ls, w));
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 0);
	KUNIT_EXPECT_EQ(test, w->task->bound_to, -1);
}

static void fs_worker_settle__not_the_only_worker(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, -1);
	struct fsk_staying s;

	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_FALSE(test, fs_worker_settle(ls, w));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	/* It rests for a while. */
	KUNIT_EXPECT_TRUE(test, time_after(w->retry, jiffies - HZ));
	fsk_staying_start(test, &s, ls, 1);
	w->retry = jiffies + 600 * HZ;
	KUNIT_EXPECT_FALSE(test, fs_worker_settle(ls, w));
	w->retry = jiffies;
	w->clone->shared = true;
	KUNIT_EXPECT_FALSE(test, fs_worker_settle(ls, w));
	w->clone->shared = false;
	w->clone->usable = false;
	KUNIT_EXPECT_FALSE(test, fs_worker_settle(ls, w));
	w->clone->usable = true;
	w->retry = jiffies;
	fs_spawn_mode = FS_SPAWN_PINNED;
	KUNIT_EXPECT_FALSE(test, fs_worker_settle(ls, w));
	fs_spawn_mode = FS_SPAWN_BIND;
	w->retry = jiffies;
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	KUNIT_EXPECT_TRUE(test, fs_worker_settle(ls, w));
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), w->clone->cpu);
	KUNIT_EXPECT_EQ(test, w->task->bound_to, w->clone->cpu);
	fsk_staying_end(test, &s);
}

static void fs_worker_settle__moves_to_what_is_allowed(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, 0);
	struct fsk_staying s;

	fsk_need_cpus(test, 4);
	fsk_staying_start(test, &s, ls, 2);
	fsk_allow(test, fsk_cpus(2, 3));
	KUNIT_EXPECT_TRUE(test, fs_worker_settle(ls, w));
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 3);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 3);
	fsk_drop(ls, w);
	KUNIT_EXPECT_TRUE(test, cpumask_equal(current->cpus_ptr, fsk_cpus(2, 3)));
	fsk_staying_end(test, &s);
}

static void fs_worker_clone__of_a_worker_and_of_others(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w;

	KUNIT_EXPECT_NULL(test, fs_worker_clone(ls));
	fsk_on_cpu(test, 0);
	w = fsk_worker(test, ls, -1);
	KUNIT_EXPECT_FALSE(test, w->clone->live);
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_clone(ls), w->clone);
	KUNIT_EXPECT_TRUE(test, w->clone->live);
	/* The short way tells as well that we came by. */
	w->clone->last = jiffies - 1000;
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_clone(ls), w->clone);
	KUNIT_EXPECT_TRUE(test, time_before(jiffies, w->clone->last + 1000));
}

static void fs_worker_clone__not_live_while_it_may_run_elsewhere(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w = fsk_worker(test, ls, 0);

	KUNIT_EXPECT_PTR_EQ(test, fs_worker_clone(ls), w->clone);
	KUNIT_EXPECT_FALSE(test, w->clone->live);
	KUNIT_EXPECT_NULL(test, w->clone->lastpid);
}

/* ---- who may ---- */

static bool fsk_may_bind(struct kunit *test, struct fs_listener *ls, uid_t euid, bool nice)
{
	const struct cred *old = ls->cred;
	struct cred *new = prepare_creds();
	bool ok;

	KUNIT_ASSERT_NOT_NULL(test, new);
	new->euid = KUIDT_INIT(euid);
	cap_clear(new->cap_effective);
	if (nice)
		cap_raise(new->cap_effective, CAP_SYS_NICE);
	ls->cred = new;
	ok = fs_attacher_may_bind(ls);
	ls->cred = old;
	put_cred(new);
	return ok;
}

static void fs_attacher_may_bind__as_sched_setaffinity_asks(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	const struct cred *old = current_cred();
	struct cred *mine = prepare_creds();

	KUNIT_ASSERT_NOT_NULL(test, mine);
	KUNIT_EXPECT_TRUE(test, fs_attacher_may_bind(ls));
	KUNIT_EXPECT_TRUE(test, fsk_may_bind(test, ls, 0, false));
	KUNIT_EXPECT_FALSE(test, fsk_may_bind(test, ls, 1000, false));
	KUNIT_EXPECT_TRUE(test, fsk_may_bind(test, ls, 1000, true));
	/* The real user counts as well. */
	mine->uid = KUIDT_INIT(1000);
	override_creds(mine);
	KUNIT_EXPECT_TRUE(test, fsk_may_bind(test, ls, 1000, false));
	KUNIT_EXPECT_FALSE(test, fsk_may_bind(test, ls, 1001, false));
	KUNIT_EXPECT_PTR_EQ(test, current_cred(), (const struct cred *)mine);
	revert_creds(old);
	put_cred(mine);
}

static void fsk_may_be_worker(struct kunit *test, void *unused)
{
	KUNIT_EXPECT_TRUE(test, fs_may_be_worker());
	fs_spawn_mode = FS_SPAWN_OFF;
	KUNIT_EXPECT_FALSE(test, fs_may_be_worker());
	fs_spawn_mode = FS_SPAWN_PINNED;
	KUNIT_EXPECT_FALSE(test, fs_may_be_worker());
	set_cpus_allowed_ptr(current, cpumask_of(0));
	KUNIT_EXPECT_TRUE(test, fs_may_be_worker());
	fs_spawn_mode = FS_SPAWN_OFF;
	KUNIT_EXPECT_FALSE(test, fs_may_be_worker());
	fs_spawn_mode = FS_SPAWN_BIND;
	current->flags |= PF_IO_WORKER;
	KUNIT_EXPECT_FALSE(test, fs_may_be_worker());
	current->flags &= ~PF_IO_WORKER;
}

static void fs_may_be_worker__user_tasks_by_mode(struct kunit *test)
{
	KUNIT_EXPECT_FALSE(test, fs_may_be_worker());
	fsk_user(test, fsk_may_be_worker, NULL);
}

/* ---- join and spawn ---- */

static void fsk_join(struct kunit *test, void *arg)
{
	struct fs_listener *ls = arg;
	struct fs_clone *c = fs_worker_join(ls);

	KUNIT_EXPECT_NOT_NULL(test, c);
	if (!c)
		return;
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	/* The first one keeps its CPUs. */
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	KUNIT_EXPECT_FALSE(test, c->live);
	c->shared = true;
	c->stolen = 8;
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_join(ls), c);
	KUNIT_EXPECT_FALSE(test, c->shared);
	KUNIT_EXPECT_EQ(test, c->stolen, 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
}

static void fs_worker_join__once_per_task(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	KUNIT_EXPECT_NULL(test, fs_worker_join(ls));
	fsk_user(test, fsk_join, ls);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
}

static void fsk_join_pinned(struct kunit *test, void *arg)
{
	struct fs_listener *ls = arg;
	struct fs_clone *c;

	set_cpus_allowed_ptr(current, cpumask_of(1));
	c = fs_worker_join(ls);
	KUNIT_EXPECT_NOT_NULL(test, c);
	if (!c)
		return;
	KUNIT_EXPECT_EQ(test, c->cpu, 1);
	KUNIT_EXPECT_TRUE(test, c->live);
	KUNIT_EXPECT_PTR_EQ(test, c->lastpid, task_pid(current));
}

static void fs_worker_join__pinned_is_live_at_once(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	fsk_need_cpus(test, 2);
	fsk_user(test, fsk_join_pinned, ls);
	fs_spawn_mode = FS_SPAWN_PINNED;
	fsk_user(test, fsk_join_pinned, ls);
}

static void fsk_join_refused(struct kunit *test, void *arg)
{
	KUNIT_EXPECT_NULL(test, fs_worker_join(arg));
}

static void fs_worker_join__not_when_off_dead_or_somebody_else_s(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	const struct cred *old = ls->cred;
	struct cred *new = prepare_creds();

	KUNIT_ASSERT_NOT_NULL(test, new);
	fs_spawn_mode = FS_SPAWN_OFF;
	fsk_user(test, fsk_join_refused, ls);
	fs_spawn_mode = FS_SPAWN_BIND;
	ls->dead = true;
	fsk_user(test, fsk_join_refused, ls);
	ls->dead = false;
	new->euid = KUIDT_INIT(1000);
	cap_clear(new->cap_effective);
	ls->cred = new;
	fsk_user(test, fsk_join_refused, ls);
	ls->cred = old;
	put_cred(new);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
}

static void fsk_join_second(struct kunit *test, void *arg)
{
	struct fs_listener *ls = arg;
	struct fs_clone *c = fs_worker_join(ls);

	KUNIT_EXPECT_NOT_NULL(test, c);
	if (!c)
		return;
	/* It is not bound here, but soon: the watch is to wake it. */
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	KUNIT_EXPECT_TRUE(test, fsk_wait(!READ_ONCE(c->settling)));
	KUNIT_EXPECT_PTR_EQ(test, fs_worker_clone(ls), c);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), c->cpu);
	KUNIT_EXPECT_TRUE(test, c->live);
}

static void fs_worker_join__the_second_is_bound_when_it_comes_back(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fsk_staying s;

	fsk_need_cpus(test, 2);
	fsk_staying_start(test, &s, ls, 0);
	fsk_user(test, fsk_join_second, ls);
	fsk_staying_end(test, &s);
}

struct fsk_coming {
	struct fsk_user user;
	struct fs_listener *ls;
	atomic_t *joined, *errors;
};

static void fsk_come_and_go(struct kunit *test, void *arg)
{
	struct fsk_coming *s = arg;
	struct fs_clone *c = fs_worker_join(s->ls);
	unsigned int i;

	if (!c || c->ls != s->ls) {
		atomic_inc(s->errors);
		return;
	}
	atomic_inc(s->joined);
	for (i = 0; i < 20; i++) {
		if (fs_worker_clone(s->ls) != c)
			atomic_inc(s->errors);
		cond_resched();
	}
}

/* As softirqs do: pids and tasks of workers, while they die and are dropped. */
static void fsk_look(void *arg)
{
	struct fsk_coming *s = arg;
	unsigned int turns = 0, n;
	struct fs_worker *w;
	struct fs_clone *c;
	struct pid *pid;

	while (!fsk_stopping()) {
		n = 0;
		rcu_read_lock();
		list_for_each_entry_rcu(c, &s->ls->clones, node) {
			pid = READ_ONCE(c->lastpid);
			if (pid && pid_task(pid, PIDTYPE_PID))
				n++;
			hlist_for_each_entry_rcu(w, &c->workers, on_clone) {
				n += fs_pid_alive(w->pid);
				if (w->clone != c)
					atomic_inc(s->errors);
			}
		}
		rcu_read_unlock();
		if (fs_worker_find(s->ls))
			atomic_inc(s->errors);
		if (!(++turns % 64))
			fsk_nap();
	}
}

static void fs_worker_join__while_others_look_up(struct kunit *test)
{
	const unsigned long end = jiffies + msecs_to_jiffies(fsk_stress_ms);
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	atomic_t joined = ATOMIC_INIT(0), errors = ATOMIC_INIT(0);
	unsigned int i, started = 0, left = 0;
	struct fsk_coming s[4];
	struct fsk_threads t = {};
	struct fs_clone *c;

	fsk_need_cpus(test, 4);
	for (i = 0; i < 4; i++)
		s[i] = (struct fsk_coming){ .ls = ls, .joined = &joined, .errors = &errors };
	fsk_thread(test, &t, 0, fsk_look, &s[0]);
	fsk_thread(test, &t, 1, fsk_look, &s[0]);
	do {
		for (i = 0; i < 4; i++)
			fsk_user_start(test, &s[i].user, fsk_come_and_go, &s[i]);
		for (i = 0; i < 4; i++)
			fsk_user_wait(test, &s[i].user);
		started += 4;
	} while (time_before(jiffies, end));
	fsk_threads_stop(&t);
	kunit_info(test, "%u tasks\n", started);
	KUNIT_EXPECT_EQ(test, atomic_read(&errors), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&joined), started);
	fsk_locked_void(ls, fs_workers_drop_if(ls, true));
	KUNIT_EXPECT_EQ(test, ls->nworkers, 0);
	list_for_each_entry(c, &ls->clones, node)
		left += c->nworkers + !hlist_empty(&c->workers) + !!c->lastpid;
	KUNIT_EXPECT_EQ(test, left, 0);
	KUNIT_EXPECT_TRUE(test, hash_empty(ls->workers));
	KUNIT_EXPECT_TRUE(test, hash_empty(fs_tasks));
}

static void fsk_spawn(struct kunit *test, void *arg)
{
	struct fs_listener *ls = arg;
	struct fs_worker *w;

	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 1), 0);
	w = fs_worker_find(ls);
	KUNIT_EXPECT_NOT_NULL(test, w);
	if (!w)
		return;
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 1);
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 1);
	KUNIT_EXPECT_TRUE(test, w->clone->live);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 1), 0);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -1), 0);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
	/* We bound it: it may only name the CPU that it has now. */
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 0), -EINVAL);
	/* The user moves it, and the clone follows if the slot is free. */
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 2), 0);
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 2);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 2);
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 3), -EBUSY);
	KUNIT_EXPECT_EQ(test, w->clone->cpu, 2);
}

static void fs_worker_spawn__binds_moves_or_is_busy(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	fsk_need_cpus(test, 4);
	fsk_clone(test, ls, 3);
	fsk_user(test, fsk_spawn, ls);
}

static void fsk_spawn_refused(struct kunit *test, void *arg)
{
	struct fs_listener *ls = arg;

	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -2), -EINVAL);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, nr_cpu_ids), -EINVAL);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, INT_MAX), -EINVAL);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, INT_MIN), -EINVAL);
	fs_spawn_mode = FS_SPAWN_OFF;
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 0), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -2), -EOPNOTSUPP);
	fs_spawn_mode = FS_SPAWN_PINNED;
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 0), -EINVAL);
	fs_spawn_mode = FS_SPAWN_BIND;
	set_cpus_allowed_ptr(current, cpumask_of(1));
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, 0), -EINVAL);
	ls->nworkers = FS_MAX_WORKERS;
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -1), -EUSERS);
	ls->nworkers = 0;
	fs_spawn_mode = FS_SPAWN_PINNED;
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -1), 0);
	fs_spawn_mode = FS_SPAWN_BIND;
}

static void fs_worker_spawn__says_why_not(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);

	fsk_need_cpus(test, 2);
	KUNIT_EXPECT_EQ(test, fs_worker_spawn(ls, -1), -EINVAL);
	fsk_user(test, fsk_spawn_refused, ls);
	KUNIT_EXPECT_EQ(test, ls->nworkers, 1);
}

static void fs_clone_stolen__frees_its_workers_at_the_balance(struct kunit *test)
{
	struct fs_listener *ls = fsk_attached(test, AF_INET, 4);
	struct fs_worker *w;
	struct fs_clone *c;
	unsigned int i;

	fsk_need_cpus(test, 2);
	w = fsk_worker(test, ls, 1);
	c = w->clone;
	KUNIT_EXPECT_TRUE(test, fs_task_bind(w->task, 1));
	c->live = true;
	for (i = 0; i < FS_SHARED_AFTER / 2 - 1; i++)
		fs_clone_stolen(c);
	KUNIT_EXPECT_FALSE(test, c->shared);
	KUNIT_EXPECT_TRUE(test, c->live);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), 1);
	fs_clone_stolen(c);
	KUNIT_EXPECT_TRUE(test, c->shared);
	KUNIT_EXPECT_FALSE(test, c->live);
	KUNIT_EXPECT_EQ(test, fs_pinned_cpu(), -1);
	KUNIT_EXPECT_EQ(test, w->task->bound_to, -1);
	fs_clone_stolen(c);
	KUNIT_EXPECT_EQ(test, c->stolen, FS_SHARED_AFTER + 2);
}

/* clang-format off */
static struct kunit_case fsk_worker_cases[] = {
	KUNIT_CASE(fs_pid_alive__until_the_task_is_gone),
	KUNIT_CASE(fs_pinned_cpu__if_there_is_just_one),
	KUNIT_CASE(fs_may_use__online_and_in_the_mask),
	KUNIT_CASE(fs_bound_by_us__if_it_still_is_where_we_put_it),
	KUNIT_CASE(fs_allowed__what_it_had_before_us),
	KUNIT_CASE(fs_choose_cpu__fewest_workers_lowest_first),
	KUNIT_CASE(fs_choose_cpu__of_equals_the_one_joined_first),
	KUNIT_CASE(fs_choose_cpu__only_within_the_mask),
	KUNIT_CASE(fs_choose_cpu__never_one_that_is_offline),
	KUNIT_CASE(fs_task_find__by_pid),
	KUNIT_CASE(fs_task_inherit__from_a_bound_parent),
	KUNIT_CASE(fs_task_inherit__not_from_strangers),
	KUNIT_CASE(fs_task_new__holds_the_pid_and_no_cpu),
	KUNIT_CASE(fs_task_get__wanted_pinned_known_best),
	KUNIT_CASE(fs_task_get__bound_by_us_is_not_pinned),
	KUNIT_CASE(fs_task_unbind__leaves_what_the_user_has_changed),
	KUNIT_CASE(fs_task_unbind__of_a_dead_task_is_nothing),
	KUNIT_CASE(fs_task_put__at_the_last_user),
	KUNIT_CASE(fs_task_bind__and_unbind_gives_the_cpus_back),
	KUNIT_CASE(fs_worker_find__current_alone),
	KUNIT_CASE(fs_worker_drop__undoes_what_new_did),
	KUNIT_CASE(fs_worker_drop__leaves_another_s_lastpid),
	KUNIT_CASE(fs_workers_drop_if__the_dead_only),
	KUNIT_CASE(fs_worker_new__makes_room_by_dropping_the_dead),
	KUNIT_CASE(fs_worker_new__no_more_than_the_bound),
	KUNIT_CASE(fs_worker_new__without_a_cpu_leaves_nothing),
	KUNIT_CASE(fs_worker_new__one_record_for_two_listeners),
	KUNIT_CASE(fs_waits_in_epoll__all_workers_must_be_there),
	KUNIT_CASE(fs_clone_enliven__unless_shared_or_stopped),
	KUNIT_CASE(fs_clone_move__with_its_only_worker_to_a_free_slot),
	KUNIT_CASE(fs_clone_move__under_readers_and_connections),
	KUNIT_CASE(fs_worker_settle__pinned_to_its_clone_s_cpu),
	KUNIT_CASE(fs_worker_settle__not_the_only_worker),
	KUNIT_CASE(fs_worker_settle__moves_to_what_is_allowed),
	KUNIT_CASE(fs_worker_clone__of_a_worker_and_of_others),
	KUNIT_CASE(fs_worker_clone__not_live_while_it_may_run_elsewhere),
	KUNIT_CASE(fs_attacher_may_bind__as_sched_setaffinity_asks),
	KUNIT_CASE(fs_may_be_worker__user_tasks_by_mode),
	KUNIT_CASE(fs_worker_join__once_per_task),
	KUNIT_CASE(fs_worker_join__pinned_is_live_at_once),
	KUNIT_CASE(fs_worker_join__not_when_off_dead_or_somebody_else_s),
	KUNIT_CASE(fs_worker_join__the_second_is_bound_when_it_comes_back),
	KUNIT_CASE(fs_worker_join__while_others_look_up),
	KUNIT_CASE(fs_worker_spawn__binds_moves_or_is_busy),
	KUNIT_CASE(fs_worker_spawn__says_why_not),
	KUNIT_CASE(fs_clone_stolen__frees_its_workers_at_the_balance),
	{}
};

/* clang-format on */

struct kunit_suite fsk_worker_suite = {
	.name = "listen_worker",
	.init = fsk_init,
	.exit = fsk_worker_exit,
	.test_cases = fsk_worker_cases,
};
