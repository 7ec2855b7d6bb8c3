#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# CPUs that go and come while nginx serves. CPU 0 cannot go on this architecture.

load ../helpers

setup() { ! fs_loaded || fs_unload; }

teardown() {
	cpu 1 online
	cpu 2 online
	cpu 3 online
	nginx_teardown
}

in_every_mode() {
	"$1" native
	nginx_stop
	fs_load
	"$1" module
}

go_and_come() {
	nginx_configure
	nginx_start "$1"
	http_load_start 127.0.0.1 80 3
	for n in 1 2 3; do
		cpu $n offline
		sleep 0.3
	done
	for n in 3 1 2; do
		cpu $n online
		sleep 0.3
	done
	cpu 2 offline
	cpu 2 online
	http_load_stop
	say "$1: $answered of $sent answered while CPUs went and came, slowest $slowest ms"
	all_answered
	nginx_logged_exactly "$sent"
	nginx_errors_clean
}

@test "hotplug: no connection fails while CPUs go and come" {
	in_every_mode go_and_come
}

@test "hotplug: connections pending on a CPU are answered after it has gone" {
	fs_load
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 30 3
	all_answered
	# shellcheck disable=SC2046
	kill -STOP $(pgrep -P "$(nginx_master)")
	http_load_start 127.0.0.1 80 10
	cpu 3 offline
	cpu 2 offline
	# shellcheck disable=SC2046
	kill -CONT $(pgrep -P "$(nginx_master)")
	sleep 0.5
	http_load_stop
	all_answered
	nginx_logged_exactly $((sent + 120))
}

@test "hotplug: workers that start with a CPU away serve it when it comes" {
	cpu 3 offline
	fs_load
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 30 3
	all_answered
	cpu 3 online
	http_load 127.0.0.1 80 30 3
	equal "connections sent, from four CPUs" "$sent" 120
	all_answered
	nginx_logged_exactly 210
}

@test "hotplug: the module goes out cleanly with CPUs away, and comes in" {
	fs_load
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 20 2
	all_answered
	cpu 1 offline
	cpu 2 offline
	nginx_stop
	fs_unload
	fs_load
	equal "rows of the statistics" "$(($(wc -l <"$fs_stats") - 1))" 4
	nginx_start module
	http_load 127.0.0.1 80 20 2
	equal "connections sent, from two CPUs" "$sent" 40
	all_answered
	cpu 1 online
	cpu 2 online
	http_load 127.0.0.1 80 20 2
	all_answered
	nginx_logged_exactly 120
}

@test "hotplug: after CPUs have come back, connections are local again" {
	fs_load
	nginx_configure
	nginx_start module
	http_load 127.0.0.1 80 30 3
	all_answered
	cpu 2 offline
	http_load 127.0.0.1 80 30 3
	all_answered
	cpu 2 online
	# new workers see the new CPUs at once; a reload is what an administrator would do
	kill -HUP "$(nginx_master)"
	sleep 1
	wait_until 10 nginx_has_workers 4
	http_load 127.0.0.1 80 20 2
	fs_watch_zero
	http_load 127.0.0.1 80 60 1
	all_answered
	say "after a CPU went and came: $(fs_watch_locality) % local, by CPU: $(fs_watch_per_cpu)"
	at_least locality "$(fs_watch_locality)" 95
}
