#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Every way to wait for connections: all are accepted, and on the CPU that received them.
# shellcheck disable=SC2154,SC2034,SC2054 # set by helpers.bash, used by servers.bash; a list of CPUs
load ../helpers
load servers

setup() { usual_setup; }
teardown() { usual_teardown; }
teardown_file() { fs_unload; }

addresses_of() {
	case $1 in
	-4) echo 127.0.0.1 ;;
	-6) echo ::1 ;;
	-d) echo 127.0.0.1 ::1 ;;
	esac
}

# local_round NUMBER NAME ARGUMENTS OF FSLOAD...: NUMBER connections, all answered, 98 % of
# them where they arrived. A worker whose emulated CPU is not run by its host for
# some milliseconds looks like a stuck one, whose connections the module gives to
# others: so locality is the best of three rounds, while a loss in any of them counts.
local_round() {
	local number=$1 name=$2 round
	shift 2
	for round in 1 2 3; do
		clients -n "$number" "$@"
		answered "$number"
		sooner_than 1000
		counted "$number" "$name"
		local_enough 98 && return
		say "round $round: $stats"
		[ "$round" = 3 ] || tell "$name" reset
	done
	fail "locality below 98 % ($stats)"
}

# served METHOD FAMILY [-t]: by processes, or by threads
served() {
	local method=$1 family=$2 how=${3:-} p addr list args=()
	read -ra list <<<"$(addresses_of "$family")"
	for addr in "${list[@]}"; do args+=(-a "$addr"); done
	port p
	# shellcheck disable=SC2086
	server s -f -e "$method" "$family" $how -p "$p"
	warm s "$p" "${list[@]}"
	local_round 128 s -p "$p" -P 4 -c 0-3 -k 2 "${args[@]}"
	end s
}

# everywhere METHOD: processes and threads, IPv4, IPv6 and both on one socket
everywhere() {
	served "$1" -4
	served "$1" -6 -t
	served "$1" -d
	served "$1" -d -t
	# The method of waiting and the family know nothing of each other: all pairs with two methods.
	if [ "$1" = epoll ] || [ "$1" = accept ]; then
		served "$1" -4 -t
		served "$1" -6
	fi
}

# What 98 % has to be seen against. Pinned: how often unpinned ones meet their connections
# depends on the load of the machine.
@test "events: natively, workers pinned to all CPUs accept fewer than 80 % where they arrive" {
	port p
	server s -c 0-3 -p "$p"
	warm s "$p"
	clients -p "$p" -n 256 -P 4 -c 0-3 -k 2
	answered 256
	counted 256 s
	! local_enough 80 || fail "$stats"
	equal "redirected" "$(fs_column redirected)" 0
	end s
	# and without pins they keep their CPUs
	port p
	server s -p "$p"
	warm s "$p"
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2
	answered 64
	counted 64 s
	equal "affinity" "$(field aff "$stats")" f,f,f,f
}

# bats test_tags=debug
@test "events: epoll, level-triggered" { everywhere epoll; }
@test "events: epoll, edge-triggered" { everywhere edge; }
# bats test_tags=debug
@test "events: EPOLLEXCLUSIVE" { everywhere exclusive; }
@test "events: EPOLLONESHOT" { everywhere oneshot; }
# bats test_tags=debug
@test "events: poll" { everywhere poll; }
@test "events: select" { everywhere select; }
# bats test_tags=debug
@test "events: blocking accept" { everywhere accept; }
@test "events: blocking accept with SO_RCVTIMEO" { everywhere timeo; }
@test "events: io_uring accept" { everywhere uring; }
@test "events: io_uring multishot accept" { everywhere uringmulti; }
@test "events: IORING_OP_POLL_ADD" { everywhere uringpoll; }
@test "events: IOCB_CMD_POLL" { everywhere aio; }

@test "events: accept4 gives the flags that were asked for, whatever the listener has" {
	local method flags
	for method in epoll accept uring; do
		for flags in "" "-a nonblock -a cloexec"; do
			port p
			# shellcheck disable=SC2086
			server s -f -e $method -p "$p" $flags
			clients -p "$p" -n 64 -P 4 -c 0-3
			answered 64
			look s
			equal "connections with wrong flags, $method $flags" "$(field badflags "$stats")" 0
			end s
		done
	done
	at_least "accepted from clones" "$(fs_columns local remote)" 150
}

# bats test_tags=debug
@test "events: one epoll shared by threads or processes starves nobody" {
	local method how
	for method in epoll edge exclusive oneshot; do
		for how in "" -t; do
			port p
			# shellcheck disable=SC2086
			server s -f -e $method -s $how -p "$p"
			clients -p "$p" -n 160 -P 4 -c 0-3 -k 3
			answered 160
			sooner_than 1000
			counted 160 s
			# a task of a shared epoll must not be held on the CPU of another's connections
			clients -p "$p" -n 40 -P 1 -c 2 -k 4
			answered 40
			sooner_than 1000
			end s
		done
	done
}

@test "events: epolls filled before fork do not pile the workers on one CPU" {
	local method how
	for method in epoll exclusive; do
		for how in "" -t; do
			port p
			# shellcheck disable=SC2086
			server s -f -e $method -B $how -p "$p"
			clients -p "$p" -n 48 -P 4 -c 0-3 -k 2
			tell s reset
			clients -p "$p" -n 256 -P 4 -c 0-3 -k 4
			answered 256
			sooner_than 1000
			counted 256 s
			not_piled "$method $how"
			end s
		done
	done
}

# not_piled WHAT: the workers can use all CPUs between them
not_piled() {
	local list mask all=0
	IFS=, read -ra list <<<"$(field aff "$stats")"
	for mask in "${list[@]}"; do all=$((all | 16#$mask)); done
	equal "$1: CPUs of all workers together ($stats)" $all 15
}

@test "events: workers started by one that has its CPU already get their own" {
	local how
	for how in "" -t; do
		port p
		# shellcheck disable=SC2086
		server s -f -L 10 $how -p "$p"
		# the first two, then the others
		clients -p "$p" -n 60 -P 4 -c 0-3
		answered 60
		warm s "$p"
		look s
		equal "workers" "$(field alive "$stats")" 4
		not_piled "late workers $how"
		local_round 128 s -p "$p" -P 4 -c 0-3 -k 2
		end s
	done
}

@test "events: several listeners in one process" {
	local method
	for method in epoll edge poll select uring aio; do
		port p
		port q
		port r
		server s -f -e $method -p "$p,$q,$r"
		warm s "$p,$q,$r"
		local_round 180 s -p "$p,$q,$r" -P 4 -c 0-3 -k 2
		end s
	done
}

@test "events: more workers than CPUs share them evenly" {
	local how list mask cpu n
	for how in "" -t; do
		port p
		# shellcheck disable=SC2086
		server s -f -n 7 $how -p "$p"
		warm s "$p"
		local_round 256 s -p "$p" -P 4 -c 0-3 -k 4
		IFS=, read -ra list <<<"$(field aff "$stats")"
		for cpu in 0 1 2 3; do
			n=0
			for mask in "${list[@]}"; do [ $((16#$mask)) != $((1 << cpu)) ] || n=$((n + 1)); done
			at_least "workers on CPU $cpu ($stats)" $n 1
			at_most "workers on CPU $cpu ($stats)" $n 2
		done
		end s
	done
}

@test "events: fewer workers than CPUs serve the others' connections as well" {
	port p
	server s -f -n 2 -p "$p"
	warm s "$p"
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	sooner_than 1000
	counted 128 s
	at_least "SYNs on CPUs without a worker" "$(fs_column no_worker)" 60
	local_enough 40 || fail "$stats"
}

@test "events: a single worker that is not pinned is left alone" {
	port p
	server s -f -n 1 -p "$p"
	clients -p "$p" -n 64 -P 4 -c 0-3
	answered 64
	counted 64 s
	equal "affinity" "$(field aff "$stats")" f
}

# within MASK WHAT: no worker has been, or may go, anywhere else
within() {
	local list mask
	IFS=, read -ra list <<<"$(field cpus "$stats"),$(field aff "$stats")"
	for mask in "${list[@]}"; do
		[ $((16#$mask & ~16#$1)) = 0 ] || fail "$2: a worker outside of $1: $stats"
	done
}

@test "events: workers stay on the CPUs that taskset allows, and use them all" {
	local how
	for how in "" -t; do
		port p
		under=(taskset -c 1,3)
		# shellcheck disable=SC2086
		server s -f -n 4 $how -p "$p"
		warm s "$p"
		clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
		answered 128
		counted 128 s
		within a "taskset 1,3 $how"
		# connections that arrive on those two are accepted there
		tell s reset
		local_round 128 s -p "$p" -P 2 -c 1,3 -k 2
		within a "taskset 1,3 $how"
		end s
	done
}

@test "events: workers stay inside their cpuset, also when it is changed" {
	local group=/sys/fs/cgroup/fs-events
	echo +cpuset >/sys/fs/cgroup/cgroup.subtree_control
	mkdir -p $group
	echo 1-2 >$group/cpuset.cpus
	port p
	# shellcheck disable=SC2016
	under=(bash -c 'echo $$ >"$0/cgroup.procs"; exec "$@"' "$group")
	server s -f -n 4 -p "$p"
	warm s "$p"
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	counted 128 s
	within 6 "cpuset 1-2"
	echo 2-3 >$group/cpuset.cpus
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2
	answered 64
	tell s reset
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	sooner_than 1000
	counted 128 s
	within c "cpuset 2-3"
	end s
	wait_until 5 rmdir $group
}

@test "events: pinned workers keep their CPUs" {
	port p
	server s -f -n 4 -c 3,2,1,0 -p "$p"
	clients -p "$p" -n 48 -P 4 -c 0-3
	tell s reset
	local_round 128 s -p "$p" -P 4 -c 0-3 -k 2
	equal "affinity" "$(field aff "$stats")" 8,4,2,1
}

# whole NAME: all its workers may run everywhere
whole() {
	look "$1"
	[ "$(field aff "$stats")" = f,f,f,f ]
}

# bats test_tags=debug
@test "events: closing the listener gives the workers their CPUs back" {
	local how
	for how in "" -t; do
		port p
		# shellcheck disable=SC2086
		server s -f $how -p "$p"
		warm s "$p"
		look s
		bound "$(field aff "$stats")" || fail "workers were never bound: $stats"
		if [ -z "$how" ]; then
			tell s close all
			tell s closemine
		else
			tell s stop all
			tell s closemine
		fi
		wait_until 2 whole s || fail "affinity after close $how: $stats"
		end s
	done
}

@test "events: an affinity that the application sets itself is not undone" {
	port p
	server s -f -p "$p"
	warm s "$p"
	look s
	taskset -pc 0,1 "$(nth 0 "$(field tids "$stats")")"
	clients -p "$p" -n 64 -P 4 -c 0-3
	answered 64
	tell s close all
	tell s closemine
	sleep 0.5
	look s
	[ $((16#$(nth 0 "$(field aff "$stats")") & ~3)) = 0 ] || fail "worker 0 left the CPUs it was given: $stats"
}

@test "events: mode 1 uses workers that are pinned" {
	local method
	in_mode 1
	for method in epoll poll accept uring; do
		port p
		server s -f -e $method -c 0,1,2,3 -p "$p"
		clients -p "$p" -n 32 -P 4 -c 0-3
		tell s reset
		local_round 128 s -p "$p" -P 4 -c 0-3 -k 2
		end s
	done
}

@test "events: mode 1 leaves workers that are not pinned to the plain kernel, and counts them" {
	local how
	in_mode 1
	for how in "" -t; do
		port p
		# shellcheck disable=SC2086
		server s -f $how -p "$p"
		clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
		answered 128
		counted 128 s
		equal "affinity" "$(field aff "$stats")" f,f,f,f
		end s
	done
	equal "redirected" "$(fs_column redirected)" 0
	equal "no_worker" "$(fs_column no_worker)" 256
	equal "global" "$(fs_column global)" 256
}

@test "events: mode 0 is the plain kernel" {
	in_mode 0
	port p
	server s -f -p "$p"
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	counted 128 s
	equal "affinity" "$(field aff "$stats")" f,f,f,f
	equal "redirected" "$(fs_column redirected)" 0
	equal "local" "$(fs_column local)" 0
}

@test "events: the columns add up to the connections at both ends" {
	local before after
	before=$(fs_columns local remote global)
	port p
	server s -f -p "$p"
	clients -p "$p" -n 300 -P 4 -c 0-3 -k 4
	answered 300
	counted 300 s
	after=$(fs_columns local remote global)
	equal "local + remote + global" $((after - before)) 300
	equal "accepts of this listener" "$(fs_listener_field "$p" '*' accepts | awk '{ n += $1 } END { print n }')" 300
	# the clones' share is what was redirected
	at_least "accepts of the clones" "$(fs_listener_field "$p" '*' accepts | awk '{ n += $1 } END { print n }')" 250
}

# transcript FILE ARGUMENTS...: of fscalls
transcript() { timeout 120 "$FS_BIN/fscalls" "${@:2}" >"$BATS_TEST_TMPDIR/$1" 3>&-; }

# same_calls LOCAL FSCALLS-ARGUMENTS...: what system calls answer, natively and attached, with
# at least LOCAL connections accepted from a clone
same_calls() {
	local want=$1 before first=$((10000 + BATS_TEST_NUMBER * 100))
	shift
	transcript native -p $first "$@"
	before=$(fs_column local)
	transcript module -p $((first + 50)) "$@" -f
	diff -U 5 "$BATS_TEST_TMPDIR/native" "$BATS_TEST_TMPDIR/module" || fail "system calls answer differently"
	! grep -n 'after .* ms' "$BATS_TEST_TMPDIR/native" || fail "too slow to be judged"
	at_least "accepted from a clone" $(($(fs_column local) - before)) "$want"
}

# bats test_tags=debug
@test "calls: system calls on a listener answer as natively, with their timeouts and signals" {
	same_calls 10
	same_calls 10 -6
}

@test "calls: so they do while the listener is in an epoll" {
	same_calls 20 -e -x "length of the queue"
	same_calls 20 -6 -e -x "length of the queue"
}

@test "calls: TCP_INFO of the listener tells how many connections are pending, as natively" {
	same_calls 1 -e -s "length of the queue"
}
