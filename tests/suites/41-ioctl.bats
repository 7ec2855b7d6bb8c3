#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# The ioctls of /dev/fastsocket. The cases are in tests/progs-ioctl/ioctl_abi.c, where each does
# what its test says for IPv4 and IPv6; every one is run by a 64-bit and by a 32-bit program.
# After each the module must be free of references.
# shellcheck disable=SC2154 # set by helpers.bash and by run
bats_require_minimum_version 1.5.0
load ../helpers

last_cpu=/sys/devices/system/cpu/cpu$(($(fs_possible_cpus) - 1))/online

setup() { fs_loaded || fs_load; }

teardown() {
	[ "$(cat "$last_cpu")" = 1 ] || echo 1 >"$last_cpu"
	echo 2 >"$fs_param"
	wait_until 5 references_are 0 || fail "references left: $(references)"
	fs_klog_clean
	fs_taint_clean
}

teardown_file() { fs_unload; }

# both CASE: in each build
both() {
	local program
	for program in ioctl_abi ioctl_abi32; do
		timeout 100 "$FS_BIN/$program" "$1" || fail "$program $1: status $?"
	done
}

@test "the numbers and the argument layout are the original's, in 64-bit and 32-bit programs" {
	both layout
}

@test "SOCKET gives the socket that socket(2) gives, TCP or not, and fails as it does" {
	both socket_as_native
}

# bats test_tags=debug
@test "SOCKET, LISTEN, ACCEPT and CLOSE serve a connection" {
	both socket_serves
}

@test "LISTEN attaches bound, unbound and already listening sockets, until they are closed" {
	both listen_attaches
}

@test "LISTEN sets the backlog that listen(2) sets" {
	both listen_backlog
}

@test "LISTEN on a bad descriptor, no socket, or a socket that cannot listen fails as listen(2)" {
	both listen_fails_as_native
}

@test "LISTEN on a UNIX or MPTCP socket passes through to listen(2)" {
	both listen_passes_others
}

@test "ACCEPT returns the peer's address, truncated as accept4(2) does" {
	both accept_returns_peer
}

@test "ACCEPT sets SOCK_NONBLOCK and SOCK_CLOEXEC, and refuses other flags without losing the connection" {
	both accept_flags
}

@test "ACCEPT on what has nothing to accept fails as accept4(2)" {
	both accept_fails_as_native
}

# bats test_tags=debug
@test "ACCEPT with a bad address or length does what accept4(2) does to caller and connection" {
	both accept_bad_address
}

# bats test_tags=debug
@test "ACCEPT blocks, times out, is interrupted and restarted as accept4(2)" {
	both accept_blocks
}

@test "CLOSE closes sockets, once, and nothing else" {
	both close_closes
}

@test "SHUTDOWN_LISTEN does what shutdown(2) does, to listeners and to everything else" {
	both shutdown_as_native
}

@test "a listener that was shut down can listen again" {
	both shutdown_reopens
}

@test "an attached listener that became a connection stays an IPv6 socket, and its end is seen" {
	both addrform_refused
}

@test "workers that wait when 'ss -K' ends their listener wake up, as natively" {
	both killed_wakes
}

@test "an accepted connection takes kTLS, and becomes an IPv4 socket, as natively" {
	both accepted_are_stock
}

@test "a setsockopt() that was under way when the listener was attached cannot take it away later" {
	both late_options_refused
}

# bats test_tags=debug
@test "SPAWN_LISTEN binds the caller to the CPU it names, or to one chosen, and serves that CPU's connections" {
	both spawn_binds
}

@test "SPAWN_LISTEN with -1 gives each process a CPU of its own" {
	both spawn_any_spreads
}

@test "SPAWN_LISTEN refuses a CPU outside the caller's affinity and binds nobody" {
	both spawn_respects_affinity
}

@test "SPAWN_LISTEN refuses a CPU that does not exist" {
	both spawn_impossible_cpu
}

# bats test_tags=debug
@test "SPAWN_LISTEN refuses a CPU that is offline" {
	echo 0 >"$last_cpu"
	both spawn_offline_cpu
}

@test "SPAWN_LISTEN attaches a listener that was not" {
	both spawn_attaches
}

@test "SPAWN_LISTEN wants a TCP listener: EBADF, ENOTSOCK, EOPNOTSUPP or EINVAL otherwise" {
	both spawn_needs_listener
}

@test "SPAWN_LISTEN in mode 1 takes bound tasks only" {
	echo 1 >"$fs_param"
	both spawn_in_mode1
}

@test "SPAWN_LISTEN in mode 0 is not supported, LISTEN is" {
	echo 0 >"$fs_param"
	both spawn_in_mode0
}

@test "SPAWN_ALL_LISTEN makes the caller worker of every attached listener it has, and of no other" {
	both spawn_all_listeners
}

@test "SPAWN_ALL_LISTEN without a listener does nothing" {
	both spawn_all_without_listener
}

@test "ENROL: a process enrols itself, and takes it back; wrong arguments are refused" {
	both enrols_itself
}

@test "unknown numbers, directions and sizes are ENOTTY" {
	both unknown_numbers
}

# bats test_tags=debug
@test "bad pointers are EFAULT" {
	both bad_pointers
}

# bats test_tags=debug
@test "thousands of failed calls leave no descriptor and no reference" {
	equal "references before" "$(references)" 0
	both failed_calls_leave_nothing
	wait_until 5 references_are 0 || fail "references after: $(references)"
}

# bats test_tags=debug
@test "hundreds of listeners served and closed leave no reference" {
	both good_calls_leave_nothing
	wait_until 5 references_are 0 || fail "references after: $(references)"
	equal "rows of listeners" "$(tail -n +2 "$fs_listeners" | wc -l)" 0
}

@test "random calls from several threads on descriptors that change under them harm nothing" {
	local program out
	for program in fsfuzz fsfuzz32; do
		out=$("$FS_BIN/$program" -s 1 -n 100000 -t 8) || fail "$out"
		say "$out"
	done
	wait_until 5 references_are 0 || fail "references after: $(references)"
}
