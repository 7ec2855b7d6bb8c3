// SPDX-License-Identifier: GPL-2.0
/*
 * Counters; /proc/net/fastsocket, fsocket_stats, _rfd, _listeners, _epoll, _sockfs
 *
 * The first one is for programs: all there is, a value per key. The others are tables for
 * people, and fsocket_stats is what the original had.
 *
 * Counters are per CPU and per network namespace: nobody else's line is
 * written on the fast path and nobody sees another namespace's figures. Those of Fast
 * Epoll and Fast Sockfs are the machine's; only the first namespace shows them.
 */
#include <linux/proc_fs.h>
#include <linux/rculist.h>
#include <linux/seq_file.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "include/enrol.h"
#include "include/fast_epoll.h"
#include "include/fastsocket.h"
#include "include/fastsocket_vfs.h"
#include "include/listen_spawn.h"
#include "include/rfd.h"

static unsigned int fs_net_id __read_mostly;

/* Column names of /proc/net/fsocket_stats, in the order of enum fs_stat. */
static const char * const fs_stat_names[FS_NR_STATS] = {
	[FS_LOCAL]	= "local",
	[FS_REMOTE]	= "remote",
	[FS_GLOBAL]	= "global",
	[FS_REDIRECTED]	= "redirected",
	[FS_DRAINED]	= "drained",
	[FS_NO_WORKER]	= "no_worker",
	[FS_STALLED]	= "stalled",
	[FS_BUSY]	= "busy",
	[FS_QUEUE_FULL]	= "queue_full",
	[FS_FILTER]	= "filter",
	[FS_MD5]	= "md5",
	[FS_TFO]	= "tfo",
	[FS_FASYNC]	= "fasync",
	[FS_XFRM]	= "xfrm",
	[FS_SYNCOOKIES]	= "syncookies",
	[FS_CONG]	= "cong",
	[FS_OPTIONS]	= "options",
	[FS_CGROUP]	= "cgroup",
	[FS_MIGRATE]	= "migrate",
	[FS_DISABLED]	= "disabled",
	[FS_PRIVATE]	= "private",
	[FS_PUBLISHED]	= "published",
};

/* ... and of /proc/net/fsocket_rfd. */
static const char * const fs_rfd_names[FS_NR_RFD] = {
	[FS_RFD_PORT] = "port",       [FS_RFD_GIVEN] = "given",     [FS_RFD_ANY] = "any",
	[FS_RFD_BACKOFF] = "backoff", [FS_RFD_STEERED] = "steered", [FS_RFD_HERE] = "here",
	[FS_RFD_SYN] = "syn",	      [FS_RFD_OFFLINE] = "offline", [FS_RFD_TAKEN] = "taken",
};

/* ... and of fsocket_epoll and fsocket_sockfs. */
static const char * const fs_epoll_names[FS_NR_EPOLL] = {
	[FS_EPOLL_MOD]		= "mod",
	[FS_EPOLL_DEL]		= "del",
	[FS_EPOLL_OTHER]	= "other",
};

static const char * const fs_vfs_names[FS_NR_VFS] = {
	[FS_VFS_REUSED] = "reused", [FS_VFS_FRESH] = "fresh",	  [FS_VFS_KEPT] = "kept",
	[FS_VFS_FREED] = "freed",   [FS_VFS_TRIMMED] = "trimmed",
};

/**
 * fs_net() - our data of a network namespace
 * @net: the namespace
 *
 * Return: the data, valid as long as @net.
 */
struct fs_net *fs_net(const struct net *net)
{
	return net_generic(net, fs_net_id);
}

/*
 * A head with @names and a row for each possible CPU, of the @count counters at @counters. NULL:
 * nothing was counted.
 */
static int fs_show_counters(struct seq_file *m, const char * const *names,
			    const unsigned long __percpu *counters, int count)
{
	int cpu, i;

	seq_puts(m, "cpu");
	for (i = 0; i < count; i++)
		seq_printf(m, " %s", names[i]);
	seq_putc(m, '\n');
	for_each_possible_cpu(cpu) {
		const unsigned long *n = counters ? per_cpu_ptr(counters, cpu) : NULL;

		seq_printf(m, "%d", cpu);
		for (i = 0; i < count; i++)
			seq_printf(m, " %lu", n ? READ_ONCE(n[i]) : 0);
		seq_putc(m, '\n');
	}
	return 0;
}

static int fs_stats_show(struct seq_file *m, void *v)
{
	const struct fs_net *fn = fs_net(seq_file_single_net(m));

	return fs_show_counters(m, fs_stat_names, fn->stats->n, FS_NR_STATS);
}

static int fs_rfd_show(struct seq_file *m, void *v)
{
	const struct fs_net *fn = fs_net(seq_file_single_net(m));

	return fs_show_counters(m, fs_rfd_names, fn->stats->rfd, FS_NR_RFD);
}

/* One for the machine: an epoll belongs to no network namespace. Shown in the first one. */
static int fs_epoll_show(struct seq_file *m, void *v)
{
	return fs_show_counters(m, fs_epoll_names, fs_epoll_counters(), FS_NR_EPOLL);
}

/* For all sockets of the machine; as above. */
static int fs_sockfs_show(struct seq_file *m, void *v)
{
	return fs_show_counters(m, fs_vfs_names, fs_vfs_counters(), FS_NR_VFS);
}

/* Rows "cpu@cpu.@prefix@name value". */
static void fs_put_counters(struct seq_file *m, int cpu, const char *prefix,
			    const char * const *names, const unsigned long __percpu *counters,
			    int count)
{
	const unsigned long *n = counters ? per_cpu_ptr(counters, cpu) : NULL;
	int i;

	for (i = 0; i < count; i++)
		seq_printf(m, "cpu%d.%s%s %lu\n", cpu, prefix, names[i], n ? READ_ONCE(n[i]) : 0);
}

static void fs_put_listeners(struct seq_file *m, struct fs_net *fn)
{
	unsigned int listeners = 0, clones = 0, workers = 0;
	const struct fs_listener *ls;

	mutex_lock(&fn->lock);
	list_for_each_entry(ls, &fn->listeners, node) {
		listeners++;
		clones += READ_ONCE(ls->nclones);
		workers += READ_ONCE(ls->nworkers);
	}
	mutex_unlock(&fn->lock);
	seq_printf(m, "listeners %u\nclones %u\nworkers %u\n", listeners, clones, workers);
}

/*
 * A key never changes its meaning; while keys only join, the version stays. What belongs to the
 * machine and tells of others' programs is in the first namespace only.
 */
static int fs_all_show(struct seq_file *m, void *v)
{
	struct net *net = seq_file_single_net(m);
	struct fs_net *fn = fs_net(net);
	int cpu;

	seq_puts(m, "version 1\nmodule " FS_VERSION "\n");
	seq_printf(m, "enable_listen_spawn %u\n", READ_ONCE(fs_spawn_mode));
	seq_printf(m, "enable_private_bind %u\n", READ_ONCE(fs_bind_enabled));
	seq_printf(m, "enable_receive_flow_deliver %u\n", READ_ONCE(fs_rfd_enabled));
	seq_printf(m, "enable_fast_epoll %u\n", READ_ONCE(fs_epoll_enabled));
	seq_printf(m, "fast_sockfs %u\n", !!fs_vfs_counters());
	fs_put_listeners(m, fn);
	if (net_eq(net, &init_net)) {
		seq_printf(m, "enrolled_processes %u\n", fs_enrolled_processes());
		seq_printf(m, "enrolled_cgroups %u\n", fs_enrolled_cgroups());
	}
	for_each_possible_cpu(cpu) {
		fs_put_counters(m, cpu, "", fs_stat_names, fn->stats->n, FS_NR_STATS);
		fs_put_counters(m, cpu, "rfd_", fs_rfd_names, fn->stats->rfd, FS_NR_RFD);
		if (!net_eq(net, &init_net))
			continue;
		fs_put_counters(m, cpu, "epoll_", fs_epoll_names, fs_epoll_counters(), FS_NR_EPOLL);
		fs_put_counters(m, cpu, "sockfs_", fs_vfs_names, fs_vfs_counters(), FS_NR_VFS);
	}
	return 0;
}

static struct fs_net *fs_seq_net(struct seq_file *m)
{
	return fs_net(seq_file_net(m));
}

static void *fs_listeners_start(struct seq_file *m, loff_t *pos)
{
	struct fs_net *fn = fs_seq_net(m);

	mutex_lock(&fn->lock);
	return seq_list_start_head(&fn->listeners, *pos);
}

static void *fs_listeners_next(struct seq_file *m, void *v, loff_t *pos)
{
	return seq_list_next(v, &fs_seq_net(m)->listeners, pos);
}

static void fs_listeners_stop(struct seq_file *m, void *v)
{
	mutex_unlock(&fs_seq_net(m)->lock);
}

static int fs_listeners_show(struct seq_file *m, void *v)
{
	if (v == &fs_seq_net(m)->listeners)
		seq_puts(m, "address port cpu pid workers queue accepts state\n");
	else
		fs_listener_show(m, list_entry(v, struct fs_listener, node));
	return 0;
}

static const struct seq_operations fs_listeners_seq = {
	.start	= fs_listeners_start,
	.next	= fs_listeners_next,
	.stop	= fs_listeners_stop,
	.show	= fs_listeners_show,
};

static int __net_init fs_net_init(struct net *net)
{
	struct fs_net *fn = fs_net(net);

	mutex_init(&fn->lock);
	INIT_LIST_HEAD(&fn->listeners);
	fn->stats = alloc_percpu(struct fs_stats);
	if (!fn->stats)
		return -ENOMEM;
	if (!proc_create_net_single("fastsocket", 0444, net->proc_net, fs_all_show, NULL))
		goto free_stats;
	if (!proc_create_net_single("fsocket_stats", 0444, net->proc_net, fs_stats_show, NULL))
		goto remove_all;
	if (!proc_create_net("fsocket_listeners", 0444, net->proc_net, &fs_listeners_seq,
			     sizeof(struct seq_net_private)))
		goto remove_stats;
	if (!proc_create_net_single("fsocket_rfd", 0444, net->proc_net, fs_rfd_show, NULL))
		goto remove_listeners;
	if (net_eq(net, &init_net) &&
	    !proc_create_single("fsocket_epoll", 0444, net->proc_net, fs_epoll_show))
		goto remove_rfd;
	if (net_eq(net, &init_net) &&
	    !proc_create_single("fsocket_sockfs", 0444, net->proc_net, fs_sockfs_show))
		goto remove_epoll;
	return 0;

remove_epoll:
	remove_proc_entry("fsocket_epoll", net->proc_net);
remove_rfd:
	remove_proc_entry("fsocket_rfd", net->proc_net);
remove_listeners:
	remove_proc_entry("fsocket_listeners", net->proc_net);
remove_stats:
	remove_proc_entry("fsocket_stats", net->proc_net);
remove_all:
	remove_proc_entry("fastsocket", net->proc_net);
free_stats:
	free_percpu(fn->stats);
	return -ENOMEM;
}

static void __net_exit fs_net_exit(struct net *net)
{
	struct fs_net *fn = fs_net(net);

	/* Sockets hold their namespace: none of its listeners is left. */
	WARN_ON_ONCE(!list_empty(&fn->listeners));
	if (net_eq(net, &init_net)) {
		remove_proc_entry("fsocket_sockfs", net->proc_net);
		remove_proc_entry("fsocket_epoll", net->proc_net);
	}
	remove_proc_entry("fsocket_rfd", net->proc_net);
	remove_proc_entry("fsocket_listeners", net->proc_net);
	remove_proc_entry("fsocket_stats", net->proc_net);
	remove_proc_entry("fastsocket", net->proc_net);
	fs_rfd_net_exit(fn);
	free_percpu(fn->stats);
}

static struct pernet_operations fs_net_ops = {
	.init	= fs_net_init,
	.exit	= fs_net_exit,
	.id	= &fs_net_id,
	.size	= sizeof(struct fs_net),
};

/**
 * fs_stats_init() - counters and /proc files in all namespaces; process context
 *
 * Return: 0 or an error.
 */
int fs_stats_init(void)
{
	return register_pernet_subsys(&fs_net_ops);
}

/**
 * fs_stats_exit() - undo fs_stats_init(); no listener may be attached
 */
void fs_stats_exit(void)
{
	unregister_pernet_subsys(&fs_net_ops);
}
