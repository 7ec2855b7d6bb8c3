// SPDX-License-Identifier: GPL-2.0
/* Cases for listen_bind.c; suite 46 compares what bind() says with the plain kernel */
#include "../../listen_bind.c"

#include "kunit_util.h"

#ifdef FS_BIND_KNOWN

/* An attached listener that has its port by bind(), on which @prepare is called before. */
static struct fs_listener *fsk_bound(struct kunit *test, void (*prepare)(struct sock *sk))
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct socket *sock = fsk_tcp(test, AF_INET), *port;
	struct fs_listener *ls;

	KUNIT_ASSERT_EQ(test, sock_create_kern(&init_net, AF_INET, SOCK_STREAM, 0, &port), 0);
	fsk_bind_loopback(test, port);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	in.sin_port = inet_sk(port->sk)->inet_sport;
	sock_release(port);
	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	if (prepare)
		prepare(sock->sk);
	KUNIT_ASSERT_EQ(test, kernel_bind(sock, (struct sockaddr *)&in, sizeof(in)), 0);
	KUNIT_ASSERT_EQ(test, kernel_listen(sock, 512), 0);
	ls = fs_listener_of(sock->sk);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	return ls;
}

static void fsk_set_reuse(struct sock *sk)
{
	sock_set_reuseaddr(sk);
}

static void fsk_set_reuseport(struct sock *sk)
{
	sock_set_reuseport(sk);
}

/* A live clone of such a listener on CPU 0, where the case goes on. It may listen again. */
static struct fs_clone *fsk_split(struct kunit *test)
{
	struct fs_clone *c = fsk_clone(test, fsk_bound(test, fsk_set_reuse), 0);

	KUNIT_ASSERT_NOT_NULL(test, c->bind);
	KUNIT_ASSERT_TRUE(test, c->ls->split);
	fsk_on_cpu(test, 0);
	fsk_clone_live(c);
	return c;
}

/* The server's end of a new connection through @c. */
static struct sock *fsk_child(struct kunit *test, struct fs_clone *c)
{
	struct socket *sock;

	fsk_connect(test, c->ls->sock, 0);
	sock = fsk_accept(test, c->sock);
	KUNIT_ASSERT_NOT_NULL(test, sock);
	return sock->sk;
}

static void fsk_bind_close(struct fs_listener *ls)
{
	lock_sock(ls->sk);
	fs_bind_close(ls, true);
	release_sock(ls->sk);
}

static bool fsk_allowed(struct fs_listener *ls)
{
	bool allowed;

	lock_sock(ls->sk);
	allowed = fs_bind_allowed(ls);
	release_sock(ls->sk);
	return allowed;
}

static struct inet_bind_bucket *fsk_tb(const struct sock *sk)
{
	return inet_csk(sk)->icsk_bind_hash;
}

static unsigned long fsk_published(const struct fs_listener *ls)
{
	unsigned long n = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		n += per_cpu_ptr(ls->fn->stats, cpu)->n[FS_PUBLISHED];
	return n;
}

static void fs_images_get__for_all_cpus(struct kunit *test)
{
	int cpu;

	KUNIT_ASSERT_TRUE(test, fs_images_get());
	for_each_possible_cpu(cpu) {
		KUNIT_EXPECT_NOT_NULL(test, per_cpu(fs_images, cpu).sk);
		KUNIT_EXPECT_NULL(test, per_cpu(fs_images, cpu).busy);
	}
}

static void fs_tb2_new__is_found(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct inet_bind_bucket *tb = fsk_tb(c->ls->sk);
	struct kmem_cache *cache = fs_hashinfo(c->ls->sk)->bind2_bucket_cachep;
	struct in6_addr addr, other;
	struct inet_bind2_bucket *tb2;

	ipv6_addr_set_v4mapped(htonl(0x7f000005), &addr);
	ipv6_addr_set_v4mapped(htonl(0x7f000006), &other);
	tb2 = fs_tb2_new(cache, tb, AF_INET, &addr);
	KUNIT_ASSERT_NOT_NULL(test, tb2);
	KUNIT_EXPECT_TRUE(test, fs_tb2_is(tb2, tb, &addr));
	KUNIT_EXPECT_FALSE(test, fs_tb2_is(tb2, tb, &other));
	tb2->port++;
	KUNIT_EXPECT_FALSE(test, fs_tb2_is(tb2, tb, &addr));
	kmem_cache_free(cache, tb2);
}

static void fs_bind_get__four_addresses(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct inet_bind2_bucket *tb2[FS_BIND_ADDRS];
	struct in6_addr addr;
	int i;

	local_bh_disable();
	for (i = 0; i < FS_BIND_ADDRS; i++) {
		ipv6_addr_set_v4mapped(htonl(0x7f000002 + i), &addr);
		tb2[i] = fs_bind_get(c->bind, c->ls->sk, &addr);
		KUNIT_EXPECT_NOT_NULL(test, tb2[i]);
	}
	for (i = 0; i < FS_BIND_ADDRS; i++) {
		ipv6_addr_set_v4mapped(htonl(0x7f000002 + i), &addr);
		KUNIT_EXPECT_PTR_EQ(test, fs_bind_get(c->bind, c->ls->sk, &addr), tb2[i]);
	}
	ipv6_addr_set_v4mapped(htonl(0x7f000002 + i), &addr);
	KUNIT_EXPECT_NULL(test, fs_bind_get(c->bind, c->ls->sk, &addr));
	local_bh_enable();
}

static void fs_child_address__of_the_listener(struct kunit *test)
{
	struct sock *sk = kunit_kzalloc(test, sizeof(struct tcp6_sock), GFP_KERNEL);
	struct inet_request_sock *req = kunit_kzalloc(test, sizeof(*req), GFP_KERNEL);
	struct sk_buff *skb = alloc_skb(0, GFP_KERNEL);
	struct in6_addr addr, mapped;

	KUNIT_ASSERT_NOT_NULL(test, sk);
	KUNIT_ASSERT_NOT_NULL(test, req);
	KUNIT_ASSERT_NOT_NULL(test, skb);
	skb->protocol = htons(ETH_P_IP);
	req->ir_num = 80;
	req->ir_loc_addr = htonl(0x0a000001);
	ipv6_addr_set_v4mapped(req->ir_loc_addr, &mapped);
	sk->sk_family = AF_INET;
	KUNIT_EXPECT_FALSE(test, fs_child_address(sk, skb, req, &addr)); /* another port */
	inet_sk(sk)->inet_num = 80;
	KUNIT_EXPECT_TRUE(test, fs_child_address(sk, skb, req, &addr));
	KUNIT_EXPECT_TRUE(test, ipv6_addr_equal(&addr, &mapped));
	sk->sk_rcv_saddr = htonl(0x0a000002);
	KUNIT_EXPECT_FALSE(test, fs_child_address(sk, skb, req, &addr));
	sk->sk_rcv_saddr = req->ir_loc_addr;
	KUNIT_EXPECT_TRUE(test, fs_child_address(sk, skb, req, &addr));
	sk->sk_family = AF_INET6;
	KUNIT_EXPECT_TRUE(test, fs_child_address(sk, skb, req, &addr));
	KUNIT_EXPECT_TRUE(test, ipv6_addr_equal(&addr, &mapped));
	skb->protocol = htons(ETH_P_IPV6);
	req->ir_v6_loc_addr = in6addr_loopback;
	KUNIT_EXPECT_TRUE(test, fs_child_address(sk, skb, req, &addr));
	KUNIT_EXPECT_TRUE(test, ipv6_addr_equal(&addr, &in6addr_loopback));
	sk->sk_v6_rcv_saddr = mapped;
	KUNIT_EXPECT_FALSE(test, fs_child_address(sk, skb, req, &addr));
	kfree_skb(skb);
}

static void fs_bind_begin__child_is_listed_apart(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct sock *sk = fsk_child(test, c);

	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk), c->bind->tb);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(sk)->icsk_bind2_hash, c->bind->addrs[0].tb2);
	KUNIT_EXPECT_TRUE(test, hlist_unhashed(&c->bind->addrs[1].holder));
	KUNIT_EXPECT_PTR_NE(test, fsk_tb(c->ls->sk), c->bind->tb);
	/* It is the kernel's own in all else. */
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_prot, c->ls->prot);
	KUNIT_EXPECT_PTR_EQ(test, sk->sk_prot_creator, c->ls->prot);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(sk)->icsk_af_ops, c->ls->orig_af_ops);
	KUNIT_EXPECT_NULL(test, per_cpu(fs_images, 0).busy);
}

static void fs_bind_begin__switched_off(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);

	fs_bind_switch(false);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), fsk_tb(c->ls->sk));
	fs_bind_switch(true);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), c->bind->tb);
}

static void fs_bind_begin__not_behind_the_lock(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);

	/* As somebody would who does not take it. */
	c->ls->sk->sk_reuseport = 1;
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), fsk_tb(c->ls->sk));
	c->ls->sk->sk_reuseport = 0;
}

static void fs_bind_end__gives_the_drops(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct fs_image *img = &per_cpu(fs_images, 0);
	int before = sk_drops_read(c->ls->sk);

	local_bh_disable();
	WRITE_ONCE(img->busy, c->ls);
	fs_image_copy(img, c->ls);
	KUNIT_EXPECT_PTR_EQ(test, img->sk->sk_prot, c->ls->prot);
	sk_drops_add(img->sk, 3);
	fs_bind_end(c->ls);
	local_bh_enable();
	KUNIT_EXPECT_NULL(test, img->busy);
	KUNIT_EXPECT_EQ(test, sk_drops_read(c->ls->sk), before + 3);
}

static void fs_bind_allowed__if_it_covers_its_children(struct kunit *test)
{
	struct fs_listener *ls = fsk_bound(test, fsk_set_reuse);

	KUNIT_EXPECT_TRUE(test, fsk_allowed(ls));
	ls->sk->sk_bound_dev_if = 1;
	KUNIT_EXPECT_FALSE(test, fsk_allowed(ls));
	ls->sk->sk_bound_dev_if = 0;
	ls->changing++;
	KUNIT_EXPECT_FALSE(test, fsk_allowed(ls));
	ls->changing--;
	ls->sk->sk_userlocks &= ~SOCK_BINDPORT_LOCK;
	KUNIT_EXPECT_FALSE(test, fsk_allowed(ls));
	ls->sk->sk_userlocks |= SOCK_BINDPORT_LOCK;
	KUNIT_EXPECT_TRUE(test, fsk_allowed(ls));
	KUNIT_EXPECT_FALSE(test, fsk_allowed(fsk_bound(test, fsk_set_reuseport)));
	/* Its port is the kernel's choice. */
	KUNIT_EXPECT_FALSE(test, fsk_allowed(fsk_attached(test, AF_INET, 4)));
}

static void fs_bind_open__once(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct fs_bind *b = c->bind;

	fsk_locked_void(c->ls, fs_bind_open(c));
	KUNIT_EXPECT_PTR_EQ(test, c->bind, b);
	KUNIT_EXPECT_PTR_EQ(test, c->ls->sk->sk_prot, c->ls->guard);
}

static void fs_bind_open__not_when_switched_off(struct kunit *test)
{
	struct fs_listener *ls = fsk_bound(test, NULL);

	fs_bind_switch(false);
	KUNIT_EXPECT_NULL(test, fsk_clone(test, ls, 0)->bind);
	KUNIT_EXPECT_FALSE(test, ls->split);
	KUNIT_EXPECT_PTR_EQ(test, ls->sk->sk_prot, ls->prot);
}

/* As a publication without memory does it. */
static void fs_bind_publish__as_it_is(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct sock *sk = fsk_child(test, c), *lsk = c->ls->sk;
	struct fs_bind_addr *a = &c->bind->addrs[0];
	struct inet_bind2_bucket *tb2 = a->tb2;
	struct inet_bind_hashbucket *head =
		&fs_hashinfo(lsk)->bhash[inet_bhashfn(sock_net(lsk), fsk_tb(lsk)->port,
						      fs_hashinfo(lsk)->bhash_size)];
	struct inet_bind_hashbucket *head2 = fs_bind_head2(lsk, fsk_tb(lsk)->port, &a->addr);

	spin_lock_bh(&head->lock);
	spin_lock(&head2->lock);
	KUNIT_EXPECT_PTR_EQ(test, fs_bind_target(a, lsk, fsk_tb(lsk), head2),
			    inet_csk(lsk)->icsk_bind2_hash);
	fs_bind_publish(a, fsk_tb(lsk), head2);
	spin_unlock(&head2->lock);
	spin_unlock_bh(&head->lock);
	KUNIT_EXPECT_NULL(test, a->tb2);
	KUNIT_EXPECT_PTR_EQ(test, inet_csk(sk)->icsk_bind2_hash, tb2);
	if (fs_tb_by_address())
		KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk), fsk_tb(lsk));
	fsk_bind_close(c->ls);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk), fsk_tb(lsk));
}

static void fs_bind_close__all_move(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct fs_listener *ls = c->ls;
	unsigned long before = fsk_published(ls);
	struct sock *sk[3];
	int i;

	for (i = 0; i < 3; i++)
		sk[i] = fsk_child(test, c);
	fsk_bind_close(ls);
	KUNIT_EXPECT_FALSE(test, ls->split);
	KUNIT_EXPECT_NULL(test, c->bind);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk[i]), fsk_tb(ls->sk));
		KUNIT_EXPECT_PTR_EQ(test, inet_csk(sk[i])->icsk_bind2_hash,
				    inet_csk(ls->sk)->icsk_bind2_hash);
	}
	KUNIT_EXPECT_EQ(test, fsk_published(ls), before + 3);
	fsk_bind_close(ls);
	KUNIT_EXPECT_EQ(test, fsk_published(ls), before + 3);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), fsk_tb(ls->sk));
	/* And again. */
	fsk_locked_void(ls, fs_bind_open(c));
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), c->bind->tb);
}

static void fs_bind_close__more_than_a_batch(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	unsigned long before = fsk_published(c->ls);
	struct sock *sk[FS_BIND_BATCH + 3];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(sk); i++)
		sk[i] = fsk_child(test, c);
	fsk_bind_close(c->ls);
	for (i = 0; i < ARRAY_SIZE(sk); i++)
		KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk[i]), fsk_tb(c->ls->sk));
	KUNIT_EXPECT_EQ(test, fsk_published(c->ls), before + ARRAY_SIZE(sk));
}

static void fs_bind_check__options(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct sock *sk = fsk_child(test, c);

	sock_no_linger(c->ls->sk);
	KUNIT_EXPECT_TRUE(test, c->ls->split);
	/* Its release_sock() is what tells us. */
	sock_set_reuseport(c->ls->sk);
	KUNIT_EXPECT_FALSE(test, c->ls->split);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk), fsk_tb(c->ls->sk));
}

static void fs_bind_check__shutdown(struct kunit *test)
{
	struct fs_clone *c = fsk_split(test);
	struct sock *sk = fsk_child(test, c);

	KUNIT_ASSERT_EQ(test, kernel_sock_shutdown(c->ls->sock, SHUT_WR), 0);
	KUNIT_EXPECT_TRUE(test, c->ls->split);
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(sk), fsk_tb(c->ls->sk));
	KUNIT_EXPECT_PTR_EQ(test, fsk_tb(fsk_child(test, c)), c->bind->tb);
	KUNIT_ASSERT_EQ(test, kernel_sock_shutdown(c->ls->sock, SHUT_RD), 0);
	KUNIT_EXPECT_FALSE(test, c->ls->split);
	KUNIT_EXPECT_NULL(test, c->bind);
	KUNIT_ASSERT_EQ(test, kernel_listen(c->ls->sock, 4), 0);
	KUNIT_EXPECT_TRUE(test, c->ls->split);
	KUNIT_EXPECT_NOT_NULL(test, c->bind);
}

/* clang-format off */
static struct kunit_case fsk_bind_cases[] = {
	KUNIT_CASE(fs_images_get__for_all_cpus),
	KUNIT_CASE(fs_tb2_new__is_found),
	KUNIT_CASE(fs_bind_get__four_addresses),
	KUNIT_CASE(fs_child_address__of_the_listener),
	KUNIT_CASE(fs_bind_begin__child_is_listed_apart),
	KUNIT_CASE(fs_bind_begin__switched_off),
	KUNIT_CASE(fs_bind_begin__not_behind_the_lock),
	KUNIT_CASE(fs_bind_end__gives_the_drops),
	KUNIT_CASE(fs_bind_allowed__if_it_covers_its_children),
	KUNIT_CASE(fs_bind_open__once),
	KUNIT_CASE(fs_bind_open__not_when_switched_off),
	KUNIT_CASE(fs_bind_publish__as_it_is),
	KUNIT_CASE(fs_bind_close__all_move),
	KUNIT_CASE(fs_bind_close__more_than_a_batch),
	KUNIT_CASE(fs_bind_check__options),
	KUNIT_CASE(fs_bind_check__shutdown),
	{}
};

/* clang-format on */

#else

static struct kunit_case fsk_bind_cases[] = {
	{},
};

#endif

static unsigned int fsk_bind_was;

static int fsk_bind_init(struct kunit *test)
{
	fsk_bind_was = fs_bind_enabled;
	fs_bind_enabled = 1;
	return fsk_init(test);
}

static void fsk_bind_exit(struct kunit *test)
{
	fsk_exit(test);
	fs_bind_enabled = fsk_bind_was;
}

struct kunit_suite fsk_bind_suite = {
	.name = "listen_bind",
	.init = fsk_bind_init,
	.exit = fsk_bind_exit,
	.test_cases = fsk_bind_cases,
};
