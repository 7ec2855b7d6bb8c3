#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# on demand: a CPU that goes or comes takes seconds on an emulated debug kernel, a test ten minutes
# CPUs go and come in random order while servers serve. CPU 0 cannot go on this
# architecture.
# vm: -t 7200
# shellcheck disable=SC2154 # set by helpers.bash
load ../helpers
load storms

# Twice that where machines share few CPUs.
# shellcheck disable=SC2034 # bats reads it
BATS_TEST_TIMEOUT=1800

: "${FS_HOTPLUGS:=24}"
: "${FS_SEED:=$RANDOM}"

setup() { fs_loaded || fs_load; }

teardown() {
	touch "$fs_tmp/stop"
	# not a bare "wait": one of the jobs is bats' own, which ends with the time limit
	wait_until 60 no_cycle
	all_cpus_online
	nginx_stop
	! fs_loaded || fs_unload
	fs_klog_clean
	fs_taint_clean
}

no_cycle() { ! running fscycle; }

# hotplugs NUMBER [COMMAND...]: so many CPUs go or come, in an order that FS_SEED decides; the
# command runs in between, with the number of the round
hotplugs() {
	local n=$1 i c state=(x online online online)
	shift
	say "seed $FS_SEED"
	RANDOM=$FS_SEED
	for ((i = 0; i < n; i++)); do
		c=$((1 + RANDOM % 3))
		if [ "${state[c]}" = online ]; then state[c]=offline; else state[c]=online; fi
		cpu $c "${state[c]}"
		[ $# = 0 ] || "$@" "$i"
		sleep 0.$((RANDOM % 3))
	done
	all_cpus_online
}

# switch ROUND: the parameter takes each value in turn
switch() { [ $(($1 % 2)) = 0 ] || echo $(($1 / 2 % 3)) >"$fs_param"; }

# local_again: with all CPUs back, workers that start now serve where connections arrive
local_again() {
	echo 2 >"$fs_param"
	kill -HUP "$(nginx_master)"
	sleep 1
	wait_until 20 nginx_has_workers 4
	http_load 127.0.0.1 80 20 2
	all_answered
	more=$((more + sent))
	fs_watch_zero
	http_load 127.0.0.1 80 40 1
	all_answered
	more=$((more + sent))
	say "afterwards $(fs_watch_locality) % local, by CPU: $(fs_watch_per_cpu)"
	at_least locality "$(fs_watch_locality)" 90
}

# nginx_through COMMAND...: nginx serves while CPUs go and come, and is as before afterwards
nginx_through() {
	local more=0 during
	nginx_configure
	nginx_start module
	http_load_start 127.0.0.1 80 2
	hotplugs "$FS_HOTPLUGS" "$@"
	http_load_stop
	during=$sent
	say "$answered of $sent answered, slowest $slowest ms"
	all_answered
	equal "CPUs online" "$(fs_online_cpus | wc -l)" 4
	local_again
	nginx_logged_exactly $((during + more))
	nginx_errors_clean
}

@test "hotplug loop: nginx loses no connection, and locality comes back" {
	nginx_through
}

@test "hotplug loop: nor while enable_listen_spawn changes" {
	nginx_through switch
}

@test "hotplug loop: listeners are attached, used and closed meanwhile" {
	local pid
	"$FS_BIN/fscycle" rounds -w "$fs_tmp/stop" >"$fs_tmp/cycle" 3>&- </dev/null &
	pid=$!
	hotplugs "$FS_HOTPLUGS"
	touch "$fs_tmp/stop"
	wait $pid || fail "$(cat "$fs_tmp/cycle")"
	say "$(cat "$fs_tmp/cycle")"
	at_least "rounds of listeners" "$(field rounds "$(cat "$fs_tmp/cycle")")" 3
}

@test "hotplug loop: the module goes out and comes in with CPUs away" {
	local result
	fs_unload
	cpu 2 offline
	result=$("$FS_BIN/fscycle" rounds -k "$FS_KO" -n 6 3>&- </dev/null) || fail "$result"
	cpu 3 offline
	fs_load
	cpu 1 offline
	fs_unload
	cpu 1 online
	cpu 3 online
	fs_load
	cpu 2 online
	result=$("$FS_BIN/fscycle" rounds -n 6 3>&- </dev/null) || fail "$result"
	say "$result"
	fs_unload
}
