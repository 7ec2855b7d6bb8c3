// SPDX-License-Identifier: GPL-2.0
/*
 * fslivepatch: a live patch of a function that we override as well
 *
 * Parameter function=: get_rps_cpu (Receive Flow Deliver), and no packet is sent to another CPU;
 * do_epoll_ctl (Fast Epoll), and epoll_ctl() always answers EREMOTEIO.
 *
 * ftrace lets only one of those that change where a call goes have a function: the first one.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/netdevice.h>

static int fslivepatch_rps_cpu(struct net_device *dev, struct sk_buff *skb, void **flow)
{
	return -1;
}

struct epoll_event;

static int fslivepatch_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)
{
	return -EREMOTEIO;
}

static char *function = "get_rps_cpu";
module_param(function, charp, 0444);
MODULE_PARM_DESC(function, "get_rps_cpu or do_epoll_ctl; default get_rps_cpu");

static struct klp_func fslivepatch_funcs[] = { {}, {} };

static struct klp_object fslivepatch_objects[] = { { .funcs = fslivepatch_funcs }, {} };

static struct klp_patch fslivepatch = { .mod = THIS_MODULE, .objs = fslivepatch_objects };

static int __init fslivepatch_init(void)
{
	fslivepatch_funcs[0].old_name = function;
	fslivepatch_funcs[0].new_func = fslivepatch_rps_cpu;
	if (!strcmp(function, "do_epoll_ctl"))
		fslivepatch_funcs[0].new_func = fslivepatch_epoll_ctl;
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
