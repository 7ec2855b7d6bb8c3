#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0
# What an accepted socket inherits from its listener, and what the SYN-ACK shows
# of it, equals what it is natively: all options that getsockopt knows.
# shellcheck disable=SC2154 # set by helpers.bash and servers.bash
load ../helpers
load servers

setup() {
	usual_setup
	# A port taken over from TIME_WAIT brings its timestamp along, and the SYN another window.
	sysctl -qw net.ipv4.tcp_tw_reuse=0
	port p
}

teardown() { usual_teardown; }
teardown_file() { fs_unload; }

# dump FILE ARGUMENTS...: of fsopts
dump() {
	local file=$BATS_TEST_TMPDIR/$1
	shift
	timeout 200 "$FS_BIN/fsopts" -p "$p" "$@" >"$file" 3>&- || { tail -n 3 "$file"; fail "fsopts $*"; }
}

# inherits ARGUMENTS...: the dumps with and without the module are the same; sets
# "redirected", "accepted_local" and "accepted_global" of the run with it
inherits() {
	local redirected_before local_before global_before
	dump native "$@"
	redirected_before=$(fs_column redirected)
	local_before=$(fs_column local)
	global_before=$(fs_column global)
	dump module -f "$@"
	redirected=$(($(fs_column redirected) - redirected_before))
	accepted_local=$(($(fs_column local) - local_before))
	accepted_global=$(($(fs_column global) - global_before))
	diff -U 2 "$BATS_TEST_TMPDIR/native" "$BATS_TEST_TMPDIR/module" || fail "fsopts $*: not as natively"
	at_least "lines that were compared, fsopts $*" "$(wc -l <"$BATS_TEST_TMPDIR/native")" 1000
	grep -q '^synack: ' "$BATS_TEST_TMPDIR/native" || fail "no SYN-ACK was seen"
}

# most_through_clones: of a run with a listener for each option, two connections each. A
# worker whose emulated CPU is not run by its host looks like a busy one now and then.
most_through_clones() {
	local listeners
	listeners=$(grep -c '^==' "$BATS_TEST_TMPDIR/native")
	at_least "listeners" "$listeners" "$1"
	at_least "accepted from clones" "$accepted_local" $((2 * listeners * 9 / 10))
}

# Two connections of each: one to warm up, one that is looked at.
through_clone() {
	inherits "$@"
	equal "SYNs that went to a clone, fsopts $*" "$redirected" 2
	equal "accepted from a clone, fsopts $*" "$accepted_local" 2
}

@test "inherit: an untouched listener, through a clone" {
	local family
	for family in -4 -6 -m; do through_clone $family; done
}

@test "inherit: options set before the workers start" {
	local family
	for family in -4 -6 -m; do through_clone $family -s ordinary; done
}

# bats test_tags=debug
@test "inherit: options set after the workers have started" {
	local family
	for family in -4 -6 -m; do through_clone $family -s ordinary -w; done
}

@test "inherit: nearly all of these options can be set" {
	dump native -6 -s ordinary
	grep '^set ' "$BATS_TEST_TMPDIR/native" | grep -v ': 0$' || true
	at_least "options set" "$(grep -c '^set .*: 0$' "$BATS_TEST_TMPDIR/native")" 90
	at_most "options refused" "$(grep '^set ' "$BATS_TEST_TMPDIR/native" | grep -vc ': 0$')" 5
}

@test "inherit: the dump shows what was set" {
	dump none -6
	dump all -6 -s ordinary
	# each of these has a line of its own that must differ
	at_least "lines changed by setting options" "$(diff "$BATS_TEST_TMPDIR/none" "$BATS_TEST_TMPDIR/all" | grep -c '^>')" 300
}

@test "inherit: each option alone, IPv4" {
	inherits -4 -s ordinary -e -w
	most_through_clones 65
}

@test "inherit: each option alone, IPv6" {
	inherits -6 -s ordinary -e -w
	most_through_clones 90
}

# bats test_tags=debug
@test "inherit: extreme values, each alone" {
	local family when
	for family in -4 -6 -m; do
		for when in "" -w; do
			# shellcheck disable=SC2086
			inherits $family -s variants -e $when
			most_through_clones 8
		done
	done
}

@test "inherit: options that may send the listener to the plain path" {
	local family when
	for family in -4 -6 -m; do
		for when in "" -w; do
			# shellcheck disable=SC2086
			inherits $family -s unusual $when
		done
		inherits $family -s unusual -e -w
	done
}

@test "inherit: through the native queue of an attached listener" {
	local family
	for family in -4 -6 -m; do
		# no worker on CPU 3
		inherits $family -s ordinary -c 3
		equal "accepted from the native queue" "$accepted_global" 2
	done
}
