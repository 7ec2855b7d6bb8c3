// SPDX-License-Identifier: GPL-2.0
/*
 * sockfs fast path: inodes of closed sockets are used again on the same CPU
 *
 * include/fastsocket_vfs.h tells why. The seam is the super block's table of operations: we
 * put a copy there in which alloc_inode, evict_inode and destroy_inode are ours (fs/inode.c
 * calls them in alloc_inode(), evict() and destroy_inode()). The kernel's own functions stay
 * the way into its cache and back.
 *
 * A CPU's pool is a ring of batches. Closed sockets' inodes go into the one that is being filled;
 * a full one waits for a grace period, as each single inode does without us; after it, inodes are
 * taken from it until it is empty. All of that happens on the pool's CPU, in process context and
 * with preemption disabled (iput() may sleep, so it is not called from softirq), and needs no
 * lock. Only RCU's callback may come from elsewhere: it does nothing but say that the batch is
 * ready.
 *
 * An inode is accounted to a memory cgroup when it is allocated, and remains so until it is back
 * in the cache. Therefore we note in it which one that was, in socket.wq.rcu, which no
 * socket of sockfs uses; a batch is of inodes of one cgroup, and given to that one only. What
 * was allocated before us has no such note and goes back to the cache.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/cgroup.h>
#include <linux/cpuhotplug.h>
#include <linux/dcache.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/in.h>
#include <linux/kmemleak.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/net.h>
#include <linux/percpu.h>
#include <linux/random.h>
#include <linux/rcupdate.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <net/net_namespace.h>
#include <net/sock.h>

#include "include/btf.h"
#include "include/compat.h"
#include "include/fastsocket_vfs.h"

/* A CPU keeps at most 2048 inodes, some 1.5 MB; what is not used for three seconds goes back. */
#define FS_POOL_BATCH 32
#define FS_POOL_BATCHES 64
#define FS_POOL_TRIM HZ

/**
 * enum fs_batch_state - how far a batch is
 * @FS_BATCH_OPEN: empty, or being filled
 * @FS_BATCH_WAITING: for the end of a grace period; RCU's callback has it
 * @FS_BATCH_READY: inodes may be taken
 */
enum fs_batch_state { FS_BATCH_OPEN, FS_BATCH_WAITING, FS_BATCH_READY };

/**
 * struct fs_batch - inodes that became free together
 * @first: chained by fs_next()
 * @n: how many
 * @state: an enum fs_batch_state; only WAITING is ended by others, with release
 * @owner: of all of them, see fs_owner()
 * @rcu: while WAITING
 */
struct fs_batch {
	struct inode *first;
	unsigned int n;
	unsigned int state;
	u64 owner;
	struct rcu_head rcu;
};

/**
 * struct fs_pool - of one CPU. Only on that, with preemption disabled, but for what says otherwise
 * @take: the batch that inodes are taken from; counts on, its place is the remainder
 * @fill: the one that they are put into, as @take; from @take to it they are in use
 * @emptied: batches that were used up since the last look
 * @filled: FS_VFS_KEPT at the last look
 * @armed: @trim will have a look
 * @cpu: whose pool it is; constant
 * @inside: tasks that may sleep in our functions: came in here, less those that left here
 * @n: counters, by enum fs_vfs_stat; read by anybody
 * @trim: gives back what is not used
 * @batch: the ring
 */
struct fs_pool {
	unsigned int take, fill;
	unsigned int emptied;
	unsigned long filled;
	bool armed;
	int cpu;
	long inside;
	unsigned long n[FS_NR_VFS];
	struct delayed_work trim;
	struct fs_batch batch[FS_POOL_BATCHES];
};

/* From fs_vfs_init() to fs_vfs_exit(), as all that follows; constant between them. */
static struct fs_pool __percpu *fs_pools __read_mostly;
static struct super_block *fs_sockfs;
static const struct super_operations *fs_stock_super __read_mostly;
/* What is in the super block; never freed, see fs_super_remove(). */
static struct super_operations *fs_super;
/* Tells our notes in inodes from what was there before. */
static unsigned long fs_note_key __read_mostly;
/* Where a kernel counts an inode's extended attributes, before the inode; 0: it has none. */
static unsigned int fs_xattrs_at __read_mostly;
static int fs_cpuhp = -1;

static struct socket_wq *fs_wq_of(struct inode *inode)
{
	return &SOCKET_I(inode)->wq;
}

/* The note of a socket that lives: whom it is accounted to. */
static void fs_note(struct inode *inode, u64 owner, unsigned long key)
{
	struct rcu_head *rcu = &fs_wq_of(inode)->rcu;

	rcu->next = (void *)(uintptr_t)owner;
	rcu->func = (void *)key;
}

static bool fs_noted(struct inode *inode, u64 *owner)
{
	const struct rcu_head *rcu = &fs_wq_of(inode)->rcu;

	*owner = (uintptr_t)rcu->next;
	return (unsigned long)rcu->func == fs_note_key;
}

/* The next inode of a batch. */
static struct inode **fs_next(struct inode *inode)
{
	return (struct inode **)&fs_wq_of(inode)->rcu.next;
}

/*
 * Whom an inode that the current task allocates is accounted to, as in
 * get_obj_cgroup_from_current(): the serial number of a cgroup, which is not used again; 0: nobody.
 * False: it cannot be told.
 */
static bool fs_owner(u64 *owner)
{
	*owner = 0;
#ifdef CONFIG_MEMCG
	if (current->active_memcg)
		return false;
	if (!current->mm || current->flags & PF_KTHREAD)
		return true;
	rcu_read_lock();
	*owner = task_css(current, memory_cgrp_id)->serial_nr;
	rcu_read_unlock();
#endif
	return true;
}

static struct fs_batch *fs_batch(struct fs_pool *p, unsigned int number)
{
	return &p->batch[number % FS_POOL_BATCHES];
}

/* RCU's callback; softirq, or a kthread */
static void fs_batch_ready(struct rcu_head *rcu)
{
	struct fs_batch *b = container_of(rcu, struct fs_batch, rcu);

	/* Pairs with fs_is_ready(). */
	smp_store_release(&b->state, FS_BATCH_READY);
}

static bool fs_is_ready(const struct fs_batch *b)
{
	/* Pairs with fs_batch_ready(). */
	return smp_load_acquire(&b->state) == FS_BATCH_READY;
}

/* No more comes into the batch that is being filled. */
static void fs_batch_close(struct fs_pool *p, struct fs_batch *b)
{
	b->state = FS_BATCH_WAITING;
	p->fill++;
	call_rcu(&b->rcu, fs_batch_ready);
}

/* All that is in a batch that is ready; it is open again. */
static struct inode *fs_batch_empty(struct fs_pool *p, struct fs_batch *b)
{
	struct inode *first = b->first;

	b->first = NULL;
	b->n = 0;
	b->state = FS_BATCH_OPEN;
	p->take++;
	return first;
}

/* Back to the kernel's cache; no reader is left. Any context. */
static unsigned int fs_free_chain(struct inode *inode)
{
	struct inode *next;
	unsigned int n;

	for (n = 0; inode; inode = next, n++) {
		next = *fs_next(inode);
		fs_note(inode, 0, 0);
		fs_stock_super->free_inode(inode);
	}
	return n;
}

/* An inode that is accounted to @owner, or NULL; @stale: give that back. */
static struct inode *fs_pool_get(struct fs_pool *p, u64 owner, struct inode **stale)
{
	struct fs_batch *b = fs_batch(p, p->take);
	struct inode *inode;

	if (!fs_is_ready(b))
		return NULL;
	/* Somebody else is here now: what the other has left need not wait for trimming. */
	if (b->owner != owner) {
		p->n[FS_VFS_TRIMMED] += b->n;
		*stale = fs_batch_empty(p, b);
		return NULL;
	}
	inode = b->first;
	b->first = *fs_next(inode);
	if (!--b->n) {
		fs_batch_empty(p, b);
		p->emptied++;
	}
	p->n[FS_VFS_REUSED]++;
	return inode;
}

/* False: there is no room. */
static bool fs_pool_put(struct fs_pool *p, struct inode *inode, u64 owner)
{
	struct fs_batch *b = fs_batch(p, p->fill);

	if (b->n && b->owner != owner && b->state == FS_BATCH_OPEN) {
		fs_batch_close(p, b);
		b = fs_batch(p, p->fill);
	}
	if (b->state != FS_BATCH_OPEN)
		return false;
	b->owner = owner;
	*fs_next(inode) = b->first;
	b->first = inode;
	if (++b->n == FS_POOL_BATCH)
		fs_batch_close(p, b);
	p->n[FS_VFS_KEPT]++;
	return true;
}

/* A pool that is not empty is looked at now and then. */
static void fs_pool_arm(struct fs_pool *p, int cpu)
{
	p->armed = true;
	queue_delayed_work_on(cpu, system_percpu_wq, &p->trim, FS_POOL_TRIM);
}

/* One batch more than was needed since the last look, or NULL. */
static struct inode *fs_pool_surplus(struct fs_pool *p)
{
	unsigned int i, ready = 0;

	for (i = p->take; i != p->fill && fs_is_ready(fs_batch(p, i)); i++)
		ready++;
	if (ready <= p->emptied)
		return NULL;
	p->n[FS_VFS_TRIMMED] += fs_batch(p, p->take)->n;
	return fs_batch_empty(p, fs_batch(p, p->take));
}

/* The end of a look: what nobody has added to for so long may begin to wait. */
static void fs_pool_looked(struct fs_pool *p, int cpu)
{
	struct fs_batch *b = fs_batch(p, p->fill);

	if (b->n && b->state == FS_BATCH_OPEN && p->filled == p->n[FS_VFS_KEPT])
		fs_batch_close(p, b);
	p->filled = p->n[FS_VFS_KEPT];
	p->emptied = 0;
	p->armed = false;
	if (p->take != p->fill || fs_batch(p, p->fill)->n)
		fs_pool_arm(p, cpu);
}

/*
 * The pool's CPU is going offline, so its work is done elsewhere: fs_cpu_dead() gives all back. But
 * it may also change its mind.
 */
static void fs_pool_astray(struct fs_pool *p, int here)
{
	int cpu = cpu_online(p->cpu) ? p->cpu : here;

	queue_delayed_work_on(cpu, system_percpu_wq, &p->trim, FS_POOL_TRIM);
}

/* One look at a CPU's pool: what is to be given back now, NULL: that was all. */
static struct inode *fs_pool_look(struct fs_pool *p, int cpu)
{
	struct inode *surplus;

	if (p->cpu != cpu) {
		fs_pool_astray(p, cpu);
		return NULL;
	}
	surplus = fs_pool_surplus(p);
	if (!surplus)
		fs_pool_looked(p, cpu);
	return surplus;
}

/* Gives back what nobody took; kworker on the pool's CPU. */
static void fs_pool_trim(struct work_struct *work)
{
	struct fs_pool *p = container_of(work, struct fs_pool, trim.work);
	struct inode *surplus;

	do {
		surplus = fs_pool_look(p, get_cpu());
		put_cpu();
		fs_free_chain(surplus);
	} while (surplus);
}

/* An inode for a new socket; process context, may sleep. */
static struct inode *fs_alloc_fresh(struct super_block *sb, bool known, u64 owner)
{
	struct inode *inode;
	u64 now;

	this_cpu_inc(fs_pools->inside);
	inode = fs_stock_super->alloc_inode(sb);
	/* Has the task been moved to another cgroup meanwhile? */
	if (inode)
		fs_note(inode, owner, known && fs_owner(&now) && now == owner ? fs_note_key : 0);
	this_cpu_inc(fs_pools->n[FS_VFS_FRESH]);
	this_cpu_dec(fs_pools->inside);
	return inode;
}

/* In place of sock_alloc_inode(), which it calls if the pool has none. */
static struct inode *fs_alloc_inode(struct super_block *sb)
{
	struct inode *inode = NULL, *stale = NULL;
	struct socket *sock;
	bool known;
	u64 owner;

	known = fs_owner(&owner);
	if (likely(known)) {
		inode = fs_pool_get(get_cpu_ptr(fs_pools), owner, &stale);
		put_cpu_ptr(fs_pools);
	}
	if (unlikely(!inode)) {
		fs_free_chain(stale);
		return fs_alloc_fresh(sb, known, owner);
	}
	fs_note(inode, owner, fs_note_key);
	/* As a new one; the head of its wait queue is as it was first made. */
	sock = SOCKET_I(inode);
	sock->wq.fasync_list = NULL;
	sock->wq.flags = 0;
	sock->state = SS_UNCONNECTED;
	sock->flags = 0;
	sock->ops = NULL;
	sock->sk = NULL;
	sock->file = NULL;
	return inode;
}

/* RCU's callback */
static void fs_free_one(struct rcu_head *rcu)
{
	struct inode *inode = container_of(rcu, struct inode, i_rcu);

	fs_note(inode, 0, 0);
	fs_stock_super->free_inode(inode);
}

/* It had extended attributes of its own, and may count them still. */
static bool fs_had_xattrs(struct inode *inode)
{
	return fs_xattrs_at && *(const u64 *)((char *)inode - fs_xattrs_at);
}

/*
 * What evict() of the kernel does if there is no such operation, without its locks and looks for
 * pages: a socket has none.
 */
static void fs_evict_inode(struct inode *inode)
{
	if (likely(xa_empty(&inode->i_data.i_pages) && !inode->i_data.nrpages)) {
		fs_inode_set_clear(inode);
		return;
	}
	truncate_inode_pages_final(&inode->i_data);
	clear_inode(inode);
}

/* A socket is gone, its inode is to be freed; process context. */
static void fs_destroy_inode(struct inode *inode)
{
	bool kept = false;
	struct fs_pool *p;
	u64 owner;

	p = get_cpu_ptr(fs_pools);
	/* Its last reference is gone: nobody can come to wait any more. */
	if (likely(fs_noted(inode, &owner) && !waitqueue_active(&fs_wq_of(inode)->wait) &&
		   !fs_had_xattrs(inode)))
		kept = fs_pool_put(p, inode, owner);
	if (unlikely(!kept)) {
		p->n[FS_VFS_FREED]++;
		call_rcu(&inode->i_rcu, fs_free_one);
	} else if (unlikely(!p->armed)) {
		fs_pool_arm(p, smp_processor_id());
	}
	put_cpu_ptr(fs_pools);
}

/* All back; nobody uses the pool, and RCU is through with it. Process context. */
static void fs_pool_drain(struct fs_pool *p)
{
	unsigned int i;

	for (i = 0; i < FS_POOL_BATCHES; i++) {
		p->n[FS_VFS_TRIMMED] += fs_free_chain(p->batch[i].first);
		p->batch[i] = (struct fs_batch){};
	}
	p->take = 0;
	p->fill = 0;
	p->armed = false;
}

/* A batch that is being filled has no callback under way. */
static void fs_pool_wait_for_readers(void)
{
	synchronize_rcu();
	rcu_barrier();
}

/* The CPU is offline. */
static int fs_cpu_dead(unsigned int cpu)
{
	struct fs_pool *p = per_cpu_ptr(fs_pools, cpu);

	cancel_delayed_work_sync(&p->trim);
	fs_pool_wait_for_readers();
	fs_pool_drain(p);
	return 0;
}

/* With @sock, which is kept by @file, at hand: NULL, or why we do not do it. */
static const char *fs_sockfs_differs(const struct socket *sock, const struct file *file)
{
	const struct inode *inode = file_inode(file);
	const struct super_operations *ops = inode->i_sb->s_op;
	const struct dentry *dentry = file->f_path.dentry;

	if (SOCK_INODE((struct socket *)sock) != inode)
		return "a socket's inode is not beside it";
	if (!list_empty(&inode->i_sb_list) || !inode_unhashed((struct inode *)inode))
		return "its inodes are on lists of all CPUs";
	if (!d_unhashed(dentry) || !IS_ROOT(dentry))
		return "its dentries are on lists of all CPUs";
	if (!ops->alloc_inode || !ops->free_inode || ops->destroy_inode)
		return "its operations are not those that are known";
	return NULL;
}

/* Newer kernels have extended attributes of sockets, and count them. */
static int fs_xattrs_find(char *why, size_t why_len)
{
	struct known {
		struct list_head xattrs;
		u64 limits;
		struct socket_alloc socket;
	};
	u32 limits, inode;
	const struct fs_btf_member members[] = {
		{ "xattrs", "struct list_head", sizeof(struct list_head), &inode },
		{ "xattr_limits", "struct simple_xattr_limits", sizeof(u64), &limits },
		{ "vfs_inode", "struct inode", sizeof(struct inode), &inode },
	};
	const struct fs_btf_struct s = { "sockfs_inode", members, ARRAY_SIZE(members),
					 sizeof(struct known) };

	if (!fs_stock_super->evict_inode)
		return 0;
	if (fs_btf_vmlinux(&s, 1, why, why_len))
		return -EOPNOTSUPP;
	fs_xattrs_at = inode - limits;
	return 0;
}

/* Sets fs_sockfs and fs_stock_super if sockfs is what we know, which is tried with a socket. */
static int fs_sockfs_find(char *why, size_t why_len)
{
	const char *differs;
	struct socket *sock;
	struct file *file;
	int err;

	err = sock_create_kern(&init_net, PF_INET, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (err) {
		snprintf(why, why_len, "error %d of a socket to look at", err);
		return err;
	}
	file = sock_alloc_file(sock, 0, NULL);
	if (IS_ERR(file)) {
		snprintf(why, why_len, "error %ld of a file to look at", PTR_ERR(file));
		return PTR_ERR(file);
	}
	differs = fs_sockfs_differs(sock, file);
	if (differs) {
		strscpy(why, differs, why_len);
	} else {
		fs_sockfs = file_inode(file)->i_sb;
		fs_stock_super = fs_sockfs->s_op;
	}
	fput(file);
	return differs ? -EOPNOTSUPP : fs_xattrs_find(why, why_len);
}

static int fs_pools_create(void)
{
	struct fs_pool *p;
	int cpu;

	fs_pools = alloc_percpu(struct fs_pool);
	if (!fs_pools)
		return -ENOMEM;
	for_each_possible_cpu(cpu) {
		p = per_cpu_ptr(fs_pools, cpu);
		p->cpu = cpu;
		INIT_DEFERRABLE_WORK(&p->trim, fs_pool_trim);
	}
	fs_cpuhp = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "net/fastsocket:dead", NULL,
					     fs_cpu_dead);
	if (fs_cpuhp >= 0)
		return 0;
	free_percpu(fs_pools);
	fs_pools = NULL;
	return fs_cpuhp;
}

/* Nobody uses the pools any more. */
static void fs_pools_destroy(void)
{
	int cpu;

	cpuhp_remove_state_nocalls(fs_cpuhp);
	for_each_possible_cpu(cpu)
		cancel_delayed_work_sync(&per_cpu_ptr(fs_pools, cpu)->trim);
	fs_pool_wait_for_readers();
	for_each_possible_cpu(cpu)
		fs_pool_drain(per_cpu_ptr(fs_pools, cpu));
	free_percpu(fs_pools);
	fs_pools = NULL;
}

static int fs_super_install(void)
{
	fs_super = kmemdup(fs_stock_super, sizeof(*fs_super), GFP_KERNEL);
	if (!fs_super)
		return -ENOMEM;
	fs_super->alloc_inode = fs_alloc_inode;
	fs_super->destroy_inode = fs_destroy_inode;
	fs_super->free_inode = NULL;
	if (!fs_super->evict_inode)
		fs_super->evict_inode = fs_evict_inode;
	/* The kernel has a whole table, at any moment. */
	smp_store_release(&fs_sockfs->s_op, fs_super);
	return 0;
}

/* Until fs_super_remove() has told the kernel what to do itself, which it does then; may sleep. */
static void fs_destroy_later(struct inode *inode)
{
	this_cpu_inc(fs_pools->inside);
	/* Pairs with fs_super_remove(). */
	while (!smp_load_acquire(&fs_super->free_inode))
		msleep(20);
	this_cpu_dec(fs_pools->inside);
}

static bool fs_vfs_inside(void)
{
	long inside = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		inside += READ_ONCE(per_cpu_ptr(fs_pools, cpu)->inside);
	return inside;
}

/*
 * When it returns, nobody is in our functions, and nobody will be.
 *
 * The kernel's alloc_inode() and destroy_inode() may sleep with a table at hand, and go on with it
 * whenever they like: so ours stays behind, as a copy of the kernel's. They look at destroy_inode
 * first, and after that call, without a sleep of theirs, at free_inode: who has called ours must
 * find none there, who has not must find the kernel's. fs_destroy_later() is right with both.
 */
static void fs_super_remove(void)
{
	WRITE_ONCE(fs_sockfs->s_op, fs_stock_super);
	WRITE_ONCE(fs_super->alloc_inode, fs_stock_super->alloc_inode);
	WRITE_ONCE(fs_super->evict_inode, fs_stock_super->evict_inode);
	WRITE_ONCE(fs_super->destroy_inode, fs_destroy_later);
	kmemleak_not_leak(fs_super);
	/* Nobody is between a call of fs_destroy_inode() and the look at free_inode any more. */
	synchronize_rcu_tasks();
	/* Pairs with fs_destroy_later(). */
	smp_store_release(&fs_super->free_inode, fs_stock_super->free_inode);
	/* Who finds nothing here finds the kernel's there. */
	smp_store_release(&fs_super->destroy_inode, NULL);
	/* Who was about to call one of our functions has called it, */
	synchronize_rcu_tasks();
	while (fs_vfs_inside())
		msleep(20);
	/* and who was in it has left it. */
	synchronize_rcu_tasks();
}

/**
 * fs_vfs_counters() - what became of sockets' inodes, by enum fs_vfs_stat
 *
 * Return: the counters of each CPU, NULL if there is no pool; between fs_vfs_init() and
 * fs_vfs_exit() they may be read by anybody.
 */
const unsigned long __percpu *fs_vfs_counters(void)
{
	return fs_pools ? fs_pools->n : NULL;
}

/**
 * fs_vfs_init() - from here on, inodes of sockets are used again; process context, sleeps
 *
 * On a kernel that is not what we know it does nothing but say so.
 */
void fs_vfs_init(void)
{
	char why[FS_BTF_WHY];
	int err;

	fs_note_key = get_random_long() | 1;
	if (fs_sockfs_find(why, sizeof(why))) {
		pr_notice("Fast Sockfs stays off: %s\n", why);
		return;
	}
	err = fs_pools_create();
	if (!err) {
		err = fs_super_install();
		if (err)
			fs_pools_destroy();
	}
	if (err) {
		pr_notice("Fast Sockfs stays off: no pools, error %d\n", err);
		return;
	}
	pr_info("Enable Fast Sockfs: inodes and dentries of sockets are on no list of all CPUs\n");
}

/**
 * fs_vfs_exit() - undo fs_vfs_init(); process context, sleeps
 *
 * All inodes of the pool are back in the kernel's cache when it returns; those of living sockets
 * are the kernel's, as if it had allocated them itself.
 */
void fs_vfs_exit(void)
{
	if (!fs_pools)
		return;
	fs_super_remove();
	fs_pools_destroy();
}
