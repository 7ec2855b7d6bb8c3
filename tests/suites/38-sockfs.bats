#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The sockfs fast path: inodes of closed sockets are used again. Nobody can tell, the memory is accounted to who
# uses it, and all of it goes back.
# shellcheck disable=SC2154,SC2030,SC2031 # set by helpers.bash; a test is a subshell
load ../helpers

counters=/proc/net/fsocket_sockfs
cgroups=$BATS_FILE_TMPDIR/cgroups
pids=()

setup_file() {
	! fs_loaded || fs_unload
	"$FS_BIN/fssock" look >"$BATS_FILE_TMPDIR/native" 3>&- </dev/null
	mkdir -p "$cgroups"
	mount -t cgroup2 none "$cgroups"
	echo +memory >"$cgroups/cgroup.subtree_control"
	mkdir "$cgroups/a" "$cgroups/b"
}

teardown_file() {
	rmdir "$cgroups/a" "$cgroups/b"
	umount "$cgroups"
}

setup() { ! fs_loaded || fs_unload; }

teardown() {
	local pid
	for pid in "${pids[@]}"; do
		kill "$pid" 2>/dev/null || true
		wait "$pid" || true
	done
	# those that were started by a shell in a cgroup
	! pkill -x fssock || wait_until 10 none_left
	for pid in 1 2 3; do cpu $pid online; done
	nginx_teardown
}

none_left() { ! pgrep -x fssock >/dev/null; }

fssock() { "$FS_BIN/fssock" "$@" 3>&- </dev/null; }

# within CGROUP COMMAND...: the command runs there
within() {
	local group=$1
	shift
	(echo $BASHPID >"$cgroups/$group/cgroup.procs" && "$@")
}

reused() { fs_column reused "$counters"; }

# reuses NUMBER
reuses() { [ "$(reused)" -ge "$1" ]; }

# churned NUMBER: sockets come and go; so many inodes have been used again by now, which is a matter of grace periods
churned() {
	fssock churn -n 50
	reuses "$1"
}

# back NUMBER: the same on CPU 3, by that CPU
back() {
	fssock churn -n 50 -c 3
	[ "$(awk '$1 == 3 { print $2 }' "$counters")" -ge "$1" ]
}

# charges NUMBER: the same with more sockets at a time, which a pays for
charges() {
	within a fssock churn -n 20 -w 1000 -c 1
	reuses "$1"
}

# takes_turns NUMBER: sockets of a, then of b, on CPU 1; NUMBER inodes have been used again by now
takes_turns() {
	within a fssock churn -n 10 -c 1
	within b fssock churn -n 10 -c 1 -u
	reuses "$1"
}

# pooled: inodes in all pools
pooled() { echo $(($(fs_column kept "$counters") - $(fs_columns_of "$counters" reused trimmed))); }
empty() { [ "$(pooled)" = 0 ]; }

# charged CGROUP: bytes of the kernel's objects
charged() { sed -n 's/^slab //p' "$cgroups/$1/memory.stat"; }
not_charged() { [ "$(charged "$1")" -lt 400000 ]; }

# inodes: that are in use, by the kernel's own count
inodes() {
	# what RCU has still to free, and what is on the allocator's lists of each CPU
	echo 1 >/sys/kernel/slab/sock_inode_cache/shrink
	awk '$1 == "sock_inode_cache" { print $2 }' /proc/slabinfo
}

@test "sockfs: it is on from load to unload, and says so" {
	fs_load
	fs_klog | grep -qF 'Fastsocket: Enable Fast Sockfs: inodes and dentries of sockets are on no list of all CPUs' ||
		fail "no line in the log"
	read -ra columns <"$counters"
	equal "columns" "${columns[*]}" "cpu reused fresh kept freed trimmed"
	equal "rows" "$(($(wc -l <"$counters") - 1))" "$(fs_possible_cpus)"
	wait_until 60 churned 3000 || fail "inodes used again: $(reused)"
	fs_unload
	[ ! -e "$counters" ]
}

# looked_at NUMBER: at new sockets; so many inodes have been used again by now
looked_at() {
	fssock look >"$fs_tmp/module"
	diff "$BATS_FILE_TMPDIR/native" "$fs_tmp/module" >>"$fs_tmp/differs" || true
	reuses "$1"
}

@test "sockfs: a socket looks as natively, whatever was done to the one that had the inode before" {
	fs_load
	wait_until 60 looked_at 300 || fail "inodes used again: $(reused)"
	! grep . "$fs_tmp/differs" || fail "sockets look differently"
	fs_unload
	fssock look >"$fs_tmp/module"
	diff "$BATS_FILE_TMPDIR/native" "$fs_tmp/module" || fail "sockets look differently after rmmod"
}

@test "sockfs: ss, lsof and /proc show the inode that the socket has" {
	local ino pid
	fs_load
	fssock churn -n 100
	"$FS_BIN/fsepoll" hold -p 8100 >"$fs_tmp/held" 3>&- </dev/null &
	pids+=($!)
	pid=$!
	wait_until 20 test -s "$fs_tmp/held"
	ino=$(ss -Htlne 'sport = :8100' | sed -n 's/.* ino:\([0-9]*\) .*/\1/p')
	at_least "inode in ss -e" "$ino" 1
	equal "links in /proc/PID/fd" "$(find "/proc/$pid/fd" -lname "socket:\\[$ino\\]" | wc -l)" 1
	equal "lines of /proc/net/tcp" "$(awk -v ino="$ino" '$10 == ino' /proc/net/tcp | wc -l)" 1
	ss -Htlnp 'sport = :8100' | grep -q "pid=$pid,"
	lsof -a -n -P -p "$pid" -i TCP:8100 | awk -v ino="$ino" '$6 == ino { found = 1 } END { exit !found }'
}

@test "sockfs: sockets that threads on all CPUs make, use and close are new ones, with inode numbers of their own" {
	fs_load
	fssock storm -t 5000 -j 8 >"$fs_tmp/storm" 2>&1 || { cat "$fs_tmp/storm"; fail "the storm found something"; }
	say "$(tail -n 1 "$fs_tmp/storm"), of them with an inode that was used before: $(reused)"
	at_least "inodes used again" "$(reused)" 1000
}

@test "sockfs: all inodes go back to the kernel when nobody uses them, when a CPU goes, and at rmmod" {
	local before
	fssock churn -n 50
	before=$(inodes)
	fs_load
	for n in 0 1 2 3; do fssock churn -n 50 -c $n; done
	at_least "inodes in the pools" "$(pooled)" 1
	wait_until 20 empty || fail "still pooled: $(pooled)"
	at_most "inodes in use, pools empty" "$(inodes)" $((before + 100))
	fssock churn -n 50 -c 3
	cpu 3 offline
	equal "pooled by the CPU that is gone" "$(awk '$1 == 3 { print $4 - $2 - $6 }' "$counters")" 0
	fssock churn -n 50
	cpu 3 online
	before=$(awk '$1 == 3 { print $2 }' "$counters")
	wait_until 60 back $((before + 500)) || fail "used again by the CPU that is back: $(cat "$counters")"
	fs_unload
	fssock churn -n 1
	at_most "inodes in use after rmmod" "$(inodes)" $((before + 100))
}

@test "sockfs: memory is charged to the cgroup whose sockets they are, and a limit holds" {
	local natively limit now
	# natively: 1000 sockets of b
	within b fssock keep -n 1000 -c 1 >"$fs_tmp/kept" &
	pids+=($!)
	wait_until 30 test -s "$fs_tmp/kept"
	natively=$(charged b)
	limit=$(($(<"$cgroups/b/memory.current") * 2))
	pkill -x fssock
	wait_until 30 none_left
	fs_load
	echo $limit >"$cgroups/a/memory.max"
	wait_until 60 charges 5000 || fail "inodes used again within a: $(reused)"
	equal "killed for memory" "$(sed -n 's/^oom_kill //p' "$cgroups/a/memory.events")" 0
	# what a has left in the pools is not b's
	: >"$fs_tmp/kept"
	within b fssock keep -n 1000 -c 1 >"$fs_tmp/kept" &
	pids+=($!)
	wait_until 30 test -s "$fs_tmp/kept"
	now=$(charged b)
	say "1000 sockets are charged with $now bytes, natively $natively"
	at_least "charged for 1000 sockets" "$now" $((natively * 9 / 10))
	at_most "charged for 1000 sockets" "$now" $((natively * 11 / 10))
	wait_until 20 not_charged a || fail "a is charged with $(charged a) bytes"
	pkill -x fssock
	wait_until 20 empty || fail "still pooled: $(pooled)"
	wait_until 30 not_charged b || fail "b is charged with $(charged b) bytes"
	echo max >"$cgroups/a/memory.max"
}

@test "sockfs: two cgroups in turn on one CPU: each pays for its own" {
	fs_load
	# 640 sockets are soon made, and which inodes are past their grace period by then is a matter of time
	wait_until 60 takes_turns 100 || fail "inodes used again: $(reused)"
	wait_until 20 empty || fail "still pooled: $(pooled)"
	wait_until 30 not_charged a || fail "a is charged with $(charged a) bytes"
	wait_until 30 not_charged b || fail "b is charged with $(charged b) bytes"
}

@test "sockfs: rmmod and insmod while sockets are made and closed on all CPUs" {
	local n
	"$FS_BIN/fssock" storm -t 300000 -j 6 >"$fs_tmp/storm" 2>&1 3>&- </dev/null &
	pids+=($!)
	for n in 1 2 3 4; do
		fs_load
		wait_until 30 reuses 50 || fail "no inode is used again: $(cat "$counters")"
		fs_unload
	done
	kill "${pids[0]}"
	wait "${pids[0]}" || { cat "$fs_tmp/storm"; fail "the storm found something"; }
	pids=()
	say "$(tail -n 1 "$fs_tmp/storm")"
}

@test "sockfs: CPUs go and come while sockets are made and closed on all of them" {
	local n
	fs_load
	"$FS_BIN/fssock" storm -t 10000 -j 6 >"$fs_tmp/storm" 2>&1 3>&- </dev/null &
	pids+=($!)
	for n in 1 2 3; do
		cpu $n offline
		sleep 0.5
	done
	for n in 3 1 2; do cpu $n online; done
	wait "${pids[0]}" || { cat "$fs_tmp/storm"; fail "the storm found something"; }
	pids=()
	wait_until 20 empty || fail "still pooled: $(pooled)"
}
