#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Whatever happens to workers, no connection is lost or left waiting: a pending
# one is answered by another worker in less than a second, seen from the client.
# Here CPUs run at one time on stock kernels, too.
# vm: -p
# shellcheck disable=SC2154,SC2034,SC2030,SC2031 # set by helpers.bash, used by servers.bash; a test is a subshell
load ../helpers
load servers

setup() {
	usual_setup
	port p
}

teardown() {
	echo 1 >/sys/devices/system/cpu/cpu2/online 2>/dev/null || true
	usual_teardown
}

teardown_file() { fs_unload; }

# rescue METHOD HOW VERB...: the worker on CPU 2 is told VERB; connections that arrive on
# its CPU are answered by others, first those in its clone, then new ones
rescue() {
	local method=$1 how=$2 w by detours
	shift 2
	port p
	# shellcheck disable=SC2086
	server s -f -e "$method" $how -p "$p"
	warm s "$p"
	w=$(worker_on s 2)
	detours=$(fs_columns drained stalled busy no_worker)
	tell s "$@" "$w"
	clients -p "$p" -n 6 -c 2 -k 6
	answered 6
	sooner_than 1000
	by=$(field by "$result")
	[[ ,$by != *,"$w":* ]] || fail "worker $w answered: $by"
	clients -p "$p" -n 60 -P 4 -c 0-3 -k 3
	answered 60
	sooner_than 1000
	counted 66 s
	equal "connections of worker $w" "$(nth "$w" "$(field acc "$stats")")" 0
	detours=$(($(fs_columns drained stalled busy no_worker) - detours))
	at_least "SYNs that took a detour and connections rescued" "$detours" 6
}

# Not io_uring: its accept goes on while the task sleeps, on the plain kernel, too.
@test "loss: a worker that sleeps strands nothing" {
	local method
	for method in epoll edge exclusive oneshot poll select accept uringpoll aio; do
		rescue $method "" stop
		end s
	done
	rescue epoll -t stop
}

@test "loss: a worker that computes strands nothing" {
	rescue epoll "" spin
	end s
	rescue accept -t spin
}

@test "loss: a worker stopped by SIGSTOP strands nothing, and is one again after SIGCONT" {
	local w pid
	server s -f -p "$p"
	warm s "$p"
	w=$(worker_on s 2)
	pid=$(nth "$w" "$(field pids "$stats")")
	kill -STOP "$pid"
	clients -p "$p" -n 6 -c 2 -k 6
	answered 6
	sooner_than 1000
	clients -p "$p" -n 60 -P 4 -c 0-3 -k 3
	answered 60
	sooner_than 1000
	kill -CONT "$pid"
	sleep 0.5
	tell s reset
	clients -p "$p" -n 64 -P 4 -c 0-3 -k 2
	answered 64
	counted 64 s
	at_least "connections of the worker after SIGCONT ($stats)" "$(nth "$w" "$(field acc "$stats")")" 1
}

@test "loss: a sleeping worker that goes on gets its connections again" {
	local method w
	for method in epoll poll accept uringpoll; do
		port p
		server s -f -e $method -p "$p"
		warm s "$p"
		w=$(worker_on s 1)
		tell s stop "$w"
		clients -p "$p" -n 40 -P 4 -c 0-3 -k 4
		answered 40
		sooner_than 1000
		tell s go "$w"
		clients -p "$p" -n 40 -P 4 -c 0-3
		answered 40
		tell s reset
		clients -p "$p" -n 64 -P 4 -c 0-3
		answered 64
		counted 64 s
		at_least "$method: connections of the worker ($stats)" "$(nth "$w" "$(field acc "$stats")")" 8
		end s
	done
}

@test "loss: all workers sleep for a while: everything waits, nothing is lost" {
	server s -f -p "$p"
	warm s "$p"
	tell s stop all
	clients_begin -p "$p" -n 80 -P 4 -c 0-3 -k 20
	sleep 1.5
	look s
	equal "accepted while all sleep" "$(field accepted "$stats")" 0
	tell s go all
	clients_end
	answered 80
	sooner_than 3500
	counted 80 s
}

# bats test_tags=debug
@test "loss: a worker that leaves epoll with EPOLL_CTL_DEL strands nothing" {
	local method
	for method in epoll edge exclusive oneshot; do
		rescue $method "" del
		end s
	done
	rescue epoll -t del
}

@test "loss: a worker that comes back with EPOLL_CTL_ADD gets its connections again" {
	local w
	server s -f -p "$p"
	warm s "$p"
	w=$(worker_on s 2)
	tell s del "$w"
	clients -p "$p" -n 40 -P 4 -c 0-3 -k 4
	answered 40
	sooner_than 1000
	tell s add "$w"
	clients -p "$p" -n 40 -P 4 -c 0-3
	answered 40
	tell s reset
	clients -p "$p" -n 64 -P 4 -c 0-3
	answered 64
	counted 64 s
	at_least "connections of the worker ($stats)" "$(nth "$w" "$(field acc "$stats")")" 8
}

@test "loss: a worker that closes its listener strands nothing" {
	local method
	for method in epoll poll accept; do
		rescue $method "" close
		end s
	done
}

# bats test_tags=debug
@test "loss: a worker that exits strands nothing, processes and threads" {
	local method how
	for method in epoll accept uring; do
		for how in "" -t; do
			rescue $method "$how" exit
			end s
		done
	done
}

# killed_with_pending METHOD SIGNAL: the client kills the worker at the very moment when the
# last of its connections is established, so they are in the clone's queue
killed_with_pending() {
	local w pid
	port p
	server s -f -e "$1" -p "$p"
	warm s "$p"
	w=$(worker_on s 3)
	pid=$(nth "$w" "$(field pids "$stats")")
	# asleep, not in accept: what it has accepted would die with it on any kernel
	tell s stop "$w"
	clients -o -p "$p" -n 4 -c 3 -K "$2:$pid"
	answered 4
	sooner_than 1000
	clients -p "$p" -n 60 -P 4 -c 0-3 -k 3
	answered 60
	sooner_than 1000
	counted 64 s
	end s
}

# bats test_tags=debug
@test "loss: kill -9 of a worker with connections pending loses none" {
	local method round
	for method in epoll accept poll uringpoll; do killed_with_pending $method 9; done
	for round in 1 2 3; do killed_with_pending epoll 9; done
	killed_with_pending exclusive 15
}

# bats test_tags=debug
@test "loss: workers killed and replaced under load lose only what they had accepted" {
	local method round w lost before
	for method in epoll accept; do
		port p
		server s -f -e $method -p "$p"
		warm s "$p"
		clients_begin -p "$p" -D 6000 -i 4 -P 4 -c 0-3 -k 3
		lost=0
		for round in 0 1 2 3 0 1; do
			tell s kill "$round"
			look s
			before=$(($(nth "$round" "$(field acc "$stats")") - $(nth "$round" "$(field rep "$stats")")))
			# a connection may be accepted and not counted yet when the signal comes
			lost=$((lost + 1 > before ? lost + 1 : before))
			tell s respawn "$round"
			sleep 0.3
		done
		clients_end
		say "$method: $result"
		look s
		at_least "connections" "$(field conns "$result")" 200
		at_most "failed connections ($result)" "$(field fail "$result")" "$lost"
		equal "timeouts" "$(field timeout "$result")" 0
		equal "no reply" "$(field noreply "$result")" 0
		equal "refused" "$(field refused "$result")" 0
		at_most "replies counted by the server" "$(field replied "$stats")" "$(($(field ok "$result") + lost))"
		at_least "replies counted by the server" "$(field replied "$stats")" "$(($(field ok "$result") - lost))"
		sooner_than 1000
		clients -p "$p" -n 64 -P 4 -c 0-3
		answered 64
		end s
	done
}

@test "loss: all workers replaced by others one after the other, orderly, under load" {
	local round
	server s -f -p "$p"
	warm s "$p"
	clients_begin -p "$p" -D 6000 -i 4 -P 4 -c 0-3 -k 3
	for round in 0 1 2 3 0 1 2 3; do
		tell s exit "$round"
		tell s respawn "$round"
		sleep 0.2
	done
	clients_end
	say "$result"
	equal "failed ($result)" "$(field fail "$result")" 0
	sooner_than 1000
	counted "$(field conns "$result")" s
}

# ended_listener HOW COMMAND...: what clients and server see of commands that are given while
# 12 connections are pending
ended_listener() {
	local how=$1
	shift
	port p
	# shellcheck disable=SC2086
	server s $how -p "$p"
	warm s "$p"
	tell s stop all
	clients_open -p "$p" -n 12 -c 0-3
	while [ $# -gt 0 ]; do
		# shellcheck disable=SC2086
		tell s $1
		shift
	done
	clients_end
	echo "pending: established=$established $(outcomes)"
	clients -p "$p" -n 4 -c 0-3 -P 4 -T 1000
	echo "new: $(outcomes)"
	look s
	echo "accepted=$(field accepted "$stats")"
}

# outcomes: the line of the clients without what is measured
outcomes() { sed -E 's/ (max|p99)_ms=[0-9]+//g; s/ by=.*//' <<<"$result"; }

# as_natively FUNCTION ARGUMENTS...: prints the same with and without -f
as_natively() {
	"$1" "" "${@:2}" >"$BATS_TEST_TMPDIR/native"
	end s
	"$1" -f "${@:2}" >"$BATS_TEST_TMPDIR/module"
	cat "$BATS_TEST_TMPDIR/native"
	diff -U 10 "$BATS_TEST_TMPDIR/native" "$BATS_TEST_TMPDIR/module" || fail "not as natively"
}

# bats test_tags=debug
@test "loss: shutdown with connections pending resets them, as natively" {
	as_natively ended_listener "shutdown 2"
	grep -q 'reset=12' "$BATS_TEST_TMPDIR/native"
	grep -q 'new: .*refused=4' "$BATS_TEST_TMPDIR/native"
	end s
	as_natively ended_listener "shutdown 0"
}

@test "loss: shutdown for writing does nothing, as natively" {
	as_natively ended_listener "shutdown 1" "go all"
	grep -q 'pending: established=12 conns=12 ok=12' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "loss: the last close with connections pending resets them, as natively" {
	as_natively ended_listener "close all" "closemine"
	grep -q 'reset=12' "$BATS_TEST_TMPDIR/native"
	grep -q 'new: .*refused=4' "$BATS_TEST_TMPDIR/native"
}

@test "loss: close in all processes but one keeps what is pending, as natively" {
	as_natively ended_listener "closemine" "close 0" "close 1" "close 2" "go 3"
	grep -q 'ok=12' "$BATS_TEST_TMPDIR/native"
}

# bats test_tags=debug
@test "loss: the workers wake up when the listener is shut down, and serve it when it listens again" {
	local method
	for method in epoll poll accept uring; do
		port p
		server s -f -e $method -p "$p"
		warm s "$p"
		tell s shutdown 2
		clients -p "$p" -n 8 -P 4 -c 0-3 -T 1000
		equal "refused ($result)" "$(field refused "$result")" 8
		tell s listen
		tell s add all
		tell s go all
		warm s "$p"
		clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
		answered 128
		sooner_than 1000
		counted 128 s
		local_enough 85 || fail "$method: locality after listening again: $stats"
		end s
	done
}

@test "loss: a listener that is shut down and listens again under load ends up serving all" {
	local round
	server s -f -p "$p"
	warm s "$p"
	clients_begin -p "$p" -D 4000 -i 5 -P 4 -c 0-3 -k 2 -T 3000
	for round in 1 2 3 4 5; do
		tell s shutdown 2
		tell s listen
		tell s add all
		sleep 0.2
	done
	clients_end
	say "$result"
	equal "no reply" "$(field noreply "$result")" 0
	equal "timeouts" "$(field timeout "$result")" 0
	tell s reset
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	sooner_than 1000
	counted 128 s
}

# bats test_tags=debug
@test "loss: a program that inherits the listener through exec is served like the one that attached it" {
	local method before
	for method in epoll accept; do
		port p
		server s -f -X -e $method -p "$p"
		warm s "$p"
		before=$(fs_column local)
		clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
		answered 128
		sooner_than 1000
		counted 128 s
		at_least "accepted from clones" $(($(fs_column local) - before)) 100
		end s
	done
}

@test "loss: CPUs that go offline and come back under load lose nothing" {
	local round
	server s -f -p "$p"
	warm s "$p"
	clients_begin -p "$p" -D 8000 -i 8 -P 4 -c 0,1,3,0 -k 2
	for round in 1 2; do
		echo 0 >/sys/devices/system/cpu/cpu2/online
		sleep 1
		echo 1 >/sys/devices/system/cpu/cpu2/online
		sleep 1
	done
	clients_end
	say "$result"
	equal "failed ($result)" "$(field fail "$result")" 0
	counted "$(field conns "$result")" s
	at_least "connections" "$(field conns "$result")" 200
	tell s reset
	clients -p "$p" -n 128 -P 4 -c 0-3 -k 2
	answered 128
	sooner_than 1000
	counted 128 s
	equal "workers alive" "$(field alive "$stats")" 4
}

@test "loss: connections pending on a CPU that goes offline are answered" {
	local w
	server s -f -p "$p"
	warm s "$p"
	w=$(worker_on s 2)
	tell s stop "$w"
	clients_begin -p "$p" -n 4 -c 2 -k 4
	sleep 0.02
	echo 0 >/sys/devices/system/cpu/cpu2/online
	clients_end
	answered 4
	# taking a CPU down stops all others for a while
	sooner_than 2000
	counted 4 s
	echo 1 >/sys/devices/system/cpu/cpu2/online
}
