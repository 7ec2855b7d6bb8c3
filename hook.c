// SPDX-License-Identifier: GPL-2.0
/*
 * Overriding a function of the kernel, and finding one
 *
 * include/hook.h tells how it works. Addresses come from a kprobe that is
 * registered disabled (nothing is patched) and removed at once.
 */
#include <linux/errno.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/static_call.h>

#include "include/hook.h"

static void *fs_find(const char *name, bool *traceable)
{
	struct kprobe kp = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	void *addr;

	if (register_kprobe(&kp))
		return NULL;
	addr = kp.addr;
	/* kprobes have looked: this is where the function calls ftrace, nowhere else. */
	*traceable = kp.flags & KPROBE_FLAG_FTRACE;
	unregister_kprobe(&kp);
	return addr;
}

/**
 * fs_symbol() - the address of a function of the kernel; process context
 * @name: of the function, static ones too
 *
 * For static calls: a direct call needs no ENDBR at its target.
 *
 * Return: its entry, or behind its ENDBR; NULL if there is none.
 */
void *fs_symbol(const char *name)
{
	bool traceable;

	return fs_find(name, &traceable);
}

/* As kallsyms_lookup_name(), which is declared but not exported. */
static inline unsigned long fs_lookup_type(const char *name)
{
	return 0;
}

DEFINE_STATIC_CALL_NULL(fs_lookup, fs_lookup_type);

/**
 * fs_data_symbol() - the address of a variable of the kernel; process context
 * @name: of the variable, static ones too
 *
 * Return: it, NULL if there is none or the kernel has no table of them.
 */
void *fs_data_symbol(const char *name)
{
	static bool found;
	void *lookup;

	if (!READ_ONCE(found)) {
		lookup = fs_symbol("kallsyms_lookup_name");
		if (!lookup)
			return NULL;
		static_call_update(fs_lookup, lookup);
		WRITE_ONCE(found, true);
	}
	return (void *)static_call(fs_lookup)(name);
}

/**
 * fs_hook_result() - where fs_hook_return() sends the hooked function's caller
 * @value: the result
 *
 * An ordinary function, so that no compiler option can make it wrong.
 *
 * Return: @value.
 */
int notrace fs_hook_result(int value)
{
	return value;
}

/**
 * fs_hook_find() - look up the function of a hook; process context
 * @h: the hook
 *
 * Return: 0, -ENOENT if there is no such function, -EOPNOTSUPP if ftrace cannot
 * get into it.
 */
int fs_hook_find(struct fs_hook *h)
{
	bool traceable = false;
	void *addr;

	if (h->site)
		return 0;
	addr = fs_find(h->symbol, &traceable);
	if (!addr)
		return -ENOENT;
	if (!traceable)
		return -EOPNOTSUPP;
	h->site = (unsigned long)addr;
	return 0;
}

/*
 * The filter is as it was before fs_hook_install(). Taking the function out of it would ask for
 * memory, and may not get it. Nobody looks at the ops any more.
 */
static void fs_hook_unfilter(struct fs_hook *h)
{
	struct ftrace_ops_hash *hash = h->ops.func_hash;

	ftrace_free_filter(&h->ops);
	/* Not all kernels forget what they have freed. */
	RCU_INIT_POINTER(hash->filter_hash, NULL);
	RCU_INIT_POINTER(hash->notrace_hash, NULL);
}

/**
 * fs_hook_install() - from now on the callback runs; process context, sleeps
 * @h: a hook that fs_hook_find() has found
 *
 * Return: 0; -EBUSY: another live patch or direct call has the function, or ftrace
 * is switched off; another error of ftrace.
 */
int fs_hook_install(struct fs_hook *h)
{
	int err = ftrace_set_filter_ip(&h->ops, h->site, 0, 0);

	if (err)
		return err;
	err = h->direct ? fs_register_direct(&h->ops, (unsigned long)h->direct) :
			  register_ftrace_function(&h->ops);
	if (err) {
		/* As long as others trace, ftrace may be about to look whether it wants a call. */
		synchronize_rcu();
		fs_hook_unfilter(h);
		/* What it leaves of a direct call that it refused, it takes for one. */
		if (h->direct) {
			h->ops.func = NULL;
			h->ops.trampoline = 0;
		}
	}
	h->installed = !err;
	return err;
}

/**
 * fs_hook_remove() - undo fs_hook_install(), if it was; process context, sleeps
 * @h: the hook
 *
 * When it returns, the callback does not run any more, and what it has sent to
 * fs_hook_result() is through. A function of ours that fs_hook_replace() has
 * put in place may still sleep in the kernel's: its owner counts that.
 */
void fs_hook_remove(struct fs_hook *h)
{
	if (!h->installed)
		return;
	/* Waits for everybody in trampoline or callback, preempted ones included. */
	if (!WARN_ON_ONCE(h->direct ? fs_unregister_direct(&h->ops, (unsigned long)h->direct) :
				      unregister_ftrace_function(&h->ops)))
		fs_hook_unfilter(h);
	/* And once more for our functions: they are left without sleeping. */
	synchronize_rcu_tasks();
	h->installed = false;
}
