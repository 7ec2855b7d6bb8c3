// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets, user tasks and threads for the KUnit files
 */
#include <linux/completion.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/pid.h>
#include <linux/umh.h>
#include <linux/vmalloc.h>
#include <linux/workqueue.h>
#include <net/ipv6.h>
#include <net/tcp.h>

#include "../../include/fastsocket.h"
#include "../../include/listen_spawn.h"
#include "kunit_util.h"

#define FSK_SOCKETS 128
#define FSK_PORTS 65536

static unsigned int seed = 20120817;
module_param(seed, uint, 0444);
MODULE_PARM_DESC(seed, "of the random cases");

unsigned int fsk_stress_ms = 1000;
module_param_named(stress_ms, fsk_stress_ms, uint, 0444);
MODULE_PARM_DESC(stress_ms, "how long each stress case runs");

/* Cases run one after the other: one set is enough. */
static struct socket *fsk_open[FSK_SOCKETS];
static unsigned int fsk_nopen;
static int fsk_refs;

int fsk_init(struct kunit *test)
{
	fsk_nopen = 0;
	fsk_refs = module_refcount(THIS_MODULE);
	return 0;
}

void fsk_exit(struct kunit *test)
{
	while (fsk_nopen)
		fsk_close(fsk_open[fsk_nopen - 1]);
	WRITE_ONCE(fs_spawn_mode, FS_SPAWN_BIND);
	KUNIT_EXPECT_TRUE_MSG(test, fsk_wait(module_refcount(THIS_MODULE) == fsk_refs),
			      "module references: %d before, %d after", fsk_refs,
			      module_refcount(THIS_MODULE));
	KUNIT_EXPECT_TRUE(test, list_empty(&fs_net(&init_net)->listeners));
}

static void fsk_keep(struct kunit *test, struct socket *sock)
{
	KUNIT_ASSERT_LT(test, fsk_nopen, FSK_SOCKETS);
	fsk_open[fsk_nopen++] = sock;
}

struct fsk_fput {
	struct work_struct work;
	struct file *file;
};

static void fsk_fput_work(struct work_struct *work)
{
	__fput_sync(container_of(work, struct fsk_fput, work)->file);
}

/* A worker is a kthread whoever we are, so the release has happened on return. */
static void fsk_fput(struct file *file)
{
	struct fsk_fput f = { .file = file };

	INIT_WORK_ONSTACK(&f.work, fsk_fput_work);
	schedule_work(&f.work);
	flush_work(&f.work);
	destroy_work_on_stack(&f.work);
}

void fsk_close(struct socket *sock)
{
	unsigned int i;

	for (i = 0; i < fsk_nopen; i++)
		if (fsk_open[i] == sock)
			fsk_open[i] = fsk_open[--fsk_nopen];
	if (sock->file)
		fsk_fput(sock->file);
	else
		sock_release(sock);
}

struct socket *fsk_socket(struct kunit *test, int family, int type, int protocol)
{
	struct socket *sock;

	KUNIT_ASSERT_EQ(test, sock_create_kern(&init_net, family, type, protocol, &sock), 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(sock_alloc_file(sock, O_NONBLOCK, NULL)));
	fsk_keep(test, sock);
	return sock;
}

struct socket *fsk_tcp(struct kunit *test, int family)
{
	return fsk_socket(test, family, SOCK_STREAM, IPPROTO_TCP);
}

void fsk_bind_loopback(struct kunit *test, struct socket *sock)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in in = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int err;

	if (sock->sk->sk_family == AF_INET6)
		err = kernel_bind(sock, (struct sockaddr *)&in6, sizeof(in6));
	else
		err = kernel_bind(sock, (struct sockaddr *)&in, sizeof(in));
	KUNIT_ASSERT_EQ(test, err, 0);
}

struct socket *fsk_listener(struct kunit *test, int family, int backlog)
{
	struct socket *sock = fsk_tcp(test, family);

	fsk_bind_loopback(test, sock);
	KUNIT_ASSERT_EQ(test, kernel_listen(sock, backlog), 0);
	return sock;
}

struct fs_listener *fsk_attached(struct kunit *test, int family, int backlog)
{
	struct socket *sock = fsk_tcp(test, family);
	struct fs_listener *ls;

	KUNIT_ASSERT_EQ(test, fs_attach(sock), 0);
	fsk_bind_loopback(test, sock);
	KUNIT_ASSERT_EQ(test, kernel_listen(sock, backlog), 0);
	ls = fs_listener_of(sock->sk);
	KUNIT_ASSERT_NOT_NULL(test, ls);
	return ls;
}

struct fs_clone *fsk_clone(struct kunit *test, struct fs_listener *ls, int cpu)
{
	struct fs_clone *c = fsk_locked(ls, fs_clone_get(ls, cpu));

	KUNIT_ASSERT_FALSE(test, IS_ERR(c));
	return c;
}

void fsk_clone_live(struct fs_clone *c)
{
	/* With this set nobody starts the timer. */
	WRITE_ONCE(c->watching, true);
	WRITE_ONCE(c->last, jiffies);
	WRITE_ONCE(c->live, true);
}

unsigned int fsk_backlog(const struct fs_listener *ls)
{
	unsigned int n = READ_ONCE(ls->sk->sk_ack_backlog);
	struct fs_clone *c;

	rcu_read_lock();
	list_for_each_entry_rcu(c, &ls->clones, node)
		n += READ_ONCE(c->sk->sk_ack_backlog);
	rcu_read_unlock();
	return n;
}

/* As fsk_backlog(), of any listener. */
static unsigned int fsk_backlog_of(const struct socket *sock)
{
	const struct fs_listener *ls = fs_listener_of(sock->sk);

	return ls ? fsk_backlog(ls) : READ_ONCE(sock->sk->sk_ack_backlog);
}

static int fsk_connect_to(struct socket *sock, const struct socket *to)
{
	struct sockaddr_storage addr;
	int len = to->ops->getname((struct socket *)to, (struct sockaddr *)&addr, 0);

	return len < 0 ? len : kernel_connect(sock, (struct sockaddr *)&addr, len, 0);
}

struct socket *fsk_connect(struct kunit *test, const struct socket *to, int cpu)
{
	unsigned int before = fsk_backlog_of(to);
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, to->sk->sk_family, SOCK_STREAM, IPPROTO_TCP, &sock);
	KUNIT_ASSERT_EQ(test, err, 0);
	fsk_keep(test, sock);
	sock_no_linger(sock->sk);
	if (cpu >= 0)
		fsk_on_cpu(test, cpu);
	KUNIT_ASSERT_EQ(test, fsk_connect_to(sock, to), 0);
	KUNIT_ASSERT_TRUE(test, fsk_wait(fsk_backlog_of(to) > before));
	return sock;
}

struct socket *fsk_accept(struct kunit *test, struct socket *sock)
{
	struct socket *new;

	if (kernel_accept(sock, &new, O_NONBLOCK))
		return NULL;
	fsk_keep(test, new);
	return new;
}

unsigned int fsk_peer(const struct socket *sock)
{
	return sock ? ntohs(inet_sk(sock->sk)->inet_dport) : 0;
}

unsigned int fsk_port(const struct socket *sock)
{
	return ntohs(inet_sk(sock->sk)->inet_sport);
}

void fsk_on_cpu(struct kunit *test, int cpu)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);
	KUNIT_ASSERT_EQ(test, raw_smp_processor_id(), cpu);
}

void fsk_need_cpus(struct kunit *test, unsigned int n)
{
	unsigned int cpu;

	for (cpu = 0; cpu < n; cpu++)
		KUNIT_ASSERT_TRUE_MSG(test, cpu_online(cpu), "needs %u CPUs", n);
}

void fsk_seed(struct kunit *test, struct rnd_state *rnd)
{
	kunit_info(test, "seed %u\n", seed);
	prandom_seed_state(rnd, seed);
}

/* Runs in a task that is on its way to execve() and never gets there. */
static int fsk_user_init(struct subprocess_info *info, struct cred *new)
{
	struct fsk_user *u = info->data;

	u->pid = get_task_pid(current, PIDTYPE_PID);
	complete(&u->started);
	u->fn(u->test, u->arg);
	complete(&u->done);
	return -ECANCELED;
}

void fsk_user_start(struct kunit *test, struct fsk_user *u,
		    void (*fn)(struct kunit *test, void *arg), void *arg)
{
	struct subprocess_info *info;

	u->fn = fn;
	u->arg = arg;
	u->test = test;
	init_completion(&u->started);
	init_completion(&u->done);
	info = call_usermodehelper_setup("/fsk", NULL, NULL, GFP_KERNEL, fsk_user_init, NULL, u);
	KUNIT_ASSERT_NOT_NULL(test, info);
	KUNIT_ASSERT_EQ(test, call_usermodehelper_exec(info, UMH_NO_WAIT), 0);
	wait_for_completion(&u->started);
}

void fsk_user_wait(struct kunit *test, struct fsk_user *u)
{
	wait_for_completion(&u->done);
	KUNIT_EXPECT_TRUE(test, fsk_wait(!fs_pid_alive(u->pid)));
	put_pid(u->pid);
}

void fsk_user(struct kunit *test, void (*fn)(struct kunit *test, void *arg), void *arg)
{
	struct fsk_user u;

	fsk_user_start(test, &u, fn, arg);
	fsk_user_wait(test, &u);
}

int fsk_fd(struct socket *sock)
{
	int fd = get_unused_fd_flags(O_CLOEXEC);

	if (fd >= 0)
		fd_install(fd, get_file(sock->file));
	return fd;
}

/* Threads of one case at a time. */
static bool fsk_stop;
static atomic_t fsk_running;

bool fsk_stopping(void)
{
	return READ_ONCE(fsk_stop);
}

struct fsk_call {
	void (*fn)(void *arg);
	void *arg;
};

static int fsk_run(void *arg)
{
	struct fsk_call call = *(struct fsk_call *)arg;

	kfree(arg);
	call.fn(call.arg);
	atomic_dec(&fsk_running);
	set_current_state(TASK_INTERRUPTIBLE);
	while (!kthread_should_stop()) {
		schedule();
		set_current_state(TASK_INTERRUPTIBLE);
	}
	__set_current_state(TASK_RUNNING);
	return 0;
}

void fsk_thread(struct kunit *test, struct fsk_threads *t, int cpu, void (*fn)(void *arg),
		void *arg)
{
	struct fsk_call *call = kmalloc(sizeof(*call), GFP_KERNEL);
	struct task_struct *p = ERR_PTR(-ENOMEM);

	if (call && t->n < FSK_THREADS) {
		*call = (struct fsk_call){ fn, arg };
		p = kthread_create(fsk_run, call, "fsk/%d", cpu);
	}
	if (IS_ERR(p)) {
		kfree(call);
		fsk_threads_stop(t);
		KUNIT_ASSERT_FALSE(test, IS_ERR(p));
	}
	WRITE_ONCE(fsk_stop, false);
	atomic_inc(&fsk_running);
	kthread_bind(p, cpu);
	t->task[t->n++] = p;
	wake_up_process(p);
}

void fsk_threads_stop(struct fsk_threads *t)
{
	unsigned int i;

	WRITE_ONCE(fsk_stop, true);
	while (atomic_read(&fsk_running)) {
		for (i = 0; i < t->n; i++)
			wake_up_process(t->task[i]);
		fsk_nap();
	}
	while (t->n)
		kthread_stop(t->task[--t->n]);
}

void fsk_tally_init(struct kunit *test, struct fsk_tally *t, struct socket *to)
{
	memset(t, 0, sizeof(*t));
	t->tolen = kernel_getsockname(to, (struct sockaddr *)&t->to);
	KUNIT_ASSERT_GT(test, t->tolen, 0);
	t->made = vzalloc(2 * FSK_PORTS * sizeof(*t->made));
	KUNIT_ASSERT_NOT_NULL(test, t->made);
	t->got = t->made + FSK_PORTS;
}

void fsk_tally_connect(struct fsk_tally *t)
{
	struct socket *sock;
	int err;

	if (sock_create_kern(&init_net, t->to.ss_family, SOCK_STREAM, IPPROTO_TCP, &sock)) {
		atomic_inc(&t->errors);
		return;
	}
	/* A reset: no port is left waiting, and what was accepted notices. */
	sock_no_linger(sock->sk);
	err = kernel_connect(sock, (struct sockaddr *)&t->to, t->tolen, 0);
	if (err) {
		pr_info("connect: error %d\n", err);
		atomic_inc(&t->errors);
	} else {
		atomic_inc(&t->made[fsk_port(sock)]);
		atomic_inc(&t->nmade);
	}
	sock_release(sock);
}

void fsk_tally_accept(struct fsk_tally *t, struct socket *from)
{
	struct socket *sock;

	while (!kernel_accept(from, &sock, O_NONBLOCK)) {
		atomic_inc(&t->got[fsk_peer(sock)]);
		atomic_inc(&t->ngot);
		/* No reset: the client may not have seen yet that it is connected. */
		sock_release(sock);
	}
}

void fsk_tally_check(struct kunit *test, struct fsk_tally *t, struct socket *from)
{
	unsigned int i, lost = 0, doubled = 0;

	fsk_wait((fsk_tally_accept(t, from), atomic_read(&t->ngot) >= atomic_read(&t->nmade)));
	for (i = 0; i < FSK_PORTS; i++) {
		lost += atomic_read(&t->made[i]) > atomic_read(&t->got[i]);
		doubled += atomic_read(&t->made[i]) < atomic_read(&t->got[i]);
	}
	vfree(t->made);
	kunit_info(test, "%d connections\n", atomic_read(&t->nmade));
	KUNIT_EXPECT_GT(test, atomic_read(&t->nmade), 0);
	KUNIT_EXPECT_EQ(test, lost, 0);
	KUNIT_EXPECT_EQ(test, doubled, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->errors), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&t->ngot), atomic_read(&t->nmade));
}
