#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# vm: -i -c 4 -a maxcpus=1
# What sockets cost, in instructions, as the machine's clock counts them: with all that RCU does for
# them later.
# shellcheck disable=SC2154,SC2030,SC2031,SC2034 # set by helpers.bash; a test is a subshell
load ../helpers

cgroups=$BATS_FILE_TMPDIR/cgroups

setup_file() {
	mkdir -p "$cgroups"
	mount -t cgroup2 none "$cgroups"
	echo +memory >"$cgroups/cgroup.subtree_control"
	mkdir "$cgroups/service"
}

teardown_file() {
	rmdir "$cgroups/service"
	umount "$cgroups"
}

setup() { ! fs_loaded || fs_unload; }

teardown() {
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

# cost MODE N [GROUP]: the median, in "median"
cost() {
	local line
	line=$(echo $BASHPID >"$cgroups/${3:-}/cgroup.procs" && "$FS_BIN/fscost" "$1" -n "$2" 3>&- </dev/null)
	echo "$1 ${3:-}: $line"
	median=${line##*median=}
}

# costs NAME: sets NAME[open], NAME[accept], and with _service the same in a memory cgroup
costs() {
	local -n into=$1
	cost open 20000
	into[open]=$median
	cost open 20000 service
	into[open_service]=$median
	cost accept 1000
	into[accept]=$median
	cost accept 1000 service
	into[accept_service]=$median
}

# saved WHAT PERCENT
saved() {
	at_most "$1: natively ${native[$1]}, with at least $2 % saved" "${fast[$1]}" $((${native[$1]} * (100 - $2) / 100))
}

@test "sockfs: socket() and accept4() with close() cost less than natively, in a memory cgroup as well" {
	local -A native fast
	costs native
	fs_load
	costs fast
	say "instructions of socket() and close(), natively and with the fast path: ${native[open]} ${fast[open]}," \
		"in a memory cgroup ${native[open_service]} ${fast[open_service]}"
	say "of accept4() and close(): ${native[accept]} ${fast[accept]}," \
		"in a memory cgroup ${native[accept_service]} ${fast[accept_service]}"
	# Linux 7 has sockets' extended attributes, and its own way to evict inodes.
	case $(uname -r) in
	6.*)
		saved open 5
		saved accept 10
		saved open_service 8
		saved accept_service 12
		;;
	*)
		saved open 3
		saved accept 4
		saved open_service 6
		saved accept_service 7
		;;
	esac
}
