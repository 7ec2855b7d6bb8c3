// SPDX-License-Identifier: GPL-2.0
/*
 * Enrolment: whose listeners are attached
 *
 * Three tracepoints tell what there is to know, and are ours only while somebody is enrolled:
 *  - sched_process_fork: the child of an enrolled process is enrolled, too;
 *  - sched_process_exit: a process ends with its last thread;
 *  - inet_sock_set_state: a socket begins to listen. That is inside listen(), with the socket
 *    locked; what attaches it has to sleep, and does so as task work, before the same task
 *    is back in its program.
 * A process is its signal_struct, which all its threads share and which stays over execve(). So
 * nothing is to be done for either.
 */
#define pr_fmt(fmt) "Fastsocket: " fmt

#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/file.h>
#include <linux/hashtable.h>
#include <linux/module.h>
#include <linux/net.h>
#include <linux/pid_namespace.h>
#include <linux/proc_fs.h>
#include <linux/rculist.h>
#include <linux/rcupdate_wait.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/static_call.h>
#include <linux/task_work.h>
#include <linux/tracepoint.h>
#include <linux/user_namespace.h>
#include <linux/workqueue.h>
#include <net/tcp.h>

#include "include/compat.h"
#include "include/enrol.h"
#include "include/fastsocket.h"
#include "include/hook.h"
#include "include/listen_spawn.h"

#define FS_PROCESS_BITS		8
#define FS_UNWATCH_AFTER	(5 * HZ)

/**
 * struct fs_process - an enrolled process
 * @node: in fs_processes; changed under fs_process_lock, walked under RCU
 * @signal: it; compared, never dereferenced: the entry goes before the process does
 * @pid: its number; a reference
 * @rcu: to free it, and to drop @pid
 */
struct fs_process {
	struct hlist_node node;
	const struct signal_struct *signal;
	struct pid *pid;
	struct rcu_head rcu;
};

/**
 * struct fs_cgroup - an enrolled control group
 * @node: in fs_cgroups; changed under fs_enrol_lock, walked under RCU
 * @cgroup: it; a reference
 * @rcu: to free it, and to drop @cgroup
 */
struct fs_cgroup {
	struct list_head node;
	struct cgroup *cgroup;
	struct rcu_head rcu;
};

/**
 * struct fs_listen_work - a socket that is to be attached when listen() or setsockopt() is done
 * @head: as the task knows it
 * @sock: the socket; its file is referenced
 * @ulp: by TCP_ULP
 */
struct fs_listen_work {
	struct callback_head head;
	struct socket *sock;
	bool ulp;
};

static DEFINE_HASHTABLE(fs_processes, FS_PROCESS_BITS);
/* Taken with preemption disabled, by tracepoints; never in interrupts. */
static DEFINE_SPINLOCK(fs_process_lock);
/* Length of the above; under its lock, read without. */
static unsigned int fs_nprocesses;

static LIST_HEAD(fs_cgroups);
/* Length of the above; under fs_enrol_lock, read without. */
static unsigned int fs_ncgroups;

/* Enrolling and taking back. Outside of fs_process_lock. */
static DEFINE_MUTEX(fs_enrol_lock);
/* The tracepoints are ours; under fs_enrol_lock. */
static bool fs_watching;
/* They are there, and what else is needed; set at load. */
static bool fs_can_enrol __read_mostly;
/* A socket was attached as task work once. */
static bool fs_worked;

DEFINE_STATIC_CALL_NULL(fs_task_work_add, task_work_add);
static bool have_task_work;

/* ---- attaching, as task work ---- */

static void fs_ulp_leave(struct sock *sk);

/* In the task that called listen() or setsockopt(), before it returns to the program; may sleep. */
static void fs_attach_work(struct callback_head *head)
{
	struct fs_listen_work *w = container_of(head, struct fs_listen_work, head);
	struct sock *sk = w->sock->sk;

	if (w->ulp)
		fs_ulp_leave(sk);
	/* A listen() that failed in the end has said LISTEN, too. */
	if (w->ulp || inet_sk_state_load(sk) == TCP_LISTEN)
		fs_attach_or_say(w->sock);
	sockfd_put(w->sock);
	kfree(w);
	/* fs_enrol_exit() waits for these last instructions. */
	module_put(THIS_MODULE);
}

/* Any context in which current is the task; the caller keeps the socket's file from going. */
static int fs_attach_later(struct socket *sock, bool ulp, gfp_t gfp)
{
	struct fs_listen_work *w = kmalloc(sizeof(*w), gfp);

	if (!w)
		return -ENOMEM;
	init_task_work(&w->head, fs_attach_work);
	w->sock = sock;
	w->ulp = ulp;
	WRITE_ONCE(fs_worked, true);
	__module_get(THIS_MODULE);
	get_file(sock->file);
	if (!static_call(fs_task_work_add)(current, &w->head, TWA_RESUME))
		return 0;
	/* The task is exiting. */
	fput(sock->file);
	module_put(THIS_MODULE);
	kfree(w);
	return -ESRCH;
}

/* ---- who is enrolled ---- */

static struct fs_process *fs_process_find(const struct signal_struct *signal)
{
	struct fs_process *p;

	hash_for_each_possible_rcu(fs_processes, p, node, (unsigned long)signal,
				   lockdep_is_held(&fs_process_lock))
		if (p->signal == signal)
			return p;
	return NULL;
}

static void fs_process_free(struct rcu_head *rcu)
{
	struct fs_process *p = container_of(rcu, struct fs_process, rcu);

	put_pid(p->pid);
	kfree(p);
}

/*
 * @task is alive, or was when this was called: whose last thread is gone meanwhile finds
 * itself in the table, or we see that it is. Atomic if @gfp is.
 */
static int fs_process_add(struct task_struct *task, gfp_t gfp)
{
	struct fs_process *p = kmalloc(sizeof(*p), gfp | __GFP_NOWARN);
	bool dead = false;

	if (!p)
		return -ENOMEM;
	p->signal = task->signal;
	p->pid = get_pid(task_tgid(task));
	spin_lock(&fs_process_lock);
	if (!fs_process_find(p->signal)) {
		dead = !atomic_read(&task->signal->live);
		if (!dead) {
			hash_add_rcu(fs_processes, &p->node, (unsigned long)p->signal);
			WRITE_ONCE(fs_nprocesses, fs_nprocesses + 1);
			p = NULL;
		}
	}
	spin_unlock(&fs_process_lock);
	if (p)
		fs_process_free(&p->rcu);
	return dead ? -ESRCH : 0;
}

static void fs_process_remove_locked(struct fs_process *p)
{
	hash_del_rcu(&p->node);
	WRITE_ONCE(fs_nprocesses, fs_nprocesses - 1);
	call_rcu(&p->rcu, fs_process_free);
}

static void fs_process_remove(const struct signal_struct *signal)
{
	struct fs_process *p;

	spin_lock(&fs_process_lock);
	p = fs_process_find(signal);
	if (p)
		fs_process_remove_locked(p);
	spin_unlock(&fs_process_lock);
}

/* Under RCU. */
static bool fs_cgroup_enrolled(void)
{
	struct cgroup *mine;
	struct fs_cgroup *c;

	if (list_empty(&fs_cgroups))
		return false;
	mine = task_dfl_cgroup(current);
	list_for_each_entry_rcu(c, &fs_cgroups, node)
		if (cgroup_is_descendant(mine, c->cgroup))
			return true;
	return false;
}

static bool fs_enrolled(void)
{
	bool enrolled;

	rcu_read_lock();
	enrolled = fs_process_find(current->signal) || fs_cgroup_enrolled();
	rcu_read_unlock();
	return enrolled;
}

/* ---- the tracepoints ---- */

/* In the parent; the child has not run yet. */
static void fs_at_fork(void *unused, struct task_struct *parent, struct task_struct *child)
{
	bool enrolled;

	if (child->signal == parent->signal)
		return;
	rcu_read_lock();
	enrolled = fs_process_find(parent->signal);
	rcu_read_unlock();
	if (enrolled && fs_process_add(child, GFP_ATOMIC))
		pr_notice_ratelimited("no memory to enrol a child of %s: it stays with the plain kernel\n",
				      parent->comm);
}

/* In the thread that exits; of two last ones the second finds the table without the process. */
static void fs_process_exits(struct task_struct *task)
{
	if (!atomic_read(&task->signal->live))
		fs_process_remove(task->signal);
}

FS_AT_PROCESS_EXIT(fs_at_exit, fs_process_exits)

/*
 * In listen(), with the socket locked. A socket of the kernel's own has no file, or points to
 * another one, as MPTCP's do.
 */
static void fs_at_listen(void *unused, const struct sock *sk, const int from, const int to)
{
	struct socket *sock = sk->sk_socket;

	if (from != TCP_CLOSE || to != TCP_LISTEN || (current->flags & PF_KTHREAD))
		return;
	if (!sock || sock->sk != sk || !sock->file || fs_attached(sock) || !fs_enrolled())
		return;
	if (fs_attach_later(sock, false, GFP_ATOMIC | __GFP_NOWARN) == -ENOMEM)
		pr_notice_ratelimited("a listener of %s stays with the plain kernel: no memory\n",
				      current->comm);
}

/* In the order in which they become ours. */
static struct fs_trace {
	const char *name;
	void *probe;
	struct tracepoint *tp;
} fs_traces[] = {
	{ "sched_process_exit", fs_at_exit },
	{ "sched_process_fork", fs_at_fork },
	{ "inet_sock_set_state", fs_at_listen },
};

static void fs_find_trace(struct tracepoint *tp, void *unused)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fs_traces); i++)
		if (!strcmp(tp->name, fs_traces[i].name))
			fs_traces[i].tp = tp;
}

/* The first @n of them; under fs_enrol_lock. */
static void fs_watch_undo(unsigned int n)
{
	while (n--)
		tracepoint_probe_unregister(fs_traces[n].tp, fs_traces[n].probe, NULL);
	tracepoint_synchronize_unregister();
}

/* Under fs_enrol_lock; may sleep. */
static int fs_watch(void)
{
	unsigned int i;
	int err;

	if (fs_watching)
		return 0;
	for (i = 0; i < ARRAY_SIZE(fs_traces); i++) {
		err = tracepoint_probe_register(fs_traces[i].tp, fs_traces[i].probe, NULL);
		if (err) {
			pr_notice_ratelimited("nobody can be enrolled now: tracepoint %s: error %d\n",
					      fs_traces[i].name, err);
			fs_watch_undo(i);
			return err;
		}
	}
	fs_watching = true;
	return 0;
}

static void fs_forget_processes(void)
{
	struct hlist_node *next;
	struct fs_process *p;
	unsigned int bucket;

	spin_lock(&fs_process_lock);
	hash_for_each_safe(fs_processes, bucket, next, p, node)
		fs_process_remove_locked(p);
	spin_unlock(&fs_process_lock);
}

/*
 * Under fs_enrol_lock; may sleep. A fork that met its parent in the table just before that was
 * taken back may have added the child; nobody would see its end.
 */
static void fs_unwatch(void)
{
	if (!fs_watching)
		return;
	fs_watch_undo(ARRAY_SIZE(fs_traces));
	fs_watching = false;
	fs_forget_processes();
}

static void fs_unwatch_work(struct work_struct *work)
{
	mutex_lock(&fs_enrol_lock);
	if (!fs_enrolled_processes() && !fs_enrolled_cgroups())
		fs_unwatch();
	mutex_unlock(&fs_enrol_lock);
}

/* Not with each program that ends: the next one may be about to start. */
static DECLARE_DELAYED_WORK(fs_unwatcher, fs_unwatch_work);

static void fs_unwatch_soon(void)
{
	mod_delayed_work(fs_wq, &fs_unwatcher, FS_UNWATCH_AFTER);
}

/* ---- enrolling, as the device has it ---- */

/* The number is of the caller's namespace; a reference, or NULL. */
static struct task_struct *fs_task_get(pid_t nr)
{
	struct task_struct *task;
	struct pid *pid;

	if (!nr)
		return get_task_struct(current);
	pid = find_get_pid(nr);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	return task;
}

/* To enrol is to choose where tasks run: who may set the affinity of all it makes may do that. */
static int fs_may_enrol(struct task_struct *task)
{
	const struct cred *cred = current_cred(), *theirs;
	bool may;

	if (task->flags & PF_KTHREAD)
		return -EINVAL;
	if (same_thread_group(task, current))
		return 0;
	theirs = get_task_cred(task);
	may = uid_eq(cred->euid, theirs->euid) || uid_eq(cred->euid, theirs->uid) ||
	      ns_capable(theirs->user_ns, CAP_SYS_NICE);
	put_cred(theirs);
	return may ? 0 : -EPERM;
}

/**
 * fs_enrol_process() - from now on listeners of a process are attached, and those of its children
 * @nr: any of its threads, as the caller's pid namespace has it; 0: the calling process
 * @on: false: not any more. Listeners that are attached and children that are enrolled stay so.
 *
 * Process context, may sleep.
 *
 * Return: 0, also when it is so already; -ESRCH: there is no such process; -EPERM: it is another
 * user's; -EINVAL: it is the kernel's own; -EOPNOTSUPP: this kernel lacks something, see the log
 * at load; -ENOMEM, or what the tracepoints say.
 */
int fs_enrol_process(pid_t nr, bool on)
{
	struct task_struct *task;
	int err;

	if (!fs_can_enrol)
		return -EOPNOTSUPP;
	task = fs_task_get(nr);
	if (!task)
		return -ESRCH;
	err = fs_may_enrol(task);
	if (err)
		goto put;
	mutex_lock(&fs_enrol_lock);
	if (on) {
		err = fs_watch();
		if (!err)
			err = fs_process_add(task, GFP_KERNEL);
	} else {
		fs_process_remove(task->signal);
	}
	mutex_unlock(&fs_enrol_lock);
	fs_unwatch_soon();
put:
	put_task_struct(task);
	return err;
}

static void fs_cgroup_free(struct rcu_head *rcu)
{
	struct fs_cgroup *c = container_of(rcu, struct fs_cgroup, rcu);

	cgroup_put(c->cgroup);
	kfree(c);
}

/* Under fs_enrol_lock. */
static void fs_cgroup_remove(struct fs_cgroup *c)
{
	list_del_rcu(&c->node);
	WRITE_ONCE(fs_ncgroups, fs_ncgroups - 1);
	call_rcu(&c->rcu, fs_cgroup_free);
}

static bool fs_cgroup_gone(const struct fs_cgroup *c)
{
	return !(READ_ONCE(c->cgroup->self.flags) & CSS_ONLINE);
}

/* Remove those that are gone, and @cgroup; under fs_enrol_lock. */
static void fs_cgroups_prune(const struct cgroup *cgroup)
{
	struct fs_cgroup *c, *next;

	list_for_each_entry_safe(c, next, &fs_cgroups, node)
		if (c->cgroup == cgroup || fs_cgroup_gone(c))
			fs_cgroup_remove(c);
}

/* Takes the reference to @cgroup, if there is no error; under fs_enrol_lock. */
static int fs_cgroup_add(struct cgroup *cgroup)
{
	struct fs_cgroup *c;
	int err = fs_watch();

	if (err)
		return err;
	if (fs_ncgroups == FS_MAX_CGROUPS)
		return -ENOSPC;
	c = kmalloc(sizeof(*c), GFP_KERNEL);
	if (!c)
		return -ENOMEM;
	c->cgroup = cgroup;
	list_add_tail_rcu(&c->node, &fs_cgroups);
	WRITE_ONCE(fs_ncgroups, fs_ncgroups + 1);
	return 0;
}

/**
 * fs_enrol_cgroup() - from now on listeners of all processes in a control group are attached
 * @fd: its directory, of the unified hierarchy; groups below it count, too
 * @on: false: not any more. Listeners that are attached stay so.
 *
 * Whoever is in it may be anybody's, so this is for who administrates the network of the machine.
 * Process context, may sleep.
 *
 * Return: 0, also when it is so already; -EPERM: without CAP_NET_ADMIN; -EBADF: @fd is no control
 * group; -ENOSPC: there are FS_MAX_CGROUPS; or as fs_enrol_process().
 */
int fs_enrol_cgroup(int fd, bool on)
{
	struct cgroup *cgroup;
	int err = 0;

	if (!fs_can_enrol)
		return -EOPNOTSUPP;
	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	cgroup = cgroup_get_from_fd(fd);
	if (IS_ERR(cgroup))
		return PTR_ERR(cgroup);
	mutex_lock(&fs_enrol_lock);
	fs_cgroups_prune(cgroup);
	if (on)
		err = fs_cgroup_add(cgroup);
	mutex_unlock(&fs_enrol_lock);
	fs_unwatch_soon();
	if (err || !on)
		cgroup_put(cgroup);
	return err;
}

/**
 * fs_enrolled_processes() - how many processes are enrolled; any context
 *
 * Return: the number, those in enrolled control groups not counted.
 */
unsigned int fs_enrolled_processes(void)
{
	return READ_ONCE(fs_nprocesses);
}

/**
 * fs_enrolled_cgroups() - how many control groups are enrolled; any context
 *
 * Return: the number; a group that was removed counts until the next one is enrolled.
 */
unsigned int fs_enrolled_cgroups(void)
{
	return READ_ONCE(fs_ncgroups);
}

/* ---- /proc/fastsocket_enrolled ---- */

/* A name may hold what separates fields and lines. */
static void fs_show_name(struct seq_file *m, const char *name)
{
	seq_escape(m, name, " \t\n\\");
	seq_putc(m, '\n');
}

/*
 * In the pid namespace of the file system that is read, as ps shows them: those of the reader's
 * user, all to who may trace them.
 */
static void fs_show_processes(struct seq_file *m)
{
	struct pid_namespace *ns = proc_pid_ns(file_inode(m->file)->i_sb);
	bool all = ns_capable_noaudit(ns->user_ns, CAP_SYS_PTRACE);
	struct task_struct *task;
	struct fs_process *p;
	unsigned int bucket;
	pid_t nr;

	rcu_read_lock();
	hash_for_each_rcu(fs_processes, bucket, p, node) {
		nr = pid_nr_ns(p->pid, ns);
		task = pid_task(p->pid, PIDTYPE_TGID);
		if (!nr || !task || !(all || uid_eq(task_uid(task), current_euid())))
			continue;
		seq_printf(m, "process %d ", nr);
		fs_show_name(m, task->comm);
	}
	rcu_read_unlock();
}

/* In the cgroup namespace of the reader; those outside of it begin with "/..". */
static void fs_show_cgroups(struct seq_file *m)
{
	char *path = kmalloc(PATH_MAX, GFP_KERNEL);
	struct fs_cgroup *c;

	if (!path)
		return;
	mutex_lock(&fs_enrol_lock);
	list_for_each_entry(c, &fs_cgroups, node) {
		if (fs_cgroup_gone(c) ||
		    cgroup_path_ns(c->cgroup, path, PATH_MAX, current->nsproxy->cgroup_ns) < 0)
			continue;
		if (!strncmp(path, "/..", 3))
			continue;
		seq_printf(m, "cgroup %llu ", cgroup_id(c->cgroup));
		fs_show_name(m, path);
	}
	mutex_unlock(&fs_enrol_lock);
	kfree(path);
}

static int fs_enrolled_show(struct seq_file *m, void *v)
{
	seq_puts(m, "kind id name\n");
	fs_show_processes(m);
	fs_show_cgroups(m);
	return 0;
}

/* ---- TCP_ULP ---- */

/*
 * For programs that want it themselves. The protocol is there until the call returns to the
 * program: then the socket is attached and free for another one, and so is what it accepts.
 */
static int fs_ulp_init(struct sock *sk)
{
	struct socket *sock = sk->sk_socket;

	if (!have_task_work || !sock || !sock->file || (current->flags & PF_KTHREAD) ||
	    !fs_can_attach(sock))
		return -EOPNOTSUPP;
	if (!((1 << sk->sk_state) & (TCPF_CLOSE | TCPF_LISTEN)))
		return -EISCONN;
	return fs_attach_later(sock, true, GFP_KERNEL);
}

/* A connection of a listener that another thread has made one meanwhile. */
static void fs_ulp_clone(const struct request_sock *req, struct sock *child, const gfp_t priority)
{
	inet_csk(child)->icsk_ulp_ops = NULL;
}

static struct tcp_ulp_ops fs_ulp = {
	.name	= "fastsocket",
	.owner	= THIS_MODULE,
	.init	= fs_ulp_init,
	.clone	= fs_ulp_clone,
};

static bool fs_have_ulp;

static void fs_ulp_leave(struct sock *sk)
{
	bool ours;

	lock_sock(sk);
	ours = inet_csk(sk)->icsk_ulp_ops == &fs_ulp;
	if (ours)
		WRITE_ONCE(inet_csk(sk)->icsk_ulp_ops, NULL);
	release_sock(sk);
	if (ours)
		module_put(THIS_MODULE);
}

/* ---- load and unload ---- */

/* What cannot be found keeps it off, with one line. */
static bool fs_enrol_find(void)
{
	unsigned int i;

	/* Probes may not sleep, and there even atomic allocations and spin locks do. */
	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_notice("Enrolment stays off: not on a PREEMPT_RT kernel\n");
		return false;
	}
	for_each_kernel_tracepoint(fs_find_trace, NULL);
	for (i = 0; i < ARRAY_SIZE(fs_traces); i++) {
		if (!fs_traces[i].tp) {
			pr_notice("Enrolment stays off: %s is no tracepoint\n", fs_traces[i].name);
			return false;
		}
	}
	return true;
}

/**
 * fs_enrol_init() - find what is needed, at load behind fs_listen_init(); process context
 *
 * Return: 0, also when enrolment or TCP_ULP stay off; -ENOMEM.
 */
int fs_enrol_init(void)
{
	void *addr = fs_symbol("task_work_add");
	int err;

	if (!proc_create_single("fastsocket_enrolled", 0444, NULL, fs_enrolled_show))
		return -ENOMEM;
	if (!addr) {
		pr_notice("Enrolment and TCP_ULP stay off: task_work_add is not in this kernel\n");
		return 0;
	}
	static_call_update(fs_task_work_add, addr);
	have_task_work = true;
	fs_can_enrol = fs_enrol_find();
	err = tcp_register_ulp(&fs_ulp);
	if (err)
		pr_notice("TCP_ULP stays off: error %d\n", err);
	fs_have_ulp = !err;
	return 0;
}

static void fs_forget_cgroups(void)
{
	struct fs_cgroup *c, *next;

	list_for_each_entry_safe(c, next, &fs_cgroups, node)
		fs_cgroup_remove(c);
}

/**
 * fs_enrol_exit() - undo fs_enrol_init(), before fs_listen_exit(); nobody has the device open
 *
 * No task work is left: each holds the module.
 */
void fs_enrol_exit(void)
{
	if (fs_have_ulp)
		tcp_unregister_ulp(&fs_ulp);
	remove_proc_entry("fastsocket_enrolled", NULL);
	mutex_lock(&fs_enrol_lock);
	fs_unwatch();
	fs_forget_cgroups();
	mutex_unlock(&fs_enrol_lock);
	cancel_delayed_work_sync(&fs_unwatcher);
	rcu_barrier();
	if (fs_worked)
		synchronize_rcu_tasks();
}
