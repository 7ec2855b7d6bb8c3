#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# Network namespaces: the same port in each, separate statistics, and a clean
# end of a namespace.
# shellcheck disable=SC2154,SC2034,SC2030,SC2031 # set by helpers.bash, used by servers.bash; a test is a subshell
load ../helpers
load servers

setup() {
	local ns
	usual_setup
	port p
	for ns in fsa fsb; do
		ip netns add $ns
		ip -n $ns link set lo up
	done
}

teardown() {
	abandon_servers
	ip netns del fsa 2>/dev/null || true
	ip netns del fsb 2>/dev/null || true
	usual_teardown
}

teardown_file() { fs_unload; }

# column_in NAMESPACE NAME
column_in() { ip netns exec "$1" cat "$fs_stats" | fs_column "$2" -; }

# clients_in NAMESPACE ARGUMENTS OF FSLOAD...
clients_in() {
	result=$(ip netns exec "$1" "$FS_BIN/fsload" "${@:2}" 3>&- </dev/null | tail -n 1)
}

# servers_in_both [OPTIONS]: a with tag 1 in fsa, b with tag 2 in fsb, on the same port
servers_in_both() {
	under=(ip netns exec fsa)
	server a -f -g 1 -p "$p" "$@"
	under=(ip netns exec fsb)
	server b -f -g 2 -p "$p" "$@"
	under=()
}

@test "netns: attached listeners on one port in two namespaces do not see each other" {
	local family addr
	for family in -4 -6; do
		addr=127.0.0.1
		[ $family = -4 ] || addr=::1
		servers_in_both $family
		clients_in fsa -a $addr -p "$p" -n 48 -P 4 -c 0-3
		answered 48
		clients_in fsb -a $addr -p "$p" -n 48 -P 4 -c 0-3
		answered 48
		tell a reset
		tell b reset
		clients_in fsa -a $addr -p "$p" -n 100 -P 4 -c 0-3 -k 2 -g 1
		answered 100
		equal "answered by the other namespace's server" "$(field alien "$result")" 0
		counted 100 a
		counted 0 b
		look a
		local_enough 85 || fail "locality in fsa: $stats"
		clients_in fsb -a $addr -p "$p" -n 60 -P 4 -c 0-3 -k 2 -g 2
		answered 60
		equal "answered by the other namespace's server" "$(field alien "$result")" 0
		counted 100 a
		counted 60 b
		# nobody listens in the first namespace of all
		clients -a $addr -p "$p" -n 4 -T 1000
		equal "refused ($result)" "$(field refused "$result")" 4
		end a
		end b
	done
}

@test "netns: statistics are those of the namespace" {
	local here
	here=$(fs_columns local remote global redirected)
	servers_in_both
	clients_in fsa -p "$p" -n 90 -P 4 -c 0-3 -k 2
	answered 90
	equal "accepted in fsa" $(($(column_in fsa local) + $(column_in fsa remote) + $(column_in fsa global))) 90
	equal "accepted in fsb" $(($(column_in fsb local) + $(column_in fsb remote) + $(column_in fsb global))) 0
	at_least "redirected in fsa" "$(column_in fsa redirected)" 30
	equal "redirected in fsb" "$(column_in fsb redirected)" 0
	equal "accepted or redirected here" "$(fs_columns local remote global redirected)" "$here"
	ip netns exec fsa cat /proc/net/fsocket_listeners
	equal "native queues listed in fsa" "$(ip netns exec fsa grep -c ' - ' /proc/net/fsocket_listeners)" 1
	equal "native queues listed in fsb" "$(ip netns exec fsb grep -c ' - ' /proc/net/fsocket_listeners)" 1
	! grep -w "$p" "$fs_listeners" || fail "listeners of other namespaces are listed here"
}

@test "netns: a program in one namespace serves the listener it got from another" {
	# fsserve makes the listener in fsa; what it becomes by exec runs in fsb
	printf '#!/bin/sh\nexec ip netns exec fsb %q "$@"\n' "$FS_BIN/fsserve" >"$BATS_TEST_TMPDIR/fsserve"
	chmod +x "$BATS_TEST_TMPDIR/fsserve"
	under=(ip netns exec fsa)
	server a -f -g 1 -p "$p" -X -x "$BATS_TEST_TMPDIR/fsserve"
	under=()
	equal "the program's namespace" "$(ip netns identify "$(nth 0 "$(look a && field pids "$stats")")")" fsb
	clients_in fsa -p "$p" -n 48 -P 4 -c 0-3
	answered 48
	tell a reset
	clients_in fsa -p "$p" -n 100 -P 4 -c 0-3 -k 2
	answered 100
	counted 100 a
	clients_in fsb -p "$p" -n 4 -T 1000
	equal "refused where the workers live ($result)" "$(field refused "$result")" 4
	at_least "redirected, in the listener's namespace" "$(column_in fsa redirected)" 100
	equal "redirected, in the workers' namespace" "$(column_in fsb redirected)" 0
}

gone() { ! ip netns list | grep -qw "$1"; }

# The name goes at once, the namespace when its last socket is closed.
# bats test_tags=debug
@test "netns: deleting a namespace while connections are open and pending is clean" {
	for _ in 1 2 3; do
		servers_in_both
		clients_in fsa -p "$p" -n 48 -P 4 -c 0-3
		answered 48
		tell a stop all
		ip netns exec fsa "$FS_BIN/fsload" -p "$p" -n 8 -P 4 -c 0-3 -k 2 -T 4000 </dev/null >"$BATS_TEST_TMPDIR/left" 3>&- &
		clients_pid=$!
		sleep 0.3
		ip netns del fsa
		sleep 0.2
		# the server lives on in its nameless namespace
		tell a go all
		wait "$clients_pid" || true
		clients_pid=''
		result=$(tail -n 1 "$BATS_TEST_TMPDIR/left")
		answered 8
		# and dies with connections pending
		kill -KILL "${server_pid[a]}"
		wait "${server_pid[a]}" || true
		unset "server_pid[a]"
		wait_until 5 gone fsa
		clients_in fsb -p "$p" -n 32 -P 4 -c 0-3 -g 2
		answered 32
		end b
		ip netns add fsa
		ip -n fsa link set lo up
		fs_klog_clean
	done
	# no reference is left behind
	fs_unload
	fs_load
}

# bats test_tags=debug
@test "netns: a namespace that ends with its server, its clones full, is clean" {
	for _ in 1 2 3; do
		servers_in_both
		clients_in fsa -p "$p" -n 32 -P 4 -c 0-3
		tell a stop all
		ip netns exec fsa "$FS_BIN/fsload" -p "$p" -n 16 -P 4 -c 0-3 -k 4 -T 3000 </dev/null >/dev/null 3>&- &
		clients_pid=$!
		sleep 0.3
		ip netns del fsa
		kill -KILL "${server_pid[a]}"
		wait "${server_pid[a]}" || true
		unset "server_pid[a]"
		# its clients see a reset at once
		wait "$clients_pid" || true
		clients_pid=''
		end b
		ip netns add fsa
		ip -n fsa link set lo up
	done
	fs_unload
	fs_load
}
