// SPDX-License-Identifier: GPL-2.0
/* Cases for hook.c */
#include "../../hook.c"

#include <linux/net.h>
#include <linux/static_call.h>

#include "kunit_util.h"

/* The function that is hooked here; not inlined, and known by its name. */
static noinline int fsk_hooked(int n)
{
	barrier();
	return n + 1;
}

static int fsk_other(int n)
{
	return n + 100;
}

DEFINE_STATIC_CALL_NULL(fsk_stock, fsk_hooked);

/* 7 is answered with 42, 8 goes to another function, the rest goes on. */
static void notrace fsk_at_hooked(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *op,
				  struct ftrace_regs *fregs)
{
	if ((int)fs_hook_arg(fregs, 0) == 7)
		fs_hook_return(fregs, 42);
	else if ((int)fs_hook_arg(fregs, 0) == 8)
		fs_hook_replace(fregs, fsk_other);
}

static struct fs_hook fsk_hook = FS_HOOK("fsk_hooked", fsk_at_hooked);
static struct fs_hook fsk_second = FS_HOOK("fsk_hooked", fsk_at_hooked);

static void fs_symbol__is_the_function(struct kunit *test)
{
	unsigned long addr = (unsigned long)fs_symbol("sock_create_kern");

	KUNIT_EXPECT_GE(test, addr, (unsigned long)sock_create_kern);
	KUNIT_EXPECT_LE(test, addr, (unsigned long)sock_create_kern + 4);
}

static void fs_symbol__nothing_for_what_is_not_there(struct kunit *test)
{
	KUNIT_EXPECT_NULL(test, fs_symbol("fs_no_such_function"));
}

static void fs_hook_result__is_its_argument(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, fs_hook_result(-1), -1);
	KUNIT_EXPECT_EQ(test, fs_hook_result(4711), 4711);
}

static void fs_hook_find__tells_what_is_wrong(struct kunit *test)
{
	struct fs_hook none = { .symbol = "fs_no_such_function" };
	struct fs_hook untraceable = { .symbol = "register_ftrace_function" };
	struct fs_hook good = { .symbol = "inet_hash_connect" };

	KUNIT_EXPECT_EQ(test, fs_hook_find(&none), -ENOENT);
	KUNIT_EXPECT_EQ(test, fs_hook_find(&untraceable), -EOPNOTSUPP);
	KUNIT_EXPECT_EQ(test, untraceable.site, 0UL);
	KUNIT_EXPECT_EQ(test, fs_hook_find(&good), 0);
	KUNIT_EXPECT_EQ(test, fs_hook_find(&good), 0);
}

static void fs_hook_install__answers_replaces_and_lets_pass(struct kunit *test)
{
	int i;

	KUNIT_ASSERT_EQ(test, fs_hook_find(&fsk_hook), 0);
	static_call_update(fsk_stock, fs_hook_stock(&fsk_hook));
	/* Twice: what is removed can be installed again. */
	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, fs_hook_install(&fsk_hook), 0);
		KUNIT_EXPECT_EQ(test, fsk_hooked(7), 42);
		KUNIT_EXPECT_EQ(test, fsk_hooked(8), 108);
		KUNIT_EXPECT_EQ(test, fsk_hooked(9), 10);
		KUNIT_EXPECT_EQ(test, static_call(fsk_stock)(7), 8);
		fs_hook_remove(&fsk_hook);
		KUNIT_EXPECT_EQ(test, fsk_hooked(7), 8);
		KUNIT_EXPECT_EQ(test, fsk_hooked(8), 9);
	}
}

static void fs_hook_install__one_at_a_time(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, fs_hook_find(&fsk_hook), 0);
	KUNIT_ASSERT_EQ(test, fs_hook_find(&fsk_second), 0);
	KUNIT_ASSERT_EQ(test, fs_hook_install(&fsk_hook), 0);
	KUNIT_EXPECT_EQ(test, fs_hook_install(&fsk_second), -EBUSY);
	KUNIT_EXPECT_FALSE(test, fsk_second.installed);
	fs_hook_remove(&fsk_second);
	KUNIT_EXPECT_EQ(test, fsk_hooked(7), 42);
	fs_hook_remove(&fsk_hook);
	KUNIT_EXPECT_EQ(test, fs_hook_install(&fsk_second), 0);
	KUNIT_EXPECT_EQ(test, fsk_hooked(7), 42);
	fs_hook_remove(&fsk_second);
	KUNIT_EXPECT_EQ(test, fsk_hooked(7), 8);
}

static struct kunit_case fsk_hook_cases[] = {
	KUNIT_CASE(fs_symbol__is_the_function),
	KUNIT_CASE(fs_symbol__nothing_for_what_is_not_there),
	KUNIT_CASE(fs_hook_result__is_its_argument),
	KUNIT_CASE(fs_hook_find__tells_what_is_wrong),
	KUNIT_CASE(fs_hook_install__answers_replaces_and_lets_pass),
	KUNIT_CASE(fs_hook_install__one_at_a_time),
	{}
};

struct kunit_suite fsk_hook_suite = {
	.name = "hook",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_hook_cases,
};
