// SPDX-License-Identifier: GPL-2.0
/*
 * Private bind buckets: connections of a clone are listed apart
 *
 * Why it exists: every TCP socket with a local port is on a list of its port, by which bind()
 * finds who would conflict. All connections of a listener have the listener's port, so whenever
 * one is made, enters TIME_WAIT or ends, its CPU writes into the list's head and into the
 * neighbours, which are hot sockets of other CPUs. That is the most that connections share.
 *
 * Nobody needs those lists while the listener is there: a listener without SO_REUSEPORT that is
 * bound to no device conflicts with every bind() that any of its connections would conflict with,
 * whatever these may have set for themselves (docs/bind-buckets.md). So connections that are made
 * by a clone go to buckets of the clone, which are in no table, under the same locks as ever.
 * Before the listener stops to be one that conflicts with all of that, they move to the port's own
 * buckets, and it is as if nothing had been.
 *
 * Three parts:
 *  - The child's way in: __inet_inherit_port() takes the buckets from the listener that it is
 *    given. It gets an image of it, a copy that each CPU makes for itself, with ours in it.
 *  - The clone's buckets are the kernel's own structures, from the kernel's own caches. A "holder"
 *    in their lists, which is no socket, keeps the kernel from freeing them with the last socket.
 *    Nobody looks at those lists but to add and delete.
 *  - Who may end it all takes the listener's socket lock for it. close(), shutdown() and connect()
 *    are ours and do it before; everything else, setsockopt() and `ss -K` above all, is seen by a
 *    release_cb in the listener's sk_prot, which the kernel calls when that lock is released.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/errno.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/printk.h>
#include <linux/processor.h>
#include <linux/slab.h>
#include <net/inet_hashtables.h>
#include <net/inet_timewait_sock.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "include/compat.h"
#include "include/fastsocket.h"
#include "include/listen_spawn.h"

unsigned int fs_bind_enabled __read_mostly = 1;

#ifdef FS_BIND_KNOWN

/* Local addresses of one clone; connections to others go to the port's own buckets. */
#define FS_BIND_ADDRS	4
/* How many sockets move while the port's chain is locked. */
#define FS_BIND_BATCH	32
/* An image's: no TCP socket is larger. */
#define FS_IMAGE_SIZE	sizeof(struct tcp6_sock)

/**
 * struct fs_bind_addr - the bucket of an address
 * @tb2: the bucket, NULL: none yet. Set once under fs_bind.lock, read without; its lists are the
 *	kernel's, under the kernel's locks
 * @holder: keeps @tb2; in its owners
 * @addr: its address, v4-mapped; constant once @tb2 is set
 */
struct fs_bind_addr {
	struct inet_bind2_bucket *tb2;
	struct hlist_node holder;
	struct in6_addr addr;
};

/**
 * struct fs_bind - the buckets of a clone
 * @tb: that of the port; constant
 * @holder: keeps @tb; in its owners, if it has such a list
 * @lock: held to add an address; softirq
 * @addrs: by address, in no order; the first without @tb2 is the end
 */
struct fs_bind {
	struct inet_bind_bucket *tb;
	struct hlist_node holder;
	spinlock_t lock;	/* @addrs grows */
	struct fs_bind_addr addrs[FS_BIND_ADDRS];
};

/**
 * struct fs_image - a CPU's copy of the listener whose child it makes
 * @busy: that listener while the CPU may look at buckets of its clones. Written by the CPU in
 *	softirq; who has cleared fs_listener.split waits until it is another
 * @sk: room for a struct tcp6_sock; set once, under fs_images_lock
 * @drops: sk_drops that it was copied with
 */
struct fs_image {
	const struct fs_listener *busy;
	struct sock *sk;
	int drops;
};

static DEFINE_PER_CPU_ALIGNED(struct fs_image, fs_images);
static DEFINE_MUTEX(fs_images_lock);

static struct inet_hashinfo *fs_hashinfo(const struct sock *sk)
{
	return sock_net(sk)->ipv4.tcp_death_row.hashinfo;
}

/* Images for all CPUs, once. Process context. Return: whether they are there. */
static bool fs_images_get(void)
{
	bool ok = true;
	int cpu;

	mutex_lock(&fs_images_lock);
	for_each_possible_cpu(cpu) {
		struct fs_image *img = &per_cpu(fs_images, cpu);

		if (!img->sk)
			img->sk = kzalloc_node(FS_IMAGE_SIZE, GFP_KERNEL, cpu_to_node(cpu));
		ok = ok && img->sk;
	}
	mutex_unlock(&fs_images_lock);
	return ok;
}

static struct inet_bind_bucket *fs_tb_new(struct kmem_cache *cache, struct hlist_node *holder)
{
	struct inet_bind_bucket *tb = kmem_cache_zalloc(cache, GFP_KERNEL);

	if (!tb)
		return NULL;
	/* So that the kernel looks for nothing in it when one leaves. */
	tb->fastreuse = -1;
	tb->fastreuseport = -1;
	hlist_add_fake(&tb->node);
	fs_tb_init(tb, holder);
	return tb;
}

/* A bucket like @tb for @addr, in no list. */
static struct inet_bind2_bucket *fs_tb2_new(struct kmem_cache *cache,
					    const struct inet_bind_bucket *tb,
					    unsigned short family, const struct in6_addr *addr)
{
	struct inet_bind2_bucket *tb2 = kmem_cache_zalloc(cache, GFP_ATOMIC);

	if (!tb2)
		return NULL;
	write_pnet(&tb2->ib_net, ib_net(tb));
	tb2->l3mdev = tb->l3mdev;
	tb2->port = tb->port;
	fs_tb2_set_address(tb2, family, addr);
	return tb2;
}

static bool fs_tb2_is(const struct inet_bind2_bucket *tb2, const struct inet_bind_bucket *tb,
		      const struct in6_addr *addr)
{
	struct in6_addr own;

	if (!net_eq(ib2_net(tb2), ib_net(tb)) || tb2->port != tb->port || tb2->l3mdev != tb->l3mdev)
		return false;
	fs_tb2_address(tb2, &own);
	return ipv6_addr_equal(&own, addr);
}

static struct inet_bind_hashbucket *fs_bind_head2(const struct sock *sk, unsigned short port,
						  const struct in6_addr *addr)
{
	const struct inet_hashinfo *h = fs_hashinfo(sk);
	u32 hash = ipv6_portaddr_hash(sock_net(sk), addr, port);

	return &h->bhash2[hash & (h->bhash_size - 1)];
}

/* Make @a the bucket of @addr. Holds fs_bind.lock. */
static struct inet_bind2_bucket *fs_bind_add(struct fs_bind_addr *a, struct inet_bind_bucket *tb,
					     const struct sock *sk, const struct in6_addr *addr)
{
	struct inet_bind2_bucket *tb2 =
		fs_tb2_new(fs_hashinfo(sk)->bind2_bucket_cachep, tb, sk->sk_family, addr);

	if (!tb2)
		return NULL;
	fs_tb2_set_reuse(tb2, -1);
	hlist_add_fake(&tb2->node);
	fs_tb2_init(tb2, &a->holder);
	fs_tb2_join(tb2, tb);
	a->addr = *addr;
	/* Whoever sees it sees the rest. */
	smp_store_release(&a->tb2, tb2);
	return tb2;
}

/* The one of @addr if it is there; @free: else the first that is none's, NULL if there is none. */
static struct inet_bind2_bucket *fs_bind_lookup(struct fs_bind *b, const struct in6_addr *addr,
						struct fs_bind_addr **free)
{
	struct inet_bind2_bucket *tb2;
	struct fs_bind_addr *a;

	for (a = b->addrs; a < b->addrs + FS_BIND_ADDRS; a++) {
		/* Pairs with fs_bind_add(). */
		tb2 = smp_load_acquire(&a->tb2);
		*free = a;
		if (!tb2)
			return NULL;
		if (ipv6_addr_equal(&a->addr, addr))
			return tb2;
	}
	*free = NULL;
	return NULL;
}

/* The bucket for children at @addr, NULL: the port's own. Softirq. */
static struct inet_bind2_bucket *fs_bind_get(struct fs_bind *b, const struct sock *sk,
					     const struct in6_addr *addr)
{
	struct fs_bind_addr *a;
	struct inet_bind2_bucket *tb2 = fs_bind_lookup(b, addr, &a);

	if (tb2 || !a)
		return tb2;
	spin_lock(&b->lock);
	tb2 = fs_bind_lookup(b, addr, &a);
	if (!tb2 && a)
		tb2 = fs_bind_add(a, b->tb, sk, addr);
	spin_unlock(&b->lock);
	return tb2;
}

/* Where the child of @ireq will be: is that at @sk's own address and port? */
static bool fs_child_address(const struct sock *sk, const struct sk_buff *skb,
			     const struct inet_request_sock *ireq, struct in6_addr *addr)
{
	if (ireq->ir_num != inet_sk(sk)->inet_num)
		return false;
	if (sk->sk_family == AF_INET6 && skb->protocol != htons(ETH_P_IP)) {
		*addr = ireq->ir_v6_loc_addr;
	} else {
		ipv6_addr_set_v4mapped(ireq->ir_loc_addr, addr);
		if (sk->sk_family == AF_INET)
			return !sk->sk_rcv_saddr || sk->sk_rcv_saddr == ireq->ir_loc_addr;
	}
	return ipv6_addr_any(&sk->sk_v6_rcv_saddr) || ipv6_addr_equal(&sk->sk_v6_rcv_saddr, addr);
}

/* Does a listener, locked, or a fresh image of it conflict with all that its children would? */
static bool fs_bind_covers(const struct sock *sk)
{
	return sk->sk_state == TCP_LISTEN && !sk->sk_reuseport && !sk->sk_bound_dev_if;
}

/*
 * The image is what sk_clone_lock() would see of the listener: the same bytes, as fresh. It has no
 * count of references and no lock that is good for anything, and nobody takes any.
 */
static void fs_image_copy(struct fs_image *img, const struct fs_listener *ls)
{
	const unsigned int begin = offsetof(struct sock, sk_dontcopy_begin);
	const unsigned int end = offsetof(struct sock, sk_dontcopy_end);
	const char *from = (const char *)ls->sk;
	struct sock *sk = img->sk;
	char *to = (char *)sk;

	/* Not locked, as there: options may change meanwhile, and either value will do. */
	data_race(memcpy(to, from, begin));
	/* As above. */
	data_race(memcpy(to + end, from + end, ls->prot->obj_size - end));
	if (sk->sk_prot == ls->guard)
		sk->sk_prot = ls->prot;
	img->drops = sk_drops_read(sk);
}

/**
 * fs_bind_begin() - a listener for the kernel to make a clone's child from
 * @c: the clone
 * @skb: the last segment of the handshake
 * @req: the request socket
 *
 * Softirq, under RCU. What it returns is this CPU's until fs_bind_end().
 *
 * Return: an image of the listener with the buckets of @c; NULL: take the listener itself, and do
 * not call fs_bind_end().
 */
struct sock *fs_bind_begin(struct fs_clone *c, const struct sk_buff *skb,
			   const struct request_sock *req)
{
	struct fs_image *img = this_cpu_ptr(&fs_images);
	struct fs_listener *ls = c->ls;
	struct inet_bind2_bucket *tb2;
	struct in6_addr addr;
	struct fs_bind *b;

	if (!READ_ONCE(ls->split) || !READ_ONCE(fs_bind_enabled) || WARN_ON_ONCE(img->busy))
		return NULL;
	WRITE_ONCE(img->busy, ls);
	/* Pairs with fs_bind_close(): one of us sees the other. */
	smp_mb();
	/* Pairs with fs_bind_open(). */
	b = READ_ONCE(ls->split) ? smp_load_acquire(&c->bind) : NULL;
	if (!b)
		goto native;
	fs_image_copy(img, ls);
	if (!fs_bind_covers(img->sk) || fs_listener_obstacle(img->sk) != FS_REDIRECTED ||
	    !fs_child_address(img->sk, skb, inet_rsk(req), &addr))
		goto native;
	tb2 = fs_bind_get(b, img->sk, &addr);
	if (!tb2)
		goto native;
	inet_csk(img->sk)->icsk_bind_hash = b->tb;
	inet_csk(img->sk)->icsk_bind2_hash = tb2;
	return img->sk;

native:
	/* Pairs with fs_bind_wait(). */
	smp_store_release(&img->busy, NULL);
	return NULL;
}

/**
 * fs_bind_end() - the other half of fs_bind_begin()
 * @ls: the listener
 *
 * What the kernel has counted in the image is the listener's.
 */
void fs_bind_end(const struct fs_listener *ls)
{
	struct fs_image *img = this_cpu_ptr(&fs_images);
	int drops = sk_drops_read(img->sk) - img->drops;

	if (unlikely(drops))
		sk_drops_add(ls->sk, drops);
	/* Pairs with fs_bind_wait(): it sees the child where it is. */
	smp_store_release(&img->busy, NULL);
}

/*
 * May its clones have buckets now? The listener is locked. It has to have a port of its own choice:
 * one that the kernel has chosen for listen() is given back when somebody ends it with `ss -K`. The
 * bucket of ::ffff:0.0.0.0 is not found by kernels before 6.9, so its children would be missed.
 */
static bool fs_bind_allowed(const struct fs_listener *ls)
{
	const struct sock *sk = ls->sk;
	const struct inet_bind_bucket *tb = inet_csk(sk)->icsk_bind_hash;

	if (!fs_bind_covers(sk) || ls->changing || ls->dead)
		return false;
	if (!(sk->sk_userlocks & SOCK_BINDPORT_LOCK) || !tb || tb->port != inet_sk(sk)->inet_num)
		return false;
	if ((sk->sk_prot != ls->prot && sk->sk_prot != ls->guard) ||
	    ls->prot->obj_size > FS_IMAGE_SIZE)
		return false;
	return sk->sk_family == AF_INET || !ipv6_addr_v4mapped(&sk->sk_v6_rcv_saddr) ||
	       sk->sk_v6_rcv_saddr.s6_addr32[3];
}

static void fs_bind_free(struct fs_bind *b, struct kmem_cache *cache)
{
	if (!b)
		return;
	if (b->tb)
		kmem_cache_free(cache, b->tb);
	kfree(b);
}

/**
 * fs_bind_open() - give a clone buckets of its own, if it may have some
 * @c: the clone, in its listener's list; holds ls->lock; may sleep
 *
 * Without memory for it the clone goes on with the port's own.
 */
void fs_bind_open(struct fs_clone *c)
{
	struct fs_listener *ls = c->ls;
	struct sock *sk = ls->sk;
	struct kmem_cache *cache = fs_hashinfo(sk)->bind_bucket_cachep;
	const struct inet_bind_bucket *tb;
	struct fs_bind *b;

	if (c->bind || !READ_ONCE(fs_bind_enabled) || !fs_images_get())
		return;
	b = kzalloc(sizeof(*b), GFP_KERNEL_ACCOUNT);
	if (!b)
		return;
	spin_lock_init(&b->lock);
	b->tb = fs_tb_new(cache, &b->holder);
	lock_sock(sk);
	if (b->tb && fs_bind_allowed(ls)) {
		tb = inet_csk(sk)->icsk_bind_hash;
		write_pnet(&b->tb->ib_net, ib_net(tb));
		b->tb->l3mdev = tb->l3mdev;
		b->tb->port = tb->port;
		WRITE_ONCE(sk->sk_prot, ls->guard);
		/* Pairs with fs_bind_begin(). */
		smp_store_release(&c->bind, b);
		WRITE_ONCE(ls->split, true);
		b = NULL;
	}
	release_sock(sk);
	fs_bind_free(b, cache);
}

/*
 * @a's bucket itself becomes one of @tb's, with all that is in it. Return: how many were not @tb's
 * until now.
 */
static unsigned int fs_bind_publish(struct fs_bind_addr *a, struct inet_bind_bucket *tb,
				    struct inet_bind_hashbucket *head2)
{
	struct inet_bind2_bucket *tb2 = a->tb2;
	unsigned int n;

	hlist_del(&a->holder);
	n = fs_tb2_set_tb(tb2, tb);
	fs_tb2_leave(tb2);
	fs_tb2_set_reuse(tb2, 0);
	fs_tb2_join(tb2, tb);
	hlist_add_head(&tb2->node, &head2->chain);
	a->tb2 = NULL;
	return n;
}

/* Free @a's bucket if there is nothing in it but the holder. */
static bool fs_bind_drop(struct fs_bind_addr *a, struct kmem_cache *cache)
{
	hlist_del(&a->holder);
	if (!fs_tb2_empty(a->tb2)) {
		hlist_add_head(&a->holder, &a->tb2->owners);
		return false;
	}
	fs_tb2_leave(a->tb2);
	kmem_cache_free(cache, a->tb2);
	a->tb2 = NULL;
	return true;
}

/*
 * The bucket of @tb's at @a's address to which @a's sockets move; at least one must, so that
 * somebody frees it. NULL: none is needed, or there is no memory for it. Publish @a's.
 */
static struct inet_bind2_bucket *fs_bind_target(const struct fs_bind_addr *a, const struct sock *sk,
						struct inet_bind_bucket *tb,
						struct inet_bind_hashbucket *head2)
{
	struct inet_bind2_bucket *tb2;

	hlist_for_each_entry(tb2, &head2->chain, node)
		if (fs_tb2_is(tb2, tb, &a->addr))
			return tb2;
	if (!fs_tb_by_address())
		return NULL;
	tb2 = fs_tb2_new(fs_hashinfo(sk)->bind2_bucket_cachep, tb, sk->sk_family, &a->addr);
	if (tb2) {
		fs_tb2_join(tb2, tb);
		hlist_add_head(&tb2->node, &head2->chain);
	}
	return tb2;
}

/*
 * Move some of @a's sockets to the buckets of @tb, which is the port's own and locked; @moved
 * counts those that were not @tb's. Return: whether there may be more.
 */
static bool fs_bind_move_addr(struct fs_bind_addr *a, const struct sock *sk,
			      struct inet_bind_bucket *tb, unsigned int *moved)
{
	struct inet_bind_hashbucket *head2;
	struct inet_bind2_bucket *to;
	unsigned int n;

	if (!a->tb2)
		return false;
	head2 = fs_bind_head2(sk, tb->port, &a->addr);
	spin_lock(&head2->lock);
	if (!fs_bind_drop(a, fs_hashinfo(sk)->bind2_bucket_cachep)) {
		to = fs_bind_target(a, sk, tb, head2);
		if (to) {
			n = fs_tb2_move(a->tb2, to, tb, &a->holder, FS_BIND_BATCH);
			*moved += fs_tb_by_address() ? n : 0;
		} else {
			*moved += fs_bind_publish(a, tb, head2);
		}
	}
	spin_unlock(&head2->lock);
	return a->tb2;
}

/* The same for all of @b. */
static bool fs_bind_move(struct fs_bind *b, const struct sock *sk, unsigned int *moved)
{
	const struct inet_hashinfo *h = fs_hashinfo(sk);
	struct inet_bind_hashbucket *head =
		&h->bhash[inet_bhashfn(sock_net(sk), b->tb->port, h->bhash_size)];
	struct inet_bind_bucket *tb = inet_csk(sk)->icsk_bind_hash;
	bool more;
	int i, n;

	spin_lock_bh(&head->lock);
	n = fs_tb_move(b->tb, tb, &b->holder, FS_BIND_BATCH);
	more = n;
	*moved += n;
	for (i = 0; i < FS_BIND_ADDRS; i++)
		more |= fs_bind_move_addr(&b->addrs[i], sk, tb, moved);
	spin_unlock_bh(&head->lock);
	return more;
}

/* Nobody makes children into buckets of @ls any more. */
static void fs_bind_wait(const struct fs_listener *ls)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct fs_image *img = &per_cpu(fs_images, cpu);

		/* Softirqs that are under way; some ten microseconds. Then we see what they did. */
		while (smp_load_acquire(&img->busy) == ls)
			cpu_relax();
	}
}

static void fs_bind_close_clone(struct fs_clone *c, bool may_sleep)
{
	struct fs_bind *b = c->bind;
	struct sock *sk = c->ls->sk;
	unsigned int moved = 0;

	if (!b)
		return;
	WRITE_ONCE(c->bind, NULL);
	/* It has a port as long as it is bound to it by bind(); better leak than guess. */
	if (WARN_ON_ONCE(!inet_csk(sk)->icsk_bind_hash))
		return;
	while (fs_bind_move(b, sk, &moved))
		if (may_sleep)
			cond_resched();
	if (moved)
		fs_count_n(c->ls->fn, FS_PUBLISHED, moved);
	fs_bind_free(b, fs_hashinfo(sk)->bind_bucket_cachep);
}

/**
 * fs_bind_close() - all connections of a listener go to the port's own buckets
 * @ls: the listener; its socket is locked and bound
 * @may_sleep: in process context with nothing else held but mutexes
 *
 * No memory is needed. Its clones stay without buckets until fs_bind_open().
 */
void fs_bind_close(struct fs_listener *ls, bool may_sleep)
{
	struct fs_clone *c;

	if (!ls->split)
		return;
	WRITE_ONCE(ls->split, false);
	/* Pairs with fs_bind_begin(). */
	smp_mb();
	fs_bind_wait(ls);
	/* They are there until nobody has the listener's file any more, and longer. */
	list_for_each_entry_rcu(c, &ls->clones, node, true)
		fs_bind_close_clone(c, may_sleep);
}

/**
 * fs_bind_check() - the listener's socket lock is about to be released
 * @ls: the listener; its socket is locked, bottom halves are off
 */
void fs_bind_check(struct fs_listener *ls)
{
	if (unlikely(ls->split && !fs_bind_allowed(ls)))
		fs_bind_close(ls, false);
}

/**
 * fs_bind_switch() - the parameter enable_private_bind
 * @on: whether clones get buckets from now on; those that have some keep them, but off they get no
 *	more connections
 *
 * Return: 0.
 */
int fs_bind_switch(bool on)
{
	WRITE_ONCE(fs_bind_enabled, on);
	return 0;
}

/**
 * fs_bind_init() - at load
 */
void fs_bind_init(void)
{
}

/**
 * fs_bind_exit() - at unload; nothing is attached, and an RCU grace period has passed since
 */
void fs_bind_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		kfree(per_cpu(fs_images, cpu).sk);
}

#else /* !FS_BIND_KNOWN */

struct sock *fs_bind_begin(struct fs_clone *c, const struct sk_buff *skb,
			   const struct request_sock *req)
{
	return NULL;
}

void fs_bind_end(const struct fs_listener *ls)
{
}

void fs_bind_open(struct fs_clone *c)
{
}

void fs_bind_close(struct fs_listener *ls, bool may_sleep)
{
}

void fs_bind_check(struct fs_listener *ls)
{
}

static bool fs_bind_loaded;

static int fs_bind_refuse(void)
{
	fs_bind_enabled = 0;
	pr_notice("Private Bind stays off: PREEMPT_RT, or unknown bind buckets\n");
	return -EOPNOTSUPP;
}

/* At load the module does without it. */
int fs_bind_switch(bool on)
{
	fs_bind_enabled = on;
	return on && fs_bind_loaded ? fs_bind_refuse() : 0;
}

void fs_bind_init(void)
{
	fs_bind_loaded = true;
	if (fs_bind_enabled)
		fs_bind_refuse();
}

void fs_bind_exit(void)
{
}

#endif
