// SPDX-License-Identifier: GPL-2.0
/*
 * fsrace: a data race, for a test that has to know whether KCSAN sees one
 *
 * Two threads on two CPUs write the same variable without a lock, until the module
 * is removed.
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/sched.h>

static unsigned long fsrace_counter;
static struct task_struct *fsrace_task[2];

static int fsrace_write(void *unused)
{
	while (!kthread_should_stop()) {
		fsrace_counter++;
		cond_resched();
	}
	return 0;
}

static void fsrace_stop(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(fsrace_task); i++)
		if (!IS_ERR_OR_NULL(fsrace_task[i]))
			kthread_stop(fsrace_task[i]);
}

static int __init fsrace_init(void)
{
	struct task_struct *t;
	int i;

	if (num_online_cpus() < ARRAY_SIZE(fsrace_task))
		return -ENODEV;
	for (i = 0; i < ARRAY_SIZE(fsrace_task); i++) {
		t = kthread_create(fsrace_write, NULL, "fsrace/%d", i);
		if (IS_ERR(t)) {
			fsrace_stop();
			return PTR_ERR(t);
		}
		kthread_bind(t, i);
		fsrace_task[i] = t;
		wake_up_process(t);
	}
	return 0;
}
module_init(fsrace_init);

static void __exit fsrace_exit(void)
{
	fsrace_stop();
}
module_exit(fsrace_exit);

MODULE_DESCRIPTION("A data race, on purpose");
MODULE_LICENSE("GPL");
