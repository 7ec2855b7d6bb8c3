// SPDX-License-Identifier: GPL-2.0
/*
 * fslivepatch: a live patch of get_rps_cpu(), which Receive Flow Deliver overrides as well
 *
 * ftrace lets only one of those that change where a call goes have a function: the first
 * one. With this one no packet is sent to another CPU.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/netdevice.h>

static int fslivepatch_rps_cpu(struct net_device *dev, struct sk_buff *skb, void **flow)
{
	return -1;
}

static struct klp_func fslivepatch_funcs[] = { { .old_name = "get_rps_cpu",
						 .new_func = fslivepatch_rps_cpu },
					       {} };

static struct klp_object fslivepatch_objects[] = { { .funcs = fslivepatch_funcs }, {} };

static struct klp_patch fslivepatch = { .mod = THIS_MODULE, .objs = fslivepatch_objects };

static int __init fslivepatch_init(void)
{
	return klp_enable_patch(&fslivepatch);
}

/* The kernel lets it go only when it is switched off and nobody runs it any more. */
static void __exit fslivepatch_exit(void)
{
}

module_init(fslivepatch_init);
module_exit(fslivepatch_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A live patch for the tests of fastsocket");
MODULE_INFO(livepatch, "Y");
