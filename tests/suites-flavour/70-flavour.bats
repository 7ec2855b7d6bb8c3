#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Kernels of another flavour, PREEMPT_RT and cloud: the module loads, keeps nginx's connections local
# under load and loses none, and goes. What PREEMPT_RT forbids (to sleep on a lock that it has made a
# sleeping one, with preemption off) would be in the kernel log, which every test reads.

load ../helpers

setup() { ! fs_loaded || fs_unload; }

teardown() { nginx_teardown; }

url=http://127.0.0.1/

is_rt() { [ "$(cat /sys/kernel/realtime 2>/dev/null)" = 1 ]; }

# under_load native|module: sets locality, in per cent
under_load() {
	nginx_configure
	nginx_start "$1"
	ab_load $url 150 4
	all_answered
	locality=$(fs_watch_locality)
	say "$1: $locality % of $(fs_watch_accepted) on the CPU that received the SYN; by CPU: $(fs_watch_per_cpu)"
}

@test "flavour: the kernel is what its name says, and the module is built for it" {
	say "$(uname -r), $(uname -v)"
	equal "flavour in vermagic" "$(modinfo -F vermagic "$FS_KO" | cut -d ' ' -f 1)" "$(uname -r)"
	case $(uname -r) in
	*-rt-*) is_rt || fail "/sys/kernel/realtime does not say 1" ;;
	*) ! is_rt || fail "a real-time kernel of another name" ;;
	esac
}

@test "flavour: in and out in each mode, used each time; not out while a listener is attached" {
	local mode
	nginx_configure
	for mode in 0 1 2; do
		fs_load enable_listen_spawn=$mode
		nginx_start module
		http_load 127.0.0.1 80 10 2
		all_answered
		[ $mode = 0 ] || ! rmmod fastsocket 2>/dev/null || fail "removed under an attached listener"
		nginx_stop
		fs_unload
	done
	run grep fastsocket /proc/misc /proc/modules
	equal "status of grep" "$status" 1
}

@test "flavour: at least 98 % of nginx's connections stay on the CPU that received the SYN" {
	under_load native
	at_most "native locality, which must be clearly lower" "$locality" 80
	nginx_stop
	fs_load
	under_load module
	at_least "locality in mode 2" "$locality" 98
	equal "connections counted by the module" "$(fs_columns local remote global)" "$(fs_watch_accepted)"
}

@test "flavour: no connection is lost while workers are killed and a CPU goes and comes under load" {
	local round
	fs_load
	nginx_configure
	nginx_start module
	http_load_start 127.0.0.1 80 2
	for round in 1 2 3; do
		# QUIT: what the worker has accepted it finishes
		kill -QUIT "$(nginx_workers | head -n 1)"
		sleep 1
		wait_until 10 nginx_has_workers 4
	done
	cpu 3 offline
	sleep 1
	cpu 3 online
	sleep 1
	http_load_stop
	all_answered
	equal "connections that failed" "$failed" 0
	at_least "connections from local queues" "$(fs_column local)" 1
}

@test "flavour: the module goes while accepted connections are open, and they go on" {
	web_files_in_memory
	head -c 8000000 /dev/urandom >/var/www/html/big
	fs_load
	nginx_configure
	nginx_start module
	exec 9<>/dev/tcp/127.0.0.1/80
	printf 'GET /big HTTP/1.0\r\n\r\n' >&9
	read -r -N 1 first <&9
	kill -QUIT "$(nginx_master)"
	wait_until 5 rmmod fastsocket
	! nginx_gone || fail "no connection was open"
	{ printf %s "$first"; cat <&9; } | sed '1,/^\r$/d' | cmp - /var/www/html/big
	exec 9>&-
}
