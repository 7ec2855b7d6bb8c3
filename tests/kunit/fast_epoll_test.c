// SPDX-License-Identifier: GPL-2.0
/* Cases for fast_epoll.c */
#include "../../fast_epoll.c"

#include <linux/slab.h>

#include "kunit_util.h"

static void fsk_epoll_exit(struct kunit *test)
{
	fs_epoll_share(FTRACE_OPS_CMD_DISABLE_SHARE_IPMODIFY_PEER);
	KUNIT_EXPECT_EQ(test, fs_epoll_switch(false), 0);
	fsk_exit(test);
}

/* What has been asked for is done. */
static bool fsk_epoll_hooked(void)
{
	flush_delayed_work(&fs_epoll_change);
	return fs_epoll_hooked();
}

/* An epitem as the kernel lays it out; 256 bytes are more than it has. */
static void *fsk_epitem(struct kunit *test, void *ep, int fd, struct hlist_head *list)
{
	void *epi = kunit_kzalloc(test, 256, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, epi);
	*fs_member(epi, void *, fs_at.ep) = ep;
	*fs_member(epi, int, fs_at.fd) = fd;
	hlist_add_head(fs_member(epi, struct hlist_node, fs_at.fllink), list);
	return epi;
}

static struct file *fsk_file(struct kunit *test)
{
	struct file *file = kunit_kzalloc(test, sizeof(*file), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, file);
	spin_lock_init(&file->f_lock);
	return file;
}

static void fs_epoll_item__is_of_the_epoll_and_the_descriptor(struct kunit *test)
{
	struct file *file = fsk_file(test);
	struct hlist_head list = {};
	char ep, other;
	void *a, *b;

	KUNIT_ASSERT_EQ(test, fs_epoll_switch(true), 0);
	KUNIT_EXPECT_NULL(test, fs_epoll_item(&ep, file, 5));
	file->f_ep = &list;
	KUNIT_EXPECT_NULL(test, fs_epoll_item(&ep, file, 5));
	a = fsk_epitem(test, &ep, 5, &list);
	b = fsk_epitem(test, &other, 5, &list);
	KUNIT_EXPECT_PTR_EQ(test, fs_epoll_item(&ep, file, 5), a);
	KUNIT_EXPECT_PTR_EQ(test, fs_epoll_item(&other, file, 5), b);
	KUNIT_EXPECT_NULL(test, fs_epoll_item(&ep, file, 6));
	KUNIT_EXPECT_NULL(test, fs_epoll_item(&list, file, 5));
	/* the same file under another number */
	b = fsk_epitem(test, &ep, 6, &list);
	KUNIT_EXPECT_PTR_EQ(test, fs_epoll_item(&ep, file, 6), b);
	KUNIT_EXPECT_PTR_EQ(test, fs_epoll_item(&ep, file, 5), a);
}

static void fs_epoll_item__is_not_looked_for_far_away(struct kunit *test)
{
	struct file *file = fsk_file(test);
	struct hlist_head list = {};
	char ep;
	int i;

	KUNIT_ASSERT_EQ(test, fs_epoll_switch(true), 0);
	file->f_ep = &list;
	for (i = 0; i <= FS_EPOLL_STEPS; i++)
		fsk_epitem(test, &ep, i, &list);
	KUNIT_EXPECT_NULL(test, fs_epoll_item(&ep, file, 0));
	KUNIT_EXPECT_NOT_NULL(test, fs_epoll_item(&ep, file, 1));
}

static void fs_epoll_switch__hooks_while_there_are_listeners(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, fs_epoll_switch(true), 0);
	KUNIT_EXPECT_FALSE(test, fsk_epoll_hooked());
	fs_epoll_get();
	KUNIT_EXPECT_TRUE(test, fsk_epoll_hooked());
	fs_epoll_get();
	fs_epoll_put();
	KUNIT_EXPECT_TRUE(test, fsk_epoll_hooked());
	fs_epoll_put();
	KUNIT_EXPECT_FALSE(test, fsk_epoll_hooked());
	fs_epoll_get();
	KUNIT_EXPECT_TRUE(test, fsk_epoll_hooked());
	KUNIT_EXPECT_EQ(test, fs_epoll_switch(false), 0);
	KUNIT_EXPECT_FALSE(test, fs_epoll_hooked());
	KUNIT_EXPECT_EQ(test, fs_epoll_switch(true), 0);
	KUNIT_EXPECT_TRUE(test, fs_epoll_hooked());
	fs_epoll_put();
	KUNIT_EXPECT_FALSE(test, fsk_epoll_hooked());
}

static void fs_epoll_share__stands_aside_for_a_live_patch(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, fs_epoll_share(FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_SELF), -EBUSY);
	KUNIT_EXPECT_FALSE(test, fs_epoll_yields);
	KUNIT_EXPECT_EQ(test, fs_epoll_share(FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_PEER), 0);
	KUNIT_EXPECT_TRUE(test, fs_epoll_yields);
	KUNIT_EXPECT_EQ(test, fs_epoll_share(FTRACE_OPS_CMD_DISABLE_SHARE_IPMODIFY_PEER), 0);
	KUNIT_EXPECT_FALSE(test, fs_epoll_yields);
}

static void fs_data_symbol__is_the_variable(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, fs_data_symbol("init_net"), (void *)&init_net);
	KUNIT_EXPECT_NULL(test, fs_data_symbol("fs_no_such_variable"));
}

/* clang-format off */
static struct kunit_case fsk_epoll_cases[] = {
	KUNIT_CASE(fs_epoll_item__is_of_the_epoll_and_the_descriptor),
	KUNIT_CASE(fs_epoll_item__is_not_looked_for_far_away),
	KUNIT_CASE(fs_epoll_switch__hooks_while_there_are_listeners),
	KUNIT_CASE(fs_epoll_share__stands_aside_for_a_live_patch),
	KUNIT_CASE(fs_data_symbol__is_the_variable),
	{}
};

/* clang-format on */

struct kunit_suite fsk_epoll_suite = {
	.name = "fast_epoll",
	.init = fsk_init,
	.exit = fsk_epoll_exit,
	.test_cases = fsk_epoll_cases,
};
