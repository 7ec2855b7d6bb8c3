#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# vm: -i -c 4 -a maxcpus=1
# What epoll_ctl() costs, in instructions: the machine's clock counts them. Each figure is a
# median over descriptors in random order.
# shellcheck disable=SC2154,SC2030,SC2031 # set by helpers.bash; a test is a subshell
load ../helpers

counters=/proc/net/fsocket_epoll
sizes=(10 1000 20000 100000)

setup() { ! fs_loaded || fs_unload; }

teardown() {
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

# costs NAME N [-f]: sets NAME[modN], NAME[delN], NAME[addN] and NAME[pipeN]
costs() {
	local -n into=$1
	local line pair
	line=$("$FS_BIN/fsepoll" cost -n "$2" "${@:3}" 3>&- </dev/null)
	echo "$1: $line"
	for pair in $line; do into[${pair%%=*}$2]=${pair#*=}; done
	equal "descriptors" "${into[n$2]}" "$2"
}

# unhooked WHAT N: the larger of the two figures without the hook. In ADD and DEL is the kernel's allocator: they
# differ by a tenth.
unhooked() {
	local a=${native[$1$2]} b=${off[$1$2]}
	echo $((a > b ? a : b))
}

@test "epoll: MOD and DEL cost the same however many descriptors there are, all else what it did" {
	local n first
	local -A native off fast
	for n in "${sizes[@]}"; do costs native "$n"; done
	fs_load enable_fast_epoll=0
	for n in "${sizes[@]}"; do
		costs off "$n" -f
		at_most "MOD of $n, switched off" "${off[mod$n]}" $((${native[mod$n]} + 10))
	done
	echo 1 >/sys/module/fastsocket/parameters/enable_fast_epoll
	for n in "${sizes[@]}"; do
		first=$(fs_columns_of "$counters" mod del)
		costs fast "$n" -f
		at_least "calls that were ours" $(($(fs_columns_of "$counters" mod del) - first)) 600
		say "$n descriptors, instructions natively, switched off, with Fast Epoll:" \
			"MOD ${native[mod$n]} ${off[mod$n]} ${fast[mod$n]}, DEL ${native[del$n]} ${off[del$n]} ${fast[del$n]}," \
			"ADD ${native[add$n]} ${off[add$n]} ${fast[add$n]}," \
			"MOD of a pipe ${native[pipe$n]} ${off[pipe$n]} ${fast[pipe$n]}"
	done
	# Pipes are searched for in the tree, as natively. Where in a large one all 16 are is luck: 787 and 814 without the
	# hook. Beside 10 they are near its root, and what remains is our part.
	at_most "MOD of 10" "${fast[mod10]}" $((native[mod10] * 102 / 100))
	for n in "${sizes[@]}"; do
		at_most "MOD of $n, which is to be that of 10" "${fast[mod$n]}" $((fast[mod10] * 103 / 100))
		at_most "DEL of $n" "${fast[del$n]}" $(($(unhooked del "$n") * 102 / 100))
		at_most "MOD of a pipe beside $n" "${fast[pipe$n]}" $(($(unhooked pipe "$n") + (n > 10 ? 80 : 50)))
		at_most "ADD to $n" "${fast[add$n]}" $(($(unhooked add "$n") + 50))
	done
}
