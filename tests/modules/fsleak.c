// SPDX-License-Identifier: GPL-2.0
/*
 * fsleak: objects that nobody points to, to see kmemleak report them
 *
 * Their addresses are kept inverted, so that unloading frees them all the same:
 * the kernel is as clean afterwards as it was.
 */
#include <linux/module.h>
#include <linux/slab.h>

#define FSLEAK_OBJECTS	8
#define FSLEAK_SIZE	200

static unsigned long hidden[FSLEAK_OBJECTS];

static void fsleak_free(void)
{
	int i;

	for (i = 0; i < FSLEAK_OBJECTS; i++)
		if (hidden[i])
			kfree((void *)~hidden[i]);
}

static int __init fsleak_init(void)
{
	void *p;
	int i;

	for (i = 0; i < FSLEAK_OBJECTS; i++) {
		p = kzalloc(FSLEAK_SIZE, GFP_KERNEL);
		if (!p) {
			fsleak_free();
			return -ENOMEM;
		}
		hidden[i] = ~(unsigned long)p;
	}
	return 0;
}

static void __exit fsleak_exit(void)
{
	fsleak_free();
}

module_init(fsleak_init);
module_exit(fsleak_exit);

MODULE_DESCRIPTION("Leaks on purpose");
MODULE_LICENSE("GPL");
