/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Overriding a function of the kernel, and finding one
 *
 * Why it exists: three things have no official seam, the choice of a connection's
 * port, that of the CPU that handles a packet, and epoll_ctl(). ftrace lets us in at the
 * entry of the functions that decide. All our overrides go through one pair here:
 * what fs_hook_install() does, fs_hook_remove() undoes, and either is safe while
 * the function is running on other CPUs.
 *
 * A hook is an ftrace callback that may change where the function "continues"
 * (FTRACE_OPS_FL_IPMODIFY, as live patches do). It leaves the arguments alone and
 * the function goes on as if nothing had been, or it calls fs_hook_return() and
 * the caller gets that result instead, or fs_hook_replace() and the caller's call
 * goes to our function. A direct call (FS_DIRECT_HOOK) is the cheaper way to the last of
 * these, for a function that is called often. This is what remains to see of it:
 *  - the kernel allows one such user of a function at a time: the second gets EBUSY;
 *  - the processor's stack of return addresses stays even, which a trampoline that drops
 *    the hooked function's frame breaks up to the bottom of the call chain; a callback
 *    needs no assembly for that, a direct call does;
 *  - sysctl kernel.ftrace_enabled cannot be set to 0 meanwhile (EBUSY).
 */
#ifndef _FASTSOCKET_HOOK_H
#define _FASTSOCKET_HOOK_H

#include <linux/ftrace.h>

#include "compat.h"

/**
 * struct fs_hook - an override of one function; changed by its owner's lock only
 * @symbol: its name; constant
 * @ops: as ftrace knows it; @ops.func is the callback, in the context of the function,
 *	notrace
 * @direct: instead of @ops.func, what the function calls itself, as ftrace's direct calls do: in
 *	assembler, with the function's arguments and stack
 * @site: where the function calls ftrace; 0: not looked up yet or not found
 * @installed: the callback may run
 */
struct fs_hook {
	const char *symbol;
	struct ftrace_ops ops;
	void (*direct)(void);
	unsigned long site;
	bool installed;
};

/* clang-format off */
#define FS_HOOK(name, callback)							\
	{									\
		.symbol = (name),						\
		.ops = {							\
			.func = (callback),					\
			.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT, \
		},								\
	}

/*
 * Cheaper, but a function has room for one, and BPF's fentry programs are such.
 * @share: its ops_func, see struct ftrace_ops.
 */
#define FS_DIRECT_HOOK(name, trampoline, share)					\
	{									\
		.symbol = (name),						\
		.ops = { .ops_func = (share) },					\
		.direct = (trampoline),						\
	}
/* clang-format on */

/* The hooked function's argument @n, from 0; pointers and integers. */
static __always_inline unsigned long fs_hook_arg(struct ftrace_regs *fregs, unsigned int n)
{
	return regs_get_kernel_argument(&arch_ftrace_regs(fregs)->regs, n);
}

/* Instead of the hooked function, @fn with the same arguments. */
static __always_inline void fs_hook_replace(struct ftrace_regs *fregs, void *fn)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)fn);
}

int fs_hook_result(int value);

/* Instead of the hooked function, its result. */
static __always_inline void fs_hook_return(struct ftrace_regs *fregs, int value)
{
	fs_set_first_arg(fregs, value);
	fs_hook_replace(fregs, fs_hook_result);
}

/* Behind the call of ftrace: what a static call calls to get the function without its hooks. */
static inline void *fs_hook_stock(const struct fs_hook *h)
{
	return (void *)(h->site + MCOUNT_INSN_SIZE);
}

void *fs_symbol(const char *name);
void *fs_data_symbol(const char *name);
int fs_hook_find(struct fs_hook *h);
int fs_hook_install(struct fs_hook *h);
void fs_hook_remove(struct fs_hook *h);

#endif /* _FASTSOCKET_HOOK_H */
