// SPDX-License-Identifier: GPL-2.0
/*
 * Fast Epoll: EPOLL_CTL_MOD and EPOLL_CTL_DEL find a socket's epitem without a search
 *
 * include/fast_epoll.h tells why. What is done here is what do_epoll_ctl(), ep_modify() and
 * ep_item_poll() of fs/eventpoll.c do for the ordinary case, under the same locks: ep->mtx
 * (the set of items, each item's events), in it file->f_lock (the file's list of items)
 * or ep->lock (the list of ready items). An item is freed only after it was taken off the
 * file's list under f_lock with ep->mtx held, so one that was found there with both held
 * stays until the mutex is released.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/delay.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mutex.h>
#include <linux/net.h>
#include <linux/objtool.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/rcupdate_wait.h>
#include <linux/static_call.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "include/btf.h"
#include "include/compat.h"
#include "include/fast_epoll.h"
#include "include/fastsocket.h"
#include "include/hook.h"

/* The hook stays for so long after the last listener: the next one may come soon. */
#define FS_EPOLL_LINGER (5 * HZ)

#define FS_EPOLL_STOCK 1 /* the kernel's function decides */

/* What the parameter shows; written under fs_epoll_lock. */
unsigned int fs_epoll_enabled = 1;

/**
 * struct fs_epoll_cpu - counters of one CPU
 * @entered: calls that came into fs_epoll_ctl() here
 * @n: calls that left it here, by enum fs_epoll_stat. Of all CPUs together what was
 *	entered and not left is inside
 */
struct fs_epoll_cpu {
	unsigned long entered;
	unsigned long n[FS_NR_EPOLL];
};

static DEFINE_PER_CPU_ALIGNED(struct fs_epoll_cpu, fs_epoll_calls);

/* Where the members are that we use; constant once fs_epoll_find() has succeeded. */
static struct {
	u32 mtx, wq, poll_wait, rdllist, lock; /* struct eventpoll */
	u32 rdllink, fd, ep, fllink, ws, event; /* struct epitem */
} fs_at __read_mostly;

/* What makes a file an epoll, or a socket; constant as above. */
static const struct file_operations *fs_epoll_fops __read_mostly;
static const struct file_operations *fs_socket_fops __read_mostly;

/* A live patch has the function: it gets all calls. Read by the trampoline. */
bool fs_epoll_yields __read_mostly;

DEFINE_STATIC_CALL_NULL(fs_stock_epoll_ctl, fs_epoll_ctl);

/* The kernel's ep_remove(). */
static inline void fs_ep_remove_type(void *ep, void *epi)
{
}

DEFINE_STATIC_CALL_NULL(fs_ep_remove, fs_ep_remove_type);

#define fs_member(base, type, offset) ((type *)((char *)(base) + (offset)))

static __always_inline void *fs_item(struct hlist_node *node)
{
	char *link = (char *)node;

	return link - fs_at.fllink;
}

/*
 * The epitem of @file and @fd in @ep, NULL: none, or not among the first ones.
 * Under ep->mtx; what is returned is valid until that is released.
 */
static __always_inline void *fs_epoll_item(const void *ep, struct file *file, int fd)
{
	unsigned int steps = FS_EPOLL_STEPS;
	struct hlist_node *node;
	void *epi = NULL;

	spin_lock(&file->f_lock);
	node = file->f_ep ? file->f_ep->first : NULL;
	for (; node && steps; node = node->next, steps--) {
		if (*fs_member(fs_item(node), void *, fs_at.ep) == ep &&
		    *fs_member(fs_item(node), int, fs_at.fd) == fd) {
			epi = fs_item(node);
			break;
		}
	}
	spin_unlock(&file->f_lock);
	return epi;
}

/* The item has something to report: into the ready list, and tell who waits. */
static void fs_epoll_ready(void *ep, void *epi)
{
	struct list_head *link = fs_member(epi, struct list_head, fs_at.rdllink);
	wait_queue_head_t *poll_wait = fs_member(ep, wait_queue_head_t, fs_at.poll_wait);
	wait_queue_head_t *wq = fs_member(ep, wait_queue_head_t, fs_at.wq);
	spinlock_t *lock = fs_member(ep, spinlock_t, fs_at.lock);
	bool outer = false;

	spin_lock_irq(lock);
	if (list_empty(link)) {
		list_add_tail(link, fs_member(ep, struct list_head, fs_at.rdllist));
		/* As in ep_modify(): who comes to wait looks into the list under this lock. */
		if (waitqueue_active(wq))
			wake_up(wq);
		/* And who polls the epoll looks at it after adding itself. */
		outer = waitqueue_active(poll_wait);
	}
	spin_unlock_irq(lock);
	if (outer)
		wake_up_poll(poll_wait, EPOLLIN);
}

/* EPOLL_CTL_MOD of an item that has neither EPOLLEXCLUSIVE nor a wakeup source. */
static __always_inline int fs_epoll_mod(void *ep, void *epi, struct file *file,
					struct epoll_event *epds)
{
	struct epoll_event *event = fs_member(epi, struct epoll_event, fs_at.event);
	poll_table pt;

	if (event->events & EPOLLEXCLUSIVE || *fs_member(epi, void *, fs_at.ws))
		return FS_EPOLL_STOCK;
	epds->events |= EPOLLERR | EPOLLHUP;
	event->events = epds->events;
	event->data = epds->data;
	/*
	 * As in ep_modify(): an event from here on meets the new mask in ep_poll_callback(), or
	 * is seen by poll(); pairs with wq_has_sleeper() on the other side.
	 */
	smp_mb();
	init_poll_funcptr(&pt, NULL);
	pt._key = epds->events;
	if (vfs_poll(file, &pt) & epds->events)
		fs_epoll_ready(ep, epi);
	return 0;
}

/* With both files at hand. An epoll in an epoll is left to the kernel, which checks nesting. */
static __always_inline int fs_epoll_op(struct file *epfile, int op, struct file *file, int fd,
				       struct epoll_event *epds)
{
	void *ep = epfile->private_data, *epi;
	int err = FS_EPOLL_STOCK;

	/* Who comes here a moment later is woken by fs_epoll_ready(). */
	if (waitqueue_active(fs_member(ep, wait_queue_head_t, fs_at.poll_wait)))
		return err;
	mutex_lock(fs_member(ep, struct mutex, fs_at.mtx));
	epi = fs_epoll_item(ep, file, fd);
	if (epi && op == EPOLL_CTL_MOD) {
		err = fs_epoll_mod(ep, epi, file, epds);
	} else if (epi) {
		static_call(fs_ep_remove)(ep, epi);
		err = 0;
	}
	mutex_unlock(fs_member(ep, struct mutex, fs_at.mtx));
	return err;
}

/* The caller's table is its own: what is in it stays as long as the caller is here. */
static __always_inline bool fs_files_shared(const struct files_struct *files)
{
	/* Pairs with put_files_struct(), see __fget_light(). */
	return atomic_read_acquire(&files->count) != 1;
}

/* As fdget(), with fput() for who shares its table, but only a file with these operations. */
static __always_inline struct file *fs_epoll_fget(int fd, const struct file_operations *fops,
						  bool shared)
{
	struct file *file;

	if (!shared)
		file = files_lookup_fd_raw(current->files, fd);
	else
		file = fget(fd);
	if (!file || file->f_op == fops)
		return file;
	if (shared)
		fput(file);
	return NULL;
}

/* FS_EPOLL_STOCK, or 0: it has been done. Sleeps on ep->mtx. */
static __always_inline int fs_epoll_try(int epfd, int op, struct file *file, int fd,
					struct epoll_event *epds, bool shared)
{
	int err = FS_EPOLL_STOCK;
	struct file *epfile;

	if (op == EPOLL_CTL_MOD && epds->events & (EPOLLEXCLUSIVE | EPOLLWAKEUP))
		return err;
	epfile = fs_epoll_fget(epfd, fs_epoll_fops, shared);
	if (epfile) {
		err = fs_epoll_op(epfile, op, file, fd, epds);
		if (shared)
			fput(epfile);
	}
	return err;
}

/* With a socket, see fs_epoll_ctl(). No stack protector, as in the kernel's: there is no array. */
static noinline int __no_stack_protector fs_epoll_socket(int epfd, int op, int fd,
							 struct epoll_event *epds,
							 struct file *file, bool shared)
{
	int err = fs_epoll_try(epfd, op, file, fd, epds, shared);

	if (shared)
		fput(file);
	if (err == FS_EPOLL_STOCK) {
		this_cpu_inc(fs_epoll_calls.n[FS_EPOLL_OTHER]);
		return static_call(fs_stock_epoll_ctl)(epfd, op, fd, epds, false);
	}
	if (op == EPOLL_CTL_MOD)
		this_cpu_inc(fs_epoll_calls.n[FS_EPOLL_MOD]);
	else
		this_cpu_inc(fs_epoll_calls.n[FS_EPOLL_DEL]);
	return err;
}

/* For who shares its table. Looks before it takes a reference: many files are no sockets. */
static noinline int fs_epoll_shared(int epfd, int op, int fd, struct epoll_event *epds)
{
	struct file *file;

	rcu_read_lock();
	file = files_lookup_fd_raw(current->files, fd);
	if (file && READ_ONCE(file->f_op) != fs_socket_fops)
		file = NULL;
	rcu_read_unlock();
	if (file)
		file = fs_epoll_fget(fd, fs_socket_fops, true);
	if (file)
		return fs_epoll_socket(epfd, op, fd, epds, file, true);
	this_cpu_inc(fs_epoll_calls.n[FS_EPOLL_OTHER]);
	return static_call(fs_stock_epoll_ctl)(epfd, op, fd, epds, false);
}

/*
 * Instead of do_epoll_ctl(), but for EPOLL_CTL_ADD; process context, sleeps. What is not for us
 * goes on to the kernel's function, which returns to our caller and not here, as early as
 * possible: no call before that, so that no register has to be saved.
 */
int fs_epoll_ctl(int epfd, int op, int fd, struct epoll_event *epds, bool nonblock)
{
	struct file *file;

	this_cpu_inc(fs_epoll_calls.entered);
	/* io_uring's first attempt must not sleep. */
	if (likely(op == EPOLL_CTL_MOD || op == EPOLL_CTL_DEL) && likely(!nonblock)) {
		if (unlikely(fs_files_shared(current->files)))
			return fs_epoll_shared(epfd, op, fd, epds);
		file = fs_epoll_fget(fd, fs_socket_fops, false);
		if (file)
			return fs_epoll_socket(epfd, op, fd, epds, file, false);
	}
	this_cpu_inc(fs_epoll_calls.n[FS_EPOLL_OTHER]);
	return static_call(fs_stock_epoll_ctl)(epfd, op, fd, epds, nonblock);
}

/*
 * Called where do_epoll_ctl() begins, with its arguments in place: EPOLL_CTL_ADD (1) goes on
 * there, all else goes to fs_epoll_ctl(), which returns to its caller. It "returns" to there:
 * with the return address dropped instead, the processor would mispredict each return that is
 * above us.
 */
/* clang-format off */
asm(".pushsection .text, \"ax\", @progbits\n"
	".p2align 4\n"
	".type fs_epoll_trampoline, @function\n"
	".globl fs_epoll_trampoline\n"
	"fs_epoll_trampoline:\n"
	ASM_ENDBR
	"	cmpl $1, %esi\n"
	"	je 1f\n"
	"	cmpb $0, fs_epoll_yields(%rip)\n"
	"	jne 1f\n"
	"	leaq fs_epoll_ctl(%rip), %r11\n"
	"	movq %r11, (%rsp)\n"
	"1:	" ASM_RET
	".size fs_epoll_trampoline, .-fs_epoll_trampoline\n"
	".popsection\n"
);
/* clang-format on */
STACK_FRAME_NON_STANDARD(fs_epoll_trampoline);

/*
 * A live patch of do_epoll_ctl() that comes later gets all calls, and we stand aside as long
 * as it is there; beside one that was first we do not come up.
 */
static int fs_epoll_share(enum ftrace_ops_cmd cmd)
{
	switch (cmd) {
	case FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_PEER:
		WRITE_ONCE(fs_epoll_yields, true);
		return 0;
	case FTRACE_OPS_CMD_DISABLE_SHARE_IPMODIFY_PEER:
		WRITE_ONCE(fs_epoll_yields, false);
		return 0;
	default:
		return -EBUSY;
	}
}

FS_OPS_FUNC(fs_epoll_ops_func, fs_epoll_share)

static struct fs_hook fs_epoll_hook =
	FS_DIRECT_HOOK("do_epoll_ctl", fs_epoll_trampoline, fs_epoll_ops_func);

/* The same by way of ftrace; when do_epoll_ctl() is called, notrace. */
static void notrace fs_at_epoll_ctl(unsigned long ip, unsigned long parent_ip,
				    struct ftrace_ops *ops, struct ftrace_regs *fregs)
{
	if (fs_hook_arg(fregs, 1) != EPOLL_CTL_ADD)
		fs_hook_replace(fregs, fs_epoll_ctl);
}

/* Costs each call some 50 instructions more, but stands beside a direct call of somebody else. */
static struct fs_hook fs_epoll_hook_beside = FS_HOOK("do_epoll_ctl", fs_at_epoll_ctl);

/* Listeners that are attached. */
static atomic_t fs_epoll_users;

/* Guards installing and removing the hook, whether it may be now, and whether it ever was. */
static DEFINE_MUTEX(fs_epoll_lock);
static bool fs_epoll_loaded, fs_epoll_used;

#define fs_epoll_stays_off(fmt, ...) pr_notice("Fast Epoll stays off: " fmt "\n", ##__VA_ARGS__)

/* Under fs_epoll_lock. */
static int fs_epoll_find_layout(void)
{
	static const struct fs_btf_member ep[] = {
		{ "mtx", "struct mutex", sizeof(struct mutex), &fs_at.mtx },
		{ "wq", "wait_queue_head_t", sizeof(wait_queue_head_t), &fs_at.wq },
		{ "poll_wait", "wait_queue_head_t", sizeof(wait_queue_head_t), &fs_at.poll_wait },
		{ "rdllist", "struct list_head", sizeof(struct list_head), &fs_at.rdllist },
		{ "lock", "spinlock_t", sizeof(spinlock_t), &fs_at.lock },
	};
	static const struct fs_btf_member epi[] = {
		{ "rdllink", "struct list_head", sizeof(struct list_head), &fs_at.rdllink },
		{ "ffd.fd", "int", sizeof(int), &fs_at.fd },
		{ "ep", "struct eventpoll *", sizeof(void *), &fs_at.ep },
		{ "fllink", "struct hlist_node", sizeof(struct hlist_node), &fs_at.fllink },
		{ "ws", "struct wakeup_source *", sizeof(void *), &fs_at.ws },
		{ "event", "struct epoll_event", sizeof(struct epoll_event), &fs_at.event },
	};
	static const struct fs_btf_struct structs[] = {
		{ "eventpoll", ep, ARRAY_SIZE(ep) },
		{ "epitem", epi, ARRAY_SIZE(epi) },
	};
	char why[FS_BTF_WHY];
	int err = fs_btf_vmlinux(structs, ARRAY_SIZE(structs), why, sizeof(why));

	if (err)
		fs_epoll_stays_off("%s", why);
	return err;
}

/* Look up all that is needed, once; under fs_epoll_lock. */
static int fs_epoll_find(void)
{
	static const char * const names[] = { "ep_remove", "socket_file_ops", "eventpoll_fops" };
	void *addr[ARRAY_SIZE(names)];
	unsigned int i;
	int err;

	if (fs_epoll_fops)
		return 0;
	err = fs_hook_find(&fs_epoll_hook);
	if (err) {
		fs_epoll_stays_off("%s %s in this kernel", fs_epoll_hook.symbol,
				   err == -ENOENT ? "is not" : "cannot be traced");
		return -EOPNOTSUPP;
	}
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		addr[i] = i ? fs_data_symbol(names[i]) : fs_symbol(names[i]);
		if (!addr[i]) {
			fs_epoll_stays_off("%s is not in this kernel", names[i]);
			return -EOPNOTSUPP;
		}
	}
	if (fs_epoll_find_layout())
		return -EOPNOTSUPP;
	fs_epoll_hook_beside.site = fs_epoll_hook.site;
	static_call_update(fs_stock_epoll_ctl, fs_hook_stock(&fs_epoll_hook));
	static_call_update(fs_ep_remove, addr[0]);
	fs_socket_fops = addr[1];
	fs_epoll_fops = addr[2];
	return 0;
}

static bool fs_epoll_hooked(void)
{
	return fs_epoll_hook.installed || fs_epoll_hook_beside.installed;
}

/* Hooked exactly while it is wanted; under fs_epoll_lock. */
static int fs_epoll_apply(void)
{
	bool want = fs_epoll_loaded && fs_epoll_enabled && atomic_read(&fs_epoll_users);
	int err;

	if (!want) {
		fs_hook_remove(&fs_epoll_hook);
		fs_hook_remove(&fs_epoll_hook_beside);
		return 0;
	}
	if (fs_epoll_hooked())
		return 0;
	/* A live patch that went while we were not hooked has not told us. */
	WRITE_ONCE(fs_epoll_yields, false);
	err = fs_hook_install(&fs_epoll_hook);
	if (err == -EBUSY)
		err = fs_hook_install(&fs_epoll_hook_beside);
	if (!err) {
		fs_epoll_used = true;
		return 0;
	}
	fs_epoll_stays_off("%s: error %d: a live patch has it, or ftrace is off",
			   fs_epoll_hook.symbol, err);
	WRITE_ONCE(fs_epoll_enabled, 0);
	return err;
}

static void fs_epoll_work(struct work_struct *unused)
{
	mutex_lock(&fs_epoll_lock);
	fs_epoll_apply();
	mutex_unlock(&fs_epoll_lock);
}

static DECLARE_DELAYED_WORK(fs_epoll_change, fs_epoll_work);

/**
 * fs_epoll_get() - a listener is attached; any context
 *
 * The hook comes a moment later; until then the kernel's function does it all.
 */
void fs_epoll_get(void)
{
	if (atomic_inc_return(&fs_epoll_users) == 1)
		mod_delayed_work(fs_wq, &fs_epoll_change, 0);
}

/**
 * fs_epoll_put() - undo fs_epoll_get(); any context
 */
void fs_epoll_put(void)
{
	if (atomic_dec_and_test(&fs_epoll_users))
		mod_delayed_work(fs_wq, &fs_epoll_change, FS_EPOLL_LINGER);
}

/**
 * fs_epoll_switch() - what a write to the parameter does; process context, sleeps
 * @on: the wish. Before fs_epoll_init() it is only noted.
 *
 * Return: 0; -EOPNOTSUPP: the kernel lacks something or is not what we know; -EBUSY or
 * another error of ftrace: it cannot be done now. On errors a line in the log tells, and it is off.
 */
int fs_epoll_switch(bool on)
{
	int err = 0;

	mutex_lock(&fs_epoll_lock);
	if (on && fs_epoll_loaded)
		err = fs_epoll_find();
	if (!err) {
		WRITE_ONCE(fs_epoll_enabled, on);
		err = fs_epoll_apply();
	}
	mutex_unlock(&fs_epoll_lock);
	return err;
}

/**
 * fs_epoll_counters() - what became of epoll_ctl(), by enum fs_epoll_stat
 *
 * Return: the counters of each CPU; they may be read by anybody.
 */
const unsigned long __percpu *fs_epoll_counters(void)
{
	return fs_epoll_calls.n;
}

/**
 * fs_epoll_init() - at load; off if this kernel is not one that we know
 */
void fs_epoll_init(void)
{
	mutex_lock(&fs_epoll_lock);
	fs_epoll_loaded = true;
	if (fs_epoll_enabled && fs_epoll_find())
		WRITE_ONCE(fs_epoll_enabled, 0);
	mutex_unlock(&fs_epoll_lock);
}

/* Calls that came and did not leave; none comes any more, the hook is gone. */
static bool fs_epoll_inside(void)
{
	unsigned long inside = 0;
	int cpu, i;

	for_each_possible_cpu(cpu) {
		const struct fs_epoll_cpu *c = per_cpu_ptr(&fs_epoll_calls, cpu);

		inside += READ_ONCE(c->entered);
		for (i = 0; i < FS_NR_EPOLL; i++)
			inside -= READ_ONCE(c->n[i]);
	}
	return inside;
}

/**
 * fs_epoll_exit() - undo fs_epoll_init(); no listener is attached any more
 *
 * Waits for tasks that sleep inside.
 */
void fs_epoll_exit(void)
{
	mutex_lock(&fs_epoll_lock);
	fs_epoll_loaded = false;
	fs_epoll_apply();
	mutex_unlock(&fs_epoll_lock);
	cancel_delayed_work_sync(&fs_epoll_change);
	if (!fs_epoll_used)
		return;
	while (fs_epoll_inside())
		msleep(20);
	/* And has left the function where it was counted, which takes no sleep. */
	synchronize_rcu_tasks();
}
