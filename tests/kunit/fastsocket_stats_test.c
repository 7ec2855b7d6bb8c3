// SPDX-License-Identifier: GPL-2.0
/* Cases for fastsocket_stats.c */
#include "../../fastsocket_stats.c"

#include <linux/ctype.h>
#include <linux/fs.h>

#include "kunit_util.h"

#define FSK_TEXT 8192

static void fs_stat_names__one_per_counter(struct kunit *test)
{
	unsigned int i, j;
	const char *p;

	KUNIT_EXPECT_EQ(test, ARRAY_SIZE(fs_stat_names), FS_NR_STATS);
	for (i = 0; i < FS_NR_STATS; i++) {
		KUNIT_ASSERT_NOT_NULL_MSG(test, fs_stat_names[i], "no name for %u", i);
		KUNIT_EXPECT_NE(test, *fs_stat_names[i], 0);
		for (p = fs_stat_names[i]; *p; p++)
			KUNIT_EXPECT_TRUE_MSG(test, islower(*p) || isdigit(*p) || *p == '_', "%s",
					      fs_stat_names[i]);
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_STRNEQ(test, fs_stat_names[i], fs_stat_names[j]);
	}
}

static void fs_stat_names__in_the_order_of_the_counters(struct kunit *test)
{
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_LOCAL], "local");
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_REMOTE], "remote");
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_GLOBAL], "global");
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_REDIRECTED], "redirected");
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_DRAINED], "drained");
	KUNIT_EXPECT_STREQ(test, fs_stat_names[FS_NR_STATS - 1], "published");
}

static void fs_net__is_the_namespace_s_own(struct kunit *test)
{
	struct fs_net *fn = fs_net(&init_net);

	KUNIT_ASSERT_NOT_NULL(test, fn);
	KUNIT_EXPECT_PTR_EQ(test, (void *)fn, net_generic(&init_net, fs_net_id));
	KUNIT_EXPECT_TRUE(test, !!fn->stats);
	KUNIT_EXPECT_TRUE(test, list_empty(&fn->listeners));
}

static void fs_count__on_this_cpu_alone(struct kunit *test)
{
	struct fs_stats __percpu *stats = alloc_percpu(struct fs_stats);
	struct fs_net fn = { .stats = stats };
	unsigned long sum = 0, want = 0;
	int cpu, i;

	KUNIT_ASSERT_TRUE(test, !!stats);
	for_each_online_cpu(cpu) {
		fsk_on_cpu(test, cpu);
		fs_count(&fn, FS_BUSY);
		fs_count_n(&fn, FS_DRAINED, cpu + 5);
		want += 1 + cpu + 5;
	}
	for_each_online_cpu(cpu) {
		for (i = 0; i < FS_NR_STATS; i++)
			sum += per_cpu_ptr(stats, cpu)->n[i];
		KUNIT_EXPECT_EQ(test, per_cpu_ptr(stats, cpu)->n[FS_BUSY], 1UL);
		KUNIT_EXPECT_EQ(test, per_cpu_ptr(stats, cpu)->n[FS_DRAINED], cpu + 5UL);
	}
	KUNIT_EXPECT_EQ(test, sum, want);
	free_percpu(stats);
}

static void fs_rfd_names__one_per_counter(struct kunit *test)
{
	unsigned int i, j;

	for (i = 0; i < FS_NR_RFD; i++) {
		KUNIT_ASSERT_NOT_NULL_MSG(test, fs_rfd_names[i], "no name for %u", i);
		for (j = 0; j < i; j++)
			KUNIT_EXPECT_STRNEQ(test, fs_rfd_names[i], fs_rfd_names[j]);
	}
	KUNIT_EXPECT_STREQ(test, fs_rfd_names[FS_RFD_PORT], "port");
	KUNIT_EXPECT_STREQ(test, fs_rfd_names[FS_NR_RFD - 1], "taken");
}

static struct seq_file *fsk_seq(struct kunit *test, void *private, struct file *file)
{
	struct seq_file *m = kunit_kzalloc(test, sizeof(*m), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, m);
	m->buf = kunit_kzalloc(test, FSK_TEXT, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, m->buf);
	m->size = FSK_TEXT;
	m->private = private;
	m->file = file;
	return m;
}

/* Column @column of line @line; both from 0. */
static char *fsk_field(struct kunit *test, const struct seq_file *m, int line, int column)
{
	char *copy = kunit_kzalloc(test, FSK_TEXT, GFP_KERNEL), *s = copy, *row;

	KUNIT_ASSERT_NOT_NULL(test, copy);
	memcpy(copy, m->buf, m->count);
	do
		row = strsep(&s, "\n");
	while (row && line--);
	while (row && column--)
		strsep(&row, " ");
	return row ? strsep(&row, " ") : NULL;
}

static void fs_stats_show__a_line_per_cpu(struct kunit *test)
{
	struct seq_file *m = fsk_seq(test, &init_net, NULL);
	int cpu, i, line = 1;
	unsigned long before;
	char want[24];

	cpu = cpumask_first(cpu_possible_mask);
	before = per_cpu_ptr(fs_net(&init_net)->stats, cpu)->n[FS_MIGRATE];
	per_cpu_ptr(fs_net(&init_net)->stats, cpu)->n[FS_MIGRATE] = 4711;
	KUNIT_EXPECT_EQ(test, fs_stats_show(m, NULL), 0);
	KUNIT_EXPECT_FALSE(test, seq_has_overflowed(m));
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, 0), "cpu");
	for (i = 0; i < FS_NR_STATS; i++)
		KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, i + 1), fs_stat_names[i]);
	KUNIT_EXPECT_NULL(test, fsk_field(test, m, 0, FS_NR_STATS + 1));
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 1, FS_MIGRATE + 1), "4711");
	for_each_possible_cpu(cpu) {
		snprintf(want, sizeof(want), "%d", cpu);
		KUNIT_EXPECT_STREQ(test, fsk_field(test, m, line, 0), want);
		KUNIT_EXPECT_NOT_NULL(test, fsk_field(test, m, line, FS_NR_STATS));
		KUNIT_EXPECT_NULL(test, fsk_field(test, m, line, FS_NR_STATS + 1));
		line++;
	}
	cpu = cpumask_first(cpu_possible_mask);
	per_cpu_ptr(fs_net(&init_net)->stats, cpu)->n[FS_MIGRATE] = before;
}

static void fs_rfd_show__a_line_per_cpu(struct kunit *test)
{
	struct seq_file *m = fsk_seq(test, &init_net, NULL);
	int cpu = cpumask_first(cpu_possible_mask);
	unsigned long *n, before;

	n = &per_cpu_ptr(fs_net(&init_net)->stats, cpu)->rfd[FS_RFD_TAKEN];
	before = *n;
	*n = 4711;
	KUNIT_EXPECT_EQ(test, fs_rfd_show(m, NULL), 0);
	*n = before;
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, 0), "cpu");
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, FS_RFD_TAKEN + 1), "taken");
	KUNIT_EXPECT_NULL(test, fsk_field(test, m, 0, FS_NR_RFD + 1));
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 1, FS_RFD_TAKEN + 1), "4711");
	KUNIT_EXPECT_NOT_NULL(test, fsk_field(test, m, num_possible_cpus(), FS_NR_RFD));
}

static void fs_listeners_seq__header_and_every_listener(struct kunit *test)
{
	struct seq_net_private p = { .net = &init_net };
	struct fs_net *fn = fs_net(&init_net);
	struct fs_listener *ls[2];
	struct seq_file *m;
	loff_t pos = 0;
	void *v;

	ls[0] = fsk_attached(test, AF_INET, 4);
	ls[1] = fsk_attached(test, AF_INET6, 4);
	m = fsk_seq(test, &p, ls[0]->sock->file);
	KUNIT_EXPECT_PTR_EQ(test, fs_seq_net(m), fn);
	v = fs_listeners_start(m, &pos);
	KUNIT_EXPECT_TRUE(test, mutex_is_locked(&fn->lock));
	KUNIT_EXPECT_PTR_EQ(test, v, (void *)&fn->listeners);
	fs_listeners_show(m, v);
	v = fs_listeners_next(m, v, &pos);
	KUNIT_EXPECT_PTR_EQ(test, v, (void *)&ls[0]->node);
	fs_listeners_show(m, v);
	v = fs_listeners_next(m, v, &pos);
	KUNIT_EXPECT_PTR_EQ(test, v, (void *)&ls[1]->node);
	fs_listeners_show(m, v);
	KUNIT_EXPECT_NULL(test, fs_listeners_next(m, v, &pos));
	fs_listeners_stop(m, NULL);
	KUNIT_EXPECT_FALSE(test, mutex_is_locked(&fn->lock));
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, 0), "address");
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 0, 7), "state");
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 1, 0), "127.0.0.1");
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 1, 7), "live");
	KUNIT_EXPECT_STREQ(test, fsk_field(test, m, 2, 0), "[::1]");
}

static void fs_listeners_seq__goes_on_where_it_stopped(struct kunit *test)
{
	struct seq_net_private p = { .net = &init_net };
	struct fs_listener *ls[2];
	loff_t pos = 2, end = 3;
	struct seq_file *m;

	ls[0] = fsk_attached(test, AF_INET, 4);
	ls[1] = fsk_attached(test, AF_INET, 4);
	m = fsk_seq(test, &p, ls[0]->sock->file);
	KUNIT_EXPECT_PTR_EQ(test, fs_listeners_start(m, &pos), (void *)&ls[1]->node);
	fs_listeners_stop(m, NULL);
	KUNIT_EXPECT_NULL(test, fs_listeners_start(m, &end));
	fs_listeners_stop(m, NULL);
}

/* A namespace as far as fs_net_init() looks at it. */
static struct net *fsk_net(struct kunit *test, struct proc_dir_entry *proc, struct fs_net *fn)
{
	struct net *net = kunit_kzalloc(test, sizeof(*net), GFP_KERNEL);
	struct net_generic *gen =
		kunit_kzalloc(test, sizeof(*gen) + (fs_net_id + 1) * sizeof(void *), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, net);
	KUNIT_ASSERT_NOT_NULL(test, gen);
	gen->ptr[fs_net_id] = fn;
	RCU_INIT_POINTER(net->gen, gen);
	net->proc_net = proc;
	return net;
}

static void fs_net_init__fresh_counters_and_files(struct kunit *test)
{
	struct proc_dir_entry *proc = proc_mkdir("fastsocket_kunit", NULL);
	struct fs_net *fn = kunit_kzalloc(test, sizeof(*fn), GFP_KERNEL);
	struct net *net;
	int cpu, i, turn;

	KUNIT_ASSERT_NOT_NULL(test, proc);
	KUNIT_ASSERT_NOT_NULL(test, fn);
	net = fsk_net(test, proc, fn);
	KUNIT_EXPECT_PTR_EQ(test, fs_net(net), fn);
	/* Twice: the exit leaves nothing behind that would be in the way. */
	for (turn = 0; turn < 2; turn++) {
		KUNIT_ASSERT_EQ(test, fs_net_init(net), 0);
		KUNIT_EXPECT_TRUE(test, list_empty(&fn->listeners));
		KUNIT_EXPECT_FALSE(test, mutex_is_locked(&fn->lock));
		for_each_possible_cpu(cpu)
			for (i = 0; i < FS_NR_STATS; i++)
				KUNIT_EXPECT_EQ(test, per_cpu_ptr(fn->stats, cpu)->n[i], 0UL);
		fs_count(fn, FS_LOCAL);
		/* It complains in the log about a file that is not there. */
		fs_net_exit(net);
	}
	proc_remove(proc);
}

static void fs_net_ops__are_complete(struct kunit *test)
{
	KUNIT_EXPECT_PTR_EQ(test, fs_net_ops.id, &fs_net_id);
	KUNIT_EXPECT_EQ(test, fs_net_ops.size, sizeof(struct fs_net));
	KUNIT_EXPECT_NOT_NULL(test, fs_net_ops.init);
	KUNIT_EXPECT_NOT_NULL(test, fs_net_ops.exit);
}

/* clang-format off */
static struct kunit_case fsk_stats_cases[] = {
	KUNIT_CASE(fs_stat_names__one_per_counter),
	KUNIT_CASE(fs_stat_names__in_the_order_of_the_counters),
	KUNIT_CASE(fs_rfd_names__one_per_counter),
	KUNIT_CASE(fs_net__is_the_namespace_s_own),
	KUNIT_CASE(fs_count__on_this_cpu_alone),
	KUNIT_CASE(fs_stats_show__a_line_per_cpu),
	KUNIT_CASE(fs_rfd_show__a_line_per_cpu),
	KUNIT_CASE(fs_listeners_seq__header_and_every_listener),
	KUNIT_CASE(fs_listeners_seq__goes_on_where_it_stopped),
	KUNIT_CASE(fs_net_init__fresh_counters_and_files),
	KUNIT_CASE(fs_net_ops__are_complete),
	{}
};

/* clang-format on */

struct kunit_suite fsk_stats_suite = {
	.name = "fastsocket_stats",
	.init = fsk_init,
	.exit = fsk_exit,
	.test_cases = fsk_stats_cases,
};
