// SPDX-License-Identifier: GPL-2.0
/*
 * Fail what fastsocket.ko asks the kernel for, call site by call site
 *
 * The kernel's fault injection fails any allocation of a task; on x86-64 it cannot
 * be limited to those that a given module causes. This module can: kprobes on
 * the kernel's two injection points (should_failslab(), should_fail_alloc_page())
 * walk the stack to the innermost return address inside fastsocket, and kprobes on
 * the functions in fsf_calls[] look at their return address. That address,
 * with the chain of return addresses between it and the allocator, is a site.
 *
 * /sys/kernel/debug/fsfault/mode, written:
 *   off          only count (the initial state)
 *   once         fail each site the first time it is reached from now on
 *   calls        the same, but only for functions in fsf_calls[]
 *   calls NAME   the same, only for that function
 *   random P S   fail P per cent of the calls, by a generator with seed S
 * /sys/kernel/debug/fsfault/sites, read: a line per site,
 *   KIND OURS INNER CALLS FAILED
 *   OURS is function+0xoffset of the return address in fastsocket, INNER the
 *   function that met the allocator.
 * /sys/kernel/debug/fsfault/failed: how many calls failed, of all sites
 */
#define pr_fmt(fmt) "fsfault: " fmt

#include <linux/debugfs.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/seq_file.h>
#include <linux/stacktrace.h>
#include <linux/uaccess.h>

#define FSF_SITES	1024
#define FSF_DEPTH	48
#define FSF_NAME	64

enum fsf_mode { FSF_OFF, FSF_ONCE, FSF_CALLS, FSF_RANDOM };

/**
 * struct fsf_site - a place in fastsocket with a way from there to what can fail
 * @kind: what failed: slab, page, or a function's name
 * @ours: where in fastsocket
 * @inner: the function that called the allocator
 * @hash: of the way
 * @calls: how often it was reached
 * @failed: how often it failed
 * @done: it has failed since "once" was written
 */
struct fsf_site {
	const char *kind;
	char ours[FSF_NAME];
	char inner[FSF_NAME];
	u32 hash;
	unsigned int calls;
	unsigned int failed;
	bool done;
};

/**
 * struct fsf_call - a function that we fail when fastsocket calls it
 * @kp: on its entry
 * @ret: what it then returns
 */
struct fsf_call {
	struct kprobe kp;
	long ret;
};

/* All of them under fsf_lock; kprobe handlers run with preemption off. */
static struct fsf_site fsf_sites[FSF_SITES];
static unsigned int fsf_nsites, fsf_total, fsf_lost;
static enum fsf_mode fsf_mode;
/* With FSF_CALLS; "": any. */
static char fsf_only[FSF_NAME];
static unsigned int fsf_percent;
static struct rnd_state fsf_rnd;
static DEFINE_RAW_SPINLOCK(fsf_lock);

/* Set while fastsocket is loaded, by the module notifier. */
static struct module *fsf_target;

static bool fsf_in_target(unsigned long addr)
{
	const struct module *mod = READ_ONCE(fsf_target);

	return mod && (within_module_core(addr, mod) || within_module_init(addr, mod));
}

/* "function+0xoffset" of a return address */
static void fsf_symbol(char *to, unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];

	sprint_symbol(name, addr);
	name[strcspn(name, "/ ")] = '\0';
	strscpy(to, name, FSF_NAME);
}

/* Holds fsf_lock. NULL: the table is full. */
static struct fsf_site *fsf_find(const char *kind, const char *ours, u32 hash)
{
	struct fsf_site *s;

	for (s = fsf_sites; s < fsf_sites + fsf_nsites; s++)
		if (s->hash == hash && s->kind == kind && !strcmp(s->ours, ours))
			return s;
	if (fsf_nsites == FSF_SITES) {
		fsf_lost++;
		return NULL;
	}
	s = &fsf_sites[fsf_nsites++];
	s->kind = kind;
	strscpy(s->ours, ours, FSF_NAME);
	s->hash = hash;
	return s;
}

/*
 * Note a call; return: whether it is to fail. Any context but a true NMI: a probe that is
 * a breakpoint looks like one to lockdep, and may only try locks. Nobody who holds the
 * lock comes here.
 */
static bool fsf_note(const char *kind, unsigned long ours, unsigned long inner, u32 hash)
{
	char name[FSF_NAME], in[FSF_NAME];
	struct fsf_site *s;
	unsigned long flags;
	bool fail = false;

	fsf_symbol(name, ours);
	fsf_symbol(in, inner);
	while (!raw_spin_trylock_irqsave(&fsf_lock, flags))
		cpu_relax();
	s = fsf_find(kind, name, hash);
	if (s) {
		strscpy(s->inner, in, FSF_NAME);
		s->calls++;
		fail = (fsf_mode == FSF_ONCE && !s->done) ||
		       (fsf_mode == FSF_CALLS && !s->done && ours == inner &&
			(!*fsf_only || !strcmp(kind, fsf_only))) ||
		       (fsf_mode == FSF_RANDOM && prandom_u32_state(&fsf_rnd) % 100 < fsf_percent);
		s->done |= fail;
		s->failed += fail;
		fsf_total += fail;
	}
	raw_spin_unlock_irqrestore(&fsf_lock, flags);
	return fail;
}

/*
 * What the debugging of the kernel allocates for itself, on the same stack, is
 * not ours to fail: kmemleak, for one, would give up for good. And when vmalloc() gets
 * no memory it says so with a call trace, which is what tests take for a fault of ours.
 */
static bool fsf_left_alone(unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];

	sprint_symbol(name, addr);
	return strstr(name, "kmemleak") || strstr(name, "debug_object") ||
	       strstr(name, "stack_depot") || strstr(name, "kasan") ||
	       strstr(name, "ref_tracker") || strstarts(name, "__vmalloc_node_range+");
}

/*
 * Each socket of the system gets its inode through these: that there is no memory for it is
 * the caller's matter, as it is without us.
 */
static bool fsf_for_others(unsigned long addr)
{
	char name[KSYM_SYMBOL_LEN];

	sprint_symbol(name, addr);
	return strstarts(name, "fs_alloc_inode+") || strstarts(name, "fs_alloc_fresh+");
}

/*
 * Where in the stack is fastsocket, innermost? The frames before the first one
 * outside this module and the injection point are not told apart: they are the
 * same for each call of a kind, and the hash takes them all.
 */
static bool fsf_consider(const char *kind)
{
	unsigned long trace[FSF_DEPTH];
	unsigned int i, n = stack_trace_save(trace, FSF_DEPTH, 0);
	u32 hash = 0;

	for (i = 0; i < n; i++) {
		if (fsf_in_target(trace[i]) && !fsf_for_others(trace[i]))
			return fsf_note(kind, trace[i], i ? trace[i - 1] : trace[i], hash);
		if (fsf_left_alone(trace[i]))
			return false;
		hash = hash * 31 + (u32)trace[i];
	}
	return false;
}

/* A function that only returns. ftrace takes the instruction pointer back, not the stack's. */
void fsf_just_return(void);
/* clang-format off */
asm(".pushsection .text\n"
	".type fsf_just_return, @function\n"
	".globl fsf_just_return\n"
	"fsf_just_return:\n" ASM_ENDBR ASM_RET
	".size fsf_just_return, . - fsf_just_return\n"
	".popsection");
/* clang-format on */

/* Make the probed function return @ret at once. */
static int fsf_return(struct pt_regs *regs, long ret)
{
	regs_set_return_value(regs, ret);
	instruction_pointer_set(regs, (unsigned long)fsf_just_return);
	return 1;
}

static int fsf_slab(struct kprobe *kp, struct pt_regs *regs)
{
	gfp_t gfp = regs_get_kernel_argument(regs, 1);

	if (!READ_ONCE(fsf_target) || (gfp & __GFP_NOFAIL) || in_nmi() || !fsf_consider("slab"))
		return 0;
	return fsf_return(regs, -ENOMEM);
}

static int fsf_page(struct kprobe *kp, struct pt_regs *regs)
{
	gfp_t gfp = regs_get_kernel_argument(regs, 0);

	if (!READ_ONCE(fsf_target) || (gfp & __GFP_NOFAIL) || in_nmi() || !fsf_consider("page"))
		return 0;
	return fsf_return(regs, 1);
}

static int fsf_call(struct kprobe *kp, struct pt_regs *regs)
{
	unsigned long caller = *(unsigned long *)kernel_stack_pointer(regs);

	if (!fsf_in_target(caller) || !fsf_note(kp->symbol_name, caller, caller, 0))
		return 0;
	return fsf_return(regs, container_of(kp, struct fsf_call, kp)->ret);
}

/* Its presence keeps the probe from being optimised, which would ignore fsf_return(). */
static void fsf_post(struct kprobe *kp, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe fsf_points[] = {
	{ .symbol_name = "should_failslab", .pre_handler = fsf_slab, .post_handler = fsf_post },
	{ .symbol_name = "should_fail_alloc_page",
	  .pre_handler = fsf_page,
	  .post_handler = fsf_post },
};

/* What fastsocket calls that can fail; 63-faults compares it with the module's symbols. */
static struct fsf_call fsf_calls[] = {
	{ .kp.symbol_name = "__alloc_percpu" },
	{ .kp.symbol_name = "alloc_workqueue" },
	{ .kp.symbol_name = "register_pernet_subsys", .ret = -ENOMEM },
	{ .kp.symbol_name = "proc_create_net_single" },
	{ .kp.symbol_name = "proc_create_net_data" },
	{ .kp.symbol_name = "proc_create_single_data" },
	{ .kp.symbol_name = "kmemdup" },
	{ .kp.symbol_name = "kvmalloc_node" },
	{ .kp.symbol_name = "misc_register", .ret = -ENOMEM },
	{ .kp.symbol_name = "register_kprobe", .ret = -ENOENT },
	{ .kp.symbol_name = "sock_create_kern", .ret = -ENOMEM },
	{ .kp.symbol_name = "__sock_create", .ret = -ENOMEM },
	{ .kp.symbol_name = "set_cpus_allowed_ptr", .ret = -EINVAL },
	{ .kp.symbol_name = "register_ftrace_function", .ret = -EBUSY },
	{ .kp.symbol_name = "register_ftrace_direct_multi", .ret = -EBUSY },
	{ .kp.symbol_name = "tracepoint_probe_register", .ret = -ENOMEM },
	{ .kp.symbol_name = "tcp_register_ulp", .ret = -EEXIST },
};

static int fsf_module_event(struct notifier_block *nb, unsigned long event, void *data)
{
	struct module *mod = data;

	if (strcmp(mod->name, "fastsocket"))
		return NOTIFY_DONE;
	if (event == MODULE_STATE_COMING)
		WRITE_ONCE(fsf_target, mod);
	else if (event == MODULE_STATE_GOING)
		WRITE_ONCE(fsf_target, NULL);
	return NOTIFY_DONE;
}

static struct notifier_block fsf_notifier = { .notifier_call = fsf_module_event };

static ssize_t fsf_mode_write(struct file *file, const char __user *ubuf, size_t len, loff_t *pos)
{
	unsigned int percent = 0, seed = 0;
	enum fsf_mode mode;
	struct fsf_site *s;
	char buf[64] = "", only[FSF_NAME] = "";

	if (len >= sizeof(buf) || copy_from_user(buf, ubuf, len))
		return -EINVAL;
	if (sysfs_streq(buf, "off"))
		mode = FSF_OFF;
	else if (sysfs_streq(buf, "once"))
		mode = FSF_ONCE;
	else if (sysfs_streq(buf, "calls") || sscanf(buf, "calls %63s", only) == 1)
		mode = FSF_CALLS;
	else if (sscanf(buf, "random %u %u", &percent, &seed) == 2)
		mode = FSF_RANDOM;
	else
		return -EINVAL;
	raw_spin_lock_irq(&fsf_lock);
	fsf_mode = mode;
	strscpy(fsf_only, only, sizeof(fsf_only));
	fsf_percent = percent;
	for (s = fsf_sites; s < fsf_sites + fsf_nsites; s++)
		s->done = false;
	prandom_seed_state(&fsf_rnd, seed);
	raw_spin_unlock_irq(&fsf_lock);
	return len;
}

static const struct file_operations fsf_mode_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = fsf_mode_write,
};

/* Sites are only added; a count that changes meanwhile does not matter. */
static int fsf_sites_show(struct seq_file *m, void *v)
{
	const struct fsf_site *s;

	for (s = fsf_sites; s < fsf_sites + READ_ONCE(fsf_nsites); s++)
		seq_printf(m, "%s %s %s %u %u\n", s->kind, s->ours, s->inner, s->calls, s->failed);
	if (fsf_lost)
		seq_printf(m, "lost - - %u 0\n", fsf_lost);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(fsf_sites);

static struct dentry *fsf_dir;

static void fsf_unregister(unsigned int points, unsigned int calls)
{
	while (points)
		unregister_kprobe(&fsf_points[--points]);
	while (calls)
		unregister_kprobe(&fsf_calls[--calls].kp);
}

static int fsf_register(void)
{
	unsigned int points, calls = 0;
	int err;

	for (points = 0; points < ARRAY_SIZE(fsf_points); points++) {
		err = register_kprobe(&fsf_points[points]);
		if (err) {
			pr_err("no probe on %s: %d\n", fsf_points[points].symbol_name, err);
			goto undo;
		}
	}
	for (; calls < ARRAY_SIZE(fsf_calls); calls++) {
		fsf_calls[calls].kp.pre_handler = fsf_call;
		fsf_calls[calls].kp.post_handler = fsf_post;
		err = register_kprobe(&fsf_calls[calls].kp);
		if (err) {
			pr_err("no probe on %s: %d\n", fsf_calls[calls].kp.symbol_name, err);
			goto undo;
		}
	}
	return 0;

undo:
	fsf_unregister(points, calls);
	return err;
}

static int __init fsf_init(void)
{
	int err = fsf_register();

	if (err)
		return err;
	err = register_module_notifier(&fsf_notifier);
	if (err) {
		fsf_unregister(ARRAY_SIZE(fsf_points), ARRAY_SIZE(fsf_calls));
		return err;
	}
	fsf_dir = debugfs_create_dir("fsfault", NULL);
	debugfs_create_file("mode", 0200, fsf_dir, NULL, &fsf_mode_fops);
	debugfs_create_file("sites", 0400, fsf_dir, NULL, &fsf_sites_fops);
	debugfs_create_u32("failed", 0400, fsf_dir, &fsf_total);
	return 0;
}

static void __exit fsf_exit(void)
{
	debugfs_remove(fsf_dir);
	unregister_module_notifier(&fsf_notifier);
	fsf_unregister(ARRAY_SIZE(fsf_points), ARRAY_SIZE(fsf_calls));
}

module_init(fsf_init);
module_exit(fsf_exit);

MODULE_DESCRIPTION("Test only: fail what fastsocket.ko asks for, site by site");
MODULE_LICENSE("GPL");
