// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel offers: each function have_...() either compiles or it does not
 *
 * Compiled once per build and never linked, see Kbuild.include. FS_HAVE_... in
 * fs_kernel.h says which ones do; compat.h is their only reader. Probes ask for
 * what is used and nothing else; version numbers do not tell, because stable
 * series and distributions take over changes. (Arguments are variables: a literal 0
 * would also do for a pointer. A function that may not be there is in one probe
 * only: the compiler complains of an undeclared name once.)
 *
 * "need A B: what" ends the build with that text unless A or B compiles. So what
 * the module takes for granted is asked for, too, where it is likely to change.
 */
#include <linux/cgroup.h>
#include <linux/cred.h>
#include <linux/fdtable.h>
#include <linux/fs.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/net.h>
#include <linux/netdevice.h>
#include <linux/poll.h>
#include <linux/rcupdate_wait.h>
#include <linux/security.h>
#include <linux/socket.h>
#include <linux/static_call.h>
#include <linux/timer.h>
#include <linux/tracepoint.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/inet6_hashtables.h>
#include <net/inet_hashtables.h>
#include <net/request_sock.h>
#include <net/sock.h>
#include <net/tcp.h>
#include <trace/events/sched.h>

/* The two that tell whether the answers can be trusted. */
static void have_PRESENT(struct sock *sk)
{
	sk->sk_state = TCP_LISTEN;
}

static void have_ABSENT(struct sock *sk)
{
	sk->fs_no_kernel_has_this = fs_nor_this();
}

/* need PROTO_OPS: struct proto_ops with the operations of a listening socket */
static void have_PROTO_OPS(const struct proto_ops *ops, struct file *file, struct socket *sock,
			   poll_table *wait, int n, sockptr_t val, char __user *to, int __user *len)
{
	__poll_t mask = ops->poll(file, sock, wait);
	int err = ops->release(sock);

	err = ops->listen(sock, n);
	err = ops->shutdown(sock, n);
	err = ops->setsockopt(sock, n, n, val, n);
	err = ops->getsockopt(sock, n, n, to, len);
}

/* need ACCEPT_ARG ACCEPT_FLAGS: proto_ops.accept() in a form we know */
static void have_ACCEPT_ARG(const struct proto_ops *ops, struct socket *sock)
{
	struct proto_accept_arg arg = { .flags = 0, .err = 0, .is_empty = 0, .kern = false };
	int err = ops->accept(sock, sock, &arg);
}

static void have_ACCEPT_FLAGS(const struct proto_ops *ops, struct socket *sock, int n, bool kern)
{
	int err = ops->accept(sock, sock, n, kern);
}

/* need CONNECT_UNSIZED CONNECT_SOCKADDR: proto_ops.connect() in a form we know */
static void have_CONNECT_UNSIZED(const struct proto_ops *ops, struct socket *sock, int n)
{
	int err = ops->connect(sock, (struct sockaddr_unsized *)NULL, n, n);
}

static void have_CONNECT_SOCKADDR(const struct proto_ops *ops, struct socket *sock, int n)
{
	int err = ops->connect(sock, (struct sockaddr *)NULL, n, n);
}

/* need AF_OPS: inet_connection_sock_af_ops.conn_request() */
static void have_AF_OPS(const struct inet_connection_sock_af_ops *ops, struct sock *sk)
{
	int err = ops->conn_request(sk, (struct sk_buff *)NULL);

	ops = inet_csk(sk)->icsk_af_ops;
}

/* need OPT_CHILD_INIT NO_OPT_CHILD_INIT: .syn_recv_sock() in a form we know */
static void have_OPT_CHILD_INIT(const struct inet_connection_sock_af_ops *ops, struct sock *sk,
				struct request_sock *req, struct dst_entry *dst, bool *own_req,
				void (*init)(struct sock *newsk, const struct sock *sk))
{
	sk = ops->syn_recv_sock(sk, (struct sk_buff *)NULL, req, dst, req, own_req, init);
}

static void have_NO_OPT_CHILD_INIT(const struct inet_connection_sock_af_ops *ops, struct sock *sk,
				   struct request_sock *req, struct dst_entry *dst, bool *own_req)
{
	sk = ops->syn_recv_sock(sk, (struct sk_buff *)NULL, req, dst, req, own_req);
}

/* need QUEUE: an accept queue that is a list behind rskq_lock */
static void have_QUEUE(struct sock *sk)
{
	struct request_sock_queue *q = &inet_csk(sk)->icsk_accept_queue;
	struct request_sock *req = q->rskq_accept_head;

	spin_lock_bh(&q->rskq_lock);
	q->rskq_accept_tail->dl_next = req->dl_next;
	sk->sk_ack_backlog = sk->sk_max_ack_backlog;
	q->rskq_defer_accept = 0;
	q->fastopenq.rskq_rst_head = NULL;
	q->fastopenq.rskq_rst_tail = NULL;
	q->fastopenq.qlen = q->fastopenq.max_qlen;
	atomic_add(reqsk_queue_len(q), &q->qlen);
	inet_csk_delack_init(req->sk);
}

/* need ULP: tcp_ulp_ops.clone() */
static void have_ULP(struct tcp_ulp_ops *ulp, struct sock *sk, const struct request_sock *req)
{
	ulp->name[0] = '\0';
	ulp->clone(req, sk, GFP_ATOMIC);
	inet_csk(sk)->icsk_ulp_ops = ulp;
}

/* need INET_FLAGS INET_BITFIELDS: the options of struct inet_sock in a form we know */
static void have_INET_FLAGS(struct sock *sk)
{
	inet_assign_bit(FREEBIND, sk, inet_test_bit(FREEBIND, sk));
	inet_assign_bit(TRANSPARENT, sk, inet_test_bit(TRANSPARENT, sk));
}

static void have_INET_BITFIELDS(struct sock *sk)
{
	inet_sk(sk)->freebind = inet_sk(sk)->transparent;
}

/* need INET6_FLAGS INET6_BITFIELDS: the options of struct ipv6_pinfo in a form we know */
static void have_INET6_FLAGS(struct sock *sk)
{
	inet6_assign_bit(SNDFLOW, sk, inet6_test_bit(SNDFLOW, sk));
	inet6_assign_bit(REPFLOW, sk, inet6_test_bit(REPFLOW, sk));
	inet6_assign_bit(DONTFRAG, sk, inet6_test_bit(DONTFRAG, sk));
	inet6_assign_bit(AUTOFLOWLABEL, sk, inet6_test_bit(AUTOFLOWLABEL, sk));
	inet6_assign_bit(AUTOFLOWLABEL_SET, sk, inet6_test_bit(AUTOFLOWLABEL_SET, sk));
}

static void have_INET6_BITFIELDS(struct sock *sk)
{
	struct ipv6_pinfo *np = inet6_sk(sk);

	np->sndflow = np->repflow;
	np->dontfrag = np->repflow;
	np->autoflowlabel = np->autoflowlabel_set;
}

/* need LISTENER_VALUES: the values of a listener that shape a SYN-ACK, by their names */
static void have_LISTENER_VALUES(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	struct inet_sock *inet = inet_sk(sk);
	struct ipv6_pinfo *np = inet6_sk(sk);

	sk->sk_bound_dev_if = 0;
	sk->sk_mark = sk->sk_priority;
	sk->sk_rcvbuf = sk->sk_sndbuf;
	sk->sk_userlocks = 0;
	sk->sk_txrehash = 0;
	sk->sk_ipv6only = 0;
	inet->tos = inet->min_ttl;
	inet->mc_ttl = inet->pmtudisc;
	inet->uc_ttl = inet->uc_index;
	inet_csk(sk)->icsk_syn_retries = 0;
	tp->rx_opt.user_mss = 0;
	tp->window_clamp = tp->tcp_tx_delay;
	tp->save_syn = 0;
	tp->lsndtime = 0;
	np->frag_size = np->hop_limit;
	np->ucast_oif = np->rxopt.all;
	np->min_hopcount = np->tclass;
	np->pmtudisc = np->srcprefs;
}

/* need TIMER_CONTAINER_OF FROM_TIMER: a way from a timer to what it is part of */
static void have_TIMER_CONTAINER_OF(struct sock *sk)
{
	struct sock *of = timer_container_of(of, &sk->sk_timer, sk_timer);
}

static void have_FROM_TIMER(struct sock *sk)
{
	struct sock *of = from_timer(of, &sk->sk_timer, sk_timer);
}

/* need TIMER_DELETE_SYNC: timer_delete_sync() */
static void have_TIMER_DELETE_SYNC(struct sock *sk)
{
	timer_delete_sync(&sk->sk_timer);
}

static void have_SK_UID(struct sock *sk)
{
	sk->sk_uid = sk_uid(sk);
}

static void have_SK_DROPS_READ(struct sock *sk)
{
	sk_drops_add(sk, sk_drops_read(sk));
}

static void have_TCP_AO(struct sock *sk)
{
	rcu_access_pointer(tcp_sk(sk)->ao_info);
}

static void have_PSP(struct sock *sk)
{
	rcu_access_pointer(sk->psp_assoc);
}

static void have_CA_NEEDS_ACCECN(struct sock *sk)
{
	bool needs = tcp_ca_needs_accecn(sk);
}

static void have_RTO_MAX(struct sock *sk)
{
	inet_csk(sk)->icsk_rto_max = 0;
}

static void have_SCALING_RATIO(struct sock *sk)
{
	tcp_sk(sk)->scaling_ratio = 0;
}

/* need WAITING: poll tables and wait queues of sockets as they are since 5.4 */
static void have_WAITING(struct socket *sock)
{
	poll_table *p = NULL;

	if (p->_qproc)
		sock_poll_wait(NULL, sock, p);
	/* No barrier: it is never run. */
	waitqueue_active(&sock->wq.wait);
}

/* need ITERATE_FD: iterate_fd() */
static void have_ITERATE_FD(void)
{
	int (*f)(const void *p, struct file *file, unsigned int fd) = NULL;
	int n = iterate_fd(NULL, 0, f, NULL);
}

/* need KPROBES: CONFIG_KPROBES */
static void have_KPROBES(void)
{
	struct kprobe kp = { .symbol_name = "", .flags = KPROBE_FLAG_DISABLED };
	int err = register_kprobe(&kp);

	static_assert(IS_ENABLED(CONFIG_KPROBES), "register_kprobe() does nothing");
}

/* need STATIC_CALL: static calls to functions of the kernel by their address */
static void have_STATIC_CALL(void)
{
	DECLARE_STATIC_CALL(fs_probe_call, kernel_listen);

	static_call_update(fs_probe_call, &kernel_listen);
	static_call(fs_probe_call)(NULL, 0);
}

/* need FTRACE: hooks at a function's entry that may change where it goes on */
static void have_FTRACE(struct ftrace_ops *ops, struct kprobe *kp)
{
	int err = ftrace_set_filter_ip(ops, 0, 0, 0);

	static_assert(IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_ARGS), "callbacks get no arguments");
	static_assert(IS_ENABLED(CONFIG_KPROBES_ON_FTRACE), "kprobes do not know ftrace");
	ops->flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT;
	err = register_ftrace_function(ops);
	err = unregister_ftrace_function(ops);
	kp->flags = KPROBE_FLAG_FTRACE;
}

/* need FTRACE_REGS FTRACE_REGS_PLAIN: the registers of x86-64 behind a hook */
static void have_FTRACE_REGS(struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, arch_ftrace_regs(fregs)->regs.di);
}

static void have_FTRACE_REGS_PLAIN(struct ftrace_regs *fregs)
{
	ftrace_instruction_pointer_set(fregs, fregs->regs.di);
}

/* need FTRACE_DIRECT FTRACE_DIRECT_MULTI: direct calls at a function's entry */
static void have_FTRACE_DIRECT(struct ftrace_ops *ops, unsigned long addr, bool all)
{
	int err = register_ftrace_direct(ops, addr);

	err = unregister_ftrace_direct(ops, addr, all);
}

static void have_FTRACE_DIRECT_MULTI(struct ftrace_ops *ops, unsigned long addr)
{
	int err = register_ftrace_direct_multi(ops, addr);

	err = unregister_ftrace_direct_multi(ops, addr);
}

/* need OPS_FUNC_IP OPS_FUNC: direct calls that can stand aside for a live patch */
static void have_OPS_FUNC_IP(struct ftrace_ops *ops, unsigned long addr)
{
	int err = ops->ops_func(ops, addr, FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_PEER);
}

static void have_OPS_FUNC(struct ftrace_ops *ops)
{
	int err = ops->ops_func(ops, FTRACE_OPS_CMD_ENABLE_SHARE_IPMODIFY_PEER);
}

/* need INODE_STATE_RAW INODE_STATE: an inode's state */
static void have_INODE_STATE_RAW(struct inode *inode)
{
	inode_state_assign_raw(inode, I_FREEING | I_CLEAR);
}

static void have_INODE_STATE(struct inode *inode)
{
	inode->i_state = I_FREEING | I_CLEAR;
}

/* need PORT_RANGE PORT_RANGE_PAIR: a socket's own range of ports */
static void have_PORT_RANGE(struct sock *sk)
{
	u32 *range = &inet_sk(sk)->local_port_range;

	WRITE_ONCE(*range, 0);
}

static void have_PORT_RANGE_PAIR(struct sock *sk)
{
	inet_sk(sk)->local_port_range.lo = inet_sk(sk)->local_port_range.hi;
}

/* need HASH_CONNECT: where a connection gets its port */
static void have_HASH_CONNECT(struct inet_timewait_death_row *row, struct sock *sk)
{
	int err = inet_hash_connect(row, sk);

	err = inet6_hash_connect(row, sk);
}

/* The one of system_wq's names that later kernels do not warn of. */
static void have_PERCPU_WQ(struct work_struct *work)
{
	queue_work(system_percpu_wq, work);
}

/* need RPS: CONFIG_RPS */
static void have_RPS(void)
{
	this_cpu_read(softnet_data.input_queue_head);
	this_cpu_read(softnet_data.input_queue_tail);
}

/* A port's bind buckets: who is bound is listed twice, or by address alone. */
static void have_BIND_OWNERS(struct inet_bind_bucket *tb, struct inet_bind2_bucket *tb2,
			     struct sock *sk, struct inet_timewait_sock *tw)
{
	struct in6_addr *addr = &tb2->v6_rcv_saddr;

	hlist_add_head(&sk->sk_bind_node, &tb->owners);
	hlist_add_head(&tw->tw_bind_node, &tb->owners);
	hlist_add_head(&sk->sk_bind2_node, &tb2->owners);
	hlist_add_head(&tw->tw_bind2_node, &tb2->deathrow);
	tb2->family = AF_INET6;
	tb2->rcv_saddr = 0;
}

static void have_BIND_BY_ADDRESS(struct inet_bind_bucket *tb, struct inet_bind2_bucket *tb2,
				 struct sock *sk)
{
	struct in6_addr *addr = &tb2->v6_rcv_saddr;

	hlist_add_head(&tb2->bhash_node, &tb->bhash2);
	hlist_add_head(&sk->sk_bind_node, &tb2->owners);
	tb2->addr_type = IPV6_ADDR_MAPPED;
}

/* What both have in common. */
static void have_BIND_BUCKETS(struct sock *sk, struct inet_timewait_sock *tw, struct net *net)
{
	struct inet_hashinfo *h = net->ipv4.tcp_death_row.hashinfo;
	struct inet_bind_hashbucket *head = &h->bhash[inet_bhashfn(net, 0, h->bhash_size)];
	struct inet_bind2_bucket *tb2 = kmem_cache_alloc(h->bind2_bucket_cachep, GFP_ATOMIC);
	struct inet_bind_bucket *tb = kmem_cache_alloc(h->bind_bucket_cachep, GFP_ATOMIC);

	spin_lock_bh(&head->lock);
	hlist_add_head(&tb->node, &head->chain);
	hlist_add_head(&tb2->node, &h->bhash2[0].chain);
	write_pnet(&tb->ib_net, net);
	write_pnet(&tb2->ib_net, net);
	tb->port = tb2->port;
	tb->l3mdev = tb2->l3mdev;
	tb->fastreuse = tb->fastreuseport;
	inet_csk(sk)->icsk_bind_hash = tw->tw_tb = tb;
	inet_csk(sk)->icsk_bind2_hash = tw->tw_tb2 = tb2;
	sk->sk_prot->release_cb(sk);
	sk->sk_dontcopy_begin[0] = sk->sk_dontcopy_end[0];
}

/* Whether bind() may take it looks at a bucket by address, too. */
static void have_BIND2_REUSE(struct inet_bind2_bucket *tb2)
{
	tb2->fastreuse = tb2->fastreuseport;
}

/* need CGROUPS: CONFIG_CGROUPS */
static void have_CGROUPS(struct task_struct *task, struct cgroup *cgroup)
{
	bool below = cgroup_is_descendant(task_dfl_cgroup(task), cgroup);
}

/* need PROCESS_EXIT_DEAD PROCESS_EXIT: the tracepoint where a thread exits */
static void at_exit_dead(void *unused, struct task_struct *task, bool group_dead)
{
}

static void have_PROCESS_EXIT_DEAD(void)
{
	check_trace_callback_type_sched_process_exit(at_exit_dead);
}

static void at_exit(void *unused, struct task_struct *task)
{
}

static void have_PROCESS_EXIT(void)
{
	check_trace_callback_type_sched_process_exit(at_exit);
}
