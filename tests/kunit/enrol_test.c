// SPDX-License-Identifier: GPL-2.0
/* Cases for enrol.c; suite 43 has what takes programs */
#include "../../enrol.c"

#include "kunit_util.h"

#define FSK_TEXT 1024

/* Names of /proc files are in use once: the module's own text, read into @text. */
static char *fsk_enrolled_text(struct kunit *test, void (*show)(struct seq_file *m))
{
	struct seq_file *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->buf = kunit_kzalloc(test, FSK_TEXT, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->buf);
	m->size = FSK_TEXT;
	show(m);
	KUNIT_ASSERT_LT(test, m->count, FSK_TEXT);
	return m->buf;
}

static void fsk_process_add(struct kunit *test, void *unused)
{
	unsigned int before = fs_enrolled_processes();

	KUNIT_EXPECT_EQ(test, fs_process_add(current, GFP_KERNEL), 0);
	KUNIT_EXPECT_EQ(test, fs_enrolled_processes(), before + 1);
	KUNIT_EXPECT_TRUE(test, fs_enrolled());
	KUNIT_EXPECT_EQ(test, fs_process_add(current, GFP_ATOMIC), 0);
	KUNIT_EXPECT_EQ(test, fs_enrolled_processes(), before + 1);
	fs_process_remove(current->signal);
	KUNIT_EXPECT_EQ(test, fs_enrolled_processes(), before);
	KUNIT_EXPECT_FALSE(test, fs_enrolled());
	fs_process_remove(current->signal);
	KUNIT_EXPECT_EQ(test, fs_enrolled_processes(), before);
}

static void fs_process_add__once(struct kunit *test)
{
	fsk_user(test, fsk_process_add, NULL);
}

/* Its last thread is past the tracepoint: nobody would take it off the list. */
static void fsk_process_dead(struct kunit *test, void *unused)
{
	int live = atomic_xchg(&current->signal->live, 0);

	KUNIT_EXPECT_EQ(test, fs_process_add(current, GFP_KERNEL), -ESRCH);
	atomic_set(&current->signal->live, live);
	KUNIT_EXPECT_FALSE(test, fs_enrolled());
}

static void fs_process_add__not_one_that_is_gone(struct kunit *test)
{
	fsk_user(test, fsk_process_dead, NULL);
}

static void fsk_process_exits(struct kunit *test, void *unused)
{
	int live;

	KUNIT_EXPECT_EQ(test, fs_process_add(current, GFP_KERNEL), 0);
	fs_process_exits(current);
	KUNIT_EXPECT_TRUE(test, fs_enrolled());
	live = atomic_xchg(&current->signal->live, 0);
	fs_process_exits(current);
	atomic_set(&current->signal->live, live);
	KUNIT_EXPECT_FALSE(test, fs_enrolled());
}

static void fs_process_exits__with_the_last_thread(struct kunit *test)
{
	fsk_user(test, fsk_process_exits, NULL);
}

static struct cgroup *fsk_cgroup(struct kunit *test, unsigned int flags)
{
	struct cgroup *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, c);
	/* Without a count: cgroup_put() leaves it alone. */
	c->self.flags = CSS_NO_REF | flags;
	return c;
}

static void fs_cgroups_prune__one_and_what_is_gone(struct kunit *test)
{
	struct cgroup *stays = fsk_cgroup(test, CSS_ONLINE), *one = fsk_cgroup(test, CSS_ONLINE);
	struct cgroup *gone = fsk_cgroup(test, CSS_ONLINE);
	unsigned int before = fs_enrolled_cgroups();

	mutex_lock(&fs_enrol_lock);
	KUNIT_EXPECT_EQ(test, fs_cgroup_add(stays), 0);
	KUNIT_EXPECT_EQ(test, fs_cgroup_add(one), 0);
	KUNIT_EXPECT_EQ(test, fs_cgroup_add(gone), 0);
	KUNIT_EXPECT_EQ(test, fs_enrolled_cgroups(), before + 3);
	gone->self.flags &= ~CSS_ONLINE;
	fs_cgroups_prune(one);
	KUNIT_EXPECT_EQ(test, fs_enrolled_cgroups(), before + 1);
	fs_cgroups_prune(stays);
	KUNIT_EXPECT_EQ(test, fs_enrolled_cgroups(), before);
	mutex_unlock(&fs_enrol_lock);
	rcu_barrier();
}

static void fs_cgroup_add__has_a_limit(struct kunit *test)
{
	struct cgroup *c = fsk_cgroup(test, CSS_ONLINE);
	unsigned int n;
	int err = 0;

	mutex_lock(&fs_enrol_lock);
	for (n = 0; n <= FS_MAX_CGROUPS && !err; n++)
		err = fs_cgroup_add(c);
	KUNIT_EXPECT_EQ(test, err, -ENOSPC);
	KUNIT_EXPECT_EQ(test, fs_enrolled_cgroups(), FS_MAX_CGROUPS);
	fs_cgroups_prune(c);
	KUNIT_EXPECT_EQ(test, fs_enrolled_cgroups(), 0);
	mutex_unlock(&fs_enrol_lock);
	rcu_barrier();
}

static void fs_may_enrol__no_thread_of_the_kernel(struct kunit *test)
{
	KUNIT_ASSERT_TRUE(test, current->flags & PF_KTHREAD);
	KUNIT_EXPECT_EQ(test, fs_may_enrol(current), -EINVAL);
}

static void fsk_may_enrol(struct kunit *test, void *unused)
{
	KUNIT_EXPECT_EQ(test, fs_may_enrol(current), 0);
}

static void fs_may_enrol__oneself(struct kunit *test)
{
	fsk_user(test, fsk_may_enrol, NULL);
}

static void fsk_show_name(struct seq_file *m)
{
	fs_show_name(m, "a b\nc\\d\te");
	fs_show_name(m, "plain");
}

static void fs_show_name__is_one_word(struct kunit *test)
{
	KUNIT_EXPECT_STREQ(test, fsk_enrolled_text(test, fsk_show_name),
			   "a\\040b\\012c\\134d\\011e\nplain\n");
}

static void fs_ulp_init__not_for_the_kernel_itself(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, fs_ulp_init(fsk_tcp(test, AF_INET)->sk), -EOPNOTSUPP);
}

static void fsk_ulp_connected(struct kunit *test, void *arg)
{
	struct socket *sock = arg;

	KUNIT_EXPECT_GE(test, fsk_fd(sock), 0);
	sock->sk->sk_state = TCP_ESTABLISHED;
	KUNIT_EXPECT_EQ(test, fs_ulp_init(sock->sk), -EISCONN);
	sock->sk->sk_state = TCP_CLOSE;
}

static void fs_ulp_init__not_for_connections(struct kunit *test)
{
	fsk_user(test, fsk_ulp_connected, fsk_tcp(test, AF_INET));
}

static void fs_at_listen__nothing_of_who_is_not_enrolled(struct kunit *test)
{
	struct socket *sock = fsk_listener(test, AF_INET, 4);

	fs_at_listen(NULL, sock->sk, TCP_CLOSE, TCP_LISTEN);
	KUNIT_EXPECT_FALSE(test, fs_attached(sock));
}

/* clang-format off */
static struct kunit_case fsk_enrol_cases[] = {
	KUNIT_CASE(fs_process_add__once),
	KUNIT_CASE(fs_process_add__not_one_that_is_gone),
	KUNIT_CASE(fs_process_exits__with_the_last_thread),
	KUNIT_CASE(fs_at_listen__nothing_of_who_is_not_enrolled),
	KUNIT_CASE(fs_may_enrol__no_thread_of_the_kernel),
	KUNIT_CASE(fs_may_enrol__oneself),
	KUNIT_CASE(fs_cgroups_prune__one_and_what_is_gone),
	KUNIT_CASE(fs_cgroup_add__has_a_limit),
	KUNIT_CASE(fs_show_name__is_one_word),
	KUNIT_CASE(fs_ulp_init__not_for_the_kernel_itself),
	KUNIT_CASE(fs_ulp_init__not_for_connections),
	{}
};

/* clang-format on */

static void fsk_enrol_exit(struct kunit *test)
{
	fs_unwatch_work(NULL);
	fsk_exit(test);
}

struct kunit_suite fsk_enrol_suite = {
	.name = "enrol",
	.init = fsk_init,
	.exit = fsk_enrol_exit,
	.test_cases = fsk_enrol_cases,
};
