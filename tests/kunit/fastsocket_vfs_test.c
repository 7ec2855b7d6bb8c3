// SPDX-License-Identifier: GPL-2.0
/*
 * Cases for fastsocket_vfs.c
 *
 * Most have a pool of their own and inodes that are none, which nothing but the pool looks at.
 * Those that have inodes freed take them from the kernel's cache. The CPUs' pools are in use
 * meanwhile: of these a case expects what holds whoever else makes sockets.
 */
#include "../../fastsocket_vfs.c"

#include <linux/cpu.h>
#include <linux/sched/mm.h>
#include <linux/wait.h>

#include "kunit_util.h"

#define FSK_MANY 64
#define FSK_ALL (FS_POOL_BATCH * FS_POOL_BATCHES)

/* The case's own pool. */
static struct fs_pool *fsk_own;

static void fsk_vfs_exit(struct kunit *test)
{
	if (fsk_own)
		cancel_delayed_work_sync(&fsk_own->trim);
	fs_pool_wait_for_readers();
	fsk_own = NULL;
	fsk_exit(test);
}

static struct fs_pool *fsk_pool(struct kunit *test)
{
	fsk_own = kunit_kzalloc(test, sizeof(*fsk_own), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fsk_own);
	fsk_own->cpu = nr_cpu_ids;
	INIT_DEFERRABLE_WORK(&fsk_own->trim, fs_pool_trim);
	return fsk_own;
}

static struct inode *fsk_inode(struct kunit *test)
{
	struct socket_alloc *ei = kunit_kzalloc(test, sizeof(*ei), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ei);
	init_waitqueue_head(&ei->socket.wq.wait);
	return &ei->vfs_inode;
}

/* One that can be freed. */
static struct inode *fsk_real_inode(struct kunit *test)
{
	struct inode *inode = fs_stock_super->alloc_inode(fs_sockfs);

	KUNIT_ASSERT_NOT_NULL(test, inode);
	return inode;
}

static void fsk_put(struct kunit *test, struct fs_pool *p, u64 owner, unsigned int n)
{
	while (n--)
		KUNIT_ASSERT_TRUE(test, fs_pool_put(p, fsk_inode(test), owner));
}

/* How many come out, at most @max; none for the second time. */
static unsigned int fsk_get(struct kunit *test, struct fs_pool *p, u64 owner, unsigned int max)
{
	struct inode *inode, *stale = NULL;
	unsigned int n;

	for (n = 0; n < max; n++) {
		inode = fs_pool_get(p, owner, &stale);
		KUNIT_EXPECT_NULL(test, stale);
		if (!inode)
			break;
		KUNIT_EXPECT_EQ(test, inode->i_ino++, 0);
	}
	return n;
}

static unsigned int fsk_chain(struct inode *inode)
{
	unsigned int n;

	for (n = 0; inode; n++)
		inode = *fs_next(inode);
	return n;
}

static bool fsk_empty(struct fs_pool *p)
{
	return p->take == p->fill && !fs_batch(p, p->fill)->n;
}

/* What is in the pool, by its counters. */
static unsigned long fsk_balance(const struct fs_pool *p)
{
	return p->n[FS_VFS_KEPT] - p->n[FS_VFS_REUSED] - p->n[FS_VFS_TRIMMED];
}

/* Have a CPU's pool looked at until nothing is in it; the caller runs there. */
static bool fsk_idle(struct fs_pool *p)
{
	return fsk_wait((flush_delayed_work(&p->trim), fs_pool_wait_for_readers(),
			 fsk_empty(p) && !p->armed));
}

static struct fs_pool *fsk_pool_of(struct kunit *test, int cpu)
{
	fsk_need_cpus(test, cpu + 1);
	fsk_on_cpu(test, cpu);
	KUNIT_ASSERT_NOT_NULL(test, fs_pools);
	return per_cpu_ptr(fs_pools, cpu);
}

/* As so many sockets that are made and closed. */
static void fsk_churn(struct kunit *test, unsigned int n)
{
	struct inode *inode[FSK_MANY] = {};
	unsigned int i;

	for (i = 0; i < n; i++) {
		inode[i] = fs_alloc_inode(fs_sockfs);
		KUNIT_EXPECT_NOT_NULL(test, inode[i]);
	}
	for (i = 0; i < n; i++)
		if (inode[i])
			fs_destroy_inode(inode[i]);
}

static void fs_noted__knows_our_notes_only(struct kunit *test)
{
	struct inode *inode = fsk_inode(test);
	u64 owner;

	KUNIT_EXPECT_FALSE(test, fs_noted(inode, &owner));
	fs_note(inode, 7, fs_note_key);
	KUNIT_EXPECT_TRUE(test, fs_noted(inode, &owner));
	KUNIT_EXPECT_EQ(test, owner, 7);
	fs_note(inode, 0, fs_note_key);
	KUNIT_EXPECT_TRUE(test, fs_noted(inode, &owner));
	KUNIT_EXPECT_EQ(test, owner, 0);
	fs_note(inode, 7, fs_note_key ^ 2);
	KUNIT_EXPECT_FALSE_MSG(test, fs_noted(inode, &owner), "of the module when loaded before");
	fs_note(inode, 7, 0);
	KUNIT_EXPECT_FALSE(test, fs_noted(inode, &owner));
}

/* fs_owner() of a task that has a user's memory, as ours have not; 0: it cannot be told. */
static u64 fsk_owner(void)
{
	bool known;
	u64 owner;

	local_irq_disable();
	current->mm = current->active_mm;
	known = fs_owner(&owner);
	current->mm = NULL;
	local_irq_enable();
	return known ? owner : 0;
}

static void fsk_owner_of_user(struct kunit *test, void *unused)
{
	u64 owner = 1;

	KUNIT_EXPECT_NULL(test, current->mm);
	KUNIT_EXPECT_TRUE(test, fs_owner(&owner));
	KUNIT_EXPECT_EQ_MSG(test, owner, 0, "without memory");
	owner = fsk_owner();
	KUNIT_EXPECT_NE(test, owner, 0);
	KUNIT_EXPECT_EQ(test, fsk_owner(), owner);
}

static void fs_owner__is_the_same_each_time_for_a_user_s_task(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_MEMCG))
		kunit_skip(test, "no memory cgroups");
	fsk_user(test, fsk_owner_of_user, NULL);
}

static void fs_owner__is_nobody_for_a_kernel_s_task(struct kunit *test)
{
	u64 owner = 1;

	KUNIT_EXPECT_TRUE(test, fs_owner(&owner));
	KUNIT_EXPECT_EQ(test, owner, 0);
	KUNIT_EXPECT_EQ_MSG(test, fsk_owner(), 0, "with a user's memory");
}

static void fs_owner__cannot_be_told_of_who_allocates_for_another(struct kunit *test)
{
	struct mem_cgroup *was;
	bool known;
	u64 owner;

	if (!IS_ENABLED(CONFIG_MEMCG))
		kunit_skip(test, "no memory cgroups");
	local_irq_disable();
	was = set_active_memcg((struct mem_cgroup *)test);
	known = fs_owner(&owner);
	set_active_memcg(was);
	local_irq_enable();
	KUNIT_EXPECT_FALSE(test, known);
}

/* kmemleak and KASAN see that each is freed, and once. */
static void fs_free_chain__frees_and_counts(struct kunit *test)
{
	struct inode *first = NULL, *inode;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, fs_free_chain(NULL), 0);
	for (i = 0; i < 5; i++) {
		inode = fsk_real_inode(test);
		*fs_next(inode) = first;
		first = inode;
	}
	KUNIT_EXPECT_EQ(test, fs_free_chain(first), 5);
}

static void fs_pool_get__waits_for_a_full_batch_and_its_readers(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	struct inode *last = fsk_inode(test);

	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, 1), 0);
	fsk_put(test, p, 7, FS_POOL_BATCH - 1);
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ_MSG(test, fsk_get(test, p, 7, 1), 0, "one is missing");
	rcu_read_lock();
	KUNIT_EXPECT_TRUE(test, fs_pool_put(p, last, 7));
	KUNIT_EXPECT_EQ(test, p->fill, 1);
	KUNIT_EXPECT_EQ(test, p->batch[0].state, FS_BATCH_WAITING);
	KUNIT_EXPECT_EQ_MSG(test, fsk_get(test, p, 7, 1), 0, "there is a reader");
	rcu_read_unlock();
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ(test, p->batch[0].state, FS_BATCH_READY);
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, FSK_ALL), FS_POOL_BATCH);
	KUNIT_EXPECT_EQ(test, p->batch[0].state, FS_BATCH_OPEN);
	KUNIT_EXPECT_TRUE(test, fsk_empty(p));
	KUNIT_EXPECT_EQ(test, p->emptied, 1);
	KUNIT_EXPECT_EQ(test, p->n[FS_VFS_KEPT], FS_POOL_BATCH);
	KUNIT_EXPECT_EQ(test, p->n[FS_VFS_REUSED], FS_POOL_BATCH);
	KUNIT_EXPECT_EQ(test, p->n[FS_VFS_TRIMMED], 0);
}

static void fs_pool_get__gives_another_owner_nothing(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	struct inode *stale = NULL;

	fsk_put(test, p, 7, 2 * FS_POOL_BATCH);
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, 1), 1);
	KUNIT_EXPECT_NULL(test, fs_pool_get(p, 8, &stale));
	KUNIT_EXPECT_EQ(test, fsk_chain(stale), FS_POOL_BATCH - 1);
	KUNIT_EXPECT_EQ(test, p->n[FS_VFS_TRIMMED], FS_POOL_BATCH - 1);
	KUNIT_EXPECT_EQ_MSG(test, p->emptied, 0, "it was not used up");
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, FSK_ALL), FS_POOL_BATCH);
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
	KUNIT_EXPECT_TRUE(test, fsk_empty(p));
	stale = NULL;
	KUNIT_EXPECT_NULL(test, fs_pool_get(p, 8, &stale));
	KUNIT_EXPECT_NULL(test, stale);
}

static void fs_pool_put__closes_the_batch_of_another_owner(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);

	fsk_put(test, p, 7, 3);
	KUNIT_EXPECT_EQ(test, p->fill, 0);
	fsk_put(test, p, 8, 2);
	KUNIT_EXPECT_EQ(test, p->fill, 1);
	KUNIT_EXPECT_EQ(test, p->batch[0].n, 3);
	KUNIT_EXPECT_NE(test, p->batch[0].state, FS_BATCH_OPEN);
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, FSK_ALL), 3);
	KUNIT_EXPECT_EQ_MSG(test, fsk_get(test, p, 8, FSK_ALL), 0, "it is being filled");
	fsk_put(test, p, 7, 1);
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 8, FSK_ALL), 2);
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 1);
}

static void fs_pool_put__has_no_room_for_more(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	struct inode *more = fsk_inode(test);
	unsigned int round;

	for (round = 0; round < 2; round++) {
		fsk_put(test, p, 7, FSK_ALL);
		KUNIT_EXPECT_FALSE(test, fs_pool_put(p, more, 7));
		KUNIT_EXPECT_FALSE(test, fs_pool_put(p, more, 8));
		KUNIT_EXPECT_EQ(test, fsk_balance(p), FSK_ALL);
		fs_pool_wait_for_readers();
		KUNIT_EXPECT_FALSE_MSG(test, fs_pool_put(p, more, 7), "it is ready");
		KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, 2 * FSK_ALL), FSK_ALL);
		KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
		KUNIT_EXPECT_TRUE(test, fsk_empty(p));
	}
}

/* The ring is full of batches, though not of inodes. */
static void fs_pool_put__has_no_room_for_more_owners(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	struct inode *more = fsk_inode(test);
	unsigned int i, n = 0;

	for (i = 1; i <= FS_POOL_BATCHES; i++)
		fsk_put(test, p, i, 1);
	KUNIT_EXPECT_FALSE(test, fs_pool_put(p, more, 1));
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_FALSE(test, fs_pool_put(p, more, FS_POOL_BATCHES));
	for (i = 1; i <= FS_POOL_BATCHES; i++)
		n += fsk_get(test, p, i, 1);
	KUNIT_EXPECT_EQ(test, n, FS_POOL_BATCHES);
	KUNIT_EXPECT_TRUE(test, fs_pool_put(p, more, 1));
}

static void fs_pool_surplus__is_what_was_not_needed(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);

	KUNIT_EXPECT_NULL(test, fs_pool_surplus(p));
	fsk_put(test, p, 7, 4 * FS_POOL_BATCH);
	fs_pool_wait_for_readers();
	fsk_put(test, p, 7, 1);
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, FS_POOL_BATCH), FS_POOL_BATCH);
	/* Three are ready; one was needed, and may be again. */
	KUNIT_EXPECT_EQ(test, fsk_chain(fs_pool_surplus(p)), FS_POOL_BATCH);
	KUNIT_EXPECT_EQ(test, fsk_chain(fs_pool_surplus(p)), FS_POOL_BATCH);
	KUNIT_EXPECT_NULL(test, fs_pool_surplus(p));
	KUNIT_EXPECT_EQ(test, p->n[FS_VFS_TRIMMED], 2 * FS_POOL_BATCH);
	fs_pool_looked(p, raw_smp_processor_id());
	KUNIT_EXPECT_EQ(test, fsk_get(test, p, 7, 1), 1);
	/* None was used up since. */
	KUNIT_EXPECT_EQ(test, fsk_chain(fs_pool_surplus(p)), FS_POOL_BATCH - 1);
	KUNIT_EXPECT_NULL_MSG(test, fs_pool_surplus(p), "one is being filled");
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 1);
}

static void fs_pool_looked__closes_what_nobody_adds_to(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	int cpu = raw_smp_processor_id();

	fs_pool_looked(p, cpu);
	KUNIT_EXPECT_FALSE_MSG(test, p->armed, "it is empty");
	fsk_put(test, p, 7, 3);
	fs_pool_looked(p, cpu);
	KUNIT_EXPECT_TRUE(test, p->armed);
	KUNIT_EXPECT_EQ(test, p->fill, 0);
	fsk_put(test, p, 7, 1);
	fs_pool_looked(p, cpu);
	KUNIT_EXPECT_EQ_MSG(test, p->fill, 0, "one was added");
	fs_pool_looked(p, cpu);
	KUNIT_EXPECT_EQ(test, p->fill, 1);
	KUNIT_EXPECT_TRUE_MSG(test, p->armed, "what waits is in it");
	fs_pool_wait_for_readers();
	KUNIT_EXPECT_EQ(test, fsk_chain(fs_pool_surplus(p)), 4);
	fs_pool_looked(p, cpu);
	KUNIT_EXPECT_FALSE(test, p->armed);
	KUNIT_EXPECT_TRUE(test, fsk_empty(p));
}

static void fs_pool_trim__leaves_the_pool_of_another_cpu(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);

	fsk_put(test, p, 7, FS_POOL_BATCH + 1);
	fs_pool_wait_for_readers();
	/* The CPU is gone: until fs_cpu_dead() the work goes round where it is. */
	p->cpu = 3;
	fsk_need_cpus(test, 4);
	fsk_on_cpu(test, 1);
	p->armed = true;
	fs_pool_trim(&p->trim.work);
	KUNIT_EXPECT_EQ(test, fsk_balance(p), FS_POOL_BATCH + 1);
	KUNIT_EXPECT_TRUE(test, p->armed);
	KUNIT_EXPECT_EQ(test, p->filled, 0);
	KUNIT_EXPECT_TRUE(test, cancel_delayed_work_sync(&p->trim));
}

static void fs_pool_trim__empties_what_is_not_used(struct kunit *test)
{
	struct fs_pool *p = fsk_pool_of(test, 1);

	fsk_churn(test, FS_POOL_BATCH + 8);
	KUNIT_EXPECT_FALSE(test, fsk_empty(p));
	KUNIT_EXPECT_TRUE(test, p->armed);
	KUNIT_EXPECT_TRUE(test, fsk_idle(p));
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
}

/* As it may be after use. */
static void fsk_use(struct inode *inode)
{
	struct socket *sock = SOCKET_I(inode);

	sock->state = SS_CONNECTED;
	sock->flags = ~0UL;
	sock->ops = (void *)inode;
	sock->sk = (void *)inode;
	sock->file = (void *)inode;
	sock->wq.fasync_list = (void *)inode;
	sock->wq.flags = ~0UL;
	inode->i_ino = FSK_MANY;
}

static void fsk_is_new(struct kunit *test, struct inode *inode)
{
	struct socket *sock = SOCKET_I(inode);
	u64 owner;

	KUNIT_EXPECT_EQ(test, sock->state, SS_UNCONNECTED);
	KUNIT_EXPECT_EQ(test, sock->flags, 0);
	KUNIT_EXPECT_NULL(test, sock->ops);
	KUNIT_EXPECT_NULL(test, sock->sk);
	KUNIT_EXPECT_NULL(test, sock->file);
	KUNIT_EXPECT_NULL(test, sock->wq.fasync_list);
	KUNIT_EXPECT_EQ(test, sock->wq.flags, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&sock->wq.wait.head));
	KUNIT_EXPECT_TRUE(test, fs_noted(inode, &owner));
	KUNIT_EXPECT_EQ(test, owner, 0);
}

static void fs_alloc_inode__is_as_new(struct kunit *test)
{
	struct fs_pool *p = fsk_pool_of(test, 1);
	struct inode *inode[FS_POOL_BATCH];
	unsigned long used = 0;
	unsigned int i;

	KUNIT_ASSERT_TRUE(test, fsk_idle(p));
	for (i = 0; i < FS_POOL_BATCH; i++) {
		inode[i] = fs_alloc_inode(fs_sockfs);
		KUNIT_ASSERT_NOT_NULL(test, inode[i]);
		fsk_is_new(test, inode[i]);
		fsk_use(inode[i]);
	}
	for (i = 0; i < FS_POOL_BATCH; i++)
		fs_destroy_inode(inode[i]);
	/* Nothing is to go back before we have it. */
	cancel_delayed_work_sync(&p->trim);
	fs_pool_wait_for_readers();
	for (i = 0; i < FS_POOL_BATCH; i++) {
		inode[i] = fs_alloc_inode(fs_sockfs);
		KUNIT_ASSERT_NOT_NULL(test, inode[i]);
		fsk_is_new(test, inode[i]);
		used += inode[i]->i_ino == FSK_MANY;
	}
	KUNIT_EXPECT_EQ(test, used, FS_POOL_BATCH);
	fs_pool_arm(p, 1);
	for (i = 0; i < FS_POOL_BATCH; i++)
		fs_destroy_inode(inode[i]);
}

/* By how much a counter grows; nobody else is on the CPU meanwhile. */
static unsigned long fsk_destroy(struct inode *inode, enum fs_vfs_stat s)
{
	struct fs_pool *p = get_cpu_ptr(fs_pools);
	unsigned long before = p->n[s], after;

	fs_destroy_inode(inode);
	after = p->n[s];
	put_cpu_ptr(fs_pools);
	return after - before;
}

static void fs_destroy_inode__keeps_what_can_be_used_again(struct kunit *test)
{
	struct inode *inode = fsk_real_inode(test);
	DECLARE_WAITQUEUE(entry, current);

	fs_note(inode, 0, fs_note_key);
	KUNIT_EXPECT_EQ(test, fsk_destroy(inode, FS_VFS_KEPT), 1);
	inode = fsk_real_inode(test);
	fs_note(inode, 0, 0);
	KUNIT_EXPECT_EQ_MSG(test, fsk_destroy(inode, FS_VFS_FREED), 1, "it has no note");
	inode = fsk_real_inode(test);
	fs_note(inode, 0, fs_note_key);
	add_wait_queue(&fs_wq_of(inode)->wait, &entry);
	rcu_read_lock();
	KUNIT_EXPECT_EQ_MSG(test, fsk_destroy(inode, FS_VFS_FREED), 1, "somebody waits for it");
	remove_wait_queue(&fs_wq_of(inode)->wait, &entry);
	rcu_read_unlock();
}

static void fs_pool_drain__frees_all(struct kunit *test)
{
	struct fs_pool *p = fsk_pool(test);
	struct inode *inode, *stale = NULL;
	unsigned int i;

	for (i = 0; i < 5 * FS_POOL_BATCH / 2; i++)
		KUNIT_ASSERT_TRUE(test, fs_pool_put(p, fsk_real_inode(test), 7 + i / 40));
	fs_pool_wait_for_readers();
	inode = fs_pool_get(p, 7, &stale);
	KUNIT_EXPECT_NOT_NULL(test, inode);
	fs_pool_drain(p);
	KUNIT_EXPECT_TRUE(test, fsk_empty(p));
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
	fsk_put(test, p, 7, FSK_ALL);
	KUNIT_EXPECT_EQ(test, fsk_balance(p), FSK_ALL);
	if (inode)
		fs_stock_super->free_inode(inode);
}

static void fs_cpu_dead__empties_the_pool(struct kunit *test)
{
	struct fs_pool *p = fsk_pool_of(test, 3);

	fsk_churn(test, FS_POOL_BATCH + 8);
	KUNIT_EXPECT_FALSE(test, fsk_empty(p));
	fsk_on_cpu(test, 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, fsk_empty(p));
	KUNIT_EXPECT_FALSE(test, p->armed);
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	fsk_on_cpu(test, 3);
	fsk_churn(test, 1);
	KUNIT_EXPECT_TRUE(test, p->armed);
	KUNIT_EXPECT_TRUE(test, fsk_idle(p));
	KUNIT_EXPECT_EQ(test, fsk_balance(p), 0);
}

/* A socket with all that fs_sockfs_differs() looks at. */
struct fsk_sockfs {
	struct socket_alloc ei;
	struct super_operations ops;
	struct super_block sb;
	struct dentry dentry;
	struct file file;
};

static struct fsk_sockfs *fsk_sockfs(struct kunit *test)
{
	struct fsk_sockfs *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	f->ops = *fs_stock_super;
	f->sb.s_op = &f->ops;
	f->ei.vfs_inode.i_sb = &f->sb;
	INIT_LIST_HEAD(&f->ei.vfs_inode.i_sb_list);
	f->dentry.d_parent = &f->dentry;
	f->file.f_inode = &f->ei.vfs_inode;
	f->file.f_path.dentry = &f->dentry;
	return f;
}

static void fs_sockfs_differs__not_from_what_we_know(struct kunit *test)
{
	struct fsk_sockfs *f = fsk_sockfs(test);
	struct socket *sock = fsk_tcp(test, AF_INET);

	KUNIT_EXPECT_NULL(test, fs_sockfs_differs(&f->ei.socket, &f->file));
	/* Of a living one it is but ours that is new; the operations are looked at last. */
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(sock, sock->file),
			   "its operations are not those that are known");
}

static void fs_sockfs_differs__if_lists_are_of_all_cpus(struct kunit *test)
{
	struct fsk_sockfs *f = fsk_sockfs(test), *other = fsk_sockfs(test);
	struct inode *inode = &f->ei.vfs_inode;
	struct hlist_bl_head hash = {};
	LIST_HEAD(list);

	list_add(&inode->i_sb_list, &list);
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its inodes are on lists of all CPUs");
	list_del_init(&inode->i_sb_list);
	hlist_add_fake(&inode->i_hash);
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its inodes are on lists of all CPUs");
	INIT_HLIST_NODE(&inode->i_hash);
	f->dentry.d_hash.pprev = &hash.first;
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its dentries are on lists of all CPUs");
	f->dentry.d_hash.pprev = NULL;
	f->dentry.d_parent = &other->dentry;
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its dentries are on lists of all CPUs");
}

static void fs_sockfs_differs__if_others_have_changed_it(struct kunit *test)
{
	struct fsk_sockfs *f = fsk_sockfs(test), *other = fsk_sockfs(test);

	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&other->ei.socket, &f->file),
			   "a socket's inode is not beside it");
	f->ops.destroy_inode = fs_destroy_inode;
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its operations are not those that are known");
	f->ops = *fs_stock_super;
	f->ops.free_inode = NULL;
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its operations are not those that are known");
	f->ops = *fs_stock_super;
	f->ops.alloc_inode = NULL;
	KUNIT_EXPECT_STREQ(test, fs_sockfs_differs(&f->ei.socket, &f->file),
			   "its operations are not those that are known");
}

static void fs_super_install__leaves_other_operations_as_they_are(struct kunit *test)
{
	struct super_operations ops = *fs_super;

	KUNIT_EXPECT_PTR_EQ(test, fs_sockfs->s_op, (const struct super_operations *)fs_super);
	KUNIT_EXPECT_PTR_EQ(test, ops.alloc_inode, &fs_alloc_inode);
	KUNIT_EXPECT_PTR_EQ(test, ops.destroy_inode, &fs_destroy_inode);
	KUNIT_EXPECT_TRUE(test, !ops.free_inode);
	KUNIT_EXPECT_TRUE(test, fs_stock_super->evict_inode || ops.evict_inode == fs_evict_inode);
	ops.alloc_inode = fs_stock_super->alloc_inode;
	ops.destroy_inode = fs_stock_super->destroy_inode;
	ops.free_inode = fs_stock_super->free_inode;
	ops.evict_inode = fs_stock_super->evict_inode;
	KUNIT_EXPECT_EQ(test, memcmp(&ops, fs_stock_super, sizeof(ops)), 0);
}

/* How many of so many sockets have the number of one before. */
static unsigned int fsk_doubled(struct socket **s, unsigned int n)
{
	unsigned int i, k, doubled = 0;

	for (i = 0; i < n; i++)
		for (k = 0; k < i; k++)
			doubled += SOCK_INODE(s[i])->i_ino == SOCK_INODE(s[k])->i_ino;
	return doubled;
}

static unsigned int fsk_open_many(struct kunit *test, struct socket **s)
{
	unsigned int n;
	int err;

	for (n = 0; n < FSK_MANY; n++) {
		err = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP, &s[n]);
		KUNIT_EXPECT_EQ(test, err, 0);
		if (err)
			break;
		KUNIT_EXPECT_EQ(test, s[n]->state, SS_UNCONNECTED);
		KUNIT_EXPECT_NULL(test, s[n]->file);
		KUNIT_EXPECT_NULL(test, s[n]->wq.fasync_list);
	}
	return n;
}

static void fsk_rounds(struct kunit *test, void *arg)
{
	struct socket **s = arg;
	unsigned int round, n;

	KUNIT_EXPECT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(1)), 0);
	for (round = 0; round < 8; round++) {
		n = fsk_open_many(test, s);
		KUNIT_EXPECT_EQ(test, fsk_doubled(s, n), 0);
		while (n)
			sock_release(s[--n]);
		fs_pool_wait_for_readers();
	}
}

static void fs_vfs_counters__count_sockets(struct kunit *test)
{
	struct socket **s = kunit_kcalloc(test, FSK_MANY, sizeof(*s), GFP_KERNEL);
	unsigned long reused, fresh, kept, freed;

	fsk_need_cpus(test, 2);
	KUNIT_ASSERT_NOT_NULL(test, s);
	reused = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_REUSED];
	fresh = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_FRESH];
	kept = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_KEPT];
	freed = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_FREED];
	fsk_user(test, fsk_rounds, s);
	reused = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_REUSED] - reused;
	fresh = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_FRESH] - fresh;
	kept = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_KEPT] - kept;
	freed = per_cpu_ptr(fs_vfs_counters(), 1)[FS_VFS_FREED] - freed;
	kunit_info(test, "%lu reused\n", reused);
	/* Of what a round has closed the next one finds a batch or two, or more. */
	KUNIT_EXPECT_GE(test, reused, 4 * FSK_MANY);
	KUNIT_EXPECT_GE(test, reused + fresh, 8 * FSK_MANY);
	KUNIT_EXPECT_GE(test, kept + freed, 8 * FSK_MANY);
}

/* clang-format off */
static struct kunit_case fsk_vfs_cases[] = {
	KUNIT_CASE(fs_noted__knows_our_notes_only),
	KUNIT_CASE(fs_owner__is_the_same_each_time_for_a_user_s_task),
	KUNIT_CASE(fs_owner__is_nobody_for_a_kernel_s_task),
	KUNIT_CASE(fs_owner__cannot_be_told_of_who_allocates_for_another),
	KUNIT_CASE(fs_free_chain__frees_and_counts),
	KUNIT_CASE(fs_pool_get__waits_for_a_full_batch_and_its_readers),
	KUNIT_CASE(fs_pool_get__gives_another_owner_nothing),
	KUNIT_CASE(fs_pool_put__closes_the_batch_of_another_owner),
	KUNIT_CASE(fs_pool_put__has_no_room_for_more),
	KUNIT_CASE(fs_pool_put__has_no_room_for_more_owners),
	KUNIT_CASE(fs_pool_surplus__is_what_was_not_needed),
	KUNIT_CASE(fs_pool_looked__closes_what_nobody_adds_to),
	KUNIT_CASE(fs_pool_trim__leaves_the_pool_of_another_cpu),
	KUNIT_CASE(fs_pool_trim__empties_what_is_not_used),
	KUNIT_CASE(fs_alloc_inode__is_as_new),
	KUNIT_CASE(fs_destroy_inode__keeps_what_can_be_used_again),
	KUNIT_CASE(fs_pool_drain__frees_all),
	KUNIT_CASE(fs_cpu_dead__empties_the_pool),
	KUNIT_CASE(fs_sockfs_differs__not_from_what_we_know),
	KUNIT_CASE(fs_sockfs_differs__if_lists_are_of_all_cpus),
	KUNIT_CASE(fs_sockfs_differs__if_others_have_changed_it),
	KUNIT_CASE(fs_super_install__leaves_other_operations_as_they_are),
	KUNIT_CASE(fs_vfs_counters__count_sockets),
	{}
};

/* clang-format on */

struct kunit_suite fsk_vfs_suite = {
	.name = "fastsocket_vfs",
	.init = fsk_init,
	.exit = fsk_vfs_exit,
	.test_cases = fsk_vfs_cases,
};
