// SPDX-License-Identifier: GPL-2.0
/* Cases for listen_group.c; suite 44 has what takes programs */
#include "../../listen_group.c"

#include "kunit_util.h"

#define FSK_MEMBERS 3

/* Attached listeners on one port, which is free: members of one group. */
struct fsk_group {
	struct fs_listener *ls[FSK_MEMBERS];
};

static struct fsk_group *fsk_group(struct kunit *test)
{
	struct fsk_group *g = kunit_kzalloc(test, sizeof(*g), GFP_KERNEL);
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct socket *sock;
	int i;

	KUNIT_ASSERT_NOT_NULL(test, g);
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	for (i = 0; i < FSK_MEMBERS; i++) {
		sock = fsk_tcp(test, AF_INET);
		sock_set_reuseport(sock->sk);
		KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
		KUNIT_ASSERT_EQ(test, kernel_bind(sock, (struct sockaddr *)&in, sizeof(in)), 0);
		in.sin_port = htons(inet_sk(sock->sk)->inet_num);
		KUNIT_ASSERT_EQ(test, kernel_listen(sock, 4), 0);
		g->ls[i] = fs_listener_of(sock->sk);
		KUNIT_ASSERT_NOT_NULL(test, g->ls[i]);
	}
	return g;
}

/* Join as fs_worker_new() does. Return: whether there is a group. */
static bool fsk_join(struct fs_listener *ls)
{
	bool joined;

	mutex_lock(&ls->lock);
	joined = fs_group_join(ls);
	if (joined)
		fs_group_joined();
	mutex_unlock(&ls->lock);
	return joined;
}

static bool fsk_same(const struct fs_listener *a, const struct fs_listener *b)
{
	bool same;

	rcu_read_lock();
	same = fs_group_same(a, b);
	rcu_read_unlock();
	return same;
}

static struct fs_clone *fsk_group_clone(const struct fs_listener *ls)
{
	struct fs_clone *c;

	rcu_read_lock();
	c = fs_group_clone(ls);
	rcu_read_unlock();
	return c;
}

static void fs_group_same__of_one_port(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);
	struct fs_listener *alone = fsk_attached(test, AF_INET, 4);

	KUNIT_EXPECT_TRUE(test, fsk_same(g->ls[0], g->ls[1]));
	KUNIT_EXPECT_TRUE(test, fsk_same(g->ls[2], g->ls[1]));
	KUNIT_EXPECT_FALSE(test, fsk_same(g->ls[0], alone));
	KUNIT_EXPECT_FALSE(test, fsk_same(alone, g->ls[0]));
	KUNIT_EXPECT_FALSE(test, fsk_same(alone, alone));
	KUNIT_EXPECT_FALSE(test, fsk_same(g->ls[0], fsk_group(test)->ls[0]));
}

static void fs_group_same__not_if_the_program_chooses(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);
	struct sock_reuseport *r = rcu_dereference_raw(g->ls[0]->sk->sk_reuseport_cb);

	rcu_assign_pointer(r->prog, (struct bpf_prog *)test);
	KUNIT_EXPECT_FALSE(test, fsk_same(g->ls[0], g->ls[1]));
	RCU_INIT_POINTER(r->prog, NULL);
	g->ls[1]->sk->sk_incoming_cpu = 0;
	KUNIT_EXPECT_FALSE(test, fsk_same(g->ls[0], g->ls[1]));
	KUNIT_EXPECT_FALSE(test, fsk_same(g->ls[1], g->ls[0]));
	g->ls[1]->sk->sk_incoming_cpu = -1;
	KUNIT_EXPECT_TRUE(test, fsk_same(g->ls[0], g->ls[1]));
}

static void fs_group_join__finds_the_others(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test), *other = fsk_group(test);

	KUNIT_EXPECT_FALSE(test, fsk_join(fsk_attached(test, AF_INET, 4)));
	KUNIT_EXPECT_TRUE(test, fsk_join(g->ls[0]));
	KUNIT_EXPECT_TRUE(test, fsk_join(other->ls[0]));
	KUNIT_EXPECT_TRUE(test, fsk_join(g->ls[1]));
	KUNIT_EXPECT_TRUE(test, fsk_join(g->ls[1]));
	KUNIT_EXPECT_TRUE(test, rcu_access_pointer(g->ls[0]->group));
	KUNIT_EXPECT_PTR_EQ(test, rcu_access_pointer(g->ls[0]->group),
			    rcu_access_pointer(g->ls[1]->group));
	KUNIT_EXPECT_PTR_NE(test, rcu_access_pointer(g->ls[0]->group),
			    rcu_access_pointer(other->ls[0]->group));
	KUNIT_EXPECT_FALSE(test, rcu_access_pointer(g->ls[2]->group));
}

static void fs_group_leave__the_last_one_ends_it(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);

	fsk_join(g->ls[0]);
	fsk_join(g->ls[1]);
	fsk_locked_void(g->ls[0], fs_group_leave(g->ls[0]));
	KUNIT_EXPECT_FALSE(test, rcu_access_pointer(g->ls[0]->group));
	KUNIT_EXPECT_FALSE(test, list_empty(&fs_groups));
	fsk_locked_void(g->ls[1], fs_group_leave(g->ls[1]));
	KUNIT_EXPECT_TRUE(test, list_empty(&fs_groups));
	fsk_locked_void(g->ls[1], fs_group_leave(g->ls[1]));
}

/* Of 64 SYNs, how many does @c get? */
static int fsk_share(const struct fs_listener *ls, const struct fs_clone *c)
{
	int i, n = 0;

	for (i = 0; i < 64; i++)
		n += fsk_group_clone(ls) == c;
	return n;
}

static void fs_group_offer__those_that_are_live_share(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);
	struct fs_clone *a, *b;

	fsk_need_cpus(test, 2);
	fsk_on_cpu(test, 1);
	fsk_join(g->ls[0]);
	fsk_join(g->ls[1]);
	fsk_join(g->ls[2]);
	a = fsk_clone(test, g->ls[0], 1);
	b = fsk_clone(test, g->ls[1], 1);
	KUNIT_EXPECT_NULL(test, fsk_group_clone(g->ls[2]));
	fsk_clone_live(a);
	fs_group_offer(a);
	KUNIT_EXPECT_PTR_EQ(test, fsk_group_clone(g->ls[2]), a);
	fsk_clone_live(b);
	fs_group_offer(b);
	fs_group_offer(b);
	KUNIT_EXPECT_GT(test, fsk_share(g->ls[2], a), 8);
	KUNIT_EXPECT_GT(test, fsk_share(g->ls[2], b), 8);
	WRITE_ONCE(a->live, false);
	KUNIT_EXPECT_EQ(test, fsk_share(g->ls[2], b), 64);
	WRITE_ONCE(a->live, true);
	WRITE_ONCE(b->live, false);
	KUNIT_EXPECT_EQ(test, fsk_share(g->ls[2], a), 64);
	fsk_on_cpu(test, 0);
	KUNIT_EXPECT_NULL(test, fsk_group_clone(g->ls[2]));
	WRITE_ONCE(a->live, false);
}

static void fs_group_withdraw__its_own_only(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);
	struct fs_clone *a, *b;

	fsk_on_cpu(test, 0);
	fsk_join(g->ls[0]);
	fsk_join(g->ls[1]);
	a = fsk_clone(test, g->ls[0], 0);
	b = fsk_clone(test, g->ls[1], 0);
	fsk_clone_live(a);
	fs_group_offer(a);
	fsk_locked_void(g->ls[1], fs_group_withdraw(b));
	KUNIT_EXPECT_PTR_EQ(test, fsk_group_clone(g->ls[1]), a);
	fsk_locked_void(g->ls[0], fs_group_withdraw(a));
	KUNIT_EXPECT_NULL(test, fsk_group_clone(g->ls[1]));
	WRITE_ONCE(a->live, false);
}

static void fs_group_clone__not_of_one_that_is_none_any_more(struct kunit *test)
{
	struct fsk_group *g = fsk_group(test);
	struct fs_clone *a;

	fsk_on_cpu(test, 0);
	fsk_join(g->ls[0]);
	fsk_join(g->ls[1]);
	a = fsk_clone(test, g->ls[0], 0);
	fsk_clone_live(a);
	fs_group_offer(a);
	KUNIT_EXPECT_PTR_EQ(test, fsk_group_clone(g->ls[1]), a);
	kernel_sock_shutdown(g->ls[0]->sock, SHUT_RDWR);
	KUNIT_EXPECT_NULL(test, fsk_group_clone(g->ls[1]));
	WRITE_ONCE(a->live, false);
}

/* clang-format off */
static struct kunit_case fsk_group_cases[] = {
	KUNIT_CASE(fs_group_same__of_one_port),
	KUNIT_CASE(fs_group_same__not_if_the_program_chooses),
	KUNIT_CASE(fs_group_join__finds_the_others),
	KUNIT_CASE(fs_group_leave__the_last_one_ends_it),
	KUNIT_CASE(fs_group_offer__those_that_are_live_share),
	KUNIT_CASE(fs_group_withdraw__its_own_only),
	KUNIT_CASE(fs_group_clone__not_of_one_that_is_none_any_more),
	{}
};

/* clang-format on */

static void fsk_group_exit(struct kunit *test)
{
	fsk_exit(test);
	KUNIT_EXPECT_TRUE(test, list_empty(&fs_groups));
}

struct kunit_suite fsk_group_suite = {
	.name = "listen_group",
	.init = fsk_init,
	.exit = fsk_group_exit,
	.test_cases = fsk_group_cases,
};
