/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the module share
 *
 * fastsocket_main.c   parameters, /dev/fastsocket, load and unload
 * fastsocket_sys.c    the system calls behind the ioctls
 * fastsocket_stats.c  counters and the files in /proc/net
 */
#ifndef _FASTSOCKET_H
#define _FASTSOCKET_H

#include <linux/cpumask.h>
#include <linux/percpu.h>
#include <linux/types.h>

struct file;
struct net;
struct seq_file;
struct sockaddr;
struct socket;
struct task_struct;
struct workqueue_struct;

/* One place for modinfo, /proc/net/fastsocket and the packages. */
#define FS_VERSION "0.1.0"

/* Values of the parameter enable_listen_spawn. */
enum fs_spawn_mode {
	FS_SPAWN_OFF	= 0,
	FS_SPAWN_PINNED	= 1,	/* only tasks that are allowed on one CPU */
	FS_SPAWN_BIND	= 2,	/* other tasks are bound to a CPU */
};

extern unsigned int fs_spawn_mode;

/* For what has to sleep; between fs_listen_init() and fs_listen_exit(). */
extern struct workqueue_struct *fs_wq;

/**
 * enum fs_stat - the counters of one CPU in one network namespace
 * @FS_LOCAL: accepted from a clone on the CPU that handled the SYN
 * @FS_REMOTE: accepted from a clone on another CPU
 * @FS_GLOBAL: accepted from the listener's own queue
 * @FS_REDIRECTED: SYNs handed to a clone
 * @FS_DRAINED: connections moved from a clone to the listener's own queue
 * @FS_NO_WORKER: the CPU has no clone
 * @FS_STALLED: its clone is not live
 * @FS_BUSY: its worker is busy and another one idle
 * @FS_QUEUE_FULL: the backlog of all queues together is used up
 * @FS_FILTER: the listener has a socket filter
 * @FS_MD5: it has TCP-MD5 or TCP-AO keys
 * @FS_TFO: it has TCP Fast Open
 * @FS_FASYNC: it has signal-driven I/O
 * @FS_XFRM: it has an IPsec policy or a PSP association of its own
 * @FS_SYNCOOKIES: the namespace wants a cookie for every connection
 * @FS_CONG: its congestion control needs ECN or accurate ECN
 * @FS_OPTIONS: it has IPv6 options or BPF storage
 * @FS_CGROUP: the clone is in another control group
 * @FS_MIGRATE: requests may migrate in its SO_REUSEPORT group
 * @FS_DISABLED: mode 0
 * @FS_PRIVATE: connections that a clone has listed in bind buckets of its own
 * @FS_PUBLISHED: sockets that moved from there to the port's own bind buckets
 * @FS_NR_STATS: how many there are
 *
 * From FS_NO_WORKER to FS_DISABLED: SYNs to an attached listener that took the plain
 * kernel's path, by reason; see also fs_stat_names and docs/ABI.
 */
enum fs_stat {
	FS_LOCAL,
	FS_REMOTE,
	FS_GLOBAL,
	FS_REDIRECTED,
	FS_DRAINED,
	FS_NO_WORKER,
	FS_STALLED,
	FS_BUSY,
	FS_QUEUE_FULL,
	FS_FILTER,
	FS_MD5,
	FS_TFO,
	FS_FASYNC,
	FS_XFRM,
	FS_SYNCOOKIES,
	FS_CONG,
	FS_OPTIONS,
	FS_CGROUP,
	FS_MIGRATE,
	FS_DISABLED,
	FS_PRIVATE,
	FS_PUBLISHED,
	FS_NR_STATS
};

/**
 * enum fs_rfd_stat - counters of Receive Flow Deliver, as those of enum fs_stat
 * @FS_RFD_PORT: connections with a port that names the CPU
 * @FS_RFD_GIVEN: the application has chosen port or range
 * @FS_RFD_ANY: the CPU's ports to that destination seem used up: any port
 * @FS_RFD_BACKOFF: not even tried, because they were a moment ago
 * @FS_RFD_STEERED: packets sent to the CPU of their port
 * @FS_RFD_HERE: packets that had come to it
 * @FS_RFD_SYN: not steered: a SYN to a port that was handed out once
 * @FS_RFD_OFFLINE: not steered: the CPU is away
 * @FS_RFD_TAKEN: ports that a listener took over
 * @FS_NR_RFD: how many there are
 */
enum fs_rfd_stat {
	FS_RFD_PORT,
	FS_RFD_GIVEN,
	FS_RFD_ANY,
	FS_RFD_BACKOFF,
	FS_RFD_STEERED,
	FS_RFD_HERE,
	FS_RFD_SYN,
	FS_RFD_OFFLINE,
	FS_RFD_TAKEN,
	FS_NR_RFD
};

/**
 * struct fs_stats - counters of one CPU, written by that CPU only
 * @n: by enum fs_stat
 * @rfd: by enum fs_rfd_stat
 */
struct fs_stats {
	unsigned long n[FS_NR_STATS];
	unsigned long rfd[FS_NR_RFD];
};

/**
 * struct fs_net - what we keep for a network namespace
 * @stats: counters, a set per CPU
 * @lock: guards changes of @listeners and readers that sleep
 * @listeners: attached listeners (struct fs_listener.node); readers that may
 *	not sleep walk it under RCU
 * @ports: a bit for each port that Receive Flow Deliver has handed out, NULL: none
 *	yet. Set once, lives as long as the namespace; the bits are atomic
 */
struct fs_net {
	struct fs_stats __percpu *stats;
	unsigned long *ports;
	struct mutex lock;	/* @listeners */
	struct list_head listeners;
};

static inline void fs_count(const struct fs_net *fn, enum fs_stat s)
{
	this_cpu_inc(fn->stats->n[s]);
}

static inline void fs_count_n(const struct fs_net *fn, enum fs_stat s, unsigned int n)
{
	this_cpu_add(fn->stats->n[s], n);
}

static inline void fs_count_rfd(const struct fs_net *fn, enum fs_rfd_stat s)
{
	this_cpu_inc(fn->stats->rfd[s]);
}

struct fs_net *fs_net(const struct net *net);
int fs_stats_init(void);
void fs_stats_exit(void);

/* fastsocket_sys.c */
void fs_sys_init(void);
int fs_sys_socket(int family, int type, int protocol);
int fs_sys_listen(int fd, int backlog);
bool fs_sys_can_listen(void);
int fs_sys_accept4(int fd, struct sockaddr __user *addr, int __user *len, int flags);
int fs_sys_shutdown(int fd, int how);
long fs_sys_setaffinity(pid_t pid, const struct cpumask *mask);

#endif /* _FASTSOCKET_H */
