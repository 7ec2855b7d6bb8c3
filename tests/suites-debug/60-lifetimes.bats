#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# on demand: 200 loads take ten minutes on an emulated debug kernel
# The module, its listeners and the namespaces they are in come and go under
# traffic; nothing is left behind, and nothing that lives on is hurt.
# vm: -t 3600
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers
load storms

: "${FS_ROUNDS:=200}"
# So many rounds may take longer than other tests, above all where machines share few CPUs.
# shellcheck disable=SC2034 # bats reads it
BATS_TEST_TIMEOUT=1800

setup() { ! fs_loaded || fs_unload; }

teardown() {
	[ ! -d /sys/module/fsleak ] || rmmod fsleak
	ip netns del fsx 2>/dev/null || true
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

# cycle COMMAND...: fscycle, its last line in "result"
cycle() {
	local status=0
	result=$("$FS_BIN/fscycle" "$@" 3>&- </dev/null) || status=$?
	say "$1: $result"
	return $status
}

loaded_lines() { dmesg | grep -cE "Fastsocket: (Load|Remove) Module" || true; }

@test "lifetimes: loaded and unloaded 200 times under traffic, and a native server never notices" {
	local before loads
	before=$(in_use)
	loads=$(loaded_lines)
	# shorter grace periods make rounds cheap; the other tests have the usual ones
	echo 1 >/sys/kernel/rcu_expedited
	cycle rounds -k "$FS_KO" -n "$FS_ROUNDS" || { echo 0 >/sys/kernel/rcu_expedited; fail "$result"; }
	echo 0 >/sys/kernel/rcu_expedited
	equal "loads" "$(field loads "$result")" "$FS_ROUNDS"
	equal "lines about loading and removing" "$(($(loaded_lines) - loads))" $((2 * FS_ROUNDS))
	equal "connections of the native server that failed" "$(field native_failed "$result")" 0
	at_least "connections of the native server" "$(field native_sent "$result")" "$FS_ROUNDS"
	as_before "$before"
	run grep fastsocket /proc/misc /proc/modules
	equal "status of grep" "$status" 1
}

@test "lifetimes: unloaded right after close with connections in every state, v4, v6 and mapped" {
	local before
	before=$(in_use)
	cycle states -k "$FS_KO"
	equal "connections used, of 24 each on two loads and after" "$(field used "$result")" 120
	equal "ended" "$(field ended "$result")" 144
	equal "orphans whose data came" "$(field drained "$result")" 24
	as_before "$before"
}

@test "lifetimes: connections pending in clones go to the rest of a reuseport group, as natively" {
	local before
	before=$(in_use)
	cycle migrate
	fs_load
	cycle migrate -f
	as_before "$before"
	fs_unload
}

# Half-open requests and connections nobody accepted hold the namespace until they end.
@test "lifetimes: namespaces end with listeners attached and connections pending" {
	local before
	before=$(in_use)
	fs_load
	cycle netns -n 9
	as_before "$before"
	trackers_quiet
	fs_unload
	as_before "$before"
	trackers_quiet
}

@test "lifetimes: ip netns del while connections are pending in it" {
	local before round pid in
	before=$(in_use)
	fs_load
	for round in 1 2 3; do
		ip netns add fsx
		ip -n fsx link set lo up
		mkfifo "$fs_tmp/in.$round"
		ip netns exec fsx "$FS_BIN/fscycle" linger <"$fs_tmp/in.$round" >"$fs_tmp/out.$round" 3>&- &
		pid=$!
		exec {in}>"$fs_tmp/in.$round"
		wait_until 60 grep -q ready "$fs_tmp/out.$round"
		ip netns del fsx
		[ $round = 2 ] || kill -KILL $pid
		exec {in}>&-
		wait $pid || true
	done
	as_before "$before"
	trackers_quiet
	fs_unload
	as_before "$before"
}

# That the scan finds nothing of ours says something only if it finds what is there to be found.
@test "lifetimes: nothing of all that has leaked, while kmemleak finds what a test module leaks" {
	local level
	insmod "$fsleak_ko"
	# "N new suspected memory leaks" is meant for this test, not for who reads the console
	level=$(cut -f 1 /proc/sys/kernel/printk)
	echo N >/sys/module/printk/parameters/ignore_loglevel
	dmesg -n 1
	leak_scan
	dmesg -n "$level"
	echo Y >/sys/module/printk/parameters/ignore_loglevel
	cat "$kmemleak" >"$fs_tmp/leaks"
	echo clear >"$kmemleak"
	rmmod fsleak
	cat "$fs_tmp/leaks"
	at_least "objects of fsleak found, of 8" "$(grep -c 'fsleak_init' "$fs_tmp/leaks" || true)" 1
	equal "objects found" "$(grep -c '^unreferenced object' "$fs_tmp/leaks" || true)" \
		"$(grep -c 'fsleak_init' "$fs_tmp/leaks" || true)"
	fs_klog | grep -E 'kmemleak: [1-9][0-9]* new suspected memory leaks'
}
