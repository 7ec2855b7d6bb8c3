// SPDX-License-Identifier: GPL-2.0
/*
 * fsfentry: attaches an empty BPF program to the entry of a kernel function
 *
 *   fsfentry FUNCTION
 *       Says "attached", stays until SIGTERM, detaches, says "runs N", how often the program
 *       ran, and exits 0. When the kernel refuses to attach it: "refused: EBUSY", or what the
 *       error is, and 3. With any other error: a line on stderr, and 1.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <err.h>
#include <signal.h>
#include <sys/resource.h>

#include "fsutil.h"

static const struct bpf_insn empty[] = {
	{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
	{ .code = BPF_JMP | BPF_EXIT },
};

static int load_empty(const char *function)
{
	static char log[65536];
	struct bpf_prog_load_opts opts = {
		.sz = sizeof(opts),
		.expected_attach_type = BPF_TRACE_FENTRY,
		.log_buf = log,
		.log_size = sizeof(log),
	};
	int fd, id = libbpf_find_vmlinux_btf_id(function, BPF_TRACE_FENTRY);

	if (id <= 0) {
		errno = -id;
		err(1, "%s is not in the kernel's BTF", function);
	}
	opts.attach_btf_id = id;
	fd = bpf_prog_load(BPF_PROG_TYPE_TRACING, "fsfentry", "GPL", empty, ARRAY_SIZE(empty),
			   &opts);
	if (fd < 0)
		err(1, "%scannot load a program for %s", log, function);
	return fd;
}

static unsigned long long runs(int prog)
{
	struct bpf_prog_info info = {};
	__u32 len = sizeof(info);

	if (bpf_obj_get_info_by_fd(prog, &info, &len))
		err(1, "cannot ask how often it ran");
	return info.run_cnt;
}

static int attach(int prog)
{
	int link = bpf_raw_tracepoint_open(NULL, prog);

	if (link < 0) {
		printf("refused: %s\n", strerrorname_np(errno) ?: "unknown");
		exit(3);
	}
	return link;
}

int main(int argc, char **argv)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	int prog, link, stats, sig;
	unsigned long long n;
	sigset_t term;

	if (argc != 2 || !*argv[1] || *argv[1] == '-')
		errx(1, "usage: fsfentry FUNCTION");
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	/* Where that is not allowed it may be enough as it is; if not, what comes next says so. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	/* counted while this descriptor is open */
	stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
	if (stats < 0)
		err(1, "BPF statistics");
	prog = load_empty(argv[1]);
	link = attach(prog);
	printf("attached\n");
	fflush(stdout);
	sigwait(&term, &sig);
	n = runs(prog);
	close(link);
	close(prog);
	close(stats);
	printf("runs %llu\n", n);
	return 0;
}
